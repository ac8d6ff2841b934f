/* SPDX-License-Identifier: MIT */
/* Blocks that die with their participant: words in its slot, and in pages hung off it, name them.
 */
#ifndef HF_SEGMENT_RESERVE_H
#define HF_SEGMENT_RESERVE_H

#include "segment/heap.h"

#define reserve_place     hf_in_reserve_place
#define reserve_find      hf_in_reserve_find
#define reserve_let_go    hf_in_reserve_let_go
#define reserve_free_all  hf_in_reserve_free_all
#define reserve_give_back hf_in_reserve_give_back

/* A word of the caller's slot that names nothing; NULL: no room, *error. */
shared_u64 *reserve_place(struct participant *p, int *error);

/* The word of the slot that names the block; NULL. */
shared_u64 *reserve_find(struct view *view, struct slot *slot, uint64_t offset);

/* The block that the word names is another's now: ends the reservation, and with it the record. */
void reserve_let_go(struct slot *slot, shared_u64 *word);

/* Frees what the slot has reserved. Recovery's, or the thread's own at its end; can be done again.
 */
void reserve_free_all(struct view *view, struct slot *slot);

/* Gives back the slot's pages for more: the caller's slot, or a free one that it has claimed. With
   `try_only`, if that takes no waiting. */
void reserve_give_back(struct participant *p, struct slot *slot, bool try_only);

#endif
