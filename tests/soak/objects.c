/* SPDX-License-Identifier: MIT */
/*
 * Objects that all know by name. Whoever comes by a name takes the object away if it is there and
 * makes it if it is not; each holds a stamp that follows from its name, so that a wrong or
 * half-made one shows. Some names come and go in pairs, in transactions: of those both are there,
 * or neither.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "segment/handle.h"
#include "soak/soak.h"

#define NAMES 40u
#define WORDS 6u

static void name_of(char name[32], const char *kind, uint64_t number)
{
    (void)snprintf(name, 32, "%s %llu", kind, (unsigned long long)number);
}

static uint64_t stamp_of(const char *name)
{
    uint64_t stamp = 5381;
    for (const char *c = name; *c != 0; c++) {
        stamp = stamp * 33 + (uint8_t)*c;
    }
    return stamp;
}

static int write_stamp(void *elements, size_t count, void *context)
{
    uint64_t *words = elements;
    for (size_t i = 0; i < count; i++) {
        words[i] = stamp_of(context) + i;
    }
    return 0;
}

static bool is_stamped(const uint64_t *words, uint64_t count, const char *name)
{
    bool good = count == WORDS;
    for (uint64_t i = 0; good && i < count; i++) {
        good = words[i] == stamp_of(name) + i;
    }
    return good;
}

static int make(struct actor *a, char name[32])
{
    void *object;
    return CALL(a, 0,
                hf_object_construct(a->segment, name, HF_TYPE(uint64_t), WORDS, write_stamp, name,
                                    &object));
}

static int unmake(struct actor *a, const char *name)
{
    return CALL(a, 0, hf_object_destroy(a->segment, name, HF_TYPE(uint64_t)));
}

/* What is found may be taken away while we look: so only that it is found, or not, without harm. */
static void find_any(struct actor *a)
{
    char name[32];
    void *object;
    name_of(name, one_in(&a->chance, 2) ? "one" : "left", below(&a->chance, NAMES));
    (void)PERMIT(a, CALL(a, 0, hf_object_find(a->segment, name, HF_TYPE(uint64_t), &object, NULL)),
                 -ENOENT, -EAGAIN);
}

void change_names(struct actor *a)
{
    for (uint64_t n = below(&a->chance, 6); n > 0; n--) {
        char name[32];
        name_of(name, "one", below(&a->chance, NAMES));
        if (one_in(&a->chance, 2)) {
            (void)PERMIT(a, make(a, name), -EEXIST, -ENOMEM);
        } else {
            (void)PERMIT(a, unmake(a, name), -ENOENT);
        }
        find_any(a);
        linger(a);
    }
}

/* Both of a pair are made, or both taken away. What another has in its transaction is left alone.
 */
static int change_pair(struct actor *a, uint64_t number, bool construct)
{
    char left[32];
    char right[32];
    name_of(left, "left", number);
    name_of(right, "right", number);
    int result = construct ? PERMIT(a, make(a, left), -EEXIST, -EBUSY, -ENOMEM)
                           : PERMIT(a, unmake(a, left), -ENOENT, -EBUSY, -ENOMEM);
    linger(a);
    if (result == 0) {
        result = construct ? PERMIT(a, make(a, right), -EEXIST, -EBUSY, -ENOMEM)
                           : PERMIT(a, unmake(a, right), -ENOENT, -EBUSY, -ENOMEM);
    }
    return result;
}

void change_names_surely(struct actor *a)
{
    int result = 0;
    must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    for (uint64_t n = 1 + below(&a->chance, 3); n > 0 && result == 0; n--) {
        result = change_pair(a, below(&a->chance, NAMES), one_in(&a->chance, 2));
    }
    if (result != 0 || one_in(&a->chance, 6)) {
        must(a, CALL(a, 0, hf_tx_abort(a->segment)));
    } else {
        must(a, CALL(a, 0, hf_tx_commit(a->segment)));
        count(a->seat, COUNT_COMMITS, 1);
    }
}

/* ---- the census -------------------------------------------------------------------------- */

static bool pairs_are_whole(hf_segment *segment)
{
    for (uint64_t i = 0; i < NAMES; i++) {
        char left[32];
        char right[32];
        name_of(left, "left", i);
        name_of(right, "right", i);
        bool one = hf_object_find_value(segment, left, HF_TYPE(uint64_t)) != NULL;
        bool other = hf_object_find_value(segment, right, HF_TYPE(uint64_t)) != NULL;
        if (one != other) {
            note_failure("census: of the pair %llu one is there", (unsigned long long)i);
            return false;
        }
    }
    return true;
}

static bool all_are_stamped(hf_segment *segment)
{
    hf_object_cursor cursor = {0};
    hf_object_info info;
    uint64_t told = 0;
    uint64_t known = 0;
    bool good = true;
    int error = 0;
    while (good && (error = hf_object_next(segment, &cursor, &info)) == 0) {
        good = is_stamped(info.object, info.count, info.name);
        told++;
    }
    good = good && error == -ENOENT && hf_object_count(segment, &known) == 0 && known == told;
    if (!good) {
        note_failure("census: of %llu objects \"%s\" is not what it was made",
                     (unsigned long long)known, info.name);
    }
    return good;
}

static bool clear_names(hf_segment *segment)
{
    static const char *const kinds[] = {"one", "left", "right"};
    uint64_t known = 0;
    for (unsigned k = 0; k < 3; k++) {
        for (uint64_t i = 0; i < NAMES; i++) {
            char name[32];
            name_of(name, kinds[k], i);
            int error = hf_object_destroy(segment, name, HF_TYPE(uint64_t));
            if (error != 0 && error != -ENOENT) {
                note_failure("census: \"%s\" cannot be destroyed: %s", name, hf_strerror(error));
                return false;
            }
        }
    }
    if (hf_object_count(segment, &known) != 0 || known != 0) {
        note_failure("census: %llu names cannot be got rid of", (unsigned long long)known);
        return false;
    }
    return true;
}

bool names_are_good(hf_segment *segment)
{
    return pairs_are_whole(segment) && all_are_stamped(segment) && clear_names(segment);
}

uint64_t index_bytes(hf_segment *segment)
{
    hf_off table = {load_relaxed(&header_of(segment->view)->names)};
    return hf_usable_size(segment, hf_segment_at(segment, table));
}
