/* Whom to believe: chains, names, pins; and a new identity. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/io/tls_internal.h"

/* A certificate that is trusted for its key has no reason to expire. */
#define IDENTITY_DAYS 36500

/* ---- Pins. */

static const char pin_prefix[] = "sha256:";
#define PREFIX_LEN (sizeof(pin_prefix) - 1)

void
tls_pin_format(const uint8_t pin[HASH_LEN], char text[TLS_PIN_TEXT_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";

    memcpy(text, pin_prefix, PREFIX_LEN);
    for (size_t i = 0; i < HASH_LEN; i++) {
        text[PREFIX_LEN + 2 * i] = digits[pin[i] >> 4];
        text[PREFIX_LEN + 2 * i + 1] = digits[pin[i] & 15];
    }
    text[TLS_PIN_TEXT_LEN] = '\0';
}

static int
digit_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int
tls_pin_parse(const char *text, size_t len, uint8_t pin[HASH_LEN])
{
    if (len != TLS_PIN_TEXT_LEN ||
        memcmp(text, pin_prefix, PREFIX_LEN) != 0) {
        return ERR_SYNTAX;
    }
    for (size_t i = 0; i < HASH_LEN; i++) {
        int high = digit_value(text[PREFIX_LEN + 2 * i]);
        int low = digit_value(text[PREFIX_LEN + 2 * i + 1]);
        if (high < 0 || low < 0) {
            return ERR_SYNTAX;
        }
        pin[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

int
tls_pin_of(X509 *cert, uint8_t pin[HASH_LEN])
{
    unsigned char *der = NULL;
    unsigned len = 0;
    int der_len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    bool good = der_len > 0 &&
                EVP_Digest(der, (size_t)der_len, pin, &len, EVP_sha256(),
                           NULL) == 1;

    OPENSSL_free(der);
    return good ? 0 : ERR_TLS;
}

int
tls_cert_pin(struct bytes_view cert, uint8_t pin[HASH_LEN])
{
    BIO *bio = cert.len > INT32_MAX || !hash_ready()
                   ? NULL
                   : BIO_new_mem_buf(cert.ptr, (int)cert.len);
    X509 *x509 =
        bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    int err = x509 != NULL ? tls_pin_of(x509, pin) : ERR_SYNTAX;

    X509_free(x509);
    BIO_free(bio);
    if (bio != NULL) {
        ERR_clear_error();
    }
    return err == 0 ? 0 : ERR_SYNTAX;
}

/* ---- The server's certificate. */

static bool
is_pinned(const struct tls *tls)
{
    for (size_t i = 0; i < tls->pin_count; i++) {
        if (memcmp(tls->pins[i], tls->peer_pin, HASH_LEN) == 0) {
            return true;
        }
    }
    return false;
}

static bool
is_unknown_issuer(int error)
{
    return error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
           error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
           error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
           error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
           error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

static bool
in_time(const X509 *cert)
{
    return X509_cmp_current_time(X509_get0_notBefore(cert)) < 0 &&
           X509_cmp_current_time(X509_get0_notAfter(cert)) > 0;
}

static int
judge_chain(struct tls *tls, X509_STORE_CTX *store, const X509 *cert)
{
    if (X509_verify_cert(store) == 1) {
        return 1;
    }
    int error = X509_STORE_CTX_get_error(store);
    bool unknown = is_unknown_issuer(error) && in_time(cert);
    if (unknown && tls->accept_unknown) {
        tls->is_unknown = true;
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    if (unknown) {
        tls_complain(tls, TLS_FAULT_UNKNOWN_CA,
                     "the identity of %s cannot be verified: %s", tls->host,
                     X509_verify_cert_error_string(error));
    } else {
        if (is_unknown_issuer(error)) {
            error = X509_V_ERR_CERT_HAS_EXPIRED;
        }
        tls_complain(tls, TLS_FAULT_UNTRUSTED,
                     "the certificate of %s is refused: %s", tls->host,
                     X509_verify_cert_error_string(error));
    }
    return 0;
}

int
tls_judge_server(X509_STORE_CTX *store, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(
        store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *tls = SSL_get_app_data(ssl);
    X509 *cert = X509_STORE_CTX_get0_cert(store);

    (void)arg;
    if (cert == NULL || tls_pin_of(cert, tls->peer_pin) != 0) {
        tls_complain(tls, TLS_FAULT_UNTRUSTED,
                     "the certificate of %s cannot be read", tls->host);
        return 0;
    }
    tls->has_peer_pin = true;
    if (tls->pin_count == 0) {
        return judge_chain(tls, store, cert);
    }
    if (is_pinned(tls)) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    tls_complain(tls, TLS_FAULT_WRONG_KEY,
                 "%s shows another key than the one expected", tls->host);
    return 0;
}

/* ---- The client's certificate. */

static bool
is_plain_text(const unsigned char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] < 0x21 || text[i] > 0x7e) {
            return false;
        }
    }
    return len > 0 && len <= TLS_NAME_MAX;
}

/* Exactly one common name, or none: a second one might be meant for readers
 * who take the last. */
static void
note_name(struct tls *tls, X509 *cert)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *text = NULL;

    if (at < 0 ||
        X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0) {
        return;
    }
    int len = ASN1_STRING_to_UTF8(
        &text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (len > 0 && is_plain_text(text, (size_t)len)) {
        memcpy(tls->name, text, (size_t)len);
        tls->name[len] = '\0';
    }
    OPENSSL_free(text);
}

void
tls_note_client(struct tls *tls)
{
    X509 *cert = SSL_get0_peer_certificate(tls->ssl);

    if (cert == NULL || SSL_get_verify_result(tls->ssl) != X509_V_OK) {
        return;
    }
    tls->has_peer_pin = tls_pin_of(cert, tls->peer_pin) == 0;
    note_name(tls, cert);
}

/* ---- A new identity. */

static bool
is_host_name(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && name[0] != '.' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len;
}

static bool
add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX context;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool good = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return good;
}

static bool
set_serial(X509 *cert)
{
    unsigned char bytes[8];
    BIGNUM *number = NULL;

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return false;
    }
    bytes[0] = (unsigned char)((bytes[0] & 0x3f) | 0x40); /* positive */
    number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool good = number != NULL &&
                BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) !=
                    NULL;
    BN_free(number);
    return good;
}

static bool
fill_cert(X509 *cert, EVP_PKEY *key, const char *name)
{
    char alt[80];
    X509_NAME *subject = X509_get_subject_name(cert);

    if (X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert) ||
        X509_gmtime_adj(X509_getm_notBefore(cert), -86400) == NULL ||
        X509_time_adj_ex(X509_getm_notAfter(cert), IDENTITY_DAYS, 0, NULL) ==
            NULL ||
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                   (const unsigned char *)name, -1, -1,
                                   0) != 1 ||
        X509_set_issuer_name(cert, subject) != 1 ||
        X509_set_pubkey(cert, key) != 1 ||
        !add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(cert, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(cert, NID_ext_key_usage, "serverAuth")) {
        return false;
    }
    if (is_host_name(name)) {
        (void)snprintf(alt, sizeof(alt), "DNS:%s", name);
        if (!add_extension(cert, NID_subject_alt_name, alt)) {
            return false;
        }
    }
    return X509_sign(cert, key, EVP_sha256()) > 0;
}

