/* SPDX-License-Identifier: MIT */
/*
 * What a death leaves of a reader-writer lock. A reader, or an upgradable holder, leaves nothing:
 * those scenarios have no effect, and the victim itself sees that its call did what it should.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "proof/board.h"
#include "segment/handle.h"
#include "segment/holds.h"

static hf_rwlock *lock_of(struct arena *arena)
{
    return &board_of(arena)->rwlock[0];
}

static struct lock *bytes_of(hf_rwlock *lock)
{
    return (struct lock *)(void *)lock;
}

static void make_board(struct arena *arena)
{
    (void)board_of(arena);
}

/* ---- what is seen of it ------------------------------------------------------------------ */

static bool is_had(int error)
{
    return error == 0 || error == -EOWNERDEAD;
}

/* Writes, and mends the data: what it was told. */
static int write_and_mend(hf_rwlock *lock, bool spin)
{
    int error;
    do {
        error = spin ? hf_rwlock_trywrlock(lock) : hf_rwlock_timedwrlock(lock, 10 * SECOND);
    } while (error == -EBUSY);
    if (error == -EOWNERDEAD) {
        require(hf_rwlock_consistent(lock) == 0, "consistent");
    }
    require(!is_had(error) || hf_rwlock_wrunlock(lock) == 0, "unlock");
    return error;
}

static int read_a_moment(hf_rwlock *lock)
{
    int error = hf_rwlock_timedrdlock(lock, 10 * SECOND);
    require(!is_had(error) || hf_rwlock_rdunlock(lock) == 0, "unlock");
    return error;
}

/* Two want to write, and the one that is stopped to read. */
static void contend(struct arena *arena, contender who)
{
    struct board *board = board_of(arena);
    hf_rwlock *lock = lock_of(arena);
    int error = who == CONTENDER_STOPPED ? read_a_moment(lock)
                                         : write_and_mend(lock, who == CONTENDER_SPINNING);
    require(error != -ETIMEDOUT, "a contender waits for ever");
    if (board->rwlock_was_told == 0 && error != -EINVAL) {
        board->rwlock_told = error;
        board->rwlock_was_told = 1;
    }
}

/* Can both be had? What the first says of its last owner. */
static int have_both(struct arena *copy)
{
    struct board *board = board_of(copy);
    int error = write_and_mend(&board->rwlock[1], false);
    require(error == 0, "the other lock");
    error = write_and_mend(&board->rwlock[0], false);
    if (is_had(error) && (read_a_moment(&board->rwlock[0]) != 0 ||
                          (load_relaxed(&bytes_of(&board->rwlock[0])->word) & LOCK_OWNER) != 0)) {
        return -EIO;
    }
    return board->rwlock_was_told != 0 ? board->rwlock_told : error;
}

/* Free, or left by a writer that died. */
static outcome judge(struct arena *copy, outcome free_is, outcome held_is)
{
    int error = have_both(copy);
    if (!is_had(error)) {
        return bad("the lock cannot be had: %s", hf_strerror(error));
    }
    return if_whole(copy, error == 0 ? free_is : held_is);
}

static outcome judge_locking(struct arena *copy)
{
    return judge(copy, OUTCOME_BEFORE, OUTCOME_AFTER);
}

static outcome judge_unlocking(struct arena *copy)
{
    return judge(copy, OUTCOME_AFTER, OUTCOME_BEFORE);
}

/* Nobody can have written: nobody is told of a death. */
static outcome judge_harmless(struct arena *copy)
{
    return judge(copy, OUTCOME_BEFORE, OUTCOME_BAD);
}

/* The writer died before the victim came: everyone hears of it, whatever the victim did. */
static outcome judge_suspect(struct arena *copy)
{
    return judge(copy, OUTCOME_BAD, OUTCOME_BEFORE);
}

