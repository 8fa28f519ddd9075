#include "client/dest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <unistd.h>

#include "proto/base/err.h"
#include "proto/base/limits.h"
#include "proto/base/registry.h"

/* Processes that may work in one directory at the same time. */
#define TEMP_DIRS 16u
/* From so many on, one sync of the file system is cheaper than one each. */
#define SYNC_EACH_MAX 3u

static int err_of(int sys_errno)
{
    switch (sys_errno) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
    case EXDEV: /* openat2: the path would leave the root */
        return ERR_DENIED;
    case EEXIST:
    case EISDIR:
    case ENOTEMPTY:
        return ERR_EXISTS;
    case ENOTDIR:
        return ERR_NOT_A_DIRECTORY;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_NO_SPACE;
    case EMFILE:
    case ENFILE:
        return ERR_LIMIT;
    case ENAMETOOLONG:
        return ERR_PATH;
    case ENOMEM:
        return ERR_NOMEM;
    default:
        return ERR_IO;
    }
}

/* ---- the directory for temporary files. */

static int remove_one(void *arg, const char *name)
{
    const int *fd = arg;

    (void)unlinkat(*fd, name, 0);
    return 0;
}

/* Is the locked directory still the one of that name? */
static bool still_there(int dest_fd, const char *name, int fd)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 &&
           fstatat(dest_fd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Nobody else may plant or replace what we are about to rename. */
static bool is_private(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
           (st.st_mode & 0077) == 0;
}

static int take_temp(struct dest *d, const char *name)
{
    bool left = mkdirat(d->fd, name, 0700) != 0;
    int err = ERR_LOCKED;
    int fd;

    if (left && errno != EEXIST) {
        return err_of(errno);
    }
    fd = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT || errno == ELOOP || errno == ENOTDIR
                   ? ERR_LOCKED
                   : err_of(errno);
    }
    if (is_private(fd) && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        still_there(d->fd, name, fd)) {
        err = rootfs_each(&d->root, fd, remove_one, &fd);
        /* A run was killed here: what it placed is not to be taken for
         * durable because it is there. */
        if (err == 0 && left && syncfs(fd) != 0) {
            err = err_of(errno);
        }
    }
    if (err != 0) {
        close(fd);
        return err;
    }
    d->temp_fd = fd;
    (void)snprintf(d->temp_name, sizeof d->temp_name, "%s", name);
    return 0;
}

bool dest_reserved(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;

    /* There are file systems that do not tell letters' cases apart. */
    return strncasecmp(path, DEST_TEMP_NAME, strlen(DEST_TEMP_NAME)) == 0 ||
           strncasecmp(name, DEST_PART_PREFIX,
                       strlen(DEST_PART_PREFIX)) == 0;
}

/* Makes what is missing of a path; what cannot be made shows when it is
 * opened. */
static int make_path(const char *path)
{
    char *copy = strdup(path);

    if (copy == NULL) {
        return ERR_NOMEM;
    }
    for (char *at = copy + 1; copy[0] != '\0' && *at != '\0'; at++) {
        if (*at == '/') {
            *at = '\0';
            (void)!mkdir(copy, 0777);
            *at = '/';
        }
    }
    free(copy);
    return mkdir(path, 0777) != 0 && errno != EEXIST ? err_of(errno) : 0;
}

static void init(struct dest *d)
{
    memset(d, 0, sizeof *d);
    d->fd = -1;
    d->temp_fd = -1;
    d->mask = umask(0);
    (void)umask(d->mask);
}

static int open_root(struct dest *d, const char *path)
{
    int err = rootfs_init(&d->root, path);

    if (err == 0) {
        err = rootfs_open_dir(&d->root, "", &d->fd);
    }
    return err;
}

int dest_open_to_look(struct dest *d, const char *path)
{
    int err;

    init(d);
    err = open_root(d, path);
    if (err != 0) {
        int saved = errno;

        dest_close(d);
        errno = saved;
        d->fd = -1;
    }
    return err == ERR_NOT_FOUND ? 0 : err;
}

int dest_open(struct dest *d, const char *path)
{
    char name[32] = DEST_TEMP_NAME;
    int err;

    init(d);
    err = make_path(path);
    if (err != 0) {
        return err;
    }
    err = open_root(d, path);
    if (err != 0) {
        dest_close(d);
        return err;
    }
    err = ERR_LOCKED;
    for (unsigned k = 1; err == ERR_LOCKED && k <= TEMP_DIRS; k++) {
        if (k > 1) {
            (void)snprintf(name, sizeof name, DEST_TEMP_NAME "-%u", k);
        }
        err = take_temp(d, name);
    }
    if (err != 0) {
        int saved = errno;

        dest_close(d);
        errno = saved;
    }
    return err;
}

