/* SPDX-License-Identifier: MIT */
#include "fuzz/world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/os.h"
#include "segment/handle.h"
#include "segment/holds.h"
#include "segment/lock.h"

void world_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("fuzz: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputs("\n", stderr);
    va_end(arguments);
    abort();
}

/* ---- time and sleep ---------------------------------------------------------------------- */

/* A look at the clock, and a sleep without end, take this long. */
#define LOOK_NS  UINT64_C(1000)
#define SLEEP_NS (INT64_C(100) * 1000 * 1000)

static uint64_t now_ns = UINT64_C(1) << 40;

uint64_t __wrap_hf_os_now_ns(void);
int __wrap_hf_os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns);
int __wrap_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t timeout_ns);

static struct {
    struct view *view;
    const volatile void *word;
    unsigned sleeps;
    unsigned looks; /* at the clock, since the last sleep */
} sleeper;

uint64_t __wrap_hf_os_now_ns(void)
{
    if (sleeper.view != NULL && ++sleeper.looks > WORLD_LOOKS) {
        world_fail("a call waits without sleeping");
    }
    return now_ns += LOOK_NS;
}

void world_sleeper(hf_segment *segment)
{
    sleeper.view = segment != NULL ? segment->view : NULL;
    sleeper.word = NULL;
    sleeper.looks = 0;
}

/* Is it we who are to let go of what that slot holds? */
static bool is_ours(uint32_t owner)
{
    struct participant *me = participant_mine(sleeper.view->base);
    struct slot *slot = view_slot(sleeper.view, owner);
    uint64_t claim = slot != NULL ? load_relaxed(&slot->claim) : 0;
    return me != NULL && (owner == me->number ||
                          (claim_by(claim) == me->number && claim_by_turn(claim) == me->turn));
}

/* All who read, and are said to live, unlock the lock whose departures those are. The sleeper's own
   hold keeps nobody up: it may be about to become another. */
static void let_readers_go(shared_u32 *departures)
{
    bool any = false;
    uint64_t place = (uint64_t)((char *)departures - sleeper.view->base);
    uint64_t lock = place - offsetof(struct lock, departures);
    for (uint32_t n = 1; n <= view_slots(sleeper.view); n++) {
        struct slot *slot = view_slot(sleeper.view, n);
        for (uint32_t i = 0; !is_ours(n) && i < holds_in_use(slot); i++) {
            if (hold_is_of(load_relaxed(&slot->holds[i]), lock, HOLD_READ)) {
                store_relaxed(&slot->holds[i], HOLD_NONE);
                any = true;
            }
        }
    }
    if (!any) {
        world_fail("a call waits for ever for readers that there are not");
    }
    (void)fetch_add_release(departures, 1);
}

/* Locks lie at multiples of eight, and so do their words. */
static bool is_departures(const shared_u32 *word)
{
    return (uintptr_t)word % 8 == offsetof(struct lock, departures) % 8;
}

/* The owner, who is said to live, unlocks. */
static void let_go(shared_u32 *word)
{
    if (sleeper.view == NULL) {
        return;
    }
    if (is_departures(word)) {
        let_readers_go(word);
        return;
    }
    uint32_t owner = load_relaxed(word) & LOCK_OWNER;
    if (is_ours(owner)) {
        world_fail("a call waits for ever for its own thread, as slot %u", (unsigned)owner);
    }
    (void)fetch_and_relaxed(word, ~LOCK_OWNER);
}

static bool in_segment(const volatile void *word)
{
    uintptr_t base = sleeper.view != NULL ? (uintptr_t)sleeper.view->base : 0;
    return base != 0 && (uintptr_t)word - base < sleeper.view->maximum;
}

