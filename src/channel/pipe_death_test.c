/* SPDX-License-Identifier: MIT */
/* The pipe when a side dies, at any moment; and when it is only stopped. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "support/pipes.h"
#include "support/support.h"

/* What a victim and we tell each other. */
struct notes {
    _Atomic uint64_t committed; /* by the victim: noted after each commit */
    _Atomic uint64_t noticed;   /* when the survivor got its error, in ms */
    _Atomic uint32_t ready;
    _Atomic uint32_t pid;
};

struct scene {
    struct place place;
    struct notes *notes;
};

static struct scene new_scene(uint64_t capacity)
{
    return (struct scene){.place = new_place(capacity), .notes = shared_page()};
}

static bool is_ready(void *scene)
{
    return load_acquire(&((struct scene *)scene)->notes->ready) != 0;
}

_Noreturn static void wait_for_death(void)
{
    for (;;) {
        (void)pause();
    }
}

/* A death is noticed within a tenth of a second. The machine may be busy: the middle one of some
   counts, and none may take long. */
#define NOTICED_MS 150
#define DEATHS     5

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void expect_noticed_in_time(int64_t *times, size_t count)
{
    qsort(times, count, sizeof *times, by_size);
    print_message("noticed after %lld ms, at most %lld ms\n", (long long)times[count / 2],
                  (long long)times[count - 1]);
    assert_true(times[count / 2] <= NOTICED_MS);
    assert_true(times[count - 1] <= 3000);
}

/* ---- the writer dies --------------------------------------------------------------------- */

#define LARGEST_PIECE 3000

/* Writes for ever, in place, and notes how much it has committed. */
_Noreturn static int write_for_ever(void *context)
{
    struct scene *scene = context;
    hf_pipe *pipe = open_side(&scene->place, HF_PIPE_WRITER);
    store_release(&scene->notes->ready, 1u);
    for (uint64_t done = 0;;) {
        void *run;
        uint64_t length;
        uint64_t n = random_below(LARGEST_PIECE) + 1;
        assert_ok(hf_pipe_reserve(pipe, n, HF_FOREVER, &run, &length));
        n = n < length ? n : length;
        memset(run, 0xee, length); /* what is not committed must not be seen */
        make_bytes(run, done, n);
        assert_ok(hf_pipe_commit(pipe, n));
        done += n;
        store_release(&scene->notes->committed, done);
    }
}

/* Reads to the end; returns the error that ends it. */
static int read_all(hf_pipe *reader, uint64_t *total)
{
    static char bytes[1 << 16];
    for (*total = 0;;) {
        size_t got;
        int error = hf_pipe_read(reader, bytes, random_below(sizeof bytes) + 1, SECONDS(10), &got);
        if (error != 0 || got == 0) {
            return error;
        }
        expect_bytes(bytes, *total, got);
        *total += got;
    }
}

static int64_t kill_a_writer(uint64_t capacity, uint64_t limit_us)
{
    struct scene scene = new_scene(capacity);
    (void)random_below(2); /* each victim draws its own */
    pid_t writer = start_child(write_for_ever, &scene);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    assert_true(wait_until(is_ready, &scene, 10000));
    pid_t killer = fork(); /* so that the reader reads meanwhile */
    if (killer == 0) {
        (void)usleep((useconds_t)random_below(limit_us));
        store_release(&scene.notes->noticed, (uint64_t)now_ms());
        (void)kill(writer, SIGKILL);
        _exit(0);
    }
    uint64_t total;
    assert_error(read_all(reader, &total), -ECONNRESET);
    int64_t took = now_ms() - (int64_t)load_acquire(&scene.notes->noticed);
    assert_int_equal(wait_child(killer), 0);
    assert_int_equal(wait_child(writer), -SIGKILL);
    /* All that was committed; what was committed and not noted any more counts too. */
    uint64_t committed = load_acquire(&scene.notes->committed);
    assert_true(total >= committed && total <= committed + LARGEST_PIECE);
    assert_error(read_all(reader, &total), -ECONNRESET);
    assert_int_equal(total, 0);
    hf_pipe_close(reader);
    close_place(&scene.place);
    return took;
}

