/* SPDX-License-Identifier: MIT */
/*
 * Children, and the signals that end the driver.
 *
 * SIGCHLD and the ending signals are blocked in the driver for good, and taken by sigtimedwait
 * only: so a wait has a timeout, none of them is ever lost between a check and a sleep, and an
 * interrupt comes to an orderly teardown at a place of our choosing.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

#define SECOND_NS INT64_C(1000000000)

/* How long a server may take to say that it is ready, and to end when told to. */
#define READY_TIMEOUT_NS (10 * SECOND_NS)
#define STOP_TIMEOUT_NS  (5 * SECOND_NS)

static int interrupted;
static bool keeps_hangup; /* started under nohup: then SIGHUP stays ignored */

int64_t bench_now_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * SECOND_NS + time.tv_nsec;
}

static struct timespec to_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};
}

void bench_pause_us(unsigned us)
{
    struct timespec time = to_timespec((int64_t)us * 1000);
    (void)nanosleep(&time, NULL);
}

/* ---- signals ------------------------------------------------------------------------------ */

static void held_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGCHLD);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGTERM);
    if (!keeps_hangup) {
        (void)sigaddset(set, SIGHUP);
    }
}

static void ignore_signal(int number)
{
    (void)number;
}

void signals_hold(void)
{
    /* A handler, never called: a SIGCHLD that is ignored, or was so when we started, is not kept.
     */
    struct sigaction action = {.sa_handler = SIG_DFL};
    keeps_hangup = sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
    action = (struct sigaction){.sa_handler = ignore_signal};
    (void)sigaction(SIGCHLD, &action, NULL);
    /* A closed stdout must not end us with the scratch directory still there. */
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
    sigset_t held;
    held_signals(&held);
    (void)sigprocmask(SIG_BLOCK, &held, NULL);
}

/* In a new child: as if nothing had been held. */
static void signals_release(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    (void)sigaction(SIGCHLD, &action, NULL);
    (void)sigaction(SIGPIPE, &action, NULL);
    sigset_t held;
    held_signals(&held);
    (void)sigprocmask(SIG_UNBLOCK, &held, NULL);
}

void signals_die(int number)
{
    (void)signal(number, SIG_DFL);
    (void)raise(number);
    signals_release();
    _exit(128 + number); /* not reached, unless the signal is one that does not end us */
}

/* Sleeps until a held signal comes or the time has passed. */
static void signals_take(int64_t timeout_ns)
{
    sigset_t held;
    held_signals(&held);
    struct timespec timeout = to_timespec(timeout_ns > 0 ? timeout_ns : 0);
    int number = sigtimedwait(&held, NULL, &timeout);
    if (number > 0 && number != SIGCHLD && interrupted == 0) {
        interrupted = number;
    }
}

int bench_interrupted(void)
{
    sigset_t pending;
    (void)sigpending(&pending);
    if (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1 ||
        (!keeps_hangup && sigismember(&pending, SIGHUP) == 1)) {
        signals_take(0);
    }
    return interrupted;
}

/* ---- children ----------------------------------------------------------------------------- */

pid_t bench_fork(void)
{
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) {
        (void)bench_error("cannot fork: %s", strerror(errno));
    } else if (child == 0) {
        signals_release();
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent) {
            _exit(1); /* it died before the line above */
        }
    }
    return child;
}

static void open_as(const char *path, int flags, int target)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, target) < 0) {
        _exit(126);
    }
}

pid_t bench_spawn(const char *const argv[], const char *log)
{
    pid_t child = bench_fork();
    if (child != 0) {
        return child;
    }
    open_as("/dev/null", O_RDONLY, STDIN_FILENO);
    open_as(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, STDOUT_FILENO);
    (void)dup2(STDOUT_FILENO, STDERR_FILENO);
    char *const *words = NULL;
    memcpy(&words, &argv, sizeof(words)); /* execv's type is older than const; it changes nothing */
    (void)execv(argv[0], words);
    (void)fprintf(stderr, "cannot execute %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* True when the child has ended (and its status is taken), false if the time passed. */
static bool wait_until(pid_t child, int64_t deadline, bool interruptible, int *status)
{
    for (;;) {
        pid_t ended = waitpid(child, status, WNOHANG);
        if (ended == child) {
            return true;
        }
        int64_t left = deadline - bench_now_ns();
        if (ended < 0 || left <= 0 || (interruptible && interrupted != 0)) {
            return false;
        }
        signals_take(left);
    }
}

static void kill_and_reap(pid_t child)
{
    (void)kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
}

int bench_wait(pid_t child, const char *what, double timeout_s)
{
    int status = 0;
    int64_t deadline = bench_now_ns() + (int64_t)(timeout_s * (double)SECOND_NS);
    if (!wait_until(child, deadline, true, &status)) {
        kill_and_reap(child);
        return interrupted != 0 ? -1 : bench_error("%s took more than %.0f s", what, timeout_s);
    }
    if (WIFSIGNALED(status)) {
        return bench_error("%s was ended by signal %d", what, WTERMSIG(status));
    }
    if (WEXITSTATUS(status) != 0) {
        return bench_error("%s exited with %d", what, WEXITSTATUS(status));
    }
    return 0;
}

bool bench_finish(pid_t child)
{
    int status = 0;
    if (!wait_until(child, bench_now_ns() + STOP_TIMEOUT_NS, false, &status)) {
        kill_and_reap(child);
        return false;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool bench_stop(pid_t child)
{
    (void)kill(child, SIGTERM);
    return bench_finish(child);
}

/* ---- logs --------------------------------------------------------------------------------- */

/* True if there is a whole line that begins with the word; it is then in `line`. */
static bool find_line(const char *log, const char *word, char *line, size_t size)
{
    FILE *file = fopen(log, "re");
    bool found = false;
    while (file != NULL && !found && fgets(line, (int)size, file) != NULL) {
        char *end = strchr(line, '\n');
        found = end != NULL && strncmp(line, word, strlen(word)) == 0;
        if (found) {
            *end = 0;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

int bench_wait_ready(pid_t child, const char *log, const char *word, char *line, size_t size)
{
    int64_t deadline = bench_now_ns() + READY_TIMEOUT_NS;
    while (!find_line(log, word, line, size)) {
        siginfo_t ended = {.si_pid = 0};
        (void)waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT);
        if (ended.si_pid != 0) {
            return bench_error("the server ended before it said \"%s\"", word);
        }
        if (bench_now_ns() > deadline) {
            return bench_error("the server did not say \"%s\" in time", word);
        }
        signals_take(SECOND_NS / 1000);
        if (interrupted != 0) {
            return -1;
        }
    }
    return 0;
}

void bench_show_log(const char *log)
{
    FILE *file = fopen(log, "re");
    char line[512];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        (void)fprintf(stderr, "    %s", line);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}
