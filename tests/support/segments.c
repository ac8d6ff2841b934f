/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "support/segments.h"

struct data *root_of(hf_segment *segment)
{
    void *root;
    assert_ok(hf_segment_root(segment, sizeof(struct data), &root));
    return root;
}

void set_value(hf_segment *segment, uint64_t value)
{
    struct data *data = root_of(segment);
    assert_ok(hf_mutex_lock(&data->mutex));
    data->value = value;
    assert_ok(hf_mutex_unlock(&data->mutex));
}

uint64_t value_of(hf_segment *segment)
{
    struct data *data = root_of(segment);
    assert_ok(hf_mutex_lock(&data->mutex));
    uint64_t value = data->value;
    assert_ok(hf_mutex_unlock(&data->mutex));
    return value;
}

void expect_working(hf_segment *segment)
{
    struct data *data = root_of(segment);
    set_value(segment, 11);
    assert_int_equal(value_of(segment), 11);
    uint64_t used = info_of(segment).used;
    assert_ok(hf_pages_alloc(segment, PAGE, &data->link));
    memset(hf_segment_at(segment, data->link), 0x5a, PAGE);
    assert_int_equal(info_of(segment).used, used + PAGE);
    assert_ok(hf_pages_free(segment, PAGE, &data->link));
    assert_int_equal(data->link.value, 0);
    assert_ok(hf_tx_begin(segment));
    assert_ok(hf_tx_add(segment, &data->value, sizeof data->value));
    data->value = 12;
    assert_ok(hf_tx_abort(segment));
    assert_int_equal(value_of(segment), 11);
    assert_int_equal(info_of(segment).used, used);
}

hf_segment_info info_of(hf_segment *segment)
{
    hf_segment_info info;
    assert_ok(hf_segment_get_info(segment, &info));
    return info;
}

void private_shm(size_t bytes)
{
    private_mounts();
    mount_small_tmpfs("/dev/shm", bytes);
}

uint64_t free_shm(void)
{
    struct statvfs st;
    assert_int_equal(statvfs("/dev/shm", &st), 0);
    return (uint64_t)st.f_bfree * st.f_frsize;
}

const char *new_path(void)
{
    static char paths[32][256];
    static unsigned next;
    assert_true(next < 32);
    char *path = paths[next++];
    (void)snprintf(path, sizeof paths[0], "%s/segment", temporary_directory());
    return path;
}

void *shared_bytes(size_t size)
{
    void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(bytes != MAP_FAILED);
    return bytes;
}

static bool is_set(void *flag)
{
    return load_acquire((_Atomic int *)flag) != 0;
}

void await_flag(_Atomic int *flag)
{
    assert_true(wait_until(is_set, flag, 10000));
}

void poke(const char *path, uint64_t offset, const void *bytes, size_t length)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, length, (off_t)offset), length);
    assert_int_equal(close(fd), 0);
}

void peek(const char *path, uint64_t offset, void *bytes, size_t length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, length, (off_t)offset), length);
    assert_int_equal(close(fd), 0);
}
