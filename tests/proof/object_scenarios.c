/* SPDX-License-Identifier: MIT */
/*
 * What a death leaves of objects and their names: all that the call was to change, or nothing. Each
 * name has its object, initialised; it can be iterated, counted, destroyed, and had again; and when
 * all are destroyed nothing is left but the table.
 */
#include <errno.h>
#include <string.h>

#include "holdfast/check.h"
#include "holdfast/heap.h"
#include "holdfast/object.h"
#include "proof/board.h"
#include "segment/handle.h"
#include "segment/lock.h"
#include "segment/names.h"
#include "segment/recovery.h"

#define SIZE  (40 * HF_SEGMENT_PAGE)
#define LARGE 3000u /* elements of the object that has pages of its own */

enum { A, B, C, D, LAST = 15, MORE = 16, LARGE_ONE = OBJECTS - 2, UNIQUE = OBJECTS - 1 };

static const char names[OBJECTS][8] = {"a", "b", "c", "d", "e", "f", "g", "h", "i",    "j",
                                       "k", "l", "m", "n", "o", "p", "q", "r", "large"};

static const char *name_of(unsigned i)
{
    return i == UNIQUE ? HF_UNIQUE : names[i];
}

static const hf_type type = {"int", sizeof(int), _Alignof(int)};

/* ---- what set-up and preparation do ------------------------------------------------------- */

static int fill(void *elements, size_t count, void *context)
{
    int *element = elements;
    for (size_t i = 0; i<count; i += count> 500 ? 500 : 1) { /* each is a state */
        element[i] = *(const int *)context;
    }
    return 0;
}

static int construct(struct arena *arena, unsigned i, int value)
{
    void *object;
    return hf_object_construct(arena->segment, name_of(i), type, i == LARGE_ONE ? LARGE : 1, fill,
                               &value, &object);
}

static int destroy(struct arena *arena, unsigned i)
{
    return hf_object_destroy(arena->segment, name_of(i), type);
}

static struct object_board *objects_of(struct arena *arena)
{
    return &board_of(arena)->objects;
}

static void make_board(struct arena *arena)
{
    (void)board_of(arena);
}

/* It is there, and stays unless the scenario says otherwise. */
static void put(struct arena *arena, unsigned i)
{
    int value = (int)i + 100;
    require(construct(arena, i, value) == 0, "construct");
    objects_of(arena)->before[i] = value;
    objects_of(arena)->after[i] = value;
}

static void expect(struct arena *arena, unsigned i, int after)
{
    objects_of(arena)->after[i] = after;
}

/* As many as the first table has buckets, and the last one's place in them. */
static void put_many(struct arena *arena)
{
    for (unsigned i = A; i <= LAST; i++) {
        put(arena, i);
    }
}

static void put_few(struct arena *arena)
{
    put(arena, A);
    put(arena, B);
    put(arena, C);
}

static void *address_of(struct arena *arena, unsigned i)
{
    void *object;
    require(hf_object_find(arena->segment, name_of(i), type, &object, NULL) == 0, "find");
    return object;
}

/* Who has a heap has fewer states. */
static void prepare(struct arena *arena)
{
    void *block;
    require(hf_alloc(arena->segment, 120, &block) == 0, "alloc");
    require(hf_free(arena->segment, block) == 0, "free");
}

static void begin(struct arena *arena)
{
    prepare(arena);
    require(hf_tx_begin(arena->segment) == 0, "begin");
}

/* ---- beside the victim -------------------------------------------------------------------- */

static void contend_for_names(struct arena *arena, contender who)
{
    static const char *const own[CONTENDERS] = {"contender 0", "contender 1", "contender 2"};
    void *object;
    require(hf_object_construct(arena->segment, own[who], type, 1, NULL, NULL, &object) == 0,
            "a contender gets no name");
    require(hf_object_destroy(arena->segment, own[who], type) == 0, "destroy");
}

