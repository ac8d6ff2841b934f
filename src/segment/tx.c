/* SPDX-License-Identifier: MIT */
/*
 * Crash order of a transaction:
 *     begin    (1) tx_base = held
 *              (2) tx = ACTIVE
 *     add      (3) old bytes and trailer
 *              (4) log_used counts them: only then may the caller write
 *     commit   (5) tx = COMMITTED: the commit point
 *              (6) log_used = 0
 *              (7) locks unlocked inside are freed
 *              (8) tx = NONE
 *     abort    (9) old bytes back, latest first
 *             (10) tx = ABORTED, then (6) to (8)
 * Recovery does (9) while tx is ACTIVE, and then (6) to (8). Blocks that were allocated are freed
 * in (9), those that were freed after (5); each is taken off the log as it is freed.
 */
#include <errno.h>
#include <string.h>

#include "holdfast/tx.h"
#include "segment/handle.h"
#include "segment/heap.h"
#include "segment/lock.h"
#include "segment/names.h"
#include "segment/pages.h"
#include "segment/recovery.h"
#include "segment/tx.h"

#define LOG_MAX (LOG_INLINE + (UINT64_C(1) << LOG_CHUNKS) * SEGMENT_PAGE)
#define UNIT    UINT64_C(16) /* everything in a log is a multiple of it */

/* ---- where in the log -------------------------------------------------------------------- */

/* A part of the log that lies in one piece. */
struct area {
    uint64_t start; /* position of its first byte */
    uint64_t end;
    char *bytes; /* NULL: not there */
};

static struct area slot_area(struct slot *slot)
{
    return (struct area){0, LOG_INLINE, (char *)slot->log};
}

static struct area chunk_area(struct view *view, struct slot *slot, uint32_t k)
{
    uint64_t pages = UINT64_C(1) << k;
    uint64_t start = LOG_INLINE + (pages - 1) * SEGMENT_PAGE;
    uint64_t offset = load_relaxed(&slot->log_chunks[k]);
    bool there =
        offset != 0 && offset % SEGMENT_PAGE == 0 && view_holds(view, offset, pages * SEGMENT_PAGE);
    return (struct area){start, start + pages * SEGMENT_PAGE, there ? view->base + offset : NULL};
}

/* Where the area ends that the position lies in; at a border, the one that starts there. */
static uint64_t area_end(uint64_t position)
{
    if (position < LOG_INLINE) {
        return LOG_INLINE;
    }
    uint64_t pages = (position - LOG_INLINE) / SEGMENT_PAGE + 1;
    uint64_t chunk = UINT64_C(1) << (63 - (uint32_t)__builtin_clzll(pages));
    return LOG_INLINE + (2 * chunk - 1) * SEGMENT_PAGE;
}

/* The area that the position lies in; at a border, the one that starts there. */
static struct area area_at(struct view *view, struct slot *slot, uint64_t position)
{
    if (position < LOG_INLINE) {
        return slot_area(slot);
    }
    uint64_t pages = (position - LOG_INLINE) / SEGMENT_PAGE + 1;
    uint32_t k = 63 - (uint32_t)__builtin_clzll(pages);
    return k < LOG_CHUNKS ? chunk_area(view, slot, k) : (struct area){position, position, NULL};
}

/* Makes sure that the log has room up to `end`. */
static int have_room(struct participant *p, uint64_t end)
{
    for (uint32_t k = 0; LOG_INLINE + ((UINT64_C(1) << k) - 1) * SEGMENT_PAGE < end; k++) {
        if (k == LOG_CHUNKS) {
            return -ENOMEM;
        }
        if (load_relaxed(&p->slot->log_chunks[k]) == 0) {
            uint64_t link = (uint64_t)((char *)&p->slot->log_chunks[k] - p->view->base);
            int error = heap_pages_alloc(p, UINT64_C(1) << k, link, false);
            if (error != 0) {
                return error == -ENOSPC ? -ENOMEM : error;
            }
        }
    }
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------- */

static inline void save_bytes(char *to, const char *from, uint64_t length)
{
    uint64_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        HF_LOG_STORE((shared_u64 *)(void *)(to + i), word);
    }
    if (i < length) {
        uint64_t word = 0;
        memcpy(&word, from + i, (size_t)(length - i));
        HF_LOG_STORE((shared_u64 *)(void *)(to + i), word);
    }
}

/* Appends one entry at `used`, which has room in its area; saves nothing if offset is 0. */
static inline void append(struct participant *p, struct area area, uint64_t used, uint64_t offset,
                          uint64_t length)
{
    uint64_t padded = round_up(length, UNIT);
    char *at = area.bytes + (used - area.start);
    struct log_trailer *trailer = (struct log_trailer *)(void *)(at + padded);
    if (offset != 0) {
        save_bytes(at, p->view->base + offset, length);
    }
    HF_LOG_STORE(&trailer->offset, offset);
    HF_LOG_STORE(&trailer->length, length);
    HF_LOG_STORE(&p->slot->log_used, used + padded + sizeof *trailer);
}

