#include "client/recall.h"

#include <stdlib.h>
#include <string.h>

#include "client/filecid.h"
#include "proto/base/err.h"
#include "proto/data/cid.h"

int recall_cid(struct recall *recall, int fd, uint64_t size,
               uint8_t chunk_log2, uint8_t cid[HASH_LEN])
{
    struct recall *r = recall;
    uint64_t count = cid_chunk_count(size, chunk_log2);
    int err;

    recall_clear(r);
    if (count == 0 || count > RECALL_CHUNKS_MAX || fstat(fd, &r->st) != 0) {
        return file_cid(fd, size, chunk_log2, cid);
    }
    r->digest = calloc(count, HASH_LEN);
    if (r->digest == NULL) {
        return ERR_NOMEM;
    }
    r->count = count;
    r->chunk_log2 = chunk_log2;
    err = file_digests(fd, size, chunk_log2, r->digest, cid);
    if (err != 0) {
        recall_clear(r);
    }
    return err;
}

bool recall_is_of(const struct recall *recall, int fd)
{
    struct stat is;

    return recall->digest != NULL && fstat(fd, &is) == 0 &&
           file_is_as_before(&recall->st, &is);
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
