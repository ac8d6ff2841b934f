/* SPDX-License-Identifier: MIT */
/* What server and client refuse: hostile names, links and devices in the way, planted memory. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel/pipe_layout.h"
#include "holdfast/memory.h"
#include "transfer/digest.h"
#include "transfer/rendezvous.h"
#include "transfer/session.h"
#include "transfer/wire.h"

/* ---- a client that says what it likes ---------------------------------------------------- */

struct raw {
    struct rendezvous rendezvous;
    struct connection c;
};

static void raw_open(struct raw *raw, struct session *s)
{
    assert_ok(rendezvous_open(&raw->rendezvous, s->name, geteuid()));
    assert_ok(rendezvous_call(&raw->rendezvous, &raw->c));
}

static void raw_close(struct raw *raw)
{
    connection_close(&raw->c);
    rendezvous_close(&raw->rendezvous);
}

static void raw_say(struct raw *raw, const struct frame *frame, const void *bytes)
{
    assert_ok(wire_send(raw->c.out, frame, bytes, NULL));
}

static uint32_t raw_verdict(struct raw *raw, char text[WIRE_TEXT_MAX + 1])
{
    struct frame frame;
    assert_ok(wire_receive(raw->c.in, &frame, NULL));
    assert_int_equal(frame.kind, FRAME_VERDICT);
    assert_true(frame.length <= WIRE_TEXT_MAX);
    assert_ok(wire_receive_bytes(raw->c.in, &frame, text, NULL));
    text[frame.length] = 0;
    return frame.status;
}

/* Offers "data" under a path of any bytes; returns the verdict's status. */
static uint32_t offer(struct raw *raw, const void *path, size_t length, uint32_t flags)
{
    char text[WIRE_TEXT_MAX + 1];
    struct frame end = {.kind = FRAME_END, .size = 4};
    struct digest digest;
    digest_start(&digest);
    digest_update(&digest, "data", 4);
    digest_finish(&digest, end.digest);
    raw_say(raw, &(struct frame){.kind = FRAME_FILE, .length = (uint32_t)length, .flags = flags},
            path);
    raw_say(raw, &(struct frame){.kind = FRAME_DATA, .length = 4}, "data");
    raw_say(raw, &end, NULL);
    return raw_verdict(raw, text);
}

/* The connection must end, and the server go on. */
static void assert_hung_up(struct raw *raw, struct session *s)
{
    struct frame frame;
    int error = wire_receive(raw->c.in, &frame, NULL);
    assert_true(error == -ENODATA || error == -ECONNRESET);
    raw_close(raw);
    assert_int_equal(SEND(s, "-f", session_file(s, "after", 100)), 0);
}

TEST(hostile_paths_are_refused_and_nothing_is_touched)
{
    static const struct {
        const char *bytes;
        size_t length;
    } paths[] = {
        {"", 0},          {"/", 1},     {"/etc/x", 6}, {"..", 2},  {"../hft-outside", 14},
        {"a/../x", 6},    {"a/..", 4},  {".", 1},      {"./x", 3}, {"a/./x", 5},
        {"a//x", 4},      {"x/", 2},    {"a\0b", 3},   {"x\0", 2}, {"\0", 1},
        {"missing/x", 9}, {"...//", 5},
    };
    struct session s;
    session_start(&s);
    struct raw raw;
    raw_open(&raw, &s);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        uint32_t verdict = offer(&raw, paths[i].bytes, paths[i].length, FRAME_FORCE);
        assert_int_not_equal(verdict, VERDICT_OK);
        assert_int_equal(target_entries(&s), 0);
        assert_int_equal(access(path_in(s.target, "../hft-outside"), F_OK), -1);
    }
    char name[257];
    memset(name, 'n', sizeof name);
    assert_int_equal(offer(&raw, name, 256, 0), VERDICT_REFUSED); /* too long for a directory */
    assert_int_equal(offer(&raw, name, 255, 0), VERDICT_OK);
    assert_int_equal(offer(&raw, "...", 3, 0), VERDICT_OK); /* strange, and harmless */
    raw_close(&raw);
    assert_int_equal(target_entries(&s), 2);
}

