/* TCP sockets: addresses as text, listening, connecting, options.
 *
 * Every descriptor made here is non-blocking and close-on-exec, and belongs
 * to the caller. Functions that fail with ERR_IO leave the reason in errno.
 * Nothing here looks up names: getaddrinfo() blocks and is the business of
 * the caller's worker. Any thread. */
#ifndef PROTO_IO_NET_H
#define PROTO_IO_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "proto/base/check.h"
#include "proto/base/err.h"

/* Longest text of an address: "[v6%scope]:port" and the end mark. */
#define NET_TEXT_MAX 80

struct net_addr {
    struct sockaddr_storage storage;
    socklen_t len;
};

/* "192.0.2.1:7245", "[2001:db8::1]:7245", "[fe80::1%eth0]:0". Numbers only.
 * ERR_SYNTAX when text is anything else, ERR_NOMEM. */
MUST_USE int net_addr_parse(const char *text, struct net_addr *out);

/* Takes over an address of getaddrinfo() or accept(). ERR_RANGE when it is
 * longer than the kernel's longest. */
MUST_USE int net_addr_set(const struct sockaddr *addr, socklen_t len,
                          struct net_addr *out);

/* Writes the text form, always terminated; "unix" or "unknown" for what is
 * neither IPv4 nor IPv6. */
void net_addr_text(const struct net_addr *addr, char text[NET_TEXT_MAX]);

/* 0 when the family has no port. */
uint16_t net_addr_port(const struct net_addr *addr);

/* The local address of a socket. ERR_IO. */
MUST_USE int net_local(int fd, struct net_addr *out);

/* A listening socket. An IPv6 one serves IPv6 only, so that the IPv4 address
 * can be bound beside it. shared: several sockets of this user may listen on
 * the address, and the kernel spreads connections over them. ERR_IO. */
MUST_USE int net_listen(const struct net_addr *addr, bool shared, int *fd_out);

/* The next connection waiting, or ERR_AGAIN when there is none (a connection
 * that died while it waited counts as none). ERR_LIMIT when the process or
 * the system is out of descriptors or memory: the caller pauses. ERR_IO. */
MUST_USE int net_accept(int listen_fd, struct net_addr *peer, int *fd_out);

/* Starts to connect. Poll for writing, then ask net_connect_result().
 * ERR_CONNECT when it failed at once, with the reason in errno. */
MUST_USE int net_connect(const struct net_addr *addr, int *fd_out);

/* 0, ERR_AGAIN while the connection is still being made, or ERR_CONNECT with
 * the reason in errno. */
MUST_USE int net_connect_result(int fd);

/* For every connection, on both sides: no delay of small writes, keep-alive
 * probes, and an end to data that nobody acknowledges for user_timeout_ms
 * (0 leaves the kernel's default). Failures are harmless and ignored: the
 * socket may be a pipe or a Unix socket. */
void net_tune(int fd, unsigned user_timeout_ms);

/* Bytes not yet sent that the kernel takes before the socket counts as full
 * (TCP_NOTSENT_LOWAT): small keeps urgent frames quick. Failure is ignored. */
void net_set_unsent_max(int fd, unsigned bytes);

/* Makes close() send a reset instead of an orderly end. */
void net_abort_on_close(int fd);

#endif
