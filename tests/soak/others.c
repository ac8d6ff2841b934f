/* SPDX-License-Identifier: MIT */
/* Looking around, leaving and coming back, second handles, forked children, and side segments. */
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "soak/soak.h"

#define SIDE_SIZE UINT64_C(40960)

void look_around(struct actor *a)
{
    hf_segment_info info;
    bool alive;
    hf_check_report report;
    struct stream *s = &a->table->stream[below(&a->chance, STREAMS)];
    must(a, CALL(a, 0, hf_segment_get_info(a->segment, &info)));
    if (info.used > info.size || info.size > info.maximum || info.participants == 0) {
        fail(a, "%llu bytes of %llu are in use, by %u participants", (unsigned long long)info.used,
             (unsigned long long)info.size, (unsigned)info.participants);
    }
    must(a, CALL(a, 0, hf_participant_lives(a->segment, s->user[0], &alive)));
    must(a, CALL(a, 0, hf_participant_lives(a->segment, a->self, &alive)));
    if (!alive) {
        fail(a, "we are said to be dead: slot %u", (unsigned)(a->self.value & 0xfff));
    }
    must(a, CALL(a, 0, hf_thread_recover(a->segment)));
    if (PERMIT(a, CALL(a, 0, hf_check(a->segment, &report)), -EAGAIN, -EBADMSG) == -EBADMSG) {
        fail(a, "hf_check takes work for damage: %s", report.what);
    }
}

void recover(struct actor *a)
{
    unsigned recovered = 0;
    must(a, CALL(a, 0, hf_segment_recover(a->segment, &recovered)));
    count(a->seat, COUNT_RECOVERIES, recovered);
}

/* With a lock held, and a transaction open, at times: as at a death. */
void leave_and_join(struct actor *a)
{
    struct account *account = &a->table->loose[below(&a->chance, LOOSE)];
    bool holding = one_in(&a->chance, 2) && take(a, &account->guard, true) != HAD_NOT;
    if (holding && one_in(&a->chance, 2)) {
        must(a, CALL(a, 0, hf_tx_begin(a->segment)));
        must(a, CALL(a, 0, hf_tx_add(a->segment, (const void *)&account->money, 8)));
        account->money = account->money + 1;
        linger(a);
    }
    must(a, CALL(a, 0, hf_thread_leave(a->segment)));
    linger(a);
    join(a);
    if (holding && CALL(a, 0, hf_mutex_unlock(&account->guard.mutex)) != -EPERM) {
        fail(a, "who has left holds its lock still");
    }
    if (CALL(a, 0, hf_tx_commit(a->segment)) != -EINVAL) {
        fail(a, "who has left has its transaction still");
    }
}

/* ---- handles ----------------------------------------------------------------------------- */

static int open_again(struct actor *a, hf_access access, hf_segment **segment)
{
    if (a->arena->kind == ARENA_FILE) {
        return CALL(a, access, hf_segment_open_file(a->arena->name, access, segment));
    }
    return CALL(a, access, hf_segment_open(a->arena->name, access, segment));
}

void second_handle(struct actor *a)
{
    hf_segment *again = NULL;
    if (a->arena->kind == ARENA_ANONYMOUS) {
        return;
    }
    if (open_again(a, HF_COPY_ON_WRITE, &again) != -EBUSY) {
        fail(a, "a copy can be opened beside a writer");
    }
    hf_access access = one_in(&a->chance, 4) ? HF_READ_ONLY : HF_READ_WRITE;
    must(a, open_again(a, access, &again));
    linger(a);
    if (hf_segment_base(again) != hf_segment_base(a->segment)) {
        fail(a, "a second handle has a mapping of its own");
    }
    if (access == HF_READ_WRITE) {
        hf_segment *first = a->segment;
        a->segment = again;
        transfer_strictly(a);
        a->segment = first;
    } else if (CALL(a, 0, hf_tx_begin(again)) != -EACCES) {
        fail(a, "a transaction can be begun through a handle that only reads");
    }
    call_begins(a, "hf_segment_close(again)", 0);
    hf_segment_close(again);
    (void)call_ended(a, 0);
}

/* ---- children ---------------------------------------------------------------------------- */

/* It has nothing of what its parent's thread has. */
static _Noreturn void child_main(struct actor *a, pid_t parent, struct account *held)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(0);
    }
    a->is_child = true;
    a->has_forked = true;
    a->seat = a->child_seat;
    a->thread = (uint32_t)getpid();
    a->chance = chance_of(a->chance.state, 1, 2, 3);
    store_relaxed(&a->seat->process, a->thread);
    store_relaxed(&a->seat->thread, a->thread);
    join(a);
    if (held != NULL && (CALL(a, 0, hf_mutex_unlock(&held->guard.mutex)) != -EPERM ||
                         CALL(a, 0, hf_tx_commit(a->segment)) != -EINVAL)) {
        fail(a, "a child has its parent's lock, or transaction");
    }
    for (uint64_t n = below(&a->chance, 60); n > 0; n--) {
        act(a);
    }
    if (one_in(&a->chance, 2)) {
        must(a, CALL(a, 0, hf_thread_leave(a->segment)));
    }
    _exit(0);
}

