/* SPDX-License-Identifier: MIT */
/*
 * heap.lifo64, heap.batch64, heap.churn: what a block costs a single thread. heap.overhead: how
 * much memory a churn holds. The work itself is in heap_work.h; Boost's sides are in
 * boost_heap_peer.cpp.
 */
#include <stdlib.h>

#include "heap_sides.h"

#define START_SIZE (UINT64_C(1) << 20)
#define MAXIMUM    (UINT64_C(2) << 30)

/* ---- ours --------------------------------------------------------------------------------- */

int ours_segment(hf_segment **segment)
{
    static const hf_segment_options options = {.maximum = MAXIMUM};
    int error = hf_segment_create_anonymous(START_SIZE, &options, segment);
    return error == 0 ? 0 : bench_error("no segment: %s", hf_strerror(error));
}

void ours_heap_teardown(void *state)
{
    heap_room *room = state;
    hf_segment_close(room->heap);
    free(room);
}

int ours_heap_setup(void *shared, void **state)
{
    (void)shared;
    hf_segment *segment = NULL;
    heap_room *room = calloc(1, sizeof(*room));
    if (room == NULL) {
        return bench_error("out of memory");
    }
    if (ours_segment(&segment) != 0) {
        free(room);
        return -1;
    }
    room->heap = segment;
    *state = room;
    return 0;
}

static int ours_failed(int errors)
{
    return errors == 0 ? 0 : bench_error("hf_alloc or hf_free failed");
}

static int mimalloc_failed(int errors)
{
    return errors == 0 ? 0 : bench_error("mi_malloc failed");
}

/* ---- one size ----------------------------------------------------------------------------- */

static int ours_lifo(void *state, double *cost)
{
    return ours_failed(work_lifo(ours_take, ours_give, state, cost));
}

static int mimalloc_lifo(void *state, double *cost)
{
    return mimalloc_failed(work_lifo(mimalloc_take, mimalloc_give, state, cost));
}

extern const bench_row heap_lifo64;
const bench_row heap_lifo64 = {
    .name = "heap.lifo64",
    .unit = "ns",
    .what = "allocate 64 bytes and free them again, one thread",
    .sides =
        {
            {"ours", 0, ours_heap_setup, ours_lifo, ours_heap_teardown},
            {"mimalloc", 1.75, mimalloc_setup, mimalloc_lifo, mimalloc_teardown},
            {"boost", 0.05, boost_heap_setup, boost_heap_lifo, boost_heap_teardown},
        },
};

static int ours_batch(void *state, double *cost)
{
    return ours_failed(work_batches(ours_take, ours_give, state, cost));
}

static int mimalloc_batch(void *state, double *cost)
{
    return mimalloc_failed(work_batches(mimalloc_take, mimalloc_give, state, cost));
}

extern const bench_row heap_batch64;
const bench_row heap_batch64 = {
    .name = "heap.batch64",
    .unit = "ns",
    .what = "allocate 100,000 times 64 bytes, then free them all: a pair",
    .sides =
        {
            {"ours", 0, ours_heap_setup, ours_batch, ours_heap_teardown},
            {"mimalloc", 1.0, mimalloc_setup, mimalloc_batch, mimalloc_teardown},
            {"boost", 0.1, boost_heap_setup, boost_heap_batch, boost_heap_teardown},
        },
};

/* ---- churn -------------------------------------------------------------------------------- */

static void ours_churn_teardown(void *state)
{
    (void)ours_failed(work_empty(ours_give, state));
    ours_heap_teardown(state);
}

static int ours_churn_setup(void *shared, void **state)
{
    if (ours_heap_setup(shared, state) != 0) {
        return -1;
    }
    if (ours_failed(work_fill(ours_take, *state)) != 0) {
        ours_churn_teardown(*state);
        return -1;
    }
    return 0;
}

static int ours_churn(void *state, double *cost)
{
    return ours_failed(work_churn(ours_take, ours_give, state, cost));
}

static void mimalloc_churn_teardown(void *state)
{
    (void)work_empty(mimalloc_give, state);
    mimalloc_teardown(state);
}

static int mimalloc_churn_setup(void *shared, void **state)
{
    if (mimalloc_setup(shared, state) != 0) {
        return -1;
    }
    if (mimalloc_failed(work_fill(mimalloc_take, *state)) != 0) {
        mimalloc_churn_teardown(*state);
        return -1;
    }
    return 0;
}

static int mimalloc_churn(void *state, double *cost)
{
    return mimalloc_failed(work_churn(mimalloc_take, mimalloc_give, state, cost));
}

extern const bench_row heap_churn;
const bench_row heap_churn = {
    .name = "heap.churn",
    .unit = "ns",
    .what = "of 10,000 blocks of 16 to 1039 bytes free one at random and allocate another",
    .sides =
        {
            {"ours", 0, ours_churn_setup, ours_churn, ours_churn_teardown},
            {"mimalloc", 1.75, mimalloc_churn_setup, mimalloc_churn, mimalloc_churn_teardown},
            {"boost", 0.04, boost_churn_setup, boost_churn_run, boost_churn_teardown},
        },
};

/* After a million more of them. */
static int ours_overhead(void *state, double *cost)
{
    const heap_room *room = state;
    hf_heap_info info;
    if (ours_churn(state, cost) != 0) {
        return -1;
    }
    int error = hf_heap_get_info(room->heap, &info);
    if (error != 0 || info.blocks != WORK_LIVE) {
        return bench_error("not what the heap should hold: %llu blocks, %s",
                           (unsigned long long)info.blocks, hf_strerror(error));
    }
    *cost = (double)info.held / (double)work_live(room);
    return 0;
}

extern const bench_row heap_overhead;
const bench_row heap_overhead = {
    .name = "heap.overhead",
    .unit = "bytes/byte",
    .what = "memory that the heap holds for each byte in use, in that churn",
    .rounds = 5,
    .sides =
        {
            {"ours", 1.25, ours_churn_setup, ours_overhead, ours_churn_teardown},
            {"boost", 0, boost_churn_setup, boost_overhead_run, boost_churn_teardown},
        },
};
