/* SPDX-License-Identifier: MIT */
/* What a death leaves of an event, a latch and a once. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "base/atomic.h"
#include "proof/board.h"
#include "segment/lock_layout.h"
#include "sync/word_layout.h"

static void make_board(struct arena *arena)
{
    (void)board_of(arena);
}

/* Someone may be asleep. */
static void add_waiters(void *object)
{
    (void)fetch_or_relaxed(&((struct word *)object)->word, WORD_WAITERS);
}

/* ---- events ------------------------------------------------------------------------------ */

static hf_event *event_of(struct arena *arena)
{
    return &board_of(arena)->event;
}

static void make_rubbish_event(struct arena *arena)
{
    memset(event_of(arena), 0xa5, sizeof(hf_event));
}

static void make_set_event(struct arena *arena)
{
    require(hf_event_set(event_of(arena)) == 0, "set");
}

static void make_awaited_event(struct arena *arena)
{
    add_waiters(event_of(arena));
}

static int act_event_init(struct arena *arena)
{
    return hf_event_init(event_of(arena));
}

static int act_event_fini(struct arena *arena)
{
    return hf_event_fini(event_of(arena));
}

static int act_event_set(struct arena *arena)
{
    return hf_event_set(event_of(arena));
}

static int act_event_reset(struct arena *arena)
{
    return hf_event_reset(event_of(arena));
}

static int act_event_wait(struct arena *arena)
{
    return hf_event_timedwait(event_of(arena), 1) == -ETIMEDOUT ? 0 : 1;
}

/* No event, and then one that is not set; or the other way round. */
static outcome judge_event(struct arena *copy, outcome none_is, outcome clear_is, outcome set_is)
{
    int is = hf_event_is_set(event_of(copy));
    if (is != -EINVAL && is != 0 && is != 1) {
        return bad("the event gives %d", is);
    }
    outcome result = is < 0 ? none_is : is == 0 ? clear_is : set_is;
    bool good = hf_event_init(event_of(copy)) == 0 && hf_event_set(event_of(copy)) == 0 &&
                hf_event_trywait(event_of(copy)) == 0;
    return result == OUTCOME_BAD ? bad("an event that is neither: %d", is)
           : good                ? if_whole(copy, result)
                                 : bad("the event does not work any more");
}

static outcome judge_event_init(struct arena *copy)
{
    return judge_event(copy, OUTCOME_BEFORE, OUTCOME_AFTER, OUTCOME_BAD);
}

static outcome judge_event_fini(struct arena *copy)
{
    return judge_event(copy, OUTCOME_AFTER, OUTCOME_BEFORE, OUTCOME_BAD);
}

static outcome judge_event_set(struct arena *copy)
{
    return judge_event(copy, OUTCOME_BAD, OUTCOME_BEFORE, OUTCOME_AFTER);
}

static outcome judge_event_reset(struct arena *copy)
{
    return judge_event(copy, OUTCOME_BAD, OUTCOME_AFTER, OUTCOME_BEFORE);
}

static outcome judge_event_wait(struct arena *copy)
{
    return judge_event(copy, OUTCOME_BAD, OUTCOME_BEFORE, OUTCOME_BAD);
}

/* ---- latches ----------------------------------------------------------------------------- */

#define COUNT 3u

static hf_latch *latch_of(struct arena *arena)
{
    return &board_of(arena)->latch;
}

static void make_rubbish_latch(struct arena *arena)
{
    memset(latch_of(arena), 0xa5, sizeof(hf_latch));
}

static void make_latch(struct arena *arena)
{
    require(hf_latch_init(latch_of(arena), COUNT) == 0, "init");
}

static void make_awaited_latch(struct arena *arena)
{
    make_latch(arena);
    add_waiters(latch_of(arena));
}

static void make_latch_for_one(struct arena *arena)
{
    require(hf_latch_init(latch_of(arena), 1) == 0, "init");
    add_waiters(latch_of(arena));
}

static int act_latch_init(struct arena *arena)
{
    return hf_latch_init(latch_of(arena), COUNT);
}

static int act_latch_fini(struct arena *arena)
{
    return hf_latch_fini(latch_of(arena));
}

