/* SPDX-License-Identifier: MIT */
/* Participants: taking slots and giving them back, dying at any moment, and being taken for dead
 * only then. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "os/os.h"
#include "segment/segment_layout.h"
#include "support/participants.h"
#include "support/support.h"

/* ---- sleeping longer than the library asks for -------------------------------------------- */

int __real_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t timeout_ns);
int __wrap_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t timeout_ns);

/* Then nobody looks at an owner before the kernel says so: what is slow has failed. */
static bool sleep_long;

int __wrap_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t timeout_ns)
{
    int64_t ns = sleep_long ? SECONDS(30) : timeout_ns;
    return __real_hf_os_wait_two(word, expected, other, other_expected, ns);
}

static bool kernel_waits_on_two(void)
{
    uint32_t words[2] = {0, 0};
    return __real_hf_os_wait_two(&words[0], 0, &words[1], 0, 1000) != -EOPNOTSUPP;
}

/* ---- the owner is killed ------------------------------------------------------------------ */

/* Kills the child while we wait for its mutex; how long that took. */
static int64_t wait_for_the_killed(struct scene *scene, int (*hold)(void *), int expected)
{
    pid_t owner = start_told(hold, scene, 1);
    pid_t killer = kill_later(scene, owner, 20);
    expect_lock(&scene->root->mutex, expected);
    int64_t took = now_ms() - (int64_t)load_acquire(&scene->notes->went);
    assert_int_equal(wait_child(killer), 0);
    assert_int_equal(wait_child(owner), -SIGKILL);
    return took;
}

#define DEATHS 9

TEST(a_waiter_gets_a_killed_owners_mutex_and_is_told)
{
    for (backing where = 0; where < BACKINGS; where++) {
        struct scene scene = new_scene_in(where);
        int64_t times[DEATHS];
        for (size_t i = 0; i < DEATHS; i++) {
            times[i] = wait_for_the_killed(&scene, hold_the_mutex, -EOWNERDEAD);
            assert_ok(hf_mutex_consistent(&scene.root->mutex));
            assert_ok(hf_mutex_unlock(&scene.root->mutex));
            expect_free(&scene.root->mutex);
        }
        expect_in_time(times, DEATHS, 100);
        close_scene(&scene);
    }
}

TEST(a_waiter_gets_the_mutex_of_one_killed_in_a_transaction_with_the_data_as_it_was)
{
    for (backing where = 0; where < BACKINGS; where++) {
        struct scene scene = new_scene_in(where);
        int64_t times[DEATHS];
        for (size_t i = 0; i < DEATHS; i++) {
            times[i] = wait_for_the_killed(&scene, hold_in_a_transaction, 0);
            for (size_t k = 0; k < LOCKS; k++) {
                assert_int_equal(scene.root->values[k], VALUE_BEFORE);
            }
            assert_ok(hf_mutex_unlock(&scene.root->mutex));
        }
        expect_in_time(times, DEATHS, 100);
        expect_participants(&scene, 1, 0);
        close_scene(&scene);
    }
}

/* A lock before the transaction, a lock in it, one unlocked in it. */
static int hold_before_and_in_a_transaction(void *context)
{
    struct scene *scene = context;
    struct root *root = scene->root;
    assert_ok(hf_mutex_lock(&root->mutex));
    assert_ok(hf_tx_begin(scene->segment));
    assert_ok(hf_mutex_lock(&root->locks[0]));
    assert_ok(hf_mutex_lock(&root->locks[1]));
    assert_ok(hf_tx_add(scene->segment, &root->values[0], sizeof root->values[0]));
    root->values[0] = 1;
    assert_ok(hf_mutex_unlock(&root->locks[1]));
    tell(scene, 1);
    wait_for_death();
}

TEST(only_the_lock_taken_before_the_dead_owners_transaction_tells_of_its_death)
{
    struct scene scene = new_scene();
    struct root *root = scene.root;
    assert_int_equal(kill_and_reap(start_told(hold_before_and_in_a_transaction, &scene, 1)),
                     -SIGKILL);
    assert_ok(hf_mutex_trylock(&root->locks[0]));
    assert_int_equal(root->values[0], VALUE_BEFORE);
    assert_ok(hf_mutex_trylock(&root->locks[1]));
    assert_error(hf_mutex_trylock(&root->mutex), -EOWNERDEAD);
    close_scene(&scene);
}

static int hold_everything(void *context)
{
    struct scene *scene = context;
    for (size_t i = 0; i < LOCKS; i++) {
        assert_ok(hf_mutex_lock(&scene->root->locks[i]));
    }
    for (size_t i = 0; i < LOCKS; i += 3) { /* out of the middle of its list */
        assert_ok(hf_mutex_unlock(&scene->root->locks[i]));
    }
    tell(scene, 1);
    wait_for_death();
}

