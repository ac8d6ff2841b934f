/* SPDX-License-Identifier: MIT */
/* The heap inside transactions: a block lives or dies with its transaction. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "segment/slot_layout.h"
#include "support/heaps.h"

#define PAGE UINT64_C(4096)

static const size_t sizes[] = {1, 100, 4000, 8192, 8193, 50000};
#define SIZES (sizeof sizes / sizeof sizes[0])

static void commit_or_abort(bool commits)
{
    assert_ok(commits ? hf_tx_commit(stage) : hf_tx_abort(stage));
}

/* ---- taking ------------------------------------------------------------------------------ */

static void take_and_end(bool commits)
{
    void *blocks[SIZES];
    set_stage(1 * MIB);
    assert_ok(hf_tx_begin(stage));
    for (unsigned i = 0; i < SIZES; i++) {
        blocks[i] = filled(stage, sizes[i], (int)i);
        assert_true(hf_usable_size(stage, blocks[i]) >= sizes[i]);
    }
    expect_blocks(stage, SIZES);
    commit_or_abort(commits);
    expect_blocks(stage, commits ? SIZES : 0);
    for (unsigned i = 0; i < SIZES && commits; i++) {
        expect_filled(blocks[i], sizes[i], (int)i);
        assert_ok(hf_free(stage, blocks[i]));
    }
    expect_empty(stage);
    clear_stage();
}

TEST(what_was_taken_stays_if_the_transaction_commits)
{
    take_and_end(true);
}

TEST(what_was_taken_is_freed_if_the_transaction_is_aborted)
{
    take_and_end(false);
}

static void take_into_links_and_end(bool commits)
{
    set_stage(1 * MIB);
    assert_ok(hf_tx_begin(stage));
    for (unsigned i = 0; i < SIZES; i++) {
        assert_ok(hf_alloc_into(stage, sizes[i], link_at(i)));
        assert_error(hf_alloc_into(stage, sizes[i], link_at(i)), -EINVAL);
        memset(hf_segment_at(stage, *link_at(i)), (int)i, sizes[i]);
    }
    assert_error(hf_alloc_into(stage, 10, (hf_off *)hf_segment_base(stage)), -EINVAL);
    assert_error(hf_alloc_into(stage, 0, link_at(100)), -EINVAL);
    commit_or_abort(commits);
    for (unsigned i = 0; i < SIZES; i++) {
        assert_int_equal(link_at(i)->value != 0, commits);
        if (commits) {
            expect_filled(hf_segment_at(stage, *link_at(i)), sizes[i], (int)i);
            assert_ok(hf_free_from(stage, link_at(i)));
        }
    }
    expect_empty(stage);
    clear_stage();
}

TEST(a_link_and_its_block_come_with_the_commit)
{
    take_into_links_and_end(true);
}

TEST(a_link_and_its_block_go_with_the_abort)
{
    take_into_links_and_end(false);
}

/* ---- freeing ----------------------------------------------------------------------------- */

static void free_and_end(bool commits, bool by_link)
{
    set_stage(1 * MIB);
    for (unsigned i = 0; i < SIZES; i++) {
        assert_ok(hf_alloc_into(stage, sizes[i], link_at(i)));
        memset(hf_segment_at(stage, *link_at(i)), (int)i, sizes[i]);
    }
    assert_ok(hf_tx_begin(stage));
    for (unsigned i = 0; i < SIZES; i++) {
        void *block = hf_segment_at(stage, *link_at(i));
        assert_ok(by_link ? hf_free_from(stage, link_at(i)) : hf_free(stage, block));
        expect_filled(block, sizes[i], (int)i); /* nobody has it yet */
    }
    expect_blocks(stage, SIZES);
    commit_or_abort(commits);
    expect_blocks(stage, commits ? 0 : SIZES);
    for (unsigned i = 0; i < SIZES && !commits; i++) {
        expect_filled(hf_segment_at(stage, *link_at(i)), sizes[i], (int)i);
        assert_ok(hf_free_from(stage, link_at(i)));
    }
    expect_empty(stage);
    clear_stage();
}

TEST(what_was_freed_goes_with_the_commit)
{
    free_and_end(true, false);
    free_and_end(true, true);
}

TEST(what_was_freed_stays_if_the_transaction_is_aborted)
{
    free_and_end(false, false);
    free_and_end(false, true);
}