/* How long the next piece of an entry of `length` bytes is, where the area has `room` left; 0: only
   padding fits. */
static uint64_t next_piece(uint64_t length, uint64_t room)
{
    return room < 2 * UNIT ? 0 : min_u64(length, room - UNIT);
}

/* Where the log ends once `length` bytes are saved in one entry, from `used` on. */
static uint64_t end_after(uint64_t used, uint64_t length)
{
    uint64_t piece = 0;
    for (; length > 0 && used < LOG_MAX; length -= piece) {
        uint64_t room = area_end(used) - used;
        piece = next_piece(length, room);
        used += piece == 0 ? room : round_up(piece, UNIT) + UNIT;
    }
    return used;
}

static int add_in_pieces(struct participant *p, uint64_t used, uint64_t offset, uint64_t length)
{
    int error = have_room(p, end_after(used, length));
    while (error == 0 && length > 0) {
        struct area area = area_at(p->view, p->slot, used);
        uint64_t room = area.end - used;
        if (area.bytes == NULL) {
            return -EBADMSG;
        }
        uint64_t piece = next_piece(length, room);
        if (piece == 0) {
            append(p, area, used, 0, room - UNIT);
        } else {
            append(p, area, used, offset, piece);
        }
        used += round_up(piece == 0 ? room - UNIT : piece, UNIT) + UNIT;
        offset += piece;
        length -= piece;
    }
    return error;
}

int tx_add(struct participant *p, uint64_t offset, uint64_t length)
{
    if (p->tx_depth == 0 || offset == 0 || length > SEGMENT_SIZE_MAX ||
        !view_holds(p->view, offset, length)) {
        return -EINVAL;
    }
    if (tx_state(p->slot) != TX_ACTIVE) {
        return -ECANCELED;
    }
    uint64_t used = load_relaxed(&p->slot->log_used);
    uint64_t padded = round_up(length, UNIT);
    if (used % UNIT != 0 || used > LOG_MAX) {
        return -EBADMSG;
    }
    if (length == 0) {
        return 0;
    }
    if (used + padded + UNIT <= LOG_INLINE) { /* most of the time */
        append(p, slot_area(p->slot), used, offset, length);
        return 0;
    }
    return add_in_pieces(p, used, offset, length);
}

int tx_block_position(struct participant *p, uint64_t *used)
{
    *used = load_relaxed(&p->slot->log_used);
    if (tx_state(p->slot) != TX_ACTIVE) {
        return -ECANCELED;
    }
    if (*used % UNIT != 0 || *used > LOG_MAX) {
        return -EBADMSG;
    }
    return have_room(p, *used + UNIT);
}

int tx_add_block(struct participant *p, uint64_t kind, uint64_t offset)
{
    uint64_t used;
    int error = tx_block_position(p, &used);
    if (error != 0) {
        return error;
    }
    struct area area = area_at(p->view, p->slot, used);
    if (area.bytes == NULL) {
        return -EBADMSG;
    }
    struct log_trailer *trailer = (struct log_trailer *)(void *)(area.bytes + (used - area.start));
    p->tx_frees = p->tx_frees || kind == LOG_FREED || kind == LOG_DESTROYED;
    HF_LOG_STORE(&trailer->offset, offset);
    HF_LOG_STORE(&trailer->length, kind << LOG_KIND_SHIFT);
    HF_LOG_STORE(&p->slot->log_used, used + UNIT);
    return 0;
}

/* Where the log ends at most once entries of `bytes` in all are saved, 32 counted for each. At the
   end of an area 16 bytes can be lost, and the entry that crosses has one trailer more: 32 an area.
 */
static uint64_t end_of_several(uint64_t used, uint64_t bytes)
{
    uint64_t end = used + round_up(bytes, UNIT) + UNIT;
    for (uint64_t border = area_end(used); border < end && border < LOG_MAX;
         border = area_end(border)) {
        end += 2 * UNIT;
    }
    return end;
}

int tx_reserve(struct participant *p, uint64_t bytes)
{
    if (p->tx_depth == 0 || bytes > SEGMENT_SIZE_MAX) {
        return -EINVAL;
    }
    if (tx_state(p->slot) != TX_ACTIVE) {
        return -ECANCELED;
    }
    uint64_t used = load_relaxed(&p->slot->log_used);
    if (used % UNIT != 0 || used > LOG_MAX) {
        return -EBADMSG;
    }
    return have_room(p, end_of_several(used, bytes));
}

