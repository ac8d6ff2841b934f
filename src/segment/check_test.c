/* SPDX-License-Identifier: MIT */
/* hf_check: exact in quiet, finds damage of every kind, and never mistakes work for damage. */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "segment/blocks.h"
#include "segment/handle.h"
#include "support/heaps.h"

#define PAGE UINT64_C(4096)

/* ---- counting ---------------------------------------------------------------------------- */

TEST(in_quiet_every_page_and_block_is_counted)
{
    void *block;
    set_stage(1 * MIB);
    hf_off *pages = link_at(0);
    hf_check_report before = checked(stage);
    assert_int_equal(before.size, 1 * MIB);
    assert_int_equal(before.pages_used * PAGE, bytes_used());
    assert_int_equal(before.pages_linked, 0);
    assert_int_equal(before.blocks, 0);
    assert_int_equal(before.bytes, 0);
    assert_int_equal(before.participants, 1);
    assert_int_equal(before.unsettled, 0);
    assert_ok(hf_pages_alloc(stage, 5 * PAGE, pages));
    assert_int_equal(checked(stage).pages_linked, 5);
    assert_int_equal(checked(stage).pages_held, before.pages_held);
    assert_ok(hf_alloc(stage, 100, &block));
    assert_ok(hf_alloc(stage, 20000, &block));
    hf_check_report after = checked(stage);
    assert_int_equal(after.blocks, 2);
    assert_int_equal(after.bytes, 112 + 5 * PAGE);
    assert_int_equal(after.pages_linked, 5);
    /* The block's span, the large block, the table of descriptors and that of pages. */
    assert_true(after.pages_held >= before.pages_held + 1 + 5 + 2);
    assert_ok(hf_pages_free(stage, 5 * PAGE, pages));
    assert_int_equal(checked(stage).pages_linked, 0);
    assert_ok(hf_check(stage, NULL));
    assert_error(hf_check(NULL, &before), -EINVAL);
    clear_stage();
}

static int stay(void *context)
{
    hf_participant self;
    assert_ok(hf_participant_self(context, &self));
    say_ready();
    wait_for_death();
}

TEST(the_living_and_the_dead_are_counted)
{
    set_stage(256 * KIB);
    pid_t one = start_ready(stay, stage);
    pid_t other = start_ready(stay, stage);
    assert_int_equal(checked(stage).participants, 3);
    assert_int_equal(checked(stage).unsettled, 0);
    assert_int_equal(kill_and_reap(one), -SIGKILL);
    assert_int_equal(checked(stage).participants, 3);
    assert_int_equal(checked(stage).unsettled, 1);
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(checked(stage).participants, 2);
    assert_int_equal(checked(stage).unsettled, 0);
    assert_int_equal(kill_and_reap(other), -SIGKILL);
    clear_stage();
}

TEST(what_may_be_open_between_calls_is_no_damage)
{
    void *block;
    set_stage(256 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    (void)checked(stage);
    assert_ok(hf_mutex_lock(&props->more[0]));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_mutex_lock(&props->more[1]));
    assert_ok(hf_tx_add(stage, props->bytes, sizeof props->bytes)); /* pages of log */
    assert_ok(hf_alloc(stage, 100, &block));
    assert_ok(hf_alloc(stage, 20000, &block));
    for (unsigned i = 0; i < 10; i++) { /* a page of reservations */
        assert_ok(hf_reserve(stage, 100, &block));
    }
    hf_check_report report = checked(stage);
    assert_int_equal(report.blocks, 12);
    assert_int_equal(report.pages_linked, 0);
    assert_ok(hf_tx_abort(stage));
    assert_int_equal(checked(stage).blocks, 10);
    assert_ok(hf_thread_leave(stage));
    assert_int_equal(checked(stage).blocks, 0);
    assert_int_equal(checked(stage).participants, 0);
    clear_stage();
}

TEST(a_segment_with_much_in_it_is_checked)
{
    static void *blocks[20000];
    set_growing_stage(256 * KIB, 64 * MIB);
    assert_ok(hf_alloc_many(stage, 100, 20000, blocks));
    assert_int_equal(checked(stage).blocks, 20000);
    assert_int_equal(checked(stage).bytes, 20000 * 112);
    clear_stage();
}

/* ---- damage ------------------------------------------------------------------------------ */

static struct view *view;
static struct segment_header *header;
static struct block small;
static struct block large;

/* A span of blocks of 5000 bytes, which leaves room at its end, and a large block. */
static void set_scene(void)
{
    void *blocks[2];
    set_stage(512 * KIB);
    assert_ok(hf_alloc(stage, 5000, &blocks[0]));
    assert_ok(hf_alloc(stage, 20000, &blocks[1]));
    view = stage->view;
    header = header_of(view);
    assert_ok(block_find(view, hf_segment_offset(stage, blocks[0]).value, &small));
    assert_ok(block_find(view, hf_segment_offset(stage, blocks[1]).value, &large));
    assert_non_null(small.span);
    assert_null(large.span);
    (void)checked(stage);
}

