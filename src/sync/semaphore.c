/* SPDX-License-Identifier: MIT */
/*
 * hf_semaphore. The sides of the wait, of both kinds:
 *     waiter  (1) count |= WAITERS, if there is no permit
 *             (2) sleeps if the lower half is still so
 *             (3) takes its permit with WAITERS set: others may be asleep beside it
 *     poster  (4) count + permits, WAITERS kept
 *             (5) wakes as many, if WAITERS; who wakes nobody clears it
 * A poster that dies before (5), and a waiter that is woken and dies, cost the others a slice.
 */
#include <limits.h>

#include "holdfast/semaphore.h"
#include "segment/counter.h"
#include "segment/lock.h"
#include "segment/recovery.h"
#include "sync/enter.h"

_Static_assert(sizeof(hf_semaphore) == sizeof(struct semaphore), "a semaphore is one");
_Static_assert(_Alignof(hf_semaphore) == _Alignof(struct semaphore), "a semaphore is one");
_Static_assert(HF_SEMAPHORE_MAX == COUNT_MAX, "as many permits as there is room for");

/* Spins, each about 10-40 ns, before it sleeps: doubled when spinning helped, halved when not. */
#define SPIN_MIN 4u
#define SPIN_MAX 4096u
static _Thread_local unsigned spin_limit __attribute__((tls_model("initial-exec"))) = SPIN_MIN;

static struct semaphore *semaphore_of(hf_semaphore *semaphore)
{
    return (struct semaphore *)(void *)semaphore;
}

static struct lock *head_of(struct semaphore *semaphore)
{
    return (struct lock *)(void *)semaphore;
}

/* Its kind; LOCK_DESTROYED: there is none. */
static inline uint32_t kind_of(const struct semaphore *semaphore)
{
    return unlikely(is_misplaced(semaphore)) ? LOCK_DESTROYED : load_relaxed(&semaphore->kind);
}

/* What sleepers sleep on: the lower half, which comes first. */
static shared_u32 *lower_half(struct semaphore *semaphore)
{
    return (shared_u32 *)(void *)&semaphore->count;
}

/* ---- waiting, of both kinds ---------------------------------------------------------------- */

struct wait {
    int64_t timeout_ns;
    uint64_t start;
    uint64_t flags; /* COUNT_WAITERS once it has slept */
    bool spun;
    bool last; /* the holders have been looked at: one more try, and it is over */
};

static bool spin(struct semaphore *semaphore)
{
    if (!lock_may_spin()) {
        return false;
    }
    for (unsigned i = 0; i < spin_limit; i++) {
        if (count_permits(load_relaxed(&semaphore->count)) != 0) {
            spin_limit = spin_limit < SPIN_MAX ? spin_limit * 2 : SPIN_MAX;
            return true;
        }
        spin_pause();
    }
    spin_limit = spin_limit > SPIN_MIN ? spin_limit / 2 : SPIN_MIN;
    return false;
}

/* Sleeps beside somebody whose death may bring a permit, and recovers the dead among those; without
   a participant, or where nobody has what a slot holds, a slice. */
static void sleep_on(struct participant *p, struct semaphore *semaphore, uint64_t offset,
                     uint64_t seen, int64_t ns)
{
    uint32_t holder = p == NULL ? 0 : counter_holder(p->view, 1, offset);
    holder =
        holder != 0 && holder == p->number ? counter_holder(p->view, holder + 1, offset) : holder;
    if (holder == 0 ||
        lock_wait_beside(p, holder, lower_half(semaphore), (uint32_t)seen, ns) == PRESENCE_NONE) {
        (void)os_wait(&semaphore->count, (uint32_t)seen, ns);
    }
    while (holder != 0 && (holder = counter_holder(p->view, holder + 1, offset)) != 0) {
        (void)lock_wait_beside(p, holder, lower_half(semaphore), (uint32_t)seen, 0);
    }
}

