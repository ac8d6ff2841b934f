/* SPDX-License-Identifier: MIT */
/*
 * The rendezvous: one shared memory object per server, in which clients find it.
 *
 *         0  identity, doorbell
 *       128  one line per lane: who has it
 *     16384  lane 0: reply pipe (server -> client), data pipe (client -> server)
 *       ...  lane 1, ...
 *
 * A client takes a free lane for as long as it is connected. Only the first 16 KiB are backed
 * with memory from the start; a lane is, from the moment it is taken until it is free again.
 *
 * Bytes of the object that are locked while their owner lives (os_byte_lock):
 *     SERVER_BYTE             by the server
 *     lane_place(i) + 2       by the client that has lane i  (the pipes lock bytes of their own)
 *
 * A lane's state and who may change it:
 *     FREE -> TAKEN           the client that holds the lane's byte, before it touches its memory
 *     TAKEN -> CALLING        that client, its pipes made and opened
 *     CALLING -> SERVING      the server; or LEFT, if it cannot
 *     anything -> FREE        the server, once the lane's byte is no longer locked
 * So a client that dies at any point leaves a free lane, or one that the server frees.
 */
#ifndef TRANSFER_RENDEZVOUS_LAYOUT_H
#define TRANSFER_RENDEZVOUS_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define RENDEZVOUS_MAGIC   UINT32_C(0x56524648) /* "HFRV" */
#define RENDEZVOUS_VERSION UINT32_C(1)

#define LANE_COUNT 64
#define LANES_AT   UINT64_C(16384)

#define REPLY_CAPACITY UINT64_C(4096)
#define DATA_CAPACITY  (UINT64_C(1) << 20)

/* Places within a lane. The data pipe stands so that its ring begins on a page. */
#define LANE_REPLY  UINT64_C(0)
#define LANE_DATA   (UINT64_C(3) * 4096 - 384)
#define LANE_STRIDE (UINT64_C(3) * 4096 + DATA_CAPACITY)

#define RENDEZVOUS_SIZE (LANES_AT + LANE_COUNT * LANE_STRIDE)

#define SERVER_BYTE UINT64_C(0)

enum { LANE_FREE = 0, LANE_TAKEN = 1, LANE_CALLING = 2, LANE_SERVING = 3, LANE_LEFT = 4 };

struct lane_line {
    _Atomic uint32_t state; /* LANE_*; futex: the client waits for it to leave CALLING */
    uint8_t unused[124];
};

struct rendezvous_layout {
    uint32_t magic;
    uint32_t version;
    _Atomic uint32_t doorbell; /* futex: how often a client has called */
    uint32_t unused_word;
    uint64_t target_device; /* the directory that files go into: it is not sent into itself */
    uint64_t target_inode;
    uint8_t unused[96];
    struct lane_line lanes[LANE_COUNT];
};

_Static_assert(offsetof(struct rendezvous_layout, doorbell) == 8, "layout");
_Static_assert(offsetof(struct rendezvous_layout, target_device) == 16, "layout");
_Static_assert(offsetof(struct rendezvous_layout, lanes) == 128, "layout");
_Static_assert(sizeof(struct rendezvous_layout) <= LANES_AT, "layout");

static inline uint64_t lane_place(unsigned lane)
{
    return LANES_AT + lane * LANE_STRIDE;
}

#endif
