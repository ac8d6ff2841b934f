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
    os_info info;
    if (error == -EACCES && os_shm_info(object, &info) == 0 && info.owner == user) {
        return -EACCES; /* as asked for, and closed to us */
    }
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

/* The rendezvous in the segment; NULL if it is none. */
static struct rendezvous_layout *find_layout(hf_segment *segment)
{
    void *root;
    if (hf_segment_root(segment, 0, &root) != 0) {
        return NULL;
    }
    struct rendezvous_layout *layout = root;
    bool whole = hf_segment_root(segment, sizeof *layout, &root) == 0 &&
                 layout->magic == RENDEZVOUS_MAGIC && layout->version == RENDEZVOUS_VERSION;
    return whole ? layout : NULL;
}

static bool lives(hf_segment *segment, uint64_t participant)
{
    bool alive = false;
    hf_participant who = {participant};
    return hf_participant_lives(segment, who, &alive) == 0 && alive;
}

/* Is that the memory of a rendezvous whose server lives? Takes the memory over; closes it only in
 *segment (NULL: it is no segment). */
static bool is_alive(hf_memory *memory, hf_segment **segment)
{
    *segment = NULL;
    if (hf_segment_open_memory(memory, HF_READ_WRITE, segment) != 0) {
        *segment = NULL;
        return false;
    }
    struct rendezvous_layout *layout = find_layout(*segment);
    return layout != NULL && lives(*segment, load_acquire(&layout->server));
}

/*
 * Only who holds an object's REMOVER_BYTE removes its name, and only after having seen, with the
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
    hf_segment *segment;
    if (is_alive(memory, &segment)) {
        error = -EBUSY;
    }
    /* Only now: opening a segment gives its descriptor a description of its own, without locks. */
    if (error == 0) {
        error = os_byte_lock(hf_memory_descriptor(memory), REMOVER_BYTE);
    }
    if (error == 0) {
        error = still_named(object, memory);
    }
    if (error == 0) {
        error = hf_shm_remove(object);
    }
    if (segment != NULL) {
        hf_segment_close(segment);
    } else {
        hf_memory_close(memory);
    }
    return error;
}

