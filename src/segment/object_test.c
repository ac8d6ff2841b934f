/* SPDX-License-Identifier: MIT */
/* Objects and their names, by one process that lives. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "holdfast/check.h"
#include "holdfast/heap.h"
#include "holdfast/object.h"
#include "support/stage.h"

struct point {
    int x;
    int y;
};

static uint64_t blocks_now(void)
{
    hf_check_report report;
    int error = hf_check(stage, &report);
    if (error != 0) {
        print_error("%s\n", report.what);
    }
    assert_ok(error);
    return report.blocks;
}

static uint64_t count_now(void)
{
    uint64_t count;
    assert_ok(hf_object_count(stage, &count));
    return count;
}

static int find(const char *name, hf_type type)
{
    void *object;
    return hf_object_find(stage, name, type, &object, NULL);
}

static void *construct(const char *name, hf_type type)
{
    void *object = NULL;
    assert_ok(hf_object_construct(stage, name, type, 1, NULL, NULL, &object));
    return object;
}

/* ---- one of each ------------------------------------------------------------------------- */

TEST(what_is_constructed_is_found_until_it_is_destroyed)
{
    set_stage(256 * KIB);
    int *value = hf_construct(stage, "SharedValue", int, 42);
    assert_non_null(value);
    assert_ptr_equal(hf_find(stage, "SharedValue", int), value);
    assert_int_equal(*value, 42);
    assert_null(hf_construct(stage, "SharedValue", int, 43));
    assert_ptr_equal(hf_find_or_construct(stage, "SharedValue", int, 44), value);
    assert_int_equal(*value, 42);
    assert_ok(hf_destroy(stage, "SharedValue", int));
    assert_null(hf_find(stage, "SharedValue", int));
    assert_error(hf_destroy(stage, "SharedValue", int), -ENOENT);
    struct point *point = hf_find_or_construct(stage, "SharedValue", struct point, 1, .y = 2);
    assert_true(point != NULL && point->x == 1 && point->y == 2);
    clear_stage();
}

TEST(a_unique_object_is_the_one_of_its_type)
{
    set_stage(256 * KIB);
    int *number = hf_construct(stage, HF_UNIQUE, int, 1);
    struct point *point = hf_construct(stage, HF_UNIQUE, struct point, 2, 3);
    assert_true(number != NULL && point != NULL);
    assert_null(hf_construct(stage, HF_UNIQUE, int, 2));
    assert_non_null(hf_construct(stage, "int", int, 2)); /* a name is another matter */
    assert_ptr_equal(hf_find(stage, HF_UNIQUE, int), number);
    assert_ptr_equal(hf_find(stage, HF_UNIQUE, struct point), point);
    assert_int_equal(count_now(), 3);
    assert_ok(hf_destroy(stage, HF_UNIQUE, int));
    assert_error(hf_destroy(stage, HF_UNIQUE, int), -ENOENT);
    assert_ok(hf_object_destroy_at(stage, point));
    assert_null(hf_find(stage, HF_UNIQUE, struct point));
    assert_ok(hf_destroy(stage, "int", int));
    clear_stage();
}

TEST(an_anonymous_object_is_known_by_its_address)
{
    set_stage(256 * KIB);
    uint64_t blocks = blocks_now();
    hf_object_info info;
    struct point *point = hf_construct(stage, NULL, struct point, 2, 3);
    assert_non_null(point);
    assert_int_equal(count_now(), 0);
    assert_error(find(NULL, HF_TYPE(struct point)), -EINVAL);
    assert_ok(hf_object_get_info(stage, point, &info));
    assert_int_equal(info.kind, HF_OBJECT_ANONYMOUS);
    assert_string_equal(info.name, "");
    assert_string_equal(info.type, "struct point");
    assert_error(hf_destroy(stage, NULL, struct point), -EINVAL);
    assert_ok(hf_object_destroy_at(stage, point));
    assert_error(hf_object_destroy_at(stage, point), -EINVAL);
    assert_int_equal(blocks_now(), blocks);
    clear_stage();
}

TEST(arrays_are_zeroed_and_their_length_is_told)
{
    set_stage(MIB);
    static const size_t lengths[] = {1, 2, 7, 1000, 20000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        void *object;
        size_t count;
        assert_ok(
            hf_object_construct(stage, "array", HF_TYPE(int), lengths[i], NULL, NULL, &object));
        int *numbers = object;
        for (size_t n = 0; n < lengths[i]; n++) {
            assert_int_equal(numbers[n], 0);
        }
        memset(numbers, 0xff, lengths[i] * sizeof *numbers);
        assert_ok(hf_object_find(stage, "array", HF_TYPE(int), &object, &count));
        assert_int_equal(count, lengths[i]);
        assert_ok(hf_destroy(stage, "array", int));
    }
    void *object;
    assert_error(hf_object_construct(stage, "a", HF_TYPE(int), 0, NULL, NULL, &object), -EINVAL);
    assert_error(hf_object_construct(stage, "a", HF_TYPE(int), SIZE_MAX, NULL, NULL, &object),
                 -ENOMEM);
    assert_error(hf_object_construct(stage, "a", HF_TYPE(int), SIZE_MAX / 8, NULL, NULL, &object),
                 -ENOMEM);
    clear_stage();
}

