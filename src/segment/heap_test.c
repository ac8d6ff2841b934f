/* SPDX-License-Identifier: MIT */
/* The heap, by one process that lives; heap_process_test.c and heap_tx_test.c have the others. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "segment/classes.h"
#include "support/heaps.h"

#define PAGE UINT64_C(4096)

/* ---- classes ----------------------------------------------------------------------------- */

TEST(each_size_has_the_smallest_class_that_holds_it)
{
    for (uint32_t size = 1; size <= CLASS_MAX; size++) {
        uint32_t class = class_of(size);
        assert_true(class < CLASSES);
        assert_true(class_size(class) >= size);
        assert_true(class == 0 || class_size(class - 1) < size);
        assert_true(size <= 128 || class_size(class) - size <= size / 8);
    }
}

TEST(an_offset_in_a_span_is_divided_exactly)
{
    for (uint32_t class = 0; class < CLASSES; class ++) {
        for (uint64_t inside = 0; inside < 8 * PAGE; inside++) {
            assert_true(class_index(class, inside) == inside / class_size(class));
        }
    }
}

TEST(a_span_has_no_more_blocks_than_bits_and_no_fewer_than_one)
{
    for (uint32_t class = 0; class < CLASSES; class ++) {
        uint32_t pages[] = {size_classes[class].pages, class_few_pages(class)};
        for (unsigned i = 0; i < 2; i++) {
            uint32_t blocks = class_blocks(class, pages[i]);
            assert_true(blocks >= 1 && blocks <= 256 && pages[i] <= 8);
            assert_true(blocks * class_size(class) <= pages[i] * PAGE);
        }
    }
}

/* ---- sizes and alignment ----------------------------------------------------------------- */

static void expect_a_block_of(size_t size)
{
    void *block = filled(stage, size, (int)(size & 0xff));
    size_t usable = hf_usable_size(stage, block);
    assert_true(usable >= size);
    assert_true(size <= CLASS_MAX ? usable == class_size(class_of(size))
                                  : usable == (size + 4095) / 4096 * 4096);
    assert_int_equal((uintptr_t)block % 16, 0);
    memset(block, 0x5a, usable);
    expect_bytes(stage, usable);
    assert_ok(hf_free(stage, block));
    assert_int_equal(hf_usable_size(stage, block), 0);
    expect_blocks(stage, 0);
}

TEST(every_boundary_of_a_class_gives_a_block_that_large)
{
    set_stage(1 * MIB);
    for (uint32_t class = 0; class < CLASSES; class ++) {
        expect_a_block_of(class_size(class) - 1);
        expect_a_block_of(class_size(class));
        expect_a_block_of(class_size(class) + 1);
    }
    expect_empty(stage);
    clear_stage();
}

TEST(large_blocks_are_whole_pages)
{
    set_stage(1 * MIB);
    for (size_t size = CLASS_MAX + 1; size < 700 * KIB; size += size / 3) {
        expect_a_block_of(size);
    }
    expect_a_block_of(3 * PAGE);
    expect_a_block_of(3 * PAGE + 1);
    expect_empty(stage);
    clear_stage();
}

TEST(the_largest_free_run_can_be_had_and_no_more)
{
    set_stage(512 * KIB);
    void *block = filled(stage, 3 * PAGE, 1); /* the table of pages is there */
    assert_ok(hf_free(stage, block));
    hf_heap_info info = heap_info(stage);
    assert_int_equal(info.free, info.largest_free);
    assert_error(hf_alloc(stage, (size_t)info.largest_free + 1, &block), -ENOMEM);
    expect_a_block_of((size_t)info.largest_free);
    clear_stage();
}

TEST(a_block_is_aligned_as_asked_and_counted_from_the_segments_start)
{
    set_stage(4 * MIB);
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        for (size_t size = 1; size < 20000; size += 1 + size / 5) {
            void *blocks[3];
            for (unsigned i = 0; i < 3; i++) {
                assert_ok(hf_alloc_aligned(stage, alignment, size, &blocks[i]));
                assert_int_equal(hf_segment_offset(stage, blocks[i]).value % alignment, 0);
                assert_int_equal((uintptr_t)blocks[i] % alignment, 0);
                assert_true(hf_usable_size(stage, blocks[i]) >= size);
                memset(blocks[i], (int)i, size);
            }
            for (unsigned i = 0; i < 3; i++) {
                expect_filled(blocks[i], size, (int)i);
            }
            assert_ok(hf_free_many(stage, blocks, 3));
        }
    }
    expect_empty(stage);
    clear_stage();
}

TEST(an_alignment_that_cannot_be_is_einval)
{
    void *block = props;
    set_stage(256 * KIB);
    size_t wrong[] = {0, 3, 12, 24, 4097, 8192, SIZE_MAX, SIZE_MAX / 2 + 1};
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_error(hf_alloc_aligned(stage, wrong[i], 64, &block), -EINVAL);
    }
    assert_error(hf_alloc_aligned(stage, 64, 0, &block), -EINVAL);
    assert_error(hf_alloc_aligned(stage, 4096, SIZE_MAX, &block), -ENOMEM);
    assert_error(hf_alloc_aligned(stage, 4096, SIZE_MAX - 4096, &block), -ENOMEM);
    assert_error(hf_alloc_aligned(stage, 64, 64, NULL), -EINVAL);
    expect_blocks(stage, 0);
    clear_stage();
}

