/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "support/heaps.h"

hf_off *link_at(size_t i)
{
    assert_true(i < HEAP_LINKS);
    return (hf_off *)(void *)props->bytes + i;
}

hf_check_report checked(hf_segment *segment)
{
    hf_check_report report;
    int error = hf_check(segment, &report);
    if (error != 0) {
        fail_msg("hf_check: %s: %s", hf_strerror(error), report.what);
    }
    assert_int_equal(report.what[0], 0);
    assert_int_equal(report.pages_used, report.pages_held + report.pages_linked);
    return report;
}

hf_heap_info heap_info(hf_segment *segment)
{
    hf_heap_info info;
    assert_ok(hf_heap_get_info(segment, &info));
    return info;
}

void expect_blocks(hf_segment *segment, uint64_t blocks)
{
    hf_check_report report = checked(segment);
    hf_heap_info info = heap_info(segment);
    assert_int_equal(report.blocks, blocks);
    assert_int_equal(info.blocks, blocks);
    assert_int_equal(report.bytes, info.used);
}

void expect_bytes(hf_segment *segment, uint64_t bytes)
{
    assert_int_equal(checked(segment).bytes, bytes);
    assert_int_equal(heap_info(segment).used, bytes);
}

void expect_empty(hf_segment *segment)
{
    expect_blocks(segment, 0);
    assert_ok(hf_heap_trim(segment));
    expect_blocks(segment, 0);
    hf_heap_info info = heap_info(segment);
    assert_int_equal(info.held, 0);
    assert_int_equal(info.used, 0);
    assert_int_equal(info.large_blocks, 0);
    assert_int_equal(info.orphans, 0);
}

void *filled(hf_segment *segment, size_t size, int with)
{
    void *block = NULL;
    assert_ok(hf_alloc(segment, size, &block));
    assert_non_null(block);
    memset(block, with, size);
    return block;
}

void expect_filled(const void *block, size_t size, int with)
{
    const unsigned char *bytes = block;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != (unsigned char)with) {
            fail_msg("byte %zu of %zu is %#x, not %#x", i, size, bytes[i], (unsigned)with);
        }
    }
}

void **exhaust(hf_segment *segment, size_t size, size_t *count)
{
    size_t room = 1024;
    int error;
    void **blocks = malloc(room * sizeof *blocks);
    *count = 0;
    assert_non_null(blocks);
    while ((error = hf_alloc(segment, size, &blocks[*count])) == 0) {
        if (++*count == room) {
            room *= 2;
            void **more = realloc(blocks, room * sizeof *blocks);
            assert_non_null(more);
            blocks = more;
        }
    }
    assert_int_equal(error, -ENOMEM);
    return blocks;
}

size_t largest(hf_segment *segment)
{
    size_t low = 0;
    size_t high = (size_t)heap_info(segment).size / 4096 + 1;
    while (low + 1 < high) { /* pages: low can be had */
        size_t middle = low + (high - low) / 2;
        void *block;
        int error = hf_alloc(segment, middle * 4096, &block);
        assert_true(error == 0 || error == -ENOMEM);
        if (error == 0) {
            assert_ok(hf_free(segment, block));
            low = middle;
        } else {
            high = middle;
        }
    }
    return low * 4096;
}
