/* SPDX-License-Identifier: MIT */
/* Interrupting a call, and jumping out of it, by the processor's trap flag. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* the registers of a signal's context */
#endif
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include "support/jump.h"
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
static void (*action)(void);

/* After each instruction, until it is the one to act at. */
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
        action();
    }
}

static void jump(void)
{
    siglongjmp(out, 1);
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

void need_jumps(void)
{
    if (!CAN_STEP) {
        SKIP("stepping is written for gcc on x86-64, without sanitizers");
    }
}

int interrupt_after(long instructions, void (*what)(void), int (*call)(void *context),
                    void *context)
{
    struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    assert_int_equal(sigaction(SIGTRAP, &trap, NULL), 0);
    left = instructions;
    action = what;
    step();
    int result = call(context);
    stop_stepping();
    return result;
}

bool jump_after(long instructions, int (*call)(void *context), void *context)
{
    if (sigsetjmp(out, 1) != 0) {
        return true;
    }
    (void)interrupt_after(instructions, jump, call, context);
    return false;
}

void recover_from_jump(void)
{
    assert_ok(hf_thread_recover(stage));
}
