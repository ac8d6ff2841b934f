/* SPDX-License-Identifier: MIT */
/*
 * The lock core's slow side: contention, sleep, and owners that die.
 *
 * A sleeper sleeps on two words at once: the lock's word, and the life word of its owner, which the
 * kernel changes when that one dies. The sides of the wait, numbered:
 *     sleeper   (1) word |= WAITERS    (2) life |= OS_LIFE_WAITERS    (3) sleeps if both are still
 * so unlocker  (4) word without owner, WAITERS kept   (5) wakes one, if WAITERS kernel    (6) life
 * = OS_LIFE_DIED   (7) wakes one, if OS_LIFE_WAITERS The kernel compares both words under its own
 * lock at (3), so no change slips in between.
 *
 * Of those asleep on a dead owner's life the kernel wakes one only: recovery wakes the others first
 * of all. Where the kernel cannot wait on two words, and for what it fails to tell, every sleep is
 * a slice.
 */
#include <limits.h>

#include "os/os.h"
#include "segment/lock.h"
#include "segment/recovery.h"

/* The longest sleep. After a whole one the system is asked whether the owner lives. */
#define SLICE_NS (INT64_C(50) * 1000 * 1000)

/* Spins, about 10-40 ns each. The limit doubles when spinning helped, halves when it did not. */
#define SPIN_MIN 16u
#define SPIN_MAX 2048u

/* After so many spins that ended with someone else being faster, sleep. */
#define SPIN_ROUNDS 8u

/* An owner may leave, and another come, while one looks: but not so often in a row. */
#define OWNERLESS_MAX 64u

/* A hostile list may be endless; nobody holds as many locks as this. */
#define HELD_MAX 1000000u

/* ---- the list of held locks -------------------------------------------------------------- */

bool lock_is_held(struct view *view, const struct slot *slot, uint64_t offset)
{
    uint64_t at = load_relaxed(&slot->held);
    for (unsigned i = 0; i < HELD_MAX && at != 0 && at != offset; i++) {
        struct lock *held = view_lock_at(view, at);
        at = held == NULL ? 0 : load_relaxed(&held->next) & LOCK_NEXT_OFFSET;
    }
    return at == offset;
}

void lock_unlink(struct view *view, struct slot *slot, struct lock *lock, uint64_t offset)
{
    uint64_t rest = load_relaxed(&lock->next) & LOCK_NEXT_OFFSET;
    uint64_t at = load_relaxed(&slot->held);
    if (at == offset) {
        HF_LOG_STORE(&slot->held, rest);
        return;
    }
    for (unsigned i = 0; i < HELD_MAX && at != 0; i++) {
        struct lock *held = view_lock_at(view, at);
        if (held == NULL) {
            return;
        }
        uint64_t next = load_relaxed(&held->next);
        if ((next & LOCK_NEXT_OFFSET) == offset) {
            HF_LOG_STORE(&held->next, rest | (next & ~LOCK_NEXT_OFFSET));
            return;
        }
        at = next & LOCK_NEXT_OFFSET;
    }
}

/* ---- freeing ----------------------------------------------------------------------------- */

void lock_clear_owner(struct lock *lock, bool died, bool by_owner)
{
    uint32_t word = load_relaxed(&lock->word);
    uint32_t freed;
    do {
        freed = word & (LOCK_WAITERS | LOCK_OWNER_DIED | LOCK_GIVEN_UP);
        if (died) {
            freed |= LOCK_OWNER_DIED;
        } else if (by_owner && (word & LOCK_OWNER_DIED) != 0) {
            freed |= LOCK_GIVEN_UP;
        }
    } while (!cas_release(&lock->word, &word, freed)); /* partner: lock_take */
    if ((freed & LOCK_WAITERS) == 0) {
        return;
    }
    if (died || (freed & LOCK_GIVEN_UP) != 0) {
        (void)os_wake(&lock->word, INT_MAX);
    } else if (os_wake(&lock->word, 1) == 0) {
        /* Nobody was asleep. Who falls asleep from now on has seen an owner: the word has changed.
         */
        (void)cas_relaxed(&lock->word, &freed, freed & ~LOCK_WAITERS);
    }
}

int lock_free_slowly(struct participant *p, struct lock *lock, uint64_t offset)
{
    lock_unlink(p->view, p->slot, lock, offset);
    lock_clear_owner(lock, false, true);
    HF_LOG_STORE(&p->slot->intent, 0);
    return 0;
}

/* ---- taking ------------------------------------------------------------------------------ */

/* Tries the word once. 1: somebody has it; otherwise the result of the call. `seen`: the word. */
static int try_word(struct participant *p, struct lock *lock, uint32_t flags, uint32_t *seen)
{
    uint32_t word = load_relaxed(&lock->word);
    while ((word & LOCK_OWNER) == 0 && (word & LOCK_GIVEN_UP) == 0) {
        if (cas_acquire(&lock->word, &word, word | p->number | flags)) { /* partner: lock_free */
            crash_fence();
            return (word & LOCK_OWNER_DIED) != 0 ? -EOWNERDEAD : 0;
        }
    }
    *seen = word;
    return (word & LOCK_GIVEN_UP) != 0 ? -ENOTRECOVERABLE : 1;
}

