/* SPDX-License-Identifier: MIT */
/*
 * Reader-writer locks, held in every way and changed from one into the other; and recursive ones.
 * Whoever may only read compares, and sees that nobody writes meanwhile.
 */
#include "segment/lock_layout.h"
#include "soak/soak.h"

#define BLOWS 500u

static uint64_t place_of(struct actor *a, const void *what)
{
    return hf_segment_offset(a->segment, what).value;
}

static struct room *some_room(struct actor *a)
{
    return &a->table->room[below(&a->chance, ROOMS)];
}

static int64_t some_time(struct actor *a)
{
    return 1 + (int64_t)below(&a->chance, 2 * MILLISECOND);
}

/* Which way of waiting: for ever, not at all, or for some time. */
enum { FOR_EVER, NOT_AT_ALL, SOME_TIME, WAYS };

static hold judge(struct actor *a, int result, bool may_fail)
{
    if (may_fail && (result == -EBUSY || result == -ETIMEDOUT)) {
        return HAD_NOT;
    }
    (void)PERMIT(a, result, -EOWNERDEAD);
    count(a->seat, COUNT_OWNERS_DEAD, result == -EOWNERDEAD ? 1 : 0);
    return result == 0 ? HAD_GOOD : HAD_SUSPECT;
}

/* ---- what must hold ---------------------------------------------------------------------- */

static uint64_t stamp(struct actor *a)
{
    return (uint64_t)a->thread << 32 | (uint32_t)++a->takes;
}

static void see_twins(struct actor *a, const struct room *room, hold had)
{
    if (had == HAD_GOOD && room->one != room->other) {
        fail(a, "room %#llx: twins are %llu and %llu, and nobody said that their owner died",
             (unsigned long long)place_of(a, room), (unsigned long long)room->one,
             (unsigned long long)room->other);
    }
}

/* Nobody else may have written since. */
static void see_unchanged(struct actor *a, const struct room *room, uint64_t one)
{
    linger(a);
    if (room->one != one) {
        fail(a, "room %#llx: somebody has written %llu over %llu while we had it",
             (unsigned long long)place_of(a, room), (unsigned long long)room->one,
             (unsigned long long)one);
    }
}

static void see_ours(struct actor *a, const struct room *room, uint64_t is, uint64_t ours)
{
    if (is != ours) {
        fail(a, "room %#llx is ours, and thread %u believes that it has it as well",
             (unsigned long long)place_of(a, room), (unsigned)(is >> 32));
    }
}

static uint32_t word_of(const void *lock)
{
    return load_relaxed(&((const struct lock *)lock)->word);
}

/* It is upgradably ours, and readers come in. */
static void see_open(struct actor *a, const struct room *room)
{
    uint32_t word = word_of(&room->lock);
    if ((word & LOCK_UPGRADABLE) == 0 || (word & LOCK_CLOSED) != 0) {
        fail(a, "room %#llx: after an upgrade in vain its word is %#x",
             (unsigned long long)place_of(a, room), (unsigned)word);
    }
}

/* ---- writing ----------------------------------------------------------------------------- */

/* It is held exclusively, and mended afterwards. */
static void write_in(struct actor *a, struct room *room, hold had)
{
    hf_rwlock *lock = &room->lock;
    uint64_t me = stamp(a);
    room->writer = me;
    see_twins(a, room, had);
    if (had == HAD_SUSPECT) {
        room->other = room->one;
        linger(a);
        must(a, CALL(a, place_of(a, lock), hf_rwlock_consistent(lock)));
    }
    room->one = room->one + 1;
    linger(a);
    room->other = room->one;
    see_ours(a, room, room->writer, me);
}

static void leave_shared(struct actor *a, struct room *room)
{
    hf_rwlock *lock = &room->lock;
    see_unchanged(a, room, room->one);
    must(a, CALL(a, place_of(a, lock), hf_rwlock_rdunlock(lock)));
}

