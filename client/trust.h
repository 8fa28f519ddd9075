/* Trust: what one server has to show before we say anything to it.
 *
 * One of these decides, in this order:
 *
 *   a pin that the user gave     this key and no other; no chain, no name
 *   an entry in known_hosts      one of these keys and no other
 *   otherwise                    a chain to an authority, and the host name
 *
 * A server that fails the last one only because nobody we know vouches for
 * its key is unknown, not refuted. Then, and only without authorities given
 * by the user, its key may be accepted: by accept_new, which records it, or by
 * the user, who is told the key. A changed key is never accepted.
 *
 * Nothing that a server says makes any of this weaker (B1-S4, B1-S7).
 *
 * Loop thread only. */
#ifndef CLIENT_TRUST_H
#define CLIENT_TRUST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/io/tls.h"

/* Texts are borrowed by trust_new() for the life of the trust. */
struct trust_options {
    const char *ca_file;     /* authorities instead of the system's */
    const char *cert_file;   /* our own certificate, */
    const char *key_file;    /* ... and its key */
    const char *known_hosts; /* file; NULL: none is kept */
    bool has_pin;
    bool accept_new;
    uint8_t pin[HASH_LEN];
};

struct trust;

/* Room for trust_problem(): it ends with a command to copy, so it must not be
 * cut on its way to the user. */
#define TRUST_TEXT_MAX 1024u

/* Reads all files. host without brackets. On error, with a sentence in why:
 * ERR_TLS or ERR_SYNTAX (a file cannot be used), ERR_IO, ERR_NOMEM. */
MUST_USE int trust_new(const struct trust_options *options, const char *host,
                       uint16_t port, struct trust **out,
                       char why[TLS_TEXT_MAX]);
/* NULL is allowed; its connections must be gone. */
void trust_free(struct trust *trust);

/* ---- For channel.c. */

/* Begins TLS on a connected socket. ERR_NOMEM. */
MUST_USE int trust_connect(struct trust *trust, int fd, struct tls **out);
/* The handshake has succeeded: a new key is recorded now. ERR_TLS when that
 * is not possible. */
MUST_USE int trust_settle(struct trust *trust, const struct tls *tls);
/* The handshake has failed, which says nothing about the server: something
 * was damaged on the way, or the same server did shake hands before. */
bool trust_is_accident(const struct trust *trust, const struct tls *tls);
/* The handshake has failed for good. */
void trust_refuse(struct trust *trust, const struct tls *tls);

/* ---- After ERR_TLS. */

enum trust_verdict {
    TRUST_NO_BELAY, /* the peer does not speak TLS 1.3 and Belay, or not with
                       us */
    TRUST_DENIED,   /* it asks for a certificate that we do not have */
    TRUST_UNTRUSTED, /* it is not who it should be */
    TRUST_UNKNOWN,  /* nobody vouches for its key: see trust_shown() */
};

enum trust_verdict trust_verdict(const struct trust *trust);
/* One sentence, printable, with what to do about it. */
const char *trust_problem(const struct trust *trust);
/* The key of an unknown server, to be shown and perhaps accepted. */
bool trust_shown(const struct trust *trust, uint8_t pin[HASH_LEN]);
/* A new key was recorded by this trust: true once, with a sentence. */
bool trust_recorded(struct trust *trust, char *text, size_t cap);

#endif
