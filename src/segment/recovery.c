/* SPDX-License-Identifier: MIT */
/*
 * The steps of a recovery, in their order:
 *     1  claim the dead slot: one recoverer at a time
 *     2  wake all who sleep on the dead life: the kernel woke one
 *     3  settle the operation record: a page run or a block is its link's, or free
 *     4  settle the intent: a lock that was being taken or freed
 *     5  undo the transaction, or end it if it was committed
 *     6  free the locks it held, and tell their next owners what to expect
 *     7  end what it held beside others (holds.c)
 *     8  free what it had reserved; end its heap: its spans are to be had
 *     9  free the slot
 * Each reads what it has to do from the dead slot and can be run again from its start.
 */
#include <errno.h>
#include <limits.h>

#include "segment/heap.h"
#include "segment/holds.h"
#include "segment/lock.h"
#include "segment/pages.h"
#include "segment/recovery.h"
#include "segment/reserve.h"
#include "segment/tx.h"

static uint32_t owner_of(const struct lock *lock)
{
    return load_acquire(&lock->word) & LOCK_OWNER;
}

static void wake_all(struct lock *lock)
{
    if ((load_relaxed(&lock->word) & LOCK_WAITERS) != 0) {
        (void)os_wake(&lock->word, INT_MAX);
    }
}

/* Step 4. Whether it had the lock is written in the lock itself. */
static void settle_intent(struct view *view, struct slot *slot, uint32_t number)
{
    uint64_t intent = load_relaxed(&slot->intent);
    uint64_t offset = intent & INTENT_OFFSET;
    struct lock *lock = view_lock_at(view, offset);
    if (lock != NULL && !lock_is_at(lock, offset)) {
        lock = NULL; /* it was one, when the dead waited for it */
    }
    if (lock != NULL && owner_of(lock) != number) {
        wake_all(lock); /* freed, and perhaps nobody woken; or never had */
    } else if (lock != NULL && (intent & INTENT_FREEING) != 0) {
        lock_unlink(view, slot, lock, offset);
        lock_clear_owner(lock,
                         (lock_verdict)(intent >> INTENT_VERDICT_SHIFT & INTENT_VERDICT_MASK));
        wake_all(lock);
    } else if (lock != NULL && !lock_is_held(view, slot, offset)) {
        /* Taken, and the caller never knew: its data is as it was. Until the owner is cleared, the
           intent leads here again. */
        lock_clear_owner(lock, LOCK_AS_IT_IS);
    } else if (lock != NULL) {
        lock_reopen(lock); /* taken; or it was being upgraded */
    }
    HF_LOG_STORE(&slot->intent, 0);
}

/* Step 5. Leaves its state for step 6. */
static void settle_transaction(struct view *view, struct slot *slot)
{
    uint64_t tx = tx_state(slot);
    if (tx == TX_ACTIVE || tx == TX_COMMITTED) {
        log_unwind(view, slot, NULL, tx == TX_COMMITTED);
    }
    HF_LOG_STORE(&slot->log_used, 0);
}

/* What the next owner has to know: was the data under the transaction, or unlocked already? */
static lock_verdict verdict_on(struct slot *slot, const struct lock *lock, uint64_t offset)
{
    uint64_t tx = tx_state(slot);
    uint64_t next = load_relaxed(&lock->next);
    if (load_relaxed(&lock->kind) == LOCK_INTERNAL) {
        return LOCK_AS_IT_IS;
    }
    if (tx == TX_ACTIVE && offset != load_relaxed(&slot->tx_base)) {
        return LOCK_AS_IT_IS;
    }
    if (tx == TX_ACTIVE) {
        tx_set(slot, TX_NONE); /* this one and the rest were taken before it began */
        return LOCK_SUSPECT;
    }
    if (tx == TX_NONE || (next & LOCK_UNLOCK_LATER) == 0) {
        return LOCK_SUSPECT;
    }
    return lock_verdict_at_end(next, tx == TX_COMMITTED);
}

/* Step 6, one lock. false: none is left. */
static bool free_one_lock(struct view *view, struct slot *slot, uint32_t number)
{
    uint64_t offset = load_relaxed(&slot->held);
    struct lock *lock = view_lock_at(view, offset);
    if (lock == NULL || owner_of(lock) != number) { /* the end, or a damaged list */
        HF_LOG_STORE(&slot->held, 0);
        return false;
    }
    lock_verdict verdict = verdict_on(slot, lock, offset);
    HF_LOG_STORE(&slot->intent,
                 offset | INTENT_FREEING | (uint64_t)verdict << INTENT_VERDICT_SHIFT);
    HF_LOG_STORE(&slot->held, load_relaxed(&lock->next) & LOCK_NEXT_OFFSET);
    lock_clear_owner(lock, verdict);
    wake_all(lock);
    HF_LOG_STORE(&slot->intent, 0);
    return true;
}

