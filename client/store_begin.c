#include <errno.h>
#include <string.h>

#include "client/store_internal.h"
#include "proto/base/err.h"

/* What a head change needs. */
struct start {
    const struct store *store;
    const struct journal_identity *identity;
    struct stat part;
    uint8_t salt[JOURNAL_SALT_LEN];
};

static void set_fresh(struct journal_head *head, const void *with)
{
    const struct start *start = with;
    uint64_t generation = head->generation;

    memset(head, 0, sizeof *head);
    head->generation = generation;
    memcpy(head->salt, start->salt, sizeof head->salt);
    head->part_dev = (uint64_t)start->part.st_dev;
    head->part_ino = (uint64_t)start->part.st_ino;
    head->identity = *start->identity;
    store_head_own(start->store, head);
}

static void set_rebased(struct journal_head *head, const void *with)
{
    const struct start *start = with;

    memcpy(head->salt, start->salt, sizeof head->salt);
    head->identity = *start->identity;
}

static void set_identity(struct journal_head *head, const void *with)
{
    head->identity = *(const struct journal_identity *)with;
}

static int no_room(const struct store *store, struct store_error *why,
                   uint64_t need, uint64_t have)
{
    store_fail(store, why, ERR_NO_SPACE, "make room for", STORE_FILE_PART);
    if (why != NULL) {
        why->need_bytes = need;
        why->have_bytes = have;
    }
    return ERR_NO_SPACE;
}

int store_space(struct store *store, uint64_t size, struct store_error *why)
{
    struct statvfs fs;
    struct stat part;
    uint64_t limit;
    uint64_t owned = 0;
    uint64_t room;
    /* 40 bytes for a chunk of 256 KiB or more; smaller chunks are for small
     * files or bad links. */
    uint64_t need = size + JOURNAL_HEAD_LEN + size / 4096;

    if (size > INT64_MAX - JOURNAL_HEAD_LEN - size / 4096) {
        return no_room(store, why, size, INT64_MAX);
    }
    if (store->sys->file_size_limit(&limit) == 0 && size > limit) {
        no_room(store, why, size, limit);
        store_advise(why, "raise the file-size limit (ulimit -f)");
        return ERR_NO_SPACE;
    }
    if (store->sys->fstatvfs(store->dir_fd, &fs) != 0) {
        return store_fail_errno(store, why, "examine", STORE_FILE_DIR);
    }
    if (store->part_fd >= 0) {
        if (store->sys->fstat(store->part_fd, &part) != 0) {
            return store_fail_errno(store, why, "examine", STORE_FILE_PART);
        }
        owned = (uint64_t)part.st_blocks * 512;
    }
    if (fs.f_blocks == 0) {
        return 0; /* This file system does not say. */
    }
    room = (uint64_t)fs.f_bavail * fs.f_frsize;
    need = need > owned ? need - owned : 0;
    return need <= room ? 0 : no_room(store, why, need, room);
}

/* Bring journal and partial to nothing, making what is missing. */
static int clear_files(struct store *store, struct store_error *why)
{
    const struct store_sys *sys = store->sys;

    if (store->part_linked) {
        /* The target keeps the other name of this file. */
        if (sys->unlink(store->dir_fd, store->part_name) != 0) {
            return store_fail_errno(store, why, "remove", STORE_FILE_PART);
        }
        store->part_linked = false;
    }
    if (store->part_fd < 0) {
        int rc = store_create_own(store, STORE_FILE_PART, &store->part_fd,
                                  why);

        if (rc != 0) {
            return rc;
        }
    } else if (store_call_ftruncate(sys, store->part_fd, 0) != 0) {
        return store_fail_errno(store, why, "empty", STORE_FILE_PART);
    }
    if (store_call_ftruncate(sys, store->journal_fd, 0) != 0) {
        return store_fail_errno(store, why, "empty", STORE_FILE_JOURNAL);
    }
    store->durable_copy = STORE_COPY_NONE;
    store->written_copy = 0;
    return 0;
}

/* Write a head that start describes and make it durable. */
static int put_head(struct store *store, struct start *start,
                    void (*change)(struct journal_head *, const void *),
                    struct store_error *why)
{
    if (store->sys->random(start->salt, sizeof start->salt) != 0) {
        return store_fail_errno(store, why, "get random bytes for",
                                STORE_FILE_JOURNAL);
    }
    if (store_head_write(store, change, start) != 0) {
        return store_fail_errno(store, why, "write", STORE_FILE_JOURNAL);
    }
    store->have_head = true;
    store_head_adopt(store);
    if (store_head_sync(store) != 0) {
        return store_fail_errno(store, why, "sync", STORE_FILE_JOURNAL);
    }
    return 0;
}

