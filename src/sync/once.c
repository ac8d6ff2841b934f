/* SPDX-License-Identifier: MIT */
/*
 * hf_once: a lock, and whether it is done in the lock's `depth`. Whoever dies holding the lock has
 * not done it, so that its data is suspect is nothing to tell: the next one does it all.
 *
 * While it is done no call is open, for do_it calls the library: so the participant notes what it
 * is at, from before the lock is taken until it is free, for hf_thread_recover to give up.
 */
#include <errno.h>

#include "holdfast/once.h"
#include "segment/tx.h"
#include "sync/enter.h"

#define DONE 1u

_Static_assert(sizeof(hf_once) == sizeof(struct lock), "a once is a lock");
_Static_assert(_Alignof(hf_once) == _Alignof(struct lock), "a once is a lock");

static struct lock *lock_of(hf_once *once)
{
    return (struct lock *)(void *)once;
}

int hf_once_init(hf_once *once)
{
    return lock_init(lock_of(once));
}

int hf_once_fini(hf_once *once)
{
    return lock_fini(lock_of(once));
}

static bool is_done(const struct lock *lock)
{
    return load_acquire(&lock->depth) == DONE && /* partner: end */
           load_relaxed(&lock->kind) == LOCK_FRESH;
}

int hf_once_is_done(const hf_once *once)
{
    const struct lock *lock = (const struct lock *)(const void *)once;
    if (is_misplaced(lock) || load_relaxed(&lock->kind) != LOCK_FRESH) {
        return -EINVAL;
    }
    return is_done(lock) ? 1 : 0;
}

static int note(struct participant *p, uint64_t offset)
{
    if (p->once_count == ONCES_MAX) {
        return -ENOLCK;
    }
    p->onces[p->once_count] = offset;
    crash_fence();
    p->once_count++;
    crash_fence();
    return 0;
}

/* The order of the others says nothing. */
static void forget(struct participant *p, uint64_t offset)
{
    crash_fence();
    for (unsigned i = p->once_count; i > 0; i--) {
        if (p->onces[i - 1] == offset) {
            p->onces[i - 1] = p->onces[p->once_count - 1];
            crash_fence();
            p->once_count--;
            return;
        }
    }
}

/* Nobody else is at it from now on: 0. */
static int begin(struct lock *lock, int64_t timeout_ns)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    if (error != 0) {
        return error;
    }
    if (tx_state(p->slot) != TX_NONE) {
        return call_end(p, -EBUSY);
    }
    error = note(p, offset);
    if (error != 0) {
        return call_end(p, error);
    }
    error = lock_take(p, lock, offset, timeout_ns);
    if (error == -EOWNERDEAD) {
        (void)fetch_and_relaxed(&lock->word, ~LOCK_OWNER_DIED);
        error = 0;
    }
    if (error != 0) {
        forget(p, offset);
    }
    return call_end(p, error);
}

/* The participant is looked up anew: what was done may have left and come again. */
static int end(struct lock *lock, int result)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    if (error != 0) {
        return error;
    }
    if ((load_relaxed(&lock->word) & LOCK_OWNER) != p->number) {
        return call_end(p, -EPERM);
    }
    if (tx_state(p->slot) != TX_NONE) {
        HF_LOG_STORE(&lock->next, load_relaxed(&lock->next) | LOCK_UNLOCK_LATER);
        forget(p, offset);
        return call_end(p, -EBUSY);
    }
    if (result == 0) {
        HF_LOG_PUBLISH(&lock->depth, DONE); /* partner: is_done */
    }
    lock_free(p, lock, offset);
    forget(p, offset);
    return call_end(p, result);
}

int hf_once_timedcall(hf_once *once, int (*do_it)(void *context), void *context, int64_t timeout_ns)
{
    struct lock *lock = lock_of(once);
    if (is_misplaced(lock) || do_it == NULL || timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    if (likely(is_done(lock))) {
        return 0;
    }
    int error = begin(lock, timeout_ns);
    if (error != 0) {
        return error;
    }
    return end(lock, is_done(lock) ? 0 : do_it(context));
}

int hf_once_call(hf_once *once, int (*do_it)(void *context), void *context)
{
    return hf_once_timedcall(once, do_it, context, HF_FOREVER);
}
