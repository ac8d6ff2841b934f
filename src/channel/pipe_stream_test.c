/* SPDX-License-Identifier: MIT */
/* Much through the pipe: between processes and between threads, in order and whole. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "support/pipes.h"
#include "support/support.h"

#if UNDER_ASAN || UNDER_TSAN
#define MUCH (8 * MIB)
#else
#define MUCH (64 * MIB)
#endif

#define PIECE (64 * KIB) /* at most, in one call */

/* One side's work. The sizes are drawn from `random`, so that a thread has its own. */
struct side {
    struct place *place;
    uint64_t total;
    uint64_t piece;
    uint64_t random;
    bool in_place;
    int64_t idle_ms; /* after opening */
};

static uint64_t draw(struct side *side, uint64_t limit)
{
    side->random = side->random * UINT64_C(6364136223846793005) + 1;
    return (side->random >> 33) % limit;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Both sides may wait for that much: with more, each could wait for the other for ever. */
static uint64_t at_once(const struct side *side)
{
    return side->place->capacity / 2;
}

static void write_in_place(struct side *side, hf_pipe *pipe, uint64_t at, uint64_t *n)
{
    void *run;
    uint64_t length;
    uint64_t minimum = less(*n, draw(side, at_once(side)) + 1);
    assert_ok(hf_pipe_reserve(pipe, minimum, HF_FOREVER, &run, &length));
    *n = less(*n, length);
    make_bytes(run, at, *n);
    assert_ok(hf_pipe_commit(pipe, *n));
}

static void write_stream(struct side *side)
{
    hf_pipe *pipe = open_side(side->place, HF_PIPE_WRITER);
    sleep_ms(side->idle_ms);
    char *bytes = malloc(PIECE);
    assert_non_null(bytes);
    for (uint64_t done = 0; done < side->total;) {
        uint64_t n = less(draw(side, side->piece) + 1, side->total - done);
        if (side->in_place) {
            write_in_place(side, pipe, done, &n);
        } else {
            size_t written;
            make_bytes(bytes, done, n);
            assert_ok(hf_pipe_write(pipe, bytes, n, HF_FOREVER, &written));
            assert_int_equal(written, n);
        }
        done += n;
    }
    free(bytes);
    hf_pipe_close(pipe);
}

/* 0 at the end of the stream. */
static uint64_t read_piece(struct side *side, hf_pipe *pipe, uint64_t at, char *bytes)
{
    size_t got;
    uint64_t n = draw(side, side->piece) + 1;
    if (!side->in_place) {
        assert_ok(hf_pipe_read(pipe, bytes, n, HF_FOREVER, &got));
        expect_bytes(bytes, at, got);
        return got;
    }
    const void *run;
    uint64_t length;
    uint64_t minimum = less(n, at_once(side));
    assert_ok(hf_pipe_peek(pipe, minimum, HF_FOREVER, &run, &length));
    n = less(n, length);
    expect_bytes(run, at, n);
    assert_ok(hf_pipe_release(pipe, n));
    return n;
}

static void read_stream(struct side *side)
{
    hf_pipe *pipe = open_side(side->place, HF_PIPE_READER);
    char *bytes = malloc(PIECE);
    assert_non_null(bytes);
    uint64_t done = 0;
    for (uint64_t n; (n = read_piece(side, pipe, done, bytes)) > 0;) {
        done += n;
    }
    assert_int_equal(done, side->total);
    free(bytes);
    hf_pipe_close(pipe);
}

static int write_stream_in_child(void *context)
{
    write_stream(context);
    return 0;
}

static void stream_between_processes(struct place place, uint64_t piece, bool in_place)
{
    struct side writer = {&place, MUCH, piece, random_below(UINT64_MAX), in_place, 0};
    struct side reader = {&place, MUCH, piece, random_below(UINT64_MAX), in_place, 0};
    pid_t child = start_child(write_stream_in_child, &writer); /* forked before either is open */
    read_stream(&reader);
    assert_int_equal(wait_child(child), 0);
    close_place(&place);
}

TEST(a_stream_arrives_in_order_through_the_smallest_ring)
{
    stream_between_processes(new_place(4 * KIB), PIECE, false);
}

TEST(a_stream_arrives_in_order_through_a_large_ring)
{
    stream_between_processes(new_place(1 * MIB), PIECE, false);
}

TEST(a_stream_made_in_place_arrives_in_order_through_the_smallest_ring)
{
    stream_between_processes(new_place(4 * KIB), 5000, true);
}

TEST(a_stream_made_in_place_arrives_in_order_through_a_large_ring)
{
    stream_between_processes(new_place(1 * MIB), PIECE, true);
}

TEST(a_stream_through_a_segment_with_a_descriptor_arrives_in_order)
{
    stream_between_processes(new_object_place(64 * KIB), PIECE, false);
}

TEST(a_stream_of_small_pieces_arrives_in_order)
{
    stream_between_processes(new_place(64 * KIB), 100, false);
}

static void *write_stream_in_thread(void *context)
{
    write_stream(context);
    return NULL;
}

static void stream_between_threads(struct place *place, uint64_t piece, bool in_place)
{
    struct side writer = {place, 8 * MIB, piece, random_below(UINT64_MAX), in_place, 0};
    struct side reader = {place, 8 * MIB, piece, random_below(UINT64_MAX), in_place, 0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_stream_in_thread, &writer), 0);
    read_stream(&reader);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

TEST(a_stream_between_threads_arrives_in_order)
{
    struct place place = new_place(4 * KIB);
    stream_between_threads(&place, PIECE, false);
    close_place(&place);
}

TEST(a_stream_made_in_place_between_threads_arrives_in_order)
{
    struct place place = new_place(64 * KIB);
    stream_between_threads(&place, 30000, true);
    close_place(&place);
}

TEST(a_stream_between_threads_arrives_in_order_in_memory_of_their_process_alone)
{
    struct place place = {.capacity = 4 * KIB};
    void *root;
    assert_ok(hf_segment_create_private(64 * KIB, NULL, &place.segment));
    assert_ok(hf_segment_root(place.segment, hf_pipe_footprint(place.capacity), &root));
    assert_ok(hf_pipe_init(place.segment, root, place.capacity));
    place.layout = root;
    stream_between_threads(&place, PIECE, false);
    hf_segment_close(place.segment);
}

/* ---- two strangers ----------------------------------------------------------------------- */

/* What strangers tell each other, apart from the segment. */
struct meeting {
    char name[UNIQUE_NAME_SIZE];
    void *_Atomic base; /* where the first has mapped it */
};

/* Maps it elsewhere. */
static int write_by_name(void *context)
{
    struct meeting *meeting = context;
    struct place place = {.capacity = 4 * KIB};
    while (load_acquire(&meeting->base) == NULL) {
        (void)usleep(1000);
    }
    void *theirs = load_acquire(&meeting->base);
    (void)mmap(theirs, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    int error;
    while ((error = hf_segment_open(meeting->name, HF_READ_WRITE, &place.segment)) == -ENOENT) {
        (void)usleep(1000);
    }
    assert_ok(error);
    assert_ptr_not_equal(hf_segment_base(place.segment), theirs);
    void *root;
    assert_ok(hf_segment_root(place.segment, hf_pipe_footprint(place.capacity), &root));
    place.layout = root;
    /* Idle for long enough to be asked whether it lives. */
    struct side writer = {&place, 1 * MIB, PIECE, 1, false, 300};
    write_stream(&writer);
    hf_segment_close(place.segment);
    return 0;
}

TEST(two_processes_meet_by_name_with_segments_that_start_differently)
{
    struct meeting *meeting = shared_page();
    struct place place = {.capacity = 4 * KIB};
    (void)unique_name(meeting->name, "pipe");
    pid_t child = start_child(write_by_name, meeting); /* inherits nothing of it */
    void *root;
    assert_ok(hf_segment_prepare(64 * KIB, NULL, &place.segment));
    assert_ok(hf_segment_root(place.segment, hf_pipe_footprint(place.capacity), &root));
    assert_ok(hf_pipe_init(place.segment, root, place.capacity));
    place.layout = root;
    store_release(&meeting->base, hf_segment_base(place.segment));
    assert_ok(hf_segment_publish(place.segment, meeting->name));
    struct side reader = {&place, 1 * MIB, PIECE, 2, false, 0};
    read_stream(&reader);
    assert_int_equal(wait_child(child), 0);
    hf_segment_close(place.segment);
}

/* ---- sleeping ---------------------------------------------------------------------------- */

static int sleep_in_peek(void *context)
{
    hf_pipe *reader = open_side(context, HF_PIPE_READER);
    const void *run;
    uint64_t length;
    int64_t before = cpu_ms();
    assert_error(hf_pipe_peek(reader, 1, SECONDS(1), &run, &length), -ETIMEDOUT);
    int64_t used = cpu_ms() - before;
    hf_pipe_close(reader);
    return used < 255 ? (int)used : 255;
}

TEST(a_side_that_waits_for_a_second_uses_next_to_no_processor_time)
{
    struct place place = new_place(4 * KIB);
    hf_pipe *writer = open_side(&place, HF_PIPE_WRITER);
    int used = run_child(sleep_in_peek, &place);
    print_message("%d ms of processor time\n", used);
    assert_in_range(used, 0, UNDER_TSAN || UNDER_ASAN ? 200 : 50);
    hf_pipe_close(writer);
    close_place(&place);
}

static int reserve_it_all(void *context)
{
    hf_pipe *writer = open_side(context, HF_PIPE_WRITER);
    char bytes[4096] = {0};
    void *run;
    uint64_t length;
    assert_ok(hf_pipe_write(writer, bytes, sizeof bytes, 0, NULL));
    assert_ok(hf_pipe_reserve(writer, 4096, SECONDS(10), &run, &length));
    assert_int_equal(length, 4096);
    hf_pipe_close(writer);
    return 0;
}

TEST(who_wants_much_sleeps_until_there_is_that_much)
{
    struct place place = new_place(4 * KIB);
    pid_t child = start_child(reserve_it_all, &place);
    hf_pipe *reader = open_side(&place, HF_PIPE_READER);
    const void *run;
    uint64_t length;
    assert_ok(hf_pipe_peek(reader, 4096, SECONDS(10), &run, &length));
    assert_ok(hf_pipe_release(reader, 4095));
    assert_int_equal(wait_child_for(child, 200), CHILD_RUNS);
    assert_ok(hf_pipe_release(reader, 1));
    assert_int_equal(wait_child_for(child, 10000), 0);
    hf_pipe_close(reader);
    close_place(&place);
}
