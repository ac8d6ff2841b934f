/* SPDX-License-Identifier: MIT */
/* What the scenarios on segments share: a root to play on, the dead, and the census. */
#ifndef TESTS_PROOF_BOARD_H
#define TESTS_PROOF_BOARD_H

#include "holdfast/mutex.h"
#include "holdfast/tx.h"
#include "proof/proof.h"

#define BOARD_SIZE UINT64_C(65536) /* of a segment for a board */
#define SECOND     INT64_C(1000000000)
#define BIG        6000

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
    hf_off contender_link[CONTENDERS];
    hf_off early_link;
    hf_off pair_link[2];
    uint8_t odd[16];
    uint8_t big[BIG]; /* more than a slot's log holds */
};

#define SUM 100

/* The arena's board; made, with its accounts, by the first call. */
struct board *board_of(struct arena *arena);

/* A child that does the work and is then killed with SIGKILL, for good. */
void leave_a_dead(struct arena *arena, void (*work)(struct arena *arena));

/* A child that does the work, and then does nothing for as long as the proof runs. */
void leave_alive(struct arena *arena, void (*work)(struct arena *arena));

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

/* The outcome, if everything is whole. */
outcome if_whole(struct arena *copy, outcome result);

#endif
