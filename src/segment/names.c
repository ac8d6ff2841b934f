/* SPDX-License-Identifier: MIT */
/*
 * The index of names.
 *
 *     inserting   (1) object.next = bucket.first
 *                 (2) record (object, the reservation's word, bucket.first)
 *                 (3) bucket.first = object
 *                 (4) in a transaction: its log knows
 *                 (5) the reservation lets go; record cleared
 *     removing    (6) heap_free_from: the link to it goes on to the next,
 *                 (7)                 bucket.changes + 1,
 *                 (8)                 it is free
 *     growing     (9) names_spare = a new table, whose `previous` is the old one
 *                (10) the objects' other links
 *                (11) names = the new table
 *                (12) names_spare = 0
 *                (13) names_changes + 1
 *                (14) heap_free_from previous
 * Whoever takes names_lock after a death goes on: a spare that is not the table is freed, a
 * previous one is freed, and the objects are counted again.
 *
 * Finding. A reader follows a bucket's list and then looks again at `changes`, `names` and
 * `names_changes`: if none has changed nothing that it has read was freed meanwhile. It was linked
 * when it was read, and (7) comes between (6) and (8), as (13) between (11) and (14). Whoever
 * settles the record of one that died in between changes names_changes before it frees. There is no
 * odd state that a dead writer could leave.
 *
 * Who sees an object is said by its transaction's slot, while that transaction is open or has just
 * been committed: all of its objects change with one store. Afterwards an object that was pending
 * is there, and one that was doomed too: those of a commit are dead by then, those of an abort are
 * not.
 */
#include "segment/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "segment/lock.h"
#include "segment/pages.h"
#include "segment/recovery.h"
#include "segment/tx.h"

#define FIRST_BUCKETS UINT64_C(16)
#define BUCKETS_MAX   (UINT64_C(1) << 38)
#define TRIES         64u
#define STEPS_MAX     100000u /* in one list; a hostile one may be endless */

/* Of functions that read what others may write meanwhile, and find out afterwards whether they did.
 */
#if defined(__GNUC__)
#define OPTIMISTIC __attribute__((no_sanitize("thread")))
#else
#define OPTIMISTIC
#endif

static const uint64_t lock_offset = offsetof(struct segment_header, names_lock);

/* ---- the table --------------------------------------------------------------------------- */

struct table {
    uint64_t offset;
    struct name_table *at;
    struct name_bucket *buckets;
    uint64_t mask;
    uint64_t changes; /* names_changes, before it was looked at */
    uint32_t parity;
};

/* -ENOENT: there is none; -EBADMSG. */
OPTIMISTIC static int table_at(struct view *view, uint64_t offset, struct table *table)
{
    *table = (struct table){.offset = offset};
    if (offset == 0) {
        return -ENOENT;
    }
    if (offset % 16 != 0 || !view_holds(view, offset, sizeof(struct name_table))) {
        return -EBADMSG;
    }
    table->at = (struct name_table *)(void *)(view->base + offset);
    table->buckets = (struct name_bucket *)(void *)(table->at + 1);
    uint64_t buckets = load_relaxed(&table->at->buckets);
    table->mask = buckets - 1;
    table->parity = load_relaxed(&table->at->parity) & 1;
    bool good =
        is_power_of_two(buckets) && buckets <= BUCKETS_MAX &&
        view_holds(view, offset, sizeof(struct name_table) + buckets * sizeof(struct name_bucket));
    return good ? 0 : -EBADMSG;
}

static int table_now(struct view *view, struct table *table)
{
    struct segment_header *header = header_of(view);
    uint64_t changes = load_acquire(&header->names_changes);         /* partner: drop_previous */
    int error = table_at(view, load_acquire(&header->names), table); /* partner: grow */
    table->changes = changes;
    return error;
}

/* Is it the table still? Of what was read in it before: nothing of it had been freed by then. */
static bool is_now(struct view *view, const struct table *table)
{
    struct segment_header *header = header_of(view);
    return load_relaxed(&header->names) == table->offset &&
           load_relaxed(&header->names_changes) == table->changes;
}

static struct object *object_at(struct view *view, uint64_t block)
{
    bool good = block % 16 == 0 && block != 0 && view_holds(view, block, sizeof(struct object));
    return good ? (struct object *)(void *)(view->base + block) : NULL;
}

/* ---- one object -------------------------------------------------------------------------- */

