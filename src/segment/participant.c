/* SPDX-License-Identifier: MIT */
/*
 * Taking a slot, giving it back, and seeing whether another's owner lives.
 *
 *     claiming    (1) lock the slot's byte
 *                 (2) claim word, CLAIMING
 *                 (3) life word 0, link it
 *                 (4) who we are
 *                 (5) life word = thread id
 *                 (6) claim word, plain
 *     releasing   (7) life word 0
 *                 (8) unlink
 *                 (9) claim word 0
 *                (10) unlock the byte
 *
 * Nobody links a life word that is not claimed: the kernel marks what is linked by thread number,
 * and two containers both have a thread 1. From (2) to (5), and from (7) to (9), the byte lock
 * tells whether the thread's process lives, and where that is lost the thread's number.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "segment/heap.h"
#include "segment/pages.h"
#include "segment/participant.h"
#include "segment/recovery.h"
#include "segment/reserve.h"

_Thread_local struct thread thread_here;

/* ---- others ------------------------------------------------------------------------------ */

/* Do participants of this view hold bytes of its file? In a copy nobody does. */
static bool has_bytes(const struct view *view)
{
    return view->fd >= 0 && view->kind != VIEW_PRIVATE;
}

/* Has the process of that slot let go of its byte? */
static bool byte_is_lost(struct view *view, uint32_t number)
{
    bool locked = true;
    return has_bytes(view) && os_byte_locked(view->fd, BYTE_SLOT + number, &locked) == 0 && !locked;
}

static os_identity identity_of(const struct slot *slot)
{
    return (os_identity){.space = load_relaxed(&slot->identity_space),
                         .start = load_relaxed(&slot->identity_start),
                         .thread = load_relaxed(&slot->identity_thread),
                         .process = load_relaxed(&slot->identity_process)};
}

static bool thread_is_gone(const struct slot *slot)
{
    os_identity identity = identity_of(slot);
    return os_thread_is_gone(&identity);
}

/* Of a participant whose life word says nothing: one that is going. It may have lost its byte by
   closing a descriptor of its own. */
static bool process_is_gone(struct view *view, uint32_t number, const struct slot *slot)
{
    os_identity identity = identity_of(slot);
    return has_bytes(view) ? byte_is_lost(view, number) && !os_thread_is_there(&identity)
                           : os_thread_is_gone(&identity);
}

/* Who claims a slot: see slot_layout.h. */
static uint64_t claimant_bits(const os_identity *identity, bool byte)
{
    uint64_t thread = identity->thread;
    uint64_t space = identity->space;
    uint64_t hash = (space ^ space >> 7 ^ space >> 14) & 0x7f;
    return (thread & CLAIM_TURN_MASK) << CLAIM_BY_BITS | (thread >> 20 & 3) << 54 | hash << 56 |
           (byte ? CLAIM_BYTE : 0);
}

/* Who could not lock the slot's byte is not judged by it. Who has lost it may have closed a
   descriptor of its own: then its number tells, to those who know what that counts in. */
static bool claimant_is_gone(struct view *view, uint32_t number, uint64_t claim)
{
    bool byte = has_bytes(view) && (claim & CLAIM_BYTE) != 0;
    if (byte && !byte_is_lost(view, number)) {
        return false;
    }
    os_identity claimant;
    os_thread_identity(&claimant); /* what we count in, and then the thread that it says */
    claimant.thread = (uint32_t)(claim_by_turn(claim) | (claim >> 54 & 3) << 20);
    bool known = claimant.space != 0 &&
                 claimant_bits(&claimant, (claim & CLAIM_BYTE) != 0) >> 54 == claim >> 54;
    return known ? os_thread_number_is_free(claimant.thread) : byte;
}

