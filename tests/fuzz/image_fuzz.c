/* SPDX-License-Identifier: MIT */
/*
 * Hostile segments: a good image, a few words of it changed, and then everything that one does with
 * a segment, while a hostile peer goes on changing it. All errors are fine. A crash, a hang, an
 * access outside the segment, a write past its end, or something left behind is not.
 *
 *     input   kind of image, way of opening, how many changes (0 to 15), the changes,
 *             then actions to the end; none: all of them once
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/image.h"
#include "holdfast/heap.h"
#include "holdfast/pipe.h"
#include "holdfast/tx.h"
#include "segment/check.h"
#include "segment/handle.h"

/* Actions in one run: more finds nothing that fewer do not. */
#define ACTIONS_MAX 64u

/* Runs of pages taken, and growths: a maximum of a gigabyte is not to be used up. */
#define GROWTHS_MAX 5u

/* Of the heap, that are remembered. */
#define BLOCKS 8u

enum way { WAY_BUFFER, WAY_MEMORY, WAY_READ_ONLY, WAY_COPY, WAYS };

struct run {
    const struct image *image;
    struct input input;
    enum way way;
    hf_memory *memory; /* until the segment has it */
    hf_segment *segment;
    struct stage *stage; /* NULL: there is no root */
    hf_pipe *pipe[2];
    void *block[BLOCKS];
    unsigned growths;
};

static void deep_check(hf_segment *segment, uint64_t linked)
{
    char what[SEGMENT_CHECK_TEXT];
    hf_check_report report;
    (void)segment_check(segment->view, linked, 1, what);
    if (hf_check(segment, &report) == -EBADMSG && report.what[0] == 0) {
        world_fail("damage without a word");
    }
}

/* ---- opening ----------------------------------------------------------------------------- */

#define BUFFER_SIZE (UINT64_C(256) << 10)
#define CANARY_SIZE SEGMENT_PAGE

static char *buffer_of(const struct image *image)
{
    static char *buffer;
    if (buffer == NULL) {
        buffer = world_buffer(BUFFER_SIZE);
    }
    /* Its end is the segment's: behind it is what nobody can touch. */
    return buffer + BUFFER_SIZE - image->maximum;
}

/* The image in an object; behind a maximum that is reached, a page that must stay as it is. */
static void fill_memory(struct run *run, const char *bytes)
{
    const struct image *image = run->image;
    static const char canary[CANARY_SIZE] = "canary";
    bool full = image->size == image->maximum;
    hf_memory_options sparse = {.sparse = true};
    if (hf_anonymous_create(image->size + (full ? CANARY_SIZE : 0), &sparse, &run->memory) != 0) {
        world_fail("no memory object");
    }
    int fd = hf_memory_descriptor(run->memory);
    if (pwrite(fd, bytes, image->size, 0) != (ssize_t)image->size ||
        (full && pwrite(fd, canary, CANARY_SIZE, (off_t)image->size) != (ssize_t)CANARY_SIZE)) {
        world_fail("no memory for an object");
    }
}

/* Changed before anyone looks. */
static void open_changed(struct run *run, const char *bytes)
{
    static const hf_access accesses[WAYS] = {[WAY_MEMORY] = HF_READ_WRITE,
                                             [WAY_READ_ONLY] = HF_READ_ONLY,
                                             [WAY_COPY] = HF_COPY_ON_WRITE};
    if (run->way == WAY_BUFFER) {
        char *buffer = buffer_of(run->image);
        memset(buffer, 0, run->image->maximum);
        memcpy(buffer, bytes, run->image->size);
        int error = hf_segment_attach(buffer, run->image->maximum, &run->segment);
        if (error == -EBUSY) {
            world_fail("the last run has left its view behind");
        }
        return;
    }
    fill_memory(run, bytes);
    (void)hf_segment_open_memory(run->memory, accesses[run->way], &run->segment);
}

static void open_run(struct run *run)
{
    static char bytes[BUFFER_SIZE];
    memcpy(bytes, run->image->bytes, run->image->size);
    for (unsigned changes = take_byte(&run->input) % 16; changes > 0; changes--) {
        image_mutate(run->image, bytes, &run->input);
    }
    open_changed(run, bytes);
}

/* ---- actions ----------------------------------------------------------------------------- */

static void *find_root(struct run *run)
{
    void *root = NULL;
    if (run->stage == NULL && hf_segment_root(run->segment, sizeof(struct stage), &root) == 0) {
        run->stage = root;
    }
    return run->stage;
}

