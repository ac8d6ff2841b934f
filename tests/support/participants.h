/* SPDX-License-Identifier: MIT */
/* For tests of participants: a segment full of locks, and processes that hold them and die. */
#ifndef HF_TESTS_PARTICIPANTS_H
#define HF_TESTS_PARTICIPANTS_H

#include "base/atomic.h"
#include "holdfast/mutex.h"
#include "holdfast/segment.h"
#include "holdfast/tx.h"

#define LOCKS 512

/* The segment's root. */
struct root {
    hf_mutex mutex;
    hf_mutex locks[LOCKS];
    uint64_t values[LOCKS];
};

/* What processes tell each other, apart from the segment that is tested. */
struct notes {
    _Atomic uint32_t step;
    _Atomic uint32_t pid;
    _Atomic uint32_t count;
    _Atomic uint64_t went; /* when it was killed, in ms */
};

struct scene {
    hf_segment *segment;
    struct root *root;
    struct notes *notes;
    void *buffer;  /* NULL: the segment has none */
    uint32_t lock; /* for the children's own use */
};

typedef enum backing {
    BACKING_SHM,
    BACKING_FILE,
    BACKING_ANONYMOUS,
    BACKING_BUFFER, /* shared with children */
    BACKINGS
} backing;

/* A segment with a root, inherited by children. The caller's thread is no participant. */
struct scene new_scene(void);
struct scene new_scene_in(backing where);
void close_scene(struct scene *scene);

/* "This is done": steps count from 1. */
void tell(struct scene *scene, uint32_t step);
void await(struct scene *scene, uint32_t step);

/* A child, when it has told the step. */
pid_t start_told(int (*run)(void *scene), struct scene *scene, uint32_t step);

/* The process that somebody notes in notes->pid; forgets it. */
pid_t noted_process(struct scene *scene);

_Noreturn void wait_for_death(void);

/* Another process kills the victim after that time and notes when; reap both. */
pid_t kill_later(struct scene *scene, pid_t victim, int64_t ms);

/* Locks; the mutex must come within the patience that a busy machine asks for. */
#define PATIENCE SECONDS(10)
void expect_lock(hf_mutex *mutex, int expected);

/* Nobody has it, and its data is good. */
void expect_free(hf_mutex *mutex);

/* So many participants alive, so many dead. */
void expect_participants(struct scene *scene, uint32_t alive, uint32_t dead);

/* Times of which the middle one must be within the limit, and none may take long: the machine may
   be busy. Sorts them. */
void expect_in_time(int64_t *times, size_t count, int64_t limit_ms);

/* ---- bodies of children ------------------------------------------------------------------- */

/* Takes the mutex, tells 1, and waits. */
int hold_the_mutex(void *context);

/* Locks inside a transaction, writes, tells 1, and waits. */
int hold_in_a_transaction(void *context);

/* What hold_in_a_transaction writes over. */
#define VALUE_BEFORE UINT64_C(1000)

/* ---- number spaces ------------------------------------------------------------------------ */

/* SKIPs where a process cannot have a space of thread numbers of its own. */
void need_number_spaces(void);

/* For a child process: its children are in a new number space, the first of them as number 1. */
void enter_number_space(void);

/* As start_child, of a child in a new number space. It dies with its parent. */
pid_t start_numbered_child(int (*run)(void *context), void *context);

/* The next thread that is made in this number space gets that number. False: not permitted. */
bool next_number(uint32_t number);

#endif
