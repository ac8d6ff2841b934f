/* SPDX-License-Identifier: MIT */
/*
 * semaphore.pair and semaphore.undo: what a permit costs that is there; semaphore.asleep and
 * semaphore.awake: there and back between two processes, over two semaphores.
 *
 * Who waits spins first, so two that are awake on processors of their own hand over at the speed of
 * a cache line, which is the peer of that row. Asleep are two on one processor: spinning brings
 * nothing there, and each sleeps while the other has its turn. The peer of that row is what the
 * system takes: one word, a wake and a wait.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_setaffinity */
#endif
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "condition.h"
#include "locks.h"
#include "two.h"

#define PAIRS       2000000
#define AWAKE_TURNS 200000

/* ---- ours --------------------------------------------------------------------------------- */

typedef struct semaphore_room {
    _Alignas(LINE) hf_semaphore plain;
    _Alignas(LINE) hf_semaphore undo;
    struct {
        _Alignas(LINE) hf_semaphore may;
    } side[2]; /* whose turn it is has a permit */
} semaphore_room;

typedef struct ours_semaphores {
    hf_segment *segment;
    semaphore_room *at;
} ours_semaphores;

static void ours_end(void *state)
{
    ours_semaphores *ours = state;
    hf_segment_close(ours->segment);
    free(ours);
}

static int init_all(semaphore_room *room)
{
    int error = hf_semaphore_init(&room->plain, 1, 0);
    error = error != 0 ? error : hf_semaphore_init(&room->undo, 1, HF_SEMAPHORE_UNDO);
    error = error != 0 ? error : hf_semaphore_init(&room->side[0].may, 1, 0);
    return error != 0 ? error : hf_semaphore_init(&room->side[1].may, 0, 0);
}

static int ours_begin(void *shared, void **state)
{
    (void)shared;
    void *root = NULL;
    ours_semaphores *ours = calloc(1, sizeof(*ours));
    if (ours == NULL) {
        return bench_error("out of memory");
    }
    int error = hf_segment_create_anonymous(1 << 20, NULL, &ours->segment);
    error = error != 0 ? error : hf_segment_root(ours->segment, sizeof(*ours->at), &root);
    ours->at = root;
    error = error != 0 ? error : init_all(ours->at);
    if (error != 0) {
        ours_end(ours);
        return bench_error("no semaphores: %s", hf_strerror(error));
    }
    *state = ours;
    return 0;
}

/* ---- one process -------------------------------------------------------------------------- */

static int pairs(hf_semaphore *semaphore, double *cost)
{
    int errors = 0;
    int64_t start = bench_now_ns();
    for (int i = 0; i < PAIRS; i++) {
        errors |= hf_semaphore_wait(semaphore);
        errors |= hf_semaphore_post(semaphore);
    }
    *cost = (double)(bench_now_ns() - start) / PAIRS;
    return errors == 0 ? 0 : bench_error("a wait or post of ours failed");
}

static int plain_run(void *state, double *cost)
{
    return pairs(&((ours_semaphores *)state)->at->plain, cost);
}

static int undo_run(void *state, double *cost)
{
    return pairs(&((ours_semaphores *)state)->at->undo, cost);
}

static int boost_pairs(void *state, double *cost)
{
    return boost_semaphore_pair(state, PAIRS, cost);
}

extern const bench_row semaphore_pair;
const bench_row semaphore_pair = {
    .name = "semaphore.pair",
    .unit = "ns",
    .what = "take and give back a permit that is there",
    .sides =
        {
            {"ours", 0, ours_begin, plain_run, ours_end},
            {"boost", 1.1, boost_sync_setup, boost_pairs, boost_sync_teardown},
        },
};

extern const bench_row semaphore_undo;
const bench_row semaphore_undo = {
    .name = "semaphore.undo",
    .unit = "ns",
    .what = "the same of a semaphore whose permits come back from the dead; Boost's do not",
    .sides =
        {
            {"ours", 0, ours_begin, undo_run, ours_end},
            {"boost", 1.6, boost_sync_setup, boost_pairs, boost_sync_teardown},
        },
};

/* ---- two processes ------------------------------------------------------------------------ */

static int ours_turns(void *state, unsigned side, int count)
{
    semaphore_room *room = ((ours_semaphores *)state)->at;
    int errors = 0;
    for (int i = 0; i < count && errors == 0; i++) {
        errors |= hf_semaphore_wait(&room->side[side].may);
        errors |= hf_semaphore_post(&room->side[1 - side].may);
    }
    return errors == 0 ? 0 : bench_error("a turn of ours fails");
}

static int line_turns(void *state, unsigned side, int count)
{
    _Atomic uint32_t *turn = state;
    for (int i = 0; i < count; i++) {
        while (atomic_load_explicit(turn, memory_order_acquire) != side) {
        }
        atomic_store_explicit(turn, 1 - side, memory_order_release);
    }
    return 0;
}

/* Times them on the one processor that this process is on. */
static int on_one_processor(turns *take, void *state, double *cost)
{
    cpu_set_t before;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    if (sched_getaffinity(0, sizeof(before), &before) != 0 ||
        sched_setaffinity(0, sizeof(one), &one) != 0) {
        return bench_error("cannot stay on one processor: %s", strerror(errno));
    }
    int result = bench_turns(take, state, ASLEEP_TURNS, cost);
    (void)sched_setaffinity(0, sizeof(before), &before);
    return result;
}

static int asleep_run(void *state, double *cost)
{
    return on_one_processor(ours_turns, state, cost);
}

static int futex_run(void *state, double *cost)
{
    return on_one_processor(futex_turns, state, cost);
}

static int boost_asleep_run(void *state, double *cost)
{
    return on_one_processor(boost_semaphore_turns, state, cost);
}

static int awake_run(void *state, double *cost)
{
    return bench_turns(ours_turns, state, AWAKE_TURNS, cost);
}

static int line_run(void *state, double *cost)
{
    return bench_turns(line_turns, state, AWAKE_TURNS, cost);
}

extern const bench_row semaphore_asleep;
const bench_row semaphore_asleep = {
    .name = "semaphore.asleep",
    .unit = "ns",
    .what = "there and back between two processes on one processor, so that each sleeps",
    .sides =
        {
            {"ours", 0, ours_begin, asleep_run, ours_end},
            {"futex", 1.15, turn_setup, futex_run, turn_teardown},
            {"boost", 0, boost_sync_setup, boost_asleep_run, boost_sync_teardown},
        },
};

extern const bench_row semaphore_awake;
const bench_row semaphore_awake = {
    .name = "semaphore.awake",
    .unit = "ns",
    .what = "there and back between two processes that are both awake",
    .sides =
        {
            {"ours", 0, ours_begin, awake_run, ours_end},
            {"cacheline", 3, turn_setup, line_run, turn_teardown},
        },
};
