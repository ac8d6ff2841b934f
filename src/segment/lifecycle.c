/* SPDX-License-Identifier: MIT */
/*
 * Creating, opening and closing segments.
 *
 * Creation is invisible until it is done: the object is formatted before it has a name. What is
 * opened is validated from a copy of its header: nothing is trusted that can change after the look.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"
#include "region/memory_name.h"
#include "segment/format.h"
#include "segment/handle.h"
#include "segment/pages.h"

/* ---- handles ----------------------------------------------------------------------------- */

/* With the process lock. A handle of a view that is listed. */
static int make_handle(struct view *view, hf_access access, hf_segment **segment)
{
    hf_segment *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    *made = (hf_segment){.magic = SEGMENT_HANDLE_MAGIC,
                         .access = access,
                         .view = view,
                         .writable_base = access == HF_READ_ONLY ? NULL : view->base};
    view->handles++;
    *segment = made;
    return 0;
}

/* The first handle of a view that is whole, which lists it. */
static int make_first_handle(struct view *view, hf_access access, hf_segment **segment)
{
    int error = make_handle(view, access, segment);
    if (error == 0) {
        view_list(view);
    }
    return error;
}

void hf_segment_close(hf_segment *segment)
{
    if (!is_segment(segment)) {
        return;
    }
    struct view *view = segment->view;
    if (process_lock() != 0) {
        return; /* from a signal handler, in the middle of opening or closing */
    }
    bool last = view->handles == 1;
    process_unlock();
    if (last) {
        (void)participant_leave_view(view); /* while the handle still keeps the view */
    }
    (void)process_lock();
    segment->magic = 0;
    view->handles--;
    view_drop(view);
    process_unlock();
    os_free(segment);
}

/* ---- who is there ------------------------------------------------------------------------ */

/* Takes the byte that says what this view is. A system without such locks has no such exclusion. */
static int take_share(int fd, uint64_t mine, uint64_t excluded)
{
    bool locked = false;
    if (os_byte_lock_shared(fd, mine) == -EBUSY) {
        return -EBUSY;
    }
    if (os_byte_locked(fd, excluded, &locked) == 0 && locked) {
        (void)os_byte_unlock(fd, mine);
        return -EBUSY;
    }
    return 0;
}

/* Where one of the two is not known, nothing is said. */
static bool of_this_boot(const struct segment_header *header)
{
    uint64_t boot[2];
    uint64_t theirs[2] = {load_relaxed(&header->boot[0]), load_relaxed(&header->boot[1])};
    return !os_boot_id(boot) || (theirs[0] | theirs[1]) == 0 ||
           (theirs[0] == boot[0] && theirs[1] == boot[1]);
}

/* The machine was restarted since: all who were there are dead, unless another machine is at it. */
static int settle_reboot(struct view *view)
{
    struct segment_header *header = header_of(view);
    int error = os_byte_lock(view->fd, BYTE_REBOOT);
    for (unsigned tries = 0; error == -EBUSY && tries < 200; tries++) {
        uint32_t nothing = 0;
        (void)os_wait(&nothing, 0, INT64_C(10) * 1000 * 1000);
        error = os_byte_lock(view->fd, BYTE_REBOOT);
    }
    if (error != 0) {
        return error;
    }
    if (!of_this_boot(header)) {
        uint64_t boot[2];
        (void)os_boot_id(boot);
        if (os_byte_lock(view->fd, BYTE_WRITERS) == -EBUSY) {
            error = -EREMOTE;
        } else {
            declare_all_dead(view);
            /* From here on others wait for BYTE_REBOOT; then they may write, too. */
            (void)os_byte_lock_shared(view->fd, BYTE_WRITERS);
            HF_LOG_STORE(&header->boot[1], boot[1]);
            HF_LOG_STORE(&header->boot[0], boot[0]);
        }
    }
    (void)os_byte_unlock(view->fd, BYTE_REBOOT);
    return error;
}

