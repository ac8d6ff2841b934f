/* SPDX-License-Identifier: MIT */
/*
 * The deep check of the heap. Invariants, at every instant that nobody is in a call:
 *     chunk       a page of its own
 *     descriptor  free, or its pages are held by it alone, and their entries lead back to it
 *     span        taken only where there is a block; freed where there is none
 *     large       its pages are held by its first one's entry
 */
#include <errno.h>

#include "segment/census.h"
#include "segment/check.h"

static int hold_tables(struct look *look)
{
    struct view *view = look->view;
    struct segment_header *header = header_of(view);
    int error = 0;
    for (uint32_t run = 0; run < SPAN_RUNS && error == 0; run++) {
        uint64_t offset = load_relaxed(&header->span_runs[run]);
        error = offset != 0 ? check_hold(look, "a run of spans", offset, slot_run_pages(run)) : 0;
    }
    for (uint64_t page = 0; page < look->pages && error == 0; page += PAGES_PER_CHUNK) {
        uint64_t chunk = load_relaxed(&view->chunk_map[page / PAGES_PER_CHUNK]);
        error = chunk != 0 ? check_hold(look, "a chunk of the page table", chunk, 1) : 0;
    }
    return error;
}

/* Every page of the span leads to its descriptor. */
static int check_entries(struct look *look, const struct block *span)
{
    for (uint64_t i = 0; i < span->pages; i++) {
        struct block found;
        uint64_t offset = span->start + i * SEGMENT_PAGE;
        uint64_t into = (i * SEGMENT_PAGE) % class_size(span->class);
        uint64_t at = into == 0 ? offset : offset + class_size(span->class) - into;
        bool begins = at < offset + SEGMENT_PAGE && (at - span->start) / class_size(span->class) <
                                                        class_blocks(span->class, span->pages);
        if (begins && (block_find(look->view, at, &found) != 0 || found.span != span->span)) {
            return check_wrong(look, "page %llu of the span at %#llx leads elsewhere",
                               check_number(i), check_number(span->start));
        }
    }
    return 0;
}

static int check_span(struct look *look, const struct block *span)
{
    uint32_t blocks = class_blocks(span->class, span->pages);
    int error = check_hold(look, "a span", span->start, span->pages);
    error = error != 0 ? error : check_entries(look, span);
    for (uint32_t w = 0; w < SPAN_WORDS && error == 0; w++) {
        uint64_t mask = span_mask(blocks, w);
        if ((load_relaxed(&span->span->bits[w].taken) & ~mask) != 0 ||
            (load_relaxed(&span->span->bits[w].freed) | mask) != UINT64_MAX) {
            error = check_wrong(look, "the span at %#llx has bits beyond its blocks",
                                check_number(span->start));
        }
    }
    uint64_t used = census_of_span(span);
    look->report->blocks += used;
    look->report->bytes += used * class_size(span->class);
    return error;
}

static int check_spans(struct look *look)
{
    uint64_t count = spans_count(look->view);
    int error = 0;
    for (uint64_t n = 0; n < count && error == 0; n++) {
        struct block span;
        int found = span_look(look->view, span_at(look->view, n), &span);
        if (found == -EBADMSG) {
            error = check_wrong(look, "descriptor %llu describes no span", check_number(n));
        } else if (found == 0) {
            error = check_span(look, &span);
        }
    }
    return error;
}

/* Doomed ones hold their pages until somebody sweeps. */
static int check_large(struct look *look, uint64_t page)
{
    shared_u64 *at = page_entry(look->view, page);
    uint64_t entry = at == NULL ? 0 : load_relaxed(at);
    if ((entry & BLOCK_ENTRY) == 0) {
        return 0;
    }
    uint64_t pages = entry & BLOCK_PAGES;
    if ((entry & BLOCK_DOOMED) == 0) {
        look->report->blocks++;
        look->report->bytes += pages * SEGMENT_PAGE;
    }
    return check_hold(look, "a large block", page * SEGMENT_PAGE, pages);
}

int check_heap(struct look *look)
{
    int error = hold_tables(look);
    error = error != 0 ? error : check_spans(look);
    for (uint64_t first = 0; first < look->pages && error == 0; first += PAGES_PER_CHUNK) {
        uint64_t end = min_u64(look->pages, first + PAGES_PER_CHUNK);
        bool there = page_entry(look->view, first) != NULL;
        for (uint64_t page = first; there && page < end && error == 0; page++) {
            error = check_large(look, page);
        }
    }
    return error;
}
