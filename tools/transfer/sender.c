/* SPDX-License-Identifier: MIT */
#include "transfer/sender.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/os.h"
#include "transfer/digest.h"

/* A read(2) fills at most this much, which is hashed while it is in cache. */
#define PIECE_MAX (UINT64_C(512) << 10)

/* The most free room that is waited for: fewer, longer sleeps when the server is the slower one. */
#define ROOM_WANTED (UINT64_C(512) << 10)

/* ---- verdicts ---------------------------------------------------------------------------- */

struct verdict {
    uint32_t status;
    char text[WIRE_TEXT_MAX + 1];
};

static int receive_verdict(struct sender *s, struct verdict *verdict)
{
    struct frame frame;
    int error = wire_receive(s->c->in, &frame, NULL);
    if (error != 0) {
        return error;
    }
    if (frame.kind != FRAME_VERDICT || frame.length > WIRE_TEXT_MAX) {
        return -EBADMSG;
    }
    verdict->status = frame.status;
    error = wire_receive_bytes(s->c->in, &frame, verdict->text, NULL);
    verdict->text[frame.length] = 0;
    return error;
}

/* Has the server spoken already? It does so before the end only to say no. */
static bool verdict_waits(struct sender *s)
{
    const void *run;
    uint64_t length;
    /* A connection that has ended counts: receiving tells why. */
    return hf_pipe_peek(s->c->in, FRAME_SIZE, 0, &run, &length) != -EAGAIN;
}

static void fail(struct sender *s, const char *event, const char *name, const char *why)
{
    report_failed(s->report, event, name, why);
    s->failures++;
}

static void fail_verdict(struct sender *s, const char *name, const struct verdict *verdict)
{
    char why[WIRE_TEXT_MAX + 64];
    if (verdict->status == VERDICT_REFUSED) {
        fail(s, "refused", name, verdict->text);
    } else { /* or it would be taken for what is wrong with the client's own file */
        (void)snprintf(why, sizeof why, "the server could not save it: %s", verdict->text);
        fail(s, "error", name, why);
    }
}

/* ---- one file ---------------------------------------------------------------------------- */

static void put_attributes(struct frame *frame, const struct stat *st)
{
    frame->mode = st->st_mode & 0777;
    frame->mtime_seconds = st->st_mtim.tv_sec;
    frame->mtime_nanoseconds = (uint32_t)st->st_mtim.tv_nsec;
}

/* read(2) straight into the ring, behind room for the frame. *got 0: end of file. */
static int send_piece(struct sender *s, int fd, struct digest *digest, uint64_t *got,
                      int *read_error)
{
    void *run;
    uint64_t room;
    int error = wire_reserve(s->c->out, ROOM_WANTED, &run, &room, NULL);
    if (error != 0) {
        return error;
    }
    struct frame *frame = run;
    char *data = (char *)run + FRAME_SIZE;
    uint64_t most = room - FRAME_SIZE; /* all that is ever committed are whole frames */
    most = most < PIECE_MAX ? most : PIECE_MAX;
    *got = 0;
    if (most > 0) {
        ssize_t n;
        do {
            n = read(fd, data, most);
        } while (n < 0 && errno == EINTR);
        if (n <= 0) {
            *read_error = n < 0 ? -errno : -ENODATA;
            return 0;
        }
        *got = (uint64_t)n;
        digest_update(digest, data, *got);
    }
    *frame = (struct frame){.kind = FRAME_DATA, .length = (uint32_t)*got};
    return hf_pipe_commit(s->c->out, FRAME_SIZE + wire_padded(*got));
}

