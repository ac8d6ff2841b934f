/* SPDX-License-Identifier: MIT */
/* What a death leaves of a transaction: all that it wrote, or nothing. */
#include <errno.h>
#include <string.h>

#include "proof/board.h"

static void make_board(struct arena *arena)
{
    struct board *board = board_of(arena);
    for (unsigned i = 0; i < BIG; i++) {
        board->big[i] = (uint8_t)(i * 7);
    }
}

static void prepare(struct arena *arena)
{
    lock(&board_of(arena)->mutex[0], 0);
    unlock(&board_of(arena)->mutex[0]);
}

static void begin(struct arena *arena)
{
    require(hf_tx_begin(arena->segment) == 0, "begin");
}

static void add(struct arena *arena, const void *address, size_t length)
{
    require(hf_tx_add(arena->segment, address, length) == 0, "add");
}

/* Saves and writes the accounts, leaving the transaction open. */
static void transfer(struct arena *arena)
{
    struct board *board = board_of(arena);
    add(arena, board->account, sizeof board->account);
    board->account[0] -= 5;
    board->account[1] += 5;
}

static void prepare_open(struct arena *arena)
{
    begin(arena);
    lock(&board_of(arena)->mutex[0], 0);
}

static void prepare_written(struct arena *arena)
{
    prepare_open(arena);
    transfer(arena);
}

static void prepare_unlocked(struct arena *arena)
{
    prepare_written(arena);
    lock(&board_of(arena)->mutex[1], 0);
    unlock(&board_of(arena)->mutex[0]);
}

/* As it was, or with the transfer made; the locks can be had, the first without a word if it was
 * unlocked. */
static outcome judge_accounts(struct arena *copy)
{
    struct board *board = board_of(copy);
    for (unsigned i = 0; i < 3; i++) {
        int error = have(board, i);
        if (error != 0 && error != -EOWNERDEAD) {
            return bad("mutex %u gives %d", i, error);
        }
    }
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    int64_t a = board->account[0];
    int64_t b = board->account[1];
    for (unsigned i = 0; i < BIG; i++) {
        if (board->big[i] != (uint8_t)(i * 7 + (a == SUM ? 0 : 1))) {
            return bad("byte %u of the large range does not go with the accounts", i);
        }
    }
    if (a == SUM && b == 0) {
        return if_whole(copy, OUTCOME_BEFORE);
    }
    return a == SUM - 5 && b == 5 ? if_whole(copy, OUTCOME_AFTER)
                                  : bad("the accounts hold %ld and %ld", (long)a, (long)b);
}

/* As judge_accounts, for transactions that do not touch the large range. */
static outcome judge_small(struct arena *copy)
{
    struct board *board = board_of(copy);
    int error = have(board, 0); /* it recovers the dead */
    require(error == 0 || error == -EOWNERDEAD, "lock");
    if (board->account[0] != SUM) {
        memset(board->big, 0, sizeof board->big);
        for (unsigned i = 0; i < BIG; i++) {
            board->big[i] = (uint8_t)(i * 7 + 1);
        }
    }
    return judge_accounts(copy);
}

/* ---- the calls --------------------------------------------------------------------------- */

static int act_begin(struct arena *arena)
{
    return hf_tx_begin(arena->segment);
}

static int act_add(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_tx_add(arena->segment, board->account, sizeof board->account);
    board->account[0] -= 5;
    board->account[1] += 5;
    return error;
}

/* The same range again, and one that overlaps: what was saved first must win. */
static int act_add_again(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = act_add(arena);
    if (error == 0) {
        error = hf_tx_add(arena->segment, &board->account[1], sizeof board->account[1]);
    }
    board->account[1] += 7;
    return error;
}

static int act_add_large(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_tx_add(arena->segment, board->big, sizeof board->big);
    memset(board->big, 0xee, sizeof board->big);
    return error;
}

static int act_reserve(struct arena *arena)
{
    return hf_tx_reserve(arena->segment, 2 * BIG);
}

static int act_commit(struct arena *arena)
{
    return hf_tx_commit(arena->segment);
}

static int act_abort(struct arena *arena)
{
    return hf_tx_abort(arena->segment);
}