static void look(struct run *run, uint8_t n)
{
    hf_segment_info info;
    (void)hf_segment_get_info(run->segment, &info);
    char *at = hf_segment_at(run->segment, (hf_off){run->image->size - 1 - n % 2});
    if (at != NULL) {
        (void)hf_segment_offset(run->segment, at);
        (void)*(volatile char *)at;
    }
    if (hf_segment_at(run->segment, (hf_off){UINT64_MAX - n}) != NULL) {
        world_fail("an offset beyond everything has an address");
    }
    bool lives;
    (void)hf_participant_lives(run->segment, (hf_participant){n | UINT64_C(7) << 12}, &lives);
}

static void do_root(struct run *run, uint8_t n)
{
    void *root = NULL;
    (void)hf_segment_root(run->segment, n * UINT64_C(100), &root);
    (void)find_root(run);
}

static void do_mutex(struct run *run, uint8_t n)
{
    hf_mutex *mutex = &run->stage->mutex[n % STAGE_MUTEXES];
    switch (n / STAGE_MUTEXES % 8) {
    case 0:
    case 1:
        (void)hf_mutex_trylock(mutex);
        break;
    case 2:
        (void)hf_mutex_timedlock(mutex, SHORT_NS);
        break;
    case 3:
    case 4:
        (void)hf_mutex_unlock(mutex);
        break;
    case 5:
        (void)hf_mutex_consistent(mutex);
        break;
    case 6:
        (void)hf_mutex_init(mutex);
        break;
    default:
        (void)hf_mutex_fini(mutex);
        break;
    }
}

/* For ever: the world lets go of what the living hold, and nothing else may keep it up. */
static void do_lock(struct run *run, uint8_t n)
{
    (void)hf_mutex_lock(&run->stage->mutex[n % STAGE_MUTEXES]);
}

static void do_tx(struct run *run, uint8_t n)
{
    switch (n % 8) {
    case 0:
    case 1:
        (void)hf_tx_begin(run->segment);
        break;
    case 2:
    case 3:
        if (hf_tx_add(run->segment, run->stage->value, n) == 0) {
            memset(run->stage->value, n, n);
        }
        break;
    case 4:
        (void)hf_tx_add(run->segment, run->stage->big + n, sizeof run->stage->big - n);
        break;
    case 5:
        (void)hf_tx_commit(run->segment);
        break;
    case 6:
        (void)hf_tx_abort(run->segment);
        break;
    default:
        (void)hf_tx_reserve(run->segment, n * UINT64_C(200));
        break;
    }
}

static void do_alloc(struct run *run, uint8_t n)
{
    hf_off *link = &run->stage->link[n % STAGE_LINKS];
    uint64_t bytes = 1 + n / STAGE_LINKS % 4 * SEGMENT_PAGE;
    if (run->growths < GROWTHS_MAX && hf_pages_alloc(run->segment, bytes, link) == 0) {
        char *at = hf_segment_at(run->segment, *link);
        run->growths++;
        if (at != NULL && hf_segment_at(run->segment, (hf_off){link->value + bytes - 1}) != NULL) {
            memset(at, 0x33, bytes);
        }
    }
}

static void do_free(struct run *run, uint8_t n)
{
    hf_off *link = &run->stage->link[n % STAGE_LINKS];
    (void)hf_pages_free(run->segment, 1 + n / STAGE_LINKS % 4 * SEGMENT_PAGE, link);
}

/* ---- the heap: what it gives can be written, whatever lies beneath ------------------------ */

static size_t size_of(uint8_t n)
{
    return n < 128 ? n * (size_t)8 : n < 240 ? (n - 127) * (size_t)80 : (n - 239) * (size_t)5000;
}

/* A block of that size, if it is one in the segment. */
static void fill(struct run *run, void *block, size_t size)
{
    uint64_t offset = (uint64_t)((char *)block - (char *)hf_segment_base(run->segment));
    if (block == NULL || !view_holds(run->segment->view, offset, size)) {
        world_fail("the heap gives a block outside of the segment");
    }
    memset(block, 0x44, size);
}

static void do_take(struct run *run, uint8_t n)
{
    void **block = &run->block[n % BLOCKS];
    size_t size = size_of((uint8_t)(n * 31 + run->growths));
    void *got = NULL;
    int error = n % 5 == 0   ? hf_alloc_zeroed(run->segment, size, &got)
                : n % 5 == 1 ? hf_alloc_aligned(run->segment, 64, size, &got)
                : n % 5 == 2 ? hf_reserve(run->segment, size, &got)
                             : hf_alloc(run->segment, size, &got);
    if (error == 0) {
        fill(run, got, size);
        *block = got;
    }
}

static void do_put(struct run *run, uint8_t n)
{
    void **block = &run->block[n % BLOCKS];
    (void)hf_usable_size(run->segment, *block);
    (void)hf_free(run->segment, *block);
    char *base = hf_segment_base(run->segment);
    (void)hf_free(run->segment, base + n * UINT64_C(4096));
    (void)hf_usable_size(run->segment, base + n * UINT64_C(8192));
}

