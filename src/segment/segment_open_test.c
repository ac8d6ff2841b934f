/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing segments, over every kind of memory. segment_create_test.c has what creation
 * refuses and what kills it, segment_copy_test.c copy-on-write, segment_damage_test.c what is
 * damaged.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/segments.h"

/* ---- over every kind of memory ----------------------------------------------------------- */

static int answer_by_name(void *name)
{
    hf_segment *segment;
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 42);
    set_value(segment, 43);
    hf_segment_close(segment);
    return 0;
}

TEST(what_one_process_writes_another_reads)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    assert_ok(hf_segment_create(unique_name(name, "share"), SIZE, NULL, &segment));
    set_value(segment, 42);
    assert_int_equal(run_child(answer_by_name, name), 0);
    assert_int_equal(value_of(segment), 43);
    assert_false(info_of(segment).one_process);
    assert_non_null(hf_segment_memory(segment));
    hf_segment_close(segment);
}

static int answer_by_path(void *path)
{
    hf_segment *segment;
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 42);
    set_value(segment, 43);
    hf_segment_close(segment);
    return 0;
}

TEST(a_segment_in_a_file_is_shared_and_outlives_its_users)
{
    const char *path = new_path();
    hf_segment *segment;
    assert_ok(hf_segment_create_file(path, SIZE, NULL, &segment));
    set_value(segment, 42);
    assert_int_equal(run_child(answer_by_path, (void *)path), 0);
    assert_int_equal(value_of(segment), 43);
    assert_false(info_of(segment).one_process);
    hf_segment_close(segment);
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 43);
    expect_working(segment);
    hf_segment_close(segment);
}

static int answer_by_handle(void *segment)
{
    assert_int_equal(value_of(segment), 42);
    set_value(segment, 43);
    return 0;
}

TEST(a_forked_child_goes_on_with_the_handles_it_inherits)
{
    hf_segment *segment;
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    set_value(segment, 42);
    assert_int_equal(run_child(answer_by_handle, segment), 0);
    assert_int_equal(value_of(segment), 43);
    assert_false(info_of(segment).one_process);
    hf_segment_close(segment);
}

static int close_inherited(void *segment)
{
    hf_segment_close(segment);
    return 0;
}

TEST(a_forked_child_that_closes_what_it_inherits_takes_nothing_from_its_parent)
{
    hf_segment *segment;
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    struct data *data = root_of(segment);
    assert_ok(hf_mutex_lock(&data->mutex));
    assert_int_equal(run_child(close_inherited, segment), 0);
    assert_int_equal(info_of(segment).participants, 1);
    assert_ok(hf_mutex_unlock(&data->mutex));
    expect_working(segment);
    hf_segment_close(segment);
}

