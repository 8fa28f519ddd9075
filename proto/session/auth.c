#include "proto/session/auth.h"

/* 0 when equal, else 1, without a branch on what is compared. */
static uint32_t
differ(const uint8_t *a, const uint8_t *b)
{
    uint32_t bits = 0;

    for (size_t i = 0; i < HASH_LEN; i++) {
        bits |= (uint32_t)(a[i] ^ b[i]);
    }
    return (bits + 0xff) >> 8; /* bits is below 256 */
}

uint32_t
auth_find_token(const struct auth_table *table, struct bytes_view token)
{
    uint8_t digest[HASH_LEN];
    uint32_t found = AUTH_NOBODY;

    if (hash_sha256(table->hasher, token.ptr, token.len, digest) != 0) {
        return AUTH_NOBODY;
    }
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t mask = differ(digest, table->tokens[i]) - 1; /* all or 0 */
        found = (i & mask) | (found & ~mask);
    }
    return found;
}
