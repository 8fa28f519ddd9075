/* A file system in memory that knows what a power loss may leave of it, for
 * one directory and the store's system calls.
 *
 * Each file has its cache (what reads see) and its disk. A change goes to the
 * cache at once and waits in a list; a sync of the file carries the list to
 * the disk. A change of the directory waits likewise until the directory is
 * synced. A power loss leaves the disk and, of each waiting change, nothing,
 * all, or (for writes) a torn part: that is all that may be assumed
 * (RELIABILITY (d)). A rename is atomic, and a change of the directory that
 * waits may survive while an earlier one does not.
 *
 * A failed writeback drops the waiting changes of a file while the cache keeps
 * showing them; the next sync of the file says so, once. */
#ifndef TESTS_CRASH_MEMFS_H
#define TESTS_CRASH_MEMFS_H

#include "client/store_sys.h"

#define MEMFS_FILES 8
#define MEMFS_BYTES 13312 /* of one file */
#define MEMFS_NAME 32

struct memfs;

/* What to do with each waiting change at a power loss. */
enum memfs_fate { MEMFS_ABSENT, MEMFS_WHOLE, MEMFS_TORN };

struct memfs *memfs_new(void);

/* A copy of everything, descriptors included. */
struct memfs *memfs_copy(const struct memfs *fs);
void memfs_free(struct memfs *fs);

/* The file system that memfs_sys works on; gives back the one before. */
struct memfs *memfs_use(struct memfs *fs);

/* Close all descriptors and locks, as the death of the process does. */
void memfs_kill(struct memfs *fs);

/* Waiting changes, of all files and the directory; each has three fates
 * (fates beyond MEMFS_WHOLE count as MEMFS_WHOLE where nothing can tear). */
unsigned int memfs_waiting(const struct memfs *fs);
bool memfs_can_tear(const struct memfs *fs, unsigned int change);

/* Lose power: fates[i] is that of waiting change i. */
void memfs_power_loss(struct memfs *fs, const uint8_t *fates);

/* A writeback of everything that waits fails now, unnoticed so far. */
void memfs_fail_writeback(struct memfs *fs);

/* The bytes that reads of this name see, or NULL; *len is set. */
const uint8_t *memfs_look(const struct memfs *fs, const char *name,
                          uint64_t *len);

/* Put a file there, durably. */
void memfs_put(struct memfs *fs, const char *name, const void *data,
               size_t len);

/* Names in the directory. */
unsigned int memfs_names(const struct memfs *fs);

/* Called before each call of memfs_sys that changes or syncs something, with
 * its number from 1 on; NULL: none. The hook may use other file systems. */
extern void (*memfs_hook)(struct memfs *fs, unsigned int call);

/* Is this a descriptor of the directory (in the file system in use)? */
bool memfs_is_dir(int fd);

/* Calls of that kind since the file system was made. */
unsigned int memfs_calls(const struct memfs *fs);

extern const struct store_sys memfs_sys;

#endif