static void name_early(struct arena *copy)
{
    void *object;
    int value = 77;
    (void)hf_object_construct(copy->segment, "early", type, 1, fill, &value, &object);
}

static bool early_is_whole(struct arena *copy)
{
    void *object;
    int error = hf_object_find(copy->segment, "early", type, &object, NULL);
    bool good =
        error == 0 && *(int *)object == 77 && hf_object_destroy_at(copy->segment, object) == 0;
    return good || bad("what was named before recovery is lost (%d)", error) != OUTCOME_BAD;
}

/* ---- the judge ---------------------------------------------------------------------------- */

/* What its object holds, in all its elements; 0: there is none; -1: it is not whole. */
static int value_of(struct arena *copy, unsigned i)
{
    void *object;
    size_t count;
    int error = hf_object_find(copy->segment, name_of(i), type, &object, &count);
    if (error != 0) {
        return error == -ENOENT ? 0 : -1;
    }
    const int *element = object;
    bool whole = count == (i == LARGE_ONE ? LARGE : 1);
    for (size_t n = 0; whole && n < count; n += 500) {
        whole = element[n] == element[0] && element[n] != 0;
    }
    return whole ? element[0] : -1;
}

/* A change buries what the dead have left, and puts in order what they were at; and it leaves no
   record open, in a transaction either. */
static bool can_change(struct arena *copy)
{
    void *object;
    hf_check_report report;
    int error = hf_object_construct(copy->segment, "judge", type, 1, NULL, NULL, &object);
    error = error != 0 ? error : hf_object_destroy(copy->segment, "judge", type);
    error = error != 0 ? error : hf_tx_begin(copy->segment);
    for (unsigned i = 0; i < 2 && error == 0; i++) {
        error = hf_object_construct(copy->segment, i == 0 ? NULL : "judge", type, 1, NULL, NULL,
                                    &object);
        error = error != 0 ? error : hf_check(copy->segment, &report);
        error = error != 0 ? error : hf_object_destroy_at(copy->segment, object);
    }
    error = error != 0 ? error : hf_tx_commit(copy->segment);
    bool busy = load_relaxed(&header_of(copy->segment->view)->names_busy) != 0;
    return (error == 0 && !busy) || bad("no name can be had: %s%s", hf_strerror(error),
                                        busy ? "; the index is still busy" : "") != OUTCOME_BAD;
}

static bool is_exact(struct arena *copy, uint64_t named, uint64_t anonymous)
{
    hf_check_report report;
    hf_object_info info;
    hf_object_cursor cursor = {0};
    uint64_t count;
    uint64_t told = 0;
    while (hf_object_next(copy->segment, &cursor, &info) == 0) {
        told++;
    }
    require(hf_object_count(copy->segment, &count) == 0, "count");
    int error = hf_check(copy->segment, &report);
    bool good = error == 0 && report.blocks == named + anonymous + 1 && report.names == named &&
                told == named && count == named;
    return good ||
           bad("%s: %lu names, and %lu blocks, %lu names, %lu told, %lu counted (%s)", report.what,
               (unsigned long)named, (unsigned long)report.blocks, (unsigned long)report.names,
               (unsigned long)told, (unsigned long)count, hf_strerror(error)) != OUTCOME_BAD;
}

/* Destroys them all, by name and by address, and has each once more. */
static bool can_be_had_again(struct arena *copy, const int values[OBJECTS])
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (names[i][0] == 0 && i != UNIQUE) {
            continue;
        }
        int error = values[i] == 0 ? 0
                    : i % 2 == 0   ? destroy(copy, i)
                                   : hf_object_destroy_at(copy->segment, address_of(copy, i));
        error = error != 0 ? error : construct(copy, i, 5);
        error = error != 0 ? error : destroy(copy, i);
        if (error != 0) {
            return bad("%s cannot be had again: %s", i == UNIQUE ? "the unique one" : names[i],
                       hf_strerror(error)) != OUTCOME_BAD;
        }
    }
    return true;
}

