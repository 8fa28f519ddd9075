/* The digest cache on disk: an LMDB environment that all workers share.
 *
 * It is safe to delete, and never able to lie: a key holds device, inode,
 * size and both time stamps of the file, a value a checksum over key and
 * value. What cannot be read, in whatever way, counts as unknown. The cache
 * is opened after the fork, once in each process.
 *
 * Reading is cheap and any thread's; writing waits for other writers and
 * belongs on a worker thread. */
#ifndef SERVER_DIGESTCACHE_H
#define SERVER_DIGESTCACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/data/hash.h"
#include "server/digests.h"
#include "server/fileid.h"

#define DIGESTCACHE_TREE_ID 16
#define DIGESTCACHE_WORDS (DIGESTS_BLOCK / 64)

struct digestcache;

/* One block: bit i of known and zero, and digest i, are about chunk
 * block * DIGESTS_BLOCK + i. Digests whose bit is not set are unspecified. */
struct digestcache_block {
    uint64_t known[DIGESTCACHE_WORDS];
    uint64_t zero[DIGESTCACHE_WORDS];
    uint8_t digest[DIGESTS_BLOCK][HASH_LEN];
};

/* Which block. count: digests that it has room for, DIGESTS_BLOCK but for
 * the last block of a file. */
struct digestcache_key {
    struct fileid id;
    uint8_t chunk_log2;
    uint64_t block;
    uint32_t count;
};

/* Opens the environment in directory dir (borrowed for the call), making it
 * when it is not there. ERR_IO (with errno), ERR_NOMEM, or ERR_JOURNAL when
 * it is damaged or of another make: digestcache_repair(). max_bytes bounds
 * the records; when they reach it the older half goes. The file may be half as
 * large again. */
MUST_USE int digestcache_open(const char *dir, uint64_t max_bytes,
                              struct digestcache **out);
void digestcache_close(struct digestcache *cache);

/* Looks whether the cache in dir is whole, in a child process that may crash
 * over it, and moves a damaged or foreign one aside, so that the next open
 * makes a new one; *moved tells. Cheap after digestcache_mark_clean(), else
 * everything is read once. To be called where no thread runs. ERR_IO. */
MUST_USE int digestcache_repair(const char *dir, bool *moved);

/* No process of this server uses the cache any more: remember that it was
 * left in order. Failing to is harmless. */
void digestcache_mark_clean(const char *dir);

/* A random number made with the cache: part of every version token. */
const uint8_t *digestcache_tree_id(const struct digestcache *cache);

/* Changes whenever any process has stored something. */
uint64_t digestcache_generation(struct digestcache *cache);

/* False: nothing usable is stored. */
bool digestcache_read(struct digestcache *cache,
                      const struct digestcache_key *key,
                      struct digestcache_block *out);
bool digestcache_read_cid(struct digestcache *cache, const struct fileid *id,
                          uint8_t chunk_log2, uint8_t cid[HASH_LEN]);

/* Adds the known digests to what is stored. A digest that differs from the
 * stored one of the same state of a file throws the stored block away.
 * ERR_IO, ERR_NO_SPACE. */
MUST_USE int digestcache_write(struct digestcache *cache,
                               const struct digestcache_key *key,
                               const struct digestcache_block *block);
MUST_USE int digestcache_write_cid(struct digestcache *cache,
                                   const struct fileid *id,
                                   uint8_t chunk_log2,
                                   const uint8_t cid[HASH_LEN]);

#endif
