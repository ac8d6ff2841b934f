/* SPDX-License-Identifier: MIT */
/*
 * Guards: a lock that is held until its scope is left, by whatever way.
 *
 *     {
 *         hf_guard(guard, &account->mutex);
 *         if (guard.error != 0) {
 *             return guard.error;
 *         }
 *         account->balance += 1;
 *     }
 *
 * `guard.error` is what locking returned. At 0 and at -EOWNERDEAD the lock is held, and the end of
 * the scope unlocks it: after -EOWNERDEAD mend the data and call the lock's consistent before, or
 * it is given up.
 *
 * They need a compiler that has __attribute__((cleanup)), as gcc and clang do; HF_GUARD_BY_HAND is
 * 1 for others. There, and wherever a lock is to be let go of before the scope ends:
 * hf_guard_unlock, which may be called again and again. A scope that is left by longjmp, or by a
 * thread's end, is not ended.
 */
#ifndef HOLDFAST_GUARD_H
#define HOLDFAST_GUARD_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "holdfast/lock_order.h"
#include "holdfast/lockable.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_guarded {
    hf_lockable lock;
    int error; /* what locking returned */
    bool held;
} hf_guarded;

static inline hf_guarded hf_guard_begin(hf_lockable lock, int64_t timeout_ns)
{
    hf_guarded guard;
    guard.lock = lock;
    guard.error = (hf_lockable_timedlock)(lock, timeout_ns); /* the call, and no macro */
    guard.held = guard.error == 0 || guard.error == -EOWNERDEAD;
    return guard;
}

/* The same, for the checker of <holdfast/lock_order.h>. */
static inline hf_guarded hf_guard_begin_at(hf_lockable lock, int64_t timeout_ns, const char *file,
                                           int line)
{
    if (timeout_ns != 0) {
        hf_lock_order_taking(lock.lock, file, line);
    }
    hf_guarded guard = hf_guard_begin(lock, timeout_ns);
    (void)hf_lock_order_result(lock.lock, guard.error, file, line);
    return guard;
}

/* Unlocks now what the guard still holds; 0 if it holds nothing. */
static inline int hf_guard_unlock(hf_guarded *guard)
{
    bool held = guard->held;
    guard->held = false;
    return held ? hf_lockable_unlock(guard->lock) : 0;
}

static inline void hf_guard_end(hf_guarded *guard)
{
    (void)hf_guard_unlock(guard);
}

#ifdef HF_LOCK_ORDER
#define HF_GUARD_BEGIN(lock, timeout_ns) hf_guard_begin_at(lock, timeout_ns, __FILE__, __LINE__)
#else
#define HF_GUARD_BEGIN(lock, timeout_ns) hf_guard_begin(lock, timeout_ns)
#endif

#if defined(__GNUC__)
#define HF_GUARD_BY_HAND  0
#define HF_GUARD_AT_END() __attribute__((cleanup(hf_guard_end)))
#else
#define HF_GUARD_BY_HAND 1
#define HF_GUARD_AT_END()
#endif

/* Declares `name`, which holds the lock that the pointer leads to; waits for ever. */
#define hf_guard(name, pointer) hf_guard_timed(name, pointer, HF_FOREVER)

/* The same of a reader-writer lock, which it holds shared. */
#define hf_guard_read(name, pointer) HF_GUARD(name, hf_lockable_shared(pointer), HF_FOREVER)

/* As hf_guard; waits at most timeout_ns nanoseconds, 0: not at all. */
#define hf_guard_timed(name, pointer, timeout_ns)                                                  \
    HF_GUARD(name, hf_lockable_of(pointer), (timeout_ns))

/* The same until hf_now_ns() gives that. */
#define hf_guard_until(name, pointer, deadline_ns)                                                 \
    HF_GUARD(name, hf_lockable_of(pointer), hf_time_left(deadline_ns))

#define HF_GUARD(name, lockable, timeout_ns)                                                       \
    HF_GUARD_AT_END() hf_guarded name = HF_GUARD_BEGIN(lockable, timeout_ns)

#ifdef __cplusplus
}
#endif
#endif
