/* SPDX-License-Identifier: MIT */
/*
 * What falls between two steps of a wait in the pipe: the numbered steps in pipe.c, and the looks
 * at the peer. The linker puts us between the pipe and the system's functions (--wrap), so that the
 * other side can act exactly there.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "os/os.h"
#include "support/pipes.h"
#include "support/support.h"

int __real_hf_os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns);
int __wrap_hf_os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns);
int __real_hf_os_byte_locked(int fd, uint64_t offset, bool *locked);
int __wrap_hf_os_byte_locked(int fd, uint64_t offset, bool *locked);
int __real_hf_os_wake(const volatile void *word, int count);
int __wrap_hf_os_wake(const volatile void *word, int count);
uint64_t __real_hf_os_now_ns(void);
uint64_t __wrap_hf_os_now_ns(void);

static void (*at_clock)(void); /* called before each look at the clock */
static void (*at_wait)(void);  /* called before each sleep */
static void (*at_ask)(void);   /* called before the system is asked whether the peer lives */
static unsigned waits;
static unsigned wakes;

static struct both {
    struct place place;
    hf_pipe *writer;
    hf_pipe *reader;
} both;

static void open_both(void)
{
    both.place = new_place(4 * KIB);
    both.writer = open_side(&both.place, HF_PIPE_WRITER);
    both.reader = open_side(&both.place, HF_PIPE_READER);
}

static void close_both(void)
{
    at_clock = NULL;
    at_wait = NULL;
    at_ask = NULL;
    hf_pipe_close(both.writer);
    hf_pipe_close(both.reader);
    close_place(&both.place);
}

/* ---- a wake is never lost ---------------------------------------------------------------- */

/* Shared by both processes: sleeps that ended by time while there was something. */
static _Atomic uint32_t *lost;
static struct place there; /* questions */
static struct place back;  /* answers */

/* Is there a byte to read for this reader? */
static bool has_a_byte(const struct pipe_line *reader)
{
    bool answers = reader == &back.layout->lines[HF_PIPE_READER];
    const struct pipe_line *lines = (answers ? &back : &there)->layout->lines;
    return load_acquire(&lines[HF_PIPE_WRITER].position) !=
           load_acquire(&lines[HF_PIPE_READER].position);
}

/* A peer that was only held up by the scheduler clears `needs` soon; one that never saw it does
   not. */
static void look_for_a_lost_wake(const volatile void *word, uint32_t expected)
{
    const struct pipe_line *mine =
        (const void *)((const volatile char *)word - offsetof(struct pipe_line, needs));
    for (int i = 0; i < 200; i++) {
        if (load_acquire(&mine->needs) != expected || !has_a_byte(mine)) {
            return;
        }
        sleep_ms(10);
    }
    (void)fetch_add_release(lost, 1u);
}

int __wrap_hf_os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns)
{
    waits++;
    if (at_wait != NULL) {
        at_wait();
    }
    int result = __real_hf_os_wait(word, expected, timeout_ns);
    if (result == -ETIMEDOUT && lost != NULL) {
        look_for_a_lost_wake(word, expected);
    }
    return result;
}

int __wrap_hf_os_wake(const volatile void *word, int count)
{
    wakes++;
    return __real_hf_os_wake(word, count);
}

int __wrap_hf_os_byte_locked(int fd, uint64_t offset, bool *locked)
{
    if (at_ask != NULL) {
        at_ask();
    }
    return __real_hf_os_byte_locked(fd, offset, locked);
}

uint64_t __wrap_hf_os_now_ns(void)
{
    if (at_clock != NULL) {
        at_clock();
    }
    return __real_hf_os_now_ns();
}

/* Some time from nothing to about what it takes to be woken. */
static void dawdle(void)
{
    for (uint64_t left = random_below(20000); left > 0; left--) {
        (void)*(volatile const uint64_t *)&left;
    }
}

