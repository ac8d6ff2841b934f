/* SPDX-License-Identifier: MIT */
/*
 * File locks: the system's, one for each handle, and who of this process's threads holds it.
 *
 * A handle's open file description carries the lock, and a forked child shares that: so the child
 * opens another and drops the one that it shares, before anything else runs in it. Otherwise the
 * parent's death would let go of nothing.
 *
 * One lock guards all handles, and their list. It is held for no longer than a system call that
 * does not wait, and across a fork, so that the child finds all as it should be.
 */
#include <errno.h>

#include "base/atomic.h"
#include "holdfast/file_lock.h"
#include "os/os.h"

#define FILE_LOCK_MAGIC UINT32_C(0x66696c65) /* "file" */
#define HOLDERS_MAX     32u

#define PAUSE_FIRST (INT64_C(1) * 1000 * 1000)
#define PAUSE_MAX   (INT64_C(20) * 1000 * 1000)

struct hf_file_lock {
    uint32_t magic;
    int fd; /* -1: a child could not open its own */
    bool writable;
    bool exclusive;                /* if held at all */
    uint32_t held;                 /* 0 < held: the system's lock is ours */
    uint32_t holders[HOLDERS_MAX]; /* thread numbers; `held` of them */
    _Atomic uint32_t departures;   /* futex: threads that have unlocked it */
    hf_file_lock *next;
};

/* ---- the guard of it all ------------------------------------------------------------------ */

enum { GUARD_FREE, GUARD_HELD, GUARD_CONTENDED };
static _Atomic uint32_t guard;
static os_quiet guard_quiet; /* the holder's */
static hf_file_lock *first;
static bool follows_forks;

static void guard_lock(void)
{
    os_quiet quiet;
    os_quiet_begin(&quiet);
    uint32_t expected = GUARD_FREE;
    bool taken = cas_acquire(&guard, &expected, GUARD_HELD);
    while (!taken) {
        if (expected == GUARD_CONTENDED || cas_relaxed(&guard, &expected, GUARD_CONTENDED)) {
            (void)os_wait(&guard, GUARD_CONTENDED, HF_FOREVER);
        }
        expected = GUARD_FREE; /* there may be more who wait */
        taken = cas_acquire(&guard, &expected, GUARD_CONTENDED);
    }
    guard_quiet = quiet;
}

static void guard_unlock(void)
{
    os_quiet quiet = guard_quiet;
    if (exchange_release(&guard, GUARD_FREE) == GUARD_CONTENDED) {
        (void)os_wake(&guard, 1);
    }
    os_quiet_end(&quiet);
}

/* ---- fork -------------------------------------------------------------------------------- */

static void in_child(void)
{
    for (hf_file_lock *lock = first; lock != NULL; lock = lock->next) {
        int own = -1;
        if (lock->fd >= 0) {
            (void)os_reopen(lock->fd, lock->writable, &own);
            (void)os_close(lock->fd);
        }
        lock->fd = own;
        lock->held = 0;
    }
    guard_unlock();
}

/* Under the guard. */
static int follow_forks(void)
{
    int error = follows_forks ? 0 : os_at_fork(guard_lock, guard_unlock, in_child);
    follows_forks = error == 0;
    return error;
}

/* ---- opening ----------------------------------------------------------------------------- */

static bool is_open(const hf_file_lock *lock)
{
    return lock != NULL && lock->magic == FILE_LOCK_MAGIC;
}

static int open_file(const char *path, hf_file_lock *lock)
{
    os_info info = {.regular = false};
    int error = os_file_open(path, true, &lock->fd);
    lock->writable = error == 0;
    if (error == -EACCES) {
        error = os_file_open(path, false, &lock->fd);
    }
    if (error != 0) {
        return error;
    }
    error = os_info_get(lock->fd, &info);
    if (error == 0 && !info.regular) {
        error = -EBADMSG;
    }
    if (error != 0) {
        (void)os_close(lock->fd);
    }
    return error;
}

/* Under the guard: no fork comes between the opening and the list. */
static int open_listed(const char *path, hf_file_lock *lock)
{
    int error = follow_forks();
    if (error == 0) {
        error = open_file(path, lock);
    }
    if (error == 0) {
        lock->next = first;
        first = lock;
    }
    return error;
}

