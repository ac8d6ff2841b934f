/* SPDX-License-Identifier: MIT */
#include "fuzz/image.h"

#include <stdlib.h>
#include <string.h>

#include "holdfast/heap.h"
#include "holdfast/pipe.h"
#include "holdfast/tx.h"
#include "segment/handle.h"
#include "segment/heap_layout.h"
#include "segment/pages.h"

#define KIB (UINT64_C(1) << 10)
#define GIB (UINT64_C(1) << 30)

static void must(int error, const char *what)
{
    if (error != 0) {
        world_fail("an image cannot be made: %s: %s", what, hf_strerror(error));
    }
}

/* ---- making ------------------------------------------------------------------------------ */

static const struct {
    uint64_t size;
    uint64_t maximum;
} sizes[IMAGE_KINDS] = {
    [IMAGE_QUIET] = {144 * KIB, 144 * KIB},     [IMAGE_TX] = {160 * KIB, 160 * KIB},
    [IMAGE_COMMITTED] = {144 * KIB, 144 * KIB}, [IMAGE_ALLOC] = {144 * KIB, 256 * KIB},
    [IMAGE_FREE] = {144 * KIB, 256 * KIB},      [IMAGE_LARGE] = {240 * KIB, 1 * GIB},
    [IMAGE_MANY] = {192 * KIB, 208 * KIB},
};

/* Blocks of each kind, linked and not; more reserved than a slot has room for. */
static void furnish_heap(hf_segment *segment, struct stage *stage)
{
    void *block;
    for (unsigned i = 0; i < 6; i++) {
        must(hf_alloc(segment, 60, &block), "a small block");
        must(hf_reserve(segment, i < 5 ? 100 : 9000, &block), "a reserved block");
    }
    must(hf_alloc_into(segment, 5000, &stage->link[5]), "a block");
    must(hf_alloc_into(segment, 9000, &stage->link[6]), "a large block");
    must(hf_alloc_into(segment, 60, &stage->link[7]), "a small block");
}

/* What every image has: pages that are linked, pages that are linked from pages, a pipe. */
static struct stage *furnish(hf_segment *segment)
{
    void *root;
    must(hf_segment_root(segment, sizeof(struct stage), &root), "root");
    struct stage *stage = root;
    must(hf_pages_alloc(segment, 1, &stage->link[0]), "a page");
    hf_off *inner = hf_segment_at(segment, stage->link[0]);
    memset(inner, 0, SEGMENT_PAGE);
    must(hf_pages_alloc(segment, SEGMENT_PAGE, inner), "a page linked from a page");
    must(hf_pages_alloc(segment, 2 * SEGMENT_PAGE, &stage->link[1]), "two pages");
    must(hf_pages_alloc(segment, hf_pipe_footprint(4096), &stage->link[LINK_OF_PIPE]), "pages");
    must(hf_pipe_init(segment, hf_segment_at(segment, stage->link[LINK_OF_PIPE]), 4096), "a pipe");
    for (unsigned i = 0; i < STAGE_VALUES; i++) {
        stage->value[i] = 1000 + i;
    }
    sync_furnish(&stage->sync);
    furnish_heap(segment, stage);
    return stage;
}

/* Held from before, held from inside, unlocked inside; a log in the slot and in a chunk. */
static void open_transaction(hf_segment *segment, struct stage *stage)
{
    sync_take(&stage->sync);
    must(hf_mutex_lock(&stage->mutex[0]), "lock");
    must(hf_mutex_lock(&stage->mutex[1]), "lock");
    must(hf_tx_begin(segment), "begin");
    must(hf_mutex_lock(&stage->mutex[2]), "lock");
    must(hf_mutex_lock(&stage->mutex[3]), "lock");
    must(hf_tx_add(segment, stage->value, 40), "add");
    must(hf_tx_add(segment, stage->big, sizeof stage->big), "add");
    must(hf_tx_add(segment, &stage->value[8], 100), "add");
    void *block;
    must(hf_alloc(segment, 60, &block), "a block of the transaction's");
    must(hf_alloc(segment, 9000, &block), "a large one");
    must(hf_free_from(segment, &stage->link[5]), "freed in it");
    must(hf_free_from(segment, &stage->link[6]), "a large one");
    memset(stage->value, 0x5a, sizeof stage->value);
    memset(stage->big, 0x5b, sizeof stage->big);
    must(hf_mutex_unlock(&stage->mutex[2]), "unlock");
}