/* ---- undoing ----------------------------------------------------------------------------- */

/* The last entry of a log that ends at `position`. */
struct entry {
    uint64_t start; /* its position */
    uint64_t offset;
    uint64_t length;
    uint64_t kind;
    const char *bytes;
};

/* False: damaged. */
static bool entry_before(struct view *view, struct slot *slot, uint64_t position,
                         struct entry *entry)
{
    struct area area = area_at(view, slot, position - 1);
    if (area.bytes == NULL || position % UNIT != 0) {
        return false;
    }
    const struct log_trailer *trailer =
        (const void *)(area.bytes + (position - sizeof *trailer - area.start));
    uint64_t room = position - sizeof *trailer - area.start;
    uint64_t length = load_relaxed(&trailer->length);
    entry->offset = load_relaxed(&trailer->offset);
    entry->kind = length >> LOG_KIND_SHIFT;
    entry->length = length & LOG_LENGTH;
    if (entry->length > room || round_up(entry->length, UNIT) > room) {
        return false;
    }
    entry->start = position - sizeof *trailer - round_up(entry->length, UNIT);
    entry->bytes = area.bytes + (entry->start - area.start);
    return true;
}

static void restore(struct view *view, const struct entry *entry)
{
    if (entry->offset != 0 && view_holds(view, entry->offset, entry->length)) {
        memmove(view->base + entry->offset, entry->bytes, (size_t)entry->length);
        crash_fence();
    }
}

/* Frees the entry's block, and the log ends before it. */
static void free_entry(struct view *view, struct slot *slot, struct participant *p,
                       const struct entry *entry)
{
    struct block block;
    if (block_find(view, entry->offset, &block) != 0 || !block_in_use(&block)) {
        HF_LOG_STORE(&slot->log_used, entry->start);
        return;
    }
    bool own = block_is_of(&block, slot);
    uint64_t was = block_free_logged(view, slot, &block, entry->start);
    if (own && p != NULL) {
        heap_freed(p, &block, was);
    }
}

void log_unwind(struct view *view, struct slot *slot, struct participant *p, bool committed)
{
    struct entry entry;
    uint64_t position = load_relaxed(&slot->log_used);
    while (position >= UNIT && entry_before(view, slot, position, &entry)) {
        if (entry.kind == LOG_BYTES && !committed) {
            restore(view, &entry);
        } else if (entry.kind == (committed ? LOG_FREED : LOG_ALLOCATED)) {
            /* What comes after it is done: who jumps out of here leaves this entry the last. */
            HF_LOG_STORE(&slot->log_used, position);
            free_entry(view, slot, p, &entry);
        } else if (entry.kind == (committed ? LOG_DESTROYED : LOG_CONSTRUCTED)) {
            names_kill(view, slot, p, entry.offset);
            HF_LOG_STORE(&slot->log_used, entry.start);
        }
        position = entry.start;
    }
}

void tx_take_back(struct participant *p, uint64_t count)
{
    struct entry entry;
    uint64_t position;
    while (count-- > 0 && (position = load_relaxed(&p->slot->log_used)) >= UNIT &&
           entry_before(p->view, p->slot, position, &entry) && entry.kind == LOG_ALLOCATED) {
        free_entry(p->view, p->slot, p, &entry);
    }
    (void)large_sweep(p);
}

void log_drop_unfinished(struct view *view, struct slot *slot)
{
    struct entry entry;
    struct block block;
    uint64_t position = load_relaxed(&slot->log_used);
    uint64_t tx = tx_state(slot);
    bool last = (tx == TX_ACTIVE || tx == TX_COMMITTED) && position >= UNIT &&
                entry_before(view, slot, position, &entry) &&
                entry.kind == (tx == TX_ACTIVE ? LOG_ALLOCATED : LOG_FREED);
    if (last && (block_find(view, entry.offset, &block) != 0 || !block_in_use(&block))) {
        HF_LOG_STORE(&slot->log_used, entry.start);
    }
}

/* ---- begin and end ----------------------------------------------------------------------- */

int tx_begin(struct participant *p)
{
    struct slot *slot = p->slot;
    if (p->tx_depth > 0 && tx_state(slot) != TX_ACTIVE) {
        return -ECANCELED;
    }
    if (p->tx_depth == 0) {
        HF_LOG_STORE(&slot->tx_base, load_relaxed(&slot->held));
        uint64_t number = (load_relaxed(&slot->tx) >> TX_NUMBER_SHIFT) + 1;
        HF_LOG_STORE(&slot->tx, number << TX_NUMBER_SHIFT | TX_ACTIVE);
        p->tx_frees = false;
        p->tx_aborting = false;
    }
    p->tx_depth++;
    return 0;
}

