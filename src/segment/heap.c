/* SPDX-License-Identifier: MIT */
/*
 * A thread's heap. Taking a block and freeing one of ours are one store each, in the span's
 * `taken`; freeing another's is one atomic operation on its `freed`. So neither can be torn: a
 * death leaves the block in use or not. The calls that have to change a link as well write a record
 * around it.
 */
#include "segment/heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "segment/names.h"
#include "segment/pages.h"
#include "segment/recovery.h"

/* How many descriptors are looked at for orphans before a new span is made. */
#define ORPHANS_AT_ONCE 32u

/* ---- lists ------------------------------------------------------------------------------- */

/* Nobody may jump out of malloc: wherever it is called here no signal comes. */
static bool list_enlarge(struct span_list *list)
{
    os_quiet quiet;
    uint32_t room = list->room == 0 ? 8 : list->room * 2;
    os_quiet_begin(&quiet);
    struct span **more = malloc(room * sizeof(struct span *));
    for (uint32_t i = 0; i < list->count && more != NULL; i++) {
        more[i] = list->spans[(list->first + i) & (list->room - 1)];
    }
    if (more != NULL) {
        free(list->spans);
        list->spans = more;
        list->first = 0;
        list->room = room;
    }
    os_quiet_end(&quiet);
    return more != NULL;
}

static bool list_push(struct span_list *list, struct span *span)
{
    if (list->count == list->room && !list_enlarge(list)) {
        return false;
    }
    list->spans[(list->first + list->count++) & (list->room - 1)] = span;
    return true;
}

/* The one that was pushed first; the list is not empty. */
static struct span *list_shift(struct span_list *list)
{
    struct span *span = list->spans[list->first];
    list->first = (list->first + 1) & (list->room - 1);
    list->count--;
    return span;
}

/* The span's place in the list is in its node, unless somebody has written there. */
static void owned_add(struct heap *heap, uint32_t class, struct span *span)
{
    struct span_list *owned = &heap->owned[class];
    if (list_push(owned, span)) {
        store_relaxed(&span->node, owned->count - 1);
    }
}

static void owned_remove(struct heap *heap, uint32_t class, struct span *span)
{
    heap->last.length = 0; /* it may be this one */
    struct span_list *owned = &heap->owned[class];
    uint32_t at = load_relaxed(&span->node);
    if (at >= owned->count || owned->spans[at] != span) {
        for (at = 0; at < owned->count && owned->spans[at] != span; at++) {
        }
    }
    if (at < owned->count) {
        struct span *last = owned->spans[--owned->count];
        owned->spans[at] = last;
        store_relaxed(&last->node, at);
    }
}

/* ---- bins -------------------------------------------------------------------------------- */

static uint32_t class_of_bin(const struct heap *heap, const struct bin *bin)
{
    return (uint32_t)(bin - heap->bins);
}

static void empty_bin(struct bin *bin)
{
    bin->avail = 0;
    bin->word = NULL;
    bin->span = NULL;
    bin->start = 0;
    bin->length = 0;
}

/* From the word of the bin's span on that has a block to take. What others have freed cannot be
   taken before it is collected: it may have been freed twice. */
static bool use_word(struct participant *p, struct bin *bin)
{
    struct span *span = bin->span;
    for (uint32_t w = 0; w * 64 < bin->blocks; w++) {
        uint64_t free = ~(load_relaxed(&span->bits[w].taken) | load_relaxed(&span->bits[w].freed));
        uint64_t avail = free & span_mask(bin->blocks, w); /* freed can be overwritten */
        if (avail != 0) {
            bin->avail = avail;
            bin->word = &span->bits[w].taken;
            bin->at = p->view->base + bin->start + (uint64_t)w * 64 * bin->size;
            return true;
        }
    }
    bin->avail = 0;
    return false;
}

/* Takes from this span from now on, if it is one of ours with a block to take. */
static bool use_span(struct participant *p, struct bin *bin, struct span *span)
{
    struct block look;
    uint32_t class = class_of_bin(p->heap, bin);
    if (load_relaxed(&span->owner) != p->heap->number || span_look(p->view, span, &look) != 0 ||
        look.class != class) {
        return false;
    }
    p->heap->reach = load_relaxed(&p->view->known) - SEGMENT_PAGE;
    bin->span = span;
    bin->start = look.start;
    bin->length = look.pages * SEGMENT_PAGE;
    bin->blocks = class_blocks(class, look.pages);
    if (use_word(p, bin)) {
        return true;
    }
    empty_bin(bin);
    return false;
}

static bool use_queue(struct participant *p, struct bin *bin)
{
    struct span_list *queue = &p->heap->queues[class_of_bin(p->heap, bin)];
    while (queue->count > 0) {
        if (use_span(p, bin, list_shift(queue))) {
            return true;
        }
    }
    return false;
}