/* Of what was before, or after: 1 if all is so. */
static bool is_all(const int values[OBJECTS], const int32_t expected[OBJECTS])
{
    bool same = true;
    for (unsigned i = 0; i < OBJECTS; i++) {
        same = same && values[i] == expected[i];
    }
    return same;
}

static uint64_t blocks_of(struct arena *copy)
{
    hf_check_report report;
    int error = hf_check(copy->segment, &report);
    if (error != 0) {
        (void)bad("%s (%s)", report.what, hf_strerror(error));
    }
    return error == 0 ? report.blocks : UINT64_MAX;
}

static outcome judge(struct arena *copy)
{
    int values[OBJECTS];
    uint64_t named = 0;
    struct object_board objects = *objects_of(copy);
    if (hf_segment_recover(copy->segment, NULL) != 0 ||
        (board_of(copy)->odd[0] != 0 && !early_is_whole(copy))) {
        return bad("recovery fails");
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        values[i] = value_of(copy, i);
        named += values[i] != 0 ? 1 : 0;
    }
    bool before = is_all(values, objects.before);
    bool after = is_all(values, objects.after);
    if (!before && !after) {
        for (unsigned i = 0; i < OBJECTS; i++) {
            if (values[i] != objects.before[i]) {
                (void)bad("object %u holds %d, after %d", i, values[i], objects.before[i]);
            }
        }
        return bad("the names are neither those before nor those after");
    }
    if (!can_change(copy)) {
        return OUTCOME_BAD;
    }
    uint64_t blocks = blocks_of(copy);
    if (before && after && objects.anonymous[0] != objects.anonymous[1]) {
        before = blocks == named + objects.anonymous[0] + 1;
    }
    uint64_t anonymous = objects.anonymous[before ? 0 : 1];
    if (!is_exact(copy, named, anonymous) || !can_be_had_again(copy, values) ||
        !is_exact(copy, 0, anonymous)) {
        return OUTCOME_BAD;
    }
    return if_whole(copy, before ? OUTCOME_BEFORE : OUTCOME_AFTER);
}

/* As judge, of what was named before recovery, too. */
static void early(struct arena *copy)
{
    void *object;
    name_early(copy);
    board_of(copy)->odd[0] = hf_object_find(copy->segment, "early", type, &object, NULL) == 0;
}

/* ---- constructing ------------------------------------------------------------------------- */

static void set_up_first(struct arena *arena)
{
    make_board(arena);
    expect(arena, A, 1);
}

static int act_construct_a(struct arena *arena)
{
    return construct(arena, A, 1);
}

static void set_up_list(struct arena *arena)
{
    for (unsigned i = A; i < LAST; i++) {
        put(arena, i);
    }
    expect(arena, LAST, 1);
}

static int act_construct_last(struct arena *arena)
{
    return construct(arena, LAST, 1);
}

static void set_up_growing(struct arena *arena)
{
    put_many(arena);
    expect(arena, MORE, 1);
}

static int act_construct_more(struct arena *arena)
{
    return construct(arena, MORE, 1);
}

static void set_up_unique(struct arena *arena)
{
    put_few(arena);
    expect(arena, UNIQUE, 1);
}

static int act_construct_unique(struct arena *arena)
{
    return construct(arena, UNIQUE, 1);
}

static void set_up_large(struct arena *arena)
{
    put_few(arena);
    expect(arena, LARGE_ONE, 1);
}

static int act_construct_large(struct arena *arena)
{
    return construct(arena, LARGE_ONE, 1);
}

static void set_up_anonymous(struct arena *arena)
{
    put_few(arena);
    objects_of(arena)->anonymous[1] = 1;
}

static int act_construct_anonymous(struct arena *arena)
{
    void *object;
    int value = 1;
    return hf_object_construct(arena->segment, NULL, type, 1, fill, &value, &object);
}

static void set_up_d(struct arena *arena)
{
    put_few(arena);
    expect(arena, D, 1);
}

