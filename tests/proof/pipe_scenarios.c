/* SPDX-License-Identifier: MIT */
/*
 * What a death leaves in a pipe. To look from the dead victim's own side, a judge first declares
 * that side untaken.
 */
#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "channel/pipe_layout.h"
#include "holdfast/pipe.h"
#include "proof/proof.h"

#define CAPACITY UINT64_C(4096)
#define SIZE     UINT64_C(65536)
#define ROOT     UINT64_C(8192)
#define MS       INT64_C(1000000)

/* In the victim. */
static hf_pipe *pipe_of_victim;

static struct pipe_layout *layout(const struct arena *arena)
{
    void *root;
    require(hf_segment_root(arena->segment, ROOT, &root) == 0, "root");
    return root;
}

/* Byte number i of every stream here. */
static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

static void put(hf_pipe *pipe, uint64_t from, uint64_t length)
{
    uint8_t bytes[CAPACITY];
    for (uint64_t i = 0; i < length; i++) {
        bytes[i] = byte_at(from + i);
    }
    require(hf_pipe_write(pipe, bytes, length, 0, NULL) == 0, "write");
}

static void init(struct arena *arena)
{
    require(hf_pipe_init(arena->segment, layout(arena), CAPACITY) == 0, "init");
}

static hf_pipe *open_side(struct arena *arena, hf_pipe_side side)
{
    hf_pipe *pipe;
    require(hf_pipe_open(arena->segment, layout(arena), side, &pipe) == 0, "open");
    return pipe;
}

/* Opens a side in a copy, whoever had it. */
static hf_pipe *take_over(struct arena *copy, hf_pipe_side side)
{
    store_release(&layout(copy)->lines[side].owner, PIPE_SIDE_ABSENT);
    return open_side(copy, side);
}

static uint32_t side_state(struct arena *copy, hf_pipe_side side)
{
    return (uint32_t)(load_acquire(&layout(copy)->lines[side].owner) & 0xff);
}

/* Reads all there is, which must be the stream's bytes from `from` on; how many, or -1. *end: what
 * came then. */
static int64_t drain(hf_pipe *reader, uint64_t from, int *end)
{
    uint64_t count = 0;
    for (;;) {
        uint8_t bytes[1000];
        size_t got = 0;
        *end = hf_pipe_read(reader, bytes, sizeof bytes, 200 * MS, &got);
        if (*end != 0 || got == 0) {
            return (int64_t)count;
        }
        for (size_t i = 0; i < got; i++) {
            if (bytes[i] != byte_at(from + count + i)) {
                (void)bad("byte %lu of the stream is torn", (unsigned long)(from + count + i));
                return -1;
            }
        }
        count += got;
    }
}

/* The stream must hold `before` or `after` bytes from `from` on, and end as a dead writer's does.
 */
static outcome judge_stream(struct arena *copy, uint64_t from, uint64_t before, uint64_t after)
{
    int end;
    int64_t count = drain(take_over(copy, HF_PIPE_READER), from, &end);
    if (count < 0) {
        return OUTCOME_BAD;
    }
    if (end != -ECONNRESET) {
        return bad("the reader is not told of the writer's death, but %d", end);
    }
    if ((uint64_t)count == before) {
        return OUTCOME_BEFORE;
    }
    if ((uint64_t)count == after) {
        return OUTCOME_AFTER;
    }
    return bad("%ld bytes are there, neither %lu nor %lu", (long)count, (unsigned long)before,
               (unsigned long)after);
}

/* ---- init -------------------------------------------------------------------------------- */

static void fill_with_rubbish(struct arena *arena)
{
    memset(layout(arena), 0xa5, ROOT);
}

static void leave_an_old_pipe(struct arena *arena)
{
    init(arena);
    hf_pipe *writer = open_side(arena, HF_PIPE_WRITER);
    put(writer, 0, 100);
    hf_pipe_close(writer);
}

static int act_init(struct arena *arena)
{
    return hf_pipe_init(arena->segment, layout(arena), CAPACITY);
}

