/* SPDX-License-Identifier: MIT */
/*
 * The pipe. Both sides run the same code: a side has an amount available (free bytes for the
 * writer, bytes to read for the reader), takes a run of it, and advances its position.
 *
 * Crash order: a side's progress is one store to its position. Everything before it is in the
 * bytes beyond the position, where nobody looks; so a death leaves the pipe valid at any
 * instruction.
 *
 * Sleeping, with the two sides of the wait numbered:
 *     sleeper  (1) needs = n  (2) store-load fence  (3) looks at the peer's position again, sleeps
 *     peer     (4) position = p  (5) store-load fence  (6) looks at needs; enough? clears it, wakes
 * Of (3) and (6) at least one sees the other's store. A peer that dies between clearing and waking
 * loses a wake: every sleep ends after SLICE_NS at the latest and looks again, at the peer's
 * position and at whether it lives.
 *
 * A side is a participant's, the one of the thread that opened it: its line names the slot, and who
 * sleeps for it sleeps on its life word as well, which the kernel changes when it dies.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "channel/pipe_layout.h"
#include "holdfast/pipe.h"
#include "os/os.h"
#include "segment/handle.h"
#include "segment/recovery.h"

#define PIPE_HANDLE_MAGIC UINT32_C(0x70697065) /* "pipe" */

/* The longest sleep. After a whole one it is always time to ask whether the peer lives. */
#define SLICE_NS (INT64_C(50) * 1000 * 1000)

/* A peer that has not moved for this long is asked after. */
#define ASK_NS (UINT64_C(40) * 1000 * 1000)

/* Spins, each about 10-40 ns. Adapts between the two: doubled when spinning helped, halved when
   it ended in sleep. */
#define SPIN_MIN 16u
#define SPIN_MAX 1024u

struct hf_pipe {
    uint32_t magic;
    hf_pipe_side side;
    unsigned spin_limit;
    struct view *view;
    uint64_t owner; /* what mine->owner says: we are open */
    struct pipe_layout *shared;
    struct pipe_line *mine;
    struct pipe_line *peer;
    uint64_t capacity;      /* the shared one, checked once and never looked at again */
    uint64_t position;      /* what mine->position says; the peer could have changed that one */
    uint64_t seen;          /* of the peer's position */
    uint64_t run;           /* bytes of the run given out and not yet committed or released */
    uint64_t asked_ns;      /* when we last knew that the peer lives: it moved, or we asked */
    uint64_t peer_position; /* where it was then */
    uint64_t peer_owner;    /* the peer's, once it has been seen open */
    bool peer_died;
    struct holder peer_life;
};

uint64_t hf_pipe_footprint(uint64_t capacity)
{
    bool valid = is_power_of_two(capacity) && capacity >= HF_PIPE_CAPACITY_MIN &&
                 capacity <= HF_PIPE_CAPACITY_MAX;
    return valid ? sizeof(struct pipe_layout) + capacity : 0;
}

/* The place's offset, if a pipe may stand there; 0. */
static uint64_t place_of(const hf_segment *segment, const void *place)
{
    struct view *view = segment->view;
    uint64_t offset = (uint64_t)((const char *)place - view->base);
    bool good = offset % HF_PIPE_ALIGNMENT == 0 && offset / SEGMENT_PAGE >= view->first_page &&
                view_holds(view, offset, sizeof(struct pipe_layout));
    return good ? offset : 0;
}

int hf_pipe_init(hf_segment *segment, void *place, uint64_t capacity)
{
    uint64_t footprint = hf_pipe_footprint(capacity);
    uint64_t offset = is_segment(segment) ? place_of(segment, place) : 0;
    if (offset == 0 || footprint == 0 || !view_holds(segment->view, offset, footprint)) {
        return -EINVAL;
    }
    if (segment->access == HF_READ_ONLY) {
        return -EACCES;
    }
    struct pipe_layout *shared = place;
    /* No pipe, until it is whole: whoever dies in here leaves nothing that can be opened. */
    HF_LOG_STORE(&shared->magic, 0);
    fence_stores();
    memset((char *)place + offsetof(struct pipe_layout, lines), 0, sizeof shared->lines);
    shared->version = PIPE_VERSION;
    shared->capacity = capacity;
    HF_LOG_PUBLISH(&shared->magic, PIPE_MAGIC); /* partner: validate */
    return 0;
}

