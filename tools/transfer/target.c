/* SPDX-License-Identifier: MIT */
#include "transfer/target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART_PREFIX ".holdfast-"
#define PART_SUFFIX ".part"
#define PART_DIGITS 16
#define DESCRIPTORS "/proc/self/fd"

/* ---- the directory ----------------------------------------------------------------------- */

/* Exactly what random_part_name makes, so that no file of anybody else's is taken for one. */
static bool is_part_name(const char *name)
{
    size_t prefix = strlen(PART_PREFIX);
    return strncmp(name, PART_PREFIX, prefix) == 0 &&
           strspn(name + prefix, "0123456789abcdef") == PART_DIGITS &&
           strcmp(name + prefix + PART_DIGITS, PART_SUFFIX) == 0;
}

/* Removes one unfinished file, unless it is not ours or its server lives. */
static void remove_if_abandoned(int directory, const char *name)
{
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
        flock(fd, LOCK_EX | LOCK_NB) == 0) {
        (void)unlinkat(directory, name, 0);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

int target_open(struct target_directory *top, const char *path)
{
    top->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top->fd < 0) {
        return -errno;
    }
    int listing = openat(top->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = listing < 0 ? NULL : fdopendir(listing);
    if (directory == NULL) {
        int error = -errno;
        if (listing >= 0) {
            (void)close(listing);
        }
        target_close(top);
        return error;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (is_part_name(entry->d_name)) {
            remove_if_abandoned(top->fd, entry->d_name);
        }
    }
    (void)closedir(directory);
    return 0;
}

void target_close(struct target_directory *top)
{
    (void)close(top->fd);
    top->fd = -1;
}

bool target_path_is_clean(const char *path, size_t length)
{
    if (length == 0 || memchr(path, 0, length) != NULL) {
        return false;
    }
    for (const char *part = path; part <= path + length;) {
        const char *slash = memchr(part, '/', (size_t)(path + length - part));
        size_t n = (size_t)((slash != NULL ? slash : path + length) - part);
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.')) {
            return false;
        }
        part += n + 1;
    }
    return true;
}

/*
 * Opens the directory that the path's last part stands in, one step at a time and never through a
 * link. *name points to the last part.
 */
static int open_parent(const struct target_directory *top, const char *path, int *parent,
                       const char **name)
{
    int here = openat(top->fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (here < 0) {
        return -errno;
    }
    for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
        char step[NAME_MAX + 1];
        size_t n = (size_t)(slash - path);
        if (n > NAME_MAX) {
            (void)close(here);
            return -ENAMETOOLONG;
        }
        memcpy(step, path, n);
        step[n] = 0;
        int next = openat(here, step, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int error = -errno;
        struct stat st;
        if (next < 0 && fstatat(here, step, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
            error = -ELOOP;
        }
        (void)close(here);
        if (next < 0) {
            return error;
        }
        here = next;
    }
    *parent = here;
    *name = path;
    return 0;
}

/* ---- files ------------------------------------------------------------------------------- */

/* What stands in the way of a new file of that name: 0, or why not. */
static int check_way(int parent, const char *name, bool force)
{
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    switch (st.st_mode & S_IFMT) {
    case S_IFREG:
        return force ? 0 : -EEXIST;
    case S_IFLNK:
        return -ELOOP;
    case S_IFDIR:
        return -EISDIR;
    default:
        return -ENXIO;
    }
}

static int random_part_name(char part[PART_NAME_SIZE])
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        return -EIO;
    }
    (void)snprintf(part, PART_NAME_SIZE, PART_PREFIX "%016llx" PART_SUFFIX,
                   (unsigned long long)random);
    return 0;
}

