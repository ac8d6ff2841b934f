/* SPDX-License-Identifier: MIT */
/*
 * Everything that Holdfast asks of the operating system. One file per system implements it
 * (os_linux.c); nothing outside src/os/ makes a system call or names a system.
 *
 * Every function that returns int returns 0 or a negative errno out of HF_ERROR_TABLE
 * (holdfast/error.h): an errno that the table lacks becomes -EIO. Out-parameters are written
 * only on success. A call that a signal interrupts is carried on with. Descriptors are
 * close-on-exec.
 */
#ifndef HF_OS_OS_H
#define HF_OS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "holdfast/error.h"

/* ---- the linker's names ------------------------------------------------------------------- */

/* A static library shares its names with the program that it is linked into. */
#define os_page_size          hf_os_page_size
#define os_processors         hf_os_processors
#define os_now_ns             hf_os_now_ns
#define os_shm_prepare        hf_os_shm_prepare
#define os_shm_publish        hf_os_shm_publish
#define os_shm_discard        hf_os_shm_discard
#define os_shm_open           hf_os_shm_open
#define os_shm_info           hf_os_shm_info
#define os_shm_remove         hf_os_shm_remove
#define os_shm_list           hf_os_shm_list
#define os_file_create        hf_os_file_create
#define os_file_open          hf_os_file_open
#define os_file_remove        hf_os_file_remove
#define os_anonymous_create   hf_os_anonymous_create
#define os_info_get           hf_os_info_get
#define os_close              hf_os_close
#define os_reopen             hf_os_reopen
#define os_resize             hf_os_resize
#define os_reserve            hf_os_reserve
#define os_punch              hf_os_punch
#define os_set_mode           hf_os_set_mode
#define os_set_group          hf_os_set_group
#define os_seal               hf_os_seal
#define os_seals_get          hf_os_seals_get
#define os_send_descriptor    hf_os_send_descriptor
#define os_receive_descriptor hf_os_receive_descriptor
#define os_map                hf_os_map
#define os_unmap              hf_os_unmap
#define os_flush              hf_os_flush
#define os_advise             hf_os_advise
#define os_wait               hf_os_wait
#define os_wake               hf_os_wake
#define os_byte_lock          hf_os_byte_lock
#define os_byte_unlock        hf_os_byte_unlock
#define os_byte_locked        hf_os_byte_locked

/* ---- the machine ------------------------------------------------------------------------- */

/* Bytes in a page; a power of two. */
size_t os_page_size(void);

/* Processors that this process may run on; at least 1. */
unsigned os_processors(void);

/* Monotonic time in nanoseconds. */
uint64_t os_now_ns(void);

/* What there is to know about an object. */
typedef struct os_info {
    uint64_t size;   /* bytes */
    uint64_t device; /* device and inode together name the object on this machine */
    uint64_t inode;
    uint32_t owner; /* user id */
    uint32_t group; /* group id */
    uint32_t mode;  /* permission bits */
    bool regular;   /* a file or memory object, not a directory, link or device */
    bool writable;  /* this descriptor was opened for writing */
} os_info;

/* ---- naming and opening ------------------------------------------------------------------ */

/* The longest name of a shared memory object, without its terminating 0. */
#define OS_SHM_NAME_MAX 250

/* Room for the path of a temporary file; an empty string where the system needs none. */
#define OS_TEMPORARY_SIZE 64

/*
 * An object that is not visible under any name yet: whoever is killed before publishing it leaves
 * nothing behind. (Where the system has no such thing it is a file with a random name, put in
 * `temporary`, and a death here leaves that file.) Mode 0600, empty, open for writing.
 */
int os_shm_prepare(char temporary[OS_TEMPORARY_SIZE], int *fd);

/* Gives a prepared object its name, in one step. -EEXIST if the name is taken. */
int os_shm_publish(int fd, char temporary[OS_TEMPORARY_SIZE], const char *name);

/* Removes what a prepared object has of a temporary name. Does not close it. */
void os_shm_discard(char temporary[OS_TEMPORARY_SIZE]);

/* -ENOENT if there is none; -EBADMSG if what stands there is no regular object (a link, a FIFO). */
int os_shm_open(const char *name, bool writable, int *fd);