/* No pipe, or the old one whole (before); or an empty one that works (after). */
static outcome judge_init(struct arena *copy)
{
    hf_pipe *reader;
    int error = hf_pipe_open(copy->segment, layout(copy), HF_PIPE_READER, &reader);
    if (error == -EBADMSG) {
        return OUTCOME_BEFORE;
    }
    if (error != 0) {
        return bad("opening the reader's side gives %d", error);
    }
    int end;
    if (side_state(copy, HF_PIPE_WRITER) == PIPE_SIDE_CLOSED) {
        int64_t old = drain(reader, 0, &end);
        return old == 100 && end == 0 ? OUTCOME_BEFORE : bad("%ld bytes of 100", (long)old);
    }
    hf_pipe *writer = open_side(copy, HF_PIPE_WRITER);
    put(writer, 0, CAPACITY);
    hf_pipe_close(writer);
    return drain(reader, 0, &end) == (int64_t)CAPACITY && end == 0 ? OUTCOME_AFTER
                                                                   : bad("the pipe does not work");
}

/* ---- open and close ---------------------------------------------------------------------- */

static int act_open_writer(struct arena *arena)
{
    return hf_pipe_open(arena->segment, layout(arena), HF_PIPE_WRITER, &pipe_of_victim);
}

static int act_open_reader(struct arena *arena)
{
    return hf_pipe_open(arena->segment, layout(arena), HF_PIPE_READER, &pipe_of_victim);
}

/* Not taken: somebody else can take it. Taken: nobody can, and the other side is told of a death.
 */
static outcome judge_open(struct arena *copy, hf_pipe_side side, int told)
{
    hf_pipe *pipe;
    int error = hf_pipe_open(copy->segment, layout(copy), side, &pipe);
    if (error == 0) {
        return OUTCOME_BEFORE;
    }
    if (error != -EBUSY) {
        return bad("taking the side gives %d", error);
    }
    hf_pipe *other = open_side(copy, side == HF_PIPE_WRITER ? HF_PIPE_READER : HF_PIPE_WRITER);
    uint64_t length;
    const void *run;
    void *room;
    error = side == HF_PIPE_WRITER ? hf_pipe_peek(other, 1, 200 * MS, &run, &length)
                                   : hf_pipe_reserve(other, 1, 200 * MS, &room, &length);
    if (side == HF_PIPE_READER && error == 0) { /* there is room until it is full */
        put(other, 0, CAPACITY);
        error = hf_pipe_reserve(other, 1, 200 * MS, &room, &length);
    }
    return error == told ? OUTCOME_AFTER : bad("the other side is told %d", error);
}

static outcome judge_open_writer(struct arena *copy)
{
    return judge_open(copy, HF_PIPE_WRITER, -ECONNRESET);
}

static outcome judge_open_reader(struct arena *copy)
{
    return judge_open(copy, HF_PIPE_READER, -EPIPE);
}

static void prepare_writer(struct arena *arena)
{
    pipe_of_victim = open_side(arena, HF_PIPE_WRITER);
    put(pipe_of_victim, 0, 100);
}

static void prepare_reader(struct arena *arena)
{
    hf_pipe *writer = open_side(arena, HF_PIPE_WRITER);
    put(writer, 0, 100);
    pipe_of_victim = open_side(arena, HF_PIPE_READER);
}

static int act_close(struct arena *arena)
{
    (void)arena;
    hf_pipe_close(pipe_of_victim);
    return 0;
}

/* All that was committed, and then a death (before) or the end (after). */
static outcome judge_close_writer(struct arena *copy)
{
    int end;
    if (drain(take_over(copy, HF_PIPE_READER), 0, &end) != 100) {
        return bad("committed bytes are lost");
    }
    if (end == -ECONNRESET) {
        return OUTCOME_BEFORE;
    }
    return end == 0 ? OUTCOME_AFTER : bad("the reader is told %d", end);
}

static outcome judge_close_reader(struct arena *copy)
{
    bool closed = side_state(copy, HF_PIPE_READER) == PIPE_SIDE_CLOSED;
    hf_pipe *writer = take_over(copy, HF_PIPE_WRITER);
    void *room;
    uint64_t length;
    int error = hf_pipe_reserve(writer, CAPACITY, 200 * MS, &room, &length);
    if (error != -EPIPE) {
        return bad("the writer is told %d", error);
    }
    return closed ? OUTCOME_AFTER : OUTCOME_BEFORE;
}

/* ---- writing ----------------------------------------------------------------------------- */

static void init_with_a_sleeping_reader(struct arena *arena)
{
    init(arena);
    store_relaxed(&layout(arena)->lines[HF_PIPE_READER].needs, 120);
}

static void prepare_commit(struct arena *arena)
{
    prepare_writer(arena);
    void *run;
    uint64_t length;
    require(hf_pipe_reserve(pipe_of_victim, 50, 0, &run, &length) == 0 && length >= 50, "reserve");
    for (uint64_t i = 0; i < 50; i++) {
        ((uint8_t *)run)[i] = byte_at(100 + i);
    }
}

