/* TLS 1.3 as a byte pipe on a non-blocking socket; the one user of libssl.
 *
 * Both ends speak TLS 1.3 and the ALPN id PROTO_ALPN or do not speak at all.
 * There is no renegotiation, no compression, no early data, no session that
 * could be resumed (so nothing outlives a certificate or a token), and no
 * password is ever asked for.
 *
 * A client checks its server in one of two ways, decided by struct
 * tls_expect: by chain and host name, or by the server's public key alone
 * (pins). What is sent before the check has passed holds nothing of ours: no
 * client certificate, no preface.
 *
 * Nothing blocks. A call that cannot go on returns ERR_AGAIN; tls_wants()
 * then says what to wait for. After any other error the connection is over,
 * and tls_problem() is a sentence about it.
 *
 * A context may be shared by connections of one thread and be freed before
 * them. Objects are not thread-safe; different ones may be used by different
 * threads and, after fork(), processes.
 *
 * Implements belay-1, section 4 (B1-S1, B1-S3, B1-S4, B1-S5). */
#ifndef PROTO_IO_TLS_H
#define PROTO_IO_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/check.h"
#include "proto/base/err.h"
#include "proto/base/reader.h"
#include "proto/data/hash.h"

struct tls_ctx;
struct tls;

/* A pin: SHA-256 of the DER form of a public key (SubjectPublicKeyInfo), as
 * text "sha256:" and 64 hexadecimal digits. */
#define TLS_PIN_TEXT_LEN (7 + 2 * HASH_LEN)

/* Sentences about what went wrong fit in here. */
#define TLS_TEXT_MAX 320

/* A certificate's common name that is longer counts as none. */
#define TLS_NAME_MAX 128

/* ---- Contexts. */

/* Files in PEM form. ca_file NULL: the authorities of the system. A client
 * certificate needs both cert_file and key_file. */
struct tls_client_config {
    const char *ca_file;
    const char *cert_file;
    const char *key_file;
};

/* Texts in PEM form, borrowed for the call. client_ca of length 0: clients
 * are not asked for certificates. Otherwise they may show one, and one that
 * is not signed by these authorities ends the handshake. */
struct tls_server_config {
    struct bytes_view cert; /* the chain, own certificate first */
    struct bytes_view key;
    struct bytes_view client_ca;
};

/* On error (ERR_TLS, ERR_NOMEM) `why` says what cannot be used. */
MUST_USE int tls_client_ctx(const struct tls_client_config *config,
                            struct tls_ctx **out, char why[TLS_TEXT_MAX]);
MUST_USE int tls_server_ctx(const struct tls_server_config *config,
                            struct tls_ctx **out, char why[TLS_TEXT_MAX]);
void tls_ctx_free(struct tls_ctx *ctx);

/* ---- Connections. */

/* What a server must show. With pins: one of these keys, and neither chain
 * nor name nor dates count. Without: a chain to an authority of the context,
 * and this name or address. */
struct tls_expect {
    const char *host; /* without brackets; sent as SNI if it is a name */
    const uint8_t (*pins)[HASH_LEN];
    size_t pin_count;
    bool accept_unknown; /* a key that nobody we know vouches for will do;
                            tls_is_unknown() tells */
};

/* `fd` stays the caller's. `expect` is copied; NULL for the server's side.
 * ERR_NOMEM. */
MUST_USE int tls_new(struct tls_ctx *ctx, int fd,
                     const struct tls_expect *expect, struct tls **out);
/* NULL is allowed. Sends nothing. */
void tls_free(struct tls *tls);

/* 0: done, and everything that was expected holds. ERR_AGAIN, ERR_EOF and
 * ERR_RESET (the peer went, which a new try may heal), ERR_TLS (which it
 * will not: see tls_fault()). */
MUST_USE int tls_handshake(struct tls *tls);

/* At least one byte on success. ERR_AGAIN, ERR_EOF (with or without
 * close_notify: rule C2 makes no difference), ERR_RESET, ERR_TLS. */
MUST_USE int tls_read(struct tls *tls, void *buf, size_t len, size_t *got);

/* Part of `buf` may be taken. After ERR_AGAIN the next call must begin with
 * the same bytes and be at least as long. */
MUST_USE int tls_write(struct tls *tls, const void *buf, size_t len,
                       size_t *sent);

#define TLS_WANT_READ 0x1u
#define TLS_WANT_WRITE 0x2u

/* What the last call that returned ERR_AGAIN waits for. */
unsigned tls_wants(const struct tls *tls);

/* Bytes wait in here, so that the socket need not become readable. */
bool tls_has_input(const struct tls *tls);

/* Does the kernel encrypt what we send? Then files go out by
 * tls_sendfile(), which behaves as tls_write(); 0 bytes on success mean the
 * end of the file. Known after the handshake. */
bool tls_sends_files(const struct tls *tls);
MUST_USE int tls_sendfile(struct tls *tls, int file_fd, uint64_t offset,
                          size_t len, size_t *sent);

/* Says that nothing follows, as far as the socket takes it now. */
void tls_say_bye(struct tls *tls);

/* ---- What went on. */

enum tls_fault {
    TLS_FAULT_NONE,
    TLS_FAULT_PROTOCOL,   /* no TLS 1.3, no ALPN, broken records */
    TLS_FAULT_DAMAGED,    /* a record is not as it was sent, as either side
                             found: the way did it, not the peer */
    TLS_FAULT_REFUSED,    /* the peer refused our certificate, or its lack,
                             perhaps only after the handshake */
    TLS_FAULT_UNTRUSTED,  /* wrong name, expired, revoked, malformed */
    TLS_FAULT_UNKNOWN_CA, /* nobody we know vouches for this key */
    TLS_FAULT_WRONG_KEY,  /* not one of the pins */
};

enum tls_fault tls_fault(const struct tls *tls);

/* Printable; lives as long as the connection. */
const char *tls_problem(const struct tls *tls);

/* "TLS_AES_128_GCM_SHA256"; known after the handshake. */
const char *tls_cipher(const struct tls *tls);

/* The key that the peer showed, also when it was refused. False: none. */
bool tls_peer_pin(const struct tls *tls, uint8_t pin[HASH_LEN]);

/* After the handshake: the key was accepted although nobody vouches for it. */
bool tls_is_unknown(const struct tls *tls);

/* The common name of the client's certificate, which an authority has
 * verified. Empty when there is no certificate, no name, or a name that is
 * too long or not printable ASCII. */
const char *tls_client_name(const struct tls *tls);

/* ---- Pins and identities. */

void tls_pin_format(const uint8_t pin[HASH_LEN],
                    char text[TLS_PIN_TEXT_LEN + 1]);
/* Strict: ERR_SYNTAX for anything else; digits of either case. */
MUST_USE int tls_pin_parse(const char *text, size_t len,
                           uint8_t pin[HASH_LEN]);

/* Reads the first certificate of a PEM text. ERR_SYNTAX. */
MUST_USE int tls_cert_pin(struct bytes_view cert, uint8_t pin[HASH_LEN]);

/* A new P-256 key and a certificate for it, signed by itself, both as PEM
 * text in buffers of this size. `name` is its common name (at most 64 bytes,
 * else ERR_RANGE) and, if it is a host name, its DNS name. Whoever uses it is
 * known by the key, so the certificate is valid for very long. ERR_TLS. */
#define TLS_PEM_MAX 4096
MUST_USE int tls_make_identity(const char *name, char key[TLS_PEM_MAX],
                               char cert[TLS_PEM_MAX]);

#endif
