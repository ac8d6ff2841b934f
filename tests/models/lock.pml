/* SPDX-License-Identifier: MIT */
/*
 * One lock: taking, waiting, waking, and owners that die.
 *
 * Models   lock.h: lock_take, lock_link, lock_free      lock.c: try_word, lock_wait_once,
 *          lock_clear_owner, lock_wait              participant.c: sleep_beside, presence_of
 *          recovery.c: recovery_of, finish, settle_intent, free_one_lock
 *          and of the kernel: FUTEX_WAITV, FUTEX_WAKE, the walk of a dead thread's robust list
 * Left out transactions, GIVEN_UP, a second lock (so `next` is always 0), spinning, deadlines, and
 *          taking a slot anew (slot.pml).
 * World    PROCESSES, each in the slot of its number, each taking the lock ROUNDS times. MAX_DEATHS
 *          die, each at any step, recoverers too. One waiter may be stopped, at any step of its
 *          waiting, also when it was the one to be woken: until all the others are through.
 * Checked  Mutual exclusion; OWNER_DIED exactly when an owner that knew of it died; nothing is left
 *          of who was recovered; nobody waits for ever (an invalid end state).
 *
 * A slice of sleep ends when nothing else can go on. With NO_SLICES none ever ends and nobody is
 * stopped. Then nobody waits for ever, either, as long as one dies at most: an unlocker wakes two, one
 * of which falls asleep beside the new owner. Two deaths still need slices. With WAKE_ONE one death
 * does, unless it is that of an owner that everyone has fallen asleep beside (DEATHS_OF_FIRST: who
 * has never slept): a sleeper that is not the one woken by an unlock sleeps on beside the life word
 * of the *former* owner; the death of the next one wakes nobody. And a woken waiter that dies before
 * it has looked takes the wake with it; the WAITERS bit helps only when another comes.
 *
 * BUG 1    unlocking clears WAITERS, and who has waited does not set it again
 * BUG 2    recovery clears the intent before the owner
 * BUG 3    a sleeper does not set OS_LIFE_WAITERS
 */
#ifndef BUG
#define BUG 0
#endif
#ifndef PROCESSES
#define PROCESSES 3
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef MAX_DEATHS
#define MAX_DEATHS 2
#endif
#ifndef STOPS
#define STOPS 1
#endif
#ifdef WAKE_ONE
#define WAKE 1
#else
#define WAKE 2
#endif
#ifdef NO_SLICES
#define MAY_STOP(p)
#else
#define MAY_STOP(p)                                                                                \
    if                                                                                             \
    :: stops > 0 -> stops--; running--; running == 0; running++ /* until nobody else is running */ \
    :: true                                                                                        \
    fi
#endif
#ifdef DEATHS_OF_FIRST
#define MORTAL(p) (!has_slept[p])
#else
#define MORTAL(p) true
#endif

mtype = { NOTHING, TAKING, FREEING, FREEING_SUSPECT }; /* intents; the last with LOCK_SUSPECT */
#define N (PROCESSES + 1)

/* The lock's word. */
byte owner = 0;
bool waiters = false, died = false;
/* The slots. */
mtype intent[N] = NOTHING;
bool held[N];
byte claim_by[N]; /* 0: idle */
bool life_died[N], life_waiters[N];
/* The kernel's queues: who sleeps on the lock's word; who on whose life word. */
bool on_word[N], awake[N] = true;
byte on_life[N];
/* The truth. */
bool suspect = false, knows[N], has_slept[N];
byte inside = 0, deaths = 0, running = PROCESSES, stops = STOPS, slices = 0; /* deaths: still to come */
bool alive[N] = true;

#define MAY_DIE(p)                                                                                 \
    if                                                                                             \
    :: deaths > 0 && MORTAL(p) -> deaths--; goto dying                                    \
    :: true                                                                                        \
    fi

