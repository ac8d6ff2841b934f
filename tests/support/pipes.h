/* SPDX-License-Identifier: MIT */
/* For the tests of the pipe: a pipe with a guard behind it, and bytes that know their place. */
#ifndef HF_TESTS_PIPES_H
#define HF_TESTS_PIPES_H

#include "channel/pipe_layout.h"
#include "holdfast/pipe.h"
#include "holdfast/region.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

/*
 * A segment of no more pages than it needs, the last ones its root:
 *
 *     0          8192      11904       12288                   12288 + capacity
 *     | segment  | canary  | header    | ring                  | nothing: an access faults
 */
struct place {
    hf_memory *memory; /* NULL: the segment's own */
    hf_region *region;
    hf_segment *segment;
    unsigned char *root;
    uint64_t capacity;
    struct pipe_layout *layout;
};

/* A new pipe in memory that children inherit; closed by close_place. The caller's thread is no
   participant yet. */
struct place new_place(uint64_t capacity);

/* The same in a segment that has a descriptor, with nothing inaccessible behind it. */
struct place new_object_place(uint64_t capacity);

void close_place(struct place *place);
void expect_canary(const struct place *place);

hf_pipe *open_side(struct place *place, hf_pipe_side side);

/* The bytes of a stream from `position` on. */
void make_bytes(void *to, uint64_t position, size_t length);
void expect_bytes(const void *bytes, uint64_t position, size_t length);

/* Zeros that children share with us, apart from what is tested. */
void *shared_page(void);

#endif