static void leave_upgradable(struct actor *a, struct room *room)
{
    hf_rwlock *lock = &room->lock;
    uint64_t me = stamp(a);
    room->keeper = me;
    see_unchanged(a, room, room->one);
    see_ours(a, room, room->keeper, me);
    if (one_in(&a->chance, 3)) {
        must(a, CALL(a, place_of(a, lock), hf_rwlock_downgrade_to_shared(lock)));
        leave_shared(a, room);
    } else {
        must(a, CALL(a, place_of(a, lock), hf_rwlock_upunlock(lock)));
    }
}

/* The data need not be mended, if it is not let go of exclusively. */
static void leave_exclusive(struct actor *a, struct room *room, hold had)
{
    hf_rwlock *lock = &room->lock;
    uint64_t place = place_of(a, lock);
    switch (below(&a->chance, 4)) {
    case 0:
        must(a, CALL(a, place, hf_rwlock_downgrade_to_shared(lock)));
        leave_shared(a, room);
        return;
    case 1:
        must(a, CALL(a, place, hf_rwlock_downgrade_to_upgradable(lock)));
        leave_upgradable(a, room);
        return;
    default:
        if (had == HAD_SUSPECT) {
            write_in(a, room, had);
        }
        must(a, CALL(a, place, hf_rwlock_wrunlock(lock)));
    }
}

static void write_and_leave(struct actor *a, struct room *room, hold had)
{
    if (had != HAD_SUSPECT || !one_in(&a->chance, 4)) {
        write_in(a, room, had);
        had = HAD_GOOD;
    }
    leave_exclusive(a, room, had);
}

void write_room(struct actor *a)
{
    struct room *room = some_room(a);
    hf_rwlock *lock = &room->lock;
    uint64_t place = place_of(a, lock);
    uint64_t way = below(&a->chance, WAYS);
    int result = way == FOR_EVER     ? CALL(a, place, hf_rwlock_wrlock(lock))
                 : way == NOT_AT_ALL ? CALL(a, place, hf_rwlock_trywrlock(lock))
                                     : CALL(a, place, hf_rwlock_timedwrlock(lock, some_time(a)));
    hold had = judge(a, result, way != FOR_EVER);
    if (had != HAD_NOT) {
        write_and_leave(a, room, had);
    }
}

/* ---- reading ----------------------------------------------------------------------------- */

static void leave_or_become_writer(struct actor *a, struct room *room)
{
    hf_rwlock *lock = &room->lock;
    uint64_t place = place_of(a, lock);
    uint64_t one = room->one;
    int result = one_in(&a->chance, 2)
                     ? CALL(a, place, hf_rwlock_try_shared_to_exclusive(lock))
                     : CALL(a, place, hf_rwlock_timed_shared_to_exclusive(lock, some_time(a)));
    hold had = judge(a, result, true);
    see_unchanged(a, room, one);
    if (had == HAD_NOT) {
        leave_shared(a, room);
    } else {
        write_and_leave(a, room, had);
    }
}

static void leave_or_become_upgradable(struct actor *a, struct room *room)
{
    hf_rwlock *lock = &room->lock;
    uint64_t place = place_of(a, lock);
    uint64_t one = room->one;
    int result = one_in(&a->chance, 2)
                     ? CALL(a, place, hf_rwlock_try_shared_to_upgradable(lock))
                     : CALL(a, place, hf_rwlock_timed_shared_to_upgradable(lock, some_time(a)));
    hold had = judge(a, result, true);
    see_unchanged(a, room, one);
    if (had == HAD_NOT) {
        leave_shared(a, room);
    } else {
        leave_upgradable(a, room);
    }
}

/* Once more is always granted, with the same answer. */
static void read_deeper(struct actor *a, struct room *room, hold had)
{
    hf_rwlock *lock = &room->lock;
    uint64_t place = place_of(a, lock);
    if (judge(a, CALL(a, place, hf_rwlock_tryrdlock(lock)), false) != had) {
        fail(a, "room %#llx: its second reading is answered otherwise than the first",
             (unsigned long long)place);
    }
    leave_shared(a, room);
}

