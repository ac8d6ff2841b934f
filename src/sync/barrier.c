/* SPDX-License-Identifier: MIT */
/*
 * hf_barrier. Its state is one word (barrier_layout.h); its members stand in their own slots:
 *     waiting   (1) hold = member, of this epoch
 *               (2) state: one more has arrived, or the next generation if it is the last
 *               (3) the last one wakes all; the others sleep while the state's lower half is as it
 *                   was
 *     death     (4) recovery: state |= BROKEN, if it is the hold's epoch; wakes all
 *               (5) hold = 0
 *     leaving   (6) state: one fewer is expected, or also the next generation
 *               (7) hold = 0
 * A member that dies at whatever place has its hold, so (4) comes before anybody could wait for it
 * in vain. A waiter looks for a new generation first, and then for BROKEN: so all of a generation
 * get the same answer.
 *
 * Each sleeps beside the life of the next member after it, in the order of their slots: whichever
 * member dies, the one before it hears of it at once, if that one waits, and breaks it for all. If
 * it does not, the others see it after a slice.
 */
#include <errno.h>
#include <limits.h>

#include "holdfast/barrier.h"
#include "segment/barrier_layout.h"
#include "segment/holds.h"
#include "segment/recovery.h"
#include "sync/enter.h"

_Static_assert(sizeof(hf_barrier) == sizeof(struct barrier), "the same bytes");
_Static_assert(_Alignof(hf_barrier) == _Alignof(struct barrier), "the same bytes");

#define ONE_ARRIVED  (UINT64_C(1) << BARRIER_ARRIVED_SHIFT)
#define ONE_EXPECTED (UINT64_C(1) << BARRIER_EXPECTED_SHIFT)

/* A call's: whose it is, and at which barrier. */
struct visit {
    struct participant *p;
    struct barrier *barrier;
    uint64_t offset;
};

/* ---- the state --------------------------------------------------------------------------- */

static uint64_t epoch_of(uint64_t state)
{
    return (state & BARRIER_EPOCH) / BARRIER_EPOCH_ONE;
}

static uint64_t arrived_of(uint64_t state)
{
    return state >> BARRIER_ARRIVED_SHIFT & BARRIER_COUNT_MASK;
}

static uint64_t expected_of(uint64_t state)
{
    return state >> BARRIER_EXPECTED_SHIFT & BARRIER_COUNT_MASK;
}

static uint64_t next_generation(uint64_t state)
{
    uint64_t kept = state & ~(BARRIER_GENERATION_LOW | BARRIER_COUNT_MASK << BARRIER_ARRIVED_SHIFT);
    uint64_t low = (state + 1) & BARRIER_GENERATION_LOW;
    return (low == 0 ? kept + BARRIER_GENERATION_TOP : kept) | low;
}

static void wake_all(struct barrier *barrier)
{
    (void)os_wake(&barrier->state, INT_MAX);
}

/* ---- beginning and end ------------------------------------------------------------------- */

static int begin_visit(hf_barrier *barrier, struct visit *v)
{
    v->barrier = (struct barrier *)(void *)barrier;
    return enter_lock((struct lock *)(void *)barrier, LOCK_BARRIER, &v->p, &v->offset);
}

static bool is_count(uint32_t count)
{
    return count > 0 && count <= HF_BARRIER_MAX;
}

/* ---- members ----------------------------------------------------------------------------- */

static uint32_t own_place(const struct visit *v)
{
    return hold_find(v->p->slot, v->offset, HOLD_MEMBER);
}

static void end_membership(const struct visit *v)
{
    uint32_t place = own_place(v);
    if (place != HOLDS_MAX) {
        hold_clear(v->p->slot, place);
    }
}

