/* SPDX-License-Identifier: MIT */
/* The client's end of a connection: sends files and directories one after another. */
#ifndef TRANSFER_SENDER_H
#define TRANSFER_SENDER_H

#include <stdbool.h>

#include "report.h"
#include "transfer/rendezvous.h"

struct sender {
    struct connection *c;
    struct report *report;
    bool force;
    bool preserve;
    bool recursive;
    uint64_t target_device; /* the server's directory, */
    uint64_t target_inode;  /* which is not sent into itself */
    unsigned failures;      /* files and directories that did not get through */
};

/*
 * Sends what the user named: a regular file, or with `recursive` a directory and all in it.
 * 0, with what failed reported and counted; or the connection's error, after which nothing more
 * can be sent.
 */
int sender_send(struct sender *s, const char *path);

#endif
