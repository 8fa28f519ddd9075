/* The struct behind store.h and what its files share. Only client/store*.c
 * include this. */
#ifndef CLIENT_STORE_INTERNAL_H
#define CLIENT_STORE_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "client/store.h"
#include "client/store_call.h"
#include "client/store_sys.h"
#include "proto/base/check.h"

/* No head copy is known to be on stable storage. */
#define STORE_COPY_NONE 2u

enum store_phase {
    STORE_PHASE_OPEN, /* no partial of ours to write to yet */
    STORE_PHASE_FOUND, /* a partial with a usable head: readable */
    STORE_PHASE_ACTIVE, /* begun, rebased or resumed: writable */
    STORE_PHASE_ENDED /* committed, or failed in doing so */
};

/* The file that an error is about. */
enum store_file {
    STORE_FILE_DIR,
    STORE_FILE_PART,
    STORE_FILE_JOURNAL,
    STORE_FILE_TARGET
};

struct store {
    const struct store_sys *sys;
    enum store_policy policy;
    enum store_phase phase;
    char *dir_path; /* for messages */
    char *part_path; /* for messages */
    char name[NAME_MAX + 1];
    char part_name[NAME_MAX + 1];
    char journal_name[NAME_MAX + 1];
    int dir_fd;
    int part_fd;
    int journal_fd;
    int direct_fd; /* -1, or the way around the page cache */
    int bypass_fd; /* -1, or the same for large writes */
    atomic_bool bypass; /* ... which works so far */
    bool in_place; /* part is the target itself: store_place.c */
    atomic_bool changed; /* ... and was written to */
    atomic_bool touched; /* ... and is long enough */
    bool rewrite; /* there is none: make what is read dirty again */
    bool journal_created; /* by this store_open */
    bool journal_held; /* we have the lock */
    bool final_exists;
    bool part_linked; /* partial and target are one file with two names: a
                       * commit by link was cut off */
    bool have_head; /* head.identity is what the partial holds */

    /* Copies that group A reads without the lock: they change only in
     * begin and rebase, when group A is silent. */
    uint64_t size;
    uint64_t chunks;
    uint8_t salt[JOURNAL_SALT_LEN];

    atomic_bool fault; /* a write or sync failed: no sync counts any more */

    /* Held for one head write at most, never during a sync. */
    pthread_mutex_t head_lock;
    struct journal_head head;
    unsigned int written_copy; /* where the newest head is */
    unsigned int durable_copy; /* never overwritten; or STORE_COPY_NONE */
    uint64_t head_writes;

    pthread_mutex_t sync_lock; /* one sync at a time */
};

/* Check name and derive the names of partial and journal. prefix may be NULL,
 * name_max is the longest name of this file system. Returns 0 or ERR_PATH. */
int store_names(struct store *store, const char *name, const char *prefix,
                size_t name_max) MUST_USE;

/* Fill *why (may be NULL) for a failure that no system call reported; gives
 * back code. advice NULL: the usual one for the code. */
int store_fail(const struct store *store, struct store_error *why, int code,
               const char *operation, enum store_file file);

/* The same for a failed system call: code and advice come from errno. */
int store_fail_errno(const struct store *store, struct store_error *why,
                     const char *operation, enum store_file file);

/* Put another sentence or fact in place, where there is a *why. */
void store_advise(struct store_error *why, const char *advice);

/* An advice for what stands in the way at a name of ours. */
#define STORE_ADVICE_IN_THE_WAY \
    "remove or rename it, or choose another target"

/* ---- Heads (store_head.c). */

/* Read and choose; sets head, written_copy. Returns 0 or a negative code. */
int store_head_load(struct store *store, enum journal_verdict *verdict,
                    struct store_error *why) MUST_USE;

/* Write head to the copy that is not known to be durable. Takes the lock;
 * change, where not NULL, is applied to the head under it. */
int store_head_write(struct store *store,
                     void (*change)(struct journal_head *head,
                                    const void *with),
                     const void *with) MUST_USE;

/* fdatasync the journal; the newest head becomes the durable one. -1 and
 * errno on failure. */
int store_head_sync(struct store *store) MUST_USE;

/* Record this process as the owner, for the messages of others. */
void store_head_own(const struct store *store, struct journal_head *head);

/* Set size, chunks and salt from the head. */
void store_head_adopt(struct store *store);

/* ---- Files of our own (store_files.c). */

/* As store_fail, with another advice. */
int store_refuse(const struct store *store, enum store_file file, int code,
                 const char *advice, struct store_error *why);

/* Open partial or journal as RELIABILITY (d) 1 asks: never follow, never
 * block, regular, our own; the links are for the caller to judge. An absent
 * file comes back as ERR_NOT_FOUND without filling *why. */
int store_open_own(struct store *store, enum store_file file,
                   struct stat *st, int *fd, struct store_error *why)
    MUST_USE;

/* Make the partial or the journal, which must not exist. EEXIST comes back
 * as ERR_EXISTS. */
int store_create_own(struct store *store, enum store_file file, int *fd,
                     struct store_error *why) MUST_USE;

/* Open the journal, or make it where create says so, and lock it. An absent
 * one is ERR_NOT_FOUND without *why. *unlocked: there are no locks here. */
int store_journal_open(struct store *store, bool create, bool *unlocked,
                       struct store_error *why) MUST_USE;

/* Where locks do not work, a live process that the loaded head names keeps
 * us out. It leaves a gap between two that start together; with locks there
 * is none. */
int store_journal_check_owner(struct store *store, struct store_error *why)
    MUST_USE;

/* Make the partial as long as the identity says, if it is shorter. */
int store_extend(struct store *store, struct store_error *why) MUST_USE;

/* ---- The target itself (store_place.c). */

int store_place_look(struct store *store, uint64_t *size,
                     struct store_report *report,
                     struct store_error *why) MUST_USE;
int store_place_begin(struct store *store,
                      const struct journal_identity *identity,
                      struct store_error *why) MUST_USE;
int store_place_touch(struct store *store,
                      struct store_error *why) MUST_USE;
int store_place_finish(struct store *store, const struct store_attrs *attrs,
                       unsigned int *warnings,
                       struct store_error *why) MUST_USE;

/* ---- Faults and syncs (store_sync.c). */

/* See to it that store_pread does not answer from pages that the device may
 * not have; how that is done. The file was synced before. */
enum store_reread store_find_way(struct store *store);

/* Remember for good that the partial cannot be trusted, and try to say so in
 * the journal. */
void store_latch(struct store *store);

/* Fill *why for a call that comes after a fault; gives back ERR_IO. */
int store_refused(const struct store *store, struct store_error *why);

/* fsync the directory; -1 and errno on failure. A file system that cannot
 * do that gets STORE_WARN_UNSYNCED (warnings may be NULL). */
int store_sync_dir(struct store *store, unsigned int *warnings) MUST_USE;

#endif
