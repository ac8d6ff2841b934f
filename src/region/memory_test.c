/* SPDX-License-Identifier: MIT */
/* Memory objects: what one process sees of them. memory_death_test.c has the races and the kills.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holdfast/memory.h"
#include "support/support.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

static uint64_t size_of(const hf_memory *memory)
{
    uint64_t size;
    assert_ok(hf_memory_size(memory, &size));
    return size;
}

static uint32_t mode_of(const hf_memory *memory)
{
    uint32_t mode;
    assert_ok(hf_memory_owner(memory, NULL, NULL, &mode));
    return mode;
}

/* Bytes of memory that back the object. */
static uint64_t backing_of(const hf_memory *memory)
{
    struct stat st;
    assert_int_equal(fstat(hf_memory_descriptor(memory), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void put(const hf_memory *memory, const char *text, off_t offset)
{
    size_t length = strlen(text);
    assert_int_equal(pwrite(hf_memory_descriptor(memory), text, length, offset), length);
}

static void expect_text(const hf_memory *memory, const char *text, off_t offset)
{
    char got[64] = {0};
    size_t length = strlen(text);
    assert_true(length < sizeof got);
    assert_int_equal(pread(hf_memory_descriptor(memory), got, length, offset), length);
    assert_string_equal(got, text);
}

static void expect_zeros(const hf_memory *memory, uint64_t offset, size_t length)
{
    char *bytes = malloc(length);
    assert_non_null(bytes);
    assert_int_equal(pread(hf_memory_descriptor(memory), bytes, length, (off_t)offset), length);
    for (size_t i = 0; i < length; i++) {
        assert_int_equal(bytes[i], 0);
    }
    free(bytes);
}

static int find_name(const char *name, void *context)
{
    return strcmp(name, context) == 0 ? 1 : 0;
}

static bool is_listed(const char *name)
{
    return hf_shm_list(find_name, (void *)name) == 1;
}

/* A /dev/shm of this test alone, with that much room. */
static void private_shm(size_t bytes)
{
    private_mounts();
    mount_small_tmpfs("/dev/shm", bytes);
}

static uint64_t free_shm(void)
{
    struct statvfs st;
    assert_int_equal(statvfs("/dev/shm", &st), 0);
    return (uint64_t)st.f_bfree * st.f_frsize;
}

/* ---- creating, opening, removing --------------------------------------------------------- */

TEST(what_one_handle_writes_another_reads)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *made;
    hf_memory *opened;
    assert_ok(hf_shm_create(unique_name(name, "share"), 10000, NULL, &made));
    assert_ok(hf_shm_open(name, HF_READ_WRITE, &opened));
    put(made, "there", 5000);
    expect_text(opened, "there", 5000);
    put(opened, "and back", 0);
    expect_text(made, "and back", 0);
    assert_int_equal(size_of(opened), 10000);
    hf_memory_close(made);
    hf_memory_close(opened);
}

TEST(a_new_object_is_zero_and_wholly_reserved)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    assert_ok(hf_shm_create(unique_name(name, "zero"), 100 * KIB, NULL, &memory));
    assert_int_equal(size_of(memory), 100 * KIB);
    assert_true(backing_of(memory) >= 100 * KIB);
    expect_zeros(memory, 0, 100 * KIB);
    hf_memory_close(memory);
}

TEST(an_object_may_be_empty)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    assert_ok(hf_shm_create(unique_name(name, "empty"), 0, NULL, &memory));
    assert_int_equal(size_of(memory), 0);
    hf_memory_close(memory);
}

TEST(a_taken_name_is_eexist_and_the_object_stays_as_it_is)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *first;
    hf_memory *second = NULL;
    assert_ok(hf_shm_create(unique_name(name, "taken"), 4096, NULL, &first));
    put(first, "mine", 0);
    assert_error(hf_shm_create(name, 8192, NULL, &second), -EEXIST);
    assert_null(second);
    assert_int_equal(size_of(first), 4096);
    expect_text(first, "mine", 0);
    assert_true(is_listed(name));
    hf_memory_close(first);
}

TEST(a_missing_name_is_enoent)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory = NULL;
    unique_name(name, "missing");
    assert_error(hf_shm_open(name, HF_READ_WRITE, &memory), -ENOENT);
    assert_error(hf_shm_open(name, HF_READ_ONLY, &memory), -ENOENT);
    assert_error(hf_shm_remove(name), -ENOENT);
    assert_null(memory);
}

TEST(open_or_create_tells_which_it_did_and_keeps_what_is_there)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *first;
    hf_memory *second;
    hf_memory *third;
    bool created = false;
    const hf_memory_options wide = {.mode = 0666};
    const hf_memory_options narrow = {.mode = 0600};
    unique_name(name, "either");
    assert_ok(hf_shm_open_or_create(name, 4096, &wide, &created, &first));
    assert_true(created);
    put(first, "kept", 0);
    assert_ok(hf_shm_open_or_create(name, 8192, &narrow, &created, &second));
    assert_false(created);
    assert_int_equal(size_of(second), 4096);
    assert_int_equal(mode_of(second), 0666);
    assert_int_equal(hf_memory_access(second), HF_READ_WRITE);
    expect_text(second, "kept", 0);
    assert_ok(hf_shm_open_or_create(name, 8192, NULL, NULL, &third));
    hf_memory_close(first);
    hf_memory_close(second);
    hf_memory_close(third);
}

TEST(a_removed_object_stays_with_who_has_it_open)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *old;
    hf_memory *new;
    assert_ok(hf_shm_create(unique_name(name, "removed"), 4096, NULL, &old));
    put(old, "old", 0);
    assert_ok(hf_shm_remove(name));
    assert_false(is_listed(name));
    assert_error(hf_shm_open(name, HF_READ_ONLY, &new), -ENOENT);
    assert_ok(hf_shm_create(name, 4096, NULL, &new));
    put(new, "new", 0);
    expect_text(old, "old", 0);
    hf_memory_close(old);
    hf_memory_close(new);
}

