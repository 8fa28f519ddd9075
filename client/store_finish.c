#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

#define MODE_UNKNOWN 0666u
#define MODE_ALLOWED 0777u

static int part_failed(struct store *store, struct store_error *why,
                       const char *operation)
{
    return store_fail_errno(store, why, operation, STORE_FILE_PART);
}

/* A donor may have left bytes beyond the end. */
static int cut_to_size(struct store *store, struct store_error *why)
{
    struct stat st;

    if (store->sys->fstat(store->part_fd, &st) != 0) {
        return part_failed(store, why, "examine");
    }
    if ((uint64_t)st.st_size < store->size) {
        /* Somebody else cut it off. */
        return store_fail(store, why, ERR_EOF, "commit", STORE_FILE_PART);
    }
    if ((uint64_t)st.st_size > store->size &&
        store_call_ftruncate(store->sys, store->part_fd, store->size) != 0) {
        return part_failed(store, why, "set the size of");
    }
    return 0;
}

/* Mode and times are niceties: a file system without them still gets the
 * right bytes, with a warning. */
static void set_attrs(struct store *store, const struct store_attrs *attrs,
                      unsigned int *warnings)
{
    uint32_t bits = attrs->mode & MODE_ALLOWED;
    mode_t mode = (mode_t)(bits != 0 ? bits : MODE_UNKNOWN) &
                  ~store->sys->umask();

    if (store->sys->fchmod(store->part_fd, mode) != 0) {
        *warnings |= STORE_WARN_MODE;
    }
    if (attrs->mtime_known) {
        const struct timespec times[2] = {
            {.tv_nsec = UTIME_OMIT},
            {.tv_sec = (time_t)attrs->mtime_s,
             .tv_nsec = (long)attrs->mtime_ns},
        };

        if ((int64_t)times[1].tv_sec != attrs->mtime_s ||
            store->sys->futimens(store->part_fd, times) != 0) {
            *warnings |= STORE_WARN_MTIME;
        }
    }
}

static void set_finished(struct journal_head *head, const void *with)
{
    const struct stat *part = with;

    head->finished = true;
    head->part_ino = (uint64_t)part->st_ino;
    head->part_dev = (uint64_t)part->st_dev;
    head->part_mtime_s = (int64_t)part->st_mtim.tv_sec;
    head->part_mtime_ns = (uint32_t)part->st_mtim.tv_nsec;
}

/* Make the bytes durable, then the note that a file like *part, wherever it
 * is found, is the finished one; and give the partial up. */
static int seal(struct store *store, struct stat *part,
                struct store_error *why)
{
    int rc;

    if (store_call_fsync(store->sys, store->part_fd) != 0) {
        rc = part_failed(store, why, "sync");
        store_latch(store);
        return rc;
    }
    if (store->sys->fstat(store->part_fd, part) != 0) {
        return part_failed(store, why, "examine");
    }
    if (store_head_write(store, set_finished, part) != 0) {
        return store_fail_errno(store, why, "write", STORE_FILE_JOURNAL);
    }
    if (store_head_sync(store) != 0) {
        return store_fail_errno(store, why, "sync", STORE_FILE_JOURNAL);
    }
    (void)store_call_close(store->sys, &store->direct_fd);
    (void)store_call_close(store->sys, &store->bypass_fd);
    if (store_call_close(store->sys, &store->part_fd) != 0) {
        return part_failed(store, why, "close");
    }
    return 0;
}

static int rename_failed(struct store *store, struct store_error *why)
{
    int error = errno;
    int rc = part_failed(store, why, "rename");

    if (why != NULL) {
        struct store_error target;

        store_fail(store, &target, rc, "rename", STORE_FILE_TARGET);
        memcpy(why->other_path, target.path, sizeof why->other_path);
    }
    errno = error;
    return rc;
}

/* "Only if absent" without renameat2: a second name; the first one goes when
 * the second is durable. A crash in between leaves one file with both names,
 * which store_open recognises. */
