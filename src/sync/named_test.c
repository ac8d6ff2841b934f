/* SPDX-License-Identifier: MIT */
/* Named locks: found by others, whole or not there, and as good at a death as any. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holdfast/named.h"
#include "holdfast/segment.h"
#include "support/support.h"

static char name[UNIQUE_NAME_SIZE];
static char second_name[UNIQUE_NAME_SIZE];

static hf_mutex *new_mutex(void)
{
    hf_mutex *mutex = NULL;
    assert_ok(hf_mutex_create(unique_name(name, "named"), NULL, &mutex));
    assert_non_null(mutex);
    return mutex;
}

static void expect_no_name(void)
{
    hf_mutex *mutex = NULL;
    assert_error(hf_mutex_open(name, &mutex), -ENOENT);
    assert_null(mutex);
}

/* ---- one process ------------------------------------------------------------------------- */

TEST(it_is_made_found_used_and_removed)
{
    hf_mutex *mutex = new_mutex();
    assert_ok(hf_mutex_lock(mutex));
    assert_ok(hf_mutex_unlock(mutex));
    assert_ok(hf_mutex_remove(name));
    expect_no_name();
    assert_error(hf_mutex_remove(name), -ENOENT);
    assert_ok(hf_mutex_trylock(mutex)); /* who has it keeps it */
    assert_ok(hf_mutex_unlock(mutex));
    assert_ok(hf_mutex_close(mutex));
}

TEST(opened_twice_it_is_the_same_and_is_closed_twice)
{
    hf_mutex *mutex = new_mutex();
    hf_mutex *again = NULL;
    assert_ok(hf_mutex_open(name, &again));
    assert_ptr_equal(again, mutex);
    assert_ok(hf_mutex_lock(mutex));
    assert_ok(hf_mutex_close(mutex));
    assert_error(hf_mutex_trylock(again), -EDEADLK); /* it is there, and ours */
    assert_ok(hf_mutex_unlock(again));
    assert_ok(hf_mutex_close(again));
    assert_error(hf_mutex_close(again), -EINVAL);
}

TEST(closing_what_is_not_named_is_an_error)
{
    hf_mutex local = HF_MUTEX_INIT;
    assert_error(hf_mutex_close(&local), -EINVAL);
    assert_error(hf_mutex_close(NULL), -EINVAL);
}

TEST(a_name_that_is_taken_is_not_made_again)
{
    hf_mutex *mutex = new_mutex();
    hf_mutex *other = NULL;
    assert_error(hf_mutex_create(name, NULL, &other), -EEXIST);
    assert_null(other);
    bool created = true;
    assert_ok(hf_mutex_open_or_create(name, NULL, &created, &other));
    assert_false(created);
    assert_ptr_equal(other, mutex);
    assert_ok(hf_mutex_close(mutex));
    assert_ok(hf_mutex_close(other));
    assert_ok(hf_mutex_remove(name));
    assert_ok(hf_mutex_open_or_create(name, NULL, &created, &other));
    assert_true(created);
    assert_ok(hf_mutex_close(other));
}

static int wait_for_a_word(void *unused)
{
    hf_recursive_mutex *mutex = NULL;
    hf_condition *condition = NULL;
    (void)unused;
    assert_ok(hf_recursive_mutex_open(name, &mutex));
    assert_ok(hf_condition_open(second_name, &condition));
    assert_ok(hf_recursive_mutex_lock(mutex));
    assert_ok(hf_condition_timedwait(condition, hf_lockable_of(mutex), SECONDS(60)));
    assert_ok(hf_recursive_mutex_unlock(mutex));
    return 0;
}

TEST(a_recursive_mutex_and_a_condition_are_found_by_their_names)
{
    hf_recursive_mutex *mutex = NULL;
    hf_condition *condition = NULL;
    hf_sync_options counted = {.count = 1};
    (void)unique_name(name, "named");
    (void)unique_name(second_name, "named");
    assert_error(hf_condition_create(second_name, &counted, &condition), -EINVAL);
    assert_ok(hf_recursive_mutex_create(name, NULL, &mutex));
    assert_ok(hf_condition_create(second_name, NULL, &condition));
    assert_error(hf_condition_open(name, &condition), -EBADMSG); /* it is another kind */
    assert_ok(hf_condition_open(second_name, &condition));
    pid_t waiter = start_child(wait_for_a_word, NULL);
    int end = CHILD_RUNS;
    while (end == CHILD_RUNS) {
        assert_ok(hf_recursive_mutex_lock(mutex));
        assert_ok(hf_condition_notify_one(condition));
        assert_ok(hf_recursive_mutex_unlock(mutex));
        end = wait_child_for(waiter, 5);
    }
    assert_int_equal(end, 0);
    assert_ok(hf_recursive_mutex_close(mutex));
    assert_ok(hf_condition_close(condition));
    assert_ok(hf_condition_close(condition));
    assert_ok(hf_recursive_mutex_remove(name));
    assert_ok(hf_condition_remove(second_name));
}

