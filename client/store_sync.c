#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

static void set_suspect(struct journal_head *head, const void *with)
{
    head->suspect = with != NULL;
}

void store_latch(struct store *store)
{
    bool noted;

    if (atomic_exchange(&store->fault, true)) {
        return;
    }
    /* Best effort: the failing disk may hold the journal as well. */
    if (store->in_place) {
        return; /* every run reads all of it */
    }
    noted = store_head_write(store, set_suspect, store) == 0 &&
            store_head_sync(store) == 0;
    (void)noted;
}

int store_refused(const struct store *store, struct store_error *why)
{
    store_fail(store, why, ERR_IO, "go on with", STORE_FILE_PART);
    store_advise(why, "an earlier write or sync failed; run the same command "
                      "again: everything is read back and verified");
    return ERR_IO;
}

int store_sync_dir(struct store *store, unsigned int *warnings)
{
    if (store_call_fsync(store->sys, store->dir_fd) == 0) {
        return 0;
    }
    /* Some file systems have no such call for directories. */
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) {
        return -1;
    }
    if (warnings != NULL) {
        *warnings |= STORE_WARN_UNSYNCED;
    }
    return 0;
}

static int sync_locked(struct store *store, struct store_error *why)
{
    int rc;

    if (atomic_load(&store->fault)) {
        return store_refused(store, why);
    }
    if (store_call_fdatasync(store->sys, store->part_fd) != 0) {
        rc = store_fail_errno(store, why, "sync", STORE_FILE_PART);
        store_latch(store);
        return rc;
    }
    if (!store->in_place && store_head_sync(store) != 0) {
        rc = store_fail_errno(store, why, "sync", STORE_FILE_JOURNAL);
        store_latch(store);
        return rc;
    }
    return 0;
}

int store_sync(struct store *store, struct store_error *why)
{
    int rc;

    BELAY_ASSERT(store->phase == STORE_PHASE_ACTIVE);
    pthread_mutex_lock(&store->sync_lock);
    rc = sync_locked(store, why);
    pthread_mutex_unlock(&store->sync_lock);
    return rc;
}

/* ---- Before a resume. */

/* Is memory the only place where this file lives? Then its pages are the
 * storage, cannot be dropped, and reading them is right. */
static bool lives_in_memory(struct store *store)
{
    uint64_t type;

    return store->sys->fs_type(store->part_fd, &type) == 0 &&
           (type == TMPFS_MAGIC || type == RAMFS_MAGIC);
}

/* Drop all pages; true if none stayed. Dropping is only advice and spares
 * pages in use, so the second try comes before the doubt. */
static bool pages_gone(struct store *store)
{
    for (int i = 0; i < 2; i++) {
        uint64_t pages;

        if (store->sys->drop_pages(store->part_fd) == 0 &&
            store->sys->count_pages(store->part_fd, store->size, &pages) ==
                0 &&
            pages == 0) {
            return true;
        }
    }
    return false;
}

/* Another descriptor of the partial, which goes around the page cache; -1
 * where there is none. */
static int open_around(struct store *store, int mode)
{
    int fd = store_call_openat(
        store->sys, store->dir_fd, store->part_name,
        mode | O_DIRECT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
    struct stat held;
    struct stat st;

    if (fd >= 0 && (store->sys->fstat(store->part_fd, &held) != 0 ||
                    store->sys->fstat(fd, &st) != 0 ||
                    st.st_ino != held.st_ino || st.st_dev != held.st_dev)) {
        (void)store_call_close(store->sys, &fd);
    }
    return fd;
}

/* Open a way around the page cache for reading, and try it. */
static bool open_direct(struct store *store)
{
    void *block = NULL;
    bool works = false;

    store->direct_fd = open_around(store, O_RDONLY);
    if (store->direct_fd >= 0 && posix_memalign(&block, 4096, 4096) == 0) {
        works = store->sys->pread(store->direct_fd, block, 4096, 0) >= 0;
    }
    free(block);
    if (!works) {
        (void)store_call_close(store->sys, &store->direct_fd);
    }
    return works;
}

void store_bypass_cache(struct store *store)
{
    BELAY_ASSERT(store->phase == STORE_PHASE_ACTIVE);
    if (store->bypass_fd < 0 && !store->in_place && !lives_in_memory(store)) {
        store->bypass_fd = open_around(store, O_WRONLY);
        atomic_store(&store->bypass, store->bypass_fd >= 0);
    }
}

enum store_reread store_find_way(struct store *store)
{
    if (lives_in_memory(store)) {
        return STORE_REREAD_MEMORY;
    }
    if (pages_gone(store)) {
        return STORE_REREAD_DEVICE;
    }
    return open_direct(store) ? STORE_REREAD_DIRECT : STORE_REREAD_CACHED;
}

int store_resume_prepare(struct store *store, enum store_reread *reread,
                         struct store_error *why)
{
    int rc;

    if (store->phase != STORE_PHASE_FOUND || atomic_load(&store->fault)) {
        return store_fail(store, why, ERR_STATE, "resume", STORE_FILE_PART);
    }
    rc = store_extend(store, why);
    if (rc != 0) {
        return rc;
    }
    if (store_call_fdatasync(store->sys, store->part_fd) != 0) {
        rc = store_fail_errno(store, why, "sync", STORE_FILE_PART);
        store_latch(store);
        return rc;
    }
    *reread = store_find_way(store);
    store->rewrite = *reread == STORE_REREAD_CACHED;
    /* From here on only what was read back, or written again, counts: the
     * mark has done its work. */
    if (store->head.suspect &&
        store_head_write(store, set_suspect, NULL) != 0) {
        return store_fail_errno(store, why, "write", STORE_FILE_JOURNAL);
    }
    store->phase = STORE_PHASE_ACTIVE;
    return 0;
}
