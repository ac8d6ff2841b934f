/* SPDX-License-Identifier: MIT */
/* hf_mutex: the lock core under its public name, and what a transaction changes about it. */
#include <errno.h>

#include "holdfast/mutex.h"
#include "segment/handle.h"
#include "segment/lock.h"

_Static_assert(sizeof(hf_mutex) == sizeof(struct lock), "a mutex is a lock");
_Static_assert(_Alignof(hf_mutex) == _Alignof(struct lock), "a mutex is a lock");

static struct lock *lock_of(hf_mutex *mutex)
{
    return (struct lock *)(void *)mutex;
}

/* Lies the lock where it says, in the participant's segment, and is it in use? */
static inline bool fits(const struct participant *p, const struct lock *lock, uint64_t offset)
{
    return offset - 1 < p->lock_limit && load_relaxed(&lock->kind) == LOCK_FRESH;
}

/* The way that needs no trust in the lock: by its address. A lock of all zero is told its place
 * here. */
static int find(struct lock *lock, struct participant **participant, uint64_t *offset)
{
    struct participant *p;
    int error = participant_at(lock, &p);
    if (error != 0) {
        return error;
    }
    uint64_t place = (uint64_t)((char *)lock - p->view->base);
    if (place == 0 || !view_holds(p->view, place, sizeof *lock) ||
        load_relaxed(&lock->kind) != LOCK_FRESH) {
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

/* Where the segment begins, if the lock is right about its place; it could be anywhere. */
static inline const char *base_of(const struct lock *lock, uint64_t offset)
{
    return (const char *)((uintptr_t)lock - (uintptr_t)offset);
}

/* enter_mutex, for whom this is not the segment that its thread used last. */
static __attribute__((noinline)) int
enter_mutex_slowly(struct lock *lock, struct participant **participant, uint64_t *offset)
{
    *offset = load_relaxed(&lock->self);
    *participant = participant_mine(base_of(lock, *offset));
    if (*participant == NULL || !fits(*participant, lock, *offset)) {
        int error = find(lock, participant, offset);
        if (error != 0) {
            return error;
        }
    }
    return call_begin(*participant);
}

/* Begins a call on the mutex. */
static int enter_mutex(hf_mutex *mutex, struct participant **participant, uint64_t *offset)
{
    struct lock *lock = lock_of(mutex);
    if (unlikely(mutex == NULL || (uintptr_t)mutex % _Alignof(hf_mutex) != 0)) {
        return -EINVAL;
    }
    uint64_t self = load_relaxed(&lock->self);
    struct participant *p = participant_recent(base_of(lock, self));
    if (unlikely(p == NULL || !fits(p, lock, self))) {
        return enter_mutex_slowly(lock, participant, offset);
    }
    *participant = p;
    *offset = self;
    return call_begin(p);
}

int hf_mutex_init(hf_mutex *mutex)
{
    struct participant *p;
    struct lock *lock = lock_of(mutex);
    if (mutex == NULL || (uintptr_t)mutex % _Alignof(hf_mutex) != 0) {
        return -EINVAL;
    }
    int error = participant_at(mutex, &p);
    if (error == 0) {
        error = call_begin(p);
    }
    if (error != 0) {
        return error;
    }
    uint64_t offset = (uint64_t)((char *)mutex - p->view->base);
    if (offset / SEGMENT_PAGE < p->view->first_page || !view_holds(p->view, offset, sizeof *lock)) {
        return call_end(p, -EINVAL);
    }
    /* No mutex, until its kind and its place are right. */
    HF_LOG_STORE(&lock->word, 0);
    store_relaxed(&lock->next, 0);
    store_relaxed(&lock->unused, 0);
    HF_LOG_STORE(&lock->self, offset);
    HF_LOG_STORE(&lock->kind, LOCK_FRESH);
    return call_end(p, 0);
}

int hf_mutex_fini(hf_mutex *mutex)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(mutex);
    int error = enter_mutex(mutex, &p, &offset);
    if (error != 0) {
        return error;
    }
    if ((load_relaxed(&lock->word) & LOCK_OWNER) != 0) {
        return call_end(p, -EBUSY);
    }
    HF_LOG_STORE(&lock->kind, LOCK_DESTROYED);
    return call_end(p, 0);
}

/*
 * The short way: this thread's participant, if its segment is the one that the thread used last,
 * the lock lies where it says, and no call is open. NULL: the long way finds out.
 */
static inline __attribute__((always_inline)) struct participant *at_once(struct lock *lock,
                                                                         uint64_t *offset)
{
    if (unlikely(lock == NULL || (uintptr_t)lock % _Alignof(struct lock) != 0)) {
        return NULL;
    }
    uint64_t self = load_relaxed(&lock->self);
    struct participant *p = participant_recent(base_of(lock, self));
    *offset = self;
    return likely(p != NULL && fits(p, lock, self) && !p->busy) ? p : NULL;
}

int hf_mutex_timedlock(hf_mutex *mutex, int64_t timeout_ns)
{
    struct participant *p;
    uint64_t offset;
    if (timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    int error = enter_mutex(mutex, &p, &offset);
    return error != 0 ? error : call_end(p, lock_take(p, lock_of(mutex), offset, timeout_ns));
}

static __attribute__((noinline)) int lock_contended(struct participant *p, struct lock *lock,
                                                    uint64_t offset)
{
    return call_end(p, lock_take_slowly(p, lock, offset, HF_FOREVER));
}

int hf_mutex_lock(hf_mutex *mutex)
{
    struct lock *lock = lock_of(mutex);
    uint64_t offset;
    struct participant *p = at_once(lock, &offset);
    if (unlikely(p == NULL)) {
        return hf_mutex_timedlock(mutex, HF_FOREVER);
    }
    uint32_t word = 0;
    p->busy = true;
    HF_LOG_STORE(&p->slot->intent, offset);
    if (unlikely(!cas_acquire(&lock->word, &word, p->number))) { /* partner: lock_free */
        return lock_contended(p, lock, offset);
    }
    crash_fence();
    lock_link(p->slot, lock, offset);
    return call_end(p, 0);
}

int hf_mutex_trylock(hf_mutex *mutex)
{
    return hf_mutex_timedlock(mutex, 0);
}

static bool is_ours(const struct participant *p, const struct lock *lock)
{
    return (load_relaxed(&lock->word) & LOCK_OWNER) == p->number &&
           (load_relaxed(&lock->next) & LOCK_UNLOCK_LATER) == 0;
}

static __attribute__((noinline)) int unlock_the_long_way(hf_mutex *mutex)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(mutex);
    int error = enter_mutex(mutex, &p, &offset);
    if (error != 0) {
        return error;
    }
    if (!is_ours(p, lock)) {
        return call_end(p, -EPERM);
    }
    if (tx_state(p->slot) != TX_NONE) {
        HF_LOG_STORE(&lock->next, load_relaxed(&lock->next) | LOCK_UNLOCK_LATER);
        return call_end(p, 0);
    }
    lock_free(p, lock, offset);
    return call_end(p, 0);
}

/* Somebody wants it; or it is damaged, and no longer ours. */
static __attribute__((noinline)) int wake_and_end(struct participant *p, struct lock *lock)
{
    bool ours = (load_relaxed(&lock->word) & LOCK_OWNER) == p->number;
    if (ours) {
        lock_clear_owner(lock, LOCK_UNLOCKED);
    }
    HF_LOG_STORE(&p->slot->intent, 0);
    return call_end(p, ours ? 0 : -EPERM);
}

/* What was locked last is unlocked first, most of the time: then the list of held locks says that
 * it is ours. */
int hf_mutex_unlock(hf_mutex *mutex)
{
    struct lock *lock = lock_of(mutex);
    uint64_t offset;
    struct participant *p = at_once(lock, &offset);
    if (unlikely(p == NULL || load_relaxed(&p->slot->held) != offset ||
                 tx_state(p->slot) != TX_NONE)) {
        return unlock_the_long_way(mutex);
    }
    uint32_t word = p->number;
    p->busy = true;
    HF_LOG_STORE(&p->slot->intent, offset | INTENT_FREEING);
    HF_LOG_STORE(&p->slot->held, load_relaxed(&lock->next) & LOCK_NEXT_OFFSET);
    if (unlikely(!cas_release(&lock->word, &word, 0))) { /* partner: lock_take */
        return wake_and_end(p, lock);
    }
    HF_LOG_STORE(&p->slot->intent, 0);
    return call_end(p, 0);
}

int hf_mutex_consistent(hf_mutex *mutex)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(mutex);
    int error = enter_mutex(mutex, &p, &offset);
    if (error != 0) {
        return error;
    }
    if (!is_ours(p, lock)) {
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
