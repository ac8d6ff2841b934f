/* SPDX-License-Identifier: MIT */
/*
 * hf_rwlock: the lock core's word for its one owner, a hold in each reader's own slot.
 *
 *     reader    (1) hold = lock, in its slot
 *               (2) fence, word: no owner, or an upgradable one that has not closed it: it is in
 *               (3) otherwise hold = 0, and a departure is told; it waits as the mutex's waiters do
 *     leaving   (4) hold = 0
 *               (5) fence, word: has it an owner, a departure is told
 *     writer    (6) intent, word = me, as in lock.h (an upgrader: intent, word |= CLOSED)
 *               (7) fence, looks through all slots' holds; sleeps on `departures` beside the life
 *                   of a reader that it finds, until there is none
 *               (8) in the list of held locks (an upgrader: word without UPGRADABLE and CLOSED)
 * Of (1)-(2) and (6)-(7) at least one sees the other. From (6) on no reader comes in: a slot that
 * was found without a hold has, later on, at most one that (3) takes back.
 *
 * Until (8) the writer's death leaves nothing: only the intent leads recovery to the word. A
 * reader's hold is ended by whoever recovers it, and that tells a departure.
 */
#include <errno.h>
#include <limits.h>

#include "holdfast/rwlock.h"
#include "os/os.h"
#include "segment/holds.h"
#include "sync/enter.h"

_Static_assert(sizeof(hf_rwlock) == sizeof(struct lock), "such a lock is a lock");
_Static_assert(_Alignof(hf_rwlock) == _Alignof(struct lock), "such a lock is a lock");

/* How an owner has the lock; the other one is LOCK_UPGRADABLE. */
#define EXCLUSIVE UINT32_C(0)

/* A reader may leave, and its slot change hands, while one looks: but not so often in a row. */
#define NOBODY_MAX 64u

/* Looks at a reader before sleeping: those who only read a little have left by then. */
#define SPINS 8u

static struct lock *lock_of(hf_rwlock *lock)
{
    return (struct lock *)(void *)lock;
}

static bool is_ours(const struct participant *p, const struct lock *lock, uint32_t mode)
{
    return lock_is_ours_as(p, lock, LOCK_UPGRADABLE, mode);
}

static bool is_open(uint32_t word)
{
    return (word & LOCK_OWNER) == 0 || (word & (LOCK_UPGRADABLE | LOCK_CLOSED)) == LOCK_UPGRADABLE;
}

static bool is_had(int result)
{
    return result == 0 || result == -EOWNERDEAD;
}

/* To whoever gets in by that word. */
static int told_by(uint32_t word)
{
    return (word & LOCK_OWNER_DIED) != 0 ? -EOWNERDEAD : 0;
}

static uint32_t own_hold(const struct participant *p, uint64_t offset)
{
    return hold_find(p->slot, offset, HOLD_READ);
}

/* ---- shared ------------------------------------------------------------------------------ */

/* Once more what is held already. */
static int hold_again(struct participant *p, uint32_t place)
{
    uint64_t hold = load_relaxed(&p->slot->holds[place]);
    uint64_t count = hold_count(hold);
    if (count == HOLD_COUNT_MAX) {
        return -EOVERFLOW;
    }
    HF_LOG_PUBLISH(&p->slot->holds[place], /* partner: hold_find */
                   hold_word(hold & HOLD_OFFSET, HOLD_READ, count + 1));
    return 0;
}

/* Steps (1) to (3). 1: closed to us, by the word `seen`. */
static inline int come_in(struct participant *p, struct lock *lock, uint64_t offset, uint32_t place,
                          uint32_t *seen)
{
    hold_set(p->slot, place, hold_word(offset, HOLD_READ, 1));
    fence_store_load();                        /* partner: drain */
    uint32_t word = load_acquire(&lock->word); /* partner: lock_clear_owner */
    if (likely(is_open(word) && (word & LOCK_GIVEN_UP) == 0)) {
        return told_by(word);
    }
    hold_clear(p->slot, place);
    lock_reader_left(lock);
    *seen = word;
    return (word & LOCK_GIVEN_UP) != 0 ? lock_is_over(lock) : 1;
}

