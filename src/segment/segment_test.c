/* SPDX-License-Identifier: MIT */
/* What one does with an open segment's memory: root, pages, growth, trimming, offsets. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "support/segments.h"

static uint64_t used_of(hf_segment *segment)
{
    return info_of(segment).used;
}

static void *at(hf_segment *segment, hf_off link)
{
    void *bytes = hf_segment_at(segment, link);
    assert_non_null(bytes);
    return bytes;
}

/* A segment without a name that has a root and may grow to `maximum`. */
static hf_segment *new_segment(uint64_t size, uint64_t maximum)
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = maximum};
    assert_ok(hf_segment_create_anonymous(size, &options, &segment));
    (void)root_of(segment);
    return segment;
}

/* Bytes of memory that back the segment. */
static uint64_t backing_of(hf_segment *segment)
{
    struct stat st;
    assert_int_equal(fstat(hf_memory_descriptor(hf_segment_memory(segment)), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static bool is_zero(const void *bytes, size_t length)
{
    const char *b = bytes;
    for (size_t i = 0; i < length; i++) {
        if (b[i] != 0) {
            return false;
        }
    }
    return true;
}

/* ---- the root ---------------------------------------------------------------------------- */

TEST(the_root_is_zero_when_it_is_new_and_the_same_for_all)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    void *root;
    void *again;
    assert_ok(hf_segment_create(unique_name(name, "root"), SIZE, NULL, &segment));
    assert_ok(hf_segment_root(segment, 10000, &root));
    assert_true(is_zero(root, 12 * KIB));
    assert_int_equal((uintptr_t)root % PAGE, 0);
    memset(root, 1, 12 * KIB);
    assert_ok(hf_segment_root(segment, 1, &again));
    assert_ptr_equal(root, again);
    assert_ok(hf_segment_root(segment, 12 * KIB, &again)); /* whole pages */
    assert_ok(hf_segment_root(segment, 0, &again));
    assert_ptr_equal(root, again);
    assert_error(hf_segment_root(segment, 12 * KIB + 1, &again), -ERANGE);
    assert_error(hf_segment_root(segment, UINT64_C(1) << 46, &again), -ERANGE);
    hf_segment_close(segment);
}

TEST(the_root_is_zero_though_its_pages_were_used_before)
{
    hf_segment *segment;
    hf_off *link;
    void *root;
    char *bytes = shared_bytes(SIZE);
    memset(bytes, 0xaa, SIZE);
    assert_ok(hf_segment_init(bytes, SIZE, &segment));
    assert_ok(hf_segment_root(segment, 8 * KIB, &root));
    assert_true(is_zero(root, 8 * KIB));
    link = root;
    assert_ok(hf_pages_alloc(segment, PAGE, link));
    hf_segment_close(segment);
}

TEST(a_root_that_does_not_fit_is_enomem_and_a_smaller_one_can_be_had)
{
    hf_segment *segment;
    void *root = NULL;
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    assert_error(hf_segment_root(segment, SIZE, &root), -ENOMEM);
    assert_error(hf_segment_root(segment, 0, &root), -ENOENT); /* asks for what is there */
    assert_error(hf_segment_root(segment, UINT64_MAX, &root), -EINVAL);
    assert_error(hf_segment_root(segment, 8, NULL), -EINVAL);
    assert_null(root);
    assert_int_equal(used_of(segment), 8 * KIB);
    assert_ok(hf_segment_root(segment, SIZE - 8 * KIB, &root));
    assert_int_equal(used_of(segment), SIZE);
    hf_segment_close(segment);
}

TEST(a_root_grows_the_segment_if_it_may)
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = 1 * MIB};
    void *root;
    assert_ok(hf_segment_create_anonymous(HF_SEGMENT_SIZE_MIN, &options, &segment));
    assert_ok(hf_segment_root(segment, 500 * KIB, &root));
    memset(root, 1, 500 * KIB);
    assert_int_equal(used_of(segment), 508 * KIB);
    hf_segment_close(segment);
}

TEST(a_root_is_not_made_inside_a_transaction_but_found)
{
    hf_segment *segment;
    void *root;
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    assert_ok(hf_tx_begin(segment));
    assert_error(hf_segment_root(segment, 8, &root), -EBUSY);
    assert_ok(hf_tx_commit(segment));
    assert_ok(hf_segment_root(segment, 8, &root));
    assert_ok(hf_tx_begin(segment));
    assert_ok(hf_segment_root(segment, 8, &root));
    assert_ok(hf_tx_commit(segment));
    hf_segment_close(segment);
}

/* ---- fixed costs ------------------------------------------------------------------------- */

TEST(a_fresh_segment_of_64_kib_keeps_at_most_16_kib_for_itself)
{
    hf_segment *segment;
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    assert_int_equal(info_of(segment).size, SIZE);
    assert_int_equal(info_of(segment).maximum, SIZE);
    assert_true(used_of(segment) <= 16 * KIB);
    assert_true(backing_of(segment) <= SIZE);
    hf_segment_close(segment);
}

