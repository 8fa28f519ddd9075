/* Proxies: the address of one, and which servers are reached without it.
 * Pure; any thread. */
#ifndef CLIENT_PROXY_H
#define CLIENT_PROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"

struct proxy {
    char host[256];
    uint16_t port;
    char user[256];     /* "": none */
    char password[256];
};

/* Reads `socks5h://[USER:PASSWORD@]HOST[:PORT]`; %XX stands for a byte in user
 * and password, [ ] for the brackets of an IPv6 address; the port is 1080.
 * Returns 0, ERR_UNSUPPORTED for another kind of proxy, ERR_URI. */
int proxy_parse(const char *text, struct proxy *out) MUST_USE;

/* Does the list name the host?  Entries are separated by commas or blanks: a
 * host, a domain with all below it (with or without a dot before it), an
 * address, or * for all.  `list` may be NULL. */
bool proxy_excepts(const char *list, const char *host);

#endif
