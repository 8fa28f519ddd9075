#include "proto/io/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's interface up to version 6, spelled out here because system
 * headers are often older than the kernel. A kernel takes a shorter struct
 * than its own, so the size to pass follows from the version. */
struct ruleset_attr {
    uint64_t fs;
    uint64_t net;    /* since 4 */
    uint64_t scoped; /* since 6 */
};

#define FS_EXECUTE (UINT64_C(1) << 0)
#define FS_WRITE_FILE (UINT64_C(1) << 1)
#define FS_READ_FILE (UINT64_C(1) << 2)
#define FS_READ_DIR (UINT64_C(1) << 3)
#define FS_REMOVE_DIR (UINT64_C(1) << 4)
#define FS_MAKE_AND_REMOVE (UINT64_C(0x1ff) << 4)
#define FS_REFER (UINT64_C(1) << 13)    /* since 2 */
#define FS_TRUNCATE (UINT64_C(1) << 14) /* since 3 */
#define FS_READ (FS_READ_FILE | FS_READ_DIR)
#define FS_OF_A_FILE \
    (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE)
#define NET_BIND_AND_CONNECT UINT64_C(0x3)
#define SCOPE_SOCKETS_AND_SIGNALS UINT64_C(0x3)

int
confine_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
                           LANDLOCK_CREATE_RULESET_VERSION);
    return version < 1 ? 0 : (int)version;
}

static uint64_t
fs_rights(unsigned kinds, int version)
{
    uint64_t rights = 0;

    if ((kinds & CONFINE_READ) != 0) {
        rights |= FS_READ;
    }
    if ((kinds & CONFINE_EXEC) != 0) {
        rights |= FS_EXECUTE;
    }
    if ((kinds & CONFINE_RMDIR) != 0) {
        rights |= FS_REMOVE_DIR;
    }
    if ((kinds & CONFINE_WRITE) != 0) {
        rights |= FS_WRITE_FILE | FS_MAKE_AND_REMOVE;
        rights |= version >= 2 ? FS_REFER : 0;
        rights |= version >= 3 ? FS_TRUNCATE : 0;
    }
    return rights;
}

static int
make_ruleset(unsigned kinds, int version, unsigned *in_force)
{
    struct ruleset_attr attr = { .fs = fs_rights(kinds, version) };
    size_t len = sizeof(attr.fs);

    *in_force = kinds & (CONFINE_READ | CONFINE_WRITE | CONFINE_EXEC);
    if (version >= 4) {
        len = sizeof(attr.fs) + sizeof(attr.net);
        attr.net = (kinds & CONFINE_TCP) != 0 ? NET_BIND_AND_CONNECT : 0;
        *in_force |= kinds & CONFINE_TCP;
    }
    if (version >= 6) {
        len = sizeof(attr);
        attr.scoped =
            (kinds & CONFINE_IPC) != 0 ? SCOPE_SOCKETS_AND_SIGNALS : 0;
        *in_force |= kinds & CONFINE_IPC;
    }
    return (int)syscall(SYS_landlock_create_ruleset, &attr, len, 0);
}

/* A rule may only name rights that the ruleset handles, and for a file only
 * those that files have. */
static bool
add_rule_of_fd(int ruleset, int fd, uint64_t allowed)
{
    struct stat st;
    struct landlock_path_beneath_attr attr = {
        .allowed_access = allowed,
        .parent_fd = fd,
    };

    if (fstat(fd, &st) != 0) {
        return false;
    }
    if (!S_ISDIR(st.st_mode)) {
        attr.allowed_access &= FS_OF_A_FILE;
    }
    return attr.allowed_access == 0 ||
           syscall(SYS_landlock_add_rule, ruleset,
                   LANDLOCK_RULE_PATH_BENEATH, &attr, 0) == 0;
}

static bool
add_rule(int ruleset, const struct confine_rule *rule, uint64_t handled,
         int version)
{
    uint64_t allowed = fs_rights(rule->access, version) & handled;

    if (rule->path == NULL) {
        return add_rule_of_fd(ruleset, rule->fd, allowed);
    }
    int fd = open(rule->path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool good = add_rule_of_fd(ruleset, fd, allowed);
    int error = errno;
    close(fd);
    errno = error;
    return good;
}

int
confine(unsigned kinds, const struct confine_rule *rules, size_t count,
        unsigned *in_force)
{
    int version = confine_version();
    unsigned wanted = 0;

    *in_force = 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return ERR_IO;
    }
    if (version == 0) {
        return ERR_UNSUPPORTED;
    }
    int ruleset = make_ruleset(kinds, version, &wanted);
    if (ruleset < 0) {
        return ERR_IO;
    }
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        good = add_rule(ruleset, &rules[i], fs_rights(kinds, version),
                        version);
    }
    good = good && syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    int error = errno;
    close(ruleset);
    errno = error;
    if (!good) {
        return ERR_IO;
    }
    *in_force = wanted;
    return 0;
}
