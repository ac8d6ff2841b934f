/* SPDX-License-Identifier: MIT */
/*
 * Participants: a thread attached to a segment has one slot in it, from its first call that changes
 * something until it ends. Here is the thread's own side, and how others see whether it lives.
 *
 * A participant belongs to its thread. Functions that take one are called by that thread.
 */
#ifndef HF_SEGMENT_PARTICIPANT_H
#define HF_SEGMENT_PARTICIPANT_H

#include "os/os.h"
#include "segment/view.h"

#define thread_here            hf_thread_here
#define participant_enter      hf_participant_enter
#define participant_leave_view hf_participant_leave_view
#define participant_of         hf_participant_of
#define presence_of            hf_presence_of

struct participant {
    struct slot *slot;
    struct view *view;
    uint32_t number;
    uint32_t turn;
    /* Inside a call. A signal handler that calls in, and whoever has jumped out, meets it set. */
    bool busy;
    bool tx_aborted; /* by an inner level; the outer ones have yet to hear of it */
    unsigned tx_depth;
    unsigned spin_limit; /* adapts */
    os_identity identity;
    os_life life;
    struct participant *next; /* of this thread, in another segment */
};

struct thread {
    const char *recent_base; /* the segment of `recent`; NULL: look it up */
    struct participant *recent;
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
    return likely(thread_here.recent_base == base && load_relaxed(fork_word) == thread_here.turn)
               ? thread_here.recent
               : NULL;
}

/* Gives this thread's slot in the view back, if it has one. Not inside a call of the library. */
void participant_leave_view(struct view *view);

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

#endif
