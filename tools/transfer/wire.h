/* SPDX-License-Identifier: MIT */
/*
 * What client and server say to each other. Each message is a frame of 64 bytes, then `length`
 * bytes, then zeros up to the next multiple of 64: so frames never straddle the ring's end, and
 * file data keeps its alignment.
 *
 *     client                                   server
 *     FILE path, size, mode, mtime
 *     DATA bytes (any number of them)
 *     END size, digest          or  ABORT      VERDICT   exactly one for each FILE; a refusal may
 *     DIRECTORY path                           VERDICT   come while DATA still flows
 *     DIRECTORY_DONE path, mode, mtime         VERDICT
 *
 * All numbers are fixed for good and little-endian; none is an errno.
 */
#ifndef TRANSFER_WIRE_H
#define TRANSFER_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "holdfast/pipe.h"

enum frame_kind {
    FRAME_FILE = 1,
    FRAME_DATA = 2,
    FRAME_END = 3,
    FRAME_ABORT = 4,
    FRAME_DIRECTORY = 5,
    FRAME_DIRECTORY_DONE = 6,
    FRAME_VERDICT = 7
};

enum { FRAME_FORCE = 1, FRAME_PRESERVE = 2 }; /* flags */

enum { VERDICT_OK = 0, VERDICT_REFUSED = 1, VERDICT_FAILED = 2 }; /* status */

#define FRAME_SIZE  64u
#define DIGEST_SIZE 16

#define WIRE_PATH_MAX 4096 /* bytes of a path */
#define WIRE_TEXT_MAX 512  /* bytes of a verdict's text */

struct frame {
    uint32_t kind;
    uint32_t length; /* of what follows the frame, in bytes */
    uint64_t size;   /* FILE: as far as known; END: of all data */
    int64_t mtime_seconds;
    uint32_t mtime_nanoseconds;
    uint32_t mode; /* permission bits */
    uint32_t flags;
    uint32_t status;
    uint8_t digest[DIGEST_SIZE]; /* XXH3-128, canonical */
    uint8_t unused[8];
};
_Static_assert(sizeof(struct frame) == FRAME_SIZE, "layout");

/* Where to stop waiting: a server that is told to stop leaves every wait within this time. */
#define WIRE_SLICE_NS (INT64_C(100) * 1000 * 1000)

/*
 * All return 0 or a pipe's error; -ECANCELED as soon as *stop is set (stop may be NULL);
 * wire_receive gives -ENODATA at the end of the stream.
 */
int wire_send(hf_pipe *out, const struct frame *frame, const void *bytes, const _Atomic bool *stop);
int wire_receive(hf_pipe *in, struct frame *frame, const _Atomic bool *stop);

/* The bytes that follow a frame, into a buffer of at least frame->length. */
int wire_receive_bytes(hf_pipe *in, const struct frame *frame, void *bytes,
                       const _Atomic bool *stop);

/* The padding after `length` bytes that were taken out of the pipe in place. */
int wire_skip_padding(hf_pipe *in, uint64_t length, const _Atomic bool *stop);

/* As hf_pipe_peek and hf_pipe_reserve, for as long as it takes. */
int wire_peek(hf_pipe *in, uint64_t minimum, const void **run, uint64_t *length,
              const _Atomic bool *stop);
int wire_reserve(hf_pipe *out, uint64_t minimum, void **run, uint64_t *length,
                 const _Atomic bool *stop);

static inline uint64_t wire_padded(uint64_t length)
{
    return (length + FRAME_SIZE - 1) & ~(uint64_t)(FRAME_SIZE - 1);
}

#endif
