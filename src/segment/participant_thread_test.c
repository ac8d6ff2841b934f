/* SPDX-License-Identifier: MIT */
/* Threads as participants: how they end, signals, their robust mutexes, and their slots. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "segment/slot_layout.h"
#include "support/participants.h"
#include "support/support.h"

static void start_thread(pthread_t *thread, void *(*run)(void *), void *context)
{
    assert_int_equal(pthread_create(thread, NULL, run, context), 0);
}

static void join_thread(pthread_t thread)
{
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---- how a thread ends -------------------------------------------------------------------- */

static void hold_both(struct scene *scene)
{
    struct root *root = scene->root;
    assert_ok(hf_mutex_lock(&root->locks[0]));
    assert_ok(hf_tx_begin(scene->segment));
    assert_ok(hf_mutex_lock(&root->mutex));
    assert_ok(hf_tx_add(scene->segment, root->values, sizeof root->values));
    memset(root->values, 0, sizeof root->values);
}

/* What hold_both left is handed over, and nobody is counted as dead. */
static void expect_both_left(struct scene *scene)
{
    expect_participants(scene, 0, 0);
    expect_lock(&scene->root->mutex, 0);
    assert_int_equal(scene->root->values[0], VALUE_BEFORE);
    assert_int_equal(scene->root->values[LOCKS - 1], VALUE_BEFORE);
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    expect_lock(&scene->root->locks[0], -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(&scene->root->locks[0]));
    assert_ok(hf_mutex_unlock(&scene->root->locks[0]));
    assert_ok(hf_thread_leave(scene->segment));
}

static void *hold_and_return(void *scene)
{
    hold_both(scene);
    return NULL;
}

static void *hold_and_exit(void *scene)
{
    hold_both(scene);
    pthread_exit(NULL);
}

static void *hold_until_cancelled(void *scene)
{
    hold_both(scene);
    tell(scene, 1);
    for (;;) {
        (void)pause();
    }
    return NULL;
}

static void *hold_and_leave(void *context)
{
    struct scene *scene = context;
    hold_both(scene);
    assert_ok(hf_thread_leave(scene->segment));
    return NULL;
}

static void let_a_thread_end(struct scene *scene, void *(*run)(void *))
{
    pthread_t thread;
    start_thread(&thread, run, scene);
    join_thread(thread);
    expect_both_left(scene);
}

static struct scene new_private_scene(void)
{
    struct scene scene = {.notes = NULL};
    void *root;
    assert_ok(hf_segment_create_private(256 << 10, NULL, &scene.segment));
    assert_ok(hf_segment_root(scene.segment, sizeof *scene.root, &root));
    assert_ok(hf_thread_leave(scene.segment));
    scene.root = root;
    for (size_t i = 0; i < LOCKS; i++) {
        scene.root->values[i] = VALUE_BEFORE;
    }
    return scene;
}

TEST(a_thread_that_returns_hands_over_what_it_held)
{
    for (backing where = 0; where < BACKINGS; where++) {
        struct scene scene = new_scene_in(where);
        let_a_thread_end(&scene, hold_and_return);
        close_scene(&scene);
    }
}

TEST(a_thread_that_calls_pthread_exit_hands_over_what_it_held)
{
    struct scene scene = new_scene();
    let_a_thread_end(&scene, hold_and_exit);
    close_scene(&scene);
}

TEST(a_thread_that_leaves_hands_over_what_it_held)
{
    struct scene scene = new_scene();
    let_a_thread_end(&scene, hold_and_leave);
    close_scene(&scene);
}

TEST(in_private_memory_a_thread_that_ends_hands_over_what_it_held)
{
    struct scene scene = new_private_scene();
    let_a_thread_end(&scene, hold_and_return);
    let_a_thread_end(&scene, hold_and_exit);
    let_a_thread_end(&scene, hold_and_leave);
    hf_segment_close(scene.segment);
}

TEST(a_thread_that_is_cancelled_hands_over_what_it_held)
{
    struct scene scene = new_scene();
    pthread_t thread;
    start_thread(&thread, hold_until_cancelled, &scene);
    await(&scene, 1);
    assert_int_equal(pthread_cancel(thread), 0);
    join_thread(thread);
    expect_both_left(&scene);
    close_scene(&scene);
}

/* Ends the thread without its libc's knowledge: no destructor runs. */
static void *hold_and_vanish(void *context)
{
    struct scene *scene = context;
    hold_both(scene);
    tell(scene, 1);
    (void)syscall(SYS_exit, 0);
    return NULL;
}

TEST(a_thread_that_vanishes_is_dead_while_its_process_lives)
{
    if (UNDER_TSAN || UNDER_ASAN) {
        SKIP("the sanitizer must know of a thread's end");
    }
    struct scene scene = new_scene();
    pthread_t thread;
    start_thread(&thread, hold_and_vanish, &scene);
    await(&scene, 1);
    expect_lock(&scene.root->mutex, 0);
    assert_int_equal(scene.root->values[0], VALUE_BEFORE);
    expect_lock(&scene.root->locks[0], -EOWNERDEAD);
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

/* Other destructors than the library's run after it, or before. */
static struct scene *late_scene;

static void call_late(void *unused)
{
    (void)unused;
    assert_ok(hf_mutex_lock(&late_scene->root->locks[1]));
}

static void *exit_with_a_destructor(void *context)
{
    pthread_key_t *keys = context;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_setspecific(keys[i], context), 0);
        if (i == 0) {
            hold_both(late_scene);
        }
    }
    return NULL;
}

