/* SPDX-License-Identifier: MIT */
/* The barrier when a member dies, or stops. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "segment/barrier_layout.h"
#include "support/stage.h"

#define B (&props->barrier)

/* ---- time: as in mutex_death_test.c ------------------------------------------------------- */

#define AT_ONCE_MS 60
#define TRIES      10

/* ---- members ----------------------------------------------------------------------------- */

_Noreturn static int join_and_stay(void *unused)
{
    (void)unused;
    assert_ok(hf_barrier_join(B));
    say_ready();
    wait_for_death();
}

static int wait_for_it(void *index)
{
    unsigned i = *(unsigned *)index;
    assert_ok(hf_barrier_join(B));
    say_ready();
    int result = hf_barrier_wait(B);
    store_release(&props->when_us[i], now_us());
    return result < 0 ? -result : 100 + result;
}

static pid_t start_waiting(unsigned *index)
{
    pid_t pid = start_ready(wait_for_it, index);
    wait_for_state(pid, 'S');
    return pid;
}

static void make(uint32_t count)
{
    set_stage(256 * KIB);
    assert_ok(hf_barrier_init(B, count));
}

/* ---- deaths ------------------------------------------------------------------------------ */

static unsigned numbers[] = {0, 1, 2, 3, 4, 5};

/* Whose slot comes before whose makes no difference: everyone wakes. */
TEST(who_waits_hears_of_a_members_death_soon)
{
    uint64_t times[TRIES];
    for (unsigned try = 0; try < TRIES; try++) {
        pid_t waiters[3];
        uint64_t last = 0;
        make(4);
        pid_t early = try % 2 == 0 ? start_ready(join_and_stay, NULL) : 0;
        for (unsigned i = 0; i < 3; i++) {
            waiters[i] = start_waiting(&numbers[i]);
        }
        pid_t victim = try % 2 == 0 ? early : start_ready(join_and_stay, NULL);
        if (try % 2 != 0) {
            sleep_ms(100); /* those who wait have seen it by now */
        }
        uint64_t start = now_us();
        assert_int_equal(kill_and_reap(victim), -SIGKILL);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(wait_child(waiters[i]), ESRCH);
            uint64_t when = load_acquire(&props->when_us[i]);
            last = when > last ? when : last;
        }
        times[try] = last > start ? last - start : 0;
        assert_error(hf_barrier_wait(B), -ESRCH);
        clear_stage();
    }
    expect_within(times, TRIES, death_limit_ms(AT_ONCE_MS));
}

TEST(a_waiters_own_death_breaks_it_as_well)
{
    make(4);
    pid_t first = start_waiting(&numbers[0]);
    pid_t second = start_waiting(&numbers[1]);
    assert_int_equal(kill_and_reap(first), -SIGKILL);
    assert_int_equal(wait_child_for(second, 10000), ESRCH);
    assert_error(hf_barrier_trywait(B), -ESRCH);
    clear_stage();
}

TEST(a_death_before_anybody_waits_is_noticed)
{
    make(2);
    assert_int_equal(kill_and_reap(start_ready(join_and_stay, NULL)), -SIGKILL);
    assert_error(hf_barrier_wait(B), -ESRCH);
    assert_error(hf_barrier_join(B), -ESRCH);
    clear_stage();
}

/* Each is the first to come after the death, and waits for nothing. */
TEST(who_only_tries_or_joins_hears_of_a_death)
{
    for (unsigned way = 0; way < 3; way++) {
        make(2);
        pid_t victim = start_ready(join_and_stay, NULL);
        if (way != 0) {
            assert_error(hf_barrier_trywait(B), -EBUSY); /* the system has just been asked */
        }
        assert_int_equal(kill_and_reap(victim), -SIGKILL);
        sleep_ms(30);
        assert_error(way == 0   ? hf_barrier_join(B)
                     : way == 1 ? hf_barrier_trywait(B)
                                : hf_barrier_wait_until(B, hf_now_ns() - 1),
                     -ESRCH);
        assert_error(hf_barrier_leave(B), -EPERM);
        clear_stage();
    }
}

static int join_and_end(void *unused)
{
    (void)unused;
    return -hf_barrier_join(B);
}

static void *join_and_end_thread(void *unused)
{
    assert_ok(hf_barrier_join(B));
    return unused;
}

