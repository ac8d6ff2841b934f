/* SPDX-License-Identifier: MIT */
/* The one table of rows. A row's definition is in the file of its area. */
#include "bench.h"

extern const bench_row mutex_pair;
extern const bench_row mutex_contended;
extern const bench_row mutex_handover;
extern const bench_row mutex_handover_p99;
extern const bench_row mutex_handover_slow;
extern const bench_row mutex_idle;
extern const bench_row rwlock_read;
extern const bench_row rwlock_write;
extern const bench_row rwlock_two;
extern const bench_row recursive_pair;
extern const bench_row condition_asleep;
extern const bench_row notify_nobody;
extern const bench_row semaphore_pair;
extern const bench_row semaphore_undo;
extern const bench_row semaphore_asleep;
extern const bench_row semaphore_awake;
extern const bench_row barrier_two;
extern const bench_row tx_16;
extern const bench_row recovery;
extern const bench_row recovery_million;
extern const bench_row attach;
extern const bench_row heap_lifo64;
extern const bench_row heap_batch64;
extern const bench_row heap_churn;
extern const bench_row heap_two;
extern const bench_row heap_remote;
extern const bench_row heap_overhead;
extern const bench_row names_construct_row;
extern const bench_row names_find_row;
extern const bench_row names_find_random_row;
extern const bench_row names_destroy_row;
extern const bench_row check_million;
extern const bench_row transfer_time;

const bench_row *const bench_rows[] = {
    &mutex_pair,
    &mutex_contended,
    &mutex_handover,
    &mutex_handover_p99,
    &mutex_handover_slow,
    &mutex_idle,
    &rwlock_read,
    &rwlock_write,
    &rwlock_two,
    &recursive_pair,
    &condition_asleep,
    &notify_nobody,
    &semaphore_pair,
    &semaphore_undo,
    &semaphore_asleep,
    &semaphore_awake,
    &barrier_two,
    &tx_16,
    &recovery,
    &recovery_million,
    &attach,
    &heap_lifo64,
    &heap_batch64,
    &heap_churn,
    &heap_two,
    &heap_remote,
    &heap_overhead,
    &names_construct_row,
    &names_find_row,
    &names_find_random_row,
    &names_destroy_row,
    &check_million,
    &transfer_time,
    NULL,
};
