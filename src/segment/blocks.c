/* SPDX-License-Identifier: MIT */
/*
 * Spans and large blocks.
 *
 *     making a span     a run of pages with the descriptor's start for its link (pages.c): the
 *                       descriptor and the page table are written before the link is
 *     giving one back   the same, freed
 *     adopting          owner = mine, by compare-and-swap from one that is over
 *     collecting        (1) taken without what is freed
 *                       (2) freed without it
 *                       done again after (1) it changes nothing: the bits are still there
 *
 * Freed by others. A death between setting the bit and closing the record leaves open whether the
 * bit was set: it might have been collected since. So a collector leaves bits alone whose blocks
 * stand in an open record: "bit clear, record open" means not done. tests/models/freed.pml.
 *
 *     a large block     (1) record
 *                       (2) used bits
 *                       (3) page table
 *                       (4) link
 *                       (5) record cleared     undone unless (4), or without a link
 *     freeing one       (6) record
 *                       (7) link = 0
 *                       (8) page table
 *                       (9) used bits
 *                      (10) record cleared     finished if (7), or without a link
 */
#include <errno.h>
#include <string.h>

#include "segment/blocks.h"
#include "segment/names.h"
#include "segment/pages.h"

/* ---- the page table ---------------------------------------------------------------------- */

static void set_entry(struct view *view, uint64_t page, uint64_t entry)
{
    shared_u64 *at = page_entry(view, page);
    if (at != NULL) {
        HF_LOG_PUBLISH(at, entry); /* partner: block_find */
    }
}

/* With the lock: the chunk is there afterwards. */
static int make_chunk(struct participant *p, uint64_t page)
{
    shared_u64 *chunk = &p->view->chunk_map[page / PAGES_PER_CHUNK];
    if (load_relaxed(chunk) != 0) {
        return page_entry(p->view, page) != NULL ? 0 : -EBADMSG;
    }
    return pages_alloc_locked(p, 1, (uint64_t)((char *)chunk - p->view->base), true);
}

/* With the lock: a free run whose first `entries` pages have entries. */
static int find_run_with_entries(struct participant *p, uint64_t pages, uint64_t entries,
                                 uint64_t *first)
{
    for (unsigned tries = 0; tries < 4; tries++) {
        int error = pages_find(p->view, pages, first);
        if (error != 0) {
            return error;
        }
        if (page_entry(p->view, *first) != NULL &&
            page_entry(p->view, *first + entries - 1) != NULL) {
            return 0;
        }
        error = make_chunk(p, *first);
        error = error != 0 ? error : make_chunk(p, *first + entries - 1);
        if (error != 0) {
            return error;
        }
    }
    return -ENOMEM;
}

bool heap_is_over(struct view *view, uint64_t heap)
{
    const struct slot *slot = view_slot(view, (uint32_t)(heap & SLOT_NUMBER_MAX));
    return slot == NULL || load_acquire(&slot->heap) != heap; /* partner: who ended it */
}

/* ---- spans ------------------------------------------------------------------------------- */

static char *run_address(struct view *view, uint32_t run)
{
    return view_run(view, view->span_runs, header_of(view)->span_runs, run);
}

struct span *span_at(struct view *view, uint64_t number)
{
    uint64_t page = number / SPANS_PER_PAGE;
    uint32_t run = slot_run_of_page((uint32_t)page);
    char *address = run < SPAN_RUNS ? run_address(view, run) : NULL;
    if (address == NULL) {
        return NULL;
    }
    uint64_t first = (uint64_t)slot_run_first_page(run) * SPANS_PER_PAGE;
    return (struct span *)(void *)address + (number - first);
}

uint64_t spans_count(struct view *view)
{
    uint64_t pages = 0;
    for (uint32_t run = 0; run < SPAN_RUNS && run_address(view, run) != NULL; run++) {
        pages += slot_run_pages(run);
    }
    return pages * SPANS_PER_PAGE;
}

/* With the lock: a free descriptor. */
static int find_descriptor(struct participant *p, struct span **span, uint64_t *number)
{
    struct view *view = p->view;
    struct segment_header *header = header_of(view);
    uint64_t count = spans_count(view);
    for (uint64_t n = load_relaxed(&header->span_hint); n < count; n++) {
        *span = span_at(view, n);
        if (load_relaxed(&(*span)->start) == 0) {
            *number = n;
            return 0;
        }
    }
    uint32_t run = count == 0 ? 0 : slot_run_of_page((uint32_t)(count / SPANS_PER_PAGE));
    if (run == SPAN_RUNS) {
        return -ENOMEM;
    }
    uint64_t link = offsetof(struct segment_header, span_runs) + run * sizeof header->span_runs[0];
    int error = pages_alloc_locked(p, slot_run_pages(run), link, true);
    *number = count;
    *span = error == 0 ? span_at(view, count) : NULL;
    return error != 0 ? error : *span == NULL ? -EBADMSG : 0;
}

