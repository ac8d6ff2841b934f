/* SPDX-License-Identifier: MIT */
/* Semaphores: what they count, who waits, and what comes back from the dead. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holdfast/named.h"
#include "holdfast/semaphore.h"
#include "segment/check.h"
#include "segment/handle.h"
#include "segment/holds.h"
#include "segment/semaphore_layout.h"
#include "support/stage.h"

#define SECOND INT64_C(1000000000)

/* In the stage's root, where nothing else is used meanwhile. */
static hf_semaphore *semaphore(unsigned i)
{
    return (hf_semaphore *)(void *)props->bytes + i;
}

static void set_semaphore(unsigned i, uint32_t permits, unsigned flags)
{
    assert_ok(hf_semaphore_init(semaphore(i), permits, flags));
}

static uint32_t value_of(unsigned i)
{
    uint32_t value;
    assert_ok(hf_semaphore_value(semaphore(i), &value));
    return value;
}

static const unsigned kinds[] = {0, HF_SEMAPHORE_UNDO};
/* NOLINTNEXTLINE(bugprone-macro-parentheses): it is declared */
#define FOR_BOTH_KINDS(flags) for (unsigned k_ = 0, flags = 0; k_ < 2; flags = kinds[++k_ % 2])

/* ---- counting ---------------------------------------------------------------------------- */

TEST(permits_are_taken_and_come_back)
{
    set_stage(64 * KIB);
    FOR_BOTH_KINDS(flags)
    {
        set_semaphore(0, 2, flags);
        assert_ok(hf_semaphore_wait(semaphore(0)));
        assert_ok(hf_semaphore_trywait(semaphore(0)));
        assert_error(hf_semaphore_trywait(semaphore(0)), -EBUSY);
        assert_error(hf_semaphore_timedwait(semaphore(0), 1000000), -ETIMEDOUT);
        assert_error(hf_semaphore_wait_until(semaphore(0), hf_now_ns() - 1), -ETIMEDOUT);
        assert_ok(hf_semaphore_post(semaphore(0)));
        assert_ok(hf_semaphore_timedwait(semaphore(0), SECOND));
        assert_ok(hf_semaphore_post_many(semaphore(0), 2));
        assert_int_equal(value_of(0), 2);
    }
    clear_stage();
}

TEST(memory_of_zeros_is_a_plain_one_without_permits)
{
    set_stage(64 * KIB);
    assert_error(hf_semaphore_trywait(semaphore(3)), -EBUSY);
    assert_ok(hf_semaphore_post(semaphore(3)));
    assert_ok(hf_semaphore_wait(semaphore(3)));
    clear_stage();
}

TEST(there_is_an_end_to_permits)
{
    set_stage(64 * KIB);
    assert_error(hf_semaphore_init(semaphore(0), HF_SEMAPHORE_MAX + 1, 0), -EOVERFLOW);
    FOR_BOTH_KINDS(flags)
    {
        set_semaphore(0, HF_SEMAPHORE_MAX - 1, flags);
        assert_error(hf_semaphore_post_many(semaphore(0), 2), -EOVERFLOW);
        assert_error(hf_semaphore_post_many(semaphore(0), UINT32_MAX), -EOVERFLOW);
        assert_ok(hf_semaphore_post(semaphore(0)));
        assert_error(hf_semaphore_post(semaphore(0)), -EOVERFLOW);
        assert_int_equal(value_of(0), HF_SEMAPHORE_MAX);
    }
    clear_stage();
}

TEST(what_is_no_semaphore_is_refused)
{
    uint32_t value;
    hf_semaphore local;
    set_stage(64 * KIB);
    assert_error(hf_semaphore_wait(NULL), -EINVAL);
    assert_error(hf_semaphore_post(NULL), -EINVAL);
    assert_error(hf_semaphore_value(NULL, &value), -EINVAL);
    assert_error(hf_semaphore_init((hf_semaphore *)(void *)(props->bytes + 4), 1, 0), -EINVAL);
    assert_error(hf_semaphore_init(semaphore(0), 1, 2), -EINVAL);
    assert_error(hf_semaphore_init(&local, 1, HF_SEMAPHORE_UNDO), -EINVAL);
    FOR_BOTH_KINDS(flags)
    {
        set_semaphore(0, 1, flags);
        assert_error(hf_semaphore_timedwait(semaphore(0), -2), -EINVAL);
        assert_error(hf_semaphore_value(semaphore(0), NULL), -EINVAL);
        assert_ok(hf_semaphore_fini(semaphore(0)));
        assert_error(hf_semaphore_wait(semaphore(0)), -EINVAL);
        assert_error(hf_semaphore_post(semaphore(0)), -EINVAL);
        assert_error(hf_semaphore_fini(semaphore(0)), -EINVAL);
    }
    clear_stage();
}

