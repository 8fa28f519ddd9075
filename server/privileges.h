/* Giving up root. */
#ifndef SERVER_PRIVILEGES_H
#define SERVER_PRIVILEGES_H

#include <stdbool.h>

#include <sys/types.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* Groups of one user; who is in more does not get the others. */
#define PRIVILEGES_GROUPS_MAX 1024

struct privileges_user {
    uid_t uid;
    gid_t gid; /* the main group */
    int group_count;
    gid_t groups[PRIVILEGES_GROUPS_MAX]; /* all groups */
};

/* Looks a user up, by name or number, by an errand: the C library's ways to
 * users have no right answer to a failed allocation. The caller has one
 * thread. ERR_NOT_FOUND, ERR_NOMEM, ERR_IO with the reason in errno. */
MUST_USE int privileges_find(const char *text, struct privileges_user *out);

/* Becomes that user in all respects, with its groups, and makes sure that the
 * way back is closed. For user root nothing changes. ERR_IO with the reason in
 * errno: the process must end. */
MUST_USE int privileges_drop(const struct privileges_user *user);

#endif
