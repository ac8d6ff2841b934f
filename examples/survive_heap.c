/* SPDX-License-Identifier: MIT */
/*
 * A shared heap. Processes, one after another, allocate, free and construct objects in it as fast
 * as they can, and each is killed with SIGKILL at a random moment. After each death another process
 * uses the heap, and then everything in it is counted: what the table of links names must be all
 * there is.
 *
 *     survive_heap [PROCESSES]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <holdfast/holdfast.h>

#define LINKS 256

/* What lies in the segment. */
struct table {
    hf_off link[LINKS];
    uint64_t calls;
};

static void must(int error, const char *what)
{
    if (error != 0) {
        (void)fprintf(stderr, "survive_heap: %s: %s\n", what, hf_strerror(error));
        exit(1);
    }
}

/* Takes a block into the link, or frees the one that it names: each in one step. */
static void turn(hf_segment *segment, struct table *table)
{
    hf_off *link = &table->link[rand() % LINKS];
    if (link->value == 0) {
        must(hf_alloc_into(segment, 1 + (size_t)(rand() % 2000), link), "allocate");
    } else {
        must(hf_free_from(segment, link), "free");
    }
}

/* A name comes and goes, always with its object. */
static void rename_one(hf_segment *segment)
{
    char name[16];
    void *object;
    (void)snprintf(name, sizeof name, "object %d", rand() % 50);
    if (hf_object_destroy(segment, name, HF_TYPE(long)) != 0) {
        must(hf_object_construct(segment, name, HF_TYPE(long), 10, NULL, NULL, &object),
             "construct");
    }
}

static void work(hf_segment *segment, struct table *table, unsigned turns)
{
    for (unsigned i = 0; i < turns || turns == 0; i++) {
        turn(segment, table);
        rename_one(segment);
        table->calls += 2;
    }
}

static void kill_one(hf_segment *segment, struct table *table)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        perror("survive_heap: fork");
        exit(1);
    }
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the parent be killed itself */
        if (getppid() != parent) {
            _exit(1);
        }
        srand((unsigned)getpid());
        work(segment, table, 0);
    }
    struct timespec moment = {0, 1000000 + rand() % 20000000};
    (void)nanosleep(&moment, NULL);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

/* Works, in a process of its own that must not take longer than two seconds. */
static int still_works(hf_segment *segment, struct table *table)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(2);
        work(segment, table, 100);
        _exit(0);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

/* Are the blocks that something names all the blocks that there are? */
static int nothing_is_lost(hf_segment *segment, const struct table *table)
{
    hf_check_report report;
    uint64_t names;
    uint64_t named = 0;
    must(hf_segment_recover(segment, NULL), "recover");
    if (hf_check(segment, &report) != 0) {
        (void)printf("%s\n", report.what);
        return 0;
    }
    for (int i = 0; i < LINKS; i++) {
        named += table->link[i].value != 0;
    }
    must(hf_object_count(segment, &names), "count");
    return report.blocks == named + names + 1; /* the index of names is a block, too */
}

/* 0 for what is no number. */
static long number(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);
    return *end == 0 ? value : 0;
}

int main(int argc, char **argv)
{
    long processes = argc > 1 ? number(argv[1]) : 60;
    hf_segment *segment;
    void *root;
    long usable = 0;
    long exact = 0;
    if (argc > 2 || processes < 1) {
        (void)fprintf(stderr, "usage: survive_heap [PROCESSES]\n");
        return 2;
    }
    must(hf_segment_create_anonymous(1 << 20, NULL, &segment), "create a segment");
    must(hf_segment_root(segment, sizeof(struct table), &root), "make the root");
    struct table *table = root;
    must(hf_object_reserve(segment, 1), "make the index");
    for (long i = 0; i < processes; i++) {
        kill_one(segment, table);
        usable += still_works(segment, table);
        exact += nothing_is_lost(segment, table);
    }
    (void)printf("processes killed          %ld\n"
                 "  heap usable afterwards  %ld\n"
                 "  nothing lost            %ld\n"
                 "calls                     %llu\n",
                 processes, usable, exact, (unsigned long long)table->calls);
    hf_segment_close(segment);
    return usable == processes && exact == processes ? 0 : 1;
}
