/* SPDX-License-Identifier: MIT */
/*
 * Mixed worlds: citizens (citizen.c) of different builds, libcs, widths, processors and PID
 * namespaces use one segment at once, and random ones are killed and stopped. Each test shares a
 * segment between this build and one other world, or among all there are. README.md has more.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

#define WORLDS_MAX     8u
#define CROWD          2u /* citizens at work in each world */
#define KILLS_MIN      5u /* in each world and round, however slow the machine */
#define HANDED_OVER_MS 2000
#define PATIENCE_MS    40000
#define NOT_TOLD       64 /* how a citizen ends who is not told what to do */

/* ---- worlds ------------------------------------------------------------------------------ */

/* Where its citizens' process numbers count from 1. */
struct space {
    pid_t first;
    int numbers; /* namespaces, as descriptors */
    int mounts;
    int input; /* it ends with this */
};

struct world {
    const char *name;
    const char *program; /* under CITIZENS, or a path */
    const char *emulator;
    bool contained;
    bool own_proc; /* of a contained one: /proc is its own too */
    struct space space;
};

static struct world here(void)
{
    return (struct world){.name = "this build", .program = CITIZEN};
}

static struct world built(const char *name, const char *program)
{
    return (struct world){.name = name, .program = program};
}

static struct world emulated(const char *name, const char *program, const char *emulator)
{
    return (struct world){.name = name, .program = program, .emulator = emulator};
}

static struct world contained(const char *name, bool own_proc)
{
    return (struct world){
        .name = name, .program = CITIZEN, .contained = true, .own_proc = own_proc};
}

static const char *program_of(const struct world *world)
{
    return world->program[0] == '/' ? world->program : path_in(CITIZENS, world->program);
}

/* ---- citizens ---------------------------------------------------------------------------- */

struct citizen {
    struct world *world;
    pid_t pid;
    int input; /* its standard input and output, this side */
    int output;
    bool ready;
    bool stopped;
    int64_t due; /* when it is stopped, let go on, or killed */
};

static const char *segment_file;

static void become(const struct world *world, const char *how, const char *more, int input,
                   int output)
{
    const char *argv[6] = {world->emulator, program_of(world), how, segment_file, more, NULL};
    const char *const *start = world->emulator == NULL ? argv + 1 : argv;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int number = 1; number < NSIG; number++) {
        (void)signal(number, SIG_DFL);
    }
    if (dup2(input, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0) {
        (void)execv(start[0], (char *const *)start);
    }
    _exit(127);
}

/* The same process, for as long as it starts a child: children are born in the world's space. */
static void enter_space(const struct space *space)
{
    assert_int_equal(setns(space->numbers, CLONE_NEWPID), 0);
    assert_int_equal(setns(space->mounts, CLONE_NEWNS), 0);
}

static struct space outside;

static struct citizen start(struct world *world, const char *how, const char *more)
{
    int in[2];
    int out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    if (world->contained) {
        enter_space(&world->space);
    }
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        become(world, how, more, in[0], out[1]);
    }
    if (world->contained) {
        enter_space(&outside);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    return (struct citizen){.world = world, .pid = pid, .input = in[1], .output = out[0]};
}

static struct citizen start_numbered(struct world *world, const char *how, unsigned number)
{
    char more[16];
    (void)snprintf(more, sizeof more, "%u", number);
    return start(world, how, more);
}

/* Lets go of it once it has ended. It has been killed, by us or by itself, or ended well. */
static void bury(struct citizen *c)
{
    int status = wait_child(c->pid);
    (void)close(c->input);
    (void)close(c->output);
    c->pid = 0;
    if (status != 0 && status != -SIGKILL) {
        fail_msg("a citizen of %s ended with %d", c->world->name, status);
    }
}

static void end(struct citizen *c)
{
    assert_int_equal(kill(c->pid, SIGKILL), 0);
    bury(c);
}

/* One byte; false: it has ended, or time is up. */
static bool read_byte(const struct citizen *c, int64_t until, char *byte)
{
    struct pollfd p = {.fd = c->output, .events = POLLIN};
    int64_t left = until - now_ms();
    return poll(&p, 1, left < 0 ? 0 : (int)left) == 1 && read(c->output, byte, 1) == 1;
}

#define LINE_MAX_LENGTH 64

/* Its next line, as far as it has come in time, is `word`, or begins so. */
static bool says(const struct citizen *c, const char *word, int64_t timeout_ms,
                 char line[LINE_MAX_LENGTH])
{
    int64_t until = now_ms() + timeout_ms;
    memset(line, 0, LINE_MAX_LENGTH);
    for (size_t i = 0; i < LINE_MAX_LENGTH - 1 && read_byte(c, until, &line[i]); i++) {
        if (line[i] == '\n') {
            line[i] = '\0';
            return strncmp(line, word, strlen(word)) == 0;
        }
    }
    return false;
}