/* A whole one, of ranges that need more log than the slot has. */
static int act_everything(struct arena *arena)
{
    struct board *board = board_of(arena);
    begin(arena);
    lock(&board->mutex[0], 0);
    begin(arena);
    transfer(arena);
    require(hf_tx_commit(arena->segment) == 0, "inner commit");
    add(arena, board->big, sizeof board->big);
    for (unsigned i = 0; i < BIG; i += 500) { /* not one at a time: each is a state */
        unsigned n = BIG - i < 500 ? BIG - i : 500;
        uint8_t next[500];
        for (unsigned j = 0; j < n; j++) {
            next[j] = (uint8_t)((i + j) * 7 + 1);
        }
        memcpy(board->big + i, next, n);
    }
    unlock(&board->mutex[0]);
    return hf_tx_commit(arena->segment);
}

static void prepare_large(struct arena *arena)
{
    prepare_open(arena);
    transfer(arena);
    require(act_add_large(arena) == 0, "add");
}

/* ---- what one transaction leaves to the next ---------------------------------------------- */

/* What the first one has saved is not the second one's to restore. */
static void prepare_second(struct arena *arena)
{
    struct board *board = board_of(arena);
    begin(arena);
    add(arena, board->odd, sizeof board->odd);
    require(hf_tx_commit(arena->segment) == 0, "commit");
    memset(board->odd, 7, sizeof board->odd);
    prepare_open(arena);
}

/* Ranges that are no multiple of anything. */
static int act_add_odd(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_tx_add(arena->segment, board->odd + 1, 13);
    memset(board->odd + 1, 9, 13);
    return error;
}

