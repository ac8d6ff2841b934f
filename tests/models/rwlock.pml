/* SPDX-License-Identifier: MIT */
/*
 * A reader-writer lock: holds of readers in their own slots, one owner in the word.
 *
 * Models   rwlock.c: come_in, read_unlock, drain, take, upgrade; lock.c: lock_tell_left,
 *          lock_clear_owner; recovery.c: settle_intent, free_one_lock, holds_release
 * Left out the life words and how a death is found (lock.pml): who waits knows whether the one it
 *          waits for lives. Transactions, GIVEN_UP, timeouts except those of upgrades, the list of
 *          held locks (in `linked`), more than one hold.
 * World    PROCESSES, each doing one of these once: read; write; take it upgradably, upgrade and
 *          write, or give the upgrade up and leave. MAX_DEATHS die, each at any step, recoverers
 *          too. Memory is looked at one step after another; the fences make that so.
 * Checked  Nobody writes beside a reader or another writer; one upgradable holder at most; who gets
 *          in is told of a writer's death if that writer knew that it was in, and of no other's;
 *          nothing is left of who was recovered; nobody waits for ever (an invalid end state).
 *
 * A sleeper on `departures` is woken by whoever tells of one; a sleeper on the word by whoever
 * changes it: that wakes are not lost there is lock.pml's. A slice never ends here while the one
 * that is waited for lives.
 *
 * BUG 1    a reader looks at the word before it sets its hold
 * BUG 2    a reader that leaves, or takes its hold back, tells nobody
 * BUG 3    recovery says that the data is suspect, in whichever way the dead owner had the lock
 */
#ifndef BUG
#define BUG 0
#endif
#ifndef PROCESSES
#define PROCESSES 3
#endif
#ifndef MAX_DEATHS
#define MAX_DEATHS 1
#endif
#define N (PROCESSES + 1)

/* The lock's word, and its departures. */
byte owner = 0;
bool upgradable = false, closed = false, died = false;
byte departures = 0;
/* The slots. */
bool hold[N], intent[N], linked[N];
byte claim[N]; /* 0: recovered */
bool alive[N] = true;
/* The truth. */
byte readers = 0, writers = 0, uppers = 0;
bool reads[N], writes[N], ups[N], suspect = false;
byte deaths = 0;

#define OPEN (owner == 0 || (upgradable && !closed))
#define MAY_DIE(p)                                                                                 \
    if                                                                                             \
    :: deaths > 0 -> deaths--; goto dying                                                          \
    :: true                                                                                        \
    fi

/* A departure counts only modulo, like anything that is compared once. */
#define TELL departures = (departures + 1) % 8

inline clear_word(is_suspect) {
    died = died || (is_suspect && (!upgradable || BUG == 3));
    owner = 0; upgradable = false; closed = false
}

/* recovery_of: what d left open; each step can be run again. */
inline recover(p, d) {
    won = false;
    atomic {
        MAY_DIE(p);
        if
        :: !alive[d] && claim[d] != 0 && (claim[d] == d || !alive[claim[d]]) -> claim[d] = p; won = true
        :: else
        fi
    }
    if
    :: won ->
        if
        :: intent[d] && owner == d && !linked[d] -> atomic { MAY_DIE(p); clear_word(false) }
        :: else
        fi;
        atomic { MAY_DIE(p); intent[d] = false }
        if
        :: linked[d] && owner == d -> atomic { MAY_DIE(p); clear_word(true) }
        :: else
        fi;
        atomic { MAY_DIE(p); linked[d] = false }
        if
        :: hold[d] ->
            atomic { MAY_DIE(p); hold[d] = false }
            atomic { MAY_DIE(p); if :: owner != 0 -> TELL :: else fi }
        :: else
        fi;
        atomic { MAY_DIE(p); claim[d] = 0; assert(owner != d && !hold[d] && !intent[d]) }
    :: else
    fi
}

/* Until the word is no longer that owner's, or closed; or the owner is dead: then it is recovered. */
inline wait_for_owner(p, w) {
    if
    :: w == 0
    :: w != 0 ->
        if
        :: atomic { owner != w || (upgradable && !closed && reading) -> skip }
        :: atomic { !alive[w] && claim[w] != 0 && (claim[w] == w || !alive[claim[w]]) -> dead = true }
        :: atomic { deaths > 0 -> deaths--; goto dying }
        fi;
        if :: dead -> dead = false; recover(p, w) :: else fi
    fi
}

