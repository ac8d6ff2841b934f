/* SPDX-License-Identifier: MIT */
/* Participants that fork, by any kind of fork, and that execute another program. */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/participants.h"
#include "support/support.h"

/* ---- kinds of fork ------------------------------------------------------------------------ */

static pid_t raw_fork(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

typedef pid_t (*fork_function)(void);

static const struct kind {
    const char *name;
    fork_function make;
} kinds[] = {
    {"fork", fork},
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34)
    {"_Fork", _Fork},
#endif
    {"clone", raw_fork},
};
/* The sanitizer's own state is lost by the others. */
#define KINDS (UNDER_TSAN ? 1 : sizeof kinds / sizeof kinds[0])

static fork_function make_process;

static void refuse_robust_lists(void)
{
    refuse_syscall(SYS_get_robust_list, ENOSYS);
    refuse_syscall(SYS_set_robust_list, ENOSYS);
}

/* Makes the test for each kind of fork. */
static void for_each_kind(void (*test)(void))
{
    for (size_t i = 0; i < KINDS; i++) {
        print_message("by %s\n", kinds[i].name);
        make_process = kinds[i].make;
        test();
    }
}

static void hold_and_write(struct scene *scene)
{
    struct root *root = scene->root;
    assert_ok(hf_mutex_lock(&root->locks[0]));
    assert_ok(hf_tx_begin(scene->segment));
    assert_ok(hf_mutex_lock(&root->mutex));
    assert_ok(hf_tx_add(scene->segment, root->values, 8));
    root->values[0] = 5;
}

static void commit_and_let_go(struct scene *scene)
{
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    assert_ok(hf_tx_commit(scene->segment));
    assert_ok(hf_mutex_unlock(&scene->root->locks[0]));
    assert_int_equal(scene->root->values[0], 5);
    scene->root->values[0] = VALUE_BEFORE;
}

/* ---- what a child has --------------------------------------------------------------------- */

static void expect_nothing_inherited(struct scene *scene)
{
    struct root *root = scene->root;
    assert_error(hf_mutex_unlock(&root->mutex), -EPERM);
    assert_error(hf_mutex_unlock(&root->locks[0]), -EPERM);
    assert_error(hf_tx_commit(scene->segment), -EINVAL);
    assert_error(hf_tx_abort(scene->segment), -EINVAL);
    assert_error(hf_mutex_trylock(&root->mutex), -EBUSY);
    assert_error(hf_mutex_timedlock(&root->locks[0], MILLISECONDS(120)), -ETIMEDOUT);
    assert_int_equal(root->values[0], 5);
    expect_participants(scene, 2, 0);
    assert_ok(hf_tx_begin(scene->segment)); /* it can do all of its own */
    assert_ok(hf_mutex_lock(&root->locks[1]));
    assert_ok(hf_tx_add(scene->segment, &root->values[1], 8));
    root->values[1] = 6;
    assert_ok(hf_tx_abort(scene->segment));
    assert_ok(hf_mutex_unlock(&root->locks[1]));
    assert_int_equal(root->values[1], VALUE_BEFORE);
}

static int fork_while_holding(void *context)
{
    struct scene *scene = context;
    hold_and_write(scene);
    pid_t child = make_process();
    assert_true(child >= 0);
    if (child == 0) {
        expect_nothing_inherited(scene);
        assert_ok(hf_mutex_lock(&scene->root->locks[2]));
        _exit(0);
    }
    assert_int_equal(wait_child(child), 0);
    expect_lock(&scene->root->locks[2], -EOWNERDEAD); /* the child died, and only the child */
    expect_participants(scene, 1, 0);
    commit_and_let_go(scene);
    assert_ok(hf_mutex_consistent(&scene->root->locks[2]));
    assert_ok(hf_mutex_unlock(&scene->root->locks[2]));
    return 0;
}

static void a_child_has_nothing(void)
{
    for (backing where = 0; where < BACKINGS; where++) {
        struct scene scene = new_scene_in(where);
        assert_int_equal(run_child(fork_while_holding, &scene), 0);
        expect_free(&scene.root->mutex);
        close_scene(&scene);
    }
}

TEST(a_forked_child_has_no_lock_and_no_transaction_of_its_parents_and_can_have_its_own)
{
    for_each_kind(a_child_has_nothing);
}

/* ---- the parent dies first ---------------------------------------------------------------- */

