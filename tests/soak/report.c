/* SPDX-License-Identifier: MIT */
/* What is printed. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soak/soak.h"

/* ---- progress ---------------------------------------------------------------------------- */

static void print_tally(const struct driver *d)
{
    const struct tally *t = &d->tally;
    double seconds = (double)(now_ns() - d->start_ns) / (double)SECOND;
    (void)printf("%.0f s: %llu rounds, %llu kills (%.0f a second), %llu stops, %llu calls, %llu "
                 "growths, %llu recoveries",
                 seconds, (unsigned long long)t->rounds, (unsigned long long)t->kills,
                 (double)t->kills / seconds, (unsigned long long)t->stops,
                 (unsigned long long)counted(COUNT_CALLS),
                 (unsigned long long)counted(COUNT_GROWTHS),
                 (unsigned long long)counted(COUNT_RECOVERIES));
}

static void print_details(const struct driver *d)
{
    (void)printf(
        "  commits %llu, owners found dead %llu, streams cut off %llu, meetings %llu, no room "
        "%llu,\n"
        "  threads that ended in the middle of something %llu, workers that ended so %llu,\n"
        "  killed while stopped %llu, longest call seen %llu ms\n",
        (unsigned long long)counted(COUNT_COMMITS), (unsigned long long)counted(COUNT_OWNERS_DEAD),
        (unsigned long long)counted(COUNT_STREAMS_CUT), (unsigned long long)counted(COUNT_MEETINGS),
        (unsigned long long)counted(COUNT_NO_ROOM), (unsigned long long)counted(COUNT_THREADS_GONE),
        (unsigned long long)d->tally.left, (unsigned long long)d->tally.killed_stopped,
        (unsigned long long)(d->tally.longest_call_ns / MILLISECOND));
}

void print_progress(const struct driver *d, bool last)
{
    static uint64_t printed_ns;
    bool terminal = isatty(STDOUT_FILENO) != 0;
    uint64_t now = now_ns();
    if (printed_ns == 0) {
        printed_ns = now;
    }
    if (!last && now - printed_ns < (terminal ? SECOND : 10 * SECOND)) {
        return;
    }
    printed_ns = now;
    print_tally(d);
    (void)printf("%s", terminal && !last ? "  \r" : "\n");
    if (last) {
        print_details(d);
    }
    (void)fflush(stdout);
}

/* ---- a failure --------------------------------------------------------------------------- */

static void print_call(const struct call *call, uint64_t end_ns)
{
    uint64_t start = load_relaxed(&call->start_ns);
    uint64_t ended = load_relaxed(&call->end_ns);
    double before = ((double)start - (double)end_ns) / (double)MILLISECOND;
    (void)printf("      %10.3f ms  %s  [%#llx]", before, load_relaxed(&call->text),
                 (unsigned long long)load_relaxed(&call->argument));
    if (ended == 0) {
        (void)printf("  ... under way\n");
    } else {
        (void)printf("  = %lld\n", (long long)load_relaxed(&call->result));
    }
}

/* Its calls since `born_ns`, oldest first; times before `end_ns`. */
static void print_seat(const struct seat *seat, unsigned number, uint64_t born_ns, uint64_t end_ns)
{
    uint64_t begun = load_relaxed(&seat->begun);
    bool any = false;
    for (uint64_t i = begun < CALLS_KEPT ? 0 : begun - CALLS_KEPT; i < begun; i++) {
        const struct call *call = &seat->call[i % CALLS_KEPT];
        if (load_relaxed(&call->start_ns) < born_ns) {
            continue;
        }
        if (!any) {
            uint64_t self = load_relaxed(&seat->self);
            (void)printf("    %s %u (thread %u; it last joined as slot %u, turn %u):\n",
                         number == THREADS_MAX ? "child" : "thread", number,
                         (unsigned)load_relaxed(&seat->thread), (unsigned)(self & 0xfff),
                         (unsigned)(self >> 12));
            any = true;
        }
        print_call(call, end_ns);
    }
}

static void print_grave(const struct grave *grave, uint64_t now)
{
    (void)printf("  worker %u, process %u, number %llu, which died %.3f ms ago (%s%s), after %.3f "
                 "ms:\n",
                 grave->worker, (unsigned)load_relaxed(&grave->seat[0].process),
                 (unsigned long long)grave->incarnation,
                 (double)(now - grave->died_ns) / (double)MILLISECOND,
                 WIFSIGNALED(grave->status) ? strsignal(WTERMSIG(grave->status)) : "by itself",
                 grave->was_stopped ? ", while stopped" : "",
                 (double)grave->lived_ns / (double)MILLISECOND);
    for (unsigned s = 0; s < SEATS; s++) {
        print_seat(&grave->seat[s], s, grave->died_ns - grave->lived_ns, grave->died_ns);
    }
}

static void print_graves(const struct driver *d, uint64_t now)
{
    (void)printf("the last that died, with their last calls (ms before the death; [argument] = "
                 "result):\n");
    for (uint64_t i = d->graves < GRAVES ? 0 : d->graves - GRAVES; i < d->graves; i++) {
        print_grave(&d->grave[i % GRAVES], now);
    }
}

static void print_living(const struct driver *d, uint64_t now)
{
    (void)printf("the living (ms before now):\n");
    for (unsigned i = 0; i < d->options.processes; i++) {
        const struct worker *w = &d->worker[i];
        if (w->pid == 0) {
            continue;
        }
        (void)printf("  worker %u, process %d, number %llu%s, %.3f ms old:\n", i, (int)w->pid,
                     (unsigned long long)w->incarnation, w->stopped ? ", stopped" : "",
                     (double)(now - w->born_ns) / (double)MILLISECOND);
        for (unsigned s = 0; s < SEATS; s++) {
            print_seat(&notes->seat[i][s], s, w->born_ns, now);
        }
    }
}

static void keep_segment(const struct driver *d)
{
    char path[512];
    (void)mkdir(d->options.keep, 0777);
    (void)snprintf(path, sizeof path, "%s/segment-%llu-%llu", d->options.keep,
                   (unsigned long long)d->options.seed, (unsigned long long)d->tally.rounds);
    if (arena_copy(&d->arena, path)) {
        (void)printf("the segment's bytes: %s\n", path);
    } else {
        (void)printf("the segment could not be copied to %s\n", path);
    }
}

void print_failure(struct driver *d)
{
    uint64_t now = now_ns();
    (void)printf("\nFAILED: seed %llu, round %llu (a segment %s; %llu bytes, at most %llu)\n",
                 (unsigned long long)d->options.seed, (unsigned long long)d->tally.rounds,
                 arena_kind_name(&d->arena), (unsigned long long)d->arena.size,
                 (unsigned long long)d->arena.maximum);
    (void)printf("    %s\n",
                 load_acquire(&notes->failure_is_whole) != 0 ? notes->failure : "(no text)");
    print_graves(d, now);
    print_living(d, now);
    keep_segment(d);
    (void)printf("replay: make soak SEED=%llu SECONDS=%llu\n"
                 "    the calls and the times of the kills are the same; how the system schedules\n"
                 "    them is not, so it may take several runs\n",
                 (unsigned long long)d->options.seed, (unsigned long long)d->options.seconds);
    (void)fflush(stdout);
}
