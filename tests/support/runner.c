/* SPDX-License-Identifier: MIT */
/* Runs the tests that TEST has registered, and gives the verdicts that ctest reads. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/support.h"

#define SKIPPED 77

static struct test_case *tests;
static uint64_t random_state;

void test_register(struct test_case *test)
{
    struct test_case **last = &tests;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = test;
}

void test_skip(const char *reason)
{
    printf("SKIPPED: %s\n", reason);
    (void)fflush(stdout);
    names_clean_up();
    _exit(SKIPPED);
}

void check_result(const char *call, int result, int expected, const char *file, int line)
{
    if (result != expected) {
        print_error("%s\n    gave %d (%s), expected %d (%s)\n", call, result, hf_strerror(result),
                    expected, hf_strerror(expected));
        _fail(file, line);
    }
}

/* ---- time and chance --------------------------------------------------------------------- */

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t now_ms(void)
{
    return clock_ns() / 1000000;
}

void sleep_ms(int64_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0) {
    }
}

bool wait_until(bool (*holds)(void *context), void *context, int64_t timeout_ms)
{
    int64_t end = now_ms() + timeout_ms;
    while (!holds(context)) {
        if (now_ms() >= end) {
            return holds(context);
        }
        sleep_ms(1);
    }
    return true;
}

uint64_t random_below(uint64_t limit)
{
    if (random_state == 0) {
        const char *seed = getenv("HF_TEST_SEED");
        random_state = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)clock_ns();
        printf("HF_TEST_SEED=%llu\n", (unsigned long long)random_state);
        (void)fflush(stdout);
    }
    /* splitmix64 */
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % limit;
}

/* ---- running ----------------------------------------------------------------------------- */

static void run_case(void **state)
{
    struct test_case *test = *state;
    test->run();
}

static int run_here(struct test_case *test)
{
    const struct CMUnitTest only = {
        .name = test->name, .test_func = run_case, .initial_state = test};
    const struct CMUnitTest group[] = {only};
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    int failed = cmocka_run_group_tests_name(test->name, group, NULL, NULL);
    names_clean_up();
    return failed == 0 ? 0 : 1;
}

static int run_named(const char *name)
{
    for (struct test_case *test = tests; test != NULL; test = test->next) {
        if (strcmp(test->name, name) == 0) {
            return run_here(test);
        }
    }
    fprintf(stderr, "no test is called %s\n", name);
    return 2;
}

static int run_all(const char *program)
{
    int failed = 0;
    for (struct test_case *test = tests; test != NULL; test = test->next) {
        const char *argv[] = {program, test->name, NULL};
        int status = spawn_and_wait(argv, NULL);
        failed += status != 0 && status != SKIPPED;
    }
    printf("%d failed\n", failed);
    return failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc > 2) {
        fprintf(stderr, "usage: %s [TEST | --list]\n", argv[0]);
        return 2;
    }
    if (argc < 2) {
        return run_all("/proc/self/exe");
    }
    if (strcmp(argv[1], "--list") != 0) {
        return run_named(argv[1]);
    }
    for (struct test_case *test = tests; test != NULL; test = test->next) {
        puts(test->name);
    }
    return 0;
}
