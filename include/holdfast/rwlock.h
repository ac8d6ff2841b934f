/* SPDX-License-Identifier: MIT */
/*
 * A reader-writer lock that lies in a segment and survives whoever holds it; upgradable as well.
 *
 * It is held *shared* by any number of threads (they read), *exclusively* by one (it writes), or
 * *upgradably* by one beside any number of readers: that one reads as well, and can become the
 * writer without letting go, so that nobody else has written meanwhile.
 *
 * Memory that is all zero is such a lock, free: what lies in a fresh root needs no initialising. It
 * belongs to the segment that it lies in, at that place: do not copy or move it.
 *
 * A thread that waits to write keeps new readers out, so writers do not starve. A thread may hold
 * it shared more than once: that is always granted, and counts. At most 32 different locks at a
 * time are held shared by a thread (with what else it holds beside others): -ENOLCK.
 *
 * Death of a reader: it is taken out of the lock; nobody is told, for it has written nothing. The
 * same goes for an upgradable holder, also while it waits to become the writer.
 *
 * Death of the writer: whoever comes next undoes its transaction and takes the lock over. If the
 * dead had taken it inside that transaction the data is as it was before, and locking returns 0.
 * Otherwise it returns -EOWNERDEAD, *and the lock is held*, in whichever way was asked for. That
 * goes on until somebody who holds it exclusively has mended the data and said so by
 * hf_rwlock_consistent; if somebody unlocks it exclusively without that the data is given up:
 * everyone gets -ENOTRECOVERABLE from then on. A waiter hears of a death within milliseconds where
 * the kernel can tell, within a tenth of a second elsewhere. A stopped holder is alive.
 *
 * Inside a transaction the unlock of an exclusive or upgradable lock is kept until the transaction
 * ends (see <holdfast/tx.h>), and the same thread can have it again meanwhile, in the same way as
 * before, or shared. A shared lock is let go of at once: take one exclusively if what was read has
 * to be true at the commit.
 *
 * Timeouts are in nanoseconds: HF_FOREVER, no limit; 0, as the try form (-EBUSY); otherwise
 * -ETIMEDOUT once they have passed. Deadlines (..._until) are those of hf_now_ns.
 *
 * Errors common to all: those of <holdfast/segment.h>. -EINVAL also for a lock that lies in no
 * segment that this process has open, a misaligned one, or one that fini has ended. -EBADMSG:
 * damaged. All of it in memory that is mapped: what went with hf_segment_close is a SIGSEGV.
 *
 * Who jumps out of a call on it, and then calls hf_thread_recover, holds it as before the call, as
 * after it, or not at all. The unlocks tell (-EPERM), and of one that it may hold shared more than
 * once hf_rwlock_held_shared. Who was still waiting holds it as before. Only who had it upgradably
 * and shared as well, and jumps out of the downgrade to shared, may have it upgradably still and
 * shared once more than before.
 */
#ifndef HOLDFAST_RWLOCK_H
#define HOLDFAST_RWLOCK_H

#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/time.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
typedef struct hf_rwlock {
    uint64_t opaque[4] __attribute__((aligned(8)));
} hf_rwlock;
#else
typedef struct hf_rwlock {
    uint64_t opaque[4];
} hf_rwlock;
#endif

/* clang-format off */
#define HF_RWLOCK_INIT {{0, 0, 0, 0}}
/* clang-format on */

/* Makes a lock of memory that is not all zero. Nobody may be using it. */
HF_API int hf_rwlock_init(hf_rwlock *lock);

/* Ends it: from now on -EINVAL, also for those who are waiting. -EBUSY while someone holds it in
   any way. Memory that was a lock becomes something else only after this: who died waiting for it,
   or holding it, is recovered by what is written there. */
HF_API int hf_rwlock_fini(hf_rwlock *lock);

/* ---- shared ------------------------------------------------------------------------------ */

/* 0; -EOWNERDEAD: held, see above; -ENOTRECOVERABLE; -EDEADLK: this thread has it exclusively;
   -ENOLCK: it holds too many; -EOVERFLOW: it has this one shared 65535 times. */
HF_API int hf_rwlock_rdlock(hf_rwlock *lock);
HF_API int hf_rwlock_tryrdlock(hf_rwlock *lock);
HF_API int hf_rwlock_timedrdlock(hf_rwlock *lock, int64_t timeout_ns);

/* Of one of this thread's; -EPERM if it has none. */
HF_API int hf_rwlock_rdunlock(hf_rwlock *lock);

/* How often this thread holds it shared. */
HF_API int hf_rwlock_held_shared(hf_rwlock *lock, uint32_t *times);

/* ---- exclusive --------------------------------------------------------------------------- */

