/* SPDX-License-Identifier: MIT */
/*
 * XXH3-128 over the data as it passes, while it is in cache: against error, not against an
 * adversary. The dispatching variant picks the processor's widest vectors as the program runs.
 */
#ifndef TRANSFER_DIGEST_H
#define TRANSFER_DIGEST_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#define DIGEST_UPDATE XXH3_128bits_update_dispatch
/* Declared here: the header that declares it redefines the plain names as well. */
XXH_errorcode XXH3_128bits_update_dispatch(XXH3_state_t *state, const void *input, size_t length);
#else
#define DIGEST_UPDATE XXH3_128bits_update
#endif

#include "transfer/wire.h"

struct digest {
    XXH3_state_t state;
};

static inline void digest_start(struct digest *d)
{
    (void)XXH3_128bits_reset(&d->state);
}

static inline void digest_update(struct digest *d, const void *bytes, uint64_t length)
{
    (void)DIGEST_UPDATE(&d->state, bytes, (size_t)length);
}

static inline void digest_finish(const struct digest *d, uint8_t out[DIGEST_SIZE])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&d->state));
    memcpy(out, canonical.digest, DIGEST_SIZE);
}

static inline void digest_text(const uint8_t digest[DIGEST_SIZE], char text[2 * DIGEST_SIZE + 1])
{
    for (int i = 0; i < DIGEST_SIZE; i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", digest[i]);
    }
}

#endif
