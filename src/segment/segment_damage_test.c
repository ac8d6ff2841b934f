/* SPDX-License-Identifier: MIT */
/* Segments that are damaged, of another kind, or of another start of the machine. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "segment/segment_layout.h"
#include "segment/slot_layout.h"
#include "support/segments.h"

#define HEADER(field) offsetof(struct segment_header, field)

/* A file with a segment whose value is 5, that nobody has open. */
static const char *make_file(void)
{
    const char *path = new_path();
    hf_segment *segment;
    assert_ok(hf_segment_create_file(path, SIZE, NULL, &segment));
    set_value(segment, 5);
    hf_segment_close(segment);
    return path;
}

static void expect_refused(const char *path, int error)
{
    hf_segment *segment = NULL;
    for (hf_access access = HF_READ_WRITE; access <= HF_COPY_ON_WRITE; access++) {
        assert_error(hf_segment_open_file(path, access, &segment), error);
    }
    assert_error(hf_segment_open_or_create_file(path, SIZE, NULL, NULL, &segment), error);
    assert_error(hf_segment_create_file(path, SIZE, NULL, &segment), -EEXIST);
    assert_null(segment);
}

/* ---- the header -------------------------------------------------------------------------- */

static void expect_field_is_checked(uint64_t offset, size_t width, uint64_t value, int error)
{
    static const char *path;
    uint64_t good = 0;
    if (path == NULL) {
        path = make_file();
    }
    peek(path, offset, &good, width);
    poke(path, offset, &value, width);
    expect_refused(path, error);
    poke(path, offset, &good, width);
    hf_segment *segment;
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 5);
    hf_segment_close(segment);
}

TEST(another_kind_of_file_is_ebadmsg)
{
    expect_field_is_checked(HEADER(magic), 8, 0, -EBADMSG);
    expect_field_is_checked(HEADER(magic), 8, UINT64_MAX, -EBADMSG);
    expect_field_is_checked(HEADER(magic), 1, 'h', -EBADMSG);
}

TEST(another_version_is_eprotonosupport)
{
    expect_field_is_checked(HEADER(version), 4, 0, -EPROTONOSUPPORT);
    expect_field_is_checked(HEADER(version), 4, SEGMENT_VERSION + 1, -EPROTONOSUPPORT);
    expect_field_is_checked(HEADER(features), 8, 1, -EPROTONOSUPPORT);
    expect_field_is_checked(HEADER(features), 8, UINT64_C(1) << 63, -EPROTONOSUPPORT);
}

TEST(another_byte_order_or_page_size_is_enoexec)
{
    expect_field_is_checked(HEADER(order), 4, 0x04030201, -ENOEXEC);
    expect_field_is_checked(HEADER(page_size), 4, 16384, -ENOEXEC);
    expect_field_is_checked(HEADER(slot_number_max), 4, 8191, -ENOEXEC);
}

TEST(what_a_machine_of_another_byte_order_would_have_written_is_enoexec)
{
    const char *path = make_file();
    uint64_t magic = __builtin_bswap64(SEGMENT_MAGIC);
    uint32_t words[] = {__builtin_bswap32(SEGMENT_VERSION), __builtin_bswap32(SEGMENT_ORDER)};
    uint32_t more[] = {__builtin_bswap32(4096), __builtin_bswap32(SLOT_NUMBER_MAX)};
    poke(path, HEADER(magic), &magic, sizeof magic);
    poke(path, HEADER(version), words, sizeof words);
    poke(path, HEADER(page_size), more, sizeof more);
    expect_refused(path, -ENOEXEC);
}

