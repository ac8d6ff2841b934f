/* SPDX-License-Identifier: MIT */
/*
 * Level 2, real deaths. For each due state a *stage*, a process of its own, builds the scenario
 * anew, steps the victim up to that state, lets three contenders loose on what the victim may hold
 * (one spins, one sleeps, one sleeps and is stopped), and kills the victim with SIGKILL. So the
 * kernel's part is real: its marks in life words, its wakes, the byte locks that it drops.
 *
 *     contenders   enter, and are done or wait for the victim
 *     stage        stops the stopped one, kills the victim
 *     contenders   the spinning one and the sleeping one must be done in time; then the stopped
 *                  one, once it goes on; then each of them once more
 *     judge        looks at the memory itself
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "os/os.h"
#include "proof/harness.h"

#define MS UINT64_C(1000000)

/* In vain: enough for a machine that has much else to do. What is promised is measured. */
#define PATIENCE_NS (20000 * MS)
/* Until contenders wait for the victim. */
#define SETTLE_NS (20 * MS)

/* A stage's end, besides the outcomes. */
enum { STAGE_TOLD = 3, STAGE_NOT_REACHED = 4 };

/* What the stage and its contenders share, outside of the arena. */
struct seat {
    _Atomic uint32_t rounds;  /* made */
    _Atomic uint32_t wanted;  /* to be made */
    _Atomic uint64_t done_ns; /* when the last one was made */
    pid_t pid;
};

struct control {
    struct seat seats[CONTENDERS];
    uint64_t longest_ns;
};

static void pause_shortly(void)
{
    struct timespec moment = {.tv_nsec = 50000};
    (void)nanosleep(&moment, NULL);
}

/* ---- contenders -------------------------------------------------------------------------- */

#define LEAVE UINT32_MAX

static void attach_only(struct arena *arena, contender who)
{
    hf_participant self;
    (void)who;
    if (arena->segment != NULL) {
        (void)hf_participant_self(arena->segment, &self);
    }
}

static void contend(const struct scenario *scenario, struct arena *arena, struct seat *seat,
                    contender who)
{
    void (*round)(struct arena *, contender) =
        scenario->contend != NULL ? scenario->contend : attach_only;
    for (;;) {
        uint32_t wanted = load_acquire(&seat->wanted);
        if (wanted == LEAVE) {
            break;
        }
        if (wanted > load_relaxed(&seat->rounds)) {
            round(arena, who);
            store_relaxed(&seat->done_ns, os_now_ns());
            store_release(&seat->rounds, wanted);
        } else {
            pause_shortly();
        }
    }
    if (arena->segment != NULL) {
        (void)hf_thread_leave(arena->segment);
    }
    _exit(0);
}

static void start_contenders(const struct scenario *scenario, struct arena *arena,
                             struct control *control)
{
    for (unsigned who = 0; who < CONTENDERS; who++) {
        (void)fflush(NULL);
        pid_t pid = fork();
        require(pid >= 0, "fork");
        if (pid == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            contend(scenario, arena, &control->seats[who], (contender)who);
        }
        control->seats[who].pid = pid;
    }
}

static void want(struct control *control, uint32_t rounds)
{
    for (unsigned who = 0; who < CONTENDERS; who++) {
        store_release(&control->seats[who].wanted, rounds);
    }
}

static bool is_done(const struct seat *seat, uint32_t rounds)
{
    return load_acquire(&seat->rounds) >= rounds;
}

static bool all_done(const struct control *control, uint32_t rounds)
{
    bool all = true;
    for (unsigned who = 0; who < CONTENDERS; who++) {
        all = all && is_done(&control->seats[who], rounds);
    }
    return all;
}

/* Until every contender is done, or those who sleep have been seen asleep twice. */
static void settle(const struct control *control)
{
    unsigned seen = 0;
    for (uint64_t end = os_now_ns() + SETTLE_NS; os_now_ns() < end && seen < 2;) {
        bool asleep = true;
        for (unsigned who = CONTENDER_ASLEEP; who < CONTENDERS; who++) {
            const struct seat *seat = &control->seats[who];
            asleep = asleep && (is_done(seat, 1) || is_asleep(seat->pid));
        }
        if (all_done(control, 1)) {
            return;
        }
        seen = asleep ? seen + 1 : 0;
        pause_shortly();
    }
}

/* Waits for the first `count` contenders; false if they do not get done. */
static bool wait_for_first(const struct control *control, unsigned count, uint32_t rounds)
{
    for (uint64_t end = os_now_ns() + PATIENCE_NS; os_now_ns() < end;) {
        bool done = true;
        for (unsigned who = 0; who < count; who++) {
            done = done && is_done(&control->seats[who], rounds);
        }
        if (done) {
            return true;
        }
        pause_shortly();
    }
    return false;
}

/* ---- the stage --------------------------------------------------------------------------- */

static const char *const contender_words[] = {"spinning", "sleeping", "stopped"};

static int tell_hang(const struct control *control, uint32_t rounds)
{
    for (unsigned who = 0; who < CONTENDERS; who++) {
        if (!is_done(&control->seats[who], rounds)) {
            (void)bad("the %s contender hangs%s", contender_words[who],
                      rounds > 1 ? ", after all had gone on" : "");
        }
    }
    return STAGE_TOLD;
}

