/* SPDX-License-Identifier: MIT */
/* Objects between processes and threads: who constructs, who only looks, and who dies at it. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holdfast/check.h"
#include "holdfast/heap.h"
#include "holdfast/object.h"
#include "segment/segment_layout.h"
#include "support/stage.h"

static hf_check_report census(void)
{
    hf_check_report report;
    int error = hf_check(stage, &report);
    if (error != 0) {
        print_error("%s\n", report.what);
    }
    assert_ok(error);
    return report;
}

static const char *name_of(unsigned number)
{
    static _Thread_local char name[24];
    (void)snprintf(name, sizeof name, "object %u", number);
    return name;
}

/* ---- races ------------------------------------------------------------------------------- */

#define RACED 10000u

static int race(void *context)
{
    unsigned who = *(unsigned *)context;
    wait_until_told();
    for (unsigned i = 0; i < RACED; i++) {
        unsigned value = i * 2 + who;
        void *object = hf_construct(stage, name_of(i), unsigned, value);
        if (object != NULL) {
            (void)fetch_add_release(&props->done[who], 1);
        }
        object = hf_find(stage, name_of(i), unsigned);
        assert_non_null(object);
        assert_int_equal(*(unsigned *)object / 2, i);
    }
    return 0;
}

TEST(of_two_who_construct_one_name_one_wins)
{
    static unsigned who[] = {0, 1};
    set_growing_stage(MIB, 64 * MIB);
    pid_t first = start_child(race, &who[0]);
    pid_t second = start_child(race, &who[1]);
    tell();
    assert_int_equal(wait_child(first), 0);
    assert_int_equal(wait_child(second), 0);
    uint64_t count;
    assert_ok(hf_object_count(stage, &count));
    assert_int_equal(count, RACED);
    assert_int_equal(load_relaxed(&props->done[0]) + load_relaxed(&props->done[1]), RACED);
    for (unsigned i = 0; i < RACED; i++) {
        assert_ok(hf_destroy(stage, name_of(i), unsigned));
    }
    assert_int_equal(census().blocks, 1);
    clear_stage();
}

#define FEW 40u

/* Constructs, destroys and finds whatever comes, beside others who do the same. */
static int churn(void *context)
{
    uint64_t seed = *(unsigned *)context;
    for (unsigned n = 0; n < 20000; n++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        unsigned i = (unsigned)(seed >> 40) % FEW;
        void *object;
        int error;
        if ((seed >> 33 & 1) != 0) {
            object = hf_construct(stage, name_of(i), unsigned, i);
        } else {
            error = hf_object_destroy(stage, name_of(i), HF_TYPE(unsigned));
            assert_true(error == 0 || error == -ENOENT || error == -EBUSY);
        }
        error = hf_object_find(stage, name_of(i), HF_TYPE(unsigned), &object, NULL);
        assert_true(error == 0 || error == -ENOENT || error == -EAGAIN);
    }
    return 0;
}

TEST(many_who_construct_and_destroy_lose_nothing)
{
    static unsigned seeds[] = {1, 2, 3};
    pid_t children[3];
    set_growing_stage(MIB, 64 * MIB);
    for (unsigned i = 0; i < 3; i++) {
        children[i] = start_child(churn, &seeds[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(wait_child(children[i]), 0);
    }
    hf_check_report report = census();
    assert_int_equal(report.blocks, report.names + 1);
    for (unsigned i = 0; i < FEW; i++) {
        (void)hf_destroy(stage, name_of(i), unsigned);
    }
    assert_int_equal(census().blocks, 1);
    clear_stage();
}

/* ---- readers ----------------------------------------------------------------------------- */

#define KEPT  50u
#define FLOOD 3000u

/* Objects that are of one value each; the first KEPT stay. */
static void expect_right(hf_segment *segment, unsigned i)
{
    void *object;
    size_t count;
    int error = hf_object_find(segment, name_of(i), HF_TYPE(unsigned), &object, &count);
    assert_true(error == 0 || (error == -ENOENT && i >= KEPT) || error == -EAGAIN);
    assert_true(error != 0 || i >= KEPT || (*(unsigned *)object == i && count == 1));
}

static void look_around(hf_segment *segment, unsigned round)
{
    hf_object_cursor cursor = {0};
    hf_object_info info;
    uint64_t count;
    int error;
    unsigned kept = 0;
    for (unsigned i = 0; i < 200; i++) {
        expect_right(segment, (i * 7 + round * 200) % FLOOD);
        expect_right(segment, i % KEPT);
    }
    while ((error = hf_object_next(segment, &cursor, &info)) == 0) {
        assert_string_equal(info.type, "unsigned");
        assert_memory_equal(info.name, "object ", 7);
        kept += strtoul(info.name + 7, NULL, 10) < KEPT ? 1 : 0;
    }
    assert_true(error == -EAGAIN || kept == KEPT);
    assert_true(error == -EAGAIN || error == -ENOENT);
    assert_ok(hf_object_count(segment, &count));
}

static int look_from_a_process(void *name)
{
    hf_segment *segment;
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment));
    for (unsigned round = 0; load_acquire(&props->finish) == 0; round++) {
        look_around(segment, round);
    }
    hf_segment_close(segment);
    return 0;
}

