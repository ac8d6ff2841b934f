/* SPDX-License-Identifier: MIT */
/*
 * Two victims that die together, in calls that meet. Both are stepped, in turns that a seeded
 * schedule draws; one that sleeps in the system is left there until it comes out. At each new state
 * of the memory both are dead in a copy, which is judged.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "os/os.h"
#include "proof/harness.h"

#define MS UINT64_C(1000000)

/* A step that takes longer is a sleep. */
#define STEP_NS (2 * MS)
/* The same where nothing else goes on meanwhile, and much would be missed. */
#define HELD_NS (1000 * MS)
/* Both asleep for so long: they wait for each other. */
#define HANG_NS   (20000 * MS)
#define TURN_MAX  60ul
#define STEPS_MAX 400000ul

struct walker {
    struct victim victim;
    bool inside; /* a step has begun, and has not come back */
};

struct play {
    const struct pair *pair;
    struct findings *findings;
    struct arena arena;
    struct walker walkers[2];
    uint64_t dice;
    unsigned long number; /* of the schedule */
};

static unsigned long draw(struct play *play, unsigned long below)
{
    play->dice ^= play->dice << 13;
    play->dice ^= play->dice >> 7;
    play->dice ^= play->dice << 17;
    return (unsigned long)(play->dice % below);
}

/* Has the walker's step come back? Waits for it as long as a step takes, or not at all. */
static bool comes_back(struct walker *walker, uint64_t ns)
{
    struct victim *victim = &walker->victim;
    uint64_t end = os_now_ns() + ns;
    for (;;) {
        pid_t pid = waitpid(victim->pid, &victim->status, WNOHANG | __WALL);
        require(pid >= 0, "wait for a walker");
        if (pid == victim->pid) {
            break;
        }
        if (os_now_ns() > end) {
            return false;
        }
        (void)sched_yield();
    }
    walker->inside = false;
    victim->ended = !WIFSTOPPED(victim->status);
    require(victim->ended || WSTOPSIG(victim->status) == SIGTRAP, "a walker got a signal");
    victim->instructions++;
    return true;
}

/* One step, if it is not asleep; false if it is. */
static bool walk_on(struct walker *walker, uint64_t ns)
{
    if (!walker->inside) {
        require(ptrace(PTRACE_SINGLESTEP, walker->victim.pid, NULL, NULL) == 0, "single step");
        walker->inside = true;
    }
    return comes_back(walker, ns);
}

static void tell(const struct play *play, const char *what)
{
    (void)fprintf(stderr, "FAILED %s: %s\n", play->pair->name, what);
    for (unsigned i = 0; i < 2; i++) {
        const struct walker *walker = &play->walkers[i];
        char *place = walker->victim.ended || walker->inside
                          ? NULL
                          : describe_instruction(walker->victim.pid);
        (void)fprintf(stderr, "    victim %u: after instruction %lu, %s%s\n", i + 1,
                      walker->victim.instructions,
                      place != NULL          ? "before "
                      : walker->victim.ended ? "at its end"
                                             : "asleep",
                      place != NULL ? place : "");
        free(place);
    }
    (void)fprintf(stderr, "    replay: make proof ONLY='^%s$' STATE=%lu\n", play->pair->name,
                  play->number);
    play->findings->failures++;
}

/* The first walker's idea of the memory is both's. */
static void look(struct play *play)
{
    struct victim *first = &play->walkers[0].victim;
    if (!victim_has_changed(first)) {
        return;
    }
    struct snapshot snapshot = victim_snapshot(first);
    snapshot.dead[snapshot.dead_count++] = play->walkers[1].victim.pid;
    play->findings->states++;
    play->findings->double_faults++;
    struct judging judging = {play->pair->early, play->pair->judge, true};
    if (judge_copy(&judging, &snapshot) == OUTCOME_BAD) {
        tell(play, "both die here, and what they leave is not whole");
    }
}

/* A turn of one of the two; false if it slept through it. */
static bool take_turn(struct play *play, struct walker *walker)
{
    unsigned long steps = 1 + draw(play, TURN_MAX);
    bool moved = false;
    for (unsigned long i = 0; i < steps && !walker->victim.ended; i++) {
        if (!walk_on(walker, STEP_NS)) {
            return moved;
        }
        moved = true;
        look(play);
        if (play->findings->failures > 0) {
            break;
        }
    }
    return moved;
}

/* Steps the walker until there have been `states` new ones, or it sleeps or has ended. */
static void go(struct play *play, struct walker *walker, unsigned long states)
{
    unsigned long end = play->findings->states + states;
    while (!walker->victim.ended && play->findings->states < end && play->findings->failures == 0 &&
           walk_on(walker, STEP_NS)) {
        look(play);
    }
}

/* Every other schedule begins with one of them held up at its n-th state while the other goes all
   the way: each n in its turn. */
static void hold_one_up(struct play *play)
{
    unsigned first = (unsigned)(play->number / 2 % 2);
    if (play->number % 2 == 0) {
        go(play, &play->walkers[first], 1 + play->number / 4);
        go(play, &play->walkers[1 - first], STEPS_MAX);
    }
}

static void run(struct play *play)
{
    uint64_t last_move = os_now_ns();
    struct walker *w = play->walkers;
    hold_one_up(play);
    while (play->findings->failures == 0 && !(w[0].victim.ended && w[1].victim.ended)) {
        unsigned who = w[0].victim.ended ? 1 : w[1].victim.ended ? 0 : (unsigned)draw(play, 2);
        if (take_turn(play, &w[who])) {
            last_move = os_now_ns();
        } else if (os_now_ns() - last_move > HANG_NS) {
            tell(play, "neither goes on");
        }
        if (w[0].victim.instructions + w[1].victim.instructions > STEPS_MAX) {
            tell(play, "they do not end");
        }
    }
    for (unsigned i = 0; i < 2 && play->findings->failures == 0; i++) {
        int status = w[i].victim.status;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            tell(play, i == 0 ? "the first call failed" : "the second call failed");
        }
    }
}

static void play_once(struct play *play)
{
    const struct pair *pair = play->pair;
    open_arena(&play->arena, HF_SEGMENT_PAGE * 16, pair->maximum);
    if (pair->set_up != NULL) {
        pair->set_up(&play->arena);
    }
    (void)hf_thread_leave(play->arena.segment);
    for (unsigned i = 0; i < 2; i++) {
        play->walkers[i] = (struct walker){.inside = false};
        victim_start(&play->walkers[i].victim, &play->arena, pair->maximum, pair->prepare[i],
                     pair->act[i]);
    }
    (void)victim_has_changed(&play->walkers[0].victim); /* what the second one has prepared */
    run(play);
    for (unsigned i = 0; i < 2; i++) {
        play->findings->instructions += play->walkers[i].victim.instructions;
        victim_end(&play->walkers[i].victim);
    }
    close_arena(&play->arena);
}

void prove_pair(const struct pair *pair, unsigned long seed, unsigned long schedules,
                const struct wish *wish, struct findings *findings)
{
    for (unsigned long i = seed; i < seed + schedules; i++) {
        struct play play = {.pair = pair, .findings = findings, .number = i};
        play.dice = i * UINT64_C(0x9e3779b97f4a7c15) | 1;
        for (unsigned warm = 0; warm < 8; warm++) {
            (void)draw(&play, 2);
        }
        play_once(&play);
        if (findings->failures > 0 && !wish->keep_going) {
            break;
        }
    }
}