/* ---- opening ----------------------------------------------------------------------------- */

/* A copy of the header of what is mapped at base, checked. */
static int copy_header(const void *base, uint64_t there, struct segment_header *header)
{
    memcpy(header, base, sizeof *header);
    return validate_segment(header, there);
}

static int read_header(hf_memory *memory, struct segment_header *header)
{
    uint64_t there;
    void *base;
    int error = hf_memory_size(memory, &there);
    if (error == 0 && there < SEGMENT_SIZE_MIN) {
        error = there < SEGMENT_PAGE ? -EBADMSG : -ENODATA;
    }
    if (error == 0) {
        error =
            os_map(hf_memory_descriptor(memory), 0, SEGMENT_PAGE, HF_READ_ONLY, NULL, false, &base);
    }
    if (error != 0) {
        return error;
    }
    memcpy(header, base, sizeof *header);
    (void)os_unmap(base, SEGMENT_PAGE);
    crash_fence();
    error = hf_memory_size(memory, &there); /* after the header: it may be growing */
    return error != 0 ? error : validate_segment(header, there);
}

/* `maximum`: the segment's, checked; the header could be overwritten meanwhile. */
static void set_geometry(struct view *view, uint64_t maximum)
{
    struct geometry geometry = geometry_of(maximum);
    view->first_page = geometry.first_page;
    view->used_map = (shared_u64 *)(void *)(view->base + geometry.used_map);
    view->backed_map = (shared_u64 *)(void *)(view->base + geometry.backed_map);
    view->chunk_map = (shared_u64 *)(void *)(view->base + geometry.chunk_map);
    (void)view_refresh(view, 0, 0);
}

/* What a new view of an existing segment has to settle with others. */
static int join_others(struct view *view)
{
    switch (view->access) {
    case HF_READ_WRITE: {
        int error = of_this_boot(header_of(view)) ? 0 : settle_reboot(view);
        return error != 0 ? error : take_share(view->fd, BYTE_WRITERS, BYTE_COPIERS);
    }
    case HF_COPY_ON_WRITE: {
        int error = take_share(view->fd, BYTE_COPIERS, BYTE_WRITERS);
        if (error == 0) {
            declare_all_dead(view); /* in the copy there is nobody but us */
        }
        return error;
    }
    default:
        return of_this_boot(header_of(view)) ? 0 : -EAGAIN;
    }
}

/* Maps what the header, a checked copy, describes. Takes the memory over on success. */
static int map_object(hf_memory *memory, const struct segment_header *header, hf_access access,
                      struct view **view)
{
    bool copy = access == HF_COPY_ON_WRITE;
    uint64_t length = copy ? load_relaxed(&header->size) : header->maximum;
    void *base;
    if (length > SIZE_MAX / 2) {
        return -ENOMEM;
    }
    int error = os_map(hf_memory_descriptor(memory), 0, (size_t)length, access, NULL, false, &base);
    if (error != 0) {
        return error;
    }
    (void)os_advise(base, (size_t)length, OS_ADVICE_DONT_DUMP);
    struct view *made;
    error = view_make(base, length, copy ? VIEW_PRIVATE : VIEW_OBJECT, access, memory, true, &made);
    if (error != 0) {
        (void)os_unmap(base, (size_t)length);
        return error;
    }
    set_geometry(made, header->maximum);
    *view = made;
    return 0;
}

/* Forgets a view that came to nothing; the memory stays the caller's. */
static void unmake(struct view *view)
{
    view->memory = NULL;
    view->fd = -1;
    view_drop(view);
}