TEST(who_ends_without_leaving_breaks_it)
{
    pthread_t thread;
    make(2);
    assert_int_equal(run_child(join_and_end, NULL), 0);
    assert_error(hf_barrier_wait(B), -ESRCH);
    assert_ok(hf_barrier_reset(B, 2));
    assert_int_equal(pthread_create(&thread, NULL, join_and_end_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_error(hf_barrier_wait(B), -ESRCH);
    clear_stage();
}

/* All had arrived, and were told so before it broke: whoever looks only now hears the same. */
TEST(all_of_a_generation_get_the_same_answer)
{
    make(3);
    pid_t slow = start_waiting(&numbers[0]);
    pid_t victim = start_waiting(&numbers[1]);
    assert_int_equal(kill(slow, SIGSTOP), 0);
    assert_int_equal(kill(victim, SIGSTOP), 0);
    wait_for_state(slow, 'T');
    wait_for_state(victim, 'T');
    assert_int_equal(hf_barrier_wait(B), 1);
    assert_int_equal(kill_and_reap(victim), -SIGKILL);
    assert_error(hf_barrier_timedwait(B, SECONDS(10)), -ESRCH);
    assert_int_equal(kill(slow, SIGCONT), 0);
    assert_int_equal(wait_child(slow), 100);
    clear_stage();
}

TEST(a_stopped_member_is_alive)
{
    make(2);
    pid_t child = start_ready(join_and_stay, NULL);
    assert_int_equal(kill(child, SIGSTOP), 0);
    wait_for_state(child, 'T');
    assert_error(hf_barrier_timedwait(B, MILLISECONDS(300)), -ETIMEDOUT);
    assert_int_equal(kill_and_reap(child), -SIGKILL);
    assert_error(hf_barrier_timedwait(B, SECONDS(10)), -ESRCH);
    clear_stage();
}

TEST(after_a_reset_the_living_meet_again)
{
    make(3);
    pid_t waiter = start_waiting(&numbers[0]);
    assert_int_equal(kill_and_reap(start_ready(join_and_stay, NULL)), -SIGKILL);
    assert_int_equal(wait_child_for(waiter, 10000), ESRCH);
    assert_ok(hf_barrier_reset(B, 2));
    waiter = start_waiting(&numbers[0]);
    assert_int_equal(hf_barrier_wait(B), 1);
    assert_int_equal(wait_child(waiter), 100);
    clear_stage();
}

/* Nobody has recovered it when the barrier is reset: it belongs to what was before. */
TEST(a_death_before_a_reset_does_not_break_what_comes_after)
{
    make(3);
    assert_int_equal(kill_and_reap(start_ready(join_and_stay, NULL)), -SIGKILL);
    assert_ok(hf_barrier_reset(B, 1));
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(hf_barrier_wait(B), 1);
    clear_stage();
}

TEST(a_death_at_an_earlier_barrier_does_not_break_the_next_one_there)
{
    for (unsigned zeroed = 0; zeroed < 2; zeroed++) {
        make(3);
        assert_int_equal(kill_and_reap(start_ready(join_and_stay, NULL)), -SIGKILL);
        if (zeroed != 0) {
            memset(B, 0, sizeof *B);
        }
        assert_ok(hf_barrier_init(B, 1));
        assert_ok(hf_segment_recover(stage, NULL));
        assert_int_equal(hf_barrier_wait(B), 1);
        clear_stage();
    }
}

/* Memory that was a barrier is something else by now. */
TEST(recovery_leaves_alone_what_is_no_barrier_any_more)
{
    make(2);
    pid_t child = start_ready(join_and_stay, NULL);
    struct barrier *bytes = (struct barrier *)(void *)B;
    store_release(&bytes->kind, 77u);
    store_release(&bytes->state, UINT64_C(4711));
    assert_int_equal(kill_and_reap(child), -SIGKILL);
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(load_relaxed(&bytes->state), 4711);
    clear_stage();
}

#define ROUNDS 30u

static int meet_until_it_breaks(void *unused)
{
    int result;
    (void)unused;
    do {
        result = hf_barrier_wait(B);
    } while (result >= 0);
    return -result;
}

/* Killed at any moment of its waits: nobody hangs, and all are told. */
TEST(wherever_a_member_is_killed_nobody_hangs)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        pid_t children[4];
        make(4);
        for (unsigned i = 0; i < 4; i++) {
            children[i] = start_child(meet_until_it_breaks, NULL);
        }
        struct barrier *bytes = (struct barrier *)(void *)B;
        while ((load_acquire(&bytes->state) & BARRIER_GENERATION) < 3) {
            sleep_ms(1); /* all are members by then */
        }
        if (round % 3 != 0) {
            sleep_ms((int64_t)random_below(4));
        }
        assert_int_equal(kill_and_reap(children[round % 4]), -SIGKILL);
        for (unsigned i = 0; i < 4; i++) {
            if (i != round % 4) {
                assert_int_equal(wait_child_for(children[i], 10000), ESRCH);
            }
        }
        clear_stage();
    }
}
