/* SPDX-License-Identifier: MIT */
#include "proof/board.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "segment/handle.h"

struct board *board_of(struct arena *arena)
{
    void *root;
    require(hf_segment_root(arena->segment, sizeof(struct board), &root) == 0, "root");
    struct board *board = root;
    if (board->account[0] == 0 && board->account[1] == 0) {
        board->account[0] = SUM;
    }
    return board;
}

void leave_a_dead(struct arena *arena, void (*work)(struct arena *arena))
{
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        work(arena);
        (void)raise(SIGKILL);
    }
    int status;
    require(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "the dead one died otherwise");
}

void leave_alive(struct arena *arena, void (*work)(struct arena *arena))
{
    int done[2];
    char byte = 0;
    require(pipe(done) == 0, "pipe");
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        work(arena);
        require(write(done[1], &byte, 1) == 1, "write");
        for (;;) {
            (void)pause();
        }
    }
    require(read(done[0], &byte, 1) == 1, "the living one does not come");
    (void)close(done[0]);
    (void)close(done[1]);
}

void lock(hf_mutex *mutex, int expected)
{
    require(hf_mutex_timedlock(mutex, 2 * SECOND) == expected, "lock");
}

void unlock(hf_mutex *mutex)
{
    require(hf_mutex_unlock(mutex) == 0, "unlock");
}

/* ---- the census -------------------------------------------------------------------------- */

static bool slot_is_idle(struct slot *slot, uint32_t number)
{
    struct {
        const char *name;
        uint64_t value;
    } words[] = {{"intent", load_relaxed(&slot->intent)},
                 {"held", load_relaxed(&slot->held)},
                 {"tx", load_relaxed(&slot->tx)},
                 {"log_used", load_relaxed(&slot->log_used)},
                 {"op", load_relaxed(&slot->op)}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i].value != 0) {
            (void)bad("slot %u: %s is %#lx after recovery", (unsigned)number, words[i].name,
                      (unsigned long)words[i].value);
            return false;
        }
    }
    return true;
}

static bool slots_are_idle(struct view *view, uint64_t living)
{
    uint32_t slots = view_slots(view);
    uint32_t taken = 0;
    bool idle = true;
    for (uint32_t n = 1; n <= slots; n++) {
        struct slot *slot = view_slot(view, n);
        idle = idle && slot_is_idle(slot, n);
        taken += claim_by(load_relaxed(&slot->claim)) != 0 ? 1 : 0;
    }
    if (taken != 1 + living) {
        (void)bad("%u slots are taken, by %u participants", (unsigned)taken, 1 + (unsigned)living);
    }
    return idle && taken == 1 + living;
}

/* Pages that the segment's own structures hold. */
static uint64_t pages_held(struct view *view)
{
    struct segment_header *header = header_of(view);
    uint64_t pages = view->first_page + load_relaxed(&header->root_size) / SEGMENT_PAGE;
    if (load_relaxed(&header->root) == 0) {
        pages = view->first_page;
    }
    for (uint32_t run = 1; run < SLOT_RUNS; run++) {
        pages += load_relaxed(&header->slot_runs[run]) != 0 ? slot_run_pages(run) : 0;
    }
    uint32_t slots = view_slots(view);
    for (uint32_t n = 1; n <= slots; n++) {
        for (uint32_t k = 0; k < LOG_CHUNKS; k++) {
            uint64_t chunk = load_relaxed(&view_slot(view, n)->log_chunks[k]);
            pages += chunk != 0 ? UINT64_C(1) << k : 0;
        }
    }
    return pages;
}

static bool pages_are_accounted_for(struct arena *copy, uint64_t linked)
{
    hf_segment_info info;
    require(hf_segment_get_info(copy->segment, &info) == 0, "info");
    uint64_t held = pages_held(copy->segment->view) + linked;
    if (info.used != held * SEGMENT_PAGE) {
        (void)bad("%lu pages are in use, %lu are held by something",
                  (unsigned long)(info.used / SEGMENT_PAGE), (unsigned long)held);
    }
    if (info.dead != 0) {
        (void)bad("%u participants are dead and not recovered", (unsigned)info.dead);
    }
    return info.used == held * SEGMENT_PAGE && info.dead == 0;
}

/* Real work: everything there is, once. */
static bool works(struct arena *copy)
{
    struct board *board = board_of(copy);
    hf_off had = board->link;
    board->link.value = 0;
    for (unsigned i = 0; i < 3; i++) {
        int error = hf_mutex_timedlock(&board->mutex[i], SECOND);
        if (error != 0) {
            (void)bad("mutex %u cannot be locked: %s", i, hf_strerror(error));
            return false;
        }
    }
    bool good = hf_tx_begin(copy->segment) == 0 &&
                hf_tx_add(copy->segment, board->big, sizeof board->big) == 0;
    memset(board->big, 0x5a, sizeof board->big);
    good = good && hf_tx_abort(copy->segment) == 0 && board->big[0] != 0x5a &&
           hf_pages_alloc(copy->segment, 1, &board->link) == 0 &&
           hf_pages_free(copy->segment, 1, &board->link) == 0;
    for (unsigned i = 0; i < 3; i++) {
        good = good && hf_mutex_unlock(&board->mutex[i]) == 0;
    }
    board->link = had;
    return good || bad("the segment does not work any more") != OUTCOME_BAD;
}

bool is_whole(struct arena *copy)
{
    struct board *board = board_of(copy);
    uint64_t linked = board->link.value != 0 ? board->pages_linked : 0;
    int error = hf_segment_recover(copy->segment, NULL);
    if (error != 0) {
        (void)bad("recovery gives %s", hf_strerror(error));
        return false;
    }
    return slots_are_idle(copy->segment->view, board->living) &&
           pages_are_accounted_for(copy, linked) && works(copy);
}

outcome if_whole(struct arena *copy, outcome result)
{
    return is_whole(copy) ? result : OUTCOME_BAD;
}
