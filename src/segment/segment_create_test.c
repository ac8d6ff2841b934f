/* SPDX-License-Identifier: MIT */
/* Creating segments: permissions, what is refused, races and kills. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/segments.h"

/* ---- threads ----------------------------------------------------------------------------- */

static char name_of_second[UNIQUE_NAME_SIZE];

static void *create_as_the_last_thread(void *first)
{
    hf_segment *segment;
    (void)pthread_join(*(pthread_t *)first, NULL);
    assert_ok(hf_segment_create(name_of_second, SIZE, NULL, &segment));
    assert_ok(hf_segment_remove(name_of_second));
    assert_ok(hf_segment_create_file(new_path(), SIZE, NULL, &segment));
    names_clean_up();
    _exit(0);
}

static int end_the_first_thread(void *unused)
{
    static pthread_t first;
    pthread_t second;
    (void)unused;
    first = pthread_self();
    assert_int_equal(pthread_create(&second, NULL, create_as_the_last_thread, &first), 0);
    pthread_exit(NULL);
}

TEST(a_process_whose_first_thread_has_ended_creates_names)
{
    if (UNDER_TSAN) {
        SKIP("the sanitizer does not know of a first thread's end");
    }
    (void)unique_name(name_of_second, "second");
    assert_int_equal(run_child(end_the_first_thread, NULL), 0);
}

/* ---- permissions ------------------------------------------------------------------------- */

static void expect_owner(hf_segment *segment, uint32_t mode, uint32_t group)
{
    uint32_t has_mode;
    uint32_t has_group;
    assert_ok(hf_memory_owner(hf_segment_memory(segment), NULL, &has_group, &has_mode));
    assert_int_equal(has_mode, mode);
    assert_int_equal(has_group, group);
}

TEST(the_mode_is_honoured_whatever_the_umask)
{
    static const uint32_t modes[][2] = {{0, 0600}, {0644, 0644}, {0666, 0666}, {0640, 0640}};
    for (unsigned i = 0; i < 8; i++) {
        char name[UNIQUE_NAME_SIZE];
        hf_segment *segment;
        hf_segment_options options = {.mode = modes[i / 2][0]};
        (void)umask(i % 2 == 0 ? 0 : 077);
        assert_ok(hf_segment_create(unique_name(name, "mode"), SIZE, &options, &segment));
        expect_owner(segment, modes[i / 2][1], getegid());
        hf_segment_close(segment);
        (void)umask(022);
        const char *path = new_path();
        (void)umask(i % 2 == 0 ? 0 : 077);
        assert_ok(hf_segment_open_or_create_file(path, SIZE, &options, NULL, &segment));
        expect_owner(segment, modes[i / 2][1], getegid());
        hf_segment_close(segment);
    }
}

TEST(the_group_is_honoured)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    if (!is_root()) {
        SKIP("only root can give a group that is not its own");
    }
    hf_segment_options options = {.mode = 0660, .group = 12345, .set_group = true};
    assert_ok(hf_segment_create(unique_name(name, "group"), SIZE, &options, &segment));
    expect_owner(segment, 0660, 12345);
    hf_segment_close(segment);
    assert_ok(hf_segment_create_file(new_path(), SIZE, &options, &segment));
    expect_owner(segment, 0660, 12345);
    hf_segment_close(segment);
}

TEST(a_group_that_is_not_the_caller_s_is_eperm_and_nothing_is_made)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment = NULL;
    hf_segment_options options = {.group = 12345, .set_group = true};
    drop_privileges();
    assert_error(hf_segment_create(unique_name(name, "eperm"), SIZE, &options, &segment), -EPERM);
    assert_null(segment);
    assert_int_equal(count_entries("/dev/shm", name), 0);
}

struct places {
    char *name;
    const char *path;
};

static int open_as_another_user(void *context)
{
    struct places *places = context;
    hf_segment *segment;
    drop_privileges();
    for (hf_access access = HF_READ_WRITE; access <= HF_COPY_ON_WRITE; access++) {
        assert_error(hf_segment_open(places->name, access, &segment), -EACCES);
        assert_error(hf_segment_open_file(places->path, access, &segment), -EACCES);
    }
    assert_error(hf_segment_open_or_create(places->name, SIZE, NULL, NULL, &segment), -EACCES);
    return 0;
}