void dest_close(struct dest *d)
{
    for (unsigned k = 0; k < DEST_DIRS; k++) {
        if (d->dir[k].path != NULL) {
            close(d->dir[k].fd);
            free(d->dir[k].path);
        }
    }
    if (d->temp_name[0] != '\0') {
        (void)!rootfs_each(&d->root, d->temp_fd, remove_one, &d->temp_fd);
        (void)unlinkat(d->fd, d->temp_name, AT_REMOVEDIR);
        close(d->temp_fd);
    }
    if (d->root.fd > 0) {
        if (d->fd >= 0) {
            close(d->fd);
        }
        rootfs_clear(&d->root);
    }
    memset(d, 0, sizeof *d);
}

/* ---- temporary files. */

static void temp_name(uint64_t number, char name[17])
{
    (void)snprintf(name, 17, "%llx", (unsigned long long)number);
}

int dest_temp(const struct dest *d, uint64_t number, int *fd)
{
    char name[17];

    temp_name(number, name);
    *fd = openat(d->temp_fd, name,
                 O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return *fd < 0 ? err_of(errno) : 0;
}

void dest_temp_remove(const struct dest *d, uint64_t number)
{
    char name[17];

    temp_name(number, name);
    (void)unlinkat(d->temp_fd, name, 0);
}

static int sync_one(const struct dest *d, uint64_t number)
{
    char name[17];
    int err = 0;
    int fd;

    temp_name(number, name);
    fd = openat(d->temp_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return err_of(errno);
    }
    if (fsync(fd) != 0) {
        err = err_of(errno);
    }
    close(fd);
    return err;
}

int dest_sync(const struct dest *d, const uint64_t *number, size_t count)
{
    int err = 0;

    if (count > SYNC_EACH_MAX) {
        return syncfs(d->temp_fd) != 0 ? err_of(errno) : 0;
    }
    for (size_t k = 0; k < count && err == 0; k++) {
        err = sync_one(d, number[k]);
    }
    return err;
}

/* ---- directories. */

static int sync_failed(struct dest *d)
{
    d->sync_errno = errno;
    d->sync_err = err_of(errno);
    return d->sync_err;
}

static int sync_dir(struct dest *d, struct dest_dir *dir)
{
    if (dir->dirty && fsync(dir->fd) != 0) {
        return sync_failed(d);
    }
    dir->dirty = false;
    return 0;
}

/* A place in the table: a free one, or the one used longest ago. */
static int make_place(struct dest *d, struct dest_dir **out)
{
    struct dest_dir *oldest = &d->dir[0];
    int err;

    for (unsigned k = 0; k < DEST_DIRS; k++) {
        if (d->dir[k].path == NULL) {
            *out = &d->dir[k];
            return 0;
        }
        if (d->dir[k].used < oldest->used) {
            oldest = &d->dir[k];
        }
    }
    err = sync_dir(d, oldest);
    if (err != 0) {
        return err;
    }
    close(oldest->fd);
    free(oldest->path);
    oldest->path = NULL;
    *out = oldest;
    return 0;
}

static struct dest_dir *find_dir(struct dest *d, const char *path, size_t len)
{
    for (unsigned k = 0; k < DEST_DIRS; k++) {
        struct dest_dir *dir = &d->dir[k];

        if (dir->path != NULL && strncmp(dir->path, path, len) == 0 &&
            dir->path[len] == '\0') {
            dir->used = ++d->turn;
            return dir;
        }
    }
    return NULL;
}

/* Why a directory could not be opened: the kernel says ELOOP or ENOTDIR for
 * what rootfs does not tell apart, and ENOTDIR for a link at the end. */
static int why_not_open(const struct dest *d, const char *path, int err)
{
    struct stat st;
    int saved = errno;

    if (err == ERR_NOT_FOUND) {
        return err_of(errno);
    }
    if (err == ERR_NOT_A_DIRECTORY && rootfs_stat(&d->root, path, &st) == 0 &&
        S_ISLNK(st.st_mode)) {
        errno = ELOOP;
        return ERR_DENIED;
    }
    errno = saved;
    return err;
}

static int open_dir(struct dest *d, const char *path, struct dest_dir **out)
{
    struct dest_dir *dir;
    int fd = -1;
    int err = make_place(d, &dir);

    if (err != 0) {
        return err;
    }
    err = rootfs_open_dir(&d->root, path, &fd);
    if (err != 0) {
        return why_not_open(d, path, err);
    }
    dir->path = strdup(path);
    if (dir->path == NULL) {
        close(fd);
        return ERR_NOMEM;
    }
    dir->fd = fd;
    dir->dirty = false;
    dir->used = ++d->turn;
    *out = dir;
    return 0;
}

/* The directory of the first `len` bytes of a path, made if it is missing. */
static int get_dir(struct dest *d, const char *path, size_t len, bool make,
                   struct dest_dir **out)
{
    char part[LIMIT_PATH + 1];
    struct dest_dir *parent;
    const char *slash;
    int err;

    *out = find_dir(d, path, len);
    if (*out != NULL) {
        return 0;
    }
    memcpy(part, path, len);
    part[len] = '\0';
    err = open_dir(d, part, out);
    if (err != ERR_NOT_FOUND || !make || len == 0) {
        return err;
    }
    slash = strrchr(part, '/');
    err = get_dir(d, part, slash != NULL ? (size_t)(slash - part) : 0, true,
                  &parent);
    if (err != 0) {
        return err;
    }
    if (mkdirat(parent->fd, slash != NULL ? slash + 1 : part, 0777) == 0) {
        parent->dirty = true;
    } else if (errno != EEXIST) {
        return err_of(errno);
    }
    return open_dir(d, part, out);
}

static int get_parent(struct dest *d, const char *path, bool make,
                      struct dest_dir **dir, const char **name)
{
    const char *slash = strrchr(path, '/');

    *name = slash != NULL ? slash + 1 : path;
    return get_dir(d, path, slash != NULL ? (size_t)(slash - path) : 0, make,
                   dir);
}

void dest_look_clear(struct dest_look *look)
{
    if (look->path != NULL) {
        close(look->fd);
        free(look->path);
        look->path = NULL;
    }
}

static int look_into(const struct dest *d, struct dest_look *look,
                     const char *path, size_t len)
{
    int err;

    if (look->path != NULL && strncmp(look->path, path, len) == 0 &&
        look->path[len] == '\0') {
        return 0;
    }
    dest_look_clear(look);
    look->path = strndup(path, len);
    if (look->path == NULL) {
        return ERR_NOMEM;
    }
    err = rootfs_open_dir(&d->root, look->path, &look->fd);
    if (err != 0) {
        err = why_not_open(d, look->path, err);
        free(look->path);
        look->path = NULL;
    }
    return err;
}

int dest_stat(const struct dest *d, struct dest_look *look, const char *path,
              struct stat *st)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    int err;

    if (d->fd < 0) {
        return ERR_NOT_FOUND; /* DEST itself is missing */
    }
    err = look_into(d, look, path, slash != NULL ? (size_t)(slash - path) : 0);
    if (err != 0) {
        return err;
    }
    return fstatat(look->fd, name, st, AT_SYMLINK_NOFOLLOW) == 0
               ? 0
               : err_of(errno);
}

