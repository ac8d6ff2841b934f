/* SPDX-License-Identifier: MIT */
/* What a death leaves of a condition, and of the lock that is waited with. */
#include <errno.h>
#include <string.h>

#include "holdfast/condition.h"
#include "proof/board.h"
#include "segment/handle.h"
#include "sync/condition_layout.h"

static hf_condition *condition_of(struct arena *arena)
{
    return &board_of(arena)->condition;
}

static struct condition *bytes_of(struct arena *arena)
{
    return (struct condition *)(void *)condition_of(arena);
}

static hf_mutex *mutex_of(struct arena *arena)
{
    return &board_of(arena)->mutex[0];
}

static hf_lockable lock_of(struct arena *arena)
{
    return hf_lockable_of(mutex_of(arena));
}

static void make_board(struct arena *arena)
{
    (void)board_of(arena);
}

/* Someone may be asleep on it. */
static void make_board_with_waiters(struct arena *arena)
{
    fetch_or_relaxed(&bytes_of(arena)->turn, CONDITION_WAITERS);
}

static void prepare(struct arena *arena)
{
    require(hf_condition_notify_one(&board_of(arena)->other_condition) == 0, "notify");
}

static void prepare_locked(struct arena *arena)
{
    lock(mutex_of(arena), 0);
}

/* ---- notifying --------------------------------------------------------------------------- */

static int act_notify_one(struct arena *arena)
{
    return hf_condition_notify_one(condition_of(arena));
}

static int act_notify_all(struct arena *arena)
{
    return hf_condition_notify_all(condition_of(arena));
}

/* Does it do its work, for one who waits a moment? */
static bool condition_works(struct arena *copy)
{
    int locked = hf_mutex_timedlock(mutex_of(copy), 2 * SECOND);
    require(locked == 0 || locked == -EOWNERDEAD, "lock");
    require(locked == 0 || hf_mutex_consistent(mutex_of(copy)) == 0, "consistent");
    int first = hf_condition_timedwait(condition_of(copy), lock_of(copy), 1);
    bool good = (first == 0 || first == -ETIMEDOUT) && act_notify_one(copy) == 0 &&
                act_notify_all(copy) == 0 &&
                hf_condition_timedwait(condition_of(copy), lock_of(copy), 1) == -ETIMEDOUT &&
                (load_relaxed(&bytes_of(copy)->turn) & CONDITION_WAITERS) != 0 &&
                act_notify_all(copy) == 0 &&
                (load_relaxed(&bytes_of(copy)->turn) & CONDITION_WAITERS) == 0;
    unlock(mutex_of(copy));
    return good || bad("the condition does not work any more") != OUTCOME_BAD;
}

static outcome if_it_works(struct arena *copy, outcome result)
{
    return condition_works(copy) ? if_whole(copy, result) : OUTCOME_BAD;
}

