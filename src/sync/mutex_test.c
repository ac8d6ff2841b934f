/* SPDX-License-Identifier: MIT */
/* The mutex's contract while everybody lives; mutex_death_test.c kills. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "holdfast/heap.h"
#include "segment/handle.h"
#include "segment/lock_layout.h"
#include "support/stage.h"

static const int64_t second = SECONDS(1);

/* ---- one process ------------------------------------------------------------------------- */

TEST(memory_that_is_all_zero_is_a_free_mutex)
{
    set_stage(256 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_ok(hf_mutex_trylock(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_ok(hf_mutex_timedlock(&props->mutex, HF_FOREVER));
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_int_equal(seen_by_another(&props->mutex), 0);
    clear_stage();
}

#define MANY 1100000u

static void *lock_many(void *mutexes)
{
    hf_mutex *mutex = mutexes;
    for (size_t i = 0; i < MANY; i++) {
        assert_ok(hf_mutex_lock(&mutex[i]));
    }
    return NULL;
}

TEST(whoever_ends_with_a_million_locks_leaves_none_of_them_taken)
{
    pthread_t thread;
    void *block;
    set_growing_stage(256 * KIB, 64 * MIB);
    assert_ok(hf_alloc_zeroed(stage, MANY * sizeof(hf_mutex), &block));
    assert_int_equal(pthread_create(&thread, NULL, lock_many, block), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (size_t i = 0; i < MANY; i += i < 10 || i > MANY - 10 ? 1 : 1000) {
        assert_int_equal(hf_mutex_trylock((hf_mutex *)block + i), -EOWNERDEAD);
    }
    clear_stage();
}

TEST(the_static_initialiser_is_a_free_mutex)
{
    static const hf_mutex fresh = HF_MUTEX_INIT;
    set_stage(256 * KIB);
    props->mutex = fresh;
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

TEST(init_makes_a_mutex_of_any_memory)
{
    set_stage(256 * KIB);
    memset(&props->mutex, 0xa5, sizeof props->mutex);
    assert_ok(hf_mutex_init(&props->mutex));
    assert_int_equal(seen_by_another(&props->mutex), 0);
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_int_equal(seen_by_another(&props->mutex), -EBUSY);
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

TEST(a_mutex_that_was_ended_is_refused_until_it_is_made_again)
{
    set_stage(256 * KIB);
    hf_mutex *mutex = &props->mutex;
    assert_ok(hf_mutex_lock(mutex));
    assert_ok(hf_mutex_unlock(mutex));
    assert_ok(hf_mutex_fini(mutex));
    assert_error(hf_mutex_lock(mutex), -EINVAL);
    assert_error(hf_mutex_trylock(mutex), -EINVAL);
    assert_error(hf_mutex_timedlock(mutex, second), -EINVAL);
    assert_error(hf_mutex_unlock(mutex), -EINVAL);
    assert_error(hf_mutex_consistent(mutex), -EINVAL);
    assert_error(hf_mutex_fini(mutex), -EINVAL);
    assert_int_equal(seen_by_another(mutex), -EINVAL);
    assert_ok(hf_mutex_init(mutex));
    assert_ok(hf_mutex_lock(mutex));
    assert_ok(hf_mutex_unlock(mutex));
    clear_stage();
}

static int end_it(void *mutex)
{
    return -hf_mutex_fini(mutex);
}

TEST(a_held_mutex_cannot_be_ended)
{
    set_stage(256 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_error(hf_mutex_fini(&props->mutex), -EBUSY);
    assert_int_equal(run_child(end_it, &props->mutex), EBUSY);
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_ok(hf_mutex_fini(&props->mutex));
    clear_stage();
}

TEST(locking_what_one_has_is_refused_and_changes_nothing)
{
    set_stage(256 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_error(hf_mutex_lock(&props->mutex), -EDEADLK);
    assert_error(hf_mutex_trylock(&props->mutex), -EDEADLK);
    assert_error(hf_mutex_timedlock(&props->mutex, second), -EDEADLK);
    assert_int_equal(seen_by_another(&props->mutex), -EBUSY);
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_int_equal(seen_by_another(&props->mutex), 0);
    clear_stage();
}

static int unlock_it(void *mutex)
{
    return -hf_mutex_unlock(mutex);
}

TEST(what_is_free_or_anothers_cannot_be_unlocked)
{
    set_stage(256 * KIB);
    assert_error(hf_mutex_unlock(&props->mutex), -EPERM);
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_int_equal(run_child(unlock_it, &props->mutex), EPERM);
    assert_int_equal(seen_by_another(&props->mutex), -EBUSY);
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_error(hf_mutex_unlock(&props->mutex), -EPERM);
    clear_stage();
}

static int wait_a_moment(void *mutex)
{
    assert_error(hf_mutex_trylock(mutex), -EBUSY);
    assert_error(hf_mutex_timedlock(mutex, 0), -EBUSY);
    assert_error(hf_mutex_timedlock(mutex, 1), -ETIMEDOUT);
    return 0;
}

TEST(a_held_mutex_is_busy_for_others)
{
    set_stage(256 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_int_equal(run_child(wait_a_moment, &props->mutex), 0);
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_int_equal(seen_by_another(&props->mutex), 0);
    clear_stage();
}

/* What is too much, the least of some times: the machine may be busy. */
static uint64_t overrun_us(uint64_t timeout_us)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 5; i++) {
        uint64_t start = now_us();
        assert_error(hf_mutex_timedlock(&props->mutex, (int64_t)timeout_us * 1000), -ETIMEDOUT);
        uint64_t took = now_us() - start;
        assert_true(took + 1 >= timeout_us);
        least = took - timeout_us < least ? took - timeout_us : least;
    }
    return least;
}

_Noreturn static int hold_it(void *mutex)
{
    assert_ok(hf_mutex_lock(mutex));
    say_ready();
    wait_for_death();
}

TEST(a_free_mutex_is_had_even_when_the_deadline_has_passed)
{
    set_stage(64 * KIB);
    assert_ok(hf_mutex_lock_until(&props->mutex, hf_now_ns() - 1));
    assert_error(hf_mutex_lock_until(&props->mutex, hf_now_ns() + second), -EDEADLK);
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

TEST(a_timed_lock_ends_near_its_time)
{
    set_stage(256 * KIB);
    pid_t holder = start_ready(hold_it, &props->mutex);
    static const uint64_t timeouts_us[] = {1000, 30000, 50000, 120000};
    for (size_t i = 0; i < sizeof timeouts_us / sizeof timeouts_us[0]; i++) {
        assert_true(overrun_us(timeouts_us[i]) < 20000);
    }
    assert_error(hf_mutex_timedlock(&props->mutex, -2), -EINVAL);
    int64_t start = hf_now_ns();
    assert_error(hf_mutex_lock_until(&props->mutex, start + MILLISECONDS(20)), -ETIMEDOUT);
    assert_true(hf_now_ns() - start >= MILLISECONDS(20));
    assert_error(hf_mutex_lock_until(&props->mutex, start - 1), -ETIMEDOUT);
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    clear_stage();
}

/* ---- what is no mutex of ours ------------------------------------------------------------ */

static void expect_refused(hf_mutex *mutex)
{
    assert_error(hf_mutex_init(mutex), -EINVAL);
    assert_error(hf_mutex_fini(mutex), -EINVAL);
    assert_error(hf_mutex_lock(mutex), -EINVAL);
    assert_error(hf_mutex_trylock(mutex), -EINVAL);
    assert_error(hf_mutex_timedlock(mutex, second), -EINVAL);
    assert_error(hf_mutex_unlock(mutex), -EINVAL);
    assert_error(hf_mutex_consistent(mutex), -EINVAL);
}

TEST(null_and_misaligned_are_refused)
{
    set_stage(256 * KIB);
    expect_refused(NULL);
    for (uintptr_t wrong = 1; wrong < 8; wrong++) {
        uintptr_t address = (uintptr_t)&props->mutex + wrong;
        expect_refused((hf_mutex *)address); // NOLINT(performance-no-int-to-ptr)
    }
    clear_stage();
}

TEST(a_mutex_outside_any_segment_is_refused)
{
    hf_mutex outside = HF_MUTEX_INIT;
    expect_refused(&outside); /* before there is a segment */
    set_stage(256 * KIB);
    expect_refused(&outside);
    assert_ok(hf_mutex_lock(&props->mutex)); /* and with one in use */
    expect_refused(&outside);
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
    expect_refused(&outside);
}

TEST(memory_that_looks_like_a_mutex_is_refused_outside_a_segment)
{
    hf_mutex outside = {{0, (uintptr_t)&outside, 0, 0}}; /* "my segment begins at address 0" */
    assert_error(hf_mutex_lock(&outside), -EINVAL);      /* the first call of all */
    expect_refused(&outside);
    set_stage(256 * KIB);
    expect_refused(&outside);
    assert_ok(hf_mutex_lock(&props->mutex));
    outside.opaque[1] = (uintptr_t)&outside - (uintptr_t)hf_segment_base(stage);
    expect_refused(&outside); /* "in that segment", but behind its end or before its start */
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

TEST(a_mutex_that_was_moved_is_refused)
{
    set_stage(256 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    memcpy(&props->more[0], &props->mutex, sizeof props->mutex);
    assert_error(hf_mutex_unlock(&props->more[0]), -EINVAL);
    assert_error(hf_mutex_lock(&props->more[0]), -EINVAL);
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

static int make_named(void *name)
{
    hf_segment *segment;
    void *root;
    assert_ok(hf_segment_create(name, 256 * KIB, NULL, &segment));
    assert_ok(hf_segment_root(segment, sizeof(hf_mutex), &root));
    assert_ok(hf_mutex_lock(root));
    assert_ok(hf_mutex_unlock(root));
    hf_segment_close(segment);
    return 0;
}

TEST(a_mutex_in_a_segment_that_is_only_read_is_not_to_be_had)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    void *root;
    (void)unique_name(name, "mutex");
    assert_int_equal(run_child(make_named, name), 0);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment));
    assert_ok(hf_segment_root(segment, sizeof(hf_mutex), &root));
    assert_error(hf_mutex_init(root), -EACCES);
    assert_error(hf_mutex_fini(root), -EACCES);
    assert_error(hf_mutex_lock(root), -EACCES);
    assert_error(hf_mutex_trylock(root), -EACCES);
    assert_error(hf_mutex_timedlock(root, second), -EACCES);
    assert_error(hf_mutex_unlock(root), -EACCES);
    assert_error(hf_mutex_consistent(root), -EACCES);
    hf_segment_close(segment);
    assert_ok(hf_segment_remove(name));
}

TEST(mutexes_of_several_segments_are_held_side_by_side)
{
    hf_segment *other;
    void *root;
    set_stage(256 * KIB);
    assert_ok(hf_segment_create_anonymous(256 * KIB, NULL, &other));
    assert_ok(hf_segment_root(other, sizeof(hf_mutex), &root));
    for (int i = 0; i < 3; i++) {
        assert_ok(hf_mutex_lock(&props->mutex));
        assert_ok(hf_mutex_lock(root));
        assert_int_equal(seen_by_another(&props->mutex), -EBUSY);
        assert_int_equal(seen_by_another(root), -EBUSY);
        assert_ok(hf_mutex_unlock(&props->mutex));
        assert_ok(hf_mutex_unlock(root));
    }
    hf_segment_close(other);
    clear_stage();
}

/* ---- many at once ------------------------------------------------------------------------ */

static void shuffle(unsigned *order, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        order[i] = i;
    }
    for (unsigned i = count; i > 1; i--) {
        unsigned j = (unsigned)random_below(i);
        unsigned was = order[i - 1];
        order[i - 1] = order[j];
        order[j] = was;
    }
}

/* How many of `more` another can have. */
static int count_free(void *unused)
{
    int count = 0;
    (void)unused;
    for (unsigned i = 0; i < STAGE_MORE; i++) {
        count += hf_mutex_trylock(&props->more[i]) == 0;
    }
    store_release(&props->result, (uint32_t)count);
    return 0; /* what we have is handed on: each was whole */
}

TEST(any_number_is_held_and_unlocked_in_any_order)
{
    unsigned order[STAGE_MORE];
    set_stage(256 * KIB);
    for (int round = 0; round < 20; round++) {
        shuffle(order, STAGE_MORE);
        for (unsigned i = 0; i < STAGE_MORE; i++) {
            assert_ok(hf_mutex_lock(&props->more[order[i]]));
        }
        shuffle(order, STAGE_MORE);
        for (unsigned i = 0; i < STAGE_MORE; i++) {
            assert_ok(hf_mutex_unlock(&props->more[order[i]]));
        }
    }
    for (unsigned i = 0; i < STAGE_MORE; i++) { /* all of them, and not a third of those */
        assert_ok(hf_mutex_lock(&props->more[order[i]]));
    }
    for (unsigned i = 0; i < STAGE_MORE; i += 3) {
        assert_ok(hf_mutex_unlock(&props->more[order[i]]));
    }
    assert_int_equal(run_child(count_free, NULL), 0);
    assert_int_equal(load_acquire(&props->result), (STAGE_MORE + 2) / 3);
    clear_stage();
}

/* ---- exclusion --------------------------------------------------------------------------- */

#define TURNS 20000u

static void take_turns(void)
{
    for (unsigned i = 0; i < TURNS; i++) {
        int error = i % 64 == 0 ? hf_mutex_timedlock(&props->mutex, SECONDS(60))
                                : hf_mutex_lock(&props->mutex);
        assert_ok(error);
        props->counter++;
        assert_ok(hf_mutex_unlock(&props->mutex));
    }
}

static void *take_turns_as_thread(void *unused)
{
    take_turns();
    return unused;
}

static int take_turns_as_process(void *unused)
{
    (void)unused;
    take_turns();
    return 0;
}

TEST(threads_exclude_each_other)
{
    pthread_t threads[4];
    set_stage(256 * KIB);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_turns_as_thread, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(props->counter, 4 * TURNS);
    clear_stage();
}

TEST(processes_exclude_each_other)
{
    pid_t children[4];
    set_stage(256 * KIB);
    for (size_t i = 0; i < 4; i++) {
        children[i] = start_child(take_turns_as_process, NULL);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(wait_child(children[i]), 0);
    }
    assert_int_equal(props->counter, 4 * TURNS);
    assert_int_equal(seen_by_another(&props->mutex), 0);
    clear_stage();
}

static int act_as_child(void *unused)
{
    (void)unused;
    assert_error(hf_mutex_unlock(&props->mutex), -EPERM);
    assert_error(hf_mutex_trylock(&props->mutex), -EBUSY);
    assert_ok(hf_mutex_lock(&props->more[0]));
    assert_ok(hf_mutex_unlock(&props->more[0]));
    return 0;
}

TEST(a_forked_child_does_not_have_what_its_parent_has)
{
    set_stage(256 * KIB);
    assert_ok(hf_mutex_lock(&props->mutex));
    assert_int_equal(run_child(act_as_child, NULL), 0);
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

/* ---- without the system ------------------------------------------------------------------ */

static int lock_without_system(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&props->mutex)); /* takes a slot: that asks the system */
    assert_ok(hf_mutex_unlock(&props->mutex));
    static const long forbidden[] = {SYS_futex, SYS_gettid, SYS_getpid,       SYS_fcntl,
                                     SYS_mmap,  SYS_munmap, SYS_clock_gettime};
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        forbid_syscall(forbidden[i]);
    }
    for (unsigned i = 0; i < 1000; i++) {
        hf_mutex *mutex = &props->more[i % STAGE_MORE];
        bool good = hf_mutex_lock(mutex) == 0 && hf_mutex_lock(&props->mutex) == 0 &&
                    hf_mutex_unlock(mutex) == 0 && hf_mutex_unlock(&props->mutex) == 0 &&
                    hf_mutex_trylock(mutex) == 0 && hf_mutex_unlock(mutex) == 0;
        if (!good) {
            return 1;
        }
    }
    return 0;
}

TEST(a_mutex_that_nobody_wants_costs_no_system_call)
{
    if (UNDER_ASAN || UNDER_TSAN) {
        SKIP("a sanitizer makes system calls of its own");
    }
    set_stage(256 * KIB);
    assert_int_equal(run_child(lock_without_system, NULL), 0);
    clear_stage();
}

/* ---- calls inside calls ------------------------------------------------------------------ */

static volatile sig_atomic_t results[4];
static sigjmp_buf back;

static void call_in(int number)
{
    (void)number;
    results[0] = hf_mutex_trylock(&props->more[0]);
    results[1] = hf_mutex_unlock(&props->more[1]);
    results[2] = hf_mutex_lock(&props->mutex);
    results[3]++;
}

static void jump_out(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

static void signal_in_ms(void (*handler)(int), int ms)
{
    struct sigaction action = {.sa_handler = handler};
    struct itimerval once = {.it_value = {.tv_usec = ms * 1000}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &once, NULL), 0);
}

TEST(a_signal_handler_that_calls_in_is_refused_and_changes_nothing)
{
    set_stage(256 * KIB);
    pid_t holder = start_ready(hold_it, &props->mutex);
    assert_ok(hf_mutex_lock(&props->more[1]));
    signal_in_ms(call_in, 20);
    assert_error(hf_mutex_timedlock(&props->mutex, MILLISECONDS(300)), -ETIMEDOUT);
    assert_int_equal(results[3], 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(results[i], -EDEADLK);
    }
    assert_int_equal(seen_by_another(&props->more[0]), 0);
    assert_int_equal(seen_by_another(&props->more[1]), -EBUSY);
    assert_ok(hf_mutex_unlock(&props->more[1]));
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    clear_stage();
}

TEST(a_thread_that_jumped_out_of_a_lock_goes_on_once_it_has_said_so)
{
    set_stage(256 * KIB);
    pid_t holder = start_ready(hold_it, &props->mutex);
    assert_ok(hf_mutex_lock(&props->more[1]));
    if (sigsetjmp(back, 1) == 0) {
        signal_in_ms(jump_out, 20);
        (void)hf_mutex_lock(&props->mutex);
        fail_msg("a mutex that another has was locked");
    }
    assert_error(hf_mutex_trylock(&props->more[0]), -EDEADLK);
    assert_ok(hf_thread_recover(stage));
    assert_ok(hf_mutex_lock(&props->more[0]));
    assert_ok(hf_mutex_unlock(&props->more[0]));
    assert_ok(hf_mutex_unlock(&props->more[1])); /* it still had that */
    assert_error(hf_mutex_timedlock(&props->mutex, 1), -ETIMEDOUT);
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    assert_error(hf_mutex_lock(&props->mutex), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(&props->mutex));
    assert_ok(hf_mutex_unlock(&props->mutex));
    clear_stage();
}

/* ---- damage ------------------------------------------------------------------------------ */

static struct lock *bytes_of(hf_mutex *mutex)
{
    return (struct lock *)(void *)mutex;
}

static int lock_the_damaged(void *unused)
{
    (void)unused;
    assert_error(hf_mutex_lock(&props->mutex), -EBADMSG);
    assert_error(hf_mutex_timedlock(&props->mutex, SECONDS(30)), -EBADMSG);
    assert_error(hf_mutex_unlock(&props->mutex), -EPERM);
    return 0;
}

TEST(a_mutex_whose_owner_cannot_exist_is_damaged)
{
    static const uint32_t words[] = {
        4095, 4000, 5, 3, LOCK_WAITERS | 4095, LOCK_WAITERS | 3, LOCK_OWNER_DIED | 4095};
    set_stage(256 * KIB);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        store_relaxed(&bytes_of(&props->mutex)->word, words[i]);
        pid_t child = start_child(lock_the_damaged, NULL);
        int end = wait_child_for(child, 10000);
        if (end == CHILD_RUNS) {
            (void)kill_and_reap(child);
        }
        assert_int_equal(end, 0);
        assert_int_equal(load_relaxed(&bytes_of(&props->mutex)->word) & LOCK_OWNER,
                         words[i] & LOCK_OWNER);
    }
    assert_ok(hf_mutex_init(&props->mutex));
    assert_int_equal(seen_by_another(&props->mutex), 0);
    clear_stage();
}

TEST(trying_a_mutex_whose_owner_cannot_exist_says_so_too)
{
    set_stage(256 * KIB);
    store_relaxed(&bytes_of(&props->mutex)->word, 4095);
    assert_error(hf_mutex_trylock(&props->mutex), -EBADMSG);
    clear_stage();
}

/* Its slot is held by who is gone, and its own life word and number say that it lives. */
TEST(a_mutex_whose_owner_is_dead_and_lives_is_damaged)
{
    set_stage(256 * KIB);
    struct slot *slot = view_slot(stage->view, 4);
    store_relaxed(&slot->claim, claim_word(3, 9, 0, CLAIM_UNRECOVERED));
    store_relaxed(&slot->life_kind, LIFE_ROBUST);
    store_relaxed(view_life(stage->view, 4), 1);
    store_relaxed(&bytes_of(&props->mutex)->word, 4);
    pid_t child = start_child(lock_the_damaged, NULL);
    int end = wait_child_for(child, 10000);
    if (end == CHILD_RUNS) {
        (void)kill_and_reap(child);
    }
    assert_int_equal(end, 0);
    store_relaxed(&slot->claim, 0);
    clear_stage();
}

static int use_random_bytes(void *unused)
{
    (void)unused;
    struct lock *lock = bytes_of(&props->more[0]);
    uint64_t place = hf_segment_offset(stage, lock).value;
    for (unsigned i = 0; i < 3000; i++) {
        assert_ok(hf_mutex_init(&props->more[0]));
        store_relaxed(&lock->word, (uint32_t)random_below(UINT64_C(1) << 32));
        store_relaxed(&lock->kind, (uint32_t)random_below(8) == 0);
        store_relaxed(&lock->self, random_below(8) == 0 ? random_below(MIB) : place);
        store_relaxed(&lock->next, random_below(2) == 0 ? random_below(MIB) : place);
        int error = hf_mutex_timedlock(&props->more[0], 1);
        if (error == 0 || error == -EOWNERDEAD) {
            assert_ok(hf_mutex_unlock(&props->more[0]));
        }
    }
    return 0;
}

TEST(a_mutex_of_random_bytes_neither_crashes_nor_hangs)
{
    set_stage(256 * KIB);
    (void)random_below(2);
    pid_t child = start_child(use_random_bytes, NULL);
    assert_int_equal(wait_child_for(child, 15000), 0);
    clear_stage();
}

/* Has two mutexes whose list, which lies in shared memory, was bent to a ring. */
static int end_with_a_ring(void *in_transaction)
{
    bool *transaction = in_transaction;
    struct lock *first = bytes_of(&props->more[0]);
    struct lock *second_lock = bytes_of(&props->more[1]);
    assert_ok(hf_mutex_lock(&props->more[0]));
    assert_ok(hf_mutex_lock(&props->more[1]));
    if (*transaction) {
        assert_ok(hf_tx_begin(stage));
    }
    uint64_t flag = *transaction ? LOCK_UNLOCK_LATER : 0;
    store_relaxed(&first->next, hf_segment_offset(stage, second_lock).value | flag);
    store_relaxed(&second_lock->next, hf_segment_offset(stage, first).value | flag);
    if (*transaction) {
        (void)hf_tx_commit(stage);
    } else {
        (void)hf_mutex_unlock(&props->more[0]);
        (void)hf_mutex_unlock(&props->more[1]);
    }
    assert_ok(hf_thread_leave(stage));
    return 0;
}

static void expect_an_end(bool transaction)
{
    pid_t child = start_child(end_with_a_ring, &transaction);
    int end = wait_child_for(child, 10000);
    if (end == CHILD_RUNS) {
        (void)kill_and_reap(child);
    }
    assert_int_equal(end, 0);
}

TEST(held_mutexes_that_form_a_ring_hang_no_unlock)
{
    set_stage(256 * KIB);
    expect_an_end(false);
    clear_stage();
}

TEST(held_mutexes_that_form_a_ring_hang_no_commit)
{
    set_stage(256 * KIB);
    expect_an_end(true);
    clear_stage();
}
