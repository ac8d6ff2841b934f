/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/pipes.h"
#include "support/support.h"

#define CANARY       0x5a
#define CANARY_BYTES (HF_SEGMENT_PAGE - sizeof(struct pipe_layout))

/* The root is all there is besides the segment's own. */
static void make_pipe(struct place *place)
{
    void *root;
    assert_ok(hf_segment_root(place->segment, HF_SEGMENT_PAGE + place->capacity, &root));
    assert_ok(hf_thread_leave(place->segment));
    place->root = root;
    memset(root, CANARY, CANARY_BYTES);
    place->layout = (struct pipe_layout *)(void *)(place->root + CANARY_BYTES);
    assert_ok(hf_pipe_init(place->segment, place->layout, place->capacity));
}

static uint64_t segment_size(uint64_t capacity)
{
    return HF_SEGMENT_SIZE_MIN + HF_SEGMENT_PAGE + capacity;
}

struct place new_place(uint64_t capacity)
{
    struct place place = {.capacity = capacity};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = (size_t)segment_size(capacity);
    /* The page behind stays reserved and inaccessible. */
    char *hole = mmap(NULL, size + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(hole != MAP_FAILED);
    assert_int_equal(munmap(hole, size), 0);
    hf_region_options there = {.address = hole, .exactly = true};
    assert_ok(hf_anonymous_create(size, NULL, &place.memory));
    assert_ok(hf_region_map(place.memory, &there, &place.region));
    assert_ok(hf_segment_init(hole, size, &place.segment));
    make_pipe(&place);
    assert_ptr_equal(place.layout->ring + capacity, hole + size);
    return place;
}

struct place new_object_place(uint64_t capacity)
{
    struct place place = {.capacity = capacity};
    assert_ok(hf_segment_create_anonymous(segment_size(capacity), NULL, &place.segment));
    make_pipe(&place);
    return place;
}

void expect_canary(const struct place *place)
{
    for (uint64_t i = 0; i < CANARY_BYTES; i++) {
        assert_int_equal(place->root[i], CANARY);
    }
}

void close_place(struct place *place)
{
    expect_canary(place);
    hf_segment_close(place->segment);
    hf_region_unmap(place->region);
    hf_memory_close(place->memory);
}

hf_pipe *open_side(struct place *place, hf_pipe_side side)
{
    hf_pipe *pipe = NULL;
    assert_ok(hf_pipe_open(place->segment, place->layout, side, &pipe));
    assert_non_null(pipe);
    return pipe;
}

static unsigned char byte_at(uint64_t position)
{
    return (unsigned char)((position + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

void make_bytes(void *to, uint64_t position, size_t length)
{
    unsigned char *bytes = to;
    for (size_t i = 0; i < length; i++) {
        bytes[i] = byte_at(position + i);
    }
}

void expect_bytes(const void *bytes, uint64_t position, size_t length)
{
    const unsigned char *got = bytes;
    for (size_t i = 0; i < length; i++) {
        if (got[i] != byte_at(position + i)) {
            fail_msg("the stream's byte %llu is wrong", (unsigned long long)(position + i));
        }
    }
}

void *shared_page(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(page != MAP_FAILED);
    return page;
}
