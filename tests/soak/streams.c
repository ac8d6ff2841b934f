/* SPDX-License-Identifier: MIT */
/* Pipes between any two workers. Whoever finds both sides done or dead makes the pipe anew. */
#include <stdlib.h>
#include <string.h>

#include "soak/soak.h"

#define PIECE 1500u

/* The byte at a position of a stream. */
static uint8_t byte_at(uint64_t serial, uint64_t position)
{
    return (uint8_t)(serial * 31 + position * 7 + (position >> 8));
}

static bool lives(struct actor *a, struct stream *s, int side)
{
    bool alive;
    must(a, CALL(a, side, hf_participant_lives(a->segment, s->user[side], &alive)));
    return alive;
}

/* Nobody has it, or can come back to it. */
static bool is_idle(struct actor *a, struct stream *s, int side)
{
    return s->state[side] != SIDE_USED || !lives(a, s, side);
}

/* With the guard. A death in here leaves states that say the same. */
static void make_anew(struct actor *a, struct stream *s)
{
    must(a, CALL(a, s->serial, hf_pipe_init(a->segment, s->place, STREAM_CAPACITY)));
    s->serial = s->serial + 1;
    for (int side = 0; side < 2; side++) {
        s->closing[side] = 0;
        s->state[side] = SIDE_FREE;
    }
}

static bool take_guard(struct actor *a, struct stream *s, bool may_fail)
{
    hold had = take(a, &s->guard, may_fail);
    if (had == HAD_SUSPECT) {
        mended(a, &s->guard); /* nothing is ever half done */
    }
    return had != HAD_NOT;
}

/* With the guard: a side that is free; -1. */
static int choose_side(struct actor *a, struct stream *s)
{
    bool used = s->serial == 0 || s->state[0] != SIDE_FREE || s->state[1] != SIDE_FREE;
    if (used && is_idle(a, s, 0) && is_idle(a, s, 1)) {
        make_anew(a, s);
    }
    int side = (int)below(&a->chance, 2);
    if (s->state[side] != SIDE_FREE) {
        side = 1 - side;
    }
    return s->state[side] == SIDE_FREE ? side : -1;
}

/* ---- the writer -------------------------------------------------------------------------- */

/* The reader has closed, or is dead. */
static void reader_must_be_gone(struct actor *a, struct stream *s)
{
    count(a->seat, COUNT_STREAMS_CUT, 1);
    if (s->closing[HF_PIPE_READER] == 0 && lives(a, s, HF_PIPE_READER)) {
        fail(a, "the reader of a stream is said to be gone, and lives");
    }
}

static int write_piece(struct actor *a, struct stream *s, hf_pipe *pipe, uint64_t *written)
{
    uint8_t bytes[PIECE];
    size_t length = 1 + (size_t)below(&a->chance, PIECE);
    size_t done = 0;
    int64_t time = (int64_t)below(&a->chance, 3 * MILLISECOND);
    for (size_t i = 0; i < length; i++) {
        bytes[i] = byte_at(s->serial, *written + i);
    }
    int result = CALL(a, length, hf_pipe_write(pipe, bytes, length, time, &done));
    *written += done;
    return PERMIT(a, result, -EAGAIN, -ETIMEDOUT, -EPIPE);
}

/* In place; less than was filled may be committed. */
static int write_in_place(struct actor *a, struct stream *s, hf_pipe *pipe, uint64_t *written)
{
    void *run;
    uint64_t length;
    int64_t time = (int64_t)below(&a->chance, 3 * MILLISECOND);
    int result = CALL(a, 0, hf_pipe_reserve(pipe, 1, time, &run, &length));
    if (PERMIT(a, result, -EAGAIN, -ETIMEDOUT, -EPIPE) != 0) {
        return result;
    }
    for (uint64_t i = 0; i < length; i++) {
        ((uint8_t *)run)[i] = byte_at(s->serial, *written + i);
    }
    linger(a);
    uint64_t committed = 1 + below(&a->chance, length);
    must(a, CALL(a, committed, hf_pipe_commit(pipe, committed)));
    *written += committed;
    return 0;
}

