/* SPDX-License-Identifier: MIT */
/*
 * Barriers, whose members die at all times, and which are begun anew; and halls, in which there are
 * an event, a latch and a once. Whoever is in a hall holds its door shared; exclusively, it begins
 * them anew.
 */
#include "segment/barrier_layout.h"
#include "soak/soak.h"

#define STEPS 20u /* of a latch */

static uint64_t place_of(struct actor *a, const void *what)
{
    return hf_segment_offset(a->segment, what).value;
}

static int64_t some_time(struct actor *a)
{
    return (int64_t)below(&a->chance, 4 * MILLISECOND);
}

/* ---- barriers ---------------------------------------------------------------------------- */

static void begin_anew(struct actor *a, hf_barrier *barrier, uint32_t members)
{
    linger(a);
    must(a, CALL(a, place_of(a, barrier), hf_barrier_reset(barrier, members)));
}

/* False: there is no barrier to meet at any more. */
static bool meet(struct actor *a, hf_barrier *barrier)
{
    int64_t time = some_time(a);
    int result = CALL(a, place_of(a, barrier), hf_barrier_timedwait(barrier, time));
    if (result == 1) {
        count(a->seat, COUNT_MEETINGS, 1);
        return true;
    }
    return PERMIT(a, result, -ESRCH, -EPERM, time == 0 ? -EBUSY : -ETIMEDOUT) != -ESRCH &&
           result != -EPERM;
}

void go_to_a_meeting(struct actor *a)
{
    uint32_t i = (uint32_t)below(&a->chance, BARRIERS);
    hf_barrier *barrier = &a->table->barrier[i];
    uint64_t times = 1 + below(&a->chance, 4);
    bool is_there = true;
    if (one_in(&a->chance, 4)) {
        is_there = PERMIT(a, CALL(a, place_of(a, barrier), hf_barrier_join(barrier)), -ESRCH) == 0;
    }
    for (; is_there && times > 0; times--) {
        linger(a);
        is_there = meet(a, barrier);
    }
    if (!is_there) {
        begin_anew(a, barrier, i + 2);
    } else if (one_in(&a->chance, 16)) {
        (void)PERMIT(a, CALL(a, place_of(a, barrier), hf_barrier_leave(barrier)), -EPERM);
    }
}

/* ---- events ------------------------------------------------------------------------------ */

/* What is noted is so, unless who noted it died. */
static void see_event(struct actor *a, struct hall *hall, hold had)
{
    int is_set = hf_event_is_set(&hall->event);
    if (had == HAD_SUSPECT) {
        hall->is_set = (uint64_t)is_set;
        hall->set_ns = now_ns();
    }
    if (is_set != (int)hall->is_set) {
        fail(a, "hall: its event says %d, and was left as %d", is_set, (int)hall->is_set);
    }
}

static void see_latch(struct actor *a, struct hall *hall, hold had)
{
    uint32_t left = 0;
    must(a, hf_latch_value(&hall->latch, &left));
    bool may_be_less = had == HAD_SUSPECT && left + hall->less == hall->left;
    if (left != hall->left && !may_be_less) {
        fail(a, "hall: its latch has %u left; there were %u, of which %u %s counted down",
             (unsigned)left, (unsigned)hall->left, (unsigned)hall->less,
             had == HAD_SUSPECT ? "may have been" : "were not");
    }
    if (had == HAD_SUSPECT) {
        hall->left = left;
        hall->opened_ns = now_ns();
    }
    hall->less = 0;
}

static void take_notes(struct actor *a, struct hall *hall)
{
    hold had = take(a, &hall->guard, false);
    see_event(a, hall, had);
    see_latch(a, hall, had);
    if (had == HAD_SUSPECT) {
        mended(a, &hall->guard);
    }
}

static void set_or_reset(struct actor *a, struct hall *hall)
{
    hf_event *event = &hall->event;
    take_notes(a, hall);
    if (one_in(&a->chance, 2)) {
        hall->settings = hall->settings + 1;
        must(a, CALL(a, place_of(a, event), hf_event_set(event)));
        linger(a);
        hall->is_set = 1;
        hall->set_ns = now_ns();
    } else {
        must(a, CALL(a, place_of(a, event), hf_event_reset(event)));
        linger(a);
        hall->is_set = 0;
    }
    give(a, &hall->guard);
}

static void await_event(struct actor *a, struct hall *hall)
{
    hf_event *event = &hall->event;
    int64_t time = some_time(a);
    take_notes(a, hall);
    uint64_t was_set = hall->is_set;
    uint64_t settings = hall->settings;
    give(a, &hall->guard);
    uint64_t deadline = now_ns() + (uint64_t)time;
    int result = CALL(a, place_of(a, event), hf_event_timedwait(event, time));
    (void)PERMIT(a, result, time == 0 ? -EBUSY : -ETIMEDOUT);
    take_notes(a, hall);
    if (result == 0 && was_set == 0 && hall->settings == settings) {
        fail(a, "hall: its event has let us go, and nobody has set it");
    }
    if (result != 0 && hall->is_set != 0 && hall->set_ns < deadline) {
        fail(a, "hall: its event was set %llu ns before our time was over, and we were not let go",
             (unsigned long long)(deadline - hall->set_ns));
    }
    give(a, &hall->guard);
}

