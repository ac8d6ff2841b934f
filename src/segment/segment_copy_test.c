/* SPDX-License-Identifier: MIT */
/* Copy-on-write segments: private copies, to be had only while nobody writes. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/os.h"
#include "segment/segment_layout.h"
#include "segment/slot_layout.h"
#include "support/segments.h"

/* A segment whose value is 5, that nobody has open. */
static void make_segment(char name[UNIQUE_NAME_SIZE])
{
    hf_segment *segment;
    assert_ok(hf_segment_create(unique_name(name, "copy"), SIZE, NULL, &segment));
    set_value(segment, 5);
    hf_segment_close(segment);
}

/* Another process that opens the segment, says so, and keeps it open until it is told to go. */
struct other {
    const char *name;
    hf_access access;
    _Atomic int there;
    _Atomic int go;
    pid_t pid;
};

static int keep_open(void *context)
{
    struct other *other = context;
    hf_segment *segment;
    assert_ok(hf_segment_open(other->name, other->access, &segment));
    store_release(&other->there, 1);
    await_flag(&other->go);
    hf_segment_close(segment);
    return 0;
}

static struct other *start_other(const char *name, hf_access access)
{
    struct other *other = shared_bytes(sizeof *other);
    other->name = name;
    other->access = access;
    other->pid = start_child(keep_open, other);
    await_flag(&other->there);
    return other;
}

static void end_other(struct other *other)
{
    store_release(&other->go, 1);
    assert_int_equal(wait_child(other->pid), 0);
}

/* As another process sees it, whatever this one has open. */
struct attempt {
    const char *name;
    hf_access access;
    int expected;
};

static int try_to_open(void *context)
{
    struct attempt *attempt = context;
    hf_segment *segment;
    assert_error(hf_segment_open(attempt->name, attempt->access, &segment), attempt->expected);
    if (attempt->expected == 0) {
        hf_segment_close(segment);
    }
    return 0;
}

static void expect_elsewhere(const char *name, hf_access access, int expected)
{
    struct attempt attempt = {name, access, expected};
    assert_int_equal(run_child(try_to_open, &attempt), 0);
}

/* ---- what a copy is ---------------------------------------------------------------------- */

TEST(changes_in_a_copy_are_seen_by_nobody_else)
{
    const char *path = new_path();
    hf_segment *segment;
    size_t size;
    assert_ok(hf_segment_create_file(path, SIZE, NULL, &segment));
    set_value(segment, 5);
    hf_segment_close(segment);
    char *before = read_whole_file(path, &size);
    assert_ok(hf_segment_open_file(path, HF_COPY_ON_WRITE, &segment));
    assert_int_equal(value_of(segment), 5);
    expect_working(segment);
    set_value(segment, 6);
    assert_int_equal(value_of(segment), 6);
    assert_int_equal(info_of(segment).access, HF_COPY_ON_WRITE);
    assert_true(info_of(segment).one_process);
    assert_int_equal(info_of(segment).participants, 1);
    hf_segment_close(segment);
    char *after = read_whole_file(path, &size);
    assert_int_equal(size, SIZE);
    assert_memory_equal(before, after, size);
    free(before);
    free(after);
    assert_ok(hf_segment_open_file(path, HF_COPY_ON_WRITE, &segment));
    assert_int_equal(value_of(segment), 5);
    hf_segment_close(segment);
}

TEST(every_call_works_in_a_copy)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    uint64_t trimmed;
    unsigned recovered;
    make_segment(name);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &segment));
    struct data *data = root_of(segment);
    assert_ok(hf_mutex_trylock(&data->mutex));
    assert_error(hf_mutex_lock(&data->mutex), -EDEADLK);
    assert_ok(hf_mutex_unlock(&data->mutex));
    assert_ok(hf_pages_alloc(segment, 40 * KIB, &data->link));
    memset(hf_segment_at(segment, data->link), 1, 40 * KIB);
    assert_error(hf_pages_alloc(segment, SIZE, &data->links[0]), -ENOMEM);
    assert_ok(hf_pages_free(segment, 40 * KIB, &data->link));
    assert_ok(hf_tx_begin(segment));
    assert_ok(hf_tx_add(segment, data, sizeof *data)); /* more than a slot's own log takes */
    data->value = 77;
    assert_ok(hf_tx_commit(segment));
    assert_int_equal(data->value, 77);
    assert_error(hf_segment_grow(segment, 2 * SIZE), -ENOMEM);
    assert_ok(hf_segment_trim(segment, &trimmed));
    assert_ok(hf_segment_recover(segment, &recovered));
    assert_int_equal(recovered, 0);
    assert_ok(hf_thread_recover(segment));
    assert_ok(hf_thread_leave(segment));
    assert_int_equal(info_of(segment).participants, 0);
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(a_copy_may_have_its_own_root)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    void *root;
    assert_ok(hf_segment_create(unique_name(name, "copyroot"), SIZE, NULL, &segment));
    hf_segment_close(segment);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &segment));
    expect_working(segment);
    hf_segment_close(segment);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment));
    assert_error(hf_segment_root(segment, 1, &root), -ENOENT);
    hf_segment_close(segment);
}

