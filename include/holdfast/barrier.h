/* SPDX-License-Identifier: MIT */
/*
 * A barrier: so many threads meet there, and go on together, again and again. The death of one who
 * takes part breaks it, with an error and no hang.
 *
 * Threads that take part are *members*: by hf_barrier_join, or by their first wait. Join early: a
 * death before that nobody can know of. A member that dies, or whose thread ends without
 * hf_barrier_leave, breaks the barrier: everyone who waits, and who comes later, gets -ESRCH until
 * hf_barrier_reset. Who is told so is no member any more. Those who wait hear of a death within a
 * tenth of a second; within milliseconds where the kernel can tell, if all the other members wait,
 * and none has joined in the last tenth of a second. When all had arrived before it they get 0,
 * every one of them. Who joins, or only tries, is told as well: where the kernel does not tell it
 * is asked, by who tries every ten milliseconds at most. A stopped member is alive.
 *
 * Generations are told apart modulo 2^24: who is stopped in a wait, while the others complete
 * exactly so many without it, waits on.
 *
 * It takes hf_barrier_init: memory that is all zero is none. It belongs to the segment that it lies
 * in, at that place: do not copy or move it. A thread is a member of at most 32 barriers at a time
 * (with what else it holds beside others): -ENOLCK. What was written before a wait is there for all
 * after it.
 *
 * Whoever jumps out of a wait or of hf_barrier_leave, and then calls hf_thread_recover, breaks the
 * barrier, and is no member any more; unless the call was not begun, or had been made.
 *
 * Errors common to all: those of <holdfast/segment.h>. -EINVAL also for a barrier that lies in no
 * segment that this process has open, a misaligned one, one that was not made, or that fini has
 * ended. -EBADMSG: damaged. All of it in memory that is mapped: what went with hf_segment_close is
 * a SIGSEGV.
 */
#ifndef HOLDFAST_BARRIER_H
#define HOLDFAST_BARRIER_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
typedef struct hf_barrier {
    uint64_t opaque[4] __attribute__((aligned(8)));
} hf_barrier;
#else
typedef struct hf_barrier {
    uint64_t opaque[4];
} hf_barrier;
#endif

#define HF_BARRIER_MAX 4095

/* Makes a barrier that so many wait at, 1 to HF_BARRIER_MAX. Nobody may be using it. */
HF_API int hf_barrier_init(hf_barrier *barrier, uint32_t count);

/* Ends it: from now on -EINVAL. -EBUSY while another thread is a member. */
HF_API int hf_barrier_fini(hf_barrier *barrier);

/* This thread takes part from now on; nothing if it does already. -ESRCH; -ENOLCK. */
HF_API int hf_barrier_join(hf_barrier *barrier);

/* Waits for ever until so many have come. 1 for the one who came last, 0 for the others; -ESRCH: it
   is broken; -ENOLCK; -EPERM: all that were expected have left. */
HF_API int hf_barrier_wait(hf_barrier *barrier);

/* Does not wait: 1 if the others are all there; otherwise -EBUSY, as if it had not come. */
HF_API int hf_barrier_trywait(hf_barrier *barrier);

/* Waits at most timeout_ns nanoseconds (HF_FOREVER: no limit; 0: as trywait): -ETIMEDOUT, as if it
   had not come. It is a member all the same. */
HF_API int hf_barrier_timedwait(hf_barrier *barrier, int64_t timeout_ns);

/* This thread takes part no more, and one fewer is expected from now on; if the others are all
   there they go on. -EPERM: it is no member, or was one before a reset. */
HF_API int hf_barrier_leave(hf_barrier *barrier);

/* Begins anew with that count, broken or not. Nobody is a member any more; who is waiting gets
   -ESRCH. */
HF_API int hf_barrier_reset(hf_barrier *barrier, uint32_t count);

/* As timedwait, until hf_now_ns() gives that. */
static inline int hf_barrier_wait_until(hf_barrier *barrier, int64_t deadline_ns)
{
    return hf_barrier_timedwait(barrier, hf_time_left(deadline_ns));
}

#ifdef __cplusplus
}
#endif
#endif
