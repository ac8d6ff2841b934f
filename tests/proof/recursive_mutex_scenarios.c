/* SPDX-License-Identifier: MIT */
/* What a death leaves of a recursive mutex. */
#include <errno.h>
#include <string.h>

#include "holdfast/recursive_mutex.h"
#include "proof/board.h"
#include "segment/handle.h"

/* It lies where the board's first mutex is, and to contenders and judges it is one: what others
   see of both is the same. */
static hf_recursive_mutex *mutex_of(struct arena *arena)
{
    return (hf_recursive_mutex *)(void *)&board_of(arena)->mutex[0];
}

static struct lock *bytes_of(struct arena *arena)
{
    return (struct lock *)(void *)mutex_of(arena);
}

static void make_board(struct arena *arena)
{
    (void)board_of(arena);
}

static void lock_times(struct arena *arena, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        require(hf_recursive_mutex_lock(mutex_of(arena)) == 0, "lock");
    }
}

static void unlock_times(struct arena *arena, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        require(hf_recursive_mutex_unlock(mutex_of(arena)) == 0, "unlock");
    }
}

/* The victim has its slot and has used the mutex before. */
static void prepare(struct arena *arena)
{
    lock_times(arena, 1);
    unlock_times(arena, 1);
}

static void prepare_with_waiters(struct arena *arena)
{
    prepare(arena);
    fetch_or_relaxed(&bytes_of(arena)->word, LOCK_WAITERS);
}

static void prepare_locked(struct arena *arena)
{
    lock_times(arena, 1);
}

static void prepare_locked_with_waiters(struct arena *arena)
{
    prepare_locked(arena);
    fetch_or_relaxed(&bytes_of(arena)->word, LOCK_WAITERS);
}

static void prepare_locked_twice(struct arena *arena)
{
    lock_times(arena, 2);
}

static int act_lock(struct arena *arena)
{
    return hf_recursive_mutex_lock(mutex_of(arena));
}

static int act_trylock(struct arena *arena)
{
    return hf_recursive_mutex_trylock(mutex_of(arena));
}

static int act_timedlock(struct arena *arena)
{
    return hf_recursive_mutex_timedlock(mutex_of(arena), SECOND);
}

static int act_unlock(struct arena *arena)
{
    return hf_recursive_mutex_unlock(mutex_of(arena));
}

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

/* ---- more than once ---------------------------------------------------------------------- */

/* Locked once more, and unlocked once: it is still held. */
static int act_lock_again(struct arena *arena)
{
    int error = act_lock(arena);
    return error != 0 ? error : act_unlock(arena);
}

static int act_unlock_twice(struct arena *arena)
{
    int error = act_unlock(arena);
    return error != 0 ? error : act_unlock(arena);
}

/* Held by the dead from the first state to the last. */
static outcome judge_held(struct arena *copy)
{
    return judge(copy, OUTCOME_BAD, OUTCOME_BEFORE);
}

/* ---- an owner that died before ----------------------------------------------------------- */

static void die_locked_twice(struct arena *arena)
{
    lock_times(arena, 2);
}

static void leave_a_dead_owner(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_locked_twice);
}

static void prepare_other_mutex(struct arena *arena)
{
    lock(&board_of(arena)->mutex[1], 0);
    unlock(&board_of(arena)->mutex[1]);
}

/* How often the dead had it is forgotten: one unlock is enough. */
static int act_follow(struct arena *arena)
{
    if (act_lock(arena) != -EOWNERDEAD) {
        return 1;
    }
    int error = hf_recursive_mutex_consistent(mutex_of(arena));
    return error != 0 ? error : act_unlock(arena);
}

static void prepare_held_after_death(struct arena *arena)
{
    require(act_lock(arena) == -EOWNERDEAD, "lock");
}

static int act_consistent(struct arena *arena)
{
    int error = hf_recursive_mutex_consistent(mutex_of(arena));
    return error != 0 ? error : act_unlock(arena);
}

/* Recovered already: the word is free, and the count is the dead one's still. */
static void leave_a_dead_owners_count(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_locked_twice);
    require(have(board_of(arena), 0) == -EOWNERDEAD, "the owner's death");
    store_relaxed(&bytes_of(arena)->depth, 1u);
}

/* Free in the end; whether the dead held it says when it died. */
static outcome judge_passing(struct arena *copy)
{
    return judge(copy, OUTCOME_BEFORE, OUTCOME_BEFORE);
}

static int act_pass(struct arena *arena)
{
    int error = act_lock(arena);
    error = error != 0 ? error : act_unlock(arena);
    return error == 0 && (load_relaxed(&bytes_of(arena)->word) & LOCK_OWNER) != 0 ? 1 : error;
}

