/* SPDX-License-Identifier: MIT */
/*
 * holdfast serve: the server. The main thread listens for calls and starts a thread for each
 * client; a stopped or slow client holds up nobody else.
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "names.h"
#include "os/os.h"
#include "pause.h"
#include "report.h"
#include "transfer/receiver.h"
#include "transfer/rendezvous.h"
#include "transfer/target.h"

static const char help[] =
    "usage: holdfast serve [OPTION]... [DIR]\n\n"
    "Receives files that holdfast send sends, into DIR (default: the current directory), until\n"
    "stopped by SIGINT or SIGTERM.\n\n"
    "  -n, --name NAME    the name that clients give (default: " DEFAULT_NAME ")\n"
    "  -g, --group GROUP  let members of the group send, too (mode 0660)\n"
    "  -m, --mode MODE    permissions of the rendezvous, octal (default: 0600)\n"
    "  -q, --quiet        print errors only\n"
    "  -j, --json         print one JSON object a line\n"
    "  -h, --help         this text\n\n"
    "Exit: 0 stopped by a signal, 1 failed, 2 wrong usage, 5 a server of that name is running,\n"
    "6 the shared memory under that name is another user's.\n";

/* How long a signal to stop may go unnoticed, at the worst. */
#define LISTEN_NS (INT64_C(200) * 1000 * 1000)
/* How often to look whether a client whose connection has ended has left its lane, too. */
#define LEAVING_NS (INT64_C(5) * 1000 * 1000)
/* How long clients' threads get to end; they look every WIRE_SLICE_NS. */
#define DRAIN_MS 1500

struct serve_options {
    const char *name;
    const char *directory;
    hf_memory_options memory;
    bool quiet;
    bool json;
};

/* A lane as the server knows it: what stands in shared memory, any client could have written. */
enum { IDLE, SERVING, DONE };

struct server {
    struct rendezvous rendezvous;
    struct target_directory top;
    struct report report;
    struct lane {
        struct server *server;
        struct connection connection;
        _Atomic bool stop; /* its thread is to end */
        /* Its thread takes it from SERVING to DONE, the main thread does all else. */
        _Atomic int state;
    } lanes[LANE_COUNT];
};

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
    signalled = number;
}

/* ---- options ----------------------------------------------------------------------------- */

static bool parse_group(const char *text, hf_memory_options *memory)
{
    const struct group *entry = getgrnam(text);
    if (entry != NULL) {
        memory->group = entry->gr_gid;
    } else if (!parse_id(text, &memory->group)) {
        return false;
    }
    memory->set_group = true;
    if (memory->mode == 0) {
        memory->mode = 0660;
    }
    return true;
}

