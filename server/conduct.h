/* How origins behaved lately: penalties for what only abuse or a fault does,
 * and how many idle requests they made. Implements the lines "penalties per
 * source" and "requests under 64 KiB" of RELIABILITY (f).
 *
 * In memory that all processes share, so that it holds for the server as a
 * whole and outlives a worker. Bounded: a fixed number of origins of each
 * family is remembered, in sets of CONDUCT_WAYS by hash; a full set forgets
 * the one whose record would lapse first.
 *
 * Times are milliseconds of the monotonic clock. Any process and thread. */
#ifndef SERVER_CONDUCT_H
#define SERVER_CONDUCT_H

#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "server/origin.h"

#define CONDUCT_WAYS 16u

struct conduct;

/* origins: remembered of each family; a power of two, CONDUCT_WAYS at least.
 * Before the workers are forked. ERR_NOMEM or ERR_IO. */
MUST_USE int conduct_new(uint32_t origins, struct conduct **out);
/* NULL is allowed. */
void conduct_free(struct conduct *conduct);

/* Adds ms to what the origin has to serve. From PENALTY_ACT_MS on it is barred
 * until all is served, at most PENALTY_MAX_MS from now. Returns how long it is
 * barred now, or 0. */
uint64_t conduct_penalize(struct conduct *conduct, const struct origin *origin,
                          uint64_t ms, uint64_t now);

/* For how long yet the origin is barred; 0: it is not. */
uint64_t conduct_barred(struct conduct *conduct, const struct origin *origin,
                        uint64_t now);

/* The origin made count requests that count. Returns how long the server
 * should take no more from it: SMALL_REQUESTS_BURST are free, then one comes
 * back after each 1/SMALL_REQUESTS_PER_S. */
uint64_t conduct_spend(struct conduct *conduct, const struct origin *origin,
                       uint64_t count, uint64_t now);

#endif