/* ---- latches ----------------------------------------------------------------------------- */

static void count_down(struct actor *a, struct hall *hall)
{
    hf_latch *latch = &hall->latch;
    uint32_t n = 1 + (uint32_t)below(&a->chance, 3);
    take_notes(a, hall);
    if (n > hall->left) {
        if (CALL(a, n, hf_latch_count_down(latch, n)) != -EINVAL) {
            fail(a, "hall: more was counted down than was left");
        }
        give(a, &hall->guard);
        return;
    }
    hall->less = n;
    must(a, CALL(a, n, hf_latch_count_down(latch, n)));
    linger(a);
    hall->opened_ns = now_ns();
    hall->left = hall->left - n;
    hall->less = 0;
    give(a, &hall->guard);
}

static void await_latch(struct actor *a, struct hall *hall)
{
    hf_latch *latch = &hall->latch;
    int64_t time = some_time(a);
    uint64_t deadline = now_ns() + (uint64_t)time;
    int result = CALL(a, place_of(a, latch), hf_latch_timedwait(latch, time));
    (void)PERMIT(a, result, time == 0 ? -EBUSY : -ETIMEDOUT);
    take_notes(a, hall);
    if (result == 0 && hall->left != 0) {
        fail(a, "hall: its latch has let us go, and %u are left", (unsigned)hall->left);
    }
    if (result != 0 && hall->left == 0 && hall->opened_ns < deadline) {
        fail(a, "hall: its latch was open %llu ns before our time was over, and we were not let go",
             (unsigned long long)(deadline - hall->opened_ns));
    }
    give(a, &hall->guard);
}

/* ---- onces ------------------------------------------------------------------------------- */

struct errand {
    struct actor *a;
    struct hall *hall;
};

/* One thread at a time does it, and nobody once it is done. Most give up in the middle. */
static int do_it(void *context)
{
    struct errand *errand = context;
    struct actor *a = errand->a;
    struct hall *hall = errand->hall;
    uint64_t me = (uint64_t)a->thread << 32 | (uint32_t)++a->takes;
    hall->doer = me;
    if (hf_once_is_done(&hall->once) != 0) {
        fail(a, "hall: what was to be done once is done again");
    }
    hall->one = hall->one + 1;
    linger(a);
    if (!one_in(&a->chance, 4)) {
        return -ECANCELED;
    }
    hall->other = hall->one;
    if (hall->doer != me) {
        fail(a, "hall: we do what is to be done once, and so does thread %u",
             (unsigned)(hall->doer >> 32));
    }
    return 0;
}

static void do_once(struct actor *a, struct hall *hall)
{
    struct errand errand = {a, hall};
    hf_once *once = &hall->once;
    int64_t time = some_time(a);
    int result = CALL(a, place_of(a, once), hf_once_timedcall(once, do_it, &errand, time));
    if (PERMIT(a, result, -ECANCELED, time == 0 ? -EBUSY : -ETIMEDOUT) != 0) {
        return;
    }
    uint64_t one = hall->one;
    linger(a);
    if (hf_once_is_done(once) != 1 || hall->one != one || hall->other != one) {
        fail(a, "hall: it was done once, and is %llu and %llu", (unsigned long long)hall->one,
             (unsigned long long)hall->other);
    }
}

/* ---- halls ------------------------------------------------------------------------------- */

int begin_hall(struct hall *hall, uint32_t steps)
{
    int error = hf_latch_init(&hall->latch, steps);
    error = error != 0 ? error : hf_once_init(&hall->once);
    hall->left = steps;
    hall->less = 0;
    return error;
}

/* Nobody else is inside; who was may have died in the middle of it. */
static void renew(struct actor *a, struct hall *hall, hold had)
{
    hf_rwlock *door = &hall->door;
    hold noted = take(a, &hall->guard, false);
    see_event(a, hall, noted);
    if (had == HAD_SUSPECT || (hall->left == 0 && hf_once_is_done(&hall->once) == 1)) {
        call_begins(a, "hf_latch_init, hf_once_init", place_of(a, hall));
        must(a, call_ended(a, begin_hall(hall, 1 + (uint32_t)below(&a->chance, STEPS))));
        linger(a);
    } else {
        see_latch(a, hall, noted);
    }
    if (noted == HAD_SUSPECT) {
        mended(a, &hall->guard);
    }
    give(a, &hall->guard);
    if (had == HAD_SUSPECT) {
        must(a, CALL(a, place_of(a, door), hf_rwlock_consistent(door)));
    }
    must(a, CALL(a, place_of(a, door), hf_rwlock_wrunlock(door)));
}