/* (7): frees the locks that were unlocked, and believes those that were mended if it is committed.
 */
static void end_locks(struct participant *p, bool committed)
{
    uint64_t at = load_relaxed(&p->slot->held);
    for (uint64_t i = 0; i < locks_at_most(p->view) && at != 0; i++) {
        struct lock *lock = view_lock_at(p->view, at);
        if (lock == NULL || (load_relaxed(&lock->word) & LOCK_OWNER) != p->number) {
            return; /* damaged: a list in a circle ends here, too */
        }
        uint64_t next = load_relaxed(&lock->next);
        if ((next & LOCK_UNLOCK_LATER) != 0) {
            lock_free_as(p, lock, at, lock_verdict_at_end(next, committed));
        } else if ((next & LOCK_MENDED) != 0) {
            if (committed) {
                (void)fetch_and_relaxed(&lock->word, ~LOCK_OWNER_DIED);
            }
            HF_LOG_STORE(&lock->next, next & ~LOCK_MENDED);
        }
        at = next & LOCK_NEXT_OFFSET;
    }
}

/* Ends a transaction that is committed or undone. */
static void finish(struct participant *p, bool committed)
{
    if (committed && p->tx_frees) {
        log_unwind(p->view, p->slot, p, true);
    }
    HF_LOG_STORE(&p->slot->log_used, 0);
    if (load_relaxed(&p->slot->held) != 0) {
        end_locks(p, committed);
    }
    tx_set(p->slot, TX_NONE);
}

/* An inner level has aborted it when it is open and yet not active. */
int tx_end(struct participant *p)
{
    if (p->tx_depth == 0) {
        return -EINVAL;
    }
    if (p->tx_aborting && tx_state(p->slot) == TX_ACTIVE) { /* jumped out of, half undone */
        (void)tx_abort(p);
        return -ECANCELED;
    }
    if (tx_state(p->slot) != TX_ACTIVE) {
        p->tx_depth--;
        return -ECANCELED;
    }
    if (p->tx_depth == 1) {
        tx_set(p->slot, TX_COMMITTED);
        p->tx_depth = 0; /* from here on it is committed, wherever the thread jumps to */
        finish(p, true);
        if (p->tx_frees) {
            (void)large_sweep(p);
            names_bury(p);
        }
        return 0;
    }
    p->tx_depth--;
    return 0;
}

int tx_abort(struct participant *p)
{
    if (p->tx_depth == 0) {
        return -EINVAL;
    }
    if (tx_state(p->slot) == TX_ACTIVE) {
        p->tx_aborting = true; /* whoever jumps out of it cannot commit what is left */
        crash_fence();
        log_unwind(p->view, p->slot, p, false);
        tx_set(p->slot, TX_ABORTED);
        finish(p, false);
        (void)large_sweep(p);
        names_bury(p);
    }
    p->tx_depth--;
    return 0;
}

void tx_settle(struct participant *p)
{
    struct segment_header *header = header_of(p->view);
    if (tx_state(p->slot) != TX_NONE && load_relaxed(&header->names) != 0) {
        /* An object may have been marked dead and not counted: whoever changes names next looks. */
        (void)fetch_add_release(&header->names_dead, 1); /* partner: bury_all */
    }
    switch (tx_state(p->slot)) {
    case TX_COMMITTED:
        finish(p, true);
        p->tx_depth = 0;
        break;
    case TX_ABORTED:
        finish(p, false);
        p->tx_depth -= p->tx_depth > 0 ? 1 : 0;
        break;
    default:
        if (p->tx_depth == 0) { /* it had only begun to begin */
            tx_set(p->slot, TX_NONE);
        }
        break;
    }
}

/* ---- the public calls -------------------------------------------------------------------- */

int hf_tx_begin(hf_segment *segment)
{
    struct participant *p;
    int error = enter(segment, &p);
    return error != 0 ? error : call_end(p, tx_begin(p));
}

int hf_tx_add(hf_segment *segment, const void *address, size_t length)
{
    struct participant *p;
    int error = enter(segment, &p);
    if (error != 0) {
        return error;
    }
    return call_end(p, tx_add(p, (uint64_t)((const char *)address - p->view->base), length));
}

int hf_tx_reserve(hf_segment *segment, size_t bytes)
{
    struct participant *p;
    int error = enter(segment, &p);
    return error != 0 ? error : call_end(p, tx_reserve(p, bytes));
}

int hf_tx_commit(hf_segment *segment)
{
    struct participant *p;
    int error = enter(segment, &p);
    return error != 0 ? error : call_end(p, tx_end(p));
}

int hf_tx_abort(hf_segment *segment)
{
    struct participant *p;
    int error = enter(segment, &p);
    return error != 0 ? error : call_end(p, tx_abort(p));
}
