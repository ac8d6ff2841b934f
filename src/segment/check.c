/* SPDX-License-Identifier: MIT */
/*
 * The deep check. Invariants, with nobody inside a call:
 *     header     as it was formatted; its size is there; its lock is free
 *     slot       no intent, no lock held, no transaction, no log in use, no operation
 *     free slot  its life word is 0, or only says that someone slept on it
 *     pages      used = own + linked; no page is held by two; what is used is backed
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "segment/check.h"
#include "segment/format.h"
#include "segment/pages.h"
#include "segment/participant.h"

/* What is being checked, and who holds which page: a bit a page. */
struct look {
    struct view *view;
    uint64_t pages;
    uint64_t *held;
    uint64_t held_count;
    char *what;
};

static int wrong(struct look *look, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int wrong(struct look *look, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(look->what, SEGMENT_CHECK_TEXT, format, arguments);
    va_end(arguments);
    return -EBADMSG;
}

static unsigned long long number_of(uint64_t value)
{
    return value;
}

/* ---- header ------------------------------------------------------------------------------ */

static int check_header(struct look *look)
{
    struct view *view = look->view;
    struct segment_header copy;
    memcpy(&copy, view->base, sizeof copy);
    (void)view_refresh(view, 0, 0);
    int error = validate_segment(&copy, load_relaxed(&view->known));
    if (error != 0) {
        return wrong(look, "the header is not one: %s", hf_strerror(error));
    }
    uint32_t word = load_relaxed(&copy.pages_lock.word);
    if ((word & ~LOCK_WAITERS) != 0 || load_relaxed(&copy.pages_lock.kind) != LOCK_INTERNAL) {
        return wrong(look, "the lock of the pages is %#x", (unsigned)word);
    }
    look->pages = load_relaxed(&copy.size) / SEGMENT_PAGE;
    return 0;
}

/* ---- slots ------------------------------------------------------------------------------- */

static int check_slot(struct look *look, uint32_t n)
{
    struct slot *slot = view_slot(look->view, n);
    const struct {
        const char *name;
        uint64_t value;
    } words[] = {{"intent", load_relaxed(&slot->intent)},
                 {"held", load_relaxed(&slot->held)},
                 {"tx", load_relaxed(&slot->tx)},
                 {"log_used", load_relaxed(&slot->log_used)},
                 {"op", load_relaxed(&slot->op)}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i].value != 0) {
            return wrong(look, "slot %u is not idle: %s is %#llx", (unsigned)n, words[i].name,
                         number_of(words[i].value));
        }
    }
    return 0;
}

/* Whose slot it is, and that its words agree. */
static int check_claim(struct look *look, uint32_t n, uint32_t *taken)
{
    uint64_t claim = load_acquire(&view_slot(look->view, n)->claim);
    uint32_t life = load_relaxed(view_life(look->view, n));
    if (claim_by(claim) == 0) {
        if ((claim & (CLAIM_CLAIMING | CLAIM_UNRECOVERED)) != 0 || claim_by_turn(claim) != 0) {
            return wrong(look, "slot %u is free, and its claim is %#llx", (unsigned)n,
                         number_of(claim));
        }
        return (life & ~OS_LIFE_WAITERS) == 0 ? 0
                                              : wrong(look, "slot %u is free, and its life is %#x",
                                                      (unsigned)n, (unsigned)life);
    }
    (*taken)++;
    if (claim != claim_word(n, claim_turn(claim), claim_turn(claim), 0)) {
        return wrong(look, "slot %u is not its own: its claim is %#llx", (unsigned)n,
                     number_of(claim));
    }
    return presence_of(look->view, n, true, NULL) == PRESENCE_DEAD
               ? wrong(look, "who has slot %u is dead and not recovered", (unsigned)n)
               : 0;
}

