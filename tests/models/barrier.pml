/* SPDX-License-Identifier: MIT */
/*
 * A barrier: one state word, and members in their own slots.
 *
 * Models   barrier.c: arrive, wait_for_others, judge, take_back, hf_barrier_leave; holds.c:
 *          break_barrier, end_hold
 * Left out the life words and how a death is found (lock.pml), and wakes: a waiter sees at some
 *          time what there is to see, for it sleeps in slices. Reset, joining late, init and fini.
 * World    PROCESSES members, and one who is none and may recover others. Each member waits up to
 *          ROUNDS times, may have its time pass (TIMEOUTS in all) and then comes again, and leaves
 *          in the end. MAX_DEATHS die, each at any step, recoverers too. Memory is looked at one
 *          step after another.
 * Checked  Nobody waits for ever (an invalid end state). All of a generation get the same answer.
 *          No generation is complete before all who are expected have arrived in it. As many have
 *          arrived as the state says.
 *
 * BUG 1    recovery clears the hold before it breaks the barrier
 * BUG 2    a waiter looks whether it is broken before it looks for a new generation
 * BUG 3    who leaves clears its hold before the others are told to expect one fewer
 */
#ifndef BUG
#define BUG 0
#endif
#ifndef PROCESSES
#define PROCESSES 3
#endif
#ifndef MAX_DEATHS
#define MAX_DEATHS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 1
#endif
#define OUTSIDER (PROCESSES + 1)
#define N        (PROCESSES + 2)
#define LAST     12 /* more generations than there are */

/* The state word. */
byte generation = 0, arrived = 0, expected = PROCESSES;
bool broken = false;
/* The slots. */
bool hold[N];
byte claim[N]; /* 0: recovered, or left */
bool alive[N] = true;
/* The truth: who has arrived in the generation and not gone on; what they were told. */
byte there = 0;
bool told_good[LAST], told_broken[LAST];
byte deaths = 0, timeouts = TIMEOUTS;

#define MAY_DIE                                                                                    \
    if                                                                                             \
    :: deaths > 0 -> deaths--; goto dying                                                          \
    :: true                                                                                        \
    fi

#define IS_DEAD(d) (!alive[d] && claim[d] != 0 && (claim[d] == d || !alive[claim[d]]))

#define COMPLETE there = 0; arrived = 0; generation++

/* A dead one's hold is ended; its slot is free. */
inline recover(p, d) {
    won = false;
    atomic {
        MAY_DIE;
        if :: IS_DEAD(d) -> claim[d] = p; won = true :: else fi
    }
    if
    :: won ->
        if
        :: BUG == 1 -> atomic { MAY_DIE; was = hold[d]; hold[d] = false }
        :: else -> was = hold[d]
        fi;
        if :: was -> atomic { MAY_DIE; broken = true } :: else fi;
        atomic { MAY_DIE; hold[d] = false }
        atomic { MAY_DIE; claim[d] = 0; was = false }
    :: else
    fi
}

proctype member(byte p) {
    byte round = 0, mine = 0, d = 0;
    bool won = false, was = false;
again:
    atomic {
        MAY_DIE;
        if
        :: broken -> goto out
        :: !broken && arrived + 1 == expected ->
            assert(there + 1 == expected);
            COMPLETE;
            told_good[generation - 1] = true;
            goto met
        :: else -> mine = generation; arrived++; there++
        fi
    }
    do
    :: BUG == 2 && broken -> atomic { told_broken[mine] = true; assert(!told_good[mine]); goto out }
    :: atomic {
           generation != mine && !(BUG == 2 && broken) ->
           told_good[mine] = true; assert(!told_broken[mine]); break
       }
    :: atomic {
           generation == mine && broken ->
           told_broken[mine] = true; assert(!told_good[mine]); goto out
       }
    :: atomic {
           generation == mine && !broken && timeouts > 0 ->
           timeouts--; assert(arrived > 0); arrived--; there--; goto again
       }
    :: atomic { deaths > 0 -> deaths--; goto dying }
    :: atomic { IS_DEAD(1) -> d = 1 } recover(p, d)
    :: atomic { IS_DEAD(2) -> d = 2 } recover(p, d)
    :: atomic { IS_DEAD(3) -> d = 3 } recover(p, d)
    od;
met:
    atomic {
        MAY_DIE;
        mine = 0;
        round++;
        if
        :: round < ROUNDS -> goto again
        :: true
        fi
    }
    if :: BUG == 3 -> atomic { MAY_DIE; hold[p] = false } :: else fi;
    atomic {
        MAY_DIE;
        if
        :: broken
        :: else ->
            expected--;
            if
            :: arrived > 0 && arrived >= expected -> assert(there == arrived); COMPLETE
            :: else
            fi
        fi
    }
out:
    atomic { MAY_DIE; hold[p] = false; claim[p] = 0; goto end }
dying:
    atomic { alive[p] = false; round = 0; mine = 0; d = 0; won = false; was = false }
end:
}

/* Meets the dead elsewhere. */
proctype outsider(byte p) {
    byte d = 0;
    bool won = false, was = false;
end_idle:
    do
    :: atomic { IS_DEAD(1) -> d = 1 } recover(p, d)
    :: atomic { IS_DEAD(2) -> d = 2 } recover(p, d)
    :: atomic { IS_DEAD(3) -> d = 3 } recover(p, d)
    od;
dying:
    atomic { alive[p] = false; d = 0; won = false; was = false }
}

init {
    byte p;
    atomic { do :: deaths < MAX_DEATHS -> deaths++ :: break od }
    atomic { for (p : 1 .. PROCESSES) { claim[p] = p; hold[p] = true; run member(p) } claim[OUTSIDER] = OUTSIDER; run outsider(OUTSIDER) }
}
