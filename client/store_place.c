/* A store whose partial is the target itself: repair in place.
 *
 * No record is needed: only verified bytes are ever written, each to its
 * place, so a kill at any moment leaves a file that is nowhere worse than
 * before, and the next run compares it anew.  The journal's name serves as
 * the lock against other processes that work on this target. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

/* A partial download of this name is somebody's work: finish that first. */
static int no_partial(struct store *store, struct store_error *why)
{
    struct stat st;
    int rc;

    if (store->sys->lstatat(store->dir_fd, store->part_name, &st) != 0) {
        return errno == ENOENT
                   ? 0
                   : store_fail_errno(store, why, "examine", STORE_FILE_PART);
    }
    rc = store_fail(store, why, ERR_EXISTS, "repair beside",
                    STORE_FILE_PART);
    store_advise(why, "finish that download, or remove its partial file");
    return rc;
}

static int open_target(struct store *store, uint64_t *size,
                       struct store_error *why)
{
    struct stat st;

    /* From here on the partial is the target. */
    memcpy(store->part_name, store->name, sizeof store->part_name);
    (void)snprintf(store->part_path, strlen(store->part_path) + 1, "%s%s%s",
                   strcmp(store->dir_path, ".") == 0 ? "" : store->dir_path,
                   strcmp(store->dir_path, ".") == 0 ? "" : "/",
                   store->name);
    store->part_fd = store_call_openat(
        store->sys, store->dir_fd, store->name,
        O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
    if (store->part_fd < 0) {
        return store_fail_errno(store, why, "open", STORE_FILE_TARGET);
    }
    if (store->sys->fstat(store->part_fd, &st) != 0) {
        return store_fail_errno(store, why, "examine", STORE_FILE_TARGET);
    }
    if (!S_ISREG(st.st_mode)) {
        return store_fail(store, why, ERR_NOT_A_FILE, "repair",
                          STORE_FILE_TARGET);
    }
    *size = (uint64_t)st.st_size;
    return 0;
}

int store_place_look(struct store *store, uint64_t *size,
                     struct store_report *report, struct store_error *why)
{
    int rc;

    store->in_place = true;
    rc = store_journal_open(store, true, &report->unlocked, why);
    if (rc == 0) {
        rc = no_partial(store, why);
    }
    return rc == 0 ? open_target(store, size, why) : rc;
}

/* What an earlier run wrote counts only if the device has it: after a failed
 * sync the cache shows more than that, and nothing would be written again. */
static int ask_device(struct store *store, struct store_error *why)
{
    int rc;

    if (store_call_fdatasync(store->sys, store->part_fd) != 0) {
        rc = store_fail_errno(store, why, "sync", STORE_FILE_PART);
        store_latch(store);
        return rc;
    }
    store->rewrite = store_find_way(store) == STORE_REREAD_CACHED;
    return 0;
}

int store_place_begin(struct store *store,
                      const struct journal_identity *identity,
                      struct store_error *why)
{
    int rc = 0;

    store->size = identity->size;
    store->chunks = journal_chunks(identity);
    atomic_store(&store->touched, false);
    if (store->phase != STORE_PHASE_ACTIVE) {
        rc = ask_device(store, why);
    }
    if (rc != 0) {
        return rc;
    }
    store->phase = STORE_PHASE_ACTIVE;
    return 0;
}

/* Before the first write: a short file becomes as long as it has to be, so
 * that every chunk can be read.  Two threads may do that at once. */
int store_place_touch(struct store *store, struct store_error *why)
{
    int rc = 0;

    if (!atomic_load(&store->touched)) {
        rc = store_extend(store, why);
        atomic_store(&store->changed, true);
        atomic_store(&store->touched, rc == 0);
    }
    return rc;
}

static int sync_place(struct store *store, struct store_error *why)
{
    int rc;

    if (store_call_fsync(store->sys, store->part_fd) == 0) {
        return 0;
    }
    rc = store_fail_errno(store, why, "sync", STORE_FILE_PART);
    store_latch(store);
    return rc;
}

/* The time comes last, behind a sync: it must not vouch for bytes that a
 * power cut may still take. */
int store_place_finish(struct store *store, const struct store_attrs *attrs,
                       unsigned int *warnings, struct store_error *why)
{
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = (time_t)attrs->mtime_s, .tv_nsec = (long)attrs->mtime_ns},
    };
    struct stat st;
    int rc;

    if (store->sys->fstat(store->part_fd, &st) != 0) {
        return store_fail_errno(store, why, "examine", STORE_FILE_PART);
    }
    if ((uint64_t)st.st_size == store->size && !atomic_load(&store->changed)) {
        return 0;
    }
    if ((uint64_t)st.st_size != store->size &&
        store_call_ftruncate(store->sys, store->part_fd, store->size) != 0) {
        return store_fail_errno(store, why, "set the size of",
                                STORE_FILE_PART);
    }
    rc = sync_place(store, why);
    if (rc != 0 || !attrs->mtime_known) {
        return rc;
    }
    if (store->sys->futimens(store->part_fd, times) != 0) {
        *warnings |= STORE_WARN_MTIME;
        return 0;
    }
    return sync_place(store, why);
}
