/* Can this process start threads?  libuv ends the program when it cannot
 * start its workers, so that is found out before. */

#ifndef PROTO_IO_THREADS_H
#define PROTO_IO_THREADS_H

#include "proto/base/check.h"

/* Starts `count` threads that live side by side for a moment, and ends them.
 * Returns 0; or ERR_LIMIT, when the system has no more threads to give, or
 * ERR_NOMEM. */
MUST_USE int threads_probe(unsigned count);

#endif
