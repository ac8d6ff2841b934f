/* SPDX-License-Identifier: MIT */
/*
 * The benchmarks' contract: what a row is, and what the driver offers to one.
 *
 * A row measures one cost (lower is better) of ours and of each peer. The driver sets every side
 * up, warms each once, then runs them in turn, round by round, so that what disturbs the machine
 * disturbs all of them; of each side's costs the lower quartile counts.
 *
 * Who frees: whatever a setup made, the teardown of the same pair ends, which the driver calls
 * exactly once if the setup succeeded, whether the runs did or not, and after SIGINT too.
 */
#ifndef HF_BENCH_BENCH_H
#define HF_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- rows --------------------------------------------------------------------------------- */

#define BENCH_SIDES_MAX 8

/* Functions that return int give 0, or -1 after saying why with bench_error. */
typedef struct bench_side {
    const char *name; /* of a peer: the peer_name of results.json, one lower-case word */
    double bar;       /* ours: the highest cost. A peer: the highest ours / peer. 0: none */
    int (*setup)(void *shared, void **state); /* may be NULL: state is then the row's shared */
    int (*run)(void *state, double *cost);    /* one round; times itself, in the row's unit */
    void (*teardown)(void *state);            /* may be NULL */
} bench_side;

typedef struct bench_row {
    const char *name;                  /* area.what */
    const char *unit;                  /* ns, s, %, calls or bytes/byte */
    const char *what;                  /* one line: what is measured */
    unsigned rounds;                   /* 0: BENCH_ROUNDS */
    unsigned percentile;               /* of a side's costs, that counts; 0: 25 */
    bool cold;                         /* no untimed first run of each side */
    int (*setup)(void **shared);       /* what all the sides share; may be NULL */
    void (*teardown)(void *shared);    /* may be NULL */
    bench_side sides[BENCH_SIDES_MAX]; /* ours, then the peers; ends at the first nameless one */
} bench_row;

#define BENCH_ROUNDS 15

/* Every row there is; ends with NULL. In rows.c. */
extern const bench_row *const bench_rows[];

/* ---- what a row may use ------------------------------------------------------------------- */

#define BENCH_PATH_MAX 256

int64_t bench_now_ns(void);

/* Sleeps about so long. */
void bench_pause_us(unsigned us);

/* One line on stderr. Returns -1, for `return bench_error(...)`. */
int bench_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As snprintf; -1 if it does not fit, which bench_error has then said. */
int bench_format(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The holdfast command to measure; NULL if there is none. */
const char *bench_tool(void);

/* A directory on tmpfs, ours alone, that is removed with all its content when the driver ends. */
const char *bench_scratch(void);

/* Removes a directory and everything in it. What is not there is no error. */
void bench_remove_tree(const char *path);

/*
 * fork, with what every child of the driver needs: no blocked signals, and SIGTERM when the
 * driver dies. Returns as fork does, and has said why if that is negative.
 */
pid_t bench_fork(void);

/*
 * bench_fork and exec. Both outputs go to the file `log`, which is made anew. -1 if it could not
 * fork; a program that could not be executed exits with 127.
 */
pid_t bench_spawn(const char *const argv[], const char *log);

/*
 * Waits for a child's successful exit. -1 for any other end, for a timeout and for an interrupt
 * (in the latter two it kills the child). Either way the child is gone. `what` names it.
 */
int bench_wait(pid_t child, const char *what, double timeout_s);

/*
 * For teardowns: waits, whatever interrupt there was, and kills a child that takes seconds.
 * bench_stop sends SIGTERM first. True if the child exited with success by itself.
 */
bool bench_finish(pid_t child);
bool bench_stop(pid_t child);

/* Waits until a line that begins with `word` stands in the child's log; -1 if that never comes. */
int bench_wait_ready(pid_t child, const char *log, const char *word, char *line, size_t size);

/* Copies a log to stderr, for when its writer has failed. */
void bench_show_log(const char *log);

/* Whether SIGINT, SIGTERM or SIGHUP came (its number). A row with long runs looks now and then. */
int bench_interrupted(void);

#ifdef __cplusplus
}
#endif
#endif
