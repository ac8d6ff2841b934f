/* SPDX-License-Identifier: MIT */
/*
 * A thread that jumps out of a call that makes a handle, or ends one, at any instruction of it:
 * never out of malloc, which would wait for ever from then on.
 */
#include <unistd.h>

#include "holdfast/check.h"
#include "holdfast/file_lock.h"
#include "holdfast/named.h"
#include "holdfast/pipe.h"
#include "holdfast/region.h"
#include "support/jump.h"
#include "support/stage.h"

#define CAPACITY HF_PIPE_CAPACITY_MIN

static void *place;
static hf_pipe *volatile pipe_handle;
static hf_memory *memory;
static hf_region *region;
static hf_file_lock *file_lock;
static hf_segment *segment;
static void *named;
static char name[UNIQUE_NAME_SIZE];
static const char *path;

static void nothing(void) {}

/* At every so manieth instruction: malloc and free are longer than STRIDE. Before each jump comes
   `before`, after it `after`, which finds what it has left. */
#define STRIDE 7

static void jump_at(long stride, void (*before)(void), int (*call)(void *unused),
                    void (*after)(void))
{
    long n = 1;
    need_jumps();
    for (bool jumped = true; jumped; n += stride) {
        before();
        jumped = jump_after(n, call, NULL);
        recover_from_jump();
        after();
    }
    assert_true(n > 20);
}

/* ---- a pipe ------------------------------------------------------------------------------ */

static void make_pipe(void)
{
    assert_ok(hf_pipe_init(stage, place, CAPACITY));
    pipe_handle = NULL;
}

static int open_pipe(void *unused)
{
    (void)unused;
    return hf_pipe_open(stage, place, HF_PIPE_WRITER, (hf_pipe **)&pipe_handle);
}

static void make_open_pipe(void)
{
    make_pipe();
    assert_ok(open_pipe(NULL));
}

static int close_pipe(void *unused)
{
    (void)unused;
    hf_pipe_close(pipe_handle);
    return 0;
}

/* The side is taken, and here is its handle; or it is free. */
static void expect_the_side_with_its_handle(void)
{
    if (pipe_handle == NULL) {
        assert_ok(open_pipe(NULL));
    }
    hf_pipe_close(pipe_handle);
}

static void set_pipe_stage(void)
{
    set_stage(64 * KIB);
    assert_ok(hf_pages_alloc(stage, hf_pipe_footprint(CAPACITY), (hf_off *)(void *)props->own));
    place = hf_segment_at(stage, *(hf_off *)(void *)props->own);
}

TEST(who_jumps_out_of_opening_a_pipe_has_the_side_and_its_handle_or_neither)
{
    set_pipe_stage();
    jump_at(1, make_pipe, open_pipe, expect_the_side_with_its_handle);
    clear_stage();
}

TEST(nobody_jumps_out_of_malloc_closing_a_pipe)
{
    set_pipe_stage();
    jump_at(1, make_open_pipe, close_pipe, nothing);
    clear_stage();
}

/* ---- memory objects and regions ---------------------------------------------------------- */

static int lowest_descriptor;

/* What a jump has left open nobody has a handle of. */
static void close_the_lost(void)
{
    (void)close(lowest_descriptor);
}

static void set_memory_stage(void)
{
    set_stage(64 * KIB);
    lowest_descriptor = dup(0);
    close_the_lost();
}

static int make_memory(void *unused)
{
    (void)unused;
    return hf_anonymous_create(4096, NULL, &memory);
}

static void have_memory(void)
{
    assert_ok(make_memory(NULL));
}

static int close_memory(void *unused)
{
    (void)unused;
    hf_memory_close(memory);
    return 0;
}

static int prepare_memory(void *unused)
{
    (void)unused;
    return hf_shm_prepare(4096, NULL, &memory);
}

static int map_region(void *unused)
{
    (void)unused;
    return hf_region_map(memory, NULL, &region);
}

static void have_region(void)
{
    assert_ok(map_region(NULL));
}

static int unmap_region(void *unused)
{
    (void)unused;
    hf_region_unmap(region);
    return 0;
}

static int stop_at_the_first(const char *found, void *unused)
{
    (void)found;
    (void)unused;
    return 1;
}

static int list_memory(void *unused)
{
    return hf_shm_list(stop_at_the_first, unused);
}

TEST(nobody_jumps_out_of_malloc_making_or_closing_memory)
{
    set_memory_stage();
    jump_at(STRIDE, nothing, make_memory, close_the_lost);
    jump_at(STRIDE, nothing, prepare_memory, close_the_lost);
    jump_at(STRIDE, have_memory, close_memory, close_the_lost);
    clear_stage();
}

TEST(nobody_jumps_out_of_malloc_mapping_or_unmapping)
{
    set_stage(64 * KIB);
    have_memory();
    jump_at(STRIDE, nothing, map_region, nothing);
    jump_at(STRIDE, have_region, unmap_region, nothing);
    clear_stage();
}

TEST(nobody_jumps_out_of_malloc_listing_memory)
{
    set_memory_stage();
    jump_at(STRIDE, nothing, list_memory, close_the_lost);
    clear_stage();
}

/* ---- locks with names -------------------------------------------------------------------- */

static int open_file_lock(void *unused)
{
    (void)unused;
    return hf_file_lock_open(path, &file_lock);
}

static void have_file_lock(void)
{
    assert_ok(open_file_lock(NULL));
}

static int close_file_lock(void *unused)
{
    (void)unused;
    hf_file_lock_close(file_lock);
    return 0;
}

static int open_named(void *unused)
{
    (void)unused;
    return hf_named_open(HF_NAMED_MUTEX, name, &named);
}

static void have_named(void)
{
    assert_ok(open_named(NULL));
}

static int close_named(void *unused)
{
    (void)unused;
    return hf_named_close(named);
}

TEST(nobody_jumps_out_of_malloc_opening_or_closing_a_file_lock)
{
    set_stage(64 * KIB);
    path = path_in(temporary_directory(), "lock");
    write_whole_file(path, "", 0);
    jump_at(STRIDE, nothing, open_file_lock, nothing);
    jump_at(STRIDE, have_file_lock, close_file_lock, nothing);
    clear_stage();
}

TEST(nobody_jumps_out_of_malloc_opening_or_closing_a_named_lock)
{
    static const hf_sync_options none;
    set_stage(64 * KIB);
    assert_ok(hf_named_create(HF_NAMED_MUTEX, unique_name(name, "jump"), &none, &named));
    jump_at(STRIDE, nothing, open_named, nothing);
    jump_at(STRIDE, have_named, close_named, nothing);
    clear_stage();
}

/* ---- segments ---------------------------------------------------------------------------- */

static void have_segment(void)
{
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &segment));
}

static int close_segment(void *unused)
{
    (void)unused;
    hf_segment_close(segment);
    return 0;
}

static int check_segment(void *unused)
{
    hf_check_report report;
    (void)unused;
    return hf_check(stage, &report);
}

TEST(nobody_jumps_out_of_malloc_closing_a_segment)
{
    hf_segment *first;
    set_stage(64 * KIB);
    assert_ok(hf_segment_create(unique_name(name, "jump"), 64 * KIB, NULL, &first));
    jump_at(STRIDE, have_segment, close_segment, nothing);
    clear_stage();
    hf_segment_close(first);
}

TEST(nobody_jumps_out_of_malloc_checking)
{
    set_stage(64 * KIB);
    jump_at(10 * STRIDE, nothing, check_segment, nothing); /* it is long, and so is calloc */
    clear_stage();
}
