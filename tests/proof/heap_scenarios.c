/* SPDX-License-Identifier: MIT */
/*
 * What a death leaves of the heap: exactly the blocks that were in use before the call, or exactly
 * those after it; each link names one; and when all that is known of is freed, nothing is left.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holdfast/heap.h"
#include "proof/board.h"
#include "segment/handle.h"
#include "segment/heap.h"
#include "segment/pages.h"
#include "segment/tx.h"

#define HEAP_SIZE (40 * HF_SEGMENT_PAGE)
#define SMALL     64u   /* a span of theirs is a page */
#define THIRD     4096u /* three of them are a span */
#define LARGE     8193u /* three pages */

/* ---- what set-up and preparation do -------------------------------------------------------- */

static struct heap_board *heap_of_board(struct arena *arena)
{
    return &board_of(arena)->heap;
}

static void make_board(struct arena *arena)
{
    (void)board_of(arena);
}

static void expect_blocks(struct arena *arena, uint64_t before, uint64_t after)
{
    heap_of_board(arena)->blocks[0] = before;
    heap_of_board(arena)->blocks[1] = after;
}

static void expect_links(struct arena *arena, uint64_t before, uint64_t after)
{
    heap_of_board(arena)->links[0] = before;
    heap_of_board(arena)->links[1] = after;
}

/* As many blocks, in loose[] from `first` on. */
static void take_loose(struct arena *arena, unsigned first, unsigned count, size_t size)
{
    for (unsigned i = first; i < first + count; i++) {
        void *block;
        require(hf_alloc(arena->segment, size, &block) == 0, "alloc");
        heap_of_board(arena)->loose[i] = hf_segment_offset(arena->segment, block);
    }
}

static void *loose(struct arena *arena, unsigned i)
{
    return hf_segment_at(arena->segment, heap_of_board(arena)->loose[i]);
}

/* For good: nobody knows of it afterwards. */
static void free_loose(struct arena *arena, unsigned i)
{
    require(hf_free(arena->segment, loose(arena, i)) == 0, "free");
    heap_of_board(arena)->loose[i].value = 0;
}

static void take_linked(struct arena *arena, unsigned i, size_t size)
{
    require(hf_alloc_into(arena->segment, size, &heap_of_board(arena)->link[i]) == 0, "into");
}

static int free_linked(struct arena *arena, unsigned i)
{
    return hf_free_from(arena->segment, &heap_of_board(arena)->link[i]);
}

static int alloc(struct arena *arena, size_t size)
{
    void *block;
    return hf_alloc(arena->segment, size, &block);
}

/* In a process of its own, which then leaves. */
static void in_a_child(struct arena *arena, void (*work)(struct arena *arena))
{
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        work(arena);
        _exit(hf_thread_leave(arena->segment) == 0 ? 0 : 1);
    }
    int status;
    require(waitpid(pid, &status, 0) == pid && status == 0, "a child fails");
}

/* ---- judging ------------------------------------------------------------------------------ */

static outcome judge_counts(struct arena *copy)
{
    struct heap_board *heap = heap_of_board(copy);
    uint64_t blocks = heap_blocks(copy);
    uint64_t links = heap_links(copy);
    bool after = blocks == heap->blocks[1] && links == heap->links[1];
    bool before = blocks == heap->blocks[0] && links == heap->links[0];
    if (!before && !after) {
        return bad("%lu blocks are in use, by %lu links", (unsigned long)blocks,
                   (unsigned long)links);
    }
    outcome result = before ? OUTCOME_BEFORE : OUTCOME_AFTER;
    return heap_is_whole(copy, before ? 0 : heap->unknown) ? result : OUTCOME_BAD;
}

static outcome judge(struct arena *copy)
{
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    return judge_counts(copy);
}

