/* SPDX-License-Identifier: MIT */
/* The views of this process, and what fork does to them. */
#include <errno.h>
#include <stdlib.h>

#include "os/os.h"
#include "segment/format.h"
#include "segment/view.h"

/* ---- the process ------------------------------------------------------------------------- */

static _Atomic uint64_t before_the_first_call;
_Atomic uint64_t *_Atomic fork_word = &before_the_first_call;
static _Atomic uint64_t turns;

/* In the fork word: the first thread is at it. */
#define BEGINNING UINT64_MAX

static struct view *views;

enum { FREE = 0, HELD = 1, CONTENDED = 2 };
static _Atomic uint32_t lock_word;
static os_quiet holders_quiet; /* of the thread that holds the lock */

/* This thread has it. A handler of a fault in here must not wait for it. */
static _Thread_local bool inside __attribute__((tls_model("initial-exec")));

/* In a forked child, before anything else: other threads are gone, and so are their participants.
 */
static void make_inherited_ours(void)
{
    store_relaxed(&lock_word, FREE);
    for (struct view *v = views; v != NULL; v = v->next) {
        v->participants = 0;
        if (v->private_memory) {
            declare_all_dead(v); /* in our copy */
        }
    }
}

/* The first to call begins the process's turn; any others of its threads wait for that. */
static uint64_t begin_turn(void)
{
    uint64_t turn = 0;
    _Atomic uint64_t *word = load_relaxed(&fork_word);
    if (cas_acquire(word, &turn, BEGINNING)) {
        if (load_relaxed(&turns) > 0) {
            make_inherited_ours();
        }
        turn = fetch_add_relaxed(&turns, 1) + 1;
        store_release(word, turn);
    }
    while (turn == BEGINNING) {
        spin_pause();
        turn = load_acquire(word);
    }
    return turn;
}

/* Quietly: a signal handler that calls in must not wait for the thread that it interrupts. */
static uint64_t find_turn(void)
{
    os_quiet quiet;
    os_quiet_begin(&quiet);
    store_release(&fork_word, os_fork_page()); /* the same from everyone */
    uint64_t turn = begin_turn();
    os_quiet_end(&quiet);
    return turn;
}

uint64_t process_turn(void)
{
    uint64_t turn = load_acquire(load_acquire(&fork_word));
    return turn != 0 && turn != BEGINNING ? turn : find_turn();
}

int process_lock(void)
{
    os_quiet quiet;
    (void)process_turn();
    os_quiet_begin(&quiet);
    if (inside) {
        os_quiet_end(&quiet);
        return -EDEADLK;
    }
    inside = true;
    uint32_t expected = FREE;
    if (!cas_acquire(&lock_word, &expected, HELD)) {
        for (;;) {
            expected = FREE;
            if (cas_acquire(&lock_word, &expected, CONTENDED)) {
                break;
            }
            if (expected == HELD && !cas_acquire(&lock_word, &expected, CONTENDED)) {
                continue;
            }
            (void)os_wait(&lock_word, CONTENDED, HF_FOREVER);
        }
    }
    holders_quiet = quiet;
    return 0;
}

void process_unlock(void)
{
    os_quiet quiet = holders_quiet;
    if (exchange_release(&lock_word, FREE) == CONTENDED) {
        (void)os_wake(&lock_word, 1);
    }
    inside = false;
    os_quiet_end(&quiet);
}

/* ---- views ------------------------------------------------------------------------------- */

struct view *view_find(uint64_t device, uint64_t inode, hf_access access)
{
    for (struct view *v = views; v != NULL; v = v->next) {
        bool enough = v->access == access || (v->access == HF_READ_WRITE && access == HF_READ_ONLY);
        if (v->kind == VIEW_OBJECT && v->device == device && v->inode == inode && enough) {
            return v;
        }
    }
    return NULL;
}

bool view_owns(const hf_memory *memory)
{
    for (struct view *v = views; v != NULL; v = v->next) {
        bool owns = v->memory == memory;
        for (unsigned i = 0; i < v->spares; i++) {
            owns = owns || v->spare[i] == memory;
        }
        if (owns) {
            return true;
        }
    }
    return false;
}

bool view_excludes(uint64_t device, uint64_t inode, hf_access access)
{
    for (struct view *v = views; v != NULL; v = v->next) {
        bool same = v->memory != NULL && v->device == device && v->inode == inode;
        bool both = v->access != access && v->access != HF_READ_ONLY && access != HF_READ_ONLY;
        if (same && both) {
            return true;
        }
    }
    return false;
}

struct view *view_at(const void *address)
{
    for (struct view *v = views; v != NULL; v = v->next) {
        if ((const char *)address >= v->base && (const char *)address < v->base + v->maximum) {
            return v;
        }
    }
    return NULL;
}

