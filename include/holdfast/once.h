/* SPDX-License-Identifier: MIT */
/*
 * Once: something is done to its end one time among all processes, whoever dies at it.
 *
 *     static int make_table(void *context) { ...; return 0; }
 *     error = hf_once_call(&root->once, make_table, root);
 *
 * Memory that is all zero is one, not done yet. It belongs to the segment that it lies in, at that
 * place: do not copy or move it.
 *
 * Death of who is at it: the next caller does it from the start, and what the dead one has written
 * is there as it was left; do it in a transaction if that matters. Others wait meanwhile, and hear
 * of the death as with a mutex.
 *
 * Errors common to all: those of <holdfast/segment.h>. -EINVAL also for one that lies in no segment
 * that this process has open, a misaligned one, or one that fini has ended. -EBADMSG: damaged. All
 * of it in memory that is mapped: what went with hf_segment_close is a SIGSEGV.
 */
#ifndef HOLDFAST_ONCE_H
#define HOLDFAST_ONCE_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
typedef struct hf_once {
    uint64_t opaque[4] __attribute__((aligned(8)));
} hf_once;
#else
typedef struct hf_once {
    uint64_t opaque[4];
} hf_once;
#endif

/* clang-format off */
#define HF_ONCE_INIT {{0, 0, 0, 0}}
/* clang-format on */

/* Makes one, not done yet, of memory that is not all zero. Nobody may be using it. */
HF_API int hf_once_init(hf_once *once);

/* Ends it: from now on -EINVAL, also for those who are waiting. -EBUSY while someone is at it.
   Memory that was a once becomes something else only after this: who died waiting for it, or at it,
   is recovered by what is written there. */
HF_API int hf_once_fini(hf_once *once);

/*
 * If it is done: 0, and no more than two loads. Otherwise calls do_it(context) when nobody else is
 * at it, and returns what that returns: 0, and it is done; anything else, and the next caller
 * tries. What do_it wrote is there for everyone who gets 0.
 *
 * do_it has to return. Who jumps out of it, or of this call (siglongjmp), is at it still, until it
 * calls hf_thread_recover: then it is done, or the next caller does it from the start; after the
 * end of the transaction, if do_it has begun one.
 *
 * -EDEADLK: this thread is at it: do_it has called this once. -EBUSY: this thread is in a
 * transaction of the segment, whose end might undo what was done; or do_it has left one open, and
 * the next caller tries. -EPERM: do_it has given up this thread's slot in the segment, or has
 * called hf_thread_recover, which gives up all that this thread is at; likewise. -ENOLCK: this
 * thread is at eight others in the segment.
 */
HF_API int hf_once_call(hf_once *once, int (*do_it)(void *context), void *context);

/* The same, but waits for another who is at it at most timeout_ns nanoseconds (HF_FOREVER: no
   limit; 0: not at all, -EBUSY): -ETIMEDOUT. */
HF_API int hf_once_timedcall(hf_once *once, int (*do_it)(void *context), void *context,
                             int64_t timeout_ns);

/* The same, until an instant of hf_now_ns. */
static inline int hf_once_call_until(hf_once *once, int (*do_it)(void *context), void *context,
                                     int64_t deadline_ns)
{
    return hf_once_timedcall(once, do_it, context, hf_time_left(deadline_ns));
}

/* 1, 0, or -EINVAL. */
HF_API int hf_once_is_done(const hf_once *once);

#ifdef __cplusplus
}
#endif
#endif