void read_room(struct actor *a)
{
    struct room *room = some_room(a);
    hf_rwlock *lock = &room->lock;
    uint64_t place = place_of(a, lock);
    uint64_t way = below(&a->chance, WAYS);
    int result = way == FOR_EVER     ? CALL(a, place, hf_rwlock_rdlock(lock))
                 : way == NOT_AT_ALL ? CALL(a, place, hf_rwlock_tryrdlock(lock))
                                     : CALL(a, place, hf_rwlock_timedrdlock(lock, some_time(a)));
    hold had = judge(a, result, way != FOR_EVER);
    if (had == HAD_NOT) {
        return;
    }
    see_twins(a, room, had);
    see_unchanged(a, room, room->one);
    switch (below(&a->chance, 5)) {
    case 0:
        read_deeper(a, room, had);
        leave_shared(a, room);
        return;
    case 1:
        leave_or_become_writer(a, room);
        return;
    case 2:
        leave_or_become_upgradable(a, room);
        return;
    default:
        leave_shared(a, room);
    }
}

/* ---- reading first, and perhaps writing -------------------------------------------------- */

void keep_room(struct actor *a)
{
    struct room *room = some_room(a);
    hf_rwlock *lock = &room->lock;
    uint64_t place = place_of(a, lock);
    uint64_t way = below(&a->chance, WAYS);
    int result = way == FOR_EVER     ? CALL(a, place, hf_rwlock_uplock(lock))
                 : way == NOT_AT_ALL ? CALL(a, place, hf_rwlock_tryuplock(lock))
                                     : CALL(a, place, hf_rwlock_timeduplock(lock, some_time(a)));
    hold had = judge(a, result, way != FOR_EVER);
    if (had == HAD_NOT) {
        return;
    }
    see_twins(a, room, had);
    uint64_t one = room->one;
    see_unchanged(a, room, one);
    way = below(&a->chance, WAYS + 1);
    if (way == WAYS) {
        leave_upgradable(a, room);
        return;
    }
    result = way == FOR_EVER     ? CALL(a, place, hf_rwlock_upgrade(lock))
             : way == NOT_AT_ALL ? CALL(a, place, hf_rwlock_tryupgrade(lock))
                                 : CALL(a, place, hf_rwlock_timedupgrade(lock, some_time(a)));
    hold upgraded = judge(a, result, way != FOR_EVER);
    see_unchanged(a, room, one);
    if (upgraded == HAD_NOT) {
        see_open(a, room);
        leave_upgradable(a, room);
        return;
    }
    if (upgraded != had) {
        fail(a, "room %#llx: upgrading gives %d, taking it gave another answer",
             (unsigned long long)place, result);
    }
    write_and_leave(a, room, upgraded);
}

/* ---- inside transactions ------------------------------------------------------------------- */

static void see_sure_twins(struct actor *a, const struct room *room)
{
    if (room->one != room->other) {
        fail(a, "sure room: twins are %llu and %llu", (unsigned long long)room->one,
             (unsigned long long)room->other);
    }
}

/* Its lock never says that an owner has died. */
void write_sure_room(struct actor *a)
{
    struct room *room = &a->table->sure_room;
    hf_rwlock *lock = &room->lock;
    uint64_t place = place_of(a, lock);
    must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    must(a, CALL(a, place, hf_rwlock_wrlock(lock)));
    see_sure_twins(a, room);
    must(a, CALL(a, place, hf_tx_add(a->segment, (const void *)&room->one, 16)));
    room->one = room->one + 1;
    linger(a);
    room->other = room->one;
    must(a, CALL(a, place, hf_rwlock_wrunlock(lock)));
    if (one_in(&a->chance, 3)) { /* it is kept, and may be read meanwhile */
        must(a, CALL(a, place, hf_rwlock_rdlock(lock)));
        see_sure_twins(a, room);
        must(a, CALL(a, place, hf_rwlock_rdunlock(lock)));
    }
    if (one_in(&a->chance, 3)) {
        must(a, CALL(a, 0, hf_tx_abort(a->segment)));
    } else {
        must(a, CALL(a, 0, hf_tx_commit(a->segment)));
        count(a->seat, COUNT_COMMITS, 1);
    }
}

