/* SPDX-License-Identifier: MIT */
/*
 * hf_event. The sides of the wait:
 *     waiter  (1) word |= WAITERS, if it is not set
 *             (2) sleeps if it is still so
 *     setter  (3) word: SET, one more time, without WAITERS
 *             (4) wakes all, if WAITERS
 * The word changes at (3) whether it is reset afterwards or not, so nobody sleeps through it.
 */
#include "holdfast/event.h"
#include "sync/word.h"

_Static_assert(sizeof(hf_event) == sizeof(struct word), "an event is a word");
_Static_assert(_Alignof(hf_event) == _Alignof(struct word), "an event is a word");

static struct word *word_of(hf_event *event)
{
    return (struct word *)(void *)event;
}

int hf_event_init(hf_event *event)
{
    return word_init(word_of(event), 0);
}

int hf_event_fini(hf_event *event)
{
    return word_fini(word_of(event));
}

/* One that is set already is written all the same: what its caller has written is told with it. */
int hf_event_set(hf_event *event)
{
    struct word *word = word_of(event);
    int error = word_check(word);
    if (error != 0) {
        return error;
    }
    uint32_t was = load_relaxed(&word->word);
    uint32_t set;
    do {
        uint32_t count = (was & EVENT_SET) != 0 ? 0 : EVENT_SETTING;
        set = ((was + count) & ~WORD_WAITERS) | EVENT_SET;
    } while (!cas_release(&word->word, &was, set)); /* partner: has_been_set */
    if ((was & WORD_WAITERS) != 0) {
        word_wake_all(word);
    }
    return 0;
}

int hf_event_reset(hf_event *event)
{
    struct word *word = word_of(event);
    int error = word_check(word);
    if (error == 0) {
        (void)fetch_and_relaxed(&word->word, ~EVENT_SET);
    }
    return error;
}

int hf_event_is_set(const hf_event *event)
{
    const struct word *word = (const struct word *)(const void *)event;
    int error = word_check(word);
    if (error != 0) {
        return error;
    }
    return (load_acquire(&word->word) & EVENT_SET) != 0 ? 1 : 0; /* partner: hf_event_set */
}

/* Is it set, or has it been since? */
static bool has_been_set(uint32_t word, uint32_t since)
{
    return (word & EVENT_SET) != 0 || ((word ^ since) & ~WORD_WAITERS) != 0;
}

int hf_event_timedwait(hf_event *event, int64_t timeout_ns)
{
    return word_wait(word_of(event), timeout_ns, has_been_set); /* partner: hf_event_set */
}

int hf_event_wait(hf_event *event)
{
    return hf_event_timedwait(event, HF_FOREVER);
}

int hf_event_trywait(hf_event *event)
{
    return hf_event_timedwait(event, 0);
}