static void do_resize(struct run *run, uint8_t n)
{
    void **block = &run->block[n % BLOCKS];
    size_t size = size_of((uint8_t)(n * 7));
    if (hf_realloc(run->segment, block, size) == 0) {
        size_t usable = hf_usable_size(run->segment, *block);
        fill(run, *block, size < usable ? size : usable);
    }
}

static void do_heap(struct run *run, uint8_t n)
{
    hf_heap_info info;
    hf_participant who = {n % 8 | UINT64_C(7) << 12};
    (void)hf_heap_get_info(run->segment, &info);
    (void)hf_heap_get_info_of(run->segment, who, &info);
    if (n % 3 == 0) {
        (void)hf_heap_trim(run->segment);
    }
}

static void do_link(struct run *run, uint8_t n)
{
    hf_off *link = &run->stage->link[n % STAGE_LINKS];
    switch (n / STAGE_LINKS % 4) {
    case 0:
    case 1:
        (void)hf_alloc_into(run->segment, size_of(n), link);
        break;
    case 2:
        (void)hf_free_from(run->segment, link);
        break;
    default:
        (void)hf_publish(run->segment, run->block[n % BLOCKS], n % 2 == 0 ? link : NULL);
        break;
    }
}

static void do_size(struct run *run, uint8_t n)
{
    uint64_t bytes;
    if (n % 2 == 0) {
        (void)hf_segment_trim(run->segment, &bytes);
    } else if (run->growths < GROWTHS_MAX) {
        (void)hf_segment_grow(run->segment, run->image->size + n * SEGMENT_PAGE);
        run->growths++;
    }
}

static void do_recover(struct run *run, uint8_t n)
{
    unsigned recovered;
    hf_participant self;
    (void)n;
    (void)hf_segment_recover(run->segment, &recovered);
    (void)hf_participant_self(run->segment, &self);
}

static void do_leave(struct run *run, uint8_t n)
{
    if (n % 4 == 0) {
        (void)hf_thread_recover(run->segment);
    } else {
        (void)hf_thread_leave(run->segment);
    }
}

static void open_pipe(struct run *run, uint8_t n)
{
    hf_pipe_side side = n % 2 == 0 ? HF_PIPE_WRITER : HF_PIPE_READER;
    char *place = hf_segment_at(run->segment, (hf_off){run->image->pipe});
    if (place != NULL && n / 2 % 4 == 0) {
        (void)hf_pipe_init(run->segment, place, 4096);
    }
    if (place != NULL && run->pipe[side] == NULL) {
        (void)hf_pipe_open(run->segment, place, side, &run->pipe[side]);
    }
}

static void do_pipe(struct run *run, uint8_t n)
{
    void *room;
    const void *run_of_bytes;
    char bytes[64] = {0};
    uint64_t length;
    size_t done;
    int64_t timeout = n / 8 % 4 == 0 ? SHORT_NS : 0;
    switch (n % 8) {
    case 0:
    case 1:
        if (hf_pipe_reserve(run->pipe[0], 1 + n, timeout, &room, &length) == 0) {
            memset(room, 0x44, length);
            (void)hf_pipe_commit(run->pipe[0], length);
        }
        break;
    case 2:
        (void)hf_pipe_write(run->pipe[0], bytes, sizeof bytes, timeout, &done);
        break;
    case 3:
        (void)hf_pipe_read(run->pipe[1], bytes, sizeof bytes, timeout, &done);
        break;
    case 4:
    case 5:
        if (hf_pipe_peek(run->pipe[1], 1, timeout, &run_of_bytes, &length) == 0 && length > 0) {
            (void)((const volatile char *)run_of_bytes)[length - 1];
            (void)hf_pipe_release(run->pipe[1], length);
        }
        break;
    default:
        hf_pipe_close(run->pipe[n % 2]);
        run->pipe[n % 2] = NULL;
        break;
    }
}

static void do_check(struct run *run, uint8_t n)
{
    deep_check(run->segment, n);
}

/* The hostile peer, at work. A copy, and what is read-only, it cannot reach here. */
static void do_change(struct run *run, uint8_t n)
{
    (void)n;
    if (run->way == WAY_BUFFER || run->way == WAY_MEMORY) {
        image_mutate(run->image, hf_segment_base(run->segment), &run->input);
    }
}

struct action {
    void (*act)(struct run *run, uint8_t n);
    bool on_stage; /* needs the root */
};

