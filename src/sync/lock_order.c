/* SPDX-License-Identifier: MIT */
/*
 * Lock order: a graph of "held while waiting for", and each thread's stack of what it holds.
 *
 * The process lock guards the graph. It is let go of before anything is reported. Threads are told
 * from those of a parent process by the process's turn: a child holds nothing, and knows nothing.
 */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "holdfast/lock_order.h"
#include "segment/view.h"

#define LOCKS_MAX 256u
#define NOTES_MAX 1024u
#define HELD_MAX  32u

/* The same in whatever mapping, and after another opening. */
struct identity {
    uint64_t segment[2];
    uint64_t offset;
};

struct held {
    struct identity lock;
    hf_lock_order_place place;
};

/* What a thread holds. Not initial-exec: it is large, and it is nobody's fast path. */
static _Thread_local struct {
    uint64_t turn;
    unsigned count;
    struct held locks[HELD_MAX];
} here __attribute__((tls_model("global-dynamic")));

struct note {
    uint32_t from; /* places in graph.locks */
    uint32_t to;
    hf_lock_order_step step;
};

static struct {
    uint64_t turn; /* of the process that it tells of */
    unsigned locks_count;
    unsigned notes_count;
    struct identity locks[LOCKS_MAX];
    struct note notes[NOTES_MAX];
    hf_lock_order_reporter *report;
    void *context;
} graph;

struct finding {
    hf_lock_order_report report;
    hf_lock_order_step steps[HF_LOCK_ORDER_STEPS];
    hf_lock_order_reporter *tell; /* NULL: there is nothing to tell */
    void *context;
};

static bool same(const struct identity *a, const struct identity *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* ---- the graph, under the process lock ---------------------------------------------------- */

static void start_afresh(void)
{
    graph.locks_count = 0;
    graph.notes_count = 0;
}

static bool identify(const void *lock, struct identity *identity)
{
    struct view *view = view_at(lock);
    if (view == NULL) {
        return false;
    }
    memcpy(identity->segment, header_of(view)->uuid, sizeof identity->segment);
    identity->offset = (uint64_t)((const char *)lock - view->base);
    return true;
}

/* LOCKS_MAX: it is not there. */
static uint32_t find_lock(const struct identity *lock)
{
    for (uint32_t i = 0; i < graph.locks_count; i++) {
        if (same(&graph.locks[i], lock)) {
            return i;
        }
    }
    return LOCKS_MAX;
}

/* There is room. */
static uint32_t add_lock(const struct identity *lock)
{
    uint32_t place = find_lock(lock);
    if (place == LOCKS_MAX) {
        place = graph.locks_count++;
        graph.locks[place] = *lock;
    }
    return place;
}

static bool is_noted(uint32_t from, uint32_t to)
{
    for (unsigned i = 0; i < graph.notes_count; i++) {
        if (graph.notes[i].from == from && graph.notes[i].to == to) {
            return true;
        }
    }
    return false;
}

/* Breadth first: by which note each lock was first come to from `from`; false: `to` was not. */
static bool find_way(uint32_t from, uint32_t to, uint32_t by[LOCKS_MAX])
{
    uint32_t queue[LOCKS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < LOCKS_MAX; i++) {
        by[i] = NOTES_MAX;
    }
    queue[count++] = from;
    for (unsigned at = 0; at < count; at++) {
        for (uint32_t i = 0; i < graph.notes_count; i++) {
            const struct note *note = &graph.notes[i];
            if (note->from == queue[at] && note->to != from && by[note->to] == NOTES_MAX) {
                by[note->to] = i;
                queue[count++] = note->to;
            }
        }
    }
    return by[to] != NOTES_MAX;
}

/* The way, and the note that closes it. */
static void describe(const struct note *closing, const uint32_t by[LOCKS_MAX],
                     struct finding *finding)
{
    unsigned length = 1;
    for (uint32_t at = closing->from; at != closing->to; at = graph.notes[by[at]].from) {
        length++;
    }
    unsigned place = length;
    for (uint32_t at = closing->from; at != closing->to; at = graph.notes[by[at]].from) {
        place--; /* from the end of the circle to its beginning */
        if (place < HF_LOCK_ORDER_STEPS) {
            finding->steps[place] = graph.notes[by[at]].step;
        }
    }
    finding->steps[0] = closing->step;
    finding->report =
        (hf_lock_order_report){.locks = length,
                               .steps = length < HF_LOCK_ORDER_STEPS ? length : HF_LOCK_ORDER_STEPS,
                               .step = finding->steps};
    finding->tell = graph.report;
    finding->context = graph.context;
}

static void add_note(const struct held *held, const struct held *taken, struct finding *finding)
{
    uint32_t by[LOCKS_MAX];
    if (graph.locks_count + 2 > LOCKS_MAX || graph.notes_count == NOTES_MAX) {
        start_afresh();
    }
    struct note note = {add_lock(&held->lock), add_lock(&taken->lock), {held->place, taken->place}};
    if (is_noted(note.from, note.to)) {
        return;
    }
    if (finding->tell == NULL && find_way(note.to, note.from, by)) {
        describe(&note, by, finding);
    }
    graph.notes[graph.notes_count++] = note;
}

/* Takes a lock and all that is noted of it out. */
static void remove_lock(uint32_t place)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < graph.notes_count; i++) {
        if (graph.notes[i].from != place && graph.notes[i].to != place) {
            graph.notes[kept++] = graph.notes[i];
        }
    }
    graph.notes_count = kept;
    graph.locks[place] = (struct identity){{0, 0}, 0}; /* nothing is like it */
}