struct pair {
    hf_segment *segment;
    _Atomic int there;
    _Atomic int go;
};

static int attach_and_wait(void *context)
{
    struct pair *pair = context;
    set_value(pair->segment, 1);
    store_release(&pair->there, 1);
    await_flag(&pair->go);
    return 0;
}

TEST(with_two_processes_attached_64_kib_leave_40_kib)
{
    struct pair *pair = shared_bytes(sizeof *pair);
    pair->segment = new_segment(SIZE, 0);
    pid_t child = start_child(attach_and_wait, pair);
    await_flag(&pair->there);
    assert_int_equal(info_of(pair->segment).participants, 2);
    struct data *data = root_of(pair->segment);
    assert_ok(hf_pages_alloc(pair->segment, 40 * KIB - PAGE, &data->link)); /* and the root */
    memset(at(pair->segment, data->link), 1, 40 * KIB - PAGE);
    set_value(pair->segment, 2);
    store_release(&pair->go, 1);
    assert_int_equal(wait_child(child), 0);
    hf_segment_close(pair->segment);
}

/* ---- taking and giving back pages -------------------------------------------------------- */

TEST(pages_come_with_their_link_and_go_with_it)
{
    hf_segment *segment = new_segment(SIZE, 0);
    struct data *data = root_of(segment);
    uint64_t used = used_of(segment);
    assert_ok(hf_pages_alloc(segment, 1, &data->link));
    assert_int_equal(data->link.value % PAGE, 0);
    assert_int_equal(used_of(segment), used + PAGE);
    assert_ok(hf_pages_alloc(segment, PAGE + 1, &data->links[0]));
    assert_int_equal(used_of(segment), used + 3 * PAGE);
    memset(at(segment, data->link), 1, PAGE);
    memset(at(segment, data->links[0]), 2, 2 * PAGE);
    assert_int_equal(*(char *)at(segment, data->link), 1);
    assert_ok(hf_pages_free(segment, 1, &data->link));
    assert_int_equal(data->link.value, 0);
    assert_ok(hf_pages_free(segment, 2 * PAGE, &data->links[0]));
    assert_int_equal(used_of(segment), used);
    hf_segment_close(segment);
}

TEST(links_may_lie_in_pages_that_others_name)
{
    hf_segment *segment = new_segment(SIZE, 0);
    struct data *data = root_of(segment);
    assert_ok(hf_pages_alloc(segment, PAGE, &data->link));
    hf_off *inner = at(segment, data->link);
    memset(inner, 0, PAGE);
    assert_ok(hf_pages_alloc(segment, PAGE, &inner[511]));
    assert_non_null(hf_segment_at(segment, inner[511]));
    assert_ok(hf_pages_free(segment, PAGE, &inner[511]));
    assert_ok(hf_pages_free(segment, PAGE, &data->link));
    hf_segment_close(segment);
}

/* The call gives the error and nothing else. */
static void expect_no_pages(hf_segment *segment, uint64_t bytes, hf_off *link, int error)
{
    uint64_t used = used_of(segment);
    assert_error(hf_pages_alloc(segment, bytes, link), error);
    assert_int_equal(used_of(segment), used);
}

static void expect_not_freed(hf_segment *segment, uint64_t bytes, hf_off *link, int error)
{
    uint64_t used = used_of(segment);
    assert_error(hf_pages_free(segment, bytes, link), error);
    assert_int_equal(used_of(segment), used);
}

static void expect_no_link(hf_segment *segment, void *place)
{
    expect_no_pages(segment, PAGE, place, -EINVAL);
    expect_not_freed(segment, PAGE, place, -EINVAL);
}

