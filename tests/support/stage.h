/* SPDX-License-Identifier: MIT */
/*
 * For the tests of locks and transactions: one segment with locks, data and notes at its root. It
 * is set before children are started, who inherit it; each of them is a participant of its own.
 */
#ifndef HF_TESTS_STAGE_H
#define HF_TESTS_STAGE_H

#include <sys/types.h>

#include "base/atomic.h"
#include "holdfast/barrier.h"
#include "holdfast/event.h"
#include "holdfast/latch.h"
#include "holdfast/mutex.h"
#include "holdfast/once.h"
#include "holdfast/rwlock.h"
#include "holdfast/segment.h"
#include "holdfast/tx.h"
#include "support/support.h"

#define KIB            (UINT64_C(1) << 10)
#define MIB            (UINT64_C(1) << 20)
#define STAGE_MORE     512u
#define STAGE_CAST     16u
#define STAGE_RWLOCKS  33u /* one more than a thread may hold shared */
#define STAGE_BARRIERS 33u /* one more than a thread may be a member of */

struct props {
    hf_mutex mutex;
    hf_mutex more[STAGE_MORE];
    /* What the locks guard. */
    uint64_t counter;
    uint64_t account[2];
    uint64_t own[STAGE_CAST];
    unsigned char bytes[4096];
    /* What processes tell each other: nothing guards it. */
    _Atomic uint32_t ready;
    _Atomic uint32_t told;
    _Atomic uint32_t finish;
    _Atomic uint32_t result;
    _Atomic uint64_t done[STAGE_CAST];
    _Atomic uint64_t when_us[STAGE_CAST];
    hf_rwlock rwlock;
    hf_rwlock rwlocks[STAGE_RWLOCKS];
    hf_event event;
    hf_latch latch;
    hf_once once;
    hf_barrier barrier;
    hf_barrier barriers[STAGE_BARRIERS];
};

/* The test's own; inherited by its children. */
extern hf_segment *stage;
extern struct props *props;

/* An anonymous segment that does not grow, and one that does. */
void set_stage(uint64_t size);
void set_growing_stage(uint64_t size, uint64_t maximum);
void clear_stage(void);

uint64_t bytes_used(void);
uint64_t now_us(void);

/* In a child: "I am so far". In the test: starts a child and waits until it says so. */
void say_ready(void);
pid_t start_ready(int (*run)(void *context), void *context);

/* In a child: waits until the test says so. */
void tell(void);
void wait_until_told(void);

/* Until killed. */
_Noreturn void wait_for_death(void);

/* What a trylock by another process gives for the mutex, which it unlocks again. */
int seen_by_another(hf_mutex *mutex);

#endif
