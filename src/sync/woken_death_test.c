/* SPDX-License-Identifier: MIT */
/*
 * Who was woken is killed before it has done anything about it: the wake is gone, and all that the
 * others have is what stands in memory. They go on as soon as a death is to be noticed.
 */
#include <signal.h>

#include "holdfast/condition.h"
#include "holdfast/semaphore.h"
#include "support/stage.h"

#define TRIES   5
#define VICTIMS 2u

/* In a victim. */
static bool dies_when_woken;

static int end_if_woken(int error)
{
    if (dies_when_woken && error == 0) {
        (void)raise(SIGKILL);
    }
    return error;
}

int __real_hf_os_wait(const volatile void *word, uint32_t expected, int64_t ns);
int __wrap_hf_os_wait(const volatile void *word, uint32_t expected, int64_t ns);
int __real_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t ns);
int __wrap_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t ns);

int __wrap_hf_os_wait(const volatile void *word, uint32_t expected, int64_t ns)
{
    return end_if_woken(__real_hf_os_wait(word, expected, ns));
}

int __wrap_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t ns)
{
    return end_if_woken(__real_hf_os_wait_two(word, expected, other, other_expected, ns));
}

/* What is waited for. */
struct thing {
    unsigned wakes; /* how many the giver wakes */
    void (*take)(void);
    int (*wait)(void); /* gets it, and gives it back */
    void (*give)(void);
};

static int wait_for_it(void *thing)
{
    say_ready();
    int error = ((const struct thing *)thing)->wait();
    store_release(&props->when_us[0], now_us());
    return -error;
}

static int die_of_it(void *thing)
{
    dies_when_woken = true;
    return wait_for_it(thing);
}

static pid_t start_asleep(int (*run)(void *thing), const struct thing *thing)
{
    struct thing copy = *thing;
    pid_t pid = start_ready(run, &copy);
    wait_for_state(pid, 'S');
    return pid;
}

/* The victims sleep first, so they are woken, and nobody else is. */
static uint64_t try_once(const struct thing *thing)
{
    pid_t victims[VICTIMS];
    set_stage(64 * KIB);
    thing->take();
    for (unsigned i = 0; i < thing->wakes; i++) {
        victims[i] = start_asleep(die_of_it, thing);
    }
    pid_t other = start_asleep(wait_for_it, thing);
    uint64_t start = now_us();
    thing->give();
    for (unsigned i = 0; i < thing->wakes; i++) {
        assert_int_equal(wait_child(victims[i]), -SIGKILL);
    }
    assert_int_equal(wait_child_for(other, 15000), 0);
    uint64_t took = load_acquire(&props->when_us[0]) - start;
    clear_stage();
    return took;
}

static void expect_others_go_on(const struct thing *thing)
{
    uint64_t times[TRIES];
    for (unsigned i = 0; i < TRIES; i++) {
        times[i] = try_once(thing);
    }
    expect_within(times, TRIES, NOTICED_MS);
}

/* ---- semaphores -------------------------------------------------------------------------- */

static hf_semaphore *semaphore(void)
{
    return (hf_semaphore *)(void *)props->bytes;
}

static void make_plain(void)
{
    assert_ok(hf_semaphore_init(semaphore(), 0, 0));
}

static void take_the_permit(void)
{
    assert_ok(hf_semaphore_init(semaphore(), 1, HF_SEMAPHORE_UNDO));
    assert_ok(hf_semaphore_wait(semaphore()));
}

static int wait_for_permit(void)
{
    int error = hf_semaphore_wait(semaphore());
    return error != 0 ? error : hf_semaphore_post(semaphore());
}

static void post(void)
{
    assert_ok(hf_semaphore_post(semaphore()));
}

TEST(a_permit_goes_to_another_if_who_was_woken_for_it_dies)
{
    expect_others_go_on(&(struct thing){1, make_plain, wait_for_permit, post});
    expect_others_go_on(&(struct thing){1, take_the_permit, wait_for_permit, post});
}

/* ---- a condition ------------------------------------------------------------------------- */

static hf_condition *condition(void)
{
    return (hf_condition *)(void *)props->bytes;
}

static void lock(void)
{
    int error = hf_mutex_timedlock(&props->mutex, SECONDS(10));
    assert_ok(error == -EOWNERDEAD ? hf_mutex_consistent(&props->mutex) : error);
}

static void make_nothing(void)
{
    props->counter = 0;
}

static bool there_is_one(void *unused)
{
    (void)unused;
    return props->counter > 0;
}

static int wait_for_one(void)
{
    lock();
    int error = hf_condition_wait_for(condition(), hf_lockable_of(&props->mutex), there_is_one,
                                      NULL, HF_FOREVER);
    return error != 0 ? error : hf_mutex_unlock(&props->mutex);
}

static void bring_one(void)
{
    lock();
    props->counter = 1;
    assert_ok(hf_mutex_unlock(&props->mutex));
    assert_ok(hf_condition_notify_one(condition()));
}

TEST(a_notification_goes_to_another_if_who_was_woken_by_it_dies)
{
    expect_others_go_on(&(struct thing){1, make_nothing, wait_for_one, bring_one});
}

/* ---- locks ------------------------------------------------------------------------------- */

static void lock_mutex(void)
{
    assert_ok(hf_mutex_lock(&props->mutex));
}

static void unlock_mutex(void)
{
    assert_ok(hf_mutex_unlock(&props->mutex));
}

static int wait_for_mutex(void)
{
    int error = hf_mutex_lock(&props->mutex);
    return error != 0 ? error : hf_mutex_unlock(&props->mutex);
}

TEST(a_mutex_goes_to_another_if_both_who_were_woken_for_it_die)
{
    expect_others_go_on(&(struct thing){2, lock_mutex, wait_for_mutex, unlock_mutex});
}

static void write_lock(void)
{
    assert_ok(hf_rwlock_wrlock(&props->rwlock));
}

static void write_unlock(void)
{
    assert_ok(hf_rwlock_wrunlock(&props->rwlock));
}

static int wait_to_write(void)
{
    int error = hf_rwlock_wrlock(&props->rwlock);
    return error != 0 ? error : hf_rwlock_wrunlock(&props->rwlock);
}

static int wait_to_read(void)
{
    int error = hf_rwlock_rdlock(&props->rwlock);
    return error != 0 ? error : hf_rwlock_rdunlock(&props->rwlock);
}

TEST(a_reader_writer_lock_goes_to_another_if_both_who_were_woken_for_it_die)
{
    expect_others_go_on(&(struct thing){2, write_lock, wait_to_write, write_unlock});
    expect_others_go_on(&(struct thing){2, write_lock, wait_to_read, write_unlock});
}

static void read_lock(void)
{
    assert_ok(hf_rwlock_rdlock(&props->rwlock));
}

static void read_unlock(void)
{
    assert_ok(hf_rwlock_rdunlock(&props->rwlock));
}

/* The first has the lock, and waits for the reader to leave: it is that which is told. */
TEST(readers_and_writers_go_on_if_the_writer_that_waits_for_the_last_reader_dies_as_it_leaves)
{
    expect_others_go_on(&(struct thing){1, read_lock, wait_to_write, read_unlock});
}
