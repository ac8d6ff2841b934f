/* SPDX-License-Identifier: MIT */
/* The examples do what their first lines say, and leave nothing. EXAMPLES is their folder. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "holdfast/holdfast.h"
#include "support/support.h"

#define NAME "SharedMemory" /* the example's */

static const char greeting[] = "1024 bytes of shared memory say: Hello, Holdfast!\n";

/* The name is the machine's: another test run may be at it too. Until this process ends. */
static void have_the_name_alone(void)
{
    int directory = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(directory >= 0);
    assert_int_equal(flock(directory, LOCK_EX), 0);
}

static void run_shared_memory(void)
{
    const char *directory = temporary_directory();
    const char *input = path_in(directory, "input");
    const char *output = path_in(directory, "output");
    const char *argv[] = {EXAMPLES "/shared_memory", NULL};
    const struct spawn_options options = {.input = input, .output = output, .errors = output};
    write_whole_file(input, "\n", 1);
    int status = spawn_and_wait(argv, &options);
    char *text = read_whole_file(output, NULL);
    assert_non_null(text);
    assert_int_equal(status, 0);
    assert_non_null(strstr(text, greeting));
    free(text);
    hf_memory *memory;
    assert_error(hf_shm_open(NAME, HF_READ_ONLY, &memory), -ENOENT);
}

TEST(shared_memory_greets_and_leaves_nothing)
{
    have_the_name_alone();
    run_shared_memory();
}

TEST(shared_memory_runs_beside_what_an_earlier_run_left)
{
    have_the_name_alone();
    hf_memory *left;
    remove_shm_at_exit(NAME);
    assert_ok(hf_shm_open_or_create(NAME, 3, NULL, NULL, &left));
    run_shared_memory();
    hf_memory_close(left);
}

/* As its first comment says: cat /dev/shm/SharedMemory. */
TEST(shared_memory_is_to_be_seen_from_outside_until_enter_is_pressed)
{
    have_the_name_alone();
    int keyboard[2];
    const char *output = path_in(temporary_directory(), "output");
    const char *argv[] = {EXAMPLES "/shared_memory", NULL};
    remove_shm_at_exit(NAME);
    assert_int_equal(pipe(keyboard), 0);
    const struct spawn_options options = {.input_fd = keyboard[0], .output = output};
    /* Its output goes to a file, so it is written only when it ends: look at the object. */
    pid_t pid = spawn(argv, &options);
    assert_true(wait_for_text("/dev/shm/" NAME, "Hello, Holdfast!", 10000));
    assert_int_equal(wait_child_for(pid, 100), CHILD_RUNS);
    assert_int_equal(write(keyboard[1], "\n", 1), 1);
    assert_int_equal(wait_child_for(pid, 10000), 0);
    assert_int_equal(access("/dev/shm/" NAME, F_OK), -1);
}

TEST(managed_segment_is_found_by_its_child_and_leaves_nothing)
{
    have_the_name_alone();
    const char *output = path_in(temporary_directory(), "output");
    const char *argv[] = {EXAMPLES "/managed_segment", NULL};
    const struct spawn_options options = {.output = output, .errors = output};
    int status = spawn_and_wait(argv, &options);
    char *text = read_whole_file(output, NULL);
    assert_non_null(text);
    assert_string_equal(text, "MyString: Hello from parent process!\nMyVector: 10 20 30\n");
    assert_int_equal(status, 0);
    free(text);
    hf_segment *segment;
    assert_error(hf_segment_open("MySharedMemory", HF_READ_ONLY, &segment), -ENOENT);
}

TEST(survive_heap_loses_nothing)
{
    const char *output = path_in(temporary_directory(), "output");
    const char *argv[] = {EXAMPLES "/survive_heap", "20", NULL};
    const struct spawn_options options = {.output = output, .errors = output};
    int status = spawn_and_wait(argv, &options);
    char *text = read_whole_file(output, NULL);
    assert_non_null(text);
    assert_non_null(strstr(text, "usable afterwards  20"));
    assert_non_null(strstr(text, "nothing lost            20"));
    assert_int_equal(status, 0);
    free(text);
}

TEST(survive_finds_every_coin_after_every_kill)
{
    const char *output = path_in(temporary_directory(), "output");
    const char *argv[] = {EXAMPLES "/survive", "100", NULL};
    const struct spawn_options options = {.output = output, .errors = output};
    int status = spawn_and_wait(argv, &options);
    char *text = read_whole_file(output, NULL);
    assert_non_null(text);
    assert_non_null(strstr(text, "sum intact afterwards   100"));
    assert_int_equal(status, 0);
    free(text);
}

