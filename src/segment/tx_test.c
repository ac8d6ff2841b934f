/* SPDX-License-Identifier: MIT */
/* Transactions while everybody lives; tx_death_test.c kills. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "segment/slot_layout.h"
#include "support/stage.h"

/* What a transaction is to keep or restore: some pages of the segment, and a picture of them. */
struct canvas {
    unsigned char *bytes;
    unsigned char *picture;
    size_t size;
};

static struct canvas new_canvas(size_t size)
{
    hf_off *link = (hf_off *)(void *)props->bytes;
    struct canvas canvas = {.picture = malloc(size), .size = size};
    assert_non_null(canvas.picture);
    assert_ok(hf_pages_alloc(stage, size, link));
    canvas.bytes = hf_segment_at(stage, *link);
    assert_non_null(canvas.bytes);
    for (size_t i = 0; i < size; i++) {
        canvas.bytes[i] = (unsigned char)(i * 7 + (i >> 8));
    }
    memcpy(canvas.picture, canvas.bytes, size);
    return canvas;
}

static void take_picture(struct canvas *canvas)
{
    memcpy(canvas->picture, canvas->bytes, canvas->size);
}

static void expect_picture(const struct canvas *canvas)
{
    assert_int_equal(memcmp(canvas->picture, canvas->bytes, canvas->size), 0);
}

static void paint(struct canvas *canvas, size_t at, size_t length)
{
    assert_ok(hf_tx_add(stage, canvas->bytes + at, length));
    memset(canvas->bytes + at, (int)random_below(256), length);
}

/* ---- commit and abort -------------------------------------------------------------------- */

TEST(a_commit_keeps_what_was_written)
{
    set_stage(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, props->account, sizeof props->account));
    props->account[0] = 5;
    props->account[1] = 7;
    assert_ok(hf_tx_commit(stage));
    assert_int_equal(props->account[0], 5);
    assert_int_equal(props->account[1], 7);
    clear_stage();
}

TEST(an_abort_restores_what_was_saved_and_nothing_else)
{
    set_stage(256 * KIB);
    props->account[0] = 5;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, &props->account[0], sizeof props->account[0]));
    props->account[0] = 6;
    props->account[1] = 7;
    assert_ok(hf_tx_abort(stage));
    assert_int_equal(props->account[0], 5);
    assert_int_equal(props->account[1], 7);
    clear_stage();
}

TEST(an_empty_transaction_ends_either_way)
{
    set_stage(256 * KIB);
    for (int i = 0; i < 3; i++) {
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_tx_commit(stage));
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_tx_abort(stage));
    }
    clear_stage();
}

TEST(without_a_transaction_there_is_nothing_to_add_to_or_to_end)
{
    set_stage(256 * KIB);
    for (int i = 0; i < 2; i++) {
        assert_error(hf_tx_add(stage, props->account, 16), -EINVAL);
        assert_error(hf_tx_reserve(stage, 16), -EINVAL);
        assert_error(hf_tx_commit(stage), -EINVAL);
        assert_error(hf_tx_abort(stage), -EINVAL);
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_tx_commit(stage));
    }
    assert_error(hf_tx_begin(NULL), -EINVAL);
    assert_error(hf_tx_add(NULL, props->account, 16), -EINVAL);
    assert_error(hf_tx_reserve(NULL, 16), -EINVAL);
    assert_error(hf_tx_commit(NULL), -EINVAL);
    assert_error(hf_tx_abort(NULL), -EINVAL);
    clear_stage();
}

TEST(ranges_of_every_small_length_and_place_are_restored)
{
    set_stage(256 * KIB);
    struct canvas canvas = new_canvas(4096);
    for (size_t at = 0; at < 17; at++) {
        for (size_t length = 1; length < 70; length++) {
            assert_ok(hf_tx_begin(stage));
            paint(&canvas, at, length);
            assert_ok(hf_tx_abort(stage));
            expect_picture(&canvas);
        }
    }
    free(canvas.picture);
    clear_stage();
}