TEST(more_than_the_buffer_is_aligned_to_is_einval)
{
    hf_segment *segment;
    void *block;
    char *memory = aligned_alloc(4096, 256 * KIB + 4096);
    assert_non_null(memory);
    assert_ok(hf_segment_init(memory + 64, 256 * KIB, &segment));
    assert_ok(hf_alloc_aligned(segment, 64, 100, &block));
    assert_int_equal((uintptr_t)block % 64, 0);
    assert_error(hf_alloc_aligned(segment, 128, 100, &block), -EINVAL);
    assert_error(hf_alloc_aligned(segment, 4096, 100, &block), -EINVAL);
    assert_ok(hf_thread_leave(segment));
    hf_segment_close(segment);
    free(memory);
}

TEST(a_zeroed_block_is_zero_where_another_has_been)
{
    set_stage(512 * KIB);
    for (size_t size = 1; size < 60000; size += 1 + size / 2) {
        void *block = filled(stage, size, 0xff);
        void *again;
        assert_ok(hf_free(stage, block));
        assert_ok(hf_alloc_zeroed(stage, size, &again));
        expect_filled(again, size, 0);
        assert_ok(hf_free(stage, again));
    }
    expect_empty(stage);
    clear_stage();
}

TEST(blocks_do_not_overlap)
{
    enum { N = 3000 };
    static void *blocks[N];
    static size_t sizes[N];
    set_stage(16 * MIB);
    for (unsigned i = 0; i < N; i++) {
        sizes[i] = 1 + (size_t)random_below(i % 50 == 0 ? 30000 : i % 5 == 0 ? 9000 : 500);
        blocks[i] = filled(stage, sizes[i], (int)(i % 251));
    }
    for (unsigned i = 0; i < N; i += 2) {
        expect_filled(blocks[i], sizes[i], (int)(i % 251));
        assert_ok(hf_free(stage, blocks[i]));
        sizes[i] = 1 + (size_t)random_below(500);
        blocks[i] = filled(stage, sizes[i], (int)(i % 251));
    }
    for (unsigned i = 0; i < N; i++) {
        expect_filled(blocks[i], sizes[i], (int)(i % 251));
    }
    expect_blocks(stage, N);
    assert_ok(hf_free_many(stage, blocks, N));
    expect_empty(stage);
    clear_stage();
}

/* ---- many -------------------------------------------------------------------------------- */

TEST(many_blocks_are_all_or_none)
{
    enum { N = 1000 };
    static void *blocks[N];
    set_stage(512 * KIB);
    assert_ok(hf_alloc_many(stage, 100, N, blocks));
    expect_blocks(stage, N);
    for (unsigned i = 0; i < N; i++) {
        memset(blocks[i], (int)i % 100, 100);
    }
    for (unsigned i = 0; i < N; i++) {
        expect_filled(blocks[i], 100, (int)i % 100);
    }
    assert_ok(hf_free_many(stage, blocks, N));
    expect_empty(stage);
    assert_error(hf_alloc_many(stage, 1000, N, blocks), -ENOMEM);
    expect_empty(stage);
    assert_error(hf_alloc_many(stage, 20 * KIB, N, blocks), -ENOMEM);
    expect_empty(stage);
    assert_ok(hf_alloc_many(stage, 100, 0, NULL));
    assert_error(hf_alloc_many(stage, 100, 1, NULL), -EINVAL);
    assert_error(hf_alloc_many(stage, 0, 1, blocks), -EINVAL);
    clear_stage();
}

TEST(freeing_many_stops_at_what_is_no_block)
{
    void *blocks[5];
    set_stage(256 * KIB);
    assert_ok(hf_alloc_many(stage, 100, 5, blocks));
    void *good = blocks[2];
    blocks[2] = props;
    assert_error(hf_free_many(stage, blocks, 5), -EINVAL);
    expect_blocks(stage, 3);
    blocks[2] = NULL;
    assert_ok(hf_free_many(stage, blocks + 2, 3));
    assert_ok(hf_free(stage, good));
    assert_ok(hf_free_many(stage, NULL, 0));
    assert_error(hf_free_many(stage, NULL, 1), -EINVAL);
    expect_empty(stage);
    clear_stage();
}

/* ---- another size ------------------------------------------------------------------------ */

TEST(a_block_that_is_resized_keeps_its_contents)
{
    static const size_t sizes[] = {1,     16,    17,    100,    90,    5000,  8192, 8193,
                                   30000, 12000, 50000, 16384,  16385, 8192,  60,   1,
                                   40000, 20000, 4096,  100000, 8193,  70000, 2};
    set_stage(1 * MIB);
    void *block = NULL;
    assert_ok(hf_realloc(stage, &block, 1)); /* as hf_alloc */
    memset(block, 7, 1);
    size_t size = 1;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_ok(hf_realloc(stage, &block, sizes[i]));
        expect_filled(block, sizes[i] < size ? sizes[i] : size, 7);
        assert_true(hf_usable_size(stage, block) >= sizes[i]);
        expect_blocks(stage, 1);
        size = sizes[i];
        memset(block, 7, size);
    }
    assert_ok(hf_free(stage, block));
    expect_empty(stage);
    clear_stage();
}

