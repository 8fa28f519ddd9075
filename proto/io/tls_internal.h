/* Private parts of tls; shared by tls*.c only. */
#ifndef PROTO_IO_TLS_INTERNAL_H
#define PROTO_IO_TLS_INTERNAL_H

/* Both sides call something ERR_STATE. */
#define ERR_STATE libcrypto_err_state
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#include "proto/io/tls.h"

struct tls_ctx {
    SSL_CTX *ssl_ctx;
};

struct tls {
    SSL *ssl;
    bool client;
    bool sends_files;
    bool has_peer_pin;
    bool accept_unknown;
    bool is_unknown;
    unsigned wants;
    enum tls_fault fault;
    size_t pin_count;
    uint8_t (*pins)[HASH_LEN];
    uint8_t peer_pin[HASH_LEN];
    char name[TLS_NAME_MAX + 1];
    char host[256];
    char problem[TLS_TEXT_MAX];
};

/* tls_trust.c */

/* Judges the server's certificate; for SSL_CTX_set_cert_verify_callback. */
int tls_judge_server(X509_STORE_CTX *store, void *arg);

/* Remembers who a verified client is. */
void tls_note_client(struct tls *tls);

MUST_USE int tls_pin_of(X509 *cert, uint8_t pin[HASH_LEN]);

/* Sets fault and problem. */
void tls_complain(struct tls *tls, enum tls_fault fault, const char *format,
                  ...) __attribute__((format(printf, 3, 4)));

#endif
