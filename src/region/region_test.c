/* SPDX-License-Identifier: MIT */
/* Mapped regions. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "holdfast/region.h"
#include "support/support.h"

static size_t page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static hf_memory *anonymous(uint64_t size)
{
    hf_memory *memory;
    assert_ok(hf_anonymous_create(size, NULL, &memory));
    return memory;
}

static hf_region *map(hf_memory *memory, const hf_region_options *options)
{
    hf_region *region = NULL;
    assert_ok(hf_region_map(memory, options, &region));
    assert_non_null(region);
    return region;
}

static char *bytes_of(const hf_region *region)
{
    return hf_region_address(region);
}

static void put_text(char *to, const char *text)
{
    memcpy(to, text, strlen(text) + 1);
}

/* Writes one letter of its own to every byte: 'a', 'b', … by place. */
static void write_letters(const hf_region *region)
{
    for (size_t i = 0; i < hf_region_size(region); i++) {
        bytes_of(region)[i] = (char)('a' + i % 23);
    }
}

static void expect_letters(const hf_region *region, uint64_t shift)
{
    for (size_t i = 0; i < hf_region_size(region); i++) {
        if (bytes_of(region)[i] != (char)('a' + (i + shift) % 23)) {
            fail_msg("byte %zu is wrong", i);
        }
    }
}

/* A child's status says whether the address can be read, or written. */
static int read_byte(void *address)
{
    return *(volatile char *)address & 0;
}

static int write_byte(void *address)
{
    *(volatile char *)address = 1;
    return 0;
}

static bool faults(int (*touch)(void *), const void *address)
{
    int status = run_child(touch, (void *)address);
    assert_true(status == 0 || status == -SIGSEGV);
    return status != 0;
}

/* ---- seeing the same bytes --------------------------------------------------------------- */

static int answer_in_region(void *context)
{
    char *bytes = bytes_of(context);
    if (strcmp(bytes, "question") != 0) {
        return 1;
    }
    put_text(bytes + 100, "answer");
    return 0;
}

TEST(what_a_child_writes_into_an_inherited_region_is_seen)
{
    hf_memory *memory = anonymous(8192);
    hf_region *region = map(memory, NULL);
    hf_memory_close(memory);
    put_text(bytes_of(region), "question");
    assert_int_equal(run_child(answer_in_region, region), 0);
    assert_string_equal(bytes_of(region) + 100, "answer");
    hf_region_unmap(region);
}

static int answer_by_name(void *name)
{
    hf_memory *memory;
    assert_ok(hf_shm_open(name, HF_READ_WRITE, &memory));
    hf_region *region = map(memory, NULL);
    int status = answer_in_region(region);
    hf_region_unmap(region);
    hf_memory_close(memory);
    return status;
}

TEST(two_processes_that_open_a_name_see_the_same_bytes)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    assert_ok(hf_shm_create(unique_name(name, "region"), 8192, NULL, &memory));
    hf_region *region = map(memory, NULL);
    put_text(bytes_of(region), "question");
    assert_int_equal(run_child(answer_by_name, name), 0);
    assert_string_equal(bytes_of(region) + 100, "answer");
    hf_region_unmap(region);
    hf_memory_close(memory);
}

TEST(a_region_outlives_its_memory_handle_and_its_name)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    assert_ok(hf_shm_create(unique_name(name, "outlive"), 10000, NULL, &memory));
    hf_region *region = map(memory, NULL);
    hf_memory_close(memory);
    assert_ok(hf_shm_remove(name));
    write_letters(region);
    expect_letters(region, 0);
    assert_ok(hf_region_flush(region, 0, 0, true));
    hf_region_unmap(region);
}

TEST(unmapping_makes_the_pages_inaccessible)
{
    hf_memory *memory = anonymous(3 * page());
    hf_region *region = map(memory, NULL);
    char *first = bytes_of(region);
    assert_false(faults(read_byte, first));
    hf_region_unmap(region);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(msync(first + i * page(), page(), MS_ASYNC), -1);
        assert_int_equal(errno, ENOMEM); /* not mapped */
    }
    hf_memory_close(memory);
    hf_region_unmap(NULL);
}

/* ---- access ------------------------------------------------------------------------------ */