_Noreturn static int die_in_a_transaction(void *name)
{
    hf_segment *segment;
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &segment));
    struct data *data = root_of(segment);
    assert_ok(hf_tx_begin(segment));
    assert_ok(hf_mutex_lock(&data->mutex));
    assert_ok(hf_tx_add(segment, &data->value, sizeof data->value));
    data->value = 666;
    (void)raise(SIGKILL);
    abort();
}

TEST(what_the_dead_left_is_undone_in_the_copy_and_left_alone_outside)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    make_segment(name);
    assert_int_equal(run_child(die_in_a_transaction, name), -SIGKILL);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &segment));
    assert_int_equal(value_of(segment), 5);
    hf_segment_close(segment);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment));
    assert_int_equal(root_of(segment)->value, 666);
    assert_int_equal(info_of(segment).dead, 1);
    hf_segment_close(segment);
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 5);
    hf_segment_close(segment);
}

/* Its number may be somebody else's by now, who lives: in a copy all are dead, whatever it says. */
TEST(who_died_while_taking_a_slot_is_dead_in_a_copy)
{
    hf_segment *segment;
    hf_segment *copy;
    const char *path = new_path();
    assert_ok(hf_segment_create_file(path, SIZE, NULL, &segment));
    set_value(segment, 5);
    hf_segment_close(segment);
    uint64_t claim = 3 | (uint64_t)os_thread_id() << CLAIM_BY_BITS | CLAIM_CLAIMING;
    poke(path, SEGMENT_PAGE + 2 * sizeof(struct slot) + offsetof(struct slot, claim), &claim,
         sizeof claim);
    assert_ok(hf_segment_open_file(path, HF_COPY_ON_WRITE, &copy));
    assert_int_equal(info_of(copy).dead, 1);
    expect_working(copy);
    assert_ok(hf_segment_recover(copy, NULL));
    assert_int_equal(info_of(copy).dead, 0);
    assert_int_equal(info_of(copy).participants, 1);
    hf_segment_close(copy);
}

TEST(a_copy_takes_what_was_trimmed_though_the_memory_is_gone)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    hf_memory *rest;
    private_shm(1 * MIB);
    make_segment(name);
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &segment));
    assert_ok(hf_segment_trim(segment, NULL));
    hf_segment_close(segment);
    assert_ok(hf_shm_create("filler", free_shm(), NULL, &rest));
    assert_int_equal(free_shm(), 0);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &segment));
    struct data *data = root_of(segment);
    int error = hf_pages_alloc(segment, PAGE, &data->link);
    assert_true(error == 0 || error == -ENOSPC); /* and never SIGBUS */
    if (error == 0) {
        memset(hf_segment_at(segment, data->link), 1, PAGE);
    }
    hf_segment_close(segment);
    hf_memory_close(rest);
}

/* ---- copies and writers ------------------------------------------------------------------ */

TEST(there_is_no_copy_while_another_process_writes)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment = NULL;
    make_segment(name);
    struct other *writer = start_other(name, HF_READ_WRITE);
    assert_error(hf_segment_open(name, HF_COPY_ON_WRITE, &segment), -EBUSY);
    assert_null(segment);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment)); /* reading is fine */
    hf_segment_close(segment);
    end_other(writer);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &segment));
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(a_killed_writer_is_no_writer)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment = NULL;
    make_segment(name);
    struct other *writer = start_other(name, HF_READ_WRITE);
    assert_error(hf_segment_open(name, HF_COPY_ON_WRITE, &segment), -EBUSY);
    assert_int_equal(kill_and_reap(writer->pid), -SIGKILL);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &segment));
    hf_segment_close(segment);
}