TEST(a_block_is_resized_where_it_lies_if_that_can_be)
{
    set_stage(1 * MIB);
    void *block = filled(stage, 100, 1);
    void *was = block;
    assert_ok(hf_realloc(stage, &block, 112));
    assert_ok(hf_realloc(stage, &block, 60));
    assert_ptr_equal(block, was);
    assert_ok(hf_free(stage, block));
    block = was = filled(stage, 20 * KIB, 2);
    assert_ok(hf_realloc(stage, &block, 200 * KIB)); /* nobody is behind it */
    assert_ptr_equal(block, was);
    assert_int_equal(hf_usable_size(stage, block), 200 * KIB);
    expect_filled(block, 20 * KIB, 2);
    expect_bytes(stage, 200 * KIB);
    assert_ok(hf_realloc(stage, &block, 12 * KIB));
    assert_ptr_equal(block, was);
    expect_bytes(stage, 12 * KIB);
    void *behind = filled(stage, 12 * KIB, 3);
    assert_ptr_equal(behind, (char *)was + 12 * KIB);
    assert_ok(hf_realloc(stage, &block, 16 * KIB));
    assert_ptr_not_equal(block, was);
    expect_filled(block, 12 * KIB, 2);
    expect_filled(behind, 12 * KIB, 3);
    assert_ok(hf_free(stage, block));
    assert_ok(hf_free(stage, behind));
    expect_empty(stage);
    clear_stage();
}

TEST(a_large_block_grows_with_the_segment)
{
    set_growing_stage(64 * KIB, 2 * MIB);
    void *block = filled(stage, 12 * KIB, 9);
    for (size_t size = 16 * KIB; size < 1 * MIB; size += 40 * KIB) {
        assert_ok(hf_realloc(stage, &block, size));
        expect_filled(block, 12 * KIB, 9);
        expect_bytes(stage, size);
    }
    assert_ok(hf_free(stage, block));
    expect_empty(stage);
    clear_stage();
}

TEST(a_resize_that_fails_leaves_the_block_as_it_was)
{
    set_stage(256 * KIB);
    static const size_t sizes[] = {1, 100, 8192, 8193, 40000};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = filled(stage, sizes[i], 3);
        void *was = block;
        assert_error(hf_realloc(stage, &block, 1 * MIB), -ENOMEM);
        assert_error(hf_realloc(stage, &block, SIZE_MAX), -ENOMEM);
        assert_error(hf_realloc(stage, &block, SIZE_MAX - 4095), -ENOMEM);
        assert_error(hf_realloc(stage, &block, 0), -EINVAL);
        assert_ptr_equal(block, was);
        expect_filled(block, sizes[i], 3);
        expect_blocks(stage, 1);
        assert_ok(hf_free(stage, block));
        assert_error(hf_realloc(stage, &block, 10), -EINVAL);
        assert_ptr_equal(block, was);
    }
    void *inside = (char *)props + 64;
    assert_error(hf_realloc(stage, &inside, 10), -EINVAL);
    assert_error(hf_realloc(stage, NULL, 10), -EINVAL);
    expect_empty(stage);
    clear_stage();
}

TEST(a_block_that_is_reserved_is_not_resized)
{
    set_stage(256 * KIB);
    void *block;
    assert_ok(hf_reserve(stage, 100, &block));
    void *was = block;
    assert_error(hf_realloc(stage, &block, 112), -EINVAL);
    assert_error(hf_realloc(stage, &block, 5000), -EINVAL);
    assert_ptr_equal(block, was);
    assert_ok(hf_free(stage, block));
    expect_empty(stage);
    clear_stage();
}

/* ---- links ------------------------------------------------------------------------------- */

TEST(a_block_is_taken_into_a_link_and_freed_from_it)
{
    static const size_t sizes[] = {1, 16, 4000, 8192, 8193, 40000};
    set_stage(512 * KIB);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_ok(hf_alloc_into(stage, sizes[i], link_at(i)));
        void *block = hf_segment_at(stage, *link_at(i));
        assert_non_null(block);
        assert_true(hf_usable_size(stage, block) >= sizes[i]);
        memset(block, (int)i, sizes[i]);
        expect_blocks(stage, i + 1);
    }
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        expect_filled(hf_segment_at(stage, *link_at(i)), sizes[i], (int)i);
        assert_ok(hf_free_from(stage, link_at(i)));
        assert_int_equal(link_at(i)->value, 0);
        assert_error(hf_free_from(stage, link_at(i)), -EINVAL);
    }
    expect_empty(stage);
    clear_stage();
}

TEST(a_list_is_built_of_links_in_blocks)
{
    enum { N = 1000 };
    struct node {
        hf_off next;
        uint64_t value;
    };
    set_stage(256 * KIB);
    hf_off *end = link_at(0);
    for (uint64_t i = 0; i < N; i++) {
        assert_ok(hf_alloc_into(stage, sizeof(struct node), end));
        struct node *node = hf_segment_at(stage, *end);
        *node = (struct node){{0}, i};
        end = &node->next;
    }
    expect_blocks(stage, N);
    for (uint64_t i = 0; i < N; i++) {
        struct node *node = hf_segment_at(stage, *link_at(0));
        hf_off next = node->next;
        assert_int_equal(node->value, i);
        assert_ok(hf_free_from(stage, link_at(0)));
        *link_at(0) = next;
    }
    assert_int_equal(link_at(0)->value, 0);
    expect_empty(stage);
    clear_stage();
}

