/* SPDX-License-Identifier: MIT */
/*
 * One of the programs that use a segment together (worlds_test.c). The same source is built for
 * each world: another compiler, another libc, another width, another processor.
 *
 *     citizen create FILE        a segment in that file, for all others
 *     citizen work FILE WORLD    threads at random work, until killed; "ready" when they are at it
 *     citizen stay FILE PLACE    holds the lock of that place until its input ends; "ready"
 *     citizen hold FILE tx       dies in a transaction, once its input has ended; "ready"
 *     citizen hold FILE plain    the same holding the lock outside of any; "ready"
 *     citizen wait FILE          for each line of input: "waiting", then "got" once it has that
 * lock citizen check FILE WORLDS  alone: recovers, counts everything, works; "recovered" and how
 * many
 *
 * All lines are on standard output. Whatever is not as it has to be is said on standard error, and
 * the exit status is 1.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "holdfast/holdfast.h"
#include "segment/check.h"
#include "segment/handle.h"

#define SECOND   INT64_C(1000000000)
#define ACCOUNTS 16u
#define BANK     UINT64_C(16000)
#define BOARD    256u /* words: more than a slot's own log holds */
#define LINKS    24u
#define PLACES   16u
#define NOT_TOLD 64 /* exit status: what to do */
#define MAXIMUM  (UINT64_C(4) << 20)

/* Pages that somebody holds. `stamped` repeats the link once the pages carry their stamp. */
struct entry {
    hf_off link;
    shared_u64 stamped;
};

/* A living citizen that others look at. */
struct place {
    hf_mutex lock;
    hf_participant who;
    shared_u64 up; /* it holds the lock, and is alive until all others have ended */
};

struct root {
    shared_u32 bytes; /* of this structure: the same for all, and no 8 of them before the locks */
    hf_mutex bank[2]; /* each guards half of the accounts; audits take them plainly */
    uint64_t account[ACCOUNTS];
    hf_mutex board_lock; /* taken in transactions only */
    uint64_t board[BOARD];
    hf_mutex ledger_lock; /* plain: the next owner mends */
    uint64_t first, second;
    hf_mutex table_lock; /* plain */
    struct entry entry[LINKS];
    hf_mutex handed_lock;
    uint64_t handed;
    struct place place[PLACES];
    shared_u64 done[PLACES]; /* by the citizens of each world */
};
HF_LAYOUT(offsetof(struct root, board) % 8 == 0);

struct citizen {
    hf_segment *segment;
    struct root *root;
    unsigned world;
    uint64_t random;
};

/* ---- saying so --------------------------------------------------------------------------- */

_Noreturn static void fail(int line, const char *format, ...) __attribute__((format(printf, 2, 3)));

_Noreturn static void fail(int line, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "citizen %ld of %u bits, citizen.c:%d: %s\n", (long)getpid(),
                  (unsigned)sizeof(void *) * 8, line, text);
    _exit(1);
}

static void must(int line, const char *call, int result, int expected)
{
    if (result != expected) {
        fail(line, "%s gave \"%s\", not \"%s\"", call, hf_strerror(result), hf_strerror(expected));
    }
}
#define MUST(call)             must(__LINE__, #call, (call), 0)
#define MUST_GIVE(call, error) must(__LINE__, #call, (call), (error))
#define REQUIRE(condition, ...)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail(__LINE__, "not so: " #condition " " __VA_ARGS__);                                 \
        }                                                                                          \
    } while (0)

static void say(const char *line)
{
    (void)puts(line);
    (void)fflush(stdout);
}

/* ---- chance ------------------------------------------------------------------------------ */

static uint64_t below(struct citizen *c, uint64_t limit)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return (c->random >> 11) % limit;
}

static uint64_t fresh_seed(void)
{
    uint64_t seed;
    os_random(&seed, sizeof seed);
    return seed | 1;
}

/* The places in the middle of something at which a random kill would seldom hit. */
static void perhaps_die(struct citizen *c)
{
    if (below(c, 6000) == 0) {
        (void)raise(SIGKILL);
    }
}

static void nap(struct citizen *c)
{
    const struct timespec t = {.tv_nsec = (long)below(c, 200) * 1000};
    (void)nanosleep(&t, NULL);
}

/* ---- locks ------------------------------------------------------------------------------- */

/* Nobody waits for the dead, nor very long for the living. True: the last owner died with it. */
static bool lock_at(int line, hf_mutex *mutex)
{
    int result = hf_mutex_timedlock(mutex, 30 * SECOND);
    if (result != 0 && result != -EOWNERDEAD) {
        fail(line, "a lock gave \"%s\"", hf_strerror(result));
    }
    return result != 0;
}
#define LOCK(mutex) lock_at(__LINE__, (mutex))

