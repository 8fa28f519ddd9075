/* Releases: the files of a manifest, all in place or none (belay.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/manifest.h"
#include "client/newdirs.h"
#include "client/report.h"
#include "client/stage.h"
#include "proto/base/check.h"
#include "proto/data/cid.h"
#include "proto/data/relpath.h"
#include "proto/data/text.h"

struct belay_release {
    struct belay_manifest *manifest;
    struct rootfs root;
    struct stage stage;
    bool has_root;
    struct newdirs made; /* for the root */
    char *output;      /* of the last file told */
    uint8_t *missing;  /* a bit a file */
    struct manifest_walk walk;
    uint64_t index;
    char path[LIMIT_PATH + 1];
    uint64_t present;
    uint64_t missing_count;
    uint64_t missing_bytes;
    enum belay_reason reason; /* of what stands in the way */
    struct belay_error *error;
};

static enum belay_reason failed(struct belay_error *error, const char *path,
                                const char *why)
{
    char shown[400];

    (void)text_escape(shown, sizeof shown, path, strlen(path));
    return report(error, BELAY_DISK, "%s: %s", shown, why);
}

static bool is_missing(const struct belay_release *r, uint64_t index)
{
    return (r->missing[index / 8] >> index % 8 & 1) != 0;
}

/* ---- looking at what is there. */

/* The path with only its first `len` bytes. */
static int stat_prefix(const struct rootfs *root, const char *path,
                       size_t len, struct stat *st)
{
    char prefix[LIMIT_PATH + 1];

    memcpy(prefix, path, len);
    prefix[len] = '\0';
    return rootfs_stat(root, prefix, st);
}

/* What would make a rename fail is found before the first one. */
static const char *obstacle(const struct rootfs *root,
                            const struct manifest_entry *entry)
{
    struct stat st;

    for (size_t k = 1; k < entry->path_len; k++) {
        if (entry->path[k] != '/') {
            continue;
        }
        if (stat_prefix(root, entry->path, k, &st) != 0) {
            return NULL; /* not there: it will be made */
        }
        if (!S_ISDIR(st.st_mode)) {
            return "the manifest has a directory where a file or link is";
        }
    }
    if (stat_prefix(root, entry->path, entry->path_len, &st) == 0 &&
        S_ISDIR(st.st_mode)) {
        return "the manifest has a file where a directory is";
    }
    return NULL;
}

static void on_match(void *arg, uint64_t index,
                     const struct manifest_entry *entry,
                     enum belay_match match)
{
    struct belay_release *r = arg;
    const char *why = NULL;

    if (match == BELAY_MATCH) {
        r->present++;
        return;
    }
    if (match == BELAY_MATCH_ERROR) {
        why = "it cannot be read";
    } else {
        why = obstacle(&r->root, entry);
    }
    if (why != NULL && r->reason == BELAY_DONE) {
        r->reason = failed(r->error, entry->path, why);
    }
    r->missing[index / 8] |= (uint8_t)(1u << index % 8);
    r->missing_count++;
    r->missing_bytes += entry->size;
}

static enum belay_reason compare(struct belay_release *r)
{
    const struct manifest *text = &r->manifest->text;
    enum belay_reason reason;
    uint64_t counts[4];

    r->missing = calloc(text->count / 8 + 1, 1);
    if (r->missing == NULL) {
        return report(r->error, BELAY_INTERNAL, "out of memory");
    }
    reason = compare_all(text, &r->root, 0, on_match, r, counts, r->error);
    return reason == BELAY_DONE ? r->reason : reason;
}

/* ---- opening. */

static enum belay_reason open_in(struct belay_release *r, const char *dir)
{
    int error = newdirs_make(&r->made, dir);
    enum belay_reason reason;

