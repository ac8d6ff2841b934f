/* SPDX-License-Identifier: MIT */
/*
 * Level 3, double faults. In a copy of each due state of the victim a recoverer is stepped through
 * recovery, and at each of its due states both are dead in another copy, which is judged. In one of
 * those states, another one each time, a second recoverer is stepped likewise: then all three are
 * dead.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proof/harness.h"

/* Of recoverers that die one after another. */
#define DEPTH 2u

/* One recoverer's walk. */
struct recovery {
    const struct scenario *scenario;
    struct findings *findings;
    unsigned long path[1 + DEPTH]; /* the states that the dead were in */
    unsigned depth;                /* of this recoverer: 1, 2 */
    unsigned long second;          /* the state in which a second one takes over */
};

static void join(struct arena *arena)
{
    hf_participant self;
    require(hf_participant_self(arena->segment, &self) == 0, "a recoverer cannot join");
}

static int recover(struct arena *arena)
{
    return hf_segment_recover(arena->segment, NULL);
}

static void tell(const struct recovery *r, const struct victim *recoverer)
{
    char *place = describe_instruction(recoverer->pid);
    const struct scenario *scenario = r->scenario;
    (void)fprintf(stderr,
                  "FAILED %s: the victim died in state %lu, and %s recoverer in state %lu\n"
                  "    (its instruction %lu, before %s)\n"
                  "    replay: make proof ONLY='^%s$' LEVELS=faults STATE=%lu\n",
                  scenario->name, r->path[0], r->depth == 1 ? "its" : "the second",
                  recoverer->states, recoverer->instructions, place, scenario->name, r->path[0]);
    free(place);
    r->findings->failures++;
}

static void step_recoverer(struct recovery r, const struct snapshot *dead);

/* Judges the recoverer's present state; in one of them lets the next one begin. */
static void look(struct recovery *r, struct victim *recoverer, const struct snapshot *dead)
{
    struct snapshot now = victim_snapshot(recoverer);
    for (unsigned i = 0; i < dead->dead_count; i++) {
        now.dead[now.dead_count++] = dead->dead[i];
    }
    r->findings->double_faults++;
    struct judging judging = judging_of(r->scenario);
    if (judge_copy(&judging, &now) == OUTCOME_BAD) {
        tell(r, recoverer);
        return;
    }
    if (r->depth < DEPTH && recoverer->states == r->second) {
        struct recovery next = *r;
        next.depth++;
        next.path[r->depth] = recoverer->states;
        step_recoverer(next, &now);
    }
}

/* Steps a recoverer through a copy of what the dead have left. */
static void step_recoverer(struct recovery r, const struct snapshot *dead)
{
    struct arena copy;
    struct victim recoverer;
    unsigned long failed = r.findings->failures;
    if (copy_arena(&copy, true, dead) != 0) {
        return; /* level 1 has told */
    }
    uint64_t room = r.scenario->maximum > dead->size ? r.scenario->maximum : dead->size;
    bool joins = r.scenario->no_room; /* then to join is to recover */
    victim_start(&recoverer, &copy, room, joins ? NULL : join, recover);
    for (bool due = victim_is_due(&recoverer); !recoverer.ended;) {
        if (due) {
            look(&r, &recoverer, dead);
        }
        if (r.findings->failures > failed) {
            break;
        }
        do {
            victim_step(&recoverer);
            due = victim_has_changed(&recoverer) && victim_is_due(&recoverer);
        } while (!due && !recoverer.ended);
    }
    victim_end(&recoverer);
    close_arena(&copy);
}

/* Which of its states the first recoverer hands over in: each turn another one. */
#define SECONDS_CYCLE 24ul

static void fault_at(const struct scenario *scenario, const struct victim *victim,
                     struct findings *findings, unsigned long turn)
{
    struct recovery r = {.scenario = scenario,
                         .findings = findings,
                         .path = {victim->states},
                         .depth = 1,
                         .second = 2 + turn * 7 % SECONDS_CYCLE};
    struct snapshot dead = victim_snapshot(victim);
    step_recoverer(r, &dead);
}

static bool is_wanted(const struct wish *wish, const struct findings *findings, unsigned long n,
                      unsigned long state)
{
    return wish->only != 0 ? state == wish->only
                           : is_sampled(n, findings->due_count, wish->at_most);
}

void prove_faults(const struct scenario *scenario, const struct wish *wish,
                  struct findings *findings)
{
    struct arena arena;
    struct victim victim;
    if (scenario->maximum == 0) {
        return; /* no segment: nobody recovers */
    }
    stage_victim(&victim, &arena, scenario);
    unsigned long due = 0;
    while (!victim.ended && (findings->failures == 0 || wish->keep_going)) {
        if (victim_is_due(&victim)) {
            if (is_wanted(wish, findings, due, victim.states)) {
                fault_at(scenario, &victim, findings, due);
            }
            due++;
        }
        if (!victim_step_to(&victim, victim.states + 1)) {
            break;
        }
    }
    victim_end(&victim);
    close_arena(&arena);
}
