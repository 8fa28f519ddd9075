/* The list of system calls that a worker may make (seccomp, by libseccomp).
 *
 * Builds with sanitizers have no filter, because their run-time libraries
 * make calls of their own. */
#ifndef SERVER_FILTER_H
#define SERVER_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* The list as the kernel takes it; zeroed: none. */
struct filter {
    void *code; /* malloc()ed */
    size_t len; /* in bytes */
};

/* Is there a filter in this build? */
bool filter_built(void);

/* ... and can the running kernel load one? True in builds without. */
bool filter_possible(void);

/* Makes the list, by errands: libseccomp has no right answer to a failed
 * allocation, it crashes, never ends, or leaves something out. The caller has
 * one thread. deadly: any call that is not on the list ends the process; else
 * it fails with EPERM and is noted in the system's audit log.
 * ERR_UNSUPPORTED, ERR_NOMEM, ERR_IO with the reason in errno. */
MUST_USE int filter_make(bool deadly, struct filter *out);
void filter_clear(struct filter *filter);

/* From now on all threads of the process may make only the calls of the list.
 * Allocates nothing. ERR_UNSUPPORTED when there is none, or ERR_IO with the
 * reason in errno: then nothing is filtered. */
MUST_USE int filter_load(const struct filter *filter);

#endif