/* Opens the file that the bytes go into, with no name if the file system can. */
static int open_part(struct target_file *file)
{
    if (access(DESCRIPTORS, X_OK) == 0) { /* it gets its name through there */
        file->fd = openat(file->parent, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
        if (file->fd < 0 && errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
            return -errno;
        }
    }
    if (file->fd < 0) {
        int error = random_part_name(file->part);
        if (error != 0) {
            return error;
        }
        file->fd = openat(file->part_directory, file->part,
                          O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (file->fd < 0) {
            file->part[0] = 0;
            return -errno;
        }
    }
    (void)flock(file->fd, LOCK_EX | LOCK_NB); /* says that we live, should it have a name */
    return 0;
}

/* The top, where the next server finds it; but a file changes its name within one file system. */
static int choose_part_directory(struct target_file *file)
{
    struct stat top;
    struct stat parent;
    if (fstat(file->top->fd, &top) != 0 || fstat(file->parent, &parent) != 0) {
        return -errno;
    }
    file->part_directory = top.st_dev == parent.st_dev ? file->top->fd : file->parent;
    return 0;
}

int target_try(const struct target_directory *top)
{
    struct stat st;
    struct target_file file = {.top = top, .fd = -1, .parent = top->fd, .part_directory = top->fd};
    if (fstat(top->fd, &st) == 0 && st.st_nlink == 0) {
        return -ENOENT; /* it was removed */
    }
    int error = open_part(&file);
    file.parent = -1; /* not its own */
    target_discard(&file);
    return error == -ENOSPC || error == -EDQUOT ? 0 : error;
}

int target_begin(const struct target_directory *top, const char *path, bool force,
                 struct target_file *file)
{
    *file = (struct target_file){.top = top, .fd = -1, .parent = -1, .force = force};
    const char *name;
    int error = open_parent(top, path, &file->parent, &name);
    if (error == 0) {
        error = is_part_name(name) ? -EINVAL : check_way(file->parent, name, force);
    }
    if (error == 0) {
        error = choose_part_directory(file);
    }
    if (error == 0) {
        file->name = strdup(name);
        error = file->name == NULL ? -ENOMEM : open_part(file);
    }
    if (error != 0) {
        target_discard(file);
    }
    return error;
}

int target_write(struct target_file *file, const void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = write(file->fd, (const char *)bytes + done, length - done);
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* Gives the open file a name, which must be free. */
static int link_as(const struct target_file *file, int directory, const char *name)
{
    if (file->part[0] == 0) {
        char from[64];
        (void)snprintf(from, sizeof from, DESCRIPTORS "/%d", file->fd);
        return linkat(AT_FDCWD, from, directory, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
    }
    if (renameat2(file->part_directory, file->part, directory, name, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -errno;
    }
    if (linkat(file->part_directory, file->part, directory, name, 0) != 0) {
        return -errno;
    }
    (void)unlinkat(file->part_directory, file->part, 0);
    return 0;
}

/* Puts the open file in the place of one that is there. */
static int replace(struct target_file *file)
{
    int error = check_way(file->parent, file->name, true);
    if (error != 0) {
        return error;
    }
    if (file->part[0] == 0) { /* only a file with a name can take another's place */
        char part[PART_NAME_SIZE];
        error = random_part_name(part);
        if (error == 0) {
            error = link_as(file, file->part_directory, part);
        }
        if (error != 0) {
            return error;
        }
        memcpy(file->part, part, sizeof part);
    }
    /* What came to stand there since the check is replaced itself, never what it points to. */
    if (renameat(file->part_directory, file->part, file->parent, file->name) != 0) {
        return -errno;
    }
    return 0;
}

static int keep_attributes(int fd, const struct target_attributes *keep)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, keep->mtime};
    if (fchmod(fd, keep->mode & 0777) != 0 || futimens(fd, times) != 0) {
        return -errno;
    }
    return 0;
}

int target_publish(struct target_file *file, const struct target_attributes *keep)
{
    int error = keep == NULL ? 0 : keep_attributes(file->fd, keep);
    if (error == 0) {
        error = link_as(file, file->parent, file->name);
        if (error == -EEXIST && file->force) {
            error = replace(file);
        }
    }
    if (error == 0) {
        file->part[0] = 0; /* it is the file's name now, or gone */
    }
    target_discard(file);
    return error;
}

void target_discard(struct target_file *file)
{
    if (file->part[0] != 0) {
        (void)unlinkat(file->part_directory, file->part, 0);
        file->part[0] = 0;
    }
    if (file->fd >= 0) {
        (void)close(file->fd);
        file->fd = -1;
    }
    if (file->parent >= 0) {
        (void)close(file->parent);
        file->parent = -1;
    }
    free(file->name);
    file->name = NULL;
}

/* ---- directories ------------------------------------------------------------------------- */

int target_make_directory(const struct target_directory *top, const char *path)
{
    int parent = -1;
    const char *name = "";
    int error = open_parent(top, path, &parent, &name);
    if (error != 0) {
        return error;
    }
    if (mkdirat(parent, name, 0777) != 0) {
        error = errno == EEXIST ? check_way(parent, name, false) : -errno;
        if (error == -EISDIR) {
            error = 0; /* one is there: what is sent goes into it */
        } else if (error == -EEXIST) {
            error = -ENOTDIR;
        }
    }
    (void)close(parent);
    return error;
}

int target_finish_directory(const struct target_directory *top, const char *path,
                            const struct target_attributes *keep)
{
    int parent = -1;
    const char *name = "";
    int error = open_parent(top, path, &parent, &name);
    if (error != 0) {
        return error;
    }
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    error = fd < 0 ? -errno : keep_attributes(fd, keep);
    if (fd >= 0) {
        (void)close(fd);
    }
    (void)close(parent);
    return error;
}

/* ---- words ------------------------------------------------------------------------------- */

const char *target_explain(int error)
{
    switch (error) {
    case -EEXIST:
        return "a file of that name exists already (--force replaces it)";
    case -ELOOP:
        return "a symbolic link stands in its place on the server";
    case -EISDIR:
        return "a directory of that name exists on the server";
    case -ENOTDIR:
        return "a file stands where a directory is needed on the server";
    case -ENXIO:
        return "a device, pipe or socket of that name exists on the server";
    case -ENOSPC:
    case -EDQUOT:
        return "no space left on the server's disk";
    case -EFBIG:
        return "the server's file system does not hold a file that large";
    case -ENAMETOOLONG:
        return "the name is too long for the server's file system";
    case -EINVAL:
    case -EILSEQ:
        return "the server's file system does not take that name";
    default:
        return strerror(-error);
    }
}
