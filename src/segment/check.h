/* SPDX-License-Identifier: MIT */
/* The deep check of a segment: one function for the proof, the soak, the fuzzers and users. */
#ifndef HF_SEGMENT_CHECK_H
#define HF_SEGMENT_CHECK_H

#include "holdfast/check.h"
#include "segment/view.h"

#define segment_check hf_in_segment_check
#define segment_look  hf_in_segment_look
#define check_wrong   hf_in_check_wrong
#define check_hold    hf_in_check_hold
#define check_heap    hf_in_check_heap
#define check_names   hf_in_check_names

#define SEGMENT_CHECK_TEXT HF_CHECK_TEXT

/*
 * Is the segment whole, with nobody inside a call? `linked`: pages that users hold, `participants`:
 * how many have a slot. 0, or -EBADMSG and *what says why; -EAGAIN: no memory to look.
 */
int segment_check(struct view *view, uint64_t linked, uint32_t participants,
                  char what[SEGMENT_CHECK_TEXT]);

/* ---- between check.c, heap_check.c and names_check.c
 * ---------------------------------------------------- */

/* What is being checked, and who holds which page: a bit a page. */
struct look {
    struct view *view;
    uint64_t pages;
    uint64_t *held;
    uint64_t held_count;
    hf_check_report *report;
};

/* -EBADMSG, and the report says so. */
int check_wrong(struct look *look, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* These pages are the holder's, and nobody else's. */
int check_hold(struct look *look, const char *holder, uint64_t offset, uint64_t count);

/* The heap's pages, spans and blocks. */
int check_heap(struct look *look);

/* The index of names; after the heap. */
int check_names(struct look *look);

static inline unsigned long long check_number(uint64_t value)
{
    return value;
}

#endif