TEST(ranges_of_every_size_are_restored)
{
    static const size_t sizes[] = {344,  367,  368,  369,  383,   384,    385,     4095,   4096,
                                   4097, 4720, 4736, 4737, 65536, 100001, 1 << 20, 5000003};
    set_stage(24 * MIB);
    struct canvas canvas = new_canvas(6 * MIB);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_ok(hf_tx_begin(stage));
        paint(&canvas, 3, 5);
        paint(&canvas, i, sizes[i]);
        paint(&canvas, 1, 9);
        assert_ok(hf_tx_abort(stage));
        expect_picture(&canvas);
        assert_ok(hf_tx_begin(stage));
        paint(&canvas, i, sizes[i]);
        take_picture(&canvas);
        assert_ok(hf_tx_commit(stage));
        expect_picture(&canvas);
    }
    free(canvas.picture);
    clear_stage();
}

TEST(overlapping_and_repeated_ranges_are_restored_to_the_first_state)
{
    set_stage(MIB);
    struct canvas canvas = new_canvas(8192);
    assert_ok(hf_tx_begin(stage));
    for (int i = 0; i < 4; i++) {
        paint(&canvas, 100, 200);
        paint(&canvas, 150, 300);
        paint(&canvas, 50, 100);
        paint(&canvas, 100, 200);
        paint(&canvas, 0, 4096);
    }
    assert_ok(hf_tx_abort(stage));
    expect_picture(&canvas);
    free(canvas.picture);
    clear_stage();
}

/* Anything anywhere, many times; the log's areas are entered and left at all their borders. */
static void paint_at_random(struct canvas *canvas, unsigned strokes, size_t longest)
{
    for (unsigned i = 0; i < strokes; i++) {
        size_t length = 1 + random_below(longest);
        paint(canvas, random_below(canvas->size - length), length);
    }
}

TEST(random_ranges_are_restored_or_kept)
{
    set_stage(8 * MIB);
    struct canvas canvas = new_canvas(256 * KIB);
    for (unsigned i = 0; i < 300; i++) {
        bool keep = random_below(2) == 0;
        size_t longest = (size_t)1 << random_below(13);
        assert_ok(hf_tx_begin(stage));
        paint_at_random(&canvas, (unsigned)random_below(100), longest);
        if (keep) {
            take_picture(&canvas);
        }
        assert_ok(keep ? hf_tx_commit(stage) : hf_tx_abort(stage));
        expect_picture(&canvas);
    }
    free(canvas.picture);
    clear_stage();
}

/* ---- nesting ----------------------------------------------------------------------------- */

TEST(an_inner_commit_is_not_final)
{
    set_stage(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, props->account, sizeof props->account));
    props->account[0] = 1;
    assert_ok(hf_tx_commit(stage));
    assert_int_equal(props->account[0], 1);
    assert_ok(hf_tx_abort(stage));
    assert_int_equal(props->account[0], 0);
    assert_error(hf_tx_commit(stage), -EINVAL);
    clear_stage();
}

TEST(the_outermost_commit_keeps_what_inner_ones_wrote)
{
    set_stage(256 * KIB);
    for (uint64_t depth = 1; depth < 100; depth++) {
        for (uint64_t i = 0; i < depth; i++) {
            assert_ok(hf_tx_begin(stage));
        }
        assert_ok(hf_tx_add(stage, props->account, sizeof props->account));
        props->account[0] = depth;
        for (uint64_t i = 0; i < depth; i++) {
            assert_ok(hf_tx_commit(stage));
        }
        assert_int_equal(props->account[0], depth);
        assert_error(hf_tx_commit(stage), -EINVAL);
    }
    clear_stage();
}

TEST(an_inner_abort_undoes_all_and_cancels_what_follows)
{
    set_stage(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, &props->account[0], 8));
    props->account[0] = 1;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, &props->account[1], 8));
    props->account[1] = 1;
    assert_ok(hf_tx_abort(stage));
    assert_int_equal(props->account[0], 0);
    assert_int_equal(props->account[1], 0);
    assert_error(hf_tx_begin(stage), -ECANCELED);
    assert_error(hf_tx_add(stage, props->account, 8), -ECANCELED);
    assert_error(hf_tx_reserve(stage, 8), -ECANCELED);
    assert_error(hf_tx_commit(stage), -ECANCELED); /* of the second level */
    assert_error(hf_tx_add(stage, props->account, 8), -ECANCELED);
    assert_error(hf_tx_commit(stage), -ECANCELED); /* of the outermost */
    assert_error(hf_tx_commit(stage), -EINVAL);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, props->account, 8));
    props->account[0] = 2;
    assert_ok(hf_tx_commit(stage));
    assert_int_equal(props->account[0], 2);
    clear_stage();
}

