/* SPDX-License-Identifier: MIT */
/* Good segments, as bytes, and what a hostile hand does to them. */
#ifndef HF_TESTS_FUZZ_IMAGE_H
#define HF_TESTS_FUZZ_IMAGE_H

#include "fuzz/sync.h"
#include "fuzz/world.h"
#include "holdfast/mutex.h"
#include "segment/slot_layout.h"

#define STAGE_MUTEXES 8u
#define STAGE_LINKS   8u
#define STAGE_VALUES  64u

/* The root of every image. */
struct stage {
    hf_mutex mutex[STAGE_MUTEXES];
    hf_off link[STAGE_LINKS];
    uint64_t value[STAGE_VALUES];
    uint8_t big[6000]; /* more than a slot's log holds */
    struct sync sync;
};

/* Where the pages are that stage.link[LINK_OF_PIPE] names, there is a pipe. */
#define LINK_OF_PIPE 2u

enum image_kind {
    IMAGE_QUIET,     /* nobody is there */
    IMAGE_TX,        /* one died in a transaction, holding locks from before and from inside */
    IMAGE_COMMITTED, /* one died behind its commit point */
    IMAGE_ALLOC,     /* one died handing out pages, in a segment that may grow */
    IMAGE_FREE,      /* one died taking back pages */
    IMAGE_LARGE,     /* the first, with a maximum whose maps lie in pages of their own */
    IMAGE_MANY,      /* many slots: the dead, a living one, one that was being recovered */
    IMAGE_KINDS
};

/* In the last of them, the slot of the living one. */
#define IMAGE_LIVING 21u

struct image {
    char *bytes;
    uint64_t size; /* and the size of its object */
    uint64_t maximum;
    uint64_t root; /* offset */
    uint64_t pipe;
};

/* Made at the first call. */
const struct image *image_of(enum image_kind kind);

/* A slot in the image, and the highest number of one. */
struct slot *image_slot(const struct image *image, uint32_t number);
uint32_t image_slots(const struct image *image);

/* Writes one thing into a segment of that image's shape at `base`, as the input says. Only the
   first image->size bytes. */
void image_mutate(const struct image *image, char *base, struct input *input);

#endif
