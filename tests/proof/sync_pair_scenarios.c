/* SPDX-License-Identifier: MIT */
/* As pair_scenarios.c, of what is waited for: reader-writer locks, permits, barriers, conditions.
 */
#include <errno.h>

#include "base/atomic.h"
#include "base/shared.h"
#include "proof/board.h"
#include "segment/barrier_layout.h"

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

/* ---- a reader-writer lock ---------------------------------------------------------------- */

/* Readers see the sum; who dies between a writer's two stores has it told. */
static int read_the_sum(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_rwlock_rdlock(&board->rwlock[0]);
    if (error != 0) {
        return error;
    }
    shared_u64 *account = (shared_u64 *)(void *)board->account;
    uint64_t first = load_relaxed(&account[0]);
    uint64_t second = load_relaxed(&account[1]);
    error = hf_rwlock_rdunlock(&board->rwlock[0]);
    return first + second == SUM ? error : 1;
}

static void move_money(struct board *board)
{
    shared_u64 *account = (shared_u64 *)(void *)board->account;
    store_release(&account[0], load_relaxed(&account[0]) - 1);
    store_release(&account[1], load_relaxed(&account[1]) + 1);
}

static int write_the_sum(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_rwlock_wrlock(&board->rwlock[0]);
    if (error != 0) {
        return error;
    }
    move_money(board);
    return hf_rwlock_wrunlock(&board->rwlock[0]);
}

static int upgrade_and_write(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_rwlock_uplock(&board->rwlock[0]);
    error = error != 0 ? error : hf_rwlock_upgrade(&board->rwlock[0]);
    if (error != 0) {
        return error;
    }
    move_money(board);
    error = hf_rwlock_downgrade_to_shared(&board->rwlock[0]);
    return error != 0 ? error : hf_rwlock_rdunlock(&board->rwlock[0]);
}

/* Whether it can write or not, it is a reader until then. */
static int read_and_try_to_write(struct arena *arena)
{
    struct board *board = board_of(arena);
    int error = hf_rwlock_rdlock(&board->rwlock[0]);
    if (error != 0) {
        return error;
    }
    error = hf_rwlock_timed_shared_to_exclusive(&board->rwlock[0], 1000000);
    if (error != 0) {
        return error == -ETIMEDOUT ? hf_rwlock_rdunlock(&board->rwlock[0]) : error;
    }
    move_money(board);
    return hf_rwlock_wrunlock(&board->rwlock[0]);
}

static outcome judge_rwlock(struct arena *copy)
{
    struct board *board = board_of(copy);
    int error = hf_rwlock_timedwrlock(&board->rwlock[0], 10 * SECOND);
    if (error != 0 && error != -EOWNERDEAD) {
        return bad("the lock cannot be had: %s", hf_strerror(error));
    }
    if (error == 0 && board->account[0] + board->account[1] != SUM) {
        return bad("nobody is told that a writer died");
    }
    require(error == 0 || hf_rwlock_consistent(&board->rwlock[0]) == 0, "consistent");
    require(hf_rwlock_wrunlock(&board->rwlock[0]) == 0, "unlock");
    error = hf_rwlock_tryrdlock(&board->rwlock[0]);
    if (error != 0 || hf_rwlock_rdunlock(&board->rwlock[0]) != 0) {
        return bad("the lock cannot be read: %d", error);
    }
    return if_whole(copy, OUTCOME_BEFORE);
}

static void die_reading(struct arena *arena)
{
    require(hf_rwlock_rdlock(&board_of(arena)->rwlock[0]) == 0, "read");
}

static void leave_a_dead_reader(struct arena *arena)
{
    make_board(arena);
    require(hf_thread_leave(arena->segment) == 0, "leave");
    leave_a_dead(arena, die_reading);
}

#define ON_A_RWLOCK                                                                                \
    .maximum = BOARD_SIZE, .prepare = {prepare, prepare}, .early = take_a_page,                    \
    .judge = judge_rwlock

