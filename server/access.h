/* Access: which paths a client may read; a value made from the operator's
 * file, and a pure decision.
 *
 *     # WHO[,WHO]...  PATH
 *     *                 /pub
 *     token:alice,cert:build-7  /builds
 *     key:sha256:9f…    /builds/secret
 *     -                 /builds/secret/off
 *
 * The rule of the longest path that leads to a file decides alone: a rule for
 * a part of a tree replaces that of the tree, it adds nothing to it. Where no
 * rule leads, nobody may read. `*` is everybody who got in, `-` nobody. Paths
 * are as in URLs, from the served directory, without escapes, to the end of
 * the line.
 *
 * Anything else in the file is an error, and without a file that is good from
 * the first byte to the last there are no rules at all: it fails closed. */
#ifndef SERVER_ACCESS_H
#define SERVER_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/base/reader.h"
#include "proto/data/hash.h"

#define ACCESS_RULES_MAX 4096u
#define ACCESS_WHO_MAX 64u
#define ACCESS_NAME_MAX 128u

/* Sentences about what is wrong with a file. */
#define ACCESS_WHY_MAX 256

/* Who asks. Texts are borrowed; NULL or false for what he has not proved. */
struct access_who {
    const char *token;   /* name of his token */
    const char *cert;    /* common name of his certificate, */
    bool has_key;        /* ... and its key */
    uint8_t key[HASH_LEN];
};

struct access;

/* ERR_SYNTAX (the line is named), ERR_LIMIT, ERR_NOMEM. */
MUST_USE int access_new(struct bytes_view text, struct access **out,
                        char why[ACCESS_WHY_MAX]);
/* NULL is allowed. */
void access_free(struct access *access);

/* path: relative, relpath_check() holds; "" is the root. */
bool access_may_read(const struct access *access,
                     const struct access_who *who, const char *path);

/* May he know that this directory is there? When he may read it, or something
 * below it. */
bool access_may_pass(const struct access *access,
                     const struct access_who *who, const char *path);

/* Calls back for each token name that a rule names; the first result that is
 * not 0 ends it and is returned. */
typedef int access_name_fn(void *arg, const char *name);
MUST_USE int access_each_token(const struct access *access,
                               access_name_fn *fn, void *arg);

/* Does any rule name a certificate or its key? */
bool access_names_certs(const struct access *access);

#endif
