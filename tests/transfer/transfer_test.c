/* SPDX-License-Identifier: MIT */
/* Files that arrive, of every size and kind, and what the command says about them. */
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "transfer/rendezvous_layout.h"
#include "transfer/session.h"

static void assert_arrived(struct session *s, const char *name)
{
    assert_true(same_content(path_in(s->source, name), path_in(s->target, name)));
}

/* ---- sizes ------------------------------------------------------------------------------- */

TEST(files_of_every_size_arrive_whole)
{
    static const uint64_t sizes[] = {0,
                                     1,
                                     63,
                                     64,
                                     65,
                                     4095,
                                     4096,
                                     4097,
                                     262143,
                                     262144,
                                     262145,
                                     DATA_CAPACITY - 64,
                                     DATA_CAPACITY - 1,
                                     DATA_CAPACITY,
                                     DATA_CAPACITY + 1,
                                     3 * DATA_CAPACITY + 12345};
    struct session s;
    session_start(&s);
    const char *names[sizeof sizes / sizeof sizes[0] + 1] = {NULL};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "size-%zu", i);
        names[i] = strdup(session_file(&s, name, sizes[i]));
    }
    assert_int_equal(session_send(&s, names), 0); /* all in one call */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "size-%zu", i);
        assert_arrived(&s, name);
        free((char *)names[i]);
    }
}

TEST(a_file_of_more_than_4_gib_arrives_whole)
{
    const uint64_t size = (UINT64_C(4) << 30) + 4711;
    struct sysinfo info;
    if (UNDER_ASAN || UNDER_TSAN) {
        SKIP("takes too long under a sanitizer");
    }
    if (sysinfo(&info) != 0 || info.freeram / (UINT64_C(1) << 30) * info.mem_unit < 7) {
        SKIP("needs 7 GiB of free memory");
    }
    struct session s;
    private_mounts();
    session_init(&s);
    mount_small_tmpfs(s.target, UINT64_C(5) << 30);
    session_serve(&s, NULL);
    /* A hole with islands: on both sides of 4 GiB, and at the very end. */
    const char *file = session_file(&s, "large", 0);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    static const uint64_t islands[] = {0, 123456789, (UINT64_C(4) << 30) - 8};
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pwrite(fd, "an island in a hole", 19, (off_t)islands[i]), 19);
    }
    assert_int_equal(pwrite(fd, "end", 3, (off_t)size - 3), 3);
    (void)close(fd);
    pid_t client = session_start_client(&s, (const char *const[]){file, NULL});
    assert_int_equal(wait_child_for(client, 60000), 0);
    assert_true(same_content(file, path_in(s.target, "large")));
}

TEST(a_file_that_does_not_know_its_size_arrives)
{
    struct session s;
    session_start(&s);
    assert_int_equal(SEND(&s, "/proc/version"), 0); /* claims to have 0 bytes */
    assert_true(same_content("/proc/version", path_in(s.target, "version")));
}

/* ---- names, modes, directories ----------------------------------------------------------- */

TEST(names_of_any_bytes_arrive_and_are_printed_harmlessly)
{
    char long_name[256];
    memset(long_name, 'l', 255);
    long_name[255] = 0;
    const char *names[] = {"with space",     "new\nline", "\xc3\xa4\xf0\x9f\x8c\x8d",
                           "bad\xff\xc3utf", "-dash",     "esc\033[2J",
                           long_name};
    struct session s;
    session_start(&s);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)session_file(&s, names[i], 100);
        assert_int_equal(SEND(&s, "--json", "--", names[i]), 0);
        assert_arrived(&s, names[i]);
    }
    assert_true(says(s.log, "new\\x0aline"));
    assert_true(says(s.log, "bad\\xff\\xc3utf"));
    assert_true(says(s.log, "esc\\x1b[2J"));
    assert_true(says(s.log, "\xc3\xa4\xf0\x9f\x8c\x8d"));
}

TEST(only_the_base_name_is_used)
{
    struct session s;
    session_start(&s);
    assert_int_equal(mkdir(path_in(s.source, "sub"), 0755), 0);
    (void)session_file(&s, "sub/file", 100);
    assert_int_equal(SEND(&s, "sub/../sub/file"), 0);
    assert_true(same_content(path_in(s.source, "sub/file"), path_in(s.target, "file")));
    assert_int_equal(symlink("sub/file", path_in(s.source, "link")), 0);
    assert_int_equal(SEND(&s, "link"), 0); /* one that the user names is followed */
    assert_true(same_content(path_in(s.source, "sub/file"), path_in(s.target, "link")));
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static const struct timespec long_ago[2] = {{.tv_sec = 1000000000, .tv_nsec = 123456789},
                                            {.tv_sec = 1000000000, .tv_nsec = 123456789}};

static void assert_long_ago(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, long_ago[1].tv_sec);
    assert_int_equal(st.st_mtim.tv_nsec, long_ago[1].tv_nsec);
}

