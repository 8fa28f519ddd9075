/* Memory, libcrypto and zlib that fail: for a job and each n, the n-th of
 * their calls fails.  For programs without sanitizers, which have their own
 * malloc. */

#ifndef TESTS_UNIT_FAILING_H
#define TESTS_UNIT_FAILING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Names that are ours as well. */
#define ERR_STATE libcrypto_err_state
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#undef ERR_STATE
#undef LINE_MAX

#ifndef BELAY_SANITIZED

/* ---- Calls that fail. */

static bool counting;
static unsigned calls;
static unsigned fail_at; /* 0: none */
static long held;        /* blocks of memory, while counting */

static bool fails(void)
{
    return counting && ++calls == fail_at;
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *block);

void *malloc(size_t size)
{
    void *block = fails() ? NULL : __libc_malloc(size);

    held += counting && block != NULL;
    return block;
}

void *calloc(size_t count, size_t size)
{
    void *block = fails() ? NULL : __libc_calloc(count, size);

    held += counting && block != NULL;
    return block;
}

void *realloc(void *old, size_t size)
{
    void *block = fails() ? NULL : __libc_realloc(old, size);

    held += counting && old == NULL && block != NULL;
    return block;
}

void free(void *block)
{
    held -= counting && block != NULL;
    __libc_free(block);
}

/* That of the C library need not come by here. */
char *strdup(const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = malloc(len);

    return copy != NULL ? memcpy(copy, text, len) : NULL;
}

static void *real(const char *name)
{
    bool before = counting;
    void *found;

    counting = false; /* dlsym() may need memory of its own */
    found = dlsym(RTLD_NEXT, name);
    counting = before;
    assert_non_null(found);
    return found;
}

/* One line for each library call whose failure has a branch. */
#define STAND_IN(type, name, bad, params, args)                              \
    type name params                                                         \
    {                                                                        \
        static type(*call) params;                                           \
                                                                             \
        if (call == NULL) {                                                  \
            *(void **)&call = real(#name);                                   \
        }                                                                    \
        return fails() ? bad : call args;                                    \
    }

STAND_IN(int, EVP_DigestInit_ex2, 0,
         (EVP_MD_CTX * c, const EVP_MD *m, const OSSL_PARAM p[]), (c, m, p))
STAND_IN(int, EVP_DigestUpdate, 0, (EVP_MD_CTX * c, const void *d, size_t n),
         (c, d, n))
STAND_IN(int, EVP_DigestFinal_ex, 0,
         (EVP_MD_CTX * c, unsigned char *out, unsigned *n), (c, out, n))
STAND_IN(int, EVP_PKEY_get_raw_public_key, 0,
         (const EVP_PKEY *k, unsigned char *out, size_t *n), (k, out, n))
STAND_IN(int, EVP_PKEY_get_raw_private_key, 0,
         (const EVP_PKEY *k, unsigned char *out, size_t *n), (k, out, n))
STAND_IN(int, EVP_DigestSignInit, 0,
         (EVP_MD_CTX * c, EVP_PKEY_CTX **p, const EVP_MD *m, ENGINE *e,
          EVP_PKEY *k),
         (c, p, m, e, k))
STAND_IN(int, EVP_DigestVerifyInit, 0,
         (EVP_MD_CTX * c, EVP_PKEY_CTX **p, const EVP_MD *m, ENGINE *e,
          EVP_PKEY *k),
         (c, p, m, e, k))
STAND_IN(int, EVP_DigestSign, 0,
         (EVP_MD_CTX * c, unsigned char *out, size_t *n,
          const unsigned char *d, size_t len),
         (c, out, n, d, len))
STAND_IN(int, PEM_write_bio_PKCS8PrivateKey, 0,
         (BIO * b, const EVP_PKEY *k, const EVP_CIPHER *e, const char *s,
          int n, pem_password_cb *cb, void *u),
         (b, k, e, s, n, cb, u))
STAND_IN(EVP_MD_CTX *, EVP_MD_CTX_new, NULL, (void), ())
STAND_IN(EVP_MD *, EVP_MD_fetch, NULL,
         (OSSL_LIB_CTX * c, const char *name, const char *p), (c, name, p))
STAND_IN(EVP_PKEY *, EVP_PKEY_new_raw_private_key, NULL,
         (int type, ENGINE *e, const unsigned char *k, size_t n),
         (type, e, k, n))
STAND_IN(EVP_PKEY *, EVP_PKEY_new_raw_public_key, NULL,
         (int type, ENGINE *e, const unsigned char *k, size_t n),
         (type, e, k, n))
STAND_IN(BIO *, BIO_new, NULL, (const BIO_METHOD *m), (m))
STAND_IN(BIO *, BIO_new_mem_buf, NULL, (const void *d, int n), (d, n))
STAND_IN(int, inflateInit2_, Z_MEM_ERROR,
         (z_streamp z, int bits, const char *version, int size),
         (z, bits, version, size))
STAND_IN(int, deflateInit2_, Z_MEM_ERROR,
         (z_streamp z, int level, int method, int bits, int memory, int how,
          const char *version, int size),
         (z, level, method, bits, memory, how, version, size))
STAND_IN(int, inflateReset, Z_STREAM_ERROR, (z_streamp z), (z))
STAND_IN(int, deflateReset, Z_STREAM_ERROR, (z_streamp z), (z))

/* ---- The loop. */

static void all_failures(int (*job)(void), unsigned least)
{
    int err;
    unsigned n = 0;

    /* What the libraries keep for ever, they have from here on. */
    fail_at = 0;
    assert_int_equal(job(), 0);
    do {
        calls = 0;
        held = 0;
        fail_at = ++n;
        counting = true;
        err = job();
        counting = false;
        if (calls < n) {
            break;
        }
        ERR_clear_error();
        assert_int_equal(held, 0);
    } while (n < 5000);
    assert_int_equal(err, 0);
    assert_true(n > least);
}

#define FAILING(name, least)                                                 \
    static void test_##name(void **state)                                    \
    {                                                                        \
        (void)state;                                                         \
        all_failures(job_##name, least);                                     \
    }

#endif
#endif