/* For calls of several steps, each of which stands alone: as many as there are so far. */
static outcome judge_up_to(struct arena *copy)
{
    struct heap_board *heap = heap_of_board(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    uint64_t blocks = heap_blocks(copy);
    bool more = heap->blocks[1] > heap->blocks[0];
    uint64_t least = heap->blocks[more ? 0 : 1];
    uint64_t most = heap->blocks[more ? 1 : 0];
    if (blocks < least || blocks > most) {
        return bad("%lu blocks are in use", (unsigned long)blocks);
    }
    outcome result = blocks == heap->blocks[1] ? OUTCOME_AFTER : OUTCOME_BEFORE;
    return heap_is_whole(copy, more ? blocks - least : 0) ? result : OUTCOME_BAD;
}

/* ---- taking: before 1 block, after 2, of which one is known to none ---------------------------
 */

static void prepare_with(struct arena *arena, unsigned count, size_t size)
{
    take_loose(arena, 0, count, size);
    expect_blocks(arena, count, count + 1);
    heap_of_board(arena)->unknown = 1;
}

static void prepare_nothing(struct arena *arena)
{
    hf_participant self;
    require(hf_participant_self(arena->segment, &self) == 0, "self");
    prepare_with(arena, 0, SMALL);
}

static void prepare_small(struct arena *arena)
{
    prepare_with(arena, 1, SMALL);
}

static void prepare_full(struct arena *arena)
{
    prepare_with(arena, 3, THIRD);
}

static int alloc_small(struct arena *arena)
{
    return alloc(arena, SMALL);
}

static int alloc_third(struct arena *arena)
{
    return alloc(arena, THIRD);
}

static int alloc_one_large(struct arena *arena)
{
    return alloc(arena, LARGE);
}

/* The next word of a span: the first 64 of its blocks are taken. */
static void prepare_a_word(struct arena *arena)
{
    void *block[66];
    prepare_nothing(arena);
    for (unsigned i = 0; i < 66; i++) {
        require(hf_alloc(arena->segment, 32, &block[i]) == 0, "alloc");
    }
    for (unsigned i = 0; i < 64; i++) {
        require(i % 8 == 0 || hf_free(arena->segment, block[i]) == 0, "free");
    }
    for (unsigned i = 0; i < 64; i += 8) {
        heap_of_board(arena)->loose[i / 8] = hf_segment_offset(arena->segment, block[i]);
    }
    require(hf_free(arena->segment, block[64]) == 0, "free");
    require(hf_free(arena->segment, block[65]) == 0, "free");
    expect_blocks(arena, 8, 9);
}

static int alloc_32(struct arena *arena)
{
    return alloc(arena, 32);
}

static void die_with_three(struct arena *arena)
{
    take_loose(arena, 0, 3, THIRD);
    free_loose(arena, 1);
}

static void leave_an_orphan(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_with_three);
    require(hf_segment_recover(arena->segment, NULL) == 0, "recover");
}

/* It has a heap, and knows of no orphan yet. */
static void prepare_beside_an_orphan(struct arena *arena)
{
    expect_blocks(arena, 2, 3);
    heap_of_board(arena)->unknown = 1;
}

static void free_first(struct arena *arena)
{
    free_loose(arena, 0);
}

static void prepare_freed_by_another(struct arena *arena)
{
    take_loose(arena, 0, 3, THIRD);
    in_a_child(arena, free_first);
    expect_blocks(arena, 2, 3);
    heap_of_board(arena)->unknown = 1;
}

/* An orphan with nothing in it: whoever adopts it gives it back. */
static void die_with_nothing(struct arena *arena)
{
    take_loose(arena, 0, 1, THIRD);
    free_first(arena);
}

static void leave_an_empty_orphan(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, die_with_nothing);
    require(hf_segment_recover(arena->segment, NULL) == 0, "recover");
}

static int alloc_zeroed(struct arena *arena)
{
    void *block;
    return hf_alloc_zeroed(arena->segment, SMALL, &block);
}

static int alloc_aligned(struct arena *arena)
{
    void *block;
    int error = hf_alloc_aligned(arena->segment, 64, 65, &block);
    return error == 0 && (uintptr_t)block % 64 != 0 ? -EINVAL : error;
}

static void prepare_for_many(struct arena *arena)
{
    prepare_small(arena);
    expect_blocks(arena, 1, 4);
}

static int alloc_many(struct arena *arena)
{
    void *block[3];
    return hf_alloc_many(arena->segment, SMALL, 3, block);
}

/* ---- freeing ------------------------------------------------------------------------------- */

static void prepare_to_free(struct arena *arena, unsigned count, size_t size)
{
    take_loose(arena, 0, count, size);
    expect_blocks(arena, count, count - 1);
}

static void prepare_two(struct arena *arena)
{
    prepare_to_free(arena, 2, SMALL);
}

/* The bin has gone on to another span. */
static void prepare_two_spans(struct arena *arena)
{
    prepare_to_free(arena, 4, THIRD);
}

/* The first span holds one block, and is not the bin's. */
static void prepare_a_last_one(struct arena *arena)
{
    take_loose(arena, 0, 4, THIRD);
    free_loose(arena, 1);
    free_loose(arena, 2);
    expect_blocks(arena, 2, 1);
}

static void take_three(struct arena *arena)
{
    take_loose(arena, 0, 3, THIRD);
}

static void take_large(struct arena *arena)
{
    take_loose(arena, 0, 1, LARGE);
}

static void leave_anothers(struct arena *arena)
{
    make_board(arena);
    leave_alive(arena, take_three);
    board_of(arena)->living = 1;
}

static void leave_an_unrecovered_one(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, take_three);
}

static void leave_a_large_one(struct arena *arena)
{
    make_board(arena);
    leave_alive(arena, take_large);
    board_of(arena)->living = 1;
}

static void prepare_three_of_another(struct arena *arena)
{
    prepare_nothing(arena);
    heap_of_board(arena)->unknown = 0;
    expect_blocks(arena, 3, 2);
}