/* Looks at some of ours, in turn, for what others have freed: an eighth of them, so that what lies
   fallow stays in proportion. */
static bool use_freed(struct participant *p, struct bin *bin)
{
    uint32_t class = class_of_bin(p->heap, bin);
    struct span_list *owned = &p->heap->owned[class];
    uint32_t *next = &p->heap->next_owned[class];
    uint32_t looks = owned->count < 8 ? owned->count : 8 + owned->count / 8;
    for (uint32_t i = 0; i < looks && i < owned->count; i++) {
        *next = *next + 1 < owned->count ? *next + 1 : 0;
        struct span *span = owned->spans[*next];
        if (span_collect(p->view, span) && use_span(p, bin, span)) {
            return true;
        }
    }
    return false;
}

/* None of its blocks is taken. */
static bool is_empty(struct span *span)
{
    uint64_t taken = 0;
    for (uint32_t w = 0; w < SPAN_WORDS; w++) {
        taken |= load_relaxed(&span->bits[w].taken);
    }
    return taken == 0;
}

/* One that has just become ours. */
static void welcome(struct participant *p, struct span *span)
{
    struct block look;
    if (span_look(p->view, span, &look) != 0 || load_relaxed(&span->owner) != p->heap->number) {
        return; /* it was free by the time that it became ours; another has made a new one of it */
    }
    (void)span_collect(p->view, span);
    if (is_empty(span)) {
        span_give_back(p, span);
        return;
    }
    owned_add(p->heap, look.class, span);
    (void)list_push(&p->heap->queues[look.class], span);
}

/* Adopts what is to be had of the next `most` spans. */
static void adopt_some(struct participant *p, uint64_t most)
{
    struct heap *heap = p->heap;
    uint64_t ended = load_acquire(&header_of(p->view)->orphans); /* partner: heap_end */
    if (heap->next_orphan == 0 && heap->orphans == ended) {
        return;
    }
    if (heap->next_orphan == 0) {
        heap->orphans = ended;
    }
    uint64_t count = spans_count(p->view);
    for (; most > 0 && heap->next_orphan < count; most--) {
        struct span *span = span_at(p->view, heap->next_orphan++);
        if (load_relaxed(&span->start) != 0 && span_adopt(p->view, span, heap->number)) {
            welcome(p, span);
        }
    }
    if (heap->next_orphan >= count) {
        heap->next_orphan = 0;
    }
}

static int use_new(struct participant *p, struct bin *bin, uint32_t pages)
{
    struct span *span;
    uint32_t class = class_of_bin(p->heap, bin);
    int error = span_make(p, p->heap->number, class, pages, &span);
    if (error != 0) {
        return error;
    }
    owned_add(p->heap, class, span);
    return use_span(p, bin, span) ? 0 : -EBADMSG;
}

/* A segment of less than this has few pages to each class. */
#define FEW_PAGES (UINT64_C(1024))

static uint32_t pages_for(const struct view *view, uint32_t class)
{
    return view->maximum / SEGMENT_PAGE < FEW_PAGES ? class_few_pages(class)
                                                    : size_classes[class].pages;
}

/* What is left before memory is exhausted: everything that is not in use, and smaller spans. */
static int use_last_resort(struct participant *p, struct bin *bin)
{
    uint32_t class = class_of_bin(p->heap, bin);
    heap_relieve(p);
    if (use_queue(p, bin)) {
        return 0;
    }
    uint32_t least = (class_size(class) + 4095) / 4096;
    int error = use_new(p, bin, pages_for(p->view, class));
    return error == -ENOMEM || error == -ENOSPC ? use_new(p, bin, least) : error;
}

int heap_peek(struct participant *p, struct bin *bin)
{
    if (bin->avail != 0) {
        return 0;
    }
    if (bin->span != NULL && use_word(p, bin)) {
        return 0;
    }
    empty_bin(bin);
    if (use_queue(p, bin) || use_freed(p, bin)) {
        return 0;
    }
    adopt_some(p, ORPHANS_AT_ONCE);
    if (use_queue(p, bin)) {
        return 0;
    }
    int error = use_new(p, bin, pages_for(p->view, class_of_bin(p->heap, bin)));
    return error == -ENOMEM || error == -ENOSPC ? use_last_resort(p, bin) : error;
}

/* ---- the heap ---------------------------------------------------------------------------- */

static struct heap *new_heap(struct participant *p)
{
    os_quiet quiet;
    os_quiet_begin(&quiet);
    p->heap = calloc(1, sizeof *p->heap);
    os_quiet_end(&quiet);
    return p->heap;
}

