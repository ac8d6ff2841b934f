/* SPDX-License-Identifier: MIT */
/* Transactions whose process dies: undone before anyone gets a lock of theirs. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "segment/handle.h"
#include "segment/pages.h"
#include "segment/segment_layout.h"
#include "segment/slot_layout.h"
#include "support/stage.h"

#define SIZE ((size_t)MIB) /* of the pages that the victims overwrite */

static unsigned char *pages;

static void set_stage_with_pages(void)
{
    hf_off *link;
    set_stage(8 * MIB);
    link = (hf_off *)(void *)props->bytes;
    assert_ok(hf_pages_alloc(stage, SIZE, link));
    pages = hf_segment_at(stage, *link);
    memset(pages, 0x11, SIZE);
}

static void expect_pages(unsigned char value)
{
    for (size_t i = 0; i < SIZE; i++) {
        assert_int_equal(pages[i], value);
    }
}

static void expect_free(hf_mutex *mutex)
{
    assert_ok(hf_mutex_timedlock(mutex, SECONDS(10)));
    assert_ok(hf_mutex_unlock(mutex));
}

static void expect_owner_dead(hf_mutex *mutex)
{
    assert_error(hf_mutex_timedlock(mutex, SECONDS(10)), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(mutex));
    assert_ok(hf_mutex_unlock(mutex));
}

/* ---- one death --------------------------------------------------------------------------- */

_Noreturn static int write_a_little(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_tx_add(stage, props->account, sizeof props->account));
    props->account[0] = 1;
    assert_ok(hf_mutex_unlock(&props->mutex));
    props->account[1] = 2;
    say_ready();
    wait_for_death();
}

TEST(what_the_dead_had_not_committed_is_undone_before_its_mutex_is_had)
{
    set_stage(256 * KIB);
    assert_int_equal(kill_and_reap(start_ready(write_a_little, NULL)), -SIGKILL);
    assert_int_equal(props->account[0], 1); /* nobody has met the dead yet */
    assert_ok(hf_mutex_timedlock(&props->mutex, SECONDS(10)));
    assert_int_equal(props->account[0], 0);
    assert_int_equal(props->account[1], 0);
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

static int look_when_it_is_free(void *unused)
{
    (void)unused;
    say_ready();
    assert_ok(hf_mutex_lock(&props->mutex));
    bool undone = props->account[0] == 0 && props->account[1] == 0;
    assert_ok(hf_mutex_unlock(&props->mutex));
    return undone ? 0 : 1;
}

TEST(one_asleep_gets_the_mutex_with_the_transaction_undone)
{
    set_stage(256 * KIB);
    pid_t victim = start_ready(write_a_little, NULL);
    pid_t waiters[2] = {start_ready(look_when_it_is_free, NULL),
                        start_ready(look_when_it_is_free, NULL)};
    wait_for_state(waiters[0], 'S');
    wait_for_state(waiters[1], 'S');
    assert_int_equal(kill_and_reap(victim), -SIGKILL);
    assert_int_equal(wait_child_for(waiters[0], 10000), 0);
    assert_int_equal(wait_child_for(waiters[1], 10000), 0);
    clear_stage();
}

TEST(an_explicit_recovery_undoes_it_as_well)
{
    unsigned recovered;
    set_stage(256 * KIB);
    assert_int_equal(kill_and_reap(start_ready(write_a_little, NULL)), -SIGKILL);
    assert_ok(hf_segment_recover(stage, &recovered));
    assert_int_equal(recovered, 1);
    assert_int_equal(props->account[0], 0);
    assert_int_equal(props->account[1], 0);
    assert_ok(hf_segment_recover(stage, &recovered));
    assert_int_equal(recovered, 0);
    clear_stage();
}

_Noreturn static int commit(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, props->account, sizeof props->account));
    props->account[0] = 1;
    assert_ok(hf_tx_commit(stage));
    say_ready();
    wait_for_death();
}

TEST(what_the_dead_had_committed_is_there)
{
    set_stage(256 * KIB);
    assert_int_equal(kill_and_reap(start_ready(commit, NULL)), -SIGKILL);
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(props->account[0], 1);
    clear_stage();
}

