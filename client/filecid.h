/* The content id of a local file (belay-id-1).
 *
 * Reads the whole file, two chunks at a time.  Blocks: worker threads. */
#ifndef CLIENT_FILECID_H
#define CLIENT_FILECID_H

#include <stdint.h>

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

#endif
