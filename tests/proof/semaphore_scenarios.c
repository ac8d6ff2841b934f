/* SPDX-License-Identifier: MIT */
/*
 * What a death leaves of a semaphore. Permits that come back do so whenever the victim dies: of
 * what it takes and gives back there is nothing to be seen afterwards.
 */
#include <errno.h>
#include <string.h>

#include "proof/board.h"
#include "segment/handle.h"
#include "segment/semaphore_layout.h"

#define PERMITS 3u

static hf_semaphore *semaphore_of(struct arena *arena)
{
    return &board_of(arena)->semaphore[0];
}

static struct semaphore *bytes_of(struct arena *arena)
{
    return (struct semaphore *)(void *)semaphore_of(arena);
}

static void make_undo(struct arena *arena)
{
    require(hf_semaphore_init(semaphore_of(arena), PERMITS, HF_SEMAPHORE_UNDO) == 0, "init");
    require(hf_semaphore_init(&board_of(arena)->semaphore[1], 1, HF_SEMAPHORE_UNDO) == 0, "init");
}

static void make_plain(struct arena *arena)
{
    require(hf_semaphore_init(semaphore_of(arena), PERMITS, 0) == 0, "init");
}

static void make_rubbish(struct arena *arena)
{
    memset(semaphore_of(arena), 0xa5, sizeof(hf_semaphore));
}

/* ---- preparing --------------------------------------------------------------------------- */

static void take(struct arena *arena, unsigned permits)
{
    for (unsigned i = 0; i < permits; i++) {
        require(hf_semaphore_wait(semaphore_of(arena)) == 0, "wait");
    }
}

static void prepare(struct arena *arena)
{
    take(arena, 1);
    require(hf_semaphore_post(semaphore_of(arena)) == 0, "post");
}

static void prepare_one_held(struct arena *arena)
{
    take(arena, 1);
}

static void prepare_two_held(struct arena *arena)
{
    take(arena, 2);
}

/* It was a semaphore, and the victim has one of its permits. */
static void prepare_one_held_of_what_is_over(struct arena *arena)
{
    take(arena, 1);
    require(hf_semaphore_fini(semaphore_of(arena)) == 0, "fini");
}

static void prepare_with_waiters(struct arena *arena)
{
    take(arena, 1);
    fetch_or_relaxed(&bytes_of(arena)->count, COUNT_WAITERS);
}

/* The last update was of another one. */
static void prepare_another_held(struct arena *arena)
{
    prepare(arena);
    require(hf_semaphore_wait(&board_of(arena)->semaphore[1]) == 0, "wait");
}

static void prepare_none_left(struct arena *arena)
{
    take(arena, PERMITS);
}

static void die_holding_two(struct arena *arena)
{
    take(arena, 2);
}

static void die_after_a_gift(struct arena *arena)
{
    require(hf_semaphore_post(semaphore_of(arena)) == 0, "post");
    take(arena, 1);
}

static void leave_a_dead_holder(struct arena *arena)
{
    make_undo(arena);
    leave_a_dead(arena, die_holding_two);
}

/* None is left but what the dead one had. */
static void leave_a_dead_holder_of_all(struct arena *arena)
{
    make_undo(arena);
    leave_a_dead(arena, prepare_none_left);
}

static void leave_a_dead_holder_of_what_is_over(struct arena *arena)
{
    leave_a_dead_holder(arena);
    require(hf_semaphore_fini(semaphore_of(arena)) == 0, "fini");
}

static void leave_a_dead_giver(struct arena *arena)
{
    make_undo(arena);
    leave_a_dead(arena, die_after_a_gift);
}

static void leave_a_living_holder(struct arena *arena)
{
    make_undo(arena);
    leave_alive(arena, die_holding_two);
    board_of(arena)->living = 1;
}

static void join(struct arena *arena)
{
    hf_participant self;
    require(hf_participant_self(arena->segment, &self) == 0, "self");
}

/* The last permit, which somebody gives back when the victim sleeps for it. */
static void give_back(struct arena *arena)
{
    require(hf_semaphore_post(semaphore_of(arena)) == 0, "post");
}