int view_make(char *base, uint64_t maximum, view_kind kind, hf_access access, hf_memory *memory,
              bool owns_mapping, struct view **view)
{
    struct view *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    made->base = base;
    made->maximum = maximum;
    made->kind = kind;
    made->access = access;
    made->fd = -1;
    made->owns_mapping = owns_mapping;
    made->private_memory = kind == VIEW_PRIVATE || (kind == VIEW_BUFFER && !os_is_shared(base));
    if (memory != NULL) {
        os_info info;
        int error = os_info_get(hf_memory_descriptor(memory), &info);
        if (error != 0) {
            free(made);
            return error;
        }
        made->memory = memory;
        made->fd = hf_memory_descriptor(memory);
        made->device = info.device;
        made->inode = info.inode;
    }
    *view = made;
    return 0;
}

void view_list(struct view *view)
{
    view->next = views;
    crash_fence(); /* a child of another thread's fork finds it whole, or not at all */
    views = view;
}

void view_keep(struct view *view, hf_memory *memory)
{
    hf_memory **before = view->spare;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    hf_memory **more = malloc((view->spares + 1) * sizeof *more);
    if (more == NULL) {
        return; /* it stays open for good: closing it would drop our byte locks */
    }
    for (unsigned i = 0; i < view->spares; i++) {
        more[i] = before[i];
    }
    more[view->spares] = memory;
    crash_fence(); /* in a child of another thread's fork, too, it is one of the two, and whole */
    view->spare = more;
    crash_fence();
    view->spares++;
    free(before);
}

void view_retire(hf_memory *memory)
{
    os_info info;
    if (memory == NULL || os_info_get(hf_memory_descriptor(memory), &info) != 0) {
        hf_memory_close(memory);
        return;
    }
    for (struct view *v = views; v != NULL; v = v->next) {
        if (v->fd >= 0 && v->device == info.device && v->inode == info.inode) {
            view_keep(v, memory);
            return;
        }
    }
    hf_memory_close(memory);
}

void view_drop(struct view *view)
{
    if (view->handles > 0 || view->participants > 0) {
        return;
    }
    for (struct view **at = &views; *at != NULL; at = &(*at)->next) {
        if (*at == view) {
            *at = view->next;
            break;
        }
    }
    if (view->owns_mapping) {
        (void)os_unmap(view->base, (size_t)view->maximum);
    }
    for (unsigned i = 0; i < view->spares; i++) {
        view_retire(view->spare[i]);
    }
    free(view->spare);
    view_retire(view->memory);
    free(view);
}

/* ---- looking into a view ----------------------------------------------------------------- */

bool view_refresh(struct view *view, uint64_t offset, uint64_t length)
{
    uint64_t there = load_acquire(&header_of(view)->size); /* partner: grow */
    there = min_u64(there, view->maximum);
    if (view->fd >= 0) { /* the header may lie: the object's own size counts */
        os_info info;
        if (os_info_get(view->fd, &info) != 0) {
            return false;
        }
        there = min_u64(there, info.size);
    }
    uint64_t known = load_relaxed(&view->known);
    while (there > known && !cas_relaxed(&view->known, &known, there)) {
    }
    return range_within(offset, length, load_relaxed(&view->known));
}

char *view_run(struct view *view, char *_Atomic *known, const shared_u64 *offsets, uint32_t run)
{
    char *address = load_acquire(&known[run]);
    if (address != NULL) {
        return address;
    }
    uint64_t offset = load_acquire(&offsets[run]); /* partner: pages_alloc */
    if (offset == 0 || offset % SEGMENT_PAGE != 0 ||
        !view_holds(view, offset, slot_run_pages(run) * SEGMENT_PAGE)) {
        return NULL;
    }
    address = view->base + offset;
    store_release(&known[run], address);
    return address;
}

static char *run_address(struct view *view, uint32_t run)
{
    return view_run(view, view->slot_runs, header_of(view)->slot_runs, run);
}

struct slot_page *view_slot_page(struct view *view, uint32_t number)
{
    if (number < 1 || number > SLOT_NUMBER_MAX) {
        return NULL;
    }
    uint32_t page = (number - 1) / SLOTS_PER_PAGE;
    uint32_t run = slot_run_of_page(page);
    char *address = run_address(view, run);
    return address == NULL
               ? NULL
               : (struct slot_page *)(void *)(address +
                                              (page - slot_run_first_page(run)) * SEGMENT_PAGE);
}

uint64_t view_slot_page_offset(struct view *view, uint32_t number)
{
    return (uint64_t)((char *)view_slot_page(view, number) - view->base);
}

uint32_t view_slots(struct view *view)
{
    uint32_t pages = 0;
    for (uint32_t run = 0; run < SLOT_RUNS && run_address(view, run) != NULL; run++) {
        pages += (uint32_t)slot_run_pages(run);
    }
    return (uint32_t)min_u64((uint64_t)pages * SLOTS_PER_PAGE, SLOT_NUMBER_MAX);
}