_Noreturn static int write_much(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_mutex_lock(&props->mutex));
    for (size_t at = 0; at < SIZE; at += SIZE / 16) {
        assert_ok(hf_tx_add(stage, pages + at, SIZE / 16));
        memset(pages + at, 0x22, SIZE / 16);
    }
    assert_ok(hf_tx_add(stage, pages + 5, SIZE / 2)); /* once more */
    memset(pages + 5, 0x33, SIZE / 2);
    assert_ok(hf_mutex_unlock(&props->mutex));
    say_ready();
    wait_for_death();
}

TEST(a_log_of_many_chunks_is_undone)
{
    set_stage_with_pages();
    assert_int_equal(kill_and_reap(start_ready(write_much, NULL)), -SIGKILL);
    expect_free(&props->mutex);
    expect_pages(0x11);
    clear_stage();
}

TEST(logs_of_the_dead_do_not_pile_up)
{
    uint64_t used = 0;
    set_stage_with_pages();
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(kill_and_reap(start_ready(write_much, NULL)), -SIGKILL);
        expect_free(&props->mutex);
        assert_true(i < 2 || bytes_used() <= used);
        used = bytes_used();
    }
    expect_pages(0x11);
    clear_stage();
}

_Noreturn static int commit_much(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, pages, SIZE / 4));
    assert_ok(hf_tx_commit(stage));
    say_ready();
    wait_for_death();
}

TEST(logs_of_the_dead_whom_nobody_met_do_not_pile_up)
{
    uint64_t used = 0;
    set_stage_with_pages();
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(kill_and_reap(start_ready(commit_much, NULL)), -SIGKILL);
        used = i == 12 ? bytes_used() : used;
    }
    assert_true(bytes_used() <= used);
    clear_stage();
}

static void *write_and_end(void *unused)
{
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_tx_add(stage, props->account, sizeof props->account));
    props->account[0] = 1;
    return unused;
}

TEST(a_thread_that_ends_inside_is_undone)
{
    pthread_t thread;
    set_stage(256 * KIB);
    assert_int_equal(pthread_create(&thread, NULL, write_and_end, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(props->account[0], 0);
    expect_free(&props->mutex);
    clear_stage();
}

TEST(a_thread_that_leaves_inside_is_undone)
{
    set_stage(256 * KIB);
    (void)write_and_end(NULL);
    assert_ok(hf_thread_leave(stage));
    assert_int_equal(props->account[0], 0);
    expect_free(&props->mutex);
    assert_error(hf_tx_commit(stage), -EINVAL);
    clear_stage();
}

/* ---- a log that changes hands ------------------------------------------------------------ */

static struct slot *slot_at(uint32_t number)
{
    char *base = hf_segment_base(stage);
    struct segment_header *header = (struct segment_header *)(void *)base;
    struct slot_page *page =
        (struct slot_page *)(void *)(base + load_acquire(&header->slot_runs[0]));
    return &page->slots[number - 1];
}

static uint32_t own_slot(void)
{
    hf_participant me;
    assert_ok(hf_participant_self(stage, &me));
    return (uint32_t)(me.value & 0xfff);
}

/* More than the slot has room for. */
_Noreturn static int log_a_chunk(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_tx_add(stage, props->bytes, 2000));
    memset(props->bytes, 0x22, 1000);
    say_ready();
    wait_for_death();
}

static int recover_step_by_step(void *unused)
{
    (void)unused;
    store_release(&props->result, own_slot());
    assert_int_equal(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0);
    (void)raise(SIGSTOP);
    assert_ok(hf_segment_recover(stage, NULL));
    return 0;
}

/* Kills one who recovers while its own record says that it gives the dead one's log back. */
static void die_reclaiming(void)
{
    int status;
    pid_t recoverer = start_child(recover_step_by_step, NULL);
    assert_int_equal(waitpid(recoverer, &status, 0), recoverer);
    struct slot *own = slot_at(load_acquire(&props->result));
    while (WIFSTOPPED(status) && load_acquire(&own->op) != OP_PAGES_FREE) {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, recoverer, NULL, NULL), 0);
        assert_int_equal(waitpid(recoverer, &status, 0), recoverer);
    }
    assert_true(WIFSTOPPED(status));
    assert_int_equal(kill_and_reap(recoverer), -SIGKILL);
}