/* Publishes under the name, past any dead server's leftover. */
static int publish(struct rendezvous *r)
{
    int busy = 0;
    for (int turn = 0; turn < PUBLISH_TRIES; turn++) {
        int error = hf_segment_publish(r->segment, r->object);
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

/* Fills the root in: alive before it can be seen. */
static int furnish(struct rendezvous *r, const struct place *target)
{
    void *root;
    hf_participant self;
    int error = hf_segment_root(r->segment, sizeof *r->shared, &root);
    if (error == 0) {
        error = hf_participant_self(r->segment, &self);
    }
    if (error != 0) {
        return error;
    }
    r->shared = root;
    r->shared->magic = RENDEZVOUS_MAGIC;
    r->shared->version = RENDEZVOUS_VERSION;
    r->shared->target_device = target->device;
    r->shared->target_inode = target->inode;
    store_release(&r->shared->server, self.value); /* partner: rendezvous_server_lives */
    return 0;
}

int rendezvous_create(struct rendezvous *r, const char *name, const hf_memory_options *options,
                      const struct place *target)
{
    memset(r, 0, sizeof *r);
    int error = rendezvous_object(r->object, name, geteuid());
    if (error != 0) {
        return error;
    }
    hf_segment_options with = {.maximum = RENDEZVOUS_MAXIMUM,
                               .mode = options->mode,
                               .group = options->group,
                               .set_group = options->set_group};
    error = hf_segment_prepare(RENDEZVOUS_SIZE, &with, &r->segment);
    if (error != 0) {
        r->segment = NULL;
        return error == -EPERM ? RENDEZVOUS_GROUP : error == -EACCES ? RENDEZVOUS_NO_MEMORY : error;
    }
    error = furnish(r, target);
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
    if (still_named(r->object, hf_segment_memory(r->segment)) == 0) {
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
    (void)os_wake(&r->shared->doorbell, 1);
}

void rendezvous_listen(struct rendezvous *r, uint32_t rung, int64_t timeout_ns)
{
    (void)os_wait(&r->shared->doorbell, rung, timeout_ns);
}

bool rendezvous_is_calling(const struct rendezvous *r, unsigned lane)
{
    return load_acquire(&r->shared->lanes[lane].state) == LANE_CALLING; /* partner: call */
}

bool rendezvous_is_held(const struct rendezvous *r, unsigned lane)
{
    uint64_t owner = load_acquire(&r->shared->lanes[lane].owner); /* partner: take_lane */
    return owner != 0 && lives(r->segment, owner);
}

bool rendezvous_is_abandoned(const struct rendezvous *r, unsigned lane)
{
    uint32_t state = load_acquire(&r->shared->lanes[lane].state);
    uint64_t owner = load_acquire(&r->shared->lanes[lane].owner);
    return (state != LANE_FREE || owner != 0) && state != LANE_CALLING &&
           !rendezvous_is_held(r, lane);
}

char *rendezvous_lane(const struct rendezvous *r, unsigned lane)
{
    return hf_segment_at(r->segment, r->shared->lanes[lane].memory);
}

/* Opens both pipes of a lane for one side. */
static int open_pipes(struct rendezvous *r, unsigned lane, uint64_t out, uint64_t in,
                      struct connection *c)
{
    *c = (struct connection){.lane = lane};
    char *place = rendezvous_lane(r, lane);
    if (place == NULL) {
        return -EBADMSG;
    }
    int error = hf_pipe_open(r->segment, place + out, HF_PIPE_WRITER, &c->out);
    if (error == 0) {
        error = hf_pipe_open(r->segment, place + in, HF_PIPE_READER, &c->in);
    }
    if (error != 0) {
        connection_close(c);
    }
    return error;
}

int rendezvous_accept(struct rendezvous *r, unsigned lane, struct connection *c)
{
    int error = open_pipes(r, lane, LANE_REPLY, LANE_DATA, c);
    shared_u32 *state = &r->shared->lanes[lane].state;
    store_release(state, error == 0 ? LANE_SERVING : LANE_LEFT); /* partner: await_answer */
    (void)os_wake(state, 1);
    return error;
}

bool rendezvous_free_lane(struct rendezvous *r, unsigned lane)
{
    struct lane_line *line = &r->shared->lanes[lane];
    uint64_t owner = load_acquire(&line->owner);
    if (owner != 0 && lives(r->segment, owner)) {
        return false;
    }
    if (line->memory.value != 0) {
        (void)hf_pages_free(r->segment, LANE_SIZE, &line->memory);
        (void)hf_segment_trim(r->segment, NULL);
    }
    store_release(&line->state, LANE_FREE); /* partner: take_lane */
    (void)cas_release(&line->owner, &owner, 0);
    return true;
}

/* ---- the client's side ------------------------------------------------------------------- */

bool rendezvous_server_lives(const struct rendezvous *r)
{
    return lives(r->segment, load_acquire(&r->shared->server)); /* partner: furnish */
}

/* Opens the segment that the memory is, if it is a rendezvous with a live server. Takes the memory
 * over. */
static int enter(struct rendezvous *r, hf_memory *memory)
{
    int error = hf_segment_open_memory(memory, HF_READ_WRITE, &r->segment);
    if (error != 0) {
        r->segment = NULL;
        hf_memory_close(memory);
        return error == -ENODATA || error == -EPROTONOSUPPORT || error == -ENOEXEC ? -EBADMSG
                                                                                   : error;
    }
    r->shared = find_layout(r->segment);
    if (r->shared == NULL) {
        return -EBADMSG;
    }
    return rendezvous_server_lives(r) ? 0 : -ENOENT;
}

int rendezvous_open(struct rendezvous *r, const char *name, uint32_t user)
{
    memset(r, 0, sizeof *r);
    int error = rendezvous_object(r->object, name, user);
    if (error != 0) {
        return error;
    }
    hf_memory *memory;
    error = open_owned(r->object, user, &memory);
    if (error != 0) {
        return error;
    }
    error = enter(r, memory);
    if (error != 0) {
        rendezvous_close(r);
    }
    return error;
}

/* Makes both pipes in memory of the lane's own. */
static int furnish_lane(struct rendezvous *r, unsigned lane, struct connection *c)
{
    int error = hf_pages_alloc(r->segment, LANE_SIZE, &r->shared->lanes[lane].memory);
    char *place = error == 0 ? rendezvous_lane(r, lane) : NULL;
    if (error == 0) {
        error = hf_pipe_init(r->segment, place + LANE_REPLY, REPLY_CAPACITY);
    }
    if (error == 0) {
        error = hf_pipe_init(r->segment, place + LANE_DATA, DATA_CAPACITY);
    }
    if (error == 0) {
        error = open_pipes(r, lane, LANE_DATA, LANE_REPLY, c);
    }
    return error;
}

/* Ours no more: the server frees it. */
static void give_lane_up(struct rendezvous *r, unsigned lane)
{
    store_release(&r->shared->lanes[lane].owner, 0); /* partner: rendezvous_is_held */
}

/* Takes this lane if it is free; -EBUSY if not. */
static int take_lane(struct rendezvous *r, unsigned lane, struct connection *c)
{
    struct lane_line *line = &r->shared->lanes[lane];
    hf_participant self;
    uint64_t nobody = 0;
    int error = hf_participant_self(r->segment, &self);
    if (error != 0) {
        return error;
    }
    if (!cas_acquire(&line->owner, &nobody, self.value)) {
        return -EBUSY;
    }
    if (load_acquire(&line->state) != LANE_FREE) {
        error = -EBUSY; /* its last client has gone, and the server has not yet freed it */
    } else {
        store_release(&line->state, LANE_TAKEN); /* partner: rendezvous_is_abandoned */
        error = furnish_lane(r, lane, c);
    }
    if (error != 0) {
        give_lane_up(r, lane);
    }
    return error;
}

/* Rings, and waits for the server to take the call. */
static int await_answer(struct rendezvous *r, unsigned lane)
{
    shared_u32 *state = &r->shared->lanes[lane].state;
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
                give_lane_up(r, lane);
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
    hf_segment_close(r->segment); /* and with it goes this participant */
    r->segment = NULL;
}
