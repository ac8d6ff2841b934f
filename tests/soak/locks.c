/* SPDX-License-Identifier: MIT */
/* Mutexes, and data under them that the next owner mends. */
#include "soak/soak.h"

/* ---- taking ------------------------------------------------------------------------------ */

static int take_somehow(struct actor *a, struct guard *guard, bool may_fail)
{
    hf_mutex *mutex = &guard->mutex;
    uint64_t place = hf_segment_offset(a->segment, guard).value;
    uint64_t way = below(&a->chance, may_fail ? 4 : 2);
    int64_t time = (int64_t)below(&a->chance, 2 * MILLISECOND);
    switch (way) {
    case 0:
        return CALL(a, place, hf_mutex_lock(mutex));
    case 1:
        return CALL(a, place, hf_mutex_timedlock(mutex, HF_FOREVER));
    case 2:
        return CALL(a, place, hf_mutex_trylock(mutex));
    default:
        return CALL(a, place, hf_mutex_timedlock(mutex, time));
    }
}

hold take(struct actor *a, struct guard *guard, bool may_fail)
{
    int result = take_somehow(a, guard, may_fail);
    if (may_fail && (result == -EBUSY || result == -ETIMEDOUT)) {
        return HAD_NOT;
    }
    (void)PERMIT(a, result, -EOWNERDEAD);
    count(a->seat, COUNT_OWNERS_DEAD, result == -EOWNERDEAD ? 1 : 0);
    a->takes++;
    guard->holder = (uint64_t)a->thread << 32 | (uint32_t)a->takes;
    return result == 0 ? HAD_GOOD : HAD_SUSPECT;
}

void give(struct actor *a, struct guard *guard)
{
    if (guard->holder >> 32 != a->thread) {
        fail(a, "the lock at %#llx is ours, and thread %u believes that it has it as well",
             (unsigned long long)hf_segment_offset(a->segment, guard).value,
             (unsigned)(guard->holder >> 32));
    }
    must(a, CALL(a, hf_segment_offset(a->segment, guard).value, hf_mutex_unlock(&guard->mutex)));
}

void mended(struct actor *a, struct guard *guard)
{
    linger(a);
    must(a,
         CALL(a, hf_segment_offset(a->segment, guard).value, hf_mutex_consistent(&guard->mutex)));
}

/* ---- twins ------------------------------------------------------------------------------- */

static hold take_twin(struct actor *a, struct twin *twin, bool may_fail)
{
    hold had = take(a, &twin->guard, may_fail);
    if (had == HAD_GOOD && twin->one != twin->other) {
        fail(a, "twins are %llu and %llu, and nobody said that their owner died",
             (unsigned long long)twin->one, (unsigned long long)twin->other);
    }
    if (had == HAD_SUSPECT) {
        twin->other = twin->one;
        mended(a, &twin->guard);
    }
    return had;
}

static void change_twin(struct actor *a, struct twin *twin)
{
    twin->one = twin->one + 1;
    linger(a);
    twin->other = twin->one;
}

/* Several at once, freed in any order. */
void change_twins(struct actor *a)
{
    struct twin *held[TWINS];
    unsigned n = 0;
    for (unsigned i = 0; i < TWINS; i++) {
        struct twin *twin = &a->table->twin[i];
        if (one_in(&a->chance, 2) && take_twin(a, twin, true) != HAD_NOT) {
            held[n++] = twin;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        change_twin(a, held[i]);
    }
    while (n > 0) {
        unsigned i = (unsigned)below(&a->chance, n);
        give(a, &held[i]->guard);
        held[i] = held[--n];
        linger(a);
    }
}

/* A lock from before a transaction, unlocked inside it. */
void twin_and_money(struct actor *a)
{
    struct twin *twin = &a->table->twin[below(&a->chance, TWINS)];
    if (take_twin(a, twin, true) == HAD_NOT) {
        return;
    }
    change_twin(a, twin);
    must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    transfer_strictly(a); /* one level further in */
    if (one_in(&a->chance, 2)) {
        give(a, &twin->guard);
        must(a, CALL(a, 0, hf_tx_commit(a->segment)));
    } else {
        must(a, CALL(a, 0, hf_tx_commit(a->segment)));
        give(a, &twin->guard);
    }
}

/* ---- mutexes that are given up, ended, and begun again --------------------------------------- */

static void begin_mortal(struct actor *a)
{
    struct table *t = a->table;
    linger(a);
    must(a, CALL(a, 0, hf_mutex_init(&t->mortal)));
    t->mortal_state = MORTAL_GOOD;
}

static void end_mortal(struct actor *a)
{
    int result = CALL(a, 0, hf_mutex_fini(&a->table->mortal));
    (void)PERMIT(a, result, -EINVAL);
    a->table->mortal_state = MORTAL_ENDED;
    begin_mortal(a);
}

/* Locked as no living thread has it. */
static void use_mortal(struct actor *a)
{
    struct table *t = a->table;
    int result = CALL(a, 0, hf_mutex_lock(&t->mortal));
    if (result == -ENOTRECOVERABLE || result == -EINVAL) { /* or its last owner died just before */
        end_mortal(a);
        return;
    }
    if (t->mortal_state == MORTAL_GIVEN_UP) {
        fail(a, "a mutex that was given up gives %d", result);
    }
    linger(a);
    if (PERMIT(a, result, -EOWNERDEAD) == 0) {
        must(a, CALL(a, 0, hf_mutex_unlock(&t->mortal)));
        return;
    }
    if (one_in(&a->chance, 2)) {
        must(a, CALL(a, 0, hf_mutex_consistent(&t->mortal)));
        must(a, CALL(a, 0, hf_mutex_unlock(&t->mortal)));
        return;
    }
    must(a, CALL(a, 0, hf_mutex_unlock(&t->mortal)));
    t->mortal_state = MORTAL_GIVEN_UP;
}

void end_and_begin_a_mutex(struct actor *a)
{
    struct table *t = a->table;
    hold had = take(a, &t->warden, true);
    if (had == HAD_NOT) {
        return;
    }
    if (had == HAD_SUSPECT) {
        mended(a, &t->warden);
    }
    use_mortal(a);
    give(a, &t->warden);
}
