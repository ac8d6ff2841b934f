/* SPDX-License-Identifier: MIT */
/* Programs: started with their output in files, and waited for. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "support/support.h"

/* In the child: any failure ends it. */
static void redirect(const char *path, int flags, int to)
{
    int fd = open(path, flags, 0666);
    if (fd < 0 || (fd != to && dup2(fd, to) < 0)) {
        _exit(126);
    }
    if (fd != to) {
        (void)close(fd);
    }
}

static void connect_streams(const struct spawn_options *o)
{
    if (o->input_fd != 0) {
        (void)dup2(o->input_fd, STDIN_FILENO);
    } else {
        redirect(o->input == NULL ? "/dev/null" : o->input, O_RDONLY, STDIN_FILENO);
    }
    int create = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND;
    if (o->output_fd != 0) {
        (void)dup2(o->output_fd, STDOUT_FILENO);
    } else if (o->output != NULL) {
        redirect(o->output, create, STDOUT_FILENO);
    }
    if (o->errors != NULL) {
        bool joined = o->output != NULL && strcmp(o->output, o->errors) == 0;
        redirect(o->errors, joined ? O_WRONLY | O_APPEND : create, STDERR_FILENO);
    }
}

static void become(const char *const *argv, const struct spawn_options *o)
{
    for (int number = 1; number < NSIG; number++) {
        (void)signal(number, SIG_DFL);
    }
    connect_streams(o);
    for (const char *const *more = o->environment; more != NULL && *more != NULL; more++) {
        (void)putenv((char *)*more); /* not changed by anyone: exec follows */
    }
    if (o->directory != NULL && chdir(o->directory) != 0) {
        _exit(126);
    }
    (void)execvp(argv[0], (char *const *)argv);
    _exit(127);
}

pid_t spawn(const char *const *argv, const struct spawn_options *options)
{
    static const struct spawn_options defaults;
    pid_t parent = getpid();
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(126);
        }
        become(argv, options == NULL ? &defaults : options);
    }
    return pid;
}

int spawn_and_wait(const char *const *argv, const struct spawn_options *options)
{
    return wait_child(spawn(argv, options));
}

struct wanted_text {
    const char *path;
    const char *text;
};

static bool text_is_there(void *context)
{
    const struct wanted_text *wanted = context;
    size_t size;
    char *content = read_whole_file(wanted->path, &size);
    bool there =
        content != NULL && memmem(content, size, wanted->text, strlen(wanted->text)) != NULL;
    free(content);
    return there;
}

bool wait_for_text(const char *path, const char *text, int64_t timeout_ms)
{
    struct wanted_text wanted = {path, text};
    return wait_until(text_is_there, &wanted, timeout_ms);
}
