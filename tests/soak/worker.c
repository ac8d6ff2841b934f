/* SPDX-License-Identifier: MIT */
/* A worker: some threads that make random calls until they are killed, or until they have enough.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "soak/soak.h"

static struct actor actors[THREADS_MAX];
static pthread_t threads[THREADS_MAX];
static unsigned thread_count;

/* ---- notes ------------------------------------------------------------------------------- */

void call_begins(struct actor *a, const char *text, uint64_t argument)
{
    uint64_t begun = load_relaxed(&a->seat->begun);
    struct call *call = &a->seat->call[begun % CALLS_KEPT];
    store_relaxed(&call->end_ns, 0);
    store_relaxed(&call->text, text);
    store_relaxed(&call->argument, argument);
    store_relaxed(&call->start_ns, now_ns());
    store_release(&a->seat->begun, begun + 1); /* partner: the driver */
}

int call_ended(struct actor *a, int result)
{
    struct call *call = &a->seat->call[(load_relaxed(&a->seat->begun) - 1) % CALLS_KEPT];
    store_relaxed(&call->result, result);
    store_release(&call->end_ns, now_ns()); /* partner: the driver */
    count(a->seat, COUNT_CALLS, 1);
    return result;
}

/* Everything stays as it is for the driver to look at. */
static _Noreturn void stand_still(void)
{
    sigset_t all;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    (void)sigfillset(&all);
    for (;;) {
        (void)sigsuspend(&all);
    }
}

void fail(struct actor *a, const char *format, ...)
{
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    note_failure("worker %u, thread %u: %s", a->worker, (unsigned)a->thread, text);
    stand_still();
}

static const char *last_call(const struct actor *a)
{
    return load_relaxed(&a->seat->call[(load_relaxed(&a->seat->begun) - 1) % CALLS_KEPT].text);
}

int permit(struct actor *a, int result, const int *permitted)
{
    for (const int *p = permitted; *p != 0; p++) {
        if (result == *p) {
            count(a->seat, COUNT_NO_ROOM, result == -ENOMEM ? 1 : 0);
            return result;
        }
    }
    if (result != 0) {
        fail(a, "%s gives %d: %s", last_call(a), result, hf_strerror(result));
    }
    return result;
}

void must(struct actor *a, int result)
{
    if (result != 0) {
        fail(a, "%s gives %d: %s", last_call(a), result, hf_strerror(result));
    }
}

/* ---- in the middle of something ---------------------------------------------------------- */

/* From here on it is the library's: it undoes what the thread had not finished. */
static void thread_ends(void *seat)
{
    struct actor a = {.seat = seat};
    call_begins(&a, "(the thread ends)", 0);
}

static void end_somehow(struct actor *a)
{
    count(a->seat, COUNT_THREADS_GONE, 1);
    if (one_in(&a->chance, 2)) {
        pthread_exit(NULL);
    }
    pthread_t who = a->is_child || thread_count == 1 ? pthread_self()
                                                     : threads[below(&a->chance, thread_count)];
    (void)pthread_cancel(who);
    pthread_testcancel();
}

void linger(struct actor *a)
{
    if (one_in(&a->chance, 3000)) {
        end_somehow(a);
    }
    pthread_testcancel();
    if (one_in(&a->chance, 50)) {
        (void)sched_yield();
    } else {
        for (uint64_t n = below(&a->chance, 40); n > 0; n--) {
            spin_pause();
        }
    }
}

/* ---- what a thread does ------------------------------------------------------------------- */

void join(struct actor *a)
{
    do {
        pthread_testcancel();
    } while (PERMIT(a, CALL(a, 0, hf_participant_self(a->segment, &a->self)), -EAGAIN) != 0);
    store_relaxed(&a->seat->self, a->self.value);
}

static const struct {
    unsigned weight;
    void (*act)(struct actor *a);
} acts[] = {
    {14, transfer_strictly},
    {8, transfer_loosely},
    {3, audit},
    {6, change_big},
    {14, change_twins},
    {6, twin_and_money},
    {4, end_and_begin_a_mutex},
    {20, change_run},
    {2, grow},
    {1, trim},
    {1, pages_inside_a_transaction},
    {16, change_shelf},
    {3, reserve_and_leave},
    {2, trim_heap},
    {10, change_names},
    {10, change_names_surely},
    {16, change_sure_shelves},
    {8, stream},
    {2, look_around},
    {2, recover},
    {3, leave_and_join},
    {2, second_handle},
    {1, fork_a_child},
    {4, side_segment},
    {10, hammer_locks},
    {10, hammer_transactions},
    {10, hammer_pages},
    {10, hammer_blocks},
    {6, read_room},
    {5, write_room},
    {5, keep_room},
    {4, write_sure_room},
    {3, read_sure_room},
    {8, hammer_rooms},
    {4, change_a_cell},
    {7, change_board},
    {7, watch_board},
    {8, use_pool},
    {6, hammer_pool},
    {5, use_store},
    {10, go_to_a_meeting},
    {12, visit_hall},
    {3, renew_hall},
};

void act(struct actor *a)
{
    unsigned all = 0;
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        all += acts[i].weight;
    }
    uint64_t chosen = below(&a->chance, all);
    size_t i = 0;
    while (chosen >= acts[i].weight) {
        chosen -= acts[i++].weight;
    }
    acts[i].act(a);
    pthread_testcancel();
}

static void *run(void *actor)
{
    struct actor *a = actor;
    pthread_cleanup_push(thread_ends, a->seat);
    a->thread = (uint32_t)gettid();
    store_relaxed(&a->seat->thread, a->thread);
    join(a);
    for (;;) {
        act(a);
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void start_threads(void)
{
    pthread_attr_t attributes;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, (size_t)256 * 1024);
    threads[0] = pthread_self();
    for (unsigned i = 1; i < thread_count; i++) {
        if (pthread_create(&threads[i], &attributes, run, &actors[i]) != 0) {
            _exit(3);
        }
    }
}

void worker_main(const struct worker_start *start)
{
    struct seat *seats = notes->seat[start->worker];
    struct actor first = {.seat = &seats[0], .worker = start->worker};
    store_relaxed(&seats[0].process, (uint32_t)getpid());
    store_relaxed(&seats[0].thread, (uint32_t)getpid());
    thread_count = start->threads;
    must(&first, CALL(&first, start->round, arena_open(start->arena)));
    for (unsigned i = 0; i < thread_count; i++) {
        actors[i] = (struct actor){
            .arena = start->arena,
            .table = start->arena->table,
            .segment = start->arena->segment,
            .seat = &seats[i],
            .child_seat = &seats[THREADS_MAX],
            .chance = chance_of(start->seed, start->round, start->incarnation, i + 1),
            .worker = start->worker};
        store_relaxed(&seats[i].process, (uint32_t)getpid());
    }
    start_threads();
    (void)run(&actors[0]);
    stand_still();
}