static int act_latch_count_down(struct arena *arena)
{
    return hf_latch_count_down(latch_of(arena), 2);
}

static int act_latch_arrive(struct arena *arena)
{
    return hf_latch_arrive_and_wait(latch_of(arena));
}

static int act_latch_wait(struct arena *arena)
{
    return hf_latch_timedwait(latch_of(arena), 1) == -ETIMEDOUT ? 0 : 1;
}

#define NO_LATCH UINT32_MAX

/* What is left of it says which of the two it is. */
static outcome judge_latch(struct arena *copy, uint32_t before, uint32_t after)
{
    uint32_t left;
    if (hf_latch_value(latch_of(copy), &left) != 0) {
        left = NO_LATCH;
    }
    if (left != before && left != after) {
        return bad("%u are left to be counted", left);
    }
    if (left == NO_LATCH) {
        make_latch(copy);
        left = COUNT;
        return if_whole(copy, before == NO_LATCH ? OUTCOME_BEFORE : OUTCOME_AFTER);
    }
    bool good = hf_latch_trywait(latch_of(copy)) == (left == 0 ? 0 : -EBUSY) &&
                hf_latch_count_down(latch_of(copy), left) == 0 &&
                hf_latch_trywait(latch_of(copy)) == 0;
    return good ? if_whole(copy, left == before ? OUTCOME_BEFORE : OUTCOME_AFTER)
                : bad("the latch does not work any more");
}

static outcome judge_latch_init(struct arena *copy)
{
    return judge_latch(copy, NO_LATCH, COUNT);
}

static void die_wanting_a_lock(struct arena *arena)
{
    hf_mutex *mutex = (hf_mutex *)(void *)latch_of(arena);
    require(hf_mutex_lock(mutex) == 0 && hf_mutex_unlock(mutex) == 0, "mutex");
    want_lock(arena, mutex);
}

/* Where the latch is to be lies a mutex, whose waiter has died. */
static void leave_a_dead_waiter(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_wanting_a_lock);
}

/* What is left to be counted reads as if the dead one held it. */
static int act_latch_init_over_a_lock(struct arena *arena)
{
    return hf_latch_init(latch_of(arena), who_wants_lock(arena, latch_of(arena)));
}

