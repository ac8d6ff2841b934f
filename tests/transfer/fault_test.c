/* SPDX-License-Identifier: MIT */
/* What happens to a transfer when processes die or stop, disks fill, and servers meet. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transfer/session.h"

static bool nothing_unnamed(void *context)
{
    return unnamed_bytes(*(pid_t *)context) == 0;
}

static pid_t start_endless(struct session *s)
{
    pid_t client =
        session_start_client(s, (const char *const[]){session_endless_file(s, "endless"), NULL});
    session_wait_until_under_way(s);
    return client;
}

/* ---- clients ----------------------------------------------------------------------------- */

TEST(a_killed_client_leaves_no_partial_file_and_the_server_serves_on)
{
    struct session s;
    session_start(&s);
    for (int i = 0; i < 5; i++) {
        pid_t client = start_endless(&s);
        sleep_ms((int64_t)random_below(50));
        assert_int_equal(kill_and_reap(client), -SIGKILL);
        assert_true(wait_until(nothing_unnamed, &s.server, promised_ms(300)));
        assert_int_equal(target_entries(&s), 0);
    }
    assert_true(wait_for_text(s.log, "dropped endless: the client has gone", 1000));
    const char *file = session_file(&s, "small", 1000);
    assert_int_equal(SEND(&s, file), 0);
    assert_true(same_content(file, path_in(s.target, "small")));
}

TEST(a_stopped_client_holds_up_nobody_and_goes_on_when_continued)
{
    struct session s;
    session_start(&s);
    pid_t client =
        session_start_client(&s, (const char *const[]){session_file(&s, "large", 200 << 20), NULL});
    session_wait_until_under_way(&s);
    assert_int_equal(kill(client, SIGSTOP), 0);
    wait_for_state(client, 'T');
    struct session other = s; /* a second client must not write into the first one's files */
    other.out = kept_path(temporary_directory(), "out");
    other.err = other.out;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SEND(&other, "--force", session_file(&s, "small", 100000)), 0);
        sleep_ms(100);
    }
    assert_true(target_entries(&s) == 1);
    assert_int_equal(kill(client, SIGCONT), 0);
    assert_int_equal(wait_child_for(client, 15000), 0);
    assert_true(same_content(path_in(s.source, "large"), path_in(s.target, "large")));
}

TEST(more_clients_than_lanes_are_all_served)
{
    enum { CLIENTS = 80 };
    struct session s;
    session_start(&s);
    pid_t clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "file-%d", i);
        clients[i] = session_start_client(
            &s, (const char *const[]){session_file(&s, name, 30000 + (uint64_t)i), NULL});
    }
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(wait_child_for(clients[i], 15000), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "file-%d", i);
        assert_true(same_content(path_in(s.source, name), path_in(s.target, name)));
    }
}

TEST(lanes_of_killed_clients_are_used_again)
{
    struct session s;
    session_start(&s);
    for (int i = 0; i < 80; i++) { /* more than there are lanes */
        pid_t client = session_start_client(
            &s, (const char *const[]){session_endless_file(&s, "endless"), NULL});
        sleep_ms((int64_t)random_below(8)); /* before, while and after it takes one */
        (void)kill_and_reap(client);
    }
    assert_true(wait_until(nothing_unnamed, &s.server, 1000));
    assert_int_equal(SEND(&s, session_file(&s, "small", 1000)), 0);
    /* Free lanes hold no memory: what is left is the segment's own, slots among it. */
    struct stat st;
    bool given_back = false;
    for (int i = 0; i < 100 && !given_back; i++) {
        assert_int_equal(stat(path_in("/dev/shm", s.object), &st), 0);
        given_back = st.st_blocks * 512 <= 200000;
        sleep_ms(10);
    }
    assert_true(given_back);
}

