/* SPDX-License-Identifier: MIT */
#include "transfer/receiver.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "os/os.h"
#include "transfer/digest.h"

/* A write(2) of more than this lets data drop out of the cache between digest and write. */
#define PIECE_MAX (UINT64_C(512) << 10)

struct receiver {
    struct connection *c;
    const struct target_directory *top;
    struct report *report;
    const _Atomic bool *stop;

    char path[WIRE_PATH_MAX + 1]; /* of the file or directory that is being dealt with */
    bool under_way;               /* between FILE and its END or ABORT */
    bool judged;                  /* its verdict has been sent: the rest of it is skipped */
    bool preserve;
    struct target_file file;
    struct target_attributes keep;
    struct digest digest;
    uint64_t size;
    uint64_t start_ns;
};

/* ---- verdicts ---------------------------------------------------------------------------- */

static int send_verdict(struct receiver *r, uint32_t status, const char *text)
{
    struct frame frame = {.kind = FRAME_VERDICT,
                          .status = status,
                          .size = r->size,
                          .length = (uint32_t)strnlen(text, WIRE_TEXT_MAX)};
    r->judged = true;
    return wire_send(r->c->out, &frame, text, r->stop);
}

static bool is_refusal(int error)
{
    switch (error) {
    case -EEXIST:
    case -ELOOP:
    case -EISDIR:
    case -ENOTDIR:
    case -ENXIO:
    case -ENAMETOOLONG:
    case -EINVAL:
    case -EILSEQ:
        return true;
    default:
        return false;
    }
}

/* Tells the client and the server's own log. */
static int fail(struct receiver *r, int error)
{
    bool refused = is_refusal(error);
    const char *why = target_explain(error);
    report_failed(r->report, refused ? "refused" : "failed", r->path, why);
    return send_verdict(r, refused ? VERDICT_REFUSED : VERDICT_FAILED, why);
}

static int refuse(struct receiver *r, const char *why)
{
    report_failed(r->report, "refused", r->path, why);
    return send_verdict(r, VERDICT_REFUSED, why);
}

/* ---- frames ------------------------------------------------------------------------------ */

/* The path that follows the frame; *clean says whether it may be used. */
static int receive_path(struct receiver *r, const struct frame *frame, bool *clean)
{
    if (r->under_way || frame->length > WIRE_PATH_MAX) {
        return -EBADMSG;
    }
    int error = wire_receive_bytes(r->c->in, frame, r->path, r->stop);
    if (error == 0) {
        r->path[frame->length] = 0;
        r->size = 0;
        r->judged = false;
        *clean = target_path_is_clean(r->path, frame->length);
    }
    return error;
}

static const char unclean[] = "the name is not a plain relative path";

static struct target_attributes attributes(const struct frame *frame)
{
    return (struct target_attributes){.mode = frame->mode & 0777,
                                      .mtime = {.tv_sec = (time_t)frame->mtime_seconds,
                                                .tv_nsec = frame->mtime_nanoseconds % 1000000000}};
}

static int on_file(struct receiver *r, const struct frame *frame)
{
    bool clean;
    int error = receive_path(r, frame, &clean);
    if (error != 0) {
        return error;
    }
    r->under_way = true;
    r->preserve = (frame->flags & FRAME_PRESERVE) != 0;
    r->keep = attributes(frame);
    r->start_ns = os_now_ns();
    digest_start(&r->digest);
    if (!clean) {
        return refuse(r, unclean);
    }
    error = target_begin(r->top, r->path, (frame->flags & FRAME_FORCE) != 0, &r->file);
    return error == 0 ? 0 : fail(r, error);
}