/* So that nobody needs to take a dead one's. */
static void add_slots(void)
{
    struct participant *p = NULL;
    assert_ok(enter(stage, &p));
    assert_non_null(p);
    if (p != NULL) { /* the analyser does not know */
        assert_ok(pages_add_slots(p));
        (void)call_end(p, 0);
    }
}

TEST(who_took_a_slot_while_its_log_was_being_reclaimed_by_one_who_died_is_undone)
{
    set_stage(1 * MIB);
    (void)own_slot(); /* the first */
    add_slots();
    assert_int_equal(kill_and_reap(start_ready(log_a_chunk, NULL)), -SIGKILL);
    die_reclaiming();
    pid_t victim = start_ready(log_a_chunk, NULL);
    assert_ok(hf_segment_recover(stage, NULL));
    assert_int_equal(kill_and_reap(victim), -SIGKILL);
    assert_ok(hf_mutex_timedlock(&props->mutex, SECONDS(10)));
    for (size_t i = 0; i < 2000; i++) {
        assert_int_equal(props->bytes[i], 0);
    }
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

_Noreturn static int lock_in_a_slot(void *unused)
{
    (void)unused;
    store_release(&props->result, own_slot());
    assert_int_equal(hf_mutex_lock(&props->mutex), 0);
    say_ready();
    wait_for_death();
}

/* It has freed the slot, and goes on when that is another's: what it wrote there comes before. */
TEST(a_recoverer_that_is_late_leaves_the_slots_next_owner_alone)
{
    int status;
    set_stage(1 * MIB);
    (void)own_slot();
    add_slots();
    assert_int_equal(kill_and_reap(start_ready(lock_in_a_slot, NULL)), -SIGKILL);
    uint32_t number = load_acquire(&props->result);
    pid_t recoverer = start_child(recover_step_by_step, NULL);
    assert_int_equal(waitpid(recoverer, &status, 0), recoverer);
    while (WIFSTOPPED(status) && claim_by(load_acquire(&slot_at(number)->claim)) != 0) {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, recoverer, NULL, NULL), 0);
        assert_int_equal(waitpid(recoverer, &status, 0), recoverer);
    }
    assert_true(WIFSTOPPED(status));
    assert_int_equal(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
    pid_t next = start_ready(lock_in_a_slot, NULL);
    assert_int_equal(load_acquire(&props->result), number);
    assert_int_equal(ptrace(PTRACE_DETACH, recoverer, NULL, NULL), 0);
    assert_int_equal(wait_child_for(recoverer, 10000), 0);
    assert_int_equal(hf_mutex_trylock(&props->mutex), -EBUSY);
    assert_int_equal(*view_life(stage->view, number) & OS_LIFE_ID, (uint32_t)next);
    assert_int_equal(kill_and_reap(next), -SIGKILL);
    assert_int_equal(hf_mutex_timedlock(&props->mutex, SECONDS(10)), -EOWNERDEAD);
    clear_stage();
}

/* ---- its locks --------------------------------------------------------------------------- */

_Noreturn static int take_some_before_and_some_inside(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->more[0])); /* before, kept */
    assert_ok(hf_mutex_lock(&props->more[1])); /* before, unlocked inside */
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_mutex_lock(&props->more[2])); /* inside */
    assert_ok(hf_mutex_lock(&props->more[3])); /* inside, unlocked */
    assert_ok(hf_mutex_unlock(&props->more[3]));
    assert_ok(hf_mutex_unlock(&props->more[1]));
    say_ready();
    wait_for_death();
}

TEST(only_mutexes_taken_before_are_handed_on_with_a_word_of_the_death)
{
    set_stage(256 * KIB);
    pid_t victim = start_ready(take_some_before_and_some_inside, NULL);
    assert_int_equal(kill_and_reap(victim), -SIGKILL);
    expect_owner_dead(&props->more[0]);
    expect_owner_dead(&props->more[1]);
    expect_free(&props->more[2]);
    expect_free(&props->more[3]);
    clear_stage();
}

