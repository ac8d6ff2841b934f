/* SPDX-License-Identifier: MIT */
/* File locks: between processes, threads and handles, and what a death or a fork does to them. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "holdfast/file_lock.h"
#include "support/support.h"

static char path[512];

/* What children tell: shared with them. */
static _Atomic uint32_t *told;

static void set_scene(void)
{
    (void)snprintf(path, sizeof path, "%s", path_in(temporary_directory(), "file"));
    write_whole_file(path, "bytes", 5);
    told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(told, MAP_FAILED);
}

static hf_file_lock *opened(void)
{
    hf_file_lock *lock = NULL;
    assert_ok(hf_file_lock_open(path, &lock));
    return lock;
}

static void tell(uint32_t step)
{
    store_release(told, step);
}

static void wait_for_step(uint32_t step)
{
    for (int64_t end = now_ms() + 20000; load_acquire(told) < step;) {
        assert_true(now_ms() < end);
        sleep_ms(1);
    }
}

/* ---- one process ------------------------------------------------------------------------- */

TEST(it_is_held_once_by_a_thread_and_by_nobody_else)
{
    set_scene();
    hf_file_lock *lock = opened();
    hf_file_lock *other = opened();
    assert_ok(hf_file_lock_lock(lock));
    assert_error(hf_file_lock_lock(lock), -EDEADLK);
    assert_error(hf_file_lock_trylock_shared(lock), -EDEADLK);
    assert_error(hf_file_lock_trylock(other), -EBUSY);
    assert_error(hf_file_lock_trylock_shared(other), -EBUSY);
    assert_error(hf_file_lock_timedlock(other, MILLISECONDS(30)), -ETIMEDOUT);
    assert_error(hf_file_lock_timedlock(other, 0), -EBUSY);
    assert_error(hf_file_lock_unlock(other), -EPERM);
    assert_ok(hf_file_lock_unlock(lock));
    assert_error(hf_file_lock_unlock(lock), -EPERM);
    assert_ok(hf_file_lock_timedlock(other, SECONDS(1)));
    assert_ok(hf_file_lock_unlock(other));
    hf_file_lock_close(lock);
    hf_file_lock_close(other);
}

TEST(it_is_shared_by_many_and_keeps_a_writer_out)
{
    set_scene();
    hf_file_lock *lock = opened();
    hf_file_lock *other = opened();
    assert_ok(hf_file_lock_lock_shared(lock));
    assert_error(hf_file_lock_lock_shared(lock), -EDEADLK);
    assert_ok(hf_file_lock_trylock_shared(other));
    assert_ok(hf_file_lock_unlock(lock));
    assert_error(hf_file_lock_trylock(lock), -EBUSY);
    assert_ok(hf_file_lock_unlock(other));
    assert_ok(hf_file_lock_trylock(lock));
    hf_file_lock_close(lock); /* which lets go of it */
    assert_ok(hf_file_lock_trylock(other));
    hf_file_lock_close(other);
}

TEST(wrong_arguments_are_errors)
{
    set_scene();
    hf_file_lock *lock = NULL;
    assert_error(hf_file_lock_open(NULL, &lock), -EINVAL);
    assert_error(hf_file_lock_open(path, NULL), -EINVAL);
    assert_error(hf_file_lock_open("/nonexistent/file", &lock), -ENOENT);
    assert_error(hf_file_lock_open(temporary_directory(), &lock), -EBADMSG);
    assert_error(hf_file_lock_open("/dev/null", &lock), -EBADMSG);
    assert_null(lock);
    assert_error(hf_file_lock_lock(NULL), -EINVAL);
    assert_error(hf_file_lock_unlock(NULL), -EINVAL);
    lock = opened();
    assert_error(hf_file_lock_timedlock(lock, -2), -EINVAL);
    hf_file_lock_close(lock);
    hf_file_lock_close(NULL);
}

