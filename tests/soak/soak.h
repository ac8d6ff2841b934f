/* SPDX-License-Identifier: MIT */
/*
 * The soak: processes that make random calls on one segment, and are killed and stopped at random.
 * README.md says how to run it and how to read what it finds.
 *
 *     main.c      options, rounds, and what is printed meanwhile
 *     driver.c    starts, stops, kills and reaps the workers; sees that none hangs
 *     worker.c    a worker: its threads, and which calls they make
 *     locks.c money.c runs.c blocks.c objects.c streams.c others.c hammer.c
 *     rooms.c boards.c permits.c meetings.c     the calls, and what must hold at each
 *     arena.c     the segment of a round, and what lies in it
 *     census.c    what must hold when all are dead
 *     wakes.c     ... and that whoever waits is woken, with all as they have left it
 *     notes.c     what workers tell the driver; report.c prints it when something is wrong
 */
#ifndef TESTS_SOAK_SOAK_H
#define TESTS_SOAK_SOAK_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/atomic.h"
#include "holdfast/holdfast.h"

#define WORKERS_MAX 32u
#define THREADS_MAX 4u
#define MICROSECOND UINT64_C(1000)
#define MILLISECOND UINT64_C(1000000)
#define SECOND      UINT64_C(1000000000)

/* ---- chance (notes.c) -------------------------------------------------------------------- */

/* The same seed and numbers give the same choices. */
struct chance {
    uint64_t state;
};

struct chance chance_of(uint64_t seed, uint64_t a, uint64_t b, uint64_t c);
uint64_t below(struct chance *chance, uint64_t limit);

static inline bool one_in(struct chance *chance, uint64_t n)
{
    return below(chance, n) == 0;
}

uint64_t now_ns(void); /* monotonic */
void sleep_ns(uint64_t ns);

/* ---- notes: shared by all, not in the segment (notes.c) ------------------------------------ */

#define CALLS_KEPT 16u

struct call {
    _Atomic(const char *) text; /* as it stands in the source; all are one program */
    _Atomic uint64_t argument;
    _Atomic int64_t result;
    _Atomic uint64_t start_ns;
    _Atomic uint64_t end_ns; /* 0: under way */
};

typedef enum counter {
    COUNT_CALLS,
    COUNT_GROWTHS,
    COUNT_RECOVERIES,   /* that hf_segment_recover told of */
    COUNT_OWNERS_DEAD,  /* -EOWNERDEAD */
    COUNT_COMMITS,      /* of transactions */
    COUNT_STREAMS_CUT,  /* -EPIPE, -ECONNRESET */
    COUNT_MEETINGS,     /* at barriers, of all that were expected */
    COUNT_NO_ROOM,      /* -ENOMEM */
    COUNT_THREADS_GONE, /* ended by themselves, in the middle of something */
    COUNTERS
} counter;

/* A thread's notes, and those of the next in its place. */
struct seat {
    _Atomic uint32_t process;
    _Atomic uint32_t thread;
    _Atomic uint64_t self;  /* hf_participant_self: slot, and turn << 12 */
    _Atomic uint64_t begun; /* calls */
    struct call call[CALLS_KEPT];
    _Atomic uint64_t counter[COUNTERS];
};

/* The last is the forked child's. */
#define SEATS (THREADS_MAX + 1)

struct notes {
    _Atomic uint32_t failed;
    _Atomic uint32_t failure_is_whole;
    char failure[400];
    struct seat seat[WORKERS_MAX][SEATS];
};

extern struct notes *notes;

void make_notes(void);
void count(struct seat *seat, counter which, uint64_t more);
uint64_t counted(counter which);