TEST(a_cancelled_transaction_may_be_ended_by_abort_as_well)
{
    set_stage(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_abort(stage));
    int error = hf_tx_abort(stage);
    assert_true(error == 0 || error == -ECANCELED);
    assert_error(hf_tx_abort(stage), -EINVAL);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_commit(stage));
    clear_stage();
}

TEST(transactions_in_two_segments_know_nothing_of_each_other)
{
    hf_segment *other;
    void *root;
    set_stage(256 * KIB);
    assert_ok(hf_segment_create_anonymous(256 * KIB, NULL, &other));
    assert_ok(hf_segment_root(other, 64, &root));
    uint64_t *word = root;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_begin(other));
    assert_error(hf_tx_add(stage, word, 8), -EINVAL);
    assert_ok(hf_tx_add(other, word, 8));
    assert_ok(hf_tx_add(stage, props->account, 8));
    *word = 1;
    props->account[0] = 1;
    assert_ok(hf_tx_commit(stage));
    assert_ok(hf_tx_abort(other));
    assert_int_equal(*word, 0);
    assert_int_equal(props->account[0], 1);
    hf_segment_close(other);
    clear_stage();
}

/* ---- what cannot be saved ---------------------------------------------------------------- */

TEST(what_lies_outside_the_segment_cannot_be_saved)
{
    uint64_t outside = 0;
    set_stage(256 * KIB);
    char *base = hf_segment_base(stage);
    assert_ok(hf_tx_begin(stage));
    assert_error(hf_tx_add(stage, &outside, 8), -EINVAL);
    assert_error(hf_tx_add(stage, NULL, 8), -EINVAL);
    assert_error(hf_tx_add(stage, base + 256 * KIB, 1), -EINVAL);
    assert_error(hf_tx_add(stage, base + 256 * KIB - 8, 9), -EINVAL);
    assert_error(hf_tx_add(stage, props->account, SIZE_MAX), -EINVAL);
    assert_error(hf_tx_add(stage, props->account, SIZE_MAX - (size_t)MIB), -EINVAL);
    assert_error(hf_tx_reserve(stage, SIZE_MAX), -EINVAL);
    assert_ok(hf_tx_add(stage, base + 256 * KIB - 8, 8));
    assert_ok(hf_tx_commit(stage));
    clear_stage();
}

TEST(saving_nothing_takes_no_room)
{
    set_stage(256 * KIB);
    uint64_t used = bytes_used();
    assert_ok(hf_tx_begin(stage));
    for (unsigned i = 0; i < 1000; i++) {
        assert_ok(hf_tx_add(stage, props->account, 0));
    }
    assert_ok(hf_tx_commit(stage));
    assert_int_equal(bytes_used(), used);
    clear_stage();
}

