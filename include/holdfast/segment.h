/* SPDX-License-Identifier: MIT */
/*
 * Segments: shared memory whose users may die at any instruction.
 *
 * A segment is a memory object, file, buffer or private memory with a format of its own, in which
 * any number of processes keep data together under locks (<holdfast/mutex.h>) and transactions
 * (<holdfast/tx.h>). Each thread that changes something in it is a *participant*: it takes a slot
 * with its first such call and gives it back when it ends. When a participant dies, whoever meets
 * what it left (a lock, say) first undoes what it had not finished: see docs/architecture.md.
 *
 *     hf_segment *segment;
 *     void *root;
 *     hf_segment_open_or_create("bank", 65536, NULL, NULL, &segment);
 *     hf_segment_root(segment, sizeof(struct bank), &root);
 *
 * Handles belong to the process. All handles of one segment share one mapping (a read-only one that
 * was opened first keeps its own), so a pointer into it is good until the last of them is closed.
 * In a forked child inherited handles go on working; its threads are participants of their own,
 * holding nothing. A vfork child must not call the library. A process must not close, nor open and
 * close, a segment's file behind the library's back: where the kernel has no robust lists, others
 * then take it for dead; so may those in another PID namespace while a thread of it attaches.
 *
 * Functions may run in several threads at once, save close with anything on the same handle. None
 * is async-signal-safe: a signal handler that interrupts a call and calls in on the same segment
 * gets -EDEADLK and has changed nothing; so does a thread that has jumped out of a call
 * (siglongjmp), until it calls hf_thread_recover.
 *
 * Death: a process killed at any instruction of any call here leaves the whole effect or, once
 * recovered, none. A stopped process is alive.
 *
 * Every function that changes a segment can return, besides what is said there: -EINVAL, -EACCES
 * (opened read-only), -EDEADLK (as above), -EAGAIN (no slot is free: 4095 threads are attached, or
 * there is no room for more slots), -EBADMSG (the segment is damaged).
 */
#ifndef HOLDFAST_SEGMENT_H
#define HOLDFAST_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_segment hf_segment;

/* A place in a segment, as bytes from its start: means the same in every process. 0: nowhere. */
#if defined(__GNUC__)
typedef struct hf_off {
    uint64_t value __attribute__((aligned(8)));
} hf_off;
#else
typedef struct hf_off {
    uint64_t value;
} hf_off;
#endif

/* The smallest segment, in bytes; it keeps that much for itself. */
#define HF_SEGMENT_SIZE_MIN UINT64_C(8192)

/* Memory comes in pages of this many bytes. */
#define HF_SEGMENT_PAGE UINT64_C(4096)

/* NULL, or all zero, means: cannot grow, mode 0600, the caller's group. */
typedef struct hf_segment_options {
    uint64_t
        maximum; /* bytes it may grow to; that much address space is taken at open. 0: no growth */
    uint32_t mode;  /* permission bits, at most 0777, whatever the umask; 0 means 0600 */
    uint32_t group; /* group id, used if set_group */
    bool set_group;
} hf_segment_options;

/* ---- creating and opening ---------------------------------------------------------------- */

/*
 * Creates a segment of `size` bytes (rounded up to pages) under a name of shared memory. Others see
 * none or the whole one; a creator that dies leaves nothing. -EINVAL for a size below
 * HF_SEGMENT_SIZE_MIN or above the maximum; -EFBIG; otherwise as hf_shm_create: -EEXIST, -ENOSPC,
 * -ENAMETOOLONG.
 */
HF_API int hf_segment_create(const char *name, uint64_t size, const hf_segment_options *options,
                             hf_segment **segment);

