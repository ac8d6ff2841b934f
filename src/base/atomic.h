/* SPDX-License-Identifier: MIT */
/*
 * The only place that names a memory order. An operation's name says its order; a comment at each
 * use says who its partner is. Every atomic in shared memory is lock-free, on 32 bits too.
 */
#ifndef HF_BASE_ATOMIC_H
#define HF_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdint.h>

_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
               "shared memory needs lock-free 32- and 64-bit atomics");

#define load_relaxed(p)         atomic_load_explicit((p), memory_order_relaxed)
#define load_acquire(p)         atomic_load_explicit((p), memory_order_acquire)
#define store_relaxed(p, v)     atomic_store_explicit((p), (v), memory_order_relaxed)
#define store_release(p, v)     atomic_store_explicit((p), (v), memory_order_release)
#define fetch_add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define fetch_add_release(p, v) atomic_fetch_add_explicit((p), (v), memory_order_release)
#define fetch_or_relaxed(p, v)  atomic_fetch_or_explicit((p), (v), memory_order_relaxed)
#define fetch_or_release(p, v)  atomic_fetch_or_explicit((p), (v), memory_order_release)
#define fetch_and_relaxed(p, v) atomic_fetch_and_explicit((p), (v), memory_order_relaxed)
#define exchange_release(p, v)  atomic_exchange_explicit((p), (v), memory_order_release)

/* Compare-and-swap: *p from *expected to v; on failure *expected is what stood there. */
#define cas_acquire(p, expected, v)                                                                \
    atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acquire,            \
                                            memory_order_relaxed)
#define cas_release(p, expected, v)                                                                \
    atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_release,            \
                                            memory_order_relaxed)
#define cas_acq_rel(p, expected, v)                                                                \
    atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acq_rel,            \
                                            memory_order_relaxed)
#define cas_relaxed(p, expected, v)                                                                \
    atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_relaxed,            \
                                            memory_order_relaxed)

/*
 * Crash order. Whoever recovers a dead thread sees its stores in program order, so the compiler is
 * all that has to be held back: no cache flush, no processor fence. Between two of these no store
 * moves to the other side.
 */
static inline void crash_fence(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

/*
 * A store that the promise rests on: logs, intents, records, and what makes them good. It is
 * neither dropped nor moved, and `make proof` fails if any one of them is deleted: the mutation
 * gate puts its own in place of these two (tests/proof/mutant_store.h). HF_LOG_PUBLISH is for what
 * living peers read without a lock as well; its place names its partner.
 */
#ifndef HF_LOG_STORE
#define HF_LOG_STORE(place, value)                                                                 \
    do {                                                                                           \
        crash_fence();                                                                             \
        store_relaxed((place), (value));                                                           \
        crash_fence();                                                                             \
    } while (0)
#define HF_LOG_PUBLISH(place, value)                                                               \
    do {                                                                                           \
        crash_fence();                                                                             \
        store_release((place), (value));                                                           \
        crash_fence();                                                                             \
    } while (0)
#endif

/*
 * Orders an earlier store before a later load, which release and acquire do not. It stands
 * between "publish" and "is anyone asleep?" on one side, and between "I am going to sleep" and
 * "is there anything?" on the other: of two such sides at least one sees the other's store.
 */
static inline void fence_store_load(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* The same after a read-modify-write that has succeeded, which on x86 is such a fence itself. */
static inline void fence_after_rmw(void)
{
#if defined(__x86_64__) || defined(__i386__)
    atomic_signal_fence(memory_order_seq_cst);
#else
    fence_store_load();
#endif
}

/* Orders earlier stores before later ones, for whoever looks with load_acquire. */
static inline void fence_stores(void)
{
    atomic_thread_fence(memory_order_release);
}

/* Orders earlier loads before later ones: what was read is good if a word that its writer changes
   first has not changed. */
static inline void fence_loads(void)
{
    atomic_thread_fence(memory_order_acquire);
}

/* Tells the processor that this is a spin. */
static inline void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

#endif
