/* SPDX-License-Identifier: MIT */
/*
 * The public calls of the heap. hf_alloc and hf_free have their short ways here, of one store each;
 * the others write a record around what heap.c does:
 *
 *     into a link         heap_alloc_into   undone by recovery unless the link names the block
 *     from a link         heap_free_from    finished by recovery once the link does not name it
 *     in a transaction    logged, and undone or done with it (tx.c)
 */
#include <errno.h>
#include <string.h>

#include "holdfast/heap.h"
#include "segment/handle.h"
#include "segment/heap.h"
#include "segment/pages.h"
#include "segment/reserve.h"
#include "segment/tx.h"

static uint64_t offset_in(const struct participant *p, const void *address)
{
    return (uint64_t)((const char *)address - p->view->base);
}

/* ---- taking ------------------------------------------------------------------------------ */

/* Logged first, then taken. */
static int alloc_in_tx(struct participant *p, uint64_t size, uint64_t *offset)
{
    struct heap *heap = heap_of(p);
    uint64_t position;
    if (heap == NULL || size > SEGMENT_SIZE_MAX) {
        return -ENOMEM;
    }
    int error = tx_block_position(p, &position);
    if (error != 0) {
        return error;
    }
    if (size <= CLASS_MAX) {
        struct bin *bin = &heap->bins[class_of(size)];
        error = heap_peek(p, bin);
        if (error == 0) {
            *offset = heap_next(p, bin);
            error = tx_add_block(p, LOG_ALLOCATED, *offset);
        }
        if (error == 0) {
            (void)bin_take(bin);
        }
        return error;
    }
    /* While the record is open the block is nobody's; what the log says of it does no harm, for who
       settles the record holds the lock of the pages until the log is undone. */
    error = heap_large_open(p, size, 0, offset);
    if (error == 0) {
        error = tx_add_block(p, LOG_ALLOCATED, *offset);
        large_close(p);
    }
    return error;
}

static int alloc_any(struct participant *p, uint64_t size, uint64_t *offset)
{
    if (size == 0) {
        return -EINVAL;
    }
    return tx_is_open(p) ? alloc_in_tx(p, size, offset) : heap_alloc(p, size, offset);
}

/* Apart, so that hf_alloc needs no registers saved. */
static __attribute__((noinline)) int alloc_from_next(struct participant *p, struct bin *bin,
                                                     void **block)
{
    int error = heap_peek(p, bin);
    if (error == 0) {
        p->heap->recent = bin;
        *block = bin->at + bin_take(bin) * bin->size;
    }
    return call_end(p, error);
}

static __attribute__((noinline)) int alloc_slowly(struct participant *p, uint64_t size,
                                                  void **block)
{
    uint64_t offset;
    int error = alloc_any(p, size, &offset);
    if (error == 0) {
        *block = p->view->base + offset;
    }
    return call_end(p, error);
}

int hf_alloc(hf_segment *segment, size_t size, void **block)
{
    struct participant *p;
    int error = unlikely(block == NULL) ? -EINVAL : enter(segment, &p);
    if (unlikely(error != 0)) {
        return error;
    }
    struct heap *heap = p->heap;
    if (unlikely(heap == NULL || tx_is_open(p) || size - 1 >= CLASS_MAX)) {
        return alloc_slowly(p, size, block);
    }
    struct bin *bin = &heap->bins[class_of(size)];
    if (bin->avail == 0) {
        return alloc_from_next(p, bin, block);
    }
    heap->recent = bin;
    *block = bin->at + bin_take(bin) * bin->size;
    return call_end(p, 0);
}

int hf_alloc_zeroed(hf_segment *segment, size_t size, void **block)
{
    int error = hf_alloc(segment, size, block);
    if (error == 0) {
        memset(*block, 0, size);
    }
    return error;
}

int hf_alloc_aligned(hf_segment *segment, size_t alignment, size_t size, void **block)
{
    if (!is_segment(segment) || !is_power_of_two(alignment) || alignment > SEGMENT_PAGE ||
        (uintptr_t)segment->view->base % alignment != 0) {
        return -EINVAL;
    }
    if (size == 0 || size > SEGMENT_SIZE_MAX) {
        return size == 0 ? -EINVAL : -ENOMEM;
    }
    uint64_t wanted = alignment <= 16 ? size : heap_aligned_size(alignment, size);
    return wanted > SIZE_MAX ? -ENOMEM : hf_alloc(segment, (size_t)wanted, block);
}

/* The blocks that were taken last, in vain. */
static void take_back(hf_segment *segment, void **blocks, size_t count)
{
    struct participant *p;
    if (enter(segment, &p) != 0) {
        return;
    }
    bool logged = tx_is_open(p);
    if (logged) {
        tx_take_back(p, count);
    }
    (void)call_end(p, 0);
    if (!logged) {
        (void)hf_free_many(segment, blocks, count);
    }
}