_Noreturn static void outlive_the_parent(void)
{
    (void)prctl(PR_SET_PDEATHSIG, 0);
    (void)alarm(60); /* should the test die */
    wait_for_death();
}

static int leave_a_silent_child(void *context)
{
    struct scene *scene = context;
    hold_and_write(scene);
    pid_t child = make_process();
    if (child == 0) {
        outlive_the_parent();
    }
    store_release(&scene->notes->pid, (uint32_t)child);
    tell(scene, 1);
    wait_for_death();
}

static int leave_a_holding_child(void *context)
{
    struct scene *scene = context;
    hold_and_write(scene);
    pid_t child = make_process();
    if (child == 0) {
        assert_ok(hf_mutex_lock(&scene->root->locks[1]));
        tell(scene, 1);
        outlive_the_parent();
    }
    store_release(&scene->notes->pid, (uint32_t)child);
    wait_for_death();
}

static void expect_handed_over_soon(struct scene *scene, pid_t owner)
{
    pid_t killer = kill_later(scene, owner, 20);
    expect_lock(&scene->root->mutex, 0);
    assert_in_range(now_ms() - (int64_t)load_acquire(&scene->notes->went), 0, 9000);
    assert_int_equal(scene->root->values[0], VALUE_BEFORE);
    expect_lock(&scene->root->locks[0], -EOWNERDEAD);
    assert_int_equal(wait_child(killer), 0);
    assert_int_equal(wait_child(owner), -SIGKILL);
}

static void parent_dies_first(int (*parent)(void *), backing where)
{
    struct scene scene = new_scene_in(where);
    bool holds = parent == leave_a_holding_child;
    pid_t owner = start_told(parent, &scene, 1);
    pid_t child = noted_process(&scene);
    expect_handed_over_soon(&scene, owner);
    assert_int_equal(kill(child, 0), 0); /* it lives */
    if (holds) {
        assert_error(hf_mutex_timedlock(&scene.root->locks[1], MILLISECONDS(200)), -ETIMEDOUT);
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    expect_lock(&scene.root->locks[1], holds ? -EOWNERDEAD : 0);
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

static void silent_child_remains(void)
{
    parent_dies_first(leave_a_silent_child, BACKING_ANONYMOUS);
    parent_dies_first(leave_a_silent_child, BACKING_SHM);
}

static void silent_child_remains_with_a_buffer(void)
{
    parent_dies_first(leave_a_silent_child, BACKING_BUFFER);
}

static void holding_child_remains(void)
{
    parent_dies_first(leave_a_holding_child, BACKING_ANONYMOUS);
    parent_dies_first(leave_a_holding_child, BACKING_FILE);
}

static void holding_child_remains_with_a_buffer(void)
{
    parent_dies_first(leave_a_holding_child, BACKING_BUFFER);
}

TEST(a_parents_death_is_told_while_a_child_lives_that_never_calls)
{
    for_each_kind(silent_child_remains);
    for_each_kind(silent_child_remains_with_a_buffer);
}

TEST(a_parents_death_is_told_while_a_child_lives_that_never_calls_without_robust_lists_too)
{
    refuse_robust_lists();
    for_each_kind(silent_child_remains);
}

TEST(a_child_that_outlives_its_parent_keeps_its_own_lock)
{
    for_each_kind(holding_child_remains);
    for_each_kind(holding_child_remains_with_a_buffer);
}

TEST(a_child_that_outlives_its_parent_keeps_its_own_lock_without_robust_lists_too)
{
    refuse_robust_lists();
    for_each_kind(holding_child_remains);
}

/* As a daemon does: the parent goes, and the child waits for what that held. */
static int become_a_daemon(void *context)
{
    struct scene *scene = context;
    hold_and_write(scene);
    pid_t child = make_process();
    if (child != 0) {
        _exit(0);
    }
    (void)prctl(PR_SET_PDEATHSIG, 0);
    (void)alarm(60);
    expect_lock(&scene->root->mutex, 0);
    expect_lock(&scene->root->locks[0], -EOWNERDEAD);
    tell(scene, 2);
    _exit(0);
}

static void daemon_takes_over(void)
{
    struct scene scene = new_scene();
    tell(&scene, 0);
    assert_int_equal(run_child(become_a_daemon, &scene), 0);
    await(&scene, 2);
    expect_lock(&scene.root->mutex, -EOWNERDEAD);
    close_scene(&scene);
}

TEST(a_child_gets_the_lock_of_a_parent_that_has_ended)
{
    for_each_kind(daemon_takes_over);
}

/* ---- the child ends ----------------------------------------------------------------------- */

typedef void (*child_body)(struct scene *scene);
static child_body in_the_child;

/* Forks, and the child ends in its way: all that the parent has stays the parent's. */
static void *fork_and_keep(void *context)
{
    struct scene *scene = context;
    hold_and_write(scene);
    pid_t child = make_process();
    assert_true(child >= 0);
    if (child == 0) {
        (void)alarm(10);
        in_the_child(scene);
        _exit(0);
    }
    assert_int_equal(wait_child(child), 0);
    assert_int_equal(scene->root->values[0], 5);
    tell(scene, 1);
    await(scene, 2); /* the others have found all of it locked */
    commit_and_let_go(scene);
    return NULL;
}

static int fork_and_keep_in_first_thread(void *context)
{
    (void)fork_and_keep(context);
    return 0;
}

static int fork_and_keep_in_another_thread(void *context)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fork_and_keep, context), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return 0;
}

