/* SPDX-License-Identifier: MIT */
#include "segment/format.h"

#include <errno.h>
#include <string.h>

#include "os/os.h"
#include "segment/participant.h"

struct geometry geometry_of(uint64_t maximum)
{
    uint64_t bytes = round_up(maximum / SEGMENT_PAGE, 64) / 8;
    if (bytes <= INLINE_MAP_BYTES) {
        uint64_t used = offsetof(struct segment_header, maps);
        uint64_t chunks = offsetof(struct segment_header, inline_chunks);
        return (struct geometry){used, used + INLINE_MAP_BYTES, chunks, 2};
    }
    uint64_t used = 2 * SEGMENT_PAGE;
    uint64_t backed = used + round_up(bytes, SEGMENT_PAGE);
    uint64_t chunks = backed + round_up(bytes, SEGMENT_PAGE);
    uint64_t end = chunks + round_up(chunk_map_bytes(maximum / SEGMENT_PAGE), SEGMENT_PAGE);
    return (struct geometry){used, backed, chunks, end / SEGMENT_PAGE};
}

void format_segment(struct segment_header *header, uint64_t size, uint64_t maximum)
{
    struct geometry geometry = geometry_of(maximum);
    uint64_t boot[2];
    (void)os_boot_id(boot);
    header->version = SEGMENT_VERSION;
    header->order = SEGMENT_ORDER;
    header->page_size = (uint32_t)SEGMENT_PAGE;
    header->slot_number_max = SLOT_NUMBER_MAX;
    os_random(header->uuid, sizeof header->uuid);
    store_relaxed(&header->boot[0], boot[0]);
    store_relaxed(&header->boot[1], boot[1]);
    header->maximum = maximum;
    header->used_map = geometry.used_map;
    header->backed_map = geometry.backed_map;
    header->chunk_map = geometry.chunk_map;
    header->first_page = geometry.first_page;
    store_relaxed(&header->pages_lock.kind, LOCK_INTERNAL);
    store_relaxed(&header->names_lock.kind, LOCK_INTERNAL);
    store_relaxed(&header->size, size);
    store_relaxed(&header->slot_runs[0], SEGMENT_PAGE);
}

/* Written by this format, as far as the header says? */
static int validate_kind(const struct segment_header *header)
{
    uint64_t magic = load_relaxed(&header->magic);
    if (magic != SEGMENT_MAGIC) {
        return magic == __builtin_bswap64(SEGMENT_MAGIC) ? -ENOEXEC : -EBADMSG;
    }
    if (header->order != SEGMENT_ORDER) {
        return -ENOEXEC;
    }
    if (header->version != SEGMENT_VERSION || header->features != 0) {
        return -EPROTONOSUPPORT;
    }
    bool same = header->page_size == SEGMENT_PAGE && header->slot_number_max == SLOT_NUMBER_MAX;
    return same ? 0 : -ENOEXEC;
}

int validate_segment(const struct segment_header *header, uint64_t there)
{
    int error = validate_kind(header);
    if (error != 0) {
        return error;
    }
    uint64_t size = load_relaxed(&header->size);
    struct geometry geometry = geometry_of(header->maximum);
    bool whole =
        size % SEGMENT_PAGE == 0 && header->maximum % SEGMENT_PAGE == 0 &&
        size <= header->maximum && header->maximum <= SEGMENT_SIZE_MAX &&
        size / SEGMENT_PAGE >= geometry.first_page && header->used_map == geometry.used_map &&
        header->backed_map == geometry.backed_map && header->chunk_map == geometry.chunk_map &&
        header->first_page == geometry.first_page &&
        load_relaxed(&header->slot_runs[0]) == SEGMENT_PAGE;
    if (!whole) {
        return -EBADMSG;
    }
    return size <= there ? 0 : -ENODATA;
}

void declare_all_dead(struct view *view)
{
    uint32_t slots = view_slots(view);
    for (uint32_t n = 1; n <= slots; n++) {
        struct slot *slot = view_slot(view, n);
        uint64_t claim = load_relaxed(&slot->claim);
        if (claim_by(claim) != 0) {
            uint64_t turn = claim_turn(claim);
            HF_LOG_STORE(&slot->claim, claim_word(n, turn, turn, CLAIM_UNRECOVERED));
            HF_LOG_STORE(&slot->life_kind, LIFE_ROBUST);
            HF_LOG_STORE(view_life(view, n), OS_LIFE_DIED);
        }
    }
}
