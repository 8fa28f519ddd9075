#include "proto/data/hash.h"

#include <stdlib.h>

/* libcrypto has a type by the name of one of our errors. */
#define ERR_STATE libcrypto_err_state
#include <openssl/crypto.h>
#include <openssl/evp.h>
#undef ERR_STATE

#include "proto/base/check.h"
#include "proto/base/registry.h"
#include "proto/data/sha2lane.h"

BELAY_STATIC_ASSERT(HASH_LEN == DIGEST_LEN, "SHA-256 is the protocol's hash");

struct hasher {
    EVP_MD *md;
    EVP_MD_CTX *ctx;
    bool lanes;  /* The processor can hash two buffers at once. */
    bool open;   /* Between begin and final. */
};

bool hash_ready(void)
{
    return OSSL_LIB_CTX_get0_global_default() != NULL;
}

struct hasher *hasher_new_reference(void)
{
    if (!hash_ready()) {
        return NULL;
    }
    struct hasher *hasher = calloc(1, sizeof *hasher);
    if (hasher == NULL) {
        return NULL;
    }
    /* Fetching by name on every digest costs more than a short hash does. */
    hasher->md = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    hasher->ctx = EVP_MD_CTX_new();
    if (hasher->md == NULL || hasher->ctx == NULL) {
        hasher_free(hasher);
        return NULL;
    }
    return hasher;
}

struct hasher *hasher_new(void)
{
    struct hasher *hasher = hasher_new_reference();
    if (hasher != NULL) {
        hasher->lanes = sha2lane_available();
    }
    return hasher;
}

void hasher_free(struct hasher *hasher)
{
    if (hasher == NULL) {
        return;
    }
    EVP_MD_CTX_free(hasher->ctx);
    EVP_MD_free(hasher->md);
    free(hasher);
}

int hasher_begin(struct hasher *hasher)
{
    hasher->open = false;
    if (EVP_DigestInit_ex2(hasher->ctx, hasher->md, NULL) != 1) {
        return ERR_INTERNAL;
    }
    hasher->open = true;
    return 0;
}

int hasher_update(struct hasher *hasher, const void *data, size_t len)
{
    BELAY_ASSERT(hasher->open);
    BELAY_ASSERT(data != NULL || len == 0);
    if (len > 0 && EVP_DigestUpdate(hasher->ctx, data, len) != 1) {
        return ERR_INTERNAL;
    }
    return 0;
}

int hasher_final(struct hasher *hasher, uint8_t out[HASH_LEN])
{
    BELAY_ASSERT(hasher->open);
    hasher->open = false;
    unsigned int out_len = 0;
    if (EVP_DigestFinal_ex(hasher->ctx, out, &out_len) != 1) {
        return ERR_INTERNAL;
    }
    BELAY_ASSERT(out_len == HASH_LEN);
    return 0;
}

int hash_sha256(struct hasher *hasher, const void *data, size_t len,
                uint8_t out[HASH_LEN])
{
    int err = hasher_begin(hasher);
    if (err == 0) {
        err = hasher_update(hasher, data, len);
    }
    if (err == 0) {
        err = hasher_final(hasher, out);
    }
    return err;
}

int hash_prefixed(struct hasher *hasher, uint8_t prefix, const void *data,
                  size_t len, uint8_t out[HASH_LEN])
{
    int err = hasher_begin(hasher);
    if (err == 0) {
        err = hasher_update(hasher, &prefix, sizeof prefix);
    }
    if (err == 0) {
        err = hasher_update(hasher, data, len);
    }
    if (err == 0) {
        err = hasher_final(hasher, out);
    }
    return err;
}

int hash_sha256_many(struct hasher *hasher, const struct hash_item *items,
                     size_t count)
{
    hasher->open = false;
    /* A single buffer has no partner, and libcrypto is at its best there. */
    if (hasher->lanes && count > 1) {
        sha2lane_hash(items, count);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        int err = hash_sha256(hasher, items[i].data, items[i].len,
                              items[i].out);
        if (err != 0) {
            return err;
        }
    }
    return 0;
}

const char *hash_library(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