static int answer_by_socket(void *socket)
{
    hf_memory *memory;
    hf_segment *segment;
    assert_ok(hf_memory_receive(*(int *)socket, &memory));
    assert_ok(hf_segment_open_memory(memory, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 42);
    set_value(segment, 43);
    hf_segment_close(segment);
    return 0;
}

static void make_sockets(int sockets[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
}

TEST(a_segment_without_a_name_goes_over_a_socket)
{
    int sockets[2];
    hf_segment *segment;
    unsigned seals;
    make_sockets(sockets);
    pid_t child = start_child(answer_by_socket, &sockets[1]); /* it inherits no segment */
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    assert_ok(hf_memory_seals(hf_segment_memory(segment), &seals));
    assert_true((seals & HF_SEAL_SHRINK) != 0);
    set_value(segment, 42);
    assert_ok(hf_memory_send(hf_segment_memory(segment), sockets[0]));
    assert_int_equal(wait_child(child), 0);
    assert_int_equal(value_of(segment), 43);
    hf_segment_close(segment);
}

TEST(memory_received_of_a_segment_that_is_open_here_is_another_handle_of_it)
{
    int sockets[2];
    hf_segment *segment;
    hf_segment *second;
    hf_memory *memory;
    make_sockets(sockets);
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    assert_ok(hf_memory_send(hf_segment_memory(segment), sockets[0]));
    assert_ok(hf_memory_receive(sockets[1], &memory));
    assert_ok(hf_segment_open_memory(memory, HF_READ_WRITE, &second));
    assert_ptr_equal(hf_segment_base(segment), hf_segment_base(second));
    hf_segment_close(segment);
    expect_working(second);
    hf_segment_close(second);
}

TEST(a_segment_s_own_memory_is_not_taken_over_a_second_time)
{
    hf_segment *segment;
    hf_segment *second = NULL;
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    hf_memory *own = hf_segment_memory(segment);
    assert_error(hf_segment_open_memory(own, HF_READ_WRITE, &second), -EINVAL);
    assert_null(second);
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(private_memory_takes_the_same_calls)
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = 1 * MIB};
    assert_ok(hf_segment_create_private(SIZE, &options, &segment));
    expect_working(segment);
    assert_true(info_of(segment).one_process);
    assert_null(hf_segment_memory(segment));
    assert_ok(hf_segment_grow(segment, 1 * MIB));
    assert_int_equal(info_of(segment).size, 1 * MIB);
    struct data *data = root_of(segment);
    assert_ok(hf_pages_alloc(segment, 900 * KIB, &data->link));
    memset(hf_segment_at(segment, data->link), 1, 900 * KIB);
    uint64_t trimmed = 1;
    assert_ok(hf_segment_trim(segment, &trimmed));
    assert_int_equal(trimmed, 0);
    hf_segment_close(segment);
}

static int copy_of_private(void *segment)
{
    set_value(segment, 99);
    return 0;
}

TEST(private_memory_stays_this_process_s_after_a_fork)
{
    hf_segment *segment;
    assert_ok(hf_segment_create_private(SIZE, NULL, &segment));
    set_value(segment, 1);
    assert_int_equal(run_child(copy_of_private, segment), 0);
    assert_int_equal(value_of(segment), 1);
    hf_segment_close(segment);
}

/* ---- in the caller's buffer -------------------------------------------------------------- */

struct buffer {
    void *bytes;
    _Atomic int *ready;
};

static int answer_in_buffer(void *context)
{
    struct buffer *buffer = context;
    hf_segment *segment;
    await_flag(buffer->ready);
    assert_ok(hf_segment_attach(buffer->bytes, SIZE, &segment));
    assert_ptr_equal(hf_segment_base(segment), buffer->bytes);
    assert_int_equal(value_of(segment), 42);
    set_value(segment, 43);
    assert_int_equal(info_of(segment).participants, 2);
    hf_segment_close(segment);
    return 0;
}

TEST(a_buffer_of_shared_pages_serves_all_who_have_it_mapped)
{
    struct buffer buffer = {shared_bytes(SIZE), shared_bytes(sizeof(int))};
    hf_segment *segment;
    pid_t child = start_child(answer_in_buffer, &buffer);
    assert_ok(hf_segment_init(buffer.bytes, SIZE, &segment));
    assert_ptr_equal(hf_segment_base(segment), buffer.bytes);
    assert_null(hf_segment_memory(segment));
    assert_false(info_of(segment).one_process);
    set_value(segment, 42);
    store_release(buffer.ready, 1);
    assert_int_equal(wait_child(child), 0);
    assert_int_equal(value_of(segment), 43);
    expect_working(segment);
    hf_segment_close(segment);
    ((char *)buffer.bytes)[SIZE - 1] = 1; /* it is the caller's still */
}

TEST(a_buffer_may_be_mapped_elsewhere_by_each)
{
    hf_memory *memory;
    hf_segment *segment;
    hf_segment *elsewhere;
    assert_ok(hf_anonymous_create(SIZE, NULL, &memory));
    int fd = hf_memory_descriptor(memory);
    char *first = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *second = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(first != MAP_FAILED && second != MAP_FAILED);
    assert_ok(hf_segment_init(first, SIZE, &segment));
    set_value(segment, 7);
    assert_ok(hf_segment_attach(second, SIZE, &elsewhere));
    assert_ptr_equal(hf_segment_base(elsewhere), second);
    assert_int_equal(value_of(elsewhere), 7);
    hf_segment_close(elsewhere);
    hf_segment_close(segment);
    hf_memory_close(memory);
}

static void *use_in_thread(void *segment)
{
    set_value(segment, 43);
    return NULL;
}

static void expect_one_process(void *bytes, size_t size)
{
    hf_segment *segment;
    pthread_t thread;
    assert_ok(hf_segment_init(bytes, size, &segment));
    assert_true(info_of(segment).one_process);
    set_value(segment, 42);
    assert_int_equal(pthread_create(&thread, NULL, use_in_thread, segment), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(value_of(segment), 43);
    assert_int_equal(info_of(segment).participants, 1);
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(a_buffer_that_is_not_aligned_to_pages_serves_one_process)
{
    char *bytes = shared_bytes(SIZE + 4096);
    memset(bytes, 0xaa, SIZE + 4096); /* what stood there does not matter */
    expect_one_process(bytes + 64, SIZE);
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal((unsigned char)bytes[i], 0xaa);
    }
    for (size_t i = SIZE + 64; i < SIZE + 4096; i++) {
        assert_int_equal((unsigned char)bytes[i], 0xaa);
    }
}

TEST(a_buffer_of_private_memory_serves_one_process)
{
    void *bytes = aligned_alloc(4096, SIZE);
    assert_non_null(bytes);
    memset(bytes, 0xaa, SIZE);
    expect_one_process(bytes, SIZE);
    free(bytes);
}

TEST(a_buffer_keeps_at_most_8_kib_for_itself_and_uses_whole_pages)
{
    char *bytes = shared_bytes(SIZE);
    hf_segment *segment;
    assert_ok(hf_segment_init(bytes, SIZE - 100, &segment));
    assert_int_equal(info_of(segment).size, SIZE - 4096);
    assert_int_equal(info_of(segment).maximum, SIZE - 4096);
    assert_true(info_of(segment).used <= 8 * KIB);
    struct data *data = root_of(segment);
    assert_ok(hf_pages_alloc(segment, SIZE - 4096 - 12 * KIB, &data->link)); /* all the rest */
    assert_error(hf_segment_grow(segment, SIZE), -ENOMEM);
    hf_segment_close(segment);
}

TEST(the_smallest_buffer_is_a_segment_without_room)
{
    hf_segment *segment;
    void *root;
    assert_ok(hf_segment_init(shared_bytes(8192), 8192, &segment));
    assert_int_equal(info_of(segment).used, 8192);
    assert_error(hf_segment_root(segment, 1, &root), -ENOMEM);
    hf_segment_close(segment);
}

TEST(a_bad_buffer_is_einval_and_stays_as_it_is)
{
    char *bytes = shared_bytes(SIZE);
    hf_segment *segment = NULL;
    memset(bytes, 0xaa, SIZE);
    assert_error(hf_segment_init(NULL, SIZE, &segment), -EINVAL);
    assert_error(hf_segment_init(bytes, SIZE, NULL), -EINVAL);
    assert_error(hf_segment_init(bytes + 8, SIZE - 8, &segment), -EINVAL);
    assert_error(hf_segment_init(bytes, 8191, &segment), -EINVAL);
    assert_error(hf_segment_init(bytes, 0, &segment), -EINVAL);
    assert_error(hf_segment_attach(NULL, SIZE, &segment), -EINVAL);
    assert_error(hf_segment_attach(bytes, SIZE, NULL), -EINVAL);
    assert_error(hf_segment_attach(bytes + 8, SIZE - 8, &segment), -EINVAL);
    assert_error(hf_segment_attach(bytes, 8191, &segment), -EINVAL);
    assert_error(hf_segment_attach(bytes, SIZE, &segment), -EBADMSG); /* nobody has made one */
    assert_null(segment);
    for (size_t i = 0; i < SIZE; i++) {
        assert_int_equal((unsigned char)bytes[i], 0xaa);
    }
}

/* ---- create, open, open or create, remove ------------------------------------------------ */

TEST(a_taken_name_is_eexist_and_the_segment_stays_as_it_is)
{
    char name[UNIQUE_NAME_SIZE];
    const char *path = new_path();
    hf_segment *first;
    hf_segment *second = NULL;
    assert_ok(hf_segment_create(unique_name(name, "taken"), SIZE, NULL, &first));
    set_value(first, 5);
    assert_error(hf_segment_create(name, 2 * SIZE, NULL, &second), -EEXIST);
    assert_int_equal(value_of(first), 5);
    assert_int_equal(info_of(first).size, SIZE);
    hf_segment_close(first);
    assert_ok(hf_segment_create_file(path, SIZE, NULL, &first));
    assert_error(hf_segment_create_file(path, SIZE, NULL, &second), -EEXIST);
    expect_working(first);
    hf_segment_close(first);
    assert_null(second);
}

TEST(a_missing_name_is_enoent)
{
    char name[UNIQUE_NAME_SIZE];
    const char *directory = temporary_directory();
    hf_segment *segment = NULL;
    unique_name(name, "missing");
    for (hf_access access = HF_READ_WRITE; access <= HF_COPY_ON_WRITE; access++) {
        assert_error(hf_segment_open(name, access, &segment), -ENOENT);
        assert_error(hf_segment_open_file(path_in(directory, "x"), access, &segment), -ENOENT);
    }
    assert_error(hf_segment_create_file(path_in(directory, "x/y"), SIZE, NULL, &segment), -ENOENT);
    assert_error(hf_segment_remove(name), -ENOENT);
    assert_null(segment);
}

TEST(open_or_create_tells_which_it_did_and_keeps_what_is_there)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    bool created = false;
    unique_name(name, "either");
    assert_ok(hf_segment_open_or_create(name, SIZE, NULL, &created, &segment));
    assert_true(created);
    set_value(segment, 5);
    hf_segment_close(segment);
    assert_ok(hf_segment_open_or_create(name, 2 * SIZE, NULL, &created, &segment));
    assert_false(created);
    assert_int_equal(info_of(segment).size, SIZE);
    assert_int_equal(value_of(segment), 5);
    hf_segment_close(segment);
    assert_ok(hf_segment_open_or_create(name, SIZE, NULL, NULL, &segment));
    hf_segment_close(segment);
}

TEST(open_or_create_tells_which_it_did_with_files_too)
{
    const char *path = new_path();
    hf_segment *segment;
    bool created = false;
    assert_ok(hf_segment_open_or_create_file(path, SIZE, NULL, &created, &segment));
    assert_true(created);
    set_value(segment, 5);
    hf_segment_close(segment);
    assert_ok(hf_segment_open_or_create_file(path, SIZE, NULL, &created, &segment));
    assert_false(created);
    assert_int_equal(value_of(segment), 5);
    hf_segment_close(segment);
}

TEST(a_removed_segment_stays_with_who_has_it_open)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *old;
    hf_segment *new;
    assert_ok(hf_segment_create(unique_name(name, "removed"), SIZE, NULL, &old));
    set_value(old, 1);
    assert_ok(hf_segment_remove(name));
    assert_error(hf_segment_open(name, HF_READ_WRITE, &new), -ENOENT);
    assert_ok(hf_segment_create(name, SIZE, NULL, &new));
    set_value(new, 2);
    assert_int_equal(value_of(old), 1);
    assert_true(hf_segment_base(old) != hf_segment_base(new));
    hf_segment_close(old);
    assert_int_equal(value_of(new), 2);
    hf_segment_close(new);
}

