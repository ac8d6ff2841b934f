/* SPDX-License-Identifier: MIT */
/*
 * transfer.time: a file of 1 GiB from tmpfs to tmpfs.
 *
 * Every side is a program that is started, sends the file and exits; its time is from the fork to
 * the exit. Those that need a server have it running already. Ours, `unix` and `tcp` hash the
 * file at both ends and give it its name only when the hashes agree; `cp` just copies.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bench.h"

#define FILE_SIZE  (UINT64_C(1) << 30)
#define PIECE      ((size_t)1 << 20)
#define TIMEOUT_S  120.0
#define WORDS_MAX  8
#define SOURCE     "file"
#define SPARE_SIZE (UINT64_C(256) << 20) /* for our segment and whatever else is there */

typedef struct transfer_shared {
    char directory[BENCH_PATH_MAX];
    char source[BENCH_PATH_MAX];
} transfer_shared;

typedef struct transfer_side {
    const transfer_shared *shared;
    const char *name;
    char directory[BENCH_PATH_MAX]; /* where the file is to appear */
    char target[BENCH_PATH_MAX];    /* under this name */
    char address[BENCH_PATH_MAX];   /* of the server */
    char server_log[BENCH_PATH_MAX];
    char client_log[BENCH_PATH_MAX];
    const char *client[WORDS_MAX];
    pid_t server; /* 0: none */
    bool compared;
} transfer_side;

/* ---- the file ----------------------------------------------------------------------------- */

/* Splitmix64: nothing that a file system or a CPU could find a shortcut for. */
static void fill(uint64_t *words, size_t count, uint64_t *seed)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        words[i] = z ^ (z >> 31);
    }
}

static int write_source(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    uint64_t *piece = malloc(PIECE);
    uint64_t seed = 1;
    bool written = fd >= 0 && piece != NULL;
    for (uint64_t done = 0; written && done < FILE_SIZE; done += PIECE) {
        fill(piece, PIECE / sizeof(*piece), &seed);
        written = write(fd, piece, PIECE) == (ssize_t)PIECE;
    }
    int error = errno;
    free(piece);
    if (fd >= 0) {
        (void)close(fd);
    }
    return written ? 0 : bench_error("cannot write %s: %s", path, strerror(error));
}

static bool read_both(int left, int right, char *buffer)
{
    ssize_t got = read(left, buffer, PIECE);
    return got > 0 && read(right, buffer + PIECE, PIECE) == got &&
           memcmp(buffer, buffer + PIECE, (size_t)got) == 0;
}

static int compare_content(const char *source, const char *target)
{
    int left = open(source, O_RDONLY | O_CLOEXEC);
    int right = open(target, O_RDONLY | O_CLOEXEC);
    char *buffer = malloc(2 * PIECE);
    bool same = left >= 0 && right >= 0 && buffer != NULL;
    for (uint64_t done = 0; same && done < FILE_SIZE; done += PIECE) {
        same = read_both(left, right, buffer);
    }
    free(buffer);
    if (left >= 0) {
        (void)close(left);
    }
    if (right >= 0) {
        (void)close(right);
    }
    return same ? 0 : bench_error("what arrived in %s is not what was sent", target);
}

static void transfer_teardown(void *shared)
{
    transfer_shared *transfer = shared;
    bench_remove_tree(transfer->directory);
    free(transfer);
}

static int transfer_setup(void **shared)
{
    struct statvfs space;
    uint64_t needed = 2 * FILE_SIZE + SPARE_SIZE;
    if (statvfs(bench_scratch(), &space) != 0 ||
        (uint64_t)space.f_bavail * space.f_frsize < needed) {
        return bench_error("%s needs %llu MiB free", bench_scratch(),
                           (unsigned long long)(needed >> 20));
    }
    transfer_shared *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return bench_error("out of memory");
    }
    if (bench_format(made->directory, BENCH_PATH_MAX, "%s/transfer", bench_scratch()) != 0 ||
        bench_format(made->source, BENCH_PATH_MAX, "%s/" SOURCE, made->directory) != 0) {
        free(made);
        return -1;
    }
    if (mkdir(made->directory, 0700) != 0 || write_source(made->source) != 0) {
        transfer_teardown(made);
        return bench_error("no file to send");
    }
    *shared = made;
    return 0;
}

/* ---- any side ----------------------------------------------------------------------------- */

static void side_teardown(void *state)
{
    transfer_side *side = state;
    if (side->server > 0) {
        (void)bench_stop(side->server);
    }
    bench_remove_tree(side->directory);
    free(side);
}

static transfer_side *side_new(const transfer_shared *shared, const char *name)
{
    transfer_side *side = calloc(1, sizeof(*side));
    if (side == NULL) {
        (void)bench_error("out of memory");
        return NULL;
    }
    side->shared = shared;
    side->name = name;
    const char *base = shared->directory;
    if (bench_format(side->directory, BENCH_PATH_MAX, "%s/to-%s", base, name) != 0 ||
        bench_format(side->target, BENCH_PATH_MAX, "%s/" SOURCE, side->directory) != 0 ||
        bench_format(side->server_log, BENCH_PATH_MAX, "%s/%s-server.log", base, name) != 0 ||
        bench_format(side->client_log, BENCH_PATH_MAX, "%s/%s-client.log", base, name) != 0) {
        free(side);
        return NULL;
    }
    if (mkdir(side->directory, 0700) != 0) {
        (void)bench_error("cannot make %s: %s", side->directory, strerror(errno));
        free(side);
        return NULL;
    }
    return side;
}

