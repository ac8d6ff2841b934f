/* SPDX-License-Identifier: MIT */
/*
 * The lock core: what every lock of a segment is made of (lock_layout.h). The uncontended paths are
 * here, inline; waiting, waking and dead owners are in lock.c.
 *
 * Crash order of taking:  (1) intent = lock   (2) word = me, by compare-and-swap
 *                         (3) lock.next = held  (4) held = lock   (5) intent = 0
 * Crash order of freeing: (6) intent = lock, freeing   (7) held = lock.next (or the list without
 * it) (8) word without me   (9) wake one   (10) intent = 0 A lock is ours exactly while its word
 * says so. Between (2) and (4) only the intent leads recovery to it; from (4) to (7) the list of
 * held locks does. After (8) its `next` may be the next owner's.
 *
 * Lock order: a participant's own call takes pages_lock last, and lets go of it before it returns.
 */
#ifndef HF_SEGMENT_LOCK_H
#define HF_SEGMENT_LOCK_H

#include <errno.h>

#include "segment/participant.h"

#define lock_take_slowly hf_lock_take_slowly
#define lock_free_slowly hf_lock_free_slowly
#define lock_free_later  hf_lock_free_later
#define lock_unlink      hf_lock_unlink
#define lock_is_held     hf_lock_is_held
#define lock_clear_owner hf_lock_clear_owner

/* Everything but the free lock that nobody wants. Called with the intent set; clears it. */
int lock_take_slowly(struct participant *p, struct lock *lock, uint64_t offset, int64_t timeout_ns);
int lock_free_slowly(struct participant *p, struct lock *lock, uint64_t offset);

/* Takes the lock out of the slot's list of held ones, if it is there. Of a lock that the slot owns.
 */
void lock_unlink(struct view *view, struct slot *slot, struct lock *lock, uint64_t offset);

/* Is the lock in the slot's list? */
bool lock_is_held(struct view *view, const struct slot *slot, uint64_t offset);

/* Steps (8) and (9). `died`: the next owner is told so; otherwise the word keeps what it says of
   the data, and data left inconsistent by an owner that unlocks is given up. */
void lock_clear_owner(struct lock *lock, bool died, bool by_owner);

/* Steps (3) to (5). */
static inline void lock_link(struct slot *slot, struct lock *lock, uint64_t offset)
{
    HF_LOG_STORE(&lock->next, load_relaxed(&slot->held));
    HF_LOG_STORE(&slot->held, offset);
    HF_LOG_STORE(&slot->intent, 0);
}

/*
 * Takes the lock; waits up to timeout_ns. 0; -EOWNERDEAD: taken as well; -EBUSY (timeout 0);
 * -ETIMEDOUT; -EDEADLK: it is ours; -ENOTRECOVERABLE; -EBADMSG.
 */
static inline int lock_take(struct participant *p, struct lock *lock, uint64_t offset,
                            int64_t timeout_ns)
{
    struct slot *slot = p->slot;
    uint32_t word = 0;
    HF_LOG_STORE(&slot->intent, offset);
    if (unlikely(!cas_acquire(&lock->word, &word, p->number))) { /* partner: lock_free */
        return lock_take_slowly(p, lock, offset, timeout_ns);
    }
    crash_fence();
    lock_link(slot, lock, offset);
    return 0;
}

/* Frees the lock, which is ours. */
static inline int lock_free(struct participant *p, struct lock *lock, uint64_t offset)
{
    struct slot *slot = p->slot;
    uint32_t word = p->number;
    HF_LOG_STORE(&slot->intent, offset | INTENT_FREEING);
    if (unlikely(load_relaxed(&slot->held) != offset)) {
        return lock_free_slowly(p, lock, offset);
    }
    HF_LOG_STORE(&slot->held, load_relaxed(&lock->next) & LOCK_NEXT_OFFSET);
    if (unlikely(!cas_release(&lock->word, &word, 0))) { /* partner: lock_take */
        return lock_free_slowly(p, lock, offset);
    }
    HF_LOG_STORE(&slot->intent, 0);
    return 0;
}

#endif