/* What stands under the name, without opening it (`writable` is false). -ENOENT. */
int os_shm_info(const char *name, os_info *info);

/* Removes the name; who has the object open keeps it. -ENOENT if there is none. */
int os_shm_remove(const char *name);

/* Calls visit for each object until it returns non-zero, which is then returned. */
int os_shm_list(int (*visit)(const char *name, void *context), void *context);

/* A new file, mode 0600, empty, open for writing. -EEXIST if there is one. */
int os_file_create(const char *path, int *fd);
int os_file_open(const char *path, bool writable, int *fd);
int os_file_remove(const char *path);

/* Memory with no name, open for writing. `label` is only seen by people who debug. */
int os_anonymous_create(const char *label, int *fd);

/* ---- what is open ------------------------------------------------------------------------ */

int os_info_get(int fd, os_info *info);
int os_close(int fd);

/* Another descriptor of the same object with locks of its own. */
int os_reopen(int fd, bool writable, int *out);

/* Sets the size; what is added reads as zeros and may not be backed by memory yet. */
int os_resize(int fd, uint64_t size);

/* Backs [offset, offset + length) with memory, past the object's end, too; -ENOSPC. The size stays.
   What a failed call has backed past the end, os_resize to the present size gives back. */
int os_reserve(int fd, uint64_t offset, uint64_t length);

/* Gives the memory of [offset, offset + length) back: it reads as zeros. The size stays. */
int os_punch(int fd, uint64_t offset, uint64_t length);

/* Exactly this mode, whatever the umask. */
int os_set_mode(int fd, uint32_t mode);
int os_set_group(int fd, uint32_t group);

/* Seals: what can never again be done to anonymous memory, by anyone. */
enum { OS_SEAL_SHRINK = 1, OS_SEAL_GROW = 2, OS_SEAL_WRITE = 4, OS_SEAL_SEAL = 8 };
int os_seal(int fd, unsigned seals);
int os_seals_get(int fd, unsigned *seals);

/* Passes a descriptor over a connected Unix socket, with one byte of data. */
int os_send_descriptor(int socket, int fd);
/* -EBADMSG if what arrived carries no descriptor; -ECONNRESET if the other side has closed. */
int os_receive_descriptor(int socket, int *fd);

/* ---- mapping ----------------------------------------------------------------------------- */

/*
 * Maps [offset, offset + length), offset a multiple of the page size. `address` is NULL or the
 * wanted address; with `exactly` it is that address or -EEXIST (never over an existing mapping).
 */
int os_map(int fd, uint64_t offset, size_t length, hf_access access, void *address, bool exactly,
           void **base);
int os_unmap(void *base, size_t length);
/* base is a multiple of the page size. Waits for the device if `wait`. */
int os_flush(void *base, size_t length, bool wait);

typedef enum os_advice {
    OS_ADVICE_NORMAL,
    OS_ADVICE_SEQUENTIAL,
    OS_ADVICE_RANDOM,
    OS_ADVICE_WILL_NEED,
    OS_ADVICE_DONT_NEED,
    OS_ADVICE_HUGE_PAGES
} os_advice;
int os_advise(void *base, size_t length, os_advice advice);

/* ---- waiting ----------------------------------------------------------------------------- */

/*
 * Sleeps while *word is `expected`, until os_wake, at most timeout_ns (HF_FOREVER: no limit).
 * 0: woken, or the word differs, or for no reason; look again. -ETIMEDOUT.
 */
int os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns);

/* Wakes up to `count` of those who sleep on the word, in any process. */
void os_wake(const volatile void *word, int count);

/* ---- being alive ------------------------------------------------------------------------- */

/*
 * An exclusive lock on one byte of the object, owned by the open descriptor and dropped by the
 * system when the last copy of that descriptor is gone, so at the latest when the process dies.
 * -EBUSY if another holds it. The byte need not exist.
 */
int os_byte_lock(int fd, uint64_t offset);
int os_byte_unlock(int fd, uint64_t offset);

/* Does another descriptor hold the lock on that byte? */
int os_byte_locked(int fd, uint64_t offset, bool *locked);

#endif
