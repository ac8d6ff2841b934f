/* SPDX-License-Identifier: MIT */
/*
 * Sequences of calls against a model: one thread, two segments, and between any two calls it may
 * die: the bytes are copied, the life word in the copy is marked as the kernel marks it, and the
 * work goes on with the copy. Every return code and every content is what the model says, and at
 * the end an exact census.
 *
 *     input   two bytes: the kinds of the segments; then three for each call: which one and on
 *             which segment, and two arguments
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fuzz/model.h"
#include "fuzz/world.h"
#include "holdfast/check.h"
#include "holdfast/heap.h"
#include "holdfast/mutex.h"
#include "holdfast/region.h"
#include "holdfast/tx.h"
#include "os/os.h"
#include "segment/check.h"
#include "segment/handle.h"

#define KIB       (UINT64_C(1) << 10)
#define SEGMENTS  2u
#define CALLS_MAX 100u

struct root {
    hf_mutex mutex[MODEL_MUTEXES];
    hf_off link[MODEL_LINKS];
    hf_off block[MODEL_BLOCKS];
    uint8_t data[MODEL_DATA];
};

enum kind { KIND_GROWING, KIND_FIXED, KIND_TIGHT, KIND_BUFFER, KINDS };

struct table {
    enum kind kind;
    unsigned index;  /* among the tables */
    unsigned deaths; /* says which of its two buffers it lies in */
    hf_segment *segment;
    struct root *root;
    hf_participant self; /* 0: not asked yet */
    struct model model;
};

/* The numbers of the call that is made, for who reads a failure. */
static unsigned call_number;

static void expect(int result, int expected, const char *call)
{
    if (result != expected) {
        world_fail("call %u: %s gives %d (%s), the model says %d (%s)", call_number, call, result,
                   hf_strerror(result), expected, hf_strerror(expected));
    }
}

static void require(bool good, const char *what)
{
    if (!good) {
        world_fail("call %u: %s", call_number, what);
    }
}

/* ---- opening ----------------------------------------------------------------------------- */

static const struct {
    uint64_t size;
    uint64_t maximum;
} sizes[KINDS] = {[KIND_GROWING] = {32 * KIB, 256 * KIB},
                  [KIND_FIXED] = {128 * KIB, 128 * KIB},
                  [KIND_TIGHT] = {20 * KIB, 28 * KIB},
                  [KIND_BUFFER] = {64 * KIB, 64 * KIB}};

/* Each segment in a buffer has two: with each death it moves to the other. */
static char *buffer_of(const struct table *table)
{
    static char *buffers[SEGMENTS][2];
    char **buffer = &buffers[table->index][table->deaths % 2];
    if (*buffer == NULL) {
        *buffer = world_buffer(sizes[KIND_BUFFER].size);
    }
    return *buffer;
}

static void find_root(struct table *table)
{
    void *root;
    expect(hf_segment_root(table->segment, sizeof(struct root), &root), 0, "root");
    table->root = root;
}

static void open_table(struct table *table, enum kind kind, unsigned index)
{
    hf_segment_options options = {.maximum = sizes[kind].maximum};
    *table = (struct table){.kind = kind, .index = index};
    int error = kind == KIND_BUFFER
                    ? hf_segment_init(buffer_of(table), sizes[kind].size, &table->segment)
                    : hf_segment_create_anonymous(sizes[kind].size, &options, &table->segment);
    expect(error, 0, "create");
    find_root(table);
    table->model.size = sizes[kind].size;
    table->model.maximum = sizes[kind].maximum;
    table->model.attached = true;
}

/* ---- looking ----------------------------------------------------------------------------- */

static void expect_pages(const struct table *table, unsigned link)
{
    uint64_t pages = table->model.pages[link];
    uint64_t offset = table->root->link[link].value;
    require((offset != 0) == (pages != 0), "a link is not what the model says");
    const char *at = hf_segment_at(table->segment, (hf_off){offset});
    for (uint64_t i = 0; i < pages * SEGMENT_PAGE; i += SEGMENT_PAGE - 1) {
        require((uint8_t)at[i] == table->model.tag[link], "what lies in pages has changed");
    }
}