TEST(another_type_is_never_taken_for_ones_own)
{
    set_stage(256 * KIB);
    int *number = hf_construct(stage, "n", int, 1);
    assert_non_null(number);
    void *object;
    assert_error(find("n", HF_TYPE(unsigned)), -EBADMSG);
    assert_error(find("n", ((hf_type){"int", 8, 4})), -EBADMSG);
    assert_error(find("n", ((hf_type){"int", 4, 8})), -EBADMSG);
    assert_error(hf_destroy(stage, "n", unsigned), -EBADMSG);
    assert_error(hf_object_construct(stage, "n", HF_TYPE(unsigned), 1, NULL, NULL, &object),
                 -EEXIST);
    assert_error(
        hf_object_find_or_construct(stage, "n", HF_TYPE(unsigned), 1, NULL, NULL, NULL, &object),
        -EBADMSG);
    assert_ptr_equal(hf_find(stage, "n", int), number);
    clear_stage();
}

TEST(names_are_any_bytes_up_to_their_limit)
{
    set_stage(256 * KIB);
    char longest[HF_NAME_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[HF_NAME_MAX + 1] = 0;
    void *object;
    assert_error(hf_object_construct(stage, longest, HF_TYPE(int), 1, NULL, NULL, &object),
                 -ENAMETOOLONG);
    assert_error(find(longest, HF_TYPE(int)), -ENAMETOOLONG);
    longest[HF_NAME_MAX] = 0;
    static const char *const names[] = {"gr\xc3\xb6\xc3\x9f",
                                        "\xe5\x90\x8d\xe5\x89\x8d",
                                        "\xff\x01",
                                        " ",
                                        "a/b",
                                        "a",
                                        "aa",
                                        "12345678",
                                        "123456789"};
    hf_object_info info;
    assert_ok(hf_object_get_info(stage, construct(longest, HF_TYPE(int)), &info));
    assert_string_equal(info.name, longest);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_ok(hf_object_get_info(stage, construct(names[i], HF_TYPE(int)), &info));
        assert_string_equal(info.name, names[i]);
        assert_ok(find(names[i], HF_TYPE(int)));
    }
    assert_ok(find(longest, HF_TYPE(int)));
    longest[HF_NAME_MAX - 1] = 'y';
    assert_error(find(longest, HF_TYPE(int)), -ENOENT);
    assert_error(hf_object_construct(stage, "", HF_TYPE(int), 1, NULL, NULL, &object), -EINVAL);
    assert_error(find("", HF_TYPE(int)), -EINVAL);
    clear_stage();
}

TEST(types_have_limits_and_are_aligned)
{
    set_stage(MIB);
    char longest[HF_TYPE_NAME_MAX + 2];
    memset(longest, 't', sizeof longest);
    longest[HF_TYPE_NAME_MAX + 1] = 0;
    const struct {
        hf_type type;
        int error;
    } wrong[] = {{{NULL, 4, 4}, -EINVAL},       {{"t", 0, 4}, -EINVAL},
                 {{"t", 4, 0}, -EINVAL},        {{"t", 4, 3}, -EINVAL},
                 {{"t", 4, 8192}, -EINVAL},     {{"", 4, 4}, -EINVAL},
                 {{"t", SIZE_MAX, 4}, -EINVAL}, {{longest, 4, 4}, -ENAMETOOLONG}};
    void *object;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_error(hf_object_construct(stage, "n", wrong[i].type, 1, NULL, NULL, &object),
                     wrong[i].error);
        assert_error(find("n", wrong[i].type), wrong[i].error);
    }
    longest[HF_TYPE_NAME_MAX] = 0;
    uint64_t blocks = blocks_now();
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        for (size_t count = 1; count < 4000; count = count * 5 + 1) {
            hf_type type = {longest, 3 * alignment, alignment};
            if (count * type.size > 400 * KIB) {
                continue;
            }
            assert_ok(hf_object_construct(stage, "n", type, count, NULL, NULL, &object));
            assert_int_equal((uintptr_t)object % alignment, 0);
            memset(object, 0xff, count * type.size);
            assert_ok(find("n", type));
            assert_ok(hf_object_destroy(stage, "n", type));
        }
    }
    assert_int_equal(blocks_now(), blocks + 1); /* the table */
    clear_stage();
}

