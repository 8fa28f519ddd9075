#include "proto/io/rand.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

#include "proto/base/check.h"

void
rand_bytes(void *buf, size_t len)
{
    uint8_t *next = buf;

    while (len > 0) {
        ssize_t got = getrandom(next, len, 0);
        if (got < 0) {
            BELAY_ASSERT(errno == EINTR);
            continue;
        }
        next += got;
        len -= (size_t)got;
    }
}

uint64_t
rand_u64(void)
{
    uint64_t v;

    rand_bytes(&v, sizeof(v));
    return v;
}