TEST(a_destructor_of_the_application_may_call_after_the_thread_has_left)
{
    struct scene scene = new_scene();
    pthread_key_t keys[2];
    pthread_t thread;
    late_scene = &scene;
    assert_int_equal(pthread_key_create(&keys[0], call_late), 0);
    start_thread(&thread, hold_and_return, &scene); /* the library has made its key by now */
    join_thread(thread);
    expect_both_left(&scene);
    assert_int_equal(pthread_key_create(&keys[1], NULL), 0);
    start_thread(&thread, exit_with_a_destructor, keys);
    join_thread(thread);
    expect_both_left(&scene);
    expect_lock(&scene.root->locks[1], -EOWNERDEAD);
    close_scene(&scene);
}

/* ---- cancelled inside a call -------------------------------------------------------------- */

static void *wait_and_be_cancelled(void *context)
{
    struct scene *scene = context;
    int kind;
    hold_both(scene);
    (void)pthread_setcanceltype((int)scene->lock, &kind);
    tell(scene, 1);
    (void)hf_mutex_lock(&scene->root->locks[1]);
    pthread_testcancel();
    return NULL;
}

static void cancel_a_waiter(int kind)
{
    struct scene scene = new_scene();
    pthread_t thread;
    scene.lock = (uint32_t)kind;
    expect_lock(&scene.root->locks[1], 0);
    start_thread(&thread, wait_and_be_cancelled, &scene);
    await(&scene, 1);
    sleep_ms(30);
    assert_int_equal(pthread_cancel(thread), 0);
    sleep_ms(30);
    assert_ok(hf_mutex_unlock(&scene.root->locks[1]));
    join_thread(thread);
    int error = hf_mutex_timedlock(&scene.root->locks[1], PATIENCE);
    assert_true(error == 0 || (kind == PTHREAD_CANCEL_DEFERRED && error == -EOWNERDEAD));
    if (error != 0) {
        assert_ok(hf_mutex_consistent(&scene.root->locks[1]));
    }
    assert_ok(hf_mutex_unlock(&scene.root->locks[1]));
    assert_ok(hf_thread_leave(scene.segment));
    expect_both_left(&scene);
    close_scene(&scene);
}

TEST(a_thread_that_is_cancelled_while_it_waits_hands_over_what_it_held)
{
    cancel_a_waiter(PTHREAD_CANCEL_DEFERRED);
}

TEST(a_thread_that_is_cancelled_at_once_while_it_waits_hands_over_what_it_held)
{
    if (UNDER_TSAN || UNDER_ASAN) {
        SKIP("the sanitizer does not see a thread's stack go at any moment");
    }
    cancel_a_waiter(PTHREAD_CANCEL_ASYNCHRONOUS);
}

/* ---- signal handlers that call in --------------------------------------------------------- */

static struct scene *signal_scene;
static int results[16];
static _Atomic uint32_t handled;

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    assert_int_equal(sigaction(number, &action, NULL), 0);
}

static void call_everything(int number)
{
    struct root *root = signal_scene->root;
    hf_segment *segment = signal_scene->segment;
    hf_off *link = (hf_off *)(void *)&root->values[0];
    (void)number;
    int *result = results;
    *result++ = hf_mutex_lock(&root->mutex);
    *result++ = hf_mutex_trylock(&root->locks[0]);
    *result++ = hf_mutex_trylock(&root->locks[5]);
    *result++ = hf_mutex_unlock(&root->locks[0]);
    *result++ = hf_mutex_consistent(&root->locks[0]);
    *result++ = hf_mutex_fini(&root->locks[5]);
    *result++ = hf_tx_begin(segment);
    *result++ = hf_tx_add(segment, root->values, 8);
    *result++ = hf_tx_commit(segment);
    *result++ = hf_tx_abort(segment);
    *result++ = hf_pages_alloc(segment, 4096, link);
    *result++ = hf_pages_free(segment, 4096, link);
    *result++ = hf_segment_recover(segment, NULL);
    *result++ = hf_segment_grow(segment, 8192);
    *result++ = hf_segment_trim(segment, NULL);
    store_release(&handled, 1u);
}

static void leave_in_a_handler(int number)
{
    (void)number;
    results[0] = hf_thread_leave(signal_scene->segment);
    store_release(&handled, 1u);
}

static bool is_handled(void *unused)
{
    (void)unused;
    return load_acquire(&handled) != 0;
}

static void *wait_in_a_call(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_mutex_lock(&scene->root->locks[0]));
    tell(scene, 1);
    assert_ok(hf_mutex_lock(&scene->root->mutex));
    tell(scene, 2);
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    assert_ok(hf_mutex_unlock(&scene->root->locks[0]));
    return NULL;
}