TEST(a_read_only_handle_cannot_change_anything)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *made;
    hf_memory *reader;
    assert_ok(hf_shm_create(unique_name(name, "readonly"), 8192, NULL, &made));
    put(made, "fixed", 0);
    for (hf_access access = HF_READ_ONLY; access <= HF_COPY_ON_WRITE; access++) {
        assert_ok(hf_shm_open(name, access, &reader));
        assert_int_equal(hf_memory_access(reader), access);
        assert_int_equal(pwrite(hf_memory_descriptor(reader), "x", 1, 0), -1);
        assert_error(hf_memory_truncate(reader, 0), -EACCES);
        assert_error(hf_memory_truncate(reader, 16384), -EACCES);
        assert_error(hf_memory_reserve(reader, 0, 4096), -EACCES);
        assert_error(hf_memory_discard(reader, 0, 4096), -EACCES);
        assert_int_equal(size_of(reader), 8192);
        expect_text(reader, "fixed", 0);
        hf_memory_close(reader);
    }
    hf_memory_close(made);
}

TEST(a_descriptor_does_not_survive_exec)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    assert_ok(hf_shm_create(unique_name(name, "cloexec"), 1, NULL, &memory));
    assert_true((fcntl(hf_memory_descriptor(memory), F_GETFD) & FD_CLOEXEC) != 0);
    hf_memory_close(memory);
    assert_ok(hf_shm_open(name, HF_READ_ONLY, &memory));
    assert_true((fcntl(hf_memory_descriptor(memory), F_GETFD) & FD_CLOEXEC) != 0);
    hf_memory_close(memory);
    assert_ok(hf_anonymous_create(1, NULL, &memory));
    assert_true((fcntl(hf_memory_descriptor(memory), F_GETFD) & FD_CLOEXEC) != 0);
    hf_memory_close(memory);
}

/* ---- listing ----------------------------------------------------------------------------- */

static int count_until_third(const char *name, void *context)
{
    (void)name;
    return ++*(int *)context == 3 ? 42 : 0;
}

static int count_all(const char *name, void *context)
{
    assert_int_not_equal(name[0], '.');
    ++*(int *)context;
    return 0;
}

TEST(listing_names_every_object_and_nothing_else_and_stops_when_told)
{
    private_shm(1 * MIB);
    hf_memory *memory;
    int visits = 0;
    assert_ok(hf_shm_list(count_all, &visits));
    assert_int_equal(visits, 0);
    const char *names[] = {"one", "two", "three", "four"};
    for (size_t i = 0; i < 4; i++) {
        assert_ok(hf_shm_create(names[i], 1, NULL, &memory));
        hf_memory_close(memory);
        assert_true(is_listed(names[i]));
    }
    assert_int_equal(mkdir("/dev/shm/directory", 0700), 0);
    assert_int_equal(symlink("one", "/dev/shm/link"), 0);
    write_whole_file("/dev/shm/.hidden", "", 0);
    assert_ok(hf_shm_list(count_all, &visits));
    assert_int_equal(visits, 4);
    visits = 0;
    assert_int_equal(hf_shm_list(count_until_third, &visits), 42);
    assert_int_equal(visits, 3);
    assert_error(hf_shm_list(NULL, NULL), -EINVAL);
}

/* ---- names ------------------------------------------------------------------------------- */

static void every_function_refuses_the_name(const char *name, int error)
{
    hf_memory *memory = NULL;
    hf_memory *prepared;
    bool created;
    assert_error(hf_shm_create(name, 1, NULL, &memory), error);
    assert_error(hf_shm_open(name, HF_READ_ONLY, &memory), error);
    assert_error(hf_shm_open_or_create(name, 1, NULL, &created, &memory), error);
    assert_error(hf_shm_remove(name), error);
    assert_ok(hf_shm_prepare(1, NULL, &prepared));
    assert_error(hf_shm_publish(prepared, name), error);
    hf_memory_close(prepared);
    assert_null(memory);
}

TEST(a_bad_name_is_einval_everywhere)
{
    static const char *const bad[] = {
        NULL,           "",        ".",          "..",         ".hidden", "/",
        "/slash-first", "sla/sh",  "slash-end/", "../escape",  "ta\tb",   "new\nline",
        "bell\a",       "del\x7f", "\x01",       "esc\x1b[0m",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        every_function_refuses_the_name(bad[i], -EINVAL);
    }
}

TEST(a_name_may_have_250_bytes_and_no_more)
{
    char name[HF_SHM_NAME_MAX + 2];
    hf_memory *memory;
    unique_name(name, "long");
    size_t length = strlen(name);
    memset(name + length, 'x', sizeof name - 1 - length);
    name[HF_SHM_NAME_MAX] = 0;
    name[HF_SHM_NAME_MAX + 1] = 0;
    remove_shm_at_exit(name);
    assert_int_equal(strlen(name), 250);
    assert_ok(hf_shm_create(name, 1, NULL, &memory));
    hf_memory_close(memory);
    assert_true(is_listed(name));
    assert_ok(hf_shm_open(name, HF_READ_ONLY, &memory));
    hf_memory_close(memory);
    assert_ok(hf_shm_remove(name));
    name[HF_SHM_NAME_MAX] = 'y'; /* and the 0 that stands behind it */
    every_function_refuses_the_name(name, -ENAMETOOLONG);
}

TEST(a_name_may_have_blanks_and_any_other_bytes)
{
    private_shm(1 * MIB);
    static const char *const good[] = {"two words", "sch\xc3\xb6n", "\xff\xfe", "a..b",
                                       "-",         "$(x)"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        hf_memory *memory;
        assert_ok(hf_shm_create(good[i], 1, NULL, &memory));
        hf_memory_close(memory);
        assert_true(is_listed(good[i]));
        assert_ok(hf_shm_remove(good[i]));
    }
}

/* ---- permissions ------------------------------------------------------------------------- */

TEST(the_mode_is_honoured_whatever_the_umask)
{
    static const mode_t umasks[] = {0, 077, 0777, 022};
    static const uint32_t modes[] = {0640, 0666, 0400, 0777, 0600};
    for (size_t i = 0; i < sizeof umasks / sizeof umasks[0]; i++) {
        (void)umask(umasks[i]);
        for (size_t j = 0; j < sizeof modes / sizeof modes[0]; j++) {
            char name[UNIQUE_NAME_SIZE];
            hf_memory *memory;
            const hf_memory_options options = {.mode = modes[j]};
            assert_ok(hf_shm_create(unique_name(name, "mode"), 1, &options, &memory));
            assert_int_equal(mode_of(memory), modes[j]);
            hf_memory_close(memory);
        }
    }
}