/* ---- handles ----------------------------------------------------------------------------- */

TEST(handles_of_one_segment_share_one_mapping_until_the_last_is_closed)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *handles[4];
    unsigned char there;
    assert_ok(hf_segment_create(unique_name(name, "handles"), SIZE, NULL, &handles[0]));
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &handles[1]));
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &handles[2]));
    assert_ok(hf_segment_open_or_create(name, SIZE, NULL, NULL, &handles[3]));
    void *base = hf_segment_base(handles[0]);
    for (unsigned i = 0; i < 4; i++) {
        assert_ptr_equal(hf_segment_base(handles[i]), base);
    }
    struct data *data = root_of(handles[0]);
    for (unsigned i = 0; i < 3; i++) {
        hf_segment_close(handles[i]);
        assert_ok(hf_mutex_lock(&data->mutex));
        data->value++;
        assert_ok(hf_mutex_unlock(&data->mutex));
    }
    expect_working(handles[3]);
    hf_segment_close(handles[3]);
    assert_int_equal(mincore(base, 4096, &there), -1); /* nothing is mapped there */
    assert_int_equal(errno, ENOMEM);
}

static unsigned mappings(void)
{
    unsigned lines = 0;
    char *text = read_whole_file("/proc/self/maps", NULL);
    for (char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    free(text);
    return lines;
}

static void open_use_close(const char *name, const char *path)
{
    hf_segment *segments[4];
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segments[0]));
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &segments[1]));
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &segments[2]));
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segments[3]));
    expect_working(segments[1]);
    expect_working(segments[3]);
    for (unsigned i = 0; i < 4; i++) {
        hf_segment_close(segments[i]);
    }
}