/* A handler runs in a thread that waits in a call, and that call then comes to its end. */
static void interrupt_a_waiter(void (*handler)(int), size_t calls)
{
    struct scene scene = new_scene();
    pthread_t thread;
    signal_scene = &scene;
    handle(SIGUSR1, handler);
    expect_lock(&scene.root->mutex, 0);
    start_thread(&thread, wait_in_a_call, &scene);
    await(&scene, 1);
    sleep_ms(30);
    assert_int_equal(pthread_kill(thread, SIGUSR1), 0);
    assert_true(wait_until(is_handled, NULL, 10000));
    for (size_t i = 0; i < calls; i++) {
        print_message("call %zu\n", i);
        assert_error(results[i], -EDEADLK);
    }
    assert_int_equal(scene.root->values[0], VALUE_BEFORE);
    assert_ok(hf_mutex_unlock(&scene.root->mutex));
    await(&scene, 2);
    join_thread(thread);
    expect_free(&scene.root->mutex);
    expect_free(&scene.root->locks[0]);
    expect_free(&scene.root->locks[5]);
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

TEST(a_signal_handler_that_interrupts_a_call_gets_edeadlk_from_every_call)
{
    interrupt_a_waiter(call_everything, 15);
}

TEST(a_signal_handler_that_interrupts_a_call_cannot_leave_the_segment)
{
    interrupt_a_waiter(leave_in_a_handler, 1);
}

/* ---- signals at any moment ---------------------------------------------------------------- */

/* A signal to this thread again and again, at odd moments. */
static timer_t start_storm(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    struct itimerspec every = {.it_interval = {.tv_nsec = 73001}, .it_value = {.tv_nsec = 73001}};
    timer_t timer;
#ifdef sigev_notify_thread_id
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
#else
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
#endif
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &every, NULL), 0);
    return timer;
}

static void call_in(int number)
{
    (void)number;
    int error = hf_mutex_trylock(&signal_scene->root->locks[1]);
    if (error == 0) {
        error = hf_mutex_unlock(&signal_scene->root->locks[1]);
    }
    if (error != 0 && error != -EDEADLK) {
        abort();
    }
}

static int call_in_a_storm(void *context)
{
    struct scene *scene = context;
    signal_scene = scene;
    expect_free(&scene->root->locks[1]);
    handle(SIGUSR1, call_in);
    timer_t timer = start_storm();
    int64_t end = now_ms() + 700;
    while (now_ms() < end) {
        int error = hf_mutex_lock(&scene->root->mutex);
        if (error == 0) {
            error = hf_mutex_unlock(&scene->root->mutex);
        }
        assert_ok(error);
        if (scene->lock != 0) {
            assert_ok(hf_tx_begin(scene->segment));
            assert_ok(hf_tx_commit(scene->segment));
            assert_ok(hf_thread_leave(scene->segment));
        }
    }
    assert_int_equal(timer_delete(timer), 0);
    assert_ok(hf_thread_leave(scene->segment));
    expect_participants(scene, 0, 0);
    return 0;
}

TEST(a_signal_handler_may_call_in_at_any_moment_of_a_lock)
{
    struct scene scene = new_scene();
    assert_int_equal(wait_child_for(start_child(call_in_a_storm, &scene), 15000), 0);
    close_scene(&scene);
}

TEST(a_signal_handler_may_call_in_at_any_moment_of_attaching_and_leaving)
{
    if (UNDER_TSAN) {
        SKIP("the sanitizer objects to a handler that attaches");
    }
    struct scene scene = new_scene();
    scene.lock = 1;
    assert_int_equal(wait_child_for(start_child(call_in_a_storm, &scene), 15000), 0);
    close_scene(&scene);
}

/* ---- jumping out of a call ---------------------------------------------------------------- */

static sigjmp_buf out;
static volatile sig_atomic_t may_jump;
static unsigned jumps;

static void jump_out(int number)
{
    (void)number;
    if (may_jump) {
        may_jump = 0;
        siglongjmp(out, 1);
    }
}

static void *interrupt_soon(void *context)
{
    struct scene *scene = context;
    sleep_ms(30);
    assert_int_equal(syscall(SYS_tgkill, getpid(), (pid_t)scene->lock, SIGUSR1), 0);
    return NULL;
}

/* Jumps out of a wait for the mutex. */
static void jump_out_of_a_wait(struct scene *scene)
{
    pthread_t interrupter;
    scene->lock = (uint32_t)syscall(SYS_gettid);
    handle(SIGUSR1, jump_out);
    start_thread(&interrupter, interrupt_soon, scene);
    if (sigsetjmp(out, 1) == 0) {
        may_jump = 1;
        (void)hf_mutex_lock(&scene->root->mutex);
        fail_msg("the lock came back");
    }
    join_thread(interrupter);
}

static void *hold_until_told(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_mutex_lock(&scene->root->mutex));
    tell(scene, 1);
    await(scene, 2);
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    return NULL;
}

TEST(who_jumps_out_of_a_call_gets_edeadlk_until_it_recovers)
{
    struct scene scene = new_scene();
    struct root *root = scene.root;
    pthread_t holder;
    start_thread(&holder, hold_until_told, &scene);
    await(&scene, 1);
    assert_ok(hf_mutex_lock(&root->locks[0]));
    assert_ok(hf_tx_begin(scene.segment));
    assert_ok(hf_tx_add(scene.segment, root->values, 8));
    root->values[0] = 1;
    jump_out_of_a_wait(&scene);
    assert_error(hf_mutex_trylock(&root->locks[1]), -EDEADLK);
    assert_error(hf_mutex_unlock(&root->locks[0]), -EDEADLK);
    assert_error(hf_tx_commit(scene.segment), -EDEADLK);
    assert_ok(hf_thread_recover(scene.segment));
    assert_int_equal(root->values[0], 1); /* the transaction is still open */
    assert_ok(hf_mutex_trylock(&root->locks[1]));
    assert_ok(hf_tx_abort(scene.segment));
    assert_int_equal(root->values[0], VALUE_BEFORE);
    assert_ok(hf_mutex_unlock(&root->locks[0]));
    assert_ok(hf_mutex_unlock(&root->locks[1]));
    tell(&scene, 2);
    expect_lock(&root->mutex, 0);
    assert_ok(hf_mutex_unlock(&root->mutex));
    join_thread(holder);
    close_scene(&scene);
}

