#include "client/serials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/filewrite.h"
#include "client/report.h"
#include "proto/data/cid.h"
#include "proto/data/text.h"

#define FIRST_LINE "belay-serial/1\n"
#define FILE_MAX 1024u
#define NAME_LEN ((size_t)2 * HASH_LEN)

enum belay_reason serials_refuse(int err, const struct manifest *manifest,
                                 const struct manifest_memory *memory,
                                 struct belay_error *error)
{
    char origin[TEXT_ESCAPE_SIZE(LIMIT_COMPONENT)];
    char time[MANIFEST_TIME_LEN + 1] = "";
    unsigned long long serial = manifest->serial;

    (void)text_escape(origin, sizeof origin, manifest->origin,
                      manifest->origin_len);
    if (err == ERR_EXPIRED &&
        manifest_time_encode(manifest->expires, time) == 0) {
        return report(error, BELAY_UNTRUSTED, "the manifest of %s expired at "
                      "%s; get a newer one (if it is new, look at your "
                      "clock)", origin, time);
    }
    if (memory->serial == serial) {
        return report(error, BELAY_UNTRUSTED, "rollback: the manifest of %s "
                      "has serial %llu like one that was accepted before, "
                      "but says something else", origin, serial);
    }
    return report(error, BELAY_UNTRUSTED, "rollback: the manifest of %s has "
                  "serial %llu, older than %llu, which was accepted before",
                  origin, serial, (unsigned long long)memory->serial);
}

/* ---- the directory. */

char *serials_path(const char *directory)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    int len = -1;

    if (directory != NULL) {
        len = asprintf(&path, "%s/manifests", directory);
    } else if (state != NULL && state[0] == '/') {
        len = asprintf(&path, "%s/belay/manifests", state);
    } else if (home != NULL && home[0] == '/') {
        len = asprintf(&path, "%s/.local/state/belay/manifests", home);
    }
    return len >= 0 ? path : NULL;
}

/* ---- one file. */

static size_t encode(const struct manifest *manifest, char text[FILE_MAX])
{
    char digest[NAME_LEN + 1];

    cid_hex_encode(manifest->digest, HASH_LEN, digest);
    return (size_t)snprintf(text, FILE_MAX,
                            FIRST_LINE "origin %.*s\nserial %llu\nsha256 %s\n",
                            (int)manifest->origin_len, manifest->origin,
                            (unsigned long long)manifest->serial, digest);
}

/* Exactly what encode() writes for this origin. */
static bool decode(const char *text, const struct manifest *manifest,
                   struct manifest_memory *out)
{
    struct manifest back = *manifest;
    char again[FILE_MAX];
    const char *serial = strstr(text, "\nserial ");
    const char *digest = strstr(text, "\nsha256 ");

    if (serial == NULL || digest == NULL ||
        strlen(digest) != 8 + NAME_LEN + 1 ||
        cid_hex_decode(digest + 8, HASH_LEN, out->digest) != 0) {
        return false;
    }
    out->serial = strtoull(serial + 8, NULL, 10);
    back.serial = out->serial;
    memcpy(back.digest, out->digest, HASH_LEN);
    (void)encode(&back, again);
    return strcmp(again, text) == 0;
}

/* 1: read; 0: there is none; -1: with errno, EBADMSG for a spoiled one. */
static int load(int dir, const char *name, const struct manifest *manifest,
                struct manifest_memory *out)
{
    char text[FILE_MAX] = "";
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n;

    if (fd < 0) {
        return errno == ENOENT ? 0 : -1;
    }
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 0) {
        return -1;
    }
    if (!decode(text, manifest, out)) {
        errno = EBADMSG;
        return -1;
    }
    return 1;
}

static int save(int dir, const char *name, const struct manifest *manifest)
{
    char temporary[NAME_LEN + 8];
    char text[FILE_MAX];
    size_t len = encode(manifest, text);
    int result = -1;
    int fd;

    (void)snprintf(temporary, sizeof temporary, "%s.new", name);
    fd = openat(dir, temporary,
                O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -1;
    }
    if (filewrite_all(fd, text, len) && fsync(fd) == 0 &&
        renameat(dir, temporary, dir, name) == 0 && fsync(dir) == 0) {
        result = 0;
    }
    close(fd);
    return result;
}

static enum belay_reason accept_in(int dir, const char *name,
                                   const char *shown,
                                   const struct manifest *manifest,
                                   int64_t now, struct belay_error *error)
{
    struct manifest_memory memory = {0};
    int known = load(dir, name, manifest, &memory);

    if (known < 0) {
        return report(error, BELAY_DISK, "%s/%s: the memory of the last "
                      "serial cannot be used: %s", shown, name,
                      errno == EBADMSG ? "it is spoiled" : strerror(errno));
    }
    int err = manifest_accept(manifest, known > 0 ? &memory : NULL, now);

    if (err != 0) {
        return serials_refuse(err, manifest, &memory, error);
    }
    /* One that is known may be from a process that was killed before it could
     * sync the name. */
    if (known > 0 && memory.serial == manifest->serial
            ? fsync(dir) != 0
            : save(dir, name, manifest) != 0) {
        return report(error, BELAY_DISK, "%s: the serial of the manifest "
                      "cannot be stored: %s (--no-state goes without)", shown,
                      strerror(errno));
    }
    return BELAY_DONE;
}

enum belay_reason serials_accept(struct hasher *hasher, const char *directory,
                                 const struct manifest *manifest, int64_t now,
                                 struct belay_error *error)
{
    enum belay_reason reason;
    uint8_t digest[HASH_LEN];
    char name[NAME_LEN + 1];
    char shown[400];
    char *path = serials_path(directory);
    int dir = -1;

    if (path == NULL) {
        return report(error, BELAY_DISK, "neither XDG_STATE_HOME nor HOME says "
                      "where the serial of the manifest can be stored "
                      "(--no-state goes without)");
    }
    (void)text_escape(shown, sizeof shown, path, strlen(path));
    if (hash_sha256(hasher, manifest->origin, manifest->origin_len,
                    digest) != 0) {
        reason = report(error, BELAY_INTERNAL, "libcrypto failed");
        goto out_free;
    }
    cid_hex_encode(digest, HASH_LEN, name);
    if (filewrite_make_path(path, 0700)) {
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (dir < 0 || flock(dir, LOCK_EX) != 0) {
        reason = report(error, BELAY_DISK, "%s: the serial of the manifest "
                        "cannot be stored: %s (--no-state goes without)",
                        shown, strerror(errno));
        goto out_free;
    }
    reason = accept_in(dir, name, shown, manifest, now, error);

out_free:
    if (dir >= 0) {
        close(dir);
    }
    free(path);
    return reason;
}
