/* SPDX-License-Identifier: MIT */
/*
 * libpmemobj beside us. Its pool lies on tmpfs and is taken for persistent memory
 * (PMEM_IS_PMEM_FORCE): else it would call msync, a hundred times as slow and no better on tmpfs.
 */
#include <libpmemobj.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "pmem_peer.h"

#define TRANSACTIONS 100000
#define POOL_SIZE    ((size_t)16 << 20)

typedef struct pmem_side {
    char path[BENCH_PATH_MAX];
    PMEMobjpool *pool;
    PMEMoid root;
    uint64_t *words;
} pmem_side;

void pmem_tx_teardown(void *state)
{
    pmem_side *side = state;
    if (side->pool != NULL) {
        pmemobj_close(side->pool);
        (void)unlink(side->path);
    }
    free(side);
}

int pmem_tx_setup(void *shared, void **state)
{
    (void)shared;
    pmem_side *side = calloc(1, sizeof(*side));
    if (side == NULL) {
        return bench_error("out of memory");
    }
    (void)setenv("PMEM_IS_PMEM_FORCE", "1", 1); /* it looks when it first maps a pool */
    if (bench_format(side->path, BENCH_PATH_MAX, "%s/pool", bench_scratch()) == 0) {
        side->pool = pmemobj_create(side->path, "bench", POOL_SIZE, 0600);
    }
    if (side->pool != NULL) {
        side->root = pmemobj_root(side->pool, 64);
        side->words = pmemobj_direct(side->root);
    }
    if (side->words == NULL) {
        pmem_tx_teardown(side);
        return bench_error("pmemobj: %s", pmemobj_errormsg());
    }
    *state = side;
    return 0;
}

int pmem_tx_run(void *state, double *cost)
{
    pmem_side *side = state;
    volatile int errors = 0; /* TX_ONABORT comes back by longjmp */
    int64_t start = bench_now_ns();
    for (volatile int i = 0; i < TRANSACTIONS; i++) {
        TX_BEGIN(side->pool)
        {
            (void)pmemobj_tx_add_range(side->root, 0, 16);
            side->words[0]++;
            side->words[1]++;
        }
        TX_ONABORT
        {
            errors++;
        }
        TX_END
    }
    *cost = (double)(bench_now_ns() - start) / TRANSACTIONS;
    return errors == 0 ? 0 : bench_error("pmemobj: %s", pmemobj_errormsg());
}