/* May a new start be made, with this identity? */
static int check_start(struct store *store,
                       const struct journal_identity *identity,
                       struct store_error *why)
{
    if (store->phase == STORE_PHASE_ENDED) {
        return store_fail(store, why, ERR_STATE, "begin", STORE_FILE_PART);
    }
    if (atomic_load(&store->fault)) {
        return store_fail(store, why, ERR_IO, "go on with", STORE_FILE_PART);
    }
    if (!journal_identity_valid(identity)) {
        return store_fail(store, why, ERR_RANGE, "begin", STORE_FILE_PART);
    }
    return 0;
}

int store_begin(struct store *store, const struct journal_identity *identity,
                struct store_error *why)
{
    struct start start = {.store = store, .identity = identity};
    struct journal_identity copy = *identity;
    int rc = check_start(store, identity, why);

    if (rc == 0 && store->in_place) {
        return store_place_begin(store, identity, why);
    }
    /* The caller may pass store_identity(). */
    start.identity = &copy;
    if (rc == 0 && store->final_exists && store->policy == STORE_KEEP) {
        rc = store_fail(store, why, ERR_EXISTS, "write to",
                        STORE_FILE_TARGET);
    }
    if (rc != 0) {
        return rc;
    }
    store->phase = STORE_PHASE_OPEN;
    store->have_head = false;
    store->rewrite = false;
    (void)store_call_close(store->sys, &store->direct_fd);
    (void)store_call_close(store->sys, &store->bypass_fd);
    rc = clear_files(store, why);
    if (rc != 0) {
        return rc;
    }
    if (store->sys->fstat(store->part_fd, &start.part) != 0) {
        return store_fail_errno(store, why, "examine", STORE_FILE_PART);
    }
    rc = put_head(store, &start, set_fresh, why);
    if (rc != 0) {
        return rc;
    }
    if (store_sync_dir(store, NULL) != 0) {
        return store_fail_errno(store, why, "sync the directory",
                                STORE_FILE_DIR);
    }
    /* Only now, so that a partial without a durable journal is empty. */
    if (store_call_ftruncate(store->sys, store->part_fd, store->size) != 0) {
        return store_fail_errno(store, why, "set the size of",
                                STORE_FILE_PART);
    }
    store->phase = STORE_PHASE_ACTIVE;
    return 0;
}

int store_extend(struct store *store, struct store_error *why)
{
    struct stat st;

    if (store->sys->fstat(store->part_fd, &st) != 0) {
        return store_fail_errno(store, why, "examine", STORE_FILE_PART);
    }
    if ((uint64_t)st.st_size < store->size &&
        store_call_ftruncate(store->sys, store->part_fd, store->size) != 0) {
        return store_fail_errno(store, why, "set the size of",
                                STORE_FILE_PART);
    }
    return 0;
}

int store_rebase(struct store *store, const struct journal_identity *identity,
                 struct store_error *why)
{
    struct journal_identity copy = *identity;
    struct start start = {.store = store, .identity = &copy};
    int rc = check_start(store, identity, why);

    if (rc == 0 && store->phase != STORE_PHASE_ACTIVE) {
        rc = store_fail(store, why, ERR_STATE, "change the identity of",
                        STORE_FILE_PART);
    }
    if (rc != 0) {
        return rc;
    }
    if (store->in_place) {
        return store_place_begin(store, identity, why);
    }
    /* Until the new head is durable nothing may be written: the old hints
     * would vouch for it. */
    store->phase = STORE_PHASE_FOUND;
    rc = put_head(store, &start, set_rebased, why);
    if (rc != 0) {
        return rc;
    }
    /* All slots are void by now; without them the journal stays short. */
    (void)store_call_ftruncate(store->sys, store->journal_fd,
                               JOURNAL_HEAD_LEN);
    rc = store_extend(store, why);
    if (rc == 0) {
        store->phase = STORE_PHASE_ACTIVE;
    }
    return rc;
}

int store_update_identity(struct store *store,
                          const struct journal_identity *identity,
                          struct store_error *why)
{
    struct journal_identity copy = *identity;

    if (store->in_place) {
        return 0; /* there is no record */
    }
    if (store->phase != STORE_PHASE_ACTIVE &&
        store->phase != STORE_PHASE_FOUND) {
        return store_fail(store, why, ERR_STATE, "change the identity of",
                          STORE_FILE_PART);
    }
    if (!journal_identity_valid(&copy) || copy.size != store->size ||
        copy.chunk_log2 != store->head.identity.chunk_log2) {
        return store_fail(store, why, ERR_RANGE, "change the identity of",
                          STORE_FILE_PART);
    }
    if (store_head_write(store, set_identity, &copy) != 0) {
        return store_fail_errno(store, why, "write", STORE_FILE_JOURNAL);
    }
    return 0;
}