static int act_find_or_construct(struct arena *arena)
{
    void *object;
    int value = 1;
    return hf_object_find_or_construct(arena->segment, name_of(D), type, 1, fill, &value, NULL,
                                       &object);
}

static int act_construct_value(struct arena *arena)
{
    return hf_construct(arena->segment, name_of(D), int, 1) == NULL ? -1 : 0;
}

static int act_find_or_construct_value(struct arena *arena)
{
    return hf_find_or_construct(arena->segment, name_of(D), int, 1) == NULL ? -1 : 0;
}

static int refuse(void *elements, size_t count, void *context)
{
    (void)count;
    memset(elements, 0xee, sizeof(int));
    return *(const int *)context;
}

static int act_refused(struct arena *arena)
{
    void *object;
    int error = -EIO;
    return hf_object_construct(arena->segment, name_of(D), type, 1, refuse, &error, &object) == -EIO
               ? 0
               : -1;
}

static int act_taken(struct arena *arena)
{
    void *object;
    return hf_object_construct(arena->segment, name_of(A), type, 1, NULL, NULL, &object) == -EEXIST
               ? 0
               : -1;
}

/* A table that is a large block. */
static int act_reserve_much(struct arena *arena)
{
    return hf_object_reserve(arena->segment, 1000);
}

static int act_reserve(struct arena *arena)
{
    return hf_object_reserve(arena->segment, 100);
}

/* ---- destroying --------------------------------------------------------------------------- */

static unsigned chosen;
static void *chosen_address;

/* The one in that place of the longest list. */
static unsigned in_a_list(struct arena *arena, unsigned place)
{
    struct view *view = arena->segment->view;
    char *table = view->base + load_relaxed(&header_of(view)->names);
    struct name_bucket *buckets = (struct name_bucket *)(void *)(table + sizeof(struct name_table));
    unsigned longest = 0;
    unsigned found = A;
    for (unsigned b = 0; b < 16; b++) {
        unsigned length = 0;
        unsigned here = A;
        for (uint64_t at = load_relaxed(&buckets[b].first); at != 0; length++) {
            struct object *object = (struct object *)(void *)(view->base + at);
            here = length == place ? (unsigned)(*(char *)(object + 1) - 'a') : here;
            at = load_relaxed(
                &object->next[load_relaxed(&((struct name_table *)(void *)table)->parity) & 1]);
        }
        found = length > longest && length > place ? here : found;
        longest = length > longest && length > place ? length : longest;
    }
    require(longest > place, "no list is as long");
    return found;
}

static void set_up_destroying_first(struct arena *arena)
{
    put_many(arena);
    chosen = in_a_list(arena, 0);
    expect(arena, chosen, 0);
}

static void set_up_destroying_second(struct arena *arena)
{
    put_many(arena);
    chosen = in_a_list(arena, 1);
    expect(arena, chosen, 0);
}

static void set_up_destroying_large(struct arena *arena)
{
    put_few(arena);
    put(arena, LARGE_ONE);
    chosen = LARGE_ONE;
    expect(arena, chosen, 0);
}

/* In the span of one who lives. */
static void set_up_destroying_anothers(struct arena *arena)
{
    make_board(arena);
    leave_alive(arena, put_few);
    board_of(arena)->living = 1;
    chosen = B;
    expect(arena, chosen, 0);
}

static int act_destroy(struct arena *arena)
{
    return destroy(arena, chosen);
}

static void prepare_address(struct arena *arena)
{
    prepare(arena);
    chosen_address = address_of(arena, chosen);
}

static int act_destroy_at(struct arena *arena)
{
    return hf_object_destroy_at(arena->segment, chosen_address);
}

static void set_up_destroying_anonymous(struct arena *arena)
{
    put_few(arena);
    chosen_address = hf_construct(arena->segment, NULL, int, 3);
    require(chosen_address != NULL, "construct");
    objects_of(arena)->anonymous[0] = 1;
}

