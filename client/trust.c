#include "client/trust.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/knownhosts.h"

struct trust {
    struct trust_options options;
    struct tls_ctx *ctx;
    char *host;
    uint16_t port;
    bool known;    /* pins are from known_hosts */
    bool recorded; /* a new key, not told yet */
    bool shown;
    bool settled;  /* a handshake has succeeded */
    enum trust_verdict verdict;
    size_t pin_count;
    uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN];
    uint8_t shown_pin[HASH_LEN];
    char problem[TRUST_TEXT_MAX];
};

/* ---- life. */

static int load_pins(struct trust *t, char why[TLS_TEXT_MAX])
{
    const struct trust_options *o = &t->options;

    if (o->has_pin) {
        memcpy(t->pins[0], o->pin, HASH_LEN);
        t->pin_count = 1;
        return 0;
    }
    if (o->known_hosts == NULL) {
        return 0;
    }
    int err = knownhosts_find(o->known_hosts, t->host, t->port, t->pins,
                              &t->pin_count, why);

    t->known = err == 0 && t->pin_count > 0;
    return err;
}

int trust_new(const struct trust_options *options, const char *host,
              uint16_t port, struct trust **out, char why[TLS_TEXT_MAX])
{
    const struct tls_client_config config = {
        .ca_file = options->ca_file,
        .cert_file = options->cert_file,
        .key_file = options->key_file,
    };
    struct trust *t = calloc(1, sizeof *t);
    int err = ERR_NOMEM;

    (void)snprintf(why, TLS_TEXT_MAX, "out of memory");
    if (t == NULL) {
        return err;
    }
    t->options = *options;
    t->port = port;
    t->host = strdup(host);
    if (t->host != NULL) {
        err = load_pins(t, why);
    }
    if (err == 0) {
        err = tls_client_ctx(&config, &t->ctx, why);
    }
    if (err != 0) {
        trust_free(t);
        return err;
    }
    *out = t;
    return 0;
}

void trust_free(struct trust *t)
{
    if (t != NULL) {
        tls_ctx_free(t->ctx);
        free(t->host);
        free(t);
    }
}

/* ---- connections. */

/* The user's own authorities are a demand, not a hint. */
static bool may_accept(const struct trust *t)
{
    return t->pin_count == 0 && t->options.ca_file == NULL;
}

int trust_connect(struct trust *t, int fd, struct tls **out)
{
    const struct tls_expect expect = {
        .host = t->host,
        .pins = (const uint8_t (*)[HASH_LEN])t->pins,
        .pin_count = t->pin_count,
        .accept_unknown = t->options.accept_new && may_accept(t) &&
                          t->options.known_hosts != NULL,
    };

    return tls_new(t->ctx, fd, &expect, out);
}

static void refuse(struct trust *t, enum trust_verdict verdict,
                   const char *text)
{
    t->verdict = verdict;
    (void)snprintf(t->problem, sizeof t->problem, "%s", text);
}

/* ---- what to say. */

static void tell_unknown(struct trust *t, const char *reason,
                         const char *pin)
{
    t->verdict = TRUST_UNKNOWN;
    if (!may_accept(t)) {
        t->verdict = TRUST_UNTRUSTED;
        refuse(t, TRUST_UNTRUSTED, reason);
        return;
    }
    (void)snprintf(t->problem, sizeof t->problem,
                   "%s; its key is %s. Compare that with what the server's "
                   "operator says (belayd init prints it); if they are the "
                   "same: belay trust %s%s%s:%u %s",
                   reason, pin, strchr(t->host, ':') != NULL ? "[" : "",
                   t->host, strchr(t->host, ':') != NULL ? "]" : "", t->port,
                   pin);
}

static void tell_changed(struct trust *t, const char *pin)
{
    char expected[TLS_PIN_TEXT_LEN + 1];

    t->verdict = TRUST_UNTRUSTED;
    tls_pin_format(t->pins[0], expected);
    if (!t->known) {
        (void)snprintf(t->problem, sizeof t->problem,
                       "the key of %s is not the one demanded: %s was "
                       "expected, %s was shown; nothing was sent",
                       t->host, expected, pin);
        return;
    }
    (void)snprintf(t->problem, sizeof t->problem,
                   "WARNING: THE KEY OF %s PORT %u HAS CHANGED. Somebody may "
                   "be pretending to be this server, or it was given a new "
                   "key. Known is %s, shown was %s; nothing was sent. Only "
                   "if the operator confirms the new key: belay trust "
                   "--replace %s%s%s:%u %s",
                   t->host, t->port, expected, pin,
                   strchr(t->host, ':') != NULL ? "[" : "", t->host,
                   strchr(t->host, ':') != NULL ? "]" : "", t->port, pin);
}

