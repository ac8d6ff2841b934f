/* SPDX-License-Identifier: MIT */
/* Making the system refuse: privileges, mounts, system calls. */
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/support.h"

#if defined(__x86_64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__i386__)
#define THIS_ARCHITECTURE AUDIT_ARCH_I386
#else
#define THIS_ARCHITECTURE 0
#endif

/* ---- privileges and mounts --------------------------------------------------------------- */

bool is_root(void)
{
    return geteuid() == 0;
}

void drop_privileges(void)
{
    if (!is_root()) {
        return;
    }
    assert_int_equal(setgroups(0, NULL), 0);
    assert_int_equal(setresgid(UNPRIVILEGED_USER, UNPRIVILEGED_USER, UNPRIVILEGED_USER), 0);
    assert_int_equal(setresuid(UNPRIVILEGED_USER, UNPRIVILEGED_USER, UNPRIVILEGED_USER), 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* the change of user has cleared it */
}

/* Without a mapping we would be nobody, to whom the mounted directory is closed. */
static void map_user(uid_t user, gid_t group)
{
    char map[64];
    write_whole_file("/proc/self/setgroups", "deny", 4);
    int length = snprintf(map, sizeof map, "%u %u 1", (unsigned)user, (unsigned)user);
    write_whole_file("/proc/self/uid_map", map, (size_t)length);
    length = snprintf(map, sizeof map, "%u %u 1", (unsigned)group, (unsigned)group);
    write_whole_file("/proc/self/gid_map", map, (size_t)length);
}

void private_mounts(void)
{
    uid_t user = geteuid();
    gid_t group = getegid();
    if (unshare(is_root() ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) {
        SKIP("no mount namespace of our own here");
    }
    if (user != 0) {
        map_user(user, group);
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        SKIP("mounts cannot be made private here");
    }
}

void mount_small_tmpfs(const char *path, size_t bytes)
{
    char size[64];
    (void)snprintf(size, sizeof size, "size=%zu,mode=1777", bytes);
    assert_int_equal(mount("hft", path, "tmpfs", MS_NOSUID | MS_NODEV, size), 0);
}

/* ---- system calls ------------------------------------------------------------------------ */

#define LOAD(field)                                                                                \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define SKIP_UNLESS(value, steps) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value), 0, (steps))
#define ANSWER(what)              BPF_STMT(BPF_RET | BPF_K, (what))

static void install(struct sock_filter *filter, size_t length)
{
    struct sock_fprog program = {.len = (unsigned short)length, .filter = filter};
    if (THIS_ARCHITECTURE == 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        SKIP("system calls cannot be filtered here");
    }
}

static void answer_syscall(long number, uint32_t action)
{
    struct sock_filter filter[] = {
        LOAD(arch),     SKIP_UNLESS(THIS_ARCHITECTURE, 3), LOAD(nr), SKIP_UNLESS(number, 1),
        ANSWER(action), ANSWER(SECCOMP_RET_ALLOW),
    };
    install(filter, sizeof filter / sizeof filter[0]);
}

void refuse_syscall(long number, int error)
{
    answer_syscall(number, SECCOMP_RET_ERRNO | ((unsigned)error & SECCOMP_RET_DATA));
}

void forbid_syscall(long number)
{
    answer_syscall(number, SECCOMP_RET_KILL_PROCESS);
}

void refuse_unnamed_files(void)
{
    struct sock_filter filter[] = {
        LOAD(arch),
        SKIP_UNLESS(THIS_ARCHITECTURE, 6),
        LOAD(nr),
        SKIP_UNLESS(SYS_openat, 4),
        LOAD(args[2]), /* the flags: the lower half, as all three are little-endian */
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, (unsigned)O_TMPFILE),
        SKIP_UNLESS(O_TMPFILE, 1),
        ANSWER(SECCOMP_RET_ERRNO | EOPNOTSUPP),
        ANSWER(SECCOMP_RET_ALLOW),
    };
    install(filter, sizeof filter / sizeof filter[0]);
}
