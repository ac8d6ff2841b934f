/* SPDX-License-Identifier: MIT */
/* The barrier's contract while everybody lives; barrier_death_test.c kills. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "segment/barrier_layout.h"
#include "support/stage.h"

#define B (&props->barrier)

static int wait_once(void *unused)
{
    (void)unused;
    say_ready();
    int result = hf_barrier_timedwait(B, SECONDS(30));
    return result < 0 ? -result : 100 + result;
}

static pid_t start_asleep(int (*run)(void *))
{
    pid_t pid = start_ready(run, NULL);
    wait_for_state(pid, 'S');
    return pid;
}

static void make(uint32_t count)
{
    set_stage(256 * KIB);
    assert_ok(hf_barrier_init(B, count));
}

/* ---- alone ------------------------------------------------------------------------------- */

TEST(a_barrier_for_one_is_always_complete)
{
    make(1);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(hf_barrier_wait(B), 1);
        assert_int_equal(hf_barrier_trywait(B), 1);
    }
    assert_ok(hf_barrier_leave(B));
    assert_error(hf_barrier_leave(B), -EPERM);
    assert_error(hf_barrier_wait(B), -EPERM); /* nobody is expected any more */
    assert_ok(hf_barrier_reset(B, 1));
    assert_int_equal(hf_barrier_wait(B), 1);
    clear_stage();
}

TEST(memory_that_was_not_made_a_barrier_is_refused)
{
    set_stage(256 * KIB);
    assert_error(hf_barrier_wait(B), -EINVAL);
    assert_error(hf_barrier_join(B), -EINVAL);
    assert_error(hf_barrier_leave(B), -EINVAL);
    assert_error(hf_barrier_reset(B, 2), -EINVAL);
    assert_error(hf_barrier_fini(B), -EINVAL);
    assert_error(hf_barrier_init(B, 0), -EINVAL);
    assert_error(hf_barrier_init(B, HF_BARRIER_MAX + 1), -EINVAL);
    memset(B, 0xa5, sizeof *B);
    assert_error(hf_barrier_wait(B), -EINVAL);
    assert_ok(hf_barrier_init(B, HF_BARRIER_MAX));
    assert_error(hf_barrier_trywait(B), -EBUSY);
    assert_error(hf_barrier_reset(B, 0), -EINVAL);
    assert_ok(hf_barrier_fini(B));
    assert_error(hf_barrier_trywait(B), -EINVAL);
    clear_stage();
}

static void expect_refused(hf_barrier *barrier)
{
    assert_error(hf_barrier_init(barrier, 2), -EINVAL);
    assert_error(hf_barrier_join(barrier), -EINVAL);
    assert_error(hf_barrier_wait(barrier), -EINVAL);
    assert_error(hf_barrier_leave(barrier), -EINVAL);
    assert_error(hf_barrier_fini(barrier), -EINVAL);
}

TEST(null_misaligned_and_outside_a_segment_are_refused)
{
    hf_barrier outside = {{0, 0, 0, 0}};
    make(1);
    uintptr_t address = (uintptr_t)B + 4;
    expect_refused(NULL);
    expect_refused((hf_barrier *)address); // NOLINT(performance-no-int-to-ptr)
    expect_refused(&outside);
    assert_error(hf_barrier_timedwait(B, -2), -EINVAL);
    clear_stage();
}

TEST(a_thread_is_a_member_of_so_many_and_no_more)
{
    set_stage(256 * KIB);
    for (unsigned i = 0; i < STAGE_BARRIERS; i++) {
        assert_ok(hf_barrier_init(&props->barriers[i], 1));
    }
    for (unsigned i = 0; i < STAGE_BARRIERS - 1; i++) {
        assert_ok(hf_barrier_join(&props->barriers[i]));
        assert_ok(hf_barrier_join(&props->barriers[i])); /* it is already */
    }
    hf_barrier *last = &props->barriers[STAGE_BARRIERS - 1];
    assert_error(hf_barrier_join(last), -ENOLCK);
    assert_error(hf_barrier_wait(last), -ENOLCK);
    assert_ok(hf_barrier_leave(&props->barriers[7]));
    assert_int_equal(hf_barrier_wait(last), 1);
    clear_stage();
}

TEST(a_damaged_state_is_an_error)
{
    make(2);
    struct barrier *bytes = (struct barrier *)(void *)B;
    store_release(&bytes->state,
                  UINT64_C(3) << BARRIER_EXPECTED_SHIFT | UINT64_C(3) << BARRIER_ARRIVED_SHIFT);
    assert_error(hf_barrier_wait(B), -EBADMSG);
    clear_stage();
}

/* ---- together ---------------------------------------------------------------------------- */

TEST(all_wait_for_the_last_and_one_is_told_so)
{
    pid_t children[3];
    make(4);
    for (size_t i = 0; i < 3; i++) {
        children[i] = start_asleep(wait_once);
    }
    assert_int_equal(hf_barrier_wait(B), 1);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(wait_child(children[i]), 100);
    }
    clear_stage();
}

#define WORKERS 4u
#define ROUNDS  2000u

