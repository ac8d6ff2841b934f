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
#define os_page_size             hf_os_page_size
#define os_processors            hf_os_processors
#define os_now_ns                hf_os_now_ns
#define os_shm_prepare           hf_os_shm_prepare
#define os_shm_publish           hf_os_shm_publish
#define os_shm_discard           hf_os_shm_discard
#define os_shm_open              hf_os_shm_open
#define os_shm_info              hf_os_shm_info
#define os_shm_remove            hf_os_shm_remove
#define os_shm_list              hf_os_shm_list
#define os_file_create           hf_os_file_create
#define os_file_open             hf_os_file_open
#define os_file_remove           hf_os_file_remove
#define os_anonymous_create      hf_os_anonymous_create
#define os_info_get              hf_os_info_get
#define os_close                 hf_os_close
#define os_reopen                hf_os_reopen
#define os_own_description       hf_os_own_description
#define os_map_private_at        hf_os_map_private_at
#define os_resize                hf_os_resize
#define os_reserve               hf_os_reserve
#define os_never_to_be_had       hf_os_never_to_be_had
#define os_punch                 hf_os_punch
#define os_set_mode              hf_os_set_mode
#define os_set_group             hf_os_set_group
#define os_seal                  hf_os_seal
#define os_seals_get             hf_os_seals_get
#define os_send_descriptor       hf_os_send_descriptor
#define os_receive_descriptor    hf_os_receive_descriptor
#define os_map                   hf_os_map
#define os_unmap                 hf_os_unmap
#define os_flush                 hf_os_flush
#define os_advise                hf_os_advise
#define os_wait                  hf_os_wait
#define os_wake                  hf_os_wake
#define os_byte_lock             hf_os_byte_lock
#define os_byte_unlock           hf_os_byte_unlock
#define os_byte_locked           hf_os_byte_locked
#define os_byte_lock_shared      hf_os_byte_lock_shared
#define os_process_lock          hf_os_process_lock
#define os_process_unlock        hf_os_process_unlock
#define os_file_lock             hf_os_file_lock
#define os_file_unlock           hf_os_file_unlock
#define os_at_fork               hf_os_at_fork
#define os_file_prepare          hf_os_file_prepare
#define os_file_publish          hf_os_file_publish
#define os_file_discard          hf_os_file_discard
#define os_file_info             hf_os_file_info
#define os_map_private           hf_os_map_private
#define os_wait_two              hf_os_wait_two
#define os_random                hf_os_random
#define os_boot_id               hf_os_boot_id
#define os_life_open             hf_os_life_open
#define os_life_close            hf_os_life_close
#define os_is_shared             hf_os_is_shared
#define os_life_link             hf_os_life_link
#define os_life_unlink           hf_os_life_unlink
#define os_thread_id             hf_os_thread_id
#define os_thread_identity       hf_os_thread_identity
#define os_thread_is_gone        hf_os_thread_is_gone
#define os_thread_is_there       hf_os_thread_is_there
#define os_file_leads_nowhere    hf_os_file_leads_nowhere
#define os_thread_number_is_free hf_os_thread_number_is_free
#define os_at_thread_exit        hf_os_at_thread_exit
#define os_fork_page             hf_os_fork_page
#define os_quiet_begin           hf_os_quiet_begin
#define os_quiet_end             hf_os_quiet_end
#define os_alloc                 hf_os_alloc
#define os_free                  hf_os_free

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

/* The longest path that a file is prepared for. */
#define OS_PATH_SIZE 4096

/*
 * As os_shm_prepare, publish and discard, for a file at a path. `temporary` is empty, or the name
 * that the file has meanwhile, beside the path.
 */
int os_file_prepare(const char *path, char temporary[OS_PATH_SIZE], int *fd);
int os_file_publish(int fd, char temporary[OS_PATH_SIZE], const char *path);
void os_file_discard(char temporary[OS_PATH_SIZE]);

/* What stands at the path, without opening it; follows links. -ENOENT. */
int os_file_info(const char *path, os_info *info);

/* Does a link stand at the path that leads to nothing? */
bool os_file_leads_nowhere(const char *path);

/* Memory with no name, open for writing. `label` is only seen by people who debug. */
int os_anonymous_create(const char *label, int *fd);

/* ---- what is open ------------------------------------------------------------------------ */

int os_info_get(int fd, os_info *info);
int os_close(int fd);

/* Another descriptor of the same object with locks of its own. */
int os_reopen(int fd, bool writable, int *out);

/* Makes fd such a descriptor, if the system can. */
void os_own_description(int fd, bool writable);

/* Sets the size; what is added reads as zeros and may not be backed by memory yet. */
int os_resize(int fd, uint64_t size);

/* Backs [offset, offset + length) with memory, past the object's end, too; -ENOSPC. The size stays.
   What a failed call has backed past the end, os_resize to the present size gives back. */
int os_reserve(int fd, uint64_t offset, uint64_t length);

/* Would that be -ENOSPC whatever others give back: more than there is room for in all? os_reserve
   asks for its own piece; who reserves several pieces asks for the whole first. */
bool os_never_to_be_had(int fd, uint64_t length);

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
/* Memory of this process alone, all zero, backed as it is touched. */
int os_map_private(size_t length, void **base);
/* The same in place of what is mapped at base. */
int os_map_private_at(void *base, size_t length);
int os_unmap(void *base, size_t length);
/* base is a multiple of the page size. Waits for the device if `wait`. */
int os_flush(void *base, size_t length, bool wait);

