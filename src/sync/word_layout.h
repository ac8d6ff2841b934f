/* SPDX-License-Identifier: MIT */
/*
 * The bytes of an event and of a latch: 32, of which one word is all there is to them. All zero is
 * an event that is not set, and a latch that is open.
 *
 *     0  word   see below     by compare-and-swap of anyone
 *     4  kind   LOCK_FRESH, LOCK_DESTROYED     by init and fini
 *     8  self   0: no lock, whatever lay here before     by init
 *    16  unused
 *
 *     event    bit  0      SET
 *              bits 1-30   counts how often it was set
 *              bit  31     WAITERS   someone may be asleep on the word
 *     latch    bits 0-30   what is still to be counted down
 *              bit  31     WAITERS
 */
#ifndef HF_SYNC_WORD_LAYOUT_H
#define HF_SYNC_WORD_LAYOUT_H

#include "base/shared.h"

#define WORD_WAITERS  UINT32_C(0x80000000)
#define EVENT_SET     UINT32_C(0x00000001)
#define EVENT_SETTING UINT32_C(0x00000002) /* one more time that it was set */
#define LATCH_COUNT   UINT32_C(0x7fffffff)

struct word {
    shared_u32 word;
    shared_u32 kind;
    shared_u64 self;
    shared_u64 unused[2];
};

HF_LAYOUT(sizeof(struct word) == 32);
HF_LAYOUT(offsetof(struct word, kind) == 4);
HF_LAYOUT(offsetof(struct word, self) == 8);
HF_LAYOUT(offsetof(struct word, unused) == 16);

#endif
