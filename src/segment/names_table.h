/* SPDX-License-Identifier: MIT */
/* Between names_read.c, which looks into the index without a lock, and names.c, which changes it.
 */
#ifndef HF_SEGMENT_NAMES_TABLE_H
#define HF_SEGMENT_NAMES_TABLE_H

#include "segment/names.h"

#define table_at      hf_in_names_table_at
#define table_now     hf_in_names_table_now
#define matches       hf_in_names_matches
#define state_tx      hf_in_names_state_tx
#define standing_of   hf_in_names_standing_of
#define is_seen       hf_in_names_is_seen
#define count_objects hf_in_names_count_objects

#define BUCKETS_MAX (UINT64_C(1) << 38)
#define STEPS_MAX   100000u /* in one list; a hostile one may be endless */

struct table {
    uint64_t offset;
    struct name_table *at;
    struct name_bucket *buckets;
    uint64_t mask;
    uint64_t changes; /* names_changes, before it was looked at */
    uint32_t parity;
};

/* The table at that offset, checked; the one that there is now. -ENOENT: there is none; -EBADMSG.
 */
int table_at(struct view *view, uint64_t offset, struct table *table);
int table_now(struct view *view, struct table *table);

/* Of a table in good order. */
uint64_t count_objects(struct view *view, const struct table *table);

static inline struct object *object_at(struct view *view, uint64_t block)
{
    bool good = block % 16 == 0 && block != 0 && view_holds(view, block, sizeof(struct object));
    return good ? (struct object *)(void *)(view->base + block) : NULL;
}

/* Is it the one that is looked for? Then *found is what it is. */
bool matches(struct view *view, const struct object *object, uint64_t block,
             const struct name_key *key, struct found *found);

/* ---- whose an object is ------------------------------------------------------------------ */

/* An object's state, and that of the transaction that made it, as they were at one instant: by the
   time that a transaction is over, what it has left dead says so itself. */
struct standing {
    uint64_t state;
    uint64_t tx;
};

/* Of the transaction that has made the state: TX_NONE if it is over. */
uint64_t state_tx(struct view *view, uint64_t state);

struct standing standing_of(struct view *view, const struct object *object);

/* Does participant `me` (0: none) see it? */
bool is_seen(struct standing now, uint32_t me);

static inline bool is_mine(uint64_t state, uint32_t me)
{
    return me != 0 && (state >> OBJECT_SLOT_SHIFT & SLOT_NUMBER_MAX) == me;
}

/* Of a transaction that is open, and not the participant's. */
static inline bool is_anothers(struct standing now, uint32_t me)
{
    return now.tx == TX_ACTIVE && !is_mine(now.state, me);
}

#endif
