/* SPDX-License-Identifier: MIT */
/*
 * holdfast lock: runs a command while a named lock is held.
 *
 * The lock is this process's, the work the command's. If this process is killed the kernel kills
 * the command, a moment after it has let go of the lock; so both have a byte of the lock's file
 * locked as well, which goes with the last of them, and whoever comes next waits a while for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "holdfast/memory.h"
#include "holdfast/named.h"
#include "holdfast/time.h"
#include "names.h"
#include "os/os.h"
#include "sync/named_layout.h"

/* As shells have it. */
enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127, EXIT_SIGNALLED = 128 };

/* How long the command of one who was killed is waited for. */
#define FORMER_COMMAND_NS (INT64_C(1) * 1000 * 1000 * 1000)
#define PAUSE_US          5000u

static const char help[] =
    "usage: holdfast lock [OPTION]... NAME [--] COMMAND [ARGUMENT]...\n\n"
    "Runs COMMAND while it holds the lock NAME, which others wait for meanwhile. Whoever is "
    "killed\n"
    "lets go of it, and COMMAND is killed with it.\n\n"
    "  -s, --shared           beside others who share it, and nobody who does not\n"
    "  -t, --timeout SECONDS  wait at most that long (0: not at all), then exit with 1\n"
    "  -E, --conflict-exit-code NUMBER\n"
    "                         exit with that in place of 1 when the time is over\n"
    "  -h, --help             this text\n\n"
    "The lock is the file /dev/shm/NAME, which is made if it is not there, for its user alone "
    "(0600):\n"
    "to take it, with -s too, one must be able to write to it. Remove the file to remove the "
    "lock.\n\n"
    "The exit status is COMMAND's (128 + the signal that killed it), 127 if it is not found, 126 "
    "if\n"
    "it cannot be executed, 1 if the lock was not to be had, 2 for a wrong command line, 6 if\n"
    "something else stands under the name.\n";

struct request {
    const char *name;
    char **command;
    int64_t timeout_ns;
    bool shared;
    int conflict; /* what to exit with when another has it for too long */
};

/* ---- the lock: another type would change this part alone ---------------------------------- */

typedef hf_rwlock lock_type;

static int lock_open(const char *name, lock_type **lock)
{
    return hf_rwlock_open_or_create(name, NULL, NULL, lock);
}

/* The lock guards nothing of ours that a death could spoil. */
static int lock_take(lock_type *lock, bool shared, int64_t timeout_ns)
{
    if (shared) { /* the next one who has it alone will say that all is well */
        int error = hf_rwlock_timedrdlock(lock, timeout_ns);
        return error == -EOWNERDEAD ? 0 : error;
    }
    int error = hf_rwlock_timedwrlock(lock, timeout_ns);
    return error == -EOWNERDEAD ? hf_rwlock_consistent(lock) : error;
}

static void lock_let_go(lock_type *lock, bool shared)
{
    (void)(shared ? hf_rwlock_rdunlock(lock) : hf_rwlock_wrunlock(lock));
    (void)hf_rwlock_close(lock);
}

/* ---- the command line --------------------------------------------------------------------- */

static bool parse_seconds(const char *text, int64_t *timeout_ns)
{
    char *end;
    errno = 0;
    double seconds = strtod(text, &end);
    if (end == text || *end != 0 || errno != 0 || !isfinite(seconds) || seconds < 0 ||
        seconds > 1e9) {
        return false;
    }
    *timeout_ns = (int64_t)(seconds * 1e9);
    return true;
}

static bool parse_exit_code(const char *text, int *code)
{
    uint32_t number;
    bool valid = parse_id(text, &number) && number <= 255;
    *code = valid ? (int)number : 0;
    return valid;
}

static bool wrong(const char *what, const char *text)
{
    (void)fprintf(stderr, "holdfast: %s%s\n", what, text);
    return false;
}

