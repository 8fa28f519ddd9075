#include "server/fileid.h"

#include <string.h>

#include "proto/base/registry.h"

#define NS_PER_S INT64_C(1000000000)

/* The window, and two steps of the coarsest clock that kernels stamp with. */
#define SETTLED_NS ((int64_t)TIMER_RACY_WINDOW_MS * 1000000 + 20000000)

struct fileid
fileid_of(const struct stat *st)
{
    return (struct fileid){
        .dev = st->st_dev,
        .ino = st->st_ino,
        .size = (uint64_t)st->st_size,
        .mtime_ns = st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec,
        .ctime_ns = st->st_ctim.tv_sec * NS_PER_S + st->st_ctim.tv_nsec,
    };
}

bool
fileid_equal(const struct fileid *a, const struct fileid *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

int
fileid_check(const struct fileid *id, int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return ERR_IO;
    }
    struct fileid now = fileid_of(&st);
    return fileid_equal(id, &now) ? 0 : ERR_CHANGED;
}

bool
fileid_is_settled(const struct fileid *id, int64_t now_ns)
{
    /* A change time in the future proves nothing; a modification time there
     * was set by hand, which moved the change time. */
    return id->ctime_ns < now_ns - SETTLED_NS &&
           (id->mtime_ns < now_ns - SETTLED_NS ||
            id->mtime_ns > now_ns + SETTLED_NS);
}

uint64_t
fileid_rest_ms(const struct fileid *id, int64_t now_ns)
{
    if (fileid_is_settled(id, now_ns)) {
        return 0;
    }
    int64_t last =
        id->mtime_ns > id->ctime_ns && id->mtime_ns <= now_ns + SETTLED_NS
            ? id->mtime_ns
            : id->ctime_ns;
    int64_t ms = (last + SETTLED_NS - now_ns) / 1000000 + 1;
    return ms < FILEID_REST_MAX_MS ? (uint64_t)ms : FILEID_REST_MAX_MS;
}
