/* SPDX-License-Identifier: MIT */
/* holdfast-proof: runs the scenarios whose names match, and writes what was found. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "proof/harness.h"

static const char help[] =
    "usage: holdfast-proof [--only REGEX] [--levels LIST] [--state N] [--sample N]\n"
    "                      [--schedules N] [--due] [--output FILE] [--list]\n\n"
    "Kills a victim at every state of every call that changes shared memory, and judges what it\n"
    "leaves. Stops at the first failure unless KEEP_GOING=1 is in the environment.\n\n"
    "  --only REGEX   the scenarios whose name matches this extended regular expression\n"
    "  --levels LIST  of freeze (judge a copy of each state), kill (with SIGKILL, beside living\n"
    "                 contenders), faults (the recoverer dies, too), pairs (two die together);\n"
    "                 with commas between them; all, if there is none\n"
    "  --state N      only this state of a scenario; of a pair, only this schedule\n"
    "  --sample N     at most N states of each scenario for kill and for faults\n"
    "  --schedules N  of each pair (100)\n"
    "  --due          of a loop that copies or clears not each round, at the first level either\n"
    "  --output FILE  where to write the results, as JSON\n"
    "  --list         the scenarios' names, and the calls that they prove\n";

static const char *const level_words[] = {"freeze", "kill", "faults", "pairs"};
enum { FREEZE, KILL, FAULTS, PAIRS, LEVELS };

struct options {
    regex_t only;
    bool levels[LEVELS];
    struct wish wish;
    unsigned long schedules;
    const char *output;
    bool list;
};

/* What all of it comes to. */
struct totals {
    unsigned long run;
    unsigned long failures;
    uint64_t longest_ns;
};

static bool selected(const struct options *o, const char *name)
{
    return regexec(&o->only, name, 0, NULL, 0) == 0;
}

/* What is run: a scenario, or a pair. */
struct job {
    const struct scenario *scenario; /* NULL: a pair */
    const struct pair *pair;
    struct findings findings; /* in memory shared with the process that runs it */
    pid_t pid;                /* 0: not started, or done */
    bool done;
};

#define JOBS_MAX 512u

/* In memory shared with all processes. */
struct work {
    struct job jobs[JOBS_MAX];
    size_t count;
};

static const char *name_of(const struct job *job)
{
    return job->scenario != NULL ? job->scenario->name : job->pair->name;
}

static void report(const struct job *job)
{
    const struct findings *f = &job->findings;
    (void)printf("%-6s %-42s %7lu instructions %5lu states %5lu kills %6lu double faults\n",
                 f->failures == 0 ? "ok" : "FAILED", name_of(job), f->instructions, f->states,
                 f->sigkills, f->double_faults);
    (void)fflush(stdout);
}

static json_t *json_of(const struct job *job)
{
    const struct findings *f = &job->findings;
    const char *call = job->scenario != NULL ? job->scenario->call : "two at once";
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "name", name_of(job), "call", call,
                     "instructions", (json_int_t)f->instructions, "states", (json_int_t)f->states,
                     "sigkills", (json_int_t)f->sigkills, "double_faults",
                     (json_int_t)f->double_faults, "failures", (json_int_t)f->failures);
}

/* ---- running ----------------------------------------------------------------------------- */

static bool goes_on(const struct options *o, unsigned long failures)
{
    return failures == 0 || o->wish.keep_going;
}

/* The other levels ask the first one which states there are. */
static void run_scenario(const struct options *o, const struct scenario *scenario,
                         struct findings *f)
{
    if (o->levels[FREEZE] || o->wish.only == 0) {
        prove_frozen(scenario, &o->wish, f);
    }
    if (o->levels[KILL] && goes_on(o, f->failures)) {
        prove_killed(scenario, &o->wish, f);
    }
    if (o->levels[FAULTS] && goes_on(o, f->failures)) {
        prove_faults(scenario, &o->wish, f);
    }
}

