/* SPDX-License-Identifier: MIT */
/*
 * The same few calls again and again, with nothing in between: so that a kill meets a thread in the
 * few instructions that matter, which elsewhere are one in a thousand.
 */
#include "soak/soak.h"

#define BLOWS 1000u

static void begin(struct actor *a, const char *text, const void *place)
{
    linger(a);
    call_begins(a, text, hf_segment_offset(a->segment, place).value);
}

static void end(struct actor *a, int result, uint64_t calls)
{
    must(a, call_ended(a, result));
    count(a->seat, COUNT_CALLS, calls);
}

void hammer_locks(struct actor *a)
{
    hf_mutex *mutex = &a->table->anvil[below(&a->chance, ANVILS)];
    uint64_t n = 1 + below(&a->chance, BLOWS);
    int result = 0;
    begin(a, "hf_mutex_lock, hf_mutex_unlock, many times", mutex);
    for (uint64_t i = 0; i < n && result == 0; i++) {
        result = hf_mutex_lock(mutex);
        if (result == -EOWNERDEAD) {
            count(a->seat, COUNT_OWNERS_DEAD, 1);
            result = hf_mutex_consistent(mutex);
        }
        if (result == 0) {
            result = hf_mutex_unlock(mutex);
        }
    }
    end(a, result, 2 * n);
}

/* With the lock, inside a transaction: twins that nobody ever sees differ. */
static int change_sure_twin(struct actor *a, struct twin *twin)
{
    int result = hf_tx_add(a->segment, (const void *)&twin->one, sizeof twin->one);
    if (twin->one != twin->other) {
        fail(a, "twins under a transaction are %llu and %llu", (unsigned long long)twin->one,
             (unsigned long long)twin->other);
    }
    if (result == 0) {
        result = hf_tx_add(a->segment, (const void *)&twin->other, sizeof twin->other);
    }
    twin->one = twin->one + 1;
    twin->other = twin->one;
    return result;
}

void hammer_transactions(struct actor *a)
{
    struct twin *twin = &a->table->sure[below(&a->chance, ANVILS)];
    uint64_t n = 1 + below(&a->chance, BLOWS);
    int result = 0;
    begin(a, "a transaction with a lock and two saved words, many times", twin);
    for (uint64_t i = 0; i < n && result == 0; i++) {
        result = hf_tx_begin(a->segment);
        result = result != 0 ? result : hf_mutex_lock(&twin->guard.mutex);
        result = result != 0 ? result : change_sure_twin(a, twin);
        result = result != 0 ? result : hf_mutex_unlock(&twin->guard.mutex);
        result = result != 0 ? result : hf_tx_commit(a->segment);
    }
    end(a, result, 6 * n);
    count(a->seat, COUNT_COMMITS, n);
}

void hammer_pages(struct actor *a)
{
    struct run *run = &a->table->run[below(&a->chance, RUNS)];
    if (!take_run(a, run)) {
        return;
    }
    uint64_t n = 1 + below(&a->chance, BLOWS / 4);
    uint64_t bytes = run->pages * HF_SEGMENT_PAGE;
    int result = 0;
    if (run->link.value == 0) {
        run->pages = 1 + below(&a->chance, 4);
        run->serial = (uint64_t)a->thread << 32 | (uint32_t)a->takes;
        bytes = run->pages * HF_SEGMENT_PAGE;
    } else {
        give_pages(a, run);
    }
    begin(a, "hf_pages_alloc, hf_pages_free, many times", run);
    for (uint64_t i = 0; i < n && result == 0; i++) {
        result = hf_pages_alloc(a->segment, bytes, &run->link);
        result = result != 0 ? result : hf_pages_free(a->segment, bytes, &run->link);
    }
    end(a, result == -ENOMEM ? 0 : result, 2 * n);
    give(a, &run->guard);
}