static void expect_block(const struct table *table, unsigned place)
{
    const struct model_block *block = &table->model.block[place];
    require(table->root->block[place].value == model_link(&table->model, place),
            "the link of a block is not what the model says");
    const uint8_t *at = hf_segment_at(table->segment, (hf_off){block->offset});
    if (block->usable == 0) {
        return;
    }
    require(hf_usable_size(table->segment, at) == block->usable, "a block has another size");
    for (uint32_t i = 0; i < block->size; i += i + 64 < block->size ? 61 : 1) {
        require(at[i] == block->tag, "what lies in a block has changed");
    }
}

/* Exact, whatever is open. */
static void expect_heap(const struct table *table)
{
    hf_check_report report;
    hf_heap_info info;
    uint64_t bytes;
    uint64_t blocks = model_blocks(&table->model, &bytes);
    int error = hf_check(table->segment, &report);
    if (error != 0 || report.blocks != blocks || report.bytes != bytes ||
        report.pages_linked != model_linked(&table->model)) {
        world_fail("call %u: check: %d, %s; %llu blocks of %llu bytes, not %llu of %llu",
                   call_number, error, report.what, (unsigned long long)report.blocks,
                   (unsigned long long)report.bytes, (unsigned long long)blocks,
                   (unsigned long long)bytes);
    }
    expect(hf_heap_get_info(table->segment, &info), 0, "heap_get_info");
    require(info.blocks == blocks && info.used == bytes, "the heap is miscounted");
}

static void expect_contents(struct table *table)
{
    hf_segment_info info;
    const struct model *model = &table->model;
    require(memcmp(table->root->data, model->data, MODEL_DATA) == 0,
            "the data is not what the model says");
    for (unsigned i = 0; i < MODEL_LINKS; i++) {
        expect_pages(table, i);
    }
    for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
        expect_block(table, i);
    }
    expect_heap(table);
    expect(hf_segment_get_info(table->segment, &info), 0, "get_info");
    require(info.size == model->size && info.maximum == model->maximum, "the size is wrong");
    require(info.participants == (model->attached ? 1 : 0), "participants are miscounted");
    require(info.dead == 0, "someone is dead");
}

/* With nothing under way: each page is somebody's, each slot idle. */
static void expect_census(struct table *table)
{
    char what[SEGMENT_CHECK_TEXT];
    const struct model *model = &table->model;
    int error =
        segment_check(table->segment->view, model_linked(model), model->attached ? 1 : 0, what);
    if (error != 0) {
        world_fail("call %u: census: %s", call_number, what);
    }
}

/* ---- calls ------------------------------------------------------------------------------- */

/* Pages are not to be had only if growing cannot bring them. */
static bool may_fail(const struct table *table, uint64_t pages)
{
    return pages > (table->model.maximum - table->model.size) / SEGMENT_PAGE;
}

/* What growing has done on the way. */
static void learn_size(struct table *table)
{
    hf_segment_info info;
    expect(hf_segment_get_info(table->segment, &info), 0, "get_info");
    require(info.size >= table->model.size && info.size <= table->model.maximum,
            "the segment has shrunk, or outgrown its maximum");
    table->model.size = info.size;
}

static void do_lock(struct table *table, uint8_t a, uint8_t b)
{
    hf_mutex *mutex = &table->root->mutex[a % MODEL_MUTEXES];
    int expected = model_lock(&table->model, a % MODEL_MUTEXES);
    int result = b % 3 == 0   ? hf_mutex_trylock(mutex)
                 : b % 3 == 1 ? hf_mutex_lock(mutex)
                              : hf_mutex_timedlock(mutex, b);
    expect(result, expected, "lock");
}

static void do_unlock(struct table *table, uint8_t a, uint8_t b)
{
    (void)b;
    expect(hf_mutex_unlock(&table->root->mutex[a % MODEL_MUTEXES]),
           model_unlock(&table->model, a % MODEL_MUTEXES), "unlock");
}

static void do_consistent(struct table *table, uint8_t a, uint8_t b)
{
    (void)b;
    expect(hf_mutex_consistent(&table->root->mutex[a % MODEL_MUTEXES]),
           model_consistent(&table->model, a % MODEL_MUTEXES), "consistent");
}

static void do_init_or_fini(struct table *table, uint8_t a, uint8_t b)
{
    unsigned i = a % MODEL_MUTEXES;
    if (b % 2 == 0) {
        expect(hf_mutex_fini(&table->root->mutex[i]), model_fini(&table->model, i), "fini");
    } else if (!table->model.mutex[i].held) { /* "nobody may be using it" */
        expect(hf_mutex_init(&table->root->mutex[i]), 0, "init");
        model_init(&table->model, i);
    }
}