/* In a process of its own. */
static void run_job(const struct options *o, struct job *job)
{
    bool one = o->wish.only != 0;
    if (job->scenario != NULL) {
        run_scenario(o, job->scenario, &job->findings);
    } else {
        prove_pair(job->pair, one ? o->wish.only : 1, one ? 1 : o->schedules, &o->wish,
                   &job->findings);
    }
    report(job);
}

static void count(struct totals *totals, const struct findings *f)
{
    totals->run++;
    totals->failures += f->failures;
    totals->longest_ns = f->longest_ns > totals->longest_ns ? f->longest_ns : totals->longest_ns;
}

static void start_job(const struct options *o, struct job *job)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        run_job(o, job);
        _exit(0);
    }
    job->pid = pid;
}

static void end_job(struct work *work, struct totals *totals)
{
    int status;
    pid_t pid = wait(&status);
    require(pid > 0, "wait for a scenario");
    for (size_t i = 0; i < work->count; i++) {
        struct job *job = &work->jobs[i];
        if (job->pid == pid) {
            job->pid = 0;
            job->done = true;
            if (status != 0) {
                (void)fprintf(stderr, "FAILED %s: its harness falls (%#x)\n", name_of(job),
                              (unsigned)status);
                job->findings.failures++;
            }
            count(totals, &job->findings);
        }
    }
}

/* As many at a time as there are processors. */
static void run_all(const struct options *o, struct work *work, struct totals *totals)
{
    unsigned running = 0;
    for (size_t i = 0; i < work->count && goes_on(o, totals->failures); i++) {
        if (running == os_processors()) {
            end_job(work, totals);
            running--;
        }
        if (goes_on(o, totals->failures)) {
            start_job(o, &work->jobs[i]);
            running++;
        }
    }
    for (; running > 0; running--) {
        end_job(work, totals);
    }
}

/* ---- what there is ------------------------------------------------------------------------ */

static void add_job(struct work *work, const struct scenario *scenario, const struct pair *pair)
{
    require(work->count < JOBS_MAX, "too many scenarios");
    work->jobs[work->count++] = (struct job){.scenario = scenario, .pair = pair};
}

static void find_jobs(const struct options *o, struct work *work)
{
    static const struct scenario_table *const tables[] = {
        &pipe_scenarios,      &segment_scenarios,   &mutex_scenarios,
        &tx_scenarios,        &heap_scenarios,      &object_scenarios,
        &rwlock_scenarios,    &semaphore_scenarios, &recursive_mutex_scenarios,
        &condition_scenarios, &event_scenarios,     &barrier_scenarios};
    bool scenarios = o->levels[FREEZE] || o->levels[KILL] || o->levels[FAULTS];
    for (size_t t = 0; scenarios && t < sizeof tables / sizeof tables[0]; t++) {
        for (size_t i = 0; i < tables[t]->count; i++) {
            if (selected(o, tables[t]->scenarios[i].name)) {
                add_job(work, &tables[t]->scenarios[i], NULL);
            }
        }
    }
    static const struct pair_table *const pair_tables[] = {&pair_scenarios, &sync_pair_scenarios};
    for (size_t t = 0; o->levels[PAIRS] && t < sizeof pair_tables / sizeof pair_tables[0]; t++) {
        for (size_t i = 0; i < pair_tables[t]->count; i++) {
            if (selected(o, pair_tables[t]->pairs[i].name)) {
                add_job(work, NULL, &pair_tables[t]->pairs[i]);
            }
        }
    }
}

static void list(const struct work *work)
{
    for (size_t i = 0; i < work->count; i++) {
        const struct job *job = &work->jobs[i];
        (void)printf("%s %s\n", name_of(job),
                     job->scenario != NULL ? job->scenario->call : "two_at_once");
    }
}

/* ---- what is asked for ------------------------------------------------------------------- */

/* An empty one means that nothing was said. */
static bool parse_number(const char *text, unsigned long *number)
{
    char *end;
    if (*text == 0) {
        return true;
    }
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || *end != 0 || text[0] == '-') {
        (void)fprintf(stderr, "proof: not a number: %s\n", text);
        return false;
    }
    *number = value;
    return true;
}

