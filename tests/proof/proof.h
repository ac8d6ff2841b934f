/* SPDX-License-Identifier: MIT */
/*
 * What a scenario is. docs/proof.md explains the levels at which it is proven:
 *
 *     freeze  a victim is stepped through its call; each state is judged in a copy of the memory
 *     kill    a victim is killed with SIGKILL at each state, with living contenders attached
 *     faults  whoever recovers a victim is killed at each step of that, and the next one as well
 *
 * The judge says whether what it is given is the state before the call or the one after it.
 * Anything else is a failure; so is a call that is not "before" at first and "after" in the end, or
 * that goes back from after to before: there is one instruction at which it happens.
 */
#ifndef TESTS_PROOF_PROOF_H
#define TESTS_PROOF_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "holdfast/memory.h"
#include "holdfast/region.h"
#include "holdfast/segment.h"

/* The shared memory of a scenario, or a copy of it: plain memory, or a segment. */
struct arena {
    hf_memory *memory;
    hf_region *region;   /* NULL: a segment */
    hf_segment *segment; /* NULL: plain memory */
    char *base;
};

typedef enum outcome { OUTCOME_BEFORE, OUTCOME_AFTER, OUTCOME_BAD } outcome;

/* Who contends with a victim. */
typedef enum contender {
    CONTENDER_SPINNING, /* tries again and again */
    CONTENDER_ASLEEP,
    CONTENDER_STOPPED, /* asleep, and then stopped until the others have gone on */
    CONTENDERS
} contender;

struct scenario {
    const char *name; /* call's noun, a dot, what is special about it */
    const char *call; /* the exported function that this proves */
    uint64_t size;    /* of the memory, in bytes */
    uint64_t maximum; /* what it may grow to; not 0: the memory is a segment, made already */

    /* Before the victim exists: formats the memory. May be NULL. */
    void (*set_up)(struct arena *arena);
    /* In the victim, not stepped: opens what the call needs. May be NULL. */
    void (*prepare)(struct arena *arena);
    /* In the victim, stepped: the one call. Returns what the call returned. */
    int (*act)(struct arena *arena);
    /* The call changes nothing that others see: "before" from the first state to the last. */
    bool no_effect;
    /* In each contender, before and after the victim is killed: wants what the victim may hold,
       gets it and gives it back. What it was told is the judge's to know. NULL: it only attaches.
     */
    void (*contend)(struct arena *arena, contender who);
    /* The segment has no room for another participant: who comes takes a dead one's slot. */
    bool no_room;
    /* In the judge, before all else: work beside the dead, before anybody has recovered them. What
       it takes must still be there in the end. May be NULL. */
    void (*early)(struct arena *copy);
    /* In the judge; the victim is dead. A failure is told by bad(), which returns OUTCOME_BAD. */
    outcome (*judge)(struct arena *copy);
};

/* A file's scenarios. */
struct scenario_table {
    const struct scenario *scenarios;
    size_t count;
};
#define SCENARIO_TABLE(array)                                                                      \
    {                                                                                              \
        array, sizeof(array) / sizeof(array)[0]                                                    \
    }

/* Two victims that die together, in calls that meet; pairs.c. */
struct pair {
    const char *name;
    uint64_t maximum;
    void (*set_up)(struct arena *arena);
    void (*prepare[2])(struct arena *arena); /* may be NULL; the first one's comes first */
    int (*act[2])(struct arena *arena);
    void (*early)(struct arena *copy); /* as a scenario's */
    /* With both dead: OUTCOME_BEFORE if all is whole. */
    outcome (*judge)(struct arena *copy);
};

/* Prints why, as printf does. */
outcome bad(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Dies with the words if the condition does not hold: for what is no finding but a broken test. */
_Noreturn void give_up(const char *what);
static inline void require(bool condition, const char *what)
{
    if (!condition) {
        give_up(what);
    }
}

extern const struct scenario_table pipe_scenarios;
extern const struct scenario_table segment_scenarios;
extern const struct scenario_table mutex_scenarios;
extern const struct scenario_table rwlock_scenarios;
extern const struct scenario_table semaphore_scenarios;
extern const struct scenario_table recursive_mutex_scenarios;
extern const struct scenario_table condition_scenarios;
extern const struct scenario_table tx_scenarios;
extern const struct scenario_table heap_scenarios;
extern const struct scenario_table object_scenarios;
extern const struct scenario_table event_scenarios;
extern const struct scenario_table barrier_scenarios;

struct pair_table {
    const struct pair *pairs;
    size_t count;
};

extern const struct pair_table pair_scenarios;
extern const struct pair_table sync_pair_scenarios;

#endif