/* Steps 3 to 8. */
static void undo(struct view *view, struct slot *slot, uint32_t number)
{
    blocks_settle(view, slot);
    settle_intent(view, slot, number);
    settle_transaction(view, slot);
    for (uint64_t i = 0; i < locks_at_most(view) && free_one_lock(view, slot, number); i++) {
    }
    tx_set(slot, TX_NONE);
    holds_release(view, slot, number);
    reserve_free_all(view, slot);
    heap_end(view, slot);
}

/* Steps 2 to 9, of a slot that `me` has claimed. */
static void finish(struct participant *me, uint32_t number)
{
    struct view *view = me->view;
    struct slot *slot = view_slot(view, number);
    shared_u32 *life = view_life(view, number);
    uint64_t turn = claim_turn(load_relaxed(&slot->claim));
    (void)os_wake(life, INT_MAX);
    undo(view, slot, number);
    HF_LOG_STORE(life, 0);
    HF_LOG_PUBLISH(&slot->claim, claim_word(0, 0, turn, 0)); /* partner: the next claim */
}

/* Step 1, and all the others; false: it is not dead, or another does. */
static bool recover_one(struct participant *me, uint32_t number)
{
    struct view *view = me->view;
    struct slot *slot = view_slot(view, number);
    if (slot == NULL || number == me->number) {
        return false;
    }
    uint64_t seen = load_acquire(&slot->claim);
    uint64_t mine = claim_word(me->number, me->turn, claim_turn(seen), CLAIM_UNRECOVERED);
    uint64_t expected = seen;
    if (presence_of(view, number, true, NULL) != PRESENCE_DEAD ||
        !cas_acquire(&slot->claim, &expected, mine)) {
        return false;
    }
    crash_fence();
    if (lives_after_all(view, number)) {
        (void)cas_release(&slot->claim, &mine, seen);
        return false;
    }
    finish(me, number);
    return true;
}

/* A dead one that was at this slot goes first: its record may name what lies in it. False: it is
   not settled, for another is at it. */
static bool settle_holder(struct participant *me, uint32_t number)
{
    struct slot *slot = view_slot(me->view, number);
    uint64_t claim = slot == NULL ? 0 : load_acquire(&slot->claim);
    uint32_t by = claim_by(claim);
    if (by == 0 || by == number || by == me->number) {
        return true;
    }
    (void)recover_one(me, by);
    struct slot *holder = view_slot(me->view, by);
    uint64_t theirs = holder == NULL ? 0 : load_acquire(&holder->claim);
    return claim_by(theirs) == 0 || claim_turn(theirs) != claim_by_turn(claim);
}

bool recovery_of(struct participant *me, uint32_t number)
{
    return settle_holder(me, number) && recover_one(me, number);
}

void recovery_of_own_slot(struct participant *me)
{
    undo(me->view, me->slot, me->number);
    heap_forget(me);
    me->reservations = 0;
    me->hold_open = 0;
    me->once_count = 0;
    me->tx_depth = 0;
}

/* A transaction that was begun at it stays open, and keeps it to its end. */
void recovery_of_onces(struct participant *me)
{
    while (me->once_count > 0) {
        uint64_t offset = me->onces[me->once_count - 1];
        struct lock *lock = view_lock_at(me->view, offset);
        bool ours = lock != NULL && lock_is_at(lock, offset) && owner_of(lock) == me->number;
        if (ours && tx_state(me->slot) != TX_NONE) {
            HF_LOG_STORE(&lock->next, load_relaxed(&lock->next) | LOCK_UNLOCK_LATER);
        } else if (ours) {
            lock_free(me, lock, offset);
        }
        crash_fence(); /* a jump out of here finds it once more */
        me->once_count--;
    }
}

void recovery_of_call(struct participant *me)
{
    blocks_settle(me->view, me->slot);
    log_drop_unfinished(me->view, me->slot);
    heap_end(me->view, me->slot); /* what it was about to do to its lists nobody knows */
    heap_forget(me);
    settle_intent(me->view, me->slot, me->number);
    holds_end_open(me);
    struct segment_header *header = header_of(me->view);
    if (owner_of(&header->pages_lock) == me->number) {
        lock_free(me, &header->pages_lock, offsetof(struct segment_header, pages_lock));
    }
    if (owner_of(&header->names_lock) == me->number) {
        lock_free(me, &header->names_lock, offsetof(struct segment_header, names_lock));
    }
    uint32_t slots = view_slots(me->view);
    for (uint32_t n = 1; n <= slots; n++) { /* it may have been recovering someone */
        uint64_t claim = load_relaxed(&view_slot(me->view, n)->claim);
        if (n != me->number && claim_by(claim) == me->number && claim_by_turn(claim) == me->turn) {
            finish(me, n);
        }
    }
    tx_settle(me);
    recovery_of_onces(me);
    me->busy = false;
}

unsigned recovery_of_slots(struct participant *me)
{
    unsigned recovered = 0;
    uint32_t slots = view_slots(me->view);
    for (uint32_t n = 1; n <= slots; n++) {
        recovered += recovery_of(me, n) ? 1 : 0;
    }
    return recovered;
}

unsigned recovery_of_all(struct participant *me)
{
    unsigned recovered = recovery_of_slots(me);
    (void)pages_reclaim_logs(me);
    return recovered;
}
