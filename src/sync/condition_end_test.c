/* SPDX-License-Identifier: MIT */
/* A condition that ends while somebody begins to wait, at whatever instruction of that. */
#include "holdfast/condition.h"
#include "support/jump.h"
#include "support/stage.h"

static hf_condition *condition;
static bool has_ended;
static bool has_slept;

static int end_it(void *unused)
{
    (void)unused;
    return hf_condition_fini(condition) == 0 ? 0 : 1;
}

/* Another does, all of it, and the waiter goes on afterwards. */
static void let_another_end_it(void)
{
    assert_int_equal(run_child(end_it, NULL), 0);
    has_ended = true;
}

int __real_hf_os_wait(const volatile void *word, uint32_t expected, int64_t ns);
int __wrap_hf_os_wait(const volatile void *word, uint32_t expected, int64_t ns);

int __wrap_hf_os_wait(const volatile void *word, uint32_t expected, int64_t ns)
{
    has_slept = has_slept || !has_ended;
    return __real_hf_os_wait(word, expected, ns);
}

static int wait_for_long(void *unused)
{
    (void)unused;
    return hf_condition_timedwait(condition, hf_lockable_of(&props->mutex), SECONDS(5));
}

/* From the first instruction to the first sleep: whoever had looked already whether there is a
   condition, but had not said that it waits, is woken by nobody. */
TEST(who_begins_to_wait_as_it_ends_does_not_sleep)
{
    long n = 1;
    need_jumps();
    set_stage(64 * KIB);
    condition = (hf_condition *)(void *)&props->more[0];
    assert_ok(hf_mutex_lock(&props->mutex)); /* and has its slot */
    for (has_slept = false; !has_slept; n++) {
        has_ended = false;
        assert_ok(hf_condition_init(condition));
        int64_t start = now_ms();
        int error = interrupt_after(n, let_another_end_it, wait_for_long, NULL);
        assert_true(error == 0 || error == -EINVAL);
        assert_true(now_ms() - start < 2500);
        assert_error(hf_mutex_trylock(&props->mutex), -EDEADLK); /* it is held */
    }
    assert_true(n > 50);
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}