static void prepare_large_of_another(struct arena *arena)
{
    prepare_nothing(arena);
    heap_of_board(arena)->unknown = 0;
    expect_blocks(arena, 1, 0);
}

static int free_the_first(struct arena *arena)
{
    return hf_free(arena->segment, loose(arena, 0));
}

static void prepare_to_free_many(struct arena *arena)
{
    take_loose(arena, 0, 4, THIRD);
    expect_blocks(arena, 4, 1);
}

static int free_many(struct arena *arena)
{
    void *blocks[3] = {loose(arena, 0), loose(arena, 1), loose(arena, 2)};
    return hf_free_many(arena->segment, blocks, 3);
}

/* ---- with a link --------------------------------------------------------------------------- */

static void prepare_into(struct arena *arena)
{
    take_loose(arena, 0, 1, SMALL);
    expect_blocks(arena, 1, 2);
    expect_links(arena, 0, 1);
}

static void prepare_into_full(struct arena *arena)
{
    take_loose(arena, 0, 3, THIRD);
    expect_blocks(arena, 3, 4);
    expect_links(arena, 0, 1);
}

static int into(struct arena *arena, size_t size)
{
    return hf_alloc_into(arena->segment, size, &heap_of_board(arena)->link[0]);
}

static int into_small(struct arena *arena)
{
    return into(arena, SMALL);
}

static int into_third(struct arena *arena)
{
    return into(arena, THIRD);
}

static int into_large(struct arena *arena)
{
    return into(arena, LARGE);
}

static int from_link(struct arena *arena)
{
    return free_linked(arena, 0);
}

static void prepare_from(struct arena *arena)
{
    take_loose(arena, 0, 1, SMALL);
    take_linked(arena, 0, SMALL);
    expect_blocks(arena, 2, 1);
    expect_links(arena, 1, 0);
}

/* The last block of a span that is not the bin's. */
static void prepare_from_last(struct arena *arena)
{
    take_linked(arena, 0, THIRD);
    take_loose(arena, 0, 2, THIRD);
    take_loose(arena, 2, 1, THIRD);
    free_loose(arena, 0);
    free_loose(arena, 1);
    expect_blocks(arena, 2, 1);
    expect_links(arena, 1, 0);
}

static void prepare_from_large(struct arena *arena)
{
    take_linked(arena, 0, LARGE);
    expect_blocks(arena, 1, 0);
    expect_links(arena, 1, 0);
}

static void link_two(struct arena *arena)
{
    take_linked(arena, 0, THIRD);
    take_linked(arena, 1, THIRD);
    take_loose(arena, 0, 1, THIRD);
}

static void leave_linked_ones(struct arena *arena)
{
    make_board(arena);
    leave_alive(arena, link_two);
    board_of(arena)->living = 1;
}

static void leave_linked_ones_of_a_dead(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, link_two);
}

static void prepare_from_another(struct arena *arena)
{
    hf_participant self;
    require(hf_participant_self(arena->segment, &self) == 0, "self");
    expect_blocks(arena, 3, 2);
    expect_links(arena, 2, 1);
}

/* ---- another size --------------------------------------------------------------------------- */

static void prepare_realloc_large(struct arena *arena)
{
    take_loose(arena, 0, 1, LARGE);
    expect_blocks(arena, 1, 1);
}

static int reallocate(struct arena *arena, size_t size)
{
    void *block = loose(arena, 0);
    return hf_realloc(arena->segment, &block, size);
}

static int grow_large(struct arena *arena)
{
    return reallocate(arena, 5 * HF_SEGMENT_PAGE);
}

static int shrink_large(struct arena *arena)
{
    return reallocate(arena, 4 * HF_SEGMENT_PAGE);
}

static void prepare_shrink(struct arena *arena)
{
    take_loose(arena, 0, 1, 6 * HF_SEGMENT_PAGE);
    expect_blocks(arena, 1, 1);
}

/* The block's bytes say where in the call it is: they were these before. */
static outcome judge_resized(struct arena *copy, uint64_t before, uint64_t after)
{
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    uint64_t size = hf_usable_size(copy->segment, loose(copy, 0));
    if (size != before && size != after) {
        return bad("the block has %lu bytes", (unsigned long)size);
    }
    outcome counted = judge_counts(copy);
    return counted == OUTCOME_BAD ? counted : size == before ? OUTCOME_BEFORE : OUTCOME_AFTER;
}

static outcome judge_grown(struct arena *copy)
{
    return judge_resized(copy, 3 * HF_SEGMENT_PAGE, 5 * HF_SEGMENT_PAGE);
}

static outcome judge_shrunk(struct arena *copy)
{
    return judge_resized(copy, 6 * HF_SEGMENT_PAGE, 4 * HF_SEGMENT_PAGE);
}