/* Beside a living reader: nobody can write, and it is still inside. */
static outcome judge_beside_a_reader(struct arena *copy)
{
    hf_rwlock *lock = lock_of(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    if (hf_rwlock_tryrdlock(lock) != 0 || hf_rwlock_rdunlock(lock) != 0) {
        return bad("a reader is kept out, beside another");
    }
    if (hf_rwlock_tryuplock(lock) != 0 || hf_rwlock_upunlock(lock) != 0) {
        return bad("the lock cannot be had upgradably");
    }
    int error = hf_rwlock_trywrlock(lock);
    if (error != -EBUSY) {
        return bad("a writer beside a reader is told %d", error);
    }
    return if_whole(copy, OUTCOME_BEFORE);
}

/* ---- the victim's own view --------------------------------------------------------------- */

static struct participant *self_of(struct arena *arena)
{
    struct participant *p;
    require(participant_of(arena->segment->view, &p) == 0, "participant");
    return p;
}

/* How often it holds the lock shared; of words that nobody looks at, none is left. */
static uint64_t reads(struct arena *arena, unsigned lock)
{
    struct participant *p = self_of(arena);
    uint64_t offset = hf_segment_offset(arena->segment, &board_of(arena)->rwlock[lock]).value;
    uint32_t place = hold_find(p->slot, offset, HOLD_READ);
    return place == HOLDS_MAX ? 0 : hold_count(load_relaxed(&p->slot->holds[place]));
}

/* Has it the lock in that way (0: exclusively), and for good: as the last of those held? */
static bool owns(struct arena *arena, uint32_t mode)
{
    struct participant *p = self_of(arena);
    hf_rwlock *lock = lock_of(arena);
    uint32_t word = load_relaxed(&bytes_of(lock)->word) & ~LOCK_OWNER_DIED & ~LOCK_WAITERS;
    return word == (p->number | mode) &&
           load_relaxed(&p->slot->held) == hf_segment_offset(arena->segment, lock).value;
}

static bool owns_nothing(struct arena *arena)
{
    struct participant *p = self_of(arena);
    return (load_relaxed(&bytes_of(lock_of(arena))->word) & LOCK_OWNER) != p->number &&
           load_relaxed(&p->slot->held) == 0 && load_relaxed(&p->slot->intent) == 0;
}

/* 0, if the call gave `expected` and left what it should. */
static int good(int error, int expected, bool left)
{
    return error != expected ? (error != 0 ? error : 1) : left ? 0 : 2;
}

/* ---- shared ------------------------------------------------------------------------------ */

static void prepare(struct arena *arena)
{
    for (unsigned i = 0; i < 2; i++) {
        hf_rwlock *lock = &board_of(arena)->rwlock[i];
        require(hf_rwlock_rdlock(lock) == 0 && hf_rwlock_rdunlock(lock) == 0, "read");
    }
}

static void prepare_with_waiters(struct arena *arena)
{
    prepare(arena);
    fetch_or_relaxed(&bytes_of(lock_of(arena))->word, LOCK_WAITERS);
}

static void prepare_reading(struct arena *arena)
{
    prepare(arena);
    require(hf_rwlock_rdlock(lock_of(arena)) == 0, "read");
}

static void prepare_reading_the_other(struct arena *arena)
{
    prepare(arena);
    require(hf_rwlock_rdlock(&board_of(arena)->rwlock[1]) == 0, "read");
}

static void prepare_reading_both(struct arena *arena)
{
    prepare_reading_the_other(arena);
    require(hf_rwlock_rdlock(lock_of(arena)) == 0, "read");
}

/* The other one lies below: its word is cleared first, and then this one is the top. */
static void prepare_reading_both_in_turn(struct arena *arena)
{
    prepare_reading(arena);
    require(hf_rwlock_rdlock(&board_of(arena)->rwlock[1]) == 0, "read");
}

static void prepare_reading_twice(struct arena *arena)
{
    prepare_reading(arena);
    require(hf_rwlock_rdlock(lock_of(arena)) == 0, "read");
}

static int act_rdlock(struct arena *arena)
{
    int error = hf_rwlock_rdlock(lock_of(arena));
    return good(error, 0, reads(arena, 0) == 1);
}

static int act_rdlock_again(struct arena *arena)
{
    int error = hf_rwlock_rdlock(lock_of(arena));
    return good(error, 0, reads(arena, 0) == 2);
}

static int act_rdlock_beside(struct arena *arena)
{
    int error = hf_rwlock_rdlock(lock_of(arena));
    return good(error, 0, reads(arena, 0) == 1 && reads(arena, 1) == 1);
}

static int act_rdlock_after_death(struct arena *arena)
{
    int error = hf_rwlock_rdlock(lock_of(arena));
    return good(error, -EOWNERDEAD, reads(arena, 0) == 1);
}

static int act_tryrdlock(struct arena *arena)
{
    int error = hf_rwlock_tryrdlock(lock_of(arena));
    return good(error, 0, reads(arena, 0) == 1);
}

static int act_timedrdlock(struct arena *arena)
{
    int error = hf_rwlock_timedrdlock(lock_of(arena), SECOND);
    return good(error, 0, reads(arena, 0) == 1);
}

static int act_rdlock_given_up(struct arena *arena)
{
    int error = hf_rwlock_rdlock(lock_of(arena));
    return good(error, -ENOTRECOVERABLE, reads(arena, 0) == 0);
}

static int act_rdunlock(struct arena *arena)
{
    uint64_t top = load_relaxed(&self_of(arena)->slot->holds_top);
    int error = hf_rwlock_rdunlock(lock_of(arena));
    bool lower = load_relaxed(&self_of(arena)->slot->holds_top) < top || reads(arena, 1) != 0;
    return good(error, 0, reads(arena, 0) == 0 && lower);
}

static int act_rdunlock_one_of_two(struct arena *arena)
{
    int error = hf_rwlock_rdunlock(lock_of(arena));
    return good(error, 0, reads(arena, 0) == 0 && reads(arena, 1) == 1);
}

static int act_rdunlock_once(struct arena *arena)
{
    int error = hf_rwlock_rdunlock(lock_of(arena));
    return good(error, 0, reads(arena, 0) == 1);
}

/* ---- others, dead or alive --------------------------------------------------------------- */

static void die_reading(struct arena *arena)
{
    require(hf_rwlock_rdlock(&board_of(arena)->rwlock[1]) == 0, "read");
    require(hf_rwlock_rdlock(lock_of(arena)) == 0, "read");
}

static void leave_a_dead_reader(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_reading);
}

static void die_writing(struct arena *arena)
{
    require(hf_rwlock_wrlock(lock_of(arena)) == 0, "write");
}

static void leave_a_dead_writer(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_writing);
}

static void die_upgradable(struct arena *arena)
{
    require(hf_rwlock_uplock(lock_of(arena)) == 0, "uplock");
}

static void leave_a_dead_upgradable(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_upgradable);
}

