/* SPDX-License-Identifier: MIT */
/* The pipe's contract, with both sides mostly in one process. pipe_stream_test.c moves much;
   pipe_death_test.c kills. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "segment/slot_layout.h"
#include "support/pipes.h"
#include "support/support.h"

struct both {
    struct place place;
    hf_pipe *writer;
    hf_pipe *reader;
};

static struct both open_both(uint64_t capacity)
{
    struct both both = {.place = new_place(capacity)};
    both.writer = open_side(&both.place, HF_PIPE_WRITER);
    both.reader = open_side(&both.place, HF_PIPE_READER);
    return both;
}

static void close_both(struct both *both)
{
    hf_pipe_close(both->writer);
    hf_pipe_close(both->reader);
    close_place(&both->place);
}

static void put(hf_pipe *writer, uint64_t position, size_t length)
{
    char bytes[8192];
    size_t written;
    assert_true(length <= sizeof bytes);
    make_bytes(bytes, position, length);
    assert_ok(hf_pipe_write(writer, bytes, length, 0, &written));
    assert_int_equal(written, length);
}

static void take(hf_pipe *reader, uint64_t position, size_t length)
{
    char bytes[8192];
    for (size_t done = 0; done < length;) {
        size_t got;
        assert_ok(hf_pipe_read(reader, bytes, length - done, 0, &got));
        assert_true(got > 0);
        expect_bytes(bytes, position + done, got);
        done += got;
    }
}

/* ---- making a pipe ----------------------------------------------------------------------- */

TEST(a_footprint_exists_for_powers_of_two_between_the_limits)
{
    for (uint64_t capacity = HF_PIPE_CAPACITY_MIN; capacity <= HF_PIPE_CAPACITY_MAX;
         capacity *= 2) {
        uint64_t footprint = hf_pipe_footprint(capacity);
        assert_true(footprint > capacity && footprint <= capacity + 4096);
        assert_int_equal(footprint % HF_PIPE_ALIGNMENT, 0);
        assert_int_equal(hf_pipe_footprint(capacity + 1), 0);
        assert_int_equal(hf_pipe_footprint(capacity - 1), 0);
        assert_int_equal(hf_pipe_footprint(capacity + capacity / 2), 0);
    }
    assert_int_equal(hf_pipe_footprint(0), 0);
    assert_int_equal(hf_pipe_footprint(HF_PIPE_CAPACITY_MIN / 2), 0);
    assert_int_equal(hf_pipe_footprint(HF_PIPE_CAPACITY_MAX * 2), 0);
    assert_int_equal(hf_pipe_footprint(UINT64_MAX), 0);
    assert_int_equal(hf_pipe_footprint(UINT64_C(1) << 63), 0);
}

TEST(init_refuses_bad_places_and_capacities_and_writes_nothing_there)
{
    enum { SIZE = 32 * 1024, FIRST = 2 * 4096 };
    _Alignas(4096) static unsigned char memory[SIZE];
    static unsigned char before[SIZE];
    hf_segment *segment;
    void *root;
    assert_ok(hf_segment_init(memory, SIZE, &segment));
    assert_ok(hf_segment_root(segment, SIZE - FIRST, &root));
    assert_ptr_equal(root, memory + FIRST);
    memcpy(before, memory, SIZE);
    assert_error(hf_pipe_init(NULL, root, 4096), -EINVAL);
    assert_error(hf_pipe_init(segment, NULL, 4096), -EINVAL);
    assert_error(hf_pipe_init(segment, memory + FIRST + 1, 4096), -EINVAL);
    assert_error(hf_pipe_init(segment, memory + FIRST + 64, 4096), -EINVAL);
    static const uint64_t capacities[] = {0, 4095, 2048, 6144, UINT64_C(1) << 31, UINT64_MAX};
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        assert_error(hf_pipe_init(segment, root, capacities[i]), -EINVAL);
    }
    /* The segment's own, and what lies outside of it. */
    static char other[8192];
    void *places[] = {memory, memory + FIRST - 128, memory + SIZE, (char *)root - FIRST - 4096,
                      other};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        assert_error(hf_pipe_init(segment, places[i], 4096), -EINVAL);
    }
    /* All of it must be in the segment. */
    assert_error(hf_pipe_init(segment, root, 32768), -EINVAL);
    unsigned char *last = memory + SIZE - hf_pipe_footprint(4096);
    assert_error(hf_pipe_init(segment, last + 128, 4096), -EINVAL);
    assert_memory_equal(memory, before, SIZE);
    assert_ok(hf_pipe_init(segment, root, 4096));
    assert_ok(hf_pipe_init(segment, last, 4096));
    uint64_t end = FIRST + hf_pipe_footprint(4096);
    assert_memory_equal(memory, before, FIRST);
    assert_memory_equal(memory + end, before + end, (size_t)(last - memory) - end);
    hf_segment_close(segment);
}

/* ---- bytes ------------------------------------------------------------------------------- */

