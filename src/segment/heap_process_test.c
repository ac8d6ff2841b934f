/* SPDX-License-Identifier: MIT */
/* The heap among several: blocks that others free, spans of those who are gone, threads at once. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/heaps.h"

#define N 400u

static const size_t sizes[] = {1, 16, 100, 1000, 8192, 8193, 30000};
#define SIZES (sizeof sizes / sizeof sizes[0])

static size_t size_at(size_t i)
{
    return sizes[i % (i % 10 == 0 ? SIZES : 4)];
}

static void fill_links(size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        assert_ok(hf_alloc_into(stage, size_at(i), link_at(i)));
        memset(hf_segment_at(stage, *link_at(i)), (int)i & 0xff, size_at(i));
    }
}

static void expect_links(size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        expect_filled(hf_segment_at(stage, *link_at(i)), size_at(i), (int)i & 0xff);
    }
}

static void free_links(size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        if (link_at(i)->value != 0) {
            assert_ok(hf_free_from(stage, link_at(i)));
        }
    }
}

/* ---- freed by others --------------------------------------------------------------------- */

static int free_everything(void *by_link)
{
    expect_links(0, N);
    for (size_t i = 0; i < N; i++) {
        void *block = hf_segment_at(stage, *link_at(i));
        assert_ok(by_link != NULL ? hf_free_from(stage, link_at(i)) : hf_free(stage, block));
        assert_error(hf_free(stage, block), -EINVAL);
        assert_int_equal(hf_usable_size(stage, block), 0);
    }
    expect_blocks(stage, 0);
    return 0;
}

TEST(any_process_may_free_any_block_once)
{
    set_stage(2 * MIB);
    for (unsigned by_link = 0; by_link < 2; by_link++) {
        fill_links(0, N);
        expect_blocks(stage, N);
        assert_int_equal(run_child(free_everything, by_link != 0 ? stage : NULL), 0);
        memset(link_at(0), 0, N * sizeof(hf_off));
        expect_blocks(stage, 0);
    }
    expect_empty(stage);
    clear_stage();
}

TEST(what_others_free_its_owner_takes_again)
{
    set_stage(2 * MIB);
    uint64_t used = 0;
    for (unsigned round = 0; round < 20; round++) {
        fill_links(0, N);
        used = round == 2 ? bytes_used() : used;
        assert_int_equal(run_child(free_everything, stage), 0);
    }
    assert_true(bytes_used() <= used + 64 * KIB);
    expect_empty(stage);
    clear_stage();
}

static void *free_in_a_thread(void *unused)
{
    (void)free_everything(unused);
    return NULL;
}

static void in_a_thread(void *(*run)(void *), void *context)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, context), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

TEST(any_thread_may_free_any_block)
{
    set_stage(2 * MIB);
    for (unsigned round = 0; round < 5; round++) {
        fill_links(0, N);
        in_a_thread(free_in_a_thread, round % 2 == 0 ? stage : NULL);
        memset(link_at(0), 0, N * sizeof(hf_off));
        expect_blocks(stage, 0);
    }
    expect_empty(stage);
    clear_stage();
}

static int resize_everything(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < N; i++) {
        void *block = hf_segment_at(stage, *link_at(i));
        size_t size = size_at(i);
        assert_ok(hf_realloc(stage, &block, size * 3));
        expect_filled(block, size, (int)i & 0xff);
        assert_ok(hf_realloc(stage, &block, size));
        *link_at(i) = hf_segment_offset(stage, block);
    }
    return 0;
}

TEST(any_process_may_resize_any_block)
{
    set_stage(4 * MIB);
    fill_links(0, N);
    assert_int_equal(run_child(resize_everything, NULL), 0);
    expect_links(0, N);
    expect_blocks(stage, N);
    free_links(0, N);
    expect_empty(stage);
    clear_stage();
}

/* ---- those who are gone ------------------------------------------------------------------ */

/* Half of what it takes it leaves behind, every second of the others' it frees. */
static void come_and_go(unsigned round)
{
    for (size_t i = 0; i < N; i++) {
        if (link_at(i)->value == 0) {
            assert_ok(hf_alloc_into(stage, size_at(i), link_at(i)));
        } else if ((i + round) % 2 == 0) {
            assert_ok(hf_free_from(stage, link_at(i)));
        }
    }
}

static unsigned round_now;

_Noreturn static int come_and_die(void *unused)
{
    (void)unused;
    come_and_go(round_now);
    say_ready();
    wait_for_death();
}

static int come_and_leave(void *unused)
{
    (void)unused;
    come_and_go(round_now);
    assert_ok(hf_thread_leave(stage));
    return 0;
}

static void *come_and_end(void *unused)
{
    (void)unused;
    come_and_go(round_now);
    return NULL;
}

