/* SPDX-License-Identifier: MIT */
/*
 * Undoing what a dead participant left open. docs/architecture.md tells it as a story.
 *
 * All progress is logged in the dead's own slot, every step can be run again, none takes a lock or
 * memory: whoever finds a recoverer dead goes on from there.
 */
#ifndef HF_SEGMENT_RECOVERY_H
#define HF_SEGMENT_RECOVERY_H

#include "segment/participant.h"

#define recovery_of          hf_recovery_of
#define recovery_of_own_slot hf_recovery_of_own_slot
#define recovery_of_call     hf_recovery_of_call
#define recovery_of_onces    hf_recovery_of_onces
#define recovery_of_slots    hf_recovery_of_slots
#define recovery_of_all      hf_recovery_of_all
#define log_unwind           hf_log_unwind
#define log_drop_unfinished  hf_log_drop_unfinished

/* Recovers the participant of that slot; false: it is not dead, or another does. */
bool recovery_of(struct participant *me, uint32_t number);

/* The same for what stands in the caller's own slot. */
void recovery_of_own_slot(struct participant *me);

/* Settles only the call that the caller's own thread jumped out of. */
void recovery_of_call(struct participant *me);

/* Gives up the onces that the caller's own thread was at, as its death would. */
void recovery_of_onces(struct participant *me);

/* Looks at every slot, asking the system; how many it recovered. Takes no lock. */
unsigned recovery_of_slots(struct participant *me);

/* The same, and takes pages back from slots that are free. */
unsigned recovery_of_all(struct participant *me);

/*
 * What the slot's undo log says, latest first: of a transaction that is committed the blocks that
 * it frees; otherwise what it saved is restored and what it allocated freed. `p`: the participant,
 * if it does so itself. tx.c.
 */
void log_unwind(struct view *view, struct slot *slot, struct participant *p, bool committed);

/* Drops the last entry if it is of a block that is not in use: not taken yet, or freed already. */
void log_drop_unfinished(struct view *view, struct slot *slot);

#endif
