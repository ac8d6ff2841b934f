/* SPDX-License-Identifier: MIT */
/* A short sleep, for what is looked at again and again. */
#ifndef TOOLS_PAUSE_H
#define TOOLS_PAUSE_H

#include <time.h>

/* Less than a second. */
static inline void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = 0, .tv_nsec = ms * 1000000};
    (void)nanosleep(&t, NULL);
}

#endif