/* ---- opening and closing ----------------------------------------------------------------- */

/* Is there a whole pipe at the offset? Takes the capacity out once: a peer could change it between
   check and use. */
static int validate(struct view *view, uint64_t offset, uint64_t *capacity)
{
    const struct pipe_layout *shared = (const void *)(view->base + offset);
    if (load_acquire(&shared->magic) != PIPE_MAGIC || shared->version != PIPE_VERSION) {
        return -EBADMSG;
    }
    uint64_t claimed = *(const volatile uint64_t *)&shared->capacity;
    uint64_t footprint = hf_pipe_footprint(claimed);
    if (footprint == 0 || !view_holds(view, offset, footprint)) {
        return -EBADMSG;
    }
    *capacity = claimed;
    return 0;
}

static uint64_t owner_word(const struct participant *p, uint64_t state)
{
    return state | (uint64_t)p->number << 8 | (uint64_t)p->turn << 32;
}

static uint32_t state_of(uint64_t owner)
{
    return (uint32_t)(owner & 0xff);
}

/* Takes the side, in one step. */
static int take_side(hf_pipe *pipe)
{
    pipe->position = load_relaxed(&pipe->mine->position);
    pipe->seen = load_acquire(&pipe->peer->position);
    uint64_t written = pipe->side == HF_PIPE_WRITER ? pipe->position : pipe->seen;
    uint64_t released = pipe->side == HF_PIPE_WRITER ? pipe->seen : pipe->position;
    if (written - released > pipe->capacity) {
        return -EBADMSG;
    }
    pipe->peer_position = pipe->seen;
    pipe->asked_ns = os_now_ns();
    uint64_t nobody = PIPE_SIDE_ABSENT;
    return cas_release(&pipe->mine->owner, &nobody, pipe->owner)
               ? 0
               : -EBUSY; /* partner: look_at_peer */
}

/* Quietly. */
static int open_side(struct participant *p, struct pipe_layout *shared, hf_pipe_side side,
                     uint64_t capacity, hf_pipe **pipe)
{
    hf_pipe *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    *made = (hf_pipe){.magic = PIPE_HANDLE_MAGIC,
                      .side = side,
                      .spin_limit = SPIN_MIN,
                      .view = p->view,
                      .owner = owner_word(p, PIPE_SIDE_OPEN),
                      .shared = shared,
                      .mine = &shared->lines[side],
                      .peer = &shared->lines[1 - (int)side],
                      .capacity = capacity};
    int error = take_side(made);
    if (error != 0) {
        free(made);
        return error;
    }
    *pipe = made;
    return 0;
}

static int open_as(struct participant *p, void *place, hf_pipe_side side, hf_pipe **pipe)
{
    struct pipe_layout *shared = place;
    uint64_t capacity;
    int error = validate(p->view, (uint64_t)((char *)place - p->view->base), &capacity);
    if (error != 0) {
        return error;
    }
    os_quiet quiet;
    os_quiet_begin(&quiet); /* the side and its handle at once, for whoever jumps out */
    error = open_side(p, shared, side, capacity, pipe);
    os_quiet_end(&quiet);
    return error;
}

int hf_pipe_open(hf_segment *segment, void *place, hf_pipe_side side, hf_pipe **pipe)
{
    struct participant *p;
    if (pipe == NULL || (side != HF_PIPE_WRITER && side != HF_PIPE_READER) ||
        !is_segment(segment) || place_of(segment, place) == 0) {
        return -EINVAL;
    }
    int error = enter(segment, &p);
    return error != 0 ? error : call_end(p, open_as(p, place, side, pipe));
}

static bool is_pipe(const hf_pipe *pipe, hf_pipe_side side)
{
    return pipe != NULL && pipe->magic == PIPE_HANDLE_MAGIC && pipe->side == side;
}