static int check_slots(struct look *look, uint32_t participants)
{
    uint32_t slots = view_slots(look->view);
    uint32_t taken = 0;
    int error = 0;
    for (uint32_t n = 1; n <= slots && error == 0; n++) {
        error = check_slot(look, n);
        error = error != 0 ? error : check_claim(look, n, &taken);
    }
    if (error == 0 && taken != participants) {
        return wrong(look, "%u slots are taken, by %u participants", (unsigned)taken,
                     (unsigned)participants);
    }
    return error;
}

/* ---- pages ------------------------------------------------------------------------------- */

static bool bit_of(const uint64_t *map, uint64_t page)
{
    return (map[page / 64] >> page % 64 & 1) != 0;
}

static bool shared_bit_of(shared_u64 *map, uint64_t page)
{
    return (load_relaxed(&map[page / 64]) >> page % 64 & 1) != 0;
}

/* These pages are the holder's. */
static int hold(struct look *look, const char *holder, uint64_t offset, uint64_t count)
{
    uint64_t first = offset / SEGMENT_PAGE;
    if (offset % SEGMENT_PAGE != 0 || !range_within(first, count, look->pages)) {
        return wrong(look, "%s lies at %#llx, outside the segment", holder, number_of(offset));
    }
    for (uint64_t page = first; page < first + count; page++) {
        if (!shared_bit_of(look->view->used_map, page)) {
            return wrong(look, "page %llu of %s is free", number_of(page), holder);
        }
        if (bit_of(look->held, page)) {
            return wrong(look, "page %llu of %s is held by something else too", number_of(page),
                         holder);
        }
        look->held[page / 64] |= UINT64_C(1) << page % 64;
    }
    look->held_count += count;
    return 0;
}

static int hold_logs(struct look *look)
{
    uint32_t slots = view_slots(look->view);
    int error = 0;
    for (uint32_t n = 1; n <= slots && error == 0; n++) {
        for (uint32_t k = 0; k < LOG_CHUNKS && error == 0; k++) {
            uint64_t chunk = load_relaxed(&view_slot(look->view, n)->log_chunks[k]);
            error = chunk != 0 ? hold(look, "an undo log", chunk, UINT64_C(1) << k) : 0;
        }
    }
    return error;
}

/* Page 1, the first run of slots, is among the header's. */
static int hold_own(struct look *look)
{
    struct segment_header *header = header_of(look->view);
    int error = hold(look, "the header", 0, look->view->first_page);
    uint64_t root = load_acquire(&header->root);
    if (error == 0 && root != 0) {
        error = hold(look, "the root", root, load_relaxed(&header->root_size) / SEGMENT_PAGE);
    }
    for (uint32_t run = 1; run < SLOT_RUNS && error == 0; run++) {
        uint64_t offset = load_relaxed(&header->slot_runs[run]);
        error = offset != 0 ? hold(look, "a run of slots", offset, slot_run_pages(run)) : 0;
    }
    return error != 0 ? error : hold_logs(look);
}

static int check_backed(struct look *look)
{
    for (uint64_t page = look->view->first_page; page < look->pages; page++) {
        if (shared_bit_of(look->view->used_map, page) &&
            !shared_bit_of(look->view->backed_map, page)) {
            return wrong(look, "page %llu is in use with no memory behind it", number_of(page));
        }
    }
    return 0;
}

static int check_pages(struct look *look, uint64_t linked)
{
    look->held = calloc(look->pages / 64 + 1, sizeof *look->held);
    if (look->held == NULL) {
        return -EAGAIN;
    }
    int error = hold_own(look);
    uint64_t used = pages_count(look->view);
    if (error == 0 && used != look->held_count + linked) {
        error = wrong(look, "%llu pages are in use, %llu are held by something", number_of(used),
                      number_of(look->held_count + linked));
    }
    free(look->held);
    return error != 0 ? error : check_backed(look);
}

int segment_check(struct view *view, uint64_t linked, uint32_t participants,
                  char what[SEGMENT_CHECK_TEXT])
{
    struct look look = {.view = view, .what = what};
    what[0] = 0;
    int error = check_header(&look);
    error = error != 0 ? error : check_slots(&look, participants);
    return error != 0 ? error : check_pages(&look, linked);
}
