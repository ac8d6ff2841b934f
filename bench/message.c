/* SPDX-License-Identifier: MIT */
/* What the benchmarks say on standard error. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "driver.h"

/* On a terminal one line that changes; elsewhere a line at a row's start. */
void progress_round(const char *row, unsigned round, unsigned rounds)
{
    if (isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "\r\033[K%s: round %u of %u", row, round, rounds);
    } else if (round == 0) {
        (void)fprintf(stderr, "%s: %u rounds\n", row, rounds);
    }
}

void progress_clear(void)
{
    if (isatty(STDERR_FILENO)) {
        (void)fputs("\r\033[K", stderr);
    }
}

int bench_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    progress_clear();
    (void)fputs("holdfast-bench: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    return -1;
}

int bench_format(char *out, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(out, size, format, arguments);
    va_end(arguments);
    return length >= 0 && (size_t)length < size ? 0 : bench_error("too long: %s...", out);
}