OPTIMISTIC int names_read(struct view *view, uint64_t block, struct found *found)
{
    struct object *object = object_at(view, block);
    if (object == NULL) {
        return -EBADMSG;
    }
    uint32_t lengths = load_relaxed(&object->lengths);
    uint64_t data = load_relaxed(&object->data);
    *found = (struct found){.block = block,
                            .data = block + data,
                            .type = load_relaxed(&object->type),
                            .size = load_relaxed(&object->size),
                            .count = load_relaxed(&object->count),
                            .name_length = lengths & 0xff,
                            .type_length = lengths >> 8 & 0xff,
                            .kind = (hf_object_kind)(lengths >> 16)};
    uint64_t strings = sizeof *object + found->name_length + found->type_length + 2;
    bool good = found->size != 0 && found->size <= SEGMENT_SIZE_MAX && found->count != 0 &&
                found->count <= SEGMENT_SIZE_MAX / found->size && data % 8 == 0 &&
                strings + 8 <= data && found->type_length <= HF_TYPE_NAME_MAX &&
                lengths >> 16 <= HF_OBJECT_ANONYMOUS &&
                view_holds(view, block, data + found->size * found->count);
    return good ? 0 : -EBADMSG;
}

OPTIMISTIC static bool same_bytes(const char *a, const char *b, uint32_t length)
{
    uint32_t i = 0;
    while (i < length && *(const volatile char *)(a + i) == b[i]) {
        i++;
    }
    return i == length;
}

/* The name by which it is found. */
OPTIMISTIC static const char *name_in(struct view *view, const struct found *found,
                                      uint32_t *length)
{
    const char *strings = view->base + found->block + sizeof(struct object);
    bool unique = found->kind == HF_OBJECT_UNIQUE;
    *length = unique ? found->type_length : found->name_length;
    return unique ? strings + found->name_length + 1 : strings;
}

OPTIMISTIC static bool matches(struct view *view, const struct object *object, uint64_t block,
                               const struct name_key *key, struct found *found)
{
    uint32_t length;
    if (load_relaxed(&object->hash) != key->hash || names_read(view, block, found) != 0 ||
        found->kind != key->kind) {
        return false;
    }
    const char *name = name_in(view, found, &length);
    return length == key->length && same_bytes(name, key->name, length);
}

/* ---- whose it is ------------------------------------------------------------------------- */

/* Of the transaction that has made the state: TX_NONE if it is over. */
static uint64_t state_tx(struct view *view, uint64_t state)
{
    uint32_t number = (uint32_t)(state >> OBJECT_SLOT_SHIFT) & SLOT_NUMBER_MAX;
    const struct slot *slot = view_slot(view, number);
    uint64_t tx = slot == NULL ? 0 : load_acquire(&slot->tx); /* partner: tx_end */
    bool same = (tx >> TX_NUMBER_SHIFT & (UINT64_MAX >> OBJECT_NUMBER_SHIFT)) ==
                state >> OBJECT_NUMBER_SHIFT;
    return same ? tx & TX_STATE : TX_NONE;
}

static bool is_mine(uint64_t state, uint32_t me)
{
    return me != 0 && (state >> OBJECT_SLOT_SHIFT & SLOT_NUMBER_MAX) == me;
}

/* An object's state, and that of the transaction that made it, as they were at one instant: by the
   time that a transaction is over, what it has left dead says so itself. */
struct standing {
    uint64_t state;
    uint64_t tx;
};

OPTIMISTIC static struct standing standing_of(struct view *view, const struct object *object)
{
    uint64_t state = load_acquire(&object->state); /* partner: insert, names_kill */
    for (unsigned tries = 0; tries < TRIES; tries++) {
        uint64_t tx = state == OBJECT_THERE ? TX_NONE : state_tx(view, state);
        fence_loads();
        uint64_t again = load_acquire(&object->state);
        if (again == state) {
            return (struct standing){state, tx};
        }
        state = again;
    }
    return (struct standing){OBJECT_DEAD, TX_NONE}; /* nobody changes it as often */
}

/* Does participant `me` (0: none) see it? */
static bool is_seen(struct standing now, uint32_t me)
{
    switch (now.state & OBJECT_STATE) {
    case OBJECT_THERE:
        return true;
    case OBJECT_PENDING:
        return now.tx == TX_ACTIVE ? is_mine(now.state, me) : now.tx != TX_ABORTED;
    case OBJECT_DOOMED:
        return now.tx == TX_ACTIVE ? !is_mine(now.state, me) : now.tx != TX_COMMITTED;
    default:
        return false;
    }
}

