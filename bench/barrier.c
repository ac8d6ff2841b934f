/* SPDX-License-Identifier: MIT */
/*
 * barrier.two: two processes meet at a barrier again and again. Beside it stands pthreads' barrier
 * for processes, which hangs when one of them dies; Boost.Interprocess has none for its users.
 */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "locks.h"
#include "two.h"

#define MEETINGS      50000
#define WARM_MEETINGS 100

/* Both sides' memory, shared with the two: ours is in a segment, at the place of its mutex. */
typedef struct barrier_side {
    two_times *times;
    pthread_barrier_t *theirs;
    void *ours;
    int (*meet)(const struct barrier_side *side, int times);
} barrier_side;

/* ---- ours, and pthreads' ------------------------------------------------------------------ */

_Static_assert(sizeof(hf_barrier) <= sizeof(hf_mutex), "it fits in the place of a lock");

static hf_barrier *ours_of(const barrier_side *side)
{
    return (hf_barrier *)(void *)((ours_lock *)side->ours)->at;
}

static int ours_meet(const barrier_side *side, int times)
{
    hf_barrier *barrier = ours_of(side);
    int errors = 0;
    for (int i = 0; i < times; i++) {
        errors |= hf_barrier_wait(barrier) & ~1;
    }
    return errors;
}

static int theirs_meet(const barrier_side *side, int times)
{
    int errors = 0;
    for (int i = 0; i < times; i++) {
        int result = pthread_barrier_wait(side->theirs);
        errors |= result == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : result;
    }
    return errors;
}

/* ---- either of them ----------------------------------------------------------------------- */

static void side_teardown(void *state)
{
    barrier_side *side = state;
    if (side->ours != NULL) {
        ours_teardown(side->ours);
    }
    two_unmap(side->theirs, sizeof(*side->theirs));
    two_unmap(side->times, sizeof(*side->times));
    free(side);
}

static barrier_side *new_side(void)
{
    void *times;
    void *theirs;
    barrier_side *side = calloc(1, sizeof(*side));
    if (side == NULL || two_map(sizeof(*side->times), &times) != 0) {
        free(side);
        return NULL;
    }
    if (two_map(sizeof(*side->theirs), &theirs) != 0) {
        two_unmap(times, sizeof(*side->times));
        free(side);
        return NULL;
    }
    side->times = times;
    side->theirs = theirs;
    return side;
}

static int ours_side(void *shared, void **state)
{
    barrier_side *side = new_side();
    if (side == NULL || ours_setup(shared, &side->ours) != 0) {
        return bench_error("no memory for two");
    }
    side->meet = ours_meet;
    *state = side;
    return 0;
}

static int theirs_side(void *shared, void **state)
{
    (void)shared;
    barrier_side *side = new_side();
    if (side == NULL) {
        return bench_error("no memory for two");
    }
    side->meet = theirs_meet;
    *state = side;
    return 0;
}

/* The children of the run before have gone: they were its members. */
static int begin_anew(const barrier_side *side)
{
    if (side->ours != NULL) {
        return hf_barrier_init(ours_of(side), 2);
    }
    pthread_barrierattr_t attributes;
    memset(side->theirs, 0, sizeof(*side->theirs));
    (void)pthread_barrierattr_init(&attributes);
    int error = pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (error == 0) {
        error = pthread_barrier_init(side->theirs, &attributes, 2);
    }
    (void)pthread_barrierattr_destroy(&attributes);
    return error;
}

static void meet_as(const barrier_side *side, unsigned index)
{
    int errors = side->meet(side, WARM_MEETINGS);
    two_begin(side->times, index);
    errors |= side->meet(side, MEETINGS);
    two_end(side->times, index);
    _exit(errors == 0 ? 0 : 1);
}

static int two_run(void *state, double *cost)
{
    const barrier_side *side = state;
    pid_t children[2] = {0, 0};
    if (begin_anew(side) != 0) {
        return bench_error("no barrier");
    }
    two_reset(side->times);
    for (unsigned i = 0; i < 2; i++) {
        children[i] = bench_fork();
        if (children[i] == 0) {
            meet_as(side, i);
        }
    }
    int result = two_finish(side->times, children, 2, cost);
    *cost /= MEETINGS;
    return result;
}

extern const bench_row barrier_two;
const bench_row barrier_two = {
    .name = "barrier.two",
    .unit = "ns",
    .what = "two processes meet at a barrier",
    .sides =
        {
            {"ours", 0, ours_side, two_run, side_teardown},
            {"pthread", 0, theirs_side, two_run, side_teardown},
        },
};
