#include "proto/io/rootfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/limits.h"

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

#define OPEN_FLAGS_FILE \
    (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
#define OPEN_FLAGS_DIR (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY)
#define OPEN_FLAGS_PATH (O_PATH | O_CLOEXEC | O_NOFOLLOW)

static int
err_of_errno(void)
{
    switch (errno) {
    case EMFILE:
    case ENFILE:
        return ERR_LIMIT;
    case ENOMEM:
        return ERR_NOMEM;
    case EIO:
        return ERR_IO;
    case ENXIO: /* a socket, or a device without a driver */
    case ENODEV:
        return ERR_NOT_A_FILE;
    default:
        return ERR_NOT_FOUND;
    }
}

static int
sys_openat2(int dir_fd, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {
        .flags = (unsigned)flags,
        .resolve = resolve,
    };
    return (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
}

/* The kernel may lack openat2, or a filter may refuse it. */
static bool
openat2_works(int root_fd)
{
    int fd = sys_openat2(root_fd, ".", O_PATH | O_CLOEXEC, RESOLVE_BENEATH);
    if (fd < 0) {
        return false;
    }
    close(fd);
    return true;
}

int
rootfs_init(struct rootfs *root, const char *dir)
{
    memset(root, 0, sizeof(*root));
    root->fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root->fd < 0) {
        return errno == ENOENT    ? ERR_NOT_FOUND
               : errno == ENOTDIR ? ERR_NOT_A_DIRECTORY
                                  : ERR_IO;
    }
    root->has_openat2 = openat2_works(root->fd);
    return 0;
}

void
rootfs_force_walk(struct rootfs *root)
{
    root->has_openat2 = false;
}

/* The absolute path of an open directory, from the kernel. */
static int
path_of_fd(int fd, char path[PATH_MAX])
{
    char link[64];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    if (len <= 0 || path[0] != '/') {
        return ERR_IO;
    }
    path[len] = '\0';
    return 0;
}

int
rootfs_hide(struct rootfs *root, int dir_fd)
{
    char top[PATH_MAX];
    char hidden[PATH_MAX];
    struct stat top_st;
    struct stat st;

    if (fstat(dir_fd, &st) != 0 || fstat(root->fd, &top_st) != 0) {
        return ERR_IO;
    }
    if (st.st_dev == top_st.st_dev && st.st_ino == top_st.st_ino) {
        return ERR_USAGE;
    }
    int err = path_of_fd(root->fd, top);
    if (err == 0) {
        err = path_of_fd(dir_fd, hidden);
    }
    if (err != 0) {
        return err;
    }
    root->has_hidden = true;
    root->hidden_dev = st.st_dev;
    root->hidden_ino = st.st_ino;
    size_t len = strcmp(top, "/") == 0 ? 0 : strlen(top);
    if (strncmp(hidden, top, len) == 0 && hidden[len] == '/') {
        root->hidden = strdup(hidden + len + 1);
        return root->hidden == NULL ? ERR_NOMEM : 0;
    }
    return 0;
}

void
rootfs_clear(struct rootfs *root)
{
    if (root->fd > 0) {
        close(root->fd);
    }
    free(root->hidden);
    memset(root, 0, sizeof(*root));
}

/* Paths are unique beneath the root, because links are not followed, so the
 * text of a path tells whether it lies in the hidden subtree. */
static bool
is_hidden(const struct rootfs *root, const char *path)
{
    if (root->hidden == NULL) {
        return false;
    }
    size_t len = strlen(root->hidden);
    return strncmp(path, root->hidden, len) == 0 &&
           (path[len] == '\0' || path[len] == '/');
}

static bool
is_hidden_dir(const struct rootfs *root, const struct stat *st)
{
    return root->has_hidden && st->st_dev == root->hidden_dev &&
           st->st_ino == root->hidden_ino;
}

/* Goes down the path one component at a time without following links. */
static int
open_walk(const struct rootfs *root, const char *path, int flags)
{
    int dir_fd = root->fd;
    const char *rest = path;
    const char *slash;

    while ((slash = strchr(rest, '/')) != NULL) {
        char name[NAME_MAX + 1];
        size_t len = (size_t)(slash - rest);
        int next = -1;
        if (len < sizeof(name)) {
            memcpy(name, rest, len);
            name[len] = '\0';
            next = openat(dir_fd, name, OPEN_FLAGS_PATH | O_DIRECTORY);
        } else {
            errno = ENAMETOOLONG;
        }
        int saved = errno;
        if (dir_fd != root->fd) {
            close(dir_fd);
        }
        errno = saved;
        if (next < 0) {
            return -1;
        }
        dir_fd = next;
        rest = slash + 1;
    }
    int fd = openat(dir_fd, rest, flags);
    int saved = errno;
    if (dir_fd != root->fd) {
        close(dir_fd);
    }
    errno = saved;
    return fd;
}

static int
open_beneath(const struct rootfs *root, const char *path, int flags,
             bool cached_only)
{
    BELAY_ASSERT(path[0] != '/');
    if (is_hidden(root, path)) {
        errno = EPERM;
        return -1;
    }
    const char *name = path[0] == '\0' ? "." : path;
    if (!root->has_openat2) {
        if (cached_only) {
            errno = EAGAIN;
            return -1;
        }
        return open_walk(root, name, flags);
    }
    uint64_t resolve =
        RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
    if (cached_only) {
        return sys_openat2(root->fd, name, flags, resolve | RESOLVE_CACHED);
    }
    int fd = -1;
    for (unsigned tries = 0; tries < MAX_OPEN_ATTEMPTS; tries++) {
        fd = sys_openat2(root->fd, name, flags, resolve);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) {
            break;
        }
    }
    return fd;
}

