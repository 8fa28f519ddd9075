/* The process that tells the server's numbers over HTTP, for Prometheus and
 * its like: GET or HEAD /metrics, and nothing else.
 *
 * A child of the parent, as workers are: what a stranger sends is parsed
 * (libmicrohttpd) in a process that can read no file, reach no other, and
 * only read the numbers. A few connections at a time, one request each, and
 * each for a short time. */
#ifndef SERVER_EXPORTER_H
#define SERVER_EXPORTER_H

#include "proto/base/check.h"
#include "server/worker.h"

/* In a child: takes server->metrics_fd over and lets go of the rest of the
 * server. Serves until SIGTERM; returns the exit status. */
MUST_USE int exporter_run(struct server *server);

#endif