static void do_begin(struct table *table, uint8_t a, uint8_t b)
{
    (void)a, (void)b;
    if (table->model.depth < 10) {
        expect(hf_tx_begin(table->segment), model_begin(&table->model), "begin");
    }
}

/* How many pages of log there may have to be for that. */
static uint64_t log_pages(const struct model *model, uint64_t more)
{
    uint64_t bytes = model->log + more + 256;
    return bytes <= LOG_INLINE ? 0 : 2 * (bytes / SEGMENT_PAGE + 1);
}

/* Adds a range, and writes over all of it. */
static void do_add(struct table *table, uint8_t a, uint8_t b)
{
    struct model *model = &table->model;
    uint32_t offset = a * 8u;
    uint32_t length = b < 128 ? b : (uint32_t)(b - 120) * 16u;
    length = offset + length > MODEL_DATA ? MODEL_DATA - offset : length;
    if (model->save_count == MODEL_SAVES || model->saved_bytes + length > MODEL_SAVED) {
        return;
    }
    int expected = model_add(model, length);
    int result = hf_tx_add(table->segment, table->root->data + offset, length);
    if (result == -ENOMEM && expected == 0 && length > 0) {
        uint64_t pages = log_pages(model, length);
        require(pages > 0 && may_fail(table, pages), "no room for a log where there is room");
        learn_size(table);
        return;
    }
    expect(result, expected, "add");
    if (result == 0) {
        model_save(model, offset, length);
        memset(model->data + offset, a ^ b, length);
        memset(table->root->data + offset, a ^ b, length);
        learn_size(table);
    }
}

/* Outside of transactions, or without telling them. */
static void do_write(struct table *table, uint8_t a, uint8_t b)
{
    table->model.data[a * 8u] = b;
    table->root->data[a * 8u] = b;
}

static void do_reserve(struct table *table, uint8_t a, uint8_t b)
{
    uint64_t bytes = a * UINT64_C(16) + b;
    int expected = model_add(&table->model, 1);
    int result = hf_tx_reserve(table->segment, bytes);
    if (result == -ENOMEM && expected == 0) {
        require(may_fail(table, log_pages(&table->model, bytes)), "no room for a reserve");
    } else {
        expect(result, expected, "reserve");
    }
    learn_size(table);
}

static void do_commit(struct table *table, uint8_t a, uint8_t b)
{
    (void)a, (void)b;
    expect(hf_tx_commit(table->segment), model_commit(&table->model), "commit");
}

static void do_abort(struct table *table, uint8_t a, uint8_t b)
{
    (void)a, (void)b;
    expect(hf_tx_abort(table->segment), model_abort(&table->model), "abort");
}

static void do_alloc(struct table *table, uint8_t a, uint8_t b)
{
    struct model *model = &table->model;
    unsigned i = a % MODEL_LINKS;
    uint64_t bytes = b == 255 ? SEGMENT_SIZE_MAX + 1 : b * UINT64_C(200);
    uint64_t pages = round_up(bytes, SEGMENT_PAGE) / SEGMENT_PAGE;
    int result = hf_pages_alloc(table->segment, bytes, &table->root->link[i]);
    learn_size(table);
    if (model->depth > 0) {
        expect(result, -EBUSY, "alloc inside a transaction");
    } else if (b == 255) {
        expect(result, -ENOMEM, "alloc of more than there can be");
    } else if (bytes == 0 || model->pages[i] != 0) {
        expect(result, -EINVAL, "alloc");
    } else if (result == -ENOMEM) {
        require(may_fail(table, pages), "no room where there is room");
    } else {
        expect(result, 0, "alloc");
        model->pages[i] = pages;
        model->tag[i] = (uint8_t)(a ^ b);
        void *at = hf_segment_at(table->segment, table->root->link[i]);
        require(at != NULL, "pages outside of the segment");
        memset(at, a ^ b, pages * SEGMENT_PAGE);
    }
}