TEST(two_clients_that_race_for_a_name_get_one_winner)
{
    struct session s;
    session_start(&s);
    for (int round = 0; round < 15; round++) {
        pid_t clients[2];
        char name[32];
        (void)snprintf(name, sizeof name, "prize-%d", round);
        for (int i = 0; i < 2; i++) {
            struct session mine = s;
            mine.source = temporary_directory();
            clients[i] = session_start_client(
                &s, (const char *const[]){session_file(&mine, name, 2000000), NULL});
        }
        int first = wait_child_for(clients[0], 15000);
        int second = wait_child_for(clients[1], 15000);
        assert_int_equal(first + second, 1); /* one 0, one 1 */
    }
    assert_int_equal(target_entries(&s), 15);
}

/* ---- servers ----------------------------------------------------------------------------- */

TEST(a_killed_server_is_told_to_its_client_within_a_second)
{
    struct session s;
    session_start(&s);
    pid_t client = start_endless(&s);
    assert_int_equal(kill_and_reap(s.server), -SIGKILL);
    assert_int_equal(wait_child_for(client, promised_ms(1000)), 4);
    assert_true(says(s.err, "the server has died"));
    char *err = read_whole_file(s.err, NULL);
    assert_true(strchr(err, '\n') == err + strlen(err) - 1); /* one line */
    free(err);
    assert_int_equal(target_entries(&s), 0);
}

TEST(a_killed_server_is_taken_over_from_by_the_next)
{
    struct session s;
    session_start(&s);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kill_and_reap(s.server), -SIGKILL);
        assert_true(rendezvous_exists(&s));
        assert_int_equal(SEND(&s, session_file(&s, "small", 10)), 3); /* it says so: no server */
        session_serve(&s, NULL);
        assert_int_equal(SEND(&s, "-f", session_file(&s, "small", 10)), 0);
    }
    assert_int_equal(kill(s.server, SIGTERM), 0);
    assert_int_equal(wait_child_for(s.server, promised_ms(2000)), 0);
    assert_false(rendezvous_exists(&s));
}

TEST(a_stopped_server_is_alive)
{
    struct session s;
    session_start(&s);
    assert_int_equal(kill(s.server, SIGSTOP), 0);
    wait_for_state(s.server, 'T');
    pid_t client =
        session_start_client(&s, (const char *const[]){session_file(&s, "file", 3 << 20), NULL});
    assert_int_equal(wait_child_for(client, 500), CHILD_RUNS);
    const char *const second[] = {holdfast(), "serve", "--name", s.name, NULL};
    assert_int_equal(
        spawn_and_wait(second, &(struct spawn_options){.output = s.out, .errors = s.out}), 5);
    assert_int_equal(kill(s.server, SIGCONT), 0);
    assert_int_equal(wait_child_for(client, 10000), 0);
}

TEST(a_second_server_of_a_name_is_refused_at_once)
{
    struct session s;
    session_start(&s);
    int64_t start = now_ms();
    const char *const second[] = {holdfast(), "serve", "--name", s.name, NULL};
    struct spawn_options options = {.output = s.out, .errors = s.err};
    assert_int_equal(spawn_and_wait(second, &options), 5);
    assert_true(now_ms() - start < promised_ms(500));
    assert_true(says(s.err, "a server of that name is running"));
    assert_int_equal(SEND(&s, session_file(&s, "small", 10)), 0);
}