TEST(other_users_are_refused)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    if (!is_root()) {
        SKIP("only root can become another user");
    }
    const char *directory = temporary_directory();
    assert_int_equal(chmod(directory, 0755), 0);
    struct places places = {name, path_in(directory, "segment")};
    assert_ok(hf_segment_create(unique_name(name, "private"), SIZE, NULL, &segment));
    hf_segment_close(segment);
    assert_ok(hf_segment_create_file(places.path, SIZE, NULL, &segment));
    hf_segment_close(segment);
    assert_int_equal(run_child(open_as_another_user, &places), 0);
}

static int read_as_another_user(void *name)
{
    hf_segment *segment;
    drop_privileges();
    assert_error(hf_segment_open(name, HF_READ_WRITE, &segment), -EACCES);
    assert_ok(hf_segment_open(name, HF_READ_ONLY, &segment));
    assert_int_equal(root_of(segment)->value, 5);
    hf_segment_close(segment);
    assert_ok(hf_segment_open(name, HF_COPY_ON_WRITE, &segment));
    set_value(segment, 6);
    hf_segment_close(segment);
    return 0;
}

TEST(the_right_to_read_is_enough_for_reading_and_for_a_copy)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    hf_segment_options options = {.mode = 0644};
    if (!is_root()) {
        SKIP("only root can become another user");
    }
    assert_ok(hf_segment_create(unique_name(name, "public"), SIZE, &options, &segment));
    set_value(segment, 5);
    hf_segment_close(segment);
    assert_int_equal(run_child(read_as_another_user, name), 0);
}

/* ---- bad input --------------------------------------------------------------------------- */

static void expect_bad_name(const char *name, int error)
{
    hf_segment *segment = NULL;
    bool created;
    /* More than there is: a bad name is found before any memory is asked for. */
    assert_error(hf_segment_create(name, 64 * MIB, NULL, &segment), error);
    assert_error(hf_segment_open_or_create(name, 64 * MIB, NULL, &created, &segment), error);
    assert_error(hf_segment_open(name, HF_READ_WRITE, &segment), error);
    assert_error(hf_segment_open(name, HF_READ_ONLY, &segment), error);
    assert_error(hf_segment_remove(name), error);
    assert_null(segment);
}

TEST(bad_names_are_refused_before_anything_is_touched)
{
    char longest[HF_SHM_NAME_MAX + 2];
    private_shm(1 * MIB);
    memset(longest, 'n', sizeof longest);
    longest[HF_SHM_NAME_MAX + 1] = 0;
    expect_bad_name(NULL, -EINVAL);
    expect_bad_name("", -EINVAL);
    expect_bad_name(".hidden", -EINVAL);
    expect_bad_name("..", -EINVAL);
    expect_bad_name("a/b", -EINVAL);
    expect_bad_name("/a", -EINVAL);
    expect_bad_name("a\nb", -EINVAL);
    expect_bad_name(longest, -ENAMETOOLONG);
    assert_int_equal(count_entries("/dev/shm", ""), 0);
    longest[HF_SHM_NAME_MAX] = 0;
    hf_segment *segment;
    assert_ok(hf_segment_create(longest, SIZE, NULL, &segment));
    hf_segment_close(segment);
    assert_ok(hf_segment_remove(longest));
}

TEST(a_bad_name_is_refused_though_it_leads_to_a_segment_that_is_open)
{
    char name[UNIQUE_NAME_SIZE];
    char crooked[UNIQUE_NAME_SIZE + 16];
    hf_segment *segment;
    hf_segment *again = NULL;
    assert_ok(hf_segment_create(unique_name(name, "crooked"), SIZE, NULL, &segment));
    (void)snprintf(crooked, sizeof crooked, "../shm/%s", name);
    assert_error(hf_segment_open(crooked, HF_READ_WRITE, &again), -EINVAL);
    assert_null(again);
    hf_segment_close(segment);
}

static void expect_bad_size(uint64_t size, const hf_segment_options *options, int error)
{
    char name[UNIQUE_NAME_SIZE];
    const char *path = new_path();
    hf_segment *segment = NULL;
    bool created;
    unique_name(name, "size");
    assert_error(hf_segment_create(name, size, options, &segment), error);
    assert_error(hf_segment_open_or_create(name, size, options, &created, &segment), error);
    assert_error(hf_segment_create_file(path, size, options, &segment), error);
    assert_error(hf_segment_open_or_create_file(path, size, options, &created, &segment), error);
    assert_error(hf_segment_create_anonymous(size, options, &segment), error);
    assert_error(hf_segment_create_private(size, options, &segment), error);
    assert_null(segment);
    assert_int_equal(count_entries("/dev/shm", name), 0);
    assert_int_equal(access(path, F_OK), -1);
}