/* Recovers the dead among those who have permits. */
static void look_after_holders(struct participant *p, uint64_t offset)
{
    for (uint32_t n = 0; (n = counter_holder(p->view, n + 1, offset)) != 0;) {
        (void)lock_wait_beside(p, n, NULL, 0, 0);
    }
}

/* The time is over. Who only ever tries is to get what the dead had, too. 0: one more try. */
static int give_up(struct participant *p, uint64_t offset, struct wait *wait, int result)
{
    if (p == NULL || wait->last) {
        return result;
    }
    wait->last = true;
    look_after_holders(p, offset);
    return 0;
}

/* There was no permit. 0: try again; -EBUSY, -ETIMEDOUT: it is over. */
static int wait_for_permit(struct participant *p, struct semaphore *semaphore, uint64_t offset,
                           struct wait *wait)
{
    if (wait->timeout_ns == 0) {
        return give_up(p, offset, wait, -EBUSY);
    }
    if (wait->start == 0) {
        wait->start = os_now_ns();
    }
    if (!wait->spun && spin(semaphore)) {
        return 0;
    }
    wait->spun = true;
    int64_t ns = lock_time_left(wait->start, wait->timeout_ns);
    if (ns == 0) {
        return give_up(p, offset, wait, -ETIMEDOUT);
    }
    uint64_t count = load_relaxed(&semaphore->count);
    if (count_permits(count) != 0) {
        return 0;
    }
    if ((count & COUNT_WAITERS) != 0 ||
        cas_relaxed(&semaphore->count, &count, count | COUNT_WAITERS)) {
        sleep_on(p, semaphore, offset, count | COUNT_WAITERS, ns);
        wait->flags = COUNT_WAITERS;
        wait->spun = false;
    }
    return 0;
}

/* ---- plain ------------------------------------------------------------------------------- */

/* -EAGAIN: there is none. */
static inline int take_plain(struct semaphore *semaphore, uint64_t flags)
{
    uint64_t count = load_relaxed(&semaphore->count);
    while (count_permits(count) != 0) {
        if (likely(cas_acquire(&semaphore->count, &count,
                               (count - COUNT_ONE) | flags))) { /* partner: post_plain */
            return 0;
        }
    }
    return -EAGAIN;
}

static __attribute__((noinline)) int wait_plain(struct semaphore *semaphore, int64_t timeout_ns)
{
    struct wait wait = {.timeout_ns = timeout_ns};
    int error;
    while ((error = take_plain(semaphore, wait.flags)) == -EAGAIN) {
        if (load_relaxed(&semaphore->kind) != LOCK_FRESH) {
            return -EINVAL; /* ended meanwhile */
        }
        error = wait_for_permit(NULL, semaphore, 0, &wait);
        if (error != 0) {
            return error;
        }
    }
    return error;
}

static inline int post_plain(struct semaphore *semaphore, uint64_t permits)
{
    uint64_t count = load_relaxed(&semaphore->count);
    do {
        if (unlikely(permits > COUNT_MAX - count_permits(count))) {
            return -EOVERFLOW;
        }
    } while (!cas_release(&semaphore->count, &count,
                          count + permits * COUNT_ONE)); /* partner: take_plain */
    if (unlikely((count & COUNT_WAITERS) != 0)) {
        counter_wake(semaphore, permits);
    }
    return 0;
}

/* ---- those whose permits come back --------------------------------------------------------- */

static inline struct counter counter_here(struct participant *p, struct semaphore *semaphore,
                                          uint64_t offset)
{
    return counter_of(p->view, p->slot, p->number, semaphore, offset);
}

/* -EAGAIN: there is none. */
static inline __attribute__((always_inline)) int
take_undo(struct participant *p, struct semaphore *semaphore, uint64_t offset, uint64_t flags)
{
    uint64_t was;
    struct counter c = counter_here(p, semaphore, offset);
    uint64_t held = hold_count(c.hold);
    if (unlikely(held == HOLD_COUNT_MAX)) {
        return -EOVERFLOW;
    }
    if (unlikely(c.place == HOLDS_MAX)) {
        return -ENOLCK;
    }
    if (count_permits(load_relaxed(&semaphore->count)) == 0) {
        return -EAGAIN;
    }
    return counter_change(&c, -1, held + 1, flags, &was);
}

