/* SPDX-License-Identifier: MIT */
/* Is a segment whole? It looks at what the library keeps for itself. */
#include <inttypes.h>

#include "segment/handle.h"
#include "soak/soak.h"

static bool slot_is_idle(struct slot *slot, uint32_t number, const char *which)
{
    const struct {
        const char *name;
        uint64_t value;
    } words[] = {{"intent", load_relaxed(&slot->intent)},
                 {"held", load_relaxed(&slot->held)},
                 {"tx", load_relaxed(&slot->tx)},
                 {"log_used", load_relaxed(&slot->log_used)},
                 {"op", load_relaxed(&slot->op)}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i].value != 0) {
            note_failure("%s: slot %" PRIu32 ": %s is %#" PRIx64 " after recovery", which, number,
                         words[i].name, words[i].value);
            return false;
        }
    }
    return true;
}

static bool slots_are_idle(struct view *view, uint32_t participants, const char *which)
{
    uint32_t slots = view_slots(view);
    uint32_t taken = 0;
    for (uint32_t n = 1; n <= slots; n++) {
        struct slot *slot = view_slot(view, n);
        if (!slot_is_idle(slot, n, which)) {
            return false;
        }
        taken += claim_by(load_relaxed(&slot->claim)) != 0 ? 1 : 0;
    }
    if (taken != participants) {
        note_failure("%s: %" PRIu32 " slots are taken, by %" PRIu32 " participants", which, taken,
                     participants);
    }
    return taken == participants;
}

/* Pages that the segment's own structures hold. */
static uint64_t pages_held(struct view *view)
{
    struct segment_header *header = header_of(view);
    bool rooted = load_relaxed(&header->root) != 0;
    uint64_t pages = view->first_page;
    pages += rooted ? load_relaxed(&header->root_size) / SEGMENT_PAGE : 0;
    for (uint32_t run = 1; run < SLOT_RUNS; run++) {
        pages += load_relaxed(&header->slot_runs[run]) != 0 ? slot_run_pages(run) : 0;
    }
    uint32_t slots = view_slots(view);
    for (uint32_t n = 1; n <= slots; n++) {
        for (uint32_t k = 0; k < LOG_CHUNKS; k++) {
            uint64_t chunk = load_relaxed(&view_slot(view, n)->log_chunks[k]);
            pages += chunk != 0 ? UINT64_C(1) << k : 0;
        }
    }
    return pages;
}

bool is_whole(hf_segment *segment, uint64_t linked, uint32_t participants, const char *which)
{
    hf_segment_info info;
    if (hf_segment_get_info(segment, &info) != 0) {
        note_failure("%s: hf_segment_get_info fails", which);
        return false;
    }
    uint64_t held = pages_held(segment->view) + linked;
    if (info.used != held * SEGMENT_PAGE) {
        note_failure("%s: %" PRIu64 " pages are in use, %" PRIu64 " are held by something, %" PRIu64
                     " of them by links",
                     which, info.used / SEGMENT_PAGE, held, linked);
        return false;
    }
    if (info.dead != 0 || info.participants != participants) {
        note_failure("%s: %" PRIu32 " participants are dead and not recovered, %" PRIu32
                     " alive, not %" PRIu32,
                     which, info.dead, info.participants, participants);
        return false;
    }
    return slots_are_idle(segment->view, participants, which);
}
