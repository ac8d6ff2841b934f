/* SPDX-License-Identifier: MIT */
/* The public calls on an open segment: each enters as this thread's participant, does one thing,
 * and leaves. */
#include <errno.h>
#include <string.h>

#include "os/os.h"
#include "segment/handle.h"
#include "segment/heap.h"
#include "segment/names.h"
#include "segment/pages.h"
#include "segment/recovery.h"
#include "segment/tx.h"

int participant_at(const void *address, struct participant **participant)
{
    int error = process_lock();
    if (error != 0) {
        return error;
    }
    struct view *view = view_at(address);
    process_unlock();
    return view == NULL ? -EINVAL : participant_of(view, participant);
}

int enter_slowly(hf_segment *segment, struct participant **participant)
{
    if (segment->access == HF_READ_ONLY) {
        return -EACCES;
    }
    int error = participant_of(segment->view, participant);
    return error != 0 ? error : call_begin(*participant);
}

/* ---- looking ----------------------------------------------------------------------------- */

static bool serves_one_process(struct view *view)
{
    os_life life;
    if (view->kind != VIEW_BUFFER) {
        return view->kind == VIEW_PRIVATE;
    }
    bool shared = os_life_open(-1, 0, view_slot_page(view, 1), &life) == 0;
    if (shared) {
        os_life_close(&life);
    }
    return !shared;
}

int hf_segment_get_info(hf_segment *segment, hf_segment_info *info)
{
    if (!is_segment(segment) || info == NULL) {
        return -EINVAL;
    }
    struct view *view = segment->view;
    (void)view_refresh(view, 0, 0);
    memset(info, 0, sizeof *info); /* so that two can be compared */
    info->size = load_relaxed(&view->known);
    info->maximum = view->maximum;
    info->used = pages_count(view) * SEGMENT_PAGE;
    info->access = segment->access;
    info->one_process = serves_one_process(view);
    uint32_t slots = view_slots(view);
    for (uint32_t n = 1; n <= slots; n++) {
        presence there = presence_of(view, n, true, NULL);
        info->participants += there == PRESENCE_ALIVE ? 1 : 0;
        info->dead += there == PRESENCE_DEAD ? 1 : 0;
    }
    return 0;
}

void *hf_segment_base(const hf_segment *segment)
{
    return is_segment(segment) ? segment->view->base : NULL;
}

hf_memory *hf_segment_memory(const hf_segment *segment)
{
    return is_segment(segment) ? segment->view->memory : NULL;
}

void *hf_segment_at(hf_segment *segment, hf_off offset)
{
    bool good =
        is_segment(segment) && offset.value != 0 && view_holds(segment->view, offset.value, 1);
    return good ? segment->view->base + offset.value : NULL;
}

hf_off hf_segment_offset(hf_segment *segment, const void *pointer)
{
    hf_off none = {0};
    if (!is_segment(segment) || (const char *)pointer <= segment->view->base) {
        return none;
    }
    uint64_t offset = (uint64_t)((const char *)pointer - segment->view->base);
    return view_holds(segment->view, offset, 1) ? (hf_off){offset} : none;
}

/* ---- memory ------------------------------------------------------------------------------ */

/* As enter, but not inside a transaction: pages are nothing that its log can undo. */
static int enter_outside(hf_segment *segment, struct participant **participant)
{
    int error = enter(segment, participant);
    if (error == 0 && tx_is_open(*participant)) {
        return call_end(*participant, -EBUSY);
    }
    return error;
}

/* The root, if it is there. */
static int find_root(struct view *view, uint64_t size, void **root)
{
    struct segment_header *header = header_of(view);
    uint64_t offset = load_acquire(&header->root); /* partner: pages_make_root */
    if (offset == 0) {
        return -ENOENT;
    }
    if (load_relaxed(&header->root_size) < size) {
        return -ERANGE;
    }
    if (offset % SEGMENT_PAGE != 0 || !view_holds(view, offset, max_u64(size, SEGMENT_PAGE))) {
        return -EBADMSG;
    }
    *root = view->base + offset;
    return 0;
}