TEST(without_a_mode_the_object_is_the_owners_alone)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    (void)umask(0);
    uint32_t user;
    uint32_t group;
    uint32_t mode;
    assert_ok(hf_shm_create(unique_name(name, "own"), 1, NULL, &memory));
    assert_ok(hf_memory_owner(memory, &user, &group, &mode));
    assert_int_equal(user, geteuid());
    assert_int_equal(group, getegid());
    assert_int_equal(mode, 0600);
    assert_ok(hf_memory_owner(memory, NULL, NULL, NULL));
    hf_memory_close(memory);
}

TEST(a_mode_beyond_0777_is_einval)
{
    const hf_memory_options options = {.mode = 01777};
    const char *path = path_in(temporary_directory(), "file");
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory = NULL;
    unique_name(name, "mode");
    assert_error(hf_shm_create(name, 1, &options, &memory), -EINVAL);
    assert_error(hf_shm_prepare(1, &options, &memory), -EINVAL);
    assert_error(hf_shm_open_or_create(name, 1, &options, NULL, &memory), -EINVAL);
    assert_error(hf_file_create(path, 1, &options, &memory), -EINVAL);
    assert_null(memory);
    assert_false(is_listed(name));
    assert_int_equal(access(path, F_OK), -1);
}

TEST(root_may_give_the_object_any_group)
{
    if (!is_root()) {
        SKIP("needs root");
    }
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    uint32_t group;
    const hf_memory_options options = {.mode = 0640, .group = 12345, .set_group = true};
    assert_ok(hf_shm_create(unique_name(name, "group"), 1, &options, &memory));
    assert_ok(hf_memory_owner(memory, NULL, &group, NULL));
    assert_int_equal(group, 12345);
    assert_int_equal(mode_of(memory), 0640);
    hf_memory_close(memory);
}

TEST(a_group_is_only_set_when_asked_for)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    uint32_t group;
    const hf_memory_options options = {.group = 12345};
    assert_ok(hf_shm_create(unique_name(name, "group"), 1, &options, &memory));
    assert_ok(hf_memory_owner(memory, NULL, &group, NULL));
    assert_int_equal(group, getegid());
    hf_memory_close(memory);
}

/* Not in a user namespace, where a group that it does not know is no group at all. */
TEST(a_group_that_is_not_the_users_is_eperm_and_leaves_nothing)
{
    bool alone = is_root();
    if (alone) {
        private_shm(1 * MIB);
        drop_privileges();
    }
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory = NULL;
    const hf_memory_options strange = {.group = getegid() + 1, .set_group = true};
    const hf_memory_options own = {.group = getegid(), .set_group = true};
    assert_error(hf_shm_create(unique_name(name, "group"), 1, &strange, &memory), -EPERM);
    assert_null(memory);
    assert_false(is_listed(name));
    if (alone) {
        assert_int_equal(count_entries("/dev/shm", ""), 0);
        assert_int_equal(free_shm(), 1 * MIB);
    }
    assert_ok(hf_shm_create(name, 1, &own, &memory));
    hf_memory_close(memory);
}

TEST(an_unprivileged_user_creates_opens_publishes_and_removes)
{
    private_shm(1 * MIB);
    drop_privileges();
    hf_memory *memory;
    hf_memory *reader;
    assert_ok(hf_shm_create("mine", 4096, NULL, &memory));
    assert_ok(hf_shm_open("mine", HF_READ_ONLY, &reader));
    hf_memory_close(memory);
    hf_memory_close(reader);
    assert_ok(hf_shm_prepare(4096, NULL, &memory));
    assert_ok(hf_shm_publish(memory, "also-mine"));
    hf_memory_close(memory);
    assert_ok(hf_shm_remove("mine"));
    assert_ok(hf_shm_remove("also-mine"));
    assert_int_equal(count_entries("/dev/shm", ""), 0);
}

TEST(another_users_object_is_eacces)
{
    if (!is_root()) {
        SKIP("needs root, to be two users");
    }
    char private_name[UNIQUE_NAME_SIZE];
    char readable_name[UNIQUE_NAME_SIZE];
    const hf_memory_options readable = {.mode = 0644};
    hf_memory *memory;
    assert_ok(hf_shm_create(unique_name(private_name, "theirs"), 1, NULL, &memory));
    hf_memory_close(memory);
    assert_ok(hf_shm_create(unique_name(readable_name, "read"), 1, &readable, &memory));
    hf_memory_close(memory);
    pid_t pid = fork(); /* stays root, to remove them in the end */
    if (pid != 0) {
        assert_int_equal(wait_child(pid), 0);
        return;
    }
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    drop_privileges();
    assert_error(hf_shm_open(private_name, HF_READ_WRITE, &memory), -EACCES);
    assert_error(hf_shm_open(private_name, HF_READ_ONLY, &memory), -EACCES);
    assert_error(hf_shm_open_or_create(private_name, 1, NULL, NULL, &memory), -EACCES);
    assert_error(hf_shm_create(private_name, 1, NULL, &memory), -EEXIST);
    assert_error(hf_shm_open(readable_name, HF_READ_WRITE, &memory), -EACCES);
    assert_ok(hf_shm_open(readable_name, HF_COPY_ON_WRITE, &memory));
    hf_memory_close(memory);
    assert_ok(hf_shm_open(readable_name, HF_READ_ONLY, &memory));
    hf_memory_close(memory);
    int removed = hf_shm_remove(private_name);
    assert_true(removed == -EACCES || removed == -EPERM);
    _exit(0);
}

/* ---- what others plant under a name ------------------------------------------------------ */

