/* SPDX-License-Identifier: MIT */
/*
 * Blocks of the heap, on shelves: whoever has a shelf's lock may take blocks into its places, free
 * those that others have put there, and move them. Every block is always in a place, or reserved,
 * or a transaction's: so the census knows how many there are, to the byte.
 */
#include <string.h>

#include "soak/soak.h"

static size_t any_size(struct actor *a)
{
    uint64_t kind = below(&a->chance, 40);
    uint64_t most = kind == 0 ? 30000 : kind < 6 ? 8192 : 300;
    return sizeof(uint64_t) + 1 + (size_t)below(&a->chance, most);
}

static hf_off *any_place(struct actor *a, struct shelf *shelf)
{
    return &shelf->place[below(&a->chance, PLACES)];
}

/* ---- outside of transactions ------------------------------------------------------------- */

static void must_be_used(struct actor *a, hf_off place)
{
    if (hf_usable_size(a->segment, hf_segment_at(a->segment, place)) == 0) {
        fail(a, "there is no block at %#llx, which a place names", (unsigned long long)place.value);
    }
}

static void take_into(struct actor *a, hf_off *place)
{
    void *block;
    size_t size = any_size(a);
    if (!one_in(&a->chance, 3)) {
        (void)PERMIT(a, CALL(a, size, hf_alloc_into(a->segment, size, place)), -ENOMEM);
        return;
    }
    if (PERMIT(a, CALL(a, size, hf_reserve(a->segment, size, &block)), -ENOMEM) != 0) {
        return;
    }
    memset(block, 0x5a, size);
    linger(a);
    if (one_in(&a->chance, 4)) {
        must(a, CALL(a, 0, hf_free(a->segment, block)));
    } else {
        must(a, CALL(a, 0, hf_publish(a->segment, block, place)));
    }
}

/* A death leaves a shelf as it is between two of these. */
void change_shelf(struct actor *a)
{
    struct shelf *shelf = &a->table->shelf[below(&a->chance, SHELVES)];
    hold had = take(a, &shelf->guard, true);
    if (had == HAD_NOT) {
        return;
    }
    for (uint64_t n = below(&a->chance, 8); n > 0; n--) {
        hf_off *place = any_place(a, shelf);
        if (place->value == 0) {
            take_into(a, place);
        } else {
            must_be_used(a, *place);
            must(a, CALL(a, place->value, hf_free_from(a->segment, place)));
        }
        linger(a);
    }
    if (had == HAD_SUSPECT) {
        mended(a, &shelf->guard);
    }
    give(a, &shelf->guard);
}

/* What is reserved and not published goes with the thread, however that ends. */
void reserve_and_leave(struct actor *a)
{
    for (uint64_t n = below(&a->chance, 10); n > 0; n--) {
        void *block;
        size_t size = any_size(a);
        (void)PERMIT(a, CALL(a, size, hf_reserve(a->segment, size, &block)), -ENOMEM);
        linger(a);
    }
    must(a, CALL(a, 0, hf_thread_leave(a->segment)));
    join(a);
}

void trim_heap(struct actor *a)
{
    must(a, CALL(a, 0, hf_heap_trim(a->segment)));
}

/* ---- inside transactions ----------------------------------------------------------------- */

/* What a block of a sure shelf says of itself, written in the transaction that took it. */
static uint64_t stamp_of(hf_off place)
{
    return place.value * UINT64_C(0x9e3779b97f4a7c15);
}

static void must_be_stamped(struct actor *a, hf_off place)
{
    const uint64_t *word = hf_segment_at(a->segment, place);
    must_be_used(a, place);
    if (*word != stamp_of(place)) {
        fail(a, "the block at %#llx was written by someone else", (unsigned long long)place.value);
    }
}

static int take_surely(struct actor *a, hf_off *place)
{
    size_t size = any_size(a);
    int result = PERMIT(a, CALL(a, size, hf_alloc_into(a->segment, size, place)), -ENOMEM);
    if (result == 0) {
        *(uint64_t *)hf_segment_at(a->segment, *place) = stamp_of(*place);
    }
    return result;
}

static int move_surely(struct actor *a, hf_off *from, hf_off *to)
{
    int result = PERMIT(a, CALL(a, 0, hf_tx_add(a->segment, from, sizeof *from)), -ENOMEM);
    if (result == 0) {
        result = PERMIT(a, CALL(a, 0, hf_tx_add(a->segment, to, sizeof *to)), -ENOMEM);
    }
    if (result == 0) {
        *to = *from;
        from->value = 0;
    }
    return result;
}

static int change_surely(struct actor *a, struct shelf *shelf, struct shelf *other)
{
    hf_off *place = any_place(a, shelf);
    hf_off *to = any_place(a, other);
    if (place->value == 0) {
        return take_surely(a, place);
    }
    must_be_stamped(a, *place);
    if (to->value == 0 && to != place && one_in(&a->chance, 3)) {
        return move_surely(a, place, to);
    }
    return PERMIT(a, CALL(a, place->value, hf_free_from(a->segment, place)), -ENOMEM);
}

static void take_sure_shelf(struct actor *a, struct shelf *shelf)
{
    if (take(a, &shelf->guard, false) != HAD_GOOD) {
        fail(a, "a lock that is only held inside transactions says that its owner died");
    }
}

