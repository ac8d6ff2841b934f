/* SPDX-License-Identifier: MIT */
/* The contract of os.h on Linux, 3.15 and later. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "os/os.h"

#define SHM_DIRECTORY "/dev/shm"
/* /proc/self has none once the process's first thread has ended. */
#define DESCRIPTORS "/proc/thread-self/fd"

/* A large reservation is made in steps, so that others who want to grow are not held up for the
   whole of it, and so that a signal that interrupts it costs one step. */
#define RESERVE_STEP (UINT64_C(16) << 20)

/* The last system call's errno as the contract wants it. */
static int failure(void)
{
    if (errno == EOVERFLOW) { /* means something else in the table */
        return -EFBIG;
    }
    switch (errno) {
#define KNOWN(number, name, text) case name:
        HF_ERROR_TABLE(KNOWN)
#undef KNOWN
        return -errno;
    case EDQUOT:
        return -ENOSPC;
    case EROFS:
        return -EACCES;
    case ENOTDIR:
        return -ENOENT;
    case ENOSYS:
        return -EOPNOTSUPP;
    default:
        return -EIO;
    }
}

/* ---- the machine ------------------------------------------------------------------------- */

size_t os_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

unsigned os_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        return (unsigned)CPU_COUNT(&set);
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : (unsigned)online;
}

uint64_t os_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void os_random(void *bytes, size_t length)
{
    if (getrandom(bytes, length, 0) != (ssize_t)length) {
        uint64_t weak = os_now_ns() ^ ((uint64_t)getpid() << 32); /* better than nothing */
        memcpy(bytes, &weak, length < sizeof weak ? length : sizeof weak);
    }
}

static bool read_boot_id(uint64_t id[2])
{
    char text[40] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    bool got = file != NULL && fgets(text, sizeof text, file) != NULL;
    if (file != NULL) {
        (void)fclose(file);
    }
    id[0] = 0;
    id[1] = 0;
    unsigned digits = 0;
    for (const char *c = text; got && *c != 0; c++) {
        const char *hex = "0123456789abcdef";
        const char *digit = strchr(hex, *c);
        if (digit != NULL) {
            id[digits / 16 % 2] = id[digits / 16 % 2] << 4 | (uint64_t)(digit - hex);
            digits++;
        }
    }
    return digits == 32;
}

bool os_boot_id(uint64_t id[2])
{
    static uint64_t known[2];
    static _Atomic uint32_t ready; /* 1: known, 2: not to be had */
    uint32_t state = load_acquire(&ready);
    if (state == 0) {
        uint64_t read[2];
        static _Atomic uint32_t writing;
        uint32_t nobody = 0;
        state = read_boot_id(read) ? 1 : 2;
        if (cas_acquire(&writing, &nobody, 1)) {
            memcpy(known, read, sizeof known);
            store_release(&ready, state);
        } else {
            memcpy(id, read, sizeof read);
            return state == 1;
        }
    }
    memcpy(id, known, sizeof known);
    return state == 1;
}

/* ---- naming and opening ------------------------------------------------------------------ */

static int open_again(const char *path, int flags, mode_t mode, int *fd)
{
    int opened;
    do {
        opened = open(path, flags | O_CLOEXEC, mode);
    } while (opened < 0 && errno == EINTR);
    if (opened < 0) {
        return failure();
    }
    *fd = opened;
    return 0;
}

static void shm_path(char path[PATH_MAX], const char *name)
{
    (void)snprintf(path, PATH_MAX, SHM_DIRECTORY "/%s", name);
}

/* A temporary name, for file systems without O_TMPFILE (some sandboxes). */
static int prepare_named(char temporary[OS_TEMPORARY_SIZE], int *fd)
{
    uint64_t random[2];
    os_random(random, sizeof random);
    (void)snprintf(temporary, OS_TEMPORARY_SIZE, ".holdfast-%016llx%016llx",
                   (unsigned long long)random[0], (unsigned long long)random[1]);
    char path[PATH_MAX];
    shm_path(path, temporary);
    int error = open_again(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, fd);
    if (error != 0) {
        temporary[0] = 0;
    }
    return error;
}

int os_shm_prepare(char temporary[OS_TEMPORARY_SIZE], int *fd)
{
    temporary[0] = 0;
    /* An unnamed file is given its name through /proc. */
    if (access(DESCRIPTORS, X_OK) == 0) {
        int error = open_again(SHM_DIRECTORY, O_RDWR | O_TMPFILE, 0600, fd);
        /* EISDIR, here EIO, is what a kernel or sandbox that has never heard of it answers. */
        if (error != -EOPNOTSUPP && error != -EINVAL && error != -EIO) {
            return error;
        }
    }
    return prepare_named(temporary, fd);
}