TEST(a_copy_elsewhere_is_no_semaphore_whose_permits_come_back)
{
    set_stage(64 * KIB);
    set_semaphore(0, 1, HF_SEMAPHORE_UNDO);
    memcpy(semaphore(5), semaphore(0), sizeof(hf_semaphore));
    assert_error(hf_semaphore_trywait(semaphore(5)), -EINVAL);
    assert_ok(hf_semaphore_trywait(semaphore(0)));
    clear_stage();
}

TEST(a_thread_holds_of_at_most_32_at_a_time)
{
    set_stage(64 * KIB);
    for (unsigned i = 0; i < 33; i++) {
        set_semaphore(i, 2, HF_SEMAPHORE_UNDO);
        assert_error(hf_semaphore_wait(semaphore(i)), i < 32 ? 0 : -ENOLCK);
    }
    assert_ok(hf_semaphore_wait(semaphore(7)));
    assert_ok(hf_semaphore_post(semaphore(12)));
    assert_ok(hf_semaphore_wait(semaphore(32)));
    assert_int_equal(value_of(32), 1);
    clear_stage();
}

TEST(it_has_a_name_as_well)
{
    char name[64];
    hf_semaphore *one;
    hf_semaphore *other;
    hf_sync_options options = {.count = 3, .undo = true};
    (void)snprintf(name, sizeof name, "hft-semaphore-%d", (int)getpid());
    assert_ok(hf_semaphore_create(name, &options, &one));
    assert_ok(hf_semaphore_open(name, &other));
    assert_ok(hf_semaphore_wait(one));
    uint32_t value;
    assert_ok(hf_semaphore_value(other, &value));
    assert_int_equal(value, 2);
    assert_ok(hf_semaphore_close(one));
    assert_ok(hf_semaphore_close(other));
    assert_ok(hf_semaphore_remove(name));
}

/* ---- waiting ----------------------------------------------------------------------------- */

static int wait_for_it(void *context)
{
    say_ready();
    int error = hf_semaphore_timedwait(context, 20 * SECOND);
    return error == 0 ? hf_semaphore_post(context) : 1;
}

TEST(who_sleeps_is_woken)
{
    set_stage(64 * KIB);
    FOR_BOTH_KINDS(flags)
    {
        set_semaphore(0, 0, flags);
        pid_t child = start_ready(wait_for_it, semaphore(0));
        sleep_ms(50);
        assert_ok(hf_semaphore_post(semaphore(0)));
        assert_int_equal(wait_child(child), 0);
        assert_int_equal(value_of(0), 1);
    }
    clear_stage();
}

TEST(as_many_are_woken_as_there_are_permits)
{
    set_stage(64 * KIB);
    FOR_BOTH_KINDS(flags)
    {
        pid_t child[4];
        set_semaphore(0, 0, flags);
        for (unsigned i = 0; i < 4; i++) {
            child[i] = start_ready(wait_for_it, semaphore(0));
        }
        sleep_ms(50);
        assert_ok(hf_semaphore_post_many(semaphore(0), 4));
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(wait_child(child[i]), 0);
        }
        assert_int_equal(value_of(0), 4);
    }
    clear_stage();
}

TEST(who_waits_hears_of_its_end)
{
    set_stage(64 * KIB);
    FOR_BOTH_KINDS(flags)
    {
        set_semaphore(0, 0, flags);
        pid_t child = start_ready(wait_for_it, semaphore(0));
        sleep_ms(50);
        assert_ok(hf_semaphore_fini(semaphore(0)));
        assert_int_equal(wait_child(child), 1);
    }
    clear_stage();
}

#define ROUNDS 20000

static int pass_them_round(void *context)
{
    say_ready();
    int error = 0;
    for (unsigned i = 0; i < ROUNDS && error == 0; i++) {
        error = hf_semaphore_wait(context);
        uint64_t inside = error == 0 ? fetch_add_relaxed(&props->done[0], 1) + 1 : 0;
        if (inside > 2) {
            store_relaxed(&props->result, 1);
        }
        (void)fetch_add_relaxed(&props->done[0], UINT64_MAX);
        error = error != 0 ? error : hf_semaphore_post(context);
    }
    return error == 0 ? 0 : 1;
}

