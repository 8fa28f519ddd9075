/* The crash-safe store of one download.
 *
 * Models: the directory of the target, the partial file NAME.part, its
 * journal NAME.part.belay (both maybe with a prefix), and the commit that
 * turns the partial into NAME.
 * Where NAME is too long for the suffixes, a shortened name with a hash of the
 * whole stands in for it. Everything is opened relative to the directory,
 * which is opened once.
 *
 * Promises (RELIABILITY (d); P1, P2, P3, P8):
 *  - The final name appears only by a rename after fsync of the partial gave
 *    0; success is reported only after fsync of the directory gave 0.
 *  - The journal holds hints. store_mark after store_pwrite means that a
 *    killed process loses nothing that was marked; after a power loss a hint
 *    may be false, so every hinted chunk is hashed again before it counts.
 *  - After a failed sync no later sync is believed: the fault is latched,
 *    store_sync and store_finish fail, the journal is flagged, and the next
 *    run reads from the device.
 *  - Nothing that another user planted is followed, blocked on or written:
 *    partial and journal are regular files, our own, with one link.
 *  - The final name is an existing symlink: it counts as an existing file and
 *    is never followed. STORE_REPLACE replaces the link itself, as rsync, mv
 *    and install do, not what it points to (curl -o would write through it,
 *    which no atomic commit can do). Existing directories, FIFOs, sockets and
 *    devices are errors: output to those needs no store.
 *
 * The program must ignore SIGXFSZ, or a file-size limit kills it instead of
 * giving EFBIG.
 *
 * Life of a store:
 *   store_open
 *     STORE_FOUND_DONE     -> store_settle (it is the file that was wanted),
 *                             or store_begin
 *     STORE_FOUND_PARTIAL  -> store_resume_prepare, store_hints, re-hash by
 *                             store_pread (same version), or that followed by
 *                             store_rebase (changed file: data is a donor),
 *                             or store_begin (throw it away)
 *     otherwise            -> store_space, store_begin
 *   store_pwrite / store_zero, then store_mark; store_sync now and then
 *   store_finish
 *   store_close, or store_discard
 *
 * Threads. Group A may run on several threads at once, for ranges that do not
 * overlap, and together with one call of group B or store_sync:
 *   store_pwrite store_zero store_clone store_pread store_mark
 *   store_writeback_hint
 *   store_sync (a second one waits for the first)
 * Group B, the rest, is for one thread at a time. Of these, only
 * store_update_identity, store_identity, store_hints and store_next_data may
 * run while group A calls are under way. All but store_identity,
 * store_part_path and store_writeback_hint may block on the disk; the long
 * ones are store_sync, store_finish, store_resume_prepare and store_settle.
 *
 * Errors: every function returns 0 or a negative code of proto/base/err.h and
 * then fills *why (which may be NULL). Codes of this module:
 *   ERR_PATH        the name is no file name
 *   ERR_STATE       a call out of order
 *   ERR_RANGE       an identity out of bounds, or one that may not change so
 *   ERR_NOMEM       out of memory
 *   ERR_EXISTS      the target exists, or a NAME.part that is not ours
 *   ERR_NOT_A_FILE  the target or NAME.part is a directory, FIFO, device, ...
 *   ERR_DENIED      NAME.part or the journal is a symlink, has another owner
 *                   or another link: planted, never touched
 *   ERR_NOT_FOUND, ERR_NOT_A_DIRECTORY  the directory is not there or none
 *   ERR_LOCKED      another process works on this target (why->owner_*)
 *   ERR_NO_SPACE    not enough room, quota or file-size limit
 *   ERR_IO          any other failed system call (why->sys_errno). With
 *                   why->kept == STORE_KEPT_FINAL: the final name is there
 *                   but the directory could not be synced, so the result is
 *                   not durable. With sys_errno 0: an earlier write or sync
 *                   failed, and this call is refused therefore.
 */
#ifndef CLIENT_STORE_H
#define CLIENT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "proto/data/hash.h"
#include "proto/data/journal.h"

struct store;
struct store_sys;

#define STORE_PATH_TEXT 1024
#define STORE_ERROR_TEXT 4096
#define STORE_IOV_MAX 64

/* What the disk holds after a failure. */
enum store_kept {
    STORE_KEPT_UNCHANGED, /* nothing was touched */
    STORE_KEPT_PART, /* the partial is there; a rerun goes on from it */
    STORE_KEPT_FINAL /* the file has its final name */
};

/* Why a call failed. Values, so it outlives the store. */
struct store_error {
    int code;
    int sys_errno; /* 0: no system call failed */
    const char *operation; /* static: "rename", "sync the partial", ... */
    char path[STORE_PATH_TEXT]; /* raw bytes, not for a terminal */
    char other_path[STORE_PATH_TEXT]; /* rename target, or "" */
    enum store_kept kept;
    const char *advice; /* static sentence: what to do */
    uint64_t need_bytes; /* ERR_NO_SPACE, else 0 */
    uint64_t have_bytes;
    uint32_t owner_pid; /* ERR_LOCKED, 0: not known */
    char owner_host[JOURNAL_HOST_MAX + 1];
};