/* Everybody counts; after the barrier all see what all have counted. */
static int count_in_rounds(void *index)
{
    unsigned me = *(unsigned *)index;
    assert_ok(hf_barrier_join(B));
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        props->own[me] = round;
        int result = hf_barrier_wait(B);
        if (result == 1) {
            props->counter++; /* alone until the next one */
        }
        assert_true(result == 0 || result == 1);
        for (unsigned i = 0; i < WORKERS; i++) {
            assert_int_equal(props->own[i], round);
        }
        assert_true(hf_barrier_wait(B) >= 0);
    }
    return -hf_barrier_leave(B);
}

TEST(processes_meet_round_after_round)
{
    pid_t children[WORKERS];
    unsigned index[WORKERS];
    make(WORKERS);
    for (unsigned i = 0; i < WORKERS; i++) {
        index[i] = i;
        children[i] = start_child(count_in_rounds, &index[i]);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(wait_child(children[i]), 0);
    }
    assert_int_equal(props->counter, ROUNDS);
    clear_stage();
}

static void *count_as_thread(void *index)
{
    assert_int_equal(count_in_rounds(index), 0);
    return NULL;
}

TEST(threads_meet_round_after_round)
{
    pthread_t threads[WORKERS];
    unsigned index[WORKERS];
    make(WORKERS);
    for (unsigned i = 0; i < WORKERS; i++) {
        index[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, count_as_thread, &index[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(props->counter, ROUNDS);
    clear_stage();
}

TEST(the_generations_number_may_wrap)
{
    make(2);
    struct barrier *bytes = (struct barrier *)(void *)B;
    uint64_t epoch = load_relaxed(&bytes->state) & BARRIER_EPOCH;
    store_release(&bytes->state, load_relaxed(&bytes->state) | BARRIER_GENERATION);
    pid_t child = start_asleep(wait_once);
    assert_int_equal(hf_barrier_wait(B), 1);
    assert_int_equal(wait_child(child), 100);
    assert_int_equal(load_relaxed(&bytes->state) & BARRIER_GENERATION, 0);
    assert_int_equal(load_relaxed(&bytes->state) & BARRIER_EPOCH, epoch);
    clear_stage();
}

/* Who was to wait with it has left, and has been there alone as often as the lower part counts. */
TEST(a_waiter_that_was_stopped_for_long_does_not_wait_again)
{
    make(2);
    pid_t child = start_asleep(wait_once);
    assert_int_equal(kill(child, SIGSTOP), 0);
    wait_for_state(child, 'T');
    assert_int_equal(hf_barrier_wait(B), 1);
    assert_ok(hf_barrier_leave(B));
    for (uint64_t i = 0; i < BARRIER_GENERATION_LOW; i++) {
        assert_int_equal(hf_barrier_wait(B), 1);
    }
    assert_int_equal(kill(child, SIGCONT), 0);
    assert_int_equal(wait_child(child), 100);
    clear_stage();
}

/* ---- time -------------------------------------------------------------------------------- */

TEST(who_has_waited_long_enough_has_not_come)
{
    make(2);
    assert_error(hf_barrier_trywait(B), -EBUSY);
    uint64_t start = now_us();
    assert_error(hf_barrier_timedwait(B, MILLISECONDS(120)), -ETIMEDOUT);
    uint64_t took = now_us() - start;
    assert_true(took >= 119999 && took < 5000000);
    assert_error(hf_barrier_wait_until(B, hf_now_ns() + MILLISECONDS(5)), -ETIMEDOUT);
    pid_t child = start_asleep(wait_once); /* one, and no more, has come */
    assert_int_equal(hf_barrier_trywait(B), 1);
    assert_int_equal(wait_child(child), 100);
    clear_stage();
}

/* How often it met the other, in so many short waits. */
static uint64_t meet_now_and_then(void)
{
    uint64_t met = 0;
    for (unsigned i = 0; i < 300; i++) {
        int result = hf_barrier_timedwait(B, (int64_t)random_below(300000) + 1);
        assert_true(result >= 0 || result == -ETIMEDOUT);
        met += result >= 0 ? 1 : 0;
    }
    return met;
}

static int meet_as_child(void *unused)
{
    (void)unused;
    say_ready();
    store_release(&props->done[1], meet_now_and_then());
    store_release(&props->result, 1u);
    wait_until_told(); /* its end would break the barrier */
    return 0;
}

static bool child_is_through(void *unused)
{
    (void)unused;
    return load_acquire(&props->result) != 0;
}

/* Whoever goes on has met the other: both go on equally often. */
TEST(arriving_and_giving_up_at_once_is_one_or_the_other)
{
    make(2);
    pid_t child = start_ready(meet_as_child, NULL);
    uint64_t met = meet_now_and_then();
    assert_true(wait_until(child_is_through, NULL, 30000));
    print_message("met %llu times\n", (unsigned long long)met);
    assert_int_equal(load_acquire(&props->done[1]), met);
    tell();
    assert_int_equal(wait_child(child), 0);
    clear_stage();
}

/* ---- coming and going -------------------------------------------------------------------- */

TEST(who_leaves_is_waited_for_no_more)
{
    make(3);
    assert_ok(hf_barrier_join(B));
    pid_t first = start_asleep(wait_once);
    pid_t second = start_asleep(wait_once);
    assert_ok(hf_barrier_leave(B));
    assert_int_equal(wait_child(first), 100);
    assert_int_equal(wait_child(second), 100);
    assert_error(hf_barrier_leave(B), -EPERM);
    clear_stage();
}

static int wait_and_leave(void *unused)
{
    int result = wait_once(unused);
    assert_ok(hf_barrier_leave(B));
    return result;
}

TEST(who_has_left_may_end_and_breaks_nothing)
{
    make(2);
    pid_t child = start_asleep(wait_and_leave);
    assert_int_equal(hf_barrier_wait(B), 1);
    assert_int_equal(wait_child(child), 100);
    assert_int_equal(hf_barrier_wait(B), 1); /* one is expected now */
    assert_ok(hf_barrier_fini(B));
    clear_stage();
}

TEST(reset_begins_anew_for_all)
{
    make(3);
    pid_t child = start_asleep(wait_once);
    assert_ok(hf_barrier_join(B));
    assert_ok(hf_barrier_reset(B, 1));
    assert_int_equal(wait_child(child), ESRCH); /* its end breaks nothing */
    assert_int_equal(hf_barrier_wait(B), 1);
    assert_ok(hf_barrier_reset(B, 2));
    assert_error(hf_barrier_trywait(B), -EBUSY);
    assert_ok(hf_barrier_leave(B));
    assert_int_equal(hf_barrier_wait(B), 1);
    clear_stage();
}

TEST(who_was_a_member_before_a_reset_leaves_nothing)
{
    make(2);
    assert_ok(hf_barrier_join(B));
    assert_ok(hf_barrier_reset(B, 1));
    assert_error(hf_barrier_leave(B), -EPERM);
    assert_int_equal(hf_barrier_wait(B), 1); /* one is expected still */
    assert_ok(hf_barrier_leave(B));
    assert_error(hf_barrier_leave(B), -EPERM);
    clear_stage();
}

_Noreturn static int join_and_stay(void *unused)
{
    (void)unused;
    assert_ok(hf_barrier_join(B));
    say_ready();
    wait_for_death();
}

TEST(a_barrier_with_other_members_cannot_be_ended)
{
    make(2);
    pid_t child = start_ready(join_and_stay, NULL);
    assert_error(hf_barrier_fini(B), -EBUSY);
    assert_int_equal(kill_and_reap(child), -SIGKILL);
    assert_ok(hf_barrier_fini(B));
    assert_error(hf_barrier_fini(B), -EINVAL);
    assert_ok(hf_barrier_init(B, 1));
    assert_int_equal(hf_barrier_wait(B), 1);
    clear_stage();
}

/* It has not called since: neither then nor by its death is it a member of what comes after. */
TEST(a_member_from_before_a_reset_keeps_nobody_from_ending_it)
{
    for (unsigned zeroed = 0; zeroed < 2; zeroed++) {
        make(2);
        pid_t child = start_ready(join_and_stay, NULL);
        assert_error(hf_barrier_fini(B), -EBUSY);
        assert_ok(hf_barrier_reset(B, 1));
        assert_ok(hf_barrier_fini(B));
        if (zeroed != 0) {
            memset(B, 0, sizeof *B); /* as at first: epochs begin again */
        }
        assert_ok(hf_barrier_init(B, 1));
        assert_int_equal(kill_and_reap(child), -SIGKILL);
        assert_ok(hf_segment_recover(stage, NULL));
        assert_int_equal(hf_barrier_wait(B), 1);
        clear_stage();
    }
}

TEST(what_has_ended_does_not_name_its_place)
{
    make(2);
    assert_ok(hf_barrier_fini(B));
    struct barrier *bytes = (struct barrier *)(void *)B;
    assert_int_equal(load_relaxed(&bytes->self), 0);
    clear_stage();
}

/* ---- calls inside calls ------------------------------------------------------------------ */

static volatile sig_atomic_t inside;
static sigjmp_buf back;

static void call_in(int number)
{
    (void)number;
    inside = hf_barrier_join(B);
    siglongjmp(back, 1);
}

TEST(who_jumps_out_of_a_wait_breaks_it)
{
    make(3);
    pid_t child = start_asleep(wait_once);
    struct sigaction action = {.sa_handler = call_in};
    struct itimerval once = {.it_value = {.tv_usec = 50000}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &once, NULL), 0);
    if (sigsetjmp(back, 1) == 0) {
        (void)hf_barrier_wait(B);
    }
    assert_int_equal(inside, -EDEADLK);
    assert_error(hf_barrier_join(B), -EDEADLK);
    assert_ok(hf_thread_recover(stage));
    assert_int_equal(wait_child(child), ESRCH);
    assert_error(hf_barrier_wait(B), -ESRCH);
    assert_error(hf_barrier_leave(B), -EPERM);
    clear_stage();
}