static struct segment_header *header_in(const struct image *image)
{
    return (struct segment_header *)(void *)image->bytes;
}

static struct slot_page *page_in(const struct image *image, uint32_t number)
{
    uint32_t page = (number - 1) / SLOTS_PER_PAGE;
    uint32_t run = slot_run_of_page(page);
    uint64_t offset = load_relaxed(&header_in(image)->slot_runs[run]) +
                      (page - slot_run_first_page(run)) * SEGMENT_PAGE;
    return (struct slot_page *)(void *)(image->bytes + offset);
}

struct slot *image_slot(const struct image *image, uint32_t number)
{
    return &page_in(image, number)->slots[(number - 1) % SLOTS_PER_PAGE];
}

static shared_u32 *life_in(const struct image *image, uint32_t number)
{
    return &page_in(image, number)->life[(number - 1) % SLOTS_PER_PAGE];
}

/* In the middle of handing out, or taking back, what link 1 names: with the lock of the pages. */
static void begin_operation(const struct image *image, uint64_t op)
{
    struct slot *slot = image_slot(image, 1);
    struct lock *lock = &header_in(image)->pages_lock;
    uint64_t link = image->root + offsetof(struct stage, link) + sizeof(hf_off);
    uint64_t run = *(uint64_t *)(void *)(image->bytes + link);
    store_relaxed(&slot->op_first, run / SEGMENT_PAGE);
    store_relaxed(&slot->op_count, 2);
    store_relaxed(&slot->op_link, link);
    store_relaxed(&slot->op, op);
    store_relaxed(&lock->word, 1);
    store_relaxed(&lock->next, load_relaxed(&slot->held));
    store_relaxed(&slot->held, offsetof(struct segment_header, pages_lock));
}

/* Slots 2 to 24, each with a lock or none; the last ones in other states. */
static void people(const struct image *image)
{
    struct stage *stage = (void *)(image->bytes + image->root);
    for (uint32_t n = 2; n <= 24; n++) {
        struct slot *slot = image_slot(image, n);
        store_relaxed(&slot->claim, claim_word(n, 7, 7, 0));
        store_relaxed(&slot->life_kind, LIFE_ROBUST);
        store_relaxed(life_in(image, n), OS_LIFE_DIED);
        if (n < STAGE_MUTEXES) {
            struct lock *lock = (void *)&stage->mutex[n];
            uint64_t offset = (uint64_t)((char *)lock - image->bytes);
            store_relaxed(&lock->word, n);
            store_relaxed(&lock->self, offset);
            store_relaxed(n % 2 == 0 ? &slot->held : &slot->intent, offset);
        }
    }
    store_relaxed(life_in(image, 21), 1); /* alive */
    store_relaxed(&image_slot(image, 22)->claim, claim_word(IMAGE_LIVING, 7, 7, 0));
    store_relaxed(&image_slot(image, 23)->claim, claim_word(20, 6, 7, CLAIM_UNRECOVERED));
    store_relaxed(&image_slot(image, 24)->claim, claim_word(24, 0, 7, CLAIM_CLAIMING));
}

/* By hand: what a participant at that instruction leaves. */
static void finish_by_hand(const struct image *image, enum image_kind kind)
{
    struct slot *slot = image_slot(image, 1);
    if (kind == IMAGE_COMMITTED) {
        store_relaxed(&slot->tx, TX_COMMITTED); /* with what is to be freed in its log */
    } else if (kind == IMAGE_ALLOC || kind == IMAGE_FREE) {
        begin_operation(image, kind == IMAGE_ALLOC ? OP_PAGES_ALLOC : OP_PAGES_FREE);
    } else if (kind == IMAGE_MANY) {
        people(image);
    }
    if (kind != IMAGE_QUIET) {
        sync_leave_open(image, kind == IMAGE_MANY);
        store_relaxed(life_in(image, 1), OS_LIFE_DIED);
    }
}

static void add_slots(hf_segment *segment)
{
    struct participant *p;
    must(enter(segment, &p), "enter");
    for (unsigned run = 1; run <= 3; run++) {
        must(pages_add_slots(p), "slots");
    }
    (void)call_end(p, 0);
}

