/* SPDX-License-Identifier: MIT */
/* The reader-writer lock's contract while everybody lives; rwlock_death_test.c kills. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "segment/lock_layout.h"
#include "segment/slot_layout.h"
#include "support/stage.h"

static const int64_t second = SECONDS(1);

/* ---- what others can have ---------------------------------------------------------------- */

/* Ways to have it, as bits of what another is given at once. */
enum { SHARED = 1, UPGRADABLE = 2, EXCLUSIVE = 4, ALL = 7 };

static int try_all(void *lock)
{
    int can = 0;
    if (hf_rwlock_tryrdlock(lock) == 0) {
        can |= SHARED;
        assert_ok(hf_rwlock_rdunlock(lock));
    }
    if (hf_rwlock_tryuplock(lock) == 0) {
        can |= UPGRADABLE;
        assert_ok(hf_rwlock_upunlock(lock));
    }
    if (hf_rwlock_trywrlock(lock) == 0) {
        can |= EXCLUSIVE;
        assert_ok(hf_rwlock_wrunlock(lock));
    }
    return can;
}

static int for_another(hf_rwlock *lock)
{
    return run_child(try_all, lock);
}

#define L (&props->rwlock)

TEST(memory_that_is_all_zero_is_a_free_lock)
{
    set_stage(256 * KIB);
    assert_int_equal(for_another(L), ALL);
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_wrlock(L));
    assert_ok(hf_rwlock_wrunlock(L));
    assert_ok(hf_rwlock_uplock(L));
    assert_ok(hf_rwlock_upunlock(L));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

TEST(the_static_initialiser_and_init_make_a_free_lock)
{
    static const hf_rwlock fresh = HF_RWLOCK_INIT;
    set_stage(256 * KIB);
    props->rwlock = fresh;
    assert_int_equal(for_another(L), ALL);
    memset(L, 0xa5, sizeof *L);
    assert_error(hf_rwlock_rdlock(L), -EINVAL);
    assert_ok(hf_rwlock_init(L));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

TEST(each_way_to_have_it_lets_others_in_as_it_says)
{
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_rdlock(L));
    assert_int_equal(for_another(L), SHARED | UPGRADABLE);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_uplock(L));
    assert_int_equal(for_another(L), SHARED);
    assert_ok(hf_rwlock_upgrade(L));
    assert_int_equal(for_another(L), 0);
    assert_ok(hf_rwlock_wrunlock(L));
    assert_ok(hf_rwlock_wrlock(L));
    assert_int_equal(for_another(L), 0);
    assert_ok(hf_rwlock_wrunlock(L));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

TEST(each_call_works_in_its_try_timed_and_deadline_form)
{
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_tryrdlock(L));
    assert_ok(hf_rwlock_timedrdlock(L, second));
    assert_ok(hf_rwlock_rdlock_until(L, hf_now_ns() + second));
    for (int i = 0; i < 3; i++) {
        assert_ok(hf_rwlock_rdunlock(L));
    }
    int (*const takers[])(hf_rwlock *) = {hf_rwlock_trywrlock, hf_rwlock_wrlock};
    for (size_t i = 0; i < 2; i++) {
        assert_ok(takers[i](L));
        assert_ok(hf_rwlock_wrunlock(L));
    }
    assert_ok(hf_rwlock_timedwrlock(L, HF_FOREVER));
    assert_ok(hf_rwlock_wrunlock(L));
    assert_ok(hf_rwlock_wrlock_until(L, 0)); /* passed, but nobody has it */
    assert_ok(hf_rwlock_wrunlock(L));
    assert_ok(hf_rwlock_timeduplock(L, second));
    assert_ok(hf_rwlock_tryupgrade(L));
    assert_ok(hf_rwlock_wrunlock(L));
    assert_ok(hf_rwlock_uplock_until(L, hf_now_ns() + second));
    assert_ok(hf_rwlock_upgrade_until(L, hf_now_ns() + second));
    assert_ok(hf_rwlock_wrunlock(L));
    assert_ok(hf_rwlock_tryuplock(L));
    assert_ok(hf_rwlock_timedupgrade(L, second));
    assert_ok(hf_rwlock_wrunlock(L));
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_shared_to_upgradable_until(L, hf_now_ns() + second));
    assert_ok(hf_rwlock_downgrade_to_shared(L));
    assert_ok(hf_rwlock_shared_to_exclusive_until(L, hf_now_ns() + second));
    assert_ok(hf_rwlock_wrunlock(L));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