/* Who is asleep can be killed, too. What it slept on and was not woken on forgets it as it wakes. */
#ifdef NO_SLICES
#define SLICE_ENDS false
#else
#define SLICE_ENDS timeout && slices < 8
#endif
#define SLEEP(p)                                                                                   \
    if                                                                                             \
    :: atomic { awake[p] -> on_word[p] = false; on_life[p] = 0 }                                   \
    :: atomic { SLICE_ENDS -> slices++; awake[p] = true; on_word[p] = false; on_life[p] = 0 }      \
    :: atomic { deaths > 0 && MORTAL(p) -> deaths--; goto dying }                         \
    fi

/* Wakes one; it may be one that the other word has woken already. Without effect if nobody is there. */
inline wake_one_on_word() {
    if
    :: on_word[1] -> on_word[1] = false; awake[1] = true; woken++
    :: on_word[2] -> on_word[2] = false; awake[2] = true; woken++
    :: on_word[3] -> on_word[3] = false; awake[3] = true; woken++
    :: PROCESSES == 4 && on_word[N - 1] -> on_word[N - 1] = false; awake[N - 1] = true; woken++
    :: else
    fi
}

inline wake_one_on_life(o) {
    if
    :: on_life[1] == o -> on_life[1] = 0; awake[1] = true
    :: on_life[2] == o -> on_life[2] = 0; awake[2] = true
    :: on_life[3] == o -> on_life[3] = 0; awake[3] = true
    :: PROCESSES == 4 && on_life[N - 1] == o -> on_life[N - 1] = 0; awake[N - 1] = true
    :: else
    fi
}

inline wake_all_on_word() {
    for (i : 1 .. PROCESSES) { if :: on_word[i] -> on_word[i] = false; awake[i] = true :: else fi }
    i = 0
}

inline wake_all_on_life(o) {
    for (i : 1 .. PROCESSES) {
        if :: on_life[i] == o -> on_life[i] = 0; awake[i] = true :: else fi
    }
    i = 0
}

/* By p, of a lock that is its own or of one it recovers. Whoever clears the owner without a suspicion
   leaves `died` as it is. */
inline clear_owner(p, is_suspect) {
    atomic {
        MAY_DIE(p);
        owner = 0; woken = 0;
        died = died || is_suspect; saw_died = died;
        saw = waiters;
        if :: BUG == 1 -> waiters = false :: else fi
    }
    if
    :: saw ->
        atomic {
            MAY_DIE(p);
            wake_one_on_word();
            if :: WAKE == 2 -> wake_one_on_word() :: else fi
        }
        if
        :: woken == 0 ->
            atomic {
                MAY_DIE(p);
                if :: owner == 0 && waiters && died == saw_died -> waiters = false :: else fi
            }
        :: else
        fi
    :: else
    fi;
    atomic { saw = false; saw_died = false; woken = 0 }
}

inline wake_all_if_waiters(p) {
    atomic { MAY_DIE(p); if :: waiters -> wake_all_on_word() :: else fi }
}

/* recovery_of: steps 1 to 7. Whether d is dead was seen with the claim word. */
inline recover(p, d) {
    atomic {
        MAY_DIE(p);
        won = (claim_by[d] == by);
        if :: won -> claim_by[d] = p :: else fi;
        by = 0
    }
    if
    :: won ->
        atomic { MAY_DIE(p); wake_all_on_life(d) }
        if
        :: owner != d -> if :: intent[d] != NOTHING -> wake_all_if_waiters(p) :: else fi
        :: owner == d && (intent[d] == FREEING || intent[d] == FREEING_SUSPECT) ->
            atomic { MAY_DIE(p); held[d] = false }
            clear_owner(p, intent[d] == FREEING_SUSPECT);
            wake_all_if_waiters(p)
        :: owner == d && intent[d] == TAKING && !held[d] ->
            if :: BUG == 2 -> atomic { MAY_DIE(p); intent[d] = NOTHING } :: else fi;
            clear_owner(p, false)
        :: else
        fi;
        atomic { MAY_DIE(p); intent[d] = NOTHING }
        if
        :: held[d] && owner == d ->
            atomic { MAY_DIE(p); intent[d] = FREEING_SUSPECT }
            atomic { MAY_DIE(p); held[d] = false }
            if :: BUG == 2 -> atomic { MAY_DIE(p); intent[d] = NOTHING } :: else fi;
            clear_owner(p, true);
            wake_all_if_waiters(p);
            atomic { MAY_DIE(p); intent[d] = NOTHING }
        :: else
        fi;
        atomic {
            MAY_DIE(p);
            held[d] = false; life_waiters[d] = false; life_died[d] = false; claim_by[d] = 0;
            assert(owner != d && intent[d] == NOTHING)
        }
    :: else
    fi;
    won = false
}

