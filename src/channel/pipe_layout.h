/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a pipe in shared memory; pipe.c is what is done with them.
 *
 *       0  identity: magic, version, capacity   written by init
 *     128  the writer's line                    written by the writer; the reader clears needs
 *     256  the reader's line                    written by the reader; the writer clears needs
 *     384  the ring, `capacity` bytes
 *
 * Positions count bytes since the pipe was made and never wrap; a position's place in the ring is
 * its remainder by the capacity.
 *
 *     0 <= writer.position - reader.position <= capacity
 *
 * Two cache lines (128 bytes) to a side: processors fetch them in pairs.
 */
#ifndef HF_CHANNEL_PIPE_LAYOUT_H
#define HF_CHANNEL_PIPE_LAYOUT_H

#include "base/shared.h"

#define PIPE_MAGIC   UINT32_C(0x50504648) /* "HFPP" */
#define PIPE_VERSION UINT32_C(2)

/* A side's life. It only goes forward. */
enum { PIPE_SIDE_ABSENT = 0, PIPE_SIDE_OPEN = 1, PIPE_SIDE_CLOSED = 2 };

struct pipe_line {
    shared_u64 position; /* bytes committed, or released, so far */
    /* PIPE_SIDE_*, and whose the side is: slot number << 8, its turn << 32 (slot_layout.h) */
    shared_u64 owner;
    shared_u32 needs; /* futex: bytes that this side sleeps for; 0: awake */
    uint8_t unused[108];
};

struct pipe_layout {
    shared_u32 magic; /* 0 while the pipe is being made: written first and last */
    fixed_u32 version;
    fixed_u64 capacity; /* bytes in the ring; a power of two */
    uint8_t unused[112];
    struct pipe_line lines[2]; /* by hf_pipe_side */
    uint8_t ring[];
};

HF_LAYOUT(sizeof(struct pipe_line) == 128);
HF_LAYOUT(offsetof(struct pipe_line, owner) == 8);
HF_LAYOUT(offsetof(struct pipe_line, needs) == 16);
HF_LAYOUT(offsetof(struct pipe_layout, capacity) == 8);
HF_LAYOUT(offsetof(struct pipe_layout, lines) == 128);
HF_LAYOUT(offsetof(struct pipe_layout, ring) == 384);

#endif
