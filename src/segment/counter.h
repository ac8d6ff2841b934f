/* SPDX-License-Identifier: MIT */
/*
 * Detectable updates of a semaphore's count, so that the permits of the dead come back: exactly
 * those that they had. tests/models/counter.pml is the model; the numbers are its own.
 *
 *     record of a slot   update          a number, counted in full and never reset; OPEN, ACKED
 *                        update_of       the semaphore, and what the slot holds of it afterwards
 *                        update_expects  the word that is being replaced
 *                        update_makes    what it is to be: slot and version are nobody else's
 *
 *     updating (1) makes = 0; update_of; then update = the next number, OPEN
 *              (2) expects = the word; then look at the word again: unchanged?
 *              (3) only then look at its writer's record. If that is OPEN, of this semaphore, and
 *                  makes that word, acknowledge: ACKED for OPEN, by compare-and-swap
 *              (4) makes = the new permits, our slot, the version after the word's
 *              (5) word = makes, by compare-and-swap; if it fails, (2)
 *              (6) our hold as update_of says; update = the same number, closed; expects = 0
 *     recovery (7) the word has slot and version of makes: done   (8) the record is ACKED: done
 *              otherwise it has not happened; in this order, for (3) comes before (5)
 *
 * Versions come round after 2^20 updates of a semaphore. A word looks like one of the round before
 * only to who has it in its `expects` meanwhile, so versions come in windows of 256: who begins one
 * looks at all slots' `update_expects`, and passes the whole window over if one has a version of
 * it. There are 4096 windows, and fewer slots. Nobody begins to expect one afterwards, but the
 * current word, whose version is behind. (A number of the writer's own in place of the version does
 * not do: a word may stand for a whole round of its writer's numbers, which are used up on other
 * semaphores, and be expected only after its window was looked at.)
 *
 * The store at (2) is a hazard without a fence: a store is seen by others long before the word has
 * been replaced 256 times, which is the least that lies between two windows.
 */
#ifndef HF_SEGMENT_COUNTER_H
#define HF_SEGMENT_COUNTER_H

#include <errno.h>

#include "segment/holds.h"
#include "segment/semaphore_layout.h"

#define counter_acknowledge hf_counter_acknowledge
#define counter_next_window hf_counter_next_window
#define counter_settle      hf_counter_settle
#define counter_end         hf_counter_end
#define counter_holder      hf_counter_holder
#define counter_wake        hf_counter_wake

/* Versions of a window. */
#define COUNT_WINDOW UINT64_C(256)

static inline uint64_t count_permits(uint64_t count)
{
    return (count & UINT64_C(0xffffffff)) / COUNT_ONE;
}

static inline uint32_t count_writer(uint64_t count)
{
    return (uint32_t)(count >> COUNT_SLOT_SHIFT & COUNT_SLOT_MASK);
}

/* Who updates which: a slot, in its thread's own name or its recoverer's. */
struct counter {
    struct view *view;
    struct slot *slot;
    uint32_t number;
    uint32_t place; /* of what the slot holds of it: hold_find_or_place */
    uint64_t hold;  /* what stands there */
    struct semaphore *semaphore;
    uint64_t offset;
};

/* Its address goes nowhere, so that it stays in registers. */
static inline __attribute__((always_inline)) struct counter
counter_of(struct view *view, struct slot *slot, uint32_t number, struct semaphore *semaphore,
           uint64_t offset)
{
    uint64_t hold;
    uint32_t place = hold_find_or_place(slot, offset, HOLD_PERMITS, &hold);
    return (struct counter){view, slot, number, place, hold, semaphore, offset};
}

/* (3), of a word that somebody else wrote. */
void counter_acknowledge(struct view *view, uint64_t offset, uint64_t count);

/* The first version, from that one on, that is of a window which nobody expects a word of. */
uint64_t counter_next_window(struct view *view, uint64_t version);

