/* SPDX-License-Identifier: MIT */
/* The memory of a scenario, copies of it in which the victim is dead, and their judges. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "proof/harness.h"
#include "segment/handle.h"

/* A judge that takes longer hangs. */
#define JUDGE_SECONDS 20

const char *const outcome_words[] = {"before", "after", "bad"};

void give_up(const char *what)
{
    (void)fprintf(stderr, "proof: broken test: %s (errno %d)\n", what, errno);
    abort();
}

outcome bad(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("    ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputs("\n", stderr);
    va_end(arguments);
    return OUTCOME_BAD;
}

/* ---- memory ------------------------------------------------------------------------------ */

static void open_plain(struct arena *arena, uint64_t size)
{
    require(hf_anonymous_create(size, NULL, &arena->memory) == 0, "memory");
    require(hf_region_map(arena->memory, NULL, &arena->region) == 0, "map");
    arena->base = hf_region_address(arena->region);
}

void open_arena(struct arena *arena, uint64_t size, uint64_t maximum)
{
    *arena = (struct arena){0};
    if (maximum == 0) {
        open_plain(arena, size);
        return;
    }
    hf_segment_options options = {.maximum = maximum};
    require(hf_segment_create_anonymous(size, &options, &arena->segment) == 0, "segment");
    arena->memory = hf_segment_memory(arena->segment);
    arena->base = hf_segment_base(arena->segment);
}

void close_arena(struct arena *arena)
{
    if (arena->segment != NULL) {
        hf_segment_close(arena->segment);
    } else {
        hf_region_unmap(arena->region);
        hf_memory_close(arena->memory);
    }
}

uint64_t arena_size(const struct arena *arena)
{
    uint64_t size;
    require(hf_memory_size(arena->memory, &size) == 0, "size");
    return size;
}

/* ---- copies ------------------------------------------------------------------------------ */

/* A claim that the dead was making: its number is nobody's then. This is the highest that there can
   be, which nobody has either. */
static void free_claimants_number(struct slot *slot, pid_t dead)
{
    uint64_t high = UINT64_C(3) << 54;
    uint64_t low = CLAIM_TURN_MASK << CLAIM_BY_BITS;
    uint64_t claim = load_relaxed(&slot->claim);
    uint64_t claimant = (claim & low) >> CLAIM_BY_BITS | (claim & high) >> 34;
    if ((claim & CLAIM_CLAIMING) != 0 && claimant == (uint64_t)dead) {
        store_relaxed(&slot->claim, claim | high | low);
    }
}

/* What the kernel does when a thread dies: it marks the life words that hold its number. And
   whoever asks after the thread must not find the victim, which is only stopped: another one began
   then. */
static void mark_page(struct slot_page *page, pid_t dead)
{
    for (unsigned n = 0; n < SLOTS_PER_PAGE; n++) {
        uint32_t life = load_relaxed(&page->life[n]);
        struct slot *slot = &page->slots[n];
        if (load_relaxed(&slot->identity_thread) == (uint32_t)dead) {
            store_relaxed(&slot->identity_start, load_relaxed(&slot->identity_start) + 1);
        }
        free_claimants_number(slot, dead);
        if ((life & OS_LIFE_ID) == (uint32_t)dead) {
            store_relaxed(&page->life[n], (life & OS_LIFE_WAITERS) | OS_LIFE_DIED);
        }
    }
}

static void mark_dead(struct segment_header *header, uint64_t size, pid_t dead)
{
    for (uint32_t run = 0; run < SLOT_RUNS; run++) {
        uint64_t offset = load_relaxed(&header->slot_runs[run]);
        uint64_t pages = slot_run_pages(run);
        for (uint64_t i = 0; offset != 0 && i < pages && offset + (i + 1) * SEGMENT_PAGE <= size;
             i++) {
            mark_page((struct slot_page *)(void *)((char *)header + offset + i * SEGMENT_PAGE),
                      dead);
        }
    }
}

int copy_arena(struct arena *copy, bool segment, const struct snapshot *snapshot)
{
    *copy = (struct arena){0};
    open_plain(copy, snapshot->size);
    memcpy(copy->base, snapshot->bytes, snapshot->size);
    if (!segment) {
        return 0;
    }
    for (unsigned i = 0; i < snapshot->dead_count; i++) {
        mark_dead((struct segment_header *)(void *)copy->base, snapshot->size, snapshot->dead[i]);
    }
    hf_region_unmap(copy->region);
    copy->region = NULL;
    int error = hf_segment_open_memory(copy->memory, HF_READ_WRITE, &copy->segment);
    if (error == 0) {
        copy->base = hf_segment_base(copy->segment);
    }
    return error;
}

/* ---- judging ----------------------------------------------------------------------------- */

static outcome verdict_of(pid_t judge)
{
    int status;
    require(waitpid(judge, &status, 0) == judge, "wait for the judge");
    if (WIFSIGNALED(status)) {
        return WTERMSIG(status) == SIGALRM ? bad("survivors hang for ever")
                                           : bad("a survivor dies of signal %d", WTERMSIG(status));
    }
    int code = WEXITSTATUS(status);
    return code == OUTCOME_BEFORE || code == OUTCOME_AFTER ? (outcome)code : OUTCOME_BAD;
}

/* A child with a time limit; 0 in it. */
static pid_t start_judge(void)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(JUDGE_SECONDS);
    }
    return pid;
}

/* In the judge's process: never comes back. */
_Noreturn static void judge(const struct judging *judging, struct arena *arena)
{
    if (judging->early != NULL) {
        judging->early(arena);
    }
    _exit((int)judging->judge(arena));
}

/* A late store to a slot that is free would be one to the next owner's: what is free is empty
   before it is free. Looked at before anybody takes one. */
static bool free_slots_are_empty(struct view *view)
{
    uint32_t slots = view_slots(view);
    for (uint32_t n = 1; n <= slots; n++) {
        const struct slot *slot = view_slot(view, n);
        const shared_u32 *life = view_life(view, n);
        if (slot != NULL && life != NULL && claim_by(load_relaxed(&slot->claim)) == 0 &&
            load_relaxed(life) != 0) {
            return false;
        }
    }
    return true;
}

outcome judge_copy(const struct judging *judging, const struct snapshot *snapshot)
{
    pid_t pid = start_judge();
    if (pid == 0) {
        struct arena copy;
        int error = copy_arena(&copy, judging->segment, snapshot);
        if (error != 0) {
            _exit((int)bad("the segment cannot be opened: %s", hf_strerror(error)));
        }
        if (judging->segment && !free_slots_are_empty(copy.segment->view)) {
            _exit((int)bad("a free slot has a life word"));
        }
        judge(judging, &copy);
    }
    return verdict_of(pid);
}

outcome judge_in_place(const struct judging *judging, struct arena *arena)
{
    pid_t pid = start_judge();
    if (pid == 0) {
        judge(judging, arena);
    }
    return verdict_of(pid);
}