TEST(where_the_buffer_is_not_aligned_no_type_is_put_that_needs_more)
{
    char *memory = aligned_alloc(4096, 20 * 4096);
    assert_non_null(memory);
    assert_ok(hf_segment_init(memory + 64, 16 * 4096, &stage));
    void *object;
    assert_error(
        hf_object_construct(stage, "n", ((hf_type){"t", 128, 128}), 1, NULL, NULL, &object),
        -EINVAL);
    object = construct("n", (hf_type){"t", 64, 64});
    assert_int_equal((uintptr_t)object % 64, 0);
    clear_stage();
    free(memory);
}

/* ---- initialisers ------------------------------------------------------------------------ */

static int fail_with(void *elements, size_t count, void *context)
{
    memset(elements, 0xaa, count * sizeof(int));
    return *(const int *)context;
}

TEST(an_initialiser_that_fails_leaves_nothing)
{
    set_stage(256 * KIB);
    static int errors[] = {-EIO, 17, -EEXIST, -EBUSY, -ENOENT};
    static const char *const names[] = {"n", HF_UNIQUE, NULL};
    construct("other", HF_TYPE(int));
    uint64_t blocks = blocks_now();
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        void *object;
        bool constructed = true;
        for (size_t n = 0; n < 3; n++) {
            assert_error(hf_object_construct(stage, names[n], HF_TYPE(int), 3000, fail_with,
                                             &errors[i], &object),
                         errors[i]);
        }
        assert_error(hf_object_find_or_construct(stage, "n", HF_TYPE(int), 3, fail_with, &errors[i],
                                                 &constructed, &object),
                     errors[i]);
        assert_false(constructed);
    }
    assert_int_equal(blocks_now(), blocks);
    assert_int_equal(count_now(), 1);
    clear_stage();
}

/* A list of objects, each of which has constructed the next. */
static int construct_the_next(void *elements, size_t count, void *context)
{
    unsigned depth = *(const unsigned *)context + 1;
    hf_off *next = elements;
    char name[16];
    void *object;
    (void)count;
    if (depth == 12) {
        return hf_alloc_into(stage, 100, next);
    }
    (void)snprintf(name, sizeof name, "n%u", depth);
    int error =
        hf_object_construct(stage, name, HF_TYPE(hf_off), 1, construct_the_next, &depth, &object);
    *next = hf_segment_offset(stage, object);
    return error;
}

TEST(an_initialiser_may_construct_others_and_allocate)
{
    set_stage(256 * KIB);
    unsigned depth = 0;
    void *object;
    uint64_t blocks = blocks_now();
    assert_ok(
        hf_object_construct(stage, "n0", HF_TYPE(hf_off), 1, construct_the_next, &depth, &object));
    assert_int_equal(count_now(), 12);
    assert_int_equal(blocks_now(), blocks + 12 + 1 + 1);
    assert_ok(find("n11", HF_TYPE(hf_off)));
    assert_error(
        hf_object_construct(stage, "x", HF_TYPE(hf_off), 1, construct_the_next, &depth, &object),
        -EEXIST); /* the inner one's */
    assert_ok(hf_thread_leave(stage));
    assert_int_equal(blocks_now(), blocks + 12 + 1 + 1);
    clear_stage();
}

static int construct_the_same(void *elements, size_t count, void *context)
{
    (void)elements;
    (void)count;
    return hf_construct(stage, context, int, 7) == NULL ? -EIO : 0;
}

static int destroy_another(void *elements, size_t count, void *context)
{
    (void)elements;
    (void)count;
    return hf_destroy(stage, context, int);
}

TEST(an_initialiser_may_destroy_and_take_the_very_name)
{
    set_stage(256 * KIB);
    static char name[] = "n";
    void *object;
    assert_error(
        hf_object_construct(stage, name, HF_TYPE(int), 1, construct_the_same, name, &object),
        -EEXIST);
    assert_int_equal(*hf_find(stage, name, int), 7);
    assert_ok(hf_object_construct(stage, "m", HF_TYPE(int), 1, destroy_another, name, &object));
    assert_null(hf_find(stage, name, int));
    bool constructed;
    assert_ok(hf_object_find_or_construct(stage, name, HF_TYPE(int), 1, construct_the_same, name,
                                          &constructed, &object));
    assert_false(constructed);
    assert_int_equal(*(int *)object, 7);
    assert_int_equal(count_now(), 2);
    clear_stage();
}

static sigjmp_buf out;

static int jump_out(void *elements, size_t count, void *context)
{
    (void)elements;
    (void)count;
    (void)context;
    siglongjmp(out, 1);
}

