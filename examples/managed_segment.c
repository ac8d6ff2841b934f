/* SPDX-License-Identifier: MIT */
/*
 * Objects that another process finds by name: a string and a vector of integers in a segment of
 * 64 KiB. The parent makes them and starts this program again as its child, which prints them.
 *
 * There is one such name on the machine: two parents at once disturb each other.
 *
 *     managed_segment           the parent
 *     managed_segment child     what it starts
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <holdfast/holdfast.h>

#define NAME "MySharedMemory"

extern char **environ;

static void must(int error, const char *what)
{
    if (error != 0) {
        (void)fprintf(stderr, "managed_segment: %s: %s\n", what, hf_strerror(error));
        exit(1);
    }
}

/* An initialiser: the elements come zeroed, and nobody finds them before it is done. */
static int fill(void *elements, size_t count, void *context)
{
    memcpy(elements, context, count * sizeof(int));
    return 0;
}

static int write_text(void *elements, size_t count, void *context)
{
    memcpy(elements, context, count);
    return 0;
}

static int child(void)
{
    hf_segment *segment;
    void *text;
    void *numbers;
    size_t count;
    must(hf_segment_open(NAME, HF_READ_ONLY, &segment), "open " NAME);
    int error = hf_object_find(segment, "MyString", HF_TYPE(char), &text, NULL);
    must(error, "MyString");
    (void)printf("MyString: %s\n", (char *)text);
    error = hf_object_find(segment, "MyVector", HF_TYPE(int), &numbers, &count);
    must(error, "MyVector");
    (void)printf("MyVector:");
    for (size_t i = 0; i < count; i++) {
        (void)printf(" %d", ((int *)numbers)[i]);
    }
    (void)printf("\n");
    hf_segment_close(segment);
    return 0;
}

static int run_child(char *program)
{
    char *argv[] = {program, "child", NULL};
    pid_t pid;
    int status;
    int error = posix_spawnp(&pid, program, NULL, NULL, argv, environ);
    if (error != 0 || waitpid(pid, &status, 0) != pid) {
        (void)fprintf(stderr, "managed_segment: no child\n");
        return 1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
    char text[] = "Hello from parent process!";
    int numbers[] = {10, 20, 30};
    hf_segment *segment;
    void *object;
    if (argc == 2 && strcmp(argv[1], "child") == 0) {
        return child();
    }
    if (argc > 1) {
        (void)fprintf(stderr, "usage: managed_segment\n");
        return 2;
    }
    (void)hf_segment_remove(NAME); /* one that an earlier run may have left */
    must(hf_segment_create(NAME, 65536, NULL, &segment), "create " NAME);
    must(hf_object_construct(segment, "MyString", HF_TYPE(char), sizeof text, write_text, text,
                             &object),
         "MyString");
    must(hf_object_construct(segment, "MyVector", HF_TYPE(int), 3, fill, numbers, &object),
         "MyVector");

    int result = run_child(argv[0]);

    must(hf_destroy(segment, "MyString", char), "destroy MyString");
    must(hf_destroy(segment, "MyVector", int), "destroy MyVector");
    hf_segment_close(segment);
    must(hf_segment_remove(NAME), "remove " NAME);
    return result;
}