static void leave_it_given_up(struct arena *arena)
{
    leave_a_dead_writer(arena);
    require(hf_rwlock_wrlock(lock_of(arena)) == -EOWNERDEAD, "write");
    require(hf_rwlock_wrunlock(lock_of(arena)) == 0, "unlock");
    require(hf_thread_leave(arena->segment) == 0, "leave");
}

static void read_for_ever(struct arena *arena)
{
    require(hf_rwlock_rdlock(lock_of(arena)) == 0, "read");
}

static void leave_a_living_reader(struct arena *arena)
{
    make_board(arena);
    leave_alive(arena, read_for_ever);
    board_of(arena)->living = 1;
}

/* Has its slot, and has not met the dead. */
static void prepare_other(struct arena *arena)
{
    hf_rwlock *other = &board_of(arena)->rwlock[1];
    require(hf_rwlock_rdlock(other) == 0 && hf_rwlock_rdunlock(other) == 0, "read");
}

static int act_recover(struct arena *arena)
{
    return hf_segment_recover(arena->segment, NULL);
}

/* ---- exclusive --------------------------------------------------------------------------- */

static void prepare_writing(struct arena *arena)
{
    prepare_other(arena);
    require(is_had(hf_rwlock_wrlock(lock_of(arena))), "write");
}

static void prepare_writing_with_waiters(struct arena *arena)
{
    prepare_writing(arena);
    fetch_or_relaxed(&bytes_of(lock_of(arena))->word, LOCK_WAITERS);
}

static int act_wrlock(struct arena *arena)
{
    int error = hf_rwlock_wrlock(lock_of(arena));
    return good(error, 0, owns(arena, 0));
}

static int act_wrlock_after_death(struct arena *arena)
{
    int error = hf_rwlock_wrlock(lock_of(arena));
    return good(error, -EOWNERDEAD, owns(arena, 0));
}

static int act_trywrlock(struct arena *arena)
{
    int error = hf_rwlock_trywrlock(lock_of(arena));
    return good(error, 0, owns(arena, 0));
}

static int act_timedwrlock(struct arena *arena)
{
    int error = hf_rwlock_timedwrlock(lock_of(arena), SECOND);
    return good(error, 0, owns(arena, 0));
}

static int act_trywrlock_in_vain(struct arena *arena)
{
    int error = hf_rwlock_trywrlock(lock_of(arena));
    return good(error, -EBUSY, owns_nothing(arena));
}

static int act_timedwrlock_in_vain(struct arena *arena)
{
    int error = hf_rwlock_timedwrlock(lock_of(arena), 1000);
    return good(error, -ETIMEDOUT, owns_nothing(arena));
}

static int act_wrunlock(struct arena *arena)
{
    int error = hf_rwlock_wrunlock(lock_of(arena));
    return good(error, 0, owns_nothing(arena));
}

static int act_consistent(struct arena *arena)
{
    int error = hf_rwlock_consistent(lock_of(arena));
    return error != 0 ? error : hf_rwlock_wrunlock(lock_of(arena));
}

static void prepare_writing_after_death_in_tx(struct arena *arena)
{
    prepare_other(arena);
    require(hf_tx_begin(arena->segment) == 0, "begin");
    require(hf_rwlock_wrlock(lock_of(arena)) == -EOWNERDEAD, "write");
}

/* Good once the transaction has committed. */
static int act_mend_and_commit(struct arena *arena)
{
    int error = hf_rwlock_consistent(lock_of(arena));
    error = error != 0 ? error : hf_rwlock_wrunlock(lock_of(arena));
    error = error != 0 ? error : hf_tx_commit(arena->segment);
    return good(error, 0, owns_nothing(arena));
}

/* Still to be mended, or given up for ever. */
static outcome judge_giving_up(struct arena *copy)
{
    int error = have_both(copy);
    if (error == -EOWNERDEAD) {
        return if_whole(copy, OUTCOME_BEFORE);
    }
    if (error != -ENOTRECOVERABLE) {
        return bad("the lock gives %d", error);
    }
    require(hf_rwlock_init(lock_of(copy)) == 0, "init");
    return if_whole(copy, OUTCOME_AFTER);
}

static outcome judge_given_up(struct arena *copy)
{
    outcome result = judge_giving_up(copy);
    return result == OUTCOME_AFTER ? OUTCOME_BEFORE : bad("the data is good again");
}

/* ---- inside a transaction ---------------------------------------------------------------- */

static void prepare_in_tx(struct arena *arena)
{
    prepare(arena);
    require(hf_tx_begin(arena->segment) == 0, "begin");
}

static void prepare_writing_in_tx(struct arena *arena)
{
    prepare_in_tx(arena);
    require(hf_rwlock_wrlock(lock_of(arena)) == 0, "write");
}

static void prepare_unlocked_in_tx(struct arena *arena)
{
    prepare_writing_in_tx(arena);
    require(hf_rwlock_wrunlock(lock_of(arena)) == 0, "unlock");
}

static void prepare_upgradable_in_tx(struct arena *arena)
{
    prepare_in_tx(arena);
    require(hf_rwlock_uplock(lock_of(arena)) == 0, "uplock");
}

static int act_unlock_kept(struct arena *arena)
{
    int error = hf_rwlock_wrunlock(lock_of(arena));
    return good(error, 0, owns(arena, 0) && hf_rwlock_wrunlock(lock_of(arena)) == -EPERM);
}