/* The lock is ours, and exclusively. Unlocked in this transaction and kept to its end it can be
   read meanwhile. */
static int read_beside_oneself(struct participant *p, struct lock *lock, uint64_t offset,
                               uint32_t place)
{
    uint64_t next = load_relaxed(&lock->next);
    if ((next & LOCK_UNLOCK_LATER) == 0) {
        return -EDEADLK;
    }
    hold_set(p->slot, place, hold_word(offset, HOLD_READ, 1));
    return (next & LOCK_MENDED) != 0 ? 0 : told_by(load_relaxed(&lock->word));
}

/* Who has waited and got in has others follow: an unlock wakes two. */
static void wake_the_others(struct lock *lock)
{
    uint32_t word = load_relaxed(&lock->word);
    if ((word & LOCK_WAITERS) != 0 && is_open(word) && os_wake(&lock->word, INT_MAX) == 0 &&
        (word & LOCK_OWNER) == 0) {
        (void)cas_relaxed(&lock->word, &word, word & ~LOCK_WAITERS); /* as lock_clear_owner */
    }
}

/* It was closed to us by `word`. */
static int wait_to_read(struct participant *p, struct lock *lock, uint64_t offset, uint32_t place,
                        uint32_t word, int64_t timeout_ns)
{
    uint64_t start = timeout_ns > 0 ? os_now_ns() : 0;
    unsigned ownerless = 0;
    bool last = false;
    if (timeout_ns != 0 && lock_spin(p, lock)) {
        word = load_relaxed(&lock->word);
    }
    for (;;) {
        int result = is_open(word) ? come_in(p, lock, offset, place, &word) : 1;
        if (result != 1) {
            return result;
        }
        if ((word & LOCK_OWNER) == p->number) {
            return read_beside_oneself(p, lock, offset, place);
        }
        if (load_relaxed(&lock->kind) == LOCK_DESTROYED) {
            return -EINVAL; /* its owner died ending the lock */
        }
        if (last) {
            return timeout_ns == 0 ? -EBUSY : -ETIMEDOUT;
        }
        int64_t ns = timeout_ns == 0 ? 0 : lock_time_left(start, timeout_ns);
        bool owned = is_open(word) || lock_wait_once(p, lock, word, ns);
        ownerless = owned ? 0 : ownerless + 1;
        if (ownerless == NOBODY_MAX) {
            return -EBADMSG;
        }
        last = owned && ns == 0;
        word = load_relaxed(&lock->word);
    }
}

static __attribute__((noinline)) int read_slowly(struct participant *p, struct lock *lock,
                                                 uint64_t offset, uint32_t place, uint32_t word,
                                                 int64_t timeout_ns)
{
    /* No more than a hint: who recovers us wakes those who were to be woken by us. */
    store_relaxed(&p->slot->intent, offset);
    int result = wait_to_read(p, lock, offset, place, word, timeout_ns);
    if (is_had(result)) {
        wake_the_others(lock);
    }
    store_relaxed(&p->slot->intent, 0);
    return result;
}

static inline int read_lock(struct participant *p, struct lock *lock, uint64_t offset,
                            int64_t timeout_ns)
{
    uint32_t word = 0;
    uint32_t place = own_hold(p, offset);
    if (unlikely(place != HOLDS_MAX)) {
        int error = hold_again(p, place);
        return error != 0 ? error : told_by(load_relaxed(&lock->word));
    }
    place = hold_place(p->slot);
    if (unlikely(place == HOLDS_MAX)) {
        return -ENOLCK;
    }
    p->hold_open = place + 1;
    int result = come_in(p, lock, offset, place, &word);
    if (unlikely(result == 1)) {
        result = read_slowly(p, lock, offset, place, word, timeout_ns);
    }
    crash_fence();
    p->hold_open = 0;
    return result;
}

/* Steps (4) and (5). */
static inline int read_unlock(struct participant *p, struct lock *lock, uint64_t offset)
{
    uint32_t place = own_hold(p, offset);
    if (unlikely(place == HOLDS_MAX)) {
        return -EPERM;
    }
    uint64_t count = hold_count(load_relaxed(&p->slot->holds[place]));
    if (unlikely(count > 1)) {
        HF_LOG_PUBLISH(&p->slot->holds[place], /* partner: hold_find */
                       hold_word(offset, HOLD_READ, count - 1));
        return 0;
    }
    p->hold_open = place + 1;
    hold_clear(p->slot, place);
    lock_reader_left(lock);
    crash_fence();
    p->hold_open = 0;
    return 0;
}

