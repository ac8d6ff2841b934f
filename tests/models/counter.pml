/* SPDX-License-Identifier: MIT */
/*
 * Detectable updates: a word that many update, of which recovery can tell whether a dead thread's
 * update has happened. In src/ it is counter.c, which has a version of the word in place of the
 * writer's own number, and looks at a window of versions at a time: that is not modelled yet.
 *
 *     word     value, slot of the last writer, that one's sequence number (20 bits; here SEQ)
 *     record   of a slot: one 64-bit word {number of the update, counted in full and never reset;
 *              OPEN or DONE}, and beside it the counter and, as `expects`, what is being replaced
 *
 *     updating (1) look at the word; choose the next number, past any whose low bits, with our slot,
 *                  stand in the word or in somebody's `expects` of this counter
 *              (2) record = that number, OPEN
 *              (3) expects = the word; then look at the word again: unchanged?
 *              (4) only then look at its writer's record. If that is OPEN, of this counter and with
 *                  that sequence number, acknowledge: DONE for OPEN, by compare-and-swap of the
 *                  whole record
 *              (5) word = new value, we, our number, by compare-and-swap; if it fails, (3)
 *              (6) record = the same number, DONE; expects = nothing
 *     recovery (7) the word carries slot and number: done     (8) the record is DONE: done
 *              otherwise it has not happened; in this order, for (4) comes before (5)
 *
 * The design said: one acknowledgement per slot, that only rises. With numbers that wrap "rises" is
 * modulo, and that does not hold: a word last written long ago, when it is replaced at last,
 * acknowledges what looks like the future (BUG 1; no process need be stopped for it). So an
 * acknowledgement is of one record, and exact. `expects` (a hazard) closes the last gap: without it
 * an updater held up between (4) and (5) for exactly 2^20 updates of one slot replaces, not having
 * acknowledged it, an update that looks the same as the one it saw (BUG 3). A slot need not look at
 * all others each time: without `expects` all is right as long as nobody is held up, in one update, while
 * one slot makes as many as numbers take to come round (UPDATES=3, with BUG 3, holds).
 *
 * World    Two slots update two counters; a value is 0 or 1, so that it comes again soon. One process
 *          stands for all that is done in a slot's name: its thread; when that dies, at any step,
 *          who recovers it; when that one dies, the next; and then the slot's next thread. A
 *          recoverer finishes what has not happened.
 * Checked  What recovery decides is the truth; in the end each update has happened exactly once.
 *
 * BUG 1    acknowledgements are one number per slot that only rises, modulo
 * BUG 2    recovery looks at the record before the word
 * BUG 3    numbers that stand in somebody's `expects` are not passed over
 */
#ifndef BUG
#define BUG 0
#endif
#ifdef LARGE
#define SEQ     4 /* sequence numbers; more than SLOTS */
#define UPDATES 5 /* of slot 1: so its numbers come round */
#define OTHERS  2 /* of slot 2 */
#else
#define SEQ     3
#ifndef UPDATES
#define UPDATES 4
#endif
#define OTHERS 1
#endif
#define SLOTS      2
#define MAX_DEATHS 2

/* A word, in 8 bits: value, slot, sequence. */
#define WORD(v, s, q) ((v) << 7 | (s) << 4 | (q))
#define VALUE(w)      ((w) >> 7)
#define SLOT(w)       ((w) >> 4 & 7)
#define NUMBER(w)     ((w) & 15)
#define MINE(w, s, n) (SLOT(w) == (s) && NUMBER(w) == (n) % SEQ)

byte word[2];
byte number[SLOTS + 1]; /* the record, with `open` */
bool open[SLOTS + 1];
bit counter[SLOTS + 1];
byte expects[SLOTS + 1]; /* the word, and which counter's: */
bit expects_of[SLOTS + 1];
byte ack[SLOTS + 1]; /* of BUG 1 */
bool happened[SLOTS + 1] = true; /* the truth about the update in the record */
byte deaths = 0;

