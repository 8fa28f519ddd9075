/* Giving up root. */
#ifndef SERVER_PRIVILEGES_H
#define SERVER_PRIVILEGES_H

#include <stdbool.h>

#include <sys/types.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

struct privileges_user {
    uid_t uid;
    gid_t gid;
    char name[64];
};

/* Looks a user up, by name or number, with its main group. ERR_NOT_FOUND. */
MUST_USE int privileges_find(const char *text, struct privileges_user *out);

/* Becomes that user in all respects, with its groups, and makes sure that the
 * way back is closed. For user root nothing changes. ERR_IO with the reason in
 * errno: the process must end. */
MUST_USE int privileges_drop(const struct privileges_user *user);

#endif
