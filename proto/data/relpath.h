/* Is a path or a name from the network acceptable?  Text only: nothing is
 * looked up, and nothing is ever repaired ("cleaned").
 *
 * Names are bytes; UTF-8 is expected but not required.
 *
 * Implements rules N1 (paths of OPEN and LIST) and N3 (names from a server)
 * of spec/belay-1.md.  Pure; any thread. */
#ifndef PROTO_DATA_RELPATH_H
#define PROTO_DATA_RELPATH_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/err.h"

/* Rule N1: at most LIMIT_PATH bytes; components of 1..LIMIT_COMPONENT bytes
 * separated by `/`; no leading or trailing `/`, no empty, `.` or `..`
 * component, no NUL.  The empty path is the root and acceptable.  Returns 0 or
 * ERR_PATH.  `path` may be NULL when `len` is 0. */
int relpath_check(const char *path, size_t len) MUST_USE;

/* A component of a path; borrowed from it, without a NUL. */
struct relpath_part {
    const char *name;
    size_t len;
};

/* Walks over the components of an acceptable path.  `*pos` starts at 0 and is
 * for this function only.  Returns false after the last component.  On any
 * other text it still ends and stays within `len`. */
bool relpath_next(const char *path, size_t len, size_t *pos,
                  struct relpath_part *part);

/* For which file systems a name must be harmless. */
enum relpath_rules {
    RELPATH_POSIX,
    RELPATH_WINDOWS,  /* Also no `\`, `:`, device name, final dot or space. */
};

/* Rule N3: may a client create a file by this name, one component long?
 * `name` may be NULL when `len` is 0. */
bool relpath_name_ok(const char *name, size_t len, enum relpath_rules rules);

#endif