TEST(who_jumps_out_of_an_initialiser_has_constructed_nothing)
{
    set_stage(256 * KIB);
    construct("other", HF_TYPE(int));
    uint64_t blocks = blocks_now();
    if (sigsetjmp(out, 1) == 0) {
        void *object;
        (void)hf_object_construct(stage, "n", HF_TYPE(int), 1, jump_out, NULL, &object);
        fail();
    }
    assert_ok(hf_thread_recover(stage));
    assert_null(hf_find(stage, "n", int));
    assert_non_null(hf_construct(stage, "n", int, 1));
    assert_ok(hf_destroy(stage, "n", int));
    assert_ok(hf_thread_leave(stage)); /* its block was reserved */
    assert_int_equal(blocks_now(), blocks);
    clear_stage();
}

/* ---- by address -------------------------------------------------------------------------- */

TEST(what_is_no_object_cannot_be_destroyed)
{
    set_stage(256 * KIB);
    char outside = 0;
    void *block;
    char *object = construct("n", (hf_type){"t", 500, 4});
    assert_ok(hf_alloc_zeroed(stage, 600, &block));
    char *base = hf_segment_base(stage);
    char *const wrong[] = {object + 8,
                           object + 16,
                           object - 16,
                           object - 8,
                           object + 1,
                           block,
                           (char *)block + 64,
                           &outside,
                           base,
                           base + 8,
                           base - 8,
                           base + 256 * KIB,
                           base + 256 * KIB + 8,
                           (char *)(uintptr_t)8};
    hf_object_info info;
    uint64_t blocks = blocks_now();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_error(hf_object_destroy_at(stage, wrong[i]), -EINVAL);
        assert_error(hf_object_get_info(stage, wrong[i], &info), -EINVAL);
    }
    assert_error(hf_object_destroy_at(stage, NULL), -EINVAL);
    assert_int_equal(blocks_now(), blocks);
    assert_ok(hf_object_destroy_at(stage, object));
    assert_error(hf_object_destroy_at(stage, object), -EINVAL);
    assert_error(hf_object_get_info(stage, object, &info), -EINVAL);
    assert_int_equal(blocks_now(), blocks - 1);
    clear_stage();
}

TEST(an_object_tells_what_it_is)
{
    set_stage(256 * KIB);
    void *object;
    hf_object_info info;
    assert_ok(hf_object_construct(stage, "name", HF_TYPE(struct point), 5, NULL, NULL, &object));
    assert_ok(hf_object_get_info(stage, object, &info));
    assert_ptr_equal(info.object, object);
    assert_int_equal(info.kind, HF_OBJECT_NAMED);
    assert_int_equal(info.size, sizeof(struct point));
    assert_int_equal(info.count, 5);
    assert_string_equal(info.name, "name");
    assert_string_equal(info.type, "struct point");
    assert_ok(hf_object_get_info(stage, construct(HF_UNIQUE, HF_TYPE(int)), &info));
    assert_int_equal(info.kind, HF_OBJECT_UNIQUE);
    assert_string_equal(info.name, "");
    clear_stage();
}

TEST(what_is_no_segment_is_refused)
{
    void *object;
    uint64_t count;
    hf_object_info info;
    hf_object_cursor cursor = {0};
    hf_type type = HF_TYPE(int);
    assert_error(hf_object_construct(NULL, "n", type, 1, NULL, NULL, &object), -EINVAL);
    assert_error(hf_object_find_or_construct(NULL, "n", type, 1, NULL, NULL, NULL, &object),
                 -EINVAL);
    assert_error(hf_object_find(NULL, "n", type, &object, NULL), -EINVAL);
    assert_error(hf_object_destroy(NULL, "n", type), -EINVAL);
    assert_error(hf_object_destroy_at(NULL, &object), -EINVAL);
    assert_error(hf_object_get_info(NULL, &object, &info), -EINVAL);
    assert_error(hf_object_next(NULL, &cursor, &info), -EINVAL);
    assert_error(hf_object_count(NULL, &count), -EINVAL);
    assert_error(hf_object_reserve(NULL, 1), -EINVAL);
    assert_null(hf_object_construct_value(NULL, "n", type, &count));
    assert_null(hf_object_find_value(NULL, "n", type));
    set_stage(256 * KIB);
    assert_null(hf_object_construct_value(stage, "n", type, NULL));
    assert_null(hf_object_find_or_construct_value(stage, "n", type, NULL));
    assert_error(hf_object_construct(stage, "n", type, 1, NULL, NULL, NULL), -EINVAL);
    assert_error(hf_object_find_or_construct(stage, NULL, type, 1, NULL, NULL, NULL, &object),
                 -EINVAL);
    assert_error(hf_object_next(stage, NULL, &info), -EINVAL);
    assert_error(hf_object_next(stage, &cursor, &info), -ENOENT);
    assert_error(hf_object_count(stage, NULL), -EINVAL);
    assert_int_equal(count_now(), 0);
    clear_stage();
}
