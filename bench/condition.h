/* SPDX-License-Identifier: MIT */
/* What the rows on conditions, semaphores and the recursive mutex share with Boost's side of them.
 */
#ifndef HF_BENCH_CONDITION_H
#define HF_BENCH_CONDITION_H

#include "bench.h"

#define RECURSIVE_PAIRS 2000000
#define NOBODY_CALLS    5000000
#define ASLEEP_TURNS    20000
#define ASLEEP_S        60.0

#ifdef __cplusplus
extern "C" {
#endif

/* Two that take turns: what `side` (0 or 1) does of it. 0, or an error has been told. */
typedef int turns(void *state, unsigned side, int count);

/* Times so many there and back between this process and a child; ns each. */
int bench_turns(turns *take, void *state, int count, double *cost);

/* One word that says whose turn it is, on a line of its own; and turns that sleep on it. */
int turn_setup(void *shared, void **state);
void turn_teardown(void *state);
turns futex_turns;

/* Boost.Interprocess: interprocess_recursive_mutex, interprocess_condition,
   interprocess_semaphore; boost_sync_peer.cpp. */
int boost_sync_setup(void *shared, void **state);
void boost_sync_teardown(void *state);
int boost_recursive_pair(void *state, double *cost);
int boost_notify_nobody(void *state, double *cost);
int boost_asleep(void *state, double *cost);
int boost_semaphore_pair(void *state, int pairs, double *cost);
turns boost_semaphore_turns;

#ifdef __cplusplus
}
#endif
#endif
