#include "client/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/report.h"
#include "proto/base/limits.h"
#include "proto/base/registry.h"
#include "proto/data/cid.h"
#include "proto/data/hash.h"
#include "proto/data/text.h"

#define ORIGIN_DIGITS 8
#define MANIFEST_DIGITS 16
/* ".belay-release-", ORIGIN, "-" */
#define ORIGIN_LEN (sizeof STAGE_PREFIX - 1 + ORIGIN_DIGITS + 1)
#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static enum belay_reason failed(struct belay_error *error, const char *path,
                                const char *why)
{
    char shown[400];

    (void)text_escape(shown, sizeof shown, path, strlen(path));
    return report(error, BELAY_DISK, "%s: %s", shown, why);
}

/* ---- its name. */

static int hash_origin(const struct manifest *manifest,
                       char hex[2 * HASH_LEN + 1])
{
    struct hasher *hasher = hasher_new();
    uint8_t digest[HASH_LEN];
    int err = hasher == NULL ? ERR_NOMEM
                             : hash_sha256(hasher, manifest->origin,
                                           manifest->origin_len, digest);

    if (err == 0) {
        cid_hex_encode(digest, HASH_LEN, hex);
    }
    hasher_free(hasher);
    return err;
}

enum belay_reason stage_init(struct stage *stage, const char *directory,
                             const struct manifest *manifest,
                             struct belay_error *error)
{
    char origin[2 * HASH_LEN + 1];
    char tag[2 * HASH_LEN + 1];
    struct stat st;

    *stage = (struct stage){.lock = -1};
    if (hash_origin(manifest, origin) != 0) {
        return report(error, BELAY_INTERNAL, "libcrypto failed");
    }
    cid_hex_encode(manifest->digest, HASH_LEN, tag);
    if (asprintf(&stage->path, "%s/" STAGE_PREFIX "%.*s-%.*s", directory,
                 ORIGIN_DIGITS, origin, MANIFEST_DIGITS, tag) < 0) {
        stage->path = NULL;
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    stage->name = stage->path + strlen(directory) + 1;
    stage->found = lstat(stage->path, &st) == 0;
    return BELAY_DONE;
}

/* Is it the name of a stage of the same origin? */
static bool is_sibling(const struct stage *stage, const char *name)
{
    return strncmp(name, stage->name, ORIGIN_LEN) == 0 &&
           strspn(name + ORIGIN_LEN, "0123456789abcdef") == MANIFEST_DIGITS &&
           name[ORIGIN_LEN + MANIFEST_DIGITS] == '\0';
}

/* ---- the lock. */

/* Its name can be foretold: where others may write, it may be theirs, and then
 * they could replace what we verified before it is renamed. */
static bool is_ours(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
           (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* What is not ours to use is not ours to tidy up. */
static enum belay_reason leave(struct stage *stage, enum belay_reason reason)
{
    close(stage->lock);
    stage->lock = -1;
    return reason;
}

static enum belay_reason use(struct stage *stage, struct belay_error *error)
{
    stage->has_files = rootfs_init(&stage->files, stage->path) == 0;
    return stage->has_files ? BELAY_DONE
                            : failed(error, stage->path, strerror(errno));
}

/* Another process may have finished the same release between our mkdir() and
 * our lock: then the directory that is locked has no name any more. */
enum belay_reason stage_take(struct stage *stage, struct belay_error *error)
{
    struct stat st;

    for (unsigned tries = 0; tries < 3; tries++) {
        if (mkdir(stage->path, 0700) != 0 && errno != EEXIST) {
            return failed(error, stage->path, strerror(errno));
        }
        stage->lock = open(stage->path, OPEN_FLAGS);
        if (stage->lock < 0) {
            return failed(error, stage->path, strerror(errno));
        }
        if (!is_ours(stage->lock)) {
            return leave(stage, failed(error, stage->path,
                                       "others may write to this directory, "
                                       "so it cannot be used; remove it"));
        }
        if (flock(stage->lock, LOCK_EX | LOCK_NB) != 0) {
            return leave(stage, report(error, BELAY_BUSY, "another process "
                                       "is downloading this release to this "
                                       "directory"));
        }
        if (fstat(stage->lock, &st) == 0 && st.st_nlink > 0) {
            return use(stage, error);
        }
        (void)leave(stage, BELAY_DONE);
    }
    return failed(error, stage->path, "it vanishes again and again");
}

/* ---- removing. */

/* Works from descriptors on, never from paths: whoever may rename the stage
 * cannot lead us to another directory. */
struct removal {
    const struct rootfs *root; /* to list with */
    int fd;
    dev_t dev;
    bool with_files; /* else only what is empty goes */
    unsigned depth;  /* that is left */
};

static int remove_name(void *arg, const char *name)
{
    const struct removal *above = arg;
    struct removal here = *above;
    struct stat st;

    if (fstatat(above->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return 0;
    }
    if (!S_ISDIR(st.st_mode)) {
        if (above->with_files) {
            (void)unlinkat(above->fd, name, 0);
        }
        return 0;
    }
    if (st.st_dev != above->dev || above->depth == 0) {
        return 0; /* then it stays */
    }
    here.fd = openat(above->fd, name, OPEN_FLAGS);
    here.depth--;
    if (here.fd >= 0) {
        (void)!rootfs_each(here.root, here.fd, remove_name, &here);
        close(here.fd);
    }
    (void)unlinkat(above->fd, name, AT_REMOVEDIR);
    return 0;
}

static void empty_out(const struct rootfs *root, int fd, bool with_files)
{
    struct removal removal = {root, fd, 0, with_files, LIMIT_PATH_DEPTH};
    struct stat st;

    if (fstat(fd, &st) == 0) {
        removal.dev = st.st_dev;
        (void)!rootfs_each(root, fd, remove_name, &removal);
    }
}

struct sweep {
    const struct stage *stage;
    const struct rootfs *root;
    int fd; /* of the root */
};

static int sweep_name(void *arg, const char *name)
{
    const struct sweep *sweep = arg;
    int fd;

    if (!is_sibling(sweep->stage, name)) {
        return 0;
    }
    fd = openat(sweep->fd, name, OPEN_FLAGS);
    if (fd < 0) {
        return 0;
    }
    if (is_ours(fd) && flock(fd, LOCK_EX | LOCK_NB) == 0) {
        empty_out(sweep->root, fd, true);
        (void)unlinkat(sweep->fd, name, AT_REMOVEDIR);
    }
    close(fd);
    return 0;
}

void stage_sweep(struct stage *stage, const struct rootfs *root)
{
    struct sweep sweep = {stage, root, -1};

    /* Whoever waits for the lock gets a directory without a name. */
    if (stage->lock >= 0) {
        empty_out(root, stage->lock, true);
        (void)rmdir(stage->path);
        (void)leave(stage, BELAY_DONE);
    }
    if (rootfs_open_dir(root, "", &sweep.fd) == 0) {
        (void)!rootfs_each(root, sweep.fd, sweep_name, &sweep);
        close(sweep.fd);
    }
}

void stage_close(struct stage *stage)
{
    if (stage->lock >= 0) {
        empty_out(&stage->files, stage->lock, false);
        (void)rmdir(stage->path); /* it refuses what is not empty */
        (void)leave(stage, BELAY_DONE);
    }
    if (stage->has_files) {
        rootfs_clear(&stage->files);
        stage->has_files = false;
    }
    free(stage->path);
    stage->path = NULL;
}