static void expect_planted(const char *name)
{
    hf_memory *memory = NULL;
    assert_error(hf_shm_open(name, HF_READ_WRITE, &memory), -EBADMSG);
    assert_error(hf_shm_open(name, HF_READ_ONLY, &memory), -EBADMSG);
    assert_error(hf_shm_open(name, HF_COPY_ON_WRITE, &memory), -EBADMSG);
    assert_error(hf_shm_open_or_create(name, 4096, NULL, NULL, &memory), -EBADMSG);
    assert_error(hf_shm_create(name, 4096, NULL, &memory), -EEXIST);
    assert_null(memory);
    assert_false(is_listed(name));
}

static const char *shm_path_of(const char *name)
{
    return path_in("/dev/shm", name);
}

TEST(a_planted_link_is_ebadmsg_and_not_followed)
{
    char name[UNIQUE_NAME_SIZE];
    const char *victim = path_in(temporary_directory(), "victim");
    write_whole_file(victim, "untouched", 9);
    assert_int_equal(symlink(victim, shm_path_of(unique_name(name, "link"))), 0);
    expect_planted(name);
    char *content = read_whole_file(victim, NULL);
    assert_string_equal(content, "untouched");
    free(content);
}

TEST(a_planted_link_to_nothing_creates_nothing_there)
{
    char name[UNIQUE_NAME_SIZE];
    const char *target = path_in(temporary_directory(), "target");
    assert_int_equal(symlink(target, shm_path_of(unique_name(name, "dangling"))), 0);
    expect_planted(name);
    assert_int_equal(access(target, F_OK), -1);
}

TEST(a_planted_fifo_is_ebadmsg_and_holds_nobody_up)
{
    char name[UNIQUE_NAME_SIZE];
    assert_int_equal(mkfifo(shm_path_of(unique_name(name, "fifo")), 0666), 0);
    expect_planted(name);
}

TEST(a_planted_directory_is_ebadmsg)
{
    char name[UNIQUE_NAME_SIZE];
    assert_int_equal(mkdir(shm_path_of(unique_name(name, "directory")), 0777), 0);
    expect_planted(name);
}

TEST(a_planted_socket_is_ebadmsg)
{
    char name[UNIQUE_NAME_SIZE];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s",
                   shm_path_of(unique_name(name, "socket")));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    expect_planted(name);
    (void)close(fd);
}

/* ---- sizes and space --------------------------------------------------------------------- */

TEST(growing_adds_reserved_zeros_and_shrinking_gives_memory_back)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    assert_ok(hf_shm_create(unique_name(name, "size"), 4096, NULL, &memory));
    put(memory, "first", 0);
    assert_ok(hf_memory_truncate(memory, 1 * MIB));
    assert_int_equal(size_of(memory), 1 * MIB);
    assert_true(backing_of(memory) >= 1 * MIB);
    expect_zeros(memory, 4096, 1 * MIB - 4096);
    put(memory, "last", 1 * MIB - 4);
    assert_ok(hf_memory_truncate(memory, 4096));
    assert_int_equal(size_of(memory), 4096);
    assert_true(backing_of(memory) <= 64 * KIB);
    expect_text(memory, "first", 0);
    assert_ok(hf_memory_truncate(memory, 1 * MIB));
    expect_zeros(memory, 4096, 1 * MIB - 4096);
    assert_ok(hf_memory_truncate(memory, 0));
    assert_int_equal(size_of(memory), 0);
    assert_int_equal(backing_of(memory), 0);
    hf_memory_close(memory);
}

TEST(growing_a_sparse_object_reserves_nothing)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    const hf_memory_options sparse = {.sparse = true};
    assert_ok(hf_shm_create(unique_name(name, "sparse"), 64 * MIB, &sparse, &memory));
    assert_int_equal(size_of(memory), 64 * MIB);
    assert_int_equal(backing_of(memory), 0);
    assert_ok(hf_memory_truncate(memory, 128 * MIB));
    assert_int_equal(size_of(memory), 128 * MIB);
    assert_int_equal(backing_of(memory), 0);
    hf_memory_close(memory);
}

TEST(reserve_backs_a_range_and_discard_gives_it_back_as_zeros)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    const hf_memory_options sparse = {.sparse = true};
    assert_ok(hf_shm_create(unique_name(name, "reserve"), 1 * MIB, &sparse, &memory));
    assert_ok(hf_memory_reserve(memory, 256 * KIB, 512 * KIB));
    assert_int_equal(backing_of(memory), 512 * KIB);
    put(memory, "gone", 256 * KIB);
    put(memory, "kept", 640 * KIB);
    assert_ok(hf_memory_reserve(memory, 0, 1 * MIB));
    expect_text(memory, "gone", 256 * KIB);
    assert_ok(hf_memory_discard(memory, 256 * KIB, 256 * KIB));
    assert_int_equal(backing_of(memory), 768 * KIB);
    expect_zeros(memory, 256 * KIB, 256 * KIB);
    expect_text(memory, "kept", 640 * KIB);
    assert_int_equal(size_of(memory), 1 * MIB);
    hf_memory_close(memory);
}

TEST(a_range_past_the_end_is_erange)
{
    static const struct {
        uint64_t offset;
        uint64_t length;
    } outside[] = {{0, 8193},
                   {8192, 1},
                   {8191, 2},
                   {0, UINT64_MAX},
                   {UINT64_MAX, 1},
                   {4096, UINT64_MAX - 4095},
                   {UINT64_MAX, UINT64_MAX}};
    hf_memory *memory;
    assert_ok(hf_anonymous_create(8192, NULL, &memory));
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_error(hf_memory_reserve(memory, outside[i].offset, outside[i].length), -ERANGE);
        assert_error(hf_memory_discard(memory, outside[i].offset, outside[i].length), -ERANGE);
    }
    assert_ok(hf_memory_reserve(memory, 8191, 1));
    assert_int_equal(size_of(memory), 8192);
    hf_memory_close(memory);
}

TEST(a_size_beyond_what_any_file_can_have_is_efbig)
{
    char name[UNIQUE_NAME_SIZE];
    const char *path = path_in(temporary_directory(), "file");
    const hf_memory_options sparse = {.sparse = true};
    hf_memory *memory = NULL;
    unique_name(name, "huge");
    for (int i = 0; i < 2; i++) {
        const hf_memory_options *options = i == 0 ? NULL : &sparse;
        assert_error(hf_shm_create(name, UINT64_MAX, options, &memory), -EFBIG);
        assert_error(hf_shm_create(name, UINT64_C(1) << 63, options, &memory), -EFBIG);
        assert_error(hf_file_create(path, UINT64_MAX, options, &memory), -EFBIG);
        assert_error(hf_anonymous_create(UINT64_MAX, options, &memory), -EFBIG);
    }
    assert_null(memory);
    assert_false(is_listed(name));
    assert_int_equal(access(path, F_OK), -1);
}

