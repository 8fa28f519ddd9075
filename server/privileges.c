#include "server/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/errand.h"

/* Out of memory is no answer about the user. */
static int
no_entry(void)
{
    return errno == ENOMEM || errno == EMFILE || errno == ENFILE ? 1
                                                                 : ERRAND_NONE;
}

static int
look_up(void *arg, int fd)
{
    const char *text = arg;
    struct privileges_user user = {
        .group_count = PRIVILEGES_GROUPS_MAX,
    };

    errno = 0;
    const struct passwd *entry = getpwnam(text);
    if (entry == NULL && text[0] != '\0' &&
        strspn(text, "0123456789") == strlen(text) && strlen(text) < 10) {
        entry = getpwuid((uid_t)strtoul(text, NULL, 10));
    }
    if (entry == NULL) {
        return no_entry();
    }
    user.uid = entry->pw_uid;
    user.gid = entry->pw_gid;
    if (getgrouplist(entry->pw_name, entry->pw_gid, user.groups,
                     &user.group_count) < 0) {
        user.group_count = PRIVILEGES_GROUPS_MAX;
    }
    ssize_t n = write(fd, &user, sizeof(user));
    return n == (ssize_t)sizeof(user) ? 0 : 1;
}

int
privileges_find(const char *text, struct privileges_user *out)
{
    size_t len = 0;
    int err = errand_run(look_up, (void *)(uintptr_t)text, out, sizeof(*out),
                         &len);

    return err == 0 && len != sizeof(*out) ? ERR_NOMEM : err;
}

int
privileges_drop(const struct privileges_user *user)
{
    if (user->uid == 0) {
        return 0;
    }
    if (setgroups((size_t)user->group_count, user->groups) != 0 ||
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