TEST(a_link_that_is_none_is_einval)
{
    hf_off outside = {0};
    void *block;
    set_stage(256 * KIB);
    char *base = hf_segment_base(stage);
    hf_off *wrong[] = {&outside,
                       NULL,
                       (hf_off *)(void *)base,               /* the header */
                       (hf_off *)(void *)(base + 104),       /* the same */
                       (hf_off *)(void *)(base + 4096 + 88), /* a slot */
                       (hf_off *)(void *)(base + 256 * KIB),
                       (hf_off *)(void *)(base - 8),
                       (hf_off *)(void *)(props->bytes + 4)};
    assert_ok(hf_reserve(stage, 100, &block));
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_error(hf_alloc_into(stage, 64, wrong[i]), -EINVAL);
        assert_error(hf_alloc_into(stage, 64000, wrong[i]), -EINVAL);
        assert_error(hf_free_from(stage, wrong[i]), -EINVAL);
        if (wrong[i] != NULL) {
            assert_error(hf_publish(stage, block, wrong[i]), -EINVAL);
        }
    }
    link_at(0)->value = 1;
    assert_error(hf_alloc_into(stage, 64, link_at(0)), -EINVAL);
    assert_error(hf_publish(stage, block, link_at(0)), -EINVAL);
    assert_error(hf_alloc_into(stage, 0, link_at(1)), -EINVAL);
    assert_int_equal(link_at(0)->value, 1);
    assert_int_equal(outside.value, 0);
    expect_blocks(stage, 1);
    assert_ok(hf_free(stage, block));
    expect_empty(stage);
    clear_stage();
}

TEST(a_link_to_what_is_no_block_is_einval_and_stays)
{
    set_stage(256 * KIB);
    assert_ok(hf_alloc_into(stage, 100, link_at(0)));
    uint64_t block = link_at(0)->value;
    uint64_t wrong[] = {1,     16,          4096,      block + 16, block - 16,     block + 1,
                        88888, block + 112, 256 * KIB, UINT64_MAX, UINT64_MAX - 15};
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        link_at(1)->value = wrong[i];
        assert_error(hf_free_from(stage, link_at(1)), -EINVAL);
        assert_int_equal(link_at(1)->value, wrong[i]);
        assert_error(hf_free(stage, (char *)hf_segment_base(stage) + wrong[i]), -EINVAL);
        assert_int_equal(hf_usable_size(stage, (char *)hf_segment_base(stage) + wrong[i]), 0);
    }
    expect_blocks(stage, 1);
    assert_ok(hf_free_from(stage, link_at(0)));
    expect_empty(stage);
    clear_stage();
}

/* ---- reservations ------------------------------------------------------------------------ */

TEST(a_reserved_block_is_published_into_a_link_or_without_one)
{
    static const size_t sizes[] = {1, 100, 8192, 8193, 30000};
    set_stage(512 * KIB);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block;
        assert_ok(hf_reserve(stage, sizes[i], &block));
        memset(block, 0x11, sizes[i]);
        expect_blocks(stage, 1);
        assert_ok(hf_publish(stage, block, link_at(0)));
        assert_ptr_equal(hf_segment_at(stage, *link_at(0)), block);
        assert_error(hf_publish(stage, block, link_at(1)), -EINVAL);
        assert_ok(hf_thread_leave(stage));
        expect_filled(block, sizes[i], 0x11);
        assert_ok(hf_free_from(stage, link_at(0)));
        assert_ok(hf_reserve(stage, sizes[i], &block));
        assert_ok(hf_publish(stage, block, NULL));
        assert_ok(hf_thread_leave(stage));
        expect_blocks(stage, 1);
        assert_ok(hf_free(stage, block));
    }
    expect_empty(stage);
    clear_stage();
}

static void reserve_some(unsigned n, void **blocks)
{
    for (unsigned i = 0; i < n; i++) {
        assert_ok(hf_reserve(stage, 40 + i % 30, &blocks[i]));
        memset(blocks[i], (int)i % 100, 40);
    }
    expect_blocks(stage, n);
}

/* So many that a slot has no room for them, nor a page, nor two. */
static const unsigned many[] = {4, 5, 515, 516, 1026, 1027, 2000};
#define MANY (sizeof many / sizeof many[0])

TEST(any_number_of_blocks_can_be_reserved_and_published_in_any_order)
{
    static void *blocks[2000];
    set_stage(1 * MIB);
    for (unsigned m = 0; m < MANY; m++) {
        unsigned n = many[m];
        reserve_some(n, blocks);
        for (unsigned i = 0; i < n; i++) { /* 7 has no factor in common with any of them */
            assert_ok(hf_publish(stage, blocks[(i * 7) % n], NULL));
        }
        for (unsigned i = 0; i < n; i++) {
            expect_filled(blocks[i], 40, (int)i % 100);
        }
        expect_blocks(stage, n);
        assert_ok(hf_free_many(stage, blocks, n));
        expect_blocks(stage, 0);
    }
    assert_ok(hf_thread_leave(stage));
    expect_empty(stage);
    assert_int_equal(checked(stage).pages_linked, 0);
    clear_stage();
}

TEST(who_leaves_frees_all_that_it_has_reserved)
{
    static void *blocks[2000];
    set_stage(1 * MIB);
    for (unsigned m = 0; m < MANY; m++) {
        reserve_some(many[m], blocks);
        assert_ok(hf_publish(stage, blocks[many[m] - 1], NULL));
        assert_ok(hf_thread_leave(stage));
        expect_blocks(stage, 1);
        assert_ok(hf_free(stage, blocks[many[m] - 1]));
    }
    expect_empty(stage);
    clear_stage();
}

TEST(pages_for_reservations_are_given_back_by_who_leaves)
{
    static void *blocks[2000];
    set_stage(1 * MIB);
    reserve_some(100, blocks);
    assert_ok(hf_thread_leave(stage));
    assert_ok(hf_heap_trim(stage));
    assert_ok(hf_thread_leave(stage));
    uint64_t used = bytes_used();
    reserve_some(2000, blocks);
    assert_ok(hf_thread_leave(stage));
    assert_ok(hf_heap_trim(stage));
    assert_ok(hf_thread_leave(stage));
    assert_true(bytes_used() <= used + 2 * PAGE); /* descriptors of spans */
    clear_stage();
}

