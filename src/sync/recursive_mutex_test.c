/* SPDX-License-Identifier: MIT */
/* The recursive mutex: what it adds to the mutex, whose tests are the core's. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "holdfast/guard.h"
#include "holdfast/recursive_mutex.h"
#include "segment/lock_layout.h"
#include "support/stage.h"

#define DEEP 1000u

static hf_recursive_mutex *mutex;

static void set_scene(void)
{
    set_stage(256 * KIB);
    mutex = (hf_recursive_mutex *)(void *)&props->mutex;
}

static struct lock *bytes_of(hf_recursive_mutex *its)
{
    return (struct lock *)(void *)its;
}

static int try_it(void *unused)
{
    (void)unused;
    int result = hf_recursive_mutex_trylock(mutex);
    if (result == 0) {
        assert_ok(hf_recursive_mutex_unlock(mutex));
    }
    return -result;
}

static int seen(void)
{
    return -run_child(try_it, NULL);
}

static void lock_times(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        assert_ok(hf_recursive_mutex_lock(mutex));
    }
}

static void unlock_times(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        assert_ok(hf_recursive_mutex_unlock(mutex));
    }
}

/* ---- one process ------------------------------------------------------------------------- */

TEST(memory_that_is_all_zero_is_a_free_one)
{
    static const hf_recursive_mutex fresh = HF_RECURSIVE_MUTEX_INIT;
    set_scene();
    assert_memory_equal(mutex, &fresh, sizeof fresh);
    assert_int_equal(seen(), 0);
    lock_times(1);
    assert_int_equal(seen(), -EBUSY);
    unlock_times(1);
    assert_int_equal(seen(), 0);
    clear_stage();
}

TEST(it_is_free_once_it_was_unlocked_as_often_as_locked)
{
    set_scene();
    lock_times(DEEP);
    for (unsigned left = DEEP; left > 0; left--) {
        if (left < 3 || left == DEEP) {
            assert_int_equal(seen(), -EBUSY);
        }
        unlock_times(1);
    }
    assert_int_equal(seen(), 0);
    assert_error(hf_recursive_mutex_unlock(mutex), -EPERM);
    clear_stage();
}

TEST(each_way_to_lock_locks_it_again)
{
    set_scene();
    assert_ok(hf_recursive_mutex_trylock(mutex));
    assert_ok(hf_recursive_mutex_trylock(mutex));
    assert_ok(hf_recursive_mutex_timedlock(mutex, SECONDS(1)));
    assert_ok(hf_recursive_mutex_timedlock(mutex, HF_FOREVER));
    assert_ok(hf_recursive_mutex_lock_until(mutex, hf_now_ns() + SECONDS(1)));
    assert_ok(hf_recursive_mutex_lock(mutex));
    unlock_times(5);
    assert_int_equal(seen(), -EBUSY);
    unlock_times(1);
    assert_int_equal(seen(), 0);
    assert_error(hf_recursive_mutex_timedlock(mutex, -2), -EINVAL);
    clear_stage();
}

TEST(others_are_held_and_let_go_of_in_between)
{
    set_scene();
    hf_recursive_mutex *other = (hf_recursive_mutex *)(void *)&props->more[0];
    lock_times(1);
    assert_ok(hf_recursive_mutex_lock(other));
    lock_times(2); /* not the one taken last */
    assert_ok(hf_mutex_lock(&props->more[1]));
    unlock_times(2);
    assert_ok(hf_recursive_mutex_unlock(other));
    assert_int_equal(seen(), -EBUSY);
    unlock_times(1);
    assert_int_equal(seen(), 0);
    assert_ok(hf_mutex_unlock(&props->more[1]));
    assert_error(hf_recursive_mutex_unlock(mutex), -EPERM);
    clear_stage();
}

TEST(it_cannot_be_had_too_often)
{
    set_scene();
    lock_times(1);
    store_relaxed(&bytes_of(mutex)->depth, UINT32_MAX);
    assert_error(hf_recursive_mutex_lock(mutex), -EOVERFLOW);
    assert_error(hf_recursive_mutex_trylock(mutex), -EOVERFLOW);
    unlock_times(1);
    lock_times(1);
    store_relaxed(&bytes_of(mutex)->depth, 0);
    unlock_times(1);
    assert_int_equal(seen(), 0);
    clear_stage();
}

