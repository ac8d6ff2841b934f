/* SPDX-License-Identifier: MIT */
/* Names of things in the system, and their removal when the test's process ends. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <unistd.h>

#include "support/support.h"

/* One thing to remove. A list, so that no test runs out of room. */
struct leftover {
    struct leftover *next;
    pid_t owner; /* a forked child must not remove what its parent still uses */
    bool directory;
    char path[PATH_MAX];
};

static struct leftover *leftovers;

static const char *remember(bool directory, const char *path)
{
    struct leftover *left = calloc(1, sizeof *left);
    assert_non_null(left);
    left->owner = getpid();
    left->directory = directory;
    (void)snprintf(left->path, sizeof left->path, "%s", path);
    left->next = leftovers;
    leftovers = left;
    return left->path;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    if (remove(path) != 0 && errno == EBUSY && umount2(path, MNT_DETACH) == 0) {
        (void)remove(path); /* the test had mounted something there */
    }
    return 0;
}

void names_clean_up(void)
{
    while (leftovers != NULL) {
        struct leftover *left = leftovers;
        leftovers = left->next;
        if (left->owner == getpid()) {
            if (left->directory) {
                (void)nftw(left->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
            } else {
                (void)remove(left->path);
            }
        }
        free(left);
    }
}

void remove_shm_at_exit(const char *name)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "/dev/shm/%s", name);
    (void)remember(false, path);
}

const char *unique_name(char name[UNIQUE_NAME_SIZE], const char *tag)
{
    uint32_t random;
    assert_int_equal(getrandom(&random, sizeof random, 0), sizeof random);
    (void)snprintf(name, UNIQUE_NAME_SIZE, "hft-%.40s-%d-%08x", tag, (int)getpid(), random);
    remove_shm_at_exit(name);
    return name;
}

const char *temporary_directory(void)
{
    const char *parent = getenv("TMPDIR");
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/hft-XXXXXX", parent == NULL ? "/tmp" : parent);
    assert_non_null(mkdtemp(path));
    return remember(true, path);
}

const char *path_in(const char *directory, const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, PATH_MAX, "%s/%s", directory, name);
    return path;
}

unsigned count_entries(const char *directory, const char *part)
{
    DIR *stream = opendir(directory);
    assert_non_null(stream);
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        bool self_or_parent = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        count += !self_or_parent && strstr(entry->d_name, part) != NULL;
    }
    (void)closedir(stream);
    return count;
}

/* ---- files ------------------------------------------------------------------------------- */

static char *realloc_or_fail(char *bytes, size_t size)
{
    char *more = realloc(bytes, size);
    if (more == NULL) {
        print_error("no memory for %zu bytes\n", size);
        exit(1);
    }
    return more;
}

char *read_whole_file(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    size_t room = 4096;
    size_t done = 0;
    char *bytes = realloc_or_fail(NULL, room);
    for (ssize_t got = 1; got > 0;) {
        if (done + 1 == room) {
            bytes = realloc_or_fail(bytes, room *= 2);
        }
        got = read(fd, bytes + done, room - done - 1);
        done += got > 0 ? (size_t)got : 0;
    }
    (void)close(fd);
    bytes[done] = 0;
    if (size != NULL) {
        *size = done;
    }
    return bytes;
}

void write_whole_file(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    for (size_t done = 0; done < size;) {
        ssize_t put = write(fd, (const char *)bytes + done, size - done);
        assert_true(put > 0);
        done += (size_t)put;
    }
    assert_int_equal(close(fd), 0);
}
