/* SPDX-License-Identifier: MIT */
/*
 * The harness that scenarios run in.
 *
 *     arena.c    the memory, its copies, and judging them
 *     victim.c   one process that is stepped, and where it is
 *     freeze.c   level 1: every state, frozen and judged in a copy
 *     kill.c     level 2: real deaths, beside living contenders
 *     faults.c   level 3: the death of who recovers the dead
 *     pairs.c    two victims that die together
 *     mutants.c  the harness itself: does it notice a store that is missing?
 */
#ifndef TESTS_PROOF_HARNESS_H
#define TESTS_PROOF_HARNESS_H

#include "proof/proof.h"

/* What is asked for. */
struct wish {
    bool keep_going;       /* past failures */
    bool only_due;         /* at level 1, too: not each round of a loop */
    unsigned long only;    /* this state alone; 0: all */
    unsigned long at_most; /* so many states of a scenario at levels 2 and 3, evenly; 0: all due */
};

/* What was found out about a scenario. */
struct findings {
    unsigned long instructions;
    unsigned long states;        /* distinct states of the memory that were judged */
    unsigned long sigkills;      /* real deaths */
    unsigned long double_faults; /* states of a recovery in which the recoverer died as well */
    unsigned long failures;
    uint64_t longest_ns; /* from a kill to the moment that every waiter had gone on */
    /* The states that the other levels are run at: in a loop, not each round. */
    unsigned long *due;
    unsigned long due_count;
};

/* Each runs one level of a scenario, and prints what is wrong. The first fills `due`. */
void prove_frozen(const struct scenario *scenario, const struct wish *wish,
                  struct findings *findings);
void prove_killed(const struct scenario *scenario, const struct wish *wish,
                  struct findings *findings);
void prove_faults(const struct scenario *scenario, const struct wish *wish,
                  struct findings *findings);

/* Runs a pair under `schedules` schedules, the first of number `seed`. */
void prove_pair(const struct pair *pair, unsigned long seed, unsigned long schedules,
                const struct wish *wish, struct findings *findings);

/* Is the n-th of `count` due states one of at most `at_most`, evenly spread? */
bool is_sampled(unsigned long n, unsigned long count, unsigned long at_most);

/* ---- memory (arena.c) -------------------------------------------------------------------- */

/* The memory as it was at one instant, and who was dead by then. */
#define DEAD_MAX 4
struct snapshot {
    const void *bytes;
    uint64_t size;
    pid_t dead[DEAD_MAX];
    unsigned dead_count;
};

void open_arena(struct arena *arena, uint64_t size, uint64_t maximum);
void close_arena(struct arena *arena);
uint64_t arena_size(const struct arena *arena);

/* Memory of its own with these bytes, in which the dead are dead: marked as the kernel does, and
   nobody holds its byte locks. 0, or opening's error. */
int copy_arena(struct arena *copy, bool segment, const struct snapshot *snapshot);

/* How a judge goes about it. */
struct judging {
    void (*early)(struct arena *copy); /* may be NULL */
    outcome (*judge)(struct arena *copy);
    bool segment;
};

static inline struct judging judging_of(const struct scenario *scenario)
{
    return (struct judging){scenario->early, scenario->judge, scenario->maximum != 0};
}

/* Has the snapshot judged, in a copy and by a process of its own: a crash or a hang in it is a
   finding and not the end. */
outcome judge_copy(const struct judging *judging, const struct snapshot *snapshot);

/* Has the memory itself judged, likewise. */
outcome judge_in_place(const struct judging *judging, struct arena *arena);

extern const char *const outcome_words[];

/* ---- the victim (victim.c) --------------------------------------------------------------- */

struct victim {
    pid_t pid;
    struct arena *arena;
    unsigned long instructions; /* stepped so far */
    unsigned long states;       /* distinct ones so far, the first included */
    int status;                 /* once it has ended */
    bool ended;
    char *seen; /* the memory in its last distinct state */
    uint64_t seen_size;
    /* How often each instruction has changed something, by its address. */
    struct round {
        uint64_t address;
        unsigned long count;
    } * rounds;
};

/* Starts a child that prepares and then stops before it acts. */
void victim_start(struct victim *victim, struct arena *arena, uint64_t room,
                  void (*prepare)(struct arena *arena), int (*act)(struct arena *arena));

/* The same with a scenario's arena, set up, in which the victim is alone. */
void stage_victim(struct victim *victim, struct arena *arena, const struct scenario *scenario);

/* One instruction; sets `ended`. */
void victim_step(struct victim *victim);

/* Steps until the memory has changed, to `state` at least; false: it has ended before. */
bool victim_step_to(struct victim *victim, unsigned long state);

/* Is the memory in another state than it was? Then that is the state now. */
bool victim_has_changed(struct victim *victim);

/* Is the present state due at the expensive levels? The rounds of a loop are not all of them. */
bool victim_is_due(struct victim *victim);

/* The snapshot in which it dies just now; room for others. Valid until the next change. */
struct snapshot victim_snapshot(const struct victim *victim);

/* Kills it, if it lives, and frees what is ours. */
void victim_end(struct victim *victim);

/* Is that process asleep? Has it ended? */
bool is_asleep(pid_t pid);
bool is_dead(pid_t pid);

/* An instruction in words: symbol+offset in file, for a pid that is stopped there. To be freed. */
char *describe_instruction(pid_t pid);

#endif
