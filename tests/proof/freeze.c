/* SPDX-License-Identifier: MIT */
/* Freeze and clone: steps a victim through its call and has each state judged. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "proof/proof.h"
#include "segment/view.h"

/* A judge that takes longer hangs. */
#define JUDGE_SECONDS 5

/* A call that takes more instructions loops. */
#define INSTRUCTIONS_MAX 5000000ul

void require(bool condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "proof: broken test: %s (errno %d)\n", what, errno);
        abort();
    }
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

static void open_arena(struct arena *arena, const struct scenario *scenario)
{
    *arena = (struct arena){0};
    if (scenario->maximum == 0) {
        open_plain(arena, scenario->size);
        return;
    }
    hf_segment_options options = {.maximum = scenario->maximum};
    require(hf_segment_create_anonymous(scenario->size, &options, &arena->segment) == 0, "segment");
    arena->memory = hf_segment_memory(arena->segment);
    arena->base = hf_segment_base(arena->segment);
}

static void close_arena(struct arena *arena)
{
    if (arena->segment != NULL) {
        hf_segment_close(arena->segment);
    } else {
        hf_region_unmap(arena->region);
        hf_memory_close(arena->memory);
    }
}

static uint64_t arena_size(const struct arena *arena)
{
    uint64_t size;
    require(hf_memory_size(arena->memory, &size) == 0, "size");
    return size;
}

/* What the kernel does when the victim dies: it marks the life words that hold its number. */
static void mark_dead(struct segment_header *header, uint64_t size, pid_t victim)
{
    for (uint32_t run = 0; run < SLOT_RUNS; run++) {
        uint64_t offset = load_relaxed(&header->slot_runs[run]);
        uint64_t pages = run == 0 ? 1 : UINT64_C(1) << (run - 1);
        for (uint64_t i = 0; offset != 0 && i < pages && offset + (i + 1) * SEGMENT_PAGE <= size;
             i++) {
            struct slot_page *page =
                (struct slot_page *)(void *)((char *)header + offset + i * SEGMENT_PAGE);
            for (unsigned n = 0; n < SLOTS_PER_PAGE; n++) {
                uint32_t life = load_relaxed(&page->life[n]);
                if ((life & OS_LIFE_ID) == (uint32_t)victim) {
                    store_relaxed(&page->life[n], (life & OS_LIFE_WAITERS) | OS_LIFE_DIED);
                }
            }
        }
    }
}

/* Memory with a copy of the bytes: nobody holds its byte locks. */
static void copy_arena(struct arena *copy, const struct scenario *scenario, const void *bytes,
                       uint64_t size, pid_t victim)
{
    *copy = (struct arena){.victim = victim};
    open_plain(copy, size);
    memcpy(copy->base, bytes, size);
    if (scenario->maximum == 0) {
        return;
    }
    mark_dead((struct segment_header *)(void *)copy->base, size, victim);
    hf_region_unmap(copy->region);
    copy->region = NULL;
    int error = hf_segment_open_memory(copy->memory, HF_READ_WRITE, &copy->segment);
    if (error != 0) {
        _exit((int)bad("the segment cannot be opened: %s", hf_strerror(error)));
    }
    copy->base = hf_segment_base(copy->segment);
}

/* ---- the judge --------------------------------------------------------------------------- */

static const char *const words[] = {"before", "after", "bad"};

/* Judges a copy of the memory in a process of its own. */
static outcome judge(const struct scenario *scenario, const void *memory, uint64_t size,
                     pid_t victim)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(JUDGE_SECONDS);
        struct arena copy;
        copy_arena(&copy, scenario, memory, size, victim);
        _exit((int)scenario->judge(&copy));
    }
    int status;
    require(waitpid(pid, &status, 0) == pid, "wait for the judge");
    if (WIFSIGNALED(status)) {
        return WTERMSIG(status) == SIGALRM ? bad("survivors hang for ever")
                                           : bad("a survivor dies of signal %d", WTERMSIG(status));
    }
    int code = WEXITSTATUS(status);
    return code == OUTCOME_BEFORE || code == OUTCOME_AFTER ? (outcome)code : OUTCOME_BAD;
}

/* ---- the victim -------------------------------------------------------------------------- */

static pid_t start_victim(const struct scenario *scenario, struct arena *arena)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (scenario->prepare != NULL) {
            scenario->prepare(arena);
        }
        require(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0, "ptrace");
        (void)raise(SIGSTOP); /* from here on, stepped */
        int result = scenario->act(arena);
        _exit(result == 0 ? 0 : 1);
    }
    int status;
    require(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "the victim does not start");
    return pid;
}

static uint64_t instruction_pointer(pid_t pid)
{
    struct user_regs_struct registers;
    struct iovec vector = {.iov_base = &registers, .iov_len = sizeof registers};
    if (ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &vector) != 0) {
        return 0;
    }
#if defined(__x86_64__)
    return registers.rip;
#elif defined(__aarch64__)
    return registers.pc;
#else
    return 0;
#endif
}

/* Finds the mapped file that the address lies in, and the address within that file. */
static bool find_mapping(pid_t pid, uint64_t address, char file[512], uint64_t *within)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "r");
    char line[1024];
    bool found = false;
    uint64_t first = 0; /* where the file's first mapping starts */
    char last[512] = "";
    while (maps != NULL && !found && fgets(line, sizeof line, maps) != NULL) {
        uint64_t start;
        uint64_t end;
        char name[512] = "";
        /* NOLINTNEXTLINE(cert-err34-c) */
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %*s %511s", &start, &end, name) < 2) {
            continue;
        }
        if (strcmp(name, last) != 0) {
            first = start;
            (void)snprintf(last, sizeof last, "%s", name);
        }
        if (address >= start && address < end) {
            (void)snprintf(file, 512, "%s", name);
            *within = address - first;
            found = true;
        }
    }
    if (maps != NULL) {
        (void)fclose(maps);
    }
    return found;
}