TEST(what_is_written_is_read_through_many_wraps_of_the_ring)
{
    struct both both = open_both(4 * KIB);
    uint64_t written = 0;
    uint64_t read = 0;
    while (written < 1 * MIB) {
        size_t room = (size_t)(4 * KIB - (written - read));
        size_t n = (size_t)random_below(room + 1);
        put(both.writer, written, n);
        written += n;
        n = (size_t)random_below(written - read + 1);
        take(both.reader, read, n);
        read += n;
    }
    close_both(&both);
}

TEST(a_run_ends_where_the_ring_does_and_the_next_one_starts_over)
{
    struct both both = open_both(4 * KIB);
    void *run;
    const void *seen;
    uint64_t length;
    put(both.writer, 0, 3000);
    take(both.reader, 0, 3000);
    assert_ok(hf_pipe_reserve(both.writer, 4096, 0, &run, &length));
    assert_ptr_equal(run, both.place.layout->ring + 3000);
    assert_int_equal(length, 1096); /* fewer than the minimum: the ring wraps */
    make_bytes(run, 3000, 1096);
    assert_ok(hf_pipe_commit(both.writer, 1096));
    assert_ok(hf_pipe_reserve(both.writer, 1, 0, &run, &length));
    assert_ptr_equal(run, both.place.layout->ring);
    assert_int_equal(length, 3000);
    make_bytes(run, 4096, 100);
    assert_ok(hf_pipe_commit(both.writer, 100));
    assert_ok(hf_pipe_peek(both.reader, 1196, 0, &seen, &length));
    assert_int_equal(length, 1096);
    expect_bytes(seen, 3000, 1096);
    assert_ok(hf_pipe_release(both.reader, 1096));
    assert_ok(hf_pipe_peek(both.reader, 1, 0, &seen, &length));
    assert_int_equal(length, 100);
    expect_bytes(seen, 4096, 100);
    close_both(&both);
}

TEST(reserving_again_gives_the_same_start_until_something_is_committed)
{
    struct both both = open_both(4 * KIB);
    void *first;
    void *second;
    uint64_t length;
    assert_ok(hf_pipe_reserve(both.writer, 1, 0, &first, &length));
    assert_ok(hf_pipe_reserve(both.writer, 4096, 0, &second, &length));
    assert_ptr_equal(first, second);
    assert_int_equal(length, 4096);
    assert_ok(hf_pipe_commit(both.writer, 10));
    assert_ok(hf_pipe_reserve(both.writer, 1, 0, &second, &length));
    assert_ptr_equal(second, (char *)first + 10);
    assert_int_equal(length, 4086);
    close_both(&both);
}

TEST(peeking_again_gives_the_same_bytes_until_something_is_released)
{
    struct both both = open_both(4 * KIB);
    const void *run;
    uint64_t length;
    put(both.writer, 0, 100);
    for (int i = 0; i < 3; i++) {
        assert_ok(hf_pipe_peek(both.reader, 1, 0, &run, &length));
        assert_int_equal(length, 100);
        expect_bytes(run, 0, 100);
    }
    assert_ok(hf_pipe_release(both.reader, 60));
    assert_ok(hf_pipe_peek(both.reader, 1, 0, &run, &length));
    assert_int_equal(length, 40);
    expect_bytes(run, 60, 40);
    close_both(&both);
}

TEST(what_is_not_committed_is_never_seen)
{
    struct both both = open_both(4 * KIB);
    void *run;
    const void *seen;
    uint64_t length;
    assert_ok(hf_pipe_reserve(both.writer, 1000, 0, &run, &length));
    memset(run, 'x', 1000);
    assert_error(hf_pipe_peek(both.reader, 1, 0, &seen, &length), -EAGAIN);
    make_bytes(run, 0, 10);
    assert_ok(hf_pipe_commit(both.writer, 10));
    assert_ok(hf_pipe_peek(both.reader, 1, 0, &seen, &length));
    assert_int_equal(length, 10);
    assert_ok(hf_pipe_release(both.reader, 10));
    assert_error(hf_pipe_peek(both.reader, 1, 0, &seen, &length), -EAGAIN);
    hf_pipe_close(both.writer); /* and not by the close either */
    both.writer = NULL;
    assert_ok(hf_pipe_peek(both.reader, 1, 0, &seen, &length));
    assert_int_equal(length, 0);
    close_both(&both);
}

