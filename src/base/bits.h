/* SPDX-License-Identifier: MIT */
/* Arithmetic on sizes and addresses that cannot overflow silently. */
#ifndef HF_BASE_BITS_H
#define HF_BASE_BITS_H

#include <stdbool.h>
#include <stdint.h>

static inline bool is_power_of_two(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

/* `to` is a power of two. */
static inline uint64_t round_down(uint64_t v, uint64_t to)
{
    return v & ~(to - 1);
}

/* `to` is a power of two; the caller knows that v + to does not overflow. */
static inline uint64_t round_up(uint64_t v, uint64_t to)
{
    return round_down(v + to - 1, to);
}

/* Does [offset, offset + length) lie within [0, size)? Never overflows. */
static inline bool range_within(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset <= size && length <= size - offset;
}

/* Is a * b at most `limit`? Never overflows, and does not divide, which is slow. */
static inline bool product_within(uint64_t a, uint64_t b, uint64_t limit)
{
    uint64_t product;
    return !__builtin_mul_overflow(a, b, &product) && product <= limit;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
