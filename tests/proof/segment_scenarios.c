/* SPDX-License-Identifier: MIT */
/* What a death leaves of a segment: its pages, its slots, and the recovery of others. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "proof/board.h"
#include "segment/handle.h"
#include "segment/lock.h"

#define PAGE HF_SEGMENT_PAGE

static void make_board(struct arena *arena)
{
    (void)board_of(arena);
}

/* The victim has its slot. */
static void prepare(struct arena *arena)
{
    lock(&board_of(arena)->mutex[0], 0);
    unlock(&board_of(arena)->mutex[0]);
}

/* Has a slot without a root. */
static void prepare_bare(struct arena *arena)
{
    require(hf_segment_recover(arena->segment, NULL) == 0, "recover");
}

/* ---- init -------------------------------------------------------------------------------- */

static void fill_with_rubbish(struct arena *arena)
{
    memset(arena->base, 0xa5, BOARD_SIZE);
}

static void leave_an_old_segment(struct arena *arena)
{
    hf_segment *old;
    void *root;
    fill_with_rubbish(arena);
    require(hf_segment_init(arena->base, BOARD_SIZE, &old) == 0, "init");
    require(hf_segment_root(old, 1, &root) == 0, "root");
    memset(root, 1, 1);
    hf_segment_close(old);
}

static int act_init(struct arena *arena)
{
    hf_segment *segment;
    return hf_segment_init(arena->base, BOARD_SIZE, &segment);
}

/* No segment, or the old one whole; or an empty one that works. */
static outcome judge_init(struct arena *copy)
{
    int error = hf_segment_attach(copy->base, BOARD_SIZE, &copy->segment);
    if (error == -EBADMSG) {
        return OUTCOME_BEFORE;
    }
    require(error == 0, "attach");
    struct segment_header *header = header_of(copy->segment->view);
    if (load_relaxed(&header->root) != 0) {
        void *root;
        require(hf_segment_root(copy->segment, 1, &root) == 0, "root");
        return *(char *)root == 1 ? OUTCOME_BEFORE : bad("the old segment is torn");
    }
    return if_whole(copy, OUTCOME_AFTER);
}

/* ---- root -------------------------------------------------------------------------------- */

static int act_root(struct arena *arena)
{
    void *root;
    return hf_segment_root(arena->segment, sizeof(struct board), &root);
}

