/* SPDX-License-Identifier: MIT */
/*
 * An event: set by one, and everybody who waits for it goes on.
 *
 * It stays set until it is reset. Setting it lets everyone go who is waiting at that time, even if
 * it is reset before they have looked. What was written before it was set is there for who has
 * waited.
 *
 * Memory that is all zero is an event, not set. It lies in memory that processes share and may
 * write, in a segment or not, at whatever address; no call on it takes a participant's slot.
 *
 * Death: each call is one step, done or not. One who dies waiting is not missed. One who dies
 * between setting it and waking costs the others a tenth of a second. Whether whoever is to set it
 * still lives, an event does not know: use a timeout, or a barrier.
 *
 * Errors common to all: -EINVAL for NULL, a misaligned one, or one that fini has ended.
 */
#ifndef HOLDFAST_EVENT_H
#define HOLDFAST_EVENT_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
typedef struct hf_event {
    uint64_t opaque[4] __attribute__((aligned(8)));
} hf_event;
#else
typedef struct hf_event {
    uint64_t opaque[4];
} hf_event;
#endif

/* clang-format off */
#define HF_EVENT_INIT {{0, 0, 0, 0}}
/* clang-format on */

/* Makes an event, not set, of memory that is not all zero. Nobody may be using it. */
HF_API int hf_event_init(hf_event *event);

/* Ends it: from now on -EINVAL, also for those who are waiting. */
HF_API int hf_event_fini(hf_event *event);

HF_API int hf_event_set(hf_event *event);
HF_API int hf_event_reset(hf_event *event);

/* 1, 0, or an error. */
HF_API int hf_event_is_set(const hf_event *event);

/* Waits for ever until it is set. */
HF_API int hf_event_wait(hf_event *event);

/* Does not wait: -EBUSY if it is not set. */
HF_API int hf_event_trywait(hf_event *event);

/* Waits at most timeout_ns nanoseconds (HF_FOREVER: no limit; 0: as trywait): -ETIMEDOUT. */
HF_API int hf_event_timedwait(hf_event *event, int64_t timeout_ns);

/* The same until hf_now_ns() gives that. */
static inline int hf_event_wait_until(hf_event *event, int64_t deadline_ns)
{
    return hf_event_timedwait(event, hf_time_left(deadline_ns));
}

#ifdef __cplusplus
}
#endif
#endif
