/* SPDX-License-Identifier: MIT */
/*
 * Conditions, with each kind of exclusive lock. Under the lock a notification is made, and noted,
 * together with what it tells of; so who hears nothing until its time is over, and finds a note
 * from before that, has been passed over.
 */
#include "soak/soak.h"
#include "sync/condition_layout.h"

static uint64_t place_of(struct actor *a, const void *what)
{
    return hf_segment_offset(a->segment, what).value;
}

static hf_lockable lock_of(struct table *t, unsigned i)
{
    struct board *board = &t->board[i];
    switch (i % 3) {
    case 0:
        return hf_lockable_of(&board->lock.mutex);
    case 1:
        return hf_lockable_of(&board->lock.recursive);
    default:
        return hf_lockable_of(&board->lock.rwlock);
    }
}

static void notify(struct actor *a, struct board *board, bool all)
{
    hf_condition *changed = &board->changed;
    must(a, all ? CALL(a, place_of(a, changed), hf_condition_notify_all(changed))
                : CALL(a, place_of(a, changed), hf_condition_notify_one(changed)));
    board->notified_ns = now_ns();
}

/* The lock was had; the dead may have changed the value, and told nobody. */
static hold see_board(struct actor *a, struct board *board, hf_lockable lock, int result)
{
    (void)PERMIT(a, result, -EOWNERDEAD);
    if (result == -EOWNERDEAD) {
        count(a->seat, COUNT_OWNERS_DEAD, 1);
        board->other = board->value;
        notify(a, board, true);
        linger(a);
        must(a, CALL(a, place_of(a, board), hf_lockable_consistent(lock)));
    } else if (board->value != board->other) {
        fail(a, "board: %llu and %llu, and nobody said that an owner died",
             (unsigned long long)board->value, (unsigned long long)board->other);
    }
    return result == 0 ? HAD_GOOD : HAD_SUSPECT;
}

/* False: not had. */
static bool take_board(struct actor *a, struct board *board, hf_lockable lock)
{
    int64_t time = (int64_t)below(&a->chance, 4 * MILLISECOND);
    int result = one_in(&a->chance, 3)
                     ? CALL(a, place_of(a, board), hf_lockable_timedlock(lock, time))
                     : CALL(a, place_of(a, board), hf_lockable_lock(lock));
    if (result == -EBUSY || result == -ETIMEDOUT) {
        return false;
    }
    (void)see_board(a, board, lock, result);
    return true;
}

void change_board(struct actor *a)
{
    unsigned i = (unsigned)below(&a->chance, BOARDS);
    struct board *board = &a->table->board[i];
    hf_lockable lock = lock_of(a->table, i);
    if (!take_board(a, board, lock)) {
        return;
    }
    board->value = board->value + 1;
    linger(a);
    board->other = board->value;
    notify(a, board, one_in(&a->chance, 2));
    linger(a);
    must(a, CALL(a, place_of(a, board), hf_lockable_unlock(lock)));
}

/* ---- waiting ----------------------------------------------------------------------------- */

struct wish {
    const struct board *board;
    uint64_t old;
};

static bool is_new(void *context)
{
    const struct wish *wish = context;
    return wish->board->value != wish->old;
}

static int wait_once(struct actor *a, struct board *board, hf_lockable lock, int64_t time)
{
    uint64_t old = board->value;
    hf_condition *changed = &board->changed;
    uint64_t deadline = now_ns() + (uint64_t)time;
    int result = CALL(a, place_of(a, board), hf_condition_timedwait(changed, lock, time));
    if (result == -ETIMEDOUT && board->value != old && board->notified_ns < deadline) {
        fail(a,
             "board: %llu became %llu, all were told %llu ns before our time was over, and we "
             "heard nothing",
             (unsigned long long)old, (unsigned long long)board->value,
             (unsigned long long)(deadline - board->notified_ns));
    }
    return result;
}

static int wait_for_new(struct actor *a, struct board *board, hf_lockable lock, int64_t time)
{
    struct wish wish = {board, board->value};
    hf_condition *changed = &board->changed;
    int result =
        CALL(a, place_of(a, board), hf_condition_wait_for(changed, lock, is_new, &wish, time));
    if ((result == 0 && !is_new(&wish)) || (result == -ETIMEDOUT && is_new(&wish))) {
        fail(a, "board: waiting for something new gives %d, and it is %llu after %llu", result,
             (unsigned long long)board->value, (unsigned long long)wish.old);
    }
    return result;
}

void watch_board(struct actor *a)
{
    unsigned i = (unsigned)below(&a->chance, BOARDS);
    struct board *board = &a->table->board[i];
    hf_lockable lock = lock_of(a->table, i);
    int64_t time = (int64_t)(one_in(&a->chance, 8) ? 0 : below(&a->chance, 12 * MILLISECOND));
    if (!take_board(a, board, lock)) {
        return;
    }
    int result = one_in(&a->chance, 2) ? wait_once(a, board, lock, time)
                                       : wait_for_new(a, board, lock, time);
    (void)see_board(a, board, lock, result == -ETIMEDOUT ? 0 : result);
    must(a, CALL(a, place_of(a, board), hf_lockable_unlock(lock)));
}

/* ---- the census -------------------------------------------------------------------------- */

static uint32_t turn_of(const void *condition)
{
    return load_relaxed(&((const struct condition *)condition)->turn);
}

static bool board_is_good(struct table *t, unsigned i)
{
    struct board *board = &t->board[i];
    hf_lockable lock = lock_of(t, i);
    int result = hf_lockable_trylock(lock);
    if (result == 0 && board->value != board->other) {
        note_failure("census: board %u: %llu and %llu, and its last owner did not die", i,
                     (unsigned long long)board->value, (unsigned long long)board->other);
        return false;
    }
    result = result == -EOWNERDEAD ? hf_lockable_consistent(lock) : result;
    result = result != 0 ? result : hf_condition_notify_one(&board->changed);
    result = result != 0 ? result : hf_lockable_unlock(lock);
    uint32_t turn = turn_of(&board->changed);
    if (result != 0 || (turn & CONDITION_WAITERS) != 0) {
        note_failure("census: board %u gives %d: %s; its condition is %#x", i, result,
                     hf_strerror(result), (unsigned)turn);
        return false;
    }
    return true;
}

bool boards_are_good(struct table *t)
{
    bool good = true;
    for (unsigned i = 0; good && i < BOARDS; i++) {
        good = board_is_good(t, i);
    }
    return good;
}
