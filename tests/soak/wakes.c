/* SPDX-License-Identifier: MIT */
/*
 * Does whoever waits get woken, with the words as the dead have left them? Every sleep of the
 * library ends by itself within a tenth of a second, so a wake-up that is lost is only late. Among
 * the kills nobody can tell that from a busy machine; here, where one thread waits for another and
 * nobody dies, all of several being late can only mean that nobody woke them.
 */
#include <pthread.h>

#include "soak/soak.h"
#include "sync/word_layout.h"

#define TRIES     16u
#define PROMPT    2u /* of these, at least */
#define PROMPTLY  (50 * MILLISECOND)
#define TO_SLEEP  (3 * MILLISECOND) /* by then the other sleeps, mostly */
#define NO_LONGER ((int64_t)(10 * SECOND))

struct pair {
    struct table *table;
    const struct wake *wake;
    pthread_t sleeper;
    bool started;
    _Atomic uint32_t waits;     /* is about to */
    int result;                 /* the sleeper's */
    _Atomic uint32_t came_last; /* of both, at a barrier */
    uint64_t let_go_ns;
    uint64_t woke_ns;
};

struct wake {
    const char *what;
    int (*let_go)(struct pair *pair); /* calls meet in the middle */
    int (*sleep)(struct pair *pair);  /* calls waits before it waits, and awake after it */
};

static void waits(struct pair *pair)
{
    store_release(&pair->waits, 1); /* partner: meet */
}

static int awake(struct pair *pair, int result)
{
    pair->woke_ns = now_ns();
    return result;
}

static void *sleeper_main(void *context)
{
    struct pair *pair = context;
    pair->result = pair->wake->sleep(pair);
    return NULL;
}

/* From its end on the sleeper may go on. */
static int meet(struct pair *pair)
{
    pair->started = pthread_create(&pair->sleeper, NULL, sleeper_main, pair) == 0;
    while (pair->started && load_acquire(&pair->waits) == 0) { /* partner: waits */
        sleep_ns(TO_SLEEP / 10);
    }
    sleep_ns(TO_SLEEP);
    pair->let_go_ns = now_ns();
    return pair->started ? 0 : -EAGAIN;
}

/* ---- locks ------------------------------------------------------------------------------- */

static int first_error(int error, int then)
{
    return error != 0 ? error : then;
}

static int free_mutex(struct pair *pair)
{
    hf_mutex *mutex = &pair->table->anvil[0];
    int error = hf_mutex_lock(mutex);
    error = error != 0 ? error : meet(pair);
    return first_error(error, hf_mutex_unlock(mutex));
}

static int get_mutex(struct pair *pair)
{
    hf_mutex *mutex = &pair->table->anvil[0];
    waits(pair);
    int error = awake(pair, hf_mutex_timedlock(mutex, NO_LONGER));
    return error != 0 ? error : hf_mutex_unlock(mutex);
}

static int free_recursive(struct pair *pair)
{
    hf_recursive_mutex *mutex = &pair->table->cell.mutex;
    int error = hf_recursive_mutex_lock(mutex);
    error = error != 0 ? error : meet(pair);
    return first_error(error, hf_recursive_mutex_unlock(mutex));
}

static int get_recursive(struct pair *pair)
{
    hf_recursive_mutex *mutex = &pair->table->cell.mutex;
    waits(pair);
    int error = awake(pair, hf_recursive_mutex_timedlock(mutex, NO_LONGER));
    return error != 0 ? error : hf_recursive_mutex_unlock(mutex);
}

static int stop_writing(struct pair *pair)
{
    hf_rwlock *lock = &pair->table->anvil_room.lock;
    int error = hf_rwlock_wrlock(lock);
    error = error != 0 ? error : meet(pair);
    return first_error(error, hf_rwlock_wrunlock(lock));
}

static int let_read(struct pair *pair)
{
    hf_rwlock *lock = &pair->table->anvil_room.lock;
    int error = hf_rwlock_wrlock(lock);
    error = error != 0 ? error : meet(pair);
    error = first_error(error, hf_rwlock_downgrade_to_upgradable(lock));
    if (pair->started) { /* the other reads beside us */
        (void)pthread_join(pair->sleeper, NULL);
        pair->started = false;
    }
    return first_error(error, hf_rwlock_upunlock(lock));
}

static int stop_reading(struct pair *pair)
{
    hf_rwlock *lock = &pair->table->anvil_room.lock;
    int error = hf_rwlock_rdlock(lock);
    error = error != 0 ? error : meet(pair);
    return first_error(error, hf_rwlock_rdunlock(lock));
}

