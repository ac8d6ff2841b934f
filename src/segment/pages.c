/* SPDX-License-Identifier: MIT */
/*
 * The page allocator: two bit maps under one lock, and an operation record.
 *
 *     used     set and cleared only by who has pages_lock
 *     backed   set after memory was reserved, cleared before it is given back: a death in between
 *              costs a reservation, never a fault
 *
 *     allocating   (1) record (first, count, link), its kind last
 *                  (2) used bits
 *                  (3) link names the run
 *                  (4) record cleared       undone by recovery unless (3) has happened
 *     freeing      (5) record
 *                  (6) link = 0
 *                  (7) used bits
 *                  (8) record cleared       finished by recovery if (6) has happened
 * The lock is held from before the record to after it, by the dead too: nobody else has touched the
 * run, so both can be done again blindly.
 */
#include <errno.h>
#include <string.h>

#include "os/os.h"
#include "segment/format.h"
#include "segment/lock.h"
#include "segment/pages.h"
#include "segment/reserve.h"

#define BITS 64u

/* A new participant that finds no room for more slots in this time goes on without. */
#define SLOTS_NS (INT64_C(100) * 1000 * 1000)

static const uint64_t lock_offset = offsetof(struct segment_header, pages_lock);

int pages_take_lock(struct participant *p, int64_t timeout_ns)
{
    struct segment_header *header = header_of(p->view);
    int error = lock_take_own(p, &header->pages_lock, lock_offset, timeout_ns);
    if (error == 0) { /* before anything is changed; partner: hf_check */
        store_relaxed(&header->changes, load_relaxed(&header->changes) + 1);
        crash_fence();
    }
    return error;
}

void pages_free_lock(struct participant *p)
{
    lock_free(p, &header_of(p->view)->pages_lock, lock_offset);
}

/* ---- the maps ---------------------------------------------------------------------------- */

/* The bits of the map's word `word` that lie within [first, end). */
static uint64_t mask_in_word(uint64_t word, uint64_t first, uint64_t end)
{
    uint64_t low = max_u64(first, word * BITS) - word * BITS;
    uint64_t high = min_u64(end, (word + 1) * BITS) - word * BITS;
    uint64_t ones = high - low == BITS ? UINT64_MAX : (UINT64_C(1) << (high - low)) - 1;
    return ones << low;
}

static void set_bits(shared_u64 *map, uint64_t first, uint64_t count)
{
    for (uint64_t w = first / BITS; count > 0 && w <= (first + count - 1) / BITS; w++) {
        store_relaxed(&map[w], load_relaxed(&map[w]) | mask_in_word(w, first, first + count));
    }
}

static void clear_bits(shared_u64 *map, uint64_t first, uint64_t count)
{
    for (uint64_t w = first / BITS; count > 0 && w <= (first + count - 1) / BITS; w++) {
        store_relaxed(&map[w], load_relaxed(&map[w]) & ~mask_in_word(w, first, first + count));
    }
}

static bool all_set(shared_u64 *map, uint64_t first, uint64_t count)
{
    bool all = true;
    for (uint64_t w = first / BITS; count > 0 && w <= (first + count - 1) / BITS; w++) {
        uint64_t mask = mask_in_word(w, first, first + count);
        all = all && (load_relaxed(&map[w]) & mask) == mask;
    }
    return all;
}

/* The first page from `from` on whose bit is `set`; `end` if there is none before it. */
static uint64_t next_page(shared_u64 *map, uint64_t from, uint64_t end, bool set)
{
    while (from < end) {
        uint64_t word = load_relaxed(&map[from / BITS]);
        word = (set ? word : ~word) >> (from % BITS);
        if (word != 0) {
            return min_u64(end, from + (uint64_t)__builtin_ctzll(word));
        }
        from = (from / BITS + 1) * BITS;
    }
    return end;
}

/* The first run of `count` free pages; `end` if there is none. */
static uint64_t find_run(shared_u64 *map, uint64_t from, uint64_t end, uint64_t count)
{
    for (;;) {
        uint64_t first = next_page(map, from, end, false);
        if (end - first < count) {
            return end;
        }
        uint64_t after = next_page(map, first, first + count, true);
        if (after == first + count) {
            return first;
        }
        from = after;
    }
}