/* Starts the server and waits until it is ready; `line` is what it said then. */
static int start_server(transfer_side *side, const char *const argv[], char *line, size_t size)
{
    side->server = bench_spawn(argv, side->server_log);
    if (side->server < 0) {
        return -1;
    }
    if (bench_wait_ready(side->server, side->server_log, "ready", line, size) != 0) {
        bench_show_log(side->server_log);
        return -1;
    }
    return 0;
}

/* The untimed half of a round: it did arrive, and is then removed to make room. */
static int check_arrival(transfer_side *side)
{
    struct stat status;
    if (stat(side->target, &status) != 0) {
        return bench_error("%s: nothing arrived", side->name);
    }
    if (status.st_size != (off_t)FILE_SIZE) {
        return bench_error("%s: %lld bytes arrived", side->name, (long long)status.st_size);
    }
    if (!side->compared && compare_content(side->shared->source, side->target) != 0) {
        return -1;
    }
    side->compared = true;
    return unlink(side->target) == 0 ? 0 : bench_error("cannot remove %s", side->target);
}

static int side_run(void *state, double *cost)
{
    transfer_side *side = state;
    int64_t start = bench_now_ns();
    pid_t client = bench_spawn(side->client, side->client_log);
    if (client < 0) {
        return -1;
    }
    int result = bench_wait(client, side->name, TIMEOUT_S);
    int64_t end = bench_now_ns();
    if (result != 0) {
        if (bench_interrupted() == 0) {
            bench_show_log(side->client_log);
        }
        return -1;
    }
    *cost = (double)(end - start) * 1e-9;
    return check_arrival(side);
}

/* ---- ours --------------------------------------------------------------------------------- */

/* A server that had to be killed leaves its shared memory, which `holdfast rm` removes. */
static void ours_teardown(void *state)
{
    transfer_side *side = state;
    if (!bench_stop(side->server)) {
        const char *const argv[] = {bench_tool(), "rm", side->address, NULL};
        pid_t child = bench_spawn(argv, side->client_log);
        if (child > 0) {
            (void)bench_finish(child);
        }
    }
    side->server = 0;
    side_teardown(side);
}

static int ours_setup(void *shared, void **state)
{
    const transfer_shared *transfer = shared;
    if (bench_tool() == NULL || access(bench_tool(), X_OK) != 0) {
        return bench_error("there is no holdfast command to measure: give one with --tool PATH");
    }
    transfer_side *side = side_new(transfer, "ours");
    char line[128];
    if (side == NULL) {
        return -1;
    }
    if (bench_format(side->address, BENCH_PATH_MAX, "bench-%ld", (long)getpid()) != 0) {
        side_teardown(side);
        return -1;
    }
    const char *const argv[] = {bench_tool(), "serve",       side->directory,
                                "--name",     side->address, NULL};
    if (start_server(side, argv, line, sizeof(line)) != 0) {
        ours_teardown(side);
        return -1;
    }
    const char *const client[] = {bench_tool(),  "send",           "--name",
                                  side->address, transfer->source, NULL};
    memcpy(side->client, client, sizeof(client));
    *state = side;
    return 0;
}

/* ---- the peers ---------------------------------------------------------------------------- */

static int cp_setup(void *shared, void **state)
{
    const transfer_shared *transfer = shared;
    transfer_side *side = side_new(transfer, "cp");
    if (side == NULL) {
        return -1;
    }
    const char *const client[] = {"/bin/cp", transfer->source, side->directory, NULL};
    memcpy(side->client, client, sizeof(client));
    *state = side;
    return 0;
}

/* `wish` is the address to serve at; the server's line "ready ADDRESS" says which it became. */
static int socket_setup(const transfer_shared *transfer, const char *kind, const char *wish,
                        void **state)
{
    transfer_side *side = side_new(transfer, kind);
    if (side == NULL) {
        return -1;
    }
    char line[BENCH_PATH_MAX + 8];
    const char *const argv[] = {HF_SOCKET_PEER, "serve", kind, wish, side->directory, NULL};
    if (start_server(side, argv, line, sizeof(line)) != 0 ||
        bench_format(side->address, BENCH_PATH_MAX, "%s", line + strlen("ready ")) != 0) {
        side_teardown(side);
        return -1;
    }
    const char *const client[] = {HF_SOCKET_PEER, "send",           kind,
                                  side->address,  transfer->source, NULL};
    memcpy(side->client, client, sizeof(client));
    *state = side;
    return 0;
}

static int unix_setup(void *shared, void **state)
{
    const transfer_shared *transfer = shared;
    char path[BENCH_PATH_MAX];
    if (bench_format(path, sizeof(path), "%s/socket", transfer->directory) != 0) {
        return -1;
    }
    return socket_setup(transfer, "unix", path, state);
}

static int tcp_setup(void *shared, void **state)
{
    return socket_setup(shared, "tcp", "0", state); /* any free port */
}

extern const bench_row transfer_time;
const bench_row transfer_time = {
    .name = "transfer.time",
    .unit = "s",
    .what = "a file of 1 GiB, tmpfs to tmpfs, from the sender's start to its exit",
    .setup = transfer_setup,
    .teardown = transfer_teardown,
    .sides =
        {
            {.name = "ours", .setup = ours_setup, .run = side_run, .teardown = ours_teardown},
            {"cp", 1.25, cp_setup, side_run, side_teardown},
            {"unix", 1.0, unix_setup, side_run, side_teardown},
            {"tcp", 0.5, tcp_setup, side_run, side_teardown},
        },
};
