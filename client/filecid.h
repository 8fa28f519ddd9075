/* The content id of a local file (belay-id-1).
 *
 * Reads the whole file, two chunks at a time.  Blocks: worker threads. */
#ifndef CLIENT_FILECID_H
#define CLIENT_FILECID_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "proto/data/hash.h"

/* CID of the first `size` bytes of `fd` on the grid of 2^chunk_log2 bytes.
 * Returns 0, ERR_IO (also when the file is shorter), or ERR_NOMEM. */
int file_cid(int fd, uint64_t size, uint8_t chunk_log2,
             uint8_t cid[HASH_LEN]) MUST_USE;

/* Tells the digest of each chunk of the file, or NULL for one that is not
 * there whole or cannot be read, in order.  `size` is what the file should
 * have.  ERR_NOMEM, ERR_INTERNAL. */
int file_chunks(int fd, uint64_t size, uint8_t chunk_log2,
                void (*each)(void *arg, uint64_t index,
                             const uint8_t *digest),
                void *arg) MUST_USE;

/* The digests of all chunks, which `digest` has room for, and the CID that
 * they make.  Errors as file_cid(), or ERR_INTERNAL. */
int file_digests(int fd, uint64_t size, uint8_t chunk_log2,
                 uint8_t (*digest)[HASH_LEN],
                 uint8_t cid[HASH_LEN]) MUST_USE;

/* Is it the file that it was, and did nobody write to it? */
bool file_is_as_before(const struct stat *before, const struct stat *now);

#endif