TEST(a_run_is_committed_and_released_in_parts_and_never_beyond)
{
    struct both both = open_both(4 * KIB);
    void *run;
    const void *seen;
    uint64_t length;
    assert_error(hf_pipe_commit(both.writer, 1), -EINVAL); /* nothing was reserved */
    assert_ok(hf_pipe_reserve(both.writer, 100, 0, &run, &length));
    assert_error(hf_pipe_commit(both.writer, length + 1), -EINVAL);
    assert_error(hf_pipe_commit(both.writer, UINT64_MAX), -EINVAL);
    make_bytes(run, 0, 4096);
    assert_ok(hf_pipe_commit(both.writer, 0));
    assert_ok(hf_pipe_commit(both.writer, 1000));
    assert_ok(hf_pipe_commit(both.writer, 3000));
    assert_error(hf_pipe_commit(both.writer, 97), -EINVAL);
    assert_ok(hf_pipe_commit(both.writer, 96));
    assert_error(hf_pipe_commit(both.writer, 1), -EINVAL);

    assert_error(hf_pipe_release(both.reader, 1), -EINVAL);
    assert_ok(hf_pipe_peek(both.reader, 4096, 0, &seen, &length));
    assert_error(hf_pipe_release(both.reader, 4097), -EINVAL);
    assert_error(hf_pipe_release(both.reader, UINT64_MAX), -EINVAL);
    assert_ok(hf_pipe_release(both.reader, 4000));
    assert_ok(hf_pipe_release(both.reader, 0));
    assert_error(hf_pipe_release(both.reader, 97), -EINVAL);
    take(both.reader, 4000, 96);
    assert_error(hf_pipe_release(both.reader, 1), -EINVAL);
    close_both(&both);
}

TEST(a_full_ring_holds_exactly_its_capacity)
{
    struct both both = open_both(4 * KIB);
    size_t written;
    char bytes[8192];
    make_bytes(bytes, 0, sizeof bytes);
    assert_error(hf_pipe_write(both.writer, bytes, sizeof bytes, 0, &written), -EAGAIN);
    assert_int_equal(written, 4096);
    assert_error(hf_pipe_write(both.writer, bytes, 1, 0, &written), -EAGAIN);
    assert_int_equal(written, 0);
    assert_error(hf_pipe_write(both.writer, bytes, 1, 0, NULL), -EAGAIN);
    take(both.reader, 0, 4096);
    assert_ok(hf_pipe_write(both.writer, NULL, 0, 0, &written));
    assert_int_equal(written, 0);
    close_both(&both);
}

/* ---- waiting ----------------------------------------------------------------------------- */

/* How long the wait for `timeout_ms` took, both sides' in turn. */
static int64_t wait_of(struct both *both, int side, int64_t timeout_ms)
{
    void *run;
    const void *seen;
    uint64_t length;
    size_t written;
    char byte = 0;
    int64_t start = now_ms();
    int64_t limit = MILLISECONDS(timeout_ms);
    if (side == 0) {
        assert_error(hf_pipe_reserve(both->writer, 1, limit, &run, &length), -ETIMEDOUT);
    } else if (side == 1) {
        assert_error(hf_pipe_write(both->writer, &byte, 1, limit, &written), -ETIMEDOUT);
    } else {
        assert_error(hf_pipe_peek(both->reader, 4096, limit, &seen, &length), -ETIMEDOUT);
    }
    return now_ms() - start;
}

TEST(a_timeout_passes_at_its_time)
{
    static const int64_t timeouts[] = {1, 30, 130};
    struct both both = open_both(4 * KIB);
    put(both.writer, 0, 4096);
    for (int side = 0; side < 3; side++) {
        if (side == 2) {
            take(both.reader, 0, 4096);
            put(both.writer, 4096, 4095);
        }
        for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
            int64_t best = INT64_MAX; /* of several: the machine may be busy */
            for (int try = 0; try < 10 && best > timeouts[i] + 15; try++) {
                int64_t took = wait_of(&both, side, timeouts[i]);
                assert_true(took >= timeouts[i] - 1);
                best = took < best ? took : best;
            }
            assert_true(best <= timeouts[i] + 15);
        }
    }
    close_both(&both);
}

TEST(a_write_that_times_out_tells_how_much_is_in_the_stream)
{
    struct both both = open_both(4 * KIB);
    char bytes[10000];
    size_t written;
    make_bytes(bytes, 0, sizeof bytes);
    int64_t limit = MILLISECONDS(20);
    assert_error(hf_pipe_write(both.writer, bytes, sizeof bytes, limit, &written), -ETIMEDOUT);
    assert_int_equal(written, 4096);
    take(both.reader, 0, 4096);
    close_both(&both);
}

TEST(trying_gives_eagain_until_there_is_enough)
{
    struct both both = open_both(4 * KIB);
    const void *seen;
    void *run;
    uint64_t length;
    char byte;
    size_t got;
    assert_error(hf_pipe_peek(both.reader, 1, 0, &seen, &length), -EAGAIN);
    assert_error(hf_pipe_read(both.reader, &byte, 1, 0, &got), -EAGAIN);
    put(both.writer, 0, 50);
    assert_error(hf_pipe_peek(both.reader, 51, 0, &seen, &length), -EAGAIN);
    assert_ok(hf_pipe_peek(both.reader, 50, 0, &seen, &length));
    assert_error(hf_pipe_reserve(both.writer, 4047, 0, &run, &length), -EAGAIN);
    assert_ok(hf_pipe_reserve(both.writer, 4046, 0, &run, &length));
    close_both(&both);
}

