/* SPDX-License-Identifier: MIT */
/* A thread opens a segment, and another one forks meanwhile: at any step of the opening. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "holdfast/heap.h"
#include "segment/format.h"
#include "support/segments.h"

/* ---- stopped between two steps ------------------------------------------------------------ */

struct geometry __real_hf_geometry_of(uint64_t maximum);
struct geometry __wrap_hf_geometry_of(uint64_t maximum);
int __real_hf_os_byte_lock_shared(int fd, uint64_t offset);
int __wrap_hf_os_byte_lock_shared(int fd, uint64_t offset);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __real_free(void *block);
void __wrap_free(void *block);

/* What the thread that forks is asked. */
static _Atomic int asked;
static _Atomic int done;
static int childs_end;

/* This thread stops at a step that it will pass after so many others; -1: at none. */
static _Thread_local int steps_to_go = -1;

/* At a step of the opening: has the other thread fork, and waits for what becomes of it. */
static void pass(void)
{
    if (steps_to_go >= 0 && steps_to_go-- == 0) {
        store_release(&asked, 1);
        await_flag(&done);
    }
}

struct geometry __wrap_hf_geometry_of(uint64_t maximum)
{
    pass();
    return __real_hf_geometry_of(maximum);
}

int __wrap_hf_os_byte_lock_shared(int fd, uint64_t offset)
{
    pass();
    return __real_hf_os_byte_lock_shared(fd, offset);
}

/* The block that this thread has freed last before it stopped: nobody may still know it. */
static void *freed;

static void *allocated(void *block)
{
    freed = block == freed ? NULL : freed;
    pass();
    return block;
}

void *__wrap_malloc(size_t size)
{
    return allocated(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocated(__real_calloc(count, size));
}

/* Always moves the block. */
void *__wrap_realloc(void *block, size_t size)
{
    assert_true(block == NULL || block != freed);
    if (steps_to_go < 0 || block == NULL) {
        return allocated(__real_realloc(block, size));
    }
    void *moved = __real_malloc(size);
    assert_non_null(moved);
    memcpy(moved, block, size - sizeof(void *)); /* the library's lists grow by one */
    __real_free(block);
    freed = block;
    pass();
    return moved;
}

void __wrap_free(void *block)
{
    assert_true(block == NULL || block != freed);
    __real_free(block);
    if (steps_to_go >= 0) {
        freed = block;
        pass();
    }
}

/* ---- what the child does ------------------------------------------------------------------ */

static const char *segment_name;
static int (*use)(void *unused);

static int open_and_use(void *unused)
{
    hf_segment *segment;
    void *block;
    (void)unused;
    assert_ok(hf_segment_open(segment_name, HF_READ_WRITE, &segment));
    expect_working(segment);
    assert_ok(hf_alloc(segment, 9000, &block));
    assert_ok(hf_free(segment, block));
    hf_segment_close(segment);
    return 0;
}

static int open_again_and_use(void *unused)
{
    hf_memory *memory;
    hf_segment *segment;
    assert_ok(hf_shm_open(segment_name, HF_READ_WRITE, &memory));
    assert_ok(hf_segment_open_memory(memory, HF_READ_WRITE, &segment));
    hf_segment_close(segment);
    return open_and_use(unused);
}

static void *fork_when_asked(void *unused)
{
    await_flag(&asked);
    if (load_acquire(&asked) == 1) {
        childs_end = run_child(use, NULL);
    }
    store_release(&done, 1);
    return unused;
}

/* ---- the tests ---------------------------------------------------------------------------- */

/* Runs it in this thread up to that step, and on when a child has been. False: it has not so
   many. */
static bool with_a_fork_at(int step, void (*run)(void))
{
    pthread_t forker;
    store_relaxed(&asked, 0);
    store_relaxed(&done, 0);
    assert_int_equal(pthread_create(&forker, NULL, fork_when_asked, NULL), 0);
    steps_to_go = step;
    run();
    bool passed = steps_to_go < 0;
    steps_to_go = -1;
    if (!passed) {
        store_release(&asked, 2);
    }
    assert_int_equal(pthread_join(forker, NULL), 0);
    assert_int_equal(childs_end, 0);
    return passed;
}

static hf_segment *opened;

static void open_by_name(void)
{
    assert_ok(hf_segment_open(segment_name, HF_READ_WRITE, &opened));
}

/* A segment that nobody in this process has open. */
static void make_segment(char name[UNIQUE_NAME_SIZE])
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = MIB};
    segment_name = unique_name(name, "fork");
    assert_ok(hf_segment_create(segment_name, SIZE, &options, &segment));
    hf_segment_close(segment);
}

TEST(a_child_that_is_forked_at_any_step_of_opening_a_segment_can_open_it_too)
{
    char name[UNIQUE_NAME_SIZE];
    int step = 0;
    make_segment(name);
    use = open_and_use;
    while (with_a_fork_at(step, open_by_name)) {
        hf_segment_close(opened);
        step++;
    }
    hf_segment_close(opened);
    assert_true(step >= 4); /* or nothing was tested */
}

static hf_memory *another;

static void open_another(void)
{
    assert_ok(hf_segment_open_memory(another, HF_READ_WRITE, &opened));
}

TEST(a_child_that_is_forked_at_any_step_of_opening_a_segment_again_can_do_so_too)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *first;
    int step = 0;
    bool more = true;
    make_segment(name);
    use = open_again_and_use;
    assert_ok(hf_segment_open(segment_name, HF_READ_WRITE, &first));
    while (more) { /* each adds a descriptor to those that the segment keeps */
        assert_ok(hf_shm_open(segment_name, HF_READ_WRITE, &another));
        more = with_a_fork_at(step, open_another);
        hf_segment_close(opened);
        step += more ? 1 : 0;
    }
    hf_segment_close(first);
    assert_true(step >= 2);
}
