/* SPDX-License-Identifier: MIT */
/*
 * Participants: a thread attached to a segment has one slot in it, from its first call that changes
 * something until it ends. Here is the thread's own side, and how others see whether it lives.
 *
 * A participant belongs to its thread. Functions that take one are called by that thread.
 */
#ifndef HF_SEGMENT_PARTICIPANT_H
#define HF_SEGMENT_PARTICIPANT_H

#include <errno.h>

#include "os/os.h"
#include "segment/view.h"

#define thread_here            hf_thread_here
#define participant_leave_view hf_participant_leave_view
#define participant_of         hf_participant_of
#define participant_mine       hf_participant_mine
#define presence_of            hf_presence_of
#define presence_of_turn       hf_presence_of_turn
#define lives_after_all        hf_lives_after_all
#define sleep_beside           hf_sleep_beside

#define ASKED     8u
#define ONCES_MAX 8u

struct participant {
    const char *base; /* of the view: whose segment it is */
    struct slot *slot;
    uint64_t lock_limit; /* the last offset at which there can be a lock */
    uint32_t number;
    uint32_t turn;
    struct view *view;
    /* Inside a call. A signal handler that calls in, and whoever has jumped out, meets it set. */
    bool busy;
    unsigned tx_depth;
    bool tx_frees;     /* the transaction has something to free if it commits */
    bool tx_aborting;  /* it is being undone, or was when the thread jumped out of that */
    struct heap *heap; /* NULL until it is used */
    unsigned reservations;
    uint32_t hold_open; /* 1 + the place of the hold that a call is about to take; 0: none */
    /* The onces that it is at, one inside the other: where they lie. */
    uint64_t onces[ONCES_MAX];
    unsigned once_count;
    /* Blocks of objects that this thread's transactions have left dead, to be buried. */
    uint64_t *dead;
    unsigned dead_count;
    unsigned dead_room;
    unsigned spin_limit; /* adapts */
    /* When the system was asked after an owner, and after which: the last of each place. */
    struct {
        uint64_t ns;
        uint32_t owner;
    } asked[ASKED];
    os_identity identity;
    os_life life;
    struct participant *next; /* of this thread, in another segment */
};

struct thread {
    /* The one used last; NULL: look it up. One word: a signal handler may use another segment
       between any two instructions, and whoever was interrupted goes on with what it has read. */
    struct participant *_Atomic recent;
    uint64_t turn; /* of the process that all this belongs to */
    struct participant *all;
};

/* The default model costs a call on each use in a shared library. */
extern _Thread_local struct thread thread_here __attribute__((tls_model("initial-exec")));

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* This thread's participant in that view, taking a slot if it has none yet. -EAGAIN: all slots are
   taken by the living; -EACCES: the view is read-only; -ENOMEM. */
int participant_of(struct view *view, struct participant **participant);

/* The same, if it was the one used last. */
static inline struct participant *participant_recent(const char *base)
{
    struct participant *p = load_relaxed(&thread_here.recent);
    return likely(p != NULL && p->base == base &&
                  load_relaxed(load_relaxed(&fork_word)) == thread_here.turn)
               ? p
               : NULL;
}

/* The same, if it has one in the segment at that address. */
struct participant *participant_mine(const char *base);

/* Gives this thread's slot in the view back, if it has one. -EDEADLK inside a call of the library.
 */
int participant_leave_view(struct view *view);

/* ---- calls ------------------------------------------------------------------------------- */

/* Around everything that a participant does. -EDEADLK: this thread is inside a call already. */
static inline int call_begin(struct participant *p)
{
    if (unlikely(p->busy)) {
        return -EDEADLK;
    }
    p->busy = true;
    crash_fence(); /* a signal handler looks at it */
    return 0;
}

static inline int call_end(struct participant *p, int result)
{
    crash_fence();
    p->busy = false;
    return result;
}

/* ---- the transaction word ---------------------------------------------------------------- */

static inline uint64_t tx_state(const struct slot *slot)
{
    return load_relaxed(&slot->tx) & TX_STATE;
}

/* A macro, so that each place is a store of its own to the mutation gate. Partner: who looks
   whether a transaction's objects are there (names.c). */
#define tx_set(slot, state)                                                                        \
    HF_LOG_PUBLISH(&(slot)->tx, (load_relaxed(&(slot)->tx) & ~TX_STATE) | (state))

/* ---- the claim word ---------------------------------------------------------------------- */

static inline uint64_t claim_word(uint32_t by, uint64_t by_turn, uint64_t turn, uint64_t flags)
{
    return by | (by_turn & CLAIM_TURN_MASK) << CLAIM_BY_BITS |
           (turn & CLAIM_TURN_MASK) << (CLAIM_BY_BITS + CLAIM_TURN_BITS) | flags;
}

static inline uint32_t claim_by(uint64_t claim)
{
    return (uint32_t)(claim & ((UINT64_C(1) << CLAIM_BY_BITS) - 1));
}

static inline uint64_t claim_by_turn(uint64_t claim)
{
    return claim >> CLAIM_BY_BITS & CLAIM_TURN_MASK;
}

static inline uint64_t claim_turn(uint64_t claim)
{
    return claim >> (CLAIM_BY_BITS + CLAIM_TURN_BITS) & CLAIM_TURN_MASK;
}

/* ---- others ------------------------------------------------------------------------------ */

typedef enum presence {
    PRESENCE_NONE, /* nobody has that slot */
    PRESENCE_ALIVE,
    PRESENCE_DEAD /* and not recovered yet */
} presence;

/* Whose life decides: a living participant's, or that of the one who is recovering it. */
struct holder {
    shared_u32 *life; /* to sleep on; NULL: it has no life word */
    uint32_t value;   /* what was seen there */
};

/*
 * Does the participant of that slot live? One load, unless `deep`: then the system is asked about
 * those whose life words do not tell (some microseconds). `holder` may be NULL.
 */
presence presence_of(struct view *view, uint32_t number, bool deep, struct holder *holder);

/*
 * Whoever has just claimed a dead one's slot asks once more. Held up in between, it may have met
 * the same claim word again after a million participants, and it is a living one's: then it puts it
 * back.
 */
bool lives_after_all(struct view *view, uint32_t number);

/* The same for one participant and no later one in its slot: PRESENCE_NONE once it has left. */
presence presence_of_turn(struct view *view, uint32_t number, uint32_t turn, bool deep,
                          struct holder *holder);

/*
 * Sleeps while the word is `expected` and the other's life as it was seen, at most ns (0: not at
 * all, not HF_FOREVER). -ETIMEDOUT: so long it has been; 0: look again. Where the kernel cannot
 * wait on two words it is the word alone.
 */
int sleep_beside(shared_u32 *word, uint32_t expected, const struct holder *other, int64_t ns);

#endif
