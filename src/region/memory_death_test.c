/* SPDX-License-Identifier: MIT */
/* Memory objects under races and kills: others see no object, or the whole one. */
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/atomic.h"
#include "holdfast/memory.h"
#include "support/support.h"

#define OBJECT_SIZE UINT64_C(65536)
#define OBJECT_MODE 0640u

static void private_shm(void)
{
    private_mounts();
    mount_small_tmpfs("/dev/shm", 4 << 20);
}

/* Memory that children share with us, apart from what is tested. */
static void *shared_bytes(size_t size)
{
    void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(bytes != MAP_FAILED);
    return bytes;
}

static const hf_memory_options with_mode = {.mode = OBJECT_MODE};

/* Creates and removes one object for ever. */
_Noreturn static int create_and_remove(void *name)
{
    hf_memory *memory;
    (void)umask(077);
    for (;;) {
        assert_ok(hf_shm_create(name, OBJECT_SIZE, &with_mode, &memory));
        hf_memory_close(memory);
        assert_ok(hf_shm_remove(name));
    }
}

static void expect_whole(const hf_memory *memory)
{
    uint64_t size;
    uint32_t mode;
    assert_ok(hf_memory_size(memory, &size));
    assert_ok(hf_memory_owner(memory, NULL, NULL, &mode));
    assert_int_equal(size, OBJECT_SIZE);
    assert_int_equal(mode, OBJECT_MODE);
}

static void openers_see_whole_objects(void)
{
    char name[UNIQUE_NAME_SIZE];
    pid_t creator = start_child(create_and_remove, (void *)unique_name(name, "atomic"));
    unsigned opened = 0;
    int64_t enough = now_ms() + 500;
    int64_t too_long = now_ms() + 10000;
    while (now_ms() < enough || (opened < 100 && now_ms() < too_long)) {
        hf_memory *memory;
        int error = hf_shm_open(name, HF_READ_WRITE, &memory);
        if (error == -ENOENT) {
            continue;
        }
        assert_ok(error);
        expect_whole(memory);
        hf_memory_close(memory);
        opened++;
    }
    assert_true(opened >= 100);
    assert_int_equal(kill_and_reap(creator), -SIGKILL); /* and not an assertion before */
}

TEST(who_opens_while_others_create_sees_whole_objects_only)
{
    openers_see_whole_objects();
}

TEST(who_opens_while_others_create_sees_whole_objects_without_unnamed_files_too)
{
    private_shm(); /* a creator killed in the fallback leaves its temporary file */
    refuse_unnamed_files();
    openers_see_whole_objects();
}

static int entry_is_the_whole_object(const char *name, void *expected)
{
    hf_memory *memory;
    assert_string_equal(name, expected);
    assert_ok(hf_shm_open(name, HF_READ_WRITE, &memory));
    expect_whole(memory);
    hf_memory_close(memory);
    return 0;
}

TEST(a_creator_killed_at_any_moment_leaves_whole_objects_or_nothing)
{
    private_shm();
    char name[UNIQUE_NAME_SIZE];
    unsigned left = 0;
    unique_name(name, "killed");
    for (int i = 0; i < 300; i++) {
        pid_t creator = start_child(create_and_remove, name);
        (void)usleep((useconds_t)random_below(3000));
        assert_int_equal(kill_and_reap(creator), -SIGKILL);
        assert_ok(hf_shm_list(entry_is_the_whole_object, name));
        unsigned entries = count_entries("/dev/shm", "");
        assert_int_equal(entries, count_entries("/dev/shm", name)); /* so no temporary ones */
        if (entries > 0) {
            left++;
            assert_ok(hf_shm_remove(name));
        }
        struct statvfs st;
        assert_int_equal(statvfs("/dev/shm", &st), 0);
        assert_int_equal(st.f_bfree, st.f_blocks);
    }
    print_message("%u of 300 kills left the object\n", left);
}

/* Creates a file in one step and in two, by turns, and removes it, for ever. */
_Noreturn static int create_and_remove_file(void *path)
{
    hf_memory *memory;
    (void)umask(077);
    for (unsigned turn = 0;; turn++) {
        if (turn % 2 == 0) {
            assert_ok(hf_file_create(path, OBJECT_SIZE, &with_mode, &memory));
        } else {
            assert_ok(hf_file_prepare(path, OBJECT_SIZE, &with_mode, &memory));
            assert_int_equal(pwrite(hf_memory_descriptor(memory), "whole", 5, 0), 5);
            assert_ok(hf_file_publish(memory, path));
        }
        hf_memory_close(memory);
        assert_int_equal(unlink(path), 0);
    }
}

