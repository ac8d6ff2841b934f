/* SPDX-License-Identifier: MIT */
/* What a death leaves of a mutex. */
#include <errno.h>
#include <string.h>

#include "proof/board.h"
#include "segment/handle.h"

static hf_mutex *mutex_of(struct arena *arena)
{
    return &board_of(arena)->mutex[0];
}

static void make_board(struct arena *arena)
{
    (void)board_of(arena);
}

/* The victim has its slot and has used the mutex before. */
static void prepare(struct arena *arena)
{
    lock(mutex_of(arena), 0);
    unlock(mutex_of(arena));
}

/* Someone may be asleep on the mutex. */
static void prepare_with_waiters(struct arena *arena)
{
    prepare(arena);
    fetch_or_relaxed(&((struct lock *)(void *)mutex_of(arena))->word, LOCK_WAITERS);
}

static void prepare_locked(struct arena *arena)
{
    lock(mutex_of(arena), 0);
}

static void prepare_locked_with_waiters(struct arena *arena)
{
    prepare_locked(arena);
    fetch_or_relaxed(&((struct lock *)(void *)mutex_of(arena))->word, LOCK_WAITERS);
}

/* The intent speaks of another mutex by now. */
static void prepare_locked_before_another(struct arena *arena)
{
    prepare_locked(arena);
    lock(&board_of(arena)->mutex[1], 0);
    unlock(&board_of(arena)->mutex[1]);
}

static void prepare_three_locked(struct arena *arena)
{
    for (unsigned i = 0; i < 3; i++) {
        lock(&board_of(arena)->mutex[i], 0);
    }
}

static int act_lock(struct arena *arena)
{
    return hf_mutex_lock(mutex_of(arena));
}

static int act_trylock(struct arena *arena)
{
    return hf_mutex_trylock(mutex_of(arena));
}

static int act_timedlock(struct arena *arena)
{
    return hf_mutex_timedlock(mutex_of(arena), SECOND);
}

static int act_unlock(struct arena *arena)
{
    return hf_mutex_unlock(mutex_of(arena));
}

/* Free, or held by the dead: `free_is` says which of the two comes first. */
static outcome judge(struct arena *copy, outcome free_is, outcome held_is)
{
    int error = have(board_of(copy), 0);
    if (error != 0 && error != -EOWNERDEAD) {
        return bad("the mutex cannot be had: %s", hf_strerror(error));
    }
    return if_whole(copy, error == 0 ? free_is : held_is);
}

static outcome judge_locking(struct arena *copy)
{
    return judge(copy, OUTCOME_BEFORE, OUTCOME_AFTER);
}

static outcome judge_unlocking(struct arena *copy)
{
    return judge(copy, OUTCOME_AFTER, OUTCOME_BEFORE);
}

/* After a transaction an unlock is an unlock again. */
static void prepare_locked_after_tx(struct arena *arena)
{
    require(hf_tx_begin(arena->segment) == 0, "begin");
    lock(mutex_of(arena), 0);
    require(hf_tx_commit(arena->segment) == 0, "commit");
}

static int act_unlock_at_once(struct arena *arena)
{
    int error = act_unlock(arena);
    uint32_t word = load_relaxed(&((struct lock *)(void *)mutex_of(arena))->word);
    return error == 0 && (word & LOCK_OWNER) != 0 ? 1 : error;
}

/* ---- an owner that died before ----------------------------------------------------------- */

static void die_locked(struct arena *arena)
{
    lock(mutex_of(arena), 0);
}

static void leave_a_dead_owner(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_locked);
}

static void prepare_other_mutex(struct arena *arena)
{
    lock(&board_of(arena)->mutex[1], 0);
    unlock(&board_of(arena)->mutex[1]);
}

static int act_lock_after_death(struct arena *arena)
{
    return hf_mutex_lock(mutex_of(arena)) == -EOWNERDEAD ? 0 : 1;
}

/* Whoever died, the first or the second: the next one hears of it. */
static outcome judge_after_death(struct arena *copy)
{
    return judge(copy, OUTCOME_BAD, OUTCOME_BEFORE);
}

static void prepare_held_after_death(struct arena *arena)
{
    lock(mutex_of(arena), -EOWNERDEAD);
}

static int act_consistent(struct arena *arena)
{
    int error = hf_mutex_consistent(mutex_of(arena));
    return error != 0 ? error : hf_mutex_unlock(mutex_of(arena));
}

/* ---- given up ---------------------------------------------------------------------------- */