int __real_hf_os_process_lock(int fd, uint64_t offset);
int __wrap_hf_os_process_lock(int fd, uint64_t offset);

/* Then attaching is interrupted, as soon as signals are let in again. */
static bool interrupts_attaching;

int __wrap_hf_os_process_lock(int fd, uint64_t offset)
{
    if (interrupts_attaching) {
        interrupts_attaching = false;
        may_jump = 1;
        assert_int_equal(pthread_kill(pthread_self(), SIGUSR1), 0);
    }
    return __real_hf_os_process_lock(fd, offset);
}

static void *jump_out_of_attaching(void *context)
{
    struct scene *scene = context;
    int cancelled = -1;
    hf_participant me;
    handle(SIGUSR1, jump_out);
    if (sigsetjmp(out, 1) == 0) {
        interrupts_attaching = true;
        (void)hf_participant_self(scene->segment, &me);
        fail_msg("the call came back");
    }
    assert_int_equal(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled), 0);
    assert_int_equal(cancelled, PTHREAD_CANCEL_ENABLE);
    assert_ok(hf_thread_recover(scene->segment));
    expect_free(&scene->root->mutex);
    return NULL;
}

static int run_thread_that_jumps(void *context)
{
    pthread_t thread;
    start_thread(&thread, jump_out_of_attaching, context);
    join_thread(thread);
    return 0;
}

TEST(who_jumps_out_as_a_calls_signals_are_let_in_can_be_cancelled_as_before)
{
    struct scene scene = new_scene();
    assert_int_equal(run_child(run_thread_that_jumps, &scene), 0);
    expect_participants(&scene, 0, 0);
    close_scene(&scene);
}

TEST(recovering_a_thread_that_is_in_no_call_changes_nothing)
{
    struct scene scene = new_scene();
    assert_ok(hf_thread_recover(scene.segment));
    assert_ok(hf_mutex_lock(&scene.root->mutex));
    assert_ok(hf_thread_recover(scene.segment));
    assert_error(hf_mutex_trylock(&scene.root->mutex), -EDEADLK);
    assert_ok(hf_mutex_unlock(&scene.root->mutex));
    close_scene(&scene);
}

/* What is done again and again, and jumped out of at odd moments. */
typedef void (*storm_step)(struct scene *scene);

/* Runs the steps in a storm that jumps out of them; after a jump `settle` runs undisturbed. */
static void jump_in_a_storm(struct scene *scene, storm_step step, storm_step settle, int64_t ms)
{
    handle(SIGUSR1, jump_out);
    timer_t timer = start_storm();
    int64_t end = now_ms() + ms;
    jumps = 0;
    while (now_ms() < end) {
        if (sigsetjmp(out, 1) == 0) {
            may_jump = 1;
            step(scene);
            may_jump = 0;
        } else {
            jumps++;
            assert_ok(hf_thread_recover(scene->segment));
            settle(scene);
        }
    }
    assert_int_equal(timer_delete(timer), 0);
    print_message("jumped %u times\n", jumps);
}

static void lock_and_unlock(struct scene *scene)
{
    for (size_t i = 0; i < 3; i++) {
        assert_ok(hf_mutex_lock(&scene->root->locks[i]));
    }
    for (size_t i = 0; i < 3; i++) {
        assert_ok(hf_mutex_unlock(&scene->root->locks[i]));
    }
}

static void unlock_what_is_held(struct scene *scene)
{
    for (size_t i = 0; i < 3; i++) {
        int error = hf_mutex_unlock(&scene->root->locks[i]);
        assert_true(error == 0 || error == -EPERM);
        expect_free(&scene->root->locks[i]);
    }
}

static int jump_out_of_locks(void *context)
{
    struct scene *scene = context;
    jump_in_a_storm(scene, lock_and_unlock, unlock_what_is_held, 1000);
    expect_participants(scene, 1, 0);
    return 0;
}

TEST(who_jumps_out_of_a_lock_at_any_moment_can_go_on)
{
    struct scene scene = new_scene();
    assert_int_equal(wait_child_for(start_child(jump_out_of_locks, &scene), 15000), 0);
    close_scene(&scene);
}

/* Both values are equal whenever no transaction is open. */
static void change_two_values(struct scene *scene)
{
    struct root *root = scene->root;
    assert_ok(hf_tx_begin(scene->segment));
    assert_ok(hf_mutex_lock(&root->locks[0]));
    assert_ok(hf_tx_add(scene->segment, &root->values[0], 8));
    assert_ok(hf_tx_add(scene->segment, &root->values[1], 8));
    root->values[0]++;
    root->values[1]++;
    assert_ok(hf_mutex_unlock(&root->locks[0]));
    assert_ok(hf_tx_commit(scene->segment));
}

