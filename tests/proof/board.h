/* SPDX-License-Identifier: MIT */
/* What the scenarios on segments share: a root to play on, the dead, and the census. */
#ifndef TESTS_PROOF_BOARD_H
#define TESTS_PROOF_BOARD_H

#include "holdfast/barrier.h"
#include "holdfast/condition.h"
#include "holdfast/event.h"
#include "holdfast/latch.h"
#include "holdfast/mutex.h"
#include "holdfast/once.h"
#include "holdfast/rwlock.h"
#include "holdfast/semaphore.h"
#include "holdfast/tx.h"
#include "proof/proof.h"

#define BOARD_SIZE UINT64_C(65536) /* of a segment for a board */
#define SECOND     INT64_C(1000000000)
#define BIG        6000

#define HEAP_LINKS 8u
#define HEAP_LOOSE 8u
#define HEAP_EARLY 4u

/* What is known of the heap's blocks; heap_scenarios.c. */
struct heap_board {
    hf_off link[HEAP_LINKS];  /* the blocks' own links */
    hf_off loose[HEAP_LOOSE]; /* blocks that have none, if they are in use */
    hf_off early[HEAP_EARLY]; /* taken before the dead were recovered */
    uint64_t blocks[2];       /* in use before the call, and after it */
    uint64_t links[2];        /* that name something, likewise */
    uint64_t unknown;         /* after the call: blocks that only its caller knew of */
};

/* The names that a scenario plays with, and what their objects hold; object_scenarios.c. */
#define OBJECTS 20u
struct object_board {
    int32_t before[OBJECTS]; /* 0: there is none */
    int32_t after[OBJECTS];
    uint64_t anonymous[2]; /* blocks that have no name, before and after */
};

/* The root of a scenario's segment. */
struct board {
    hf_mutex mutex[3];
    int64_t account[2]; /* the sum stays SUM */
    hf_off link;
    uint64_t pages_linked; /* by the link, if it is not 0: what the census expects */
    uint64_t living;       /* participants besides the judge */
    /* What the first contender that got a mutex was told of it: the judge cannot hear it again. */
    int32_t told[3];
    uint32_t was_told[3];
    hf_rwlock rwlock[2]; /* and what the first contender that got the first one was told */
    int32_t rwlock_told;
    uint32_t rwlock_was_told;
    hf_semaphore semaphore[2];
    hf_event event;
    hf_latch latch;
    hf_once once;
    hf_barrier barrier;
    hf_off contender_link[CONTENDERS];
    hf_off early_link;
    hf_off pair_link[2];
    struct heap_board heap;
    struct object_board objects;
    hf_condition condition;
    hf_condition other_condition;
    uint64_t sleeper; /* the victim's process, for who is to wake it */
    uint8_t odd[16];
    uint8_t big[BIG]; /* more than a slot's log holds */
};

#define SUM 100

/* The arena's board; made, with its accounts, by the first call. */
struct board *board_of(struct arena *arena);

/* A child that does the work and is then killed with SIGKILL, for good. */
void leave_a_dead(struct arena *arena, void (*work)(struct arena *arena));

/* Of a child: from now on it is as one that waits for a lock there. And the number of the slot that
   does so, as a word that such a lock would have; 0: it has been recovered. */
void want_lock(struct arena *arena, const void *lock);
uint32_t who_wants_lock(struct arena *arena, const void *lock);

/* A child that does the work, and then does nothing for as long as the proof runs. */
void leave_alive(struct arena *arena, void (*work)(struct arena *arena));

/*
 * A child that does the work, lives on, and wakes the victim: only when that is asleep in its call,
 * or has been killed. So the memory changes while nobody looks at it.
 */
void leave_a_waker(struct arena *arena, void (*work)(struct arena *arena),
                   void (*wake)(struct arena *arena));

/* In the victim, last of all that it prepares. */
void be_the_sleeper(struct arena *arena);

/* Locks, which must give `expected`. */
void lock(hf_mutex *mutex, int expected);
void unlock(hf_mutex *mutex);

/* Can the mutex be had? 0, or what it says of its last owner; it is free again afterwards. */
int have(struct board *board, unsigned mutex);

/* Contenders: for the first mutex, and for pages. */
void contend_for_mutex(struct arena *arena, contender who);
void contend_for_pages(struct arena *arena, contender who);

/* Takes a page before the dead are recovered; is_whole sees that it is nobody else's, and gives it
   back. */
void take_a_page(struct arena *copy);

/*
 * Is everything whole, once recovered? Nobody but us and the living is there, every slot is idle,
 * every page is accounted for, and the segment works. Says what is not.
 */
bool is_whole(struct arena *copy);

/* Takes blocks before the dead are recovered; heap_is_whole sees that they are nobody else's. */
void take_blocks(struct arena *copy);

/* Sees that all that is known of is in use, each block apart from the others; frees it, and sees
   that no more than `unknown` blocks are left, and no page too many. Says what is wrong. */
bool heap_is_whole(struct arena *copy, uint64_t unknown);

/* Blocks in use, without those taken early; links that name something. */
uint64_t heap_blocks(struct arena *copy);
uint64_t heap_links(struct arena *copy);

/* Is that loose block in use, and not by one taken early? */
bool heap_has_loose(struct arena *copy, unsigned i);

/* The outcome, if everything is whole. */
outcome if_whole(struct arena *copy, outcome result);

#endif
