/* SPDX-License-Identifier: MIT */
#include "holdfast/time.h"
#include "os/os.h"

int64_t hf_now_ns(void)
{
    return (int64_t)os_now_ns();
}
