#include "proto/data/sign.h"

#include <stdbool.h>

/* libcrypto has a type by the name of one of our errors. */
#define ERR_STATE libcrypto_err_state
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#undef ERR_STATE

#include "proto/base/check.h"
#include "proto/data/hash.h"

/* Whatever failed is told by our result.  What stays in libcrypto's queue
 * would be taken for an error of the next TLS call of this thread. */
static int finish(int err)
{
    ERR_clear_error();
    return err;
}

/* Why something could not be read: what is wrong with it is in the queue. */
static int read_failed(void)
{
    unsigned long first = ERR_peek_error();

    return first == 0 || ERR_GET_REASON(first) == ERR_R_MALLOC_FAILURE
               ? ERR_NOMEM
               : ERR_SYNTAX;
}

static EVP_PKEY *private_key(const uint8_t seed[SIGN_SEED_LEN])
{
    return !hash_ready() ? NULL
                         : EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL,
                                                        seed, SIGN_SEED_LEN);
}

int sign_public(const uint8_t seed[SIGN_SEED_LEN],
                uint8_t public_key[SIGN_PUBLIC_LEN])
{
    EVP_PKEY *key = private_key(seed);
    size_t len = SIGN_PUBLIC_LEN;
    int err = ERR_INTERNAL;
    if (key != NULL &&
        EVP_PKEY_get_raw_public_key(key, public_key, &len) == 1 &&
        len == SIGN_PUBLIC_LEN) {
        err = 0;
    }
    EVP_PKEY_free(key);
    return finish(err);
}

int sign_make(const uint8_t seed[SIGN_SEED_LEN], const void *message,
              size_t len, uint8_t signature[SIGN_LEN])
{
    EVP_PKEY *key = private_key(seed);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t got = SIGN_LEN;
    int err = ERR_INTERNAL;
    if (key != NULL && ctx != NULL &&
        EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
        EVP_DigestSign(ctx, signature, &got, message, len) == 1 &&
        got == SIGN_LEN) {
        err = 0;
    }
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return finish(err);
}

int sign_check(const uint8_t public_key[SIGN_PUBLIC_LEN], const void *message,
               size_t len, const uint8_t signature[SIGN_LEN])
{
    if (!hash_ready()) {
        return ERR_INTERNAL;
    }
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
                                                public_key, SIGN_PUBLIC_LEN);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int err = ERR_INTERNAL;
    if (key != NULL && ctx != NULL &&
        EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1) {
        bool good = EVP_DigestVerify(ctx, signature, SIGN_LEN, message,
                                     len) == 1;
        err = good ? 0 : ERR_SIGNATURE;
    }
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return finish(err);
}

int sign_pem_encode(const uint8_t seed[SIGN_SEED_LEN],
                    char text[SIGN_PEM_MAX])
{
    EVP_PKEY *key = private_key(seed);
    BIO *bio = BIO_new(BIO_s_secmem());
    int err = ERR_INTERNAL;
    if (key != NULL && bio != NULL &&
        PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL,
                                      NULL) == 1) {
        int len = BIO_read(bio, text, SIGN_PEM_MAX - 1);
        if (len > 0 && BIO_ctrl_pending(bio) == 0) {
            text[len] = '\0';
            err = 0;
        }
    }
    BIO_free(bio);
    EVP_PKEY_free(key);
    return finish(err);
}

/* Without it libcrypto would ask the terminal. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

int sign_pem_decode(const char *text, size_t len, uint8_t seed[SIGN_SEED_LEN])
{
    if (len == 0 || len > INT32_MAX) {
        return ERR_SYNTAX;
    }
    BIO *bio = hash_ready() ? BIO_new_mem_buf(text, (int)len) : NULL;
    if (bio == NULL) {
        return finish(ERR_INTERNAL);
    }
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    size_t got = SIGN_SEED_LEN;
    int err = key != NULL ? 0 : read_failed();
    if (key != NULL) {
        bool ours = EVP_PKEY_get_id(key) == EVP_PKEY_ED25519 &&
                    EVP_PKEY_get_raw_private_key(key, seed, &got) == 1 &&
                    got == SIGN_SEED_LEN;
        err = ours ? 0 : ERR_UNSUPPORTED;
    }
    EVP_PKEY_free(key);
    BIO_free(bio);
    return finish(err);
}

void sign_forget(void *secret, size_t len)
{
    OPENSSL_cleanse(secret, len);
}
