/* SPDX-License-Identifier: MIT */
/* Participants and the bytes of their slots: who has none, or has lost it, lives all the same. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/os.h"
#include "segment/pages.h"
#include "support/participants.h"
#include "support/support.h"

/* ---- stopped between two steps ------------------------------------------------------------ */

int __real_hf_os_process_unlock(int fd, uint64_t offset);
int __wrap_hf_os_process_unlock(int fd, uint64_t offset);
int __real_hf_os_byte_locked(int fd, uint64_t offset, bool *locked);
int __wrap_hf_os_byte_locked(int fd, uint64_t offset, bool *locked);
void __real_hf_os_life_link(os_life *life, unsigned index);
void __wrap_hf_os_life_link(os_life *life, unsigned index);
void __real_hf_os_life_unlink(os_life *life);
void __wrap_hf_os_life_unlink(os_life *life);
int __real_hf_in_pages_add_slots(struct participant *p);
int __wrap_hf_in_pages_add_slots(struct participant *p);
bool __real_hf_lives_after_all(struct view *view, uint32_t number);
bool __wrap_hf_lives_after_all(struct view *view, uint32_t number);

/* Steps of attaching and leaving: see participant.c; and of recovering. */
typedef enum place {
    NOWHERE,
    BEFORE_LINKING,   /* claimed, the life word says nothing yet */
    BEFORE_ADDING,    /* has a slot, and is about to make room for more */
    BEFORE_UNLINKING, /* the life word says nothing any more, claimed */
    BEFORE_UNLOCKING, /* free, its byte is not */
    BEFORE_UNDOING    /* has claimed a dead one's slot, to recover it */
} place;

/* Where this process stops itself, once. */
static place stop_at;

/* This process takes its time at each. */
static bool dawdles;

/* It closes a descriptor of this segment where it stops, as another of its threads may: that drops
   its bytes. NULL: it does not. */
static struct scene *closes_at_the_stop;

static void close_another_descriptor(struct scene *scene);

static void pass(place here)
{
    if (dawdles) {
        (void)usleep(100);
    }
    if (stop_at == here) {
        stop_at = NOWHERE;
        if (closes_at_the_stop != NULL) {
            close_another_descriptor(closes_at_the_stop);
        }
        (void)raise(SIGSTOP);
    }
}

int __wrap_hf_os_process_unlock(int fd, uint64_t offset)
{
    pass(BEFORE_UNLOCKING);
    return __real_hf_os_process_unlock(fd, offset);
}

void __wrap_hf_os_life_link(os_life *life, unsigned index)
{
    pass(BEFORE_LINKING);
    __real_hf_os_life_link(life, index);
}

void __wrap_hf_os_life_unlink(os_life *life)
{
    pass(BEFORE_UNLINKING);
    __real_hf_os_life_unlink(life);
}

/* A child tells this scene 2 when it makes room for others; NULL: it does not. */
static struct scene *tells_of_adding;

int __wrap_hf_in_pages_add_slots(struct participant *p)
{
    if (tells_of_adding != NULL) {
        tell(tells_of_adding, 2);
    }
    pass(BEFORE_ADDING);
    return __real_hf_in_pages_add_slots(p);
}

bool __wrap_hf_lives_after_all(struct view *view, uint32_t number)
{
    pass(BEFORE_UNDOING);
    return __real_hf_lives_after_all(view, number);
}

/* Called once, when somebody's byte has been looked at and before anything follows from it. */
static void (*after_look)(void);

int __wrap_hf_os_byte_locked(int fd, uint64_t offset, bool *locked)
{
    int error = __real_hf_os_byte_locked(fd, offset, locked);
    void (*then)(void) = after_look;
    after_look = NULL;
    if (then != NULL) {
        then();
    }
    return error;
}

static void need_robust_lists(void)
{
    void *head;
    size_t size;
    if (syscall(SYS_get_robust_list, 0, &head, &size) != 0) {
        SKIP("nobody attaches without a byte here");
    }
}

static uint32_t own_slot(struct scene *scene)
{
    hf_participant me;
    assert_ok(hf_participant_self(scene->segment, &me));
    return (uint32_t)(me.value & 0xfff);
}

static struct slot *slot_at(struct scene *scene, uint32_t number)
{
    char *base = hf_segment_base(scene->segment);
    struct segment_header *header = (struct segment_header *)(void *)base;
    struct slot_page *page =
        (struct slot_page *)(void *)(base + load_acquire(&header->slot_runs[0]));
    return &page->slots[number - 1];
}

static void expect_nobody_dead(struct scene *scene)
{
    unsigned recovered;
    assert_ok(hf_segment_recover(scene->segment, &recovered));
    assert_int_equal(recovered, 0);
}

/* ---- attaching while another leaves ------------------------------------------------------- */

