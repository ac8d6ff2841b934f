/* SPDX-License-Identifier: MIT */
/* The condition's contract while everybody lives; condition_death_test.c kills. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "holdfast/condition.h"
#include "support/stage.h"
#include "sync/condition_layout.h"

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

static void lock_it(void)
{
    assert_ok(hf_mutex_lock(&props->mutex));
}

static void unlock_it(void)
{
    assert_ok(hf_mutex_unlock(&props->mutex));
}

static bool has_waiters(void)
{
    struct condition *bytes = (struct condition *)(void *)condition;
    return (load_relaxed(&bytes->turn) & CONDITION_WAITERS) != 0;
}

/* Takes one of `counter`, when there is one, and says so. */
static int take_one(void *unused)
{
    (void)unused;
    lock_it();
    say_ready();
    while (props->counter == 0) {
        assert_ok(hf_condition_wait(condition, the_lock()));
    }
    props->counter--;
    (void)fetch_add_relaxed(&props->result, 1);
    unlock_it();
    return 0;
}

/* Asleep on the condition, once it has said that it is there: it lets go of the lock only there. */
static pid_t start_taker(void)
{
    pid_t pid = start_ready(take_one, NULL);
    lock_it();
    unlock_it();
    wait_for_state(pid, 'S');
    return pid;
}

static void add(unsigned count)
{
    lock_it();
    props->counter += count;
    unlock_it();
}

/* ---- waiting and notifying --------------------------------------------------------------- */

TEST(memory_that_is_all_zero_is_a_condition)
{
    static const hf_condition fresh = HF_CONDITION_INIT;
    set_scene();
    assert_memory_equal(condition, &fresh, sizeof fresh);
    assert_ok(hf_condition_notify_one(condition));
    assert_ok(hf_condition_notify_all(condition));
    lock_it();
    assert_error(hf_condition_timedwait(condition, the_lock(), 1), -ETIMEDOUT);
    assert_int_equal(seen_by_another(&props->mutex), -EBUSY); /* and it is held */
    unlock_it();
    clear_stage();
}

TEST(who_waits_lets_go_of_the_lock_and_has_it_afterwards)
{
    set_scene();
    pid_t waiter = start_taker();
    assert_int_equal(seen_by_another(&props->mutex), 0);
    assert_int_equal(wait_child_for(waiter, 200), CHILD_RUNS);
    lock_it();
    props->counter = 1;
    assert_ok(hf_condition_notify_one(condition));
    assert_int_equal(wait_child_for(waiter, 100), CHILD_RUNS); /* not while we hold it */
    unlock_it();
    assert_int_equal(wait_child_for(waiter, 10000), 0);
    assert_int_equal(props->counter, 0);
    clear_stage();
}

TEST(each_notification_lets_one_go_on)
{
    pid_t waiters[3];
    set_scene();
    for (unsigned i = 0; i < 3; i++) {
        waiters[i] = start_taker();
    }
    for (unsigned i = 0; i < 3; i++) {
        add(1);
        assert_ok(hf_condition_notify_one(condition));
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(wait_child_for(waiters[i], 10000), 0);
    }
    clear_stage();
}

TEST(a_notification_of_all_lets_all_go_on)
{
    pid_t waiters[4];
    set_scene();
    for (unsigned i = 0; i < 4; i++) {
        waiters[i] = start_taker();
    }
    add(4);
    assert_ok(hf_condition_notify_all(condition));
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(wait_child_for(waiters[i], 10000), 0);
    }
    clear_stage();
}

TEST(a_notification_before_the_wait_is_not_kept)
{
    set_scene();
    assert_ok(hf_condition_notify_one(condition));
    assert_ok(hf_condition_notify_all(condition));
    lock_it();
    assert_error(hf_condition_timedwait(condition, the_lock(), MILLISECONDS(20)), -ETIMEDOUT);
    unlock_it();
    clear_stage();
}

/* ---- woken, not found out ----------------------------------------------------------------- */