/* ---- verdicts. */

/* Somebody recorded the host since we looked, and with another key: that is
 * no new host any more, but one whose key has changed. */
static void became_known(struct trust *t, const uint8_t pin[HASH_LEN],
                         char why[TLS_TEXT_MAX])
{
    char shown[TLS_PIN_TEXT_LEN + 1];

    if (load_pins(t, why) != 0 || !t->known) {
        refuse(t, TRUST_UNTRUSTED, why);
        return;
    }
    tls_pin_format(pin, shown);
    tell_changed(t, shown);
}

static bool is_pin(const struct trust *t, const uint8_t pin[HASH_LEN])
{
    for (size_t k = 0; k < t->pin_count; k++) {
        if (memcmp(t->pins[k], pin, HASH_LEN) == 0) {
            return true;
        }
    }
    return false;
}

/* Records the key of a host that nobody knew when we looked. */
static int settle_first(struct trust *t, const uint8_t pin[HASH_LEN])
{
    char why[TLS_TEXT_MAX];
    int err = load_pins(t, why);

    if (err == 0 && is_pin(t, pin)) {
        return 0; /* another trust was first, and tells it */
    }
    if (err == 0) {
        err = knownhosts_add_first(t->options.known_hosts, t->host, t->port,
                                   pin, why);
    }
    if (err == ERR_EXISTS) {
        became_known(t, pin, why);
        return ERR_TLS;
    }
    if (err != 0) {
        refuse(t, TRUST_UNTRUSTED, why);
        return ERR_TLS;
    }
    memcpy(t->pins[0], pin, HASH_LEN);
    t->pin_count = 1;
    t->known = true;
    t->recorded = true;
    return 0;
}

static int settle(struct trust *t, const struct tls *tls)
{
    uint8_t pin[HASH_LEN];

    if (!tls_is_unknown(tls) || !tls_peer_pin(tls, pin)) {
        return 0;
    }
    if (t->pin_count == 0) {
        return settle_first(t, pin);
    }
    /* Another connection may have been first, and with another key. */
    if (!is_pin(t, pin)) {
        refuse(t, TRUST_UNTRUSTED, "the server shows two different keys");
        return ERR_TLS;
    }
    return 0;
}

int trust_settle(struct trust *t, const struct tls *tls)
{
    int err = settle(t, tls);

    t->settled = t->settled || err == 0;
    return err;
}

bool trust_is_accident(const struct trust *t, const struct tls *tls)
{
    return tls_fault(tls) == TLS_FAULT_DAMAGED ||
           (tls_fault(tls) == TLS_FAULT_PROTOCOL && t->settled);
}

void trust_refuse(struct trust *t, const struct tls *tls)
{
    char pin[TLS_PIN_TEXT_LEN + 1] = "unreadable";

    t->shown = tls_peer_pin(tls, t->shown_pin);
    if (t->shown) {
        tls_pin_format(t->shown_pin, pin);
    }
    switch (tls_fault(tls)) {
    case TLS_FAULT_UNKNOWN_CA:
        tell_unknown(t, tls_problem(tls), pin);
        return;
    case TLS_FAULT_WRONG_KEY:
        tell_changed(t, pin);
        return;
    case TLS_FAULT_UNTRUSTED:
        refuse(t, TRUST_UNTRUSTED, tls_problem(tls));
        return;
    case TLS_FAULT_REFUSED:
        refuse(t, TRUST_DENIED, tls_problem(tls));
        return;
    case TLS_FAULT_NONE:
    case TLS_FAULT_DAMAGED:
    case TLS_FAULT_PROTOCOL:
        refuse(t, TRUST_NO_BELAY, tls_problem(tls));
        return;
    }
}

enum trust_verdict trust_verdict(const struct trust *t)
{
    return t->verdict;
}

const char *trust_problem(const struct trust *t)
{
    return t->problem;
}

bool trust_shown(const struct trust *t, uint8_t pin[HASH_LEN])
{
    if (t->verdict != TRUST_UNKNOWN || !t->shown) {
        return false;
    }
    memcpy(pin, t->shown_pin, HASH_LEN);
    return true;
}

bool trust_recorded(struct trust *t, char *text, size_t cap)
{
    char pin[TLS_PIN_TEXT_LEN + 1];

    if (!t->recorded) {
        return false;
    }
    t->recorded = false;
    tls_pin_format(t->pins[0], pin);
    (void)snprintf(text, cap, "%s was not known; its key %s is recorded and "
                   "expected from now on", t->host, pin);
    return true;
}