TEST(a_reserved_block_is_given_back_by_free)
{
    static void *blocks[600];
    set_stage(512 * KIB);
    reserve_some(600, blocks);
    for (unsigned i = 0; i < 600; i += 2) {
        assert_ok(hf_free(stage, blocks[i]));
        assert_error(hf_publish(stage, blocks[i], link_at(0)), -EINVAL);
        assert_error(hf_free(stage, blocks[i]), -EINVAL);
    }
    expect_blocks(stage, 300);
    assert_ok(hf_thread_leave(stage));
    expect_empty(stage);
    clear_stage();
}

TEST(what_is_not_reserved_cannot_be_published)
{
    set_stage(256 * KIB);
    void *block = filled(stage, 100, 1);
    assert_error(hf_publish(stage, block, link_at(0)), -EINVAL);
    assert_error(hf_publish(stage, NULL, link_at(0)), -EINVAL);
    assert_error(hf_publish(stage, hf_segment_base(stage), link_at(0)), -EINVAL);
    assert_error(hf_publish(stage, (char *)block + 16, NULL), -EINVAL);
    assert_error(hf_reserve(stage, 0, &block), -EINVAL);
    assert_error(hf_reserve(stage, 10, NULL), -EINVAL);
    assert_error(hf_reserve(stage, SIZE_MAX, &block), -ENOMEM);
    assert_error(hf_reserve(stage, 1 * MIB, &block), -ENOMEM);
    expect_blocks(stage, 1);
    assert_ok(hf_free(stage, block));
    assert_ok(hf_thread_leave(stage));
    expect_empty(stage);
    clear_stage();
}

/* ---- what is wrong ----------------------------------------------------------------------- */

TEST(a_block_is_freed_once)
{
    static const size_t sizes[] = {1, 100, 4096, 8192, 8193, 100000};
    set_stage(512 * KIB);
    void *other = filled(stage, 100, 1);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = filled(stage, sizes[i], 2);
        assert_ok(hf_free(stage, block));
        assert_error(hf_free(stage, block), -EINVAL);
        assert_error(hf_free(stage, block), -EINVAL);
    }
    expect_filled(other, 100, 1);
    expect_blocks(stage, 1);
    assert_ok(hf_free(stage, other));
    expect_empty(stage);
    clear_stage();
}

TEST(no_address_but_a_blocks_can_be_freed)
{
    set_stage(256 * KIB);
    char *base = hf_segment_base(stage);
    void *small = filled(stage, 100, 1);
    void *large = filled(stage, 40000, 2);
    size_t of_small = hf_usable_size(stage, small);
    for (uint64_t offset = 0; offset <= 256 * KIB; offset += 8) {
        if (base + offset != (char *)small && base + offset != (char *)large) {
            assert_error(hf_free(stage, base + offset), -EINVAL);
            assert_int_equal(hf_usable_size(stage, base + offset), 0);
        }
    }
    for (size_t i = 1; i < of_small; i++) {
        assert_error(hf_free(stage, (char *)small + i), -EINVAL);
    }
    assert_error(hf_free(stage, &base), -EINVAL);
    assert_error(hf_free(stage, base - 16), -EINVAL);
    assert_error(hf_free(stage, (void *)(uintptr_t)16), -EINVAL);
    assert_error(hf_free(stage, (void *)UINTPTR_MAX), -EINVAL);
    assert_int_equal(hf_usable_size(stage, &base), 0);
    assert_int_equal(hf_usable_size(stage, NULL), 0);
    expect_filled(small, 100, 1);
    expect_filled(large, 40000, 2);
    expect_blocks(stage, 2);
    assert_ok(hf_free(stage, NULL));
    assert_ok(hf_free(stage, small));
    assert_ok(hf_free(stage, large));
    expect_empty(stage);
    clear_stage();
}

TEST(a_block_of_another_segment_is_einval)
{
    hf_segment *other;
    set_stage(256 * KIB);
    assert_ok(hf_segment_create_private(256 * KIB, NULL, &other));
    void *here = filled(stage, 100, 1);
    void *there = filled(other, 100, 2);
    void *large = filled(other, 20000, 3);
    assert_error(hf_free(stage, there), -EINVAL);
    assert_error(hf_free(stage, large), -EINVAL);
    assert_error(hf_free(other, here), -EINVAL);
    assert_error(hf_realloc(stage, &there, 200), -EINVAL);
    assert_int_equal(hf_usable_size(stage, there), 0);
    assert_ok(hf_free(other, there));
    assert_ok(hf_free(other, large));
    assert_ok(hf_free(stage, here));
    expect_empty(stage);
    expect_empty(other);
    hf_segment_close(other);
    clear_stage();
}