static void must_say(struct citizen *c, const char *word)
{
    char line[LINE_MAX_LENGTH];
    if (!says(c, word, PATIENCE_MS, line)) {
        (void)kill(c->pid, SIGKILL);
        fail_msg("a citizen of %s says \"%s\", not \"%s\"; it ended with %d", c->world->name, line,
                 word, wait_child(c->pid));
    }
}

/* To its good end. */
static void run_to_its_end(struct world *world, const char *how, unsigned number, const char *says)
{
    struct citizen c = start_numbered(world, how, number);
    if (says != NULL) {
        must_say(&c, says);
    }
    int status = wait_child_for(c.pid, PATIENCE_MS);
    (void)close(c.input);
    (void)close(c.output);
    if (status != 0) {
        fail_msg("%s: a citizen of %s ended with %d", how, world->name, status);
    }
}

/* ---- is there such a world here? --------------------------------------------------------- */

/* NULL, or why not. */
static const char *why_not(struct world *world)
{
    static char reason[256];
    const char *program = program_of(world);
    if (world->emulator != NULL && world->emulator[0] != '/') {
        (void)snprintf(reason, sizeof reason, "no emulator qemu-%s", world->emulator);
        return reason;
    }
    if (access(program, X_OK) != 0) {
        (void)snprintf(reason, sizeof reason, "%s.skipped", program);
        char *text = read_whole_file(reason, NULL);
        (void)snprintf(reason, sizeof reason, "%.*s", text == NULL ? 64 : (int)strcspn(text, "\n"),
                       text == NULL ? "its citizen was not built" : text);
        free(text);
        return reason;
    }
    const char *argv[3] = {world->emulator, program, NULL};
    /* A program that the kernel does not know is given to the shell. */
    const struct spawn_options quiet = {.errors = "/dev/null"};
    int status = spawn_and_wait(world->emulator == NULL ? argv + 1 : argv, &quiet);
    if (status != NOT_TOLD) {
        (void)snprintf(reason, sizeof reason, "programs of %s do not run here (%d)", world->name,
                       status);
        return reason;
    }
    return NULL;
}

/* ---- spaces ------------------------------------------------------------------------------ */

/* The first process of a space, which lasts until its input ends. */
static void be_first(bool own_proc, int input, int output)
{
    char byte = mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 ? 'y' : 'n';
    if (own_proc && mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) {
        byte = 'n';
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)!write(output, &byte, 1);
    (void)close(output);
    (void)!read(input, &byte, 1);
    _exit(0);
}

static int open_namespace(pid_t pid, const char *kind)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kind);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* False where the system refuses. */
static bool make_space(struct world *world)
{
    int in[2];
    int out[2];
    char byte = 'n';
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    (void)fflush(NULL);
    long pid = syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        (void)close(in[1]);
        be_first(world->own_proc, in[0], out[1]);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    if (pid < 0) {
        return false;
    }
    bool made = read(out[0], &byte, 1) == 1 && byte == 'y';
    (void)close(out[0]);
    world->space = (struct space){(pid_t)pid, open_namespace((pid_t)pid, "pid"),
                                  open_namespace((pid_t)pid, "mnt"), in[1]};
    return made && world->space.numbers >= 0 && world->space.mounts >= 0;
}

static void end_space(struct world *world)
{
    (void)close(world->space.input);
    (void)wait_child(world->space.first);
}

/* After this the process may make namespaces; SKIPs where that is refused. */
static void prepare_spaces(void)
{
    private_mounts();
    outside.numbers = open_namespace(getpid(), "pid");
    outside.mounts = open_namespace(getpid(), "mnt");
    if (outside.numbers < 0 || outside.mounts < 0) {
        SKIP("no namespaces here");
    }
}

/* ---- a round ----------------------------------------------------------------------------- */

struct crowd {
    struct world *worlds;
    unsigned count;
    struct citizen at_work[WORLDS_MAX][CROWD];
    struct citizen staying[WORLDS_MAX];
    unsigned kills[WORLDS_MAX];
};

static void start_one(struct crowd *crowd, unsigned world, unsigned i)
{
    crowd->at_work[world][i] = start_numbered(&crowd->worlds[world], "work", world);
    crowd->at_work[world][i].due = now_ms() + PATIENCE_MS;
}

/* It works; how much longer it may. */
static void greet(struct citizen *c)
{
    must_say(c, "ready");
    c->ready = true;
    c->due = now_ms() + 5 + (int64_t)random_below(150);
}

