/* SPDX-License-Identifier: MIT */
/*
 * recovery.million: undoing a dead participant that has a million blocks. check.million: hf_check
 * of a heap of 1 GiB. What may not grow with what a process has in use, and what does.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap_sides.h"
#include "two.h"

#define MILLION     1000000u
#define BLOCK_SIZE  64u
#define CHECK_SIZE  577u /* 577 to 1600 bytes, of which 1 GiB is a little less than a million */
#define CHECK_SIZES 1024u

/* In memory that the process that is killed shares with the driver. */
typedef struct million_room {
    _Atomic int ready;
    void *blocks[MILLION]; /* its segment is mapped at the same place in both */
} million_room;

typedef struct million_side {
    hf_segment *segment;
    million_room *room;
} million_side;

static int free_all(million_side *side)
{
    int errors = 0;
    for (uint32_t i = 0; i < MILLION; i++) {
        errors |= hf_free(side->segment, side->room->blocks[i]);
        side->room->blocks[i] = NULL;
    }
    return errors == 0 ? 0 : bench_error("hf_free failed");
}

/* Those that are NULL it leaves alone. */
static void million_teardown(void *state)
{
    million_side *side = state;
    (void)free_all(side);
    hf_segment_close(side->segment);
    two_unmap(side->room, sizeof(*side->room));
    free(side);
}

static int million_setup(void *shared, void **state)
{
    (void)shared;
    void *room;
    million_side *side = calloc(1, sizeof(*side));
    if (side == NULL || two_map(sizeof(*side->room), &room) != 0) {
        free(side);
        return bench_error("no memory for a million");
    }
    side->room = room;
    if (ours_segment(&side->segment) != 0) {
        two_unmap(room, sizeof(*side->room));
        free(side);
        return -1;
    }
    *state = side;
    return 0;
}

/* The heap, in quiet: whole, and with as many blocks as there should be. */
static int check_it(hf_segment *segment)
{
    hf_check_report report;
    int error = hf_check(segment, &report);
    if (error != 0 || report.blocks != MILLION) {
        return bench_error("the check: %s (%s), %llu blocks", hf_strerror(error), report.what,
                           (unsigned long long)report.blocks);
    }
    return 0;
}

/* ---- recovery.million --------------------------------------------------------------------- */

static void take_and_wait(million_side *side)
{
    int errors = 0;
    for (uint32_t i = 0; i < MILLION; i++) {
        side->room->blocks[i] = work_block(ours_take, side->segment, BLOCK_SIZE);
        errors |= side->room->blocks[i] == NULL;
    }
    atomic_store(&side->room->ready, errors == 0 ? 1 : -1);
    for (;;) {
        (void)pause();
    }
}

static int leave_one_dead(million_side *side)
{
    atomic_store(&side->room->ready, 0);
    pid_t child = bench_fork();
    if (child < 0) {
        return -1;
    }
    if (child == 0) {
        take_and_wait(side);
    }
    for (int i = 0; i < 200000 && atomic_load(&side->room->ready) == 0; i++) {
        bench_pause_us(100);
    }
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    return atomic_load(&side->room->ready) == 1 ? 0 : bench_error("no million to recover");
}

static int recovery_run(void *state, double *cost)
{
    million_side *side = state;
    unsigned recovered = 0;
    if (leave_one_dead(side) != 0) {
        return -1;
    }
    int64_t start = bench_now_ns();
    int error = hf_segment_recover(side->segment, &recovered);
    *cost = (double)(bench_now_ns() - start);
    if (error != 0 || recovered != 1) {
        return bench_error("not recovered: %s, %u dead", hf_strerror(error), recovered);
    }
    return check_it(side->segment) != 0 ? -1 : free_all(side);
}

extern const bench_row recovery_million;
const bench_row recovery_million = {
    .name = "recovery.million",
    .unit = "ns",
    .what = "recovery of one that died with a million blocks of 64 bytes, median of 20",
    .rounds = 20,
    .percentile = 50,
    .sides = {{"ours", 100e3, million_setup, recovery_run, million_teardown}},
};

/* ---- check.million ------------------------------------------------------------------------ */

static int check_setup(void *shared, void **state)
{
    if (million_setup(shared, state) != 0) {
        return -1;
    }
    million_side *side = *state;
    uint64_t random = 0;
    int errors = 0;
    for (uint32_t i = 0; i < MILLION; i++) {
        size_t size = CHECK_SIZE + (work_random(&random) >> 22 & (CHECK_SIZES - 1));
        side->room->blocks[i] = work_block(ours_take, side->segment, size);
        errors |= side->room->blocks[i] == NULL;
    }
    if (errors != 0) {
        million_teardown(side);
        return bench_error("no heap of a million blocks");
    }
    return 0;
}

static int check_run(void *state, double *cost)
{
    const million_side *side = state;
    int64_t start = bench_now_ns();
    int result = check_it(side->segment);
    *cost = (double)(bench_now_ns() - start) * 1e-9;
    return result;
}

extern const bench_row check_million;
const bench_row check_million = {
    .name = "check.million",
    .unit = "s",
    .what = "hf_check of a heap of 1 GiB, a million blocks of 577 to 1600 bytes",
    .sides = {{"ours", 0.25, check_setup, check_run, million_teardown}},
};