TEST(what_is_left_open_as_the_last_handle_closes_is_handed_on)
{
    hf_mutex *mutex = new_mutex();
    assert_ok(hf_mutex_lock(mutex));
    assert_ok(hf_mutex_close(mutex));
    assert_ok(hf_mutex_open(name, &mutex));
    assert_error(hf_mutex_lock(mutex), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(mutex));
    assert_ok(hf_mutex_unlock(mutex));
    assert_ok(hf_mutex_close(mutex));
}

TEST(wrong_arguments_are_errors_and_make_nothing)
{
    void *object = NULL;
    hf_mutex *mutex = NULL;
    hf_sync_options counted = {.count = 1};
    hf_sync_options undone = {.undo = true};
    hf_sync_options mode = {.mode = 01000};
    (void)unique_name(name, "named");
    assert_error(hf_mutex_create(name, &counted, &mutex), -EINVAL);
    assert_error(hf_mutex_create(name, &undone, &mutex), -EINVAL);
    assert_error(hf_mutex_create(name, &mode, &mutex), -EINVAL);
    assert_error(hf_mutex_create(name, NULL, NULL), -EINVAL);
    assert_error(hf_mutex_open_or_create(name, NULL, NULL, NULL), -EINVAL);
    assert_error(hf_mutex_open(name, NULL), -EINVAL);
    assert_error(hf_named_create((hf_named_kind)0, name, NULL, &object), -EINVAL);
    assert_error(hf_named_create((hf_named_kind)99, name, NULL, &object), -EINVAL);
    assert_error(hf_named_open((hf_named_kind)99, name, &object), -EINVAL);
    assert_error(hf_mutex_create("a/b", NULL, &mutex), -EINVAL);
    assert_error(hf_mutex_create(NULL, NULL, &mutex), -EINVAL);
    assert_null(mutex);
    expect_no_name();
}

TEST(its_mode_is_the_one_asked_for)
{
    hf_mutex *mutex;
    struct stat st;
    hf_sync_options options = {.mode = 0660};
    char path[UNIQUE_NAME_SIZE + 16];
    (void)umask(077);
    assert_ok(hf_mutex_create(unique_name(name, "named"), &options, &mutex));
    (void)snprintf(path, sizeof path, "/dev/shm/%s", name);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    assert_ok(hf_mutex_close(mutex));
}

/* ---- what is something else --------------------------------------------------------------- */

TEST(a_segment_of_somebody_elses_is_no_lock_and_is_left_alone)
{
    hf_segment *segment;
    hf_mutex *mutex = NULL;
    void *root = NULL;
    assert_ok(hf_segment_create(unique_name(name, "named"), 65536, NULL, &segment));
    hf_segment_info before;
    hf_segment_info after;
    assert_ok(hf_segment_get_info(segment, &before));
    assert_error(hf_mutex_open(name, &mutex), -EBADMSG);
    assert_error(hf_mutex_remove(name), -EBADMSG);
    assert_ok(hf_segment_get_info(segment, &after));
    assert_int_equal(after.used, before.used); /* no root has been made in it */

    assert_ok(hf_segment_root(segment, 4096, &root));
    assert_error(hf_mutex_open(name, &mutex), -EBADMSG);
    assert_error(hf_mutex_open_or_create(name, NULL, NULL, &mutex), -EBADMSG);
    ((uint32_t *)root)[1] = HF_NAMED_MUTEX; /* by chance */
    assert_error(hf_mutex_open(name, &mutex), -EBADMSG);
    assert_null(mutex);
    hf_segment_close(segment);
}

TEST(a_lock_of_another_kind_is_refused)
{
    hf_mutex *mutex = new_mutex();
    hf_rwlock *lock = NULL;
    assert_error(hf_rwlock_open(name, &lock), -EBADMSG);
    assert_null(lock);
    /* its tag, as src/sync/named_layout.h has it */
    uint32_t *kind = (uint32_t *)(void *)((char *)mutex - 60);
    assert_int_equal(*kind, HF_NAMED_MUTEX);
    *kind = HF_NAMED_EVENT;
    hf_mutex *again = NULL;
    assert_error(hf_mutex_open(name, &again), -EBADMSG);
    assert_error(hf_mutex_open_or_create(name, NULL, NULL, &again), -EBADMSG);
    assert_null(again);
    *kind = HF_NAMED_MUTEX;
    assert_ok(hf_mutex_close(mutex));
}

/* ---- several ------------------------------------------------------------------------------ */