static int act_wrlock_and_commit(struct arena *arena)
{
    int error = hf_rwlock_wrlock(lock_of(arena));
    bool settled = load_relaxed(&self_of(arena)->slot->intent) == 0;
    return good(error, 0, settled && hf_tx_commit(arena->segment) == 0 && owns(arena, 0));
}

static int act_upunlock_and_commit(struct arena *arena)
{
    int error = hf_rwlock_upunlock(lock_of(arena));
    bool kept = owns(arena, LOCK_UPGRADABLE);
    return good(error, 0, kept && hf_tx_commit(arena->segment) == 0 && owns_nothing(arena));
}

static int act_rdlock_kept(struct arena *arena)
{
    int error = hf_rwlock_rdlock(lock_of(arena));
    return good(error, 0, reads(arena, 0) == 1);
}

/* Taken back, it is an ordinary lock of the victim's once the transaction has ended. */
static outcome judge_taken_back(struct arena *copy)
{
    return judge(copy, OUTCOME_BEFORE, OUTCOME_AFTER);
}

/* ---- upgradable -------------------------------------------------------------------------- */

static void prepare_upgradable(struct arena *arena)
{
    prepare_other(arena);
    require(is_had(hf_rwlock_uplock(lock_of(arena))), "uplock");
}

static void prepare_upgradable_with_waiters(struct arena *arena)
{
    prepare_upgradable(arena);
    fetch_or_relaxed(&bytes_of(lock_of(arena))->word, LOCK_WAITERS);
}

static int act_uplock(struct arena *arena)
{
    int error = hf_rwlock_uplock(lock_of(arena));
    return good(error, 0, owns(arena, LOCK_UPGRADABLE));
}

static int act_uplock_after_death(struct arena *arena)
{
    int error = hf_rwlock_uplock(lock_of(arena));
    return good(error, -EOWNERDEAD, owns(arena, LOCK_UPGRADABLE));
}

static int act_tryuplock(struct arena *arena)
{
    int error = hf_rwlock_tryuplock(lock_of(arena));
    return good(error, 0, owns(arena, LOCK_UPGRADABLE));
}

static int act_timeduplock(struct arena *arena)
{
    int error = hf_rwlock_timeduplock(lock_of(arena), SECOND);
    return good(error, 0, owns(arena, LOCK_UPGRADABLE));
}

static int act_upunlock(struct arena *arena)
{
    int error = hf_rwlock_upunlock(lock_of(arena));
    return good(error, 0, owns_nothing(arena));
}

/* ---- transfers --------------------------------------------------------------------------- */

static int act_upgrade(struct arena *arena)
{
    int error = hf_rwlock_upgrade(lock_of(arena));
    return good(error, 0, owns(arena, 0));
}

static int act_upgrade_after_death(struct arena *arena)
{
    int error = hf_rwlock_upgrade(lock_of(arena));
    return good(error, -EOWNERDEAD, owns(arena, 0));
}

static int act_tryupgrade(struct arena *arena)
{
    int error = hf_rwlock_tryupgrade(lock_of(arena));
    return good(error, 0, owns(arena, 0));
}

static int act_timedupgrade(struct arena *arena)
{
    int error = hf_rwlock_timedupgrade(lock_of(arena), SECOND);
    return good(error, 0, owns(arena, 0));
}

static int act_tryupgrade_in_vain(struct arena *arena)
{
    int error = hf_rwlock_tryupgrade(lock_of(arena));
    return good(error, -EBUSY, owns(arena, LOCK_UPGRADABLE));
}

static int act_timedupgrade_in_vain(struct arena *arena)
{
    int error = hf_rwlock_timedupgrade(lock_of(arena), 1000);
    return good(error, -ETIMEDOUT, owns(arena, LOCK_UPGRADABLE));
}

static int act_to_upgradable(struct arena *arena)
{
    int error = hf_rwlock_downgrade_to_upgradable(lock_of(arena));
    return good(error, 0, owns(arena, LOCK_UPGRADABLE));
}

static int act_to_shared(struct arena *arena)
{
    int error = hf_rwlock_downgrade_to_shared(lock_of(arena));
    return good(error, 0, owns_nothing(arena) && reads(arena, 0) == 1);
}

static int act_try_to_upgradable(struct arena *arena)
{
    int error = hf_rwlock_try_shared_to_upgradable(lock_of(arena));
    return good(error, 0, owns(arena, LOCK_UPGRADABLE) && reads(arena, 0) == 0);
}

static int act_timed_to_upgradable(struct arena *arena)
{
    int error = hf_rwlock_timed_shared_to_upgradable(lock_of(arena), SECOND);
    return good(error, 0, owns(arena, LOCK_UPGRADABLE) && reads(arena, 0) == 0);
}

static int act_try_to_exclusive(struct arena *arena)
{
    int error = hf_rwlock_try_shared_to_exclusive(lock_of(arena));
    return good(error, 0, owns(arena, 0) && reads(arena, 0) == 0);
}

static int act_timed_to_exclusive(struct arena *arena)
{
    int error = hf_rwlock_timed_shared_to_exclusive(lock_of(arena), SECOND);
    return good(error, 0, owns(arena, 0) && reads(arena, 0) == 0);
}

static int act_timed_to_exclusive_in_vain(struct arena *arena)
{
    int error = hf_rwlock_timed_shared_to_exclusive(lock_of(arena), 1000);
    return good(error, -ETIMEDOUT, owns_nothing(arena) && reads(arena, 0) == 1);
}