TEST(a_full_dev_shm_is_enospc_and_leaves_nothing)
{
    private_shm(64 * KIB);
    hf_memory *memory = NULL;
    assert_error(hf_shm_create("large", 1 * MIB, NULL, &memory), -ENOSPC);
    assert_error(hf_shm_open_or_create("large", 1 * MIB, NULL, NULL, &memory), -ENOSPC);
    assert_error(hf_shm_prepare(1 * MIB, NULL, &memory), -ENOSPC);
    assert_null(memory);
    assert_int_equal(count_entries("/dev/shm", ""), 0);
    assert_int_equal(free_shm(), 64 * KIB);
    assert_ok(hf_shm_create("fits", 64 * KIB, NULL, &memory));
    hf_memory_close(memory);
}

TEST(growing_in_a_full_dev_shm_is_enospc_and_changes_nothing)
{
    /* More than the library reserves in one step, so that one has succeeded when another fails. */
    private_shm(40 * MIB);
    hf_memory *memory;
    assert_ok(hf_shm_create("grows", 4096, NULL, &memory));
    put(memory, "here before", 100);
    uint64_t free_before = free_shm();
    static const uint64_t sizes[] = {40 * MIB + 1, 41 * MIB, 400 * MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_error(hf_memory_truncate(memory, sizes[i]), -ENOSPC);
        assert_int_equal(size_of(memory), 4096);
        assert_int_equal(free_shm(), free_before);
        expect_text(memory, "here before", 100);
    }
    assert_ok(hf_memory_truncate(memory, 40 * MIB));
    hf_memory_close(memory);
}

TEST(reserving_in_a_full_dev_shm_is_enospc_and_the_size_stays)
{
    private_shm(64 * KIB);
    hf_memory *memory;
    const hf_memory_options sparse = {.sparse = true};
    assert_ok(hf_shm_create("sparse", 1 * MIB, &sparse, &memory));
    put(memory, "kept", 0);
    assert_error(hf_memory_reserve(memory, 0, 1 * MIB), -ENOSPC);
    assert_int_equal(size_of(memory), 1 * MIB);
    expect_text(memory, "kept", 0);
    assert_ok(hf_memory_reserve(memory, 0, 32 * KIB));
    hf_memory_close(memory);
}

TEST(a_size_that_can_never_be_had_takes_no_memory_on_the_way_to_enospc)
{
    private_shm(40 * MIB);
    hf_memory *memory;
    int64_t cpu_before = cpu_ms();
    for (int i = 0; i < 50; i++) {
        assert_error(hf_shm_create("vast", UINT64_C(1) << 45, NULL, &memory), -ENOSPC);
    }
    /* Filling 40 MiB takes some 10 ms each time. */
    assert_true(cpu_ms() - cpu_before < 200);
    assert_int_equal(count_entries("/dev/shm", ""), 0);
}

/* ---- prepare and publish ----------------------------------------------------------------- */

TEST(what_was_prepared_is_there_for_whoever_opens_it)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *prepared;
    hf_memory *opened;
    const hf_memory_options options = {.mode = 0640};
    unique_name(name, "prepared");
    assert_ok(hf_shm_prepare(4096, &options, &prepared));
    put(prepared, "contents", 0);
    assert_error(hf_shm_open(name, HF_READ_ONLY, &opened), -ENOENT);
    assert_ok(hf_shm_publish(prepared, name));
    assert_ok(hf_shm_open(name, HF_READ_ONLY, &opened));
    expect_text(opened, "contents", 0);
    assert_int_equal(mode_of(opened), 0640);
    put(prepared, "later", 100);
    expect_text(opened, "later", 100);
    hf_memory_close(prepared);
    hf_memory_close(opened);
}

static void check_prepared_objects(void)
{
    hf_memory *prepared;
    hf_memory *other;
    assert_ok(hf_shm_prepare(64 * KIB, NULL, &prepared));
    hf_memory_close(prepared);
    assert_int_equal(count_entries("/dev/shm", ""), 0);
    assert_int_equal(free_shm(), 1 * MIB);

    assert_ok(hf_shm_create("taken", 1, NULL, &other));
    assert_ok(hf_shm_prepare(1, NULL, &prepared));
    assert_error(hf_shm_publish(prepared, "taken"), -EEXIST);
    assert_error(hf_shm_publish(prepared, ".bad"), -EINVAL);
    assert_ok(hf_shm_publish(prepared, "free"));
    assert_error(hf_shm_publish(prepared, "twice"), -EINVAL);
    assert_error(hf_shm_publish(other, "twice"), -EINVAL);
    hf_memory_close(prepared);
    hf_memory_close(other);
    assert_ok(hf_shm_open("free", HF_READ_WRITE, &other));
    assert_error(hf_shm_publish(other, "twice"), -EINVAL);
    hf_memory_close(other);
    assert_int_equal(count_entries("/dev/shm", ""), 2);
    assert_ok(hf_shm_remove("free"));
    assert_ok(hf_shm_remove("taken"));
}

TEST(a_prepared_object_is_published_once_or_leaves_nothing)
{
    private_shm(1 * MIB);
    check_prepared_objects();
}

/* The fallback for systems without unnamed files: nothing of it is to be seen afterwards. */
static void check_creation(void)
{
    hf_memory *memory;
    hf_memory *opened;
    const hf_memory_options options = {.mode = 0640};
    (void)umask(077);
    assert_ok(hf_shm_create("object", 10000, &options, &memory));
    assert_int_equal(count_entries("/dev/shm", ""), 1);
    put(memory, "text", 0);
    assert_ok(hf_shm_open("object", HF_READ_ONLY, &opened));
    expect_text(opened, "text", 0);
    assert_int_equal(size_of(opened), 10000);
    assert_int_equal(mode_of(opened), 0640);
    hf_memory_close(memory);
    hf_memory_close(opened);
    assert_error(hf_shm_create("object", 1, NULL, &memory), -EEXIST);
    assert_error(hf_shm_create("large", 4 * MIB, NULL, &memory), -ENOSPC);
    assert_int_equal(count_entries("/dev/shm", ""), 1);
    assert_ok(hf_shm_remove("object"));
    check_prepared_objects();
}

