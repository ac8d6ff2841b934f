/* SPDX-License-Identifier: MIT */
/* The clock of deadlines: CLOCK_MONOTONIC, the same for all processes of a machine. */
#ifndef HOLDFAST_TIME_H
#define HOLDFAST_TIME_H

#include <stdint.h>

#include "holdfast/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Nanoseconds since some instant in the past; never goes back. */
HF_API int64_t hf_now_ns(void);

/* What is left until the deadline, as a timeout: at least 1, so that a deadline that has passed is
   -ETIMEDOUT and no mere try. */
static inline int64_t hf_time_left(int64_t deadline_ns)
{
    int64_t now = hf_now_ns();
    return deadline_ns > now ? deadline_ns - now : 1;
}

#ifdef __cplusplus
}
#endif
#endif