TEST(a_second_server_that_races_for_a_dead_ones_name_finds_one_winner)
{
    struct session s;
    session_start(&s);
    for (int round = 0; round < 4; round++) {
        assert_int_equal(kill_and_reap(s.server), -SIGKILL);
        pid_t servers[4];
        for (int i = 0; i < 4; i++) {
            s.log = kept_path(temporary_directory(), "log");
            servers[i] = session_start_server(&s, NULL);
        }
        /* The losers end, the winner does not: wait for three, however the machine is loaded. */
        int codes[4] = {CHILD_RUNS, CHILD_RUNS, CHILD_RUNS, CHILD_RUNS};
        int ended = 0;
        for (int64_t end = now_ms() + 20000; ended < 3 && now_ms() < end;) {
            for (int i = 0; i < 4; i++) {
                if (codes[i] == CHILD_RUNS) {
                    codes[i] = wait_child_for(servers[i], 5);
                    ended += codes[i] != CHILD_RUNS;
                }
            }
        }
        assert_int_equal(ended, 3);
        for (int i = 0; i < 4; i++) {
            assert_true(codes[i] == CHILD_RUNS || codes[i] == 5);
            s.server = codes[i] == CHILD_RUNS ? servers[i] : s.server;
        }
        assert_int_equal(wait_child_for(s.server, 200), CHILD_RUNS);
        assert_int_equal(SEND(&s, "-f", session_file(&s, "small", 10)), 0);
    }
}

static void a_signalled_server(int number)
{
    struct session s;
    session_start(&s);
    pid_t client = start_endless(&s);
    int64_t start = now_ms();
    assert_int_equal(kill(s.server, number), 0);
    assert_int_equal(wait_child_for(s.server, promised_ms(2000)), 0);
    assert_true(now_ms() - start < promised_ms(2000));
    assert_int_equal(wait_child_for(client, promised_ms(1000)), 4);
    assert_false(rendezvous_exists(&s));
    assert_int_equal(target_entries(&s), 0);
    assert_true(says(s.log, "dropped endless"));
}

TEST(a_signalled_server_drops_what_is_unfinished_on_sigterm)
{
    a_signalled_server(SIGTERM);
}

TEST(a_signalled_server_drops_what_is_unfinished_on_sigint)
{
    a_signalled_server(SIGINT);
}

TEST(no_server_is_said_at_once)
{
    struct session s;
    session_init(&s);
    int64_t start = now_ms();
    assert_int_equal(SEND(&s, session_file(&s, "file", 10)), 3);
    assert_true(now_ms() - start < promised_ms(500));
    assert_true(says(s.err, "no server of that name"));
}

TEST(a_client_waits_for_a_server_as_long_as_it_is_told)
{
    struct session s;
    session_init(&s);
    int64_t start = now_ms();
    const char *file = session_file(&s, "file", 10);
    assert_int_equal(SEND(&s, "--wait", "0.5", file), 3);
    assert_true(now_ms() - start >= 500 && now_ms() - start < promised_ms(2000));
    pid_t client = session_start_client(&s, (const char *const[]){"--wait", "10", file, NULL});
    sleep_ms(200);
    session_serve(&s, NULL);
    assert_int_equal(wait_child_for(client, 5000), 0);
}

/* ---- full disks -------------------------------------------------------------------------- */

TEST(a_full_disk_is_told_to_the_client_and_the_server_serves_on)
{
    struct session s;
    private_mounts();
    session_init(&s);
    mount_small_tmpfs(s.target, 4 << 20);
    session_serve(&s, NULL);
    assert_int_equal(SEND(&s, session_file(&s, "large", 40 << 20), session_file(&s, "small", 10)),
                     1);
    assert_true(says(s.err, "no space left on the server's disk"));
    assert_true(same_content(path_in(s.source, "small"), path_in(s.target, "small")));
    assert_int_equal(target_entries(&s), 1);
    struct statvfs fs;
    assert_int_equal(statvfs(s.target, &fs), 0);
    assert_true(fs.f_bavail > fs.f_blocks / 2);
}

TEST(a_full_dev_shm_is_an_error_of_who_needed_it)
{
    struct session s;
    private_mounts();
    session_init(&s);
    mount_small_tmpfs("/dev/shm", 512 << 10);
    session_serve(&s, NULL);
    const char *file = session_file(&s, "file", 10);
    assert_int_equal(SEND(&s, file), 1); /* a lane takes more */
    assert_true(says(s.err, "no space left in /dev/shm"));
    assert_int_equal(kill(s.server, SIGTERM), 0);
    assert_int_equal(wait_child_for(s.server, promised_ms(2000)), 0);

    static char filler[512 << 10];
    (void)memset(filler, 1, sizeof filler);
    FILE *full = fopen("/dev/shm/filler", "w");
    assert_non_null(full);
    (void)fwrite(filler, 1, sizeof filler, full);
    (void)fclose(full);
    assert_int_equal(wait_child_for(session_start_server(&s, NULL), 5000), 1);
    assert_true(says(s.log, "no space left in /dev/shm"));
    assert_false(rendezvous_exists(&s));
}

