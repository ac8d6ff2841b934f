/* SPDX-License-Identifier: MIT */
/* Locks that are taken in different orders are reported, with both places, and nothing else is. */
#define HF_LOCK_ORDER
#include <pthread.h>
#include <string.h>

#include "holdfast/condition.h"
#include "holdfast/guard.h"
#include "holdfast/lock_order.h"
#include "support/stage.h"

static unsigned reports;
static unsigned locks_in_report;
static hf_lock_order_step seen[HF_LOCK_ORDER_STEPS];

static void note_report(const hf_lock_order_report *found, void *context)
{
    assert_ptr_equal(context, &reports);
    assert_true(found->steps >= 2 && found->steps <= HF_LOCK_ORDER_STEPS);
    memcpy(seen, found->step, found->steps * sizeof seen[0]);
    locks_in_report = found->locks;
    reports++;
}

static void set_scene(void)
{
    set_stage(64 * KIB);
    assert_ok(hf_lock_order_set_report(note_report, &reports));
}

static hf_mutex *lock_number(unsigned i)
{
    return &props->more[i];
}

struct pair {
    unsigned first;
    unsigned second;
    int first_line;
    int second_line;
};

static void take_both(struct pair *pair)
{
    pair->first_line = __LINE__ + 1;
    assert_ok(hf_mutex_lock(lock_number(pair->first)));
    pair->second_line = __LINE__ + 1;
    assert_ok(hf_mutex_lock(lock_number(pair->second)));
    assert_ok(hf_mutex_unlock(lock_number(pair->first)));
    assert_ok(hf_mutex_unlock(lock_number(pair->second)));
}

static void *take_both_apart(void *pair)
{
    struct pair *its = pair; /* on lines of its own */
    its->first_line = __LINE__ + 1;
    assert_ok(hf_mutex_lock(lock_number(its->first)));
    its->second_line = __LINE__ + 1;
    assert_ok(hf_mutex_timedlock(lock_number(its->second), SECONDS(10)));
    assert_ok(hf_mutex_unlock(lock_number(its->second)));
    assert_ok(hf_mutex_unlock(lock_number(its->first)));
    return NULL;
}

static void in_another_thread(void *(*run)(void *), void *context)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, context), 0);
    (void)pthread_join(thread, NULL);
}

static void expect_place(const hf_lock_order_place *place, int line)
{
    assert_non_null(strstr(place->file, "lock_order_test.c"));
    assert_int_equal(place->line, line);
}

TEST(two_orders_in_two_threads_are_reported_once_with_both_places)
{
    set_scene();
    struct pair there = {.first = 0, .second = 1};
    struct pair back = {.first = 1, .second = 0};
    take_both(&there);
    assert_int_equal(reports, 0);
    in_another_thread(take_both_apart, &back);
    assert_int_equal(reports, 1);
    assert_int_equal(locks_in_report, 2);
    expect_place(&seen[0].held, back.first_line);
    expect_place(&seen[0].taken, back.second_line);
    expect_place(&seen[1].held, there.first_line);
    expect_place(&seen[1].taken, there.second_line);
    take_both(&there);
    in_another_thread(take_both_apart, &back);
    assert_int_equal(reports, 1);
    clear_stage();
}

TEST(one_order_is_no_news)
{
    set_scene();
    for (unsigned i = 0; i < 20; i++) {
        struct pair pair = {.first = i, .second = i + 1};
        take_both(&pair);
        in_another_thread(take_both_apart, &pair);
    }
    struct pair far = {.first = 3, .second = 17};
    take_both(&far);
    assert_int_equal(reports, 0);
    clear_stage();
}

TEST(a_circle_of_three_is_reported)
{
    set_scene();
    struct pair pairs[] = {{.first = 0, .second = 1}, {.first = 1, .second = 2}};
    struct pair closing = {.first = 2, .second = 0};
    take_both(&pairs[0]);
    take_both(&pairs[1]);
    assert_int_equal(reports, 0);
    in_another_thread(take_both_apart, &closing);
    assert_int_equal(reports, 1);
    assert_int_equal(locks_in_report, 3);
    expect_place(&seen[0].held, closing.first_line);
    expect_place(&seen[0].taken, closing.second_line);
    expect_place(&seen[1].held, pairs[0].first_line);
    expect_place(&seen[1].taken, pairs[0].second_line);
    expect_place(&seen[2].taken, pairs[1].second_line);
    clear_stage();
}

