/* SPDX-License-Identifier: MIT */
/*
 * What the command tells: lines, a progress bar, JSON (one object a line), or nothing but errors.
 * Results go to standard output, errors and the bar to standard error; with JSON all but the bar's
 * place is standard output. Any thread may report, except for the bar.
 */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "transfer/wire.h"

enum report_style { REPORT_LINES, REPORT_BAR, REPORT_QUIET, REPORT_JSON };

struct report {
    enum report_style style;
    bool lossy; /* drop a line that cannot be written at once, rather than wait: for a server */
    /* the bar */
    const char *name;
    uint64_t size;
    uint64_t start_ns;
    uint64_t drawn_ns;
    bool drawn;
};

/* The style for what the user asked: a bar on a terminal, lines elsewhere. */
void report_init(struct report *report, bool quiet, bool json);

/* A file begins; size 0 if it is not known. */
void report_begin(struct report *report, const char *name, uint64_t size);
void report_progress(struct report *report, uint64_t done);

/* A file is whole: event is "sent" or "received". */
void report_done(struct report *report, const char *event, const char *name, uint64_t bytes,
                 uint64_t nanoseconds, const uint8_t digest[DIGEST_SIZE]);

/* Something went wrong with `name` (NULL: with the whole): event is "error", "refused", ... */
void report_failed(struct report *report, const char *event, const char *name, const char *why);

/* The server is up. */
void report_ready(struct report *report, const char *name, const char *directory);

/* 0, or -EIO if a result could not be written. */
int report_finish(struct report *report);

/* Something worth knowing that is neither a result nor an error. */
void report_note(struct report *report, const char *text);

#endif
