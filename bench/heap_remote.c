/* SPDX-License-Identifier: MIT */
/*
 * heap.remote: one allocates, another frees what comes through a ring. Ours are two processes, and
 * an offset is what goes through the ring; mimalloc's are two threads, and it is a pointer.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap_sides.h"
#include "ring.h"
#include "two.h"

#define WARM_BLOCKS 20000u
#define BLOCKS      2000000u

/* In memory that both share. */
typedef struct remote_room {
    two_times times;
    bench_ring ring;
} remote_room;

typedef struct remote_side {
    remote_room *room;
    void *state; /* of the heap */
} remote_side;

/* How a block goes through the ring. */
typedef uint64_t (*remote_pack)(void *heap, void *block);
typedef void *(*remote_unpack)(void *heap, uint64_t packed);

/* ---- the work ----------------------------------------------------------------------------- */

/* Each block says the how many-th it is. */
WORK_INLINE int produce(work_take take, remote_pack pack, void *heap, bench_ring *ring,
                        unsigned count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t *block = take(heap, WORK_SIZE);
        if (block == NULL) {
            return -1;
        }
        *block = i;
        if (!ring_put(ring, pack(heap, block))) {
            return -1;
        }
    }
    return 0;
}

WORK_INLINE int consume(work_give give, remote_unpack unpack, void *heap, bench_ring *ring,
                        unsigned count)
{
    int errors = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t packed;
        if (!ring_take(ring, &packed)) {
            return -1;
        }
        uint64_t *block = unpack(heap, packed);
        errors |= *block != i;
        errors |= give(heap, block);
    }
    return errors;
}

WORK_INLINE int produce_all(work_take take, remote_pack pack, void *heap, remote_room *room)
{
    int errors = produce(take, pack, heap, &room->ring, WARM_BLOCKS);
    if (errors == 0) {
        two_begin(&room->times, 0);
        errors = produce(take, pack, heap, &room->ring, BLOCKS);
        two_end(&room->times, 0);
    }
    if (errors != 0) {
        atomic_store(&room->ring.broken, true);
    }
    return errors;
}

WORK_INLINE int consume_all(work_give give, remote_unpack unpack, void *heap, remote_room *room)
{
    int errors = consume(give, unpack, heap, &room->ring, WARM_BLOCKS);
    if (errors == 0) {
        two_begin(&room->times, 1);
        errors = consume(give, unpack, heap, &room->ring, BLOCKS);
        two_end(&room->times, 1);
    }
    if (errors != 0) {
        atomic_store(&room->ring.broken, true);
    }
    return errors;
}

/* ---- ours --------------------------------------------------------------------------------- */

static uint64_t ours_pack(void *heap, void *block)
{
    return hf_segment_offset(heap, block).value;
}

static void *ours_unpack(void *heap, uint64_t packed)
{
    return hf_segment_at(heap, (hf_off){packed});
}

static void ours_work(const remote_side *side, int index)
{
    hf_segment *segment = ((heap_room *)side->state)->heap;
    int errors = index == 0 ? produce_all(ours_take, ours_pack, segment, side->room)
                            : consume_all(ours_give, ours_unpack, segment, side->room);
    errors |= hf_thread_leave(segment);
    _exit(errors == 0 ? 0 : 1);
}

static int ours_run(void *state, double *cost)
{
    const remote_side *side = state;
    pid_t children[2];
    memset(side->room, 0, sizeof(*side->room));
    for (int i = 0; i < 2; i++) {
        children[i] = bench_fork();
        if (children[i] == 0) {
            ours_work(side, i);
        }
    }
    int result = two_finish(&side->room->times, children, 2, cost);
    *cost /= BLOCKS;
    return result;
}

/* ---- mimalloc ----------------------------------------------------------------------------- */

static uint64_t mimalloc_pack(void *heap, void *block)
{
    (void)heap;
    return (uintptr_t)block;
}

static void *mimalloc_unpack(void *heap, uint64_t packed)
{
    (void)heap;
    return (void *)(uintptr_t)packed;
}

static void *mimalloc_consume(void *argument)
{
    const remote_side *side = argument;
    void *heap = ((heap_room *)side->state)->heap;
    int errors = consume_all(mimalloc_give, mimalloc_unpack, heap, side->room);
    return errors == 0 ? NULL : argument;
}

/* In a child, so that its two threads are as new each time as our two processes. */
static void mimalloc_work(remote_side *side)
{
    pthread_t consumer;
    void *failed = NULL;
    void *heap = ((heap_room *)side->state)->heap;
    if (pthread_create(&consumer, NULL, mimalloc_consume, side) != 0) {
        _exit(1);
    }
    int errors = produce_all(mimalloc_take, mimalloc_pack, heap, side->room);
    errors |= pthread_join(consumer, &failed);
    _exit(errors == 0 && failed == NULL ? 0 : 1);
}

static int mimalloc_run(void *state, double *cost)
{
    remote_side *side = state;
    memset(side->room, 0, sizeof(*side->room));
    pid_t children[2] = {bench_fork(), 0};
    if (children[0] == 0) {
        mimalloc_work(side);
    }
    int result = two_finish(&side->room->times, children, 2, cost);
    *cost /= BLOCKS;
    return result;
}

/* ---- the row ------------------------------------------------------------------------------ */

static void remote_close(remote_side *side)
{
    if (side->room != NULL) {
        two_unmap(side->room, sizeof(*side->room));
    }
    free(side);
}

static remote_side *remote_open(void)
{
    void *room;
    remote_side *side = calloc(1, sizeof(*side));
    if (side == NULL || two_map(sizeof(*side->room), &room) != 0) {
        free(side);
        (void)bench_error("no memory for two");
        return NULL;
    }
    side->room = room;
    return side;
}

static int remote_setup(int (*setup)(void *, void **), void **state)
{
    remote_side *side = remote_open();
    if (side == NULL) {
        return -1;
    }
    if (setup(NULL, &side->state) != 0) {
        remote_close(side);
        return -1;
    }
    *state = side;
    return 0;
}

static int ours_setup_remote(void *shared, void **state)
{
    (void)shared;
    return remote_setup(ours_heap_setup, state);
}

static int mimalloc_setup_remote(void *shared, void **state)
{
    (void)shared;
    return remote_setup(mimalloc_setup, state);
}

static void ours_teardown_remote(void *state)
{
    remote_side *side = state;
    ours_heap_teardown(side->state);
    remote_close(side);
}

static void mimalloc_teardown_remote(void *state)
{
    remote_side *side = state;
    mimalloc_teardown(side->state);
    remote_close(side);
}

extern const bench_row heap_remote;
const bench_row heap_remote = {
    .name = "heap.remote",
    .unit = "ns",
    .what = "one process allocates 64 bytes, another frees them, through a ring: a block",
    .sides =
        {
            {"ours", 0, ours_setup_remote, ours_run, ours_teardown_remote},
            {"mimalloc", 3, mimalloc_setup_remote, mimalloc_run, mimalloc_teardown_remote},
        },
};