/* The word, so changed, is found, and what is said has that in it; then it is put back. */
static void expect_found(shared_u64 *word, uint64_t value, const char *words)
{
    hf_check_report report;
    uint64_t was = load_relaxed(word);
    assert_true(was != value);
    store_relaxed(word, value);
    assert_error(hf_check(stage, &report), -EBADMSG);
    if (strstr(report.what, words) == NULL) {
        fail_msg("said: %s; to be expected: %s", report.what, words);
    }
    store_relaxed(word, was);
    (void)checked(stage);
}

TEST(bits_that_stand_for_no_block_are_found)
{
    set_scene();
    struct span *span = small.span;
    expect_found(&span->bits[0].taken, load_relaxed(&span->bits[0].taken) | UINT64_C(1) << 40,
                 "bits beyond its blocks");
    expect_found(&span->bits[3].taken, 1, "bits beyond its blocks");
    expect_found(&span->bits[0].freed, load_relaxed(&span->bits[0].freed) & ~(UINT64_C(1) << 63),
                 "bits beyond its blocks");
    expect_found(&span->bits[3].freed, 0, "bits beyond its blocks");
    clear_stage();
}

TEST(a_descriptor_of_no_span_is_found)
{
    set_scene();
    struct span *span = small.span;
    shared_u64 *shape = (shared_u64 *)(void *)&span->shape; /* and the hint behind it */
    uint64_t was = load_relaxed(shape);
    expect_found(shape, (was & ~UINT64_C(0xff)) | 56, "describes no span");
    expect_found(shape, was & ~UINT64_C(0xff00), "describes no span");
    expect_found(shape, (was & ~UINT64_C(0xff00)) | 0x900, "describes no span");
    expect_found(&span->start, 1, "describes no span");
    expect_found(&span->start, PAGE, "describes no span");
    expect_found(&span->start, 512 * KIB, "describes no span");
    expect_found(&span->start, 512 * KIB - PAGE, "describes no span");
    clear_stage();
}

TEST(a_page_table_that_leads_elsewhere_is_found)
{
    set_scene();
    uint64_t first = small.start / PAGE;
    for (uint64_t i = 0; i < small.pages && i < 2; i++) {
        expect_found(page_entry(view, first + i), 0, "leads elsewhere");
        expect_found(page_entry(view, first + i), load_relaxed(page_entry(view, first + i)) + 1,
                     "leads elsewhere");
    }
    clear_stage();
}

TEST(a_large_block_whose_pages_are_not_its_own_is_found)
{
    set_scene();
    shared_u64 *entry = page_entry(view, large.start / PAGE);
    expect_found(entry, BLOCK_ENTRY | (large.pages + 1), "is free");
    expect_found(entry, BLOCK_ENTRY | 1000, "outside the segment");
    expect_found(page_entry(view, large.start / PAGE + 1), BLOCK_ENTRY | 1, "held by something");
    expect_found(page_entry(view, small.start / PAGE), BLOCK_ENTRY | 1, "");
    expect_found(page_entry(view, 1), BLOCK_ENTRY | 1, "held by something");
    clear_stage();
}

TEST(a_page_with_two_holders_is_found)
{
    set_scene();
    expect_found(&header->root, large.start, "");
    expect_found(&header->root, small.start, "");
    expect_found(&view->chunk_map[0], load_relaxed(&header->span_runs[0]), "");
    expect_found(&header->span_runs[1], load_relaxed(&header->root), "held by something");
    struct slot *slot = view_slot(view, 1);
    expect_found(&slot->reserved_page, large.start, "held by something");
    expect_found(&slot->log_chunks[0], small.start, "held by something");
    clear_stage();
}

TEST(a_page_that_is_held_and_free_is_found)
{
    set_scene();
    uint64_t page = large.start / PAGE + 1;
    expect_found(&view->used_map[page / 64],
                 load_relaxed(&view->used_map[page / 64]) & ~(UINT64_C(1) << page % 64), "is free");
    page = small.start / PAGE;
    expect_found(&view->used_map[page / 64],
                 load_relaxed(&view->used_map[page / 64]) & ~(UINT64_C(1) << page % 64), "is free");
    expect_found(&view->backed_map[page / 64],
                 load_relaxed(&view->backed_map[page / 64]) & ~(UINT64_C(1) << page % 64),
                 "no memory behind it");
    clear_stage();
}

TEST(a_page_that_nobody_holds_is_counted_as_linked)
{
    set_scene();
    uint64_t last = 512 * KIB / PAGE - 1;
    store_relaxed(&view->used_map[last / 64],
                  load_relaxed(&view->used_map[last / 64]) | UINT64_C(1) << last % 64);
    assert_int_equal(checked(stage).pages_linked, 1);
    clear_stage();
}