TEST(a_file_that_does_not_match_its_digest_is_not_shown)
{
    struct session s;
    session_start(&s);
    struct raw raw;
    char text[WIRE_TEXT_MAX + 1];
    raw_open(&raw, &s);
    for (int i = 0; i < 2; i++) { /* a wrong digest; a wrong size */
        raw_say(&raw, &(struct frame){.kind = FRAME_FILE, .length = 1}, "x");
        raw_say(&raw, &(struct frame){.kind = FRAME_DATA, .length = 4}, "data");
        struct frame end = {.kind = FRAME_END, .size = i == 0 ? 4 : 5};
        struct digest digest;
        digest_start(&digest);
        digest_update(&digest, i == 0 ? "atad" : "data", 4);
        digest_finish(&digest, end.digest);
        raw_say(&raw, &end, NULL);
        assert_int_equal(raw_verdict(&raw, text), VERDICT_FAILED);
        assert_int_equal(target_entries(&s), 0);
    }
    assert_int_equal(offer(&raw, "x", 1, 0), VERDICT_OK); /* the connection is as good as before */
    raw_close(&raw);
}

TEST(a_client_that_breaks_the_protocol_is_hung_up_on)
{
    static const struct frame first[] = {
        {.kind = 0},
        {.kind = 99},
        {.kind = FRAME_VERDICT},
        {.kind = FRAME_DATA, .length = 4},
        {.kind = FRAME_END},
        {.kind = FRAME_ABORT},
        {.kind = FRAME_FILE, .length = WIRE_PATH_MAX + 1},
        {.kind = FRAME_FILE, .length = UINT32_MAX},
        {.kind = FRAME_DIRECTORY, .length = UINT32_MAX},
    };
    struct session s;
    session_start(&s);
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        struct raw raw;
        raw_open(&raw, &s);
        struct frame frame = first[i];
        (void)hf_pipe_write(raw.c.out, &frame, sizeof frame, SECONDS(1), NULL);
        assert_hung_up(&raw, &s);
    }
    struct raw raw;
    raw_open(&raw, &s);
    raw_say(&raw, &(struct frame){.kind = FRAME_FILE, .length = 1}, "x");
    /* It may hang up in the middle of this. */
    (void)wire_send(raw.c.out, &(struct frame){.kind = FRAME_FILE, .length = 1}, "y", NULL);
    assert_hung_up(&raw, &s);
    assert_int_equal(target_entries(&s), 1);
}

TEST(a_client_that_scribbles_over_its_lane_harms_nobody_else)
{
    struct session s;
    session_start(&s);
    for (int round = 0; round < 30; round++) {
        struct raw raw;
        raw_open(&raw, &s);
        raw_say(&raw, &(struct frame){.kind = FRAME_FILE, .length = 1}, "x");
        uint64_t *lane = (uint64_t *)(void *)rendezvous_lane(&raw.rendezvous, raw.c.lane);
        for (int i = 0; i < 2000; i++) { /* headers of both pipes, and the data's beginning */
            uint64_t place = random_below(round % 2 == 0 ? 64 : 2000);
            ((volatile uint64_t *)lane)[place] = random_below(UINT64_MAX);
        }
        raw_close(&raw);
        assert_int_equal(SEND(&s, "-f", session_file(&s, "after", 100)), 0);
    }
}

/* Connects, begins a file, scribbles small numbers over the states of its pipes and of every lane,
 * and dies. */
