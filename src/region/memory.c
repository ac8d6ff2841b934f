/* SPDX-License-Identifier: MIT */
/*
 * Memory objects. A handle owns one descriptor, and, between prepare and publish on systems that
 * have no unnamed files, a temporary name. Nothing here is shared but the object itself.
 */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "holdfast/memory.h"
#include "os/os.h"
#include "region/memory_name.h"

#define MEMORY_MAGIC UINT32_C(0x6d656d6f) /* "memo": a handle, and not a closed one */

struct hf_memory {
    uint32_t magic;
    int fd;
    hf_access access;
    bool sparse;
    bool prepared;                /* not published yet */
    bool file;                    /* to be published at a path */
    char temporary[OS_PATH_SIZE]; /* what a prepared one is called meanwhile; empty: nothing */
};

_Static_assert(HF_SHM_NAME_MAX == OS_SHM_NAME_MAX, "the public limit is the system's");
_Static_assert((int)HF_SEAL_SHRINK == OS_SEAL_SHRINK && (int)HF_SEAL_GROW == OS_SEAL_GROW &&
                   (int)HF_SEAL_WRITE == OS_SEAL_WRITE && (int)HF_SEAL_SEAL == OS_SEAL_SEAL,
               "the public seals are handed through");

static const unsigned all_seals = HF_SEAL_SHRINK | HF_SEAL_GROW | HF_SEAL_WRITE | HF_SEAL_SEAL;

static bool is_memory(const hf_memory *memory)
{
    return memory != NULL && memory->magic == MEMORY_MAGIC;
}

static bool known_access(hf_access access)
{
    return access == HF_READ_WRITE || access == HF_READ_ONLY || access == HF_COPY_ON_WRITE;
}

int memory_check_name(const char *name)
{
    if (name == NULL || name[0] == 0 || name[0] == '.') {
        return -EINVAL;
    }
    for (const char *c = name; *c != 0; c++) {
        if (*c == '/' || (unsigned char)*c < 0x20 || *c == 0x7f) {
            return -EINVAL;
        }
        if (c - name >= HF_SHM_NAME_MAX) {
            return -ENAMETOOLONG;
        }
    }
    return 0;
}

static int check_options(const hf_memory_options *options)
{
    return options != NULL && options->mode > 0777 ? -EINVAL : 0;
}

/* Makes the handle that owns fd; on failure closes fd. */
static int adopt(int fd, hf_access access, hf_memory **memory)
{
    hf_memory *made = os_alloc(sizeof *made);
    if (made == NULL) {
        (void)os_close(fd);
        return -ENOMEM;
    }
    made->magic = MEMORY_MAGIC;
    made->fd = fd;
    made->access = access;
    *memory = made;
    return 0;
}

/* -EBADMSG for what is no memory object; on failure closes fd. */
static int regular_info(int fd, os_info *info)
{
    int error = os_info_get(fd, info);
    if (error == 0 && !info->regular) {
        error = -EBADMSG;
    }
    if (error != 0) {
        (void)os_close(fd);
    }
    return error;
}

/* Size, group and mode of a new object. The group first: the mode may let the group in. */
static int furnish(hf_memory *memory, uint64_t size, const hf_memory_options *options)
{
    static const hf_memory_options defaults;
    const hf_memory_options *o = options == NULL ? &defaults : options;
    memory->sparse = o->sparse;
    int error = hf_memory_truncate(memory, size);
    if (error == 0 && o->set_group) {
        error = os_set_group(memory->fd, o->group);
    }
    if (error == 0) {
        error = os_set_mode(memory->fd, o->mode == 0 ? 0600 : o->mode);
    }
    return error;
}

/* ---- shared memory objects --------------------------------------------------------------- */

