/* SPDX-License-Identifier: MIT */
/*
 * Size classes: 16, 32 … 128, then eight to each doubling up to 8192. What a block has more than
 * was asked for is at most an eighth, from 128 bytes on.
 */
#ifndef HF_SEGMENT_CLASSES_H
#define HF_SEGMENT_CLASSES_H

#include <stdint.h>

#include "base/bits.h"

#define CLASSES   56u
#define CLASS_MAX UINT64_C(8192) /* larger blocks are runs of pages */

#define size_classes hf_size_classes

struct size_class {
    uint32_t reciprocal; /* ceil(2^32 / size): exact for offsets inside a span */
    uint16_t size;       /* bytes of a block */
    uint16_t pages;      /* of a span */
};
extern const struct size_class size_classes[CLASSES];

/* The class of blocks that hold `size` bytes: 1 to CLASS_MAX. */
static inline uint32_t class_of(uint64_t size)
{
    uint64_t last = size - 1;
    if (last < 128) {
        return (uint32_t)(last / 16);
    }
    uint32_t log = 63 - (uint32_t)__builtin_clzll(last);
    return 8 + (log - 7) * 8 + (uint32_t)(last >> (log - 3) & 7);
}

static inline uint32_t class_size(uint32_t class)
{
    return size_classes[class].size;
}

/* The index of the block that an offset inside a span lies in. */
static inline uint32_t class_index(uint32_t class, uint64_t inside)
{
    return (uint32_t)(inside * size_classes[class].reciprocal >> 32);
}

/* How many blocks a span of that class and so many pages has. */
static inline uint32_t class_blocks(uint32_t class, uint64_t pages)
{
    return (uint32_t)min_u64(256, class_index(class, pages * 4096));
}

/* Pages of a span where pages are few. */
static inline uint32_t class_few_pages(uint32_t class)
{
    uint32_t size = class_size(class);
    return size <= 1024 ? 1 : size <= 2048 || size > 6144 ? 2 : 3;
}

#endif
