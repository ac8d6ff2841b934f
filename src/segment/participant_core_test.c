/* SPDX-License-Identifier: MIT */
/* A process that is still dumping its core is alive. Sets the machine's core_pattern: alone, and
   with a guard that puts it back. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/participants.h"
#include "support/support.h"

#define PATTERN "/proc/sys/kernel/core_pattern"

static bool write_pattern(const char *text)
{
    int fd = open(PATTERN, O_WRONLY | O_CLOEXEC);
    size_t length = strlen(text);
    bool written = fd >= 0 && write(fd, text, length) == (ssize_t)length;
    if (fd >= 0) {
        (void)close(fd);
    }
    return written;
}

/* Puts the pattern back when the test is over, however it ends: as soon as nobody else has the
 * pipe. */
static void guard_pattern(void)
{
    int ends[2];
    char *before = read_whole_file(PATTERN, NULL);
    assert_non_null(before);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[1], F_SETFD, FD_CLOEXEC), 0);
    pid_t guard = fork();
    assert_true(guard >= 0);
    if (guard == 0) {
        char byte;
        (void)setsid();
        (void)close(ends[1]);
        while (read(ends[0], &byte, 1) > 0) {
        }
        _exit(write_pattern(before) ? 0 : 1);
    }
    (void)close(ends[0]);
    free(before);
}

/* The system gives the core to this program, which takes it when it is told. */
static const char *write_helper(const char *directory)
{
    static char path[200];
    char script[600];
    (void)snprintf(path, sizeof path, "%s/helper", directory);
    int length = snprintf(script, sizeof script,
                          "#!/bin/sh\n"
                          ": > %s/begun\n"
                          "n=0\n"
                          "while [ ! -e %s/go ] && [ $n -lt 300 ]; do\n"
                          "    n=$((n + 1))\n"
                          "    sleep 0.1\n"
                          "done\n"
                          "exec cat > /dev/null\n",
                          directory, directory);
    write_whole_file(path, script, (size_t)length);
    assert_int_equal(chmod(path, 0700), 0);
    return path;
}

static bool has_begun(void *directory)
{
    return count_entries(directory, "begun") == 1;
}

static int hold_and_dump(void *context)
{
    struct scene *scene = context;
    struct rlimit any = {0, RLIM_INFINITY}; /* a pipe's core has no limit; 1 would forbid it */
    (void)setrlimit(RLIMIT_CORE, &any);
    assert_ok(hf_mutex_lock(&scene->root->locks[0]));
    assert_ok(hf_tx_begin(scene->segment));
    assert_ok(hf_mutex_lock(&scene->root->mutex));
    assert_ok(hf_tx_add(scene->segment, scene->root->values, 8));
    scene->root->values[0] = 1;
    (void)signal(SIGSEGV, SIG_DFL);
    (void)raise(SIGSEGV);
    return 0;
}

static void expect_alive_until_dumped(const char *directory)
{
    struct scene scene = new_scene();
    pid_t owner = start_child(hold_and_dump, &scene);
    if (!wait_until(has_begun, (void *)(uintptr_t)directory, 10000)) {
        (void)wait_child(owner);
        SKIP("the system runs no program for core dumps here");
    }
    assert_error(hf_mutex_timedlock(&scene.root->mutex, SECONDS(1)), -ETIMEDOUT);
    unsigned recovered = 1;
    assert_ok(hf_segment_recover(scene.segment, &recovered));
    assert_int_equal(recovered, 0);
    assert_int_equal(scene.root->values[0], 1);
    expect_participants(&scene, 2, 0);
    write_whole_file(path_in(directory, "go"), "", 0);
    expect_lock(&scene.root->mutex, 0);
    assert_int_equal(scene.root->values[0], VALUE_BEFORE);
    expect_lock(&scene.root->locks[0], -EOWNERDEAD);
    assert_int_equal(wait_child(owner), -SIGSEGV);
    assert_int_equal(unlink(path_in(directory, "begun")), 0);
    assert_int_equal(unlink(path_in(directory, "go")), 0);
    close_scene(&scene);
}

TEST(who_is_dumping_its_core_is_alive_and_then_dead)
{
    char pattern[256];
    if (!is_root()) {
        SKIP("only root may say what is done with cores");
    }
    const char *directory = temporary_directory();
    (void)snprintf(pattern, sizeof pattern, "|%s", write_helper(directory));
    guard_pattern();
    if (strlen(pattern) > 127 || !write_pattern(pattern)) {
        SKIP("core_pattern cannot be set here");
    }
    expect_alive_until_dumped(directory);
    refuse_syscall(SYS_set_robust_list, ENOSYS);
    expect_alive_until_dumped(directory);
}
