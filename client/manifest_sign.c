/* Signing a manifest in place. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/filewrite.h"
#include "client/keyfile.h"
#include "client/manifest.h"
#include "client/report.h"
#include "proto/data/text.h"

/* A manifest on its way to be signed. */
struct signing {
    const char *path;
    char shown[400];
    struct snapshot snapshot;
    struct manifest text;
    bool has_signatures;
    mode_t mode;
};

static enum belay_reason invalid(const struct signing *s, int err,
                                 const struct note_fault *fault,
                                 struct belay_error *error)
{
    if (err != ERR_MANIFEST && err != ERR_LIMIT) {
        return report(error, BELAY_INTERNAL, "%s: %s", s->shown,
                      err_sentence(err));
    }
    return report(error, BELAY_USAGE, "%s:%llu: not a valid manifest: %s",
                  s->shown, (unsigned long long)fault->line, fault->reason);
}

/* Is it sound, and not signed by this key yet? */
static enum belay_reason check(struct hasher *hasher, struct signing *s,
                               const struct note_key *key,
                               struct belay_error *error)
{
    struct bytes_view data = {s->snapshot.data, s->snapshot.len};
    struct bytes_view text, lines;
    struct note_fault fault;
    bool verified;
    int err;

    s->has_signatures = note_split(data, &text, &lines, &fault) == 0;
    if (!s->has_signatures) {
        err = manifest_open_text(hasher, data, &s->text, &fault);
        return err == 0 ? BELAY_DONE : invalid(s, err, &fault, error);
    }
    err = manifest_open(hasher, data, key, 1, &verified, &s->text, &fault);
    if (err == 0) {
        return report(error, BELAY_UP_TO_DATE, "%s: this key signed it "
                                               "already", s->shown);
    }
    if (err == ERR_SIGNATURE) {
        return report(error, BELAY_USAGE, "%s: this key signed another text "
                      "before; make the manifest anew", s->shown);
    }
    if (err == ERR_NO_KEY) {
        err = manifest_open(hasher, data, NULL, 0, NULL, &s->text, &fault);
    }
    return err == 0 ? BELAY_DONE : invalid(s, err, &fault, error);
}

/* Writes the signed manifest beside the file and gives it its name. */
static enum belay_reason replace(const struct signing *s, const char *line,
                                 struct belay_error *error)
{
    enum belay_reason reason = BELAY_DONE;
    char *temporary;
    int fd = -1;

    if (asprintf(&temporary, "%s.XXXXXX", s->path) < 0) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0 || fchmod(fd, s->mode & 0777) != 0 ||
        !filewrite_all(fd, s->text.text.ptr, s->text.text.len) ||
        !filewrite_all(fd, "\n", 1) ||
        !filewrite_all(fd, s->text.lines.ptr, s->text.lines.len) ||
        !filewrite_all(fd, line, strlen(line)) || fsync(fd) != 0 ||
        rename(temporary, s->path) != 0 || !filewrite_sync_name(s->path)) {
        reason = report(error, BELAY_DISK, "%s: cannot write it: %s",
                        s->shown, strerror(errno));
        if (fd >= 0) {
            (void)unlink(temporary);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    free(temporary);
    return reason;
}

static enum belay_reason sign_with(struct hasher *hasher, struct signing *s,
                                   const struct keyfile *pair,
                                   struct belay_error *error)
{
    uint8_t signature[SIGN_LEN];
    char line[NOTE_LINE_MAX];
    enum belay_reason reason = check(hasher, s, &pair->key, error);

    if (reason == BELAY_UP_TO_DATE) {
        /* By a process, perhaps, that was killed before its name was synced. */
        return filewrite_sync_name(s->path)
                   ? BELAY_DONE
                   : report(error, BELAY_DISK, "%s: cannot sync its "
                            "directory: %s", s->shown, strerror(errno));
    }
    if (reason != BELAY_DONE) {
        return reason;
    }
    if (sign_make(pair->seed, s->text.text.ptr, s->text.text.len,
                  signature) != 0) {
        return report(error, BELAY_INTERNAL, "libcrypto failed");
    }
    note_line_encode(&pair->key, signature, line);
    return replace(s, line, error);
}

static enum belay_reason load(struct signing *s, struct belay_error *error)
{
    enum belay_reason reason;
    struct stat st;
    int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0 || fstat(fd, &st) != 0) {
        reason = report(error, belay_reason_of_file(errno), "%s: %s",
                        s->shown, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        reason = report(error, BELAY_USAGE, "%s: not a regular file",
                        s->shown);
    } else {
        s->mode = st.st_mode;
        reason = snapshot_take(fd, s->shown, &s->snapshot, error);
    }
    if (fd >= 0) {
        close(fd);
    }
    return reason;
}

enum belay_reason belay_manifest_sign(const char *path, const char *key_path,
                                      const char *key_name,
                                      struct belay_error *error)
{
    struct signing s = {.path = path};
    struct keyfile pair = {.key.name_len = 0};
    struct hasher *hasher = hasher_new();
    enum belay_reason reason;

    (void)text_escape(s.shown, sizeof s.shown, path, strlen(path));
    if (hasher == NULL) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    reason = keyfile_load(hasher, key_path, key_name, &pair, error);
    if (reason == BELAY_DONE) {
        reason = load(&s, error);
    }
    if (reason == BELAY_DONE) {
        reason = sign_with(hasher, &s, &pair, error);
    }
    sign_forget(&pair, sizeof pair);
    snapshot_clear(&s.snapshot);
    hasher_free(hasher);
    return reason;
}
