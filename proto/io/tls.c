#include "proto/io/tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/base/registry.h"
#include "proto/io/tls_internal.h"

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "OpenSSL 3 is needed"
#endif

void
tls_complain(struct tls *tls, enum tls_fault fault, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(tls->problem, sizeof(tls->problem), format, args);
    va_end(args);
    tls->fault = fault;
}

/* ---- Life. */

/* A library must not cause SIGPIPE in the program that uses it. */
static int
send_quietly(BIO *bio, const char *data, int len)
{
    int fd = -1;

    BIO_get_fd(bio, &fd);
    errno = 0;
    ssize_t n = send(fd, data, (size_t)len, MSG_NOSIGNAL);
    BIO_clear_retry_flags(bio);
    if (n <= 0 && BIO_sock_should_retry((int)n)) {
        BIO_set_retry_write(bio);
    }
    return (int)n;
}

static BIO_METHOD *quiet_method;
static pthread_once_t quiet_once = PTHREAD_ONCE_INIT;

/* The socket of libcrypto, but for writing. It lasts as long as the
 * program. */
static void
make_quiet(void)
{
    const BIO_METHOD *base = BIO_s_socket();
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOCKET, "quiet socket");

    if (m != NULL && BIO_meth_set_write(m, send_quietly) == 1 &&
        BIO_meth_set_read(m, BIO_meth_get_read(base)) == 1 &&
        BIO_meth_set_puts(m, BIO_meth_get_puts(base)) == 1 &&
        BIO_meth_set_ctrl(m, BIO_meth_get_ctrl(base)) == 1 &&
        BIO_meth_set_create(m, BIO_meth_get_create(base)) == 1 &&
        BIO_meth_set_destroy(m, BIO_meth_get_destroy(base)) == 1) {
        quiet_method = m;
    } else {
        BIO_meth_free(m);
    }
}

static bool
use_fd(SSL *ssl, int fd, bool client)
{
    if (!client) {
        return SSL_set_fd(ssl, fd) == 1;
    }
    pthread_once(&quiet_once, make_quiet);
    BIO *bio = quiet_method != NULL ? BIO_new(quiet_method) : NULL;
    if (bio == NULL) {
        return false;
    }
    BIO_set_fd(bio, fd, BIO_NOCLOSE);
    SSL_set_bio(ssl, bio, bio);
    return true;
}

/* A name goes into SNI and is compared with the certificate's names; an
 * address is only compared. */
static bool
expect_host(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1) {
        return true;
    }
    X509_VERIFY_PARAM_set_hostflags(param,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 &&
           SSL_set_tlsext_host_name(ssl, host) == 1;
}

static bool
set_up(struct tls *tls, const struct tls_expect *expect)
{
    if (expect == NULL) {
        SSL_set_accept_state(tls->ssl);
        return true;
    }
    (void)snprintf(tls->host, sizeof(tls->host), "%s", expect->host);
    tls->client = true;
    tls->accept_unknown = expect->accept_unknown;
    SSL_set_connect_state(tls->ssl);
    if (expect->pin_count > 0) {
        tls->pins = calloc(expect->pin_count, HASH_LEN);
        if (tls->pins == NULL) {
            return false;
        }
        memcpy(tls->pins, expect->pins, expect->pin_count * HASH_LEN);
        tls->pin_count = expect->pin_count;
    }
    return expect_host(tls->ssl, expect->host);
}

int
tls_new(struct tls_ctx *ctx, int fd, const struct tls_expect *expect,
        struct tls **out)
{
    struct tls *tls = calloc(1, sizeof(*tls));

    if (tls == NULL) {
        return ERR_NOMEM;
    }
    ERR_clear_error();
    tls->ssl = SSL_new(ctx->ssl_ctx);
    if (tls->ssl == NULL || !use_fd(tls->ssl, fd, expect != NULL) ||
        SSL_set_app_data(tls->ssl, tls) != 1 || !set_up(tls, expect)) {
        tls_free(tls);
        return ERR_NOMEM;
    }
    *out = tls;
    return 0;
}

void
tls_free(struct tls *tls)
{
    if (tls == NULL) {
        return;
    }
    SSL_free(tls->ssl);
    free(tls->pins);
    free(tls);
}

/* ---- Bytes. */

