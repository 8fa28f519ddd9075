/* SHA-256 and its domain separation: the only user of libcrypto's EVP.
 *
 * A hasher is a reusable context.  One thread at a time may use it; different
 * hashers are independent.  Where the processor has SHA instructions, several
 * buffers are hashed two at a time (proto/data/sha2lane.h), which makes better
 * use of them than one buffer alone; the results are the same everywhere.
 *
 * Implements the digests of spec/belay-id-1.md (chunks, tree, content id). */
#ifndef PROTO_DATA_HASH_H
#define PROTO_DATA_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

/* Bytes in a SHA-256 digest, a tree node and a content id. */
#define HASH_LEN 32

struct hasher;

/* One buffer of hash_sha256_many().  `data` is borrowed for the call and may
 * be NULL when `len` is zero; the digest goes to `out`, HASH_LEN bytes. */
struct hash_item {
    const void *data;
    size_t len;
    uint8_t *out;
};

/* Makes a hasher, or returns NULL when memory or the SHA-256 implementation
 * of libcrypto is missing. */
struct hasher *hasher_new(void);

/* Like hasher_new(), but never uses two lanes: the reference for tests and
 * benchmarks. */
struct hasher *hasher_new_reference(void);

/* Frees the hasher; NULL is allowed. */
void hasher_free(struct hasher *hasher);

/* Hashes `len` bytes at `data` into `out`.  Ends any incremental hash in
 * progress.  Returns 0, or ERR_INTERNAL when libcrypto fails. */
int hash_sha256(struct hasher *hasher, const void *data, size_t len,
                uint8_t out[HASH_LEN]) MUST_USE;

/* Hashes `count` buffers; each result is exactly that of hash_sha256().  Ends
 * any incremental hash in progress.  Give the buffers in one call and of equal
 * length where possible.  Returns 0, or ERR_INTERNAL when libcrypto fails; the
 * outputs are then unspecified. */
int hash_sha256_many(struct hasher *hasher, const struct hash_item *items,
                     size_t count) MUST_USE;

/* Hashes the one-byte domain `prefix` (TREE_LEAF, TREE_NODE or TREE_CID of
 * proto/base/registry.h) followed by `len` bytes at `data`.  Inputs of
 * different domains can never be the same.  Returns as hash_sha256(). */
int hash_prefixed(struct hasher *hasher, uint8_t prefix, const void *data,
                  size_t len, uint8_t out[HASH_LEN]) MUST_USE;

/* Incremental hashing: begin, any number of updates, final.  Begin may be
 * called again at any time and forgets what came before; update and final
 * without begin are errors of the caller (asserted).  Each returns 0, or
 * ERR_INTERNAL when libcrypto fails. */
int hasher_begin(struct hasher *hasher) MUST_USE;
int hasher_update(struct hasher *hasher, const void *data,
                  size_t len) MUST_USE;
int hasher_final(struct hasher *hasher, uint8_t out[HASH_LEN]) MUST_USE;

/* The version of libcrypto that runs, a constant text. */
const char *hash_library(void);

/* Could libcrypto make itself ready? If memory was out at its first call, it
 * never can in this process, and does not look out for it: then nothing else
 * of it may be called. All that uses it asks first. Any thread. */
bool hash_ready(void);

#endif