void pages_mark(struct view *view)
{
    set_bits(view->used_map, 0, view->first_page);
    set_bits(view->backed_map, 0, load_relaxed(&header_of(view)->size) / SEGMENT_PAGE);
}

/* Pages that are there; learns of growth. */
static uint64_t page_end(struct view *view)
{
    uint64_t size = load_acquire(&header_of(view)->size);
    return view_holds(view, 0, size) ? size / SEGMENT_PAGE : 0;
}

uint64_t pages_count(struct view *view)
{
    shared_u64 *map = view->used_map;
    uint64_t end = page_end(view);
    uint64_t count = 0;
    for (uint64_t w = 0; w * BITS < end; w++) {
        count += (uint64_t)__builtin_popcountll(load_relaxed(&map[w]) & mask_in_word(w, 0, end));
    }
    return count;
}

void pages_count_free(struct view *view, uint64_t *all, uint64_t *longest)
{
    uint64_t end = page_end(view);
    uint64_t first = view->first_page;
    *all = *longest = 0;
    while ((first = next_page(view->used_map, first, end, false)) < end) {
        uint64_t after = next_page(view->used_map, first, end, true);
        *all += after - first;
        *longest = max_u64(*longest, after - first);
        first = after;
    }
}

/* ---- memory behind pages ----------------------------------------------------------------- */

/* Gives back the memory behind those of the pages that are not known to have any: what a failed or
   interrupted reservation has left there. */
static int unback(struct view *view, uint64_t first, uint64_t end)
{
    int error = 0;
    while (error == 0 && (first = next_page(view->backed_map, first, end, false)) < end) {
        uint64_t after = next_page(view->backed_map, first, end, true);
        error = os_punch(view->fd, first * SEGMENT_PAGE, (after - first) * SEGMENT_PAGE);
        first = after;
    }
    return error;
}

/* Backs the run with memory. -ENOSPC. */
static int back(struct view *view, uint64_t first, uint64_t count)
{
    shared_u64 *map = view->backed_map;
    if (all_set(map, first, count)) {
        return 0;
    }
    if (view->kind == VIEW_OBJECT) {
        int error = os_reserve(view->fd, first * SEGMENT_PAGE, count * SEGMENT_PAGE);
        if (error != 0) {
            (void)unback(view, first, first + count);
            return error;
        }
    }
    /* A write to a hole of a private mapping asks the object for a page: it may have none. */
    bool copy = view->fd >= 0 && view->kind == VIEW_PRIVATE;
    for (uint64_t page = first; copy && page < first + count; page++) {
        char *at = view->base + page * SEGMENT_PAGE;
        if (!all_set(map, page, 1) && os_map_private_at(at, SEGMENT_PAGE) != 0) {
            return -ENOMEM;
        }
    }
    crash_fence();
    set_bits(map, first, count);
    return 0;
}

/* The bytes of the maps that tell of the pages before `end`; inline ones are there from the start.
 */
static int back_maps(struct view *view, uint64_t end)
{
    uint64_t bytes = (end + 7) / 8;
    uint64_t used = (uint64_t)((char *)view->used_map - view->base);
    uint64_t backed = (uint64_t)((char *)view->backed_map - view->base);
    if (view->kind != VIEW_OBJECT || used < SEGMENT_PAGE) {
        return 0;
    }
    uint64_t chunks = (uint64_t)((char *)view->chunk_map - view->base);
    int error = os_reserve(view->fd, used, bytes);
    error = error != 0 ? error : os_reserve(view->fd, backed, bytes);
    return error != 0 ? error : os_reserve(view->fd, chunks, chunk_map_bytes(end));
}

/* Backs the object up to `size`, and makes it as large. A grower that died may have made it larger.
 */
static int extend_object(int fd, uint64_t old, uint64_t size)
{
    os_info info;
    int error = os_info_get(fd, &info);
    if (error == 0) {
        error = os_reserve(fd, old, size - old);
    }
    if (error == 0 && info.size < size) {
        error = os_resize(fd, size);
    }
    if (error != 0) {
        (void)os_punch(fd, old, size - old); /* gives back what was reserved in vain */
    }
    return error;
}