TEST(sizes_that_cannot_be_are_errors)
{
    void *block = NULL;
    set_growing_stage(64 * KIB, 1 * MIB);
    static const size_t sizes[] = {SIZE_MAX,        SIZE_MAX - 1,    SIZE_MAX - 4095, SIZE_MAX / 2,
                                   (size_t)1 << 45, (size_t)1 << 47, 2 * MIB};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_error(hf_alloc(stage, sizes[i], &block), -ENOMEM);
        assert_error(hf_alloc_zeroed(stage, sizes[i], &block), -ENOMEM);
        assert_error(hf_alloc_many(stage, sizes[i], 1, &block), -ENOMEM);
        assert_error(hf_alloc_into(stage, sizes[i], link_at(0)), -ENOMEM);
        assert_error(hf_reserve(stage, sizes[i], &block), -ENOMEM);
        assert_int_equal(link_at(0)->value, 0);
    }
    assert_error(hf_alloc(stage, 0, &block), -EINVAL);
    assert_error(hf_alloc_zeroed(stage, 0, &block), -EINVAL);
    assert_error(hf_alloc(stage, 10, NULL), -EINVAL);
    assert_error(hf_alloc(NULL, 10, &block), -EINVAL);
    assert_error(hf_free(NULL, block), -EINVAL);
    assert_error(hf_alloc_into(NULL, 10, link_at(0)), -EINVAL);
    assert_error(hf_free_from(NULL, link_at(0)), -EINVAL);
    assert_error(hf_heap_get_info(NULL, NULL), -EINVAL);
    assert_error(hf_heap_get_info(stage, NULL), -EINVAL);
    assert_error(hf_heap_trim(NULL), -EINVAL);
    assert_null(block);
    assert_int_equal(hf_usable_size(NULL, props), 0);
    expect_empty(stage);
    clear_stage();
}

static int look_without_writing(void *expected)
{
    hf_segment *reader = *(hf_segment **)expected;
    hf_off *small = (hf_off *)((char *)hf_segment_base(reader) +
                               ((char *)link_at(0) - (char *)hf_segment_base(stage)));
    void *block = hf_segment_at(reader, *small);
    hf_heap_info info;
    void *got;
    assert_int_equal(hf_usable_size(reader, block), 112);
    assert_ok(hf_heap_get_info(reader, &info));
    assert_int_equal(info.blocks, 2);
    assert_int_equal(info.large_blocks, 1);
    expect_blocks(reader, 2);
    assert_error(hf_alloc(reader, 100, &got), -EACCES);
    assert_error(hf_alloc_zeroed(reader, 100, &got), -EACCES);
    assert_error(hf_alloc_aligned(reader, 64, 100, &got), -EACCES);
    assert_error(hf_alloc_many(reader, 100, 1, &got), -EACCES);
    assert_error(hf_alloc_into(reader, 100, small + 1), -EACCES);
    assert_error(hf_free(reader, block), -EACCES);
    assert_error(hf_free_many(reader, &block, 1), -EACCES);
    assert_error(hf_free_from(reader, small), -EACCES);
    assert_error(hf_realloc(reader, &block, 1000), -EACCES);
    assert_error(hf_reserve(reader, 100, &got), -EACCES);
    assert_error(hf_publish(reader, block, small + 1), -EACCES);
    assert_error(hf_heap_trim(reader), -EACCES);
    return 0;
}

TEST(a_read_only_segment_can_be_looked_at_and_not_changed)
{
    char name[UNIQUE_NAME_SIZE];
    void *root;
    hf_segment *reader;
    assert_ok(hf_segment_create(unique_name(name, "heap"), 256 * KIB, NULL, &stage));
    assert_ok(hf_segment_root(stage, sizeof *props, &root));
    props = root;
    assert_ok(hf_alloc_into(stage, 100, link_at(0)));
    assert_ok(hf_alloc_into(stage, 10000, link_at(5)));
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &reader));
    assert_int_equal(run_child(look_without_writing, &reader), 0);
    hf_segment_close(reader);
    expect_blocks(stage, 2);
    clear_stage();
}

/* ---- exhaustion -------------------------------------------------------------------------- */

static void expect_nothing_more(size_t size)
{
    void *block = props;
    hf_check_report before = checked(stage);
    assert_error(hf_alloc(stage, size, &block), -ENOMEM);
    assert_error(hf_alloc_zeroed(stage, size, &block), -ENOMEM);
    assert_error(hf_alloc_aligned(stage, 16, size, &block), -ENOMEM);
    assert_error(hf_alloc_into(stage, size, link_at(0)), -ENOMEM);
    assert_error(hf_alloc_many(stage, size, 2, &block), -ENOMEM);
    assert_int_equal(link_at(0)->value, 0);
    hf_check_report after = checked(stage);
    assert_int_equal(after.blocks, before.blocks);
    assert_int_equal(after.bytes, before.bytes);
}

TEST(when_memory_is_exhausted_nothing_changes_and_everything_can_be_had_again)
{
    static const size_t sizes[] = {16, 100, 1000, 4096, 8192, 12288, 50000};
    set_stage(512 * KIB);
    void *block = filled(stage, 1, 1);
    assert_ok(hf_free(stage, block));
    assert_ok(hf_heap_trim(stage));
    size_t whole = largest(stage);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t count;
        void **blocks = exhaust(stage, sizes[i], &count);
        for (size_t b = 0; b < count; b++) {
            memset(blocks[b], (int)b % 100, sizes[i]);
        }
        expect_nothing_more(sizes[i]);
        expect_blocks(stage, count);
        assert_true(count * sizes[i] > whole * 8 / 10 - sizes[i]);
        for (size_t b = 0; b < count; b++) {
            expect_filled(blocks[b], sizes[i], (int)b % 100);
        }
        assert_ok(hf_free_many(stage, blocks, count));
        expect_blocks(stage, 0);
        free(blocks);
        /* Memory that has been freed is used for any size again. Descriptors of spans, which are
           not given back, are all that it has cost; but they may lie in the middle. */
        assert_true(heap_info(stage).free + 16 * PAGE >= whole);
        assert_true(largest(stage) >= whole / 3);
        assert_int_equal(largest(stage), heap_info(stage).largest_free);
    }
    expect_empty(stage);
    clear_stage();
}