/* A member of the epoch in that state. */
static int become_member(const struct visit *v, uint64_t state)
{
    struct slot *slot = v->p->slot;
    uint64_t hold = hold_word(v->offset, HOLD_MEMBER, epoch_of(state));
    uint32_t place = own_place(v);
    if (place == HOLDS_MAX) {
        place = hold_place(slot);
    }
    if (place == HOLDS_MAX) {
        return -ENOLCK;
    }
    if (place >= holds_in_use(slot) || load_relaxed(&slot->holds[place]) != hold) {
        hold_set(slot, place, hold);
    }
    return 0;
}

/* Another member's slot, from that number on; 0: there is none. */
static uint32_t other_member(const struct visit *v, uint32_t from)
{
    uint32_t n = holds_find(v->p->view, from, v->offset, HOLD_MEMBER);
    return n == v->p->number ? holds_find(v->p->view, n + 1, v->offset, HOLD_MEMBER) : n;
}

/* The first slot, from that number on, that is a member of the epoch in that state; 0: none. What a
   reset leaves of earlier ones stays until its thread calls again. */
static uint32_t member_of_epoch(const struct visit *v, uint32_t from, uint64_t state)
{
    uint64_t hold = hold_word(v->offset, HOLD_MEMBER, epoch_of(state));
    for (uint32_t n = from; (n = holds_find(v->p->view, n, v->offset, HOLD_MEMBER)) != 0; n++) {
        const struct slot *slot = view_slot(v->p->view, n);
        uint32_t place = hold_find(slot, v->offset, HOLD_MEMBER);
        if (place != HOLDS_MAX && load_relaxed(&slot->holds[place]) == hold) {
            return n;
        }
    }
    return 0;
}

/* The next one that nobody is left a member of, whose death would break it. */
static uint64_t next_epoch(const struct visit *v, uint64_t state)
{
    uint64_t epoch = state & BARRIER_EPOCH;
    do {
        epoch = (epoch + BARRIER_EPOCH_ONE) & BARRIER_EPOCH;
    } while (member_of_epoch(v, 1, epoch) != 0);
    return epoch;
}

/* Recovers those that are dead. */
static void look_after_members(const struct visit *v, bool deep)
{
    for (uint32_t n = other_member(v, 1); n != 0; n = other_member(v, n + 1)) {
        if (presence_of(v->p->view, n, deep, NULL) == PRESENCE_DEAD) {
            (void)recovery_of(v->p, n);
        }
    }
}

/* The same for who does not wait, and may try again and again: the system is not asked as often. */
static void look_at_members(const struct visit *v)
{
    for (uint32_t n = other_member(v, 1); n != 0; n = other_member(v, n + 1)) {
        (void)lock_wait_beside(v->p, n, NULL, 0, 0);
    }
}

int hf_barrier_join(hf_barrier *barrier)
{
    struct visit v;
    int error = begin_visit(barrier, &v);
    if (error != 0) {
        return error;
    }
    look_after_members(&v, true);
    uint64_t state = load_relaxed(&v.barrier->state);
    if ((state & BARRIER_BROKEN) != 0) {
        end_membership(&v);
        return call_end(v.p, -ESRCH);
    }
    return call_end(v.p, become_member(&v, state));
}

/* One fewer is expected; true: the others were all there. */
static bool expect_one_fewer(struct barrier *barrier, uint64_t epoch)
{
    bool complete;
    uint64_t next;
    uint64_t state = load_relaxed(&barrier->state);
    do {
        if ((state & BARRIER_BROKEN) != 0 || epoch_of(state) != epoch || expected_of(state) == 0) {
            return false;
        }
        next = state - ONE_EXPECTED;
        complete = arrived_of(next) > 0 && arrived_of(next) >= expected_of(next);
        next = complete ? next_generation(next) : next;
    } while (!cas_release(&barrier->state, &state, next)); /* partner: judge */
    return complete;
}