/* With the process lock. Takes the memory over on success. */
static int open_memory(hf_memory *memory, hf_access access, hf_segment **segment)
{
    struct segment_header header;
    os_info info;
    int error = os_info_get(hf_memory_descriptor(memory), &info);
    if (error != 0) {
        return error;
    }
    if (view_owns(memory)) {
        return -EINVAL;
    }
    struct view *view = view_find(info.device, info.inode, access);
    if (view != NULL) {
        error = make_handle(view, access, segment);
        if (error == 0) {
            view_keep(view, memory);
        }
        return error;
    }
    if (view_excludes(info.device, info.inode, access)) {
        return -EBUSY;
    }
    /* What came over a socket shares its sender's locks. */
    os_own_description(hf_memory_descriptor(memory), hf_memory_access(memory) == HF_READ_WRITE);
    error = read_header(memory, &header);
    if (error == 0) {
        error = map_object(memory, &header, access, &view);
    }
    if (error != 0) {
        return error;
    }
    error = join_others(view);
    if (error == 0) {
        error = make_first_handle(view, access, segment);
    }
    if (error != 0) {
        unmake(view);
    }
    return error;
}

static bool known_access(hf_access access)
{
    return access == HF_READ_WRITE || access == HF_READ_ONLY || access == HF_COPY_ON_WRITE;
}

int hf_segment_open_memory(hf_memory *memory, hf_access access, hf_segment **segment)
{
    if (segment == NULL || hf_memory_descriptor(memory) < 0 || !known_access(access)) {
        return -EINVAL;
    }
    if (access == HF_READ_WRITE && hf_memory_access(memory) != HF_READ_WRITE) {
        return -EACCES;
    }
    int error = process_lock();
    if (error == 0) {
        error = open_memory(memory, access, segment);
        process_unlock();
    }
    return error;
}

/* A shared memory object (named) or a file: what differs between the two. */
struct place {
    const char *name;
    int (*info)(const char *name, os_info *info);
    int (*open)(const char *name, hf_access access, hf_memory **memory);
    int (*prepare)(const char *name, uint64_t size, const hf_memory_options *options,
                   hf_memory **memory);
    int (*publish)(hf_memory *memory, const char *name);
};

static int prepare_shm(const char *name, uint64_t size, const hf_memory_options *options,
                       hf_memory **memory)
{
    (void)name;
    return hf_shm_prepare(size, options, memory);
}

static struct place shm_place(const char *name)
{
    return (struct place){name, os_shm_info, hf_shm_open, prepare_shm, hf_shm_publish};
}

static struct place file_place(const char *path)
{
    return (struct place){path, os_file_info, hf_file_open, hf_file_prepare, hf_file_publish};
}

/* Names are checked before they are looked up; any path is a path. */
static int check_place(const struct place *place)
{
    return place->info == os_shm_info ? memory_check_name(place->name) : 0;
}

/* Looks before it opens: a second descriptor of a file, once closed, drops the process's byte
 * locks. */
static int open_place_locked(const struct place *place, hf_access access, hf_segment **segment)
{
    os_info info;
    hf_memory *memory;
    if (place->info(place->name, &info) == 0) {
        struct view *view = view_find(info.device, info.inode, access);
        if (view != NULL) {
            return make_handle(view, access, segment);
        }
        if (view_excludes(info.device, info.inode, access)) {
            return -EBUSY;
        }
    }
    int error = place->open(place->name, access, &memory);
    if (error != 0) {
        return error;
    }
    error = open_memory(memory, access, segment);
    if (error != 0) {
        view_retire(memory);
    }
    return error;
}

static int open_place(const struct place *place, hf_access access, hf_segment **segment)
{
    if (place->name == NULL || segment == NULL || !known_access(access)) {
        return -EINVAL;
    }
    int error = check_place(place);
    if (error != 0) {
        return error;
    }
    error = process_lock();
    if (error == 0) {
        error = open_place_locked(place, access, segment);
        process_unlock();
    }
    return error;
}

/* ---- creating ---------------------------------------------------------------------------- */