TEST(what_is_no_block_cannot_be_freed_inside)
{
    set_stage(256 * KIB);
    void *block = filled(stage, 100, 1);
    void *freed = filled(stage, 100, 1);
    assert_ok(hf_free(stage, freed));
    assert_ok(hf_tx_begin(stage));
    assert_error(hf_free(stage, freed), -EINVAL);
    assert_error(hf_free(stage, (char *)block + 16), -EINVAL);
    assert_error(hf_free(stage, props), -EINVAL);
    assert_error(hf_free(stage, &block), -EINVAL);
    assert_error(hf_free_from(stage, link_at(0)), -EINVAL);
    assert_ok(hf_free(stage, NULL));
    assert_ok(hf_tx_commit(stage));
    expect_blocks(stage, 1);
    assert_ok(hf_free(stage, block));
    expect_empty(stage);
    clear_stage();
}

TEST(what_was_taken_and_freed_inside_is_gone_either_way)
{
    for (unsigned commits = 0; commits < 2; commits++) {
        set_stage(1 * MIB);
        assert_ok(hf_tx_begin(stage));
        for (unsigned i = 0; i < SIZES; i++) {
            assert_ok(hf_free(stage, filled(stage, sizes[i], 1)));
            assert_ok(hf_alloc_into(stage, sizes[i], link_at(0)));
            assert_ok(hf_free_from(stage, link_at(0)));
        }
        expect_blocks(stage, 2 * SIZES);
        commit_or_abort(commits != 0);
        assert_int_equal(link_at(0)->value, 0);
        expect_empty(stage);
        clear_stage();
    }
}

/* ---- another size ------------------------------------------------------------------------ */

static void resize_and_end(size_t from, size_t to, bool commits)
{
    set_stage(1 * MIB);
    void *block = filled(stage, from, 5);
    void *was = block;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_realloc(stage, &block, to));
    expect_filled(block, from < to ? from : to, 5);
    assert_true(hf_usable_size(stage, block) >= to);
    commit_or_abort(commits);
    expect_blocks(stage, 1);
    if (!commits) {
        expect_filled(was, from, 5);
    }
    assert_ok(hf_free(stage, commits ? block : was));
    expect_empty(stage);
    clear_stage();
}

TEST(a_block_that_is_resized_inside_is_the_old_one_after_an_abort)
{
    static const size_t to[] = {1, 90, 112, 500, 8192, 8193, 12288, 30000, 100000};
    for (unsigned t = 0; t < sizeof to / sizeof to[0]; t++) {
        for (unsigned i = 0; i < SIZES; i++) {
            resize_and_end(sizes[i], to[t], false);
            resize_and_end(sizes[i], to[t], true);
        }
    }
}

/* ---- levels ------------------------------------------------------------------------------ */

TEST(blocks_of_an_inner_level_live_or_die_with_the_outermost)
{
    for (unsigned commits = 0; commits < 2; commits++) {
        set_stage(256 * KIB);
        assert_ok(hf_alloc_into(stage, 100, link_at(0)));
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_alloc_into(stage, 200, link_at(1)));
        assert_ok(hf_free_from(stage, link_at(0)));
        assert_ok(hf_tx_commit(stage));
        expect_blocks(stage, 2);
        commit_or_abort(commits != 0);
        expect_blocks(stage, 1);
        assert_int_equal(link_at(0)->value == 0, commits);
        assert_ok(hf_free_from(stage, link_at(commits)));
        expect_empty(stage);
        clear_stage();
    }
}

TEST(after_an_inner_abort_the_heap_is_as_it_was_and_its_calls_are_ecanceled)
{
    void *block = NULL;
    set_stage(256 * KIB);
    assert_ok(hf_alloc_into(stage, 100, link_at(0)));
    void *first = hf_segment_at(stage, *link_at(0));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_alloc_into(stage, 100, link_at(1)));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_alloc(stage, 20000, &block));
    assert_ok(hf_free_from(stage, link_at(0)));
    assert_ok(hf_tx_abort(stage));
    expect_blocks(stage, 1);
    assert_int_equal(link_at(1)->value, 0);
    assert_error(hf_alloc(stage, 10, &block), -ECANCELED);
    assert_error(hf_alloc(stage, 10000, &block), -ECANCELED);
    assert_error(hf_alloc_zeroed(stage, 10, &block), -ECANCELED);
    assert_error(hf_alloc_aligned(stage, 64, 10, &block), -ECANCELED);
    assert_error(hf_alloc_many(stage, 10, 1, &block), -ECANCELED);
    assert_error(hf_alloc_into(stage, 10, link_at(2)), -ECANCELED);
    assert_error(hf_free(stage, first), -ECANCELED);
    assert_error(hf_free_from(stage, link_at(0)), -ECANCELED);
    block = first;
    assert_error(hf_realloc(stage, &block, 1000), -ECANCELED);
    assert_ptr_equal(block, first);
    expect_blocks(stage, 1);
    assert_error(hf_tx_commit(stage), -ECANCELED);
    assert_ok(hf_free_from(stage, link_at(0)));
    expect_empty(stage);
    clear_stage();
}

