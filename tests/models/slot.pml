/* SPDX-License-Identifier: MIT */
/*
 * One slot: who has it, who is taken for dead, who may undo and free it.
 *
 * Models   participant.c: claim, come_alive, release_slot, presence_of (deep), presence_of_owner
 *          recovery.c: recovery_of, finish
 *          os_linux_life.c: os_life_link, os_life_unlink, and the kernel's side of both
 * Left out what is undone (`dirty` stands for all of it), waking (lock.pml), which slot to pick,
 *          segments without a file.
 * World    Two processes come and go, with or without a robust list; others only recover. The
 *          first two both have thread number 1, in two containers. MAX_DEATHS die, each at any
 *          step. The kernel marks the life word that the dead has linked (or misses it), and long
 *          after that drops its byte lock, which is the last of it. NEAR: all see each other's
 *          thread numbers and have robust lists, and one loses its byte while it lives, since
 *          another thread of its process closes a descriptor of the file.
 * Checked  Nobody is in a slot that another living one is in; the living are not recovered; only
 *          who has claimed a slot has its life word linked; a new participant finds nothing dirty;
 *          and, when all is over, what the dead have left can be recovered.
 * Assumes  No recoverer is held up, between its look and its compare-and-swap, for as long as the
 *          slot takes to count its turns round (2^20 participants). BUG 3 shows why.
 *
 * BUG 1    who could not lock the slot's byte is judged by it all the same
 * BUG 2    the slot is freed before its life word is unlinked
 * BUG 3    turns are not counted
 * BUG 4    NEAR: who claims with the byte is judged by it alone
 */
#ifndef BUG
#define BUG 0
#endif
#ifdef LARGE
#define RECOVERERS 2
#define MAX_DEATHS 3
#define VISITS     2 /* of each of the two; turns must not wrap */
#else
#define RECOVERERS 1
#define MAX_DEATHS 2
#define VISITS     1
#endif

/* The claim word: bits 0-2 by, 3-5 turn, 6 claiming, 7-9 who claims, 10 that it has the byte. */
#define OWN      7
#define CLAIMING 64
#define BYTED    1024
#define BY(c)    ((c) & 7)
#define TURN(c)  ((c) >> 3 & 7)
#define WHO(c)   ((c) >> 7 & 7)
#define FREE(c)  (TURN(c) << 3)

/* Does its number tell that it lives, though its byte is lost? From another container it does not. */
#ifdef NEAR
#define NUMBER_LIVES(p) (!gone[p])
#else
#define NUMBER_LIVES(p) false
#endif

mtype = { NONE, ROBUST, ALONE, BYTE }; /* life_kind; ALONE: robust, without the byte */
/* The life word: 0, 1 (the thread number of both), or marked. As a value that was looked at, 0 is
   "did not look". */
#define LEAVING 3
#define DIED    2

short claim = 0;
byte life = LEAVING;
mtype kind = NONE;
byte ident = 0;  /* identity_*: the process */
byte locked = 0; /* the byte lock: whose */
bool dirty = false;

bool alive[6] = true;
bool linked[6], marked[6], gone[6]; /* the kernel's; marked: a recoverer's own life word */
byte in = 0;                        /* who is in the slot, if the truth were known */
byte deaths = 0;

/* Before each step. Between two steps anything may happen, for any time. */
#define MAY_DIE(p)                                                                                 \
    if                                                                                             \
    :: deaths < MAX_DEATHS -> deaths++; alive[p] = false; goto dying                               \
    :: true                                                                                        \
    fi

/* presence_of, deep: sets `dead`. Kind and identity change only together with the claim word. */
inline look(p) {
    atomic { MAY_DIE(p); c = claim; k = kind; who = ident; dead = false }
    atomic {
        if
        :: BY(c) == 0
        :: BY(c) == OWN && (c & CLAIMING) != 0 && (c & BYTED) != 0 ->
            dead = (locked == 0 && (BUG == 4 || !NUMBER_LIVES(WHO(c))))
        :: BY(c) == OWN && (c & CLAIMING) != 0 && (c & BYTED) == 0 -> dead = gone[WHO(c)]
        :: BY(c) == OWN && (c & CLAIMING) == 0 && k == BYTE -> dead = (locked == 0)
        :: BY(c) == OWN && (c & CLAIMING) == 0 && k != BYTE -> l = life; dead = (l == DIED)
        :: else -> dead = marked[BY(c)]
        fi
    }
    atomic { /* the life word said nothing: on its way out, or missed by the kernel */
        if
        :: l == 0 || l == DIED
        :: l == LEAVING && k == ROBUST -> dead = (locked == 0 && !NUMBER_LIVES(who))
        :: l == LEAVING && k == ALONE -> dead = gone[who]
        :: l == 1 -> dead = (locked == 0 && gone[who])
        fi;
        c = 0; k = NONE; l = 0; who = 0
    }
}

