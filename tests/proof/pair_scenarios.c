/* SPDX-License-Identifier: MIT */
/* Calls that meet, and whose callers die together. */
#include <errno.h>
#include <string.h>

#include "holdfast/heap.h"
#include "proof/board.h"

#define PAGE HF_SEGMENT_PAGE

static hf_mutex *mutex_of(struct arena *arena)
{
    return &board_of(arena)->mutex[0];
}

static void make_board(struct arena *arena)
{
    (void)board_of(arena);
}

/* It has its slot. */
static void prepare(struct arena *arena)
{
    hf_participant self;
    require(hf_participant_self(arena->segment, &self) == 0, "self");
}

static void prepare_locked(struct arena *arena)
{
    lock(mutex_of(arena), 0);
}

/* Whatever they were told of the dead: it is the judge's affair. */
static int take_and_give_back(struct arena *arena)
{
    hf_mutex *mutex = mutex_of(arena);
    int error = hf_mutex_lock(mutex);
    if (error == -EOWNERDEAD) {
        error = hf_mutex_consistent(mutex);
    }
    return error != 0 ? error : hf_mutex_unlock(mutex);
}

static int give_back(struct arena *arena)
{
    return hf_mutex_unlock(mutex_of(arena));
}

static int try_for_a_moment(struct arena *arena)
{
    int error = hf_mutex_timedlock(mutex_of(arena), 1000000);
    if (error == -ETIMEDOUT) {
        return 0;
    }
    return error != 0 ? error : hf_mutex_unlock(mutex_of(arena));
}

/* The mutexes can be had, whatever they tell of their last owners. */
static outcome judge_mutexes(struct arena *copy)
{
    struct board *board = board_of(copy);
    for (unsigned i = 0; i < 3; i++) {
        int error = have(board, i);
        if (error != 0 && error != -EOWNERDEAD) {
            return bad("mutex %u cannot be had: %s", i, hf_strerror(error));
        }
    }
    return if_whole(copy, OUTCOME_BEFORE);
}

/* ---- the dead, met by both ---------------------------------------------------------------- */

static void die_in_a_transaction(struct arena *arena)
{
    struct board *board = board_of(arena);
    lock(&board->mutex[1], 0);
    require(hf_tx_begin(arena->segment) == 0, "begin");
    lock(&board->mutex[0], 0);
    require(hf_tx_add(arena->segment, board->account, sizeof board->account) == 0, "add");
    board->account[0] -= 5;
}

static void leave_a_busy_dead(struct arena *arena)
{
    make_board(arena);
    require(hf_thread_leave(arena->segment) == 0, "leave");
    leave_a_dead(arena, die_in_a_transaction);
}

static int recover(struct arena *arena)
{
    return hf_segment_recover(arena->segment, NULL);
}