static int end_it(void *lock)
{
    return -hf_rwlock_fini(lock);
}

TEST(a_held_lock_cannot_be_ended_and_an_ended_one_is_refused)
{
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_rdlock(L));
    assert_error(hf_rwlock_fini(L), -EBUSY);
    assert_int_equal(run_child(end_it, L), EBUSY);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_uplock(L));
    assert_int_equal(run_child(end_it, L), EBUSY);
    assert_ok(hf_rwlock_upunlock(L));
    assert_ok(hf_rwlock_fini(L));
    assert_error(hf_rwlock_rdlock(L), -EINVAL);
    assert_error(hf_rwlock_rdunlock(L), -EINVAL);
    assert_error(hf_rwlock_wrlock(L), -EINVAL);
    assert_error(hf_rwlock_wrunlock(L), -EINVAL);
    assert_error(hf_rwlock_uplock(L), -EINVAL);
    assert_error(hf_rwlock_upunlock(L), -EINVAL);
    assert_error(hf_rwlock_upgrade(L), -EINVAL);
    assert_error(hf_rwlock_downgrade_to_shared(L), -EINVAL);
    assert_error(hf_rwlock_downgrade_to_upgradable(L), -EINVAL);
    assert_error(hf_rwlock_try_shared_to_exclusive(L), -EINVAL);
    assert_error(hf_rwlock_try_shared_to_upgradable(L), -EINVAL);
    assert_error(hf_rwlock_consistent(L), -EINVAL);
    assert_error(hf_rwlock_fini(L), -EINVAL);
    assert_ok(hf_rwlock_init(L));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

TEST(what_is_no_lock_of_ours_is_refused)
{
    hf_rwlock outside = HF_RWLOCK_INIT;
    set_stage(256 * KIB);
    assert_error(hf_rwlock_rdlock(&outside), -EINVAL);
    assert_error(hf_rwlock_rdlock(NULL), -EINVAL);
    assert_error(hf_rwlock_wrlock(NULL), -EINVAL);
    assert_error(hf_rwlock_timedrdlock(L, -2), -EINVAL);
    assert_error(hf_rwlock_timedwrlock(L, -2), -EINVAL);
    assert_error(hf_rwlock_timeduplock(L, -2), -EINVAL);
    assert_error(hf_rwlock_timedupgrade(L, -2), -EINVAL);
    clear_stage();
}

/* ---- one's own --------------------------------------------------------------------------- */

TEST(a_reader_may_read_again_and_a_lock_held_otherwise_is_a_deadlock)
{
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_rdlock(L));
    assert_error(hf_rwlock_wrlock(L), -EDEADLK);
    assert_error(hf_rwlock_trywrlock(L), -EDEADLK);
    assert_error(hf_rwlock_uplock(L), -EDEADLK);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_int_equal(for_another(L), SHARED | UPGRADABLE);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_error(hf_rwlock_rdunlock(L), -EPERM);
    assert_ok(hf_rwlock_wrlock(L));
    assert_error(hf_rwlock_rdlock(L), -EDEADLK);
    assert_error(hf_rwlock_tryrdlock(L), -EDEADLK);
    assert_error(hf_rwlock_wrlock(L), -EDEADLK);
    assert_error(hf_rwlock_uplock(L), -EDEADLK);
    assert_ok(hf_rwlock_wrunlock(L));
    assert_ok(hf_rwlock_uplock(L));
    assert_error(hf_rwlock_uplock(L), -EDEADLK);
    assert_error(hf_rwlock_wrlock(L), -EDEADLK);
    assert_ok(hf_rwlock_rdlock(L)); /* beside itself */
    assert_error(hf_rwlock_upgrade(L), -EDEADLK);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_upgrade(L));
    assert_ok(hf_rwlock_wrunlock(L));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