TEST(every_other_block_of_an_exhausted_segment_can_be_had_again)
{
    set_stage(512 * KIB);
    size_t count;
    void **blocks = exhaust(stage, 100, &count);
    for (size_t i = 0; i < count; i += 2) {
        assert_ok(hf_free(stage, blocks[i]));
    }
    size_t again;
    void **more = exhaust(stage, 100, &again);
    assert_int_equal(again, (count + 1) / 2);
    expect_blocks(stage, count);
    assert_ok(hf_free_many(stage, more, again));
    for (size_t i = 1; i < count; i += 2) {
        assert_ok(hf_free(stage, blocks[i]));
    }
    expect_empty(stage);
    free(blocks);
    free(more);
    clear_stage();
}

TEST(the_segment_grows_for_the_heap_up_to_its_maximum)
{
    set_growing_stage(64 * KIB, 4 * MIB);
    size_t count;
    void **blocks = exhaust(stage, 1000, &count);
    assert_true(count * 1000 > 3 * MIB);
    assert_int_equal(heap_info(stage).size, 4 * MIB);
    expect_blocks(stage, count);
    assert_ok(hf_free_many(stage, blocks, count));
    expect_empty(stage);
    free(blocks);
    /* What lies between: descriptors of spans, and the table of pages. */
    assert_true(heap_info(stage).free > 4 * MIB - 128 * KIB);
    assert_true(largest(stage) >= 1 * MIB);
    clear_stage();
}

TEST(a_segment_of_many_mebibytes_is_filled_and_emptied)
{
    set_growing_stage(64 * KIB, 64 * MIB); /* whose maps lie in pages of their own */
    enum { N = 200000 };
    static void *blocks[N];
    for (unsigned i = 0; i < N; i++) {
        assert_ok(hf_alloc(stage, 1 + i % 300, &blocks[i]));
        *(unsigned char *)blocks[i] = (unsigned char)i;
    }
    expect_blocks(stage, N);
    for (unsigned i = 0; i < N; i++) {
        unsigned at = (unsigned)((i * UINT64_C(7919)) % N);
        assert_int_equal(*(unsigned char *)blocks[at], (unsigned char)at);
        assert_ok(hf_free(stage, blocks[at]));
    }
    expect_empty(stage);
    clear_stage();
}

/* ---- small segments ---------------------------------------------------------------------- */

struct small {
    hf_segment *segment;
    size_t size;
};

/* All that another process can have, of that size. */
static int count_what_fits(void *context)
{
    const struct small *small = context;
    size_t count;
    void **blocks = exhaust(small->segment, small->size, &count);
    assert_ok(hf_free_many(small->segment, blocks, count));
    free(blocks);
    return count * small->size >= 40 * KIB ? 0 : 1 + (int)(count * small->size / 1024);
}

TEST(of_64_kib_with_two_attached_at_least_40_are_for_data)
{
    static const size_t sizes[] = {64, 256, 512, 1024, 2048, 4096, 7000, 8192, 12 * KIB};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct small small = {.size = sizes[i]};
        hf_participant self;
        assert_ok(hf_segment_create_anonymous(64 * KIB, NULL, &small.segment));
        assert_ok(hf_participant_self(small.segment, &self));
        int status = run_child(count_what_fits, &small);
        if (status != 0) {
            fail_msg("blocks of %zu bytes: only %d KiB (or a signal)", sizes[i], status - 1);
        }
        hf_segment_close(small.segment);
    }
}

/* ---- giving back ------------------------------------------------------------------------- */

TEST(spans_that_are_empty_go_back_to_the_pages)
{
    enum { N = 4000 };
    static void *blocks[N];
    set_stage(2 * MIB);
    assert_ok(hf_alloc_many(stage, 200, N, blocks));
    uint64_t held = heap_info(stage).held;
    assert_true(held >= N * 200);
    assert_ok(hf_free_many(stage, blocks, N));
    assert_true(heap_info(stage).held <= held / 20); /* but for the one that is taken from */
    expect_empty(stage);
    uint64_t free_bytes = heap_info(stage).largest_free;
    assert_ok(hf_pages_alloc(stage, free_bytes, link_at(0)));
    assert_ok(hf_pages_free(stage, free_bytes, link_at(0)));
    clear_stage();
}

TEST(what_one_class_has_used_another_can_have)
{
    set_stage(512 * KIB);
    for (unsigned round = 0; round < 200; round++) {
        size_t size = 1 + (size_t)random_below(round % 2 == 0 ? 9000 : 300);
        size_t count;
        void **blocks = exhaust(stage, size, &count);
        assert_true(checked(stage).bytes > 250 * KIB);
        assert_ok(hf_free_many(stage, blocks, count));
        free(blocks);
    }
    expect_empty(stage);
    clear_stage();
}

/* ---- looking ----------------------------------------------------------------------------- */

enum { MODEL = 400 };

struct model {
    void *blocks[MODEL];
    size_t sizes[MODEL];
};

static void expect_info(const struct model *model)
{
    uint64_t used[HF_HEAP_CLASSES] = {0};
    uint64_t blocks = 0;
    uint64_t bytes = 0;
    uint64_t large = 0;
    uint64_t held = 0;
    hf_heap_info info = heap_info(stage);
    for (unsigned i = 0; i < MODEL; i++) {
        size_t usable = model->sizes[i] == 0 ? 0 : hf_usable_size(stage, model->blocks[i]);
        blocks += usable != 0;
        bytes += usable;
        large += usable > CLASS_MAX ? usable : 0;
        if (usable > 0 && usable <= CLASS_MAX) {
            used[class_of(model->sizes[i])]++;
        }
    }
    assert_int_equal(info.size, 4 * MIB);
    assert_int_equal(info.blocks, blocks);
    assert_int_equal(info.used, bytes);
    assert_int_equal(info.large_used, large);
    for (uint32_t c = 0; c < HF_HEAP_CLASSES; c++) {
        assert_int_equal(info.classes[c].size, class_size(c));
        assert_int_equal(info.classes[c].used, used[c]);
        assert_int_equal(info.classes[c].blocks,
                         info.classes[c].spans * class_blocks(c, size_classes[c].pages));
        held += info.classes[c].spans * size_classes[c].pages * PAGE;
    }
    assert_int_equal(info.held, held + large);
    assert_int_equal(info.free, info.size - bytes_used());
    assert_true(info.largest_free <= info.free);
    assert_int_equal(checked(stage).bytes, bytes);
    assert_int_equal(checked(stage).blocks, blocks);
}

