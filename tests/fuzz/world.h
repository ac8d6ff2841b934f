/* SPDX-License-Identifier: MIT */
/*
 * The world that the fuzzers run the library in. It stands between the library and the system:
 *
 *     time      passes in sleeps, and a little with each look at the clock: a run of the same bytes
 *               is the same run, and takes no time for waiting
 *     sleep     returns at once. Who holds a lock and lives lets go of it some time: here, after
 *               PATIENCE sleeps in a row on its word. A hostile word that says that somebody alive
 *               has the lock is rightly waited for, and this is how such a wait ends. That the one
 *               waited for is the sleeper itself is no such case: it is told as a failure. Readers
 *               that a writer waits for leave in the same way.
 *     mappings  have pages behind and before them that nobody can touch
 */
#ifndef HF_TESTS_FUZZ_WORLD_H
#define HF_TESTS_FUZZ_WORLD_H

#include <stddef.h>
#include <stdint.h>

#include "holdfast/segment.h"

/* On each side of a mapping. */
#define WORLD_GUARD (UINT64_C(1) << 20)

/* Sleeps on a word before the one who holds it lets go. */
#define WORLD_PATIENCE 12u

/* Looks at the clock in a call, without a sleep in between. */
#define WORLD_LOOKS 10000u

/* Ends the process as a failure, in words as of printf. */
_Noreturn void world_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Memory shared with nobody in particular, with guards: what a caller's buffer is to be. */
void *world_buffer(size_t size);

/* Before each call: who sleeps, and where; NULL for nobody. A call with a timeout of its own must
   not sleep as often as WORLD_PATIENCE. */
void world_sleeper(hf_segment *segment);

/* Around a run. Nothing of it may be left: descriptors, the library's mappings. */
void world_begin(void);
void world_end(void);

/* libFuzzer's entry, and the replay's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- input bytes ------------------------------------------------------------------------- */

/* Read from the front; all zero once it is used up. */
struct input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t take_byte(struct input *input)
{
    if (input->left == 0) {
        return 0;
    }
    input->left--;
    return *input->at++;
}

static inline uint64_t take_number(struct input *input, unsigned bytes)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes; i++) {
        number |= (uint64_t)take_byte(input) << (8 * i);
    }
    return number;
}

#endif
