#include "server/resident.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Distance of the single bytes that are probed where the kernel has no
 * cachestat: kernels read ahead in larger steps. */
#define PROBE_BYTES (64u * 1024u)

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

struct range_arg {
    uint64_t off;
    uint64_t len;
};

struct cache_arg {
    uint64_t cached;
    uint64_t dirty;
    uint64_t writeback;
    uint64_t evicted;
    uint64_t recently_evicted;
};

static bool
probe(int fd, uint64_t offset)
{
    uint8_t byte;
    struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
    return preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT) == 1;
}

bool
resident_all(int fd, uint64_t offset, uint32_t len)
{
    struct range_arg range = { .off = offset, .len = len };
    struct cache_arg cache = { .cached = 0 };
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (syscall(SYS_cachestat, fd, &range, &cache, 0) == 0) {
        uint64_t first = offset / page;
        uint64_t last = (offset + len - 1) / page;
        return cache.cached >= last - first + 1;
    }
    for (uint64_t at = offset; at < offset + len; at += PROBE_BYTES) {
        if (!probe(fd, at)) {
            return false;
        }
    }
    return probe(fd, offset + len - 1);
}