int hf_barrier_leave(hf_barrier *barrier)
{
    struct visit v;
    int error = begin_visit(barrier, &v);
    if (error != 0) {
        return error;
    }
    uint32_t place = own_place(&v);
    if (place == HOLDS_MAX) {
        return call_end(v.p, -EPERM);
    }
    uint64_t epoch = hold_count(load_relaxed(&v.p->slot->holds[place]));
    if (epoch != epoch_of(load_relaxed(&v.barrier->state))) { /* reset since */
        hold_clear(v.p->slot, place);
        return call_end(v.p, -EPERM);
    }
    v.p->hold_open = place + 1; /* who jumps out may have left, and is not to leave once more */
    crash_fence();
    if (expect_one_fewer(v.barrier, epoch)) {
        wake_all(v.barrier);
    }
    hold_clear(v.p->slot, place);
    v.p->hold_open = 0;
    return call_end(v.p, 0);
}

/* The dead may have been members of what was a barrier here before, and are not to break this one:
   they are recovered first, and it is of another epoch. */
int hf_barrier_init(hf_barrier *barrier, uint32_t count)
{
    struct visit v = {.barrier = (struct barrier *)(void *)barrier};
    if (!is_count(count)) {
        return -EINVAL;
    }
    int error = enter_new_lock((struct lock *)(void *)barrier, &v.p, &v.offset);
    if (error != 0) {
        return error;
    }
    look_after_members(&v, true);
    uint64_t epoch = next_epoch(&v, load_relaxed(&v.barrier->state));
    store_relaxed(&v.barrier->word, 0);
    store_relaxed(&v.barrier->unused, 0);
    HF_LOG_STORE(&v.barrier->state, count * ONE_EXPECTED | epoch);
    HF_LOG_STORE(&v.barrier->self, v.offset);
    HF_LOG_STORE(&v.barrier->kind, LOCK_BARRIER);
    return call_end(v.p, 0);
}

int hf_barrier_reset(hf_barrier *barrier, uint32_t count)
{
    struct visit v;
    int error = is_count(count) ? begin_visit(barrier, &v) : -EINVAL;
    if (error != 0) {
        return error;
    }
    uint64_t state = load_relaxed(&v.barrier->state);
    uint64_t fresh;
    do {
        fresh = count * ONE_EXPECTED | next_epoch(&v, state) | (state & BARRIER_GENERATION);
    } while (!cas_release(&v.barrier->state, &state, fresh)); /* partner: judge */
    wake_all(v.barrier);
    return call_end(v.p, 0);
}

int hf_barrier_fini(hf_barrier *barrier)
{
    struct visit v;
    int error = begin_visit(barrier, &v);
    if (error != 0) {
        return error;
    }
    look_after_members(&v, true);
    uint64_t state = load_relaxed(&v.barrier->state);
    uint32_t member = member_of_epoch(&v, 1, state);
    if (member == v.p->number) {
        member = member_of_epoch(&v, member + 1, state);
    }
    if (member != 0) {
        return call_end(v.p, -EBUSY);
    }
    HF_LOG_STORE(&v.barrier->kind, LOCK_DESTROYED);
    HF_LOG_STORE(&v.barrier->self, 0); /* whatever the memory is used for, it is none to recovery */
    end_membership(&v);                /* after that its death breaks nothing */
    return call_end(v.p, 0);
}

/* ---- waiting ----------------------------------------------------------------------------- */

#define NOT_YET 1

/* What is to be said, by the state now, to one who had arrived in that one. */
static int judge(uint64_t state, uint64_t mine)
{
    if (epoch_of(state) != epoch_of(mine)) {
        return -ESRCH;
    }
    if ((state & BARRIER_GENERATION) != (mine & BARRIER_GENERATION)) {
        return 0;
    }
    return (state & BARRIER_BROKEN) != 0 ? -ESRCH : NOT_YET;
}