/* ---- ends -------------------------------------------------------------------------------- */

TEST(after_the_writers_close_the_rest_is_read_and_then_the_end)
{
    struct both both = open_both(4 * KIB);
    const void *seen;
    uint64_t length;
    char byte;
    size_t got;
    put(both.writer, 0, 100);
    hf_pipe_close(both.writer);
    both.writer = NULL;
    /* More than there will ever be gives what is left. */
    assert_ok(hf_pipe_peek(both.reader, 4096, HF_FOREVER, &seen, &length));
    assert_int_equal(length, 100);
    take(both.reader, 0, 100);
    for (int i = 0; i < 3; i++) {
        assert_ok(hf_pipe_peek(both.reader, 1, HF_FOREVER, &seen, &length));
        assert_int_equal(length, 0);
        assert_ok(hf_pipe_read(both.reader, &byte, 1, HF_FOREVER, &got));
        assert_int_equal(got, 0);
    }
    close_both(&both);
}

TEST(after_the_readers_close_the_writer_gets_epipe)
{
    struct both both = open_both(4 * KIB);
    void *run;
    uint64_t length;
    size_t written;
    put(both.writer, 0, 10);
    hf_pipe_close(both.reader);
    both.reader = NULL;
    assert_error(hf_pipe_reserve(both.writer, 1, HF_FOREVER, &run, &length), -EPIPE);
    assert_error(hf_pipe_reserve(both.writer, 1, 0, &run, &length), -EPIPE);
    assert_error(hf_pipe_write(both.writer, "x", 1, HF_FOREVER, &written), -EPIPE);
    assert_int_equal(written, 0);
    close_both(&both);
}

TEST(a_reader_may_open_after_the_writer_has_closed)
{
    struct place place = new_place(4 * KIB);
    hf_pipe *writer = open_side(&place, HF_PIPE_WRITER);
    put(writer, 0, 1000);
    hf_pipe_close(writer);
    hf_pipe *reader = open_side(&place, HF_PIPE_READER);
    take(reader, 0, 1000);
    char byte;
    size_t got;
    assert_ok(hf_pipe_read(reader, &byte, 1, HF_FOREVER, &got));
    assert_int_equal(got, 0);
    hf_pipe_close(reader);
    close_place(&place);
}

/* ---- arguments --------------------------------------------------------------------------- */

TEST(each_side_has_its_calls_and_the_others_are_einval)
{
    struct both both = open_both(4 * KIB);
    void *run;
    const void *seen;
    uint64_t length;
    size_t count;
    char byte = 0;
    put(both.writer, 0, 10);
    hf_pipe *not_writers[] = {both.reader, NULL};
    hf_pipe *not_readers[] = {both.writer, NULL};
    for (size_t i = 0; i < 2; i++) {
        assert_error(hf_pipe_reserve(not_writers[i], 1, 0, &run, &length), -EINVAL);
        assert_error(hf_pipe_commit(not_writers[i], 0), -EINVAL);
        assert_error(hf_pipe_write(not_writers[i], &byte, 1, 0, &count), -EINVAL);
        assert_error(hf_pipe_peek(not_readers[i], 1, 0, &seen, &length), -EINVAL);
        assert_error(hf_pipe_release(not_readers[i], 0), -EINVAL);
        assert_error(hf_pipe_read(not_readers[i], &byte, 1, 0, &count), -EINVAL);
    }
    hf_pipe_close(NULL);
    take(both.reader, 0, 10);
    close_both(&both);
}

TEST(minimums_timeouts_and_outputs_are_checked)
{
    struct both both = open_both(4 * KIB);
    void *run;
    const void *seen;
    uint64_t length;
    size_t count;
    char byte = 0;
    static const uint64_t minimums[] = {0, 4097, UINT64_MAX};
    for (size_t i = 0; i < 3; i++) {
        assert_error(hf_pipe_reserve(both.writer, minimums[i], 0, &run, &length), -EINVAL);
        assert_error(hf_pipe_peek(both.reader, minimums[i], 0, &seen, &length), -EINVAL);
    }
    assert_error(hf_pipe_reserve(both.writer, 1, -2, &run, &length), -EINVAL);
    assert_error(hf_pipe_peek(both.reader, 1, INT64_MIN, &seen, &length), -EINVAL);
    assert_error(hf_pipe_write(both.writer, &byte, 1, -2, &count), -EINVAL);
    assert_error(hf_pipe_read(both.reader, &byte, 1, -2, &count), -EINVAL);
    assert_error(hf_pipe_reserve(both.writer, 1, 0, NULL, &length), -EINVAL);
    assert_error(hf_pipe_reserve(both.writer, 1, 0, &run, NULL), -EINVAL);
    assert_error(hf_pipe_peek(both.reader, 1, 0, NULL, &length), -EINVAL);
    assert_error(hf_pipe_peek(both.reader, 1, 0, &seen, NULL), -EINVAL);
    assert_error(hf_pipe_write(both.writer, NULL, 1, 0, &count), -EINVAL);
    assert_error(hf_pipe_read(both.reader, NULL, 1, 0, &count), -EINVAL);
    assert_error(hf_pipe_read(both.reader, &byte, 0, 0, &count), -EINVAL);
    assert_error(hf_pipe_read(both.reader, &byte, 1, 0, NULL), -EINVAL);
    close_both(&both);
}