static int lock_and_die(void *unused)
{
    hf_mutex *mutex;
    (void)unused;
    assert_ok(hf_mutex_open(name, &mutex));
    assert_ok(hf_mutex_lock(mutex));
    (void)raise(SIGKILL);
    return 1;
}

TEST(an_owner_that_is_killed_hands_it_to_who_finds_it_by_its_name)
{
    hf_mutex *mutex = new_mutex();
    assert_int_equal(run_child(lock_and_die, NULL), -SIGKILL);
    assert_error(hf_mutex_timedlock(mutex, SECONDS(10)), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(mutex));
    assert_ok(hf_mutex_unlock(mutex));
    assert_ok(hf_mutex_close(mutex));
}

static int use_what_is_inherited(void *mutex)
{
    assert_ok(hf_mutex_lock(mutex));
    assert_ok(hf_mutex_unlock(mutex));
    assert_ok(hf_mutex_close(mutex));
    assert_error(hf_mutex_close(mutex), -EINVAL);
    return 0;
}

TEST(a_reader_writer_lock_has_a_name_as_well)
{
    hf_rwlock *lock;
    assert_ok(hf_rwlock_create(unique_name(name, "named"), NULL, &lock));
    assert_ok(hf_rwlock_rdlock(lock));
    assert_ok(hf_rwlock_rdunlock(lock));
    assert_ok(hf_rwlock_wrlock(lock));
    assert_ok(hf_rwlock_wrunlock(lock));
    assert_ok(hf_rwlock_close(lock));
    assert_ok(hf_rwlock_remove(name));
}

TEST(a_child_closes_what_it_inherits_by_itself)
{
    hf_mutex *mutex = new_mutex();
    assert_int_equal(run_child(use_what_is_inherited, mutex), 0);
    assert_ok(hf_mutex_lock(mutex));
    assert_ok(hf_mutex_unlock(mutex));
    assert_ok(hf_mutex_close(mutex));
}

#define THREADS 40u
static uint64_t counted;
static pthread_barrier_t all_there;

static void *count_under(void *mutex)
{
    for (int i = 0; i < 100; i++) {
        assert_ok(hf_mutex_lock(mutex));
        counted++;
        assert_ok(hf_mutex_unlock(mutex));
    }
    (void)pthread_barrier_wait(&all_there); /* each with a slot of its own */
    return NULL;
}

TEST(it_grows_with_the_threads_that_use_it)
{
    hf_mutex *mutex = new_mutex();
    pthread_t threads[THREADS];
    assert_int_equal(pthread_barrier_init(&all_there, NULL, THREADS), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count_under, mutex), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_int_equal(counted, THREADS * 100);
    assert_ok(hf_mutex_close(mutex));
}

static void *open_and_close(void *unused)
{
    (void)unused;
    for (int i = 0; i < 200; i++) {
        hf_mutex *mutex;
        assert_ok(hf_mutex_open(name, &mutex));
        assert_ok(hf_mutex_lock(mutex));
        assert_ok(hf_mutex_unlock(mutex));
        assert_ok(hf_mutex_close(mutex));
    }
    return NULL;
}

TEST(threads_open_and_close_it_beside_each_other)
{
    hf_mutex *mutex = new_mutex();
    pthread_t threads[4];
    assert_ok(hf_mutex_close(mutex));
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_error(hf_mutex_close(mutex), -EINVAL); /* nothing is left open */
}

static int open_or_create(void *unused)
{
    hf_mutex *mutex;
    bool created = false;
    (void)unused;
    assert_ok(hf_mutex_open_or_create(name, NULL, &created, &mutex));
    assert_ok(hf_mutex_lock(mutex));
    assert_ok(hf_mutex_unlock(mutex));
    return created ? 1 : 0;
}

TEST(of_many_who_open_or_create_exactly_one_creates)
{
    for (int round = 0; round < 10; round++) {
        pid_t children[4];
        int creators = 0;
        (void)unique_name(name, "named");
        for (unsigned i = 0; i < 4; i++) {
            children[i] = start_child(open_or_create, NULL);
        }
        for (unsigned i = 0; i < 4; i++) {
            int status = wait_child(children[i]);
            assert_in_range(status, 0, 1);
            creators += status;
        }
        assert_int_equal(creators, 1);
        assert_ok(hf_mutex_remove(name));
    }
}

static int create_for_ever(void *unused)
{
    hf_mutex *mutex;
    (void)unused;
    while (hf_mutex_create(name, NULL, &mutex) == 0) {
        assert_ok(hf_mutex_close(mutex));
        assert_ok(hf_mutex_remove(name));
    }
    return 1;
}

