/* SPDX-License-Identifier: MIT */
#include "proof/board.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "segment/check.h"
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

/* Takes the mutex once more, mends it and gives it back. */
static int take(hf_mutex *mutex, bool spin)
{
    int error;
    do {
        error = spin ? hf_mutex_trylock(mutex) : hf_mutex_timedlock(mutex, 10 * SECOND);
    } while (error == -EBUSY);
    if (error == -EOWNERDEAD) {
        require(hf_mutex_consistent(mutex) == 0, "consistent");
    }
    return error;
}

int have(struct board *board, unsigned mutex)
{
    int error = take(&board->mutex[mutex], false);
    if (error == 0 || error == -EOWNERDEAD) {
        unlock(&board->mutex[mutex]);
    }
    return board->was_told[mutex] != 0 ? board->told[mutex] : error;
}

void contend_for_mutex(struct arena *arena, contender who)
{
    struct board *board = board_of(arena);
    int error = take(&board->mutex[0], who == CONTENDER_SPINNING);
    require(error != -ETIMEDOUT, "a contender waits for ever");
    if (board->was_told[0] == 0 && error != -EINVAL) {
        board->told[0] = error;
        board->was_told[0] = 1;
    }
    if (error == 0 || error == -EOWNERDEAD) {
        unlock(&board->mutex[0]);
    }
}

void contend_for_pages(struct arena *arena, contender who)
{
    struct board *board = board_of(arena);
    hf_off *link = &board->contender_link[who];
    int error = hf_pages_alloc(arena->segment, 1, link);
    require(error == 0 || error == -ENOMEM, "a contender gets no page");
    require(error != 0 || hf_pages_free(arena->segment, 1, link) == 0, "free");
}

/* ---- the census -------------------------------------------------------------------------- */

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

#define EARLY 0xe5

void take_a_page(struct arena *copy)
{
    struct board *board = board_of(copy);
    if (hf_pages_alloc(copy->segment, 1, &board->early_link) == 0) {
        memset(hf_segment_at(copy->segment, board->early_link), EARLY, HF_SEGMENT_PAGE);
    }
}

/* Is the page as we have left it, though another is taken now? */
static bool early_page_is_ours(struct arena *copy)
{
    struct board *board = board_of(copy);
    hf_off had = board->link;
    board->link.value = 0;
    if (hf_pages_alloc(copy->segment, 1, &board->link) == 0) {
        memset(hf_segment_at(copy->segment, board->link), 0, HF_SEGMENT_PAGE);
        require(hf_pages_free(copy->segment, 1, &board->link) == 0, "free");
    }
    board->link = had;
    const uint8_t *bytes = hf_segment_at(copy->segment, board->early_link);
    bool ours = bytes != NULL && bytes[0] == EARLY && bytes[HF_SEGMENT_PAGE - 1] == EARLY &&
                hf_pages_free(copy->segment, 1, &board->early_link) == 0;
    return ours || bad("a page that was taken before recovery is another's") != OUTCOME_BAD;
}

/* Where the kernel tells of deaths, ours is for others to see and to sleep on. */
static bool our_life_is_told(struct arena *copy)
{
    struct participant *p;
    struct holder holder;
    require(participant_of(copy->segment->view, &p) == 0, "participant");
    presence there = presence_of(p->view, p->number, false, &holder);
    bool told = !p->life.linked || (holder.life != NULL && (holder.value & OS_LIFE_ID) != 0);
    return (there == PRESENCE_ALIVE && told) ||
           bad("others cannot see that we live") != OUTCOME_BAD;
}

bool is_whole(struct arena *copy)
{
    struct board *board = board_of(copy);
    uint64_t linked = board->link.value != 0 ? board->pages_linked : 0;
    if (hf_segment_recover(copy->segment, NULL) == 0 && board->early_link.value != 0 &&
        !early_page_is_ours(copy)) {
        return false;
    }
    int error = hf_segment_recover(copy->segment, NULL);
    if (error != 0) {
        (void)bad("recovery gives %s", hf_strerror(error));
        return false;
    }
    char what[SEGMENT_CHECK_TEXT];
    error = segment_check(copy->segment->view, linked, 1 + (uint32_t)board->living, what);
    if (error != 0) {
        (void)bad("%s (%s)", what, hf_strerror(error));
        return false;
    }
    return our_life_is_told(copy) && works(copy);
}

outcome if_whole(struct arena *copy, outcome result)
{
    return is_whole(copy) ? result : OUTCOME_BAD;
}