static void prepare_other_and_waiters(struct arena *arena)
{
    prepare_other_mutex(arena);
    fetch_or_relaxed(&bytes_of(arena)->word, LOCK_WAITERS);
}

/* ---- one that is not to be had ----------------------------------------------------------- */

static void make_given_up(struct arena *arena)
{
    make_board(arena);
    store_relaxed(&bytes_of(arena)->word, LOCK_GIVEN_UP);
}

/* In vain; and then its memory holds data that looks like a lock of the victim's. */
static int act_lock_in_vain_and_use(struct arena *arena)
{
    hf_participant self;
    int error = act_lock(arena);
    require(hf_participant_self(arena->segment, &self) == 0, "self");
    uint32_t number = (uint32_t)(self.value & SLOT_NUMBER_MAX);
    store_release(&bytes_of(arena)->word, number | LOCK_GIVEN_UP | LOCK_OWNER_DIED);
    return error == -ENOTRECOVERABLE ? 0 : 1;
}

static outcome judge_used_again(struct arena *copy)
{
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    uint32_t word = load_acquire(&bytes_of(copy)->word);
    bool written = (word & LOCK_OWNER_DIED) != 0;
    if (written && (word & LOCK_OWNER) == 0) {
        return bad("recovery has freed what is no lock any more");
    }
    require(hf_recursive_mutex_init(mutex_of(copy)) == 0, "init");
    return if_whole(copy, written ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

/* ---- inside a transaction ---------------------------------------------------------------- */

static void prepare_in_tx(struct arena *arena)
{
    prepare(arena);
    require(hf_tx_begin(arena->segment) == 0, "begin");
}

static void prepare_locked_in_tx(struct arena *arena)
{
    prepare_in_tx(arena);
    lock_times(arena, 1);
}

static void prepare_unlocked_in_tx(struct arena *arena)
{
    prepare_locked_in_tx(arena);
    unlock_times(arena, 1);
}

/* What was taken inside is handed on as if nothing had been. */
static outcome judge_in_tx(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    return error == 0 ? if_whole(copy, OUTCOME_BEFORE)
                      : bad("a mutex taken in a transaction gives %d", error);
}

/* Kept, not let go of: another cannot have it. */
static int act_unlock_in_tx(struct arena *arena)
{
    int error = act_unlock(arena);
    bool kept = (load_relaxed(&bytes_of(arena)->word) & LOCK_OWNER) != 0;
    return error != 0 ? error : kept && act_unlock(arena) == -EPERM ? 0 : 1;
}

/* Free at the end, in one step. */
static int act_unlock_and_commit(struct arena *arena)
{
    int error = act_unlock(arena);
    return error != 0 ? error : hf_tx_commit(arena->segment);
}

/* ---- init and fini ----------------------------------------------------------------------- */

static void make_rubbish(struct arena *arena)
{
    memset(mutex_of(arena), 0xa5, sizeof(hf_recursive_mutex));
}

static int act_init(struct arena *arena)
{
    return hf_recursive_mutex_init(mutex_of(arena));
}

static outcome judge_init(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    if (error == -EINVAL) {
        require(hf_recursive_mutex_init(mutex_of(copy)) == 0, "init");
        return if_whole(copy, OUTCOME_BEFORE);
    }
    return error == 0 ? if_whole(copy, OUTCOME_AFTER) : bad("half a mutex: %d", error);
}

static int act_fini(struct arena *arena)
{
    return hf_recursive_mutex_fini(mutex_of(arena));
}

static outcome judge_fini(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    if (error == 0) {
        return if_whole(copy, OUTCOME_BEFORE);
    }
    require(error == -EINVAL && hf_recursive_mutex_init(mutex_of(copy)) == 0, "init");
    return if_whole(copy, OUTCOME_AFTER);
}

#define WITH_CONTENDERS                                                                            \
    .size = BOARD_SIZE, .maximum = BOARD_SIZE, .contend = contend_for_mutex, .early = take_a_page
#define ON_A_BOARD WITH_CONTENDERS, .set_up = make_board

static const struct scenario scenarios[] = {
    {.name = "recursive_mutex.lock.free",
     .call = "hf_recursive_mutex_lock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_lock,
     .judge = judge_locking},
    {.name = "recursive_mutex.lock.with_waiters",
     .call = "hf_recursive_mutex_lock",
     ON_A_BOARD,
     .prepare = prepare_with_waiters,
     .act = act_lock,
     .judge = judge_locking},
    {.name = "recursive_mutex.lock.as_the_first_call",
     .call = "hf_recursive_mutex_lock",
     ON_A_BOARD,
     .act = act_lock,
     .judge = judge_locking},
    {.name = "recursive_mutex.lock.once_more",
     .call = "hf_recursive_mutex_lock",
     ON_A_BOARD,
     .prepare = prepare_locked,
     .act = act_lock_again,
     .no_effect = true,
     .judge = judge_held},
    {.name = "recursive_mutex.lock.after_an_owner_who_had_it_twice",
     .call = "hf_recursive_mutex_lock",
     WITH_CONTENDERS,
     .set_up = leave_a_dead_owner,
     .prepare = prepare_other_mutex,
     .act = act_follow,
     .judge = judge_unlocking},
    {.name = "recursive_mutex.lock.with_the_count_of_the_dead",
     .call = "hf_recursive_mutex_lock",
     WITH_CONTENDERS,
     .set_up = leave_a_dead_owners_count,
     .prepare = prepare_other_mutex,
     .act = act_pass,
     .no_effect = true,
     .judge = judge_passing},
    {.name = "recursive_mutex.lock.with_the_count_of_the_dead_and_waiters",
     .call = "hf_recursive_mutex_lock",
     WITH_CONTENDERS,
     .set_up = leave_a_dead_owners_count,
     .prepare = prepare_other_and_waiters,
     .act = act_pass,
     .no_effect = true,
     .judge = judge_passing},
    {.name = "recursive_mutex.lock.in_vain_and_the_memory_is_used_again",
     .call = "hf_recursive_mutex_lock",
     WITH_CONTENDERS,
     .set_up = make_given_up,
     .prepare = prepare_other_mutex,
     .act = act_lock_in_vain_and_use,
     .judge = judge_used_again},
    {.name = "recursive_mutex.lock.in_a_transaction",
     .call = "hf_recursive_mutex_lock",
     ON_A_BOARD,
     .prepare = prepare_in_tx,
     .act = act_lock,
     .no_effect = true,
     .judge = judge_in_tx},
    {.name = "recursive_mutex.lock.unlocked_in_the_transaction",
     .call = "hf_recursive_mutex_lock",
     ON_A_BOARD,
     .prepare = prepare_unlocked_in_tx,
     .act = act_lock,
     .no_effect = true,
     .judge = judge_in_tx},
    {.name = "recursive_mutex.trylock",
     .call = "hf_recursive_mutex_trylock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_trylock,
     .judge = judge_locking},
    {.name = "recursive_mutex.timedlock",
     .call = "hf_recursive_mutex_timedlock",
     ON_A_BOARD,
     .prepare = prepare_with_waiters,
     .act = act_timedlock,
     .judge = judge_locking},
    {.name = "recursive_mutex.unlock",
     .call = "hf_recursive_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked,
     .act = act_unlock,
     .judge = judge_unlocking},
    {.name = "recursive_mutex.unlock.with_waiters",
     .call = "hf_recursive_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked_with_waiters,
     .act = act_unlock,
     .judge = judge_unlocking},
    {.name = "recursive_mutex.unlock.of_one_held_twice",
     .call = "hf_recursive_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked_twice,
     .act = act_unlock,
     .no_effect = true,
     .judge = judge_held},
    {.name = "recursive_mutex.unlock.twice",
     .call = "hf_recursive_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked_twice,
     .act = act_unlock_twice,
     .judge = judge_unlocking},
    {.name = "recursive_mutex.unlock.in_a_transaction",
     .call = "hf_recursive_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked_in_tx,
     .act = act_unlock_in_tx,
     .no_effect = true,
     .judge = judge_in_tx},
    {.name = "recursive_mutex.unlock.and_commit",
     .call = "hf_recursive_mutex_unlock",
     ON_A_BOARD,
     .prepare = prepare_locked_in_tx,
     .act = act_unlock_and_commit,
     .no_effect = true,
     .judge = judge_in_tx},
    {.name = "recursive_mutex.consistent",
     .call = "hf_recursive_mutex_consistent",
     WITH_CONTENDERS,
     .set_up = leave_a_dead_owner,
     .prepare = prepare_held_after_death,
     .act = act_consistent,
     .judge = judge_unlocking},
    {.name = "recursive_mutex.init.over_rubbish",
     .call = "hf_recursive_mutex_init",
     WITH_CONTENDERS,
     .set_up = make_rubbish,
     .prepare = prepare_other_mutex,
     .act = act_init,
     .judge = judge_init},
    {.name = "recursive_mutex.fini",
     .call = "hf_recursive_mutex_fini",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_fini,
     .judge = judge_fini},
};
const struct scenario_table recursive_mutex_scenarios = SCENARIO_TABLE(scenarios);