static bool
take_text(BIO *bio, char out[TLS_PEM_MAX])
{
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);

    if (len <= 0 || len >= TLS_PEM_MAX) {
        return false;
    }
    memcpy(out, text, (size_t)len);
    out[len] = '\0';
    return true;
}

static bool
write_pem(EVP_PKEY *key, X509 *cert, char key_out[TLS_PEM_MAX],
          char cert_out[TLS_PEM_MAX])
{
    BIO *key_bio = BIO_new(BIO_s_secmem());
    BIO *cert_bio = BIO_new(BIO_s_mem());
    bool good =
        key_bio != NULL && cert_bio != NULL &&
        PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) ==
            1 &&
        PEM_write_bio_X509(cert_bio, cert) == 1 &&
        take_text(key_bio, key_out) && take_text(cert_bio, cert_out);

    BIO_free(key_bio);
    BIO_free(cert_bio);
    return good;
}

int
tls_make_identity(const char *name, char key[TLS_PEM_MAX],
                  char cert[TLS_PEM_MAX])
{
    if (name[0] == '\0' || strlen(name) > 64) {
        return ERR_RANGE;
    }
    if (!hash_ready()) {
        return ERR_TLS;
    }
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    bool good = pair != NULL && x509 != NULL && fill_cert(x509, pair, name) &&
                write_pem(pair, x509, key, cert);

    X509_free(x509);
    EVP_PKEY_free(pair);
    ERR_clear_error();
    return good ? 0 : ERR_TLS;
}
