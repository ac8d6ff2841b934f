/* SPDX-License-Identifier: MIT */
/*
 * The deep check of the index of names. Invariants, with nobody inside a call:
 *     table    a block in use that has room for its buckets; not busy: no other is in the making,
 *              and none is left from before
 *     bucket   its list ends
 *     object   a block in use that has room for it; its hash leads to this bucket
 *     names    none is there twice; not busy: the count is that of the objects in the lists
 */
#include <errno.h>
#include <string.h>

#include "segment/check.h"
#include "segment/names.h"

/* More objects in one list than this are not compared with each other. */
#define COMPARED_MAX 1000u

struct index {
    struct look *look;
    struct name_table *table;
    struct name_bucket *buckets;
    uint64_t mask;
    uint32_t parity;
    uint64_t objects;
};

static uint64_t room_of(const struct block *block)
{
    return block->span == NULL ? block->pages * SEGMENT_PAGE : class_size(block->class);
}

/* Is that a block in use of so many bytes? */
static bool has_room(struct view *view, uint64_t offset, uint64_t bytes)
{
    struct block block;
    return offset % 16 == 0 && block_find(view, offset, &block) == 0 && block_in_use(&block) &&
           room_of(&block) >= bytes;
}

static struct object *object_of(struct index *index, uint64_t block)
{
    return (struct object *)(void *)(index->look->view->base + block);
}

static int check_object(struct index *index, uint64_t bucket, uint64_t block)
{
    struct found found;
    struct view *view = index->look->view;
    if (!has_room(view, block, sizeof(struct object)) || names_read(view, block, &found) != 0 ||
        found.kind == HF_OBJECT_ANONYMOUS ||
        !has_room(view, block, found.data - block + found.size * found.count)) {
        return check_wrong(index->look, "what lies at %#llx is no object with a name",
                           check_number(block));
    }
    if ((load_relaxed(&object_of(index, block)->hash) & index->mask) != bucket) {
        return check_wrong(index->look, "the object at %#llx is in another's bucket",
                           check_number(block));
    }
    return 0;
}

static bool have_one_name(struct view *view, const struct found *a, const struct found *b)
{
    const char *strings = view->base + sizeof(struct object);
    uint64_t length = a->kind == HF_OBJECT_UNIQUE ? a->name_length + UINT64_C(1) + a->type_length
                                                  : a->name_length;
    return a->kind == b->kind && a->name_length == b->name_length &&
           (a->kind != HF_OBJECT_UNIQUE || a->type_length == b->type_length) &&
           memcmp(strings + a->block, strings + b->block, (size_t)length) == 0;
}

/* Of those behind the object in its list, none may be seen under its name. */
static int check_twins(struct index *index, uint64_t block)
{
    struct found found;
    struct found other;
    struct view *view = index->look->view;
    struct object *object = object_of(index, block);
    uint64_t at = load_relaxed(&object->next[index->parity]);
    if (!names_are_seen(view, object) || names_read(view, block, &found) != 0) {
        return 0;
    }
    index->look->report->names++;
    for (unsigned n = 0; at != 0 && n < COMPARED_MAX; n++) {
        if (names_read(view, at, &other) != 0) {
            return 0; /* it is found out when it is its turn */
        }
        struct object *twin = object_of(index, at);
        if (load_relaxed(&twin->hash) == load_relaxed(&object->hash) &&
            names_are_seen(view, twin) && have_one_name(view, &found, &other)) {
            return check_wrong(index->look, "the objects at %#llx and %#llx have one name",
                               check_number(block), check_number(at));
        }
        at = load_relaxed(&twin->next[index->parity]);
    }
    return 0;
}

static int check_bucket(struct index *index, uint64_t bucket)
{
    uint64_t block = load_relaxed(&index->buckets[bucket].first);
    int error = 0;
    while (block != 0 && error == 0) {
        if (index->objects++ > index->look->report->blocks) {
            return check_wrong(index->look, "the list of bucket %llu does not end",
                               check_number(bucket));
        }
        error = check_object(index, bucket, block);
        error = error != 0 ? error : check_twins(index, block);
        block = error != 0 ? 0 : load_relaxed(&object_of(index, block)->next[index->parity]);
    }
    return error;
}

static int check_table(struct index *index, uint64_t offset)
{
    struct look *look = index->look;
    bool good = has_room(look->view, offset, sizeof(struct name_table));
    index->table = (struct name_table *)(void *)(look->view->base + (good ? offset : 0));
    uint64_t buckets = good ? load_relaxed(&index->table->buckets) : 0;
    if (buckets > SEGMENT_SIZE_MAX / sizeof(struct name_bucket) || !is_power_of_two(buckets) ||
        !has_room(look->view, offset,
                  sizeof(struct name_table) + buckets * sizeof(struct name_bucket))) {
        return check_wrong(look, "what lies at %#llx is no table of names", check_number(offset));
    }
    index->buckets = (struct name_bucket *)(void *)(index->table + 1);
    index->mask = buckets - 1;
    index->parity = load_relaxed(&index->table->parity) & 1;
    return 0;
}

/* Of what a death in a change leaves busy, nothing is said: the next change puts it in order. */
static int check_counts(struct index *index)
{
    struct segment_header *header = header_of(index->look->view);
    uint64_t previous = index->table == NULL ? 0 : load_relaxed(&index->table->previous);
    uint64_t spare = load_relaxed(&header->names_spare);
    uint64_t named = load_relaxed(&header->named);
    if (load_relaxed(&header->names_busy) != 0) {
        return 0;
    }
    if (previous != 0 || spare != 0) {
        return check_wrong(index->look, "a table of names is left over at %#llx",
                           check_number(previous != 0 ? previous : spare));
    }
    return named == index->objects
               ? 0
               : check_wrong(index->look, "%llu objects have names, and %llu are counted",
                             check_number(index->objects), check_number(named));
}

int check_names(struct look *look)
{
    struct segment_header *header = header_of(look->view);
    struct index index = {.look = look};
    uint32_t word = load_relaxed(&header->names_lock.word);
    uint64_t offset = load_acquire(&header->names);
    if ((word & ~LOCK_WAITERS) != 0 || load_relaxed(&header->names_lock.kind) != LOCK_INTERNAL) {
        return check_wrong(look, "the lock of the names is %#x", (unsigned)word);
    }
    int error = offset == 0 ? 0 : check_table(&index, offset);
    for (uint64_t b = 0; offset != 0 && error == 0 && b <= index.mask; b++) {
        error = check_bucket(&index, b);
    }
    return error != 0 ? error : check_counts(&index);
}
