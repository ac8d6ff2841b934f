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
        int error = hf_mutex_timedlock(&board->mutex[i], SECOND);
        if (error == -EOWNERDEAD) {
            require(hf_mutex_consistent(&board->mutex[i]) == 0, "consistent");
        } else if (error != 0) {
            return bad("mutex %u gives %d", i, error);
        }
        unlock(&board->mutex[i]);
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
    int error = hf_mutex_timedlock(&board->mutex[0], SECOND);
    require(error == 0 || error == -EOWNERDEAD, "lock"); /* it recovers the dead */
    if (error == -EOWNERDEAD) {
        require(hf_mutex_consistent(&board->mutex[0]) == 0, "consistent");
    }
    unlock(&board->mutex[0]);
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

#define ON_A_BOARD .size = BOARD_SIZE, .maximum = BOARD_SIZE, .set_up = make_board

static const struct scenario scenarios[] = {
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