static bool parse_mode(const char *text, hf_memory_options *memory)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    /* Without these two the server could not take over from itself. */
    bool valid = end != text && *end == 0 && mode <= 0777 && (mode & 0600) == 0600;
    memory->mode = (uint32_t)mode;
    return valid;
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct serve_options *o)
{
    static const struct option options[] = {{"name", required_argument, NULL, 'n'},
                                            {"group", required_argument, NULL, 'g'},
                                            {"mode", required_argument, NULL, 'm'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int option;
    while ((option = getopt_long(argc, argv, "n:g:m:qjh", options, NULL)) != -1) {
        switch (option) {
        case 'n':
            o->name = optarg;
            break;
        case 'g':
            if (!parse_group(optarg, &o->memory)) {
                (void)fprintf(stderr, "holdfast: no such group: %s\n", optarg);
                return EXIT_USAGE;
            }
            break;
        case 'm':
            if (!parse_mode(optarg, &o->memory)) {
                (void)fprintf(stderr, "holdfast: not a mode from 0600 to 0777: %s\n", optarg);
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
            return usage_error("serve");
        }
    }
    if (argc - optind > 1) {
        (void)fprintf(stderr, "holdfast: serve takes one directory\n");
        return usage_error("serve");
    }
    o->directory = optind < argc ? argv[optind] : ".";
    return -1;
}

/* ---- serving ----------------------------------------------------------------------------- */

static void *serve_lane(void *argument)
{
    struct lane *lane = argument;
    struct server *server = lane->server;
    (void)receiver_run(&lane->connection, &server->top, &server->report, &lane->stop);
    connection_close(&lane->connection);
    lane->state = DONE;
    rendezvous_ring(&server->rendezvous);
    return NULL;
}

/* Answers a call with a thread of its own, in which no signal is handled. */
static void answer(struct server *server, unsigned number)
{
    struct lane *lane = &server->lanes[number];
    lane->server = server;
    lane->stop = false;
    lane->state = DONE;
    if (rendezvous_accept(&server->rendezvous, number, &lane->connection) != 0) {
        return;
    }
    sigset_t all;
    sigset_t before;
    pthread_attr_t attributes;
    pthread_t thread;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    lane->state = SERVING;
    if (pthread_create(&thread, &attributes, serve_lane, lane) != 0) {
        connection_close(&lane->connection); /* the client is told by that */
        lane->state = DONE;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
}

/* Looks at every lane once; returns how long to sleep before the next look. */
static int64_t look_at_lanes(struct server *server)
{
    int64_t timeout = LISTEN_NS;
    for (unsigned i = 0; i < LANE_COUNT; i++) {
        struct lane *lane = &server->lanes[i];
        /* Calling, and not freed by us: a hostile client has freed it. The caller is served. */
        if (lane->state != SERVING && rendezvous_is_calling(&server->rendezvous, i)) {
            answer(server, i);
        } else if (lane->state == IDLE && rendezvous_is_abandoned(&server->rendezvous, i)) {
            lane->state = DONE;
        }
        if (lane->state == SERVING && (!rendezvous_is_held(&server->rendezvous, i) ||
                                       rendezvous_is_calling(&server->rendezvous, i))) {
            /* Its client has gone, whatever its pipes say: they may be scribbled. */
            lane->stop = true;
        }
        if (lane->state == DONE) {
            /* The client may live on for a while, stopped even, and still write into its lane. */
            if (rendezvous_free_lane(&server->rendezvous, i)) {
                lane->state = IDLE;
            } else {
                timeout = LEAVING_NS;
            }
        }
    }
    return timeout;
}

static void listen_until_signalled(struct server *server)
{
    uint32_t rung = rendezvous_rung(&server->rendezvous);
    while (signalled == 0) {
        int64_t timeout = look_at_lanes(server);
        rendezvous_listen(&server->rendezvous, rung, timeout);
        rung = rendezvous_rung(&server->rendezvous);
    }
}

/* Gives the threads time to drop what is unfinished; false if some have not ended. */
static bool drain(struct server *server)
{
    for (int waited = 0; waited < DRAIN_MS; waited += 5) {
        unsigned active = 0;
        for (unsigned i = 0; i < LANE_COUNT; i++) {
            server->lanes[i].stop = true;
            active += server->lanes[i].state == SERVING;
        }
        if (active == 0) {
            return true;
        }
        pause_ms(5);
    }
    return false;
}

/* What was ignored when we started (by nohup, say) stays ignored. */
static void handle_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction before;
        struct sigaction action = {.sa_handler = on_signal};
        (void)sigemptyset(&action.sa_mask);
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            (void)sigaction(numbers[i], &action, NULL);
        }
    }
}

/* Each client takes a handful of descriptors. */
static void allow_many_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run(struct server *server, const struct serve_options *o)
{
    struct stat st;
    struct place target = {0};
    if (fstat(server->top.fd, &st) == 0) {
        target = (struct place){.device = st.st_dev, .inode = st.st_ino};
    }
    int error = rendezvous_create(&server->rendezvous, o->name, &o->memory, &target);
    if (error != 0) {
        return rendezvous_failed(&server->report, o->name, error);
    }
    char *absolute = realpath(o->directory, NULL);
    report_ready(&server->report, o->name, absolute != NULL ? absolute : o->directory);
    free(absolute);
    server->report.lossy = true;
    listen_until_signalled(server);
    rendezvous_unpublish(&server->rendezvous);
    if (!drain(server)) {
        _exit(EXIT_DONE); /* past a thread that hangs in a write, and whatever it has locked */
    }
    rendezvous_close(&server->rendezvous);
    return EXIT_DONE;
}

int command_serve(int argc, char **argv)
{
    struct serve_options o = {.name = DEFAULT_NAME};
    int code = parse(argc, argv, &o);
    if (code >= 0) {
        return code;
    }
    static struct server server; /* static: threads that did not end in time may still look */
    report_init(&server.report, o.quiet, o.json);
    allow_many_descriptors();
    int error = target_open(&server.top, o.directory);
    if (error == 0) {
        error = target_try(&server.top);
    }
    if (error != 0) {
        report_failed(&server.report, "error", o.directory, strerror(-error));
        return EXIT_FAILED;
    }
    handle_signals();
    code = run(&server, &o);
    target_close(&server.top);
    return code;
}