/* ---- jumping out of waiting beside a living reader --------------------------------------- */

static sigjmp_buf out_of_the_call;

static void jump(int signal)
{
    (void)signal;
    siglongjmp(out_of_the_call, 1);
}

static void jump_out_of(struct arena *arena, int (*call)(hf_rwlock *))
{
    struct itimerval soon = {.it_value = {.tv_usec = 20000}};
    (void)signal(SIGALRM, jump);
    if (sigsetjmp(out_of_the_call, 1) == 0) {
        require(setitimer(ITIMER_REAL, &soon, NULL) == 0, "timer");
        (void)call(lock_of(arena));
        require(false, "the lock was had");
    }
    require(hf_rwlock_rdunlock(lock_of(arena)) == -EDEADLK, "no deadlock told");
}

static void prepare_jumped_out_of_an_upgrade(struct arena *arena)
{
    hf_rwlock *other = &board_of(arena)->rwlock[1];
    prepare_upgradable(arena);
    require(hf_rwlock_wrlock(other) == 0 && hf_rwlock_wrunlock(other) == 0, "write");
    jump_out_of(arena, hf_rwlock_upgrade);
}

static void prepare_jumped_out_of_writing(struct arena *arena)
{
    prepare_other(arena);
    jump_out_of(arena, hf_rwlock_wrlock);
}

static int act_recover_upgradable(struct arena *arena)
{
    int error = hf_thread_recover(arena->segment);
    return good(error, 0, owns(arena, LOCK_UPGRADABLE));
}

static int act_recover_nothing(struct arena *arena)
{
    int error = hf_thread_recover(arena->segment);
    return good(error, 0, owns_nothing(arena));
}

/* ---- woken ------------------------------------------------------------------------------- */

static void write_it(struct arena *arena)
{
    require(hf_rwlock_wrlock(lock_of(arena)) == 0, "write");
}

static void write_no_more(struct arena *arena)
{
    require(hf_rwlock_wrunlock(lock_of(arena)) == 0, "unlock");
}

static void read_it(struct arena *arena)
{
    require(hf_rwlock_rdlock(lock_of(arena)) == 0, "read");
}

static void read_no_more(struct arena *arena)
{
    require(hf_rwlock_rdunlock(lock_of(arena)) == 0, "unlock");
}

static void leave_a_writer_that_unlocks(struct arena *arena)
{
    leave_a_waker(arena, write_it, write_no_more);
}

static void leave_a_reader_that_unlocks(struct arena *arena)
{
    leave_a_waker(arena, read_it, read_no_more);
}

static void prepare_to_sleep(struct arena *arena)
{
    prepare_other(arena);
    be_the_sleeper(arena);
}

/* Somebody who lives may have it still: then nothing has happened. (Who writes is not idle, so the
   census is no use then.) */
static outcome unless_it_is_had(struct arena *copy, outcome (*judge_it)(struct arena *copy))
{
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    uint32_t owner = load_relaxed(&bytes_of(lock_of(copy))->word) & LOCK_OWNER;
    if (owner != 0) {
        bool lives = presence_of(copy->segment->view, owner, true, NULL) == PRESENCE_ALIVE;
        return lives ? OUTCOME_BEFORE : bad("nobody who lives has the lock");
    }
    int error = hf_rwlock_trywrlock(lock_of(copy));
    if (error == -EBUSY) {
        return if_whole(copy, OUTCOME_BEFORE);
    }
    if (error == 0) {
        require(hf_rwlock_wrunlock(lock_of(copy)) == 0, "unlock");
    } else if (error == -EOWNERDEAD) {
        require(hf_rwlock_downgrade_to_shared(lock_of(copy)) == 0, "downgrade");
        require(hf_rwlock_rdunlock(lock_of(copy)) == 0, "unlock"); /* it is not mended */
    }
    return judge_it(copy);
}

static outcome judge_woken_writer(struct arena *copy)
{
    return unless_it_is_had(copy, judge_locking);
}

static outcome judge_woken_reader(struct arena *copy)
{
    return unless_it_is_had(copy, judge_harmless);
}

/* ---- init and fini ----------------------------------------------------------------------- */

static void make_rubbish(struct arena *arena)
{
    memset(lock_of(arena), 0xa5, sizeof(hf_rwlock));
}

static int act_init(struct arena *arena)
{
    return hf_rwlock_init(lock_of(arena));
}

static int act_fini(struct arena *arena)
{
    return hf_rwlock_fini(lock_of(arena));
}

/* No lock, or a free one. */
static outcome judge_whether_it_is(struct arena *copy, outcome none_is, outcome lock_is)
{
    int error = have_both(copy);
    if (error == -EINVAL) {
        require(hf_rwlock_init(lock_of(copy)) == 0, "init");
        return if_whole(copy, none_is);
    }
    return error == 0 ? if_whole(copy, lock_is) : bad("half a lock: %d", error);
}

static outcome judge_init(struct arena *copy)
{
    return judge_whether_it_is(copy, OUTCOME_BEFORE, OUTCOME_AFTER);
}

static outcome judge_fini(struct arena *copy)
{
    return judge_whether_it_is(copy, OUTCOME_AFTER, OUTCOME_BEFORE);
}

/* ---- the table --------------------------------------------------------------------------- */

#define ON_A(setting)                                                                              \
    .size = BOARD_SIZE, .maximum = BOARD_SIZE, .set_up = (setting), .early = take_a_page
