/* SPDX-License-Identifier: MIT */
/* A server and its clients, for tests: started, watched, and gone when the test ends. */
#ifndef TESTS_TRANSFER_SESSION_H
#define TESTS_TRANSFER_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "support/support.h"

struct session {
    char name[UNIQUE_NAME_SIZE]; /* of the server */
    char object[UNIQUE_NAME_SIZE + 32];
    const char *target; /* the server's directory */
    const char *source; /* a directory for what is sent */
    const char *log;    /* the server's output, errors too */
    const char *out;    /* the last client's output */
    const char *err;    /* and its errors */
    pid_t server;
};

/* The command under test. */
const char *holdfast(void);

/* Puts it where an unprivileged user can execute it, wherever the build stands. */
void share_holdfast(void);

/* As path_in, and good until the test ends. */
const char *kept_path(const char *directory, const char *name);

/* A promised time, or ten times as much while the machine has far more to run than processors:
   then it is the scheduler's time that would be measured. */
int64_t promised_ms(int64_t ms);

/* Names, directories, and files; no server yet. */
void session_init(struct session *s);

/* Starts a server with these further arguments (NULL-terminated; may be NULL) and waits until it is
   ready. */
void session_serve(struct session *s, const char *const *arguments);

/* Starts one without waiting. */
pid_t session_start_server(struct session *s, const char *const *arguments);

/* session_init and session_serve in one. */
void session_start(struct session *s);

/* Starts a client; arguments are what follows `send --name NAME`. */
pid_t session_start_client(struct session *s, const char *const *arguments);

/* Runs one and returns its exit code. A client that takes longer than 15 s is a failure. */
int session_send(struct session *s, const char *const *arguments);
#define SEND(s, ...) session_send((s), (const char *const[]){__VA_ARGS__, NULL})

/* Makes a file of random bytes in the source directory; returns its path (good for a few calls). */
const char *session_file(struct session *s, const char *name, uint64_t size);

/* A file that takes very long to send: all hole. */
const char *session_endless_file(struct session *s, const char *name);

/* Are the two files the same, byte by byte? */
bool same_content(const char *a, const char *b);

/* Does the text stand in the file? */
bool says(const char *path, const char *text);

/* Bytes that a process has in files without a name: what a server has received of one so far. */
uint64_t unnamed_bytes(pid_t pid);

/* Waits until the server has received some, but not all, of an endless file. */
void session_wait_until_under_way(struct session *s);

/* Entries of the target directory, dot files included. */
unsigned target_entries(struct session *s);

/* Is there a rendezvous in /dev/shm? */
bool rendezvous_exists(struct session *s);

#endif