TEST(mutex_condition_prints_42_twice_a_thousand_times)
{
    const char *output = path_in(temporary_directory(), "output");
    const char *argv[] = {EXAMPLES "/mutex_condition", NULL};
    const struct spawn_options options = {.output = output, .errors = output};
    unsigned runs = UNDER_ASAN || UNDER_TSAN ? 50 : 1000;
    for (unsigned i = 0; i < runs; i++) {
        int status = spawn_and_wait(argv, &options);
        char *text = read_whole_file(output, NULL);
        assert_non_null(text);
        assert_string_equal(text, "42\n42\n");
        assert_int_equal(status, 0);
        free(text);
    }
}

static void expect_usage(const char *example, const char *first, const char *second)
{
    const char *errors = path_in(temporary_directory(), "errors");
    const char *argv[] = {example, first, second, NULL};
    const struct spawn_options options = {.output = errors, .errors = errors};
    int status = spawn_and_wait(argv, &options);
    char *text = read_whole_file(errors, NULL);
    assert_non_null(text);
    assert_int_equal(status, 2);
    assert_ptr_equal(strstr(text, "usage: "), text);
    free(text);
}

TEST(wrong_arguments_are_told_the_usage)
{
    static const char *const counting[] = {
        EXAMPLES "/survive", EXAMPLES "/survive_heap",
        EXAMPLES "/survive_boost", /* where there is Boost */
    };
    static const char *const numbers[] = {"5x", "5 6 7", "x", "", "0", "-1"};
    for (unsigned i = 0; i < sizeof counting / sizeof counting[0]; i++) {
        if (access(counting[i], X_OK) == 0) {
            for (unsigned j = 0; j < sizeof numbers / sizeof numbers[0]; j++) {
                expect_usage(counting[i], numbers[j], NULL);
            }
            expect_usage(counting[i], "1", "1");
        }
    }
    expect_usage(EXAMPLES "/mutex_condition", "bogus", NULL);
    expect_usage(EXAMPLES "/mutex_condition", "bogus", "1");
    expect_usage(EXAMPLES "/managed_segment", "bogus", NULL);
    expect_usage(EXAMPLES "/shared_memory", "bogus", NULL);
}

static int mutex_condition_without_a_child(void *unused)
{
    (void)unused;
    refuse_syscall(SYS_clone, EAGAIN);
#ifdef SYS_clone3
    refuse_syscall(SYS_clone3, ENOSYS);
#endif
#ifdef SYS_vfork
    refuse_syscall(SYS_vfork, EAGAIN);
#endif
    (void)execl(EXAMPLES "/mutex_condition", "mutex_condition", NULL);
    return 127;
}

TEST(mutex_condition_leaves_nothing_when_it_fails)
{
    char name[64];
    if (UNDER_ASAN) {
        SKIP("looking for leaks at the end takes a thread");
    }
    pid_t pid = start_child(mutex_condition_without_a_child, NULL);
    (void)snprintf(name, sizeof name, "MutexCondition-%ld", (long)pid);
    assert_int_equal(wait_child(pid), 1);
    assert_int_equal(count_entries("/dev/shm", name), 0);
}

/* Its child that lives, while it is stopped; 0 if it has none at the moment. */
static pid_t child_of(pid_t parent)
{
    char path[64];
    long child = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)parent, (long)parent);
    char *text = read_whole_file(path, NULL);
    if (text == NULL) {
        (void)kill(parent, SIGKILL);
        SKIP("the system does not tell of children");
    }
    child = strtol(text, NULL, 10);
    free(text);
    return (pid_t)child;
}

/* One that is dead is a zombie, should nobody reap it here. */
static bool is_over(void *pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)*(pid_t *)pid);
    char *text = read_whole_file(path, NULL);
    const char *end = text == NULL ? NULL : strrchr(text, ')');
    bool over = end == NULL || end[2] == 'Z' || end[2] == 'X';
    free(text);
    return over;
}

static void expect_no_orphan(const char *example)
{
    const char *argv[] = {example, "1000000", NULL};
    const char *output = path_in(temporary_directory(), "output");
    const struct spawn_options options = {.output = output, .errors = output};
    pid_t parent = spawn(argv, &options);
    pid_t child = 0;
    for (int i = 0; i < 1000 && (child == 0 || is_over(&child)); i++) {
        (void)kill(parent, SIGCONT);
        sleep_ms(3);
        (void)kill(parent, SIGSTOP);
        wait_for_state(parent, 'T');
        child = child_of(parent);
    }
    assert_true(child != 0 && !is_over(&child));
    (void)kill_and_reap(parent);
    bool over = wait_until(is_over, &child, 5000);
    if (!over) {
        (void)kill(child, SIGKILL);
    }
    assert_true(over);
}

TEST(survive_that_is_killed_itself_leaves_no_child_running)
{
    expect_no_orphan(EXAMPLES "/survive");
    expect_no_orphan(EXAMPLES "/survive_heap");
}