char *describe_instruction(pid_t pid)
{
    char file[512];
    uint64_t address = instruction_pointer(pid);
    uint64_t within = 0;
    char *text = NULL;
    if (!find_mapping(pid, address, file, &within)) {
        require(asprintf(&text, "address %#" PRIx64, address) > 0, "memory");
        return text;
    }
    char command[700];
    char function[256] = "?\n";
    char line[512] = "?\n";
    (void)snprintf(command, sizeof command, "addr2line -f -e '%s' %#" PRIx64 " 2>/dev/null", file,
                   within);
    FILE *output = popen(command, "r"); /* NOLINT(cert-env33-c): only after a failure */
    if (output != NULL) {
        if (fgets(function, sizeof function, output) == NULL ||
            fgets(line, sizeof line, output) == NULL) {
            (void)snprintf(function, sizeof function, "?");
        }
        (void)pclose(output);
    }
    function[strcspn(function, "\n")] = 0;
    line[strcspn(line, "\n")] = 0;
    require(asprintf(&text, "%s (%s), %s+%#" PRIx64, function, line, file, within) > 0, "memory");
    return text;
}

/* ---- stepping ---------------------------------------------------------------------------- */

/* What is known while a victim is stepped. */
struct walk {
    const struct scenario *scenario;
    struct arena *arena;
    struct findings *findings;
    char *seen; /* the memory as it was when last judged */
    uint64_t seen_size;
    outcome last; /* and what it was judged to be */
    pid_t victim;
};

static void tell(const struct walk *walk, const char *what)
{
    char *place = describe_instruction(walk->victim);
    (void)fprintf(stderr,
                  "FAILED %s: %s\n"
                  "    after instruction %lu of %s, before %s\n"
                  "    replay: make proof ONLY='^%s$'\n",
                  walk->scenario->name, what, walk->findings->instructions, walk->scenario->call,
                  place, walk->scenario->name);
    free(place);
    walk->findings->failures++;
}

/* Judges the memory if it has changed; false if that failed. */
static bool look(struct walk *walk, bool first)
{
    uint64_t size = arena_size(walk->arena);
    if (!first && size == walk->seen_size && memcmp(walk->seen, walk->arena->base, size) == 0) {
        return true;
    }
    memcpy(walk->seen, walk->arena->base, size);
    walk->seen_size = size;
    walk->findings->states++;
    outcome now = judge(walk->scenario, walk->seen, size, walk->victim);
    char what[128];
    if (now == OUTCOME_BAD) {
        tell(walk, "a death here leaves neither the state before nor the one after");
        return false;
    }
    if (first ? now != OUTCOME_BEFORE : now < walk->last) {
        (void)snprintf(what, sizeof what, "the state is \"%s\" where it must not be", words[now]);
        tell(walk, what);
        return false;
    }
    walk->last = now;
    return true;
}

/* One instruction. false: the victim has ended, with that status. */
static bool step(struct walk *walk, int *status)
{
    require(ptrace(PTRACE_SINGLESTEP, walk->victim, NULL, NULL) == 0, "single step");
    require(waitpid(walk->victim, status, 0) == walk->victim, "wait for the victim");
    if (!WIFSTOPPED(*status)) {
        return false;
    }
    require(WSTOPSIG(*status) == SIGTRAP, "the victim got a signal");
    walk->findings->instructions++;
    require(walk->findings->instructions < INSTRUCTIONS_MAX, "the call does not end");
    return true;
}

static void kill_victim(const struct walk *walk)
{
    (void)kill(walk->victim, SIGKILL);
    (void)waitpid(walk->victim, NULL, 0);
}

/* The end: the call must have returned 0 and the memory be as after it. */
static void finish(struct walk *walk, int status)
{
    const char *what = NULL;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        what = "the call failed";
    } else if (walk->last != (walk->scenario->no_effect ? OUTCOME_BEFORE : OUTCOME_AFTER)) {
        what = "the call has returned, and the state is not the one after it";
    } else if (walk->findings->states < 2) {
        what = "fewer than two distinct states: nothing was proven";
    }
    if (what != NULL) {
        (void)fprintf(stderr, "FAILED %s: %s\n", walk->scenario->name, what);
        walk->findings->failures++;
    }
}

void prove(const struct scenario *scenario, bool keep_going, struct findings *findings)
{
    struct arena arena;
    *findings = (struct findings){0};
    open_arena(&arena, scenario);
    if (scenario->set_up != NULL) {
        scenario->set_up(&arena);
    }
    if (arena.segment != NULL) {
        (void)hf_thread_leave(arena.segment); /* the victim shall be alone */
    }
    struct walk walk = {
        .scenario = scenario,
        .arena = &arena,
        .findings = findings,
        .seen = malloc(scenario->maximum > scenario->size ? scenario->maximum : scenario->size),
        .victim = start_victim(scenario, &arena)};
    require(walk.seen != NULL, "memory");
    int status = 0;
    bool alive = true;
    bool good = look(&walk, true);
    while (alive && (good || keep_going)) {
        alive = step(&walk, &status);
        good = look(&walk, false);
    }
    if (alive) {
        kill_victim(&walk);
    } else {
        finish(&walk, status);
    }
    free(walk.seen);
    close_arena(&arena);
}