TEST(a_writer_killed_at_any_moment_leaves_all_that_it_had_committed)
{
    int64_t times[40];
    for (size_t i = 0; i < 40; i++) {
        times[i] = kill_a_writer(i % 2 == 0 ? 4 * KIB : 64 * KIB, 3000);
    }
    expect_noticed_in_time(times, 40);
}

/* Takes a side, leaves some bytes and a reservation, and waits to be killed. */
_Noreturn static int write_and_wait(void *context)
{
    struct scene *scene = context;
    hf_pipe *pipe = open_side(&scene->place, HF_PIPE_WRITER);
    char bytes[1000];
    void *run;
    uint64_t length;
    make_bytes(bytes, 0, sizeof bytes);
    assert_ok(hf_pipe_write(pipe, bytes, sizeof bytes, HF_FOREVER, NULL));
    assert_ok(hf_pipe_reserve(pipe, 1000, HF_FOREVER, &run, &length));
    memset(run, 'x', length);
    store_release(&scene->notes->ready, 1u);
    wait_for_death();
}

_Noreturn static int read_and_wait(void *context)
{
    struct scene *scene = context;
    (void)open_side(&scene->place, HF_PIPE_READER);
    store_release(&scene->notes->ready, 1u);
    wait_for_death();
}

static pid_t start_ready(int (*run)(void *), struct scene *scene)
{
    pid_t pid = start_child(run, scene);
    assert_true(wait_until(is_ready, scene, 10000));
    return pid;
}

TEST(a_reader_that_opens_after_the_writers_death_gets_what_was_committed)
{
    struct scene scene = new_scene(4 * KIB);
    assert_int_equal(kill_and_reap(start_ready(write_and_wait, &scene)), -SIGKILL);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    const void *run;
    uint64_t length;
    /* More than there will ever be: what is left. */
    assert_ok(hf_pipe_peek(reader, 2000, SECONDS(10), &run, &length));
    assert_int_equal(length, 1000);
    uint64_t total;
    assert_error(read_all(reader, &total), -ECONNRESET);
    assert_int_equal(total, 1000);
    hf_pipe_close(reader);
    close_place(&scene.place);
}

static int leave_without_closing(void *context)
{
    struct scene *scene = context;
    (void)open_side(&scene->place, HF_PIPE_WRITER);
    return 0;
}

TEST(a_writer_that_exits_without_closing_has_died)
{
    struct scene scene = new_scene(4 * KIB);
    assert_int_equal(run_child(leave_without_closing, &scene), 0);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    uint64_t total;
    assert_error(read_all(reader, &total), -ECONNRESET);
    assert_int_equal(total, 0);
    hf_pipe_close(reader);
    close_place(&scene.place);
}

TEST(the_side_of_a_dead_process_is_not_taken_again)
{
    struct scene scene = new_scene(4 * KIB);
    hf_pipe *pipe = NULL;
    struct place *place = &scene.place;
    assert_int_equal(kill_and_reap(start_ready(write_and_wait, &scene)), -SIGKILL);
    store_release(&scene.notes->ready, 0u);
    assert_int_equal(kill_and_reap(start_ready(read_and_wait, &scene)), -SIGKILL);
    for (hf_pipe_side side = HF_PIPE_WRITER; side <= HF_PIPE_READER; side++) {
        assert_error(hf_pipe_open(place->memory, place->region, place->offset, side, &pipe),
                     -EBUSY);
    }
    assert_null(pipe);
    close_place(place);
}

/* ---- the survivor, asleep or trying ------------------------------------------------------ */

static void note_the_time(struct scene *scene)
{
    store_release(&scene->notes->noticed, (uint64_t)now_ms());
}

