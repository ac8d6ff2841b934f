/* SPDX-License-Identifier: MIT */
/*
 * A thread's heap: which of its spans it takes its next block from. All of this is the process's
 * own; what is shared are the spans (blocks.h), and whoever adopts them starts from them alone.
 *
 * Invariant: a span of ours that is not full is its bin's, or in its class's queue, or has bits
 * that others freed. What stands in a queue may be full by now, or no span any more. First in,
 * first out: what waits longest has had most time to get more blocks freed.
 */
#ifndef HF_SEGMENT_HEAP_H
#define HF_SEGMENT_HEAP_H

#include "segment/blocks.h"

#define heap_aligned_size hf_in_heap_aligned_size
#define heap_alloc        hf_in_heap_alloc
#define heap_alloc_into   hf_in_heap_alloc_into
#define heap_end          hf_in_heap_end
#define heap_forget       hf_in_heap_forget
#define heap_free         hf_in_heap_free
#define heap_free_any     hf_in_heap_free_any
#define heap_free_from    hf_in_heap_free_from
#define heap_free_others  hf_in_heap_free_others
#define heap_freed        hf_in_heap_freed
#define heap_large_open   hf_in_heap_large_open
#define heap_list_freed   hf_in_heap_list_freed
#define heap_of           hf_in_heap_of
#define heap_pages_alloc  hf_in_heap_pages_alloc
#define heap_peek         hf_in_heap_peek
#define heap_relieve      hf_in_heap_relieve

/* Where the next block of a class comes from. */
struct bin {
    uint64_t avail; /* bits of the word that can be taken */
    shared_u64 *word;
    char *at;       /* the block of the word's first bit */
    uint64_t start; /* the span's, an offset; 0 with a length of 0: there is none */
    uint64_t length;
    uint64_t reciprocal;
    uint32_t size;
    uint32_t blocks;
    struct span *span;
};

/* A span of ours that a block was freed in last: the next one is likely there, too. */
struct last_freed {
    uint64_t start;
    uint64_t length; /* 0: none */
    struct span *span;
    uint32_t class;
};

struct span_list {
    struct span **spans;
    uint32_t first; /* of a queue, which is a ring */
    uint32_t count;
    uint32_t room; /* a power of two, or 0 */
};

struct heap {
    struct bin *recent; /* the one that a block was taken from last */
    struct last_freed last;
    uint64_t number;  /* slot.heap */
    uint64_t reach;   /* a page can be read at any offset before this one */
    uint64_t orphans; /* as many have been looked for */
    uint64_t next_orphan;
    struct bin bins[CLASSES];
    struct span_list queues[CLASSES];
    struct span_list owned[CLASSES];
    uint32_t next_owned[CLASSES];
};

/* This participant's heap; NULL: no memory. */
struct heap *heap_of(struct participant *p);

/* Makes the bin have a block to take. -ENOMEM, -ENOSPC. */
int heap_peek(struct participant *p, struct bin *bin);

/* `size` bytes, from 1. Without a record: the block is nobody's but the segment's. */
int heap_alloc(struct participant *p, uint64_t size, uint64_t *offset);

/* large_open, giving back what is not in use before it fails. */
int heap_large_open(struct participant *p, uint64_t size, uint64_t link, uint64_t *offset);

/* Frees a block of another's span. -EINVAL: it is not in use. */
int heap_free_others(const struct block *block);

/* Frees a block. -EINVAL: none in use begins there. */
int heap_free(struct participant *p, uint64_t offset);

/* What a bit that has just been cleared in a span of ours means to the lists. `was`: its word
   before. */
void heap_freed(struct participant *p, const struct block *block, uint64_t was);

/* pages_alloc, giving back what is not in use before it fails. */
int heap_pages_alloc(struct participant *p, uint64_t count, uint64_t link, bool zeroed);

/* Recovers the dead, gives back what is empty, adopts what is to be had, sweeps: before memory is
   said to be exhausted. */
void heap_relieve(struct participant *p);

/* The spans are to be had by others, in one step. Of a slot that has been recovered, or by its
   owner. */
void heap_end(struct view *view, struct slot *slot);

/* Frees the process's own part. */
void heap_forget(struct participant *p);

/* The offset of the block that bin_take takes next. */
static inline uint64_t heap_next(const struct participant *p, const struct bin *bin)
{
    uint64_t bit = (uint64_t)__builtin_ctzll(bin->avail);
    return (uint64_t)(bin->at - p->view->base) + bit * bin->size;
}

/* The smallest size of which each block is aligned so; large blocks are, to a page. */
uint64_t heap_aligned_size(uint64_t alignment, uint64_t size);

/* Frees a block as hf_free does: a reserved one, or in the transaction. heap_calls.c. */
int heap_free_any(struct participant *p, uint64_t offset);

/* Takes a block and writes its offset to the link, which is 0: both or neither. */
int heap_alloc_into(struct participant *p, uint64_t size, shared_u64 *link, uint64_t *offset);

/* Frees the block, which is in use, and lets the link to it be `next`: both or neither;
   `changes` (may be NULL) counts that in between. 0, or what taking the lock of the pages gave. */
