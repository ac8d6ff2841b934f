/* SPDX-License-Identifier: MIT */
/*
 * The bytes of the heap: spans of equal blocks, and what each page belongs to.
 *
 * A span is a run of pages, cut into blocks of one class. Its descriptor lies apart from it, in a
 * table of its own: what users write beside their blocks hits blocks only.
 *
 *       0  start    offset of the first page; 0: the descriptor is free. The link of the run
 *       8  owner    the heap that allocates from it: see slot.heap
 *      16  shape    class, and pages << 8
 *      20  node     a hint of the owner's
 *      32  bits     for each 64 blocks two words, side by side, for whoever frees needs both:
 *                   taken   a bit a block; written by the owner alone
 *                   freed   a bit a block that others have freed; the owner collects it
 *
 * A block is in use if it is taken and not freed, and to be had if it is neither. At most
 * SPAN_BLOCKS a span; bits that stand for no block are set in freed, so that they are neither.
 * Of 128 blocks or fewer, as most spans have, one line of the cache tells all.
 *
 * The page table has one entry a page, in chunks of a page for PAGES_PER_CHUNK of them, which are
 * there once a block has begun in one of those pages. What an entry says of a span holds if the
 * span's start and shape agree: it is not cleared when the span goes.
 *
 *     span    descriptor's offset / 128 | class << 40 | pages << 48 | distance << 56
 *     block   BLOCK_ENTRY | pages        a large block, at the first of its pages
 */
#ifndef HF_SEGMENT_HEAP_LAYOUT_H
#define HF_SEGMENT_HEAP_LAYOUT_H

#include "base/shared.h"

#define SPAN_WORDS  4u
#define SPAN_BLOCKS (SPAN_WORDS * 64u)

struct span_bits {
    shared_u64 taken;
    shared_u64 freed;
};

struct span {
    shared_u64 start;
    shared_u64 owner;
    shared_u32 shape;
    shared_u32 node;
    uint8_t unused1[8];
    struct span_bits bits[SPAN_WORDS];
    uint8_t unused2[32];
};

HF_LAYOUT(sizeof(struct span_bits) == 16);
HF_LAYOUT(sizeof(struct span) == 128);
HF_LAYOUT(offsetof(struct span, owner) == 8);
HF_LAYOUT(offsetof(struct span, shape) == 16);
HF_LAYOUT(offsetof(struct span, bits) == 32);

#define SPANS_PER_PAGE 32u
#define SPAN_PAGES     8u /* at most */

/* Of a span's entry. The distance is of this page to the span's first. */
#define ENTRY_SPAN           ((UINT64_C(1) << 40) - 1)
#define ENTRY_SHAPE_SHIFT    40
#define ENTRY_DISTANCE_SHIFT 56
#define ENTRY_DISTANCE       UINT64_C(0x1f)

/* Of a large block's. DOOMED: freed by who could not wait; whoever has the pages next takes it. */
#define BLOCK_ENTRY  (UINT64_C(1) << 63)
#define BLOCK_DOOMED (UINT64_C(1) << 62)
#define BLOCK_PAGES  ((UINT64_C(1) << 40) - 1)

#define PAGES_PER_CHUNK UINT64_C(512)

#endif
