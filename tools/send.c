/* SPDX-License-Identifier: MIT */
/* holdfast send: the client. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "commands.h"
#include "names.h"
#include "os/os.h"
#include "pause.h"
#include "report.h"
#include "transfer/rendezvous.h"
#include "transfer/sender.h"

static const char help[] =
    "usage: holdfast send [OPTION]... FILE...\n\n"
    "Sends files through shared memory to a server on this machine (holdfast serve).\n\n"
    "  -n, --name NAME      the server's name (default: " DEFAULT_NAME ")\n"
    "  -u, --user USER      the user that the server runs as (default: yours)\n"
    "  -r, --recursive      send directories with all that is in them\n"
    "  -p, --preserve       keep mode and time of last modification\n"
    "  -f, --force          replace files that exist\n"
    "  -w, --wait SECONDS   wait that long for a server to appear (default: 0)\n"
    "  -q, --quiet          print errors only\n"
    "  -j, --json           print one JSON object a line\n"
    "  -h, --help           this text\n\n"
    "Exit: 0 all sent, 1 some file was not, 2 wrong usage, 3 no server, 4 the server died or\n"
    "stopped, 6 the shared memory under that name is not the server user's.\n";

/* A refusal may be another client's doing: try another lane, a few times. */
#define REFUSALS_MAX 10

struct send_options {
    const char *name;
    uint32_t user;
    double wait_seconds;
    bool recursive;
    bool preserve;
    bool force;
    bool quiet;
    bool json;
};

static bool parse_user(const char *text, uint32_t *user)
{
    const struct passwd *entry = getpwnam(text);
    if (entry != NULL) {
        *user = entry->pw_uid;
        return true;
    }
    return parse_id(text, user);
}

static bool parse_seconds(const char *text, double *seconds)
{
    char *end;
    *seconds = strtod(text, &end);
    return end != text && *end == 0 && *seconds >= 0 && isfinite(*seconds);
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct send_options *o)
{
    static const struct option options[] = {
        {"name", required_argument, NULL, 'n'}, {"user", required_argument, NULL, 'u'},
        {"recursive", no_argument, NULL, 'r'},  {"preserve", no_argument, NULL, 'p'},
        {"force", no_argument, NULL, 'f'},      {"wait", required_argument, NULL, 'w'},
        {"quiet", no_argument, NULL, 'q'},      {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},       {0}};
    int option;
    while ((option = getopt_long(argc, argv, "n:u:rpfw:qjh", options, NULL)) != -1) {
        switch (option) {
        case 'n':
            o->name = optarg;
            break;
        case 'u':
            if (!parse_user(optarg, &o->user)) {
                (void)fprintf(stderr, "holdfast: no such user: %s\n", optarg);
                return EXIT_USAGE;
            }
            break;
        case 'r':
            o->recursive = true;
            break;
        case 'p':
            o->preserve = true;
            break;
        case 'f':
            o->force = true;
            break;
        case 'w':
            if (!parse_seconds(optarg, &o->wait_seconds)) {
                (void)fprintf(stderr, "holdfast: not a number of seconds: %s\n", optarg);
                return EXIT_USAGE;
            }
            break;
        case 'q':
            o->quiet = true;
            break;
        case 'j':
            o->json = true;
            break;
        case 'h':
            return print_asked(help);
        default:
            return usage_error("send");
        }
    }
    if (optind == argc) {
        (void)fprintf(stderr, "holdfast: send needs a file\n");
        return usage_error("send");
    }
    return -1;
}

/* Finds the server and takes a lane, waiting for a server as long as the user allows, and for a
 * lane as long as the server lives. */
static int connect_to(const struct send_options *o, struct report *report, struct rendezvous *r,
                      struct connection *c)
{
    uint64_t start = os_now_ns();
    bool told = false;
    int refusals = 0;
    for (;;) {
        int error = rendezvous_open(r, o->name, o->user);
        while (error == 0) {
            error = rendezvous_call(r, c);
            if (error == 0) {
                return 0;
            }
            bool again = error == -EAGAIN || (error == -ECONNREFUSED && ++refusals < REFUSALS_MAX);
            if (!again) {
                rendezvous_close(r);
                break;
            }
            if (!told && error == -EAGAIN) {
                report_note(report, "the server is busy with other clients; waiting");
                told = true;
            }
            pause_ms(10);
            error = 0;
        }
        double waited = (double)(os_now_ns() - start) / 1e9;
        if (error != -ENOENT || waited >= o->wait_seconds) {
            return error;
        }
        pause_ms(20);
    }
}

int command_send(int argc, char **argv)
{
    struct send_options o = {.name = DEFAULT_NAME, .user = geteuid()};
    int code = parse(argc, argv, &o);
    if (code >= 0) {
        return code;
    }
    struct report report;
    report_init(&report, o.quiet, o.json);
    struct rendezvous r;
    struct connection c;
    int error = connect_to(&o, &report, &r, &c);
    if (error != 0) {
        return rendezvous_failed(&report, o.name, error);
    }
    struct sender sender = {.c = &c,
                            .target_device = r.shared->target_device,
                            .target_inode = r.shared->target_inode,
                            .report = &report,
                            .force = o.force,
                            .preserve = o.preserve,
                            .recursive = o.recursive};
    for (int i = optind; i < argc && error == 0; i++) {
        error = sender_send(&sender, argv[i]);
    }
    connection_close(&c);
    rendezvous_close(&r);
    if (error != 0) {
        report_failed(&report, "error", NULL,
                      error == -EBADMSG ? "the server broke the protocol"
                                        : "the server has died or was stopped; "
                                          "what it had not confirmed is not saved");
        return EXIT_LOST;
    }
    if (report_finish(&report) != 0) {
        report_failed(&report, "error", NULL, "the results could not be written");
        return EXIT_FAILED;
    }
    return sender.failures == 0 ? EXIT_DONE : EXIT_FAILED;
}
