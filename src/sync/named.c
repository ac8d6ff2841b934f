/* SPDX-License-Identifier: MIT */
/*
 * Named locks: a segment under the name, with a tag and the object as its root.
 *
 * What a process has open is a list from the object's address to the segment's handle, counted. The
 * process lock guards it; it is never held while a segment is opened or closed.
 */
#include <errno.h>

#include "base/atomic.h"
#include "holdfast/named.h"
#include "holdfast/segment.h"
#include "segment/handle.h"
#include "sync/named_layout.h"

/* Room for the slots of 4095 threads; only address space until they come. */
#define NAMED_SIZE    UINT64_C(20480)
#define NAMED_MAXIMUM (UINT64_C(8) << 20)

struct opened {
    struct opened *next;
    void *object;
    hf_segment *segment;
    unsigned count;
};

static struct opened *opened_first;

/* ---- what each type needs ---------------------------------------------------------------- */

static bool has_no_options(const hf_sync_options *options)
{
    return options->count == 0 && !options->undo;
}

/* For what is ready when it is all zero. */
static int make_of_zeros(void *object, const hf_sync_options *options)
{
    (void)object;
    return has_no_options(options) ? 0 : -EINVAL;
}

static int make_semaphore(void *object, const hf_sync_options *options)
{
    return hf_semaphore_init(object, options->count, options->undo ? HF_SEMAPHORE_UNDO : 0);
}

static int make_barrier(void *object, const hf_sync_options *options)
{
    return options->undo ? -EINVAL : hf_barrier_init(object, options->count);
}

static int make_latch(void *object, const hf_sync_options *options)
{
    return options->undo ? -EINVAL : hf_latch_init(object, options->count);
}

/* Makes the object in memory that is all zero. Those that need more than zeros have a function of
   their own. */
static int (*const makers[])(void *object, const hf_sync_options *options) = {
    [HF_NAMED_MUTEX] = make_of_zeros,      [HF_NAMED_RWLOCK] = make_of_zeros,
    [HF_NAMED_SEMAPHORE] = make_semaphore, [HF_NAMED_RECURSIVE_MUTEX] = make_of_zeros,
    [HF_NAMED_CONDITION] = make_of_zeros,  [HF_NAMED_BARRIER] = make_barrier,
    [HF_NAMED_LATCH] = make_latch,         [HF_NAMED_ONCE] = make_of_zeros,
    [HF_NAMED_EVENT] = make_of_zeros,
};

static int check_kind(hf_named_kind kind)
{
    unsigned number = (unsigned)kind;
    bool known = number != 0 && number < sizeof makers / sizeof makers[0];
    return known ? 0 : -EINVAL;
}

/* ---- what this process has open ---------------------------------------------------------- */

/* Under the process lock: where the list says so; *at is NULL if it does not. */
static struct opened **find_opened(const void *object)
{
    struct opened **at = &opened_first;
    while (*at != NULL && (*at)->object != object) {
        at = &(*at)->next;
    }
    return at;
}

/* Room for an entry, taken before anything is done that could not be undone. */
static int make_entry(struct opened **entry)
{
    *entry = os_alloc(sizeof **entry);
    return *entry == NULL ? -ENOMEM : 0;
}

/* Notes one more opening. What it does not need of the two it ends. */
static int note_opened(struct opened *entry, void *object, hf_segment *segment)
{
    int error = process_lock();
    if (error == 0) {
        struct opened *there = *find_opened(object);
        if (there == NULL) {
            *entry = (struct opened){opened_first, object, segment, 1};
            opened_first = entry;
            entry = NULL;
            segment = NULL;
        } else {
            there->count++;
        }
        process_unlock();
    }
    hf_segment_close(segment);
    os_free(entry);
    return error;
}

int hf_named_close(void *object)
{
    hf_segment *last = NULL;
    int error = process_lock();
    if (error != 0) {
        return error;
    }
    struct opened **at = find_opened(object);
    struct opened *entry = *at;
    if (entry == NULL) {
        process_unlock();
        return -EINVAL;
    }
    if (--entry->count == 0) {
        last = entry->segment;
        *at = entry->next;
    } else {
        entry = NULL;
    }
    process_unlock();
    hf_segment_close(last);
    os_free(entry);
    return 0;
}