TEST(a_long_circle_is_reported_as_far_as_there_is_room)
{
    set_scene();
    for (unsigned i = 0; i < 11; i++) {
        struct pair pair = {.first = i, .second = i + 1};
        take_both(&pair);
    }
    struct pair closing = {.first = 11, .second = 0};
    take_both(&closing);
    assert_int_equal(reports, 1);
    assert_int_equal(locks_in_report, 12);
    clear_stage();
}

TEST(what_only_tries_makes_no_note_and_is_held_all_the_same)
{
    set_scene();
    struct pair there = {.first = 0, .second = 1};
    take_both(&there);
    assert_ok(hf_mutex_lock(lock_number(1)));
    assert_ok(hf_mutex_trylock(lock_number(0)));
    assert_int_equal(reports, 0);
    assert_ok(hf_mutex_lock(lock_number(2))); /* 0 -> 2 and 1 -> 2 */
    assert_ok(hf_mutex_unlock(lock_number(2)));
    assert_ok(hf_mutex_unlock(lock_number(1)));
    assert_ok(hf_mutex_unlock(lock_number(0)));
    struct pair back = {.first = 2, .second = 0};
    take_both(&back);
    assert_int_equal(reports, 1);
    clear_stage();
}

TEST(who_does_not_get_it_does_not_hold_it)
{
    set_scene();
    assert_ok(hf_mutex_lock(lock_number(0)));
    assert_error(hf_mutex_lock(lock_number(0)), -EDEADLK);
    assert_ok(hf_mutex_unlock(lock_number(0)));
    struct pair there = {.first = 1, .second = 2};
    struct pair back = {.first = 2, .second = 0};
    take_both(&there);
    take_both(&back);
    struct pair last = {.first = 2, .second = 3};
    take_both(&last);
    assert_int_equal(reports, 0);
    clear_stage();
}

TEST(what_is_locked_and_unlocked_by_way_of_a_lockable_is_seen)
{
    set_scene();
    hf_lockable outer = hf_lockable_of(lock_number(0));
    assert_ok(hf_lockable_lock(outer));
    assert_ok(hf_mutex_lock(lock_number(1)));
    assert_ok(hf_mutex_unlock(lock_number(1)));
    assert_ok(hf_lockable_unlock(outer)); /* and is not held any more */
    assert_ok(hf_mutex_lock(lock_number(2)));
    assert_ok(hf_mutex_unlock(lock_number(2)));
    struct pair back = {.first = 2, .second = 0};
    take_both(&back);
    assert_int_equal(reports, 0);
    assert_ok(hf_mutex_lock(lock_number(1)));
    assert_ok(hf_lockable_timedlock(outer, SECONDS(1)));
    assert_int_equal(reports, 1);
    assert_ok(hf_lockable_unlock(outer));
    assert_ok(hf_mutex_unlock(lock_number(1)));
    clear_stage();
}

TEST(a_lock_that_has_ended_is_forgotten)
{
    set_scene();
    struct pair there = {.first = 0, .second = 1};
    struct pair back = {.first = 1, .second = 0};
    take_both(&there);
    assert_ok(hf_mutex_fini(lock_number(0)));
    assert_ok(hf_mutex_init(lock_number(0)));
    take_both(&back);
    assert_int_equal(reports, 0);
    clear_stage();
}

TEST(a_recursive_mutex_is_one_lock_however_often_it_is_held)
{
    set_scene();
    hf_recursive_mutex *recursive = (hf_recursive_mutex *)(void *)lock_number(1);
    assert_ok(hf_recursive_mutex_lock(recursive));
    assert_ok(hf_recursive_mutex_lock(recursive));
    assert_ok(hf_recursive_mutex_unlock(recursive));
    assert_ok(hf_mutex_lock(lock_number(0))); /* the other is still held */
    assert_ok(hf_recursive_mutex_trylock(recursive));
    assert_ok(hf_recursive_mutex_timedlock(recursive, SECONDS(1)));
    assert_ok(hf_mutex_unlock(lock_number(0)));
    for (int i = 0; i < 3; i++) {
        assert_ok(hf_recursive_mutex_unlock(recursive));
    }
    assert_int_equal(reports, 0);
    assert_ok(hf_mutex_lock(lock_number(0)));
    assert_ok(hf_recursive_mutex_lock(recursive));
    assert_int_equal(reports, 1);
    assert_ok(hf_recursive_mutex_unlock(recursive));
    assert_ok(hf_mutex_unlock(lock_number(0)));
    assert_ok(hf_recursive_mutex_fini(recursive));
    clear_stage();
}