static int open_at(struct place *place, void *at)
{
    hf_pipe *pipe = NULL;
    int error = hf_pipe_open(place->segment, at, HF_PIPE_WRITER, &pipe);
    hf_pipe_close(pipe);
    return error;
}

TEST(open_checks_its_arguments)
{
    struct place place = new_place(4 * KIB);
    hf_pipe *pipe = NULL;
    hf_segment *segment = place.segment;
    void *at = place.layout;
    char *bytes = at;
    char *base = hf_segment_base(segment);
    static char other[8192];
    assert_error(hf_pipe_open(NULL, at, HF_PIPE_WRITER, &pipe), -EINVAL);
    assert_error(hf_pipe_open(segment, NULL, HF_PIPE_WRITER, &pipe), -EINVAL);
    assert_error(hf_pipe_open(segment, at, HF_PIPE_WRITER, NULL), -EINVAL);
    assert_error(hf_pipe_open(segment, at, (hf_pipe_side)2, &pipe), -EINVAL);
    assert_error(hf_pipe_open(segment, at, (hf_pipe_side)-1, &pipe), -EINVAL);
    assert_error(open_at(&place, bytes + 1), -EINVAL);
    assert_error(open_at(&place, bytes + 64), -EINVAL);
    assert_error(open_at(&place, other), -EINVAL);
    assert_error(open_at(&place, base), -EINVAL); /* the segment's own */
    assert_error(open_at(&place, base + 4096), -EINVAL);
    assert_error(open_at(&place, base - 4096), -EINVAL);
    assert_error(open_at(&place, bytes + hf_pipe_footprint(4 * KIB)), -EINVAL);
    assert_error(open_at(&place, bytes + hf_pipe_footprint(4 * KIB) - 128), -EINVAL);
    assert_error(open_at(&place, bytes + 128), -EBADMSG);
    assert_error(open_at(&place, place.root), -EBADMSG);
    assert_null(pipe);
    assert_ok(open_at(&place, at));
    close_place(&place);
}

TEST(a_segment_that_is_open_for_reading_is_eacces)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    hf_segment *reading;
    hf_pipe *pipe = NULL;
    void *root;
    void *there;
    assert_ok(hf_segment_create(unique_name(name, "pipe"), 32 * KIB, NULL, &segment));
    assert_ok(hf_segment_root(segment, hf_pipe_footprint(4 * KIB), &root));
    assert_ok(hf_pipe_init(segment, root, 4 * KIB));
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &reading));
    for (int alone = 0; alone < 2; alone++) {
        assert_ok(hf_segment_root(reading, 1, &there));
        assert_error(hf_pipe_init(reading, there, 4 * KIB), -EACCES);
        assert_error(hf_pipe_open(reading, there, HF_PIPE_READER, &pipe), -EACCES);
        hf_segment_close(reading);
        hf_segment_close(segment); /* and again where it is mapped for reading only */
        segment = NULL;
        assert_ok(hf_segment_open(name, HF_READ_ONLY, &reading));
    }
    hf_segment_close(reading);
    assert_null(pipe);
}

TEST(sides_taken_in_a_private_copy_of_the_segment_are_free_in_the_segment)
{
    char name[UNIQUE_NAME_SIZE];
    static const hf_access ways[] = {HF_READ_WRITE, HF_COPY_ON_WRITE, HF_COPY_ON_WRITE,
                                     HF_READ_WRITE};
    hf_segment *segment;
    assert_ok(hf_segment_create(unique_name(name, "pipe"), 32 * KIB, NULL, &segment));
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        hf_segment_close(segment);
        assert_ok(hf_segment_open(name, ways[i], &segment));
        void *root;
        hf_pipe *writer;
        hf_pipe *reader;
        assert_ok(hf_segment_root(segment, hf_pipe_footprint(4 * KIB), &root));
        if (i == 0) {
            assert_ok(hf_pipe_init(segment, root, 4 * KIB));
            continue;
        }
        assert_ok(hf_pipe_open(segment, root, HF_PIPE_WRITER, &writer));
        assert_ok(hf_pipe_open(segment, root, HF_PIPE_READER, &reader));
        put(writer, 0, 100);
        take(reader, 0, 100);
        hf_pipe_close(writer);
        hf_pipe_close(reader);
    }
    hf_segment_close(segment);
}

static int open_writer_again(void *context)
{
    struct place *place = context;
    assert_error(open_at(place, place->layout), -EBUSY);
    return 0;
}