/* ---- creating ---------------------------------------------------------------------------- */

static hf_segment_options segment_options(const hf_sync_options *options)
{
    return (hf_segment_options){.maximum = NAMED_MAXIMUM,
                                .mode = options->mode,
                                .group = options->group,
                                .set_group = options->set_group};
}

/* In a segment that nobody else sees yet. */
static int make_object(hf_segment *segment, hf_named_kind kind, const hf_sync_options *options,
                       void **object)
{
    void *root;
    int error = hf_segment_root(segment, sizeof(struct named), &root);
    if (error != 0) {
        return error;
    }
    struct named *named = root;
    error = makers[kind](named->object, options);
    if (error == 0) {
        named->magic = NAMED_MAGIC;
        named->kind = (uint32_t)kind;
        *object = named->object;
    }
    return error;
}

static int create(hf_named_kind kind, const char *name, const hf_sync_options *options,
                  void **object)
{
    static const hf_sync_options none;
    const hf_sync_options *wanted = options != NULL ? options : &none;
    hf_segment_options of_segment = segment_options(wanted);
    hf_segment *segment = NULL;
    struct opened *entry;
    int error = make_entry(&entry);
    if (error == 0) {
        error = hf_segment_prepare(NAMED_SIZE, &of_segment, &segment);
    }
    if (error == 0) {
        error = make_object(segment, kind, wanted, object);
    }
    if (error == 0) {
        error = hf_segment_publish(segment, name);
    }
    if (error != 0) {
        hf_segment_close(segment);
        os_free(entry);
        return error;
    }
    return note_opened(entry, *object, segment);
}

int hf_named_create(hf_named_kind kind, const char *name, const hf_sync_options *options,
                    void **object)
{
    int error = object == NULL ? -EINVAL : check_kind(kind);
    return error != 0 ? error : create(kind, name, options, object);
}

/* ---- opening ----------------------------------------------------------------------------- */

/* hf_segment_root would make one in a segment that is somebody else's. */
static int find_object(hf_segment *segment, hf_named_kind kind, void **object)
{
    void *root;
    if (load_acquire(&header_of(segment->view)->root) == 0 || /* partner: pages_make_root */
        hf_segment_root(segment, sizeof(struct named), &root) != 0) {
        return -EBADMSG;
    }
    struct named *named = root;
    if (named->magic != NAMED_MAGIC || named->kind != (uint32_t)kind) {
        return -EBADMSG;
    }
    *object = named->object;
    return 0;
}

static int open_existing(hf_named_kind kind, const char *name, void **object)
{
    hf_segment *segment = NULL;
    struct opened *entry;
    int error = make_entry(&entry);
    if (error == 0) {
        error = hf_segment_open(name, HF_READ_WRITE, &segment);
    }
    if (error == 0) {
        error = find_object(segment, kind, object);
    }
    if (error != 0) {
        hf_segment_close(segment);
        os_free(entry);
        return error;
    }
    return note_opened(entry, *object, segment);
}

int hf_named_open(hf_named_kind kind, const char *name, void **object)
{
    int error = object == NULL ? -EINVAL : check_kind(kind);
    return error != 0 ? error : open_existing(kind, name, object);
}

int hf_named_open_or_create(hf_named_kind kind, const char *name, const hf_sync_options *options,
                            bool *created, void **object)
{
    int error = object == NULL ? -EINVAL : check_kind(kind);
    bool made = false;
    /* Each turn lost means that another process created or removed the name in between. */
    while (error == 0) {
        error = open_existing(kind, name, object);
        if (error != -ENOENT) {
            break;
        }
        error = create(kind, name, options, object);
        if (error != -EEXIST) {
            made = error == 0;
            break;
        }
        error = 0;
    }
    if (error == 0 && created != NULL) {
        *created = made;
    }
    return error;
}

int hf_named_remove(hf_named_kind kind, const char *name)
{
    void *object;
    int error = hf_named_open(kind, name, &object);
    if (error != 0) {
        return error;
    }
    error = hf_segment_remove(name);
    (void)hf_named_close(object);
    return error;
}