/* The size and the maximum in whole pages, if they are good ones. */
static int check_sizes(uint64_t *size, const hf_segment_options *options, uint64_t *maximum)
{
    uint64_t wanted = options == NULL || options->maximum == 0 ? *size : options->maximum;
    if (*size < SEGMENT_SIZE_MIN || wanted < *size || (options != NULL && options->mode > 0777)) {
        return -EINVAL;
    }
    if (wanted > SEGMENT_SIZE_MAX || wanted > SIZE_MAX / 2) {
        return -EFBIG;
    }
    *maximum = round_up(wanted, SEGMENT_PAGE);
    uint64_t least = geometry_of(*maximum).first_page * SEGMENT_PAGE;
    *maximum = max_u64(*maximum, least);
    *size = max_u64(round_up(*size, SEGMENT_PAGE), least);
    return 0;
}

/* Memory for the header, the first slots, as much of the maps as tells of `size`, and what is
 * handed out. */
static int reserve_parts(hf_memory *memory, uint64_t size, uint64_t maximum)
{
    struct geometry geometry = geometry_of(maximum);
    int fd = hf_memory_descriptor(memory);
    uint64_t map_bytes = (size / SEGMENT_PAGE + 7) / 8;
    uint64_t first = geometry.first_page * SEGMENT_PAGE;
    uint64_t pages = size > first ? size - first : 0;
    if (os_never_to_be_had(fd, pages)) {
        return -ENOSPC; /* before the maps of it take all there is */
    }
    int error = os_reserve(fd, 0, SEGMENT_SIZE_MIN);
    if (error == 0 && geometry.used_map > SEGMENT_PAGE) {
        error = os_reserve(fd, geometry.used_map, map_bytes);
        if (error == 0) {
            error = os_reserve(fd, geometry.backed_map, map_bytes);
        }
        if (error == 0) {
            error = os_reserve(fd, geometry.chunk_map, chunk_map_bytes(size / SEGMENT_PAGE));
        }
    }
    return error == 0 && pages > 0 ? os_reserve(fd, first, pages) : error;
}

static void publish_magic(struct view *view)
{
    HF_LOG_PUBLISH(&header_of(view)->magic, SEGMENT_MAGIC); /* partner: whoever opens */
}

/* Formats fresh memory and makes a view of it. Takes the memory over on success. */
static int make_object(hf_memory *memory, uint64_t size, uint64_t maximum, struct view **view)
{
    struct segment_header header;
    void *base;
    int error = reserve_parts(memory, size, maximum);
    if (error == 0) {
        error = os_map(hf_memory_descriptor(memory), 0, SEGMENT_PAGE, HF_READ_WRITE, NULL, false,
                       &base);
    }
    if (error != 0) {
        return error;
    }
    format_segment(base, size, maximum);
    memcpy(&header, base, sizeof header);
    (void)os_unmap(base, SEGMENT_PAGE);
    error = map_object(memory, &header, HF_READ_WRITE, view);
    if (error == 0) {
        pages_mark(*view);
        publish_magic(*view);
        (void)os_byte_lock_shared((*view)->fd, BYTE_WRITERS);
    }
    return error;
}

/* Makes a handle of fresh memory, published under its name if it is to have one. */
static int create_in(hf_memory *memory, const struct place *place, uint64_t size, uint64_t maximum,
                     hf_segment **segment)
{
    struct view *view;
    int error = process_lock();
    if (error != 0) {
        hf_memory_close(memory);
        return error;
    }
    error = make_object(memory, size, maximum, &view);
    if (error == 0) {
        error = place == NULL ? 0 : place->publish(memory, place->name);
        if (error == 0) {
            error = make_first_handle(view, HF_READ_WRITE, segment);
        }
        if (error != 0) {
            unmake(view);
        }
    }
    if (error != 0) {
        hf_memory_close(memory);
    }
    process_unlock();
    return error;
}

static hf_memory_options memory_options(const hf_segment_options *options)
{
    hf_memory_options wanted = {.sparse = true}; /* reserve_parts is more exact */
    if (options != NULL) {
        wanted.mode = options->mode;
        wanted.group = options->group;
        wanted.set_group = options->set_group;
    }
    return wanted;
}