#define ROUNDS 100u
/* Half of what it would take if each wait ended with its slice. */
#define BY_SLICES_MS (INT64_C(45) * ROUNDS)

/* Waits until the counter has come so far, and passes it on. */
static void pass_on(uint64_t when, bool all)
{
    lock_it();
    while (props->counter != when) {
        assert_ok(hf_condition_wait(condition, the_lock()));
    }
    props->counter++;
    assert_ok(all ? hf_condition_notify_all(condition) : hf_condition_notify_one(condition));
    unlock_it();
}

static int answer(void *all)
{
    say_ready();
    for (unsigned i = 0; i < ROUNDS; i++) {
        pass_on(2 * i + 1, *(bool *)all);
    }
    return 0;
}

static void expect_brisk_turns(bool all)
{
    set_scene();
    pid_t other = start_ready(answer, &all);
    int64_t start = now_ms();
    for (unsigned i = 0; i < ROUNDS; i++) {
        pass_on(UINT64_C(2) * i, all);
    }
    assert_int_equal(wait_child_for(other, 20000), 0);
    assert_true(now_ms() - start < BY_SLICES_MS);
    clear_stage();
}

TEST(two_take_turns_without_waiting_for_slices_to_end)
{
    expect_brisk_turns(false);
    expect_brisk_turns(true);
}

/* A bounded buffer of one: producers and consumers share the condition. */
static int produce(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 4 * ROUNDS; i++) {
        lock_it();
        while (props->counter == 1) {
            assert_ok(hf_condition_wait(condition, the_lock()));
        }
        props->counter = 1;
        assert_ok(hf_condition_notify_all(condition));
        unlock_it();
    }
    return 0;
}

static int consume(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 4 * ROUNDS; i++) {
        lock_it();
        while (props->counter == 0) {
            assert_ok(hf_condition_wait(condition, the_lock()));
        }
        props->counter = 0;
        props->own[0]++;
        assert_ok(hf_condition_notify_all(condition));
        unlock_it();
    }
    return 0;
}

static uint32_t word_after_a_wait_in_vain(void)
{
    struct condition *bytes = (struct condition *)(void *)condition;
    assert_error(hf_condition_timedwait(condition, the_lock(), 1000), -ETIMEDOUT);
    return load_relaxed(&bytes->turn);
}

/* One that has come during the notification, and is not asleep yet when it is over, has seen the
   word with the notification counted and WAITERS set. It must not look so once the next waits. */
TEST(what_is_seen_during_a_notification_does_not_come_again)
{
    set_scene();
    lock_it();
    uint32_t before = word_after_a_wait_in_vain();
    assert_true((before & CONDITION_WAITERS) != 0);
    assert_ok(hf_condition_notify_one(condition)); /* nobody is asleep */
    assert_true(word_after_a_wait_in_vain() != before + CONDITION_NEXT);
    unlock_it();
    clear_stage();
}

TEST(several_who_make_and_several_who_take_lose_nothing)
{
    set_scene();
    int64_t start = now_ms();
    pid_t pids[4] = {start_child(produce, NULL), start_child(consume, NULL),
                     start_child(produce, NULL), start_child(consume, NULL)};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(wait_child_for(pids[i], 30000), 0);
    }
    assert_int_equal(props->counter, 0);
    assert_int_equal(props->own[0], 8 * ROUNDS);
    assert_true(now_ms() - start < 8 * BY_SLICES_MS);
    clear_stage();
}

static void *wait_for_ever_in_turn(void *unused)
{
    (void)take_one(NULL);
    return unused;
}

TEST(threads_of_one_process_wait_as_well)
{
    pthread_t threads[3];
    set_scene();
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_ever_in_turn, NULL), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        sleep_ms(2);
        add(1);
        assert_ok(hf_condition_notify_one(condition));
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(props->counter, 0);
    clear_stage();
}

/* ---- time -------------------------------------------------------------------------------- */