/* ---- exclusive and upgradable ------------------------------------------------------------ */

/* The first slot of another from that one on, which holds the lock shared; 0: there is none. */
static uint32_t find_reader(struct participant *p, uint32_t from, uint64_t offset)
{
    uint32_t reader = holds_find(p->view, from, offset, HOLD_READ);
    return reader == p->number ? holds_find(p->view, reader + 1, offset, HOLD_READ) : reader;
}

/* False: it has left while we looked. */
static bool outlasts_a_spin(struct participant *p, uint32_t reader, uint64_t offset)
{
    const struct slot *slot = view_slot(p->view, reader);
    for (unsigned i = 0; i < SPINS; i++) {
        if (slot == NULL || hold_find(slot, offset, HOLD_READ) == HOLDS_MAX) {
            return false;
        }
        spin_pause();
    }
    return true;
}

/* Step (7), after a fence: 0 once nobody else holds it shared; -EBUSY (timeout 0), -ETIMEDOUT,
 * -EBADMSG. */
static int drain(struct participant *p, struct lock *lock, uint64_t offset, uint64_t start,
                 int64_t timeout_ns)
{
    uint32_t from = 1;
    unsigned nobody = 0;
    for (bool last = false;;) {
        uint32_t noted = load_acquire(&lock->departures); /* partner: lock_tell_left */
        uint32_t reader = find_reader(p, from, offset);
        if (likely(reader == 0)) {
            return 0;
        }
        if (last) {
            return timeout_ns == 0 ? -EBUSY : -ETIMEDOUT;
        }
        int64_t ns = timeout_ns == 0 ? 0 : lock_time_left(start, timeout_ns);
        if (ns > 0 && !outlasts_a_spin(p, reader, offset)) {
            continue;
        }
        presence there = lock_wait_beside(p, reader, &lock->departures, noted, ns);
        nobody = there == PRESENCE_NONE ? nobody + 1 : 0;
        if (nobody == NOBODY_MAX) {
            return -EBADMSG; /* a hold is cleared before its slot is free */
        }
        bool again = there == PRESENCE_DEAD && reader == from;
        last = ns == 0 && (there == PRESENCE_ALIVE || again);
        from = reader;
    }
}

/* The word is ours already: unlocked in this transaction, or held. */
static int have_again(struct lock *lock, uint32_t mode)
{
    bool same = (load_relaxed(&lock->word) & LOCK_UPGRADABLE) == mode;
    bool kept = (load_relaxed(&lock->next) & LOCK_UNLOCK_LATER) != 0;
    return same ? lock_take_back(lock) : kept ? -EBUSY : -EDEADLK;
}

/* Step (6), of a word that is not plainly free. The intent is set; it stays if the lock is had. */
static __attribute__((noinline)) int take_slowly(struct participant *p, struct lock *lock,
                                                 uint32_t mode, int64_t timeout_ns, bool transfer)
{
    int result = lock_wait_as(p, lock, mode, timeout_ns);
    if (!is_had(result)) {
        HF_LOG_STORE(&p->slot->intent, 0);
        return result == -EDEADLK && !transfer ? have_again(lock, mode) : result;
    }
    if (mode == LOCK_UPGRADABLE) {
        wake_the_others(lock); /* readers may come in */
    }
    return result;
}

/* The word is ours, with nothing but the intent that says so. */
static int give_it_up_again(struct participant *p, struct lock *lock, uint64_t offset, int error)
{
    lock_free_as(p, lock, offset, LOCK_AS_IT_IS);
    return error;
}

/*
 * Steps (6) to (8). `own`: the place of this thread's hold, which becomes the new one; HOLDS_MAX:
 * it has none.
 */