/* 0; -EOWNERDEAD: held, see above; -ENOTRECOVERABLE; -EDEADLK: this thread holds it, in whatever
   way (from shared or upgradable: see the transfers). The try form may keep others' try forms from
   success for an instant, though it fails itself. */
HF_API int hf_rwlock_wrlock(hf_rwlock *lock);
HF_API int hf_rwlock_trywrlock(hf_rwlock *lock);
HF_API int hf_rwlock_timedwrlock(hf_rwlock *lock, int64_t timeout_ns);

/* -EPERM if this thread does not hold it exclusively. */
HF_API int hf_rwlock_wrunlock(hf_rwlock *lock);

/* After -EOWNERDEAD, by whoever holds it exclusively: the data is good again. -EPERM if this thread
   does not; -EINVAL if no owner has died. */
HF_API int hf_rwlock_consistent(hf_rwlock *lock);

/* ---- upgradable -------------------------------------------------------------------------- */

/* As wrlock. Readers may be inside, and come in; nobody else has it upgradably or exclusively. */
HF_API int hf_rwlock_uplock(hf_rwlock *lock);
HF_API int hf_rwlock_tryuplock(hf_rwlock *lock);
HF_API int hf_rwlock_timeduplock(hf_rwlock *lock, int64_t timeout_ns);

/* -EPERM if this thread does not hold it upgradably. Gives no data up. */
HF_API int hf_rwlock_upunlock(hf_rwlock *lock);

/* ---- transfers: there is no moment without the lock -------------------------------------- */

/* From upgradable to exclusive: waits for the readers to leave, and keeps new ones out. 0;
   -EOWNERDEAD: done, but nobody has mended the data yet; -EPERM: it is not held upgradably;
   -EDEADLK: this thread is a reader as well. Unless it is done the lock is held upgradably. */
HF_API int hf_rwlock_upgrade(hf_rwlock *lock);
HF_API int hf_rwlock_tryupgrade(hf_rwlock *lock);
HF_API int hf_rwlock_timedupgrade(hf_rwlock *lock, int64_t timeout_ns);

/* From exclusive to upgradable; readers come in. -EPERM: it is not held so; -EBUSY inside a
   transaction, which may have to undo what was written. Data that is not mended stays so. */
HF_API int hf_rwlock_downgrade_to_upgradable(hf_rwlock *lock);

/* From exclusive or upgradable to shared. The same errors; -ENOLCK, -EOVERFLOW: as rdlock. */
HF_API int hf_rwlock_downgrade_to_shared(hf_rwlock *lock);

/*
 * From shared to upgradable, or to exclusive. 0; -EOWNERDEAD: done, see above; -EPERM: this thread
 * does not hold it shared; -EBUSY: it does more than once, or the try form was in vain; -EINVAL for
 * HF_FOREVER: two who do this at once would wait for each other for ever. Unless it is done the
 * lock is held shared. Who knows beforehand that it may have to write should begin with uplock.
 */
HF_API int hf_rwlock_try_shared_to_upgradable(hf_rwlock *lock);
HF_API int hf_rwlock_timed_shared_to_upgradable(hf_rwlock *lock, int64_t timeout_ns);
HF_API int hf_rwlock_try_shared_to_exclusive(hf_rwlock *lock);
HF_API int hf_rwlock_timed_shared_to_exclusive(hf_rwlock *lock, int64_t timeout_ns);

/* ---- with a deadline --------------------------------------------------------------------- */

static inline int hf_rwlock_rdlock_until(hf_rwlock *lock, int64_t deadline_ns)
{
    return hf_rwlock_timedrdlock(lock, hf_time_left(deadline_ns));
}

static inline int hf_rwlock_wrlock_until(hf_rwlock *lock, int64_t deadline_ns)
{
    return hf_rwlock_timedwrlock(lock, hf_time_left(deadline_ns));
}

static inline int hf_rwlock_uplock_until(hf_rwlock *lock, int64_t deadline_ns)
{
    return hf_rwlock_timeduplock(lock, hf_time_left(deadline_ns));
}

static inline int hf_rwlock_upgrade_until(hf_rwlock *lock, int64_t deadline_ns)
{
    return hf_rwlock_timedupgrade(lock, hf_time_left(deadline_ns));
}

static inline int hf_rwlock_shared_to_upgradable_until(hf_rwlock *lock, int64_t deadline_ns)
{
    return hf_rwlock_timed_shared_to_upgradable(lock, hf_time_left(deadline_ns));
}

static inline int hf_rwlock_shared_to_exclusive_until(hf_rwlock *lock, int64_t deadline_ns)
{
    return hf_rwlock_timed_shared_to_exclusive(lock, hf_time_left(deadline_ns));
}

#ifdef __cplusplus
}
#endif

#ifdef HF_LOCK_ORDER
#include "holdfast/lock_order.h"
#endif
#endif