/* ---- permits that come back -------------------------------------------------------------- */

static hf_semaphore *semaphore_of(struct arena *arena)
{
    return &board_of(arena)->semaphore[0];
}

static void make_permits(struct arena *arena, uint32_t permits)
{
    require(hf_semaphore_init(semaphore_of(arena), permits, HF_SEMAPHORE_UNDO) == 0, "init");
}

static void make_one_permit(struct arena *arena)
{
    make_permits(arena, 1);
}

static void make_three_permits(struct arena *arena)
{
    make_permits(arena, 3);
}

static void take_permit(struct arena *arena)
{
    require(hf_semaphore_wait(semaphore_of(arena)) == 0, "wait");
}

static void leave_a_dead_holder(struct arena *arena)
{
    make_one_permit(arena);
    require(hf_thread_leave(arena->segment) == 0, "leave");
    leave_a_dead(arena, take_permit);
}

static int post(struct arena *arena)
{
    return hf_semaphore_post(semaphore_of(arena));
}

static int wait_and_post(struct arena *arena)
{
    int error = hf_semaphore_wait(semaphore_of(arena));
    return error != 0 ? error : post(arena);
}

static int wait_twice_and_post(struct arena *arena)
{
    int error = hf_semaphore_wait(semaphore_of(arena));
    error = error != 0 ? error : hf_semaphore_timedwait(semaphore_of(arena), 1000000);
    return error == 0 || error == -ETIMEDOUT
               ? hf_semaphore_post_many(semaphore_of(arena), error == 0 ? 2 : 1)
               : error;
}

static int wait_a_moment_for_it(struct arena *arena)
{
    int error = hf_semaphore_timedwait(semaphore_of(arena), 1000000);
    return error == -ETIMEDOUT ? 0 : error != 0 ? error : post(arena);
}

static int recover(struct arena *arena)
{
    return hf_segment_recover(arena->segment, NULL);
}

