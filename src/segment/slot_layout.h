/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a participant's slot, and of the page that holds four of them.
 *
 *        0  slot 0     960 bytes each
 *      960  slot 1
 *     1920  slot 2
 *     2880  slot 3
 *     3840  unused
 *     4080  the four life words: the last words of the page, see os_life
 *
 * A slot is written by its own thread, or by whoever recovers it. The words with other writers,
 * claim and life, stand on lines of their own.
 *
 * Slot number n (1 to 4095) is slot (n-1) % 4 of slot page (n-1) / 4.
 */
#ifndef HF_SEGMENT_SLOT_LAYOUT_H
#define HF_SEGMENT_SLOT_LAYOUT_H

#include "base/shared.h"

#define SLOTS_PER_PAGE 4u

/*
 * The claim word: whose the slot is.
 *
 *     bits  0-11  by           slot number: its own (a participant), another's (who recovers it),
 *                              0 (free)
 *     bits 12-31  by_turn      which of by's participants: its turn
 *     bits 32-51  turn         counts this slot's participants
 *     bit  52     CLAIMING     taken, and the life word is not to be trusted yet
 *     bit  53     UNRECOVERED  what an earlier participant left has yet to be recovered
 *
 * While CLAIMING, who claims stands in it: bits 12-31 and 54-55 are the low and the high bits of
 * its thread number, bits 56-62 a hash of what that counts in, bit 63 whether it has the slot's
 * byte.
 */
#define CLAIM_BY_BITS     12
#define CLAIM_TURN_BITS   20
#define CLAIM_TURN_MASK   UINT64_C(0xfffff)
#define CLAIM_CLAIMING    (UINT64_C(1) << 52)
#define CLAIM_UNRECOVERED (UINT64_C(1) << 53)
#define CLAIM_BYTE        (UINT64_C(1) << 63)

/* How a participant's death is told. */
enum {
    LIFE_NONE = 0,
    LIFE_ROBUST = 1, /* by its life word */
    LIFE_BYTE = 2,   /* by the byte lock of its process */
    LIFE_LOCAL = 3,  /* by its thread's number; in a segment of one process by its exit */
    LIFE_ALONE = 4   /* as LIFE_ROBUST, but it has not got the byte */
};

/* The transaction word: a state, and above it the number of the slot's transaction, which counts
   all that there were. */
#define TX_STATE        UINT64_C(3)
#define TX_NUMBER_SHIFT 2
enum {
    TX_NONE = 0,
    TX_ACTIVE = 1,    /* until the commit point: undone by the log */
    TX_COMMITTED = 2, /* locks unlocked inside it are still to be freed */
    TX_ABORTED = 3    /* undone; the same */
};

/* Operation records: what the pages' or the heap's allocator is about to do for this participant.
 */
enum {
    OP_NONE = 0,
    OP_PAGES_ALLOC = 1, /* (first, count, link): the pages are the link's once it names them */
    OP_PAGES_FREE = 2,  /* the same: the link is cleared, then the pages are freed */
    OP_LARGE_ALLOC = 3, /* the same of a large block; without a link it is nobody's yet */
    OP_LARGE_FREE = 4,  /* the same; without a link it is freed */
    OP_LARGE_SIZE = 5,  /* (first, pages at most): what the page table does not count is free */
    OP_ALLOC = 6,       /* (block's offset, -, link): the block is the link's once it names it */
    OP_FREE = 7,        /* freed in the owner's span once the link is cleared, or without a link */
    OP_FREE_OTHERS = 8, /* the same, of another owner's span */
    OP_LARGE_DOOM = 9,  /* (first): a large block is freed without the lock of the pages */
    OP_MOVE = 10 /* (block's offset, a word, link): once the link names it the word does not */
};

/* What freeing a lock says of its data. */
typedef enum lock_verdict {
    LOCK_UNLOCKED = 0, /* by its owner: what is not mended now never will be */
    LOCK_AS_IT_IS = 1, /* what its word says */
    LOCK_SUSPECT = 2,  /* its owner died */
    LOCK_GOOD = 3      /* mended */
} lock_verdict;

/* The intent: the offset of the lock that the slot's thread is taking or freeing. */
#define INTENT_FREEING UINT64_C(1)
/* With INTENT_FREEING: a lock_verdict. */
#define INTENT_VERDICT_SHIFT 1
#define INTENT_VERDICT_MASK  UINT64_C(3)
#define INTENT_OFFSET        (~UINT64_C(7))

/*
 * Holds: what the participant has of things that others may have at the same time. A word each, in
 * the first `holds_top` of `holds`; 0: none.
 *
 *     bits  0-2   kind     HOLD_*
 *     bits  3-47  offset   of the lock, semaphore or barrier
 *     bits 48-63  count    how often it holds it, or how many permits of it; of a barrier: its
 * epoch
 *
 * `holds_top` is raised before a word is set, and lowered after words are cleared: who looks for
 * holders need not look further.
 */
#define HOLDS_MAX        32u
#define HOLD_KIND        UINT64_C(7)
#define HOLD_OFFSET      UINT64_C(0x0000fffffffffff8)
#define HOLD_COUNT_SHIFT 48
#define HOLD_COUNT_MAX   UINT64_C(0xffff)
enum {
    HOLD_NONE = 0,
    HOLD_READ = 1,    /* a reader-writer lock, as a reader */
    HOLD_PERMITS = 2, /* permits of a semaphore: they come back */
    HOLD_MEMBER = 3   /* a barrier, as one who takes part in it */
};