static int scribble_states_and_die(void *context)
{
    struct raw raw;
    struct session *s = context;
    int error;
    assert_ok(rendezvous_open(&raw.rendezvous, s->name, geteuid()));
    while ((error = rendezvous_call(&raw.rendezvous, &raw.c)) != 0) { /* as `send` does */
        assert_true(error == -EAGAIN || error == -ECONNREFUSED);
        sleep_ms(10);
    }
    raw_say(&raw, &(struct frame){.kind = FRAME_FILE, .length = 1}, "x");
    raw_say(&raw, &(struct frame){.kind = FRAME_DATA, .length = 4}, "data");
    struct rendezvous *r = &raw.rendezvous;
    char *lane = rendezvous_lane(r, raw.c.lane);
    if (random_below(2) == 0) {
        sleep_ms((int64_t)random_below(5));
    }
    for (int i = 0; i < 2; i++) {
        struct pipe_layout *pipe = (void *)(lane + (i == 0 ? LANE_REPLY : LANE_DATA));
        pipe->lines[random_below(2)].owner = random_below(8);
    }
    for (unsigned i = 0; i < LANE_COUNT; i++) {
        r->shared->lanes[i].state = (uint32_t)random_below(8);
    }
    (void)raise(SIGKILL);
    return 0;
}

static unsigned threads_at_rest; /* a sanitizer may have one of its own */

static unsigned count_threads(struct session *s)
{
    char tasks[64];
    (void)snprintf(tasks, sizeof tasks, "/proc/%d/task", (int)s->server);
    return count_entries(tasks, "");
}

static bool server_is_idle(void *context)
{
    struct session *s = context;
    struct stat st;
    return count_threads(s) == threads_at_rest && unnamed_bytes(s->server) == 0 &&
           stat(path_in("/dev/shm", s->object), &st) == 0 && st.st_blocks * 512 <= 200000;
}

TEST(clients_that_scribble_over_states_and_die_cost_the_server_nothing)
{
    struct session s;
    session_start(&s);
    assert_int_equal(SEND(&s, session_file(&s, "before", 100)), 0);
    sleep_ms(500);
    threads_at_rest = count_threads(&s);
    (void)random_below(2);
    for (int round = 0; round < 3 * LANE_COUNT / 2; round++) {
        assert_int_equal(run_child(scribble_states_and_die, &s), -SIGKILL);
        (void)random_below(2); /* each draws its own */
        if (round % 16 == 0) {
            assert_int_equal(SEND(&s, "-f", session_file(&s, "after", 100)), 0);
        }
    }
    assert_true(wait_until(server_is_idle, &s, 10000));
    assert_int_equal(SEND(&s, "-f", session_file(&s, "after", 100)), 0);
}

/* ---- what stands in the way -------------------------------------------------------------- */

TEST(an_existing_file_is_refused_unless_forced)
{
    struct session s;
    session_start(&s);
    write_whole_file(path_in(s.target, "file"), "old", 3);
    const char *file = session_file(&s, "file", 1000);
    assert_int_equal(SEND(&s, file, session_file(&s, "other", 1)), 1);
    assert_true(says(s.err, "exists already"));
    char *content = read_whole_file(path_in(s.target, "file"), NULL);
    assert_string_equal(content, "old");
    free(content);
    assert_true(same_content(path_in(s.source, "other"), path_in(s.target, "other")));
    assert_int_equal(SEND(&s, "--force", file), 0);
    assert_true(same_content(path_in(s.source, "file"), path_in(s.target, "file")));
    assert_int_equal(target_entries(&s), 2);
}

TEST(a_refusal_stops_a_large_file_early)
{
    struct session s;
    session_start(&s);
    write_whole_file(path_in(s.target, "endless"), "old", 3);
    assert_int_equal(SEND(&s, session_endless_file(&s, "endless")), 1);
    assert_true(says(s.err, "exists already"));
}