/* Of a transaction that is open, and not the participant's. */
static bool is_anothers(struct standing now, uint32_t me)
{
    return now.tx == TX_ACTIVE && !is_mine(now.state, me);
}

bool names_are_seen(struct view *view, const struct object *object)
{
    return is_seen(standing_of(view, object), 0);
}

static uint64_t state_of_mine(const struct participant *p, uint64_t state)
{
    uint64_t number = load_relaxed(&p->slot->tx) >> TX_NUMBER_SHIFT;
    return state | (uint64_t)p->number << OBJECT_SLOT_SHIFT | number << OBJECT_NUMBER_SHIFT;
}

/* This thread's number in the segment, if it has one. */
static uint32_t my_number(struct view *view)
{
    struct participant *p = participant_recent(view->base);
    p = p != NULL ? p : participant_mine(view->base);
    return p == NULL ? 0 : p->number;
}

/* ---- finding ----------------------------------------------------------------------------- */

/* Ones of that name that were passed, for nobody sees them: `pending` is the state of one whose
   transaction had not committed. */
struct passed {
    bool any;
    uint64_t pending;
};

/* A transaction may have replaced what was looked for, before the old one was looked at, and after
   the new one was, or before that was in the list. */
static bool may_be_replaced(struct view *view, const struct passed *passed, shared_u64 *first,
                            uint64_t was_first)
{
    fence_loads();
    return passed->any && (load_relaxed(first) != was_first ||
                           (passed->pending != 0 && state_tx(view, passed->pending) != TX_ACTIVE));
}

OPTIMISTIC static int search(struct view *view, const struct table *table,
                             const struct name_key *key, struct found *found)
{
    struct passed passed = {0};
    shared_u64 *first = &table->buckets[key->hash & table->mask].first;
    uint64_t was_first = load_acquire(first); /* partner: insert */
    uint64_t block = was_first;
    for (uint32_t steps = 0; block != 0; steps++) {
        struct object *object = object_at(view, block);
        if (object == NULL || steps == STEPS_MAX) {
            return -EBADMSG;
        }
        __builtin_prefetch(object + 1); /* its name, while its hash is on the way */
        if (matches(view, object, block, key, found)) {
            struct standing now = standing_of(view, object);
            if (now.state == OBJECT_THERE || is_seen(now, my_number(view))) {
                return 0;
            }
            passed.any = true;
            if ((now.state & OBJECT_STATE) == OBJECT_PENDING) {
                passed.pending = now.state;
            }
        }
        block = load_acquire(&object->next[table->parity]); /* partner: insert */
    }
    return may_be_replaced(view, &passed, first, was_first) ? -EAGAIN : -ENOENT;
}

OPTIMISTIC int names_find(struct view *view, const struct name_key *key, struct found *found)
{
    int error = -EAGAIN;
    for (unsigned tries = 0; tries < TRIES; tries++) {
        struct table table;
        error = table_now(view, &table);
        if (error == -ENOENT) {
            return error;
        }
        struct name_bucket *bucket = NULL;
        uint64_t changes = 0;
        if (error == 0) {
            bucket = &table.buckets[key->hash & table.mask];
            changes = load_acquire(&bucket->changes); /* partner: unlink */
            error = search(view, &table, key, found);
        }
        fence_loads();
        bool same =
            is_now(view, &table) && (bucket == NULL || load_relaxed(&bucket->changes) == changes);
        if (same && error != -EAGAIN) {
            return error;
        }
    }
    return -EAGAIN;
}

OPTIMISTIC void names_tell(struct view *view, const struct found *found, hf_object_info *info)
{
    const char *strings = view->base + found->block + sizeof(struct object);
    memset(info, 0, sizeof *info);
    info->object = view->base + found->data;
    info->kind = found->kind;
    info->size = found->size;
    info->count = found->count;
    for (uint32_t i = 0; i < found->name_length; i++) {
        info->name[i] = *(const volatile char *)(strings + i);
    }
    for (uint32_t i = 0; i < found->type_length; i++) {
        info->type[i] = *(const volatile char *)(strings + found->name_length + 1 + i);
    }
}

/* ---- iterating --------------------------------------------------------------------------- */

/* The bits in reverse. Ordered by their reversed hashes the objects of a bucket follow each other,
   whatever the size of the table: so an iteration goes on where it was when the table has grown. */
static uint64_t reversed(uint64_t word)
{
    word = (word >> 1 & UINT64_C(0x5555555555555555)) | (word & UINT64_C(0x5555555555555555)) << 1;
    word = (word >> 2 & UINT64_C(0x3333333333333333)) | (word & UINT64_C(0x3333333333333333)) << 2;
    word = (word >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f)) | (word & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4;
    return __builtin_bswap64(word);
}