/* For data that its owners only read, or write in transactions. */
static void lock_mended(hf_mutex *mutex)
{
    if (LOCK(mutex)) {
        MUST(hf_mutex_consistent(mutex));
    }
}

/* ---- the work ---------------------------------------------------------------------------- */

static void lock_banks(struct citizen *c)
{
    lock_mended(&c->root->bank[0]);
    lock_mended(&c->root->bank[1]);
    uint64_t sum = 0;
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        sum += c->root->account[i];
    }
    REQUIRE(sum == BANK, "(%llu)", (unsigned long long)sum);
}

static void unlock_banks(struct citizen *c)
{
    MUST(hf_mutex_unlock(&c->root->bank[1]));
    MUST(hf_mutex_unlock(&c->root->bank[0]));
}

static void audit(struct citizen *c)
{
    lock_banks(c);
    perhaps_die(c);
    unlock_banks(c);
}

static void transfer(struct citizen *c)
{
    MUST(hf_tx_begin(c->segment));
    lock_banks(c);
    uint64_t *from = &c->root->account[below(c, ACCOUNTS)];
    uint64_t *to = &c->root->account[below(c, ACCOUNTS)];
    MUST(hf_tx_add(c->segment, from, sizeof *from));
    MUST(hf_tx_add(c->segment, to, sizeof *to));
    uint64_t sum = below(c, *from + 1);
    *from -= sum;
    perhaps_die(c);
    *to += sum;
    unlock_banks(c); /* before an abort too: banks mended in here are not after it */
    perhaps_die(c);
    if (below(c, 8) == 0) {
        MUST(hf_tx_abort(c->segment));
    } else {
        MUST(hf_tx_commit(c->segment));
    }
}

static void check_board(struct root *root)
{
    for (unsigned i = 1; i < BOARD; i++) {
        REQUIRE(root->board[i] == root->board[0], "(word %u)", i);
    }
}

static void begin_board(struct citizen *c)
{
    MUST(hf_tx_begin(c->segment));
    REQUIRE(!LOCK(&c->root->board_lock), "(it is taken in transactions only)");
    check_board(c->root);
    MUST(hf_tx_add(c->segment, c->root->board, sizeof c->root->board));
    for (unsigned i = 0; i < BOARD; i++) {
        c->root->board[i]++;
        if (i == BOARD / 2) {
            perhaps_die(c);
        }
    }
}

static void write_board(struct citizen *c)
{
    begin_board(c);
    MUST(hf_mutex_unlock(&c->root->board_lock));
    if (below(c, 4) == 0) {
        MUST(hf_tx_abort(c->segment));
    } else {
        MUST(hf_tx_commit(c->segment));
    }
}

static void lock_ledger(struct root *root)
{
    if (LOCK(&root->ledger_lock)) {
        root->second = root->first;
        MUST(hf_mutex_consistent(&root->ledger_lock));
    }
    REQUIRE(root->first == root->second, "(a death was not told)");
}

static void write_ledger(struct citizen *c)
{
    lock_ledger(c->root);
    c->root->first++;
    perhaps_die(c);
    c->root->second++;
    MUST(hf_mutex_unlock(&c->root->ledger_lock));
}

static uint64_t pages_of(unsigned entry)
{
    return 1 + entry % 5;
}

/* Each page of the entry begins with this and its number. */
static uint64_t *page_at(struct citizen *c, unsigned i, uint64_t page)
{
    struct entry *e = &c->root->entry[i];
    char *first = hf_segment_at(c->segment, e->link);
    REQUIRE(first != NULL, "(link %#llx)", (unsigned long long)e->link.value);
    return (uint64_t *)(void *)(first + page * HF_SEGMENT_PAGE);
}

static void check_stamps(struct citizen *c, unsigned i)
{
    struct entry *e = &c->root->entry[i];
    REQUIRE(load_relaxed(&e->stamped) == e->link.value, "(entry %u)", i);
    for (uint64_t page = 0; page < pages_of(i); page++) {
        REQUIRE(*page_at(c, i, page) == e->link.value + (i << 8) + page, "(entry %u)", i);
    }
}

static void take_pages(struct citizen *c, unsigned i)
{
    struct entry *e = &c->root->entry[i];
    MUST(hf_pages_alloc(c->segment, pages_of(i) * HF_SEGMENT_PAGE, &e->link));
    for (uint64_t page = 0; page < pages_of(i); page++) {
        *page_at(c, i, page) = e->link.value + (i << 8) + page;
    }
    HF_LOG_STORE(&e->stamped, e->link.value);
}

static void turn_pages(struct citizen *c)
{
    unsigned i = (unsigned)below(c, LINKS);
    struct entry *e = &c->root->entry[i];
    lock_mended(&c->root->table_lock);
    if (e->link.value == 0) {
        take_pages(c, i);
    } else {
        if (load_relaxed(&e->stamped) != 0) { /* else its owner died before it had */
            check_stamps(c, i);
        }
        HF_LOG_STORE(&e->stamped, 0);
        MUST(hf_pages_free(c->segment, pages_of(i) * HF_SEGMENT_PAGE, &e->link));
    }
    perhaps_die(c);
    MUST(hf_mutex_unlock(&c->root->table_lock));
}

