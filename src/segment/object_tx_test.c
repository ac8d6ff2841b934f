/* SPDX-License-Identifier: MIT */
/* Objects in transactions: who sees them when, and what becomes of them. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "holdfast/check.h"
#include "holdfast/heap.h"
#include "holdfast/object.h"
#include "segment/names.h"
#include "support/stage.h"

static uint64_t blocks_now(void)
{
    hf_check_report report;
    int error = hf_check(stage, &report);
    if (error != 0) {
        print_error("%s\n", report.what);
    }
    assert_ok(error);
    return report.blocks;
}

static bool is_there(const char *name)
{
    return hf_find(stage, name, int) != NULL;
}

static int look(void *name)
{
    return is_there(name) ? 1 : 0;
}

/* Does another process see it? */
static bool another_sees(const char *name)
{
    return run_child(look, (void *)(uintptr_t)name) == 1;
}

static int construct_it(void *name)
{
    void *object;
    return -hf_object_construct(stage, name, HF_TYPE(int), 1, NULL, NULL, &object);
}

static int destroy_it(void *name)
{
    return -hf_destroy(stage, name, int);
}

static void expect_of_another(int (*act)(void *name), const char *name, int error)
{
    assert_int_equal(-run_child(act, (void *)(uintptr_t)name), error);
}

/* The table is there, and "old". */
static uint64_t set_stage_with_an_object(void)
{
    set_stage(256 * KIB);
    assert_non_null(hf_construct(stage, "old", int, 1));
    return blocks_now();
}

TEST(what_is_constructed_inside_is_ones_own_until_the_commit)
{
    uint64_t blocks = set_stage_with_an_object();
    assert_ok(hf_tx_begin(stage));
    assert_non_null(hf_construct(stage, "new", int, 2));
    assert_non_null(hf_construct(stage, HF_UNIQUE, int, 3));
    assert_non_null(hf_construct(stage, NULL, int, 4));
    assert_true(is_there("new"));
    assert_false(another_sees("new"));
    assert_null(hf_construct(stage, "new", int, 2));
    expect_of_another(construct_it, "new", -EBUSY);
    expect_of_another(destroy_it, "new", -ENOENT);
    assert_ok(hf_tx_commit(stage));
    assert_true(another_sees("new"));
    assert_true(is_there(HF_UNIQUE));
    expect_of_another(construct_it, "new", -EEXIST);
    assert_int_equal(blocks_now(), blocks + 3);
    expect_of_another(destroy_it, "new", 0);
    assert_false(is_there("new"));
    clear_stage();
}

TEST(what_an_abort_undoes_was_never_there)
{
    uint64_t blocks = set_stage_with_an_object();
    for (unsigned i = 0; i < 3; i++) {
        assert_ok(hf_tx_begin(stage));
        assert_non_null(hf_construct(stage, "new", int, 2));
        assert_non_null(hf_construct(stage, HF_UNIQUE, int, 3));
        assert_non_null(hf_construct(stage, NULL, int, 4));
        assert_ok(hf_destroy(stage, "old", int));
        assert_ok(hf_tx_abort(stage));
        assert_false(is_there("new"));
        assert_false(is_there(HF_UNIQUE));
        assert_true(is_there("old"));
        assert_true(another_sees("old"));
        assert_int_equal(blocks_now(), blocks);
    }
    assert_ok(hf_destroy(stage, "old", int));
    clear_stage();
}

TEST(what_is_destroyed_inside_is_there_for_others_until_the_commit)
{
    uint64_t blocks = set_stage_with_an_object();
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_destroy(stage, "old", int));
    assert_false(is_there("old"));
    assert_true(another_sees("old"));
    assert_error(hf_destroy(stage, "old", int), -ENOENT);
    expect_of_another(construct_it, "old", -EEXIST);
    expect_of_another(destroy_it, "old", -EBUSY);
    assert_int_equal(blocks_now(), blocks);
    assert_ok(hf_tx_commit(stage));
    assert_false(another_sees("old"));
    assert_int_equal(blocks_now(), blocks - 1);
    expect_of_another(construct_it, "old", 0);
    clear_stage();
}

TEST(a_name_is_replaced_at_one_instant_or_not)
{
    uint64_t blocks = set_stage_with_an_object();
    for (int i = 1; i < 20; i++) {
        bool keep = i % 2 == 0;
        int before = *hf_find(stage, "old", int);
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_destroy(stage, "old", int));
        assert_non_null(hf_construct(stage, "old", int, i));
        assert_int_equal(*hf_find(stage, "old", int), i);
        assert_true(another_sees("old"));
        assert_ok(keep ? hf_tx_commit(stage) : hf_tx_abort(stage));
        assert_int_equal(*hf_find(stage, "old", int), keep ? i : before);
        assert_int_equal(blocks_now(), blocks);
    }
    clear_stage();
}