static bool is_before(const hf_object_cursor *a, const hf_object_cursor *b)
{
    uint64_t first = reversed(a->hash);
    uint64_t second = reversed(b->hash);
    return first != second ? first < second : a->block < b->block;
}

/* The first of the cursor's bucket that is behind the cursor, at *next; -ENOENT. Of a list that
   nobody changes meanwhile. */
OPTIMISTIC static int step_in(struct view *view, const struct table *table,
                              const hf_object_cursor *cursor, hf_object_cursor *next,
                              struct found *found)
{
    uint32_t me = my_number(view);
    uint64_t bucket = cursor->hash & table->mask;
    uint64_t block = load_acquire(&table->buckets[bucket].first);
    next->block = 0;
    for (uint32_t steps = 0; block != 0; steps++) {
        struct object *object = object_at(view, block);
        if (object == NULL || steps == STEPS_MAX) {
            return -EBADMSG;
        }
        hf_object_cursor here = {load_relaxed(&object->hash), block};
        if ((here.hash & table->mask) == bucket && is_before(cursor, &here) &&
            (next->block == 0 || is_before(&here, next)) &&
            is_seen(standing_of(view, object), me)) {
            *next = here;
        }
        block = load_acquire(&object->next[table->parity]);
    }
    return next->block == 0 ? -ENOENT : names_read(view, next->block, found);
}

/* To the bucket behind the cursor's; false: it was the last. */
static bool step_over(const struct table *table, hf_object_cursor *cursor)
{
    uint64_t next = (reversed(cursor->hash) | ~reversed(table->mask)) + 1;
    if (next == 0) {
        return false;
    }
    *cursor = (hf_object_cursor){reversed(next), 0};
    return true;
}

/* The next one in the cursor's bucket; *table is the one looked at. */
OPTIMISTIC static int next_in_bucket(struct view *view, hf_object_cursor *cursor,
                                     struct table *table, hf_object_info *info)
{
    for (unsigned tries = 0; tries < TRIES; tries++) {
        struct found found;
        hf_object_cursor next;
        int error = table_now(view, table);
        if (error == -EBADMSG && !is_now(view, table)) {
            continue; /* freed since, and something else by now */
        }
        if (error != 0) {
            return error;
        }
        struct name_bucket *bucket = &table->buckets[cursor->hash & table->mask];
        uint64_t changes = load_acquire(&bucket->changes); /* partner: unlink */
        error = step_in(view, table, cursor, &next, &found);
        if (error == 0) {
            names_tell(view, &found, info);
        }
        fence_loads();
        if (is_now(view, table) && load_relaxed(&bucket->changes) == changes) {
            *cursor = error == 0 ? next : *cursor;
            return error;
        }
    }
    return -EAGAIN;
}

int names_next(struct view *view, hf_object_cursor *cursor, hf_object_info *info)
{
    struct table table;
    int error;
    do {
        error = next_in_bucket(view, cursor, &table, info);
    } while (error == -ENOENT && table.offset != 0 && step_over(&table, cursor));
    return error;
}

/* ---- changing ---------------------------------------------------------------------------- */

/* The link that names the block: its bucket's first, or an object's next. */
static shared_u64 *link_to(struct view *view, const struct table *table, uint64_t hash,
                           uint64_t block)
{
    shared_u64 *link = &table->buckets[hash & table->mask].first;
    for (uint32_t steps = 0; steps < STEPS_MAX && load_relaxed(link) != 0; steps++) {
        if (load_relaxed(link) == block) {
            return link;
        }
        struct object *object = object_at(view, load_relaxed(link));
        if (object == NULL) {
            break;
        }
        link = &object->next[table->parity];
    }
    return NULL;
}

/* (6) to (8). */
static int unlink_and_free(struct participant *p, const struct table *table, uint64_t hash,
                           uint64_t at)
{
    struct block block;
    struct segment_header *header = header_of(p->view);
    struct object *object = object_at(p->view, at);
    shared_u64 *link = link_to(p->view, table, hash, at);
    if (link == NULL || object == NULL || block_find(p->view, at, &block) != 0 ||
        !block_in_use(&block)) {
        return -EBADMSG;
    }
    shared_u64 *changes = &table->buckets[hash & table->mask].changes;
    uint64_t next = load_relaxed(&object->next[table->parity]);
    int error = heap_free_from(p, &block, link, next, changes);
    if (error == 0) {
        store_relaxed(&header->named, load_relaxed(&header->named) - 1);
    }
    return error;
}

