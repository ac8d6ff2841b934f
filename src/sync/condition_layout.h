/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a condition: 32, all zero when it was never used.
 *
 *     0  word    0, and after fini as a lock's: memory that the dead remember as a lock is free
 *     4  kind    as a lock's
 *     8  self    as a lock's
 *    16  turn    notifications << 1 | CONDITION_WAITERS; init counts on from what is there
 *    20  0
 */
#ifndef HF_SYNC_CONDITION_LAYOUT_H
#define HF_SYNC_CONDITION_LAYOUT_H

#include "base/shared.h"

#define CONDITION_WAITERS UINT32_C(1) /* someone may be asleep on the word */
#define CONDITION_NEXT    UINT32_C(2) /* one notification; they wrap */

struct condition {
    shared_u32 word;
    shared_u32 kind;
    shared_u64 self;
    shared_u32 turn;
    uint8_t unused[12];
};

HF_LAYOUT(sizeof(struct condition) == 32);
HF_LAYOUT(offsetof(struct condition, kind) == 4);
HF_LAYOUT(offsetof(struct condition, self) == 8);
HF_LAYOUT(offsetof(struct condition, turn) == 16);

#endif