#define ON_A_BOARD ON_A(make_board), .contend = contend
/* Its victims leave nothing that a next owner would have to hear of. */
#define HARMLESS .no_effect = true, .judge = judge_harmless
#define IN_VAIN  ON_A(leave_a_living_reader), .no_effect = true, .judge = judge_beside_a_reader

static const struct scenario scenarios[] = {
    {.name = "rwlock.rdlock.free",
     .call = "hf_rwlock_rdlock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_rdlock,
     HARMLESS},
    {.name = "rwlock.rdlock.as_the_first_call",
     .call = "hf_rwlock_rdlock",
     ON_A_BOARD,
     .act = act_rdlock,
     HARMLESS},
    {.name = "rwlock.rdlock.again",
     .call = "hf_rwlock_rdlock",
     ON_A_BOARD,
     .prepare = prepare_reading,
     .act = act_rdlock_again,
     HARMLESS},
    {.name = "rwlock.rdlock.beside_another",
     .call = "hf_rwlock_rdlock",
     ON_A_BOARD,
     .prepare = prepare_reading_the_other,
     .act = act_rdlock_beside,
     HARMLESS},
    {.name = "rwlock.rdlock.after_the_writer_died",
     .call = "hf_rwlock_rdlock",
     ON_A(leave_a_dead_writer),
     .contend = contend,
     .prepare = prepare_other,
     .act = act_rdlock_after_death,
     .no_effect = true,
     .judge = judge_suspect},
    {.name = "rwlock.rdlock.after_an_upgradable_holder_died",
     .call = "hf_rwlock_rdlock",
     ON_A(leave_a_dead_upgradable),
     .contend = contend,
     .prepare = prepare_other,
     .act = act_rdlock,
     HARMLESS},
    {.name = "rwlock.rdlock.given_up",
     .call = "hf_rwlock_rdlock",
     ON_A(leave_it_given_up),
     .contend = contend,
     .prepare = prepare_other,
     .act = act_rdlock_given_up,
     .no_effect = true,
     .judge = judge_given_up},
    {.name = "rwlock.rdlock.unlocked_in_the_transaction",
     .call = "hf_rwlock_rdlock",
     ON_A_BOARD,
     .prepare = prepare_unlocked_in_tx,
     .act = act_rdlock_kept,
     HARMLESS},
    {.name = "rwlock.tryrdlock",
     .call = "hf_rwlock_tryrdlock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_tryrdlock,
     HARMLESS},
    {.name = "rwlock.timedrdlock",
     .call = "hf_rwlock_timedrdlock",
     ON_A_BOARD,
     .prepare = prepare_with_waiters,
     .act = act_timedrdlock,
     HARMLESS},
    {.name = "rwlock.rdunlock",
     .call = "hf_rwlock_rdunlock",
     ON_A_BOARD,
     .prepare = prepare_reading,
     .act = act_rdunlock,
     HARMLESS},
    {.name = "rwlock.rdunlock.the_last_of_two",
     .call = "hf_rwlock_rdunlock",
     ON_A_BOARD,
     .prepare = prepare_reading_both,
     .act = act_rdunlock_one_of_two,
     HARMLESS},
    {.name = "rwlock.rdunlock.the_first_of_two",
     .call = "hf_rwlock_rdunlock",
     ON_A_BOARD,
     .prepare = prepare_reading_both_in_turn,
     .act = act_rdunlock_one_of_two,
     HARMLESS},
    {.name = "rwlock.rdunlock.once",
     .call = "hf_rwlock_rdunlock",
     ON_A_BOARD,
     .prepare = prepare_reading_twice,
     .act = act_rdunlock_once,
     HARMLESS},
    {.name = "rwlock.wrlock.free",
     .call = "hf_rwlock_wrlock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_wrlock,
     .judge = judge_locking},
    {.name = "rwlock.wrlock.with_waiters",
     .call = "hf_rwlock_wrlock",
     ON_A_BOARD,
     .prepare = prepare_with_waiters,
     .act = act_wrlock,
     .judge = judge_locking},
    {.name = "rwlock.wrlock.as_the_first_call",
     .call = "hf_rwlock_wrlock",
     ON_A_BOARD,
     .act = act_wrlock,
     .judge = judge_locking},
    {.name = "rwlock.wrlock.after_a_reader_died",
     .call = "hf_rwlock_wrlock",
     ON_A(leave_a_dead_reader),
     .contend = contend,
     .prepare = prepare_other,
     .act = act_wrlock,
     .judge = judge_locking},
    {.name = "rwlock.wrlock.after_the_writer_died",
     .call = "hf_rwlock_wrlock",
     ON_A(leave_a_dead_writer),
     .contend = contend,
     .prepare = prepare_other,
     .act = act_wrlock_after_death,
     .no_effect = true,
     .judge = judge_suspect},
    {.name = "rwlock.wrlock.woken_by_the_writer",
     .call = "hf_rwlock_wrlock",
     ON_A(leave_a_writer_that_unlocks),
     .contend = contend,
     .prepare = prepare_to_sleep,
     .act = act_wrlock,
     .judge = judge_woken_writer},
    {.name = "rwlock.wrlock.woken_by_the_last_reader",
     .call = "hf_rwlock_wrlock",
     ON_A(leave_a_reader_that_unlocks),
     .contend = contend,
     .prepare = prepare_to_sleep,
     .act = act_wrlock,
     .judge = judge_woken_writer},
    {.name = "rwlock.rdlock.woken_by_the_writer",
     .call = "hf_rwlock_rdlock",
     ON_A(leave_a_writer_that_unlocks),
     .contend = contend,
     .prepare = prepare_to_sleep,
     .act = act_rdlock,
     .no_effect = true,
     .judge = judge_woken_reader},
    {.name = "rwlock.wrlock.in_a_transaction",
     .call = "hf_rwlock_wrlock",
     ON_A_BOARD,
     .prepare = prepare_in_tx,
     .act = act_wrlock,
     HARMLESS},
    {.name = "rwlock.wrlock.unlocked_in_the_transaction",
     .call = "hf_rwlock_wrlock",
     ON_A_BOARD,
     .prepare = prepare_unlocked_in_tx,
     .act = act_wrlock_and_commit,
     .judge = judge_taken_back},
    {.name = "rwlock.trywrlock",
     .call = "hf_rwlock_trywrlock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_trywrlock,
     .judge = judge_locking},
    {.name = "rwlock.trywrlock.in_vain",
     .call = "hf_rwlock_trywrlock",
     IN_VAIN,
     .prepare = prepare_other,
     .act = act_trywrlock_in_vain},
    {.name = "rwlock.timedwrlock",
     .call = "hf_rwlock_timedwrlock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_timedwrlock,
     .judge = judge_locking},
    {.name = "rwlock.timedwrlock.in_vain",
     .call = "hf_rwlock_timedwrlock",
     IN_VAIN,
     .prepare = prepare_other,
     .act = act_timedwrlock_in_vain},
    {.name = "rwlock.wrunlock",
     .call = "hf_rwlock_wrunlock",
     ON_A_BOARD,
     .prepare = prepare_writing,
     .act = act_wrunlock,
     .judge = judge_unlocking},
    {.name = "rwlock.wrunlock.with_waiters",
     .call = "hf_rwlock_wrunlock",
     ON_A_BOARD,
     .prepare = prepare_writing_with_waiters,
     .act = act_wrunlock,
     .judge = judge_unlocking},
    {.name = "rwlock.wrunlock.in_a_transaction",
     .call = "hf_rwlock_wrunlock",
     ON_A_BOARD,
     .prepare = prepare_writing_in_tx,
     .act = act_unlock_kept,
     HARMLESS},
    {.name = "rwlock.wrunlock.gives_the_data_up",
     .call = "hf_rwlock_wrunlock",
     ON_A(leave_a_dead_writer),
     .contend = contend,
     .prepare = prepare_writing,
     .act = act_wrunlock,
     .judge = judge_giving_up},
    {.name = "rwlock.consistent",
     .call = "hf_rwlock_consistent",
     ON_A(leave_a_dead_writer),
     .contend = contend,
     .prepare = prepare_writing,
     .act = act_consistent,
     .judge = judge_unlocking},
    {.name = "rwlock.consistent.in_a_transaction",
     .call = "hf_rwlock_consistent",
     ON_A(leave_a_dead_writer),
     .contend = contend,
     .prepare = prepare_writing_after_death_in_tx,
     .act = act_mend_and_commit,
     .judge = judge_unlocking},
    {.name = "rwlock.uplock.free",
     .call = "hf_rwlock_uplock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_uplock,
     HARMLESS},
    {.name = "rwlock.uplock.with_waiters",
     .call = "hf_rwlock_uplock",
     ON_A_BOARD,
     .prepare = prepare_with_waiters,
     .act = act_uplock,
     HARMLESS},
    {.name = "rwlock.uplock.after_the_writer_died",
     .call = "hf_rwlock_uplock",
     ON_A(leave_a_dead_writer),
     .contend = contend,
     .prepare = prepare_other,
     .act = act_uplock_after_death,
     .no_effect = true,
     .judge = judge_suspect},
    {.name = "rwlock.uplock.after_an_upgradable_holder_died",
     .call = "hf_rwlock_uplock",
     ON_A(leave_a_dead_upgradable),
     .contend = contend,
     .prepare = prepare_other,
     .act = act_uplock,
     HARMLESS},
    {.name = "rwlock.tryuplock",
     .call = "hf_rwlock_tryuplock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_tryuplock,
     HARMLESS},
    {.name = "rwlock.timeduplock",
     .call = "hf_rwlock_timeduplock",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_timeduplock,
     HARMLESS},
    {.name = "rwlock.upunlock",
     .call = "hf_rwlock_upunlock",
     ON_A_BOARD,
     .prepare = prepare_upgradable,
     .act = act_upunlock,
     HARMLESS},
    {.name = "rwlock.upunlock.gives_nothing_up",
     .call = "hf_rwlock_upunlock",
     ON_A(leave_a_dead_writer),
     .contend = contend,
     .prepare = prepare_upgradable_with_waiters,
     .act = act_upunlock,
     .no_effect = true,
     .judge = judge_suspect},
    {.name = "rwlock.upunlock.in_a_transaction",
     .call = "hf_rwlock_upunlock",
     ON_A_BOARD,
     .prepare = prepare_upgradable_in_tx,
     .act = act_upunlock_and_commit,
     HARMLESS},
    {.name = "rwlock.upgrade",
     .call = "hf_rwlock_upgrade",
     ON_A_BOARD,
     .prepare = prepare_upgradable,
     .act = act_upgrade,
     .judge = judge_locking},
    {.name = "rwlock.upgrade.after_a_reader_died",
     .call = "hf_rwlock_upgrade",
     ON_A(leave_a_dead_reader),
     .contend = contend,
     .prepare = prepare_upgradable_with_waiters,
     .act = act_upgrade,
     .judge = judge_locking},
    {.name = "rwlock.upgrade.after_the_writer_died",
     .call = "hf_rwlock_upgrade",
     ON_A(leave_a_dead_writer),
     .contend = contend,
     .prepare = prepare_upgradable,
     .act = act_upgrade_after_death,
     .no_effect = true,
     .judge = judge_suspect},
    {.name = "rwlock.tryupgrade",
     .call = "hf_rwlock_tryupgrade",
     ON_A_BOARD,
     .prepare = prepare_upgradable,
     .act = act_tryupgrade,
     .judge = judge_locking},
    {.name = "rwlock.tryupgrade.in_vain",
     .call = "hf_rwlock_tryupgrade",
     IN_VAIN,
     .prepare = prepare_upgradable,
     .act = act_tryupgrade_in_vain},
    {.name = "rwlock.timedupgrade",
     .call = "hf_rwlock_timedupgrade",
     ON_A_BOARD,
     .prepare = prepare_upgradable,
     .act = act_timedupgrade,
     .judge = judge_locking},
    {.name = "rwlock.timedupgrade.in_vain",
     .call = "hf_rwlock_timedupgrade",
     IN_VAIN,
     .prepare = prepare_upgradable_with_waiters,
     .act = act_timedupgrade_in_vain},
    {.name = "rwlock.downgrade.to_upgradable",
     .call = "hf_rwlock_downgrade_to_upgradable",
     ON_A_BOARD,
     .prepare = prepare_writing_with_waiters,
     .act = act_to_upgradable,
     .judge = judge_unlocking},
    {.name = "rwlock.downgrade.to_shared",
     .call = "hf_rwlock_downgrade_to_shared",
     ON_A_BOARD,
     .prepare = prepare_writing_with_waiters,
     .act = act_to_shared,
     .judge = judge_unlocking},
    {.name = "rwlock.downgrade.to_shared_unmended",
     .call = "hf_rwlock_downgrade_to_shared",
     ON_A(leave_a_dead_writer),
     .contend = contend,
     .prepare = prepare_writing,
     .act = act_to_shared,
     .no_effect = true,
     .judge = judge_suspect},
    {.name = "rwlock.downgrade.from_upgradable_to_shared",
     .call = "hf_rwlock_downgrade_to_shared",
     ON_A_BOARD,
     .prepare = prepare_upgradable,
     .act = act_to_shared,
     HARMLESS},
    {.name = "rwlock.shared.try_to_upgradable",
     .call = "hf_rwlock_try_shared_to_upgradable",
     ON_A_BOARD,
     .prepare = prepare_reading,
     .act = act_try_to_upgradable,
     HARMLESS},
    {.name = "rwlock.shared.timed_to_upgradable",
     .call = "hf_rwlock_timed_shared_to_upgradable",
     ON_A_BOARD,
     .prepare = prepare_reading,
     .act = act_timed_to_upgradable,
     HARMLESS},
    {.name = "rwlock.shared.try_to_exclusive",
     .call = "hf_rwlock_try_shared_to_exclusive",
     ON_A_BOARD,
     .prepare = prepare_reading,
     .act = act_try_to_exclusive,
     .judge = judge_locking},
    {.name = "rwlock.shared.timed_to_exclusive",
     .call = "hf_rwlock_timed_shared_to_exclusive",
     ON_A(leave_a_dead_reader),
     .contend = contend,
     .prepare = prepare_reading,
     .act = act_timed_to_exclusive,
     .judge = judge_locking},
    {.name = "rwlock.shared.timed_to_exclusive_in_vain",
     .call = "hf_rwlock_timed_shared_to_exclusive",
     IN_VAIN,
     .prepare = prepare_reading,
     .act = act_timed_to_exclusive_in_vain},
    {.name = "rwlock.recover.a_dead_reader",
     .call = "hf_segment_recover",
     ON_A(leave_a_dead_reader),
     .contend = contend,
     .prepare = prepare_other,
     .act = act_recover,
     HARMLESS},
    {.name = "rwlock.jump.out_of_an_upgrade",
     .call = "hf_thread_recover",
     IN_VAIN,
     .prepare = prepare_jumped_out_of_an_upgrade,
     .act = act_recover_upgradable},
    {.name = "rwlock.jump.out_of_writing",
     .call = "hf_thread_recover",
     IN_VAIN,
     .prepare = prepare_jumped_out_of_writing,
     .act = act_recover_nothing},
    {.name = "rwlock.init.over_rubbish",
     .call = "hf_rwlock_init",
     ON_A(make_rubbish),
     .contend = contend,
     .prepare = prepare_other,
     .act = act_init,
     .judge = judge_init},
    {.name = "rwlock.fini",
     .call = "hf_rwlock_fini",
     ON_A_BOARD,
     .prepare = prepare,
     .act = act_fini,
     .judge = judge_fini},
    {.name = "rwlock.fini.of_one_that_a_dead_one_reads",
     .call = "hf_rwlock_fini",
     ON_A(leave_a_dead_reader),
     .contend = contend,
     .prepare = prepare_other,
     .act = act_fini,
     .judge = judge_fini},
};
const struct scenario_table rwlock_scenarios = SCENARIO_TABLE(scenarios);