static int survive_as_reader(void *context)
{
    struct scene *scene = context;
    hf_pipe *reader = open_side(&scene->place, HF_PIPE_READER);
    const void *run;
    uint64_t length;
    assert_ok(hf_pipe_peek(reader, 1000, HF_FOREVER, &run, &length));
    assert_ok(hf_pipe_release(reader, 1000));
    assert_error(hf_pipe_peek(reader, 1, HF_FOREVER, &run, &length), -ECONNRESET);
    note_the_time(scene);
    hf_pipe_close(reader);
    return 0;
}

static int survive_as_writer(void *context)
{
    struct scene *scene = context;
    hf_pipe *writer = open_side(&scene->place, HF_PIPE_WRITER);
    void *run;
    uint64_t length;
    assert_ok(hf_pipe_reserve(writer, 4096, HF_FOREVER, &run, &length));
    assert_ok(hf_pipe_commit(writer, 4096));
    assert_error(hf_pipe_reserve(writer, 1, HF_FOREVER, &run, &length), -EPIPE);
    note_the_time(scene);
    hf_pipe_close(writer);
    return 0;
}

static int survive_by_trying(void *context)
{
    struct scene *scene = context;
    hf_pipe *reader = open_side(&scene->place, HF_PIPE_READER);
    char bytes[1000];
    size_t got;
    assert_ok(hf_pipe_read(reader, bytes, sizeof bytes, 0, &got));
    assert_int_equal(got, 1000);
    int error;
    while ((error = hf_pipe_read(reader, bytes, 1, 0, &got)) == -EAGAIN) {
        (void)usleep(1000);
    }
    assert_error(error, -ECONNRESET);
    note_the_time(scene);
    hf_pipe_close(reader);
    return 0;
}

static void kill_beside_a_survivor(int (*victim)(void *), int (*survivor)(void *))
{
    int64_t times[DEATHS];
    for (size_t i = 0; i < DEATHS; i++) {
        struct scene scene = new_scene(4 * KIB);
        pid_t victim_pid = start_ready(victim, &scene);
        pid_t survivor_pid = start_child(survivor, &scene);
        /* Asleep in the pipe, for some slices. */
        sleep_ms(60 + (int64_t)random_below(60));
        wait_for_state(survivor_pid, 'S');
        int64_t killed = now_ms();
        assert_int_equal(kill_and_reap(victim_pid), -SIGKILL);
        assert_int_equal(wait_child_for(survivor_pid, 10000), 0);
        times[i] = (int64_t)load_acquire(&scene.notes->noticed) - killed;
        close_place(&scene.place);
    }
    expect_noticed_in_time(times, DEATHS);
}

TEST(a_sleeping_reader_notices_the_writers_death)
{
    kill_beside_a_survivor(write_and_wait, survive_as_reader);
}

TEST(a_sleeping_writer_notices_the_readers_death)
{
    kill_beside_a_survivor(read_and_wait, survive_as_writer);
}

TEST(a_reader_that_only_ever_tries_notices_the_writers_death)
{
    kill_beside_a_survivor(write_and_wait, survive_by_trying);
}

/* ---- not dead ---------------------------------------------------------------------------- */

static int write_when_told(void *context)
{
    struct scene *scene = context;
    hf_pipe *pipe = open_side(&scene->place, HF_PIPE_WRITER);
    store_release(&scene->notes->ready, 1u);
    assert_int_equal(raise(SIGSTOP), 0);
    assert_ok(hf_pipe_write(pipe, "awake", 5, SECONDS(10), NULL));
    hf_pipe_close(pipe);
    return 0;
}

