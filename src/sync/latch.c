/* SPDX-License-Identifier: MIT */
/* hf_latch: as an event, but its word counts down and is 0 for ever. */
#include "holdfast/latch.h"
#include "sync/word.h"

_Static_assert(sizeof(hf_latch) == sizeof(struct word), "a latch is a word");
_Static_assert(_Alignof(hf_latch) == _Alignof(struct word), "a latch is a word");

static struct word *word_of(hf_latch *latch)
{
    return (struct word *)(void *)latch;
}

int hf_latch_init(hf_latch *latch, uint32_t count)
{
    return count > HF_LATCH_MAX ? -EINVAL : word_init(word_of(latch), count);
}

int hf_latch_fini(hf_latch *latch)
{
    return word_fini(word_of(latch));
}

int hf_latch_count_down(hf_latch *latch, uint32_t n)
{
    struct word *word = word_of(latch);
    int error = word_check(word);
    if (error != 0) {
        return error;
    }
    uint32_t was = load_relaxed(&word->word);
    uint32_t left;
    do {
        if (n > (was & LATCH_COUNT)) {
            return -EINVAL;
        }
        left = (was & LATCH_COUNT) == n ? 0 : was - n;
    } while (!cas_release(&word->word, &was, left)); /* partner: hf_latch_timedwait */
    if (left == 0 && (was & WORD_WAITERS) != 0) {
        word_wake_all(word);
    }
    return 0;
}

int hf_latch_value(const hf_latch *latch, uint32_t *left)
{
    const struct word *word = (const struct word *)(const void *)latch;
    int error = left == NULL ? -EINVAL : word_check(word);
    if (error == 0) {
        *left = load_acquire(&word->word) & LATCH_COUNT; /* partner: hf_latch_count_down */
    }
    return error;
}

static bool is_down(uint32_t word, uint32_t since)
{
    (void)since;
    return (word & LATCH_COUNT) == 0;
}

int hf_latch_timedwait(hf_latch *latch, int64_t timeout_ns)
{
    return word_wait(word_of(latch), timeout_ns, is_down); /* partner: hf_latch_count_down */
}

int hf_latch_wait(hf_latch *latch)
{
    return hf_latch_timedwait(latch, HF_FOREVER);
}

int hf_latch_trywait(hf_latch *latch)
{
    return hf_latch_timedwait(latch, 0);
}

int hf_latch_arrive_and_wait(hf_latch *latch)
{
    int error = hf_latch_count_down(latch, 1);
    return error != 0 ? error : hf_latch_wait(latch);
}