/* Frees a table by the link to it. */
static void free_table(struct participant *p, shared_u64 *link)
{
    struct block block;
    if (block_find(p->view, load_relaxed(link), &block) == 0 && block_in_use(&block)) {
        (void)heap_free_from(p, &block, link, 0, NULL);
    } else {
        HF_LOG_STORE(link, 0);
    }
}

/* Frees the table before this one. Another may lie where it was soon: whoever is in it still sees
   that it has grown. */
static void drop_previous(struct participant *p, struct name_table *at)
{
    struct segment_header *header = header_of(p->view);
    (void)fetch_add_release(&header->names_changes, 1); /* partner: is_now */
    fence_stores();
    free_table(p, &at->previous);
}

/* Of a table in good order. */
OPTIMISTIC static uint64_t count_objects(struct view *view, const struct table *table)
{
    uint64_t count = 0;
    uint64_t most =
        load_relaxed(&view->known) / sizeof(struct object); /* hostile ones may be endless */
    for (uint64_t b = 0; b <= table->mask; b++) {
        uint64_t block = load_acquire(&table->buckets[b].first);
        while (block != 0 && count < most) {
            struct object *object = object_at(view, block);
            block = object == NULL ? 0 : load_acquire(&object->next[table->parity]);
            count += object == NULL ? 0 : 1;
        }
    }
    return count;
}

/* Dead, and its transaction is over. Of one that was remembered: whoever took the lock meanwhile
   may have buried it, and its block be another object. */
static bool is_to_bury(struct view *view, uint64_t state)
{
    return (state & OBJECT_STATE) == OBJECT_DEAD && state_tx(view, state) == TX_NONE;
}

/* All that is dead and whose transaction is over; false: some is not. */
static bool bury_in(struct participant *p, const struct table *table, uint64_t bucket)
{
    bool all = true;
    uint64_t block = load_relaxed(&table->buckets[bucket].first);
    for (uint32_t steps = 0; block != 0 && steps < STEPS_MAX; steps++) {
        struct object *object = object_at(p->view, block);
        uint64_t next = object == NULL ? 0 : load_relaxed(&object->next[table->parity]);
        uint64_t state = object == NULL ? 0 : load_acquire(&object->state);
        if ((state & OBJECT_STATE) == OBJECT_DEAD) {
            all =
                is_to_bury(p->view, state) && unlink_and_free(p, table, bucket, block) == 0 && all;
        }
        block = next;
    }
    return all;
}

static void bury_all(struct participant *p, const struct table *table)
{
    struct segment_header *header = header_of(p->view);
    uint64_t dead = load_acquire(&header->names_dead); /* partner: names_kill */
    bool all = true;
    for (uint64_t b = 0; b <= table->mask && dead != load_relaxed(&header->names_buried); b++) {
        all = bury_in(p, table, b) && all;
    }
    if (all) {
        store_relaxed(&header->names_buried, dead);
    }
}

/* Goes on with what a death has left. */
static int tidy(struct participant *p, struct table *table)
{
    struct segment_header *header = header_of(p->view);
    if (load_relaxed(&header->names_spare) == load_relaxed(&header->names)) {
        HF_LOG_STORE(&header->names_spare, 0);
    } else if (load_relaxed(&header->names_spare) != 0) {
        free_table(p, &header->names_spare);
    }
    int error = table_now(p->view, table);
    if (error != 0) {
        return error == -ENOENT ? 0 : error;
    }
    if (load_relaxed(&table->at->previous) != 0) {
        drop_previous(p, table->at);
    }
    store_relaxed(&header->named, count_objects(p->view, table));
    return 0;
}

static void unlock_names(struct participant *p)
{
    struct segment_header *header = header_of(p->view);
    HF_LOG_STORE(&header->names_busy, 0);
    lock_free(p, &header->names_lock, lock_offset);
}

/* With the lock, until unlock_names: *table is the table, if its offset is not 0. At an error
   without it. */
static int lock_names(struct participant *p, struct table *table)
{
    struct segment_header *header = header_of(p->view);
    int error = lock_take_own(p, &header->names_lock, lock_offset, HF_FOREVER);
    if (error != 0) {
        return error;
    }
    if (load_relaxed(&header->names_busy) != 0) {
        error = tidy(p, table);
    }
    HF_LOG_STORE(&header->names_busy, 1);
    if (error == 0) {
        error = table_now(p->view, table);
        error = error == -ENOENT ? 0 : error;
    }
    if (error != 0) {
        unlock_names(p);
    }
    return error;
}

