/* SPDX-License-Identifier: MIT */
/*
 * What falls between two steps of a wait in the pipe: the numbered steps in pipe.c, and the looks
 * at the peer. The linker puts us between the pipe and the system's functions (--wrap), so that the
 * other side can act exactly there.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/atomic.h"
#include "os/os.h"
#include "support/pipes.h"
#include "support/support.h"

int __real_hf_os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns);
int __wrap_hf_os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns);
int __real_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t timeout_ns);
int __wrap_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t timeout_ns);
bool __real_hf_os_thread_is_gone(const os_identity *identity);
bool __wrap_hf_os_thread_is_gone(const os_identity *identity);
int __real_hf_os_wake(const volatile void *word, int count);
int __wrap_hf_os_wake(const volatile void *word, int count);
uint64_t __real_hf_os_now_ns(void);
uint64_t __wrap_hf_os_now_ns(void);

static void (*at_clock)(void); /* called before each look at the clock */
static void (*at_wait)(void);  /* called before each sleep */
static void (*at_ask)(void);   /* called before the system is asked whether the peer lives */
static bool sleep_long;        /* then no sleep ends by itself: who is not woken has failed */
static _Atomic unsigned waits; /* threads may sleep and wake at the same time */
static _Atomic unsigned wakes;

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

static void before_the_sleep(void)
{
    waits++;
    if (at_wait != NULL) {
        at_wait();
    }
}

static int after_the_sleep(const volatile void *word, uint32_t expected, int result)
{
    if (result == -ETIMEDOUT && lost != NULL) {
        look_for_a_lost_wake(word, expected);
    }
    return result;
}

int __wrap_hf_os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns)
{
    before_the_sleep();
    int64_t ns = sleep_long && timeout_ns > 0 ? SECONDS(30) : timeout_ns;
    int result = __real_hf_os_wait(word, expected, ns);
    return after_the_sleep(word, expected, result);
}

int __wrap_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t timeout_ns)
{
    before_the_sleep();
    int64_t ns = sleep_long ? SECONDS(30) : timeout_ns;
    int result = __real_hf_os_wait_two(word, expected, other, other_expected, ns);
    return after_the_sleep(word, expected, result);
}

static bool kernel_waits_on_two(void)
{
    uint32_t words[2] = {0, 0};
    return __real_hf_os_wait_two(&words[0], 0, &words[1], 0, 1000) != -EOPNOTSUPP;
}

int __wrap_hf_os_wake(const volatile void *word, int count)
{
    wakes++;
    return __real_hf_os_wake(word, count);
}

