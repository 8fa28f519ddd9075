#include "server/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/data/hash.h"
#include "server/settings.h"

/* Bytes of one file: 4,096 tokens or rules and their comments. */
#define PART_BYTES_MAX ((size_t)1 << 20)

/* What is published: the one of two slots that `serial` is odd or even for,
 * so that a reader has time while the next one is written. */
struct slot {
    size_t len[GATE_PARTS];
    bool given[GATE_PARTS];
    uint8_t text[GATE_PARTS][PART_BYTES_MAX];
};

struct shared {
    atomic_uint serial; /* 0: nothing is published yet */
    struct slot slot[2];
};

struct vault {
    int fd;
    pid_t parent;
    struct shared *writer; /* the parent's: its children do not have it */
    const struct shared *reader;
    uint8_t admitted[HASH_LEN]; /* digest of tokens, authorities, rules */
    bool has_admitted;
    unsigned seen; /* serial of the last gate */
};

/* ---- Life. */

static int
map(struct vault *v)
{
    void *writer = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED, v->fd, 0);
    if (writer == MAP_FAILED) {
        return ERR_IO;
    }
    v->writer = writer;
    if (madvise(writer, sizeof(struct shared), MADV_DONTFORK) != 0 ||
        fcntl(v->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW |
                                      F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) !=
            0) {
        return ERR_IO;
    }
    void *reader = mmap(NULL, sizeof(struct shared), PROT_READ, MAP_SHARED,
                        v->fd, 0);
    if (reader == MAP_FAILED) {
        return ERR_IO;
    }
    v->reader = reader;
    /* Keys do not belong into core dumps. */
    (void)madvise(reader, sizeof(struct shared), MADV_DONTDUMP);
    (void)madvise(writer, sizeof(struct shared), MADV_DONTDUMP);
    return 0;
}

