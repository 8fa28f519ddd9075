#include "server/cachedir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "belayd"
#define SYSTEM_DIR "/var/cache/" NAME

/* Makes the directory and those above it that are missing. */
static int
make_dirs(char *path)
{
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/') {
            continue;
        }
        *at = '\0';
        int rc = mkdir(path, 0700);
        int error = errno;
        *at = '/';
        if (rc != 0 && error != EEXIST && error != EROFS && error != EACCES) {
            errno = error;
            return ERR_IO;
        }
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : ERR_IO;
}

static int
use(const char *path, struct cachedir *out)
{
    char copy[PATH_MAX];

    if ((size_t)snprintf(copy, sizeof(copy), "%s", path) >= sizeof(copy)) {
        errno = ENAMETOOLONG;
        return ERR_IO;
    }
    if (path[0] == '\0' || make_dirs(copy) != 0) {
        return ERR_IO;
    }
    if (realpath(copy, out->path) == NULL) {
        return ERR_IO;
    }
    out->fd = open(out->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (out->fd < 0) {
        return ERR_IO;
    }
    if (faccessat(out->fd, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        int error = errno;
        close(out->fd);
        out->fd = -1;
        errno = error;
        return ERR_IO;
    }
    return 0;
}

void
cachedir_prepare(uid_t uid, gid_t gid)
{
    /* Only a directory that is made here changes hands. */
    if (mkdir(SYSTEM_DIR, 0700) == 0 &&
        lchown(SYSTEM_DIR, uid, gid) != 0) {
        rmdir(SYSTEM_DIR);
    }
}

static bool
default_path(char path[PATH_MAX])
{
    const char *given = getenv("CACHE_DIRECTORY");
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int len = -1;

    if (given != NULL && given[0] == '/') {
        len = snprintf(path, PATH_MAX, "%s", given);
    } else if (geteuid() == 0 ||
               faccessat(AT_FDCWD, SYSTEM_DIR, W_OK | X_OK, AT_EACCESS) ==
                   0) {
        len = snprintf(path, PATH_MAX, SYSTEM_DIR);
    } else if (xdg != NULL && xdg[0] == '/') {
        len = snprintf(path, PATH_MAX, "%s/" NAME, xdg);
    } else if (home != NULL && home[0] == '/') {
        len = snprintf(path, PATH_MAX, "%s/.cache/" NAME, home);
    }
    return len > 0 && len < PATH_MAX;
}

static int
use_temporary(struct cachedir *out)
{
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX];

    if (base == NULL || base[0] != '/') {
        base = "/tmp";
    }
    if ((size_t)snprintf(path, sizeof(path), "%s/" NAME "-XXXXXX", base) >=
            sizeof(path) ||
        mkdtemp(path) == NULL) {
        return ERR_IO;
    }
    out->temporary = true;
    return use(path, out);
}

int
cachedir_open(const char *wanted, struct cachedir *out, bool *substitute)
{
    char path[PATH_MAX];

    memset(out, 0, sizeof(*out));
    out->fd = -1;
    *substitute = false;
    if (wanted != NULL) {
        return use(wanted, out);
    }
    if (default_path(path) && use(path, out) == 0) {
        return 0;
    }
    *substitute = true;
    return use_temporary(out);
}

static void
remove_contents(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;

    if (dir == NULL) {
        if (copy >= 0) {
            close(copy);
        }
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0) {
            unlinkat(fd, entry->d_name, 0);
        }
    }
    closedir(dir);
}

void
cachedir_close(struct cachedir *dir)
{
    if (dir->fd < 0) {
        return;
    }
    if (dir->temporary) {
        remove_contents(dir->fd);
        rmdir(dir->path);
    }
    close(dir->fd);
    dir->fd = -1;
}
