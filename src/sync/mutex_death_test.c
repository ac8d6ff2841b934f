/* SPDX-License-Identifier: MIT */
/* The mutex when its owner, or one who waits for it, dies or stops. */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "segment/lock_layout.h"
#include "support/stage.h"

/* ---- time -------------------------------------------------------------------------------- */

/* A sleep is a slice of 50 ms, begun anew by each waiter: what is faster was woken. */
#define AT_ONCE_MS 40
#define TRIES      9

/* ---- victims and waiters ----------------------------------------------------------------- */

_Noreturn static int hold_it(void *mutex)
{
    assert_ok(hf_mutex_lock(mutex));
    say_ready();
    wait_for_death();
}

static void leave_it_to_the_dead(hf_mutex *mutex)
{
    assert_int_equal(kill_and_reap(start_ready(hold_it, mutex)), -SIGKILL);
}

/* Waits for the mutex, notes when it came and what was said, and lets it go, mended. */
static int wait_for_it(void *index)
{
    unsigned i = *(unsigned *)index;
    say_ready();
    int result = hf_mutex_lock(&props->mutex);
    store_release(&props->when_us[i], now_us());
    if (result == -EOWNERDEAD) {
        assert_ok(hf_mutex_consistent(&props->mutex));
    }
    if (result == 0 || result == -EOWNERDEAD) {
        assert_ok(hf_mutex_unlock(&props->mutex));
    }
    return -result;
}

static pid_t start_waiter(unsigned index)
{
    pid_t pid = start_ready(wait_for_it, &index);
    wait_for_state(pid, 'S');
    return pid;
}

static uint32_t own_participant(void)
{
    hf_participant me;
    assert_ok(hf_participant_self(stage, &me));
    return (uint32_t)(me.value & 0xfff);
}

/* Notes its slot, and waits for a mutex that nobody will let go of. */
static int wait_for_another(void *mutex)
{
    store_release(&props->result, own_participant());
    say_ready();
    return -hf_mutex_lock(mutex);
}

/* ---- the owner dies ---------------------------------------------------------------------- */

