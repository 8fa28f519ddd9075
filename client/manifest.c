#include "client/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/keyfile.h"
#include "client/report.h"
#include "client/serials.h"
#include "proto/base/limits.h"
#include "proto/data/cid.h"
#include "proto/data/text.h"
#include "proto/io/clock.h"

#define SECOND_NS INT64_C(1000000000)

/* ---- snapshots. */

/* A file without a name: in the directory for temporary files, or else in
 * memory. */
static int open_nameless(void)
{
    const char *dir = getenv("TMPDIR");
    int fd = open(dir != NULL && dir[0] == '/' ? dir : "/tmp",
                  O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    return fd >= 0 ? fd : memfd_create("belay-manifest", MFD_CLOEXEC);
}

/* Returns 0 or an errno. */
static int copy_all(int from, int to, size_t *len)
{
    char buffer[65536];

    *len = 0;
    for (;;) {
        ssize_t n = read(from, buffer, sizeof buffer);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n == 0 ? 0 : errno;
        }
        if (*len + (size_t)n > MAX_MANIFEST_BYTES) {
            return EFBIG;
        }
        for (ssize_t at = 0; at < n;) {
            ssize_t m = write(to, buffer + at, (size_t)(n - at));

            if (m < 0 && errno != EINTR) {
                return errno;
            }
            at += m > 0 ? m : 0;
        }
        *len += (size_t)n;
    }
}

enum belay_reason snapshot_take(int fd, const char *shown,
                                struct snapshot *out,
                                struct belay_error *error)
{
    enum belay_reason reason = BELAY_DONE;
    struct stat st;
    int copy;
    int failure;

    memset(out, 0, sizeof *out);
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode)) {
        return report(error, BELAY_USAGE, "%s: not a regular file", shown);
    }
    copy = open_nameless();
    failure = copy < 0 ? errno : copy_all(fd, copy, &out->len);
    if (failure == 0 && out->len > 0) {
        void *data = mmap(NULL, out->len, PROT_READ, MAP_PRIVATE, copy, 0);

        failure = data == MAP_FAILED ? errno : 0;
        out->data = data == MAP_FAILED ? NULL : data;
    }
    if (failure == EFBIG) {
        reason = report(error, BELAY_USAGE, "%s: too large for a manifest",
                        shown);
    } else if (failure != 0) {
        reason = report(error, BELAY_DISK, "%s: %s", shown,
                        strerror(failure));
    }
    if (copy >= 0) {
        close(copy);
    }
    return reason;
}

void snapshot_clear(struct snapshot *snapshot)
{
    if (snapshot->data != NULL) {
        (void)munmap(snapshot->data, snapshot->len);
        snapshot->data = NULL;
    }
}

/* ---- opening. */

static enum belay_reason explain(int err, const struct note_fault *fault,
                                 const char *shown, const struct note_key *keys,
                                 size_t count, struct belay_error *error)
{
    char name[TEXT_ESCAPE_SIZE(LIMIT_COMPONENT)] = "";

    if (count > 0) {
        (void)text_escape(name, sizeof name, keys[0].name, keys[0].name_len);
    }
    switch (err) {
    case ERR_SIGNATURE:
        return report(error, BELAY_UNTRUSTED, "%s: wrong signature in line "
                      "%llu: the manifest was altered, or another key of the "
                      "same name signed it", shown,
                      (unsigned long long)fault->line);
    case ERR_NO_KEY:
        return report(error, BELAY_UNTRUSTED, "%s: not signed by the key "
                      "given (%s%s)", shown, name,
                      count > 1 ? ", ..." : "");
    case ERR_MANIFEST:
    case ERR_LIMIT:
        if (fault->line > 0) {
            return report(error, BELAY_UNTRUSTED, "%s:%llu: not a valid "
                          "manifest: %s", shown,
                          (unsigned long long)fault->line, fault->reason);
        }
        return report(error, BELAY_UNTRUSTED, "%s: not a valid manifest: %s",
                      shown, fault->reason);
    default:
        return report(error, BELAY_INTERNAL, "%s: %s", shown,
                      err_sentence(err));
    }
}

static enum belay_reason read_keys(struct hasher *hasher,
                                   const struct belay_trust *trust,
                                   struct note_key keys[MAX_NOTE_KEYS],
                                   size_t *count, struct belay_error *error)
{
    enum belay_reason reason = BELAY_DONE;

    *count = 0;
    if (trust->key_count == 0) {
        return report(error, BELAY_USAGE, "a manifest proves nothing without "
                                          "a key to trust; use --key");
    }
    for (size_t k = 0; reason == BELAY_DONE && k < trust->key_count; k++) {
        reason = keyfile_load_public(hasher, trust->keys[k], keys, count,
                                     error);
    }
    return reason;
}

static void list_signers(struct belay_manifest *m,
                         const struct note_key *keys, size_t count,
                         const bool *verified)
{
    size_t at = 0;

    for (size_t k = 0; k < count; k++) {
        char name[TEXT_ESCAPE_SIZE(LIMIT_COMPONENT)];

        if (!verified[k]) {
            continue;
        }
        (void)text_escape(name, sizeof name, keys[k].name, keys[k].name_len);
        if (at + strlen(name) + 3 > sizeof m->signers) {
            break;
        }
        at += (size_t)snprintf(m->signers + at, sizeof m->signers - at,
                               "%s%s", at > 0 ? ", " : "", name);
    }
}