int hf_file_lock_open(const char *path, hf_file_lock **lock)
{
    if (path == NULL || lock == NULL) {
        return -EINVAL;
    }
    hf_file_lock *made = os_alloc(sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    made->magic = FILE_LOCK_MAGIC;
    guard_lock();
    int error = open_listed(path, made);
    guard_unlock();
    if (error != 0) {
        os_free(made);
        return error;
    }
    *lock = made;
    return 0;
}

void hf_file_lock_close(hf_file_lock *lock)
{
    if (!is_open(lock)) {
        return;
    }
    guard_lock();
    hf_file_lock **at = &first;
    while (*at != lock) {
        at = &(*at)->next;
    }
    *at = lock->next;
    if (lock->fd >= 0) {
        (void)os_close(lock->fd); /* with its last descriptor the lock goes */
    }
    lock->magic = 0;
    guard_unlock();
    os_free(lock);
}

/* ---- locking ----------------------------------------------------------------------------- */

/* Its place among the holders; HOLDERS_MAX: it is none. */
static uint32_t holder_place(const hf_file_lock *lock, uint32_t thread)
{
    for (uint32_t i = 0; i < lock->held; i++) {
        if (lock->holders[i] == thread) {
            return i;
        }
    }
    return HOLDERS_MAX;
}

/* Under the guard. */
static int take(hf_file_lock *lock, bool exclusive, uint32_t thread)
{
    if (holder_place(lock, thread) != HOLDERS_MAX) {
        return -EDEADLK;
    }
    if (lock->fd < 0) {
        return -EIO;
    }
    if (exclusive && !lock->writable) {
        return -EACCES;
    }
    if (lock->held != 0 && (exclusive || lock->exclusive)) {
        return -EBUSY;
    }
    if (lock->held == HOLDERS_MAX) {
        return -ENOLCK;
    }
    int error = lock->held != 0 ? 0 : os_file_lock(lock->fd, exclusive);
    if (error == 0) {
        lock->exclusive = exclusive;
        lock->holders[lock->held] = thread;
        lock->held++;
    }
    return error;
}

static int try_to_take(hf_file_lock *lock, bool exclusive)
{
    guard_lock();
    int error = take(lock, exclusive, os_thread_id());
    guard_unlock();
    return error;
}

static int64_t shorter(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int lock_within(hf_file_lock *lock, bool exclusive, int64_t timeout_ns)
{
    if (!is_open(lock) || timeout_ns < HF_FOREVER) {
        return -EINVAL;
    }
    uint64_t start = os_now_ns();
    int64_t pause = PAUSE_FIRST;
    for (;;) {
        uint32_t noted = load_acquire(&lock->departures); /* partner: hf_file_lock_unlock */
        int error = try_to_take(lock, exclusive);
        if (error != -EBUSY || timeout_ns == 0) {
            return error;
        }
        int64_t passed = (int64_t)(os_now_ns() - start);
        if (timeout_ns != HF_FOREVER && passed >= timeout_ns) {
            return -ETIMEDOUT;
        }
        int64_t left = timeout_ns == HF_FOREVER ? pause : timeout_ns - passed;
        (void)os_wait(&lock->departures, noted, shorter(pause, left));
        pause = shorter(pause * 2, PAUSE_MAX);
    }
}

int hf_file_lock_timedlock(hf_file_lock *lock, int64_t timeout_ns)
{
    return lock_within(lock, true, timeout_ns);
}

int hf_file_lock_lock(hf_file_lock *lock)
{
    return lock_within(lock, true, HF_FOREVER);
}

int hf_file_lock_trylock(hf_file_lock *lock)
{
    return lock_within(lock, true, 0);
}

int hf_file_lock_timedlock_shared(hf_file_lock *lock, int64_t timeout_ns)
{
    return lock_within(lock, false, timeout_ns);
}

int hf_file_lock_lock_shared(hf_file_lock *lock)
{
    return lock_within(lock, false, HF_FOREVER);
}

int hf_file_lock_trylock_shared(hf_file_lock *lock)
{
    return lock_within(lock, false, 0);
}

/* Under the guard. */
static int let_go(hf_file_lock *lock)
{
    uint32_t place = holder_place(lock, os_thread_id());
    if (place == HOLDERS_MAX) {
        return -EPERM;
    }
    if (lock->held == 1) {
        int error = os_file_unlock(lock->fd);
        if (error != 0) {
            return error;
        }
    }
    lock->held--;
    lock->holders[place] = lock->holders[lock->held];
    return 0;
}

int hf_file_lock_unlock(hf_file_lock *lock)
{
    if (!is_open(lock)) {
        return -EINVAL;
    }
    guard_lock();
    int error = let_go(lock);
    guard_unlock();
    if (error == 0) {
        (void)fetch_add_release(&lock->departures, 1); /* partner: lock_within */
        (void)os_wake(&lock->departures, INT32_MAX);
    }
    return error;
}
