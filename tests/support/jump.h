/* SPDX-License-Identifier: MIT */
/* For the tests of threads that are interrupted in a call, or jump out of it: at whatever
   instruction of it. */
#ifndef HF_TESTS_JUMP_H
#define HF_TESTS_JUMP_H

#include <stdbool.h>

/* Skips the test where single steps are not known. */
void need_jumps(void);

/* Makes the call and does `what`, in a signal handler, after so many instructions, counted from a
   little before it. Gives what the call gave. */
int interrupt_after(long instructions, void (*what)(void), int (*call)(void *context),
                    void *context);

/* Is in the call and jumps out of it after so many instructions, counted from a little before it;
   false: it has ended before, and all is as if nobody had meant to jump. A jump out of malloc fails
   the test: the next one to call malloc would wait for ever. */
bool jump_after(long instructions, int (*call)(void *context), void *context);

/* After a jump. It may have come before the call or after it: then there is nothing to recover. */
void recover_from_jump(void);

#endif
