/* SPDX-License-Identifier: MIT */
/* Runs of pages: taken, given back, grown for. */
#include "soak/soak.h"

#define WORDS (HF_SEGMENT_PAGE / sizeof(uint64_t))

/* What the first and the last word of a page hold. */
static uint64_t stamp_of(uint64_t serial, uint64_t page)
{
    return serial * UINT64_C(0x100000001b3) + page + 1;
}

static volatile uint64_t *page_of(hf_segment *segment, const struct run *run, uint64_t page)
{
    hf_off place = {run->link.value + page * HF_SEGMENT_PAGE};
    return hf_segment_at(segment, place);
}

uint64_t run_holds(hf_segment *segment, const struct run *run)
{
    for (uint64_t page = 0; page < run->pages; page++) {
        volatile uint64_t *words = page_of(segment, run, page);
        uint64_t stamp = stamp_of(run->serial, page);
        if (words == NULL || words[0] != stamp || words[WORDS - 1] != stamp) {
            return page;
        }
    }
    return run->pages;
}

static void stamp(struct actor *a, struct run *run)
{
    for (uint64_t page = 0; page < run->pages; page++) {
        volatile uint64_t *words = page_of(a->segment, run, page);
        if (words == NULL) {
            fail(a, "page %llu of a run at %#llx lies outside the segment",
                 (unsigned long long)page, (unsigned long long)run->link.value);
        }
        words[0] = stamp_of(run->serial, page);
        words[WORDS - 1] = words[0];
    }
}

static void must_hold(struct actor *a, struct run *run)
{
    uint64_t page = run_holds(a->segment, run);
    if (page != run->pages) {
        volatile uint64_t *words = page_of(a->segment, run, page);
        fail(a, "page %llu of the run of %llu at %#llx was written by someone else: it holds %#llx",
             (unsigned long long)page, (unsigned long long)run->pages,
             (unsigned long long)run->link.value,
             words == NULL ? 0ull : (unsigned long long)words[0]);
    }
}

static void take_pages(struct actor *a, struct run *run)
{
    run->pages = 1 + below(&a->chance, UINT64_C(1) << below(&a->chance, 5));
    run->serial = (uint64_t)a->thread << 32 | (uint32_t)a->takes;
    linger(a);
    int result =
        CALL(a, run->pages, hf_pages_alloc(a->segment, run->pages * HF_SEGMENT_PAGE, &run->link));
    if (PERMIT(a, result, -ENOMEM) != 0) {
        if (run->link.value != 0) {
            fail(a, "no pages were to be had, and the link is %#llx",
                 (unsigned long long)run->link.value);
        }
        return;
    }
    linger(a);
    stamp(a, run);
}

void give_pages(struct actor *a, struct run *run)
{
    must(a,
         CALL(a, run->pages, hf_pages_free(a->segment, run->pages * HF_SEGMENT_PAGE, &run->link)));
    int again =
        CALL(a, run->pages, hf_pages_free(a->segment, run->pages * HF_SEGMENT_PAGE, &run->link));
    if (run->link.value != 0 || again != -EINVAL) {
        fail(a, "pages that were given back can be given back again: %d", again);
    }
}

bool take_run(struct actor *a, struct run *run)
{
    hold had = take(a, &run->guard, true);
    if (had == HAD_GOOD && run->link.value != 0) {
        must_hold(a, run);
    }
    if (had == HAD_SUSPECT) { /* it died between taking and stamping */
        if (run->link.value != 0) {
            stamp(a, run);
        }
        mended(a, &run->guard);
    }
    return had != HAD_NOT;
}

void change_run(struct actor *a)
{
    struct run *run = &a->table->run[below(&a->chance, RUNS)];
    if (!take_run(a, run)) {
        return;
    }
    linger(a);
    if (run->link.value == 0) {
        take_pages(a, run);
    } else if (one_in(&a->chance, 2)) {
        give_pages(a, run);
    }
    give(a, &run->guard);
}

void grow(struct actor *a)
{
    uint64_t least = a->arena->size;
    uint64_t most = a->arena->maximum;
    /* Most of the time a little more: the large ones are for few. */
    uint64_t range = one_in(&a->chance, 8) ? most - least : (most - least) / 16;
    uint64_t size = least + below(&a->chance, range + 1) + 1;
    void *before = hf_segment_at(a->segment, (hf_off){size - 1});
    int result = CALL(a, size, hf_segment_grow(a->segment, size));
    if (size <= most) {
        must(a, result);
        if (hf_segment_at(a->segment, (hf_off){size - 1}) == NULL) {
            fail(a, "the segment was grown to %llu, and is not as large", (unsigned long long)size);
        }
        count(a->seat, COUNT_GROWTHS, before == NULL ? 1 : 0);
    } else {
        (void)PERMIT(a, result, -ENOMEM);
    }
}

void trim(struct actor *a)
{
    uint64_t bytes;
    must(a, CALL(a, 0, hf_segment_trim(a->segment, &bytes)));
}

void pages_inside_a_transaction(struct actor *a)
{
    struct run *run = &a->table->run[below(&a->chance, RUNS)];
    must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    if (CALL(a, 1, hf_pages_alloc(a->segment, 1, &run->link)) != -EBUSY) {
        fail(a, "pages can be taken inside a transaction");
    }
    linger(a);
    must(a, CALL(a, 0, hf_tx_commit(a->segment)));
}