TEST(a_side_is_taken_once_in_a_pipes_life)
{
    struct both both = open_both(4 * KIB);
    hf_pipe *pipe = NULL;
    struct place *place = &both.place;
    for (int closed = 0; closed < 2; closed++) {
        for (hf_pipe_side side = HF_PIPE_WRITER; side <= HF_PIPE_READER; side++) {
            assert_error(hf_pipe_open(place->segment, place->layout, side, &pipe), -EBUSY);
        }
        assert_int_equal(run_child(open_writer_again, place), 0);
        hf_pipe_close(both.writer);
        hf_pipe_close(both.reader);
        both.writer = NULL;
        both.reader = NULL;
    }
    assert_null(pipe);
    close_both(&both);
}

struct race {
    struct place place;
    _Atomic uint32_t *start;
};

static int take_the_writer(void *context)
{
    struct race *race = context;
    while (load_acquire(race->start) == 0) {
        spin_pause();
    }
    int error = open_at(&race->place, race->place.layout);
    return error == 0 ? 1 : error == -EBUSY ? 0 : 2;
}

TEST(of_two_who_take_a_side_at_once_one_gets_it)
{
    struct race race = {.start = shared_page()};
    for (int i = 0; i < 50; i++) {
        race.place = new_place(4 * KIB);
        store_release(race.start, 0u);
        pid_t one = start_child(take_the_writer, &race);
        pid_t other = start_child(take_the_writer, &race);
        sleep_ms(1);
        store_release(race.start, 1u);
        assert_int_equal(wait_child(one) + wait_child(other), 1);
        close_place(&race.place);
    }
}

/* As many in one segment as one likes: a side takes a word, and no descriptor. */
TEST(pipes_side_by_side_in_one_segment_do_not_touch_each_other)
{
    enum { COUNT = 8 };
    uint64_t each = hf_pipe_footprint(4 * KIB);
    hf_segment *segment;
    void *root;
    hf_pipe *writers[COUNT];
    hf_pipe *readers[COUNT];
    assert_ok(hf_segment_create_anonymous(64 * KIB, NULL, &segment));
    assert_ok(hf_segment_root(segment, COUNT * each, &root));
    unsigned descriptors = count_entries("/proc/self/fd", "");
    for (uint64_t i = 0; i < COUNT; i++) {
        char *place = (char *)root + i * each;
        assert_ok(hf_pipe_init(segment, place, 4 * KIB));
        assert_ok(hf_pipe_open(segment, place, HF_PIPE_WRITER, &writers[i]));
        assert_ok(hf_pipe_open(segment, place, HF_PIPE_READER, &readers[i]));
    }
    assert_int_equal(count_entries("/proc/self/fd", ""), descriptors);
    for (uint64_t i = 0; i < COUNT; i++) {
        put(writers[i], i * 1000, 4096);
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        take(readers[i], i * 1000, 4096);
        hf_pipe_close(writers[i]);
        hf_pipe_close(readers[i]);
    }
    hf_segment_close(segment);
}

/* ---- damage ------------------------------------------------------------------------------ */

TEST(a_damaged_header_is_ebadmsg)
{
    struct place place = new_place(8 * KIB);
    struct pipe_layout *layout = place.layout;
    static const uint64_t capacities[] = {
        0,
        1,
        4095,
        8191,
        8193,
        12288,
        2048,
        16384,
        UINT64_C(1) << 30,
        UINT64_C(1) << 31,
        UINT64_C(1) << 63,
        UINT64_MAX,
    };
    layout->magic ^= 1;
    assert_error(open_at(&place, place.layout), -EBADMSG);
    layout->magic ^= 1;
    layout->version++;
    assert_error(open_at(&place, place.layout), -EBADMSG);
    layout->version--;
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        layout->capacity = capacities[i];
        assert_error(open_at(&place, place.layout), -EBADMSG);
    }
    layout->capacity = 8 * KIB;
    for (int side = 0; side < 2; side++) { /* more in it than it holds; less than nothing */
        store_relaxed(&layout->lines[side].position, 8 * KIB + 1);
        assert_error(open_at(&place, place.layout), -EBADMSG);
        store_relaxed(&layout->lines[side].position, 0);
    }
    assert_ok(open_at(&place, place.layout));
    close_place(&place);
}

TEST(positions_that_the_peer_cannot_have_are_ebadmsg)
{
    /* Of a writer that is too far ahead, and of a reader that is ahead of the writer. */
    static const uint64_t bad[] = {4097, 5000, UINT64_C(1) << 40, UINT64_C(1) << 63, UINT64_MAX};
    static const uint64_t ahead[] = {1, 4096, 4097, UINT64_C(1) << 63, UINT64_MAX - 4096};
    struct both both = open_both(4 * KIB);
    struct pipe_line *lines = both.place.layout->lines;
    void *run;
    const void *seen;
    uint64_t length;
    char byte;
    size_t got;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        store_relaxed(&lines[HF_PIPE_WRITER].position, bad[i]);
        assert_error(hf_pipe_peek(both.reader, 1, HF_FOREVER, &seen, &length), -EBADMSG);
        assert_error(hf_pipe_read(both.reader, &byte, 1, 0, &got), -EBADMSG);
        store_relaxed(&lines[HF_PIPE_WRITER].position, 0);
        store_relaxed(&lines[HF_PIPE_READER].position, ahead[i]);
        assert_error(hf_pipe_reserve(both.writer, 1, HF_FOREVER, &run, &length), -EBADMSG);
        assert_error(hf_pipe_write(both.writer, "x", 1, 0, &got), -EBADMSG);
        store_relaxed(&lines[HF_PIPE_READER].position, 0);
    }
    close_both(&both);
}

