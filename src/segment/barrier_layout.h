/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a barrier: 32. Recovery knows them, for a member's death breaks it.
 *
 *     0  word   unused
 *     4  kind   LOCK_BARRIER                by init and fini
 *     8  self   the barrier's own offset    by init; 0 by fini
 *    16  state  see below                   by compare-and-swap of anyone
 *    24  unused
 *
 *     state    bits  0-15  generation   counts those that were complete: the lower part
 *              bits 16-30  epoch        counts resets
 *              bit  31     BROKEN       a member has died
 *              bits 32-43  arrived      in this generation
 *              bits 44-55  expected     complete when so many have arrived
 *              bits 56-63  generation   the upper part
 *
 *     arrived < expected, or both are 0: everybody has left
 *
 * Its lower half is what waiters sleep on: it changes when there is something to hear, and not when
 * somebody arrives. Its members stand in their own slots, as HOLD_MEMBER.
 */
#ifndef HF_SEGMENT_BARRIER_LAYOUT_H
#define HF_SEGMENT_BARRIER_LAYOUT_H

#include "base/shared.h"

#define BARRIER_GENERATION     UINT64_C(0xff0000000000ffff)
#define BARRIER_GENERATION_LOW UINT64_C(0x0000ffff)
#define BARRIER_GENERATION_TOP UINT64_C(0x0100000000000000) /* one of the upper part */
#define BARRIER_EPOCH          UINT64_C(0x7fff0000)
#define BARRIER_EPOCH_ONE      UINT64_C(0x00010000)
#define BARRIER_BROKEN         UINT64_C(0x80000000)
#define BARRIER_ARRIVED_SHIFT  32
#define BARRIER_EXPECTED_SHIFT 44
#define BARRIER_COUNT_MASK     UINT64_C(0xfff)

struct barrier {
    shared_u32 word;
    shared_u32 kind;
    shared_u64 self;
    shared_u64 state;
    shared_u64 unused;
};

HF_LAYOUT(sizeof(struct barrier) == 32);
HF_LAYOUT(offsetof(struct barrier, kind) == 4);
HF_LAYOUT(offsetof(struct barrier, self) == 8);
HF_LAYOUT(offsetof(struct barrier, state) == 16);
HF_LAYOUT(offsetof(struct barrier, unused) == 24);

#endif
