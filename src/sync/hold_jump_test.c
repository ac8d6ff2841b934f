/* SPDX-License-Identifier: MIT */
/*
 * A thread that jumps out of a call, at any instruction of it, on what it holds more than once:
 * afterwards it can tell what it has, and that is what the others miss.
 */
#include "holdfast/barrier.h"
#include "holdfast/rwlock.h"
#include "holdfast/semaphore.h"
#include "segment/barrier_layout.h"
#include "support/jump.h"
#include "support/stage.h"

#define PERMITS 5u

static hf_semaphore *semaphore(void)
{
    return (hf_semaphore *)(void *)props->bytes;
}

/* How often a jump was seen to have been made, and not to have been made. */
static unsigned made;
static unsigned not_made;

static void expect_both(void)
{
    assert_true(made > 5);
    assert_true(not_made > 5);
    made = not_made = 0;
}

/* ---- permits ----------------------------------------------------------------------------- */

static uint32_t permits_held(void)
{
    uint32_t permits;
    assert_ok(hf_semaphore_held(semaphore(), &permits));
    return permits;
}

static uint32_t permits_left(void)
{
    uint32_t value;
    assert_ok(hf_semaphore_value(semaphore(), &value));
    return value;
}

static void hold(uint32_t permits)
{
    for (uint32_t held = permits_held(); held < permits; held++) {
        assert_ok(hf_semaphore_wait(semaphore()));
    }
    for (uint32_t held = permits_held(); held > permits; held--) {
        assert_ok(hf_semaphore_post(semaphore()));
    }
    assert_int_equal(permits_held(), permits);
    assert_int_equal(permits_left(), PERMITS - permits);
}

static void set_scene(void)
{
    set_stage(64 * KIB);
    assert_ok(hf_semaphore_init(semaphore(), PERMITS, HF_SEMAPHORE_UNDO));
    hold(1); /* the first update of all, of a word that nobody wrote, is longer than the others */
    hold(0);
}

/* Holding `before` it makes the call, which it jumps out of, and holds `after` if it was made. */
static void jump_at_each(int (*call)(void *context), uint32_t before, uint32_t after)
{
    long n = 1;
    for (bool jumped = true; jumped; n++) {
        hold(before);
        jumped = jump_after(n, call, NULL);
        recover_from_jump();
        uint32_t held = permits_held();
        assert_true(held == after || (jumped && held == before));
        assert_int_equal(permits_left(), PERMITS - held);
        made += held == after ? 1 : 0;
        not_made += held == before ? 1 : 0;
    }
    assert_true(n > 50);
    expect_both();
}

static int wait_for_one(void *unused)
{
    (void)unused;
    return hf_semaphore_wait(semaphore());
}

static int post_one(void *unused)
{
    (void)unused;
    return hf_semaphore_post(semaphore());
}

static int post_two(void *unused)
{
    (void)unused;
    return hf_semaphore_post_many(semaphore(), 2);
}

TEST(who_jumps_out_of_a_semaphores_wait_knows_what_it_holds)
{
    need_jumps();
    set_scene();
    jump_at_each(wait_for_one, 0, 1);
    jump_at_each(wait_for_one, 2, 3);
    hold(0);
    clear_stage();
}

TEST(who_jumps_out_of_a_post_knows_what_it_holds)
{
    need_jumps();
    set_scene();
    jump_at_each(post_one, 1, 0);
    jump_at_each(post_one, 3, 2);
    jump_at_each(post_two, 3, 1);
    hold(0);
    clear_stage();
}

/* It would have had to wait: that it has no permit is certain. */
static int wait_in_vain(void *unused)
{
    (void)unused;
    return hf_semaphore_timedwait(semaphore(), 1000);
}

TEST(who_jumps_out_of_waiting_for_a_permit_holds_what_it_held)
{
    long n = 1;
    need_jumps();
    set_scene();
    hold(PERMITS);
    for (bool jumped = true; jumped; n++) {
        jumped = jump_after(n, wait_in_vain, NULL);
        recover_from_jump();
        assert_int_equal(permits_held(), PERMITS);
        assert_int_equal(permits_left(), 0);
    }
    assert_true(n > 50);
    hold(0);
    clear_stage();
}