bool __wrap_hf_os_thread_is_gone(const os_identity *identity)
{
    if (at_ask != NULL) {
        at_ask();
    }
    return __real_hf_os_thread_is_gone(identity);
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

/* ---- a sleeper is woken, and does not wake by itself -------------------------------------- */

/* A slice would hide a lost wake: here it would take 30 s. */
TEST(a_sleeper_is_woken_by_what_it_waits_for)
{
    there = new_place(4 * KIB);
    back = new_place(4 * KIB);
    sleep_long = true;
    (void)random_below(2);
    pid_t child = start_child(answer, NULL);
    hf_pipe *out = open_side(&there, HF_PIPE_WRITER);
    hf_pipe *in = open_side(&back, HF_PIPE_READER);
    shared_u32 *needs = &there.layout->lines[HF_PIPE_READER].needs;
    for (int i = 0; i < 60; i++) {
        char byte = 'x';
        size_t got;
        while (i > 0 && load_acquire(needs) == 0) {
            (void)usleep(100);
        }
        wait_for_state(child, 'S');
        int64_t start = now_ms();
        assert_ok(hf_pipe_write(out, &byte, 1, HF_FOREVER, NULL));
        assert_ok(hf_pipe_read(in, &byte, 1, HF_FOREVER, &got));
        assert_true(now_ms() - start < 10000);
    }
    hf_pipe_close(out);
    assert_int_equal(wait_child(child), 0);
    hf_pipe_close(in);
    close_place(&there);
    close_place(&back);
}

static int sleep_until_the_end(void *context)
{
    hf_pipe *reader = open_side(context, HF_PIPE_READER);
    char byte;
    size_t got;
    assert_ok(hf_pipe_read(reader, &byte, 1, HF_FOREVER, &got));
    assert_int_equal(got, 0);
    hf_pipe_close(reader);
    return 0;
}

static int sleep_until_epipe(void *context)
{
    hf_pipe *writer = open_side(context, HF_PIPE_WRITER);
    char bytes[4097] = {0};
    size_t written;
    assert_error(hf_pipe_write(writer, bytes, 4097, HF_FOREVER, &written), -EPIPE);
    assert_int_equal(written, 4096);
    hf_pipe_close(writer);
    return 0;
}

TEST(a_close_wakes_the_sleeper)
{
    static int (*const sleepers[2])(void *) = {sleep_until_epipe, sleep_until_the_end};
    sleep_long = true;
    for (int i = 0; i < 16; i++) {
        int side = i % 2; /* the sleeper's */
        struct place place = new_place(4 * KIB);
        hf_pipe *mine = open_side(&place, (hf_pipe_side)(1 - side));
        pid_t child = start_child(sleepers[side], &place);
        while (load_acquire(&place.layout->lines[side].needs) == 0) {
            (void)usleep(100);
        }
        wait_for_state(child, 'S');
        int64_t start = now_ms();
        hf_pipe_close(mine);
        assert_int_equal(wait_child(child), 0);
        assert_true(now_ms() - start < 10000);
        close_place(&place);
    }
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

/* ---- a side that closes is not dead ------------------------------------------------------- */

/* The other side, in a thread of its own: it opens, and then, when it is told, writes its last
   words, closes and ends, which leaves the segment. */
static struct {
    pthread_t thread;
    hf_pipe_side side;
    size_t last_words;
    bool gone;
    _Atomic uint32_t opened;
    _Atomic uint32_t told;
} other;

static void *open_and_close(void *unused)
{
    hf_pipe *pipe = open_side(&both.place, other.side);
    store_release(&other.opened, 1u);
    while (load_acquire(&other.told) == 0) {
        (void)sched_yield();
    }
    if (other.side == HF_PIPE_WRITER) {
        assert_ok(hf_pipe_write(pipe, "last", other.last_words, 0, NULL));
    }
    hf_pipe_close(pipe);
    return unused;
}

static void start_other(hf_pipe_side side, size_t last_words)
{
    other.side = side;
    other.last_words = last_words;
    other.gone = false;
    store_release(&other.opened, 0u);
    store_release(&other.told, 0u);
    both.place = new_place(4 * KIB);
    both.writer = NULL;
    both.reader = NULL;
    assert_int_equal(pthread_create(&other.thread, NULL, open_and_close, NULL), 0);
    while (load_acquire(&other.opened) == 0) {
        (void)sched_yield();
    }
}

static void let_the_other_go(void)
{
    at_clock = NULL;
    at_ask = NULL;
    store_release(&other.told, 1u);
    assert_int_equal(pthread_join(other.thread, NULL), 0);
    other.gone = true;
}

/* The last words, and then the end. */
static void expect_last_words(int64_t timeout_ns)
{
    char bytes[8];
    size_t got;
    for (size_t left = other.last_words; left > 0; left -= got) {
        assert_ok(hf_pipe_read(both.reader, bytes, sizeof bytes, timeout_ns, &got));
        assert_in_range(got, 1, left);
    }
    assert_ok(hf_pipe_read(both.reader, bytes, sizeof bytes, timeout_ns, &got));
    assert_int_equal(got, 0);
    assert_true(other.gone);
}

TEST(a_writer_that_closes_and_ends_just_before_one_looks_whether_it_lives_has_not_died)
{
    for (size_t last_words = 0; last_words < 2; last_words++) {
        start_other(HF_PIPE_WRITER, last_words);
        both.reader = open_side(&both.place, HF_PIPE_READER);
        at_clock = let_the_other_go; /* after the look at its side */
        expect_last_words(0);
        close_both();
    }
}

TEST(a_writer_that_closes_and_ends_while_it_is_asked_whether_it_lives_has_not_died)
{
    for (size_t last_words = 0; last_words < 2; last_words++) {
        start_other(HF_PIPE_WRITER, last_words);
        both.reader = open_side(&both.place, HF_PIPE_READER);
        at_ask = let_the_other_go;
        expect_last_words(SECONDS(10));
        close_both();
    }
}

TEST(a_reader_that_closes_and_ends_while_it_is_asked_whether_it_lives_gives_epipe)
{
    start_other(HF_PIPE_READER, 0);
    both.writer = open_side(&both.place, HF_PIPE_WRITER);
    char bytes[4097] = {0};
    size_t written;
    at_ask = let_the_other_go;
    assert_error(hf_pipe_write(both.writer, bytes, sizeof bytes, SECONDS(10), &written), -EPIPE);
    assert_int_equal(written, 4096);
    assert_true(other.gone);
    close_both();
}

/* ---- deaths that the kernel tells --------------------------------------------------------- */

/* Shared by all processes. */
struct notes {
    _Atomic uint32_t ready;
    _Atomic uint32_t pid;
};
static struct notes *notes;
static struct place more; /* a second pipe, in the same segment as that of `both` */

_Noreturn static void wait_for_death(void)
{
    store_release(&notes->ready, 1u);
    for (;;) {
        (void)pause();
    }
}

_Noreturn static int hold_the_writer(void *unused)
{
    (void)unused;
    (void)open_side(&both.place, HF_PIPE_WRITER);
    wait_for_death();
}

_Noreturn static int hold_the_reader(void *unused)
{
    (void)unused;
    (void)open_side(&both.place, HF_PIPE_READER);
    wait_for_death();
}

static pid_t start_ready(int (*run)(void *))
{
    store_release(&notes->ready, 0u);
    pid_t pid = start_child(run, NULL);
    while (load_acquire(&notes->ready) == 0) {
        sleep_ms(1);
    }
    store_release(&notes->pid, (uint32_t)pid);
    return pid;
}

static void kill_the_victim(void)
{
    at_wait = NULL;
    assert_int_equal(kill_and_reap((pid_t)load_acquire(&notes->pid)), -SIGKILL);
}

/* Another process kills it when we have been asleep for a while. */
static pid_t start_killer(void)
{
    pid_t victim = (pid_t)load_acquire(&notes->pid);
    pid_t killer = fork();
    assert_true(killer >= 0);
    if (killer == 0) {
        sleep_ms(30);
        (void)kill(victim, SIGKILL);
        _exit(0);
    }
    return killer;
}

/* What this side is told, whose peer is dead or dies. */
static int told(hf_pipe_side side)
{
    void *run;
    const void *seen;
    uint64_t length;
    return side == HF_PIPE_READER ? hf_pipe_peek(both.reader, 1, HF_FOREVER, &seen, &length)
                                  : hf_pipe_reserve(both.writer, 4096, HF_FOREVER, &run, &length);
}

static const struct {
    int (*victim)(void *);
    int error;
} deaths[2] = {{hold_the_reader, -EPIPE}, {hold_the_writer, -ECONNRESET}}; /* by survivor */

/* A survivor that will sleep, and its peer. */
static void start_death(struct place (*make)(uint64_t), hf_pipe_side side)
{
    both.place = make(4 * KIB);
    both.writer = NULL;
    both.reader = NULL;
    (void)start_ready(deaths[side].victim);
    if (side == HF_PIPE_READER) {
        both.reader = open_side(&both.place, side);
    } else {
        both.writer = open_side(&both.place, side);
        assert_ok(hf_pipe_write(both.writer, "x", 1, 0, NULL));
    }
}

static struct place (*const makes[])(uint64_t) = {new_place, new_object_place};

/* Asleep for 30 s, if it were not for the kernel. */
TEST(a_death_is_told_by_the_kernel_not_found_by_looking)
{
    if (!kernel_waits_on_two()) {
        SKIP("this kernel cannot wait on two words");
    }
    notes = shared_page();
    sleep_long = true;
    for (size_t i = 0; i < 4; i++) {
        hf_pipe_side side = (hf_pipe_side)(i % 2);
        start_death(makes[i / 2], side);
        pid_t victim = (pid_t)load_acquire(&notes->pid);
        pid_t killer = start_killer();
        int64_t start = now_ms();
        assert_error(told(side), deaths[side].error);
        assert_true(now_ms() - start < 10000);
        assert_int_equal(wait_child(killer), 0);
        assert_int_equal(wait_child(victim), -SIGKILL);
        close_both();
    }
}

TEST(a_death_just_before_the_sleep_ends_it_at_once)
{
    if (!kernel_waits_on_two()) {
        SKIP("this kernel cannot wait on two words");
    }
    notes = shared_page();
    sleep_long = true;
    for (size_t i = 0; i < 4; i++) {
        hf_pipe_side side = (hf_pipe_side)(i % 2);
        start_death(makes[i / 2], side);
        at_wait = kill_the_victim;
        int64_t start = now_ms();
        assert_error(told(side), deaths[side].error);
        assert_true(now_ms() - start < 10000);
        close_both();
    }
}

/* A writer here and a reader there. */
_Noreturn static int hold_two_sides(void *unused)
{
    (void)unused;
    (void)open_side(&both.place, HF_PIPE_WRITER);
    (void)open_side(&more, HF_PIPE_READER);
    wait_for_death();
}

static int sleep_in_the_first(void *unused)
{
    (void)unused;
    both.reader = open_side(&both.place, HF_PIPE_READER);
    return told(HF_PIPE_READER) == -ECONNRESET ? 0 : 1;
}

static int sleep_in_the_second(void *unused)
{
    (void)unused;
    both.writer = open_side(&more, HF_PIPE_WRITER);
    assert_ok(hf_pipe_write(both.writer, "x", 1, 0, NULL));
    return told(HF_PIPE_WRITER) == -EPIPE ? 0 : 1;
}

/* The kernel wakes one of them only. */
TEST(all_who_sleep_on_one_dead_peer_are_told)
{
    if (!kernel_waits_on_two()) {
        SKIP("this kernel cannot wait on two words");
    }
    notes = shared_page();
    sleep_long = true;
    for (int i = 0; i < 5; i++) {
        /* Two pipes in one segment: the second where the ring of the first, larger, one was. */
        both.place = new_place(32 * KIB);
        more = both.place;
        more.layout = (struct pipe_layout *)(void *)(both.place.layout->ring + 16 * KIB);
        assert_ok(hf_pipe_init(both.place.segment, both.place.layout, 16 * KIB));
        assert_ok(hf_pipe_init(more.segment, more.layout, 4 * KIB));
        pid_t victim = start_ready(hold_two_sides);
        pid_t first = start_child(sleep_in_the_first, NULL);
        pid_t second = start_child(sleep_in_the_second, NULL);
        while (load_acquire(&both.place.layout->lines[HF_PIPE_READER].needs) == 0 ||
               load_acquire(&more.layout->lines[HF_PIPE_WRITER].needs) == 0) {
            sleep_ms(1);
        }
        wait_for_state(first, 'S');
        wait_for_state(second, 'S');
        assert_int_equal(kill_and_reap(victim), -SIGKILL);
        int64_t start = now_ms();
        assert_int_equal(wait_child(first), 0);
        assert_int_equal(wait_child(second), 0);
        assert_true(now_ms() - start < 10000);
        close_place(&both.place);
    }
}

/* ---- needs and wakes ---------------------------------------------------------------------- */

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
    wakes = 0;
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

static _Atomic uint32_t going; /* told by the reader before a round begins */

static void *write_rounds(void *unused)
{
    for (uint32_t round = 0;; round++) {
        meet(3 * round + 1); /* the pipe is new */
        if (load_acquire(&going) == 0) {
            return unused;
        }
        hf_pipe *writer = open_side(&both.place, HF_PIPE_WRITER);
        meet(3 * round + 2); /* both are open */
        assert_ok(hf_pipe_write(writer, "x", 1, 0, NULL));
        hf_pipe_close(writer);
        meet(3 * round + 3); /* both are closed */
    }
}

static void read_one_and_the_end(hf_pipe *reader)
{
    char bytes[2];
    size_t got;
    assert_ok(hf_pipe_read(reader, bytes, 2, HF_FOREVER, &got));
    assert_int_equal(got, 1);
    assert_ok(hf_pipe_read(reader, bytes, 2, HF_FOREVER, &got));
    assert_int_equal(got, 0);
}

TEST(the_end_of_the_stream_never_overtakes_its_last_byte)
{
    both.place = new_place(4 * KIB);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_rounds, NULL), 0);
    int64_t end = now_ms() + 10000; /* a busy machine takes its time for a meeting */
    for (uint32_t round = 0;; round++) {
        assert_ok(hf_pipe_init(both.place.segment, both.place.layout, 4 * KIB));
        bool more_rounds = round < ROUNDS && now_ms() < end;
        store_release(&going, more_rounds ? 1u : 0u);
        meet(3 * round + 1);
        if (!more_rounds) {
            break;
        }
        hf_pipe *reader = open_side(&both.place, HF_PIPE_READER);
        meet(3 * round + 2);
        read_one_and_the_end(reader);
        hf_pipe_close(reader);
        meet(3 * round + 3);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    close_place(&both.place);
}
