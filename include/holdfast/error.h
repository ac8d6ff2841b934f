/* SPDX-License-Identifier: MIT */
/*
 * Errors, and the few words that every Holdfast header shares.
 *
 * Every function that can fail returns 0, or a negative errno. The set is closed: the table below
 * is all that a function of this library ever returns, and each function's comment says which of
 * them it can return and why. EACCES, EMFILE, ENFILE, ENOMEM and EIO are the operating system's
 * to return from any call that opens, creates or maps something, and are not repeated there.
 * A few int functions answer something else, and their comments say so: 1 for "yes" or "the last
 * one" (hf_barrier_wait and its kin, hf_event_is_set, hf_once_is_done), what a function of the
 * caller's returned (hf_shm_list, hf_once_call, hf_object_construct and their kin), a file
 * descriptor (hf_memory_descriptor). There is no errno to look at and no thread-local state.
 */
#ifndef HOLDFAST_ERROR_H
#define HOLDFAST_ERROR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HF_API __attribute__((visibility("default")))
#else
#define HF_API
#endif

/* A timeout that never passes. Timeouts are in nanoseconds and relative; 0 means "try". */
#define HF_FOREVER (INT64_C(-1))

/*
 * X(number, name, text): the number is Holdfast's own and never changes, so it may be stored in
 * shared memory or sent to another process, which an errno may not (it differs by system).
 */
#define HF_ERROR_TABLE(X)                                                                          \
    X(1, EINVAL, "an argument is not valid")                                                       \
    X(2, ENOENT, "nothing of that name exists")                                                    \
    X(3, EEXIST, "the name, or the wanted address, is taken already")                              \
    X(4, EACCES, "permission denied")                                                              \
    X(5, EPERM, "not permitted: it belongs to someone else, or is sealed")                         \
    X(6, ENOSPC, "no space left for the memory asked for")                                         \
    X(7, ENOMEM, "out of memory or address space")                                                 \
    X(8, ENAMETOOLONG, "the name is too long")                                                     \
    X(9, EBUSY, "in use by another")                                                               \
    X(10, EAGAIN, "not possible right now; try again")                                             \
    X(11, ETIMEDOUT, "the time allowed has passed")                                                \
    X(12, EPIPE, "the reader has gone")                                                            \
    X(13, ECONNRESET, "the writer died before it closed")                                          \
    X(14, EBADMSG, "the shared memory is damaged, or is not what was expected")                    \
    X(15, EOPNOTSUPP, "this system, or this kind of memory, cannot do that")                       \
    X(16, ERANGE, "the range reaches past the end")                                                \
    X(17, EFBIG, "the size is larger than the system allows")                                      \
    X(18, EMFILE, "this process has too many open files")                                          \
    X(19, ENFILE, "the system has too many open files")                                            \
    X(20, EIO, "the operating system reported an unexpected failure")                              \
    X(21, EOWNERDEAD,                                                                              \
      "locked, and its last owner died holding it: mend the data, call consistent")                \
    X(22, ENOTRECOVERABLE, "the data under the lock was given up after its owner died")            \
    X(23, EDEADLK, "this thread has it already, or is inside a call of the library")               \
    X(24, ECANCELED, "the transaction was aborted inside")                                         \
    X(25, EPROTONOSUPPORT, "made by another version of Holdfast")                                  \
    X(26, ENOEXEC, "made for another byte order or page size")                                     \
    X(27, EREMOTE, "in use on another machine")                                                    \
    X(28, ENODATA, "shorter than it says: it was truncated")                                       \
    X(29, ENOLCK, "this thread holds too many locks of this kind")                                 \
    X(30, EOVERFLOW, "the count would be too large")                                               \
    X(31, ESRCH, "a participant has died: the barrier is broken")

/*
 * The sentence for an error, given as it was returned (negative) or as a plain errno; "success"
 * for 0, "unknown error" for what is not in the table. The string is static: never freed, and
 * safe in any thread.
 */
HF_API const char *hf_strerror(int error);

/* Holdfast's own number for an error (0 for 0; EIO's for what is not in the table). */
HF_API uint32_t hf_error_number(int error);

/* The inverse: the negative errno for one of Holdfast's numbers; -EIO for an unknown number. */
HF_API int hf_error_from_number(uint32_t number);

/* How memory is opened or mapped. The zero value is what most callers want. */
typedef enum hf_access {
    HF_READ_WRITE = 0,
    HF_READ_ONLY = 1,
    HF_COPY_ON_WRITE = 2 /* private: writes are seen by nobody else and never reach the object */
} hf_access;

#ifdef __cplusplus
}
#endif
#endif
