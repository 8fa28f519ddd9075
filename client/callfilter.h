/* System calls that a process which talks to strangers has no use for, taken
 * away from it for good (seccomp).
 *
 * A list of what is denied, not of what is allowed: name services load plugins
 * of the system into the process, and what those call is not ours to know.
 * Denied are: starting programs and processes; looking into other processes
 * and signals to them; mounts, namespaces and all that manages the machine;
 * owners, modes and attributes of files by their names, set-user-id bits;
 * serving (listening, accepting) and sockets but those of IP, of this machine
 * and of routes; pushing input into a terminal; and doors around this very
 * filter (io_uring, foreign tables of system calls).
 *
 * The filter is written out here, without libseccomp, which makes thousands of
 * allocations for such a list and does not survive one that fails.
 *
 * Builds with sanitizers have no filter: their run-time libraries trace and
 * start processes of their own. Nor have machines whose tables nobody has
 * looked at. */
#ifndef CLIENT_CALLFILTER_H
#define CLIENT_CALLFILTER_H

#include <stdbool.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* Is there a filter in this build? */
bool callfilter_built(void);

/* From now on the calls fail with EPERM, in all threads of the process, those
 * that run already included. Sets no_new_privs. ERR_UNSUPPORTED: there is no
 * filter in this build; ERR_IO with the reason in errno: nothing is
 * filtered. */
MUST_USE int callfilter_load(void);

#endif