int
rootfs_open(const struct rootfs *root, const char *path, bool cached_only,
            struct stat *st, int *fd_out)
{
    int fd = open_beneath(root, path, OPEN_FLAGS_FILE, cached_only);
    if (fd < 0) {
        /* An old kernel refuses RESOLVE_CACHED itself with EINVAL. */
        if (cached_only && (errno == EAGAIN || errno == EINVAL)) {
            return ERR_AGAIN;
        }
        return err_of_errno();
    }
    int err = 0;
    if (fstat(fd, st) != 0) {
        err = err_of_errno();
    } else if (!S_ISREG(st->st_mode)) {
        err = ERR_NOT_A_FILE;
    }
    if (err != 0) {
        close(fd);
        return err;
    }
    *fd_out = fd;
    return 0;
}

int
rootfs_open_dir(const struct rootfs *root, const char *path, int *fd_out)
{
    struct stat st;
    int fd = open_beneath(root, path, OPEN_FLAGS_DIR, false);
    if (fd < 0) {
        return errno == ENOTDIR ? ERR_NOT_A_DIRECTORY : err_of_errno();
    }
    if (fstat(fd, &st) != 0 || is_hidden_dir(root, &st)) {
        close(fd);
        return ERR_NOT_FOUND;
    }
    *fd_out = fd;
    return 0;
}

int
rootfs_stat(const struct rootfs *root, const char *path, struct stat *st)
{
    int fd = open_beneath(root, path, OPEN_FLAGS_PATH, false);
    if (fd < 0) {
        return err_of_errno();
    }
    int rc = fstat(fd, st);
    close(fd);
    return rc == 0 && !is_hidden_dir(root, st) ? 0 : ERR_NOT_FOUND;
}

/* Whether a name of an open directory is the hidden one. */
static bool
name_is_hidden(const struct rootfs *root, int dir_fd, const char *name)
{
    struct stat st;

    return root->has_hidden &&
           fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           is_hidden_dir(root, &st);
}

int
rootfs_each(const struct rootfs *root, int dir_fd, rootfs_name_fn *fn,
            void *arg)
{
    int copy = openat(dir_fd, ".", OPEN_FLAGS_DIR);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (dir == NULL) {
        int err = err_of_errno();
        if (copy >= 0) {
            close(copy);
        }
        return err;
    }
    int err = 0;
    while (err == 0) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            err = errno != 0 ? ERR_IO : 0;
            break;
        }
        const char *name = entry->d_name;
        bool maybe_dir =
            entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            (maybe_dir && name_is_hidden(root, dir_fd, name))) {
            continue;
        }
        err = fn(arg, name);
    }
    closedir(dir);
    return err;
}

int
rootfs_stat_at(int dir_fd, const char *name, struct stat *st)
{
    return fstatat(dir_fd, name, st, AT_SYMLINK_NOFOLLOW) == 0 ? 0
                                                               : ERR_NOT_FOUND;
}

int
rootfs_readlink_at(int dir_fd, const char *name, char *buf, size_t cap,
                   size_t *len_out)
{
    ssize_t len = readlinkat(dir_fd, name, buf, cap);
    if (len < 0) {
        return ERR_NOT_FOUND;
    }
    *len_out = (size_t)len;
    return 0;
}