/* ---- in transactions ---------------------------------------------------------------------- */

static int act_commit(struct arena *arena)
{
    return hf_tx_commit(arena->segment);
}

static int act_abort(struct arena *arena)
{
    return hf_tx_abort(arena->segment);
}

static void set_up_few(struct arena *arena)
{
    make_board(arena);
    put_few(arena);
}

static int act_construct_inside(struct arena *arena)
{
    return construct(arena, D, 1);
}

static int act_destroy_inside(struct arena *arena)
{
    return destroy(arena, B);
}

static void change_all(struct arena *arena)
{
    begin(arena);
    require(destroy(arena, A) == 0 && destroy(arena, B) == 0, "destroy");
    require(construct(arena, B, 1) == 0 && construct(arena, D, 2) == 0 &&
                construct(arena, UNIQUE, 3) == 0 && construct(arena, LARGE_ONE, 4) == 0,
            "construct");
    require(construct(arena, MORE, 5) == 0 && destroy(arena, MORE) == 0, "both");
    require(act_construct_anonymous(arena) == 0, "anonymous");
}

static void set_up_changing(struct arena *arena)
{
    set_up_few(arena);
    expect(arena, A, 0);
    expect(arena, B, 1);
    expect(arena, D, 2);
    expect(arena, UNIQUE, 3);
    expect(arena, LARGE_ONE, 4);
    objects_of(arena)->anonymous[1] = 1;
}

static void prepare_constructed(struct arena *arena)
{
    begin(arena);
    require(construct(arena, D, 1) == 0, "construct");
}

static void set_up_destroying_inside(struct arena *arena)
{
    set_up_few(arena);
    expect(arena, B, 0);
}

static void prepare_destroyed(struct arena *arena)
{
    begin(arena);
    require(destroy(arena, B) == 0, "destroy");
}

static int act_both_inside(struct arena *arena)
{
    int error = construct(arena, D, 1);
    return error != 0 ? error : destroy(arena, D);
}

/* A transaction from its beginning to its end. */
static int act_everything(struct arena *arena)
{
    require(hf_tx_begin(arena->segment) == 0, "begin");
    int error = destroy(arena, B);
    error = error != 0 ? error : construct(arena, B, 1);
    error = error != 0 ? error : construct(arena, D, 2);
    return error != 0 ? error : hf_tx_commit(arena->segment);
}

static void set_up_everything(struct arena *arena)
{
    set_up_few(arena);
    expect(arena, B, 1);
    expect(arena, D, 2);
}

static void prepare_anonymous_destroyed(struct arena *arena)
{
    begin(arena);
    require(hf_object_destroy_at(arena->segment, chosen_address) == 0, "destroy");
}

/* ---- beside the dead ---------------------------------------------------------------------- */

static void leave_a_dead_in_a_transaction(struct arena *arena)
{
    set_up_few(arena);
    require(hf_thread_leave(arena->segment) == 0, "leave");
    leave_a_dead(arena, change_all);
}

static void leave_a_dead_with_the_name(struct arena *arena)
{
    leave_a_dead_in_a_transaction(arena);
    expect(arena, D, 1);
    require(hf_thread_leave(arena->segment) == 0, "leave");
}

/* As whoever comes by a dead one does: what that has left is dead then, and not buried. */
static void recover_and_leave(struct arena *arena)
{
    struct participant *p;
    struct segment_header *header = header_of(arena->segment->view);
    require(participant_of(arena->segment->view, &p) == 0, "participant");
    (void)recovery_of_all(p);
    require(hf_thread_leave(arena->segment) == 0, "leave");
    require(load_relaxed(&header->names_dead) != load_relaxed(&header->names_buried), "buried");
}

static void leave_dead_objects(struct arena *arena)
{
    leave_a_dead_with_the_name(arena);
    recover_and_leave(arena);
}

