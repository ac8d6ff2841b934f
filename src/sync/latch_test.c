/* SPDX-License-Identifier: MIT */
/* Latches: what is counted down stays counted, and all go on at 0. */
#include <signal.h>
#include <string.h>

#include "support/stage.h"
#include "sync/word_layout.h"

#define L (&props->latch)

static uint32_t left(void)
{
    uint32_t value = 12345;
    assert_ok(hf_latch_value(L, &value));
    return value;
}

static int wait_for_it(void *unused)
{
    (void)unused;
    say_ready();
    return -hf_latch_timedwait(L, SECONDS(30));
}

static pid_t start_asleep(int (*run)(void *))
{
    pid_t pid = start_ready(run, NULL);
    wait_for_state(pid, 'S');
    return pid;
}

TEST(it_counts_down_and_then_is_open_for_good)
{
    set_stage(256 * KIB);
    assert_ok(hf_latch_trywait(L)); /* all zero: open */
    assert_ok(hf_latch_init(L, 5));
    assert_int_equal(left(), 5);
    assert_error(hf_latch_trywait(L), -EBUSY);
    assert_ok(hf_latch_count_down(L, 2));
    assert_int_equal(left(), 3);
    assert_ok(hf_latch_count_down(L, 0));
    assert_int_equal(left(), 3);
    assert_error(hf_latch_count_down(L, 4), -EINVAL);
    assert_int_equal(left(), 3);
    assert_error(hf_latch_trywait(L), -EBUSY);
    assert_ok(hf_latch_count_down(L, 3));
    assert_int_equal(left(), 0);
    assert_ok(hf_latch_trywait(L));
    assert_ok(hf_latch_wait(L));
    assert_error(hf_latch_count_down(L, 1), -EINVAL);
    assert_error(hf_latch_arrive_and_wait(L), -EINVAL);
    clear_stage();
}

TEST(init_makes_a_latch_of_any_memory)
{
    set_stage(256 * KIB);
    memset(L, 0xa5, sizeof *L);
    assert_error(hf_latch_wait(L), -EINVAL);
    assert_error(hf_latch_init(L, UINT32_C(0x80000000)), -EINVAL);
    assert_ok(hf_latch_init(L, HF_LATCH_MAX));
    assert_int_equal(left(), HF_LATCH_MAX);
    assert_ok(hf_latch_count_down(L, HF_LATCH_MAX));
    assert_ok(hf_latch_wait(L));
    clear_stage();
}

static int arrive(void *unused)
{
    (void)unused;
    say_ready();
    return -hf_latch_arrive_and_wait(L);
}

TEST(the_last_one_lets_all_go)
{
    pid_t children[6];
    set_stage(256 * KIB);
    assert_ok(hf_latch_init(L, 4));
    for (size_t i = 0; i < 6; i++) {
        children[i] = start_asleep(i < 3 ? arrive : wait_for_it);
    }
    assert_int_equal(left(), 1);
    assert_ok(hf_latch_arrive_and_wait(L));
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(wait_child(children[i]), 0);
    }
    clear_stage();
}

#define STEPS 20000u

static int count_many(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < STEPS; i++) {
        assert_ok(hf_latch_count_down(L, 1));
    }
    return 0;
}

TEST(many_count_at_once_and_none_is_lost)
{
    pid_t children[4];
    set_stage(256 * KIB);
    assert_ok(hf_latch_init(L, 4 * STEPS + 1));
    for (size_t i = 0; i < 4; i++) {
        children[i] = start_child(count_many, NULL);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(wait_child(children[i]), 0);
    }
    assert_int_equal(left(), 1);
    clear_stage();
}

TEST(a_timed_wait_ends_near_its_time)
{
    set_stage(256 * KIB);
    assert_ok(hf_latch_init(L, 1));
    assert_error(hf_latch_timedwait(L, 0), -EBUSY);
    assert_error(hf_latch_timedwait(L, -2), -EINVAL);
    uint64_t start = now_us();
    assert_error(hf_latch_timedwait(L, MILLISECONDS(120)), -ETIMEDOUT);
    uint64_t took = now_us() - start;
    assert_true(took >= 119999 && took < 5000000);
    assert_error(hf_latch_wait_until(L, hf_now_ns() + MILLISECONDS(5)), -ETIMEDOUT);
    assert_int_equal(left(), 1);
    clear_stage();
}

TEST(a_killed_waiter_is_not_missed)
{
    set_stage(256 * KIB);
    assert_ok(hf_latch_init(L, 1));
    pid_t dead = start_asleep(wait_for_it);
    pid_t living = start_asleep(wait_for_it);
    assert_int_equal(kill_and_reap(dead), -SIGKILL);
    assert_ok(hf_latch_count_down(L, 1));
    assert_int_equal(wait_child(living), 0);
    clear_stage();
}

/* As one leaves it who is killed before it wakes the others. */
TEST(who_was_not_woken_looks_by_itself)
{
    set_stage(256 * KIB);
    assert_ok(hf_latch_init(L, 1));
    pid_t child = start_asleep(wait_for_it);
    struct word *word = (struct word *)(void *)L;
    store_release(&word->word, 0u);
    assert_int_equal(wait_child_for(child, 5000), 0);
    clear_stage();
}

TEST(a_latch_that_was_ended_is_refused_and_who_waits_is_told)
{
    uint32_t value;
    set_stage(256 * KIB);
    assert_ok(hf_latch_init(L, 1));
    pid_t child = start_asleep(wait_for_it);
    assert_ok(hf_latch_fini(L));
    assert_int_equal(wait_child_for(child, 5000), EINVAL);
    assert_error(hf_latch_count_down(L, 1), -EINVAL);
    assert_error(hf_latch_value(L, &value), -EINVAL);
    assert_error(hf_latch_wait(L), -EINVAL);
    assert_error(hf_latch_fini(L), -EINVAL);
    assert_ok(hf_latch_init(L, 1));
    assert_error(hf_latch_value(L, NULL), -EINVAL);
    assert_error(hf_latch_init(NULL, 1), -EINVAL);
    assert_error(hf_latch_wait(NULL), -EINVAL);
    clear_stage();
}
