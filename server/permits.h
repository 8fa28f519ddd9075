/* How many threads of all workers together may hash for DIGEST at a time. A
 * thread that wants to takes a permit first and gives it back after its slice.
 *
 * The permits are a number in the kernel, so that a worker without one can
 * wait for it in its loop, and so that no worker can hold up another by a
 * lock. Those of a worker that died are given back by the parent.
 *
 * Implements "cores/2 in all" of RELIABILITY (f). */
#ifndef SERVER_PERMITS_H
#define SERVER_PERMITS_H

#include <stdbool.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

struct permits;

/* count: at least 1. Before the workers are forked. ERR_NOMEM or ERR_IO. */
MUST_USE int permits_new(unsigned count, struct permits **out);
/* NULL is allowed. */
void permits_free(struct permits *permits);

/* One for each two cores, and one at least. */
unsigned permits_for_cores(long cores);

/* Readable while there is one to take, perhaps. Borrowed. */
int permits_fd(const struct permits *permits);

/* Never waits. For the loop's thread of the worker. */
bool permits_take(struct permits *permits, unsigned worker);
void permits_give(struct permits *permits, unsigned worker);

/* The parent. */
void permits_worker_died(struct permits *permits, unsigned worker);

#endif
