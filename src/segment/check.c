/* SPDX-License-Identifier: MIT */
/*
 * The deep check. Invariants, with nobody inside a call:
 *     header     as it was formatted; its size is there; its lock is free
 *     slot       no intent, no lock held, nothing else held, no transaction, no log in use, no
 *                operation, nothing reserved (hf_check does not ask: all may be so between two
 * calls, or inside one) free slot  its life word is 0, or only says that someone slept on it pages
 * used = own + linked; no page is held by two; what is used is backed
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "segment/check.h"
#include "segment/format.h"
#include "segment/handle.h"
#include "segment/pages.h"
#include "segment/participant.h"

int check_wrong(struct look *look, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(look->report->what, SEGMENT_CHECK_TEXT, format, arguments);
    va_end(arguments);
    return -EBADMSG;
}

/* ---- header ------------------------------------------------------------------------------ */

/* Word by word: others may be writing. */
static void copy_header(const struct view *view, struct segment_header *copy)
{
    uint64_t words[sizeof *copy / sizeof(uint64_t)];
    const shared_u64 *from = (const shared_u64 *)(const void *)view->base;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        words[i] = load_relaxed(&from[i]);
    }
    memcpy(copy, words, sizeof words);
}

static int check_header(struct look *look, bool strict)
{
    struct view *view = look->view;
    struct segment_header copy;
    copy_header(view, &copy);
    (void)view_refresh(view, 0, 0);
    int error = validate_segment(&copy, load_relaxed(&view->known));
    if (error != 0) {
        return check_wrong(look, "the header is not one: %s", hf_strerror(error));
    }
    uint32_t word = load_relaxed(&copy.pages_lock.word);
    if ((strict && (word & ~LOCK_WAITERS) != 0) ||
        load_relaxed(&copy.pages_lock.kind) != LOCK_INTERNAL) {
        return check_wrong(look, "the lock of the pages is %#x", (unsigned)word);
    }
    look->pages = load_relaxed(&copy.size) / SEGMENT_PAGE;
    look->report->size = load_relaxed(&copy.size);
    return 0;
}

/* ---- slots ------------------------------------------------------------------------------- */

/* What the living hold is theirs; nothing stands where nobody looks for it. */
static int check_holds(struct look *look, uint32_t n, struct slot *slot)
{
    uint64_t top = load_relaxed(&slot->holds_top);
    if (top > HOLDS_MAX || (top != 0 && claim_by(load_relaxed(&slot->claim)) == 0)) {
        return check_wrong(look, "slot %u is not idle: holds_top is %#llx", (unsigned)n,
                           check_number(top));
    }
    for (uint64_t i = top; i < HOLDS_MAX; i++) {
        uint64_t hold = load_relaxed(&slot->holds[i]);
        if (hold != HOLD_NONE) {
            return check_wrong(look, "slot %u has a hold %#llx above its holds_top", (unsigned)n,
                               check_number(hold));
        }
    }
    return 0;
}

static int check_slot(struct look *look, uint32_t n)
{
    struct slot *slot = view_slot(look->view, n);
    const struct {
        const char *name;
        uint64_t value;
    } words[] = {{"intent", load_relaxed(&slot->intent)},
                 {"op", load_relaxed(&slot->op)},
                 {"held", load_relaxed(&slot->held)},
                 {"tx", tx_state(slot)},
                 {"log_used", load_relaxed(&slot->log_used)},
                 {"op_log", load_relaxed(&slot->op_log)},
                 {"reserved", load_relaxed(&slot->reserved[0])},
                 {"update", load_relaxed(&slot->update) & UPDATE_STATE}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i].value != 0) {
            return check_wrong(look, "slot %u is not idle: %s is %#llx", (unsigned)n, words[i].name,
                               check_number(words[i].value));
        }
    }
    return check_holds(look, n, slot);
}

