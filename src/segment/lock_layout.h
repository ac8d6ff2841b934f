/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a lock: 32, all zero when it is free and was never used. hf_mutex is one, so are
 * hf_recursive_mutex and hf_rwlock, and the segment's own locks; lock.c is what is done with them.
 *
 *     0  word   who has it, and flags       by compare-and-swap of anyone
 *     4  kind   LOCK_*                      by init and fini
 *     8  self   the lock's own offset       by the first user; the same from everyone; 0 by fini
 *    16  next   the next lock that the owner holds, and flags      by the owner alone
 *    24  depth  of a recursive mutex: how often more than once its owner has it      by the owner;
 *               of a once: 1 when it is done
 *    28  departures   of a reader-writer lock: counts readers that left while it had an owner
 *
 *     word = owner's slot number | LOCK_WAITERS | LOCK_OWNER_DIED | LOCK_GIVEN_UP
 *            | LOCK_UPGRADABLE | LOCK_CLOSED
 *
 * LOCK_WAITERS stays in the word when the lock is freed, whoever takes it inherits it, and only one
 * who woke nobody clears it: so neither an unlocker nor a woken waiter that dies loses a wake.
 */
#ifndef HF_SEGMENT_LOCK_LAYOUT_H
#define HF_SEGMENT_LOCK_LAYOUT_H

#include "base/shared.h"

#define LOCK_OWNER UINT32_C(0x00000fff) /* slot number; 0: free */
/* Of a reader-writer lock: its owner may only read, and others may beside it; its owner waits for
   them to leave, and no more come in. With neither its owner may write. */
#define LOCK_UPGRADABLE UINT32_C(0x08000000)
#define LOCK_CLOSED     UINT32_C(0x10000000)
#define LOCK_GIVEN_UP   UINT32_C(0x20000000) /* its data was not made consistent: for ever */
#define LOCK_OWNER_DIED UINT32_C(0x40000000) /* its data is not known to be consistent */
#define LOCK_WAITERS    UINT32_C(0x80000000) /* someone may be asleep on the word */

enum {
    LOCK_FRESH = 0,    /* all zero is a lock that nobody has used yet */
    LOCK_INTERNAL = 1, /* the library's own: its data is in the owner's operation record */
    LOCK_DESTROYED = 2,
    LOCK_UNDO = 3,   /* no lock: semaphore_layout.h */
    LOCK_BARRIER = 4 /* no lock: barrier_layout.h */
};

#define LOCK_NEXT_OFFSET  (~UINT64_C(7))
#define LOCK_UNLOCK_LATER UINT64_C(1) /* unlocked inside a transaction: freed at its end */
#define LOCK_MENDED       UINT64_C(2) /* made consistent inside one: good if it commits */

struct lock {
    shared_u32 word;
    shared_u32 kind;
    shared_u64 self;
    shared_u64 next;
    shared_u32 depth;
    shared_u32 departures;
};

HF_LAYOUT(sizeof(struct lock) == 32);
HF_LAYOUT(offsetof(struct lock, kind) == 4);
HF_LAYOUT(offsetof(struct lock, self) == 8);
HF_LAYOUT(offsetof(struct lock, next) == 16);
HF_LAYOUT(offsetof(struct lock, depth) == 24);
HF_LAYOUT(offsetof(struct lock, departures) == 28);

#endif
