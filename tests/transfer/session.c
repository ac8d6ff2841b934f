/* SPDX-License-Identifier: MIT */
#include "transfer/session.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARGUMENTS_MAX 200

const char *kept_path(const char *directory, const char *name)
{
    static char *kept[256]; /* what is still reachable at the end is no leak */
    static size_t used;
    assert_true(used < sizeof kept / sizeof kept[0]);
    kept[used] = strdup(path_in(directory, name));
    assert_non_null(kept[used]);
    return kept[used++];
}

static const char *shared_holdfast;

const char *holdfast(void)
{
    return shared_holdfast != NULL ? shared_holdfast : HF_TOOL_PATH;
}

void share_holdfast(void)
{
    const char *directory = temporary_directory();
    const char *copy = kept_path(directory, "holdfast");
    const char *const cp[] = {"cp", HF_TOOL_PATH, copy, NULL};
    assert_int_equal(chmod(directory, 0755), 0);
    assert_int_equal(spawn_and_wait(cp, NULL), 0);
    assert_int_equal(chmod(copy, 0755), 0);
    shared_holdfast = copy;
}

int64_t promised_ms(int64_t ms)
{
    double load = 0;
    unsigned running = 0;
    char *text = read_whole_file("/proc/loadavg", NULL);
    /* NOLINTNEXTLINE(cert-err34-c) */
    if (text != NULL && sscanf(text, "%lf %*f %*f %u/", &load, &running) < 1) {
        load = 0;
    }
    free(text);
    double many = 2.0 * (double)sysconf(_SC_NPROCESSORS_ONLN);
    return load > many || running > many ? 10 * ms : ms;
}

void session_init(struct session *s)
{
    memset(s, 0, sizeof *s);
    (void)unique_name(s->name, "t");
    (void)snprintf(s->object, sizeof s->object, "holdfast.%u.%s", (unsigned)geteuid(), s->name);
    remove_shm_at_exit(s->object);
    s->target = temporary_directory();
    s->source = temporary_directory();
    const char *logs = temporary_directory();
    s->log = kept_path(logs, "server");
    s->out = kept_path(logs, "out");
    s->err = kept_path(logs, "err");
}

/* Starts the command with `fixed` and then `more`. */
static pid_t start(const char *const *fixed, const char *const *more,
                   const struct spawn_options *options)
{
    const char *argv[ARGUMENTS_MAX];
    size_t n = 0;
    for (; *fixed != NULL; fixed++) {
        argv[n++] = *fixed;
    }
    for (; more != NULL && *more != NULL && n + 1 < ARGUMENTS_MAX; more++) {
        argv[n++] = *more;
    }
    argv[n] = NULL;
    return spawn(argv, options);
}

pid_t session_start_server(struct session *s, const char *const *arguments)
{
    const char *const fixed[] = {holdfast(), "serve", "--name", s->name, NULL};
    struct spawn_options options = {.directory = s->target, .output = s->log, .errors = s->log};
    s->server = start(fixed, arguments, &options);
    return s->server;
}

void session_serve(struct session *s, const char *const *arguments)
{
    (void)unlink(s->log);
    (void)session_start_server(s, arguments);
    if (!wait_for_text(s->log, "ready", 10000)) {
        fail_msg("the server does not get ready: %s", read_whole_file(s->log, NULL));
    }
}

void session_start(struct session *s)
{
    session_init(s);
    session_serve(s, NULL);
}

pid_t session_start_client(struct session *s, const char *const *arguments)
{
    const char *const fixed[] = {holdfast(), "send", "--name", s->name, NULL};
    struct spawn_options options = {.directory = s->source, .output = s->out, .errors = s->err};
    return start(fixed, arguments, &options);
}

int session_send(struct session *s, const char *const *arguments)
{
    pid_t client = session_start_client(s, arguments);
    int code = wait_child_for(client, 15000);
    if (code == CHILD_RUNS) {
        (void)kill_and_reap(client);
        fail_msg("the client hangs");
    }
    return code;
}

const char *session_file(struct session *s, const char *name, uint64_t size)
{
    const char *path = path_in(s->source, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    static uint8_t bytes[1 << 20];
    assert_int_equal(getrandom(bytes, 4096, 0), 4096);
    for (uint64_t done = 0; done < size;) {
        uint64_t n = size - done < sizeof bytes ? size - done : sizeof bytes;
        for (uint64_t i = 0; i + 8 <= n; i += 512) { /* no two blocks alike */
            memcpy(bytes + i, &(uint64_t){done + i}, 8);
        }
        assert_int_equal(write(fd, bytes, n), n);
        done += n;
    }
    assert_int_equal(close(fd), 0);
    return path;
}

const char *session_endless_file(struct session *s, const char *name)
{
    const char *path = session_file(s, name, 0);
    assert_int_equal(truncate(path, (off_t)1 << 42), 0);
    return path;
}

/* Not cmp(1): it believes the sizes of files in /proc. */
bool same_content(const char *a, const char *b)
{
    static char bytes[2][1 << 20];
    FILE *files[2] = {fopen(a, "r"), fopen(b, "r")};
    bool same = files[0] != NULL && files[1] != NULL;
    for (bool end = false; same && !end;) {
        size_t n = fread(bytes[0], 1, sizeof bytes[0], files[0]);
        same = fread(bytes[1], 1, sizeof bytes[1], files[1]) == n &&
               memcmp(bytes[0], bytes[1], n) == 0;
        end = n == 0;
    }
    for (int i = 0; i < 2; i++) {
        if (files[i] != NULL) {
            (void)fclose(files[i]);
        }
    }
    return same;
}

bool says(const char *path, const char *text)
{
    char *content = read_whole_file(path, NULL);
    bool found = content != NULL && strstr(content, text) != NULL;
    if (!found) {
        print_message("\"%s\" does not stand in: %s\n", text, content == NULL ? "" : content);
    }
    free(content);
    return found;
}

uint64_t unnamed_bytes(pid_t pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    uint64_t bytes = 0;
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        char target[512];
        ssize_t n = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
        struct stat st;
        target[n > 0 ? n : 0] = 0;
        /* Not the rendezvous itself, which has no name either once it is removed. */
        if (strstr(target, "(deleted)") != NULL && strstr(target, "/dev/shm/") == NULL &&
            fstatat(dirfd(directory), entry->d_name, &st, 0) == 0) {
            bytes += (uint64_t)st.st_size;
        }
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    return bytes;
}

static bool under_way(void *context)
{
    return unnamed_bytes(*(pid_t *)context) > 0;
}

void session_wait_until_under_way(struct session *s)
{
    assert_true(wait_until(under_way, &s->server, 5000));
}

unsigned target_entries(struct session *s)
{
    DIR *directory = opendir(s->target);
    assert_non_null(directory);
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    (void)closedir(directory);
    return count;
}

bool rendezvous_exists(struct session *s)
{
    return access(path_in("/dev/shm", s->object), F_OK) == 0;
}