/* Of a slot that is claimed by its own participant. */
static presence presence_of_owner(struct view *view, uint32_t number, uint64_t claim, bool deep,
                                  struct holder *holder)
{
    struct slot *slot = view_slot(view, number);
    shared_u32 *life = view_life(view, number);
    if ((claim & CLAIM_CLAIMING) != 0) {
        return deep && claimant_is_gone(view, number, claim) ? PRESENCE_DEAD : PRESENCE_ALIVE;
    }
    uint64_t kind = load_relaxed(&slot->life_kind);
    if (kind == LIFE_ROBUST || kind == LIFE_ALONE) {
        uint32_t value = load_acquire(life); /* partner: the kernel, as the thread ends */
        if ((value & OS_LIFE_DIED) != 0) {
            return PRESENCE_DEAD;
        }
        holder->life = life;
        holder->value = value;
        if ((value & OS_LIFE_ID) == 0) { /* on its way out */
            bool gone = deep && (kind == LIFE_ALONE ? thread_is_gone(slot)
                                                    : process_is_gone(view, number, slot));
            return gone ? PRESENCE_DEAD : PRESENCE_ALIVE;
        }
        /* What the list misses: exec from a thread that is not the first, the OOM reaper. A lost
           byte alone is no death: the application may have closed a descriptor of the file. */
        bool dead =
            deep && (!has_bytes(view) || byte_is_lost(view, number)) && thread_is_gone(slot);
        return dead ? PRESENCE_DEAD : PRESENCE_ALIVE;
    }
    if (kind == LIFE_BYTE) {
        return deep && byte_is_lost(view, number) ? PRESENCE_DEAD : PRESENCE_ALIVE;
    }
    return deep && thread_is_gone(slot) ? PRESENCE_DEAD : PRESENCE_ALIVE;
}

/* The claim word of who has claimed that slot for its own, to recover it; 0: that one is gone, and
   no later participant in its slot counts. */
static uint64_t claim_of_holder(struct view *view, uint64_t claim)
{
    struct slot *slot = view_slot(view, claim_by(claim));
    uint64_t theirs = slot == NULL ? 0 : load_acquire(&slot->claim);
    return claim_by(theirs) != 0 && claim_turn(theirs) == claim_by_turn(claim) ? theirs : 0;
}

/*
 * A slot that is being recovered is held by its recoverer while that one lives. If it is dead and
 * being recovered in its turn it is held by who does that: what it was doing to this slot stands in
 * the recoverer's own record, and has to be settled before the slot is anyone's.
 */
static presence presence_by_claim(struct view *view, uint32_t number, uint64_t claim, bool deep,
                                  struct holder *holder)
{
    uint32_t holds = number;
    for (unsigned i = 0; i < 2 && claim_by(claim) != holds && claim_by(claim) != 0; i++) {
        uint32_t by = claim_by(claim);
        claim = claim_of_holder(view, claim);
        holds = by;
    }
    return claim_by(claim) == holds ? presence_of_owner(view, holds, claim, deep, holder)
                                    : PRESENCE_DEAD;
}

presence presence_of(struct view *view, uint32_t number, bool deep, struct holder *holder)
{
    struct holder unused;
    struct holder *h = holder != NULL ? holder : &unused;
    *h = (struct holder){0};
    struct slot *slot = view_slot(view, number);
    uint64_t claim = slot == NULL ? 0 : load_acquire(&slot->claim);
    return claim_by(claim) == 0 ? PRESENCE_NONE : presence_by_claim(view, number, claim, deep, h);
}

bool lives_after_all(struct view *view, uint32_t number)
{
    const struct slot *slot = view_slot(view, number);
    uint64_t kind = load_relaxed(&slot->life_kind);
    uint32_t life = load_acquire(view_life(view, number)); /* partner: come_alive */
    bool word_lives = (life & OS_LIFE_ID) != 0 && (life & OS_LIFE_DIED) == 0;
    return (kind == LIFE_ROBUST || kind == LIFE_ALONE) && word_lives && !thread_is_gone(slot);
}

presence presence_of_turn(struct view *view, uint32_t number, uint32_t turn, bool deep,
                          struct holder *holder)
{
    presence there = presence_of(view, number, deep, holder);
    struct slot *slot = view_slot(view, number);
    uint64_t claim = slot == NULL ? 0 : load_acquire(&slot->claim);
    if (claim_by(claim) == 0 || claim_turn(claim) != turn) {
        return PRESENCE_NONE;
    }
    return claim_by(claim) == number ? there : PRESENCE_DEAD; /* whoever recovers it */
}

