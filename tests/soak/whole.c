/* SPDX-License-Identifier: MIT */
/* Is a segment whole? The library's own deep check says so. */
#include "segment/check.h"
#include "segment/handle.h"
#include "soak/soak.h"

bool is_whole(hf_segment *segment, uint64_t linked, uint32_t participants, const char *which)
{
    char what[SEGMENT_CHECK_TEXT];
    int error = segment_check(segment->view, linked, participants, what);
    if (error != 0) {
        note_failure("%s: %s (%s)", which, what, hf_strerror(error));
    }
    return error == 0;
}
