/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a named lock (or semaphore, ...): the root of a segment of its own.
 *
 *       0  magic, kind     written before the segment has its name, and never again
 *      64  the object      on a line of its own
 */
#ifndef HF_SYNC_NAMED_LAYOUT_H
#define HF_SYNC_NAMED_LAYOUT_H

#include "base/shared.h"

#define NAMED_MAGIC UINT32_C(0x4d4e4648) /* "HFNM" */

/* A byte lock of the command holdfast lock: its COMMAND lives; not in the way of
 * segment_layout.h's.
 */
#define BYTE_COMMAND UINT64_C(0x4000000000003000)

struct named {
    fixed_u32 magic;
    fixed_u32 kind; /* hf_named_kind */
    uint8_t unused[56];
    fixed_u64 object[4]; /* the object's own words: it knows who writes them */
    uint8_t rest[32];
};

HF_LAYOUT(sizeof(struct named) == 128);
HF_LAYOUT(offsetof(struct named, kind) == 4);
HF_LAYOUT(offsetof(struct named, object) == 64);

#endif
