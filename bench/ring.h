/* SPDX-License-Identifier: MIT */
/*
 * A ring for one producer and one consumer, in memory that both share: what hands blocks from one
 * to the other in heap.remote, on every side alike. Each keeps what it last saw of the other's
 * index, and looks again only when that does not do.
 */
#ifndef HF_BENCH_RING_H
#define HF_BENCH_RING_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RING_CELLS 1024u

typedef struct bench_ring {
    _Alignas(64) _Atomic uint64_t head; /* the producer's: as many have been put in */
    uint64_t tail_seen;
    _Alignas(64) _Atomic uint64_t tail; /* the consumer's: as many have been taken out */
    uint64_t head_seen;
    _Alignas(64) _Atomic bool broken; /* one of them has given up */
    _Alignas(64) uint64_t cells[RING_CELLS];
} bench_ring;

/* Between two looks at the other's index. False: it will not change any more. */
static inline bool ring_wait(bench_ring *ring, unsigned *looks)
{
    if (++*looks % 256 == 0) {
        (void)sched_yield(); /* it may not be running */
    }
    return !atomic_load_explicit(&ring->broken, memory_order_relaxed);
}

static inline bool ring_put(bench_ring *ring, uint64_t value)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    for (unsigned looks = 0; head - ring->tail_seen == RING_CELLS;) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (!ring_wait(ring, &looks)) {
            return false;
        }
    }
    ring->cells[head % RING_CELLS] = value;
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return true;
}

static inline bool ring_take(bench_ring *ring, uint64_t *value)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    for (unsigned looks = 0; tail == ring->head_seen;) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (!ring_wait(ring, &looks)) {
            return false;
        }
    }
    *value = ring->cells[tail % RING_CELLS];
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

#endif