static int unlock_all_ways(void *lock)
{
    assert_error(hf_rwlock_rdunlock(lock), -EPERM);
    assert_error(hf_rwlock_wrunlock(lock), -EPERM);
    assert_error(hf_rwlock_upunlock(lock), -EPERM);
    assert_error(hf_rwlock_consistent(lock), -EPERM);
    assert_error(hf_rwlock_upgrade(lock), -EPERM);
    assert_error(hf_rwlock_downgrade_to_shared(lock), -EPERM);
    assert_error(hf_rwlock_downgrade_to_upgradable(lock), -EPERM);
    assert_error(hf_rwlock_try_shared_to_exclusive(lock), -EPERM);
    assert_error(hf_rwlock_try_shared_to_upgradable(lock), -EPERM);
    return 0;
}

TEST(what_is_anothers_or_held_otherwise_cannot_be_unlocked)
{
    set_stage(256 * KIB);
    assert_int_equal(run_child(unlock_all_ways, L), 0);
    assert_ok(hf_rwlock_rdlock(L));
    assert_int_equal(run_child(unlock_all_ways, L), 0);
    assert_error(hf_rwlock_wrunlock(L), -EPERM);
    assert_error(hf_rwlock_upunlock(L), -EPERM);
    assert_error(hf_rwlock_upgrade(L), -EPERM);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_uplock(L));
    assert_int_equal(run_child(unlock_all_ways, L), 0);
    assert_error(hf_rwlock_wrunlock(L), -EPERM);
    assert_error(hf_rwlock_rdunlock(L), -EPERM);
    assert_error(hf_rwlock_downgrade_to_upgradable(L), -EPERM);
    assert_ok(hf_rwlock_upgrade(L));
    assert_int_equal(run_child(unlock_all_ways, L), 0);
    assert_error(hf_rwlock_upunlock(L), -EPERM);
    assert_error(hf_rwlock_upgrade(L), -EPERM);
    assert_error(hf_rwlock_consistent(L), -EINVAL);
    assert_ok(hf_rwlock_wrunlock(L));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

TEST(thirty_two_locks_are_read_at_a_time_and_no_more)
{
    set_stage(256 * KIB);
    for (unsigned i = 0; i < HOLDS_MAX; i++) {
        assert_ok(hf_rwlock_rdlock(&props->rwlocks[i]));
    }
    hf_rwlock *another = &props->rwlocks[HOLDS_MAX];
    assert_error(hf_rwlock_rdlock(another), -ENOLCK);
    assert_ok(hf_rwlock_wrlock(another));
    assert_error(hf_rwlock_downgrade_to_shared(another), -ENOLCK);
    assert_int_equal(for_another(another), 0); /* still exclusively */
    assert_ok(hf_rwlock_rdlock(&props->rwlocks[3]));
    assert_ok(hf_rwlock_rdunlock(&props->rwlocks[3]));
    for (unsigned i = 0; i < HOLDS_MAX; i += 2) { /* in another order */
        assert_ok(hf_rwlock_rdunlock(&props->rwlocks[i]));
        assert_int_equal(for_another(&props->rwlocks[i]), ALL);
        assert_int_equal(for_another(&props->rwlocks[i + 1]), SHARED | UPGRADABLE);
    }
    assert_ok(hf_rwlock_downgrade_to_shared(another));
    assert_ok(hf_rwlock_rdunlock(another));
    for (unsigned i = 1; i < HOLDS_MAX; i += 2) {
        assert_ok(hf_rwlock_rdunlock(&props->rwlocks[i]));
    }
    clear_stage();
}

TEST(a_lock_is_read_so_often_at_most_by_one)
{
    set_stage(256 * KIB);
    for (uint64_t i = 0; i < HOLD_COUNT_MAX; i++) {
        assert_ok(hf_rwlock_rdlock(L));
    }
    assert_error(hf_rwlock_rdlock(L), -EOVERFLOW);
    for (uint64_t i = 0; i < HOLD_COUNT_MAX; i++) {
        assert_ok(hf_rwlock_rdunlock(L));
    }
    assert_error(hf_rwlock_rdunlock(L), -EPERM);
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

/* ---- transfers --------------------------------------------------------------------------- */

TEST(a_writer_becomes_upgradable_and_a_reader)
{
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_wrlock(L));
    assert_ok(hf_rwlock_downgrade_to_upgradable(L));
    assert_int_equal(for_another(L), SHARED);
    assert_ok(hf_rwlock_upgrade(L));
    assert_int_equal(for_another(L), 0);
    assert_ok(hf_rwlock_downgrade_to_shared(L));
    assert_int_equal(for_another(L), SHARED | UPGRADABLE);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_uplock(L));
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_downgrade_to_shared(L)); /* a reader twice */
    assert_error(hf_rwlock_try_shared_to_exclusive(L), -EBUSY);
    assert_error(hf_rwlock_try_shared_to_upgradable(L), -EBUSY);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_int_equal(for_another(L), SHARED | UPGRADABLE);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

