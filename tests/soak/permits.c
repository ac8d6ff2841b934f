/* SPDX-License-Identifier: MIT */
/*
 * Semaphores. Of those whose permits come back there are as many chairs as permits: who has a
 * permit finds one that nobody alive sits on. Of a plain one it is counted what was posted and
 * taken.
 */
#include "segment/semaphore_layout.h"
#include "soak/soak.h"

#define LOOKS 10000u /* for a chair: others may change places meanwhile */
#define BLOWS 500u
#define MOST  8u /* permits that a store is not filled beyond */

static uint64_t place_of(struct actor *a, const void *what)
{
    return hf_segment_offset(a->segment, what).value;
}

/* ---- chairs ------------------------------------------------------------------------------ */

static bool sits_nobody_on(struct actor *a, uint64_t chair)
{
    bool lives = false;
    if (chair != 0) {
        must(a, hf_participant_lives(a->segment, (hf_participant){chair}, &lives));
    }
    return !lives;
}

static bool sit_on(struct actor *a, _Atomic uint64_t *chair)
{
    uint64_t was = load_acquire(chair);
    return was != a->self.value && sits_nobody_on(a, was) &&
           cas_acq_rel(chair, &was, a->self.value); /* partner: get_up */
}

static _Atomic uint64_t *sit_down(struct actor *a, struct pool *pool, uint32_t permits)
{
    for (unsigned looks = 0; looks < LOOKS; looks++) {
        for (uint32_t i = 0; i < permits; i++) {
            if (sit_on(a, &pool->chair[i])) {
                return &pool->chair[i];
            }
        }
    }
    fail(a, "pool: we have one of %u permits, and others have all the chairs", (unsigned)permits);
}

static void get_up(struct actor *a, _Atomic uint64_t *chair)
{
    uint64_t was = a->self.value;
    if (!cas_acq_rel(chair, &was, 0)) { /* partner: sit_on */
        fail(a, "pool: somebody sits on our chair: %#llx on %#llx", (unsigned long long)was,
             (unsigned long long)a->self.value);
    }
}

/* ---- permits that come back ------------------------------------------------------------------ */

static void see_value(struct actor *a, const hf_semaphore *semaphore, uint32_t most)
{
    uint32_t value = 0;
    must(a, hf_semaphore_value(semaphore, &value));
    if (value > most) {
        fail(a, "pool: there are %u permits of %u", (unsigned)value, (unsigned)most);
    }
}

/* Who has one already does not wait for ever for another. */
static bool take_permit(struct actor *a, hf_semaphore *semaphore, bool first)
{
    int64_t time = 1 + (int64_t)below(&a->chance, 3 * MILLISECOND);
    uint64_t place = place_of(a, semaphore);
    switch (below(&a->chance, first ? 3 : 2)) {
    case 0:
        return PERMIT(a, CALL(a, place, hf_semaphore_trywait(semaphore)), -EBUSY) == 0;
    case 1:
        return PERMIT(a, CALL(a, place, hf_semaphore_timedwait(semaphore, time)), -ETIMEDOUT) == 0;
    default:
        must(a, CALL(a, place, hf_semaphore_wait(semaphore)));
        return true;
    }
}

static void give_permits(struct actor *a, hf_semaphore *semaphore, uint32_t n)
{
    if (one_in(&a->chance, 2)) {
        must(a, CALL(a, place_of(a, semaphore), hf_semaphore_post_many(semaphore, n)));
        return;
    }
    for (; n > 0; n--) {
        must(a, CALL(a, place_of(a, semaphore), hf_semaphore_post(semaphore)));
        linger(a);
    }
}

void use_pool(struct actor *a)
{
    uint32_t i = (uint32_t)below(&a->chance, POOLS);
    struct pool *pool = &a->table->pool[i];
    hf_semaphore *semaphore = &pool->permits;
    uint32_t permits = i + 1;
    uint32_t wanted = 1 + (uint32_t)below(&a->chance, permits);
    _Atomic uint64_t *chair = NULL;
    uint32_t n = 0;
    while (n < wanted && take_permit(a, semaphore, n == 0)) {
        chair = n++ == 0 ? sit_down(a, pool, permits) : chair;
        linger(a);
    }
    see_value(a, semaphore, permits - n);
    if (n > 0) {
        get_up(a, chair);
        give_permits(a, semaphore, n);
    }
}