typedef enum os_advice {
    OS_ADVICE_NORMAL,
    OS_ADVICE_SEQUENTIAL,
    OS_ADVICE_RANDOM,
    OS_ADVICE_WILL_NEED,
    OS_ADVICE_DONT_NEED,
    OS_ADVICE_HUGE_PAGES,
    OS_ADVICE_DONT_DUMP /* leave it out of core dumps */
} os_advice;
int os_advise(void *base, size_t length, os_advice advice);

/* ---- waiting ----------------------------------------------------------------------------- */

/*
 * Sleeps while *word is `expected`, until os_wake, at most timeout_ns (HF_FOREVER: no limit).
 * 0: woken, or the word differs, or for no reason; look again. -ETIMEDOUT.
 */
int os_wait(const volatile void *word, uint32_t expected, int64_t timeout_ns);

/*
 * Sleeps while both words are as expected. 0 and -ETIMEDOUT as os_wait; -EOPNOTSUPP where the
 * system cannot wait on two.
 */
int os_wait_two(const volatile void *word, uint32_t expected, const volatile void *other,
                uint32_t other_expected, int64_t timeout_ns);

/* Wakes up to `count` of those who sleep on the word, in any process; how many it woke. */
int os_wake(const volatile void *word, int count);

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

/* The same, shared: many may hold it at once, and none that os_byte_lock asks for. */
int os_byte_lock_shared(int fd, uint64_t offset);

/*
 * A lock on the whole of a file, bytes that it may yet get included, as os_byte_lock has it;
 * shared, or exclusive, which needs a descriptor that was opened for writing.
 */
int os_file_lock(int fd, bool exclusive);
int os_file_unlock(int fd);

/*
 * The same byte owned by this *process*: a child does not inherit it, exec drops it, and so does
 * this process when it closes any descriptor of the object. os_byte_locked sees it, from this
 * process too.
 */
int os_process_lock(int fd, uint64_t offset);
int os_process_unlock(int fd, uint64_t offset);

/*
 * A *life word*: a futex word in shared memory that the system itself marks OS_LIFE_DIED, waking
 * one sleeper if OS_LIFE_WAITERS is set in it, when the thread whose id it holds ends, however it
 * ends. It is one of the last OS_LIFE_WORDS words of a page. The page is mapped once more for each
 * thread, with a private page behind it, and there stands the node by which the word is on the
 * thread's robust list, at the distance that libc has told the kernel: the list stays libc's.
 */
#define OS_LIFE_WORDS   4
#define OS_LIFE_WAITERS UINT32_C(0x80000000)
#define OS_LIFE_DIED    UINT32_C(0x40000000)
#define OS_LIFE_ID      UINT32_C(0x3fffffff)

typedef struct os_life {
    char *alias; /* the page again, and the private page behind it; NULL: none */
    void *list;  /* this thread's robust list */
    void *node;
    bool linked;
} os_life;

/*
 * Readies this thread for a word in the page at `offset` of fd, or, with fd < 0, in the page at
 * `page` of this process's memory. -EOPNOTSUPP: the system, this libc, or that memory cannot;
 * -ENOMEM.
 */
int os_life_open(int fd, uint64_t offset, void *page, os_life *life);

/* Is the memory at the address shared with other processes that have it mapped, and with children?
 */
bool os_is_shared(const void *address);

/* Links word `index` of the page. From now on the system marks it if it holds this thread's id. */
void os_life_link(os_life *life, unsigned index);
/* By the thread that linked it. */
void os_life_unlink(os_life *life);
/* Unmaps; an unlinked one only. */
void os_life_close(os_life *life);

/* ---- threads ----------------------------------------------------------------------------- */

/* This thread's number, as a life word holds it. */
uint32_t os_thread_id(void);

/* What tells a thread from a later one of the same number. Zeros where the system does not say. */
typedef struct os_identity {
    uint64_t space; /* the numbers' own space: another container has another one */
    uint64_t start; /* when the thread began */
    uint32_t thread;
    uint32_t process;
} os_identity;
void os_thread_identity(os_identity *identity);

/* Is there no thread of this number, as we count? */
bool os_thread_number_is_free(uint32_t thread);

/* True only if it is certain that no such thread is there any more; or that it is. */
bool os_thread_is_gone(const os_identity *identity);
bool os_thread_is_there(const os_identity *identity);

/* Runs `leave` with `value` when this thread ends by returning, pthread_exit or cancellation. One
   per thread: the last call counts, a NULL value is none. */
int os_at_thread_exit(void (*leave)(void *value), void *value);

/* A word that is zero again in a forked child, and whoever reads it there is the child's first. */
_Atomic uint64_t *os_fork_page(void);

/* Around every fork from now on: before it and after it in the parent, and first of all in the
   child. -ENOMEM. */
int os_at_fork(void (*before)(void), void (*in_parent)(void), void (*child)(void));

/* Between the two this thread is neither cancelled nor interrupted by a signal handler. */
typedef struct os_quiet {
    uint64_t signals[16];
    int cancel;
} os_quiet;
void os_quiet_begin(os_quiet *quiet);
void os_quiet_end(const os_quiet *quiet);

/* Memory of this process, all zero; NULL: there is none. Quietly: nobody may jump out of malloc.
   Where a quiet stretch is open already, calloc and free do. */
void *os_alloc(size_t bytes);
void os_free(void *memory);

/* ---- the machine's identity -------------------------------------------------------------- */

void os_random(void *bytes, size_t length);

/* Another one after every start of the machine; false where the system does not say. */
bool os_boot_id(uint64_t id[2]);

#endif