TEST(a_reader_becomes_upgradable_or_the_writer)
{
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_try_shared_to_upgradable(L));
    assert_int_equal(for_another(L), SHARED);
    assert_error(hf_rwlock_rdunlock(L), -EPERM);
    assert_ok(hf_rwlock_downgrade_to_shared(L));
    assert_ok(hf_rwlock_try_shared_to_exclusive(L));
    assert_int_equal(for_another(L), 0);
    assert_ok(hf_rwlock_downgrade_to_shared(L));
    assert_ok(hf_rwlock_timed_shared_to_upgradable(L, second));
    assert_ok(hf_rwlock_downgrade_to_shared(L));
    assert_ok(hf_rwlock_timed_shared_to_exclusive(L, second));
    assert_error(hf_rwlock_timed_shared_to_exclusive(L, HF_FOREVER), -EINVAL);
    assert_error(hf_rwlock_timed_shared_to_upgradable(L, HF_FOREVER), -EINVAL);
    assert_ok(hf_rwlock_wrunlock(L));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

_Noreturn static int read_for_ever(void *lock)
{
    assert_ok(hf_rwlock_rdlock(lock));
    say_ready();
    wait_for_death();
}

_Noreturn static int have_for_ever(void *lock)
{
    assert_ok(hf_rwlock_uplock(lock));
    say_ready();
    wait_for_death();
}

