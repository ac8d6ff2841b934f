/* SPDX-License-Identifier: MIT */
/* Counts whose updates recovery can tell to have happened, or not: see counter.h. */
#include <errno.h>
#include <limits.h>

#include "segment/counter.h"
#include "segment/lock.h"

#define WINDOW  UINT64_C(256)
#define WINDOWS ((COUNT_NUMBER_MASK + 1) / WINDOW)

static uint64_t number_of(uint64_t update)
{
    return update >> UPDATE_NUMBER_SHIFT;
}

/* Does the word say that this slot's update of that number was the last? */
static bool carries(uint64_t count, uint32_t slot, uint64_t number)
{
    return (count >> COUNT_SLOT_SHIFT & COUNT_SLOT_MASK) == slot &&
           count >> COUNT_NUMBER_SHIFT == (number & COUNT_NUMBER_MASK);
}

static struct semaphore *semaphore_at(struct view *view, uint64_t offset)
{
    struct semaphore *semaphore = (struct semaphore *)(void *)view_lock_at(view, offset);
    bool good = semaphore != NULL && load_relaxed(&semaphore->kind) == LOCK_UNDO &&
                load_relaxed(&semaphore->self) == offset;
    return good ? semaphore : NULL;
}

/* ---- numbers ----------------------------------------------------------------------------- */

/* Is somebody about to replace a word with this slot and a number of that window? */
static bool is_expected(struct view *view, uint32_t slot, uint64_t window)
{
    uint32_t slots = view_slots(view);
    for (uint32_t n = 1; n <= slots; n++) {
        uint64_t expects = load_acquire(&view_slot(view, n)->update_expects);
        if ((expects >> COUNT_SLOT_SHIFT & COUNT_SLOT_MASK) == slot && n != slot &&
            (expects >> COUNT_NUMBER_SHIFT) / WINDOW == window % WINDOWS) {
            return true;
        }
    }
    return false;
}

/* (1) */
static uint64_t next_number(struct view *view, uint32_t slot, uint64_t number, uint64_t count,
                            uint32_t *checked)
{
    number++;
    number += carries(count, slot, number) ? 1 : 0;
    uint64_t window = number / WINDOW;
    if (likely(*checked == (uint32_t)(window % WINDOWS) + 1)) {
        return number;
    }
    for (uint64_t tries = 0; tries < WINDOWS && is_expected(view, slot, window); tries++) {
        window++;
        number = window * WINDOW;
    }
    *checked = (uint32_t)(window % WINDOWS) + 1;
    return number + (carries(count, slot, number) ? 1 : 0);
}

/* ---- updating ---------------------------------------------------------------------------- */

/* (4) */
static void acknowledge(struct view *view, uint64_t offset, uint64_t count)
{
    uint32_t writer = (uint32_t)(count >> COUNT_SLOT_SHIFT & COUNT_SLOT_MASK);
    struct slot *slot = view_slot(view, writer);
    if (slot == NULL) {
        return;
    }
    uint64_t update = load_acquire(&slot->update); /* partner: (2) */
    if ((update & UPDATE_STATE) == UPDATE_OPEN && carries(count, writer, number_of(update)) &&
        hold_is_of(load_relaxed(&slot->update_of), offset, HOLD_PERMITS)) {
        (void)cas_acq_rel(&slot->update, &update, (update & ~UPDATE_STATE) | UPDATE_ACKED);
    }
}

/* (6), the first of it. */
static void set_hold(struct slot *slot, uint64_t hold)
{
    uint64_t offset = hold & HOLD_OFFSET;
    uint32_t place = hold_find(slot, offset, HOLD_PERMITS);
    if (hold_count(hold) != 0) {
        place = place == HOLDS_MAX ? hold_place(slot) : place;
        if (place < HOLDS_MAX) {
            hold_set(slot, place, hold);
        }
    } else if (place < HOLDS_MAX) {
        hold_clear(slot, place);
    }
}

static void close_update(struct slot *slot)
{
    HF_LOG_STORE(&slot->update, load_relaxed(&slot->update) & ~UPDATE_STATE);
    HF_LOG_STORE(&slot->update_expects, 0);
}