/* ---- the others -------------------------------------------------------------------------- */

/* Whoever is alive for sure is never told dead, and keeps its lock. */
static void look_at_the_living(struct citizen *c)
{
    for (unsigned i = 0; i < PLACES; i++) {
        struct place *place = &c->root->place[i];
        bool lives = false;
        if (load_acquire(&place->up) != 0) { /* partner: stay */
            MUST(hf_participant_lives(c->segment, place->who, &lives));
            REQUIRE(lives, "(place %u is alive)", i);
            MUST_GIVE(hf_mutex_trylock(&place->lock), -EBUSY);
        }
    }
    hf_participant self;
    bool lives = false;
    MUST(hf_participant_self(c->segment, &self));
    MUST(hf_participant_lives(c->segment, self, &lives));
    REQUIRE(lives, "(and that is me)");
}

static void *end_with_the_ledger(void *citizen)
{
    struct citizen c = *(struct citizen *)citizen;
    lock_ledger(c.root);
    c.root->first++;
    return NULL;
}

static void *end_with_the_board(void *citizen)
{
    struct citizen c = *(struct citizen *)citizen;
    begin_board(&c);
    pthread_exit(NULL);
}

/* A thread that ends in the middle, in a process that lives on. */
static void end_a_thread(struct citizen *c)
{
    pthread_t thread;
    void *(*run)(void *) = below(c, 2) == 0 ? end_with_the_ledger : end_with_the_board;
    MUST(-pthread_create(&thread, NULL, run, c));
    MUST(-pthread_join(thread, NULL));
}

static void grow(struct citizen *c)
{
    hf_segment_info info;
    MUST(hf_segment_get_info(c->segment, &info));
    if (info.size < info.maximum) {
        MUST(hf_segment_grow(c->segment, info.size + HF_SEGMENT_PAGE));
    }
}

static void do_something_rare(struct citizen *c)
{
    switch (below(c, 6)) {
    case 0:
        MUST(hf_segment_recover(c->segment, NULL));
        break;
    case 1:
        grow(c);
        break;
    case 2:
        MUST(hf_segment_trim(c->segment, NULL));
        break;
    case 3:
        end_a_thread(c);
        break;
    case 4:
        look_at_the_living(c);
        break;
    default:
        MUST(hf_thread_leave(c->segment)); /* and comes again with its next call */
        break;
    }
}

static void work_once(struct citizen *c)
{
    switch (below(c, 6)) {
    case 0:
        audit(c);
        break;
    case 1:
        write_board(c);
        break;
    case 2:
        write_ledger(c);
        break;
    case 3:
        turn_pages(c);
        break;
    default:
        transfer(c);
        break;
    }
    if (below(c, 25) == 0) {
        do_something_rare(c);
    }
    (void)fetch_add_relaxed(&c->root->done[c->world], 1);
}

static void *work(void *citizen)
{
    struct citizen c = *(struct citizen *)citizen;
    c.random = fresh_seed();
    for (;;) {
        work_once(&c);
        nap(&c);
    }
    return NULL;
}

/* ---- the census -------------------------------------------------------------------------- */

/* The dead of every place: told dead at once, and their locks with them. */
static void bury(struct citizen *c)
{
    for (unsigned i = 0; i < PLACES; i++) {
        struct place *place = &c->root->place[i];
        bool lives = true;
        if (load_relaxed(&place->up) != 0) {
            MUST(hf_participant_lives(c->segment, place->who, &lives));
            REQUIRE(!lives, "(place %u is dead)", i);
            REQUIRE(LOCK(&place->lock), "(place %u held it)", i);
            MUST(hf_mutex_consistent(&place->lock));
            store_relaxed(&place->up, 0);
            MUST(hf_mutex_unlock(&place->lock));
        }
    }
}

static uint64_t count_linked(struct citizen *c)
{
    uint64_t pages = 0;
    for (unsigned i = 0; i < LINKS; i++) {
        if (c->root->entry[i].link.value != 0) {
            pages += pages_of(i);
            if (load_relaxed(&c->root->entry[i].stamped) != 0) {
                check_stamps(c, i);
            }
        }
    }
    return pages;
}

static void count_everything(struct citizen *c)
{
    char what[SEGMENT_CHECK_TEXT];
    audit(c);
    lock_ledger(c->root);
    MUST(hf_mutex_unlock(&c->root->ledger_lock));
    REQUIRE(!LOCK(&c->root->board_lock), "(it is taken in transactions only)");
    check_board(c->root);
    MUST(hf_mutex_unlock(&c->root->board_lock));
    lock_mended(&c->root->table_lock);
    uint64_t linked = count_linked(c);
    MUST(hf_mutex_unlock(&c->root->table_lock));
    if (segment_check(c->segment->view, linked, 1, what) != 0) {
        fail(__LINE__, "%s", what);
    }
}