TEST(damaged_geometry_is_ebadmsg)
{
    expect_field_is_checked(HEADER(size), 8, 0, -EBADMSG);
    expect_field_is_checked(HEADER(size), 8, PAGE, -EBADMSG);
    expect_field_is_checked(HEADER(size), 8, SIZE - 1, -EBADMSG);
    expect_field_is_checked(HEADER(size), 8, SIZE + PAGE, -EBADMSG); /* above the maximum */
    expect_field_is_checked(HEADER(size), 8, UINT64_MAX, -EBADMSG);
    expect_field_is_checked(HEADER(maximum), 8, 0, -EBADMSG);
    expect_field_is_checked(HEADER(maximum), 8, SIZE - PAGE, -EBADMSG);
    expect_field_is_checked(HEADER(maximum), 8, SIZE + 1, -EBADMSG);
    expect_field_is_checked(HEADER(maximum), 8, UINT64_C(1) << 47, -EBADMSG);
    expect_field_is_checked(HEADER(maximum), 8, ~UINT64_C(4095), -EBADMSG);
    expect_field_is_checked(HEADER(maximum), 8, GIB, -EBADMSG); /* whose maps are elsewhere */
    expect_field_is_checked(HEADER(used_map), 8, 0, -EBADMSG);
    expect_field_is_checked(HEADER(used_map), 8, UINT64_MAX - 7, -EBADMSG);
    expect_field_is_checked(HEADER(backed_map), 8, HEADER(maps), -EBADMSG);
    expect_field_is_checked(HEADER(first_page), 8, 0, -EBADMSG);
    expect_field_is_checked(HEADER(first_page), 8, 3, -EBADMSG);
    expect_field_is_checked(HEADER(slot_runs), 8, 0, -EBADMSG);
    expect_field_is_checked(HEADER(slot_runs), 8, 2 * PAGE, -EBADMSG);
}

TEST(a_truncated_file_is_enodata)
{
    static const uint64_t sizes[] = {SIZE - 1, SIZE - PAGE, 8193, 8192, 4097, 4096};
    const char *path = make_file();
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(truncate(path, (off_t)sizes[i]), 0);
        expect_refused(path, -ENODATA);
    }
}

TEST(what_is_too_short_for_a_header_is_ebadmsg)
{
    static const uint64_t sizes[] = {4095, 100, 8, 1, 0};
    const char *path = make_file();
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(truncate(path, (off_t)sizes[i]), 0);
        expect_refused(path, -EBADMSG);
    }
}

TEST(a_longer_file_is_a_segment_all_the_same)
{
    const char *path = make_file();
    hf_segment *segment;
    assert_int_equal(truncate(path, (off_t)(4 * SIZE)), 0); /* its grower died before it said so */
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
    assert_int_equal(info_of(segment).size, SIZE);
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(growth_that_was_cut_short_is_done_again)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    hf_segment_options options = {.maximum = 4 * SIZE};
    assert_ok(hf_segment_create(unique_name(name, "short"), SIZE, &options, &segment));
    assert_ok(hf_memory_truncate(hf_segment_memory(segment), 3 * SIZE));
    assert_int_equal(info_of(segment).size, SIZE);
    assert_ok(hf_segment_grow(segment, 2 * SIZE));
    assert_int_equal(info_of(segment).size, 2 * SIZE);
    assert_ok(hf_segment_grow(segment, 4 * SIZE));
    struct data *data = root_of(segment);
    assert_ok(hf_pages_alloc(segment, 3 * SIZE, &data->link));
    memset(hf_segment_at(segment, data->link), 1, 3 * SIZE);
    hf_segment_close(segment);
}

TEST(what_is_no_regular_file_is_ebadmsg)
{
    hf_segment *segment = NULL;
    assert_error(hf_segment_open_file(temporary_directory(), HF_READ_ONLY, &segment), -EBADMSG);
    assert_error(hf_segment_open_file("/dev/null", HF_READ_WRITE, &segment), -EBADMSG);
    assert_null(segment);
}

/* ---- buffers ----------------------------------------------------------------------------- */