static void parent_keeps_all(int (*parent)(void *), child_body body)
{
    struct scene scene = new_scene();
    in_the_child = body;
    pid_t owner = start_told(parent, &scene, 1);
    assert_error(hf_mutex_timedlock(&scene.root->mutex, MILLISECONDS(200)), -ETIMEDOUT);
    assert_error(hf_mutex_trylock(&scene.root->locks[0]), -EBUSY);
    assert_ok(hf_segment_recover(scene.segment, NULL));
    expect_participants(&scene, 2, 0);
    tell(&scene, 2);
    assert_int_equal(wait_child(owner), 0);
    expect_free(&scene.root->mutex);
    expect_free(&scene.root->locks[0]);
    close_scene(&scene);
}

/* A sanitizer would look for leaks now. */
static void end_at_once(void)
{
    _exit(0);
}

static void end_the_thread(struct scene *scene)
{
    (void)scene;
    assert_int_equal(atexit(end_at_once), 0);
    pthread_exit(NULL);
}

static void call_and_end_the_thread(struct scene *scene)
{
    expect_free(&scene->root->locks[3]);
    end_the_thread(scene);
}

static void leave_the_segment(struct scene *scene)
{
    assert_ok(hf_thread_leave(scene->segment));
    expect_free(&scene->root->locks[3]);
    assert_ok(hf_thread_leave(scene->segment));
    assert_ok(hf_thread_leave(scene->segment));
}

static void close_the_segment(struct scene *scene)
{
    hf_segment_close(scene->segment);
}

static void close_and_open(struct scene *scene)
{
    hf_memory *memory = hf_segment_memory(scene->segment);
    hf_segment *segment;
    void *root;
    int sockets[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    assert_ok(hf_memory_send(memory, sockets[0]));
    expect_free(&scene->root->locks[3]);
    hf_segment_close(scene->segment);
    assert_ok(hf_memory_receive(sockets[1], &memory));
    assert_ok(hf_segment_open_memory(memory, HF_READ_WRITE, &segment));
    assert_ok(hf_segment_root(segment, sizeof(struct root), &root));
    expect_free(&((struct root *)root)->locks[3]);
    assert_error(hf_mutex_trylock(&((struct root *)root)->mutex), -EBUSY);
    hf_segment_close(segment);
}

static void recover_others(struct scene *scene)
{
    unsigned recovered = 1;
    assert_ok(hf_thread_recover(scene->segment));
    assert_ok(hf_segment_recover(scene->segment, &recovered));
    assert_int_equal(recovered, 0);
}

static void exit_properly(struct scene *scene)
{
    expect_free(&scene->root->locks[3]);
    _exit(0);
}

TEST(a_forked_child_that_ends_its_thread_leaves_its_parents_locks_alone)
{
    if (UNDER_TSAN) {
        SKIP("the sanitizer's own thread keeps such a child alive");
    }
    make_process = fork;
    parent_keeps_all(fork_and_keep_in_first_thread, end_the_thread);
    parent_keeps_all(fork_and_keep_in_first_thread, call_and_end_the_thread);
}

TEST(a_child_forked_in_another_thread_that_ends_it_leaves_its_parents_locks_alone)
{
    if (UNDER_TSAN) {
        SKIP("the sanitizer gives up on a child of several threads");
    }
    make_process = fork;
    parent_keeps_all(fork_and_keep_in_another_thread, end_the_thread);
    parent_keeps_all(fork_and_keep_in_another_thread, call_and_end_the_thread);
}

TEST(a_forked_child_that_leaves_and_closes_leaves_its_parents_locks_alone)
{
    static const child_body bodies[] = {leave_the_segment, close_the_segment, recover_others,
                                        exit_properly};
    for (size_t kind = 0; kind < KINDS; kind++) {
        make_process = kinds[kind].make;
        for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
            parent_keeps_all(fork_and_keep_in_first_thread, bodies[i]);
        }
    }
}

