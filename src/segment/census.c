/* SPDX-License-Identifier: MIT */
#include "segment/census.h"

#include <errno.h>
#include <string.h>

#include "segment/handle.h"
#include "segment/pages.h"

_Static_assert(HF_HEAP_CLASSES == CLASSES, "the public count of classes");

uint64_t census_of_span(const struct block *look)
{
    uint32_t blocks = class_blocks(look->class, look->pages);
    uint64_t used = 0;
    for (uint32_t w = 0; w < SPAN_WORDS; w++) {
        uint64_t in_use =
            load_relaxed(&look->span->bits[w].taken) & ~load_relaxed(&look->span->bits[w].freed);
        used += (uint64_t)__builtin_popcountll(in_use & span_mask(blocks, w));
    }
    return used;
}

static void add_span(struct view *view, const struct block *look, hf_heap_info *info)
{
    hf_heap_class *class = &info->classes[look->class];
    uint64_t used = census_of_span(look);
    class->spans++;
    class->blocks += class_blocks(look->class, look->pages);
    class->used += used;
    info->blocks += used;
    info->used += used * class_size(look->class);
    info->held += look->pages * SEGMENT_PAGE;
    info->orphans += heap_is_over(view, load_relaxed(&look->span->owner)) ? 1 : 0;
}

static void add_spans(struct view *view, const struct slot *of, hf_heap_info *info)
{
    uint64_t count = spans_count(view);
    uint64_t heap = of == NULL ? 0 : load_relaxed(&of->heap);
    for (uint64_t n = 0; n < count; n++) {
        struct block look;
        struct span *span = span_at(view, n);
        bool wanted = of == NULL || (heap != 0 && load_relaxed(&span->owner) == heap);
        if (wanted && span_look(view, span, &look) == 0) {
            add_span(view, &look, info);
        }
    }
}

/* The large blocks that begin in a chunk's pages. */
static void add_large(struct view *view, uint64_t first, uint64_t end, hf_heap_info *info)
{
    if (page_entry(view, first) == NULL) {
        return;
    }
    for (uint64_t page = first; page < end; page++) {
        struct block block;
        if (block_find(view, page * SEGMENT_PAGE, &block) == 0 && block.span == NULL) {
            info->large_blocks++;
            info->large_used += block.pages * SEGMENT_PAGE;
            info->blocks++;
            info->used += block.pages * SEGMENT_PAGE;
            info->held += block.pages * SEGMENT_PAGE;
        }
    }
}

void census_of_heap(struct view *view, const struct slot *of, hf_heap_info *info)
{
    memset(info, 0, sizeof *info);
    for (uint32_t c = 0; c < CLASSES; c++) {
        info->classes[c].size = class_size(c);
    }
    (void)view_refresh(view, 0, 0);
    info->size = load_relaxed(&view->known);
    add_spans(view, of, info);
    if (of != NULL) {
        return;
    }
    uint64_t pages = info->size / SEGMENT_PAGE;
    for (uint64_t first = 0; first < pages; first += PAGES_PER_CHUNK) {
        add_large(view, first, min_u64(pages, first + PAGES_PER_CHUNK), info);
    }
    pages_count_free(view, &info->free, &info->largest_free);
    info->free *= SEGMENT_PAGE;
    info->largest_free *= SEGMENT_PAGE;
}

int hf_heap_get_info(hf_segment *segment, hf_heap_info *info)
{
    if (!is_segment(segment) || info == NULL) {
        return -EINVAL;
    }
    census_of_heap(segment->view, NULL, info);
    return 0;
}

int hf_heap_get_info_of(hf_segment *segment, hf_participant who, hf_heap_info *info)
{
    if (!is_segment(segment) || info == NULL) {
        return -EINVAL;
    }
    struct slot *slot = view_slot(segment->view, (uint32_t)(who.value & SLOT_NUMBER_MAX));
    uint64_t turn = who.value >> CLAIM_BY_BITS;
    if (slot == NULL || claim_turn(load_relaxed(&slot->claim)) != turn) {
        memset(info, 0, sizeof *info);
        return 0;
    }
    census_of_heap(segment->view, slot, info);
    return 0;
}
