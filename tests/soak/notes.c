/* SPDX-License-Identifier: MIT */
/* Chance, time, and the notes that everybody shares. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "soak/soak.h"

struct notes *notes;

/* ---- chance and time --------------------------------------------------------------------- */

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

struct chance chance_of(uint64_t seed, uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t numbers[] = {a, b, c};
    uint64_t state = seed;
    for (unsigned i = 0; i < 3; i++) {
        state = next(&state) ^ numbers[i];
    }
    return (struct chance){next(&state)};
}

uint64_t below(struct chance *chance, uint64_t limit)
{
    return next(&chance->state) % limit;
}

uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

void sleep_ns(uint64_t ns)
{
    struct timespec time = {(time_t)(ns / SECOND), (long)(ns % SECOND)};
    (void)nanosleep(&time, NULL);
}

/* ---- notes ------------------------------------------------------------------------------- */

void make_notes(void)
{
    void *memory =
        mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("holdfast-soak: memory");
        exit(2);
    }
    notes = memory;
}

/* One thread at a time writes them. */
void count(struct seat *seat, counter which, uint64_t more)
{
    store_relaxed(&seat->counter[which], load_relaxed(&seat->counter[which]) + more);
}

uint64_t counted(counter which)
{
    uint64_t sum = 0;
    for (unsigned w = 0; w < WORKERS_MAX; w++) {
        for (unsigned s = 0; s < SEATS; s++) {
            sum += load_relaxed(&notes->seat[w][s].counter[which]);
        }
    }
    return sum;
}

void note_failure(const char *format, ...)
{
    uint32_t no = 0;
    if (!cas_acquire(&notes->failed, &no, 1)) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(notes->failure, sizeof notes->failure, format, arguments);
    va_end(arguments);
    store_release(&notes->failure_is_whole, 1); /* partner: print_failure */
}
