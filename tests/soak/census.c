/* SPDX-License-Identifier: MIT */
/* What must hold when everybody is dead: nothing is lost, nothing is torn, and all of it works. */
#include <stdlib.h>

#include "soak/soak.h"

#define PATIENCE ((int64_t)SECOND)

/* ---- locks ------------------------------------------------------------------------------- */

/* Takes and frees the mutex. False: it cannot be had. */
static bool have(hf_mutex *mutex, bool may_be_suspect, bool *suspect, const char *what, unsigned i)
{
    int result = hf_mutex_timedlock(mutex, PATIENCE);
    *suspect = result == -EOWNERDEAD;
    if (*suspect && may_be_suspect) {
        result = hf_mutex_consistent(mutex);
    }
    result = result != 0 ? result : hf_mutex_unlock(mutex);
    if (result != 0) {
        note_failure("census: the lock of %s %u gives %d: %s", what, i, result,
                     hf_strerror(result));
    }
    return result == 0;
}

static bool twins_are_good(struct twin *twin, const char *what, unsigned i)
{
    bool suspect;
    if (!have(&twin->guard.mutex, true, &suspect, what, i)) {
        return false;
    }
    if (!suspect && twin->one != twin->other) {
        note_failure("census: %s %u are %llu and %llu, and their last owner did not die", what, i,
                     (unsigned long long)twin->one, (unsigned long long)twin->other);
        return false;
    }
    return true;
}

static bool accounts_are_good(struct account *account, unsigned n, bool may_be_suspect,
                              const char *what)
{
    int64_t sum = 0;
    bool suspect;
    for (unsigned i = 0; i < n; i++) {
        if (!have(&account[i].guard.mutex, may_be_suspect, &suspect, what, i)) {
            return false;
        }
        sum += account[i].money;
    }
    if (sum != (int64_t)n * MONEY) {
        note_failure("census: %s hold %lld, not %d", what, (long long)sum, (int)n * MONEY);
    }
    return sum == (int64_t)n * MONEY;
}

static bool big_is_good(struct table *t)
{
    bool suspect;
    if (!have(&t->big_guard.mutex, false, &suspect, "the large range", 0)) {
        return false;
    }
    for (unsigned i = 1; i < BIG; i++) {
        if (t->big[i] != t->big[0]) {
            note_failure("census: the large range is torn: byte 0 is %u, byte %u is %u", t->big[0],
                         i, t->big[i]);
            return false;
        }
    }
    return true;
}

/* Words that only transactions change. */
static bool sure_twins_are_good(struct table *t)
{
    bool suspect;
    for (unsigned i = 0; i < ANVILS; i++) {
        if (!have(&t->anvil[i], true, &suspect, "anvil", i) ||
            !have(&t->sure[i].guard.mutex, false, &suspect, "sure twins", i)) {
            return false;
        }
        if (t->sure[i].one != t->sure[i].other) {
            note_failure("census: sure twins %u are %llu and %llu", i,
                         (unsigned long long)t->sure[i].one, (unsigned long long)t->sure[i].other);
            return false;
        }
    }
    return true;
}

static bool locks_are_good(struct table *t)
{
    bool suspect;
    bool good = accounts_are_good(t->strict, STRICT, false, "strict accounts") &&
                accounts_are_good(t->loose, LOOSE, true, "loose accounts") && big_is_good(t) &&
                have(&t->warden.mutex, true, &suspect, "the warden", 0) && sure_twins_are_good(t);
    for (unsigned i = 0; good && i < TWINS; i++) {
        good = twins_are_good(&t->twin[i], "twins", i);
    }
    for (unsigned i = 0; good && i < SHELVES; i++) {
        good = have(&t->shelf[i].guard.mutex, true, &suspect, "shelf", i);
    }
    for (unsigned i = 0; good && i < SURE_SHELVES; i++) {
        good = have(&t->sure_shelf[i].guard.mutex, false, &suspect, "sure shelf", i);
    }
    for (unsigned i = 0; good && i < STREAMS; i++) {
        good = have(&t->stream[i].guard.mutex, true, &suspect, "stream", i);
    }
    return good;
}

/* ---- pages ------------------------------------------------------------------------------- */

static uint64_t linked_pages(const struct table *t)
{
    uint64_t pages = 0;
    for (unsigned i = 0; i < RUNS; i++) {
        pages += t->run[i].link.value != 0 ? t->run[i].pages : 0;
    }
    return pages;
}

static bool overlap(const struct run *one, const struct run *other)
{
    uint64_t end = one->link.value + one->pages * HF_SEGMENT_PAGE;
    uint64_t other_end = other->link.value + other->pages * HF_SEGMENT_PAGE;
    return one->link.value != 0 && other->link.value != 0 && one->link.value < other_end &&
           other->link.value < end;
}