/* Its time has come: it is killed, or stopped first. */
static void strike(struct crowd *crowd, unsigned world, unsigned i)
{
    struct citizen *c = &crowd->at_work[world][i];
    if (!c->ready) {
        fail_msg("a citizen of %s does not get to work", c->world->name);
    }
    if (c->stopped && random_below(2) == 0) {
        assert_int_equal(kill(c->pid, SIGCONT), 0);
        c->stopped = false;
        c->due = now_ms() + 20 + (int64_t)random_below(100);
        return;
    }
    if (!c->stopped && random_below(6) == 0) {
        assert_int_equal(kill(c->pid, SIGSTOP), 0);
        c->stopped = true;
        c->due = now_ms() + 200;
        return;
    }
    end(c);
    crowd->kills[world]++;
    start_one(crowd, world, i);
}

/* Looks after one of them. It may have killed itself. */
static void look_after(struct crowd *crowd, unsigned world, unsigned i, short events)
{
    struct citizen *c = &crowd->at_work[world][i];
    if (!c->ready && (events & POLLIN) != 0) {
        greet(c);
    } else if ((events & POLLHUP) != 0) {
        bury(c);
        crowd->kills[world]++;
        start_one(crowd, world, i);
    } else if (now_ms() >= c->due) {
        strike(crowd, world, i);
    }
}

static void look_after_all(struct crowd *crowd)
{
    struct pollfd polled[WORLDS_MAX * CROWD];
    unsigned n = crowd->count * CROWD;
    for (unsigned i = 0; i < n; i++) {
        polled[i] = (struct pollfd){crowd->at_work[i / CROWD][i % CROWD].output, POLLIN, 0};
    }
    assert_true(poll(polled, n, 4) >= 0);
    for (unsigned i = 0; i < n; i++) {
        look_after(crowd, i / CROWD, i % CROWD, polled[i].revents);
    }
}

static bool all_were_hit(const struct crowd *crowd, const unsigned *before)
{
    for (unsigned w = 0; w < crowd->count; w++) {
        if (crowd->kills[w] < before[w] + KILLS_MIN) {
            return false;
        }
    }
    return true;
}

static void populate(struct crowd *crowd)
{
    for (unsigned w = 0; w < crowd->count; w++) {
        crowd->staying[w] = start_numbered(&crowd->worlds[w], "stay", w);
    }
    for (unsigned w = 0; w < crowd->count; w++) {
        must_say(&crowd->staying[w], "ready");
    }
    for (unsigned w = 0; w < crowd->count; w++) {
        for (unsigned i = 0; i < CROWD; i++) {
            start_one(crowd, w, i);
        }
    }
}

/* Those who stay are alive until all the others have ended. */
static void kill_all(struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->count * CROWD; i++) {
        end(&crowd->at_work[i / CROWD][i % CROWD]);
    }
    for (unsigned w = 0; w < crowd->count; w++) {
        end(&crowd->staying[w]);
    }
}

/* They work and are killed for that long; then everyone is, and world `first` finds it so, and
   then every other one. */
static void live_and_die(struct crowd *crowd, unsigned first, int64_t ms)
{
    unsigned before[WORLDS_MAX];
    memcpy(before, crowd->kills, sizeof before);
    populate(crowd);
    int64_t begun = now_ms();
    int64_t end = begun + ms;
    bool stopped = false;
    while (now_ms() < end || !all_were_hit(crowd, before)) {
        look_after_all(crowd);
        assert_true(now_ms() < begun + PATIENCE_MS);
        pid_t staying = crowd->staying[first].pid; /* stopped half of the time, and alive */
        if (!stopped && now_ms() > begun + ms / 4) {
            stopped = true;
            assert_int_equal(kill(staying, SIGSTOP), 0);
        }
    }
    kill_all(crowd);
    for (unsigned i = 0; i < crowd->count; i++) {
        run_to_its_end(&crowd->worlds[(first + i) % crowd->count], "check", crowd->count,
                       i == 0 ? "recovered" : "recovered 0");
    }
}

/* ---- handing over ------------------------------------------------------------------------ */

struct times {
    int64_t sum;
    int64_t longest;
    unsigned count;
};

/* A waiter has the lock soon after its owner was killed. */
static void hand_over(struct world *from, struct citizen *waiter, const char *how,
                      struct times *times)
{
    struct citizen holder = start(from, "hold", how);
    must_say(&holder, "ready");
    assert_int_equal(write(waiter->input, "\n", 1), 1);
    must_say(waiter, "waiting");
    sleep_ms(30); /* asleep by now, most likely */
    int64_t killed = now_ms();
    end(&holder);
    must_say(waiter, "got");
    int64_t took = now_ms() - killed;
    must_say(waiter, "done");
    if (took > HANDED_OVER_MS) {
        fail_msg("%lld ms until %s had the lock of a dead one of %s", (long long)took,
                 waiter->world->name, from->name);
    }
    times->sum += took;
    times->count++;
    times->longest = took > times->longest ? took : times->longest;
}

