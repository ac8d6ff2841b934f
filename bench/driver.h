/* SPDX-License-Identifier: MIT */
/* What the driver's own files know of each other; rows include bench.h only. */
#ifndef HF_BENCH_DRIVER_H
#define HF_BENCH_DRIVER_H

#include "bench.h"

/* ---- scratch.c ---------------------------------------------------------------------------- */

/* Makes the scratch directory, and removes those of earlier drivers that were killed. */
int scratch_open(void);
void scratch_close(void);

/* ---- process.c ---------------------------------------------------------------------------- */

/* From here on signals that end the driver wait until bench_interrupted asks for them. */
void signals_hold(void);

/* Ends the driver by the signal that interrupted it, so that a shell sees that. */
void signals_die(int number);

/* ---- measure.c ---------------------------------------------------------------------------- */

/*
 * Measures a row; rounds == 0 means as many as the row wants. costs[i] is side i's cost, or NaN
 * if it could not be measured, in which case (or when interrupted) the result is -1.
 */
int measure_row(const bench_row *row, unsigned rounds, double costs[BENCH_SIDES_MAX]);

size_t row_side_count(const bench_row *row);

/* ---- report.c ----------------------------------------------------------------------------- */

typedef struct bench_report bench_report;

/* Makes the output's directory and sees that it can be written, before minutes are spent. */
int report_open(const char *output, bench_report **result);

/* Prints the row's lines of the table and keeps them for the file. */
int report_row(bench_report *report, const bench_row *row, const double costs[BENCH_SIDES_MAX]);

/* Replaces the file by what was kept: readers see the old file or the whole new one. */
int report_write(bench_report *report);
void report_close(bench_report *report);

/* ---- message.c: progress, on stderr ------------------------------------------------------ */

void progress_round(const char *row, unsigned round, unsigned rounds);
void progress_clear(void);

#endif