/* (10) */
static void relink_all(struct view *view, const struct table *from, const struct table *to)
{
    for (uint64_t b = 0; b <= from->mask && from->offset != 0; b++) {
        uint64_t block = load_relaxed(&from->buckets[b].first);
        for (uint32_t steps = 0; block != 0 && steps < STEPS_MAX; steps++) {
            struct object *object = object_at(view, block);
            if (object == NULL) {
                break;
            }
            shared_u64 *first = &to->buckets[load_relaxed(&object->hash) & to->mask].first;
            store_relaxed(&object->next[to->parity], load_relaxed(first));
            store_relaxed(first, block);
            block = load_relaxed(&object->next[from->parity]);
        }
    }
}

/* (9) to (14): *table is the new one. */
static int grow(struct participant *p, uint64_t buckets, struct table *table)
{
    struct segment_header *header = header_of(p->view);
    uint64_t bytes = sizeof(struct name_table) + buckets * sizeof(struct name_bucket);
    uint64_t offset;
    struct table larger = {0};
    int error =
        buckets > BUCKETS_MAX ? -ENOMEM : heap_alloc_into(p, bytes, &header->names_spare, &offset);
    if (error != 0) {
        return error;
    }
    struct name_table *at = (struct name_table *)(void *)(p->view->base + offset);
    memset(at, 0, (size_t)bytes);
    store_relaxed(&at->buckets, buckets);
    store_relaxed(&at->parity, table->parity ^ 1);
    HF_LOG_STORE(&at->previous, table->offset);
    error = table_at(p->view, offset, &larger);
    if (error != 0) {
        return error;
    }
    relink_all(p->view, table, &larger);
    HF_LOG_PUBLISH(&header->names, offset); /* partner: table_now */
    HF_LOG_STORE(&header->names_spare, 0);
    if (table->offset != 0) {
        drop_previous(p, at);
    }
    larger.changes = load_relaxed(&header->names_changes);
    *table = larger;
    return 0;
}

/* As many buckets as objects. */
static int make_room(struct participant *p, uint64_t count, struct table *table)
{
    uint64_t buckets = table->offset == 0 ? FIRST_BUCKETS : table->mask + 1;
    bool enough = table->offset != 0 && count <= buckets;
    while (count > buckets && buckets <= BUCKETS_MAX) { /* the count may be anything */
        buckets *= 2;
    }
    return enough ? 0 : grow(p, buckets, table);
}

/* Whose open transaction is in the way: if that one is dead, it is recovered, and all is tried
   again. So it is if the transaction is over by now: another may have recovered it. */
static bool is_out_of_the_way(struct participant *p, uint64_t state)
{
    return recovery_of(p, (uint32_t)(state >> OBJECT_SLOT_SHIFT) & SLOT_NUMBER_MAX) ||
           state_tx(p->view, state) != TX_ACTIVE;
}

/* May the caller have the name? 0, -EEXIST, -EBUSY: *busy is the state of the one in the way. */
static int check_name(struct participant *p, const struct table *table, const struct name_key *key,
                      uint64_t *busy)
{
    uint64_t block = load_relaxed(&table->buckets[key->hash & table->mask].first);
    for (uint32_t steps = 0; block != 0; steps++) {
        struct found found;
        struct object *object = object_at(p->view, block);
        if (object == NULL || steps == STEPS_MAX) {
            return -EBADMSG;
        }
        if (matches(p->view, object, block, key, &found)) {
            struct standing now = standing_of(p->view, object);
            if (is_seen(now, p->number)) {
                return -EEXIST;
            }
            if ((now.state & OBJECT_STATE) == OBJECT_PENDING && is_anothers(now, p->number)) {
                *busy = now.state;
                return -EBUSY;
            }
        }
        block = load_relaxed(&object->next[table->parity]);
    }
    return 0;
}

static void count_one(struct view *view)
{
    struct segment_header *header = header_of(view);
    store_relaxed(&header->named, load_relaxed(&header->named) + 1);
}

/* (5) */
static void let_go(struct slot *slot, shared_u64 *word)
{
    HF_LOG_STORE(word, 0);
    HF_LOG_STORE(&slot->op, OP_NONE);
    HF_LOG_STORE(&slot->op_log, 0);
}

