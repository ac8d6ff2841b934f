/* SPDX-License-Identifier: MIT */
/* names.construct, names.find, names.destroy: objects that are found by their name. The work is in
 * names_work.h, Boost's side in boost_names_peer.cpp. */
#include <stdlib.h>

#include "heap_sides.h"
#include "names_work.h"

/* ---- the names ---------------------------------------------------------------------------- */

/* Everyone changes places with one that is not behind it: any order is as likely. */
static void shuffle(uint32_t *order)
{
    uint64_t random = 0;
    for (uint32_t i = 0; i < NAMES_COUNT; i++) {
        uint32_t with = (uint32_t)((work_random(&random) >> 32) * (i + 1) >> 32);
        order[i] = order[with];
        order[with] = i;
    }
}

static int names_setup(void **shared)
{
    names_table *table = calloc(1, sizeof(*table));
    if (table == NULL) {
        return bench_error("out of memory");
    }
    for (uint32_t i = 0; i < NAMES_COUNT; i++) {
        if (bench_format(table->names[i], NAMES_SIZE, "object-%06u", (unsigned)i) != 0) {
            free(table);
            return -1;
        }
    }
    shuffle(table->order);
    *shared = table;
    return 0;
}

static void names_teardown(void *shared)
{
    free(shared);
}

/* ---- ours --------------------------------------------------------------------------------- */

typedef struct names_side {
    hf_segment *segment;
    const names_table *table;
} names_side;

static int make(void *heap, const char *name, uint64_t number)
{
    return hf_construct(heap, name, names_thing, number, 0) == NULL;
}

static int find(void *heap, const char *name, uint64_t number)
{
    const names_thing *found = hf_find(heap, name, names_thing);
    return found == NULL || found->number != number;
}

static int unmake(void *heap, const char *name, uint64_t number)
{
    (void)number;
    return hf_destroy(heap, name, names_thing);
}

static int failed(int errors)
{
    return errors == 0 ? 0 : bench_error("an object of ours could not be made, found or unmade");
}

static void ours_teardown(void *state)
{
    names_side *side = state;
    hf_segment_close(side->segment);
    free(side);
}

static int ours_setup(void *shared, void **state)
{
    names_side *side = calloc(1, sizeof(*side));
    if (side == NULL) {
        return bench_error("out of memory");
    }
    side->table = shared;
    if (ours_segment(&side->segment) != 0) {
        free(side);
        return -1;
    }
    *state = side;
    return 0;
}

static int ours_construct(void *state, double *cost)
{
    const names_side *side = state;
    return failed(names_construct(make, unmake, side->segment, side->table, cost));
}

static int ours_destroy(void *state, double *cost)
{
    const names_side *side = state;
    return failed(names_destroy(make, unmake, side->segment, side->table, cost));
}

static void ours_find_teardown(void *state)
{
    const names_side *side = state;
    (void)failed(names_at_random(unmake, side->segment, side->table));
    ours_teardown(state);
}

static int ours_find_setup(void *shared, void **state)
{
    if (ours_setup(shared, state) != 0) {
        return -1;
    }
    const names_side *side = *state;
    if (failed(names_in_order(make, side->segment, side->table)) != 0) {
        ours_teardown(*state);
        return -1;
    }
    return 0;
}

static int ours_find(void *state, double *cost)
{
    const names_side *side = state;
    return failed(names_find(find, side->segment, side->table, cost));
}

static int ours_find_random(void *state, double *cost)
{
    const names_side *side = state;
    return failed(names_find_random(find, side->segment, side->table, cost));
}

/* ---- the rows ----------------------------------------------------------------------------- */

extern const bench_row names_construct_row;
const bench_row names_construct_row = {
    .name = "names.construct",
    .unit = "ns",
    .what = "construct a named object of 16 bytes, of 100,000",
    .setup = names_setup,
    .teardown = names_teardown,
    .sides =
        {
            {"ours", 0, ours_setup, ours_construct, ours_teardown},
            {"boost", 0.25, boost_names_setup, boost_names_construct, boost_names_teardown},
        },
};

extern const bench_row names_find_row;
const bench_row names_find_row = {
    .name = "names.find",
    .unit = "ns",
    .what = "find one of 100,000 named objects, in the order they were made",
    .setup = names_setup,
    .teardown = names_teardown,
    .sides =
        {
            {"ours", 0, ours_find_setup, ours_find, ours_find_teardown},
            {"boost", 0.25, boost_find_setup, boost_find_run, boost_find_teardown},
        },
};

extern const bench_row names_find_random_row;
const bench_row names_find_random_row = {
    .name = "names.find_random",
    .unit = "ns",
    .what = "find one of 100,000 named objects, in random order",
    .setup = names_setup,
    .teardown = names_teardown,
    .sides =
        {
            {"ours", 0, ours_find_setup, ours_find_random, ours_find_teardown},
            {"boost", 0, boost_find_setup, boost_find_random, boost_find_teardown},
        },
};

extern const bench_row names_destroy_row;
const bench_row names_destroy_row = {
    .name = "names.destroy",
    .unit = "ns",
    .what = "destroy one of 100,000 named objects, in the order they were made",
    .setup = names_setup,
    .teardown = names_teardown,
    .sides =
        {
            {"ours", 0, ours_setup, ours_destroy, ours_teardown},
            {"boost", 0.35, boost_names_setup, boost_names_destroy, boost_names_teardown},
        },
};
