/* SPDX-License-Identifier: MIT */
/* hf_lockable: from a kind to that lock's own calls. */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "holdfast/lockable.h"

struct calls {
    int (*timedlock)(void *lock, int64_t timeout_ns);
    int (*unlock)(void *lock);
    int (*consistent)(void *lock);
};

/* A reader-writer lock, held exclusively. */
static int hf_rwlock_exclusive_timedlock(hf_rwlock *lock, int64_t timeout_ns)
{
    return hf_rwlock_timedwrlock(lock, timeout_ns);
}

static int hf_rwlock_exclusive_unlock(hf_rwlock *lock)
{
    return hf_rwlock_wrunlock(lock);
}

static int hf_rwlock_exclusive_consistent(hf_rwlock *lock)
{
    return hf_rwlock_consistent(lock);
}

/* And shared. */
static int timedlock_shared(void *lock, int64_t timeout_ns)
{
    return hf_rwlock_timedrdlock(lock, timeout_ns);
}

static int unlock_shared(void *lock)
{
    return hf_rwlock_rdunlock(lock);
}

static int consistent_shared(void *lock)
{
    (void)lock;
    return -EPERM;
}

/* Each lock's calls, of a pointer whose type has been forgotten. */
#define FORGET(kind, type, prefix)                                                                 \
    static int prefix##_timedlock_any(void *lock, int64_t timeout_ns)                              \
    {                                                                                              \
        return prefix##_timedlock((type *)lock, timeout_ns);                                       \
    }                                                                                              \
    static int prefix##_unlock_any(void *lock)                                                     \
    {                                                                                              \
        return prefix##_unlock((type *)lock);                                                      \
    }                                                                                              \
    static int prefix##_consistent_any(void *lock)                                                 \
    {                                                                                              \
        return prefix##_consistent((type *)lock);                                                  \
    }
HF_LOCKABLE_TABLE(FORGET)

#define CALLS(kind, type, prefix)                                                                  \
    [kind] = {prefix##_timedlock_any, prefix##_unlock_any, prefix##_consistent_any},
static const struct calls calls[] = {HF_LOCKABLE_TABLE(CALLS)[HF_LOCKABLE_RWLOCK_SHARED] = {
                                         timedlock_shared, unlock_shared, consistent_shared}};

/* NULL: no kind of lock. */
static const struct calls *calls_of(hf_lockable lockable)
{
    bool known = lockable.kind > HF_LOCKABLE_NONE && lockable.kind < HF_LOCKABLE_KINDS;
    return known ? &calls[lockable.kind] : NULL;
}

int hf_lockable_timedlock(hf_lockable lockable, int64_t timeout_ns)
{
    const struct calls *its = calls_of(lockable);
    return its == NULL ? -EINVAL : its->timedlock(lockable.lock, timeout_ns);
}

int hf_lockable_lock(hf_lockable lockable)
{
    return hf_lockable_timedlock(lockable, HF_FOREVER);
}

int hf_lockable_trylock(hf_lockable lockable)
{
    return hf_lockable_timedlock(lockable, 0);
}

int hf_lockable_unlock(hf_lockable lockable)
{
    const struct calls *its = calls_of(lockable);
    return its == NULL ? -EINVAL : its->unlock(lockable.lock);
}

int hf_lockable_consistent(hf_lockable lockable)
{
    const struct calls *its = calls_of(lockable);
    return its == NULL ? -EINVAL : its->consistent(lockable.lock);
}