/* Whose slot it is, and that its words agree. */
static int check_claim(struct look *look, uint32_t n, bool strict)
{
    struct slot *slot = view_slot(look->view, n);
    uint64_t claim = load_acquire(&slot->claim);
    uint32_t life = load_relaxed(view_life(look->view, n));
    if (claim_by(claim) == 0) {
        bool idle = (claim & (CLAIM_CLAIMING | CLAIM_UNRECOVERED)) == 0 &&
                    claim_by_turn(claim) == 0 && (life & ~OS_LIFE_WAITERS) == 0 &&
                    load_relaxed(&slot->heap) == 0;
        return idle ? 0
                    : check_wrong(
                          look, "slot %u is free; its claim is %#llx, its life %#x, its heap %#llx",
                          (unsigned)n, check_number(claim), (unsigned)life,
                          check_number(load_relaxed(&slot->heap)));
    }
    look->report->participants++;
    bool dead = presence_of(look->view, n, true, NULL) == PRESENCE_DEAD;
    look->report->unsettled += dead ? 1 : 0;
    if (dead && !strict) {
        return 0;
    }
    if (claim != claim_word(n, claim_turn(claim), claim_turn(claim), 0)) {
        return check_wrong(look, "slot %u is not its own: its claim is %#llx", (unsigned)n,
                           check_number(claim));
    }
    return dead ? check_wrong(look, "who has slot %u is dead and not recovered", (unsigned)n) : 0;
}