/* With the lock. Reserved first, then the object's size, then the header's: one store. */
static int grow_locked(struct view *view, uint64_t size)
{
    struct segment_header *header = header_of(view);
    uint64_t old = load_relaxed(&header->size);
    uint64_t maximum = view->maximum;
    if (size > maximum) {
        return -ENOMEM;
    }
    if (size <= old) {
        return 0;
    }
    if (old % SEGMENT_PAGE != 0 || !view_holds(view, 0, old)) {
        return -EBADMSG;
    }
    if (view->kind == VIEW_OBJECT && os_never_to_be_had(view->fd, size - old)) {
        return -ENOSPC; /* before the maps of it take all there is */
    }
    int error = back_maps(view, size / SEGMENT_PAGE);
    if (error == 0 && view->kind == VIEW_OBJECT) {
        error = extend_object(view->fd, old, size);
    }
    if (error != 0) {
        return error;
    }
    set_bits(view->backed_map, old / SEGMENT_PAGE, (size - old) / SEGMENT_PAGE);
    HF_LOG_PUBLISH(&header->size, size); /* partner: view_refresh */
    (void)view_refresh(view, 0, size);
    return 0;
}

int pages_grow(struct participant *p, uint64_t size)
{
    int error = pages_take_lock(p, HF_FOREVER);
    if (error == 0) {
        error = grow_locked(p->view, round_up(size, SEGMENT_PAGE));
        pages_free_lock(p);
    }
    return error;
}

/* Room for `count` more pages at the end: at least half as much again, if that is to be had. */
static int grow_for(struct view *view, uint64_t count)
{
    uint64_t size = load_relaxed(&header_of(view)->size);
    uint64_t page = page_end(view);
    /* What is free at the end is the run's beginning. */
    while (count > 1 && page > view->first_page && !all_set(view->used_map, page - 1, 1)) {
        page--;
        count--;
    }
    if (count > (view->maximum - size) / SEGMENT_PAGE) {
        return -ENOMEM;
    }
    uint64_t needed = size + count * SEGMENT_PAGE;
    uint64_t generous =
        round_down(min_u64(view->maximum, max_u64(needed, size + size / 2)), SEGMENT_PAGE);
    int error = grow_locked(view, generous);
    return error == 0 || generous == needed ? error : grow_locked(view, needed);
}

/* A run of free pages: they are unbacked first. How many were backed. */
static uint64_t unback_run(struct view *view, uint64_t first, uint64_t end, int *error)
{
    uint64_t backed = 0;
    for (uint64_t page = first; (page = next_page(view->backed_map, page, end, true)) < end;) {
        uint64_t after = next_page(view->backed_map, page, end, false);
        backed += after - page;
        page = after;
    }
    clear_bits(view->backed_map, first, end - first);
    crash_fence();
    *error = unback(view, first, end);
    return backed;
}

/* All that is free; and, of those who died growing the segment, what they reserved behind its end.
 */
int pages_trim(struct participant *p, uint64_t *bytes)
{
    struct view *view = p->view;
    *bytes = 0;
    int error = pages_take_lock(p, HF_FOREVER);
    if (error != 0) {
        return error;
    }
    uint64_t end = page_end(view);
    uint64_t first = view->first_page;
    bool object = view->kind == VIEW_OBJECT;
    while (error == 0 && object && (first = next_page(view->used_map, first, end, false)) < end) {
        uint64_t after = next_page(view->used_map, first, end, true);
        *bytes += unback_run(view, first, after, &error) * SEGMENT_PAGE;
        first = after;
    }
    if (error == 0 && object && end * SEGMENT_PAGE < view->maximum) {
        error = os_punch(view->fd, end * SEGMENT_PAGE, view->maximum - end * SEGMENT_PAGE);
    }
    pages_free_lock(p);
    return error;
}

/* ---- runs -------------------------------------------------------------------------------- */

void pages_record(struct slot *slot, uint64_t op, uint64_t first, uint64_t count, uint64_t link)
{
    HF_LOG_STORE(&slot->op_first, first);
    HF_LOG_STORE(&slot->op_count, count);
    HF_LOG_STORE(&slot->op_link, link);
    HF_LOG_STORE(&slot->op, op);
}