/* Many at times, so that the log goes on in pages, and some die in the commit. */
void change_sure_shelves(struct actor *a)
{
    uint64_t i = below(&a->chance, SURE_SHELVES - 1);
    uint64_t j = i + 1 + below(&a->chance, SURE_SHELVES - 1 - i);
    struct shelf *one = &a->table->sure_shelf[i];
    struct shelf *other = &a->table->sure_shelf[j];
    must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    take_sure_shelf(a, one);
    take_sure_shelf(a, other);
    for (uint64_t n = below(&a->chance, one_in(&a->chance, 10) ? 100 : 8); n > 0; n--) {
        bool turned = one_in(&a->chance, 2);
        (void)change_surely(a, turned ? other : one, turned ? one : other);
        linger(a);
    }
    give(a, &one->guard);
    give(a, &other->guard);
    if (one_in(&a->chance, 5)) {
        must(a, CALL(a, 0, hf_tx_abort(a->segment)));
    } else {
        must(a, CALL(a, 0, hf_tx_commit(a->segment)));
        count(a->seat, COUNT_COMMITS, 1);
    }
}

/* ---- again and again --------------------------------------------------------------------- */

#define BLOWS 500u

void hammer_blocks(struct actor *a)
{
    struct shelf *shelf = &a->table->shelf[below(&a->chance, SHELVES)];
    hold had = take(a, &shelf->guard, true);
    if (had == HAD_NOT) {
        return;
    }
    hf_off *place = any_place(a, shelf);
    uint64_t n = 1 + below(&a->chance, BLOWS);
    size_t size = any_size(a);
    int result = 0;
    linger(a);
    call_begins(a, "hf_alloc_into, hf_free_from, many times",
                hf_segment_offset(a->segment, place).value);
    for (uint64_t i = 0; i < n && result == 0; i++) {
        result = place->value != 0 ? hf_free_from(a->segment, place)
                                   : hf_alloc_into(a->segment, size, place);
    }
    (void)PERMIT(a, call_ended(a, result), -ENOMEM);
    count(a->seat, COUNT_CALLS, n);
    if (had == HAD_SUSPECT) {
        mended(a, &shelf->guard);
    }
    give(a, &shelf->guard);
}

/* ---- the census -------------------------------------------------------------------------- */

static bool shelf_is_good(hf_segment *segment, const struct shelf *shelf, bool stamped,
                          uint64_t *blocks, uint64_t *bytes)
{
    for (unsigned i = 0; i < PLACES; i++) {
        hf_off place = shelf->place[i];
        uint64_t usable = hf_usable_size(segment, hf_segment_at(segment, place));
        *blocks += usable != 0;
        *bytes += usable;
        if ((place.value != 0) != (usable != 0) ||
            (stamped && usable != 0 &&
             *(uint64_t *)hf_segment_at(segment, place) != stamp_of(place))) {
            note_failure("census: the block at %#llx is gone, or another's",
                         (unsigned long long)place.value);
            return false;
        }
    }
    return true;
}

static bool shelves_are_good(hf_segment *segment, const struct table *t, uint64_t *blocks,
                             uint64_t *bytes)
{
    bool good = true;
    for (unsigned i = 0; i < SHELVES && good; i++) {
        good = shelf_is_good(segment, &t->shelf[i], false, blocks, bytes);
    }
    for (unsigned i = 0; i < SURE_SHELVES && good; i++) {
        good = shelf_is_good(segment, &t->sure_shelf[i], true, blocks, bytes);
    }
    return good;
}

static bool heap_holds(hf_segment *segment, uint64_t blocks, uint64_t bytes)
{
    hf_check_report report;
    uint64_t index = index_bytes(segment);
    int error = hf_check(segment, &report);
    blocks += index != 0 ? 1 : 0;
    bytes += index;
    if (error != 0 || report.blocks != blocks || report.bytes != bytes) {
        note_failure("census: %llu blocks of %llu bytes are on shelves, %llu of %llu in use: %s %s",
                     (unsigned long long)blocks, (unsigned long long)bytes,
                     (unsigned long long)report.blocks, (unsigned long long)report.bytes,
                     hf_strerror(error), report.what);
    }
    return error == 0 && report.blocks == blocks && report.bytes == bytes;
}

static bool clear_shelf(hf_segment *segment, struct shelf *shelf)
{
    int error = 0;
    for (unsigned i = 0; i < PLACES && error == 0; i++) {
        error = shelf->place[i].value != 0 ? hf_free_from(segment, &shelf->place[i]) : 0;
    }
    if (error != 0) {
        note_failure("census: a block cannot be freed: %s", hf_strerror(error));
    }
    return error == 0;
}

bool blocks_are_good(hf_segment *segment, struct table *t)
{
    hf_heap_info info;
    uint64_t blocks = 0;
    uint64_t bytes = 0;
    bool good = shelves_are_good(segment, t, &blocks, &bytes) && heap_holds(segment, blocks, bytes);
    for (unsigned i = 0; i < SHELVES && good; i++) {
        good = clear_shelf(segment, &t->shelf[i]);
    }
    for (unsigned i = 0; i < SURE_SHELVES && good; i++) {
        good = clear_shelf(segment, &t->sure_shelf[i]);
    }
    good = good && heap_holds(segment, 0, 0) && hf_heap_trim(segment) == 0 &&
           hf_heap_get_info(segment, &info) == 0;
    /* The index lies in a span at most. */
    bool little = good && info.held <= (index_bytes(segment) == 0 ? 0 : 8 * HF_SEGMENT_PAGE);
    if (good && !little) {
        note_failure("census: the heap holds %llu bytes with nothing in them",
                     (unsigned long long)info.held);
    }
    return little;
}