TEST(no_more_are_inside_than_there_are_permits)
{
    set_stage(64 * KIB);
    FOR_BOTH_KINDS(flags)
    {
        pid_t child[4];
        set_semaphore(0, 2, flags);
        for (unsigned i = 0; i < 4; i++) {
            child[i] = start_ready(pass_them_round, semaphore(0));
        }
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(wait_child(child[i]), 0);
        }
        assert_int_equal(load_relaxed(&props->result), 0);
        assert_int_equal(value_of(0), 2);
    }
    clear_stage();
}

static void *thread_passes(void *context)
{
    for (unsigned i = 0; i < ROUNDS / 10; i++) {
        assert_ok(hf_semaphore_wait(context));
        props->counter++;
        assert_ok(hf_semaphore_post(context));
    }
    return NULL;
}

TEST(what_a_thread_has_written_the_next_one_sees)
{
    set_stage(64 * KIB);
    FOR_BOTH_KINDS(flags)
    {
        pthread_t thread[3];
        set_semaphore(0, 1, flags);
        props->counter = 0;
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(pthread_create(&thread[i], NULL, thread_passes, semaphore(0)), 0);
        }
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(pthread_join(thread[i], NULL), 0);
        }
        assert_int_equal(props->counter, 3 * (ROUNDS / 10));
    }
    clear_stage();
}

/* ---- the dead ---------------------------------------------------------------------------- */

_Noreturn static int take_two_and_wait(void *context)
{
    assert_ok(hf_semaphore_wait(context));
    assert_ok(hf_semaphore_wait(context));
    say_ready();
    wait_for_death();
}

TEST(permits_of_the_dead_come_back)
{
    set_stage(64 * KIB);
    set_semaphore(0, 3, HF_SEMAPHORE_UNDO);
    (void)kill_and_reap(start_ready(take_two_and_wait, semaphore(0)));
    assert_int_equal(value_of(0), 1);
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(value_of(0), 3);
    clear_stage();
}

TEST(of_a_plain_one_they_do_not)
{
    set_stage(64 * KIB);
    set_semaphore(0, 3, 0);
    (void)kill_and_reap(start_ready(take_two_and_wait, semaphore(0)));
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(value_of(0), 1);
    clear_stage();
}

TEST(who_waits_for_the_dead_goes_on)
{
    set_stage(64 * KIB);
    set_semaphore(0, 2, HF_SEMAPHORE_UNDO);
    pid_t holder = start_ready(take_two_and_wait, semaphore(0));
    pid_t waiter = start_ready(wait_for_it, semaphore(0));
    sleep_ms(30);
    (void)kill_and_reap(holder);
    assert_int_equal(wait_child(waiter), 0);
    assert_int_equal(value_of(0), 2);
    clear_stage();
}

TEST(who_only_tries_gets_what_the_dead_had)
{
    set_stage(64 * KIB);
    for (unsigned late = 0; late < 2; late++) {
        pid_t holder[2];
        set_semaphore(0, 4, HF_SEMAPHORE_UNDO);
        holder[0] = start_ready(take_two_and_wait, semaphore(0));
        holder[1] = start_ready(take_two_and_wait, semaphore(0));
        assert_error(hf_semaphore_trywait(semaphore(0)), -EBUSY);
        (void)kill_and_reap(holder[1]); /* the system has just been asked after both */
        sleep_ms(30);
        assert_ok(late != 0 ? hf_semaphore_wait_until(semaphore(0), hf_now_ns() - 1)
                            : hf_semaphore_trywait(semaphore(0)));
        assert_ok(hf_semaphore_post(semaphore(0)));
        (void)kill_and_reap(holder[0]);
        assert_ok(hf_segment_recover(stage, NULL));
    }
    clear_stage();
}

/* Two holders: the waiter sleeps beside one, and the other dies. */
TEST(whichever_of_the_holders_dies)
{
    set_stage(64 * KIB);
    for (unsigned dies = 0; dies < 2; dies++) {
        pid_t holder[2];
        set_semaphore(0, 4, HF_SEMAPHORE_UNDO);
        holder[0] = start_ready(take_two_and_wait, semaphore(0));
        holder[1] = start_ready(take_two_and_wait, semaphore(0));
        pid_t waiter = start_ready(wait_for_it, semaphore(0));
        sleep_ms(30);
        (void)kill_and_reap(holder[dies]);
        assert_int_equal(wait_child(waiter), 0);
        (void)kill_and_reap(holder[1 - dies]);
        assert_ok(hf_segment_recover(stage, NULL));
        assert_int_equal(value_of(0), 4);
    }
    clear_stage();
}

