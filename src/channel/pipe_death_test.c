/* SPDX-License-Identifier: MIT */
/* The pipe when a side dies, at any moment; and when it is only stopped. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "segment/participant.h"
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

/* A buffer, where the system is asked about the thread; or an object, whose processes hold byte
   locks as well. */
static struct place (*make_place)(uint64_t) = new_place;

static struct scene new_scene(uint64_t capacity)
{
    return (struct scene){.place = make_place(capacity), .notes = shared_page()};
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
   counts, if need be of others, and none may take long. */
#define NOTICED_MS  150
#define DEATHS_MAX  40
#define DEATHS      5
#define TIMES_AGAIN 6

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* `die` has one die and gives the milliseconds until that was noticed. */
static void expect_noticed_in_time(int64_t (*die)(const void *how), const void *how, size_t count)
{
    int64_t times[DEATHS_MAX];
    for (int again = 0; again < TIMES_AGAIN; again++) {
        for (size_t i = 0; i < count; i++) {
            times[i] = die(how);
        }
        qsort(times, count, sizeof *times, by_size);
        print_message("noticed after %lld ms, at most %lld ms\n", (long long)times[count / 2],
                      (long long)times[count - 1]);
        assert_true(times[count - 1] <= 8000);
        if (times[count / 2] <= NOTICED_MS) {
            return;
        }
    }
    fail_msg("deaths are noticed too late");
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

static int64_t kill_some_writer(const void *unused)
{
    static unsigned writers;
    (void)unused;
    return kill_a_writer(writers++ % 2 == 0 ? 4 * KIB : 64 * KIB, 3000);
}

TEST(a_writer_killed_at_any_moment_leaves_all_that_it_had_committed)
{
    expect_noticed_in_time(kill_some_writer, NULL, DEATHS_MAX);
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
        assert_error(hf_pipe_open(place->segment, place->layout, side, &pipe), -EBUSY);
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

struct pair {
    int (*victim)(void *);
    int (*survivor)(void *);
};

static int64_t kill_one_of(const void *how)
{
    const struct pair *pair = how;
    struct scene scene = new_scene(4 * KIB);
    pid_t victim = start_ready(pair->victim, &scene);
    pid_t survivor = start_child(pair->survivor, &scene);
    /* Asleep in the pipe, for some slices. */
    sleep_ms(60 + (int64_t)random_below(60));
    wait_for_state(survivor, 'S');
    int64_t killed = now_ms();
    assert_int_equal(kill_and_reap(victim), -SIGKILL);
    assert_int_equal(wait_child_for(survivor, 10000), 0);
    close_place(&scene.place);
    return (int64_t)load_acquire(&scene.notes->noticed) - killed;
}

static void kill_beside_a_survivor(int (*victim)(void *), int (*survivor)(void *))
{
    const struct pair pair = {victim, survivor};
    expect_noticed_in_time(kill_one_of, &pair, DEATHS);
}

static void kill_beside_all_survivors(void)
{
    kill_beside_a_survivor(write_and_wait, survive_as_reader);
    kill_beside_a_survivor(read_and_wait, survive_as_writer);
    kill_beside_a_survivor(write_and_wait, survive_by_trying);
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

TEST(a_death_in_a_segment_with_a_descriptor_is_noticed)
{
    make_place = new_object_place;
    kill_beside_all_survivors();
}

/* ---- what the kernel refuses -------------------------------------------------------------- */

static void refuse_robust_lists(void)
{
    refuse_syscall(SYS_get_robust_list, ENOSYS);
    refuse_syscall(SYS_set_robust_list, ENOSYS);
}

static void refuse_waiting_on_two(void)
{
#ifdef SYS_futex_waitv
    refuse_syscall(SYS_futex_waitv, EPERM);
#endif
}

TEST(without_robust_lists_a_death_is_noticed_by_the_byte_lock)
{
    refuse_robust_lists();
    make_place = new_object_place;
    kill_beside_all_survivors();
}

TEST(without_robust_lists_and_without_a_descriptor_the_system_is_asked_about_the_thread)
{
    refuse_robust_lists();
    kill_beside_all_survivors();
}

TEST(without_waiting_on_two_words_a_death_is_noticed)
{
    refuse_waiting_on_two();
    kill_beside_all_survivors();
}

TEST(without_either_a_death_is_noticed)
{
    refuse_robust_lists();
    refuse_waiting_on_two();
    make_place = new_object_place;
    kill_beside_all_survivors();
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

static void expect_a_stopped_writer_alive(void)
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

TEST(a_stopped_writer_is_alive)
{
    expect_a_stopped_writer_alive();
}

TEST(without_robust_lists_a_stopped_writer_is_alive)
{
    refuse_robust_lists();
    make_place = new_object_place;
    expect_a_stopped_writer_alive();
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

/* ---- what does not keep a side alive ------------------------------------------------------ */

/* Opens, and forks a child that has all that its parent had: it neither closes nor executes
   anything. */
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

/* The victim dies and leaves a process behind, which is there to the end. */
static void kill_and_leave_a_child(int (*victim)(void *))
{
    struct scene scene = new_scene(4 * KIB);
    pid_t pid = start_ready(victim, &scene);
    pid_t left = (pid_t)load_acquire(&scene.notes->pid);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    char byte;
    size_t got;
    assert_error(hf_pipe_read(reader, &byte, 1, MILLISECONDS(200), &got), -ETIMEDOUT);
    assert_int_equal(kill_and_reap(pid), -SIGKILL);
    assert_error(hf_pipe_read(reader, &byte, 1, SECONDS(10), &got), -ECONNRESET);
    assert_int_equal(kill(left, SIGKILL), 0);
    hf_pipe_close(reader);
    close_place(&scene.place);
}

static void kill_and_leave_children(void)
{
    kill_and_leave_a_child(fork_after_open);
    kill_and_leave_a_child(spawn_after_open);
}

TEST(a_process_forked_or_executed_after_open_does_not_keep_the_side_alive)
{
    kill_and_leave_children();
}

TEST(in_a_segment_with_a_descriptor_no_child_keeps_the_side_alive)
{
    make_place = new_object_place;
    kill_and_leave_children();
}

TEST(without_robust_lists_no_child_keeps_the_side_alive)
{
    refuse_robust_lists();
    make_place = new_object_place;
    kill_and_leave_children();
}

/* What the child of a side's owner does is nobody's side: it goes, and the owner stays. */
static int do_nothing(void *unused)
{
    (void)unused;
    return 0;
}

TEST(a_side_outlives_a_child_that_its_process_forked_after_open)
{
    for (int object = 0; object < 2; object++) {
        make_place = object ? new_object_place : new_place;
        struct scene scene = new_scene(4 * KIB);
        hf_pipe *writer = open_side(&scene.place, HF_PIPE_WRITER);
        hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
        assert_int_equal(run_child(do_nothing, NULL), 0);
        char byte;
        size_t got;
        assert_error(hf_pipe_read(reader, &byte, 1, MILLISECONDS(200), &got), -ETIMEDOUT);
        hf_pipe_close(writer);
        hf_pipe_close(reader);
        close_place(&scene.place);
    }
}

static void *execute_sleep(void *unused)
{
    (void)execlp("sleep", "sleep", "15", (char *)NULL);
    return unused;
}

/* The thread that opened is not the one that executes; neither is the process's first one. */
static void *open_and_wait(void *context)
{
    struct scene *scene = context;
    (void)open_side(&scene->place, HF_PIPE_WRITER);
    store_release(&scene->notes->ready, 1u);
    wait_for_death();
}

_Noreturn static int execute_beside_the_owner(void *context)
{
    struct scene *scene = context;
    pthread_t owner;
    pthread_t executing;
    assert_int_equal(pthread_create(&owner, NULL, open_and_wait, scene), 0);
    while (!is_ready(scene)) {
        (void)usleep(1000);
    }
    assert_int_equal(pthread_create(&executing, NULL, execute_sleep, NULL), 0);
    wait_for_death();
}

_Noreturn static int execute_in_the_owner(void *context)
{
    struct scene *scene = context;
    (void)open_side(&scene->place, HF_PIPE_WRITER);
    store_release(&scene->notes->ready, 1u);
    (void)execute_sleep(NULL);
    _exit(127);
}

static void *open_and_execute(void *context)
{
    (void)execute_in_the_owner(context);
}

/* The kernel looks at such a thread's list under another number: the backstop's. */
_Noreturn static int execute_in_a_second_thread(void *context)
{
    pthread_t owner;
    assert_int_equal(pthread_create(&owner, NULL, open_and_execute, context), 0);
    wait_for_death();
}

static void expect_execution_to_end_the_side(void)
{
    static int (*const ways[])(void *) = {execute_in_the_owner, execute_beside_the_owner,
                                          execute_in_a_second_thread};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct scene scene = new_scene(4 * KIB);
        pid_t pid = start_ready(ways[i], &scene);
        hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
        char byte;
        size_t got;
        assert_error(hf_pipe_read(reader, &byte, 1, SECONDS(10), &got), -ECONNRESET);
        assert_int_equal(kill_and_reap(pid), -SIGKILL);
        hf_pipe_close(reader);
        close_place(&scene.place);
    }
}

TEST(a_process_that_executes_another_program_has_lost_its_sides)
{
    expect_execution_to_end_the_side();
}

TEST(in_a_segment_with_a_descriptor_who_executes_another_program_has_lost_its_sides)
{
    make_place = new_object_place;
    expect_execution_to_end_the_side();
}

/* ---- threads ------------------------------------------------------------------------------ */

struct opener {
    struct scene *scene;
    hf_pipe_side side;
    hf_pipe *pipe;
    int64_t after_ms;
};

static void *open_and_end(void *context)
{
    struct opener *opener = context;
    opener->pipe = open_side(&opener->scene->place, opener->side);
    if (opener->side == HF_PIPE_WRITER) {
        char bytes[1000];
        make_bytes(bytes, 0, sizeof bytes);
        assert_ok(hf_pipe_write(opener->pipe, bytes, sizeof bytes, 0, NULL));
    }
    store_release(&opener->scene->notes->ready, 1u);
    sleep_ms(opener->after_ms);
    store_release(&opener->scene->notes->noticed, (uint64_t)now_ms());
    return NULL;
}

/* How long it took to be told, once the thread had ended. */
static int64_t end_a_thread(hf_pipe_side side, int64_t after_ms)
{
    struct scene scene = new_scene(4 * KIB);
    struct opener opener = {&scene, side, NULL, after_ms};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, open_and_end, &opener), 0);
    assert_true(wait_until(is_ready, &scene, 10000));
    if (after_ms == 0) {
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    hf_pipe *survivor = open_side(&scene.place, (hf_pipe_side)(1 - (int)side));
    uint64_t total;
    void *run;
    uint64_t length;
    if (side == HF_PIPE_WRITER) {
        assert_error(read_all(survivor, &total), -ECONNRESET);
        assert_int_equal(total, 1000);
    } else {
        int error = 0;
        while (error == 0) { /* alive as yet, there is room */
            error = hf_pipe_reserve(survivor, 4096, HF_FOREVER, &run, &length);
        }
        assert_error(error, -EPIPE);
    }
    int64_t took = now_ms() - (int64_t)load_acquire(&scene.notes->noticed);
    if (after_ms != 0) {
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    hf_pipe_close(survivor);
    hf_pipe_close(opener.pipe);
    close_place(&scene.place);
    return took;
}

TEST(a_side_is_dead_once_the_thread_that_opened_it_has_ended)
{
    for (int object = 0; object < 2; object++) {
        make_place = object ? new_object_place : new_place;
        (void)end_a_thread(HF_PIPE_WRITER, 0);
        (void)end_a_thread(HF_PIPE_READER, 0);
    }
}

static int64_t end_a_thread_later(const void *side)
{
    return end_a_thread(*(const hf_pipe_side *)side, 60 + (int64_t)random_below(60));
}

static void end_threads_of_both_sides(void)
{
    static const hf_pipe_side sides[] = {HF_PIPE_WRITER, HF_PIPE_READER};
    expect_noticed_in_time(end_a_thread_later, &sides[0], DEATHS);
    expect_noticed_in_time(end_a_thread_later, &sides[1], DEATHS);
}

TEST(the_end_of_the_thread_that_opened_a_side_is_noticed)
{
    end_threads_of_both_sides();
}

TEST(without_robust_lists_the_end_of_the_thread_that_opened_a_side_is_noticed)
{
    refuse_robust_lists();
    end_threads_of_both_sides();
    make_place = new_object_place;
    end_threads_of_both_sides();
}

TEST(a_death_that_was_told_is_not_undone_by_another_thread_that_closes_the_handle)
{
    struct scene scene = new_scene(4 * KIB);
    struct opener opener = {&scene, HF_PIPE_WRITER, NULL, 0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, open_and_end, &opener), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    uint64_t total;
    assert_error(read_all(reader, &total), -ECONNRESET);
    hf_pipe_close(opener.pipe);
    assert_error(read_all(reader, &total), -ECONNRESET);
    hf_pipe_close(reader);
    close_place(&scene.place);
}

/* The slot is taken again, by the same thread or by others, and the side does not come back. */
TEST(a_side_is_dead_once_its_thread_has_left_the_segment)
{
    struct scene scene = new_scene(4 * KIB);
    hf_pipe *writer = open_side(&scene.place, HF_PIPE_WRITER);
    assert_ok(hf_pipe_write(writer, "left", 4, 0, NULL));
    assert_ok(hf_thread_leave(scene.place.segment));
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    uint64_t owners[2] = {load_relaxed(&scene.place.layout->lines[0].owner),
                          load_relaxed(&scene.place.layout->lines[1].owner)};
    assert_int_equal((uint32_t)owners[0], (uint32_t)owners[1]); /* the same slot */
    assert_int_not_equal(owners[0], owners[1]);
    char bytes[8];
    size_t got;
    assert_ok(hf_pipe_read(reader, bytes, 8, SECONDS(10), &got));
    assert_int_equal(got, 4);
    assert_error(hf_pipe_read(reader, bytes, 8, SECONDS(10), &got), -ECONNRESET);
    hf_pipe_close(reader);
    hf_pipe_close(writer);
    close_place(&scene.place);
}

/* A dead side's slot may be in the hands of someone who is recovering it, and who is stopped. */
TEST(a_dead_side_is_dead_while_another_process_recovers_it)
{
    struct scene scene = new_scene(4 * KIB);
    assert_int_equal(kill_and_reap(start_ready(write_and_wait, &scene)), -SIGKILL);
    store_release(&scene.notes->ready, 0u);
    struct pipe_line *lines = scene.place.layout->lines;
    uint64_t dead = load_acquire(&lines[HF_PIPE_WRITER].owner);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    uint64_t me = load_acquire(&lines[HF_PIPE_READER].owner);
    struct slot_page *page =
        (void *)((char *)hf_segment_base(scene.place.segment) + HF_SEGMENT_PAGE);
    uint32_t number = (uint32_t)(dead >> 8 & 0xfff);
    assert_in_range(number, 1, SLOTS_PER_PAGE);
    uint32_t mine = (uint32_t)(me >> 8 & 0xfff);
    assert_int_not_equal(number, mine);
    store_release(&page->slots[number - 1].claim,
                  claim_word(mine, me >> 32, dead >> 32, CLAIM_UNRECOVERED));
    char bytes[1000];
    size_t got;
    assert_ok(hf_pipe_read(reader, bytes, sizeof bytes, SECONDS(10), &got));
    assert_int_equal(got, 1000);
    assert_error(hf_pipe_read(reader, bytes, 1, SECONDS(2), &got), -ECONNRESET);
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

static void tell_whatever_the_timeouts(void)
{
    static const int64_t timeouts[] = {0, 1, 300, MILLISECONDS(1), MILLISECONDS(49)};
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        assert_error(told_with_timeout(timeouts[i]), -ECONNRESET);
    }
}

TEST(a_death_is_told_whatever_the_timeouts)
{
    tell_whatever_the_timeouts();
}

TEST(without_robust_lists_a_death_is_told_whatever_the_timeouts)
{
    refuse_robust_lists();
    make_place = new_object_place;
    tell_whatever_the_timeouts();
}

TEST(a_death_is_told_to_who_is_interrupted_by_signals_all_the_time)
{
    start_ticking();
    assert_error(told_with_timeout(SECONDS(2)), -ECONNRESET);
}

TEST(without_robust_lists_a_death_is_told_to_who_is_interrupted_by_signals_all_the_time)
{
    refuse_robust_lists();
    make_place = new_object_place;
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

/* ---- damage ------------------------------------------------------------------------------- */

TEST(a_side_that_goes_backward_is_unknown_or_changes_hands_is_damage)
{
    for (size_t i = 0; i < 9; i++) {
        struct scene scene = new_scene(4 * KIB);
        pid_t writer = start_ready(write_and_wait, &scene);
        hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
        shared_u64 *theirs = &scene.place.layout->lines[HF_PIPE_WRITER].owner;
        uint64_t owner = load_acquire(theirs);
        uint64_t mine = load_acquire(&scene.place.layout->lines[HF_PIPE_READER].owner);
        const uint64_t owners[9] = {
            0,          owner - 1, owner + 2,
            owner + 6,  mine,      mine + 1,
            UINT64_MAX, owner | 1, owner ^ UINT64_C(1) << 40 /* another turn */
        };
        const void *run;
        uint64_t length;
        assert_ok(hf_pipe_peek(reader, 1, SECONDS(5), &run, &length));
        store_release(theirs, owners[i]);
        (void)kill_and_reap(writer);
        int expected = owners[i] == owner ? -ECONNRESET : -EBADMSG;
        int error = 0;
        while (error == 0) { /* what was committed is still there */
            error = hf_pipe_peek(reader, 2000, SECONDS(2), &run, &length);
            (void)hf_pipe_release(reader, error == 0 ? length : 0);
        }
        assert_error(error, expected);
        hf_pipe_close(reader);
        close_place(&scene.place);
    }
}

TEST(a_closed_side_that_opens_again_is_damage)
{
    struct scene scene = new_scene(4 * KIB);
    hf_pipe *writer = open_side(&scene.place, HF_PIPE_WRITER);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    char byte;
    size_t got;
    shared_u64 *theirs = &scene.place.layout->lines[HF_PIPE_WRITER].owner;
    uint64_t owner = load_acquire(theirs);
    hf_pipe_close(writer);
    assert_ok(hf_pipe_read(reader, &byte, 1, SECONDS(5), &got));
    assert_int_equal(got, 0);
    store_release(theirs, owner);
    assert_error(hf_pipe_read(reader, &byte, 1, SECONDS(2), &got), -EBADMSG);
    hf_pipe_close(reader);
    close_place(&scene.place);
}

TEST(a_side_that_names_somebody_and_was_not_taken_is_damage)
{
    struct scene scene = new_scene(4 * KIB);
    store_release(&scene.place.layout->lines[HF_PIPE_WRITER].owner, UINT64_C(1) << 8);
    hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
    char byte;
    size_t got;
    assert_error(hf_pipe_read(reader, &byte, 1, SECONDS(2), &got), -EBADMSG);
    hf_pipe_close(reader);
    close_place(&scene.place);
}

/* Of a slot that there cannot be, and of a participant that has never been. */
TEST(a_side_of_nobody_is_a_dead_one)
{
    static const uint64_t owners[] = {1, 1 | 4000 << 8, 1 | 0xffff00,
                                      1 | 1 << 8 | UINT64_C(77) << 32,
                                      1 | UINT64_C(0xffffffff) << 32};
    for (size_t i = 0; i < sizeof owners / sizeof owners[0]; i++) {
        struct scene scene = new_scene(4 * KIB);
        store_release(&scene.place.layout->lines[HF_PIPE_WRITER].owner, owners[i]);
        hf_pipe *reader = open_side(&scene.place, HF_PIPE_READER);
        char byte;
        size_t got;
        assert_error(hf_pipe_read(reader, &byte, 1, SECONDS(2), &got), -ECONNRESET);
        hf_pipe_close(reader);
        close_place(&scene.place);
    }
}
