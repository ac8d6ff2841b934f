/* SPDX-License-Identifier: MIT */
#include "fuzz/model.h"

#include <errno.h>
#include <string.h>

bool model_active(const struct model *model)
{
    return model->depth > 0 && !model->cancelled;
}

bool model_idle(const struct model *model)
{
    bool held = false;
    for (unsigned i = 0; i < MODEL_MUTEXES; i++) {
        held = held || model->mutex[i].held;
    }
    for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
        held = held || model->block[i].reserved;
    }
    return model->depth == 0 && !held;
}

uint64_t model_linked(const struct model *model)
{
    uint64_t pages = 0;
    for (unsigned i = 0; i < MODEL_LINKS; i++) {
        pages += model->pages[i];
    }
    return pages;
}

/* ---- mutexes ----------------------------------------------------------------------------- */

static bool is_suspect(const struct model_mutex *m)
{
    return m->suspect && !m->mended;
}

int model_lock(struct model *model, unsigned mutex)
{
    struct model_mutex *m = &model->mutex[mutex];
    if (m->destroyed) {
        return -EINVAL;
    }
    if (m->held && !m->later) {
        return -EDEADLK;
    }
    if (m->given_up) {
        return -ENOTRECOVERABLE;
    }
    if (!m->held) {
        m->inside = model_active(model);
    }
    m->held = true;
    m->later = false;
    return is_suspect(m) ? -EOWNERDEAD : 0;
}

/* Freed by its owner. */
static void set_free(struct model_mutex *m)
{
    m->given_up = m->suspect;
    m->held = m->inside = m->later = m->mended = false;
}

int model_unlock(struct model *model, unsigned mutex)
{
    struct model_mutex *m = &model->mutex[mutex];
    if (m->destroyed) {
        return -EINVAL;
    }
    if (!m->held || m->later) {
        return -EPERM;
    }
    if (model_active(model)) {
        m->later = true;
    } else {
        set_free(m);
    }
    return 0;
}

int model_consistent(struct model *model, unsigned mutex)
{
    struct model_mutex *m = &model->mutex[mutex];
    if (m->destroyed) {
        return -EINVAL;
    }
    if (!m->held || m->later) {
        return -EPERM;
    }
    if (!is_suspect(m)) {
        return -EINVAL;
    }
    if (model_active(model)) {
        m->mended = true;
    } else {
        m->suspect = false;
    }
    return 0;
}

int model_fini(struct model *model, unsigned mutex)
{
    struct model_mutex *m = &model->mutex[mutex];
    if (m->destroyed) {
        return -EINVAL;
    }
    if (m->held) {
        return -EBUSY;
    }
    m->destroyed = true;
    return 0;
}

void model_init(struct model *model, unsigned mutex)
{
    model->mutex[mutex] = (struct model_mutex){0};
}

/* ---- blocks ------------------------------------------------------------------------------ */

#define LOG_OF_A_BLOCK 48u /* with its link */

int model_heap(struct model *model)
{
    if (model->depth > 0 && model->cancelled) {
        return -ECANCELED;
    }
    model->log += model->depth > 0 ? LOG_OF_A_BLOCK : 0;
    return 0;
}

void model_take(struct model *model, unsigned place, const struct model_block *block)
{
    model->block[place] = *block;
    model->block[place].taken = model_active(model) && !block->reserved;
}

void model_free(struct model *model, unsigned place)
{
    struct model_block *block = &model->block[place];
    if (model_active(model) && !block->reserved) {
        block->freed = true;
    } else {
        *block = (struct model_block){.offset = block->offset};
    }
}

uint64_t model_link(const struct model *model, unsigned place)
{
    const struct model_block *block = &model->block[place];
    return block->usable != 0 && block->linked && !block->freed ? block->offset : 0;
}

uint64_t model_blocks(const struct model *model, uint64_t *bytes)
{
    uint64_t count = 0;
    *bytes = 0;
    for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
        count += model->block[i].usable != 0;
        *bytes += model->block[i].usable;
    }
    return count;
}

/* ---- transactions ------------------------------------------------------------------------ */

int model_begin(struct model *model)
{
    if (model->cancelled) {
        return -ECANCELED;
    }
    model->depth++;
    return 0;
}

int model_add(const struct model *model, uint32_t length)
{
    if (model->depth == 0) {
        return -EINVAL;
    }
    if (model->cancelled) {
        return -ECANCELED;
    }
    (void)length;
    return 0;
}

void model_save(struct model *model, uint32_t offset, uint32_t length)
{
    if (length == 0) {
        return;
    }
    struct model_save *save = &model->saves[model->save_count++];
    *save = (struct model_save){offset, length, model->saved_bytes};
    memcpy(model->saved + save->at, model->data + offset, length);
    model->saved_bytes += length;
    model->log += (length + 15) / 16 * 16 + 16;
}

static void forget_saves(struct model *model)
{
    model->save_count = 0;
    model->saved_bytes = 0;
    model->log = 0;
}

/* The latest first. */
static void undo(struct model *model)
{
    while (model->save_count > 0) {
        const struct model_save *save = &model->saves[--model->save_count];
        memcpy(model->data + save->offset, model->saved + save->at, save->length);
    }
    forget_saves(model);
}

static void end_blocks(struct model *model, bool committed)
{
    for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
        struct model_block *block = &model->block[i];
        if (committed ? block->freed : block->taken) {
            *block = (struct model_block){.offset = block->offset};
        }
        block->taken = block->freed = false;
    }
}

static void end_mutexes(struct model *model, bool committed)
{
    for (unsigned i = 0; i < MODEL_MUTEXES; i++) {
        struct model_mutex *m = &model->mutex[i];
        bool mended = m->mended;
        m->mended = m->inside = false;
        if (mended && committed) {
            m->suspect = false;
        }
        if (m->later) {
            m->later = m->held = false;
            m->given_up = m->suspect && !mended; /* what mended it was undone: as it was */
        }
    }
}

/* One level less. */
static void leave_level(struct model *model)
{
    model->depth--;
    model->cancelled = model->cancelled && model->depth > 0;
}

int model_commit(struct model *model)
{
    if (model->depth == 0) {
        return -EINVAL;
    }
    bool cancelled = model->cancelled;
    if (!cancelled && model->depth == 1) {
        forget_saves(model);
        end_mutexes(model, true);
        end_blocks(model, true);
    }
    leave_level(model);
    return cancelled ? -ECANCELED : 0;
}

int model_abort(struct model *model)
{
    if (model->depth == 0) {
        return -EINVAL;
    }
    if (!model->cancelled) {
        undo(model);
        end_mutexes(model, false);
        end_blocks(model, false);
        model->cancelled = true;
    }
    leave_level(model);
    return 0;
}

void model_end(struct model *model)
{
    bool active = model_active(model);
    if (active) {
        end_blocks(model, false);
    }
    for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
        if (model->block[i].reserved) {
            model->block[i] = (struct model_block){.offset = model->block[i].offset};
        }
    }
    undo(model);
    for (unsigned i = 0; i < MODEL_MUTEXES; i++) {
        struct model_mutex *m = &model->mutex[i];
        if (m->held && !(active && m->inside)) {
            m->suspect = true; /* its data was not under the transaction */
        }
        m->held = m->inside = m->later = m->mended = false;
    }
    model->depth = 0;
    model->cancelled = false;
    model->attached = false;
}