int sleep_beside(shared_u32 *word, uint32_t expected, const struct holder *other, int64_t ns)
{
    static _Atomic uint32_t cannot_wait_on_two;
    uint32_t life = other->value | OS_LIFE_WAITERS;
    bool both = other->life != NULL && (other->value & OS_LIFE_ID) != 0 &&
                load_relaxed(&cannot_wait_on_two) == 0;
    if (both && life != other->value) {
        uint32_t seen = other->value;
        if (!cas_relaxed(other->life, &seen, life)) {
            return 0; /* it changed: look again */
        }
    }
    if (both) {
        int error = os_wait_two(word, expected, other->life, life, ns);
        if (error != -EOPNOTSUPP) {
            return error;
        }
        store_relaxed(&cannot_wait_on_two, 1);
    }
    return os_wait(word, expected, ns);
}

/* ---- taking a slot ----------------------------------------------------------------------- */

static shared_u32 *life_of(struct participant *p)
{
    return view_life(p->view, p->number);
}

/* How others are to tell of our death. */
static uint64_t life_kind_of(struct participant *p, bool byte)
{
    if (p->life.linked) {
        return byte || !has_bytes(p->view) ? LIFE_ROBUST : LIFE_ALONE;
    }
    return byte ? LIFE_BYTE : LIFE_LOCAL;
}

/* Steps (3) to (6). `flags`: what stays in the claim word; `byte`: we have the slot's. */
static void come_alive(struct participant *p, uint64_t flags, bool byte)
{
    struct slot *slot = p->slot;
    HF_LOG_STORE(life_of(p), 0);
    if (p->life.alias != NULL) {
        os_life_link(&p->life, (p->number - 1) % SLOTS_PER_PAGE);
    }
    HF_LOG_STORE(&slot->life_kind, life_kind_of(p, byte));
    store_relaxed(&slot->identity_space, p->identity.space);
    store_relaxed(&slot->identity_start, p->identity.start);
    store_relaxed(&slot->identity_thread, p->identity.thread);
    store_relaxed(&slot->identity_process, p->identity.process);
    if (p->life.linked) {
        HF_LOG_STORE(life_of(p), p->identity.thread);
    }
    HF_LOG_PUBLISH(&slot->claim, claim_word(p->number, p->turn, p->turn, flags));
}

/* Maps the alias beforehand: between claim and life word there should be little. */
static void ready_life(struct participant *p)
{
    struct view *view = p->view;
    if (view->kind == VIEW_PRIVATE) {
        return;
    }
    int error = os_life_open(view->fd, view_slot_page_offset(view, p->number),
                             view_slot_page(view, p->number), &p->life);
    (void)error; /* then the backstop alone tells of our death */
}

/* Claims the slot if its claim word is still `seen`; then it is ours, alive. `byteless`: even if
   another process has its byte, which is about to claim it too, or in which a thread has died here:
   then our life word must do. */
static bool claim(struct participant *p, uint32_t number, uint64_t seen, bool byteless)
{
    struct view *view = p->view;
    p->number = number;
    p->slot = view_slot(view, number);
    p->turn = (uint32_t)((claim_turn(seen) + 1) & CLAIM_TURN_MASK);
    uint64_t flags = claim_by(seen) != 0 ? CLAIM_UNRECOVERED : seen & CLAIM_UNRECOVERED;
    ready_life(p);
    bool byte = has_bytes(view) && os_process_lock(view->fd, BYTE_SLOT + number) == 0;
    if (has_bytes(view) && !byte && !(byteless && p->life.alias != NULL)) {
        os_life_close(&p->life);
        return false;
    }
    uint64_t mine =
        claim_word(number, 0, p->turn, flags | CLAIM_CLAIMING) | claimant_bits(&p->identity, byte);
    uint64_t expected = seen;
    bool won = cas_acquire(&p->slot->claim, &expected, mine); /* partner: the release */
    if (won && claim_by(seen) != 0 && lives_after_all(view, number)) {
        won = false;
        (void)cas_release(&p->slot->claim, &mine, seen);
    }
    if (!won) {
        os_life_close(&p->life);
        if (byte) {
            (void)os_process_unlock(view->fd, BYTE_SLOT + number);
        }
        return false;
    }
    crash_fence();
    come_alive(p, flags, byte);
    if (flags != 0) {
        recovery_of_own_slot(p);
        HF_LOG_PUBLISH(&p->slot->claim, claim_word(number, p->turn, p->turn, 0));
    }
    return true;
}

