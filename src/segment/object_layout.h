/* SPDX-License-Identifier: MIT */
/*
 * The bytes of objects and of the index of their names.
 *
 * An object is a block of the heap:
 *
 *       0  struct object
 *      64  its name, 0, its type's name, 0
 *       …  unused, up to 8 bytes before the elements
 *      -8  data: how far the elements lie from the block's start
 *       0  the elements
 *
 * The index is a hash table, a block too, whose buckets are lists of objects. Each object has two
 * links, of which the table's parity says which is in use: while a larger table is made in the
 * other links, all find what they want in the old one.
 */
#ifndef HF_SEGMENT_OBJECT_LAYOUT_H
#define HF_SEGMENT_OBJECT_LAYOUT_H

#include "base/shared.h"

/*
 * The state of an object in the index:
 *
 *     bits  0-1   OBJECT_*
 *     bits  2-13  the slot of the transaction that made it so
 *     bits 14-63  the number of that transaction (slot.tx)
 *
 * What it means is up to the transaction (names_read.c): so all of a transaction's objects appear,
 * and vanish, with its commit.
 */
enum {
    OBJECT_THERE = 0,
    OBJECT_PENDING = 1, /* constructed by it */
    OBJECT_DOOMED = 2,  /* destroyed by it */
    OBJECT_DEAD = 3     /* of no use any more; buried when the transaction is over */
};
#define OBJECT_STATE        UINT64_C(3)
#define OBJECT_SLOT_SHIFT   2
#define OBJECT_NUMBER_SHIFT 14

struct object {
    shared_u64 next[2]; /* offset of the next one in its bucket */
    shared_u64 state;
    shared_u64 hash; /* of its name, or of its type if it is unique */
    shared_u64 type; /* hash of the type's name, size and alignment */
    shared_u64 size; /* bytes of an element */
    shared_u64 count;
    shared_u32 data;    /* from the block's start to the elements */
    shared_u32 lengths; /* of the name, of the type's << 8, kind << 16 */
};

struct name_bucket {
    shared_u64 first;   /* offset of an object */
    shared_u64 changes; /* counts those that were taken out */
};

struct name_table {
    shared_u64 buckets; /* a power of two */
    shared_u64 parity;
    shared_u64 previous; /* the table before this one, until it is freed */
    shared_u64 unused;
    /* the buckets */
};

HF_LAYOUT(sizeof(struct object) == 64);
HF_LAYOUT(offsetof(struct object, state) == 16);
HF_LAYOUT(offsetof(struct object, data) == 56);
HF_LAYOUT(sizeof(struct name_bucket) == 16);
HF_LAYOUT(sizeof(struct name_table) == 32);

#endif