/* Prepares a shared memory object, or, with a path, a file. */
static int prepare(const char *path, uint64_t size, const hf_memory_options *options,
                   hf_memory **memory)
{
    int error = check_options(options);
    if (error != 0) {
        return error;
    }
    hf_memory *made = os_alloc(sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    *made = (hf_memory){.access = HF_READ_WRITE, .prepared = true, .file = path != NULL};
    error = path != NULL ? os_file_prepare(path, made->temporary, &made->fd)
                         : os_shm_prepare(made->temporary, &made->fd);
    if (error != 0) {
        os_free(made);
        return error;
    }
    made->magic = MEMORY_MAGIC;
    error = furnish(made, size, options);
    if (error != 0) {
        hf_memory_close(made);
        return error;
    }
    *memory = made;
    return 0;
}

int hf_shm_prepare(uint64_t size, const hf_memory_options *options, hf_memory **memory)
{
    return memory == NULL ? -EINVAL : prepare(NULL, size, options, memory);
}

int hf_shm_publish(hf_memory *memory, const char *name)
{
    int error = memory_check_name(name);
    if (error != 0) {
        return error;
    }
    if (!is_memory(memory) || !memory->prepared || memory->file) {
        return -EINVAL;
    }
    error = os_shm_publish(memory->fd, memory->temporary, name);
    if (error == 0) {
        memory->prepared = false;
    }
    return error;
}

int hf_shm_create(const char *name, uint64_t size, const hf_memory_options *options,
                  hf_memory **memory)
{
    int error = memory_check_name(name);
    if (error != 0) {
        return error;
    }
    hf_memory *made;
    error = memory == NULL ? -EINVAL : hf_shm_prepare(size, options, &made);
    if (error != 0) {
        return error;
    }
    error = hf_shm_publish(made, name);
    if (error != 0) {
        hf_memory_close(made);
        return error;
    }
    *memory = made;
    return 0;
}

int hf_shm_open(const char *name, hf_access access, hf_memory **memory)
{
    int error = memory_check_name(name);
    if (error != 0) {
        return error;
    }
    if (memory == NULL || !known_access(access)) {
        return -EINVAL;
    }
    int fd;
    error = os_shm_open(name, access == HF_READ_WRITE, &fd);
    return error != 0 ? error : adopt(fd, access, memory);
}

int hf_shm_open_or_create(const char *name, uint64_t size, const hf_memory_options *options,
                          bool *created, hf_memory **memory)
{
    int error = check_options(options);
    if (error != 0) {
        return error;
    }
    /* Each turn lost means that another process created or removed the name in between. */
    for (;;) {
        error = hf_shm_open(name, HF_READ_WRITE, memory);
        if (error != -ENOENT) {
            break;
        }
        error = hf_shm_create(name, size, options, memory);
        if (error != -EEXIST) {
            if (error == 0 && created != NULL) {
                *created = true;
            }
            return error;
        }
    }
    if (error == 0 && created != NULL) {
        *created = false;
    }
    return error;
}

int hf_shm_remove(const char *name)
{
    int error = memory_check_name(name);
    return error != 0 ? error : os_shm_remove(name);
}

int hf_shm_list(int (*visit)(const char *name, void *context), void *context)
{
    return visit == NULL ? -EINVAL : os_shm_list(visit, context);
}

/* ---- files ------------------------------------------------------------------------------- */

int hf_file_prepare(const char *path, uint64_t size, const hf_memory_options *options,
                    hf_memory **memory)
{
    return path == NULL || memory == NULL ? -EINVAL : prepare(path, size, options, memory);
}

int hf_file_publish(hf_memory *memory, const char *path)
{
    if (!is_memory(memory) || !memory->prepared || !memory->file || path == NULL) {
        return -EINVAL;
    }
    int error = os_file_publish(memory->fd, memory->temporary, path);
    if (error == 0) {
        memory->prepared = false;
    }
    return error;
}

int hf_file_create(const char *path, uint64_t size, const hf_memory_options *options,
                   hf_memory **memory)
{
    os_info info;
    int error = path == NULL || memory == NULL ? -EINVAL : check_options(options);
    if (error == 0 && os_file_info(path, &info) == 0) {
        error = -EEXIST; /* before anything is reserved */
    }
    hf_memory *made;
    if (error == 0) {
        error = prepare(path, size, options, &made);
    }
    if (error != 0) {
        return error;
    }
    error = hf_file_publish(made, path);
    if (error != 0) {
        hf_memory_close(made);
        return error;
    }
    *memory = made;
    return 0;
}

int hf_file_open(const char *path, hf_access access, hf_memory **memory)
{
    if (path == NULL || memory == NULL || !known_access(access)) {
        return -EINVAL;
    }
    int fd;
    int error = os_file_open(path, access == HF_READ_WRITE, &fd);
    if (error != 0) {
        return error;
    }
    os_info info;
    error = regular_info(fd, &info);
    return error != 0 ? error : adopt(fd, access, memory);
}

/* ---- anonymous memory -------------------------------------------------------------------- */

int hf_anonymous_create(uint64_t size, const hf_memory_options *options, hf_memory **memory)
{
    if (memory == NULL) {
        return -EINVAL;
    }
    int fd;
    hf_memory *made;
    int error = os_anonymous_create("holdfast", &fd);
    if (error == 0) {
        error = adopt(fd, HF_READ_WRITE, &made);
    }
    if (error != 0) {
        return error;
    }
    made->sparse = options != NULL && options->sparse;
    error = hf_memory_truncate(made, size);
    if (error == 0) {
        error = os_seal(fd, OS_SEAL_SHRINK);
    }
    if (error != 0) {
        hf_memory_close(made);
        return error;
    }
    *memory = made;
    return 0;
}

int hf_memory_send(hf_memory *memory, int socket)
{
    return is_memory(memory) ? os_send_descriptor(socket, memory->fd) : -EINVAL;
}

int hf_memory_receive(int socket, hf_memory **memory)
{
    if (memory == NULL) {
        return -EINVAL;
    }
    int fd;
    int error = os_receive_descriptor(socket, &fd);
    if (error != 0) {
        return error;
    }
    os_info info;
    error = regular_info(fd, &info);
    return error != 0 ? error : adopt(fd, info.writable ? HF_READ_WRITE : HF_READ_ONLY, memory);
}

int hf_memory_seal(hf_memory *memory, unsigned seals)
{
    if (!is_memory(memory) || seals == 0 || (seals & ~all_seals) != 0) {
        return -EINVAL;
    }
    return os_seal(memory->fd, seals);
}

int hf_memory_seals(const hf_memory *memory, unsigned *seals)
{
    return is_memory(memory) && seals != NULL ? os_seals_get(memory->fd, seals) : -EINVAL;
}

/* ---- any memory object ------------------------------------------------------------------- */

int hf_memory_size(const hf_memory *memory, uint64_t *size)
{
    if (!is_memory(memory) || size == NULL) {
        return -EINVAL;
    }
    os_info info;
    int error = os_info_get(memory->fd, &info);
    if (error == 0) {
        *size = info.size;
    }
    return error;
}

int hf_memory_truncate(hf_memory *memory, uint64_t size)
{
    uint64_t before;
    int error = hf_memory_size(memory, &before);
    if (error != 0) {
        return error;
    }
    if (memory->access != HF_READ_WRITE) {
        return -EACCES;
    }
    if (size > before && !memory->sparse) {
        error = os_reserve(memory->fd, before, size - before);
    }
    if (error == 0) {
        error = os_resize(memory->fd, size); /* one step, for all who look */
    }
    if (error != 0 && size > before) {
        (void)os_resize(memory->fd, before); /* gives back what was reserved */
    }
    return error;
}

/* Is [offset, offset + length) inside an object that is open for writing? */
static int check_range(const hf_memory *memory, uint64_t offset, uint64_t length)
{
    uint64_t size;
    int error = hf_memory_size(memory, &size);
    if (error != 0) {
        return error;
    }
    if (memory->access != HF_READ_WRITE) {
        return -EACCES;
    }
    return length > 0 && range_within(offset, length, size) ? 0 : -ERANGE;
}

int hf_memory_reserve(hf_memory *memory, uint64_t offset, uint64_t length)
{
    int error = check_range(memory, offset, length);
    return error != 0 ? error : os_reserve(memory->fd, offset, length);
}

int hf_memory_discard(hf_memory *memory, uint64_t offset, uint64_t length)
{
    int error = check_range(memory, offset, length);
    return error != 0 ? error : os_punch(memory->fd, offset, length);
}

int hf_memory_owner(const hf_memory *memory, uint32_t *user, uint32_t *group, uint32_t *mode)
{
    if (!is_memory(memory)) {
        return -EINVAL;
    }
    os_info info;
    int error = os_info_get(memory->fd, &info);
    if (error != 0) {
        return error;
    }
    if (user != NULL) {
        *user = info.owner;
    }
    if (group != NULL) {
        *group = info.group;
    }
    if (mode != NULL) {
        *mode = info.mode;
    }
    return 0;
}

hf_access hf_memory_access(const hf_memory *memory)
{
    return is_memory(memory) ? memory->access : HF_READ_ONLY;
}

int hf_memory_descriptor(const hf_memory *memory)
{
    return is_memory(memory) ? memory->fd : -EINVAL;
}

void hf_memory_close(hf_memory *memory)
{
    if (is_memory(memory)) {
        if (memory->file) {
            os_file_discard(memory->temporary);
        } else {
            os_shm_discard(memory->temporary);
        }
        (void)os_close(memory->fd);
        memory->magic = 0;
        os_free(memory);
    }
}
