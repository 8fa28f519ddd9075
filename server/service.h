/* belayd as a service of systemd: sockets that were opened for it, and telling
 * that it is ready. Without a service manager all of it does nothing.
 *
 * For the start of the program, before there are threads. */
#ifndef SERVER_SERVICE_H
#define SERVER_SERVICE_H

#include <stddef.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* Takes over the listening TCP sockets that the manager passed: at most max of
 * them to fds, their number to *count (0: none were passed), non-blocking and
 * close-on-exec. Forgets them in the environment. ERR_LIMIT: too many were
 * passed; ERR_USAGE: one is not a listening TCP socket. */
MUST_USE int service_sockets(int *fds, size_t max, size_t *count);

/* Tells the manager a state: "READY=1", "STOPPING=1". What cannot be told is
 * let go. */
void service_tell(const char *state);

#endif