static int on_data(struct receiver *r, const struct frame *frame)
{
    if (!r->under_way) {
        return -EBADMSG;
    }
    uint64_t left = frame->length;
    while (left > 0) {
        const void *run;
        uint64_t there;
        int error = wire_peek(r->c->in, 1, &run, &there, r->stop);
        if (error != 0 || there == 0) {
            return error != 0 ? error : -EBADMSG;
        }
        uint64_t n = there < left ? there : left;
        n = n < PIECE_MAX ? n : PIECE_MAX;
        if (!r->judged) {
            digest_update(&r->digest, run, n);
            int failed = target_write(&r->file, run, n);
            if (failed != 0) {
                target_discard(&r->file);
                error = fail(r, failed);
            }
        }
        r->size += n;
        left -= n;
        if (error == 0) {
            error = hf_pipe_release(r->c->in, n);
        }
        if (error != 0) {
            return error;
        }
    }
    return wire_skip_padding(r->c->in, frame->length, r->stop);
}

static int on_end(struct receiver *r, const struct frame *frame)
{
    if (!r->under_way || frame->length != 0) {
        return -EBADMSG;
    }
    r->under_way = false;
    if (r->judged) {
        return 0;
    }
    uint8_t digest[DIGEST_SIZE];
    digest_finish(&r->digest, digest);
    if (frame->size != r->size || memcmp(frame->digest, digest, DIGEST_SIZE) != 0) {
        target_discard(&r->file);
        const char *why = "what arrived is not what was sent (size or XXH3 differs)";
        report_failed(r->report, "failed", r->path, why);
        return send_verdict(r, VERDICT_FAILED, why);
    }
    int error = target_publish(&r->file, r->preserve ? &r->keep : NULL);
    if (error != 0) {
        return fail(r, error);
    }
    report_done(r->report, "received", r->path, r->size, os_now_ns() - r->start_ns, digest);
    return send_verdict(r, VERDICT_OK, "");
}

static int on_abort(struct receiver *r, const struct frame *frame)
{
    if (!r->under_way || frame->length != 0) {
        return -EBADMSG;
    }
    r->under_way = false;
    if (r->judged) {
        return 0;
    }
    target_discard(&r->file);
    report_failed(r->report, "dropped", r->path, "the client gave it up");
    return send_verdict(r, VERDICT_FAILED, "given up by the client");
}

static int on_directory(struct receiver *r, const struct frame *frame)
{
    bool clean;
    int error = receive_path(r, frame, &clean);
    if (error != 0) {
        return error;
    }
    if (!clean) {
        return refuse(r, unclean);
    }
    if (frame->kind == FRAME_DIRECTORY) {
        error = target_make_directory(r->top, r->path);
    } else {
        struct target_attributes keep = attributes(frame);
        error = target_finish_directory(r->top, r->path, &keep);
    }
    return error != 0 ? fail(r, error) : send_verdict(r, VERDICT_OK, "");
}

static int on_frame(struct receiver *r, const struct frame *frame)
{
    switch (frame->kind) {
    case FRAME_FILE:
        return on_file(r, frame);
    case FRAME_DATA:
        return on_data(r, frame);
    case FRAME_END:
        return on_end(r, frame);
    case FRAME_ABORT:
        return on_abort(r, frame);
    case FRAME_DIRECTORY:
    case FRAME_DIRECTORY_DONE:
        return on_directory(r, frame);
    default:
        return -EBADMSG;
    }
}

int receiver_run(struct connection *c, const struct target_directory *top, struct report *report,
                 const _Atomic bool *stop)
{
    struct receiver r = {
        .c = c, .top = top, .report = report, .stop = stop, .file = {.fd = -1, .parent = -1}};
    struct frame frame;
    int error;
    do {
        error = wire_receive(c->in, &frame, stop);
        if (error == 0) {
            error = on_frame(&r, &frame);
        }
    } while (error == 0);
    target_discard(&r.file);
    if (error == -ENODATA && !r.under_way) {
        return 0;
    }
    if (r.under_way && !r.judged) {
        report_failed(report, "dropped", r.path,
                      error == -EBADMSG ? "the client broke the protocol"
                                        : "the client has gone, or the server stops");
    }
    return error;
}
