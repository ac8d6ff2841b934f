/* SPDX-License-Identifier: MIT */
/*
 * A signal handler that calls in, at any instruction of a call that it interrupts. On the same
 * segment it is refused once the call has begun; before that, and on another segment, it works, and
 * the call goes on as if nothing had been.
 */
#include <errno.h>
#include <pthread.h>

#include "holdfast/heap.h"
#include "holdfast/recursive_mutex.h"
#include "support/jump.h"
#include "support/stage.h"

#define STEPS_MAX 400

static hf_mutex *second(void)
{
    return &props->more[0];
}

static hf_recursive_mutex *recursive(void)
{
    return (hf_recursive_mutex *)(void *)props->bytes;
}

static bool came; /* the handler, before the call was over */
static int got;   /* what it was told */

static void lock_second(void)
{
    came = true;
    got = hf_mutex_trylock(second());
}

/* ---- on the same segment ------------------------------------------------------------------ */

static int unlock_it(void *unused)
{
    (void)unused;
    return hf_mutex_unlock(&props->mutex);
}

static int unlock_recursive(void *unused)
{
    (void)unused;
    return hf_recursive_mutex_unlock(recursive());
}

static int unlock_rwlock(void *unused)
{
    (void)unused;
    return hf_rwlock_wrunlock(&props->rwlock);
}

static int (*unlock)(void *unused);
static long step_now;

/* Ends with what the handler has locked: in a list of held locks that must still have it. */
static void *unlock_and_end(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_recursive_mutex_lock(recursive()));
    assert_ok(hf_rwlock_wrlock(&props->rwlock));
    if (unlock == unlock_recursive) { /* what is unlocked is the first in the list, for each */
        assert_ok(hf_rwlock_wrunlock(&props->rwlock));
    } else if (unlock == unlock_it) {
        assert_ok(hf_rwlock_wrunlock(&props->rwlock));
        assert_ok(hf_recursive_mutex_unlock(recursive()));
    }
    assert_ok(interrupt_after(step_now, lock_second, unlock, NULL));
    return NULL;
}

static void in_a_thread(void *(*run)(void *unused))
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void put_in_order(hf_mutex *mutex, int expected)
{
    assert_int_equal(hf_mutex_trylock(mutex), expected);
    if (expected == -EOWNERDEAD) {
        assert_ok(hf_mutex_consistent(mutex));
    }
    assert_ok(hf_mutex_unlock(mutex));
}

static void expect_lists_whole(int (*how)(void *unused))
{
    unsigned had = 0;
    need_jumps();
    set_stage(64 * KIB);
    assert_ok(hf_recursive_mutex_init(recursive()));
    unlock = how;
    came = true;
    for (step_now = 1; came && step_now < STEPS_MAX; step_now++) {
        came = false;
        got = -EBUSY;
        in_a_thread(unlock_and_end);
        assert_true(got == 0 || got == -EDEADLK || !came);
        had += got == 0 ? 1 : 0;
        put_in_order(second(), got == 0 ? -EOWNERDEAD : 0);
        put_in_order(&props->mutex, how == unlock_it ? 0 : -EOWNERDEAD);
        if (how == unlock_rwlock) {
            assert_int_equal(hf_recursive_mutex_trylock(recursive()), -EOWNERDEAD);
            assert_ok(hf_recursive_mutex_consistent(recursive()));
            assert_ok(hf_recursive_mutex_unlock(recursive()));
        }
    }
    assert_true(had > 5 && step_now > 20 && step_now < STEPS_MAX);
    clear_stage();
}

TEST(a_handler_that_locks_while_a_mutex_is_being_unlocked)
{
    expect_lists_whole(unlock_it);
}

TEST(a_handler_that_locks_while_a_recursive_mutex_is_being_unlocked)
{
    expect_lists_whole(unlock_recursive);
}

TEST(a_handler_that_locks_while_an_rwlock_is_being_unlocked)
{
    expect_lists_whole(unlock_rwlock);
}

/* ---- on another segment ------------------------------------------------------------------- */

static hf_segment *other;
static hf_mutex *other_mutex;

static void use_other(void)
{
    came = true;
    got = hf_mutex_lock(other_mutex);
    assert_ok(hf_mutex_unlock(other_mutex));
}

static void *take_first_slot(void *unused)
{
    (void)unused;
    void *root;
    assert_ok(hf_segment_root(other, sizeof(hf_mutex), &root));
    other_mutex = root;
    assert_ok(hf_mutex_lock(other_mutex));
    assert_ok(hf_mutex_unlock(other_mutex));
    store_relaxed(&props->ready, 1);
    while (load_relaxed(&props->finish) == 0) {
        sleep_ms(1);
    }
    return NULL;
}

static int lock_it(void *unused)
{
    (void)unused;
    return hf_mutex_lock(&props->mutex);
}

static int allocate(void *block)
{
    return hf_alloc(stage, 64, block);
}

/* This thread has another number there. */
static void set_two_segments(pthread_t *first)
{
    need_jumps();
    set_stage(64 * KIB);
    assert_ok(hf_segment_create_anonymous(64 * KIB, NULL, &other));
    assert_int_equal(pthread_create(first, NULL, take_first_slot, NULL), 0);
    while (load_relaxed(&props->ready) == 0) {
        sleep_ms(1);
    }
    use_other();
    assert_int_equal(hf_mutex_trylock(&props->mutex), 0);
    assert_ok(hf_mutex_unlock(&props->mutex));
}

static void clear_two_segments(pthread_t first)
{
    store_relaxed(&props->finish, 1);
    assert_int_equal(pthread_join(first, NULL), 0);
    hf_segment_close(other);
    clear_stage();
}

TEST(a_handler_that_uses_another_segment_while_a_mutex_is_being_locked)
{
    pthread_t first;
    long n = 0;
    set_two_segments(&first);
    do {
        came = false;
        n++;
        assert_ok(interrupt_after(n, use_other, lock_it, NULL));
        assert_int_equal(seen_by_another(&props->mutex), -EBUSY);
        assert_ok(hf_mutex_unlock(&props->mutex));
    } while (came && n < STEPS_MAX);
    assert_true(n > 20 && n < STEPS_MAX);
    clear_two_segments(first);
}

TEST(a_handler_that_uses_another_segment_while_a_block_is_being_allocated)
{
    pthread_t first;
    long n = 0;
    set_two_segments(&first);
    do {
        void *block;
        came = false;
        n++;
        assert_ok(hf_alloc(other, 64, &block)); /* a heap, there too */
        assert_ok(hf_free(other, block));
        assert_ok(hf_free(stage, NULL));
        assert_ok(interrupt_after(n, use_other, allocate, &block));
        assert_ok(hf_free(stage, block)); /* -EINVAL if it were the other's */
    } while (came && n < STEPS_MAX);
    assert_true(n > 20 && n < STEPS_MAX);
    clear_two_segments(first);
}