TEST(mode_and_time_are_kept_with_p_and_are_a_new_files_without)
{
    struct session s;
    session_init(&s);
    (void)umask(027);
    session_serve(&s, NULL);
    const char *file = session_file(&s, "file", 100);
    assert_int_equal(chmod(file, 04751), 0);
    assert_int_equal(utimensat(AT_FDCWD, file, long_ago, 0), 0);
    assert_int_equal(SEND(&s, "-p", "file"), 0);
    assert_int_equal(mode_of(path_in(s.target, "file")), 0751); /* never set-user-id */
    assert_long_ago(path_in(s.target, "file"));
    assert_int_equal(SEND(&s, "--force", "file"), 0);
    assert_int_equal(mode_of(path_in(s.target, "file")), 0640);
}

TEST(a_directory_arrives_with_all_that_is_in_it)
{
    struct session s;
    session_start(&s);
    static const char *const directories[] = {"tree", "tree/empty", "tree/a", "tree/a/b"};
    static const char *const files[] = {"tree/one", "tree/a/two", "tree/a/b/three"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(mkdir(path_in(s.source, directories[i]), 0755), 0);
    }
    for (int i = 0; i < 3; i++) {
        (void)session_file(&s, files[i], (uint64_t)i * 100000);
    }
    assert_int_equal(chmod(path_in(s.source, "tree/a"), 0555), 0); /* not writable, yet filled */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(utimensat(AT_FDCWD, path_in(s.source, directories[i]), long_ago, 0), 0);
    }
    assert_int_equal(SEND(&s, "-rp", "tree/"), 0);
    const char *const diff[] = {"diff", "-r", path_in(s.source, "tree"), path_in(s.target, "tree"),
                                NULL};
    assert_int_equal(spawn_and_wait(diff, NULL), 0);
    assert_int_equal(mode_of(path_in(s.target, "tree/a")), 0555);
    for (int i = 0; i < 4; i++) {
        assert_long_ago(path_in(s.target, directories[i]));
    }
    assert_int_equal(chmod(path_in(s.target, "tree/a"), 0755), 0);
    assert_int_equal(chmod(path_in(s.source, "tree/a"), 0755), 0);
}

TEST(a_directory_can_be_sent_from_within)
{
    struct session s;
    session_start(&s);
    (void)session_file(&s, "file", 10);
    assert_int_equal(SEND(&s, "-r", "."), 0);
    const char *base = strrchr(s.source, '/') + 1;
    assert_true(same_content(path_in(s.source, "file"), path_in(path_in(s.target, base), "file")));
}

TEST(what_in_a_directory_cannot_be_sent_is_told_and_the_rest_arrives)
{
    struct session s;
    session_start(&s);
    assert_int_equal(mkdir(path_in(s.source, "tree"), 0755), 0);
    (void)session_file(&s, "tree/a", 10);
    (void)session_file(&s, "tree/z", 10);
    assert_int_equal(symlink("/etc/passwd", path_in(s.source, "tree/link")), 0);
    assert_int_equal(mkfifo(path_in(s.source, "tree/fifo"), 0600), 0);
    assert_int_equal(SEND(&s, "-r", "tree"), 1);
    assert_true(says(s.err, "tree/link: is a symbolic link"));
    assert_true(says(s.err, "tree/fifo: is a FIFO"));
    assert_arrived(&s, "tree/a");
    assert_arrived(&s, "tree/z");
    assert_int_equal(count_entries(path_in(s.target, "tree"), ""), 2);
}

/* ---- what it says ------------------------------------------------------------------------ */

TEST(the_server_is_ready_within_half_a_second)
{
    struct session s;
    session_init(&s);
    int64_t start = now_ms();
    session_serve(&s, NULL);
    assert_true(now_ms() - start < promised_ms(500));
}

TEST(the_default_name_is_one_per_user_whatever_the_directory)
{
    struct session s;
    private_mounts();
    session_init(&s);
    mount_small_tmpfs("/dev/shm", 8 << 20); /* a real server of ours stays out of this */
    const char *const serve[] = {holdfast(), "serve", NULL};
    pid_t server = spawn(
        serve, &(struct spawn_options){.directory = s.target, .output = s.log, .errors = s.log});
    assert_true(wait_for_text(s.log, "ready", 5000));
    const char *const send[] = {holdfast(), "send", session_file(&s, "file", 10), NULL};
    assert_int_equal(spawn_and_wait(send, &(struct spawn_options){.directory = "/"}), 0);
    assert_arrived(&s, "file");
    (void)kill_and_reap(server);
}

TEST(json_is_one_object_a_line_on_both_sides)
{
    struct session s;
    session_init(&s);
    session_serve(&s, (const char *const[]){"--json", NULL});
    assert_true(says(s.log, "{\"event\":\"ready\""));
    const char *file = session_file(&s, "fi\"le", 0);
    assert_int_equal(SEND(&s, "--json", file), 0);
    assert_true(says(s.out, "{\"event\":\"sent\""));
    assert_true(says(s.out, "fi\\\"le\""));
    assert_true(says(s.out, "\"bytes\":0"));
    assert_true(says(s.out, "\"xxh3_128\":\"99aa06d3014798d86001c324468d497f\"")); /* of nothing */
    assert_true(says(s.log, "{\"event\":\"received\""));
    assert_int_equal(SEND(&s, "--json", file), 1);
    assert_true(says(s.out, "{\"event\":\"refused\""));
    assert_true(says(s.log, "{\"event\":\"refused\""));
}

