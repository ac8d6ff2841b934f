/* SPDX-License-Identifier: MIT */
/* Beginning, end and sleep of what is one word. */
#include "sync/word.h"

int word_init(struct word *word, uint32_t value)
{
    if (word == NULL || (uintptr_t)word % _Alignof(struct word) != 0) {
        return -EINVAL;
    }
    HF_LOG_STORE(&word->self, 0); /* for the intents of who waited for what was here, and died */
    HF_LOG_STORE(&word->word, value);
    HF_LOG_STORE(&word->kind, LOCK_FRESH);
    return 0;
}

int word_fini(struct word *word)
{
    int error = word_check(word);
    if (error != 0) {
        return error;
    }
    HF_LOG_STORE(&word->kind, LOCK_DESTROYED);
    word_wake_all(word);
    return 0;
}

/*
 * Sleeps while the word is `seen`, with WAITERS set, and no longer than a slice. `start`: when the
 * waiting began, 0 at first. 0: look again; -EBUSY, -ETIMEDOUT: it is over.
 */
static int sleep_on(struct word *word, uint32_t seen, int64_t timeout_ns, uint64_t *start)
{
    if (timeout_ns == 0) {
        return -EBUSY;
    }
    uint32_t with = seen | WORD_WAITERS;
    if (seen != with && !cas_relaxed(&word->word, &seen, with)) {
        return 0;
    }
    if (*start == 0) {
        *start = os_now_ns();
    }
    int64_t ns = lock_time_left(*start, timeout_ns);
    if (ns == 0) {
        return -ETIMEDOUT;
    }
    (void)os_wait(&word->word, with, ns);
    return 0;
}

int word_wait(struct word *word, int64_t timeout_ns, bool (*is_it)(uint32_t now, uint32_t since))
{
    uint64_t start = 0;
    int error = timeout_ns < HF_FOREVER ? -EINVAL : word_check(word);
    if (error != 0) {
        return error;
    }
    uint32_t since = load_acquire(&word->word); /* partner: who changes it */
    for (uint32_t now = since; !is_it(now, since); now = load_acquire(&word->word)) {
        error = word_check(word);
        error = error != 0 ? error : sleep_on(word, now, timeout_ns, &start);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}
