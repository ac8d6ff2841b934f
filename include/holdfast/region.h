/* SPDX-License-Identifier: MIT */
/*
 * Mapped regions: a memory object's bytes, seen at an address of this process.
 *
 * A region stays mapped when the memory handle it came from is closed. It belongs to this
 * process; a forked child inherits the mapping (writes to a copy-on-write one part ways).
 * Reading or writing past the end of an object that someone has shrunk raises SIGBUS, as with
 * any mapping: anonymous memory sealed with HF_SEAL_SHRINK is immune.
 *
 * Functions on one region may run in several threads at once, except shrink and unmap.
 */
#ifndef HOLDFAST_REGION_H
#define HOLDFAST_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "holdfast/error.h"
#include "holdfast/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_region hf_region;

/* NULL, or all zero, means: the whole object, for reading and writing, anywhere. */
typedef struct hf_region_options {
    hf_access access;
    uint64_t offset; /* bytes from the start of the object; any value, page-aligned or not */
    uint64_t length; /* bytes; 0 means up to the object's end */
    void *address;   /* wanted address of the first byte, or NULL */
    bool exactly;    /* that address or -EEXIST; otherwise it is only a wish */
    bool huge_pages; /* ask for huge pages; a system that refuses maps small ones */
} hf_region_options;

/*
 * Maps. -ERANGE if the range reaches past the object's end or the object is empty; -EACCES if the
 * object was opened with less access; -EINVAL for an address that differs from the offset in its
 * place within a page; -EEXIST for an exact address where something is mapped; -ENOMEM.
 */
HF_API int hf_region_map(hf_memory *memory, const hf_region_options *options, hf_region **region);

/* The address of the first byte, the length in bytes, the place in the object, the access. */
HF_API void *hf_region_address(const hf_region *region);
HF_API size_t hf_region_size(const hf_region *region);
HF_API uint64_t hf_region_offset(const hf_region *region);
HF_API hf_access hf_region_access(const hf_region *region);

/*
 * Writes changes back to the file (for memory without a file there is nothing to write).
 * Offset and length in bytes within the region, length 0 up to its end; `wait` for the device,
 * or only start. -ERANGE; -EIO.
 */
HF_API int hf_region_flush(hf_region *region, size_t offset, size_t length, bool wait);

typedef enum hf_advice {
    HF_ADVICE_NORMAL,
    HF_ADVICE_SEQUENTIAL, /* read ahead far */
    HF_ADVICE_RANDOM,     /* do not read ahead */
    HF_ADVICE_WILL_NEED,  /* start reading now */
    HF_ADVICE_DONT_NEED,  /* drop this process's pages; a copy-on-write region loses its changes */
    HF_ADVICE_HUGE_PAGES
} hf_advice;

/* Advice on the whole region. -EINVAL or -EOPNOTSUPP where the system knows none such. */
HF_API int hf_region_advise(hf_region *region, hf_advice advice);

/*
 * Lets go of bytes at the front and at the back. The rest stays at its address; whole pages are
 * given back. -EINVAL if nothing would be left. On an error of the system the region stays valid,
 * and its size says what is left.
 */
HF_API int hf_region_shrink(hf_region *region, size_t front, size_t back);

/* Unmaps and frees the handle. NULL is fine. */
HF_API void hf_region_unmap(hf_region *region);

#ifdef __cplusplus
}
#endif
#endif