TEST(a_link_that_lies_elsewhere_is_einval)
{
    hf_segment *segment = new_segment(SIZE, 0);
    struct data *data = root_of(segment);
    char *base = hf_segment_base(segment);
    uint64_t outside[2] = {0, 0};
    expect_no_link(segment, NULL);
    expect_no_link(segment, outside);
    expect_no_link(segment, base);        /* the header */
    expect_no_link(segment, base + 96);   /* the root's own link */
    expect_no_link(segment, base + PAGE); /* the first slots */
    expect_no_link(segment, base + SIZE); /* behind the end */
    expect_no_link(segment, base + SIZE - 4);
    expect_no_link(segment, base - 8);
    expect_no_link(segment, (char *)&data->link + 4);
    expect_no_link(segment, (char *)&data->link + 1);
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(bad_sizes_and_links_in_use_take_no_pages)
{
    hf_segment *segment = new_segment(SIZE, 0);
    struct data *data = root_of(segment);
    expect_no_pages(segment, 0, &data->link, -EINVAL);
    expect_no_pages(segment, SIZE, &data->link, -ENOMEM);
    expect_no_pages(segment, UINT64_C(1) << 46, &data->link, -ENOMEM);
    expect_no_pages(segment, UINT64_MAX, &data->link, -ENOMEM);
    expect_no_pages(segment, UINT64_MAX - PAGE, &data->link, -ENOMEM);
    assert_int_equal(data->link.value, 0);
    data->link.value = 7;
    expect_no_pages(segment, PAGE, &data->link, -EINVAL);
    assert_int_equal(data->link.value, 7);
    hf_segment_close(segment);
}

TEST(a_link_that_names_no_pages_gives_none_back)
{
    hf_segment *segment = new_segment(SIZE, 0);
    struct data *data = root_of(segment);
    static const uint64_t values[] = {0,           1,        4096,        PAGE + 8,
                                      SIZE - PAGE, SIZE,     SIZE + PAGE, UINT64_MAX - 4095,
                                      UINT64_MAX,  8192 + 1, 2 * SIZE,    UINT64_C(1) << 46};
    for (unsigned i = 0; i < sizeof values / sizeof values[0]; i++) {
        data->link.value = values[i];
        expect_not_freed(segment, PAGE, &data->link, -EINVAL);
        assert_int_equal(data->link.value, values[i]);
    }
    data->link.value = 0;
    assert_ok(hf_pages_alloc(segment, 2 * PAGE, &data->link));
    hf_off link = data->link;
    expect_not_freed(segment, 0, &data->link, -EINVAL);
    expect_not_freed(segment, 3 * PAGE, &data->link, -EINVAL); /* the third one is free */
    expect_not_freed(segment, SIZE, &data->link, -EINVAL);
    expect_not_freed(segment, UINT64_MAX, &data->link, -EINVAL);
    assert_int_equal(data->link.value, link.value);
    assert_ok(hf_pages_free(segment, 2 * PAGE, &data->link));
    data->link = link; /* twice */
    expect_not_freed(segment, 2 * PAGE, &data->link, -EINVAL);
    hf_segment_close(segment);
}

TEST(pages_are_not_for_transactions)
{
    hf_segment *segment = new_segment(SIZE, 0);
    struct data *data = root_of(segment);
    assert_ok(hf_pages_alloc(segment, PAGE, &data->link));
    assert_ok(hf_tx_begin(segment));
    expect_no_pages(segment, PAGE, &data->links[0], -EBUSY);
    expect_not_freed(segment, PAGE, &data->link, -EBUSY);
    assert_ok(hf_tx_commit(segment));
    assert_ok(hf_pages_free(segment, PAGE, &data->link));
    hf_segment_close(segment);
}

TEST(all_there_is_can_be_had_in_one_run_and_page_by_page)
{
    hf_segment *segment = new_segment(128 * KIB, 0);
    struct data *data = root_of(segment);
    uint64_t left = 128 * KIB - used_of(segment);
    expect_no_pages(segment, left + 1, &data->link, -ENOMEM);
    assert_ok(hf_pages_alloc(segment, left, &data->link));
    assert_int_equal(used_of(segment), 128 * KIB);
    expect_no_pages(segment, 1, &data->links[0], -ENOMEM);
    assert_ok(hf_pages_free(segment, left, &data->link));
    for (unsigned i = 0; i < left / PAGE; i++) {
        assert_ok(hf_pages_alloc(segment, PAGE, &data->links[i]));
    }
    expect_no_pages(segment, 1, &data->link, -ENOMEM);
    for (unsigned i = 0; i < left / PAGE; i += 2) { /* every other one: no two in a row */
        assert_ok(hf_pages_free(segment, PAGE, &data->links[i]));
    }
    expect_no_pages(segment, 2 * PAGE, &data->link, -ENOMEM);
    assert_ok(hf_pages_alloc(segment, PAGE, &data->link));
    hf_segment_close(segment);
}

/* ---- growth ------------------------------------------------------------------------------ */

static int look_and_grow(void *context)
{
    struct pair *pair = context;
    struct data *data = root_of(pair->segment);
    assert_int_equal(info_of(pair->segment).size, SIZE);
    store_release(&pair->there, 1);
    await_flag(&pair->go);
    unsigned char *bytes = at(pair->segment, data->link);
    for (uint64_t i = 0; i < 200 * KIB; i++) {
        assert_int_equal(bytes[i], 0x77);
    }
    assert_true(info_of(pair->segment).size >= 200 * KIB);
    assert_ok(hf_pages_alloc(pair->segment, 500 * KIB, &data->links[0]));
    memset(at(pair->segment, data->links[0]), 0x78, 500 * KIB);
    return 0;
}

TEST(others_see_new_pages_at_once)
{
    struct pair *pair = shared_bytes(sizeof *pair);
    pair->segment = new_segment(SIZE, 1 * MIB);
    struct data *data = root_of(pair->segment);
    pid_t child = start_child(look_and_grow, pair);
    await_flag(&pair->there);
    assert_ok(hf_pages_alloc(pair->segment, 200 * KIB, &data->link));
    memset(at(pair->segment, data->link), 0x77, 200 * KIB);
    store_release(&pair->go, 1);
    assert_int_equal(wait_child(child), 0);
    unsigned char *bytes = at(pair->segment, data->links[0]);
    assert_int_equal(bytes[500 * KIB - 1], 0x78);
    hf_segment_close(pair->segment);
}

TEST(a_segment_grows_to_its_maximum_and_no_further)
{
    hf_segment *segment = new_segment(SIZE, 1 * MIB);
    assert_int_equal(info_of(segment).maximum, 1 * MIB);
    assert_ok(hf_segment_grow(segment, 0));
    assert_ok(hf_segment_grow(segment, SIZE));
    assert_int_equal(info_of(segment).size, SIZE);
    assert_ok(hf_segment_grow(segment, SIZE + 1));
    assert_int_equal(info_of(segment).size, SIZE + PAGE);
    assert_error(hf_segment_grow(segment, 1 * MIB + 1), -ENOMEM);
    assert_error(hf_segment_grow(segment, UINT64_MAX), -ENOMEM);
    assert_error(hf_segment_grow(segment, UINT64_C(1) << 46), -ENOMEM);
    assert_int_equal(info_of(segment).size, SIZE + PAGE);
    assert_ok(hf_segment_grow(segment, 1 * MIB));
    assert_int_equal(info_of(segment).size, 1 * MIB);
    assert_ok(hf_segment_grow(segment, SIZE)); /* never shrinks */
    assert_int_equal(info_of(segment).size, 1 * MIB);
    hf_segment_close(segment);
}

TEST(taking_pages_grows_the_segment_up_to_its_maximum)
{
    hf_segment *segment = new_segment(SIZE, 1 * MIB);
    struct data *data = root_of(segment);
    uint64_t left = 1 * MIB - used_of(segment);
    for (unsigned i = 0; i < 8; i++) {
        assert_ok(hf_pages_alloc(segment, round_up(left / 9, PAGE), &data->links[i]));
    }
    left = 1 * MIB - used_of(segment);
    expect_no_pages(segment, left + 1, &data->link, -ENOMEM);
    assert_ok(hf_pages_alloc(segment, left, &data->link));
    assert_int_equal(used_of(segment), 1 * MIB);
    assert_int_equal(info_of(segment).size, 1 * MIB);
    hf_segment_close(segment);
}

TEST(a_run_may_start_before_the_old_end_and_reach_the_maximum)
{
    hf_segment *segment = new_segment(SIZE, 2 * SIZE);
    struct data *data = root_of(segment);
    uint64_t left = 2 * SIZE - used_of(segment); /* more than the growth alone */
    assert_ok(hf_pages_alloc(segment, left, &data->link));
    memset(at(segment, data->link), 1, left);
    assert_int_equal(used_of(segment), 2 * SIZE);
    hf_segment_close(segment);
}

TEST(growing_past_what_the_header_can_map_works_too)
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = 256 * MIB}; /* maps of their own, of two pages each */
    assert_ok(hf_segment_create_anonymous(SIZE, &options, &segment));
    struct data *data = root_of(segment);
    uint64_t used = used_of(segment);
    assert_true(used <= 9 * PAGE);
    assert_ok(hf_pages_alloc(segment, 150 * MIB, &data->link));
    char *bytes = at(segment, data->link);
    bytes[0] = 1;
    bytes[150 * MIB - 1] = 1;
    assert_int_equal(used_of(segment), used + 150 * MIB);
    assert_ok(hf_pages_alloc(segment, PAGE, &data->links[0]));
    assert_ok(hf_pages_free(segment, 150 * MIB, &data->link));
    uint64_t trimmed;
    assert_ok(hf_segment_trim(segment, &trimmed));
    assert_true(trimmed >= 150 * MIB);
    assert_true(backing_of(segment) <= 20 * PAGE);
    expect_working(segment);
    hf_segment_close(segment);
}