/* The one after the word's. */
static inline uint64_t counter_next_version(struct view *view, uint64_t count)
{
    uint64_t version = ((count >> COUNT_VERSION_SHIFT) + 1) & COUNT_VERSION_MASK;
    return likely(version % COUNT_WINDOW != 0) ? version : counter_next_window(view, version);
}

/* The permits that are to be. -EAGAIN, -EOVERFLOW. */
static inline int counter_sum(uint64_t count, int64_t delta, uint64_t *permits)
{
    int64_t sum = (int64_t)count_permits(count) + delta;
    *permits = (uint64_t)sum;
    return unlikely(sum < 0) ? -EAGAIN : unlikely(sum > (int64_t)COUNT_MAX) ? -EOVERFLOW : 0;
}

/* (2) to (5). */
static inline __attribute__((always_inline)) int
counter_replace(const struct counter *c, int64_t delta, uint64_t flags, uint64_t *was)
{
    struct slot *slot = c->slot;
    shared_u64 *word = &c->semaphore->count;
    for (;;) {
        uint64_t permits;
        uint64_t count = load_acquire(word); /* partner: the last writer's (5) */
        int error = counter_sum(count, delta, &permits);
        if (error != 0) {
            return error;
        }
        HF_LOG_PUBLISH(&slot->update_expects, count); /* partner: is_expected */
        if (unlikely(load_acquire(word) != count)) {
            continue;
        }
        if (count_writer(count) != c->number) {
            counter_acknowledge(c->view, c->offset, count);
        }
        uint64_t makes = permits * COUNT_ONE | (count & COUNT_WAITERS) | flags |
                         (uint64_t)c->number << COUNT_SLOT_SHIFT |
                         counter_next_version(c->view, count) << COUNT_VERSION_SHIFT;
        HF_LOG_STORE(&slot->update_makes, makes);
        *was = count;
        if (likely(cas_acq_rel(word, &count, makes))) { /* partner: the next writer's (2) */
            return 0;
        }
    }
}

static inline void counter_close(struct slot *slot)
{
    HF_LOG_STORE(&slot->update, load_relaxed(&slot->update) & ~UPDATE_STATE);
    HF_LOG_STORE(&slot->update_expects, 0);
}

/*
 * Adds `delta` permits in the name of the slot, which holds `held` of them afterwards, for which it
 * has a place, and puts `flags` into the word. *was: the word before. 0; -EAGAIN: there are not so
 * many; -EOVERFLOW: there would be too many.
 */
static inline __attribute__((always_inline)) int
counter_change(const struct counter *c, int64_t delta, uint64_t held, uint64_t flags, uint64_t *was)
{
    struct slot *slot = c->slot;
    uint64_t hold = hold_word(c->offset, HOLD_PERMITS, held);
    uint64_t number = (load_relaxed(&slot->update) >> UPDATE_NUMBER_SHIFT) + 1;
    HF_LOG_STORE(&slot->update_makes, 0);
    HF_LOG_STORE(&slot->update_of, hold);
    HF_LOG_PUBLISH(&slot->update,
                   number << UPDATE_NUMBER_SHIFT | UPDATE_OPEN); /* partner: acknowledge */
    int error = counter_replace(c, delta, flags, was);
    crash_fence();
    if (error == 0) {
        hold_replace(slot, c->place, c->hold, hold);
    }
    counter_close(slot);
    return error;
}

/* Ends the update that the slot may have open: as done, if it has happened, or as if it had not
   been begun. */
void counter_settle(struct view *view, struct slot *slot);

/* Gives back what the hold at that place has of a semaphore, and ends it. */
void counter_end(struct view *view, struct slot *slot, uint32_t number, uint32_t place);

/* The first slot, from that number on, that holds permits of it, or may be about to; 0: none. */
uint32_t counter_holder(struct view *view, uint32_t from, uint64_t offset);

/* After permits were added to the word, and WAITERS was set: wakes up to so many. */
void counter_wake(struct semaphore *semaphore, uint64_t permits);

#endif
