/* An errand: a piece of work in a child process that comes back with bytes.
 *
 * For libraries that have no right answer to a failed allocation: they may
 * crash or never end, but the child does it for us, and it is given a few
 * seconds of work.
 *
 * The caller has one thread. */
#ifndef SERVER_ERRAND_H
#define SERVER_ERRAND_H

#include <stddef.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* In the child: writes the result to fd and returns 0, or another status. */
typedef int errand_fn(void *arg, int fd);

/* Runs fn and reads at most cap bytes of what it writes to buf; *len tells how
 * many. ERR_NOT_FOUND when fn returned ERRAND_NONE; ERR_NOMEM when it came to
 * grief; ERR_IO with the reason in errno when there could be no child. */
#define ERRAND_NONE 3
MUST_USE int errand_run(errand_fn *fn, void *arg, void *buf, size_t cap,
                        size_t *len);

#endif