static void write_entries(struct view *view, const struct span *span, uint64_t first,
                          uint32_t shape, uint64_t pages)
{
    uint64_t at = (uint64_t)((const char *)span - view->base) / sizeof *span;
    for (uint64_t i = 0; i < pages; i++) {
        set_entry(view, first + i,
                  at | (uint64_t)shape << ENTRY_SHAPE_SHIFT | i << ENTRY_DISTANCE_SHIFT);
    }
}

/* With the lock. */
static int make_locked(struct participant *p, uint64_t heap, uint32_t class, uint32_t pages,
                       struct span **made)
{
    struct view *view = p->view;
    struct span *span;
    uint64_t first;
    uint64_t number;
    int error = find_descriptor(p, &span, &number);
    error = error != 0 ? error : find_run_with_entries(p, pages, pages, &first);
    if (error != 0) {
        return error;
    }
    uint64_t link = (uint64_t)((char *)&span->start - view->base);
    pages_record(p->slot, OP_PAGES_ALLOC, first, pages, link);
    pages_use(view, first, pages);
    store_relaxed(&span->owner, heap);
    store_relaxed(&span->shape, span_shape(class, pages));
    for (uint32_t w = 0; w < SPAN_WORDS; w++) {
        store_relaxed(&span->bits[w].taken, 0);
        store_relaxed(&span->bits[w].freed, ~span_mask(class_blocks(class, pages), w));
    }
    write_entries(view, span, first, span_shape(class, pages), pages);
    HF_LOG_PUBLISH(&span->start, first * SEGMENT_PAGE); /* partner: span_look, block_find */
    HF_LOG_STORE(&p->slot->op, OP_NONE);
    store_relaxed(&header_of(view)->span_hint, number + 1);
    *made = span;
    return 0;
}

int span_make(struct participant *p, uint64_t heap, uint32_t class, uint32_t pages,
              struct span **span)
{
    int error = pages_take_lock(p, HF_FOREVER);
    if (error == 0) {
        error = make_locked(p, heap, class, pages, span);
        pages_free_lock(p);
    }
    return error;
}

void span_give_back(struct participant *p, struct span *span)
{
    struct view *view = p->view;
    struct block look;
    if (span_look(view, span, &look) != 0 || pages_take_lock(p, HF_FOREVER) != 0) {
        return;
    }
    uint64_t first = look.start / SEGMENT_PAGE;
    if (pages_are_used(view, first, look.pages)) {
        uint64_t link = (uint64_t)((char *)&span->start - view->base);
        store_relaxed(&header_of(view)->span_hint, 0); /* first: who dies leaves it low */
        crash_fence();
        pages_record(p->slot, OP_PAGES_FREE, first, look.pages, link);
        HF_LOG_STORE(&span->start, 0);
        pages_release(view, first, look.pages);
        HF_LOG_STORE(&p->slot->op, OP_NONE);
    }
    pages_free_lock(p);
}

bool span_adopt(struct view *view, struct span *span, uint64_t heap)
{
    uint64_t owner = load_relaxed(&span->owner);
    return owner != heap && heap_is_over(view, owner) &&
           cas_acquire(&span->owner, &owner, heap); /* partner: heap_is_over's */
}

/* Takes the bits out of `freed` whose blocks an open record names. */
static void leave_what_is_open(struct view *view, const struct block *look,
                               uint64_t freed[SPAN_WORDS])
{
    uint32_t slots = view_slots(view);
    for (uint32_t n = 1; n <= slots; n++) {
        struct slot *slot = view_slot(view, n);
        if (load_relaxed(&slot->op) != OP_FREE_OTHERS) {
            continue;
        }
        uint64_t inside = load_relaxed(&slot->op_first) - look->start;
        if (inside < look->pages * SEGMENT_PAGE) {
            uint32_t index = class_index(look->class, inside);
            freed[index / 64 % SPAN_WORDS] &= ~(UINT64_C(1) << index % 64);
        }
    }
}