/* ---- a child with threads ----------------------------------------------------------------- */

#define THREADS 8
#define TURNS   200

static pthread_barrier_t barrier;

/* Each takes its own lock, so nobody waits: what fails is the participant itself. */
static void *call_at_once(void *context)
{
    hf_mutex *mutex = context;
    (void)pthread_barrier_wait(&barrier);
    int error = hf_mutex_lock(mutex);
    sleep_ms(2);
    int unlocked = hf_mutex_unlock(mutex);
    return (void *)(intptr_t)(error != 0 ? error : unlocked);
}

static void call_in_many_threads(struct scene *scene)
{
    pthread_t threads[THREADS];
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, call_at_once, &scene->root->locks[i]),
                         0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_error((int)(intptr_t)result, 0);
    }
    expect_participants(scene, 0, 0);
}

static int call_first_in_many_threads(void *context)
{
    call_in_many_threads(context);
    return 0;
}

TEST(threads_of_a_forked_child_may_all_be_the_first_to_call)
{
    struct scene scene = new_scene();
    call_in_many_threads(&scene); /* there are slots for all of them */
    for (unsigned i = 0; i < TURNS; i++) {
        assert_int_equal(wait_child_for(start_child(call_first_in_many_threads, &scene), 20000), 0);
    }
    close_scene(&scene);
}

static _Atomic uint32_t enough;

static void *come_and_go(void *context)
{
    struct scene *scene = context;
    while (load_acquire(&enough) == 0) {
        assert_ok(hf_mutex_lock(&scene->root->locks[9]));
        assert_ok(hf_mutex_unlock(&scene->root->locks[9]));
        assert_ok(hf_thread_leave(scene->segment));
    }
    return NULL;
}

static int lock_as_a_child(void *context)
{
    struct scene *scene = context;
    expect_free(&scene->root->locks[8]);
    expect_lock(&scene->root->mutex, 0);
    assert_ok(hf_mutex_unlock(&scene->root->mutex));
    return 0;
}

TEST(a_child_forked_while_other_threads_are_in_calls_can_call)
{
    if (UNDER_TSAN) {
        SKIP("the sanitizer gives up on a child of several threads");
    }
    struct scene scene = new_scene();
    pthread_t threads[2];
    call_in_many_threads(&scene);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &scene), 0);
    }
    for (unsigned i = 0; i < TURNS; i++) {
        assert_int_equal(wait_child_for(start_child(lock_as_a_child, &scene), 15000), 0);
    }
    store_release(&enough, 1u);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_ok(hf_segment_recover(scene.segment, NULL));
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

/* ---- private memory ----------------------------------------------------------------------- */

static int wait_in_the_copy(void *context)
{
    struct scene *scene = context;
    expect_lock(&scene->root->mutex, -EOWNERDEAD);
    assert_int_equal(scene->root->values[0], VALUE_BEFORE);
    return 0;
}

/* The child's copy holds no thread of the parent's, so nobody there will ever unlock. */
TEST(in_a_childs_copy_of_private_memory_the_parents_threads_are_dead)
{
    struct scene scene = {.notes = NULL};
    void *root;
    assert_ok(hf_segment_create_private(256 << 10, NULL, &scene.segment));
    assert_ok(hf_segment_root(scene.segment, sizeof *scene.root, &root));
    scene.root = root;
    scene.root->values[0] = VALUE_BEFORE;
    assert_ok(hf_mutex_lock(&scene.root->mutex));
    assert_ok(hf_tx_begin(scene.segment));
    assert_ok(hf_tx_add(scene.segment, scene.root->values, 8));
    scene.root->values[0] = 1;
    assert_int_equal(run_child(wait_in_the_copy, &scene), 0);
    assert_int_equal(scene.root->values[0], 1);
    assert_ok(hf_tx_commit(scene.segment));
    assert_ok(hf_mutex_unlock(&scene.root->mutex));
    hf_segment_close(scene.segment);
}