static uint64_t linked(void)
{
    uint64_t count = 0;
    for (size_t i = 0; i < HEAP_LINKS; i++) {
        count += link_at(i)->value != 0;
    }
    return count;
}

static void go_in_one_way(unsigned way)
{
    switch (way) {
    case 0:
        assert_int_equal(kill_and_reap(start_ready(come_and_die, NULL)), -SIGKILL);
        break;
    case 1:
        assert_int_equal(run_child(come_and_leave, NULL), 0);
        break;
    default:
        in_a_thread(come_and_end, NULL);
        break;
    }
}

/* Each finds what the others have left, and uses it: a few sets of spans go round, since those of
   who has just gone are not to be had yet. If nobody used them there would be one a round. */
static void expect_no_growth(unsigned way, unsigned rounds)
{
    uint64_t most = 0;
    set_growing_stage(256 * KIB, 16 * MIB);
    assert_ok(hf_thread_leave(stage));
    for (round_now = 0; round_now < rounds; round_now++) {
        go_in_one_way(way < 3 ? way : (unsigned)random_below(3));
        if (round_now < rounds / 4 && bytes_used() > most) {
            most = bytes_used();
        }
    }
    assert_true(bytes_used() <= 2 * most);
    assert_ok(hf_segment_recover(stage, NULL));
    expect_blocks(stage, linked());
    free_links(0, N);
    expect_empty(stage);
    clear_stage();
}

TEST(spans_of_the_killed_are_used_by_those_who_come)
{
    expect_no_growth(0, 30);
}

TEST(spans_of_those_who_left_are_used_by_those_who_come)
{
    expect_no_growth(1, 30);
}

TEST(spans_of_threads_that_ended_are_used_by_those_who_come)
{
    expect_no_growth(2, 100);
}

TEST(however_they_go_their_spans_are_used)
{
    (void)random_below(2);
    expect_no_growth(3, 40);
}

_Noreturn static int fill_and_die(void *unused)
{
    (void)unused;
    fill_links(0, N);
    say_ready();
    wait_for_death();
}

TEST(blocks_of_the_killed_stay_and_their_spans_are_orphans_until_adopted)
{
    set_stage(2 * MIB);
    assert_int_equal(kill_and_reap(start_ready(fill_and_die, NULL)), -SIGKILL);
    hf_check_report report = checked(stage);
    assert_int_equal(report.unsettled, 1);
    assert_int_equal(report.blocks, N);
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(checked(stage).unsettled, 0);
    hf_heap_info info = heap_info(stage);
    assert_true(info.orphans > 0);
    expect_links(0, N);
    assert_ok(hf_heap_trim(stage)); /* adopts them */
    assert_int_equal(heap_info(stage).orphans, 0);
    expect_links(0, N);
    free_links(0, N);
    expect_empty(stage);
    clear_stage();
}

_Noreturn static int reserve_all_and_die(void *size)
{
    void *block;
    while (hf_reserve(stage, *(size_t *)size, &block) == 0) {
    }
    say_ready();
    wait_for_death();
}

TEST(what_the_killed_had_reserved_can_be_had_without_anybody_asking_for_a_recovery)
{
    static size_t of[] = {100, 9000};
    for (unsigned i = 0; i < 2; i++) {
        set_stage(512 * KIB);
        assert_int_equal(kill_and_reap(start_ready(reserve_all_and_die, &of[i])), -SIGKILL);
        void *block = filled(stage, 100 * KIB, 1);
        assert_ok(hf_free(stage, block));
        expect_empty(stage);
        clear_stage();
    }
}

TEST(the_memory_of_the_killed_can_be_had_before_it_is_said_to_be_exhausted)
{
    set_stage(512 * KIB);
    size_t count;
    void **all = exhaust(stage, 100, &count);
    assert_ok(hf_free_many(stage, all, count));
    free(all);
    assert_ok(hf_thread_leave(stage));
    round_now = 0;
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(kill_and_reap(start_ready(come_and_die, NULL)), -SIGKILL);
        assert_ok(hf_segment_recover(stage, NULL));
        free_links(0, N);
    }
    size_t again;
    all = exhaust(stage, 100, &again);
    assert_true(again + count / 20 >= count); /* a few pages: slots, descriptors */
    assert_ok(hf_free_many(stage, all, again));
    free(all);
    expect_empty(stage);
    clear_stage();
}

/* ---- reservations ------------------------------------------------------------------------ */

_Noreturn static int reserve_and_die(void *count)
{
    void *block = NULL;
    void *kept;
    for (unsigned i = 0; i < *(unsigned *)count; i++) {
        assert_ok(hf_reserve(stage, size_at(i), &block));
        memset(block, 0xff, size_at(i));
    }
    assert_ok(hf_publish(stage, block, link_at(0)));
    assert_ok(hf_alloc(stage, 100, &kept)); /* the segment's, though nobody knows of it */
    say_ready();
    wait_for_death();
}