/* What is too much, the least of some times: the machine may be busy. */
static int64_t overrun_us(int64_t timeout_us, bool until)
{
    int64_t least = INT64_MAX;
    for (unsigned i = 0; i < 5; i++) {
        int64_t start = (int64_t)now_us();
        assert_error(
            until ? hf_condition_wait_until(condition, the_lock(), hf_now_ns() + timeout_us * 1000)
                  : hf_condition_timedwait(condition, the_lock(), timeout_us * 1000),
            -ETIMEDOUT);
        int64_t took = (int64_t)now_us() - start;
        assert_true(took + 1 >= timeout_us);
        least = took - timeout_us < least ? took - timeout_us : least;
    }
    return least;
}

TEST(a_timed_wait_ends_near_its_time_with_the_lock_held)
{
    static const int64_t timeouts_us[] = {1000, 30000, 120000};
    set_scene();
    lock_it();
    for (size_t i = 0; i < sizeof timeouts_us / sizeof timeouts_us[0]; i++) {
        assert_true(overrun_us(timeouts_us[i], false) < 20000);
        assert_true(overrun_us(timeouts_us[i], true) < 20000);
    }
    assert_error(hf_condition_timedwait(condition, the_lock(), 0), -ETIMEDOUT);
    assert_error(hf_condition_wait_until(condition, the_lock(), hf_now_ns() - 1), -ETIMEDOUT);
    assert_error(hf_condition_timedwait(condition, the_lock(), -2), -EINVAL);
    unlock_it();
    clear_stage();
}

static int hold_for_a_while(void *unused)
{
    (void)unused;
    lock_it();
    sleep_ms(300);
    unlock_it();
    return 0;
}

TEST(the_lock_is_waited_for_however_long_after_the_time_is_over)
{
    set_scene();
    lock_it();
    pid_t holder = start_child(hold_for_a_while, NULL);
    wait_for_state(holder, 'S'); /* for the lock */
    int64_t start = now_ms();
    assert_error(hf_condition_timedwait(condition, the_lock(), MILLISECONDS(100)), -ETIMEDOUT);
    assert_true(now_ms() - start >= 200);
    assert_int_equal(seen_by_another(&props->mutex), -EBUSY);
    unlock_it();
    assert_int_equal(wait_child(holder), 0);
    clear_stage();
}

/* ---- the predicate ----------------------------------------------------------------------- */

static bool there_is_one(void *calls)
{
    ++*(unsigned *)calls;
    assert_error(hf_mutex_trylock(&props->mutex), -EDEADLK);
    return props->counter > 0;
}

static int take_one_by_predicate(void *unused)
{
    unsigned calls = 0;
    (void)unused;
    lock_it();
    say_ready();
    assert_ok(hf_condition_wait_for(condition, the_lock(), there_is_one, &calls, SECONDS(60)));
    assert_true(calls >= 2);
    props->counter--;
    unlock_it();
    return 0;
}

TEST(waiting_for_a_predicate_looks_again_and_again)
{
    set_scene();
    pid_t waiter = start_ready(take_one_by_predicate, NULL);
    wait_for_state(waiter, 'S');
    assert_ok(hf_condition_notify_all(condition)); /* in vain */
    assert_int_equal(wait_child_for(waiter, 200), CHILD_RUNS);
    add(1);
    assert_ok(hf_condition_notify_one(condition));
    assert_int_equal(wait_child_for(waiter, 10000), 0);
    clear_stage();
}

TEST(a_predicate_that_is_true_already_is_not_waited_for)
{
    unsigned calls = 0;
    set_scene();
    lock_it();
    props->counter = 1;
    assert_ok(hf_condition_wait_for(condition, the_lock(), there_is_one, &calls, HF_FOREVER));
    assert_int_equal(calls, 1);
    assert_false(has_waiters());
    unlock_it();
    clear_stage();
}