int os_shm_publish(int fd, char temporary[OS_TEMPORARY_SIZE], const char *name)
{
    char path[PATH_MAX];
    char from[PATH_MAX];
    shm_path(path, name);
    if (temporary[0] != 0) {
        shm_path(from, temporary);
    } else {
        (void)snprintf(from, sizeof from, DESCRIPTORS "/%d", fd);
    }
    if (linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0) {
        return failure();
    }
    os_shm_discard(temporary);
    return 0;
}

void os_shm_discard(char temporary[OS_TEMPORARY_SIZE])
{
    if (temporary[0] != 0) {
        char path[PATH_MAX];
        shm_path(path, temporary);
        (void)unlink(path);
        temporary[0] = 0;
    }
}

int os_shm_open(const char *name, bool writable, int *fd)
{
    char path[PATH_MAX];
    shm_path(path, name);
    /* O_NONBLOCK: a FIFO planted under the name must not hold us up. */
    int opened = -1;
    int flags = (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int error = open_again(path, flags, 0, &opened);
    if (error != 0) {
        struct stat planted;
        bool other = lstat(path, &planted) == 0 && !S_ISREG(planted.st_mode);
        return other ? -EBADMSG : error;
    }
    struct stat st;
    if (fstat(opened, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(opened);
        return -EBADMSG;
    }
    *fd = opened;
    return 0;
}

static os_info to_info(const struct stat *st)
{
    return (os_info){.size = (uint64_t)st->st_size,
                     .device = (uint64_t)st->st_dev,
                     .inode = (uint64_t)st->st_ino,
                     .owner = st->st_uid,
                     .group = st->st_gid,
                     .mode = st->st_mode & 07777,
                     .regular = S_ISREG(st->st_mode)};
}

int os_shm_info(const char *name, os_info *info)
{
    char path[PATH_MAX];
    struct stat st;
    shm_path(path, name);
    if (lstat(path, &st) != 0) {
        return failure();
    }
    *info = to_info(&st);
    return 0;
}

int os_shm_remove(const char *name)
{
    char path[PATH_MAX];
    shm_path(path, name);
    return os_file_remove(path);
}

int os_shm_list(int (*visit)(const char *name, void *context), void *context)
{
    os_quiet quiet;
    os_quiet_begin(&quiet); /* it allocates */
    DIR *directory = opendir(SHM_DIRECTORY);
    int result = directory == NULL ? failure() : 0;
    os_quiet_end(&quiet);
    if (directory == NULL) {
        return result;
    }
    for (struct dirent *entry; result == 0 && (entry = readdir(directory)) != NULL;) {
        struct stat st;
        if (entry->d_name[0] != '.' &&
            fstatat(dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode)) {
            result = visit(entry->d_name, context);
        }
    }
    os_quiet_begin(&quiet);
    (void)closedir(directory);
    os_quiet_end(&quiet);
    return result;
}

int os_file_create(const char *path, int *fd)
{
    return open_again(path, O_RDWR | O_CREAT | O_EXCL, 0600, fd);
}

int os_file_open(const char *path, bool writable, int *fd)
{
    int error = open_again(path, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY, 0, fd);
    if (error == -EIO) { /* a directory or a socket, most likely, which open refuses to touch */
        struct stat st;
        return stat(path, &st) == 0 && !S_ISREG(st.st_mode) ? -EBADMSG : error;
    }
    return error;
}

int os_file_remove(const char *path)
{
    return unlink(path) == 0 ? 0 : failure();
}

/* Writes "<the path's directory>/.holdfast-<random>", or the directory alone. */
static int beside(const char *path, bool directory_only, char out[OS_PATH_SIZE])
{
    const char *slash = strrchr(path, '/');
    int length = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);
    const char *directory = slash == NULL ? "." : path;
    uint64_t random;
    os_random(&random, sizeof random);
    int n = directory_only ? snprintf(out, OS_PATH_SIZE, "%.*s", length, directory)
                           : snprintf(out, OS_PATH_SIZE, "%.*s/.holdfast-%016llx", length,
                                      directory, (unsigned long long)random);
    return n < OS_PATH_SIZE ? 0 : -ENAMETOOLONG;
}

int os_file_prepare(const char *path, char temporary[OS_PATH_SIZE], int *fd)
{
    int error = beside(path, true, temporary);
    if (error == 0 && access(DESCRIPTORS, X_OK) == 0) {
        error = open_again(temporary, O_RDWR | O_TMPFILE, 0600, fd);
        if (error != -EOPNOTSUPP && error != -EINVAL && error != -EIO) {
            temporary[0] = 0;
            return error;
        }
    }
    error = beside(path, false, temporary);
    if (error == 0) {
        error = open_again(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, fd);
    }
    if (error != 0) {
        temporary[0] = 0;
    }
    return error;
}

int os_file_publish(int fd, char temporary[OS_PATH_SIZE], const char *path)
{
    char from[64];
    (void)snprintf(from, sizeof from, DESCRIPTORS "/%d", fd);
    if (linkat(AT_FDCWD, temporary[0] != 0 ? temporary : from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) !=
        0) {
        return failure();
    }
    os_file_discard(temporary);
    return 0;
}

void os_file_discard(char temporary[OS_PATH_SIZE])
{
    if (temporary[0] != 0) {
        (void)unlink(temporary);
        temporary[0] = 0;
    }
}

bool os_file_leads_nowhere(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && stat(path, &st) != 0 && errno == ENOENT;
}

int os_file_info(const char *path, os_info *info)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        return failure();
    }
    *info = to_info(&st);
    return 0;
}