static void expect_temporary_names(bool expected)
{
    hf_memory *memory;
    assert_ok(hf_shm_prepare(1, NULL, &memory));
    assert_int_equal(count_entries("/dev/shm", ".holdfast-"), expected ? 1 : 0);
    hf_memory_close(memory);
}

TEST(without_unnamed_files_creation_works_the_same)
{
    private_shm(1 * MIB);
    expect_temporary_names(false);
    refuse_unnamed_files();
    expect_temporary_names(true);
    check_creation();
}

/* In a child: LeakSanitizer wants /proc at the end of ours. */
static int create_without_proc(void *unused)
{
    (void)unused;
    private_mounts(); /* ours keeps its /proc */
    mount_small_tmpfs("/proc", 4096);
    expect_temporary_names(true);
    check_creation();
    return 0;
}

TEST(without_proc_creation_works_the_same)
{
    private_shm(1 * MIB);
    assert_int_equal(run_child(create_without_proc, NULL), 0);
}

/* ---- files ------------------------------------------------------------------------------- */

TEST(a_file_is_created_opened_and_keeps_what_is_written)
{
    const char *path = path_in(temporary_directory(), "file");
    hf_memory *made;
    hf_memory *opened;
    const hf_memory_options options = {.mode = 0640};
    (void)umask(077);
    assert_ok(hf_file_create(path, 10000, &options, &made));
    assert_int_equal(size_of(made), 10000);
    assert_int_equal(mode_of(made), 0640);
    put(made, "on disk", 9000);
    hf_memory_close(made);
    assert_ok(hf_file_open(path, HF_READ_ONLY, &opened));
    expect_text(opened, "on disk", 9000);
    assert_error(hf_memory_truncate(opened, 0), -EACCES);
    hf_memory_close(opened);
    assert_ok(hf_file_open(path, HF_READ_WRITE, &opened));
    assert_ok(hf_memory_truncate(opened, 20000));
    assert_int_equal(size_of(opened), 20000);
    hf_memory_close(opened);
}

TEST(files_follow_links_and_shm_objects_do_not)
{
    const char *directory = temporary_directory();
    const char *path = path_in(directory, "file");
    const char *link = path_in(directory, "link");
    hf_memory *memory;
    assert_ok(hf_file_create(path, 1, NULL, &memory));
    hf_memory_close(memory);
    assert_int_equal(symlink(path, link), 0);
    assert_ok(hf_file_open(link, HF_READ_WRITE, &memory));
    hf_memory_close(memory);
    assert_error(hf_file_create(link, 1, NULL, &memory), -EEXIST);
}

TEST(files_that_cannot_be_say_why)
{
    const char *directory = temporary_directory();
    const char *path = path_in(directory, "file");
    hf_memory *memory = NULL;
    assert_error(hf_file_open(path, HF_READ_ONLY, &memory), -ENOENT);
    assert_error(hf_file_create(path_in(directory, "no/file"), 1, NULL, &memory), -ENOENT);
    assert_error(hf_file_open(path_in(directory, "no/file"), HF_READ_ONLY, &memory), -ENOENT);
    assert_ok(hf_file_create(path, 1, NULL, &memory));
    hf_memory_close(memory);
    memory = NULL;
    assert_error(hf_file_create(path, 1, NULL, &memory), -EEXIST);
    assert_error(hf_file_create(path_in(path, "below-a-file"), 1, NULL, &memory), -ENOENT);
    assert_error(hf_file_create(directory, 1, NULL, &memory), -EEXIST);
    assert_null(memory);
}

TEST(what_is_no_regular_file_is_ebadmsg)
{
    const char *directory = temporary_directory();
    const char *fifo = path_in(directory, "fifo");
    hf_memory *memory = NULL;
    assert_int_equal(mkfifo(fifo, 0666), 0);
    const char *others[] = {directory, fifo, "/dev/null"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_error(hf_file_open(others[i], HF_READ_WRITE, &memory), -EBADMSG);
        assert_error(hf_file_open(others[i], HF_READ_ONLY, &memory), -EBADMSG);
    }
    assert_null(memory);
}

TEST(a_full_disk_is_enospc_and_leaves_no_file)
{
    private_mounts();
    const char *directory = temporary_directory();
    mount_small_tmpfs(directory, 64 * KIB);
    hf_memory *memory;
    assert_error(hf_file_create(path_in(directory, "file"), 1 * MIB, NULL, &memory), -ENOSPC);
    assert_int_equal(count_entries(directory, ""), 0);
}

TEST(a_file_system_that_cannot_reserve_wants_sparse_files)
{
    const char *path = path_in(temporary_directory(), "file");
    hf_memory *memory;
    const hf_memory_options sparse = {.sparse = true};
    refuse_syscall(SYS_fallocate, EOPNOTSUPP);
    assert_error(hf_file_create(path, 4096, NULL, &memory), -EOPNOTSUPP);
    assert_int_equal(access(path, F_OK), -1);
    assert_ok(hf_file_create(path, 4096, &sparse, &memory));
    assert_int_equal(size_of(memory), 4096);
    hf_memory_close(memory);
}

TEST(a_file_of_another_user_is_eacces)
{
    if (!is_root()) {
        SKIP("needs root, to be two users");
    }
    const char *directory = temporary_directory();
    const char *path = path_in(directory, "file");
    assert_int_equal(chmod(directory, 0755), 0);
    write_whole_file(path, "x", 1);
    assert_int_equal(chmod(path, 0600), 0);
    pid_t pid = fork();
    if (pid != 0) {
        assert_int_equal(wait_child(pid), 0);
        return;
    }
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    hf_memory *memory;
    drop_privileges();
    assert_error(hf_file_open(path, HF_READ_ONLY, &memory), -EACCES);
    assert_error(hf_file_create(path_in(directory, "new"), 1, NULL, &memory), -EACCES);
    _exit(0);
}