static void write_stream(struct actor *a, struct stream *s, hf_pipe *pipe)
{
    uint64_t written = 0;
    for (uint64_t n = 1 + below(&a->chance, 16); n > 0; n--) {
        int result = one_in(&a->chance, 2) ? write_piece(a, s, pipe, &written)
                                           : write_in_place(a, s, pipe, &written);
        if (result == -EPIPE) {
            reader_must_be_gone(a, s);
            break;
        }
        linger(a);
    }
    s->announced = written;
}

/* ---- the reader -------------------------------------------------------------------------- */

static void must_follow(struct actor *a, struct stream *s, const uint8_t *bytes, uint64_t length,
                        uint64_t position)
{
    for (uint64_t i = 0; i < length; i++) {
        if (bytes[i] != byte_at(s->serial, position + i)) {
            unsigned long long place = position + i;
            fail(a, "byte %llu of a stream is %u, and %u was written", place, bytes[i],
                 byte_at(s->serial, place));
        }
    }
}

static int read_piece(struct actor *a, struct stream *s, hf_pipe *pipe, uint64_t position,
                      uint64_t *got)
{
    int64_t time = (int64_t)below(&a->chance, 5 * MILLISECOND);
    if (one_in(&a->chance, 2)) {
        uint8_t bytes[PIECE];
        size_t n = 0;
        int result = CALL(a, position, hf_pipe_read(pipe, bytes, PIECE, time, &n));
        must_follow(a, s, bytes, result == 0 ? n : 0, position);
        *got = n;
        return result;
    }
    const void *run = NULL;
    int result = CALL(a, position, hf_pipe_peek(pipe, 1, time, &run, got));
    if (result == 0 && *got > 0) {
        must_follow(a, s, run, *got, position);
        linger(a);
        *got = 1 + below(&a->chance, *got);
        must(a, CALL(a, *got, hf_pipe_release(pipe, *got)));
    }
    return result;
}

static void read_stream(struct actor *a, struct stream *s, hf_pipe *pipe)
{
    uint64_t position = 0;
    for (uint64_t n = 1 + below(&a->chance, 24); n > 0; n--) {
        uint64_t got = 0;
        int result = read_piece(a, s, pipe, position, &got);
        if (PERMIT(a, result, -EAGAIN, -ETIMEDOUT, -ECONNRESET) == -ECONNRESET) {
            count(a->seat, COUNT_STREAMS_CUT, 1);
            if (lives(a, s, HF_PIPE_WRITER)) {
                fail(a, "the writer of a stream is said to be dead, and lives");
            }
            return;
        }
        position += got;
        if (result == 0 && got == 0) {
            if (position != s->announced) {
                fail(a, "a stream ends after %llu bytes, and %llu were written",
                     (unsigned long long)position, (unsigned long long)s->announced);
            }
            return;
        }
    }
}

/* ---- both -------------------------------------------------------------------------------- */

static void use_side(struct actor *a, struct stream *s, int side, hf_pipe *pipe)
{
    if (side == HF_PIPE_WRITER) {
        write_stream(a, s, pipe);
    } else {
        read_stream(a, s, pipe);
    }
    s->closing[side] = 1;
    call_begins(a, "hf_pipe_close(pipe)", (uint64_t)side);
    hf_pipe_close(pipe);
    (void)call_ended(a, 0);
    linger(a);
    (void)take_guard(a, s, false);
    s->state[side] = SIDE_DONE;
    give(a, &s->guard);
}

void stream(struct actor *a)
{
    struct stream *s = &a->table->stream[below(&a->chance, STREAMS)];
    hf_pipe *pipe = NULL;
    if (!take_guard(a, s, true)) {
        return;
    }
    int side = choose_side(a, s);
    if (side >= 0) {
        s->user[side] = a->self;
        s->state[side] = SIDE_USED;
        linger(a);
        must(a, CALL(a, side, hf_pipe_open(a->segment, s->place, (hf_pipe_side)side, &pipe)));
    }
    give(a, &s->guard);
    if (side >= 0) {
        use_side(a, s, side, pipe);
    }
}
