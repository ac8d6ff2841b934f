/* SPDX-License-Identifier: MIT */
/* holdfast-bench: chooses rows, measures them one after the other, reports. */
#include <errno.h>
#include <getopt.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"

#define EXIT_UNMEASURED 1
#define EXIT_USAGE      2

#define ROUNDS_MAX 100000

typedef struct bench_options {
    const char *only; /* NULL: every row */
    const char *output;
    unsigned rounds; /* 0: as the row says */
    bool list;
    regex_t pattern; /* of only */
} bench_options;

#ifdef HF_TOOL_PATH
static const char *tool = HF_TOOL_PATH;
#else
static const char *tool;
#endif

const char *bench_tool(void)
{
    return tool;
}

static void print_help(FILE *stream)
{
    (void)fputs(
        "Usage: holdfast-bench [--only ERE] [--output FILE] [--rounds N] [--tool PATH] [--list]\n"
        "\n"
        "  --only ERE     only the rows whose name matches this extended regular expression\n"
        "  --output FILE  where the results go (default build/bench/results.json)\n"
        "  --rounds N     rounds per row instead of the row's own number\n"
        "  --tool PATH    the holdfast command to measure\n"
        "  --list         list the rows and measure nothing\n"
        "  --help         this\n"
        "\n"
        "Prints a table. Exits with 0 if every row was measured, whether or not it met its bar,\n"
        "1 if one could not be, 2 if the command line is wrong.\n",
        stream);
}

static int parse_rounds(const char *text, unsigned *rounds)
{
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != 0 || value == 0 ||
        value > ROUNDS_MAX) {
        return bench_error("--rounds: a number from 1 to %d is needed, not \"%s\"", ROUNDS_MAX,
                           text);
    }
    *rounds = (unsigned)value;
    return 0;
}

static int compile_pattern(bench_options *options)
{
    const char *only = options->only != NULL ? options->only : ".";
    int error = regcomp(&options->pattern, only, REG_EXTENDED | REG_NOSUB);
    if (error != 0) {
        char text[128];
        (void)regerror(error, &options->pattern, text, sizeof(text));
        return bench_error("--only: \"%s\" is no extended regular expression: %s", only, text);
    }
    return 0;
}

/* 0, or -1 after saying what is wrong. */
static int parse(int argc, char *argv[], bench_options *options)
{
    static const struct option known[] = {
        {"only", required_argument, NULL, 'o'},
        {"output", required_argument, NULL, 'f'},
        {"rounds", required_argument, NULL, 'r'},
        {"tool", required_argument, NULL, 't'},
        {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 'o':
            options->only = optarg;
            break;
        case 'f':
            options->output = optarg;
            break;
        case 'r':
            if (parse_rounds(optarg, &options->rounds) != 0) {
                return -1;
            }
            break;
        case 't':
            tool = optarg;
            break;
        case 'l':
            options->list = true;
            break;
        case 'h':
            print_help(stdout);
            exit(0);
        default:
            return -1; /* getopt has said why */
        }
    }
    if (optind < argc) {
        return bench_error("unexpected argument \"%s\"", argv[optind]);
    }
    return compile_pattern(options);
}

static bool is_wanted(const bench_options *options, const bench_row *row)
{
    return regexec(&options->pattern, row->name, 0, NULL, 0) == 0;
}

static void list_rows(const bench_options *options)
{
    for (const bench_row *const *row = bench_rows; *row != NULL; row++) {
        if (is_wanted(options, *row)) {
            (void)printf("%-24s %-10s %s; beside", (*row)->name, (*row)->unit, (*row)->what);
            size_t count = row_side_count(*row);
            for (size_t i = 1; i < count; i++) {
                (void)printf(" %s", (*row)->sides[i].name);
            }
            (void)puts(count > 1 ? "" : " nothing");
        }
    }
}

/* 0 if every row was measured and kept. Ends early when interrupted. */
static int measure_all(const bench_options *options, bench_report *report)
{
    int result = 0;
    for (const bench_row *const *row = bench_rows; *row != NULL; row++) {
        double costs[BENCH_SIDES_MAX];
        if (!is_wanted(options, *row)) {
            continue;
        }
        result |= measure_row(*row, options->rounds, costs);
        if (bench_interrupted() != 0) {
            return -1;
        }
        result |= report_row(report, *row, costs);
    }
    return result;
}

static int run(const bench_options *options)
{
    bench_report *report = NULL;
    signals_hold();
    if (report_open(options->output, &report) != 0) {
        return EXIT_USAGE;
    }
    int result = scratch_open();
    if (result == 0) {
        result = measure_all(options, report);
        scratch_close();
    }
    int number = bench_interrupted();
    if (number == 0) {
        result |= report_write(report);
    }
    report_close(report);
    if (number != 0) {
        progress_clear();
        signals_die(number);
    }
    return result == 0 ? 0 : EXIT_UNMEASURED;
}

int main(int argc, char *argv[])
{
    bench_options options = {.output = "build/bench/results.json"};
    if (parse(argc, argv, &options) != 0) {
        (void)fputs("Try holdfast-bench --help\n", stderr);
        return EXIT_USAGE;
    }
    bool any = false;
    for (const bench_row *const *row = bench_rows; *row != NULL; row++) {
        any = any || is_wanted(&options, *row);
    }
    int status = 0;
    if (!any) {
        (void)bench_error("no row's name matches \"%s\"; --list shows them", options.only);
        status = EXIT_USAGE;
    } else if (options.list) {
        list_rows(&options);
    } else {
        status = run(&options);
    }
    regfree(&options.pattern);
    return status;
}