/* The options that stand next in argv. False: *status is how to exit. */
static bool parse_options(int argc, char **argv, struct request *request, int *status)
{
    static const struct option options[] = {{"timeout", required_argument, NULL, 't'},
                                            {"shared", no_argument, NULL, 's'},
                                            {"conflict-exit-code", required_argument, NULL, 'E'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int option;
    while ((option = getopt_long(argc, argv, "+hst:E:", options, NULL)) != -1) {
        switch (option) {
        case 'h':
            *status = print_asked(help);
            return false;
        case 's':
            request->shared = true;
            break;
        case 't':
            if (!parse_seconds(optarg, &request->timeout_ns)) {
                return wrong("no number of seconds: ", optarg);
            }
            break;
        case 'E':
            if (!parse_exit_code(optarg, &request->conflict)) {
                return wrong("no exit code (0 to 255): ", optarg);
            }
            break;
        default:
            return false;
        }
    }
    return true;
}

/* False: *status is how to exit. Options may follow the name, as well. */
static bool parse(int argc, char **argv, struct request *request, int *status)
{
    *status = EXIT_USAGE;
    *request = (struct request){.timeout_ns = HF_FOREVER, .conflict = EXIT_FAILED};
    if (!parse_options(argc, argv, request, status)) {
        return false;
    }
    if (optind == argc) {
        return wrong("lock takes a name and a command", "");
    }
    request->name = argv[optind++];
    if (!parse_options(argc, argv, request, status)) {
        return false;
    }
    request->command = argv + optind;
    return optind < argc || wrong("lock takes a command to run", "");
}

/* ---- the former command ------------------------------------------------------------------- */

/* The byte that this process and its command hold; -1: it is not to be had. Waits for the command
 * of one who was killed, but not for ever: it may have left children that nobody kills. */
static int take_command_byte(const char *name, bool shared, hf_memory **memory)
{
    if (hf_shm_open(name, HF_READ_WRITE, memory) != 0) {
        return -1; /* removed meanwhile */
    }
    int fd = hf_memory_descriptor(*memory);
    int64_t deadline = hf_now_ns() + FORMER_COMMAND_NS;
    int (*take)(int, uint64_t) = shared ? os_byte_lock_shared : os_byte_lock;
    while (take(fd, BYTE_COMMAND) != 0 && hf_now_ns() < deadline) {
        (void)usleep(PAUSE_US);
    }
    return fd;
}

/* ---- running ------------------------------------------------------------------------------ */

static volatile sig_atomic_t command_pid;
static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP};
#define FORWARDED (sizeof forwarded / sizeof forwarded[0])

/* What a terminal sends the command gets by itself. */
static void forward(int number, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    if (info->si_code != SI_KERNEL) {
        (void)kill((pid_t)command_pid, number);
    }
    errno = saved;
}

static _Noreturn void become(char **command, pid_t parent, int byte_fd, const sigset_t *mask)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) { /* it died before we asked to be told */
        (void)raise(SIGKILL);
    }
    if (byte_fd >= 0) {
        (void)fcntl(byte_fd, F_SETFD, 0);
    }
    (void)signal(SIGPIPE, SIG_DFL);
    (void)signal(SIGXFSZ, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    (void)execvp(command[0], command);
    int error = errno;
    (void)fprintf(stderr, "holdfast: %s: %s\n", command[0], strerror(error));
    _exit(error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* Nothing is forwarded from the moment that the child's number may become another's. */
static int wait_for(pid_t child, const sigset_t *block)
{
    int status;
    siginfo_t ended;
    while (waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT) != 0) {
        if (errno != EINTR) {
            return EXIT_FAILED;
        }
    }
    (void)sigprocmask(SIG_BLOCK, block, NULL);
    if (waitpid(child, &status, 0) != child) {
        return EXIT_FAILED;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNALLED + WTERMSIG(status);
}

/* With the lock. Signals that are to be forwarded wait until there is somebody to get them. */
static int run(char **command, int byte_fd)
{
    sigset_t block;
    sigset_t mask;
    pid_t self = getpid();
    (void)sigemptyset(&block);
    for (size_t i = 0; i < FORWARDED; i++) {
        (void)sigaddset(&block, forwarded[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &block, &mask);
    (void)signal(SIGCHLD, SIG_DFL); /* where it is ignored nobody hears how a child has ended */
    pid_t child = fork();
    if (child == 0) {
        become(command, self, byte_fd, &mask);
    }
    if (child < 0) {
        (void)fprintf(stderr, "holdfast: no process for %s: %s\n", command[0], strerror(errno));
        return EXIT_FAILED;
    }
    command_pid = child;
    struct sigaction action = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO};
    for (size_t i = 0; i < FORWARDED; i++) {
        (void)sigaction(forwarded[i], &action, NULL);
    }
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    return wait_for(child, &block);
}

static int failed(const struct request *request, int error)
{
    char text[256];
    printable(text, sizeof text, request->name);
    switch (error) {
    case -EBUSY:
    case -ETIMEDOUT:
        (void)fprintf(stderr, "holdfast: %s: held by another\n", text);
        return request->conflict;
    case -EINVAL:
    case -ENAMETOOLONG:
        (void)fprintf(stderr,
                      "holdfast: %s: a name is 1 to 250 bytes without '/', control characters, or "
                      "a leading '.'\n",
                      text);
        return EXIT_USAGE;
    case -ENODATA:
        (void)fprintf(
            stderr,
            "holdfast: %s: no lock, or one that was truncated; if nobody needs it, remove "
            "/dev/shm/%s\n",
            text, text);
        return EXIT_FOREIGN;
    case -EBADMSG:
    case -ENOEXEC:
    case -EPROTONOSUPPORT:
        (void)fprintf(stderr, "holdfast: %s: something else stands there: no lock\n", text);
        return EXIT_FOREIGN;
    default:
        (void)fprintf(stderr, "holdfast: %s: %s\n", text, hf_strerror(error));
        return EXIT_FAILED;
    }
}

int command_lock(int argc, char **argv)
{
    struct request request;
    int status;
    if (!parse(argc, argv, &request, &status)) {
        return status != EXIT_USAGE ? status : usage_error("lock");
    }
    lock_type *lock;
    int error = lock_open(request.name, &lock);
    if (error != 0) {
        return failed(&request, error);
    }
    error = lock_take(lock, request.shared, request.timeout_ns);
    if (error != 0) {
        return failed(&request, error);
    }
    hf_memory *memory = NULL;
    int byte_fd = take_command_byte(request.name, request.shared, &memory);
    status = run(request.command, byte_fd);
    if (byte_fd >= 0) {
        (void)os_byte_unlock(byte_fd, BYTE_COMMAND); /* whatever the command leaves running */
    }
    lock_let_go(lock, request.shared);
    hf_memory_close(memory);
    return status;
}