int hf_alloc_many(hf_segment *segment, size_t size, size_t count, void **blocks)
{
    int error = blocks == NULL && count > 0 ? -EINVAL : 0;
    for (size_t i = 0; i < count && error == 0; i++) {
        error = hf_alloc(segment, size, &blocks[i]);
        if (error != 0) {
            take_back(segment, blocks, i);
        }
    }
    return error;
}

/* A link in a transaction: saved, and written when the block is there. */
static int alloc_into_in_tx(struct participant *p, uint64_t size, shared_u64 *link)
{
    uint64_t offset;
    int error = tx_add(p, (uint64_t)((char *)link - p->view->base), sizeof *link);
    error = error != 0 ? error : alloc_in_tx(p, size, &offset);
    if (error == 0) {
        HF_LOG_PUBLISH(link, offset); /* partner: whoever follows it */
    }
    return error;
}

int hf_alloc_into(hf_segment *segment, size_t size, hf_off *link)
{
    struct participant *p;
    int error = enter(segment, &p);
    if (error != 0) {
        return error;
    }
    uint64_t at = link_offset(p->view, link);
    shared_u64 *word = at == 0 ? NULL : view_word(p->view, at);
    uint64_t offset;
    if (word == NULL || size == 0 || load_relaxed(word) != 0) {
        error = -EINVAL;
    } else {
        error = tx_is_open(p) ? alloc_into_in_tx(p, size, word)
                              : heap_alloc_into(p, size, word, &offset);
    }
    return call_end(p, error);
}

/* ---- freeing ----------------------------------------------------------------------------- */

/* The block that begins there, and is in use. */
static int find_in_use(struct view *view, uint64_t offset, struct block *block)
{
    int error = block_find(view, offset, block);
    return error != 0 ? error : block_in_use(block) ? 0 : -EINVAL;
}

static int free_in_tx(struct participant *p, uint64_t offset)
{
    struct block block;
    int error = find_in_use(p->view, offset, &block);
    return error != 0 ? error : tx_add_block(p, LOG_FREED, offset);
}

/* From the word that names it: a link, or the reservation's. */
static int free_from(struct participant *p, uint64_t offset, shared_u64 *link)
{
    struct block block;
    int error = find_in_use(p->view, offset, &block);
    return error != 0 ? error : heap_free_from(p, &block, link, 0, NULL);
}

int heap_free_any(struct participant *p, uint64_t offset)
{
    shared_u64 *reserved = reserve_find(p->view, p->slot, offset);
    if (reserved != NULL) {
        int error = free_from(p, offset, reserved);
        p->reservations -= error == 0 ? 1 : 0;
        return error;
    }
    return tx_is_open(p) ? free_in_tx(p, offset) : heap_free(p, offset);
}

static __attribute__((noinline)) int free_slowly(struct participant *p, const void *block)
{
    return call_end(p, block == NULL ? 0 : heap_free_any(p, offset_in(p, block)));
}

int hf_free(hf_segment *segment, void *block)
{
    struct participant *p;
    int error = enter(segment, &p);
    if (unlikely(error != 0)) {
        return error;
    }
    if (unlikely(p->heap == NULL || tx_is_open(p) || p->reservations != 0) ||
        heap_free_quickly(p, offset_in(p, block)) == HEAP_SLOWLY) {
        return free_slowly(p, block);
    }
    return call_end(p, 0);
}

int hf_free_many(hf_segment *segment, void *const *blocks, size_t count)
{
    int error = blocks == NULL && count > 0 ? -EINVAL : 0;
    for (size_t i = 0; i < count && error == 0; i++) {
        error = hf_free(segment, blocks[i]);
    }
    return error;
}

int hf_free_from(hf_segment *segment, hf_off *link)
{
    struct participant *p;
    int error = enter(segment, &p);
    if (error != 0) {
        return error;
    }
    uint64_t at = link_offset(p->view, link);
    shared_u64 *word = at == 0 ? NULL : view_word(p->view, at);
    if (word == NULL) {
        return call_end(p, -EINVAL);
    }
    uint64_t offset = load_relaxed(word);
    if (!tx_is_open(p)) {
        return call_end(p, free_from(p, offset, word));
    }
    error = tx_add(p, at, sizeof *word);
    error = error != 0 ? error : free_in_tx(p, offset);
    if (error == 0) {
        HF_LOG_STORE(word, 0);
    }
    return call_end(p, error);
}

/* ---- another size ------------------------------------------------------------------------ */

static uint64_t size_of(const struct block *block)
{
    return block->span == NULL ? block->pages * SEGMENT_PAGE : class_size(block->class);
}