struct heap *heap_of(struct participant *p)
{
    if (likely(p->heap != NULL)) {
        return p->heap;
    }
    struct heap *heap = new_heap(p);
    if (heap == NULL) {
        return NULL;
    }
    for (uint32_t c = 0; c < CLASSES; c++) {
        heap->bins[c].size = class_size(c);
        heap->bins[c].reciprocal = size_classes[c].reciprocal;
    }
    heap->recent = &heap->bins[0];
    uint64_t number = fetch_add_relaxed(&header_of(p->view)->heaps, 1) + 1;
    heap->number = number << 12 | p->number;
    HF_LOG_PUBLISH(&p->slot->heap, heap->number); /* partner: heap_is_over */
    return heap;
}

void heap_end(struct view *view, struct slot *slot)
{
    struct segment_header *header = header_of(view);
    if (load_relaxed(&slot->heap) != 0) {
        (void)fetch_add_relaxed(&header->orphans, 1); /* twice: a death in between is no loss */
        HF_LOG_PUBLISH(&slot->heap, 0);               /* partner: heap_is_over */
        (void)fetch_add_release(&header->orphans, 1); /* partner: adopt_some */
    }
}

void heap_forget(struct participant *p)
{
    struct heap *heap = p->heap;
    os_quiet quiet;
    os_quiet_begin(&quiet);
    p->heap = NULL;
    free(p->dead);
    p->dead = NULL;
    p->dead_count = p->dead_room = 0;
    for (uint32_t c = 0; heap != NULL && c < CLASSES; c++) {
        free(heap->queues[c].spans);
        free(heap->owned[c].spans);
    }
    free(heap);
    os_quiet_end(&quiet);
}

/* Gives back ours of that class that are empty, its bin's as well. */
static void give_back_empty(struct participant *p, uint32_t class)
{
    struct heap *heap = p->heap;
    struct span_list *owned = &heap->owned[class];
    for (uint32_t i = owned->count; i-- > 0;) {
        struct span *span = owned->spans[i];
        if (load_relaxed(&span->owner) != heap->number) {
            continue;
        }
        bool collected = span_collect(p->view, span);
        if (is_empty(span)) {
            if (heap->bins[class].span == span) {
                empty_bin(&heap->bins[class]);
            }
            owned_remove(heap, class, span);
            span_give_back(p, span);
        } else if (collected) {
            (void)list_push(&heap->queues[class], span);
        }
    }
}

void heap_relieve(struct participant *p)
{
    (void)recovery_of_all(p); /* what the dead have is in use until then */
    names_sweep(p);
    (void)large_sweep(p);
    if (heap_of(p) == NULL) {
        return;
    }
    p->heap->next_orphan = 0;
    p->heap->orphans = UINT64_MAX;
    adopt_some(p, UINT64_MAX);
    for (uint32_t c = 0; c < CLASSES; c++) {
        give_back_empty(p, c);
    }
}

/* ---- blocks ------------------------------------------------------------------------------ */

static int alloc_large(struct participant *p, uint64_t size, uint64_t *offset)
{
    int error = heap_large_open(p, size, 0, offset);
    if (error == 0) {
        large_close(p);
    }
    return error;
}

int heap_pages_alloc(struct participant *p, uint64_t count, uint64_t link, bool zeroed)
{
    int error = pages_alloc(p, count, link, zeroed);
    if (error == -ENOMEM || error == -ENOSPC) {
        heap_relieve(p);
        error = pages_alloc(p, count, link, zeroed);
    }
    return error;
}

int heap_large_open(struct participant *p, uint64_t size, uint64_t link, uint64_t *offset)
{
    uint64_t pages = round_up(size, SEGMENT_PAGE) / SEGMENT_PAGE;
    int error = large_open(p, pages, link, offset);
    if (error == -ENOMEM || error == -ENOSPC) {
        heap_relieve(p);
        error = large_open(p, pages, link, offset);
    }
    return error;
}

int heap_alloc(struct participant *p, uint64_t size, uint64_t *offset)
{
    if (size > SEGMENT_SIZE_MAX) {
        return -ENOMEM;
    }
    if (size > CLASS_MAX) {
        return alloc_large(p, size, offset);
    }
    struct heap *heap = heap_of(p);
    if (heap == NULL) {
        return -ENOMEM;
    }
    struct bin *bin = &heap->bins[class_of(size)];
    int error = heap_peek(p, bin);
    if (error == 0) {
        heap->recent = bin;
        *offset = (uint64_t)(bin->at - p->view->base) + bin_take(bin) * bin->size;
    }
    return error;
}

uint64_t heap_aligned_size(uint64_t alignment, uint64_t size)
{
    uint64_t wanted = round_up(size, alignment);
    while (wanted <= CLASS_MAX && class_size(class_of(wanted)) % alignment != 0) {
        wanted += alignment;
    }
    return wanted;
}

/*
 * Into a link     (1) record (block, link)
 *                 (2) taken
 *                 (3) link
 *                 (4) record cleared
 */
