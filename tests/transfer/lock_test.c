/* SPDX-License-Identifier: MIT */
/* holdfast lock, as scripts see it. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holdfast/memory.h"
#include "holdfast/named.h"
#include "transfer/session.h"

static char name[UNIQUE_NAME_SIZE];
static const char *directory;

static void set_scene(void)
{
    (void)unique_name(name, "lock");
    directory = temporary_directory();
}

static const char *file(const char *its_name)
{
    return kept_path(directory, its_name);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void wait_for_file(const char *path)
{
    for (int64_t end = now_ms() + 20000; !is_there(path);) {
        assert_true(now_ms() < end);
        sleep_ms(2);
    }
}

/* holdfast lock, and what it says goes to files. */
static pid_t start_lock(const char *const *arguments)
{
    const char *argv[16] = {holdfast(), "lock"};
    for (unsigned i = 0; arguments[i] != NULL; i++) {
        argv[i + 2] = arguments[i];
    }
    const struct spawn_options options = {.output = file("out"), .errors = file("err")};
    return spawn(argv, &options);
}
#define START(...) start_lock((const char *const[]){__VA_ARGS__, NULL})
#define LOCK(...)  wait_child(START(__VA_ARGS__))

static void expect_said(const char *text)
{
    char *said = read_whole_file(file("err"), NULL);
    assert_non_null(said);
    assert_non_null(strstr(said, text));
    free(said);
}

/* One that holds it until the file "end" is there. */
static pid_t start_holder(void)
{
    char script[1024];
    (void)snprintf(script, sizeof script, "touch '%s'; while [ ! -e '%s' ]; do sleep 0.01; done",
                   file("held"), file("end"));
    const char *argv[] = {holdfast(), "lock", name, "--", "sh", "-c", script, NULL};
    pid_t holder = spawn(argv, NULL);
    wait_for_file(file("held"));
    return holder;
}

static void end_holder(pid_t holder)
{
    write_whole_file(file("end"), "", 0);
    assert_int_equal(wait_child(holder), 0);
}

/* ---- what it exits with -------------------------------------------------------------------- */

TEST(it_exits_as_its_command_does)
{
    set_scene();
    assert_int_equal(LOCK(name, "--", "sh", "-c", "exit 0"), 0);
    assert_int_equal(LOCK(name, "sh", "-c", "exit 7"), 7);
    assert_int_equal(LOCK(name, "--", "sh", "-c", "kill -9 $$"), 128 + SIGKILL);
    assert_int_equal(LOCK("--timeout", "5", name, "sh", "-c", "exit 3"), 3);
    assert_int_equal(LOCK(name, "--timeout", "5", "--", "sh", "-c", "exit 4"), 4);
}

static int lock_where_it_is_ignored(void *unused)
{
    (void)unused;
    (void)signal(SIGCHLD, SIG_IGN);
    (void)execl(holdfast(), "holdfast", "lock", name, "--", "sh", "-c", "exit 7", NULL);
    return 127;
}

TEST(it_hears_of_its_commands_end_where_a_childs_is_ignored)
{
    set_scene();
    assert_int_equal(run_child(lock_where_it_is_ignored, NULL), 7);
}

TEST(what_is_no_command_is_127_and_what_is_no_program_126)
{
    set_scene();
    assert_int_equal(LOCK(name, "--", "/nonexistent/command"), 127);
    expect_said("/nonexistent/command");
    write_whole_file(file("plain"), "", 0);
    assert_int_equal(LOCK(name, "--", file("plain")), 126);
    expect_said("plain");
    assert_int_equal(LOCK("--timeout", "0", name, "--", "true"), 0); /* and nobody has it */
}

