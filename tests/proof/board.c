/* SPDX-License-Identifier: MIT */
#include "proof/board.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "holdfast/check.h"
#include "holdfast/heap.h"
#include "proof/harness.h"
#include "segment/blocks.h"
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

void want_lock(struct arena *arena, const void *lock)
{
    struct participant *p;
    require(participant_of(arena->segment->view, &p) == 0, "participant");
    store_relaxed(&p->slot->intent, hf_segment_offset(arena->segment, lock).value);
}

uint32_t who_wants_lock(struct arena *arena, const void *lock)
{
    struct view *view = arena->segment->view;
    uint64_t offset = hf_segment_offset(arena->segment, lock).value;
    uint32_t n = view_slots(view);
    while (n > 0 && load_relaxed(&view_slot(view, n)->intent) != offset) {
        n--;
    }
    return n;
}

static void wait_for_the_sleeper(struct board *board)
{
    struct timespec moment = {.tv_nsec = 200000};
    for (unsigned seen = 0; seen < 2;) {
        pid_t pid = (pid_t)load_acquire((shared_u64 *)(void *)&board->sleeper);
        if (pid != 0 && is_dead(pid)) {
            return;
        }
        seen = pid != 0 && is_asleep(pid) ? seen + 1 : 0;
        (void)nanosleep(&moment, NULL);
    }
}

void be_the_sleeper(struct arena *arena)
{
    store_release((shared_u64 *)(void *)&board_of(arena)->sleeper, (uint64_t)getpid());
}

static void leave_at_work(struct arena *arena, void (*work)(struct arena *arena),
                          void (*wake)(struct arena *arena))
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
        if (wake != NULL) {
            wait_for_the_sleeper(board_of(arena));
            wake(arena);
        }
        for (;;) {
            (void)pause();
        }
    }
    require(read(done[0], &byte, 1) == 1, "the living one does not come");
    (void)close(done[0]);
    (void)close(done[1]);
}

void leave_alive(struct arena *arena, void (*work)(struct arena *arena))
{
    leave_at_work(arena, work, NULL);
}

void leave_a_waker(struct arena *arena, void (*work)(struct arena *arena),
                   void (*wake)(struct arena *arena))
{
    leave_at_work(arena, work, wake);
    board_of(arena)->living = 1;
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

/* Blocks, if there is room for them at all. */
static bool heap_works(struct arena *copy, hf_off *link)
{
    hf_off had = *link;
    void *block;
    link->value = 0;
    int error = hf_alloc_into(copy->segment, 48, link);
    bool good = error == -ENOMEM ||
                (error == 0 && hf_alloc(copy->segment, 48, &block) == 0 &&
                 hf_free(copy->segment, block) == 0 && hf_free_from(copy->segment, link) == 0);
    *link = had;
    return good && hf_heap_trim(copy->segment) == 0;
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
           hf_pages_free(copy->segment, 1, &board->link) == 0 &&
           heap_works(copy, &board->early_link);
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

/* ---- blocks ------------------------------------------------------------------------------ */

static bool is_in_use(struct arena *copy, hf_off block)
{
    return hf_usable_size(copy->segment, hf_segment_at(copy->segment, block)) > 0;
}

static void fill(struct arena *copy, hf_off block, int byte)
{
    void *at = hf_segment_at(copy->segment, block);
    memset(at, byte, hf_usable_size(copy->segment, at));
}

static bool holds(struct arena *copy, hf_off block, int byte)
{
    const uint8_t *at = hf_segment_at(copy->segment, block);
    size_t size = hf_usable_size(copy->segment, at);
    bool same = size > 0;
    for (size_t i = 0; same && i < size; i++) {
        same = at[i] == (uint8_t)byte;
    }
    return same;
}

static const size_t early_sizes[HEAP_EARLY] = {64, 4096, 8193, 64};

void take_blocks(struct arena *copy)
{
    struct heap_board *heap = &board_of(copy)->heap;
    for (unsigned i = 0; i < HEAP_EARLY; i++) {
        void *block;
        if (hf_alloc(copy->segment, early_sizes[i], &block) == 0) {
            heap->early[i] = hf_segment_offset(copy->segment, block);
            fill(copy, heap->early[i], EARLY + (int)i);
        }
    }
}

static bool is_early(const struct heap_board *heap, hf_off block)
{
    bool found = false;
    for (unsigned i = 0; i < HEAP_EARLY; i++) {
        found = found || heap->early[i].value == block.value;
    }
    return found;
}

uint64_t heap_blocks(struct arena *copy)
{
    const struct heap_board *heap = &board_of(copy)->heap;
    hf_heap_info info;
    require(hf_heap_get_info(copy->segment, &info) == 0, "info");
    for (unsigned i = 0; i < HEAP_EARLY; i++) {
        info.blocks -= heap->early[i].value != 0 ? 1 : 0;
    }
    return info.blocks;
}

uint64_t heap_links(struct arena *copy)
{
    const struct heap_board *heap = &board_of(copy)->heap;
    uint64_t links = 0;
    for (unsigned i = 0; i < HEAP_LINKS; i++) {
        links += heap->link[i].value != 0 ? 1 : 0;
    }
    return links;
}

bool heap_has_loose(struct arena *copy, unsigned i)
{
    const struct heap_board *heap = &board_of(copy)->heap;
    return heap->loose[i].value != 0 && !is_early(heap, heap->loose[i]) &&
           is_in_use(copy, heap->loose[i]);
}

/* All that is known of, in one list; loose ones if they are in use. */
struct known {
    hf_off block[HEAP_LINKS + HEAP_LOOSE + HEAP_EARLY];
    unsigned count;
};

static bool list_known(struct arena *copy, struct known *known)
{
    const struct heap_board *heap = &board_of(copy)->heap;
    known->count = 0;
    for (unsigned i = 0; i < HEAP_LINKS; i++) {
        if (heap->link[i].value != 0) {
            known->block[known->count++] = heap->link[i];
            if (!is_in_use(copy, heap->link[i])) {
                return bad("link %u names no block in use", i) != OUTCOME_BAD;
            }
        }
    }
    for (unsigned i = 0; i < HEAP_LOOSE; i++) {
        if (heap_has_loose(copy, i)) {
            known->block[known->count++] = heap->loose[i];
        }
    }
    for (unsigned i = 0; i < HEAP_EARLY; i++) {
        if (heap->early[i].value != 0) {
            known->block[known->count++] = heap->early[i];
            if (!holds(copy, heap->early[i], EARLY + (int)i)) {
                return bad("early block %u is another's", i) != OUTCOME_BAD;
            }
        }
    }
    return true;
}

/* Do they stay as they are while others are taken and freed? */
static bool are_apart(struct arena *copy, const struct known *known)
{
    static const size_t sizes[] = {64, 4096, 64, 8193, 4096, 64, 4096, 2048};
    void *more[sizeof sizes / sizeof sizes[0]] = {NULL};
    for (unsigned i = 0; i < known->count; i++) {
        fill(copy, known->block[i], (int)i + 1);
    }
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (hf_alloc(copy->segment, sizes[i], &more[i]) == 0) {
            memset(more[i], 0xcc, sizes[i]);
        }
    }
    for (unsigned i = 0; i < known->count; i++) {
        if (!holds(copy, known->block[i], (int)i + 1)) {
            return bad("known block %u is handed out again", i) != OUTCOME_BAD;
        }
    }
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (hf_free(copy->segment, more[i]) != 0) {
            return bad("a block just taken cannot be freed") != OUTCOME_BAD;
        }
    }
    return true;
}