/* ---- a buffer ---------------------------------------------------------------------------- */

static int find_it_taken(void *context)
{
    struct scene *scene = context;
    assert_error(hf_mutex_trylock(&scene->root->mutex), -EBUSY);
    assert_error(hf_mutex_timedlock(&scene->root->mutex, MILLISECONDS(300)), -ETIMEDOUT);
    assert_error(hf_mutex_trylock(&scene->root->mutex), -EBUSY);
    return 0;
}

/* The system does not say whether it is. */
TEST(in_a_shared_buffer_a_parent_lives_whatever_the_system_refuses)
{
    refuse_syscall(SYS_mremap, EPERM);
    struct scene scene = new_scene_in(BACKING_BUFFER);
    assert_ok(hf_mutex_lock(&scene.root->mutex));
    assert_int_equal(run_child(find_it_taken, &scene), 0);
    assert_ok(hf_mutex_unlock(&scene.root->mutex));
    close_scene(&scene);
}

/* ---- exec --------------------------------------------------------------------------------- */

_Noreturn static void become_another_program(void)
{
    (void)execlp("sleep", "sleep", "60", (char *)NULL);
    _exit(127);
}

static int exec_from_first_thread(void *context)
{
    struct scene *scene = context;
    hold_and_write(scene);
    tell(scene, 1);
    sleep_ms(30);
    store_release(&scene->notes->went, (uint64_t)now_ms());
    become_another_program();
}

static void *hold_and_exec(void *context)
{
    (void)exec_from_first_thread(context);
    return NULL;
}

/* The first thread holds locks[1] meanwhile. */
static int exec_from_another_thread(void *context)
{
    struct scene *scene = context;
    pthread_t thread;
    assert_ok(hf_mutex_lock(&scene->root->locks[1]));
    assert_int_equal(pthread_create(&thread, NULL, hold_and_exec, scene), 0);
    wait_for_death();
}

static void exec_hands_over(int (*run)(void *), backing where)
{
    struct scene scene = new_scene_in(where);
    pid_t owner = start_told(run, &scene, 1);
    expect_lock(&scene.root->mutex, 0);
    int64_t took = now_ms() - (int64_t)load_acquire(&scene.notes->went);
    print_message("%s: told after %lld ms\n", run == exec_from_first_thread ? "first" : "another",
                  (long long)took);
    assert_in_range(took, 0, 9000);
    assert_int_equal(scene.root->values[0], VALUE_BEFORE);
    expect_lock(&scene.root->locks[0], -EOWNERDEAD);
    if (run == exec_from_another_thread) {
        expect_lock(&scene.root->locks[1], -EOWNERDEAD);
    }
    assert_int_equal(kill(owner, 0), 0);
    assert_int_equal(wait_child_for(owner, 0), CHILD_RUNS); /* as another program */
    expect_participants(&scene, 1, 0);
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    close_scene(&scene);
}

TEST(exec_hands_the_locks_over)
{
    for (backing where = 0; where < BACKINGS; where++) {
        exec_hands_over(exec_from_first_thread, where);
    }
}

TEST(exec_from_another_thread_hands_the_locks_over)
{
    for (backing where = 0; where < BACKINGS; where++) {
        exec_hands_over(exec_from_another_thread, where);
    }
}

TEST(exec_hands_the_locks_over_without_robust_lists_too)
{
    refuse_robust_lists();
    exec_hands_over(exec_from_first_thread, BACKING_SHM);
    exec_hands_over(exec_from_another_thread, BACKING_FILE);
}

TEST(exec_hands_the_locks_over_without_waiting_on_two_words_too)
{
#ifdef SYS_futex_waitv
    refuse_syscall(SYS_futex_waitv, EPERM);
#endif
    exec_hands_over(exec_from_first_thread, BACKING_ANONYMOUS);
    exec_hands_over(exec_from_another_thread, BACKING_ANONYMOUS);
    exec_hands_over(exec_from_another_thread, BACKING_BUFFER);
}

/* ---- programs that are started ------------------------------------------------------------ */