TEST(a_transfer_in_vain_leaves_the_lock_as_it_was_held)
{
    set_stage(256 * KIB);
    pid_t reader = start_ready(read_for_ever, L);
    assert_error(hf_rwlock_trywrlock(L), -EBUSY);
    assert_error(hf_rwlock_timedwrlock(L, MILLISECONDS(20)), -ETIMEDOUT);
    assert_int_equal(for_another(L), SHARED | UPGRADABLE);
    assert_ok(hf_rwlock_rdlock(L));
    assert_error(hf_rwlock_try_shared_to_exclusive(L), -EBUSY);
    assert_error(hf_rwlock_timed_shared_to_exclusive(L, MILLISECONDS(20)), -ETIMEDOUT);
    assert_error(hf_rwlock_shared_to_exclusive_until(L, hf_now_ns() - 1), -ETIMEDOUT);
    assert_int_equal(for_another(L), SHARED | UPGRADABLE);
    assert_ok(hf_rwlock_try_shared_to_upgradable(L));
    assert_error(hf_rwlock_tryupgrade(L), -EBUSY);
    assert_error(hf_rwlock_timedupgrade(L, MILLISECONDS(20)), -ETIMEDOUT);
    assert_error(hf_rwlock_upgrade_until(L, hf_now_ns() - 1), -ETIMEDOUT);
    assert_int_equal(for_another(L), SHARED);
    assert_ok(hf_rwlock_upunlock(L));
    pid_t owner = start_ready(have_for_ever, L);
    assert_ok(hf_rwlock_rdlock(L));
    assert_error(hf_rwlock_try_shared_to_upgradable(L), -EBUSY);
    assert_error(hf_rwlock_timed_shared_to_upgradable(L, MILLISECONDS(20)), -ETIMEDOUT);
    assert_error(hf_rwlock_shared_to_upgradable_until(L, hf_now_ns() + MILLISECONDS(20)),
                 -ETIMEDOUT);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_int_equal(kill_and_reap(reader), -SIGKILL);
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

/* ---- waiting ----------------------------------------------------------------------------- */

static int write_once(void *lock)
{
    say_ready();
    int error = hf_rwlock_wrlock(lock);
    store_release(&props->when_us[0], now_us());
    return error != 0 ? -error : -hf_rwlock_wrunlock(lock);
}

static int read_once(void *lock)
{
    say_ready();
    int error = hf_rwlock_rdlock(lock);
    store_release(&props->when_us[1], now_us());
    return error != 0 ? -error : -hf_rwlock_rdunlock(lock);
}

static pid_t start_asleep(int (*run)(void *), hf_rwlock *lock)
{
    pid_t pid = start_ready(run, lock);
    wait_for_state(pid, 'S');
    return pid;
}

TEST(a_writer_that_waits_keeps_new_readers_out)
{
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_rdlock(L));
    pid_t writer = start_asleep(write_once, L);
    assert_int_equal(for_another(L), 0);
    assert_ok(hf_rwlock_rdlock(L)); /* who is inside may go further in */
    assert_ok(hf_rwlock_rdunlock(L));
    pid_t reader = start_asleep(read_once, L);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_int_equal(wait_child_for(writer, 10000), 0);
    assert_int_equal(wait_child_for(reader, 10000), 0);
    assert_true(load_acquire(&props->when_us[0]) <= load_acquire(&props->when_us[1]));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

static int read_together(void *unused)
{
    (void)unused;
    say_ready();
    assert_ok(hf_rwlock_rdlock(L));
    (void)fetch_add_release(&props->result, 1);
    wait_until_told();
    return -hf_rwlock_rdunlock(L);
}

static bool all_are_inside(void *count)
{
    return load_acquire(&props->result) == *(uint32_t *)count;
}

/* Several times: each has a slice of 90 ms to lose. */
static void expect_all_inside(uint64_t *least_us)
{
    uint32_t count = 5;
    uint64_t start = now_us();
    assert_true(wait_until(all_are_inside, &count, 10000));
    uint64_t took = now_us() - start;
    *least_us = took < *least_us ? took : *least_us;
}

static void readers_follow(int (*let_go)(hf_rwlock *), int (*end)(hf_rwlock *))
{
    uint64_t least_us = UINT64_MAX;
    set_stage(256 * KIB);
    for (int round = 0; round < 5; round++) {
        pid_t readers[5];
        store_release(&props->result, 0u);
        store_release(&props->told, 0u);
        assert_ok(hf_rwlock_wrlock(L));
        for (size_t i = 0; i < 5; i++) {
            readers[i] = start_ready(read_together, NULL);
            wait_for_state(readers[i], 'S');
        }
        assert_ok(let_go(L));
        expect_all_inside(&least_us);
        tell();
        for (size_t i = 0; i < 5; i++) {
            assert_int_equal(wait_child_for(readers[i], 10000), 0);
        }
        if (end != NULL) {
            assert_ok(end(L));
        }
    }
    assert_true(least_us < 40000);
    clear_stage();
}

TEST(readers_asleep_come_in_together_when_the_writer_leaves)
{
    readers_follow(hf_rwlock_wrunlock, NULL);
}

TEST(readers_asleep_come_in_when_the_writer_becomes_upgradable)
{
    readers_follow(hf_rwlock_downgrade_to_upgradable, hf_rwlock_upunlock);
}

TEST(readers_asleep_come_in_when_the_writer_becomes_a_reader)
{
    readers_follow(hf_rwlock_downgrade_to_shared, hf_rwlock_rdunlock);
}

static int upgrade_for_a_while(void *lock)
{
    assert_ok(hf_rwlock_uplock(lock));
    say_ready();
    assert_error(hf_rwlock_timedupgrade(lock, SECONDS(1)), -ETIMEDOUT);
    wait_until_told();
    return -hf_rwlock_upunlock(lock);
}

TEST(readers_asleep_come_in_when_an_upgrade_comes_to_nothing)
{
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_rdlock(L));
    pid_t upgrader = start_asleep(upgrade_for_a_while, L);
    assert_int_equal(for_another(L), 0);
    pid_t reader = start_asleep(read_once, L);
    assert_int_equal(wait_child_for(reader, 10000), 0);
    assert_int_equal(for_another(L), SHARED);
    tell();
    assert_int_equal(wait_child_for(upgrader, 10000), 0);
    assert_ok(hf_rwlock_rdunlock(L));
    clear_stage();
}

/* What is too much, the least of some times: the machine may be busy. */
static uint64_t overrun_us(int (*call)(hf_rwlock *, int64_t), uint64_t timeout_us)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 5; i++) {
        uint64_t start = now_us();
        assert_error(call(L, (int64_t)timeout_us * 1000), -ETIMEDOUT);
        uint64_t took = now_us() - start;
        assert_true(took + 1 >= timeout_us);
        least = took - timeout_us < least ? took - timeout_us : least;
    }
    return least;
}