TEST(sizes_and_modes_out_of_range_are_refused)
{
    hf_segment_options options = {.maximum = SIZE - 1};
    expect_bad_size(0, NULL, -EINVAL);
    expect_bad_size(HF_SEGMENT_SIZE_MIN - 1, NULL, -EINVAL);
    expect_bad_size(SIZE, &options, -EINVAL);
    expect_bad_size(UINT64_MAX, NULL, -EFBIG);
    expect_bad_size((UINT64_C(1) << 46) + 1, NULL, -EFBIG);
    options.maximum = UINT64_MAX;
    expect_bad_size(SIZE, &options, -EFBIG);
    options = (hf_segment_options){.mode = 01000};
    expect_bad_size(SIZE, &options, -EINVAL);
    options.mode = UINT32_MAX;
    expect_bad_size(SIZE, &options, -EINVAL);
}

TEST(sizes_are_rounded_up_to_pages)
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = 100001};
    assert_ok(hf_segment_create_anonymous(HF_SEGMENT_SIZE_MIN + 1, &options, &segment));
    assert_int_equal(info_of(segment).size, HF_SEGMENT_SIZE_MIN + 4096);
    assert_int_equal(info_of(segment).maximum, 102400);
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(null_and_unknown_arguments_are_einval)
{
    char name[UNIQUE_NAME_SIZE];
    const char *path = new_path();
    hf_segment *segment = NULL;
    hf_memory *memory;
    unique_name(name, "null");
    assert_error(hf_segment_create(name, SIZE, NULL, NULL), -EINVAL);
    assert_error(hf_segment_open(name, HF_READ_WRITE, NULL), -EINVAL);
    assert_error(hf_segment_open(name, (hf_access)3, &segment), -EINVAL);
    assert_error(hf_segment_open_or_create(name, SIZE, NULL, NULL, NULL), -EINVAL);
    assert_error(hf_segment_create_file(NULL, SIZE, NULL, &segment), -EINVAL);
    assert_error(hf_segment_create_file(path, SIZE, NULL, NULL), -EINVAL);
    assert_error(hf_segment_open_file(NULL, HF_READ_WRITE, &segment), -EINVAL);
    assert_error(hf_segment_open_file(path, (hf_access)-1, &segment), -EINVAL);
    assert_error(hf_segment_open_file(path, HF_READ_WRITE, NULL), -EINVAL);
    assert_error(hf_segment_open_or_create_file(NULL, SIZE, NULL, NULL, &segment), -EINVAL);
    assert_error(hf_segment_create_anonymous(SIZE, NULL, NULL), -EINVAL);
    assert_error(hf_segment_create_private(SIZE, NULL, NULL), -EINVAL);
    assert_error(hf_segment_open_memory(NULL, HF_READ_WRITE, &segment), -EINVAL);
    assert_ok(hf_anonymous_create(SIZE, NULL, &memory));
    assert_error(hf_segment_open_memory(memory, HF_READ_WRITE, NULL), -EINVAL);
    assert_error(hf_segment_open_memory(memory, (hf_access)3, &segment), -EINVAL);
    assert_error(hf_segment_open_memory(memory, HF_READ_WRITE, &segment), -EBADMSG);
    hf_memory_close(memory);
    assert_null(segment);
    assert_int_equal(count_entries("/dev/shm", name), 0);
}

TEST(calls_on_no_segment_are_einval)
{
    hf_segment_info info;
    void *root;
    hf_off link = {0};
    assert_error(hf_segment_get_info(NULL, &info), -EINVAL);
    assert_error(hf_segment_root(NULL, 8, &root), -EINVAL);
    assert_error(hf_pages_alloc(NULL, 4096, &link), -EINVAL);
    assert_error(hf_pages_free(NULL, 4096, &link), -EINVAL);
    assert_error(hf_segment_grow(NULL, SIZE), -EINVAL);
    assert_error(hf_segment_trim(NULL, NULL), -EINVAL);
    assert_error(hf_segment_recover(NULL, NULL), -EINVAL);
    assert_error(hf_thread_recover(NULL), -EINVAL);
    assert_error(hf_thread_leave(NULL), -EINVAL);
    assert_null(hf_segment_base(NULL));
    assert_null(hf_segment_memory(NULL));
    assert_null(hf_segment_at(NULL, (hf_off){4096}));
    assert_int_equal(hf_segment_offset(NULL, &info).value, 0);
    hf_segment_close(NULL);
}

