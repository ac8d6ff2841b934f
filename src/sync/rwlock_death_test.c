/* SPDX-License-Identifier: MIT */
/* The reader-writer lock when who holds it, or waits for it, dies or stops. */
#include <signal.h>
#include <unistd.h>

#include "segment/lock_layout.h"
#include "support/stage.h"

#define L (&props->rwlock)

/* ---- time: as in mutex_death_test.c ------------------------------------------------------- */

#define AT_ONCE_MS 40
#define TRIES      9

/* ---- who holds it ------------------------------------------------------------------------ */

_Noreturn static int read_it(void *lock)
{
    assert_ok(hf_rwlock_rdlock(lock));
    say_ready();
    wait_for_death();
}

_Noreturn static int write_it(void *lock)
{
    assert_ok(hf_rwlock_wrlock(lock));
    say_ready();
    wait_for_death();
}

_Noreturn static int have_it_upgradably(void *lock)
{
    assert_ok(hf_rwlock_uplock(lock));
    say_ready();
    wait_for_death();
}

static int upgrade_it(void *lock)
{
    assert_ok(hf_rwlock_uplock(lock));
    say_ready();
    (void)hf_rwlock_upgrade(lock);
    wait_for_death();
}

static int want_to_write(void *index)
{
    unsigned i = *(unsigned *)index;
    say_ready();
    int result = hf_rwlock_wrlock(L);
    store_release(&props->when_us[i], now_us());
    if (result == -EOWNERDEAD) {
        assert_ok(hf_rwlock_consistent(L));
    }
    if (result == 0 || result == -EOWNERDEAD) {
        assert_ok(hf_rwlock_wrunlock(L));
    }
    return -result;
}

static int want_to_read(void *index)
{
    unsigned i = *(unsigned *)index;
    say_ready();
    int result = hf_rwlock_rdlock(L);
    store_release(&props->when_us[i], now_us());
    if (result == 0 || result == -EOWNERDEAD) {
        assert_ok(hf_rwlock_rdunlock(L));
    }
    return -result;
}

static pid_t start_asleep(int (*run)(void *), void *context)
{
    pid_t pid = start_ready(run, context);
    wait_for_state(pid, 'S');
    return pid;
}

static void leave_it_to(int (*run)(void *), hf_rwlock *lock)
{
    assert_int_equal(kill_and_reap(start_ready(run, lock)), -SIGKILL);
}

/* ---- readers die ------------------------------------------------------------------------- */

TEST(a_dead_reader_is_taken_out_by_each_way_to_write)
{
    set_stage(256 * KIB);
    leave_it_to(read_it, L);
    assert_ok(hf_rwlock_trywrlock(L));
    assert_ok(hf_rwlock_wrunlock(L));
    leave_it_to(read_it, L);
    assert_ok(hf_rwlock_timedwrlock(L, SECONDS(10)));
    assert_ok(hf_rwlock_wrunlock(L));
    leave_it_to(read_it, L);
    leave_it_to(read_it, L);
    assert_ok(hf_rwlock_wrlock(L));
    assert_ok(hf_rwlock_wrunlock(L));
    leave_it_to(read_it, L);
    assert_ok(hf_rwlock_uplock(L));
    assert_ok(hf_rwlock_tryupgrade(L));
    assert_ok(hf_rwlock_wrunlock(L));
    leave_it_to(read_it, L);
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_try_shared_to_exclusive(L));
    assert_ok(hf_rwlock_wrunlock(L));
    clear_stage();
}

TEST(many_dead_readers_do_not_keep_a_try_from_success)
{
    pid_t readers[12];
    set_stage(MIB);
    for (size_t i = 0; i < 12; i++) {
        readers[i] = start_ready(read_it, L);
    }
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(kill_and_reap(readers[i]), -SIGKILL);
    }
    assert_ok(hf_rwlock_trywrlock(L));
    assert_ok(hf_rwlock_wrunlock(L));
    clear_stage();
}

TEST(a_writer_asleep_goes_on_when_the_reader_dies)
{
    uint64_t times[TRIES];
    unsigned index = 0;
    set_stage(256 * KIB);
    for (size_t i = 0; i < TRIES; i++) {
        pid_t readers[3];
        for (size_t r = 0; r < 3; r++) {
            readers[r] = start_ready(read_it, L);
        }
        pid_t writer = start_asleep(want_to_write, &index);
        uint64_t start = now_us();
        for (size_t r = 0; r < 3; r++) {
            assert_int_equal(kill_and_reap(readers[r]), -SIGKILL);
        }
        assert_int_equal(wait_child_for(writer, 10000), 0);
        times[i] = load_acquire(&props->when_us[0]) - start;
    }
    expect_within(times, TRIES, death_limit_ms(AT_ONCE_MS));
    clear_stage();
}