static outcome judge_undone(struct arena *copy)
{
    struct board *board = board_of(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    if (board->account[0] != SUM) {
        return bad("the transaction of the dead is not undone");
    }
    return judge_mutexes(copy);
}

/* ---- transactions ------------------------------------------------------------------------ */

static void prepare_unlocked_later(struct arena *arena)
{
    struct board *board = board_of(arena);
    require(hf_tx_begin(arena->segment) == 0, "begin");
    lock(&board->mutex[0], 0);
    require(hf_tx_add(arena->segment, board->account, sizeof board->account) == 0, "add");
    board->account[0] -= 5;
    board->account[1] += 5;
    unlock(&board->mutex[0]);
}

static int commit(struct arena *arena)
{
    return hf_tx_commit(arena->segment);
}

/* Moves money as well: what it sees is whole, whether the other has committed or not. */
static int transfer(struct arena *arena)
{
    struct board *board = board_of(arena);
    require(hf_tx_begin(arena->segment) == 0, "begin");
    int error = hf_mutex_lock(&board->mutex[0]);
    if (error != 0) {
        return error;
    }
    require(hf_tx_add(arena->segment, board->account, sizeof board->account) == 0, "add");
    board->account[0] -= 3;
    board->account[1] += 3;
    error = hf_mutex_unlock(&board->mutex[0]);
    return error != 0 ? error : hf_tx_commit(arena->segment);
}

static outcome judge_sum(struct arena *copy)
{
    struct board *board = board_of(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    if (board->account[0] + board->account[1] != SUM) {
        return bad("the accounts hold %ld and %ld", (long)board->account[0],
                   (long)board->account[1]);
    }
    return judge_mutexes(copy);
}

/* ---- pages and slots --------------------------------------------------------------------- */

static int alloc_and_free(struct arena *arena, unsigned link, uint64_t pages)
{
    struct board *board = board_of(arena);
    int error = hf_pages_alloc(arena->segment, pages * PAGE, &board->pair_link[link]);
    return error != 0 ? error
                      : hf_pages_free(arena->segment, pages * PAGE, &board->pair_link[link]);
}

static int alloc_and_free_one(struct arena *arena)
{
    return alloc_and_free(arena, 0, 1);
}

static int alloc_and_free_three(struct arena *arena)
{
    return alloc_and_free(arena, 1, 3);
}

/* Whatever the links name is in use, and nothing else. */
static outcome judge_links(struct arena *copy)
{
    struct board *board = board_of(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    const uint64_t pages[2] = {1, 3};
    for (unsigned i = 0; i < 2; i++) {
        if (board->pair_link[i].value != 0 &&
            hf_pages_free(copy->segment, pages[i] * PAGE, &board->pair_link[i]) != 0) {
            return bad("what link %u names cannot be freed", i);
        }
    }
    return if_whole(copy, OUTCOME_BEFORE);
}

static void leave_two_alive(struct arena *arena)
{
    leave_alive(arena, prepare);
    leave_alive(arena, prepare);
    board_of(arena)->living = 2;
}

/* Stepped, whoever adds slots may take longer than the other has patience. */
static int join(struct arena *arena)
{
    hf_participant self;
    int error = hf_participant_self(arena->segment, &self);
    return error == -EAGAIN ? 0 : error;
}

static int leave(struct arena *arena)
{
    return hf_thread_leave(arena->segment);
}

static outcome judge_whole(struct arena *copy)
{
    return if_whole(copy, OUTCOME_BEFORE);
}

/* ---- the heap ---------------------------------------------------------------------------- */

#define HEAP_SIZE (40 * PAGE)
#define THIRD     4096u /* three of them are a span */
#define LARGE     8193u

static hf_off *heap_link(struct arena *arena, unsigned i)
{
    return &board_of(arena)->heap.link[i];
}

static int into(struct arena *arena, unsigned i, size_t size)
{
    return hf_alloc_into(arena->segment, size, heap_link(arena, i));
}

static int from(struct arena *arena, unsigned i)
{
    return hf_free_from(arena->segment, heap_link(arena, i));
}

/* Each link names a block in use, and these are all. */
static outcome judge_blocks(struct arena *copy)
{
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    uint64_t blocks = heap_blocks(copy);
    uint64_t links = heap_links(copy);
    if (blocks != links) {
        return bad("%lu blocks are in use, by %lu links", (unsigned long)blocks,
                   (unsigned long)links);
    }
    return heap_is_whole(copy, 0) ? OUTCOME_BEFORE : OUTCOME_BAD;
}

static void take_three(struct arena *arena)
{
    for (unsigned i = 0; i < 3; i++) {
        require(into(arena, i, THIRD) == 0, "into");
    }
}

static void leave_three(struct arena *arena)
{
    make_board(arena);
    leave_alive(arena, take_three);
    board_of(arena)->living = 1;
}

static void die_with_three(struct arena *arena)
{
    take_three(arena);
    require(from(arena, 2) == 0, "from");
}

static void leave_an_orphan(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_with_three);
    require(hf_segment_recover(arena->segment, NULL) == 0, "recover");
}

static void leave_an_unrecovered_one(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_with_three);
}

static int free_first(struct arena *arena)
{
    return from(arena, 0);
}

static int free_second(struct arena *arena)
{
    return from(arena, 1);
}

static int take_two(struct arena *arena)
{
    int error = into(arena, 3, THIRD);
    return error != 0 ? error : into(arena, 4, THIRD);
}

static int take_two_more(struct arena *arena)
{
    int error = into(arena, 5, THIRD);
    return error != 0 ? error : into(arena, 6, THIRD);
}

static int free_all_and_trim(struct arena *arena)
{
    int error = from(arena, 1);
    error = error != 0 ? error : from(arena, 2);
    return error != 0 ? error : hf_heap_trim(arena->segment);
}

static void begin_and_free(struct arena *arena, unsigned i)
{
    require(hf_tx_begin(arena->segment) == 0, "begin");
    require(from(arena, i) == 0, "from");
}

static void prepare_first_freed(struct arena *arena)
{
    begin_and_free(arena, 0);
}

static void prepare_large_freed(struct arena *arena)
{
    require(into(arena, 0, LARGE) == 0, "into");
    begin_and_free(arena, 0);
}

static int trim_and_take_large(struct arena *arena)
{
    int error = hf_heap_trim(arena->segment);
    return error != 0 ? error : into(arena, 3, LARGE);
}

/* An empty span, given back, and its owner gone; then somebody else has the descriptor. */
static void prepare_empty(struct arena *arena)
{
    require(into(arena, 0, THIRD) == 0 && from(arena, 0) == 0, "into");
}

static int trim_leave_and_take(struct arena *arena)
{
    int error = hf_heap_trim(arena->segment);
    error = error != 0 ? error : hf_thread_leave(arena->segment);
    return error != 0 ? error : into(arena, 3, THIRD);
}

static int trim_and_take(struct arena *arena)
{
    int error = hf_heap_trim(arena->segment);
    return error != 0 ? error : into(arena, 5, THIRD);
}

static int recover_and_take_two(struct arena *arena)
{
    int error = recover(arena);
    return error != 0 ? error : take_two(arena);
}

static const struct pair pairs[] = {
    {.name = "pair.both_want_one_lock",
     .maximum = BOARD_SIZE,
     .set_up = make_board,
     .prepare = {prepare, prepare},
     .act = {take_and_give_back, take_and_give_back},
     .early = take_a_page,
     .judge = judge_mutexes},
    {.name = "pair.one_hands_over_to_the_other",
     .maximum = BOARD_SIZE,
     .set_up = make_board,
     .prepare = {prepare_locked, prepare},
     .act = {give_back, take_and_give_back},
     .early = take_a_page,
     .judge = judge_mutexes},
    {.name = "pair.one_gives_up_as_it_is_handed_over",
     .maximum = BOARD_SIZE,
     .set_up = make_board,
     .prepare = {prepare_locked, prepare},
     .act = {give_back, try_for_a_moment},
     .early = take_a_page,
     .judge = judge_mutexes},
    {.name = "pair.both_meet_a_dead_owner",
     .maximum = BOARD_SIZE,
     .set_up = leave_a_busy_dead,
     .prepare = {prepare, prepare},
     .act = {take_and_give_back, take_and_give_back},
     .early = take_a_page,
     .judge = judge_undone},
    {.name = "pair.both_recover_the_same",
     .maximum = BOARD_SIZE,
     .set_up = leave_a_busy_dead,
     .prepare = {prepare, prepare},
     .act = {recover, recover},
     .early = take_a_page,
     .judge = judge_undone},
    {.name = "pair.a_commit_hands_over",
     .maximum = BOARD_SIZE,
     .set_up = make_board,
     .prepare = {prepare_unlocked_later, prepare},
     .act = {commit, transfer},
     .early = take_a_page,
     .judge = judge_sum},
    {.name = "pair.both_want_pages",
     .maximum = BOARD_SIZE,
     .set_up = make_board,
     .prepare = {prepare, prepare},
     .act = {alloc_and_free_one, alloc_and_free_three},
     .early = take_a_page,
     .judge = judge_links},
    {.name = "pair.both_want_the_last_slot",
     .maximum = BOARD_SIZE,
     .set_up = leave_two_alive,
     .act = {join, join},
     .early = take_a_page,
     .judge = judge_whole},
    {.name = "pair.one_leaves_as_the_other_joins",
     .maximum = BOARD_SIZE,
     .set_up = leave_two_alive,
     .prepare = {prepare, NULL},
     .act = {leave, join},
     .early = take_a_page,
     .judge = judge_whole},
    {.name = "pair.heap.one_collects_what_the_other_frees",
     .maximum = HEAP_SIZE,
     .set_up = make_board,
     .prepare = {take_three, prepare},
     .act = {take_two, free_first},
     .early = take_blocks,
     .judge = judge_blocks},
    {.name = "pair.heap.the_owner_frees_beside_another",
     .maximum = HEAP_SIZE,
     .set_up = make_board,
     .prepare = {take_three, prepare},
     .act = {free_first, free_second},
     .early = take_blocks,
     .judge = judge_blocks},
    {.name = "pair.heap.one_gives_back_what_the_other_frees_in",
     .maximum = HEAP_SIZE,
     .set_up = make_board,
     .prepare = {take_three, prepare},
     .act = {free_all_and_trim, free_first},
     .early = take_blocks,
     .judge = judge_blocks},
    {.name = "pair.heap.both_free_of_a_third_ones_span",
     .maximum = HEAP_SIZE,
     .set_up = leave_three,
     .prepare = {prepare, prepare},
     .act = {free_first, free_second},
     .early = take_blocks,
     .judge = judge_blocks},
    {.name = "pair.heap.one_collects_what_the_other_commits",
     .maximum = HEAP_SIZE,
     .set_up = make_board,
     .prepare = {take_three, prepare_first_freed},
     .act = {take_two, commit},
     .early = take_blocks,
     .judge = judge_blocks},
    {.name = "pair.heap.both_take_an_orphan",
     .maximum = HEAP_SIZE,
     .set_up = leave_an_orphan,
     .prepare = {prepare, prepare},
     .act = {take_two, take_two_more},
     .early = take_blocks,
     .judge = judge_blocks},
    {.name = "pair.heap.one_adopts_as_the_other_frees",
     .maximum = HEAP_SIZE,
     .set_up = leave_an_orphan,
     .prepare = {prepare, prepare},
     .act = {take_two, free_first},
     .early = take_blocks,
     .judge = judge_blocks},
    {.name = "pair.heap.both_meet_a_dead_ones_span",
     .maximum = HEAP_SIZE,
     .set_up = leave_an_unrecovered_one,
     .prepare = {prepare, prepare},
     .act = {recover_and_take_two, free_first},
     .early = take_blocks,
     .judge = judge_blocks},
    {.name = "pair.heap.both_make_spans",
     .maximum = HEAP_SIZE,
     .set_up = make_board,
     .prepare = {prepare, prepare},
     .act = {take_two, take_two_more},
     .early = take_blocks,
     .judge = judge_blocks},
    {.name = "pair.heap.one_sweeps_what_the_other_commits",
     .maximum = HEAP_SIZE,
     .set_up = make_board,
     .prepare = {prepare_large_freed, prepare},
     .act = {commit, trim_and_take_large},
     .early = take_blocks,
     .judge = judge_blocks},
    {.name = "pair.heap.one_adopts_what_the_other_gives_back",
     .maximum = HEAP_SIZE,
     .set_up = make_board,
     .prepare = {prepare_empty, prepare},
     .act = {trim_leave_and_take, trim_and_take},
     .early = take_blocks,
     .judge = judge_blocks},
};
const struct pair_table pair_scenarios = {pairs, sizeof pairs / sizeof pairs[0]};