static void abort_what_is_open(struct scene *scene)
{
    struct root *root = scene->root;
    int error = hf_tx_abort(scene->segment);
    assert_true(error == 0 || error == -EINVAL);
    (void)hf_mutex_unlock(&root->locks[0]);
    assert_int_equal(root->values[0], root->values[1]);
    uint64_t before = root->values[0];
    assert_ok(hf_tx_begin(scene->segment)); /* nothing of the last one is left in the log */
    assert_ok(hf_tx_abort(scene->segment));
    assert_int_equal(root->values[0], before);
    assert_int_equal(root->values[1], before);
    expect_free(&root->locks[0]);
    pid_t child = fork(); /* another participant can have it: it is not kept for a transaction */
    assert_true(child >= 0);
    if (child == 0) {
        _exit(hf_mutex_trylock(&root->locks[0]) == 0 && hf_mutex_unlock(&root->locks[0]) == 0 ? 0
                                                                                              : 1);
    }
    assert_int_equal(wait_child(child), 0);
}

static int jump_out_of_transactions(void *context)
{
    struct scene *scene = context;
    for (unsigned i = 0; i < 4; i++) {
        jump_in_a_storm(scene, change_two_values, abort_what_is_open, 1000);
    }
    return 0;
}

TEST(who_jumps_out_of_a_transactions_calls_at_any_moment_can_go_on)
{
    if (UNDER_TSAN) {
        SKIP("the sanitizer delays signals to the end of a call");
    }
    struct scene scene = new_scene();
    assert_int_equal(wait_child_for(start_child(jump_out_of_transactions, &scene), 30000), 0);
    close_scene(&scene);
}

/* Two segments in turn: each call has to find its segment. */
static struct scene other_scene;

static void lock_in_two_segments(struct scene *scene)
{
    assert_ok(hf_mutex_lock(&scene->root->mutex));
    assert_ok(hf_mutex_lock(&other_scene.root->mutex));
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    assert_ok(hf_mutex_unlock(&other_scene.root->mutex));
}

static void unlock_in_two_segments(struct scene *scene)
{
    assert_ok(hf_thread_recover(other_scene.segment));
    (void)hf_mutex_unlock(&scene->root->mutex);
    (void)hf_mutex_unlock(&other_scene.root->mutex);
    expect_free(&scene->root->mutex);
    expect_free(&other_scene.root->mutex);
}

static int jump_out_of_two_segments(void *context)
{
    struct scene *scene = context;
    jump_in_a_storm(scene, lock_in_two_segments, unlock_in_two_segments, 1000);
    return 0;
}

TEST(who_jumps_out_of_calls_on_two_segments_can_go_on)
{
    struct scene scene = new_scene();
    other_scene = new_scene();
    assert_int_equal(wait_child_for(start_child(jump_out_of_two_segments, &scene), 15000), 0);
    close_scene(&other_scene);
    close_scene(&scene);
}

static int hold_all(void *context)
{
    struct scene *scene = context;
    for (size_t i = 0; i < LOCKS; i++) {
        assert_ok(hf_mutex_lock(&scene->root->locks[i]));
    }
    tell(scene, 1);
    wait_for_death();
}

static void recover_all(struct scene *scene)
{
    assert_ok(hf_segment_recover(scene->segment, NULL));
}

static void nothing(struct scene *scene)
{
    (void)scene;
}

static int jump_out_of_a_recovery(void *context)
{
    struct scene *scene = context;
    for (unsigned round = 0; round < 100; round++) {
        assert_int_equal(kill_and_reap(start_told(hold_all, scene, 1)), -SIGKILL);
        jump_in_a_storm(scene, recover_all, nothing, 1);
        assert_ok(hf_segment_recover(scene->segment, NULL));
        for (size_t i = 0; i < LOCKS; i++) {
            assert_error(hf_mutex_timedlock(&scene->root->locks[i], SECONDS(1)), -EOWNERDEAD);
            assert_ok(hf_mutex_consistent(&scene->root->locks[i]));
            assert_ok(hf_mutex_unlock(&scene->root->locks[i]));
        }
        expect_participants(scene, 1, 0);
    }
    return 0;
}

TEST(who_jumps_out_of_a_recovery_does_not_keep_what_the_dead_held)
{
    if (UNDER_TSAN) {
        SKIP("the sanitizer delays signals to the end of a call");
    }
    struct scene scene = new_scene();
    assert_int_equal(wait_child_for(start_child(jump_out_of_a_recovery, &scene), 30000), 0);
    close_scene(&scene);
}

/* ---- the application's own robust mutexes ------------------------------------------------- */

#define ROBUST 40
#define SCENES 5

struct robust_scene {
    pthread_mutex_t mutexes[ROBUST];
    bool held[ROBUST];
    bool attached[SCENES];
    _Atomic uint32_t done;
};

static struct scene scenes[SCENES];
static struct robust_scene *robust;

/* Half of them inherit priorities: these are marked in the thread's list by a bit. */
static void make_robust_mutexes(void)
{
    robust = mmap(NULL, sizeof *robust, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(robust != MAP_FAILED);
    for (size_t i = 0; i < ROBUST; i++) {
        pthread_mutexattr_t attributes;
        assert_int_equal(pthread_mutexattr_init(&attributes), 0);
        assert_int_equal(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), 0);
        assert_int_equal(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
        if (i % 2 == 1) {
            assert_int_equal(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT), 0);
        }
        assert_int_equal(pthread_mutex_init(&robust->mutexes[i], &attributes), 0);
        assert_int_equal(pthread_mutexattr_destroy(&attributes), 0);
    }
}

