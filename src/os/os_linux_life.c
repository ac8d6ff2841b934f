/* SPDX-License-Identifier: MIT */
/*
 * Life words, thread identity and thread exit on Linux.
 *
 * The kernel keeps one robust list per thread, and it is libc's: a head of our own would silently
 * disarm the application's robust mutexes. So our nodes go onto libc's list, at its tail: our
 * successor is the head itself or another node of ours, and nothing is followed from shared
 * memory but by those who own it. What a node looks like (where the previous pointer stands,
 * whether the head has one) is libc's; where the futex word lies from it, the kernel has been told.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "os/os.h"

/* ---- the robust list --------------------------------------------------------------------- */

/* Nodes of odd life words lie at odd multiples of 4. */
typedef void *loose __attribute__((aligned(4)));

/* The kernel walks no further than this (ROBUST_LIST_LIMIT). */
#define WALK_MAX 2048

/* The kernel's own names differ between header versions. */
struct head {
    loose *first; /* the next pointer of the first node, or the head's own */
    long futex_offset;
    void *pending;
};

/* Where libc keeps the previous pointer, in pointers before the next one; 0: it has none. */
struct flavour {
    int previous;
    bool head_has_previous;
};

/* false: a libc whose nodes we do not know. */
static bool flavour_of(long futex_offset, struct flavour *flavour)
{
#if defined(__GLIBC__)
    if (sizeof(void *) == 8 && futex_offset == -32) {
        *flavour = (struct flavour){.previous = 1, .head_has_previous = true};
        return true;
    }
    if (sizeof(void *) == 4 && futex_offset == -20) {
        *flavour = (struct flavour){0};
        return true;
    }
#else
    if (sizeof(void *) == 8 && futex_offset == -28) { /* musl */
        *flavour = (struct flavour){.previous = 1, .head_has_previous = false};
        return true;
    }
#endif
    return false;
}

static void take_and_drop_a_robust_mutex(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    if (pthread_mutexattr_init(&attributes) == 0) {
        (void)pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        (void)pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        if (pthread_mutex_init(&mutex, &attributes) == 0) {
            if (pthread_mutex_lock(&mutex) == 0) {
                (void)pthread_mutex_unlock(&mutex);
            }
            (void)pthread_mutex_destroy(&mutex);
        }
        (void)pthread_mutexattr_destroy(&attributes);
    }
}

/* This thread's list, and how libc builds it. NULL where there is none that we may use. */
static struct head *find_head(struct flavour *flavour)
{
    struct head *head = NULL;
    size_t size = 0;
    take_and_drop_a_robust_mutex(); /* musl registers its list with the first shared one */
    /* An emulator may answer the one call and not the other: ask for the kernel's own word. */
    if (syscall(SYS_get_robust_list, 0, &head, &size) != 0 || head == NULL ||
        size != sizeof *head || syscall(SYS_set_robust_list, head, size) != 0) {
        return NULL;
    }
    return flavour_of(head->futex_offset, flavour) ? head : NULL;
}

static loose *untagged(void *pointer)
{
    /* Bit 0: a priority-inheriting mutex. */
    return (loose *)((uintptr_t)pointer & ~(uintptr_t)1);
}

/* The node before `node`; `&head->first` as node gives the last one. NULL: not found. */
static loose *node_before(struct head *head, loose *node)
{
    loose *at = (loose *)&head->first;
    for (unsigned i = 0; i < WALK_MAX; i++) {
        loose *next = untagged(*at);
        if (next == node) {
            return at;
        }
        if (next == NULL || next == (loose *)&head->first) {
            return NULL;
        }
        at = next;
    }
    return NULL;
}

/* ---- life words -------------------------------------------------------------------------- */

/* The page again at a new address, and room for a private page behind it. */
static int map_alias(int fd, uint64_t offset, void *page, size_t page_size, char **alias)
{
    char *both =
        mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (both == MAP_FAILED) {
        return -ENOMEM;
    }
    void *placed;
    if (fd >= 0) {
        placed = mmap(both, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                      (off_t)offset);
    } else { /* an old size of 0 maps shared pages once more, and refuses private ones */
        placed = mremap(page, 0, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, both);
    }
    if (placed == MAP_FAILED) {
        (void)munmap(both, 2 * page_size);
        return fd >= 0 ? -ENOMEM : -EOPNOTSUPP;
    }
    *alias = both;
    return 0;
}

