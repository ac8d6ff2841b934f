/* SPDX-License-Identifier: MIT */
/* Where a server and its clients meet: making, finding, entering and leaving the rendezvous. */
#ifndef TRANSFER_RENDEZVOUS_H
#define TRANSFER_RENDEZVOUS_H

#include <stdbool.h>
#include <stdint.h>

#include "holdfast/memory.h"
#include "holdfast/pipe.h"
#include "holdfast/segment.h"
#include "transfer/rendezvous_layout.h"

/* A rendezvous as this process sees it. */
struct rendezvous {
    hf_segment *segment;
    struct rendezvous_layout *shared;
    char object[HF_SHM_NAME_MAX + 1]; /* the shared memory object's name */
};

/* One client's connection, from either side: what it sends on and what it receives on. */
struct connection {
    unsigned lane;
    hf_pipe *out;
    hf_pipe *in;
};

/* A directory, as the system tells them apart. */
struct place {
    uint64_t device;
    uint64_t inode;
};

#define RENDEZVOUS_NAME_MAX 200

/* Besides errnos: the group is not one of the caller's; no shared memory can be made here. */
enum { RENDEZVOUS_GROUP = -100001, RENDEZVOUS_NO_MEMORY = -100002 };

/* The object's name for a user's rendezvous; -EINVAL or -ENAMETOOLONG. */
int rendezvous_object(char object[HF_SHM_NAME_MAX + 1], const char *name, uint32_t user);

/*
 * The server's side. Takes over from a dead server of that name. `target` is where files go.
 * -EBUSY: a live server has the name. -EPERM: somebody else planted something under it.
 * -EACCES: what is there is the caller's own, and closed to it. RENDEZVOUS_GROUP;
 * RENDEZVOUS_NO_MEMORY.
 */
int rendezvous_create(struct rendezvous *r, const char *name, const hf_memory_options *options,
                      const struct place *target);

/* Removes what a dead server left. -EBUSY, -EPERM, -EACCES as above; -ENOENT: nothing, or no
 * longer. */
int rendezvous_remove(const char *object);

/* Takes the name away, so that no client finds us any more. */
void rendezvous_unpublish(struct rendezvous *r);

/* How often the doorbell has been rung; ringing it; sleeping while it is at `rung`. */
uint32_t rendezvous_rung(const struct rendezvous *r);
void rendezvous_ring(struct rendezvous *r);
void rendezvous_listen(struct rendezvous *r, uint32_t rung, int64_t timeout_ns);

bool rendezvous_is_calling(const struct rendezvous *r, unsigned lane);

/* Is a lane that we do not serve neither free nor calling, and nobody's? */
bool rendezvous_is_abandoned(const struct rendezvous *r, unsigned lane);

/* Does a live client have the lane? */
bool rendezvous_is_held(const struct rendezvous *r, unsigned lane);

/* The lane's memory; NULL if it has none. */
char *rendezvous_lane(const struct rendezvous *r, unsigned lane);

/* Answers the call on a lane; on an error the client is told that there is no connection. */
int rendezvous_accept(struct rendezvous *r, unsigned lane, struct connection *c);

/* Frees the lane if its client has left it; false: not yet, try again. */
bool rendezvous_free_lane(struct rendezvous *r, unsigned lane);

/*
 * The client's side. -ENOENT: no server, or a dead one. -EPERM: the object is not that user's;
 * -EACCES: it is, and the server does not let us in. -EBADMSG: it is no rendezvous.
 */
int rendezvous_open(struct rendezvous *r, const char *name, uint32_t user);

/* Takes a lane. -EAGAIN: all are taken; -ENOENT: the server has died; -ECONNREFUSED: it could not
 * serve us; -ENOSPC. */
int rendezvous_call(struct rendezvous *r, struct connection *c);

bool rendezvous_server_lives(const struct rendezvous *r);

/* Closes the pipes: what the other side takes for the end. */
void connection_close(struct connection *c);

/* Lets go of everything, a client's lane too; connections are closed already. */
void rendezvous_close(struct rendezvous *r);

#endif
