/* Targets: the set of paths that a run writes to, to find two entries with
 * one target.  Paths are compared as text, with . and repeated slashes taken
 * out; what links make equal is found by the lock of the partial file. */
#ifndef CLIENT_CLI_TARGETS_H
#define CLIENT_CLI_TARGETS_H

#include <stdbool.h>
#include <stddef.h>

struct targets {
    char **path; /* open addressing */
    size_t *tag;
    size_t room;
    size_t count;
};

enum targets_result {
    TARGETS_NEW,
    TARGETS_AGAIN, /* *tag is that of the first one */
    TARGETS_NOMEM,
};

/* Adds DIR/NAME (`dir` NULL: the current one; a NAME that begins with a
 * slash stands alone) with a tag of the caller's. */
enum targets_result targets_add(struct targets *targets, const char *dir,
                                const char *name, size_t *tag);
/* A zeroed set is empty. */
void targets_clear(struct targets *targets);

#endif
