#include "client/donor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/err.h"

static int open_plain(const char *dir, const char *name, bool plain)
{
    int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd;

    if (at < 0) {
        return -1;
    }
    /* Not to hang on a FIFO. */
    fd = openat(at, name,
                O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC |
                    (plain ? O_NOFOLLOW : 0));
    close(at);
    return fd;
}

int donors_add(struct donors *donors, const char *dir, const char *name,
               bool plain)
{
    struct donor *donor = &donors->donor[donors->count];
    struct stat st;

    if (donors->count == TRANSFER_DONORS_MAX) {
        return ERR_LIMIT;
    }
    donor->fd = open_plain(dir, name, plain);
    if (donor->fd < 0) {
        return ERR_IO;
    }
    int err = fstat(donor->fd, &st) != 0 ? ERR_IO
              : !S_ISREG(st.st_mode)     ? ERR_NOT_A_FILE
                                         : 0;
    if (err != 0) {
        int error = errno;
        close(donor->fd);
        errno = error;
        return err;
    }
    donor->self = false;
    donor->size = (uint64_t)st.st_size;
    donors->count++;
    return 0;
}

enum belay_reason donors_reason(int err)
{
    return err == ERR_IO ? belay_reason_of_file(errno) : BELAY_USAGE;
}

const char *donors_problem(int err)
{
    if (err == ERR_IO && errno == ELOOP) {
        return "it is a symbolic link, which is not followed";
    }
    return err == ERR_IO ? strerror(errno) : err_sentence(err);
}

void donor_refresh(const struct donor *donor)
{
    (void)fdatasync(donor->fd);
    (void)posix_fadvise(donor->fd, 0, 0, POSIX_FADV_DONTNEED);
}

void donors_close(struct donors *donors)
{
    for (unsigned k = 0; k < donors->count; k++) {
        close(donors->donor[k].fd);
    }
    donors->count = 0;
}

int donor_read(const struct donor *donor, uint64_t offset, void *buffer,
               size_t len)
{
    uint8_t *to = buffer;

    while (len > 0) {
        ssize_t n = pread(donor->fd, to, len, (off_t)offset);

        if (n > 0) {
            to += n;
            offset += (uint64_t)n;
            len -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            return ERR_IO;
        }
    }
    return 0;
}
