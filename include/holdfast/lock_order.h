/* SPDX-License-Identifier: MIT */
/*
 * Finds locks that are taken in different orders before they are ever waited for in a circle.
 *
 * Build *your* sources with -DHF_LOCK_ORDER: the lock calls then become macros, which also tell
 * this checker where each lock is taken. It notes "A was held while B was waited for" for the whole
 * process, and reports when such notes close a circle, though nobody has met anybody there yet:
 *
 *     static void report(const hf_lock_order_report *found, void *context)
 *     {
 *         for (unsigned i = 0; i < found->steps; i++) {
 *             fprintf(stderr, "held since %s:%d, at %s:%d the next one is taken\n",
 *                     found->step[i].held.file, found->step[i].held.line,
 *                     found->step[i].taken.file, found->step[i].taken.line);
 *         }
 *     }
 *     hf_lock_order_set_report(report, NULL);
 *
 * Waiting on a condition is waiting for its lock once more, beside all else that is held.
 * Locks are told apart by their segment and their offset in it, so two names of one lock are one.
 * What only tries makes no note, for it cannot wait; what it gets counts as held. A lock that is
 * unlocked inside a transaction counts as unlocked. Nothing is known about other processes: each
 * looks at itself, and a forked child starts afresh.
 *
 * It has room for 256 locks, 1024 notes and 32 locks held by a thread: when the first two are full
 * it starts afresh, and it does not see a thread's 33rd. Each call costs about a microsecond.
 */
#ifndef HOLDFAST_LOCK_ORDER_H
#define HOLDFAST_LOCK_ORDER_H

#include <errno.h>
#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/mutex.h"
#include "holdfast/recursive_mutex.h"
#include "holdfast/rwlock.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A line of a program; the string is the program's own. */
typedef struct hf_lock_order_place {
    const char *file;
    int line;
} hf_lock_order_place;

/* One lock was held, taken there, when the next one of the circle was waited for here. */
typedef struct hf_lock_order_step {
    hf_lock_order_place held;
    hf_lock_order_place taken;
} hf_lock_order_step;

/* The longest circle that is reported whole. */
#define HF_LOCK_ORDER_STEPS 8

typedef struct hf_lock_order_report {
    unsigned locks; /* in the circle */
    unsigned steps; /* as many, or HF_LOCK_ORDER_STEPS */
    /* The first is the call that closes the circle, by this thread; the others came before it. */
    const hf_lock_order_step *step;
} hf_lock_order_report;

/*
 * Called once for each pair of places' first circle, by the thread that closes it, before it waits.
 * It may call the library. NULL: nobody. The report is gone when it returns.
 */
typedef void hf_lock_order_reporter(const hf_lock_order_report *found, void *context);
HF_API int hf_lock_order_set_report(hf_lock_order_reporter *report, void *context);

/* ---- what the macros tell; for locks of your own, too ------------------------------------- */

/* This thread is about to wait for the lock, if need be. */
HF_API void hf_lock_order_taking(const void *lock, const char *file, int line);
/* It is about to let go of the lock, which it has, in a wait, and to wait for it afterwards. */
HF_API void hf_lock_order_taking_again(const void *lock, const char *file, int line);
/* It has it. */
HF_API void hf_lock_order_taken(const void *lock, const char *file, int line);
/* It has let go of it. */
HF_API void hf_lock_order_freed(const void *lock);
/* The lock has ended, and its memory may become another. */
HF_API void hf_lock_order_forget(const void *lock);

static inline int hf_lock_order_result(const void *lock, int result, const char *file, int line)
{
    if (result == 0 || result == -EOWNERDEAD) {
        hf_lock_order_taken(lock, file, line);
    }
    return result;
}

/* Defines hf_lock_order_timed_NAME and hf_lock_order_unlock_NAME, which the macros call. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type stands in none */
#define HF_LOCK_ORDER_CALLS(name, type, timedlock, unlock)                                         \
    static inline int hf_lock_order_timed_##name(type *lock, int64_t timeout_ns, const char *file, \
                                                 int line)                                         \
    {                                                                                              \
        if (timeout_ns != 0) {                                                                     \
            hf_lock_order_taking(lock, file, line);                                                \
        }                                                                                          \
        return hf_lock_order_result(lock, timedlock(lock, timeout_ns), file, line);                \
    }                                                                                              \
    static inline int hf_lock_order_unlock_##name(type *lock)                                      \
    {                                                                                              \
        int result = unlock(lock);                                                                 \
        if (result == 0) {                                                                         \
            hf_lock_order_freed(lock);                                                             \
        }                                                                                          \
        return result;                                                                             \
    }
