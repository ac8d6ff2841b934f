/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "support/participants.h"
#include "support/support.h"

#define SEGMENT_SIZE (UINT64_C(256) << 10)

/* ---- scenes ------------------------------------------------------------------------------- */

static void *shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

struct scene new_scene_in(backing where)
{
    char name[UNIQUE_NAME_SIZE];
    struct scene scene = {.notes = shared_memory(4096)};
    void *root;
    switch (where) {
    case BACKING_SHM:
        assert_ok(hf_segment_create(unique_name(name, "part"), SEGMENT_SIZE, NULL, &scene.segment));
        break;
    case BACKING_FILE:
        assert_ok(hf_segment_create_file(path_in(temporary_directory(), "segment"), SEGMENT_SIZE,
                                         NULL, &scene.segment));
        break;
    case BACKING_BUFFER:
        scene.buffer = shared_memory(SEGMENT_SIZE);
        assert_ok(hf_segment_init(scene.buffer, SEGMENT_SIZE, &scene.segment));
        break;
    default:
        assert_ok(hf_segment_create_anonymous(SEGMENT_SIZE, NULL, &scene.segment));
        break;
    }
    assert_ok(hf_segment_root(scene.segment, sizeof *scene.root, &root));
    assert_ok(hf_thread_leave(scene.segment));
    scene.root = root;
    for (size_t i = 0; i < LOCKS; i++) {
        scene.root->values[i] = VALUE_BEFORE;
    }
    return scene;
}

struct scene new_scene(void)
{
    return new_scene_in(BACKING_ANONYMOUS);
}

void close_scene(struct scene *scene)
{
    hf_segment_close(scene->segment);
    if (scene->buffer != NULL) {
        assert_int_equal(munmap(scene->buffer, SEGMENT_SIZE), 0);
    }
    assert_int_equal(munmap(scene->notes, 4096), 0);
}

/* ---- telling each other ------------------------------------------------------------------- */

void tell(struct scene *scene, uint32_t step)
{
    store_release(&scene->notes->step, step);
}

void await(struct scene *scene, uint32_t step)
{
    int64_t end = now_ms() + 20000;
    while (load_acquire(&scene->notes->step) < step) {
        if (now_ms() > end) {
            fail_msg("step %u has not come", step);
        }
        sleep_ms(1);
    }
}

pid_t start_told(int (*run)(void *scene), struct scene *scene, uint32_t step)
{
    tell(scene, 0);
    pid_t child = start_child(run, scene);
    await(scene, step);
    return child;
}

static bool is_noted(void *scene)
{
    return load_acquire(&((struct scene *)scene)->notes->pid) != 0;
}

pid_t noted_process(struct scene *scene)
{
    assert_true(wait_until(is_noted, scene, 10000));
    return (pid_t)exchange_release(&scene->notes->pid, 0);
}

_Noreturn void wait_for_death(void)
{
    for (;;) {
        (void)pause();
    }
}

pid_t kill_later(struct scene *scene, pid_t victim, int64_t ms)
{
    pid_t killer = fork();
    assert_true(killer >= 0);
    if (killer == 0) {
        sleep_ms(ms);
        store_release(&scene->notes->went, (uint64_t)now_ms());
        (void)kill(victim, SIGKILL);
        _exit(0);
    }
    return killer;
}

/* ---- expectations ------------------------------------------------------------------------- */

void expect_lock(hf_mutex *mutex, int expected)
{
    assert_error(hf_mutex_timedlock(mutex, PATIENCE), expected);
}

void expect_free(hf_mutex *mutex)
{
    assert_ok(hf_mutex_trylock(mutex));
    assert_ok(hf_mutex_unlock(mutex));
}

void expect_participants(struct scene *scene, uint32_t alive, uint32_t dead)
{
    hf_segment_info info;
    assert_ok(hf_segment_get_info(scene->segment, &info));
    assert_int_equal(info.participants, alive);
    assert_int_equal(info.dead, dead);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* With more to run than it has processors for: each step may have to wait for its turn. */
static bool machine_is_busy(void)
{
    double load;
    unsigned running;
    double many = 2.0 * (double)sysconf(_SC_NPROCESSORS_ONLN);
    char *text = read_whole_file("/proc/loadavg", NULL);
    assert_non_null(text);
    /* NOLINTNEXTLINE(cert-err34-c) */
    bool busy =
        sscanf(text, "%lf %*f %*f %u/", &load, &running) == 2 && (load > many || running > many);
    free(text);
    return busy;
}

void expect_in_time(int64_t *times, size_t count, int64_t limit_ms)
{
    int64_t factor = machine_is_busy() ? 20 : 1;
    qsort(times, count, sizeof *times, by_size);
    print_message("after %lld ms, at most %lld ms\n", (long long)times[count / 2],
                  (long long)times[count - 1]);
    assert_true(times[count / 2] <= factor * limit_ms);
    assert_true(times[count - 1] <= 10000);
}

/* ---- bodies of children ------------------------------------------------------------------- */

int hold_the_mutex(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_mutex_lock(&scene->root->mutex));
    tell(scene, 1);
    wait_for_death();
}

int hold_in_a_transaction(void *context)
{
    struct scene *scene = context;
    struct root *root = scene->root;
    assert_ok(hf_tx_begin(scene->segment));
    assert_ok(hf_mutex_lock(&root->mutex));
    assert_ok(hf_tx_add(scene->segment, root->values, sizeof root->values));
    memset(root->values, 0xee, sizeof root->values);
    tell(scene, 1);
    wait_for_death();
}

/* ---- number spaces ------------------------------------------------------------------------ */

static int try_a_number_space(void *unused)
{
    (void)unused;
    return unshare(is_root() ? CLONE_NEWPID : CLONE_NEWPID | CLONE_NEWUSER) == 0 ? 0 : 1;
}

void need_number_spaces(void)
{
    if (run_child(try_a_number_space, NULL) != 0) {
        SKIP("no number space of our own here");
    }
}

void enter_number_space(void)
{
    assert_int_equal(try_a_number_space(NULL), 0);
}

/* Not start_child: that one knows its parent by number. */
pid_t start_numbered_child(int (*run)(void *context), void *context)
{
    static const int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGABRT};
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) {
        return pid;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        (void)signal(caught[i], SIG_DFL);
    }
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    int status = run(context);
    (void)fflush(NULL);
    _exit(status);
}

bool next_number(uint32_t number)
{
    char text[16];
    int length = snprintf(text, sizeof text, "%u", number - 1);
    int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, (size_t)length) == length;
    if (fd >= 0) {
        (void)close(fd);
    }
    return written;
}