void read_sure_room(struct actor *a)
{
    struct room *room = &a->table->sure_room;
    hf_rwlock *lock = &room->lock;
    uint64_t place = place_of(a, lock);
    must(a, CALL(a, place, hf_rwlock_rdlock(lock)));
    see_sure_twins(a, room);
    see_unchanged(a, room, room->one);
    see_sure_twins(a, room);
    must(a, CALL(a, place, hf_rwlock_rdunlock(lock)));
}

/* ---- many times -------------------------------------------------------------------------- */

static int read_quickly(hf_rwlock *lock)
{
    int result = hf_rwlock_rdlock(lock);
    return result == 0 || result == -EOWNERDEAD ? hf_rwlock_rdunlock(lock) : result;
}

static int write_quickly(hf_rwlock *lock)
{
    int result = hf_rwlock_wrlock(lock);
    result = result == -EOWNERDEAD ? hf_rwlock_consistent(lock) : result;
    return result == 0 ? hf_rwlock_wrunlock(lock) : result;
}

static int upgrade_quickly(hf_rwlock *lock)
{
    int result = hf_rwlock_uplock(lock);
    result = result == 0 || result == -EOWNERDEAD ? hf_rwlock_upgrade(lock) : result;
    result = result == -EOWNERDEAD ? hf_rwlock_consistent(lock) : result;
    result = result == 0 ? hf_rwlock_downgrade_to_shared(lock) : result;
    return result == 0 ? hf_rwlock_rdunlock(lock) : result;
}

void hammer_rooms(struct actor *a)
{
    hf_rwlock *lock = &a->table->anvil_room.lock;
    uint64_t n = 1 + below(&a->chance, BLOWS);
    int result = 0;
    linger(a);
    call_begins(a, "hf_rwlock: read, write, upgrade, many times", place_of(a, lock));
    for (uint64_t i = 0; i < n && result == 0; i++) {
        uint64_t what = below(&a->chance, 4);
        result = what == 0   ? write_quickly(lock)
                 : what == 1 ? upgrade_quickly(lock)
                             : read_quickly(lock);
    }
    must(a, call_ended(a, result));
    count(a->seat, COUNT_CALLS, 2 * n);
}

/* ---- recursive mutexes --------------------------------------------------------------------- */

static hold take_cell(struct actor *a, struct cell *cell)
{
    hf_recursive_mutex *mutex = &cell->mutex;
    uint64_t place = place_of(a, mutex);
    uint64_t way = below(&a->chance, WAYS);
    int result = way == FOR_EVER ? CALL(a, place, hf_recursive_mutex_lock(mutex))
                 : way == NOT_AT_ALL
                     ? CALL(a, place, hf_recursive_mutex_trylock(mutex))
                     : CALL(a, place, hf_recursive_mutex_timedlock(mutex, some_time(a)));
    return judge(a, result, way != FOR_EVER);
}

