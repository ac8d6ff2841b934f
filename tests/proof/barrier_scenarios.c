/* SPDX-License-Identifier: MIT */
/* What a death leaves of a barrier: a member that dies breaks it, whatever it was doing. */
#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "proof/board.h"
#include "segment/barrier_layout.h"
#include "segment/handle.h"

static hf_barrier *barrier_of(struct arena *arena)
{
    return &board_of(arena)->barrier;
}

static struct barrier *bytes_of(struct arena *arena)
{
    return (struct barrier *)(void *)barrier_of(arena);
}

static void make(struct arena *arena, uint32_t count)
{
    require(hf_barrier_init(barrier_of(arena), count) == 0, "init");
}

static void make_for_two(struct arena *arena)
{
    make(arena, 2);
}

/* One of them has arrived. */
static void make_with_one_there(struct arena *arena)
{
    make(arena, 2);
    struct barrier *bytes = bytes_of(arena);
    store_release(&bytes->state, load_relaxed(&bytes->state) | UINT64_C(1)
                                                                   << BARRIER_ARRIVED_SHIFT);
}

static void make_rubbish(struct arena *arena)
{
    memset(barrier_of(arena), 0xa5, sizeof(hf_barrier));
}

static void join(struct arena *arena)
{
    require(hf_barrier_join(barrier_of(arena)) == 0, "join");
}

static void make_broken(struct arena *arena)
{
    make(arena, 2);
    leave_a_dead(arena, join);
    require(hf_segment_recover(arena->segment, NULL) == 0, "recover");
}

/* A dead one that nobody has recovered yet. */
static void make_with_a_dead(struct arena *arena)
{
    make(arena, 2);
    leave_a_dead(arena, join);
}

/* The victim has its slot. */
static void take_slot(struct arena *arena)
{
    lock(&board_of(arena)->mutex[1], 0);
    unlock(&board_of(arena)->mutex[1]);
}

/* Its slot has a hold of another epoch. */
static void join_and_reset(struct arena *arena)
{
    join(arena);
    require(hf_barrier_reset(barrier_of(arena), 2) == 0, "reset");
}

static int act_init(struct arena *arena)
{
    return hf_barrier_init(barrier_of(arena), 2);
}

/* Who recovers the dead is not to take what it was for a barrier. */
static int act_fini(struct arena *arena)
{
    int error = hf_barrier_fini(barrier_of(arena));
    return error == 0 && load_relaxed(&bytes_of(arena)->self) != 0 ? 1 : error;
}

static int act_join(struct arena *arena)
{
    return hf_barrier_join(barrier_of(arena));
}

static int act_join_broken(struct arena *arena)
{
    return hf_barrier_join(barrier_of(arena)) == -ESRCH ? 0 : 1;
}

static int act_trywait_broken(struct arena *arena)
{
    return hf_barrier_trywait(barrier_of(arena)) == -ESRCH ? 0 : 1;
}

static int act_wait(struct arena *arena)
{
    return hf_barrier_wait(barrier_of(arena)) == 1 ? 0 : 1;
}

static int act_trywait(struct arena *arena)
{
    return hf_barrier_trywait(barrier_of(arena)) == 1 ? 0 : 1;
}

static int act_wait_in_vain(struct arena *arena)
{
    return hf_barrier_timedwait(barrier_of(arena), 1) == -ETIMEDOUT ? 0 : 1;
}

static int act_wait_broken(struct arena *arena)
{
    return hf_barrier_timedwait(barrier_of(arena), 10 * SECOND) == -ESRCH ? 0 : 1;
}

/* Who looks for members afterwards need not look at what it had. */
static int act_leave(struct arena *arena)
{
    struct participant *p;
    int error = hf_barrier_leave(barrier_of(arena));
    require(participant_of(arena->segment->view, &p) == 0, "participant");
    return error == 0 && load_relaxed(&p->slot->holds_top) != 0 ? 1 : error;
}

/* Not of this epoch, and then of none. */
static int act_leave_after_a_reset(struct arena *arena)
{
    struct participant *p;
    int error = hf_barrier_leave(barrier_of(arena));
    require(participant_of(arena->segment->view, &p) == 0, "participant");
    return error == -EPERM && load_relaxed(&p->slot->holds_top) == 0 ? 0 : 1;
}