/*
 * Opens. HF_READ_ONLY needs only the right to read, and takes no slot: locks and transactions give
 * -EACCES. HF_COPY_ON_WRITE is a private copy that shares nothing, to be had only while nobody has
 * the segment open for writing, and while it is there nobody can: -EBUSY. -ENOENT; -ENODATA:
 * shorter than it says; -EPROTONOSUPPORT: another version's; -ENOEXEC: another byte order or page
 * size; -EREMOTE: in use on another machine, or since before this one was started; -EAGAIN:
 * read-only, and not opened for writing yet since the machine was started; -EBADMSG: no segment, or
 * damaged; -ENOMEM: no address space for its maximum.
 */
HF_API int hf_segment_open(const char *name, hf_access access, hf_segment **segment);

/* Opens for reading and writing, or creates; *created (may be NULL) says which. */
HF_API int hf_segment_open_or_create(const char *name, uint64_t size,
                                     const hf_segment_options *options, bool *created,
                                     hf_segment **segment);

/*
 * Creating in two steps: what is put into the segment between prepare and publish is there for
 * whoever opens it. Whoever dies in between leaves nothing. Errors as for create; publish gives
 * -EINVAL for a segment that is not a prepared one.
 */
HF_API int hf_segment_prepare(uint64_t size, const hf_segment_options *options,
                              hf_segment **segment);
HF_API int hf_segment_publish(hf_segment *segment, const char *name);

/* Removes the name; whoever has the segment open keeps it. -ENOENT. */
HF_API int hf_segment_remove(const char *name);

/* The same in a file. It outlives the machine's restarts: what was under way then is undone. The
   file system must be able to reserve space (-EOPNOTSUPP). To remove it, remove the file. */
HF_API int hf_segment_create_file(const char *path, uint64_t size,
                                  const hf_segment_options *options, hf_segment **segment);
HF_API int hf_segment_open_file(const char *path, hf_access access, hf_segment **segment);
HF_API int hf_segment_open_or_create_file(const char *path, uint64_t size,
                                          const hf_segment_options *options, bool *created,
                                          hf_segment **segment);

/* Without a name: for children, and for whoever is sent hf_segment_memory's descriptor. Nobody can
   shrink it. Options' mode and group do not apply. */
HF_API int hf_segment_create_anonymous(uint64_t size, const hf_segment_options *options,
                                       hf_segment **segment);

/* Opens what hf_memory_receive gave. Takes the memory over if it succeeds: do not close it then. */
HF_API int hf_segment_open_memory(hf_memory *memory, hf_access access, hf_segment **segment);

/* In memory of this process alone: the same calls, for tests and for threads. */
HF_API int hf_segment_create_private(uint64_t size, const hf_segment_options *options,
                                     hf_segment **segment);

/*
 * Makes a segment in a buffer of `size` bytes, of which it keeps 8 KiB for itself, aligned to 64
 * bytes. Mapped shared and aligned to pages it serves all processes that have it mapped
 * (hf_segment_attach, or by fork); any other buffer serves the threads of this process only:
 * hf_segment_info says which. The buffer must stay until the segment is closed and every thread
 * that used it has ended or called hf_thread_leave. -EBUSY: this process has a segment open there,
 * or threads that have not let go of one.
 */
HF_API int hf_segment_init(void *buffer, size_t size, hf_segment **segment);

/* The segment that another process has made in a buffer that this one has mapped as well. */
HF_API int hf_segment_attach(void *buffer, size_t size, hf_segment **segment);

/*
 * Closes the handle. With a process's last handle its mapping goes, as soon as no other thread of
 * it is a participant; the calling thread's slot is given back. NULL is fine.
 */
HF_API void hf_segment_close(hf_segment *segment);

/* ---- looking ----------------------------------------------------------------------------- */

typedef struct hf_segment_info {
    uint64_t size;         /* bytes now */
    uint64_t maximum;      /* bytes it may grow to */
    uint64_t used;         /* bytes in use, the segment's own included; a multiple of pages */
    uint32_t participants; /* threads attached and alive, as far as one look tells */
    uint32_t dead;         /* dead and not recovered yet */
    hf_access access;
    bool one_process; /* serves only the threads of this process */
} hf_segment_info;

