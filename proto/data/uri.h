/* Addresses of files: parse and write Belay URIs.
 *
 *     belay://host[:port]/path                 TLS
 *     belay+tcp://host[:port]/path             plain TCP
 *     belay+ssh://[user@]host[:port]/path      through ssh
 *     belay+unix:///path?socket=/run/b.sock    local socket
 *     [user@]host:path                         as scp writes it: through ssh;
 *     [user@]host:/path                        ... from the root over there
 *
 * All may end with `#` and a content id, which pins the content.
 * Parsing is strict and says where it failed and why.  A parsed URI is safe to
 * use: user and host cannot be taken for options or shell words, the path
 * obeys rule N1 and holds no NUL.
 *
 * Beyond the grammar one thing is accepted: bytes above 0x7F in a path stand
 * for themselves, since people type names as they see them.  uri_format()
 * escapes them.
 *
 * Implements spec/belay-uri.md.  Pure; any thread. */
#ifndef PROTO_DATA_URI_H
#define PROTO_DATA_URI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/registry.h"
#include "proto/data/cid.h"

/* Longest parts, in bytes without the final NUL.  The host is that of DNS,
 * the socket that of sockaddr_un on Linux. */
#define URI_USER_MAX 64
#define URI_HOST_MAX 255
#define URI_SOCKET_MAX 107

/* Buffer that holds any result of uri_format(). */
#define URI_TEXT_SIZE \
    (64 + URI_USER_MAX + URI_HOST_MAX + 3 * (URI_SOCKET_MAX + LIMIT_PATH) + \
     CID_TEXT_LEN)

enum uri_scheme {
    URI_TLS,
    URI_TCP,
    URI_SSH,
    URI_UNIX,
};

/* All texts end with NUL and are empty when absent. */
struct uri {
    enum uri_scheme scheme;
    char user[URI_USER_MAX + 1];      /* URI_SSH only. */
    char host[URI_HOST_MAX + 1];      /* Lower case, without brackets. */
    bool host_is_ipv6;                /* Written in brackets. */
    uint16_t port;                    /* 0: ssh's own choice, or URI_UNIX. */
    char socket[URI_SOCKET_MAX + 1];  /* URI_UNIX only: absolute path. */
    char path[LIMIT_PATH + 1];        /* As OPEN wants it; "" is the root. */
    size_t path_len;
    bool absolute;                    /* host:/path: from the far root, not
                                         from the login directory. */
    bool pinned;                      /* The next two are set. */
    uint8_t chunk_log2;
    uint8_t cid[HASH_LEN];
};

/* Where and why parsing failed. */
struct uri_error {
    size_t pos;          /* In bytes from the start of the text. */
    const char *reason;  /* Constant, lower case, without a full stop. */
};

/* Parses `text`.  Returns 0; or ERR_URI with `error` filled in and `uri`
 * unspecified. */
int uri_parse(const char *text, struct uri *uri,
              struct uri_error *error) MUST_USE;

/* Is `text` meant as an address on another machine rather than as a local
 * file: has it a scheme, or a host before a colon as scp writes it?  It may
 * still be wrong. */
bool uri_is_remote(const char *text);

/* Writes the canonical form (that of scp if the path is absolute) and a NUL
 * to `text`, which holds `cap` bytes; URI_TEXT_SIZE always suffices.
 * uri_parse() of it gives the same value.  Returns 0, or ERR_SPACE. */
int uri_format(const struct uri *uri, char *text, size_t cap) MUST_USE;

/* The last component of the path, borrowed from `uri`: the name to save the
 * file by.  NULL when the path is the root. */
const char *uri_basename(const struct uri *uri);

#endif