/* Held `depth` times afterwards; the inner ones are granted at once. */
static void change_cell(struct actor *a, struct cell *cell, hold had, uint64_t depth)
{
    hf_recursive_mutex *mutex = &cell->mutex;
    uint64_t place = place_of(a, mutex);
    uint64_t me = stamp(a);
    cell->holder = me;
    if (had == HAD_GOOD && cell->one != cell->other) {
        fail(a, "cell: twins are %llu and %llu, and nobody said that their owner died",
             (unsigned long long)cell->one, (unsigned long long)cell->other);
    }
    for (uint64_t i = 1; i < depth; i++) {
        must(a, CALL(a, place, hf_recursive_mutex_trylock(mutex)));
    }
    if (had == HAD_SUSPECT) {
        cell->other = cell->one;
        linger(a);
        must(a, CALL(a, place, hf_recursive_mutex_consistent(mutex)));
    }
    cell->one = cell->one + 1;
    linger(a);
    cell->other = cell->one;
    for (uint64_t i = 1; i < depth; i++) {
        must(a, CALL(a, place, hf_recursive_mutex_unlock(mutex)));
    }
    linger(a);
    if (cell->holder != me) {
        fail(a, "cell: it is still ours once, and thread %u believes that it has it as well",
             (unsigned)(cell->holder >> 32));
    }
}

void change_a_cell(struct actor *a)
{
    struct cell *cell = &a->table->cell;
    hf_recursive_mutex *mutex = &cell->mutex;
    hold had = take_cell(a, cell);
    if (had == HAD_NOT) {
        return;
    }
    change_cell(a, cell, had, 1 + below(&a->chance, 4));
    must(a, CALL(a, place_of(a, mutex), hf_recursive_mutex_unlock(mutex)));
    if (CALL(a, place_of(a, mutex), hf_recursive_mutex_unlock(mutex)) != -EPERM) {
        fail(a, "a recursive mutex is unlocked once more than it was locked");
    }
}

/* ---- the census -------------------------------------------------------------------------- */

/* Every lock's bytes begin with its word: nobody has it, nobody waits, nothing is to be mended. */
static bool is_free(const void *lock, const char *what)
{
    uint32_t word = word_of(lock);
    if (word != 0) {
        note_failure("census: the lock of %s is free, and its word is %#x", what, (unsigned)word);
    }
    return word == 0;
}

static bool answers(int result, bool may_be_suspect, const char *what)
{
    bool good = result == 0 || (result == -EOWNERDEAD && may_be_suspect);
    if (!good) {
        note_failure("census: the lock of %s gives %d: %s", what, result, hf_strerror(result));
    }
    return good;
}

static bool are_equal(uint64_t one, uint64_t other, const char *what)
{
    if (one != other) {
        note_failure("census: twins of %s are %llu and %llu, and their last owner did not die",
                     what, (unsigned long long)one, (unsigned long long)other);
    }
    return one == other;
}

/* The dead are recovered: nobody has to be waited for. */
static bool room_is_good(struct room *room, bool may_be_suspect, const char *what)
{
    int result = hf_rwlock_trywrlock(&room->lock);
    if (!answers(result, may_be_suspect, what) ||
        (result == 0 && !are_equal(room->one, room->other, what))) {
        return false;
    }
    result = result == -EOWNERDEAD ? hf_rwlock_consistent(&room->lock) : result;
    result = result != 0 ? result : hf_rwlock_wrunlock(&room->lock);
    return answers(result, false, what) && is_free(&room->lock, what);
}

static bool cell_is_good(struct cell *cell)
{
    int result = hf_recursive_mutex_trylock(&cell->mutex);
    if (!answers(result, true, "the cell") ||
        (result == 0 && !are_equal(cell->one, cell->other, "the cell"))) {
        return false;
    }
    result = result == -EOWNERDEAD ? hf_recursive_mutex_consistent(&cell->mutex) : result;
    result = result != 0 ? result : hf_recursive_mutex_unlock(&cell->mutex);
    return answers(result, false, "the cell") && is_free(&cell->mutex, "the cell");
}

bool rooms_are_good(struct table *t)
{
    bool good = room_is_good(&t->sure_room, false, "the sure room") &&
                room_is_good(&t->anvil_room, true, "the hammered room") && cell_is_good(&t->cell);
    for (unsigned i = 0; good && i < ROOMS; i++) {
        good = room_is_good(&t->room[i], true, "a room");
    }
    return good;
}