TEST(init_and_fini_begin_and_end_it)
{
    set_scene();
    memset(mutex, 0xa5, sizeof *mutex);
    assert_error(hf_recursive_mutex_lock(mutex), -EINVAL);
    assert_ok(hf_recursive_mutex_init(mutex));
    lock_times(2);
    assert_error(hf_recursive_mutex_fini(mutex), -EBUSY);
    unlock_times(2);
    assert_ok(hf_recursive_mutex_fini(mutex));
    assert_error(hf_recursive_mutex_lock(mutex), -EINVAL);
    assert_error(hf_recursive_mutex_trylock(mutex), -EINVAL);
    assert_error(hf_recursive_mutex_unlock(mutex), -EINVAL);
    assert_error(hf_recursive_mutex_consistent(mutex), -EINVAL);
    assert_error(hf_recursive_mutex_fini(mutex), -EINVAL);
    assert_ok(hf_recursive_mutex_init(mutex));
    assert_int_equal(seen(), 0);
    clear_stage();
}

static void expect_refused(hf_recursive_mutex *none)
{
    assert_error(hf_recursive_mutex_init(none), -EINVAL);
    assert_error(hf_recursive_mutex_fini(none), -EINVAL);
    assert_error(hf_recursive_mutex_lock(none), -EINVAL);
    assert_error(hf_recursive_mutex_trylock(none), -EINVAL);
    assert_error(hf_recursive_mutex_timedlock(none, 1), -EINVAL);
    assert_error(hf_recursive_mutex_unlock(none), -EINVAL);
    assert_error(hf_recursive_mutex_consistent(none), -EINVAL);
}

TEST(what_lies_in_no_segment_is_refused)
{
    hf_recursive_mutex outside = HF_RECURSIVE_MUTEX_INIT;
    set_scene();
    expect_refused(NULL);
    expect_refused(&outside);
    uintptr_t address = (uintptr_t)mutex + 4;
    expect_refused((hf_recursive_mutex *)address); // NOLINT(performance-no-int-to-ptr)
    clear_stage();
}

/* ---- others ------------------------------------------------------------------------------ */

static int use_as_child(void *unused)
{
    (void)unused;
    assert_error(hf_recursive_mutex_unlock(mutex), -EPERM);
    assert_error(hf_recursive_mutex_trylock(mutex), -EBUSY);
    assert_error(hf_recursive_mutex_timedlock(mutex, MILLISECONDS(5)), -ETIMEDOUT);
    assert_error(hf_recursive_mutex_lock_until(mutex, hf_now_ns() + MILLISECONDS(5)), -ETIMEDOUT);
    assert_error(hf_recursive_mutex_lock_until(mutex, hf_now_ns() - 1), -ETIMEDOUT);
    return 0;
}

TEST(another_waits_for_it_and_cannot_unlock_it)
{
    set_scene();
    lock_times(2);
    assert_int_equal(run_child(use_as_child, NULL), 0);
    unlock_times(2);
    clear_stage();
}

#define TURNS 5000u

static int take_turns(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < TURNS; i++) {
        unsigned times = 1 + i % 3;
        lock_times(times);
        props->counter++;
        unlock_times(times);
    }
    return 0;
}

static void *take_turns_as_thread(void *unused)
{
    (void)take_turns(NULL);
    return unused;
}

TEST(threads_and_processes_exclude_each_other)
{
    pthread_t thread;
    set_scene();
    pid_t children[2] = {start_child(take_turns, NULL), start_child(take_turns, NULL)};
    assert_int_equal(pthread_create(&thread, NULL, take_turns_as_thread, NULL), 0);
    (void)take_turns(NULL);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(wait_child(children[0]), 0);
    assert_int_equal(wait_child(children[1]), 0);
    assert_int_equal(props->counter, UINT64_C(4) * TURNS);
    clear_stage();
}

static int lock_without_system(void *unused)
{
    (void)unused;
    lock_times(1); /* takes a slot: that asks the system */
    unlock_times(1);
    static const long forbidden[] = {SYS_futex, SYS_gettid, SYS_fcntl, SYS_mmap, SYS_clock_gettime};
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        forbid_syscall(forbidden[i]);
    }
    for (unsigned i = 0; i < 100; i++) {
        lock_times(3);
        unlock_times(3);
    }
    return 0;
}