static bool free_known(struct arena *copy, const struct known *known)
{
    struct heap_board *heap = &board_of(copy)->heap;
    unsigned links = 0;
    for (unsigned i = 0; i < HEAP_LINKS; i++) {
        if (heap->link[i].value != 0) {
            links++;
            if (hf_free_from(copy->segment, &heap->link[i]) != 0) {
                return bad("what link %u names cannot be freed", i) != OUTCOME_BAD;
            }
        }
    }
    for (unsigned i = links; i < known->count; i++) {
        if (hf_free(copy->segment, hf_segment_at(copy->segment, known->block[i])) != 0) {
            return bad("known block %u cannot be freed", i) != OUTCOME_BAD;
        }
    }
    return true;
}

/* Large blocks that are freed, and whose pages nobody has. */
static unsigned count_doomed(struct view *view)
{
    unsigned count = 0;
    for (uint64_t page = 0; page < load_relaxed(&header_of(view)->size) / SEGMENT_PAGE; page++) {
        const shared_u64 *entry = page_entry(view, page);
        count += entry != NULL && (load_relaxed(entry) & BLOCK_DOOMED) != 0 &&
                         (load_relaxed(entry) & BLOCK_ENTRY) != 0
                     ? 1
                     : 0;
    }
    return count;
}

/* Once all is given back: no block too many, no page that holds none, except where the living have
   a span. */
static bool nothing_is_left(struct arena *copy, uint64_t unknown)
{
    hf_heap_info info;
    hf_check_report report;
    require(hf_heap_trim(copy->segment) == 0, "trim");
    require(hf_heap_get_info(copy->segment, &info) == 0, "info");
    bool empty = unknown != 0 || board_of(copy)->living != 0 || info.held == 0;
    if (count_doomed(copy->segment->view) != 0) {
        return bad("the pages of a large block are lost") != OUTCOME_BAD;
    }
    if (info.blocks != unknown || info.orphans != 0 || !empty) {
        return bad("%lu blocks are left, where %lu should be; the heap holds %lu bytes",
                   (unsigned long)info.blocks, (unsigned long)unknown,
                   (unsigned long)info.held) != OUTCOME_BAD;
    }
    int error = hf_check(copy->segment, &report);
    return (error == 0 && report.pages_linked == 0) ||
           bad("%lu pages are left over: %s (%s)", (unsigned long)report.pages_linked, report.what,
               hf_strerror(error)) != OUTCOME_BAD;
}

bool heap_is_whole(struct arena *copy, uint64_t unknown)
{
    struct known known;
    struct heap_board *heap = &board_of(copy)->heap;
    if (!list_known(copy, &known) || !is_whole(copy) || !are_apart(copy, &known) ||
        !free_known(copy, &known)) {
        return false;
    }
    memset(heap->early, 0, sizeof heap->early);
    return nothing_is_left(copy, unknown);
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
