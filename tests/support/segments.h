/* SPDX-License-Identifier: MIT */
/* For the tests of segments: what they keep in one, and what every segment must be able to do. */
#ifndef HF_TESTS_SEGMENTS_H
#define HF_TESTS_SEGMENTS_H

#include "base/atomic.h"
#include "holdfast/mutex.h"
#include "holdfast/segment.h"
#include "holdfast/tx.h"
#include "support/support.h"

#define KIB  (UINT64_C(1) << 10)
#define MIB  (UINT64_C(1) << 20)
#define GIB  (UINT64_C(1) << 30)
#define PAGE UINT64_C(4096)
#define SIZE (64 * KIB)

#define LINKS 64

/* The segment's root. */
struct data {
    hf_mutex mutex;
    uint64_t value;
    hf_off link;
    hf_off links[LINKS];
};

/* Makes the root, if need be. */
struct data *root_of(hf_segment *segment);

/* Under the mutex. */
void set_value(hf_segment *segment, uint64_t value);
uint64_t value_of(hf_segment *segment);

/* The segment takes everything that one does with it, and is as it was but for the value. */
void expect_working(hf_segment *segment);

hf_segment_info info_of(hf_segment *segment);

/* A /dev/shm of this test alone, with that much room. */
void private_shm(size_t bytes);
uint64_t free_shm(void);

/* A file that is not there yet, in a directory of its own. The string lives as long as the process.
 */
const char *new_path(void);

/* Zeros that children share with us, apart from what is tested. */
void *shared_bytes(size_t size);

/* Waits until the flag is set. */
void await_flag(_Atomic int *flag);

/* The bytes of a file; the file is opened and closed. */
void poke(const char *path, uint64_t offset, const void *bytes, size_t length);
void peek(const char *path, uint64_t offset, void *bytes, size_t length);

#endif
