/* SPDX-License-Identifier: MIT */
/*
 * What the tests share: a runner, names that clean up after themselves, child processes, programs
 * that are started, and sandboxes that make the system refuse things.
 *
 *     TEST(a_sentence_that_says_what_holds)
 *     {
 *         hf_memory *memory;
 *         assert_ok(hf_anonymous_create(1024, NULL, &memory));
 *         ...
 *     }
 *
 * `suite_test name` runs one test in that process; without a name all run, each in a child.
 * Whatever a helper here cannot do fails the test at that place; only those that say so return
 * errors. Children are killed when the process that started them ends.
 */
#ifndef HF_TESTS_SUPPORT_H
#define HF_TESTS_SUPPORT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <cmocka.h>

#include "holdfast/error.h"

/* ---- tests (runner.c) -------------------------------------------------------------------- */

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};

void test_register(struct test_case *test);

/* At the start of a line: ctest's list is made from these lines. */
#define TEST(name)                                                                                 \
    static void name(void);                                                                        \
    __attribute__((constructor)) static void register_##name(void)                                 \
    {                                                                                              \
        static struct test_case test = {#name, name, NULL};                                        \
        test_register(&test);                                                                      \
    }                                                                                              \
    static void name(void)

/* Ends the test as skipped. From a child it skips nothing: decide before the fork. */
#define SKIP(reason) test_skip(reason)
_Noreturn void test_skip(const char *reason);

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

/* The call must give 0, or that (negative) error. Print what came instead. In a child too. */
#define assert_ok(call)           check_result(#call, (call), 0, __FILE__, __LINE__)
#define assert_error(call, error) check_result(#call, (call), (error), __FILE__, __LINE__)
void check_result(const char *call, int result, int expected, const char *file, int line);

/* ---- time -------------------------------------------------------------------------------- */

#define SECONDS(n)      (INT64_C(1000000000) * (n))
#define MILLISECONDS(n) (INT64_C(1000000) * (n))

int64_t now_ms(void); /* monotonic */
void sleep_ms(int64_t ms);

/* Looks again and again until the condition holds; false if it does not within the time. */
bool wait_until(bool (*holds)(void *context), void *context, int64_t timeout_ms);

/*
 * Sorts. The lower quartile counts, for a busy machine is late with anything; and none may take
 * long. What nobody was woken for would be late each time.
 */
void expect_within(uint64_t *times_us, size_t count, uint64_t limit_ms);

/* A death that nobody is told of is found in a tenth of a second; the machine may be busy. */
#define NOTICED_MS 150

/* In how many ms a death is to be noticed: `at_once_ms`, where the kernel can tell. */
uint64_t death_limit_ms(uint64_t at_once_ms);

/* A number below `limit`, from a generator that is seeded once and prints its seed. HF_TEST_SEED
   in the environment sets it. A child goes on from its parent's state. */
uint64_t random_below(uint64_t limit);

/* ---- names (names.c) --------------------------------------------------------------------- */

#define UNIQUE_NAME_SIZE 96

/* Writes "hft-<tag>-<pid>-<random>" and returns it. A shared memory object of that name is removed
   when the test's process ends, however the test ends. */
const char *unique_name(char name[UNIQUE_NAME_SIZE], const char *tag);

/* The same removal for a name from elsewhere. */
void remove_shm_at_exit(const char *name);

/* A new empty directory; it goes, with all that is in it, when the test's process ends. The string
   lives until then. */
const char *temporary_directory(void);

/* Joins into a static ring of buffers: good for the next few calls. */
const char *path_in(const char *directory, const char *name);

/* Entries of a directory, dot files too, whose name contains `part`. */
unsigned count_entries(const char *directory, const char *part);

/* The whole file with a 0 at the end, to be freed; NULL if it cannot be read. *size may be NULL. */
char *read_whole_file(const char *path, size_t *size);
void write_whole_file(const char *path, const void *bytes, size_t size);

/* Runs the registered removals; the runner does. */
void names_clean_up(void);

/* ---- child processes (process.c) --------------------------------------------------------- */

/*
 * Forks a child that runs the function and exits with what it returns. A failed assertion in a
 * child prints itself and aborts the child: its parent must look at the status. Signals have
 * their default effect in it.
 */
pid_t start_child(int (*run)(void *context), void *context);

/* How a process ended: its exit status (0 to 255), or minus the signal that killed it. */
int wait_child(pid_t pid);

/* The same, or CHILD_RUNS if it has not ended within the time. */
#define CHILD_RUNS 1000
int wait_child_for(pid_t pid, int64_t timeout_ms);

/* Both in one. */
int run_child(int (*run)(void *context), void *context);

/* SIGKILL, then reaps; returns how it ended (it may have been faster). */
int kill_and_reap(pid_t pid);

/* Waits until the process is stopped, or asleep, as /proc shows it ('T', 'S'). */
void wait_for_state(pid_t pid, char state);

/* Processor time that this process has used, in milliseconds. */
int64_t cpu_ms(void);

/* ---- starting programs (spawn.c) --------------------------------------------------------- */

/* Zero means: inherited, nothing added, /dev/null as standard input. */
struct spawn_options {
    const char *directory; /* to start in */
    const char *input;     /* file for standard input */
    const char *output;    /* file for standard output, emptied first */
    const char *errors;    /* file for standard error; the same path as output joins them */
    const char *const *environment; /* "NAME=value"…, NULL; added to the environment */
    int input_fd;                   /* instead of `input`, if not 0 */
    int output_fd;                  /* instead of `output`, if not 0 */
};

/* Starts argv[0], looked for in PATH if it has no '/'. options may be NULL. The pid is for
   wait_child, kill_and_reap, kill. Exit status 127: could not be executed. */
pid_t spawn(const char *const *argv, const struct spawn_options *options);

/* Starts, waits, and gives how it ended. */
int spawn_and_wait(const char *const *argv, const struct spawn_options *options);

/* Waits until the file (which need not exist yet) contains the text; false when time is up. */
bool wait_for_text(const char *path, const char *text, int64_t timeout_ms);

/* ---- sandboxes (sandbox.c) --------------------------------------------------------------- */

/* All of these hold for the calling process to its end: every test has its own. */

bool is_root(void);

/* From root to an ordinary user (65534), for good. Not root: nothing to do. */
void drop_privileges(void);
#define UNPRIVILEGED_USER 65534

/* A mount namespace of our own, so that we may mount; SKIPs where that is refused. */
void private_mounts(void);

/* Mounts a tmpfs of that many bytes (in whole pages); after private_mounts. */
void mount_small_tmpfs(const char *path, size_t bytes);

/* From now on the system call fails with that errno. SKIPs where there is no seccomp. */
void refuse_syscall(long number, int error);

/* From now on the system call kills the process (with SIGSYS). */
void forbid_syscall(long number);

/* open with O_TMPFILE gives EOPNOTSUPP, as on a file system without unnamed files. */
void refuse_unnamed_files(void);

#endif