static __attribute__((noinline)) int wait_undo(struct semaphore *semaphore, int64_t timeout_ns)
{
    struct wait wait = {.timeout_ns = timeout_ns};
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(head_of(semaphore), LOCK_UNDO, &p, &offset);
    if (error != 0) {
        return error;
    }
    while ((error = take_undo(p, semaphore, offset, wait.flags)) == -EAGAIN) {
        if (load_relaxed(&semaphore->kind) != LOCK_UNDO) {
            return call_end(p, -EINVAL); /* ended meanwhile */
        }
        error = wait_for_permit(p, semaphore, offset, &wait);
        if (error != 0) {
            break;
        }
    }
    return call_end(p, error);
}

/* From at_once on; waits for ever. */
static inline __attribute__((always_inline)) int
wait_undo_at_once(struct participant *p, struct semaphore *semaphore, uint64_t offset)
{
    (void)call_begin(p);
    int error = call_end(p, take_undo(p, semaphore, offset, 0));
    return unlikely(error == -EAGAIN) ? wait_undo(semaphore, HF_FOREVER) : error;
}

static inline __attribute__((always_inline)) int
post_as(struct participant *p, struct semaphore *semaphore, uint64_t offset, uint32_t permits)
{
    uint64_t was;
    struct counter c = counter_here(p, semaphore, offset);
    uint64_t held = hold_count(c.hold);
    int error = counter_change(&c, permits, held > permits ? held - permits : 0, 0, &was);
    if (unlikely(error == 0 && (was & COUNT_WAITERS) != 0)) {
        counter_wake(semaphore, permits);
    }
    return call_end(p, error);
}

static __attribute__((noinline)) int post_undo(struct semaphore *semaphore, uint32_t permits)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(head_of(semaphore), LOCK_UNDO, &p, &offset);
    return error != 0 ? error : post_as(p, semaphore, offset, permits);
}

/* ---- public ------------------------------------------------------------------------------ */

/* Whoever has permits of what was a semaphore here before would give them to this one. -EBUSY:
   another thread that lives has some. */
static int end_old_holds(struct participant *p, uint64_t offset)
{
    for (uint32_t n = 0; (n = counter_holder(p->view, n + 1, offset)) != 0;) {
        if (presence_of(p->view, n, true, NULL) == PRESENCE_DEAD) {
            (void)recovery_of(p, n);
        }
    }
    uint32_t own = hold_find(p->slot, offset, HOLD_PERMITS);
    if (own != HOLDS_MAX) {
        hold_clear(p->slot, own);
    }
    return counter_holder(p->view, 1, offset) != 0 ? -EBUSY : 0;
}

static int init_undo(struct semaphore *semaphore, uint32_t permits)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_new_lock(head_of(semaphore), &p, &offset);
    if (error != 0) {
        return error;
    }
    error = end_old_holds(p, offset);
    if (error != 0) {
        return call_end(p, error);
    }
    /* None of that kind, until its kind and its place are right. */
    HF_LOG_STORE(&semaphore->count, permits * COUNT_ONE);
    HF_LOG_STORE(&semaphore->self, offset);
    HF_LOG_STORE(&semaphore->kind, LOCK_UNDO);
    return call_end(p, 0);
}

int hf_semaphore_init(hf_semaphore *semaphore, uint32_t permits, unsigned flags)
{
    struct semaphore *s = semaphore_of(semaphore);
    if (is_misplaced(s) || (flags & ~(unsigned)HF_SEMAPHORE_UNDO) != 0) {
        return -EINVAL;
    }
    if (permits > HF_SEMAPHORE_MAX) {
        return -EOVERFLOW;
    }
    if (flags != 0) {
        return init_undo(s, permits);
    }
    HF_LOG_STORE(&s->self, 0); /* nor is it the lock that may have been here before */
    HF_LOG_STORE(&s->count, permits * COUNT_ONE);
    HF_LOG_STORE(&s->kind, LOCK_FRESH);
    return 0;
}

