/* Channel: the byte pipe of one connection, plain or TLS.
 *
 * A plain channel is ready at once. A TLS one shakes hands first, and until
 * that has succeeded nothing of ours is sent: no preface, no request, no
 * token.
 *
 * The owner watches the descriptor for channel_events(), and calls
 * channel_shake() until it is ready. Loop thread only. */
#ifndef CLIENT_CHANNEL_H
#define CLIENT_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

struct tls;
struct trust;

struct channel {
    int fd;           /* -1: closed */
    struct tls *tls;  /* NULL: plain */
    struct trust *trust;
    bool shaking;
    bool read_wants_write; /* TLS has something of its own to send */
};

/* Takes over the connected, non-blocking socket `fd`, also on error. trust:
 * what the server has to show, borrowed until channel_close(); NULL: plain.
 * ERR_NOMEM. */
MUST_USE int channel_open(struct channel *c, int fd, struct trust *trust);

/* Closes without ceremony. A closed one may be closed again. */
void channel_close(struct channel *c);

/* Goes on with the handshake. 0: ready. ERR_AGAIN; ERR_EOF or ERR_RESET: the
 * connection was lost, another may do; ERR_TLS: channel_problem() and the
 * trust say why. */
MUST_USE int channel_shake(struct channel *c);

/* Reads into the places of iov in turn. 0 with *got > 0; ERR_AGAIN, ERR_EOF,
 * ERR_RESET, ERR_TLS. */
MUST_USE int channel_readv(struct channel *c, struct iovec *iov, int count,
                           size_t *got);

/* As channel_readv(). After ERR_AGAIN the next call begins with the same
 * bytes. */
MUST_USE int channel_send(struct channel *c, const uint8_t *data, size_t len,
                          size_t *sent);

/* The events (LOOP_READ, LOOP_WRITE) to wait for, when the owner would like
 * these. */
unsigned channel_events(const struct channel *c, unsigned wanted);

/* Received bytes wait in here, so that no event need come: read again. */
bool channel_has_input(const struct channel *c);

/* After ERR_TLS: the server has refused us for good, as the trust says. In TLS
 * 1.3 it may say so after the handshake. */
bool channel_is_refused(struct channel *c);

/* A sentence about the last error but ERR_AGAIN; printable. */
const char *channel_problem(const struct channel *c, int err);

#endif