#define HF_LOCK_ORDER_FINI(name, type, fini)                                                       \
    static inline int hf_lock_order_fini_##name(type *lock)                                        \
    {                                                                                              \
        int result = fini(lock);                                                                   \
        if (result == 0) {                                                                         \
            hf_lock_order_forget(lock);                                                            \
        }                                                                                          \
        return result;                                                                             \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

HF_LOCK_ORDER_CALLS(mutex, hf_mutex, hf_mutex_timedlock, hf_mutex_unlock)
HF_LOCK_ORDER_FINI(mutex, hf_mutex, hf_mutex_fini)
HF_LOCK_ORDER_CALLS(recursive_mutex, hf_recursive_mutex, hf_recursive_mutex_timedlock,
                    hf_recursive_mutex_unlock)
HF_LOCK_ORDER_FINI(recursive_mutex, hf_recursive_mutex, hf_recursive_mutex_fini)
HF_LOCK_ORDER_CALLS(rd, hf_rwlock, hf_rwlock_timedrdlock, hf_rwlock_rdunlock)
HF_LOCK_ORDER_CALLS(wr, hf_rwlock, hf_rwlock_timedwrlock, hf_rwlock_wrunlock)
HF_LOCK_ORDER_CALLS(up, hf_rwlock, hf_rwlock_timeduplock, hf_rwlock_upunlock)
HF_LOCK_ORDER_FINI(rwlock, hf_rwlock, hf_rwlock_fini)

#ifdef __cplusplus
}
#endif

#ifdef HF_LOCK_ORDER
#define HF_LOCK_ORDER_TIMED(name, lock, timeout_ns)                                                \
    hf_lock_order_timed_##name((lock), (timeout_ns), __FILE__, __LINE__)
#define HF_LOCK_ORDER_UNTIL(name, lock, deadline_ns)                                               \
    HF_LOCK_ORDER_TIMED(name, lock, hf_time_left(deadline_ns))

#define hf_mutex_lock(lock)                    HF_LOCK_ORDER_TIMED(mutex, lock, HF_FOREVER)
#define hf_mutex_trylock(lock)                 HF_LOCK_ORDER_TIMED(mutex, lock, 0)
#define hf_mutex_timedlock(lock, timeout_ns)   HF_LOCK_ORDER_TIMED(mutex, lock, timeout_ns)
#define hf_mutex_lock_until(lock, deadline_ns) HF_LOCK_ORDER_UNTIL(mutex, lock, deadline_ns)
#define hf_mutex_unlock(lock)                  hf_lock_order_unlock_mutex(lock)
#define hf_mutex_fini(lock)                    hf_lock_order_fini_mutex(lock)

#define hf_recursive_mutex_lock(lock)    HF_LOCK_ORDER_TIMED(recursive_mutex, lock, HF_FOREVER)
#define hf_recursive_mutex_trylock(lock) HF_LOCK_ORDER_TIMED(recursive_mutex, lock, 0)
#define hf_recursive_mutex_timedlock(lock, timeout_ns)                                             \
    HF_LOCK_ORDER_TIMED(recursive_mutex, lock, timeout_ns)
#define hf_recursive_mutex_lock_until(lock, deadline_ns)                                           \
    HF_LOCK_ORDER_UNTIL(recursive_mutex, lock, deadline_ns)
#define hf_recursive_mutex_unlock(lock) hf_lock_order_unlock_recursive_mutex(lock)
#define hf_recursive_mutex_fini(lock)   hf_lock_order_fini_recursive_mutex(lock)

#define hf_rwlock_rdlock(lock)                    HF_LOCK_ORDER_TIMED(rd, lock, HF_FOREVER)
#define hf_rwlock_tryrdlock(lock)                 HF_LOCK_ORDER_TIMED(rd, lock, 0)
#define hf_rwlock_timedrdlock(lock, timeout_ns)   HF_LOCK_ORDER_TIMED(rd, lock, timeout_ns)
#define hf_rwlock_rdlock_until(lock, deadline_ns) HF_LOCK_ORDER_UNTIL(rd, lock, deadline_ns)
#define hf_rwlock_rdunlock(lock)                  hf_lock_order_unlock_rd(lock)
#define hf_rwlock_wrlock(lock)                    HF_LOCK_ORDER_TIMED(wr, lock, HF_FOREVER)
#define hf_rwlock_trywrlock(lock)                 HF_LOCK_ORDER_TIMED(wr, lock, 0)
#define hf_rwlock_timedwrlock(lock, timeout_ns)   HF_LOCK_ORDER_TIMED(wr, lock, timeout_ns)
#define hf_rwlock_wrlock_until(lock, deadline_ns) HF_LOCK_ORDER_UNTIL(wr, lock, deadline_ns)
#define hf_rwlock_wrunlock(lock)                  hf_lock_order_unlock_wr(lock)
#define hf_rwlock_uplock(lock)                    HF_LOCK_ORDER_TIMED(up, lock, HF_FOREVER)
#define hf_rwlock_tryuplock(lock)                 HF_LOCK_ORDER_TIMED(up, lock, 0)
#define hf_rwlock_timeduplock(lock, timeout_ns)   HF_LOCK_ORDER_TIMED(up, lock, timeout_ns)
#define hf_rwlock_uplock_until(lock, deadline_ns) HF_LOCK_ORDER_UNTIL(up, lock, deadline_ns)
#define hf_rwlock_upunlock(lock)                  hf_lock_order_unlock_up(lock)
#define hf_rwlock_fini(lock)                      hf_lock_order_fini_rwlock(lock)
#endif
#endif