TEST(what_the_killed_had_reserved_is_freed_and_nothing_else)
{
    unsigned counts[] = {1, 4, 5, 515, 516, 1100};
    set_stage(16 * MIB);
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        assert_int_equal(kill_and_reap(start_ready(reserve_and_die, &counts[i])), -SIGKILL);
        assert_int_equal(checked(stage).blocks, counts[i] + 1 + i);
        assert_ok(hf_segment_recover(stage, NULL));
        expect_blocks(stage, 2 + i);
        assert_ok(hf_free_from(stage, link_at(0)));
        expect_blocks(stage, 1 + i);
    }
    clear_stage();
}

TEST(what_the_killed_had_reserved_can_be_had_to_the_last_page)
{
    unsigned count = 1100;
    set_stage(16 * MIB);
    void *block = filled(stage, 9000, 1);
    assert_ok(hf_free(stage, block));
    uint64_t before = bytes_used();
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(kill_and_reap(start_ready(reserve_and_die, &count)), -SIGKILL);
        assert_ok(hf_segment_recover(stage, NULL));
        assert_ok(hf_free_from(stage, link_at(0)));
        assert_ok(hf_heap_trim(stage));
    }
    /* The plain blocks' spans, descriptors, slots, and the pages of its reservations. */
    assert_true(bytes_used() <= before + 40 * 4096);
    clear_stage();
}

/* ---- killed at random -------------------------------------------------------------------- */

/* Each has links of its own, so that it needs no lock. What it reserves it may lose. */
#define OWN (HEAP_LINKS / 4)

static void change_one(hf_off *link)
{
    uint64_t kind = random_below(20);
    size_t size = 1 + (size_t)random_below(kind == 0 ? 30000 : kind < 4 ? 8192 : 200);
    void *block;
    int error;
    if (link->value != 0) {
        assert_ok(hf_free_from(stage, link));
        return;
    }
    if (random_below(3) > 0) {
        error = hf_alloc_into(stage, size, link);
    } else {
        error = hf_reserve(stage, size, &block);
        if (error == 0 && random_below(5) == 0) {
            assert_ok(hf_free(stage, block));
        } else if (error == 0) {
            error = hf_publish(stage, block, link);
        }
    }
    assert_true(error == 0 || error == -ENOMEM);
}

_Noreturn static int change_own(void *index)
{
    unsigned who = *(unsigned *)index;
    hf_off *links = link_at(who * OWN);
    say_ready();
    for (;;) {
        change_one(&links[random_below(OWN)]);
        if (random_below(500) == 0) {
            assert_ok(hf_heap_trim(stage));
        }
    }
}

/* All dead: whatever is in use has a link. */
static void expect_all_linked(void)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < HEAP_LINKS; i++) {
        size_t usable = hf_usable_size(stage, hf_segment_at(stage, *link_at(i)));
        assert_int_equal(usable != 0, link_at(i)->value != 0);
        bytes += usable;
    }
    expect_blocks(stage, linked());
    expect_bytes(stage, bytes);
}

static void kill_at_random(unsigned workers, unsigned rounds)
{
    pid_t pids[4];
    set_stage(1 * MIB);
    (void)random_below(2);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < workers; i++) {
            (void)random_below(2);
            pids[i] = start_ready(change_own, &i);
        }
        (void)usleep((useconds_t)random_below(5000));
        for (unsigned i = 0; i < workers; i++) {
            assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
            if (round % 2 == 0) {
                assert_ok(hf_segment_recover(stage, NULL)); /* beside the others */
            }
        }
        assert_ok(hf_segment_recover(stage, NULL));
        expect_all_linked();
        if (round % 10 == 9) { /* by another than who took them */
            free_links(0, HEAP_LINKS / 2);
            expect_all_linked();
        }
    }
    free_links(0, HEAP_LINKS);
    expect_empty(stage);
    clear_stage();
}

TEST(whatever_one_is_killed_in_links_and_blocks_agree)
{
    kill_at_random(1, 100);
}

TEST(whatever_several_are_killed_in_links_and_blocks_agree)
{
    kill_at_random(4, 40);
}

/* ---- at once ----------------------------------------------------------------------------- */

#define SHELF 64u

/* Blocks change hands here: whoever takes one out has it. */
struct fair {
    hf_segment *segment;
    _Atomic uint64_t shelf[SHELF];
    _Atomic uint32_t seed;
    _Atomic uint32_t come;
    unsigned rounds;
    unsigned traders;
};

struct goods {
    uint64_t size;
    unsigned char bytes[];
};