static int check_slots(struct look *look, bool strict)
{
    uint32_t slots = view_slots(look->view);
    int error = 0;
    for (uint32_t n = 1; n <= slots && error == 0; n++) {
        error = check_claim(look, n, strict);
        error = error != 0 || !strict ? error : check_slot(look, n);
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

int check_hold(struct look *look, const char *holder, uint64_t offset, uint64_t count)
{
    uint64_t first = offset / SEGMENT_PAGE;
    if (offset % SEGMENT_PAGE != 0 || !range_within(first, count, look->pages)) {
        return check_wrong(look, "%s lies at %#llx, outside the segment", holder,
                           check_number(offset));
    }
    for (uint64_t page = first; page < first + count; page++) {
        if (!shared_bit_of(look->view->used_map, page)) {
            return check_wrong(look, "page %llu of %s is free", check_number(page), holder);
        }
        if (bit_of(look->held, page)) {
            return check_wrong(look, "page %llu of %s is held by something else too",
                               check_number(page), holder);
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
            error = chunk != 0 ? check_hold(look, "an undo log", chunk, UINT64_C(1) << k) : 0;
        }
    }
    return error;
}

/* Page 1, the first run of slots, is among the header's. */
static int hold_own(struct look *look)
{
    struct segment_header *header = header_of(look->view);
    int error = check_hold(look, "the header", 0, look->view->first_page);
    uint64_t root = load_acquire(&header->root);
    if (error == 0 && root != 0) {
        error = check_hold(look, "the root", root, load_relaxed(&header->root_size) / SEGMENT_PAGE);
    }
    for (uint32_t run = 1; run < SLOT_RUNS && error == 0; run++) {
        uint64_t offset = load_relaxed(&header->slot_runs[run]);
        error = offset != 0 ? check_hold(look, "a run of slots", offset, slot_run_pages(run)) : 0;
    }
    return error != 0 ? error : hold_logs(look);
}

static int check_backed(struct look *look)
{
    for (uint64_t page = look->view->first_page; page < look->pages; page++) {
        if (shared_bit_of(look->view->used_map, page) &&
            !shared_bit_of(look->view->backed_map, page)) {
            return check_wrong(look, "page %llu is in use with no memory behind it",
                               check_number(page));
        }
    }
    return 0;
}

/* The pages of those who reserve more than a slot has room for. */
static int hold_reserved(struct look *look)
{
    uint32_t slots = view_slots(look->view);
    int error = 0;
    for (uint32_t n = 1; n <= slots && error == 0; n++) {
        uint64_t page = load_relaxed(&view_slot(look->view, n)->reserved_page);
        while (page != 0 && error == 0) { /* it ends: no page is held twice */
            error = check_hold(look, "a page of reservations", page, 1);
            page = error != 0 ? 0 : load_relaxed((shared_u64 *)(void *)(look->view->base + page));
        }
    }
    return error;
}

/* Who holds what; *linked: pages in use that nobody of these does. */
static int check_pages(struct look *look, uint64_t *linked)
{
    look->held = os_alloc((size_t)(look->pages / 64 + 1) * sizeof *look->held);
    look->held_count = 0;
    if (look->held == NULL) {
        return -EAGAIN;
    }
    int error = hold_own(look);
    error = error != 0 ? error : hold_reserved(look);
    error = error != 0 ? error : check_heap(look);
    error = error != 0 ? error : check_names(look);
    os_free(look->held);
    uint64_t used = pages_count(look->view);
    look->report->pages_used = used;
    look->report->pages_held = look->held_count;
    *linked = used - look->held_count;
    if (error == 0 && used < look->held_count) {
        error = check_wrong(look, "%llu pages are in use, and %llu are held", check_number(used),
                            check_number(look->held_count));
    }
    return error != 0 ? error : check_backed(look);
}

/* `strict`: nobody has anything open. */
static int look_at(struct look *look, bool strict, uint64_t *linked)
{
    memset(look->report, 0, sizeof *look->report);
    int error = check_header(look, strict);
    error = error != 0 ? error : check_slots(look, strict);
    return error != 0 ? error : check_pages(look, linked);
}

int segment_check(struct view *view, uint64_t linked, uint32_t participants,
                  char what[SEGMENT_CHECK_TEXT])
{
    hf_check_report report;
    uint64_t found;
    struct look look = {.view = view, .report = &report};
    int error = look_at(&look, true, &found);
    if (error == 0 && report.participants != participants) {
        error = check_wrong(&look, "%u slots are taken, by %u participants",
                            (unsigned)report.participants, (unsigned)participants);
    }
    if (error == 0 && found != linked) {
        error =
            check_wrong(&look, "%llu pages are in use, %llu are held by something",
                        check_number(report.pages_used), check_number(report.pages_held + linked));
    }
    memcpy(what, report.what, SEGMENT_CHECK_TEXT);
    return error;
}

/* ---- for users --------------------------------------------------------------------------- */

/* Is anybody in the middle of something? */
static bool is_quiet(struct view *view)
{
    uint32_t slots = view_slots(view);
    bool quiet = ((load_acquire(&header_of(view)->pages_lock.word) |
                   load_acquire(&header_of(view)->names_lock.word)) &
                  LOCK_OWNER) == 0;
    for (uint32_t n = 1; n <= slots && quiet; n++) {
        const struct slot *slot = view_slot(view, n);
        uint64_t claim = load_acquire(&slot->claim);
        bool held = claim_by(claim) != 0 && claim_by(claim) != n; /* by who is at what is in it */
        quiet = load_relaxed(&slot->op) == OP_NONE && !held &&
                (claim & (CLAIM_CLAIMING | CLAIM_UNRECOVERED)) == 0;
    }
    return quiet;
}

/* What is wrong twice, the same way, with nobody in the middle of anything and nobody having been
   at the pages meanwhile, is damage. */
#define LOOKS 4u

int hf_check(hf_segment *segment, hf_check_report *report)
{
    hf_check_report unused;
    char before[HF_CHECK_TEXT] = "";
    if (!is_segment(segment)) {
        return -EINVAL;
    }
    struct look look = {.view = segment->view, .report = report != NULL ? report : &unused};
    int error = 0;
    for (unsigned i = 0; i < LOOKS; i++) {
        uint64_t linked = 0;
        uint64_t changes = load_acquire(&header_of(segment->view)->changes);
        bool quiet = is_quiet(segment->view);
        error = look_at(&look, false, &linked);
        look.report->pages_linked = linked;
        if (error == 0) {
            return 0;
        }
        quiet = quiet && is_quiet(segment->view) &&
                load_relaxed(&header_of(segment->view)->changes) == changes;
        if (quiet && strcmp(before, look.report->what) == 0) {
            return error;
        }
        memcpy(before, look.report->what, sizeof before);
    }
    return -EAGAIN;
}
