/* SPDX-License-Identifier: MIT */
/* The long way to a lock, its beginning and its end. */
#include "sync/enter.h"

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

int lock_fini(struct lock *lock)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    if (error != 0) {
        return error;
    }
    if ((load_relaxed(&lock->word) & LOCK_OWNER) != 0) {
        return call_end(p, -EBUSY);
    }
    HF_LOG_STORE(&lock->kind, LOCK_DESTROYED);
    return call_end(p, 0);
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