/* One message of printable text: operation, paths, cause, what was kept, what
 * to do. Paths are escaped; no byte from a peer gets through unescaped.
 * Returns the length written, without the terminator; cap >= 1. */
size_t store_error_text(const struct store_error *error, char *text,
                        size_t cap);

enum store_policy {
    STORE_KEEP, /* a target that exists is an error (ERR_EXISTS) */
    STORE_REPLACE /* it is replaced at the commit, not before */
};

struct store_opts {
    int dir_fd; /* AT_FDCWD or a directory, borrowed for the call */
    const char *dir_path; /* opened relative to dir_fd; "." for itself */
    const char *name; /* one component; not "", ".", ".." */
    enum store_policy policy;
    const char *prefix; /* before the names of partial and journal; NULL:
                         * none */
    const struct store_sys *sys; /* NULL: the real system */
    const char *shown_dir; /* dir_path for messages; NULL: the same */
};

enum store_found {
    STORE_FOUND_NOTHING, /* a first download */
    STORE_FOUND_PARTIAL, /* store_identity says of what */
    STORE_FOUND_DONE, /* the final name is the finished file of
                       * store_identity: a run ended right after its rename */
    STORE_FOUND_UNUSABLE /* a partial whose journal is damaged, lost, or of a
                          * future format (see .journal): only store_begin */
};

struct store_report {
    enum store_found found;
    enum journal_verdict journal; /* JOURNAL_EMPTY where there was none */
    bool final_exists;
    bool suspect; /* the last run met a write error */
    bool unlocked; /* this file system has no locks: only the owner record
                    * in the journal guards against a second process */
    uint64_t part_size; /* 0 where there is no partial */
    uint64_t part_owned; /* bytes of disk that it has already */
};

/* Open directory, journal and partial; take the lock; look at what is there.
 * Creates the (empty) journal, so an unwritable directory fails here, before
 * any connection. On failure *store is NULL and nothing was changed. */
int store_open(const struct store_opts *opts, struct store **store,
               struct store_report *report, struct store_error *why)
    __attribute__((warn_unused_result));

/* The target itself takes the place of the partial: for repairing it where it
 * is.  It must be a regular file (no symlink); report->part_size is its size,
 * found stays STORE_FOUND_NOTHING.  store_begin then keeps what is there, and
 * it may be called without a change of anything on disk; store_finish cuts
 * the file to its size and syncs it, or does nothing at all where nothing was
 * written.  Nothing is recorded: whoever calls writes verified bytes only and
 * compares everything anew after a crash.  ERR_EXISTS: there is a partial
 * download of this name. */
int store_open_in_place(const struct store_opts *opts, struct store **store,
                        struct store_report *report, struct store_error *why)
    __attribute__((warn_unused_result));

/* What the journal says, or NULL without a usable one. Valid until the next
 * begin, rebase, update, close or discard. */
const struct journal_identity *store_identity(const struct store *store);

/* Path of the partial as the user would type it, for messages (raw bytes).
 * Valid until close. */
const char *store_part_path(const struct store *store);

/* Is there room for a file of size bytes and its journal? Blocks that the
 * partial already owns count as room. Also checks the file-size limit of the
 * process. A sparse or compressible file may need less than this says. */
int store_space(struct store *store, uint64_t size, struct store_error *why)
    __attribute__((warn_unused_result));

/* Start afresh: whatever the partial held is thrown away. Afterwards the
 * partial is sparse and of full size, the head and the names are durable. */
int store_begin(struct store *store, const struct journal_identity *identity,
                struct store_error *why)
    __attribute__((warn_unused_result));

/* Go on with another identity (changed file, other chunk size): all hints are
 * forgotten durably, the data stays where it is as a donor. Bytes beyond the
 * new size stay until store_finish. Read the old hints before. */
int store_rebase(struct store *store, const struct journal_identity *identity,
                 struct store_error *why)
    __attribute__((warn_unused_result));

/* Same content, better known (CID learnt, new version token, other URL). size
 * and chunk_log2 must be as they were (ERR_RANGE). Hints stay. Does not sync:
 * a later store_sync makes it durable, a crash before that loses only it. */
int store_update_identity(struct store *store,
                          const struct journal_identity *identity,
                          struct store_error *why)
    __attribute__((warn_unused_result));

enum store_reread {
    STORE_REREAD_DEVICE, /* no page stayed cached: reads ask the device */
    STORE_REREAD_DIRECT, /* pages stayed: store_pread goes around them */
    STORE_REREAD_MEMORY, /* tmpfs and its like: memory is the storage */
    STORE_REREAD_CACHED /* pages stayed and cannot be gone around: store_pread
                         * writes what it has read, so that the next sync
                         * decides about it */
};

