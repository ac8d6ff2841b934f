/* SPDX-License-Identifier: MIT */
/* A thread that jumps out of the end of a transaction, at any instruction of it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* the registers of a signal's context */
#endif
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "holdfast/heap.h"
#include "support/stage.h"

#if defined(__x86_64__)
#define TRAP_FLAG     0x100
#define FLAGS(at)     ((at)->uc_mcontext.gregs[REG_EFL])
#define STEP          "pushfq\n\torq $0x100, (%%rsp)\n\tpopfq"
#define STOP_STEPPING "pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq"
#endif

/* Is stepping known here? A sanitizer's own calls must not be jumped out of. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) &&      \
    !defined(__clang__)
#define CAN_STEP 1
#else
#define CAN_STEP 0
#endif

static sigjmp_buf out;
static volatile long left;

/* After each instruction, until it is the one to jump at. */
static void on_trap(int signal, siginfo_t *info, void *context)
{
    ucontext_t *at = context;
    (void)signal;
    (void)info;
    (void)at;
    if (--left == 0) {
#if CAN_STEP
        FLAGS(at) &= ~TRAP_FLAG;
#endif
        siglongjmp(out, 1);
    }
}

static void step(void)
{
#if CAN_STEP
    __asm__ volatile(STEP ::: "memory", "cc");
#endif
}

static void stop_stepping(void)
{
#if CAN_STEP
    __asm__ volatile(STOP_STEPPING ::: "memory", "cc");
#endif
}

static void need_stepping(void)
{
    if (!CAN_STEP) {
        SKIP("stepping is written for gcc on x86-64, without sanitizers");
    }
}

/* Is in the call and jumps out of it after so many instructions; false: it ended before. */
static bool jump_after(long instructions, int (*end)(hf_segment *segment))
{
    struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    assert_int_equal(sigaction(SIGTRAP, &trap, NULL), 0);
    left = instructions;
    if (sigsetjmp(out, 1) != 0) {
        return true;
    }
    step();
    (void)end(stage);
    stop_stepping();
    return false;
}

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

/* The jump may have come before the call or after it: then there is nothing to recover. */
static void recover(void)
{
    assert_ok(hf_thread_recover(stage));
}

static void expect_account(uint64_t first, uint64_t second)
{
    assert_int_equal(props->account[0], first);
    assert_int_equal(props->account[1], second);
    assert_ok(hf_mutex_trylock(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
}

TEST(a_jump_out_of_an_abort_at_any_instruction)
{
    long n = 1;
    need_stepping();
    set_stage(64 * KIB);
    for (bool jumped = true; jumped; n++) {
        begin_and_write();
        jumped = jump_after(n, hf_tx_abort);
        recover();
        int error = hf_tx_abort(stage); /* open still, or over */
        assert_true(error == 0 || error == -EINVAL);
        expect_account(100, 0);
    }
    assert_true(n > 50);
}

TEST(a_jump_out_of_a_commit_at_any_instruction)
{
    long n = 1;
    need_stepping();
    set_stage(64 * KIB);
    for (bool jumped = true; jumped; n++) {
        begin_and_write();
        jumped = jump_after(n, hf_tx_commit);
        recover();
        int error = hf_tx_commit(stage);
        assert_true(error == 0 || error == -EINVAL);
        expect_account(95, 5);
    }
    assert_true(n > 50);
}

/* ---- allocations inside a transaction ------------------------------------------------------ */

#define LARGE 9000u

static unsigned char *others;

static int allocate_large(hf_segment *segment)
{
    void *block;
    return hf_alloc(segment, LARGE, &block);
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
    need_stepping();
    set_stage(256 * KIB);
    for (bool jumped = true; jumped; n++) {
        pthread_t another;
        assert_ok(hf_tx_begin(stage));
        jumped = jump_after(n, allocate_large);
        recover();
        assert_int_equal(pthread_create(&another, NULL, allocate_as_another, NULL), 0);
        assert_int_equal(pthread_join(another, NULL), 0);
        assert_ok(hf_tx_abort(stage));
        expect_the_others_alone();
    }
    assert_true(n > 50);
}