bool span_collect(struct view *view, struct span *span)
{
    struct block look;
    uint64_t freed[SPAN_WORDS];
    uint64_t any = 0;
    if (span_look(view, span, &look) != 0) {
        return false;
    }
    uint32_t blocks = class_blocks(look.class, look.pages);
    for (uint32_t w = 0; w < SPAN_WORDS; w++) {
        freed[w] = load_acquire(&span->bits[w].freed) & span_mask(blocks, w); /* heap_free_others */
        any |= freed[w];
    }
    if (any == 0) {
        return false;
    }
    leave_what_is_open(view, &look, freed);
    for (uint32_t w = 0; w < SPAN_WORDS; w++) {
        if (freed[w] != 0) {
            HF_LOG_STORE(&span->bits[w].taken, load_relaxed(&span->bits[w].taken) & ~freed[w]);
            (void)fetch_and_relaxed(&span->bits[w].freed, ~freed[w]);
            crash_fence();
        }
    }
    return true;
}

/* Of an operation that is done: what it has done stands in the log no more. */
static void end_record(struct slot *slot)
{
    uint64_t op = load_relaxed(&slot->op);
    uint64_t log = load_relaxed(&slot->op_log);
    if ((op == OP_FREE_OTHERS || op == OP_LARGE_DOOM) && log != 0) {
        HF_LOG_STORE(&slot->log_used, log - 1);
    }
    HF_LOG_STORE(&slot->op, OP_NONE);
    HF_LOG_STORE(&slot->op_log, 0);
}

/* ---- large blocks ------------------------------------------------------------------------ */

int large_open(struct participant *p, uint64_t pages, uint64_t link, uint64_t *offset)
{
    struct view *view = p->view;
    uint64_t first;
    if (pages > view->maximum / SEGMENT_PAGE) {
        return -ENOMEM;
    }
    int error = pages_take_lock(p, HF_FOREVER);
    if (error != 0) {
        return error;
    }
    error = find_run_with_entries(p, pages, 1, &first);
    if (error != 0) {
        pages_free_lock(p);
        return error;
    }
    pages_record(p->slot, OP_LARGE_ALLOC, first, pages, link);
    pages_use(view, first, pages);
    set_entry(view, first, BLOCK_ENTRY | pages);
    *offset = first * SEGMENT_PAGE;
    return 0;
}

void large_close(struct participant *p)
{
    end_record(p->slot);
    pages_free_lock(p);
}

/* With the lock: frees it; what has been done of it already is done again. */
static void free_large(struct view *view, uint64_t first, uint64_t pages)
{
    set_entry(view, first, 0);
    pages_release(view, first, pages);
}

/* What is unlinked is counted before it is freed: whoever followed the link without a lock sees
   that what it has read may be another's by now. Partner: names_find. */
static inline void count_change(shared_u64 *changes)
{
    if (changes != NULL) {
        store_release(changes, load_relaxed(changes) + 1);
        fence_stores();
    }
}

int large_free(struct participant *p, uint64_t offset, uint64_t link, uint64_t next,
               shared_u64 *changes)
{
    struct view *view = p->view;
    struct block block;
    shared_u64 *word = link == 0 ? NULL : view_word(view, link);
    int error = pages_take_lock(p, HF_FOREVER);
    if (error != 0) {
        return error;
    }
    error = block_find(view, offset, &block);
    if (error == 0 && block.span != NULL) {
        error = -EINVAL;
    }
    if (error == 0) {
        uint64_t first = offset / SEGMENT_PAGE;
        pages_record(p->slot, OP_LARGE_FREE, first, block.pages, link);
        if (word != NULL) {
            HF_LOG_PUBLISH(word, next); /* partner: whoever follows it */
            count_change(changes);
        }
        free_large(view, first, block.pages);
        HF_LOG_STORE(&p->slot->op, OP_NONE);
    }
    pages_free_lock(p);
    return error;
}

/* With the lock. Whatever of [first, first + most) the page table does not count is free. */
static void free_tail(struct view *view, uint64_t first, uint64_t most)
{
    shared_u64 *entry = page_entry(view, first);
    uint64_t kept = entry == NULL ? most : load_relaxed(entry) & BLOCK_PAGES;
    if (kept < most) {
        pages_release(view, first + kept, most - kept);
    }
}

static int resize_locked(struct participant *p, const struct block *block, uint64_t pages)
{
    struct view *view = p->view;
    uint64_t first = block->start / SEGMENT_PAGE;
    uint64_t most = max_u64(pages, block->pages);
    if (pages > block->pages) {
        uint64_t more = pages - block->pages;
        if (!pages_are_free(view, first + block->pages, more)) {
            return -ENOMEM;
        }
        int error = pages_back(view, first + block->pages, more);
        if (error != 0) {
            return error;
        }
    }
    pages_record(p->slot, OP_LARGE_SIZE, first, most, 0);
    if (pages > block->pages) {
        pages_use(view, first + block->pages, pages - block->pages);
    }
    set_entry(view, first, BLOCK_ENTRY | pages);
    free_tail(view, first, most);
    HF_LOG_STORE(&p->slot->op, OP_NONE);
    return 0;
}