static void take_the_last(struct arena *arena)
{
    take(arena, 1);
}

static void make_one_that_is_given_back(struct arena *arena)
{
    require(hf_semaphore_init(semaphore_of(arena), 1, HF_SEMAPHORE_UNDO) == 0, "init");
    leave_a_waker(arena, take_the_last, give_back);
}

static void prepare_to_sleep(struct arena *arena)
{
    join(arena);
    be_the_sleeper(arena);
}

/* Whatever the victim does with it, all get it one after another. */
static void contend(struct arena *arena, contender who)
{
    (void)who;
    require(hf_semaphore_timedwait(semaphore_of(arena), 10 * SECOND) == 0,
            "a contender waits for ever");
    give_back(arena);
}

/* ---- acting ------------------------------------------------------------------------------ */

static int act_wait(struct arena *arena)
{
    return hf_semaphore_wait(semaphore_of(arena));
}

static int act_trywait(struct arena *arena)
{
    return hf_semaphore_trywait(semaphore_of(arena));
}

static int act_timedwait(struct arena *arena)
{
    return hf_semaphore_timedwait(semaphore_of(arena), SECOND);
}

static int act_wait_in_vain(struct arena *arena)
{
    return hf_semaphore_timedwait(semaphore_of(arena), SECOND / 4) == -ETIMEDOUT ? 0 : 1;
}

static int act_post(struct arena *arena)
{
    return hf_semaphore_post(semaphore_of(arena));
}

static int act_post_two(struct arena *arena)
{
    return hf_semaphore_post_many(semaphore_of(arena), 2);
}

static int act_recover(struct arena *arena)
{
    return hf_segment_recover(arena->segment, NULL);
}

/* Who recovers the dead is not to take what is no semaphore of that kind for one, or for a lock. */
static int if_placeless(struct arena *arena, int error)
{
    return error == 0 && load_relaxed(&bytes_of(arena)->self) != 0 ? 1 : error;
}

static int act_init_plain(struct arena *arena)
{
    return if_placeless(arena, hf_semaphore_init(semaphore_of(arena), PERMITS, 0));
}

static int act_init_undo(struct arena *arena)
{
    return hf_semaphore_init(semaphore_of(arena), PERMITS, HF_SEMAPHORE_UNDO);
}

static int act_fini(struct arena *arena)
{
    return if_placeless(arena, hf_semaphore_fini(semaphore_of(arena)));
}

/* ---- judging ----------------------------------------------------------------------------- */