bool os_is_shared(const void *address)
{
    size_t page_size = os_page_size();
    char *page = (char *)((uintptr_t)address & ~((uintptr_t)page_size - 1));
    void *again = mremap(page, 0, page_size, MREMAP_MAYMOVE); /* private pages are not had twice */
    if (again == MAP_FAILED) {
        return errno != EINVAL; /* not to be had for another reason: who knows; then it is */
    }
    (void)munmap(again, page_size);
    return true;
}

int os_life_open(int fd, uint64_t offset, void *page, os_life *life)
{
    struct flavour flavour;
    *life = (os_life){0};
    size_t page_size = os_page_size();
    bool aligned = (uintptr_t)page % page_size == 0;
    if (page_size != 4096 || !aligned) {
        return -EOPNOTSUPP;
    }
    life->list = find_head(&flavour);
    if (life->list == NULL) {
        return -EOPNOTSUPP;
    }
    return map_alias(fd, offset, page, page_size, &life->alias);
}

void os_life_link(os_life *life, unsigned index)
{
    struct flavour flavour;
    struct head *head = life->list;
    if (life->alias == NULL || !flavour_of(head->futex_offset, &flavour)) {
        return;
    }
    char *word = life->alias + 4096 - 4 * OS_LIFE_WORDS + (size_t)4 * index;
    loose *node = (loose *)(void *)(word - head->futex_offset);
    loose *last = node_before(head, (loose *)&head->first);
    if (last == NULL) {
        return; /* an endless list, or a broken one: the backstop alone */
    }
    node[0] = &head->first;
    if (flavour.previous != 0) {
        node[-flavour.previous] = last;
    }
    if (flavour.head_has_previous) {
        ((loose *)&head->first)[-flavour.previous] = node;
    }
    crash_fence(); /* whole before the kernel can find it */
    *last = node;
    crash_fence();
    life->node = node;
    life->linked = true;
}

void os_life_unlink(os_life *life)
{
    struct flavour flavour;
    struct head *head = life->list;
    if (!life->linked || !flavour_of(head->futex_offset, &flavour)) {
        return;
    }
    loose *node = life->node;
    loose *previous = node_before(head, node);
    if (previous == NULL) {
        return; /* farther down than one looks: it stays on the list, and its page mapped */
    }
    loose *next = untagged(node[0]);
    bool next_is_head = next == (loose *)&head->first;
    *previous = node[0];
    if (flavour.previous != 0 && (!next_is_head || flavour.head_has_previous)) {
        next[-flavour.previous] = previous;
    }
    crash_fence();
    life->linked = false;
}

void os_life_close(os_life *life)
{
    if (life->alias != NULL && !life->linked) {
        (void)munmap(life->alias, 2 * os_page_size());
        life->alias = NULL;
    }
}

/* ---- threads ----------------------------------------------------------------------------- */

uint32_t os_thread_id(void)
{
    return (uint32_t)syscall(SYS_gettid);
}

/* Does /proc show the numbers that we go by? In a new container it may still be the old one's. */
static bool proc_is_ours(void)
{
    char text[32] = "";
    ssize_t length = readlink("/proc/self", text, sizeof text - 1);
    return length > 0 && strtol(text, NULL, 10) == (long)getpid();
}

/* What our thread numbers count in; 0: unknown. (/proc/self/ns is empty once the process's first
   thread has ended.) */
static uint64_t number_space(void)
{
    struct stat st;
    bool known = proc_is_ours() && stat("/proc/thread-self/ns/pid", &st) == 0;
    return known ? (uint64_t)st.st_ino : 0;
}

/* Start time, in clock ticks since boot, of the thread whose stat file that is. -ENOENT: none is
   shown; -ESRCH: it has ended, and only waits to be reaped: perhaps by who asks. */