TEST(read_only_memory_maps_for_reading_and_not_for_writing)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *made;
    hf_memory *reader;
    hf_region *refused = NULL;
    assert_ok(hf_shm_create(unique_name(name, "read"), 4096, NULL, &made));
    hf_region *written = map(made, NULL);
    write_letters(written);
    const hf_region_options read_only = {.access = HF_READ_ONLY};
    for (hf_access access = HF_READ_ONLY; access <= HF_COPY_ON_WRITE; access++) {
        assert_ok(hf_shm_open(name, access, &reader));
        assert_error(hf_region_map(reader, NULL, &refused), -EACCES);
        assert_null(refused);
        hf_region *region = map(reader, &read_only);
        assert_int_equal(hf_region_access(region), HF_READ_ONLY);
        expect_letters(region, 0);
        hf_region_unmap(region);
        hf_memory_close(reader);
    }
    hf_region_unmap(written);
    hf_memory_close(made);
}

TEST(writing_to_a_read_only_region_faults)
{
    hf_memory *memory = anonymous(4096);
    hf_region *region = map(memory, &(hf_region_options){.access = HF_READ_ONLY});
    assert_false(faults(read_byte, bytes_of(region)));
    assert_true(faults(write_byte, bytes_of(region)));
    hf_region_unmap(region);
    hf_memory_close(memory);
}

TEST(copy_on_write_changes_are_seen_by_nobody_else)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *made;
    hf_memory *reader;
    assert_ok(hf_shm_create(unique_name(name, "private"), 8192, NULL, &made));
    hf_region *shared = map(made, NULL);
    write_letters(shared);
    assert_ok(hf_shm_open(name, HF_READ_ONLY, &reader));
    hf_region *private = map(reader, &(hf_region_options){.access = HF_COPY_ON_WRITE});
    assert_int_equal(hf_region_access(private), HF_COPY_ON_WRITE);
    expect_letters(private, 0);
    memset(bytes_of(private), '!', 8192);
    expect_letters(shared, 0);
    assert_int_equal(bytes_of(private)[5000], '!');
    assert_ok(hf_region_flush(private, 0, 0, true));
    hf_region_unmap(private);
    private = map(reader, &(hf_region_options){.access = HF_COPY_ON_WRITE});
    expect_letters(private, 0);
    hf_region_unmap(private);
    hf_region_unmap(shared);
    hf_memory_close(made);
    hf_memory_close(reader);
}

/* ---- which bytes ------------------------------------------------------------------------- */

TEST(any_offset_and_length_map_page_aligned_or_not)
{
    uint64_t size = 4 * page() + 123;
    hf_memory *memory = anonymous(size);
    hf_region *whole = map(memory, NULL);
    assert_int_equal(hf_region_size(whole), size);
    assert_int_equal(hf_region_offset(whole), 0);
    write_letters(whole);
    for (int i = 0; i < 300; i++) {
        uint64_t offset = random_below(size);
        uint64_t length = random_below(size - offset) + 1;
        hf_region *part = map(memory, &(hf_region_options){.offset = offset, .length = length});
        assert_int_equal(hf_region_size(part), length);
        assert_int_equal(hf_region_offset(part), offset);
        expect_letters(part, offset);
        bytes_of(part)[0] ^= 1;
        assert_int_equal(bytes_of(part)[0], bytes_of(whole)[offset]);
        bytes_of(part)[0] ^= 1;
        hf_region_unmap(part);
    }
    hf_region_unmap(whole);
    hf_memory_close(memory);
}

TEST(length_zero_means_up_to_the_end)
{
    hf_memory *memory = anonymous(10000);
    static const uint64_t offsets[] = {0, 1, 4096, 5000, 9999};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        hf_region *region = map(memory, &(hf_region_options){.offset = offsets[i]});
        assert_int_equal(hf_region_size(region), 10000 - offsets[i]);
        hf_region_unmap(region);
    }
    hf_memory_close(memory);
}

TEST(a_range_past_the_end_is_erange_and_so_is_an_empty_object)
{
    static const hf_region_options outside[] = {
        {.length = 10001},
        {.offset = 10000},
        {.offset = 10000, .length = 1},
        {.offset = 9999, .length = 2},
        {.offset = 10001},
        {.offset = UINT64_MAX},
        {.offset = UINT64_MAX, .length = 1},
        {.offset = 1, .length = UINT64_MAX},
        {.length = UINT64_MAX},
    };
    hf_memory *memory = anonymous(10000);
    hf_region *region = NULL;
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_error(hf_region_map(memory, &outside[i], &region), -ERANGE);
    }
    hf_memory *empty = anonymous(0);
    assert_error(hf_region_map(empty, NULL, &region), -ERANGE);
    assert_null(region);
    hf_memory_close(empty);
    hf_memory_close(memory);
}

