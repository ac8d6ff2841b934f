/* SPDX-License-Identifier: MIT */
/*
 * Objects that others find by name.
 *
 *     int *shared = hf_construct(segment, "SharedValue", int, 42);
 *     …
 *     int *value = hf_find(segment, "SharedValue", int);
 *     hf_destroy(segment, "SharedValue", int);
 *
 * An object is a block of the segment's heap (<holdfast/heap.h>) that holds one or more elements of
 * a type. It is named; or unique: the one of its type, under no other name; or anonymous, found by
 * its address alone. A name is UTF-8, or any other bytes but 0, at most HF_NAME_MAX of them. The
 * type's name as it is written, its size and its alignment are kept with the object, and whoever
 * finds it has to name the same: -EBADMSG otherwise, never another's bytes taken for one's own.
 *
 * Construct is atomic: the name is there with its object initialised, or not at all. The
 * initialiser runs before anybody can find the object, without any lock held, and may use the
 * segment, but not leave it (hf_thread_leave, the last close); if it fails, or the thread dies in
 * it, the block is freed (what it has allocated itself is not, outside a transaction); if the
 * thread jumps out of it, at the thread's end. Of several who construct one name, one wins; the
 * initialisers of the others may have run, on a block that is freed then.
 *
 * Find takes no lock, works on a read-only segment, and never waits, not even for the dead. It does
 * not pin what it finds: do not destroy what others may still use.
 *
 * In a transaction (<holdfast/tx.h>) what is constructed is found by its own thread only, and by
 * all from the commit on; what is destroyed the other way round: several of them appear, and
 * vanish, at one instant.
 *
 * Errors of all that change something: those of <holdfast/heap.h>. -ENAMETOOLONG: the name, or that
 * of the type (HF_TYPE_NAME_MAX); -EINVAL: an empty name, a type of size 0, an alignment that is no
 * power of two up to 4096, or larger than that of the buffer given to hf_segment_init; no elements.
 */
#ifndef HOLDFAST_OBJECT_H
#define HOLDFAST_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/segment.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HF_NAME_MAX      255 /* bytes of a name */
#define HF_TYPE_NAME_MAX 63  /* bytes of a type's name */

/* In place of a name: the unique object of its type. NULL in place of a name: an anonymous one. */
#define HF_UNIQUE ((const char *)1)

typedef struct hf_type {
    const char *name;
    size_t size;
    size_t alignment;
} hf_type;

/* The type, as it is written: struct point and point are two. */
#ifdef __cplusplus
#define HF_TYPE(type) (hf_type{#type, sizeof(type), alignof(type)})
#else
#define HF_TYPE(type) ((hf_type){#type, sizeof(type), _Alignof(type)})
#endif

/* Makes `count` elements of what was zeroed memory; what it returns that is not 0 is the error of
   the call, which then has constructed nothing. */
typedef int (*hf_initialiser)(void *elements, size_t count, void *context);

/* ---- making and unmaking ----------------------------------------------------------------- */

/*
 * Constructs `count` elements, zeroed, then initialised (NULL: zero is what they are). *object is
 * their address. -EEXIST: there is one; -EBUSY: another's transaction is constructing it.
 */
HF_API int hf_object_construct(hf_segment *segment, const char *name, hf_type type, size_t count,
                               hf_initialiser initialise, void *context, void **object);

/* The one that there is, or a new one. *constructed (may be NULL) says which. -EBADMSG as find. */
HF_API int hf_object_find_or_construct(hf_segment *segment, const char *name, hf_type type,
                                       size_t count, hf_initialiser initialise, void *context,
                                       bool *constructed, void **object);

/* Takes the name away and frees the object. -ENOENT; -EBADMSG: it is of another type; -EBUSY:
   another's transaction is destroying it. */
HF_API int hf_object_destroy(hf_segment *segment, const char *name, hf_type type);

/* The same, by the address that construct or find gave; of anonymous ones, too. -EINVAL: none. */
HF_API int hf_object_destroy_at(hf_segment *segment, void *object);

/* Makes room in the index for so many names, so that it need not grow. */
HF_API int hf_object_reserve(hf_segment *segment, uint64_t names);

/* ---- finding ----------------------------------------------------------------------------- */

/*
 * *object its address, *count (may be NULL) its elements. -ENOENT; -EBADMSG: its type is another,
 * or the index is damaged; -EAGAIN: it was changing all the time.
 */
HF_API int hf_object_find(hf_segment *segment, const char *name, hf_type type, void **object,
                          size_t *count);

typedef enum hf_object_kind {
    HF_OBJECT_NAMED = 0,
    HF_OBJECT_UNIQUE = 1,
    HF_OBJECT_ANONYMOUS = 2
} hf_object_kind;

typedef struct hf_object_info {
    void *object;
    hf_object_kind kind;
    uint64_t size;                   /* bytes of an element */
    uint64_t count;                  /* elements */
    char name[HF_NAME_MAX + 1];      /* empty unless it is named */
    char type[HF_TYPE_NAME_MAX + 1]; /* its type's name */
} hf_object_info;

/* What an object is, by its address. -EINVAL: there is none. */
HF_API int hf_object_get_info(hf_segment *segment, const void *object, hf_object_info *info);

/* Where an iteration is. All zero: before the first. */
typedef struct hf_object_cursor {
    uint64_t hash;
    uint64_t block;
} hf_object_cursor;

/*
 * The next named or unique one, in no order; -ENOENT: that was all. What is constructed or
 * destroyed meanwhile may be told or not; all others are told once. -EAGAIN as find.
 */
HF_API int hf_object_next(hf_segment *segment, hf_object_cursor *cursor, hf_object_info *info);

/* How many named and unique ones there are, open transactions' included. -EAGAIN as find. */
HF_API int hf_object_count(hf_segment *segment, uint64_t *count);

/* ---- typed ------------------------------------------------------------------------------- */

/* For the macros: the object, or NULL if the call fails; `value`: what it is made of. */
HF_API void *hf_object_construct_value(hf_segment *segment, const char *name, hf_type type,
                                       const void *value);
HF_API void *hf_object_find_or_construct_value(hf_segment *segment, const char *name, hf_type type,
                                               const void *value);
HF_API void *hf_object_find_value(hf_segment *segment, const char *name, hf_type type);

#ifdef __cplusplus
}
#endif

/*
 * One object of a type, without casts: hf_construct(segment, "origin", struct point, 1, 2) is a
 * struct point *, NULL if it could not be had. What follows the type is what stands in its braces.
 * Who wants to know why calls the functions. In C alone: C++ has no such literals, and calls the
 * functions with HF_TYPE.
 */
#ifndef __cplusplus
#define hf_construct(segment, name, type, ...)                                                     \
    ((type *)hf_object_construct_value((segment), (name), HF_TYPE(type),                           \
                                       &(const type){__VA_ARGS__}))
#define hf_find_or_construct(segment, name, type, ...)                                             \
    ((type *)hf_object_find_or_construct_value((segment), (name), HF_TYPE(type),                   \
                                               &(const type){__VA_ARGS__}))
#define hf_find(segment, name, type)                                                               \
    ((type *)hf_object_find_value((segment), (name), HF_TYPE(type)))
#define hf_destroy(segment, name, type) hf_object_destroy((segment), (name), HF_TYPE(type))
#endif

#endif
