/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/pipes.h"
#include "support/support.h"

#define CANARY 0x5a

struct place new_place(uint64_t capacity)
{
    struct place place = {.capacity = capacity};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = page + (size_t)capacity;
    place.offset = page - sizeof(struct pipe_layout);
    /* The page behind stays reserved and inaccessible. */
    char *hole = mmap(NULL, size + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(hole != MAP_FAILED);
    assert_int_equal(munmap(hole, size), 0);
    hf_region_options there = {.address = hole, .exactly = true};
    assert_ok(hf_anonymous_create(size, NULL, &place.memory));
    assert_ok(hf_region_map(place.memory, &there, &place.region));
    memset(hole, CANARY, (size_t)place.offset);
    place.layout = (struct pipe_layout *)(void *)(hole + place.offset);
    assert_ok(hf_pipe_init(place.layout, capacity));
    return place;
}

void expect_canary(const struct place *place)
{
    const unsigned char *bytes = hf_region_address(place->region);
    for (uint64_t i = 0; i < place->offset; i++) {
        assert_int_equal(bytes[i], CANARY);
    }
}

void close_place(struct place *place)
{
    expect_canary(place);
    hf_region_unmap(place->region);
    hf_memory_close(place->memory);
}

hf_pipe *open_side(struct place *place, hf_pipe_side side)
{
    hf_pipe *pipe = NULL;
    assert_ok(hf_pipe_open(place->memory, place->region, place->offset, side, &pipe));
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