#define MAY_DIE                                                                                    \
    if                                                                                             \
    :: deaths < MAX_DEATHS -> deaths++; goto dying                                                 \
    :: true                                                                                        \
    fi

/* Is the number n in use: in the word, or in what another is about to replace? One at a time. */
inline pass_over() {
    o = 1;
    do
    :: atomic {
           o <= SLOTS ->
               MAY_DIE;
               if
               :: BUG != 3 && o != s && expects_of[o] == c && MINE(expects[o], s, n) -> n++; o = 1
               :: else -> o++
               fi;
               if :: MINE(w, s, n) -> n++; o = 1 :: else fi
       }
    :: o > SLOTS -> break
    od;
    o = 0
}

inline acknowledge() {
    if
    :: BUG == 1 && SLOT(w) != 0 ->
        atomic {
            MAY_DIE;
            if :: (NUMBER(w) + SEQ - ack[SLOT(w)]) % SEQ == 1 -> ack[SLOT(w)] = NUMBER(w) :: else fi
        }
    :: BUG != 1 && is_open ->
        atomic {
            MAY_DIE;
            if :: open[SLOT(w)] && number[SLOT(w)] == seen -> open[SLOT(w)] = false :: else fi
        }
    :: else
    fi
}

proctype slot(byte s; byte updates) {
    byte n, w, seen, o; bit c; bool is_open, done;
next:
    do
    :: updates > 0 ->
        atomic { /* (1) */
            MAY_DIE;
            if :: c = 0 :: c = 1 fi;
            w = word[c]; n = number[s] + 1;
            if :: MINE(w, s, n) -> n++ :: else fi
        }
        pass_over();
        atomic { MAY_DIE; counter[s] = c }
        atomic { MAY_DIE; number[s] = n; open[s] = true; happened[s] = false; updates-- } /* (2) */
finish:
        do
        :: atomic { MAY_DIE; w = word[c] }
           atomic { MAY_DIE; expects[s] = w; expects_of[s] = c } /* (3) */
           if
           :: atomic { word[c] == w -> MAY_DIE }
              atomic { /* (4) */
                  MAY_DIE;
                  seen = number[SLOT(w)];
                  is_open = SLOT(w) != s && open[SLOT(w)] && seen % SEQ == NUMBER(w)
              }
              atomic { MAY_DIE; is_open = is_open && counter[SLOT(w)] == c }
              acknowledge();
              atomic { /* (5) */
                  MAY_DIE;
                  if
                  :: word[c] == w ->
                      assert(!happened[s]); happened[s] = true;
                      word[c] = WORD(1 - VALUE(w), s, n % SEQ);
                      break
                  :: else
                  fi
              }
           :: atomic { word[c] != w -> MAY_DIE }
           fi
        od;
        atomic { MAY_DIE; assert(happened[s]); open[s] = false; w = 0; seen = 0; is_open = false } /* (6) */
        atomic { MAY_DIE; expects[s] = 0; n = 0; c = 0 }
    :: else -> break
    od;
    goto end;
dying: /* from here on it is who recovers it, knowing only what is in the slot */
    atomic { w = 0; seen = 0; o = 0; is_open = false; done = false; n = number[s]; c = counter[s] }
    if
    :: open[s] ->
        if
        :: BUG == 2 ->
            atomic { MAY_DIE; done = !open[s] }
            atomic { MAY_DIE; done = done || MINE(word[c], s, n) }
        :: else ->
            atomic { MAY_DIE; done = MINE(word[c], s, n) } /* (7) */
            atomic { /* (8) */
                MAY_DIE;
                done = done || (BUG == 1 -> (ack[s] + SEQ - n % SEQ) % SEQ < 2 : !open[s])
            }
        fi;
        assert(done == happened[s]);
        if :: !done -> goto finish :: else fi
    :: else
    fi;
    atomic { MAY_DIE; assert(happened[s]); open[s] = false; done = false }
    atomic { MAY_DIE; expects[s] = 0; n = 0; c = 0 }
    goto next;
end:
}

init {
    atomic {
        run slot(1, UPDATES);
        run slot(2, OTHERS)
    }
}
