/* SPDX-License-Identifier: MIT */
/* The one table of rows. A row's definition is in the file of its area. */
#include "bench.h"

extern const bench_row transfer_time;

const bench_row *const bench_rows[] = {
    &transfer_time,
    NULL,
};