static void make_image(struct image *image, enum image_kind kind)
{
    hf_segment *segment;
    hf_segment_options options = {.maximum = sizes[kind].maximum};
    must(hf_segment_create_anonymous(sizes[kind].size, &options, &segment), "create");
    struct stage *stage = furnish(segment);
    if (kind == IMAGE_MANY) {
        add_slots(segment);
    }
    if (kind == IMAGE_QUIET) {
        must(hf_thread_leave(segment), "leave");
    } else {
        open_transaction(segment, stage);
    }
    hf_segment_info info;
    must(hf_segment_get_info(segment, &info), "info");
    *image = (struct image){.size = info.size,
                            .maximum = info.maximum,
                            .root = hf_segment_offset(segment, stage).value,
                            .pipe = stage->link[LINK_OF_PIPE].value,
                            .bytes = aligned_alloc(SEGMENT_PAGE, info.size)};
    if (image->bytes == NULL) {
        world_fail("no memory for an image");
    }
    memcpy(image->bytes, hf_segment_base(segment), image->size);
    finish_by_hand(image, kind);
    hf_segment_close(segment);
}

const struct image *image_of(enum image_kind kind)
{
    static struct image images[IMAGE_KINDS];
    if (images[kind].bytes == NULL) {
        make_image(&images[kind], kind);
    }
    return &images[kind];
}

/* ---- places that are worth hitting ------------------------------------------------------- */

#define HEADER(field) offsetof(struct segment_header, field)
#define SLOT(field)   offsetof(struct slot, field)

static const uint16_t header_words[] = {HEADER(magic),
                                        HEADER(version),
                                        HEADER(features),
                                        HEADER(page_size),
                                        HEADER(boot),
                                        HEADER(boot) + 8,
                                        HEADER(maximum),
                                        HEADER(used_map),
                                        HEADER(backed_map),
                                        HEADER(first_page),
                                        HEADER(root),
                                        HEADER(root_size),
                                        HEADER(pages_lock),
                                        HEADER(pages_lock) + 8,
                                        HEADER(pages_lock) + 16,
                                        HEADER(size),
                                        HEADER(size),
                                        HEADER(size),
                                        HEADER(hint),
                                        HEADER(slot_runs),
                                        HEADER(slot_runs) + 8,
                                        HEADER(slot_runs) + 16,
                                        HEADER(slot_runs) + 24,
                                        HEADER(slot_runs) + 32,
                                        HEADER(slot_runs) + 40,
                                        HEADER(slot_runs) + 80,
                                        HEADER(span_runs),
                                        HEADER(span_runs) + 8,
                                        HEADER(span_runs) + 216,
                                        HEADER(span_hint),
                                        HEADER(heaps),
                                        HEADER(orphans),
                                        HEADER(chunk_map),
                                        HEADER(doomed),
                                        HEADER(swept),
                                        HEADER(inline_chunks),
                                        HEADER(inline_chunks) + 8,
                                        HEADER(maps),
                                        HEADER(maps) + INLINE_MAP_BYTES};

static const uint16_t slot_words[] = {SLOT(intent),
                                      SLOT(held),
                                      SLOT(tx),
                                      SLOT(tx_base),
                                      SLOT(log_used),
                                      SLOT(op),
                                      SLOT(op_first),
                                      SLOT(op_count),
                                      SLOT(op_link),
                                      SLOT(heap),
                                      SLOT(op_log),
                                      SLOT(reserved),
                                      SLOT(reserved) + 24,
                                      SLOT(reserved_page),
                                      SLOT(claim),
                                      SLOT(life_kind),
                                      SLOT(identity_space),
                                      SLOT(identity_start),
                                      SLOT(identity_thread),
                                      SLOT(log_chunks),
                                      SLOT(log_chunks) + 8,
                                      SLOT(log_chunks) + 16,
                                      SLOT(log_chunks) + 104,
                                      SLOT(log),
                                      SLOT(log) + 8};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum place {
    PLACE_HEADER,
    PLACE_SLOT,
    PLACE_FIRST_SLOT,
    PLACE_LIFE,
    PLACE_TRAILER,
    PLACE_MUTEX,
    PLACE_PAGES_LOCK,
    PLACE_LINK,
    PLACE_PIPE,
    PLACE_MAP,
    PLACE_ANY,
    PLACE_OPERATION,
    PLACE_SPAN,
    PLACE_ENTRY,
    PLACE_RESERVED,
    PLACES
};

static uint64_t slot_offset(const struct image *image, uint32_t number)
{
    return (uint64_t)((char *)image_slot(image, number) - image->bytes);
}