static int answer(void *unused)
{
    (void)unused;
    hf_pipe *in = open_side(&there, HF_PIPE_READER);
    hf_pipe *out = open_side(&back, HF_PIPE_WRITER);
    for (size_t got = 1; got > 0;) {
        char byte;
        assert_ok(hf_pipe_read(in, &byte, 1, HF_FOREVER, &got));
        dawdle();
        assert_ok(hf_pipe_write(out, &byte, got, HF_FOREVER, NULL));
    }
    hf_pipe_close(in);
    hf_pipe_close(out);
    return 0;
}

/* Each goes to sleep about when the other has something for it. A wake that is lost stays lost:
   the other then sleeps as well. */
TEST(no_wake_is_lost_when_one_goes_to_sleep_as_the_other_wakes_it)
{
    there = new_place(4 * KIB);
    back = new_place(4 * KIB);
    lost = shared_page();
    (void)random_below(2); /* draws the seed for both */
    pid_t child = start_child(answer, NULL);
    hf_pipe *out = open_side(&there, HF_PIPE_WRITER);
    hf_pipe *in = open_side(&back, HF_PIPE_READER);
    for (int64_t end = now_ms() + 2000; now_ms() < end && load_acquire(lost) == 0;) {
        char byte = 'x';
        size_t got;
        assert_ok(hf_pipe_write(out, &byte, 1, HF_FOREVER, NULL));
        dawdle();
        assert_ok(hf_pipe_read(in, &byte, 1, HF_FOREVER, &got));
    }
    hf_pipe_close(out);
    assert_int_equal(wait_child(child), 0);
    print_message("this side slept %u times\n", waits);
    assert_int_equal(load_acquire(lost), 0);
    hf_pipe_close(in);
    close_place(&there);
    close_place(&back);
}

/* ---- what the other side does in a window ------------------------------------------------ */

static unsigned looks_at_the_clock;

static void commit_at_the_second_look(void)
{
    if (++looks_at_the_clock == 2) { /* the first begins the wait; after this one comes (1) */
        at_clock = NULL;
        assert_ok(hf_pipe_write(both.writer, "x", 1, 0, NULL));
    }
}

TEST(what_is_committed_after_the_spin_and_before_the_sleep_is_seen_without_a_sleep)
{
    open_both();
    const void *run;
    uint64_t length;
    at_clock = commit_at_the_second_look;
    assert_ok(hf_pipe_peek(both.reader, 1, SECONDS(10), &run, &length));
    assert_int_equal(length, 1);
    assert_int_equal(looks_at_the_clock, 2);
    assert_int_equal(waits, 0);
    close_both();
}

static void commit_once(void)
{
    at_wait = NULL;
    assert_ok(hf_pipe_write(both.writer, "x", 1, 0, NULL));
}

TEST(what_is_committed_just_before_the_sleep_ends_it_at_once)
{
    open_both();
    const void *run;
    uint64_t length;
    int64_t best = INT64_MAX;
    for (int i = 0; i < 10 && best >= 10; i++) {
        at_wait = commit_once;
        waits = 0;
        int64_t start = now_ms();
        assert_ok(hf_pipe_peek(both.reader, 1, SECONDS(10), &run, &length));
        int64_t took = now_ms() - start;
        best = took < best ? took : best;
        assert_int_equal(waits, 1);
        assert_ok(hf_pipe_release(both.reader, 1));
    }
    assert_true(best < 10); /* and not a slice of 50 */
    close_both();
}

static size_t last_words;

static void close_the_writer(void)
{
    at_ask = NULL;
    assert_ok(hf_pipe_write(both.writer, "last", last_words, 0, NULL));
    hf_pipe_close(both.writer);
    both.writer = NULL;
}

TEST(a_writer_that_closes_while_it_is_asked_whether_it_lives_has_not_died)
{
    for (last_words = 0; last_words < 2; last_words++) {
        open_both();
        char bytes[8];
        size_t got;
        at_ask = close_the_writer;
        for (size_t left = last_words; left > 0; left -= got) {
            assert_ok(hf_pipe_read(both.reader, bytes, sizeof bytes, SECONDS(10), &got));
            assert_in_range(got, 1, left);
        }
        assert_ok(hf_pipe_read(both.reader, bytes, sizeof bytes, SECONDS(10), &got));
        assert_int_equal(got, 0);
        assert_null(both.writer);
        close_both();
    }
}