/* So that there are the first four slots, and will be no more. */
static void take_all_pages(struct scene *scene)
{
    hf_off *links = (hf_off *)(void *)scene->root->values;
    size_t taken = 0;
    memset(links, 0, sizeof scene->root->values);
    while (taken < LOCKS && hf_pages_alloc(scene->segment, SEGMENT_PAGE, &links[taken]) == 0) {
        taken++;
    }
}

static int leave_slowly(void *context)
{
    struct scene *scene = context;
    (void)own_slot(scene);
    stop_at = BEFORE_UNLOCKING;
    assert_ok(hf_thread_leave(scene->segment));
    return 0;
}

static pid_t start_stopped(int (*run)(void *), struct scene *scene)
{
    pid_t child = start_child(run, scene);
    wait_for_state(child, 'T');
    return child;
}

static void resume(pid_t child)
{
    assert_int_equal(kill(child, SIGCONT), 0);
}

#define LEAVERS 3

/* We have the first slot. The others are free, and their bytes are not. */
static void start_leavers(struct scene *scene, pid_t leavers[LEAVERS])
{
    take_all_pages(scene);
    assert_int_equal(own_slot(scene), 1);
    for (size_t i = 0; i < LEAVERS; i++) {
        leavers[i] = start_stopped(leave_slowly, scene);
    }
}

static void let_them_leave(const pid_t leavers[LEAVERS])
{
    for (size_t i = 0; i < LEAVERS; i++) {
        resume(leavers[i]);
        assert_int_equal(wait_child_for(leavers[i], 10000), 0);
    }
}

static int attach_slowly(void *context)
{
    struct scene *scene = context;
    stop_at = BEFORE_LINKING;
    scene->notes->count = own_slot(scene);
    return hold_the_mutex(scene);
}

static int attach_and_stay(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_mutex_lock(&scene->root->locks[0]));
    tell(scene, 1);
    wait_for_death();
}

TEST(who_takes_a_slot_without_its_byte_is_alive_from_the_first_moment)
{
    need_robust_lists();
    struct scene scene = new_scene();
    pid_t leavers[LEAVERS];
    start_leavers(&scene, leavers);
    pid_t claimer = start_stopped(attach_slowly, &scene);
    expect_nobody_dead(&scene);
    let_them_leave(leavers);
    expect_nobody_dead(&scene);
    pid_t other = start_told(attach_and_stay, &scene, 1);
    tell(&scene, 0);
    resume(claimer);
    await(&scene, 1);
    assert_error(hf_mutex_trylock(&scene.root->mutex), -EBUSY);
    assert_error(hf_mutex_trylock(&scene.root->locks[0]), -EBUSY);
    assert_int_equal(kill_and_reap(claimer), -SIGKILL);
    expect_lock(&scene.root->mutex, -EOWNERDEAD);
    assert_error(hf_mutex_trylock(&scene.root->locks[0]), -EBUSY);
    assert_int_equal(kill_and_reap(other), -SIGKILL);
    close_scene(&scene);
}

TEST(who_dies_taking_a_slot_without_its_byte_is_found)
{
    need_robust_lists();
    struct scene scene = new_scene();
    pid_t leavers[LEAVERS];
    unsigned recovered;
    start_leavers(&scene, leavers);
    pid_t claimer = start_stopped(attach_slowly, &scene);
    let_them_leave(leavers);
    assert_int_equal(kill_and_reap(claimer), -SIGKILL);
    assert_ok(hf_segment_recover(scene.segment, &recovered));
    assert_int_equal(recovered, 1);
    close_scene(&scene);
}

static int attach(void *context)
{
    struct scene *scene = context;
    (void)own_slot(scene);
    tell(scene, 1);
    wait_for_death();
}

static int attach_and_lose_the_byte(void *context)
{
    struct scene *scene = context;
    closes_at_the_stop = scene;
    stop_at = BEFORE_LINKING;
    return hold_the_mutex(scene);
}

TEST(who_loses_a_slots_byte_while_it_takes_the_slot_is_alive_all_the_same)
{
    need_robust_lists();
    struct scene scene = new_scene();
    assert_int_equal(own_slot(&scene), 1);
    pid_t claimer = start_stopped(attach_and_lose_the_byte, &scene);
    expect_nobody_dead(&scene);
    (void)start_told(attach, &scene, 1);
    expect_participants(&scene, 3, 0);
    tell(&scene, 0);
    resume(claimer);
    await(&scene, 1);
    assert_error(hf_mutex_trylock(&scene.root->mutex), -EBUSY);
    assert_int_equal(kill_and_reap(claimer), -SIGKILL);
    expect_lock(&scene.root->mutex, -EOWNERDEAD);
    close_scene(&scene);
}