int os_anonymous_create(const char *label, int *fd)
{
    int created = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (created < 0) {
        return failure();
    }
    *fd = created;
    return 0;
}

/* ---- what is open ------------------------------------------------------------------------ */

int os_info_get(int fd, os_info *info)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) != 0) {
        return failure();
    }
    *info = to_info(&st);
    info->writable = (flags & O_ACCMODE) != O_RDONLY;
    return 0;
}

int os_close(int fd)
{
    /* Linux closes the descriptor even when it answers EINTR: never repeat it. */
    return close(fd) == 0 || errno == EINTR ? 0 : failure();
}

int os_reopen(int fd, bool writable, int *out)
{
    char path[64];
    (void)snprintf(path, sizeof path, DESCRIPTORS "/%d", fd);
    int error = open_again(path, writable ? O_RDWR : O_RDONLY, 0, out);
    return error == -ENOENT ? -EOPNOTSUPP : error; /* no /proc here */
}

static bool size_too_large(uint64_t size)
{
    return size > (uint64_t)INT64_MAX || (sizeof(off_t) < 8 && size > (uint64_t)LONG_MAX);
}

int os_resize(int fd, uint64_t size)
{
    if (size_too_large(size)) {
        return -EFBIG;
    }
    int result;
    do {
        result = ftruncate(fd, (off_t)size);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : failure();
}

/* More than the whole file system, or, of memory without a limit, than the whole machine has? */
bool os_never_to_be_had(int fd, uint64_t length)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0 || fs.f_bsize <= 0) {
        return false;
    }
    if (fs.f_blocks != 0) {
        return length / (uint64_t)fs.f_bsize > fs.f_blocks;
    }
    struct sysinfo machine;
    return fs.f_type == TMPFS_MAGIC && sysinfo(&machine) == 0 &&
           length / machine.mem_unit > (uint64_t)machine.totalram + machine.totalswap;
}

int os_reserve(int fd, uint64_t offset, uint64_t length)
{
    if (length > UINT64_MAX - offset || size_too_large(offset + length)) {
        return -EFBIG;
    }
    /* The steps would take all there is on the way to failing. */
    if (os_never_to_be_had(fd, length)) {
        return -ENOSPC;
    }
    while (length > 0) {
        uint64_t step = length < RESERVE_STEP ? length : RESERVE_STEP;
        if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)step) == 0) {
            offset += step;
            length -= step;
        } else if (errno != EINTR) {
            return failure();
        }
    }
    return 0;
}