int hf_segment_root(hf_segment *segment, uint64_t size, void **root)
{
    if (!is_segment(segment) || root == NULL || size > SEGMENT_SIZE_MAX) {
        return -EINVAL;
    }
    int error = find_root(segment->view, size, root);
    if (error != -ENOENT || size == 0 || segment->access == HF_READ_ONLY) {
        return error;
    }
    struct participant *p;
    error = enter_outside(segment, &p);
    if (error != 0) {
        return error;
    }
    error = pages_make_root(p, size);
    if (error == 0) {
        error = find_root(p->view, size, root);
    }
    return call_end(p, error);
}

static uint64_t pages_in(uint64_t bytes)
{
    return bytes > SEGMENT_SIZE_MAX ? 0 : round_up(bytes, SEGMENT_PAGE) / SEGMENT_PAGE;
}

int hf_pages_alloc(hf_segment *segment, uint64_t bytes, hf_off *link)
{
    struct participant *p;
    int error = enter_outside(segment, &p);
    if (error != 0) {
        return error;
    }
    uint64_t offset = link_offset(p->view, link);
    bool good = offset != 0 && bytes != 0;
    error = !good                  ? -EINVAL
            : pages_in(bytes) == 0 ? -ENOMEM
                                   : heap_pages_alloc(p, pages_in(bytes), offset, false);
    return call_end(p, error);
}

int hf_pages_free(hf_segment *segment, uint64_t bytes, hf_off *link)
{
    struct participant *p;
    int error = enter_outside(segment, &p);
    if (error != 0) {
        return error;
    }
    uint64_t offset = link_offset(p->view, link);
    error = offset == 0 || pages_in(bytes) == 0 ? -EINVAL
                                                : pages_free(p, pages_in(bytes), offset, false);
    return call_end(p, error);
}

int hf_segment_grow(hf_segment *segment, uint64_t size)
{
    struct participant *p;
    int error = enter(segment, &p);
    if (error != 0) {
        return error;
    }
    return call_end(p, size > SEGMENT_SIZE_MAX ? -ENOMEM : pages_grow(p, size));
}

int hf_segment_trim(hf_segment *segment, uint64_t *bytes)
{
    struct participant *p;
    uint64_t unused;
    int error = enter(segment, &p);
    return error != 0 ? error : call_end(p, pages_trim(p, bytes != NULL ? bytes : &unused));
}

/* ---- the dead ---------------------------------------------------------------------------- */

int hf_segment_recover(hf_segment *segment, unsigned *recovered)
{
    struct participant *p;
    int error = enter(segment, &p);
    if (error != 0) {
        return error;
    }
    unsigned count = recovery_of_all(p);
    names_sweep(p); /* what recovery, which takes no locks, has left for who does */
    (void)large_sweep(p);
    if (recovered != NULL) {
        *recovered = count;
    }
    return call_end(p, 0);
}

#define PARTICIPANT_TURN_SHIFT 12

int hf_participant_self(hf_segment *segment, hf_participant *self)
{
    struct participant *p;
    int error = self == NULL ? -EINVAL : enter(segment, &p);
    if (error != 0) {
        return error;
    }
    self->value = p->number | (uint64_t)p->turn << PARTICIPANT_TURN_SHIFT;
    return call_end(p, 0);
}

int hf_participant_lives(hf_segment *segment, hf_participant who, bool *lives)
{
    if (!is_segment(segment) || lives == NULL) {
        return -EINVAL;
    }
    uint32_t number = (uint32_t)(who.value & SLOT_NUMBER_MAX);
    uint32_t turn = (uint32_t)(who.value >> PARTICIPANT_TURN_SHIFT);
    *lives = presence_of_turn(segment->view, number, turn, true, NULL) == PRESENCE_ALIVE;
    return 0;
}

int hf_thread_recover(hf_segment *segment)
{
    struct participant *p = NULL;
    int error = enter(segment, &p);
    if (error == -EDEADLK && p != NULL) {
        recovery_of_call(p);
        return 0;
    }
    if (error != 0) {
        return error;
    }
    recovery_of_onces(p); /* between a once's begin and its end no call is open */
    return call_end(p, 0);
}

int hf_thread_leave(hf_segment *segment)
{
    if (!is_segment(segment)) {
        return -EINVAL;
    }
    return participant_leave_view(segment->view);
}
