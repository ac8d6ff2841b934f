/* SPDX-License-Identifier: MIT */
/* The stage's locks other than mutexes: good ones, what is done with them, and what is done to
   them. */
#ifndef HF_TESTS_FUZZ_SYNC_H
#define HF_TESTS_FUZZ_SYNC_H

#include "fuzz/world.h"
#include "holdfast/barrier.h"
#include "holdfast/condition.h"
#include "holdfast/event.h"
#include "holdfast/latch.h"
#include "holdfast/mutex.h"
#include "holdfast/once.h"
#include "holdfast/recursive_mutex.h"
#include "holdfast/rwlock.h"
#include "holdfast/semaphore.h"

/* Of each kind two: one that the dead have, and one that is free. 32 bytes each. */
struct sync {
    hf_recursive_mutex recursive[2];
    hf_rwlock rwlock[4]; /* had shared, exclusively, upgradably; free */
    hf_condition condition[2];
    hf_semaphore plain[2];
    hf_semaphore undo[2];
    hf_barrier barrier[2];
    hf_event event[2];
    hf_latch latch[2];
    hf_once once[2];
};

#define SYNC_OBJECTS (sizeof(struct sync) / 32)

/* Shorter than the world's patience: see world.h. */
#define SHORT_NS (INT64_C(100) * 1000 * 1000)

struct image;

/* Makes them good. */
void sync_furnish(struct sync *sync);

/* This thread takes what it can; outside a transaction, and before it holds anything. */
void sync_take(struct sync *sync);

/* By hand, in the image of somebody who died in slot 1, and if there are many in theirs: what only
   one asleep, or one in the middle of a call, leaves. */
void sync_leave_open(const struct image *image, bool many);

/* A call on one of them, as the bytes say. `mutex`: one more that a condition waits with. */
void sync_act(struct sync *sync, hf_mutex *mutex, uint8_t which, uint8_t n);

/* Everything that sync_act can be told. */
#define SYNC_KINDS 9u

/* Writes one of their words, or of what slots have of them. */
void sync_mutate(const struct image *image, char *base, struct input *input);

#endif