TEST(all_locks_of_a_killed_owner_are_handed_over_and_no_others)
{
    struct scene scene = new_scene();
    assert_int_equal(kill_and_reap(start_told(hold_everything, &scene, 1)), -SIGKILL);
    expect_participants(&scene, 0, 1);
    for (size_t i = 0; i < LOCKS; i++) {
        assert_error(hf_mutex_trylock(&scene.root->locks[i]), i % 3 == 0 ? 0 : -EOWNERDEAD);
    }
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

TEST(a_death_is_told_by_the_kernel_not_found_by_looking)
{
    if (!kernel_waits_on_two()) {
        SKIP("this kernel cannot wait on two words");
    }
    sleep_long = true;
    for (backing where = 0; where < BACKINGS; where++) {
        struct scene scene = new_scene_in(where);
        int64_t times[3];
        for (size_t i = 0; i < 3; i++) {
            times[i] = wait_for_the_killed(&scene, hold_the_mutex, -EOWNERDEAD);
            assert_ok(hf_mutex_consistent(&scene.root->mutex));
            assert_ok(hf_mutex_unlock(&scene.root->mutex));
        }
        expect_in_time(times, 3, 5000);
        close_scene(&scene);
    }
}

/* ---- many waiters ------------------------------------------------------------------------- */

#define WAITERS 8

static int take_and_go_on(void *context)
{
    struct scene *scene = context;
    (void)fetch_add_relaxed(&scene->notes->count, 1);
    int error = hf_mutex_timedlock(&scene->root->mutex, SECONDS(20));
    if (error == -EOWNERDEAD) {
        assert_ok(hf_mutex_consistent(&scene->root->mutex));
        assert_ok(hf_mutex_unlock(&scene->root->mutex));
        return 1;
    }
    assert_ok(error);
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    return 0;
}

/* The sum of what the waiters return. */
static int wait_together_for_the_killed(struct scene *scene, int (*hold)(void *))
{
    pid_t waiters[WAITERS];
    pid_t owner = start_told(hold, scene, 1);
    for (size_t i = 0; i < WAITERS; i++) {
        waiters[i] = start_child(take_and_go_on, scene);
    }
    for (size_t i = 0; i < WAITERS; i++) {
        wait_for_state(waiters[i], 'S');
    }
    sleep_ms(20);
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    int64_t start = now_ms();
    int sum = 0;
    for (size_t i = 0; i < WAITERS; i++) {
        sum += wait_child(waiters[i]);
    }
    assert_true(now_ms() - start < 8000); /* all of them woken: nobody slept to the end */
    return sum;
}

TEST(all_who_sleep_on_one_dead_owner_get_on)
{
    sleep_long = kernel_waits_on_two();
    for (unsigned round = 0; round < 5; round++) {
        struct scene scene = new_scene();
        assert_int_equal(wait_together_for_the_killed(&scene, hold_the_mutex), 1);
        assert_int_equal(wait_together_for_the_killed(&scene, hold_in_a_transaction), 0);
        close_scene(&scene);
    }
}

static int wait_for_one_lock(void *context)
{
    struct scene *scene = context;
    hf_mutex *mine = &scene->root->locks[scene->lock];
    return hf_mutex_timedlock(mine, SECONDS(20)) == -EOWNERDEAD ? 0 : 1;
}

TEST(all_who_sleep_on_different_locks_of_one_dead_owner_get_on)
{
    sleep_long = kernel_waits_on_two();
    struct scene scene = new_scene();
    pid_t waiters[WAITERS];
    pid_t owner = start_told(hold_everything, &scene, 1);
    for (size_t i = 0; i < WAITERS; i++) {
        scene.lock = (uint32_t)(3 * i + 1);
        waiters[i] = start_child(wait_for_one_lock, &scene);
    }
    for (size_t i = 0; i < WAITERS; i++) {
        wait_for_state(waiters[i], 'S');
    }
    sleep_ms(20);
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    int64_t start = now_ms();
    for (size_t i = 0; i < WAITERS; i++) {
        assert_int_equal(wait_child(waiters[i]), 0);
    }
    assert_true(now_ms() - start < 8000);
    close_scene(&scene);
}

static int take_and_give_up(void *context)
{
    struct scene *scene = context;
    int error = hf_mutex_timedlock(&scene->root->mutex, SECONDS(20));
    if (error == -EOWNERDEAD) {
        assert_ok(hf_mutex_unlock(&scene->root->mutex));
    }
    return error == -ENOTRECOVERABLE ? 1 : error == -EOWNERDEAD ? 0 : 100;
}

TEST(when_the_data_is_given_up_all_waiters_are_told)
{
    sleep_long = kernel_waits_on_two();
    struct scene scene = new_scene();
    pid_t waiters[WAITERS];
    pid_t owner = start_told(hold_the_mutex, &scene, 1);
    for (size_t i = 0; i < WAITERS; i++) {
        waiters[i] = start_child(take_and_give_up, &scene);
    }
    for (size_t i = 0; i < WAITERS; i++) {
        wait_for_state(waiters[i], 'S');
    }
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    int sum = 0;
    for (size_t i = 0; i < WAITERS; i++) {
        sum += wait_child(waiters[i]);
    }
    assert_int_equal(sum, WAITERS - 1);
    assert_error(hf_mutex_lock(&scene.root->mutex), -ENOTRECOVERABLE);
    close_scene(&scene);
}

/* ---- killed at any moment ----------------------------------------------------------------- */

#define WORKERS 3

/* Moves amounts about, for ever: the sum of the values stays. Attaches anew now and then. */
_Noreturn static int move_amounts(void *context)
{
    struct scene *scene = context;
    struct root *root = scene->root;
    for (uint64_t n = 0;; n++) {
        size_t from = (size_t)random_below(LOCKS);
        size_t to = (size_t)random_below(LOCKS);
        assert_ok(hf_tx_begin(scene->segment));
        assert_ok(hf_mutex_lock(&root->mutex));
        assert_ok(hf_tx_add(scene->segment, &root->values[from], 8));
        assert_ok(hf_tx_add(scene->segment, &root->values[to], 8));
        root->values[from] -= n;
        root->values[to] += n;
        assert_ok(hf_mutex_unlock(&root->mutex));
        assert_ok(hf_tx_commit(scene->segment));
        if (n % 64 == 63) {
            assert_ok(hf_thread_leave(scene->segment));
        }
    }
}

static void expect_sum(struct scene *scene)
{
    uint64_t sum = 0;
    expect_lock(&scene->root->mutex, 0);
    for (size_t i = 0; i < LOCKS; i++) {
        sum += scene->root->values[i];
    }
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    assert_int_equal(sum, LOCKS * VALUE_BEFORE);
}

static void kill_workers(backing where, unsigned kills)
{
    struct scene scene = new_scene_in(where);
    pid_t workers[WORKERS];
    for (size_t i = 0; i < WORKERS; i++) {
        (void)random_below(2); /* each draws its own */
        workers[i] = start_child(move_amounts, &scene);
    }
    for (unsigned i = 0; i < kills; i++) {
        pid_t *victim = &workers[random_below(WORKERS)];
        (void)usleep((useconds_t)random_below(4000));
        assert_int_equal(kill_and_reap(*victim), -SIGKILL);
        if (i % 3 == 0) {
            expect_sum(&scene);
        }
        *victim = start_child(move_amounts, &scene);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        assert_int_equal(kill_and_reap(workers[i]), -SIGKILL);
    }
    expect_sum(&scene);
    assert_ok(hf_segment_recover(scene.segment, NULL));
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

TEST(workers_killed_at_any_moment_leave_the_sum_as_it_was)
{
    kill_workers(BACKING_ANONYMOUS, 150);
    kill_workers(BACKING_SHM, 50);
}

TEST(workers_in_a_shared_buffer_killed_at_any_moment_leave_nothing_behind)
{
    kill_workers(BACKING_BUFFER, 200);
}

/* Attaches and leaves for ever. */
_Noreturn static int come_and_go(void *context)
{
    struct scene *scene = context;
    for (;;) {
        assert_ok(hf_mutex_lock(&scene->root->mutex));
        assert_ok(hf_mutex_unlock(&scene->root->mutex));
        assert_ok(hf_thread_leave(scene->segment));
    }
}

static void kill_comers(backing where)
{
    struct scene scene = new_scene_in(where);
    for (unsigned i = 0; i < 150; i++) {
        pid_t victim = start_child(come_and_go, &scene);
        (void)usleep((useconds_t)random_below(3000));
        assert_int_equal(kill_and_reap(victim), -SIGKILL);
        int error = hf_mutex_timedlock(&scene.root->mutex, PATIENCE);
        if (error == -EOWNERDEAD) {
            error = hf_mutex_consistent(&scene.root->mutex);
        }
        assert_ok(error);
        assert_ok(hf_mutex_unlock(&scene.root->mutex));
    }
    assert_ok(hf_segment_recover(scene.segment, NULL));
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

TEST(who_is_killed_while_attaching_or_leaving_leaves_no_slot_behind)
{
    kill_comers(BACKING_ANONYMOUS);
}

TEST(who_is_killed_while_attaching_to_a_buffer_or_leaving_it_leaves_no_slot_behind)
{
    kill_comers(BACKING_BUFFER);
}

/* All at once, with a slot page or two to begin with. */
#define CROWD 24

static int attach_at_once(void *context)
{
    struct scene *scene = context;
    (void)fetch_add_relaxed(&scene->notes->count, 1);
    while (load_acquire(&scene->notes->step) < 1) {
    }
    assert_ok(hf_tx_begin(scene->segment));
    assert_ok(hf_tx_commit(scene->segment));
    wait_for_death();
}

static bool crowd_is_there(void *context)
{
    struct scene *scene = context;
    return load_acquire(&scene->notes->count) == CROWD;
}

static bool crowd_is_attached(void *context)
{
    struct scene *scene = context;
    hf_segment_info info;
    assert_ok(hf_segment_get_info(scene->segment, &info));
    return info.participants == CROWD;
}

TEST(processes_that_attach_at_the_same_moment_all_get_a_slot)
{
    for (unsigned round = 0; round < 5; round++) {
        struct scene scene = new_scene();
        pid_t crowd[CROWD];
        for (size_t i = 0; i < CROWD; i++) {
            crowd[i] = start_child(attach_at_once, &scene);
        }
        assert_true(wait_until(crowd_is_there, &scene, 10000));
        tell(&scene, 1);
        bool all = wait_until(crowd_is_attached, &scene, 10000);
        for (size_t i = 0; i < CROWD; i++) {
            assert_int_equal(kill_and_reap(crowd[i]), -SIGKILL);
        }
        assert_true(all);
        close_scene(&scene);
    }
}

/* ---- stopped is alive --------------------------------------------------------------------- */

static int stop_with_the_mutex(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_mutex_lock(&scene->root->mutex));
    tell(scene, 1);
    assert_int_equal(raise(SIGSTOP), 0);
    scene->root->values[0] = 5;
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    return 0;
}

TEST(a_stopped_owner_is_alive)
{
    struct scene scene = new_scene();
    pid_t owner = start_told(stop_with_the_mutex, &scene, 1);
    wait_for_state(owner, 'T');
    assert_error(hf_mutex_timedlock(&scene.root->mutex, SECONDS(2)), -ETIMEDOUT);
    assert_error(hf_mutex_trylock(&scene.root->mutex), -EBUSY);
    unsigned recovered = 1;
    assert_ok(hf_segment_recover(scene.segment, &recovered));
    assert_int_equal(recovered, 0);
    expect_participants(&scene, 2, 0);
    assert_int_equal(kill(owner, SIGCONT), 0);
    expect_lock(&scene.root->mutex, 0);
    assert_int_equal(scene.root->values[0], 5);
    assert_int_equal(wait_child(owner), 0);
    close_scene(&scene);
}

TEST(a_stopped_owner_that_is_killed_is_dead)
{
    struct scene scene = new_scene();
    pid_t owner = start_told(stop_with_the_mutex, &scene, 1);
    wait_for_state(owner, 'T');
    assert_error(hf_mutex_timedlock(&scene.root->mutex, MILLISECONDS(200)), -ETIMEDOUT);
    pid_t killer = kill_later(&scene, owner, 10);
    expect_lock(&scene.root->mutex, -EOWNERDEAD);
    assert_int_equal(wait_child(killer), 0);
    assert_int_equal(wait_child(owner), -SIGKILL);
    close_scene(&scene);
}

/* ---- however one waits -------------------------------------------------------------------- */

static int poll_for_the_mutex(struct scene *scene, int64_t timeout_ns)
{
    int64_t end = now_ms() + 5000;
    int error;
    do {
        error = hf_mutex_timedlock(&scene->root->mutex, timeout_ns);
    } while ((error == -ETIMEDOUT || error == -EBUSY) && now_ms() < end);
    return error;
}

static void told_whatever_the_timeouts(void)
{
    static const int64_t timeouts[] = {1, 300, MILLISECONDS(1), MILLISECONDS(49), 0};
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        struct scene scene = new_scene();
        pid_t owner = start_told(hold_the_mutex, &scene, 1);
        assert_error(hf_mutex_timedlock(&scene.root->mutex, timeouts[i]),
                     timeouts[i] == 0 ? -EBUSY : -ETIMEDOUT);
        assert_int_equal(kill_and_reap(owner), -SIGKILL);
        print_message("with a timeout of %lld ns\n", (long long)timeouts[i]);
        assert_error(poll_for_the_mutex(&scene, timeouts[i]), -EOWNERDEAD);
        close_scene(&scene);
    }
}

TEST(a_death_is_told_whatever_the_timeouts)
{
    told_whatever_the_timeouts();
}

static void ignore(int number)
{
    (void)number;
}

/* A signal every 10 ms, as a profiler sends: no sleep lasts a whole slice. */
static void start_ticking(void)
{
    struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
    struct itimerval every = {.it_interval = {.tv_usec = 10000}, .it_value = {.tv_usec = 10000}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void told_while_ticking(void)
{
    struct scene scene = new_scene();
    pid_t owner = start_told(hold_the_mutex, &scene, 1);
    start_ticking();
    pid_t killer = kill_later(&scene, owner, 30);
    assert_error(hf_mutex_timedlock(&scene.root->mutex, SECONDS(30)), -EOWNERDEAD);
    int64_t took = now_ms() - (int64_t)load_acquire(&scene.notes->went);
    assert_in_range(took, 0, 9000);
    assert_int_equal(wait_child(killer), 0);
    assert_int_equal(wait_child(owner), -SIGKILL);
    close_scene(&scene);
}

TEST(a_death_is_told_to_who_is_interrupted_by_signals_all_the_time)
{
    told_while_ticking();
}

TEST(a_timeout_holds_for_who_is_interrupted_by_signals_all_the_time)
{
    struct scene scene = new_scene();
    pid_t owner = start_told(hold_the_mutex, &scene, 1);
    start_ticking();
    int64_t start = now_ms();
    assert_error(hf_mutex_timedlock(&scene.root->mutex, MILLISECONDS(300)), -ETIMEDOUT);
    assert_in_range(now_ms() - start, 299, 5000);
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    close_scene(&scene);
}

/* ---- what the kernel refuses -------------------------------------------------------------- */

static void refuse_robust_lists(void)
{
    refuse_syscall(SYS_get_robust_list, ENOSYS);
    refuse_syscall(SYS_set_robust_list, ENOSYS);
}

static void refuse_waiting_on_two(int error)
{
#ifdef SYS_futex_waitv
    refuse_syscall(SYS_futex_waitv, error);
#else
    (void)error;
#endif
}

/* Both kinds of death, told by looking alone: about a tenth of a second. */
static void told_by_looking(backing where)
{
    struct scene scene = new_scene_in(where);
    int64_t times[DEATHS];
    for (size_t i = 0; i < DEATHS; i++) {
        bool in_transaction = i % 2 == 1;
        times[i] =
            wait_for_the_killed(&scene, in_transaction ? hold_in_a_transaction : hold_the_mutex,
                                in_transaction ? 0 : -EOWNERDEAD);
        assert_int_equal(scene.root->values[0], VALUE_BEFORE);
        if (!in_transaction) {
            assert_ok(hf_mutex_consistent(&scene.root->mutex));
        }
        assert_ok(hf_mutex_unlock(&scene.root->mutex));
    }
    expect_in_time(times, DEATHS, 300);
    expect_participants(&scene, 1, 0);
    pid_t owner = start_told(stop_with_the_mutex, &scene, 1);
    assert_error(hf_mutex_timedlock(&scene.root->mutex, MILLISECONDS(500)), -ETIMEDOUT);
    assert_int_equal(kill(owner, SIGCONT), 0);
    expect_lock(&scene.root->mutex, 0);
    assert_ok(hf_mutex_unlock(&scene.root->mutex));
    assert_int_equal(wait_child(owner), 0);
    assert_int_equal(wait_together_for_the_killed(&scene, hold_the_mutex), 1);
    close_scene(&scene);
}

static void told_by_looking_everywhere(void)
{
    told_by_looking(BACKING_ANONYMOUS);
    told_by_looking(BACKING_SHM);
    told_by_looking(BACKING_FILE);
}

TEST(without_robust_lists_the_dead_are_found)
{
    refuse_robust_lists();
    told_by_looking_everywhere();
}

TEST(without_waiting_on_two_words_the_dead_are_found)
{
    refuse_waiting_on_two(ENOSYS);
    told_by_looking_everywhere();
    told_by_looking(BACKING_BUFFER);
}

TEST(in_a_sandbox_that_forbids_waiting_on_two_words_the_dead_are_found)
{
    refuse_waiting_on_two(EPERM);
    told_by_looking_everywhere();
    told_by_looking(BACKING_BUFFER);
}

TEST(without_robust_lists_and_without_waiting_on_two_words_the_dead_are_found)
{
    refuse_robust_lists();
    refuse_waiting_on_two(EPERM);
    told_by_looking_everywhere();
}

TEST(without_robust_lists_a_death_is_told_whatever_the_timeouts)
{
    refuse_robust_lists();
    told_whatever_the_timeouts();
}

TEST(without_robust_lists_a_death_is_told_to_who_is_interrupted_by_signals_all_the_time)
{
    refuse_robust_lists();
    told_while_ticking();
}

TEST(without_robust_lists_who_is_killed_while_attaching_or_leaving_leaves_no_slot_behind)
{
    refuse_robust_lists();
    kill_comers(BACKING_ANONYMOUS);
}

/* Of the segment's memory, which has no name. */
static unsigned count_mappings(void)
{
    unsigned count = 0;
    char *text = read_whole_file("/proc/self/maps", NULL);
    assert_non_null(text);
    for (const char *at = text; (at = strstr(at, "/memfd:")) != NULL; at++) {
        count++;
    }
    free(text);
    return count;
}

/* A sandbox that is entered later: what was linked before must come off the list all the same. */
TEST(who_attached_before_robust_lists_were_refused_can_leave)
{
    struct scene scene = new_scene();
    expect_free(&scene.root->mutex);
    assert_ok(hf_thread_leave(scene.segment));
    unsigned before = count_mappings();
    expect_free(&scene.root->mutex);
    assert_int_equal(count_mappings(), before + 1);
    refuse_syscall(SYS_get_robust_list, EPERM);
    assert_ok(hf_thread_leave(scene.segment));
    assert_int_equal(count_mappings(), before);
    expect_free(&scene.root->mutex);
    close_scene(&scene);
}

/* ---- descriptors closed behind the library's back ----------------------------------------- */

static int close_a_descriptor_of_the_file(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_mutex_lock(&scene->root->mutex));
    int copy = dup(hf_memory_descriptor(hf_segment_memory(scene->segment)));
    assert_true(copy >= 0);
    assert_int_equal(close(copy), 0);
    tell(scene, 1);
    await(scene, 2);
    scene->root->values[0] = 5;
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    tell(scene, 3);
    wait_for_death();
}

TEST(who_closes_a_descriptor_of_the_file_is_not_taken_for_dead)
{
    struct scene scene = new_scene();
    pid_t owner = start_told(close_a_descriptor_of_the_file, &scene, 1);
    assert_error(hf_mutex_timedlock(&scene.root->mutex, MILLISECONDS(500)), -ETIMEDOUT);
    unsigned recovered = 1;
    assert_ok(hf_segment_recover(scene.segment, &recovered));
    assert_int_equal(recovered, 0);
    tell(&scene, 2);
    await(&scene, 3);
    expect_lock(&scene.root->mutex, 0);
    assert_int_equal(scene.root->values[0], 5);
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    expect_participants(&scene, 1, 1);
    close_scene(&scene);
}

/* ---- numbers ------------------------------------------------------------------------------ */

#define NOT_PERMITTED 77
#define REUSED        300u

/* Another process than the dead one, with its number; it waits for the dead one's lock. */
static int bear_the_number(void *context)
{
    struct scene *scene = context;
    return hf_mutex_timedlock(&scene->root->mutex, SECONDS(10)) == -EOWNERDEAD &&
                   hf_mutex_timedlock(&scene->root->locks[0], SECONDS(10)) == 0
               ? 0
               : 1;
}

static int live_with_the_number(void *context)
{
    (void)context;
    wait_for_death();
}

/* In a new number space, as its first process. */
static int reuse_a_number(void *context)
{
    struct scene *scene = context;
    if (!next_number(REUSED)) {
        return NOT_PERMITTED;
    }
    pid_t owner = start_told(hold_the_mutex, scene, 1);
    assert_int_equal(owner, REUSED);
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    assert_true(next_number(REUSED));
    pid_t idle = start_child(live_with_the_number, scene);
    assert_int_equal(idle, REUSED);
    assert_error(hf_mutex_timedlock(&scene->root->mutex, SECONDS(10)), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(&scene->root->mutex));
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    assert_int_equal(kill_and_reap(idle), -SIGKILL);

    assert_true(next_number(REUSED));
    owner = start_told(hold_the_mutex, scene, 1);
    assert_int_equal(owner, REUSED);
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    assert_true(next_number(REUSED));
    pid_t bearer = start_child(bear_the_number, scene);
    assert_int_equal(bearer, REUSED);
    return wait_child(bearer);
}

static int reuse_in_a_space(void *context)
{
    enter_number_space();
    return wait_child(start_numbered_child(reuse_a_number, context));
}

static void reuse_in(backing where)
{
    struct scene scene = new_scene_in(where);
    int status = run_child(reuse_in_a_space, &scene);
    if (status == NOT_PERMITTED) {
        SKIP("thread numbers cannot be chosen here");
    }
    assert_int_equal(status, 0);
    close_scene(&scene);
}

TEST(a_new_process_with_a_dead_owners_number_does_not_make_it_look_alive)
{
    need_number_spaces();
    reuse_in(BACKING_ANONYMOUS);
}

TEST(a_new_process_with_a_dead_owners_number_does_not_make_it_look_alive_in_a_buffer)
{
    need_number_spaces();
    reuse_in(BACKING_BUFFER);
}

TEST(without_robust_lists_a_reused_number_does_not_make_the_dead_look_alive)
{
    need_number_spaces();
    refuse_robust_lists();
    reuse_in(BACKING_ANONYMOUS);
}

/* The first process of its number space holds its own lock. */
static int hold_as_number_one(void *context)
{
    struct scene *scene = context;
    if (getpid() != 1) {
        return 1;
    }
    assert_ok(hf_mutex_lock(&scene->root->locks[scene->lock]));
    tell(scene, 1);
    wait_for_death();
}

/* Makes a number space, starts the holder in it, and ends as it ends. */
static int start_number_one(void *context)
{
    struct scene *scene = context;
    enter_number_space();
    pid_t one = start_numbered_child(hold_as_number_one, scene);
    store_release(&scene->notes->pid, (uint32_t)one);
    return -wait_child(one);
}

static void two_number_ones(backing where)
{
    struct scene scene = new_scene_in(where);
    pid_t keepers[2];
    pid_t ones[2];
    for (uint32_t i = 0; i < 2; i++) {
        scene.lock = i;
        keepers[i] = start_told(start_number_one, &scene, 1);
        ones[i] = noted_process(&scene);
    }
    expect_participants(&scene, 2, 0);
    assert_int_equal(kill(ones[0], SIGKILL), 0);
    assert_int_equal(wait_child(keepers[0]), SIGKILL);
    expect_lock(&scene.root->locks[0], -EOWNERDEAD);
    assert_error(hf_mutex_timedlock(&scene.root->locks[1], MILLISECONDS(300)), -ETIMEDOUT);
    expect_participants(&scene, 2, 0);
    assert_int_equal(kill(ones[1], SIGKILL), 0);
    assert_int_equal(wait_child(keepers[1]), SIGKILL);
    expect_lock(&scene.root->locks[1], -EOWNERDEAD);
    close_scene(&scene);
}

TEST(of_two_owners_with_the_same_number_in_two_number_spaces_only_the_killed_one_is_dead)
{
    need_number_spaces();
    two_number_ones(BACKING_ANONYMOUS);
    two_number_ones(BACKING_BUFFER);
}

TEST(without_robust_lists_of_two_with_the_same_number_only_the_killed_one_is_dead)
{
    need_number_spaces();
    refuse_robust_lists();
    two_number_ones(BACKING_ANONYMOUS);
}

/* Where /proc shows another number space than ours, what it says of a number is of someone else. */
static int hold_and_ask(void *context)
{
    struct scene *scene = context;
    uint32_t theirs = load_acquire(&scene->notes->pid);
    if (!next_number(theirs)) {
        return NOT_PERMITTED;
    }
    pid_t owner = start_told(hold_the_mutex, scene, 1);
    assert_int_equal(owner, theirs);
    tell(scene, 2);
    await(scene, 3); /* the other bearer of the number is dead */
    int error = hf_mutex_timedlock(&scene->root->mutex, MILLISECONDS(300));
    (void)kill_and_reap(owner);
    return error == -ETIMEDOUT ? 0 : 1;
}

static int hold_in_a_space(void *context)
{
    enter_number_space();
    return wait_child(start_numbered_child(hold_and_ask, context));
}

TEST(nobody_is_taken_for_dead_because_a_stranger_of_the_same_number_ended)
{
    need_number_spaces();
    struct scene scene = new_scene_in(BACKING_BUFFER);
    pid_t stranger = start_child(live_with_the_number, NULL);
    store_release(&scene.notes->pid, (uint32_t)stranger);
    pid_t space = start_child(hold_in_a_space, &scene);
    int64_t end = now_ms() + 10000;
    int status = CHILD_RUNS;
    while (load_acquire(&scene.notes->step) < 2 && status == CHILD_RUNS && now_ms() < end) {
        status = wait_child_for(space, 1);
    }
    if (status == NOT_PERMITTED) {
        SKIP("thread numbers cannot be chosen here");
    }
    assert_int_equal(status, CHILD_RUNS);
    assert_int_equal(kill_and_reap(stranger), -SIGKILL);
    tell(&scene, 3);
    assert_int_equal(wait_child(space), 0);
    close_scene(&scene);
}

/* ---- recovery ----------------------------------------------------------------------------- */

TEST(recover_counts_the_dead)
{
    struct scene scene = new_scene();
    pid_t owners[3];
    unsigned recovered = 1;
    assert_ok(hf_segment_recover(scene.segment, &recovered));
    assert_int_equal(recovered, 0);
    owners[0] = start_told(hold_the_mutex, &scene, 1);
    for (uint32_t i = 1; i < 3; i++) {
        scene.lock = i;
        owners[i] = start_told(hold_everything, &scene, 1);
        assert_int_equal(kill_and_reap(owners[i]), -SIGKILL);
        assert_ok(hf_segment_recover(scene.segment, &recovered));
        assert_int_equal(recovered, 1);
        for (size_t k = 0; k < LOCKS; k++) {
            assert_error(hf_mutex_trylock(&scene.root->locks[k]), k % 3 == 0 ? 0 : -EOWNERDEAD);
            if (k % 3 != 0) {
                assert_ok(hf_mutex_consistent(&scene.root->locks[k]));
            }
            assert_ok(hf_mutex_unlock(&scene.root->locks[k]));
        }
    }
    assert_int_equal(kill_and_reap(owners[0]), -SIGKILL);
    assert_ok(hf_segment_recover(scene.segment, &recovered));
    assert_int_equal(recovered, 1);
    assert_ok(hf_segment_recover(scene.segment, &recovered));
    assert_int_equal(recovered, 0);
    assert_ok(hf_segment_recover(scene.segment, NULL));
    close_scene(&scene);
}

/* Half of the locks before the transaction, half in it; all values changed. */
static int hold_much(void *context)
{
    struct scene *scene = context;
    struct root *root = scene->root;
    for (size_t i = 0; i < LOCKS / 2; i++) {
        assert_ok(hf_mutex_lock(&root->locks[i]));
    }
    assert_ok(hf_tx_begin(scene->segment));
    for (size_t i = LOCKS / 2; i < LOCKS; i++) {
        assert_ok(hf_mutex_lock(&root->locks[i]));
        assert_ok(hf_tx_add(scene->segment, &root->values[i], 8));
        root->values[i] = 0;
    }
    for (size_t i = 0; i < LOCKS; i++) {
        assert_ok(hf_tx_add(scene->segment, &root->values[i], 8));
        root->values[i] = 7;
    }
    tell(scene, 1);
    wait_for_death();
}

static int recover_when_told(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_tx_begin(scene->segment));
    assert_ok(hf_tx_commit(scene->segment));
    tell(scene, 2);
    while (load_acquire(&scene->notes->step) < 3) {
    }
    assert_ok(hf_segment_recover(scene->segment, NULL));
    tell(scene, 4);
    wait_for_death();
}

static void kill_a_recoverer(struct scene *scene, uint64_t within_ns)
{
    pid_t recoverer = start_child(recover_when_told, scene);
    await(scene, 2);
    tell(scene, 3);
    uint64_t wait = random_below(within_ns);
    uint64_t start = os_now_ns();
    while (os_now_ns() - start < wait) {
    }
    assert_int_equal(kill_and_reap(recoverer), -SIGKILL);
}

static void expect_much_free(struct scene *scene)
{
    for (size_t i = 0; i < LOCKS; i++) {
        bool in_transaction = i >= LOCKS / 2;
        expect_lock(&scene->root->locks[i], in_transaction ? 0 : -EOWNERDEAD);
        if (!in_transaction) {
            assert_ok(hf_mutex_consistent(&scene->root->locks[i]));
        }
        assert_ok(hf_mutex_unlock(&scene->root->locks[i]));
        assert_int_equal(scene->root->values[i], VALUE_BEFORE);
    }
}

TEST(recoverers_killed_while_they_recover_leave_everything_to_the_next)
{
    struct scene scene = new_scene();
    for (unsigned round = 0; round < 60; round++) {
        assert_int_equal(kill_and_reap(start_told(hold_much, &scene, 1)), -SIGKILL);
        for (unsigned kills = (unsigned)random_below(4); kills > 0; kills--) {
            tell(&scene, 1);
            kill_a_recoverer(&scene, 400000);
        }
        if (round % 2 == 0) {
            assert_ok(hf_segment_recover(scene.segment, NULL));
        }
        expect_much_free(&scene);
        assert_ok(hf_segment_recover(scene.segment, NULL));
        expect_participants(&scene, 1, 0);
    }
    close_scene(&scene);
}

TEST(a_stopped_recoverer_keeps_what_it_recovers_and_deadlines_pass)
{
    struct scene scene = new_scene();
    unsigned caught = 0;
    for (unsigned round = 0; round < 30; round++) {
        assert_int_equal(kill_and_reap(start_told(hold_much, &scene, 1)), -SIGKILL);
        tell(&scene, 1);
        pid_t recoverer = start_child(recover_when_told, &scene);
        await(&scene, 2);
        tell(&scene, 3);
        (void)usleep((useconds_t)random_below(200));
        assert_int_equal(kill(recoverer, SIGSTOP), 0);
        wait_for_state(recoverer, 'T');
        int error = hf_mutex_timedlock(&scene.root->locks[0], MILLISECONDS(20));
        if (error == -EOWNERDEAD) { /* it had come to its end, or we were faster */
            assert_ok(hf_mutex_consistent(&scene.root->locks[0]));
            assert_ok(hf_mutex_unlock(&scene.root->locks[0]));
        } else {
            assert_error(error, -ETIMEDOUT);
            caught++;
        }
        assert_int_equal(kill(recoverer, SIGCONT), 0);
        await(&scene, 4);
        assert_int_equal(kill_and_reap(recoverer), -SIGKILL);
        for (size_t i = 0; i < LOCKS; i++) {
            int result = hf_mutex_timedlock(&scene.root->locks[i], PATIENCE);
            assert_true(result == 0 || (result == -EOWNERDEAD && i < LOCKS / 2));
            if (result == -EOWNERDEAD) {
                assert_ok(hf_mutex_consistent(&scene.root->locks[i]));
            }
            assert_ok(hf_mutex_unlock(&scene.root->locks[i]));
        }
    }
    print_message("stopped half-way %u times\n", caught);
    close_scene(&scene);
}

/* ---- the byte of a slot ------------------------------------------------------------------- */

/* A process that has the bytes of the first `lock` slots, and claims none of them. */
static int keep_bytes(void *context)
{
    struct scene *scene = context;
    int fd = hf_memory_descriptor(hf_segment_memory(scene->segment));
    for (uint32_t n = 1; n <= scene->lock; n++) {
        assert_ok(os_process_lock(fd, BYTE_SLOT + n));
    }
    tell(scene, 1);
    wait_for_death();
}

static uint32_t slot_beside_kept_bytes(uint32_t kept)
{
    hf_participant self;
    struct scene scene = new_scene();
    scene.lock = kept;
    pid_t keeper = start_told(keep_bytes, &scene, 1);
    assert_ok(hf_participant_self(scene.segment, &self));
    (void)kill_and_reap(keeper);
    close_scene(&scene);
    return (uint32_t)(self.value & SLOT_NUMBER_MAX);
}

/* While there are such slots: of one who is coming or going, the byte tells best. */
TEST(a_slot_is_claimed_by_who_has_its_byte)
{
    assert_int_equal(slot_beside_kept_bytes(2), 3);
}

/* A thread may have died in each of them, in processes that live on. */
TEST(a_slot_can_be_had_though_all_bytes_are_kept)
{
    assert_in_range(slot_beside_kept_bytes(4), 1, 4);
}