TEST(a_damaged_header_is_found)
{
    set_scene();
    expect_found(&header->magic, 1, "header");
    expect_found(&header->size, 512 * KIB + PAGE, "header");
    expect_found(&header->size, 0, "header");
    clear_stage();
}

static int look_only(void *reader)
{
    hf_check_report report;
    assert_ok(hf_check(reader, &report));
    assert_int_equal(report.blocks, 2);
    return 0;
}

TEST(a_read_only_segment_is_checked)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *reader;
    void *block;
    assert_ok(hf_segment_create(unique_name(name, "check"), 256 * KIB, NULL, &stage));
    assert_ok(hf_alloc(stage, 100, &block));
    assert_ok(hf_alloc(stage, 10000, &block));
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &reader));
    assert_int_equal(run_child(look_only, reader), 0);
    hf_segment_close(reader);
    clear_stage();
}

/* ---- beside others' work ----------------------------------------------------------------- */

#define LINKS_EACH 30u

/* Spans and large blocks come and go in the same few places. */
static void work_on(hf_off *links, uint64_t random)
{
    hf_off *link = &links[random % LINKS_EACH];
    size_t size = random % 3 == 0 ? 9000 + random / 3 % 30000 : 1 + random / 3 % 8192;
    int error = link->value != 0 ? hf_free_from(stage, link) : hf_alloc_into(stage, size, link);
    assert_true(error == 0 || error == -ENOMEM);
    if (random % 16 == 0) {
        assert_ok(hf_heap_trim(stage));
    }
    if (random % 64 == 1) {
        assert_ok(hf_thread_leave(stage));
    }
}

static int work_until_told(void *index)
{
    unsigned i = *(unsigned *)index;
    (void)random_below(2);
    say_ready();
    while (load_acquire(&props->finish) == 0) {
        work_on(link_at(i * LINKS_EACH), random_below(UINT64_C(1) << 40));
    }
    return 0;
}

/* The same page is taken and given back all the time: what is seen twice may be two things. */
static int hammer_until_told(void *large_ones)
{
    void *block;
    say_ready();
    while (load_acquire(&props->finish) == 0) {
        if (large_ones != NULL) {
            assert_ok(hf_alloc(stage, 9000, &block));
            assert_ok(hf_free(stage, block));
        } else {
            assert_ok(hf_alloc(stage, 8192, &block));
            assert_ok(hf_free(stage, block));
            assert_ok(hf_heap_trim(stage));
        }
    }
    return 0;
}

static void check_for(int64_t ms)
{
    hf_check_report report;
    uint64_t looks = 0;
    uint64_t again = 0;
    for (int64_t end = now_ms() + ms; now_ms() < end; looks++) {
        int error = hf_check(stage, &report);
        if (error != 0 && error != -EAGAIN) {
            fail_msg("look %llu: %s: %s", (unsigned long long)looks, hf_strerror(error),
                     report.what);
        }
        again += error == -EAGAIN;
    }
    print_message("%llu looks, %llu times -EAGAIN\n", (unsigned long long)looks,
                  (unsigned long long)again);
    assert_true(looks > again);
}

static void check_beside(int (*work)(void *), void *const contexts[3], unsigned workers)
{
    pid_t pids[3];
    for (unsigned i = 0; i < workers; i++) {
        pids[i] = start_ready(work, contexts[i]);
    }
    check_for(3000);
    store_release(&props->finish, 1u);
    for (unsigned i = 0; i < workers; i++) {
        assert_int_equal(wait_child(pids[i]), 0);
    }
    assert_ok(hf_segment_recover(stage, NULL));
    (void)checked(stage);
    clear_stage();
}

TEST(beside_live_writers_nothing_is_taken_for_damage)
{
    unsigned index[3] = {0, 1, 2};
    set_growing_stage(256 * KIB, 4 * MIB);
    check_beside(work_until_told, (void *const[3]){&index[0], &index[1], &index[2]}, 3);
}

TEST(beside_one_who_takes_and_frees_the_same_pages_nothing_is_taken_for_damage)
{
    set_stage(256 * KIB);
    check_beside(hammer_until_told, (void *const[3]){stage, NULL, NULL}, 1);
    set_stage(256 * KIB);
    check_beside(hammer_until_told, (void *const[3]){NULL, NULL, NULL}, 1);
}

static void *hammer_in_a_thread(void *large_ones)
{
    (void)hammer_until_told(large_ones);
    return NULL;
}

TEST(beside_other_threads_nothing_is_taken_for_damage)
{
    pthread_t threads[2];
    set_stage(512 * KIB);
    assert_int_equal(pthread_create(&threads[0], NULL, hammer_in_a_thread, stage), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, hammer_in_a_thread, NULL), 0);
    check_for(2000);
    store_release(&props->finish, 1u);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_int_equal(pthread_join(threads[1], NULL), 0);
    expect_empty(stage);
    clear_stage();
}