static outcome judge_root(struct arena *copy)
{
    bool there = load_relaxed(&header_of(copy->segment->view)->root) != 0;
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    void *root;
    require(hf_segment_root(copy->segment, sizeof(struct board), &root) == 0, "root");
    const char *bytes = root;
    for (size_t i = 0; i < sizeof(struct board); i++) {
        if (bytes[i] != 0) {
            return bad("byte %lu of a fresh root is not zero", (unsigned long)i);
        }
    }
    return if_whole(copy, there ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

/* ---- pages ------------------------------------------------------------------------------- */

/* More than the rest of a segment of BOARD_SIZE. */
#define MANY 70

static int alloc(struct arena *arena, uint64_t pages)
{
    struct board *board = board_of(arena);
    board->pages_linked = pages;
    return hf_pages_alloc(arena->segment, pages * PAGE, &board->link);
}

static int act_alloc(struct arena *arena)
{
    return alloc(arena, 3);
}

static int act_alloc_many(struct arena *arena)
{
    return alloc(arena, MANY);
}

static void prepare_pages(struct arena *arena)
{
    require(alloc(arena, 3) == 0, "alloc");
}

static void prepare_many(struct arena *arena)
{
    require(alloc(arena, MANY) == 0, "alloc");
}

static int act_free(struct arena *arena)
{
    struct board *board = board_of(arena);
    return hf_pages_free(arena->segment, board->pages_linked * PAGE, &board->link);
}

/* is_whole counts what the link names, if it names something. */
static outcome judge_linked(struct arena *copy, outcome linked_is, outcome empty_is)
{
    struct board *board = board_of(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    return if_whole(copy, board->link.value != 0 ? linked_is : empty_is);
}

static outcome judge_alloc(struct arena *copy)
{
    return judge_linked(copy, OUTCOME_AFTER, OUTCOME_BEFORE);
}

static outcome judge_free(struct arena *copy)
{
    return judge_linked(copy, OUTCOME_BEFORE, OUTCOME_AFTER);
}

static int act_grow(struct arena *arena)
{
    return hf_segment_grow(arena->segment, 2 * BOARD_SIZE);
}

static outcome judge_grow(struct arena *copy)
{
    hf_segment_info info;
    require(hf_segment_get_info(copy->segment, &info) == 0, "info");
    if (info.size != BOARD_SIZE && info.size != 2 * BOARD_SIZE) {
        return bad("the segment has %lu bytes", (unsigned long)info.size);
    }
    struct board *board = board_of(copy);
    board->pages_linked = 20; /* more than it had before */
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    if (hf_pages_alloc(copy->segment, 20 * PAGE, &board->link) != 0) {
        return bad("the segment cannot be grown");
    }
    memset(hf_segment_at(copy->segment, board->link), 1, (size_t)(20 * PAGE));
    return if_whole(copy, info.size == BOARD_SIZE ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

static void prepare_holes(struct arena *arena)
{
    prepare_pages(arena);
    require(act_free(arena) == 0, "free");
}

static int act_trim(struct arena *arena)
{
    return hf_segment_trim(arena->segment, NULL);
}

/* All pages can be had, and written. */
static outcome judge_trim(struct arena *copy)
{
    struct board *board = board_of(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    hf_segment_info info;
    require(hf_segment_get_info(copy->segment, &info) == 0, "info");
    board->pages_linked = (info.size - info.used) / PAGE - 5; /* is_whole needs some */
    require(hf_pages_alloc(copy->segment, board->pages_linked * PAGE, &board->link) == 0, "alloc");
    memset(hf_segment_at(copy->segment, board->link), 1, (size_t)(board->pages_linked * PAGE));
    return if_whole(copy, OUTCOME_BEFORE);
}

/* ---- slots ------------------------------------------------------------------------------- */

/* Three others: the victim takes the last slot there is, and adds pages of slots. */
static void leave_three_alive(struct arena *arena)
{
    for (unsigned i = 0; i < 3; i++) {
        leave_alive(arena, prepare);
    }
    board_of(arena)->living = 3;
}

static int act_join(struct arena *arena)
{
    hf_participant self;
    return hf_participant_self(arena->segment, &self);
}

static int act_recover(struct arena *arena)
{
    return hf_segment_recover(arena->segment, NULL);
}

/* Whatever the victim got to do: another participant finds a slot. */
static outcome judge_join(struct arena *copy)
{
    return if_whole(copy, OUTCOME_BEFORE);
}

/* One dead participant in each slot of a buffer-sized segment, so that the victim has to take over
 * a dead one's. */
static void die_in_a_transaction(struct arena *arena)
{
    struct board *board = board_of(arena);
    static unsigned n;
    require(hf_tx_begin(arena->segment) == 0, "begin");
    lock(&board->mutex[n++ % 3], 0);
    require(hf_tx_add(arena->segment, board->account, sizeof board->account) == 0, "add");
    board->account[0] -= 5;
}

static void leave_four_slots_taken(struct arena *arena)
{
    struct board *board = board_of(arena);
    hf_segment_info info;
    require(hf_segment_get_info(arena->segment, &info) == 0, "info");
    board->pages_linked = (info.size - info.used) / PAGE; /* no room for more slots */
    require(hf_pages_alloc(arena->segment, board->pages_linked * PAGE, &board->link) == 0, "alloc");
    require(hf_thread_leave(arena->segment) == 0, "leave");
    leave_three_alive(arena);
    leave_a_dead(arena, die_in_a_transaction);
}

static outcome judge_takeover(struct arena *copy)
{
    struct board *board = board_of(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    if (board->account[0] != SUM) {
        return bad("the transaction of the dead is not undone");
    }
    require(hf_pages_free(copy->segment, board->pages_linked * PAGE, &board->link) == 0, "free");
    return if_whole(copy, OUTCOME_BEFORE);
}

static int act_close(struct arena *arena)
{
    hf_segment_close(arena->segment);
    return 0;
}

/* The slot is the victim's, or free. */
static outcome judge_leaving(struct arena *copy)
{
    hf_segment_info info;
    require(hf_segment_get_info(copy->segment, &info) == 0, "info");
    return if_whole(copy, info.dead > 0 ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

static void prepare_busy(struct arena *arena)
{
    struct board *board = board_of(arena);
    lock(&board->mutex[1], 0);
    require(hf_tx_begin(arena->segment) == 0, "begin");
    lock(&board->mutex[0], 0);
    require(hf_tx_add(arena->segment, board->account, sizeof board->account) == 0, "add");
    require(hf_tx_add(arena->segment, board->big, sizeof board->big) == 0, "add");
    board->account[0] -= 5;
    memset(board->big, 1, sizeof board->big);
}

static int act_leave(struct arena *arena)
{
    return hf_thread_leave(arena->segment);
}

/* Undone; the first mutex is free, the second was held without a transaction. */
static outcome judge_undone(struct arena *copy)
{
    struct board *board = board_of(copy);
    hf_segment_info info;
    require(hf_segment_get_info(copy->segment, &info) == 0, "info");
    int first = have(board, 0);
    int second = have(board, 1);
    if (first != 0 || second != -EOWNERDEAD) {
        return bad("the mutexes give %d and %d", first, second);
    }
    if (board->account[0] != SUM || board->big[0] != 0 || board->big[BIG - 1] != 0) {
        return bad("the transaction is not undone");
    }
    return if_whole(copy, info.dead > 0 ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

/* ---- recovery ---------------------------------------------------------------------------- */

static void leave_a_busy_dead(struct arena *arena)
{
    make_board(arena);
    require(hf_thread_leave(arena->segment) == 0, "leave");
    leave_a_dead(arena, prepare_busy);
}

/* Two may be dead, the one that was recovering the other. */
static outcome judge_recovery(struct arena *copy)
{
    return judge_undone(copy) == OUTCOME_BAD ? OUTCOME_BAD : OUTCOME_BEFORE;
}

static sigjmp_buf out_of_the_call;

static void jump(int signal)
{
    (void)signal;
    siglongjmp(out_of_the_call, 1);
}

static void hold(struct arena *arena)
{
    lock(&board_of(arena)->mutex[0], 0);
}

static void leave_an_owner_alive(struct arena *arena)
{
    leave_alive(arena, hold);
    board_of(arena)->living = 1;
}

/* The victim has jumped out of its wait for a mutex, inside a transaction. */
static void prepare_jumped(struct arena *arena)
{
    struct board *board = board_of(arena);
    lock(&board->mutex[1], 0);
    struct itimerval soon = {.it_value = {.tv_usec = 20000}};
    (void)signal(SIGALRM, jump);
    if (sigsetjmp(out_of_the_call, 1) == 0) {
        require(setitimer(ITIMER_REAL, &soon, NULL) == 0, "timer");
        (void)hf_mutex_lock(&board->mutex[0]);
        require(false, "the mutex was had");
    }
    require(hf_mutex_unlock(&board->mutex[1]) == -EDEADLK, "no deadlock told");
}

static int act_thread_recover(struct arena *arena)
{
    return hf_thread_recover(arena->segment);
}

/* The owner lives; what the victim held is told. Who gives up waiting wants nothing any more. */
static outcome judge_jumped(struct arena *copy)
{
    struct board *board = board_of(copy);
    struct participant *p;
    int error = hf_mutex_timedlock(&board->mutex[0], SECOND / 100);
    require(participant_of(copy->segment->view, &p) == 0, "participant");
    if (error != -ETIMEDOUT || load_relaxed(&p->slot->intent) != 0) {
        return bad("giving up gives %d, and the intent is %#lx", error,
                   (unsigned long)load_relaxed(&p->slot->intent));
    }
    if (hf_mutex_timedlock(&board->mutex[1], SECOND) != -EOWNERDEAD) {
        return bad("the mutexes are not as they were");
    }
    require(hf_mutex_consistent(&board->mutex[1]) == 0, "consistent");
    unlock(&board->mutex[1]);
    return OUTCOME_BEFORE;
}

/* The victim has jumped out of a call that had the lock of the pages: as a handler leaves it. */
static void prepare_jumped_with_pages(struct arena *arena)
{
    struct participant *p;
    struct lock *pages = &header_of(arena->segment->view)->pages_lock;
    prepare(arena);
    require(participant_of(arena->segment->view, &p) == 0 && call_begin(p) == 0, "begin");
    require(lock_take(p, pages, offsetof(struct segment_header, pages_lock), 0) == 0, "lock");
}

/* The victim has jumped out of hf_tx_begin, between its last store and its count. */
static void prepare_jumped_out_of_begin(struct arena *arena)
{
    struct participant *p;
    prepare(arena);
    require(participant_of(arena->segment->view, &p) == 0 && call_begin(p) == 0, "begin");
    HF_LOG_STORE(&p->slot->tx_base, load_relaxed(&p->slot->held));
    store_relaxed(&p->slot->tx, TX_ACTIVE | load_relaxed(&p->slot->tx));
}

static int act_recover_and_lock(struct arena *arena)
{
    int error = hf_thread_recover(arena->segment);
    return error != 0 ? error : hf_mutex_lock(&board_of(arena)->mutex[0]);
}

/* No transaction was open when the mutex was taken: its data is suspect. */
static outcome judge_jumped_out_of_begin(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    return error == 0             ? if_whole(copy, OUTCOME_BEFORE)
           : error == -EOWNERDEAD ? if_whole(copy, OUTCOME_AFTER)
                                  : bad("the mutex gives %d", error);
}

/* ---- a restart of the machine ------------------------------------------------------------ */

/* A second handle of the memory, as another process has it. */
static hf_memory *again(hf_memory *memory)
{
    int ends[2];
    hf_memory *received;
    require(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    require(hf_memory_send(memory, ends[0]) == 0, "send");
    require(hf_memory_receive(ends[1], &received) == 0, "receive");
    (void)close(ends[0]);
    (void)close(ends[1]);
    return received;
}

/* A segment whose participants were there before the machine was started. */
static void leave_from_before_a_restart(struct arena *arena)
{
    require(hf_segment_init(arena->base, BOARD_SIZE, &arena->segment) == 0, "init");
    leave_a_busy_dead(arena);
    struct segment_header *header = header_of(arena->segment->view);
    for (uint32_t n = 1; n <= SLOTS_PER_PAGE; n++) { /* no kernel has marked them */
        if (claim_by(load_relaxed(&view_slot(arena->segment->view, n)->claim)) != 0) {
            struct slot *slot = view_slot(arena->segment->view, n);
            store_relaxed(view_life(arena->segment->view, n), 1);
            if (n == 1) { /* one whose death was told otherwise, and whose number lives again */
                os_identity living;
                os_thread_identity(&living);
                store_relaxed(&slot->life_kind, LIFE_LOCAL);
                store_relaxed(&slot->identity_space, living.space);
                store_relaxed(&slot->identity_start, living.start);
                store_relaxed(&slot->identity_thread, living.thread);
                store_relaxed(&slot->identity_process, living.process);
            }
        }
    }
    store_relaxed(&header->boot[0], load_relaxed(&header->boot[0]) + 1);
    store_relaxed(&header->boot[1], load_relaxed(&header->boot[1]) + 1);
    hf_segment_close(arena->segment);
    arena->segment = NULL;
}

static hf_memory *to_open;

static void prepare_memory(struct arena *arena)
{
    to_open = again(arena->memory);
}

static int act_open(struct arena *arena)
{
    (void)arena;
    hf_segment *segment;
    return hf_segment_open_memory(to_open, HF_READ_WRITE, &segment);
}

static outcome judge_restart(struct arena *copy)
{
    bool declared = false;
    uint64_t boot[2];
    require(os_boot_id(boot), "boot id");
    declared = load_relaxed(&((struct segment_header *)(void *)copy->base)->boot[0]) == boot[0];
    int error = hf_segment_open_memory(copy->memory, HF_READ_WRITE, &copy->segment);
    if (error != 0) {
        return bad("the segment cannot be opened: %s", hf_strerror(error));
    }
    struct segment_header *header = header_of(copy->segment->view);
    if (load_relaxed(&header->boot[0]) != boot[0] || load_relaxed(&header->boot[1]) != boot[1]) {
        return bad("it is open, and still of an earlier start of the machine");
    }
    outcome undone = judge_undone(copy);
    return undone == OUTCOME_BAD ? undone : declared ? OUTCOME_AFTER : OUTCOME_BEFORE;
}

#define SEGMENT .size = BOARD_SIZE, .maximum = BOARD_SIZE
#define GROWING .size = BOARD_SIZE, .maximum = 8 * BOARD_SIZE

static const struct scenario scenarios[] = {
    {.name = "segment.init.over_rubbish",
     .call = "hf_segment_init",
     .size = BOARD_SIZE,
     .set_up = fill_with_rubbish,
     .act = act_init,
     .judge = judge_init},
    {.name = "segment.init.over_an_old_segment",
     .call = "hf_segment_init",
     .size = BOARD_SIZE,
     .set_up = leave_an_old_segment,
     .act = act_init,
     .judge = judge_init},
    {.name = "segment.root",
     .call = "hf_segment_root",
     SEGMENT,
     .prepare = prepare_bare,
     .act = act_root,
     .judge = judge_root},
    {.name = "pages.alloc",
     .call = "hf_pages_alloc",
     SEGMENT,
     .set_up = make_board,
     .prepare = prepare,
     .act = act_alloc,
     .contend = contend_for_pages,
     .early = take_a_page,
     .judge = judge_alloc},
    {.name = "pages.alloc.growing",
     .call = "hf_pages_alloc",
     GROWING,
     .set_up = make_board,
     .prepare = prepare,
     .act = act_alloc_many,
     .contend = contend_for_pages,
     .early = take_a_page,
     .judge = judge_alloc},
    {.name = "pages.free",
     .call = "hf_pages_free",
     SEGMENT,
     .set_up = make_board,
     .prepare = prepare_pages,
     .act = act_free,
     .contend = contend_for_pages,
     .early = take_a_page,
     .judge = judge_free},
    {.name = "pages.free.many",
     .call = "hf_pages_free",
     GROWING,
     .set_up = make_board,
     .prepare = prepare_many,
     .act = act_free,
     .contend = contend_for_pages,
     .early = take_a_page,
     .judge = judge_free},
    {.name = "segment.grow",
     .call = "hf_segment_grow",
     GROWING,
     .set_up = make_board,
     .prepare = prepare,
     .act = act_grow,
     .contend = contend_for_pages,
     .judge = judge_grow},
    {.name = "segment.trim",
     .call = "hf_segment_trim",
     SEGMENT,
     .set_up = make_board,
     .prepare = prepare_holes,
     .act = act_trim,
     .no_effect = true,
     .contend = contend_for_pages,
     .judge = judge_trim},
    {.name = "participant.join",
     .call = "hf_participant_self",
     SEGMENT,
     .set_up = make_board,
     .act = act_join,
     .no_effect = true,
     .early = take_a_page,
     .judge = judge_join},
    {.name = "participant.join.adding_slots",
     .call = "hf_participant_self",
     SEGMENT,
     .set_up = leave_three_alive,
     .act = act_join,
     .no_effect = true,
     .early = take_a_page,
     .judge = judge_join},
    {.name = "participant.join.taking_a_dead_ones_slot",
     .call = "hf_participant_self",
     SEGMENT,
     .set_up = leave_four_slots_taken,
     .act = act_join,
     .no_effect = true,
     .no_room = true,
     .judge = judge_takeover},
    {.name = "participant.leave",
     .call = "hf_segment_close",
     SEGMENT,
     .set_up = make_board,
     .prepare = prepare,
     .act = act_close,
     .judge = judge_leaving},
    {.name = "participant.leave.in_a_transaction",
     .call = "hf_thread_leave",
     SEGMENT,
     .set_up = make_board,
     .prepare = prepare_busy,
     .act = act_leave,
     .contend = contend_for_mutex,
     .judge = judge_undone},
    {.name = "recovery.of_a_transaction_and_locks",
     .call = "hf_segment_recover",
     SEGMENT,
     .set_up = leave_a_busy_dead,
     .act = act_recover,
     .no_effect = true,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .judge = judge_recovery},
    {.name = "segment.open.after_a_restart",
     .call = "hf_segment_open_memory",
     .size = BOARD_SIZE,
     .set_up = leave_from_before_a_restart,
     .prepare = prepare_memory,
     .act = act_open,
     .judge = judge_restart},
    {.name = "recovery.after_a_jump",
     .call = "hf_thread_recover",
     SEGMENT,
     .set_up = leave_an_owner_alive,
     .prepare = prepare_jumped,
     .act = act_thread_recover,
     .no_effect = true,
     .judge = judge_jumped},
    {.name = "recovery.after_a_jump_with_the_pages",
     .call = "hf_thread_recover",
     SEGMENT,
     .set_up = make_board,
     .prepare = prepare_jumped_with_pages,
     .act = act_thread_recover,
     .no_effect = true,
     .contend = contend_for_pages,
     .early = take_a_page,
     .judge = judge_join},
    {.name = "recovery.after_a_jump_out_of_begin",
     .call = "hf_thread_recover",
     SEGMENT,
     .set_up = make_board,
     .prepare = prepare_jumped_out_of_begin,
     .act = act_recover_and_lock,
     .judge = judge_jumped_out_of_begin},
};
const struct scenario_table segment_scenarios = SCENARIO_TABLE(scenarios);
