/* The directory of the digest cache: which one, made when it is missing.
 *
 * When none can be used, a private temporary one takes its place: digests are
 * then shared by the workers and lost at the end. */
#ifndef SERVER_CACHEDIR_H
#define SERVER_CACHEDIR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

struct cachedir {
    char path[PATH_MAX]; /* absolute */
    int fd;
    bool temporary;
};

/* For root about to become another user: makes the default place, which that
 * user could not. A place that exists is left alone; failure shows when the
 * directory is opened. */
void cachedir_prepare(uid_t uid, gid_t gid);

/* wanted: of the command line, or NULL for the default place. With wanted
 * there is no second choice: ERR_IO with the reason in errno. *substitute
 * tells that the default place could not be used. */
MUST_USE int cachedir_open(const char *wanted, struct cachedir *out,
                           bool *substitute);

/* Closes it, and removes a temporary one with all that is in it. */
void cachedir_close(struct cachedir *dir);

#endif