bool pages_is_run(struct view *view, uint64_t first, uint64_t count)
{
    return first >= view->first_page && count > 0 && count <= page_end(view) &&
           range_within(first, count, page_end(view));
}

void pages_settle(struct view *view, struct slot *slot)
{
    uint64_t first = load_relaxed(&slot->op_first);
    uint64_t count = load_relaxed(&slot->op_count);
    shared_u64 *link = view_word(view, load_relaxed(&slot->op_link));
    if (link != NULL && pages_is_run(view, first, count) &&
        load_relaxed(link) != first * SEGMENT_PAGE) {
        pages_release(view, first, count);
    }
}

void pages_use(struct view *view, uint64_t first, uint64_t count)
{
    struct segment_header *header = header_of(view);
    set_bits(view->used_map, first, count);
    uint64_t hint = max_u64(view->first_page, load_relaxed(&header->hint));
    store_relaxed(&header->hint, next_page(view->used_map, hint, page_end(view), false));
}

void pages_release(struct view *view, uint64_t first, uint64_t count)
{
    struct segment_header *header = header_of(view);
    clear_bits(view->used_map, first, count);
    store_relaxed(&header->hint, min_u64(load_relaxed(&header->hint), first));
}

bool pages_are_used(struct view *view, uint64_t first, uint64_t count)
{
    return pages_is_run(view, first, count) && all_set(view->used_map, first, count);
}

bool pages_are_free(struct view *view, uint64_t first, uint64_t count)
{
    return pages_is_run(view, first, count) &&
           next_page(view->used_map, first, first + count, true) == first + count;
}

int pages_back(struct view *view, uint64_t first, uint64_t count)
{
    return back(view, first, count);
}

int pages_find(struct view *view, uint64_t count, uint64_t *first)
{
    struct segment_header *header = header_of(view);
    uint64_t end = page_end(view);
    uint64_t hint = max_u64(view->first_page, load_relaxed(&header->hint));
    uint64_t found = hint < end ? find_run(view->used_map, hint, end, count) : end;
    if (found == end) {
        int error = grow_for(view, count);
        if (error != 0) {
            return error;
        }
        uint64_t now = page_end(view);
        found = find_run(view->used_map, min_u64(hint, now), now, count);
        if (found == now) {
            return -ENOMEM;
        }
    }
    *first = found;
    return back(view, found, count);
}

int pages_alloc_locked(struct participant *p, uint64_t count, uint64_t link, bool zeroed)
{
    struct view *view = p->view;
    shared_u64 *word = view_word(view, link);
    uint64_t first;
    if (word == NULL || count == 0 || load_relaxed(word) != 0) {
        return -EINVAL;
    }
    int error = pages_find(view, count, &first);
    if (error != 0) {
        return error;
    }
    pages_record(p->slot, OP_PAGES_ALLOC, first, count, link);
    pages_use(view, first, count);
    if (zeroed) {
        memset(view->base + first * SEGMENT_PAGE, 0, (size_t)(count * SEGMENT_PAGE));
    }
    HF_LOG_PUBLISH(word, first * SEGMENT_PAGE); /* partner: whoever follows the link */
    HF_LOG_STORE(&p->slot->op, OP_NONE);
    return 0;
}

static int alloc_once(struct participant *p, uint64_t count, uint64_t link, bool zeroed,
                      int64_t timeout_ns)
{
    int error = pages_take_lock(p, timeout_ns);
    if (error == 0) {
        error = pages_alloc_locked(p, count, link, zeroed);
        pages_free_lock(p);
    }
    return error;
}

int pages_alloc(struct participant *p, uint64_t count, uint64_t link, bool zeroed)
{
    int error = alloc_once(p, count, link, zeroed, HF_FOREVER);
    if (error == -ENOMEM && pages_reclaim_logs(p)) {
        error = alloc_once(p, count, link, zeroed, HF_FOREVER);
    }
    return error;
}