/* Still to be mended, or given up for ever. */
static outcome judge_giving_up(struct arena *copy)
{
    hf_mutex *mutex = mutex_of(copy);
    int error = have(board_of(copy), 0);
    if (error == -EOWNERDEAD) {
        return if_whole(copy, OUTCOME_BEFORE);
    }
    if (error != -ENOTRECOVERABLE) {
        return bad("the mutex gives %d", error);
    }
    require(hf_mutex_init(mutex) == 0, "init");
    return if_whole(copy, OUTCOME_AFTER);
}

/* ---- several locks ----------------------------------------------------------------------- */

static int act_unlock_middle(struct arena *arena)
{
    return hf_mutex_unlock(&board_of(arena)->mutex[1]);
}

/* The outer two are always held by the dead; the middle one is what it is about. */
static outcome judge_middle(struct arena *copy)
{
    struct board *board = board_of(copy);
    if (have(board, 0) != -EOWNERDEAD || have(board, 2) != -EOWNERDEAD) {
        return bad("a mutex that the dead held is free");
    }
    int error = have(board, 1);
    require(error == 0 || error == -EOWNERDEAD, "the middle one");
    return if_whole(copy, error == 0 ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

/* ---- memory that was a mutex --------------------------------------------------------------- */

/* Data that looks like a lock of the victim's: like the one that was here. */
static void use_as_data(struct arena *arena, struct lock *lock)
{
    hf_participant self;
    require(hf_participant_self(arena->segment, &self) == 0, "self");
    uint32_t number = (uint32_t)(self.value & SLOT_NUMBER_MAX);
    store_release(&lock->word, number | LOCK_GIVEN_UP);
}

static struct lock *middle_of(struct board *board)
{
    return (struct lock *)(void *)&board->mutex[1];
}

static int act_unlock_middle_and_use(struct arena *arena)
{
    int error = act_unlock_middle(arena);
    use_as_data(arena, middle_of(board_of(arena)));
    return error;
}

static int act_unlock_last_and_use(struct arena *arena)
{
    hf_mutex *mutex = &board_of(arena)->mutex[1];
    int error = hf_mutex_unlock(mutex);
    use_as_data(arena, middle_of(board_of(arena)));
    return error;
}

static void prepare_two_locked(struct arena *arena)
{
    lock(&board_of(arena)->mutex[0], 0);
    lock(&board_of(arena)->mutex[1], 0);
}

/* What was written there after the unlock, recovery leaves alone. */
static outcome judge_used_again(struct arena *copy)
{
    struct board *board = board_of(copy);
    struct lock *lock = middle_of(board);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    uint32_t word = load_acquire(&lock->word);
    bool written = (word & LOCK_GIVEN_UP) != 0;
    if (written && (word & LOCK_OWNER) == 0) {
        return bad("recovery has freed what is no lock any more");
    }
    if (written) {
        require(hf_mutex_init(&board->mutex[1]) == 0, "init");
    } else {
        (void)have(board, 1);
    }
    (void)have(board, 2);
    return have(board, 0) == -EOWNERDEAD ? if_whole(copy, written ? OUTCOME_AFTER : OUTCOME_BEFORE)
                                         : bad("a mutex that the dead held is free");
}

/* ---- inside a transaction ---------------------------------------------------------------- */

static void prepare_locked_in_tx(struct arena *arena)
{
    require(hf_tx_begin(arena->segment) == 0, "begin");
    lock(mutex_of(arena), 0);
}

static void prepare_in_tx(struct arena *arena)
{
    prepare(arena);
    require(hf_tx_begin(arena->segment) == 0, "begin");
}

/* What was taken inside is handed on as if nothing had been. */
static outcome judge_in_tx(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    return error == 0 ? if_whole(copy, OUTCOME_BEFORE)
                      : bad("a mutex taken in a transaction gives %d", error);
}

static void prepare_unlocked_in_tx(struct arena *arena)
{
    prepare_locked_in_tx(arena);
    unlock(mutex_of(arena));
}

/* ---- init and fini ----------------------------------------------------------------------- */

static void make_rubbish(struct arena *arena)
{
    memset(mutex_of(arena), 0xa5, sizeof(hf_mutex));
}

static int act_init(struct arena *arena)
{
    return hf_mutex_init(mutex_of(arena));
}

static outcome judge_init(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    if (error == -EINVAL) {
        require(hf_mutex_init(mutex_of(copy)) == 0, "init");
        return if_whole(copy, OUTCOME_BEFORE);
    }
    return error == 0 ? if_whole(copy, OUTCOME_AFTER) : bad("half a mutex: %d", error);
}

static int act_fini(struct arena *arena)
{
    return hf_mutex_fini(mutex_of(arena));
}

static outcome judge_fini(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    if (error == 0) {
        return if_whole(copy, OUTCOME_BEFORE);
    }
    require(error == -EINVAL && hf_mutex_init(mutex_of(copy)) == 0, "init");
    return if_whole(copy, OUTCOME_AFTER);
}

static int act_fini_in_vain(struct arena *arena)
{
    return act_fini(arena) == -EBUSY ? 0 : 1;
}

static outcome judge_held(struct arena *copy)
{
    return judge(copy, OUTCOME_BAD, OUTCOME_BEFORE);
}

/* Before, the death of its owner is told. */
static outcome judge_fini_after_death(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    if (error == -EOWNERDEAD) {
        return if_whole(copy, OUTCOME_BEFORE);
    }
    if (error != -EINVAL) {
        return bad("half an end: %d", error);
    }
    require(hf_mutex_init(mutex_of(copy)) == 0, "init");
    return if_whole(copy, OUTCOME_AFTER);
}

static void die_with_two_locked(struct arena *arena)
{
    lock(&board_of(arena)->mutex[1], 0);
    lock(&board_of(arena)->mutex[0], 0);
}

static void leave_a_dead_owner_of_two(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_with_two_locked);
}

static void prepare_third_mutex(struct arena *arena)
{
    lock(&board_of(arena)->mutex[2], 0);
    unlock(&board_of(arena)->mutex[2]);
}

/* Of the other that the dead held its death is told, whoever made the first anew. */
static outcome judge_init_after_death(struct arena *copy)
{
    int first = have(board_of(copy), 0);
    int second = have(board_of(copy), 1);
    if (second != -EOWNERDEAD || (first != 0 && first != -EOWNERDEAD)) {
        return bad("the two give %d and %d", first, second);
    }
    return if_whole(copy, first == 0 ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

static void die_wanting_the_middle(struct arena *arena)
{
    want_lock(arena, middle_of(board_of(arena)));
}

static void leave_a_dead_waiter(struct arena *arena)
{
    make_board(arena);
    prepare_other_mutex(arena);
    require(hf_thread_leave(arena->segment) == 0, "leave");
    leave_a_dead(arena, die_wanting_the_middle);
}

/* As if the dead one held what is there now. */
static int act_fini_and_use(struct arena *arena)
{
    struct lock *lock = middle_of(board_of(arena));
    uint32_t dead = who_wants_lock(arena, lock);
    int error = hf_mutex_fini(&board_of(arena)->mutex[1]);
    store_relaxed(&lock->word, dead | LOCK_CLOSED);
    store_release(&lock->kind, LOCK_FRESH);
    return error;
}

static outcome judge_used_after_its_end(struct arena *copy)
{
    struct board *board = board_of(copy);
    struct lock *lock = middle_of(board);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    uint32_t word = load_acquire(&lock->word);
    bool written = (word & LOCK_CLOSED) != 0;
    if (written && (word & LOCK_OWNER) == 0) {
        return bad("recovery has freed what is no lock any more");
    }
    int error = written ? -EINVAL : have(board, 1);
    if (error != 0 && error != -EINVAL) {
        return bad("half an end: %d", error);
    }
    require(error == 0 || hf_mutex_init(&board->mutex[1]) == 0, "init");
    (void)have(board, 0);
    return if_whole(copy, written ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

#define ON_A_BOARD                                                                                 \
    .size = BOARD_SIZE, .maximum = BOARD_SIZE, .set_up = make_board, .contend = contend_for_mutex, \
    .early = take_a_page

static const struct scenario scenarios[] = {
    {.name = "mutex.lock.free",
     .call = "hf_mutex_lock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_lock,
     .judge = judge_locking},
    {.name = "mutex.lock.with_waiters",
     .call = "hf_mutex_lock",
     ON_A_BOARD,
     .prepare = prepare_with_waiters,
     .act = act_lock,
     .judge = judge_locking},
    {.name = "mutex.lock.as_the_first_call",
     .call = "hf_mutex_lock",
     ON_A_BOARD,
     .act = act_lock,
     .judge = judge_locking},
    {.name = "mutex.lock.after_the_owner_died",
     .call = "hf_mutex_lock",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = leave_a_dead_owner,
     .prepare = prepare_other_mutex,
     .act = act_lock_after_death,
     .no_effect = true,
     .judge = judge_after_death},
    {.name = "mutex.lock.in_a_transaction",
     .call = "hf_mutex_lock",
     ON_A_BOARD,
     .prepare = prepare_in_tx,
     .act = act_lock,
     .no_effect = true,
     .judge = judge_in_tx},
    {.name = "mutex.lock.unlocked_in_the_transaction",
     .call = "hf_mutex_lock",
     ON_A_BOARD,
     .prepare = prepare_unlocked_in_tx,
     .act = act_lock,
     .no_effect = true,
     .judge = judge_in_tx},
    {.name = "mutex.trylock",
     .call = "hf_mutex_trylock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_trylock,
     .judge = judge_locking},
    {.name = "mutex.timedlock",
     .call = "hf_mutex_timedlock",
     ON_A_BOARD,
     .prepare = prepare_with_waiters,
     .act = act_timedlock,
     .judge = judge_locking},
    {.name = "mutex.unlock",
     .call = "hf_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked,
     .act = act_unlock,
     .judge = judge_unlocking},
    {.name = "mutex.unlock.after_a_transaction",
     .call = "hf_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked_after_tx,
     .act = act_unlock_at_once,
     .judge = judge_unlocking},
    {.name = "mutex.unlock.after_another",
     .call = "hf_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked_before_another,
     .act = act_unlock,
     .judge = judge_unlocking},
    {.name = "mutex.unlock.with_waiters",
     .call = "hf_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked_with_waiters,
     .act = act_unlock,
     .judge = judge_unlocking},
    {.name = "mutex.unlock.out_of_order",
     .call = "hf_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_three_locked,
     .act = act_unlock_middle,
     .judge = judge_middle},
    {.name = "mutex.unlock.out_of_order_and_the_memory_is_used_again",
     .call = "hf_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_three_locked,
     .act = act_unlock_middle_and_use,
     .judge = judge_used_again},
    {.name = "mutex.unlock.and_the_memory_is_used_again",
     .call = "hf_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_two_locked,
     .act = act_unlock_last_and_use,
     .judge = judge_used_again},
    {.name = "mutex.unlock.in_a_transaction",
     .call = "hf_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked_in_tx,
     .act = act_unlock,
     .no_effect = true,
     .judge = judge_in_tx},
    {.name = "mutex.unlock.gives_the_data_up",
     .call = "hf_mutex_unlock",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = leave_a_dead_owner,
     .prepare = prepare_held_after_death,
     .act = act_unlock,
     .judge = judge_giving_up},
    {.name = "mutex.consistent",
     .call = "hf_mutex_consistent",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = leave_a_dead_owner,
     .prepare = prepare_held_after_death,
     .act = act_consistent,
     .judge = judge_unlocking},
    {.name = "mutex.init.over_rubbish",
     .call = "hf_mutex_init",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = make_rubbish,
     .prepare = prepare_other_mutex,
     .act = act_init,
     .judge = judge_init},
    {.name = "mutex.fini",
     .call = "hf_mutex_fini",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_fini,
     .judge = judge_fini},
    {.name = "mutex.fini.in_vain",
     .call = "hf_mutex_fini",
     ON_A_BOARD,
     .prepare = prepare_locked,
     .act = act_fini_in_vain,
     .no_effect = true,
     .judge = judge_held},
    {.name = "mutex.fini.of_one_that_a_dead_one_holds",
     .call = "hf_mutex_fini",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = leave_a_dead_owner,
     .prepare = prepare_other_mutex,
     .act = act_fini,
     .judge = judge_fini_after_death},
    {.name = "mutex.fini.and_the_memory_is_used_again",
     .call = "hf_mutex_fini",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = leave_a_dead_waiter,
     .prepare = prepare,
     .act = act_fini_and_use,
     .judge = judge_used_after_its_end},
    {.name = "mutex.init.of_one_that_a_dead_one_holds",
     .call = "hf_mutex_init",
     .size = BOARD_SIZE,
     .maximum = BOARD_SIZE,
     .contend = contend_for_mutex,
     .early = take_a_page,
     .set_up = leave_a_dead_owner_of_two,
     .prepare = prepare_third_mutex,
     .act = act_init,
     .judge = judge_init_after_death},
};
const struct scenario_table mutex_scenarios = SCENARIO_TABLE(scenarios);
