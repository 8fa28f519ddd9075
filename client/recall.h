/* Recall: the digests of a local file that was read already, so that it need
 * not be read once more.
 *
 * They are hints: what is made of the file is compared with its digest when
 * that happens.  One thread at a time, or any number that only look. */
#ifndef CLIENT_RECALL_H
#define CLIENT_RECALL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "proto/base/check.h"
#include "proto/data/hash.h"

/* Of files with more chunks nothing is kept: 8 MiB of digests. */
#define RECALL_CHUNKS_MAX ((uint64_t)1 << 18)

struct recall { /* all zero: of nothing */
    uint8_t (*digest)[HASH_LEN];
    uint64_t count;
    uint8_t chunk_log2;
    struct stat st; /* of the file, before it was read */
};

/* file_cid(), and the digests are kept if there are not too many of them. */
int recall_cid(struct recall *recall, int fd, uint64_t size,
               uint8_t chunk_log2, uint8_t cid[HASH_LEN]) MUST_USE;
/* Are these of this file, as it is now? */
bool recall_is_of(const struct recall *recall, int fd);
/* Copies those of chunks [first, first + count); false: not all are known on
 * this grid. */
bool recall_digests(const struct recall *recall, uint8_t chunk_log2,
                    uint64_t first, uint64_t count,
                    uint8_t (*out)[HASH_LEN]);
/* Harmless twice. */
void recall_clear(struct recall *recall);

#endif
