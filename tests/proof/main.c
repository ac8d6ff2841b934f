/* SPDX-License-Identifier: MIT */
/* holdfast-proof: runs the scenarios whose names match, and writes what was found. */
#include <getopt.h>
#include <jansson.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proof/proof.h"

static const char help[] =
    "usage: holdfast-proof [--only REGEX] [--output FILE] [--list]\n\n"
    "Kills a victim after every instruction of every call that changes shared memory, and judges\n"
    "what it leaves. Stops at the first failure unless KEEP_GOING=1 is in the environment.\n\n"
    "  --only REGEX   the scenarios whose name matches this extended regular expression\n"
    "  --output FILE  where to write the results, as JSON\n"
    "  --list         the scenarios' names, and the calls that they prove\n";

struct options {
    regex_t only;
    const char *output;
    bool list;
    bool keep_going;
};

static bool selected(const struct options *o, const struct scenario *scenario)
{
    return regexec(&o->only, scenario->name, 0, NULL, 0) == 0;
}

static void report(const struct scenario *scenario, const struct findings *f, json_t *results)
{
    (void)printf("%-6s %-40s %8lu instructions %6lu states\n", f->failures == 0 ? "ok" : "FAILED",
                 scenario->name, f->instructions, f->states);
    (void)fflush(stdout);
    (void)json_array_append_new(
        results, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "name", scenario->name, "call",
                           scenario->call, "instructions", (json_int_t)f->instructions, "states",
                           (json_int_t)f->states, "sigkills", (json_int_t)0, "double_faults",
                           (json_int_t)0, "failures", (json_int_t)f->failures));
}

/* Runs the selected ones; returns how many, and counts failures. */
static unsigned run_table(const struct options *o, const struct scenario_table *table,
                          json_t *results, unsigned long *failures)
{
    unsigned run = 0;
    for (size_t i = 0; i < table->count && (*failures == 0 || o->keep_going); i++) {
        const struct scenario *scenario = &table->scenarios[i];
        if (!selected(o, scenario)) {
            continue;
        }
        run++;
        if (o->list) {
            (void)printf("%s %s\n", scenario->name, scenario->call);
            continue;
        }
        struct findings findings;
        prove(scenario, o->keep_going, &findings);
        *failures += findings.failures;
        report(scenario, &findings, results);
    }
    return run;
}

static unsigned run_all(const struct options *o, json_t *results, unsigned long *failures)
{
    static const struct scenario_table *const tables[] = {&pipe_scenarios, &segment_scenarios,
                                                          &mutex_scenarios, &tx_scenarios};
    unsigned run = 0;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        run += run_table(o, tables[i], results, failures);
    }
    return run;
}

/* 0: go on; else the exit code, less one. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {{"only", required_argument, NULL, 'o'},
                                            {"output", required_argument, NULL, 'f'},
                                            {"list", no_argument, NULL, 'l'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *only = "";
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'o':
            only = optarg;
            break;
        case 'f':
            o->output = optarg;
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
    if (regcomp(&o->only, only, REG_EXTENDED | REG_NOSUB) != 0) {
        (void)fprintf(stderr, "proof: not a regular expression: %s\n", only);
        return 3;
    }
    const char *keep_going = getenv("KEEP_GOING");
    o->keep_going = keep_going != NULL && strcmp(keep_going, "1") == 0;
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    int code = parse(argc, argv, &o);
    if (code != 0) {
        return code - 1;
    }
    json_t *results = json_array();
    unsigned long failures = 0;
    unsigned run = run_all(&o, results, &failures);
    if (run == 0) {
        (void)fprintf(stderr, "proof: no scenario of that name\n");
        code = 2;
    } else if (failures > 0) {
        code = 1;
    }
    if (o.output != NULL && !o.list) {
        json_t *all = json_pack("{s:O, s:[]}", "scenarios", results, "mutants");
        if (json_dump_file(all, o.output, JSON_INDENT(2)) != 0) {
            (void)fprintf(stderr, "proof: cannot write %s\n", o.output);
            code = 1;
        }
        json_decref(all);
    }
    json_decref(results);
    regfree(&o.only);
    if (!o.list) {
        (void)printf("%u scenarios, %lu failures\n", run, failures);
    }
    return code;
}