TEST(a_log_without_room_is_refused_and_nothing_has_changed)
{
    set_stage(512 * KIB);
    struct canvas canvas = new_canvas(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    paint(&canvas, 10, 100);
    uint64_t used = bytes_used();
    assert_error(hf_tx_add(stage, canvas.bytes, canvas.size), -ENOMEM);
    assert_error(hf_tx_reserve(stage, canvas.size), -ENOMEM);
    assert_true(bytes_used() >= used);
    paint(&canvas, 200, 100); /* it goes on */
    assert_ok(hf_tx_abort(stage));
    expect_picture(&canvas);
    assert_ok(hf_tx_begin(stage));
    paint(&canvas, 10, 100);
    take_picture(&canvas);
    assert_error(hf_tx_add(stage, canvas.bytes, canvas.size), -ENOMEM);
    assert_ok(hf_tx_commit(stage));
    expect_picture(&canvas);
    free(canvas.picture);
    clear_stage();
}

/* Takes every page there is but the last `spare` ones; the first word of each run links the next.
 */
static void leave_free_pages(uint64_t spare)
{
    hf_off *tail = (hf_off *)(void *)props->bytes;
    uint64_t end = 0;
    hf_segment_info info;
    assert_ok(hf_segment_get_info(stage, &info));
    for (end = info.size - info.used; end > spare * HF_SEGMENT_PAGE; end -= HF_SEGMENT_PAGE) {
        assert_ok(hf_pages_alloc(stage, HF_SEGMENT_PAGE, tail));
        tail = hf_segment_at(stage, *tail);
        assert_non_null(tail);
        tail->value = 0;
    }
}

TEST(small_transactions_need_no_room_but_the_slots)
{
    set_stage(256 * KIB);
    leave_free_pages(0);
    assert_ok(hf_tx_begin(stage));
    for (unsigned i = 0; i < 12; i++) { /* 12 times 16 and 16 */
        assert_ok(hf_tx_add(stage, props->account, 16));
    }
    props->account[0] = 1;
    assert_ok(hf_tx_abort(stage));
    assert_int_equal(props->account[0], 0);
    clear_stage();
}

TEST(a_small_reservation_needs_no_room_but_the_slots)
{
    set_stage(256 * KIB);
    leave_free_pages(0);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_reserve(stage, 16));
    assert_ok(hf_tx_add(stage, props->account, 16));
    assert_ok(hf_tx_commit(stage));
    clear_stage();
}

TEST(what_was_reserved_can_be_saved_when_there_is_no_room_any_more)
{
    set_stage(MIB);
    leave_free_pages(15); /* the log's first four chunks: 1, 2, 4 and 8 pages */
    unsigned char *bytes = hf_segment_base(stage);
    unsigned char *data = bytes + 128 * KIB;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_reserve(stage, 32 + 50000));
    assert_ok(hf_tx_add(stage, data, 50000));
    assert_ok(hf_tx_abort(stage));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_reserve(stage, 1000 * (32 + 20)));
    for (unsigned i = 0; i < 1000; i++) {
        assert_ok(hf_tx_add(stage, data, 20));
    }
    assert_ok(hf_tx_abort(stage));
    clear_stage();
}

/* The sizes are such that the reservation just fits, and the first of the two crosses each border
   between the log's areas: what is lost there must have been reckoned with. */
TEST(what_was_reserved_for_several_can_be_saved_across_all_borders_of_the_log)
{
    static const size_t first[] = {60929, 60913, 60945, 60801, 60001};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        size_t then = 61042 - first[i];
        set_stage(MIB);
        leave_free_pages(15);
        unsigned char *bytes = hf_segment_base(stage);
        unsigned char *data = bytes + 128 * KIB;
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_tx_reserve(stage, first[i] + 32 + then + 32));
        assert_ok(hf_tx_add(stage, data, first[i]));
        assert_ok(hf_tx_add(stage, data, then));
        assert_ok(hf_tx_abort(stage));
        clear_stage();
    }
}

TEST(log_chunks_are_kept_for_the_next_transactions)
{
    set_stage(4 * MIB);
    struct canvas canvas = new_canvas(512 * KIB);
    uint64_t used = 0;
    for (unsigned i = 0; i < 50; i++) {
        assert_ok(hf_tx_begin(stage));
        paint(&canvas, 0, canvas.size);
        assert_ok(i % 2 == 0 ? hf_tx_abort(stage) : hf_tx_commit(stage));
        assert_true(i == 0 || bytes_used() == used);
        used = bytes_used();
    }
    free(canvas.picture);
    clear_stage();
}

static int use_a_long_log(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, (char *)hf_segment_base(stage) + MIB, 512 * KIB));
    assert_ok(hf_tx_commit(stage));
    assert_ok(hf_thread_leave(stage));
    return 0;
}

static void *end_with_a_long_log(void *unused)
{
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, (char *)hf_segment_base(stage) + MIB, 512 * KIB));
    return unused;
}

TEST(a_participant_that_leaves_gives_its_log_back)
{
    set_stage(8 * MIB);
    uint64_t used = bytes_used();
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(run_child(use_a_long_log, NULL), 0);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, end_with_a_long_log, NULL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    (void)use_a_long_log(NULL);
    assert_int_equal(bytes_used(), used);
    clear_stage();
}