TEST(a_reservation_is_apart_from_the_transaction)
{
    void *block;
    set_stage(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_reserve(stage, 100, &block));
    assert_error(hf_publish(stage, block, link_at(0)), -EBUSY);
    assert_error(hf_publish(stage, block, NULL), -EBUSY);
    assert_ok(hf_tx_abort(stage));
    expect_blocks(stage, 1);
    assert_ok(hf_publish(stage, block, link_at(0)));
    assert_ok(hf_free_from(stage, link_at(0)));
    expect_empty(stage);
    clear_stage();
}

/* ---- the log ----------------------------------------------------------------------------- */

#define MANY 3000u
static void *blocks[MANY];

TEST(a_log_of_blocks_goes_on_in_pages)
{
    for (unsigned commits = 0; commits < 2; commits++) {
        set_stage(2 * MIB);
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_alloc_many(stage, 40, MANY, blocks));
        assert_ok(hf_tx_add(stage, props->own, sizeof props->own)); /* among them */
        props->own[0] = 7;
        expect_blocks(stage, MANY);
        commit_or_abort(commits != 0);
        expect_blocks(stage, commits ? MANY : 0);
        assert_int_equal(props->own[0], commits ? 7 : 0);
        assert_ok(commits ? hf_free_many(stage, blocks, MANY) : 0);
        expect_blocks(stage, 0);
        assert_ok(hf_alloc_many(stage, 40, MANY, blocks));
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_free_many(stage, blocks, MANY));
        expect_blocks(stage, MANY);
        commit_or_abort(commits != 0);
        expect_blocks(stage, commits ? 0 : MANY);
        assert_ok(commits ? 0 : hf_free_many(stage, blocks, MANY));
        expect_empty(stage);
        clear_stage();
    }
}

TEST(many_at_once_that_are_not_to_be_had_inside_leave_nothing)
{
    static void *more[20000];
    set_stage(256 * KIB);
    for (unsigned commits = 0; commits < 2; commits++) {
        for (size_t size = 16; size < 10000; size *= 5) {
            assert_ok(hf_tx_begin(stage));
            assert_error(hf_alloc_many(stage, size, 20000, more), -ENOMEM);
            commit_or_abort(commits != 0);
            expect_blocks(stage, 0);
        }
    }
    expect_empty(stage);
    clear_stage();
}

/* Leaves no page free, and none in the making. */
static void take_all_pages(void)
{
    void *block;
    assert_ok(hf_alloc(stage, 100, &block)); /* the class that is used has a span */
    assert_ok(hf_alloc(stage, 200, &block));
    for (size_t pages = 64; pages > 0; pages /= 2) {
        while (hf_alloc(stage, (size_t)(pages * PAGE), &block) == 0) {
        }
        while (pages == 1 && hf_alloc(stage, 16, &block) == 0) {
        }
    }
    assert_int_equal(heap_info(stage).free, 0);
}

/* As many entries as the slot has room for, but for one. */
static void fill_the_log_but_for(unsigned entries)
{
    for (unsigned i = 0; i < LOG_INLINE / 16 - entries;) {
        bool two = (LOG_INLINE / 16 - entries - i) % 2 == 0;
        if (two) {
            assert_ok(hf_tx_add(stage, props->own, sizeof props->own[0]));
        } else { /* an entry of a block */
            void *block;
            assert_ok(hf_alloc(stage, 100, &block));
        }
        i += two ? 2 : 1;
    }
}