TEST(a_wrong_command_line_is_2_and_says_what_is_wrong)
{
    set_scene();
    assert_int_equal(wait_child(start_lock((const char *const[]){NULL})), 2);
    expect_said("a name and a command");
    assert_int_equal(LOCK(name), 2);
    expect_said("a command to run");
    assert_int_equal(LOCK(name, "--"), 2);
    assert_int_equal(LOCK("--nonsense", name, "true"), 2);
    static const char *const times[] = {"", "x", "-1", "3s", "nan", "inf", "1e30"};
    for (unsigned i = 0; i < sizeof times / sizeof times[0]; i++) {
        assert_int_equal(LOCK("--timeout", times[i], name, "true"), 2);
        expect_said("no number of seconds");
    }
    assert_int_equal(LOCK("a/b", "true"), 2);
    expect_said("a name is");
    assert_int_equal(LOCK("", "true"), 2);
    assert_int_equal(LOCK(".x", "true"), 2);
    expect_said("a leading '.'");
    assert_int_equal(LOCK("a\nb", "true"), 2);
    expect_said("control characters");
    static const char *const codes[] = {"", "x", "-1", "256", "1x"};
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_int_equal(LOCK("-E", codes[i], name, "true"), 2);
        expect_said("no exit code");
    }
    hf_rwlock *lock;
    assert_error(hf_rwlock_open(name, &lock), -ENOENT); /* nothing has been made */
}

TEST(what_is_no_lock_is_refused_and_left_alone)
{
    set_scene();
    hf_memory *memory;
    assert_ok(hf_shm_create(name, 4096, NULL, &memory));
    hf_memory_close(memory);
    assert_int_equal(LOCK(name, "true"), 6);
    expect_said("no lock");
    assert_ok(hf_shm_open(name, HF_READ_WRITE, &memory));
    hf_memory_close(memory);
}

/* ---- one at a time -------------------------------------------------------------------------- */

TEST(a_lock_that_was_truncated_is_told_as_that)
{
    set_scene();
    assert_int_equal(LOCK(name, "true"), 0);
    assert_int_equal(truncate(path_in("/dev/shm", name), 4096), 0);
    assert_int_equal(LOCK(name, "true"), 6);
    expect_said("truncated");
    expect_said("remove /dev/shm/");
}

TEST(who_cannot_have_it_in_time_exits_with_1_and_runs_nothing)
{
    set_scene();
    pid_t holder = start_holder();
    assert_int_equal(LOCK("--timeout", "0", name, "--", "touch", file("ran")), 1);
    expect_said("held by another");
    int64_t start = now_ms();
    assert_int_equal(LOCK("-t", "0.2", name, "--", "touch", file("ran")), 1);
    assert_true(now_ms() - start >= 200);
    assert_false(is_there(file("ran")));
    assert_int_equal(LOCK("-t", "0", "-E", "99", name, "--", "touch", file("ran")), 99);
    assert_int_equal(LOCK("-t0.1", name, "--conflict-exit-code", "0", "touch", file("ran")), 0);
    assert_false(is_there(file("ran")));
    end_holder(holder);
    assert_int_equal(LOCK("--timeout", "0", "-E", "99", name, "--", "sh", "-c", "exit 1"), 1);
    assert_int_equal(LOCK("--timeout", "0", name, "--", "touch", file("ran")), 0);
    assert_true(is_there(file("ran")));
}

TEST(those_who_share_it_run_beside_each_other)
{
    set_scene();
    char script[1024];
    (void)snprintf(script, sizeof script, "touch '%s'; while [ ! -e '%s' ]; do sleep 0.01; done",
                   file("held"), file("end"));
    pid_t sharer = START("--shared", name, "--", "sh", "-c", script);
    wait_for_file(file("held"));
    assert_int_equal(LOCK(name, "-s", "-t", "5", "--", "true"), 0);
    assert_int_equal(LOCK("-t", "0", name, "true"), 1);
    assert_int_equal(kill_and_reap(sharer), -SIGKILL);
    assert_int_equal(LOCK("-t", "10", name, "true"), 0);
}

TEST(commands_run_one_after_another)
{
    set_scene();
    char script[1024]; /* mkdir fails if another is inside */
    (void)snprintf(script, sizeof script,
                   "for i in 1 2 3 4 5; do '%s' lock %s -- "
                   "sh -c \"mkdir '%s' && sleep 0.01 && rmdir '%s'\" || exit 1; done",
                   holdfast(), name, file("inside"), file("inside"));
    pid_t loops[4];
    const char *argv[] = {"sh", "-c", script, NULL};
    for (unsigned i = 0; i < 4; i++) {
        loops[i] = spawn(argv, NULL);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(wait_child(loops[i]), 0);
    }
}

