/* The parent process: starts the workers, replaces those that die, passes
 * signals on. It reads nothing that a client sent. */
#ifndef SERVER_PARENT_H
#define SERVER_PARENT_H

#include "proto/base/check.h"
#include "server/worker.h"

/* Tells that the ports are open; the exit status if that is not possible,
 * else 0. From here on signals have the meaning that they have for a server:
 * who heard it may send one. */
typedef int parent_ready_fn(const struct server *server);

/* Runs until told to stop, or until workers cannot be started. Returns the
 * exit status: 0 or 1, or that of ready. The caller has one thread and no
 * loop. */
MUST_USE int parent_run(struct server *server, unsigned workers,
                        parent_ready_fn *ready);

/* Serves one client on standard input and output: in a child that is confined,
 * while this process stays able to clean up. Returns the exit status. */
MUST_USE int parent_run_stdio(struct server *server);

#endif
