/* SPDX-License-Identifier: MIT */
/* Writing a segment's header, and believing one. No state. */
#ifndef HF_SEGMENT_FORMAT_H
#define HF_SEGMENT_FORMAT_H

#include "segment/view.h"

#define geometry_of      hf_geometry_of
#define format_segment   hf_format_segment
#define validate_segment hf_validate_segment
#define declare_all_dead hf_declare_all_dead

/* What follows from a segment's maximum. */
struct geometry {
    uint64_t used_map; /* offsets */
    uint64_t backed_map;
    uint64_t chunk_map;
    uint64_t first_page;
};

struct geometry geometry_of(uint64_t maximum);

/* How much of the chunk map tells of so many pages. */
static inline uint64_t chunk_map_bytes(uint64_t pages)
{
    return (pages + PAGES_PER_CHUNK - 1) / PAGES_PER_CHUNK * sizeof(uint64_t);
}

/* Makes a segment of `size` bytes in zeroed memory, all but its magic. */
void format_segment(struct segment_header *header, uint64_t size, uint64_t maximum);

/*
 * Is the header, of which this is a copy, one of a whole segment in an object of `there` bytes? The
 * errors are hf_segment_open's.
 */
int validate_segment(const struct segment_header *header, uint64_t there);

/* Marks every participant dead: after a restart of the machine, or in a copy. Can be run again. */
void declare_all_dead(struct view *view);

#endif
