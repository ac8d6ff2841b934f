/* SPDX-License-Identifier: MIT */
/*
 * Any exclusive lock of this library, for what works with each of them: conditions, guards.
 *
 *     hf_mutex *mutex = ...;
 *     hf_lockable_lock(hf_lockable_of(mutex));
 *
 * A value, to be copied at will; it is good for as long as the lock is. The calls are those of the
 * lock itself, and return what they return. In particular -EOWNERDEAD means *held*. -EINVAL also
 * for a value that hf_lockable_of has not made.
 */
#ifndef HOLDFAST_LOCKABLE_H
#define HOLDFAST_LOCKABLE_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/mutex.h"
#include "holdfast/recursive_mutex.h"
#include "holdfast/rwlock.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * X(kind, type, prefix of its calls): a new lock is one line here, and its own header included
 * above. src/sync/lockable.c is made from the same lines.
 */
#define HF_LOCKABLE_TABLE(X)                                                                       \
    X(HF_LOCKABLE_MUTEX, hf_mutex, hf_mutex)                                                       \
    X(HF_LOCKABLE_RECURSIVE_MUTEX, hf_recursive_mutex, hf_recursive_mutex)                         \
    X(HF_LOCKABLE_RWLOCK, hf_rwlock, hf_rwlock_exclusive)

/* Which lock it is. Never stored in a segment: numbers may change from version to version. */
#define HF_LOCKABLE_KIND(kind, type, prefix) kind,
enum {
    HF_LOCKABLE_NONE,
    HF_LOCKABLE_TABLE(HF_LOCKABLE_KIND) HF_LOCKABLE_RWLOCK_SHARED,
    HF_LOCKABLE_KINDS
};
#undef HF_LOCKABLE_KIND

typedef struct hf_lockable {
    void *lock;
    int kind;
} hf_lockable;

HF_API int hf_lockable_lock(hf_lockable lockable);
HF_API int hf_lockable_trylock(hf_lockable lockable);
HF_API int hf_lockable_timedlock(hf_lockable lockable, int64_t timeout_ns);
HF_API int hf_lockable_unlock(hf_lockable lockable);
HF_API int hf_lockable_consistent(hf_lockable lockable);

static inline int hf_lockable_lock_until(hf_lockable lockable, int64_t deadline_ns)
{
    return hf_lockable_timedlock(lockable, hf_time_left(deadline_ns));
}

static inline hf_lockable hf_lockable_make(void *lock, int kind)
{
    hf_lockable made;
    made.lock = lock;
    made.kind = kind;
    return made;
}

/* A reader-writer lock to be held shared; -EPERM from consistent. (hf_lockable_of: exclusively.) */
static inline hf_lockable hf_lockable_shared(hf_rwlock *lock)
{
    return hf_lockable_make(lock, HF_LOCKABLE_RWLOCK_SHARED);
}

/* ---- for the checker of <holdfast/lock_order.h> ------------------------------------------- */

#ifdef HF_LOCK_ORDER
static inline int hf_lock_order_timed_lockable(hf_lockable lockable, int64_t timeout_ns,
                                               const char *file, int line)
{
    if (timeout_ns != 0) {
        hf_lock_order_taking(lockable.lock, file, line);
    }
    return hf_lock_order_result(lockable.lock, hf_lockable_timedlock(lockable, timeout_ns), file,
                                line);
}

static inline int hf_lock_order_unlock_lockable(hf_lockable lockable)
{
    int result = hf_lockable_unlock(lockable);
    if (result == 0) {
        hf_lock_order_freed(lockable.lock);
    }
    return result;
}

#define hf_lockable_lock(lock)                    HF_LOCK_ORDER_TIMED(lockable, lock, HF_FOREVER)
#define hf_lockable_trylock(lock)                 HF_LOCK_ORDER_TIMED(lockable, lock, 0)
#define hf_lockable_timedlock(lock, timeout_ns)   HF_LOCK_ORDER_TIMED(lockable, lock, timeout_ns)
#define hf_lockable_lock_until(lock, deadline_ns) HF_LOCK_ORDER_UNTIL(lockable, lock, deadline_ns)
#define hf_lockable_unlock(lock)                  hf_lock_order_unlock_lockable(lock)
#endif

#ifdef __cplusplus
}

/* hf_lockable_of(lock): of a pointer to any lock in the table. */
#define HF_LOCKABLE_OVERLOAD(kind, type, prefix)                                                   \
    static inline hf_lockable hf_lockable_of(type *lock)                                           \
    {                                                                                              \
        return hf_lockable_make(lock, kind);                                                       \
    }
HF_LOCKABLE_TABLE(HF_LOCKABLE_OVERLOAD)
#undef HF_LOCKABLE_OVERLOAD
#else
/* The same; another pointer does not compile. `struct hf_lockable_none` is never there. */
#define HF_LOCKABLE_CASE(kind, type, prefix)                                                       \
    , type * : kind /* NOLINT(bugprone-macro-parentheses) */
#define hf_lockable_of(pointer)                                                                    \
    hf_lockable_make((pointer), _Generic((pointer), struct hf_lockable_none *                      \
                                         : HF_LOCKABLE_NONE HF_LOCKABLE_TABLE(HF_LOCKABLE_CASE)))
#endif
#endif