int os_punch(int fd, uint64_t offset, uint64_t length)
{
    if (length > UINT64_MAX - offset || size_too_large(offset + length)) {
        return -EFBIG;
    }
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    int result;
    do {
        result = fallocate(fd, mode, (off_t)offset, (off_t)length);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : failure();
}

int os_set_mode(int fd, uint32_t mode)
{
    return fchmod(fd, (mode_t)mode) == 0 ? 0 : failure();
}

int os_set_group(int fd, uint32_t group)
{
    return fchown(fd, (uid_t)-1, (gid_t)group) == 0 ? 0 : failure();
}

/*
 * Files in memory that were not made to be sealed (/dev/shm's) carry this seal from birth. Our own
 * anonymous memory is sealed against shrinking as well, whatever else is added.
 */
static bool never_sealable(int fd)
{
    return fcntl(fd, F_GET_SEALS) == F_SEAL_SEAL;
}

int os_seal(int fd, unsigned seals)
{
    int bits =
        (seals & OS_SEAL_SHRINK ? F_SEAL_SHRINK : 0) | (seals & OS_SEAL_GROW ? F_SEAL_GROW : 0) |
        (seals & OS_SEAL_WRITE ? F_SEAL_WRITE : 0) | (seals & OS_SEAL_SEAL ? F_SEAL_SEAL : 0);
    if (fcntl(fd, F_ADD_SEALS, bits) == 0) {
        return 0;
    }
    int error = failure();
    /* EINVAL: not anonymous memory */
    return error == -EINVAL || (error == -EPERM && never_sealable(fd)) ? -EOPNOTSUPP : error;
}

int os_seals_get(int fd, unsigned *seals)
{
    int bits = fcntl(fd, F_GET_SEALS);
    if (bits < 0) {
        return errno == EINVAL ? -EOPNOTSUPP : failure();
    }
    if (bits == F_SEAL_SEAL) {
        return -EOPNOTSUPP; /* see never_sealable */
    }
    *seals = (bits & F_SEAL_SHRINK ? OS_SEAL_SHRINK : 0u) |
             (bits & F_SEAL_GROW ? OS_SEAL_GROW : 0u) | (bits & F_SEAL_WRITE ? OS_SEAL_WRITE : 0u) |
             (bits & F_SEAL_SEAL ? OS_SEAL_SEAL : 0u);
    return 0;
}

/* Of a call on the caller's own descriptor, which may be none, or no socket. */
static int socket_failure(void)
{
    return errno == EBADF || errno == ENOTSOCK ? -EINVAL : failure();
}

union descriptor_message {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
};

int os_send_descriptor(int socket, int fd)
{
    char byte = 0;
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    union descriptor_message control = {0};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    ssize_t sent;
    do {
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == 1 ? 0 : socket_failure();
}

/* Takes the one descriptor out of the message; closes what came along with it, or instead. */
static int take_descriptor(struct msghdr *message, int *fd)
{
    int first = -1;
    size_t count = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h != NULL; h = CMSG_NXTHDR(message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= h->cmsg_len; at += sizeof(int)) {
            int got;
            memcpy(&got, CMSG_DATA(h) + at, sizeof got);
            if (count++ == 0) {
                first = got;
            } else {
                (void)close(got);
            }
        }
    }
    if (count != 1) {
        if (first >= 0) {
            (void)close(first);
        }
        return -EBADMSG;
    }
    *fd = first;
    return 0;
}

int os_receive_descriptor(int socket, int *fd)
{
    char byte;
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    union descriptor_message control;
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got;
    do {
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return socket_failure();
    }
    if (got == 0) {
        return -ECONNRESET;
    }
    return take_descriptor(&message, fd);
}

/* ---- mapping ----------------------------------------------------------------------------- */

int os_map(int fd, uint64_t offset, size_t length, hf_access access, void *address, bool exactly,
           void **base)
{
    int protection = access == HF_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE;
    int flags = access == HF_COPY_ON_WRITE ? MAP_PRIVATE : MAP_SHARED;
    if (size_too_large(offset)) {
        return -EFBIG;
    }
    void *mapped = mmap(address, length, protection, flags | (exactly ? MAP_FIXED_NOREPLACE : 0),
                        fd, (off_t)offset);
    if (mapped == MAP_FAILED) {
        return failure();
    }
    if (exactly && mapped != address) { /* a kernel before 4.17 takes the flag for a hint */
        (void)munmap(mapped, length);
        return -EEXIST;
    }
    *base = mapped;
    return 0;
}

int os_map_private(size_t length, void **base)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *mapped = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (mapped == MAP_FAILED) {
        return failure();
    }
    *base = mapped;
    return 0;
}

int os_unmap(void *base, size_t length)
{
    return munmap(base, length) == 0 ? 0 : failure();
}

int os_flush(void *base, size_t length, bool wait)
{
    return msync(base, length, wait ? MS_SYNC : MS_ASYNC) == 0 ? 0 : failure();
}

int os_advise(void *base, size_t length, os_advice advice)
{
    static const int advices[] = {
        [OS_ADVICE_NORMAL] = MADV_NORMAL,      [OS_ADVICE_SEQUENTIAL] = MADV_SEQUENTIAL,
        [OS_ADVICE_RANDOM] = MADV_RANDOM,      [OS_ADVICE_WILL_NEED] = MADV_WILLNEED,
        [OS_ADVICE_DONT_NEED] = MADV_DONTNEED, [OS_ADVICE_HUGE_PAGES] = MADV_HUGEPAGE,
        [OS_ADVICE_DONT_DUMP] = MADV_DONTDUMP,
    };
    return madvise(base, length, advices[advice]) == 0 ? 0 : failure();
}