/* (1) to (5). */
static int insert(struct participant *p, const struct table *table, const struct name_key *key,
                  uint64_t at, shared_u64 *word)
{
    struct view *view = p->view;
    struct slot *slot = p->slot;
    struct object *object = object_at(view, at);
    shared_u64 *first = &table->buckets[key->hash & table->mask].first;
    uint64_t log = 0;
    int error = tx_is_open(p) ? tx_block_position(p, &log) : 0;
    if (error != 0) {
        return error;
    }
    HF_LOG_STORE(&object->state, tx_is_open(p) ? state_of_mine(p, OBJECT_PENDING) : OBJECT_THERE);
    HF_LOG_STORE(&object->next[table->parity], load_relaxed(first));
    HF_LOG_STORE(&slot->op_log, tx_is_open(p) ? log + sizeof(struct log_trailer) + 1 : 0);
    pages_record(slot, OP_MOVE, at, (uint64_t)((char *)word - view->base),
                 (uint64_t)((char *)first - view->base));
    HF_LOG_PUBLISH(first, at); /* partner: search */
    if (tx_is_open(p)) {
        (void)tx_add_block(p, LOG_CONSTRUCTED, at);
    }
    let_go(slot, word);
    count_one(view);
    return 0;
}

/* With the lock: what the dead's transactions have left. */
static void bury_the_deads(struct participant *p, const struct table *table)
{
    struct segment_header *header = header_of(p->view);
    bool any = load_acquire(&header->names_dead) != load_relaxed(&header->names_buried);
    if (any && table->offset != 0 && (p->dead_count == 0 || !tx_is_open(p))) {
        bury_all(p, table);
    }
}

static int try_to_insert(struct participant *p, const struct name_key *key, uint64_t block,
                         shared_u64 *word, uint64_t *busy)
{
    struct table table;
    int error = lock_names(p, &table);
    if (error != 0) {
        return error;
    }
    bury_the_deads(p, &table);
    error = make_room(p, load_relaxed(&header_of(p->view)->named) + 1, &table);
    if (table.offset != 0 && (error == -ENOMEM || error == -ENOSPC)) {
        error = 0; /* longer lists will do */
    }
    error = error != 0 ? error : check_name(p, &table, key, busy);
    error = error != 0 ? error : insert(p, &table, key, block, word);
    unlock_names(p);
    return error;
}

int names_insert(struct participant *p, const struct name_key *key, uint64_t block,
                 shared_u64 *word)
{
    uint64_t busy = 0;
    int error;
    do {
        error = try_to_insert(p, key, block, word, &busy);
    } while (error == -EBUSY && is_out_of_the_way(p, busy));
    return error;
}

int names_reserve(struct participant *p, uint64_t count)
{
    struct table table;
    int error = count > BUCKETS_MAX ? -ENOMEM : lock_names(p, &table);
    if (error == 0) {
        error = make_room(p, count, &table);
        unlock_names(p);
    }
    return error;
}

/* ---- taking away ------------------------------------------------------------------------- */

static void remember_dead(struct participant *p, uint64_t block)
{
    if (p->dead_count == p->dead_room) {
        os_quiet quiet;
        unsigned room = p->dead_room == 0 ? 16 : p->dead_room * 2;
        os_quiet_begin(&quiet); /* nobody may jump out of malloc */
        uint64_t *more = realloc(p->dead, room * sizeof *more);
        p->dead = more != NULL ? more : p->dead;
        p->dead_room = more != NULL ? room : p->dead_room;
        os_quiet_end(&quiet);
        if (more == NULL) {
            return; /* whoever takes the lock next finds it */
        }
    }
    p->dead[p->dead_count++] = block;
}

void names_kill(struct view *view, struct slot *slot, struct participant *p, uint64_t block)
{
    struct object *object = object_at(view, block);
    uint64_t state = object == NULL ? 0 : load_relaxed(&object->state);
    uint64_t number = load_relaxed(&slot->tx) >> TX_NUMBER_SHIFT;
    bool ours = (state & OBJECT_STATE) != OBJECT_THERE &&
                view_slot(view, (uint32_t)(state >> OBJECT_SLOT_SHIFT) & SLOT_NUMBER_MAX) == slot &&
                state >> OBJECT_NUMBER_SHIFT == (number & (UINT64_MAX >> OBJECT_NUMBER_SHIFT));
    if (!ours || (p != NULL && (state & OBJECT_STATE) == OBJECT_DEAD)) {
        return;
    }
    HF_LOG_STORE(&object->state, state | OBJECT_DEAD);
    (void)fetch_add_release(&header_of(view)->names_dead, 1); /* partner: bury_all */
    crash_fence();
    if (p != NULL) {
        remember_dead(p, block);
    }
}

