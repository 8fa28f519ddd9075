#include "server/gate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/io/tls.h"
#include "server/access.h"
#include "server/tokens.h"

struct gate {
    unsigned refs;
    struct tls_ctx *tls;
    struct tokens tokens;
    struct access *rules; /* NULL: none were given */
    struct auth_table auth;
};

static int
make_tls(struct gate *g, const struct gate_text *text,
         char why[GATE_WHY_MAX])
{
    const struct tls_server_config config = {
        .cert = text->part[GATE_CERT],
        .key = text->part[GATE_KEY],
        .client_ca = text->part[GATE_CLIENT_CA],
    };
    if (!text->given[GATE_CERT]) {
        return 0;
    }
    if (text->given[GATE_CLIENT_CA] && config.client_ca.len == 0) {
        (void)snprintf(why, GATE_WHY_MAX, "the file of authorities is empty");
        return ERR_SYNTAX;
    }
    return tls_server_ctx(&config, &g->tls, why);
}

static int
make_tokens(struct gate *g, const struct gate_text *text,
            char why[GATE_WHY_MAX])
{
    char problem[TOKENS_WHY_MAX];

    if (!text->given[GATE_TOKENS]) {
        return 0;
    }
    int err = tokens_parse(text->part[GATE_TOKENS], &g->tokens, problem);
    if (err != 0) {
        (void)snprintf(why, GATE_WHY_MAX, "the file of --tokens, %s", problem);
    }
    return err;
}

/* A rule that nobody can ever fit is a typing error, and what it was meant to
 * protect or to open is not known. */
static int
check_token(void *arg, const char *name)
{
    const struct tokens *tokens = arg;

    for (uint32_t i = 0; i < tokens->count; i++) {
        if (strcmp(tokens->name[i], name) == 0) {
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}

static int
make_rules(struct gate *g, const struct gate_text *text,
           char why[GATE_WHY_MAX])
{
    char problem[ACCESS_WHY_MAX];

    if (!text->given[GATE_RULES]) {
        return 0;
    }
    int err = access_new(text->part[GATE_RULES], &g->rules, problem);
    if (err != 0) {
        (void)snprintf(why, GATE_WHY_MAX, "the file of --access, %s", problem);
        return err;
    }
    if (access_each_token(g->rules, check_token, &g->tokens) != 0) {
        (void)snprintf(why, GATE_WHY_MAX,
                       "a rule names a token that there is not");
        return ERR_SYNTAX;
    }
    if (access_names_certs(g->rules) && !text->given[GATE_CLIENT_CA]) {
        (void)snprintf(why, GATE_WHY_MAX, "a rule names a certificate, but "
                                          "there is no --client-ca");
        return ERR_SYNTAX;
    }
    return 0;
}

static int
make_auth(struct gate *g, const struct gate_text *text)
{
    g->auth.bearer = text->given[GATE_TOKENS];
    g->auth.external = text->given[GATE_CLIENT_CA];
    g->auth.tokens = (const uint8_t (*)[HASH_LEN])g->tokens.digest;
    g->auth.count = g->tokens.count;
    g->auth.hasher = hasher_new();
    return g->auth.hasher != NULL ? 0 : ERR_NOMEM;
}

int
gate_new(const struct gate_text *text, struct gate **out,
         char why[GATE_WHY_MAX])
{
    struct gate *g = calloc(1, sizeof(*g));

    (void)snprintf(why, GATE_WHY_MAX, "out of memory");
    if (g == NULL) {
        return ERR_NOMEM;
    }
    g->refs = 1;
    int err = make_tls(g, text, why);
    if (err == 0) {
        err = make_tokens(g, text, why);
    }
    if (err == 0) {
        err = make_rules(g, text, why);
    }
    if (err == 0) {
        err = make_auth(g, text);
    }
    if (err != 0) {
        gate_release(g);
        return err;
    }
    *out = g;
    return 0;
}

void
gate_hold(struct gate *gate)
{
    gate->refs++;
}

void
gate_release(struct gate *gate)
{
    if (gate == NULL || --gate->refs > 0) {
        return;
    }
    tls_ctx_free(gate->tls);
    tokens_clear(&gate->tokens);
    access_free(gate->rules);
    hasher_free(gate->auth.hasher);
    free(gate);
}

struct tls_ctx *
gate_tls(const struct gate *gate)
{
    return gate->tls;
}

const struct auth_table *
gate_auth(const struct gate *gate)
{
    return gate->auth.bearer || gate->auth.external ? &gate->auth : NULL;
}

bool
gate_has_rules(const struct gate *gate)
{
    return gate->rules != NULL;
}

/* A certificate counts only if AUTH named it. */
void
gate_describe(const struct sender_identity *identity, const struct tls *tls,
              struct gate_who *out)
{
    *out = (struct gate_who){ .token = AUTH_NOBODY };
    if (identity->method == AUTH_BEARER) {
        out->token = identity->token;
    }
    if (identity->method == AUTH_EXTERNAL && tls != NULL) {
        (void)snprintf(out->cert, sizeof(out->cert), "%s",
                       tls_client_name(tls));
        out->has_key = tls_peer_pin(tls, out->key);
    }
}

static struct access_who
as_asking(const struct gate *gate, const struct gate_who *who)
{
    struct access_who asks = {
        .token = who->token < gate->tokens.count
                     ? gate->tokens.name[who->token]
                     : NULL,
        .cert = who->cert[0] != '\0' ? who->cert : NULL,
        .has_key = who->has_key,
    };
    memcpy(asks.key, who->key, HASH_LEN);
    return asks;
}

bool
gate_may_read(const struct gate *gate, const struct gate_who *who,
              const char *path)
{
    if (gate->rules == NULL) {
        return true;
    }
    const struct access_who asks = as_asking(gate, who);
    return access_may_read(gate->rules, &asks, path);
}

bool
gate_may_pass(const struct gate *gate, const struct gate_who *who,
              const char *path)
{
    if (gate->rules == NULL) {
        return true;
    }
    const struct access_who asks = as_asking(gate, who);
    return access_may_pass(gate->rules, &asks, path);
}

void
gate_name(const struct gate *gate, const struct gate_who *who,
          char name[GATE_NAME_MAX])
{
    const struct access_who asks = as_asking(gate, who);

    if (asks.token != NULL) {
        (void)snprintf(name, GATE_NAME_MAX, "token:%s", asks.token);
    } else if (asks.cert != NULL) {
        (void)snprintf(name, GATE_NAME_MAX, "cert:%s", asks.cert);
    } else {
        (void)snprintf(name, GATE_NAME_MAX, "-");
    }
}