static int fall_asleep(const volatile void *word, uint32_t expected, int64_t ns)
{
    shared_u32 *shared = (shared_u32 *)(uintptr_t)word;
    if (load_acquire(shared) != expected) {
        return 0;
    }
    now_ns += (uint64_t)(ns < 0 ? SLEEP_NS : ns);
    sleeper.looks = 0;
    sleeper.sleeps = word == sleeper.word ? sleeper.sleeps + 1 : 1;
    sleeper.word = word;
    if (in_segment(word) && sleeper.sleeps >= WORLD_PATIENCE) {
        let_go(shared);
        sleeper.word = NULL;
    }
    return -ETIMEDOUT;
}

int __wrap_hf_os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns)
{
    return fall_asleep(word, expected, timeout_ns);
}

int __wrap_hf_os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                          uint32_t other_expected, int64_t timeout_ns)
{
    if (load_acquire((shared_u32 *)(uintptr_t)other) != other_expected) {
        return 0;
    }
    return fall_asleep(word, expected, timeout_ns);
}

/* ---- mappings ---------------------------------------------------------------------------- */

#define MAPPINGS_MAX 64u

static void *mappings[MAPPINGS_MAX]; /* those with guards */

int __real_hf_os_map(int fd, uint64_t offset, size_t length, hf_access access, void *address,
                     bool exactly, void **base);
int __wrap_hf_os_map(int fd, uint64_t offset, size_t length, hf_access access, void *address,
                     bool exactly, void **base);
int __real_hf_os_unmap(void *base, size_t length);
int __wrap_hf_os_unmap(void *base, size_t length);

static size_t whole_pages(size_t length)
{
    return (size_t)round_up(length, SEGMENT_PAGE);
}

/* Room for a mapping, between guards; NULL if there is no address space for that. */
static char *reserve(size_t length)
{
    size_t all = whole_pages(length) + 2 * WORLD_GUARD;
    if (length > SIZE_MAX / 2) {
        return NULL;
    }
    char *around = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (around == MAP_FAILED) {
        return NULL;
    }
    (void)munmap(around + WORLD_GUARD, whole_pages(length));
    return around + WORLD_GUARD;
}

static void drop_guards(char *base, size_t length)
{
    (void)munmap(base - WORLD_GUARD, WORLD_GUARD);
    (void)munmap(base + whole_pages(length), WORLD_GUARD);
}

static unsigned place_of(const void *base)
{
    unsigned i = 0;
    while (i < MAPPINGS_MAX && mappings[i] != base) {
        i++;
    }
    return i;
}

int __wrap_hf_os_map(int fd, uint64_t offset, size_t length, hf_access access, void *address,
                     bool exactly, void **base)
{
    unsigned place = place_of(NULL);
    char *at = address == NULL && place < MAPPINGS_MAX ? reserve(length) : NULL;
    if (at == NULL) {
        return __real_hf_os_map(fd, offset, length, access, address, exactly, base);
    }
    int error = __real_hf_os_map(fd, offset, length, access, at, true, base);
    if (error != 0) {
        drop_guards(at, length);
        return error;
    }
    mappings[place] = at;
    return 0;
}

int __wrap_hf_os_unmap(void *base, size_t length)
{
    unsigned place = place_of(base);
    int error = __real_hf_os_unmap(base, length);
    if (place < MAPPINGS_MAX) {
        mappings[place] = NULL;
        drop_guards(base, length);
    }
    return error;
}

void *world_buffer(size_t size)
{
    char *at = reserve(size);
    void *buffer = at == NULL ? MAP_FAILED
                              : mmap(at, size, PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (buffer == MAP_FAILED) {
        world_fail("no memory for a buffer");
    }
    return buffer;
}

/* ---- before and afterwards --------------------------------------------------------------- */

static int lowest; /* the lowest free descriptor */

static int lowest_descriptor(void)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        world_fail("no descriptor is left");
    }
    (void)close(fd);
    return fd;
}

void world_begin(void)
{
    lowest = lowest_descriptor();
}

void world_end(void)
{
    if (lowest_descriptor() != lowest) {
        world_fail("a descriptor was left open");
    }
    for (unsigned i = 0; i < MAPPINGS_MAX; i++) {
        if (mappings[i] != NULL) {
            world_fail("a mapping was left behind");
        }
    }
}