static outcome judge_odd(struct arena *copy)
{
    struct board *board = board_of(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    for (size_t i = 0; i < sizeof board->odd; i++) {
        if (board->odd[i] != 7) {
            return bad("byte %lu of the odd range is %u", (unsigned long)i, board->odd[i]);
        }
    }
    return judge_accounts(copy);
}

/* ---- locks from before -------------------------------------------------------------------- */

static void prepare_locked_before(struct arena *arena)
{
    lock(&board_of(arena)->mutex[0], 0);
    lock(&board_of(arena)->mutex[1], 0);
    begin(arena);
    lock(&board_of(arena)->mutex[2], 0);
    transfer(arena);
    unlock(&board_of(arena)->mutex[0]);
}

/* Before: both that were held at the start are suspect. After: the one unlocked inside is not. */
static outcome judge_locks_before(struct arena *copy)
{
    struct board *board = board_of(copy);
    int third = have(board, 2);
    bool committed = board->account[0] != SUM;
    int first = have(board, 0);
    int second = have(board, 1);
    if (first != (committed ? 0 : -EOWNERDEAD) || second != -EOWNERDEAD ||
        (!committed && third != 0)) {
        return bad("%s, and the mutexes give %d, %d, %d", committed ? "committed" : "undone", first,
                   second, third);
    }
    return if_whole(copy, committed ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

/* The one that was taken last is freed, and the ones below it are still held. */
static void prepare_last_unlocked(struct arena *arena)
{
    lock(&board_of(arena)->mutex[0], 0);
    lock(&board_of(arena)->mutex[1], 0);
    begin(arena);
    lock(&board_of(arena)->mutex[2], 0);
    transfer(arena);
    unlock(&board_of(arena)->mutex[2]);
}

static outcome judge_last_unlocked(struct arena *copy)
{
    struct board *board = board_of(copy);
    int third = have(board, 2);
    bool committed = board->account[0] != SUM;
    int first = have(board, 0);
    int second = have(board, 1);
    if (first != -EOWNERDEAD || second != -EOWNERDEAD || third != 0) {
        return bad("%s, and the mutexes give %d, %d, %d", committed ? "committed" : "undone", first,
                   second, third);
    }
    return if_whole(copy, committed ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

/* Undone in any case. */
static outcome judge_locks_before_abort(struct arena *copy)
{
    struct board *board = board_of(copy);
    int third = have(board, 2);
    int first = have(board, 0);
    int second = have(board, 1);
    if (second != -EOWNERDEAD || board->account[0] != SUM || (first == -EOWNERDEAD && third != 0)) {
        return bad("the mutexes give %d, %d, %d", first, second, third);
    }
    return if_whole(copy, first == 0 ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

/* ---- mending inside ----------------------------------------------------------------------- */

static void die_locked(struct arena *arena)
{
    lock(&board_of(arena)->mutex[0], 0);
}

static void leave_a_dead_owner(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_locked);
}

static void prepare_mending(struct arena *arena)
{
    begin(arena);
    lock(&board_of(arena)->mutex[0], -EOWNERDEAD);
    transfer(arena);
}

static int act_mend(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_mutex_consistent(&board->mutex[0]);
    unlock(&board->mutex[0]);
    return error != 0 ? error : hf_tx_commit(arena->segment);
}

static int act_mend_and_abort(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_mutex_consistent(&board->mutex[0]);
    unlock(&board->mutex[0]);
    return error != 0 ? error : hf_tx_abort(arena->segment);
}

/* What mended the data is undone: it is to be mended once more. */
static int act_mend_abort_and_mend(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_mutex_consistent(&board->mutex[0]);
    error = error != 0 ? error : hf_tx_abort(arena->segment);
    error = error != 0 ? error : hf_mutex_consistent(&board->mutex[0]);
    return error != 0 ? error : hf_mutex_unlock(&board->mutex[0]);
}

static outcome judge_mended_again(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    return error == 0             ? if_whole(copy, OUTCOME_AFTER)
           : error == -EOWNERDEAD ? if_whole(copy, OUTCOME_BEFORE)
                                  : bad("the mutex gives %d", error);
}

/* The data is good exactly if the transaction that mended it is there. */
static outcome judge_mending(struct arena *copy)
{
    struct board *board = board_of(copy);
    int error = have(board, 0);
    bool committed = board->account[0] != SUM;
    if (error != (committed ? 0 : -EOWNERDEAD)) {
        return bad("%s, and the mutex gives %d", committed ? "committed" : "undone", error);
    }
    return if_whole(copy, committed ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

/* The lock stays held: mended, it is good for this owner from the commit on. */
static int act_mend_and_keep(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_mutex_consistent(&board->mutex[0]);
    if (error == 0) {
        error = hf_tx_commit(arena->segment);
    }
    unlock(&board->mutex[0]);
    return error;
}

static outcome judge_mending_kept(struct arena *copy)
{
    struct board *board = board_of(copy);
    int error = have(board, 0);
    bool committed = board->account[0] != SUM;
    if ((error != 0 && error != -EOWNERDEAD) || (!committed && error == 0)) {
        return bad("%s, and the mutex gives %d", committed ? "committed" : "undone", error);
    }
    return if_whole(copy, error == 0 ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

/* ---- a lock that is unlocked inside and taken again --------------------------------------- */

static void prepare_unlocked_inside(struct arena *arena)
{
    begin(arena);
    lock(&board_of(arena)->mutex[0], 0);
    unlock(&board_of(arena)->mutex[0]);
}

static int act_take_again_and_commit(struct arena *arena)
{
    int error = hf_mutex_lock(&board_of(arena)->mutex[0]);
    return error != 0 ? error : hf_tx_commit(arena->segment);
}

static outcome judge_taken_again(struct arena *copy)
{
    return if_whole(copy, have(board_of(copy), 0) == 0 ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

#define ON_A_BOARD                                                                                 \
    .size = BOARD_SIZE, .maximum = BOARD_SIZE, .set_up = make_board, .contend = contend_for_mutex, \
    .early = take_a_page

/* ---- beginning with a lock held ----------------------------------------------------------- */

static void prepare_holding(struct arena *arena)
{
    prepare(arena);
    lock(&board_of(arena)->mutex[0], 0);
}

/* It was taken before, whatever has become of the transaction. */
static outcome judge_holding(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    return error == -EOWNERDEAD ? if_whole(copy, OUTCOME_BEFORE) : bad("the mutex gives %d", error);
}

static const struct scenario scenarios[] = {
    {.name = "tx.begin.holding_a_lock",
     .call = "hf_tx_begin",
     ON_A_BOARD,
     .prepare = prepare_holding,
     .act = act_begin,
     .no_effect = true,
     .judge = judge_holding},
    {.name = "tx.begin",
     .call = "hf_tx_begin",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_begin,
     .no_effect = true,
     .judge = judge_accounts},
    {.name = "tx.add",
     .call = "hf_tx_add",
     ON_A_BOARD,
     .prepare = prepare_open,
     .act = act_add,
     .no_effect = true,
     .judge = judge_accounts},
    {.name = "tx.add.again",
     .call = "hf_tx_add",
     ON_A_BOARD,
     .prepare = prepare_open,
     .act = act_add_again,
     .no_effect = true,
     .judge = judge_accounts},
    {.name = "tx.add.odd_in_a_second_one",
     .call = "hf_tx_add",
     ON_A_BOARD,
     .prepare = prepare_second,
     .act = act_add_odd,
     .no_effect = true,
     .judge = judge_odd},
    {.name = "tx.add.beyond_the_slot",
     .call = "hf_tx_add",
     ON_A_BOARD,
     .prepare = prepare_open,
     .act = act_add_large,
     .no_effect = true,
     .judge = judge_accounts},
    {.name = "tx.reserve",
     .call = "hf_tx_reserve",
     ON_A_BOARD,
     .prepare = prepare_written,
     .act = act_reserve,
     .no_effect = true,
     .judge = judge_accounts},
    {.name = "tx.commit",
     .call = "hf_tx_commit",
     ON_A_BOARD,
     .prepare = prepare_written,
     .act = act_commit,
     .judge = judge_small},
    {.name = "tx.commit.frees_locks",
     .call = "hf_tx_commit",
     ON_A_BOARD,
     .prepare = prepare_unlocked,
     .act = act_commit,
     .judge = judge_small},
    {.name = "tx.commit.with_locks_from_before",
     .call = "hf_tx_commit",
     ON_A_BOARD,
     .prepare = prepare_locked_before,
     .act = act_commit,
     .judge = judge_locks_before},
    {.name = "tx.commit.frees_the_last_taken",
     .call = "hf_tx_commit",
     ON_A_BOARD,
     .prepare = prepare_last_unlocked,
     .act = act_commit,
     .judge = judge_last_unlocked},
    {.name = "tx.commit.keeps_a_lock_taken_again",
     .call = "hf_tx_commit",
     ON_A_BOARD,
     .prepare = prepare_unlocked_inside,
     .act = act_take_again_and_commit,
     .judge = judge_taken_again},
    {.name = "tx.abort.with_locks_from_before",
     .call = "hf_tx_abort",
     ON_A_BOARD,
     .prepare = prepare_locked_before,
     .act = act_abort,
     .judge = judge_locks_before_abort},
    {.name = "tx.commit.mends",
     .call = "hf_mutex_consistent",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = leave_a_dead_owner,
     .prepare = prepare_mending,
     .act = act_mend,
     .judge = judge_mending},
    {.name = "tx.commit.mends_and_keeps",
     .call = "hf_mutex_consistent",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = leave_a_dead_owner,
     .prepare = prepare_mending,
     .act = act_mend_and_keep,
     .judge = judge_mending_kept},
    {.name = "tx.abort.of_mending",
     .call = "hf_mutex_consistent",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = leave_a_dead_owner,
     .prepare = prepare_mending,
     .act = act_mend_and_abort,
     .no_effect = true,
     .judge = judge_mending},
    {.name = "tx.abort.of_mending_that_is_done_again",
     .call = "hf_mutex_consistent",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = leave_a_dead_owner,
     .prepare = prepare_mending,
     .act = act_mend_abort_and_mend,
     .judge = judge_mended_again},
    {.name = "tx.abort",
     .call = "hf_tx_abort",
     ON_A_BOARD,
     .prepare = prepare_unlocked,
     .act = act_abort,
     .no_effect = true,
     .judge = judge_accounts},
    {.name = "tx.abort.beyond_the_slot",
     .call = "hf_tx_abort",
     ON_A_BOARD,
     .prepare = prepare_large,
     .act = act_abort,
     .no_effect = true,
     .judge = judge_accounts},
    {.name = "tx.everything",
     .call = "hf_tx_commit",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_everything,
     .judge = judge_accounts},
};
const struct scenario_table tx_scenarios = SCENARIO_TABLE(scenarios);
