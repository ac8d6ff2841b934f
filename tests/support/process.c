/* SPDX-License-Identifier: MIT */
/* Child processes: started, looked at, ended, reaped. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

pid_t start_child(int (*run)(void *context), void *context)
{
    pid_t parent = getpid();
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) {
        return pid;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(255);
    }
    /* cmocka catches these to report them, and jumps to its runner when an assertion fails. */
    static const int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGABRT};
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        (void)signal(caught[i], SIG_DFL);
    }
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    int status = run(context);
    names_clean_up();
    (void)fflush(NULL);
    _exit(status);
}

static int verdict(int status)
{
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int wait_child(pid_t pid)
{
    int status;
    pid_t reaped;
    do {
        reaped = waitpid(pid, &status, 0);
    } while (reaped < 0 && errno == EINTR);
    assert_int_equal(reaped, pid);
    return verdict(status);
}

int wait_child_for(pid_t pid, int64_t timeout_ms)
{
    int64_t end = now_ms() + timeout_ms;
    for (;;) {
        int status;
        bool last = now_ms() >= end;
        pid_t reaped = waitpid(pid, &status, WNOHANG);
        assert_true(reaped >= 0);
        if (reaped == pid) {
            return verdict(status);
        }
        if (last) {
            return CHILD_RUNS;
        }
        sleep_ms(1);
    }
}

int run_child(int (*run)(void *context), void *context)
{
    return wait_child(start_child(run, context));
}

int kill_and_reap(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    return wait_child(pid);
}

/* The state letter in /proc/PID/stat stands behind the name, which ends with the last ')'. */
static char state_of(pid_t pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    char *text = read_whole_file(path, NULL);
    const char *name_end = text == NULL ? NULL : strrchr(text, ')');
    char state = '?';
    if (name_end != NULL && name_end[1] != 0) {
        state = name_end[2];
    }
    free(text);
    return state;
}

void wait_for_state(pid_t pid, char state)
{
    int64_t end = now_ms() + 10000;
    while (state_of(pid) != state) {
        if (now_ms() > end) {
            fail_msg("process %d is in state %c, not %c", (int)pid, state_of(pid), state);
        }
        sleep_ms(1);
    }
}

int64_t cpu_ms(void)
{
    struct rusage used;
    assert_int_equal(getrusage(RUSAGE_SELF, &used), 0);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * INT64_C(1000) +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
}