_Noreturn static int write_for_ever(void *lock)
{
    assert_ok(hf_rwlock_wrlock(lock));
    say_ready();
    wait_for_death();
}

TEST(timed_calls_end_near_their_time)
{
    set_stage(256 * KIB);
    pid_t reader = start_ready(read_for_ever, L);
    assert_true(overrun_us(hf_rwlock_timedwrlock, 30000) < 20000);
    assert_ok(hf_rwlock_uplock(L));
    assert_true(overrun_us(hf_rwlock_timedupgrade, 120000) < 20000);
    assert_ok(hf_rwlock_upunlock(L));
    assert_int_equal(kill_and_reap(reader), -SIGKILL);
    pid_t writer = start_ready(write_for_ever, L);
    assert_true(overrun_us(hf_rwlock_timedrdlock, 30000) < 20000);
    assert_true(overrun_us(hf_rwlock_timedrdlock, 120000) < 20000);
    assert_true(overrun_us(hf_rwlock_timeduplock, 30000) < 20000);
    assert_int_equal(kill_and_reap(writer), -SIGKILL);
    clear_stage();
}

/* ---- exclusion --------------------------------------------------------------------------- */

#define TURNS 20000u

/* Both words are equal for whoever reads, and whoever writes is alone. */
static void look(void)
{
    assert_int_equal(load_relaxed(&props->done[0]), load_relaxed(&props->done[1]));
}

static void write_both(void)
{
    look();
    store_relaxed(&props->done[0], load_relaxed(&props->done[0]) + 1);
    props->counter++;
    store_relaxed(&props->done[1], load_relaxed(&props->done[1]) + 1);
}

static void upgrade_and_write(void)
{
    assert_ok(hf_rwlock_uplock(L));
    uint64_t seen = props->counter;
    assert_ok(hf_rwlock_upgrade(L));
    assert_int_equal(props->counter, seen); /* nobody has written meanwhile */
    write_both();
    assert_ok(hf_rwlock_downgrade_to_shared(L));
    look();
    assert_true(props->counter > seen);
    assert_ok(hf_rwlock_rdunlock(L));
}

/* Counts what it has written. */
static uint64_t take_turns(void)
{
    uint64_t written = 0;
    for (unsigned i = 0; i < TURNS; i++) {
        if (i % 8 == 0) {
            assert_ok(hf_rwlock_wrlock(L));
            write_both();
            written++;
            assert_ok(hf_rwlock_wrunlock(L));
        } else if (i % 8 == 4) {
            upgrade_and_write();
            written++;
        } else {
            assert_ok(hf_rwlock_rdlock(L));
            look();
            if (i % 8 == 6 && hf_rwlock_try_shared_to_exclusive(L) == 0) {
                write_both();
                written++;
                assert_ok(hf_rwlock_wrunlock(L));
            } else {
                assert_ok(hf_rwlock_rdunlock(L));
            }
        }
    }
    return written;
}

static void *take_turns_as_thread(void *written)
{
    *(uint64_t *)written = take_turns();
    return NULL;
}

static int take_turns_as_process(void *index)
{
    props->own[*(unsigned *)index] = take_turns();
    return 0;
}

TEST(threads_exclude_each_other_and_read_together)
{
    pthread_t threads[4];
    uint64_t written[4];
    set_stage(256 * KIB);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_turns_as_thread, &written[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(props->counter, written[0] + written[1] + written[2] + written[3]);
    look();
    clear_stage();
}

TEST(processes_exclude_each_other_and_read_together)
{
    pid_t children[4];
    uint64_t written = 0;
    set_stage(256 * KIB);
    for (unsigned i = 0; i < 4; i++) {
        children[i] = start_child(take_turns_as_process, &i);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(wait_child(children[i]), 0);
        written += props->own[i];
    }
    assert_int_equal(props->counter, written);
    look();
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

static int read_without_end(void *unused)
{
    (void)unused;
    say_ready();
    while (load_acquire(&props->finish) == 0) {
        assert_ok(hf_rwlock_rdlock(L));
        assert_ok(hf_rwlock_rdunlock(L));
    }
    return 0;
}

TEST(readers_that_never_pause_do_not_keep_a_writer_out)
{
    pid_t readers[4];
    set_stage(256 * KIB);
    for (size_t i = 0; i < 4; i++) {
        readers[i] = start_ready(read_without_end, NULL);
    }
    for (unsigned i = 0; i < 200; i++) {
        assert_ok(hf_rwlock_timedwrlock(L, SECONDS(10)));
        assert_ok(hf_rwlock_wrunlock(L));
    }
    store_release(&props->finish, 1u);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(wait_child_for(readers[i], 20000), 0);
    }
    clear_stage();
}

static int act_as_child(void *unused)
{
    (void)unused;
    assert_error(hf_rwlock_rdunlock(L), -EPERM);
    assert_error(hf_rwlock_trywrlock(L), -EBUSY);
    return 0;
}

TEST(a_forked_child_does_not_read_what_its_parent_reads)
{
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_rdlock(L));
    assert_int_equal(run_child(act_as_child, NULL), 0);
    assert_int_equal(for_another(L), SHARED | UPGRADABLE);
    assert_ok(hf_rwlock_rdunlock(L));
    clear_stage();
}