static int create_place(const struct place *place, uint64_t size, const hf_segment_options *options,
                        hf_segment **segment)
{
    uint64_t maximum;
    hf_memory *memory;
    os_info info;
    if (place->name == NULL || segment == NULL) {
        return -EINVAL;
    }
    int error = check_sizes(&size, options, &maximum);
    if (error == 0) {
        error = check_place(place);
    }
    if (error == 0 && place->info == os_file_info && place->info(place->name, &info) == 0) {
        error = -EEXIST; /* before anything is reserved */
    }
    if (error != 0) {
        return error;
    }
    hf_memory_options wanted = memory_options(options);
    error = place->prepare(place->name, size, &wanted, &memory);
    return error != 0 ? error : create_in(memory, place, size, maximum, segment);
}

static int open_or_create(const struct place *place, uint64_t size,
                          const hf_segment_options *options, bool *created, hf_segment **segment)
{
    uint64_t maximum;
    uint64_t unused = size;
    int error = check_sizes(&unused, options, &maximum);
    bool made = false;
    /* Each turn lost means that another process created or removed the name in between. */
    while (error == 0) {
        error = open_place(place, HF_READ_WRITE, segment);
        if (error != -ENOENT) {
            break;
        }
        error = create_place(place, size, options, segment);
        if (error != -EEXIST) {
            made = error == 0;
            break;
        }
        bool file = place->info == os_file_info;
        error = file && os_file_leads_nowhere(place->name) ? -EBADMSG : 0;
    }
    if (error == 0 && created != NULL) {
        *created = made;
    }
    return error;
}

int hf_segment_prepare(uint64_t size, const hf_segment_options *options, hf_segment **segment)
{
    uint64_t maximum;
    hf_memory *memory;
    int error = segment == NULL ? -EINVAL : check_sizes(&size, options, &maximum);
    if (error == 0) {
        hf_memory_options wanted = memory_options(options);
        error = hf_shm_prepare(size, &wanted, &memory);
    }
    return error != 0 ? error : create_in(memory, NULL, size, maximum, segment);
}

int hf_segment_publish(hf_segment *segment, const char *name)
{
    bool good = is_segment(segment) && segment->view->memory != NULL;
    return good ? hf_shm_publish(segment->view->memory, name) : -EINVAL;
}

int hf_segment_create(const char *name, uint64_t size, const hf_segment_options *options,
                      hf_segment **segment)
{
    struct place place = shm_place(name);
    return create_place(&place, size, options, segment);
}

int hf_segment_open(const char *name, hf_access access, hf_segment **segment)
{
    struct place place = shm_place(name);
    return open_place(&place, access, segment);
}

int hf_segment_open_or_create(const char *name, uint64_t size, const hf_segment_options *options,
                              bool *created, hf_segment **segment)
{
    struct place place = shm_place(name);
    return open_or_create(&place, size, options, created, segment);
}

int hf_segment_remove(const char *name)
{
    return hf_shm_remove(name);
}

int hf_segment_create_file(const char *path, uint64_t size, const hf_segment_options *options,
                           hf_segment **segment)
{
    struct place place = file_place(path);
    return create_place(&place, size, options, segment);
}

int hf_segment_open_file(const char *path, hf_access access, hf_segment **segment)
{
    struct place place = file_place(path);
    return open_place(&place, access, segment);
}

int hf_segment_open_or_create_file(const char *path, uint64_t size,
                                   const hf_segment_options *options, bool *created,
                                   hf_segment **segment)
{
    struct place place = file_place(path);
    return open_or_create(&place, size, options, created, segment);
}