static int start_programs(void *context)
{
    struct scene *scene = context;
    char *const argv[] = {(char[]){"true"}, NULL};
    pid_t pid;
    hold_and_write(scene);
    assert_int_equal(posix_spawnp(&pid, "true", NULL, NULL, argv, environ), 0);
    assert_int_equal(wait_child(pid), 0);
    assert_int_equal(system("true"), 0); /* NOLINT(cert-env33-c) */
    assert_int_equal(posix_spawnp(&pid, "no such program", NULL, NULL, argv, environ), ENOENT);
    tell(scene, 1);
    await(scene, 2);
    commit_and_let_go(scene);
    return 0;
}

static void starting_programs_keeps_the_locks(void)
{
    struct scene scene = new_scene();
    pid_t owner = start_told(start_programs, &scene, 1);
    assert_error(hf_mutex_timedlock(&scene.root->mutex, MILLISECONDS(300)), -ETIMEDOUT);
    expect_participants(&scene, 2, 0);
    tell(&scene, 2);
    assert_int_equal(wait_child(owner), 0);
    expect_free(&scene.root->mutex);
    close_scene(&scene);
}

TEST(who_starts_programs_keeps_its_locks)
{
    starting_programs_keeps_the_locks();
    refuse_robust_lists();
    starting_programs_keeps_the_locks();
}

/* ---- other ways to end -------------------------------------------------------------------- */

static int hold_and_call_exit(void *context)
{
    hold_and_write(context);
    exit(3); /* NOLINT(concurrency-mt-unsafe) */
}

static int hold_and_crash(void *context)
{
    struct scene *scene = context;
    hold_and_write(scene);
    (void)raise(SIGSEGV);
    return 0;
}

static int hold_and_call_the_end(void *context)
{
    hold_and_write(context);
    _exit(3);
}

static void ended(int (*run)(void *), int status)
{
    struct scene scene = new_scene();
    assert_int_equal(run_child(run, &scene), status);
    expect_lock(&scene.root->mutex, 0);
    assert_int_equal(scene.root->values[0], VALUE_BEFORE);
    expect_lock(&scene.root->locks[0], -EOWNERDEAD);
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

TEST(however_a_process_ends_its_locks_are_handed_over)
{
    ended(hold_and_call_exit, 3);
    ended(hold_and_call_the_end, 3);
    ended(hold_and_crash, -SIGSEGV);
}

static void *stay(void *unused)
{
    (void)unused;
    wait_for_death();
}

static int end_the_first_thread(void *context)
{
    struct scene *scene = context;
    pthread_t thread;
    hold_and_write(scene);
    assert_int_equal(pthread_create(&thread, NULL, stay, NULL), 0);
    tell(scene, 1);
    pthread_exit(NULL);
}

static bool is_gone(void *context)
{
    struct scene *scene = context;
    hf_segment_info info;
    assert_ok(hf_segment_get_info(scene->segment, &info));
    return info.participants == 1 && info.dead == 0;
}

TEST(a_first_thread_that_ends_before_the_others_hands_its_locks_over)
{
    struct scene scene = new_scene();
    pid_t owner = start_told(end_the_first_thread, &scene, 1);
    expect_lock(&scene.root->mutex, 0);
    expect_lock(&scene.root->locks[0], -EOWNERDEAD);
    assert_int_equal(wait_child_for(owner, 0), CHILD_RUNS);
    assert_true(wait_until(is_gone, &scene, 10000)); /* it frees its locks before its slot */
    assert_int_equal(kill_and_reap(owner), -SIGKILL);
    close_scene(&scene);
}

TEST(a_process_that_nobody_has_reaped_is_dead)
{
    struct scene scene = new_scene();
    for (unsigned i = 0; i < 2; i++) {
        pid_t owner = start_told(hold_the_mutex, &scene, 1);
        assert_int_equal(kill(owner, SIGKILL), 0);
        wait_for_state(owner, 'Z');
        expect_lock(&scene.root->mutex, -EOWNERDEAD);
        assert_ok(hf_mutex_consistent(&scene.root->mutex));
        assert_ok(hf_mutex_unlock(&scene.root->mutex));
        assert_int_equal(wait_child(owner), -SIGKILL);
        assert_ok(hf_thread_leave(scene.segment));
        refuse_robust_lists();
    }
    close_scene(&scene);
}

TEST(a_child_that_closes_its_segment_and_opens_it_again_leaves_its_parents_locks_alone)
{
    for (size_t kind = 0; kind < KINDS; kind++) {
        make_process = kinds[kind].make;
        parent_keeps_all(fork_and_keep_in_first_thread, close_and_open);
    }
}
