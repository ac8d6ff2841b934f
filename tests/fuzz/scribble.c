/* SPDX-License-Identifier: MIT */
/*
 * A live writer that scribbles over everything while others open, use, recover and close the same
 * segment. Every error is fine; a signal, a hang, an access beside the mapping (it stands between
 * pages that nobody can touch) is not.
 *
 * Which waits are legitimate. A lock whose word says that somebody alive has it is waited for: a
 * user's as long as the caller said (here, milliseconds), pages_lock for ever. So the scribbler
 * now and then puts the good segment back, in which every lock is free, or a dead one's; who waited
 * sees that within a slice of sleep. A worker that makes no call's worth of progress for STUCK_MS
 * in spite of that hangs. (Much longer than any wait: the machine may be busy.)
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "base/atomic.h"
#include "fuzz/image.h"
#include "holdfast/memory.h"
#include "holdfast/pipe.h"
#include "holdfast/region.h"
#include "holdfast/tx.h"
#include "segment/check.h"
#include "segment/handle.h"
#include "support/segments.h"

#define WORKERS     3u
#define RUN_MS      6000
#define STUCK_MS    20000
#define RESTORE_MS  60
#define TIMEOUT_NS  MILLISECONDS(3)
#define INPUT_BYTES 24u

/* What the processes tell each other, apart from the segment. */
struct notes {
    _Atomic uint32_t finish;
    struct {
        _Atomic uint64_t beats; /* calls that have returned */
        _Atomic uint64_t opened;
        const char *_Atomic doing;
    } worker[WORKERS];
};

static const struct image *image;
static const char *name; /* of the segment */
static struct notes *notes;

/* ---- the scribbler ----------------------------------------------------------------------- */

static void random_bytes(uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        bytes[i] = (uint8_t)random_below(256);
    }
}

static void scribble_once(char *base)
{
    uint8_t bytes[INPUT_BYTES];
    struct input input = {bytes, sizeof bytes};
    random_bytes(bytes, sizeof bytes);
    image_mutate(image, base, &input);
}

/* Until it is told to finish; then all is as at first. */
static void scribble(char *base)
{
    int64_t restored = now_ms();
    while (load_relaxed(&notes->finish) == 0) {
        for (uint64_t i = random_below(16); i > 0; i--) {
            scribble_once(base);
        }
        if (random_below(8) == 0) {
            sleep_ms(1);
        }
        if (now_ms() - restored > RESTORE_MS) {
            memcpy(base, image->bytes, image->size);
            sleep_ms((int64_t)random_below(10));
            restored = now_ms();
        }
    }
    memcpy(base, image->bytes, image->size);
}

/* The object, mapped without the library's knowing that it is a segment. */
static char *map_bare(hf_memory **memory, hf_region **region)
{
    assert_ok(hf_shm_open(name, HF_READ_WRITE, memory));
    assert_ok(hf_region_map(*memory, NULL, region));
    return hf_region_address(*region);
}

static int run_scribbler(void *unused)
{
    hf_memory *memory;
    hf_region *region;
    (void)unused;
    scribble(map_bare(&memory, &region));
    hf_region_unmap(region);
    hf_memory_close(memory);
    return 0;
}

static void *scribble_in_thread(void *base)
{
    scribble(base);
    return NULL;
}

/* ---- the workers ------------------------------------------------------------------------- */

static void beat(unsigned worker, const char *doing)
{
    store_relaxed(&notes->worker[worker].doing, doing);
    (void)fetch_add_relaxed(&notes->worker[worker].beats, 1);
}

static void use_mutexes(unsigned worker, hf_segment *segment, struct stage *stage)
{
    hf_mutex *mutex = &stage->mutex[random_below(STAGE_MUTEXES)];
    beat(worker, "timedlock");
    int error = hf_mutex_timedlock(mutex, TIMEOUT_NS);
    if (error == -EOWNERDEAD && random_below(2) == 0) {
        (void)hf_mutex_consistent(mutex);
    }
    beat(worker, "tx");
    (void)hf_tx_begin(segment);
    (void)hf_mutex_trylock(&stage->mutex[random_below(STAGE_MUTEXES)]);
    (void)hf_tx_add(segment, stage->value, 100);
    (void)hf_tx_add(segment, stage->big, random_below(sizeof stage->big));
    (void)hf_mutex_unlock(&stage->mutex[random_below(STAGE_MUTEXES)]);
    (void)(random_below(2) == 0 ? hf_tx_commit(segment) : hf_tx_abort(segment));
    beat(worker, "unlock");
    (void)hf_mutex_unlock(mutex);
}

