/* SPDX-License-Identifier: MIT */
/* Events: everybody who waits goes on, and nobody is missed. */
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "support/stage.h"
#include "sync/word_layout.h"

#define E (&props->event)

static int wait_for_it(void *unused)
{
    (void)unused;
    say_ready();
    int result = hf_event_timedwait(E, SECONDS(30));
    (void)fetch_add_release(&props->result, 1);
    return -result;
}

static pid_t start_asleep(void)
{
    pid_t pid = start_ready(wait_for_it, NULL);
    wait_for_state(pid, 'S');
    return pid;
}

TEST(memory_that_is_all_zero_is_an_event_that_is_not_set)
{
    set_stage(256 * KIB);
    assert_int_equal(hf_event_is_set(E), 0);
    assert_error(hf_event_trywait(E), -EBUSY);
    assert_ok(hf_event_set(E));
    assert_int_equal(hf_event_is_set(E), 1);
    assert_ok(hf_event_trywait(E));
    assert_ok(hf_event_wait(E));
    assert_ok(hf_event_set(E));
    assert_ok(hf_event_reset(E));
    assert_int_equal(hf_event_is_set(E), 0);
    assert_error(hf_event_trywait(E), -EBUSY);
    clear_stage();
}

TEST(init_makes_an_event_of_any_memory)
{
    static const hf_event fresh = HF_EVENT_INIT;
    set_stage(256 * KIB);
    memset(E, 0xa5, sizeof *E);
    assert_error(hf_event_set(E), -EINVAL);
    assert_ok(hf_event_init(E));
    assert_int_equal(hf_event_is_set(E), 0);
    assert_ok(hf_event_set(E));
    *E = fresh;
    assert_int_equal(hf_event_is_set(E), 0);
    clear_stage();
}

TEST(setting_it_lets_everybody_go)
{
    pid_t children[6];
    set_stage(256 * KIB);
    for (size_t i = 0; i < 6; i++) {
        children[i] = start_asleep();
    }
    assert_int_equal(load_acquire(&props->result), 0);
    assert_ok(hf_event_set(E));
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(wait_child(children[i]), 0);
    }
    assert_ok(hf_event_wait(E)); /* it stays set */
    clear_stage();
}

TEST(who_waits_goes_on_though_it_is_reset_at_once)
{
    set_stage(256 * KIB);
    for (unsigned i = 0; i < 20; i++) {
        pid_t child = start_asleep();
        assert_int_equal(kill(child, SIGSTOP), 0);
        wait_for_state(child, 'T');
        assert_ok(hf_event_set(E));
        assert_ok(hf_event_reset(E));
        assert_int_equal(kill(child, SIGCONT), 0);
        assert_int_equal(wait_child(child), 0);
    }
    clear_stage();
}

TEST(a_set_wakes_at_once)
{
    uint64_t least = UINT64_MAX;
    set_stage(256 * KIB);
    for (unsigned i = 0; i < 5; i++) {
        pid_t child = start_asleep();
        uint64_t start = now_us();
        assert_ok(hf_event_set(E));
        assert_int_equal(wait_child(child), 0);
        uint64_t took = now_us() - start;
        least = took < least ? took : least;
        assert_ok(hf_event_reset(E));
    }
    assert_true(least < 40000);
    clear_stage();
}

TEST(a_timed_wait_ends_near_its_time)
{
    set_stage(256 * KIB);
    assert_error(hf_event_timedwait(E, 0), -EBUSY);
    assert_error(hf_event_timedwait(E, 1), -ETIMEDOUT);
    assert_error(hf_event_timedwait(E, -2), -EINVAL);
    uint64_t start = now_us();
    assert_error(hf_event_timedwait(E, MILLISECONDS(120)), -ETIMEDOUT);
    uint64_t took = now_us() - start;
    assert_true(took >= 119999 && took < 5000000);
    assert_error(hf_event_wait_until(E, hf_now_ns() - 1), -ETIMEDOUT);
    assert_error(hf_event_wait_until(E, hf_now_ns() + MILLISECONDS(5)), -ETIMEDOUT);
    assert_ok(hf_event_set(E));
    assert_ok(hf_event_wait_until(E, hf_now_ns() - 1));
    clear_stage();
}

