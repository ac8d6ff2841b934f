/* SPDX-License-Identifier: MIT */
/* Many names: the index grows, is iterated beside changes, runs out of memory, and is read-only. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "holdfast/check.h"
#include "holdfast/heap.h"
#include "holdfast/object.h"
#include "support/stage.h"

static uint64_t blocks_now(void)
{
    hf_check_report report;
    assert_ok(hf_check(stage, &report));
    return report.blocks;
}

static uint64_t count_now(void)
{
    uint64_t count;
    assert_ok(hf_object_count(stage, &count));
    return count;
}

static const char *name_of(unsigned number)
{
    static _Thread_local char name[24];
    (void)snprintf(name, sizeof name, "object %u", number);
    return name;
}

static int make(unsigned number)
{
    unsigned *object = hf_construct(stage, name_of(number), unsigned, number);
    return object == NULL ? -1 : 0;
}

static void expect_there(unsigned number)
{
    const unsigned *object = hf_find(stage, name_of(number), unsigned);
    assert_non_null(object);
    assert_int_equal(*object, number);
}

TEST(a_hundred_thousand_names_are_found_and_told_once)
{
    enum { MANY = 100000 };
    set_growing_stage(MIB, 256 * MIB);
    uint64_t blocks = blocks_now();
    for (unsigned i = 0; i < MANY; i++) {
        assert_ok(make(i));
    }
    assert_int_equal(count_now(), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        expect_there(i);
    }
    assert_null(hf_find(stage, name_of(MANY), unsigned));
    char *told = calloc(MANY, 1);
    hf_object_cursor cursor = {0};
    hf_object_info info;
    int error;
    while ((error = hf_object_next(stage, &cursor, &info)) == 0) {
        unsigned number = *(unsigned *)info.object;
        assert_string_equal(info.name, name_of(number));
        assert_int_equal(told[number]++, 0);
    }
    assert_error(error, -ENOENT);
    assert_error(hf_object_next(stage, &cursor, &info), -ENOENT);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(told[i], 1);
        assert_ok(hf_destroy(stage, name_of(i), unsigned));
    }
    free(told);
    assert_int_equal(count_now(), 0);
    assert_int_equal(blocks_now(), blocks + 1);
    clear_stage();
}

/* What nobody touches is told once, whatever becomes of the others between two steps. */
TEST(an_iteration_tells_all_that_is_not_touched_once)
{
    enum { KEPT = 300, LOOKS = 60 };
    set_growing_stage(MIB, 64 * MIB);
    unsigned others = 1000;
    for (unsigned i = 0; i < KEPT; i++) {
        assert_ok(make(i));
    }
    for (unsigned look = 0; look < LOOKS; look++) {
        unsigned char told[KEPT] = {0};
        hf_object_cursor cursor = {0};
        hf_object_info info;
        while (hf_object_next(stage, &cursor, &info) == 0) {
            unsigned number = *(unsigned *)info.object;
            if (number < KEPT) {
                told[number]++;
            } else if (random_below(4) != 0) {
                assert_ok(hf_object_destroy_at(stage, info.object));
            }
            for (unsigned i = (unsigned)random_below(2); i > 0; i--) {
                assert_ok(make(others++));
            }
        }
        for (unsigned i = 0; i < KEPT; i++) {
            assert_int_equal(told[i], 1);
        }
    }
    clear_stage();
}

TEST(an_iteration_goes_on_in_the_index_that_has_grown)
{
    for (unsigned after = 0; after < 16; after++) {
        set_growing_stage(MIB, 64 * MIB);
        unsigned told[16] = {0};
        hf_object_cursor cursor = {0};
        hf_object_info info;
        for (unsigned i = 0; i < 16; i++) {
            assert_ok(make(i));
        }
        for (unsigned steps = 0; hf_object_next(stage, &cursor, &info) == 0; steps++) {
            told[*(unsigned *)info.object]++;
            if (steps == after) {
                assert_ok(hf_object_reserve(stage, 1000));
            }
        }
        for (unsigned i = 0; i < 16; i++) {
            assert_int_equal(told[i], 1);
        }
        clear_stage();
    }
}

TEST(what_is_reserved_need_not_grow)
{
    set_growing_stage(MIB, 64 * MIB);
    assert_ok(hf_object_reserve(stage, 0));
    assert_ok(hf_object_reserve(stage, 5000));
    uint64_t used = bytes_used();
    assert_ok(hf_object_reserve(stage, 100));
    assert_ok(make(0));
    assert_int_equal(blocks_now(), 2);
    for (unsigned i = 1; i < 5000; i++) {
        assert_ok(make(i));
    }
    assert_int_equal(blocks_now(), 5001);
    assert_true(bytes_used() > used);
    assert_error(hf_object_reserve(stage, UINT64_MAX), -ENOMEM);
    assert_error(hf_object_reserve(stage, UINT64_C(1) << 37), -ENOMEM);
    assert_error(hf_object_reserve(stage, UINT64_C(1) << 24), -ENOMEM);
    expect_there(4999);
    clear_stage();
}

TEST(exhaustion_changes_nothing)
{
    assert_ok(hf_segment_create_anonymous(64 * KIB, NULL, &stage));
    unsigned last = 0;
    void *object;
    while (make(last) == 0) {
        last++;
    }
    assert_true(last > 300);
    hf_check_report full;
    assert_ok(hf_check(stage, &full));
    for (unsigned i = 0; i < 10; i++) {
        static const size_t sizes[] = {1, 100, 5000, 30000};
        hf_type type = {"t", sizes[i % 4], 1};
        int error = hf_object_construct(stage, "more", type, 1, NULL, NULL, &object);
        assert_error(error, -ENOMEM);
    }
    assert_int_equal(blocks_now(), full.blocks);
    assert_int_equal(count_now(), last);
    for (unsigned i = 0; i < last; i++) {
        expect_there(i);
        assert_ok(hf_destroy(stage, name_of(i), unsigned));
    }
    assert_ok(
        hf_object_construct(stage, "more", ((hf_type){"t", 30000, 1}), 1, NULL, NULL, &object));
    clear_stage();
}

TEST(a_read_only_segment_is_looked_at)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *writer;
    assert_ok(hf_segment_create(unique_name(name, "object"), MIB, NULL, &writer));
    stage = writer;
    for (unsigned i = 0; i < 100; i++) {
        assert_ok(make(i));
    }
    assert_ok(hf_thread_leave(writer));
    hf_segment_close(writer);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &stage));
    void *object;
    hf_object_info info;
    hf_object_cursor cursor = {0};
    unsigned told = 0;
    while (hf_object_next(stage, &cursor, &info) == 0) {
        assert_ok(hf_object_get_info(stage, info.object, &info));
        told++;
    }
    assert_int_equal(told, 100);
    assert_int_equal(count_now(), 100);
    expect_there(77);
    assert_null(hf_find(stage, name_of(100), unsigned));
    assert_error(hf_object_construct(stage, "n", HF_TYPE(int), 1, NULL, NULL, &object), -EACCES);
    assert_error(hf_destroy(stage, name_of(1), unsigned), -EACCES);
    assert_error(hf_object_destroy_at(stage, info.object), -EACCES);
    assert_error(hf_object_reserve(stage, 1), -EACCES);
    clear_stage();
}