TEST(a_dev_shm_that_is_read_only_is_told_as_that)
{
    struct session s;
    private_mounts();
    session_init(&s);
    mount_small_tmpfs("/dev/shm", 512 << 10);
    assert_int_equal(
        mount(NULL, "/dev/shm", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL), 0);
    assert_int_equal(wait_child_for(session_start_server(&s, NULL), 5000), 1);
    assert_true(says(s.log, "/dev/shm: is it read-only?"));
}

/* ---- what is left, and rm ---------------------------------------------------------------- */

static int remove_rendezvous(struct session *s)
{
    const char *const rm[] = {holdfast(), "rm", s->name, NULL};
    return spawn_and_wait(rm, &(struct spawn_options){.output = s->out, .errors = s->err});
}

TEST(rm_removes_a_dead_servers_rendezvous_and_no_live_ones)
{
    struct session s;
    session_start(&s);
    assert_int_equal(remove_rendezvous(&s), 5);
    assert_true(rendezvous_exists(&s));
    assert_int_equal(SEND(&s, session_file(&s, "small", 10)), 0);
    (void)kill_and_reap(s.server);
    assert_int_equal(remove_rendezvous(&s), 0);
    assert_false(rendezvous_exists(&s));
    assert_int_equal(remove_rendezvous(&s), 3);
}

/* ---- file systems without unnamed files -------------------------------------------------- */

static int serve_without_unnamed_files(void *context)
{
    struct session *s = context;
    refuse_unnamed_files();
    const char *const argv[] = {holdfast(), "serve", "--name", s->name, s->target, NULL};
    return spawn_and_wait(argv, &(struct spawn_options){.output = s->log, .errors = s->log});
}

/* The server is a grandchild: that of the child which refuses itself the call. */
static pid_t start_without_unnamed_files(struct session *s)
{
    (void)unlink(s->log);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t parent = start_child(serve_without_unnamed_files, s);
    assert_true(wait_for_text(s->log, "ready", 10000));
    return parent;
}

TEST(without_unnamed_files_a_killed_servers_leftover_goes_with_the_next)
{
    struct session s;
    session_init(&s);
    pid_t parent = start_without_unnamed_files(&s);
    const char *file = session_file(&s, "file", 3000000);
    assert_int_equal(SEND(&s, file), 0);
    assert_true(same_content(file, path_in(s.target, "file")));
    assert_int_equal(SEND(&s, file), 1);
    assert_int_equal(SEND(&s, "--force", file), 0);
    assert_int_equal(target_entries(&s), 1);

    pid_t client =
        session_start_client(&s, (const char *const[]){session_endless_file(&s, "endless"), NULL});
    for (int i = 0; i < 2000 && target_entries(&s) == 1; i++) {
        sleep_ms(10);
    }
    assert_int_equal(count_entries(s.target, ".part"), 1);

    /* Another server in the same directory leaves a live one's file alone. */
    struct session other = s;
    (void)unique_name(other.name, "other");
    (void)snprintf(other.object, sizeof other.object, "holdfast.%u.%s", (unsigned)geteuid(),
                   other.name);
    remove_shm_at_exit(other.object);
    other.log = kept_path(temporary_directory(), "log");
    session_serve(&other, NULL);
    assert_int_equal(count_entries(s.target, ".part"), 1);
    (void)kill_and_reap(other.server);

    (void)kill_and_reap(parent);
    assert_int_equal(wait_child_for(client, promised_ms(2000)), 4);
    assert_int_equal(count_entries(s.target, ".part"), 1);
    assert_true(waitpid(-1, NULL, 0) > 0); /* the server: until then its file may look in use */
    session_serve(&s, NULL);
    assert_int_equal(count_entries(s.target, ".part"), 0);
    assert_int_equal(target_entries(&s), 1);
}