/* The first failure stays. */
void note_failure(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- the segment of a round (arena.c) ------------------------------------------------------ */

#define STRICT       6u  /* accounts whose locks are only ever held inside transactions */
#define LOOSE        4u  /* accounts whose locks are taken inside and outside */
#define TWINS        5u  /* two words under a lock, without a transaction */
#define RUNS         24u /* of pages */
#define STREAMS      4u
#define SHELVES      3u  /* for blocks */
#define PLACES       20u /* on each */
#define SURE_SHELVES 3u  /* whose locks are only ever held inside transactions */
#define ANVILS       3u  /* locks, and twins under transactions, that are hammered on */
#define ROOMS        3u  /* reader-writer locks */
#define BOARDS       3u  /* conditions, each with another kind of lock */
#define POOLS        3u  /* semaphores whose permits come back; the first has one, and so on */
#define BARRIERS     2u  /* of two, of three */
#define HALLS        2u  /* with an event, a latch and a once */
#define MONEY        1000
#define BIG          6000u /* bytes: more than a slot's undo log holds */

#define STREAM_CAPACITY UINT64_C(4096)
#define STREAM_ROOM     (STREAM_CAPACITY + 1024)

/* A mutex and who has it; of two who think so, one finds the other's word here. */
struct guard {
    hf_mutex mutex;
    volatile uint64_t holder;
};

struct account {
    struct guard guard;
    volatile int64_t money; /* changed inside transactions */
};

struct twin {
    struct guard guard;
    volatile uint64_t one;
    volatile uint64_t other; /* the same, unless an owner died */
};

/* Pages are written full of the serial number: a page in two runs shows. */
struct run {
    struct guard guard;
    hf_off link;
    volatile uint64_t pages; /* both before the link, and as long as it is there */
    volatile uint64_t serial;
};

enum { SIDE_FREE = 0, SIDE_USED = 1, SIDE_DONE = 2 };

struct stream {
    struct guard guard; /* of serial, user and state */
    volatile uint64_t serial;
    hf_participant user[2];
    volatile uint64_t state[2];
    volatile uint64_t closing[2];
    volatile uint64_t announced; /* by the writer, before it closes: bytes in all */
    char place[STREAM_ROOM] __attribute__((aligned(HF_PIPE_ALIGNMENT)));
};

struct shelf {
    struct guard guard;
    hf_off place[PLACES];
};

struct room {
    hf_rwlock lock;
    volatile uint64_t writer; /* who has it exclusively, as a guard's holder */
    volatile uint64_t keeper; /* who has it upgradably */
    volatile uint64_t one;
    volatile uint64_t other; /* the same, unless a writer died */
};

struct cell {
    hf_recursive_mutex mutex;
    volatile uint64_t holder;
    volatile uint64_t one;
    volatile uint64_t other;
};

/* Changed, and told of, under the lock. */
struct board {
    union {
        hf_mutex mutex;
        hf_recursive_mutex recursive;
        hf_rwlock rwlock;
    } lock;
    hf_condition changed;
    volatile uint64_t value;
    volatile uint64_t other;       /* the same, unless an owner died */
    volatile uint64_t notified_ns; /* when all had been told of that value */
};

struct pool {
    hf_semaphore permits;
    _Atomic uint64_t chair[POOLS]; /* participants who have a permit */
};

struct store {
    hf_semaphore permits;
    _Atomic uint64_t posts_begun;
    _Atomic uint64_t posts_done;
    _Atomic uint64_t waits_begun; /* without those that were in vain */
    _Atomic uint64_t waits_done;
};

/* Who is in it holds the door shared. Of the rest, notes are made under the guard. */
struct hall {
    hf_rwlock door;
    struct guard guard;
    hf_event event;
    volatile uint64_t is_set;
    volatile uint64_t settings; /* counted before each */
    volatile uint64_t set_ns;   /* after it */
    hf_latch latch;
    volatile uint32_t left;
    volatile uint32_t less; /* is being counted down */
    volatile uint64_t opened_ns;
    hf_once once;
    volatile uint64_t doer;
    volatile uint64_t one;
    volatile uint64_t other; /* the same, once it is done */
};

/* The root. Locks are taken in the order in which they stand here. */
struct table {
    struct twin twin[TWINS];
    struct account strict[STRICT];
    struct account loose[LOOSE];
    struct guard big_guard;    /* only ever held inside transactions */
    volatile uint8_t big[BIG]; /* all the same */
    struct guard warden;       /* of mortal: whoever has it may end and begin that */
    hf_mutex mortal;
    volatile uint64_t mortal_state;
    struct run run[RUNS];
    struct shelf shelf[SHELVES];
    struct shelf sure_shelf[SURE_SHELVES];
    hf_mutex anvil[ANVILS];
    struct twin sure[ANVILS]; /* their locks are only ever held inside transactions */
    struct stream stream[STREAMS];
    struct room room[ROOMS];
    struct room sure_room; /* its lock is only ever held inside transactions */
    struct room anvil_room;
    struct cell cell;
    struct board board[BOARDS];
    struct pool pool[POOLS];
    struct store store;
    hf_barrier barrier[BARRIERS];
    struct hall hall[HALLS];
};

enum { MORTAL_GOOD = 0, MORTAL_GIVEN_UP = 1, MORTAL_ENDED = 2 };

/* What lies in a side segment, which workers make and remove. */
struct side_table {
    struct twin twin;
    uint64_t made; /* SIDE_MADE, before the name is there */
    hf_off link;
};
#define SIDE_MADE  UINT64_C(0x5e9a7e)
#define SIDE_PAGES UINT64_C(2)

typedef enum arena_kind { ARENA_NAMED, ARENA_ANONYMOUS, ARENA_FILE, ARENA_KINDS } arena_kind;

struct arena {
    arena_kind kind;
    bool inherited; /* workers use the driver's handle; otherwise each opens its own */
    uint64_t size;
    uint64_t maximum;
    char name[96];    /* or the file's path */
    char side[2][96]; /* [0] has SIDE_MADE in it whenever it is there */
    hf_segment *segment;
    struct table *table;
};

/* All of these give what the library gave. */
int arena_make(struct arena *arena, struct chance *chance, const char *directory, uint64_t round);
int arena_open(struct arena *arena); /* in a worker, or for the census */
int arena_remove(struct arena *arena);
const char *arena_kind_name(const struct arena *arena);

/* Copies the segment's bytes; false if it cannot. */
bool arena_copy(const struct arena *arena, const char *path);

/* ---- workers (worker.c) ------------------------------------------------------------------ */

/* A thread of a worker, or a worker's forked child. */
struct actor {
    struct arena *arena;
    struct table *table;
    hf_segment *segment;
    struct seat *seat;
    struct seat *child_seat;
    struct chance chance;
    hf_participant self;
    uint64_t takes; /* of guards */
    uint32_t thread;
    unsigned worker;
    bool is_child;
    bool has_forked;
};

struct worker_start {
    struct arena *arena;
    uint64_t seed;
    uint64_t round;
    uint64_t incarnation;
    unsigned worker;
    unsigned threads;
};

_Noreturn void worker_main(const struct worker_start *start);

/* Makes one random call, or a few that belong together. */
void act(struct actor *a);

/* In the middle of something: dawdles, so that there is something to be killed in; at times the
   thread ends here, whatever it holds. */
void linger(struct actor *a);

/* Ends the run: notes what is wrong, and stands still. */
_Noreturn void fail(struct actor *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

void call_begins(struct actor *a, const char *text, uint64_t argument);
int call_ended(struct actor *a, int result);

/* Every call of the library is made through this: its result. */
#define CALL(a, argument, call)                                                                    \
    (call_begins((a), #call, (uint64_t)(argument)), call_ended((a), (call)))

/* The result, which must be 0 or one of these. */
#define PERMIT(a, result, ...) permit((a), (result), (const int[]){__VA_ARGS__, 0})
int permit(struct actor *a, int result, const int *permitted);
void must(struct actor *a, int result);

/* Takes a slot, if there is one to be had. */
void join(struct actor *a);

/* ---- the calls --------------------------------------------------------------------------- */

typedef enum hold {
    HAD_NOT,    /* it may fail, and did */
    HAD_GOOD,   /* its last owner had freed it */
    HAD_SUSPECT /* its last owner died: mend, hf_mutex_consistent */
} hold;

/* Takes a mutex in one of the ways there are; without `may_fail` it waits. */
hold take(struct actor *a, struct guard *guard, bool may_fail);
void give(struct actor *a, struct guard *guard);
void mended(struct actor *a, struct guard *guard);

void change_twins(struct actor *a);
void twin_and_money(struct actor *a);
void end_and_begin_a_mutex(struct actor *a);

void transfer_strictly(struct actor *a); /* two accounts */
void transfer_loosely(struct actor *a);
void audit(struct actor *a); /* sums all of them, holding all their locks */
void change_big(struct actor *a);

void change_run(struct actor *a);
bool take_run(struct actor *a, struct run *run); /* good as it is; false: not had */
void give_pages(struct actor *a, struct run *run);
void grow(struct actor *a);
void trim(struct actor *a);
void pages_inside_a_transaction(struct actor *a);
/* Is the run full of its serial number? The first page that is not; otherwise the number of pages.
 */
uint64_t run_holds(hf_segment *segment, const struct run *run);

void stream(struct actor *a);

void hammer_locks(struct actor *a);
void hammer_transactions(struct actor *a);
void hammer_pages(struct actor *a);

void change_shelf(struct actor *a);
void reserve_and_leave(struct actor *a);
void trim_heap(struct actor *a);
void change_sure_shelves(struct actor *a);
void hammer_blocks(struct actor *a);
void change_names(struct actor *a);
void change_names_surely(struct actor *a);
/* In the census: all objects are what they were made, pairs are whole; all can be destroyed. */
bool names_are_good(hf_segment *segment);
/* What the index of names holds of the heap then: one block of so many bytes, or none. */
uint64_t index_bytes(hf_segment *segment);

void read_room(struct actor *a);
void write_room(struct actor *a);
void keep_room(struct actor *a); /* upgradably */
void write_sure_room(struct actor *a);
void read_sure_room(struct actor *a);
void hammer_rooms(struct actor *a);
void change_a_cell(struct actor *a);

void change_board(struct actor *a);
void watch_board(struct actor *a);

void use_pool(struct actor *a);
void hammer_pool(struct actor *a);
void use_store(struct actor *a);

void go_to_a_meeting(struct actor *a);
void visit_hall(struct actor *a);
void renew_hall(struct actor *a);
int begin_hall(struct hall *hall, uint32_t steps); /* what the library gives */

/* In the census: all are free, or can be mended; nothing is counted wrongly. */
bool rooms_are_good(struct table *t);
bool boards_are_good(struct table *t);
bool permits_are_good(struct table *t);
bool meetings_are_good(struct table *t);

/* Then, in the census: whoever waits for one of these is woken (wakes.c). */
bool wakes_are_prompt(struct table *t);

/* In the census: the blocks in use are those on the shelves; all can be freed. */
bool blocks_are_good(hf_segment *segment, struct table *t);

void look_around(struct actor *a);
void recover(struct actor *a);
void leave_and_join(struct actor *a);
void second_handle(struct actor *a);
void fork_a_child(struct actor *a);
void side_segment(struct actor *a);

/* ---- the census (census.c, whole.c) -------------------------------------------------------- */

/* In a process of its own, when all others are dead. What is wrong is noted. */
void census(struct arena *arena);

/* Is the segment whole, with `linked` pages in runs, and that many participants? Notes what is
   not. */
bool is_whole(hf_segment *segment, uint64_t linked, uint32_t participants, const char *which);

/* ---- the driver (driver.c) --------------------------------------------------------------- */

struct options {
    uint64_t seconds;
    uint64_t seed;
    uint64_t kills; /* 0: no limit */
    unsigned processes;
    unsigned threads;
    const char *keep; /* directory for the segment of a failure */
};

struct tally {
    uint64_t rounds;
    uint64_t kills;
    uint64_t stops;
    uint64_t killed_stopped;
    uint64_t left; /* workers that ended by themselves */
    uint64_t longest_call_ns;
};

/* What is left of a worker that died. */
struct grave {
    unsigned worker;
    uint64_t incarnation;
    uint64_t died_ns;
    uint64_t lived_ns;
    bool was_stopped;
    int status;
    struct seat seat[SEATS];
};
#define GRAVES 12u

struct worker {
    pid_t pid; /* 0: none */
    uint64_t incarnation;
    uint64_t born_ns;
    uint64_t stop_ns; /* when to stop it, 0: not */
    uint64_t go_ns;   /* when to continue it */
    uint64_t die_ns;
    bool stopped;
    bool killed;
};

struct driver {
    struct options options;
    struct tally tally;
    struct arena arena;
    struct chance chance;
    struct worker worker[WORKERS_MAX];
    struct grave grave[GRAVES]; /* a ring */
    uint64_t graves;
    uint64_t incarnations;
    uint64_t start_ns;
    uint64_t end_ns;
    uint64_t looked_ns;
    uint64_t census_start_ns;
};

extern _Atomic uint32_t interrupted;

/* Runs workers until that many more are killed, or time is up; then kills them all. False: failure.
 */
bool run_workers(struct driver *d, uint64_t kills);

/* Runs the census. False: failure. */
bool run_census(struct driver *d);

/* Nobody moves any more; then nobody lives. */
void stop_everybody(struct driver *d);
void kill_everybody(struct driver *d);

/* ---- what is printed (report.c) ------------------------------------------------------------ */

void print_progress(const struct driver *d, bool last);
void print_failure(struct driver *d);

#endif