/* ---- where ------------------------------------------------------------------------------- */

/* Address space that is free now: nobody else in this process maps anything meanwhile. */
static char *free_pages(size_t count)
{
    void *hole = mmap(NULL, count * page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(hole != MAP_FAILED);
    assert_int_equal(munmap(hole, count * page()), 0);
    return hole;
}

TEST(a_wanted_address_is_had_where_it_is_free)
{
    hf_memory *memory = anonymous(4 * page());
    char *hole = free_pages(4);
    hf_region *region = map(memory, &(hf_region_options){.address = hole, .exactly = true});
    assert_ptr_equal(bytes_of(region), hole);
    hf_region_unmap(region);
    region = map(memory, &(hf_region_options){.address = hole});
    assert_ptr_equal(bytes_of(region), hole);
    hf_region_unmap(region);
    hf_region_options inside = {.address = hole + 100, .offset = page() + 100, .exactly = true};
    region = map(memory, &inside);
    assert_ptr_equal(bytes_of(region), hole + 100);
    assert_int_equal(hf_region_size(region), 3 * page() - 100);
    hf_region_unmap(region);
    hf_memory_close(memory);
}

TEST(a_taken_address_is_eexist_when_exact_and_another_when_wished)
{
    hf_memory *memory = anonymous(2 * page());
    hf_region *there = map(memory, NULL);
    hf_region *second = NULL;
    write_letters(there);
    char *taken = bytes_of(there);
    hf_region_options exactly = {.address = taken, .exactly = true};
    assert_error(hf_region_map(memory, &exactly, &second), -EEXIST);
    exactly.address = taken + page(); /* only its second page is free, perhaps */
    assert_error(hf_region_map(memory, &exactly, &second), -EEXIST);
    assert_null(second);
    expect_letters(there, 0);
    second = map(memory, &(hf_region_options){.address = taken});
    assert_ptr_not_equal(bytes_of(second), taken);
    expect_letters(second, 0);
    hf_region_unmap(second);
    expect_letters(there, 0);
    hf_region_unmap(there);
    hf_memory_close(memory);
}

TEST(a_misplaced_address_is_einval)
{
    hf_memory *memory = anonymous(4 * page());
    hf_region *region = NULL;
    char *hole = free_pages(4);
    const hf_region_options misplaced[] = {
        {.address = hole + 1},
        {.address = hole + 1, .exactly = true},
        {.address = hole, .offset = 1},
        {.address = hole + 100, .offset = page() + 101, .exactly = true},
        {.exactly = true}, /* exactly nowhere */
    };
    for (size_t i = 0; i < sizeof misplaced / sizeof misplaced[0]; i++) {
        assert_error(hf_region_map(memory, &misplaced[i], &region), -EINVAL);
    }
    assert_null(region);
    hf_memory_close(memory);
}

/* ---- flushing ---------------------------------------------------------------------------- */

TEST(what_is_flushed_is_in_the_file)
{
    const char *path = path_in(temporary_directory(), "file");
    hf_memory *memory;
    assert_ok(hf_file_create(path, 10000, NULL, &memory));
    hf_region *region = map(memory, &(hf_region_options){.offset = 5});
    write_letters(region);
    assert_ok(hf_region_flush(region, 0, 0, true));
    assert_ok(hf_region_flush(region, 0, 0, false));
    assert_ok(hf_region_flush(region, 4000, 5000, true));
    assert_ok(hf_region_flush(region, 9994, 1, true));
    size_t size;
    char *content = read_whole_file(path, &size);
    assert_non_null(content);
    assert_int_equal(size, 10000);
    assert_memory_equal(content, "\0\0\0\0\0", 5);
    assert_memory_equal(content + 5, bytes_of(region), 9995);
    free(content);
    hf_region_unmap(region);
    hf_memory_close(memory);
}

TEST(flushing_past_the_end_is_erange)
{
    hf_memory *memory = anonymous(10000);
    hf_region *region = map(memory, NULL);
    static const size_t outside[][2] = {
        {0, 10001}, {10000, 0}, {10000, 1}, {9999, 2}, {SIZE_MAX, 0}, {SIZE_MAX, 1}, {1, SIZE_MAX},
    };
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_error(hf_region_flush(region, outside[i][0], outside[i][1], false), -ERANGE);
    }
    assert_ok(hf_region_flush(region, 9999, 1, false));
    hf_region_unmap(region);
    hf_memory_close(memory);
}

