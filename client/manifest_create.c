/* Making manifests: finding the files, hashing them, writing the text. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/filecid.h"
#include "client/filewrite.h"
#include "client/manifest.h"
#include "client/parallel.h"
#include "client/report.h"
#include "client/stage.h"
#include "proto/base/limits.h"
#include "proto/data/cid.h"
#include "proto/data/relpath.h"
#include "proto/data/text.h"

struct item {
    char *path; /* relative to its root */
    unsigned root;
    int failure; /* errno; -1: it changed while it was read */
    uint64_t size;
    uint8_t chunk_log2;
    uint8_t cid[HASH_LEN];
};

struct names {
    char **list;
    size_t count;
    size_t cap;
};

struct maker {
    const struct belay_manifest_options *options;
    struct rootfs *roots;
    unsigned root_count;
    struct item *items;
    size_t count;
    size_t cap;
    struct names dirs; /* of the present root, still to be walked */
    const char *dir;   /* the one that is walked */
    int dir_fd;
    struct stat output[2]; /* the manifest: as it was, and as it is written */
    bool has_output[2];
    uint64_t skipped;
    atomic_size_t next;
    struct belay_error *error;
    enum belay_reason reason;
};

static int fail(struct maker *m, enum belay_reason reason, const char *path,
                const char *why)
{
    char shown[400];

    (void)text_escape(shown, sizeof shown, path, strlen(path));
    m->reason = report(m->error, reason, "%s: %s", shown, why);
    return ERR_INTERNAL;
}

static int out_of_memory(struct maker *m)
{
    m->reason = report(m->error, BELAY_INTERNAL, "out of memory");
    return ERR_NOMEM;
}

/* ---- finding. */

/* Takes `path`. */
static int add_dir(struct maker *m, char *path)
{
    if (m->dirs.count == m->dirs.cap) {
        size_t cap = m->dirs.cap * 2 + 16;
        char **list = realloc(m->dirs.list, cap * sizeof *list);

        if (list == NULL) {
            free(path);
            return out_of_memory(m);
        }
        m->dirs.list = list;
        m->dirs.cap = cap;
    }
    m->dirs.list[m->dirs.count++] = path;
    return 0;
}

/* Takes `path`. */
static int add_file(struct maker *m, char *path, uint64_t size)
{
    const char *why = NULL;

    if (relpath_check(path, strlen(path)) != 0 || *path == '\0') {
        why = "a manifest cannot hold this path";
    } else if (!text_is_utf8(path, strlen(path))) {
        why = "a manifest holds UTF-8 names only";
    } else if (m->count == MAX_MANIFEST_FILES) {
        why = "too many files for one manifest";
    }
    if (why != NULL) {
        int err = fail(m, BELAY_USAGE, path, why);

        free(path);
        return err;
    }
    if (m->count == m->cap) {
        size_t cap = m->cap * 2 + 64;
        struct item *items = realloc(m->items, cap * sizeof *items);

        if (items == NULL) {
            free(path);
            return out_of_memory(m);
        }
        m->items = items;
        m->cap = cap;
    }
    struct item *item = &m->items[m->count++];

    memset(item, 0, sizeof *item);
    item->path = path;
    item->root = m->root_count - 1;
    item->size = size;
    return 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);

    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

static bool is_output(const struct maker *m, const struct stat *st)
{
    for (unsigned k = 0; k < 2; k++) {
        if (m->has_output[k] && st->st_dev == m->output[k].st_dev &&
            st->st_ino == m->output[k].st_ino) {
            return true;
        }
    }
    return false;
}

/* Does it belong to a download that is not complete? */
static bool is_partial(struct maker *m, const char *name,
                       const struct stat *st)
{
    char journal[300];
    struct stat other;

    if (ends_with(name, ".part.belay") ||
        (S_ISDIR(st->st_mode) &&
         strncmp(name, STAGE_PREFIX, sizeof STAGE_PREFIX - 1) == 0)) {
        return true;
    }
    (void)snprintf(journal, sizeof journal, "%s.belay", name);
    return ends_with(name, ".part") &&
           rootfs_stat_at(m->dir_fd, journal, &other) == 0;
}

