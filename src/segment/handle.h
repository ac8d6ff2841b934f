/* SPDX-License-Identifier: MIT */
/* What a public hf_segment is, and the way from it, or from an address, to this thread's
 * participant. */
#ifndef HF_SEGMENT_HANDLE_H
#define HF_SEGMENT_HANDLE_H

#include <errno.h>

#include "holdfast/segment.h"
#include "segment/participant.h"

#define SEGMENT_HANDLE_MAGIC UINT32_C(0x7365676d) /* "segm" */

#define participant_at hf_participant_at
#define enter_slowly   hf_enter_slowly

struct hf_segment {
    uint32_t magic;
    hf_access access;
    struct view *view;
    const char *writable_base; /* the view's; NULL: opened read-only */
};

static inline bool is_segment(const hf_segment *segment)
{
    return segment != NULL && segment->magic == SEGMENT_HANDLE_MAGIC;
}

/* enter, for whom this is not the segment that its thread used last. */
int enter_slowly(hf_segment *segment, struct participant **participant);

/* This thread's participant in the segment, with a call begun: end it with call_end. */
static inline int enter(hf_segment *segment, struct participant **participant)
{
    if (unlikely(!is_segment(segment))) {
        return -EINVAL;
    }
    struct participant *p = participant_recent(segment->writable_base);
    if (unlikely(p == NULL)) {
        return enter_slowly(segment, participant);
    }
    *participant = p;
    return call_begin(p);
}

/* The link's offset; 0 if it is no link in the segment's memory for users. */
static inline uint64_t link_offset(struct view *view, const hf_off *link)
{
    uint64_t offset = (uint64_t)((const char *)link - view->base);
    bool user = offset / SEGMENT_PAGE >= view->first_page;
    return user && view_word(view, offset) != NULL ? offset : 0;
}

/* The participant in the segment that the address lies in. -EINVAL: none that is open here. */
int participant_at(const void *address, struct participant **participant);

#endif
