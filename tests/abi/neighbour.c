/* SPDX-License-Identifier: MIT */
/*
 * One of two programs, of 32 and of 64 bits, that use a segment together (neighbours.sh).
 *
 *     neighbour create FILE    a segment in that file, with a value of 1
 *     neighbour add FILE       adds 1 under the lock, and moves the value to pages of its own
 *     neighbour die FILE       dies in the middle of a transaction that holds the lock
 *     neighbour die-in FILE    dies holding the lock, outside of any transaction
 *     neighbour check FILE N   the value is N, and nothing is left of the dead
 *     neighbour mend FILE N    the same; the lock's last owner died
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "holdfast/holdfast.h"

struct root {
    hf_mutex mutex;
    uint64_t value;
    hf_off pages;
};

static void must(int line, int result, int expected)
{
    if (result != expected) {
        (void)fprintf(stderr, "neighbour (%u bits), line %d: %s, not %s\n",
                      (unsigned)sizeof(void *) * 8, line, hf_strerror(result),
                      hf_strerror(expected));
        exit(1);
    }
}
#define MUST(call) must(__LINE__, (call), 0)

static struct root *root_of(hf_segment *segment)
{
    void *root;
    MUST(hf_segment_root(segment, sizeof(struct root), &root));
    return root;
}

static void add(hf_segment *segment, struct root *root)
{
    MUST(hf_mutex_lock(&root->mutex));
    if (root->pages.value != 0) {
        uint64_t *there = hf_segment_at(segment, root->pages);
        must(__LINE__, there == NULL || *there != root->value, 0);
        MUST(hf_pages_free(segment, 3 * HF_SEGMENT_PAGE, &root->pages));
    }
    root->value++;
    MUST(hf_pages_alloc(segment, 3 * HF_SEGMENT_PAGE, &root->pages));
    *(uint64_t *)hf_segment_at(segment, root->pages) = root->value;
    MUST(hf_mutex_unlock(&root->mutex));
}

static void die(hf_segment *segment, struct root *root)
{
    MUST(hf_tx_begin(segment));
    MUST(hf_mutex_lock(&root->mutex));
    MUST(hf_tx_add(segment, &root->value, sizeof root->value));
    root->value = 666;
    (void)raise(SIGKILL);
}

static void check(hf_segment *segment, struct root *root, const char *value, int lock)
{
    hf_segment_info info;
    must(__LINE__, hf_mutex_lock(&root->mutex), lock);
    if (lock == -EOWNERDEAD) {
        MUST(hf_mutex_consistent(&root->mutex));
    }
    must(__LINE__, root->value != strtoull(value, NULL, 10), 0);
    MUST(hf_mutex_unlock(&root->mutex));
    MUST(hf_segment_recover(segment, NULL));
    MUST(hf_segment_get_info(segment, &info));
    must(__LINE__, info.dead != 0 || info.participants != 1, 0);
}

int main(int argc, char **argv)
{
    hf_segment *segment;
    if (argc < 3) {
        return 2;
    }
    if (strcmp(argv[1], "create") == 0) {
        hf_segment_options options = {.maximum = UINT64_C(1) << 20};
        MUST(hf_segment_create_file(argv[2], 16384, &options, &segment));
        root_of(segment)->value = 1;
        hf_segment_close(segment);
        return 0;
    }
    MUST(hf_segment_open_file(argv[2], HF_READ_WRITE, &segment));
    struct root *root = root_of(segment);
    if (strcmp(argv[1], "add") == 0) {
        add(segment, root);
    } else if (strcmp(argv[1], "die") == 0) {
        die(segment, root);
    } else if (strcmp(argv[1], "die-in") == 0) {
        MUST(hf_mutex_lock(&root->mutex));
        (void)raise(SIGKILL);
    } else {
        check(segment, root, argv[3], strcmp(argv[1], "mend") == 0 ? -EOWNERDEAD : 0);
    }
    hf_segment_close(segment);
    return 0;
}
