/* Known hosts: the keys of servers that have no certificate of a public
 * authority, by host and port, in one file per user.
 *
 *     # a comment
 *     files.example.org:7245 sha256:5d41…64 digits
 *     [2001:db8::1]:7245 sha256:…
 *
 * Reading is strict: a file with a line that is none of these is not used at
 * all, since a typing error must not turn a known host into an unknown one.
 * A host may have several keys. Changes are made under a lock
 * (FILE.lock) and replace the file as a whole; comments stay.
 *
 * On errors `why` is a printable sentence: ERR_SYNTAX (the line is named, or
 * the host that no line can hold), ERR_IO, ERR_NOT_A_FILE, ERR_LIMIT,
 * ERR_EXISTS, ERR_NOMEM. Blocks on the disk. Any thread. */
#ifndef CLIENT_KNOWNHOSTS_H
#define CLIENT_KNOWNHOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/io/tls.h"

/* Keys of one host. */
#define KNOWNHOSTS_KEYS_MAX 8u
/* Bytes of the file: about 10,000 hosts. */
#define KNOWNHOSTS_BYTES_MAX ((size_t)1 << 20)

/* The user's file: $XDG_CONFIG_HOME/belay/known_hosts, else
 * ~/.config/belay/known_hosts. False: neither variable is usable, or the path
 * is too long. */
bool knownhosts_path(char *path, size_t cap);

/* The keys of a host. A file that is missing knows none. */
MUST_USE int knownhosts_find(const char *path, const char *host,
                             uint16_t port,
                             uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN],
                             size_t *count, char why[TLS_TEXT_MAX]);

/* Adds a key, unless it is there. Makes the file and its directory. ERR_LIMIT
 * when the host has too many. */
MUST_USE int knownhosts_add(const char *path, const char *host, uint16_t port,
                            const uint8_t pin[HASH_LEN],
                            char why[TLS_TEXT_MAX]);

/* The same for a host that is not known yet: ERR_EXISTS, and nothing is
 * changed, when it is known by now with other keys only. */
MUST_USE int knownhosts_add_first(const char *path, const char *host,
                                  uint16_t port, const uint8_t pin[HASH_LEN],
                                  char why[TLS_TEXT_MAX]);

/* Forgets all keys of a host, and with `pin` (may be NULL) knows this one
 * instead. *forgotten: how many went. */
MUST_USE int knownhosts_replace(const char *path, const char *host,
                                uint16_t port, const uint8_t *pin,
                                size_t *forgotten, char why[TLS_TEXT_MAX]);

#endif
