/* SPDX-License-Identifier: MIT */
/*
 * mutex.pair, mutex.contended and mutex.idle: what a lock costs that nobody, or somebody, wants.
 *
 * Every side has its lock and the words that it guards in memory shared between processes, on lines
 * of their own, and loops inside one process through its public calls. Boost's side is in
 * boost_peer.cpp.
 */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#endif
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "locks.h"

#define PAIRS        2000000
#define ACQUISITIONS 1000000
#define TIMEOUT_S    120.0
#define IDLE_S       10

/* ---- our lock ----------------------------------------------------------------------------- */

void ours_teardown(void *state)
{
    ours_lock *lock = state;
    hf_segment_close(lock->segment);
    free(lock);
}

int ours_setup(void *shared, void **state)
{
    (void)shared;
    void *root;
    ours_lock *lock = calloc(1, sizeof(*lock));
    if (lock == NULL) {
        return bench_error("out of memory");
    }
    int error = hf_segment_create_anonymous(1 << 20, NULL, &lock->segment);
    if (error == 0) {
        error = hf_segment_root(lock->segment, sizeof(*lock->at), &root);
    }
    if (error != 0) {
        ours_teardown(lock);
        return bench_error("no segment: %s", hf_strerror(error));
    }
    lock->at = root;
    *state = lock;
    return 0;
}

/* ---- a robust mutex of pthreads ----------------------------------------------------------- */

void robust_teardown(void *state)
{
    (void)munmap(state, sizeof(robust_lock));
}

