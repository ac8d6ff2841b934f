/* SPDX-License-Identifier: MIT */
/* A thread that jumps out of the end of a transaction, at any instruction of it. */
#include <pthread.h>
#include <string.h>

#include "holdfast/heap.h"
#include "support/jump.h"
#include "support/stage.h"

static void begin_and_write(void)
{
    props->account[0] = 100;
    props->account[1] = 0;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_tx_add(stage, props->account, sizeof props->account));
    props->account[0] = 95;
    props->account[1] = 5;
    assert_ok(hf_mutex_unlock(&props->mutex));
}

static void expect_account(uint64_t first, uint64_t second)
{
    assert_int_equal(props->account[0], first);
    assert_int_equal(props->account[1], second);
    assert_ok(hf_mutex_trylock(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
}

static int abort_it(void *unused)
{
    (void)unused;
    return hf_tx_abort(stage);
}

static int commit_it(void *unused)
{
    (void)unused;
    return hf_tx_commit(stage);
}

TEST(a_jump_out_of_an_abort_at_any_instruction)
{
    long n = 1;
    need_jumps();
    set_stage(64 * KIB);
    for (bool jumped = true; jumped; n++) {
        begin_and_write();
        jumped = jump_after(n, abort_it, NULL);
        recover_from_jump();
        int error = hf_tx_abort(stage); /* open still, or over */
        assert_true(error == 0 || error == -EINVAL);
        expect_account(100, 0);
    }
    assert_true(n > 50);
}

TEST(a_jump_out_of_a_commit_at_any_instruction)
{
    long n = 1;
    need_jumps();
    set_stage(64 * KIB);
    for (bool jumped = true; jumped; n++) {
        begin_and_write();
        jumped = jump_after(n, commit_it, NULL);
        recover_from_jump();
        int error = hf_tx_commit(stage);
        assert_true(error == 0 || error == -EINVAL);
        expect_account(95, 5);
    }
    assert_true(n > 50);
}

/* ---- allocations inside a transaction ------------------------------------------------------ */

#define LARGE 9000u

static unsigned char *others;

static int allocate_large(void *unused)
{
    void *block;
    (void)unused;
    return hf_alloc(stage, LARGE, &block);
}

static void *allocate_as_another(void *unused)
{
    void *block;
    (void)unused;
    assert_ok(hf_alloc(stage, LARGE, &block));
    others = memset(block, 0x5a, LARGE);
    return NULL;
}

/* What the transaction gives back is its own block, and not what another has taken since. */
static void expect_the_others_alone(void)
{
    hf_heap_info info;
    for (size_t i = 0; i < LARGE; i++) {
        assert_int_equal(others[i], 0x5a);
    }
    assert_ok(hf_heap_get_info(stage, &info));
    assert_int_equal(info.blocks, 1);
    assert_ok(hf_free(stage, others));
}

TEST(a_jump_out_of_a_large_allocation_in_a_transaction_at_any_instruction)
{
    long n = 1;
    need_jumps();
    set_stage(256 * KIB);
    for (bool jumped = true; jumped; n++) {
        pthread_t another;
        assert_ok(hf_tx_begin(stage));
        jumped = jump_after(n, allocate_large, NULL);
        recover_from_jump();
        assert_int_equal(pthread_create(&another, NULL, allocate_as_another, NULL), 0);
        assert_int_equal(pthread_join(another, NULL), 0);
        assert_ok(hf_tx_abort(stage));
        expect_the_others_alone();
    }
    assert_true(n > 50);
}