/* Who sleeps sees that the word has changed, though the notifier be dead. */
static outcome judge_notifying(struct arena *copy)
{
    bool changed = load_acquire(&bytes_of(copy)->turn) >= CONDITION_NEXT;
    return if_it_works(copy, changed ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

/* Waits a little, and notifies. */
static void contend(struct arena *arena, contender who)
{
    int64_t ns = who == CONTENDER_SPINNING ? 0 : SECOND / 200;
    int error = hf_mutex_timedlock(mutex_of(arena), 10 * SECOND);
    for (unsigned i = 0; i < 2; i++) {
        require(error == 0 || error == -EOWNERDEAD, "a contender waits for ever");
        require(error == 0 || hf_mutex_consistent(mutex_of(arena)) == 0, "consistent");
        if (i == 0) {
            error = hf_condition_timedwait(condition_of(arena), lock_of(arena), ns);
            error = error == -ETIMEDOUT ? 0 : error;
        }
    }
    require(act_notify_all(arena) == 0, "notify");
    unlock(mutex_of(arena));
}

/* ---- waiting ----------------------------------------------------------------------------- */

static int act_wait(struct arena *arena)
{
    int error = hf_condition_timedwait(condition_of(arena), lock_of(arena), 1000);
    return error == -ETIMEDOUT ? 0 : error;
}

static bool never(void *unused)
{
    (void)unused;
    return false;
}

static int act_wait_for(struct arena *arena)
{
    int error = hf_condition_wait_for(condition_of(arena), lock_of(arena), never, NULL, 1000);
    return error == -ETIMEDOUT ? 0 : error;
}

/* ---- woken ------------------------------------------------------------------------------- */

/* The victim may have died with the lock. */
static void notify_of_one(struct arena *arena)
{
    int error = hf_mutex_timedlock(mutex_of(arena), 10 * SECOND);
    require(error == 0 || error == -EOWNERDEAD, "lock");
    require(error == 0 || hf_mutex_consistent(mutex_of(arena)) == 0, "consistent");
    board_of(arena)->account[1] = 1;
    unlock(mutex_of(arena));
    require(act_notify_one(arena) == 0, "notify");
}

static void make_board_with_a_notifier(struct arena *arena)
{
    leave_a_waker(arena, prepare, notify_of_one);
}

static void prepare_to_sleep(struct arena *arena)
{
    prepare_locked(arena);
    be_the_sleeper(arena);
}

static bool there_is_one(void *account)
{
    return load_relaxed((shared_u64 *)account) != 0;
}

static int wait_for_one(struct arena *arena, int64_t timeout_ns)
{
    return hf_condition_wait_for(condition_of(arena), lock_of(arena), there_is_one,
                                 &board_of(arena)->account[1], timeout_ns);
}

static int act_wait_for_one(struct arena *arena)
{
    return wait_for_one(arena, HF_FOREVER);
}

/* One notification, which the victim may have got: everybody goes on. */
static void contend_for_one(struct arena *arena, contender who)
{
    (void)who;
    int error = hf_mutex_timedlock(mutex_of(arena), 10 * SECOND);
    while (error == -EOWNERDEAD || (error == 0 && !there_is_one(&board_of(arena)->account[1]))) {
        require(error == 0 || hf_mutex_consistent(mutex_of(arena)) == 0, "consistent");
        error = wait_for_one(arena, HF_FOREVER);
    }
    require(error == 0, "a contender waits for ever");
    unlock(mutex_of(arena));
}

/* Held, or let go of by one who died asleep: it can be had. */
static outcome judge_waiting(struct arena *copy)
{
    int error = have(board_of(copy), 0);
    if (error != 0 && error != -EOWNERDEAD) {
        return bad("the mutex cannot be had: %s", hf_strerror(error));
    }
    return if_it_works(copy, OUTCOME_BEFORE);
}

/* ---- init and fini ----------------------------------------------------------------------- */

/* As a lock it would have an owner, and not be given up. */
static void make_rubbish(struct arena *arena)
{
    memset(condition_of(arena), 0x55, sizeof(hf_condition));
}

static int act_init(struct arena *arena)
{
    return hf_condition_init(condition_of(arena));
}

static int act_fini(struct arena *arena)
{
    return hf_condition_fini(condition_of(arena));
}

static outcome judge_being(struct arena *copy, outcome there_is, outcome none_is)
{
    int error = act_notify_one(copy);
    if (error != 0 && error != -EINVAL) {
        return bad("half a condition: %s", hf_strerror(error));
    }
    if (error == 0 && act_fini(copy) != 0) {
        return bad("it cannot be ended");
    }
    require(act_init(copy) == 0, "init");
    return if_it_works(copy, error == 0 ? there_is : none_is);
}

static outcome judge_init(struct arena *copy)
{
    return judge_being(copy, OUTCOME_AFTER, OUTCOME_BEFORE);
}

static outcome judge_fini(struct arena *copy)
{
    return judge_being(copy, OUTCOME_BEFORE, OUTCOME_AFTER);
}

#define ON_A_BOARD .size = BOARD_SIZE, .maximum = BOARD_SIZE, .early = take_a_page
#define WITH_WAITERS                                                                               \
    ON_A_BOARD, .set_up = make_board_with_waiters, .contend = contend, .judge = judge_notifying

static const struct scenario scenarios[] = {
    {.name = "condition.notify_one",
     .call = "hf_condition_notify_one",
     WITH_WAITERS,
     .prepare = prepare,
     .act = act_notify_one},
    {.name = "condition.notify_one.as_the_first_call",
     .call = "hf_condition_notify_one",
     WITH_WAITERS,
     .act = act_notify_one},
    {.name = "condition.notify_one.with_the_lock_held",
     .call = "hf_condition_notify_one",
     WITH_WAITERS,
     .prepare = prepare_locked,
     .act = act_notify_one},
    {.name = "condition.notify_all",
     .call = "hf_condition_notify_all",
     WITH_WAITERS,
     .prepare = prepare_locked,
     .act = act_notify_all},
    {.name = "condition.timedwait",
     .call = "hf_condition_timedwait",
     ON_A_BOARD,
     .set_up = make_board,
     .prepare = prepare_locked,
     .act = act_wait,
     .no_effect = true,
     .contend = contend_for_mutex,
     .judge = judge_waiting},
    {.name = "condition.timedwait.beside_others",
     .call = "hf_condition_timedwait",
     ON_A_BOARD,
     .set_up = make_board_with_waiters,
     .prepare = prepare_locked,
     .act = act_wait,
     .no_effect = true,
     .contend = contend,
     .judge = judge_waiting},
    {.name = "condition.wait_for.woken",
     .call = "hf_condition_wait_for",
     ON_A_BOARD,
     .set_up = make_board_with_a_notifier,
     .prepare = prepare_to_sleep,
     .act = act_wait_for_one,
     .no_effect = true,
     .contend = contend_for_one,
     .judge = judge_waiting},
    {.name = "condition.wait_for",
     .call = "hf_condition_wait_for",
     ON_A_BOARD,
     .set_up = make_board,
     .prepare = prepare_locked,
     .act = act_wait_for,
     .no_effect = true,
     .contend = contend_for_mutex,
     .judge = judge_waiting},
    {.name = "condition.init.over_rubbish",
     .call = "hf_condition_init",
     ON_A_BOARD,
     .set_up = make_rubbish,
     .prepare = prepare,
     .act = act_init,
     .judge = judge_init},
    {.name = "condition.fini",
     .call = "hf_condition_fini",
     ON_A_BOARD,
     .set_up = make_board_with_waiters,
     .prepare = prepare,
     .act = act_fini,
     .judge = judge_fini},
};
const struct scenario_table condition_scenarios = SCENARIO_TABLE(scenarios);