TEST(a_predicate_that_stays_false_times_out)
{
    unsigned calls = 0;
    set_scene();
    lock_it();
    int64_t start = now_ms();
    assert_error(
        hf_condition_wait_for(condition, the_lock(), there_is_one, &calls, MILLISECONDS(150)),
        -ETIMEDOUT);
    assert_true(now_ms() - start >= 150);
    assert_error(hf_condition_wait_for(condition, the_lock(), there_is_one, &calls, 0), -ETIMEDOUT);
    start = now_ms();
    assert_error(hf_condition_wait_for_until(condition, the_lock(), there_is_one, &calls,
                                             hf_now_ns() + MILLISECONDS(120)),
                 -ETIMEDOUT);
    assert_true(now_ms() - start >= 119);
    assert_error(hf_condition_wait_for(condition, the_lock(), there_is_one, &calls, -2), -EINVAL);
    assert_error(hf_condition_wait_for(condition, the_lock(), NULL, NULL, 0), -EINVAL);
    unlock_it();
    assert_error(hf_condition_wait_for(condition, the_lock(), there_is_one, &calls, 0), -EPERM);
    clear_stage();
}

static bool never(void *unused)
{
    (void)unused;
    return false;
}

_Noreturn static int notify_all_the_time(void *unused)
{
    (void)unused;
    say_ready();
    for (;;) {
        assert_ok(hf_condition_notify_all(condition));
        sleep_ms(1);
    }
}

TEST(notifications_in_vain_do_not_make_the_time_longer)
{
    set_scene();
    pid_t noisy = start_ready(notify_all_the_time, NULL);
    lock_it();
    int64_t start = now_ms();
    assert_error(hf_condition_wait_for(condition, the_lock(), never, NULL, MILLISECONDS(200)),
                 -ETIMEDOUT);
    assert_true(now_ms() - start >= 200 && now_ms() - start < 5000);
    unlock_it();
    assert_int_equal(kill_and_reap(noisy), -SIGKILL);
    clear_stage();
}

/* ---- every lock -------------------------------------------------------------------------- */

static hf_recursive_mutex *recursive(void)
{
    return (hf_recursive_mutex *)(void *)&props->more[1];
}

static int take_one_recursively(void *unused)
{
    (void)unused;
    assert_ok(hf_recursive_mutex_lock(recursive()));
    say_ready();
    while (props->counter == 0) {
        assert_ok(hf_condition_wait(condition, hf_lockable_of(recursive())));
    }
    props->counter--;
    assert_ok(hf_recursive_mutex_unlock(recursive()));
    return 0;
}

TEST(it_works_with_a_recursive_mutex_that_is_held_once)
{
    set_scene();
    pid_t waiter = start_ready(take_one_recursively, NULL);
    assert_ok(hf_recursive_mutex_lock(recursive()));
    assert_ok(hf_recursive_mutex_lock(recursive()));
    assert_error(hf_condition_timedwait(condition, hf_lockable_of(recursive()), 1), -EBUSY);
    props->counter = 1;
    assert_ok(hf_condition_notify_one(condition));
    assert_ok(hf_recursive_mutex_unlock(recursive()));
    assert_error(hf_condition_timedwait(condition, hf_lockable_of(recursive()), 1), -ETIMEDOUT);
    assert_ok(hf_recursive_mutex_unlock(recursive()));
    assert_int_equal(wait_child_for(waiter, 10000), 0);
    clear_stage();
}

static int take_one_as_a_writer(void *unused)
{
    (void)unused;
    assert_ok(hf_rwlock_wrlock(&props->rwlock));
    say_ready();
    while (props->counter == 0) {
        assert_ok(hf_condition_wait(condition, hf_lockable_of(&props->rwlock)));
    }
    props->counter--;
    assert_ok(hf_rwlock_wrunlock(&props->rwlock));
    return 0;
}

/* Readers come in while it waits, and when it goes on there are none. */
TEST(it_works_with_a_reader_writer_lock_that_is_held_exclusively)
{
    set_scene();
    pid_t waiter = start_ready(take_one_as_a_writer, NULL);
    assert_ok(hf_rwlock_wrlock(&props->rwlock));
    props->counter = 1;
    assert_ok(hf_rwlock_downgrade_to_shared(&props->rwlock));
    assert_ok(hf_condition_notify_one(condition));
    assert_int_equal(wait_child_for(waiter, 200), CHILD_RUNS); /* not while we read */
    assert_int_equal(props->counter, 1);
    assert_ok(hf_rwlock_rdunlock(&props->rwlock));
    assert_int_equal(wait_child_for(waiter, 10000), 0);
    assert_int_equal(props->counter, 0);
    clear_stage();
}

