/* SPDX-License-Identifier: MIT */
/* Once: done to its end one time, whoever dies at it. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "support/stage.h"

#define O (&props->once)

static int count_it(void *unused)
{
    (void)unused;
    props->counter++;
    return 0;
}

static int fail_at_it(void *error)
{
    props->own[0]++;
    return *(int *)error;
}

TEST(it_is_done_by_the_first_call_alone)
{
    set_stage(256 * KIB);
    assert_int_equal(hf_once_is_done(O), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_ok(hf_once_call(O, count_it, NULL));
        assert_int_equal(props->counter, 1);
        assert_int_equal(hf_once_is_done(O), 1);
    }
    assert_ok(hf_once_timedcall(O, count_it, NULL, 0));
    assert_int_equal(props->counter, 1);
    clear_stage();
}

TEST(an_error_is_told_and_the_next_one_tries)
{
    int errors[] = {-ENOSPC, 7};
    set_stage(256 * KIB);
    assert_int_equal(hf_once_call(O, fail_at_it, &errors[0]), -ENOSPC);
    assert_int_equal(hf_once_call(O, fail_at_it, &errors[1]), 7);
    assert_int_equal(props->own[0], 2);
    assert_int_equal(hf_once_is_done(O), 0);
    assert_ok(hf_once_call(O, count_it, NULL));
    assert_ok(hf_once_call(O, fail_at_it, &errors[0]));
    assert_int_equal(props->own[0], 2);
    clear_stage();
}

static int call_it(void *unused)
{
    return -hf_once_call(O, count_it, unused);
}

static int be_slow(void *unused)
{
    sleep_ms(50);
    return count_it(unused);
}

static int call_it_slowly(void *unused)
{
    wait_until_told();
    return -hf_once_call(O, be_slow, unused);
}

TEST(of_many_processes_one_does_it_and_all_wait_for_that)
{
    pid_t children[6];
    set_stage(256 * KIB);
    for (size_t i = 0; i < 6; i++) {
        children[i] = start_child(call_it_slowly, NULL);
    }
    tell();
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(wait_child(children[i]), 0);
    }
    assert_int_equal(props->counter, 1);
    clear_stage();
}

static void *call_as_thread(void *unused)
{
    assert_ok(hf_once_call(O, be_slow, NULL));
    assert_int_equal(props->counter, 1);
    return unused;
}

TEST(of_many_threads_one_does_it)
{
    pthread_t threads[4];
    set_stage(256 * KIB);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, call_as_thread, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    clear_stage();
}

static int stay_at_it(void *unused)
{
    (void)unused;
    props->own[1]++;
    say_ready();
    wait_for_death();
}

static int die_at_it(void *unused)
{
    return hf_once_call(O, stay_at_it, unused);
}

TEST(who_dies_at_it_is_followed_by_the_next_caller)
{
    set_stage(256 * KIB);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(kill_and_reap(start_ready(die_at_it, NULL)), -SIGKILL);
    }
    assert_int_equal(props->own[1], 3);
    assert_int_equal(hf_once_is_done(O), 0);
    assert_ok(hf_once_call(O, count_it, NULL));
    assert_ok(hf_once_call(O, count_it, NULL));
    assert_int_equal(props->counter, 1);
    assert_ok(hf_once_fini(O));
    clear_stage();
}

TEST(who_waits_for_one_that_is_killed_does_it)
{
    set_stage(256 * KIB);
    pid_t first = start_ready(die_at_it, NULL);
    pid_t second = start_child(call_it, NULL);
    wait_for_state(second, 'S');
    assert_int_equal(props->counter, 0);
    assert_int_equal(kill_and_reap(first), -SIGKILL);
    assert_int_equal(wait_child_for(second, 10000), 0);
    assert_int_equal(props->counter, 1);
    clear_stage();
}

TEST(who_is_stopped_at_it_is_waited_for_as_long_as_was_said)
{
    set_stage(256 * KIB);
    pid_t first = start_ready(die_at_it, NULL);
    assert_int_equal(kill(first, SIGSTOP), 0);
    assert_error(hf_once_timedcall(O, count_it, NULL, 0), -EBUSY);
    assert_error(hf_once_timedcall(O, count_it, NULL, MILLISECONDS(120)), -ETIMEDOUT);
    assert_error(hf_once_call_until(O, count_it, NULL, hf_now_ns() - 1), -ETIMEDOUT);
    assert_error(hf_once_call_until(O, count_it, NULL, hf_now_ns() + MILLISECONDS(20)), -ETIMEDOUT);
    assert_error(hf_once_fini(O), -EBUSY);
    assert_int_equal(kill_and_reap(first), -SIGKILL);
    assert_ok(hf_once_call_until(O, count_it, NULL, hf_now_ns() + SECONDS(5)));
    assert_int_equal(props->counter, 1);
    clear_stage();
}

TEST(one_that_the_dead_was_at_can_be_ended)
{
    set_stage(256 * KIB);
    assert_int_equal(kill_and_reap(start_ready(die_at_it, NULL)), -SIGKILL);
    assert_ok(hf_once_fini(O));
    assert_error(hf_once_call(O, count_it, NULL), -EINVAL);
    clear_stage();
}

static int call_it_inside(void *result)
{
    *(int *)result = hf_once_call(O, count_it, NULL);
    return 0;
}

TEST(calling_it_inside_itself_is_refused)
{
    int result = 0;
    set_stage(256 * KIB);
    assert_ok(hf_once_call(O, call_it_inside, &result));
    assert_int_equal(result, -EDEADLK);
    assert_int_equal(props->counter, 0);
    assert_int_equal(hf_once_is_done(O), 1);
    clear_stage();
}

static int work_in_a_transaction(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, &props->counter, sizeof props->counter));
    props->counter++;
    return hf_tx_commit(stage);
}

static int leave_a_transaction_open(void *unused)
{
    (void)unused;
    return hf_tx_begin(stage);
}

TEST(what_a_transaction_might_undo_is_not_called_done)
{
    set_stage(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    assert_error(hf_once_call(O, count_it, NULL), -EBUSY);
    assert_ok(hf_tx_abort(stage));
    assert_error(hf_once_call(O, leave_a_transaction_open, NULL), -EBUSY);
    assert_int_equal(hf_once_is_done(O), 0);
    assert_ok(hf_tx_commit(stage)); /* lets go of it, too */
    assert_int_equal(run_child(call_it, NULL), 0);
    assert_int_equal(props->counter, 1);
    assert_ok(hf_once_init(O));
    assert_ok(hf_once_call(O, work_in_a_transaction, NULL));
    assert_int_equal(props->counter, 2);
    assert_ok(hf_tx_begin(stage)); /* done is done */
    assert_ok(hf_once_call(O, count_it, NULL));
    assert_ok(hf_tx_commit(stage));
    clear_stage();
}