/* -EINVAL. */
HF_API int hf_segment_get_info(hf_segment *segment, hf_segment_info *info);

/* The address of its first byte in this process. */
HF_API void *hf_segment_base(const hf_segment *segment);

/* The memory object, to be sent to another process; the segment's own. NULL: a buffer, or private.
 */
HF_API hf_memory *hf_segment_memory(const hf_segment *segment);

/* Offset to pointer: NULL for 0 and for what lies outside. Pointer to offset: 0 likewise. */
HF_API void *hf_segment_at(hf_segment *segment, hf_off offset);
HF_API hf_off hf_segment_offset(hf_segment *segment, const void *pointer);

/* ---- memory ------------------------------------------------------------------------------ */

/*
 * The root: the one piece of memory that everyone finds, all zero when it is new. The first call
 * makes it, `size` bytes or more. *root is its address. -ERANGE: it is there and smaller; -ENOENT:
 * not there, and `size` is 0 or the segment is opened read-only; -ENOMEM; -ENOSPC; -EBUSY inside a
 * transaction.
 */
HF_API int hf_segment_root(hf_segment *segment, uint64_t size, void **root);

/*
 * Takes whole pages, at least `bytes`, and writes their offset to *link, which lies in the segment
 * and is 0: both, or, if the caller dies, neither. The contents are undefined. Grows the segment if
 * need be and it may. -ENOMEM; -ENOSPC; -EBUSY inside a transaction.
 */
HF_API int hf_pages_alloc(hf_segment *segment, uint64_t bytes, hf_off *link);

/* Gives back the pages that *link names, `bytes` as they were taken, and clears *link; both or
   neither. -EINVAL if it names no such pages; -EBUSY inside a transaction. */
HF_API int hf_pages_free(hf_segment *segment, uint64_t bytes, hf_off *link);

/* Grows to `size` bytes, while others use it. Nothing if it is as large. -ENOMEM beyond the
   maximum; -ENOSPC, and nothing has changed. */
HF_API int hf_segment_grow(hf_segment *segment, uint64_t size);

/* Gives the memory behind free pages back to the system; *bytes (may be NULL) how much. A call of
 * hf_object_find that has been under way for as long may look there once more and takes a page
 * again: where the file system is full by then it raises SIGBUS. */
HF_API int hf_segment_trim(hf_segment *segment, uint64_t *bytes);

/* ---- the dead ---------------------------------------------------------------------------- */

/* Looks at every slot and recovers the dead: nobody has to call this, it happens where the dead are
   met. *recovered (may be NULL): how many. */
HF_API int hf_segment_recover(hf_segment *segment, unsigned *recovered);

/*
 * Who a thread is in a segment, for as long as it is attached; may be kept in the segment, to ask
 * later. A value comes again when its slot has been taken a million times. 0 is nobody.
 */
#if defined(__GNUC__)
typedef struct hf_participant {
    uint64_t value __attribute__((aligned(8)));
} hf_participant;
#else
typedef struct hf_participant {
    uint64_t value;
} hf_participant;
#endif

/* Takes a slot if this thread has none. */
HF_API int hf_participant_self(hf_segment *segment, hf_participant *self);

/* Does it live, and is it still attached? *lives. Some microseconds: the system is asked. -EINVAL.
 */
HF_API int hf_participant_lives(hf_segment *segment, hf_participant who, bool *lives);

/* Settles the call of this library that this thread has jumped out of, and gives up the onces that
 * it is at (<holdfast/once.h>); an open transaction stays open. */
HF_API int hf_thread_recover(hf_segment *segment);

/* Gives this thread's slot back now instead of at its end. What it holds is treated as at its
 * death. */
HF_API int hf_thread_leave(hf_segment *segment);

#ifdef __cplusplus
}
#endif
#endif