static inline int take(struct participant *p, struct lock *lock, uint64_t offset, uint32_t mode,
                       int64_t timeout_ns, uint32_t own)
{
    uint64_t start = timeout_ns > 0 ? os_now_ns() : 0;
    uint32_t word = 0;
    int result = 0;
    int error = 0;
    HF_LOG_STORE(&p->slot->intent, offset);
    if (unlikely(!cas_acquire(&lock->word, &word, p->number | mode))) { /* partner: lock_free */
        uint32_t before = word;
        result = take_slowly(p, lock, mode, timeout_ns, own != HOLDS_MAX);
        if (!is_had(result) || (before & LOCK_OWNER) == p->number) {
            return result;
        }
    }
    crash_fence();
    if (mode == EXCLUSIVE) {
        fence_after_rmw(); /* partner: come_in, lock_reader_left */
        error = drain(p, lock, offset, start, timeout_ns);
    }
    if (unlikely(error != 0)) {
        return give_it_up_again(p, lock, offset, error);
    }
    if (own != HOLDS_MAX) {
        hold_clear(p->slot, own);
    }
    lock_link(p->slot, lock, offset);
    return result;
}

static inline int own_lock(struct participant *p, struct lock *lock, uint64_t offset, uint32_t mode,
                           int64_t timeout_ns)
{
    if (unlikely(own_hold(p, offset) != HOLDS_MAX)) {
        return -EDEADLK;
    }
    if (timeout_ns == 0 && mode == EXCLUSIVE) { /* spares the readers a closed word, mostly */
        int error = drain(p, lock, offset, 0, 0);
        if (error != 0) {
            return error;
        }
    }
    return take(p, lock, offset, mode, timeout_ns, HOLDS_MAX);
}

static inline int own_unlock(struct lock *lock, uint32_t mode)
{
    uint64_t offset;
    struct participant *p = at_once(lock, LOCK_FRESH, &offset);
    if (likely(p != NULL)) {
        (void)call_begin(p); /* first: as hf_mutex_unlock */
        if (likely(is_ours(p, lock, mode) && tx_state(p->slot) == TX_NONE)) {
            lock_free(p, lock, offset);
            return call_end(p, 0);
        }
        (void)call_end(p, 0);
    }
    return lock_unlock_slowly(lock, LOCK_UPGRADABLE, mode);
}

/* ---- transfers --------------------------------------------------------------------------- */

static int upgrade(struct participant *p, struct lock *lock, uint64_t offset, int64_t timeout_ns)
{
    uint64_t start = timeout_ns > 0 ? os_now_ns() : 0;
    if (!is_ours(p, lock, LOCK_UPGRADABLE)) {
        return -EPERM;
    }
    if (own_hold(p, offset) != HOLDS_MAX) {
        return -EDEADLK;
    }
    int error = timeout_ns == 0 ? drain(p, lock, offset, 0, 0) : 0;
    if (error != 0) {
        return error;
    }
    /* For who jumps out: the lock is opened again. It stays, as it does where a lock was taken. */
    HF_LOG_STORE(&p->slot->intent, offset);
    (void)fetch_or_relaxed(&lock->word, LOCK_CLOSED);
    fence_after_rmw(); /* partner: come_in, lock_reader_left */
    error = drain(p, lock, offset, start, timeout_ns);
    if (error != 0) {
        lock_reopen(lock);
    } else {
        uint32_t word = fetch_and_relaxed(&lock->word, ~(LOCK_UPGRADABLE | LOCK_CLOSED));
        error = told_by(word);
    }
    return error;
}

/* Whoever waits to read may come in. */
static int to_upgradable(struct participant *p, struct lock *lock)
{
    if (!is_ours(p, lock, EXCLUSIVE)) {
        return -EPERM;
    }
    if (tx_state(p->slot) != TX_NONE) {
        return -EBUSY;
    }
    uint32_t word = fetch_or_release(&lock->word, LOCK_UPGRADABLE); /* partner: come_in */
    if ((word & LOCK_WAITERS) != 0) {
        (void)os_wake(&lock->word, INT_MAX);
    }
    return 0;
}