static void expect_no_wait(hf_lockable lock)
{
    assert_error(hf_condition_timedwait(condition, lock, 1), -EPERM);
    assert_false(has_waiters());
}

TEST(who_has_a_reader_writer_lock_in_another_way_cannot_wait)
{
    set_scene();
    expect_no_wait(hf_lockable_of(&props->rwlock));
    assert_ok(hf_rwlock_rdlock(&props->rwlock));
    expect_no_wait(hf_lockable_of(&props->rwlock));
    expect_no_wait(hf_lockable_shared(&props->rwlock));
    assert_ok(hf_rwlock_rdunlock(&props->rwlock));
    assert_ok(hf_rwlock_uplock(&props->rwlock));
    expect_no_wait(hf_lockable_of(&props->rwlock));
    assert_ok(hf_rwlock_upgrade(&props->rwlock));
    expect_no_wait(hf_lockable_shared(&props->rwlock));
    assert_error(hf_condition_timedwait(condition, hf_lockable_of(&props->rwlock), 1), -ETIMEDOUT);
    assert_ok(hf_rwlock_wrunlock(&props->rwlock)); /* it is held again */
    clear_stage();
}

TEST(lock_and_condition_may_lie_in_different_segments)
{
    hf_segment *other;
    void *root;
    set_scene();
    assert_ok(hf_segment_create_anonymous(64 * KIB, NULL, &other));
    assert_ok(hf_segment_root(other, sizeof(hf_condition), &root));
    condition = root;
    pid_t waiter = start_taker();
    assert_ok(hf_tx_begin(other)); /* not the lock's */
    add(1);
    assert_ok(hf_condition_notify_one(condition));
    lock_it();
    assert_error(hf_condition_timedwait(condition, the_lock(), 1), -ETIMEDOUT);
    unlock_it();
    assert_ok(hf_tx_commit(other));
    assert_int_equal(wait_child_for(waiter, 10000), 0);
    hf_segment_close(other);
    clear_stage();
}

/* ---- what is refused --------------------------------------------------------------------- */

static void expect_wait(int error)
{
    assert_error(hf_condition_wait(condition, the_lock()), error);
    assert_error(hf_condition_timedwait(condition, the_lock(), SECONDS(10)), error);
    assert_error(hf_condition_wait_until(condition, the_lock(), hf_now_ns() + SECONDS(10)), error);
    assert_error(hf_condition_wait_for(condition, the_lock(), never, NULL, SECONDS(10)), error);
}

TEST(who_does_not_hold_the_lock_cannot_wait)
{
    set_scene();
    expect_wait(-EPERM);
    lock_it();
    hf_lockable other = hf_lockable_of(&props->more[2]);
    assert_error(hf_condition_wait(condition, other), -EPERM);
    unlock_it();
    assert_false(has_waiters());
    clear_stage();
}

TEST(nobody_waits_inside_a_transaction_and_the_lock_stays_held)
{
    set_scene();
    lock_it();
    assert_ok(hf_tx_begin(stage));
    expect_wait(-EBUSY);
    assert_ok(hf_condition_notify_all(condition));
    assert_error(hf_mutex_trylock(&props->mutex), -EDEADLK);
    assert_ok(hf_tx_abort(stage));
    assert_error(hf_condition_timedwait(condition, the_lock(), 1), -ETIMEDOUT);
    unlock_it();
    clear_stage();
}

TEST(what_is_no_lock_is_refused)
{
    hf_mutex outside = HF_MUTEX_INIT;
    hf_lockable unknown = {&props, HF_LOCKABLE_KINDS};
    set_scene();
    assert_error(hf_condition_wait(condition, hf_lockable_make(NULL, HF_LOCKABLE_NONE)), -EINVAL);
    assert_error(hf_condition_wait(condition, hf_lockable_make(NULL, HF_LOCKABLE_MUTEX)), -EINVAL);
    assert_error(hf_condition_wait(condition, unknown), -EINVAL);
    assert_error(hf_condition_wait(condition, hf_lockable_of(&outside)), -EINVAL);
    clear_stage();
}