TEST(guards_are_seen_where_they_stand)
{
    set_scene();
    struct pair there = {.first = 0, .second = 1};
    take_both(&there);
    int line;
    {
        hf_guard(first, lock_number(1));
        line = __LINE__ + 1;
        hf_guard(second, lock_number(0));
        assert_ok(first.error);
        assert_ok(second.error);
    }
    assert_int_equal(reports, 1);
    expect_place(&seen[0].taken, line);
    struct pair other = {.first = 5, .second = 1}; /* nothing is held any more */
    take_both(&other);
    assert_int_equal(reports, 1);
    clear_stage();
}

TEST(a_reader_writer_lock_counts_in_whatever_way_it_is_held)
{
    set_scene();
    hf_rwlock *first = (hf_rwlock *)(void *)lock_number(10);
    hf_rwlock *second = (hf_rwlock *)(void *)lock_number(11);
    assert_ok(hf_rwlock_rdlock(first));
    assert_ok(hf_rwlock_wrlock(second));
    assert_ok(hf_rwlock_rdunlock(first));
    assert_ok(hf_rwlock_wrunlock(second));
    assert_ok(hf_rwlock_uplock(second));
    assert_int_equal(reports, 0);
    assert_ok(hf_rwlock_rdlock(first));
    assert_int_equal(reports, 1);
    assert_ok(hf_rwlock_rdunlock(first));
    assert_ok(hf_rwlock_upunlock(second));
    clear_stage();
}

static void *take_one_before_seven(void *unused)
{
    assert_ok(hf_mutex_lock(lock_number(1)));
    assert_error(hf_mutex_timedlock(lock_number(7), MILLISECONDS(1)), -ETIMEDOUT);
    assert_ok(hf_mutex_unlock(lock_number(1)));
    return unused;
}

static int take_the_other_way(void *unused)
{
    (void)unused;
    struct pair back = {.first = 1, .second = 0};
    take_both(&back);
    /* What the parent holds this thread does not: no 7 before 1 has been noted. */
    in_another_thread(take_one_before_seven, NULL);
    return (int)reports;
}

/* ---- conditions -------------------------------------------------------------------------- */

static hf_condition *condition(void)
{
    return (hf_condition *)(void *)lock_number(STAGE_MORE - 1);
}

static bool never(void *unused)
{
    (void)unused;
    return false;
}

/* Each form, which ends by its time. */
static int wait_a_moment(unsigned form, hf_lockable lock, int *line)
{
    switch (form) {
    case 0:
        *line = __LINE__ + 1;
        return hf_condition_timedwait(condition(), lock, 1);
    case 1:
        *line = __LINE__ + 1;
        return hf_condition_wait_until(condition(), lock, hf_now_ns() - 1);
    case 2:
        *line = __LINE__ + 1;
        return hf_condition_wait_for(condition(), lock, never, NULL, 1);
    default:
        *line = __LINE__ + 1;
        return hf_condition_wait_for_until(condition(), lock, never, NULL, hf_now_ns() - 1);
    }
}

TEST(who_waits_with_an_outer_lock_takes_it_after_the_inner_one)
{
    set_scene();
    for (unsigned form = 0; form < 4; form++) {
        hf_mutex *outer = lock_number(2 * form);
        hf_mutex *inner = lock_number(2 * form + 1);
        int line;
        assert_ok(hf_mutex_lock(outer));
        int held_since = __LINE__ + 1;
        assert_ok(hf_mutex_lock(inner));
        assert_int_equal(reports, form);
        assert_error(wait_a_moment(form, hf_lockable_of(outer), &line), -ETIMEDOUT);
        assert_int_equal(reports, form + 1);
        expect_place(&seen[0].held, held_since);
        expect_place(&seen[0].taken, line);
        assert_ok(hf_mutex_unlock(inner));
        assert_ok(hf_mutex_unlock(outer));
    }
    clear_stage();
}

TEST(who_waits_with_the_inner_lock_keeps_the_order)
{
    set_scene();
    for (unsigned form = 0; form < 4; form++) {
        int line;
        assert_ok(hf_mutex_lock(lock_number(0)));
        assert_ok(hf_mutex_lock(lock_number(1)));
        assert_error(wait_a_moment(form, hf_lockable_of(lock_number(1)), &line), -ETIMEDOUT);
        assert_ok(hf_mutex_unlock(lock_number(1)));
        assert_ok(hf_mutex_unlock(lock_number(0)));
    }
    assert_int_equal(reports, 0);
    clear_stage();
}

