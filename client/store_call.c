#include "client/store_call.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "client/store.h"
#include "proto/base/check.h"

int store_call_openat(const struct store_sys *sys, int dir, const char *name,
                      int flags, mode_t mode)
{
    int fd;

    do {
        fd = sys->openat(dir, name, flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

int store_call_ftruncate(const struct store_sys *sys, int fd, uint64_t size)
{
    int rc;

    BELAY_ASSERT(size <= INT64_MAX);
    do {
        rc = sys->ftruncate(fd, (off_t)size);
    } while (rc < 0 && errno == EINTR);
    return rc;
}

int store_call_punch_hole(const struct store_sys *sys, int fd, uint64_t offset,
                          uint64_t len)
{
    int rc;

    BELAY_ASSERT(offset <= INT64_MAX && len <= INT64_MAX - offset);
    do {
        rc = sys->punch_hole(fd, (off_t)offset, (off_t)len);
    } while (rc < 0 && errno == EINTR);
    return rc;
}

static int repeat(int (*call)(int fd), int fd)
{
    int rc;

    do {
        rc = call(fd);
    } while (rc < 0 && errno == EINTR);
    return rc;
}

int store_call_fsync(const struct store_sys *sys, int fd)
{
    return repeat(sys->fsync, fd);
}

int store_call_fdatasync(const struct store_sys *sys, int fd)
{
    return repeat(sys->fdatasync, fd);
}

int store_call_lock(const struct store_sys *sys, int fd)
{
    return repeat(sys->lock, fd);
}

int store_call_close(const struct store_sys *sys, int *fd)
{
    int rc = 0;

    if (*fd >= 0) {
        rc = sys->close(*fd);
        *fd = -1;
    }
    return rc < 0 && errno == EINTR ? 0 : rc;
}

int store_call_write(const struct store_sys *sys, int fd,
                     const struct iovec *iov, size_t count, uint64_t offset)
{
    struct iovec left[STORE_IOV_MAX];
    size_t first = 0;

    BELAY_ASSERT(count >= 1 && count <= STORE_IOV_MAX);
    memcpy(left, iov, count * sizeof *iov);
    for (;;) {
        ssize_t put;
        size_t done;

        while (first < count && left[first].iov_len == 0) {
            first++;
        }
        if (first == count) {
            return 0;
        }
        BELAY_ASSERT(offset <= INT64_MAX);
        put = sys->pwritev(fd, left + first, (int)(count - first),
                           (off_t)offset);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            /* A write of nothing would be repeated for ever. */
            errno = put < 0 ? errno : EIO;
            return -1;
        }
        done = (size_t)put;
        offset += done;
        while (done > 0) {
            size_t step = done < left[first].iov_len ? done
                                                     : left[first].iov_len;

            left[first].iov_base = (uint8_t *)left[first].iov_base + step;
            left[first].iov_len -= step;
            done -= step;
            first += left[first].iov_len == 0;
        }
    }
}

int store_call_read(const struct store_sys *sys, int fd,
                    const struct iovec *buffer, uint64_t offset, size_t *got)
{
    *got = 0;
    while (*got < buffer->iov_len) {
        ssize_t n;

        BELAY_ASSERT(offset <= (uint64_t)INT64_MAX - *got);
        n = sys->pread(fd, (uint8_t *)buffer->iov_base + *got,
                       buffer->iov_len - *got, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        if (n == 0) {
            break;
        }
        *got += (size_t)n;
    }
    return 0;
}
