/* SPDX-License-Identifier: MIT */
/*
 * The work of the rows on names, one source for every side, as in heap_work.h: 100,000 objects of
 * 16 bytes, made, found and unmade in the order of their names, as the figures that the bars come
 * from were taken; and found in an order that is random, which is harder on the caches of all.
 */
#ifndef HF_BENCH_NAMES_WORK_H
#define HF_BENCH_NAMES_WORK_H

#include "heap_work.h"

#define NAMES_COUNT 100000u
#define NAMES_SIZE  16u

/* What all the sides share. */
typedef struct names_table {
    char names[NAMES_COUNT][NAMES_SIZE];
    uint32_t order[NAMES_COUNT]; /* a permutation */
} names_table;

typedef struct names_thing {
    uint64_t number;
    uint64_t unused;
} names_thing;

/* Makes, finds or unmakes the object of that name, whose number it is; not 0: it failed. */
typedef int (*names_do)(void *heap, const char *name, uint64_t number);

WORK_INLINE int names_in_order(names_do act, void *heap, const names_table *table)
{
    int errors = 0;
    for (uint32_t i = 0; i < NAMES_COUNT; i++) {
        errors |= act(heap, table->names[i], i);
    }
    return errors;
}

WORK_INLINE int names_at_random(names_do act, void *heap, const names_table *table)
{
    int errors = 0;
    for (uint32_t i = 0; i < NAMES_COUNT; i++) {
        uint32_t number = table->order[i];
        errors |= act(heap, table->names[number], number);
    }
    return errors;
}

/* Of one object, since then. */
WORK_INLINE double names_cost(int64_t start)
{
    return (double)(bench_now_ns() - start) / NAMES_COUNT;
}

/* One round of names.construct, which leaves nothing. */
WORK_INLINE int names_construct(names_do make, names_do unmake, void *heap,
                                const names_table *table, double *cost)
{
    int64_t start = bench_now_ns();
    int errors = names_in_order(make, heap, table);
    *cost = names_cost(start);
    return errors | names_at_random(unmake, heap, table);
}

WORK_INLINE int names_find(names_do find, void *heap, const names_table *table, double *cost)
{
    int64_t start = bench_now_ns();
    int errors = names_in_order(find, heap, table);
    *cost = names_cost(start);
    return errors;
}

WORK_INLINE int names_find_random(names_do find, void *heap, const names_table *table, double *cost)
{
    int64_t start = bench_now_ns();
    int errors = names_at_random(find, heap, table);
    *cost = names_cost(start);
    return errors;
}

WORK_INLINE int names_destroy(names_do make, names_do unmake, void *heap, const names_table *table,
                              double *cost)
{
    int errors = names_in_order(make, heap, table);
    int64_t start = bench_now_ns();
    errors |= names_in_order(unmake, heap, table);
    *cost = names_cost(start);
    return errors;
}

/* Boost.Interprocess' side: boost_names_peer.cpp. */
#ifdef __cplusplus
extern "C" {
#endif

int boost_names_setup(void *shared, void **state);
void boost_names_teardown(void *state);
int boost_names_construct(void *state, double *cost);
int boost_names_destroy(void *state, double *cost);

/* The same with all of the objects there. */
int boost_find_setup(void *shared, void **state);
void boost_find_teardown(void *state);
int boost_find_run(void *state, double *cost);
int boost_find_random(void *state, double *cost);

#ifdef __cplusplus
}
#endif
#endif