static void check(struct citizen *c, unsigned worlds)
{
    unsigned recovered = 0;
    hf_segment_info info;
    bury(c);
    MUST(hf_segment_recover(c->segment, &recovered));
    MUST(hf_segment_get_info(c->segment, &info));
    REQUIRE(info.dead == 0 && info.participants == 1, "(%u dead, %u alive)", (unsigned)info.dead,
            (unsigned)info.participants);
    count_everything(c);
    for (unsigned i = 0; i < worlds; i++) {
        REQUIRE(load_relaxed(&c->root->done[i]) != 0, "(world %u)", i);
    }
    write_board(c);
    transfer(c);
    write_ledger(c);
    turn_pages(c);
    MUST(hf_thread_leave(c->segment)); /* gives its log back */
    count_everything(c);
    (void)printf("recovered %u\n", recovered);
}

/* ---- alone or in pairs ------------------------------------------------------------------- */

static void until_input_ends(void)
{
    while (getchar() != EOF) {
    }
}

static void stay(struct citizen *c, struct place *place)
{
    lock_mended(&place->lock);
    MUST(hf_participant_self(c->segment, &place->who));
    store_release(&place->up, 1); /* partner: look_at_the_living */
    say("ready");
    until_input_ends();
    (void)raise(SIGKILL);
}

static void hold(struct citizen *c, bool in_transaction)
{
    struct root *root = c->root;
    if (in_transaction) {
        MUST(hf_tx_begin(c->segment));
    }
    lock_mended(&root->handed_lock);
    REQUIRE(root->handed == 0, "(%llu)", (unsigned long long)root->handed);
    if (in_transaction) {
        MUST(hf_tx_add(c->segment, &root->handed, sizeof root->handed));
    }
    root->handed = in_transaction ? 1 : 2;
    say("ready");
    until_input_ends();
    (void)raise(SIGKILL);
}

static void wait_for_it(struct citizen *c)
{
    struct root *root = c->root;
    char line[16];
    while (fgets(line, sizeof line, stdin) != NULL) {
        say("waiting");
        bool died = LOCK(&root->handed_lock);
        say("got");
        REQUIRE(root->handed == (died ? 2 : 0), "(%llu)", (unsigned long long)root->handed);
        root->handed = 0;
        if (died) {
            MUST(hf_mutex_consistent(&root->handed_lock));
        }
        MUST(hf_mutex_unlock(&root->handed_lock));
        say("done");
    }
}

/* ---- which of them ----------------------------------------------------------------------- */

static void create(const char *path)
{
    hf_segment_options options = {.maximum = MAXIMUM};
    hf_segment *segment;
    void *root;
    MUST(hf_segment_create_file(path, UINT64_C(64) << 10, &options, &segment));
    MUST(hf_segment_root(segment, sizeof(struct root), &root));
    ((struct root *)root)->account[0] = BANK;
    store_relaxed(&((struct root *)root)->bytes, (uint32_t)sizeof(struct root));
    hf_segment_close(segment);
}

static void open_it(struct citizen *c, const char *path)
{
    void *root;
    MUST(hf_segment_open_file(path, HF_READ_WRITE, &c->segment));
    MUST(hf_segment_root(c->segment, sizeof(struct root), &root));
    c->root = root;
    c->random = fresh_seed();
    REQUIRE(load_relaxed(&c->root->bytes) == sizeof(struct root), "(another layout)");
}

static void live(struct citizen *c, const char *how, const char *more)
{
    unsigned number = (unsigned)strtoul(more, NULL, 10) % PLACES;
    if (strcmp(how, "work") == 0) {
        pthread_t thread;
        c->world = number;
        work_once(c);
        say("ready");
        MUST(-pthread_create(&thread, NULL, work, c));
        (void)work(c);
    } else if (strcmp(how, "stay") == 0) {
        stay(c, &c->root->place[number]);
    } else if (strcmp(how, "hold") == 0) {
        hold(c, strcmp(more, "tx") == 0);
    } else if (strcmp(how, "wait") == 0) {
        wait_for_it(c);
    } else {
        check(c, number);
    }
}

int main(int argc, char **argv)
{
    struct citizen c = {0};
    if (argc < 3) {
        return NOT_TOLD;
    }
    if (strcmp(argv[1], "create") == 0) {
        create(argv[2]);
        return 0;
    }
    open_it(&c, argv[2]);
    live(&c, argv[1], argc > 3 ? argv[3] : "");
    hf_segment_close(c.segment);
    return 0;
}
