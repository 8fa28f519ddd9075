/* Security: whom an engine believes and what it may show, as copied from
 * struct belay_security (belay.h); read by all its jobs. */
#ifndef CLIENT_SECURITY_H
#define CLIENT_SECURITY_H

#include "client/belay.h"
#include "client/trust.h"
#include "proto/data/uri.h"
#include "proto/session/receiver.h"

struct security {
    struct trust_options trust; /* its texts: members below */
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *known_hosts;
    char *token; /* NULL: none */
};

/* options NULL: the defaults. BELAY_DONE, BELAY_USAGE or BELAY_INTERNAL. */
enum belay_reason security_init(struct security *security,
                                const struct belay_security *options,
                                struct belay_error *error) BELAY_CHECKED;
/* Below `security` may be NULL: no known hosts, and we are nobody.
 *
 * What the server of `uri` has to show: *out is NULL when it is not reached by
 * TLS.  first: it is the one that the user named, who gets our certificate
 * and token and for whom the pin is meant; others are only checked.  On error,
 * with a sentence in why: BELAY_WRONG_HOST, BELAY_INTERNAL. */
enum belay_reason security_trust(const struct security *security,
                                 const struct uri *uri, bool first,
                                 struct trust **out, char why[TLS_TEXT_MAX])
    BELAY_CHECKED;
/* What the server of `uri` is told; `out` borrows from security.  NULL:
 * nothing. */
const struct receiver_auth *security_auth(const struct security *security,
                                          const struct uri *uri,
                                          struct receiver_auth *out);
/* The outcome when a handshake failed for good. */
enum belay_reason security_reason(const struct trust *trust);

/* Zeroed memory may be cleared, too. */
void security_clear(struct security *security);

#endif