/* ---- what users do to a server ----------------------------------------------------------- */

/* Runs `holdfast ARGUMENTS` in a shell, with what the shell can do to descriptors and limits. */
static int shell(struct session *s, const char *format)
{
    char command[2048];
    (void)snprintf(command, sizeof command, "H='%s'; N='%s'; F='%s'; cd '%s'; %s", holdfast(),
                   s->name, path_in(s->source, "file"), s->target, format);
    const char *const argv[] = {"sh", "-c", command, NULL};
    return spawn_and_wait(argv, &(struct spawn_options){.output = s->out, .errors = s->err});
}

TEST(closed_standard_descriptors_harm_nobody)
{
    struct session s;
    session_start(&s);
    (void)session_file(&s, "file", 1000);
    assert_int_equal(shell(&s, "exec $H send -f -n $N $F >&-"), 0);
    assert_int_equal(shell(&s, "exec $H send -f -n $N $F <&- >&- 2>&-"), 0);
    assert_int_equal(shell(&s, "exec $H send -n $N $F >&- 2>&-"), 1);
    assert_int_equal(SEND(&s, "-f", session_file(&s, "file", 1000)), 0);
    (void)kill_and_reap(s.server);
    assert_int_equal(shell(&s, "$H serve -n $N <&- >&- 2>&- & P=$!; "
                               "$H send -w 5 -f -n $N $F && ! $H send -n $N $F && "
                               "$H send -f -n $N $F; C=$?; kill $P; exit $C"),
                     0);
    assert_true(same_content(path_in(s.source, "file"), path_in(s.target, "file")));
}

TEST(a_result_that_cannot_be_written_is_a_failure)
{
    struct session s;
    session_start(&s);
    (void)session_file(&s, "file", 10);
    assert_int_equal(shell(&s, "exec $H send -n $N $F >/dev/full"), 1);
    assert_int_equal(shell(&s, "exec $H send -f -n $N -j $F >/dev/full"), 1);
}

TEST(a_server_whose_log_is_blocked_serves_on_and_stops_when_told)
{
    struct session s;
    session_init(&s);
    int log[2]; /* that nobody reads */
    assert_int_equal(pipe(log), 0);
    const char *const argv[] = {holdfast(), "serve", "--name", s.name, NULL};
    s.server = spawn(
        argv, &(struct spawn_options){.directory = s.target, .output_fd = log[1], .errors = s.log});
    assert_int_equal(SEND(&s, "--wait", "5", session_file(&s, "first", 10)), 0);
    char line[4096];
    memset(line, 'x', sizeof line);
    for (int i = 0; i < 16; i++) { /* 64 KiB: full */
        struct pollfd writable = {.fd = log[1], .events = POLLOUT};
        if (poll(&writable, 1, 0) == 1) {
            (void)write(log[1], line, sizeof line - 512);
        }
    }
    for (int i = 0; i < 100; i++) {
        assert_int_equal(SEND(&s, "-f", session_file(&s, "file", 10)), 0);
    }
    assert_int_equal(kill(s.server, SIGTERM), 0);
    assert_int_equal(wait_child_for(s.server, promised_ms(2000)), 0);
}

