/* Taking new connections for one worker.
 *
 * All workers watch the same listening sockets. One that has more connections
 * than another leaves a new one to it for a moment, so that the connections
 * of one client spread. Limits are enforced here: who is too many is told so
 * in the protocol's own words and closed. */
#ifndef SERVER_LISTENER_H
#define SERVER_LISTENER_H

#include "proto/base/check.h"
#include "proto/base/err.h"

struct worker;
struct listener;

/* Starts on the sockets of worker->server. ERR_NOMEM, ERR_IO. */
MUST_USE int listener_new(struct worker *worker, struct listener **out);

/* Stops. NULL is allowed. */
void listener_free(struct listener *listener);

#endif