static struct goods *make_goods(struct fair *fair, uint64_t random)
{
    void *block;
    size_t size = sizeof(struct goods) + 1 + random % (random % 64 == 0 ? 20000 : 300);
    if (hf_alloc(fair->segment, size, &block) != 0) {
        return NULL;
    }
    struct goods *goods = block;
    goods->size = size - sizeof *goods;
    memset(goods->bytes, (int)goods->size & 0xff, goods->size);
    return goods;
}

static void put_away(struct fair *fair, uint64_t offset)
{
    if (offset != 0) {
        struct goods *goods = hf_segment_at(fair->segment, (hf_off){offset});
        expect_filled(goods->bytes, goods->size, (int)goods->size & 0xff);
        assert_ok(hf_free(fair->segment, goods));
    }
}

static void *trade(void *context)
{
    struct fair *fair = context;
    uint64_t random = 88172645463325252u + fetch_add_relaxed(&fair->seed, 1);
    hf_participant self;
    assert_ok(hf_participant_self(fair->segment, &self)); /* before there is no room for slots */
    (void)fetch_add_release(&fair->come, 1);
    while (load_acquire(&fair->come) < fair->traders) {
        sleep_ms(1);
    }
    for (unsigned i = 0; i < fair->rounds; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        struct goods *goods = make_goods(fair, random >> 16);
        uint64_t offset = hf_segment_offset(fair->segment, goods).value;
        put_away(fair, atomic_exchange(&fair->shelf[random % SHELF], offset));
        if (random % 4096 == 0) {
            assert_ok(hf_heap_trim(fair->segment));
        }
        if (random % 4096 == 1) {
            assert_ok(hf_thread_leave(fair->segment));
        }
    }
    return NULL;
}

static void hold_a_fair(hf_segment *segment, unsigned rounds)
{
    enum { TRADERS = 6 };
    pthread_t threads[TRADERS];
    struct fair fair = {.segment = segment, .rounds = rounds, .traders = TRADERS};
    for (unsigned i = 0; i < TRADERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, trade, &fair), 0);
    }
    for (unsigned i = 0; i < TRADERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    uint64_t left = 0;
    for (unsigned i = 0; i < SHELF; i++) {
        left += fair.shelf[i] != 0;
    }
    expect_blocks(segment, left);
    for (unsigned i = 0; i < SHELF; i++) {
        put_away(&fair, fair.shelf[i]);
    }
    expect_empty(segment);
    assert_ok(hf_thread_leave(segment));
    hf_segment_close(segment);
}

TEST(many_threads_take_and_free_at_once)
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = 64 * MIB};
    assert_ok(hf_segment_create_private(256 * KIB, &options, &segment));
    hold_a_fair(segment, UNDER_TSAN ? 4000 : 30000);
}

TEST(many_threads_take_and_free_at_once_with_little_memory)
{
    hf_segment *segment;
    assert_ok(hf_segment_create_anonymous(192 * KIB, NULL, &segment));
    hold_a_fair(segment, UNDER_TSAN ? 2000 : 15000);
}

static int trade_in_a_process(void *fair)
{
    (void)trade(fair);
    return 0;
}

TEST(many_processes_take_and_free_at_once)
{
    enum { TRADERS = 4 };
    pid_t pids[TRADERS];
    set_stage(2 * MIB);
    struct fair *fair = (struct fair *)(void *)props->bytes; /* shared */
    assert_true(sizeof *fair <= sizeof props->bytes);
    fair->segment = stage;
    fair->rounds = 20000;
    fair->traders = TRADERS;
    for (unsigned i = 0; i < TRADERS; i++) {
        pids[i] = start_child(trade_in_a_process, fair);
    }
    for (unsigned i = 0; i < TRADERS; i++) {
        assert_int_equal(wait_child(pids[i]), 0);
    }
    uint64_t left = 0;
    for (unsigned i = 0; i < SHELF; i++) {
        left += fair->shelf[i] != 0;
    }
    expect_blocks(stage, left);
    for (unsigned i = 0; i < SHELF; i++) {
        put_away(fair, fair->shelf[i]);
    }
    expect_empty(stage);
    clear_stage();
}

static int count_of(void *who)
{
    hf_heap_info info;
    assert_ok(hf_heap_get_info_of(stage, *(hf_participant *)who, &info));
    return (int)info.blocks;
}

TEST(what_a_participant_has_is_seen_by_another_process)
{
    hf_participant me;
    void *some[20];
    set_stage(256 * KIB);
    assert_ok(hf_participant_self(stage, &me));
    assert_ok(hf_alloc_many(stage, 100, 20, some));
    assert_int_equal(run_child(count_of, &me), 20);
    assert_ok(hf_free_many(stage, some, 20));
    assert_int_equal(run_child(count_of, &me), 0);
    clear_stage();
}
