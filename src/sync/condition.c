/* SPDX-License-Identifier: MIT */
/*
 * hf_condition: one word that counts notifications. The sides of a wait, numbered:
 *     waiter    (1) seen = turn |= WAITERS
 *               (2) unlocks
 *               (3) sleeps while turn == seen, a slice at a time
 *               (4) locks
 *     one       (5) turn + 1, if WAITERS
 *               (6) wakes one
 *               (7) turn + 1 without WAITERS, if that was nobody and it is as (5) left it
 *               (8) wakes all, then
 *     all       (9) turn + 1, without WAITERS, if WAITERS
 *              (10) wakes all
 * Under the lock (1) comes before the notifier's look at WAITERS, or what it waits for was true
 * before. A waiter that is not asleep yet at (6) or (10) finds the word changed at (3). One that
 * has come after (5) and fallen asleep before (7) changes nothing that (7) could see: it is for
 * such that there is (8). And one that has come then and is not asleep at (8) must not find the
 * word that it has seen again, when another waiter's (1) has set WAITERS: hence the 1 at (7). For
 * the same reason the word is not 0 again when a condition that has ended is made anew.
 *
 * Nothing is owed by anyone: who dies before it wakes others, and who dies after it was woken, has
 * changed the word before, and whoever sleeps sees that when its slice ends. So a condition is in
 * no slot, and recovery knows none (tests/models/condition.pml).
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "holdfast/condition.h"
#include "os/os.h"
#include "sync/condition_layout.h"
#include "sync/enter.h"

_Static_assert(sizeof(hf_condition) == sizeof(struct condition), "they are the same");
_Static_assert(_Alignof(hf_condition) == _Alignof(struct condition), "they are the same");
_Static_assert(sizeof(struct condition) == sizeof(struct lock), "it begins, and ends, as a lock");

static struct condition *condition_of(hf_condition *condition)
{
    return (struct condition *)(void *)condition;
}

static struct lock *lock_of(hf_condition *condition)
{
    return (struct lock *)(void *)condition;
}

/* As lock_init, but the word counts on: who waited before its end, and is not asleep yet, must not
   find the word that it has seen again. */
int hf_condition_init(hf_condition *condition)
{
    struct participant *p;
    uint64_t offset;
    struct condition *c = condition_of(condition);
    int error = enter_new_lock(lock_of(condition), &p, &offset);
    if (error != 0) {
        return error;
    }
    HF_LOG_STORE(&c->word, 0);
    uint32_t turn = load_relaxed(&c->turn);
    store_relaxed(&c->turn, (turn + CONDITION_NEXT) & ~CONDITION_WAITERS);
    memset(c->unused, 0, sizeof c->unused);
    HF_LOG_STORE(&c->self, offset);
    HF_LOG_STORE(&c->kind, LOCK_FRESH);
    return call_end(p, 0);
}

/* ---- notifying --------------------------------------------------------------------------- */

static void wake(struct condition *condition, bool all)
{
    uint32_t turn = load_relaxed(&condition->turn);
    uint32_t next;
    do {
        if ((turn & CONDITION_WAITERS) == 0) {
            return;
        }
        next = turn + CONDITION_NEXT;
        next = all ? next & ~CONDITION_WAITERS : next;
    } while (!cas_release(&condition->turn, &turn, next)); /* partner: sleep_until_notified */
    if (os_wake(&condition->turn, all ? INT_MAX : 1) == 0 && !all &&
        cas_relaxed(&condition->turn, &next, (next + CONDITION_NEXT) & ~CONDITION_WAITERS)) {
        (void)os_wake(&condition->turn, INT_MAX);
    }
}

static __attribute__((noinline)) int notify_the_long_way(hf_condition *condition, bool all)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(lock_of(condition), LOCK_FRESH, &p, &offset);
    if (error == 0) {
        wake(condition_of(condition), all);
        error = call_end(p, 0);
    }
    return error;
}

static int notify(hf_condition *condition, bool all)
{
    uint64_t offset;
    if (unlikely(at_once(lock_of(condition), LOCK_FRESH, &offset) == NULL)) {
        return notify_the_long_way(condition, all);
    }
    wake(condition_of(condition), all); /* leaves nothing open, whatever jumps out of it */
    return 0;
}