TEST(an_upgrader_asleep_goes_on_when_the_reader_dies)
{
    uint64_t least = UINT64_MAX;
    set_stage(256 * KIB);
    for (size_t i = 0; i < TRIES; i++) {
        pid_t reader = start_ready(read_it, L);
        assert_ok(hf_rwlock_uplock(L));
        assert_error(hf_rwlock_tryupgrade(L), -EBUSY);
        assert_int_equal(kill(reader, SIGKILL), 0);
        uint64_t start = now_us();
        assert_ok(hf_rwlock_timedupgrade(L, SECONDS(10)));
        least = now_us() - start < least ? now_us() - start : least;
        assert_ok(hf_rwlock_wrunlock(L));
        assert_int_equal(wait_child(reader), -SIGKILL);
    }
    assert_true(least < death_limit_ms(AT_ONCE_MS) * 1000);
    clear_stage();
}

TEST(a_stopped_reader_is_alive)
{
    set_stage(256 * KIB);
    pid_t reader = start_ready(read_it, L);
    assert_int_equal(kill(reader, SIGSTOP), 0);
    wait_for_state(reader, 'T');
    assert_error(hf_rwlock_timedwrlock(L, MILLISECONDS(250)), -ETIMEDOUT);
    assert_ok(hf_rwlock_tryrdlock(L));
    assert_ok(hf_rwlock_rdunlock(L));
    assert_int_equal(kill_and_reap(reader), -SIGKILL);
    assert_ok(hf_rwlock_wrlock(L));
    assert_ok(hf_rwlock_wrunlock(L));
    clear_stage();
}

/* ---- the writer dies --------------------------------------------------------------------- */

TEST(a_writers_death_is_told_to_readers_too_until_it_is_mended)
{
    set_stage(256 * KIB);
    leave_it_to(write_it, L);
    assert_error(hf_rwlock_rdlock(L), -EOWNERDEAD);
    assert_error(hf_rwlock_rdlock(L), -EOWNERDEAD); /* once more; it is held */
    assert_error(hf_rwlock_consistent(L), -EPERM);
    unsigned index = 0;
    pid_t writer = start_asleep(want_to_write, &index);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_rdunlock(L));
    assert_int_equal(wait_child_for(writer, 10000), EOWNERDEAD); /* it mends the data */
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_rdunlock(L));
    clear_stage();
}

TEST(a_writers_death_is_told_by_each_way_to_lock)
{
    set_stage(256 * KIB);
    leave_it_to(write_it, L);
    assert_error(hf_rwlock_tryrdlock(L), -EOWNERDEAD);
    assert_error(hf_rwlock_try_shared_to_upgradable(L), -EOWNERDEAD);
    assert_error(hf_rwlock_consistent(L), -EPERM);
    assert_error(hf_rwlock_upgrade(L), -EOWNERDEAD);
    assert_ok(hf_rwlock_downgrade_to_shared(L)); /* unmended, and not given up */
    assert_error(hf_rwlock_try_shared_to_exclusive(L), -EOWNERDEAD);
    assert_ok(hf_rwlock_downgrade_to_upgradable(L));
    assert_ok(hf_rwlock_upunlock(L));
    assert_error(hf_rwlock_tryuplock(L), -EOWNERDEAD);
    assert_ok(hf_rwlock_upunlock(L));
    assert_error(hf_rwlock_trywrlock(L), -EOWNERDEAD);
    assert_ok(hf_rwlock_consistent(L));
    assert_error(hf_rwlock_consistent(L), -EINVAL);
    assert_ok(hf_rwlock_downgrade_to_shared(L));
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_rdunlock(L));
    clear_stage();
}

TEST(unlocking_exclusively_without_mending_gives_the_data_up_for_everyone)
{
    set_stage(256 * KIB);
    leave_it_to(write_it, L);
    assert_error(hf_rwlock_wrlock(L), -EOWNERDEAD);
    assert_ok(hf_rwlock_wrunlock(L));
    assert_error(hf_rwlock_rdlock(L), -ENOTRECOVERABLE);
    assert_error(hf_rwlock_tryrdlock(L), -ENOTRECOVERABLE);
    assert_error(hf_rwlock_uplock(L), -ENOTRECOVERABLE);
    assert_error(hf_rwlock_wrlock(L), -ENOTRECOVERABLE);
    assert_error(hf_rwlock_rdunlock(L), -EPERM);
    assert_ok(hf_rwlock_init(L)); /* a new one for new data */
    assert_ok(hf_rwlock_rdlock(L));
    assert_ok(hf_rwlock_rdunlock(L));
    clear_stage();
}