static void close_the_reader(void)
{
    at_ask = NULL;
    hf_pipe_close(both.reader);
    both.reader = NULL;
}

TEST(a_reader_that_closes_while_it_is_asked_whether_it_lives_gives_epipe)
{
    open_both();
    char bytes[4097] = {0};
    size_t written;
    at_ask = close_the_reader;
    assert_error(hf_pipe_write(both.writer, bytes, sizeof bytes, SECONDS(10), &written), -EPIPE);
    assert_int_equal(written, 4096);
    close_both();
}

/* Does the peer's memory say that it sleeps for something, as a dead sleeper's does for ever? */
TEST(needs_that_a_dead_sleeper_left_do_not_hold_the_other_side_up)
{
    open_both();
    store_relaxed(&both.place.layout->lines[HF_PIPE_READER].needs, 1u);
    assert_ok(hf_pipe_write(both.writer, "x", 1, 0, NULL));
    assert_int_equal(load_relaxed(&both.place.layout->lines[HF_PIPE_READER].needs), 0);
    close_both();
}

TEST(who_sleeps_for_much_is_woken_once_and_not_before)
{
    open_both();
    char bytes[4096] = {0};
    store_relaxed(&both.place.layout->lines[HF_PIPE_READER].needs, 100u);
    assert_ok(hf_pipe_write(both.writer, bytes, 50, 0, NULL));
    assert_ok(hf_pipe_write(both.writer, bytes, 49, 0, NULL));
    assert_int_equal(wakes, 0);
    assert_ok(hf_pipe_write(both.writer, bytes, 1, 0, NULL));
    assert_int_equal(wakes, 1);
    assert_ok(hf_pipe_write(both.writer, bytes, 4096 - 100, 0, NULL));
    assert_int_equal(wakes, 1);
    store_relaxed(&both.place.layout->lines[HF_PIPE_WRITER].needs, 4096u);
    size_t got;
    assert_ok(hf_pipe_read(both.reader, bytes, 4095, 0, &got));
    assert_int_equal(wakes, 1);
    assert_ok(hf_pipe_read(both.reader, bytes, 1, 0, &got));
    assert_int_equal(wakes, 2);
    close_both();
}

/* ---- the end and the last bytes ---------------------------------------------------------- */

#if UNDER_ASAN || UNDER_TSAN
#define ROUNDS 3000u
#else
#define ROUNDS 20000u
#endif

/* Two threads meet before each round. */
static _Atomic uint32_t arrived;

static void meet(uint32_t meetings)
{
    (void)fetch_add_release(&arrived, 1u);
    for (unsigned turns = 0; load_acquire(&arrived) < 2 * meetings; turns++) {
        if (turns > 20000) {
            (void)sched_yield();
        }
    }
}

static void *write_rounds(void *unused)
{
    for (uint32_t round = 0; round < ROUNDS; round++) {
        meet(3 * round + 1); /* the pipe is new */
        hf_pipe *writer = open_side(&both.place, HF_PIPE_WRITER);
        meet(3 * round + 2); /* both are open */
        assert_ok(hf_pipe_write(writer, "x", 1, 0, NULL));
        hf_pipe_close(writer);
        meet(3 * round + 3); /* both are closed */
    }
    return unused;
}

TEST(the_end_of_the_stream_never_overtakes_its_last_byte)
{
    both.place = new_place(4 * KIB);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_rounds, NULL), 0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        assert_ok(hf_pipe_init(both.place.layout, 4 * KIB));
        meet(3 * round + 1);
        hf_pipe *reader = open_side(&both.place, HF_PIPE_READER);
        meet(3 * round + 2);
        char bytes[2];
        size_t got;
        assert_ok(hf_pipe_read(reader, bytes, 2, HF_FOREVER, &got));
        assert_int_equal(got, 1);
        assert_ok(hf_pipe_read(reader, bytes, 2, HF_FOREVER, &got));
        assert_int_equal(got, 0);
        hf_pipe_close(reader);
        meet(3 * round + 3);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    close_place(&both.place);
}
