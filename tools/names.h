/* SPDX-License-Identifier: MIT */
/* Texts for people: names that may hold any byte, sizes, exit codes. */
#ifndef TOOLS_NAMES_H
#define TOOLS_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEFAULT_NAME "default"

/* The command's exit codes; docs/man/holdfast.1 lists them. */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,    /* something could not be sent, received or removed */
    EXIT_USAGE = 2,     /* the command line is wrong */
    EXIT_NO_SERVER = 3, /* no server of that name */
    EXIT_LOST = 4,      /* the server died or stopped */
    EXIT_BUSY = 5,      /* a live server has the name */
    EXIT_FOREIGN = 6    /* what stands under the name is somebody else's, or no rendezvous */
};

/*
 * A name as valid UTF-8 that cannot steer a terminal: control bytes, backslashes and what is no
 * UTF-8 become \xNN, so that no two names look the same. Cut to fit `size` (at least 8).
 */
void printable(char *out, size_t size, const char *name);

/* A user or group by number. */
bool parse_id(const char *text, uint32_t *id);

/* "12.3 MiB" */
void human_size(char out[32], double bytes);

#endif