static void do_free(struct table *table, uint8_t a, uint8_t b)
{
    struct model *model = &table->model;
    unsigned i = a % MODEL_LINKS;
    uint64_t bytes = b == 255 ? 0 : max_u64(model->pages[i], 1) * SEGMENT_PAGE - b % 200;
    int expected = model->depth > 0 ? -EBUSY : bytes == 0 || model->pages[i] == 0 ? -EINVAL : 0;
    expect(hf_pages_free(table->segment, bytes, &table->root->link[i]), expected, "free");
    if (expected == 0) {
        model->pages[i] = 0;
    }
}

static void do_grow(struct table *table, uint8_t a, uint8_t b)
{
    struct model *model = &table->model;
    uint64_t size = a == 255 ? UINT64_MAX - b : a * UINT64_C(1500) + b;
    uint64_t whole = a == 255 ? UINT64_MAX : round_up(size, SEGMENT_PAGE);
    expect(hf_segment_grow(table->segment, size), whole > model->maximum ? -ENOMEM : 0, "grow");
    if (whole <= model->maximum) {
        model->size = max_u64(model->size, whole);
    }
}

static void do_trim(struct table *table, uint8_t a, uint8_t b)
{
    uint64_t bytes;
    (void)a, (void)b;
    expect(hf_segment_trim(table->segment, &bytes), 0, "trim");
    require(bytes % SEGMENT_PAGE == 0 && bytes <= table->model.size, "trimmed more than there is");
    expect(hf_segment_trim(table->segment, &bytes), 0, "trim");
    require(bytes == 0, "trimmed twice");
}

static void do_root(struct table *table, uint8_t a, uint8_t b)
{
    void *root = NULL;
    (void)b;
    bool too_large = a % 2 == 0;
    uint64_t size = too_large ? sizeof(struct root) + SEGMENT_PAGE : sizeof(struct root);
    expect(hf_segment_root(table->segment, size, &root), too_large ? -ERANGE : 0, "root");
    require(too_large || root == table->root, "the root has moved");
}

static void do_self(struct table *table, uint8_t a, uint8_t b)
{
    hf_participant self;
    bool lives;
    (void)a, (void)b;
    expect(hf_participant_self(table->segment, &self), 0, "self");
    require(table->self.value == 0 || self.value == table->self.value,
            "a participant has become another");
    expect(hf_participant_lives(table->segment, self, &lives), 0, "lives");
    require(lives, "we are not alive");
    expect(hf_thread_recover(table->segment), 0, "thread_recover");
    table->self = self;
}

/* Whoever it was is no more; asks without becoming someone. */
static void forget_self(struct table *table)
{
    bool lives = false;
    if (table->self.value != 0) {
        expect(hf_participant_lives(table->segment, table->self, &lives), 0, "lives");
        require(!lives, "who has gone is alive");
    }
    table->self.value = 0;
}

static void do_leave(struct table *table, uint8_t a, uint8_t b)
{
    (void)a, (void)b;
    expect(hf_thread_leave(table->segment), 0, "leave");
    model_end(&table->model);
    forget_self(table);
    expect_census(table);
}

/* ---- the heap ---------------------------------------------------------------------------- */

static size_t size_of(uint8_t b)
{
    return b < 100 ? b : b < 200 ? (b - 99u) * 90u : b < 255 ? (b - 199u) * 500u : SIZE_MAX;
}

/* With its span, its descriptor, the table of pages, and the log. */
static bool may_have_no_room(const struct table *table, size_t size)
{
    return may_fail(table, size / SEGMENT_PAGE + 16 + log_pages(&table->model, 256));
}

/* It was taken, or there was no room: true or false. */
static bool is_taken(struct table *table, int result, size_t size, const char *call)
{
    int expected = size == 0 ? -EINVAL : size == SIZE_MAX ? -ENOMEM : 0;
    learn_size(table);
    if (size != 0 && model_heap(&table->model) != 0) {
        expected = size == SIZE_MAX ? result : -ECANCELED; /* either is wrong */
        require(result != 0, "something was taken inside what is cancelled");
    }
    if (result == -ENOMEM && expected == 0) {
        require(may_have_no_room(table, size), "no room where there is room");
        return false;
    }
    expect(result, expected, call);
    return result == 0;
}

static void note_block(struct table *table, unsigned place, struct model_block block)
{
    uint8_t *at = hf_segment_at(table->segment, (hf_off){block.offset});
    require(at != NULL && block.offset % 16 == 0, "a block is outside of the segment");
    block.usable = hf_usable_size(table->segment, at);
    block.tag = (uint8_t)(place * 17 + call_number);
    require(block.usable >= block.size, "a block is too small");
    memset(at, block.tag, block.size);
    model_take(&table->model, place, &block);
}