TEST(an_owners_death_is_told_and_the_mutex_is_held)
{
    set_stage(256 * KIB);
    leave_it_to_the_dead(&props->mutex);
    assert_error(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
    assert_int_equal(seen_by_another(&props->mutex), -EBUSY);
    assert_error(hf_mutex_lock(&props->mutex), -EDEADLK);
    assert_ok(hf_mutex_consistent(&props->mutex));
    assert_int_equal(seen_by_another(&props->mutex), -EBUSY);
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_int_equal(seen_by_another(&props->mutex), 0);
    clear_stage();
}

TEST(an_owners_death_is_told_by_each_way_to_lock)
{
    set_stage(256 * KIB);
    leave_it_to_the_dead(&props->more[0]);
    assert_error(hf_mutex_trylock(&props->more[0]), -EOWNERDEAD);
    leave_it_to_the_dead(&props->more[1]);
    assert_error(hf_mutex_timedlock(&props->more[1], SECONDS(10)), -EOWNERDEAD);
    leave_it_to_the_dead(&props->more[2]);
    assert_error(hf_mutex_timedlock(&props->more[2], HF_FOREVER), -EOWNERDEAD);
    for (unsigned i = 0; i < 3; i++) {
        assert_ok(hf_mutex_consistent(&props->more[i]));
        assert_ok(hf_mutex_unlock(&props->more[i]));
    }
    clear_stage();
}

TEST(an_owner_that_dies_before_the_data_is_mended_passes_the_word_on)
{
    set_stage(256 * KIB);
    leave_it_to_the_dead(&props->mutex);
    assert_error(-run_child(wait_for_it, &(unsigned){0}), -EOWNERDEAD);
    assert_int_equal(seen_by_another(&props->mutex), 0);
    leave_it_to_the_dead(&props->mutex);
    for (int i = 0; i < 3; i++) { /* gets -EOWNERDEAD, and exits without a word */
        assert_int_equal(seen_by_another(&props->mutex), -EOWNERDEAD);
    }
    assert_error(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
    clear_stage();
}

TEST(consistent_is_for_the_owner_after_a_death)
{
    set_stage(256 * KIB);
    assert_error(hf_mutex_consistent(&props->mutex), -EPERM);
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_error(hf_mutex_consistent(&props->mutex), -EINVAL);
    assert_ok(hf_mutex_unlock(&props->mutex));
    pid_t holder = start_ready(hold_it, &props->mutex);
    assert_error(hf_mutex_consistent(&props->mutex), -EPERM);
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    assert_error(hf_mutex_consistent(&props->mutex), -EPERM);
    assert_error(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(&props->mutex));
    assert_error(hf_mutex_consistent(&props->mutex), -EINVAL);
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

TEST(unlocking_without_mending_gives_the_data_up_for_everyone)
{
    set_stage(256 * KIB);
    leave_it_to_the_dead(&props->mutex);
    assert_error(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_error(hf_mutex_lock(&props->mutex), -ENOTRECOVERABLE);
    assert_error(hf_mutex_trylock(&props->mutex), -ENOTRECOVERABLE);
    assert_error(hf_mutex_timedlock(&props->mutex, SECONDS(10)), -ENOTRECOVERABLE);
    assert_error(hf_mutex_unlock(&props->mutex), -EPERM);
    assert_error(hf_mutex_consistent(&props->mutex), -EPERM);
    assert_int_equal(seen_by_another(&props->mutex), -ENOTRECOVERABLE);
    assert_ok(hf_mutex_init(&props->mutex)); /* a new one for new data */
    assert_int_equal(seen_by_another(&props->mutex), 0);
    clear_stage();
}

TEST(those_asleep_hear_at_once_that_the_data_was_given_up)
{
    uint64_t times[TRIES];
    set_stage(256 * KIB);
    for (size_t i = 0; i < TRIES; i++) {
        assert_ok(hf_mutex_init(&props->mutex));
        leave_it_to_the_dead(&props->mutex);
        assert_error(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
        pid_t waiters[3] = {start_waiter(0), start_waiter(1), start_waiter(2)};
        uint64_t start = now_us();
        assert_ok(hf_mutex_unlock(&props->mutex));
        times[i] = 0;
        for (unsigned w = 0; w < 3; w++) {
            assert_int_equal(wait_child_for(waiters[w], 10000), ENOTRECOVERABLE);
            uint64_t took = load_acquire(&props->when_us[w]) - start;
            times[i] = took > times[i] ? took : times[i];
        }
    }
    expect_within(times, TRIES, AT_ONCE_MS);
    clear_stage();
}

static int exit_holding(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->mutex));
    return 0;
}

_Noreturn static int crash_holding(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->mutex));
    (void)signal(SIGSEGV, SIG_DFL); /* a sanitizer has a handler */
    (void)raise(SIGSEGV);
    _exit(1);
}

static int execute_holding(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->mutex));
    (void)execlp("true", "true", (char *)NULL);
    return 127;
}

static void *end_holding(void *unused)
{
    assert_ok(hf_mutex_lock(&props->mutex));
    return unused;
}

static void expect_owner_dead(void)
{
    assert_error(hf_mutex_timedlock(&props->mutex, SECONDS(10)), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
}

TEST(an_owner_dies_by_exit_by_a_fault_and_by_exec_as_well)
{
    set_stage(256 * KIB);
    assert_int_equal(run_child(exit_holding, NULL), 0);
    expect_owner_dead();
    assert_int_equal(run_child(crash_holding, NULL), -SIGSEGV);
    expect_owner_dead();
    assert_int_equal(run_child(execute_holding, NULL), 0);
    expect_owner_dead();
    clear_stage();
}

static int execute_for_long(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->mutex));
    say_ready();
    (void)execlp("sleep", "sleep", "60", (char *)NULL);
    return 127;
}

TEST(a_program_that_the_owner_became_does_not_keep_the_mutex)
{
    set_stage(256 * KIB);
    pid_t pid = start_ready(execute_for_long, NULL);
    expect_owner_dead();
    assert_int_equal(kill_and_reap(pid), -SIGKILL);
    clear_stage();
}