TEST(a_stopped_writer_is_alive)
{
    struct scene scene = new_scene(4 * KIB);
    pid_t writer = start_ready(write_when_told, &scene);
    wait_for_state(writer, 'T');
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    char bytes[8];
    size_t got;
    assert_error(hf_pipe_read(reader, bytes, 8, SECONDS(1), &got), -ETIMEDOUT);
    assert_error(hf_pipe_read(reader, bytes, 8, 0, &got), -EAGAIN);
    assert_int_equal(kill(writer, SIGCONT), 0);
    assert_ok(hf_pipe_read(reader, bytes, 8, SECONDS(10), &got));
    assert_int_equal(got, 5);
    assert_memory_equal(bytes, "awake", 5);
    assert_ok(hf_pipe_read(reader, bytes, 8, SECONDS(10), &got));
    assert_int_equal(got, 0);
    assert_int_equal(wait_child(writer), 0);
    hf_pipe_close(reader);
    close_place(&scene.place);
}

static int read_when_told(void *context)
{
    struct scene *scene = context;
    hf_pipe *pipe = open_side(&scene->place, HF_PIPE_READER);
    store_release(&scene->notes->ready, 1u);
    assert_int_equal(raise(SIGSTOP), 0);
    uint64_t total;
    assert_error(read_all(pipe, &total), 0);
    hf_pipe_close(pipe);
    return total == 4097 ? 0 : 1;
}

TEST(a_stopped_reader_is_alive)
{
    struct scene scene = new_scene(4 * KIB);
    pid_t reader = start_ready(read_when_told, &scene);
    wait_for_state(reader, 'T');
    hf_pipe *writer = open_side(&scene.place, HF_PIPE_WRITER);
    char bytes[4097];
    size_t written;
    make_bytes(bytes, 0, sizeof bytes);
    assert_error(hf_pipe_write(writer, bytes, 4097, SECONDS(1), &written), -ETIMEDOUT);
    assert_int_equal(written, 4096);
    assert_error(hf_pipe_write(writer, bytes + 4096, 1, 0, &written), -EAGAIN);
    assert_int_equal(kill(reader, SIGCONT), 0);
    assert_ok(hf_pipe_write(writer, bytes + 4096, 1, SECONDS(10), &written));
    hf_pipe_close(writer);
    assert_int_equal(wait_child(reader), 0);
    close_place(&scene.place);
}

/* Opens, and forks a child that keeps the bond: it neither closes nor executes anything. */
_Noreturn static int fork_after_open(void *context)
{
    struct scene *scene = context;
    (void)open_side(&scene->place, HF_PIPE_WRITER);
    pid_t keeper = fork();
    if (keeper == 0) {
        (void)prctl(PR_SET_PDEATHSIG, 0);
        (void)alarm(15); /* should the test die */
        wait_for_death();
    }
    store_release(&scene->notes->pid, (uint32_t)keeper);
    store_release(&scene->notes->ready, 1u);
    wait_for_death();
}

TEST(a_child_forked_after_open_keeps_the_side_alive_and_no_longer_than_it_lives)
{
    struct scene scene = new_scene(4 * KIB);
    assert_int_equal(kill_and_reap(start_ready(fork_after_open, &scene)), -SIGKILL);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    char byte;
    size_t got;
    assert_error(hf_pipe_read(reader, &byte, 1, MILLISECONDS(300), &got), -ETIMEDOUT);
    assert_int_equal(kill((pid_t)load_acquire(&scene.notes->pid), SIGKILL), 0);
    assert_error(hf_pipe_read(reader, &byte, 1, SECONDS(10), &got), -ECONNRESET);
    hf_pipe_close(reader);
    close_place(&scene.place);
}

_Noreturn static int spawn_after_open(void *context)
{
    struct scene *scene = context;
    (void)open_side(&scene->place, HF_PIPE_WRITER);
    pid_t executed = fork();
    if (executed == 0) {
        (void)prctl(PR_SET_PDEATHSIG, 0);
        (void)execlp("sleep", "sleep", "15", (char *)NULL);
        _exit(127);
    }
    store_release(&scene->notes->pid, (uint32_t)executed);
    store_release(&scene->notes->ready, 1u);
    wait_for_death();
}