static int on_name(void *arg, const char *name)
{
    struct maker *m = arg;
    struct stat st;
    char *path;

    if (rootfs_stat_at(m->dir_fd, name, &st) != 0) {
        return 0; /* gone meanwhile */
    }
    if (is_output(m, &st)) {
        return 0;
    }
    if ((!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) ||
        is_partial(m, name, &st)) {
        m->skipped++;
        return 0;
    }
    if (asprintf(&path, "%s%s%s", m->dir, *m->dir != '\0' ? "/" : "",
                 name) < 0) {
        return out_of_memory(m);
    }
    return S_ISDIR(st.st_mode) ? add_dir(m, path)
                               : add_file(m, path, (uint64_t)st.st_size);
}

static int walk_one(struct maker *m, const struct rootfs *root, char *dir)
{
    int err = rootfs_open_dir(root, dir, &m->dir_fd);

    if (err != 0) {
        return fail(m, BELAY_DISK, *dir != '\0' ? dir : ".",
                    strerror(errno));
    }
    m->dir = dir;
    err = rootfs_each(root, m->dir_fd, on_name, m);
    if (err != 0 && m->reason == BELAY_DONE) {
        err = fail(m, BELAY_DISK, dir, strerror(errno));
    }
    close(m->dir_fd);
    return err;
}

static int walk_root(struct maker *m, const struct rootfs *root)
{
    char *top = strdup("");
    int err = top != NULL ? add_dir(m, top) : out_of_memory(m);

    while (err == 0 && m->dirs.count > 0) {
        char *dir = m->dirs.list[--m->dirs.count];

        err = walk_one(m, root, dir);
        free(dir);
    }
    return err;
}

static int find_one(struct maker *m, const char *path)
{
    struct rootfs *root = &m->roots[m->root_count];
    struct stat st;
    char *copy;

    if (stat(path, &st) != 0) {
        return fail(m, belay_reason_of_file(errno), path, strerror(errno));
    }
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
        return fail(m, BELAY_USAGE, path, "neither a file nor a directory");
    }
    if (rootfs_init(root, S_ISDIR(st.st_mode) ? path : ".") != 0) {
        return fail(m, BELAY_DISK, path, strerror(errno));
    }
    m->root_count++;
    if (S_ISDIR(st.st_mode)) {
        return walk_root(m, root);
    }
    while (strncmp(path, "./", 2) == 0) {
        path += 2 + strspn(path + 2, "/");
    }
    if (path[0] == '/') {
        return fail(m, BELAY_USAGE, path, "a file must be named relative to "
                                          "here; or name its directory");
    }
    copy = strdup(path);
    return copy != NULL ? add_file(m, copy, (uint64_t)st.st_size)
                        : out_of_memory(m);
}

/* ---- hashing. */

static void hash_one(struct maker *m, struct item *item)
{
    struct stat st;
    int fd;

    if (rootfs_open(&m->roots[item->root], item->path, false, &st,
                    &fd) != 0) {
        item->failure = errno != 0 ? errno : EIO;
        return;
    }
    item->size = (uint64_t)st.st_size;
    item->chunk_log2 = cid_recommended_chunk_log2(item->size);
    if (m->options->chunk_size != 0) {
        item->chunk_log2 = (uint8_t)__builtin_ctz(m->options->chunk_size);
    }
    errno = 0;
    if (!cid_geometry_ok(item->size, item->chunk_log2)) {
        item->failure = EFBIG;
    } else if (file_cid(fd, item->size, item->chunk_log2, item->cid) != 0) {
        item->failure = errno != 0 ? errno : -1;
    }
    close(fd);
}

static void hash_some(void *arg)
{
    struct maker *m = arg;
    size_t k;

    while ((k = atomic_fetch_add(&m->next, 1)) < m->count) {
        hash_one(m, &m->items[k]);
    }
}

static int hash_all(struct maker *m)
{
    parallel_run(m->options->threads, hash_some, m);
    for (size_t k = 0; k < m->count; k++) {
        int failure = m->items[k].failure;

        if (failure != 0) {
            return fail(m, BELAY_DISK, m->items[k].path,
                        failure > 0 ? strerror(failure)
                                    : "it became shorter");
        }
    }
    return 0;
}

/* ---- writing. */

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->path,
                  ((const struct item *)b)->path);
}

static int check_order(struct maker *m)
{
    struct manifest_order *order = malloc(sizeof *order);
    int err = 0;

    if (order == NULL) {
        return out_of_memory(m);
    }
    manifest_order_init(order);
    for (size_t k = 0; err == 0 && k < m->count; k++) {
        const char *path = m->items[k].path;

        err = manifest_order_add(order, path, strlen(path));
        if (err == ERR_EXISTS) {
            (void)fail(m, BELAY_USAGE, path, "two files of this name");
        } else if (err != 0) {
            (void)fail(m, BELAY_USAGE, path, "another file has the name of "
                                             "its directory");
        }
    }
    free(order);
    return err;
}