TEST(after_a_wait_the_lock_is_held_since_there)
{
    set_scene();
    struct pair there = {.first = 1, .second = 0};
    take_both(&there);
    int line;
    assert_ok(hf_mutex_lock(lock_number(0)));
    assert_error(wait_a_moment(0, hf_lockable_of(lock_number(0)), &line), -ETIMEDOUT);
    assert_ok(hf_mutex_lock(lock_number(1)));
    assert_int_equal(reports, 1);
    expect_place(&seen[0].held, line);
    assert_ok(hf_mutex_unlock(lock_number(1)));
    assert_ok(hf_mutex_unlock(lock_number(0)));
    struct pair back = {.first = 2, .second = 0}; /* it is held no more */
    take_both(&back);
    struct pair on = {.first = 3, .second = 2};
    take_both(&on);
    assert_int_equal(reports, 1);
    clear_stage();
}

TEST(a_wait_that_is_refused_changes_nothing)
{
    set_scene();
    int line;
    int first = __LINE__ + 1;
    assert_ok(hf_mutex_lock(lock_number(0)));
    assert_error(wait_a_moment(0, hf_lockable_of(lock_number(1)), &line), -EPERM);
    assert_ok(hf_tx_begin(stage));
    assert_error(wait_a_moment(0, hf_lockable_of(lock_number(0)), &line), -EBUSY);
    assert_ok(hf_tx_abort(stage));
    int second = __LINE__ + 1;
    assert_ok(hf_mutex_lock(lock_number(1)));
    assert_ok(hf_mutex_unlock(lock_number(1)));
    assert_ok(hf_mutex_unlock(lock_number(0)));
    struct pair back = {.first = 1, .second = 0};
    take_both(&back);
    assert_int_equal(reports, 1);
    expect_place(&seen[1].taken, second);
    expect_place(&seen[1].held, first);
    clear_stage();
}

TEST(calls_with_a_deadline_are_seen_as_well)
{
    set_scene();
    hf_recursive_mutex *recursive = (hf_recursive_mutex *)(void *)lock_number(0);
    assert_ok(hf_mutex_lock_until(lock_number(1), hf_now_ns() + SECONDS(1)));
    assert_ok(hf_recursive_mutex_lock_until(recursive, hf_now_ns() + SECONDS(1)));
    assert_ok(hf_rwlock_wrlock_until(&props->rwlock, hf_now_ns() + SECONDS(1)));
    assert_ok(hf_rwlock_wrunlock(&props->rwlock));
    assert_ok(hf_recursive_mutex_unlock(recursive));
    assert_ok(hf_mutex_unlock(lock_number(1)));
    assert_ok(hf_rwlock_rdlock_until(&props->rwlock, hf_now_ns() + SECONDS(1)));
    assert_ok(hf_recursive_mutex_lock_until(recursive, hf_now_ns() + SECONDS(1)));
    assert_int_equal(reports, 1);
    assert_ok(hf_mutex_lock_until(lock_number(1), hf_now_ns() + SECONDS(1)));
    assert_int_equal(reports, 2);
    assert_ok(hf_mutex_unlock(lock_number(1)));
    assert_ok(hf_recursive_mutex_unlock(recursive));
    assert_ok(hf_rwlock_rdunlock(&props->rwlock));
    clear_stage();
}

TEST(a_forked_child_starts_afresh)
{
    set_scene();
    struct pair there = {.first = 0, .second = 1};
    take_both(&there);
    assert_ok(hf_mutex_lock(lock_number(7)));
    assert_int_equal(run_child(take_the_other_way, NULL), 0);
    assert_ok(hf_mutex_unlock(lock_number(7)));
    clear_stage();
}

TEST(more_locks_than_it_has_room_for_do_no_harm)
{
    set_scene();
    for (unsigned i = 0; i + 1 < STAGE_MORE; i++) {
        struct pair pair = {.first = i, .second = i + 1};
        take_both(&pair);
    }
    for (unsigned i = 0; i < 40; i++) {
        assert_ok(hf_mutex_lock(lock_number(i)));
    }
    for (unsigned i = 0; i < 40; i++) {
        assert_ok(hf_mutex_unlock(lock_number(i)));
    }
    assert_int_equal(reports, 0);
    struct pair there = {.first = 500, .second = 501};
    struct pair back = {.first = 501, .second = 500};
    take_both(&there);
    take_both(&back);
    assert_int_equal(reports, 1);
    clear_stage();
}
