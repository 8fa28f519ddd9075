/* TLS contexts: what both sides insist on, and where certificates come
 * from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/registry.h"
#include "proto/io/tls_internal.h"

/* The one that both sides do fastest comes first; see PERFORMANCE. */
#define CIPHERS                                                             \
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"                        \
    "TLS_CHACHA20_POLY1305_SHA256"

#define GROUPS "X25519:P-256"

/* Two records are read by one call of the system. More would not pay: libssl
 * moves what is left behind a record to the front of its buffer. */
#define READ_BUFFER_BYTES (2 * (SSL3_RT_MAX_PLAIN_LENGTH + 512))

static const unsigned char alpn[] = {
    sizeof(PROTO_ALPN) - 1, 'b', 'e', 'l', 'a', 'y', '/', '1',
};

BELAY_STATIC_ASSERT(sizeof(alpn) == sizeof(PROTO_ALPN),
                    "the ALPN list holds the registered id");

static int
complain(char why[TLS_TEXT_MAX], const char *what, const char *file)
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_SYSTEM_ERROR(code)
                             ? strerror(ERR_GET_REASON(code))
                         : code != 0 ? ERR_reason_error_string(code)
                                     : NULL;

    (void)snprintf(why, TLS_TEXT_MAX, "%s%s%s%s%s", what,
                   file != NULL ? " " : "", file != NULL ? file : "",
                   reason != NULL ? ": " : "", reason != NULL ? reason : "");
    ERR_clear_error();
    return ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ? ERR_NOMEM : ERR_TLS;
}

/* Keys that need a password are refused rather than asked about. */
static int
no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

/* B1-S3, B1-S5, and everything that is switched off on both sides. */
static SSL_CTX *
new_ctx(const SSL_METHOD *method)
{
    if (!hash_ready()) {
        return NULL;
    }
    ERR_clear_error();
    SSL_CTX *c = SSL_CTX_new(method);
    if (c == NULL) {
        return NULL;
    }
    if (SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(c, CIPHERS) != 1 ||
        SSL_CTX_set1_groups_list(c, GROUPS) != 1) {
        SSL_CTX_free(c);
        return NULL;
    }
    SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                               SSL_OP_NO_TICKET |
                               SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_early_data(c, 0);
    SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(c, no_password);
    return c;
}

static int
hand_out(SSL_CTX *ssl_ctx, struct tls_ctx **out)
{
    struct tls_ctx *ctx = calloc(1, sizeof(*ctx));

    if (ctx == NULL) {
        SSL_CTX_free(ssl_ctx);
        return ERR_NOMEM;
    }
    ctx->ssl_ctx = ssl_ctx;
    *out = ctx;
    return 0;
}

void
tls_ctx_free(struct tls_ctx *ctx)
{
    if (ctx != NULL) {
        SSL_CTX_free(ctx->ssl_ctx);
        free(ctx);
    }
}

/* ---- The client. */

static int
load_client(SSL_CTX *c, const struct tls_client_config *config, char *why)
{
    if (config->ca_file == NULL) {
        (void)SSL_CTX_set_default_verify_paths(c);
        ERR_clear_error(); /* without authorities only pins will do */
    } else if (SSL_CTX_load_verify_file(c, config->ca_file) != 1) {
        return complain(why, "cannot use the authorities in",
                        config->ca_file);
    }
    if (config->cert_file == NULL) {
        return 0;
    }
    if (SSL_CTX_use_certificate_chain_file(c, config->cert_file) != 1) {
        return complain(why, "cannot use the certificate in",
                        config->cert_file);
    }
    if (SSL_CTX_use_PrivateKey_file(c, config->key_file,
                                    SSL_FILETYPE_PEM) != 1) {
        return complain(why, "cannot use the key in", config->key_file);
    }
    return 0;
}

int
tls_client_ctx(const struct tls_client_config *config, struct tls_ctx **out,
               char why[TLS_TEXT_MAX])
{
    SSL_CTX *c = new_ctx(TLS_client_method());

    if (c == NULL || SSL_CTX_set_alpn_protos(c, alpn, sizeof(alpn)) != 0) {
        SSL_CTX_free(c);
        return complain(why, "cannot set up TLS", NULL);
    }
    int err = load_client(c, config, why);
    if (err != 0) {
        SSL_CTX_free(c);
        return err;
    }
    SSL_CTX_set_read_ahead(c, 1);
    SSL_CTX_set_default_read_buffer_len(c, READ_BUFFER_BYTES);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(c, tls_judge_server, NULL);
    err = hand_out(c, out);
    if (err != 0) {
        (void)snprintf(why, TLS_TEXT_MAX, "%s", err_sentence(err));
    }
    return err;
}

