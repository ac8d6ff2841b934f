/* SPDX-License-Identifier: MIT */
/*
 * A condition: waits, with a lock let go of meanwhile, until another says that something has
 * changed. It works with every exclusive lock of this library, and they may lie in different
 * segments:
 *
 *     hf_mutex_lock(&shared->mutex);
 *     while (shared->count == 0) {
 *         int error = hf_condition_wait(&shared->changed, hf_lockable_of(&shared->mutex));
 *         ...
 *     }
 *     shared->count--;
 *     hf_mutex_unlock(&shared->mutex);
 *
 * Memory that is all zero is a condition. Change what others wait for while you hold the lock;
 * notify then, or after unlocking. A wait may end although nobody has notified (and, within a tenth
 * of a second, of any waiter that one notification did not choose): look again, always.
 *
 * Death: a waiter that dies neither blocks a notifier nor swallows a notification; should it have
 * been the one that was chosen, or the notifier die in the call, another waiter goes on within a
 * tenth of a second. Nobody waits for the dead.
 *
 * A wait returns
 *     0                   the lock is held; look whether it is true by now
 *     -ETIMEDOUT          the lock is held; it may be true all the same
 *     -EOWNERDEAD         the lock is held: its last owner has died, see <holdfast/mutex.h>
 *     -ENOTRECOVERABLE    the lock is *not* held: its data has been given up
 *     -EPERM, -EBUSY, -EINVAL of the arguments: nothing has happened, the lock is as it was
 * and what locking returns besides: then it is not held. The time counts for the waiting; to have
 * the lock again it waits for as long as it takes. Whoever waits with a lock that was
 * -EOWNERDEAD, and has not been made consistent, gives its data up, as in unlocking it.
 *
 * -EPERM: this thread does not hold the lock, or only as a reader. -EBUSY: a transaction is open in
 * the lock's segment, which would keep the lock; or it is a recursive mutex that is held more than
 * once. The other errors are those of hf_mutex, of the condition as well.
 */
#ifndef HOLDFAST_CONDITION_H
#define HOLDFAST_CONDITION_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/lockable.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
typedef struct hf_condition {
    uint64_t opaque[4] __attribute__((aligned(8)));
} hf_condition;
#else
typedef struct hf_condition {
    uint64_t opaque[4];
} hf_condition;
#endif

/* clang-format off */
#define HF_CONDITION_INIT {{0, 0, 0, 0}}
/* clang-format on */

/* Makes one of memory that is not all zero. Nobody may be using it. */
HF_API int hf_condition_init(hf_condition *condition);

/* Ends it: from now on -EINVAL. Those who wait go on. Before its memory becomes something else, as
   hf_mutex_fini. */
HF_API int hf_condition_fini(hf_condition *condition);

/* Waits for ever. */
HF_API int hf_condition_wait(hf_condition *condition, hf_lockable lock);

/* Waits at most timeout_ns nanoseconds (HF_FOREVER: no limit; 0: only lets the lock go once). */
HF_API int hf_condition_timedwait(hf_condition *condition, hf_lockable lock, int64_t timeout_ns);

/* The same, until an instant of hf_now_ns. */
static inline int hf_condition_wait_until(hf_condition *condition, hf_lockable lock,
                                          int64_t deadline_ns)
{
    return hf_condition_timedwait(condition, lock, hf_time_left(deadline_ns));
}

/*
 * Waits until is_true(context), which is called with the lock held and may not unlock it. 0: it is
 * true. -ETIMEDOUT: it was not, all the time. -EOWNERDEAD: the lock is held, and is_true has not
 * been asked since, for the data may be torn: mend it, and call again. Others as above.
 */
HF_API int hf_condition_wait_for(hf_condition *condition, hf_lockable lock,
                                 bool (*is_true)(void *context), void *context, int64_t timeout_ns);

/* The same, until an instant of hf_now_ns. */
static inline int hf_condition_wait_for_until(hf_condition *condition, hf_lockable lock,
                                              bool (*is_true)(void *context), void *context,
                                              int64_t deadline_ns)
{
    return hf_condition_wait_for(condition, lock, is_true, context, hf_time_left(deadline_ns));
}

/* Lets one of those who wait go on, or all. No system call while nobody waits. */
HF_API int hf_condition_notify_one(hf_condition *condition);
HF_API int hf_condition_notify_all(hf_condition *condition);

/* ---- for the checker of <holdfast/lock_order.h> ------------------------------------------- */

#ifdef HF_LOCK_ORDER
/* After a wait that was refused the lock is held as before; otherwise it was let go of, and taken
   here or not. */
static inline int hf_lock_order_waited(const void *lock, int result, const char *file, int line)
{
    if (result != -EPERM && result != -EBUSY && result != -EINVAL && result != -EDEADLK) {
        hf_lock_order_freed(lock);
        (void)hf_lock_order_result(lock, result == -ETIMEDOUT ? 0 : result, file, line);
    }
    return result;
}

static inline int hf_lock_order_wait(hf_condition *condition, hf_lockable lock, int64_t timeout_ns,
                                     const char *file, int line)
{
    hf_lock_order_taking_again(lock.lock, file, line);
    return hf_lock_order_waited(lock.lock, hf_condition_timedwait(condition, lock, timeout_ns),
                                file, line);
}

static inline int hf_lock_order_wait_for(hf_condition *condition, hf_lockable lock,
                                         bool (*is_true)(void *context), void *context,
                                         int64_t timeout_ns, const char *file, int line)
{
    hf_lock_order_taking_again(lock.lock, file, line);
    int result = hf_condition_wait_for(condition, lock, is_true, context, timeout_ns);
    return hf_lock_order_waited(lock.lock, result, file, line);
}

#define hf_condition_timedwait(condition, lock, timeout_ns)                                        \
    hf_lock_order_wait((condition), (lock), (timeout_ns), __FILE__, __LINE__)
#define hf_condition_wait(condition, lock) hf_condition_timedwait(condition, lock, HF_FOREVER)
#define hf_condition_wait_until(condition, lock, deadline_ns)                                      \
    hf_condition_timedwait(condition, lock, hf_time_left(deadline_ns))
#define hf_condition_wait_for(condition, lock, is_true, context, timeout_ns)                       \
    hf_lock_order_wait_for((condition), (lock), (is_true), (context), (timeout_ns), __FILE__,      \
                           __LINE__)
#define hf_condition_wait_for_until(condition, lock, is_true, context, deadline_ns)                \
    hf_condition_wait_for(condition, lock, is_true, context, hf_time_left(deadline_ns))
#endif

#ifdef __cplusplus
}
#endif
#endif