/* The last so many newcomers each make room for more: all but one of them may be stopped at it. */
#define SPARE_SLOTS 2u

/* How many slots are free, up to `enough`. */
static unsigned count_free(struct view *view, unsigned enough)
{
    unsigned free_slots = 0;
    uint32_t slots = view_slots(view);
    for (uint32_t n = 1; n <= slots && free_slots < enough; n++) {
        free_slots += claim_by(load_relaxed(&view_slot(view, n)->claim)) == 0 ? 1 : 0;
    }
    return free_slots;
}

static bool claim_one(struct participant *p, bool of_the_dead, bool byteless)
{
    uint32_t slots = view_slots(p->view);
    for (uint32_t n = 1; n <= slots; n++) {
        uint64_t seen = load_acquire(&view_slot(p->view, n)->claim);
        /* Not what a dead recoverer held: its own record may name what lies in that slot. */
        bool wanted = of_the_dead ? claim_by(seen) == n &&
                                        presence_of(p->view, n, true, NULL) == PRESENCE_DEAD
                                  : claim_by(seen) == 0;
        if (wanted && claim(p, n, seen, byteless)) {
            return true;
        }
    }
    return false;
}

/* While there are plenty, a free one; otherwise rather a dead one's, so that the dead do not pile
 * up. */
static bool claim_any(struct participant *p, bool byteless)
{
    bool plenty = count_free(p->view, SPARE_SLOTS + 1) == SPARE_SLOTS + 1;
    return claim_one(p, !plenty, byteless) || claim_one(p, plenty, byteless);
}

/* Waits a little if all are taken: those who took the last are making more. That there can be no
   more is asked before the look at them, or the last of them may come in between. */
static int take_slot(struct participant *p)
{
    for (unsigned tries = 0;; tries++) {
        bool all = load_acquire(&header_of(p->view)->slot_runs[SLOT_RUNS - 1]) != 0;
        if (claim_any(p, false) || claim_any(p, true)) {
            return 0;
        }
        if (tries == 300 || all) {
            return -EAGAIN;
        }
        uint32_t nothing = 0;
        (void)os_wait(&nothing, 0, INT64_C(1000000));
    }
}

/* Steps (7) to (10). */
static void release_slot(struct participant *p)
{
    struct slot *slot = p->slot;
    shared_u32 *life = life_of(p);
    uint32_t was = exchange_release(life, 0);
    os_life_unlink(&p->life);
    HF_LOG_PUBLISH(&slot->claim, claim_word(0, 0, p->turn, 0)); /* partner: the next claim */
    if ((was & OS_LIFE_WAITERS) != 0) { /* now that they can see that nobody is here any more */
        (void)os_wake(life, INT_MAX);
    }
    if (has_bytes(p->view)) {
        (void)os_process_unlock(p->view->fd, BYTE_SLOT + p->number);
    }
    os_life_close(&p->life);
}

/* ---- this thread ------------------------------------------------------------------------- */

static void forget_recent(void)
{
    store_relaxed(&thread_here.recent, NULL);
}

/* Takes it off this thread's list. */
static void unlist(const struct participant *p)
{
    for (struct participant **at = &thread_here.all; *at != NULL; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            break;
        }
    }
    forget_recent();
}

/* Undoes what the participant left open, and gives its slot back. A handler that calls in meets it
   busy, or not at all. */