static int act_commit(struct arena *arena)
{
    (void)arena;
    return hf_pipe_commit(pipe_of_victim, 50);
}

static outcome judge_commit(struct arena *copy)
{
    return judge_stream(copy, 0, 100, 150);
}

static uint8_t more[CAPACITY];

static void prepare_write(struct arena *arena)
{
    prepare_writer(arena);
    for (uint64_t i = 0; i < sizeof more; i++) {
        more[i] = byte_at(100 + i);
    }
}

static int act_write(struct arena *arena)
{
    (void)arena;
    return hf_pipe_write(pipe_of_victim, more, 50, 0, NULL);
}

/* ---- reading ----------------------------------------------------------------------------- */

static void init_with_a_sleeping_writer(struct arena *arena)
{
    init(arena);
    store_relaxed(&layout(arena)->lines[HF_PIPE_WRITER].needs, CAPACITY - 80);
}

static void prepare_release(struct arena *arena)
{
    prepare_reader(arena);
    const void *run;
    uint64_t length;
    require(hf_pipe_peek(pipe_of_victim, 100, 0, &run, &length) == 0 && length == 100, "peek");
}

static int act_release(struct arena *arena)
{
    (void)arena;
    return hf_pipe_release(pipe_of_victim, 60);
}

static int act_read(struct arena *arena)
{
    (void)arena;
    uint8_t bytes[60];
    size_t got;
    int error = hf_pipe_read(pipe_of_victim, bytes, sizeof bytes, 0, &got);
    require(error != 0 || got == 60, "a short read");
    return error;
}

/* 100 bytes from the start on, or 40 from the 60th; and all else is free. */
static outcome judge_release(struct arena *copy)
{
    uint64_t released = load_acquire(&layout(copy)->lines[HF_PIPE_READER].position);
    if (released != 0 && released != 60) {
        return bad("%lu bytes are released", (unsigned long)released);
    }
    hf_pipe *writer = take_over(copy, HF_PIPE_WRITER);
    hf_pipe *reader = take_over(copy, HF_PIPE_READER);
    uint64_t room = CAPACITY - 100 + released;
    put(writer, 100, room);
    void *run;
    uint64_t length;
    if (hf_pipe_reserve(writer, 1, 0, &run, &length) != -EAGAIN) {
        return bad("there is more room than was released");
    }
    hf_pipe_close(writer);
    int end;
    if (drain(reader, released, &end) != (int64_t)CAPACITY || end != 0) {
        return bad("bytes are lost");
    }
    return released == 0 ? OUTCOME_BEFORE : OUTCOME_AFTER;
}

/* ---- waiting: changes nothing that anybody else sees --------------------------------------- */

static void prepare_full(struct arena *arena)
{
    pipe_of_victim = open_side(arena, HF_PIPE_WRITER);
    put(pipe_of_victim, 0, CAPACITY);
}

static int act_reserve_in_vain(struct arena *arena)
{
    (void)arena;
    void *run;
    uint64_t length;
    int error = hf_pipe_reserve(pipe_of_victim, 10, 1000 * MS, &run, &length);
    return error == -ETIMEDOUT ? 0 : -1;
}

static outcome judge_full(struct arena *copy)
{
    return judge_stream(copy, 0, CAPACITY, UINT64_MAX);
}

static void prepare_empty(struct arena *arena)
{
    (void)open_side(arena, HF_PIPE_WRITER);
    pipe_of_victim = open_side(arena, HF_PIPE_READER);
}

static int act_peek_in_vain(struct arena *arena)
{
    (void)arena;
    const void *run;
    uint64_t length;
    int error = hf_pipe_peek(pipe_of_victim, 10, 1000 * MS, &run, &length);
    return error == -ETIMEDOUT ? 0 : -1;
}

static outcome judge_empty(struct arena *copy)
{
    hf_pipe *reader = take_over(copy, HF_PIPE_READER);
    hf_pipe *writer = take_over(copy, HF_PIPE_WRITER);
    put(writer, 0, 300); /* wakes whom it believes asleep */
    hf_pipe_close(writer);
    int end;
    int64_t count = drain(reader, 0, &end);
    return count == 300 && end == 0 ? OUTCOME_BEFORE : bad("the pipe does not work any more");
}

