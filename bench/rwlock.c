/* SPDX-License-Identifier: MIT */
/*
 * rwlock.read, rwlock.write and rwlock.two: what a reader-writer lock costs that nobody else wants,
 * and one that two processes read at once. Boost's side is in boost_peer.cpp.
 */
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "locks.h"
#include "two.h"

#define PAIRS      2000000
#define WARM_PAIRS 1000

/* Both return 0, or something else if a call failed. */
typedef struct rwlock_kind {
    int (*setup)(void *shared, void **state);
    int (*read)(void *state, int pairs);
    int (*write)(void *state, int pairs);
    void (*teardown)(void *state);
} rwlock_kind;

typedef struct rwlock_side {
    const rwlock_kind *kind;
    two_times *times;
    void *state;
} rwlock_side;

/* ---- ours --------------------------------------------------------------------------------- */

static hf_rwlock *ours_of(void *state)
{
    return (hf_rwlock *)(void *)((ours_lock *)state)->at;
}

static int ours_read(void *state, int pairs)
{
    hf_rwlock *lock = ours_of(state);
    int errors = 0;
    for (int i = 0; i < pairs; i++) {
        errors |= hf_rwlock_rdlock(lock);
        errors |= hf_rwlock_rdunlock(lock);
    }
    return errors;
}

static int ours_write(void *state, int pairs)
{
    hf_rwlock *lock = ours_of(state);
    int errors = 0;
    for (int i = 0; i < pairs; i++) {
        errors |= hf_rwlock_wrlock(lock);
        errors |= hf_rwlock_wrunlock(lock);
    }
    return errors;
}

static const rwlock_kind ours = {ours_setup, ours_read, ours_write, ours_teardown};
static const rwlock_kind boost = {
    boost_rwlock_setup,
    boost_rwlock_read,
    boost_rwlock_write,
    boost_rwlock_teardown,
};

/* ---- either of them ----------------------------------------------------------------------- */

static void side_teardown(void *state)
{
    rwlock_side *side = state;
    side->kind->teardown(side->state);
    two_unmap(side->times, sizeof(*side->times));
    free(side);
}

static int side_setup(const rwlock_kind *kind, void **state)
{
    void *times;
    rwlock_side *side = calloc(1, sizeof(*side));
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

static int ours_side(void *shared, void **state)
{
    (void)shared;
    return side_setup(&ours, state);
}

static int boost_side(void *shared, void **state)
{
    (void)shared;
    return side_setup(&boost, state);
}

static int timed(int (*pairs)(void *, int), void *state, double *cost)
{
    int64_t start = bench_now_ns();
    int errors = pairs(state, PAIRS);
    *cost = (double)(bench_now_ns() - start) / PAIRS;
    return errors == 0 ? 0 : bench_error("a lock or unlock failed");
}

static int read_run(void *state, double *cost)
{
    const rwlock_side *side = state;
    return timed(side->kind->read, side->state, cost);
}

static int write_run(void *state, double *cost)
{
    const rwlock_side *side = state;
    return timed(side->kind->write, side->state, cost);
}

static void read_as(const rwlock_side *side, unsigned index)
{
    int errors = side->kind->read(side->state, WARM_PAIRS);
    two_begin(side->times, index);
    errors |= side->kind->read(side->state, PAIRS);
    two_end(side->times, index);
    _exit(errors == 0 ? 0 : 1);
}

static int two_run(void *state, double *cost)
{
    const rwlock_side *side = state;
    pid_t children[2] = {0, 0};
    two_reset(side->times);
    for (unsigned i = 0; i < 2; i++) {
        children[i] = bench_fork();
        if (children[i] == 0) {
            read_as(side, i);
        }
    }
    int result = two_finish(side->times, children, 2, cost);
    *cost /= PAIRS;
    return result;
}

extern const bench_row rwlock_read;
const bench_row rwlock_read = {
    .name = "rwlock.read",
    .unit = "ns",
    .what = "lock shared and unlock a reader-writer lock that nobody else wants",
    .sides =
        {
            {"ours", 0, ours_side, read_run, side_teardown},
            {"boost", 0.75, boost_side, read_run, side_teardown},
        },
};

extern const bench_row rwlock_write;
const bench_row rwlock_write = {
    .name = "rwlock.write",
    .unit = "ns",
    .what = "lock exclusively and unlock a reader-writer lock that nobody else wants",
    .sides =
        {
            {"ours", 0, ours_side, write_run, side_teardown},
            {"boost", 0.75, boost_side, write_run, side_teardown},
        },
};

extern const bench_row rwlock_two;
const bench_row rwlock_two = {
    .name = "rwlock.two",
    .unit = "ns",
    .what = "two processes at once lock shared and unlock one lock: a pair of one of them",
    .sides =
        {
            {"ours", 0, ours_side, two_run, side_teardown},
            {"boost", 0.5, boost_side, two_run, side_teardown},
        },
};