/* A /dev/shm with that much room, and in it a segment that may grow beyond it. */
static hf_segment *segment_in_small_shm(size_t room)
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = 4 * MIB};
    private_shm(room);
    assert_ok(hf_segment_create("segment", SIZE, &options, &segment));
    (void)root_of(segment);
    return segment;
}

TEST(growth_that_a_full_shm_refuses_changes_nothing)
{
    hf_segment *segment = segment_in_small_shm(256 * KIB);
    struct data *data = root_of(segment);
    uint64_t free_before = free_shm();
    uint64_t object;
    hf_segment_info before = info_of(segment);
    assert_error(hf_segment_grow(segment, 4 * MIB), -ENOSPC);
    assert_error(hf_segment_grow(segment, 256 * KIB + PAGE), -ENOSPC);
    expect_no_pages(segment, 3 * MIB, &data->link, -ENOSPC);
    expect_no_pages(segment, 256 * KIB, &data->link, -ENOSPC);
    assert_int_equal(data->link.value, 0);
    hf_segment_info after = info_of(segment);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(free_shm(), free_before);
    assert_ok(hf_memory_size(hf_segment_memory(segment), &object));
    assert_int_equal(object, SIZE);
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(what_was_handed_out_of_a_full_shm_is_there)
{
    hf_segment *segment = segment_in_small_shm(300 * KIB);
    struct data *data = root_of(segment);
    unsigned taken = 0;
    int error = 0;
    while (taken < LINKS && (error = hf_pages_alloc(segment, 2 * PAGE, &data->links[taken])) == 0) {
        taken++;
    }
    assert_int_equal(error, -ENOSPC);
    assert_true(taken * 2 * PAGE >= 240 * KIB);
    for (unsigned i = 0; i < taken; i++) {
        memset(at(segment, data->links[i]), 1, 2 * PAGE); /* a page that is not there kills us */
    }
    assert_ok(hf_pages_free(segment, 2 * PAGE, &data->links[0]));
    assert_ok(hf_pages_alloc(segment, 2 * PAGE, &data->links[0]));
    hf_segment_close(segment);
}

/* ---- trimming ---------------------------------------------------------------------------- */

TEST(trimming_gives_memory_back_and_pages_can_be_had_again)
{
    hf_segment *segment = new_segment(1 * MIB, 0);
    struct data *data = root_of(segment);
    uint64_t trimmed;
    assert_ok(hf_pages_alloc(segment, 100 * KIB, &data->links[0]));
    assert_ok(hf_pages_alloc(segment, 600 * KIB, &data->link));
    memset(at(segment, data->links[0]), 1, 100 * KIB);
    memset(at(segment, data->link), 2, 600 * KIB);
    assert_int_equal(backing_of(segment), 1 * MIB);
    assert_ok(hf_pages_free(segment, 600 * KIB, &data->link));
    uint64_t used = used_of(segment);
    assert_ok(hf_segment_trim(segment, &trimmed));
    assert_int_equal(trimmed, 1 * MIB - used);
    assert_int_equal(backing_of(segment), used);
    assert_int_equal(used_of(segment), used);
    assert_int_equal(info_of(segment).size, 1 * MIB);
    assert_ok(hf_segment_trim(segment, &trimmed));
    assert_int_equal(trimmed, 0);
    assert_ok(hf_segment_trim(segment, NULL));
    assert_int_equal(*(char *)at(segment, data->links[0]), 1);
    assert_ok(hf_pages_alloc(segment, 600 * KIB, &data->link));
    assert_true(backing_of(segment) >= used + 600 * KIB); /* before anyone touches it */
    memset(at(segment, data->link), 3, 600 * KIB);
    hf_segment_close(segment);
}

TEST(a_stale_reader_of_trimmed_pages_reads_zeros)
{
    hf_segment *segment = new_segment(SIZE, 0);
    struct data *data = root_of(segment);
    assert_ok(hf_pages_alloc(segment, 8 * PAGE, &data->link));
    char *bytes = at(segment, data->link);
    memset(bytes, 1, 8 * PAGE);
    assert_ok(hf_pages_free(segment, 8 * PAGE, &data->link));
    assert_ok(hf_segment_trim(segment, NULL));
    assert_true(is_zero(bytes, 8 * PAGE));
    hf_segment_close(segment);
}

TEST(trimming_works_in_files_too)
{
    hf_segment *segment;
    uint64_t trimmed;
    assert_ok(hf_segment_create_file(new_path(), 1 * MIB, NULL, &segment));
    struct data *data = root_of(segment);
    assert_ok(hf_pages_alloc(segment, 600 * KIB, &data->link));
    memset(at(segment, data->link), 1, 600 * KIB);
    assert_ok(hf_pages_free(segment, 600 * KIB, &data->link));
    int error = hf_segment_trim(segment, &trimmed);
    if (error == -EOPNOTSUPP) {
        SKIP("this file system punches no holes");
    }
    assert_ok(error);
    assert_true(trimmed >= 600 * KIB);
    assert_ok(hf_pages_alloc(segment, 600 * KIB, &data->link));
    memset(at(segment, data->link), 1, 600 * KIB);
    hf_segment_close(segment);
}

TEST(trimmed_pages_are_enospc_when_others_have_taken_the_memory)
{
    hf_segment *segment;
    hf_memory *others;
    uint64_t trimmed;
    private_shm(1 * MIB);
    assert_ok(hf_segment_create("segment", 512 * KIB, NULL, &segment));
    struct data *data = root_of(segment);
    assert_ok(hf_segment_trim(segment, &trimmed));
    assert_true(trimmed >= 400 * KIB);
    assert_ok(hf_shm_create("others", free_shm(), NULL, &others));
    assert_int_equal(free_shm(), 0);
    expect_no_pages(segment, PAGE, &data->link, -ENOSPC);
    expect_no_pages(segment, 400 * KIB, &data->link, -ENOSPC);
    assert_int_equal(data->link.value, 0);
    set_value(segment, 1);
    assert_ok(hf_shm_remove("others"));
    hf_memory_close(others);
    assert_ok(hf_pages_alloc(segment, 400 * KIB, &data->link));
    memset(at(segment, data->link), 1, 400 * KIB);
    hf_segment_close(segment);
}

TEST(a_run_that_is_half_there_takes_only_what_is_missing)
{
    hf_segment *segment;
    hf_memory *others;
    private_shm(1 * MIB);
    assert_ok(hf_segment_create("segment", 512 * KIB, NULL, &segment));
    struct data *data = root_of(segment);
    assert_ok(hf_segment_trim(segment, NULL));
    assert_ok(hf_pages_alloc(segment, 100 * KIB, &data->link));
    assert_ok(hf_pages_free(segment, 100 * KIB, &data->link)); /* these have memory, others not */
    assert_ok(hf_shm_create("others", free_shm() - 100 * KIB, NULL, &others));
    assert_ok(hf_pages_alloc(segment, 200 * KIB, &data->link));
    memset(at(segment, data->link), 1, 200 * KIB);
    assert_int_equal(free_shm(), 0);
    hf_memory_close(others);
    hf_segment_close(segment);
}

/* ---- memory that nobody holds ------------------------------------------------------------ */

int __real_hf_os_reserve(int fd, uint64_t offset, uint64_t length);
int __wrap_hf_os_reserve(int fd, uint64_t offset, uint64_t length);

/* How many more pieces of memory this process reserves before it is killed; 0: any number. */
static unsigned reserves_left;
static uint64_t bytes_reserved; /* by this process */

int __wrap_hf_os_reserve(int fd, uint64_t offset, uint64_t length)
{
    int error = __real_hf_os_reserve(fd, offset, length);
    bytes_reserved += error == 0 ? length : 0;
    if (reserves_left > 0 && --reserves_left == 0) {
        (void)raise(SIGKILL);
    }
    return error;
}

/* Others would be short of memory meanwhile. The maps alone of such a segment are 64 MiB. */
TEST(a_size_that_can_never_be_had_takes_no_memory_on_the_way_to_enospc)
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = UINT64_C(1) << 40};
    private_shm(40 * MIB);
    assert_error(hf_segment_create("vast", options.maximum, NULL, &segment), -ENOSPC);
    assert_error(hf_segment_create_anonymous(UINT64_C(1) << 43, NULL, &segment), -ENOSPC);
    assert_int_equal(bytes_reserved, 0);
    assert_int_equal(count_entries("/dev/shm", ""), 0);

    assert_ok(hf_segment_create("growing", SIZE, &options, &segment));
    uint64_t before = free_shm();
    bytes_reserved = 0;
    assert_error(hf_segment_grow(segment, options.maximum), -ENOSPC);
    assert_int_equal(bytes_reserved, 0);
    assert_int_equal(free_shm(), before);
    expect_working(segment);
    hf_segment_close(segment);
}