/* One child at most; it dies with the thread. */
void fork_a_child(struct actor *a)
{
    if (a->has_forked) {
        return;
    }
    a->has_forked = true;
    struct account *held = NULL;
    if (one_in(&a->chance, 2)) {
        held = &a->table->loose[0];
        must(a, CALL(a, 0, hf_tx_begin(a->segment)));
        if (take(a, &held->guard, false) == HAD_SUSPECT) {
            mended(a, &held->guard);
        }
    }
    pid_t parent = getpid();
    call_begins(a, "fork()", 0);
    pid_t pid = fork();
    if (pid == 0) {
        child_main(a, parent, held);
    }
    (void)call_ended(a, pid > 0 ? 0 : -errno);
    linger(a);
    if (held != NULL) {
        give(a, &held->guard);
        must(a, CALL(a, 0, hf_tx_commit(a->segment)));
    }
}

/* ---- side segments ----------------------------------------------------------------------- */

static void use_side_twin(struct actor *a, struct side_table *side)
{
    int result = CALL(a, 0, hf_mutex_lock(&side->twin.guard.mutex));
    if (PERMIT(a, result, -EOWNERDEAD) == 0 && side->twin.one != side->twin.other) {
        fail(a, "twins of a side segment differ, and nobody said that their owner died");
    }
    if (result == -EOWNERDEAD) {
        count(a->seat, COUNT_OWNERS_DEAD, 1);
        side->twin.other = side->twin.one;
        must(a, CALL(a, 0, hf_mutex_consistent(&side->twin.guard.mutex)));
    }
    side->twin.one = side->twin.one + 1;
    linger(a);
    side->twin.other = side->twin.one;
}

/* Some work on a side segment; whether its name is there or not, it is whole. */
static void use_side_segment(struct actor *a, hf_segment *segment, bool must_be_made)
{
    void *root;
    hf_participant self;
    if (PERMIT(a, CALL(a, 0, hf_participant_self(segment, &self)), -EAGAIN) != 0) {
        return;
    }
    must(a, CALL(a, 0, hf_segment_root(segment, sizeof(struct side_table), &root)));
    struct side_table *side = root;
    if (must_be_made && side->made != SIDE_MADE) {
        fail(a, "a side segment is there before it is made");
    }
    use_side_twin(a, side);
    uint64_t bytes = SIDE_PAGES * HF_SEGMENT_PAGE;
    if (side->link.value == 0) {
        (void)PERMIT(a, CALL(a, 0, hf_pages_alloc(segment, bytes, &side->link)), -ENOMEM);
    } else {
        must(a, CALL(a, 0, hf_pages_free(segment, bytes, &side->link)));
    }
    must(a, CALL(a, 0, hf_mutex_unlock(&side->twin.guard.mutex)));
}

static void close_side(struct actor *a, hf_segment *segment)
{
    call_begins(a, "hf_segment_close(side)", 0);
    hf_segment_close(segment);
    (void)call_ended(a, 0);
}

/* What is in it is there before its name is. */
static void make_side(struct actor *a)
{
    hf_segment *segment = NULL;
    hf_segment_options options = {.maximum = 2 * SIDE_SIZE};
    void *root;
    hf_participant self;
    must(a, CALL(a, 0, hf_segment_prepare(SIDE_SIZE, &options, &segment)));
    must(a, CALL(a, 0, hf_participant_self(segment, &self)));
    must(a, CALL(a, 0, hf_segment_root(segment, sizeof(struct side_table), &root)));
    ((struct side_table *)root)->made = SIDE_MADE;
    linger(a);
    (void)PERMIT(a, CALL(a, 0, hf_segment_publish(segment, a->arena->side[0])), -EEXIST);
    use_side_segment(a, segment, true);
    close_side(a, segment);
}

/* open, create or either: with what is there, or is not. */
static void come_to_side(struct actor *a, unsigned which, uint64_t way)
{
    const char *name = a->arena->side[which];
    hf_segment_options options = {.maximum = 2 * SIDE_SIZE};
    hf_segment *segment = NULL;
    int result;
    switch (way) {
    case 0:
        result = CALL(a, which, hf_segment_create(name, SIDE_SIZE, &options, &segment));
        (void)PERMIT(a, result, -EEXIST);
        break;
    case 1:
        result =
            CALL(a, which, hf_segment_open_or_create(name, SIDE_SIZE, &options, NULL, &segment));
        must(a, result);
        break;
    default:
        result = CALL(a, which, hf_segment_open(name, HF_READ_WRITE, &segment));
        (void)PERMIT(a, result, -ENOENT);
        break;
    }
    if (result == 0) {
        linger(a);
        use_side_segment(a, segment, which == 0);
        close_side(a, segment);
    }
}

void side_segment(struct actor *a)
{
    unsigned which = (unsigned)below(&a->chance, 2);
    uint64_t way = below(&a->chance, 4);
    if (way == 3) {
        (void)PERMIT(a, CALL(a, which, hf_segment_remove(a->arena->side[which])), -ENOENT);
    } else if (which == 0 && way < 2) {
        make_side(a);
    } else {
        come_to_side(a, which, way);
    }
}