static void leave(struct participant *p)
{
    p->busy = true;
    crash_fence();
    recovery_of_own_slot(p);
    pages_give_back_log(p);
    reserve_give_back(p, p->slot, true);
    if (process_lock() != 0) {
        return;
    }
    unlist(p);
    release_slot(p);
    p->view->participants--;
    view_drop(p->view);
    free(p);
    process_unlock();
}

/* In a child, what the parent's thread had here is the parent's. */
static void drop_inherited(void)
{
    forget_recent();
    while (thread_here.all != NULL) {
        struct participant *p = thread_here.all;
        thread_here.all = p->next;
        os_life_unlink(&p->life); /* a child of a raw clone has its parent's list in libc */
        os_life_close(&p->life);
        heap_forget(p);
        os_free(p);
    }
}

/* At the thread's end. It may have been cancelled inside a call: hence recovery. */
static void leave_all(void *thread)
{
    const struct thread *t = thread;
    if (t->turn != process_turn()) {
        drop_inherited();
        return;
    }
    for (struct participant *p = t->all; p != NULL;) {
        struct participant *next = p->next;
        leave(p);
        p = next;
    }
}

struct participant *participant_mine(const char *base)
{
    if (thread_here.turn != process_turn()) {
        return NULL;
    }
    struct participant *p = thread_here.all;
    while (p != NULL && p->base != base) {
        p = p->next;
    }
    if (p != NULL) {
        store_relaxed(&thread_here.recent, p);
    }
    return p;
}

/* With the process lock: a new participant of this thread. */
static int join_locked(struct view *view, struct participant **participant)
{
    struct participant *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return -ENOMEM;
    }
    p->view = view;
    p->base = view->base;
    p->lock_limit = view->maximum - sizeof(struct lock);
    os_thread_identity(&p->identity);
    int error = os_at_thread_exit(leave_all, &thread_here);
    if (error == 0) {
        error = take_slot(p);
    }
    if (error != 0) {
        free(p);
        return error;
    }
    view->participants++;
    p->next = thread_here.all;
    thread_here.all = p;
    *participant = p;
    return 0;
}

/*
 * Some free slots are always left, for those who come next and have to make room: pages are handed
 * out to participants only. So whoever leaves fewer adds a run of slot pages first of all; where
 * there is no room for that, the last slots can be had all the same. Then the dead go whose slots
 * no newcomer can take over: those of whom another had died in recovering them. Not with the
 * process lock: it may take some waiting for another process.
 */
static void leave_free_slots(struct participant *p)
{
    if (count_free(p->view, SPARE_SLOTS) == SPARE_SLOTS || call_begin(p) != 0) {
        return;
    }
    if (pages_add_slots(p) != 0) {
        (void)recovery_of_slots(p);
    }
    (void)call_end(p, 0);
}

static int join(struct view *view, struct participant **participant)
{
    if (view->access == HF_READ_ONLY) {
        return -EACCES;
    }
    int error = process_lock();
    if (error != 0) {
        return error;
    }
    *participant = participant_mine(view->base); /* a handler may have come in between */
    if (*participant == NULL) {
        error = join_locked(view, participant);
    }
    process_unlock();
    if (error == 0) {
        leave_free_slots(*participant);
    }
    return error;
}

int participant_of(struct view *view, struct participant **participant)
{
    uint64_t turn = process_turn();
    if (thread_here.turn != turn) {
        drop_inherited();
        thread_here.turn = turn;
    }
    struct participant *p = participant_mine(view->base);
    if (p == NULL) {
        int error = join(view, &p);
        if (error != 0) {
            return error;
        }
        store_relaxed(&thread_here.recent, p);
    }
    *participant = p;
    return 0;
}

int participant_leave_view(struct view *view)
{
    if (thread_here.turn != process_turn()) {
        return 0; /* what this thread had is its parent's */
    }
    struct participant *p = participant_mine(view->base);
    if (p != NULL && p->busy) {
        return -EDEADLK;
    }
    if (p != NULL) {
        leave(p);
    }
    return 0;
}