TEST(what_nobody_else_wants_costs_no_system_call)
{
    if (UNDER_ASAN || UNDER_TSAN) {
        SKIP("a sanitizer makes system calls of its own");
    }
    set_scene();
    assert_int_equal(run_child(lock_without_system, NULL), 0);
    clear_stage();
}

/* ---- as any lock ------------------------------------------------------------------------- */

TEST(it_is_lockable_as_any_lock_and_guarded)
{
    set_scene();
    hf_lockable any = hf_lockable_of(mutex);
    assert_int_equal(any.kind, HF_LOCKABLE_RECURSIVE_MUTEX);
    assert_ok(hf_lockable_lock(any));
    assert_ok(hf_lockable_trylock(any));
    assert_ok(hf_lockable_timedlock(any, SECONDS(1)));
    assert_error(hf_lockable_consistent(any), -EINVAL);
    {
        hf_guard(guard, mutex);
        assert_ok(guard.error);
        unlock_times(3);
        assert_int_equal(seen(), -EBUSY);
    }
    assert_int_equal(seen(), 0);
    clear_stage();
}

/* ---- transactions ------------------------------------------------------------------------ */

static void end_transaction(bool commit)
{
    assert_ok(commit ? hf_tx_commit(stage) : hf_tx_abort(stage));
}

static void unlock_in_transaction(bool commit)
{
    assert_ok(hf_tx_begin(stage));
    lock_times(2);
    unlock_times(2);
    assert_error(hf_recursive_mutex_unlock(mutex), -EPERM);
    assert_int_equal(seen(), -EBUSY); /* kept to the end */
    lock_times(2);                    /* and taken back */
    unlock_times(1);
    assert_int_equal(seen(), -EBUSY);
    unlock_times(1);
    end_transaction(commit);
    assert_int_equal(seen(), 0);
    assert_error(hf_recursive_mutex_unlock(mutex), -EPERM);
}

TEST(what_was_unlocked_in_a_transaction_is_free_at_its_end)
{
    set_scene();
    unlock_in_transaction(true);
    unlock_in_transaction(false);
    clear_stage();
}

TEST(what_is_held_at_a_transactions_end_stays_held_as_often)
{
    set_scene();
    lock_times(1);
    assert_ok(hf_tx_begin(stage));
    lock_times(2);
    end_transaction(false);
    unlock_times(2);
    assert_int_equal(seen(), -EBUSY);
    unlock_times(1);
    assert_int_equal(seen(), 0);
    clear_stage();
}

/* ---- deaths ------------------------------------------------------------------------------ */

_Noreturn static int hold_it(void *times)
{
    lock_times(*(unsigned *)times);
    say_ready();
    wait_for_death();
}

static void leave_it_to_the_dead(unsigned times)
{
    assert_int_equal(kill_and_reap(start_ready(hold_it, &times)), -SIGKILL);
}

TEST(whoever_follows_the_dead_has_it_once)
{
    set_scene();
    leave_it_to_the_dead(7);
    assert_error(hf_recursive_mutex_lock(mutex), -EOWNERDEAD);
    assert_int_equal(seen(), -EBUSY);
    assert_ok(hf_recursive_mutex_consistent(mutex));
    unlock_times(1);
    assert_int_equal(seen(), 0);
    leave_it_to_the_dead(7);
    assert_error(hf_recursive_mutex_trylock(mutex), -EOWNERDEAD);
    lock_times(1); /* again, with the data as it is */
    assert_ok(hf_recursive_mutex_consistent(mutex));
    assert_error(hf_recursive_mutex_consistent(mutex), -EINVAL);
    unlock_times(2);
    assert_int_equal(seen(), 0);
    clear_stage();
}

TEST(unlocked_without_mending_it_is_given_up)
{
    set_scene();
    leave_it_to_the_dead(2);
    assert_error(hf_recursive_mutex_lock(mutex), -EOWNERDEAD);
    lock_times(1);
    unlock_times(1);
    assert_int_equal(seen(), -EBUSY);
    unlock_times(1);
    assert_error(hf_recursive_mutex_lock(mutex), -ENOTRECOVERABLE);
    assert_int_equal(seen(), -ENOTRECOVERABLE);
    clear_stage();
}

_Noreturn static int die_in_a_transaction(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    lock_times(3);
    assert_ok(hf_tx_add(stage, &props->counter, sizeof props->counter));
    props->counter = 1;
    unlock_times(3);
    say_ready();
    wait_for_death();
}