#define UNLOCK_BYTE(p) if :: locked == p -> locked = 0 :: else fi

/* Steps (1) to (6) of participant.c; `mine` says whether the slot was had. */
inline take(p) {
    atomic { MAY_DIE(p); seen = claim; mine = false; dead = true }
    if :: BY(seen) != 0 -> look(p) :: else fi;
    if
    :: dead ->
        atomic { MAY_DIE(p); got = (locked == 0 || locked == p); if :: got -> locked = p :: else fi }
        if
        :: !got && !robust
        :: else ->
            atomic {
                MAY_DIE(p);
                turn = (BUG == 3 -> 0 : TURN(seen) + 1);
                mine = (claim == seen);
                if
                :: mine ->
                    assert(in == 0 || !alive[in]); in = p;
                    claim = OWN | turn << 3 | CLAIMING | p << 7 | (got || BUG == 1 -> BYTED : 0)
                :: else
                fi
            }
            if :: !mine && got -> atomic { MAY_DIE(p); UNLOCK_BYTE(p) } :: else fi
        fi
    :: else
    fi;
    if
    :: mine ->
        atomic { MAY_DIE(p); life = LEAVING }
        atomic { MAY_DIE(p); linked[p] = robust }
        atomic { MAY_DIE(p); kind = (robust -> (got || BUG == 1 -> ROBUST : ALONE) : BYTE); ident = p }
        if :: robust -> atomic { MAY_DIE(p); life = 1 } :: else fi;
        atomic { MAY_DIE(p); assert(in == p); claim = OWN | turn << 3 }
        if :: BY(seen) != 0 -> atomic { MAY_DIE(p); dirty = false } :: else fi;
        atomic { MAY_DIE(p); assert(in == p && !dirty); dirty = true }
    :: else
    fi;
    atomic { dead = false; got = false; seen = 0 }
}

/* Steps (7) to (10). */
inline leave(p) {
    atomic { MAY_DIE(p); dirty = false }
    atomic { MAY_DIE(p); life = LEAVING }
    if :: BUG != 2 -> atomic { MAY_DIE(p); linked[p] = false } :: else fi;
    atomic { MAY_DIE(p); assert(in == p && BY(claim) == OWN); in = 0; claim = turn << 3 }
    if :: BUG == 2 -> atomic { MAY_DIE(p); linked[p] = false } :: else fi;
    atomic { MAY_DIE(p); UNLOCK_BYTE(p) }
}

inline recover(p) {
    atomic { MAY_DIE(p); seen = claim }
    look(p);
    if
    :: dead ->
        atomic {
            MAY_DIE(p);
            mine = (claim == seen);
            if :: mine -> assert(in != 0 && !alive[in]); claim = p | FREE(seen) :: else fi
        }
        if
        :: mine ->
            atomic { MAY_DIE(p); dirty = false }
            atomic { MAY_DIE(p); life = LEAVING }
            atomic { MAY_DIE(p); assert(BY(claim) == p); in = 0; claim = FREE(seen) }
        :: else
        fi
    :: else
    fi;
    atomic { dead = false; mine = false; seen = 0 }
}

proctype comer(byte p) {
    short c, seen; byte l, who, turn, visits; mtype k; bool dead, got, mine, robust;
#ifdef NEAR
    robust = true;
#else
    if :: robust = true :: robust = false fi;
#endif
    do
    :: visits < VISITS ->
        visits++;
        take(p);
        if :: mine -> leave(p) :: else fi;
        atomic { turn = 0; mine = false }
    :: break
    od;
    goto end;
dying:
    atomic { c = 0; seen = 0; l = 0; who = 0; turn = 0; visits = 0; k = NONE; dead = false }
    atomic { got = false; mine = false; robust = false }
    if
    :: atomic { linked[p] && life == 1 -> assert(in == p); life = DIED }
    :: true /* not linked, or missed */
    fi;
    atomic { UNLOCK_BYTE(p); gone[p] = true }
end:
}

proctype recoverer(byte p) {
    short c, seen; byte l, who, tries; mtype k; bool dead, mine;
    do :: tries < 2 -> tries++; recover(p) :: break od;
    goto end;
dying:
    atomic { c = 0; seen = 0; l = 0; who = 0; tries = 0; k = NONE; dead = false; mine = false }
    marked[p] = true;
end:
}

/* Another thread of whose byte it is. */
proctype closer() {
    if :: locked = 0 :: true fi
}

init {
    short c, seen; byte l, who; mtype k; bool dead, mine;
    atomic { run comer(1); run comer(2); run recoverer(3); if :: RECOVERERS == 2 -> run recoverer(4) :: else fi }
#ifdef NEAR
    run closer();
#endif
    _nr_pr == 1; /* all is over */
    deaths = MAX_DEATHS;
    if :: BY(claim) != 0 -> recover(5) :: else fi;
dying:
    assert(claim == FREE(claim) && in == 0 && !dirty)
}