static enum belay_reason check_origin(const struct manifest *manifest,
                                      const char *wanted, const char *shown,
                                      struct belay_error *error)
{
    char origin[TEXT_ESCAPE_SIZE(LIMIT_COMPONENT)];
    char want[400];

    if (wanted == NULL || (strlen(wanted) == manifest->origin_len &&
                           memcmp(wanted, manifest->origin,
                                  manifest->origin_len) == 0)) {
        return BELAY_DONE;
    }
    (void)text_escape(origin, sizeof origin, manifest->origin,
                      manifest->origin_len);
    (void)text_escape(want, sizeof want, wanted, strlen(wanted));
    return report(error, BELAY_UNTRUSTED, "%s: it is of origin %s, not of %s",
                  shown, origin, want);
}

static enum belay_reason accept(struct hasher *hasher,
                                const struct belay_trust *trust,
                                const struct manifest *manifest,
                                const char *shown, struct belay_error *error)
{
    int64_t now = clock_wall_ns() / SECOND_NS;
    enum belay_reason reason = check_origin(manifest, trust->origin, shown,
                                            error);

    if (reason != BELAY_DONE) {
        return reason;
    }
    if (!trust->no_state) {
        return serials_accept(hasher, trust->state_directory, manifest, now,
                              error);
    }
    int err = manifest_accept(manifest, NULL, now);

    return err == 0 ? BELAY_DONE : serials_refuse(err, manifest, NULL, error);
}

static enum belay_reason open_in(struct hasher *hasher, int fd,
                                 const char *shown,
                                 const struct belay_trust *trust,
                                 struct belay_manifest *m,
                                 struct belay_error *error)
{
    struct note_key keys[MAX_NOTE_KEYS];
    bool verified[MAX_NOTE_KEYS] = {false};
    struct note_fault fault;
    size_t count;
    enum belay_reason reason = read_keys(hasher, trust, keys, &count, error);

    if (reason == BELAY_DONE) {
        reason = snapshot_take(fd, shown, &m->snapshot, error);
    }
    if (reason != BELAY_DONE) {
        return reason;
    }
    struct bytes_view data = {m->snapshot.data, m->snapshot.len};
    int err = manifest_open(hasher, data, keys, count, verified, &m->text,
                            &fault);

    if (err != 0) {
        return explain(err, &fault, shown, keys, count, error);
    }
    list_signers(m, keys, count, verified);
    manifest_walk_init(&m->walk, &m->text);
    return accept(hasher, trust, &m->text, shown, error);
}

enum belay_reason belay_manifest_open(const char *path,
                                      const struct belay_trust *trust,
                                      struct belay_manifest **out,
                                      struct belay_error *error)
{
    struct belay_trust rules;
    enum belay_reason reason;
    char shown[400];
    struct hasher *hasher = hasher_new();
    struct belay_manifest *m = calloc(1, sizeof *m);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    report_take(&rules, sizeof rules, trust);
    (void)text_escape(shown, sizeof shown, path, strlen(path));
    if (fd < 0) {
        reason = report(error, belay_reason_of_file(errno), "%s: %s", shown,
                        strerror(errno));
    } else if (hasher == NULL || m == NULL) {
        reason = report(error, BELAY_INTERNAL, "out of memory");
    } else {
        reason = open_in(hasher, fd, shown, &rules, m, error);
    }
    if (fd >= 0) {
        close(fd);
    }
    hasher_free(hasher);
    if (reason != BELAY_DONE) {
        belay_manifest_close(m);
        m = NULL;
    }
    *out = m;
    return reason;
}

/* ---- looking. */

void belay_manifest_info(const struct belay_manifest *manifest,
                         struct belay_manifest_info *info)
{
    const struct manifest *text = &manifest->text;
    struct belay_manifest_info mine = {.serial = text->serial,
                                       .expires = text->expires,
                                       .count = text->count};

    (void)text_escape(mine.origin, sizeof mine.origin, text->origin,
                      text->origin_len);
    if (manifest_time_encode(text->expires, mine.expires_text) != 0) {
        mine.expires_text[0] = '\0'; /* cannot be: it was read */
    }
    memcpy(mine.signers, manifest->signers, sizeof mine.signers);
    report_give(info, &mine, sizeof mine);
}

bool belay_manifest_next(struct belay_manifest *manifest,
                         struct belay_manifest_file *file)
{
    struct belay_manifest_file mine = {.path = manifest->path};
    struct manifest_entry entry;

    if (manifest_walk_next(&manifest->walk, &entry) != 0) {
        return false;
    }
    memcpy(manifest->path, entry.path, entry.path_len);
    manifest->path[entry.path_len] = '\0';
    mine.size = entry.size;
    cid_encode(entry.chunk_log2, entry.cid, mine.cid);
    report_give(file, &mine, sizeof mine);
    return true;
}

void belay_manifest_rewind(struct belay_manifest *manifest)
{
    manifest_walk_init(&manifest->walk, &manifest->text);
}

void belay_manifest_close(struct belay_manifest *manifest)
{
    if (manifest != NULL) {
        snapshot_clear(&manifest->snapshot);
        free(manifest);
    }
}
