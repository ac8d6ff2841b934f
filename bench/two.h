/* SPDX-License-Identifier: MIT */
/*
 * Work of two at once, processes or threads, timed from the first to start to the last to end.
 * Each says that it is ready, once it has done a little of the work, and waits for the other.
 */
#ifndef HF_BENCH_TWO_H
#define HF_BENCH_TWO_H

#include <stdatomic.h>

#include "bench.h"

/* In memory that both share, with the parent as well. */
typedef struct two_times {
    _Alignas(64) _Atomic unsigned ready;
    _Atomic int go;
    _Alignas(64) int64_t start[2];
    int64_t end[2];
} two_times;

/* For a row's setup and teardown: zeroed memory, shared with whoever is forked. */
int two_map(size_t size, void **memory);
void two_unmap(void *memory, size_t size);

/* One of them, 0 or 1. */
void two_begin(two_times *times, unsigned index);
void two_end(two_times *times, unsigned index);

/* Before they are forked. */
void two_reset(two_times *times);

/*
 * Lets `workers` go once they are ready, and waits for the children, of which there may be fewer:
 * those that could not be forked are negative, those not wanted 0. *ns is what the work took.
 */
int two_finish(two_times *times, const pid_t children[2], unsigned workers, double *ns);

#endif
