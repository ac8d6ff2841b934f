/* SPDX-License-Identifier: MIT */
/*
 * A semaphore: so many permits, which are taken and given back.
 *
 * There are two kinds. A *plain* one counts, and no more: a permit that someone took and died with
 * is gone, and one that is posted by somebody else than its taker is as good as any. Memory that is
 * all zero is a plain one with no permits. It lies in memory that processes share and may write, in
 * a segment or not; no call on it takes a participant's slot.
 *
 * Of one with HF_SEMAPHORE_UNDO the permits come back: what a thread has taken and not given back
 * when it ends, however it ends, others get. A post gives back a permit of this thread's, if it has
 * one, and is one more for good if it has none: so let the thread post that has taken, or the
 * permit comes twice if the taker dies afterwards. It lies in a segment, at that place: do not copy
 * or move it. A thread holds permits of at most 32 such semaphores, read locks and barriers counted
 * in.
 *
 * Death: whoever dies in a call has made it or not, and a permit is neither lost nor doubled (of a
 * plain one: a wait that was made is a permit gone). Who waits for the permits of the dead gets
 * them within a tenth of a second; within milliseconds where the kernel can tell, if nobody else
 * has had permits since the wait began. Who sleeps when a poster dies before it has woken anybody
 * goes on within a tenth of a second. Who only tries gets the permits of the dead, too: where the
 * kernel does not tell it is asked, every ten milliseconds at most. A stopped holder is alive.
 *
 * Who jumps out of a call, and then calls hf_thread_recover, has made it or not: with
 * HF_SEMAPHORE_UNDO hf_semaphore_held tells. Who was still waiting has not.
 *
 * Not part of transactions: what was taken or posted inside one stays so if it is aborted.
 *
 * Errors common to all: -EINVAL for NULL, a misaligned one, or one that fini has ended; with
 * HF_SEMAPHORE_UNDO those of <holdfast/segment.h> as well.
 */
#ifndef HOLDFAST_SEMAPHORE_H
#define HOLDFAST_SEMAPHORE_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
typedef struct hf_semaphore {
    uint64_t opaque[4] __attribute__((aligned(8)));
} hf_semaphore;
#else
typedef struct hf_semaphore {
    uint64_t opaque[4];
} hf_semaphore;
#endif

/* clang-format off */
#define HF_SEMAPHORE_INIT {{0, 0, 0, 0}}
/* clang-format on */

/* The most permits that there can be at a time. */
#define HF_SEMAPHORE_MAX UINT32_C(0x7fffffff)

enum { HF_SEMAPHORE_UNDO = 1 /* permits come back from the dead */ };

/* Makes one. Nobody may be using it. -EINVAL also for unknown flags, and with HF_SEMAPHORE_UNDO for
   memory (mapped) in no segment that this process has open; -EOVERFLOW: more than HF_SEMAPHORE_MAX.
   -EBUSY: with HF_SEMAPHORE_UNDO, another thread that lives has permits of one that was there
   before. */
HF_API int hf_semaphore_init(hf_semaphore *semaphore, uint32_t permits, unsigned flags);

/* Ends it: from now on -EINVAL, also for those who are waiting. Permits that are held are gone. */
HF_API int hf_semaphore_fini(hf_semaphore *semaphore);

/* Takes a permit; waits for ever. -ENOLCK, -EOVERFLOW: with HF_SEMAPHORE_UNDO, this thread holds
   too many things, or more than 65,535 permits. */
HF_API int hf_semaphore_wait(hf_semaphore *semaphore);

/* Does not wait: -EBUSY if there is no permit. */
HF_API int hf_semaphore_trywait(hf_semaphore *semaphore);

/* Waits at most timeout_ns nanoseconds (HF_FOREVER: no limit; 0: as trywait): -ETIMEDOUT. */
HF_API int hf_semaphore_timedwait(hf_semaphore *semaphore, int64_t timeout_ns);

/* The same until hf_now_ns() is deadline_ns. */
static inline int hf_semaphore_wait_until(hf_semaphore *semaphore, int64_t deadline_ns)
{
    return hf_semaphore_timedwait(semaphore, hf_time_left(deadline_ns));
}

/* One permit more, or so many; wakes as many. -EOVERFLOW: none was added. */
HF_API int hf_semaphore_post(hf_semaphore *semaphore);
HF_API int hf_semaphore_post_many(hf_semaphore *semaphore, uint32_t permits);

/* How many permits are to be had just now. */
HF_API int hf_semaphore_value(const hf_semaphore *semaphore, uint32_t *value);

/* With HF_SEMAPHORE_UNDO: how many permits would come back if this thread ended. -EINVAL: a plain
   one, which does not know. */
HF_API int hf_semaphore_held(hf_semaphore *semaphore, uint32_t *permits);

#ifdef __cplusplus
}
#endif
#endif
