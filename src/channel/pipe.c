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
 * Being alive is a lock on one byte of the memory object, at the pipe's own offset (plus one for
 * the reader), held by a descriptor that no one else has (see os_byte_lock).
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
    int fd; /* holds the lock that says we live */
    unsigned spin_limit;
    struct pipe_layout *shared;
    struct pipe_line *mine;
    struct pipe_line *peer;
    uint64_t alive_byte;    /* of side 0; side 1 is one further */
    uint64_t capacity;      /* the shared one, checked once and never looked at again */
    uint64_t position;      /* what mine->position says; the peer could have changed that one */
    uint64_t seen;          /* of the peer's position */
    uint64_t run;           /* bytes of the run given out and not yet committed or released */
    uint64_t asked_ns;      /* when we last knew that the peer lives: it moved, or we asked */
    uint64_t peer_position; /* where it was then */
    bool peer_was_open;
    bool peer_died;
};

uint64_t hf_pipe_footprint(uint64_t capacity)
{
    bool valid = is_power_of_two(capacity) && capacity >= HF_PIPE_CAPACITY_MIN &&
                 capacity <= HF_PIPE_CAPACITY_MAX;
    return valid ? sizeof(struct pipe_layout) + capacity : 0;
}

int hf_pipe_init(void *place, uint64_t capacity)
{
    if (place == NULL || (uintptr_t)place % HF_PIPE_ALIGNMENT != 0 ||
        hf_pipe_footprint(capacity) == 0) {
        return -EINVAL;
    }
    struct pipe_layout *shared = place;
    /* No pipe, until it is whole: whoever dies in here leaves nothing that can be opened. */
    store_relaxed(&shared->magic, 0);
    fence_stores();
    memset((char *)place + offsetof(struct pipe_layout, lines), 0, sizeof shared->lines);
    shared->version = PIPE_VERSION;
    shared->capacity = capacity;
    store_release(&shared->magic, PIPE_MAGIC); /* partner: validate */
    return 0;
}

/* ---- opening and closing ----------------------------------------------------------------- */

/* Is there a whole pipe in the `room` bytes at `shared`? Takes the capacity out once: a peer could
   change it between check and use. */
static int validate(const struct pipe_layout *shared, uint64_t room, uint64_t *capacity)
{
    if (room < sizeof *shared || load_acquire(&shared->magic) != PIPE_MAGIC ||
        shared->version != PIPE_VERSION) {
        return -EBADMSG;
    }
    uint64_t claimed = *(const volatile uint64_t *)&shared->capacity;
    uint64_t footprint = hf_pipe_footprint(claimed);
    if (footprint == 0 || footprint > room) {
        return -EBADMSG;
    }
    *capacity = claimed;
    return 0;
}

/* Takes the side: the lock first, so that nobody sees it open and yet not alive. */
static int take_side(hf_pipe *pipe)
{
    int error = os_byte_lock(pipe->fd, pipe->alive_byte + (uint64_t)pipe->side);
    if (error != 0) {
        return error;
    }
    if (load_acquire(&pipe->mine->state) != PIPE_SIDE_ABSENT) {
        return -EBUSY;
    }
    pipe->position = load_relaxed(&pipe->mine->position);
    pipe->seen = load_acquire(&pipe->peer->position);
    uint64_t written = pipe->side == HF_PIPE_WRITER ? pipe->position : pipe->seen;
    uint64_t released = pipe->side == HF_PIPE_WRITER ? pipe->seen : pipe->position;
    if (written - released > pipe->capacity) {
        return -EBADMSG;
    }
    pipe->peer_position = pipe->seen;
    pipe->asked_ns = os_now_ns();
    store_release(&pipe->mine->state, PIPE_SIDE_OPEN);
    return 0;
}

int hf_pipe_open(hf_memory *memory, hf_region *region, uint64_t offset, hf_pipe_side side,
                 hf_pipe **pipe)
{
    if (memory == NULL || region == NULL || pipe == NULL ||
        (side != HF_PIPE_WRITER && side != HF_PIPE_READER) || offset > hf_region_size(region)) {
        return -EINVAL;
    }
    if (hf_region_access(region) != HF_READ_WRITE) {
        return -EACCES;
    }
    char *place = (char *)hf_region_address(region) + offset;
    if ((uintptr_t)place % HF_PIPE_ALIGNMENT != 0) {
        return -EINVAL;
    }
    struct pipe_layout *shared = (void *)place;
    uint64_t capacity;
    int error = validate(shared, hf_region_size(region) - offset, &capacity);
    if (error != 0) {
        return error;
    }
    hf_pipe *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    *made = (hf_pipe){.magic = PIPE_HANDLE_MAGIC,
                      .side = side,
                      .spin_limit = SPIN_MIN,
                      .shared = shared,
                      .mine = &shared->lines[side],
                      .peer = &shared->lines[1 - (int)side],
                      .alive_byte = hf_region_offset(region) + offset,
                      .capacity = capacity};
    error = os_reopen(hf_memory_descriptor(memory), true, &made->fd);
    if (error == 0) {
        error = take_side(made);
        if (error != 0) {
            (void)os_close(made->fd);
        }
    }
    if (error != 0) {
        free(made);
        return error;
    }
    *pipe = made;
    return 0;
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
    store_release(&pipe->mine->state, PIPE_SIDE_CLOSED); /* partner: peer_state */
    wake_peer(pipe, 0, true);
    (void)os_close(pipe->fd); /* and with it goes the lock */
    pipe->magic = 0;
    free(pipe);
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

/* Does an open peer live? Asks the system. */
static bool peer_lives(hf_pipe *pipe)
{
    uint64_t byte = pipe->alive_byte + (uint64_t)(1 - (int)pipe->side);
    bool locked;
    pipe->asked_ns = os_now_ns();
    /* Where the system cannot tell, a death is never inferred. */
    return os_byte_locked(pipe->fd, byte, &locked) != 0 || locked;
}

/* 0 with *state, or -EBADMSG for one that no peer of ours writes. */
static int look_at_peer(hf_pipe *pipe, bool may_ask, peer_state *state)
{
    uint32_t now = load_acquire(&pipe->peer->state); /* partner: hf_pipe_close */
    if (now == PIPE_SIDE_OPEN && may_ask && !pipe->peer_died && time_to_ask(pipe) &&
        !peer_lives(pipe)) {
        /* It may have closed between the two looks. */
        now = load_acquire(&pipe->peer->state);
        pipe->peer_died = now == PIPE_SIDE_OPEN;
    }
    if (now > PIPE_SIDE_CLOSED || (now == PIPE_SIDE_ABSENT && pipe->peer_was_open)) {
        return -EBADMSG; /* a side's life only goes forward */
    }
    pipe->peer_was_open = pipe->peer_was_open || now != PIPE_SIDE_ABSENT;
    if (now == PIPE_SIDE_CLOSED) {
        *state = PEER_CLOSED;
    } else {
        *state = pipe->peer_died ? PEER_DEAD : PEER_THERE;
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
        (void)os_wait(&pipe->mine->needs, (uint32_t)minimum, slice);
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
    store_release(&pipe->mine->position, pipe->position); /* (4), partner: look */
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
