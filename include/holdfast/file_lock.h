/* SPDX-License-Identifier: MIT */
/*
 * A lock on a file, exclusive or shared, that a death lets go of: for any file that exists, whose
 * bytes are not touched. It needs no segment.
 *
 *     hf_file_lock *lock;
 *     hf_file_lock_open("/var/lib/app/data", &lock);
 *     hf_file_lock_lock(lock);
 *     ...
 *     hf_file_lock_unlock(lock);
 *     hf_file_lock_close(lock);
 *
 * It is advisory: it keeps out who asks for a lock on the same file, in this way or by fcntl
 * (F_SETLK, F_OFD_SETLK) on any part of it; not flock(2).
 *
 * Who excludes whom: threads do, each other, whatever handle they use. Handles of one file are
 * apart, in one process as in several; threads that use the same handle share it, exclusively or
 * shared, like any others. A thread holds a handle once.
 *
 * Death of the process lets go of it at once, also if the process has children: a forked child
 * holds nothing, and has handles of its own for what was open (not so after vfork, or clone past
 * the C library, where the lock is held until such a child has ended, too). Nothing tells the next
 * one that the last one died: what the file holds must be good at every moment, or be checked. A
 * thread that ends still holding leaves its handle held until that is closed.
 *
 * Waiting looks again after pauses that grow from 1 to 20 ms; threads of the same handle wake each
 * other. There is no queue: who holds it shared can keep a writer out for as long as others follow.
 *
 * Errors common to all: -EINVAL for what is no open handle.
 */
#ifndef HOLDFAST_FILE_LOCK_H
#define HOLDFAST_FILE_LOCK_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_file_lock hf_file_lock;

/* A file that may only be read can be locked shared alone. -ENOENT; -EBADMSG: no regular file. Of a
   segment's file only while this process has the segment not open: see <holdfast/segment.h>. */
HF_API int hf_file_lock_open(const char *path, hf_file_lock **lock);

/* Lets go of it, if it is held, and closes. Nobody may be using it. NULL is fine. */
HF_API void hf_file_lock_close(hf_file_lock *lock);

/*
 * 0; -EDEADLK: this thread holds it already, by this handle, in either way; -EACCES: the file was
 * opened for reading only. The try form: -EBUSY. The timed one, timeout_ns in nanoseconds
 * (HF_FOREVER: no limit; 0: as try): -ETIMEDOUT.
 */
HF_API int hf_file_lock_lock(hf_file_lock *lock);
HF_API int hf_file_lock_trylock(hf_file_lock *lock);
HF_API int hf_file_lock_timedlock(hf_file_lock *lock, int64_t timeout_ns);

/* The same, shared. -ENOLCK: 32 threads hold it by this handle. */
HF_API int hf_file_lock_lock_shared(hf_file_lock *lock);
HF_API int hf_file_lock_trylock_shared(hf_file_lock *lock);
HF_API int hf_file_lock_timedlock_shared(hf_file_lock *lock, int64_t timeout_ns);

/* Of either. -EPERM: this thread does not hold it by this handle. */
HF_API int hf_file_lock_unlock(hf_file_lock *lock);

static inline int hf_file_lock_lock_until(hf_file_lock *lock, int64_t deadline_ns)
{
    return hf_file_lock_timedlock(lock, hf_time_left(deadline_ns));
}

static inline int hf_file_lock_lock_shared_until(hf_file_lock *lock, int64_t deadline_ns)
{
    return hf_file_lock_timedlock_shared(lock, hf_time_left(deadline_ns));
}

#ifdef __cplusplus
}
#endif
#endif