/* lock_wait_once. w: the owner seen, ww: WAITERS seen, wd: OWNER_DIED seen. */
inline wait(p) {
    atomic { /* presence_of */
        MAY_DIE(p); MAY_STOP(p);
        by = claim_by[w];
        if
        :: by == 0 -> h = 0
        :: by != 0 && claim_by[by] == by && !life_died[by] -> h = by; lw = life_waiters[by]
        :: else -> dead = true
        fi
    }
    if
    :: dead -> dead = false; recover(p, w)
    :: !dead && h != 0 ->
        by = 0;
        if
        :: !ww ->
            atomic {
                MAY_DIE(p); MAY_STOP(p);
                if :: owner == w && !waiters && died == wd -> waiters = true :: else -> h = 0 fi
            }
        :: else
        fi;
        if
        :: h != 0 && !lw ->
            atomic {
                MAY_DIE(p); MAY_STOP(p);
                if :: !life_died[h] && claim_by[h] == h && !life_waiters[h] -> life_waiters[h] = (BUG != 3)
                :: else -> h = 0 fi
            }
        :: else
        fi;
        if
        :: h != 0 ->
            atomic {
                MAY_DIE(p); MAY_STOP(p);
                if
                :: owner == w && waiters && died == wd && !life_died[h] &&
                   (life_waiters[h] || BUG == 3) ->
                    on_word[p] = true; on_life[p] = h; awake[p] = false; has_slept[p] = true
                :: else
                fi;
                h = 0; w = 0; ww = false; wd = false; lw = false
            }
            SLEEP(p)
        :: else
        fi
    :: else -> by = 0
    fi;
    atomic { h = 0; w = 0; ww = false; wd = false; lw = false }
}

proctype process(byte p) {
    byte w, h, by, woken, i, rounds; bool ww, wd, lw, dead, won, saw, saw_died, waited;
    do
    :: rounds < ROUNDS ->
        rounds++;
        atomic { MAY_DIE(p); intent[p] = TAKING } /* (1) */
        do
        :: atomic { /* (2) */
               MAY_DIE(p); MAY_STOP(p);
               if
               :: owner == 0 -> owner = p; waiters = waiters || (waited && BUG != 1); break
               :: else -> w = owner; ww = waiters; wd = died
               fi
           }
           wait(p);
           waited = true
        od;
        atomic { waited = false; assert(inside == 0 || !alive[inside]); inside = p; assert(died == suspect) }
        atomic { MAY_DIE(p); held[p] = true; knows[p] = true } /* (3), (4) */
        if :: died -> atomic { MAY_DIE(p); died = false; suspect = false } :: else fi; /* mends it */
        atomic { MAY_DIE(p); assert(inside == p); intent[p] = FREEING; knows[p] = false } /* (5) */
        atomic { MAY_DIE(p); held[p] = false; inside = 0 } /* (6) */
        clear_owner(p, false); /* (7), (8) */
        atomic { MAY_DIE(p); intent[p] = NOTHING } /* (9) */
    :: else -> break
    od;
    running--;
    goto end;
dying:
    atomic {
        alive[p] = false; on_word[p] = false; on_life[p] = 0; awake[p] = true;
        suspect = suspect || knows[p]; knows[p] = false;
        w = 0; h = 0; by = 0; woken = 0; i = 0; rounds = 0; ww = false; wd = false; lw = false;
        dead = false; won = false; saw = false; saw_died = false; waited = false
    }
    atomic {
        life_died[p] = true;
        if :: life_waiters[p] -> wake_one_on_life(p) :: else fi;
        running--
    }
end:
}

init {
    byte p;
    atomic { do :: deaths < MAX_DEATHS -> deaths++ :: break od }
    atomic { for (p : 1 .. PROCESSES) { claim_by[p] = p; run process(p) } }
}