void renew_hall(struct actor *a)
{
    struct hall *hall = &a->table->hall[below(&a->chance, HALLS)];
    hf_rwlock *door = &hall->door;
    int64_t time = some_time(a);
    int result = CALL(a, place_of(a, door), hf_rwlock_timedwrlock(door, time));
    if (result == -EBUSY || result == -ETIMEDOUT) {
        return;
    }
    renew(a, hall, PERMIT(a, result, -EOWNERDEAD) == 0 ? HAD_GOOD : HAD_SUSPECT);
}

void visit_hall(struct actor *a)
{
    static void (*const doings[])(struct actor *, struct hall *) = {
        set_or_reset, await_event, count_down, await_latch, do_once};
    struct hall *hall = &a->table->hall[below(&a->chance, HALLS)];
    hf_rwlock *door = &hall->door;
    int result = CALL(a, place_of(a, door), hf_rwlock_timedrdlock(door, some_time(a)));
    if (result == -EBUSY || result == -ETIMEDOUT) {
        return;
    }
    if (PERMIT(a, result, -EOWNERDEAD) == 0) { /* otherwise it has to be renewed */
        doings[below(&a->chance, sizeof doings / sizeof doings[0])](a, hall);
    }
    must(a, CALL(a, place_of(a, door), hf_rwlock_rdunlock(door)));
}

/* ---- the census -------------------------------------------------------------------------- */

static uint64_t state_of(const void *barrier)
{
    return load_relaxed(&((const struct barrier *)barrier)->state);
}

/* Whoever comes alone, however often, has not come: nobody is met. */
static int nobody_is_met(hf_barrier *barrier, uint32_t members)
{
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < members; i++) {
        int result = hf_barrier_timedwait(barrier, (int64_t)(100 * MICROSECOND));
        error = result == -ETIMEDOUT ? 0 : result == 1 ? -EALREADY : result;
    }
    return error;
}

/* All members are dead: it is broken, or nobody has arrived. */
static bool barrier_is_good(hf_barrier *barrier, uint32_t members)
{
    uint64_t state = state_of(barrier);
    uint64_t arrived = state >> BARRIER_ARRIVED_SHIFT & BARRIER_COUNT_MASK;
    if ((state & BARRIER_BROKEN) == 0 && arrived != 0) {
        note_failure("census: %u have arrived at a barrier and died, and it is not broken: %#llx",
                     (unsigned)arrived, (unsigned long long)state);
        return false;
    }
    int error = hf_barrier_fini(barrier);
    error = error != 0 ? error : hf_barrier_init(barrier, members);
    error = error != 0 ? error : hf_barrier_join(barrier);
    error = error != 0 ? error : nobody_is_met(barrier, members);
    error = error != 0 ? error : hf_barrier_leave(barrier);
    error = error != 0 ? error : hf_barrier_reset(barrier, members);
    if (error != 0) {
        note_failure("census: a barrier of the dead gives %d: %s", error, hf_strerror(error));
    }
    return error == 0;
}

static int finish(void *context)
{
    (void)context;
    return 0;
}

static bool hall_is_good(struct hall *hall)
{
    uint32_t left = 0;
    int result = hf_rwlock_trywrlock(&hall->door);
    bool renewing = result == -EOWNERDEAD;
    int noted = hf_mutex_trylock(&hall->guard.mutex);
    int done = hf_once_is_done(&hall->once);
    int error = hf_latch_value(&hall->latch, &left);
    bool latch =
        renewing || left == hall->left || (noted == -EOWNERDEAD && left + hall->less == hall->left);
    bool event = noted != 0 || hf_event_is_set(&hall->event) == (int)hall->is_set;
    bool once = renewing || done != 1 || hall->one == hall->other;
    bool doable = hf_once_timedcall(&hall->once, finish, NULL, 0) == 0;
    if (error != 0 || (result != 0 && !renewing) || (noted != 0 && noted != -EOWNERDEAD) ||
        !latch || !event || !once || !doable) {
        note_failure("census: hall: door %d, notes %d; latch %s, with %u left of %u less %u; event "
                     "%s; once %s, %s",
                     result, noted, latch ? "good" : "wrong", (unsigned)left, (unsigned)hall->left,
                     (unsigned)hall->less, event ? "good" : "wrong", once ? "good" : "torn",
                     doable ? "free" : "held");
        return false;
    }
    return hf_rwlock_consistent(&hall->door) == (renewing ? 0 : -EINVAL) &&
           hf_mutex_consistent(&hall->guard.mutex) == (noted != 0 ? 0 : -EINVAL) &&
           hf_mutex_unlock(&hall->guard.mutex) == 0 && hf_rwlock_wrunlock(&hall->door) == 0;
}

bool meetings_are_good(struct table *t)
{
    bool good = true;
    for (uint32_t i = 0; good && i < BARRIERS; i++) {
        good = barrier_is_good(&t->barrier[i], i + 2);
    }
    for (unsigned i = 0; good && i < HALLS; i++) {
        good = hall_is_good(&t->hall[i]);
    }
    return good;
}
