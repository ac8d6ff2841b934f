/* SPDX-License-Identifier: MIT */
/* One process that is stepped through its call, an instruction at a time. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proof/harness.h"

/* A call that takes more instructions loops. */
#define INSTRUCTIONS_MAX 5000000ul

/* An instruction that changes the memory again and again copies or clears: of its rounds the first
   few are due, and then every so many. */
#define ROUNDS_ALL   8ul
#define ROUNDS_STEP  128ul
#define ROUNDS_KNOWN 4096u

void victim_start(struct victim *victim, struct arena *arena, uint64_t room,
                  void (*prepare)(struct arena *arena), int (*act)(struct arena *arena))
{
    *victim = (struct victim){.arena = arena, .seen = malloc(room), .states = 1};
    victim->rounds = calloc(ROUNDS_KNOWN, sizeof *victim->rounds);
    require(victim->seen != NULL && victim->rounds != NULL, "memory");
    (void)fflush(NULL);
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (prepare != NULL) {
            prepare(arena);
        }
        require(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0, "ptrace");
        (void)raise(SIGSTOP); /* from here on, stepped */
        int result = act(arena);
        _exit(result == 0 ? 0 : 1);
    }
    int status;
    require(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "the victim does not start");
    victim->pid = pid;
    victim->seen_size = arena_size(arena);
    memcpy(victim->seen, arena->base, victim->seen_size);
}

void stage_victim(struct victim *victim, struct arena *arena, const struct scenario *scenario)
{
    open_arena(arena, scenario->size, scenario->maximum);
    if (scenario->set_up != NULL) {
        scenario->set_up(arena);
    }
    if (arena->segment != NULL) {
        (void)hf_thread_leave(arena->segment); /* the victim shall be alone */
    }
    uint64_t room = scenario->maximum > scenario->size ? scenario->maximum : scenario->size;
    victim_start(victim, arena, room, scenario->prepare, scenario->act);
}

void victim_end(struct victim *victim)
{
    if (!victim->ended) {
        (void)kill(victim->pid, SIGKILL);
        (void)waitpid(victim->pid, NULL, 0);
    }
    free(victim->seen);
    free(victim->rounds);
}

/* ---- stepping ---------------------------------------------------------------------------- */

void victim_step(struct victim *victim)
{
    require(ptrace(PTRACE_SINGLESTEP, victim->pid, NULL, NULL) == 0, "single step");
    require(waitpid(victim->pid, &victim->status, 0) == victim->pid, "wait for the victim");
    victim->ended = !WIFSTOPPED(victim->status);
    if (!victim->ended) {
        require(WSTOPSIG(victim->status) == SIGTRAP, "the victim got a signal");
        victim->instructions++;
        require(victim->instructions < INSTRUCTIONS_MAX, "the call does not end");
    }
}

bool victim_has_changed(struct victim *victim)
{
    uint64_t size = arena_size(victim->arena);
    if (size == victim->seen_size && memcmp(victim->seen, victim->arena->base, size) == 0) {
        return false;
    }
    memcpy(victim->seen, victim->arena->base, size);
    victim->seen_size = size;
    victim->states++;
    return true;
}

bool victim_step_to(struct victim *victim, unsigned long state)
{
    while (victim->states < state && !victim->ended) {
        victim_step(victim);
        (void)victim_has_changed(victim);
    }
    return victim->states >= state && !victim->ended;
}

struct snapshot victim_snapshot(const struct victim *victim)
{
    return (struct snapshot){
        .bytes = victim->seen, .size = victim->seen_size, .dead = {victim->pid}, .dead_count = 1};
}

/* ---- where it is ------------------------------------------------------------------------- */

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

bool victim_is_due(struct victim *victim)
{
    uint64_t address = victim->ended ? 1 : instruction_pointer(victim->pid);
    for (uint64_t i = address; i < address + ROUNDS_KNOWN; i++) {
        struct round *round = &victim->rounds[i % ROUNDS_KNOWN];
        if (round->address == address || round->count == 0) {
            round->address = address;
            round->count++;
            return round->count <= ROUNDS_ALL || round->count % ROUNDS_STEP == 0;
        }
    }
    return true;
}

/* As the system has it; 0: there is no such process. */
static char state_of(pid_t pid)
{
    char path[64];
    char line[256] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *stat = fopen(path, "r");
    if (stat == NULL) {
        return 0;
    }
    char *read = fgets(line, sizeof line, stat);
    (void)fclose(stat);
    const char *state = read == NULL ? NULL : strrchr(line, ')');
    return (char)(state != NULL && state[1] == ' ' ? state[2] : 0);
}

bool is_asleep(pid_t pid)
{
    return state_of(pid) == 'S';
}

bool is_dead(pid_t pid)
{
    char state = state_of(pid);
    return state == 0 || state == 'Z' || state == 'X';
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
