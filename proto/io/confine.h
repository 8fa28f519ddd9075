/* Taking rights away from this process for good: Landlock.
 *
 * What a kind of access is handled for is denied everywhere except beneath
 * the places that a rule names. Descriptors that are open already keep what
 * they can. Kinds that the running kernel does not know are left out and not
 * reported as in force, so the caller decides whether that is enough.
 *
 * Binds the calling thread and what it starts later: call it before threads.
 * Sets no_new_privs. Implements RELIABILITY (e) "Landlock". */
#ifndef PROTO_IO_CONFINE_H
#define PROTO_IO_CONFINE_H

#include <stddef.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* Kinds of access, or-ed. */
#define CONFINE_READ 0x01u  /* reading files and directories */
#define CONFINE_WRITE 0x02u /* writing, making, removing, renaming */
#define CONFINE_EXEC 0x04u  /* running programs */
#define CONFINE_TCP 0x08u   /* binding and connecting; accepting goes on */
#define CONFINE_IPC 0x10u   /* signals and abstract sockets to outside */
#define CONFINE_RMDIR 0x20u /* removing empty directories: a part of writing,
                               for rules */

struct confine_rule {
    const char *path; /* a directory or file, opened for a moment; borrowed */
    int fd;           /* ... or, without a path, one that is open: O_PATH will
                         do; borrowed */
    unsigned access;  /* CONFINE_READ, _WRITE, _EXEC, _RMDIR: allowed beneath
                         it */
};

/* The Landlock version of the running kernel; 0: it has none. */
int confine_version(void);

/* Denies the kinds in `kinds` but for the rules. *in_force gets those kinds
 * that the kernel enforces from now on. ERR_UNSUPPORTED when the kernel has no
 * Landlock; ERR_IO with the reason in errno. On an error nothing is denied
 * that was not before, but no_new_privs may be set. */
MUST_USE int confine(unsigned kinds, const struct confine_rule *rules,
                     size_t count, unsigned *in_force);

#endif