#define ROOM (48 * MIB)
#define MUCH (40 * MIB)

/* A small /dev/shm, and in it a segment of that many bytes, trimmed, that may grow beyond. */
static hf_segment *trimmed_segment(uint64_t size)
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = 64 * MIB};
    private_shm(ROOM);
    assert_ok(hf_segment_create("segment", SIZE, &options, &segment));
    (void)root_of(segment);
    if (size > SIZE) {
        assert_ok(hf_segment_grow(segment, size));
    }
    assert_ok(hf_segment_trim(segment, NULL));
    return segment;
}

/* Once more after the dead have been recovered: no page is held that is not in use. */
static void expect_all_given_back(hf_segment *segment)
{
    assert_ok(hf_segment_recover(segment, NULL));
    assert_ok(hf_segment_trim(segment, NULL));
    assert_true(backing_of(segment) <= used_of(segment));
    assert_true(free_shm() >= ROOM - 1 * MIB);
    expect_working(segment);
}

TEST(trimming_gives_back_what_a_call_reserved_that_failed_for_want_of_memory)
{
    hf_memory *others;
    hf_segment *segment = trimmed_segment(MUCH);
    struct data *data = root_of(segment);
    /* Memory comes in steps of 16 MiB: the first succeeds. */
    assert_ok(hf_shm_create("others", 20 * MIB, NULL, &others));
    expect_no_pages(segment, MUCH - 1 * MIB, &data->link, -ENOSPC);
    assert_ok(hf_shm_remove("others"));
    hf_memory_close(others);
    expect_all_given_back(segment);
    hf_segment_close(segment);
}

