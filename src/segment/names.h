/* SPDX-License-Identifier: MIT */
/*
 * The index of names: finding in it takes no lock, changing it takes names_lock.
 */
#ifndef HF_SEGMENT_NAMES_H
#define HF_SEGMENT_NAMES_H

#include "holdfast/object.h"
#include "segment/heap.h"
#include "segment/object_layout.h"
#include "segment/participant.h"

#define names_are_seen hf_in_names_are_seen
#define names_find     hf_in_names_find
#define names_next     hf_in_names_next
#define names_insert   hf_in_names_insert
#define names_remove   hf_in_names_remove
#define names_reserve  hf_in_names_reserve
#define names_count    hf_in_names_count
#define names_kill     hf_in_names_kill
#define names_bury     hf_in_names_bury
#define names_read     hf_in_names_read
#define names_sweep    hf_in_names_sweep
#define names_tell     hf_in_names_tell

/* What is looked for. */
struct name_key {
    const char *name; /* of the type if it is unique */
    uint32_t length;
    hf_object_kind kind;
    uint64_t hash;
};

/* An object as it was read, checked: all of it lies in the segment. */
struct found {
    uint64_t block;
    uint64_t data; /* offset of the elements */
    uint64_t type;
    uint64_t size;
    uint64_t count;
    uint32_t name_length;
    uint32_t type_length;
    hf_object_kind kind;
};

/* Without a lock. -ENOENT; -EAGAIN: it changes all the time; -EBADMSG. */
int names_find(struct view *view, const struct name_key *key, struct found *found);

/* The one behind the cursor, which goes on to it: see hf_object_next. */
int names_next(struct view *view, hf_object_cursor *cursor, hf_object_info *info);

/* Reads the object in that block. -EBADMSG: there can be none. */
int names_read(struct view *view, uint64_t block, struct found *found);

/* Its name and that of its type, and the rest. */
void names_tell(struct view *view, const struct found *found, hf_object_info *info);

/*
 * Puts the object, which `word` of the caller's slot reserves, into the index: both or neither. In
 * a transaction, it is the transaction's. -EEXIST, -EBUSY; -ENOMEM.
 */
int names_insert(struct participant *p, const struct name_key *key, uint64_t block,
                 shared_u64 *word);

/* Takes the object out and frees it; in a transaction, when that commits. -ENOENT; -EBADMSG: its
   type is another; -EBUSY. `block`: that one, or 0: whichever has the name. */
int names_remove(struct participant *p, const struct name_key *key, uint64_t type, uint64_t block);

/* Room for so many. */
int names_reserve(struct participant *p, uint64_t count);

/* How many there are. */
int names_count(struct view *view, uint64_t *count);

/* Of a transaction that ends: nobody finds the object any more. Can be done again. */
void names_kill(struct view *view, struct slot *slot, struct participant *p, uint64_t block);

/* Does a participant without a transaction see it? */
bool names_are_seen(struct view *view, const struct object *object);

/* Takes out and frees what transactions have left dead. */
void names_bury(struct participant *p);

/* The same, before memory is said to be exhausted. */
void names_sweep(struct participant *p);

#endif