TEST(the_log_grows_a_segment_that_may_grow)
{
    set_growing_stage(256 * KIB, 32 * MIB);
    struct canvas canvas = new_canvas(2 * MIB);
    assert_ok(hf_tx_begin(stage));
    paint(&canvas, 0, canvas.size);
    paint(&canvas, 0, canvas.size);
    assert_ok(hf_tx_abort(stage));
    expect_picture(&canvas);
    free(canvas.picture);
    clear_stage();
}

/* ---- locks ------------------------------------------------------------------------------- */

static void expect_seen(hf_mutex *mutex, int result)
{
    assert_int_equal(seen_by_another(mutex), result);
}

TEST(a_mutex_that_is_unlocked_inside_stays_held_to_the_end)
{
    set_stage(256 * KIB);
    for (int i = 0; i < 2; i++) {
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_mutex_lock(&props->mutex));
        assert_ok(hf_mutex_unlock(&props->mutex));
        expect_seen(&props->mutex, -EBUSY);
        assert_error(hf_mutex_unlock(&props->mutex), -EPERM);
        assert_ok(i == 0 ? hf_tx_commit(stage) : hf_tx_abort(stage));
        expect_seen(&props->mutex, 0);
        assert_error(hf_mutex_unlock(&props->mutex), -EPERM);
    }
    clear_stage();
}

TEST(a_mutex_that_is_unlocked_in_an_inner_level_stays_held_to_the_outermost_end)
{
    set_stage(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_ok(hf_tx_commit(stage));
    expect_seen(&props->mutex, -EBUSY);
    assert_ok(hf_tx_commit(stage));
    expect_seen(&props->mutex, 0);
    clear_stage();
}

TEST(a_mutex_that_was_unlocked_inside_can_be_had_again_inside)
{
    set_stage(256 * KIB);
    for (int i = 0; i < 3; i++) {
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_mutex_lock(&props->mutex));
        for (int n = 0; n < 3; n++) {
            assert_ok(hf_mutex_unlock(&props->mutex));
            assert_ok(i == 0   ? hf_mutex_lock(&props->mutex)
                      : i == 1 ? hf_mutex_trylock(&props->mutex)
                               : hf_mutex_timedlock(&props->mutex, SECONDS(1)));
            assert_error(hf_mutex_lock(&props->mutex), -EDEADLK);
        }
        assert_ok(hf_tx_commit(stage));
        expect_seen(&props->mutex, -EBUSY); /* it was had last */
        assert_ok(hf_mutex_unlock(&props->mutex));
        expect_seen(&props->mutex, 0);
    }
    clear_stage();
}

TEST(a_mutex_that_is_not_unlocked_inside_is_held_after_the_end)
{
    set_stage(256 * KIB);
    for (int i = 0; i < 2; i++) {
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_mutex_lock(&props->mutex));
        assert_ok(i == 0 ? hf_tx_commit(stage) : hf_tx_abort(stage));
        expect_seen(&props->mutex, -EBUSY);
        assert_ok(hf_mutex_unlock(&props->mutex));
        expect_seen(&props->mutex, 0);
    }
    clear_stage();
}

TEST(a_mutex_held_before_and_unlocked_inside_is_freed_at_the_end)
{
    set_stage(256 * KIB);
    for (int i = 0; i < 2; i++) {
        assert_ok(hf_mutex_lock(&props->more[0]));
        assert_ok(hf_mutex_lock(&props->more[1]));
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_mutex_lock(&props->more[2]));
        assert_ok(hf_mutex_unlock(&props->more[0]));
        expect_seen(&props->more[0], -EBUSY);
        assert_ok(i == 0 ? hf_tx_commit(stage) : hf_tx_abort(stage));
        expect_seen(&props->more[0], 0);
        expect_seen(&props->more[1], -EBUSY);
        expect_seen(&props->more[2], -EBUSY);
        assert_ok(hf_mutex_unlock(&props->more[1]));
        assert_ok(hf_mutex_unlock(&props->more[2]));
    }
    clear_stage();
}