uint32_t image_slots(const struct image *image)
{
    uint32_t pages = 0;
    for (uint32_t run = 0; run < SLOT_RUNS; run++) {
        pages += load_relaxed(&header_in(image)->slot_runs[run]) != 0
                     ? (uint32_t)slot_run_pages(run)
                     : 0;
    }
    return pages * SLOTS_PER_PAGE;
}

/* Where a position in the undo log of slot 1 lies. */
static uint64_t log_place(const struct image *image, uint64_t position)
{
    struct slot *slot = image_slot(image, 1);
    if (position < LOG_INLINE) {
        return slot_offset(image, 1) + SLOT(log) + position;
    }
    uint64_t pages = (position - LOG_INLINE) / SEGMENT_PAGE + 1;
    uint32_t k = 63 - (uint32_t)__builtin_clzll(pages);
    uint64_t start = LOG_INLINE + ((UINT64_C(1) << k) - 1) * SEGMENT_PAGE;
    return load_relaxed(&slot->log_chunks[k]) + position - start;
}

/* A trailer of that log, counted from its end; the log's beginning if there are not so many. */
static uint64_t trailer_place(const struct image *image, uint64_t back)
{
    uint64_t position = load_relaxed(&image_slot(image, 1)->log_used);
    for (;;) {
        if (position < sizeof(struct log_trailer)) {
            return log_place(image, 0);
        }
        uint64_t place = log_place(image, position - sizeof(struct log_trailer));
        const struct log_trailer *trailer = (const void *)(image->bytes + place);
        if (back == 0) {
            return place;
        }
        position -= sizeof *trailer + round_up(load_relaxed(&trailer->length) & LOG_LENGTH, 16);
        back--;
    }
}

static uint64_t chunk_in(const struct image *image)
{
    const shared_u64 *chunks = (const void *)(image->bytes + header_in(image)->chunk_map);
    return load_relaxed(&chunks[0]);
}

/* An offset to write eight bytes at, somewhere in the image. */
static uint64_t choose_place(const struct image *image, struct input *input)
{
    enum place place = take_byte(input) % PLACES;
    uint64_t which = take_byte(input);
    uint64_t maps = load_relaxed(&header_in(image)->slot_runs[0]) != 0 ? header_in(image)->used_map
                                                                       : HEADER(maps);
    switch (place) {
    case PLACE_HEADER:
        return header_words[which % COUNT(header_words)];
    case PLACE_SLOT:
        return slot_offset(image, 1 + (uint32_t)which % image_slots(image)) +
               slot_words[take_byte(input) % COUNT(slot_words)];
    case PLACE_FIRST_SLOT:
        return slot_offset(image, 1) + slot_words[which % COUNT(slot_words)];
    case PLACE_OPERATION:
        return slot_offset(image, 1) + SLOT(op) + which % 4 * 8;
    case PLACE_SPAN: /* the first descriptors */
        return load_relaxed(&header_in(image)->span_runs[0]) + which * 8;
    case PLACE_ENTRY: /* the table of pages */
        return chunk_in(image) + which % (image->size / SEGMENT_PAGE) * 8;
    case PLACE_RESERVED:
        return load_relaxed(&image_slot(image, 1)->reserved_page) + which % 8 * 8;
    case PLACE_LIFE:
        return (uint64_t)((char *)life_in(image, 1 + (uint32_t)which % image_slots(image)) -
                          image->bytes);
    case PLACE_TRAILER:
        return trailer_place(image, which / 2 % 8) + which % 2 * 8;
    case PLACE_MUTEX:
        return image->root + which % (STAGE_MUTEXES * 4) * 8;
    case PLACE_PAGES_LOCK:
        return HEADER(pages_lock) + which % 4 * 8;
    case PLACE_LINK:
        return image->root + offsetof(struct stage, link) + which % STAGE_LINKS * 8;
    case PLACE_PIPE:
        return image->pipe + which % 48 * 8;
    case PLACE_MAP:
        return maps + which * 8;
    default:
        return (which | (uint64_t)take_byte(input) << 8) * 8;
    }
}

/* ---- values that are worth writing ------------------------------------------------------- */

/* A byte as a number from -128 to 127, modulo 2^64. */
static uint64_t signed_byte(uint64_t byte)
{
    return byte < 128 ? byte : byte - 256;
}

