/* Sender: who the client is (belay-1, section 8.2). */
#include "proto/session/sender_internal.h"

bool
sender_needs_auth(const struct sender *s)
{
    const struct auth_table *auth = s->config.auth;

    return auth != NULL && (auth->bearer || auth->external) &&
           s->identity.method == 0;
}

size_t
sender_auth_methods(const struct sender *s, uint8_t methods[2])
{
    const struct auth_table *auth = s->config.auth;
    size_t n = 0;

    if (auth != NULL && auth->bearer) {
        methods[n++] = AUTH_BEARER;
    }
    if (auth != NULL && auth->external) {
        methods[n++] = AUTH_EXTERNAL;
    }
    return n;
}

void
sender_set_transport(struct sender *s, bool secure, bool external)
{
    BELAY_ASSERT(s->phase == PHASE_PREFACE && !s->greeting_sent);
    s->config.secure = secure;
    s->external = external;
}

const struct sender_identity *
sender_identity(const struct sender *s)
{
    return &s->identity;
}

/* B1-S2b: a token that travelled in the open is worth nothing, right or
 * wrong. B1-S6: which part was wrong is not said. */
static uint16_t
judge(struct sender *s, const struct msg_auth *m)
{
    const struct auth_table *auth = s->config.auth;
    bool bearer = m->method == AUTH_BEARER;

    if (bearer && !s->config.secure) {
        return WIRE_INSECURE;
    }
    if (auth == NULL || !(bearer ? auth->bearer
                                 : m->method == AUTH_EXTERNAL &&
                                       auth->external)) {
        return WIRE_UNSUPPORTED;
    }
    struct sender_identity who = { .method = m->method };
    if (bearer) {
        who.token = auth_find_token(auth, m->token);
    }
    if (bearer ? who.token == AUTH_NOBODY : !s->external) {
        return WIRE_AUTH_FAILED;
    }
    s->identity = who; /* B1-A4: the last success counts */
    return 0;
}

uint16_t
sender_judge_auth(struct sender *s, const struct msg_auth *m)
{
    uint16_t code = judge(s, m);

    if (err_wire_class(code) == WIRE_CLASS_ACCESS) {
        s->stats.auth_refused++;
    }
    return code;
}

void
sender_auth_limit(struct sender *s)
{
    if (s->stats.auth_refused >= LIMIT_AUTH_ATTEMPTS) {
        sender_fail(s, WIRE_AUTH_FAILED, "auth-refused");
    }
}
