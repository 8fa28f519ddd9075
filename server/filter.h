/* The list of system calls that a worker may make (seccomp, by libseccomp).
 *
 * Builds with sanitizers have no filter, because their run-time libraries
 * make calls of their own. */
#ifndef SERVER_FILTER_H
#define SERVER_FILTER_H

#include <stdbool.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* Is there a filter in this build? */
bool filter_built(void);

/* ... and can the running kernel load one? True in builds without. */
bool filter_possible(void);

/* From now on all threads of the process may make only the calls that serving
 * needs. Any other ends the process if deadly, else it fails with EPERM and is
 * noted in the system's audit log. ERR_UNSUPPORTED, ERR_NOMEM, or ERR_IO with
 * the reason in errno: then nothing is filtered. */
MUST_USE int filter_load(bool deadly);

#endif