/* The hold comes first, and the word is freed as it is: what is not mended is not given up. */
static int to_shared(struct participant *p, struct lock *lock, uint64_t offset)
{
    if (!is_ours(p, lock, EXCLUSIVE) && !is_ours(p, lock, LOCK_UPGRADABLE)) {
        return -EPERM;
    }
    if (tx_state(p->slot) != TX_NONE) {
        return -EBUSY;
    }
    uint32_t place = own_hold(p, offset);
    int error = 0;
    if (place != HOLDS_MAX) {
        error = hold_again(p, place);
    } else if ((place = hold_place(p->slot)) != HOLDS_MAX) {
        p->hold_open = place + 1;
        hold_set(p->slot, place, hold_word(offset, HOLD_READ, 1));
    } else {
        error = -ENOLCK;
    }
    if (error == 0) {
        lock_free_as(p, lock, offset, LOCK_AS_IT_IS);
    }
    p->hold_open = 0;
    return error;
}

static int from_shared(struct participant *p, struct lock *lock, uint64_t offset, uint32_t mode,
                       int64_t timeout_ns)
{
    uint32_t place = own_hold(p, offset);
    if (place == HOLDS_MAX) {
        return -EPERM;
    }
    if (hold_count(load_relaxed(&p->slot->holds[place])) > 1) {
        return -EBUSY;
    }
    return take(p, lock, offset, mode, timeout_ns, place);
}

/* As who writes, without waiting, and it is in no list. */
static int end(struct participant *p, struct lock *lock, uint64_t offset)
{
    int error = own_hold(p, offset) != HOLDS_MAX ? -EBUSY : drain(p, lock, offset, 0, 0);
    error = error != 0 ? error : lock_begin_end(p, lock, offset);
    if (error != 0) {
        return error;
    }
    fence_after_rmw(); /* partner: come_in, lock_reader_left */
    error = drain(p, lock, offset, 0, 0);
    if (error != 0) {
        return give_it_up_again(p, lock, offset, error);
    }
    lock_end(p, lock);
    return 0;
}

/* ---- the calls --------------------------------------------------------------------------- */

int hf_rwlock_init(hf_rwlock *lock)
{
    return lock_init(lock_of(lock));
}

int hf_rwlock_fini(hf_rwlock *rwlock)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(rwlock);
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    if (error != 0) {
        return error;
    }
    return call_end(p, end(p, lock, offset));
}

int hf_rwlock_timedrdlock(hf_rwlock *rwlock, int64_t timeout_ns)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(rwlock);
    if (timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    return error != 0 ? error : call_end(p, read_lock(p, lock, offset, timeout_ns));
}

int hf_rwlock_rdlock(hf_rwlock *rwlock)
{
    uint64_t offset;
    struct lock *lock = lock_of(rwlock);
    struct participant *p = at_once(lock, LOCK_FRESH, &offset);
    if (unlikely(p == NULL)) {
        return hf_rwlock_timedrdlock(rwlock, HF_FOREVER);
    }
    p->busy = true;
    return call_end(p, read_lock(p, lock, offset, HF_FOREVER));
}

int hf_rwlock_tryrdlock(hf_rwlock *rwlock)
{
    return hf_rwlock_timedrdlock(rwlock, 0);
}

static __attribute__((noinline)) int read_unlock_the_long_way(struct lock *lock)
{
    struct participant *p;
    uint64_t offset;
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    return error != 0 ? error : call_end(p, read_unlock(p, lock, offset));
}

int hf_rwlock_rdunlock(hf_rwlock *rwlock)
{
    uint64_t offset;
    struct lock *lock = lock_of(rwlock);
    struct participant *p = at_once(lock, LOCK_FRESH, &offset);
    if (unlikely(p == NULL)) {
        return read_unlock_the_long_way(lock);
    }
    p->busy = true;
    return call_end(p, read_unlock(p, lock, offset));
}

int hf_rwlock_held_shared(hf_rwlock *rwlock, uint32_t *times)
{
    struct participant *p;
    uint64_t offset;
    int error = times == NULL ? -EINVAL : enter_lock(lock_of(rwlock), LOCK_FRESH, &p, &offset);
    if (error != 0) {
        return error;
    }
    uint32_t place = own_hold(p, offset);
    *times = place == HOLDS_MAX ? 0 : (uint32_t)hold_count(load_relaxed(&p->slot->holds[place]));
    return call_end(p, 0);
}

