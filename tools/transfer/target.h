/* SPDX-License-Identifier: MIT */
/*
 * The directory that files are received into. Nothing a client says makes us touch anything
 * outside it, follow a link in it, or show a file under its name before it is whole.
 *
 * A file under way has no name (O_TMPFILE), so that even a killed server leaves nothing. Where the
 * file system cannot do that, and for the moment in which --force replaces a file, it is called
 * .holdfast-RANDOM.part (16 hexadecimal digits) at the top of the directory, or beside the file
 * where that is on another file system; locked (flock) while its server lives. The next server
 * removes those at the top that are not. No file of such a name is received.
 *
 * Errors are negative errnos of any kind, for target_explain to put into words.
 */
#ifndef TRANSFER_TARGET_H
#define TRANSFER_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct target_directory {
    int fd;
};

#define PART_NAME_SIZE 40

/* A file under way, as long as fd >= 0. */
struct target_file {
    const struct target_directory *top;
    int fd;
    int parent;                /* the directory that it will stand in */
    char *name;                /* and its name there */
    char part[PART_NAME_SIZE]; /* its name while under way; empty if it has none */
    int part_directory;        /* where it has that name: the top or the parent, not to be closed */
    bool force;
};

/* What -p keeps. */
struct target_attributes {
    mode_t mode; /* permission bits; others are dropped */
    struct timespec mtime;
};

/* Opens the directory and removes what dead servers left in it. */
int target_open(struct target_directory *top, const char *path);
void target_close(struct target_directory *top);

/* Can a file be begun there? 0, or why not. A full disk is no reason: it may have room later on. */
int target_try(const struct target_directory *top);

/* A relative path without "", "." or ".." in it, and without an end of string before its end? */
bool target_path_is_clean(const char *path, size_t length);

/* Begins a file. Refuses what is in the way already now; -EEXIST unless `force`. */
int target_begin(const struct target_directory *top, const char *path, bool force,
                 struct target_file *file);
int target_write(struct target_file *file, const void *bytes, size_t length);

/* Gives the whole file its name. `keep` may be NULL. Ends the file, whatever it returns. */
int target_publish(struct target_file *file, const struct target_attributes *keep);

/* Ends the file; nothing of it stays. */
void target_discard(struct target_file *file);

/* Makes a directory, unless there is one. */
int target_make_directory(const struct target_directory *top, const char *path);
int target_finish_directory(const struct target_directory *top, const char *path,
                            const struct target_attributes *keep);

/* One sentence for the client. */
const char *target_explain(int error);

#endif
