/* SPDX-License-Identifier: MIT */
#include "fuzz/sync.h"

#include <string.h>

#include "fuzz/image.h"
#include "segment/barrier_layout.h"
#include "segment/holds.h"
#include "segment/semaphore_layout.h"
#include "sync/condition_layout.h"
#include "sync/word_layout.h"

_Static_assert(sizeof(struct sync) == SYNC_OBJECTS * sizeof(struct lock), "all are of one size");

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void must(int error, const char *what)
{
    if (error != 0) {
        world_fail("a stage cannot be made: %s: %s", what, hf_strerror(error));
    }
}

/* ---- good ones --------------------------------------------------------------------------- */

void sync_furnish(struct sync *sync)
{
    for (unsigned i = 0; i < 2; i++) {
        must(hf_recursive_mutex_init(&sync->recursive[i]), "a recursive mutex");
        must(hf_condition_init(&sync->condition[i]), "a condition");
        must(hf_semaphore_init(&sync->plain[i], i, 0), "a semaphore");
        must(hf_semaphore_init(&sync->undo[i], 2 + i, HF_SEMAPHORE_UNDO), "an undo semaphore");
        must(hf_barrier_init(&sync->barrier[i], 2 + i), "a barrier");
        must(hf_event_init(&sync->event[i]), "an event");
        must(hf_latch_init(&sync->latch[i], 1 + i), "a latch");
        must(hf_once_init(&sync->once[i]), "a once");
    }
    for (unsigned i = 0; i < COUNT(sync->rwlock); i++) {
        must(hf_rwlock_init(&sync->rwlock[i]), "a reader-writer lock");
    }
}

void sync_take(struct sync *sync)
{
    must(hf_recursive_mutex_lock(&sync->recursive[0]), "lock");
    must(hf_recursive_mutex_lock(&sync->recursive[0]), "lock");
    must(hf_rwlock_rdlock(&sync->rwlock[0]), "lock");
    must(hf_rwlock_rdlock(&sync->rwlock[0]), "lock");
    must(hf_rwlock_wrlock(&sync->rwlock[1]), "lock");
    must(hf_rwlock_uplock(&sync->rwlock[2]), "lock");
    must(hf_semaphore_wait(&sync->undo[0]), "wait");
    must(hf_semaphore_wait(&sync->undo[0]), "wait");
    must(hf_barrier_join(&sync->barrier[0]), "join");
}

/* One of them by its place in the image. */
static uint64_t offset_of(const struct image *image, unsigned object)
{
    return image->root + offsetof(struct stage, sync) + object * sizeof(struct lock);
}

#define OBJECT(field) (unsigned)(offsetof(struct sync, field) / sizeof(struct lock))

/* An update of undo[1] that has happened, and whose hold is not there yet. */
static void leave_update(const struct image *image, struct semaphore *undo)
{
    struct slot *slot = image_slot(image, 1);
    uint64_t makes =
        2 * COUNT_ONE | UINT64_C(1) << COUNT_SLOT_SHIFT | UINT64_C(9) << COUNT_VERSION_SHIFT;
    store_relaxed(&slot->update_of, hold_word(offset_of(image, OBJECT(undo[1])), HOLD_PERMITS, 1));
    store_relaxed(&slot->update_expects, load_relaxed(&undo->count));
    store_relaxed(&slot->update_makes, makes);
    store_relaxed(&slot->update, load_relaxed(&slot->update) | UPDATE_OPEN);
    store_relaxed(&undo->count, makes);
}

/* Slots 8 to 13 and the living one, with holds of each kind; that one has a lock as well. */
static void leave_holds(const struct image *image, struct lock *lock)
{
    static const uint32_t holders[] = {8, 9, 10, 11, 12, 13, IMAGE_LIVING};
    for (unsigned i = 0; i < COUNT(holders); i++) {
        struct slot *slot = image_slot(image, holders[i]);
        store_relaxed(&slot->holds[0], hold_word(offset_of(image, OBJECT(rwlock)), HOLD_READ, 1));
        store_relaxed(&slot->holds[1], hold_word(offset_of(image, OBJECT(undo)), HOLD_PERMITS, 1));
        store_relaxed(&slot->holds[2],
                      hold_word(offset_of(image, OBJECT(barrier[1])), HOLD_MEMBER, 1));
        store_relaxed(&slot->holds_top, 3);
    }
    store_relaxed(&lock->word, IMAGE_LIVING);
    store_relaxed(&image_slot(image, IMAGE_LIVING)->held, load_relaxed(&lock->self));
}