static outcome judge_latch_init_over_a_lock(struct arena *copy)
{
    uint32_t left;
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    require(hf_latch_value(latch_of(copy), &left) == 0, "value");
    make_latch(copy);
    return if_whole(copy, left == 0 ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

static outcome judge_latch_fini(struct arena *copy)
{
    return judge_latch(copy, COUNT, NO_LATCH);
}

static outcome judge_latch_count_down(struct arena *copy)
{
    return judge_latch(copy, COUNT, COUNT - 2);
}

static outcome judge_latch_arrive(struct arena *copy)
{
    return judge_latch(copy, 1, 0);
}

static outcome judge_latch_wait(struct arena *copy)
{
    return judge_latch(copy, COUNT, COUNT);
}

/* ---- once -------------------------------------------------------------------------------- */

static hf_once *once_of(struct arena *arena)
{
    return &board_of(arena)->once;
}

static int do_it(void *mark)
{
    *(volatile uint8_t *)mark = 1;
    return 0;
}

static int fail_at_it(void *mark)
{
    (void)do_it(mark);
    return 5;
}

_Noreturn static int die_at_it(void *mark)
{
    (void)mark;
    (void)raise(SIGKILL);
    give_up("alive");
}

static uint8_t *mark_of(struct arena *arena)
{
    return &board_of(arena)->odd[0];
}

static void make_rubbish_once(struct arena *arena)
{
    memset(once_of(arena), 0xa5, sizeof(hf_once));
}

static void make_done_once(struct arena *arena)
{
    require(hf_once_call(once_of(arena), do_it, mark_of(arena)) == 0, "call");
}

static void die_once(struct arena *arena)
{
    (void)hf_once_call(once_of(arena), die_at_it, NULL);
}

static void make_once_with_a_dead(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_once);
}

/* The victim has its slot. */
static void take_slot(struct arena *arena)
{
    lock(&board_of(arena)->mutex[1], 0);
    unlock(&board_of(arena)->mutex[1]);
}

static int act_once_init(struct arena *arena)
{
    return hf_once_init(once_of(arena));
}

static int act_once_fini(struct arena *arena)
{
    return hf_once_fini(once_of(arena));
}

static int act_once_call(struct arena *arena)
{
    return hf_once_call(once_of(arena), do_it, mark_of(arena));
}

static int act_once_timedcall(struct arena *arena)
{
    return hf_once_timedcall(once_of(arena), do_it, mark_of(arena), 10 * SECOND);
}

static int act_once_fail(struct arena *arena)
{
    return hf_once_call(once_of(arena), fail_at_it, mark_of(arena)) == 5 ? 0 : 1;
}

static int leave_a_transaction_open(void *segment)
{
    return hf_tx_begin(segment);
}

static bool is_free_after_the_transaction(struct arena *arena)
{
    int ended = hf_tx_commit(arena->segment);
    const struct lock *lock = (const struct lock *)(const void *)once_of(arena);
    return ended == 0 && (load_relaxed(&lock->word) & LOCK_OWNER) == 0;
}

static int act_once_in_a_transaction(struct arena *arena)
{
    int error = hf_once_call(once_of(arena), leave_a_transaction_open, arena->segment);
    return error == -EBUSY && is_free_after_the_transaction(arena) ? 0 : 1;
}

static sigjmp_buf out_of_the_once;

static int begin_and_jump(void *segment)
{
    require(hf_tx_begin(segment) == 0, "begin");
    siglongjmp(out_of_the_once, 1);
}

static int act_once_jumped_out_of(struct arena *arena)
{
    if (sigsetjmp(out_of_the_once, 1) == 0) {
        (void)hf_once_call(once_of(arena), begin_and_jump, arena->segment);
    }
    int error = hf_thread_recover(arena->segment);
    return error == 0 && is_free_after_the_transaction(arena) ? 0 : 1;
}

static int count_it(void *count)
{
    ++*(int *)count;
    return 0;
}

/* Before: the judge does it; after: it is done, with all that it brought about. */
static outcome judge_once(struct arena *copy)
{
    int done = 0;
    int error = hf_once_timedcall(once_of(copy), count_it, &done, 10 * SECOND);
    if (error != 0) {
        return bad("the next one cannot do it: %s", hf_strerror(error));
    }
    if (done == 0 && *mark_of(copy) != 1) {
        return bad("it is called done, and is not");
    }
    int again = 0;
    if (hf_once_call(once_of(copy), count_it, &again) != 0 || again != 0) {
        return bad("it is done twice");
    }
    return if_whole(copy, done == 1 ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

/* Not there, and then not done; or done, and then not there. */
static outcome judge_once_init(struct arena *copy)
{
    int is = hf_once_is_done(once_of(copy));
    int done = 0;
    int error = hf_once_timedcall(once_of(copy), count_it, &done, 10 * SECOND);
    if (is == -EINVAL || error == -EINVAL) {
        require(hf_once_init(once_of(copy)) == 0, "init");
        return if_whole(copy, OUTCOME_BEFORE);
    }
    return error == 0 && done == 1 ? if_whole(copy, OUTCOME_AFTER)
                                   : bad("half a once: %d, done %d times", error, done);
}

static outcome judge_once_fini(struct arena *copy)
{
    int is = hf_once_is_done(once_of(copy));
    if (is == 1) {
        return if_whole(copy, OUTCOME_BEFORE);
    }
    require(is == -EINVAL && hf_once_init(once_of(copy)) == 0, "init");
    return if_whole(copy, OUTCOME_AFTER);
}

/* ------------------------------------------------------------------------------------------ */

#define ON_A_BOARD .size = BOARD_SIZE, .maximum = BOARD_SIZE, .early = take_a_page

static const struct scenario scenarios[] = {
    {.name = "event.init",
     .call = "hf_event_init",
     ON_A_BOARD,
     .set_up = make_rubbish_event,
     .act = act_event_init,
     .judge = judge_event_init},
    {.name = "event.fini",
     .call = "hf_event_fini",
     ON_A_BOARD,
     .set_up = make_board,
     .act = act_event_fini,
     .judge = judge_event_fini},
    {.name = "event.set",
     .call = "hf_event_set",
     ON_A_BOARD,
     .set_up = make_board,
     .act = act_event_set,
     .judge = judge_event_set},
    {.name = "event.set.with_waiters",
     .call = "hf_event_set",
     ON_A_BOARD,
     .set_up = make_awaited_event,
     .act = act_event_set,
     .judge = judge_event_set},
    {.name = "event.reset",
     .call = "hf_event_reset",
     ON_A_BOARD,
     .set_up = make_set_event,
     .act = act_event_reset,
     .judge = judge_event_reset},
    {.name = "event.timedwait",
     .call = "hf_event_timedwait",
     ON_A_BOARD,
     .set_up = make_board,
     .act = act_event_wait,
     .no_effect = true,
     .judge = judge_event_wait},
    {.name = "latch.init",
     .call = "hf_latch_init",
     ON_A_BOARD,
     .set_up = make_rubbish_latch,
     .act = act_latch_init,
     .judge = judge_latch_init},
    {.name = "latch.init.over_a_lock_that_a_dead_one_waited_for",
     .call = "hf_latch_init",
     ON_A_BOARD,
     .set_up = leave_a_dead_waiter,
     .act = act_latch_init_over_a_lock,
     .judge = judge_latch_init_over_a_lock},
    {.name = "latch.fini",
     .call = "hf_latch_fini",
     ON_A_BOARD,
     .set_up = make_latch,
     .act = act_latch_fini,
     .judge = judge_latch_fini},
    {.name = "latch.count_down",
     .call = "hf_latch_count_down",
     ON_A_BOARD,
     .set_up = make_awaited_latch,
     .act = act_latch_count_down,
     .judge = judge_latch_count_down},
    {.name = "latch.arrive_and_wait",
     .call = "hf_latch_arrive_and_wait",
     ON_A_BOARD,
     .set_up = make_latch_for_one,
     .act = act_latch_arrive,
     .judge = judge_latch_arrive},
    {.name = "latch.timedwait",
     .call = "hf_latch_timedwait",
     ON_A_BOARD,
     .set_up = make_latch,
     .act = act_latch_wait,
     .no_effect = true,
     .judge = judge_latch_wait},
    {.name = "once.init",
     .call = "hf_once_init",
     ON_A_BOARD,
     .set_up = make_rubbish_once,
     .act = act_once_init,
     .judge = judge_once_init},
    {.name = "once.fini",
     .call = "hf_once_fini",
     ON_A_BOARD,
     .set_up = make_done_once,
     .act = act_once_fini,
     .judge = judge_once_fini},
    {.name = "once.call",
     .call = "hf_once_call",
     ON_A_BOARD,
     .set_up = make_board,
     .prepare = take_slot,
     .act = act_once_call,
     .judge = judge_once},
    {.name = "once.call.as_the_first_call",
     .call = "hf_once_call",
     ON_A_BOARD,
     .set_up = make_board,
     .act = act_once_call,
     .judge = judge_once},
    {.name = "once.call.after_a_death",
     .call = "hf_once_call",
     ON_A_BOARD,
     .set_up = make_once_with_a_dead,
     .prepare = take_slot,
     .act = act_once_call,
     .judge = judge_once},
    {.name = "once.call.in_vain",
     .call = "hf_once_call",
     ON_A_BOARD,
     .set_up = make_board,
     .prepare = take_slot,
     .act = act_once_fail,
     .no_effect = true,
     .judge = judge_once},
    {.name = "once.call.that_leaves_a_transaction_open",
     .call = "hf_once_call",
     ON_A_BOARD,
     .set_up = make_board,
     .prepare = take_slot,
     .act = act_once_in_a_transaction,
     .no_effect = true,
     .judge = judge_once},
    {.name = "once.recover.that_leaves_a_transaction_open",
     .call = "hf_thread_recover",
     ON_A_BOARD,
     .set_up = make_board,
     .prepare = take_slot,
     .act = act_once_jumped_out_of,
     .no_effect = true,
     .judge = judge_once},
    {.name = "once.timedcall",
     .call = "hf_once_timedcall",
     ON_A_BOARD,
     .set_up = make_board,
     .prepare = take_slot,
     .act = act_once_timedcall,
     .judge = judge_once},
};

const struct scenario_table event_scenarios = SCENARIO_TABLE(scenarios);
