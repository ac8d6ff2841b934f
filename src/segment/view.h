/* SPDX-License-Identifier: MIT */
/*
 * A process's view of a segment: one mapping and one descriptor, whatever the number of handles.
 *
 * A view is referenced by handles (hf_segment) and by the participants of this process's threads,
 * and goes with the last of them. The list of views is guarded by the process lock.
 */
#ifndef HF_SEGMENT_VIEW_H
#define HF_SEGMENT_VIEW_H

#include <stdbool.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "holdfast/memory.h"
#include "segment/heap_layout.h"
#include "segment/segment_layout.h"
#include "segment/slot_layout.h"

#define process_lock          hf_process_lock
#define process_unlock        hf_process_unlock
#define process_turn          hf_process_turn
#define view_find             hf_view_find
#define view_owns             hf_view_owns
#define view_excludes         hf_view_excludes
#define view_at               hf_view_at
#define view_make             hf_view_make
#define view_list             hf_view_list
#define view_drop             hf_view_drop
#define view_keep             hf_view_keep
#define view_retire           hf_view_retire
#define view_refresh          hf_view_refresh
#define view_slot_page        hf_view_slot_page
#define view_slot_page_offset hf_view_slot_page_offset
#define view_slots            hf_view_slots
#define view_run              hf_view_run
#define fork_word             hf_fork_word

typedef enum view_kind {
    VIEW_OBJECT, /* a memory object with a descriptor */
    VIEW_BUFFER, /* memory that the caller has mapped */
    VIEW_PRIVATE /* memory of this process alone: private, or a copy-on-write view */
} view_kind;

struct view {
    char *base;
    uint64_t maximum;    /* bytes mapped; the segment's maximum */
    uint64_t first_page; /* the header's geometry, checked once: it could be overwritten */
    shared_u64 *used_map;
    shared_u64 *backed_map;
    shared_u64 *chunk_map;
    _Atomic uint64_t known; /* bytes that are there for certain: never shrinks */
    view_kind kind;
    hf_access access;
    hf_memory *memory; /* NULL for a buffer and private memory */
    int fd;            /* the memory's; -1: none */
    uint64_t device;
    uint64_t inode;
    bool owns_mapping;
    bool private_memory; /* a forked child has a copy */
    unsigned handles;
    unsigned participants;
    char *_Atomic slot_runs[SLOT_RUNS]; /* addresses, once checked */
    char *_Atomic span_runs[SPAN_RUNS];
    hf_memory **spare; /* descriptors of the same object: closing one drops our byte locks */
    unsigned spares;
    struct view *next;
};

/* ---- the process ------------------------------------------------------------------------- */

/* Zero in a forked child; otherwise this process's turn, which no parent of it had. */
extern _Atomic uint64_t *_Atomic fork_word;

/* This process's turn. In a forked child it first makes what was inherited the child's. */
uint64_t process_turn(void);

/*
 * Guards the list of views and the claiming of slots by this process. Whoever holds it is neither
 * cancelled nor interrupted by a signal handler. -EDEADLK: it holds it already.
 */
int process_lock(void);
void process_unlock(void);

/* ---- views (all under the process lock) -------------------------------------------------- */

/* The view of that object with that access, or one with more; NULL. */
struct view *view_find(uint64_t device, uint64_t inode, hf_access access);

/* Is the memory a view's already? */
bool view_owns(const hf_memory *memory);

/* Has this process the object open in a way that `access` cannot stand beside? */
bool view_excludes(uint64_t device, uint64_t inode, hf_access access);

/* The view that the address lies in; NULL. */
struct view *view_at(const void *address);

/*
 * Makes a view of what has been mapped at `base`, not listed yet. It takes the memory over (NULL:
 * none), and the mapping too if owns_mapping.
 */
int view_make(char *base, uint64_t maximum, view_kind kind, hf_access access, hf_memory *memory,
              bool owns_mapping, struct view **view);

/*
 * Lists a view that is whole: from here on it is found, also by a child that another thread forks
 * while the process lock is held here, and in which nobody will go on with it.
 */
void view_list(struct view *view);

/* Keeps another descriptor of the view's object until the view goes. */
void view_keep(struct view *view, hf_memory *memory);

/* Closes memory that came to nothing, or has a view of the same object keep it. */
void view_retire(hf_memory *memory);

/* Frees the view if neither handle nor participant is left. */
void view_drop(struct view *view);

/* ---- looking into a view (any thread) ---------------------------------------------------- */

static inline struct segment_header *header_of(const struct view *view)
{
    return (struct segment_header *)(void *)view->base;
}

/* Learns of growth; true if [offset, offset + length) is there. */
bool view_refresh(struct view *view, uint64_t offset, uint64_t length);

/* Is the range inside the segment? Offsets out of shared memory are checked with this before use.
 */
static inline bool view_holds(struct view *view, uint64_t offset, uint64_t length)
{
    return range_within(offset, length, load_relaxed(&view->known)) ||
           view_refresh(view, offset, length);
}

/* An 8-aligned word in the segment, by its offset; NULL if there can be none. */
static inline shared_u64 *view_word(struct view *view, uint64_t offset)
{
    bool good = offset % 8 == 0 && offset >= sizeof(shared_u64) && view_holds(view, offset, 8);
    return good ? (shared_u64 *)(void *)(view->base + offset) : NULL;
}

/* A lock in the segment, by its offset; NULL if there can be none. */
static inline struct lock *view_lock_at(struct view *view, uint64_t offset)
{
    bool good = offset % 8 == 0 && offset != 0 && view_holds(view, offset, sizeof(struct lock));
    return good ? (struct lock *)(void *)(view->base + offset) : NULL;
}

/* How many slot numbers there are pages for: 1 up to that. */
uint32_t view_slots(struct view *view);

/* The page of a slot number, and its offset; NULL if there is none. */
struct slot_page *view_slot_page(struct view *view, uint32_t number);
uint64_t view_slot_page_offset(struct view *view, uint32_t number);

static inline struct slot *view_slot(struct view *view, uint32_t number)
{
    struct slot_page *page = view_slot_page(view, number);
    return page == NULL ? NULL : &page->slots[(number - 1) % SLOTS_PER_PAGE];
}

static inline shared_u32 *view_life(struct view *view, uint32_t number)
{
    struct slot_page *page = view_slot_page(view, number);
    return page == NULL ? NULL : &page->life[(number - 1) % SLOTS_PER_PAGE];
}

/* ---- runs of slot pages ------------------------------------------------------------------ */

static inline uint32_t slot_run_of_page(uint32_t page)
{
    return page == 0 ? 0 : 32 - (uint32_t)__builtin_clz(page);
}

static inline uint32_t slot_run_first_page(uint32_t run)
{
    return run == 0 ? 0 : UINT32_C(1) << (run - 1);
}

static inline uint64_t slot_run_pages(uint32_t run)
{
    return run == 0 ? 1 : UINT64_C(1) << (run - 1);
}

/* The address of one of several runs of so many pages each, whose offsets stand in the segment and
   are checked once: `known` keeps the addresses. NULL: it is not there. */
char *view_run(struct view *view, char *_Atomic *known, const shared_u64 *offsets, uint32_t run);

#endif
