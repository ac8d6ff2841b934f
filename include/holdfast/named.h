/* SPDX-License-Identifier: MIT */
/*
 * Locks and the like that processes find by a name, with no segment of their own to put them in.
 *
 *     hf_mutex *mutex;
 *     hf_mutex_open_or_create("printer", NULL, NULL, &mutex);
 *     hf_mutex_lock(mutex);
 *     ...
 *     hf_mutex_close(mutex);
 *
 * For each type T of the table below:
 *
 *     int T_create(const char *name, const hf_sync_options *options, T **object);
 *     int T_open(const char *name, T **object);
 *     int T_open_or_create(const char *name, const hf_sync_options *options, bool *created,
 *                          T **object);
 *     int T_close(T *object);
 *     int T_remove(const char *name);
 *
 * What they give (NULL with an error) is the object itself, at an address of this process: all that
 * one does with an object that lies in a segment one does with it, and it is as good at a death.
 * Under its name lies a small segment (20 KiB, more once many threads use it) with nothing else in
 * it; the names are those of shared memory, one space for all.
 *
 * Others see no object or the whole one; who dies while creating it leaves nothing. The name and
 * the object stay until T_remove, whoever dies: whoever has it open then keeps it. Opening it again
 * in one process gives the same address; it goes when it has been closed as often. A forked child
 * has what its parent had open, and closes it by itself. Closing what this thread still holds is
 * like its death: the next one gets -EOWNERDEAD.
 *
 * Errors: those of hf_segment_create and hf_segment_open. -EBADMSG also if something else stands
 * under the name (the same goes for T_remove). -EINVAL also for options that do not fit the type;
 * -EOVERFLOW: a semaphore of more than HF_SEMAPHORE_MAX permits.
 */
#ifndef HOLDFAST_NAMED_H
#define HOLDFAST_NAMED_H

#include <stdbool.h>
#include <stdint.h>

#include "holdfast/barrier.h"
#include "holdfast/condition.h"
#include "holdfast/error.h"
#include "holdfast/event.h"
#include "holdfast/latch.h"
#include "holdfast/mutex.h"
#include "holdfast/once.h"
#include "holdfast/recursive_mutex.h"
#include "holdfast/rwlock.h"
#include "holdfast/semaphore.h"

#ifdef __cplusplus
extern "C" {
#endif

/* NULL, or all zero, means: mode 0600, the caller's group, a count of 0. */
typedef struct hf_sync_options {
    uint32_t mode;  /* permission bits, at most 0777, whatever the umask; 0 means 0600 */
    uint32_t group; /* group id, used if set_group */
    bool set_group;
    bool undo;      /* a semaphore's permits come back from the dead */
    uint32_t count; /* a semaphore's permits, a latch's count, a barrier's members */
} hf_sync_options;

/* What kind of object stands under a name. The number is stored there, so it never changes. */
typedef enum hf_named_kind {
    HF_NAMED_MUTEX = 1,
    HF_NAMED_RECURSIVE_MUTEX = 2,
    HF_NAMED_RWLOCK = 3,
    HF_NAMED_CONDITION = 4,
    HF_NAMED_SEMAPHORE = 5,
    HF_NAMED_BARRIER = 6,
    HF_NAMED_LATCH = 7,
    HF_NAMED_ONCE = 8,
    HF_NAMED_EVENT = 9
} hf_named_kind;

/* The five calls, for a kind. */
HF_API int hf_named_create(hf_named_kind kind, const char *name, const hf_sync_options *options,
                           void **object);
HF_API int hf_named_open(hf_named_kind kind, const char *name, void **object);
/* *created (may be NULL) says which. */
HF_API int hf_named_open_or_create(hf_named_kind kind, const char *name,
                                   const hf_sync_options *options, bool *created, void **object);
/* -EINVAL: it is not one that this process has open by a name. */
HF_API int hf_named_close(void *object);
/* Removes the name of an object of that kind; -EBADMSG, and nothing, if something else stands there
   (hf_segment_remove removes that, too). */
HF_API int hf_named_remove(hf_named_kind kind, const char *name);

/* The five calls, for a type. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type stands in none */
#define HF_NAMED_TYPE(kind, type)                                                                  \
    static inline int type##_create(const char *name, const hf_sync_options *options,              \
                                    type **object)                                                 \
    {                                                                                              \
        void *made = 0;                                                                            \
        int error = hf_named_create(kind, name, options, object ? &made : 0);                      \
        if (object) {                                                                              \
            *object = error == 0 ? (type *)made : 0;                                               \
        }                                                                                          \
        return error;                                                                              \
    }                                                                                              \
    static inline int type##_open(const char *name, type **object)                                 \
    {                                                                                              \
        void *found = 0;                                                                           \
        int error = hf_named_open(kind, name, object ? &found : 0);                                \
        if (object) {                                                                              \
            *object = error == 0 ? (type *)found : 0;                                              \
        }                                                                                          \
        return error;                                                                              \
    }                                                                                              \
    static inline int type##_open_or_create(const char *name, const hf_sync_options *options,      \
                                            bool *created, type **object)                          \
    {                                                                                              \
        void *got = 0;                                                                             \
        int error = hf_named_open_or_create(kind, name, options, created, object ? &got : 0);      \
        if (object) {                                                                              \
            *object = error == 0 ? (type *)got : 0;                                                \
        }                                                                                          \
        return error;                                                                              \
    }                                                                                              \
    static inline int type##_close(type *object)                                                   \
    {                                                                                              \
        return hf_named_close(object);                                                             \
    }                                                                                              \
    static inline int type##_remove(const char *name)                                              \
    {                                                                                              \
        return hf_named_remove(kind, name);                                                        \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

/* A new type is a line here and, if all zero is not its beginning, one in src/sync/named.c. */
HF_NAMED_TYPE(HF_NAMED_MUTEX, hf_mutex)
HF_NAMED_TYPE(HF_NAMED_RWLOCK, hf_rwlock)
HF_NAMED_TYPE(HF_NAMED_SEMAPHORE, hf_semaphore)
HF_NAMED_TYPE(HF_NAMED_RECURSIVE_MUTEX, hf_recursive_mutex)
HF_NAMED_TYPE(HF_NAMED_CONDITION, hf_condition)
HF_NAMED_TYPE(HF_NAMED_BARRIER, hf_barrier)
HF_NAMED_TYPE(HF_NAMED_LATCH, hf_latch)
HF_NAMED_TYPE(HF_NAMED_ONCE, hf_once)
HF_NAMED_TYPE(HF_NAMED_EVENT, hf_event)

#ifdef __cplusplus
}
#endif
#endif