/* Committed, and nothing done of it yet. */
static void destroy_and_commit(struct arena *arena)
{
    struct participant *p;
    begin(arena);
    require(destroy(arena, A) == 0 && destroy(arena, B) == 0, "destroy");
    require(participant_of(arena->segment->view, &p) == 0, "participant");
    HF_LOG_STORE(&p->slot->tx, (load_relaxed(&p->slot->tx) & ~(uint64_t)TX_STATE) | TX_COMMITTED);
}

/* Dead, not buried, and in the span of one who lives. */
static void leave_dead_objects_of_a_living(struct arena *arena)
{
    make_board(arena);
    leave_alive(arena, put_few);
    board_of(arena)->living = 1;
    leave_a_dead(arena, destroy_and_commit);
    objects_of(arena)->before[A] = objects_of(arena)->after[A] = 0;
    objects_of(arena)->before[B] = objects_of(arena)->after[B] = 0;
    recover_and_leave(arena);
}

/* The log has more than the record of the object was told of: who buries must not end it there. */
static void prepare_anonymous_and_block(struct arena *arena)
{
    void *block;
    begin(arena);
    require(act_construct_anonymous(arena) == 0, "construct");
    require(hf_alloc(arena->segment, 100, &block) == 0, "alloc");
}

static void take_the_names(struct arena *arena)
{
    struct participant *p;
    struct segment_header *header = header_of(arena->segment->view);
    require(participant_of(arena->segment->view, &p) == 0 && call_begin(p) == 0, "begin");
    require(lock_take(p, &header->names_lock, offsetof(struct segment_header, names_lock), 0) == 0,
            "lock");
    HF_LOG_STORE(&header->names_busy, 1);
    store_relaxed(&header->named, 1234);
}

/* It has made a table, and not used it yet. */
static void take_the_names_and_a_table(struct arena *arena)
{
    void *block;
    require(hf_alloc(arena->segment, 300, &block) == 0, "alloc");
    take_the_names(arena);
    store_relaxed(&header_of(arena->segment->view)->names_spare,
                  hf_segment_offset(arena->segment, block).value);
}

/* It uses it, and has not freed the one before. */
static void take_the_names_with_two_tables(struct arena *arena)
{
    void *block;
    struct segment_header *header = header_of(arena->segment->view);
    require(hf_alloc(arena->segment, 300, &block) == 0, "alloc");
    take_the_names(arena);
    char *table = arena->segment->view->base + load_relaxed(&header->names);
    store_relaxed(&((struct name_table *)(void *)table)->previous,
                  hf_segment_offset(arena->segment, block).value);
    store_relaxed(&header->names_spare, load_relaxed(&header->names));
}

static void leave_a_dead_at(struct arena *arena, void (*work)(struct arena *arena))
{
    set_up_d(arena);
    require(hf_thread_leave(arena->segment) == 0, "leave");
    leave_a_dead(arena, work);
}

static void leave_a_dead_with_the_lock(struct arena *arena)
{
    leave_a_dead_at(arena, take_the_names);
}

static void leave_a_dead_with_a_table(struct arena *arena)
{
    leave_a_dead_at(arena, take_the_names_and_a_table);
}

static void leave_a_dead_with_two_tables(struct arena *arena)
{
    leave_a_dead_at(arena, take_the_names_with_two_tables);
}

static int act_recover(struct arena *arena)
{
    return hf_segment_recover(arena->segment, NULL);
}

#define ON_OBJECTS .size = SIZE, .maximum = SIZE, .contend = contend_for_names, .early = early