/* Recovers, and sees that a permit can be had and given back. The permits; -1: there is none. */
static int64_t permits_of(struct arena *copy)
{
    uint32_t value;
    hf_semaphore *semaphore = semaphore_of(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    if (hf_semaphore_value(semaphore, &value) != 0) {
        return -1;
    }
    require(hf_semaphore_trywait(semaphore) == (value == 0 ? -EBUSY : 0), "trywait");
    require(value == 0 || hf_semaphore_post(semaphore) == 0, "post");
    uint32_t again;
    require(hf_semaphore_value(semaphore, &again) == 0 && again == value, "a pair is nothing");
    return value;
}

static outcome judge(struct arena *copy, int64_t before, int64_t after)
{
    int64_t permits = permits_of(copy);
    if (permits != before && permits != after) {
        return bad("%lld permits, neither %lld nor %lld", (long long)permits, (long long)before,
                   (long long)after);
    }
    return if_whole(copy, permits == before ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

static outcome judge_all_back(struct arena *copy)
{
    uint32_t other;
    outcome result = judge(copy, PERMITS, PERMITS);
    require(hf_semaphore_value(&board_of(copy)->semaphore[1], &other) == 0, "value");
    return other == 1 ? result : bad("the other one has %u permits", (unsigned)other);
}

/* Others have replaced the word twice before anybody recovers the victim. */
static outcome judge_after_others(struct arena *copy)
{
    int error = hf_semaphore_trywait(semaphore_of(copy));
    require(error == 0 || error == -EBUSY, "trywait");
    require(error != 0 || hf_semaphore_post(semaphore_of(copy)) == 0, "post");
    return judge_all_back(copy);
}

static outcome judge_one_less(struct arena *copy)
{
    return judge(copy, PERMITS, PERMITS - 1);
}

static outcome judge_one_back(struct arena *copy)
{
    return judge(copy, PERMITS - 1, PERMITS);
}

static outcome judge_one_more(struct arena *copy)
{
    return judge(copy, PERMITS, PERMITS + 1);
}

static outcome judge_no_permits(struct arena *copy)
{
    return judge(copy, 0, 0);
}

/* Two are the living one's. */
static outcome judge_beside_a_holder(struct arena *copy)
{
    return judge(copy, PERMITS - 2, PERMITS - 2);
}

static outcome judge_after_a_gift(struct arena *copy)
{
    return judge(copy, PERMITS + 1, PERMITS + 1);
}

static outcome judge_the_last_back(struct arena *copy)
{
    return judge(copy, 0, 1);
}

static outcome judge_beginning(struct arena *copy)
{
    return judge(copy, -1, PERMITS);
}

static outcome judge_ending(struct arena *copy)
{
    return judge(copy, PERMITS, -1);
}

#define ON_A_BOARD .size = BOARD_SIZE, .maximum = BOARD_SIZE, .early = take_a_page

#define COMES_BACK(name_, call_, prepare_, act_)                                                   \
    {                                                                                              \
        .name = "semaphore.undo." name_, .call = (call_), ON_A_BOARD, .set_up = make_undo,         \
        .prepare = (prepare_), .act = (act_), .no_effect = true, .judge = judge_all_back           \
    }

#define MEETS_OTHERS(name_, call_, prepare_, act_)                                                 \
    {                                                                                              \
        .name = "semaphore.undo." name_ ".before_others", .call = (call_), ON_A_BOARD,             \
        .set_up = make_undo, .prepare = (prepare_), .act = (act_), .no_effect = true,              \
        .judge = judge_after_others                                                                \
    }

static const struct scenario scenarios[] = {
    {.name = "semaphore.wait",
     .call = "hf_semaphore_wait",
     ON_A_BOARD,
     .set_up = make_plain,
     .prepare = join,
     .act = act_wait,
     .judge = judge_one_less},
    {.name = "semaphore.timedwait.in_vain",
     .call = "hf_semaphore_timedwait",
     ON_A_BOARD,
     .set_up = make_plain,
     .prepare = prepare_none_left,
     .act = act_wait_in_vain,
     .no_effect = true,
     .judge = judge_no_permits},
    {.name = "semaphore.post",
     .call = "hf_semaphore_post",
     ON_A_BOARD,
     .set_up = make_plain,
     .prepare = prepare_one_held,
     .act = act_post,
     .judge = judge_one_back},
    {.name = "semaphore.post.with_waiters",
     .call = "hf_semaphore_post",
     ON_A_BOARD,
     .set_up = make_plain,
     .prepare = prepare_with_waiters,
     .act = act_post,
     .judge = judge_one_back},
    {.name = "semaphore.init.plain_over_rubbish",
     .call = "hf_semaphore_init",
     ON_A_BOARD,
     .set_up = make_rubbish,
     .prepare = join,
     .act = act_init_plain,
     .judge = judge_beginning},
    {.name = "semaphore.init.undo_over_rubbish",
     .call = "hf_semaphore_init",
     ON_A_BOARD,
     .set_up = make_rubbish,
     .prepare = join,
     .act = act_init_undo,
     .judge = judge_beginning},
    {.name = "semaphore.init.undo_over_ones_own_hold",
     .call = "hf_semaphore_init",
     ON_A_BOARD,
     .set_up = make_undo,
     .prepare = prepare_one_held_of_what_is_over,
     .act = act_init_undo,
     .judge = judge_beginning},
    {.name = "semaphore.init.undo_over_a_dead_ones_hold",
     .call = "hf_semaphore_init",
     ON_A_BOARD,
     .set_up = leave_a_dead_holder_of_what_is_over,
     .prepare = join,
     .act = act_init_undo,
     .judge = judge_beginning},
    {.name = "semaphore.fini",
     .call = "hf_semaphore_fini",
     ON_A_BOARD,
     .set_up = make_undo,
     .prepare = prepare_one_held,
     .act = act_fini,
     .judge = judge_ending},
    COMES_BACK("wait", "hf_semaphore_wait", prepare, act_wait),
    COMES_BACK("wait.as_the_first_call", "hf_semaphore_wait", NULL, act_wait),
    COMES_BACK("wait.one_more", "hf_semaphore_wait", prepare_one_held, act_wait),
    COMES_BACK("wait.after_another", "hf_semaphore_wait", prepare_another_held, act_wait),
    COMES_BACK("trywait", "hf_semaphore_trywait", prepare, act_trywait),
    COMES_BACK("timedwait", "hf_semaphore_timedwait", prepare, act_timedwait),
    COMES_BACK("timedwait.in_vain", "hf_semaphore_timedwait", prepare_none_left, act_wait_in_vain),
    COMES_BACK("post", "hf_semaphore_post", prepare_one_held, act_post),
    COMES_BACK("post.one_of_two", "hf_semaphore_post", prepare_two_held, act_post),
    COMES_BACK("post.with_waiters", "hf_semaphore_post", prepare_with_waiters, act_post),
    COMES_BACK("post_many", "hf_semaphore_post_many", prepare_two_held, act_post_two),
    MEETS_OTHERS("wait", "hf_semaphore_wait", prepare, act_wait),
    MEETS_OTHERS("wait.one_more", "hf_semaphore_wait", prepare_one_held, act_wait),
    MEETS_OTHERS("post", "hf_semaphore_post", prepare_one_held, act_post),
    MEETS_OTHERS("post_many", "hf_semaphore_post_many", prepare_two_held, act_post_two),
    {.name = "semaphore.undo.post.a_gift",
     .call = "hf_semaphore_post",
     ON_A_BOARD,
     .set_up = make_undo,
     .prepare = prepare,
     .act = act_post,
     .judge = judge_one_more},
    {.name = "semaphore.undo.wait.woken",
     .call = "hf_semaphore_wait",
     ON_A_BOARD,
     .set_up = make_one_that_is_given_back,
     .prepare = prepare_to_sleep,
     .act = act_wait,
     .contend = contend,
     .judge = judge_the_last_back},
    {.name = "semaphore.undo.wait.beside_a_holder",
     .call = "hf_semaphore_wait",
     ON_A_BOARD,
     .set_up = leave_a_living_holder,
     .prepare = join,
     .act = act_wait,
     .no_effect = true,
     .judge = judge_beside_a_holder},
    {.name = "semaphore.undo.wait.after_a_dead_one",
     .call = "hf_semaphore_wait",
     ON_A_BOARD,
     .set_up = leave_a_dead_holder,
     .prepare = join,
     .act = act_wait,
     .no_effect = true,
     .judge = judge_all_back},
    {.name = "semaphore.undo.trywait.after_a_dead_one",
     .call = "hf_semaphore_trywait",
     ON_A_BOARD,
     .set_up = leave_a_dead_holder_of_all,
     .prepare = join,
     .act = act_trywait,
     .no_effect = true,
     .judge = judge_all_back},
    {.name = "semaphore.undo.recover",
     .call = "hf_segment_recover",
     ON_A_BOARD,
     .set_up = leave_a_dead_holder,
     .prepare = join,
     .act = act_recover,
     .no_effect = true,
     .judge = judge_all_back},
    {.name = "semaphore.undo.recover.who_has_given",
     .call = "hf_segment_recover",
     ON_A_BOARD,
     .set_up = leave_a_dead_giver,
     .prepare = join,
     .act = act_recover,
     .no_effect = true,
     .judge = judge_after_a_gift},
};
const struct scenario_table semaphore_scenarios = SCENARIO_TABLE(scenarios);