TEST(readers_and_writers_asleep_go_on_when_the_writer_dies)
{
    uint64_t times[TRIES];
    unsigned indices[4] = {0, 1, 2, 3};
    set_stage(256 * KIB);
    for (size_t i = 0; i < TRIES; i++) {
        pid_t waiters[4];
        pid_t writer = start_ready(write_it, L);
        for (unsigned w = 0; w < 4; w++) {
            waiters[w] = start_asleep(w == 3 ? want_to_write : want_to_read, &indices[w]);
        }
        uint64_t start = now_us();
        assert_int_equal(kill_and_reap(writer), -SIGKILL);
        times[i] = 0;
        for (unsigned w = 0; w < 4; w++) {
            int end = wait_child_for(waiters[w], 10000);
            assert_true(end == EOWNERDEAD || (end == 0 && w != 3));
            uint64_t took = load_acquire(&props->when_us[w]) - start;
            times[i] = took > times[i] ? took : times[i];
        }
    }
    expect_within(times, TRIES, death_limit_ms(AT_ONCE_MS));
    clear_stage();
}

/* ---- who has written nothing dies -------------------------------------------------------- */

TEST(the_death_of_an_upgradable_holder_harms_nobody)
{
    set_stage(256 * KIB);
    leave_it_to(have_it_upgradably, L);
    assert_ok(hf_rwlock_tryuplock(L));
    assert_ok(hf_rwlock_upunlock(L));
    leave_it_to(have_it_upgradably, L);
    assert_ok(hf_rwlock_wrlock(L));
    assert_ok(hf_rwlock_wrunlock(L));
    clear_stage();
}

TEST(the_death_of_an_upgrader_that_waits_lets_readers_in_again)
{
    unsigned index = 0;
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_rdlock(L));
    pid_t upgrader = start_asleep(upgrade_it, L);
    pid_t reader = start_asleep(want_to_read, &index);
    assert_int_equal(kill_and_reap(upgrader), -SIGKILL);
    assert_int_equal(wait_child_for(reader, 10000), 0);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_wrlock(L));
    assert_ok(hf_rwlock_wrunlock(L));
    clear_stage();
}

TEST(the_death_of_a_writer_that_waits_lets_readers_in_again)
{
    unsigned indices[2] = {0, 1};
    set_stage(256 * KIB);
    assert_ok(hf_rwlock_rdlock(L));
    pid_t writer = start_asleep(want_to_write, &indices[0]);
    pid_t reader = start_asleep(want_to_read, &indices[1]);
    assert_int_equal(kill_and_reap(writer), -SIGKILL);
    assert_int_equal(wait_child_for(reader, 10000), 0);
    assert_ok(hf_rwlock_rdunlock(L));
    assert_ok(hf_rwlock_wrlock(L));
    assert_ok(hf_rwlock_wrunlock(L));
    clear_stage();
}

_Noreturn static int write_in_a_transaction(void *lock)
{
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_rwlock_uplock(lock));
    assert_ok(hf_rwlock_upgrade(lock));
    assert_ok(hf_tx_add(stage, props->account, sizeof props->account));
    props->account[0] = 7;
    assert_ok(hf_rwlock_wrunlock(lock));
    say_ready();
    wait_for_death();
}

TEST(what_a_dead_writer_did_in_a_transaction_is_undone_before_anyone_reads)
{
    set_stage(256 * KIB);
    leave_it_to(write_in_a_transaction, L);
    assert_ok(hf_rwlock_rdlock(L));
    assert_int_equal(props->account[0], 0);
    assert_ok(hf_rwlock_rdunlock(L));
    clear_stage();
}

/* ---- at random --------------------------------------------------------------------------- */

/* The words are equal, or somebody died between them and all are told. */
static void look(int told)
{
    uint64_t a = load_relaxed(&props->done[0]);
    uint64_t b = load_relaxed(&props->done[1]);
    assert_true(a == b || (told == -EOWNERDEAD && a == b + 1));
}

static void write_both(int told)
{
    look(told);
    if (told == -EOWNERDEAD) {
        store_relaxed(&props->done[1], load_relaxed(&props->done[0]));
        assert_ok(hf_rwlock_consistent(L));
    }
    store_relaxed(&props->done[0], load_relaxed(&props->done[0]) + 1);
    store_relaxed(&props->done[1], load_relaxed(&props->done[1]) + 1);
}

static bool is_had(int told)
{
    assert_true(told == 0 || told == -EOWNERDEAD || told == -EBUSY || told == -ETIMEDOUT);
    return told == 0 || told == -EOWNERDEAD;
}

