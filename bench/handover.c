/* SPDX-License-Identifier: MIT */
/*
 * mutex.handover and its kin: from the kill of a lock's owner to the waiter having the lock.
 *
 * The driver is the third process: it starts an owner and a waiter, gives the waiter time to fall
 * asleep, kills the owner, and looks up when the waiter had the lock. One kill is one run.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "locks.h"

#define TIMEOUT_S 20.0

/* Time to fall asleep. A sleep is a slice of up to 100 ms where nobody tells of a death: each kill
   of the slow row comes at another moment of it. */
#define ASLEEP_US 2000u
#define SLOW_US   60000u
#define PHASE_US  7300u
#define PHASES    14u

/* How one side locks, and mends and unlocks what it was handed. */
typedef struct lock_kind {
    int (*lock)(void *state);
    int (*mend)(void *state);
    lock_data *(*data)(void *state);
    bool slow;
} lock_kind;

/* ---- the sides ---------------------------------------------------------------------------- */

static int ours_take(void *state)
{
    return hf_mutex_lock(&((ours_lock *)state)->at->mutex);
}

static int ours_mend(void *state)
{
    hf_mutex *mutex = &((ours_lock *)state)->at->mutex;
    int error = hf_mutex_consistent(mutex);
    return error != 0 ? error : hf_mutex_unlock(mutex);
}

static lock_data *ours_data(void *state)
{
    return &((ours_lock *)state)->at->data;
}

static int robust_take(void *state)
{
    return -pthread_mutex_lock(&((robust_lock *)state)->mutex);
}

static int robust_mend(void *state)
{
    pthread_mutex_t *mutex = &((robust_lock *)state)->mutex;
    int error = pthread_mutex_consistent(mutex);
    return error != 0 ? error : pthread_mutex_unlock(mutex);
}

static lock_data *robust_data(void *state)
{
    return &((robust_lock *)state)->data;
}

/* ---- where the kernel does not tell ------------------------------------------------------- */

#define REFUSE(number)                                                                             \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                           \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

/* As in a sandbox that has never heard of robust lists and futex_waitv. */
static int refuse_the_robust_way(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        REFUSE(SYS_get_robust_list),
        REFUSE(SYS_set_robust_list),
#ifdef SYS_futex_waitv
        REFUSE(SYS_futex_waitv),
#endif
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                   prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0
               ? 0
               : bench_error("system calls cannot be filtered here");
}

/* ---- one kill ----------------------------------------------------------------------------- */

static void own(const lock_kind *kind, void *state)
{
    if (kind->lock(state) != 0) {
        _exit(1);
    }
    atomic_store(&kind->data(state)->ready, 1);
    for (;;) {
        (void)pause();
    }
}

static void wait_for_it(const lock_kind *kind, void *state)
{
    atomic_store(&kind->data(state)->ready, 2);
    int result = kind->lock(state);
    atomic_store(&kind->data(state)->had, bench_now_ns());
    _exit(result == -EOWNERDEAD && kind->mend(state) == 0 ? 0 : 1);
}

/* Starts one of the two, and waits until it says so. */
static pid_t start(const lock_kind *kind, void *state, bool owner)
{
    pid_t child = bench_fork();
    if (child == 0) {
        if (kind->slow && refuse_the_robust_way() != 0) {
            _exit(1);
        }
        if (owner) {
            own(kind, state);
        }
        wait_for_it(kind, state);
    }
    int64_t limit = bench_now_ns() + (int64_t)(TIMEOUT_S * 1e9);
    while (child > 0 && atomic_load(&kind->data(state)->ready) < (owner ? 1 : 2)) {
        if (bench_now_ns() > limit || bench_interrupted() != 0) {
            (void)bench_stop(child);
            return bench_error("%s did not come so far", owner ? "the owner" : "the waiter");
        }
        bench_pause_us(50);
    }
    return child;
}

static int kill_owner(const lock_kind *kind, void *state, double *cost)
{
    static unsigned turn;
    lock_data *data = kind->data(state);
    atomic_store(&data->ready, 0);
    atomic_store(&data->had, 0);
    pid_t owner = start(kind, state, true);
    pid_t waiter = owner > 0 ? start(kind, state, false) : -1;
    bench_pause_us(kind->slow ? SLOW_US + turn++ % PHASES * PHASE_US : ASLEEP_US);
    int64_t start_ns = bench_now_ns();
    if (owner > 0) {
        (void)kill(owner, SIGKILL);
    }
    int result = waiter > 0 ? bench_wait(waiter, "the waiter", TIMEOUT_S) : -1;
    if (owner > 0) {
        (void)waitpid(owner, NULL, 0);
    }
    *cost = (double)(atomic_load(&data->had) - start_ns);
    return result;
}

static int ours_run(void *state, double *cost)
{
    static const lock_kind kind = {ours_take, ours_mend, ours_data, false};
    return kill_owner(&kind, state, cost);
}

static int ours_slow_run(void *state, double *cost)
{
    static const lock_kind kind = {ours_take, ours_mend, ours_data, true};
    return kill_owner(&kind, state, cost);
}

static int robust_run(void *state, double *cost)
{
    static const lock_kind kind = {robust_take, robust_mend, robust_data, false};
    return kill_owner(&kind, state, cost);
}

/* ---- the rows ----------------------------------------------------------------------------- */

extern const bench_row mutex_handover;
const bench_row mutex_handover = {
    .name = "mutex.handover",
    .unit = "ns",
    .what = "from SIGKILL of a mutex's owner to the waiting process having it, median of 500",
    .rounds = 500,
    .percentile = 50,
    .sides =
        {
            {"ours", 2e6, ours_setup, ours_run, ours_teardown},
            {"pthread-robust", 0, robust_setup, robust_run, robust_teardown},
        },
};

extern const bench_row mutex_handover_p99;
const bench_row mutex_handover_p99 = {
    .name = "mutex.handover_p99",
    .unit = "ns",
    .what = "the same, 99th percentile of 500",
    .rounds = 500,
    .percentile = 99,
    .sides =
        {
            {"ours", 10e6, ours_setup, ours_run, ours_teardown},
            {"pthread-robust", 0, robust_setup, robust_run, robust_teardown},
        },
};

extern const bench_row mutex_handover_slow;
const bench_row mutex_handover_slow = {
    .name = "mutex.handover_slow",
    .unit = "ns",
    .what = "the same where robust lists and futex_waitv are refused, median of 28",
    .rounds = 28,
    .percentile = 50,
    .sides = {{"ours", 100e6, ours_setup, ours_slow_run, ours_teardown}},
};