static bool runs_are_apart(const struct table *t)
{
    for (unsigned i = 0; i < RUNS; i++) {
        for (unsigned j = i + 1; j < RUNS; j++) {
            if (overlap(&t->run[i], &t->run[j])) {
                note_failure("census: runs %u and %u, at %#llx and %#llx, have pages in common", i,
                             j, (unsigned long long)t->run[i].link.value,
                             (unsigned long long)t->run[j].link.value);
                return false;
            }
        }
    }
    return true;
}

static bool run_is_good(hf_segment *segment, struct run *run, unsigned i)
{
    bool suspect;
    if (!have(&run->guard.mutex, true, &suspect, "run", i)) {
        return false;
    }
    uint64_t page = run->link.value == 0 || suspect ? run->pages : run_holds(segment, run);
    if (page != run->pages) {
        note_failure("census: page %llu of run %u, of %llu at %#llx, was written by someone else",
                     (unsigned long long)page, i, (unsigned long long)run->pages,
                     (unsigned long long)run->link.value);
    }
    return page == run->pages;
}

static bool free_run(hf_segment *segment, struct run *run, unsigned i)
{
    int error =
        run->link.value == 0 ? 0 : hf_pages_free(segment, run->pages * HF_SEGMENT_PAGE, &run->link);
    if (error != 0) {
        note_failure("census: run %u, of %llu pages at %#llx, cannot be given back: %s", i,
                     (unsigned long long)run->pages, (unsigned long long)run->link.value,
                     hf_strerror(error));
    }
    return error == 0;
}

static bool runs_are_good(hf_segment *segment, struct table *t)
{
    bool good = runs_are_apart(t);
    for (unsigned i = 0; good && i < RUNS; i++) {
        good = run_is_good(segment, &t->run[i], i);
    }
    for (unsigned i = 0; good && i < RUNS; i++) {
        good = free_run(segment, &t->run[i], i);
    }
    return good && is_whole(segment, 0, 1, "census, with all runs given back");
}

/* ---- the rest ---------------------------------------------------------------------------- */

static bool recover_all(hf_segment *segment, const char *which)
{
    int error = hf_segment_recover(segment, NULL);
    if (error != 0) {
        note_failure("%s: hf_segment_recover gives %s", which, hf_strerror(error));
    }
    return error == 0;
}

/* Nobody is there any more, not even us. */
static bool leaves_nobody(hf_segment *segment)
{
    int error = hf_thread_leave(segment);
    if (error != 0) {
        note_failure("census: hf_thread_leave gives %s", hf_strerror(error));
    }
    return error == 0 && is_whole(segment, 0, 0, "census, after leaving");
}

static bool side_root_is_good(hf_segment *segment, bool must_be_made)
{
    void *root;
    int error = hf_segment_root(segment, sizeof(struct side_table), &root);
    struct side_table *side = root;
    if (error != 0 || (must_be_made && side->made != SIDE_MADE)) {
        note_failure("census: a side segment is there and not made: %s", hf_strerror(error));
        return false;
    }
    return is_whole(segment, side->link.value != 0 ? SIDE_PAGES : 0, 1, "census, side segment") &&
           twins_are_good(&side->twin, "twins of side segment", 0);
}

static bool side_is_good(const struct arena *arena, unsigned i)
{
    hf_segment *segment;
    int error = hf_segment_open(arena->side[i], HF_READ_WRITE, &segment);
    if (error == -ENOENT) {
        return true;
    }
    if (error != 0) {
        note_failure("census: a side segment is there and cannot be opened: %s",
                     hf_strerror(error));
        return false;
    }
    bool good = recover_all(segment, "census, side segment") && side_root_is_good(segment, i == 0);
    hf_segment_close(segment);
    return good;
}

void census(struct arena *arena)
{
    int error = arena_open(arena);
    if (error != 0) {
        note_failure("census: the segment cannot be opened: %s", hf_strerror(error));
        return;
    }
    hf_segment *segment = arena->segment;
    bool good = recover_all(segment, "census") &&
                is_whole(segment, linked_pages(arena->table), 1, "census") &&
                locks_are_good(arena->table) && rooms_are_good(arena->table) &&
                boards_are_good(arena->table) && permits_are_good(arena->table) &&
                meetings_are_good(arena->table) && wakes_are_prompt(arena->table) &&
                names_are_good(segment) && blocks_are_good(segment, arena->table) &&
                runs_are_good(segment, arena->table) && leaves_nobody(segment);
    for (unsigned i = 0; good && i < 2; i++) {
        good = side_is_good(arena, i);
    }
}
