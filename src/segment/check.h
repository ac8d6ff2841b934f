/* SPDX-License-Identifier: MIT */
/* The deep check of a segment in which nobody is inside a call. Only looks. */
#ifndef HF_SEGMENT_CHECK_H
#define HF_SEGMENT_CHECK_H

#include "segment/view.h"

#define segment_check hf_in_segment_check

#define SEGMENT_CHECK_TEXT 160

/*
 * Is everything whole, and nothing lost? Every slot is idle, `participants` of them are taken and
 * nobody in them is dead; each page is held at most once, and those in use are the segment's own
 * (header, maps, slots, undo logs, root) and `linked` pages more. -EBADMSG: `what` says what is
 * wrong first. -EAGAIN: it changed meanwhile, or there is no memory to count in.
 */
int segment_check(struct view *view, uint64_t linked, uint32_t participants,
                  char what[SEGMENT_CHECK_TEXT]);

#endif