TEST(a_buffer_that_is_shorter_than_its_segment_is_not_attached)
{
    char *bytes = shared_bytes(2 * SIZE);
    hf_segment *segment;
    assert_ok(hf_segment_init(bytes, 2 * SIZE, &segment));
    hf_segment_close(segment);
    segment = NULL;
    assert_error(hf_segment_attach(bytes, SIZE, &segment), -ENODATA);
    assert_null(segment);
    assert_ok(hf_segment_attach(bytes, 2 * SIZE, &segment));
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(a_segment_in_a_buffer_cannot_grow_beyond_it_whatever_its_header_says)
{
    char *bytes = shared_bytes(4 * SIZE);
    hf_segment *segment = NULL;
    struct segment_header *header = (void *)bytes;
    uint64_t twice = 2 * SIZE;
    assert_ok(hf_segment_init(bytes, SIZE, &segment));
    hf_segment_close(segment);
    memcpy((void *)&header->maximum, &twice, sizeof twice);
    int error = hf_segment_attach(bytes, SIZE, &segment);
    if (error == 0) {
        assert_error(hf_segment_grow(segment, 2 * SIZE), -ENOMEM);
        assert_int_equal(info_of(segment).maximum, SIZE);
        hf_segment_close(segment);
    }
    assert_true(error == 0 || error == -EBADMSG || error == -ENODATA);
}

TEST(a_damaged_buffer_is_not_attached)
{
    char *bytes = shared_bytes(SIZE);
    hf_segment *segment = NULL;
    assert_ok(hf_segment_init(bytes, SIZE, &segment));
    hf_segment_close(segment);
    segment = NULL;
    bytes[HEADER(version)]++;
    assert_error(hf_segment_attach(bytes, SIZE, &segment), -EPROTONOSUPPORT);
    bytes[HEADER(version)]--;
    bytes[HEADER(magic)]++;
    assert_error(hf_segment_attach(bytes, SIZE, &segment), -EBADMSG);
    assert_null(segment);
}

/* ---- another start of the machine -------------------------------------------------------- */

static const uint64_t other_boot[2] = {UINT64_C(0x1122334455667788), 42};

static void pretend_restart(const char *path)
{
    poke(path, HEADER(boot), other_boot, sizeof other_boot);
}

static void expect_this_boot(const char *path)
{
    uint64_t boot[2];
    peek(path, HEADER(boot), boot, sizeof boot);
    assert_memory_not_equal(boot, other_boot, sizeof boot);
}

/* The file as a loss of power would leave it, of a segment that is in use. */
static const char *snapshot_of(const char *path)
{
    size_t size;
    const char *copy = new_path();
    char *bytes = read_whole_file(path, &size);
    write_whole_file(copy, bytes, size);
    free(bytes);
    return copy;
}

struct snapshot {
    const char *path;
    const char *copy;
    bool inside; /* the lock is taken inside the transaction */
};

static int use_and_copy(void *context)
{
    struct snapshot *snapshot = context;
    hf_segment *segment;
    assert_ok(hf_segment_open_file(snapshot->path, HF_READ_WRITE, &segment));
    struct data *data = root_of(segment);
    if (!snapshot->inside) {
        assert_ok(hf_mutex_lock(&data->mutex));
    }
    assert_ok(hf_tx_begin(segment));
    if (snapshot->inside) {
        assert_ok(hf_mutex_lock(&data->mutex));
    }
    assert_ok(hf_tx_add(segment, &data->value, sizeof data->value));
    data->value = 666;
    size_t size;
    char *bytes = read_whole_file(snapshot->path, &size);
    write_whole_file(snapshot->copy, bytes, size);
    free(bytes);
    return 0;
}

/* A file that was cut off in the middle of a transaction, and its user's process is gone. */
static const char *make_snapshot(bool inside)
{
    struct snapshot snapshot = {make_file(), new_path(), inside};
    assert_int_equal(run_child(use_and_copy, &snapshot), 0);
    return snapshot.copy;
}

TEST(after_a_restart_what_was_under_way_is_undone)
{
    hf_segment *segment;
    unsigned recovered;
    const char *path = make_snapshot(true);
    pretend_restart(path);
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
    expect_this_boot(path);
    assert_int_equal(info_of(segment).participants, 0);
    assert_ok(hf_segment_recover(segment, &recovered));
    struct data *data = root_of(segment);
    assert_int_equal(data->value, 5);
    assert_int_equal(info_of(segment).dead, 0);
    assert_ok(hf_mutex_trylock(&data->mutex));
    assert_ok(hf_mutex_unlock(&data->mutex));
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(after_a_restart_a_lock_s_next_owner_hears_of_the_last_one)
{
    hf_segment *segment;
    const char *path = make_snapshot(false);
    pretend_restart(path);
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
    struct data *data = root_of(segment);
    assert_error(hf_mutex_lock(&data->mutex), -EOWNERDEAD);
    assert_int_equal(data->value, 5);
    assert_ok(hf_mutex_consistent(&data->mutex));
    assert_ok(hf_mutex_unlock(&data->mutex));
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(threads_of_before_a_restart_are_dead_though_others_have_their_numbers)
{
    const char *path = make_file();
    hf_segment *segment;
    hf_segment *snapshot;
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
    struct data *data = root_of(segment);
    assert_ok(hf_mutex_lock(&data->mutex));
    const char *copy = snapshot_of(path); /* in it, this very thread has the lock */
    pretend_restart(copy);
    assert_ok(hf_segment_open_file(copy, HF_READ_WRITE, &snapshot));
    assert_int_equal(info_of(snapshot).participants, 0);
    assert_int_equal(info_of(snapshot).dead, 1);
    data = root_of(snapshot);
    assert_error(hf_mutex_lock(&data->mutex), -EOWNERDEAD);
    assert_ok(hf_mutex_consistent(&data->mutex));
    assert_ok(hf_mutex_unlock(&data->mutex));
    hf_segment_close(snapshot);
    hf_segment_close(segment);
}

TEST(after_a_restart_nobody_reads_before_someone_has_opened_for_writing)
{
    hf_segment *segment = NULL;
    const char *path = make_snapshot(true);
    pretend_restart(path);
    assert_error(hf_segment_open_file(path, HF_READ_ONLY, &segment), -EAGAIN);
    assert_null(segment);
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
    hf_segment_close(segment);
    assert_ok(hf_segment_open_file(path, HF_READ_ONLY, &segment));
    hf_segment_close(segment);
}

TEST(after_a_restart_a_copy_can_be_had)
{
    hf_segment *segment;
    const char *path = make_snapshot(true);
    pretend_restart(path);
    assert_ok(hf_segment_open_file(path, HF_COPY_ON_WRITE, &segment));
    assert_int_equal(value_of(segment), 5);
    hf_segment_close(segment);
    uint64_t boot[2];
    peek(path, HEADER(boot), boot, sizeof boot);
    assert_memory_equal(boot, other_boot, sizeof boot);
}

TEST(half_a_boot_id_is_another_one)
{
    hf_segment *segment;
    const char *path = make_snapshot(true); /* as if who had settled it died half-way */
    poke(path, HEADER(boot) + 8, &other_boot[1], 8);
    assert_error(hf_segment_open_file(path, HF_READ_ONLY, &segment), -EAGAIN);
    assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 5);
    hf_segment_close(segment);
    expect_this_boot(path);
}

struct user {
    const char *path;
    _Atomic int there;
    _Atomic int go;
};

static int stay_attached(void *context)
{
    struct user *user = context;
    hf_segment *segment;
    assert_ok(hf_segment_open_file(user->path, HF_READ_WRITE, &segment));
    set_value(segment, 6);
    store_release(&user->there, 1);
    await_flag(&user->go);
    set_value(segment, 7);
    hf_segment_close(segment);
    return 0;
}

TEST(a_file_in_use_on_another_machine_is_eremote)
{
    struct user *user = shared_bytes(sizeof *user);
    hf_segment *segment = NULL;
    user->path = make_file();
    pid_t child = start_child(stay_attached, user);
    await_flag(&user->there);
    pretend_restart(user->path);
    assert_error(hf_segment_open_file(user->path, HF_READ_WRITE, &segment), -EREMOTE);
    assert_error(hf_segment_open_file(user->path, HF_READ_ONLY, &segment), -EAGAIN);
    assert_null(segment);
    store_release(&user->go, 1);
    assert_int_equal(wait_child(child), 0); /* it has been left in peace */
    assert_ok(hf_segment_open_file(user->path, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 7);
    expect_this_boot(user->path);
    hf_segment_close(segment);
}

/* Its creator could not tell which start of the machine it was. */
TEST(a_file_in_use_that_was_made_where_the_start_is_unknown_is_open_to_others)
{
    static const uint64_t unknown[2] = {0, 0};
    struct user *user = shared_bytes(sizeof *user);
    hf_segment *segment = NULL;
    user->path = make_file();
    pid_t child = start_child(stay_attached, user);
    await_flag(&user->there);
    poke(user->path, HEADER(boot), unknown, sizeof unknown);
    assert_ok(hf_segment_open_file(user->path, HF_READ_ONLY, &segment));
    hf_segment_close(segment);
    assert_ok(hf_segment_open_file(user->path, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 6);
    assert_int_equal(info_of(segment).participants, 2);
    store_release(&user->go, 1);
    assert_int_equal(wait_child(child), 0);
    assert_int_equal(value_of(segment), 7);
    hf_segment_close(segment);
}

static int open_after_restart(void *context)
{
    struct user *user = context;
    hf_segment *segment;
    await_flag(&user->go);
    assert_ok(hf_segment_open_file(user->path, HF_READ_WRITE, &segment));
    assert_int_equal(value_of(segment), 5);
    hf_segment_close(segment);
    return 0;
}

TEST(several_may_open_at_once_after_a_restart)
{
    for (unsigned i = 0; i < 10; i++) {
        struct user *user = shared_bytes(sizeof *user);
        pid_t children[6];
        user->path = make_snapshot(true);
        pretend_restart(user->path);
        for (unsigned k = 0; k < 6; k++) {
            children[k] = start_child(open_after_restart, user);
        }
        store_release(&user->go, 1);
        for (unsigned k = 0; k < 6; k++) {
            assert_int_equal(wait_child(children[k]), 0);
        }
    }
}

/* ---- random damage ----------------------------------------------------------------------- */

/* Anything but a crash: what it gives is not looked at. Every participant in the file is dead, so
   nobody is waited for. */
static int use_all(void *path)
{
    hf_segment *segment;
    hf_segment_info info;
    void *root;
    if (hf_segment_open_file(path, HF_READ_WRITE, &segment) != 0) {
        return 0;
    }
    (void)hf_segment_get_info(segment, &info);
    (void)hf_segment_recover(segment, NULL);
    if (hf_segment_root(segment, sizeof(struct data), &root) == 0) {
        struct data *data = root;
        (void)hf_mutex_timedlock(&data->mutex, MILLISECONDS(100));
        (void)hf_pages_alloc(segment, 2 * PAGE, &data->link);
        (void)hf_tx_begin(segment);
        (void)hf_tx_add(segment, root, sizeof *data);
        (void)hf_tx_abort(segment);
        (void)hf_pages_free(segment, 2 * PAGE, &data->link);
    }
    (void)hf_segment_grow(segment, 2 * SIZE);
    (void)hf_segment_trim(segment, NULL);
    (void)hf_segment_get_info(segment, &info);
    hf_segment_close(segment);
    return 0;
}

/* A number that is good at being wrong. */
static uint64_t wrong_number(void)
{
    switch (random_below(6)) {
    case 0:
        return random_below(SIZE);
    case 1:
        return random_below(SIZE / 8) * 8;
    case 2:
        return random_below(8);
    case 3:
        return UINT64_MAX - random_below(SIZE);
    case 4:
        return UINT64_C(1) << random_below(64);
    default:
        return random_below(UINT64_MAX);
    }
}

static void damage(const char *path, uint64_t from, uint64_t to)
{
    uint64_t value = wrong_number();
    poke(path, from + random_below((to - from) / 8) * 8, &value, sizeof value);
}

/* How a process ends that uses the file after a few words in it have been changed. */
static int use_damaged(const char *path)
{
    for (uint64_t n = random_below(4); n > 0; n--) {
        damage(path, HEADER(root), PAGE); /* root, locks, maps */
    }
    for (uint64_t n = 1 + random_below(12); n > 0; n--) {
        damage(path, PAGE, PAGE + sizeof(struct slot)); /* what the dead has left */
    }
    for (uint64_t n = random_below(4); n > 0; n--) {
        damage(path, 2 * PAGE, 2 * PAGE + 64); /* the lock it had */
    }
    pretend_restart(path);
    pid_t child = start_child(use_all, (void *)path);
    int status = wait_child_for(child, 10000);
    if (status == CHILD_RUNS) {
        (void)kill_and_reap(child);
    }
    return status;
}

TEST(whatever_stands_in_a_segment_nothing_crashes)
{
    const char *whole = make_snapshot(true);
    const char *path = new_path();
    size_t size;
    int status = 0;
    char *bytes = read_whole_file(whole, &size);
    for (unsigned i = 0; i < 300 && status == 0; i++) {
        write_whole_file(path, bytes, size);
        status = use_damaged(path);
    }
    free(bytes);
    assert_int_equal(status, 0); /* CHILD_RUNS: it hung */
}

TEST(an_undo_log_that_saves_itself_harms_nobody)
{
    const char *path = make_snapshot(true);
    uint64_t log = PAGE + offsetof(struct slot, log);
    uint64_t used = 64 + 16;
    uint64_t trailer[2] = {log + 8, 64}; /* onto itself, shifted */
    poke(path, log + 64, trailer, sizeof trailer);
    poke(path, PAGE + offsetof(struct slot, log_used), &used, sizeof used);
    pretend_restart(path);
    assert_int_equal(run_child(use_all, (void *)path), 0);
}

/* ---- a hostile peer ---------------------------------------------------------------------- */

/* The slot that this thread, the only participant, has. */
static struct slot *only_slot(hf_segment *segment)
{
    return (void *)((char *)hf_segment_base(segment) + PAGE);
}

/* All of it still what it was set to? */
static bool is_untouched(const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != 0xaa) {
            return false;
        }
    }
    return true;
}

TEST(a_hostile_log_position_steers_no_write_outside)
{
    static const uint64_t positions[] = {UINT64_MAX,
                                         UINT64_MAX - 15,
                                         UINT64_MAX - 4095,
                                         ~UINT64_C(16383),
                                         ~UINT64_C(65535),
                                         UINT64_C(1) << 63,
                                         UINT64_C(1) << 40,
                                         7,
                                         344,
                                         376,
                                         383,
                                         384};
    for (unsigned i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        unsigned char *bytes = shared_bytes(3 * SIZE);
        hf_segment *segment;
        memset(bytes, 0xaa, 3 * SIZE);
        assert_ok(hf_segment_init(bytes + SIZE, SIZE, &segment));
        struct data *data = root_of(segment);
        assert_ok(hf_pages_alloc(segment, 16 * KIB, &data->link));
        void *large = hf_segment_at(segment, data->link);
        memset(large, 0x11, 16 * KIB);
        assert_ok(hf_tx_begin(segment));
        store_relaxed(&only_slot(segment)->log_used, positions[i]);
        (void)hf_tx_add(segment, &data->value,
                        sizeof data->value); /* what it gives is not looked at */
        store_relaxed(&only_slot(segment)->log_used, positions[i]);
        (void)hf_tx_add(segment, large, 16 * KIB);
        (void)hf_tx_reserve(segment, 100);
        (void)hf_tx_abort(segment);
        hf_segment_close(segment);
        assert_true(is_untouched(bytes, SIZE));
        assert_true(is_untouched(bytes + 2 * SIZE, SIZE));
        assert_int_equal(munmap(bytes, 3 * SIZE), 0);
    }
}

static int end_with_a_looped_list(void *context)
{
    hf_segment *segment = context;
    struct data *data = root_of(segment);
    assert_ok(hf_tx_begin(segment));
    assert_ok(hf_mutex_lock(&data->mutex));
    struct lock *lock = (void *)&data->mutex;
    store_relaxed(&lock->next, load_relaxed(&lock->self)); /* a list without an end */
    (void)hf_tx_commit(segment);
    (void)hf_thread_leave(segment);
    return 0;
}

TEST(a_list_of_locks_that_has_no_end_keeps_nobody)
{
    hf_segment *segment;
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    pid_t child = start_child(end_with_a_looped_list, segment);
    int status = wait_child_for(child, 10000);
    if (status == CHILD_RUNS) {
        (void)kill_and_reap(child);
    }
    assert_int_equal(status, 0);
    hf_segment_close(segment);
}