TEST(links_planted_in_the_target_are_refused_and_not_followed)
{
    struct session s;
    session_start(&s);
    const char *outside = temporary_directory();
    write_whole_file(path_in(outside, "victim"), "old", 3);
    assert_int_equal(symlink(path_in(outside, "victim"), path_in(s.target, "file")), 0);
    assert_int_equal(symlink(path_in(outside, "new"), path_in(s.target, "dangling")), 0);
    assert_int_equal(symlink(outside, path_in(s.target, "tree")), 0);
    assert_int_equal(mkdir(path_in(s.source, "tree"), 0755), 0);
    (void)session_file(&s, "tree/victim", 10);

    assert_int_equal(SEND(&s, "-f", session_file(&s, "file", 10)), 1);
    assert_true(says(s.err, "a symbolic link stands in its place"));
    assert_int_equal(SEND(&s, "-f", session_file(&s, "dangling", 10)), 1);
    assert_int_equal(SEND(&s, "-rf", path_in(s.source, "tree")), 1);
    char *content = read_whole_file(path_in(outside, "victim"), NULL);
    assert_string_equal(content, "old");
    free(content);
    assert_int_equal(count_entries(outside, "new"), 0);

    struct raw raw;
    raw_open(&raw, &s);
    assert_int_not_equal(offer(&raw, "tree/x", 6, FRAME_FORCE), VERDICT_OK);
    raw_close(&raw);
    assert_int_equal(count_entries(outside, "x"), 0);
}

