/* SPDX-License-Identifier: MIT */
/*
 * Transactions: several writes to a segment that happen all or not at all.
 *
 *     hf_tx_begin(segment);
 *     hf_mutex_lock(&bank->mutex);
 *     hf_tx_add(segment, &bank->account, sizeof bank->account);    save before you write
 *     bank->account[0] -= 5;
 *     bank->account[1] += 5;
 *     hf_mutex_unlock(&bank->mutex);
 *     hf_tx_commit(segment);
 *
 * The guarantee: whatever instruction the thread dies at, either commit was reached and everything
 * written since begin is there, or every range that was added reads as it did when it was added,
 * before anyone gets a lock that was taken inside. What was written without having been added is
 * not undone. It holds for the death of processes, not for the loss of power.
 *
 * A lock taken or unlocked inside stays locked for others until the outermost commit or abort: so
 * nobody sees what is not committed. A lock that was taken inside is handed on without
 * -EOWNERDEAD if its owner dies inside.
 *
 * A transaction belongs to one thread and one segment. It nests: inner levels count, the outermost
 * commit is the one that counts. All is written by the thread itself; a system call is made only
 * where the log needs pages, and where a commit wakes who waits for a lock.
 *
 * Errors common to all: those of <holdfast/segment.h>; -EINVAL without a transaction; -ECANCELED
 * after an inner level was aborted, until the outermost has ended.
 */
#ifndef HOLDFAST_TX_H
#define HOLDFAST_TX_H

#include <stddef.h>

#include "holdfast/error.h"
#include "holdfast/segment.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Begins, or, inside one, enters one level more. */
HF_API int hf_tx_begin(hf_segment *segment);

/*
 * Saves `length` bytes at `address`, which lie in the segment, to be restored unless the
 * transaction commits. Saving a range again, or overlapping ones, is fine. Do not save locks. 16
 * bytes of log for each call besides the bytes; what the thread's slot has no room for goes to
 * pages of the segment, which it keeps for its next transactions. -ENOMEM: no room, and nothing has
 * changed.
 */
HF_API int hf_tx_add(hf_segment *segment, const void *address, size_t length);

/* Takes room now for `bytes` more in one hf_tx_add, or several if 32 are counted for each, so that
   they cannot fail. -ENOMEM. */
HF_API int hf_tx_reserve(hf_segment *segment, size_t bytes);

/* Ends a level; the outermost makes everything last. */
HF_API int hf_tx_commit(hf_segment *segment);

/* Ends a level, and undoes the whole transaction, outer levels included: they then get -ECANCELED
   from everything up to and including their commit. So does whoever has jumped out of an abort and
   commits: it is undone then. */
HF_API int hf_tx_abort(hf_segment *segment);

#ifdef __cplusplus
}
#endif
#endif