int pages_free(struct participant *p, uint64_t count, uint64_t link, bool try_only)
{
    struct view *view = p->view;
    shared_u64 *word = view_word(view, link);
    if (word == NULL) {
        return -EINVAL;
    }
    int error = pages_take_lock(p, try_only ? 0 : HF_FOREVER);
    if (error != 0) {
        return error;
    }
    uint64_t offset = load_relaxed(word);
    uint64_t first = offset / SEGMENT_PAGE;
    if (offset % SEGMENT_PAGE != 0 || !pages_are_used(view, first, count)) {
        error = -EINVAL;
    } else {
        pages_record(p->slot, OP_PAGES_FREE, first, count, link);
        HF_LOG_STORE(word, 0);
        pages_release(view, first, count);
        HF_LOG_STORE(&p->slot->op, OP_NONE);
    }
    pages_free_lock(p);
    return error;
}

/* ---- what the segment itself takes ------------------------------------------------------- */

int pages_add_slots(struct participant *p)
{
    struct segment_header *header = header_of(p->view);
    uint32_t run = 0;
    while (run < SLOT_RUNS && load_acquire(&header->slot_runs[run]) != 0) {
        run++;
    }
    if (run == SLOT_RUNS) {
        return -EAGAIN;
    }
    uint64_t link = offsetof(struct segment_header, slot_runs) + run * sizeof header->slot_runs[0];
    int error = alloc_once(p, slot_run_pages(run), link, true, SLOTS_NS);
    return error == -EINVAL ? 0 : error; /* another was faster */
}

int pages_make_root(struct participant *p, uint64_t size)
{
    struct segment_header *header = header_of(p->view);
    int error = pages_take_lock(p, HF_FOREVER);
    if (error != 0) {
        return error;
    }
    if (load_relaxed(&header->root) == 0) {
        uint64_t rounded = round_up(size, SEGMENT_PAGE);
        HF_LOG_STORE(&header->root_size, rounded); /* before the root itself */
        error = pages_alloc_locked(p, rounded / SEGMENT_PAGE, offsetof(struct segment_header, root),
                                   true);
    }
    pages_free_lock(p);
    return error;
}

/* From the end, as far as the lock is to be had: a slot that has any has the first. */
void pages_give_back_log(struct participant *p)
{
    bool goes_on = true;
    for (uint32_t k = LOG_CHUNKS; k-- > 0 && goes_on;) {
        shared_u64 *chunk = &p->slot->log_chunks[k];
        if (load_relaxed(chunk) != 0) {
            uint64_t link = (uint64_t)((char *)chunk - p->view->base);
            int error = pages_free(p, UINT64_C(1) << k, link, true);
            goes_on = error == 0 || error == -EINVAL; /* a damaged one is nobody's */
        }
    }
}

/* A log, or room for reservations. */
static bool has_pages(const struct slot *slot)
{
    return load_relaxed(&slot->log_chunks[0]) != 0 || load_relaxed(&slot->reserved_page) != 0;
}

/* Takes the slot as if to recover it, so that nobody else has it meanwhile. */
static bool reclaim_log_of(struct participant *p, uint32_t number)
{
    struct slot *slot = view_slot(p->view, number);
    uint64_t seen = load_acquire(&slot->claim);
    uint64_t turn = claim_turn(seen);
    if (claim_by(seen) != 0 || !has_pages(slot) ||
        !cas_acquire(&slot->claim, &seen, claim_word(p->number, p->turn, turn, 0))) {
        return false;
    }
    for (uint32_t k = LOG_CHUNKS; k-- > 0;) {
        if (load_relaxed(&slot->log_chunks[k]) != 0) {
            uint64_t link = (uint64_t)((char *)&slot->log_chunks[k] - p->view->base);
            (void)pages_free(p, UINT64_C(1) << k, link, false);
        }
    }
    reserve_give_back(p, slot, false);
    HF_LOG_PUBLISH(&slot->claim, claim_word(0, 0, turn, 0)); /* partner: the next claim */
    return true;
}

bool pages_reclaim_logs(struct participant *p)
{
    bool any = false;
    uint32_t slots = view_slots(p->view);
    for (uint32_t n = 1; n <= slots; n++) {
        any = reclaim_log_of(p, n) || any;
    }
    return any;
}
