/* SPDX-License-Identifier: MIT */
/*
 * Objects: what the public calls make of the heap's blocks and the index of names.
 *
 * A new object is a reserved block until the index has it, while its initialiser runs, too: so who
 * dies leaves it whole or not at all.
 */
#include <errno.h>
#include <string.h>

#include "holdfast/object.h"
#include "segment/handle.h"
#include "segment/heap.h"
#include "segment/names.h"
#include "segment/pages.h"
#include "segment/reserve.h"
#include "segment/tx.h"

/* ---- names and types --------------------------------------------------------------------- */

/* Multiply and fold, eight bytes at a time. The same in every process: it is stored. */
static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t hash_bytes(uint64_t hash, const char *bytes, size_t length)
{
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word = 0;
        memcpy(&word, bytes, 8);
        hash = mix(hash, word);
    }
    uint64_t rest = length;
    for (size_t i = 0; i < length; i++) {
        rest = rest << 8 | (uint8_t)bytes[i];
    }
    hash = mix(hash, rest);
    return mix(hash, hash >> 32);
}

static uint64_t hash_type(hf_type type, size_t length)
{
    return mix(mix(hash_bytes(3, type.name, length), type.size), type.alignment);
}

/* What is asked for, checked. */
struct wanted {
    struct name_key key;
    hf_type type;
    uint32_t type_length;
    uint64_t tag;
};

static int check_type(hf_type type, uint32_t *length)
{
    if (type.name == NULL || type.size == 0 || !is_power_of_two(type.alignment) ||
        type.alignment > SEGMENT_PAGE || type.size > SEGMENT_SIZE_MAX) {
        return -EINVAL;
    }
    size_t bytes = strnlen(type.name, HF_TYPE_NAME_MAX + 1);
    *length = (uint32_t)bytes;
    return bytes == 0 ? -EINVAL : bytes > HF_TYPE_NAME_MAX ? -ENAMETOOLONG : 0;
}

static int want(const char *name, hf_type type, struct wanted *wanted)
{
    int error = check_type(type, &wanted->type_length);
    if (error != 0) {
        return error;
    }
    wanted->type = type;
    wanted->tag = hash_type(type, wanted->type_length);
    if (name == NULL) {
        wanted->key = (struct name_key){"", 0, HF_OBJECT_ANONYMOUS, 0};
    } else if (name == HF_UNIQUE) {
        uint64_t hash = hash_bytes(2, type.name, wanted->type_length);
        wanted->key = (struct name_key){type.name, wanted->type_length, HF_OBJECT_UNIQUE, hash};
    } else {
        size_t length = strnlen(name, HF_NAME_MAX + 1);
        wanted->key =
            (struct name_key){name, (uint32_t)length, HF_OBJECT_NAMED, hash_bytes(1, name, length)};
        return length == 0 ? -EINVAL : length > HF_NAME_MAX ? -ENAMETOOLONG : 0;
    }
    return 0;
}

/* ---- finding ----------------------------------------------------------------------------- */

static int find(struct view *view, const struct wanted *wanted, void **object, size_t *count)
{
    struct found found;
    int error = names_find(view, &wanted->key, &found);
    if (error != 0) {
        return error;
    }
    if (found.type != wanted->tag || found.size != wanted->type.size) {
        return -EBADMSG;
    }
    *object = view->base + found.data;
    if (count != NULL) {
        *count = (size_t)found.count;
    }
    return 0;
}

int hf_object_find(hf_segment *segment, const char *name, hf_type type, void **object,
                   size_t *count)
{
    struct wanted wanted;
    if (!is_segment(segment) || object == NULL || name == NULL) {
        return -EINVAL;
    }
    int error = want(name, type, &wanted);
    return error != 0 ? error : find(segment->view, &wanted, object, count);
}

/* The object that the address is said to be of: its elements begin there. */
static int read_at(struct view *view, const void *object, struct found *found)
{
    uint64_t at = (uint64_t)((const char *)object - view->base);
    shared_u64 *back = (const char *)object < view->base ? NULL : view_word(view, at - 8);
    uint64_t data = back == NULL ? 0 : load_relaxed(back);
    struct block block;
    bool good = data != 0 && data <= at && block_find(view, at - data, &block) == 0 &&
                block_in_use(&block) && names_read(view, at - data, found) == 0 &&
                found->data == at;
    return good ? 0 : -EINVAL;
}

int hf_object_get_info(hf_segment *segment, const void *object, hf_object_info *info)
{
    struct found found;
    if (!is_segment(segment) || object == NULL || info == NULL) {
        return -EINVAL;
    }
    int error = read_at(segment->view, object, &found);
    if (error == 0) {
        names_tell(segment->view, &found, info);
    }
    return error;
}

int hf_object_next(hf_segment *segment, hf_object_cursor *cursor, hf_object_info *info)
{
    if (!is_segment(segment) || cursor == NULL || info == NULL) {
        return -EINVAL;
    }
    return names_next(segment->view, cursor, info);
}

