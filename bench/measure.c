/* SPDX-License-Identifier: MIT */
/*
 * One row, measured: set up, warm up, rounds, the percentile that counts.
 *
 * A peer that fails is left out from there on; when ours fails there is nothing to compare and
 * the row ends. Either way what was set up is torn down, in the opposite order.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "driver.h"

typedef struct side_runner {
    const bench_side *side;
    void *state;
    double *costs;
    unsigned count;
    bool is_set_up;
    bool failed;
} side_runner;

typedef struct row_race {
    const bench_row *row;
    void *shared;
    size_t count;
    side_runner runners[BENCH_SIDES_MAX];
} row_race;

size_t row_side_count(const bench_row *row)
{
    size_t count = 0;
    while (count < BENCH_SIDES_MAX && row->sides[count].name != NULL) {
        count++;
    }
    return count;
}

static void fail(row_race *race, side_runner *runner)
{
    runner->failed = true;
    if (bench_interrupted() == 0) {
        (void)bench_error("%s: %s could not be measured", race->row->name, runner->side->name);
    }
}

static bool may_go_on(const row_race *race)
{
    return !race->runners[0].failed && bench_interrupted() == 0;
}

static void set_up(row_race *race, unsigned rounds)
{
    for (size_t i = 0; i < race->count && may_go_on(race); i++) {
        side_runner *runner = &race->runners[i];
        runner->side = &race->row->sides[i];
        runner->state = race->shared;
        runner->costs = calloc(rounds, sizeof(*runner->costs));
        if (runner->costs == NULL || (runner->side->setup != NULL &&
                                      runner->side->setup(race->shared, &runner->state) != 0)) {
            fail(race, runner);
        } else {
            runner->is_set_up = true;
        }
    }
}

/* One round: each side once. Another one starts each time, and every second round goes backwards,
   so that no side always comes after the same other one. */
static void run_round(row_race *race, unsigned round, bool counts)
{
    for (size_t i = 0; i < race->count && may_go_on(race); i++) {
        size_t step = round % 2 == 0 ? i : race->count - i;
        side_runner *runner = &race->runners[(round + step) % race->count];
        double cost = NAN;
        if (runner->failed) {
            continue;
        }
        if (runner->side->run(runner->state, &cost) != 0 || !isfinite(cost) || cost < 0) {
            fail(race, runner);
        } else if (counts) {
            runner->costs[runner->count++] = cost;
        }
    }
}

static void tear_down(row_race *race)
{
    for (size_t i = race->count; i-- > 0;) {
        side_runner *runner = &race->runners[i];
        if (runner->is_set_up && runner->side->teardown != NULL) {
            runner->side->teardown(runner->state);
        }
        free(runner->costs);
    }
    if (race->row->teardown != NULL) {
        race->row->teardown(race->shared);
    }
}

static int compare_costs(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Nearest rank: of 15 costs, the 25th percentile is the fourth lowest. */
static double percentile(const double *sorted, unsigned count, unsigned percent)
{
    unsigned rank = (count * percent + 99) / 100;
    return sorted[rank > 0 ? rank - 1 : 0];
}

static double conclude(const bench_row *row, side_runner *runner, unsigned rounds)
{
    if (runner->failed || runner->count < rounds) {
        return NAN;
    }
    qsort(runner->costs, rounds, sizeof(*runner->costs), compare_costs);
    const double *costs = runner->costs;
    double cost = percentile(costs, rounds, row->percentile != 0 ? row->percentile : 25);
    (void)fprintf(stderr, "%s: %s %.4g %s (lowest %.4g, median %.4g, highest %.4g)\n", row->name,
                  runner->side->name, cost, row->unit, costs[0], percentile(costs, rounds, 50),
                  costs[rounds - 1]);
    return cost;
}

int measure_row(const bench_row *row, unsigned rounds, double costs[BENCH_SIDES_MAX])
{
    row_race race = {.row = row, .count = row_side_count(row)};
    if (rounds == 0) {
        rounds = row->rounds != 0 ? row->rounds : BENCH_ROUNDS;
    }
    for (size_t i = 0; i < BENCH_SIDES_MAX; i++) {
        costs[i] = NAN;
    }
    progress_round(row->name, 0, rounds);
    if (row->setup != NULL && row->setup(&race.shared) != 0) {
        return bench_interrupted() != 0 ? -1 : bench_error("%s: cannot be set up", row->name);
    }
    set_up(&race, rounds);
    if (!row->cold) {
        run_round(&race, 0, false);
    }
    for (unsigned round = 0; round < rounds && may_go_on(&race); round++) {
        progress_round(row->name, round + 1, rounds);
        run_round(&race, round, true);
    }
    progress_clear();
    int result = 0;
    for (size_t i = 0; i < race.count; i++) {
        costs[i] = may_go_on(&race) ? conclude(row, &race.runners[i], rounds) : NAN;
        result = isnan(costs[i]) ? -1 : result;
    }
    tear_down(&race);
    return result;
}
