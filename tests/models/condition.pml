/* SPDX-License-Identifier: MIT */
/*
 * One condition and the lock that is waited with: registering, sleeping, notifying one or all.
 *
 * Models   condition.c: hf_condition_timedwait, sleep_until_notified, wake
 *          and of the kernel: FUTEX_WAIT, FUTEX_WAKE
 * Left out the lock's own waiting (lock.pml): it is free as soon as its owner has died; timeouts,
 *          the wrap of notifications, other locks.
 * World    WAITERS who take an item or more, NOTIFIERS who each add one NOTES times, under the lock,
 *          and notify one or all, after unlocking. MAX_DEATHS die, each at any step.
 *          With PLAYERS instead: so many who wait for their turn and give it to the next, TURNS times
 *          each, and notify one if they are two, and all if they are more.
 * Checked  When nothing can go on: no living waiter sleeps while there is an item that a notifier
 *          has told of; no player sleeps in its turn.
 *
 * A slice of sleep may end at any time; a waiter goes on if the word has changed. With NO_SLICES
 * none ever ends: that holds, too, as long as nobody dies. So slices are for deaths alone.
 *
 * BUG 1    step (8) is left out: nobody wakes one who fell asleep before WAITERS was cleared
 * BUG 2    a waiter registers after it has unlocked
 * BUG 3    notifying one clears WAITERS at once, as notifying all does
 * BUG 4    step (7) clears WAITERS and does not count: one that has come before that and is not
 *          asleep yet takes the word for its own, once another has set WAITERS again
 */
#ifndef BUG
#define BUG 0
#endif
#ifndef WAITERS
#define WAITERS 2
#endif
#ifndef NOTIFIERS
#define NOTIFIERS 2
#endif
#ifndef NOTES
#define NOTES 2
#endif
#ifndef MAX_DEATHS
#define MAX_DEATHS 2
#endif
#ifndef PLAYERS
#define PLAYERS 0
#endif
#ifndef TURNS
#define TURNS 4
#endif
#define N (WAITERS + NOTIFIERS + PLAYERS + 1)

/* The word. */
byte turn = 0;
bool waiting = false;
/* The kernel's queue. */
bool asleep[N];
/* What each waiter has seen of the word. */
byte seen_turn[N];
bool seen_waiting[N];
/* The lock's owner; the items, and of how many a notifier has told. */
byte owner = 0, items = 0, told = 0, deaths = MAX_DEATHS;
/* Which player's turn it is. */
byte whose = 1;

#define MAY_DIE(p)                                                                                 \
    if                                                                                             \
    :: deaths > 0 -> deaths--; goto dying                                                          \
    :: true                                                                                        \
    fi
#define CHANGED(p) (turn != seen_turn[p] || waiting != seen_waiting[p])

inline take_lock(p) {
    atomic { owner == 0 -> owner = p }
}

inline register(p) {
    atomic { MAY_DIE(p); waiting = true; seen_turn[p] = turn; seen_waiting[p] = true }
}

inline wake_all() {
    for (i : 1 .. N - 1) { asleep[i] = false }
    i = 0
}

/* Steps (5) to (10). `tells`: of an item. */
inline notify(p, tells) {
    atomic { /* (5), (9) */
        MAY_DIE(p);
        told = (tells && told < items -> told + 1 : told);
        owed = waiting;
        if
        :: owed -> turn++; mine = turn; waiting = !(all || BUG == 3)
        :: else
        fi
    }
    if
    :: owed && all -> atomic { MAY_DIE(p); wake_all() } /* (10) */
    :: owed && !all ->
        atomic { /* (6) */
            MAY_DIE(p);
            woken = 0;
            if
            :: asleep[1] -> asleep[1] = false; woken = 1
            :: asleep[2] -> asleep[2] = false; woken = 1
            :: WAITERS == 3 && asleep[WAITERS] -> asleep[WAITERS] = false; woken = 1
            :: else
            fi
        }
        if
        :: woken == 0 ->
            atomic { /* (7) */
                MAY_DIE(p);
                owed = (turn == mine && waiting);
                waiting = (owed -> false : waiting);
                turn = (owed && BUG != 4 -> turn + 1 : turn)
            }
            if
            :: owed && BUG != 1 -> atomic { MAY_DIE(p); wake_all() } /* (8) */
            :: else
            fi
        :: else
        fi
    :: else
    fi;
    atomic { woken = 0; mine = 0; owed = false; all = false }
}

/* Steps (1) to (4). */
inline wait(p) {
    if
    :: BUG != 2 -> register(p) /* (1) */
    :: else
    fi;
    atomic { MAY_DIE(p); owner = 0 } /* (2) */
    if
    :: BUG == 2 -> register(p)
    :: else
    fi;
    atomic { MAY_DIE(p); asleep[p] = !CHANGED(p) } /* (3) */
end_asleep:
    if
    :: atomic { !asleep[p] -> skip }
#ifndef NO_SLICES
    :: atomic { asleep[p] && CHANGED(p) -> asleep[p] = false }
#endif
    :: atomic { asleep[p] && deaths > 0 -> deaths--; goto dying }
    fi;
    atomic { seen_turn[p] = 0; seen_waiting[p] = false }
    take_lock(p) /* (4) */
}

proctype waiter(byte p) {
    do
    :: take_lock(p);
        do
        :: atomic { items > 0 -> MAY_DIE(p); break }
        :: atomic { items == 0 -> skip }
            wait(p)
        od;
        atomic { MAY_DIE(p); items--; told = (told < items -> told : items) }
        atomic { MAY_DIE(p); owner = 0 }
        if
        :: true /* one more */
        :: goto end
        fi
    od;
dying:
    atomic { asleep[p] = false; owner = (owner == p -> 0 : owner) }
end:
}

proctype notifier(byte p) {
    byte i, count, woken, mine; bool all, owed;
    do
    :: count < NOTES ->
        count++;
        take_lock(p);
        atomic { MAY_DIE(p); items++ }
        atomic { MAY_DIE(p); owner = 0; if :: all = true :: all = false fi }
        notify(p, true)
    :: else -> break
    od;
    goto end;
dying:
    atomic { owner = (owner == p -> 0 : owner); count = 0; woken = 0; mine = 0; owed = false; all = false }
end:
}

/* Nobody dies here: the turn of a dead one is nobody's. */
proctype player(byte p) {
    byte i, count, woken, mine; bool all, owed;
    do
    :: count < TURNS ->
        count++;
        take_lock(p);
        do
        :: atomic { whose == p -> break }
        :: atomic { whose != p -> skip }
            wait(p)
        od;
        atomic { whose = whose % PLAYERS + 1; owner = 0; all = PLAYERS > 2 }
        notify(p, false)
    :: else -> break
    od;
dying:
}

init {
    byte p;
    atomic {
#if PLAYERS
        for (p : 1 .. PLAYERS) { run player(p) }
#else
        for (p : 1 .. WAITERS) { run waiter(p) }
        for (p : WAITERS + 1 .. WAITERS + NOTIFIERS) { run notifier(p) }
#endif
    }
    timeout; /* nothing goes on any more */
    for (p : 1 .. N - 1) { assert(!(asleep[p] && (told > 0 || (PLAYERS && whose == p)))) }
}
