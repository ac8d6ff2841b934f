/* SPDX-License-Identifier: MIT */
/*
 * What events and latches are made of: one word that changes in one step and that one sleeps on.
 * There is nobody in it to die, so it needs no participant.
 */
#ifndef HF_SYNC_WORD_H
#define HF_SYNC_WORD_H

#include <errno.h>
#include <limits.h>

#include "os/os.h"
#include "segment/lock.h"
#include "sync/word_layout.h"

#define word_init hf_word_init
#define word_fini hf_word_fini
#define word_wait hf_word_wait

/* 0; -EINVAL: there can be none there, or fini has ended it. */
static inline int word_check(const struct word *word)
{
    bool good = word != NULL && (uintptr_t)word % _Alignof(struct word) == 0 &&
                load_relaxed(&word->kind) == LOCK_FRESH;
    return good ? 0 : -EINVAL;
}

/* Makes one, whose word begins as that. */
int word_init(struct word *word, uint32_t value);

/* Ends it; who waits is told. */
int word_fini(struct word *word);

/* Waits until the word `now` is what is waited for; `since`: as it was when the wait began. 0;
   -EBUSY (timeout 0); -ETIMEDOUT; -EINVAL, also if it is ended meanwhile. */
int word_wait(struct word *word, int64_t timeout_ns, bool (*is_it)(uint32_t now, uint32_t since));

/* Who is woken too early looks again; who is not woken, after a slice. */
static inline void word_wake_all(struct word *word)
{
    (void)os_wake(&word->word, INT_MAX);
}

#endif
