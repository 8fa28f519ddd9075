/* SHA-256 of two messages at once with the SHA instructions of x86-64.
 *
 * A round of SHA-256 waits for the one before it, so one message alone leaves
 * the unit half idle; a second, independent message fills the gaps.  Private
 * to proto/data/hash.c, which falls back to libcrypto where this is missing.
 * Pure functions: no state, no allocation, any thread. */
#ifndef PROTO_DATA_SHA2LANE_H
#define PROTO_DATA_SHA2LANE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/data/hash.h"

/* Does this processor, and this build, have what sha2lane_hash() needs? */
bool sha2lane_available(void);

/* Hashes `count` buffers of any lengths; `items` as in hash_sha256_many().
 * Requires sha2lane_available(). */
void sha2lane_hash(const struct hash_item *items, size_t count);

#endif
