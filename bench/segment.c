/* SPDX-License-Identifier: MIT */
/* recovery: undoing one dead participant. attach: opening a segment, being in it, closing it. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "locks.h"

#define SAVED    1024
#define ATTACHES 50

/* ---- recovery ----------------------------------------------------------------------------- */

typedef struct recovery_room {
    unsigned char bytes[SAVED];
    _Atomic int ready;
} recovery_room;

typedef struct recovery_side {
    hf_segment *segment;
    recovery_room *room;
} recovery_side;

static void recovery_teardown(void *state)
{
    recovery_side *side = state;
    hf_segment_close(side->segment);
    free(side);
}

static int recovery_setup(void *shared, void **state)
{
    (void)shared;
    void *root;
    recovery_side *side = calloc(1, sizeof(*side));
    if (side == NULL) {
        return bench_error("out of memory");
    }
    int error = hf_segment_create_anonymous(1 << 20, NULL, &side->segment);
    if (error == 0) {
        error = hf_segment_root(side->segment, sizeof(*side->room), &root);
    }
    if (error != 0) {
        recovery_teardown(side);
        return bench_error("no segment: %s", hf_strerror(error));
    }
    side->room = root;
    *state = side;
    return 0;
}

static void write_and_wait(recovery_side *side)
{
    if (hf_tx_begin(side->segment) != 0 ||
        hf_tx_add(side->segment, side->room->bytes, SAVED) != 0) {
        _exit(1);
    }
    memset(side->room->bytes, 0xff, SAVED);
    atomic_store(&side->room->ready, 1);
    for (;;) {
        (void)pause();
    }
}

/* A child that was killed in the middle of its transaction. */
static int leave_one_dead(recovery_side *side)
{
    atomic_store(&side->room->ready, 0);
    pid_t child = bench_fork();
    if (child == 0) {
        write_and_wait(side);
    }
    for (int i = 0; i < 50000 && child > 0 && atomic_load(&side->room->ready) == 0; i++) {
        bench_pause_us(100);
    }
    if (child < 0) {
        return -1;
    }
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    return atomic_load(&side->room->ready) == 1 ? 0 : bench_error("no transaction to recover");
}

static int recovery_run(void *state, double *cost)
{
    recovery_side *side = state;
    unsigned recovered = 0;
    if (leave_one_dead(side) != 0) {
        return -1;
    }
    int64_t start = bench_now_ns();
    int error = hf_segment_recover(side->segment, &recovered);
    *cost = (double)(bench_now_ns() - start);
    if (error != 0 || recovered != 1 || side->room->bytes[0] != 0 ||
        side->room->bytes[SAVED - 1] != 0) {
        return bench_error("not recovered: %s, %u dead", hf_strerror(error), recovered);
    }
    return 0;
}

extern const bench_row recovery;
const bench_row recovery = {
    .name = "recovery",
    .unit = "ns",
    .what = "recovery of one that died in a transaction of 1 KiB, median of 100",
    .rounds = 100,
    .percentile = 50,
    .sides = {{"ours", 100e3, recovery_setup, recovery_run, recovery_teardown}},
};

/* ---- attach ------------------------------------------------------------------------------- */

typedef struct attach_side {
    char name[BENCH_PATH_MAX];
    pid_t host; /* another process, that has the segment open all the time */
} attach_side;

static void host_it(const char *name)
{
    hf_segment *segment;
    void *root;
    int error = hf_segment_create(name, 1 << 20, NULL, &segment);
    if (error == 0) {
        error = hf_segment_root(segment, sizeof(lock_room), &root);
    }
    if (error != 0) {
        (void)bench_error("no segment: %s", hf_strerror(error));
        _exit(1);
    }
    lock_room *room = root;
    atomic_store(&room->data.ready, 1);
    for (;;) {
        (void)pause();
    }
}

static int open_it(const attach_side *side, hf_segment **segment, lock_room **room)
{
    void *root = NULL;
    int error = hf_segment_open(side->name, HF_READ_WRITE, segment);
    if (error == 0) {
        error = hf_segment_root(*segment, sizeof(lock_room), &root);
        *room = root;
        if (error != 0) {
            hf_segment_close(*segment);
        }
    }
    return error;
}

static int attach_once(const attach_side *side)
{
    hf_segment *segment;
    lock_room *room;
    int error = open_it(side, &segment, &room);
    if (error == 0) {
        error = hf_mutex_lock(&room->mutex);
        error = error != 0 ? error : hf_mutex_unlock(&room->mutex);
        hf_segment_close(segment);
    }
    return error;
}

static bool is_hosted(const attach_side *side)
{
    hf_segment *segment;
    lock_room *room;
    if (open_it(side, &segment, &room) != 0) {
        return false;
    }
    bool ready = atomic_load(&room->data.ready) == 1;
    hf_segment_close(segment);
    return ready;
}

static void attach_teardown(void *state)
{
    attach_side *side = state;
    if (side->host > 0) {
        (void)bench_stop(side->host);
    }
    (void)hf_segment_remove(side->name);
    free(side);
}

static int attach_setup(void *shared, void **state)
{
    (void)shared;
    attach_side *side = calloc(1, sizeof(*side));
    if (side == NULL ||
        bench_format(side->name, BENCH_PATH_MAX, "bench-attach-%ld", (long)getpid()) != 0) {
        free(side);
        return bench_error("no name for a segment");
    }
    side->host = bench_fork();
    if (side->host == 0) {
        host_it(side->name);
    }
    for (int i = 0; i < 5000 && side->host > 0 && bench_interrupted() == 0; i++) {
        if (is_hosted(side)) {
            *state = side;
            return 0;
        }
        bench_pause_us(1000);
    }
    attach_teardown(side);
    return bench_error("nobody made the segment to attach to");
}

static int attach_run(void *state, double *cost)
{
    const attach_side *side = state;
    int64_t start = bench_now_ns();
    int error = 0;
    for (int i = 0; i < ATTACHES && error == 0; i++) {
        error = attach_once(side);
    }
    *cost = (double)(bench_now_ns() - start) / ATTACHES;
    return error == 0 ? 0 : bench_error("cannot attach: %s", hf_strerror(error));
}

extern const bench_row attach;
const bench_row attach = {
    .name = "attach",
    .unit = "ns",
    .what = "open a named segment of another process, lock and unlock a mutex in it, close it",
    .sides = {{"ours", 200e3, attach_setup, attach_run, attach_teardown}},
};
