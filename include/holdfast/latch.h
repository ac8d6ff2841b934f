/* SPDX-License-Identifier: MIT */
/*
 * A latch: counts down once; when nothing is left everybody who waits for it goes on, for good.
 *
 * It counts events, and not who brings them about: whoever dies before it has counted down leaves
 * the others waiting. Where participants may die use a barrier, or a timeout. What was written
 * before each counting down is there for who has waited.
 *
 * Memory that is all zero is a latch with nothing left to count: open. It lies in memory that
 * processes share and may write, in a segment or not, at whatever address; no call on it takes a
 * participant's slot.
 *
 * Death: each counting down is one step, done or not. One who dies waiting is not missed. One who
 * dies between the last step and waking costs the others a tenth of a second.
 *
 * Errors common to all: -EINVAL for NULL, a misaligned one, or one that fini has ended.
 */
#ifndef HOLDFAST_LATCH_H
#define HOLDFAST_LATCH_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
typedef struct hf_latch {
    uint64_t opaque[4] __attribute__((aligned(8)));
} hf_latch;
#else
typedef struct hf_latch {
    uint64_t opaque[4];
} hf_latch;
#endif

#define HF_LATCH_MAX INT32_MAX

/* Makes a latch that is to be counted down so often. Nobody may be using it. -EINVAL also for a
   count above HF_LATCH_MAX. */
HF_API int hf_latch_init(hf_latch *latch, uint32_t count);

/* Ends it: from now on -EINVAL, also for those who are waiting. */
HF_API int hf_latch_fini(hf_latch *latch);

/* Does not wait. -EINVAL, and nothing, if less than `n` is left. */
HF_API int hf_latch_count_down(hf_latch *latch, uint32_t n);

/* What is left to count. */
HF_API int hf_latch_value(const hf_latch *latch, uint32_t *left);

/* Waits for ever until nothing is left. */
HF_API int hf_latch_wait(hf_latch *latch);

/* Does not wait: -EBUSY if something is left. */
HF_API int hf_latch_trywait(hf_latch *latch);

/* Waits at most timeout_ns nanoseconds (HF_FOREVER: no limit; 0: as trywait): -ETIMEDOUT. */
HF_API int hf_latch_timedwait(hf_latch *latch, int64_t timeout_ns);

/* Counts down by one, and waits for ever. */
HF_API int hf_latch_arrive_and_wait(hf_latch *latch);

/* As timedwait, until hf_now_ns() gives that. */
static inline int hf_latch_wait_until(hf_latch *latch, int64_t deadline_ns)
{
    return hf_latch_timedwait(latch, hf_time_left(deadline_ns));
}

#ifdef __cplusplus
}
#endif
#endif