TEST(who_dies_in_a_transaction_leaves_it_free_and_the_data_as_it_was)
{
    set_scene();
    assert_int_equal(kill_and_reap(start_ready(die_in_a_transaction, NULL)), -SIGKILL);
    lock_times(1);
    assert_int_equal(props->counter, 0);
    unlock_times(1);
    assert_int_equal(seen(), 0);
    clear_stage();
}

static int wait_for_it(void *unused)
{
    (void)unused;
    say_ready();
    int result = hf_recursive_mutex_lock(mutex);
    assert_ok(result == -EOWNERDEAD ? hf_recursive_mutex_consistent(mutex) : result);
    unlock_times(1);
    return -result;
}

TEST(who_sleeps_is_woken_by_the_last_unlock_and_by_a_death)
{
    set_scene();
    lock_times(2);
    pid_t waiter = start_ready(wait_for_it, NULL);
    wait_for_state(waiter, 'S');
    unlock_times(1);
    assert_int_equal(wait_child_for(waiter, 150), CHILD_RUNS);
    unlock_times(1);
    assert_int_equal(wait_child_for(waiter, 10000), 0);
    unsigned times = 3;
    pid_t holder = start_ready(hold_it, &times);
    waiter = start_ready(wait_for_it, NULL);
    wait_for_state(waiter, 'S');
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    assert_int_equal(wait_child_for(waiter, 10000), EOWNERDEAD);
    clear_stage();
}

/* Counts under the mutex, in a transaction, locking it again and again. */
_Noreturn static int count_for_ever(void *index)
{
    unsigned i = *(unsigned *)index;
    say_ready();
    for (;;) {
        assert_ok(hf_tx_begin(stage));
        lock_times(1);
        assert_ok(hf_tx_add(stage, &props->counter, sizeof props->counter));
        lock_times(1);
        assert_ok(hf_tx_add(stage, &props->own[i], sizeof props->own[i]));
        props->counter++;
        unlock_times(1);
        props->own[i]++;
        unlock_times(1);
        assert_ok(hf_tx_commit(stage));
    }
}

static void expect_exact_count(void)
{
    assert_ok(hf_recursive_mutex_timedlock(mutex, SECONDS(20)));
    assert_int_equal(props->counter, props->own[0] + props->own[1]);
    unlock_times(1);
}

TEST(counts_are_exact_whoever_is_killed_and_whenever)
{
    set_scene();
    pid_t pids[2];
    (void)random_below(2);
    for (unsigned i = 0; i < 2; i++) {
        pids[i] = start_ready(count_for_ever, &i);
    }
    for (unsigned k = 0; k < 60; k++) {
        unsigned i = k % 2;
        sleep_ms((int64_t)random_below(4));
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
        expect_exact_count();
        pids[i] = start_ready(count_for_ever, &i);
    }
    assert_int_equal(kill_and_reap(pids[0]), -SIGKILL);
    assert_int_equal(kill_and_reap(pids[1]), -SIGKILL);
    expect_exact_count();
    clear_stage();
}

/* ---- jumping out ------------------------------------------------------------------------- */

static sigjmp_buf back;

static void jump_out(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

TEST(who_jumped_out_of_waiting_does_not_have_it_and_goes_on)
{
    struct sigaction action = {.sa_handler = jump_out};
    struct itimerval once = {.it_value = {.tv_usec = 20000}};
    unsigned times = 2;
    set_scene();
    pid_t holder = start_ready(hold_it, &times);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    if (sigsetjmp(back, 1) == 0) {
        assert_int_equal(setitimer(ITIMER_REAL, &once, NULL), 0);
        (void)hf_recursive_mutex_lock(mutex);
        fail_msg("a mutex that another has was locked");
    }
    assert_error(hf_recursive_mutex_trylock(mutex), -EDEADLK);
    assert_ok(hf_thread_recover(stage));
    assert_error(hf_recursive_mutex_unlock(mutex), -EPERM);
    assert_error(hf_recursive_mutex_trylock(mutex), -EBUSY);
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    assert_error(hf_recursive_mutex_lock(mutex), -EOWNERDEAD);
    assert_ok(hf_recursive_mutex_consistent(mutex));
    unlock_times(1);
    clear_stage();
}