/* Which of `more` one has; each try also says whether another could have it. */
static int count_free(void *unused)
{
    uint32_t count = 0;
    (void)unused;
    for (unsigned i = 0; i < STAGE_MORE; i++) {
        if (hf_mutex_trylock(&props->more[i]) == 0) {
            assert_ok(hf_mutex_unlock(&props->more[i]));
            count++;
        }
    }
    store_release(&props->result, count);
    return 0;
}

static uint32_t free_for_another(void)
{
    assert_int_equal(run_child(count_free, NULL), 0);
    return load_acquire(&props->result);
}

TEST(any_number_of_mutexes_is_kept_whatever_the_order)
{
    bool held[STAGE_MORE] = {false};
    set_stage(256 * KIB);
    for (unsigned round = 0; round < 10; round++) {
        assert_ok(hf_tx_begin(stage));
        for (unsigned i = 0; i < 1000; i++) {
            size_t n = random_below(STAGE_MORE);
            assert_ok(held[n] ? hf_mutex_unlock(&props->more[n]) : hf_mutex_lock(&props->more[n]));
            held[n] = !held[n];
        }
        assert_ok(round % 3 == 0 ? hf_tx_abort(stage) : hf_tx_commit(stage));
        unsigned still = 0;
        for (unsigned i = 0; i < STAGE_MORE; i++) {
            still += held[i];
        }
        assert_int_equal(free_for_another(), STAGE_MORE - still);
    }
    clear_stage();
}

/* ---- what is refused inside -------------------------------------------------------------- */

TEST(pages_are_not_to_be_had_inside_a_transaction)
{
    hf_off *link;
    set_stage(256 * KIB);
    link = (hf_off *)(void *)props->bytes;
    assert_ok(hf_pages_alloc(stage, 1, link));
    assert_ok(hf_tx_begin(stage));
    assert_error(hf_pages_alloc(stage, 1, link + 1), -EBUSY);
    assert_error(hf_pages_free(stage, 1, link), -EBUSY);
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_abort(stage));
    assert_error(hf_pages_alloc(stage, 1, link + 1), -EBUSY); /* cancelled, and not ended yet */
    assert_error(hf_tx_commit(stage), -ECANCELED);
    assert_ok(hf_pages_alloc(stage, 1, link + 1));
    assert_ok(hf_pages_free(stage, 1, link));
    assert_ok(hf_pages_free(stage, 1, link + 1));
    clear_stage();
}

TEST(a_root_is_not_made_inside_a_transaction_but_found)
{
    hf_segment *segment;
    void *root;
    void *again;
    assert_ok(hf_segment_create_anonymous(256 * KIB, NULL, &segment));
    assert_ok(hf_tx_begin(segment));
    assert_error(hf_segment_root(segment, 64, &root), -EBUSY);
    assert_ok(hf_tx_commit(segment));
    assert_ok(hf_segment_root(segment, 64, &root));
    assert_ok(hf_tx_begin(segment));
    assert_ok(hf_segment_root(segment, 64, &again));
    assert_ptr_equal(root, again);
    assert_ok(hf_tx_commit(segment));
    hf_segment_close(segment);
}

static int make_named(void *name)
{
    hf_segment *segment;
    assert_ok(hf_segment_create(name, 256 * KIB, NULL, &segment));
    hf_segment_close(segment);
    return 0;
}

TEST(a_segment_that_is_only_read_has_no_transactions)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    (void)unique_name(name, "tx");
    assert_int_equal(run_child(make_named, name), 0);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment));
    assert_error(hf_tx_begin(segment), -EACCES);
    assert_error(hf_tx_add(segment, hf_segment_base(segment), 8), -EACCES);
    assert_error(hf_tx_reserve(segment, 8), -EACCES);
    assert_error(hf_tx_commit(segment), -EACCES);
    assert_error(hf_tx_abort(segment), -EACCES);
    hf_segment_close(segment);
    assert_ok(hf_segment_remove(name));
}