static void *read_and_end(void *unused)
{
    assert_ok(hf_rwlock_rdlock(L));
    return unused;
}

TEST(a_thread_that_ends_or_leaves_reads_no_more)
{
    pthread_t thread;
    set_stage(256 * KIB);
    assert_int_equal(pthread_create(&thread, NULL, read_and_end, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(for_another(L), ALL);
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_thread_leave(stage));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

/* ---- transactions ------------------------------------------------------------------------ */

TEST(an_exclusive_lock_is_kept_to_the_end_of_the_transaction)
{
    set_stage(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_rwlock_wrlock(L));
    assert_error(hf_rwlock_downgrade_to_shared(L), -EBUSY);
    assert_error(hf_rwlock_downgrade_to_upgradable(L), -EBUSY);
    assert_ok(hf_rwlock_wrunlock(L));
    assert_error(hf_rwlock_wrunlock(L), -EPERM);
    assert_int_equal(for_another(L), 0);
    assert_error(hf_rwlock_uplock(L), -EBUSY); /* only in the same way */
    assert_ok(hf_rwlock_rdlock(L));            /* or to read */
    assert_error(hf_rwlock_wrlock(L), -EDEADLK);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_wrlock(L));
    assert_ok(hf_rwlock_wrunlock(L));
    assert_ok(hf_tx_commit(stage));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

TEST(an_upgradable_lock_is_kept_to_the_end_and_a_shared_one_is_not)
{
    set_stage(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_rdunlock(L));
    assert_int_equal(for_another(L), ALL);
    assert_ok(hf_rwlock_uplock(L));
    assert_ok(hf_rwlock_upunlock(L));
    assert_int_equal(for_another(L), SHARED);
    assert_ok(hf_rwlock_uplock(L));
    assert_ok(hf_rwlock_upgrade(L));
    assert_ok(hf_rwlock_wrunlock(L));
    assert_int_equal(for_another(L), 0);
    assert_ok(hf_tx_abort(stage));
    assert_int_equal(for_another(L), ALL);
    clear_stage();
}

/* ---- without the system ------------------------------------------------------------------ */

static int lock_without_system(void *unused)
{
    (void)unused;
    assert_ok(hf_rwlock_wrlock(L)); /* takes a slot: that asks the system */
    assert_ok(hf_rwlock_wrunlock(L));
    static const long forbidden[] = {SYS_futex, SYS_gettid, SYS_getpid,       SYS_fcntl,
                                     SYS_mmap,  SYS_munmap, SYS_clock_gettime};
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        forbid_syscall(forbidden[i]);
    }
    for (unsigned i = 0; i < 1000; i++) {
        bool good = hf_rwlock_rdlock(L) == 0 && hf_rwlock_rdunlock(L) == 0 &&
                    hf_rwlock_wrlock(L) == 0 && hf_rwlock_downgrade_to_upgradable(L) == 0 &&
                    hf_rwlock_upgrade(L) == 0 && hf_rwlock_downgrade_to_shared(L) == 0 &&
                    hf_rwlock_try_shared_to_exclusive(L) == 0 && hf_rwlock_wrunlock(L) == 0 &&
                    hf_rwlock_uplock(L) == 0 && hf_rwlock_upunlock(L) == 0;
        if (!good) {
            return 1;
        }
    }
    return 0;
}

TEST(a_lock_that_nobody_wants_costs_no_system_call)
{
    if (UNDER_ASAN || UNDER_TSAN) {
        SKIP("a sanitizer makes system calls of its own");
    }
    set_stage(256 * KIB);
    assert_int_equal(run_child(lock_without_system, NULL), 0);
    clear_stage();
}

/* ---- jumping out ------------------------------------------------------------------------- */

static sigjmp_buf back;

static void jump_out(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

static void jump_in_ms(int ms)
{
    struct sigaction action = {.sa_handler = jump_out};
    struct itimerval once = {.it_value = {.tv_usec = ms * 1000}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &once, NULL), 0);
}

static void jump_out_of(int (*call)(hf_rwlock *))
{
    if (sigsetjmp(back, 1) == 0) {
        jump_in_ms(20);
        (void)call(L);
        fail_msg("a lock that another has was had");
    }
    assert_error(hf_rwlock_rdunlock(L), -EDEADLK);
    assert_ok(hf_thread_recover(stage));
}

TEST(a_thread_that_jumped_out_of_waiting_goes_on_once_it_has_said_so)
{
    set_stage(256 * KIB);
    pid_t reader = start_ready(read_for_ever, L);
    jump_out_of(hf_rwlock_wrlock);
    assert_int_equal(for_another(L), SHARED | UPGRADABLE);
    assert_ok(hf_rwlock_uplock(L));
    jump_out_of(hf_rwlock_upgrade);
    assert_int_equal(for_another(L), SHARED);
    assert_ok(hf_rwlock_upunlock(L)); /* it still had that */
    assert_int_equal(kill_and_reap(reader), -SIGKILL);
    pid_t writer = start_ready(write_for_ever, L);
    jump_out_of(hf_rwlock_rdlock);
    assert_error(hf_rwlock_rdunlock(L), -EPERM);
    assert_int_equal(kill_and_reap(writer), -SIGKILL);
    assert_error(hf_rwlock_wrlock(L), -EOWNERDEAD);
    clear_stage();
}

/* ---- damage ------------------------------------------------------------------------------ */

static int use_random_bytes(void *unused)
{
    (void)unused;
    struct lock *lock = (struct lock *)(void *)L;
    uint64_t place = hf_segment_offset(stage, lock).value;
    for (unsigned i = 0; i < 3000; i++) {
        assert_ok(hf_rwlock_init(L));
        store_relaxed(&lock->word, (uint32_t)random_below(UINT64_C(1) << 32));
        store_relaxed(&lock->kind, (uint32_t)random_below(8) == 0);
        store_relaxed(&lock->self, random_below(8) == 0 ? random_below(MIB) : place);
        store_relaxed(&lock->next, random_below(2) == 0 ? random_below(MIB) : place);
        if (hf_rwlock_timedrdlock(L, 1) == 0) {
            assert_ok(hf_rwlock_rdunlock(L));
        }
        int error = hf_rwlock_timedwrlock(L, 1);
        if (error == 0 || error == -EOWNERDEAD) {
            assert_ok(hf_rwlock_wrunlock(L));
        }
        if (hf_rwlock_timeduplock(L, 1) == 0) {
            (void)hf_rwlock_timedupgrade(L, 1);
        }
        (void)hf_thread_leave(stage);
    }
    return 0;
}

TEST(a_lock_of_random_bytes_neither_crashes_nor_hangs)
{
    set_stage(256 * KIB);
    (void)random_below(2);
    pid_t child = start_child(use_random_bytes, NULL);
    assert_int_equal(wait_child_for(child, 30000), 0);
    clear_stage();
}

static int try_the_damaged(void *unused)
{
    (void)unused;
    struct lock *lock = (struct lock *)(void *)L;
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_rdunlock(L));
    store_relaxed(&lock->word, 4095);
    assert_error(hf_rwlock_rdlock(L), -EBADMSG);
    assert_error(hf_rwlock_wrlock(L), -EBADMSG);
    assert_error(hf_rwlock_uplock(L), -EBADMSG);
    return 0;
}

TEST(a_lock_whose_owner_cannot_exist_is_damaged)
{
    set_stage(256 * KIB);
    pid_t child = start_child(try_the_damaged, NULL);
    assert_int_equal(wait_child_for(child, 10000), 0);
    clear_stage();
}
