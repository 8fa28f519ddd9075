/* Disk: the file system below the real store, in memory.
 *
 * Each file has its cache, which reads see, and what the device has of it; a
 * change makes pages dirty until a sync of the file.  A change of the
 * directory waits for the sync of the directory.  A power cut leaves of every
 * dirty page the old, the new, or a mixture of their sectors, the old or the
 * new size, and any subset of the waiting changes of the directory.
 *
 * Calls fail as the faults say: short counts, no space, I/O errors, and syncs
 * that fail once and drop what they should have written, which the cache goes
 * on to show. */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include "client/store.h"
#include "client/store_sys.h"
#include "tests/sim/pages.h"
#include "tests/sim/rand.h"

#define DISK_FILES 6
#define DISK_NAMES 6
#define DISK_WAITING 24
#define DISK_FDS 12
#define DISK_TARGET "demo.bin"

/* In so many of a thousand calls. */
struct disk_faults {
    unsigned shorter; /* reads and writes */
    unsigned full;    /* writes: ENOSPC */
    unsigned broken;  /* reads and writes: EIO */
    unsigned sync;    /* fsync, fdatasync */
    unsigned names;   /* open, rename, unlink */
};

struct dfile {
    bool used;
    mode_t mode;
    struct timespec mtime;
    int locked_by; /* a descriptor, or -1 */
    struct pages cache;
    struct pages disk;
    uint8_t *dirty; /* for each page of the longer of both */
    uint64_t dirty_cap;
};

struct dname {
    char text[32]; /* "": free */
    int file;
};

/* Atomic: both names change or neither. */
struct dchange {
    struct dname set[2];
    unsigned count;
};

struct disk {
    struct rng rng;
    struct disk_faults faults;
    bool dead; /* the process is: nothing that it does has an effect */
    unsigned failures; /* calls that failed on purpose */
    uint64_t clock;
    struct dfile file[DISK_FILES];
    struct dname name[DISK_NAMES];
    struct dname disk_name[DISK_NAMES];
    struct dchange waiting[DISK_WAITING];
    unsigned waiting_count;
    int fd[DISK_FDS]; /* index of a file, or one of two marks */
};

void disk_init(struct disk *d, uint64_t seed);
void disk_free(struct disk *d);

/* Calls of disk_sys go to this one from now on. */
void disk_use(struct disk *d);
extern const struct store_sys disk_sys;

/* The process is gone: its descriptors and locks as well. */
void disk_kill(struct disk *d);
/* ... and the power: what was not synced is lost, torn or there; or all of
 * it is lost. */
void disk_power_cut(struct disk *d, bool lose_all);
/* Bit rot: of so many percent of the written pages of a name, one byte
 * changes for good.  Returns how many. */
unsigned disk_spoil(struct disk *d, const char *name, unsigned percent);

/* A file that was always there. */
void disk_put(struct disk *d, const char *name, const void *data,
              uint64_t len);
/* What reads of this name see; NULL: there is none. */
const struct pages *disk_look(const struct disk *d, const char *name);

#endif