/* ---- anonymous memory -------------------------------------------------------------------- */

static int answer_through_inherited(void *context)
{
    hf_memory *memory = context;
    expect_text(memory, "question", 0);
    put(memory, "answer", 100);
    return 0;
}

TEST(anonymous_memory_is_shared_over_fork)
{
    hf_memory *memory;
    assert_ok(hf_anonymous_create(4096, NULL, &memory));
    assert_int_equal(size_of(memory), 4096);
    assert_int_equal(backing_of(memory), 4096);
    put(memory, "question", 0);
    assert_int_equal(run_child(answer_through_inherited, memory), 0);
    expect_text(memory, "answer", 100);
    hf_memory_close(memory);
}

static int receive_and_answer(void *context)
{
    hf_memory *memory;
    unsigned seals;
    assert_ok(hf_memory_receive(*(int *)context, &memory));
    assert_int_equal(hf_memory_access(memory), HF_READ_WRITE);
    assert_int_equal(size_of(memory), 4096);
    assert_ok(hf_memory_seals(memory, &seals));
    assert_int_equal(seals, HF_SEAL_SHRINK);
    assert_error(hf_memory_truncate(memory, 4095), -EPERM);
    assert_true((fcntl(hf_memory_descriptor(memory), F_GETFD) & FD_CLOEXEC) != 0);
    int status = answer_through_inherited(memory);
    hf_memory_close(memory);
    return status;
}

TEST(anonymous_memory_goes_to_another_process_over_a_socket)
{
    int sockets[2];
    hf_memory *memory;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    pid_t pid = start_child(receive_and_answer, &sockets[1]); /* before there is anything */
    assert_ok(hf_anonymous_create(4096, NULL, &memory));
    put(memory, "question", 0);
    assert_ok(hf_memory_send(memory, sockets[0]));
    assert_int_equal(wait_child(pid), 0);
    expect_text(memory, "answer", 100);
    hf_memory_close(memory);
    (void)close(sockets[0]);
    (void)close(sockets[1]);
}

TEST(a_read_only_handle_is_read_only_for_who_receives_it)
{
    char name[UNIQUE_NAME_SIZE];
    int sockets[2];
    hf_memory *made;
    hf_memory *reader;
    hf_memory *received;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    assert_ok(hf_shm_create(unique_name(name, "sent"), 4096, NULL, &made));
    assert_ok(hf_shm_open(name, HF_READ_ONLY, &reader));
    assert_ok(hf_memory_send(reader, sockets[0]));
    assert_ok(hf_memory_receive(sockets[1], &received));
    assert_int_equal(hf_memory_access(received), HF_READ_ONLY);
    assert_error(hf_memory_truncate(received, 0), -EACCES);
    hf_memory_close(made);
    hf_memory_close(reader);
    hf_memory_close(received);
    (void)close(sockets[0]);
    (void)close(sockets[1]);
}

TEST(anonymous_memory_never_shrinks_and_grows_until_sealed)
{
    hf_memory *memory;
    unsigned seals;
    assert_ok(hf_anonymous_create(8192, NULL, &memory));
    assert_ok(hf_memory_seals(memory, &seals));
    assert_int_equal(seals, HF_SEAL_SHRINK);
    assert_error(hf_memory_truncate(memory, 8191), -EPERM);
    assert_int_equal(size_of(memory), 8192);
    assert_ok(hf_memory_truncate(memory, 16384));
    assert_ok(hf_memory_seal(memory, HF_SEAL_GROW));
    assert_error(hf_memory_truncate(memory, 16385), -EPERM);
    assert_int_equal(size_of(memory), 16384);
    assert_ok(hf_memory_seals(memory, &seals));
    assert_int_equal(seals, HF_SEAL_SHRINK | HF_SEAL_GROW);
    hf_memory_close(memory);
}

TEST(the_write_seal_waits_for_writers_and_then_holds)
{
    hf_memory *memory;
    assert_ok(hf_anonymous_create(4096, NULL, &memory));
    int fd = hf_memory_descriptor(memory);
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(mapped != MAP_FAILED);
    assert_error(hf_memory_seal(memory, HF_SEAL_WRITE), -EBUSY);
    assert_int_equal(munmap(mapped, 4096), 0);
    put(memory, "last words", 0);
    assert_ok(hf_memory_seal(memory, HF_SEAL_WRITE));
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_error(hf_memory_discard(memory, 0, 4096), -EPERM);
    expect_text(memory, "last words", 0);
    hf_memory_close(memory);
}

TEST(sealed_against_sealing_is_eperm)
{
    hf_memory *memory;
    unsigned seals;
    assert_ok(hf_anonymous_create(4096, NULL, &memory));
    assert_ok(hf_memory_seal(memory, HF_SEAL_SEAL));
    assert_error(hf_memory_seal(memory, HF_SEAL_GROW), -EPERM);
    assert_ok(hf_memory_seals(memory, &seals));
    assert_int_equal(seals, HF_SEAL_SHRINK | HF_SEAL_SEAL);
    hf_memory_close(memory);
}

TEST(what_is_not_anonymous_cannot_be_sealed)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *objects[2];
    unsigned seals;
    assert_ok(hf_shm_create(unique_name(name, "seal"), 4096, NULL, &objects[0]));
    assert_ok(hf_file_create(path_in(temporary_directory(), "f"), 4096, NULL, &objects[1]));
    for (int i = 0; i < 2; i++) {
        assert_error(hf_memory_seal(objects[i], HF_SEAL_SHRINK), -EOPNOTSUPP);
        assert_error(hf_memory_seals(objects[i], &seals), -EOPNOTSUPP);
        assert_ok(hf_memory_truncate(objects[i], 0));
        hf_memory_close(objects[i]);
    }
}

/* ---- receiving --------------------------------------------------------------------------- */