/* Of the slots that nobody has taken: who claims it, how it lives, what it left. */
static void scribble_on_a_slot(struct place *place)
{
    struct slot_page *page =
        (void *)((char *)hf_segment_base(place->segment) + HF_SEGMENT_PAGE); /* the first one */
    uint64_t free_slot = 1 + random_below(SLOTS_PER_PAGE - 1);
    struct slot *slot = &page->slots[free_slot];
    uint64_t any = random_below(UINT64_MAX);
    switch (random_below(5)) {
    case 0:
        store_relaxed(&slot->claim, random_below(2) == 0 ? any : random_below(6) | any << 52);
        break;
    case 1:
        store_relaxed(&slot->life_kind, random_below(5));
        break;
    case 2:
        store_relaxed(&slot->identity_thread, (uint32_t)any);
        break;
    case 3:
        store_relaxed(&slot->intent, any);
        break;
    default:
        store_relaxed(&page->life[free_slot], (uint32_t)any);
    }
}

/* Whose a side is: open or not, and any participant's, there or not. */
static uint64_t any_owner(void)
{
    return random_below(4) | random_below(6) << 8 | random_below(3) << 32 |
           (random_below(4) == 0 ? random_below(UINT64_MAX) & ~UINT64_C(0xff) : 0);
}

/* A peer that writes whatever it likes over everything but the ring, for ever. */
_Noreturn static int scribble(void *context)
{
    struct place *place = context;
    struct pipe_layout *layout = place->layout;
    for (;;) {
        struct pipe_line *line = &layout->lines[random_below(2)];
        uint64_t near = load_relaxed(&line->position) + random_below(10000) - 5000;
        uint64_t value = random_below(2) == 0 ? random_below(UINT64_MAX) : near;
        switch (random_below(8)) {
        case 0:
        case 1:
            store_relaxed(&line->owner, any_owner());
            break;
        case 2:
            store_relaxed(&line->needs, (uint32_t)value);
            break;
        case 3:
            *(volatile uint64_t *)&layout->capacity = value;
            break;
        case 4:
            scribble_on_a_slot(place);
            break;
        default:
            store_relaxed(&line->position, value);
        }
    }
}

static bool is_expected_of_a_hostile_peer(int error)
{
    return error == 0 || error == -EBADMSG || error == -EAGAIN || error == -ETIMEDOUT ||
           error == -EPIPE || error == -ECONNRESET;
}

static void use_writer(hf_pipe *writer, uint64_t capacity)
{
    void *run;
    uint64_t length;
    int64_t timeout = MILLISECONDS((int64_t)random_below(2));
    int error = hf_pipe_reserve(writer, random_below(capacity) + 1, timeout, &run, &length);
    assert_true(is_expected_of_a_hostile_peer(error));
    if (error == 0) {
        assert_true(length >= 1 && length <= capacity);
        memset(run, 'w', length);
        assert_ok(hf_pipe_commit(writer, random_below(length + 1)));
    }
}

static void use_reader(hf_pipe *reader, uint64_t capacity)
{
    char bytes[4096];
    size_t got;
    const void *run;
    uint64_t length;
    int64_t timeout = MILLISECONDS((int64_t)random_below(2));
    int error = hf_pipe_peek(reader, random_below(capacity) + 1, timeout, &run, &length);
    assert_true(is_expected_of_a_hostile_peer(error));
    if (error == 0) {
        assert_true(length <= capacity);
        for (uint64_t i = 0; i < length; i += 64) {
            (void)((const volatile char *)run)[i];
        }
        assert_ok(hf_pipe_release(reader, random_below(length + 1)));
    }
    error = hf_pipe_read(reader, bytes, sizeof bytes, 0, &got);
    assert_true(is_expected_of_a_hostile_peer(error));
}

TEST(a_hostile_peer_gives_errors_and_wrong_bytes_but_no_access_outside)
{
    struct both both = open_both(4 * KIB);
    (void)random_below(1);
    pid_t hostile = start_child(scribble, &both.place);
    int64_t end = now_ms() + 1500;
    while (now_ms() < end) {
        use_writer(both.writer, 4 * KIB);
        use_reader(both.reader, 4 * KIB);
    }
    assert_int_equal(kill_and_reap(hostile), -SIGKILL);
    close_both(&both); /* looks at the canary */
}

