/* SPDX-License-Identifier: MIT */
/* A thread that jumps out of a once, at any instruction of the call or of what it calls. */
#include <setjmp.h>

#include "support/jump.h"
#include "support/stage.h"

#define O     (&props->once)
#define INNER ((hf_once *)(void *)props->bytes)

static int count_it(void *unused)
{
    (void)unused;
    props->counter++;
    return 0;
}

static int call_it(void *unused)
{
    return hf_once_call(O, count_it, unused);
}

/* For another process: an exit status. */
static int try_it(void *unused)
{
    return -hf_once_timedcall(O, count_it, unused, 0);
}

/* What was done is done; otherwise the next caller does it, and nobody is at it. */
static void expect_done_or_given_up(hf_once *once)
{
    uint64_t before = props->counter;
    int done = hf_once_is_done(once);
    assert_in_range(done, 0, 1);
    assert_ok(hf_once_timedcall(once, count_it, NULL, 0));
    assert_int_equal(props->counter, before + (done == 1 ? 0 : 1));
}

TEST(who_jumps_out_of_a_once_has_done_it_or_given_it_up)
{
    long n = 1;
    unsigned done = 0;
    unsigned begun = 0;
    need_jumps();
    set_stage(64 * KIB);
    for (bool jumped = true; jumped; n++) {
        assert_ok(hf_once_init(O));
        props->counter = 0;
        jumped = jump_after(n, call_it, NULL);
        recover_from_jump();
        done += hf_once_is_done(O) == 1 ? 1 : 0;
        begun += props->counter == 1 && hf_once_is_done(O) == 0 ? 1 : 0;
        expect_done_or_given_up(O);
    }
    assert_true(n > 50 && done > 5 && begun > 5);
    clear_stage();
}

static int call_the_inner_one(void *unused)
{
    return hf_once_call(INNER, count_it, unused);
}

static int call_one_in_the_other(void *unused)
{
    return hf_once_call(O, call_the_inner_one, unused);
}

TEST(who_jumps_out_of_a_once_in_another_has_given_up_both)
{
    long n = 1;
    need_jumps();
    set_stage(64 * KIB);
    for (bool jumped = true; jumped; n++) {
        assert_ok(hf_once_init(O));
        assert_ok(hf_once_init(INNER));
        jumped = jump_after(n, call_one_in_the_other, NULL);
        recover_from_jump();
        expect_done_or_given_up(INNER);
        expect_done_or_given_up(O);
    }
    assert_true(n > 100);
    clear_stage();
}

/* ---- what is done when it is jumped out of ------------------------------------------------- */

static sigjmp_buf out;

static int begin_and_jump(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    siglongjmp(out, 1);
}

TEST(one_is_held_until_the_jumper_recovers_and_then_until_its_transaction_ends)
{
    set_stage(64 * KIB);
    if (sigsetjmp(out, 1) == 0) {
        (void)hf_once_call(O, begin_and_jump, NULL);
    }
    assert_int_equal(run_child(try_it, NULL), EBUSY);
    assert_ok(hf_thread_recover(stage));
    assert_int_equal(run_child(try_it, NULL), EBUSY);
    assert_ok(hf_tx_abort(stage));
    assert_int_equal(run_child(try_it, NULL), 0);
    assert_int_equal(props->counter, 1);
    clear_stage();
}

static int just_jump(void *unused)
{
    (void)unused;
    siglongjmp(out, 1);
}

TEST(who_has_jumped_out_of_a_once_is_at_it_until_it_recovers)
{
    set_stage(64 * KIB);
    if (sigsetjmp(out, 1) == 0) {
        (void)hf_once_call(O, just_jump, NULL);
    }
    assert_error(hf_once_call(O, count_it, NULL), -EDEADLK);
    assert_ok(hf_thread_recover(stage));
    expect_done_or_given_up(O);
    assert_int_equal(props->counter, 1);
    clear_stage();
}

static int recover_at_it(void *unused)
{
    (void)unused;
    return hf_thread_recover(stage);
}

TEST(who_recovers_at_it_has_not_done_it)
{
    set_stage(64 * KIB);
    assert_error(hf_once_call(O, recover_at_it, NULL), -EPERM);
    assert_int_equal(hf_once_is_done(O), 0);
    assert_int_equal(run_child(try_it, NULL), 0);
    assert_int_equal(props->counter, 1);
    clear_stage();
}

static int refusal;

static int call_the_next(void *once)
{
    hf_once *next = (hf_once *)once + 1;
    props->counter++;
    int error = hf_once_call(next, call_the_next, next);
    refusal = error != 0 ? error : refusal;
    return 0;
}

TEST(a_thread_is_at_eight_in_each_other_and_no_more)
{
    set_stage(64 * KIB);
    for (unsigned i = 0; i < 2; i++) { /* and at none afterwards */
        props->counter = 0;
        refusal = 0;
        assert_ok(hf_once_init(INNER + 8 * i));
        assert_ok(hf_once_call(INNER + 8 * i, call_the_next, INNER + 8 * i));
        assert_int_equal(props->counter, 8);
        assert_int_equal(refusal, -ENOLCK);
    }
    clear_stage();
}