/* The word as it is to be. -EAGAIN, -EOVERFLOW. */
static int next_count(uint64_t count, int64_t delta, uint32_t slot, uint64_t number, uint64_t flags,
                      uint64_t *next)
{
    int64_t permits = (int64_t)count_permits(count) + delta;
    if (permits < 0) {
        return -EAGAIN;
    }
    if (permits > (int64_t)COUNT_MAX) {
        return -EOVERFLOW;
    }
    *next = (uint64_t)permits * COUNT_ONE | (count & COUNT_WAITERS) | flags |
            (uint64_t)slot << COUNT_SLOT_SHIFT | number << COUNT_NUMBER_SHIFT;
    return 0;
}

/* (3) to (5). */
static int replace(struct view *view, struct slot *slot, uint32_t slot_number,
                   struct semaphore *semaphore, uint64_t offset, int64_t delta, uint64_t number,
                   uint64_t flags, uint64_t *was)
{
    for (;;) {
        uint64_t next;
        uint64_t count = load_acquire(&semaphore->count); /* partner: the last writer's (5) */
        HF_LOG_PUBLISH(&slot->update_expects, count);     /* partner: is_expected */
        if (load_acquire(&semaphore->count) != count) {
            continue;
        }
        int error = next_count(count, delta, slot_number, number, flags, &next);
        if (error != 0) {
            return error;
        }
        if ((count >> COUNT_SLOT_SHIFT & COUNT_SLOT_MASK) != slot_number) {
            acknowledge(view, offset, count);
        }
        *was = count;
        if (cas_acq_rel(&semaphore->count, &count, next)) {
            return 0;
        }
    }
}

int counter_change(struct view *view, uint32_t number, struct semaphore *semaphore, uint64_t offset,
                   int64_t delta, uint64_t held, uint64_t flags, uint32_t *checked, uint64_t *was)
{
    struct slot *slot = view_slot(view, number);
    uint64_t count = load_relaxed(&semaphore->count);
    uint64_t last = number_of(load_relaxed(&slot->update));
    uint64_t update = next_number(view, number, last, count, checked);
    uint64_t hold = hold_word(offset, HOLD_PERMITS, held);
    HF_LOG_STORE(&slot->update_of, hold);
    HF_LOG_PUBLISH(&slot->update,
                   update << UPDATE_NUMBER_SHIFT | UPDATE_OPEN); /* partner: acknowledge */
    int error = replace(view, slot, number, semaphore, offset, delta, update, flags, was);
    crash_fence();
    if (error == 0) {
        set_hold(slot, hold);
    }
    close_update(slot);
    return error;
}

/* ---- recovery ---------------------------------------------------------------------------- */

void counter_settle(struct view *view, struct slot *slot, uint32_t number)
{
    uint64_t update = load_relaxed(&slot->update);
    uint64_t hold = load_relaxed(&slot->update_of);
    if ((update & UPDATE_STATE) == UPDATE_NONE) {
        return;
    }
    struct semaphore *semaphore = semaphore_at(view, hold & HOLD_OFFSET);
    bool done = semaphore != NULL &&
                carries(load_acquire(&semaphore->count), number, number_of(update)); /* (7) */
    done = done || (load_acquire(&slot->update) & UPDATE_STATE) == UPDATE_ACKED;     /* (8) */
    if (done) {
        set_hold(slot, hold);
    }
    close_update(slot);
}

void counter_end(struct view *view, struct slot *slot, uint32_t number, uint32_t place)
{
    uint64_t hold = load_relaxed(&slot->holds[place]);
    uint64_t offset = hold & HOLD_OFFSET;
    struct semaphore *semaphore = semaphore_at(view, offset);
    uint64_t permits = hold_count(hold);
    uint32_t checked = 0;
    uint64_t was;
    if (semaphore != NULL && counter_change(view, number, semaphore, offset, (int64_t)permits, 0, 0,
                                            &checked, &was) == 0) {
        counter_wake(semaphore, was, permits);
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

void counter_wake(struct semaphore *semaphore, uint64_t was, uint64_t permits)
{
    if ((was & COUNT_WAITERS) == 0) {
        return;
    }
    if (os_wake(&semaphore->count, permits < INT_MAX ? (int)permits : INT_MAX) == 0) {
        /* Nobody was asleep. Who falls asleep from now on has seen no permits: it sets it again. */
        uint64_t count = load_relaxed(&semaphore->count);
        if (count_permits(count) != 0) {
            (void)cas_relaxed(&semaphore->count, &count, count & ~COUNT_WAITERS);
        }
    }
}