static int flush(struct maker *m, int fd, struct writer *w)
{
    if (!filewrite_all(fd, writer_data(w), writer_len(w))) {
        return fail(m, BELAY_DISK, "the manifest", strerror(errno));
    }
    writer_rewind(w, 0);
    return 0;
}

static int write_all(struct maker *m, int fd)
{
    const struct belay_manifest_options *o = m->options;
    size_t cap = (size_t)16 * MANIFEST_LINE_MAX;
    uint8_t *buffer = malloc(cap);
    struct writer w;
    int err = 0;

    if (buffer == NULL) {
        return out_of_memory(m);
    }
    writer_init(&w, buffer, cap);
    manifest_write_head(&w, o->origin, strlen(o->origin), o->serial,
                        o->expires);
    for (size_t k = 0; err == 0 && k < m->count; k++) {
        const struct item *item = &m->items[k];
        struct manifest_entry entry = {.path = item->path,
                                       .path_len = strlen(item->path),
                                       .size = item->size,
                                       .chunk_log2 = item->chunk_log2};

        memcpy(entry.cid, item->cid, HASH_LEN);
        if (writer_left(&w) < MANIFEST_LINE_MAX) {
            err = flush(m, fd, &w);
        }
        manifest_write_file(&w, &entry);
    }
    err = err != 0 ? err : flush(m, fd, &w);
    free(buffer);
    return err;
}

/* ---- the whole. */

static int check_options(struct maker *m)
{
    const struct belay_manifest_options *o = m->options;
    uint32_t chunk = o->chunk_size;
    char time[MANIFEST_TIME_LEN + 1];

    if (o->origin == NULL || !note_name_ok(o->origin, strlen(o->origin))) {
        return fail(m, BELAY_USAGE, o->origin != NULL ? o->origin : "(none)",
                    "an origin is one word without +");
    }
    if (manifest_time_encode(o->expires, time) != 0) {
        return fail(m, BELAY_USAGE, "the time of expiry",
                    "it lies beyond the year 9999");
    }
    if (chunk != 0 && (chunk < BELAY_CHUNK_SIZE_MIN ||
                       chunk > BELAY_CHUNK_SIZE_MAX ||
                       (chunk & (chunk - 1)) != 0)) {
        return fail(m, BELAY_USAGE, "chunk size",
                    "a power of two from 4 KiB to 4 MiB");
    }
    return 0;
}

static int make(struct maker *m, int fd)
{
    int err = check_options(m);

    m->has_output[0] = m->options->output != NULL &&
                       stat(m->options->output, &m->output[0]) == 0;
    m->has_output[1] = fstat(fd, &m->output[1]) == 0;
    for (size_t k = 0; err == 0 && k < m->options->path_count; k++) {
        err = find_one(m, m->options->paths[k]);
    }
    if (err == 0 && m->count > 0) {
        qsort(m->items, m->count, sizeof m->items[0], by_path);
    }
    err = err != 0 ? err : check_order(m);
    err = err != 0 ? err : hash_all(m);
    return err != 0 ? err : write_all(m, fd);
}

enum belay_reason belay_manifest_create(
    const struct belay_manifest_options *options, int fd,
    struct belay_error *error)
{
    struct belay_manifest_options o;
    struct maker m = {.options = &o, .error = error, .reason = BELAY_DONE};

    report_take(&o, sizeof o, options);
    m.roots = calloc(o.path_count + 1, sizeof m.roots[0]);
    if (m.roots == NULL) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    if (make(&m, fd) == 0) {
        if (o.count != NULL) {
            *o.count = m.count;
        }
        if (o.skipped != NULL) {
            *o.skipped = m.skipped;
        }
    }
    for (size_t k = 0; k < m.count; k++) {
        free(m.items[k].path);
    }
    while (m.dirs.count > 0) {
        free(m.dirs.list[--m.dirs.count]);
    }
    free(m.dirs.list);
    free(m.items);
    for (unsigned k = 0; k < m.root_count; k++) {
        rootfs_clear(&m.roots[k]);
    }
    free(m.roots);
    return m.reason;
}
