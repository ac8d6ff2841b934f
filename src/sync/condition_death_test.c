/* SPDX-License-Identifier: MIT */
/* The condition when one who waits, one who notifies, or the lock's owner, dies. */
#include <signal.h>
#include <sys/syscall.h>

#include "holdfast/condition.h"
#include "support/stage.h"

#define TRIES 9

static hf_condition *condition;

static void set_scene(void)
{
    set_stage(256 * KIB);
    condition = (hf_condition *)(void *)&props->more[0];
}

static hf_lockable the_lock(void)
{
    return hf_lockable_of(&props->mutex);
}

/* Locks, whoever had it before. */
static void lock_it(void)
{
    int error = hf_mutex_timedlock(&props->mutex, SECONDS(20));
    assert_ok(error == -EOWNERDEAD ? hf_mutex_consistent(&props->mutex) : error);
}

static void unlock_it(void)
{
    assert_ok(hf_mutex_unlock(&props->mutex));
}

/* Waits once, and goes on until there is one to take; notes when. */
static int take_one(void *index)
{
    lock_it();
    say_ready();
    while (props->counter == 0) {
        int error = hf_condition_wait(condition, the_lock());
        assert_ok(error == -EOWNERDEAD ? hf_mutex_consistent(&props->mutex) : error);
    }
    props->counter--;
    store_release(&props->when_us[*(unsigned *)index], now_us());
    unlock_it();
    return 0;
}

static pid_t start_taker(unsigned index)
{
    pid_t pid = start_ready(take_one, &index);
    lock_it();
    unlock_it();
    wait_for_state(pid, 'S');
    return pid;
}

/* Adds one, notifies one, and says when. */
static uint64_t add_one(void)
{
    lock_it();
    props->counter++;
    unlock_it();
    uint64_t start = now_us();
    assert_ok(hf_condition_notify_one(condition));
    return start;
}

/* ---- waiters die ------------------------------------------------------------------------- */

TEST(a_waiter_that_was_killed_swallows_no_notification)
{
    uint64_t times[TRIES];
    set_scene();
    for (unsigned i = 0; i < TRIES; i++) {
        pid_t victim = start_taker(0);
        pid_t other = start_taker(1);
        assert_int_equal(kill_and_reap(victim), -SIGKILL);
        uint64_t start = add_one();
        assert_int_equal(wait_child_for(other, 15000), 0);
        times[i] = load_acquire(&props->when_us[1]) - start;
    }
    expect_within(times, TRIES, 40); /* it was woken: the dead sleep no more */
    clear_stage();
}

TEST(a_waiter_that_dies_after_it_was_chosen_is_replaced_within_a_slice)
{
    uint64_t times[TRIES];
    set_scene();
    for (unsigned i = 0; i < TRIES; i++) {
        pid_t victim = start_taker(0); /* it came first, so it is chosen */
        pid_t other = start_taker(1);
        lock_it();
        props->counter++;
        uint64_t start = now_us();
        assert_ok(hf_condition_notify_one(condition));
        sleep_ms(5); /* it is awake, and wants the lock */
        assert_int_equal(kill_and_reap(victim), -SIGKILL);
        unlock_it();
        assert_int_equal(wait_child_for(other, 15000), 0);
        times[i] = load_acquire(&props->when_us[1]) - start;
    }
    expect_within(times, TRIES, NOTICED_MS);
    clear_stage();
}

TEST(waiters_that_were_killed_hold_no_notifier_up)
{
    pid_t victims[4];
    uint64_t times[TRIES];
    set_scene();
    for (unsigned i = 0; i < TRIES; i++) {
        for (unsigned v = 0; v < 4; v++) {
            victims[v] = start_taker(v);
        }
        for (unsigned v = 0; v < 4; v++) {
            assert_int_equal(kill_and_reap(victims[v]), -SIGKILL);
        }
        uint64_t start = now_us();
        assert_ok(hf_condition_notify_one(condition));
        assert_ok(hf_condition_notify_all(condition));
        assert_ok(hf_condition_fini(condition));
        assert_ok(hf_condition_init(condition));
        times[i] = now_us() - start;
    }
    expect_within(times, TRIES, 20);
    clear_stage();
}

TEST(a_waiter_that_dies_asleep_leaves_the_lock_free_and_its_data_good)
{
    set_scene();
    assert_int_equal(kill_and_reap(start_taker(0)), -SIGKILL);
    assert_ok(hf_mutex_trylock(&props->mutex));
    unlock_it();
    clear_stage();
}

/* ---- notifiers die ----------------------------------------------------------------------- */

static int die_in_the_wake(void *all)
{
    lock_it();
    props->counter = 2;
    say_ready();
    forbid_syscall(SYS_futex);
    (void)(*(bool *)all ? hf_condition_notify_all(condition) : hf_condition_notify_one(condition));
    return 1;
}

TEST(a_notifier_that_dies_before_it_wakes_anyone_leaves_nobody_asleep)
{
    uint64_t times[TRIES];
    set_scene();
    for (unsigned i = 0; i < TRIES; i++) {
        bool all = i % 2 == 1;
        pid_t waiters[2] = {start_taker(0), start_taker(1)};
        uint64_t start = now_us();
        assert_int_equal(run_child(die_in_the_wake, &all), -SIGSYS);
        times[i] = 0;
        for (unsigned w = 0; w < 2; w++) {
            assert_int_equal(wait_child_for(waiters[w], 15000), 0);
            uint64_t took = load_acquire(&props->when_us[w]) - start;
            times[i] = took > times[i] ? took : times[i];
        }
    }
    expect_within(times, TRIES, NOTICED_MS);
    clear_stage();
}

/* ---- the lock's owner dies --------------------------------------------------------------- */