TEST(a_creator_killed_at_any_moment_leaves_a_whole_one_or_nothing)
{
    unsigned left = 0;
    for (int round = 0; round < 100; round++) {
        (void)unique_name(name, "named");
        pid_t child = start_child(create_for_ever, NULL);
        (void)usleep((useconds_t)random_below(5000));
        assert_int_equal(kill_and_reap(child), -SIGKILL);
        hf_mutex *mutex;
        int error = hf_mutex_open(name, &mutex);
        if (error != -ENOENT) {
            assert_ok(error);
            assert_ok(hf_mutex_trylock(mutex));
            assert_ok(hf_mutex_unlock(mutex));
            assert_ok(hf_mutex_close(mutex));
            assert_ok(hf_mutex_remove(name));
            left++;
        }
    }
    printf("%u of 100 creators left a whole one\n", left);
}

/* ---- what is no lock --------------------------------------------------------------------- */

static int set_named_event(void *unused)
{
    hf_event *event = NULL;
    (void)unused;
    assert_ok(hf_event_open(name, &event));
    assert_ok(hf_event_set(event));
    return -hf_event_close(event);
}

TEST(a_named_event_is_set_by_another)
{
    hf_event *event = NULL;
    hf_latch *other = NULL;
    hf_sync_options with_count = {.count = 1};
    (void)unique_name(name, "named");
    assert_error(hf_event_create(name, &with_count, &event), -EINVAL);
    assert_ok(hf_event_create(name, NULL, &event));
    assert_error(hf_latch_open(name, &other), -EBADMSG);
    assert_int_equal(run_child(set_named_event, NULL), 0);
    assert_ok(hf_event_timedwait(event, SECONDS(10)));
    assert_ok(hf_event_remove(name));
    assert_ok(hf_event_close(event));
}

static int count_named_latch(void *unused)
{
    hf_latch *latch = NULL;
    (void)unused;
    assert_ok(hf_latch_open(name, &latch));
    assert_ok(hf_latch_count_down(latch, 3));
    return -hf_latch_close(latch);
}

TEST(a_named_latch_begins_with_its_count)
{
    hf_latch *latch = NULL;
    uint32_t left = 0;
    hf_sync_options options = {.count = 3};
    hf_sync_options undone = {.undo = true};
    (void)unique_name(name, "named");
    assert_error(hf_latch_create(name, &undone, &latch), -EINVAL);
    assert_ok(hf_latch_create(name, &options, &latch));
    assert_ok(hf_latch_value(latch, &left));
    assert_int_equal(left, 3);
    assert_int_equal(run_child(count_named_latch, NULL), 0);
    assert_ok(hf_latch_timedwait(latch, SECONDS(10)));
    assert_ok(hf_latch_remove(name));
    assert_ok(hf_latch_close(latch));
}

static int note_it(void *count)
{
    ++*(int *)count;
    return 0;
}

static int call_named_once(void *unused)
{
    hf_once *once = NULL;
    int count = 0;
    (void)unused;
    assert_ok(hf_once_open(name, &once));
    assert_ok(hf_once_call(once, note_it, &count));
    assert_ok(hf_once_close(once));
    return count;
}

TEST(a_named_once_is_done_by_one)
{
    hf_once *once = NULL;
    int count = 0;
    (void)unique_name(name, "named");
    assert_ok(hf_once_create(name, NULL, &once));
    assert_int_equal(run_child(call_named_once, NULL), 1);
    assert_int_equal(run_child(call_named_once, NULL), 0);
    assert_ok(hf_once_call(once, note_it, &count));
    assert_int_equal(count, 0);
    assert_ok(hf_once_remove(name));
    assert_ok(hf_once_close(once));
}

static int meet_at_named_barrier(void *unused)
{
    hf_barrier *barrier = NULL;
    (void)unused;
    assert_ok(hf_barrier_open(name, &barrier));
    int result = hf_barrier_timedwait(barrier, SECONDS(30));
    assert_ok(hf_barrier_leave(barrier));
    return result < 0 ? -result : result;
}

TEST(a_named_barrier_is_for_as_many_as_was_said)
{
    hf_barrier *barrier = NULL;
    hf_sync_options options = {.count = 2};
    (void)unique_name(name, "named");
    assert_error(hf_barrier_create(name, NULL, &barrier), -EINVAL);
    assert_ok(hf_barrier_create(name, &options, &barrier));
    pid_t child = start_child(meet_at_named_barrier, NULL);
    int result = hf_barrier_timedwait(barrier, SECONDS(30));
    assert_true(result >= 0);
    assert_int_equal(wait_child(child), 1 - result);
    assert_int_equal(hf_barrier_wait(barrier), 1); /* the other has left */
    assert_ok(hf_barrier_remove(name));
    assert_ok(hf_barrier_close(barrier));
}
