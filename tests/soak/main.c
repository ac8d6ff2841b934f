/* SPDX-License-Identifier: MIT */
/* holdfast-soak: see README.md. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "soak/soak.h"

_Atomic uint32_t interrupted;

/* ---- options ----------------------------------------------------------------------------- */

static _Noreturn void usage(void)
{
    (void)fprintf(stderr, "usage: holdfast-soak [--seconds N] [--seed N|random] [--kills N] "
                          "[--processes N] [--threads N] [--keep DIRECTORY]\n");
    exit(2);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10); /* which takes a sign and blanks, too */
    if (*text < '0' || *text > '9' || *end != 0 || errno != 0 || value < least || value > most) {
        usage();
    }
    return value;
}

static uint64_t seed_of(const char *text)
{
    uint64_t seed;
    if (strcmp(text, "random") != 0) {
        return number(text, 0, UINT64_MAX);
    }
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) {
        seed = now_ns();
    }
    return seed % UINT64_C(1000000000);
}

static struct options read_options(int argc, char **argv)
{
    static const struct option known[] = {{"seconds", required_argument, NULL, 's'},
                                          {"seed", required_argument, NULL, 'r'},
                                          {"kills", required_argument, NULL, 'k'},
                                          {"processes", required_argument, NULL, 'p'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"keep", required_argument, NULL, 'd'},
                                          {NULL, 0, NULL, 0}};
    struct options options = {.seconds = 60,
                              .seed = seed_of("random"),
                              .processes = 8,
                              .threads = 2,
                              .keep = "build/soak"};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 's':
            options.seconds = number(optarg, 1, 1000000);
            break;
        case 'r':
            options.seed = seed_of(optarg);
            break;
        case 'k':
            options.kills = number(optarg, 1, UINT64_MAX);
            break;
        case 'p':
            options.processes = (unsigned)number(optarg, 1, WORKERS_MAX);
            break;
        case 't':
            options.threads = (unsigned)number(optarg, 1, THREADS_MAX);
            break;
        case 'd':
            options.keep = optarg;
            break;
        default:
            usage();
        }
    }
    if (optind != argc) {
        usage();
    }
    return options;
}

/* ---- the system -------------------------------------------------------------------------- */

static void interrupt(int signal_number)
{
    (void)signal_number;
    store_relaxed(&interrupted, 1);
}

static void *end_at_once(void *unused)
{
    (void)unused;
    pthread_exit(NULL);
}

/* The first pthread_exit loads a library: here, once, and not in every worker. */
static void load_what_threads_need(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, end_at_once, NULL) == 0) {
        (void)pthread_join(thread, NULL);
    }
}

static const char *temporary_directory(void)
{
    static char path[64];
    const char *parent = getenv("TMPDIR");
    (void)snprintf(path, sizeof path, "%.40s/hft-soak-XXXXXX",
                   parent == NULL || strlen(parent) > 40 ? "/tmp" : parent);
    if (mkdtemp(path) == NULL) {
        perror("holdfast-soak: temporary directory");
        exit(2);
    }
    return path;
}

/* Names of this soak's that are still in shared memory. */
static int is_ours(const char *name, void *prefix)
{
    if (strncmp(name, prefix, strlen(prefix)) != 0) {
        return 0;
    }
    note_failure("%s is left in shared memory", name);
    return 1;
}

/* ---- rounds ------------------------------------------------------------------------------ */

static bool make_arena(struct driver *d, const char *directory)
{
    d->chance = chance_of(d->options.seed, d->tally.rounds, 0, 0);
    int error = arena_make(&d->arena, &d->chance, directory, d->tally.rounds);
    if (error != 0) {
        note_failure("the segment of a round (%s) cannot be made: %s", arena_kind_name(&d->arena),
                     hf_strerror(error));
    }
    return error == 0;
}

static bool remove_arena(struct driver *d)
{
    char prefix[48];
    int error = arena_remove(&d->arena);
    (void)snprintf(prefix, sizeof prefix, "hft-soak-%d-", (int)getpid());
    if (error != 0) {
        note_failure("the segment of a round cannot be removed: %s", hf_strerror(error));
        return false;
    }
    return hf_shm_list(is_ours, prefix) == 0;
}

/* Some thousands of kills on one segment, and the census. */
static bool run_round(struct driver *d, const char *directory)
{
    uint64_t kills = 500 + below(&d->chance, 3000);
    if (d->options.kills != 0 && d->options.kills - d->tally.kills < kills) {
        kills = d->options.kills - d->tally.kills;
    }
    bool made = make_arena(d, directory);
    if (!made || !run_workers(d, kills) || !run_census(d)) {
        stop_everybody(d);
        print_failure(d);
        kill_everybody(d);
        (void)(made && arena_remove(&d->arena) == 0);
        return false;
    }
    bool removed = remove_arena(d);
    if (!removed) {
        print_failure(d);
    }
    d->tally.rounds++;
    return removed;
}

static bool time_is_up(const struct driver *d)
{
    return now_ns() >= d->end_ns || load_relaxed(&interrupted) != 0 ||
           (d->options.kills != 0 && d->tally.kills >= d->options.kills);
}

int main(int argc, char **argv)
{
    static struct driver d;
    bool good = true;
    d.options = read_options(argc, argv);
    make_notes();
    (void)signal(SIGINT, interrupt);
    (void)signal(SIGTERM, interrupt);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    load_what_threads_need();
    const char *directory = temporary_directory();
    (void)printf("soak: seed %llu, %u processes of %u threads\n",
                 (unsigned long long)d.options.seed, d.options.processes, d.options.threads);
    d.start_ns = now_ns();
    d.end_ns = d.start_ns + d.options.seconds * SECOND;
    d.chance = chance_of(d.options.seed, 0, 0, 0);
    while (good && !time_is_up(&d)) {
        good = run_round(&d, directory);
    }
    (void)rmdir(directory);
    if (good) {
        print_progress(&d, true);
        (void)printf("every census was exact\n");
    }
    return good ? 0 : 1;
}
