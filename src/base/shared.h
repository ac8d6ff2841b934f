/* SPDX-License-Identifier: MIT */
/*
 * The types of words in shared memory, for the *_layout.h headers: fixed width, naturally aligned
 * (i386 aligns 64 bits to 4 by itself), the same bytes in C and in C++, which only looks at them.
 */
#ifndef HF_BASE_SHARED_H
#define HF_BASE_SHARED_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define HF_LAYOUT(condition) static_assert(condition, "layout")
typedef uint32_t shared_u32;
typedef uint64_t shared_u64 __attribute__((aligned(8)));
#else
#define HF_LAYOUT(condition) _Static_assert(condition, "layout")
typedef _Atomic uint32_t shared_u32;
typedef _Atomic uint64_t shared_u64 __attribute__((aligned(8)));
#endif
/* Written before the structure is published, and never again. */
typedef uint32_t fixed_u32;
typedef uint64_t fixed_u64 __attribute__((aligned(8)));

#endif