TEST(a_thread_that_ends_dies_as_an_owner)
{
    pthread_t thread;
    set_stage(256 * KIB);
    assert_int_equal(pthread_create(&thread, NULL, end_holding, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    expect_owner_dead();
    clear_stage();
}

_Noreturn static int hold_many(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < STAGE_MORE; i++) {
        assert_ok(hf_mutex_lock(&props->more[i]));
    }
    for (unsigned i = 0; i < STAGE_MORE; i += 2) {
        assert_ok(hf_mutex_unlock(&props->more[i]));
    }
    say_ready();
    wait_for_death();
}

TEST(all_that_a_dead_owner_held_is_handed_on_and_nothing_else)
{
    set_stage(256 * KIB);
    assert_int_equal(kill_and_reap(start_ready(hold_many, NULL)), -SIGKILL);
    for (unsigned i = 0; i < STAGE_MORE; i++) {
        assert_error(hf_mutex_trylock(&props->more[i]), i % 2 == 0 ? 0 : -EOWNERDEAD);
    }
    clear_stage();
}

/* ---- who waits for it -------------------------------------------------------------------- */

TEST(one_asleep_gets_the_mutex_of_the_dead)
{
    uint64_t times[TRIES];
    set_stage(256 * KIB);
    for (size_t i = 0; i < TRIES; i++) {
        pid_t holder = start_ready(hold_it, &props->mutex);
        pid_t waiter = start_waiter(0);
        uint64_t start = now_us();
        assert_int_equal(kill(holder, SIGKILL), 0);
        assert_int_equal(wait_child_for(waiter, 10000), EOWNERDEAD);
        times[i] = load_acquire(&props->when_us[0]) - start;
        assert_int_equal(wait_child(holder), -SIGKILL);
    }
    expect_within(times, TRIES, death_limit_ms(AT_ONCE_MS));
    clear_stage();
}

TEST(all_who_are_asleep_get_on_when_the_owner_dies)
{
    enum { WAITERS = 6 };
    uint64_t times[TRIES];
    set_stage(256 * KIB);
    for (size_t i = 0; i < TRIES; i++) {
        pid_t waiters[WAITERS];
        pid_t holder = start_ready(hold_it, &props->mutex);
        for (unsigned w = 0; w < WAITERS; w++) {
            waiters[w] = start_waiter(w);
        }
        uint64_t start = now_us();
        assert_int_equal(kill_and_reap(holder), -SIGKILL);
        int told = 0;
        times[i] = 0;
        for (unsigned w = 0; w < WAITERS; w++) {
            int end = wait_child_for(waiters[w], 10000);
            assert_true(end == 0 || end == EOWNERDEAD);
            told += end == EOWNERDEAD;
            uint64_t took = load_acquire(&props->when_us[w]) - start;
            times[i] = took > times[i] ? took : times[i];
        }
        assert_int_equal(told, 1);
    }
    expect_within(times, TRIES, death_limit_ms(AT_ONCE_MS));
    clear_stage();
}

/* Takes it, mends it, says when, and keeps it. */
_Noreturn static int wait_and_keep(void *index)
{
    unsigned i = *(unsigned *)index;
    say_ready();
    if (hf_mutex_lock(&props->mutex) == -EOWNERDEAD) {
        assert_ok(hf_mutex_consistent(&props->mutex));
    }
    store_release(&props->when_us[i], now_us());
    wait_for_death();
}

/* Both sleep beside us, and one of them is the next owner: whose death the other has to hear of. */
static uint64_t from_the_second_owners_death(void)
{
    pid_t waiters[2];
    assert_ok(hf_mutex_lock(&props->mutex));
    for (unsigned i = 0; i < 2; i++) {
        store_relaxed(&props->when_us[i], 0);
        waiters[i] = start_ready(wait_and_keep, &i);
        wait_for_state(waiters[i], 'S');
    }
    assert_ok(hf_mutex_unlock(&props->mutex));
    while (load_acquire(&props->when_us[0]) == 0 && load_acquire(&props->when_us[1]) == 0) {
        (void)usleep(100);
    }
    unsigned owner = load_acquire(&props->when_us[0]) != 0 ? 0 : 1;
    uint64_t killed = now_us();
    assert_int_equal(kill_and_reap(waiters[owner]), -SIGKILL);
    while (load_acquire(&props->when_us[1 - owner]) == 0) {
        (void)usleep(100);
    }
    assert_int_equal(kill_and_reap(waiters[1 - owner]), -SIGKILL);
    assert_error(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
    return load_acquire(&props->when_us[1 - owner]) - killed;
}

TEST(the_death_of_a_later_owner_is_told_to_who_slept_beside_an_earlier_one)
{
    uint64_t times[TRIES];
    set_stage(256 * KIB);
    for (unsigned i = 0; i < TRIES; i++) {
        times[i] = from_the_second_owners_death();
    }
    expect_within(times, TRIES, death_limit_ms(AT_ONCE_MS));
    clear_stage();
}

TEST(a_waiter_that_is_killed_asleep_takes_no_wake_with_it)
{
    uint64_t times[TRIES];
    set_stage(256 * KIB);
    for (size_t i = 0; i < TRIES; i++) {
        assert_ok(hf_mutex_lock(&props->mutex));
        pid_t victim = start_waiter(0);
        pid_t other = start_waiter(1);
        pid_t last = start_waiter(2);
        assert_int_equal(kill_and_reap(victim), -SIGKILL);
        uint64_t start = now_us();
        assert_ok(hf_mutex_unlock(&props->mutex));
        assert_int_equal(wait_child_for(other, 10000), 0);
        assert_int_equal(wait_child_for(last, 10000), 0);
        uint64_t one = load_acquire(&props->when_us[1]);
        uint64_t two = load_acquire(&props->when_us[2]);
        times[i] = (one > two ? one : two) - start;
    }
    expect_within(times, TRIES, AT_ONCE_MS);
    clear_stage();
}

TEST(a_waiter_that_is_killed_as_it_is_woken_holds_nobody_up)
{
    uint64_t times[TRIES * 4];
    set_stage(256 * KIB);
    for (size_t i = 0; i < TRIES * 4; i++) {
        assert_ok(hf_mutex_lock(&props->mutex));
        pid_t victim = start_waiter(0);
        pid_t other = start_waiter(1);
        uint64_t start = now_us();
        if (i % 2 == 0) {
            assert_ok(hf_mutex_unlock(&props->mutex));
            assert_int_equal(kill(victim, SIGKILL), 0);
        } else {
            assert_int_equal(kill(victim, SIGKILL), 0);
            assert_ok(hf_mutex_unlock(&props->mutex));
        }
        int end = wait_child_for(other, 10000);
        assert_true(end == 0 || end == EOWNERDEAD);
        times[i] = load_acquire(&props->when_us[1]) - start;
        (void)wait_child(victim);
        end = hf_mutex_lock(&props->mutex);
        if (end == -EOWNERDEAD) {
            assert_ok(hf_mutex_consistent(&props->mutex));
        }
        assert_ok(hf_mutex_unlock(&props->mutex));
    }
    expect_within(times, TRIES * 4, NOTICED_MS);
    clear_stage();
}

TEST(a_waiter_that_is_stopped_holds_nobody_up_and_may_die_later)
{
    uint64_t times[TRIES];
    set_stage(256 * KIB);
    for (size_t i = 0; i < TRIES; i++) {
        assert_ok(hf_mutex_lock(&props->mutex));
        pid_t stopped = start_waiter(0);
        pid_t other = start_waiter(1);
        assert_int_equal(kill(stopped, SIGSTOP), 0);
        wait_for_state(stopped, 'T');
        uint64_t start = now_us();
        assert_ok(hf_mutex_unlock(&props->mutex));
        assert_int_equal(wait_child_for(other, 10000), 0);
        times[i] = load_acquire(&props->when_us[1]) - start;
        assert_int_equal(kill_and_reap(stopped), -SIGKILL);
        assert_ok(hf_mutex_timedlock(&props->mutex, SECONDS(10)));
        assert_ok(hf_mutex_unlock(&props->mutex));
    }
    expect_within(times, TRIES, NOTICED_MS);
    clear_stage();
}

TEST(a_stopped_waiter_goes_on_when_it_is_resumed)
{
    set_stage(256 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    pid_t stopped = start_waiter(0);
    assert_int_equal(kill(stopped, SIGSTOP), 0);
    wait_for_state(stopped, 'T');
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_int_equal(kill(stopped, SIGCONT), 0);
    assert_int_equal(wait_child_for(stopped, 200), CHILD_RUNS);
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_int_equal(wait_child_for(stopped, 10000), 0);
    clear_stage();
}

TEST(a_stopped_owner_is_alive)
{
    set_stage(256 * KIB);
    pid_t holder = start_ready(hold_it, &props->mutex);
    assert_int_equal(kill(holder, SIGSTOP), 0);
    wait_for_state(holder, 'T');
    assert_error(hf_mutex_timedlock(&props->mutex, MILLISECONDS(400)), -ETIMEDOUT);
    assert_error(hf_mutex_trylock(&props->mutex), -EBUSY);
    unsigned recovered;
    assert_ok(hf_segment_recover(stage, &recovered));
    assert_int_equal(recovered, 0);
    assert_error(hf_mutex_trylock(&props->mutex), -EBUSY);
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    expect_owner_dead();
    clear_stage();
}

/* ---- dying in the middle of an unlock ---------------------------------------------------- */

static int die_in_the_wake(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->mutex));
    say_ready();
    wait_until_told();
    forbid_syscall(SYS_futex);
    (void)hf_mutex_unlock(&props->mutex);
    return 1;
}

TEST(an_unlocker_that_dies_before_it_wakes_anyone_leaves_nobody_asleep)
{
    set_stage(256 * KIB);
    pid_t unlocker = start_ready(die_in_the_wake, NULL);
    pid_t waiters[3] = {start_waiter(0), start_waiter(1), start_waiter(2)};
    tell();
    assert_int_equal(wait_child(unlocker), -SIGSYS);
    for (unsigned w = 0; w < 3; w++) {
        assert_int_equal(wait_child_for(waiters[w], 10000), 0);
    }
    clear_stage();
}

/* ---- where the kernel cannot tell -------------------------------------------------------- */

static void do_without_the_robust_way(void)
{
    refuse_syscall(SYS_get_robust_list, EPERM);
    refuse_syscall(SYS_set_robust_list, EPERM);
#ifdef SYS_futex_waitv
    refuse_syscall(SYS_futex_waitv, EPERM);
#endif
}

_Noreturn static int hold_without_the_robust_way(void *mutex)
{
    do_without_the_robust_way();
    (void)hold_it(mutex);
    wait_for_death();
}

static int wait_without_the_robust_way(void *index)
{
    do_without_the_robust_way();
    return wait_for_it(index);
}

static void expect_handover(int (*hold)(void *), int (*wait)(void *))
{
    uint64_t times[TRIES];
    unsigned index = 0;
    for (size_t i = 0; i < TRIES; i++) {
        pid_t holder = start_ready(hold, &props->mutex);
        pid_t waiter = start_ready(wait, &index);
        sleep_ms(60 + (int64_t)random_below(60));
        uint64_t start = now_us();
        assert_int_equal(kill_and_reap(holder), -SIGKILL);
        assert_int_equal(wait_child_for(waiter, 10000), EOWNERDEAD);
        times[i] = load_acquire(&props->when_us[0]) - start;
    }
    expect_within(times, TRIES, NOTICED_MS);
}

TEST(a_death_is_found_within_a_tenth_of_a_second_where_nobody_is_told)
{
    set_stage(256 * KIB);
    expect_handover(hold_without_the_robust_way, wait_without_the_robust_way);
    expect_handover(hold_without_the_robust_way, wait_for_it);
    expect_handover(hold_it, wait_without_the_robust_way);
    clear_stage();
}

/* Waits with that timeout again and again, for 3 s at most; returns what it was told at last. */
static int lock_again_and_again(int64_t timeout_ns)
{
    int64_t end = now_ms() + 3000;
    int error;
    do {
        error = hf_mutex_timedlock(&props->mutex, timeout_ns);
    } while ((error == -ETIMEDOUT || error == -EBUSY) && now_ms() < end);
    return error;
}

static void expect_told_with(int64_t timeout_ns)
{
    assert_ok(hf_mutex_init(&props->mutex));
    pid_t holder = start_ready(hold_without_the_robust_way, &props->mutex);
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    assert_error(lock_again_and_again(timeout_ns), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
}

TEST(a_death_that_nobody_is_told_of_is_found_however_short_the_timeouts)
{
    static const int64_t timeouts[] = {1, 300, MILLISECONDS(1), MILLISECONDS(49)};
    set_stage(256 * KIB);
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        expect_told_with(timeouts[i]);
    }
    clear_stage();
}

TEST(a_death_that_nobody_is_told_of_is_found_by_trying)
{
    set_stage(256 * KIB);
    expect_told_with(0);
    clear_stage();
}

static void ignore(int number)
{
    (void)number;
}

TEST(a_death_that_nobody_is_told_of_is_found_by_one_who_is_interrupted_all_the_time)
{
    struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
    struct itimerval every = {.it_interval = {.tv_usec = 10000}, .it_value = {.tv_usec = 10000}};
    struct itimerval never = {.it_interval = {0}};
    set_stage(256 * KIB);
    pid_t holder = start_ready(hold_without_the_robust_way, &props->mutex);
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
    int64_t start = now_ms();
    int error = hf_mutex_timedlock(&props->mutex, SECONDS(8));
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_error(error, -EOWNERDEAD);
    assert_true(now_ms() - start < 4000);
    clear_stage();
}

/* Tries one that a living process holds, and one whose owner has died, by turns. */
static uint64_t try_by_turns(void)
{
    assert_ok(hf_mutex_init(&props->mutex));
    pid_t holder = start_ready(hold_without_the_robust_way, &props->mutex);
    assert_error(hf_mutex_trylock(&props->mutex), -EBUSY);
    uint64_t start = now_us();
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    int error = -EBUSY;
    while (error == -EBUSY && now_us() < start + 3000000) {
        assert_error(hf_mutex_trylock(&props->more[0]), -EBUSY);
        error = hf_mutex_trylock(&props->mutex);
        (void)usleep(5000);
    }
    assert_error(error, -EOWNERDEAD);
    uint64_t took = now_us() - start;
    assert_ok(hf_mutex_consistent(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
    return took;
}

TEST(a_death_that_nobody_is_told_of_is_found_by_trying_several_by_turns)
{
    uint64_t times[TRIES];
    set_stage(256 * KIB);
    pid_t living = start_ready(hold_it, &props->more[0]);
    for (size_t i = 0; i < TRIES; i++) {
        times[i] = try_by_turns();
    }
    expect_within(times, TRIES, NOTICED_MS);
    assert_int_equal(kill_and_reap(living), -SIGKILL);
    clear_stage();
}

static void *lock_and_execute(void *unused)
{
    assert_ok(hf_mutex_lock(&props->mutex));
    say_ready();
    (void)execlp("sleep", "sleep", "60", (char *)NULL);
    return unused;
}

/* The kernel forgets the list of a thread that is not the first. */
static int execute_in_another_thread(void *unused)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, lock_and_execute, unused), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return 127;
}

static int lock_without_descriptors(void *unused)
{
    struct rlimit limit;
    (void)unused;
    (void)own_participant();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return -hf_mutex_timedlock(&props->mutex, SECONDS(3));
}

TEST(a_death_that_nobody_is_told_of_is_found_by_one_who_has_no_descriptors_left)
{
    set_stage(256 * KIB);
    pid_t owner = start_ready(execute_in_another_thread, NULL);
    assert_int_equal(run_child(lock_without_descriptors, NULL), EOWNERDEAD);
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    clear_stage();
}

/* ---- memory that was a mutex ------------------------------------------------------------- */

/* One waits for the mutex, and dies: its slot's number, as a word. */
static uint32_t leave_a_dead_waiter(hf_mutex *mutex)
{
    assert_ok(hf_mutex_lock(mutex));
    pid_t waiter = start_ready(wait_for_another, mutex);
    wait_for_state(waiter, 'S');
    assert_int_equal(kill_and_reap(waiter), -SIGKILL);
    assert_ok(hf_mutex_unlock(mutex));
    return load_acquire(&props->result);
}

/* The mutex is ended then. */
static uint32_t leave_a_dead_waiter_and_end(hf_mutex *mutex)
{
    assert_ok(hf_mutex_init(mutex));
    uint32_t number = leave_a_dead_waiter(mutex);
    assert_ok(hf_mutex_fini(mutex));
    return number;
}

TEST(memory_that_the_dead_waited_for_as_a_mutex_is_left_alone_when_it_is_data)
{
    set_stage(256 * KIB);
    hf_off *link = (hf_off *)(void *)props->bytes;
    unsigned recovered;
    assert_ok(hf_pages_alloc(stage, 4096, link));
    hf_mutex *mutex = hf_segment_at(stage, *link);
    uint32_t number = leave_a_dead_waiter_and_end(mutex);
    assert_ok(hf_pages_free(stage, 4096, link));
    assert_ok(hf_pages_alloc(stage, 4096, link));
    uint32_t *data = hf_segment_at(stage, *link);
    assert_ptr_equal(data, mutex);
    for (size_t i = 0; i < 1024; i++) { /* as if that one held what is here */
        data[i] = number;
    }
    assert_ok(hf_segment_recover(stage, &recovered));
    assert_int_equal(recovered, 1);
    for (size_t i = 0; i < 1024; i++) {
        assert_int_equal(data[i], number);
    }
    clear_stage();
}

TEST(what_an_ended_mutex_becomes_is_left_alone_though_a_dead_one_waited_for_it)
{
    set_stage(256 * KIB);
    unsigned recovered;
    hf_mutex *mutex = &props->mutex;
    uint64_t *data = (uint64_t *)(void *)mutex;
    data[0] = leave_a_dead_waiter_and_end(mutex); /* as if that one held it, and nothing else */
    uint64_t written = data[0];
    assert_ok(hf_segment_recover(stage, &recovered));
    assert_int_equal(recovered, 1);
    assert_int_equal(data[0], written);
    clear_stage();
}

/* Without its end, as where memory that is zero was used as a mutex. */
TEST(a_latch_where_a_mutex_was_is_left_alone_though_a_dead_one_waited_for_that)
{
    set_stage(256 * KIB);
    unsigned recovered;
    uint32_t left;
    hf_latch *latch = (hf_latch *)(void *)&props->mutex;
    uint32_t number = leave_a_dead_waiter(&props->mutex);
    assert_ok(hf_latch_init(latch, number));
    assert_ok(hf_segment_recover(stage, &recovered));
    assert_int_equal(recovered, 1);
    assert_ok(hf_latch_value(latch, &left));
    assert_int_equal(left, number);
    clear_stage();
}

/* ---- the end of a mutex, and a new beginning ----------------------------------------------- */

TEST(a_mutex_that_a_dead_one_holds_can_be_ended)
{
    set_stage(256 * KIB);
    leave_it_to_the_dead(&props->mutex);
    assert_ok(hf_mutex_fini(&props->mutex));
    assert_error(hf_mutex_lock(&props->mutex), -EINVAL);
    leave_it_to_the_dead(&props->more[0]);
    assert_error(hf_mutex_lock(&props->more[0]), -EOWNERDEAD);
    assert_ok(hf_mutex_unlock(&props->more[0]));
    assert_ok(hf_mutex_fini(&props->more[0])); /* given up before */
    assert_error(hf_mutex_lock(&props->more[0]), -EINVAL);
    clear_stage();
}

_Noreturn static int hold_two(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->more[0]));
    assert_ok(hf_mutex_lock(&props->mutex));
    say_ready();
    wait_for_death();
}