/* Alerts about a certificate that we have shown, or not. */
static bool
is_about_us(int alert)
{
    switch (alert) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

/* The first error in the queue is the cause. Its text is constant. */
static int
protocol_error(struct tls *tls)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    const char *text = ERR_reason_error_string(code);
    const char *peer = tls->client ? "server" : "client";

    if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        return ERR_EOF;
    }
    if (tls->fault != TLS_FAULT_NONE) {
        return ERR_TLS; /* tls_judge_server() said more */
    }
    if (text == NULL) {
        text = "no reason given";
    }
    if (reason == SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC ||
        reason == SSL_AD_REASON_OFFSET + SSL_AD_BAD_RECORD_MAC) {
        tls_complain(tls, TLS_FAULT_DAMAGED, "damaged on the way: %s", text);
    } else if (reason >= SSL_AD_REASON_OFFSET) {
        tls_complain(tls,
                     is_about_us(reason - SSL_AD_REASON_OFFSET)
                         ? TLS_FAULT_REFUSED
                         : TLS_FAULT_PROTOCOL,
                     "the %s refused the TLS connection: %s", peer, text);
    } else if (reason == SSL_R_WRONG_VERSION_NUMBER ||
               reason == SSL_R_PACKET_LENGTH_TOO_LONG ||
               reason == SSL_R_HTTP_REQUEST) {
        tls_complain(tls, TLS_FAULT_PROTOCOL, "the %s does not speak TLS",
                     peer);
    } else if (reason == SSL_R_UNSUPPORTED_PROTOCOL) {
        tls_complain(tls, TLS_FAULT_PROTOCOL,
                     "the %s does not speak TLS 1.3", peer);
    } else {
        tls_complain(tls, TLS_FAULT_PROTOCOL, "TLS with the %s failed: %s",
                     peer, text);
    }
    return ERR_TLS;
}

static int
outcome(struct tls *tls, int result)
{
    int sys_errno = errno;

    tls->wants = 0;
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        tls->wants = TLS_WANT_READ;
        return ERR_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        tls->wants = TLS_WANT_WRITE;
        return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return ERR_EOF;
    case SSL_ERROR_SYSCALL:
        (void)snprintf(tls->problem, sizeof(tls->problem), "%s",
                       sys_errno != 0 ? strerror(sys_errno)
                                      : "the peer closed the connection");
        return sys_errno != 0 ? ERR_RESET : ERR_EOF;
    default:
        return protocol_error(tls);
    }
}

/* B1-S1b: before anything of ours is sent. */
static int
check_alpn(struct tls *tls)
{
    const unsigned char *id = NULL;
    unsigned len = 0;

    SSL_get0_alpn_selected(tls->ssl, &id, &len);
    if (len == sizeof(PROTO_ALPN) - 1 && memcmp(id, PROTO_ALPN, len) == 0) {
        return 0;
    }
    tls_complain(tls, TLS_FAULT_PROTOCOL,
                 "the peer speaks TLS, but not Belay (ALPN %s)", PROTO_ALPN);
    return ERR_TLS;
}

int
tls_handshake(struct tls *tls)
{
    errno = 0;
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result != 1) {
        return outcome(tls, result);
    }
    int err = check_alpn(tls);
    if (err == 0) {
        tls->sends_files = BIO_get_ktls_send(SSL_get_wbio(tls->ssl)) != 0;
        if (!tls->client) {
            tls_note_client(tls);
        }
    }
    return err;
}

int
tls_read(struct tls *tls, void *buf, size_t len, size_t *got)
{
    errno = 0;
    ERR_clear_error();
    int result = SSL_read_ex(tls->ssl, buf, len, got);
    return result == 1 ? 0 : outcome(tls, result);
}

int
tls_write(struct tls *tls, const void *buf, size_t len, size_t *sent)
{
    errno = 0;
    ERR_clear_error();
    int result = SSL_write_ex(tls->ssl, buf, len, sent);
    return result == 1 ? 0 : outcome(tls, result);
}

int
tls_sendfile(struct tls *tls, int file_fd, uint64_t offset, size_t len,
             size_t *sent)
{
    errno = 0;
    ERR_clear_error();
    ossl_ssize_t n =
        SSL_sendfile(tls->ssl, file_fd, (off_t)offset, len, 0);
    if (n < 0) {
        return outcome(tls, (int)n);
    }
    *sent = (size_t)n;
    return 0;
}

unsigned
tls_wants(const struct tls *tls)
{
    return tls->wants;
}

bool
tls_has_input(const struct tls *tls)
{
    return SSL_has_pending(tls->ssl) == 1;
}

bool
tls_sends_files(const struct tls *tls)
{
    return tls->sends_files;
}

void
tls_say_bye(struct tls *tls)
{
    ERR_clear_error();
    if (SSL_is_init_finished(tls->ssl)) {
        (void)SSL_shutdown(tls->ssl);
    }
    ERR_clear_error();
}

/* ---- Questions. */

enum tls_fault
tls_fault(const struct tls *tls)
{
    return tls->fault;
}

const char *
tls_problem(const struct tls *tls)
{
    return tls->problem[0] != '\0' ? tls->problem
                                   : "the peer closed the connection";
}

const char *
tls_cipher(const struct tls *tls)
{
    const char *name = SSL_get_cipher_name(tls->ssl);
    return name != NULL ? name : "none";
}

bool
tls_peer_pin(const struct tls *tls, uint8_t pin[HASH_LEN])
{
    if (tls->has_peer_pin) {
        memcpy(pin, tls->peer_pin, HASH_LEN);
    }
    return tls->has_peer_pin;
}

bool
tls_is_unknown(const struct tls *tls)
{
    return tls->is_unknown;
}

const char *
tls_client_name(const struct tls *tls)
{
    return tls->name;
}