/* A reader that sleeps beside the writer until more comes, or the writer's death is told. */
static void contend_as_reader(struct arena *arena, contender who)
{
    static hf_pipe *reader;
    const void *run;
    uint64_t length;
    if (who != CONTENDER_ASLEEP) {
        return;
    }
    if (reader == NULL) {
        reader = open_side(arena, HF_PIPE_READER);
    }
    int error = hf_pipe_peek(reader, CAPACITY, 10000 * MS, &run, &length);
    require(error == 0 || error == -ECONNRESET, "the reader is not told");
}

/* The victim has its slot. */
static void prepare_slot(struct arena *arena)
{
    require(hf_segment_recover(arena->segment, NULL) == 0, "recover");
}

#define IN_A_SEGMENT .size = SIZE, .maximum = SIZE

static const struct scenario scenarios[] = {
    {.name = "pipe.init.over_rubbish",
     .call = "hf_pipe_init",
     IN_A_SEGMENT,
     .set_up = fill_with_rubbish,
     .act = act_init,
     .judge = judge_init},
    {.name = "pipe.init.over_an_old_pipe",
     .call = "hf_pipe_init",
     IN_A_SEGMENT,
     .set_up = leave_an_old_pipe,
     .act = act_init,
     .judge = judge_init},
    {.name = "pipe.open.writer",
     .call = "hf_pipe_open",
     IN_A_SEGMENT,
     .set_up = init,
     .prepare = prepare_slot,
     .act = act_open_writer,
     .judge = judge_open_writer},
    {.name = "pipe.open.reader",
     .call = "hf_pipe_open",
     IN_A_SEGMENT,
     .set_up = init,
     .prepare = prepare_slot,
     .act = act_open_reader,
     .judge = judge_open_reader},
    {.name = "pipe.close.writer",
     .call = "hf_pipe_close",
     IN_A_SEGMENT,
     .set_up = init_with_a_sleeping_reader,
     .prepare = prepare_writer,
     .act = act_close,
     .contend = contend_as_reader,
     .judge = judge_close_writer},
    {.name = "pipe.close.reader",
     .call = "hf_pipe_close",
     IN_A_SEGMENT,
     .set_up = init,
     .prepare = prepare_reader,
     .act = act_close,
     .judge = judge_close_reader},
    {.name = "pipe.commit",
     .call = "hf_pipe_commit",
     IN_A_SEGMENT,
     .set_up = init,
     .prepare = prepare_commit,
     .act = act_commit,
     .contend = contend_as_reader,
     .judge = judge_commit},
    {.name = "pipe.commit.to_a_sleeper",
     .call = "hf_pipe_commit",
     IN_A_SEGMENT,
     .set_up = init_with_a_sleeping_reader,
     .prepare = prepare_commit,
     .act = act_commit,
     .contend = contend_as_reader,
     .judge = judge_commit},
    {.name = "pipe.write",
     .call = "hf_pipe_write",
     IN_A_SEGMENT,
     .set_up = init,
     .prepare = prepare_write,
     .act = act_write,
     .contend = contend_as_reader,
     .judge = judge_commit},
    {.name = "pipe.release",
     .call = "hf_pipe_release",
     IN_A_SEGMENT,
     .set_up = init,
     .prepare = prepare_release,
     .act = act_release,
     .judge = judge_release},
    {.name = "pipe.release.to_a_sleeper",
     .call = "hf_pipe_release",
     IN_A_SEGMENT,
     .set_up = init_with_a_sleeping_writer,
     .prepare = prepare_release,
     .act = act_release,
     .judge = judge_release},
    {.name = "pipe.read",
     .call = "hf_pipe_read",
     IN_A_SEGMENT,
     .set_up = init,
     .prepare = prepare_reader,
     .act = act_read,
     .judge = judge_release},
    {.name = "pipe.reserve.in_vain",
     .call = "hf_pipe_reserve",
     IN_A_SEGMENT,
     .set_up = init,
     .prepare = prepare_full,
     .act = act_reserve_in_vain,
     .no_effect = true,
     .contend = contend_as_reader,
     .judge = judge_full},
    {.name = "pipe.peek.in_vain",
     .call = "hf_pipe_peek",
     IN_A_SEGMENT,
     .set_up = init,
     .prepare = prepare_empty,
     .act = act_peek_in_vain,
     .no_effect = true,
     .judge = judge_empty},
};
const struct scenario_table pipe_scenarios = SCENARIO_TABLE(scenarios);