int hf_segment_create_anonymous(uint64_t size, const hf_segment_options *options,
                                hf_segment **segment)
{
    uint64_t maximum;
    hf_memory *memory;
    hf_memory_options sparse = {.sparse = true};
    int error = segment == NULL ? -EINVAL : check_sizes(&size, options, &maximum);
    if (error == 0) {
        error = hf_anonymous_create(size, &sparse, &memory);
    }
    return error != 0 ? error : create_in(memory, NULL, size, maximum, segment);
}

/* ---- memory without a descriptor --------------------------------------------------------- */

/* Makes a segment in zeroed memory that is mapped already. */
static int create_at(void *base, uint64_t size, uint64_t maximum, view_kind kind, bool owns_mapping,
                     hf_segment **segment)
{
    struct view *view;
    int error = process_lock();
    if (error != 0) {
        if (owns_mapping) {
            (void)os_unmap(base, (size_t)maximum);
        }
        return error;
    }
    error = view_make(base, maximum, kind, HF_READ_WRITE, NULL, owns_mapping, &view);
    if (error == 0) {
        format_segment(base, size, maximum);
        set_geometry(view, maximum);
        pages_mark(view);
        publish_magic(view);
        error = make_first_handle(view, HF_READ_WRITE, segment);
        if (error != 0) {
            view_drop(view);
        }
    } else if (owns_mapping) {
        (void)os_unmap(base, (size_t)maximum);
    }
    process_unlock();
    return error;
}

int hf_segment_create_private(uint64_t size, const hf_segment_options *options,
                              hf_segment **segment)
{
    uint64_t maximum;
    void *base;
    int error = segment == NULL ? -EINVAL : check_sizes(&size, options, &maximum);
    if (error == 0) {
        error = os_map_private((size_t)maximum, &base);
    }
    return error != 0 ? error : create_at(base, size, maximum, VIEW_PRIVATE, true, segment);
}

static int check_buffer(const void *buffer, uint64_t size, hf_segment **segment)
{
    bool good = buffer != NULL && segment != NULL && (uintptr_t)buffer % 64 == 0 &&
                size >= SEGMENT_SIZE_MIN && size <= SEGMENT_SIZE_MAX;
    return good ? 0 : -EINVAL;
}

int hf_segment_init(void *buffer, size_t size, hf_segment **segment)
{
    int error = check_buffer(buffer, size, segment);
    if (error != 0) {
        return error;
    }
    uint64_t whole = round_down(size, SEGMENT_PAGE);
    error = process_lock();
    if (error == 0) {
        error = view_at(buffer) != NULL ? -EBUSY : 0;
        process_unlock();
    }
    if (error != 0) {
        return error;
    }
    struct segment_header *header = buffer;
    HF_LOG_STORE(&header->magic, 0); /* no segment, until it is whole */
    memset(buffer, 0, (size_t)(geometry_of(whole).first_page * SEGMENT_PAGE));
    return create_at(buffer, whole, whole, VIEW_BUFFER, false, segment);
}

int hf_segment_attach(void *buffer, size_t size, hf_segment **segment)
{
    struct segment_header header;
    struct view *view;
    int error = check_buffer(buffer, size, segment);
    if (error == 0) {
        error = copy_header(buffer, size, &header);
    }
    if (error == 0 && header.maximum > size) {
        error = -ENODATA;
    }
    if (error == 0) {
        error = process_lock();
    }
    if (error != 0) {
        return error;
    }
    view = view_at(buffer);
    if (view != NULL &&
        (view->base != (char *)buffer || view->maximum != header.maximum || view->handles == 0)) {
        error = -EBUSY; /* another segment, of which threads have not let go */
    } else if (view == NULL) {
        error = view_make(buffer, header.maximum, VIEW_BUFFER, HF_READ_WRITE, NULL, false, &view);
        if (error == 0) {
            set_geometry(view, header.maximum);
            error = make_first_handle(view, HF_READ_WRITE, segment);
            if (error != 0) {
                view_drop(view);
            }
        }
    } else {
        error = make_handle(view, HF_READ_WRITE, segment);
    }
    process_unlock();
    return error;
}