static void use_pages(unsigned worker, hf_segment *segment, struct stage *stage)
{
    hf_off *link = &stage->link[random_below(STAGE_LINKS)];
    uint64_t bytes = 1 + random_below(3) * SEGMENT_PAGE;
    beat(worker, "pages_alloc");
    if (hf_pages_alloc(segment, bytes, link) == 0) {
        hf_off where = *(volatile hf_off *)link; /* once: it may be another the next time */
        char *at = hf_segment_at(segment, where);
        if (at != NULL && hf_segment_at(segment, (hf_off){where.value + bytes - 1}) != NULL) {
            at[0] = at[bytes - 1] = 1;
        }
    }
    beat(worker, "pages_free");
    (void)hf_pages_free(segment, bytes, link);
    beat(worker, "grow");
    (void)hf_segment_grow(segment, image->size + random_below(8) * SEGMENT_PAGE);
    beat(worker, "trim");
    (void)hf_segment_trim(segment, NULL);
}

static void use_pipe(unsigned worker, hf_segment *segment)
{
    static const char bytes[100];
    char got[100];
    size_t done;
    hf_pipe *pipe = NULL;
    void *place = hf_segment_at(segment, (hf_off){image->pipe});
    bool writes = random_below(2) == 0;
    beat(worker, "pipe");
    if (place == NULL ||
        hf_pipe_open(segment, place, writes ? HF_PIPE_WRITER : HF_PIPE_READER, &pipe) != 0) {
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        beat(worker, "pipe, open");
        (void)(writes ? hf_pipe_write(pipe, bytes, sizeof bytes, TIMEOUT_NS, &done)
                      : hf_pipe_read(pipe, got, sizeof got, TIMEOUT_NS, &done));
    }
    hf_pipe_close(pipe);
}

static void look(unsigned worker, hf_segment *segment)
{
    hf_segment_info info;
    char what[SEGMENT_CHECK_TEXT];
    beat(worker, "get_info");
    (void)hf_segment_get_info(segment, &info);
    beat(worker, "check");
    (void)segment_check(segment->view, 0, 1, what);
}

static void use(unsigned worker, hf_segment *segment)
{
    void *root = NULL;
    look(worker, segment);
    beat(worker, "root");
    if (hf_segment_root(segment, sizeof(struct stage), &root) == 0) {
        use_mutexes(worker, segment, root);
        use_pages(worker, segment, root);
    }
    use_pipe(worker, segment);
    beat(worker, "recover");
    (void)hf_segment_recover(segment, NULL);
    if (random_below(2) == 0) {
        beat(worker, "leave");
        (void)hf_thread_leave(segment);
    }
}

/* Only looks: a read-only mapping has no root that could be written. */
static void work_once(unsigned worker)
{
    hf_segment *segment = NULL;
    bool reads = random_below(8) == 0;
    beat(worker, "open");
    if (hf_segment_open(name, reads ? HF_READ_ONLY : HF_READ_WRITE, &segment) != 0) {
        return;
    }
    (void)fetch_add_relaxed(&notes->worker[worker].opened, 1);
    for (uint64_t i = random_below(4); i > 0; i--) {
        if (reads) {
            look(worker, segment);
        } else {
            use(worker, segment);
        }
    }
    beat(worker, "close");
    hf_segment_close(segment);
}

static int run_worker(void *context)
{
    unsigned worker = (unsigned)(uintptr_t)context;
    for (uint64_t i = random_below(2) + worker * 100; i > 0; i--) {
        (void)random_below(2); /* another sequence for each */
    }
    while (load_relaxed(&notes->finish) == 0) {
        work_once(worker);
    }
    return 0;
}

static void *work_in_thread(void *context)
{
    (void)run_worker(context);
    return NULL;
}

/* ---- the tests --------------------------------------------------------------------------- */