/* In a transaction, or at once. */
static int take_away(struct participant *p, const struct table *table, uint64_t state,
                     uint64_t block)
{
    struct object *object = object_at(p->view, block);
    if (!tx_is_open(p)) {
        return unlink_and_free(p, table, load_relaxed(&object->hash), block);
    }
    if (state == state_of_mine(p, OBJECT_PENDING)) {
        p->tx_frees = true;
        names_kill(p->view, p->slot, p, block);
        return 0;
    }
    int error = tx_add_block(p, LOG_DESTROYED, block);
    if (error == 0) {
        HF_LOG_STORE(&object->state, state_of_mine(p, OBJECT_DOOMED));
    }
    return error;
}

/* The one that the caller sees under that name; `wanted` that one, if it is not 0. */
static int look_up(struct participant *p, const struct table *table, const struct name_key *key,
                   uint64_t wanted, struct found *found, struct standing *now)
{
    if (table->offset == 0) {
        return -ENOENT;
    }
    uint64_t block = load_relaxed(&table->buckets[key->hash & table->mask].first);
    for (uint32_t steps = 0; block != 0; steps++) {
        struct object *object = object_at(p->view, block);
        if (object == NULL || steps == STEPS_MAX) {
            return -EBADMSG;
        }
        if ((wanted == 0 || wanted == block) && matches(p->view, object, block, key, found)) {
            *now = standing_of(p->view, object);
            if (is_seen(*now, p->number)) {
                return 0;
            }
        }
        block = load_relaxed(&object->next[table->parity]);
    }
    return -ENOENT;
}

static int try_to_remove(struct participant *p, const struct name_key *key, uint64_t type,
                         uint64_t block, uint64_t *busy)
{
    struct table table;
    struct found found;
    struct standing now;
    int error = lock_names(p, &table);
    if (error != 0) {
        return error;
    }
    bury_the_deads(p, &table);
    error = look_up(p, &table, key, block, &found, &now);
    if (error == 0 && found.type != type) {
        error = -EBADMSG;
    } else if (error == 0) {
        bool doomed = (now.state & OBJECT_STATE) == OBJECT_DOOMED && is_anothers(now, p->number);
        *busy = now.state;
        error = doomed ? -EBUSY : take_away(p, &table, now.state, found.block);
    }
    unlock_names(p);
    return error;
}

int names_remove(struct participant *p, const struct name_key *key, uint64_t type, uint64_t block)
{
    uint64_t busy = 0;
    int error;
    do {
        error = try_to_remove(p, key, type, block, &busy);
    } while (error == -EBUSY && is_out_of_the_way(p, busy));
    return error;
}

void names_bury(struct participant *p)
{
    struct segment_header *header = header_of(p->view);
    struct table table;
    if (p->dead_count == 0 || lock_names(p, &table) != 0) {
        return;
    }
    while (p->dead_count > 0 && table.offset != 0) {
        uint64_t block = p->dead[--p->dead_count];
        struct object *object = object_at(p->view, block);
        if (object != NULL && is_to_bury(p->view, load_acquire(&object->state)) &&
            unlink_and_free(p, &table, load_relaxed(&object->hash), block) == 0) {
            store_relaxed(&header->names_buried, load_relaxed(&header->names_buried) + 1);
        }
    }
    p->dead_count = 0;
    unlock_names(p);
}

void names_sweep(struct participant *p)
{
    struct segment_header *header = header_of(p->view);
    struct table table;
    bool any = load_acquire(&header->names_dead) != load_relaxed(&header->names_buried);
    bool mine = (load_relaxed(&header->names_lock.word) & LOCK_OWNER) == p->number;
    /* Not in the middle of an operation that the log is to know of: burying writes records. */
    if (any && !mine && load_relaxed(&p->slot->op_log) == 0 && lock_names(p, &table) == 0) {
        bury_the_deads(p, &table);
        unlock_names(p);
    }
}

int names_count(struct view *view, uint64_t *count)
{
    for (unsigned tries = 0; tries < TRIES; tries++) {
        struct table table;
        int error = table_now(view, &table);
        bool busy = load_relaxed(&header_of(view)->names_busy) != 0;
        *count = error != 0 ? 0
                 : busy     ? count_objects(view, &table)
                            : load_relaxed(&header_of(view)->named);
        fence_loads();
        if (error == -ENOENT || is_now(view, &table)) {
            return error == -ENOENT ? 0 : error;
        }
    }
    return -EAGAIN;
}