TEST(there_is_no_writing_while_another_process_has_a_copy)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment = NULL;
    bool created;
    make_segment(name);
    struct other *copier = start_other(name, HF_COPY_ON_WRITE);
    assert_error(hf_segment_open(name, HF_READ_WRITE, &segment), -EBUSY);
    assert_error(hf_segment_open_or_create(name, SIZE, NULL, &created, &segment), -EBUSY);
    assert_null(segment);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment));
    hf_segment_close(segment);
    end_other(copier);
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &segment));
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(any_number_may_have_a_copy_each)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    make_segment(name);
    struct other *first = start_other(name, HF_COPY_ON_WRITE);
    struct other *second = start_other(name, HF_COPY_ON_WRITE);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &segment));
    set_value(segment, 6);
    expect_elsewhere(name, HF_READ_WRITE, -EBUSY);
    hf_segment_close(segment);
    end_other(first);
    expect_elsewhere(name, HF_READ_WRITE, -EBUSY);
    end_other(second);
    expect_elsewhere(name, HF_READ_WRITE, 0);
}

TEST(there_is_no_copy_while_this_process_writes)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *writer;
    hf_segment *segment = NULL;
    make_segment(name);
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &writer));
    assert_error(hf_segment_open(name, HF_COPY_ON_WRITE, &segment), -EBUSY);
    assert_null(segment);
    hf_segment_close(writer);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &segment));
    hf_segment_close(segment);
}

TEST(there_is_no_writing_while_this_process_has_a_copy)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *copy;
    hf_segment *segment = NULL;
    make_segment(name);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &copy));
    assert_error(hf_segment_open(name, HF_READ_WRITE, &segment), -EBUSY);
    assert_null(segment);
    set_value(copy, 6);
    hf_segment_close(copy);
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 5);
    hf_segment_close(segment);
}

TEST(who_was_refused_as_a_writer_keeps_no_copy_out)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *copy;
    hf_segment *segment;
    make_segment(name);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &copy));
    assert_error(hf_segment_open(name, HF_READ_WRITE, &segment), -EBUSY);
    expect_elsewhere(name, HF_COPY_ON_WRITE, 0);
    hf_segment_close(copy);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &copy));
    hf_segment_close(copy);
}

TEST(memory_that_was_refused_is_the_caller_s_and_in_nobody_s_way)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    hf_memory *memory;
    make_segment(name);
    struct other *copier = start_other(name, HF_COPY_ON_WRITE);
    assert_ok(hf_shm_open(name, HF_READ_WRITE, &memory));
    assert_error(hf_segment_open_memory(memory, HF_READ_WRITE, &segment), -EBUSY);
    expect_elsewhere(name, HF_COPY_ON_WRITE, 0);
    end_other(copier);
    expect_elsewhere(name, HF_COPY_ON_WRITE, 0);
    assert_ok(hf_segment_open_memory(memory, HF_READ_WRITE, &segment));
    expect_working(segment);
    hf_segment_close(segment);
}

static int copy_by_socket(void *socket)
{
    hf_memory *memory;
    hf_segment *segment;
    assert_ok(hf_memory_receive(*(int *)socket, &memory));
    assert_error(hf_segment_open_memory(memory, HF_COPY_ON_WRITE, &segment), -EBUSY);
    hf_memory_close(memory);
    return 0;
}

TEST(there_is_no_copy_of_what_its_sender_writes)
{
    int sockets[2];
    hf_segment *segment;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    pid_t child = start_child(copy_by_socket, &sockets[1]);
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    set_value(segment, 5);
    assert_ok(hf_memory_send(hf_segment_memory(segment), sockets[0]));
    assert_int_equal(wait_child(child), 0);
    expect_working(segment);
    hf_segment_close(segment);
}

static int wait_with_what_is_inherited(void *context)
{
    await_flag(context);
    return 0;
}

TEST(a_child_that_has_inherited_a_writer_s_handle_is_a_writer)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    _Atomic int *go = shared_bytes(sizeof *go);
    make_segment(name);
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &segment));
    pid_t child = start_child(wait_with_what_is_inherited, go);
    hf_segment_close(segment);
    assert_error(hf_segment_open(name, HF_COPY_ON_WRITE, &segment), -EBUSY);
    store_release(go, 1);
    assert_int_equal(wait_child(child), 0);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &segment));
    hf_segment_close(segment);
}
