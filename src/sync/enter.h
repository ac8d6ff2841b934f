/* SPDX-License-Identifier: MIT */
/*
 * From the address of a lock, or of anything that begins as one (word, kind, self), to this
 * thread's participant in its segment, and its offset there.
 *
 * The short way trusts `self` after it has seen that it leads to the segment that the thread used
 * last; the long way goes by the address alone, and tells one that was never used its place.
 */
#ifndef HF_SYNC_ENTER_H
#define HF_SYNC_ENTER_H

#include <errno.h>

#include "segment/handle.h"
#include "segment/lock.h"

#define enter_lock_slowly  hf_enter_lock_slowly
#define enter_new_lock     hf_enter_new_lock
#define lock_init          hf_lock_init
#define lock_fini          hf_lock_fini
#define lock_begin_end     hf_lock_begin_end
#define lock_end           hf_lock_end
#define lock_unlock_slowly hf_lock_unlock_slowly
#define lock_consistent    hf_lock_consistent
#define lock_wake_and_end  hf_lock_wake_and_end

static inline bool is_misplaced(const void *lock)
{
    return lock == NULL || (uintptr_t)lock % _Alignof(struct lock) != 0;
}

/* Lies the lock where it says, in the participant's segment, and is it in use? */
static inline bool lock_fits(const struct participant *p, const struct lock *lock, uint64_t offset,
                             uint32_t kind)
{
    return offset - 1 < p->lock_limit && load_relaxed(&lock->kind) == kind;
}

/* Where the segment begins, if the lock is right about its place; it could be anywhere. */
static inline const char *base_of(const struct lock *lock, uint64_t offset)
{
    return (const char *)((uintptr_t)lock - (uintptr_t)offset);
}

/* enter_lock, for whom this is not the segment that its thread used last. */
int enter_lock_slowly(struct lock *lock, uint32_t kind, struct participant **participant,
                      uint64_t *offset);

/* Begins a call on the lock: end it with call_end. -EINVAL: it is none of that kind, or lies in no
   segment that is open here; otherwise as participant_of and call_begin. */
static inline int enter_lock(struct lock *lock, uint32_t kind, struct participant **participant,
                             uint64_t *offset)
{
    if (unlikely(is_misplaced(lock))) {
        return -EINVAL;
    }
    uint64_t self = load_relaxed(&lock->self);
    struct participant *p = participant_recent(base_of(lock, self));
    if (unlikely(p == NULL || !lock_fits(p, lock, self, kind))) {
        return enter_lock_slowly(lock, kind, participant, offset);
    }
    *participant = p;
    *offset = self;
    return call_begin(p);
}

/*
 * The shortest way: this thread's participant, if its segment is the one that the thread used last,
 * the lock lies where it says, and no call is open. NULL: enter_lock finds out.
 */
static inline __attribute__((always_inline)) struct participant *
at_once(struct lock *lock, uint32_t kind, uint64_t *offset)
{
    if (unlikely(is_misplaced(lock))) {
        return NULL;
    }
    uint64_t self = load_relaxed(&lock->self);
    struct participant *p = participant_recent(base_of(lock, self));
    *offset = self;
    return likely(p != NULL && lock_fits(p, lock, self, kind) && !p->busy) ? p : NULL;
}

/* Begins a call on memory that is to become a lock: `offset` is where it lies. Its kind and its
   self are to be stored last. If it is one that a dead one holds, that one is recovered. */
int enter_new_lock(struct lock *lock, struct participant **participant, uint64_t *offset);

/* hf_mutex_init and hf_mutex_fini, of each kind of lock. */
int lock_init(struct lock *lock);
int lock_fini(struct lock *lock);

/*
 * The two halves of lock_fini. After the first, nobody else gets the lock: it is ours, or its data
 * was given up before; only the intent says so. -EBUSY: somebody has it. A dead owner is recovered.
 *
 * The second leaves the word given up. So who has seen the lock before its end, and tries the word
 * after it, does not get it, by the short way either: it looks again, and sees the kind.
 */
int lock_begin_end(struct participant *p, struct lock *lock, uint64_t offset);
void lock_end(struct participant *p, struct lock *lock);

/* hf_mutex_consistent, of each kind of exclusive lock; `mask` as for lock_is_ours_as. */
int lock_consistent(struct lock *lock, uint32_t mask);

/* hf_mutex_unlock, of one that this thread has in that way; the long way. */
int lock_unlock_slowly(struct lock *lock, uint32_t mask, uint32_t mode);

/* The end of lock_free_at_once if somebody wants the lock; or if it is damaged, and no longer ours.
 */
int lock_wake_and_end(struct participant *p, struct lock *lock);

/* The rest of a call: frees the lock, which is the first in the list of held ones. */
static inline __attribute__((always_inline)) int
lock_free_at_once(struct participant *p, struct lock *lock, uint64_t offset)
{
    uint32_t word = p->number;
    HF_LOG_STORE(&p->slot->intent, offset | INTENT_FREEING);
    HF_LOG_STORE(&p->slot->held, load_relaxed(&lock->next) & LOCK_NEXT_OFFSET);
    if (unlikely(!cas_release(&lock->word, &word, 0))) { /* partner: lock_take */
        return lock_wake_and_end(p, lock);
    }
    HF_LOG_STORE(&p->slot->intent, 0);
    return call_end(p, 0);
}

/*
 * Has this thread it, as far as its user knows, and of the flags in `mask` just those in `mode`? A
 * mutex has no such flags, so in a damaged one none are asked for.
 */
static inline bool lock_is_ours_as(const struct participant *p, const struct lock *lock,
                                   uint32_t mask, uint32_t mode)
{
    return (load_relaxed(&lock->word) & (LOCK_OWNER | mask)) == (p->number | mode) &&
           (load_relaxed(&lock->next) & LOCK_UNLOCK_LATER) == 0;
}

static inline bool lock_is_ours(const struct participant *p, const struct lock *lock)
{
    return lock_is_ours_as(p, lock, 0, 0);
}

#endif