TEST(who_dies_taking_a_slot_whose_byte_it_has_lost_is_found)
{
    need_robust_lists();
    struct scene scene = new_scene();
    unsigned recovered;
    assert_int_equal(own_slot(&scene), 1);
    pid_t claimer = start_stopped(attach_and_lose_the_byte, &scene);
    assert_int_equal(kill_and_reap(claimer), -SIGKILL);
    assert_ok(hf_segment_recover(scene.segment, &recovered));
    assert_int_equal(recovered, 1);
    close_scene(&scene);
}

/* ---- attaching while no slot is free ------------------------------------------------------ */

/* Is stopped where it is to make room for others, if it is. */
static int attach_or_stop(void *context)
{
    tells_of_adding = context;
    stop_at = BEFORE_ADDING;
    return attach(context);
}

TEST(one_who_is_stopped_while_it_makes_room_for_others_keeps_nobody_out)
{
    struct scene scene = new_scene();
    pid_t last;
    do {
        last = start_told(attach_or_stop, &scene, 1);
    } while (load_acquire(&scene.notes->step) != 2);
    wait_for_state(last, 'T');
    for (unsigned i = 0; i < 5; i++) { /* more than are in a page */
        (void)start_told(attach, &scene, 1);
    }
    close_scene(&scene);
}

static int recover_until_stopped(void *context)
{
    struct scene *scene = context;
    (void)own_slot(scene);
    tell(scene, 1);
    await(scene, 2);
    stop_at = BEFORE_UNDOING;
    (void)hf_segment_recover(scene->segment, NULL);
    return 1;
}

TEST(the_slot_of_the_dead_whose_recoverer_died_can_be_had)
{
    struct scene scene = new_scene();
    take_all_pages(&scene);
    assert_int_equal(own_slot(&scene), 1);
    (void)start_told(attach, &scene, 1);
    pid_t dead = start_told(attach, &scene, 1);
    pid_t recoverer = start_told(recover_until_stopped, &scene, 1);
    assert_int_equal(kill_and_reap(dead), -SIGKILL);
    tell(&scene, 2);
    wait_for_state(recoverer, 'T');
    assert_int_equal(load_acquire(&slot_at(&scene, 3)->claim) & 0xfff, 4);
    assert_int_equal(kill_and_reap(recoverer), -SIGKILL);
    (void)start_told(attach, &scene, 1);
    (void)start_told(attach, &scene, 1);
    expect_participants(&scene, 4, 0);
    close_scene(&scene);
}

/* ---- leaving without a byte --------------------------------------------------------------- */

static int leave_without_a_byte(void *context)
{
    struct scene *scene = context;
    (void)own_slot(scene);
    tell(scene, 1);
    await(scene, 2);
    stop_at = BEFORE_UNLINKING;
    assert_ok(hf_thread_leave(scene->segment));
    return 0;
}

TEST(who_gives_a_slot_back_without_having_had_its_byte_is_alive_to_the_last_moment)
{
    need_robust_lists();
    struct scene scene = new_scene();
    pid_t leavers[LEAVERS];
    start_leavers(&scene, leavers);
    pid_t leaver = start_told(leave_without_a_byte, &scene, 1);
    let_them_leave(leavers);
    tell(&scene, 2);
    wait_for_state(leaver, 'T');
    expect_nobody_dead(&scene);
    resume(leaver);
    assert_int_equal(wait_child_for(leaver, 10000), 0);
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

/* As POSIX has it: closing any descriptor of a file drops the locks on it. */
static void close_another_descriptor(struct scene *scene)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d",
                   hf_memory_descriptor(hf_segment_memory(scene->segment)));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
}

static int leave_with_a_lost_byte(void *context)
{
    struct scene *scene = context;
    (void)own_slot(scene);
    close_another_descriptor(scene);
    stop_at = BEFORE_UNLINKING;
    assert_ok(hf_thread_leave(scene->segment));
    return 0;
}

TEST(who_gives_a_slot_back_whose_byte_was_lost_is_alive_to_the_last_moment)
{
    need_robust_lists();
    struct scene scene = new_scene();
    (void)own_slot(&scene);
    pid_t leaver = start_stopped(leave_with_a_lost_byte, &scene);
    expect_nobody_dead(&scene);
    resume(leaver);
    assert_int_equal(wait_child_for(leaver, 10000), 0);
    expect_participants(&scene, 1, 0);
    close_scene(&scene);
}

/* ---- without robust lists: the byte is all there is --------------------------------------- */

static const char *segment_name;

