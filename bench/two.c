/* SPDX-License-Identifier: MIT */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#endif
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "two.h"

#define READY_NS  (INT64_C(20) * 1000000000)
#define TIMEOUT_S 60.0

int two_map(size_t size, void **memory)
{
    void *made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) {
        return bench_error("no shared memory: %s", strerror(errno));
    }
    *memory = made;
    return 0;
}

void two_unmap(void *memory, size_t size)
{
    (void)munmap(memory, size);
}

void two_begin(two_times *times, unsigned index)
{
    (void)atomic_fetch_add(&times->ready, 1);
    while (atomic_load(&times->go) == 0) {
    }
    times->start[index] = bench_now_ns();
}

void two_end(two_times *times, unsigned index)
{
    times->end[index] = bench_now_ns();
}

void two_reset(two_times *times)
{
    memset(times, 0, sizeof(*times));
}

static bool are_ready(two_times *times, unsigned workers)
{
    int64_t limit = bench_now_ns() + READY_NS;
    while (atomic_load(&times->ready) < workers) {
        if (bench_interrupted() != 0) {
            return false;
        }
        if (bench_now_ns() > limit) {
            (void)bench_error("not everyone came to the start");
            return false;
        }
        bench_pause_us(100);
    }
    return true;
}

static int64_t duration_of(const two_times *times, unsigned workers)
{
    int64_t start = times->start[0];
    int64_t end = times->end[0];
    if (workers == 2) {
        start = times->start[1] < start ? times->start[1] : start;
        end = times->end[1] > end ? times->end[1] : end;
    }
    return end - start;
}

int two_finish(two_times *times, const pid_t children[2], unsigned workers, double *ns)
{
    bool good = children[0] >= 0 && children[1] >= 0 && are_ready(times, workers);
    atomic_store(&times->go, 1);
    for (int i = 0; i < 2; i++) {
        if (children[i] > 0 && good) {
            good = bench_wait(children[i], "one of two", TIMEOUT_S) == 0;
        } else if (children[i] > 0) {
            (void)bench_stop(children[i]);
        }
    }
    *ns = (double)duration_of(times, workers);
    return good ? 0 : -1;
}
