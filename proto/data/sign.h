/* Ed25519 (RFC 8032) by libcrypto, and the PEM form of a private key.
 *
 * A private key is its seed; whoever holds one forgets it with sign_forget().
 * Signing and verifying need the whole message in memory (or mapped).
 *
 * Implements MF1-S5 of spec/belay-manifest-1.md.  Pure; any thread. */
#ifndef PROTO_DATA_SIGN_H
#define PROTO_DATA_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

#define SIGN_SEED_LEN 32
#define SIGN_PUBLIC_LEN 32
#define SIGN_LEN 64

/* A buffer that holds any PEM text of sign_pem_encode(). */
#define SIGN_PEM_MAX 256

/* The public key of a seed.  Returns 0 or ERR_INTERNAL. */
int sign_public(const uint8_t seed[SIGN_SEED_LEN],
                uint8_t public_key[SIGN_PUBLIC_LEN]) MUST_USE;

/* Signs `len` bytes at `message`.  Returns 0 or ERR_INTERNAL. */
int sign_make(const uint8_t seed[SIGN_SEED_LEN], const void *message,
              size_t len, uint8_t signature[SIGN_LEN]) MUST_USE;

/* Returns 0 when the signature is of this key and message, ERR_SIGNATURE
 * when it is not (also when S is not below the group order), ERR_INTERNAL
 * when libcrypto fails. */
int sign_check(const uint8_t public_key[SIGN_PUBLIC_LEN], const void *message,
               size_t len, const uint8_t signature[SIGN_LEN]) MUST_USE;

/* Writes the seed as PKCS #8 in PEM and a NUL to `text`, as `openssl pkey`
 * reads it.  Returns 0 or ERR_INTERNAL. */
int sign_pem_encode(const uint8_t seed[SIGN_SEED_LEN],
                    char text[SIGN_PEM_MAX]) MUST_USE;

/* Reads the first private key in `len` bytes of text; lines before it do not
 * matter.  Returns 0; ERR_SYNTAX when there is none or it is encrypted;
 * ERR_UNSUPPORTED when it is not of Ed25519; ERR_NOMEM; `seed` is unspecified
 * then. */
int sign_pem_decode(const char *text, size_t len,
                    uint8_t seed[SIGN_SEED_LEN]) MUST_USE;

/* Overwrites a secret in a way that no compiler leaves out. */
void sign_forget(void *secret, size_t len);

#endif