static int get_shared(struct pair *pair)
{
    hf_rwlock *lock = &pair->table->anvil_room.lock;
    waits(pair);
    int error = awake(pair, hf_rwlock_timedrdlock(lock, NO_LONGER));
    return error != 0 ? error : hf_rwlock_rdunlock(lock);
}

static int get_exclusive(struct pair *pair)
{
    hf_rwlock *lock = &pair->table->anvil_room.lock;
    waits(pair);
    int error = awake(pair, hf_rwlock_timedwrlock(lock, NO_LONGER));
    return error != 0 ? error : hf_rwlock_wrunlock(lock);
}

static int get_upgraded(struct pair *pair)
{
    hf_rwlock *lock = &pair->table->anvil_room.lock;
    int error = hf_rwlock_timeduplock(lock, NO_LONGER);
    waits(pair);
    error = awake(pair, error != 0 ? error : hf_rwlock_timedupgrade(lock, NO_LONGER));
    return error != 0 ? error : hf_rwlock_wrunlock(lock);
}

/* ---- conditions -------------------------------------------------------------------------- */

static int notify(struct pair *pair, bool all)
{
    struct board *board = &pair->table->board[0];
    int error = meet(pair);
    error = error != 0 ? error : hf_mutex_lock(&board->lock.mutex);
    error = error != 0 ? error
            : all      ? hf_condition_notify_all(&board->changed)
                       : hf_condition_notify_one(&board->changed);
    return error != 0 ? error : hf_mutex_unlock(&board->lock.mutex);
}

static int notify_one(struct pair *pair)
{
    return notify(pair, false);
}

static int notify_all(struct pair *pair)
{
    return notify(pair, true);
}

static int hear(struct pair *pair)
{
    struct board *board = &pair->table->board[0];
    hf_lockable lock = hf_lockable_of(&board->lock.mutex);
    int error = hf_lockable_lock(lock);
    waits(pair); /* with the lock: who takes it next finds us waiting */
    error =
        awake(pair, error != 0 ? error : hf_condition_timedwait(&board->changed, lock, NO_LONGER));
    return first_error(error, hf_lockable_unlock(lock));
}

/* ---- what is counted, and where one meets --------------------------------------------------- */

static int post_undo(struct pair *pair)
{
    hf_semaphore *semaphore = &pair->table->pool[0].permits; /* has one */
    int error = hf_semaphore_trywait(semaphore);
    error = error != 0 ? error : meet(pair);
    return first_error(error, hf_semaphore_post(semaphore));
}

static int get_undo(struct pair *pair)
{
    hf_semaphore *semaphore = &pair->table->pool[0].permits;
    waits(pair);
    int error = awake(pair, hf_semaphore_timedwait(semaphore, NO_LONGER));
    return error != 0 ? error : hf_semaphore_post(semaphore);
}

static int post_plain(struct pair *pair)
{
    hf_semaphore *semaphore = &pair->table->store.permits;
    while (hf_semaphore_trywait(semaphore) == 0) {
    }
    int error = meet(pair);
    return first_error(error, hf_semaphore_post(semaphore));
}

static int get_plain(struct pair *pair)
{
    waits(pair);
    return awake(pair, hf_semaphore_timedwait(&pair->table->store.permits, NO_LONGER));
}

static bool has_waiters(const void *event)
{
    return (load_relaxed(&((const struct word *)event)->word) & WORD_WAITERS) != 0;
}

/* Who is not inside the call yet would rightly miss it. */
static int set_and_reset(struct pair *pair)
{
    hf_event *event = &pair->table->hall[0].event;
    int error = hf_event_reset(event);
    error = error != 0 ? error : meet(pair);
    for (unsigned i = 0; i < 1000 && !has_waiters(event); i++) {
        sleep_ns(MILLISECOND);
    }
    pair->let_go_ns = now_ns();
    error = first_error(error, hf_event_set(event));
    return first_error(error, hf_event_reset(event));
}

static int await_event(struct pair *pair)
{
    waits(pair);
    return awake(pair, hf_event_timedwait(&pair->table->hall[0].event, NO_LONGER));
}

static int open_latch(struct pair *pair)
{
    hf_latch *latch = &pair->table->hall[0].latch;
    int error = hf_latch_init(latch, 1);
    error = error != 0 ? error : meet(pair);
    return first_error(error, hf_latch_count_down(latch, 1));
}

