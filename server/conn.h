/* One connection: bytes between a socket (or a pair of pipes) and a sender,
 * and the chunks that go out behind its frames.
 *
 * A connection frees itself when it has ended and no thread works for it any
 * more; until then it is in the list of its worker. */
#ifndef SERVER_CONN_H
#define SERVER_CONN_H

#include <stdbool.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/io/net.h"
#include "server/census.h"

struct worker;
struct conn;

struct conn_io {
    int in_fd;
    int out_fd;  /* the same for a socket */
    bool secure; /* nobody else can read it: TLS, or a local pipe */
    bool counted; /* as this guest: leaves the census when it ends */
    struct census_guest guest;
    enum census_standing standing;
    struct net_addr peer; /* len 0: none */
};

/* Takes the descriptors over, also on error. ERR_NOMEM, ERR_IO. */
MUST_USE int conn_new(struct worker *worker, const struct conn_io *io);

/* The operator stops the server: say so, and finish. */
void conn_drain(struct conn *conn);

/* End now. */
void conn_kill(struct conn *conn, const char *reason);

/* Looks up again how many connections share the server with this one. */
void conn_share(struct conn *conn);

struct conn *conn_next(const struct conn *conn);

#endif