static void prepare(enum image_kind kind)
{
    static char text[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    hf_region *region;
    image = image_of(kind);
    name = unique_name(text, "scribble");
    notes = shared_bytes(sizeof *notes);
    (void)random_below(2);
    assert_ok(hf_shm_create(name, image->size, NULL, &memory));
    assert_ok(hf_region_map(memory, NULL, &region));
    memcpy(hf_region_address(region), image->bytes, image->size);
    hf_region_unmap(region);
    hf_memory_close(memory);
}

/* Fails if a worker has made no progress for too long. */
static void watch(uint64_t beats[WORKERS], int64_t since[WORKERS])
{
    for (unsigned w = 0; w < WORKERS; w++) {
        uint64_t now = load_relaxed(&notes->worker[w].beats);
        if (now != beats[w]) {
            beats[w] = now;
            since[w] = now_ms();
        }
        if (now_ms() - since[w] > STUCK_MS) {
            const char *doing = load_relaxed(&notes->worker[w].doing);
            fail_msg("worker %u hangs in: %s", w, doing != NULL ? doing : "?");
        }
    }
}

static void expect_opened(void)
{
    for (unsigned w = 0; w < WORKERS; w++) {
        assert_true(load_relaxed(&notes->worker[w].opened) > 0);
    }
}

static void expect_alive(pid_t pid)
{
    int ended = wait_child_for(pid, 0);
    if (ended != CHILD_RUNS) {
        fail_msg("a worker has ended: %d", ended);
    }
}

/* Now and then one is killed, and another comes. */
TEST(a_scribbling_writer_only_causes_errors)
{
    pid_t pids[WORKERS];
    uint64_t beats[WORKERS] = {0};
    int64_t since[WORKERS];
    prepare(IMAGE_ALLOC);
    pid_t scribbler = start_child(run_scribbler, NULL);
    for (unsigned w = 0; w < WORKERS; w++) {
        since[w] = now_ms();
        pids[w] = start_child(run_worker, (void *)(uintptr_t)w);
    }
    int64_t end = now_ms() + RUN_MS;
    for (unsigned turn = 1; now_ms() < end; turn++) {
        sleep_ms(10);
        watch(beats, since);
        for (unsigned w = 0; w < WORKERS; w++) {
            expect_alive(pids[w]);
        }
        if (turn % 64 == 0) {
            unsigned w = (unsigned)random_below(WORKERS);
            assert_int_equal(kill_and_reap(pids[w]), -SIGKILL);
            pids[w] = start_child(run_worker, (void *)(uintptr_t)w);
        }
    }
    store_relaxed(&notes->finish, 1);
    for (unsigned w = 0; w < WORKERS; w++) {
        assert_int_equal(wait_child_for(pids[w], STUCK_MS), 0);
    }
    assert_int_equal(wait_child_for(scribbler, STUCK_MS), 0);
    expect_opened();
}

static int run_threads(void *base)
{
    pthread_t scribbler;
    pthread_t workers[WORKERS];
    assert_int_equal(pthread_create(&scribbler, NULL, scribble_in_thread, base), 0);
    for (unsigned w = 0; w < WORKERS; w++) {
        void *context = (void *)(uintptr_t)w;
        assert_int_equal(pthread_create(&workers[w], NULL, work_in_thread, context), 0);
    }
    for (unsigned w = 0; w < WORKERS; w++) {
        assert_int_equal(pthread_join(workers[w], NULL), 0);
    }
    assert_int_equal(pthread_join(scribbler, NULL), 0);
    return 0;
}

/* All in one process, which has one view of the segment and may not let go of it. */
TEST(a_scribbling_thread_only_causes_errors)
{
    uint64_t beats[WORKERS] = {0};
    int64_t since[WORKERS];
    hf_memory *memory;
    hf_region *region;
    if (UNDER_TSAN) {
        SKIP("what a scribbler does is a data race");
    }
    prepare(IMAGE_MANY);
    for (unsigned w = 0; w < WORKERS; w++) {
        since[w] = now_ms();
    }
    pid_t pid = start_child(run_threads, map_bare(&memory, &region));
    int64_t end = now_ms() + RUN_MS;
    while (now_ms() < end) {
        sleep_ms(10);
        watch(beats, since);
        expect_alive(pid);
    }
    store_relaxed(&notes->finish, 1);
    assert_int_equal(wait_child_for(pid, STUCK_MS), 0);
    expect_opened();
    hf_region_unmap(region);
    hf_memory_close(memory);
}
