/* SPDX-License-Identifier: MIT */
/*
 * A pipe: a stream of bytes from one writer to one reader, in a segment.
 *
 * Both sides work in place: the writer reserves a run of the ring, fills it (read(2) may go
 * straight into it) and commits; the reader peeks at a run, uses it (write(2) may come straight
 * out of it) and releases. While both are awake neither makes a system call; a side that finds
 * nothing to do spins briefly and then sleeps.
 *
 *     hf_pipe_init            once, by whoever owns the memory
 *     hf_pipe_open            by one writer and one reader, each through its own handle
 *     reserve/commit, peek/release, or the copying hf_pipe_write, hf_pipe_read
 *     hf_pipe_close           the writer's close is the end of the stream
 *
 * Death: a writer that dies gives its reader all that it had committed, then -ECONNRESET; a
 * reader that dies gives its writer -EPIPE; at once where the kernel can tell, within a tenth of a
 * second elsewhere. What was reserved and not committed was never there. A stopped (SIGSTOP)
 * process is alive.
 *
 * A side belongs to the thread that opened it, as a participant of the segment: with that thread's
 * end the side is dead, even if another thread of the process uses the handle.
 *
 * One thread at a time on a handle. Nothing here is async-signal-safe. What a hostile or damaged
 * peer writes can give -EBADMSG or wrong bytes, never an access outside the pipe.
 */
#ifndef HOLDFAST_PIPE_H
#define HOLDFAST_PIPE_H

#include <stddef.h>
#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/segment.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HF_PIPE_CAPACITY_MIN (UINT64_C(1) << 12)
#define HF_PIPE_CAPACITY_MAX (UINT64_C(1) << 30)
#define HF_PIPE_ALIGNMENT    128

typedef struct hf_pipe hf_pipe;

typedef enum hf_pipe_side { HF_PIPE_WRITER = 0, HF_PIPE_READER = 1 } hf_pipe_side;

/* Bytes of shared memory for a pipe whose ring holds `capacity` bytes; 0 for a capacity that is no
   power of two between the two limits. */
HF_API uint64_t hf_pipe_footprint(uint64_t capacity);

/*
 * Makes an empty pipe at `place` in the segment, in memory of the caller's (hf_segment_root,
 * hf_pages_alloc) that is aligned to HF_PIPE_ALIGNMENT and has hf_pipe_footprint(capacity) bytes.
 * Nobody may have it open. -EINVAL; -EACCES.
 */
HF_API int hf_pipe_init(hf_segment *segment, void *place, uint64_t capacity);

/*
 * Takes one side of the pipe at `place`. The segment must stay open until hf_pipe_close. A side is
 * taken once in a pipe's life. -EBUSY if it has been; -EBADMSG if there is no whole pipe; -EACCES;
 * -EINVAL; and what taking a slot in the segment can give. Who jumps out of it (siglongjmp) has the
 * side, and the handle in *pipe, or neither.
 */
HF_API int hf_pipe_open(hf_segment *segment, void *place, hf_pipe_side side, hf_pipe **pipe);

/* Closes this side. The writer's last bytes stay for the reader. NULL is fine. */
HF_API void hf_pipe_close(hf_pipe *pipe);

/*
 * Waits until at least `minimum` bytes (at least 1, at most the capacity) are free, and gives the
 * run that starts at the stream's end: *length bytes, fewer than `minimum` only where the ring
 * wraps. Reserving again without a commit gives the same start. `timeout_ns` is in nanoseconds;
 * 0 tries, HF_FOREVER waits. Where both sides wait for much, their two minimums must not exceed the
 * capacity together, or each can wait for the other. -EAGAIN (tried), -ETIMEDOUT, -EPIPE if the
 * reader has closed or died, -EBADMSG, -EINVAL (also for a reader's handle).
 */
HF_API int hf_pipe_reserve(hf_pipe *pipe, uint64_t minimum, int64_t timeout_ns, void **run,
                           uint64_t *length);

/* Hands the first `length` bytes of the reserved run to the reader. -EINVAL beyond the run. */
HF_API int hf_pipe_commit(hf_pipe *pipe, uint64_t length);

/*
 * Waits until at least `minimum` bytes are there and gives the run they start with, as reserve
 * does; with fewer left before the end, what is left; *length 0 at the end of the stream.
 * -EAGAIN, -ETIMEDOUT, -ECONNRESET if the writer died (after all it had committed), -EBADMSG,
 * -EINVAL (also for a writer's handle).
 */
HF_API int hf_pipe_peek(hf_pipe *pipe, uint64_t minimum, int64_t timeout_ns, const void **run,
                        uint64_t *length);

/* Gives the first `length` bytes of the run back to the writer. -EINVAL beyond the run. */
HF_API int hf_pipe_release(hf_pipe *pipe, uint64_t length);

/*
 * Copies `length` bytes in. On an error *written (may be NULL) tells how many of them are in the
 * stream; errors as for reserve, the timeout for the whole.
 */
HF_API int hf_pipe_write(hf_pipe *pipe, const void *bytes, size_t length, int64_t timeout_ns,
                         size_t *written);

/*
 * Copies out up to `length` bytes (at least 1), as soon as any are there; *got is 0 at the end of
 * the stream. Errors as for peek.
 */
HF_API int hf_pipe_read(hf_pipe *pipe, void *bytes, size_t length, int64_t timeout_ns, size_t *got);

#ifdef __cplusplus
}
#endif
#endif
