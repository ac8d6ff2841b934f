/* SPDX-License-Identifier: MIT */
/*
 * What a segment that one thread works on must look like, said without the library: contents, locks
 * and their verdicts, links. Each function says what the call of that name must return and changes
 * the model as the call must change the segment.
 */
#ifndef HF_TESTS_FUZZ_MODEL_H
#define HF_TESTS_FUZZ_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_MUTEXES 6u
#define MODEL_LINKS   8u
#define MODEL_BLOCKS  24u
#define MODEL_DATA    2048u
#define MODEL_SAVES   64u
#define MODEL_SAVED   16384u

struct model_mutex {
    bool destroyed;
    bool held;
    bool inside;  /* taken in the transaction that is open */
    bool later;   /* unlocked in it, to be freed at its end */
    bool mended;  /* made consistent in it */
    bool suspect; /* an owner died */
    bool given_up;
};

/* A block of the heap, in one of MODEL_BLOCKS places. */
struct model_block {
    uint64_t offset;
    uint64_t usable; /* bytes; 0: there is no block */
    uint32_t size;   /* as asked for: so many are filled */
    uint8_t tag;
    bool linked; /* a link names it */
    bool reserved;
    bool taken; /* in the transaction that is open */
    bool freed; /* in it, to be freed with its commit */
};

/* One range that was added to the transaction. */
struct model_save {
    uint32_t offset;
    uint32_t length;
    uint32_t at; /* in saved */
};

struct model {
    uint8_t data[MODEL_DATA];
    struct model_mutex mutex[MODEL_MUTEXES];
    uint64_t pages[MODEL_LINKS]; /* that the link names; 0: none */
    uint8_t tag[MODEL_LINKS];    /* what they are filled with */
    struct model_block block[MODEL_BLOCKS];
    uint64_t size;
    uint64_t maximum;
    bool attached;

    unsigned depth;
    bool cancelled; /* aborted inside */
    struct model_save saves[MODEL_SAVES];
    unsigned save_count;
    uint32_t saved_bytes;
    uint8_t saved[MODEL_SAVED];
    uint64_t log; /* bytes of undo log, at least */
};

/* Is a transaction open that a death would undo? */
bool model_active(const struct model *model);

/* Is nothing held, nothing reserved and no transaction open? */
bool model_idle(const struct model *model);

int model_lock(struct model *model, unsigned mutex);
int model_unlock(struct model *model, unsigned mutex);
int model_consistent(struct model *model, unsigned mutex);
int model_fini(struct model *model, unsigned mutex);
void model_init(struct model *model, unsigned mutex);

int model_begin(struct model *model);
/* What hf_tx_add must return if there is room for its log; it is noted by model_save. */
int model_add(const struct model *model, uint32_t length);
void model_save(struct model *model, uint32_t offset, uint32_t length);
int model_commit(struct model *model);
int model_abort(struct model *model);

/* The participant ends, by death or in good order. */
void model_end(struct model *model);

uint64_t model_linked(const struct model *model);

/* What a call that changes the heap must return if there is room: it is not to be made inside what
   is cancelled. */
int model_heap(struct model *model);

/* The place has a block now, or none. */
void model_take(struct model *model, unsigned place, const struct model_block *block);
void model_free(struct model *model, unsigned place);

/* What a place's link must hold. */
uint64_t model_link(const struct model *model, unsigned place);

uint64_t model_blocks(const struct model *model, uint64_t *bytes);

#endif