static hf_segment *victims_segment;

static int grow_much(void *reserves)
{
    reserves_left = *(unsigned *)reserves;
    assert_ok(hf_segment_grow(victims_segment, MUCH));
    return 0;
}

static int take_much(void *reserves)
{
    reserves_left = *(unsigned *)reserves;
    assert_ok(hf_pages_alloc(victims_segment, MUCH - 1 * MIB, &root_of(victims_segment)->link));
    return 0;
}

static void expect_given_back_after_kills(int (*run)(void *), uint64_t size)
{
    victims_segment = trimmed_segment(size);
    for (unsigned reserves = 1; reserves <= 3; reserves++) {
        int ended = run_child(run, &reserves);
        assert_true(ended == -SIGKILL || (ended == 0 && reserves > 1)); /* it may need fewer */
        struct data *data = root_of(victims_segment);
        assert_ok(hf_segment_recover(victims_segment, NULL));
        if (data->link.value != 0) {
            assert_ok(hf_pages_free(victims_segment, MUCH - 1 * MIB, &data->link));
        }
        expect_all_given_back(victims_segment);
    }
    hf_segment_close(victims_segment);
}

TEST(trimming_gives_back_what_one_reserved_that_was_killed_growing)
{
    expect_given_back_after_kills(grow_much, SIZE);
}