/* Sends all of the file, then END; or ABORT, when the server refuses it or it cannot be read. */
static int send_content(struct sender *s, int fd, struct frame *end, int *read_error)
{
    struct digest digest;
    digest_start(&digest);
    uint64_t size = 0;
    *read_error = 0;
    while (*read_error == 0 && !verdict_waits(s)) {
        uint64_t got;
        int error = send_piece(s, fd, &digest, &got, read_error);
        if (error != 0) {
            return error;
        }
        size += got;
        report_progress(s->report, size);
    }
    bool whole = *read_error == -ENODATA;
    *end = (struct frame){.kind = whole ? FRAME_END : FRAME_ABORT, .size = size};
    digest_finish(&digest, end->digest);
    *read_error = whole ? 0 : *read_error;
    return wire_send(s->c->out, end, NULL, NULL);
}

static int send_open_file(struct sender *s, int fd, const struct stat *st, const char *name,
                          const char *path)
{
    struct frame begin = {.kind = FRAME_FILE,
                          .length = (uint32_t)strlen(name),
                          .size = (uint64_t)st->st_size,
                          .flags =
                              (s->force ? FRAME_FORCE : 0u) | (s->preserve ? FRAME_PRESERVE : 0u)};
    put_attributes(&begin, st);
    report_begin(s->report, path, begin.size);
    uint64_t start = os_now_ns();
    struct frame end;
    struct verdict verdict;
    int read_error = 0;
    int error = wire_send(s->c->out, &begin, name, NULL);
    if (error == 0) {
        error = send_content(s, fd, &end, &read_error);
    }
    if (error == 0) {
        error = receive_verdict(s, &verdict);
    }
    if (error != 0) {
        return error;
    }
    if (read_error != 0) {
        fail(s, "error", path, strerror(-read_error));
    } else if (verdict.status != VERDICT_OK) {
        fail_verdict(s, path, &verdict);
    } else {
        report_done(s->report, "sent", path, end.size, os_now_ns() - start, end.digest);
    }
    return 0;
}

static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "is a directory (-r sends directories)";
    case S_IFLNK:
        return "is a symbolic link: not sent";
    case S_IFIFO:
        return "is a FIFO, not a file";
    case S_IFSOCK:
        return "is a socket, not a file";
    default:
        return "is a device, not a file";
    }
}

