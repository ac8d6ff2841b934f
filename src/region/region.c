/* SPDX-License-Identifier: MIT */
/*
 * Mapped regions. The system maps whole pages; a region is any run of bytes inside them:
 *
 *     pages |.......................|  whole pages, covering the region
 *    region     |..............|       first = address the user sees, size bytes
 */
#include <errno.h>

#include "base/bits.h"
#include "holdfast/region.h"
#include "os/os.h"

#define REGION_MAGIC UINT32_C(0x72656769) /* "regi" */

struct hf_region {
    uint32_t magic;
    hf_access access;
    char *first;
    size_t size;
    uint64_t offset; /* of first, in the object */
};

static bool is_region(const hf_region *region)
{
    return region != NULL && region->magic == REGION_MAGIC;
}

/* The whole pages that cover [address, address + length). */
static void covering_pages(const char *address, size_t length, char **base, size_t *bytes)
{
    uint64_t page = os_page_size();
    uint64_t lead = (uintptr_t)address & (page - 1);
    *base = (char *)address - lead;
    *bytes = (size_t)round_up(lead + length, page);
}

/* What the options and the object's size make of the length. */
static int settle_length(hf_memory *memory, const hf_region_options *o, size_t *length)
{
    uint64_t object;
    int error = hf_memory_size(memory, &object);
    if (error != 0) {
        return error;
    }
    uint64_t wanted = o->length;
    if (wanted == 0 && o->offset < object) {
        wanted = object - o->offset;
    }
    if (wanted == 0 || !range_within(o->offset, wanted, object)) {
        return -ERANGE;
    }
    if (wanted > SIZE_MAX / 2) {
        return -ENOMEM;
    }
    *length = (size_t)wanted;
    return 0;
}

static int check_access(const hf_memory *memory, hf_access wanted)
{
    switch (wanted) {
    case HF_READ_ONLY:
    case HF_COPY_ON_WRITE:
        return 0;
    case HF_READ_WRITE:
        return hf_memory_access(memory) == HF_READ_WRITE ? 0 : -EACCES;
    default:
        return -EINVAL;
    }
}

int hf_region_map(hf_memory *memory, const hf_region_options *options, hf_region **region)
{
    static const hf_region_options defaults;
    const hf_region_options *o = options == NULL ? &defaults : options;
    size_t length;
    int error = region == NULL ? -EINVAL : settle_length(memory, o, &length);
    if (error == 0) {
        error = check_access(memory, o->access);
    }
    if (error != 0) {
        return error;
    }
    uint64_t page = os_page_size();
    size_t lead = (size_t)(o->offset & (page - 1));
    bool no_address_to_be_exact_about = o->exactly && o->address == NULL;
    bool misplaced = o->address != NULL && ((uintptr_t)o->address & (page - 1)) != lead;
    if (no_address_to_be_exact_about || misplaced) {
        return -EINVAL;
    }
    hf_region *made = os_alloc(sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    void *wish = o->address == NULL ? NULL : (char *)o->address - lead;
    void *base;
    error = os_map(hf_memory_descriptor(memory), o->offset - lead, length + lead, o->access, wish,
                   o->exactly, &base);
    if (error != 0) {
        os_free(made);
        return error;
    }
    if (o->huge_pages) {
        (void)os_advise(base, length + lead, OS_ADVICE_HUGE_PAGES); /* a wish: refusal is fine */
    }
    *made = (hf_region){.magic = REGION_MAGIC,
                        .access = o->access,
                        .first = (char *)base + lead,
                        .size = length,
                        .offset = o->offset};
    *region = made;
    return 0;
}

void *hf_region_address(const hf_region *region)
{
    return is_region(region) ? region->first : NULL;
}

size_t hf_region_size(const hf_region *region)
{
    return is_region(region) ? region->size : 0;
}

uint64_t hf_region_offset(const hf_region *region)
{
    return is_region(region) ? region->offset : 0;
}

hf_access hf_region_access(const hf_region *region)
{
    return is_region(region) ? region->access : HF_READ_ONLY;
}

int hf_region_flush(hf_region *region, size_t offset, size_t length, bool wait)
{
    if (!is_region(region)) {
        return -EINVAL;
    }
    if (length == 0 && offset < region->size) {
        length = region->size - offset;
    }
    if (length == 0 || !range_within(offset, length, region->size)) {
        return -ERANGE;
    }
    char *base;
    size_t bytes;
    covering_pages(region->first + offset, length, &base, &bytes);
    return os_flush(base, bytes, wait);
}

int hf_region_advise(hf_region *region, hf_advice advice)
{
    static const os_advice advices[] = {
        [HF_ADVICE_NORMAL] = OS_ADVICE_NORMAL,       [HF_ADVICE_SEQUENTIAL] = OS_ADVICE_SEQUENTIAL,
        [HF_ADVICE_RANDOM] = OS_ADVICE_RANDOM,       [HF_ADVICE_WILL_NEED] = OS_ADVICE_WILL_NEED,
        [HF_ADVICE_DONT_NEED] = OS_ADVICE_DONT_NEED, [HF_ADVICE_HUGE_PAGES] = OS_ADVICE_HUGE_PAGES,
    };
    if (!is_region(region) || (unsigned)advice >= sizeof advices / sizeof advices[0]) {
        return -EINVAL;
    }
    char *base;
    size_t bytes;
    covering_pages(region->first, region->size, &base, &bytes);
    return os_advise(base, bytes, advices[advice]);
}

int hf_region_shrink(hf_region *region, size_t front, size_t back)
{
    if (!is_region(region) || front >= region->size || back >= region->size - front) {
        return -EINVAL;
    }
    char *old_base;
    char *new_base;
    size_t old_bytes;
    size_t new_bytes;
    covering_pages(region->first, region->size, &old_base, &old_bytes);

    size_t front_only = region->size - front;
    covering_pages(region->first + front, front_only, &new_base, &new_bytes);
    if (new_base > old_base) {
        int error = os_unmap(old_base, (size_t)(new_base - old_base));
        if (error != 0) {
            return error;
        }
    }
    region->first += front;
    region->offset += front;
    region->size = front_only;

    char *old_end = new_base + new_bytes;
    covering_pages(region->first, region->size - back, &new_base, &new_bytes);
    char *new_end = new_base + new_bytes;
    if (new_end < old_end) {
        int error = os_unmap(new_end, (size_t)(old_end - new_end));
        if (error != 0) {
            return error;
        }
    }
    region->size -= back;
    return 0;
}

void hf_region_unmap(hf_region *region)
{
    if (is_region(region)) {
        char *base;
        size_t bytes;
        covering_pages(region->first, region->size, &base, &bytes);
        (void)os_unmap(base, bytes);
        region->magic = 0;
        os_free(region);
    }
}
