/* SPDX-License-Identifier: MIT */
/* For the tests of the pipe: a pipe with a guard behind it, and bytes that know their place. */
#ifndef HF_TESTS_PIPES_H
#define HF_TESTS_PIPES_H

#include "channel/pipe_layout.h"
#include "holdfast/pipe.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

/*
 *     0         3712        4096                    4096 + capacity
 *     | canary  | header    | ring                  | nothing: an access faults
 */
struct place {
    hf_memory *memory;
    hf_region *region;
    uint64_t offset; /* of the pipe in the region */
    uint64_t capacity;
    struct pipe_layout *layout;
};

/* Anonymous memory with a new pipe in it, inherited by children; closed by close_place. */
struct place new_place(uint64_t capacity);
void close_place(struct place *place);
void expect_canary(const struct place *place);

hf_pipe *open_side(struct place *place, hf_pipe_side side);

/* The bytes of a stream from `position` on. */
void make_bytes(void *to, uint64_t position, size_t length);
void expect_bytes(const void *bytes, uint64_t position, size_t length);

/* Zeros that children share with us, apart from what is tested. */
void *shared_page(void);

#endif