/* ---- this thread -------------------------------------------------------------------------- */

/* With the process lock, if it is to be had: whose lock it is, and both tables of this process. */
static bool begin(const void *lock, struct identity *identity)
{
    if (process_lock() != 0) {
        return false;
    }
    uint64_t turn = process_turn();
    if (graph.turn != turn) {
        start_afresh();
        graph.turn = turn;
    }
    if (here.turn != turn) {
        here.count = 0;
        here.turn = turn;
    }
    if (!identify(lock, identity)) {
        process_unlock();
        return false;
    }
    return true;
}

/* The last one of it; HELD_MAX: it is not held. */
static unsigned find_held(const struct identity *lock)
{
    for (unsigned i = here.count; i > 0; i--) {
        if (same(&here.locks[i - 1].lock, lock)) {
            return i - 1;
        }
    }
    return HELD_MAX;
}

int hf_lock_order_set_report(hf_lock_order_reporter *report, void *context)
{
    int error = process_lock();
    if (error == 0) {
        graph.report = report;
        graph.context = context;
        process_unlock();
    }
    return error;
}

/* Notes all that is held but the lock itself, if that is held or not as `again` says. */
static void taking(const void *lock, bool again, const char *file, int line)
{
    struct finding finding;
    finding.tell = NULL;
    struct held taken = {.place = {file, line}};
    if (!begin(lock, &taken.lock)) {
        return;
    }
    if ((find_held(&taken.lock) != HELD_MAX) == again) {
        for (unsigned i = 0; i < here.count; i++) {
            if (!same(&here.locks[i].lock, &taken.lock)) {
                add_note(&here.locks[i], &taken, &finding);
            }
        }
    }
    process_unlock();
    if (finding.tell != NULL) {
        finding.tell(&finding.report, finding.context);
    }
}

void hf_lock_order_taking(const void *lock, const char *file, int line)
{
    taking(lock, false, file, line); /* who has it does not wait for it */
}

void hf_lock_order_taking_again(const void *lock, const char *file, int line)
{
    taking(lock, true, file, line); /* who has it not is refused */
}

void hf_lock_order_taken(const void *lock, const char *file, int line)
{
    struct held taken = {.place = {file, line}};
    if (begin(lock, &taken.lock)) {
        if (here.count < HELD_MAX) {
            here.locks[here.count++] = taken;
        }
        process_unlock();
    }
}

void hf_lock_order_freed(const void *lock)
{
    struct identity freed;
    if (!begin(lock, &freed)) {
        return;
    }
    unsigned at = find_held(&freed);
    if (at != HELD_MAX) {
        here.count--;
        memmove(&here.locks[at], &here.locks[at + 1], (here.count - at) * sizeof here.locks[0]);
    }
    process_unlock();
}

void hf_lock_order_forget(const void *lock)
{
    struct identity ended;
    if (begin(lock, &ended)) {
        uint32_t place = find_lock(&ended);
        if (place != LOCKS_MAX) {
            remove_lock(place);
        }
        process_unlock();
    }
}