/* The old one, or the new one, or both. */
static outcome judge_moved(struct arena *copy)
{
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    uint64_t blocks = heap_blocks(copy);
    bool old = heap_has_loose(copy, 0);
    if (blocks < 2 || blocks > 3 || (blocks == 3 && !old)) {
        return bad("%lu blocks are in use, the old one %s", (unsigned long)blocks,
                   old ? "too" : "not");
    }
    if (!heap_is_whole(copy, old ? blocks - 2 : 1)) {
        return OUTCOME_BAD;
    }
    return old ? OUTCOME_BEFORE : OUTCOME_AFTER;
}

static void prepare_move(struct arena *arena)
{
    take_loose(arena, 0, 2, SMALL);
}

static int move(struct arena *arena)
{
    return reallocate(arena, 100);
}

/* ---- reservations ---------------------------------------------------------------------------- */

/* As many, which live no longer than the caller. */
static void reserve(struct arena *arena, unsigned first, unsigned count, size_t size)
{
    for (unsigned i = first; i < first + count; i++) {
        void *block;
        require(hf_reserve(arena->segment, size, &block) == 0, "reserve");
        heap_of_board(arena)->loose[i] = hf_segment_offset(arena->segment, block);
    }
}

static void prepare_reserve(struct arena *arena)
{
    take_loose(arena, 7, 1, SMALL);
    expect_blocks(arena, 1, 1);
}

static void prepare_reserved(struct arena *arena)
{
    prepare_reserve(arena);
    reserve(arena, 0, 1, SMALL);
}

static void prepare_four_reserved(struct arena *arena)
{
    prepare_reserve(arena);
    reserve(arena, 0, 4, SMALL);
}

static void prepare_six_reserved(struct arena *arena)
{
    prepare_reserve(arena);
    reserve(arena, 0, 6, SMALL);
}

static void prepare_large_reserved(struct arena *arena)
{
    prepare_reserve(arena);
    reserve(arena, 0, 1, LARGE);
}

static int reserve_size(struct arena *arena, size_t size)
{
    void *block;
    return hf_reserve(arena->segment, size, &block);
}

static int reserve_small(struct arena *arena)
{
    return reserve_size(arena, SMALL);
}

static int reserve_large(struct arena *arena)
{
    return reserve_size(arena, LARGE);
}

/* Published, it is in use for good. */
static void expect_published(struct arena *arena, uint64_t link)
{
    expect_blocks(arena, 1, 2);
    expect_links(arena, 0, link);
}

static void prepare_publish(struct arena *arena)
{
    prepare_reserved(arena);
    expect_published(arena, 1);
}

static void prepare_publish_large(struct arena *arena)
{
    prepare_large_reserved(arena);
    heap_of_board(arena)->loose[1] = heap_of_board(arena)->loose[0];
    heap_of_board(arena)->loose[0].value = 0;
    expect_published(arena, 1);
}

static void prepare_publish_without(struct arena *arena)
{
    prepare_reserved(arena);
    expect_published(arena, 0);
}

static void prepare_publish_sixth(struct arena *arena)
{
    prepare_six_reserved(arena);
    expect_published(arena, 1);
}

/* The loose one is the link's from now on: it is not to be counted twice. */
static int publish_as(struct arena *arena, unsigned i, hf_off *link)
{
    struct heap_board *heap = heap_of_board(arena);
    void *block = hf_segment_at(arena->segment, heap->loose[i]);
    return hf_publish(arena->segment, block, link);
}

static int publish_linked(struct arena *arena)
{
    return publish_as(arena, 0, &heap_of_board(arena)->link[0]);
}

static int publish_large(struct arena *arena)
{
    return publish_as(arena, 1, &heap_of_board(arena)->link[0]);
}

static int publish_without(struct arena *arena)
{
    return publish_as(arena, 0, NULL);
}

static int publish_sixth(struct arena *arena)
{
    return publish_as(arena, 5, &heap_of_board(arena)->link[0]);
}

