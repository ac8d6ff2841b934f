/* SPDX-License-Identifier: MIT */
/*
 * mimalloc beside us, called by its own names. Its library also defines malloc and free: linked in,
 * it would become the allocator of the whole program. So it is loaded, where nobody else sees its
 * symbols (RTLD_LOCAL) and it sees its own before the C library's (RTLD_DEEPBIND).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_DEEPBIND */
#endif
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "heap_sides.h"

/* A function's address, which ISO C has no way to make of dlsym's. */
static bool find(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);
    memcpy(function, &address, sizeof(address));
    return address != NULL;
}

/* NULL, having said why. Stays loaded. */
static mimalloc *load(void)
{
    static mimalloc loaded;
    if (loaded.free != NULL) {
        return &loaded;
    }
    void *library = dlopen(HF_MIMALLOC, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (library == NULL || !find(library, "mi_malloc", &loaded.malloc) ||
        !find(library, "mi_free", &loaded.free)) {
        (void)bench_error("mimalloc: %s", dlerror());
        return NULL;
    }
    return &loaded;
}

void mimalloc_teardown(void *state)
{
    free(state);
}

int mimalloc_setup(void *shared, void **state)
{
    (void)shared;
    mimalloc *loaded = load();
    heap_room *room = loaded != NULL ? calloc(1, sizeof(*room)) : NULL;
    if (room == NULL) {
        return bench_error("no mimalloc");
    }
    room->heap = loaded;
    *state = room;
    return 0;
}
