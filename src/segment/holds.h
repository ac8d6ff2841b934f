/* SPDX-License-Identifier: MIT */
/*
 * Holds: what a participant has beside others, in words of its own slot (slot_layout.h).
 *
 * Others look for them without a lock, and a death leaves them for recovery to end. Who sets one
 * and then asks whether it may, and who forbids and then looks for holds, each put fence_store_load
 * between the two: of two such sides at least one sees the other.
 */
#ifndef HF_SEGMENT_HOLDS_H
#define HF_SEGMENT_HOLDS_H

#include "segment/participant.h"

#define holds_release            hf_holds_release
#define holds_end_open           hf_holds_end_open
#define holds_find               hf_holds_find
#define hold_find_or_place_below hf_hold_find_or_place_below

static inline uint64_t hold_word(uint64_t offset, uint64_t kind, uint64_t count)
{
    return offset | kind | count << HOLD_COUNT_SHIFT;
}

static inline uint64_t hold_count(uint64_t hold)
{
    return hold >> HOLD_COUNT_SHIFT;
}

/* Does it hold that, however often? */
static inline bool hold_is_of(uint64_t hold, uint64_t offset, uint64_t kind)
{
    return (hold & (HOLD_OFFSET | HOLD_KIND)) == (offset | kind);
}

/* How many words of the slot there are to look at, whatever stands there. */
static inline uint32_t holds_in_use(const struct slot *slot)
{
    uint64_t top = load_acquire(&slot->holds_top); /* partner: hold_set */
    return top < HOLDS_MAX ? (uint32_t)top : HOLDS_MAX;
}

/* Where the slot's hold of that is; HOLDS_MAX: it has none. */
static inline uint32_t hold_find(const struct slot *slot, uint64_t offset, uint64_t kind)
{
    uint32_t top = holds_in_use(slot);
    for (uint32_t i = 0; i < top; i++) {
        if (hold_is_of(load_acquire(&slot->holds[i]), offset, kind)) { /* partner: hold_clear */
            return i;
        }
    }
    return HOLDS_MAX;
}

/* hold_find_or_place, where the last hold is not the one. */
uint32_t hold_find_or_place_below(const struct slot *slot, uint32_t top, uint64_t offset,
                                  uint64_t kind, uint64_t *hold);

/* Where this thread's hold of that is, or could be: then *hold is HOLD_NONE. HOLDS_MAX: nowhere.
   The last is looked at first: it is what is let go of next, most often. */
static inline uint32_t hold_find_or_place(const struct slot *slot, uint64_t offset, uint64_t kind,
                                          uint64_t *hold)
{
    uint32_t top = holds_in_use(slot);
    *hold = HOLD_NONE;
    if (top == 0) {
        return 0;
    }
    uint64_t last = load_relaxed(&slot->holds[top - 1]);
    if (unlikely(!hold_is_of(last, offset, kind))) {
        return hold_find_or_place_below(slot, top, offset, kind, hold);
    }
    *hold = last;
    return top - 1;
}

/* A place for one more; HOLDS_MAX: there is none. */
static inline uint32_t hold_place(const struct slot *slot)
{
    uint32_t top = holds_in_use(slot);
    for (uint32_t i = 0; i < top; i++) {
        if (load_relaxed(&slot->holds[i]) == HOLD_NONE) {
            return i;
        }
    }
    return top;
}

static inline void hold_set(struct slot *slot, uint32_t place, uint64_t hold)
{
    if (place >= load_relaxed(&slot->holds_top)) {
        HF_LOG_PUBLISH(&slot->holds_top, place + UINT64_C(1)); /* partner: holds_in_use */
    }
    HF_LOG_PUBLISH(&slot->holds[place], hold); /* partner: hold_find */
}

/* What was done under it is there for whoever no longer finds it. There may be none left below the
   last one: `holds_top` is only how far there is to look. */
static inline void hold_clear(struct slot *slot, uint32_t place)
{
    HF_LOG_PUBLISH(&slot->holds[place], HOLD_NONE); /* partner: hold_find */
    if (place + UINT64_C(1) == load_relaxed(&slot->holds_top)) {
        HF_LOG_PUBLISH(&slot->holds_top, (uint64_t)place); /* partner: holds_in_use */
    }
}

/* At a place of hold_find_or_place, where `before` stands, so many instead: none, if the count in
   `hold` is 0. */
static inline void hold_replace(struct slot *slot, uint32_t place, uint64_t before, uint64_t hold)
{
    if (hold_count(hold) != 0) {
        hold_set(slot, place, hold);
    } else if (before != HOLD_NONE) {
        hold_clear(slot, place);
    }
}

/* The first slot, from that number on, that holds that; 0: none does. */
uint32_t holds_find(struct view *view, uint32_t from, uint64_t offset, uint64_t kind);

/* Ends all that the slot holds, whose thread has ended, or is about to. */
void holds_release(struct view *view, struct slot *slot, uint32_t number);

/* This thread has jumped out of a call: ends the hold that the call was about to take. */
void holds_end_open(struct participant *me);

#endif
