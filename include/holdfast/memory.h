/* SPDX-License-Identifier: MIT */
/*
 * Memory objects: what can be mapped into several processes.
 *
 * Three kinds, one handle. A *shared memory object* has a name that any process can open until it
 * is removed. A *file mapping* is a file on disk. *Anonymous memory* has no name and reaches
 * another process by fork, or over a Unix socket. Map any of them with <holdfast/region.h>.
 *
 * A handle belongs to this process (a forked child has a copy of its own). Functions on different
 * handles may run in different threads at once; those on one handle may too, except close.
 * Nothing here is async-signal-safe.
 *
 * Death: a process that is killed in any call here leaves either the whole effect or none, save
 * where a function says otherwise. A named object outlives every process until it is removed.
 */
#ifndef HOLDFAST_MEMORY_H
#define HOLDFAST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "holdfast/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_memory hf_memory;

/* NULL, or all zero, means: mode 0600, the caller's group, every byte reserved. */
typedef struct hf_memory_options {
    uint32_t mode;  /* permission bits, at most 0777, honoured whatever the umask; 0 means 0600 */
    uint32_t group; /* group id, used if set_group */
    bool set_group;
    bool sparse; /* do not reserve: a full /dev/shm or disk then kills who first touches a page */
} hf_memory_options;

/* ---- shared memory objects --------------------------------------------------------------- */

/* The longest name, in bytes without the terminating 0. */
#define HF_SHM_NAME_MAX 250

/*
 * Names are 1 to HF_SHM_NAME_MAX bytes without '/', control characters, or a leading '.'.
 * -EINVAL or -ENAMETOOLONG for any other, from every function that takes one.
 */

/*
 * Creates an object of `size` bytes, all zero, and opens it for reading and writing. Others see
 * no object or the whole one. -EEXIST if the name is taken; -ENOSPC if the memory is not to be
 * had; -EFBIG (beyond RLIMIT_FSIZE the system sends SIGXFSZ as well); -EINVAL for a mode beyond
 * 0777; -EPERM for a group that is not the caller's.
 */
HF_API int hf_shm_create(const char *name, uint64_t size, const hf_memory_options *options,
                         hf_memory **memory);

/*
 * Opens what is there. HF_COPY_ON_WRITE needs only the right to read. -ENOENT; -EACCES;
 * -EBADMSG if something else (a link, a FIFO, a directory) stands under the name.
 */
HF_API int hf_shm_open(const char *name, hf_access access, hf_memory **memory);

/*
 * Opens for reading and writing, or creates; *created (may be NULL) says which. An object that is
 * there keeps its size and permissions. Errors as for both.
 */
HF_API int hf_shm_open_or_create(const char *name, uint64_t size, const hf_memory_options *options,
                                 bool *created, hf_memory **memory);

/*
 * Creating in two steps: what is written into the object between prepare and publish is there,
 * whole, for whoever opens it. Whoever dies in between leaves nothing. prepare's errors are those
 * of create; publish gives -EEXIST, and -EINVAL if the object is no prepared one.
 */
HF_API int hf_shm_prepare(uint64_t size, const hf_memory_options *options, hf_memory **memory);
HF_API int hf_shm_publish(hf_memory *memory, const char *name);

/* Removes the name; whoever has the object open keeps it. -ENOENT; -EACCES or -EPERM. */
HF_API int hf_shm_remove(const char *name);

/*
 * Calls visit with each object's name (all of this machine's, of every program), until it returns
 * non-zero, which hf_shm_list then returns. Objects that come or go meanwhile may be missed.
 */
HF_API int hf_shm_list(int (*visit)(const char *name, void *context), void *context);

/* ---- files ------------------------------------------------------------------------------- */

/*
 * A new file of `size` bytes, there whole or not at all. Errors as for hf_shm_create; -ENOENT if
 * the directory is missing; -EOPNOTSUPP if the file system cannot reserve space (ask for .sparse).
 * On a file system without unnamed files, a process killed in here can leave a file named
 * ".holdfast-<number>" in the directory.
 */
HF_API int hf_file_create(const char *path, uint64_t size, const hf_memory_options *options,
                          hf_memory **memory);

/* In two steps, as hf_shm_prepare and hf_shm_publish; both with the same path. */
HF_API int hf_file_prepare(const char *path, uint64_t size, const hf_memory_options *options,
                           hf_memory **memory);
HF_API int hf_file_publish(hf_memory *memory, const char *path);

/* -ENOENT; -EACCES; -EBADMSG if it is no regular file. Follows symbolic links. */
HF_API int hf_file_open(const char *path, hf_access access, hf_memory **memory);

/* ---- anonymous memory -------------------------------------------------------------------- */

/* Sealed against shrinking from the start. Options' mode and group do not apply. */
HF_API int hf_anonymous_create(uint64_t size, const hf_memory_options *options, hf_memory **memory);

/* Passes any memory object over a connected Unix socket. The handle stays the caller's. -EINVAL:
   that is no socket. */
HF_API int hf_memory_send(hf_memory *memory, int socket);

/*
 * Receives one; may wait as the socket waits. -EBADMSG if what comes is no memory object;
 * -ECONNRESET if the other side has closed; -EINVAL: that is no socket. Look at hf_memory_seals
 * before trusting its size.
 */
HF_API int hf_memory_receive(int socket, hf_memory **memory);

/* What can never again be done to anonymous memory, by anyone, through any handle. */
typedef enum hf_seal {
    HF_SEAL_SHRINK = 1,
    HF_SEAL_GROW = 2,
    HF_SEAL_WRITE = 4, /* -EBUSY while anyone has it mapped for writing */
    HF_SEAL_SEAL = 8   /* no further seals */
} hf_seal;

/* Adds seals. -EOPNOTSUPP if it is not anonymous memory; -EPERM if sealed against sealing. */
HF_API int hf_memory_seal(hf_memory *memory, unsigned seals);
HF_API int hf_memory_seals(const hf_memory *memory, unsigned *seals);

/* ---- any memory object ------------------------------------------------------------------- */

/* The size in bytes, now: another process may change it. */
HF_API int hf_memory_size(const hf_memory *memory, uint64_t *size);

/*
 * Sets the size. What is added is zero and reserved (unless the object was made sparse through
 * this handle): -ENOSPC then changes nothing that was there before, and the size is as it was.
 * Shrinking under another process's mapping makes its next touch there a SIGBUS; processes that
 * may size an object at the same time must agree between themselves. -EPERM if sealed; -EACCES if
 * opened read-only.
 */
HF_API int hf_memory_truncate(hf_memory *memory, uint64_t size);

/* Backs a range inside the object with memory now. -ENOSPC; -ERANGE. */
HF_API int hf_memory_reserve(hf_memory *memory, uint64_t offset, uint64_t length);

/* Gives a range's memory back: it reads as zeros. The size stays. -ERANGE. */
HF_API int hf_memory_discard(hf_memory *memory, uint64_t offset, uint64_t length);

/* The user id of the owner, the group id, and the permission bits. Each may be NULL. */
HF_API int hf_memory_owner(const hf_memory *memory, uint32_t *user, uint32_t *group,
                           uint32_t *mode);

/* How it was opened. */
HF_API hf_access hf_memory_access(const hf_memory *memory);

/* The file descriptor. It stays the handle's: do not close it. */
HF_API int hf_memory_descriptor(const hf_memory *memory);

/* Closes the handle; regions mapped from it stay. NULL is fine. */
HF_API void hf_memory_close(hf_memory *memory);

#ifdef __cplusplus
}
#endif
#endif
