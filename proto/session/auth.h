/* Auth: who gets in, as a value: the bearer tokens that a server knows, by
 * their digests, and whether the transport may vouch for a client.
 *
 * Pure; made by the runner, read by its senders on the same thread. */
#ifndef PROTO_SESSION_AUTH_H
#define PROTO_SESSION_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/base/reader.h"
#include "proto/data/hash.h"

struct auth_table {
    bool bearer;   /* tokens are taken */
    bool external; /* clients may be known by their certificate */
    const uint8_t (*tokens)[HASH_LEN]; /* SHA-256 of each; borrowed */
    uint32_t count;
    struct hasher *hasher; /* borrowed */
};

/* No token of the table. */
#define AUTH_NOBODY UINT32_MAX

/* The token's place in the table, or AUTH_NOBODY. The time taken depends on
 * the length of the token and the number of entries only: digests are
 * compared, all of them, and each as a whole (B1-S6). */
uint32_t auth_find_token(const struct auth_table *table,
                         struct bytes_view token);

#endif
