/* The file of the digest cache: its name, its records, its check.
 *
 * A value begins with RECORD_HEAD bytes: u32 CRC-32 over the key and the rest
 * of the value, u64 seconds of its writing. For digestcache*.c only. */
#ifndef SERVER_DIGESTCACHE_FILE_H
#define SERVER_DIGESTCACHE_FILE_H

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/digestcache.h"

enum record_kind {
    RECORD_BLOCK = 'b', /* bitmaps known and zero, digests */
    RECORD_CID = 'c',   /* content id */
    RECORD_META = 'm',  /* format and tree id; key of one byte */
};

/* kind, device, inode, size, mtime, ctime, chunk_log2, block */
#define RECORD_KEY_MAX 50
#define RECORD_HEAD 12

/* Another text for another format. */
#define RECORD_FORMAT "belayd digests 1"
#define RECORD_FORMAT_LEN 16
#define RECORD_META_LEN (RECORD_HEAD + RECORD_FORMAT_LEN + DIGESTCACHE_TREE_ID)

/* Age of what is never evicted. */
#define RECORD_AGELESS UINT64_MAX

#define DIGESTCACHE_PATH_MAX 4096

/* The cache's file in dir, with a suffix. False when it is too long. */
bool digestcache_path(const char *dir, const char *suffix,
                      char path[DIGESTCACHE_PATH_MAX]);

uint32_t record_crc(const uint8_t *key, size_t key_len, const uint8_t *value,
                    size_t len);
bool record_ok(const uint8_t *key, size_t key_len, const uint8_t *value,
               size_t len);
bool record_meta_ok(const MDB_val *value);

/* When it was written, in seconds; 0 for a record that is not whole. */
uint64_t record_age(const MDB_val *key, const MDB_val *value);

#endif