static void switch_mutex(size_t i)
{
    if (robust->held[i]) {
        assert_int_equal(pthread_mutex_unlock(&robust->mutexes[i]), 0);
    } else {
        assert_int_equal(pthread_mutex_lock(&robust->mutexes[i]), 0);
    }
    robust->held[i] = !robust->held[i];
}

static void switch_scene(size_t i)
{
    if (robust->attached[i]) {
        assert_ok(hf_mutex_unlock(&scenes[i].root->mutex));
        assert_ok(hf_thread_leave(scenes[i].segment));
    } else {
        assert_ok(hf_mutex_lock(&scenes[i].root->mutex));
    }
    robust->attached[i] = !robust->attached[i];
}

static void mix(uint64_t steps)
{
    for (uint64_t n = 0; n < steps; n++) {
        if (random_below(3) == 0) {
            switch_scene((size_t)random_below(SCENES));
        } else {
            switch_mutex((size_t)random_below(ROBUST));
        }
    }
}

static int mix_and_wait(void *context)
{
    (void)context;
    mix(random_below(400));
    store_release(&robust->done, 1u);
    wait_for_death();
}

static void *mix_in_a_thread(void *context)
{
    (void)mix_and_wait(context);
    return NULL;
}

static int mix_in_another_thread(void *context)
{
    pthread_t thread;
    start_thread(&thread, mix_in_a_thread, context);
    wait_for_death();
}

static bool is_mixed(void *unused)
{
    (void)unused;
    return load_acquire(&robust->done) != 0;
}

static void expect_told_of_both(void)
{
    for (size_t i = 0; i < ROBUST; i++) {
        int error = pthread_mutex_lock(&robust->mutexes[i]);
        assert_int_equal(error, robust->held[i] ? EOWNERDEAD : 0);
        if (error == EOWNERDEAD) {
            assert_int_equal(pthread_mutex_consistent(&robust->mutexes[i]), 0);
        }
        assert_int_equal(pthread_mutex_unlock(&robust->mutexes[i]), 0);
        robust->held[i] = false;
    }
    for (size_t i = 0; i < SCENES; i++) {
        assert_error(hf_mutex_timedlock(&scenes[i].root->mutex, PATIENCE),
                     robust->attached[i] ? -EOWNERDEAD : 0);
        if (robust->attached[i]) {
            assert_ok(hf_mutex_consistent(&scenes[i].root->mutex));
        }
        assert_ok(hf_mutex_unlock(&scenes[i].root->mutex));
        robust->attached[i] = false;
    }
    store_release(&robust->done, 0u);
}

static void kill_with_robust_mutexes(int (*run)(void *), unsigned rounds)
{
    make_robust_mutexes();
    for (size_t i = 0; i < SCENES; i++) {
        scenes[i] = new_scene_in((backing)(i % BACKINGS));
    }
    for (unsigned round = 0; round < rounds; round++) {
        (void)random_below(2);
        pid_t victim = start_child(run, NULL);
        assert_true(wait_until(is_mixed, NULL, 20000));
        assert_int_equal(kill_and_reap(victim), -SIGKILL);
        expect_told_of_both();
    }
    for (size_t i = 0; i < SCENES; i++) {
        expect_participants(&scenes[i], 1, 0);
        close_scene(&scenes[i]);
    }
}

TEST(the_applications_robust_mutexes_and_ours_are_both_told_of_a_death)
{
    kill_with_robust_mutexes(mix_and_wait, 40);
}

TEST(the_robust_mutexes_of_another_thread_and_ours_are_both_told_of_a_death)
{
    kill_with_robust_mutexes(mix_in_another_thread, 40);
}

static void *mix_and_end(void *context)
{
    (void)context;
    mix(random_below(400));
    return NULL;
}

TEST(a_thread_that_ends_with_robust_mutexes_and_ours_leaves_both)
{
    if (UNDER_TSAN) {
        SKIP("the sanitizer objects to mutexes that are taken in any order");
    }
    make_robust_mutexes();
    for (size_t i = 0; i < SCENES; i++) {
        scenes[i] = new_scene_in((backing)(i % BACKINGS));
    }
    for (unsigned round = 0; round < 40; round++) {
        pthread_t thread;
        start_thread(&thread, mix_and_end, NULL);
        join_thread(thread);
        expect_told_of_both();
    }
    for (size_t i = 0; i < SCENES; i++) {
        close_scene(&scenes[i]);
    }
}

#define MANY 3000

static void *leave_with_many_robust_mutexes(void *context)
{
    static pthread_mutex_t many[MANY];
    struct scene *scene = context;
    pthread_mutexattr_t attributes;
    assert_int_equal(pthread_mutexattr_init(&attributes), 0);
    assert_int_equal(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
    assert_ok(hf_mutex_lock(&scene->root->mutex));
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(pthread_mutex_init(&many[i], &attributes), 0);
        assert_int_equal(pthread_mutex_lock(&many[i]), 0);
    }
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    assert_ok(hf_thread_leave(scene->segment));
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(pthread_mutex_unlock(&many[i]), 0);
    }
    assert_ok(hf_mutex_lock(&scene->root->mutex)); /* once more */
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    return NULL;
}

static int run_thread_with_many(void *context)
{
    pthread_t thread;
    start_thread(&thread, leave_with_many_robust_mutexes, context);
    join_thread(thread);
    return 0;
}