static int act_reset(struct arena *arena)
{
    return hf_barrier_reset(barrier_of(arena), 1);
}

/* ---- judging ----------------------------------------------------------------------------- */

struct seen {
    bool there;
    bool broken;
    uint64_t generation;
    uint64_t arrived;
    uint64_t expected;
};

/* The barrier once all are recovered. */
static struct seen look(struct arena *copy)
{
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    const struct barrier *bytes = bytes_of(copy);
    uint64_t state = load_relaxed(&bytes->state);
    return (struct seen){
        .there = hf_barrier_join(barrier_of(copy)) != -EINVAL,
        .broken = (state & BARRIER_BROKEN) != 0,
        .generation = state & BARRIER_GENERATION,
        .arrived = state >> BARRIER_ARRIVED_SHIFT & BARRIER_COUNT_MASK,
        .expected = state >> BARRIER_EXPECTED_SHIFT & BARRIER_COUNT_MASK,
    };
}

/* Whatever it is, it can be ended, or begin anew. */
static outcome if_it_works(struct arena *copy, outcome result)
{
    hf_barrier *barrier = barrier_of(copy);
    bool good = (hf_barrier_reset(barrier, 1) == 0 || hf_barrier_init(barrier, 1) == 0) &&
                hf_barrier_wait(barrier) == 1 && hf_barrier_leave(barrier) == 0;
    return good ? if_whole(copy, result) : bad("the barrier does not work any more");
}