    if (error != 0) {
        return failed(r->error, dir, strerror(error));
    }
    r->has_root = rootfs_init(&r->root, dir) == 0;
    if (!r->has_root) {
        return failed(r->error, dir, strerror(errno));
    }
    reason = stage_init(&r->stage, dir, &r->manifest->text, r->error);
    manifest_walk_init(&r->walk, &r->manifest->text);
    if (reason == BELAY_DONE) {
        reason = compare(r);
    }
    if (reason == BELAY_DONE && r->missing_count > 0) {
        reason = stage_take(&r->stage, r->error);
    }
    return reason;
}

enum belay_reason belay_release_open(struct belay_manifest *manifest,
                                     const char *directory,
                                     struct belay_release **out,
                                     struct belay_error *error)
{
    struct belay_release *r = calloc(1, sizeof *r);
    enum belay_reason reason;

    *out = NULL;
    if (r == NULL) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    r->manifest = manifest;
    r->stage.lock = -1;
    r->error = error;
    reason = open_in(r, directory);
    if (reason != BELAY_DONE) {
        belay_release_close(r);
        return reason;
    }
    r->error = NULL; /* belongs to the caller again */
    *out = r;
    return BELAY_DONE;
}

void belay_release_counts(const struct belay_release *release,
                          uint64_t *present, uint64_t *missing,
                          uint64_t *bytes)
{
    *present = release->present;
    *missing = release->missing_count;
    *bytes = release->missing_bytes;
}

/* ---- directories beneath a root. */

/* Opens the directory of a path, `len` bytes of it, and makes what is missing
 * on the way.  Links are not followed.  -1 with the reason in errno. */
static int open_made(const struct rootfs *root, const char *path, size_t len)
{
    char dir[LIMIT_PATH + 1] = "";
    struct relpath_part part;
    size_t pos = 0;
    int fd;

    if (rootfs_open_dir(root, "", &fd) != 0) {
        return -1;
    }
    while (relpath_next(path, len, &pos, &part)) {
        size_t end = (size_t)(part.name - path) + part.len;
        int next;

        memcpy(dir, path, end);
        dir[end] = '\0';
        if (rootfs_open_dir(root, dir, &next) != 0) {
            if (errno != ENOENT ||
                mkdirat(fd, dir + (part.name - path), 0777) != 0 ||
                fsync(fd) != 0 || rootfs_open_dir(root, dir, &next) != 0) {
                close(fd);
                return -1;
            }
        }
        close(fd);
        fd = next;
    }
    return fd;
}

static size_t dir_len(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? (size_t)(slash - path) : 0;
}

/* Moves on to the next file that is missing; false behind the last. */
static bool next_missing(struct belay_release *r, struct manifest_entry *entry)
{
    while (manifest_walk_next(&r->walk, entry) == 0) {
        uint64_t index = r->index++;

        if (is_missing(r, index)) {
            memcpy(r->path, entry->path, entry->path_len);
            r->path[entry->path_len] = '\0';
            return true;
        }
    }
    return false;
}

bool belay_release_next(struct belay_release *release,
                        struct belay_manifest_file *file, const char **output,
                        struct belay_error *error)
{
    struct belay_release *r = release;
    struct belay_manifest_file mine = {.path = r->path};
    struct manifest_entry entry;
    int fd;

    (void)report(error, BELAY_DONE, "%s", "");
    if (!next_missing(r, &entry)) {
        return false;
    }
    fd = open_made(&r->stage.files, r->path, dir_len(r->path));
    if (fd < 0) {
        (void)failed(error, r->path, strerror(errno));
        return false;
    }
    close(fd);
    free(r->output);
    if (asprintf(&r->output, "%s/%s", r->stage.path, r->path) < 0) {
        r->output = NULL;
        (void)report(error, BELAY_INTERNAL, "out of memory");
        return false;
    }
    mine.size = entry.size;
    cid_encode(entry.chunk_log2, entry.cid, mine.cid);
    report_give(file, &mine, sizeof mine);
    *output = r->output;
    return true;
}

/* ---- the commit. */

/* The two directories of the file that was moved last; its neighbours in the
 * order of paths are mostly in the same ones. */
