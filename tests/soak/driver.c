/* SPDX-License-Identifier: MIT */
/*
 * The driver: it starts workers, stops and continues them, kills and reaps them, and sees that none
 * of them hangs. It is no participant while they run.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soak/soak.h"

/* A thread that is this long in one call, while nobody is stopped for half as long, hangs. */
#define CALL_LIMIT   (20 * SECOND)
#define CENSUS_LIMIT (30 * SECOND)
#define LOOK_EVERY   (50 * MILLISECOND)

/* Who kills must come in time, however busy those are who are to be killed. */
#define WORKERS_NICER 4

/* ---- births ------------------------------------------------------------------------------ */

/* From its first instructions to tens of milliseconds; a few last for some of the library's sleeps,
   which end by themselves within a tenth of a second. */
static uint64_t choose_lifetime(struct chance *chance)
{
    switch (below(chance, 10)) {
    case 0:
    case 1:
    case 2:
        return below(chance, 400 * MICROSECOND);
    case 3:
    case 4:
    case 5:
    case 6:
        return 400 * MICROSECOND + below(chance, 3 * MILLISECOND);
    case 7:
    case 8:
        return 3 * MILLISECOND + below(chance, 12 * MILLISECOND);
    default:
        return one_in(chance, 20) ? below(chance, 400 * MILLISECOND)
                                  : 15 * MILLISECOND + below(chance, 45 * MILLISECOND);
    }
}

static void choose_fate(struct driver *d, struct worker *w)
{
    uint64_t life = choose_lifetime(&d->chance);
    w->die_ns = w->born_ns + life;
    w->stop_ns = 0;
    if (!one_in(&d->chance, 8)) {
        return;
    }
    uint64_t stop = one_in(&d->chance, 30) ? below(&d->chance, 300 * MILLISECOND)
                                           : below(&d->chance, 6 * MILLISECOND);
    w->stop_ns = w->born_ns + below(&d->chance, life + 1);
    w->go_ns = w->stop_ns + stop;
    if (one_in(&d->chance, 2)) { /* not killed while it is stopped */
        w->die_ns += stop;
    }
}

static void start_worker(struct driver *d, unsigned i)
{
    struct worker *w = &d->worker[i];
    struct worker_start start = {.arena = &d->arena,
                                 .seed = d->options.seed,
                                 .round = d->tally.rounds,
                                 .incarnation = ++d->incarnations,
                                 .worker = i,
                                 .threads = d->options.threads};
    pid_t driver = getpid();
    *w = (struct worker){.incarnation = start.incarnation, .born_ns = now_ns()};
    choose_fate(d, w);
    (void)fflush(NULL);
    w->pid = fork();
    if (w->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != driver) {
            _exit(0);
        }
        (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + WORKERS_NICER);
        (void)signal(SIGINT, SIG_IGN);
        (void)signal(SIGTERM, SIG_DFL);
        worker_main(&start);
    }
    if (w->pid < 0) {
        w->pid = 0;
        note_failure("no process can be started (errno %d)", errno);
    }
}

/* ---- deaths ------------------------------------------------------------------------------ */

static void kill_worker(struct driver *d, struct worker *w)
{
    if (w->pid != 0 && !w->killed) {
        w->killed = true;
        d->tally.killed_stopped += w->stopped ? 1 : 0;
        (void)kill(w->pid, SIGKILL);
    }
}

static void bury(struct driver *d, unsigned i, int status)
{
    struct worker *w = &d->worker[i];
    struct grave *grave = &d->grave[d->graves++ % GRAVES];
    grave->worker = i;
    grave->incarnation = w->incarnation;
    grave->died_ns = now_ns();
    grave->lived_ns = grave->died_ns - w->born_ns;
    grave->was_stopped = w->stopped;
    grave->status = status;
    memcpy((void *)grave->seat, (const void *)notes->seat[i], sizeof grave->seat);
    w->pid = 0;
}

/* A worker's child that outlived it. */
static void orphan_has_ended(pid_t pid, int status)
{
    bool good = (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
                (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    if (!good) {
        note_failure("process %d, a worker's child, ended by itself with status %#x", (int)pid,
                     (unsigned)status);
    }
}

static void has_ended(struct driver *d, pid_t pid, int status)
{
    unsigned i = 0;
    while (i < d->options.processes && d->worker[i].pid != pid) {
        i++;
    }
    if (i == d->options.processes) {
        orphan_has_ended(pid, status);
        return;
    }
    struct worker *w = &d->worker[i];
    if (w->killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        d->tally.kills++;
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        d->tally.left++;
    } else {
        note_failure("worker %u, process %d, ended by itself with status %#x (%s)", i, (int)pid,
                     (unsigned)status, WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit");
    }
    bury(d, i, status);
}

static void reap(struct driver *d)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        has_ended(d, pid, status);
    }
}

void kill_everybody(struct driver *d)
{
    for (unsigned i = 0; i < d->options.processes; i++) {
        kill_worker(d, &d->worker[i]);
    }
    uint64_t start = now_ns();
    int status;
    for (;;) {
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            has_ended(d, pid, status);
        } else if (pid < 0) {
            return;
        } else if (now_ns() - start > CALL_LIMIT) {
            note_failure("processes that were killed do not end");
            return;
        } else {
            sleep_ns(100 * MICROSECOND);
        }
    }
}

void stop_everybody(struct driver *d)
{
    for (unsigned i = 0; i < d->options.processes; i++) {
        if (d->worker[i].pid != 0) {
            (void)kill(d->worker[i].pid, SIGSTOP);
        }
    }
    sleep_ns(100 * MILLISECOND);
}