TEST(a_thread_with_thousands_of_robust_mutexes_can_leave)
{
    if (UNDER_TSAN) {
        SKIP("the sanitizer counts how many mutexes a thread has");
    }
    struct scene scene = new_scene();
    assert_int_equal(run_child(run_thread_with_many, &scene), 0);
    expect_lock(&scene.root->mutex, 0);
    close_scene(&scene);
}

/* ---- slots -------------------------------------------------------------------------------- */

struct crowd {
    struct scene *scene;
    pthread_barrier_t attached;
    pthread_barrier_t leave;
};

static void *attach_with_all(void *context)
{
    struct crowd *crowd = context;
    int error = hf_tx_begin(crowd->scene->segment);
    (void)pthread_barrier_wait(&crowd->attached);
    (void)pthread_barrier_wait(&crowd->leave);
    assert_ok(error);
    assert_ok(hf_tx_commit(crowd->scene->segment));
    return NULL;
}

static uint64_t used_bytes(struct scene *scene)
{
    hf_segment_info info;
    assert_ok(hf_segment_get_info(scene->segment, &info));
    return info.used;
}

/* So many threads attach together and leave. */
static void attach_crowd(struct scene *scene, unsigned count)
{
    static pthread_t threads[400];
    struct crowd crowd = {.scene = scene};
    assert_int_equal(pthread_barrier_init(&crowd.attached, NULL, count + 1), 0);
    assert_int_equal(pthread_barrier_init(&crowd.leave, NULL, count + 1), 0);
    for (unsigned i = 0; i < count; i++) {
        start_thread(&threads[i], attach_with_all, &crowd);
    }
    (void)pthread_barrier_wait(&crowd.attached);
    expect_participants(scene, count, 0);
    (void)pthread_barrier_wait(&crowd.leave);
    for (unsigned i = 0; i < count; i++) {
        join_thread(threads[i]);
    }
    expect_participants(scene, 0, 0);
}

TEST(more_threads_than_a_slot_page_has_slots_can_attach)
{
    for (backing where = 0; where < BACKINGS; where++) {
        struct scene scene = new_scene_in(where);
        uint64_t before = used_bytes(&scene);
        attach_crowd(&scene, 4);
        attach_crowd(&scene, 5);
        attach_crowd(&scene, 17);
        uint64_t after = used_bytes(&scene);
        assert_true(after > before && after <= before + 8 * HF_SEGMENT_PAGE);
        attach_crowd(&scene, 17);
        attach_crowd(&scene, 16);
        assert_int_equal(used_bytes(&scene), after);
        close_scene(&scene);
    }
}

TEST(hundreds_of_threads_come_and_go_and_take_no_more_than_once)
{
    struct scene scene;
    void *root;
    scene = new_scene();
    hf_segment_close(scene.segment);
    assert_ok(hf_segment_create_anonymous(1 << 20, NULL, &scene.segment));
    assert_ok(hf_segment_root(scene.segment, sizeof *scene.root, &root));
    assert_ok(hf_thread_leave(scene.segment));
    uint64_t before = used_bytes(&scene);
    unsigned count = UNDER_TSAN ? 100 : 300;
    attach_crowd(&scene, count);
    uint64_t after = used_bytes(&scene);
    assert_true(after <= before + 2 * (count / 4 + 1) * HF_SEGMENT_PAGE);
    for (unsigned i = 0; i < 3; i++) {
        attach_crowd(&scene, count);
        assert_int_equal(used_bytes(&scene), after);
    }
    close_scene(&scene);
}

/* With a transaction so large that its log takes pages. */
static int attach_and_log(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_tx_begin(scene->segment));
    assert_ok(hf_tx_add(scene->segment, scene->root->values, sizeof scene->root->values));
    tell(scene, 1);
    wait_for_death();
}

static int attach_and_wait(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_tx_begin(scene->segment));
    tell(scene, 1);
    wait_for_death();
}

TEST(slots_and_logs_of_the_killed_are_used_again)
{
    struct scene scene = new_scene();
    uint64_t after = 0;
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(kill_and_reap(start_told(attach_and_log, &scene, 1)), -SIGKILL);
        assert_ok(hf_segment_recover(scene.segment, NULL));
        if (i == 3) {
            after = used_bytes(&scene);
        }
    }
    assert_int_equal(used_bytes(&scene), after);
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

/* Nobody meets these dead: they held nothing. */
TEST(the_killed_do_not_eat_up_the_segment)
{
    struct scene scene = new_scene();
    uint64_t before = used_bytes(&scene);
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(kill_and_reap(start_told(attach_and_wait, &scene, 1)), -SIGKILL);
    }
    assert_in_range(used_bytes(&scene), before, before + 4 * HF_SEGMENT_PAGE);
    close_scene(&scene);
}

/* A segment with no room for a second slot page. */
static struct scene new_full_scene(void)
{
    struct scene scene = new_scene();
    hf_segment_close(scene.segment);
    size_t size = (size_t)HF_SEGMENT_SIZE_MIN + (size_t)HF_SEGMENT_PAGE;
    void *buffer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void *root;
    assert_true(buffer != MAP_FAILED);
    assert_ok(hf_segment_init(buffer, size, &scene.segment));
    assert_ok(hf_segment_root(scene.segment, 4096, &root));
    assert_ok(hf_thread_leave(scene.segment));
    scene.root = root;
    return scene;
}