TEST(the_files_bytes_and_its_size_are_left_alone)
{
    set_scene();
    hf_file_lock *lock = opened();
    assert_ok(hf_file_lock_lock(lock));
    size_t size;
    char *text = read_whole_file(path, &size);
    assert_int_equal(size, 5);
    assert_string_equal(text, "bytes");
    free(text);
    hf_file_lock_close(lock);
}

static int lock_what_may_only_be_read(void *unused)
{
    (void)unused;
    drop_privileges();
    hf_file_lock *lock = opened();
    assert_error(hf_file_lock_lock(lock), -EACCES);
    assert_ok(hf_file_lock_lock_shared(lock));
    assert_ok(hf_file_lock_unlock(lock));
    hf_file_lock_close(lock);
    return 0;
}

TEST(a_file_that_may_only_be_read_is_locked_shared)
{
    set_scene();
    assert_int_equal(chmod(path, 0444), 0);
    char directory[512];
    (void)snprintf(directory, sizeof directory, "%s", path);
    *strrchr(directory, '/') = 0;
    assert_int_equal(chmod(directory, 0755), 0);
    assert_int_equal(run_child(lock_what_may_only_be_read, NULL), 0);
}

TEST(it_excludes_posix_locks_of_others)
{
    set_scene();
    hf_file_lock *lock = opened();
    assert_ok(hf_file_lock_lock(lock));
    struct flock part = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1000, .l_len = 1};
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETLK, &part), -1);
    assert_ok(hf_file_lock_unlock(lock));
    assert_int_equal(fcntl(fd, F_SETLK, &part), 0);
    assert_error(hf_file_lock_trylock_shared(lock), -EBUSY);
    (void)close(fd);
    hf_file_lock_close(lock);
}

/* ---- threads ------------------------------------------------------------------------------ */

#define THREADS 4u
#define TURNS   50u
static hf_file_lock *common;
static _Atomic uint32_t inside;
static uint64_t turns;

static void *take_turns(void *separate)
{
    hf_file_lock *lock = separate != NULL ? opened() : common;
    for (unsigned i = 0; i < TURNS; i++) {
        assert_ok(hf_file_lock_lock(lock));
        assert_int_equal(fetch_add_relaxed(&inside, 1), 0);
        turns++;
        assert_int_equal(fetch_add_relaxed(&inside, UINT32_MAX), 1);
        assert_ok(hf_file_lock_unlock(lock));
    }
    if (separate != NULL) {
        hf_file_lock_close(lock);
    }
    return NULL;
}

static void run_threads(void *separate)
{
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_turns, separate), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_int_equal(turns, THREADS * TURNS);
}

TEST(threads_of_one_handle_exclude_each_other)
{
    set_scene();
    common = opened();
    run_threads(NULL);
    hf_file_lock_close(common);
}

TEST(threads_of_handles_of_their_own_exclude_each_other)
{
    set_scene();
    run_threads(&common);
}

static void *share_beside(void *unused)
{
    (void)unused;
    assert_error(hf_file_lock_unlock(common), -EPERM);
    assert_error(hf_file_lock_trylock(common), -EBUSY);
    assert_ok(hf_file_lock_lock_shared(common));
    return NULL; /* still holding */
}

TEST(threads_share_one_handle_and_the_last_lets_go)
{
    set_scene();
    common = opened();
    hf_file_lock *other = opened();
    pthread_t thread;
    assert_ok(hf_file_lock_lock_shared(common));
    assert_int_equal(pthread_create(&thread, NULL, share_beside, NULL), 0);
    (void)pthread_join(thread, NULL);
    assert_ok(hf_file_lock_unlock(common));
    assert_error(hf_file_lock_trylock(other), -EBUSY); /* the thread has ended holding */
    hf_file_lock_close(common);
    assert_ok(hf_file_lock_trylock(other));
    hf_file_lock_close(other);
}

/* ---- processes ---------------------------------------------------------------------------- */

static int hold(void *exclusive)
{
    hf_file_lock *lock = opened();
    assert_ok(exclusive ? hf_file_lock_lock(lock) : hf_file_lock_lock_shared(lock));
    tell(1);
    for (;;) {
        (void)pause();
    }
    return 0;
}

