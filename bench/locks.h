/* SPDX-License-Identifier: MIT */
/* What the rows on locks share: each side's lock in shared memory, and the words that it guards. */
#ifndef HF_BENCH_LOCKS_H
#define HF_BENCH_LOCKS_H

#include "bench.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Boost.Interprocess' interprocess_mutex: boost_peer.cpp. */
int boost_mutex_setup(void *shared, void **state);
int boost_mutex_pair(void *state, double *cost);
void boost_mutex_teardown(void *state);

/* And its interprocess_sharable_mutex: so many pairs; not 0 if one failed. */
int boost_rwlock_setup(void *shared, void **state);
int boost_rwlock_read(void *state, int pairs);
int boost_rwlock_write(void *state, int pairs);
void boost_rwlock_teardown(void *state);

#ifdef __cplusplus
}
#else

#include <pthread.h>
#include <stdatomic.h>

#include "holdfast/holdfast.h"

#define LINE 64

/* Behind the lock, on lines of its own. Of the same size and place on every side. */
typedef struct lock_data {
    _Alignas(LINE) uint64_t words[LINE / 8]; /* what the lock guards */
    _Atomic int ready;
    _Atomic int go;
    int64_t start[2];
    int64_t end[2];
    _Atomic int64_t had; /* when the lock was had */
} lock_data;

typedef struct lock_room {
    _Alignas(LINE) hf_mutex mutex;
    lock_data data;
} lock_room;

typedef struct ours_lock {
    hf_segment *segment;
    lock_room *at;
} ours_lock;

typedef struct robust_lock {
    _Alignas(LINE) pthread_mutex_t mutex;
    lock_data data;
} robust_lock;

int ours_setup(void *shared, void **state);
void ours_teardown(void *state);
int robust_setup(void *shared, void **state);
void robust_teardown(void *state);

#endif
#endif