/* Wakes the peer if it sleeps for what is now there, or if `always`. */
static void wake_peer(hf_pipe *pipe, uint64_t available_to_peer, bool always)
{
    fence_store_load();                                /* (5), partner (2) */
    uint32_t needs = load_relaxed(&pipe->peer->needs); /* (6) */
    if (needs != 0 && (always || available_to_peer >= needs)) {
        store_relaxed(&pipe->peer->needs, 0);
        os_wake(&pipe->peer->needs, 1);
    }
}

void hf_pipe_close(hf_pipe *pipe)
{
    if (pipe == NULL || pipe->magic != PIPE_HANDLE_MAGIC) {
        return;
    }
    uint64_t closed = pipe->owner - PIPE_SIDE_OPEN + PIPE_SIDE_CLOSED;
    HF_LOG_PUBLISH(&pipe->mine->owner, closed); /* partner: look_at_peer */
    wake_peer(pipe, 0, true);
    pipe->magic = 0;
    os_free(pipe);
}

/* ---- waiting ----------------------------------------------------------------------------- */

/* Looks at the peer's position and tells how much there is for this side. */
static int look(hf_pipe *pipe, uint64_t *available)
{
    pipe->seen = load_acquire(&pipe->peer->position); /* partner: advance */
    if (pipe->side == HF_PIPE_READER) {
        *available = pipe->seen - pipe->position;
        return *available <= pipe->capacity ? 0 : -EBADMSG;
    }
    uint64_t used = pipe->position - pipe->seen;
    *available = pipe->capacity - used;
    return used <= pipe->capacity ? 0 : -EBADMSG;
}

typedef enum peer_state { PEER_THERE, PEER_CLOSED, PEER_DEAD } peer_state;

/* Is it time to ask whether the peer lives? Not while it moves: that is life enough. */
static bool time_to_ask(hf_pipe *pipe)
{
    uint64_t now = os_now_ns();
    uint64_t position = load_relaxed(&pipe->peer->position);
    if (position != pipe->peer_position) {
        pipe->peer_position = position;
        pipe->asked_ns = now;
    }
    return now - pipe->asked_ns >= ASK_NS;
}

/* Whoever met a death helps those who wait for the dead elsewhere. */
static void recover_peer(hf_pipe *pipe, uint32_t number)
{
    struct participant *me;
    if (participant_of(pipe->view, &me) == 0 && call_begin(me) == 0) {
        (void)recovery_of(me, number);
        (void)call_end(me, 0);
    }
}

/* Does an open peer live? `deep`: asks the system. */
static bool peer_lives(hf_pipe *pipe, uint64_t owner, bool deep)
{
    uint32_t number = (uint32_t)(owner >> 8) & SLOT_NUMBER_MAX;
    uint32_t turn = (uint32_t)(owner >> 32);
    if (deep) {
        pipe->asked_ns = os_now_ns();
    }
    presence there = presence_of_turn(pipe->view, number, turn, deep, &pipe->peer_life);
    if (there == PRESENCE_DEAD) {
        recover_peer(pipe, number);
    }
    return there == PRESENCE_ALIVE;
}

/* 0 with *state, or -EBADMSG for one that no peer of ours writes. */
static int look_at_peer(hf_pipe *pipe, bool may_ask, peer_state *state)
{
    uint64_t now = load_acquire(&pipe->peer->owner); /* partners: take_side, hf_pipe_close */
    if (state_of(now) == PIPE_SIDE_OPEN && may_ask && !pipe->peer_died &&
        !peer_lives(pipe, now, time_to_ask(pipe))) {
        /* It may have closed between the two looks. */
        now = load_acquire(&pipe->peer->owner);
        pipe->peer_died = state_of(now) == PIPE_SIDE_OPEN;
    }
    uint64_t before = pipe->peer_owner;
    bool possible =
        state_of(now) == PIPE_SIDE_ABSENT ? now == 0 : state_of(now) <= PIPE_SIDE_CLOSED;
    bool forward = now >> 8 == before >> 8 && state_of(now) >= state_of(before);
    if (!possible || (before != 0 && !forward)) {
        return -EBADMSG; /* a side is one participant's, and its life only goes forward */
    }
    pipe->peer_owner = now;
    if (pipe->peer_died) { /* and stays so, though another thread may close its handle */
        *state = PEER_DEAD;
    } else {
        *state = state_of(now) == PIPE_SIDE_CLOSED ? PEER_CLOSED : PEER_THERE;
    }
    return 0;
}