/* ---- The server. */

static int
select_alpn(SSL *ssl, const unsigned char **id, unsigned char *len,
            const unsigned char *offered, unsigned offered_len, void *arg)
{
    unsigned char *chosen = NULL;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, len, alpn, sizeof(alpn), offered,
                              offered_len) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* no_application_protocol */
    }
    *id = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* B1-S1a also for a client that offers no ALPN id at all, about which
 * select_alpn() is not asked. A client of an older TLS gets the answer that
 * it understands, from libssl. */
static int
look_at_hello(SSL *ssl, int *alert, void *arg)
{
    const unsigned char *data = NULL;
    size_t len = 0;

    (void)arg;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &data,
                                  &len) == 1 &&
        SSL_client_hello_get0_ext(
            ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &data,
            &len) != 1) {
        *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

static BIO *
open_text(struct bytes_view text)
{
    return text.len > INT32_MAX ? NULL
                                : BIO_new_mem_buf(text.ptr, (int)text.len);
}

/* PEM ends where no further block begins. */
static bool
at_end(void)
{
    unsigned long code = ERR_peek_last_error();
    bool end = ERR_GET_LIB(code) == ERR_LIB_PEM &&
               ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    if (end) {
        ERR_clear_error();
    }
    return end;
}

static bool
use_chain(SSL_CTX *c, struct bytes_view text)
{
    BIO *bio = open_text(text);
    X509 *cert = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    bool good = cert != NULL && SSL_CTX_use_certificate(c, cert) == 1;

    X509_free(cert);
    while (good &&
           (cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL) {
        good = SSL_CTX_add1_chain_cert(c, cert) == 1;
        X509_free(cert);
    }
    BIO_free(bio);
    return good && at_end();
}

static bool
use_key(SSL_CTX *c, struct bytes_view text)
{
    BIO *bio = open_text(text);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    bool good = key != NULL && SSL_CTX_use_PrivateKey(c, key) == 1 &&
                SSL_CTX_check_private_key(c) == 1;

    EVP_PKEY_free(key);
    BIO_free(bio);
    return good;
}

static bool
use_authorities(SSL_CTX *c, struct bytes_view text)
{
    X509_STORE *store = SSL_CTX_get_cert_store(c);
    BIO *bio = open_text(text);
    size_t count = 0;
    bool good = true;
    X509 *cert;

    while (good &&
           (cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL) {
        good = X509_STORE_add_cert(store, cert) == 1 &&
               SSL_CTX_add_client_CA(c, cert) == 1;
        X509_free(cert);
        count++;
    }
    BIO_free(bio);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
    return good && count > 0 && at_end();
}

static int
load_server(SSL_CTX *c, const struct tls_server_config *config, char *why)
{
    static const unsigned char id[] = "belay";

    if (!use_chain(c, config->cert)) {
        return complain(why, "the certificate cannot be used", NULL);
    }
    if (!use_key(c, config->key)) {
        return complain(why, "the key cannot be used with the certificate",
                        NULL);
    }
    if (config->client_ca.len > 0 &&
        !use_authorities(c, config->client_ca)) {
        return complain(why, "the authorities of clients cannot be used",
                        NULL);
    }
    (void)SSL_CTX_set_session_id_context(c, id, sizeof(id) - 1);
    return 0;
}

int
tls_server_ctx(const struct tls_server_config *config, struct tls_ctx **out,
               char why[TLS_TEXT_MAX])
{
    SSL_CTX *c = new_ctx(TLS_server_method());

    if (c == NULL || SSL_CTX_set_num_tickets(c, 0) != 1) {
        SSL_CTX_free(c);
        return complain(why, "cannot set up TLS", NULL);
    }
    int err = load_server(c, config, why);
    if (err != 0) {
        SSL_CTX_free(c);
        return err;
    }
    SSL_CTX_set_options(c, SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_alpn_select_cb(c, select_alpn, NULL);
    SSL_CTX_set_client_hello_cb(c, look_at_hello, NULL);
    err = hand_out(c, out);
    if (err != 0) {
        (void)snprintf(why, TLS_TEXT_MAX, "%s", err_sentence(err));
    }
    return err;
}