int hf_object_count(hf_segment *segment, uint64_t *count)
{
    return !is_segment(segment) || count == NULL ? -EINVAL : names_count(segment->view, count);
}

/* ---- constructing ------------------------------------------------------------------------ */

/* How the block is laid out: the elements' distance from its start, and all its bytes. */
static int lay_out(const struct participant *p, const struct wanted *wanted, size_t count,
                   uint64_t *data, uint64_t *bytes)
{
    bool named = wanted->key.kind == HF_OBJECT_NAMED;
    uint64_t strings = (named ? wanted->key.length : 0) + 1 + wanted->type_length + 1;
    if (count == 0 || (uintptr_t)p->view->base % wanted->type.alignment != 0) {
        return -EINVAL;
    }
    if (count > SEGMENT_SIZE_MAX / wanted->type.size) {
        return -ENOMEM;
    }
    *data = round_up(sizeof(struct object) + strings + 8, max_u64(wanted->type.alignment, 16));
    *bytes = *data + wanted->type.size * count;
    /* On lines of its own, as far as that costs little: a search reads its first one. */
    uint64_t alignment = max_u64(wanted->type.alignment, *bytes <= 1024 ? 64 : 16);
    *bytes = alignment > 16 ? heap_aligned_size(alignment, *bytes) : *bytes;
    return 0;
}

static void fill_in(struct participant *p, const struct wanted *wanted, uint64_t at, uint64_t data,
                    size_t count)
{
    struct object *object = (struct object *)(void *)(p->view->base + at);
    bool named = wanted->key.kind == HF_OBJECT_NAMED;
    uint32_t length = named ? wanted->key.length : 0;
    memset(object, 0, (size_t)(data + wanted->type.size * count));
    store_relaxed(&object->hash, wanted->key.hash);
    store_relaxed(&object->type, wanted->tag);
    store_relaxed(&object->size, wanted->type.size);
    store_relaxed(&object->count, count);
    store_relaxed(&object->data, (uint32_t)data);
    store_relaxed(&object->lengths,
                  length | wanted->type_length << 8 | (uint32_t)wanted->key.kind << 16);
    char *strings = (char *)(object + 1);
    memcpy(strings, wanted->key.name, length);
    memcpy(strings + length + 1, wanted->type.name, wanted->type_length);
    memcpy((char *)object + data - 8, &data, sizeof data);
}

/* A block, reserved by *word, with everything in it but the elements. */
static int prepare(struct participant *p, const struct wanted *wanted, size_t count,
                   uint64_t *block, uint64_t *data, shared_u64 **word)
{
    uint64_t bytes;
    int error = lay_out(p, wanted, count, data, &bytes);
    if (error != 0) {
        return error;
    }
    *word = reserve_place(p, &error);
    error = *word == NULL ? error : heap_alloc_into(p, bytes, *word, block);
    if (error == 0) {
        p->reservations++;
        fill_in(p, wanted, *block, *data, count);
    }
    return error;
}

/* The segment's from now on, or the transaction's: nobody finds it by a name. */
static int let_go(struct participant *p, uint64_t block, shared_u64 *word)
{
    uint64_t log;
    int error = tx_is_open(p) ? tx_block_position(p, &log) : 0;
    if (error != 0) {
        return error;
    }
    if (tx_is_open(p)) {
        HF_LOG_STORE(&p->slot->op_log, log + sizeof(struct log_trailer) + 1);
        pages_record(p->slot, OP_MOVE, block, (uint64_t)((char *)word - p->view->base), 0);
        (void)tx_add_block(p, LOG_ALLOCATED, block);
    }
    reserve_let_go(p->slot, word);
    return 0;
}

struct initialiser {
    hf_initialiser call;
    void *context;
};

/* The initialiser runs outside of the call: it may use the segment. */
static int initialise_outside(struct participant *p, const struct initialiser *how, void *elements,
                              size_t count)
{
    if (how->call == NULL) {
        return 0;
    }
    (void)call_end(p, 0);
    int error = how->call(elements, count, how->context);
    int again = call_begin(p);
    return error != 0 ? error : again;
}

static int construct(struct participant *p, const struct wanted *wanted, size_t count,
                     const struct initialiser *how, bool *taken, void **object)
{
    uint64_t block = 0;
    uint64_t data = 0;
    shared_u64 *word = NULL;
    int error = prepare(p, wanted, count, &block, &data, &word);
    if (error != 0) {
        return error;
    }
    void *elements = p->view->base + block + data;
    error = initialise_outside(p, how, elements, count);
    if (error == 0) {
        error = wanted->key.kind == HF_OBJECT_ANONYMOUS
                    ? let_go(p, block, word)
                    : names_insert(p, &wanted->key, block, word);
        *taken = error == -EEXIST;
    }
    if (error != 0) {
        (void)heap_free_any(p, block);
        return error;
    }
    p->reservations--;
    *object = elements;
    return 0;
}