TEST(trimming_gives_back_what_one_reserved_that_was_killed_taking_pages)
{
    expect_given_back_after_kills(take_much, MUCH);
}

TEST(trimming_gives_back_what_one_reserved_that_was_killed_growing_to_take_pages)
{
    expect_given_back_after_kills(take_much, SIZE);
}

/* ---- offsets ----------------------------------------------------------------------------- */

TEST(offsets_and_pointers_are_each_other_s_inverse)
{
    hf_segment *segment = new_segment(SIZE, 1 * MIB);
    char *base = hf_segment_base(segment);
    for (uint64_t i = 1; i < SIZE; i += 1 + random_below(100)) {
        hf_off offset = {i};
        assert_ptr_equal(hf_segment_at(segment, offset), base + i);
        assert_int_equal(hf_segment_offset(segment, base + i).value, i);
    }
    hf_segment_close(segment);
}

TEST(what_lies_outside_has_neither_offset_nor_pointer)
{
    hf_segment *segment = new_segment(SIZE, 1 * MIB);
    char *base = hf_segment_base(segment);
    assert_null(hf_segment_at(segment, (hf_off){0}));
    assert_null(hf_segment_at(segment, (hf_off){SIZE}));
    assert_null(hf_segment_at(segment, (hf_off){1 * MIB}));
    assert_null(hf_segment_at(segment, (hf_off){UINT64_MAX}));
    assert_null(hf_segment_at(segment, (hf_off){UINT64_C(1) << 63}));
    assert_int_equal(hf_segment_offset(segment, NULL).value, 0);
    assert_int_equal(hf_segment_offset(segment, base).value, 0);
    assert_int_equal(hf_segment_offset(segment, base - 1).value, 0);
    assert_int_equal(hf_segment_offset(segment, base + SIZE).value,
                     0); /* it may come to be there */
    assert_int_equal(hf_segment_offset(segment, &base).value, 0);
    assert_ok(hf_segment_grow(segment, SIZE + PAGE));
    assert_int_equal(hf_segment_offset(segment, base + SIZE).value, SIZE);
    assert_ptr_equal(hf_segment_at(segment, (hf_off){SIZE}), base + SIZE);
    hf_segment_close(segment);
}

/* ---- against a model --------------------------------------------------------------------- */

#define MODEL_PAGES (1 * MIB / PAGE)

/* Which link has each page: what the allocator must agree with. */
struct model {
    hf_segment *segment;
    struct data *data;
    uint64_t own;                /* bytes that are nobody's here */
    uint64_t count[LINKS];       /* pages */
    unsigned owner[MODEL_PAGES]; /* link + 1; 0: free or the segment's */
};

static uint64_t modelled(const struct model *model)
{
    uint64_t pages = 0;
    for (unsigned i = 0; i < LINKS; i++) {
        pages += model->count[i];
    }
    return pages * PAGE;
}