/* Before the re-hash of a resume: flush, then see to it that store_pread does
 * not answer from pages that the device may not have (a failed writeback
 * leaves such pages, clean). Brings a short partial to full size. */
int store_resume_prepare(struct store *store, enum store_reread *reread,
                         struct store_error *why)
    __attribute__((warn_unused_result));

struct store_hint {
    uint64_t index;
    uint8_t digest[HASH_LEN];
};

/* The next hints at or after chunk *next. *count is the room in hints[] and
 * becomes the number found, ascending; *next moves on, and equals the number
 * of chunks when all were seen (*count may then be 0). */
int store_hints(struct store *store, uint64_t *next, struct store_hint *hints,
                size_t *count, struct store_error *why)
    __attribute__((warn_unused_result));

/* The next extent of the partial that may hold data, at or after *start:
 * sets [*start, *end); both become the partial's length when there is none.
 * Finds data that has no hints, such as a donor after store_rebase. */
int store_next_data(struct store *store, uint64_t *start, uint64_t *end,
                    struct store_error *why)
    __attribute__((warn_unused_result));

/* Write all of iov[0..count) at offset; 1 <= count <= STORE_IOV_MAX and the
 * end within the size of the identity (asserted: callers check the peer).
 * Failing for lack of room leaves the store usable; other failures latch. */
int store_pwrite(struct store *store, uint64_t offset, const struct iovec *iov,
                 size_t count, struct store_error *why)
    __attribute__((warn_unused_result));

/* Let [offset, offset + len) share the blocks of another file, where the
 * file system can do that; ERR_UNSUPPORTED where not, with nothing changed.
 * What stands there then is read back and verified by the caller. */
int store_clone(struct store *store, int from, uint64_t from_offset,
                uint64_t offset, uint64_t len)
    __attribute__((warn_unused_result));

/* Make [offset, offset + len) read as zeros, as a hole where possible. */
int store_zero(struct store *store, uint64_t offset, uint64_t len,
               struct store_error *why) __attribute__((warn_unused_result));

/* Read exactly len bytes of the partial (ERR_EOF where it is shorter). */
int store_pread(struct store *store, uint64_t offset, void *buffer, size_t len,
                struct store_error *why) __attribute__((warn_unused_result));

/* Note digests[i] as the digest of chunk first + i, whose bytes were written
 * before. A failure costs only the hints; the data is in place. */
int store_mark(struct store *store, uint64_t first, size_t count,
               const uint8_t (*digests)[HASH_LEN], struct store_error *why)
    __attribute__((warn_unused_result));

/* From now on large aligned writes go around the page cache where the file
 * system can do that: a file that is larger than what memory should hold
 * leaves the cache to others, and the final sync finds little to do. After
 * begin or resume; advice: cannot fail. */
void store_bypass_cache(struct store *store);

/* Start writing this range back. Advice: cannot fail. */
void store_writeback_hint(struct store *store, uint64_t offset, uint64_t len);

/* Make data, then hints and head, durable. */
int store_sync(struct store *store, struct store_error *why)
    __attribute__((warn_unused_result));

struct store_attrs {
    uint32_t mode; /* permission bits, 0 = not known */
    bool mtime_known;
    int64_t mtime_s;
    uint32_t mtime_ns;
};

enum store_warning {
    STORE_WARN_MODE = 1, /* the file system refused the mode */
    STORE_WARN_MTIME = 2, /* ... the time */
    STORE_WARN_LEFTOVER = 4, /* the journal could not be removed: harmless */
    STORE_WARN_RACE = 8, /* no atomic "only if absent" on this file system */
    STORE_WARN_UNSYNCED = 16 /* no sync of directories on this one */
};

/* Commit. The caller has verified every chunk, in this process. The mode is
 * attrs->mode & 0777 & ~umask, or 0666 & ~umask where it is not known: set-id
 * and sticky bits never come from the network. *warnings collects
 * enum store_warning. After it, success or not, only store_close and
 * store_discard may follow; after a failure the partial is kept, except
 * where why->kept says that the file already has its final name. */
int store_finish(struct store *store, const struct store_attrs *attrs,
                 unsigned int *warnings, struct store_error *why)
    __attribute__((warn_unused_result));

/* For STORE_FOUND_DONE: make the rename durable and remove the leftovers. The
 * same rules as for store_finish hold. */
int store_settle(struct store *store, unsigned int *warnings,
                 struct store_error *why) __attribute__((warn_unused_result));

/* Give up lock and memory; the partial stays. A journal that was never begun
 * is removed. The store is gone whatever is returned. NULL is harmless. */
int store_close(struct store *store, struct store_error *why);

/* Remove partial and journal, then close. */
int store_discard(struct store *store, struct store_error *why);

#endif