/* A handle that has seen damage stays with it: each of these is new. */
TEST(a_hostile_peer_of_one_who_opens_gives_errors_but_no_access_outside)
{
    struct place place = new_place(4 * KIB);
    hf_participant self;
    assert_ok(hf_participant_self(place.segment, &self)); /* in the one slot that is left alone */
    (void)random_below(1);
    pid_t hostile = start_child(scribble, &place);
    unsigned opened = 0;
    for (int64_t end = now_ms() + 1500; now_ms() < end;) {
        hf_pipe *pipe;
        hf_pipe_side side = (hf_pipe_side)random_below(2);
        assert_ok(hf_pipe_init(place.segment, place.layout, 4 * KIB));
        int error = hf_pipe_open(place.segment, place.layout, side, &pipe);
        if (error != 0) {
            assert_true(error == -EBADMSG || error == -EBUSY);
            continue;
        }
        opened++;
        for (int i = 0; i < 3; i++) {
            if (side == HF_PIPE_WRITER) {
                use_writer(pipe, 4 * KIB);
            } else {
                use_reader(pipe, 4 * KIB);
            }
        }
        hf_pipe_close(pipe);
    }
    assert_int_equal(kill_and_reap(hostile), -SIGKILL);
    assert_true(opened > 0);
    close_place(&place);
}

_Noreturn static int flip_capacity(void *context)
{
    volatile uint64_t *capacity = &((struct place *)context)->layout->capacity;
    for (;;) {
        *capacity = UINT64_C(1) << 30;
        *capacity = 4 * KIB;
        *capacity = 5;
        *capacity = 4 * KIB;
    }
}

TEST(a_capacity_that_changes_during_open_is_believed_once)
{
    struct place place = new_place(4 * KIB);
    pid_t hostile = start_child(flip_capacity, &place);
    for (int64_t end = now_ms() + 1000; now_ms() < end;) {
        hf_pipe *writer;
        void *run;
        uint64_t length;
        assert_ok(hf_pipe_init(place.segment, place.layout, 4 * KIB));
        int error = hf_pipe_open(place.segment, place.layout, HF_PIPE_WRITER, &writer);
        if (error != 0) {
            assert_error(error, -EBADMSG);
            continue;
        }
        assert_ok(hf_pipe_reserve(writer, 1, 0, &run, &length));
        assert_int_equal(length, 4 * KIB);
        hf_pipe_close(writer);
    }
    assert_int_equal(kill_and_reap(hostile), -SIGKILL);
    close_place(&place);
}

/* ---- cost -------------------------------------------------------------------------------- */

/* 800 bytes in, in two ways, and out again. */
static int cycle(struct both *both)
{
    char bytes[1000];
    size_t count;
    void *run;
    const void *seen;
    uint64_t length;
    int error = hf_pipe_reserve(both->writer, 500, HF_FOREVER, &run, &length);
    uint64_t left = length < 500 ? length : 500;
    error |= hf_pipe_commit(both->writer, left);
    error |= hf_pipe_write(both->writer, bytes, 300, HF_FOREVER, &count);
    error |= hf_pipe_peek(both->reader, 1, HF_FOREVER, &seen, &length);
    error |= hf_pipe_release(both->reader, length);
    left += 300 - length;
    while (error == 0 && left > 0) {
        error = hf_pipe_read(both->reader, bytes, sizeof bytes, HF_FOREVER, &count);
        left -= count;
    }
    return error;
}

/* Not SECCOMP_MODE_STRICT: it takes the time stamp counter away, and with it the clock. */
_Noreturn static int cycle_without_system_calls(void *both)
{
    static const long calls[] = {SYS_futex,
#ifdef SYS_futex_waitv
                                 SYS_futex_waitv,
#endif
                                 SYS_fcntl,       SYS_openat,         SYS_readlink,
                                 SYS_tgkill,      SYS_clock_gettime,  SYS_sched_yield,
                                 SYS_nanosleep,   SYS_clock_nanosleep};
    assert_ok(cycle(both));
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        forbid_syscall(calls[i]);
    }
    int error = 0;
    /* Long enough for what is done now and then. */
    for (int64_t end = now_ms() + 150; error == 0 && now_ms() < end;) {
        error = cycle(both);
    }
    /* Not _exit: a sanitizer stands before it, and its last look makes calls of its own. */
    (void)syscall(SYS_exit_group, error == 0 ? 0 : 1);
    abort();
}

TEST(no_side_makes_a_system_call_while_there_is_room_and_there_are_bytes)
{
    /* Who is not scheduled for 40 ms rightly asks whether the other lives: then once more, with
       a pipe that nobody was killed in. */
    int status = -1;
    for (int i = 0; i < 40 && status != 0; i++) {
        struct both both = open_both(4 * KIB);
        status = run_child(cycle_without_system_calls, &both);
        close_both(&both);
        assert_true(status == 0 || status == -SIGSYS);
    }
    assert_int_equal(status, 0);
}