/* The longest run of pages that could be handed out, the segment's growth included. */
static uint64_t longest_free(const struct model *model)
{
    uint64_t longest = 0;
    uint64_t run = 0;
    for (uint64_t page = model->own / PAGE; page < MODEL_PAGES; page++) {
        run = model->owner[page] == 0 ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

static void model_alloc(struct model *model, unsigned i)
{
    uint64_t count = 1 + random_below(random_below(10) == 0 ? 100 : 6);
    hf_off *link = &model->data->links[i];
    int error = hf_pages_alloc(model->segment, count * PAGE - random_below(PAGE), link);
    if (count > longest_free(model)) {
        assert_error(error, -ENOMEM);
        assert_int_equal(link->value, 0);
        return;
    }
    assert_ok(error);
    uint64_t first = link->value / PAGE;
    model->count[i] = count;
    for (uint64_t page = first; page < first + count; page++) {
        assert_in_range(page, model->own / PAGE, MODEL_PAGES - 1);
        assert_int_equal(model->owner[page], 0);
        model->owner[page] = i + 1;
        memset((char *)hf_segment_base(model->segment) + page * PAGE, (int)i + 1, PAGE);
    }
}

static void model_free(struct model *model, unsigned i)
{
    hf_off *link = &model->data->links[i];
    uint64_t first = link->value / PAGE;
    unsigned char *bytes = hf_segment_at(model->segment, *link);
    for (uint64_t k = 0; k < model->count[i] * PAGE; k += 64) {
        assert_int_equal(bytes[k], i + 1); /* nobody else has had it */
    }
    assert_ok(hf_pages_free(model->segment, model->count[i] * PAGE, link));
    assert_int_equal(link->value, 0);
    for (uint64_t page = first; page < first + model->count[i]; page++) {
        model->owner[page] = 0;
    }
    model->count[i] = 0;
}

static void model_step(struct model *model)
{
    unsigned i = (unsigned)random_below(LINKS);
    uint64_t what = random_below(100);
    if (what == 0) {
        assert_ok(hf_segment_trim(model->segment, NULL));
    } else if (what == 1) {
        assert_ok(hf_segment_grow(model->segment, random_below(1 * MIB)));
    } else if (model->count[i] == 0) {
        model_alloc(model, i);
    } else {
        model_free(model, i);
    }
    assert_int_equal(used_of(model->segment), model->own + modelled(model));
}

static void run_model(hf_segment *segment, unsigned steps)
{
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    model->segment = segment;
    model->data = root_of(segment);
    model->own = used_of(segment);
    for (unsigned i = 0; i < steps; i++) {
        model_step(model);
    }
    for (unsigned i = 0; i < LINKS; i++) {
        if (model->count[i] != 0) {
            model_free(model, i);
        }
    }
    assert_int_equal(used_of(segment), model->own);
    free(model);
}

TEST(pages_agree_with_a_simple_model)
{
    hf_segment *segment = new_segment(1 * MIB, 0);
    run_model(segment, 5000);
    hf_segment_close(segment);
}

TEST(pages_agree_with_a_simple_model_in_a_segment_that_grows)
{
    for (unsigned i = 0; i < 10; i++) {
        hf_segment *segment = new_segment(SIZE, 1 * MIB);
        run_model(segment, 500);
        hf_segment_close(segment);
    }
}

#define CROWD 4

struct worker {
    hf_segment *segment;
    unsigned number;
};

/* Takes and gives back through links of its own, and marks what it has. */
static int take_and_give_back(void *context)
{
    struct worker *worker = context;
    struct data *data = root_of(worker->segment);
    uint64_t counts[LINKS / CROWD] = {0};
    for (unsigned step = 0; step < 2000; step++) {
        unsigned i = (unsigned)random_below(LINKS / CROWD);
        hf_off *link = &data->links[worker->number * (LINKS / CROWD) + i];
        if (counts[i] == 0) {
            uint64_t bytes = (1 + random_below(5)) * PAGE;
            int error = hf_pages_alloc(worker->segment, bytes, link);
            assert_ok(error == -ENOMEM ? 0 : error);
            if (error == 0) {
                memset(at(worker->segment, *link), (int)worker->number + 1, bytes);
                counts[i] = bytes;
            }
        } else {
            unsigned char *bytes = at(worker->segment, *link);
            for (uint64_t k = 0; k < counts[i]; k += 512) {
                assert_int_equal(bytes[k], worker->number + 1);
            }
            assert_ok(hf_pages_free(worker->segment, counts[i], link));
            counts[i] = 0;
        }
    }
    for (unsigned i = 0; i < LINKS / CROWD; i++) {
        hf_off *link = &data->links[worker->number * (LINKS / CROWD) + i];
        assert_true(counts[i] == 0 || hf_pages_free(worker->segment, counts[i], link) == 0);
    }
    return 0;
}

TEST(several_processes_take_pages_and_none_is_lost)
{
    hf_segment *segment = new_segment(SIZE, 512 * KIB);
    uint64_t used = used_of(segment);
    struct worker workers[CROWD];
    pid_t pids[CROWD];
    for (unsigned i = 0; i < CROWD; i++) {
        workers[i] = (struct worker){segment, i};
        (void)random_below(2); /* each goes on from another state */
        pids[i] = start_child(take_and_give_back, &workers[i]);
    }
    for (unsigned i = 0; i < CROWD; i++) {
        assert_int_equal(wait_child(pids[i]), 0);
    }
    assert_true(used_of(segment) <=
                used + PAGE); /* a page of slots, if all were attached at once */
    expect_working(segment);
    hf_segment_close(segment);
}