int
vault_new(struct vault **out)
{
    struct vault *v = calloc(1, sizeof(*v));

    if (v == NULL) {
        return ERR_NOMEM;
    }
    v->parent = getpid();
    v->fd = memfd_create("belayd-vault", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (v->fd < 0 || ftruncate(v->fd, sizeof(struct shared)) != 0 ||
        map(v) != 0) {
        vault_free(v);
        return ERR_IO;
    }
    close(v->fd); /* the mappings stay */
    v->fd = -1;
    *out = v;
    return 0;
}

void
vault_free(struct vault *v)
{
    if (v == NULL) {
        return;
    }
    /* In a child something else may have come to lie there. */
    if (v->writer != NULL && v->parent == getpid()) {
        munmap(v->writer, sizeof(struct shared));
    }
    if (v->reader != NULL) {
        munmap((void *)(uintptr_t)v->reader, sizeof(struct shared));
    }
    if (v->fd >= 0) {
        close(v->fd);
    }
    free(v);
}

/* ---- The parent. */

struct source_file {
    enum gate_part part;
    const char *path;
    mode_t forbidden; /* bits that the file's mode must not have */
    const char *fault;
};

static int
read_all(int fd, uint8_t *to, size_t *len)
{
    *len = 0;
    for (;;) {
        ssize_t n = read(fd, to + *len, PART_BYTES_MAX - *len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return ERR_IO;
        }
        if (n == 0) {
            return 0;
        }
        *len += (size_t)n;
        if (*len == PART_BYTES_MAX) {
            errno = EFBIG;
            return ERR_IO;
        }
    }
}

/* Whose rights count is the first question about a file of root's. */
static void
say_unreadable(const char *path, const char *user, char why[GATE_WHY_MAX])
{
    int error = errno;

    if (error == EACCES && user != NULL) {
        (void)snprintf(why, GATE_WHY_MAX, "user %s cannot read %s: %s; "
                       "'chown %s' it, or let its group read it, and see to "
                       "the directory: it is read again at each SIGHUP",
                       user, path, strerror(error), user);
    } else {
        (void)snprintf(why, GATE_WHY_MAX, "cannot read %s: %s", path,
                       strerror(error));
    }
}

static int
read_part(const struct source_file *file, const char *user, struct slot *slot,
          char why[GATE_WHY_MAX])
{
    struct stat st;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int err = ERR_IO;

    if (fd < 0 || fstat(fd, &st) != 0) {
        goto out_say;
    }
    if (!S_ISREG(st.st_mode)) {
        (void)snprintf(why, GATE_WHY_MAX, "%s is not a regular file",
                       file->path);
        close(fd);
        return ERR_NOT_A_FILE;
    }
    if ((st.st_mode & file->forbidden) != 0) {
        (void)snprintf(why, GATE_WHY_MAX, "%s %s (its mode is %04o)",
                       file->path, file->fault,
                       (unsigned)(st.st_mode & 07777));
        close(fd);
        return ERR_DENIED;
    }
    err = read_all(fd, slot->text[file->part], &slot->len[file->part]);
    slot->given[file->part] = true;
out_say:
    if (err != 0) {
        say_unreadable(file->path, user, why);
    }
    if (fd >= 0) {
        close(fd);
    }
    return err;
}

static int
read_parts(const struct settings *s, struct slot *slot,
           char why[GATE_WHY_MAX])
{
    static const char secret[] = "must not be readable for all, nor writable "
                                 "for others than its owner";
    static const char writable[] = "must not be writable for others than its "
                                   "owner";
    const struct source_file files[] = {
        { GATE_CERT, s->tls_cert, 0022, writable },
        { GATE_KEY, s->tls_key, 0027, secret },
        { GATE_CLIENT_CA, s->client_ca, 0022, writable },
        { GATE_TOKENS, s->tokens, 0027, secret },
        { GATE_RULES, s->access, 0022, writable },
    };
    int err = 0;

    memset(slot->len, 0, sizeof(slot->len));
    memset(slot->given, 0, sizeof(slot->given));
    for (size_t i = 0; i < GATE_PARTS && err == 0; i++) {
        if (files[i].path != NULL) {
            err = read_part(&files[i], s->user, slot, why);
        }
    }
    return err;
}

static struct gate_text
texts_of(const struct slot *slot)
{
    struct gate_text text = { .given = { false } };

    for (size_t i = 0; i < GATE_PARTS; i++) {
        text.part[i] = (struct bytes_view){ slot->text[i], slot->len[i] };
        text.given[i] = slot->given[i];
    }
    return text;
}

int
vault_load(struct vault *v, const struct settings *settings,
           char why[GATE_WHY_MAX])
{
    unsigned serial = atomic_load(&v->writer->serial);
    struct slot *slot = &v->writer->slot[(serial + 1) % 2];
    struct gate *trial = NULL;
    int err = read_parts(settings, slot, why);

    if (err == 0) {
        const struct gate_text text = texts_of(slot);
        err = gate_new(&text, &trial, why);
        gate_release(trial);
    }
    if (err == 0) {
        atomic_store(&v->writer->serial, serial + 1);
    }
    return err;
}

/* ---- Workers. */

static int
digest_admission(const struct slot *slot, uint8_t digest[HASH_LEN])
{
    static const enum gate_part parts[] = { GATE_CLIENT_CA, GATE_TOKENS,
                                            GATE_RULES };
    uint8_t each[3][HASH_LEN];
    struct hasher *hasher = hasher_new();
    int err = hasher == NULL ? ERR_NOMEM : 0;

    for (size_t i = 0; i < 3 && err == 0; i++) {
        err = hash_sha256(hasher, slot->text[parts[i]], slot->len[parts[i]],
                          each[i]);
    }
    if (err == 0) {
        err = hash_sha256(hasher, each, sizeof(each), digest);
    }
    hasher_free(hasher);
    return err;
}

/* A slot that was rewritten meanwhile (after two more reloads) is read
 * again. */
static int
read_slot(struct vault *v, struct gate **out, uint8_t digest[HASH_LEN],
          char why[GATE_WHY_MAX])
{
    for (;;) {
        unsigned serial = atomic_load(&v->reader->serial);
        const struct slot *slot = &v->reader->slot[serial % 2];
        const struct gate_text text = texts_of(slot);
        struct gate *gate = NULL;
        int err = gate_new(&text, &gate, why);

        if (err == 0) {
            err = digest_admission(slot, digest);
        }
        if (atomic_load(&v->reader->serial) == serial) {
            if (err != 0) {
                gate_release(gate);
                return err;
            }
            *out = gate;
            v->seen = serial;
            return 0;
        }
        gate_release(gate);
    }
}

bool
vault_changed(const struct vault *v)
{
    return atomic_load(&v->reader->serial) != v->seen;
}

int
vault_gate(struct vault *v, struct gate **out, bool *admission,
           char why[GATE_WHY_MAX])
{
    uint8_t digest[HASH_LEN];
    int err = read_slot(v, out, digest, why);

    if (err != 0) {
        return err;
    }
    if (admission != NULL) {
        *admission = v->has_admitted &&
                     memcmp(digest, v->admitted, HASH_LEN) != 0;
    }
    memcpy(v->admitted, digest, HASH_LEN);
    v->has_admitted = true;
    return 0;
}