/* ---- fate -------------------------------------------------------------------------------- */

static void stop_or_go(struct driver *d, struct worker *w, uint64_t now)
{
    if (w->stop_ns != 0 && !w->stopped && now >= w->stop_ns) {
        w->stopped = true;
        d->tally.stops++;
        (void)kill(w->pid, SIGSTOP);
    } else if (w->stopped && now >= w->go_ns) {
        w->stopped = false;
        w->stop_ns = 0;
        (void)kill(w->pid, SIGCONT);
    }
}

static void kill_others_too(struct driver *d)
{
    for (unsigned i = 0; i < d->options.processes; i++) {
        if (one_in(&d->chance, 2)) {
            kill_worker(d, &d->worker[i]);
        }
    }
}

/* Does what is due; when the next is. */
static uint64_t meet_fate(struct driver *d)
{
    uint64_t now = now_ns();
    uint64_t next = now + MILLISECOND;
    for (unsigned i = 0; i < d->options.processes; i++) {
        struct worker *w = &d->worker[i];
        if (w->pid == 0 || w->killed) {
            continue;
        }
        stop_or_go(d, w, now);
        if (now >= w->die_ns) {
            kill_worker(d, w);
            if (one_in(&d->chance, 12)) {
                kill_others_too(d);
            }
        }
        next = w->die_ns > now && w->die_ns < next ? w->die_ns : next;
    }
    return next;
}

/* ---- hanging ----------------------------------------------------------------------------- */

/* Is that thread there, and not a zombie? */
static bool thread_is_there(uint32_t process, uint32_t thread)
{
    char path[64];
    char line[256] = "";
    (void)snprintf(path, sizeof path, "/proc/%u/task/%u/stat", (unsigned)process, (unsigned)thread);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t length = fread(line, 1, sizeof line - 1, file);
    line[length] = 0;
    (void)fclose(file);
    const char *end = strrchr(line, ')');
    return end != NULL && end[1] == ' ' && end[2] != 'Z' && end[2] != 'X';
}

static void look_at_seat(struct driver *d, const struct worker *w, struct seat *seat)
{
    uint64_t begun = load_acquire(&seat->begun); /* partner: call_begins */
    struct call *call = &seat->call[(begun - 1) % CALLS_KEPT];
    uint64_t start = load_relaxed(&call->start_ns);
    if (begun == 0 || load_acquire(&call->end_ns) != 0 || start < w->born_ns) {
        return;
    }
    uint32_t process = load_relaxed(&seat->process);
    uint32_t thread = load_relaxed(&seat->thread);
    uint64_t now = now_ns();
    uint64_t took = now > start ? now - start : 0;
    if (took <= d->tally.longest_call_ns || !thread_is_there(process, thread)) {
        return;
    }
    d->tally.longest_call_ns = took;
    if (took > CALL_LIMIT) {
        note_failure("worker %u, thread %u has been in %s for %llu seconds",
                     (unsigned)(w - d->worker), (unsigned)thread, load_relaxed(&call->text),
                     (unsigned long long)(took / SECOND));
    }
}

static void look_for_the_hanging(struct driver *d)
{
    for (unsigned i = 0; i < d->options.processes; i++) {
        const struct worker *w = &d->worker[i];
        for (unsigned s = 0; s < SEATS && w->pid != 0 && !w->stopped && !w->killed; s++) {
            look_at_seat(d, w, &notes->seat[i][s]);
        }
    }
}

/* ---- a round ----------------------------------------------------------------------------- */

static void start_missing(struct driver *d)
{
    for (unsigned i = 0; i < d->options.processes; i++) {
        if (d->worker[i].pid == 0) {
            start_worker(d, i);
        }
    }
}

static void look_now_and_then(struct driver *d)
{
    uint64_t now = now_ns();
    if (now - d->looked_ns >= LOOK_EVERY) {
        d->looked_ns = now;
        look_for_the_hanging(d);
        print_progress(d, false);
    }
}

static bool is_over(const struct driver *d, uint64_t kills)
{
    return load_relaxed(&notes->failed) != 0 || load_relaxed(&interrupted) != 0 ||
           d->tally.kills >= kills || now_ns() >= d->end_ns;
}

bool run_workers(struct driver *d, uint64_t kills)
{
    uint64_t end = d->tally.kills + kills;
    while (!is_over(d, end)) {
        start_missing(d);
        uint64_t next = meet_fate(d);
        uint64_t now = now_ns();
        if (next > now) {
            sleep_ns(next - now);
        }
        reap(d);
        look_now_and_then(d);
    }
    if (load_relaxed(&notes->failed) != 0) {
        return false;
    }
    kill_everybody(d);
    return load_relaxed(&notes->failed) == 0;
}

/* ---- the census -------------------------------------------------------------------------- */

/* Its process has a time limit, and may crash. */
static void wait_for_census(pid_t pid)
{
    int status = 0;
    uint64_t start = now_ns();
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ns() - start > CENSUS_LIMIT) {
            note_failure("census: it hangs");
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            return;
        }
        sleep_ns(200 * MICROSECOND);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        note_failure("census: it dies, of status %#x", (unsigned)status);
    }
}

bool run_census(struct driver *d)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        census(&d->arena);
        _exit(0);
    }
    if (pid < 0) {
        note_failure("no process can be started (errno %d)", errno);
        return false;
    }
    wait_for_census(pid);
    return load_relaxed(&notes->failed) == 0;
}
