/* SPDX-License-Identifier: MIT */
/*
 * Looking into the index of names without a lock. The numbers are those of names.c.
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
#include <errno.h>
#include <string.h>

#include "segment/names_table.h"

#define TRIES 64u

/* Of functions that read what others may write meanwhile, and find out afterwards whether they did.
 */
#if defined(__GNUC__)
#define OPTIMISTIC __attribute__((no_sanitize("thread")))
#else
#define OPTIMISTIC
#endif

/* ---- the table --------------------------------------------------------------------------- */

/* -ENOENT: there is none; -EBADMSG. */
OPTIMISTIC int table_at(struct view *view, uint64_t offset, struct table *table)
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

int table_now(struct view *view, struct table *table)
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
    bool good = found->size != 0 && found->count != 0 &&
                product_within(found->size, found->count, SEGMENT_SIZE_MAX) && data % 8 == 0 &&
                strings + 8 <= data && found->type_length <= HF_TYPE_NAME_MAX &&
                lengths >> 16 <= HF_OBJECT_ANONYMOUS &&
                view_holds(view, block, data + found->size * found->count);
    return good ? 0 : -EBADMSG;
}

/* `a` lies in the segment; by words, if it is aligned to them. */
OPTIMISTIC static bool same_bytes(const char *a, const char *b, uint32_t length)
{
    uint32_t i = 0;
    if ((uintptr_t)a % 8 == 0) {
        for (; i + 8 <= length; i += 8) {
            uint64_t word;
            memcpy(&word, b + i, sizeof word);
            if (load_relaxed((const shared_u64 *)(const void *)(a + i)) != word) {
                return false;
            }
        }
    }
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

OPTIMISTIC bool matches(struct view *view, const struct object *object, uint64_t block,
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
uint64_t state_tx(struct view *view, uint64_t state)
{
    uint32_t number = (uint32_t)(state >> OBJECT_SLOT_SHIFT) & SLOT_NUMBER_MAX;
    const struct slot *slot = view_slot(view, number);
    uint64_t tx = slot == NULL ? 0 : load_acquire(&slot->tx); /* partner: tx_end */
    bool same = (tx >> TX_NUMBER_SHIFT & (UINT64_MAX >> OBJECT_NUMBER_SHIFT)) ==
                state >> OBJECT_NUMBER_SHIFT;
    return same ? tx & TX_STATE : TX_NONE;
}

OPTIMISTIC struct standing standing_of(struct view *view, const struct object *object)
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
bool is_seen(struct standing now, uint32_t me)
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

bool names_are_seen(struct view *view, const struct object *object)
{
    return is_seen(standing_of(view, object), 0);
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

/* ---- counting ---------------------------------------------------------------------------- */

/* Of a table in good order. */
OPTIMISTIC uint64_t count_objects(struct view *view, const struct table *table)
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