struct place {
    size_t len;
    bool open;
    int from;
    int to;
};

static bool leave(struct place *place)
{
    bool synced = true;

    if (place->open) {
        synced = fsync(place->to) == 0;
        close(place->from);
        close(place->to);
        place->open = false;
    }
    return synced;
}

static bool enter(struct belay_release *r, struct place *place,
                  const char *previous)
{
    size_t len = dir_len(r->path);

    if (place->open && place->len == len &&
        memcmp(previous, r->path, len) == 0) {
        return true;
    }
    if (!leave(place)) {
        return false;
    }
    place->from = open_made(&r->stage.files, r->path, len);
    if (place->from < 0) {
        return false;
    }
    place->to = open_made(&r->root, r->path, len);
    if (place->to < 0) {
        close(place->from);
        return false;
    }
    place->len = len;
    place->open = true;
    return true;
}

/* All are there, under their names in the stage? */
static enum belay_reason check_stage(struct belay_release *r,
                                     struct belay_error *error)
{
    struct manifest_entry entry;
    struct stat st;

    manifest_walk_init(&r->walk, &r->manifest->text);
    r->index = 0;
    while (next_missing(r, &entry)) {
        if (rootfs_stat(&r->stage.files, r->path, &st) != 0 ||
            !S_ISREG(st.st_mode) || (uint64_t)st.st_size != entry.size) {
            return failed(error, r->path, "it was not downloaded");
        }
    }
    return BELAY_DONE;
}

static enum belay_reason not_durable(struct belay_error *error)
{
    return report(error, BELAY_NOT_DURABLE, "in place, but the directory "
                  "cannot be synced: %s", strerror(errno));
}

/* A run that was killed may have moved files without a sync. */
static enum belay_reason sync_all(const struct belay_release *r,
                                  struct belay_error *error)
{
    enum belay_reason reason = BELAY_DONE;
    int fd;

    if (rootfs_open_dir(&r->root, "", &fd) != 0) {
        return not_durable(error);
    }
    if (syncfs(fd) != 0) {
        reason = not_durable(error);
    }
    close(fd);
    return reason;
}

static enum belay_reason move_all(struct belay_release *r,
                                  struct belay_error *error)
{
    char previous[LIMIT_PATH + 1] = "";
    struct place place = {.open = false};
    struct manifest_entry entry;
    bool good = true;

    manifest_walk_init(&r->walk, &r->manifest->text);
    r->index = 0;
    while (good && next_missing(r, &entry)) {
        size_t base;

        good = enter(r, &place, previous);
        base = place.len > 0 ? place.len + 1 : 0;
        good = good && renameat(place.from, r->path + base, place.to,
                                r->path + base) == 0;
        memcpy(previous, r->path, entry.path_len + 1);
    }
    if (!good) {
        enum belay_reason reason = failed(error, r->path, strerror(errno));

        (void)leave(&place);
        return reason;
    }
    return leave(&place) ? BELAY_DONE : not_durable(error);
}

enum belay_reason belay_release_commit(struct belay_release *release,
                                       struct belay_error *error)
{
    struct belay_release *r = release;
    enum belay_reason reason = BELAY_DONE;

    if (r->missing_count > 0) {
        reason = check_stage(r, error);
        if (reason == BELAY_DONE) {
            reason = move_all(r, error);
        }
    }
    if (reason == BELAY_DONE && r->stage.found) {
        reason = sync_all(r, error);
    }
    if (reason == BELAY_DONE) {
        stage_sweep(&r->stage, &r->root);
    }
    return reason;
}

void belay_release_close(struct belay_release *release)
{
    struct belay_release *r = release;

    if (r == NULL) {
        return;
    }
    stage_close(&r->stage);
    if (r->has_root) {
        rootfs_clear(&r->root);
    }
    newdirs_settle(&r->made);
    free(r->output);
    free(r->missing);
    free(r);
}