static int rename_by_link(struct store *store, unsigned int *warnings)
{
    const struct store_sys *sys = store->sys;
    struct stat st;

    if (sys->link(store->dir_fd, store->part_name, store->name) == 0) {
        store->part_linked = true;
        return 0;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS &&
        errno != EMLINK) {
        return -1;
    }
    if (sys->lstatat(store->dir_fd, store->name, &st) == 0) {
        errno = EEXIST;
        return -1;
    }
    if (errno != ENOENT) {
        return -1;
    }
    *warnings |= STORE_WARN_RACE;
    return sys->rename_over(store->dir_fd, store->part_name, store->name);
}

static int rename_part(struct store *store, unsigned int *warnings)
{
    const struct store_sys *sys = store->sys;

    if (store->policy == STORE_REPLACE) {
        return sys->rename_over(store->dir_fd, store->part_name, store->name);
    }
    if (sys->rename_new(store->dir_fd, store->part_name, store->name) == 0) {
        return 0;
    }
    if (errno != ENOSYS && errno != EINVAL && errno != EOPNOTSUPP) {
        return -1;
    }
    return rename_by_link(store, warnings);
}

/* Give the file its name, if the partial's name still leads to it. */
static int take_name(struct store *store, const struct stat *part,
                     unsigned int *warnings, struct store_error *why)
{
    struct stat now;

    if (store->sys->lstatat(store->dir_fd, store->part_name, &now) != 0) {
        return part_failed(store, why, "find");
    }
    if (now.st_ino != part->st_ino || now.st_dev != part->st_dev) {
        store_refuse(store, STORE_FILE_PART, ERR_DENIED,
                     "another file has taken its place; run the same command "
                     "again",
                     why);
        return ERR_DENIED;
    }
    if (rename_part(store, warnings) != 0) {
        return rename_failed(store, why);
    }
    return 0;
}

/* Take the first name from a file that durably has both. The journal, which
 * explains the two names, may go only after that is durable as well. */
static bool unlink_part(struct store *store)
{
    if (!store->part_linked) {
        return true;
    }
    if (store->sys->unlink(store->dir_fd, store->part_name) != 0) {
        return false;
    }
    store->part_linked = false;
    return store_sync_dir(store, NULL) == 0;
}

/* The name is taken: make that durable and remove what is left over. */
static int make_lasting(struct store *store, unsigned int *warnings,
                        struct store_error *why)
{
    if (store_sync_dir(store, warnings) != 0) {
        store_fail_errno(store, why, "sync the directory", STORE_FILE_DIR);
        if (why != NULL) {
            why->code = ERR_IO;
            why->kept = STORE_KEPT_FINAL;
        }
        return ERR_IO;
    }
    if (!unlink_part(store) ||
        (store->sys->unlink(store->dir_fd, store->journal_name) != 0 &&
         errno != ENOENT)) {
        *warnings |= STORE_WARN_LEFTOVER;
    }
    /* The names may belong to another process from now on. */
    store->journal_held = false;
    return 0;
}

int store_finish(struct store *store, const struct store_attrs *attrs,
                 unsigned int *warnings, struct store_error *why)
{
    struct stat part;
    int rc;

    *warnings = 0;
    if (store->phase != STORE_PHASE_ACTIVE) {
        return store_fail(store, why, ERR_STATE, "commit", STORE_FILE_PART);
    }
    store->phase = STORE_PHASE_ENDED;
    if (atomic_load(&store->fault)) {
        return store_refused(store, why);
    }
    if (store->in_place) {
        return store_place_finish(store, attrs, warnings, why);
    }
    rc = cut_to_size(store, why);
    if (rc == 0) {
        set_attrs(store, attrs, warnings);
        rc = seal(store, &part, why);
    }
    if (rc == 0) {
        rc = take_name(store, &part, warnings, why);
    }
    if (rc == 0) {
        rc = make_lasting(store, warnings, why);
    }
    return rc;
}

int store_settle(struct store *store, unsigned int *warnings,
                 struct store_error *why)
{
    *warnings = 0;
    if (store->phase != STORE_PHASE_OPEN || !store->have_head) {
        return store_fail(store, why, ERR_STATE, "settle", STORE_FILE_TARGET);
    }
    store->phase = STORE_PHASE_ENDED;
    return make_lasting(store, warnings, why);
}