/* drain: `from` on there may be readers. */
inline drain(p) {
    from = 1;
    do
    :: from > PROCESSES -> break
    :: else ->
        atomic { MAY_DIE(p); noted = departures }
        atomic { MAY_DIE(p); seen = (from != p && hold[from]) }
        if
        :: !seen -> from++
        :: may_give_up && seen -> gave_up = true; break
        :: seen ->
            if
            :: atomic { departures != noted -> skip }
            :: atomic { !alive[from] && claim[from] != 0 && (claim[from] == from || !alive[claim[from]]) -> dead = true }
            :: atomic { deaths > 0 -> deaths--; goto dying }
            fi;
            if :: dead -> dead = false; recover(p, from) :: else fi
        fi
    od;
    atomic { from = 0; seen = false; noted = 0 }
}

/* Who gets in is told what is true. */
#define TOLD assert(died == suspect)

/* Readers by their holds, others by the word: whoever is inside and alive. */
inline check_alone(p) {
    assert(writers == 0 && readers == 0)
}

proctype process(byte p) {
    byte w, from, noted;
    bool dead, won, seen, reading, may_give_up, gave_up;
    if
    :: goto read
    :: goto write
    :: goto up
    fi;

read:
    reading = true;
    do
    :: true ->
        if
        :: BUG == 1 -> atomic { MAY_DIE(p); w = (OPEN -> 0 : owner) }
        :: else
        fi;
        atomic { MAY_DIE(p); hold[p] = true }
        atomic {
            MAY_DIE(p);
            if :: BUG != 1 -> w = (OPEN -> 0 : owner) :: else fi;
            if :: w == 0 -> reads[p] = true; readers++; assert(writers == 0); TOLD; break :: else fi
        }
        atomic { MAY_DIE(p); hold[p] = false }
        atomic { MAY_DIE(p); if :: owner != 0 && BUG != 2 -> TELL :: else fi }
        wait_for_owner(p, w)
    od;
    atomic { MAY_DIE(p); assert(writers == 0) }
    atomic { MAY_DIE(p); reads[p] = false; readers--; hold[p] = false }
    atomic { MAY_DIE(p); if :: owner != 0 && BUG != 2 -> TELL :: else fi }
    goto end;

write:
    atomic { MAY_DIE(p); intent[p] = true }
    do
    :: atomic {
           MAY_DIE(p);
           if :: owner == 0 -> owner = p; break :: else -> w = owner fi
       }
       wait_for_owner(p, w)
    od;
    drain(p);
    atomic { MAY_DIE(p); check_alone(p); TOLD; linked[p] = true; writes[p] = true; writers++ }
    goto written;

up:
    atomic { MAY_DIE(p); intent[p] = true }
    do
    :: atomic {
           MAY_DIE(p);
           if :: owner == 0 -> owner = p; upgradable = true; break :: else -> w = owner fi
       }
       wait_for_owner(p, w)
    od;
    atomic { MAY_DIE(p); assert(uppers == 0 && writers == 0); TOLD; uppers++; ups[p] = true; linked[p] = true }
    atomic { MAY_DIE(p); closed = true }
    may_give_up = true;
    drain(p);
    if
    :: gave_up ->
        atomic { MAY_DIE(p); closed = false }
        atomic { MAY_DIE(p); linked[p] = false; uppers--; ups[p] = false }
        atomic { MAY_DIE(p); clear_word(false) }
        atomic { MAY_DIE(p); intent[p] = false }
        goto end
    :: else
    fi;
    atomic {
        MAY_DIE(p);
        upgradable = false; closed = false;
        check_alone(p); TOLD; uppers--; ups[p] = false; writers++; writes[p] = true
    }

written:
    if :: died -> atomic { MAY_DIE(p); died = false; suspect = false } :: else fi; /* mends it */
    atomic { MAY_DIE(p); assert(writers == 1 && readers == 0) }
    /* From here the data is good: the intent says that the word is being freed. */
    atomic { MAY_DIE(p); linked[p] = false; writers--; writes[p] = false }
    atomic { MAY_DIE(p); clear_word(false) }
    atomic { MAY_DIE(p); intent[p] = false }
    goto end;

dying:
    atomic {
        alive[p] = false;
        if :: reads[p] -> readers--; reads[p] = false :: else fi;
        if :: ups[p] -> uppers--; ups[p] = false :: else fi;
        if :: writes[p] -> writers--; writes[p] = false; suspect = true :: else fi;
        w = 0; from = 0; noted = 0; dead = false; won = false; seen = false; reading = false;
        may_give_up = false; gave_up = false
    }
end:
}

init {
    byte p;
    atomic { do :: deaths < MAX_DEATHS -> deaths++ :: break od }
    atomic { for (p : 1 .. PROCESSES) { claim[p] = p; run process(p) } }
}
