/* SPDX-License-Identifier: MIT */
#include "transfer/wire.h"

#include <errno.h>
#include <string.h>

static bool stopped(const _Atomic bool *stop)
{
    return stop != NULL && *stop;
}

int wire_peek(hf_pipe *in, uint64_t minimum, const void **run, uint64_t *length,
              const _Atomic bool *stop)
{
    int error;
    do {
        error = stopped(stop) ? -ECANCELED : hf_pipe_peek(in, minimum, WIRE_SLICE_NS, run, length);
    } while (error == -ETIMEDOUT);
    return error;
}

int wire_reserve(hf_pipe *out, uint64_t minimum, void **run, uint64_t *length,
                 const _Atomic bool *stop)
{
    int error;
    do {
        error =
            stopped(stop) ? -ECANCELED : hf_pipe_reserve(out, minimum, WIRE_SLICE_NS, run, length);
    } while (error == -ETIMEDOUT);
    return error;
}

/* Copies in `length` bytes, or that many zeros for bytes == NULL. */
static int put(hf_pipe *out, const void *bytes, uint64_t length, const _Atomic bool *stop)
{
    uint64_t done = 0;
    while (done < length) {
        void *run;
        uint64_t room;
        int error = wire_reserve(out, 1, &run, &room, stop);
        if (error != 0) {
            return error;
        }
        uint64_t n = room < length - done ? room : length - done;
        if (bytes == NULL) {
            memset(run, 0, n);
        } else {
            memcpy(run, (const char *)bytes + done, n);
        }
        error = hf_pipe_commit(out, n);
        if (error != 0) {
            return error;
        }
        done += n;
    }
    return 0;
}

/* Copies out `length` bytes, or drops them for bytes == NULL. */
static int get(hf_pipe *in, void *bytes, uint64_t length, const _Atomic bool *stop)
{
    uint64_t done = 0;
    while (done < length) {
        const void *run;
        uint64_t there;
        int error = wire_peek(in, 1, &run, &there, stop);
        if (error != 0) {
            return error;
        }
        if (there == 0) {
            return done == 0 ? -ENODATA : -EBADMSG;
        }
        uint64_t n = there < length - done ? there : length - done;
        if (bytes != NULL) {
            memcpy((char *)bytes + done, run, n);
        }
        error = hf_pipe_release(in, n);
        if (error != 0) {
            return error;
        }
        done += n;
    }
    return 0;
}

int wire_send(hf_pipe *out, const struct frame *frame, const void *bytes, const _Atomic bool *stop)
{
    int error = put(out, frame, FRAME_SIZE, stop);
    if (error == 0) {
        error = put(out, bytes, frame->length, stop);
    }
    if (error == 0) {
        error = put(out, NULL, wire_padded(frame->length) - frame->length, stop);
    }
    return error;
}

int wire_receive(hf_pipe *in, struct frame *frame, const _Atomic bool *stop)
{
    return get(in, frame, FRAME_SIZE, stop);
}

int wire_skip_padding(hf_pipe *in, uint64_t length, const _Atomic bool *stop)
{
    int error = get(in, NULL, wire_padded(length) - length, stop);
    return error == -ENODATA ? -EBADMSG : error;
}

int wire_receive_bytes(hf_pipe *in, const struct frame *frame, void *bytes,
                       const _Atomic bool *stop)
{
    int error = get(in, bytes, frame->length, stop);
    if (error == 0) {
        error = wire_skip_padding(in, frame->length, stop);
    }
    return error == -ENODATA ? -EBADMSG : error;
}
