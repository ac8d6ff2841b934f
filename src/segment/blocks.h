/* SPDX-License-Identifier: MIT */
/*
 * Where blocks lie: spans of small ones, and large ones. Making and freeing either; nothing here
 * knows how a thread chooses among its spans (heap.h).
 *
 * A span is its owner's: it alone takes blocks from it. The owner is a heap, and a heap is over
 * once its slot says another one, or none: then the span is to be had (span_adopt).
 */
#ifndef HF_SEGMENT_BLOCKS_H
#define HF_SEGMENT_BLOCKS_H

#include <errno.h>
#include <stdbool.h>

#include "segment/classes.h"
#include "segment/participant.h"

#define heap_is_over      hf_in_heap_is_over
#define span_at           hf_in_span_at
#define spans_count       hf_in_spans_count
#define span_make         hf_in_span_make
#define span_give_back    hf_in_span_give_back
#define span_adopt        hf_in_span_adopt
#define span_collect      hf_in_span_collect
#define large_open        hf_in_large_open
#define large_close       hf_in_large_close
#define large_free        hf_in_large_free
#define large_resize      hf_in_large_resize
#define large_sweep       hf_in_large_sweep
#define block_is_of       hf_in_block_is_of
#define block_free_from   hf_in_block_free_from
#define block_free_logged hf_in_block_free_logged
#define blocks_settle     hf_in_blocks_settle

/* A block, in use or not. */
struct block {
    struct span *span; /* NULL: a large one */
    uint64_t start;    /* of the span, or of the block itself */
    uint64_t pages;
    uint32_t class;
    uint32_t index;
};

/* ---- finding a block: inline, for hf_free ------------------------------------------------- */

/* The page's entry; NULL: its chunk is not there. */
static inline shared_u64 *page_entry(struct view *view, uint64_t page)
{
    if (page >= view->maximum / SEGMENT_PAGE) {
        return NULL;
    }
    uint64_t chunk = load_acquire(&view->chunk_map[page / PAGES_PER_CHUNK]); /* pages_alloc */
    if (chunk == 0 || chunk % SEGMENT_PAGE != 0 || !view_holds(view, chunk, SEGMENT_PAGE)) {
        return NULL;
    }
    return (shared_u64 *)(void *)(view->base + chunk) + page % PAGES_PER_CHUNK;
}

/* Of a block in a span: 0 or -EINVAL. What is read here may have been written by anybody. */
static inline int block_in_span(struct view *view, uint64_t entry, uint64_t offset,
                                struct block *block)
{
    uint64_t at = (entry & ENTRY_SPAN) * sizeof(struct span);
    if (unlikely(!view_holds(view, at, sizeof(struct span)))) {
        return -EINVAL;
    }
    struct span *span = (struct span *)(void *)(view->base + at);
    uint64_t start = offset / SEGMENT_PAGE - (entry >> ENTRY_DISTANCE_SHIFT);
    start *= SEGMENT_PAGE;
    uint32_t shape = entry >> ENTRY_SHAPE_SHIFT & 0xffff;
    uint32_t class = shape & 0xff;
    if (unlikely(load_relaxed(&span->start) != start || load_relaxed(&span->shape) != shape ||
                 class >= CLASSES || at == 0)) {
        return -EINVAL;
    }
    uint64_t inside = offset - start;
    uint32_t index = class_index(class, inside);
    *block = (struct block){span, start, shape >> 8, class, index};
    return (uint64_t)index * class_size(class) == inside && index < SPAN_BLOCKS ? 0 : -EINVAL;
}

/* The block that begins at the offset. -EINVAL: none can. */
static inline int block_find(struct view *view, uint64_t offset, struct block *block)
{
    uint64_t page = offset / SEGMENT_PAGE;
    shared_u64 *at = page_entry(view, page);
    uint64_t entry = at == NULL ? 0 : load_acquire(at); /* partner: span_make, large_open */
    if (likely((entry & (BLOCK_ENTRY | BLOCK_DOOMED)) == 0)) {
        return block_in_span(view, entry, offset, block);
    }
    *block = (struct block){.start = offset, .pages = entry & BLOCK_PAGES};
    bool good = offset % SEGMENT_PAGE == 0 && (entry & BLOCK_DOOMED) == 0 &&
                page >= view->first_page && block->pages > 0 &&
                block->pages <= view->maximum / SEGMENT_PAGE &&
                view_holds(view, offset, block->pages * SEGMENT_PAGE);
    return good ? 0 : -EINVAL;
}