static bool parse_levels(const char *list, bool levels[LEVELS])
{
    bool none = *list == 0;
    for (unsigned i = 0; i < LEVELS; i++) {
        levels[i] = none;
    }
    while (*list != 0) {
        size_t length = strcspn(list, ",");
        unsigned i = 0;
        while (i < LEVELS &&
               (strlen(level_words[i]) != length || memcmp(level_words[i], list, length) != 0)) {
            i++;
        }
        if (i == LEVELS) {
            (void)fprintf(stderr, "proof: no level: %s\n", list);
            return false;
        }
        levels[i] = true;
        list += length + (list[length] == ',' ? 1 : 0);
    }
    return true;
}

/* 0: go on; else the exit code, less one. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {{"only", required_argument, NULL, 'o'},
                                            {"levels", required_argument, NULL, 'e'},
                                            {"state", required_argument, NULL, 's'},
                                            {"sample", required_argument, NULL, 'n'},
                                            {"schedules", required_argument, NULL, 'c'},
                                            {"output", required_argument, NULL, 'f'},
                                            {"due", no_argument, NULL, 'd'},
                                            {"list", no_argument, NULL, 'l'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *only = "";
    const char *levels = "";
    bool good = true;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'o':
            only = optarg;
            break;
        case 'e':
            levels = optarg;
            break;
        case 's':
            good = good && parse_number(optarg, &o->wish.only);
            break;
        case 'n':
            good = good && parse_number(optarg, &o->wish.at_most);
            break;
        case 'c':
            good = good && parse_number(optarg, &o->schedules);
            break;
        case 'f':
            o->output = optarg;
            break;
        case 'd':
            o->wish.only_due = true;
            break;
        case 'l':
            o->list = true;
            break;
        case 'h':
            (void)fputs(help, stdout);
            return 1;
        default:
            return 3;
        }
    }
    if (!good || !parse_levels(levels, o->levels)) {
        return 3;
    }
    if (regcomp(&o->only, only, REG_EXTENDED | REG_NOSUB) != 0) {
        (void)fprintf(stderr, "proof: not a regular expression: %s\n", only);
        return 3;
    }
    const char *keep_going = getenv("KEEP_GOING");
    o->wish.keep_going = keep_going != NULL && strcmp(keep_going, "1") == 0;
    return 0;
}

static int write_results(const char *path, const struct work *work)
{
    json_t *scenarios = json_array();
    for (size_t i = 0; i < work->count; i++) {
        if (work->jobs[i].done) {
            (void)json_array_append_new(scenarios, json_of(&work->jobs[i]));
        }
    }
    json_t *all = json_pack("{s:o, s:[]}", "scenarios", scenarios, "mutants");
    int failed = json_dump_file(all, path, JSON_INDENT(2));
    json_decref(all);
    if (failed != 0) {
        (void)fprintf(stderr, "proof: cannot write %s\n", path);
    }
    return failed == 0 ? 0 : 1;
}

static int run_and_tell(const struct options *o, struct work *work)
{
    struct totals totals = {0};
    run_all(o, work, &totals);
    int code = totals.failures > 0 ? 1 : 0;
    if (o->output != NULL && write_results(o->output, work) != 0) {
        code = 1;
    }
    (void)printf("%lu scenarios, %lu failures; survivors went on within %.1f ms\n", totals.run,
                 totals.failures, (double)totals.longest_ns / 1e6);
    return code;
}

int main(int argc, char **argv)
{
    struct options o = {.schedules = 100};
    int code = parse(argc, argv, &o);
    if (code != 0) {
        return code - 1;
    }
    struct work *work =
        mmap(NULL, sizeof *work, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(work != MAP_FAILED, "memory");
    find_jobs(&o, work);
    if (work->count == 0) {
        (void)fprintf(stderr, "proof: no scenario of that name\n");
        code = 2;
    } else if (o.list) {
        list(work);
    } else {
        code = run_and_tell(&o, work);
    }
    regfree(&o.only);
    (void)munmap(work, sizeof *work);
    return code;
}