static void expect_whole_file(const char *path)
{
    hf_memory *memory;
    char bytes[5];
    assert_ok(hf_file_open(path, HF_READ_WRITE, &memory));
    expect_whole(memory);
    assert_int_equal(pread(hf_memory_descriptor(memory), bytes, 5, 0), 5);
    assert_true(memcmp(bytes, "whole", 5) == 0 || memcmp(bytes, "\0\0\0\0\0", 5) == 0);
    hf_memory_close(memory);
}

TEST(a_file_creator_killed_at_any_moment_leaves_whole_files_or_nothing)
{
    const char *directory = temporary_directory();
    char path[256];
    unsigned left = 0;
    private_mounts();
    mount_small_tmpfs(directory, 4 << 20);
    (void)snprintf(path, sizeof path, "%s/killed", directory);
    for (int i = 0; i < 300; i++) {
        pid_t creator = start_child(create_and_remove_file, path);
        (void)usleep((useconds_t)random_below(3000));
        assert_int_equal(kill_and_reap(creator), -SIGKILL);
        unsigned entries = count_entries(directory, "");
        assert_int_equal(entries, count_entries(directory, "killed")); /* so no temporary ones */
        if (entries > 0) {
            left++;
            expect_whole_file(path);
            assert_int_equal(unlink(path), 0);
        }
        struct statvfs st;
        assert_int_equal(statvfs(directory, &st), 0);
        assert_int_equal(st.f_bfree, st.f_blocks);
    }
    print_message("%u of 300 kills left the file\n", left);
}

_Noreturn static int prepare_and_wait(void *ready)
{
    hf_memory *memory;
    assert_ok(hf_shm_prepare(OBJECT_SIZE, &with_mode, &memory));
    store_release((_Atomic int *)ready, 1);
    for (;;) {
        (void)pause();
    }
}

static bool is_set(void *flag)
{
    return load_acquire((_Atomic int *)flag) != 0;
}

TEST(a_preparer_killed_before_it_publishes_leaves_nothing)
{
    private_shm();
    _Atomic int *ready = shared_bytes(sizeof *ready);
    pid_t preparer = start_child(prepare_and_wait, ready);
    assert_true(wait_until(is_set, ready, 10000));
    assert_int_equal(count_entries("/dev/shm", ""), 0);
    assert_int_equal(kill_and_reap(preparer), -SIGKILL);
    assert_int_equal(count_entries("/dev/shm", ""), 0);
    struct statvfs st;
    assert_int_equal(statvfs("/dev/shm", &st), 0);
    assert_int_equal(st.f_bfree, st.f_blocks);
}

/* ---- races ------------------------------------------------------------------------------- */

#define ROUNDS 1000

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
            (void)sched_yield();
        }
    }
}

static void run_race(struct race *race, unsigned who)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        char name[UNIQUE_NAME_SIZE + 16];
        bool created = false;
        hf_memory *memory;
        (void)snprintf(name, sizeof name, "%s-%u", race->prefix, round);
        meet(race, 2 * round);
        assert_ok(hf_shm_open_or_create(name, OBJECT_SIZE, &with_mode, &created, &memory));
        expect_whole(memory);
        race->created[who] += created;
        hf_memory_close(memory);
        meet(race, 2 * round + 1);
        if (created) { /* the other is done with it too */
            assert_ok(hf_shm_remove(name));
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

_Noreturn static int remove_for_ever(void *name)
{
    for (;;) {
        int error = hf_shm_remove(name);
        assert_true(error == 0 || error == -ENOENT);
    }
}

TEST(open_or_create_gives_an_object_while_another_keeps_removing_it)
{
    char name[UNIQUE_NAME_SIZE];
    pid_t remover = start_child(remove_for_ever, (void *)unique_name(name, "remove"));
    for (int i = 0; i < 5000; i++) {
        hf_memory *memory;
        assert_ok(hf_shm_open_or_create(name, OBJECT_SIZE, &with_mode, NULL, &memory));
        expect_whole(memory);
        hf_memory_close(memory);
    }
    assert_int_equal(kill_and_reap(remover), -SIGKILL);
}
