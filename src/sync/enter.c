/* SPDX-License-Identifier: MIT */
/* The long way to a lock, its beginning and its end. */
#include "sync/enter.h"
#include "segment/recovery.h"

/* A dead owner may be recovered by one that dies as well: but not so often in a row. */
#define LOOKS_MAX 64u

/* The way that needs no trust in the lock: by its address. A lock of all zero is told its place
 * here. */
static int find(struct lock *lock, uint32_t kind, struct participant **participant,
                uint64_t *offset)
{
    struct participant *p;
    int error = participant_at(lock, &p);
    if (error != 0) {
        return error;
    }
    uint64_t place = (uint64_t)((char *)lock - p->view->base);
    if (place == 0 || !view_holds(p->view, place, sizeof *lock) ||
        load_relaxed(&lock->kind) != kind) {
        return -EINVAL;
    }
    uint64_t self = 0;
    if (!cas_relaxed(&lock->self, &self, place) && self != place) {
        return -EINVAL;
    }
    *participant = p;
    *offset = place;
    return 0;
}

int enter_lock_slowly(struct lock *lock, uint32_t kind, struct participant **participant,
                      uint64_t *offset)
{
    *offset = load_relaxed(&lock->self);
    *participant = participant_mine(base_of(lock, *offset));
    if (*participant == NULL || !lock_fits(*participant, lock, *offset, kind)) {
        int error = find(lock, kind, participant, offset);
        if (error != 0) {
            return error;
        }
    }
    return call_begin(*participant);
}

/* Of an owner that is dead, or that another is recovering already: true, look again. */
static bool settle_dead(struct participant *p, struct lock *lock, uint32_t word)
{
    uint32_t owner = word & LOCK_OWNER;
    presence there = presence_of(p->view, owner, true, NULL);
    const struct slot *slot = view_slot(p->view, owner);
    uint32_t by = slot == NULL ? 0 : claim_by(load_relaxed(&slot->claim));
    if (there == PRESENCE_DEAD) {
        (void)recovery_of(p, owner);
    } else if (there == PRESENCE_ALIVE && by != owner && by != p->number) {
        (void)lock_wait_beside(p, owner, &lock->word, word, INT64_MAX);
    } else {
        return false;
    }
    return true;
}

/* What else a dead owner held is found through the lock: it is recovered before the lock is written
   anew. */
static void settle_owner(struct participant *p, struct lock *lock, uint64_t offset)
{
    uint32_t word;
    unsigned looks = 0;
    do {
        word = load_acquire(&lock->word); /* partner: lock_clear_owner */
    } while (lock_is_at(lock, offset) && (word & LOCK_OWNER) != 0 &&
             (word & LOCK_OWNER) != p->number && settle_dead(p, lock, word) && ++looks < LOOKS_MAX);
}

int enter_new_lock(struct lock *lock, struct participant **participant, uint64_t *offset)
{
    struct participant *p;
    if (is_misplaced(lock)) {
        return -EINVAL;
    }
    int error = participant_at(lock, &p);
    if (error == 0) {
        error = call_begin(p);
    }
    if (error != 0) {
        return error;
    }
    uint64_t place = (uint64_t)((char *)lock - p->view->base);
    if (place / SEGMENT_PAGE < p->view->first_page || !view_holds(p->view, place, sizeof *lock)) {
        return call_end(p, -EINVAL);
    }
    settle_owner(p, lock, place);
    *participant = p;
    *offset = place;
    return 0;
}

int lock_init(struct lock *lock)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_new_lock(lock, &p, &offset);
    if (error != 0) {
        return error;
    }
    /* No lock, until its kind and its place are right. */
    HF_LOG_STORE(&lock->word, 0);
    store_relaxed(&lock->next, 0);
    store_relaxed(&lock->depth, 0);
    store_relaxed(&lock->departures, 0);
    HF_LOG_STORE(&lock->self, offset);
    HF_LOG_STORE(&lock->kind, LOCK_FRESH);
    return call_end(p, 0);
}

int lock_begin_end(struct participant *p, struct lock *lock, uint64_t offset)
{
    HF_LOG_STORE(&p->slot->intent, offset);
    int result = lock_wait(p, lock, 0);
    if (result == 0 || result == -EOWNERDEAD || result == -ENOTRECOVERABLE) {
        return 0;
    }
    HF_LOG_STORE(&p->slot->intent, 0);
    return result == -EDEADLK ? -EBUSY : result;
}

void lock_end(struct participant *p, struct lock *lock)
{
    HF_LOG_STORE(&lock->kind, LOCK_DESTROYED);
    HF_LOG_STORE(&lock->self, 0); /* for the intents of who waited for it, and died */
    (void)fetch_or_relaxed(&lock->word, LOCK_GIVEN_UP);
    lock_clear_owner(lock, LOCK_AS_IT_IS);
    HF_LOG_STORE(&p->slot->intent, 0);
}

int lock_fini(struct lock *lock)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    if (error != 0) {
        return error;
    }
    error = lock_begin_end(p, lock, offset);
    if (error == 0) {
        lock_end(p, lock);
    }
    return call_end(p, error);
}

int lock_wake_and_end(struct participant *p, struct lock *lock)
{
    bool ours = (load_relaxed(&lock->word) & LOCK_OWNER) == p->number;
    if (ours) {
        lock_clear_owner(lock, LOCK_UNLOCKED);
    }
    HF_LOG_STORE(&p->slot->intent, 0);
    return call_end(p, ours ? 0 : -EPERM);
}

int lock_unlock_slowly(struct lock *lock, uint32_t mask, uint32_t mode)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    if (error != 0) {
        return error;
    }
    if (!lock_is_ours_as(p, lock, mask, mode)) {
        return call_end(p, -EPERM);
    }
    if (tx_state(p->slot) != TX_NONE) {
        HF_LOG_STORE(&lock->next, load_relaxed(&lock->next) | LOCK_UNLOCK_LATER);
        return call_end(p, 0);
    }
    lock_free(p, lock, offset);
    return call_end(p, 0);
}

int lock_consistent(struct lock *lock, uint32_t mask)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    if (error != 0) {
        return error;
    }
    if (!lock_is_ours_as(p, lock, mask, 0)) {
        return call_end(p, -EPERM);
    }
    uint64_t next = load_relaxed(&lock->next);
    if ((load_relaxed(&lock->word) & LOCK_OWNER_DIED) == 0 || (next & LOCK_MENDED) != 0) {
        return call_end(p, -EINVAL);
    }
    if (tx_state(p->slot) != TX_NONE) { /* undone with it, if it is undone */
        HF_LOG_STORE(&lock->next, next | LOCK_MENDED);
    } else {
        (void)fetch_and_relaxed(&lock->word, ~LOCK_OWNER_DIED);
    }
    return call_end(p, 0);
}