TEST(a_program_executed_after_open_does_not_keep_the_side_alive)
{
    struct scene scene = new_scene(4 * KIB);
    assert_int_equal(kill_and_reap(start_ready(spawn_after_open, &scene)), -SIGKILL);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    char byte;
    size_t got;
    assert_error(hf_pipe_read(reader, &byte, 1, SECONDS(10), &got), -ECONNRESET);
    assert_int_equal(kill((pid_t)load_acquire(&scene.notes->pid), SIGKILL), 0);
    hf_pipe_close(reader);
    close_place(&scene.place);
}

/* ---- however the survivor waits ---------------------------------------------------------- */

static void ignore(int number)
{
    (void)number;
}

/* A signal every 10 ms, as a profiler sends: no sleep lasts a whole slice. */
static void start_ticking(void)
{
    struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
    struct itimerval every = {.it_interval = {.tv_usec = 10000}, .it_value = {.tv_usec = 10000}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

/* Waits with each timeout until it is told of a death or 3 s are over; returns what it was told. */
static int poll_until_told(hf_pipe *reader, int64_t timeout_ns)
{
    int64_t end = now_ms() + 3000;
    int error;
    do {
        const void *run;
        uint64_t length;
        error = hf_pipe_peek(reader, 1, timeout_ns, &run, &length);
    } while ((error == -ETIMEDOUT || error == -EAGAIN) && now_ms() < end);
    return error;
}

static int told_with_timeout(int64_t timeout_ns)
{
    struct scene scene = new_scene(4 * KIB);
    pid_t writer = start_ready(write_and_wait, &scene);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    const void *run;
    uint64_t length;
    assert_ok(hf_pipe_peek(reader, 1000, SECONDS(5), &run, &length));
    assert_ok(hf_pipe_release(reader, 1000));
    assert_int_equal(kill_and_reap(writer), -SIGKILL);
    int error = poll_until_told(reader, timeout_ns);
    hf_pipe_close(reader);
    close_place(&scene.place);
    return error;
}

TEST(a_death_is_told_whatever_the_timeouts)
{
    static const int64_t timeouts[] = {0, 1, 300, MILLISECONDS(1), MILLISECONDS(49)};
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        assert_error(told_with_timeout(timeouts[i]), -ECONNRESET);
    }
}

TEST(a_death_is_told_to_who_is_interrupted_by_signals_all_the_time)
{
    start_ticking();
    assert_error(told_with_timeout(SECONDS(2)), -ECONNRESET);
}

TEST(a_readers_death_is_told_to_a_writer_that_never_has_to_wait)
{
    struct scene scene = new_scene(MIB);
    pid_t reader = start_ready(read_and_wait, &scene);
    hf_pipe *writer = open_side(&scene.place, HF_PIPE_WRITER);
    assert_ok(hf_pipe_write(writer, "x", 1, 0, NULL));
    assert_int_equal(kill_and_reap(reader), -SIGKILL);
    int error = 0;
    int64_t end = now_ms() + 3000;
    while (error == 0 && now_ms() < end) {
        error = hf_pipe_write(writer, "x", 1, HF_FOREVER, NULL);
        sleep_ms(1);
    }
    assert_error(error, -EPIPE);
    hf_pipe_close(writer);
    close_place(&scene.place);
}

TEST(a_peers_life_that_goes_backward_or_is_unknown_is_damage)
{
    static const uint32_t states[] = {0, 3, 7, UINT32_MAX};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        struct scene scene = new_scene(4 * KIB);
        pid_t writer = start_ready(write_and_wait, &scene);
        hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
        const void *run;
        uint64_t length;
        assert_ok(hf_pipe_peek(reader, 1, SECONDS(5), &run, &length));
        store_release(&scene.place.layout->lines[HF_PIPE_WRITER].state, states[i]);
        (void)kill_and_reap(writer);
        assert_error(hf_pipe_peek(reader, 2000, SECONDS(2), &run, &length), -EBADMSG);
        hf_pipe_close(reader);
        close_place(&scene.place);
    }
}