int hf_semaphore_fini(hf_semaphore *semaphore)
{
    struct semaphore *s = semaphore_of(semaphore);
    uint32_t kind = kind_of(s);
    if (kind != LOCK_FRESH && kind != LOCK_UNDO) {
        return -EINVAL;
    }
    HF_LOG_STORE(&s->kind, LOCK_DESTROYED);
    HF_LOG_STORE(&s->self, 0); /* whatever the memory is used for, it is none to recovery */
    (void)os_wake(&s->count, INT_MAX);
    return 0;
}

int hf_semaphore_timedwait(hf_semaphore *semaphore, int64_t timeout_ns)
{
    struct semaphore *s = semaphore_of(semaphore);
    if (timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    switch (kind_of(s)) {
    case LOCK_FRESH:
        return likely(take_plain(s, 0) == 0) ? 0 : wait_plain(s, timeout_ns);
    case LOCK_UNDO:
        return wait_undo(s, timeout_ns);
    default:
        return -EINVAL;
    }
}

int hf_semaphore_wait(hf_semaphore *semaphore)
{
    struct semaphore *s = semaphore_of(semaphore);
    if (likely(kind_of(s) == LOCK_FRESH)) {
        return likely(take_plain(s, 0) == 0) ? 0 : wait_plain(s, HF_FOREVER);
    }
    uint64_t offset;
    struct participant *p = at_once(head_of(s), LOCK_UNDO, &offset);
    return likely(p != NULL) ? wait_undo_at_once(p, s, offset)
                             : hf_semaphore_timedwait(semaphore, HF_FOREVER);
}

int hf_semaphore_trywait(hf_semaphore *semaphore)
{
    return hf_semaphore_timedwait(semaphore, 0);
}

int hf_semaphore_post_many(hf_semaphore *semaphore, uint32_t permits)
{
    struct semaphore *s = semaphore_of(semaphore);
    if (permits > HF_SEMAPHORE_MAX) {
        return -EOVERFLOW;
    }
    switch (kind_of(s)) {
    case LOCK_FRESH:
        return post_plain(s, permits);
    case LOCK_UNDO:
        return post_undo(s, permits);
    default:
        return -EINVAL;
    }
}

int hf_semaphore_post(hf_semaphore *semaphore)
{
    struct semaphore *s = semaphore_of(semaphore);
    if (likely(kind_of(s) == LOCK_FRESH)) {
        return post_plain(s, 1);
    }
    uint64_t offset;
    struct participant *p = at_once(head_of(s), LOCK_UNDO, &offset);
    if (unlikely(p == NULL)) {
        return hf_semaphore_post_many(semaphore, 1);
    }
    (void)call_begin(p);
    return post_as(p, s, offset, 1);
}

int hf_semaphore_value(const hf_semaphore *semaphore, uint32_t *value)
{
    const struct semaphore *s = (const struct semaphore *)(const void *)semaphore;
    uint32_t kind = kind_of(s);
    if (value == NULL || (kind != LOCK_FRESH && kind != LOCK_UNDO)) {
        return -EINVAL;
    }
    *value = (uint32_t)count_permits(load_relaxed(&s->count));
    return 0;
}

int hf_semaphore_held(hf_semaphore *semaphore, uint32_t *permits)
{
    struct participant *p;
    uint64_t offset;
    int error = permits == NULL
                    ? -EINVAL
                    : enter_lock(head_of(semaphore_of(semaphore)), LOCK_UNDO, &p, &offset);
    if (error != 0) {
        return error;
    }
    *permits = (uint32_t)hold_count(counter_here(p, semaphore_of(semaphore), offset).hold);
    return call_end(p, 0);
}
