/* SPDX-License-Identifier: MIT */
/* The sides of the rows on heaps: ours, and the peers beside us. The state of each is a heap_room.
 */
#ifndef HF_BENCH_HEAP_SIDES_H
#define HF_BENCH_HEAP_SIDES_H

#include "heap_work.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Boost.Interprocess' managed_shared_memory: boost_heap_peer.cpp. */
int boost_heap_setup(void *shared, void **state);
void boost_heap_teardown(void *state);
int boost_heap_lifo(void *state, double *cost);
int boost_heap_batch(void *state, double *cost);
int boost_heap_pairs(void *state, unsigned pairs);

int boost_churn_setup(void *shared, void **state);
void boost_churn_teardown(void *state);
int boost_churn_run(void *state, double *cost);
int boost_overhead_run(void *state, double *cost);

#ifdef __cplusplus
}
#else

#include "holdfast/holdfast.h"

/* ---- ours: heap.c ------------------------------------------------------------------------- */

/* An anonymous segment that grows to 2 GiB. */
int ours_segment(hf_segment **segment);

int ours_heap_setup(void *shared, void **state);
void ours_heap_teardown(void *state);

WORK_INLINE void *ours_take(void *heap, size_t size)
{
    void *block = NULL;
    return hf_alloc(heap, size, &block) == 0 ? block : NULL;
}

WORK_INLINE int ours_give(void *heap, void *block)
{
    return hf_free(heap, block);
}

/* ---- mimalloc: mimalloc_peer.c ------------------------------------------------------------ */

typedef struct mimalloc {
    void *(*malloc)(size_t size);
    void (*free)(void *block);
} mimalloc;

int mimalloc_setup(void *shared, void **state);
void mimalloc_teardown(void *state);

WORK_INLINE void *mimalloc_take(void *heap, size_t size)
{
    return ((const mimalloc *)heap)->malloc(size);
}

WORK_INLINE int mimalloc_give(void *heap, void *block)
{
    ((const mimalloc *)heap)->free(block);
    return 0;
}

#endif
#endif