int robust_setup(void *shared, void **state)
{
    (void)shared;
    pthread_mutexattr_t attributes;
    robust_lock *lock =
        mmap(NULL, sizeof(*lock), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (lock == MAP_FAILED) {
        return bench_error("no shared memory: %s", strerror(errno));
    }
    (void)pthread_mutexattr_init(&attributes);
    int error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (error == 0) {
        error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    }
    if (error == 0) {
        error = pthread_mutex_init(&lock->mutex, &attributes);
    }
    (void)pthread_mutexattr_destroy(&attributes);
    if (error != 0) {
        robust_teardown(lock);
        return bench_error("no robust mutex: %s", strerror(error));
    }
    *state = lock;
    return 0;
}

/* ---- mutex.pair --------------------------------------------------------------------------- */

static int ours_pair(void *state, double *cost)
{
    hf_mutex *mutex = &((ours_lock *)state)->at->mutex;
    int errors = 0;
    int64_t start = bench_now_ns();
    for (int i = 0; i < PAIRS; i++) {
        errors |= hf_mutex_lock(mutex);
        errors |= hf_mutex_unlock(mutex);
    }
    *cost = (double)(bench_now_ns() - start) / PAIRS;
    return errors == 0 ? 0 : bench_error("a lock or unlock of ours failed");
}

static int robust_pair(void *state, double *cost)
{
    pthread_mutex_t *mutex = &((robust_lock *)state)->mutex;
    int errors = 0;
    int64_t start = bench_now_ns();
    for (int i = 0; i < PAIRS; i++) {
        errors |= pthread_mutex_lock(mutex);
        errors |= pthread_mutex_unlock(mutex);
    }
    *cost = (double)(bench_now_ns() - start) / PAIRS;
    return errors == 0 ? 0 : bench_error("a lock or unlock of pthreads failed");
}

extern const bench_row mutex_pair;
const bench_row mutex_pair = {
    .name = "mutex.pair",
    .unit = "ns",
    .what = "lock and unlock a mutex that nobody else wants",
    .sides =
        {
            {"ours", 0, ours_setup, ours_pair, ours_teardown},
            {"pthread-robust", 0.8, robust_setup, robust_pair, robust_teardown},
            {"boost", 0.9, boost_mutex_setup, boost_mutex_pair, boost_mutex_teardown},
        },
};

/* ---- mutex.contended ---------------------------------------------------------------------- */

static int ours_lock_it(void *state)
{
    return hf_mutex_lock(&((ours_lock *)state)->at->mutex);
}

static int ours_count(void *state, int times)
{
    lock_room *room = ((ours_lock *)state)->at;
    int errors = 0;
    for (int i = 0; i < times; i++) {
        errors |= hf_mutex_lock(&room->mutex);
        room->data.words[0]++;
        room->data.words[1]++;
        room->data.words[2]++;
        errors |= hf_mutex_unlock(&room->mutex);
    }
    return errors;
}

static int robust_count(void *state, int times)
{
    robust_lock *lock = state;
    int errors = 0;
    for (int i = 0; i < times; i++) {
        errors |= pthread_mutex_lock(&lock->mutex);
        lock->data.words[0]++;
        lock->data.words[1]++;
        lock->data.words[2]++;
        errors |= pthread_mutex_unlock(&lock->mutex);
    }
    return errors;
}

/* One of the two. It is ready once it has had the lock: a first use may cost more. */
static void contend(int (*count)(void *, int), void *state, lock_data *data, int index)
{
    int errors = count(state, 1);
    (void)atomic_fetch_add(&data->ready, 1);
    while (atomic_load(&data->go) == 0) {
    }
    data->start[index] = bench_now_ns();
    errors |= count(state, ACQUISITIONS);
    data->end[index] = bench_now_ns();
    _exit(errors == 0 ? 0 : 1);
}

static int64_t duration_of(const lock_data *data)
{
    int64_t start = data->start[0] < data->start[1] ? data->start[0] : data->start[1];
    int64_t end = data->end[0] > data->end[1] ? data->end[0] : data->end[1];
    return end - start;
}

static int contended_run(int (*count)(void *, int), void *state, lock_data *data, double *cost)
{
    pid_t children[2];
    memset(data, 0, sizeof(*data));
    for (int i = 0; i < 2; i++) {
        children[i] = bench_fork();
        if (children[i] == 0) {
            contend(count, state, data, i);
        }
    }
    while (children[0] > 0 && children[1] > 0 && atomic_load(&data->ready) < 2 &&
           bench_interrupted() == 0) {
        bench_pause_us(100);
    }
    atomic_store(&data->go, 1);
    int result = 0;
    for (int i = 0; i < 2; i++) {
        result |= children[i] > 0 ? bench_wait(children[i], "one of two", TIMEOUT_S) : -1;
    }
    *cost = (double)duration_of(data) * 1e-9;
    if (result == 0 && data->words[2] != 2 * (uint64_t)(ACQUISITIONS + 1)) {
        return bench_error("the lock let both in at once");
    }
    return result;
}

static int ours_contended(void *state, double *cost)
{
    return contended_run(ours_count, state, &((ours_lock *)state)->at->data, cost);
}

static int robust_contended(void *state, double *cost)
{
    return contended_run(robust_count, state, &((robust_lock *)state)->data, cost);
}

extern const bench_row mutex_contended;
const bench_row mutex_contended = {
    .name = "mutex.contended",
    .unit = "s",
    .what = "two processes fight for a mutex, a million times each, to add to three words",
    .sides =
        {
            {"ours", 0, ours_setup, ours_contended, ours_teardown},
            {"pthread-robust", 1.0, robust_setup, robust_contended, robust_teardown},
        },
};

/* ---- mutex.idle --------------------------------------------------------------------------- */

static void hold_or_wait(void *state)
{
    lock_data *data = &((ours_lock *)state)->at->data;
    (void)atomic_fetch_add(&data->ready, 1);
    if (ours_lock_it(state) == 0) {
        (void)atomic_fetch_add(&data->ready, 1);
    }
    for (;;) {
        (void)pause();
    }
}

/* Starts one more, and waits until as many have said so. */
static pid_t start_idle(ours_lock *lock, int ready)
{
    pid_t child = bench_fork();
    if (child == 0) {
        hold_or_wait(lock);
    }
    while (child > 0 && atomic_load(&lock->at->data.ready) < ready && bench_interrupted() == 0) {
        bench_pause_us(1000);
    }
    return child;
}

static int64_t used_by(pid_t process)
{
    clockid_t id;
    struct timespec used = {0};
    if (clock_getcpuclockid(process, &id) == 0) {
        (void)clock_gettime(id, &used);
    }
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

static int idle_run(void *state, double *cost)
{
    ours_lock *lock = state;
    pid_t holder = start_idle(lock, 2);
    pid_t waiter = holder > 0 ? start_idle(lock, 3) : -1;
    bench_pause_us(100000); /* it spins, then it sleeps */
    int64_t start = bench_now_ns();
    int64_t before = waiter > 0 ? used_by(waiter) : 0;
    for (int i = 0; i < IDLE_S * 10 && waiter > 0 && bench_interrupted() == 0; i++) {
        bench_pause_us(100000);
    }
    int64_t used = waiter > 0 ? used_by(waiter) - before : -1;
    *cost = 100.0 * (double)used / (double)(bench_now_ns() - start);
    bool idle = waiter > 0 && atomic_load(&lock->at->data.ready) == 3;
    for (int i = 0; i < 2; i++) {
        pid_t child = i == 0 ? waiter : holder;
        if (child > 0) {
            (void)bench_stop(child);
        }
    }
    return idle && used >= 0 ? 0 : bench_error("the waiting process did not wait");
}

extern const bench_row mutex_idle;
const bench_row mutex_idle = {
    .name = "mutex.idle",
    .unit = "%",
    .what = "processor time of a process that waits 10 s for a mutex that a live one holds",
    .rounds = 1,
    .cold = true,
    .sides = {{"ours", 0.1, ours_setup, idle_run, ours_teardown}},
};