static const struct scenario scenarios[] = {
    {.name = "object.construct.first",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_first,
     .prepare = prepare,
     .act = act_construct_a,
     .judge = judge},
    {.name = "object.construct.into_a_list",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_list,
     .prepare = prepare,
     .act = act_construct_last,
     .judge = judge},
    {.name = "object.construct.growing",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_growing,
     .prepare = prepare,
     .act = act_construct_more,
     .judge = judge},
    {.name = "object.construct.unique",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_unique,
     .prepare = prepare,
     .act = act_construct_unique,
     .judge = judge},
    {.name = "object.construct.large",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_large,
     .prepare = prepare,
     .act = act_construct_large,
     .judge = judge},
    {.name = "object.construct.anonymous",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_anonymous,
     .prepare = prepare,
     .act = act_construct_anonymous,
     .judge = judge},
    {.name = "object.construct.refused",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = prepare,
     .act = act_refused,
     .no_effect = true,
     .judge = judge},
    {.name = "object.construct.taken",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = prepare,
     .act = act_taken,
     .no_effect = true,
     .judge = judge},
    {.name = "object.find_or_construct",
     .call = "hf_object_find_or_construct",
     ON_OBJECTS,
     .set_up = set_up_d,
     .prepare = prepare,
     .act = act_find_or_construct,
     .judge = judge},
    {.name = "object.construct_value",
     .call = "hf_object_construct_value",
     ON_OBJECTS,
     .set_up = set_up_d,
     .prepare = prepare,
     .act = act_construct_value,
     .judge = judge},
    {.name = "object.find_or_construct_value",
     .call = "hf_object_find_or_construct_value",
     ON_OBJECTS,
     .set_up = set_up_d,
     .prepare = prepare,
     .act = act_find_or_construct_value,
     .judge = judge},
    {.name = "object.reserve",
     .call = "hf_object_reserve",
     ON_OBJECTS,
     .set_up = put_many,
     .prepare = prepare,
     .act = act_reserve,
     .no_effect = true,
     .judge = judge},
    {.name = "object.reserve.much",
     .call = "hf_object_reserve",
     ON_OBJECTS,
     .set_up = put_many,
     .prepare = prepare,
     .act = act_reserve_much,
     .no_effect = true,
     .judge = judge},
    {.name = "object.tx.reserve",
     .call = "hf_object_reserve",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = prepare_constructed,
     .act = act_reserve_much,
     .no_effect = true,
     .judge = judge},
    {.name = "object.destroy.first_of_a_list",
     .call = "hf_object_destroy",
     ON_OBJECTS,
     .set_up = set_up_destroying_first,
     .prepare = prepare,
     .act = act_destroy,
     .judge = judge},
    {.name = "object.destroy.second_of_a_list",
     .call = "hf_object_destroy",
     ON_OBJECTS,
     .set_up = set_up_destroying_second,
     .prepare = prepare,
     .act = act_destroy,
     .judge = judge},
    {.name = "object.destroy.large",
     .call = "hf_object_destroy",
     ON_OBJECTS,
     .set_up = set_up_destroying_large,
     .prepare = prepare,
     .act = act_destroy,
     .judge = judge},
    {.name = "object.destroy.anothers",
     .call = "hf_object_destroy",
     ON_OBJECTS,
     .set_up = set_up_destroying_anothers,
     .prepare = prepare,
     .act = act_destroy,
     .judge = judge},
    {.name = "object.destroy_at",
     .call = "hf_object_destroy_at",
     ON_OBJECTS,
     .set_up = set_up_destroying_second,
     .prepare = prepare_address,
     .act = act_destroy_at,
     .judge = judge},
    {.name = "object.destroy_at.anonymous",
     .call = "hf_object_destroy_at",
     ON_OBJECTS,
     .set_up = set_up_destroying_anonymous,
     .prepare = prepare,
     .act = act_destroy_at,
     .judge = judge},
    {.name = "object.tx.construct",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = begin,
     .act = act_construct_inside,
     .no_effect = true,
     .judge = judge},
    {.name = "object.tx.construct_large",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = begin,
     .act = act_construct_large,
     .no_effect = true,
     .judge = judge},
    {.name = "object.tx.construct_anonymous",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = begin,
     .act = act_construct_anonymous,
     .no_effect = true,
     .judge = judge},
    {.name = "object.tx.construct_and_destroy",
     .call = "hf_object_destroy",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = begin,
     .act = act_both_inside,
     .no_effect = true,
     .judge = judge},
    {.name = "object.tx.destroy",
     .call = "hf_object_destroy",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = begin,
     .act = act_destroy_inside,
     .no_effect = true,
     .judge = judge},
    {.name = "object.tx.commit_of_constructing",
     .call = "hf_tx_commit",
     ON_OBJECTS,
     .set_up = set_up_d,
     .prepare = prepare_constructed,
     .act = act_commit,
     .judge = judge},
    {.name = "object.tx.abort_of_constructing",
     .call = "hf_tx_abort",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = prepare_constructed,
     .act = act_abort,
     .no_effect = true,
     .judge = judge},
    {.name = "object.tx.commit_of_destroying",
     .call = "hf_tx_commit",
     ON_OBJECTS,
     .set_up = set_up_destroying_inside,
     .prepare = prepare_destroyed,
     .act = act_commit,
     .judge = judge},
    {.name = "object.tx.abort_of_destroying",
     .call = "hf_tx_abort",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = prepare_destroyed,
     .act = act_abort,
     .no_effect = true,
     .judge = judge},
    {.name = "object.tx.commit_of_destroying_anothers",
     .call = "hf_tx_commit",
     ON_OBJECTS,
     .set_up = set_up_destroying_anothers,
     .prepare = prepare_destroyed,
     .act = act_commit,
     .judge = judge},
    {.name = "object.tx.commit_of_destroying_anonymous",
     .call = "hf_tx_commit",
     ON_OBJECTS,
     .set_up = set_up_destroying_anonymous,
     .prepare = prepare_anonymous_destroyed,
     .act = act_commit,
     .judge = judge},
    {.name = "object.tx.commit_of_many",
     .call = "hf_tx_commit",
     ON_OBJECTS,
     .set_up = set_up_changing,
     .prepare = change_all,
     .act = act_commit,
     .judge = judge},
    {.name = "object.tx.abort_of_many",
     .call = "hf_tx_abort",
     ON_OBJECTS,
     .set_up = set_up_few,
     .prepare = change_all,
     .act = act_abort,
     .no_effect = true,
     .judge = judge},
    {.name = "object.tx.everything",
     .call = "hf_tx_commit",
     ON_OBJECTS,
     .set_up = set_up_everything,
     .prepare = prepare,
     .act = act_everything,
     .judge = judge},
    {.name = "object.recovery.of_a_transaction",
     .call = "hf_segment_recover",
     ON_OBJECTS,
     .set_up = leave_a_dead_in_a_transaction,
     .prepare = prepare,
     .act = act_recover,
     .no_effect = true,
     .judge = judge},
    {.name = "object.construct.what_a_dead_one_had_begun",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = leave_a_dead_with_the_name,
     .prepare = prepare,
     .act = act_construct_inside,
     .judge = judge},
    {.name = "object.construct.burying_the_deads",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = leave_dead_objects,
     .prepare = prepare,
     .act = act_construct_inside,
     .judge = judge},
    {.name = "object.tx.construct.burying_the_deads",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = leave_dead_objects_of_a_living,
     .prepare = prepare_anonymous_and_block,
     .act = act_construct_inside,
     .no_effect = true,
     .judge = judge},
    {.name = "object.construct.after_a_death_with_the_lock",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = leave_a_dead_with_the_lock,
     .prepare = prepare,
     .act = act_construct_inside,
     .judge = judge},
    {.name = "object.construct.after_a_death_with_a_new_table",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = leave_a_dead_with_a_table,
     .prepare = prepare,
     .act = act_construct_inside,
     .judge = judge},
    {.name = "object.construct.after_a_death_with_two_tables",
     .call = "hf_object_construct",
     ON_OBJECTS,
     .set_up = leave_a_dead_with_two_tables,
     .prepare = prepare,
     .act = act_construct_inside,
     .judge = judge},
};
const struct scenario_table object_scenarios = SCENARIO_TABLE(scenarios);