/* Opens a file that is looked at first: opening a device could already do something. */
static int open_file(int directory, const char *entry, int follow, struct stat *st, int *fd)
{
    if (fstatat(directory, entry, st, follow != 0 ? 0 : AT_SYMLINK_NOFOLLOW) != 0) {
        return -errno;
    }
    if (!S_ISREG(st->st_mode)) {
        return -EINVAL;
    }
    *fd = openat(directory, entry,
                 O_RDONLY | O_NONBLOCK | O_CLOEXEC | (follow != 0 ? 0 : O_NOFOLLOW));
    if (*fd < 0) {
        return -errno;
    }
    if (fstat(*fd, st) != 0 || !S_ISREG(st->st_mode)) {
        (void)close(*fd);
        return -EINVAL;
    }
    (void)posix_fadvise(*fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return 0;
}

/* ---- files and directories --------------------------------------------------------------- */

/* What is being sent: where it is found, what it is called there, and how the user and the server
   call it. */
struct item {
    int directory; /* that `entry` is looked up in */
    const char *entry;
    const char *path; /* for the user */
    const char *name; /* for the server */
    bool follow;      /* a link may be followed: only for what the user named */
};

static int send_item(struct sender *s, const struct item *item);

static int send_directory_frame(struct sender *s, uint32_t kind, const struct stat *st,
                                const struct item *item, bool *ok)
{
    struct frame frame = {.kind = kind, .length = (uint32_t)strlen(item->name)};
    put_attributes(&frame, st);
    struct verdict verdict;
    int error = wire_send(s->c->out, &frame, item->name, NULL);
    if (error == 0) {
        error = receive_verdict(s, &verdict);
    }
    if (error == 0) {
        *ok = verdict.status == VERDICT_OK;
        if (!*ok) {
            fail_verdict(s, item->path, &verdict);
        }
    }
    return error;
}

/* "a" and "b" make "a/b"; NULL when out of memory. */
static char *join(const char *a, const char *b)
{
    char *both = NULL;
    const char *between = a[strlen(a) - 1] == '/' ? "" : "/";
    return asprintf(&both, "%s%s%s", a, between, b) < 0 ? NULL : both;
}

static int send_entry(struct sender *s, const struct item *parent, int directory, const char *entry)
{
    char *path = join(parent->path, entry);
    char *name = join(parent->name, entry);
    struct item item = {.directory = directory, .entry = entry, .path = path, .name = name};
    int error = 0;
    if (path == NULL || name == NULL) {
        fail(s, "error", entry, "out of memory");
    } else {
        error = send_item(s, &item);
    }
    free(path);
    free(name);
    return error;
}

static int skip_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static void free_entries(struct dirent **entries, int count)
{
    for (int i = 0; i < count; i++) {
        free(entries[i]);
    }
    free(entries);
}

static int send_directory(struct sender *s, const struct item *item)
{
    int fd = openat(item->directory, item->entry,
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC | (item->follow ? 0 : O_NOFOLLOW));
    struct stat st;
    struct dirent **entries = NULL;
    int count = -1;
    if (fd >= 0 && fstat(fd, &st) == 0) {
        count = scandirat(fd, ".", &entries, skip_dots, alphasort);
    }
    if (count < 0) {
        fail(s, "error", item->path, strerror(errno));
        if (fd >= 0) {
            (void)close(fd);
        }
        return 0;
    }
    bool ok = false;
    if (st.st_dev == s->target_device && st.st_ino == s->target_inode) {
        fail(s, "error", item->path, "is where the server saves files: not sent into itself");
        free_entries(entries, count);
        (void)close(fd);
        return 0;
    }
    int error = send_directory_frame(s, FRAME_DIRECTORY, &st, item, &ok);
    for (int i = 0; i < count; i++) {
        if (error == 0 && ok) {
            error = send_entry(s, item, fd, entries[i]->d_name);
        }
    }
    free_entries(entries, count);
    if (error == 0 && ok && s->preserve) {
        error = send_directory_frame(s, FRAME_DIRECTORY_DONE, &st, item, &ok);
    }
    (void)close(fd);
    return error;
}

static int send_item(struct sender *s, const struct item *item)
{
    if (strlen(item->name) > WIRE_PATH_MAX) {
        fail(s, "error", item->path, strerror(ENAMETOOLONG));
        return 0;
    }
    struct stat st;
    int fd = -1;
    int error = open_file(item->directory, item->entry, item->follow, &st, &fd);
    if (error == 0) {
        error = send_open_file(s, fd, &st, item->name, item->path);
        (void)close(fd);
        return error;
    }
    if (error == -EINVAL && S_ISDIR(st.st_mode) && s->recursive) {
        return send_directory(s, item);
    }
    fail(s, "error", item->path, error == -EINVAL ? kind_of(st.st_mode) : strerror(-error));
    return 0;
}

/* The last part of the path, of what it stands for if that is "." or "..". To be freed. */
static char *base_name(const char *path)
{
    char *copy = strdup(path);
    if (copy == NULL) {
        return NULL;
    }
    for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--) {
        copy[n - 1] = 0;
    }
    const char *slash = strrchr(copy, '/');
    const char *last = slash != NULL ? slash + 1 : copy;
    if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
        char *real = realpath(copy, NULL);
        free(copy);
        if (real == NULL) {
            return NULL;
        }
        copy = real;
        last = strrchr(real, '/') + 1;
    }
    char *name = strdup(last);
    free(copy);
    return name;
}

int sender_send(struct sender *s, const char *path)
{
    char *name = base_name(path);
    if (name == NULL || name[0] == 0) {
        fail(s, "error", path, name == NULL ? strerror(errno) : "has no name to be saved under");
        free(name);
        return 0;
    }
    struct item item = {
        .directory = AT_FDCWD, .entry = path, .path = path, .name = name, .follow = true};
    int error = send_item(s, &item);
    free(name);
    return error;
}