TEST(quiet_says_nothing_but_errors)
{
    struct session s;
    session_start(&s);
    const char *file = session_file(&s, "file", 10);
    assert_int_equal(SEND(&s, "--quiet", file), 0);
    struct stat st;
    assert_true(stat(s.out, &st) == 0 && st.st_size == 0);
    assert_true(stat(s.err, &st) == 0 && st.st_size == 0);
    assert_int_equal(SEND(&s, "--quiet", file), 1);
    assert_true(says(s.err, "exists already"));
}

TEST(a_terminal_is_shown_a_progress_bar)
{
    struct session s;
    session_start(&s);
    int terminal;
    struct winsize size = {.ws_row = 25, .ws_col = 100};
    pid_t client = forkpty(&terminal, NULL, NULL, &size);
    assert_true(client >= 0);
    if (client == 0) {
        (void)execl(holdfast(), holdfast(), "send", "--name", s.name,
                    session_endless_file(&s, "endless"), (char *)NULL);
        _exit(127);
    }
    static char seen[1 << 16];
    size_t used = 0;
    int64_t end = now_ms() + 5000;
    while (strstr(seen, "left") == NULL && now_ms() < end) {
        ssize_t n = read(terminal, seen + used, sizeof seen - 1 - used);
        used += n > 0 ? (size_t)n : 0;
    }
    (void)kill_and_reap(client);
    (void)close(terminal);
    assert_non_null(strstr(seen, "% "));
    assert_non_null(strstr(seen, "[.."));
    assert_non_null(strstr(seen, "iB/s"));
    assert_non_null(strstr(seen, " left"));
}

static int run_command(struct session *s, const char *const *arguments)
{
    const char *argv[16] = {holdfast()};
    for (int i = 0; arguments[i] != NULL; i++) {
        argv[i + 1] = arguments[i];
    }
    return spawn_and_wait(
        argv, &(struct spawn_options){.directory = s->source, .output = s->out, .errors = s->err});
}
#define RUN(s, ...) run_command((s), (const char *const[]){__VA_ARGS__, NULL})

TEST(wrong_usage_is_told_and_exits_2)
{
    struct session s;
    session_init(&s);
    char too_long[202];
    memset(too_long, 'n', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = 0;
    assert_int_equal(RUN(&s, "frobnicate"), 2);
    assert_true(says(s.err, "no such command: frobnicate"));
    assert_int_equal(RUN(&s, "send"), 2);
    assert_true(says(s.err, "send needs a file"));
    assert_int_equal(RUN(&s, "send", "--frobnicate", "file"), 2);
    assert_true(says(s.err, "--help"));
    assert_true(says(s.err, "holdfast: unrecognized option"));
    assert_int_equal(RUN(&s, "send", "--wait", "soon", "file"), 2);
    assert_int_equal(RUN(&s, "send", "--wait", "-1", "file"), 2);
    assert_int_equal(RUN(&s, "send", "--user", "no such user", "file"), 2);
    assert_int_equal(RUN(&s, "send", "--name", "", "file"), 2);
    assert_int_equal(RUN(&s, "send", "--name", "a/b", "file"), 2);
    assert_int_equal(RUN(&s, "send", "--name", too_long, "file"), 2);
    assert_int_equal(RUN(&s, "serve", "--mode", "9", "."), 2);
    assert_int_equal(RUN(&s, "serve", "--mode", "0066", "."), 2);
    assert_int_equal(RUN(&s, "serve", "--mode", "1777", "."), 2);
    assert_int_equal(RUN(&s, "serve", "--group", "no such group", "."), 2);
    assert_int_equal(RUN(&s, "serve", "a", "b"), 2);
    assert_int_equal(RUN(&s, "rm", "a", "b"), 2);
    assert_int_equal(RUN(&s, "serve", "--name", s.name, "missing"), 1);
    assert_true(says(s.err, "missing: No such file or directory"));
}

TEST(help_and_version_are_there)
{
    struct session s;
    session_init(&s);
    static const char *const commands[] = {"serve", "send", "rm"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(RUN(&s, commands[i], "--help"), 0);
        assert_true(says(s.out, "usage: holdfast"));
    }
    assert_int_equal(RUN(&s, "--help"), 0);
    assert_int_equal(RUN(&s, "--version"), 0);
    assert_true(says(s.out, "holdfast 0."));
}

TEST(a_help_or_version_that_cannot_be_written_is_a_failure)
{
    struct session s;
    session_init(&s);
    s.out = "/dev/full";
    assert_int_equal(RUN(&s, "--version"), 1);
    assert_true(says(s.err, "could not be written"));
    assert_int_equal(RUN(&s, "--help"), 1);
    static const char *const commands[] = {"serve", "send", "rm", "lock"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(RUN(&s, commands[i], "--help"), 1);
    }
}
