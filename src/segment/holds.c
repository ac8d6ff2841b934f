/* SPDX-License-Identifier: MIT */
/* The end of what a participant holds beside others. */
#include <limits.h>

#include "segment/barrier_layout.h"
#include "segment/counter.h"
#include "segment/holds.h"
#include "segment/lock.h"

uint32_t hold_find_or_place_below(const struct slot *slot, uint32_t top, uint64_t offset,
                                  uint64_t kind, uint64_t *hold)
{
    uint32_t place = top;
    for (uint32_t i = top; i > 0; i--) {
        uint64_t there = load_relaxed(&slot->holds[i - 1]);
        if (hold_is_of(there, offset, kind)) {
            *hold = there;
            return i - 1;
        }
        place = there == HOLD_NONE ? i - 1 : place;
    }
    *hold = HOLD_NONE;
    return place;
}

uint32_t holds_find(struct view *view, uint32_t from, uint64_t offset, uint64_t kind)
{
    uint32_t n = from;
    for (struct slot_page *page; (page = view_slot_page(view, n)) != NULL;) {
        uint32_t end = n + SLOTS_PER_PAGE - (n - 1) % SLOTS_PER_PAGE; /* the next page's first */
        for (; n < end; n++) {
            const struct slot *slot = &page->slots[(n - 1) % SLOTS_PER_PAGE];
            if (hold_find(slot, offset, kind) != HOLDS_MAX) {
                return n;
            }
        }
    }
    return 0;
}

/* A member has died. Who recovers it after this one, or instead, comes by here again until the hold
   is cleared. A barrier that was reset has nothing to do with who was a member before. */
static void break_barrier(struct view *view, uint64_t hold)
{
    uint64_t offset = hold & HOLD_OFFSET;
    struct barrier *barrier = (struct barrier *)(void *)view_lock_at(view, offset);
    if (barrier == NULL || load_relaxed(&barrier->kind) != LOCK_BARRIER ||
        load_relaxed(&barrier->self) != offset) {
        return;
    }
    uint64_t state = load_relaxed(&barrier->state);
    do {
        if ((state & BARRIER_EPOCH) / BARRIER_EPOCH_ONE != hold_count(hold)) {
            return;
        }
    } while (!cas_release(&barrier->state, &state, state | BARRIER_BROKEN)); /* partner: judge */
    (void)os_wake(&barrier->state, INT_MAX);
}

/* Each can be done again by the next who recovers the slot: the hold is cleared by the step that
   ends it, and who waits for that looks again by itself, should nobody wake it. */
static void end_hold(struct view *view, struct slot *slot, uint32_t number, uint32_t place)
{
    uint64_t hold = load_relaxed(&slot->holds[place]);
    uint64_t offset = hold & HOLD_OFFSET;
    struct lock *lock = view_lock_at(view, offset);
    if ((hold & HOLD_KIND) == HOLD_PERMITS) {
        counter_end(view, slot, number, place);
        return;
    }
    if ((hold & HOLD_KIND) == HOLD_MEMBER) {
        break_barrier(view, hold);
    }
    hold_clear(slot, place);
    if (lock != NULL && (hold & HOLD_KIND) == HOLD_READ && lock_is_at(lock, offset)) {
        lock_reader_left(lock);
    }
}

void holds_release(struct view *view, struct slot *slot, uint32_t number)
{
    counter_settle(view, slot);
    for (uint32_t top = holds_in_use(slot); top > 0; top--) {
        if (load_relaxed(&slot->holds[top - 1]) != HOLD_NONE) {
            end_hold(view, slot, number, top - 1);
        }
    }
    HF_LOG_STORE(&slot->holds_top, 0);
}

void holds_end_open(struct participant *me)
{
    uint32_t place = me->hold_open;
    counter_settle(me->view, me->slot);
    if (place > 0 && place <= HOLDS_MAX && load_relaxed(&me->slot->holds[place - 1]) != HOLD_NONE) {
        end_hold(me->view, me->slot, me->number, place - 1);
    }
    me->hold_open = 0;
}
