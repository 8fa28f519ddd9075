/* Gate: who may come in and who may read what; the operator's certificate,
 * key, authorities, tokens and rules as one value.
 *
 * A gate never changes. Connections hold the one under which they began; a
 * reload makes a new one. The texts it is made from come from a vault, so
 * that nothing is opened here.
 *
 * One thread; only the gate_may_...() questions may come from others. */
#ifndef SERVER_GATE_H
#define SERVER_GATE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/base/reader.h"
#include "proto/session/sender.h"
#include "proto/io/tls.h"

struct gate;

enum gate_part {
    GATE_CERT,
    GATE_KEY,
    GATE_CLIENT_CA,
    GATE_TOKENS,
    GATE_RULES,
    GATE_PARTS,
};

#define GATE_WHY_MAX 512

/* A part of length 0 with given[] false was not asked for; one that was asked
 * for and is empty is no rule at all, so nobody gets in by it. */
struct gate_text {
    struct bytes_view part[GATE_PARTS];
    bool given[GATE_PARTS];
};

/* The texts are borrowed for the call. ERR_SYNTAX and others, with a sentence
 * in why. */
MUST_USE int gate_new(const struct gate_text *text, struct gate **out,
                      char why[GATE_WHY_MAX]);

void gate_hold(struct gate *gate);
/* NULL is allowed. */
void gate_release(struct gate *gate);

/* NULL: no TLS here. */
struct tls_ctx *gate_tls(const struct gate *gate);

/* NULL: everybody may come in. */
const struct auth_table *gate_auth(const struct gate *gate);

/* Somebody who came in: what he has proved. A value, for any thread. */
struct gate_who {
    uint32_t token;  /* place in the table, or AUTH_NOBODY */
    bool has_key;    /* his certificate's key, if AUTH named it, */
    uint8_t key[HASH_LEN];
    char cert[TLS_NAME_MAX + 1]; /* ... and name, or "" */
};

/* tls NULL: plain, or a pipe. */
void gate_describe(const struct sender_identity *identity,
                   const struct tls *tls, struct gate_who *out);

/* path: relative, relpath_check() holds. */
bool gate_may_read(const struct gate *gate, const struct gate_who *who,
                   const char *path);
bool gate_may_pass(const struct gate *gate, const struct gate_who *who,
                   const char *path);

/* Without rules all that the server serves may be read by who came in. */
bool gate_has_rules(const struct gate *gate);

/* The name for the log: "token:NAME", "cert:NAME" or "-". */
#define GATE_NAME_MAX 160
void gate_name(const struct gate *gate, const struct gate_who *who,
               char name[GATE_NAME_MAX]);

#endif