/* ---- advice ------------------------------------------------------------------------------ */

TEST(every_advice_is_taken_or_cleanly_refused_and_loses_nothing)
{
    hf_memory *memory = anonymous(10 * page());
    hf_region *region = map(memory, &(hf_region_options){.offset = 100});
    write_letters(region);
    for (hf_advice advice = HF_ADVICE_NORMAL; advice <= HF_ADVICE_HUGE_PAGES; advice++) {
        int error = hf_region_advise(region, advice);
        bool may_be_refused = advice == HF_ADVICE_HUGE_PAGES;
        assert_true(error == 0 || (may_be_refused && (error == -EINVAL || error == -EOPNOTSUPP)));
        expect_letters(region, 0);
    }
    hf_region_unmap(region);
    hf_memory_close(memory);
}

TEST(dont_need_drops_the_changes_of_a_copy_on_write_region)
{
    hf_memory *memory = anonymous(page());
    hf_region *region = map(memory, &(hf_region_options){.access = HF_COPY_ON_WRITE});
    put_text(bytes_of(region), "changed");
    assert_ok(hf_region_advise(region, HF_ADVICE_DONT_NEED));
    assert_int_equal(bytes_of(region)[0], 0);
    hf_region_unmap(region);
    hf_memory_close(memory);
}

TEST(the_wish_for_huge_pages_never_fails)
{
    hf_memory *memory = anonymous(UINT64_C(4) << 20);
    hf_region *region = map(memory, &(hf_region_options){.huge_pages = true});
    write_letters(region);
    expect_letters(region, 0);
    hf_region_unmap(region);
    region = map(memory, &(hf_region_options){.huge_pages = true, .offset = 10, .length = 10});
    assert_int_equal(hf_region_size(region), 10);
    hf_region_unmap(region);
    hf_memory_close(memory);
}

/* ---- shrinking --------------------------------------------------------------------------- */

static bool is_mapped(const char *address)
{
    void *base = (char *)address - ((uintptr_t)address & (page() - 1));
    return msync(base, 1, MS_ASYNC) == 0 || errno != ENOMEM;
}

TEST(shrinking_lets_go_of_whole_pages_and_keeps_the_rest_in_place)
{
    hf_memory *memory = anonymous(8 * page());
    hf_region *region = map(memory, NULL);
    char *first = bytes_of(region);
    write_letters(region);
    assert_ok(hf_region_shrink(region, 2 * page(), 3 * page()));
    assert_ptr_equal(bytes_of(region), first + 2 * page());
    assert_int_equal(hf_region_size(region), 3 * page());
    assert_int_equal(hf_region_offset(region), 2 * page());
    expect_letters(region, 2 * page());
    for (size_t i = 0; i < 8; i++) {
        bool kept = i >= 2 && i < 5;
        assert_int_equal(is_mapped(first + i * page()), kept);
    }
    assert_true(faults(read_byte, first + 2 * page() - 1));
    assert_false(faults(read_byte, first + 2 * page()));
    assert_false(faults(read_byte, first + 5 * page() - 1));
    assert_true(faults(read_byte, first + 5 * page()));
    hf_region_unmap(region);
    assert_false(is_mapped(first + 3 * page()));
    hf_memory_close(memory);
}

TEST(shrinking_by_parts_of_pages_keeps_the_pages_that_are_still_needed)
{
    hf_memory *memory = anonymous(4 * page());
    hf_region *region = map(memory, NULL);
    char *first = bytes_of(region);
    write_letters(region);
    assert_ok(hf_region_shrink(region, 0, 0));
    assert_int_equal(hf_region_size(region), 4 * page());
    assert_ok(hf_region_shrink(region, 10, 20));
    assert_int_equal(hf_region_size(region), 4 * page() - 30);
    assert_true(is_mapped(first) && is_mapped(first + 3 * page()));
    expect_letters(region, 10);
    assert_ok(hf_region_shrink(region, page() - 10, page() - 20));
    assert_int_equal(hf_region_size(region), 2 * page());
    assert_true(!is_mapped(first) && !is_mapped(first + 3 * page()));
    expect_letters(region, page());
    assert_ok(hf_region_shrink(region, page() + 5, page() - 6)); /* one byte is left */
    assert_int_equal(hf_region_size(region), 1);
    assert_int_equal(hf_region_offset(region), 2 * page() + 5);
    assert_true(!is_mapped(first + page()) && is_mapped(first + 2 * page()));
    expect_letters(region, 2 * page() + 5);
    hf_region_unmap(region);
    assert_false(is_mapped(first + 2 * page()));
    hf_memory_close(memory);
}