static void expect_none(hf_condition *none)
{
    assert_error(hf_condition_wait(none, the_lock()), -EINVAL);
    assert_error(hf_condition_notify_one(none), -EINVAL);
    assert_error(hf_condition_notify_all(none), -EINVAL);
    assert_error(hf_condition_fini(none), -EINVAL);
}

TEST(what_is_no_condition_is_refused_and_the_lock_stays_held)
{
    hf_condition outside = HF_CONDITION_INIT;
    set_scene();
    lock_it();
    expect_none(NULL);
    expect_none(&outside);
    uintptr_t address = (uintptr_t)condition + 4;
    expect_none((hf_condition *)address); // NOLINT(performance-no-int-to-ptr)
    memset(condition, 0xa5, sizeof *condition);
    expect_none(condition);
    assert_error(hf_mutex_trylock(&props->mutex), -EDEADLK);
    assert_ok(hf_condition_init(condition));
    assert_error(hf_condition_timedwait(condition, the_lock(), 1), -ETIMEDOUT);
    assert_ok(hf_condition_fini(condition));
    expect_none(condition);
    assert_ok(hf_condition_init(condition));
    assert_ok(hf_condition_notify_one(condition));
    unlock_it();
    clear_stage();
}

/* What is `seen`: whoever begins to wait with that, and is held up before it sleeps, must not find
   it again, whoever else waits on the condition that is made in the place of the first. */
TEST(no_waiter_sleeps_on_when_it_is_ended_and_made_anew_before_it_sleeps)
{
    set_scene();
    struct condition *bytes = (struct condition *)(void *)condition;
    lock_it();
    assert_error(hf_condition_timedwait(condition, the_lock(), 0), -ETIMEDOUT);
    uint32_t seen = load_acquire(&bytes->turn);
    for (unsigned i = 0; i < 3; i++) {
        assert_ok(hf_condition_fini(condition));
        assert_ok(hf_condition_init(condition));
        assert_error(hf_condition_timedwait(condition, the_lock(), 0), -ETIMEDOUT);
        assert_true((load_acquire(&bytes->turn) & CONDITION_WAITERS) != 0);
        assert_int_not_equal(load_acquire(&bytes->turn), seen);
    }
    unlock_it();
    clear_stage();
}

static int wait_until_it_ends(void *unused)
{
    (void)unused;
    lock_it();
    say_ready();
    int error;
    do {
        error = hf_condition_wait(condition, the_lock());
    } while (error == 0);
    unlock_it();
    return -error;
}

TEST(those_who_wait_hear_of_its_end)
{
    set_scene();
    pid_t waiters[2];
    for (unsigned i = 0; i < 2; i++) {
        waiters[i] = start_ready(wait_until_it_ends, NULL);
        lock_it();
        unlock_it();
        wait_for_state(waiters[i], 'S');
    }
    assert_ok(hf_condition_fini(condition));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(wait_child_for(waiters[i], 10000), EINVAL);
    }
    clear_stage();
}

TEST(a_segment_that_is_only_read_has_no_condition_to_use)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    void *root;
    set_scene();
    assert_ok(hf_segment_create(unique_name(name, "condition"), 64 * KIB, NULL, &segment));
    assert_ok(hf_segment_root(segment, sizeof(hf_condition), &root));
    hf_segment_close(segment);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment));
    assert_ok(hf_segment_root(segment, sizeof(hf_condition), &root));
    lock_it();
    assert_error(hf_condition_wait(root, the_lock()), -EACCES);
    assert_error(hf_condition_notify_one(root), -EACCES);
    assert_error(hf_condition_init(root), -EACCES);
    unlock_it();
    hf_segment_close(segment);
    assert_ok(hf_segment_remove(name));
    clear_stage();
}