void hammer_pool(struct actor *a)
{
    hf_semaphore *semaphore = &a->table->pool[below(&a->chance, POOLS)].permits;
    uint64_t n = 1 + below(&a->chance, BLOWS);
    int result = 0;
    linger(a);
    call_begins(a, "hf_semaphore_wait, hf_semaphore_post, many times", place_of(a, semaphore));
    for (uint64_t i = 0; i < n && result == 0; i++) {
        result = hf_semaphore_wait(semaphore);
        result = result != 0 ? result : hf_semaphore_post(semaphore);
    }
    must(a, call_ended(a, result));
    count(a->seat, COUNT_CALLS, 2 * n);
}

/* ---- plain ones -------------------------------------------------------------------------- */

static void fill_store(struct actor *a, struct store *store)
{
    hf_semaphore *semaphore = &store->permits;
    uint32_t value = 0;
    uint32_t n = 1 + (uint32_t)below(&a->chance, 2);
    must(a, hf_semaphore_value(semaphore, &value));
    if (value >= MOST) {
        return;
    }
    (void)fetch_add_relaxed(&store->posts_begun, n);
    must(a, CALL(a, n, hf_semaphore_post_many(semaphore, n)));
    (void)fetch_add_relaxed(&store->posts_done, n);
}

static void draw_from_store(struct actor *a, struct store *store)
{
    hf_semaphore *semaphore = &store->permits;
    int64_t time = (int64_t)below(&a->chance, 4 * MILLISECOND);
    (void)fetch_add_relaxed(&store->waits_begun, 1);
    int result = CALL(a, time, hf_semaphore_timedwait(semaphore, time));
    if (PERMIT(a, result, -EBUSY, -ETIMEDOUT) == 0) {
        (void)fetch_add_relaxed(&store->waits_done, 1);
    } else {
        (void)fetch_add_relaxed(&store->waits_begun, UINT64_MAX);
    }
}

void use_store(struct actor *a)
{
    if (one_in(&a->chance, 2)) {
        fill_store(a, &a->table->store);
    } else {
        draw_from_store(a, &a->table->store);
    }
}

/* ---- the census -------------------------------------------------------------------------- */

static uint64_t count_of(const void *semaphore)
{
    return load_relaxed(&((const struct semaphore *)semaphore)->count);
}

/* Having woken nobody, a post says that nobody sleeps. */
static bool is_quiet(hf_semaphore *semaphore, const char *what)
{
    int error = hf_semaphore_trywait(semaphore);
    error = error != 0 ? error : hf_semaphore_post(semaphore);
    uint64_t word = count_of(semaphore);
    if (error != 0 || (word & COUNT_WAITERS) != 0) {
        note_failure("census: %s gives %d: %s; its count is %#llx", what, error, hf_strerror(error),
                     (unsigned long long)word);
        return false;
    }
    return true;
}

static bool pool_is_good(struct pool *pool, uint32_t permits)
{
    uint32_t value = 0;
    int error = hf_semaphore_value(&pool->permits, &value);
    if (error != 0 || value != permits) {
        note_failure("census: a pool has %u permits of %u, and nobody lives who had one: %s",
                     (unsigned)value, (unsigned)permits, hf_strerror(error));
        return false;
    }
    return is_quiet(&pool->permits, "a pool");
}

/* Whoever died in a call has made it or not. */
static bool store_is_good(struct store *store)
{
    uint32_t value = 0;
    int error = hf_semaphore_value(&store->permits, &value);
    int64_t most = (int64_t)(load_relaxed(&store->posts_begun) - load_relaxed(&store->waits_done));
    int64_t least = (int64_t)(load_relaxed(&store->posts_done) - load_relaxed(&store->waits_begun));
    if (error != 0 || (int64_t)value > most || (int64_t)value < least) {
        note_failure("census: a store has %u permits, and should have %lld to %lld: %s",
                     (unsigned)value, (long long)least, (long long)most, hf_strerror(error));
        return false;
    }
    return value == 0 || is_quiet(&store->permits, "a store");
}

bool permits_are_good(struct table *t)
{
    bool good = store_is_good(&t->store);
    for (uint32_t i = 0; good && i < POOLS; i++) {
        good = pool_is_good(&t->pool[i], i + 1);
    }
    return good;
}
