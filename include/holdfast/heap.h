/* SPDX-License-Identifier: MIT */
/*
 * The heap of a segment: blocks of memory that all its processes share.
 *
 *     struct node *node;
 *     hf_alloc_into(segment, sizeof(struct node), &list->spare);     taken and linked in one step
 *     node = hf_segment_at(segment, list->spare);
 *     …
 *     hf_free_from(segment, &list->spare);                           unlinked and freed in one step
 *
 * Who owns a block, so that a death neither leaks it nor frees it under someone's feet:
 *     hf_alloc_into     the link: whoever dies has written it and taken the block, or neither
 *     in a transaction  the transaction: what was allocated inside is freed unless it commits, what
 *                       was freed inside is freed if it does
 *     hf_reserve        the participant, until hf_publish hands it over: freed at its death
 *     hf_alloc          the segment, like malloc's: if its caller dies before it has written down
 *                       anywhere where the block is, nobody frees it
 *
 * A link is a hf_off in the segment (not on the stack), which names the block by its offset. Nobody
 * else may write it meanwhile: it lies in memory that the caller has under a lock, or that others
 * do not know of yet.
 *
 * Any process may free any block, except one that a thread has reserved and not published: that is
 * its thread's alone. A block is aligned to 16 bytes, one of a power of two to as many,
 * up to a page, counted from the segment's start. Blocks of more than 8 KiB are whole pages. The
 * contents are undefined. Memory that has been freed is used for any size again.
 *
 * Every function here can return, besides what is said there, what <holdfast/segment.h> says of
 * functions that change a segment. -ENOMEM: no room, and the segment may not grow; -ENOSPC: it may,
 * and the memory is not to be had; in both cases nothing has changed. -EINVAL: a size of 0; an
 * address where no block in use begins (a foreign pointer, one into a block, one freed already, as
 * far as that is known): then the heap is unharmed. Inside a transaction -ECANCELED as its calls.
 *
 * Threads: all may run at once. Death: at any instruction of any call here the block is in use as
 * if the call had returned, or as if it had not been made.
 */
#ifndef HOLDFAST_HEAP_H
#define HOLDFAST_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/segment.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- blocks ------------------------------------------------------------------------------ */

/* Takes `size` bytes; *block is their address in this process. */
HF_API int hf_alloc(hf_segment *segment, size_t size, void **block);

/* The same, all zero. */
HF_API int hf_alloc_zeroed(hf_segment *segment, size_t size, void **block);

/* The same, aligned: a power of two up to 4096. -EINVAL for any other, and for more than the buffer
   is aligned to that hf_segment_init was given. */
HF_API int hf_alloc_aligned(hf_segment *segment, size_t alignment, size_t size, void **block);

/* `count` blocks of `size` bytes: all of them, or none. Who dies in it leaves as many as it had. */
HF_API int hf_alloc_many(hf_segment *segment, size_t size, size_t count, void **blocks);

/* Frees a block. NULL is fine. */
HF_API int hf_free(hf_segment *segment, void *block);

/* Frees the blocks, from the first on; at an error it stops, and the rest is still in use. */
HF_API int hf_free_many(hf_segment *segment, void *const *blocks, size_t count);

/*
 * Makes the block at least `size` bytes large: where it lies, if that can be, else elsewhere, with
 * its contents, and then *block is the new address. *block NULL: as hf_alloc. At an error it is as
 * it was. Who dies in a move leaves the old block in use, or the new one, or both. -EINVAL for one
 * that is reserved.
 */
HF_API int hf_realloc(hf_segment *segment, void **block, size_t size);

/* How many bytes the block has: as many as were asked for, or more. 0: no block in use begins
   there. Works on a read-only segment, too. */
HF_API size_t hf_usable_size(hf_segment *segment, const void *block);

/* ---- with a link ------------------------------------------------------------------------- */

/* Takes a block and writes its offset to *link, which is 0 before. -EINVAL: it is not, or it does
   not lie in the segment. */
HF_API int hf_alloc_into(hf_segment *segment, size_t size, hf_off *link);

/* Frees the block that *link names, and clears *link. */
HF_API int hf_free_from(hf_segment *segment, hf_off *link);

/* ---- reservations ------------------------------------------------------------------------ */

/* Takes a block that is freed if this thread dies, or leaves the segment, before hf_publish.
   hf_free gives it back. */
HF_API int hf_reserve(hf_segment *segment, size_t size, void **block);

/*
 * Hands a block that this thread has reserved to the segment, writing its offset to *link, which is
 * 0 before; link NULL: without one, as hf_alloc. -EINVAL: it is not reserved by this thread, or the
 * link is none; -EBUSY inside a transaction.
 */
HF_API int hf_publish(hf_segment *segment, void *block, hf_off *link);

/* ---- looking ----------------------------------------------------------------------------- */

/* Size classes: blocks of up to 8 KiB, by their size; hf_heap_info's are in this order. */
#define HF_HEAP_CLASSES 56

typedef struct hf_heap_class {
    uint64_t size;   /* bytes of a block */
    uint64_t spans;  /* runs of pages cut into such blocks */
    uint64_t blocks; /* that they hold */
    uint64_t used;   /* of these, in use */
} hf_heap_class;

typedef struct hf_heap_info {
    uint64_t size;         /* bytes of the segment now */
    uint64_t blocks;       /* in use */
    uint64_t used;         /* bytes of blocks in use */
    uint64_t held;         /* bytes of pages that the heap has: spans and large blocks */
    uint64_t free;         /* bytes of free pages, without growing */
    uint64_t largest_free; /* bytes of the longest run of free pages */
    uint64_t large_blocks; /* in use: blocks that are pages of their own */
    uint64_t large_used;   /* bytes of them */
    uint64_t orphans;      /* spans whose thread has ended, and that nobody has adopted yet */
    hf_heap_class classes[HF_HEAP_CLASSES];
} hf_heap_info;

/* What the heap holds, as far as one look beside others' work tells. Works on a read-only segment,
   too. Microseconds for each megabyte in use. */
HF_API int hf_heap_get_info(hf_segment *segment, hf_heap_info *info);

/* The same of the spans that one participant allocates from; of one that is gone, of none. */
HF_API int hf_heap_get_info_of(hf_segment *segment, hf_participant who, hf_heap_info *info);

/* Gives pages back to the segment that hold nothing in use, this thread's and those of threads that
   have ended. It happens by itself before -ENOMEM. */
HF_API int hf_heap_trim(hf_segment *segment);

#ifdef __cplusplus
}
#endif
#endif
