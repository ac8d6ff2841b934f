/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a segment: its header and its map of pages. docs/format.md has every field.
 *
 *     page 0   the header; its second half is the page maps of a segment of up to 32 MiB
 *     page 1   the first slot page: participants 1 to 4 (slot_layout.h)
 *     page 2…  the page maps of a larger segment; then what the page allocator hands out
 *
 * The page maps have one bit for each page up to the maximum: *used*, and *backed*, which says that
 * the page has memory behind it for certain.
 */
#ifndef HF_SEGMENT_SEGMENT_LAYOUT_H
#define HF_SEGMENT_SEGMENT_LAYOUT_H

#include "segment/lock_layout.h"

#define SEGMENT_MAGIC    UINT64_C(0x31545341464c4f48) /* "HOLFAST1" */
#define SEGMENT_VERSION  UINT32_C(1)
#define SEGMENT_ORDER    UINT32_C(0x01020304) /* reads otherwise in another byte order */
#define SEGMENT_PAGE     UINT64_C(4096)
#define SEGMENT_SIZE_MIN (2 * SEGMENT_PAGE)
#define SEGMENT_SIZE_MAX (UINT64_C(1) << 46)

/* Slots, and the runs of pages they come in: run 0 and 1 of one page, run k of 2^(k-1). */
#define SLOT_NUMBER_MAX 4095u
#define SLOT_RUNS       11u

#define INLINE_MAP_BYTES UINT64_C(1024) /* each of the two maps, inside the header */
#define INLINE_CHUNKS    16u /* the chunk map of a segment as large as those have room for */
#define SPAN_RUNS        28u

struct segment_header {
    shared_u64 magic; /* written last: until then there is no segment */
    fixed_u32 version;
    fixed_u32 order;
    fixed_u64 features; /* bits that one must know to open; none yet */
    fixed_u32 page_size;
    fixed_u32 slot_number_max;
    uint8_t uuid[16];
    shared_u64 boot[2]; /* of the machine's start in which it was last opened */
    fixed_u64 maximum;  /* bytes */
    fixed_u64 used_map; /* offsets of the page maps */
    fixed_u64 backed_map;
    fixed_u64 first_page; /* the first that the page allocator may hand out */
    shared_u64 root;      /* offset of the user's root, 0: none */
    shared_u64 root_size; /* bytes */

    uint8_t unused1[16];
    /* Words that many write, on lines of their own. */
    struct lock pages_lock; /* guards the maps, size, slot_runs, root */
    shared_u64 size;        /* bytes now */
    shared_u64 hint;        /* no page before it is free; for speed only */
    uint8_t unused2[80];
    shared_u64 slot_runs[SLOT_RUNS]; /* offsets; [0] is page 1; 0: not there yet */
    /* The heap's (heap_layout.h). */
    shared_u64 span_runs[SPAN_RUNS]; /* descriptors of spans; runs of pages as of slots */
    shared_u64 span_hint;            /* no descriptor before it is free; for speed only */
    shared_u64 heaps;                /* counts those that there were */
    shared_u64 orphans;              /* counts heaps that ended: their spans are to be had */
    fixed_u64 chunk_map;             /* offset of the offsets of the page table's chunks */
    shared_u64 doomed;               /* counts large blocks freed without the lock of the pages */
    shared_u64 swept;                /* as many of them are dealt with */
    shared_u64 changes;              /* counts who has had the lock of the pages */
    /* The index of names (object_layout.h). */
    struct lock names_lock;
    shared_u64 names;         /* offset of its table; 0: there is none yet */
    shared_u64 names_spare;   /* of one in the making */
    shared_u64 named;         /* objects in it */
    shared_u64 names_busy;    /* 1 while the count may be wrong: its changer died */
    shared_u64 names_dead;    /* counts objects that transactions have left dead */
    shared_u64 names_buried;  /* as many of them are gone */
    shared_u64 names_changes; /* counts tables that were freed, and deaths while freeing */
    uint8_t unused3[1208];
    shared_u64 inline_chunks[INLINE_CHUNKS];
    uint8_t maps[2 * INLINE_MAP_BYTES];
};

HF_LAYOUT(sizeof(struct segment_header) == SEGMENT_PAGE);
HF_LAYOUT(offsetof(struct segment_header, version) == 8);
HF_LAYOUT(offsetof(struct segment_header, features) == 16);
HF_LAYOUT(offsetof(struct segment_header, page_size) == 24);
HF_LAYOUT(offsetof(struct segment_header, uuid) == 32);
HF_LAYOUT(offsetof(struct segment_header, boot) == 48);
HF_LAYOUT(offsetof(struct segment_header, maximum) == 64);
HF_LAYOUT(offsetof(struct segment_header, used_map) == 72);
HF_LAYOUT(offsetof(struct segment_header, backed_map) == 80);
HF_LAYOUT(offsetof(struct segment_header, first_page) == 88);
HF_LAYOUT(offsetof(struct segment_header, root) == 96);
HF_LAYOUT(offsetof(struct segment_header, root_size) == 104);
HF_LAYOUT(offsetof(struct segment_header, pages_lock) == 128);
HF_LAYOUT(offsetof(struct segment_header, span_runs) == 344);
HF_LAYOUT(offsetof(struct segment_header, inline_chunks) == 1920);
HF_LAYOUT(offsetof(struct segment_header, maps) == 2048);

/* Locks on bytes of the segment's file, far behind its end: who is there (docs/format.md). */
#define BYTE_SLOT    (UINT64_C(1) << 62) /* + slot number: that participant's process lives */
#define BYTE_WRITERS (BYTE_SLOT + 8192)  /* shared: has it open for writing */
#define BYTE_COPIERS (BYTE_SLOT + 8193)  /* shared: has a copy-on-write view */
#define BYTE_REBOOT  (BYTE_SLOT + 8194)  /* is declaring all participants of an earlier boot dead */

#endif