static void hand_over_often(struct world *from, struct world *to, unsigned often)
{
    struct times times = {0};
    struct citizen waiter = start(to, "wait", "");
    for (unsigned i = 0; i < often; i++) {
        hand_over(from, &waiter, i % 2 == 0 ? "tx" : "plain", &times);
    }
    (void)close(waiter.input);
    waiter.input = -1;
    assert_int_equal(wait_child_for(waiter.pid, PATIENCE_MS), 0);
    (void)close(waiter.output);
    printf("    handed over from %s to %s in %lld ms on average, %lld at most\n", from->name,
           to->name, (long long)(times.sum / times.count), (long long)times.longest);
}

/* ---- sharing ----------------------------------------------------------------------------- */

static void share(struct world *worlds, unsigned count, int64_t ms, unsigned handed_over)
{
    struct crowd crowd = {.worlds = worlds, .count = count};
    segment_file = path_in(temporary_directory(), "segment");
    run_to_its_end(&worlds[random_below(count)], "create", 0, NULL);
    unsigned first = (unsigned)random_below(count);
    for (unsigned round = 0; round < 2; round++) {
        live_and_die(&crowd, (first + round) % count, ms / 2);
    }
    for (unsigned i = 0; i < count; i++) {
        hand_over_often(&worlds[i], &worlds[(i + 1) % count], handed_over);
    }
    run_to_its_end(&worlds[0], "check", count, "recovered");
    for (unsigned i = 0; i < count; i++) {
        printf("    %u of %s killed\n", crowd.kills[i], worlds[i].name);
    }
}

static void share_with(struct world other)
{
    const char *reason = why_not(&other);
    if (reason != NULL) {
        SKIP(reason);
    }
    struct world worlds[] = {here(), other};
    share(worlds, 2, 3000, 8);
}

TEST(builds_of_gcc_and_of_clang_share_and_recover)
{
    share_with(built("the other compiler", "citizen-other"));
}

TEST(glibc_and_musl_share_and_recover)
{
    share_with(built("musl", "citizen-musl"));
}

TEST(processes_of_64_and_32_bits_share_and_recover)
{
    share_with(built("32 bits", "citizen-32"));
}

TEST(emulated_processes_of_32_bits_share_and_recover)
{
    share_with(emulated("emulated 32 bits", "citizen-32", QEMU_I386));
}

TEST(emulated_processes_of_another_processor_share_and_recover)
{
    share_with(emulated("emulated aarch64", "citizen-aarch64", QEMU_AARCH64));
}

TEST(musl_of_32_bits_and_glibc_share_and_recover)
{
    share_with(built("musl of 32 bits", "citizen-musl-32"));
}

TEST(a_container_and_its_host_share_and_recover)
{
    struct world worlds[] = {here(), contained("a container", true)};
    prepare_spaces();
    if (!make_space(&worlds[1])) {
        SKIP("no PID namespace with a /proc of its own here");
    }
    share(worlds, 2, 3000, 8);
    end_space(&worlds[1]);
}

/* Both have threads of the same numbers; what one sees in /proc are the host's. */
TEST(two_containers_share_and_recover)
{
    struct world worlds[] = {contained("a container", true),
                             contained("a container with its host's /proc", false)};
    prepare_spaces();
    if (!make_space(&worlds[0]) || !make_space(&worlds[1])) {
        SKIP("no PID namespace with a /proc of its own here");
    }
    share(worlds, 2, 3000, 8);
    end_space(&worlds[1]);
    end_space(&worlds[0]);
}

TEST(all_worlds_there_are_share_and_recover)
{
    struct world candidates[] = {built("the other compiler", "citizen-other"),
                                 built("musl", "citizen-musl"),
                                 built("32 bits", "citizen-32"),
                                 emulated("emulated 32 bits", "citizen-32", QEMU_I386),
                                 emulated("emulated aarch64", "citizen-aarch64", QEMU_AARCH64),
                                 built("musl of 32 bits", "citizen-musl-32")};
    struct world worlds[WORLDS_MAX] = {here()};
    unsigned count = 1;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        const char *reason = why_not(&candidates[i]);
        if (reason == NULL) {
            worlds[count++] = candidates[i];
        } else {
            printf("    without %s: %s\n", candidates[i].name, reason);
        }
    }
    prepare_spaces();
    worlds[count] = contained("a container", true);
    bool spaced = make_space(&worlds[count]);
    count += spaced ? 1 : 0;
    if (count < 3) {
        SKIP("fewer than three worlds here");
    }
    share(worlds, count, 8000, 2);
    if (spaced) {
        end_space(&worlds[count - 1]);
    }
}
