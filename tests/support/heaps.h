/* SPDX-License-Identifier: MIT */
/* For the tests of the heap: links to hang blocks on, and what must be in use. On the stage. */
#ifndef HF_TESTS_HEAPS_H
#define HF_TESTS_HEAPS_H

#include "holdfast/check.h"
#include "holdfast/heap.h"
#include "support/stage.h"

/* Links in props->bytes. */
#define HEAP_LINKS (sizeof(((struct props *)0)->bytes) / sizeof(hf_off))
hf_off *link_at(size_t i);

/* What hf_check says, which must be that all is well. */
hf_check_report checked(hf_segment *segment);

/* So many blocks in use; the same from hf_check and from hf_heap_get_info. */
void expect_blocks(hf_segment *segment, uint64_t blocks);

/* The same of their bytes. */
void expect_bytes(hf_segment *segment, uint64_t bytes);

/* No block is in use, and, once all that is empty is given back, no page is the heap's but those of
   its tables. */
void expect_empty(hf_segment *segment);

hf_heap_info heap_info(hf_segment *segment);

/* A block of that many bytes, full of that; is it still? */
void *filled(hf_segment *segment, size_t size, int with);
void expect_filled(const void *block, size_t size, int with);

/* Takes as many blocks as there are to be had; an array to be freed, and their number. */
void **exhaust(hf_segment *segment, size_t size, size_t *count);

/* The largest block that can be had: it is taken and freed. */
size_t largest(hf_segment *segment);

#endif