/* *taken: the name is, and that is why it failed. An initialiser may give -EEXIST, too. */
static int construct_unless_taken(hf_segment *segment, const char *name,
                                  const struct wanted *wanted, size_t count,
                                  const struct initialiser *how, bool *taken, void **object)
{
    struct found found;
    struct participant *p;
    int error = enter(segment, &p);
    if (error != 0) {
        return error;
    }
    *taken = name != NULL && names_find(p->view, &wanted->key, &found) == 0;
    return call_end(p, *taken ? -EEXIST : construct(p, wanted, count, how, taken, object));
}

int hf_object_construct(hf_segment *segment, const char *name, hf_type type, size_t count,
                        hf_initialiser initialise, void *context, void **object)
{
    bool taken;
    struct wanted wanted;
    struct initialiser how = {initialise, context};
    int error = object == NULL ? -EINVAL : want(name, type, &wanted);
    return error != 0 ? error
                      : construct_unless_taken(segment, name, &wanted, count, &how, &taken, object);
}

int hf_object_find_or_construct(hf_segment *segment, const char *name, hf_type type, size_t count,
                                hf_initialiser initialise, void *context, bool *constructed,
                                void **object)
{
    bool unused;
    struct wanted wanted;
    struct initialiser how = {initialise, context};
    constructed = constructed != NULL ? constructed : &unused;
    *constructed = false;
    if (!is_segment(segment) || object == NULL || name == NULL) {
        return -EINVAL;
    }
    int error = want(name, type, &wanted);
    for (bool taken = error == 0; taken;) { /* as often as another destroys it in between */
        taken = false;
        error = find(segment->view, &wanted, object, NULL);
        if (error == -ENOENT) {
            error = construct_unless_taken(segment, name, &wanted, count, &how, &taken, object);
            *constructed = error == 0;
        }
    }
    return error;
}

int hf_object_reserve(hf_segment *segment, uint64_t names)
{
    struct participant *p;
    int error = enter(segment, &p);
    return error != 0 ? error : call_end(p, names_reserve(p, names));
}

/* ---- destroying -------------------------------------------------------------------------- */

int hf_object_destroy(hf_segment *segment, const char *name, hf_type type)
{
    struct wanted wanted;
    struct participant *p;
    int error = name == NULL ? -EINVAL : want(name, type, &wanted);
    error = error != 0 ? error : enter(segment, &p);
    return error != 0 ? error : call_end(p, names_remove(p, &wanted.key, wanted.tag, 0));
}

static int destroy_at(struct participant *p, const void *object)
{
    struct found found;
    int error = read_at(p->view, object, &found);
    if (error != 0) {
        return error;
    }
    if (found.kind == HF_OBJECT_ANONYMOUS) {
        return heap_free_any(p, found.block);
    }
    struct object *at = (struct object *)(void *)(p->view->base + found.block);
    const char *strings = (const char *)(at + 1);
    bool unique = found.kind == HF_OBJECT_UNIQUE;
    struct name_key key = {unique ? strings + found.name_length + 1 : strings,
                           unique ? found.type_length : found.name_length, found.kind,
                           load_relaxed(&at->hash)};
    error = names_remove(p, &key, found.type, found.block);
    return error == -ENOENT ? -EINVAL : error;
}

int hf_object_destroy_at(hf_segment *segment, void *object)
{
    struct participant *p;
    int error = object == NULL ? -EINVAL : enter(segment, &p);
    return error != 0 ? error : call_end(p, destroy_at(p, object));
}

/* ---- typed ------------------------------------------------------------------------------- */

struct value {
    const void *bytes;
    size_t size;
};

static int copy_value(void *elements, size_t count, void *context)
{
    const struct value *value = context;
    (void)count;
    memcpy(elements, value->bytes, value->size);
    return 0;
}

void *hf_object_construct_value(hf_segment *segment, const char *name, hf_type type,
                                const void *value)
{
    void *object;
    struct value from = {value, type.size};
    int error = value == NULL
                    ? -EINVAL
                    : hf_object_construct(segment, name, type, 1, copy_value, &from, &object);
    return error == 0 ? object : NULL;
}

void *hf_object_find_or_construct_value(hf_segment *segment, const char *name, hf_type type,
                                        const void *value)
{
    void *object;
    struct value from = {value, type.size};
    int error = value == NULL ? -EINVAL
                              : hf_object_find_or_construct(segment, name, type, 1, copy_value,
                                                            &from, NULL, &object);
    return error == 0 ? object : NULL;
}

void *hf_object_find_value(hf_segment *segment, const char *name, hf_type type)
{
    void *object;
    return hf_object_find(segment, name, type, &object, NULL) == 0 ? object : NULL;
}
