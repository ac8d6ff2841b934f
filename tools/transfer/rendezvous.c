/* SPDX-License-Identifier: MIT */
#include "transfer/rendezvous.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "os/os.h"
#include "pause.h"

#define MS INT64_C(1000000)

/* Whoever takes over from a dead server holds its byte for a moment; only one that keeps it lives.
 * Together well under the half second in which a second server is to be refused. */
#define TAKE_OVER_TRIES    5
#define TAKE_OVER_PAUSE_MS 10
#define PUBLISH_TRIES      1000

static int descriptor(const struct rendezvous *r)
{
    return hf_memory_descriptor(r->memory);
}

int rendezvous_object(char object[HF_SHM_NAME_MAX + 1], const char *name, uint32_t user)
{
    size_t length = strlen(name);
    if (length == 0) {
        return -EINVAL;
    }
    if (length > RENDEZVOUS_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    for (const char *c = name; *c != 0; c++) {
        if (*c == '/' || (unsigned char)*c < 0x20 || *c == 0x7f) {
            return -EINVAL;
        }
    }
    (void)snprintf(object, HF_SHM_NAME_MAX + 1, "holdfast.%u.%s", user, name);
    return 0;
}

/* ---- the server's side ------------------------------------------------------------------- */

/* Opens what stands under the name and makes sure that it is this user's. */
static int open_owned(const char *object, uint32_t user, hf_memory **memory)
{
    int error = hf_shm_open(object, HF_READ_WRITE, memory);
    if (error == -EACCES || error == -EBADMSG) {
        return -EPERM;
    }
    if (error != 0) {
        return error;
    }
    uint32_t owner;
    error = hf_memory_owner(*memory, &owner, NULL, NULL);
    if (error == 0 && owner != user) {
        error = -EPERM;
    }
    if (error != 0) {
        hf_memory_close(*memory);
    }
    return error;
}

/* 0 if the name still stands for this object, -ENOENT if not. */
static int still_named(const char *object, hf_memory *memory)
{
    os_info named;
    os_info open;
    int error = os_shm_info(object, &named);
    if (error == 0) {
        error = os_info_get(hf_memory_descriptor(memory), &open);
    }
    if (error == 0 && (named.device != open.device || named.inode != open.inode)) {
        error = -ENOENT;
    }
    return error;
}

/*
 * Only who holds an object's SERVER_BYTE removes its name, and only after having seen, with the
 * byte held, that the name still stands for that object: two that take over at once cannot
 * remove each other's.
 */
int rendezvous_remove(const char *object)
{
    hf_memory *memory;
    int error = open_owned(object, geteuid(), &memory);
    if (error != 0) {
        return error;
    }
    error = os_byte_lock(hf_memory_descriptor(memory), SERVER_BYTE);
    if (error == 0) {
        error = still_named(object, memory);
    }
    if (error == 0) {
        error = hf_shm_remove(object);
    }
    hf_memory_close(memory);
    return error;
}

/* Publishes under the name, past any dead server's leftover. */
static int publish(struct rendezvous *r)
{
    int busy = 0;
    for (int turn = 0; turn < PUBLISH_TRIES; turn++) {
        int error = hf_shm_publish(r->memory, r->object);
        if (error != -EEXIST) {
            return error;
        }
        error = rendezvous_remove(r->object);
        if (error == -EBUSY && ++busy < TAKE_OVER_TRIES) {
            pause_ms(TAKE_OVER_PAUSE_MS);
        } else if (error != 0 && error != -ENOENT) { /* -ENOENT: somebody else has removed it */
            return error;
        }
    }
    return -EBUSY; /* others come and go under the name faster than we */
}

static int map(struct rendezvous *r)
{
    int error = hf_region_map(r->memory, NULL, &r->region);
    if (error == 0) {
        r->shared = hf_region_address(r->region);
    }
    return error;
}

int rendezvous_create(struct rendezvous *r, const char *name, const hf_memory_options *options,
                      const struct place *target)
{
    memset(r, 0, sizeof *r);
    int error = rendezvous_object(r->object, name, geteuid());
    if (error != 0) {
        return error;
    }
    hf_memory_options with = *options;
    with.sparse = true; /* lanes are reserved as they are taken */
    error = hf_shm_prepare(RENDEZVOUS_SIZE, &with, &r->memory);
    if (error != 0) {
        return error == -EPERM ? -EACCES : error; /* not: somebody else has the name */
    }
    error = hf_memory_reserve(r->memory, 0, LANES_AT);
    if (error == 0) {
        error = map(r);
    }
    if (error == 0) {
        r->shared->magic = RENDEZVOUS_MAGIC;
        r->shared->version = RENDEZVOUS_VERSION;
        r->shared->target_device = target->device;
        r->shared->target_inode = target->inode;
        error = os_byte_lock(descriptor(r), SERVER_BYTE); /* alive before it can be seen */
    }
    if (error == 0) {
        error = publish(r);
    }
    if (error != 0) {
        rendezvous_close(r);
    }
    return error;
}

void rendezvous_unpublish(struct rendezvous *r)
{
    if (still_named(r->object, r->memory) == 0) {
        (void)hf_shm_remove(r->object);
    }
}

uint32_t rendezvous_rung(const struct rendezvous *r)
{
    return load_acquire(&r->shared->doorbell); /* partner: rendezvous_ring */
}

void rendezvous_ring(struct rendezvous *r)
{
    (void)fetch_add_release(&r->shared->doorbell, 1); /* partner: rendezvous_rung */
    os_wake(&r->shared->doorbell, 1);
}

void rendezvous_listen(struct rendezvous *r, uint32_t rung, int64_t timeout_ns)
{
    (void)os_wait(&r->shared->doorbell, rung, timeout_ns);
}

bool rendezvous_is_calling(const struct rendezvous *r, unsigned lane)
{
    return load_acquire(&r->shared->lanes[lane].state) == LANE_CALLING; /* partner: call */
}

static uint64_t lane_byte(unsigned lane)
{
    return lane_place(lane) + 2;
}

/* Does another process hold the lane? Where the system cannot tell, yes. */
static bool lane_is_held(const struct rendezvous *r, unsigned lane)
{
    bool held;
    return os_byte_locked(descriptor(r), lane_byte(lane), &held) != 0 || held;
}

bool rendezvous_is_abandoned(const struct rendezvous *r, unsigned lane)
{
    uint32_t state = load_acquire(&r->shared->lanes[lane].state);
    return state != LANE_FREE && state != LANE_CALLING && !lane_is_held(r, lane);
}

bool rendezvous_is_left(const struct rendezvous *r, unsigned lane)
{
    return !lane_is_held(r, lane);
}

/* Opens both pipes of a lane for one side. */
static int open_pipes(struct rendezvous *r, unsigned lane, uint64_t out, uint64_t in,
                      struct connection *c)
{
    *c = (struct connection){.lane = lane};
    uint64_t place = lane_place(lane);
    int error = hf_pipe_open(r->memory, r->region, place + out, HF_PIPE_WRITER, &c->out);
    if (error == 0) {
        error = hf_pipe_open(r->memory, r->region, place + in, HF_PIPE_READER, &c->in);
    }
    if (error != 0) {
        connection_close(c);
    }
    return error;
}

int rendezvous_accept(struct rendezvous *r, unsigned lane, struct connection *c)
{
    /* A client reserves it, but one that means us harm need not have. */
    int error = hf_memory_reserve(r->memory, lane_place(lane), LANE_STRIDE);
    if (error == 0) {
        error = open_pipes(r, lane, LANE_REPLY, LANE_DATA, c);
    }
    _Atomic uint32_t *state = &r->shared->lanes[lane].state;
    store_release(state, error == 0 ? LANE_SERVING : LANE_LEFT); /* partner: await_answer */
    os_wake(state, 1);
    return error;
}

bool rendezvous_free_lane(struct rendezvous *r, unsigned lane)
{
    if (lane_is_held(r, lane)) {
        return false;
    }
    (void)hf_memory_discard(r->memory, lane_place(lane), LANE_STRIDE);
    store_release(&r->shared->lanes[lane].state, LANE_FREE); /* partner: take_lane */
    return true;
}

/* ---- the client's side ------------------------------------------------------------------- */

bool rendezvous_server_lives(const struct rendezvous *r)
{
    bool held;
    /* Where the system cannot tell, a death is never inferred. */
    return os_byte_locked(descriptor(r), SERVER_BYTE, &held) != 0 || held;
}

int rendezvous_open(struct rendezvous *r, const char *name, uint32_t user)
{
    memset(r, 0, sizeof *r);
    int error = rendezvous_object(r->object, name, user);
    if (error != 0) {
        return error;
    }
    error = open_owned(r->object, user, &r->memory);
    if (error != 0) {
        r->memory = NULL;
        return error;
    }
    uint64_t size;
    error = hf_memory_size(r->memory, &size);
    if (error == 0 && size != RENDEZVOUS_SIZE) {
        error = -EBADMSG;
    }
    if (error == 0) {
        error = map(r);
    }
    if (error == 0 &&
        (r->shared->magic != RENDEZVOUS_MAGIC || r->shared->version != RENDEZVOUS_VERSION)) {
        error = -EBADMSG;
    }
    if (error == 0 && !rendezvous_server_lives(r)) {
        error = -ENOENT;
    }
    if (error != 0) {
        rendezvous_close(r);
    }
    return error;
}

/* Makes both pipes in memory of the lane's own. */
static int furnish_lane(struct rendezvous *r, unsigned lane, struct connection *c)
{
    uint64_t place = lane_place(lane);
    char *base = hf_region_address(r->region);
    int error = hf_memory_reserve(r->memory, place, LANE_STRIDE);
    if (error == 0) {
        error = hf_pipe_init(base + place + LANE_REPLY, REPLY_CAPACITY);
    }
    if (error == 0) {
        error = hf_pipe_init(base + place + LANE_DATA, DATA_CAPACITY);
    }
    if (error == 0) {
        error = open_pipes(r, lane, LANE_DATA, LANE_REPLY, c);
    }
    return error;
}

/* Takes this lane if it is free; -EBUSY if not. */
static int take_lane(struct rendezvous *r, unsigned lane, struct connection *c)
{
    _Atomic uint32_t *state = &r->shared->lanes[lane].state;
    int error = os_byte_lock(descriptor(r), lane_byte(lane));
    if (error != 0) {
        return error;
    }
    if (load_acquire(state) != LANE_FREE) {
        error = -EBUSY; /* its last client has gone, and the server has not yet freed it */
    } else {
        store_release(state, LANE_TAKEN); /* partner: rendezvous_is_abandoned */
        error = furnish_lane(r, lane, c);
    }
    if (error != 0) {
        (void)os_byte_unlock(descriptor(r), lane_byte(lane));
    }
    return error;
}

/* Rings, and waits for the server to take the call. */
static int await_answer(struct rendezvous *r, unsigned lane)
{
    _Atomic uint32_t *state = &r->shared->lanes[lane].state;
    store_release(state, LANE_CALLING); /* partner: rendezvous_is_calling */
    rendezvous_ring(r);
    for (;;) {
        uint32_t now = load_acquire(state);
        if (now != LANE_CALLING) {
            return now == LANE_SERVING ? 0 : -ECONNREFUSED;
        }
        if (!rendezvous_server_lives(r)) {
            return -ENOENT;
        }
        (void)os_wait(state, LANE_CALLING, 50 * MS);
    }
}

int rendezvous_call(struct rendezvous *r, struct connection *c)
{
    for (unsigned lane = 0; lane < LANE_COUNT; lane++) {
        int error = take_lane(r, lane, c);
        if (error == 0) {
            error = await_answer(r, lane);
            if (error != 0) {
                connection_close(c);
                (void)os_byte_unlock(descriptor(r), lane_byte(lane));
            }
            return error;
        }
        if (error != -EBUSY) {
            return error;
        }
    }
    return rendezvous_server_lives(r) ? -EAGAIN : -ENOENT;
}

void connection_close(struct connection *c)
{
    hf_pipe_close(c->in);
    hf_pipe_close(c->out);
    c->in = NULL;
    c->out = NULL;
}

void rendezvous_close(struct rendezvous *r)
{
    hf_region_unmap(r->region);
    hf_memory_close(r->memory); /* and with it go the locks */
    r->region = NULL;
    r->memory = NULL;
}
