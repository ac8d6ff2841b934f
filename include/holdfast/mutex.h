/* SPDX-License-Identifier: MIT */
/*
 * A mutex that lies in a segment and survives its owner.
 *
 * Memory that is all zero is a mutex, free: what lies in a fresh root needs no initialising. It
 * belongs to the segment that it lies in, at that place: do not copy or move it.
 *
 * Death of the owner: whoever comes next undoes its transaction and takes the mutex over. If the
 * dead had taken it inside that transaction the data is as it was before, and lock returns 0.
 * Otherwise it returns -EOWNERDEAD, *and the mutex is held*: look at the data, mend it, call
 * hf_mutex_consistent, unlock. Unlocking it without that gives the data up: everyone gets
 * -ENOTRECOVERABLE from then on. A waiter hears of a death within milliseconds where the kernel can
 * tell, within a tenth of a second elsewhere. A stopped owner is alive.
 *
 * Inside a transaction an unlock is kept until the transaction ends: see <holdfast/tx.h>.
 *
 * Errors common to all: those of <holdfast/segment.h>. -EINVAL also for a mutex that lies in no
 * segment that this process has open, a misaligned one, or one that fini has ended. -EBADMSG:
 * damaged. All of it in memory that is mapped: what went with hf_segment_close is a SIGSEGV.
 */
#ifndef HOLDFAST_MUTEX_H
#define HOLDFAST_MUTEX_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
typedef struct hf_mutex {
    uint64_t opaque[4] __attribute__((aligned(8)));
} hf_mutex;
#else
typedef struct hf_mutex {
    uint64_t opaque[4];
} hf_mutex;
#endif

/* clang-format off */
#define HF_MUTEX_INIT {{0, 0, 0, 0}}
/* clang-format on */

/* Makes a mutex of memory that is not all zero. Nobody may be using it. */
HF_API int hf_mutex_init(hf_mutex *mutex);

/* Ends it: from now on -EINVAL, also for those who are waiting. -EBUSY while someone holds it.
   Memory that was a mutex becomes something else only after this: who died waiting for it, or
   holding it, is recovered by what is written there. */
HF_API int hf_mutex_fini(hf_mutex *mutex);

/* Waits for ever. 0; -EOWNERDEAD: held, see above; -ENOTRECOVERABLE; -EDEADLK: this thread has it.
 */
HF_API int hf_mutex_lock(hf_mutex *mutex);

/* Does not wait: -EBUSY if another has it. */
HF_API int hf_mutex_trylock(hf_mutex *mutex);

/* Waits at most timeout_ns nanoseconds (HF_FOREVER: no limit; 0: as trylock): -ETIMEDOUT. */
HF_API int hf_mutex_timedlock(hf_mutex *mutex, int64_t timeout_ns);

/* The same, until an instant of hf_now_ns. */
static inline int hf_mutex_lock_until(hf_mutex *mutex, int64_t deadline_ns)
{
    return hf_mutex_timedlock(mutex, hf_time_left(deadline_ns));
}

/* -EPERM if this thread does not hold it. */
HF_API int hf_mutex_unlock(hf_mutex *mutex);

/* After -EOWNERDEAD: the data is good again. -EPERM if this thread does not hold it; -EINVAL if its
   last owner did not die. */
HF_API int hf_mutex_consistent(hf_mutex *mutex);

#ifdef __cplusplus
}
#endif

#ifdef HF_LOCK_ORDER
#include "holdfast/lock_order.h"
#endif
#endif
