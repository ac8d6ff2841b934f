/* SPDX-License-Identifier: MIT */
/*
 * The mutation gate's own HF_LOG_STORE and HF_LOG_PUBLISH: each place where one stands is a *site*,
 * and one site at a time can be made a mutant while the program runs. The library is compiled with
 * this header in front of each of its files; what is proven otherwise is compiled without it.
 */
#ifndef TESTS_PROOF_MUTANT_STORE_H
#define TESTS_PROOF_MUTANT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mutation {
    MUTATION_NONE,
    MUTATION_DELETE, /* the store is not made */
    MUTATION_SWAP    /* it is made after the next one that its thread comes to */
} mutation;

struct mutant_site {
    const char *file;
    const char *function;
    int line;
    mutation kind;
    bool *visited; /* in memory shared by all processes */
};

/* False: the site's store is not to be made now. */
bool mutant_store_is_due(struct mutant_site *site, void *place, uint64_t value, size_t size);

/* Makes the store that a swap has put off, if another site than its own has been passed. */
void mutant_store_passed(const struct mutant_site *site);

#define MUTANT_SITE(store, place, value)                                                           \
    do {                                                                                           \
        static struct mutant_site site_ = {                                                        \
            .file = __FILE__, .function = __func__, .line = __LINE__};                             \
        static struct mutant_site *const listed_ __attribute__((section("mutant_sites"), used)) =  \
            &site_;                                                                                \
        (void)listed_;                                                                             \
        crash_fence();                                                                             \
        if (mutant_store_is_due(&site_, (void *)(place), (uint64_t)(value), sizeof *(place))) {    \
            store((place), (value));                                                               \
        }                                                                                          \
        mutant_store_passed(&site_);                                                               \
        crash_fence();                                                                             \
    } while (0)

#define HF_LOG_STORE(place, value)   MUTANT_SITE(store_relaxed, place, value)
#define HF_LOG_PUBLISH(place, value) MUTANT_SITE(store_release, place, value)

#endif
