/* The directory of the digest cache: which one, made when it is missing.
 *
 * When none can be used, a private temporary one takes its place: digests are
 * then shared by the workers and lost at the end. */
#ifndef SERVER_CACHEDIR_H
#define SERVER_CACHEDIR_H

#include <limits.h>
#include <stdbool.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

struct cachedir {
    char path[PATH_MAX]; /* absolute */
    int fd;
    bool temporary;
};

/* wanted: of the command line, or NULL for the default place. With wanted
 * there is no second choice: ERR_IO with the reason in errno. *substitute
 * tells that the default place could not be used. */
MUST_USE int cachedir_open(const char *wanted, struct cachedir *out,
                           bool *substitute);

/* Closes it, and removes a temporary one with all that is in it. */
void cachedir_close(struct cachedir *dir);

#endif