static int await_latch(struct pair *pair)
{
    waits(pair);
    return awake(pair, hf_latch_timedwait(&pair->table->hall[0].latch, NO_LONGER));
}

static int meet_inside(void *pair)
{
    return meet(pair);
}

static int do_once(struct pair *pair)
{
    hf_once *once = &pair->table->hall[0].once;
    int error = hf_once_init(once);
    return error != 0 ? error : hf_once_call(once, meet_inside, pair);
}

static int do_again(void *unused)
{
    (void)unused;
    return -EEXIST;
}

static int await_once(struct pair *pair)
{
    waits(pair);
    return awake(pair, hf_once_timedcall(&pair->table->hall[0].once, do_again, NULL, NO_LONGER));
}

static int come_last(struct pair *pair)
{
    hf_barrier *barrier = &pair->table->barrier[0];
    int error = hf_barrier_reset(barrier, 2);
    error = error != 0 ? error : meet(pair);
    int result = hf_barrier_timedwait(barrier, NO_LONGER);
    (void)fetch_add_relaxed(&pair->came_last, result == 1 ? 1 : 0);
    error = first_error(error, result < 0 ? result : 0);
    return first_error(error, hf_barrier_leave(barrier));
}

static int come_first(struct pair *pair)
{
    hf_barrier *barrier = &pair->table->barrier[0];
    waits(pair);
    int result = awake(pair, hf_barrier_timedwait(barrier, NO_LONGER));
    (void)fetch_add_relaxed(&pair->came_last, result == 1 ? 1 : 0);
    return result < 0 ? result : hf_barrier_leave(barrier);
}

/* ---- all of them ------------------------------------------------------------------------- */

static const struct wake wakes[] = {
    {"a mutex is unlocked", free_mutex, get_mutex},
    {"a recursive mutex is unlocked", free_recursive, get_recursive},
    {"a writer leaves, a reader waits", stop_writing, get_shared},
    {"a writer becomes upgradable, a reader waits", let_read, get_shared},
    {"a writer leaves, another waits", stop_writing, get_exclusive},
    {"a reader leaves, a writer waits", stop_reading, get_exclusive},
    {"a reader leaves, an upgrade waits", stop_reading, get_upgraded},
    {"one waiter is notified", notify_one, hear},
    {"all waiters are notified", notify_all, hear},
    {"a permit is given back", post_undo, get_undo},
    {"a permit is posted", post_plain, get_plain},
    {"an event is set, and reset", set_and_reset, await_event},
    {"a latch opens", open_latch, await_latch},
    {"what was to be done once is done", do_once, await_once},
    {"the last one comes to a barrier", come_last, come_first},
};

/* How late the sleeper was; UINT64_MAX: an error. */
static uint64_t try(struct pair *pair)
{
    int error = pair->wake->let_go(pair);
    if (pair->started) {
        (void)pthread_join(pair->sleeper, NULL);
    }
    if (error != 0 || pair->result != 0) {
        note_failure("census: %s: %d (%s) for who does it, %d (%s) for who waits", pair->wake->what,
                     error, hf_strerror(error), pair->result, hf_strerror(pair->result));
        return UINT64_MAX;
    }
    uint32_t last = pair->wake->let_go == come_last ? 1 : 0;
    if (load_relaxed(&pair->came_last) != last) {
        note_failure("census: %u of two came last to a barrier", (unsigned)pair->came_last);
        return UINT64_MAX;
    }
    return pair->woke_ns > pair->let_go_ns ? pair->woke_ns - pair->let_go_ns : 0;
}

static bool is_prompt(struct table *t, const struct wake *wake)
{
    unsigned prompt = 0;
    uint64_t late = 0;
    for (unsigned i = 0; i < TRIES && prompt < PROMPT; i++) {
        struct pair pair = {.table = t, .wake = wake};
        late = try(&pair);
        if (late == UINT64_MAX) {
            return false;
        }
        prompt += late < PROMPTLY ? 1 : 0;
    }
    if (prompt < PROMPT) {
        note_failure("census: %s, and who waits for it is not woken: at the last of %u times it "
                     "went on %llu ms later",
                     wake->what, TRIES, (unsigned long long)(late / MILLISECOND));
    }
    return prompt == PROMPT;
}

bool wakes_are_prompt(struct table *t)
{
    bool good = true;
    for (size_t i = 0; good && i < sizeof wakes / sizeof wakes[0]; i++) {
        good = is_prompt(t, &wakes[i]);
    }
    return good;
}