TEST(what_is_no_regular_file_is_not_replaced)
{
    struct session s;
    session_start(&s);
    assert_int_equal(mkfifo(path_in(s.target, "fifo"), 0600), 0);
    assert_int_equal(mkdir(path_in(s.target, "directory"), 0700), 0);
    int socket_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path_in(s.target, "socket"));
    assert_int_equal(bind(socket_fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(SEND(&s, "-f", session_file(&s, "fifo", 10)), 1);
    assert_true(says(s.err, "a device, pipe or socket of that name exists"));
    assert_int_equal(SEND(&s, "-f", session_file(&s, "directory", 10)), 1);
    assert_true(says(s.err, "a directory of that name exists"));
    assert_int_equal(SEND(&s, "-f", session_file(&s, "socket", 10)), 1);
    assert_int_equal(target_entries(&s), 3);
    (void)close(socket_fd);
}

TEST(what_is_no_regular_file_is_not_sent)
{
    struct session s;
    session_start(&s);
    assert_int_equal(mkfifo(path_in(s.source, "fifo"), 0600), 0);
    assert_int_equal(SEND(&s, "/dev/zero", path_in(s.source, "fifo"), s.source, "missing",
                          session_file(&s, "file", 10)),
                     1);
    assert_true(says(s.err, "/dev/zero: is a device"));
    assert_true(says(s.err, "fifo: is a FIFO"));
    assert_true(says(s.err, "is a directory (-r"));
    assert_true(says(s.err, "missing: No such file"));
    assert_int_equal(target_entries(&s), 1); /* the last one got there */
}

/* An ordinary user's session: root may write anywhere. */
static void be_ordinary(struct session *s)
{
    if (!is_root()) {
        session_init(s);
        return;
    }
    share_holdfast();
    drop_privileges();
    session_init(s);
}

TEST(a_target_that_cannot_be_written_is_told_to_the_client_as_the_servers_matter)
{
    struct session s;
    be_ordinary(&s);
    session_serve(&s, NULL);
    assert_int_equal(chmod(s.target, 0555), 0);
    assert_int_equal(SEND(&s, session_file(&s, "file", 10)), 1);
    assert_true(says(s.err, "file: the server could not save it: Permission denied"));
    assert_int_equal(chmod(s.target, 0755), 0);
}

TEST(a_server_that_could_save_nothing_does_not_start)
{
    struct session s;
    be_ordinary(&s);
    assert_int_equal(chmod(s.target, 0555), 0);
    assert_int_equal(wait_child_for(session_start_server(&s, NULL), 5000), 1);
    assert_true(says(s.log, "holdfast: .: Permission denied"));
    assert_false(rendezvous_exists(&s));
    assert_int_equal(chmod(s.target, 0755), 0);
}

static int serve_where_it_was_removed(void *context)
{
    struct session *s = context;
    const char *gone = kept_path(s->source, "gone");
    assert_int_equal(mkdir(gone, 0755), 0);
    assert_int_equal(chdir(gone), 0);
    assert_int_equal(rmdir(gone), 0);
    const char *const serve[] = {holdfast(), "serve", "--name", s->name, NULL};
    struct spawn_options options = {.output = s->log, .errors = s->log};
    return wait_child_for(spawn(serve, &options), 5000);
}

TEST(a_server_in_a_directory_that_was_removed_does_not_start)
{
    struct session s;
    session_init(&s);
    assert_int_equal(run_child(serve_where_it_was_removed, &s), 1);
    assert_true(says(s.log, "holdfast: .: No such file or directory"));
    assert_false(rendezvous_exists(&s));
}

/* ---- planted rendezvous ------------------------------------------------------------------ */

static int run_serve(struct session *s)
{
    const char *const serve[] = {holdfast(), "serve", "--name", s->name, NULL};
    struct spawn_options options = {.directory = s->target, .output = s->out, .errors = s->err};
    pid_t server = spawn(serve, &options);
    int code = wait_child_for(server, 3000);
    return code == CHILD_RUNS ? kill_and_reap(server) : code;
}

/* As an unprivileged user, whose name root has planted something under. */
static void start_planted(struct session *s, uint32_t mode)
{
    if (!is_root()) {
        SKIP("needs root, to plant as one user and meet it as another");
    }
    session_init(s);
    share_holdfast();
    (void)snprintf(s->object, sizeof s->object, "holdfast.%u.%s", UNPRIVILEGED_USER, s->name);
    remove_shm_at_exit(s->object);
    hf_memory *planted;
    assert_ok(hf_shm_create(s->object, RENDEZVOUS_SIZE,
                            &(hf_memory_options){.mode = mode, .sparse = true}, &planted));
    hf_memory_close(planted);
}

static int meet_planted(void *context)
{
    struct session *s = context;
    drop_privileges();
    const char *files = temporary_directory();
    s->source = s->target = files;
    s->out = kept_path(files, "out");
    s->err = kept_path(files, "err");
    assert_int_equal(run_serve(s), 6);
    assert_true(says(s->err, "belongs to another user: refused"));
    assert_int_equal(SEND(s, session_file(s, "file", 10)), 6);
    assert_true(says(s->err, "belongs to another user: refused"));
    const char *const rm[] = {holdfast(), "rm", s->name, NULL};
    assert_int_equal(spawn_and_wait(rm, &(struct spawn_options){.errors = s->err}), 6);
    return 0;
}

TEST(a_rendezvous_planted_by_another_user_is_refused_by_both_sides)
{
    struct session s;
    start_planted(&s, 0666);
    assert_int_equal(run_child(meet_planted, &s), 0);
}

TEST(a_rendezvous_planted_and_closed_to_us_is_refused_by_both_sides)
{
    struct session s;
    start_planted(&s, 0600);
    assert_int_equal(run_child(meet_planted, &s), 0);
}

TEST(a_link_planted_as_rendezvous_is_refused_by_both_sides)
{
    struct session s;
    session_init(&s);
    const char *victim = path_in(s.source, "victim");
    write_whole_file(victim, "old", 3);
    assert_int_equal(symlink(victim, path_in("/dev/shm", s.object)), 0);
    assert_int_equal(run_serve(&s), 6);
    assert_int_equal(SEND(&s, session_file(&s, "file", 10)), 6);
    char *content = read_whole_file(path_in(s.source, "victim"), NULL);
    assert_string_equal(content, "old");
    free(content);
    assert_int_equal(unlink(path_in("/dev/shm", s.object)), 0);
}

TEST(memory_of_ours_that_is_no_rendezvous_is_refused_by_a_client_and_replaced_by_a_server)
{
    struct session s;
    session_init(&s);
    hf_memory *other;
    const uint64_t sizes[] = {0, 100, RENDEZVOUS_SIZE};
    for (int i = 0; i < 3; i++) {
        assert_ok(hf_shm_create(s.object, sizes[i], &(hf_memory_options){.sparse = true}, &other));
        hf_memory_close(other);
        assert_int_equal(SEND(&s, session_file(&s, "file", 10)), 6);
        assert_true(says(s.err, "is no rendezvous"));
        session_serve(&s, NULL);
        assert_int_equal(SEND(&s, "-f", session_file(&s, "file", 10)), 0);
        assert_int_equal(kill(s.server, SIGTERM), 0);
        assert_int_equal(wait_child_for(s.server, promised_ms(2000)), 0);
    }
}

static unsigned rendezvous_mode(struct session *s)
{
    struct stat st;
    assert_int_equal(stat(path_in("/dev/shm", s->object), &st), 0);
    return st.st_mode & 07777;
}

TEST(a_rendezvous_is_private_unless_told_otherwise_whatever_the_umask)
{
    struct session s;
    session_init(&s);
    (void)umask(0);
    session_serve(&s, NULL);
    assert_int_equal(rendezvous_mode(&s), 0600);
    (void)kill_and_reap(s.server);
    (void)umask(0777);
    session_serve(&s, (const char *const[]){"--mode", "0666", NULL});
    assert_int_equal(rendezvous_mode(&s), 0666);
    (void)kill_and_reap(s.server);
    if (!is_root()) {
        return;
    }
    (void)umask(022);
    session_serve(&s, (const char *const[]){"--group", "nogroup", NULL});
    assert_int_equal(rendezvous_mode(&s), 0660);
    struct stat st;
    assert_int_equal(stat(path_in("/dev/shm", s.object), &st), 0);
    assert_int_equal(st.st_gid, UNPRIVILEGED_USER);
}

static int send_as_a_member(void *context)
{
    struct session *s = context;
    drop_privileges();
    const char *files = temporary_directory();
    s->source = files;
    s->out = kept_path(files, "out");
    s->err = kept_path(files, "err");
    const char *file = session_file(s, "file", 100000);
    assert_int_equal(SEND(s, file), 3);                   /* one's own server: there is none */
    assert_int_equal(SEND(s, "--user", "root", file), 0); /* another user's */
    return 0;
}

static int send_as_a_stranger(void *context)
{
    struct session *s = context;
    drop_privileges();
    const char *files = temporary_directory();
    s->source = files;
    s->out = kept_path(files, "out");
    s->err = kept_path(files, "err");
    assert_int_equal(SEND(s, "--user", "0", session_file(s, "file", 10)), 1);
    assert_true(says(s->err, "permission denied"));
    assert_true(says(s->err, "--group"));
    return 0;
}

TEST(members_of_the_group_may_send_and_strangers_may_not)
{
    if (!is_root()) {
        SKIP("needs root, to be two users");
    }
    struct session s;
    session_init(&s);
    share_holdfast();
    session_serve(&s, (const char *const[]){"--group", "nogroup", NULL});
    assert_int_equal(run_child(send_as_a_member, &s), 0);
    assert_int_equal(target_entries(&s), 1);
    (void)kill_and_reap(s.server);
    session_serve(&s, NULL);
    assert_int_equal(run_child(send_as_a_stranger, &s), 0);
}

static int serve_for_a_foreign_group(void *context)
{
    struct session *s = context;
    drop_privileges();
    const char *files = temporary_directory();
    const char *err = kept_path(files, "err");
    const char *const serve[] = {holdfast(), "serve", "--name", s->name,
                                 "--group",  "0",     files,    NULL};
    assert_int_equal(spawn_and_wait(serve, &(struct spawn_options){.errors = err}), 1);
    assert_true(says(err, "is the group one of yours?"));
    return 0;
}

TEST(a_group_that_is_not_the_servers_is_refused_with_the_reason)
{
    if (!is_root()) {
        SKIP("needs root, to become somebody who is not in root's group");
    }
    struct session s;
    session_init(&s);
    share_holdfast();
    assert_int_equal(run_child(serve_for_a_foreign_group, &s), 0);
}
