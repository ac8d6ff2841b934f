/* SPDX-License-Identifier: MIT */
/*
 * A mutex that the thread which has it may lock again; it is free once it has been unlocked as
 * often.
 *
 * Everything that <holdfast/mutex.h> says holds for it as well: memory that is all zero is one,
 * free; who dies with it, however often it had it, is followed by the next one, who gets it held
 * once, and -EOWNERDEAD unless it was taken in a transaction. Locking it again gives 0, also while
 * the data has yet to be mended.
 *
 * Inside a transaction the last unlock is kept until the transaction ends, and locking it again
 * takes that back. How often it is held is not undone by hf_tx_abort.
 *
 * Errors as of hf_mutex.
 */
#ifndef HOLDFAST_RECURSIVE_MUTEX_H
#define HOLDFAST_RECURSIVE_MUTEX_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
typedef struct hf_recursive_mutex {
    uint64_t opaque[4] __attribute__((aligned(8)));
} hf_recursive_mutex;
#else
typedef struct hf_recursive_mutex {
    uint64_t opaque[4];
} hf_recursive_mutex;
#endif

/* clang-format off */
#define HF_RECURSIVE_MUTEX_INIT {{0, 0, 0, 0}}
/* clang-format on */

/* Makes one of memory that is not all zero. Nobody may be using it. */
HF_API int hf_recursive_mutex_init(hf_recursive_mutex *mutex);

/* Ends it: from now on -EINVAL, also for those who are waiting. -EBUSY while someone holds it.
   Memory that was a recursive mutex becomes something else only after this: who died waiting for
   it, or holding it, is recovered by what is written there. */
HF_API int hf_recursive_mutex_fini(hf_recursive_mutex *mutex);

/* Waits for ever, unless this thread has it. 0; -EOWNERDEAD: held, once; -ENOTRECOVERABLE;
   -EOVERFLOW: this thread has it 2^32 times. */
HF_API int hf_recursive_mutex_lock(hf_recursive_mutex *mutex);

/* Does not wait: -EBUSY if another has it. */
HF_API int hf_recursive_mutex_trylock(hf_recursive_mutex *mutex);

/* Waits at most timeout_ns nanoseconds (HF_FOREVER: no limit; 0: as trylock): -ETIMEDOUT. */
HF_API int hf_recursive_mutex_timedlock(hf_recursive_mutex *mutex, int64_t timeout_ns);

/* The same, until an instant of hf_now_ns. */
static inline int hf_recursive_mutex_lock_until(hf_recursive_mutex *mutex, int64_t deadline_ns)
{
    return hf_recursive_mutex_timedlock(mutex, hf_time_left(deadline_ns));
}

/* Once. -EPERM if this thread does not hold it. */
HF_API int hf_recursive_mutex_unlock(hf_recursive_mutex *mutex);

/* After -EOWNERDEAD: the data is good again. -EPERM if this thread does not hold it; -EINVAL if its
   last owner did not die. */
HF_API int hf_recursive_mutex_consistent(hf_recursive_mutex *mutex);

#ifdef __cplusplus
}
#endif

#ifdef HF_LOCK_ORDER
#include "holdfast/lock_order.h"
#endif
#endif
