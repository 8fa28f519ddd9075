#include "client/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/filewrite.h"
#include "client/report.h"
#include "proto/base/limits.h"
#include "proto/data/text.h"
#include "proto/io/rand.h"

#define NAME_FIELD "Belay-Key-Name: "
/* A key file is a few hundred bytes; a file of many public keys is not much
 * more. */
#define FILE_MAX 65536u

static void show(const char *text, char shown[400])
{
    (void)text_escape(shown, 400, text, strlen(text));
}

static enum belay_reason failed(struct belay_error *error, const char *path)
{
    char shown[400];
    int sys_errno = errno;

    show(path, shown);
    return report(error, BELAY_DISK, "%s: %s", shown, strerror(sys_errno));
}

static enum belay_reason unreadable(struct belay_error *error,
                                    const char *path)
{
    char shown[400];
    int sys_errno = errno;

    show(path, shown);
    return report(error, belay_reason_of_file(sys_errno), "%s: %s", shown,
                  strerror(sys_errno));
}

/* ---- making. */

static enum belay_reason write_new(const char *path, mode_t mode,
                                   const char *text,
                                   struct belay_error *error)
{
    enum belay_reason reason = BELAY_DONE;
    char shown[400];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                  mode);

    if (fd < 0 && errno == EEXIST) {
        show(path, shown);
        return report(error, BELAY_EXISTS, "%s: it exists; a key is never "
                                           "overwritten", shown);
    }
    if (fd < 0) {
        return failed(error, path);
    }
    if (!filewrite_all(fd, text, strlen(text)) || fsync(fd) != 0 ||
        !filewrite_sync_name(path)) {
        reason = failed(error, path);
        (void)unlink(path);
    }
    close(fd);
    return reason;
}

static enum belay_reason write_pair(const char *path, const char *private_text,
                                    const char *public_text,
                                    struct belay_error *error)
{
    enum belay_reason reason;
    char *public_path;

    if (asprintf(&public_path, "%s.pub", path) < 0) {
        return report(error, BELAY_INTERNAL, "out of memory");
    }
    reason = write_new(path, 0600, private_text, error);
    if (reason == BELAY_DONE) {
        reason = write_new(public_path, 0644, public_text, error);
        if (reason != BELAY_DONE) {
            (void)unlink(path); /* half a pair is of no use */
        }
    }
    free(public_path);
    return reason;
}

enum belay_reason belay_key_new(const char *path, const char *name,
                                struct belay_error *error)
{
    struct hasher *hasher = hasher_new();
    struct keyfile pair;
    uint8_t public_key[SIGN_PUBLIC_LEN];
    char pem[SIGN_PEM_MAX];
    char text[NOTE_KEY_MAX + 1];
    char private_text[SIGN_PEM_MAX + LIMIT_COMPONENT + 32];
    enum belay_reason reason;

    if (!note_name_ok(name, strlen(name))) {
        reason = report(error, BELAY_USAGE, "the name of a key is one word "
                                            "without +");
        goto out_free;
    }
    rand_bytes(pair.seed, sizeof pair.seed);
    if (hasher == NULL || sign_public(pair.seed, public_key) != 0 ||
        note_key_init(hasher, name, strlen(name), public_key,
                      &pair.key) != 0 ||
        sign_pem_encode(pair.seed, pem) != 0) {
        reason = report(error, BELAY_INTERNAL, "libcrypto cannot make a key");
        goto out_forget;
    }
    note_key_encode(&pair.key, text);
    text[strlen(text) + 1] = '\0';
    text[strlen(text)] = '\n';
    (void)snprintf(private_text, sizeof private_text, NAME_FIELD "%s\n%s",
                   name, pem);
    reason = write_pair(path, private_text, text, error);
    sign_forget(private_text, sizeof private_text);

out_forget:
    sign_forget(&pair, sizeof pair);
    sign_forget(pem, sizeof pem);
out_free:
    hasher_free(hasher);
    return reason;
}

/* ---- reading. */

/* The whole file with a NUL behind it; to be freed.  NULL with errno: of a
 * file that is longer than any of keys, too, as half of it is no answer. */
static char *read_file(int fd, size_t *len)
{
    char *text = calloc(1, FILE_MAX + 1);

    *len = 0;
    while (text != NULL && *len < FILE_MAX) {
        ssize_t n = read(fd, text + *len, FILE_MAX - *len);

        if (n == 0) {
            break;
        }
        if (n < 0 && errno != EINTR) {
            free(text);
            return NULL;
        }
        *len += n > 0 ? (size_t)n : 0;
    }
    if (*len == FILE_MAX) {
        free(text);
        errno = EFBIG;
        return NULL;
    }
    return text;
}