bool dest_link_says(const struct dest *d, struct dest_look *look,
                    const char *path, const char *target)
{
    const char *slash = strrchr(path, '/');
    char there[LIMIT_LINK_TARGET + 1];
    struct stat st;
    ssize_t len;

    if (dest_stat(d, look, path, &st) != 0) {
        return false;
    }
    len = readlinkat(look->fd, slash != NULL ? slash + 1 : path, there,
                     sizeof there);
    return len > 0 && (size_t)len == strlen(target) &&
           memcmp(there, target, (size_t)len) == 0;
}

int dest_read(const struct dest *d, const char *path, int *fd)
{
    struct stat st;

    return rootfs_open(&d->root, path, false, &st, fd);
}

int dest_mkdir(struct dest *d, const char *path)
{
    struct dest_dir *dir;

    return get_dir(d, path, strlen(path), true, &dir);
}

int dest_place(struct dest *d, uint64_t number, const char *path,
               bool replace)
{
    struct dest_dir *dir;
    struct stat st;
    const char *name;
    char from[17];
    int err = get_parent(d, path, true, &dir, &name);
    int rc;

    if (err != 0) {
        return err;
    }
    temp_name(number, from);
    if (replace && fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) {
        return ERR_EXISTS;
    }
    rc = replace ? renameat(d->temp_fd, from, dir->fd, name)
                 : renameat2(d->temp_fd, from, dir->fd, name,
                             RENAME_NOREPLACE);
    if (rc != 0 && !replace && errno == EINVAL) {
        /* This file system knows no such rename: a link does the same. */
        rc = linkat(d->temp_fd, from, dir->fd, name, 0);
        if (rc == 0) {
            (void)unlinkat(d->temp_fd, from, 0);
        }
    }
    if (rc != 0) {
        return errno == EXDEV ? ERR_IO : err_of(errno);
    }
    dir->dirty = true;
    return 0;
}