TEST(what_is_held_is_asked_of_a_semaphore_whose_permits_come_back)
{
    uint32_t permits;
    set_scene();
    assert_int_equal(permits_held(), 0);
    assert_error(hf_semaphore_held(semaphore(), NULL), -EINVAL);
    assert_error(hf_semaphore_held(NULL, &permits), -EINVAL);
    assert_ok(hf_semaphore_init(semaphore(), 1, 0));
    assert_error(hf_semaphore_held(semaphore(), &permits), -EINVAL);
    clear_stage();
}

/* ---- a reader-writer lock ---------------------------------------------------------------- */

static uint32_t reads(void)
{
    uint32_t times;
    assert_ok(hf_rwlock_held_shared(&props->rwlock, &times));
    return times;
}

static void read_so_often(uint32_t times)
{
    for (uint32_t held = reads(); held < times; held++) {
        assert_ok(hf_rwlock_rdlock(&props->rwlock));
    }
    for (uint32_t held = reads(); held > times; held--) {
        assert_ok(hf_rwlock_rdunlock(&props->rwlock));
    }
    assert_int_equal(reads(), times);
}

static void jump_at_each_while_reading(int (*call)(void *context), uint32_t before, uint32_t after)
{
    long n = 1;
    for (bool jumped = true; jumped; n++) {
        read_so_often(before);
        jumped = jump_after(n, call, NULL);
        recover_from_jump();
        uint32_t held = reads();
        assert_true(held == after || (jumped && held == before));
        made += held == after ? 1 : 0;
        not_made += held == before ? 1 : 0;
    }
    assert_true(n > 20);
    read_so_often(0);
    assert_ok(hf_rwlock_trywrlock(&props->rwlock)); /* nobody reads */
    assert_ok(hf_rwlock_wrunlock(&props->rwlock));
    expect_both();
}

static int read_it(void *unused)
{
    (void)unused;
    return hf_rwlock_rdlock(&props->rwlock);
}

static int read_no_more(void *unused)
{
    (void)unused;
    return hf_rwlock_rdunlock(&props->rwlock);
}

TEST(who_jumps_out_of_a_readers_call_knows_how_often_it_reads)
{
    need_jumps();
    set_scene();
    jump_at_each_while_reading(read_it, 0, 1);
    jump_at_each_while_reading(read_it, 1, 2);
    jump_at_each_while_reading(read_it, 2, 3);
    jump_at_each_while_reading(read_no_more, 1, 0);
    jump_at_each_while_reading(read_no_more, 2, 1);
    jump_at_each_while_reading(read_no_more, 3, 2);
    clear_stage();
}

/* ---- a barrier ----------------------------------------------------------------------------- */

static uint64_t barrier_state(void)
{
    struct barrier *bytes = (struct barrier *)(void *)&props->barrier;
    return load_relaxed(&bytes->state);
}

static int leave_it(void *unused)
{
    (void)unused;
    return hf_barrier_leave(&props->barrier);
}

TEST(who_jumps_out_of_leaving_a_barrier_has_left_once_or_breaks_it)
{
    long n = 1;
    unsigned broken = 0;
    need_jumps();
    set_scene();
    for (bool jumped = true; jumped; n++) {
        assert_ok(hf_barrier_init(&props->barrier, 3));
        assert_ok(hf_barrier_join(&props->barrier));
        jumped = jump_after(n, leave_it, NULL);
        recover_from_jump();
        int again = hf_barrier_leave(&props->barrier);
        bool breaks = (barrier_state() & BARRIER_BROKEN) != 0;
        assert_true(again == -EPERM || (again == 0 && !breaks));
        if (!breaks) {
            assert_int_equal(barrier_state() >> BARRIER_EXPECTED_SHIFT & BARRIER_COUNT_MASK, 2);
        }
        made += !breaks && again != 0 ? 1 : 0;
        not_made += again == 0 ? 1 : 0;
        broken += breaks ? 1 : 0;
    }
    assert_true(n > 20 && broken > 5);
    expect_both();
    clear_stage();
}

TEST(how_often_one_reads_is_asked_of_a_lock)
{
    uint32_t times;
    set_scene();
    assert_int_equal(reads(), 0);
    assert_ok(hf_rwlock_wrlock(&props->rwlock));
    assert_int_equal(reads(), 0);
    assert_ok(hf_rwlock_downgrade_to_shared(&props->rwlock));
    assert_int_equal(reads(), 1);
    assert_ok(hf_rwlock_rdunlock(&props->rwlock));
    assert_error(hf_rwlock_held_shared(&props->rwlock, NULL), -EINVAL);
    assert_error(hf_rwlock_held_shared(NULL, &times), -EINVAL);
    clear_stage();
}
