/* SPDX-License-Identifier: MIT */
/* Counting what the heap holds: for its statistics, and for the deep check. */
#ifndef HF_SEGMENT_CENSUS_H
#define HF_SEGMENT_CENSUS_H

#include "holdfast/heap.h"
#include "segment/blocks.h"

#define census_of_span hf_in_census_of_span
#define census_of_heap hf_in_census_of_heap

/* Blocks in use in a span that span_look has found good. */
uint64_t census_of_span(const struct block *look);

/* Adds up the whole heap, or the spans of the heap of that slot if it is not NULL. */
void census_of_heap(struct view *view, const struct slot *of, hf_heap_info *info);

#endif
