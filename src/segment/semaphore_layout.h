/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a semaphore: 32. All zero is a plain one with no permits. Recovery knows them, for
 * the permits of the dead come back.
 *
 *     0  word   unused
 *     4  kind   LOCK_FRESH: plain; LOCK_UNDO: permits come back; LOCK_DESTROYED   by init and fini
 *     8  self   the semaphore's own offset, of LOCK_UNDO; otherwise 0             by init and fini
 *    16  count  see below                                   by compare-and-swap of anyone
 *    24         unused
 *
 *     count    bit   0      WAITERS   someone may be asleep on the lower half
 *              bits  1-31   permits that are to be had
 *              bits 32-43   slot of the last writer, of LOCK_UNDO
 *              bits 44-63   version: counts its updates, of LOCK_UNDO
 */
#ifndef HF_SEGMENT_SEMAPHORE_LAYOUT_H
#define HF_SEGMENT_SEMAPHORE_LAYOUT_H

#include "base/shared.h"

#define COUNT_WAITERS       UINT64_C(1)
#define COUNT_ONE           UINT64_C(2) /* one permit */
#define COUNT_MAX           UINT64_C(0x7fffffff)
#define COUNT_SLOT_SHIFT    32
#define COUNT_SLOT_MASK     UINT64_C(0xfff)
#define COUNT_VERSION_SHIFT 44
#define COUNT_VERSION_MASK  UINT64_C(0xfffff)

struct semaphore {
    shared_u32 word;
    shared_u32 kind;
    shared_u64 self;
    shared_u64 count;
    shared_u64 unused;
};

HF_LAYOUT(sizeof(struct semaphore) == 32);
HF_LAYOUT(offsetof(struct semaphore, kind) == 4);
HF_LAYOUT(offsetof(struct semaphore, self) == 8);
HF_LAYOUT(offsetof(struct semaphore, count) == 16);

#endif