TEST(memory_that_was_opened_for_reading_is_not_opened_for_writing)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    hf_memory *memory;
    assert_ok(hf_segment_create(unique_name(name, "rights"), SIZE, NULL, &segment));
    set_value(segment, 5);
    hf_segment_close(segment);
    assert_ok(hf_shm_open(name, HF_READ_ONLY, &memory));
    assert_error(hf_segment_open_memory(memory, HF_READ_WRITE, &segment), -EACCES);
    assert_ok(hf_segment_open_memory(memory, HF_READ_ONLY, &segment));
    assert_int_equal(root_of(segment)->value, 5);
    hf_segment_close(segment);
}

TEST(a_file_system_that_cannot_reserve_is_eopnotsupp)
{
    const char *path = new_path();
    hf_segment *segment = NULL;
    refuse_syscall(SYS_fallocate, EOPNOTSUPP);
    assert_error(hf_segment_create_file(path, SIZE, NULL, &segment), -EOPNOTSUPP);
    assert_null(segment);
    assert_int_equal(access(path, F_OK), -1);
}

TEST(a_full_shm_is_enospc_and_nothing_is_left)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment = NULL;
    private_shm(1 * MIB);
    unique_name(name, "full");
    assert_error(hf_segment_create(name, 2 * MIB, NULL, &segment), -ENOSPC);
    assert_error(hf_segment_open_or_create(name, 1 * MIB + 4096, NULL, NULL, &segment), -ENOSPC);
    assert_null(segment);
    assert_int_equal(count_entries("/dev/shm", ""), 0);
    assert_int_equal(free_shm(), 1 * MIB);
    assert_ok(hf_segment_create(name, 1 * MIB, NULL, &segment)); /* all there is */
    expect_working(segment);
    hf_segment_close(segment);
}

TEST(a_process_without_address_space_for_the_maximum_is_refused)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment = NULL;
    hf_segment_options options = {.maximum = 64 * GIB};
    if (UNDER_ASAN || UNDER_TSAN || sizeof(void *) < 8) {
        SKIP("the address space is taken already");
    }
    assert_ok(hf_segment_create(unique_name(name, "space"), SIZE, &options, &segment));
    expect_working(segment);
    hf_segment_close(segment);
    segment = NULL;
    struct rlimit limit = {32 * GIB, 32 * GIB};
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    assert_error(hf_segment_open(name, HF_READ_WRITE, &segment), -ENOMEM);
    assert_error(hf_segment_open(name, HF_READ_ONLY, &segment), -ENOMEM);
    assert_null(segment);
}

TEST(a_large_maximum_costs_no_memory)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    hf_segment_options options = {.maximum = 16 * GIB};
    if (sizeof(void *) < 8) {
        SKIP("the address space is too small");
    }
    private_shm(256 * KIB);
    assert_ok(hf_segment_create(unique_name(name, "sparse"), SIZE, &options, &segment));
    expect_working(segment);
    assert_ok(hf_segment_grow(segment, info_of(segment).size + 16 * KIB));
    struct stat st;
    assert_int_equal(fstat(hf_memory_descriptor(hf_segment_memory(segment)), &st), 0);
    assert_true((uint64_t)st.st_blocks * 512 <= 128 * KIB);
    hf_segment_close(segment);
}

/* ---- in two steps ------------------------------------------------------------------------ */

TEST(what_is_put_in_before_publishing_is_there_for_whoever_opens)
{
    char name[UNIQUE_NAME_SIZE];
    hf_segment *segment;
    hf_segment *opened;
    hf_segment_options options = {.mode = 0640, .maximum = 1 * MIB};
    unique_name(name, "publish");
    (void)umask(077);
    assert_ok(hf_segment_prepare(SIZE, &options, &segment));
    set_value(segment, 5);
    assert_error(hf_segment_open(name, HF_READ_WRITE, &opened), -ENOENT);
    assert_ok(hf_segment_publish(segment, name));
    assert_ok(hf_segment_open(name, HF_READ_WRITE, &opened));
    assert_ptr_equal(hf_segment_base(opened), hf_segment_base(segment));
    assert_int_equal(value_of(opened), 5);
    expect_owner(opened, 0640, getegid());
    hf_segment_close(segment);
    expect_working(opened);
    hf_segment_close(opened);
}