static int take_in_some_way(hf_segment *segment, size_t size, unsigned way, void **at)
{
    switch (way % 4) {
    case 0:
        return hf_alloc_zeroed(segment, size, at);
    case 1:
        return hf_alloc_aligned(segment, (size_t)16 << (way / 4 % 9), size, at);
    case 2:
        return hf_alloc_many(segment, size, 1, at);
    default:
        return hf_alloc(segment, size, at);
    }
}

static void do_take(struct table *table, uint8_t a, uint8_t b)
{
    unsigned place = a % MODEL_BLOCKS;
    size_t size = size_of(b);
    void *at = NULL;
    if (table->model.block[place].usable != 0) {
        return;
    }
    int result = take_in_some_way(table->segment, size, a / MODEL_BLOCKS + b, &at);
    if (is_taken(table, result, size, "hf_alloc")) {
        note_block(table, place,
                   (struct model_block){.offset = hf_segment_offset(table->segment, at).value,
                                        .size = (uint32_t)size});
    }
}

static void do_take_into(struct table *table, uint8_t a, uint8_t b)
{
    unsigned place = a % MODEL_BLOCKS;
    size_t size = size_of(b);
    hf_off *link = &table->root->block[place];
    if (table->model.block[place].usable != 0 && link->value == 0) {
        return;
    }
    bool taken = link->value != 0;
    int result = hf_alloc_into(table->segment, size, link);
    if (taken) {
        expect(result, -EINVAL, "hf_alloc_into a link that is taken");
    } else if (is_taken(table, result, size, "hf_alloc_into")) {
        note_block(
            table, place,
            (struct model_block){.offset = link->value, .size = (uint32_t)size, .linked = true});
    }
}

static bool is_in_use(const struct model *model, uint64_t offset)
{
    bool in_use = false;
    for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
        in_use = in_use || (model->block[i].usable != 0 && model->block[i].offset == offset);
    }
    return in_use;
}

static void free_what_is_gone(struct table *table, unsigned place)
{
    uint64_t offset = table->model.block[place].offset;
    if (offset != 0 && !is_in_use(&table->model, offset)) {
        void *at = hf_segment_at(table->segment, (hf_off){offset});
        expect(hf_free(table->segment, at), -EINVAL, "hf_free, again");
    }
}

static void do_put(struct table *table, uint8_t a, uint8_t b)
{
    unsigned place = a % MODEL_BLOCKS;
    struct model *model = &table->model;
    struct model_block *block = &model->block[place];
    if (block->usable == 0) {
        free_what_is_gone(table, place);
        return;
    }
    if (block->freed) { /* it is in use still */
        return;
    }
    int expected = block->reserved ? 0 : model_heap(model);
    void *at = hf_segment_at(table->segment, (hf_off){block->offset});
    int result = block->linked ? hf_free_from(table->segment, &table->root->block[place])
                 : b % 2 == 0  ? hf_free(table->segment, at)
                               : hf_free_many(table->segment, &at, 1);
    if (result == -ENOMEM && expected == 0) {
        require(model->depth > 0 && may_have_no_room(table, 0), "no room for a log");
        learn_size(table);
        return;
    }
    learn_size(table);
    expect(result, expected, "hf_free");
    if (result == 0) {
        model_free(model, place);
    }
}

/* Outside of transactions: inside there would be two blocks. */
static void do_resize(struct table *table, uint8_t a, uint8_t b)
{
    struct model_block *block = &table->model.block[a % MODEL_BLOCKS];
    size_t size = size_of(b);
    void *at = hf_segment_at(table->segment, (hf_off){block->offset});
    void *was = at;
    if (block->usable == 0 || block->linked || table->model.depth > 0) {
        return;
    }
    int result = hf_realloc(table->segment, &at, size);
    if (block->reserved && size > 0 && size < SIZE_MAX) {
        expect(result, -EINVAL, "hf_realloc of what is reserved");
        return;
    }
    if (!is_taken(table, result, size, "hf_realloc")) {
        require(at == was, "a resize failed and moved");
        return;
    }
    block->offset = hf_segment_offset(table->segment, at).value;
    block->usable = hf_usable_size(table->segment, at);
    require(block->usable >= size, "a block is too small");
    uint32_t kept = (uint32_t)min_u64(size, block->size);
    memset((uint8_t *)at + kept, block->tag, size - kept);
    block->size = (uint32_t)size;
}

