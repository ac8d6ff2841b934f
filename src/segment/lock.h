/* SPDX-License-Identifier: MIT */
/*
 * The lock core: what every lock of a segment is made of (lock_layout.h). The uncontended paths are
 * here, inline; waiting, waking and dead owners are in lock.c.
 *
 *     taking    (1) intent = lock
 *               (2) word = me, by compare-and-swap
 *               (3) lock.next = held
 *               (4) held = lock
 *     freeing   (5) intent = lock, freeing
 *               (6) held = lock.next, or the list without it
 *               (7) word without me
 *               (8) wake two: one to take it, and one to sleep beside who does
 *               (9) intent = 0
 * A lock is ours exactly while its word says so. Between (2) and (4) only the intent leads recovery
 * to it; from (4) to (6) the list of held locks does, and what stands in the intent says nothing
 * new. After (7) its `next` may be the next owner's.
 *
 * Lock order: a participant's own call takes names_lock, then pages_lock, both after any lock of
 * the user's, and lets go of them before it returns.
 */
#ifndef HF_SEGMENT_LOCK_H
#define HF_SEGMENT_LOCK_H

#include <errno.h>

#include "segment/participant.h"

#define lock_take_slowly hf_lock_take_slowly
#define lock_take_own    hf_lock_take_own
#define lock_free_as     hf_lock_free_as
#define lock_unlink      hf_lock_unlink
#define lock_wait_as     hf_lock_wait_as
#define lock_wait_once   hf_lock_wait_once
#define lock_time_left   hf_lock_time_left
#define lock_may_spin    hf_lock_may_spin
#define lock_spin        hf_lock_spin
#define lock_take_back   hf_lock_take_back
#define lock_wait_beside hf_lock_wait_beside
#define lock_tell_left   hf_lock_tell_left
#define lock_reopen      hf_lock_reopen
#define lock_is_over     hf_lock_is_over
#define lock_is_at       hf_lock_is_at
#define lock_is_held     hf_lock_is_held
#define lock_clear_owner hf_lock_clear_owner

/* A hostile list may be endless; nobody holds more locks than there is room for. */
static inline uint64_t locks_at_most(const struct view *view)
{
    return load_relaxed(&view->known) / sizeof(struct lock);
}

/* Everything but the free lock that nobody wants. The first is called with the intent set. */
int lock_take_slowly(struct participant *p, struct lock *lock, uint64_t offset, int64_t timeout_ns);
void lock_free_as(struct participant *p, struct lock *lock, uint64_t offset, lock_verdict verdict);

/*
 * Waits until the lock's word is ours: 0 or -EOWNERDEAD. The intent is set, and stays; the lock is
 * not in the list of held ones yet. Any other result is the call's end. `as`: what else stands in
 * the word from the first instant on (LOCK_UPGRADABLE).
 */
int lock_wait_as(struct participant *p, struct lock *lock, uint32_t as, int64_t timeout_ns);

static inline int lock_wait(struct participant *p, struct lock *lock, int64_t timeout_ns)
{
    return lock_wait_as(p, lock, 0, timeout_ns);
}

/* A lock that is ours: one that this transaction has unlocked and keeps to its end can be had
   again. 0, -EOWNERDEAD, -EDEADLK. */
int lock_take_back(struct lock *lock);

/* Spins a little while the lock has an owner; true: it has none now. */
bool lock_spin(struct participant *p, struct lock *lock);

/* Is there more than one processor to run on? */
bool lock_may_spin(void);

/* Sleeps at most ns beside the owner seen in the word, and recovers it if it is dead. False: there
   is no such owner, and the word is as it was. */
bool lock_wait_once(struct participant *p, struct lock *lock, uint32_t word, int64_t ns);

/* Sleeps at most ns, and no more than a slice, beside the life of that participant, while the word
   is `expected`; recovers the participant if it is dead. PRESENCE_NONE: there is nobody. */
presence lock_wait_beside(struct participant *p, uint32_t number, shared_u32 *word,
                          uint32_t expected, int64_t ns);

/* Of a timeout that began at `start`, as os_now_ns counts: what is left of it, and no more than a
   slice of sleep. */
int64_t lock_time_left(uint64_t start, int64_t timeout_ns);

/* A reader of the lock has left, its hold is cleared: an owner that waits for that looks again. */
void lock_tell_left(struct lock *lock);
static inline void lock_reader_left(struct lock *lock)
{
    fence_store_load(); /* partner: an owner that has closed the lock and looks for readers */
    if ((load_relaxed(&lock->word) & LOCK_OWNER) != 0) {
        lock_tell_left(lock);
    }
}

/* Takes the lock out of the slot's list of held ones, if it is there. Of a lock that the slot owns.
 */
void lock_unlink(struct view *view, struct slot *slot, struct lock *lock, uint64_t offset);

/* The verdict on a lock, by its `next`, that was unlocked inside a transaction that has ended. */
static inline lock_verdict lock_verdict_at_end(uint64_t next, bool committed)
{
    if ((next & LOCK_MENDED) == 0) {
        return LOCK_UNLOCKED;
    }
    return committed ? LOCK_GOOD : LOCK_AS_IT_IS; /* what mended the data has been undone */
}

/* Is that a lock, and no memory that was one and is used for something else? */
bool lock_is_at(const struct lock *lock, uint64_t offset);

/* Why nobody gets it, whose word is given up: -ENOTRECOVERABLE; -EINVAL: fini has ended it. */
int lock_is_over(const struct lock *lock);

/* Is the lock in the slot's list? */
bool lock_is_held(struct view *view, const struct slot *slot, uint64_t offset);

/* An upgrade comes to nothing: its owner has the lock upgradably again, and readers come in. */
void lock_reopen(struct lock *lock);

/* Steps (7) and (8). */
void lock_clear_owner(struct lock *lock, lock_verdict verdict);

/* Steps (3) and (4). */
static inline void lock_link(struct slot *slot, struct lock *lock, uint64_t offset)
{
    HF_LOG_STORE(&lock->next, load_relaxed(&slot->held));
    HF_LOG_STORE(&slot->held, offset);
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

/* The same of the library's own locks, whose words are damaged if they speak of a dead owner:
   recovery never has them do so. 0, -EBUSY, -ETIMEDOUT, -EDEADLK, -EBADMSG. */
int lock_take_own(struct participant *p, struct lock *lock, uint64_t offset, int64_t timeout_ns);

/* Frees the lock, which is ours. */
static inline void lock_free(struct participant *p, struct lock *lock, uint64_t offset)
{
    struct slot *slot = p->slot;
    uint32_t word = p->number;
    HF_LOG_STORE(&slot->intent, offset | INTENT_FREEING);
    if (unlikely(load_relaxed(&slot->held) != offset)) {
        lock_free_as(p, lock, offset, LOCK_UNLOCKED);
        return;
    }
    HF_LOG_STORE(&slot->held, load_relaxed(&lock->next) & LOCK_NEXT_OFFSET);
    if (unlikely(!cas_release(&lock->word, &word, 0))) { /* partner: lock_take */
        lock_clear_owner(lock, LOCK_UNLOCKED);
    }
    HF_LOG_STORE(&slot->intent, 0);
}

#endif