TEST(publishing_is_refused_under_a_taken_name_and_to_what_is_not_prepared)
{
    char name[UNIQUE_NAME_SIZE];
    char other[UNIQUE_NAME_SIZE];
    hf_segment *taken;
    hf_segment *segment;
    assert_ok(hf_segment_create(unique_name(name, "taken"), SIZE, NULL, &taken));
    assert_error(hf_segment_publish(taken, unique_name(other, "twice")), -EINVAL);
    assert_error(hf_segment_publish(NULL, other), -EINVAL);
    assert_ok(hf_segment_prepare(SIZE, NULL, &segment));
    assert_error(hf_segment_publish(segment, name), -EEXIST);
    assert_error(hf_segment_publish(segment, "a/b"), -EINVAL);
    assert_error(hf_segment_publish(segment, NULL), -EINVAL);
    expect_working(segment);
    assert_ok(hf_segment_publish(segment, other));
    assert_error(hf_segment_publish(segment, other), -EINVAL);
    hf_segment_close(segment);
    assert_ok(hf_segment_create_private(SIZE, NULL, &segment));
    assert_error(hf_segment_publish(segment, "private"), -EINVAL);
    hf_segment_close(segment);
    assert_ok(hf_segment_create_anonymous(SIZE, NULL, &segment));
    assert_error(hf_segment_publish(segment, "anonymous"), -EINVAL);
    hf_segment_close(segment);
    hf_segment_close(taken);
    assert_error(hf_segment_prepare(SIZE, NULL, NULL), -EINVAL);
    assert_error(hf_segment_prepare(1, NULL, &segment), -EINVAL);
}

_Noreturn static int prepare_and_wait(void *ready)
{
    hf_segment *segment;
    assert_ok(hf_segment_prepare(SIZE, NULL, &segment));
    set_value(segment, 5);
    store_release((_Atomic int *)ready, 1);
    for (;;) {
        (void)pause();
    }
}

TEST(who_is_killed_before_it_publishes_leaves_nothing)
{
    _Atomic int *ready = shared_bytes(sizeof *ready);
    private_shm(1 * MIB);
    pid_t preparer = start_child(prepare_and_wait, ready);
    await_flag(ready);
    assert_int_equal(count_entries("/dev/shm", ""), 0);
    assert_int_equal(kill_and_reap(preparer), -SIGKILL);
    assert_int_equal(count_entries("/dev/shm", ""), 0);
    assert_int_equal(free_shm(), 1 * MIB);
}

/* ---- links that lead nowhere ------------------------------------------------------------- */

static int open_or_create_at(void *path)
{
    hf_segment *segment;
    return -hf_segment_open_or_create_file(path, SIZE, NULL, NULL, &segment);
}

TEST(a_link_that_leads_nowhere_is_ebadmsg_at_once)
{
    char path[256];
    const char *directory = temporary_directory();
    (void)snprintf(path, sizeof path, "%s/link", directory);
    assert_int_equal(symlink("nowhere", path), 0);
    pid_t child = start_child(open_or_create_at, path);
    int ended = wait_child_for(child, 10000);
    if (ended == CHILD_RUNS) {
        (void)kill_and_reap(child);
    }
    assert_int_equal(ended, EBADMSG);
    assert_int_equal(count_entries(directory, ""), 1); /* the link, and nothing beside it */
}

/* ---- races and deaths -------------------------------------------------------------------- */

#define ROUNDS 300

struct race {
    _Atomic unsigned arrived; /* in all rounds together */
    unsigned created[2];
    char prefix[UNIQUE_NAME_SIZE];
};

/* Both start each round at once. */
static void meet(struct race *race, unsigned round)
{
    (void)fetch_add_release(&race->arrived, 1u);
    for (unsigned turns = 0; load_acquire(&race->arrived) < 2 * (round + 1); turns++) {
        if (turns > 20000) {
            (void)usleep(1);
        }
    }
}