/* What the file calls its key; "" when it does not. */
static void read_name(const char *text, char name[LIMIT_COMPONENT + 2])
{
    const char *at = strstr(text, NAME_FIELD);
    size_t len = 0;

    if (at != NULL && (at == text || at[-1] == '\n')) {
        at += strlen(NAME_FIELD);
        len = strcspn(at, "\r\n");
        len = len <= LIMIT_COMPONENT ? len : LIMIT_COMPONENT + 1;
        memcpy(name, at, len);
    }
    name[len] = '\0';
}

static enum belay_reason take_private(struct hasher *hasher, const char *text,
                                      size_t len, const char *name,
                                      struct keyfile *out,
                                      struct belay_error *error)
{
    char own[LIMIT_COMPONENT + 2];
    uint8_t public_key[SIGN_PUBLIC_LEN];
    int err = sign_pem_decode(text, len, out->seed);

    if (err == ERR_UNSUPPORTED) {
        return report(error, BELAY_USAGE, "it is not a key of Ed25519");
    }
    if (err == ERR_SYNTAX) {
        return report(error, BELAY_USAGE, "it holds no private key in PEM, or "
                                          "one with a password");
    }
    read_name(text, own);
    if (name == NULL && own[0] == '\0') {
        return report(error, BELAY_USAGE, "it does not tell the name of the "
                                          "key; use --key-name");
    }
    if (name != NULL && own[0] != '\0' && strcmp(name, own) != 0) {
        return report(error, BELAY_USAGE, "its key has another name");
    }
    name = name != NULL ? name : own;
    if (err == 0) {
        err = sign_public(out->seed, public_key);
    }
    if (err == 0) {
        err = note_key_init(hasher, name, strlen(name), public_key,
                            &out->key);
    }
    if (err == ERR_SYNTAX) {
        return report(error, BELAY_USAGE, "the name of its key is not one "
                                          "word without +");
    }
    return err == 0 ? BELAY_DONE
                    : report(error, BELAY_INTERNAL, "libcrypto failed");
}

enum belay_reason keyfile_load(struct hasher *hasher, const char *path,
                               const char *name, struct keyfile *out,
                               struct belay_error *error)
{
    enum belay_reason reason = BELAY_DONE;
    struct belay_error why;
    char shown[400];
    struct stat st;
    size_t len = 0;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    show(path, shown);
    if (fd < 0 || fstat(fd, &st) != 0) {
        reason = unreadable(error, path);
        goto out_close;
    }
    if ((st.st_mode & 077) != 0) {
        reason = report(error, BELAY_USAGE, "%s: others may read this private "
                        "key; 'chmod 600' it, and make a new one if others "
                        "had access", shown);
        goto out_close;
    }
    text = read_file(fd, &len);
    if (text == NULL) {
        reason = unreadable(error, path);
        goto out_close;
    }
    reason = take_private(hasher, text, len, name, out, &why);
    if (reason != BELAY_DONE) {
        reason = report(error, reason, "%s: %s", shown, why.text);
    }
    sign_forget(text, FILE_MAX);

out_close:
    free(text);
    if (fd >= 0) {
        close(fd);
    }
    return reason;
}

/* ---- public keys. */

static enum belay_reason add_lines(struct hasher *hasher, const char *text,
                                   const char *shown, struct note_key *keys,
                                   size_t *count, struct belay_error *error)
{
    size_t before = *count;
    unsigned line = 1;

    for (; *text != '\0'; line++) {
        size_t len = strcspn(text, "\n");

        if (len > 0 && text[0] != '#') {
            if (*count == MAX_NOTE_KEYS) {
                return report(error, BELAY_USAGE, "%s:%u: at most %u keys",
                              shown, line, MAX_NOTE_KEYS);
            }
            if (note_key_parse(hasher, text, len, &keys[*count]) != 0) {
                return report(error, BELAY_USAGE, "%s:%u: this is no public "
                              "key (NAME+ID+BASE64)", shown, line);
            }
            (*count)++;
        }
        text += len + (text[len] == '\n' ? 1 : 0);
    }
    return *count > before
               ? BELAY_DONE
               : report(error, BELAY_USAGE, "%s: it holds no key", shown);
}

enum belay_reason keyfile_load_public(struct hasher *hasher, const char *what,
                                      struct note_key *keys, size_t *count,
                                      struct belay_error *error)
{
    enum belay_reason reason;
    char shown[400];
    size_t len;
    char *text;
    int fd;

    if (*count < MAX_NOTE_KEYS &&
        note_key_parse(hasher, what, strlen(what), &keys[*count]) == 0) {
        (*count)++;
        return BELAY_DONE;
    }
    show(what, shown);
    fd = open(what, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return report(error, belay_reason_of_file(errno),
                      "--key %s: neither the text of a public key nor a file "
                      "that can be read: %s", shown, strerror(errno));
    }
    text = read_file(fd, &len);
    if (text == NULL) {
        reason = unreadable(error, what);
    } else if (strlen(text) != len) {
        reason = report(error, BELAY_USAGE, "%s: this is no text", shown);
    } else {
        reason = add_lines(hasher, text, shown, keys, count, error);
    }
    free(text);
    close(fd);
    return reason;
}