TEST(what_the_heap_is_said_to_hold_is_what_was_taken)
{
    static struct model model;
    set_stage(4 * MIB);
    for (unsigned round = 0; round < 6000; round++) {
        unsigned i = (unsigned)random_below(MODEL);
        if (model.sizes[i] != 0) {
            assert_ok(hf_free(stage, model.blocks[i]));
            model.sizes[i] = 0;
        } else {
            model.sizes[i] = 1 + (size_t)random_below(i % 20 == 0  ? 20000
                                                      : i % 3 == 0 ? 9000
                                                                   : 400);
            assert_ok(hf_alloc(stage, model.sizes[i], &model.blocks[i]));
        }
        if (round % 50 == 0) {
            expect_info(&model);
        }
    }
    clear_stage();
}

TEST(what_a_participant_has_is_told_apart_from_the_rest)
{
    hf_participant me;
    hf_heap_info info;
    set_stage(512 * KIB);
    assert_ok(hf_participant_self(stage, &me));
    assert_ok(hf_heap_get_info_of(stage, me, &info));
    assert_int_equal(info.blocks, 0);
    assert_int_equal(info.held, 0);
    void *blocks[10];
    assert_ok(hf_alloc_many(stage, 100, 10, blocks));
    assert_ok(hf_heap_get_info_of(stage, me, &info));
    assert_int_equal(info.blocks, 10);
    assert_int_equal(info.used, 10 * 112);
    assert_int_equal(info.classes[class_of(100)].used, 10);
    assert_int_equal(info.classes[class_of(100)].spans, 1);
    assert_int_equal(info.orphans, 0);
    assert_ok(hf_thread_leave(stage));
    assert_ok(hf_heap_get_info_of(stage, me, &info));
    assert_int_equal(info.blocks, 0);
    assert_int_equal(heap_info(stage).orphans, 1);
    assert_ok(hf_heap_get_info_of(stage, (hf_participant){0}, &info));
    assert_int_equal(info.blocks, 0);
    assert_ok(hf_heap_get_info_of(stage, (hf_participant){UINT64_MAX}, &info));
    assert_int_equal(info.blocks, 0);
    assert_error(hf_heap_get_info_of(stage, me, NULL), -EINVAL);
    assert_error(hf_heap_get_info_of(NULL, me, &info), -EINVAL);
    assert_ok(hf_free_many(stage, blocks, 10));
    expect_empty(stage);
    clear_stage();
}

/* ---- every kind of segment --------------------------------------------------------------- */

static void expect_a_heap(hf_segment *segment)
{
    void *blocks[200];
    for (unsigned i = 0; i < 200; i++) {
        blocks[i] = filled(segment, 1 + i * 13, (int)i);
    }
    void *large = filled(segment, 50000, 0x77);
    expect_blocks(segment, 201);
    for (unsigned i = 0; i < 200; i++) {
        expect_filled(blocks[i], 1 + i * 13, (int)i);
    }
    assert_ok(hf_free_many(segment, blocks, 200));
    assert_ok(hf_free(segment, large));
    expect_empty(segment);
    assert_ok(hf_thread_leave(segment));
    hf_segment_close(segment);
}

TEST(every_kind_of_segment_has_a_heap)
{
    hf_segment *segment;
    char name[UNIQUE_NAME_SIZE];
    assert_ok(hf_segment_create(unique_name(name, "heap"), 1 * MIB, NULL, &segment));
    expect_a_heap(segment);
    assert_ok(
        hf_segment_create_file(path_in(temporary_directory(), "heap"), 1 * MIB, NULL, &segment));
    expect_a_heap(segment);
    assert_ok(hf_segment_create_private(1 * MIB, NULL, &segment));
    expect_a_heap(segment);
    void *buffer = aligned_alloc(64, 1 * MIB);
    assert_non_null(buffer);
    assert_ok(hf_segment_init(buffer, 1 * MIB, &segment));
    expect_a_heap(segment);
    free(buffer);
}

TEST(a_heap_outlives_everybody_in_a_file)
{
    const char *path = path_in(temporary_directory(), "heap");
    hf_segment *segment;
    void *root;
    assert_ok(hf_segment_create_file(path, 1 * MIB, NULL, &segment));
    assert_ok(hf_segment_root(segment, 64, &root));
    assert_ok(hf_alloc_into(segment, 1000, root));
    memset(hf_segment_at(segment, *(hf_off *)root), 0x33, 1000);
    assert_ok(hf_thread_leave(segment));
    hf_segment_close(segment);
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
    assert_ok(hf_segment_root(segment, 64, &root));
    expect_filled(hf_segment_at(segment, *(hf_off *)root), 1000, 0x33);
    expect_blocks(segment, 1);
    assert_ok(hf_free_from(segment, root));
    expect_empty(segment);
    hf_segment_close(segment);
}
