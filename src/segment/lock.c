/* SPDX-License-Identifier: MIT */
/*
 * The lock core's slow side: contention, sleep, and owners that die.
 *
 * A sleeper sleeps on two words at once: the lock's word, and the life word of its owner, which the
 * kernel changes when that one dies. The sides of the wait, numbered:
 *     sleeper   (1) word |= WAITERS
 *               (2) life |= OS_LIFE_WAITERS
 *               (3) sleeps if both are still so
 *     unlocker  (4) word without owner, WAITERS kept
 *               (5) wakes two, if WAITERS
 *     kernel    (6) life = OS_LIFE_DIED
 *               (7) wakes one, if OS_LIFE_WAITERS
 * The kernel compares both words under its own lock at (3), so no change slips in between.
 *
 * Of two that are woken at (5) one gets the lock, and the other falls asleep beside the life of
 * that new owner: while anyone sleeps, someone sleeps beside the owner, whose death is told at
 * once. With one woken, the others would sleep on beside the life of an owner that has gone, and
 * the death of the new one wake nobody before their slices end (tests/models/lock.pml).
 *
 * Of those asleep on a dead owner's life the kernel wakes one only: recovery wakes the others first
 * of all. Where the kernel cannot wait on two words, and for what it fails to tell, every sleep is
 * a slice.
 */
#include <limits.h>

#include "os/os.h"
#include "segment/lock.h"
#include "segment/recovery.h"

/* The longest sleep; the longest beside an owner whose death wakes nobody. */
#define SLICE_NS        (INT64_C(90) * 1000 * 1000)
#define SLICE_UNTOLD_NS (INT64_C(45) * 1000 * 1000)

/* After a sleep, however it ended, and after trying, the system is asked whether the owner lives:
   not more often than this. */
#define ASK_NS (UINT64_C(10) * 1000 * 1000)

/*
 * Spins, about 10-40 ns each: the limit doubles when spinning helped, halves when it did not.
 * Short: who spins takes the lock's line away from its owner. docs/design.md
 * has the figures.
 */
#define SPIN_MIN 2u
#define SPIN_MAX 8u

/* An owner may leave, and another come, while one looks: but not so often in a row. */
#define OWNERLESS_MAX 64u

bool lock_is_at(const struct lock *lock, uint64_t offset)
{
    uint32_t kind = load_relaxed(&lock->kind);
    bool own = offset == offsetof(struct segment_header, pages_lock) ||
               offset == offsetof(struct segment_header, names_lock);
    return own ? kind == LOCK_INTERNAL : kind == LOCK_FRESH && load_relaxed(&lock->self) == offset;
}

/* ---- the list of held locks -------------------------------------------------------------- */

