/* SPDX-License-Identifier: MIT */
/*
 * The work of the rows on heaps, one source for every side: what differs is how a block is taken
 * and given back, which is known where the work is inlined, so that no call goes through a pointer
 * of the benchmark's own.
 *
 * Each block is written to once, when it is taken. Places and sizes come from one sequence, which
 * starts alike on every side.
 */
#ifndef HF_BENCH_HEAP_WORK_H
#define HF_BENCH_HEAP_WORK_H

#include "bench.h"

#define WORK_INLINE static inline __attribute__((always_inline))

#define WORK_SIZE    64u
#define WORK_PAIRS   1000000u
#define WORK_BATCH   100000u
#define WORK_BATCHES 10u

#define WORK_LIVE     10000u
#define WORK_CHURN    1000000u
#define WORK_SMALLEST 16u
#define WORK_SIZES    1024u /* 16 to 1039 bytes */

/* What a side works with. The process's own. */
typedef struct heap_room {
    void *heap; /* what take and give want */
    uint64_t random;
    uint32_t sizes[WORK_LIVE]; /* of churn's blocks, which are the first so many */
    void *blocks[WORK_BATCH];
} heap_room;

typedef void *(*work_take)(void *heap, size_t size); /* NULL: it failed */
typedef int (*work_give)(void *heap, void *block);   /* not 0: it failed */

WORK_INLINE void *work_block(work_take take, void *heap, size_t size)
{
    void *block = take(heap, size);
    if (block != NULL) {
        *(volatile uint64_t *)block = size;
    }
    return block;
}

/* Takes a block and gives it back, so many times. */
WORK_INLINE int work_pairs(work_take take, work_give give, void *heap, unsigned pairs)
{
    int errors = 0;
    for (unsigned i = 0; i < pairs; i++) {
        void *block = work_block(take, heap, WORK_SIZE);
        errors |= block == NULL;
        errors |= give(heap, block);
    }
    return errors;
}

WORK_INLINE int work_lifo(work_take take, work_give give, heap_room *room, double *cost)
{
    int64_t start = bench_now_ns();
    int errors = work_pairs(take, give, room->heap, WORK_PAIRS);
    *cost = (double)(bench_now_ns() - start) / WORK_PAIRS;
    return errors;
}

WORK_INLINE int work_batches(work_take take, work_give give, heap_room *room, double *cost)
{
    int errors = 0;
    int64_t start = bench_now_ns();
    for (unsigned batch = 0; batch < WORK_BATCHES; batch++) {
        for (unsigned i = 0; i < WORK_BATCH; i++) {
            room->blocks[i] = work_block(take, room->heap, WORK_SIZE);
            errors |= room->blocks[i] == NULL;
        }
        for (unsigned i = 0; i < WORK_BATCH; i++) {
            errors |= give(room->heap, room->blocks[i]);
        }
    }
    *cost = (double)(bench_now_ns() - start) / (WORK_BATCHES * WORK_BATCH);
    return errors;
}

/* ---- churn: always so many in use, of random sizes ---------------------------------------- */

/* The next number: its upper half says where, what lies below how large. */
WORK_INLINE uint64_t work_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state;
}

WORK_INLINE int work_put(work_take take, heap_room *room, uint32_t at, uint64_t random)
{
    room->sizes[at] = WORK_SMALLEST + (uint32_t)(random >> 22 & (WORK_SIZES - 1));
    room->blocks[at] = work_block(take, room->heap, room->sizes[at]);
    return room->blocks[at] == NULL;
}

WORK_INLINE int work_fill(work_take take, heap_room *room)
{
    int errors = 0;
    for (uint32_t at = 0; at < WORK_LIVE; at++) {
        errors |= work_put(take, room, at, work_random(&room->random));
    }
    return errors;
}

WORK_INLINE int work_empty(work_give give, heap_room *room)
{
    int errors = 0;
    for (uint32_t at = 0; at < WORK_LIVE; at++) {
        errors |= room->blocks[at] != NULL ? give(room->heap, room->blocks[at]) : 0;
    }
    return errors;
}

WORK_INLINE int work_churn(work_take take, work_give give, heap_room *room, double *cost)
{
    int errors = 0;
    int64_t start = bench_now_ns();
    for (unsigned i = 0; i < WORK_CHURN; i++) {
        uint64_t random = work_random(&room->random);
        uint32_t at = (uint32_t)((random >> 32) * WORK_LIVE >> 32);
        errors |= give(room->heap, room->blocks[at]);
        errors |= work_put(take, room, at, random);
    }
    *cost = (double)(bench_now_ns() - start) / WORK_CHURN;
    return errors;
}

/* The bytes that churn has asked for and not given back. */
WORK_INLINE uint64_t work_live(const heap_room *room)
{
    uint64_t live = 0;
    for (uint32_t at = 0; at < WORK_LIVE; at++) {
        live += room->sizes[at];
    }
    return live;
}

#endif