_Noreturn static int notify_and_die(void *unused)
{
    (void)unused;
    lock_it();
    assert_ok(hf_condition_notify_all(condition));
    say_ready();
    wait_for_death();
}

static bool never(void *unused)
{
    (void)unused;
    return false;
}

/* Waits, and returns what it was told at last; it has the lock with that. */
static int wait_for_bad_news(void *by_predicate)
{
    lock_it();
    say_ready();
    int error;
    do {
        error = *(bool *)by_predicate
                    ? hf_condition_wait_for(condition, the_lock(), never, NULL, SECONDS(20))
                    : hf_condition_timedwait(condition, the_lock(), SECONDS(20));
    } while (error == 0);
    if (error == -EOWNERDEAD) {
        assert_error(hf_mutex_trylock(&props->mutex), -EDEADLK);
        assert_ok(hf_mutex_consistent(&props->mutex));
        unlock_it();
    } else {
        assert_error(hf_mutex_unlock(&props->mutex), -EPERM);
    }
    return -error;
}

static pid_t start_listener(bool by_predicate)
{
    pid_t pid = start_ready(wait_for_bad_news, &by_predicate);
    lock_it();
    unlock_it();
    wait_for_state(pid, 'S');
    return pid;
}

TEST(who_waits_hears_that_the_locks_owner_died_and_holds_the_lock)
{
    set_scene();
    for (unsigned i = 0; i < 4; i++) {
        pid_t waiter = start_listener(i % 2 == 1);
        pid_t victim = start_ready(notify_and_die, NULL);
        assert_int_equal(wait_child_for(waiter, 50), CHILD_RUNS);
        assert_int_equal(kill_and_reap(victim), -SIGKILL);
        assert_int_equal(wait_child_for(waiter, 15000), EOWNERDEAD);
        assert_int_equal(seen_by_another(&props->mutex), 0);
    }
    clear_stage();
}

TEST(who_waits_hears_that_the_data_was_given_up_and_does_not_hold_the_lock)
{
    set_scene();
    for (unsigned i = 0; i < 2; i++) {
        pid_t waiter = start_listener(i % 2 == 1);
        pid_t victim = start_ready(notify_and_die, NULL);
        assert_int_equal(kill(waiter, SIGSTOP), 0);
        wait_for_state(waiter, 'T');
        assert_int_equal(kill_and_reap(victim), -SIGKILL);
        int error = hf_mutex_lock(&props->mutex);
        assert_error(error, -EOWNERDEAD);
        unlock_it(); /* unmended */
        assert_int_equal(kill(waiter, SIGCONT), 0);
        assert_int_equal(wait_child_for(waiter, 15000), ENOTRECOVERABLE);
        assert_ok(hf_mutex_init(&props->mutex));
    }
    clear_stage();
}

TEST(waiting_with_data_that_is_not_mended_gives_it_up)
{
    set_scene();
    assert_int_equal(kill_and_reap(start_ready(notify_and_die, NULL)), -SIGKILL);
    assert_error(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
    assert_error(hf_condition_timedwait(condition, the_lock(), 1), -ENOTRECOVERABLE);
    assert_error(hf_mutex_unlock(&props->mutex), -EPERM);
    clear_stage();
}

TEST(an_owner_whose_death_nobody_notifies_of_is_heard_of_at_the_deadline)
{
    set_scene();
    lock_it();
    assert_error(hf_condition_timedwait(condition, the_lock(), 1), -ETIMEDOUT);
    unlock_it();
    assert_int_equal(kill_and_reap(start_ready(notify_and_die, NULL)), -SIGKILL);
    assert_error(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(&props->mutex));
    assert_error(hf_condition_timedwait(condition, the_lock(), 1), -ETIMEDOUT);
    unlock_it();
    clear_stage();
}

/* ---- many deaths ------------------------------------------------------------------------- */

enum { TAKERS = 3, KILLS = 60 };

/* Takes what there is, for ever: each time in a transaction, so that the data is always whole. */
_Noreturn static int take_for_ever(void *index)
{
    unsigned i = *(unsigned *)index;
    say_ready();
    for (;;) {
        lock_it();
        while (props->counter == 0) {
            int error = hf_condition_wait(condition, the_lock());
            assert_ok(error == -EOWNERDEAD ? hf_mutex_consistent(&props->mutex) : error);
        }
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_tx_add(stage, &props->counter, sizeof props->counter));
        assert_ok(hf_tx_add(stage, &props->own[i], sizeof props->own[i]));
        props->counter--;
        props->own[i]++;
        assert_ok(hf_tx_commit(stage));
        unlock_it();
    }
}

static bool all_is_taken(void *unused)
{
    (void)unused;
    lock_it();
    bool taken = props->counter == 0;
    unlock_it();
    return taken;
}

TEST(what_is_made_is_taken_whoever_is_killed_and_whenever)
{
    pid_t pids[TAKERS];
    uint64_t made = 0;
    set_scene();
    (void)random_below(2);
    for (unsigned i = 0; i < TAKERS; i++) {
        pids[i] = start_ready(take_for_ever, &i);
    }
    for (unsigned k = 0; k < KILLS; k++) {
        unsigned i = (unsigned)random_below(TAKERS);
        for (unsigned items = (unsigned)random_below(4); items > 0; items--) {
            (void)add_one();
            made++;
        }
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
        (void)add_one();
        made++;
        if (k % 8 == 0) { /* nobody else notifies */
            assert_true(wait_until(all_is_taken, NULL, 15000));
        }
        pids[i] = start_ready(take_for_ever, &i);
    }
    assert_true(wait_until(all_is_taken, NULL, 15000));
    for (unsigned i = 0; i < TAKERS; i++) {
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
    }
    assert_int_equal(props->own[0] + props->own[1] + props->own[2], made);
    clear_stage();
}