static int lock_one_of_few(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_mutex_lock(&scene->root->locks[scene->lock]));
    tell(scene, 1);
    wait_for_death();
}

TEST(when_all_slots_are_taken_attaching_says_so_and_when_one_died_its_slot_can_be_had)
{
    struct scene scene = new_full_scene();
    pid_t owners[4];
    for (uint32_t i = 0; i < 4; i++) {
        scene.lock = i;
        owners[i] = start_told(lock_one_of_few, &scene, 1);
    }
    assert_error(hf_tx_begin(scene.segment), -EAGAIN);
    assert_error(hf_mutex_lock(&scene.root->mutex), -EAGAIN);
    expect_participants(&scene, 4, 0);
    assert_int_equal(kill_and_reap(owners[2]), -SIGKILL);
    expect_participants(&scene, 3, 1);
    assert_error(hf_mutex_trylock(&scene.root->locks[2]), -EOWNERDEAD);
    expect_participants(&scene, 4, 0);
    assert_error(hf_mutex_trylock(&scene.root->locks[1]), -EBUSY);
    assert_ok(hf_thread_leave(scene.segment));
    for (uint32_t i = 0; i < 4; i++) {
        if (i != 2) {
            assert_int_equal(kill_and_reap(owners[i]), -SIGKILL);
        }
    }
    expect_lock(&scene.root->locks[1], -EOWNERDEAD);
    unsigned recovered;
    assert_ok(hf_segment_recover(scene.segment, &recovered));
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

static void *attach_too(void *context)
{
    struct scene *scene = context;
    int error = hf_tx_begin(scene->segment);
    if (error == 0) {
        assert_ok(hf_tx_commit(scene->segment));
    }
    return (void *)(intptr_t)error;
}

TEST(threads_of_one_process_give_their_slots_to_each_other)
{
    struct scene scene = new_full_scene();
    pid_t owners[3];
    pthread_t thread;
    void *result;
    for (uint32_t i = 0; i < 3; i++) {
        scene.lock = i;
        owners[i] = start_told(lock_one_of_few, &scene, 1);
    }
    for (unsigned i = 0; i < 200; i++) {
        start_thread(&thread, attach_too, &scene);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_int_equal((intptr_t)result, 0);
    }
    assert_ok(hf_tx_begin(scene.segment));
    start_thread(&thread, attach_too, &scene);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, -EAGAIN);
    assert_ok(hf_tx_commit(scene.segment));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(kill_and_reap(owners[i]), -SIGKILL);
    }
    close_scene(&scene);
}

/* ---- all slots ---------------------------------------------------------------------------- */

#define ALL_SLOTS 4095

struct everyone {
    hf_segment *segment;
    _Atomic uint32_t attached;
    _Atomic uint32_t failed;
    pthread_mutex_t stay; /* held while all are to stay */
};

static void *attach_and_stay(void *context)
{
    struct everyone *all = context;
    int error = hf_tx_begin(all->segment);
    (void)fetch_add_relaxed(error == 0 ? &all->attached : &all->failed, 1);
    (void)pthread_mutex_lock(&all->stay);
    (void)pthread_mutex_unlock(&all->stay);
    return (void *)(intptr_t)error;
}

/* How many threads could be made. */
static unsigned start_everyone(struct everyone *all, pthread_t *threads, unsigned wanted)
{
    pthread_attr_t small;
    assert_int_equal(pthread_attr_init(&small), 0);
    assert_int_equal(pthread_attr_setstacksize(&small, 128 << 10), 0);
    unsigned made = 0;
    while (made < wanted && pthread_create(&threads[made], &small, attach_and_stay, all) == 0) {
        made++;
    }
    while (load_acquire(&all->attached) + load_acquire(&all->failed) < made) {
        sleep_ms(1);
    }
    assert_int_equal(pthread_attr_destroy(&small), 0);
    return made;
}

TEST(when_4095_threads_are_attached_the_next_gets_eagain)
{
    if (UNDER_TSAN || UNDER_ASAN) {
        SKIP("so many threads are too much for a sanitizer");
    }
    static pthread_t threads[ALL_SLOTS];
    static struct everyone all;
    assert_int_equal(pthread_mutex_init(&all.stay, NULL), 0);
    assert_int_equal(pthread_mutex_lock(&all.stay), 0);
    assert_ok(hf_segment_create_anonymous(UINT64_C(8) << 20, NULL, &all.segment));
    unsigned made = start_everyone(&all, threads, ALL_SLOTS);
    int error = hf_tx_begin(all.segment);
    hf_segment_info info;
    assert_ok(hf_segment_get_info(all.segment, &info));
    assert_int_equal(pthread_mutex_unlock(&all.stay), 0);
    intptr_t failed = 0;
    for (unsigned i = 0; i < made; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        failed = result != NULL ? (intptr_t)result : failed;
    }
    if (made < ALL_SLOTS) {
        SKIP("so many threads cannot be had here");
    }
    assert_ok((int)failed);
    assert_int_equal(info.participants, ALL_SLOTS);
    assert_error(error, -EAGAIN);
    assert_ok(hf_tx_begin(all.segment));
    assert_ok(hf_tx_commit(all.segment));
    assert_ok(hf_segment_get_info(all.segment, &info));
    assert_int_equal(info.participants, 1);
    hf_segment_close(all.segment);
}
