/* SPDX-License-Identifier: MIT */
/* holdfast-proof: runs the scenarios whose names match, and writes what was found. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void report(const char *name, const char *call, const struct findings *f, json_t *results)
{
    (void)printf("%-6s %-42s %7lu instructions %5lu states %5lu kills %6lu double faults\n",
                 f->failures == 0 ? "ok" : "FAILED", name, f->instructions, f->states, f->sigkills,
                 f->double_faults);
    (void)fflush(stdout);
    (void)json_array_append_new(
        results,
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "name", name, "call", call, "instructions",
                  (json_int_t)f->instructions, "states", (json_int_t)f->states, "sigkills",
                  (json_int_t)f->sigkills, "double_faults", (json_int_t)f->double_faults,
                  "failures", (json_int_t)f->failures));
}

static void count(struct totals *totals, const struct findings *f)
{
    totals->run++;
    totals->failures += f->failures;
    totals->longest_ns = f->longest_ns > totals->longest_ns ? f->longest_ns : totals->longest_ns;
}

static bool goes_on(const struct options *o, unsigned long failures)
{
    return failures == 0 || o->wish.keep_going;
}

/* The other levels ask the first one which states there are. */
static void run_scenario(const struct options *o, const struct scenario *scenario, json_t *results,
                         struct totals *totals)
{
    struct findings f = {0};
    if (o->levels[FREEZE] || o->wish.only == 0) {
        prove_frozen(scenario, &o->wish, &f);
    }
    if (o->levels[KILL] && goes_on(o, f.failures)) {
        prove_killed(scenario, &o->wish, &f);
    }
    if (o->levels[FAULTS] && goes_on(o, f.failures)) {
        prove_faults(scenario, &o->wish, &f);
    }
    report(scenario->name, scenario->call, &f, results);
    count(totals, &f);
    free(f.due);
}

static void run_table(const struct options *o, const struct scenario_table *table, json_t *results,
                      struct totals *totals)
{
    for (size_t i = 0; i < table->count && goes_on(o, totals->failures); i++) {
        const struct scenario *scenario = &table->scenarios[i];
        if (!selected(o, scenario->name)) {
            continue;
        }
        if (o->list) {
            (void)printf("%s %s\n", scenario->name, scenario->call);
            totals->run++;
        } else {
            run_scenario(o, scenario, results, totals);
        }
    }
}

static void run_pairs(const struct options *o, json_t *results, struct totals *totals)
{
    for (size_t i = 0; i < pair_count && goes_on(o, totals->failures); i++) {
        if (!selected(o, pairs[i].name)) {
            continue;
        }
        if (o->list) {
            (void)printf("%s two_at_once\n", pairs[i].name);
            totals->run++;
            continue;
        }
        struct findings f = {0};
        bool one = o->wish.only != 0;
        prove_pair(&pairs[i], one ? o->wish.only : 1, one ? 1 : o->schedules, &o->wish, &f);
        report(pairs[i].name, "two at once", &f, results);
        count(totals, &f);
    }
}

static void run_all(const struct options *o, json_t *results, struct totals *totals)
{
    static const struct scenario_table *const tables[] = {&pipe_scenarios, &segment_scenarios,
                                                          &mutex_scenarios, &tx_scenarios};
    bool scenarios = o->levels[FREEZE] || o->levels[KILL] || o->levels[FAULTS];
    for (size_t i = 0; scenarios && i < sizeof tables / sizeof tables[0]; i++) {
        run_table(o, tables[i], results, totals);
    }
    if (o->levels[PAIRS]) {
        run_pairs(o, results, totals);
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

static int write_results(const char *path, json_t *results)
{
    json_t *all = json_pack("{s:O, s:[]}", "scenarios", results, "mutants");
    int failed = json_dump_file(all, path, JSON_INDENT(2));
    json_decref(all);
    if (failed != 0) {
        (void)fprintf(stderr, "proof: cannot write %s\n", path);
    }
    return failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options o = {.schedules = 100};
    int code = parse(argc, argv, &o);
    if (code != 0) {
        return code - 1;
    }
    json_t *results = json_array();
    struct totals totals = {0};
    run_all(&o, results, &totals);
    if (totals.run == 0) {
        (void)fprintf(stderr, "proof: no scenario of that name\n");
        code = 2;
    } else if (totals.failures > 0) {
        code = 1;
    }
    if (o.output != NULL && !o.list && write_results(o.output, results) != 0) {
        code = 1;
    }
    json_decref(results);
    regfree(&o.only);
    if (!o.list) {
        (void)printf("%lu scenarios, %lu failures; survivors went on within %.1f ms\n", totals.run,
                     totals.failures, (double)totals.longest_ns / 1e6);
    }
    return code;
}