static outcome judge_permits(struct arena *copy, uint32_t permits)
{
    uint32_t value;
    hf_semaphore *semaphore = semaphore_of(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    require(hf_semaphore_value(semaphore, &value) == 0, "value");
    if (value != permits) {
        return bad("%u permits are left of %u", (unsigned)value, (unsigned)permits);
    }
    require(hf_semaphore_trywait(semaphore) == 0 && hf_semaphore_post(semaphore) == 0, "take");
    return if_whole(copy, OUTCOME_BEFORE);
}

static outcome judge_one_permit(struct arena *copy)
{
    return judge_permits(copy, 1);
}

static outcome judge_three_permits(struct arena *copy)
{
    return judge_permits(copy, 3);
}

/* ---- barriers ---------------------------------------------------------------------------- */

static hf_barrier *barrier_of(struct arena *arena)
{
    return &board_of(arena)->barrier;
}

static void make_for_two(struct arena *arena)
{
    require(hf_barrier_init(barrier_of(arena), 2) == 0, "init");
}

static void join(struct arena *arena)
{
    require(hf_barrier_join(barrier_of(arena)) == 0, "join");
}

static void leave_a_dead_member(struct arena *arena)
{
    require(hf_barrier_init(barrier_of(arena), 3) == 0, "init");
    require(hf_thread_leave(arena->segment) == 0, "leave");
    leave_a_dead(arena, join);
}

static int meet(struct arena *arena)
{
    int result = hf_barrier_wait(barrier_of(arena));
    return result == 1 ? 0 : result;
}

static int meet_in_vain(struct arena *arena)
{
    int result = hf_barrier_timedwait(barrier_of(arena), 10 * SECOND);
    return result == -ESRCH ? 0 : 1;
}

/* Whether the other has come by then, or not; and if it has ended, or begun anew. */
static int meet_perhaps(struct arena *arena)
{
    int result = hf_barrier_timedwait(barrier_of(arena), 1000000);
    return result == 1 || result == -ETIMEDOUT || result == -ESRCH ? 0 : result;
}

static int leave_the_barrier(struct arena *arena)
{
    return hf_barrier_leave(barrier_of(arena));
}

static int reset_the_barrier(struct arena *arena)
{
    return hf_barrier_reset(barrier_of(arena), 2);
}

/* Who has arrived is dead: either the barrier says so, or all had come. */
static outcome judge_barrier(struct arena *copy)
{
    hf_barrier *barrier = barrier_of(copy);
    struct barrier *bytes = (struct barrier *)(void *)barrier;
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    uint64_t state = load_relaxed(&bytes->state);
    uint64_t arrived = state >> BARRIER_ARRIVED_SHIFT & BARRIER_COUNT_MASK;
    if ((state & BARRIER_BROKEN) == 0 && arrived != 0) {
        return bad("the dead are waited with");
    }
    bool works = hf_barrier_reset(barrier, 1) == 0 && hf_barrier_wait(barrier) == 1 &&
                 hf_barrier_leave(barrier) == 0;
    return works ? if_whole(copy, OUTCOME_BEFORE) : bad("the barrier does not work any more");
}

/* ---- a condition ------------------------------------------------------------------------- */

static hf_lockable lock_of(struct arena *arena)
{
    return hf_lockable_of(&board_of(arena)->mutex[0]);
}

static bool there_is_some(void *account)
{
    return *(int64_t *)account != 0;
}

/* Takes what the other brings, whatever it is told of its death. */
static int take_one(struct arena *arena)
{
    struct board *board = board_of(arena);
    lock(&board->mutex[0], 0);
    int error = hf_condition_wait_for(&board->condition, lock_of(arena), there_is_some,
                                      &board->account[1], HF_FOREVER);
    if (error == 0) {
        board->account[1] = 0;
        unlock(&board->mutex[0]);
    }
    return error;
}

static int bring_one(struct arena *arena)
{
    struct board *board = board_of(arena);
    lock(&board->mutex[0], 0);
    board->account[1] = 1;
    int error = hf_condition_notify_one(&board->condition);
    unlock(&board->mutex[0]);
    return error;
}

static int bring_one_to_all(struct arena *arena)
{
    struct board *board = board_of(arena);
    lock(&board->mutex[0], 0);
    board->account[1] = 1;
    unlock(&board->mutex[0]);
    return hf_condition_notify_all(&board->condition);
}

static void make_nothing_there(struct arena *arena)
{
    board_of(arena)->account[1] = 0;
}

static outcome judge_condition(struct arena *copy)
{
    struct board *board = board_of(copy);
    int error = have(board, 0);
    if (error != 0 && error != -EOWNERDEAD) {
        return bad("the mutex cannot be had: %s", hf_strerror(error));
    }
    lock(&board->mutex[0], 0);
    error = hf_condition_timedwait(&board->condition, lock_of(copy), 1);
    unlock(&board->mutex[0]);
    bool works = (error == 0 || error == -ETIMEDOUT) &&
                 hf_condition_notify_one(&board->condition) == 0 &&
                 hf_condition_notify_all(&board->condition) == 0;
    return works ? if_whole(copy, OUTCOME_BEFORE) : bad("the condition does not work any more");
}

#define ON_PERMITS(make_, judge_)                                                                  \
    .maximum = BOARD_SIZE, .early = take_a_page, .set_up = (make_), .judge = (judge_)
#define ON_A_BARRIER(make_)                                                                        \
    .maximum = BOARD_SIZE, .early = take_a_page, .set_up = (make_), .judge = judge_barrier
#define ON_A_CONDITION                                                                             \
    .maximum = BOARD_SIZE, .prepare = {prepare, prepare}, .early = take_a_page,                    \
    .set_up = make_nothing_there, .judge = judge_condition

static const struct pair pairs[] = {
    {.name = "pair.rwlock.a_reader_and_a_writer",
     ON_A_RWLOCK,
     .set_up = make_board,
     .act = {read_the_sum, write_the_sum}},
    {.name = "pair.rwlock.a_reader_and_an_upgrader",
     ON_A_RWLOCK,
     .set_up = make_board,
     .act = {read_the_sum, upgrade_and_write}},
    {.name = "pair.rwlock.a_writer_and_an_upgrader",
     ON_A_RWLOCK,
     .set_up = make_board,
     .act = {write_the_sum, upgrade_and_write}},
    {.name = "pair.rwlock.both_read_and_want_to_write",
     ON_A_RWLOCK,
     .set_up = make_board,
     .act = {read_and_try_to_write, read_and_try_to_write}},
    {.name = "pair.rwlock.both_meet_a_dead_reader",
     ON_A_RWLOCK,
     .set_up = leave_a_dead_reader,
     .act = {write_the_sum, upgrade_and_write}},
    {.name = "pair.semaphore.both_want_the_one_permit",
     ON_PERMITS(make_one_permit, judge_one_permit),
     .prepare = {prepare, prepare},
     .act = {wait_and_post, wait_and_post}},
    {.name = "pair.semaphore.both_replace_the_word",
     ON_PERMITS(make_three_permits, judge_three_permits),
     .prepare = {prepare, prepare},
     .act = {wait_and_post, wait_and_post}},
    {.name = "pair.semaphore.both_take_more",
     ON_PERMITS(make_three_permits, judge_three_permits),
     .prepare = {take_permit, prepare},
     .act = {wait_twice_and_post, wait_twice_and_post}},
    {.name = "pair.semaphore.one_hands_over_to_the_other",
     ON_PERMITS(make_one_permit, judge_one_permit),
     .prepare = {take_permit, prepare},
     .act = {post, wait_and_post}},
    {.name = "pair.semaphore.one_gives_up_as_it_is_handed_over",
     ON_PERMITS(make_one_permit, judge_one_permit),
     .prepare = {take_permit, prepare},
     .act = {post, wait_a_moment_for_it}},
    {.name = "pair.semaphore.both_meet_a_dead_holder",
     ON_PERMITS(leave_a_dead_holder, judge_one_permit),
     .prepare = {prepare, prepare},
     .act = {wait_and_post, wait_and_post}},
    {.name = "pair.semaphore.one_recovers_what_the_other_waits_for",
     ON_PERMITS(leave_a_dead_holder, judge_one_permit),
     .prepare = {prepare, prepare},
     .act = {recover, wait_and_post}},
    {.name = "pair.barrier.both_meet",
     ON_A_BARRIER(make_for_two),
     .prepare = {join, join},
     .act = {meet, meet}},
    {.name = "pair.barrier.both_join_and_meet",
     ON_A_BARRIER(make_for_two),
     .prepare = {prepare, prepare},
     .act = {meet, meet}},
    {.name = "pair.barrier.one_gives_up_as_the_other_comes",
     ON_A_BARRIER(make_for_two),
     .prepare = {join, join},
     .act = {meet_perhaps, meet_perhaps}},
    {.name = "pair.barrier.one_leaves_as_the_other_waits",
     ON_A_BARRIER(make_for_two),
     .prepare = {join, join},
     .act = {leave_the_barrier, meet}},
    {.name = "pair.barrier.one_resets_what_the_other_waits_at",
     ON_A_BARRIER(make_for_two),
     .prepare = {prepare, join},
     .act = {reset_the_barrier, meet_perhaps}},
    {.name = "pair.barrier.both_hear_of_a_dead_member",
     ON_A_BARRIER(leave_a_dead_member),
     .prepare = {prepare, prepare},
     .act = {meet_in_vain, meet_in_vain}},
    {.name = "pair.condition.one_notifies_the_other", ON_A_CONDITION, .act = {take_one, bring_one}},
    {.name = "pair.condition.one_notifies_all",
     ON_A_CONDITION,
     .act = {take_one, bring_one_to_all}},
};
const struct pair_table sync_pair_scenarios = {pairs, sizeof pairs / sizeof pairs[0]};