/* ---- without the system ------------------------------------------------------------------ */

static void notify_without_system(void)
{
    static const long forbidden[] = {SYS_futex, SYS_gettid, SYS_getpid,       SYS_fcntl,
                                     SYS_mmap,  SYS_munmap, SYS_clock_gettime};
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        forbid_syscall(forbidden[i]);
    }
    for (unsigned i = 0; i < 1000; i++) {
        assert_ok(hf_condition_notify_one(condition));
        assert_ok(hf_condition_notify_all(condition));
    }
}

static int notify_nobody(void *unused)
{
    (void)unused;
    assert_ok(hf_condition_notify_one(condition)); /* takes a slot: that asks the system */
    notify_without_system();
    return 0;
}

static int notify_nobody_any_more(void *unused)
{
    (void)unused;
    lock_it();
    assert_error(hf_condition_timedwait(condition, the_lock(), 1), -ETIMEDOUT);
    unlock_it();
    assert_true(has_waiters());
    assert_ok(hf_condition_notify_one(condition)); /* finds that there is nobody */
    notify_without_system();
    return 0;
}

TEST(notifying_nobody_costs_no_system_call)
{
    if (UNDER_ASAN || UNDER_TSAN) {
        SKIP("a sanitizer makes system calls of its own");
    }
    set_scene();
    assert_int_equal(run_child(notify_nobody, NULL), 0);
    assert_int_equal(run_child(notify_nobody_any_more, NULL), 0);
    clear_stage();
}

_Noreturn static int wait_and_die(void *unused)
{
    (void)unused;
    say_ready();
    lock_it();
    (void)hf_condition_wait(condition, the_lock());
    wait_for_death();
}

TEST(whoever_waits_takes_no_processor_time)
{
    set_scene();
    lock_it();
    int64_t before = cpu_ms();
    assert_error(hf_condition_timedwait(condition, the_lock(), MILLISECONDS(600)), -ETIMEDOUT);
    assert_true(cpu_ms() - before < 60);
    unlock_it();
    clear_stage();
}

/* ---- calls inside the wait --------------------------------------------------------------- */

static sigjmp_buf back;
static volatile sig_atomic_t handled;

static void notify_from_handler(int number)
{
    (void)number;
    handled = hf_condition_notify_all(condition) == 0;
}

static void jump_out(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

static void signal_soon(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    struct itimerval once = {.it_value = {.tv_usec = 50000}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &once, NULL), 0);
}

TEST(a_signal_may_end_a_wait_early_with_the_lock_held)
{
    set_scene();
    lock_it();
    signal_soon(notify_from_handler);
    assert_ok(hf_condition_timedwait(condition, the_lock(), SECONDS(60)));
    assert_int_equal(handled, 1);
    unlock_it();
    clear_stage();
}

TEST(who_jumps_out_of_a_wait_does_not_have_the_lock_and_goes_on)
{
    set_scene();
    lock_it();
    if (sigsetjmp(back, 1) == 0) {
        signal_soon(jump_out);
        (void)hf_condition_wait(condition, the_lock());
        fail_msg("nobody has notified");
    }
    assert_int_equal(seen_by_another(&props->mutex), 0);
    assert_error(hf_mutex_unlock(&props->mutex), -EPERM);
    lock_it();
    assert_error(hf_condition_timedwait(condition, the_lock(), 1), -ETIMEDOUT);
    unlock_it();
    clear_stage();
}

TEST(a_stopped_waiter_holds_nobody_up)
{
    set_scene();
    pid_t stopped = start_ready(wait_and_die, NULL);
    wait_for_state(stopped, 'S');
    assert_int_equal(kill(stopped, SIGSTOP), 0);
    wait_for_state(stopped, 'T');
    pid_t waiter = start_taker();
    add(1);
    assert_ok(hf_condition_notify_one(condition));
    assert_int_equal(wait_child_for(waiter, 10000), 0);
    assert_int_equal(kill_and_reap(stopped), -SIGKILL);
    clear_stage();
}
