/* SPDX-License-Identifier: MIT */
/* Level 1, freeze and clone: steps a victim through its call and has each state judged. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "proof/harness.h"

/* What is known while a victim is stepped. */
struct walk {
    const struct scenario *scenario;
    const struct wish *wish;
    struct findings *findings;
    struct victim victim;
    outcome last;       /* what the present state was judged to be */
    unsigned long room; /* for due states */
};

static void tell(const struct walk *walk, const char *what)
{
    char *place = describe_instruction(walk->victim.pid);
    (void)fprintf(stderr,
                  "FAILED %s: %s\n"
                  "    state %lu, after instruction %lu of %s, before %s\n"
                  "    replay: make proof ONLY='^%s$' LEVELS=freeze STATE=%lu\n",
                  walk->scenario->name, what, walk->victim.states, walk->victim.instructions,
                  walk->scenario->call, place, walk->scenario->name, walk->victim.states);
    free(place);
    walk->findings->failures++;
}

/* Is the present state due at the other levels? They are told. */
static bool note_due(struct walk *walk)
{
    struct findings *f = walk->findings;
    if (walk->victim.ended || !victim_is_due(&walk->victim)) {
        return false;
    }
    if (f->due_count == walk->room) {
        walk->room = walk->room * 2 + 64;
        f->due = realloc(f->due, walk->room * sizeof *f->due);
        require(f->due != NULL, "memory");
    }
    f->due[f->due_count++] = walk->victim.states;
    return true;
}

/* Judges the present state; false if that failed. */
static bool look(struct walk *walk)
{
    const struct scenario *scenario = walk->scenario;
    bool first = walk->victim.states == 1;
    char what[128];
    bool due = note_due(walk) || walk->victim.ended;
    bool wanted = walk->wish->only != 0 ? walk->victim.states == walk->wish->only
                                        : due || !walk->wish->only_due;
    if (!wanted) {
        return true;
    }
    struct snapshot snapshot = victim_snapshot(&walk->victim);
    struct judging judging = judging_of(scenario);
    outcome now = judge_copy(&judging, &snapshot);
    if (now == OUTCOME_BAD) {
        tell(walk, "a death here leaves neither the state before nor the one after");
        return false;
    }
    if (first ? now != OUTCOME_BEFORE : now < walk->last) {
        (void)snprintf(what, sizeof what, "the state is \"%s\" where it must not be",
                       outcome_words[now]);
        tell(walk, what);
        return false;
    }
    walk->last = now;
    return true;
}

/* The end: the call must have returned 0 and the memory be as after it. */
static void finish(struct walk *walk)
{
    const char *what = NULL;
    int status = walk->victim.status;
    outcome expected = walk->scenario->no_effect ? OUTCOME_BEFORE : OUTCOME_AFTER;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        what = "the call failed";
    } else if (walk->wish->only == 0 && walk->last != expected) {
        what = "the call has returned, and the state is not the one after it";
    } else if (walk->victim.states < 2) {
        what = "fewer than two distinct states: nothing was proven";
    }
    if (what != NULL) {
        (void)fprintf(stderr,
                      "FAILED %s: %s\n"
                      "    after instruction %lu of %s, the last\n"
                      "    replay: make proof ONLY='^%s$' LEVELS=freeze\n",
                      walk->scenario->name, what, walk->victim.instructions, walk->scenario->call,
                      walk->scenario->name);
        walk->findings->failures++;
    }
}

void prove_frozen(const struct scenario *scenario, const struct wish *wish,
                  struct findings *findings)
{
    struct arena arena;
    struct walk walk = {.scenario = scenario, .wish = wish, .findings = findings};
    stage_victim(&walk.victim, &arena, scenario);
    bool good = look(&walk);
    while (!walk.victim.ended && (good || wish->keep_going)) {
        victim_step(&walk.victim);
        if (victim_has_changed(&walk.victim)) {
            good = look(&walk) && good;
        }
    }
    if (walk.victim.ended) {
        finish(&walk);
    }
    findings->instructions = walk.victim.instructions;
    findings->states = walk.victim.states;
    victim_end(&walk.victim);
    close_arena(&arena);
}