static void kill_a_holder(void *exclusive)
{
    set_scene();
    hf_file_lock *lock = opened();
    pid_t holder = start_child(hold, exclusive);
    wait_for_step(1);
    assert_error(hf_file_lock_timedlock(lock, MILLISECONDS(50)), -ETIMEDOUT);
    assert_error(hf_file_lock_trylock_shared(lock), exclusive != NULL ? -EBUSY : 0);
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    if (exclusive == NULL) {
        assert_ok(hf_file_lock_unlock(lock));
    }
    assert_ok(hf_file_lock_trylock(lock));
    hf_file_lock_close(lock);
}

TEST(a_holder_that_is_killed_lets_go_of_it)
{
    kill_a_holder(path);
}

TEST(a_sharer_that_is_killed_lets_go_of_it)
{
    kill_a_holder(NULL);
}

static int do_nothing(void *unused)
{
    (void)unused;
    tell(2);
    for (;;) {
        (void)pause();
    }
    return 0;
}

static _Atomic uint32_t *grandchild;

static int hold_with_a_child(void *unused)
{
    (void)unused;
    hf_file_lock *lock = opened();
    assert_ok(hf_file_lock_lock(lock));
    store_release(grandchild, (uint32_t)start_child(do_nothing, NULL));
    for (;;) {
        (void)pause();
    }
    return 0;
}

TEST(a_child_that_never_calls_does_not_keep_what_its_dead_parent_held)
{
    set_scene();
    grandchild = told + 1;
    hf_file_lock *lock = opened();
    pid_t holder = start_child(hold_with_a_child, NULL);
    wait_for_step(2);
    assert_error(hf_file_lock_trylock(lock), -EBUSY);
    assert_int_equal(kill_and_reap(holder), -SIGKILL);
    pid_t orphan = (pid_t)load_acquire(grandchild);
    assert_int_equal(kill(orphan, 0), 0); /* it lives */
    assert_ok(hf_file_lock_trylock(lock));
    (void)kill(orphan, SIGKILL);
    hf_file_lock_close(lock);
}

static int use_what_is_inherited(void *lock)
{
    assert_error(hf_file_lock_unlock(lock), -EPERM);
    assert_error(hf_file_lock_trylock(lock), -EBUSY); /* the parent's */
    tell(1);
    assert_ok(hf_file_lock_lock(lock));
    assert_ok(hf_file_lock_unlock(lock));
    hf_file_lock_close(lock);
    return 0;
}

TEST(a_forked_child_holds_nothing_and_has_a_handle_of_its_own)
{
    set_scene();
    hf_file_lock *lock = opened();
    assert_ok(hf_file_lock_lock(lock));
    pid_t child = start_child(use_what_is_inherited, lock);
    wait_for_step(1);
    assert_ok(hf_file_lock_unlock(lock));
    assert_int_equal(wait_child(child), 0);
    assert_ok(hf_file_lock_trylock(lock));
    hf_file_lock_close(lock);
}

static void *lock_for_ever(void *stop)
{
    while (load_relaxed((_Atomic uint32_t *)stop) == 0) {
        hf_file_lock *lock = opened();
        (void)hf_file_lock_trylock(lock);
        hf_file_lock_close(lock);
    }
    return NULL;
}

static int lock_once(void *unused)
{
    (void)unused;
    hf_file_lock *lock = opened();
    assert_ok(hf_file_lock_timedlock(lock, SECONDS(20)));
    hf_file_lock_close(lock);
    return 0;
}

TEST(a_fork_beside_threads_that_lock_leaves_the_child_able_to)
{
    if (UNDER_ASAN || UNDER_TSAN) {
        SKIP("the sanitizer's own allocator does not survive a fork beside threads");
    }
    set_scene();
    static _Atomic uint32_t stop;
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, lock_for_ever, &stop), 0);
    }
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(run_child(lock_once, NULL), 0);
    }
    store_relaxed(&stop, 1);
    for (unsigned i = 0; i < 2; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}