int heap_alloc_into(struct participant *p, uint64_t size, shared_u64 *link, uint64_t *offset)
{
    struct heap *heap = heap_of(p);
    uint64_t at = (uint64_t)((char *)link - p->view->base);
    if (heap == NULL || size > SEGMENT_SIZE_MAX) {
        return -ENOMEM;
    }
    if (size > CLASS_MAX) {
        int error = heap_large_open(p, size, at, offset);
        if (error == 0) {
            HF_LOG_PUBLISH(link, *offset); /* partner: whoever follows it */
            large_close(p);
        }
        return error;
    }
    struct bin *bin = &heap->bins[class_of(size)];
    int error = heap_peek(p, bin);
    if (error != 0) {
        return error;
    }
    *offset = heap_next(p, bin);
    pages_record(p->slot, OP_ALLOC, *offset, 0, at);
    (void)bin_take(bin);
    HF_LOG_PUBLISH(link, *offset); /* partner: whoever follows it */
    HF_LOG_STORE(&p->slot->op, OP_NONE);
    return 0;
}

/* None of the blocks of its other words is to be had. Of blocks as large as this there are 64 at
 * most. */
#define ONE_WORD_SIZE 256u

static bool rest_is_full(struct span *span, uint32_t class, uint32_t word)
{
    if (class_size(class) >= ONE_WORD_SIZE) {
        return true;
    }
    uint64_t none = UINT64_MAX;
    for (uint32_t w = 0; w < SPAN_WORDS; w++) {
        none &= w == word ? UINT64_MAX
                          : load_relaxed(&span->bits[w].taken) | load_relaxed(&span->bits[w].freed);
    }
    return none == UINT64_MAX;
}

/* A bit of the word, which was `was`, has been cleared. */
static inline void list_freed(struct participant *p, struct span *span, uint32_t class,
                              uint32_t word, uint64_t was, uint64_t bit)
{
    struct heap *heap = p->heap;
    struct bin *bin = &heap->bins[class];
    if (bin->span == span) { /* its other words it will look at */
        bin->avail |= bin->word == &span->bits[word].taken ? bit : 0;
    } else if (unlikely(was == bit && is_empty(span))) {
        owned_remove(heap, class, span);
        span_give_back(p, span);
    } else if ((was | load_relaxed(&span->bits[word].freed)) == UINT64_MAX &&
               rest_is_full(span, class, word)) {
        (void)list_push(&heap->queues[class], span);
    }
}

void heap_list_freed(struct participant *p, struct span *span, uint32_t class, uint32_t word)
{
    if (p->heap->bins[class].span != span && rest_is_full(span, class, word)) {
        (void)list_push(&p->heap->queues[class], span);
    }
}

void heap_freed(struct participant *p, const struct block *block, uint64_t was)
{
    if (p->heap != NULL) {
        list_freed(p, block->span, block->class, block->index / 64, was, block_bit(block));
    }
}

int heap_free_from(struct participant *p, const struct block *block, shared_u64 *link,
                   uint64_t next, shared_u64 *changes)
{
    if (block->span == NULL) {
        return large_free(p, block->start, (uint64_t)((char *)link - p->view->base), next, changes);
    }
    bool own = block_is_of(block, p->slot);
    uint64_t was = block_free_from(p->view, p->slot, block, link, next, changes);
    if (own) {
        heap_freed(p, block, was);
    }
    return 0;
}

int heap_free_others(const struct block *block)
{
    uint32_t word = block->index / 64;
    uint64_t bit = block_bit(block);
    if ((load_relaxed(&block->span->bits[word].taken) & bit) == 0) {
        return -EINVAL;
    }
    crash_fence();
    uint64_t was =
        fetch_or_release(&block->span->bits[word].freed, bit); /* partner: span_collect */
    crash_fence();
    return (was & bit) == 0 ? 0 : -EINVAL;
}

int heap_free(struct participant *p, uint64_t offset)
{
    struct block block;
    struct heap *heap = heap_of(p);
    int error = heap == NULL ? -ENOMEM : block_find(p->view, offset, &block);
    if (unlikely(error != 0)) {
        return error;
    }
    if (unlikely(block.span == NULL)) {
        return large_free(p, offset, 0, 0, NULL);
    }
    if (load_relaxed(&block.span->owner) != heap->number) {
        return heap_free_others(&block);
    }
    uint32_t word = block.index / 64;
    uint64_t bit = block_bit(&block);
    uint64_t was = load_relaxed(&block.span->bits[word].taken);
    if (unlikely((was & ~load_relaxed(&block.span->bits[word].freed) & bit) == 0)) {
        return -EINVAL; /* freed already */
    }
    HF_LOG_STORE(&block.span->bits[word].taken, was & ~bit);
    list_freed(p, block.span, block.class, word, was, bit);
    return 0;
}