void sync_leave_open(const struct image *image, bool many)
{
    struct stage *stage = (void *)(image->bytes + image->root);
    struct sync *sync = &stage->sync;
    struct barrier *barrier = (void *)&sync->barrier[0];
    struct condition *condition = (void *)&sync->condition[0];
    struct word *event = (void *)&sync->event[0];
    store_relaxed(&barrier->state,
                  load_relaxed(&barrier->state) + (UINT64_C(1) << BARRIER_ARRIVED_SHIFT));
    store_relaxed(&condition->turn, load_relaxed(&condition->turn) | CONDITION_WAITERS);
    store_relaxed(&event->word, WORD_WAITERS);
    leave_update(image, (void *)&sync->undo[1]);
    if (many) {
        leave_holds(image, (void *)&sync->recursive[1]);
    }
}

/* ---- calls ------------------------------------------------------------------------------- */

/*
 * Bit 0 says which of two it is, as the other bits do with the call. What waits for ever waits for
 * somebody who has it: the world sees to that. Nobody is to set an event, post, arrive or notify,
 * so for these there are timeouts.
 */
static void do_recursive(hf_recursive_mutex *mutex, uint8_t n)
{
    switch (n % 8) {
    case 0:
        (void)hf_recursive_mutex_lock(mutex);
        break;
    case 1:
        (void)hf_recursive_mutex_trylock(mutex);
        break;
    case 2:
        (void)hf_recursive_mutex_timedlock(mutex, SHORT_NS);
        break;
    case 3:
        (void)hf_recursive_mutex_consistent(mutex);
        break;
    case 4:
        (void)hf_recursive_mutex_init(mutex);
        break;
    case 5:
        (void)hf_recursive_mutex_fini(mutex);
        break;
    default:
        (void)hf_recursive_mutex_unlock(mutex);
        break;
    }
}

static int held_shared(hf_rwlock *lock)
{
    uint32_t times;
    return hf_rwlock_held_shared(lock, &times);
}

static void do_rwlock(hf_rwlock *lock, uint8_t n)
{
    static int (*const calls[])(hf_rwlock *) = {
        hf_rwlock_rdlock,
        hf_rwlock_tryrdlock,
        hf_rwlock_rdunlock,
        hf_rwlock_wrlock,
        hf_rwlock_trywrlock,
        hf_rwlock_wrunlock,
        hf_rwlock_uplock,
        hf_rwlock_tryuplock,
        hf_rwlock_upunlock,
        hf_rwlock_upgrade,
        hf_rwlock_tryupgrade,
        hf_rwlock_downgrade_to_upgradable,
        hf_rwlock_downgrade_to_shared,
        hf_rwlock_try_shared_to_upgradable,
        hf_rwlock_try_shared_to_exclusive,
        hf_rwlock_consistent,
        hf_rwlock_init,
        hf_rwlock_fini,
        held_shared,
    };
    static int (*const timed[])(hf_rwlock *, int64_t) = {
        hf_rwlock_timedrdlock,
        hf_rwlock_timedwrlock,
        hf_rwlock_timeduplock,
        hf_rwlock_timedupgrade,
        hf_rwlock_timed_shared_to_upgradable,
        hf_rwlock_timed_shared_to_exclusive,
    };
    unsigned call = n % (COUNT(calls) + COUNT(timed));
    if (call < COUNT(calls)) {
        (void)calls[call](lock);
    } else {
        (void)timed[call - COUNT(calls)](lock, SHORT_NS);
    }
}

/* True at the second look. */
static bool is_second(void *context)
{
    unsigned *looks = context;
    return ++*looks > 1;
}

static void wait_at(hf_condition *condition, hf_lockable lock, bool for_something, int64_t ns)
{
    unsigned looks = 0;
    (void)hf_lockable_timedlock(lock, SHORT_NS);
    if (for_something) {
        (void)hf_condition_wait_for(condition, lock, is_second, &looks, ns);
    } else {
        (void)hf_condition_timedwait(condition, lock, ns);
    }
    (void)hf_lockable_consistent(lock);
    (void)hf_lockable_unlock(lock);
}

static void do_condition(struct sync *sync, hf_mutex *mutex, hf_condition *condition, uint8_t n)
{
    const hf_lockable locks[] = {hf_lockable_make(mutex, HF_LOCKABLE_MUTEX),
                                 hf_lockable_make(&sync->recursive[1], HF_LOCKABLE_RECURSIVE_MUTEX),
                                 hf_lockable_make(&sync->rwlock[3], HF_LOCKABLE_RWLOCK),
                                 hf_lockable_shared(&sync->rwlock[3])};
    switch (n % 8) {
    case 0:
        (void)hf_condition_notify_one(condition);
        break;
    case 1:
        (void)hf_condition_notify_all(condition);
        break;
    case 2:
        (void)hf_condition_init(condition);
        break;
    case 3:
        (void)hf_condition_fini(condition);
        break;
    default:
        wait_at(condition, locks[n / 8 % 4], n % 2 != 0, n % 4 < 2 ? SHORT_NS : 0);
        break;
    }
}