/* 0: it is done; 1: it has to move. */
static int resize(struct participant *p, uint64_t offset, const struct block *block, uint64_t size)
{
    uint64_t have = size_of(block);
    if (block->span != NULL) {
        /* A block that has become much too large moves, so that its memory is of use. */
        return size <= have && size > have / 2 ? 0 : 1;
    }
    uint64_t pages = round_up(size, SEGMENT_PAGE) / SEGMENT_PAGE;
    if (size <= CLASS_MAX || tx_is_open(p)) {
        return pages == block->pages ? 0 : 1;
    }
    if (pages == block->pages) {
        return 0;
    }
    int error = large_resize(p, offset, pages);
    return error == -ENOMEM || error == -ENOSPC ? 1 : error;
}

static int resize_or_move(struct participant *p, uint64_t size, void **block)
{
    struct block old;
    uint64_t moved;
    uint64_t offset = offset_in(p, *block);
    if (tx_is_open(p) && tx_state(p->slot) != TX_ACTIVE) {
        return -ECANCELED;
    }
    int error = size > SEGMENT_SIZE_MAX ? -ENOMEM : find_in_use(p->view, offset, &old);
    if (error == 0) {
        error = reserve_find(p->view, p->slot, offset) != NULL ? -EINVAL
                                                               : resize(p, offset, &old, size);
    }
    if (error != 1) {
        return error;
    }
    if (!view_holds(p->view, offset, size_of(&old))) {
        return -EBADMSG;
    }
    /* Room for both entries of a move, so that the second cannot fail. */
    error = tx_is_open(p) ? tx_reserve(p, sizeof(struct log_trailer)) : 0;
    error = error != 0 ? error : alloc_any(p, size, &moved);
    if (error == 0) {
        memcpy(p->view->base + moved, *block, (size_t)min_u64(size, size_of(&old)));
        *block = p->view->base + moved;
        error = heap_free_any(p, offset);
    }
    return error;
}

int hf_realloc(hf_segment *segment, void **block, size_t size)
{
    struct participant *p;
    if (block == NULL || size == 0) {
        return -EINVAL;
    }
    if (*block == NULL) {
        return hf_alloc(segment, size, block);
    }
    int error = enter(segment, &p);
    return error != 0 ? error : call_end(p, resize_or_move(p, size, block));
}

size_t hf_usable_size(hf_segment *segment, const void *block)
{
    struct block found;
    if (!is_segment(segment) || (const char *)block < segment->view->base) {
        return 0;
    }
    uint64_t offset = (uint64_t)((const char *)block - segment->view->base);
    int error = find_in_use(segment->view, offset, &found);
    return error != 0 ? 0 : (size_t)size_of(&found);
}

/* ---- reservations ------------------------------------------------------------------------ */

int hf_reserve(hf_segment *segment, size_t size, void **block)
{
    struct participant *p;
    int error = block == NULL || size == 0 ? -EINVAL : enter(segment, &p);
    if (error != 0) {
        return error;
    }
    uint64_t offset = 0;
    shared_u64 *word = reserve_place(p, &error);
    if (word != NULL) {
        error = heap_alloc_into(p, size, word, &offset);
    }
    if (error == 0) {
        p->reservations++;
        *block = p->view->base + offset;
    }
    return call_end(p, error);
}

/* The link gets the block, the reservation lets go of it: recovery finishes it if the link has it.
 */
static int publish(struct participant *p, shared_u64 *word, shared_u64 *link)
{
    if (link != NULL) {
        uint64_t at = (uint64_t)((char *)word - p->view->base);
        uint64_t to = (uint64_t)((char *)link - p->view->base);
        uint64_t offset = load_relaxed(word);
        pages_record(p->slot, OP_MOVE, offset, at, to);
        HF_LOG_PUBLISH(link, offset); /* partner: whoever follows it */
    }
    reserve_let_go(p->slot, word);
    p->reservations--;
    return 0;
}

int hf_publish(hf_segment *segment, void *block, hf_off *link)
{
    struct participant *p;
    int error = enter(segment, &p);
    if (error != 0) {
        return error;
    }
    uint64_t at = link == NULL ? 0 : link_offset(p->view, link);
    shared_u64 *to = at == 0 ? NULL : view_word(p->view, at);
    shared_u64 *word = reserve_find(p->view, p->slot, offset_in(p, block));
    bool good = word != NULL && (link == NULL || (to != NULL && load_relaxed(to) == 0));
    error = !good ? -EINVAL : tx_is_open(p) ? -EBUSY : publish(p, word, to);
    return call_end(p, error);
}

/* ---- giving back ------------------------------------------------------------------------- */

int hf_heap_trim(hf_segment *segment)
{
    struct participant *p;
    int error = enter(segment, &p);
    if (error != 0) {
        return error;
    }
    heap_relieve(p);
    return call_end(p, 0);
}
