/* SPDX-License-Identifier: MIT */
/* libpmemobj beside us, in a pool on tmpfs: pmem_peer.c. */
#ifndef HF_BENCH_PMEM_PEER_H
#define HF_BENCH_PMEM_PEER_H

int pmem_tx_setup(void *shared, void **state);
int pmem_tx_run(void *state, double *cost);
void pmem_tx_teardown(void *state);

#endif