static void do_semaphore(hf_semaphore *semaphore, uint8_t n)
{
    uint32_t value = 0;
    switch (n % 8) {
    case 0:
        (void)hf_semaphore_trywait(semaphore);
        break;
    case 1:
        (void)hf_semaphore_timedwait(semaphore, SHORT_NS);
        break;
    case 2:
        if (hf_semaphore_value(semaphore, &value) == 0 && value > 0) {
            (void)hf_semaphore_wait(semaphore);
        }
        break;
    case 3:
        (void)hf_semaphore_post(semaphore);
        break;
    case 4:
        (void)hf_semaphore_post_many(semaphore, n < 128 ? n / 8 : HF_SEMAPHORE_MAX - n);
        break;
    case 5:
        (void)hf_semaphore_held(semaphore, &value);
        break;
    case 6:
        (void)hf_semaphore_init(semaphore, n / 16, n / 8 % 2 == 0 ? HF_SEMAPHORE_UNDO : 0);
        break;
    default:
        (void)hf_semaphore_fini(semaphore);
        break;
    }
}

static void do_barrier(hf_barrier *barrier, uint8_t n)
{
    switch (n % 8) {
    case 0:
        (void)hf_barrier_join(barrier);
        break;
    case 1:
        (void)hf_barrier_leave(barrier);
        break;
    case 2:
        (void)hf_barrier_trywait(barrier);
        break;
    case 3:
        (void)hf_barrier_reset(barrier, n / 8);
        break;
    case 4:
        (void)hf_barrier_init(barrier, n / 8);
        break;
    case 5:
        (void)hf_barrier_fini(barrier);
        break;
    default:
        (void)hf_barrier_timedwait(barrier, SHORT_NS);
        break;
    }
}

static void do_event(hf_event *event, uint8_t n)
{
    switch (n % 8) {
    case 0:
        (void)hf_event_set(event);
        break;
    case 1:
        (void)hf_event_reset(event);
        break;
    case 2:
        (void)hf_event_trywait(event);
        break;
    case 3:
        (void)hf_event_init(event);
        break;
    case 4:
        (void)hf_event_fini(event);
        break;
    case 5:
        if (hf_event_is_set(event) == 1) {
            (void)hf_event_wait(event);
        }
        break;
    default:
        (void)hf_event_timedwait(event, SHORT_NS);
        break;
    }
}

static void do_latch(hf_latch *latch, uint8_t n)
{
    uint32_t left = 0;
    switch (n % 8) {
    case 0:
        (void)hf_latch_count_down(latch, n / 8);
        break;
    case 1:
        (void)hf_latch_init(latch, n / 8);
        break;
    case 2:
        (void)hf_latch_fini(latch);
        break;
    case 3:
        (void)hf_latch_trywait(latch);
        break;
    case 4:
        if (hf_latch_value(latch, &left) == 0 && left == 1) {
            (void)hf_latch_arrive_and_wait(latch);
        }
        break;
    default:
        (void)hf_latch_timedwait(latch, SHORT_NS);
        break;
    }
}

struct deed {
    hf_once *once;
    uint8_t n;
};

/* It fails, or does itself again, or is done. */
static int do_it(void *context)
{
    struct deed *deed = context;
    if (deed->n % 4 == 1) {
        (void)hf_once_timedcall(deed->once, do_it, deed, 0);
    }
    return deed->n % 4 == 0 ? -EIO : 0;
}

static void do_once(hf_once *once, uint8_t n)
{
    struct deed deed = {once, n / 8};
    switch (n % 8) {
    case 0:
    case 1:
        (void)hf_once_call(once, do_it, &deed);
        break;
    case 2:
        (void)hf_once_timedcall(once, do_it, &deed, 0);
        break;
    case 3:
        (void)hf_once_is_done(once);
        break;
    case 4:
        (void)hf_once_init(once);
        break;
    case 5:
        (void)hf_once_fini(once);
        break;
    default:
        (void)hf_once_timedcall(once, do_it, &deed, SHORT_NS);
        break;
    }
}

void sync_act(struct sync *sync, hf_mutex *mutex, uint8_t which, uint8_t n)
{
    unsigned one = which / SYNC_KINDS;
    switch (which % SYNC_KINDS) {
    case 0:
        do_recursive(&sync->recursive[one % 2], n);
        break;
    case 1:
        do_rwlock(&sync->rwlock[one % COUNT(sync->rwlock)], n);
        break;
    case 2:
        do_condition(sync, mutex, &sync->condition[one % 2], n);
        break;
    case 3:
        do_semaphore(&sync->plain[one % 2], n);
        break;
    case 4:
        do_semaphore(&sync->undo[one % 2], n);
        break;
    case 5:
        do_barrier(&sync->barrier[one % 2], n);
        break;
    case 6:
        do_event(&sync->event[one % 2], n);
        break;
    case 7:
        do_latch(&sync->latch[one % 2], n);
        break;
    default:
        do_once(&sync->once[one % 2], n);
        break;
    }
}