int large_resize(struct participant *p, uint64_t offset, uint64_t pages)
{
    struct block block;
    int error = pages_take_lock(p, HF_FOREVER);
    if (error != 0) {
        return error;
    }
    error = block_find(p->view, offset, &block);
    if (error == 0) {
        error = block.span != NULL ? -EINVAL : resize_locked(p, &block, pages);
    }
    pages_free_lock(p);
    return error;
}

/* Without the lock: it is free, and its pages go to whoever sweeps. Can be done again while its
   record is open: nobody sweeps it then. */
static void doom(struct view *view, uint64_t first)
{
    struct block block;
    if (block_find(view, first * SEGMENT_PAGE, &block) == 0 && block.span == NULL) {
        set_entry(view, first, BLOCK_ENTRY | BLOCK_DOOMED | block.pages);
    }
    crash_fence();
    (void)fetch_add_release(&header_of(view)->doomed, 1); /* partner: large_sweep */
    crash_fence();
}

/* Does an open record say that the block is being doomed? */
static bool doom_is_open(struct view *view, uint64_t first)
{
    uint32_t slots = view_slots(view);
    bool open = false;
    for (uint32_t n = 1; n <= slots && !open; n++) {
        const struct slot *slot = view_slot(view, n);
        open = load_acquire(&slot->op) == OP_LARGE_DOOM && load_relaxed(&slot->op_first) == first;
    }
    return open;
}

/* With the lock. *left: one that is just being doomed, or whose doomer is dead, is left. */
static bool sweep_chunk(struct participant *p, uint64_t first, bool *left)
{
    struct view *view = p->view;
    bool any = false;
    if (page_entry(view, first) == NULL) {
        return false;
    }
    for (uint64_t page = first; page < first + PAGES_PER_CHUNK; page++) {
        shared_u64 *at = page_entry(view, page);
        uint64_t entry = at == NULL ? 0 : load_acquire(at); /* partner: doom, after its record */
        uint64_t pages = entry & BLOCK_PAGES;
        if ((entry & BLOCK_ENTRY) == 0 || (entry & BLOCK_DOOMED) == 0 ||
            !pages_are_used(view, page, pages)) {
            continue;
        }
        if (doom_is_open(view, page)) {
            *left = true;
        } else {
            pages_record(p->slot, OP_LARGE_FREE, page, pages, 0);
            free_large(view, page, pages);
            HF_LOG_STORE(&p->slot->op, OP_NONE);
            any = true;
        }
    }
    return any;
}

bool large_sweep(struct participant *p)
{
    struct segment_header *header = header_of(p->view);
    bool any = false;
    bool left = false;
    uint64_t doomed = load_acquire(&header->doomed); /* partner: doom */
    if (doomed == load_relaxed(&header->swept) || pages_take_lock(p, HF_FOREVER) != 0) {
        return false;
    }
    (void)view_refresh(p->view, 0, 0);
    uint64_t pages = load_relaxed(&p->view->known) / SEGMENT_PAGE;
    for (uint64_t first = 0; first < pages; first += PAGES_PER_CHUNK) {
        any = sweep_chunk(p, first, &left) || any;
    }
    if (!left) {
        store_relaxed(&header->swept, doomed);
    }
    pages_free_lock(p);
    return any;
}

/* ---- in the name of a slot ---------------------------------------------------------------- */

/* Frees one that is not in a span of the slot's. */
static void make_free(struct view *view, const struct block *block)
{
    if (block->span == NULL) {
        doom(view, block->start / SEGMENT_PAGE);
    } else { /* another's */
        (void)fetch_or_release(&block->span->bits[block->index / 64].freed, block_bit(block));
        crash_fence();
    }
}

static uint64_t offset_of(const struct block *block)
{
    return block->span == NULL ? block->start
                               : block->start + (uint64_t)block->index * class_size(block->class);
}

bool block_is_of(const struct block *block, const struct slot *slot)
{
    uint64_t heap = load_relaxed(&slot->heap);
    return block->span != NULL && heap != 0 && load_relaxed(&block->span->owner) == heap;
}

/* Frees one in a span of the slot's. The word as it was. */
static uint64_t free_own(const struct block *block)
{
    shared_u64 *taken = &block->span->bits[block->index / 64].taken;
    uint64_t was = load_relaxed(taken);
    HF_LOG_STORE(taken, was & ~block_bit(block));
    return was;
}

