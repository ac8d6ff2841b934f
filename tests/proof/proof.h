/* SPDX-License-Identifier: MIT */
/*
 * The proof, first level: freeze and clone.
 *
 * A *victim*, a child of ours, makes one call on shared memory, one instruction at a time. After
 * each instruction that changed the memory it is frozen, the memory is copied, and the copy is
 * judged as if the victim had died right there: nobody holds its locks in the copy. The judge is a
 * process of its own, so that a crash or a hang in it is a finding and not the end.
 *
 * The judge says whether the copy is the state before the call or the one after it. Anything else
 * is a failure; so is a call that is not "before" at first and "after" in the end, or that goes
 * back from after to before: there is one instruction at which it happens.
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
    pid_t victim; /* in a copy: who is to be dead */
};

typedef enum outcome { OUTCOME_BEFORE, OUTCOME_AFTER, OUTCOME_BAD } outcome;

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
    /* In the judge, on a copy, in which the victim is dead. A failure is told by bad(), which
       returns OUTCOME_BAD. */
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

/* Prints why, as printf does. */
outcome bad(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What was found out about a scenario. */
struct findings {
    unsigned long instructions;
    unsigned long states; /* distinct states of the memory that were judged */
    unsigned long failures;
};

/* Runs one scenario; prints what is wrong, and stops at the first failure unless keep_going. */
void prove(const struct scenario *scenario, bool keep_going, struct findings *findings);

/* Dies with the words if the condition does not hold: for what is no finding but a broken test. */
void require(bool condition, const char *what);

/* An instruction in words: symbol+offset in file, for a pid that is stopped there. To be freed. */
char *describe_instruction(pid_t pid);

extern const struct scenario_table pipe_scenarios;
extern const struct scenario_table segment_scenarios;
extern const struct scenario_table mutex_scenarios;
extern const struct scenario_table tx_scenarios;

#endif