bool lock_is_held(struct view *view, const struct slot *slot, uint64_t offset)
{
    uint64_t at = load_relaxed(&slot->held);
    for (uint64_t i = 0; i < locks_at_most(view) && at != 0 && at != offset; i++) {
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
    for (uint64_t i = 0; i < locks_at_most(view) && at != 0; i++) {
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

/* The word of a lock that is free, from what it was. */
static uint32_t freed_word(uint32_t word, lock_verdict verdict)
{
    uint32_t freed = word & (LOCK_WAITERS | LOCK_OWNER_DIED | LOCK_GIVEN_UP);
    if ((word & LOCK_UPGRADABLE) != 0) {
        return freed; /* its owner has written nothing */
    }
    switch (verdict) {
    case LOCK_UNLOCKED:
        return (word & LOCK_OWNER_DIED) != 0 ? freed | LOCK_GIVEN_UP : freed;
    case LOCK_SUSPECT:
        return freed | LOCK_OWNER_DIED;
    case LOCK_GOOD:
        return freed & ~LOCK_OWNER_DIED;
    default:
        return freed;
    }
}

void lock_clear_owner(struct lock *lock, lock_verdict verdict)
{
    uint32_t word = load_relaxed(&lock->word);
    uint32_t freed;
    do {
        freed = freed_word(word, verdict);
    } while (!cas_release(&lock->word, &word, freed)); /* partner: lock_take */
    if ((freed & LOCK_WAITERS) == 0) {
        return;
    }
    if ((freed & LOCK_GIVEN_UP) != 0) {
        (void)os_wake(&lock->word, INT_MAX); /* for all of them it is over */
    } else if (os_wake(&lock->word, 2) == 0) {
        /* Nobody was asleep. Who falls asleep from now on has seen an owner: the word has changed.
         */
        (void)cas_relaxed(&lock->word, &freed, freed & ~LOCK_WAITERS);
    }
}

void lock_free_as(struct participant *p, struct lock *lock, uint64_t offset, lock_verdict verdict)
{
    HF_LOG_STORE(&p->slot->intent,
                 offset | INTENT_FREEING | (uint64_t)verdict << INTENT_VERDICT_SHIFT);
    lock_unlink(p->view, p->slot, lock, offset);
    lock_clear_owner(lock, verdict);
    HF_LOG_STORE(&p->slot->intent, 0);
}

void lock_reopen(struct lock *lock)
{
    uint32_t word = fetch_and_relaxed(&lock->word, ~LOCK_CLOSED);
    if ((word & LOCK_CLOSED) != 0 && (word & LOCK_WAITERS) != 0) {
        (void)os_wake(&lock->word, INT_MAX);
    }
}

void lock_tell_left(struct lock *lock)
{
    (void)fetch_add_release(&lock->departures, 1);
    (void)os_wake(&lock->departures, INT_MAX);
}

/* ---- taking ------------------------------------------------------------------------------ */

int lock_is_over(const struct lock *lock)
{
    (void)load_acquire(&lock->word); /* partner: lock_end, by lock_clear_owner */
    return load_relaxed(&lock->kind) == LOCK_DESTROYED ? -EINVAL : -ENOTRECOVERABLE;
}

/* Tries the word once. 1: somebody has it; otherwise the result of the call. `seen`: the word. */
static int try_word(struct participant *p, struct lock *lock, uint32_t flags, uint32_t *seen)
{
    uint32_t word = load_relaxed(&lock->word);
    while ((word & LOCK_OWNER) == 0 && (word & LOCK_GIVEN_UP) == 0) {
        uint32_t taken = (word & ~(LOCK_UPGRADABLE | LOCK_CLOSED)) | p->number | flags;
        if (cas_acquire(&lock->word, &word, taken)) { /* partner: lock_free */
            crash_fence();
            return (word & LOCK_OWNER_DIED) != 0 ? -EOWNERDEAD : 0;
        }
    }
    *seen = word;
    if ((word & LOCK_GIVEN_UP) != 0) {
        return lock_is_over(lock);
    }
    return load_relaxed(&lock->kind) == LOCK_DESTROYED ? -EINVAL : 1; /* it died ending the lock */
}

bool lock_may_spin(void)
{
    static _Atomic uint32_t processors;
    if (load_relaxed(&processors) == 0) {
        store_relaxed(&processors, os_processors());
    }
    return load_relaxed(&processors) > 1;
}

bool lock_spin(struct participant *p, struct lock *lock)
{
    if (!lock_may_spin()) {
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

/* Is it time to ask the system after owners? Who only ever tries must hear of a death, too. */
static bool time_to_ask(struct participant *p, uint32_t owner)
{
    uint64_t now = os_now_ns();
    uint32_t place = owner % ASKED;
    if (p->asked[place].owner == owner && now - p->asked[place].ns < ASK_NS) {
        return false;
    }
    p->asked[place].owner = owner;
    p->asked[place].ns = now;
    return true;
}

/* Is it we who have claimed the owner's slot? What it held has been freed by then: nobody is going
   to free what its words do not tell of. */
static bool is_in_our_hands(const struct participant *p, uint32_t owner)
{
    struct slot *slot = view_slot(p->view, owner);
    uint64_t claim = slot == NULL ? 0 : load_relaxed(&slot->claim);
    return claim_by(claim) == p->number && claim_by_turn(claim) == p->turn;
}

/* Whose life decides, and where to sleep beside it. PRESENCE_NONE: nobody will free what is held in
   that one's name. */
static presence look_at(struct participant *p, uint32_t number, struct holder *holder)
{
    presence there = presence_of(p->view, number, false, holder);
    return there == PRESENCE_ALIVE && is_in_our_hands(p, number) ? PRESENCE_NONE : there;
}

static void sleep_a_slice(shared_u32 *word, uint32_t expected, const struct holder *holder,
                          int64_t ns)
{
    int64_t slice = holder->life != NULL ? SLICE_NS : SLICE_UNTOLD_NS;
    (void)sleep_beside(word, expected, holder, ns < slice ? ns : slice);
}

/* After a sleep, or instead of one. Recovers whom it finds dead. PRESENCE_NONE also for one whose
   claim says that it is dead, and its life word that it lives: recovery lets go of it, and nobody
   will free what it holds. */
static presence look_again(struct participant *p, uint32_t number, presence there)
{
    if (there == PRESENCE_ALIVE && time_to_ask(p, number)) {
        there = presence_of(p->view, number, true, NULL);
    }
    if (there == PRESENCE_DEAD && !recovery_of(p, number) && lives_after_all(p->view, number) &&
        presence_of(p->view, number, true, NULL) == PRESENCE_DEAD) {
        return PRESENCE_NONE;
    }
    return there;
}

bool lock_wait_once(struct participant *p, struct lock *lock, uint32_t word, int64_t ns)
{
    struct holder holder;
    uint32_t owner = word & LOCK_OWNER;
    presence there = look_at(p, owner, &holder);
    if (there == PRESENCE_ALIVE && ns > 0) {
        uint32_t with = word | LOCK_WAITERS;
        if (with != word && !cas_relaxed(&lock->word, &word, with)) {
            return true;
        }
        word = with;
        sleep_a_slice(&lock->word, word, &holder, ns);
    }
    there = look_again(p, owner, there);
    return there != PRESENCE_NONE || load_acquire(&lock->word) != word;
}

presence lock_wait_beside(struct participant *p, uint32_t number, shared_u32 *word,
                          uint32_t expected, int64_t ns)
{
    struct holder holder;
    presence there = look_at(p, number, &holder);
    if (there == PRESENCE_ALIVE && ns > 0) {
        sleep_a_slice(word, expected, &holder, ns);
    }
    return look_again(p, number, there);
}

int64_t lock_time_left(uint64_t start, int64_t timeout_ns)
{
    if (timeout_ns < 0) {
        return SLICE_NS;
    }
    uint64_t passed = os_now_ns() - start;
    uint64_t left = passed >= (uint64_t)timeout_ns ? 0 : (uint64_t)timeout_ns - passed;
    return (int64_t)min_u64(left, SLICE_NS);
}

int lock_wait_as(struct participant *p, struct lock *lock, uint32_t as, int64_t timeout_ns)
{
    uint64_t start = timeout_ns > 0 ? os_now_ns() : 0;
    uint32_t flags = as;
    bool spun = timeout_ns == 0;
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
        if (!spun) {
            spun = true;
            if (lock_spin(p, lock)) {
                continue;
            }
        }
        int64_t ns = timeout_ns == 0 ? 0 : lock_time_left(start, timeout_ns);
        bool owned = lock_wait_once(p, lock, word, ns);
        ownerless = owned ? 0 : ownerless + 1;
        if (ownerless == OWNERLESS_MAX) {
            return -EBADMSG; /* a lock is freed before its owner's slot is: nobody can have it */
        }
        last = owned && ns == 0;   /* one look at the owner, and one more try, are always due */
        flags = as | LOCK_WAITERS; /* others may have fallen asleep beside us */
        spun = timeout_ns == 0;
    }
}

int lock_take_back(struct lock *lock)
{
    uint64_t next = load_relaxed(&lock->next);
    if ((next & LOCK_UNLOCK_LATER) == 0) {
        return -EDEADLK;
    }
    HF_LOG_STORE(&lock->next, next & ~LOCK_UNLOCK_LATER);
    bool suspect = (load_relaxed(&lock->word) & LOCK_OWNER_DIED) != 0 && (next & LOCK_MENDED) == 0;
    return suspect ? -EOWNERDEAD : 0;
}

int lock_take_slowly(struct participant *p, struct lock *lock, uint64_t offset, int64_t timeout_ns)
{
    int result = lock_wait(p, lock, timeout_ns);
    if (result == 0 || result == -EOWNERDEAD) {
        lock_link(p->slot, lock, offset);
        return result;
    }
    HF_LOG_STORE(&p->slot->intent, 0);
    return result == -EDEADLK ? lock_take_back(lock) : result;
}

int lock_take_own(struct participant *p, struct lock *lock, uint64_t offset, int64_t timeout_ns)
{
    int error = lock_take(p, lock, offset, timeout_ns);
    if (error == -EOWNERDEAD) {
        (void)fetch_and_relaxed(&lock->word, ~LOCK_OWNER_DIED);
        return 0;
    }
    return error == -ENOTRECOVERABLE || error == -EINVAL ? -EBADMSG : error;
}
