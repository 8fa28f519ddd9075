/* The client's half of a SOCKS5 handshake (RFC 1928, RFC 1929): a pure machine
 * that is told what arrived and says what to send.
 *
 * The proxy looks the name up (what other tools call socks5h), so no name of
 * a server leaves through the local name service.  Exactly as many bytes are
 * asked for as belong to the handshake: what follows is the server's. */
#ifndef CLIENT_SOCKS_H
#define CLIENT_SOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "client/proxy.h"
#include "proto/base/err.h"

enum socks_state {
    SOCKS_METHOD,   /* waits for the method that the proxy picks */
    SOCKS_AUTH,     /* for its answer to the password */
    SOCKS_REPLY,    /* for the first bytes of the reply */
    SOCKS_NAME_LEN, /* for the length of a name in it */
    SOCKS_BOUND,    /* for the rest of it */
    SOCKS_DONE,
    SOCKS_FAILED,
};

/* Fields are private. */
struct socks {
    const struct proxy *proxy;
    const char *host;
    uint16_t port;
    enum socks_state state;
    uint8_t out[520];
    size_t out_len;
    size_t out_at;
    uint8_t in[260];
    size_t in_len;
    size_t in_want;
    const char *reason;
};

/* `host` is a name or a numeric address; all pointers are borrowed until the
 * end.  Returns 0, or ERR_RANGE when the name is too long for the protocol. */
int socks_init(struct socks *s, const struct proxy *proxy, const char *host,
               uint16_t port) MUST_USE;

/* What is to be sent now; *len 0: nothing.  Borrowed until the next call. */
const uint8_t *socks_output(const struct socks *s, size_t *len);
/* So many bytes of it were sent. */
void socks_sent(struct socks *s, size_t len);

/* So many bytes may be read now, 1 at least while it goes on. */
size_t socks_wanted(const struct socks *s);
/* They were read: 1 to socks_wanted().  Returns 0 when the connection leads
 * to the server now, ERR_AGAIN to go on, ERR_CONNECT or ERR_AUTH when the
 * proxy refuses (socks_reason()), ERR_MALFORMED when it is no SOCKS5 proxy. */
int socks_input(struct socks *s, const uint8_t *data, size_t len) MUST_USE;

/* Why it failed: a constant phrase. */
const char *socks_reason(const struct socks *s);

#endif