static void run_race(struct race *race, unsigned who)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        char name[UNIQUE_NAME_SIZE + 16];
        bool created = false;
        hf_segment *segment;
        (void)snprintf(name, sizeof name, "%s-%u", race->prefix, round);
        meet(race, 3 * round);
        assert_ok(hf_segment_open_or_create(name, SIZE, NULL, &created, &segment));
        struct data *data = root_of(segment);
        assert_ok(hf_mutex_lock(&data->mutex));
        data->value++;
        assert_ok(hf_mutex_unlock(&data->mutex));
        race->created[who] += created;
        meet(race, 3 * round + 1);
        assert_int_equal(data->value, 2); /* one segment, and one root in it */
        hf_segment_close(segment);
        meet(race, 3 * round + 2);
        if (created) { /* the other is done with it too */
            assert_ok(hf_segment_remove(name));
        }
    }
}

static int race_as_the_second(void *context)
{
    run_race(context, 1);
    return 0;
}

TEST(of_two_who_open_or_create_exactly_one_creates)
{
    struct race *race = shared_bytes(sizeof *race);
    unique_name(race->prefix, "race");
    pid_t other = start_child(race_as_the_second, race);
    run_race(race, 0);
    assert_int_equal(wait_child(other), 0);
    assert_int_equal(race->created[0] + race->created[1], ROUNDS);
    print_message("created %u and %u\n", race->created[0], race->created[1]);
    assert_int_equal(count_entries("/dev/shm", race->prefix), 0);
}

static const hf_segment_options to_1_mib = {.maximum = 1 * MIB, .mode = 0640};

_Noreturn static int create_and_remove(void *name)
{
    hf_segment *segment;
    (void)umask(077);
    for (;;) {
        assert_ok(hf_segment_create(name, SIZE, &to_1_mib, &segment));
        hf_segment_close(segment);
        assert_ok(hf_segment_remove(name));
    }
}

_Noreturn static int create_and_remove_file(void *path)
{
    hf_segment *segment;
    (void)umask(077);
    for (;;) {
        assert_ok(hf_segment_create_file(path, SIZE, &to_1_mib, &segment));
        hf_segment_close(segment);
        assert_int_equal(unlink(path), 0);
    }
}

static void expect_whole(hf_segment *segment)
{
    hf_segment_info info = info_of(segment);
    assert_int_equal(info.size, SIZE);
    assert_int_equal(info.maximum, 1 * MIB);
    assert_int_equal(info.used, 8 * KIB);
    assert_int_equal(info.participants, 0);
    expect_owner(segment, 0640, getegid());
    expect_working(segment);
    hf_segment_close(segment);
}

static void expect_empty(const char *directory)
{
    struct statvfs st;
    assert_int_equal(count_entries(directory, ""), 0);
    assert_int_equal(statvfs(directory, &st), 0);
    assert_int_equal(st.f_bfree, st.f_blocks);
}

TEST(a_creator_killed_at_any_moment_leaves_a_whole_segment_or_nothing)
{
    char name[UNIQUE_NAME_SIZE];
    unsigned left = 0;
    private_shm(4 * MIB);
    unique_name(name, "killed");
    for (unsigned i = 0; i < 200; i++) {
        hf_segment *segment;
        pid_t creator = start_child(create_and_remove, name);
        (void)usleep((useconds_t)random_below(3000));
        assert_int_equal(kill_and_reap(creator), -SIGKILL);
        if (count_entries("/dev/shm", "") > 0) {
            left++;
            assert_ok(hf_segment_open(name, HF_READ_WRITE, &segment));
            expect_whole(segment);
            assert_ok(hf_segment_remove(name));
        }
        expect_empty("/dev/shm");
    }
    print_message("%u of 200 kills left the segment\n", left);
}

TEST(a_creator_of_a_file_killed_at_any_moment_leaves_a_whole_segment_or_nothing)
{
    unsigned left = 0;
    const char *directory = temporary_directory();
    private_mounts();
    mount_small_tmpfs(directory, 4 * MIB);
    char path[256];
    (void)snprintf(path, sizeof path, "%s/segment", directory);
    for (unsigned i = 0; i < 200; i++) {
        hf_segment *segment;
        pid_t creator = start_child(create_and_remove_file, path);
        (void)usleep((useconds_t)random_below(3000));
        assert_int_equal(kill_and_reap(creator), -SIGKILL);
        if (count_entries(directory, "") > 0) {
            left++;
            assert_ok(hf_segment_open_file(path, HF_READ_WRITE, &segment));
            expect_whole(segment);
            assert_int_equal(unlink(path), 0);
        }
        expect_empty(directory);
    }
    print_message("%u of 200 kills left the segment\n", left);
}
