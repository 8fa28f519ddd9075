#include "client/filewrite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool filewrite_all(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;

    while (len > 0) {
        ssize_t n = write(fd, at, len);

        if (n < 0 && errno != EINTR) {
            return false;
        }
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Opens the directory that the last name of a path is in. */
static int open_parent(const char *path)
{
    size_t len = strlen(path);
    char *dir = NULL;
    int error;
    int fd;

    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    while (len > 0 && path[len - 1] != '/') {
        len--;
    }
    dir = len > 0 ? strndup(path, len) : strdup(".");
    if (dir == NULL) {
        return -1;
    }
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    error = errno;
    free(dir);
    errno = error;
    return fd;
}

bool filewrite_sync_name(const char *path)
{
    int fd = open_parent(path);
    int error;

    if (fd < 0) {
        return errno == EACCES;
    }
    error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    errno = error;
    return error == 0 || error == EINVAL || error == ENOSYS ||
           error == EOPNOTSUPP;
}

/* Is it a directory with nothing in it? */
static bool is_empty(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry = NULL;

    if (dir == NULL) {
        return false;
    }
    do {
        entry = readdir(dir);
    } while (entry != NULL && (strcmp(entry->d_name, ".") == 0 ||
                               strcmp(entry->d_name, "..") == 0));
    closedir(dir);
    return entry == NULL;
}

int filewrite_mkdir(const char *path, unsigned mode)
{
    int error;

    if (mkdir(path, mode) != 0) {
        error = errno;
        /* Whoever made it may have been killed before the sync below. */
        return error == EEXIST && is_empty(path) && !filewrite_sync_name(path)
                   ? errno
                   : error;
    }
    if (filewrite_sync_name(path)) {
        return 0;
    }
    error = errno;
    (void)rmdir(path); /* so that the next one tries again */
    return error;
}

bool filewrite_make_parents(char *path, unsigned mode)
{
    for (char *at = *path != '\0' ? strchr(path + 1, '/') : NULL; at != NULL;
         at = strchr(at + 1, '/')) {
        *at = '\0';
        int error = filewrite_mkdir(path, mode);

        *at = '/';
        if (error != 0 && error != EEXIST) {
            errno = error;
            return false;
        }
    }
    return true;
}

bool filewrite_make_path(char *path, unsigned mode)
{
    int error;

    if (!filewrite_make_parents(path, mode)) {
        return false;
    }
    error = filewrite_mkdir(path, mode);
    errno = error;
    return error == 0 || error == EEXIST;
}
