/* Comparing a directory with a manifest, on several threads. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "client/filecid.h"
#include "client/manifest.h"
#include "client/parallel.h"
#include "client/report.h"
#include "proto/data/text.h"

struct compare {
    const struct rootfs *root;
    compare_fn *fn;
    void *arg;
    uint64_t *counts;
    pthread_mutex_t lock; /* of all below, and around the callback */
    struct manifest_walk walk;
    uint64_t index;
};

static enum belay_match match_one(const struct rootfs *root,
                                  const struct manifest_entry *entry,
                                  const char *path)
{
    enum belay_match match = BELAY_MATCH_DIFFERS;
    uint8_t cid[HASH_LEN];
    struct stat st;
    int fd;
    int err = rootfs_open(root, path, false, &st, &fd);

    if (err == ERR_NOT_FOUND) {
        return errno == ENOENT || errno == ENOTDIR ? BELAY_MATCH_ABSENT
               : errno == ELOOP                    ? BELAY_MATCH_DIFFERS
                                                   : BELAY_MATCH_ERROR;
    }
    if (err != 0) {
        return err == ERR_NOT_A_FILE ? BELAY_MATCH_DIFFERS
                                     : BELAY_MATCH_ERROR;
    }
    if ((uint64_t)st.st_size == entry->size) {
        err = file_cid(fd, entry->size, entry->chunk_log2, cid);
        if (err != 0) {
            match = BELAY_MATCH_ERROR;
        } else if (memcmp(cid, entry->cid, HASH_LEN) == 0) {
            match = BELAY_MATCH;
        }
    }
    close(fd);
    return match;
}

static void compare_some(void *arg)
{
    struct compare *c = arg;
    struct manifest_entry entry;
    char path[LIMIT_PATH + 1];

    (void)pthread_mutex_lock(&c->lock);
    while (manifest_walk_next(&c->walk, &entry) == 0) {
        uint64_t index = c->index++;

        memcpy(path, entry.path, entry.path_len);
        path[entry.path_len] = '\0';
        entry.path = path;
        (void)pthread_mutex_unlock(&c->lock);
        enum belay_match match = match_one(c->root, &entry, path);

        (void)pthread_mutex_lock(&c->lock);
        c->counts[match]++;
        if (c->fn != NULL) {
            c->fn(c->arg, index, &entry, match);
        }
    }
    (void)pthread_mutex_unlock(&c->lock);
}

enum belay_reason compare_all(const struct manifest *manifest,
                              const struct rootfs *root, unsigned threads,
                              compare_fn *fn, void *arg, uint64_t counts[4],
                              struct belay_error *error)
{
    struct compare c = {
        .root = root, .fn = fn, .arg = arg, .counts = counts};

    memset(counts, 0, 4 * sizeof counts[0]);
    if (pthread_mutex_init(&c.lock, NULL) != 0) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    manifest_walk_init(&c.walk, manifest);
    parallel_run(threads, compare_some, &c);
    (void)pthread_mutex_destroy(&c.lock);
    return BELAY_DONE;
}

/* ---- the public call. */

struct listener {
    belay_match_fn *fn;
    void *arg;
};

static void tell(void *arg, uint64_t index,
                 const struct manifest_entry *entry, enum belay_match match)
{
    const struct listener *listener = arg;

    (void)index;
    listener->fn(listener->arg, entry->path, match);
}

enum belay_reason belay_manifest_compare(struct belay_manifest *manifest,
                                         const char *directory,
                                         unsigned threads, belay_match_fn *fn,
                                         void *arg, uint64_t counts[4],
                                         struct belay_error *error)
{
    struct listener listener = {fn, arg};
    enum belay_reason reason;
    struct rootfs root;
    char shown[400];

    if (rootfs_init(&root, directory) != 0) {
        (void)text_escape(shown, sizeof shown, directory, strlen(directory));
        return report(error, belay_reason_of_file(errno), "%s: %s", shown,
                      strerror(errno));
    }
    reason = compare_all(&manifest->text, &root, threads,
                         fn != NULL ? tell : NULL, &listener, counts, error);
    rootfs_clear(&root);
    return reason;
}