TEST(shrinking_at_random_unmaps_exactly_what_no_byte_needs)
{
    hf_memory *memory = anonymous(16 * page());
    for (int round = 0; round < 200; round++) {
        uint64_t lead = random_below(page());
        hf_region *region = map(memory, &(hf_region_options){.offset = lead});
        char *base = bytes_of(region) - lead;
        while (hf_region_size(region) > 1) {
            size_t front = (size_t)random_below(hf_region_size(region));
            size_t back = (size_t)random_below(hf_region_size(region) - front);
            assert_ok(hf_region_shrink(region, front, back));
            const char *first = bytes_of(region);
            const char *last = first + hf_region_size(region) - 1;
            for (size_t i = 0; i < 16; i++) {
                const char *begin = base + i * page();
                assert_int_equal(is_mapped(begin), begin + page() > first && begin <= last);
            }
        }
        hf_region_unmap(region);
    }
    hf_memory_close(memory);
}

TEST(shrinking_to_nothing_is_einval_and_changes_nothing)
{
    hf_memory *memory = anonymous(10000);
    hf_region *region = map(memory, NULL);
    static const size_t all[][2] = {{10000, 0}, {0, 10000},    {5000, 5000},  {9999, 1},
                                    {10001, 0}, {SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX, SIZE_MAX}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_error(hf_region_shrink(region, all[i][0], all[i][1]), -EINVAL);
    }
    assert_int_equal(hf_region_size(region), 10000);
    write_letters(region);
    hf_region_unmap(region);
    hf_memory_close(memory);
}

/* ---- arguments and limits ---------------------------------------------------------------- */

TEST(null_handles_unknown_accesses_and_unknown_advice_are_einval)
{
    hf_memory *memory = anonymous(4096);
    hf_region *region = NULL;
    assert_error(hf_region_map(NULL, NULL, &region), -EINVAL);
    assert_error(hf_region_map(memory, NULL, NULL), -EINVAL);
    assert_error(hf_region_map(memory, &(hf_region_options){.access = (hf_access)3}, &region),
                 -EINVAL);
    assert_error(hf_region_flush(NULL, 0, 0, true), -EINVAL);
    assert_error(hf_region_advise(NULL, HF_ADVICE_NORMAL), -EINVAL);
    assert_error(hf_region_shrink(NULL, 0, 0), -EINVAL);
    assert_null(region);
    region = map(memory, NULL);
    assert_error(hf_region_advise(region, (hf_advice)6), -EINVAL);
    assert_error(hf_region_advise(region, (hf_advice)-1), -EINVAL);
    hf_region_unmap(region);
    hf_memory_close(memory);
}

TEST(more_than_the_address_space_is_enomem)
{
    hf_memory *memory;
    hf_region *region = NULL;
    const hf_memory_options sparse = {.sparse = true};
    assert_ok(hf_anonymous_create(UINT64_C(1) << 62, &sparse, &memory));
    assert_error(hf_region_map(memory, NULL, &region), -ENOMEM);
    hf_region_options far = {.offset = (UINT64_C(1) << 61) + 3, .length = 5};
    assert_ok(hf_region_map(memory, &far, &region));
    write_letters(region);
    expect_letters(region, 0);
    hf_region_unmap(region);
    hf_memory_close(memory);
}

TEST(memory_sealed_against_writing_maps_only_for_reading)
{
    hf_memory *memory = anonymous(4096);
    hf_region *region = map(memory, NULL);
    write_letters(region);
    assert_error(hf_memory_seal(memory, HF_SEAL_WRITE), -EBUSY);
    hf_region_unmap(region);
    assert_ok(hf_memory_seal(memory, HF_SEAL_WRITE));
    assert_error(hf_region_map(memory, NULL, &region), -EPERM);
    static const hf_access allowed[] = {HF_READ_ONLY, HF_COPY_ON_WRITE};
    for (size_t i = 0; i < 2; i++) {
        region = map(memory, &(hf_region_options){.access = allowed[i]});
        expect_letters(region, 0);
        hf_region_unmap(region);
    }
    hf_memory_close(memory);
}
