#include "client/recall.h"

#include <stdlib.h>
#include <string.h>

#include "client/filecid.h"
#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/data/merkle.h"

struct collected {
    uint8_t (*digest)[HASH_LEN];
    bool whole;
};

static void collect(void *arg, uint64_t index, const uint8_t *digest)
{
    struct collected *c = arg;

    if (digest == NULL) {
        c->whole = false;
    } else {
        memcpy(c->digest[index], digest, HASH_LEN);
    }
}

static int cid_of(struct recall *r, uint64_t size, uint8_t cid[HASH_LEN])
{
    struct hasher *hasher = hasher_new();
    uint8_t root[HASH_LEN];
    int err = hasher == NULL ? ERR_NOMEM : 0;

    if (err == 0) {
        err = merkle_root(hasher, size, r->chunk_log2, r->digest[0],
                          r->count, root);
    }
    if (err == 0) {
        err = cid_from_root(hasher, size, r->chunk_log2, root, cid);
    }
    hasher_free(hasher);
    return err;
}

int recall_cid(struct recall *recall, int fd, uint64_t size,
               uint8_t chunk_log2, uint8_t cid[HASH_LEN])
{
    struct recall *r = recall;
    uint64_t count = cid_chunk_count(size, chunk_log2);
    struct collected c = {.whole = true};
    int err;

    recall_clear(r);
    if (count == 0 || count > RECALL_CHUNKS_MAX || fstat(fd, &r->st) != 0) {
        return file_cid(fd, size, chunk_log2, cid);
    }
    c.digest = calloc(count, HASH_LEN);
    if (c.digest == NULL) {
        return ERR_NOMEM;
    }
    r->digest = c.digest;
    r->count = count;
    r->chunk_log2 = chunk_log2;
    err = file_chunks(fd, size, chunk_log2, collect, &c);
    if (err == 0) {
        err = c.whole ? cid_of(r, size, cid) : ERR_IO;
    }
    if (err != 0) {
        recall_clear(r);
    }
    return err;
}

bool recall_is_of(const struct recall *recall, int fd)
{
    const struct stat *was = &recall->st;
    struct stat is;

    return recall->digest != NULL && fstat(fd, &is) == 0 &&
           is.st_dev == was->st_dev && is.st_ino == was->st_ino &&
           is.st_size == was->st_size &&
           is.st_mtim.tv_sec == was->st_mtim.tv_sec &&
           is.st_mtim.tv_nsec == was->st_mtim.tv_nsec &&
           is.st_ctim.tv_sec == was->st_ctim.tv_sec &&
           is.st_ctim.tv_nsec == was->st_ctim.tv_nsec;
}

bool recall_digests(const struct recall *recall, uint8_t chunk_log2,
                    uint64_t first, uint64_t count,
                    uint8_t (*out)[HASH_LEN])
{
    if (recall->digest == NULL || chunk_log2 != recall->chunk_log2 ||
        first > recall->count || count > recall->count - first) {
        return false;
    }
    memcpy(out, recall->digest[first], count * HASH_LEN);
    return true;
}

void recall_clear(struct recall *recall)
{
    free(recall->digest);
    *recall = (struct recall){0};
}