TEST(closing_leaves_neither_descriptors_nor_mappings)
{
    char name[UNIQUE_NAME_SIZE];
    const char *path = new_path();
    hf_segment *segment;
    assert_ok(hf_segment_create(unique_name(name, "leak"), SIZE, NULL, &segment));
    hf_segment_close(segment);
    assert_ok(hf_segment_create_file(path, SIZE, NULL, &segment));
    hf_segment_close(segment);
    open_use_close(name, path);
    unsigned descriptors = count_entries("/proc/self/fd", "");
    unsigned before = mappings();
    for (unsigned i = 0; i < 50; i++) {
        open_use_close(name, path);
    }
    assert_int_equal(count_entries("/proc/self/fd", ""), descriptors);
    assert_true(mappings() < before + 25); /* a sanitizer, or malloc, may have mapped something */
}

TEST(descriptors_do_not_pile_up_while_a_segment_is_opened_again_and_again)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    assert_ok(hf_segment_create(unique_name(name, "again"), SIZE, NULL, &segment));
    unsigned before = count_entries("/proc/self/fd", "");
    for (unsigned i = 0; i < 100; i++) {
        hf_segment *again;
        assert_ok(hf_segment_open(name, HF_READ_WRITE, &again));
        hf_segment_close(again);
    }
    assert_int_equal(count_entries("/proc/self/fd", ""), before);
    hf_segment_close(segment);
}

