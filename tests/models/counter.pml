/* SPDX-License-Identifier: MIT */
/*
 * Detectable updates: a word that many update, of which recovery can tell whether a dead thread's
 * update has happened. In src/ it is counter.c; the comment of counter.h has the same numbers.
 *
 *     word     a value, the slot of the last writer, a version that counts the updates, modulo
 *     record   of a slot: `number` of its update, counted in full and never reset, and its state;
 *              `counter`, which word it is of; `expects`, what is being replaced; `makes`, what by
 *
 *     updating (1) makes = nothing; counter; then the record = the next number, OPEN
 *              (2) expects = the word; then look at the word again: unchanged?
 *              (3) only then look at its writer's record. If that is OPEN, of this counter, and makes
 *                  that word, acknowledge: ACKED for OPEN, by compare-and-swap of number and state
 *              (4) makes = we, and the version after the word's
 *              (5) word = makes, by compare-and-swap; if it fails, (2)
 *              (6) record = the same number, closed; expects = nothing
 *     recovery (7) the word is that of makes: done            (8) the record is ACKED: done
 *              otherwise it has not happened; in this order, for (3) comes before (5)
 *
 * Versions stand in windows. Who takes the first of a window looks at every slot's `expects`, one
 * after the other, and passes the whole window over if there is one of it: or an updater held up
 * between (3) and (5) for a whole round replaces, not having acknowledged it, an update that looks
 * the same as the one it saw (BUG 3). What somebody begins to expect afterwards is the word as it
 * is, with a version that is behind. With the writer's number in place of a version that does not
 * hold: a word may stand while its writer's numbers go round on another counter (BUG 4).
 *
 * The design said: one acknowledgement per slot, that only rises. With numbers that wrap "rises" is
 * modulo, and a word last written long ago, when it is replaced at last, acknowledges what looks like
 * the future. So an acknowledgement is of one record, and exact (BUG 1: it is of whatever is open).
 *
 * World    Two slots update two counters. Values are left out: any may come again at once. One process
 *          stands for all that is done in a slot's name: its thread; when that dies, at any step,
 *          who recovers it; when that one dies, the next; and then the slot's next thread, which
 *          makes again what has not happened. A death after a look is one before it.
 *          NARROW: slot 2 updates but one of them, and does not die.
 * Checked  What recovery decides is the truth.
 *
 * BUG 1    an acknowledgement does not ask what the record makes
 * BUG 2    recovery looks at the record before the word
 * BUG 3    versions that stand in somebody's `expects` are not passed over
 * BUG 4    the version is the writer's number; one that stands in the word is passed over, too
 */
#ifndef BUG
#define BUG 0
#endif
#ifndef UPDATES
#define UPDATES 7 /* of slot 1: so versions come round */
#endif
#ifndef OTHERS
#define OTHERS 1 /* of slot 2 */
#endif
#ifndef WINDOW
#define WINDOW 2
#endif
#ifndef MAX_DEATHS
#define MAX_DEATHS 2
#endif
#ifdef NARROW
#define MORTAL (s == 1)
#define BOTH   (s == 1)
#else
#define MORTAL true
#define BOTH   true
#endif
#define SLOTS    2
#define WINDOWS  (SLOTS + 1)
#define VERSIONS (WINDOW * WINDOWS)

/* A word, in 8 bits: slot, version. */
#define WORD(s, v) ((s) << 4 | (v) % VERSIONS)
#define SLOT(w)    ((w) >> 4)
#define VERSION(w) ((w) & 15)

byte word[2];
byte number[SLOTS + 1]; /* the record, with the next two */
bool open[SLOTS + 1];
bool acked[SLOTS + 1];
bit counter[SLOTS + 1];
byte expects[SLOTS + 1];
byte makes[SLOTS + 1];
bool happened[SLOTS + 1] = true; /* the truth about the update in the record */
byte deaths = 0;

#define MAY_DIE                                                                                    \
    if                                                                                             \
    :: deaths < MAX_DEATHS && MORTAL -> deaths++; goto dying                                                 \
    :: true                                                                                        \
    fi

/* Passes over windows that are expected, if v begins one. Looks at one slot at a time. */
inline begin_window() {
    o = (v % WINDOW == 0 && BUG != 3 -> 1 : SLOTS + 1);
    do
    :: atomic {
           o <= SLOTS ->
               if
               :: expects[o] != 0 && VERSION(expects[o]) / WINDOW == v % VERSIONS / WINDOW ->
                   v = v + WINDOW; o = 1
               :: else -> o++
               fi
       }
    :: o > SLOTS -> break
    od;
    o = 0
}

proctype slot(byte s; byte updates) {
    byte v, w, seen, o; bit c; bool is_open, done;
next:
    do
    :: updates > 0 ->
        atomic { MAY_DIE; if :: c = 0 :: BOTH -> c = 1 fi; makes[s] = 0 } /* (1) */
        if
        :: BUG == 4 ->
            atomic { v = number[s] + 1; if :: WORD(s, v) == word[c] -> v++ :: else fi }
            begin_window();
            atomic { if :: WORD(s, v) == word[c] -> v++ :: else fi }
        :: else -> v = number[s] + 1
        fi;
        atomic { MAY_DIE; counter[s] = c }
        atomic {
            MAY_DIE;
            number[s] = v; open[s] = true; acked[s] = false; happened[s] = false; updates--
        }
        do
        :: w = word[c];
           atomic { MAY_DIE; expects[s] = w } /* (2) */
           if
           :: word[c] == w ->
              atomic { /* (3) */
                  seen = number[SLOT(w)];
                  is_open = SLOT(w) != s && open[SLOT(w)] && !acked[SLOT(w)]
              }
              if :: is_open -> is_open = counter[SLOT(w)] == c :: else fi;
              if :: is_open && BUG != 1 -> is_open = makes[SLOT(w)] == w :: else fi;
              atomic {
                  MAY_DIE;
                  if
                  :: is_open && open[SLOT(w)] && number[SLOT(w)] == seen -> acked[SLOT(w)] = true
                  :: else
                  fi
              }
              if
              :: BUG != 4 -> v = VERSION(w) + 1; begin_window()
              :: else
              fi;
              atomic { MAY_DIE; v = v % VERSIONS; makes[s] = WORD(s, v) } /* (4) */
              atomic { /* (5) */
                  MAY_DIE;
                  if
                  :: word[c] == w ->
                      assert(!happened[s]); happened[s] = true; word[c] = makes[s]; break
                  :: else
                  fi
              }
           :: word[c] != w
           fi
        od;
        atomic { MAY_DIE; open[s] = false; w = 0; v = 0; seen = 0; is_open = false } /* (6) */
        atomic { MAY_DIE; expects[s] = 0; c = 0 }
    :: else -> break
    od;
    goto end;
dying: /* from here on it is who recovers it, knowing only what is in the slot */
    atomic { v = 0; w = 0; seen = 0; o = 0; is_open = false; done = false; c = counter[s] }
    if
    :: open[s] ->
        if
        :: BUG == 2 ->
            done = acked[s];
            done = done || (makes[s] != 0 && makes[s] == word[c])
        :: else ->
            done = makes[s] != 0 && makes[s] == word[c]; /* (7) */
            done = done || acked[s] /* (8) */
        fi;
        assert(done == happened[s]);
        atomic { MAY_DIE; open[s] = false; updates = updates + (done -> 0 : 1); done = false }
    :: else
    fi;
    atomic { MAY_DIE; expects[s] = 0; c = 0 }
    goto next;
end:
}

init {
    atomic {
        run slot(1, UPDATES);
        run slot(2, OTHERS)
    }
}