TEST(a_forked_child_is_not_in_its_parents_transaction)
{
    set_stage(256 * KIB);
    assert_ok(hf_tx_begin(stage));
    pid_t child = fork();
    if (child == 0) {
        bool outside =
            hf_tx_commit(stage) == -EINVAL && hf_tx_begin(stage) == 0 && hf_tx_commit(stage) == 0;
        _exit(outside ? 0 : 1);
    }
    assert_int_equal(wait_child(child), 0);
    assert_ok(hf_tx_commit(stage));
    clear_stage();
}

/* ---- without the system ------------------------------------------------------------------ */

static bool one_transaction(bool keep)
{
    return hf_tx_begin(stage) == 0 && hf_mutex_lock(&props->mutex) == 0 &&
           hf_tx_add(stage, props->account, sizeof props->account) == 0 &&
           hf_tx_add(stage, props->bytes, sizeof props->bytes) == 0 &&
           hf_tx_reserve(stage, sizeof props->bytes) == 0 && hf_mutex_unlock(&props->mutex) == 0 &&
           (keep ? hf_tx_commit(stage) : hf_tx_abort(stage)) == 0;
}

static int work_without_system(void *unused)
{
    (void)unused;
    if (!one_transaction(true)) { /* takes a slot, and room for the log */
        return 1;
    }
    static const long forbidden[] = {SYS_futex, SYS_gettid, SYS_getpid,       SYS_fcntl,
                                     SYS_mmap,  SYS_munmap, SYS_clock_gettime};
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        forbid_syscall(forbidden[i]);
    }
    for (unsigned i = 0; i < 1000; i++) {
        if (!one_transaction(i % 2 == 0)) {
            return 2;
        }
    }
    return 0;
}

TEST(a_transaction_under_a_mutex_that_nobody_wants_costs_no_system_call)
{
    if (UNDER_ASAN || UNDER_TSAN) {
        SKIP("a sanitizer makes system calls of its own");
    }
    set_stage(256 * KIB);
    assert_int_equal(run_child(work_without_system, NULL), 0);
    clear_stage();
}

/* ---- together ---------------------------------------------------------------------------- */

#define TRANSFERS 5000u

/* Moves something to and fro under the mutex; every third time it thinks better of it. */
static void move_to_and_fro(void)
{
    for (unsigned i = 0; i < TRANSFERS; i++) {
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_mutex_lock(&props->mutex));
        assert_int_equal(props->account[0] + props->account[1], 1000);
        assert_ok(hf_tx_add(stage, &props->account[i % 2], 8));
        props->account[i % 2] -= i;
        assert_ok(hf_tx_add(stage, &props->account[(i + 1) % 2], 8));
        props->account[(i + 1) % 2] += i;
        assert_ok(hf_mutex_unlock(&props->mutex));
        assert_ok(i % 3 == 0 ? hf_tx_abort(stage) : hf_tx_commit(stage));
    }
}

static void *move_as_thread(void *unused)
{
    move_to_and_fro();
    return unused;
}

TEST(threads_see_nothing_that_is_not_committed)
{
    pthread_t threads[4];
    set_stage(256 * KIB);
    props->account[0] = 1000;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, move_as_thread, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(props->account[0] + props->account[1], 1000);
    clear_stage();
}

static int move_as_process(void *unused)
{
    (void)unused;
    move_to_and_fro();
    return 0;
}

TEST(processes_see_nothing_that_is_not_committed)
{
    pid_t children[4];
    set_stage(256 * KIB);
    props->account[0] = 1000;
    for (size_t i = 0; i < 4; i++) {
        children[i] = start_child(move_as_process, NULL);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(wait_child(children[i]), 0);
    }
    assert_int_equal(props->account[0] + props->account[1], 1000);
    clear_stage();
}

TEST(what_was_reserved_can_be_saved_at_the_border_of_the_slots_log)
{
    set_stage(256 * KIB);
    leave_free_pages(0);
    for (size_t bytes = 304; bytes <= 384; bytes++) {
        assert_ok(hf_tx_begin(stage));
        int result = hf_tx_reserve(stage, bytes);
        assert_true(result == -ENOMEM || result == 0);
        assert_true(bytes > 344 || result == 0); /* the slot's own 384 bytes are enough */
        if (result == 0) {
            assert_ok(hf_tx_add(stage, props->bytes, bytes));
        }
        assert_ok(hf_tx_abort(stage));
    }
    clear_stage();
}
