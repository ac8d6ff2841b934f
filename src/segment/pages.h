/* SPDX-License-Identifier: MIT */
/*
 * The segment's pages: runs of them are handed out and taken back, under the segment's own lock.
 *
 * Who holds a run is a *link*: a word in the segment that names the run by its first page's offset.
 * A run and its link change together, whenever the caller dies.
 */
#ifndef HF_SEGMENT_PAGES_H
#define HF_SEGMENT_PAGES_H

#include "segment/participant.h"

#define pages_alloc         hf_in_pages_alloc
#define pages_free          hf_in_pages_free
#define pages_settle        hf_in_pages_settle
#define pages_add_slots     hf_in_pages_add_slots
#define pages_give_back_log hf_in_pages_give_back_log
#define pages_reclaim_logs  hf_in_pages_reclaim_logs
#define pages_grow          hf_in_pages_grow
#define pages_trim          hf_in_pages_trim
#define pages_count         hf_in_pages_count
#define pages_count_free    hf_in_pages_count_free
#define pages_mark          hf_in_pages_mark
#define pages_make_root     hf_in_pages_make_root
#define pages_take_lock     hf_in_pages_take_lock
#define pages_free_lock     hf_in_pages_free_lock
#define pages_alloc_locked  hf_in_pages_alloc_locked
#define pages_find          hf_in_pages_find
#define pages_back          hf_in_pages_back
#define pages_record        hf_in_pages_record
#define pages_use           hf_in_pages_use
#define pages_release       hf_in_pages_release
#define pages_is_run        hf_in_pages_is_run
#define pages_are_used      hf_in_pages_are_used
#define pages_are_free      hf_in_pages_are_free

/* Room for `count` pages, named by the link, which is 0. All zero if `zeroed`. Grows the segment if
   there is no room and it may. -ENOMEM; -ENOSPC if the memory is not to be had; -EINVAL. */
int pages_alloc(struct participant *p, uint64_t count, uint64_t link, bool zeroed);

/* Takes the `count` pages back that the link names, and clears it. -EINVAL if it names no such.
   With `try_only`, -EBUSY if another is at the pages. */
int pages_free(struct participant *p, uint64_t count, uint64_t link, bool try_only);

/* Finishes or undoes what the slot's record says of a run with a link. Recovery's. */
void pages_settle(struct view *view, struct slot *slot);

/* One more run of slot pages. */
int pages_add_slots(struct participant *p);

/* The user's root of at least `size` bytes, unless there is one. */
int pages_make_root(struct participant *p, uint64_t size);

/* Gives back the log chunks of the slot, if that takes no waiting. */
void pages_give_back_log(struct participant *p);

/* Gives back what free slots keep of the dead's undo logs and reservations; false if there was
   nothing. Not while waiting for a lock: it uses the intent. */
bool pages_reclaim_logs(struct participant *p);

/* Extends the segment to `size` bytes (whole pages, at most the maximum); nothing if it is larger.
 */
int pages_grow(struct participant *p, uint64_t size);

/* Gives the memory of free pages back to the system; *bytes how much. */
int pages_trim(struct participant *p, uint64_t *bytes);

/* ---- with the lock, for who keeps more about a run than its link ------------------------- */

/* 0; -EBUSY with no time; -EBADMSG. */
int pages_take_lock(struct participant *p, int64_t timeout_ns);
void pages_free_lock(struct participant *p);

/* As pages_alloc, once. */
int pages_alloc_locked(struct participant *p, uint64_t count, uint64_t link, bool zeroed);

/* A free run with memory behind it, growing the segment if need be. -ENOMEM, -ENOSPC. */
int pages_find(struct view *view, uint64_t count, uint64_t *first);

/* Backs a run with memory. -ENOSPC. */
int pages_back(struct view *view, uint64_t first, uint64_t count);

/* Writes the slot's operation record, its kind last. */
void pages_record(struct slot *slot, uint64_t op, uint64_t first, uint64_t count, uint64_t link);

/* Marks the run as in use, or as free. */
void pages_use(struct view *view, uint64_t first, uint64_t count);
void pages_release(struct view *view, uint64_t first, uint64_t count);

/* Is that a run that is handed out at all; one whose pages are all in use; all free? */
bool pages_is_run(struct view *view, uint64_t first, uint64_t count);
bool pages_are_used(struct view *view, uint64_t first, uint64_t count);
bool pages_are_free(struct view *view, uint64_t first, uint64_t count);

/* How many pages are in use now. */
uint64_t pages_count(struct view *view);

/* How many are free, and how many of these in a row at most. */
void pages_count_free(struct view *view, uint64_t *all, uint64_t *longest);

/* Marks the pages that a segment in the making has for itself as used, and all there are as backed.
 */
void pages_mark(struct view *view);

#endif