/* The link that waits as "link" changes places with the one of that name:
 * only so it shows what it was that had to go, and whatever else came there
 * meanwhile gets its name back. */
static int swap_link(const struct dest *d, int dir_fd, const char *name)
{
    struct stat st;
    int rc = renameat2(d->temp_fd, "link", dir_fd, name, RENAME_EXCHANGE);

    if (rc != 0 && errno == EINVAL) {
        /* This file system cannot; the look before must do. */
        return renameat(d->temp_fd, "link", dir_fd, name) != 0
                   ? err_of(errno)
                   : 0;
    }
    if (rc != 0 ||
        fstatat(d->temp_fd, "link", &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return err_of(errno);
    }
    if (S_ISLNK(st.st_mode)) {
        return unlinkat(d->temp_fd, "link", 0) != 0 ? err_of(errno) : 0;
    }
    rc = renameat2(d->temp_fd, "link", dir_fd, name, RENAME_EXCHANGE);
    if (rc != 0 && errno == ENOENT) { /* somebody took our link away */
        rc = renameat2(d->temp_fd, "link", dir_fd, name, RENAME_NOREPLACE);
    }
    return rc != 0 ? err_of(errno) : ERR_EXISTS;
}

int dest_link(struct dest *d, const char *path, const char *target,
              bool replace)
{
    char old[LIMIT_LINK_TARGET + 1];
    struct dest_dir *dir;
    const char *name;
    ssize_t len;
    int err = get_parent(d, path, true, &dir, &name);

    if (err != 0) {
        return err;
    }
    if (symlinkat(target, dir->fd, name) == 0) {
        dir->dirty = true;
        return 0;
    }
    if (errno != EEXIST || !replace) {
        return err_of(errno);
    }
    len = readlinkat(dir->fd, name, old, sizeof old);
    if (len < 0) {
        return ERR_EXISTS;
    }
    if ((size_t)len == strlen(target) &&
        memcmp(old, target, (size_t)len) == 0) {
        return 0;
    }
    /* A new link under a temporary name takes the old one's place. */
    (void)unlinkat(d->temp_fd, "link", 0);
    if (symlinkat(target, d->temp_fd, "link") != 0) {
        return err_of(errno);
    }
    err = swap_link(d, dir->fd, name);
    dir->dirty = dir->dirty || err == 0;
    return err;
}

int dest_dir_attrs(struct dest *d, const char *path, mode_t mode,
                   struct timespec mtime)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime};
    struct dest_dir *dir;
    int err = get_dir(d, path, strlen(path), false, &dir);

    if (err != 0) {
        return err;
    }
    if ((mode != 0 && fchmod(dir->fd, (mode & 0777) & ~d->mask) != 0) ||
        futimens(dir->fd, times) != 0) {
        return err_of(errno);
    }
    return 0;
}

int dest_sync_names(struct dest *d)
{
    unsigned dirty = 0;
    int err = 0;

    if (d->sync_err != 0) {
        errno = d->sync_errno;
        return d->sync_err;
    }
    for (unsigned k = 0; k < DEST_DIRS; k++) {
        dirty += d->dir[k].path != NULL && d->dir[k].dirty;
    }
    if (dirty > SYNC_EACH_MAX) {
        if (syncfs(d->temp_fd) != 0) {
            return sync_failed(d);
        }
        for (unsigned k = 0; k < DEST_DIRS; k++) {
            d->dir[k].dirty = false;
        }
        return 0;
    }
    for (unsigned k = 0; k < DEST_DIRS && err == 0; k++) {
        if (d->dir[k].path != NULL) {
            err = sync_dir(d, &d->dir[k]);
        }
    }
    return err;
}
