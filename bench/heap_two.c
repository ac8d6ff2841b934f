/* SPDX-License-Identifier: MIT */
/*
 * heap.two: two processes allocate and free at once, in one heap. Beside: the same loop of one of
 * them alone (`self`), and of both where each has memory of its own (`private`), which is what the
 * machine takes for running two.
 */
#include <stdlib.h>
#include <unistd.h>

#include "heap_sides.h"
#include "two.h"

#define WARM_PAIRS  1000u
#define PAIRS       5000000u
#define BOOST_PAIRS 250000u

/* What a process does; `enter` and `leave` are not timed. */
typedef struct two_kind {
    int (*setup)(void *shared, void **state);
    int (*enter)(heap_room *room);
    int (*pairs)(void *state, unsigned pairs);
    int (*leave)(heap_room *room);
    void (*teardown)(void *state);
    unsigned processes;
    unsigned count;
} two_kind;

typedef struct two_side {
    const two_kind *kind;
    two_times *times;
    void *state;
} two_side;

/* ---- the kinds ---------------------------------------------------------------------------- */

static int ours_pairs(void *state, unsigned pairs)
{
    heap_room *room = state;
    return work_pairs(ours_take, ours_give, room->heap, pairs);
}

static int ours_leave(heap_room *room)
{
    return hf_thread_leave(room->heap);
}

static int private_enter(heap_room *room)
{
    static const hf_segment_options options = {.maximum = UINT64_C(1) << 30};
    hf_segment *segment = NULL;
    int error = hf_segment_create_private(1 << 20, &options, &segment);
    room->heap = segment;
    return error;
}

static int private_leave(heap_room *room)
{
    hf_segment_close(room->heap);
    return 0;
}

static const two_kind ours_kind = {
    ours_heap_setup, NULL, ours_pairs, ours_leave, ours_heap_teardown, 2, PAIRS,
};
static const two_kind self_kind = {
    ours_heap_setup, NULL, ours_pairs, ours_leave, ours_heap_teardown, 1, PAIRS,
};
static const two_kind private_kind = {
    ours_heap_setup, private_enter, ours_pairs, private_leave, ours_heap_teardown, 2, PAIRS,
};
static const two_kind boost_kind = {
    boost_heap_setup, NULL, boost_heap_pairs, NULL, boost_heap_teardown, 2, BOOST_PAIRS,
};

/* ---- any of them -------------------------------------------------------------------------- */

static void two_teardown(void *state)
{
    two_side *side = state;
    side->kind->teardown(side->state);
    two_unmap(side->times, sizeof(*side->times));
    free(side);
}

static int two_setup(const two_kind *kind, void **state)
{
    void *times;
    two_side *side = calloc(1, sizeof(*side));
    if (side == NULL || two_map(sizeof(*side->times), &times) != 0) {
        free(side);
        return bench_error("no memory for two");
    }
    side->kind = kind;
    side->times = times;
    if (kind->setup(NULL, &side->state) != 0) {
        two_unmap(times, sizeof(*side->times));
        free(side);
        return -1;
    }
    *state = side;
    return 0;
}

static void work_as(const two_side *side, unsigned index)
{
    const two_kind *kind = side->kind;
    int errors = kind->enter != NULL ? kind->enter(side->state) : 0;
    if (errors == 0) {
        errors |= kind->pairs(side->state, WARM_PAIRS);
        two_begin(side->times, index);
        errors |= kind->pairs(side->state, kind->count);
        two_end(side->times, index);
        errors |= kind->leave != NULL ? kind->leave(side->state) : 0;
    }
    _exit(errors == 0 ? 0 : 1);
}

static int two_run(void *state, double *cost)
{
    const two_side *side = state;
    pid_t children[2] = {0, 0};
    two_reset(side->times);
    for (unsigned i = 0; i < side->kind->processes; i++) {
        children[i] = bench_fork();
        if (children[i] == 0) {
            work_as(side, i);
        }
    }
    int result = two_finish(side->times, children, side->kind->processes, cost);
    *cost /= side->kind->count;
    return result;
}

static int ours_setup_two(void *shared, void **state)
{
    (void)shared;
    return two_setup(&ours_kind, state);
}

static int boost_setup_two(void *shared, void **state)
{
    (void)shared;
    return two_setup(&boost_kind, state);
}

static int self_setup_two(void *shared, void **state)
{
    (void)shared;
    return two_setup(&self_kind, state);
}

static int private_setup_two(void *shared, void **state)
{
    (void)shared;
    return two_setup(&private_kind, state);
}

extern const bench_row heap_two;
const bench_row heap_two = {
    .name = "heap.two",
    .unit = "ns",
    .what = "two processes at once allocate and free 64 bytes: a pair of one of them",
    .sides =
        {
            {"ours", 0, ours_setup_two, two_run, two_teardown},
            {"boost", 0.03, boost_setup_two, two_run, two_teardown},
            {"self", 1.3, self_setup_two, two_run, two_teardown},
            {"private", 0, private_setup_two, two_run, two_teardown},
        },
};