/* The states of an update, and from which bit on its number stands above them. */
#define UPDATE_STATE        UINT64_C(3)
#define UPDATE_NUMBER_SHIFT 2
enum {
    UPDATE_NONE = 0,
    UPDATE_OPEN = 1, /* it may have happened */
    UPDATE_ACKED = 2 /* it has: whoever replaced the word says so */
};

#define LOG_INLINE UINT64_C(384) /* bytes of undo log inside the slot */
#define LOG_CHUNKS 14u           /* chunk k is 2^k pages */

#define RESERVED          4u   /* blocks reserved, inside the slot */
#define RESERVED_PER_PAGE 511u /* and in a page, after the offset of the next one */

struct slot {
    shared_u64 intent;
    shared_u64 held;     /* offset of the lock taken last, the first of a list; 0: none */
    shared_u64 tx;       /* TX_*, and a number */
    shared_u64 tx_base;  /* `held` as it was when the transaction began */
    shared_u64 log_used; /* bytes of undo log in use, chunks included */
    shared_u64 op;       /* OP_* */
    shared_u64 op_first; /* page number, or a block's offset */
    shared_u64 op_count; /* pages */
    shared_u64
        op_link;     /* offset of the word that is to name the pages, by the first one's offset */
    shared_u64 heap; /* who owns the spans that this thread allocates from; 0: it has none */
    shared_u64
        op_log; /* 1 + the bytes of undo log in use once the operation is done; 0: as it is */
    shared_u64 reserved[RESERVED]; /* offsets of blocks that die with the participant; 0: none */
    shared_u64 reserved_page;      /* offset of a page with more of them; kept as the log's are */

    shared_u64 claim;
    shared_u64 life_kind; /* LIFE_* */
    shared_u64 identity_space;
    shared_u64 identity_start;
    shared_u32 identity_thread;
    shared_u32 identity_process;
    /* The detectable update of a count that the thread is about to make. */
    shared_u64 update;         /* number, UPDATE_*: numbers are never reset */
    shared_u64 update_of;      /* a hold: the semaphore, and what is held of it afterwards */
    shared_u64 update_expects; /* the word that is being replaced; 0: none */

    shared_u64
        log_chunks[LOG_CHUNKS]; /* offsets; filled from the front; kept from one to the next */
    shared_u64 holds_top;
    shared_u64 update_makes; /* the word that is to replace it; 0: none yet */
    shared_u64 holds[HOLDS_MAX];
    shared_u64 log[LOG_INLINE / 8];
};

struct slot_page {
    struct slot slots[SLOTS_PER_PAGE];
    uint8_t unused[240];
    shared_u32 life[SLOTS_PER_PAGE];
};

HF_LAYOUT(sizeof(struct slot) == 960);
HF_LAYOUT(offsetof(struct slot, held) == 8);
HF_LAYOUT(offsetof(struct slot, tx) == 16);
HF_LAYOUT(offsetof(struct slot, log_used) == 32);
HF_LAYOUT(offsetof(struct slot, op) == 40);
HF_LAYOUT(offsetof(struct slot, heap) == 72);
HF_LAYOUT(offsetof(struct slot, op_log) == 80);
HF_LAYOUT(offsetof(struct slot, claim) == 128);
HF_LAYOUT(offsetof(struct slot, life_kind) == 136);
HF_LAYOUT(offsetof(struct slot, identity_space) == 144);
HF_LAYOUT(offsetof(struct slot, identity_thread) == 160);
HF_LAYOUT(offsetof(struct slot, update) == 168);
HF_LAYOUT(offsetof(struct slot, log_chunks) == 192);
HF_LAYOUT(offsetof(struct slot, holds_top) == 304);
HF_LAYOUT(offsetof(struct slot, update_makes) == 312);
HF_LAYOUT(offsetof(struct slot, holds) == 320);
HF_LAYOUT(offsetof(struct slot, log) == 576);
HF_LAYOUT(sizeof(struct slot_page) == 4096);
HF_LAYOUT(offsetof(struct slot_page, life) == 4080);

/* An entry of the undo log ends with this; before it stand the old bytes, padded to 16. */
struct log_trailer {
    shared_u64 offset; /* what it saves; 0: nothing, only padding to the end of the area */
    shared_u64 length; /* bytes, of padding: all before the trailer; and the kind */
};

/* Kinds of entries. Those of blocks save no bytes: the offset is the block's. */
#define LOG_KIND_SHIFT 56
#define LOG_LENGTH     ((UINT64_C(1) << LOG_KIND_SHIFT) - 1)
enum {
    LOG_BYTES = 0,
    LOG_ALLOCATED = 1,   /* freed unless the transaction commits */
    LOG_FREED = 2,       /* freed if it does */
    LOG_CONSTRUCTED = 3, /* a named object: dead unless the transaction commits */
    LOG_DESTROYED = 4    /* dead if it does */
};

HF_LAYOUT(sizeof(struct log_trailer) == 16);

#endif
