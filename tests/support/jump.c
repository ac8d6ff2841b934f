/* SPDX-License-Identifier: MIT */
/*
 * Interrupting a call, and jumping out of it, by the processor's trap flag.
 *
 * A trap that is blocked kills, and where the library keeps signals away nobody interrupts it: so
 * there is no stepping between os_quiet_begin and os_quiet_end. What is left of malloc to be
 * stepped through is a place that a thread can jump out of, with malloc's lock.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* the registers of a signal's context */
#endif
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

#include "os/os.h"
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

/* In `left`: the jump would have come out of malloc. */
#define OUT_OF_MALLOC (-1L)

static sigjmp_buf out;
static volatile long left;
static void (*action)(void);
static _Thread_local volatile bool stepping;
static _Thread_local volatile unsigned quiet_depth;
static _Thread_local volatile bool in_malloc;

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
        stepping = false;
        action();
    }
}

/* Out of malloc it does not: what the test does next needs it. */
static void jump(void)
{
    if (!in_malloc) {
        siglongjmp(out, 1);
    }
    left = OUT_OF_MALLOC;
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
    stepping = true;
    step();
    int result = call(context);
    stop_stepping();
    stepping = false;
    return result;
}

bool jump_after(long instructions, int (*call)(void *context), void *context)
{
    if (sigsetjmp(out, 1) != 0) {
        return true;
    }
    (void)interrupt_after(instructions, jump, call, context);
    if (left == OUT_OF_MALLOC) {
        fail_msg("instruction %ld is one of malloc", instructions);
    }
    return false;
}

void recover_from_jump(void)
{
    assert_ok(hf_thread_recover(stage));
}

/* ---- where the library is quiet, and where it is in malloc --------------------------------- */

void __real_hf_os_quiet_begin(os_quiet *quiet);
void __wrap_hf_os_quiet_begin(os_quiet *quiet);
void __real_hf_os_quiet_end(const os_quiet *quiet);
void __wrap_hf_os_quiet_end(const os_quiet *quiet);

void __wrap_hf_os_quiet_begin(os_quiet *quiet)
{
    if (stepping) {
        stop_stepping();
    }
    quiet_depth++;
    __real_hf_os_quiet_begin(quiet);
}

void __wrap_hf_os_quiet_end(const os_quiet *quiet)
{
    __real_hf_os_quiet_end(quiet);
    if (--quiet_depth == 0 && stepping) {
        step();
    }
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void __real_free(void *memory);
void __wrap_free(void *memory);
DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
int __real_closedir(DIR *directory);
int __wrap_closedir(DIR *directory);

void *__wrap_malloc(size_t bytes)
{
    in_malloc = true;
    void *memory = __real_malloc(bytes);
    in_malloc = false;
    return memory;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    in_malloc = true;
    void *memory = __real_calloc(count, bytes);
    in_malloc = false;
    return memory;
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    in_malloc = true;
    void *more = __real_realloc(memory, bytes);
    in_malloc = false;
    return more;
}

void __wrap_free(void *memory)
{
    in_malloc = true;
    __real_free(memory);
    in_malloc = false;
}

/* These two are in it. */
DIR *__wrap_opendir(const char *path)
{
    in_malloc = true;
    DIR *directory = __real_opendir(path);
    in_malloc = false;
    return directory;
}

int __wrap_closedir(DIR *directory)
{
    in_malloc = true;
    int error = __real_closedir(directory);
    in_malloc = false;
    return error;
}