static int leave_the_segment(void *unused)
{
    (void)unused;
    return hf_thread_leave(stage);
}

TEST(who_gives_up_its_slot_at_it_has_not_done_it)
{
    set_stage(256 * KIB);
    assert_error(hf_once_call(O, leave_the_segment, NULL), -EPERM);
    assert_int_equal(hf_once_is_done(O), 0);
    assert_ok(hf_once_call(O, count_it, NULL));
    assert_int_equal(props->counter, 1);
    clear_stage();
}

TEST(init_makes_one_of_any_memory_and_fini_ends_it)
{
    static const hf_once fresh = HF_ONCE_INIT;
    set_stage(256 * KIB);
    memset(O, 0xa5, sizeof *O);
    assert_error(hf_once_call(O, count_it, NULL), -EINVAL);
    assert_error(hf_once_is_done(O), -EINVAL);
    assert_ok(hf_once_init(O));
    assert_ok(hf_once_call(O, count_it, NULL));
    assert_ok(hf_once_fini(O));
    assert_error(hf_once_call(O, count_it, NULL), -EINVAL);
    assert_error(hf_once_is_done(O), -EINVAL);
    assert_error(hf_once_fini(O), -EINVAL);
    *O = fresh;
    assert_ok(hf_once_call(O, count_it, NULL));
    assert_int_equal(props->counter, 2);
    clear_stage();
}

TEST(wrong_arguments_are_refused)
{
    hf_once outside = HF_ONCE_INIT;
    set_stage(256 * KIB);
    assert_error(hf_once_call(NULL, count_it, NULL), -EINVAL);
    assert_error(hf_once_call(O, NULL, NULL), -EINVAL);
    assert_error(hf_once_timedcall(O, count_it, NULL, -2), -EINVAL);
    assert_error(hf_once_call(&outside, count_it, NULL), -EINVAL);
    assert_error(hf_once_is_done(NULL), -EINVAL);
    assert_int_equal(props->counter, 0);
    clear_stage();
}

static int call_without_system(void *unused)
{
    (void)unused;
    forbid_syscall(SYS_futex);
    forbid_syscall(SYS_mmap);
    for (unsigned i = 0; i < 1000; i++) { /* not even a slot */
        if (hf_once_call(O, count_it, NULL) != 0) {
            return 1;
        }
    }
    return 0;
}

TEST(what_is_done_costs_no_system_call)
{
    if (UNDER_ASAN || UNDER_TSAN) {
        SKIP("a sanitizer makes system calls of its own");
    }
    set_stage(256 * KIB);
    assert_ok(hf_once_call(O, count_it, NULL));
    assert_int_equal(run_child(call_without_system, NULL), 0);
    assert_int_equal(props->counter, 1);
    clear_stage();
}