static outcome judge_published(struct arena *copy)
{
    struct heap_board *heap = heap_of_board(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    for (unsigned i = 0; i < HEAP_LOOSE; i++) {
        if (heap->loose[i].value == heap->link[0].value) {
            heap->loose[i].value = 0;
        }
    }
    return judge_counts(copy);
}

static int free_reserved(struct arena *arena)
{
    return hf_free(arena->segment, loose(arena, 0));
}

/* Leaving, the participant is not there any more: the next census finds one less. */
static int leave(struct arena *arena)
{
    return hf_thread_leave(arena->segment);
}

static int close_segment(struct arena *arena)
{
    hf_segment_close(arena->segment);
    return 0;
}

static void reserve_and_die(struct arena *arena)
{
    prepare_six_reserved(arena);
    reserve(arena, 6, 1, LARGE);
}

/* ---- giving back ----------------------------------------------------------------------------- */

static void prepare_to_trim(struct arena *arena)
{
    take_loose(arena, 0, 4, THIRD);
    take_loose(arena, 4, 1, SMALL);
    for (unsigned i = 0; i < 4; i++) {
        if (i != 1) {
            free_loose(arena, i);
        }
    }
    free_loose(arena, 4);
    expect_blocks(arena, 1, 1);
}

static void prepare_to_adopt_and_trim(struct arena *arena)
{
    hf_participant self;
    require(hf_participant_self(arena->segment, &self) == 0, "self");
    expect_blocks(arena, 2, 2);
}

static void prepare_to_give_back_an_orphan(struct arena *arena)
{
    hf_participant self;
    require(hf_participant_self(arena->segment, &self) == 0, "self");
    expect_blocks(arena, 0, 0);
}

static int trim(struct arena *arena)
{
    return hf_heap_trim(arena->segment);
}

/* ---- transactions ---------------------------------------------------------------------------- */

static void begin(struct arena *arena)
{
    require(hf_tx_begin(arena->segment) == 0, "begin");
}

static int commit(struct arena *arena)
{
    return hf_tx_commit(arena->segment);
}

static int abort_it(struct arena *arena)
{
    return hf_tx_abort(arena->segment);
}

static void prepare_into_in_tx(struct arena *arena)
{
    prepare_into(arena);
    begin(arena);
}

static void prepare_plain_in_tx(struct arena *arena)
{
    prepare_small(arena);
    begin(arena);
}

static int alloc_small_and_commit(struct arena *arena)
{
    int error = alloc(arena, SMALL);
    return error != 0 ? error : commit(arena);
}

static int into_and_commit(struct arena *arena)
{
    int error = into_small(arena);
    return error != 0 ? error : commit(arena);
}

static int into_and_abort(struct arena *arena)
{
    int error = into_small(arena);
    return error != 0 ? error : abort_it(arena);
}

static int into_large_and_commit(struct arena *arena)
{
    int error = into_large(arena);
    return error != 0 ? error : commit(arena);
}

static int into_large_and_abort(struct arena *arena)
{
    int error = into_large(arena);
    return error != 0 ? error : abort_it(arena);
}

static void prepare_from_in_tx(struct arena *arena)
{
    prepare_from(arena);
    begin(arena);
}

static void prepare_from_last_in_tx(struct arena *arena)
{
    prepare_from_last(arena);
    begin(arena);
}

static void prepare_from_large_in_tx(struct arena *arena)
{
    prepare_from_large(arena);
    begin(arena);
}

/* Two large ones, of 4 and of 3 pages, and behind them a third, that stays. */
static void prepare_two_large_in_tx(struct arena *arena)
{
    take_linked(arena, 0, LARGE + HF_SEGMENT_PAGE);
    take_linked(arena, 1, LARGE);
    take_linked(arena, 2, LARGE);
    expect_blocks(arena, 3, 1);
    expect_links(arena, 3, 1);
    begin(arena);
}

static int from_two_and_commit(struct arena *arena)
{
    int error = free_linked(arena, 0);
    error = error != 0 ? error : free_linked(arena, 1);
    return error != 0 ? error : commit(arena);
}

static void prepare_from_another_in_tx(struct arena *arena)
{
    prepare_from_another(arena);
    begin(arena);
}

static int from_and_commit(struct arena *arena)
{
    int error = from_link(arena);
    return error != 0 ? error : commit(arena);
}

static int from_and_abort(struct arena *arena)
{
    int error = from_link(arena);
    return error != 0 ? error : abort_it(arena);
}

static void prepare_free_in_tx(struct arena *arena)
{
    prepare_two_spans(arena);
    begin(arena);
}

static int free_and_commit(struct arena *arena)
{
    int error = free_the_first(arena);
    return error != 0 ? error : commit(arena);
}

/* Of each kind: an own small one, another's, a large one; and three are taken. */
static void prepare_several(struct arena *arena)
{
    take_linked(arena, 2, SMALL);
    take_linked(arena, 3, LARGE);
    expect_blocks(arena, 5, 5 - 3 + 3);
    expect_links(arena, 4, 1 + 3);
    begin(arena);
}

static int change_several(struct arena *arena)
{
    struct heap_board *heap = heap_of_board(arena);
    int error = 0;
    error = error != 0 ? error : free_linked(arena, 0);
    error = error != 0 ? error : hf_alloc_into(arena->segment, SMALL, &heap->link[4]);
    error = error != 0 ? error : free_linked(arena, 3);
    error = error != 0 ? error : hf_alloc_into(arena->segment, LARGE, &heap->link[5]);
    error = error != 0 ? error : free_linked(arena, 2);
    return error != 0 ? error : hf_alloc_into(arena->segment, THIRD, &heap->link[6]);
}

static int change_several_and_commit(struct arena *arena)
{
    int error = change_several(arena);
    return error != 0 ? error : commit(arena);
}

static int change_several_and_abort(struct arena *arena)
{
    int error = change_several(arena);
    return error != 0 ? error : abort_it(arena);
}

/* Either all three links are the old ones, or all three are the new ones. */
static outcome judge_several(struct arena *copy)
{
    struct heap_board *heap = heap_of_board(copy);
    require(hf_segment_recover(copy->segment, NULL) == 0, "recover");
    bool old = heap->link[0].value != 0 && heap->link[2].value != 0 && heap->link[3].value != 0;
    bool new = heap->link[4].value != 0 && heap->link[5].value != 0 && heap->link[6].value != 0;
    if (old == new) {
        return bad("the transaction is half done");
    }
    outcome counted = judge_counts(copy);
    return counted == OUTCOME_BAD ? counted : old ? OUTCOME_BEFORE : OUTCOME_AFTER;
}

/* The slot's log has room for one entry of a block, and then for none. */
static void fill_log(struct arena *arena)
{
    struct board *board = board_of(arena);
    begin(arena);
    require(hf_tx_add(arena->segment, board->big, LOG_INLINE - 48) == 0, "add");
}

static void prepare_overflow(struct arena *arena)
{
    take_loose(arena, 0, 1, SMALL);
    expect_blocks(arena, 1, 4);
    heap_of_board(arena)->unknown = 3;
    fill_log(arena);
}

static int alloc_three(struct arena *arena)
{
    int error = alloc(arena, SMALL);
    error = error != 0 ? error : alloc(arena, SMALL);
    return error != 0 ? error : alloc(arena, SMALL);
}

static int alloc_beyond_the_slot(struct arena *arena)
{
    int error = alloc_three(arena);
    return error != 0 ? error : commit(arena);
}

static int abort_beyond_the_slot(struct arena *arena)
{
    int error = alloc_three(arena);
    return error != 0 ? error : abort_it(arena);
}

/* ---- the dead, recovered by the victim ---------------------------------------------------------
 */

/* Its transaction is open, with blocks of each kind taken and freed, and it has some reserved. */
static void die_busy(struct arena *arena)
{
    take_linked(arena, 2, SMALL);
    take_linked(arena, 3, LARGE);
    reserve(arena, 3, 1, SMALL);
    reserve(arena, 4, 1, LARGE);
    begin(arena);
    require(change_several(arena) == 0, "change");
}

static void leave_a_busy_dead(struct arena *arena)
{
    leave_linked_ones(arena);
    leave_a_dead(arena, die_busy);
    expect_blocks(arena, 5, 5);
    expect_links(arena, 4, 4);
}

/* Committed, and nothing freed of it yet. */
static void die_committed(struct arena *arena)
{
    struct participant *p;
    take_linked(arena, 2, SMALL);
    take_linked(arena, 3, LARGE);
    begin(arena);
    require(change_several(arena) == 0, "change");
    require(participant_of(arena->segment->view, &p) == 0, "participant");
    HF_LOG_STORE(&p->slot->tx, TX_COMMITTED);
}

static void leave_a_committed_dead(struct arena *arena)
{
    leave_linked_ones(arena);
    leave_a_dead(arena, die_committed);
    expect_blocks(arena, 5, 5);
    expect_links(arena, 4, 4);
}

static void leave_a_reserving_dead(struct arena *arena)
{
    make_board(arena);
    leave_a_dead(arena, reserve_and_die);
    expect_blocks(arena, 1, 1);
}

static int recover(struct arena *arena)
{
    return hf_segment_recover(arena->segment, NULL);
}

/* ---- jumping out -------------------------------------------------------------------------------
 */

/* Out of hf_alloc in a transaction: logged, and not taken. */
static void prepare_jumped_out_of_alloc(struct arena *arena)
{
    struct participant *p;
    prepare_into(arena);
    expect_blocks(arena, 1, 1);
    expect_links(arena, 0, 0);
    begin(arena);
    require(participant_of(arena->segment->view, &p) == 0 && call_begin(p) == 0, "begin");
    struct bin *bin = &p->heap->bins[class_of(SMALL)];
    require(heap_peek(p, bin) == 0, "peek");
    require(tx_add_block(p, LOG_ALLOCATED, heap_next(p, bin)) == 0, "log");
}

/* What was logged is not the transaction's any more: another may have the block. */
static int recover_and_abort(struct arena *arena)
{
    int error = hf_thread_recover(arena->segment);
    return error != 0 ? error : abort_it(arena);
}

#define ON_A_HEAP                                                                                  \
    .size = HEAP_SIZE, .maximum = HEAP_SIZE, .contend = contend_for_pages, .early = take_blocks

static const struct scenario scenarios[] = {
    {.name = "heap.alloc",
     .call = "hf_alloc",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_small,
     .act = alloc_small,
     .judge = judge},
    {.name = "heap.alloc.first",
     .call = "hf_alloc",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_nothing,
     .act = alloc_small,
     .judge = judge},
    {.name = "heap.alloc.next_word",
     .call = "hf_alloc",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_a_word,
     .act = alloc_32,
     .judge = judge},
    {.name = "heap.alloc.new_span",
     .call = "hf_alloc",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_full,
     .act = alloc_third,
     .judge = judge},
    {.name = "heap.alloc.adopts",
     .call = "hf_alloc",
     ON_A_HEAP,
     .set_up = leave_an_orphan,
     .prepare = prepare_beside_an_orphan,
     .act = alloc_third,
     .judge = judge},
    {.name = "heap.alloc.gives_back_an_orphan",
     .call = "hf_alloc",
     ON_A_HEAP,
     .set_up = leave_an_empty_orphan,
     .prepare = prepare_nothing,
     .act = alloc_third,
     .judge = judge},
    {.name = "heap.alloc.collects",
     .call = "hf_alloc",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_freed_by_another,
     .act = alloc_third,
     .judge = judge},
    {.name = "heap.alloc.large",
     .call = "hf_alloc",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_nothing,
     .act = alloc_one_large,
     .judge = judge},
    {.name = "heap.alloc.zeroed",
     .call = "hf_alloc_zeroed",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_small,
     .act = alloc_zeroed,
     .judge = judge},
    {.name = "heap.alloc.aligned",
     .call = "hf_alloc_aligned",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_small,
     .act = alloc_aligned,
     .judge = judge},
    {.name = "heap.alloc.many",
     .call = "hf_alloc_many",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_for_many,
     .act = alloc_many,
     .judge = judge_up_to},
    {.name = "heap.free",
     .call = "hf_free",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_two,
     .act = free_the_first,
     .judge = judge},
    {.name = "heap.free.of_another_span",
     .call = "hf_free",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_two_spans,
     .act = free_the_first,
     .judge = judge},
    {.name = "heap.free.last_of_a_span",
     .call = "hf_free",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_a_last_one,
     .act = free_the_first,
     .judge = judge},
    {.name = "heap.free.of_another",
     .call = "hf_free",
     ON_A_HEAP,
     .set_up = leave_anothers,
     .prepare = prepare_three_of_another,
     .act = free_the_first,
     .judge = judge},
    {.name = "heap.free.of_a_dead",
     .call = "hf_free",
     ON_A_HEAP,
     .set_up = leave_an_unrecovered_one,
     .prepare = prepare_three_of_another,
     .act = free_the_first,
     .judge = judge},
    {.name = "heap.free.large",
     .call = "hf_free",
     ON_A_HEAP,
     .set_up = leave_a_large_one,
     .prepare = prepare_large_of_another,
     .act = free_the_first,
     .judge = judge},
    {.name = "heap.free.many",
     .call = "hf_free_many",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_to_free_many,
     .act = free_many,
     .judge = judge_up_to},
    {.name = "heap.alloc_into",
     .call = "hf_alloc_into",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_into,
     .act = into_small,
     .judge = judge},
    {.name = "heap.alloc_into.new_span",
     .call = "hf_alloc_into",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_into_full,
     .act = into_third,
     .judge = judge},
    {.name = "heap.alloc_into.large",
     .call = "hf_alloc_into",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_into,
     .act = into_large,
     .judge = judge},
    {.name = "heap.free_from",
     .call = "hf_free_from",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_from,
     .act = from_link,
     .judge = judge},
    {.name = "heap.free_from.last_of_a_span",
     .call = "hf_free_from",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_from_last,
     .act = from_link,
     .judge = judge},
    {.name = "heap.free_from.another",
     .call = "hf_free_from",
     ON_A_HEAP,
     .set_up = leave_linked_ones,
     .prepare = prepare_from_another,
     .act = from_link,
     .judge = judge},
    {.name = "heap.free_from.a_dead",
     .call = "hf_free_from",
     ON_A_HEAP,
     .set_up = leave_linked_ones_of_a_dead,
     .prepare = prepare_from_another,
     .act = from_link,
     .judge = judge},
    {.name = "heap.free_from.large",
     .call = "hf_free_from",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_from_large,
     .act = from_link,
     .judge = judge},
    {.name = "heap.realloc.grows_in_place",
     .call = "hf_realloc",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_realloc_large,
     .act = grow_large,
     .judge = judge_grown},
    {.name = "heap.realloc.shrinks_in_place",
     .call = "hf_realloc",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_shrink,
     .act = shrink_large,
     .judge = judge_shrunk},
    {.name = "heap.realloc.moves",
     .call = "hf_realloc",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_move,
     .act = move,
     .judge = judge_moved},
    {.name = "heap.reserve",
     .call = "hf_reserve",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_reserve,
     .act = reserve_small,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.reserve.large",
     .call = "hf_reserve",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_reserve,
     .act = reserve_large,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.reserve.with_a_page",
     .call = "hf_reserve",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_four_reserved,
     .act = reserve_small,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.reserve.freed",
     .call = "hf_free",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_reserved,
     .act = free_reserved,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.reserve.freed_large",
     .call = "hf_free",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_large_reserved,
     .act = free_reserved,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.publish",
     .call = "hf_publish",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_publish,
     .act = publish_linked,
     .judge = judge_published},
    {.name = "heap.publish.without_a_link",
     .call = "hf_publish",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_publish_without,
     .act = publish_without,
     .judge = judge_published},
    {.name = "heap.publish.large",
     .call = "hf_publish",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_publish_large,
     .act = publish_large,
     .judge = judge_published},
    {.name = "heap.publish.from_a_page",
     .call = "hf_publish",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_publish_sixth,
     .act = publish_sixth,
     .judge = judge_published},
    {.name = "heap.leave.with_reservations",
     .call = "hf_thread_leave",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_six_reserved,
     .act = leave,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.leave.closing",
     .call = "hf_segment_close",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_six_reserved,
     .act = close_segment,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.trim",
     .call = "hf_heap_trim",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_to_trim,
     .act = trim,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.trim.adopts",
     .call = "hf_heap_trim",
     ON_A_HEAP,
     .set_up = leave_an_orphan,
     .prepare = prepare_to_adopt_and_trim,
     .act = trim,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.trim.gives_back_an_orphan",
     .call = "hf_heap_trim",
     ON_A_HEAP,
     .set_up = leave_an_empty_orphan,
     .prepare = prepare_to_give_back_an_orphan,
     .act = trim,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.tx.alloc",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_plain_in_tx,
     .act = alloc_small_and_commit,
     .judge = judge},
    {.name = "heap.tx.alloc_into",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_into_in_tx,
     .act = into_and_commit,
     .judge = judge},
    {.name = "heap.tx.alloc_into_aborted",
     .call = "hf_tx_abort",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_into_in_tx,
     .act = into_and_abort,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.tx.large",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_into_in_tx,
     .act = into_large_and_commit,
     .judge = judge},
    {.name = "heap.tx.large_aborted",
     .call = "hf_tx_abort",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_into_in_tx,
     .act = into_large_and_abort,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.tx.free",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_free_in_tx,
     .act = free_and_commit,
     .judge = judge},
    {.name = "heap.tx.free_from",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_from_in_tx,
     .act = from_and_commit,
     .judge = judge},
    {.name = "heap.tx.free_from_aborted",
     .call = "hf_tx_abort",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_from_in_tx,
     .act = from_and_abort,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.tx.free_from_last_of_a_span",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_from_last_in_tx,
     .act = from_and_commit,
     .judge = judge},
    {.name = "heap.tx.free_from_large",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_from_large_in_tx,
     .act = from_and_commit,
     .judge = judge},
    {.name = "heap.tx.free_from_two_large",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_two_large_in_tx,
     .act = from_two_and_commit,
     .judge = judge},
    {.name = "heap.tx.free_from_large_aborted",
     .call = "hf_tx_abort",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_from_large_in_tx,
     .act = from_and_abort,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.tx.free_from_another",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = leave_linked_ones,
     .prepare = prepare_from_another_in_tx,
     .act = from_and_commit,
     .judge = judge},
    {.name = "heap.tx.free_from_another_aborted",
     .call = "hf_tx_abort",
     ON_A_HEAP,
     .set_up = leave_linked_ones,
     .prepare = prepare_from_another_in_tx,
     .act = from_and_abort,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.tx.several",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = leave_linked_ones,
     .prepare = prepare_several,
     .act = change_several_and_commit,
     .judge = judge_several},
    {.name = "heap.tx.several_aborted",
     .call = "hf_tx_abort",
     ON_A_HEAP,
     .set_up = leave_linked_ones,
     .prepare = prepare_several,
     .act = change_several_and_abort,
     .no_effect = true,
     .judge = judge_several},
    {.name = "heap.tx.beyond_the_slot",
     .call = "hf_tx_commit",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_overflow,
     .act = alloc_beyond_the_slot,
     .judge = judge},
    {.name = "heap.tx.beyond_the_slot_aborted",
     .call = "hf_tx_abort",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_overflow,
     .act = abort_beyond_the_slot,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.recover.a_busy_one",
     .call = "hf_segment_recover",
     ON_A_HEAP,
     .set_up = leave_a_busy_dead,
     .act = recover,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.recover.a_committed_one",
     .call = "hf_segment_recover",
     ON_A_HEAP,
     .set_up = leave_a_committed_dead,
     .act = recover,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.recover.reservations",
     .call = "hf_segment_recover",
     ON_A_HEAP,
     .set_up = leave_a_reserving_dead,
     .act = recover,
     .no_effect = true,
     .judge = judge},
    {.name = "heap.recover.after_a_jump_out_of_alloc",
     .call = "hf_thread_recover",
     ON_A_HEAP,
     .set_up = make_board,
     .prepare = prepare_jumped_out_of_alloc,
     .act = recover_and_abort,
     .no_effect = true,
     .judge = judge},
};
const struct scenario_table heap_scenarios = SCENARIO_TABLE(scenarios);
