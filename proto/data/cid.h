/* Content ids and the cut of a file into chunks.
 *
 * A file of `size` bytes with `chunk_log2` = c has chunks of 2^c bytes; only
 * the last may be shorter.  Its content id (CID) names size, c and all bytes
 * at once.  The same bytes cut with another c have another CID, so a CID is
 * only ever quoted together with c.
 *
 * Wherever a function takes `chunk_log2`, cid_chunk_log2_ok() must hold
 * (asserted): callers check what a peer sent.
 *
 * Implements sections 9.1 and 9.3 of spec/belay-id-1.md.  Pure; any thread. */
#ifndef PROTO_DATA_CID_H
#define PROTO_DATA_CID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/data/hash.h"

/* Characters of the text form `bl1-18-<64 hex>`, without the final NUL. */
#define CID_TEXT_LEN 71

/* Is this a chunk_log2 of the protocol, 12..22? */
bool cid_chunk_log2_ok(unsigned int chunk_log2);

/* May a file have this size and chunk_log2?  Not beyond 2^63 - 1 bytes, nor
 * beyond 2^LIMIT_BLOCK_LOG2 chunks (rule ID1-C5). */
bool cid_geometry_ok(uint64_t size, unsigned int chunk_log2);

/* The chunk_log2 that a server picks for a file of `size` bytes when nobody
 * asks for another: all servers that follow it give a file the same CID. */
uint8_t cid_recommended_chunk_log2(uint64_t size);

/* How many chunks a file has; 0 for an empty one, at most 2^52. */
uint64_t cid_chunk_count(uint64_t size, uint8_t chunk_log2);

/* Length of chunk `index` in bytes, 1..2^c.  Requires index < chunk count. */
uint32_t cid_chunk_len(uint64_t size, uint8_t chunk_log2, uint64_t index);

/* Where chunk `index` starts, in bytes.  Requires that it lies in a file. */
uint64_t cid_chunk_offset(uint8_t chunk_log2, uint64_t index);

/* The CID of a file with this size, chunk_log2 and tree root (merkle.h).
 * Returns 0 or ERR_INTERNAL. */
int cid_from_root(struct hasher *hasher, uint64_t size, uint8_t chunk_log2,
                  const uint8_t root[HASH_LEN],
                  uint8_t cid[HASH_LEN]) MUST_USE;

/* Writes the text form and a NUL to `text`. */
void cid_encode(uint8_t chunk_log2, const uint8_t cid[HASH_LEN],
                char text[CID_TEXT_LEN + 1]);

/* Reads the text form from exactly `len` characters at `text`, which need no
 * NUL.  There is one form: lower case, two digits of c.  Returns 0, or
 * ERR_SYNTAX with the outputs unchanged. */
int cid_parse(const char *text, size_t len, uint8_t *chunk_log2,
              uint8_t cid[HASH_LEN]) MUST_USE;

/* Writes 2 * `len` lower-case hex digits and a NUL to `text`. */
void cid_hex_encode(const uint8_t *bytes, size_t len, char *text);

/* Reads exactly 2 * `len` hex digits of either case from `text` into `bytes`.
 * Returns 0, or ERR_SYNTAX with `bytes` unspecified. */
int cid_hex_decode(const char *text, size_t len, uint8_t *bytes) MUST_USE;

#endif