static inline uint64_t block_bit(const struct block *block)
{
    return UINT64_C(1) << block->index % 64;
}

/* Is it in use, at this instant? */
static inline bool block_in_use(const struct block *block)
{
    if (block->span == NULL) {
        return true;
    }
    uint32_t word = block->index / 64;
    return (load_relaxed(&block->span->bits[word].taken) &
            ~load_acquire(&block->span->bits[word].freed) & block_bit(block)) != 0;
}

/* Has the heap ended, and been recovered if need be? */
bool heap_is_over(struct view *view, uint64_t heap);

/* ---- spans ------------------------------------------------------------------------------- */

/* The descriptor of that number, from 0; NULL: there are not as many. */
struct span *span_at(struct view *view, uint64_t number);
uint64_t spans_count(struct view *view);

static inline uint32_t span_shape(uint32_t class, uint32_t pages)
{
    return class | pages << 8;
}

/* The bits of a span's word that stand for blocks. */
static inline uint64_t span_mask(uint32_t blocks, uint32_t word)
{
    uint32_t first = word * 64;
    return blocks <= first        ? 0
           : blocks - first >= 64 ? UINT64_MAX
                                  : (UINT64_C(1) << (blocks - first)) - 1;
}

/* What the descriptor says, if it describes a span: 0; -ENOENT: free; -EBADMSG. */
static inline int span_look(struct view *view, const struct span *span, struct block *block)
{
    uint64_t start = load_acquire(&span->start); /* partner: span_make */
    uint32_t shape = load_relaxed(&span->shape);
    *block = (struct block){(struct span *)span, start, shape >> 8, shape & 0xff, 0};
    if (start == 0) {
        return -ENOENT;
    }
    bool good = start % SEGMENT_PAGE == 0 && block->class < CLASSES && block->pages > 0 &&
                block->pages <= SPAN_PAGES && class_blocks(block->class, block->pages) > 0 &&
                start / SEGMENT_PAGE >= view->first_page &&
                view_holds(view, start, block->pages * SEGMENT_PAGE);
    return good ? 0 : -EBADMSG;
}

/* A new one of the heap, with its pages. -ENOMEM, -ENOSPC. */
int span_make(struct participant *p, uint64_t heap, uint32_t class, uint32_t pages,
              struct span **span);

/* Frees its pages. Of an empty span of the caller's. */
void span_give_back(struct participant *p, struct span *span);

/* Makes the span the heap's, if its owner is over; false: it is not, or another was faster. */
bool span_adopt(struct view *view, struct span *span, uint64_t heap);

/* Takes back what others have freed in the caller's span; false: there was nothing. */
bool span_collect(struct view *view, struct span *span);

/* ---- large blocks ------------------------------------------------------------------------ */

/*
 * So many pages, at *offset. Until it is closed the block is kept if the link (0: none) names it,
 * or if the undo log ends where op_log says: that is for the caller to do in between, holding the
 * pages' lock. -ENOMEM, -ENOSPC.
 */
int large_open(struct participant *p, uint64_t pages, uint64_t link, uint64_t *offset);
void large_close(struct participant *p);

/* Frees it, and lets the link (0: none) to it be `next`; `changes` (may be NULL) counts that in
   between. -EINVAL: there is none (any more). */
int large_free(struct participant *p, uint64_t offset, uint64_t link, uint64_t next,
               shared_u64 *changes);

/* In place. -ENOMEM: the pages behind it are not free. */
int large_resize(struct participant *p, uint64_t offset, uint64_t pages);

/* Frees the pages of doomed ones; false: there were none. */
bool large_sweep(struct participant *p);

/* ---- freeing in the name of a slot: its thread's, or a dead one's that is being recovered ---- */

/* Does it lie in a span of the slot's? */
bool block_is_of(const struct block *block, const struct slot *slot);

/* Frees the block, which is in use, and lets the link to it be `next` (0: nothing): both or
   neither; `changes` (may be NULL) counts that in between. The word of `taken` as it was, if it
   lies in a span of the slot's. */
uint64_t block_free_from(struct view *view, struct slot *slot, const struct block *block,
                         shared_u64 *link, uint64_t next, shared_u64 *changes);

/* Frees the block, which is in use, and lets the slot's undo log end at `position`: both or, done
   again, both. */
uint64_t block_free_logged(struct view *view, struct slot *slot, const struct block *block,
                           uint64_t position);

/* Finishes or undoes what the slot's record says of a block. Recovery's. */
void blocks_settle(struct view *view, struct slot *slot);

#endif
