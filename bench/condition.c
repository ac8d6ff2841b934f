/* SPDX-License-Identifier: MIT */
/*
 * condition.asleep: there and back between two processes that sleep until it is their turn;
 * notify.nobody: a notification that nobody waits for; recursive.pair: the recursive mutex.
 *
 * The futex side of condition.asleep is what the system takes: one word, a wake and a wait.
 */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* syscall */
#endif
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "condition.h"
#include "locks.h"
#include "two.h"

/* ---- ours --------------------------------------------------------------------------------- */

typedef struct sync_room {
    _Alignas(LINE) hf_mutex mutex;
    hf_condition condition;
    unsigned turn;
    _Alignas(LINE) hf_recursive_mutex recursive;
} sync_room;

typedef struct ours_sync {
    hf_segment *segment;
    sync_room *at;
} ours_sync;

static void sync_teardown(void *state)
{
    ours_sync *sync = state;
    hf_segment_close(sync->segment);
    free(sync);
}

static int sync_setup(void *shared, void **state)
{
    (void)shared;
    void *root = NULL;
    ours_sync *sync = calloc(1, sizeof(*sync));
    if (sync == NULL) {
        return bench_error("out of memory");
    }
    int error = hf_segment_create_anonymous(1 << 20, NULL, &sync->segment);
    if (error == 0) {
        error = hf_segment_root(sync->segment, sizeof(*sync->at), &root);
    }
    if (error != 0) {
        sync_teardown(sync);
        return bench_error("no segment: %s", hf_strerror(error));
    }
    sync->at = root;
    *state = sync;
    return 0;
}

/* ---- recursive.pair ------------------------------------------------------------------------ */

static int recursive_run(void *state, double *cost)
{
    hf_recursive_mutex *mutex = &((ours_sync *)state)->at->recursive;
    int errors = 0;
    int64_t start = bench_now_ns();
    for (int i = 0; i < RECURSIVE_PAIRS; i++) {
        errors |= hf_recursive_mutex_lock(mutex);
        errors |= hf_recursive_mutex_unlock(mutex);
    }
    *cost = (double)(bench_now_ns() - start) / RECURSIVE_PAIRS;
    return errors == 0 ? 0 : bench_error("a lock or unlock of ours failed");
}

extern const bench_row recursive_pair;
const bench_row recursive_pair = {
    .name = "recursive.pair",
    .unit = "ns",
    .what = "lock and unlock a recursive mutex that nobody else wants",
    .sides =
        {
            {"ours", 0, sync_setup, recursive_run, sync_teardown},
            {"boost", 0.85, boost_sync_setup, boost_recursive_pair, boost_sync_teardown},
        },
};

/* ---- notify.nobody ------------------------------------------------------------------------- */

static int nobody_run(void *state, double *cost)
{
    hf_condition *condition = &((ours_sync *)state)->at->condition;
    int errors = 0;
    int64_t start = bench_now_ns();
    for (int i = 0; i < NOBODY_CALLS; i++) {
        errors |= hf_condition_notify_one(condition);
    }
    *cost = (double)(bench_now_ns() - start) / NOBODY_CALLS;
    return errors == 0 ? 0 : bench_error("a notification of ours failed");
}

extern const bench_row notify_nobody;
const bench_row notify_nobody = {
    .name = "notify.nobody",
    .unit = "ns",
    .what = "notify one of a condition that nobody waits for: no system call",
    .sides =
        {
            {"ours", 0, sync_setup, nobody_run, sync_teardown},
            {"boost", 0, boost_sync_setup, boost_notify_nobody, boost_sync_teardown},
        },
};

/* ---- condition.asleep ---------------------------------------------------------------------- */

int bench_turns(turns *take, void *state, int count, double *cost)
{
    pid_t child = bench_fork();
    if (child < 0) {
        return -1;
    }
    if (child == 0) {
        _exit(take(state, 1, count + 1) == 0 ? 0 : 1);
    }
    int result = take(state, 0, 1); /* the child is there */
    int64_t start = bench_now_ns();
    result = result != 0 ? result : take(state, 0, count);
    *cost = (double)(bench_now_ns() - start) / count;
    return bench_wait(child, "one of two", ASLEEP_S) == 0 ? result : -1;
}

/* Waits for its turn, and gives it to the other: so many times. */
static int ours_turns(void *state, unsigned side, int count)
{
    sync_room *room = ((ours_sync *)state)->at;
    hf_lockable lock = hf_lockable_of(&room->mutex);
    for (int i = 0; i < count; i++) {
        int error = hf_mutex_lock(&room->mutex);
        while (error == 0 && room->turn != side) {
            error = hf_condition_wait(&room->condition, lock);
        }
        if (error != 0) {
            return bench_error("a turn of ours fails: %s", hf_strerror(error));
        }
        room->turn = 1 - side;
        (void)hf_mutex_unlock(&room->mutex);
        (void)hf_condition_notify_one(&room->condition);
    }
    return 0;
}

int futex_turns(void *state, unsigned side, int count)
{
    _Atomic uint32_t *turn = state;
    for (int i = 0; i < count; i++) {
        while (atomic_load_explicit(turn, memory_order_acquire) != side) {
            (void)syscall(SYS_futex, turn, FUTEX_WAIT, 1 - side, NULL, NULL, 0);
        }
        atomic_store_explicit(turn, 1 - side, memory_order_release);
        (void)syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
    return 0;
}

static int asleep_run(void *state, double *cost)
{
    return bench_turns(ours_turns, state, ASLEEP_TURNS, cost);
}

static int futex_run(void *state, double *cost)
{
    return bench_turns(futex_turns, state, ASLEEP_TURNS, cost);
}

int turn_setup(void *shared, void **state)
{
    (void)shared;
    return two_map(LINE, state);
}

void turn_teardown(void *state)
{
    two_unmap(state, LINE);
}

extern const bench_row condition_asleep;
const bench_row condition_asleep = {
    .name = "condition.asleep",
    .unit = "ns",
    .what = "there and back between two processes that sleep until it is their turn",
    .sides =
        {
            {"ours", 0, sync_setup, asleep_run, sync_teardown},
            {"futex", 1.15, turn_setup, futex_run, turn_teardown},
            {"boost", 0, boost_sync_setup, boost_asleep, boost_sync_teardown},
        },
};