static bool spin(struct participant *p, struct lock *lock)
{
    static _Atomic uint32_t processors;
    if (load_relaxed(&processors) == 0) {
        store_relaxed(&processors, os_processors());
    }
    if (load_relaxed(&processors) == 1) {
        return false;
    }
    unsigned limit = p->spin_limit < SPIN_MIN ? SPIN_MIN : p->spin_limit;
    for (unsigned i = 0; i < limit; i++) {
        if ((load_relaxed(&lock->word) & LOCK_OWNER) == 0) {
            p->spin_limit = limit < SPIN_MAX ? limit * 2 : SPIN_MAX;
            return true;
        }
        spin_pause();
    }
    p->spin_limit = limit / 2;
    return false;
}

/* Sleeps while the word is `word` and its owner lives, at most ns. -ETIMEDOUT: so long it has been.
 */
static int sleep_on(struct lock *lock, uint32_t word, const struct holder *owner, int64_t ns)
{
    static _Atomic uint32_t cannot_wait_on_two;
    uint32_t life = owner->value | OS_LIFE_WAITERS;
    bool both = owner->life != NULL && (owner->value & OS_LIFE_ID) != 0 &&
                load_relaxed(&cannot_wait_on_two) == 0;
    if (both && life != owner->value) {
        uint32_t expected = owner->value;
        both = cas_relaxed(owner->life, &expected, life);
        if (!both) {
            return 0; /* it changed: look again */
        }
    }
    if (both) {
        int error = os_wait_two(&lock->word, word, owner->life, life, ns);
        if (error != -EOPNOTSUPP) {
            return error;
        }
        store_relaxed(&cannot_wait_on_two, 1);
    }
    return os_wait(&lock->word, word, ns);
}

/* The owner seen in the word: sleeps until there is something to look at. False: there is no such
   owner. */
static bool wait_for_owner(struct participant *p, struct lock *lock, uint32_t word, int64_t ns)
{
    struct holder holder;
    uint32_t owner = word & LOCK_OWNER;
    presence there = presence_of(p->view, owner, false, &holder);
    if (there == PRESENCE_ALIVE && ns > 0) {
        if ((word & LOCK_WAITERS) == 0) {
            if (!cas_relaxed(&lock->word, &word, word | LOCK_WAITERS)) {
                return true;
            }
            word |= LOCK_WAITERS;
        }
        if (sleep_on(lock, word, &holder, ns) != -ETIMEDOUT) {
            return true;
        }
        there = presence_of(p->view, owner, true, &holder);
    }
    if (there == PRESENCE_DEAD) {
        recovery_of(p, owner);
    }
    return there != PRESENCE_NONE || load_acquire(&lock->word) != word;
}

static int64_t time_left(uint64_t start, int64_t timeout_ns)
{
    if (timeout_ns < 0) {
        return SLICE_NS;
    }
    uint64_t passed = os_now_ns() - start;
    uint64_t left = passed >= (uint64_t)timeout_ns ? 0 : (uint64_t)timeout_ns - passed;
    return (int64_t)min_u64(left, SLICE_NS);
}

/* Until the lock is had: 0 or -EOWNERDEAD; any other result is the call's end. */
static int wait_for_lock(struct participant *p, struct lock *lock, int64_t timeout_ns)
{
    uint64_t start = timeout_ns > 0 ? os_now_ns() : 0;
    uint32_t flags = 0;
    unsigned spins = timeout_ns == 0 ? SPIN_ROUNDS : 0;
    unsigned ownerless = 0;
    for (bool last = false;;) {
        uint32_t word;
        int result = try_word(p, lock, flags, &word);
        if (result != 1) {
            return result;
        }
        if ((word & LOCK_OWNER) == p->number) {
            return -EDEADLK;
        }
        if (last) {
            return timeout_ns == 0 ? -EBUSY : -ETIMEDOUT;
        }
        if (spins < SPIN_ROUNDS) {
            spins = spin(p, lock) ? spins + 1 : SPIN_ROUNDS;
            continue;
        }
        int64_t ns = timeout_ns == 0 ? 0 : time_left(start, timeout_ns);
        last = ns == 0; /* one look at the owner, and one more try, are always due */
        if (!wait_for_owner(p, lock, word, ns) && ++ownerless == OWNERLESS_MAX) {
            return -EBADMSG; /* a lock is freed before its owner's slot is: nobody can have it */
        }
        flags = LOCK_WAITERS; /* others may have fallen asleep beside us */
        spins = timeout_ns == 0 ? SPIN_ROUNDS : 0;
    }
}

/* A lock that this transaction has unlocked and keeps to its end can be had again. */
static int take_back(struct lock *lock)
{
    uint64_t next = load_relaxed(&lock->next);
    if ((next & LOCK_UNLOCK_LATER) == 0) {
        return -EDEADLK;
    }
    HF_LOG_STORE(&lock->next, next & ~LOCK_UNLOCK_LATER);
    return 0;
}

int lock_take_slowly(struct participant *p, struct lock *lock, uint64_t offset, int64_t timeout_ns)
{
    int result = wait_for_lock(p, lock, timeout_ns);
    if (result == 0 || result == -EOWNERDEAD) {
        lock_link(p->slot, lock, offset);
        return result;
    }
    HF_LOG_STORE(&p->slot->intent, 0);
    return result == -EDEADLK ? take_back(lock) : result;
}