/* Kills the victim and sees that all go on; 0 if they do. */
static int strike(struct victim *victim, struct control *control)
{
    const struct seat *stopped = &control->seats[CONTENDER_STOPPED];
    want(control, 1);
    settle(control);
    bool stops = !is_done(stopped, 1);
    if (stops) {
        (void)kill(stopped->pid, SIGSTOP);
    }
    uint64_t killed = os_now_ns();
    (void)kill(victim->pid, SIGKILL);
    bool on = wait_for_first(control, CONTENDER_STOPPED, 1);
    (void)kill(stopped->pid, SIGCONT);
    if (!on || !wait_for_first(control, CONTENDERS, 1)) {
        return tell_hang(control, 1);
    }
    for (unsigned who = 0; who < CONTENDER_STOPPED; who++) {
        uint64_t done = load_relaxed(&control->seats[who].done_ns);
        uint64_t took = done > killed ? done - killed : 0;
        control->longest_ns = took > control->longest_ns ? took : control->longest_ns;
    }
    want(control, 2);
    return wait_for_first(control, CONTENDERS, 2) ? 0 : tell_hang(control, 2);
}

static int dismiss(struct control *control)
{
    int bad_end = 0;
    want(control, LEAVE);
    for (unsigned who = 0; who < CONTENDERS; who++) {
        int status;
        require(waitpid(control->seats[who].pid, &status, 0) == control->seats[who].pid, "reap");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            (void)bad("the %s contender ends with status %#x", contender_words[who],
                      (unsigned)status);
            bad_end = STAGE_TOLD;
        }
    }
    return bad_end;
}

/* In a process of its own. Its exit code: an outcome, or STAGE_*. */
static int play(const struct scenario *scenario, unsigned long state, struct control *control,
                char place[256])
{
    struct arena arena;
    struct victim victim;
    stage_victim(&victim, &arena, scenario);
    if (!victim_step_to(&victim, state)) {
        return STAGE_NOT_REACHED;
    }
    char *words = getenv("HF_STATE") != NULL ? describe_instruction(victim.pid) : NULL;
    (void)snprintf(place, 256, "instruction %lu%s%s", victim.instructions,
                   words != NULL ? ", before " : "", words != NULL ? words : "");
    free(words);
    int code = 0;
    if (scenario->no_room) {
        (void)kill(victim.pid, SIGKILL);
    } else {
        start_contenders(scenario, &arena, control);
        code = strike(&victim, control);
        code = code != 0 ? code : dismiss(control);
    }
    (void)waitpid(victim.pid, NULL, 0);
    struct judging judging = judging_of(scenario);
    return code != 0 ? code : (int)judge_in_place(&judging, &arena);
}

static int run_stage(const struct scenario *scenario, unsigned long state, struct control *control,
                     char place[256])
{
    (void)fflush(NULL);
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int code = play(scenario, state, control, place);
        (void)fflush(NULL);
        _exit(code);
    }
    int status;
    require(waitpid(pid, &status, 0) == pid, "wait for the stage");
    return WIFEXITED(status) ? WEXITSTATUS(status) : (int)bad("the stage falls: %#x", status);
}

/* What the stages write, and we read. */
struct common {
    struct control control;
    char place[256];
};

static void kill_at(const struct scenario *scenario, unsigned long state, struct common *common,
                    struct findings *findings)
{
    common->control = (struct control){0};
    common->place[0] = 0;
    int code = run_stage(scenario, state, &common->control, common->place);
    if (code == STAGE_NOT_REACHED) {
        return; /* how long it waits differs from one time to the next */
    }
    findings->sigkills++;
    if (common->control.longest_ns > findings->longest_ns) {
        findings->longest_ns = common->control.longest_ns;
    }
    if (code != OUTCOME_BEFORE && code != OUTCOME_AFTER) {
        (void)fprintf(stderr,
                      "FAILED %s: after a real death of %s\n"
                      "    in state %lu, after %s\n"
                      "    replay: make proof ONLY='^%s$' LEVELS=kill STATE=%lu\n",
                      scenario->name, scenario->call, state, common->place, scenario->name, state);
        findings->failures++;
    }
}

bool is_sampled(unsigned long n, unsigned long count, unsigned long at_most)
{
    return at_most == 0 || count <= at_most || n * at_most / count != (n + 1) * at_most / count;
}

void prove_killed(const struct scenario *scenario, const struct wish *wish,
                  struct findings *findings)
{
    struct common *common =
        mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(common != MAP_FAILED, "memory");
    if (wish->only != 0) {
        kill_at(scenario, wish->only, common, findings);
    }
    for (unsigned long i = 0; wish->only == 0 && i < findings->due_count; i++) {
        if (is_sampled(i, findings->due_count, wish->at_most) &&
            (findings->failures == 0 || wish->keep_going)) {
            kill_at(scenario, findings->due[i], common, findings);
        }
    }
    (void)munmap(common, sizeof *common);
}
