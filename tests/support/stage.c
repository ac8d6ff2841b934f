/* SPDX-License-Identifier: MIT */
/* A segment with props, and the cues between a test and its children. */
#include <time.h>
#include <unistd.h>

#include "support/stage.h"

hf_segment *stage;
struct props *props;

static void set(uint64_t size, const hf_segment_options *options)
{
    void *root;
    assert_ok(hf_segment_create_anonymous(size, options, &stage));
    assert_ok(hf_segment_root(stage, sizeof *props, &root));
    props = root;
}

void set_stage(uint64_t size)
{
    set(size, NULL);
}

void set_growing_stage(uint64_t size, uint64_t maximum)
{
    hf_segment_options options = {.maximum = maximum};
    set(size, &options);
}

void clear_stage(void)
{
    hf_segment_close(stage);
    stage = NULL;
    props = NULL;
}

uint64_t bytes_used(void)
{
    hf_segment_info info;
    assert_ok(hf_segment_get_info(stage, &info));
    return info.used;
}

uint64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- cues -------------------------------------------------------------------------------- */

void say_ready(void)
{
    (void)fetch_add_release(&props->ready, 1);
}

static bool one_more_is_ready(void *before)
{
    return load_acquire(&props->ready) > *(const uint32_t *)before;
}

pid_t start_ready(int (*run)(void *context), void *context)
{
    uint32_t before = load_relaxed(&props->ready);
    pid_t pid = start_child(run, context);
    assert_true(wait_until(one_more_is_ready, &before, 20000));
    return pid;
}

void tell(void)
{
    store_release(&props->told, 1u);
}

void wait_until_told(void)
{
    while (load_acquire(&props->told) == 0) {
        sleep_ms(1);
    }
}

void wait_for_death(void)
{
    for (;;) {
        (void)pause();
    }
}

static int try_it(void *mutex)
{
    int result = hf_mutex_trylock(mutex);
    if (result == 0) {
        assert_ok(hf_mutex_unlock(mutex));
    }
    return -result;
}

int seen_by_another(hf_mutex *mutex)
{
    return -run_child(try_it, mutex);
}