TEST(with_no_room_in_the_log_nothing_is_taken_nor_freed)
{
    set_stage(256 * KIB);
    void *small = filled(stage, 200, 1);
    void *large = filled(stage, 20000, 2);
    assert_ok(hf_alloc_into(stage, 200, link_at(0)));
    take_all_pages();
    assert_ok(hf_tx_begin(stage));
    fill_the_log_but_for(0);
    uint64_t count = checked(stage).blocks;
    void *block = NULL;
    assert_error(hf_alloc(stage, 100, &block), -ENOMEM);
    assert_error(hf_alloc_into(stage, 100, link_at(1)), -ENOMEM);
    assert_error(hf_free(stage, small), -ENOMEM);
    assert_error(hf_free(stage, large), -ENOMEM);
    assert_error(hf_free_from(stage, link_at(0)), -ENOMEM);
    assert_int_equal(link_at(1)->value, 0);
    assert_int_not_equal(link_at(0)->value, 0);
    expect_blocks(stage, count);
    assert_ok(hf_tx_commit(stage));
    expect_blocks(stage, count);
    expect_filled(small, 200, 1);
    expect_filled(large, 20000, 2);
    clear_stage();
}

TEST(a_resize_with_no_room_in_the_log_leaves_the_block_as_it_was)
{
    for (unsigned room = 0; room < 2; room++) {
        set_stage(256 * KIB);
        void *block = filled(stage, 100, 1);
        void *was = block;
        take_all_pages();
        assert_ok(hf_tx_begin(stage));
        fill_the_log_but_for(room);
        uint64_t count = checked(stage).blocks;
        assert_error(hf_realloc(stage, &block, 200), -ENOMEM);
        assert_ptr_equal(block, was);
        expect_filled(was, 100, 1);
        assert_ok(hf_tx_commit(stage));
        expect_blocks(stage, count);
        clear_stage();
    }
}

TEST(what_was_reserved_in_the_log_is_there_for_blocks)
{
    set_stage(512 * KIB);
    void *small[50];
    assert_ok(hf_alloc_many(stage, 100, 50, small));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_reserve(stage, (size_t)32 * 50));
    for (unsigned i = 0; i < 50; i++) {
        assert_ok(hf_free(stage, small[i]));
    }
    assert_ok(hf_tx_commit(stage));
    expect_blocks(stage, 0);
    clear_stage();
}

/* ---- death ------------------------------------------------------------------------------- */

_Noreturn static int die_inside(void *unused)
{
    (void)unused;
    void *block;
    assert_ok(hf_tx_begin(stage));
    for (unsigned i = 0; i < SIZES; i++) {
        assert_ok(hf_alloc_into(stage, sizes[i], link_at(100 + i)));
        assert_ok(hf_alloc(stage, sizes[i], &block));
        assert_ok(hf_free_from(stage, link_at(i)));
    }
    assert_ok(hf_alloc_many(stage, 50, MANY, blocks));
    say_ready();
    wait_for_death();
}

TEST(who_is_killed_inside_has_taken_and_freed_nothing)
{
    set_stage(2 * MIB);
    for (unsigned i = 0; i < SIZES; i++) {
        assert_ok(hf_alloc_into(stage, sizes[i], link_at(i)));
        memset(hf_segment_at(stage, *link_at(i)), (int)i, sizes[i]);
    }
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(kill_and_reap(start_ready(die_inside, NULL)), -SIGKILL);
        assert_ok(hf_segment_recover(stage, NULL));
        expect_blocks(stage, SIZES);
        for (unsigned i = 0; i < SIZES; i++) {
            expect_filled(hf_segment_at(stage, *link_at(i)), sizes[i], (int)i);
            assert_int_equal(link_at(100 + i)->value, 0);
        }
    }
    for (unsigned i = 0; i < SIZES; i++) {
        assert_ok(hf_free_from(stage, link_at(i)));
    }
    expect_empty(stage);
    clear_stage();
}

TEST(who_leaves_inside_has_taken_and_freed_nothing)
{
    void *block;
    set_stage(1 * MIB);
    void *large = filled(stage, 30000, 3);
    assert_ok(hf_alloc_into(stage, 100, link_at(0)));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_alloc(stage, 50000, &block));
    assert_ok(hf_alloc(stage, 50, &block));
    assert_ok(hf_free(stage, large));
    assert_ok(hf_free_from(stage, link_at(0)));
    assert_ok(hf_thread_leave(stage));
    expect_blocks(stage, 2);
    expect_filled(large, 30000, 3);
    assert_ok(hf_free_from(stage, link_at(0)));
    assert_ok(hf_free(stage, large));
    expect_empty(stage);
    clear_stage();
}

/* Each transaction swaps a block for two, or two for one, or changes many; blocks of others too:
   whoever has the mutex may. */
#define TABLE 256u

static size_t any_size(void)
{
    uint64_t kind = random_below(20);
    return 1 + (size_t)random_below(kind == 0 ? 30000 : kind < 4 ? 8192 : 200);
}