TEST(a_server_out_of_descriptors_says_so_and_leaves_nothing)
{
    struct session s;
    session_start(&s);
    (void)session_file(&s, "file", 10);
    (void)kill_and_reap(s.server); /* a leftover to take over from */
    for (int limit = 3; limit < 9; limit++) {
        char command[256];
        (void)snprintf(command, sizeof command,
                       "ulimit -n %d; $H serve -n $N & P=$!; sleep 0.3; kill $P; wait $P", limit);
        (void)shell(&s, command); /* ends, whatever it can do */
        (void)snprintf(command, sizeof command, "ulimit -n %d; exec $H rm $N", limit);
        int code = shell(&s, command);
        assert_true(code == 0 || code == 1 || code == 3 || code == 127);
        assert_true(code != 0 || !rendezvous_exists(&s));
    }
    (void)shell(&s, "$H rm $N");
    /* Enough to start, too few for a client. */
    assert_int_equal(shell(&s, "ulimit -n 6; $H serve -n $N & P=$!; "
                               "(ulimit -n 20; exec timeout 5 $H send -w 2 -n $N $F); C=$?; "
                               "kill $P; wait $P; exit $C"),
                     1);
    assert_false(rendezvous_exists(&s));
}

TEST(a_server_under_nohup_outlives_the_hang_up)
{
    struct session s;
    session_init(&s);
    (void)session_file(&s, "file", 10);
    assert_int_equal(shell(&s, "trap '' HUP; $H serve -n $N & P=$!; $H send -w 5 -n $N $F; "
                               "kill -HUP $P; $H send -f -n $N $F; C=$?; kill $P; exit $C"),
                     0);
}

TEST(a_limit_on_file_sizes_is_an_error)
{
    struct session s;
    session_init(&s);
    assert_int_equal(shell(&s, "ulimit -f 50; exec $H serve -n $N"), 1);
    assert_int_equal(shell(&s, "(ulimit -f 60; exec $H serve -n $N) & P=$!; wait $P"), 1);
}

TEST(files_that_look_like_leftovers_are_kept_and_not_received)
{
    struct session s;
    session_init(&s);
    write_whole_file(path_in(s.target, ".holdfast-mine.part"), "x", 1);
    write_whole_file(path_in(s.target, ".holdfast-0123456789abcdef0.part"), "x", 1);
    session_serve(&s, NULL);
    assert_int_equal(target_entries(&s), 2);
    assert_int_equal(SEND(&s, session_file(&s, ".holdfast-0123456789abcdef.part", 10)), 1);
    assert_int_equal(SEND(&s, session_file(&s, ".holdfast-yours.part", 10)), 0);
    (void)kill_and_reap(s.server);
    session_serve(&s, NULL);
    assert_int_equal(target_entries(&s), 3);
}

TEST(a_directory_that_holds_the_servers_is_not_sent_into_itself)
{
    struct session s;
    session_init(&s);
    assert_int_equal(mkdir(path_in(s.source, "tree"), 0755), 0);
    assert_int_equal(mkdir(path_in(s.source, "tree/inbox"), 0755), 0);
    s.target = kept_path(s.source, "tree/inbox");
    session_serve(&s, NULL);
    (void)session_file(&s, "tree/file", 1000);
    assert_int_equal(SEND(&s, "-r", "tree"), 1);
    assert_true(says(s.err, "tree/inbox: is where the server saves files"));
    assert_true(same_content(path_in(s.source, "tree/file"), path_in(s.target, "tree/file")));
    assert_int_equal(target_entries(&s), 1);
}

TEST(force_replaces_on_another_file_system_within_the_target)
{
    struct session s;
    private_mounts();
    session_init(&s);
    assert_int_equal(mkdir(path_in(s.target, "tree"), 0755), 0);
    mount_small_tmpfs(path_in(s.target, "tree"), 1 << 20);
    session_serve(&s, NULL);
    assert_int_equal(mkdir(path_in(s.source, "tree"), 0755), 0);
    for (int i = 0; i < 3; i++) {
        (void)session_file(&s, "tree/file", 1000 + (uint64_t)i);
        assert_int_equal(SEND(&s, "-rf", "tree"), 0);
        assert_true(same_content(path_in(s.source, "tree/file"), path_in(s.target, "tree/file")));
    }
    assert_int_equal(count_entries(path_in(s.target, "tree"), ""), 1);
}
