/* Dialling: from a host name to a connected socket.
 *
 * A dialer belongs to one host and port.  It looks the name up on a worker
 * thread, keeps the addresses, and tries them one after the other, the next
 * one DIAL_STAGGER_MS after the one before or as soon as that one failed
 * (Happy Eyeballs, RFC 8305, with the families interleaved).  The address
 * that answered last is tried first.  After a failed dial the name is looked
 * up again, so that a server that moved is found.
 *
 * With a proxy the addresses are the proxy's, and a dial has succeeded when
 * the proxy has connected to the host (client/socks.h).
 *
 * Loop thread only. */
#ifndef CLIENT_DIAL_H
#define CLIENT_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "client/proxy.h"
#include "proto/base/err.h"
#include "proto/io/loop.h"
#include "proto/io/net.h"

enum dial_family {
    DIAL_ANY,
    DIAL_IPV4,
    DIAL_IPV6,
};

struct dialer;
struct dial;

/* The outcome of one dial: `fd` >= 0 is a connected, tuned socket that now
 * belongs to the callee, and `text` the peer's address; otherwise `text` says
 * what failed.  `text` lives for the call. */
typedef void dial_fn(void *arg, int fd, const char *text);

/* `host` is a name or a numeric address without brackets; copied. */
int dialer_new(struct loop *loop, const char *host, uint16_t port,
               enum dial_family family, struct dialer **out) MUST_USE;
/* From now on by this proxy; NULL: none.  Before the first dial.  ERR_NOMEM,
 * or ERR_RANGE when the host's name is too long for a proxy. */
int dialer_set_proxy(struct dialer *dialer,
                     const struct proxy *proxy) MUST_USE;
/* All dials must have ended or been cancelled.  A look-up that is still under
 * way is waited for by the loop. */
void dialer_free(struct dialer *dialer);
/* A look-up is under way: after dialer_free() the loop would wait for it,
 * half a minute if the name service is dead.  NULL is allowed. */
bool dialer_lingers(const struct dialer *dialer);

/* Connect within timeout_ms.  Exactly one callback, later, unless the dial is
 * cancelled before. */
int dial_start(struct dialer *dialer, uint64_t timeout_ms, dial_fn *fn,
               void *arg, struct dial **out) MUST_USE;
/* No callback any more.  NULL is allowed. */
void dial_cancel(struct dial *dial);

#endif