TEST(what_is_constructed_and_destroyed_inside_leaves_nothing)
{
    uint64_t blocks = set_stage_with_an_object();
    for (unsigned i = 0; i < 4; i++) {
        assert_ok(hf_tx_begin(stage));
        for (unsigned n = 0; n < 100; n++) {
            int *object = hf_construct(stage, "new", int, 2);
            assert_non_null(object);
            assert_ok(n % 2 == 0 ? hf_destroy(stage, "new", int)
                                 : hf_object_destroy_at(stage, object));
            assert_false(is_there("new"));
        }
        expect_of_another(construct_it, "other", 0); /* beside what is dead and not over */
        assert_ok(i % 2 == 0 ? hf_tx_commit(stage) : hf_tx_abort(stage));
        assert_ok(hf_destroy(stage, "other", int));
        assert_int_equal(blocks_now(), blocks);
    }
    clear_stage();
}

TEST(only_the_outermost_commit_counts)
{
    uint64_t blocks = set_stage_with_an_object();
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_begin(stage));
    assert_non_null(hf_construct(stage, "new", int, 2));
    assert_ok(hf_tx_commit(stage));
    assert_false(another_sees("new"));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_destroy(stage, "old", int));
    assert_ok(hf_tx_abort(stage));
    assert_true(is_there("old"));
    assert_false(is_there("new"));
    void *object;
    assert_error(hf_object_construct(stage, "x", HF_TYPE(int), 1, NULL, NULL, &object), -ECANCELED);
    assert_error(hf_object_construct(stage, NULL, HF_TYPE(int), 1, NULL, NULL, &object),
                 -ECANCELED);
    assert_error(hf_destroy(stage, "old", int), -ECANCELED);
    assert_error(hf_tx_commit(stage), -ECANCELED);
    assert_int_equal(blocks_now(), blocks);
    clear_stage();
}

TEST(hundreds_in_one_transaction_come_and_go_together)
{
    char name[16];
    set_growing_stage(MIB, 64 * MIB);
    assert_ok(hf_object_reserve(stage, 1));
    uint64_t blocks = blocks_now();
    for (unsigned round = 0; round < 4; round++) {
        assert_ok(hf_tx_begin(stage));
        for (int i = 0; i < 700; i++) {
            (void)snprintf(name, sizeof name, "n%d", i);
            assert_non_null(hf_construct(stage, name, int, i));
        }
        assert_ok(round % 2 == 0 ? hf_tx_abort(stage) : hf_tx_commit(stage));
        assert_int_equal(blocks_now(), blocks + (round % 2 == 0 ? 0 : 700));
        hf_object_cursor cursor = {0};
        hf_object_info info;
        unsigned told = 0;
        assert_ok(hf_tx_begin(stage));
        while (hf_object_next(stage, &cursor, &info) == 0) {
            told++;
            assert_ok(hf_object_destroy_at(stage, info.object));
        }
        assert_int_equal(told, round % 2 == 0 ? 0 : 700);
        assert_ok(hf_tx_commit(stage));
        assert_int_equal(blocks_now(), blocks);
    }
    clear_stage();
}

static sigjmp_buf out;

static int jump_out(void *elements, size_t count, void *context)
{
    (void)elements;
    (void)count;
    (void)context;
    siglongjmp(out, 1);
}

TEST(a_jump_out_of_an_initialiser_leaves_the_transaction_open)
{
    uint64_t blocks = set_stage_with_an_object();
    assert_ok(hf_tx_begin(stage));
    assert_non_null(hf_construct(stage, "first", int, 2));
    if (sigsetjmp(out, 1) == 0) {
        void *object;
        (void)hf_object_construct(stage, "n", HF_TYPE(int), 1, jump_out, NULL, &object);
        fail();
    }
    assert_ok(hf_thread_recover(stage));
    assert_true(is_there("first"));
    assert_false(is_there("n"));
    assert_ok(hf_tx_commit(stage));
    assert_true(another_sees("first"));
    assert_ok(hf_thread_leave(stage));
    assert_int_equal(blocks_now(), blocks + 1);
    clear_stage();
}

/* ---- beside others ------------------------------------------------------------------------ */

static pthread_barrier_t gate;
static _Atomic bool held_up; /* names_bury is, for once */

void __real_hf_in_names_bury(struct participant *p);
void __wrap_hf_in_names_bury(struct participant *p);

/* Between a transaction's end and the burying of what it has left dead. */
void __wrap_hf_in_names_bury(struct participant *p)
{
    if (load_relaxed(&held_up)) {
        store_relaxed(&held_up, false);
        (void)pthread_barrier_wait(&gate);
        (void)pthread_barrier_wait(&gate);
    }
    __real_hf_in_names_bury(p);
}

static void *destroy_in_a_transaction(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_destroy(stage, "old", int));
    store_relaxed(&held_up, true);
    assert_ok(hf_tx_commit(stage));
    return NULL;
}

