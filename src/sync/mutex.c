/* SPDX-License-Identifier: MIT */
/* hf_mutex: the lock core under its public name, and what a transaction changes about it. */
#include <errno.h>

#include "holdfast/mutex.h"
#include "sync/enter.h"

_Static_assert(sizeof(hf_mutex) == sizeof(struct lock), "a mutex is a lock");
_Static_assert(_Alignof(hf_mutex) == _Alignof(struct lock), "a mutex is a lock");

static struct lock *lock_of(hf_mutex *mutex)
{
    return (struct lock *)(void *)mutex;
}

int hf_mutex_init(hf_mutex *mutex)
{
    return lock_init(lock_of(mutex));
}

int hf_mutex_fini(hf_mutex *mutex)
{
    return lock_fini(lock_of(mutex));
}

int hf_mutex_timedlock(hf_mutex *mutex, int64_t timeout_ns)
{
    struct participant *p;
    struct lock *lock = lock_of(mutex);
    uint64_t offset;
    if (timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    return error != 0 ? error : call_end(p, lock_take(p, lock, offset, timeout_ns));
}

static __attribute__((noinline)) int lock_contended(struct participant *p, struct lock *lock,
                                                    uint64_t offset)
{
    return call_end(p, lock_take_slowly(p, lock, offset, HF_FOREVER));
}

int hf_mutex_lock(hf_mutex *mutex)
{
    struct lock *lock = lock_of(mutex);
    uint64_t offset;
    struct participant *p = at_once(lock, LOCK_FRESH, &offset);
    if (unlikely(p == NULL)) {
        return hf_mutex_timedlock(mutex, HF_FOREVER);
    }
    uint32_t word = 0;
    p->busy = true;
    HF_LOG_STORE(&p->slot->intent, offset);
    if (unlikely(!cas_acquire(&lock->word, &word, p->number))) { /* partner: lock_free */
        return lock_contended(p, lock, offset);
    }
    crash_fence();
    lock_link(p->slot, lock, offset);
    return call_end(p, 0);
}

int hf_mutex_trylock(hf_mutex *mutex)
{
    return hf_mutex_timedlock(mutex, 0);
}

/* What was locked last is unlocked first, most of the time: then the list of held locks says that
 * it is ours. */
int hf_mutex_unlock(hf_mutex *mutex)
{
    struct lock *lock = lock_of(mutex);
    uint64_t offset;
    struct participant *p = at_once(lock, LOCK_FRESH, &offset);
    if (likely(p != NULL)) {
        (void)call_begin(p); /* first: a handler may lock another, or begin a transaction */
        if (likely(load_relaxed(&p->slot->held) == offset && tx_state(p->slot) == TX_NONE)) {
            return lock_free_at_once(p, lock, offset);
        }
        (void)call_end(p, 0);
    }
    return lock_unlock_slowly(lock, 0, 0);
}

int hf_mutex_consistent(hf_mutex *mutex)
{
    return lock_consistent(lock_of(mutex), 0);
}
