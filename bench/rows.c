/* SPDX-License-Identifier: MIT */
/* The one table of rows. A row's definition is in the file of its area. */
#include "bench.h"

extern const bench_row mutex_pair;
extern const bench_row mutex_contended;
extern const bench_row mutex_handover;
extern const bench_row mutex_handover_p99;
extern const bench_row mutex_handover_slow;
extern const bench_row mutex_idle;
extern const bench_row tx_16;
extern const bench_row recovery;
extern const bench_row attach;
extern const bench_row transfer_time;

const bench_row *const bench_rows[] = {
    &mutex_pair,
    &mutex_contended,
    &mutex_handover,
    &mutex_handover_p99,
    &mutex_handover_slow,
    &mutex_idle,
    &tx_16,
    &recovery,
    &attach,
    &transfer_time,
    NULL,
};
