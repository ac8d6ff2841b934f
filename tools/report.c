/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "names.h"
#include "os/os.h"
#include "transfer/digest.h"

#define TIME_SIZE  32
#define NAME_WIDTH (4 * WIRE_PATH_MAX + 8) /* room for the longest path, printable */

/* No bar for what is over at once, and no more than ten pictures a second. */
#define BAR_DELAY_NS  UINT64_C(200000000)
#define BAR_PERIOD_NS UINT64_C(100000000)

void report_init(struct report *report, bool quiet, bool json)
{
    *report = (struct report){.style = json                         ? REPORT_JSON
                                       : quiet                      ? REPORT_QUIET
                                       : isatty(STDERR_FILENO) == 1 ? REPORT_BAR
                                                                    : REPORT_LINES};
}

/*
 * Prints a line in one piece, so that threads' lines do not mix. One that cannot be written at once
 * (a full pipe, a terminal held by ^S) is dropped if the report is lossy: nobody waits for a log.
 */
static void print_line(const struct report *report, FILE *stream, const char *line)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    struct pollfd writable = {.fd = fileno(stream), .events = POLLOUT};
    (void)pthread_mutex_lock(&one_at_a_time);
    if (!report->lossy || poll(&writable, 1, 0) == 1) {
        (void)fprintf(stream, "%s\n", line);
        (void)fflush(stream);
    }
    (void)pthread_mutex_unlock(&one_at_a_time);
}

static void print_format(const struct report *report, FILE *stream, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void print_format(const struct report *report, FILE *stream, const char *format, ...)
{
    char *line = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&line, format, arguments);
    va_end(arguments);
    if (length >= 0) {
        print_line(report, stream, line);
        free(line);
    }
}

/* Prints an object and frees it. */
static void print_json(const struct report *report, json_t *object)
{
    char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    if (text != NULL) {
        print_line(report, stdout, text);
    }
    free(text);
    json_decref(object);
}

int report_finish(struct report *report)
{
    (void)report;
    return fflush(stdout) != 0 || ferror(stdout) ? -EIO : 0;
}

static void clear_bar(struct report *report)
{
    if (report->drawn) {
        (void)fputs("\r\033[K", stderr);
        report->drawn = false;
    }
}

/* ---- the bar ----------------------------------------------------------------------------- */

void report_begin(struct report *report, const char *name, uint64_t size)
{
    report->name = name;
    report->size = size;
    report->start_ns = os_now_ns();
    report->drawn_ns = report->start_ns + BAR_DELAY_NS - BAR_PERIOD_NS;
}

static unsigned terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    return 80;
}

static void time_left(char out[TIME_SIZE], double seconds)
{
    unsigned s = seconds < 359999 ? (unsigned)(seconds + 0.5) : 359999;
    if (s >= 3600) {
        (void)snprintf(out, TIME_SIZE, "%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
    } else {
        (void)snprintf(out, TIME_SIZE, "%u:%02u", s / 60, s % 60);
    }
}

static void draw(struct report *report, uint64_t done, double seconds)
{
    char name[NAME_WIDTH];
    char bytes[32];
    char rate[32];
    char figures[128];
    printable(name, sizeof name, report->name);
    human_size(bytes, (double)done);
    human_size(rate, (double)done / seconds);
    bool known = report->size > 0 && done <= report->size;
    if (known) {
        char left[TIME_SIZE];
        time_left(left, seconds * (double)(report->size - done) / (double)(done == 0 ? 1 : done));
        (void)snprintf(figures, sizeof figures, " %3.0f%% %10s %10s/s %8s left",
                       100.0 * (double)done / (double)report->size, bytes, rate, left);
    } else {
        (void)snprintf(figures, sizeof figures, " %10s %10s/s", bytes, rate);
    }
    /* name [#####.....] figures, in what the terminal has */
    int width = (int)terminal_width() - 1;
    int room = width - (int)strlen(figures);
    int name_room = room > 60 ? 30 : room / 2;
    int bar = room - name_room - 3;
    (void)fprintf(stderr, "\r\033[K%-*.*s", name_room > 0 ? name_room : 1,
                  name_room > 0 ? name_room : 1, name);
    if (known && bar >= 5) {
        int full = (int)((double)bar * (double)done / (double)report->size);
        (void)fputs(" [", stderr);
        for (int i = 0; i < bar; i++) {
            (void)fputc(i < full ? '#' : '.', stderr);
        }
        (void)fputc(']', stderr);
    }
    (void)fputs(figures, stderr);
    (void)fflush(stderr);
    report->drawn = true;
}

void report_progress(struct report *report, uint64_t done)
{
    if (report->style != REPORT_BAR) {
        return;
    }
    uint64_t now = os_now_ns();
    if (now - report->drawn_ns >= BAR_PERIOD_NS) {
        report->drawn_ns = now;
        draw(report, done, (double)(now - report->start_ns) / 1e9);
    }
}

/* ---- results and errors ------------------------------------------------------------------ */

void report_done(struct report *report, const char *event, const char *name, uint64_t bytes,
                 uint64_t nanoseconds, const uint8_t digest[DIGEST_SIZE])
{
    char text[NAME_WIDTH];
    double seconds = (double)nanoseconds / 1e9;
    clear_bar(report);
    printable(text, sizeof text, name);
    if (report->style == REPORT_JSON) {
        char hash[2 * DIGEST_SIZE + 1];
        digest_text(digest, hash);
        print_json(report,
                   json_pack("{s:s, s:s, s:I, s:f, s:s}", "event", event, "name", text, "bytes",
                             (json_int_t)bytes, "seconds", seconds, "xxh3_128", hash));
    } else if (report->style != REPORT_QUIET) {
        char size[32];
        char rate[32];
        human_size(size, (double)bytes);
        human_size(rate, seconds > 0 ? (double)bytes / seconds : 0);
        print_format(report, stdout, "%s %s (%s, %s/s)", event, text, size, rate);
    }
}

void report_failed(struct report *report, const char *event, const char *name, const char *why)
{
    char text[NAME_WIDTH];
    char reason[NAME_WIDTH];
    clear_bar(report);
    printable(text, sizeof text, name != NULL ? name : "");
    printable(reason, sizeof reason, why);
    if (report->style == REPORT_JSON) {
        print_json(report, json_pack("{s:s, s:s*, s:s}", "event", event, "name",
                                     name != NULL ? text : NULL, "why", reason));
    } else if (name != NULL) {
        const char *what = strcmp(event, "error") == 0 ? "" : event;
        print_format(report, stderr, "holdfast: %s%s%s: %s", what, what[0] != 0 ? " " : "", text,
                     reason);
    } else {
        print_format(report, stderr, "holdfast: %s", reason);
    }
}

void report_ready(struct report *report, const char *name, const char *directory)
{
    char called[NAME_WIDTH];
    char text[NAME_WIDTH];
    printable(called, sizeof called, name);
    printable(text, sizeof text, directory);
    if (report->style == REPORT_JSON) {
        print_json(report, json_pack("{s:s, s:s, s:s}", "event", "ready", "server", called,
                                     "directory", text));
    } else if (report->style != REPORT_QUIET) {
        print_format(report, stdout, "ready: files go to %s (name %s)", text, called);
    }
}

void report_note(struct report *report, const char *text)
{
    if (report->style == REPORT_LINES || report->style == REPORT_BAR) {
        clear_bar(report);
        print_format(report, stderr, "holdfast: %s", text);
    }
}
