#include "client/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

const struct journal_identity *store_identity(const struct store *store)
{
    return store->have_head ? &store->head.identity : NULL;
}

const char *store_part_path(const struct store *store)
{
    return store->part_path;
}

/* Remove what a store that was never begun has made: both files are ours, we
 * hold the lock, and there is nothing in them. */
static void tidy(struct store *store)
{
    struct stat st;

    if (store->in_place) {
        if (store->journal_held) {
            (void)store->sys->unlink(store->dir_fd, store->journal_name);
        }
        return;
    }
    if (!store->journal_held || store->have_head ||
        store->sys->fstat(store->journal_fd, &st) != 0 || st.st_size != 0) {
        return;
    }
    if (store->part_fd >= 0 &&
        store->sys->fstat(store->part_fd, &st) == 0 && st.st_size == 0) {
        (void)store->sys->unlink(store->dir_fd, store->part_name);
    }
    (void)store->sys->unlink(store->dir_fd, store->journal_name);
}

/* Close one descriptor; the first failure is the one to tell of. */
static int close_one(struct store *store, int *fd, enum store_file file,
                     int rc, struct store_error *why)
{
    if (store_call_close(store->sys, fd) == 0 || rc != 0) {
        return rc;
    }
    return store_fail_errno(store, why, "close", file);
}

int store_close(struct store *store, struct store_error *why)
{
    int rc = 0;

    if (store == NULL) {
        return 0;
    }
    tidy(store);
    rc = close_one(store, &store->direct_fd, STORE_FILE_PART, rc, why);
    rc = close_one(store, &store->bypass_fd, STORE_FILE_PART, rc, why);
    rc = close_one(store, &store->part_fd, STORE_FILE_PART, rc, why);
    rc = close_one(store, &store->journal_fd, STORE_FILE_JOURNAL, rc, why);
    rc = close_one(store, &store->dir_fd, STORE_FILE_DIR, rc, why);
    pthread_mutex_destroy(&store->head_lock);
    pthread_mutex_destroy(&store->sync_lock);
    free(store->part_path);
    free(store->dir_path);
    free(store);
    return rc;
}

/* Remove one of our names; absent is as good. */
static int remove_one(struct store *store, enum store_file file,
                      const char *name, struct store_error *why)
{
    if (store->sys->unlink(store->dir_fd, name) != 0 && errno != ENOENT) {
        return store_fail_errno(store, why, "remove", file);
    }
    return 0;
}

int store_discard(struct store *store, struct store_error *why)
{
    int rc = 0;
    int closed;

    if (store == NULL) {
        return 0;
    }
    if (store->journal_held && !store->in_place) {
        /* The partial first: a journal alone is recognised as a leftover. */
        rc = remove_one(store, STORE_FILE_PART, store->part_name, why);
        if (rc == 0) {
            rc = remove_one(store, STORE_FILE_JOURNAL, store->journal_name,
                            why);
        }
        if (rc == 0) {
            store->journal_held = false;
        }
    }
    closed = store_close(store, rc == 0 ? why : NULL);
    return rc != 0 ? rc : closed;
}