static void *take_and_end(void *context)
{
    assert_ok(hf_semaphore_wait(context));
    return NULL;
}

TEST(a_thread_that_ends_gives_its_permits_back)
{
    pthread_t thread;
    set_stage(64 * KIB);
    set_semaphore(0, 1, HF_SEMAPHORE_UNDO);
    assert_int_equal(pthread_create(&thread, NULL, take_and_end, semaphore(0)), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(value_of(0), 1);
    clear_stage();
}

/* Whoever has permits of the one that was there before, and then ends. */
TEST(one_that_is_made_anew_does_not_get_the_permits_of_the_one_before)
{
    set_stage(64 * KIB);
    set_semaphore(0, 3, HF_SEMAPHORE_UNDO);
    (void)kill_and_reap(start_ready(take_two_and_wait, semaphore(0)));
    assert_ok(hf_semaphore_wait(semaphore(0)));
    assert_ok(hf_semaphore_fini(semaphore(0)));
    set_semaphore(0, 2, HF_SEMAPHORE_UNDO);
    uint32_t held;
    assert_ok(hf_semaphore_held(semaphore(0), &held));
    assert_int_equal(held, 0);
    assert_ok(hf_thread_leave(stage));
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(value_of(0), 2);
    clear_stage();
}

TEST(none_is_made_where_the_living_have_permits_of_the_one_before)
{
    set_stage(64 * KIB);
    set_semaphore(0, 3, HF_SEMAPHORE_UNDO);
    pid_t child = start_ready(take_two_and_wait, semaphore(0));
    assert_ok(hf_semaphore_fini(semaphore(0)));
    assert_error(hf_semaphore_init(semaphore(0), 1, HF_SEMAPHORE_UNDO), -EBUSY);
    assert_error(hf_semaphore_trywait(semaphore(0)), -EINVAL);
    (void)kill_and_reap(child);
    set_semaphore(0, 1, HF_SEMAPHORE_UNDO);
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(value_of(0), 1);
    clear_stage();
}

/* The memory is used for something else by then, which looks like one. */
TEST(recovery_leaves_alone_what_is_no_semaphore_any_more)
{
    set_stage(64 * KIB);
    struct semaphore *bytes = (struct semaphore *)(void *)semaphore(0);
    set_semaphore(0, 3, HF_SEMAPHORE_UNDO);
    pid_t child = start_ready(take_two_and_wait, semaphore(0));
    assert_ok(hf_semaphore_fini(semaphore(0)));
    store_release(&bytes->kind, LOCK_UNDO);
    store_release(&bytes->count, UINT64_C(4711));
    (void)kill_and_reap(child);
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(load_relaxed(&bytes->count), 4711);
    clear_stage();
}

/* Nor is one the lock that a dead one may have waited for there. */
TEST(a_plain_one_does_not_name_its_place)
{
    set_stage(64 * KIB);
    struct semaphore *bytes = (struct semaphore *)(void *)semaphore(0);
    assert_ok(hf_mutex_lock((hf_mutex *)(void *)semaphore(0)));
    assert_ok(hf_mutex_unlock((hf_mutex *)(void *)semaphore(0)));
    assert_true(load_relaxed(&bytes->self) != 0);
    set_semaphore(0, 3, 0);
    assert_int_equal(load_relaxed(&bytes->self), 0);
    clear_stage();
}

static void kill_three(int (*run)(void *context), unsigned round)
{
    pid_t child[3];
    for (unsigned i = 0; i < 3; i++) {
        child[i] = start_ready(run, semaphore(0));
    }
    sleep_ms(1 + round % 5);
    for (unsigned i = 0; i < 3; i++) {
        (void)kill_and_reap(child[i]);
    }
    assert_ok(hf_segment_recover(stage, NULL));
}

_Noreturn static int take_more_and_more(void *context)
{
    say_ready();
    for (unsigned i = 0;; i++) {
        (void)hf_semaphore_wait(context);
        (void)hf_semaphore_wait(context);
        (void)hf_semaphore_post_many(context, 1 + i % 2);
        (void)hf_semaphore_post(context);
    }
}

/* Posting one too many at times makes one more for good: only what is taken comes back. */
TEST(killed_at_random_they_leave_as_many_as_there_were)
{
    set_stage(64 * KIB);
    set_semaphore(0, 6, HF_SEMAPHORE_UNDO);
    for (unsigned round = 0; round < 60; round++) {
        kill_three(take_more_and_more, round);
        assert_true(value_of(0) >= 6);
        set_semaphore(0, 6, HF_SEMAPHORE_UNDO);
    }
    clear_stage();
}

_Noreturn static int take_and_give(void *context)
{
    say_ready();
    for (;;) {
        (void)hf_semaphore_wait(context);
        (void)hf_semaphore_timedwait(context, 100000);
        (void)hf_thread_leave(stage);
        (void)hf_semaphore_wait(context);
        (void)hf_semaphore_post(context);
    }
}

TEST(killed_at_random_no_permit_is_lost_or_doubled)
{
    set_stage(64 * KIB);
    set_semaphore(0, 2, HF_SEMAPHORE_UNDO);
    for (unsigned round = 0; round < 100; round++) {
        kill_three(take_and_give, round);
        assert_int_equal(value_of(0), 2);
    }
    clear_stage();
}

/* ---- damage -------------------------------------------------------------------------------- */

static long times_asleep(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_nvcsw;
}

TEST(who_waits_sleeps_although_a_slot_that_nobody_has_holds_a_permit)
{
    set_stage(64 * KIB);
    set_semaphore(0, 0, HF_SEMAPHORE_UNDO);
    struct slot *slot = view_slot(stage->view, 4);
    hold_set(slot, 0, hold_word(hf_segment_offset(stage, semaphore(0)).value, HOLD_PERMITS, 1));
    long before = times_asleep();
    assert_error(hf_semaphore_timedwait(semaphore(0), SECOND / 4), -ETIMEDOUT);
    assert_true(times_asleep() > before);
    hold_clear(slot, 0);
    clear_stage();
}

/* ---- versions that come round --------------------------------------------------------------- */

static void take_and_post(unsigned i, unsigned times)
{
    for (unsigned k = 0; k < times; k++) {
        assert_ok(hf_semaphore_wait(semaphore(i)));
        assert_ok(hf_semaphore_post(semaphore(i)));
    }
}

static uint64_t word_of(unsigned i)
{
    return load_acquire(&((struct semaphore *)(void *)semaphore(i))->count);
}

/* As if somebody in that slot had stopped, about to replace the word. */
static void expect(uint32_t slot, uint64_t word)
{
    store_relaxed(&view_slot(stage->view, slot)->update_expects, word);
}

/* A million calls of one thread have no races. */
#define SKIP_UNDER_TSAN()                                                                          \
    if (UNDER_TSAN) {                                                                              \
        SKIP("one thread, a million calls");                                                       \
    }

TEST(versions_that_come_round_are_no_trouble)
{
    SKIP_UNDER_TSAN()
    set_stage(64 * KIB);
    set_semaphore(0, 1, HF_SEMAPHORE_UNDO);
    set_semaphore(1, 1, HF_SEMAPHORE_UNDO);
    for (unsigned i = 0; i < 6; i++) {
        take_and_post(0, 100000);
        take_and_post(1, 1);
    }
    assert_int_equal(value_of(0), 1);
    assert_int_equal(value_of(1), 1);
    clear_stage();
}

/* It would be replaced by who stopped, who has not acknowledged it: the one who wrote it could die
   and not be known to have done so. */
TEST(a_word_that_is_about_to_be_replaced_does_not_come_again)
{
    SKIP_UNDER_TSAN()
    set_stage(64 * KIB);
    set_semaphore(0, 1, HF_SEMAPHORE_UNDO);
    take_and_post(0, 1000);
    uint64_t expected = word_of(0);
    expect(3, expected);
    for (unsigned i = 0; i <= COUNT_VERSION_MASK; i++) {
        take_and_post(0, 1);
        assert_true(word_of(0) != expected);
    }
    expect(3, 0);
    clear_stage();
}

/* Whoever wrote it makes a whole round of updates elsewhere; only then somebody comes to replace
 * it. */
TEST(nor_does_one_that_has_stood_for_long)
{
    SKIP_UNDER_TSAN()
    set_stage(64 * KIB);
    set_semaphore(0, 1, HF_SEMAPHORE_UNDO);
    set_semaphore(1, 1, HF_SEMAPHORE_UNDO);
    take_and_post(0, 100);
    uint64_t expected = word_of(0);
    take_and_post(1, (COUNT_VERSION_MASK + 1) / 2 - 1);
    expect(3, expected);
    for (unsigned i = 0; i < 1000; i++) {
        take_and_post(0, 1);
        assert_true(word_of(0) != expected);
    }
    expect(3, 0);
    clear_stage();
}
