#include "server/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
privileges_find(const char *text, struct privileges_user *out)
{
    const struct passwd *entry = getpwnam(text);

    if (entry == NULL && text[0] != '\0' &&
        strspn(text, "0123456789") == strlen(text) && strlen(text) < 10) {
        entry = getpwuid((uid_t)strtoul(text, NULL, 10));
    }
    if (entry == NULL || (size_t)snprintf(out->name, sizeof(out->name), "%s",
                                          entry->pw_name) >=
                             sizeof(out->name)) {
        return ERR_NOT_FOUND;
    }
    out->uid = entry->pw_uid;
    out->gid = entry->pw_gid;
    return 0;
}

int
privileges_drop(const struct privileges_user *user)
{
    if (user->uid == 0) {
        return 0;
    }
    if (initgroups(user->name, user->gid) != 0 ||
        setresgid(user->gid, user->gid, user->gid) != 0 ||
        setresuid(user->uid, user->uid, user->uid) != 0) {
        return ERR_IO;
    }
    if (setuid(0) == 0 || (user->gid != 0 && setgid(0) == 0) ||
        geteuid() != user->uid) {
        errno = EPERM;
        return ERR_IO;
    }
    return 0;
}