int heap_free_from(struct participant *p, const struct block *block, shared_u64 *link,
                   uint64_t next, shared_u64 *changes);

/* Takes a block of the bin, which has one: the number of its bit. */
static inline uint64_t bin_take(struct bin *bin)
{
    uint32_t bit = (uint32_t)__builtin_ctzll(bin->avail);
    bin->avail &= bin->avail - 1;
    HF_LOG_STORE(bin->word, load_relaxed(bin->word) | UINT64_C(1) << bit);
    return bit;
}

/* ---- the short ways ---------------------------------------------------------------------- */

/* What heap_free_quickly gives when it has done nothing: heap_free has to. */
#define HEAP_SLOWLY 1

/* Lists a span of ours that may have been full before a block of that word was freed. */
void heap_list_freed(struct participant *p, struct span *span, uint32_t class, uint32_t word);

/* Of a span of ours. */
static inline int heap_free_index(struct participant *p, struct span *span, uint32_t class,
                                  uint64_t index)
{
    struct bin *bin = &p->heap->bins[class];
    shared_u64 *taken = &span->bits[index / 64].taken;
    uint64_t bit = UINT64_C(1) << index % 64;
    uint64_t was = load_relaxed(taken);
    uint64_t freed = load_relaxed(&span->bits[index / 64].freed);
    if (unlikely((was & ~freed & bit) == 0)) {
        return HEAP_SLOWLY; /* freed already */
    }
    if (bin->word == taken) {
        HF_LOG_STORE(taken, was & ~bit);
        bin->avail |= bit;
        return 0;
    }
    if (unlikely(was == bit)) {
        return HEAP_SLOWLY; /* it may be empty then */
    }
    HF_LOG_STORE(taken, was & ~bit);
    if (unlikely((was | freed) == UINT64_MAX)) {
        heap_list_freed(p, span, class, (uint32_t)(index / 64));
    }
    return 0;
}

/* A block of the span that one was taken from last. */
static inline int heap_free_recent(struct participant *p, struct bin *bin, uint64_t inside)
{
    uint64_t index = inside * bin->reciprocal >> 32;
    bool good = index * bin->size == inside && index < bin->blocks;
    return likely(good) ? heap_free_index(p, bin->span, (uint32_t)(bin - p->heap->bins), index)
                        : HEAP_SLOWLY;
}

/* A block of the span that one was freed in last. */
static inline int heap_free_last(struct participant *p, uint64_t inside)
{
    const struct last_freed *last = &p->heap->last;
    uint64_t index = class_index(last->class, inside);
    bool good = index * class_size(last->class) == inside && index < SPAN_BLOCKS;
    return likely(good) ? heap_free_index(p, last->span, last->class, index) : HEAP_SLOWLY;
}

/* Of any span of ours: as block_find, but whatever is not as it mostly is goes the long way. */
static inline int heap_free_quickly(struct participant *p, uint64_t offset)
{
    struct heap *heap = p->heap;
    struct view *view = p->view;
    uint64_t reach = heap->reach;
    struct bin *recent = heap->recent;
    if (offset - recent->start < recent->length) {
        return heap_free_recent(p, recent, offset - recent->start);
    }
    if (offset - heap->last.start < heap->last.length) {
        return heap_free_last(p, offset - heap->last.start);
    }
    if (unlikely(offset >= reach)) {
        return HEAP_SLOWLY;
    }
    uint64_t page = offset / SEGMENT_PAGE;
    uint64_t chunk = load_relaxed(&view->chunk_map[page / PAGES_PER_CHUNK]);
    if (unlikely(chunk - 1 >= reach || chunk % SEGMENT_PAGE != 0)) {
        return HEAP_SLOWLY;
    }
    const shared_u64 *entries = (const shared_u64 *)(const void *)(view->base + chunk);
    uint64_t entry = load_acquire(&entries[page % PAGES_PER_CHUNK]); /* partner: span_make */
    uint64_t at = (entry & ENTRY_SPAN) * sizeof(struct span);
    uint32_t shape = entry >> ENTRY_SHAPE_SHIFT & 0xffff;
    uint32_t class = shape & 0xff;
    uint64_t start = (page - (entry >> ENTRY_DISTANCE_SHIFT)) * SEGMENT_PAGE;
    if (unlikely(at - 1 >= reach || class >= CLASSES)) {
        return HEAP_SLOWLY;
    }
    struct span *span = (struct span *)(void *)(view->base + at);
    if (unlikely(load_relaxed(&span->owner) != heap->number ||
                 load_relaxed(&span->start) != start || load_relaxed(&span->shape) != shape)) {
        return HEAP_SLOWLY;
    }
    uint32_t index = class_index(class, offset - start);
    if (unlikely((uint64_t)index * class_size(class) != offset - start || index >= SPAN_BLOCKS)) {
        return HEAP_SLOWLY;
    }
    heap->last = (struct last_freed){start, (uint64_t)(shape >> 8) * SEGMENT_PAGE, span, class};
    return heap_free_index(p, span, class, index);
}

#endif
