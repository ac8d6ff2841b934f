/* SPDX-License-Identifier: MIT */
/* The segment of a round. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "soak/soak.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

/* ---- making ------------------------------------------------------------------------------ */

static int create(struct arena *arena)
{
    hf_segment_options options = {.maximum = arena->maximum};
    switch (arena->kind) {
    case ARENA_NAMED:
        return hf_segment_create(arena->name, arena->size, &options, &arena->segment);
    case ARENA_FILE:
        return hf_segment_create_file(arena->name, arena->size, &options, &arena->segment);
    default:
        return hf_segment_create_anonymous(arena->size, &options, &arena->segment);
    }
}

static void choose(struct arena *arena, struct chance *chance, const char *directory,
                   uint64_t round)
{
    /* The last one's page maps do not fit into the header. */
    static const uint64_t maximum[] = {384 * KIB, 1 * MIB, 8 * MIB, 48 * MIB};
    *arena = (struct arena){.kind = (arena_kind)(round % ARENA_KINDS),
                            .maximum = maximum[below(chance, 4)],
                            .inherited = one_in(chance, 2)};
    arena->inherited = arena->inherited || arena->kind == ARENA_ANONYMOUS;
    arena->size = (128 + 4 * below(chance, 32)) * KIB;
    (void)snprintf(arena->name, sizeof arena->name, "%s%shft-soak-%d-%llu",
                   arena->kind == ARENA_FILE ? directory : "", arena->kind == ARENA_FILE ? "/" : "",
                   (int)getpid(), (unsigned long long)round);
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(arena->side[i], sizeof arena->side[i], "hft-soak-%d-side%u", (int)getpid(),
                       i);
    }
}

/* What is not as it should be when it is all zero. */
static int fill(struct table *table)
{
    int error = 0;
    for (unsigned i = 0; i < STRICT; i++) {
        table->strict[i].money = MONEY;
    }
    for (unsigned i = 0; i < LOOSE; i++) {
        table->loose[i].money = MONEY;
    }
    for (uint32_t i = 0; error == 0 && i < POOLS; i++) {
        error = hf_semaphore_init(&table->pool[i].permits, i + 1, HF_SEMAPHORE_UNDO);
    }
    for (uint32_t i = 0; error == 0 && i < BARRIERS; i++) {
        error = hf_barrier_init(&table->barrier[i], i + 2);
    }
    for (uint32_t i = 0; error == 0 && i < HALLS; i++) {
        error = begin_hall(&table->hall[i], i + 1);
    }
    return error;
}

static int find_table(struct arena *arena)
{
    void *root;
    int error = hf_segment_root(arena->segment, sizeof(struct table), &root);
    arena->table = error == 0 ? root : NULL;
    return error;
}

/* Leaves nobody in it. */
int arena_make(struct arena *arena, struct chance *chance, const char *directory, uint64_t round)
{
    choose(arena, chance, directory, round);
    int error = create(arena);
    if (error == -EOPNOTSUPP && arena->kind == ARENA_FILE) { /* a file system that cannot reserve */
        arena->kind = ARENA_ANONYMOUS;
        arena->inherited = true;
        error = create(arena);
    }
    error = error != 0 ? error : find_table(arena);
    error = error != 0 ? error : fill(arena->table);
    if (error != 0) {
        return error;
    }
    error = hf_thread_leave(arena->segment);
    if (!arena->inherited) {
        hf_segment_close(arena->segment);
        arena->segment = NULL;
    }
    return error;
}

int arena_open(struct arena *arena)
{
    if (arena->inherited) {
        return 0;
    }
    int error = arena->kind == ARENA_FILE
                    ? hf_segment_open_file(arena->name, HF_READ_WRITE, &arena->segment)
                    : hf_segment_open(arena->name, HF_READ_WRITE, &arena->segment);
    return error != 0 ? error : find_table(arena);
}

/* ---- ending ------------------------------------------------------------------------------ */

int arena_remove(struct arena *arena)
{
    for (unsigned i = 0; i < 2; i++) {
        (void)hf_segment_remove(arena->side[i]); /* the census had a look at them */
    }
    hf_segment_close(arena->segment);
    arena->segment = NULL;
    switch (arena->kind) {
    case ARENA_NAMED:
        return hf_segment_remove(arena->name);
    case ARENA_FILE:
        return unlink(arena->name) == 0 ? 0 : -ENOENT;
    default:
        return 0;
    }
}

const char *arena_kind_name(const struct arena *arena)
{
    switch (arena->kind) {
    case ARENA_NAMED:
        return arena->inherited ? "named, inherited" : "named, opened by each";
    case ARENA_FILE:
        return arena->inherited ? "in a file, inherited" : "in a file, opened by each";
    default:
        return "anonymous";
    }
}

/* ---- keeping ----------------------------------------------------------------------------- */

static bool copy_descriptor(int from, int to)
{
    static char bytes[65536];
    ssize_t length;
    off_t at = 0;
    while ((length = pread(from, bytes, sizeof bytes, at)) > 0) {
        if (pwrite(to, bytes, (size_t)length, at) != length) {
            return false;
        }
        at += length;
    }
    return length == 0;
}

bool arena_copy(const struct arena *arena, const char *path)
{
    char source[160];
    if (arena->kind == ARENA_ANONYMOUS) {
        int descriptor = hf_memory_descriptor(hf_segment_memory(arena->segment));
        (void)snprintf(source, sizeof source, "/proc/self/fd/%d", descriptor);
    } else {
        (void)snprintf(source, sizeof source, "%s%s", arena->kind == ARENA_NAMED ? "/dev/shm/" : "",
                       arena->name);
    }
    int from = open(source, O_RDONLY | O_CLOEXEC);
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool copied = from >= 0 && to >= 0 && copy_descriptor(from, to);
    if (from >= 0) {
        (void)close(from);
    }
    if (to >= 0) {
        (void)close(to);
    }
    return copied;
}
