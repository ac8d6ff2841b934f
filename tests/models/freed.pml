/* SPDX-License-Identifier: MIT */
/*
 * A block that another than its span's owner frees, with a record: src/segment/blocks.c
 * (block_free_from, span_collect, leave_what_is_open, settle_small).
 *
 *     freeing     (1) record = this block   (2) link = 0   (3) freed bit set   (4) record closed
 *     collecting  (5) look at freed         (6) leave it if a record names the block
 *                 (7) taken = 0             (8) freed = 0
 *     recovery    record open, link still there: closed, nothing done
 *                 record open, link 0:       (3) and (4) once more
 *
 * World    One block; its owner, who collects it and takes it again, writing its new link; and one
 *          slot that frees through the link. One process stands for all that is done in that slot's
 *          name: its thread; when that dies, at any step, who recovers it; when that one dies, the
 *          next; and then the slot's next thread. The owner may die in the middle of collecting; who
 *          adopts its span begins anew.
 * Left out several blocks of a word (the operations on it are atomic, or its owner's).
 * Checked  A block is taken only while no link names it and nobody has yet to free it; when all
 *          have come to their end it is in use by its link, or it is free.
 *
 * BUG 1    the collector does not look at records
 * BUG 2    collecting: (8) before (7), so that whoever dies in between has lost the block
 * BUG 3    the record is closed before the bit is set
 */
#ifndef BUG
#define BUG 0
#endif
#ifndef MAX_DEATHS
#define MAX_DEATHS 2
#endif
#define TURNS 3

bool taken = true, freed = false;
bool link = true;   /* names the block */
bool open = false;  /* the record */
bool owed = false;  /* the link is cleared, and the block has not been made free for it yet */
bool gone = false;  /* the slot's processes have ended */
byte deaths = 0;

#define MAY_DIE                                                                                    \
    if                                                                                             \
    :: deaths < MAX_DEATHS -> deaths++; goto dying                                                 \
    :: true                                                                                        \
    fi

proctype slot() {
    byte turns = TURNS;
next:
    do
    :: turns > 0 && link ->
        turns--;
        atomic { MAY_DIE; open = true }                      /* (1) */
        atomic { MAY_DIE; link = false; owed = true }        /* (2) */
finish:
        if
        :: BUG == 3 ->
            atomic { MAY_DIE; open = false }
            atomic { MAY_DIE; freed = true; owed = false }
        :: else ->
            /* Set for the second time by a recoverer it must still be the same block's. */
            atomic { MAY_DIE; assert(taken && !link); freed = true; owed = false } /* (3) */
            atomic { MAY_DIE; open = false }                                       /* (4) */
        fi
    :: turns == 0 || gone -> break
    :: turns > 0 && !link && !gone -> if :: gone = true :: link fi
    od;
    goto end;
dying:
    if
    :: open && !link -> goto finish
    :: open && link -> atomic { MAY_DIE; open = false }
    :: else
    fi;
    goto next;
end:
    gone = true
}

/* The owner dies; whoever adopts its span begins anew. */
#define MAY_BE_ADOPTED                                                                             \
    if                                                                                             \
    :: deaths < MAX_DEATHS -> deaths++; goto adopted                                               \
    :: true                                                                                        \
    fi

proctype owner() {
    bool named;
adopted:
    do
    :: freed ->                                              /* (5) */
        named = (BUG == 1 -> false : open);                  /* (6) */
        if
        :: named -> if :: !open :: gone -> break fi
        :: else ->
            if
            :: BUG == 2 -> freed = false; MAY_BE_ADOPTED; taken = false
            :: else -> taken = false; MAY_BE_ADOPTED; freed = false /* (7) (8) */
            fi
        fi
    :: atomic { !taken && !freed ->                          /* takes it again */
           assert(!link && !owed);
           taken = true; link = true
       }
    :: gone && !freed && taken -> break
    od;
    /* In use by its link, or free to be collected: never lost. */
    assert(link || freed || open)
}

init { atomic { run slot(); run owner() } }
