/* SPDX-License-Identifier: MIT */
/* The process's own memory. Whoever jumps out of malloc leaves its lock held, and its lists torn:
   so in here no signal handler comes. */
#include <stdlib.h>

#include "os/os.h"

void *os_alloc(size_t bytes)
{
    os_quiet quiet;
    os_quiet_begin(&quiet);
    void *memory = calloc(1, bytes);
    os_quiet_end(&quiet);
    return memory;
}

void os_free(void *memory)
{
    os_quiet quiet;
    os_quiet_begin(&quiet);
    free(memory);
    os_quiet_end(&quiet);
}
