/* SPDX-License-Identifier: MIT */
/*
 * The scratch directory, on tmpfs so that no disk is measured.
 *
 * Its driver holds a lock on it (flock, which dies with the driver). One that can be locked by
 * someone else is what a killed driver left, up to gigabytes of memory; the next driver removes it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver.h"

#define PARENT "/dev/shm"
#define PREFIX "holdfast-bench-"

static char scratch_path[BENCH_PATH_MAX];
static int scratch_lock = -1;

const char *bench_scratch(void)
{
    return scratch_path;
}

/* The descriptor is ended here. Depth is bounded by what rows make, so recursion is. */
static void remove_content(int fd) // NOLINT(misc-no-recursion)
{
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        (void)close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (unlinkat(dirfd(directory), entry->d_name, 0) == 0) {
            continue;
        }
        int child = openat(dirfd(directory), entry->d_name,
                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (child >= 0) {
            remove_content(child);
            (void)unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR);
        }
    }
    (void)closedir(directory);
}

void bench_remove_tree(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        remove_content(fd);
        (void)rmdir(path);
    }
}

/* The descriptor that holds the lock, or -1 if the directory is not to be had or is in use. */
static int lock_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_uid != geteuid() ||
        flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void remove_abandoned(void)
{
    DIR *directory = opendir(PARENT);
    if (directory == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[BENCH_PATH_MAX];
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0 ||
            bench_format(path, sizeof(path), PARENT "/%s", entry->d_name) != 0) {
            continue;
        }
        int fd = lock_directory(path);
        if (fd >= 0) {
            bench_remove_tree(path);
            (void)close(fd);
        }
    }
    (void)closedir(directory);
}

int scratch_open(void)
{
    remove_abandoned();
    /* Between making and locking, another driver may take ours for abandoned: then once more. */
    for (int attempt = 0; attempt < 3; attempt++) {
        if (bench_format(scratch_path, sizeof(scratch_path), PARENT "/" PREFIX "XXXXXX") != 0) {
            return -1;
        }
        if (mkdtemp(scratch_path) == NULL) {
            return bench_error("cannot make a directory in " PARENT ": %s", strerror(errno));
        }
        scratch_lock = lock_directory(scratch_path);
        if (scratch_lock >= 0 && access(scratch_path, F_OK) == 0) {
            return 0;
        }
        scratch_close();
    }
    return bench_error("cannot lock a directory in " PARENT);
}

void scratch_close(void)
{
    bench_remove_tree(scratch_path);
    if (scratch_lock >= 0) {
        (void)close(scratch_lock);
        scratch_lock = -1;
    }
}