static int read_start(const char *path, uint64_t *start)
{
    char line[1024];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? -ENOENT : -EIO;
    }
    ssize_t length = read(fd, line, sizeof line - 1);
    (void)close(fd);
    if (length <= 0) {
        return -ENOENT; /* it ended while we looked */
    }
    line[length] = 0;
    char *at = strrchr(line, ')'); /* the name before it may contain anything */
    if (at != NULL && at[1] == ' ' && (at[2] == 'Z' || at[2] == 'X')) {
        return -ESRCH;
    }
    for (unsigned field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL) {
        return -EIO;
    }
    *start = strtoull(at, NULL, 10);
    return 0;
}

static int thread_start(uint32_t process, uint32_t thread, uint64_t *start)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%u/task/%u/stat", process, thread);
    return read_start(path, start);
}

void os_thread_identity(os_identity *identity)
{
    *identity = (os_identity){
        .space = number_space(), .thread = os_thread_id(), .process = (uint32_t)getpid()};
    if (identity->space != 0 &&
        thread_start(identity->process, identity->thread, &identity->start) != 0) {
        identity->space = 0;
    }
}

bool os_thread_number_is_free(uint32_t thread)
{
    char path[64];
    uint64_t start;
    (void)snprintf(path, sizeof path, "/proc/%u/stat", thread);
    bool ended = proc_is_ours() && read_start(path, &start) == -ESRCH;
    return ended || (syscall(SYS_tkill, thread, 0) != 0 && errno == ESRCH);
}

bool os_thread_is_gone(const os_identity *identity)
{
    uint64_t start;
    if (identity->space == 0 || identity->space != number_space()) {
        return false;
    }
    int error = thread_start(identity->process, identity->thread, &start);
    if (error == 0 || error == -ESRCH) {
        return error != 0 || start != identity->start;
    }
    /* /proc may hide other users' processes, or there is no descriptor to read it by: the kernel
       itself must not know it either. */
    return syscall(SYS_tgkill, identity->process, identity->thread, 0) != 0 && errno == ESRCH;
}

bool os_thread_is_there(const os_identity *identity)
{
    uint64_t start;
    return identity->space != 0 && identity->space == number_space() &&
           thread_start(identity->process, identity->thread, &start) == 0 &&
           start == identity->start;
}

/* ---- thread exit ------------------------------------------------------------------------- */

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static int exit_error;
static void (*_Atomic exit_leave)(void *value);

static void at_exit(void *value)
{
    void (*leave)(void *) = load_relaxed(&exit_leave);
    leave(value);
}

static void make_key(void)
{
    exit_error = -pthread_key_create(&exit_key, at_exit);
}

int os_at_thread_exit(void (*leave)(void *value), void *value)
{
    store_relaxed(&exit_leave, leave);
    (void)pthread_once(&exit_once, make_key);
    return exit_error != 0 ? exit_error : -pthread_setspecific(exit_key, value);
}

_Static_assert(sizeof(sigset_t) <= sizeof(((os_quiet *)0)->signals), "a set of signals fits");

void os_quiet_begin(os_quiet *quiet)
{
    sigset_t all;
    sigset_t before;
    /* Signals first, and last: a handler that jumps out must find cancellation as it was. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    memcpy(quiet->signals, &before, sizeof before);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &quiet->cancel);
}

void os_quiet_end(const os_quiet *quiet)
{
    sigset_t before;
    memcpy(&before, quiet->signals, sizeof before);
    (void)pthread_setcancelstate(quiet->cancel, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- fork -------------------------------------------------------------------------------- */

static _Atomic uint64_t *fork_page;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static _Atomic uint64_t fork_fallback;

static void in_child(void)
{
    store_relaxed(&fork_fallback, 0);
}

static void make_fork_page(void)
{
    size_t size = os_page_size();
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED && madvise(page, size, MADV_WIPEONFORK) == 0) {
        fork_page = page;
        return;
    }
    /* Before Linux 4.14: a child made by fork is told, one made by _Fork or clone is not. */
    fork_page = &fork_fallback;
    (void)pthread_atfork(NULL, NULL, in_child);
}

int os_at_fork(void (*before)(void), void (*in_parent)(void), void (*child)(void))
{
    return pthread_atfork(before, in_parent, child) == 0 ? 0 : -ENOMEM;
}

_Atomic uint64_t *os_fork_page(void)
{
    (void)pthread_once(&fork_once, make_fork_page);
    return fork_page;
}
