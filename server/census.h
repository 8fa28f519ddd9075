/* How many connections there are: in all, from each source, in each worker.
 *
 * Lives in memory that all processes of the server share, so that the limits
 * hold for the server as a whole. A source is an IPv4 address (also one in the
 * IPv6 form of a socket for both) or an IPv6 /64,
 * the least that a single machine usually has. Sources and connections are
 * counted per worker, so that the parent can take a dead worker's share back.
 *
 * Processes lock each other out for a moment; a process that dies within it
 * does not hold up the others. */
#ifndef SERVER_CENSUS_H
#define SERVER_CENSUS_H

#include <stdbool.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/io/net.h"

struct census;

/* total and per_source: the limits, at least 1. Made before the workers are
 * forked; shared with them. ERR_NOMEM or ERR_IO. */
MUST_USE int census_new(unsigned total, unsigned per_source,
                        struct census **out);
void census_free(struct census *census);

enum census_verdict {
    CENSUS_ENTERED,
    CENSUS_FULL,        /* the server has as many as it takes, */
    CENSUS_SOURCE_FULL, /* or this source has */
};

/* A connection of worker 0..SERVER_WORKERS_MAX-1 begins or ends. Only an
 * entered one may leave. */
enum census_verdict census_enter(struct census *census, unsigned worker,
                                 const struct net_addr *peer);
void census_leave(struct census *census, unsigned worker,
                  const struct net_addr *peer);

/* Does another live worker have fewer connections than this one? */
bool census_has_idler(struct census *census, unsigned worker);

/* The parent: worker lives from now on; or is dead, with its connections. */
void census_worker_started(struct census *census, unsigned worker);
void census_worker_died(struct census *census, unsigned worker);

/* Connections now, for tests and logs. */
unsigned census_total(struct census *census);

#endif