TEST(what_else_the_dead_held_is_told_of_when_one_of_its_mutexes_is_made_anew)
{
    set_stage(256 * KIB);
    assert_int_equal(kill_and_reap(start_ready(hold_two, NULL)), -SIGKILL);
    assert_ok(hf_mutex_init(&props->mutex));
    assert_int_equal(seen_by_another(&props->mutex), 0);
    assert_error(hf_mutex_timedlock(&props->more[0], SECONDS(10)), -EOWNERDEAD);
    clear_stage();
}

_Noreturn static int hold_one_and_wait_for_another(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->more[0]));
    say_ready();
    store_release(&props->result, (uint32_t)-hf_mutex_lock(&props->mutex));
    store_release(&props->told, 1u);
    wait_for_death();
}

/* It is stopped meanwhile, so that it is not fast enough to have the mutex before its end. */
TEST(who_waits_for_a_mutex_that_is_ended_is_told_and_what_it_holds_goes_on)
{
    set_stage(256 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    pid_t waiter = start_ready(hold_one_and_wait_for_another, NULL);
    wait_for_state(waiter, 'S');
    assert_int_equal(kill(waiter, SIGSTOP), 0);
    wait_for_state(waiter, 'T');
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_ok(hf_mutex_fini(&props->mutex));
    assert_int_equal(kill(waiter, SIGCONT), 0);
    wait_until_told();
    assert_int_equal(load_acquire(&props->result), EINVAL);
    assert_ok(hf_mutex_init(&props->mutex));
    assert_int_equal(kill_and_reap(waiter), -SIGKILL);
    assert_error(hf_mutex_timedlock(&props->more[0], SECONDS(10)), -EOWNERDEAD);
    clear_stage();
}

/* Whoever has seen that it is one, and has not tried its word yet. */
TEST(the_word_of_an_ended_mutex_is_nobodys_to_take)
{
    set_stage(256 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_ok(hf_mutex_fini(&props->mutex));
    struct lock *lock = (struct lock *)(void *)&props->mutex;
    assert_int_equal(load_acquire(&lock->word), LOCK_GIVEN_UP);
    assert_int_equal(load_acquire(&lock->self), 0);
    clear_stage();
}

/* ---- many deaths ------------------------------------------------------------------------- */

/* Counts under the mutex, in a transaction, what it has done itself and what all have. */
_Noreturn static int count_for_ever(void *index)
{
    unsigned i = *(unsigned *)index;
    say_ready();
    for (;;) {
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_mutex_lock(&props->mutex));
        assert_ok(hf_tx_add(stage, &props->counter, sizeof props->counter));
        assert_ok(hf_tx_add(stage, &props->own[i], sizeof props->own[i]));
        props->counter++;
        props->own[i]++;
        assert_ok(hf_mutex_unlock(&props->mutex));
        assert_ok(hf_tx_commit(stage));
        (void)fetch_add_relaxed(&props->done[i], 1); /* may miss one at each death */
    }
}

enum { COUNTERS = 3 };

static void expect_exact_counts(unsigned kills)
{
    uint64_t own = 0;
    uint64_t done = 0;
    for (unsigned i = 0; i < COUNTERS; i++) {
        own += props->own[i];
        done += load_relaxed(&props->done[i]);
    }
    assert_int_equal(props->counter, own);
    assert_true(own >= done && own <= done + kills + COUNTERS);
}

TEST(counts_are_exact_whoever_is_killed_and_whenever)
{
    enum { KILLS = 150 };
    pid_t pids[COUNTERS];
    set_stage(256 * KIB);
    (void)random_below(2);
    for (unsigned i = 0; i < COUNTERS; i++) {
        pids[i] = start_ready(count_for_ever, &i);
    }
    for (unsigned k = 0; k < KILLS; k++) {
        unsigned i = (unsigned)random_below(COUNTERS);
        (void)usleep((useconds_t)random_below(3000));
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
        assert_ok(hf_mutex_timedlock(&props->mutex, SECONDS(10)));
        expect_exact_counts(k + 1);
        assert_ok(hf_mutex_unlock(&props->mutex));
        pids[i] = start_ready(count_for_ever, &i);
    }
    for (unsigned i = 0; i < COUNTERS; i++) {
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
    }
    assert_ok(hf_mutex_timedlock(&props->mutex, SECONDS(10)));
    expect_exact_counts(KILLS + COUNTERS);
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

/* Takes the mutex without a transaction: the dead must be told of, each time. */
_Noreturn static int fight_for_ever(void *index)
{
    (void)index;
    say_ready();
    for (;;) {
        int result = hf_mutex_lock(&props->mutex);
        if (result == -EOWNERDEAD) {
            props->account[1] = props->account[0];
            assert_ok(hf_mutex_consistent(&props->mutex));
        } else {
            assert_ok(result);
        }
        assert_int_equal(props->account[0], props->account[1]);
        props->account[0]++;
        props->account[1]++;
        assert_ok(hf_mutex_unlock(&props->mutex));
    }
}

TEST(torn_data_is_never_seen_without_being_told)
{
    pid_t pids[3];
    set_stage(256 * KIB);
    (void)random_below(2);
    for (unsigned i = 0; i < 3; i++) {
        pids[i] = start_ready(fight_for_ever, NULL);
    }
    for (unsigned k = 0; k < 150; k++) {
        unsigned i = (unsigned)random_below(3);
        (void)usleep((useconds_t)random_below(3000));
        if (k % 10 == 0) {
            assert_int_equal(kill(pids[i], SIGSTOP), 0);
            wait_for_state(pids[i], 'T');
        }
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL); /* an assertion would be SIGABRT */
        pids[i] = start_ready(fight_for_ever, NULL);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
    }
    int last = hf_mutex_timedlock(&props->mutex, SECONDS(10));
    assert_true(last == 0 || last == -EOWNERDEAD);
    clear_stage();
}

/* ---- what the list of robust locks misses -------------------------------------------------- */

#define MORE_THAN_THE_KERNEL_WALKS 2100

/* Ours comes last on the thread's list, and the kernel does not get that far. */
_Noreturn static int hold_behind_many_robust_locks(void *unused)
{
    (void)unused;
    static pthread_mutex_t locks[MORE_THAN_THE_KERNEL_WALKS];
    pthread_mutexattr_t attributes;
    assert_int_equal(pthread_mutexattr_init(&attributes), 0);
    assert_int_equal(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
    assert_ok(hf_mutex_lock(&props->mutex));
    for (size_t i = 0; i < MORE_THAN_THE_KERNEL_WALKS; i++) {
        assert_int_equal(pthread_mutex_init(&locks[i], &attributes), 0);
        assert_int_equal(pthread_mutex_lock(&locks[i]), 0);
    }
    say_ready();
    wait_for_death();
}

TEST(a_death_that_the_kernel_does_not_tell_is_found_before_the_dead_is_reaped)
{
    if (UNDER_TSAN) {
        SKIP("the sanitizer does not stand so many locks at once");
    }
    set_stage(256 * KIB);
    pid_t owner = start_ready(hold_behind_many_robust_locks, NULL);
    assert_int_equal(kill(owner, SIGKILL), 0);
    assert_error(hf_mutex_timedlock(&props->mutex, SECONDS(10)), -EOWNERDEAD);
    assert_int_equal(wait_child(owner), -SIGKILL);
    clear_stage();
}
