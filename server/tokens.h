/* Tokens: the bearer tokens that clients may show, by name and digest.
 *
 *     # NAME  sha256:HEX
 *     alice   sha256:9f86…64 digits
 *
 * The digest is SHA-256 of the token itself. A plain, fast hash is enough
 * because a token is 256 random bits (tokens_make()), which nobody can try
 * out; people's passwords have no place here. */
#ifndef SERVER_TOKENS_H
#define SERVER_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/base/reader.h"
#include "proto/data/hash.h"

#define TOKENS_MAX 4096u
#define TOKENS_NAME_MAX 128u
#define TOKENS_WHY_MAX 256

struct tokens {
    uint8_t (*digest)[HASH_LEN];
    char (*name)[TOKENS_NAME_MAX + 1];
    uint32_t count;
};

/* ERR_SYNTAX (with the line), ERR_NOMEM. A name may have several tokens, a
 * token one name. */
MUST_USE int tokens_parse(struct bytes_view text, struct tokens *out,
                          char why[TOKENS_WHY_MAX]);
void tokens_clear(struct tokens *tokens);

/* A new random token as text, and its line for the file. ERR_SYNTAX: the name
 * is not good; ERR_INTERNAL. */
#define TOKENS_TEXT_LEN 44u /* "b1_" and 41 characters */
#define TOKENS_LINE_MAX (TOKENS_NAME_MAX + 80u)
MUST_USE int tokens_make(const char *name, char token[TOKENS_TEXT_LEN + 1],
                         char line[TOKENS_LINE_MAX]);

#endif