/* ---- waiting ----------------------------------------------------------------------------- */

int os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns)
{
    /* What this call reads, also where libc's struct timespec is of 64 bits and a word is not. */
    const struct {
        __kernel_long_t seconds;
        __kernel_long_t nanoseconds;
    } limit = {(__kernel_long_t)(timeout_ns / 1000000000),
               (__kernel_long_t)(timeout_ns % 1000000000)};
    if (syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout_ns < 0 ? NULL : &limit, NULL, 0) !=
            0 &&
        errno == ETIMEDOUT) {
        return -ETIMEDOUT;
    }
    return 0;
}

/* A libc may be older than the kernel's headers. All machines but one have the same number. */
#if defined(FUTEX_32) && !defined(SYS_futex_waitv) && !defined(__alpha__)
#define SYS_futex_waitv 449
#endif

/* FUTEX_WAITV is of 5.16, and sandboxes that have never heard of it refuse it. */
int os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                uint32_t other_expected, int64_t timeout_ns)
{
#ifdef SYS_futex_waitv
    uint64_t end = os_now_ns() + (uint64_t)timeout_ns;
    struct __kernel_timespec_like {
        int64_t seconds;
        int64_t nanoseconds;
    } limit = {(int64_t)(end / 1000000000), (int64_t)(end % 1000000000)};
    struct futex_waitv both[2] = {
        {.val = expected, .uaddr = (uintptr_t)word, .flags = FUTEX_32},
        {.val = other_expected, .uaddr = (uintptr_t)other, .flags = FUTEX_32}};
    if (syscall(SYS_futex_waitv, both, 2, 0, timeout_ns < 0 ? NULL : &limit, CLOCK_MONOTONIC) >=
        0) {
        return 0;
    }
    switch (errno) {
    case ETIMEDOUT:
        return -ETIMEDOUT;
    case EAGAIN:
    case EINTR:
        return 0;
    default:
        break;
    }
#else
    (void)word, (void)expected, (void)other, (void)other_expected, (void)timeout_ns;
#endif
    return -EOPNOTSUPP;
}

int os_wake(const volatile void *word, int count)
{
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
    return woken < 0 ? 0 : (int)woken;
}

/* ---- being alive ------------------------------------------------------------------------- */

static struct flock one_byte(short type, uint64_t offset)
{
    return (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)offset, .l_len = 1};
}

static int set_lock(int fd, int command, short type, uint64_t offset)
{
    struct flock lock = one_byte(type, offset);
    if (fcntl(fd, command, &lock) == 0) {
        return 0;
    }
    return errno == EAGAIN || errno == EACCES ? -EBUSY : failure();
}

int os_byte_lock(int fd, uint64_t offset)
{
    return set_lock(fd, F_OFD_SETLK, F_WRLCK, offset);
}

int os_byte_lock_shared(int fd, uint64_t offset)
{
    return set_lock(fd, F_OFD_SETLK, F_RDLCK, offset);
}

int os_process_lock(int fd, uint64_t offset)
{
    return set_lock(fd, F_SETLK, F_WRLCK, offset);
}

int os_process_unlock(int fd, uint64_t offset)
{
    return set_lock(fd, F_SETLK, F_UNLCK, offset);
}

int os_byte_unlock(int fd, uint64_t offset)
{
    return set_lock(fd, F_OFD_SETLK, F_UNLCK, offset);
}

int os_byte_locked(int fd, uint64_t offset, bool *locked)
{
    struct flock lock = one_byte(F_WRLCK, offset);
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0) {
        return failure();
    }
    *locked = lock.l_type != F_UNLCK;
    return 0;
}

static int lock_whole(int fd, short type)
{
    struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) == 0) {
        return 0;
    }
    return errno == EAGAIN || errno == EACCES ? -EBUSY : failure();
}

int os_file_lock(int fd, bool exclusive)
{
    return lock_whole(fd, exclusive ? F_WRLCK : F_RDLCK);
}

int os_file_unlock(int fd)
{
    return lock_whole(fd, F_UNLCK);
}

void os_own_description(int fd, bool writable)
{
    int own = -1;
    if (os_reopen(fd, writable, &own) == 0) {
        (void)dup3(own, fd, O_CLOEXEC);
        (void)close(own);
    }
}

int os_map_private_at(void *base, size_t length)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    void *at = mmap(base, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    return at == MAP_FAILED ? -ENOMEM : 0;
}
