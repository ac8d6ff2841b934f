/* SPDX-License-Identifier: MIT */
/*
 * Detectable updates of a semaphore's count, so that the permits of the dead come back: exactly
 * those that they had. tests/models/counter.pml is the model; the numbers are its own.
 *
 *     updating (1) look at the word; choose the next number, past any whose low bits, with our
 * slot, stand in the word or in somebody's `update_expects` (2) update_of = the semaphore, and what
 * we hold of it afterwards update = that number, OPEN (3) update_expects = the word; then look at
 * the word again: unchanged? (4) only then look at its writer's update. If that is OPEN, of this
 * semaphore and with that number, acknowledge: ACKED for OPEN, by compare-and-swap (5) word = new
 * count, our slot, our number, by compare-and-swap; if it fails, (3) (6) our hold as update_of
 * says; update = the same number, CLOSED; update_expects = 0 recovery (7) the word carries slot and
 * number: done     (8) it is ACKED: done otherwise it has not happened; in this order, for (4)
 * comes before (5)
 *
 * At (1) not all slots are looked at each time: numbers come in windows of 256, and at the start of
 * one all `update_expects` are looked at, and the whole window passed over if one of them has a
 * number in it. There are 4096 windows, and fewer slots. What comes to stand there afterwards was
 * written since, so its number is behind ours.
 *
 * The store at (3) is a hazard without a fence: it is seen by others long before another slot has
 * made the 2^20 - 256 updates after which its numbers come again.
 */
#ifndef HF_SEGMENT_COUNTER_H
#define HF_SEGMENT_COUNTER_H

#include "segment/holds.h"
#include "segment/semaphore_layout.h"

#define counter_change hf_counter_change
#define counter_settle hf_counter_settle
#define counter_end    hf_counter_end
#define counter_holder hf_counter_holder
#define counter_wake   hf_counter_wake

static inline uint64_t count_permits(uint64_t count)
{
    return (count & UINT64_C(0xffffffff)) / COUNT_ONE;
}

/*
 * Adds `delta` permits in the name of the slot, which holds `held` of them afterwards, and puts
 * `flags` into the word. *was: the word before. 0; -EAGAIN: there are not so many; -EOVERFLOW:
 * there would be too many; -ENOLCK: no hold is free. `checked`: 1 + the window that is known to be
 * free, 0: none.
 */
int counter_change(struct view *view, uint32_t number, struct semaphore *semaphore, uint64_t offset,
                   int64_t delta, uint64_t held, uint64_t flags, uint32_t *checked, uint64_t *was);

/* Ends the update that the slot may have open: as done, if it has happened, or as if it had not
   been begun. */
void counter_settle(struct view *view, struct slot *slot, uint32_t number);

/* Gives back what the hold at that place has of a semaphore, and ends it. */
void counter_end(struct view *view, struct slot *slot, uint32_t number, uint32_t place);

/* The first slot, from that number on, that holds permits of it, or may be about to; 0: none. */
uint32_t counter_holder(struct view *view, uint32_t from, uint64_t offset);

/* After permits were added to the word as it was: wakes up to so many. */
void counter_wake(struct semaphore *semaphore, uint64_t was, uint64_t permits);

#endif