static int hold_and_open_again(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_mutex_lock(&scene->root->mutex));
    for (unsigned i = 0; i < 20; i++) {
        hf_memory *memory;
        hf_segment *again;
        assert_ok(hf_shm_open(segment_name, HF_READ_WRITE, &memory));
        assert_ok(hf_segment_open_memory(memory, HF_READ_WRITE, &again));
        hf_segment_close(again);
    }
    tell(scene, 1);
    await(scene, 2);
    return hf_mutex_unlock(&scene->root->mutex) == 0 ? 0 : 1;
}

TEST(who_opens_its_segments_memory_again_and_again_keeps_its_locks)
{
    char name[UNIQUE_NAME_SIZE];
    struct scene scene = new_scene();
    void *root;
    refuse_syscall(SYS_get_robust_list, ENOSYS);
    hf_segment_close(scene.segment);
    segment_name = unique_name(name, "byte");
    assert_ok(hf_segment_create(name, UINT64_C(256) << 10, NULL, &scene.segment));
    assert_ok(hf_segment_root(scene.segment, sizeof *scene.root, &root));
    scene.root = root;
    pid_t holder = start_told(hold_and_open_again, &scene, 1);
    assert_error(hf_mutex_timedlock(&scene.root->mutex, MILLISECONDS(300)), -ETIMEDOUT);
    expect_nobody_dead(&scene);
    tell(&scene, 2);
    assert_int_equal(wait_child_for(holder, 10000), 0);
    close_scene(&scene);
}

/* ---- a verdict that is late --------------------------------------------------------------- */

static int hold_by_the_byte_alone(void *context)
{
    refuse_syscall(SYS_get_robust_list, ENOSYS);
    return hold_the_mutex(context);
}

static int recover_and_leave(void *context)
{
    struct scene *scene = context;
    assert_ok(hf_segment_recover(scene->segment, NULL));
    assert_ok(hf_thread_leave(scene->segment));
    return 0;
}

static struct scene *late;
static pid_t successor;

/* Another recovers the dead, a living one has the slot, and what counts its owners has been round
   once: a million of them. */
static void let_a_million_pass(void)
{
    struct slot *slot = slot_at(late, 2);
    uint64_t claim = load_acquire(&slot->claim);
    assert_int_equal(run_child(recover_and_leave, late), 0);
    successor = start_told(attach_and_stay, late, 1);
    assert_int_equal(load_acquire(&slot->claim) & 0xfff, 2);
    store_release(&slot->claim, claim);
}

TEST(a_verdict_on_one_who_is_gone_does_not_hit_a_later_one_of_the_same_number)
{
    need_robust_lists();
    struct scene scene = new_scene();
    unsigned recovered;
    assert_int_equal(own_slot(&scene), 1);
    assert_int_equal(kill_and_reap(start_told(hold_by_the_byte_alone, &scene, 1)), -SIGKILL);
    late = &scene;
    after_look = let_a_million_pass;
    assert_ok(hf_segment_recover(scene.segment, &recovered));
    assert_null(after_look);
    assert_int_equal(recovered, 0);
    assert_error(hf_mutex_trylock(&scene.root->locks[0]), -EBUSY);
    assert_int_equal(kill_and_reap(successor), -SIGKILL);
    expect_lock(&scene.root->locks[0], -EOWNERDEAD);
    close_scene(&scene);
}

/* ---- many --------------------------------------------------------------------------------- */

static int come_and_go(void *context)
{
    struct scene *scene = context;
    dawdles = true;
    while (load_acquire(&scene->notes->step) == 0) {
        hf_participant me;
        bool lives = false;
        int error = hf_participant_self(scene->segment, &me);
        if (error == -EAGAIN) { /* the others are slow, and have all the bytes */
            continue;
        }
        assert_ok(error);
        assert_ok(hf_participant_lives(scene->segment, me, &lives));
        assert_true(lives);
        assert_ok(hf_thread_leave(scene->segment));
    }
    return 0;
}

TEST(where_nobody_dies_nobody_is_recovered_however_many_come_and_go)
{
    enum { JOINERS = 3 };
    pid_t joiners[JOINERS];
    struct scene scene = new_scene();
    unsigned total = 0;
    take_all_pages(&scene); /* so that they meet at few slots */
    pid_t other = start_told(attach_and_stay, &scene, 1);
    tell(&scene, 0);
    for (size_t i = 0; i < JOINERS; i++) {
        joiners[i] = start_child(come_and_go, &scene);
    }
    for (int64_t end = now_ms() + 2000; now_ms() < end;) {
        unsigned recovered;
        assert_ok(hf_segment_recover(scene.segment, &recovered));
        total += recovered;
    }
    tell(&scene, 1);
    for (size_t i = 0; i < JOINERS; i++) {
        assert_int_equal(wait_child_for(joiners[i], 10000), 0);
    }
    assert_int_equal(total, 0);
    expect_participants(&scene, 2, 0);
    assert_int_equal(kill_and_reap(other), -SIGKILL);
    close_scene(&scene);
}