/*
 * One attempt: 0 with *available >= minimum, or with less where there will never be more (the
 * reader's end of stream); -EAGAIN: not yet; -EPIPE, -ECONNRESET: never. Asks after a peer that
 * has not moved for a while, if it may.
 */
static int attempt(hf_pipe *pipe, uint64_t minimum, bool may_ask, uint64_t *available)
{
    /* The peer's state before its position: what it committed before it went must be seen. */
    peer_state peer;
    int error = look_at_peer(pipe, may_ask, &peer);
    if (error == 0) {
        error = look(pipe, available);
    }
    if (error != 0) {
        return error;
    }
    if (pipe->side == HF_PIPE_WRITER) {
        if (peer != PEER_THERE) {
            return -EPIPE;
        }
        return *available >= minimum ? 0 : -EAGAIN;
    }
    if (*available >= minimum || peer == PEER_CLOSED) {
        return 0;
    }
    if (peer == PEER_DEAD) {
        return *available > 0 ? 0 : -ECONNRESET;
    }
    return -EAGAIN;
}

/* Spins as long as it has lately been worth it. */
static int spin(hf_pipe *pipe, uint64_t minimum, uint64_t *available)
{
    for (unsigned i = 0; i < pipe->spin_limit; i++) {
        int error = attempt(pipe, minimum, false, available);
        if (error != -EAGAIN) {
            pipe->spin_limit = pipe->spin_limit < SPIN_MAX ? pipe->spin_limit * 2 : SPIN_MAX;
            return error;
        }
        spin_pause();
    }
    pipe->spin_limit = pipe->spin_limit > SPIN_MIN ? pipe->spin_limit / 2 : SPIN_MIN;
    return -EAGAIN;
}

/* One slice of sleep, unless there is something. */
static int sleep_once(hf_pipe *pipe, uint64_t minimum, int64_t limit_ns, uint64_t *available)
{
    store_relaxed(&pipe->mine->needs, (uint32_t)minimum); /* (1) */
    fence_store_load();                                   /* (2), partner (5) */
    int error = attempt(pipe, minimum, true, available);  /* (3) */
    if (error == -EAGAIN) {
        int64_t slice = limit_ns >= 0 && limit_ns < SLICE_NS ? limit_ns : SLICE_NS;
        (void)sleep_beside(&pipe->mine->needs, (uint32_t)minimum, &pipe->peer_life, slice);
        /* However it ended: signals may end every sleep early. */
        error = attempt(pipe, minimum, true, available);
    }
    store_relaxed(&pipe->mine->needs, 0);
    return error;
}

static int wait_for(hf_pipe *pipe, uint64_t minimum, int64_t timeout_ns, uint64_t *available)
{
    /* A writer asks even while there is room: it might never have to wait for a dead reader. */
    int error = attempt(pipe, minimum, pipe->side == HF_PIPE_WRITER, available);
    if (error != -EAGAIN) {
        return error;
    }
    if (timeout_ns == 0) { /* who only ever tries must learn of a death too, in time */
        return attempt(pipe, minimum, true, available);
    }
    uint64_t start = os_now_ns();
    error = spin(pipe, minimum, available);
    while (error == -EAGAIN) {
        int64_t left = HF_FOREVER;
        if (timeout_ns > 0) {
            uint64_t passed = os_now_ns() - start;
            if (passed >= (uint64_t)timeout_ns) {
                error = attempt(pipe, minimum, true, available);
                return error == -EAGAIN ? -ETIMEDOUT : error;
            }
            left = timeout_ns - (int64_t)passed;
        }
        error = sleep_once(pipe, minimum, left, available);
    }
    return error;
}

/* ---- runs -------------------------------------------------------------------------------- */

/* The run at this side's position: up to `available`, up to the ring's end. */
static void *give_run(hf_pipe *pipe, uint64_t available, uint64_t *length)
{
    uint64_t place = pipe->position & (pipe->capacity - 1);
    pipe->run = min_u64(available, pipe->capacity - place);
    *length = pipe->run;
    return pipe->shared->ring + place;
}

