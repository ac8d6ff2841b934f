/* SPDX-License-Identifier: MIT */
/*
 * A reservation is a block with a link (heap_calls.c) in its participant's slot. The links lie in
 * the slot, then in pages, each of which begins with the offset of the next.
 */
#include "segment/reserve.h"

#include <errno.h>

#include "segment/pages.h"

#define PAGES_MAX 4096u /* a hostile list may be endless */

/* The words of the page that the link names, the first of them the link to the next; NULL. */
static shared_u64 *page_at(struct view *view, const shared_u64 *link)
{
    uint64_t page = load_relaxed(link);
    bool good = page != 0 && page % SEGMENT_PAGE == 0 && view_holds(view, page, SEGMENT_PAGE);
    return good ? (shared_u64 *)(void *)(view->base + page) : NULL;
}

static shared_u64 *find_among(shared_u64 *words, uint32_t count, uint64_t offset)
{
    for (uint32_t i = 0; i < count; i++) {
        if (load_relaxed(&words[i]) == offset) {
            return &words[i];
        }
    }
    return NULL;
}

/* The first word that holds `offset`; NULL, and then *last is the link that names no page yet. */
static shared_u64 *find_word(struct view *view, struct slot *slot, uint64_t offset,
                             shared_u64 **last)
{
    shared_u64 *word = find_among(slot->reserved, RESERVED, offset);
    *last = &slot->reserved_page;
    for (uint32_t n = 0; word == NULL && n < PAGES_MAX; n++) {
        shared_u64 *page = page_at(view, *last);
        if (page == NULL) {
            break;
        }
        word = find_among(page + 1, RESERVED_PER_PAGE, offset);
        *last = page;
    }
    return word;
}

shared_u64 *reserve_find(struct view *view, struct slot *slot, uint64_t offset)
{
    shared_u64 *last;
    return offset == 0 ? NULL : find_word(view, slot, offset, &last);
}

shared_u64 *reserve_place(struct participant *p, int *error)
{
    shared_u64 *last;
    shared_u64 *word = find_word(p->view, p->slot, 0, &last);
    *error = 0;
    if (word == NULL) {
        *error = heap_pages_alloc(p, 1, (uint64_t)((char *)last - p->view->base), true);
        shared_u64 *page = *error == 0 ? page_at(p->view, last) : NULL;
        word = page == NULL ? NULL : page + 1;
        *error = *error == 0 && word == NULL ? -EBADMSG : *error;
    }
    return word;
}

static void free_words(struct view *view, struct slot *slot, shared_u64 *words, uint32_t count)
{
    struct block block;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = load_relaxed(&words[i]);
        if (offset != 0 && block_find(view, offset, &block) == 0 && block_in_use(&block)) {
            (void)block_free_from(view, slot, &block, &words[i], 0, NULL);
        } else if (offset != 0) {
            HF_LOG_STORE(&words[i], 0);
        }
    }
}

void reserve_let_go(struct slot *slot, shared_u64 *word)
{
    HF_LOG_STORE(word, 0);
    HF_LOG_STORE(&slot->op, OP_NONE);
    HF_LOG_STORE(&slot->op_log, 0);
}

void reserve_free_all(struct view *view, struct slot *slot)
{
    free_words(view, slot, slot->reserved, RESERVED);
    shared_u64 *page = page_at(view, &slot->reserved_page);
    for (uint32_t n = 0; n < PAGES_MAX && page != NULL; n++) {
        free_words(view, slot, page + 1, RESERVED_PER_PAGE);
        page = page_at(view, page);
    }
}

/* The link that names the last page; NULL: there is none. */
static shared_u64 *last_link(struct view *view, struct slot *slot)
{
    shared_u64 *link = &slot->reserved_page;
    shared_u64 *last = NULL;
    shared_u64 *page;
    for (uint32_t n = 0; n < PAGES_MAX && (page = page_at(view, link)) != NULL; n++) {
        last = link;
        link = page;
    }
    return last;
}

void reserve_give_back(struct participant *p, struct slot *slot, bool try_only)
{
    shared_u64 *link;
    int error = 0;
    for (uint32_t n = 0; n < PAGES_MAX && error == 0; n++) { /* the last one first */
        link = last_link(p->view, slot);
        error = link == NULL ? -ENOENT
                             : pages_free(p, 1, (uint64_t)((char *)link - p->view->base), try_only);
    }
}