static void do_keep(struct table *table, uint8_t a, uint8_t b)
{
    unsigned place = a % MODEL_BLOCKS;
    size_t size = size_of(b);
    void *at;
    if (table->model.block[place].usable != 0) {
        return;
    }
    int result = hf_reserve(table->segment, size, &at);
    learn_size(table);
    if (result == -ENOMEM && size > 0) {
        require(size == SIZE_MAX || may_have_no_room(table, size), "no room for a reservation");
        return;
    }
    expect(result, size == 0 ? -EINVAL : 0, "hf_reserve");
    if (result == 0) {
        note_block(table, place,
                   (struct model_block){.offset = hf_segment_offset(table->segment, at).value,
                                        .size = (uint32_t)size,
                                        .reserved = true});
    }
}

static void do_publish(struct table *table, uint8_t a, uint8_t b)
{
    unsigned place = a % MODEL_BLOCKS;
    struct model_block *block = &table->model.block[place];
    bool linked = b % 3 > 0;
    void *at = hf_segment_at(table->segment, (hf_off){block->offset});
    int expected = block->usable == 0 || !block->reserved ? -EINVAL
                   : table->model.depth > 0               ? -EBUSY
                                                          : 0;
    if (block->usable == 0 && is_in_use(&table->model, block->offset)) {
        return;
    }
    expect(hf_publish(table->segment, at, linked ? &table->root->block[place] : NULL), expected,
           "hf_publish");
    if (expected == 0) {
        block->reserved = false;
        block->linked = linked;
    }
}

static void do_heap_trim(struct table *table, uint8_t a, uint8_t b)
{
    (void)a, (void)b;
    expect(hf_heap_trim(table->segment), 0, "hf_heap_trim");
}

/* ---- dying ------------------------------------------------------------------------------- */

/* What the kernel does when this thread dies. */
static void mark_dead(char *base)
{
    struct segment_header *header = (void *)base;
    for (uint32_t run = 0; run < SLOT_RUNS; run++) {
        uint64_t offset = load_relaxed(&header->slot_runs[run]);
        for (uint64_t i = 0; offset != 0 && i < slot_run_pages(run); i++) {
            struct slot_page *page = (void *)(base + offset + i * SEGMENT_PAGE);
            for (unsigned n = 0; n < SLOTS_PER_PAGE; n++) {
                uint32_t life = load_relaxed(&page->life[n]);
                if ((life & OS_LIFE_ID) == os_thread_id()) {
                    store_relaxed(&page->life[n], (life & OS_LIFE_WAITERS) | OS_LIFE_DIED);
                }
            }
        }
    }
}

static hf_segment *open_copy(struct table *table)
{
    static char bytes[256 * KIB];
    hf_segment *copy = NULL;
    hf_memory *memory;
    uint64_t size = table->model.size;
    memcpy(bytes, hf_segment_base(table->segment), size);
    mark_dead(bytes);
    table->deaths++;
    if (table->kind == KIND_BUFFER) {
        char *buffer = buffer_of(table);
        memcpy(buffer, bytes, size);
        expect(hf_segment_attach(buffer, size, &copy), 0, "attach");
        return copy;
    }
    hf_region *region;
    expect(hf_anonymous_create(size, NULL, &memory), 0, "a copy's memory");
    expect(hf_region_map(memory, NULL, &region), 0, "a copy's memory");
    memcpy(hf_region_address(region), bytes, size);
    hf_region_unmap(region);
    expect(hf_segment_open_memory(memory, HF_READ_WRITE, &copy), 0, "open");
    return copy;
}

/* Somebody meets the dead: at a lock that it held, or by looking. */
static void meet_the_dead(struct table *table, uint8_t a, bool was_attached, bool held)
{
    unsigned recovered;
    hf_segment_info info;
    expect(hf_segment_get_info(table->segment, &info), 0, "get_info");
    require(info.dead == (was_attached ? 1 : 0) && info.participants == 0,
            "the dead are miscounted");
    if (a < MODEL_MUTEXES && held) {
        do_lock(table, a, 0);
        was_attached = false;
    }
    table->model.attached = true;
    expect(hf_segment_recover(table->segment, &recovered), 0, "recover");
    require(recovered == (was_attached ? 1 : 0), "the recovered are miscounted");
}