/* Small things that offsets and lengths are made of. */
static uint64_t choose_near(const struct image *image, struct input *input)
{
    const uint64_t bases[] = {0,
                              image->size,
                              image->maximum,
                              image->root,
                              image->pipe,
                              HEADER(pages_lock),
                              slot_offset(image, 1),
                              SEGMENT_PAGE,
                              UINT64_MAX,
                              INT64_MAX,
                              UINT32_MAX,
                              LOG_INLINE,
                              LOG_INLINE + ((UINT64_C(1) << LOG_CHUNKS) - 1) * SEGMENT_PAGE,
                              SEGMENT_SIZE_MAX,
                              image->size / SEGMENT_PAGE,
                              image->root + offsetof(struct stage, big),
                              load_relaxed(&header_in(image)->span_runs[0]),
                              load_relaxed(&header_in(image)->span_runs[0]) / 128,
                              chunk_in(image),
                              BLOCK_ENTRY,
                              BLOCK_ENTRY | BLOCK_DOOMED};
    uint64_t base = bases[take_byte(input) % COUNT(bases)];
    uint64_t delta = signed_byte(take_byte(input));
    return base + delta * (delta % 2 == 0 ? 8 : 1);
}

static uint64_t choose_value(const struct image *image, uint64_t place, uint64_t now,
                             struct input *input)
{
    uint8_t how = take_byte(input) % 13;
    uint64_t n = (how >= 2 && how <= 9) || how == 11 ? take_byte(input) : 0;
    switch (how) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return n;
    case 3:
        return now + signed_byte(n);
    case 4:
        return now ^ UINT64_C(1) << n % 64;
    case 5:
        return image->root + n % STAGE_MUTEXES * sizeof(hf_mutex); /* a mutex */
    case 6:
        return n % 32 * SEGMENT_PAGE;
    case 7: /* a claim word */
        return claim_word((uint32_t)n & 0x1f, n >> 5, 7, take_number(input, 1) << 52);
    case 8: /* a lock's word, its kind kept */
        return (now & ~(uint64_t)LOCK_OWNER) | (n & 0x3f) | (n >> 6 << 30);
    case 9:
        return place - n % 4 * 8; /* itself, or what holds it */
    case 10:
        return choose_near(image, input);
    case 11:
        return UINT64_C(1) << n % 64;
    default:
        return take_number(input, 8);
    }
}

/* ---- writing ----------------------------------------------------------------------------- */

static void write_word(const struct image *image, char *base, struct input *input)
{
    uint64_t place = choose_place(image, input);
    uint64_t value;
    place = min_u64(place, image->size - sizeof value);
    memcpy(&value, base + place, sizeof value);
    value = choose_value(image, place, value, input);
    memcpy(base + place, &value, sizeof value);
}

static void write_bytes(const struct image *image, char *base, struct input *input)
{
    uint64_t place = take_number(input, 3) % image->size;
    uint64_t length = min_u64(take_byte(input) % 33, image->size - place);
    for (uint64_t i = 0; i < length; i++) {
        base[place + i] = (char)take_byte(input);
    }
}

/* Fills whole pages: so there can be many of anything. */
static void copy_page(const struct image *image, char *base, struct input *input)
{
    uint64_t pages = image->size / SEGMENT_PAGE;
    uint64_t from = take_byte(input) % pages;
    uint64_t to = take_byte(input) % pages;
    uint64_t count = min_u64(take_byte(input) % 8, pages - to);
    for (uint64_t i = 0; i < count; i++) {
        memmove(base + (to + i) * SEGMENT_PAGE, base + from * SEGMENT_PAGE, SEGMENT_PAGE);
    }
}

static void fill(const struct image *image, char *base, struct input *input)
{
    uint64_t place = take_number(input, 2) * 8 % image->size;
    uint64_t length = min_u64(take_number(input, 2), image->size - place);
    memset(base + place, take_byte(input), length);
}

void image_mutate(const struct image *image, char *base, struct input *input)
{
    uint8_t how = take_byte(input);
    if (how >= 0xa0 && how < 0xd0) {
        sync_mutate(image, base, input);
        return;
    }
    switch (how < 0xd0 ? 0 : how % 4) {
    case 1:
        write_bytes(image, base, input);
        break;
    case 2:
        copy_page(image, base, input);
        break;
    case 3:
        fill(image, base, input);
        break;
    default:
        write_word(image, base, input);
        break;
    }
}