static void read_and_perhaps_write(void)
{
    int told = hf_rwlock_rdlock(L);
    assert_true(is_had(told));
    look(told);
    told = hf_rwlock_timed_shared_to_exclusive(L, 50000);
    if (is_had(told)) {
        write_both(told);
        assert_ok(hf_rwlock_wrunlock(L));
    } else {
        assert_ok(hf_rwlock_rdunlock(L));
    }
}

static void upgrade_and_step_down(void)
{
    int told = hf_rwlock_uplock(L);
    assert_true(is_had(told));
    look(told);
    told = hf_rwlock_upgrade(L);
    assert_true(is_had(told));
    write_both(told);
    assert_ok(hf_rwlock_downgrade_to_shared(L));
    look(0);
    assert_ok(hf_rwlock_rdunlock(L));
}

_Noreturn static int work_until_killed(void *unused)
{
    (void)unused;
    for (unsigned i = 0;; i++) {
        if (i % 4 == 0) {
            int told = hf_rwlock_wrlock(L);
            assert_true(is_had(told));
            write_both(told);
            assert_ok(hf_rwlock_wrunlock(L));
        } else if (i % 4 == 1) {
            upgrade_and_step_down();
        } else {
            read_and_perhaps_write();
        }
        (void)fetch_add_release(&props->result, 1);
    }
}

static bool work_goes_on(void *before)
{
    return load_acquire(&props->result) > *(uint32_t *)before + 50;
}

TEST(nothing_is_torn_and_nobody_waits_whoever_is_killed_and_whenever)
{
    pid_t workers[4];
    set_stage(256 * KIB);
    for (size_t i = 0; i < 4; i++) {
        workers[i] = start_child(work_until_killed, NULL);
    }
    for (unsigned kills = 0; kills < 150; kills++) {
        size_t i = (size_t)random_below(4);
        usleep((useconds_t)random_below(3000));
        assert_int_equal(kill_and_reap(workers[i]), -SIGKILL);
        workers[i] = start_child(work_until_killed, NULL);
        if (kills % 25 == 0) {
            uint32_t before = load_acquire(&props->result);
            assert_true(wait_until(work_goes_on, &before, 20000));
        }
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(kill_and_reap(workers[i]), -SIGKILL);
    }
    int told = hf_rwlock_timedwrlock(L, SECONDS(10));
    assert_true(is_had(told));
    look(told);
    clear_stage();
}

/* ---- its end ----------------------------------------------------------------------------- */

static void leave_it_to_the_dead(hf_rwlock *lock, int (*have)(void *lock))
{
    assert_int_equal(kill_and_reap(start_ready(have, lock)), -SIGKILL);
}

TEST(a_lock_that_the_dead_hold_can_be_ended)
{
    set_stage(256 * KIB);
    leave_it_to_the_dead(L, write_it);
    assert_ok(hf_rwlock_fini(L));
    assert_error(hf_rwlock_rdlock(L), -EINVAL);
    assert_ok(hf_rwlock_init(L));
    leave_it_to_the_dead(L, have_it_upgradably);
    leave_it_to_the_dead(L, read_it);
    leave_it_to_the_dead(L, read_it);
    assert_ok(hf_rwlock_fini(L));
    assert_error(hf_rwlock_wrlock(L), -EINVAL);
    assert_ok(hf_rwlock_init(L));
    leave_it_to_the_dead(L, read_it);
    pid_t reader = start_ready(read_it, L);
    assert_error(hf_rwlock_fini(L), -EBUSY); /* one lives */
    assert_int_equal(kill_and_reap(reader), -SIGKILL);
    assert_ok(hf_rwlock_fini(L));
    clear_stage();
}

static int read_and_say(void *lock)
{
    say_ready();
    return -hf_rwlock_rdlock(lock);
}

static int write_and_say(void *lock)
{
    say_ready();
    return -hf_rwlock_wrlock(lock);
}

TEST(who_waits_for_a_lock_that_is_ended_is_told)
{
    int (*const wait[])(void *) = {read_and_say, write_and_say};
    set_stage(256 * KIB);
    for (size_t i = 0; i < sizeof wait / sizeof wait[0]; i++) {
        assert_ok(hf_rwlock_init(L));
        assert_ok(hf_rwlock_wrlock(L));
        pid_t waiter = start_ready(wait[i], L);
        wait_for_state(waiter, 'S');
        assert_int_equal(kill(waiter, SIGSTOP), 0);
        wait_for_state(waiter, 'T');
        assert_ok(hf_rwlock_wrunlock(L));
        assert_ok(hf_rwlock_fini(L));
        assert_int_equal(kill(waiter, SIGCONT), 0);
        assert_int_equal(wait_child_for(waiter, 10000), EINVAL);
    }
    clear_stage();
}
