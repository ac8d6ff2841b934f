/* SPDX-License-Identifier: MIT */
/* hf_lockable and the guards: each is the lock's own call. */
#include <signal.h>

#include "holdfast/guard.h"
#include "holdfast/lockable.h"
#include "support/stage.h"

static hf_lockable any(void)
{
    return hf_lockable_of(&props->mutex);
}

TEST(a_mutex_is_locked_and_unlocked_as_any_lock)
{
    set_stage(64 * KIB);
    assert_ok(hf_lockable_lock(any()));
    assert_error(hf_mutex_trylock(&props->mutex), -EDEADLK);
    assert_error(hf_lockable_trylock(any()), -EDEADLK);
    assert_ok(hf_lockable_unlock(any()));
    assert_error(hf_lockable_unlock(any()), -EPERM);
    assert_ok(hf_lockable_trylock(any()));
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_ok(hf_lockable_timedlock(any(), SECONDS(1)));
    assert_error(hf_lockable_consistent(any()), -EINVAL);
    assert_ok(hf_lockable_unlock(any()));
    assert_ok(hf_lockable_lock_until(any(), hf_now_ns() + SECONDS(10)));
    assert_ok(hf_lockable_unlock(any()));
    clear_stage();
}

static int hold(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->mutex));
    say_ready();
    wait_for_death();
}

TEST(what_another_holds_is_waited_for_as_long_as_asked)
{
    set_stage(64 * KIB);
    pid_t child = start_ready(hold, NULL);
    assert_error(hf_lockable_trylock(any()), -EBUSY);
    assert_error(hf_lockable_timedlock(any(), MILLISECONDS(20)), -ETIMEDOUT);
    assert_error(hf_lockable_lock_until(any(), hf_now_ns() + MILLISECONDS(20)), -ETIMEDOUT);
    assert_error(hf_lockable_lock_until(any(), hf_now_ns() - 1), -ETIMEDOUT);
    assert_int_equal(kill_and_reap(child), -SIGKILL);
    assert_error(hf_lockable_lock(any()), -EOWNERDEAD);
    assert_ok(hf_lockable_consistent(any()));
    assert_ok(hf_lockable_unlock(any()));
    clear_stage();
}

TEST(what_is_no_lock_is_an_error)
{
    hf_lockable none = {NULL, HF_LOCKABLE_NONE};
    hf_lockable unknown = {&none, HF_LOCKABLE_KINDS};
    hf_lockable negative = {&none, -1};
    assert_error(hf_lockable_lock(none), -EINVAL);
    assert_error(hf_lockable_lock(unknown), -EINVAL);
    assert_error(hf_lockable_unlock(negative), -EINVAL);
    assert_error(hf_lockable_consistent(unknown), -EINVAL);
    assert_error(hf_lockable_lock(hf_lockable_make(NULL, HF_LOCKABLE_MUTEX)), -EINVAL);
}

/* ---- guards ------------------------------------------------------------------------------ */

static void expect_held(bool held)
{
    assert_error(hf_mutex_trylock(&props->mutex), held ? -EDEADLK : 0);
    if (!held) {
        assert_ok(hf_mutex_unlock(&props->mutex));
    }
}

static int leave_early(bool early)
{
    hf_guard(guard, &props->mutex);
    assert_ok(guard.error);
    expect_held(true);
    if (early) {
        return 1;
    }
    return 2;
}

TEST(a_guard_unlocks_wherever_its_scope_is_left)
{
    set_stage(64 * KIB);
    assert_int_equal(leave_early(true), 1);
    expect_held(false);
    assert_int_equal(leave_early(false), 2);
    expect_held(false);
    clear_stage();
}

TEST(a_guard_is_ended_early_and_as_often_as_one_likes)
{
    set_stage(64 * KIB);
    {
        hf_guard(guard, &props->mutex);
        assert_ok(guard.error);
        assert_ok(hf_guard_unlock(&guard));
        expect_held(false);
        assert_ok(hf_guard_unlock(&guard));
        assert_ok(hf_mutex_lock(&props->mutex)); /* not the guard's to unlock */
    }
    expect_held(true);
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

TEST(a_guard_that_got_nothing_unlocks_nothing)
{
    set_stage(64 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    {
        hf_guard(guard, &props->mutex);
        assert_error(guard.error, -EDEADLK);
    }
    expect_held(true);
    {
        hf_guard_timed(guard, &props->more[0], 0);
        assert_ok(guard.error);
        hf_guard_timed(again, &props->more[0], 0);
        hf_guard_until(late, &props->more[0], hf_now_ns() + SECONDS(1));
        assert_error(late.error, -EDEADLK);
        assert_error(again.error, -EDEADLK);
    }
    assert_ok(hf_mutex_trylock(&props->more[0]));
    assert_ok(hf_mutex_unlock(&props->more[0]));
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

TEST(a_reader_writer_lock_is_held_either_way)
{
    set_stage(64 * KIB);
    hf_rwlock *lock = (hf_rwlock *)(void *)&props->more[1];
    assert_ok(hf_lockable_lock(hf_lockable_of(lock)));
    assert_error(hf_lockable_trylock(hf_lockable_shared(lock)), -EDEADLK);
    assert_error(hf_lockable_consistent(hf_lockable_of(lock)), -EINVAL);
    assert_ok(hf_lockable_unlock(hf_lockable_of(lock)));
    {
        hf_guard_read(guard, lock);
        assert_ok(guard.error);
        assert_error(hf_lockable_consistent(hf_lockable_shared(lock)), -EPERM);
        assert_error(hf_rwlock_trywrlock(lock), -EDEADLK);
    }
    {
        hf_guard(guard, lock);
        assert_ok(guard.error);
        assert_error(hf_rwlock_tryrdlock(lock), -EDEADLK);
    }
    assert_ok(hf_rwlock_trywrlock(lock));
    assert_ok(hf_rwlock_wrunlock(lock));
    clear_stage();
}

TEST(a_guard_holds_what_the_dead_left)
{
    set_stage(64 * KIB);
    assert_int_equal(kill_and_reap(start_ready(hold, NULL)), -SIGKILL);
    {
        hf_guard(guard, &props->mutex);
        assert_error(guard.error, -EOWNERDEAD);
        assert_ok(hf_mutex_consistent(&props->mutex));
    }
    expect_held(false);
    assert_int_equal(kill_and_reap(start_ready(hold, NULL)), -SIGKILL);
    {
        hf_guard(guard, &props->mutex);
        assert_error(guard.error, -EOWNERDEAD);
    } /* nobody has mended the data */
    {
        hf_guard(guard, &props->mutex);
        assert_error(guard.error, -ENOTRECOVERABLE);
    }
    clear_stage();
}