static outcome judge_init(struct arena *copy)
{
    struct seen it = look(copy);
    if (it.there && (it.broken || it.arrived != 0 || it.expected != 2 || it.generation != 0)) {
        return bad("half a barrier");
    }
    return if_it_works(copy, it.there ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

static outcome judge_fini(struct arena *copy)
{
    struct seen it = look(copy);
    return !it.there || it.broken ? if_it_works(copy, it.there ? OUTCOME_BEFORE : OUTCOME_AFTER)
                                  : bad("a barrier that its member is neither in nor has ended");
}

static outcome judge_join(struct arena *copy)
{
    struct seen it = look(copy);
    return if_it_works(copy, it.broken ? OUTCOME_AFTER : OUTCOME_BEFORE);
}

/* Nobody who has arrived may be gone without the others being told. */
static outcome judge_coming(struct arena *copy, uint64_t there)
{
    struct seen it = look(copy);
    if (!it.broken && (it.arrived != there || it.generation != 0)) {
        return bad("one who has arrived is gone, and nobody is told");
    }
    return if_it_works(copy, it.generation == 0 ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

static outcome judge_wait(struct arena *copy)
{
    return judge_coming(copy, 1);
}

static outcome judge_wait_in_vain(struct arena *copy)
{
    return judge_coming(copy, 0);
}

/* A barrier that a dead one has broken stays so. */
static outcome judge_broken(struct arena *copy)
{
    struct seen it = look(copy);
    return it.broken && it.generation == 0 ? if_it_works(copy, OUTCOME_BEFORE)
                                           : bad("a death is forgotten");
}

/* A member until it has left; the others are waited for no more then, and go on. */
static outcome judge_leave(struct arena *copy)
{
    struct seen it = look(copy);
    if (!it.broken && (it.expected != 1 || it.generation != 1 || it.arrived != 0)) {
        return bad("it has left, and is expected");
    }
    return if_it_works(copy, it.broken ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

/* A barrier that it is no member of is as it was. */
static outcome judge_not_left(struct arena *copy)
{
    struct seen it = look(copy);
    return !it.broken && it.expected == 2 && it.arrived == 0 && it.generation == 0
               ? if_it_works(copy, OUTCOME_BEFORE)
               : bad("one who was a member before a reset counts");
}

static outcome judge_reset(struct arena *copy)
{
    struct seen it = look(copy);
    if (!it.broken && (it.expected != 1 || it.arrived != 0)) {
        return bad("half a reset");
    }
    return if_it_works(copy, it.broken ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

#define ON_A_BOARD .size = BOARD_SIZE, .maximum = BOARD_SIZE, .early = take_a_page

static const struct scenario scenarios[] = {
    {.name = "barrier.init",
     .call = "hf_barrier_init",
     ON_A_BOARD,
     .set_up = make_rubbish,
     .prepare = take_slot,
     .act = act_init,
     .judge = judge_init},
    {.name = "barrier.fini",
     .call = "hf_barrier_fini",
     ON_A_BOARD,
     .set_up = make_for_two,
     .prepare = join,
     .act = act_fini,
     .judge = judge_fini},
    {.name = "barrier.join",
     .call = "hf_barrier_join",
     ON_A_BOARD,
     .set_up = make_for_two,
     .prepare = take_slot,
     .act = act_join,
     .judge = judge_join},
    {.name = "barrier.join.as_the_first_call",
     .call = "hf_barrier_join",
     ON_A_BOARD,
     .set_up = make_for_two,
     .act = act_join,
     .judge = judge_join},
    {.name = "barrier.join.again_after_a_reset",
     .call = "hf_barrier_join",
     ON_A_BOARD,
     .set_up = make_for_two,
     .prepare = join_and_reset,
     .act = act_join,
     .judge = judge_join},
    {.name = "barrier.wait.as_the_last",
     .call = "hf_barrier_wait",
     ON_A_BOARD,
     .set_up = make_with_one_there,
     .prepare = join,
     .act = act_wait,
     .judge = judge_wait},
    {.name = "barrier.wait.that_joins",
     .call = "hf_barrier_wait",
     ON_A_BOARD,
     .set_up = make_with_one_there,
     .prepare = take_slot,
     .act = act_wait,
     .judge = judge_wait},
    {.name = "barrier.wait.beside_a_dead",
     .call = "hf_barrier_timedwait",
     ON_A_BOARD,
     .set_up = make_with_a_dead,
     .prepare = take_slot,
     .act = act_wait_broken,
     .no_effect = true,
     .judge = judge_broken},
    {.name = "barrier.trywait.beside_a_dead",
     .call = "hf_barrier_trywait",
     ON_A_BOARD,
     .set_up = make_with_a_dead,
     .prepare = take_slot,
     .act = act_trywait_broken,
     .no_effect = true,
     .judge = judge_broken},
    {.name = "barrier.join.beside_a_dead",
     .call = "hf_barrier_join",
     ON_A_BOARD,
     .set_up = make_with_a_dead,
     .prepare = take_slot,
     .act = act_join_broken,
     .no_effect = true,
     .judge = judge_broken},
    {.name = "barrier.wait.when_broken",
     .call = "hf_barrier_timedwait",
     ON_A_BOARD,
     .set_up = make_broken,
     .prepare = take_slot,
     .act = act_wait_broken,
     .no_effect = true,
     .judge = judge_broken},
    {.name = "barrier.trywait",
     .call = "hf_barrier_trywait",
     ON_A_BOARD,
     .set_up = make_with_one_there,
     .prepare = take_slot,
     .act = act_trywait,
     .judge = judge_wait},
    {.name = "barrier.timedwait.in_vain",
     .call = "hf_barrier_timedwait",
     ON_A_BOARD,
     .set_up = make_for_two,
     .prepare = take_slot,
     .act = act_wait_in_vain,
     .no_effect = true,
     .judge = judge_wait_in_vain},
    {.name = "barrier.leave",
     .call = "hf_barrier_leave",
     ON_A_BOARD,
     .set_up = make_with_one_there,
     .prepare = join,
     .act = act_leave,
     .judge = judge_leave},
    {.name = "barrier.leave.after_a_reset",
     .call = "hf_barrier_leave",
     ON_A_BOARD,
     .set_up = make_for_two,
     .prepare = join_and_reset,
     .act = act_leave_after_a_reset,
     .no_effect = true,
     .judge = judge_not_left},
    {.name = "barrier.reset",
     .call = "hf_barrier_reset",
     ON_A_BOARD,
     .set_up = make_broken,
     .prepare = take_slot,
     .act = act_reset,
     .judge = judge_reset},
};

const struct scenario_table barrier_scenarios = SCENARIO_TABLE(scenarios);
