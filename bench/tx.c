/* SPDX-License-Identifier: MIT */
/* tx.16: a transaction that saves 16 bytes, writes them and commits. pmemobj's side is in
 * pmem_peer.c. */
#include "bench.h"
#include "locks.h"
#include "pmem_peer.h"

#define TRANSACTIONS 1000000

static int ours_run(void *state, double *cost)
{
    ours_lock *room = state;
    uint64_t *words = room->at->data.words;
    int errors = 0;
    int64_t start = bench_now_ns();
    for (int i = 0; i < TRANSACTIONS; i++) {
        errors |= hf_tx_begin(room->segment);
        errors |= hf_tx_add(room->segment, words, 16);
        words[0]++;
        words[1]++;
        errors |= hf_tx_commit(room->segment);
    }
    *cost = (double)(bench_now_ns() - start) / TRANSACTIONS;
    return errors == 0 ? 0 : bench_error("a transaction of ours failed");
}

extern const bench_row tx_16;
const bench_row tx_16 = {
    .name = "tx.16",
    .unit = "ns",
    .what = "a transaction that saves 16 bytes, writes them and commits",
    .sides =
        {
            {"ours", 30, ours_setup, ours_run, ours_teardown},
            {"pmemobj", 0.05, pmem_tx_setup, pmem_tx_run, pmem_tx_teardown},
        },
};