TEST(a_closed_segment_has_no_participants)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    assert_ok(hf_segment_create(unique_name(name, "leave"), SIZE, NULL, &segment));
    assert_int_equal(info_of(segment).participants, 0); /* to create is not to attach */
    expect_working(segment);
    assert_int_equal(info_of(segment).participants, 1);
    hf_segment_close(segment);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment));
    assert_int_equal(info_of(segment).participants, 0);
    assert_int_equal(info_of(segment).dead, 0);
    hf_segment_close(segment);
}

/* ---- read-only --------------------------------------------------------------------------- */

struct reader {
    char name[UNIQUE_NAME_SIZE];
    _Atomic int ready;
};

static int only_read(void *context)
{
    struct reader *reader = context;
    hf_segment *segment;
    void *root;
    uint64_t bytes;
    await_flag(&reader->ready);
    assert_ok(hf_segment_open(reader->name, HF_READ_ONLY, &segment));
    struct data *data = root_of(segment);
    assert_int_equal(data->value, 5);
    assert_int_equal(info_of(segment).access, HF_READ_ONLY);
    assert_int_equal(info_of(segment).participants, 1); /* our parent */
    assert_error(hf_segment_root(segment, SIZE, &root), -ERANGE);
    assert_error(hf_pages_alloc(segment, PAGE, &data->link), -EACCES);
    assert_error(hf_pages_free(segment, PAGE, &data->link), -EACCES);
    assert_error(hf_segment_grow(segment, SIZE), -EACCES);
    assert_error(hf_segment_trim(segment, &bytes), -EACCES);
    assert_error(hf_segment_recover(segment, NULL), -EACCES);
    assert_error(hf_thread_recover(segment), -EACCES);
    assert_error(hf_tx_begin(segment), -EACCES);
    assert_error(hf_mutex_lock(&data->mutex), -EACCES);
    assert_error(hf_mutex_trylock(&data->mutex), -EACCES);
    assert_error(hf_mutex_init(&data->mutex), -EACCES);
    assert_error(hf_mutex_fini(&data->mutex), -EACCES);
    hf_segment_close(segment);
    return 0;
}

TEST(who_opens_read_only_sees_everything_and_changes_nothing)
{
    struct reader *reader = shared_bytes(sizeof *reader);
    hf_segment *segment;
    unique_name(reader->name, "look");
    pid_t child = start_child(only_read, reader); /* it inherits no handle for writing */
    assert_ok(hf_segment_create(reader->name, SIZE, NULL, &segment));
    set_value(segment, 5);
    store_release(&reader->ready, 1);
    assert_int_equal(wait_child(child), 0);
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(a_handle_for_reading_changes_nothing_though_another_here_may)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *writer;
    hf_segment *reader;
    assert_ok(hf_segment_create(unique_name(name, "both"), SIZE, NULL, &writer));
    struct data *data = root_of(writer);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &reader));
    assert_error(hf_pages_alloc(reader, PAGE, &data->link), -EACCES);
    assert_error(hf_segment_grow(reader, SIZE), -EACCES);
    assert_error(hf_tx_begin(reader), -EACCES);
    assert_int_equal(info_of(reader).access, HF_READ_ONLY);
    assert_int_equal(info_of(writer).access, HF_READ_WRITE);
    hf_segment_close(writer);
    hf_segment_close(reader);
}

static int write_there(void *address)
{
    *(volatile char *)address = 1;
    return 0;
}

TEST(who_opens_read_only_cannot_write)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    if (UNDER_ASAN || UNDER_TSAN) {
        SKIP("a sanitizer turns the fault into a report of its own");
    }
    assert_ok(hf_segment_create(unique_name(name, "readonly"), SIZE, NULL, &segment));
    set_value(segment, 5);
    hf_segment_close(segment);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment));
    assert_int_equal(run_child(write_there, root_of(segment)), -SIGSEGV);
    hf_segment_close(segment);
}

TEST(there_is_no_root_to_be_read_before_someone_has_made_it)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    hf_segment *reader;
    void *root;
    assert_ok(hf_segment_create(unique_name(name, "noroot"), SIZE, NULL, &segment));
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &reader));
    assert_error(hf_segment_root(reader, 8, &root), -ENOENT);
    set_value(segment, 1);
    assert_ok(hf_segment_root(reader, 8, &root));
    hf_segment_close(reader);
    hf_segment_close(segment);
}
