/* SPDX-License-Identifier: MIT */
/* What hf_check says of an index of names that is damaged, and what reading one gives. */
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "holdfast/check.h"
#include "holdfast/heap.h"
#include "holdfast/object.h"
#include "segment/object_layout.h"
#include "segment/segment_layout.h"
#include "support/stage.h"

#define MANY 16u

static struct segment_header *header_here(void)
{
    return hf_segment_base(stage);
}

static struct object *object_of_offset(uint64_t offset)
{
    return (struct object *)(void *)((char *)hf_segment_base(stage) + offset);
}

static struct name_table *table_here(void)
{
    return (struct name_table *)(void *)object_of_offset(load_relaxed(&header_here()->names));
}

static struct name_bucket *buckets_here(void)
{
    return (struct name_bucket *)(void *)(table_here() + 1);
}

/* A bucket with two objects. */
static struct name_bucket *full_bucket(void)
{
    for (unsigned b = 0; b < 16; b++) {
        uint64_t first = load_relaxed(&buckets_here()[b].first);
        if (first != 0 && load_relaxed(&object_of_offset(first)->next[0]) +
                                  load_relaxed(&object_of_offset(first)->next[1]) !=
                              0) {
            return &buckets_here()[b];
        }
    }
    fail();
    return NULL;
}

static void set_stage_with_names(void)
{
    char name[8];
    set_stage(256 * KIB);
    for (int i = 0; i < (int)MANY; i++) {
        (void)snprintf(name, sizeof name, "n%d", i);
        assert_non_null(hf_construct(stage, name, int, i));
    }
    hf_check_report report;
    assert_ok(hf_check(stage, &report));
    assert_int_equal(report.names, MANY);
}

/* It is found out; and looking at all of it ends, whatever comes. */
static void expect_damage(const char *what)
{
    hf_check_report report;
    hf_object_cursor cursor = {0};
    hf_object_info info;
    uint64_t count;
    assert_error(hf_check(stage, &report), -EBADMSG);
    if (strstr(report.what, what) == NULL) {
        fail_msg("%s: it says %s", what, report.what);
    }
    for (unsigned i = 0; i < 3 * MANY && hf_object_next(stage, &cursor, &info) == 0; i++) {
    }
    (void)hf_object_count(stage, &count);
    for (unsigned i = 0; i < MANY; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "n%u", i);
        (void)hf_find(stage, name, int);
    }
    clear_stage();
}

TEST(a_list_that_does_not_end_is_found_out)
{
    set_stage_with_names();
    struct object *object = object_of_offset(load_relaxed(&full_bucket()->first));
    uint64_t parity = load_relaxed(&table_here()->parity);
    store_relaxed(&object->next[parity], load_relaxed(&full_bucket()->first));
    expect_damage("have one name"); /* with itself */
}

TEST(an_object_in_anothers_bucket_is_found_out)
{
    set_stage_with_names();
    struct object *object = object_of_offset(load_relaxed(&full_bucket()->first));
    store_relaxed(&object->hash, load_relaxed(&object->hash) ^ 1);
    expect_damage("in another's bucket");
}

TEST(an_object_that_is_freed_is_found_out)
{
    set_stage_with_names();
    assert_ok(hf_free(stage, object_of_offset(load_relaxed(&full_bucket()->first))));
    expect_damage("is no object");
}

TEST(an_object_larger_than_its_block_is_found_out)
{
    set_stage_with_names();
    store_relaxed(&object_of_offset(load_relaxed(&full_bucket()->first))->count, 4000);
    expect_damage("is no object");
}

TEST(an_offset_beyond_everything_is_found_out)
{
    set_stage_with_names();
    store_relaxed(&full_bucket()->first, UINT64_C(0xfffffffffff0));
    expect_damage("is no object");
}

TEST(two_of_one_name_are_found_out)
{
    set_stage_with_names();
    struct name_bucket *bucket = full_bucket();
    struct object *first = object_of_offset(load_relaxed(&bucket->first));
    struct object *second =
        object_of_offset(load_relaxed(&first->next[load_relaxed(&table_here()->parity)]));
    store_relaxed(&second->hash, load_relaxed(&first->hash));
    store_relaxed(&second->lengths, load_relaxed(&first->lengths));
    memcpy(second + 1, first + 1, 8);
    expect_damage("have one name");
}

TEST(a_wrong_count_is_found_out)
{
    set_stage_with_names();
    store_relaxed(&header_here()->named, MANY + 1);
    expect_damage("are counted");
}

TEST(a_table_left_over_is_found_out)
{
    set_stage_with_names();
    store_relaxed(&header_here()->names_spare, 64);
    expect_damage("left over");
    set_stage_with_names();
    store_relaxed(&table_here()->previous, 64);
    expect_damage("left over");
}

TEST(a_table_that_is_none_is_found_out)
{
    static const uint64_t wrong[] = {0, 3, 1 << 20, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        set_stage_with_names();
        store_relaxed(&table_here()->buckets, wrong[i]);
        expect_damage("no table");
    }
    set_stage_with_names();
    store_relaxed(&header_here()->names, UINT64_C(1) << 45);
    expect_damage("no table");
}

TEST(a_lock_that_is_none_is_found_out)
{
    set_stage_with_names();
    store_relaxed(&header_here()->names_lock.kind, LOCK_FRESH);
    expect_damage("lock of the names");
}