/* Moves this side's position on by `length` bytes of the run. */
static int advance(hf_pipe *pipe, uint64_t length)
{
    if (length > pipe->run) {
        return -EINVAL;
    }
    pipe->run -= length;
    pipe->position += length;
    HF_LOG_PUBLISH(&pipe->mine->position, pipe->position); /* (4), partner: look */
    uint64_t ahead = pipe->position - load_relaxed(&pipe->peer->position);
    wake_peer(pipe, pipe->side == HF_PIPE_WRITER ? ahead : pipe->capacity + ahead, false);
    return 0;
}

/* Waits for `minimum` and gives the run: what reserve and peek share. */
static int wait_for_run(hf_pipe *pipe, uint64_t minimum, int64_t timeout_ns, void **run,
                        uint64_t *length)
{
    if (length == NULL || minimum < 1 || minimum > pipe->capacity || timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    uint64_t available;
    int error = wait_for(pipe, minimum, timeout_ns, &available);
    if (error == 0) {
        *run = give_run(pipe, available, length);
    }
    return error;
}

int hf_pipe_reserve(hf_pipe *pipe, uint64_t minimum, int64_t timeout_ns, void **run,
                    uint64_t *length)
{
    if (!is_pipe(pipe, HF_PIPE_WRITER) || run == NULL) {
        return -EINVAL;
    }
    return wait_for_run(pipe, minimum, timeout_ns, run, length);
}

int hf_pipe_commit(hf_pipe *pipe, uint64_t length)
{
    return is_pipe(pipe, HF_PIPE_WRITER) ? advance(pipe, length) : -EINVAL;
}

int hf_pipe_peek(hf_pipe *pipe, uint64_t minimum, int64_t timeout_ns, const void **run,
                 uint64_t *length)
{
    if (!is_pipe(pipe, HF_PIPE_READER) || run == NULL) {
        return -EINVAL;
    }
    void *start;
    int error = wait_for_run(pipe, minimum, timeout_ns, &start, length);
    if (error == 0) {
        *run = start;
    }
    return error;
}

int hf_pipe_release(hf_pipe *pipe, uint64_t length)
{
    return is_pipe(pipe, HF_PIPE_READER) ? advance(pipe, length) : -EINVAL;
}

/* ---- copying ----------------------------------------------------------------------------- */

int hf_pipe_write(hf_pipe *pipe, const void *bytes, size_t length, int64_t timeout_ns,
                  size_t *written)
{
    size_t done = 0;
    bool valid = is_pipe(pipe, HF_PIPE_WRITER) && (bytes != NULL || length == 0);
    int error = valid ? 0 : -EINVAL;
    uint64_t start = timeout_ns > 0 ? os_now_ns() : 0;
    while (error == 0 && done < length) {
        int64_t left = timeout_ns;
        if (timeout_ns > 0) {
            uint64_t passed = os_now_ns() - start;
            left = passed < (uint64_t)timeout_ns ? timeout_ns - (int64_t)passed : 0;
        }
        void *run;
        uint64_t room;
        error = hf_pipe_reserve(pipe, 1, left, &run, &room);
        if (error == 0) {
            size_t n = (size_t)min_u64(room, length - done);
            memcpy(run, (const char *)bytes + done, n);
            error = hf_pipe_commit(pipe, n);
            done += n;
        } else if (error == -EAGAIN && timeout_ns > 0) {
            error = -ETIMEDOUT;
        }
    }
    if (written != NULL) {
        *written = done;
    }
    return error;
}

int hf_pipe_read(hf_pipe *pipe, void *bytes, size_t length, int64_t timeout_ns, size_t *got)
{
    if (bytes == NULL || length == 0 || got == NULL) {
        return -EINVAL;
    }
    const void *run;
    uint64_t there;
    int error = hf_pipe_peek(pipe, 1, timeout_ns, &run, &there);
    if (error != 0) {
        return error;
    }
    size_t n = (size_t)min_u64(there, length);
    memcpy(bytes, run, n);
    *got = n;
    return hf_pipe_release(pipe, n);
}
