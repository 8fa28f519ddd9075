#include "server/tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/io/rand.h"
#include "proto/io/tls.h"
#include "server/textfile.h"

/* ---- Reading. */

struct parse {
    struct tokens *tokens;
    const char *problem;
};

static int
wrong(struct parse *p, const char *problem)
{
    p->problem = problem;
    return ERR_SYNTAX;
}

static int
take_line(void *arg, const char *line, size_t len)
{
    struct parse *p = arg;
    struct tokens *t = p->tokens;
    size_t name_len = 0;

    while (name_len < len && line[name_len] != ' ' &&
           line[name_len] != '\t') {
        name_len++;
    }
    size_t at = name_len;
    while (at < len && (line[at] == ' ' || line[at] == '\t')) {
        at++;
    }
    if (t->count == TOKENS_MAX) {
        return wrong(p, "there are at most 4096 tokens");
    }
    if (!textfile_is_name(line, name_len, TOKENS_NAME_MAX)) {
        return wrong(p, "a name has 1 to 128 letters, digits, '.', '-', "
                        "'_', '@'");
    }
    /* The form of a digest is that of a pin. */
    if (tls_pin_parse(line + at, len - at, t->digest[t->count]) != 0) {
        return wrong(p, "the name is followed by sha256: and 64 digits");
    }
    for (uint32_t i = 0; i < t->count; i++) {
        if (memcmp(t->digest[i], t->digest[t->count], HASH_LEN) == 0) {
            return wrong(p, "this token stands in an earlier line");
        }
    }
    memcpy(t->name[t->count], line, name_len);
    t->name[t->count][name_len] = '\0';
    t->count++;
    return 0;
}

int
tokens_parse(struct bytes_view text, struct tokens *out,
             char why[TOKENS_WHY_MAX])
{
    struct parse p = { .tokens = out };
    unsigned line = 0;
    int err = ERR_NOMEM;

    out->count = 0;
    out->digest = calloc(TOKENS_MAX, sizeof(*out->digest));
    out->name = calloc(TOKENS_MAX, sizeof(*out->name));
    if (out->digest != NULL && out->name != NULL) {
        err = textfile_each(text, take_line, &p, &line);
    }
    if (err == ERR_SYNTAX) {
        (void)snprintf(why, TOKENS_WHY_MAX, "line %u: %s", line,
                       p.problem != NULL ? p.problem
                                         : "a control character");
    } else if (err != 0) {
        (void)snprintf(why, TOKENS_WHY_MAX, "%s", err_sentence(err));
    }
    if (err != 0) {
        tokens_clear(out);
    }
    return err;
}

void
tokens_clear(struct tokens *tokens)
{
    free(tokens->digest);
    free(tokens->name);
    *tokens = (struct tokens){ .count = 0 };
}

/* ---- Making. */

/* Six bits of each random byte. */
static void
write_random(char *text, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz"
                                 "0123456789_.";
    uint8_t bytes[64];

    BELAY_ASSERT(len <= sizeof(bytes));
    rand_bytes(bytes, len);
    for (size_t i = 0; i < len; i++) {
        text[i] = digits[bytes[i] & 63];
    }
    text[len] = '\0';
}

int
tokens_make(const char *name, char token[TOKENS_TEXT_LEN + 1],
            char line[TOKENS_LINE_MAX])
{
    uint8_t digest[HASH_LEN];
    char text[TLS_PIN_TEXT_LEN + 1];

    if (!textfile_is_name(name, strlen(name), TOKENS_NAME_MAX)) {
        return ERR_SYNTAX;
    }
    memcpy(token, "b1_", 3);
    write_random(token + 3, TOKENS_TEXT_LEN - 3);
    struct hasher *hasher = hasher_new();
    int err = hasher == NULL ? ERR_NOMEM
                             : hash_sha256(hasher, token, TOKENS_TEXT_LEN,
                                           digest);
    hasher_free(hasher);
    if (err != 0) {
        return ERR_INTERNAL;
    }
    tls_pin_format(digest, text);
    (void)snprintf(line, TOKENS_LINE_MAX, "%s %s\n", name, text);
    return 0;
}