TEST(a_killed_waiter_is_not_missed)
{
    set_stage(256 * KIB);
    pid_t dead = start_asleep();
    pid_t living = start_asleep();
    assert_int_equal(kill_and_reap(dead), -SIGKILL);
    assert_ok(hf_event_set(E));
    assert_int_equal(wait_child(living), 0);
    assert_ok(hf_event_fini(E));
    clear_stage();
}

/* As the killed one leaves it: set, and nobody woken. */
TEST(who_was_not_woken_looks_by_itself)
{
    set_stage(256 * KIB);
    pid_t child = start_asleep();
    struct word *word = (struct word *)(void *)E;
    store_release(&word->word, EVENT_SET | EVENT_SETTING);
    assert_int_equal(wait_child_for(child, 5000), 0);
    clear_stage();
}

TEST(an_event_that_was_ended_is_refused_and_who_waits_is_told)
{
    set_stage(256 * KIB);
    pid_t child = start_asleep();
    assert_ok(hf_event_fini(E));
    assert_int_equal(wait_child_for(child, 5000), EINVAL);
    assert_error(hf_event_set(E), -EINVAL);
    assert_error(hf_event_reset(E), -EINVAL);
    assert_error(hf_event_is_set(E), -EINVAL);
    assert_error(hf_event_wait(E), -EINVAL);
    assert_error(hf_event_trywait(E), -EINVAL);
    assert_error(hf_event_fini(E), -EINVAL);
    assert_ok(hf_event_init(E));
    assert_ok(hf_event_set(E));
    clear_stage();
}

static void expect_refused(hf_event *event)
{
    assert_error(hf_event_init(event), -EINVAL);
    assert_error(hf_event_fini(event), -EINVAL);
    assert_error(hf_event_set(event), -EINVAL);
    assert_error(hf_event_reset(event), -EINVAL);
    assert_error(hf_event_is_set(event), -EINVAL);
    assert_error(hf_event_wait(event), -EINVAL);
    assert_error(hf_event_trywait(event), -EINVAL);
}

TEST(null_and_misaligned_are_refused)
{
    hf_event two[2] = {HF_EVENT_INIT, HF_EVENT_INIT};
    uintptr_t address = (uintptr_t)&two[0] + 4;
    expect_refused(NULL);
    expect_refused((hf_event *)address); // NOLINT(performance-no-int-to-ptr)
}

TEST(it_takes_no_slot_and_needs_no_segment)
{
    hf_event event = HF_EVENT_INIT;
    hf_segment_info info;
    assert_ok(hf_event_set(&event));
    assert_ok(hf_event_wait(&event));
    set_stage(256 * KIB);
    assert_ok(hf_segment_get_info(stage, &info));
    uint32_t before = info.participants;
    assert_ok(hf_event_set(E));
    assert_ok(hf_event_wait(E));
    assert_ok(hf_segment_get_info(stage, &info));
    assert_int_equal(info.participants, before);
    clear_stage();
}

TEST(counting_to_the_end_begins_again)
{
    set_stage(256 * KIB);
    struct word *word = (struct word *)(void *)E;
    store_release(&word->word, UINT32_C(0x7ffffffe));
    pid_t child = start_asleep();
    assert_ok(hf_event_set(E));
    assert_int_equal(wait_child(child), 0);
    assert_int_equal(load_relaxed(&word->word), EVENT_SET);
    clear_stage();
}

static int work_without_system(void *unused)
{
    hf_latch latch;
    (void)unused;
    assert_ok(hf_latch_init(&latch, 1000));
    forbid_syscall(SYS_futex);
    for (unsigned i = 0; i < 1000; i++) {
        bool good = hf_event_set(E) == 0 && hf_event_wait(E) == 0 && hf_event_reset(E) == 0 &&
                    hf_event_trywait(E) == -EBUSY && hf_latch_count_down(&latch, 1) == 0;
        if (!good) {
            return 1;
        }
    }
    return -hf_latch_wait(&latch);
}

TEST(what_nobody_waits_for_costs_no_system_call)
{
    if (UNDER_ASAN || UNDER_TSAN) {
        SKIP("a sanitizer makes system calls of its own");
    }
    set_stage(256 * KIB);
    assert_int_equal(run_child(work_without_system, NULL), 0);
    clear_stage();
}
