/* SPDX-License-Identifier: MIT */
/*
 * A shared memory object: created, mapped, written, read back and removed.
 *
 * There is one such name on the machine: two of this at once disturb each other.
 *
 * While it waits for Enter, another terminal can look: cat /dev/shm/SharedMemory
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <holdfast/holdfast.h>

#define NAME "SharedMemory"

static void must(int error, const char *what)
{
    if (error != 0) {
        fprintf(stderr, "shared_memory: %s: %s\n", what, hf_strerror(error));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    hf_memory *memory;
    hf_region *region;

    (void)argv;
    if (argc > 1) {
        (void)fprintf(stderr, "usage: shared_memory\n");
        return 2;
    }

    (void)hf_shm_remove(NAME); /* one that an earlier run may have left */
    must(hf_shm_create(NAME, 1024, NULL, &memory), "create");
    must(hf_region_map(memory, NULL, &region), "map");

    char *text = hf_region_address(region);
    strcpy(text, "Hello, Holdfast!");
    printf("%zu bytes of shared memory say: %s\n", hf_region_size(region), text);

    printf("Press Enter to remove it.\n");
    (void)getchar();

    hf_region_unmap(region);
    hf_memory_close(memory);
    must(hf_shm_remove(NAME), "remove");
    return 0;
}
