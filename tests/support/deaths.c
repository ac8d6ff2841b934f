/* SPDX-License-Identifier: MIT */
/* How soon a death is noticed. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/support.h"

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void expect_within(uint64_t *times_us, size_t count, uint64_t limit_ms)
{
    qsort(times_us, count, sizeof *times_us, by_size);
    uint64_t counts = times_us[count / 4];
    uint64_t longest = times_us[count - 1];
    print_message("after %llu us, at most %llu us\n", (unsigned long long)counts,
                  (unsigned long long)longest);
    assert_true(counts <= limit_ms * 1000);
    assert_true(longest <= 10000000);
}

/* Whether the kernel can tell a sleeper of an owner's death. */
static bool kernel_tells(void)
{
#ifdef SYS_futex_waitv
    void *head;
    size_t size;
    return syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 && errno == EINVAL &&
           syscall(SYS_get_robust_list, 0, &head, &size) == 0;
#else
    return false;
#endif
}

uint64_t death_limit_ms(uint64_t at_once_ms)
{
    return kernel_tells() ? at_once_ms : NOTICED_MS;
}