static void do_die(struct table *table, uint8_t a, uint8_t b)
{
    (void)b;
    bool attached = table->model.attached;
    bool held = a < MODEL_MUTEXES && table->model.mutex[a].held;
    hf_segment *copy = open_copy(table);
    (void)hf_thread_leave(table->segment);
    hf_segment_close(table->segment);
    table->segment = copy;
    table->root = hf_segment_at(copy, (hf_off){load_relaxed(&header_of(copy->view)->root)});
    model_end(&table->model);
    meet_the_dead(table, a, attached, held);
    forget_self(table);
    find_root(table);
    if (model_idle(&table->model)) {
        expect_census(table);
    }
}

/* ---- one run ----------------------------------------------------------------------------- */

static const struct {
    void (*act)(struct table *table, uint8_t a, uint8_t b);
    bool attaches;
} calls[] = {
    {do_lock, true},       {do_lock, true},          {do_unlock, true},   {do_unlock, true},
    {do_consistent, true}, {do_init_or_fini, false}, {do_begin, false},   {do_begin, false},
    {do_add, true},        {do_add, true},           {do_write, false},   {do_reserve, true},
    {do_commit, true},     {do_commit, true},        {do_abort, true},    {do_alloc, true},
    {do_alloc, true},      {do_free, true},          {do_grow, true},     {do_trim, true},
    {do_root, false},      {do_self, true},          {do_leave, false},   {do_die, false},
    {do_die, false},       {do_take, false},         {do_take, false},    {do_take_into, false},
    {do_take_into, false}, {do_put, false},          {do_put, false},     {do_put, false},
    {do_resize, false},    {do_keep, false},         {do_publish, false}, {do_heap_trim, true},
};
#define CALLS (sizeof calls / sizeof calls[0])

/* Which of the calls have been made is seen in whether it is attached. */
static void learn_attached(struct table *table)
{
    table->model.attached = participant_mine(table->segment->view->base) != NULL;
}

static void call(struct table *tables, uint8_t which, uint8_t a, uint8_t b)
{
    struct table *table = &tables[which >> 7];
    size_t i = (which & 0x7f) % CALLS;
    call_number++;
    world_sleeper(table->segment);
    calls[i].act(table, a, b);
    if (calls[i].attaches) {
        require(participant_mine(table->segment->view->base) != NULL, "a call took no slot");
    }
    learn_attached(table);
    expect_contents(table);
    if (model_idle(&table->model)) {
        expect_census(table);
    }
}

/* Each lock as the model says, then nothing is left but what is linked. */
static void close_table(struct table *table)
{
    call_number++;
    world_sleeper(table->segment);
    do_leave(table, 0, 0);
    expect_contents(table);
    for (uint8_t i = 0; i < MODEL_MUTEXES; i++) {
        do_lock(table, i, 0);
        do_unlock(table, i, 0);
    }
    learn_attached(table);
    expect_census(table);
    for (uint8_t i = 0; i < MODEL_LINKS; i++) {
        do_free(table, i, 0);
    }
    for (uint8_t i = 0; i < MODEL_BLOCKS; i++) {
        do_put(table, i, 0);
    }
    expect(hf_heap_trim(table->segment), 0, "hf_heap_trim");
    learn_attached(table);
    expect_contents(table);
    expect_census(table);
    hf_heap_info info;
    expect(hf_heap_get_info(table->segment, &info), 0, "heap_get_info");
    require(info.blocks == 0 && info.held == 0, "the heap keeps pages with nothing in them");
    world_sleeper(NULL);
    hf_segment_close(table->segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct table tables[SEGMENTS];
    struct input input = {data, size};
    world_begin();
    call_number = 0;
    for (unsigned i = 0; i < SEGMENTS; i++) {
        open_table(&tables[i], take_byte(&input) % KINDS, i);
    }
    for (unsigned i = 0; i < CALLS_MAX && input.left > 0; i++) {
        uint8_t which = take_byte(&input);
        uint8_t a = take_byte(&input);
        call(tables, which, a, take_byte(&input));
    }
    for (unsigned i = 0; i < SEGMENTS; i++) {
        close_table(&tables[i]);
    }
    world_end();
    return 0;
}