static void send_descriptors(int socket, const int *fds, size_t count)
{
    char byte = 'x';
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(8 * sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    assert_int_equal(sendmsg(socket, &message, 0), 1);
}

TEST(what_arrives_and_is_no_memory_is_ebadmsg_and_leaks_no_descriptor)
{
    int sockets[2];
    int fds[2];
    hf_memory *memory = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    unsigned before = count_entries("/proc/self/fd", "");
    assert_int_equal(write(sockets[0], "x", 1), 1);
    assert_error(hf_memory_receive(sockets[1], &memory), -EBADMSG);
    send_descriptors(sockets[0], fds, 1);
    assert_error(hf_memory_receive(sockets[1], &memory), -EBADMSG);
    for (size_t count = 2; count <= 8; count++) {
        const int many[8] = {fds[0], fds[1], fds[0], fds[1], fds[0], fds[1], fds[0], fds[1]};
        send_descriptors(sockets[0], many, count);
        assert_error(hf_memory_receive(sockets[1], &memory), -EBADMSG);
    }
    assert_null(memory);
    assert_int_equal(count_entries("/proc/self/fd", ""), before);
    (void)close(fds[0]);
    (void)close(fds[1]);
    (void)close(sockets[0]);
    (void)close(sockets[1]);
}

TEST(receiving_from_a_closed_socket_is_econnreset)
{
    int sockets[2];
    hf_memory *memory;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    (void)close(sockets[0]);
    assert_error(hf_memory_receive(sockets[1], &memory), -ECONNRESET);
    assert_ok(hf_anonymous_create(1, NULL, &memory));
    assert_error(hf_memory_send(memory, sockets[1]), -EPIPE); /* and no SIGPIPE */
    hf_memory_close(memory);
    (void)close(sockets[1]);
}

TEST(sending_and_receiving_over_what_is_no_socket_is_einval)
{
    hf_memory *memory;
    hf_memory *received;
    int file = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_true(file >= 0);
    assert_ok(hf_anonymous_create(1, NULL, &memory));
    assert_error(hf_memory_send(memory, -1), -EINVAL);
    assert_error(hf_memory_receive(-1, &received), -EINVAL);
    assert_error(hf_memory_send(memory, file), -EINVAL);
    assert_error(hf_memory_receive(file, &received), -EINVAL);
    hf_memory_close(memory);
    (void)close(file);
}

/* ---- arguments --------------------------------------------------------------------------- */

TEST(null_handles_and_outputs_are_einval)
{
    char name[UNIQUE_NAME_SIZE];
    const char *path = path_in(temporary_directory(), "file");
    uint64_t size;
    unsigned seals;
    unique_name(name, "null");
    assert_error(hf_shm_create(name, 1, NULL, NULL), -EINVAL);
    assert_error(hf_shm_open(name, HF_READ_WRITE, NULL), -EINVAL);
    assert_error(hf_shm_open_or_create(name, 1, NULL, NULL, NULL), -EINVAL);
    assert_error(hf_shm_prepare(1, NULL, NULL), -EINVAL);
    assert_error(hf_shm_publish(NULL, name), -EINVAL);
    assert_error(hf_file_create(path, 1, NULL, NULL), -EINVAL);
    assert_error(hf_file_open(path, HF_READ_WRITE, NULL), -EINVAL);
    assert_error(hf_anonymous_create(1, NULL, NULL), -EINVAL);
    assert_error(hf_memory_send(NULL, 0), -EINVAL);
    assert_error(hf_memory_receive(0, NULL), -EINVAL);
    assert_error(hf_memory_seal(NULL, HF_SEAL_GROW), -EINVAL);
    assert_error(hf_memory_seals(NULL, &seals), -EINVAL);
    assert_error(hf_memory_size(NULL, &size), -EINVAL);
    assert_error(hf_memory_truncate(NULL, 1), -EINVAL);
    assert_error(hf_memory_reserve(NULL, 0, 1), -EINVAL);
    assert_error(hf_memory_discard(NULL, 0, 1), -EINVAL);
    assert_error(hf_memory_owner(NULL, NULL, NULL, NULL), -EINVAL);
    assert_error(hf_memory_descriptor(NULL), -EINVAL);
    hf_memory_close(NULL);
    assert_false(is_listed(name));
    assert_int_equal(access(path, F_OK), -1);
}

TEST(unknown_accesses_seals_and_null_paths_are_einval)
{
    char name[UNIQUE_NAME_SIZE];
    hf_memory *memory;
    hf_memory *opened = NULL;
    assert_ok(hf_shm_create(unique_name(name, "bad"), 1, NULL, &memory));
    assert_error(hf_shm_open(name, (hf_access)3, &opened), -EINVAL);
    assert_error(hf_shm_open(name, (hf_access)-1, &opened), -EINVAL);
    assert_error(hf_file_open("/dev/null", (hf_access)7, &opened), -EINVAL);
    assert_error(hf_file_open(NULL, HF_READ_WRITE, &opened), -EINVAL);
    assert_error(hf_file_create(NULL, 1, NULL, &opened), -EINVAL);
    assert_error(hf_memory_size(memory, NULL), -EINVAL);
    assert_error(hf_memory_seals(memory, NULL), -EINVAL);
    assert_error(hf_memory_seal(memory, 0), -EINVAL);
    assert_error(hf_memory_seal(memory, 16), -EINVAL);
    assert_null(opened);
    hf_memory_close(memory);
}

static int open_without_descriptors(void *unused)
{
    (void)unused;
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    hf_memory *memory = NULL;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_error(hf_shm_create("object", 1, NULL, &memory), -EMFILE);
    assert_error(hf_shm_open("there", HF_READ_ONLY, &memory), -EMFILE);
    assert_error(hf_shm_open_or_create("there", 1, NULL, NULL, &memory), -EMFILE);
    assert_error(hf_anonymous_create(1, NULL, &memory), -EMFILE);
    assert_error(hf_file_open("/dev/shm/there", HF_READ_ONLY, &memory), -EMFILE);
    assert_null(memory);
    assert_int_equal(access("/dev/shm/object", F_OK), -1);
    return 0;
}

TEST(too_many_open_files_is_emfile_and_leaves_nothing)
{
    private_shm(1 * MIB);
    hf_memory *memory;
    assert_ok(hf_shm_create("there", 1, NULL, &memory));
    hf_memory_close(memory);
    assert_int_equal(run_child(open_without_descriptors, NULL), 0);
}
