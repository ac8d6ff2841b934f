/* SPDX-License-Identifier: MIT */
/*
 * hf_recursive_mutex: the lock core, and a count of how often more than once its owner has it.
 *
 * The count is the owner's alone. The dead may have left any: whoever takes the lock clears it
 * before the lock is in its list, for from then on recovery, or hf_thread_recover, knows it as
 * held.
 */
#include <errno.h>

#include "holdfast/recursive_mutex.h"
#include "sync/enter.h"

_Static_assert(sizeof(hf_recursive_mutex) == sizeof(struct lock), "a recursive mutex is a lock");
_Static_assert(_Alignof(hf_recursive_mutex) == _Alignof(struct lock),
               "a recursive mutex is a lock");

static struct lock *lock_of(hf_recursive_mutex *mutex)
{
    return (struct lock *)(void *)mutex;
}

int hf_recursive_mutex_init(hf_recursive_mutex *mutex)
{
    return lock_init(lock_of(mutex));
}

int hf_recursive_mutex_fini(hf_recursive_mutex *mutex)
{
    return lock_fini(lock_of(mutex));
}

/* ---- locking ----------------------------------------------------------------------------- */

static bool has_owner(const struct lock *lock, const struct participant *p)
{
    return (load_relaxed(&lock->word) & LOCK_OWNER) == p->number;
}

/* Once more. The lock stays ours whatever happens, and whatever the intent says. */
static int take_again(struct lock *lock)
{
    uint32_t depth = load_relaxed(&lock->depth);
    if (depth == UINT32_MAX) {
        return -EOVERFLOW;
    }
    HF_LOG_STORE(&lock->depth, depth + 1);
    return 0;
}

/* Nobody has it, or another; the intent is set. */
static int take_new(struct participant *p, struct lock *lock, uint64_t offset, int64_t timeout_ns)
{
    int result = lock_wait(p, lock, timeout_ns);
    if (result == 0 || result == -EOWNERDEAD) {
        HF_LOG_STORE(&lock->depth, 0);
        lock_link(p->slot, lock, offset);
    } else {
        HF_LOG_STORE(&p->slot->intent, 0);
    }
    return result;
}

static int take(struct participant *p, struct lock *lock, uint64_t offset, int64_t timeout_ns)
{
    if (lock_is_ours(p, lock)) {
        return take_again(lock);
    }
    HF_LOG_STORE(&p->slot->intent, offset);
    return has_owner(lock, p) ? lock_take_slowly(p, lock, offset, 0) /* takes the unlock back */
                              : take_new(p, lock, offset, timeout_ns);
}

int hf_recursive_mutex_timedlock(hf_recursive_mutex *mutex, int64_t timeout_ns)
{
    struct participant *p;
    struct lock *lock = lock_of(mutex);
    uint64_t offset;
    if (timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    return error != 0 ? error : call_end(p, take(p, lock, offset, timeout_ns));
}

/* Another has it, or we. */
static __attribute__((noinline)) int lock_taken(struct participant *p, struct lock *lock,
                                                uint64_t offset)
{
    return call_end(p, take(p, lock, offset, HF_FOREVER));
}

int hf_recursive_mutex_lock(hf_recursive_mutex *mutex)
{
    struct lock *lock = lock_of(mutex);
    uint64_t offset;
    struct participant *p = at_once(lock, LOCK_FRESH, &offset);
    if (unlikely(p == NULL)) {
        return hf_recursive_mutex_timedlock(mutex, HF_FOREVER);
    }
    uint32_t word = 0;
    p->busy = true;
    HF_LOG_STORE(&p->slot->intent, offset);
    if (unlikely(!cas_acquire(&lock->word, &word, p->number))) { /* partner: lock_free */
        return lock_taken(p, lock, offset);
    }
    HF_LOG_STORE(&lock->depth, 0);
    lock_link(p->slot, lock, offset);
    return call_end(p, 0);
}

int hf_recursive_mutex_trylock(hf_recursive_mutex *mutex)
{
    return hf_recursive_mutex_timedlock(mutex, 0);
}

/* ---- unlocking --------------------------------------------------------------------------- */

static void unlock_once(struct participant *p, struct lock *lock, uint64_t offset)
{
    uint32_t depth = load_relaxed(&lock->depth);
    if (depth > 0) {
        HF_LOG_STORE(&lock->depth, depth - 1);
    } else if (tx_state(p->slot) != TX_NONE) {
        HF_LOG_STORE(&lock->next, load_relaxed(&lock->next) | LOCK_UNLOCK_LATER);
    } else {
        lock_free(p, lock, offset);
    }
}

static __attribute__((noinline)) int unlock_the_long_way(hf_recursive_mutex *mutex)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(mutex);
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    if (error != 0) {
        return error;
    }
    if (!lock_is_ours(p, lock)) {
        return call_end(p, -EPERM);
    }
    unlock_once(p, lock, offset);
    return call_end(p, 0);
}

/* As hf_mutex_unlock: what was locked last is unlocked first, most of the time. */
int hf_recursive_mutex_unlock(hf_recursive_mutex *mutex)
{
    struct lock *lock = lock_of(mutex);
    uint64_t offset;
    struct participant *p = at_once(lock, LOCK_FRESH, &offset);
    if (likely(p != NULL)) {
        (void)call_begin(p); /* first: as hf_mutex_unlock */
        if (likely(load_relaxed(&p->slot->held) == offset && tx_state(p->slot) == TX_NONE &&
                   load_relaxed(&lock->depth) == 0)) {
            return lock_free_at_once(p, lock, offset);
        }
        (void)call_end(p, 0);
    }
    return unlock_the_long_way(mutex);
}

int hf_recursive_mutex_consistent(hf_recursive_mutex *mutex)
{
    return lock_consistent(lock_of(mutex), 0);
}
