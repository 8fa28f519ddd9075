/* The parent process: starts the workers, replaces those that die, passes
 * signals on. It reads nothing that a client sent. */
#ifndef SERVER_PARENT_H
#define SERVER_PARENT_H

#include "proto/base/check.h"
#include "server/worker.h"

/* Runs until told to stop, or until workers cannot be started. Returns the
 * exit status: 0 or 1. The caller has one thread and no loop. */
MUST_USE int parent_run(struct server *server, unsigned workers);

/* Serves one client on standard input and output: in a child that is confined,
 * while this process stays able to clean up. Returns the exit status. */
MUST_USE int parent_run_stdio(struct server *server);

#endif
