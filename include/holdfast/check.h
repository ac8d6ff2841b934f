/* SPDX-License-Identifier: MIT */
/* Checking a segment: is its structure whole, and what does it hold? */
#ifndef HOLDFAST_CHECK_H
#define HOLDFAST_CHECK_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/segment.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HF_CHECK_TEXT 128 /* bytes of a sentence, its end included */

typedef struct hf_check_report {
    uint64_t size;            /* bytes of the segment now */
    uint64_t pages_used;      /* pages in use, */
    uint64_t pages_held;      /* of which the segment itself, its root and its heap hold these; */
    uint64_t pages_linked;    /* the others are hf_pages_alloc's */
    uint64_t blocks;          /* of the heap, in use */
    uint64_t bytes;           /* of these */
    uint64_t names;           /* of objects that are there */
    uint32_t participants;    /* slots taken */
    uint32_t unsettled;       /* of these, dead and not recovered yet */
    char what[HF_CHECK_TEXT]; /* what is wrong, in English; empty if nothing is */
} hf_check_report;

/*
 * Looks at the whole structure without changing anything or waiting for anybody: on a read-only
 * segment, too. In quiet, with nobody inside a call and the dead recovered, the census is exact:
 * every page has one holder, every block one place, and every name one object. Beside others' work:
 * -EAGAIN if something did not fit and they may have been in the middle of it. -EBADMSG: damaged,
 * and report->what says how. The report (may be NULL) is filled in as far as it came. Costs some
 * milliseconds for each gigabyte.
 */
HF_API int hf_check(hf_segment *segment, hf_check_report *report);

#ifdef __cplusplus
}
#endif
#endif
