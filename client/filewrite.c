#include "client/filewrite.h"

#include <errno.h>
#include <stdint.h>
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

bool filewrite_make_path(char *path, unsigned mode)
{
    for (char *at = *path != '\0' ? strchr(path + 1, '/') : NULL; at != NULL;
         at = strchr(at + 1, '/')) {
        *at = '\0';
        int result = mkdir(path, mode);

        *at = '/';
        if (result != 0 && errno != EEXIST) {
            return false;
        }
    }
    return mkdir(path, mode) == 0 || errno == EEXIST;
}