TEST(who_buries_late_buries_nothing_that_lives)
{
    pthread_t thread;
    uint64_t blocks = set_stage_with_an_object();
    assert_int_equal(pthread_barrier_init(&gate, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, destroy_in_a_transaction, NULL), 0);
    (void)pthread_barrier_wait(&gate);
    assert_non_null(hf_construct(stage, "a", int, 2)); /* buries "old", whose block is the next's */
    assert_non_null(hf_construct(stage, "b", int, 3));
    assert_non_null(hf_construct(stage, "c", int, 4));
    (void)pthread_barrier_wait(&gate);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(is_there("a") && is_there("b") && is_there("c"));
    assert_int_equal(blocks_now(), blocks + 2);
    clear_stage();
}

/* Replaces the name again and again; what is not committed has a negative value. */
static void *replace(void *stop)
{
    for (int i = 1; !load_relaxed((_Atomic bool *)stop); i++) {
        bool keep = i % 3 != 0;
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_destroy(stage, "old", int));
        assert_non_null(hf_construct(stage, "old", int, keep ? i : -i));
        assert_ok(keep ? hf_tx_commit(stage) : hf_tx_abort(stage));
    }
    return NULL;
}

TEST(who_looks_for_a_replaced_name_finds_it_always)
{
    pthread_t thread;
    static _Atomic bool stop;
    (void)set_stage_with_an_object();
    assert_int_equal(pthread_create(&thread, NULL, replace, &stop), 0);
    int64_t end = now_ms() + 1500;
    while (now_ms() < end) {
        for (unsigned i = 0; i < 1000; i++) {
            void *object;
            int error = hf_object_find(stage, "old", HF_TYPE(int), &object, NULL);
            if (error != -EAGAIN) {
                assert_ok(error);
            }
        }
    }
    store_relaxed(&stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    clear_stage();
}

/* Constructs what it never commits. */
static void *construct_and_abort(void *stop)
{
    while (!load_relaxed((_Atomic bool *)stop)) {
        assert_ok(hf_tx_begin(stage));
        assert_non_null(hf_construct(stage, "never", int, 1));
        assert_ok(hf_tx_abort(stage));
    }
    return NULL;
}

TEST(what_is_not_committed_is_never_found)
{
    pthread_t thread;
    static _Atomic bool stop;
    (void)set_stage_with_an_object();
    assert_int_equal(pthread_create(&thread, NULL, construct_and_abort, &stop), 0);
    int64_t end = now_ms() + 1500;
    while (now_ms() < end) {
        for (unsigned i = 0; i < 1000; i++) {
            assert_false(is_there("never"));
        }
    }
    store_relaxed(&stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    clear_stage();
}

/* ---- deaths ------------------------------------------------------------------------------ */

_Noreturn static int die_in_a_transaction(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_non_null(hf_construct(stage, "new", int, 2));
    assert_ok(hf_destroy(stage, "old", int));
    say_ready();
    wait_for_death();
}

static void leave_a_dead(void)
{
    assert_int_equal(kill_and_reap(start_ready(die_in_a_transaction, NULL)), -SIGKILL);
}

TEST(the_names_of_who_dies_inside_can_be_had_again_at_once)
{
    uint64_t blocks = set_stage_with_an_object();
    leave_a_dead();
    assert_false(is_there("new"));
    assert_true(is_there("old"));
    assert_non_null(hf_construct(stage, "new", int, 3)); /* nobody has met the dead yet */
    assert_int_equal(blocks_now(), blocks + 1);
    assert_ok(hf_destroy(stage, "new", int));
    leave_a_dead();
    assert_ok(hf_destroy(stage, "old", int));
    assert_int_equal(blocks_now(), blocks - 1);
    clear_stage();
}

_Noreturn static int die_committed(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_non_null(hf_construct(stage, "new", int, 2));
    assert_ok(hf_destroy(stage, "old", int));
    assert_int_equal(pthread_barrier_init(&gate, NULL, 1), 0);
    say_ready();
    assert_ok(hf_tx_commit(stage));
    wait_for_death();
}

TEST(what_was_committed_stays_when_its_process_dies)
{
    uint64_t blocks = set_stage_with_an_object();
    pid_t child = start_ready(die_committed, NULL);
    while (!is_there("new")) {
        sleep_ms(1);
    }
    assert_int_equal(kill_and_reap(child), -SIGKILL);
    assert_true(is_there("new"));
    assert_false(is_there("old"));
    assert_ok(hf_segment_recover(stage, NULL));
    assert_non_null(hf_construct(stage, "old", int, 3));
    assert_int_equal(blocks_now(), blocks + 1);
    clear_stage();
}

_Noreturn static int die_with_much(void *unused)
{
    void *object;
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_object_construct(stage, "big", HF_TYPE(int), 30000, NULL, NULL, &object));
    say_ready();
    wait_for_death();
}

TEST(the_memory_of_who_dies_inside_is_to_be_had)
{
    void *object;
    (void)set_stage_with_an_object();
    assert_int_equal(kill_and_reap(start_ready(die_with_much, NULL)), -SIGKILL);
    assert_ok(hf_segment_recover(stage, NULL));
    assert_ok(hf_object_construct(stage, "big", HF_TYPE(int), 30000, NULL, NULL, &object));
    clear_stage();
}