static void *look_from_a_thread(void *unused)
{
    (void)unused;
    for (unsigned round = 0; load_acquire(&props->finish) == 0; round++) {
        look_around(stage, round);
    }
    return NULL;
}

static void open_stage(const char *name)
{
    void *root;
    hf_segment_options options = {.maximum = 64 * MIB};
    assert_ok(hf_segment_create(name, MIB, &options, &stage));
    assert_ok(hf_segment_root(stage, sizeof *props, &root));
    props = root;
    for (unsigned i = 0; i < KEPT; i++) {
        assert_non_null(hf_construct(stage, name_of(i), unsigned, i));
    }
}

TEST(readers_never_see_a_wrong_object_while_others_change_all)
{
    char name[UNIQUE_NAME_SIZE];
    open_stage(unique_name(name, "object"));
    pid_t child = start_child(look_from_a_process, name);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, look_from_a_thread, NULL), 0);
    int64_t end = now_ms() + 2000;
    for (unsigned pass = 0; now_ms() < end; pass++) {
        for (unsigned i = KEPT; i < FLOOD; i++) {
            assert_non_null(hf_construct(stage, name_of(i), unsigned, i));
        }
        assert_ok(hf_object_reserve(stage, UINT64_C(4096) << pass % 6));
        for (unsigned i = KEPT; i < FLOOD; i++) {
            assert_ok(hf_destroy(stage, name_of(i), unsigned));
        }
    }
    store_release(&props->finish, 1u);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(wait_child(child), 0);
    assert_int_equal(census().blocks, KEPT + 1);
    clear_stage();
}

/* ---- deaths ------------------------------------------------------------------------------ */

static int wait_in_the_initialiser(void *elements, size_t count, void *context)
{
    (void)elements;
    (void)count;
    (void)context;
    say_ready();
    wait_for_death();
}

_Noreturn static int die_in_an_initialiser(void *unused)
{
    void *object;
    (void)unused;
    (void)hf_object_construct(stage, "n", HF_TYPE(int), 1000, wait_in_the_initialiser, NULL,
                              &object);
    _exit(1);
}

TEST(who_dies_in_an_initialiser_has_constructed_nothing)
{
    set_stage(256 * KIB);
    assert_ok(hf_object_reserve(stage, 1));
    assert_int_equal(kill_and_reap(start_ready(die_in_an_initialiser, NULL)), -SIGKILL);
    assert_null(hf_find(stage, "n", int));
    assert_non_null(hf_construct(stage, "n", int, 1));
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(census().blocks, 2);
    clear_stage();
}

_Noreturn static int churn_for_ever(void *context)
{
    for (;;) {
        (void)churn(context);
    }
}

static void *transactions_for_ever(void *unused)
{
    (void)unused;
    for (unsigned n = 0;; n++) {
        assert_ok(hf_tx_begin(stage));
        (void)hf_construct(stage, name_of(n % FEW), unsigned, n);
        (void)hf_object_destroy(stage, name_of((n * 7 + 3) % FEW), HF_TYPE(unsigned));
        assert_ok(n % 3 == 0 ? hf_tx_abort(stage) : hf_tx_commit(stage));
    }
    return NULL;
}

_Noreturn static int transact_for_ever(void *context)
{
    (void)transactions_for_ever(context);
    _exit(1);
}

TEST(after_many_kills_the_census_is_exact)
{
    static unsigned seeds[] = {5, 6};
    set_growing_stage(MIB, 64 * MIB);
    pid_t children[3] = {0};
    for (unsigned i = 0; i < 90; i++) {
        unsigned who = i % 3;
        if (children[who] != 0) {
            assert_int_equal(kill_and_reap(children[who]), -SIGKILL);
        }
        children[who] = who == 2 ? start_child(transact_for_ever, NULL)
                                 : start_child(churn_for_ever, &seeds[who]);
        sleep_ms((int64_t)random_below(12));
        void *object;
        assert_ok(hf_object_construct(stage, "mine", HF_TYPE(int), 1, NULL, NULL, &object));
        assert_ok(hf_object_destroy_at(stage, object));
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(kill_and_reap(children[i]), -SIGKILL);
    }
    assert_ok(hf_segment_recover(stage, NULL));
    for (unsigned i = 0; i < FEW; i++) {
        int error = hf_object_destroy(stage, name_of(i), HF_TYPE(unsigned));
        assert_true(error == 0 || error == -ENOENT);
    }
    (void)hf_object_destroy(stage, "none", HF_TYPE(int)); /* buries what the last ones have left */
    hf_check_report report = census();
    assert_int_equal(report.names, 0);
    assert_int_equal(report.blocks, 1);
    clear_stage();
}