/* ---- places and values that are worth it -------------------------------------------------- */

#define SLOT(field) offsetof(struct slot, field)

static const uint16_t slot_words[] = {SLOT(intent),
                                      SLOT(held),
                                      SLOT(claim),
                                      SLOT(update),
                                      SLOT(update_of),
                                      SLOT(update_makes),
                                      SLOT(update_expects),
                                      SLOT(holds_top),
                                      SLOT(holds),
                                      SLOT(holds) + 8,
                                      SLOT(holds) + 16,
                                      SLOT(holds) + 24,
                                      SLOT(holds) + 8 * (HOLDS_MAX - 1)};

static uint64_t offset_in(const struct image *image, uint32_t number)
{
    return (uint64_t)((char *)image_slot(image, number) - image->bytes);
}

/* Of an object twice as often as of a slot. */
static uint64_t choose_place(const struct image *image, struct input *input)
{
    uint8_t how = take_byte(input);
    uint8_t which = take_byte(input);
    if (how % 3 != 0) {
        return offset_of(image, 0) + which % (SYNC_OBJECTS * 4) * 8;
    }
    uint32_t number = 1 + (uint32_t)(how / 3) % (how < 192 ? SLOTS_PER_PAGE : 24);
    return offset_in(image, number <= image_slots(image) ? number : 1) +
           slot_words[which % COUNT(slot_words)];
}

/* What stands in such a word, and is not true. */
static uint64_t choose_value(const struct image *image, uint64_t now, struct input *input)
{
    static const uint32_t flags[] = {0,
                                     LOCK_UPGRADABLE,
                                     LOCK_UPGRADABLE | LOCK_CLOSED,
                                     LOCK_GIVEN_UP,
                                     LOCK_OWNER_DIED,
                                     LOCK_WAITERS,
                                     LOCK_CLOSED,
                                     LOCK_WAITERS | LOCK_OWNER_DIED};
    uint8_t how = take_byte(input);
    uint64_t n = take_byte(input);
    uint64_t object = offset_of(image, take_byte(input) % SYNC_OBJECTS);
    switch (how % 10) {
    case 0: /* a hold, of any kind there is and one more */
        return hold_word(object, how / 10 % 5, n < 254 ? n : UINT64_C(0xfffd) + n - 253);
    case 1: /* a lock's word, its kind kept */
        return (now & ~UINT64_C(0xffffffff)) | flags[how / 10 % COUNT(flags)] | n % 32;
    case 2: /* a kind, its word kept */
        return (now & UINT64_C(0xffffffff)) | (n % 6) << 32;
    case 3: /* an object's place, and an intent's */
        return object | how / 10 % 8;
    case 4: /* a count of permits, or a barrier's state */
        return n % 4 * COUNT_ONE | how / 10 % 2 | (n >> 2 & 0xf) << COUNT_SLOT_SHIFT |
               (n & 0xc0) << COUNT_VERSION_SHIFT;
    case 5: /* the number of an update */
        return (now & ~UPDATE_STATE) | n % 4;
    case 6:
        return now ^ UINT64_C(1) << n % 64;
    case 7:
        return n << (how / 10 % 8 * 8);
    case 8: /* a barrier's state */
        return n % 4 << BARRIER_ARRIVED_SHIFT | (n >> 2) % 4 << BARRIER_EXPECTED_SHIFT |
               (n >> 4) % 4 * BARRIER_EPOCH_ONE | (n >> 6) % 2 * BARRIER_BROKEN;
    default:
        return take_number(input, 8);
    }
}

/* If that is one of a slot's holds, the slot is made to say that it has so many. */
static void show_holds(const struct image *image, char *base, uint64_t place)
{
    for (uint32_t n = 1; n <= image_slots(image); n++) {
        uint64_t slot = offset_in(image, n);
        uint64_t hold = (place - slot - SLOT(holds)) / 8;
        if (hold < HOLDS_MAX) {
            shared_u64 *top = (void *)(base + slot + SLOT(holds_top));
            store_relaxed(top, hold + 1);
        }
    }
}

void sync_mutate(const struct image *image, char *base, struct input *input)
{
    uint64_t place = choose_place(image, input);
    uint64_t value;
    memcpy(&value, base + place, sizeof value);
    value = choose_value(image, value, input);
    memcpy(base + place, &value, sizeof value);
    if (take_byte(input) % 2 != 0) {
        show_holds(image, base, place);
    }
}
