/* SPDX-License-Identifier: MIT */
/*
 * Transactions: the undo log, and what commit and abort do. Recovery uses undo_log_apply.
 *
 * The log is a sequence of areas: the one in the slot, then chunks of 1, 2, 4… pages. An entry is
 * the old bytes, padded to 16, then a trailer; it lies in one area, and is there once log_used
 * counts it. Read backwards from log_used. What an area has left over at its end is an entry that
 * saves nothing.
 */
#ifndef HF_SEGMENT_TX_H
#define HF_SEGMENT_TX_H

#include "segment/participant.h"

#define tx_begin          hf_in_tx_begin
#define tx_add            hf_in_tx_add
#define tx_reserve        hf_in_tx_reserve
#define tx_end            hf_in_tx_end
#define tx_abort          hf_in_tx_abort
#define tx_settle         hf_in_tx_settle
#define tx_add_block      hf_in_tx_add_block
#define tx_block_position hf_in_tx_block_position
#define tx_take_back      hf_in_tx_take_back

int tx_begin(struct participant *p);
int tx_add(struct participant *p, uint64_t offset, uint64_t length);
int tx_reserve(struct participant *p, uint64_t bytes);

/* Logs a block: LOG_ALLOCATED before it is taken, LOG_FREED instead of freeing it. -ENOMEM. */
int tx_add_block(struct participant *p, uint64_t kind, uint64_t offset);

/* Makes room for one, so that it cannot fail; *used: where it will begin. -ENOMEM, -ECANCELED. */
int tx_block_position(struct participant *p, uint64_t *used);

/* Frees the blocks of the last `count` entries, all LOG_ALLOCATED, and takes them off the log. */
void tx_take_back(struct participant *p, uint64_t count);

int tx_end(struct participant *p);
int tx_abort(struct participant *p);

/* After a jump out of a call: finishes an end, or a beginning. An open transaction stays open. */
void tx_settle(struct participant *p);

static inline bool tx_is_open(const struct participant *p)
{
    return p->tx_depth > 0;
}

#endif