TEST(programs_take_the_same_lock)
{
    set_scene();
    pid_t holder = start_holder();
    hf_rwlock *lock;
    assert_ok(hf_rwlock_open(name, &lock));
    assert_error(hf_rwlock_tryrdlock(lock), -EBUSY);
    end_holder(holder);
    assert_ok(hf_rwlock_rdlock(lock));
    assert_int_equal(LOCK("--timeout", "0", name, "true"), 1);
    assert_int_equal(LOCK("--timeout", "0", "--shared", name, "true"), 0);
    assert_ok(hf_rwlock_rdunlock(lock));
    assert_ok(hf_rwlock_close(lock));
}

/* ---- death ----------------------------------------------------------------------------------- */

/* A command that holds flock(2) on a file for as long as it lives. */
static pid_t start_flocking_holder(unsigned round)
{
    char script[1024];
    char held[32];
    (void)snprintf(held, sizeof held, "held-%u", round);
    (void)snprintf(script, sizeof script,
                   "exec 9>'%s'; flock -n 9 || exit 1; : >'%s'; exec sleep 100", file("flock"),
                   file(held));
    const char *argv[] = {holdfast(), "lock", name, "--", "sh", "-c", script, NULL};
    pid_t holder = spawn(argv, NULL);
    wait_for_file(file(held));
    return holder;
}

TEST(a_holder_that_is_killed_takes_its_command_along_before_the_next_one_runs)
{
    set_scene();
    for (unsigned round = 0; round < 20; round++) {
        pid_t holder = start_flocking_holder(round);
        pid_t next = START(name, "--", "flock", "-n", file("flock"), "true");
        if (round % 2 == 0) {
            sleep_ms(20); /* it waits already, most likely */
        }
        assert_int_equal(kill_and_reap(holder), -SIGKILL);
        assert_int_equal(wait_child_for(next, 20000), 0);
    }
}

TEST(what_a_killed_command_has_started_holds_the_next_one_up_for_a_second_at_most)
{
    set_scene();
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* so that we can reap it */
    char script[1024];
    (void)snprintf(script, sizeof script, "sleep 100 & echo $! >'%s'; : >'%s'; wait", file("pid"),
                   file("held"));
    pid_t holder = START(name, "--", "sh", "-c", script);
    wait_for_file(file("held"));
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    assert_int_equal(LOCK("--timeout", "20", name, "true"), 0);
    char *pid = read_whole_file(file("pid"), NULL);
    pid_t left = (pid_t)strtol(pid, NULL, 10);
    assert_int_equal(kill(left, 0), 0); /* it was left alone */
    (void)kill(left, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0) {
    }
    free(pid);
}

static void expect_forwarded(int number)
{
    char script[1024];
    (void)snprintf(script, sizeof script,
                   "trap 'exit 9' TERM INT HUP; : >'%s'; while :; do sleep 0.01; done",
                   file("held"));
    pid_t holder = START(name, "--", "sh", "-c", script);
    wait_for_file(file("held"));
    assert_int_equal(kill(holder, number), 0);
    assert_int_equal(wait_child_for(holder, 20000), 9);
    assert_int_equal(unlink(file("held")), 0);
}

TEST(signals_are_the_commands_to_handle)
{
    set_scene();
    expect_forwarded(SIGTERM);
    expect_forwarded(SIGINT);
    expect_forwarded(SIGHUP);
    assert_int_equal(LOCK("--timeout", "0", name, "true"), 0);
}

TEST(who_is_told_to_end_while_it_waits_ends)
{
    set_scene();
    pid_t holder = start_holder();
    pid_t waiter = START(name, "--", "touch", file("ran"));
    sleep_ms(50);
    assert_int_equal(kill(waiter, SIGTERM), 0);
    assert_int_equal(wait_child_for(waiter, 20000), -SIGTERM);
    assert_false(is_there(file("ran")));
    end_holder(holder);
}