static int timed_own_lock(hf_rwlock *rwlock, uint32_t mode, int64_t timeout_ns)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(rwlock);
    if (timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    return error != 0 ? error : call_end(p, own_lock(p, lock, offset, mode, timeout_ns));
}

int hf_rwlock_timedwrlock(hf_rwlock *lock, int64_t timeout_ns)
{
    return timed_own_lock(lock, EXCLUSIVE, timeout_ns);
}

int hf_rwlock_wrlock(hf_rwlock *rwlock)
{
    uint64_t offset;
    struct lock *lock = lock_of(rwlock);
    struct participant *p = at_once(lock, LOCK_FRESH, &offset);
    if (unlikely(p == NULL)) {
        return hf_rwlock_timedwrlock(rwlock, HF_FOREVER);
    }
    p->busy = true;
    return call_end(p, own_lock(p, lock, offset, EXCLUSIVE, HF_FOREVER));
}

int hf_rwlock_trywrlock(hf_rwlock *lock)
{
    return timed_own_lock(lock, EXCLUSIVE, 0);
}

int hf_rwlock_wrunlock(hf_rwlock *lock)
{
    return own_unlock(lock_of(lock), EXCLUSIVE);
}

int hf_rwlock_timeduplock(hf_rwlock *lock, int64_t timeout_ns)
{
    return timed_own_lock(lock, LOCK_UPGRADABLE, timeout_ns);
}

int hf_rwlock_uplock(hf_rwlock *lock)
{
    return timed_own_lock(lock, LOCK_UPGRADABLE, HF_FOREVER);
}

int hf_rwlock_tryuplock(hf_rwlock *lock)
{
    return timed_own_lock(lock, LOCK_UPGRADABLE, 0);
}

int hf_rwlock_upunlock(hf_rwlock *lock)
{
    return own_unlock(lock_of(lock), LOCK_UPGRADABLE);
}

int hf_rwlock_consistent(hf_rwlock *lock)
{
    return lock_consistent(lock_of(lock), LOCK_UPGRADABLE);
}

int hf_rwlock_timedupgrade(hf_rwlock *rwlock, int64_t timeout_ns)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(rwlock);
    if (timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    return error != 0 ? error : call_end(p, upgrade(p, lock, offset, timeout_ns));
}

int hf_rwlock_upgrade(hf_rwlock *lock)
{
    return hf_rwlock_timedupgrade(lock, HF_FOREVER);
}

int hf_rwlock_tryupgrade(hf_rwlock *lock)
{
    return hf_rwlock_timedupgrade(lock, 0);
}

int hf_rwlock_downgrade_to_upgradable(hf_rwlock *rwlock)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(rwlock);
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    return error != 0 ? error : call_end(p, to_upgradable(p, lock));
}

int hf_rwlock_downgrade_to_shared(hf_rwlock *rwlock)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(rwlock);
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    return error != 0 ? error : call_end(p, to_shared(p, lock, offset));
}

static int timed_from_shared(hf_rwlock *rwlock, uint32_t mode, int64_t timeout_ns)
{
    struct participant *p;
    uint64_t offset;
    struct lock *lock = lock_of(rwlock);
    if (timeout_ns < 0) {
        return -EINVAL;
    }
    int error = enter_lock(lock, LOCK_FRESH, &p, &offset);
    return error != 0 ? error : call_end(p, from_shared(p, lock, offset, mode, timeout_ns));
}

int hf_rwlock_try_shared_to_upgradable(hf_rwlock *lock)
{
    return timed_from_shared(lock, LOCK_UPGRADABLE, 0);
}

int hf_rwlock_timed_shared_to_upgradable(hf_rwlock *lock, int64_t timeout_ns)
{
    return timed_from_shared(lock, LOCK_UPGRADABLE, timeout_ns);
}

int hf_rwlock_try_shared_to_exclusive(hf_rwlock *lock)
{
    return timed_from_shared(lock, EXCLUSIVE, 0);
}

int hf_rwlock_timed_shared_to_exclusive(hf_rwlock *lock, int64_t timeout_ns)
{
    return timed_from_shared(lock, EXCLUSIVE, timeout_ns);
}