int hf_condition_notify_one(hf_condition *condition)
{
    return notify(condition, false);
}

int hf_condition_notify_all(hf_condition *condition)
{
    return notify(condition, true);
}

int hf_condition_fini(hf_condition *condition)
{
    int error = lock_fini(lock_of(condition));
    if (error == 0) {
        wake(condition_of(condition), true);
    }
    return error;
}

/* ---- waiting ----------------------------------------------------------------------------- */

/* Can this thread wait with the lock? Every lock is a struct lock. */
static int check_lock(hf_lockable lockable)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lockable.lock;
    if (lockable.kind <= HF_LOCKABLE_NONE || lockable.kind >= HF_LOCKABLE_KINDS) {
        return -EINVAL;
    }
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    if (error != 0) {
        return error;
    }
    if (lockable.kind == HF_LOCKABLE_RWLOCK_SHARED ||
        !lock_is_ours_as(p, lock, LOCK_UPGRADABLE, 0)) {
        return call_end(p, -EPERM);
    }
    bool stays = tx_state(p->slot) != TX_NONE ||
                 (lockable.kind == HF_LOCKABLE_RECURSIVE_MUTEX && load_relaxed(&lock->depth) > 0);
    return call_end(p, stays ? -EBUSY : 0);
}

/* Step (1). No call is open while one sleeps: this thread may jump out of it, or a signal's handler
   call in, and nothing is amiss. But it has a slot, so that the segment stays. */
static int begin_wait(hf_condition *condition, uint32_t *seen)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(lock_of(condition), LOCK_FRESH, &p, &offset);
    if (error == 0) {
        *seen =
            fetch_or_relaxed(&condition_of(condition)->turn, CONDITION_WAITERS) | CONDITION_WAITERS;
        error = call_end(p, 0);
    }
    return error;
}

/* Step (3). 0, or -ETIMEDOUT. */
static int sleep_until_notified(struct condition *condition, uint32_t seen, int64_t timeout_ns)
{
    uint64_t start = timeout_ns > 0 ? os_now_ns() : 0;
    for (;;) {
        int64_t ns = timeout_ns == 0 ? 0 : lock_time_left(start, timeout_ns);
        if (load_acquire(&condition->turn) != seen || /* partner: wake */
            load_relaxed(&condition->kind) != LOCK_FRESH) {
            return 0; /* notified, or ended: nobody can be notified of it any more */
        }
        if (ns == 0) {
            return -ETIMEDOUT;
        }
        if (os_wait(&condition->turn, seen, ns) == 0) {
            return 0;
        }
    }
}

int hf_condition_timedwait(hf_condition *condition, hf_lockable lock, int64_t timeout_ns)
{
    uint32_t seen = 0;
    int error = timeout_ns < HF_FOREVER ? -EINVAL : check_lock(lock);
    error = error != 0 ? error : begin_wait(condition, &seen);
    error = error != 0 ? error : hf_lockable_unlock(lock);
    if (error != 0) {
        return error;
    }
    int slept = sleep_until_notified(condition_of(condition), seen, timeout_ns);
    int result = hf_lockable_lock(lock);
    return result != 0 ? result : slept;
}

int hf_condition_wait(hf_condition *condition, hf_lockable lock)
{
    return hf_condition_timedwait(condition, lock, HF_FOREVER);
}

/* Of a timeout that began at `start`. */
static int64_t time_left(uint64_t start, int64_t timeout_ns)
{
    if (timeout_ns <= 0) {
        return timeout_ns;
    }
    uint64_t passed = os_now_ns() - start;
    return passed >= (uint64_t)timeout_ns ? 0 : timeout_ns - (int64_t)passed;
}

int hf_condition_wait_for(hf_condition *condition, hf_lockable lock, bool (*is_true)(void *context),
                          void *context, int64_t timeout_ns)
{
    if (is_true == NULL || timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    uint64_t start = os_now_ns();
    int result = check_lock(lock);
    while (result == 0 && !is_true(context)) {
        result = hf_condition_timedwait(condition, lock, time_left(start, timeout_ns));
    }
    return result == -ETIMEDOUT && is_true(context) ? 0 : result;
}