static const struct action actions[] = {
    {look, false},      {do_root, false}, {do_mutex, true},    {do_mutex, true},
    {do_lock, true},    {do_tx, true},    {do_tx, true},       {do_alloc, true},
    {do_free, true},    {do_size, false}, {do_recover, false}, {do_leave, false},
    {open_pipe, false}, {do_pipe, false}, {do_check, false},   {do_change, false},
    {do_take, false},   {do_take, false}, {do_put, false},     {do_resize, false},
    {do_heap, false},   {do_link, true},  {do_link, true},
};
#define ACTIONS (sizeof actions / sizeof actions[0])

/* From here on it is what sync.c knows. */
#define SYNC_FIRST 161u

static void act(struct run *run, uint8_t which, uint8_t n)
{
    if (which >= SYNC_FIRST) {
        world_sleeper(run->segment);
        if (run->way != WAY_READ_ONLY && find_root(run) != NULL) {
            sync_act(&run->stage->sync, &run->stage->mutex[7], (uint8_t)(which - SYNC_FIRST), n);
        }
        return;
    }
    const struct action *action = &actions[which % ACTIONS];
    bool writes = run->way != WAY_READ_ONLY || !action->on_stage;
    world_sleeper(run->segment); /* patience is counted anew */
    if (writes && (!action->on_stage || find_root(run) != NULL)) {
        action->act(run, n);
    }
}

/* Everything once, in an order that makes sense. */
static const uint8_t everything[][2] = {
    {0, 0},  {14, 6}, {10, 0}, {0, 1},   {1, 60}, {2, 0},   {2, 1},  {2, 2},   {2, 16}, {2, 18},
    {4, 4},  {2, 40}, {2, 24}, {2, 25},  {5, 0},  {2, 5},   {5, 42}, {5, 4},   {5, 7},  {2, 29},
    {5, 1},  {5, 6},  {5, 5},  {5, 0},   {5, 82}, {5, 5},   {7, 3},  {7, 12},  {8, 3},  {9, 20},
    {9, 0},  {12, 2}, {12, 3}, {13, 0},  {13, 2}, {13, 3},  {13, 4}, {13, 12}, {13, 6}, {13, 7},
    {2, 52}, {2, 60}, {11, 0}, {11, 1},  {2, 3},  {10, 0},  {14, 6}, {11, 1},  {0, 0},  {16, 1},
    {16, 2}, {16, 3}, {16, 7}, {20, 0},  {14, 6}, {19, 1},  {18, 1}, {21, 5},  {21, 3}, {5, 0},
    {16, 4}, {21, 6}, {18, 3}, {21, 21}, {5, 5},  {21, 26}, {18, 2}, {14, 6},  {20, 3}, {11, 1},
};

static void use(struct run *run)
{
    if (run->input.left == 0) {
        for (size_t i = 0; i < sizeof everything / sizeof everything[0]; i++) {
            act(run, everything[i][0], everything[i][1]);
        }
        for (unsigned i = 0; i < SYNC_KINDS * 32; i++) {
            act(run, (uint8_t)(SYNC_FIRST + i % (SYNC_KINDS * 4)), (uint8_t)(i / SYNC_KINDS));
        }
        return;
    }
    for (unsigned i = 0; i < ACTIONS_MAX && run->input.left > 0; i++) {
        uint8_t which = take_byte(&run->input);
        act(run, which, take_byte(&run->input));
    }
}

/* ---- one run ----------------------------------------------------------------------------- */

/* What lies behind the segment's end is not its own: unless its header has been made to say so
   before it was opened. */
static void expect_canary(const struct run *run)
{
    char now[CANARY_SIZE];
    uint64_t end = run->image->size;
    int fd = hf_memory_descriptor(hf_segment_memory(run->segment));
    if (end != run->image->maximum || run->segment->view->maximum > end || fd < 0) {
        return;
    }
    if (pread(fd, now, sizeof now, (off_t)end) != (ssize_t)sizeof now ||
        strcmp(now, "canary") != 0) {
        world_fail("something was written behind the segment's end");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {.input = {data, size}};
    run.image = image_of(take_byte(&run.input) % IMAGE_KINDS);
    run.way = take_byte(&run.input) % WAYS;
    if (run.way == WAY_BUFFER && run.image->maximum > BUFFER_SIZE) {
        run.way = WAY_MEMORY;
    }
    world_begin();
    open_run(&run);
    if (run.segment == NULL) {
        hf_memory_close(run.memory);
    } else {
        use(&run);
        hf_pipe_close(run.pipe[0]);
        hf_pipe_close(run.pipe[1]);
        (void)hf_thread_leave(run.segment);
        expect_canary(&run);
        world_sleeper(NULL);
        hf_segment_close(run.segment);
    }
    world_end();
    return 0;
}