static void change_some(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        hf_off *link = link_at((size_t)random_below(TABLE));
        int error =
            link->value != 0 ? hf_free_from(stage, link) : hf_alloc_into(stage, any_size(), link);
        assert_true(error == 0 || error == -ENOMEM);
    }
}

_Noreturn static int change_for_ever(void *unused)
{
    (void)unused;
    say_ready();
    for (;;) {
        uint64_t way = random_below(10);
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_mutex_lock(&props->mutex));
        change_some((unsigned)random_below(way == 0 ? 200 : 10));
        assert_ok(hf_mutex_unlock(&props->mutex));
        assert_ok(way == 1 ? hf_tx_abort(stage) : hf_tx_commit(stage));
    }
}

/* Every link names a block of its own, and there is no other. */
static void expect_table(void)
{
    uint64_t linked = 0;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < TABLE; i++) {
        uint64_t offset = link_at(i)->value;
        size_t usable = hf_usable_size(stage, hf_segment_at(stage, *link_at(i)));
        assert_int_equal(offset != 0, usable != 0);
        for (unsigned j = 0; j < i && offset != 0; j++) {
            assert_true(link_at(j)->value != offset);
        }
        linked += offset != 0;
        bytes += usable;
    }
    expect_blocks(stage, linked);
    expect_bytes(stage, bytes);
}

static void kill_changers(unsigned changers, unsigned kills)
{
    pid_t pids[STAGE_CAST];
    set_stage(1 * MIB);
    (void)random_below(2);
    for (unsigned i = 0; i < changers; i++) {
        (void)random_below(2);
        pids[i] = start_ready(change_for_ever, NULL);
    }
    for (unsigned k = 0; k < kills; k++) {
        unsigned i = (unsigned)random_below(changers);
        (void)usleep((useconds_t)random_below(4000));
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
        assert_ok(hf_mutex_timedlock(&props->mutex, SECONDS(10)));
        assert_ok(hf_segment_recover(stage, NULL));
        if (changers == 1) {
            expect_table();
        }
        assert_ok(hf_mutex_unlock(&props->mutex));
        pids[i] = start_ready(change_for_ever, NULL);
    }
    for (unsigned i = 0; i < changers; i++) {
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
    }
    assert_ok(hf_segment_recover(stage, NULL));
    expect_table();
    for (unsigned i = 0; i < TABLE; i++) {
        assert_ok(link_at(i)->value != 0 ? hf_free_from(stage, link_at(i)) : 0);
    }
    expect_empty(stage);
    clear_stage();
}

TEST(links_and_blocks_agree_whenever_somebody_is_killed)
{
    kill_changers(1, 150);
}

TEST(links_and_blocks_agree_when_one_of_several_is_killed)
{
    kill_changers(4, 100);
}

/* ---- jumping out ------------------------------------------------------------------------- */

static sigjmp_buf out;
static volatile sig_atomic_t may_jump;

static void jump_out(int number)
{
    (void)number;
    if (may_jump) {
        may_jump = 0;
        siglongjmp(out, 1);
    }
}

/* One timer, some microseconds from now. */
static void jump_soon(void)
{
    struct itimerval when = {{0, 0}, {0, (suseconds_t)(1 + random_below(60))}};
    may_jump = 1;
    assert_int_equal(setitimer(ITIMER_REAL, &when, NULL), 0);
}

static void change_until_the_jump(void)
{
    for (;;) {
        hf_off *link = link_at((size_t)random_below(TABLE));
        int error =
            link->value != 0 ? hf_free_from(stage, link) : hf_alloc_into(stage, any_size(), link);
        assert_true(error == 0 || error == -ENOMEM);
    }
}

static int jump_out_again_and_again(void *unused)
{
    (void)unused;
    assert_true(signal(SIGALRM, jump_out) != SIG_ERR);
    for (volatile unsigned i = 0; i < 3000; i++) {
        if (sigsetjmp(out, 1) == 0) {
            jump_soon();
            change_until_the_jump();
        }
        assert_ok(hf_thread_recover(stage));
        if (i % 50 == 0) {
            expect_table();
        }
    }
    expect_table();
    return 0;
}

TEST(who_jumps_out_of_a_call_and_recovers_can_use_the_heap)
{
    set_stage(1 * MIB);
    assert_int_equal(wait_child_for(start_child(jump_out_again_and_again, NULL), 50000), 0);
    assert_ok(hf_segment_recover(stage, NULL));
    expect_table();
    clear_stage();
}
