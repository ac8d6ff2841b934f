/* SPDX-License-Identifier: MIT */
/*
 * An integer that a parent and its child share, a mutex and a condition that each finds by a name.
 * The child waits until the integer is there, the parent writes 42 and says so; then each prints
 * it, the child first.
 *
 *     mutex_condition                the parent
 *     mutex_condition child NUMBER   what it starts
 */
#include <errno.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <holdfast/holdfast.h>

extern char **environ;

struct shared {
    bool written;
    int number;
};

struct names {
    char segment[64];
    char mutex[64];
    char condition[64];
};

static void must(int error, const char *what)
{
    if (error != 0) {
        (void)fprintf(stderr, "mutex_condition: %s: %s\n", what, hf_strerror(error));
        exit(1);
    }
}

/* Of this run alone: others may be at it, too. */
static struct names names_of(long run)
{
    struct names names;
    (void)snprintf(names.segment, sizeof names.segment, "MutexCondition-%ld", run);
    (void)snprintf(names.mutex, sizeof names.mutex, "MutexCondition-%ld.mutex", run);
    (void)snprintf(names.condition, sizeof names.condition, "MutexCondition-%ld.condition", run);
    return names;
}

static bool is_written(void *shared)
{
    return ((struct shared *)shared)->written;
}

static int child(long run)
{
    struct names names = names_of(run);
    hf_segment *segment;
    hf_mutex *mutex;
    hf_condition *condition;
    void *root;
    must(hf_segment_open(names.segment, HF_READ_WRITE, &segment), "open");
    must(hf_mutex_open(names.mutex, &mutex), "open the mutex");
    must(hf_condition_open(names.condition, &condition), "open the condition");
    must(hf_segment_root(segment, sizeof(struct shared), &root), "root");
    struct shared *shared = root;
    {
        hf_guard(guard, mutex);
        must(guard.error, "lock"); /* also if the parent has died: nobody would notify */
        must(
            hf_condition_wait_for(condition, hf_lockable_of(mutex), is_written, shared, HF_FOREVER),
            "wait");
        (void)printf("%d\n", shared->number);
    }
    must(hf_condition_close(condition), "close the condition");
    must(hf_mutex_close(mutex), "close the mutex");
    hf_segment_close(segment);
    return 0;
}

static pid_t start_child(char *program, long run)
{
    char number[32];
    char word[] = "child";
    char *argv[] = {program, word, number, NULL};
    pid_t pid;
    (void)snprintf(number, sizeof number, "%ld", run);
    int error = posix_spawnp(&pid, program, NULL, NULL, argv, environ);
    if (error != 0) {
        (void)fprintf(stderr, "mutex_condition: no child\n");
        exit(1);
    }
    return pid;
}

static void write_number(hf_mutex *mutex, hf_condition *condition, struct shared *shared)
{
    hf_guard(guard, mutex);
    must(guard.error, "lock");
    shared->number = 42;
    shared->written = true;
    must(hf_condition_notify_one(condition), "notify");
}

static struct names made; /* by the parent, which removes them however it exits */

static void remove_all(void)
{
    (void)hf_condition_remove(made.condition);
    (void)hf_mutex_remove(made.mutex);
    (void)hf_segment_remove(made.segment);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "child") == 0) {
        return child(strtol(argv[2], NULL, 10));
    }
    if (argc > 1) {
        (void)fprintf(stderr, "usage: mutex_condition\n");
        return 2;
    }
    long run = (long)getpid();
    struct names names = names_of(run);
    made = names;
    (void)atexit(remove_all);
    hf_segment *segment;
    hf_mutex *mutex;
    hf_condition *condition;
    void *root;
    must(hf_segment_create(names.segment, 65536, NULL, &segment), "create");
    must(hf_mutex_create(names.mutex, NULL, &mutex), "create the mutex");
    must(hf_condition_create(names.condition, NULL, &condition), "create the condition");
    must(hf_segment_root(segment, sizeof(struct shared), &root), "root");

    struct shared *shared = root;
    pid_t pid = start_child(argv[0], run);
    write_number(mutex, condition, shared);
    int status = 1;
    bool ended = waitpid(pid, &status, 0) == pid && status == 0;
    if (ended) {
        (void)printf("%d\n", shared->number);
    }

    must(hf_condition_close(condition), "close the condition");
    must(hf_mutex_close(mutex), "close the mutex");
    hf_segment_close(segment);
    return ended ? 0 : 1;
}
