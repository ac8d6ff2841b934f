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
 * previous one is freed, and the objects are counted again. names_read.c tells why the order is
 * this.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "segment/lock.h"
#include "segment/names_table.h"
#include "segment/pages.h"
#include "segment/recovery.h"
#include "segment/reserve.h"
#include "segment/tx.h"

#define FIRST_BUCKETS UINT64_C(16)

static const uint64_t lock_offset = offsetof(struct segment_header, names_lock);

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

static uint64_t state_of_mine(const struct participant *p, uint64_t state)
{
    uint64_t number = load_relaxed(&p->slot->tx) >> TX_NUMBER_SHIFT;
    return state | (uint64_t)p->number << OBJECT_SLOT_SHIFT | number << OBJECT_NUMBER_SHIFT;
}

static void count_one(struct view *view)
{
    struct segment_header *header = header_of(view);
    store_relaxed(&header->named, load_relaxed(&header->named) + 1);
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
    reserve_let_go(slot, word); /* (5) */
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
