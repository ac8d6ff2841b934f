/* SPDX-License-Identifier: MIT */
/* Counts whose updates recovery can tell to have happened, or not: see counter.h. */
#include <limits.h>

#include "segment/counter.h"
#include "segment/lock.h"

#define WINDOWS ((COUNT_VERSION_MASK + 1) / COUNT_WINDOW)

static uint64_t version_of(uint64_t count)
{
    return count >> COUNT_VERSION_SHIFT;
}

/* Did the same update write both? Those who fall asleep change the word, too, but not that. */
static bool is_same_update(uint64_t count, uint64_t other)
{
    return count >> COUNT_SLOT_SHIFT == other >> COUNT_SLOT_SHIFT;
}

static struct semaphore *semaphore_at(struct view *view, uint64_t offset)
{
    struct semaphore *semaphore = (struct semaphore *)(void *)view_lock_at(view, offset);
    bool good = semaphore != NULL && load_relaxed(&semaphore->kind) == LOCK_UNDO &&
                load_relaxed(&semaphore->self) == offset;
    return good ? semaphore : NULL;
}

/* ---- versions ---------------------------------------------------------------------------- */

/* Is somebody about to replace a word with a version of that window? */
static bool is_expected(struct view *view, uint64_t window)
{
    uint32_t slots = view_slots(view);
    for (uint32_t n = 1; n <= slots; n++) {
        uint64_t expects = load_acquire(&view_slot(view, n)->update_expects); /* partner: (2) */
        if (expects != 0 && version_of(expects) / COUNT_WINDOW == window) {
            return true;
        }
    }
    return false;
}

uint64_t counter_next_window(struct view *view, uint64_t version)
{
    for (uint64_t tries = 0; tries < WINDOWS && is_expected(view, version / COUNT_WINDOW);
         tries++) {
        version = (version + COUNT_WINDOW) & COUNT_VERSION_MASK;
    }
    return version;
}

/* ---- updating: the inline paths are in counter.h ------------------------------------------ */

void counter_acknowledge(struct view *view, uint64_t offset, uint64_t count)
{
    struct slot *slot = view_slot(view, count_writer(count));
    if (slot == NULL) {
        return;
    }
    uint64_t update = load_acquire(&slot->update); /* partner: (1) */
    if ((update & UPDATE_STATE) == UPDATE_OPEN &&
        hold_is_of(load_relaxed(&slot->update_of), offset, HOLD_PERMITS) &&
        is_same_update(load_relaxed(&slot->update_makes), count)) {
        (void)cas_acq_rel(&slot->update, &update, (update & ~UPDATE_STATE) | UPDATE_ACKED);
    }
}

/* ---- recovery ---------------------------------------------------------------------------- */

/* (7) and (8). */
static bool has_happened(struct view *view, struct slot *slot)
{
    uint64_t makes = load_relaxed(&slot->update_makes);
    struct semaphore *semaphore = semaphore_at(view, load_relaxed(&slot->update_of) & HOLD_OFFSET);
    bool stands =
        semaphore != NULL && makes != 0 && is_same_update(load_acquire(&semaphore->count), makes);
    return stands || (load_acquire(&slot->update) & UPDATE_STATE) == UPDATE_ACKED;
}

/* (6), the first of it. */
static void set_hold(struct slot *slot, uint64_t hold)
{
    uint64_t before;
    uint32_t place = hold_find_or_place(slot, hold & HOLD_OFFSET, HOLD_PERMITS, &before);
    if (place < HOLDS_MAX) {
        hold_replace(slot, place, before, hold);
    }
}

void counter_settle(struct view *view, struct slot *slot)
{
    if ((load_relaxed(&slot->update) & UPDATE_STATE) == UPDATE_NONE) {
        return;
    }
    if (has_happened(view, slot)) {
        set_hold(slot, load_relaxed(&slot->update_of));
    }
    counter_close(slot);
}

void counter_end(struct view *view, struct slot *slot, uint32_t number, uint32_t place)
{
    uint64_t hold = load_relaxed(&slot->holds[place]);
    uint64_t offset = hold & HOLD_OFFSET;
    struct counter c = {view, slot, number, place, hold, semaphore_at(view, offset), offset};
    uint64_t permits = hold_count(hold);
    uint64_t was;
    if (c.semaphore != NULL && counter_change(&c, (int64_t)permits, 0, 0, &was) == 0) {
        if ((was & COUNT_WAITERS) != 0) {
            counter_wake(c.semaphore, permits);
        }
    } else {
        hold_clear(slot, place); /* there is no such semaphore any more, or it is full */
    }
}

uint32_t counter_holder(struct view *view, uint32_t from, uint64_t offset)
{
    uint32_t slots = view_slots(view);
    for (uint32_t n = from; n <= slots; n++) {
        const struct slot *slot = view_slot(view, n);
        bool about_to = (load_acquire(&slot->update) & UPDATE_STATE) != UPDATE_NONE &&
                        hold_is_of(load_relaxed(&slot->update_of), offset, HOLD_PERMITS);
        if (about_to || hold_find(slot, offset, HOLD_PERMITS) != HOLDS_MAX) {
            return n;
        }
    }
    return 0;
}

/* ---- waking ------------------------------------------------------------------------------ */

void counter_wake(struct semaphore *semaphore, uint64_t permits)
{
    if (os_wake(&semaphore->count, permits < INT_MAX ? (int)permits : INT_MAX) == 0) {
        /* Nobody was asleep. Who falls asleep from now on has seen no permits: it sets it again. */
        uint64_t count = load_relaxed(&semaphore->count);
        if (count_permits(count) != 0) {
            (void)cas_relaxed(&semaphore->count, &count, count & ~COUNT_WAITERS);
        }
    }
}
