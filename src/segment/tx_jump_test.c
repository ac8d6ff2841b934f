/* SPDX-License-Identifier: MIT */
/* A thread that jumps out of the end of a transaction, at any instruction of it. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "holdfast/check.h"
#include "holdfast/heap.h"
#include "holdfast/object.h"
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

/* Half undone it cannot be committed. */
TEST(a_commit_after_a_jump_out_of_an_abort_at_any_instruction)
{
    unsigned canceled = 0;
    long n = 1;
    need_jumps();
    set_stage(64 * KIB);
    for (bool jumped = true; jumped; n++) {
        props->own[0] = props->own[1] = 1;
        begin_and_write();
        assert_ok(hf_tx_add(stage, &props->own[0], sizeof props->own[0]));
        props->own[0] = 2;
        assert_ok(hf_tx_add(stage, &props->own[1], sizeof props->own[1]));
        props->own[1] = 2;
        jumped = jump_after(n, abort_it, NULL);
        recover_from_jump();
        int error = hf_tx_commit(stage);
        assert_true(error == 0 || error == -ECANCELED || error == -EINVAL);
        canceled += error == -ECANCELED ? 1 : 0;
        expect_account(error == 0 ? 95 : 100, error == 0 ? 5 : 0);
        assert_int_equal(props->own[0], error == 0 ? 2 : 1);
        assert_int_equal(props->own[1], error == 0 ? 2 : 1);
    }
    assert_true(n > 50 && canceled > 20);
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

/* ---- objects ------------------------------------------------------------------------------ */

static uint64_t blocks_now(void)
{
    hf_check_report report;
    assert_ok(hf_check(stage, &report));
    return report.blocks;
}

static void construct_one(const char *name)
{
    assert_non_null(hf_construct(stage, name, int, 1));
}

static void destroy_one(const char *name)
{
    assert_ok(hf_destroy(stage, name, int));
}

/* Afterwards there is room for those that have to be buried: nobody may step through malloc. */
static void bury_one(void)
{
    assert_ok(hf_tx_begin(stage));
    construct_one("buried");
    destroy_one("buried");
    assert_ok(hf_tx_commit(stage));
}

/* One that is marked dead and not counted yet is freed all the same. */
static void expect_nothing_left(int (*end)(void *unused))
{
    long n = 1;
    need_jumps();
    set_stage(256 * KIB);
    construct_one("first");
    uint64_t blocks = blocks_now();
    for (bool jumped = true; jumped; n++) {
        if (hf_find(stage, "old", int) == NULL) {
            construct_one("old");
        }
        bury_one();
        assert_ok(hf_tx_begin(stage));
        destroy_one("old");
        construct_one("new");
        jumped = jump_after(n, end, NULL);
        recover_from_jump();
        int error = end(NULL);
        assert_true(error == 0 || error == -EINVAL);
        bool committed = hf_find(stage, "new", int) != NULL;
        assert_true(committed == (hf_find(stage, "old", int) == NULL));
        destroy_one(committed ? "new" : "old");
        assert_int_equal(blocks_now(), blocks);
    }
    assert_true(n > 100);
}

TEST(a_jump_out_of_a_commit_leaves_no_object_behind)
{
    expect_nothing_left(commit_it);
}

TEST(a_jump_out_of_an_abort_leaves_no_object_behind)
{
    expect_nothing_left(abort_it);
}