uint64_t block_free_from(struct view *view, struct slot *slot, const struct block *block,
                         shared_u64 *link, uint64_t next, shared_u64 *changes)
{
    bool own = block_is_of(block, slot);
    uint64_t op = own ? OP_FREE : block->span != NULL ? OP_FREE_OTHERS : OP_LARGE_DOOM;
    uint64_t first = block->span != NULL ? offset_of(block) : block->start / SEGMENT_PAGE;
    uint64_t was = 0;
    pages_record(slot, op, first, block->pages, (uint64_t)((char *)link - view->base));
    HF_LOG_PUBLISH(link, next); /* partner: whoever follows it */
    count_change(changes);
    if (own) {
        was = free_own(block);
    } else {
        make_free(view, block);
    }
    HF_LOG_STORE(&slot->op, OP_NONE);
    return was;
}

uint64_t block_free_logged(struct view *view, struct slot *slot, const struct block *block,
                           uint64_t position)
{
    if (block_is_of(block, slot)) {
        uint64_t was = free_own(block);
        HF_LOG_STORE(&slot->log_used, position);
        return was;
    }
    HF_LOG_STORE(&slot->op_log, position + 1);
    if (block->span == NULL) {
        pages_record(slot, OP_LARGE_DOOM, block->start / SEGMENT_PAGE, block->pages, 0);
    } else {
        pages_record(slot, OP_FREE_OTHERS, offset_of(block), 0, 0);
    }
    make_free(view, block);
    end_record(slot);
    return 0;
}

/* ---- recovery ---------------------------------------------------------------------------- */

/* The dead has held the pages' lock from before its record to after it. */
static void settle_large(struct view *view, const struct slot *slot, uint64_t op,
                         const shared_u64 *link)
{
    uint64_t first = load_relaxed(&slot->op_first);
    uint64_t pages = load_relaxed(&slot->op_count);
    bool linked = link != NULL && load_relaxed(link) == first * SEGMENT_PAGE;
    if (!pages_is_run(view, first, pages) || page_entry(view, first) == NULL) {
        return;
    }
    if (op == OP_LARGE_SIZE) {
        free_tail(view, first, pages);
    } else if (!linked) {
        free_large(view, first, pages);
    }
}

/* Its span is still the dead's, or has another owner, who leaves the bit alone. */
static void settle_small(struct view *view, uint64_t op, uint64_t offset, const shared_u64 *link)
{
    struct block block;
    bool linked = link != NULL && load_relaxed(link) == offset;
    if (linked || block_find(view, offset, &block) != 0 || block.span == NULL) {
        return;
    }
    if (op == OP_FREE_OTHERS) {
        make_free(view, &block);
    } else {
        (void)free_own(&block);
    }
}

/* Of an object that is to be a transaction's, whether its log knew of it yet decides. */
static void settle_move(struct view *view, struct slot *slot, const shared_u64 *link)
{
    uint64_t offset = load_relaxed(&slot->op_first);
    shared_u64 *word = view_word(view, load_relaxed(&slot->op_count));
    uint64_t log = load_relaxed(&slot->op_log);
    bool logged = log != 0 && load_relaxed(&slot->log_used) == log - 1;
    bool linked = link != NULL && load_relaxed(link) == offset;
    if (word == NULL || load_relaxed(word) != offset || (!linked && !logged)) {
        return;
    }
    if (linked && log != 0 && !logged) {
        names_kill(view, slot, NULL, offset);
    }
    HF_LOG_STORE(word, 0);
}

void blocks_settle(struct view *view, struct slot *slot)
{
    uint64_t op = load_relaxed(&slot->op);
    uint64_t first = load_relaxed(&slot->op_first);
    shared_u64 *link = view_word(view, load_relaxed(&slot->op_link));
    if (op == OP_LARGE_FREE || op == OP_FREE || op == OP_FREE_OTHERS || op == OP_LARGE_DOOM) {
        /* It may be a name's, and its change not counted yet. */
        (void)fetch_add_release(&header_of(view)->names_changes, 1); /* partner: is_now */
        fence_stores();
    }
    if (op >= OP_LARGE_ALLOC && op <= OP_LARGE_SIZE) {
        settle_large(view, slot, op, link);
    } else if (op >= OP_ALLOC && op <= OP_FREE_OTHERS) {
        settle_small(view, op, first, link);
    } else if (op == OP_MOVE) {
        settle_move(view, slot, link);
    } else if (op == OP_LARGE_DOOM &&
               (link == NULL || load_relaxed(link) != first * SEGMENT_PAGE)) {
        doom(view, first);
    } else if (op == OP_PAGES_ALLOC || op == OP_PAGES_FREE) {
        pages_settle(view, slot);
    }
    end_record(slot);
}
