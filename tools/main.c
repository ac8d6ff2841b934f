/* SPDX-License-Identifier: MIT */
/* The holdfast command: picks the subcommand. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "holdfast/version.h"
#include "names.h"
#include "report.h"
#include "transfer/rendezvous.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"serve", command_serve, "receive files into a directory, until stopped"},
    {"send", command_send, "send files to a server on this machine"},
    {"rm", command_rm, "remove what a killed server left in shared memory"},
    {"lock", command_lock, "run a command while holding a lock"},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static void help(FILE *out)
{
    (void)fputs("usage: holdfast COMMAND [OPTION]... [ARGUMENT]...\n\n"
                "Files from process to process through shared memory, and locks for scripts.\n\n",
                out);
    for (size_t i = 0; i < COMMANDS; i++) {
        (void)fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    }
    (void)fputs("\nholdfast COMMAND --help tells more; so does man holdfast.\n", out);
}

int print_asked(const char *text)
{
    if (fputs(text, stdout) < 0 || fflush(stdout) != 0) {
        (void)fputs("holdfast: the text could not be written\n", stderr);
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

int usage_error(const char *command)
{
    (void)fprintf(stderr, "Try: holdfast %s --help\n", command);
    return EXIT_USAGE;
}

int rendezvous_failed(struct report *report, const char *name, int error)
{
    switch (error) {
    case -ENOENT:
        report_failed(report, "error", name, "no server of that name");
        return EXIT_NO_SERVER;
    case -EBUSY:
        report_failed(report, "error", name, "a server of that name is running");
        return EXIT_BUSY;
    case -EPERM:
        report_failed(report, "error", name,
                      "the shared memory of that name belongs to another user: refused");
        return EXIT_FOREIGN;
    case -EBADMSG:
        report_failed(report, "error", name,
                      "the shared memory of that name is no rendezvous of this version: refused");
        return EXIT_FOREIGN;
    case -EINVAL:
    case -ENAMETOOLONG:
        report_failed(report, "error", name,
                      "a name is 1 to 200 bytes without '/' or control characters");
        return EXIT_USAGE;
    case -ENOSPC:
        report_failed(report, "error", name, "no space left in /dev/shm");
        return EXIT_FAILED;
    case -EACCES:
        report_failed(report, "error", name,
                      "permission denied: its server lets others in if given --group or --mode");
        return EXIT_FAILED;
    case RENDEZVOUS_GROUP:
        report_failed(report, "error", name, "not permitted: is the group one of yours?");
        return EXIT_FAILED;
    case RENDEZVOUS_NO_MEMORY:
        report_failed(report, "error", name, "nothing can be made in /dev/shm: is it read-only?");
        return EXIT_FAILED;
    case -ECONNREFUSED:
        report_failed(report, "error", name,
                      "the server could not serve us: out of descriptors, memory or threads");
        return EXIT_FAILED;
    default:
        report_failed(report, "error", name, hf_strerror(error));
        return EXIT_FAILED;
    }
}

/* A descriptor below 3 that is closed would be the next one opened: a file, or shared memory, that
 * what we print would then go into. */
static void open_standard_descriptors(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd < STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        (void)close(fd);
    }
}

int main(int argc, char **argv)
{
    static char program[] = "holdfast"; /* what getopt's messages begin with */
    open_standard_descriptors();
    (void)signal(SIGPIPE, SIG_IGN); /* a closed standard output is no reason to drop files */
    (void)signal(SIGXFSZ, SIG_IGN); /* a file too large is an error like any other */
    if (argc < 2) {
        help(stderr);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            argv[1] = program;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        help(stdout);
        return print_asked("");
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("holdfast %s\n", hf_version());
        return print_asked("");
    }
    (void)fprintf(stderr, "holdfast: no such command: %s\nTry: holdfast --help\n", argv[1]);
    return EXIT_USAGE;
}
