/* SPDX-License-Identifier: MIT */
/*
 * The rendezvous: one segment per server, in which clients find it. This is its root; the server
 * and its clients are participants of the segment.
 *
 * A client takes a free lane for as long as it is connected, and pages of the segment for its two
 * pipes: reply (server -> client) and data (client -> server). The server takes them back.
 *
 * A lane's owner is the client that has it. Its state and who may change it:
 *     FREE -> TAKEN           the client that has become the lane's owner
 *     TAKEN -> CALLING        that client, its pipes made and opened
 *     CALLING -> SERVING      the server; or LEFT, if it cannot
 *     anything -> FREE        the server, once the owner has left or died
 * So a client that dies at any point leaves a free lane, or one that the server frees.
 */
#ifndef TRANSFER_RENDEZVOUS_LAYOUT_H
#define TRANSFER_RENDEZVOUS_LAYOUT_H

#include "base/shared.h"
#include "holdfast/segment.h"

#define RENDEZVOUS_MAGIC   UINT32_C(0x56524648) /* "HFRV" */
#define RENDEZVOUS_VERSION UINT32_C(2)

#define LANE_COUNT 64

#define REPLY_CAPACITY UINT64_C(4096)
#define DATA_CAPACITY  (UINT64_C(1) << 20)

/* Places within a lane. The data pipe stands so that its ring begins on a page. */
#define LANE_REPLY UINT64_C(0)
#define LANE_DATA  (UINT64_C(3) * 4096 - 384)
#define LANE_SIZE  (UINT64_C(3) * 4096 + DATA_CAPACITY)

/* Of the segment: at first, and at most: twice what all lanes take, for what slots cut up. */
#define RENDEZVOUS_SIZE    UINT64_C(65536)
#define RENDEZVOUS_MAXIMUM (RENDEZVOUS_SIZE + 2 * LANE_COUNT * LANE_SIZE)

/* Locked in a dead server's segment by whoever removes it: one at a time. */
#define REMOVER_BYTE UINT64_C(0)

enum { LANE_FREE = 0, LANE_TAKEN = 1, LANE_CALLING = 2, LANE_SERVING = 3, LANE_LEFT = 4 };

struct lane_line {
    shared_u32 state; /* LANE_*; futex: the client waits for it to leave CALLING */
    uint32_t unused_word;
    shared_u64 owner; /* the client, an hf_participant's value; 0: nobody */
    hf_off memory;    /* LANE_SIZE bytes of pages; 0: none */
    uint8_t unused[104];
};

struct rendezvous_layout {
    uint32_t magic;
    uint32_t version;
    shared_u32 doorbell; /* futex: how often a client has called */
    uint32_t unused_word;
    fixed_u64 target_device; /* the directory that files go into: it is not sent into itself */
    fixed_u64 target_inode;
    shared_u64 server; /* an hf_participant's value */
    uint8_t unused[88];
    struct lane_line lanes[LANE_COUNT];
};

HF_LAYOUT(offsetof(struct rendezvous_layout, doorbell) == 8);
HF_LAYOUT(offsetof(struct rendezvous_layout, target_device) == 16);
HF_LAYOUT(offsetof(struct rendezvous_layout, server) == 32);
HF_LAYOUT(offsetof(struct rendezvous_layout, lanes) == 128);
HF_LAYOUT(sizeof(struct lane_line) == 128);

#endif