/* 1: arrived as the last; 0: arrived, *mine is the state then; -EAGAIN: the epoch has passed. */
static int arrive(struct barrier *barrier, bool only_as_last, uint64_t *mine)
{
    uint64_t epoch = epoch_of(*mine);
    uint64_t state = *mine;
    uint64_t next;
    bool last;
    do {
        uint64_t expected = expected_of(state);
        last = arrived_of(state) + 1 == expected;
        if (epoch_of(state) != epoch) {
            return -EAGAIN;
        }
        if ((state & BARRIER_BROKEN) != 0) {
            return -ESRCH;
        }
        if (arrived_of(state) >= expected) {
            return expected == 0 ? -EPERM : -EBADMSG;
        }
        if (only_as_last && !last) {
            return -EBUSY;
        }
        next = last ? next_generation(state) : state + ONE_ARRIVED;
    } while (!cas_release(&barrier->state, &state, next)); /* partner: judge */
    (void)load_acquire(&barrier->state);                   /* what those wrote who arrived before */
    *mine = next;
    return last ? 1 : 0;
}

/* The time is over: as if it had not come, unless it is too late for that. */
static int take_back(struct barrier *barrier, uint64_t mine)
{
    uint64_t state = load_acquire(&barrier->state); /* partner: arrive */
    int result;
    while ((result = judge(state, mine)) == NOT_YET) {
        if (arrived_of(state) == 0) {
            return -EBADMSG;
        }
        if (cas_acquire(&barrier->state, &state, state - ONE_ARRIVED)) {
            return -ETIMEDOUT;
        }
    }
    return result;
}

/* Sleeps at most ns beside the next member. */
static void sleep_a_slice(const struct visit *v, uint64_t seen, int64_t ns)
{
    shared_u32 *lower = (shared_u32 *)(void *)&v->barrier->state;
    uint32_t beside = other_member(v, v->p->number + 1);
    beside = beside != 0 ? beside : other_member(v, 1);
    if (beside == 0 || lock_wait_beside(v->p, beside, lower, (uint32_t)seen, ns) == PRESENCE_NONE) {
        (void)os_wait(lower, (uint32_t)seen, ns);
    }
}

static int wait_for_others(const struct visit *v, uint64_t mine, int64_t timeout_ns)
{
    uint64_t start = os_now_ns();
    for (bool deep = false;; deep = true) {
        uint64_t state = load_acquire(&v->barrier->state); /* partner: arrive */
        int result = judge(state, mine);
        if (result != NOT_YET) {
            return result;
        }
        int64_t ns = lock_time_left(start, timeout_ns);
        if (ns == 0) {
            look_at_members(v);
            return take_back(v->barrier, mine);
        }
        look_after_members(v, deep);
        sleep_a_slice(v, state, ns);
    }
}

/* As a member: 0 or 1, or an error. */
static int meet(const struct visit *v, int64_t timeout_ns)
{
    uint64_t mine;
    int result;
    bool looked = false;
    do {
        mine = load_relaxed(&v->barrier->state);
        result = become_member(v, mine);
        if (result != 0) {
            return result;
        }
        v->p->hold_open = own_place(v) + 1; /* who jumps out has arrived, and does not wait */
        crash_fence();
        result = arrive(v->barrier, timeout_ns == 0, &mine);
        if (result == -EBUSY && !looked) { /* one look at the others, and one more try, are due */
            looked = true;
            look_at_members(v);
            result = -EAGAIN;
        }
    } while (result == -EAGAIN);
    if (result == 1) {
        wake_all(v->barrier);
        return result;
    }
    return result != 0 ? result : wait_for_others(v, mine, timeout_ns);
}

int hf_barrier_timedwait(hf_barrier *barrier, int64_t timeout_ns)
{
    struct visit v;
    int error = timeout_ns < HF_FOREVER ? -EINVAL : begin_visit(barrier, &v);
    if (error != 0) {
        return error;
    }
    int result = meet(&v, timeout_ns);
    if (result == -ESRCH) {
        end_membership(&v);
    }
    v.p->hold_open = 0;
    return call_end(v.p, result);
}

int hf_barrier_wait(hf_barrier *barrier)
{
    return hf_barrier_timedwait(barrier, HF_FOREVER);
}

int hf_barrier_trywait(hf_barrier *barrier)
{
    return hf_barrier_timedwait(barrier, 0);
}
