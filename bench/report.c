/* SPDX-License-Identifier: MIT */
/* The table on stdout and results.json: a flat list, one object per (name, peer). */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver.h"

struct bench_report {
    char path[4096];
    char temporary[4096 + 32]; /* beside it, as rename needs */
    json_t *list;
    bool has_header;
};

/* Makes every directory that the path of a file names. */
static int make_parents(const char *path)
{
    char directory[4096];
    if (bench_format(directory, sizeof(directory), "%s", path) != 0) {
        return -1;
    }
    for (char *slash = strchr(directory + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(directory, 0777) != 0 && errno != EEXIST) {
            return bench_error("cannot make %s: %s", directory, strerror(errno));
        }
        *slash = '/';
    }
    return 0;
}

int report_open(const char *output, bench_report **result)
{
    bench_report *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return bench_error("out of memory");
    }
    if (bench_format(made->path, sizeof(made->path), "%s", output) != 0 ||
        bench_format(made->temporary, sizeof(made->temporary), "%s.%ld.part", output,
                     (long)getpid()) != 0 ||
        make_parents(output) != 0) {
        free(made);
        return -1;
    }
    int fd = open(made->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    struct stat status;
    if (fd < 0 || (stat(output, &status) == 0 && S_ISDIR(status.st_mode))) {
        (void)bench_error("cannot write %s: %s", output, strerror(fd < 0 ? errno : EISDIR));
        report_close(made);
        return -1;
    }
    (void)close(fd);
    (void)unlink(made->temporary);
    made->list = json_array();
    *result = made;
    return 0;
}

void report_close(bench_report *report)
{
    (void)unlink(report->temporary);
    json_decref(report->list);
    free(report);
}

int report_write(bench_report *report)
{
    int fd = open(report->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool written = file != NULL && json_dumpf(report->list, file, JSON_INDENT(2)) == 0 &&
                   fputc('\n', file) != EOF && fflush(file) == 0;
    int error = errno;
    if (file != NULL) {
        written = fclose(file) == 0 && written;
    }
    if (!written || rename(report->temporary, report->path) != 0) {
        return bench_error("cannot write %s: %s", report->path, strerror(written ? errno : error));
    }
    return 0;
}

/* What is not finite (no peer, or a ratio to a peer that costs nothing) is null. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static int keep(bench_report *report, const bench_row *row, double ours, const char *peer_name,
                double peer)
{
    json_t *object = json_pack("{s:s, s:o, s:o, s:s?, s:s, s:o}", "name", row->name, "ours",
                               number(ours), "peer", number(peer), "peer_name", peer_name, "unit",
                               row->unit, "ratio", number(ours / peer));
    if (object == NULL || json_array_append_new(report->list, object) != 0) {
        return bench_error("out of memory");
    }
    return 0;
}

/* Four significant digits, without an exponent. */
static const char *show(double value, char text[32])
{
    if (!isfinite(value)) {
        return "-";
    }
    int digits = value > 0 ? 3 - (int)floor(log10(value)) : 0;
    digits = digits < 0 ? 0 : digits > 9 ? 9 : digits;
    (void)snprintf(text, 32, "%.*f", digits, value);
    return text;
}

/* One line; `value` is what the bar, if any, is for: a ratio, or our cost where no peer is. */
static void print_line(bench_report *report, const bench_row *row, double ours,
                       const char *peer_name, double peer, double bar)
{
    char texts[4][32];
    double value = peer_name != NULL ? ours / peer : ours;
    if (!report->has_header) {
        report->has_header = true;
        (void)printf("%-24s %-14s %12s %12s %8s  %-16s %s\n", "name", "peer", "ours", "peer",
                     "ratio", "bar", "unit");
    }
    char verdict[64] = "";
    if (bar > 0) {
        (void)bench_format(verdict, sizeof(verdict), "%s %s", show(bar, texts[3]),
                           value <= bar ? "ok" : "missed");
    }
    (void)printf("%-24s %-14s %12s %12s %8s  %-16s %s\n", row->name,
                 peer_name != NULL ? peer_name : "-", show(ours, texts[0]), show(peer, texts[1]),
                 show(ours / peer, texts[2]), verdict, row->unit);
}

int report_row(bench_report *report, const bench_row *row, const double costs[BENCH_SIDES_MAX])
{
    const bench_side *sides = row->sides;
    size_t count = row_side_count(row);
    int result = 0;
    if (!isfinite(costs[0])) {
        return 0;
    }
    if (count == 1) {
        result = keep(report, row, costs[0], NULL, NAN);
    }
    if (count == 1 || sides[0].bar > 0) {
        print_line(report, row, costs[0], NULL, NAN, sides[0].bar);
    }
    for (size_t i = 1; i < count; i++) {
        if (isfinite(costs[i])) {
            print_line(report, row, costs[0], sides[i].name, costs[i], sides[i].bar);
            result |= keep(report, row, costs[0], sides[i].name, costs[i]);
        }
    }
    (void)fflush(stdout);
    return result;
}