_Noreturn static int keep_one_after_commit(void *unused)
{
    (void)unused;
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_tx_commit(stage));
    say_ready();
    wait_for_death();
}

TEST(a_mutex_kept_after_the_commit_is_handed_on_with_a_word_of_the_death)
{
    set_stage(256 * KIB);
    assert_int_equal(kill_and_reap(start_ready(keep_one_after_commit, NULL)), -SIGKILL);
    expect_owner_dead(&props->mutex);
    clear_stage();
}

_Noreturn static int hold_torn_data(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->mutex));
    props->account[0] = 1; /* and account[1] would have been next */
    say_ready();
    wait_for_death();
}

static void mend_in_a_transaction(void)
{
    assert_ok(hf_tx_begin(stage));
    assert_error(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
    assert_ok(hf_tx_add(stage, props->account, sizeof props->account));
    props->account[1] = 1;
    assert_ok(hf_mutex_consistent(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
}

_Noreturn static int mend_and_die(void *unused)
{
    (void)unused;
    mend_in_a_transaction();
    say_ready();
    wait_for_death();
}

TEST(data_that_is_mended_in_a_transaction_is_good_with_the_commit)
{
    set_stage(256 * KIB);
    assert_int_equal(kill_and_reap(start_ready(hold_torn_data, NULL)), -SIGKILL);
    mend_in_a_transaction();
    assert_ok(hf_tx_commit(stage));
    expect_free(&props->mutex);
    assert_int_equal(props->account[0], props->account[1]);
    clear_stage();
}

TEST(data_whose_mending_was_undone_is_not_handed_on_as_good)
{
    set_stage(256 * KIB);
    assert_int_equal(kill_and_reap(start_ready(hold_torn_data, NULL)), -SIGKILL);
    assert_int_equal(kill_and_reap(start_ready(mend_and_die, NULL)), -SIGKILL);
    int result = hf_mutex_timedlock(&props->mutex, SECONDS(10));
    assert_int_equal(props->account[1], 0);
    assert_error(result, -EOWNERDEAD);
    clear_stage();
}

TEST(data_whose_mending_was_aborted_is_not_handed_on_as_good)
{
    set_stage(256 * KIB);
    assert_int_equal(kill_and_reap(start_ready(hold_torn_data, NULL)), -SIGKILL);
    mend_in_a_transaction();
    assert_ok(hf_tx_abort(stage));
    assert_int_equal(props->account[1], 0);
    int result = seen_by_another(&props->mutex);
    assert_true(result == -EOWNERDEAD || result == -ENOTRECOVERABLE);
    clear_stage();
}

/* ---- death at the very end --------------------------------------------------------------- */

/* Two mutexes were taken before, the second is unlocked inside; the end dies as it wakes a waiter.
 */
static int die_at_the_end(void *commits)
{
    assert_ok(hf_mutex_lock(&props->more[0]));
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_tx_begin(stage));
    assert_ok(hf_tx_add(stage, props->account, sizeof props->account));
    props->account[0] = 1;
    assert_ok(hf_mutex_unlock(&props->mutex));
    say_ready();
    wait_until_told();
    forbid_syscall(SYS_futex);
    (void)(*(bool *)commits ? hf_tx_commit(stage) : hf_tx_abort(stage));
    return 1;
}

static int wait_for_it(void *unused)
{
    (void)unused;
    say_ready();
    int result = hf_mutex_lock(&props->mutex);
    if (result == 0) {
        assert_ok(hf_mutex_unlock(&props->mutex));
    }
    return -result;
}

static void kill_at_the_end(bool commits)
{
    set_stage(256 * KIB);
    pid_t victim = start_ready(die_at_the_end, &commits);
    pid_t waiter = start_ready(wait_for_it, NULL);
    wait_for_state(waiter, 'S');
    tell();
    assert_int_equal(wait_child(victim), -SIGSYS);
    assert_int_equal(wait_child_for(waiter, 10000), 0);
    expect_owner_dead(&props->more[0]);
    assert_int_equal(props->account[0], commits ? 1 : 0);
    clear_stage();
}

TEST(a_death_at_the_end_of_a_commit_is_told_of_what_was_held_before)
{
    kill_at_the_end(true);
}

TEST(a_death_at_the_end_of_an_abort_is_told_of_what_was_held_before)
{
    kill_at_the_end(false);
}

/* ---- many deaths ------------------------------------------------------------------------- */

#define TOTAL UINT64_C(1000000)

/* Moves amounts between two accounts that have a mutex each. A long log now and then. */
_Noreturn static int move_for_ever(void *index)
{
    unsigned i = *(unsigned *)index;
    say_ready();
    for (;;) {
        uint64_t amount = random_below(100);
        bool turned = random_below(2) == 0;
        assert_ok(hf_tx_begin(stage));
        assert_ok(hf_mutex_lock(&props->more[0])); /* one order */
        assert_ok(hf_mutex_lock(&props->more[1]));
        if (random_below(8) == 0) {
            assert_ok(hf_tx_add(stage, pages, 64 * KIB));
            memset(pages, 0x22, 64 * KIB);
            memset(pages, 0x11, 64 * KIB);
        }
        assert_ok(hf_tx_add(stage, &props->account[turned], 8));
        props->account[turned] -= amount;
        assert_ok(hf_mutex_unlock(&props->more[turned]));
        assert_ok(hf_tx_add(stage, &props->account[!turned], 8));
        props->account[!turned] += amount;
        assert_ok(hf_mutex_unlock(&props->more[!turned]));
        assert_ok(random_below(5) == 0 ? hf_tx_abort(stage) : hf_tx_commit(stage));
        (void)fetch_add_relaxed(&props->done[i], 1);
    }
}

static void expect_total(void)
{
    assert_ok(hf_mutex_timedlock(&props->more[0], SECONDS(10)));
    assert_ok(hf_mutex_timedlock(&props->more[1], SECONDS(10)));
    assert_int_equal(props->account[0] + props->account[1], TOTAL);
    for (size_t i = 0; i < 64 * KIB; i++) {
        assert_int_equal(pages[i], 0x11);
    }
    assert_ok(hf_mutex_unlock(&props->more[1]));
    assert_ok(hf_mutex_unlock(&props->more[0]));
}

TEST(the_sum_of_two_accounts_is_whole_whoever_is_killed_and_whenever)
{
    enum { MOVERS = 3, KILLS = 150 };
    pid_t pids[MOVERS];
    set_stage_with_pages();
    props->account[0] = TOTAL;
    (void)random_below(2);
    for (unsigned i = 0; i < MOVERS; i++) {
        pids[i] = start_ready(move_for_ever, &i);
    }
    for (unsigned k = 0; k < KILLS; k++) {
        unsigned i = (unsigned)random_below(MOVERS);
        (void)random_below(2); /* each victim draws its own */
        (void)usleep((useconds_t)random_below(3000));
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
        expect_total();
        pids[i] = start_ready(move_for_ever, &i);
    }
    for (unsigned i = 0; i < MOVERS; i++) {
        assert_int_equal(kill_and_reap(pids[i]), -SIGKILL);
    }
    expect_total();
    assert_ok(hf_segment_recover(stage, NULL));
    hf_segment_info info;
    assert_ok(hf_segment_get_info(stage, &info));
    assert_int_equal(info.dead, 0);
    /* Slots for some dozens, a log each for as many as ever were there at once. */
    assert_true(info.used <= SIZE + 2 * MIB);
    clear_stage();
}

TEST(all_dead_at_once_are_undone_by_one_survivor)
{
    enum { MOVERS = 8 };
    set_stage_with_pages();
    props->account[0] = TOTAL;
    for (unsigned round = 0; round < 8; round++) {
        pid_t pids[MOVERS];
        for (unsigned i = 0; i < MOVERS; i++) {
            (void)random_below(2);
            pids[i] = start_ready(move_for_ever, &i);
        }
        (void)usleep((useconds_t)random_below(5000));
        for (unsigned i = 0; i < MOVERS; i++) {
            assert_int_equal(kill(pids[i], SIGKILL), 0);
        }
        for (unsigned i = 0; i < MOVERS; i++) {
            assert_int_equal(wait_child(pids[i]), -SIGKILL);
        }
        expect_total();
    }
    clear_stage();
}
