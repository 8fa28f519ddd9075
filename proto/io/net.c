#include "proto/io/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Connections that wait for accept(); the kernel cuts it to its own limit. */
#define NET_BACKLOG 1024

/* Keep-alive: first probe, distance, probes without answer until the end. */
#define NET_KEEPALIVE_IDLE_S 60
#define NET_KEEPALIVE_STEP_S 15
#define NET_KEEPALIVE_COUNT 4

/* Splits "HOST:PORT" or "[HOST]:PORT"; only brackets may hold a colon. */
static int
split(const char *text, char *host, size_t host_cap, const char **port)
{
    const char *start = text;
    const char *end;

    if (text[0] == '[') {
        start = text + 1;
        end = strchr(start, ']');
        if (end == NULL || end[1] != ':') {
            return ERR_SYNTAX;
        }
        *port = end + 2;
    } else {
        end = strchr(text, ':');
        if (end == NULL || strchr(end + 1, ':') != NULL) {
            return ERR_SYNTAX;
        }
        *port = end + 1;
    }
    size_t len = (size_t)(end - start);
    if (len == 0 || len >= host_cap) {
        return ERR_SYNTAX;
    }
    memcpy(host, start, len);
    host[len] = '\0';
    return 0;
}

static bool
is_port(const char *text)
{
    size_t len = strspn(text, "0123456789");
    return len >= 1 && len <= 5 && text[len] == '\0' &&
           strtoul(text, NULL, 10) <= 65535;
}

int
net_addr_parse(const char *text, struct net_addr *out)
{
    char host[NET_TEXT_MAX];
    const char *port = NULL;
    int err = split(text, host, sizeof(host), &port);
    if (err != 0 || !is_port(port)) {
        return ERR_SYNTAX;
    }
    struct addrinfo hints = {
        .ai_family = text[0] == '[' ? AF_INET6 : AF_INET,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
    };
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        return rc == EAI_MEMORY ? ERR_NOMEM : ERR_SYNTAX;
    }
    err = net_addr_set(found->ai_addr, found->ai_addrlen, out);
    freeaddrinfo(found);
    return err;
}

int
net_addr_set(const struct sockaddr *addr, socklen_t len, struct net_addr *out)
{
    if (len > sizeof(out->storage)) {
        return ERR_RANGE;
    }
    memset(out, 0, sizeof(*out));
    memcpy(&out->storage, addr, len);
    out->len = len;
    return 0;
}

void
net_addr_text(const struct net_addr *addr, char text[NET_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    char port[8];

    if (addr->storage.ss_family == AF_UNIX) {
        snprintf(text, NET_TEXT_MAX, "unix");
        return;
    }
    int rc = getnameinfo((const struct sockaddr *)&addr->storage, addr->len,
                         host, sizeof(host), port, sizeof(port),
                         NI_NUMERICHOST | NI_NUMERICSERV);
    if (rc != 0) {
        snprintf(text, NET_TEXT_MAX, "unknown");
        return;
    }
    if (addr->storage.ss_family == AF_INET6) {
        snprintf(text, NET_TEXT_MAX, "[%s]:%s", host, port);
    } else {
        snprintf(text, NET_TEXT_MAX, "%s:%s", host, port);
    }
}

uint16_t
net_addr_port(const struct net_addr *addr)
{
    if (addr->storage.ss_family == AF_INET) {
        return ntohs(((const struct sockaddr_in *)&addr->storage)->sin_port);
    }
    if (addr->storage.ss_family == AF_INET6) {
        return ntohs(((const struct sockaddr_in6 *)&addr->storage)->sin6_port);
    }
    return 0;
}

int
net_local(int fd, struct net_addr *out)
{
    memset(out, 0, sizeof(*out));
    out->len = sizeof(out->storage);
    if (getsockname(fd, (struct sockaddr *)&out->storage, &out->len) != 0) {
        return ERR_IO;
    }
    return 0;
}

/* A closed descriptor must not hide why it was closed. */
static void
close_keep_errno(int fd)
{
    int saved = errno;
    close(fd);
    errno = saved;
}

static int
set_flag(int fd, int level, int name)
{
    int on = 1;
    return setsockopt(fd, level, name, &on, sizeof(on));
}

int
net_listen(const struct net_addr *addr, bool shared, int *fd_out)
{
    int family = addr->storage.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return ERR_IO;
    }
    if (set_flag(fd, SOL_SOCKET, SO_REUSEADDR) != 0 ||
        (shared && set_flag(fd, SOL_SOCKET, SO_REUSEPORT) != 0) ||
        (family == AF_INET6 &&
         set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY) != 0) ||
        bind(fd, (const struct sockaddr *)&addr->storage, addr->len) != 0 ||
        listen(fd, NET_BACKLOG) != 0) {
        close_keep_errno(fd);
        return ERR_IO;
    }
    *fd_out = fd;
    return 0;
}

int
net_accept(int listen_fd, struct net_addr *peer, int *fd_out)
{
    memset(peer, 0, sizeof(*peer));
    peer->len = sizeof(peer->storage);
    int fd = accept4(listen_fd, (struct sockaddr *)&peer->storage, &peer->len,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        *fd_out = fd;
        return 0;
    }
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return ERR_LIMIT;
    case EBADF:
    case EINVAL:
    case EFAULT:
    case ENOTSOCK:
        return ERR_IO;
    default:
        /* Nobody waiting, an interruption, or an error of the network that
         * belonged to the connection and not to this socket. */
        return ERR_AGAIN;
    }
}

int
net_connect(const struct net_addr *addr, int *fd_out)
{
    int fd = socket(addr->storage.ss_family,
                    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return ERR_CONNECT;
    }
    if (connect(fd, (const struct sockaddr *)&addr->storage, addr->len) != 0 &&
        errno != EINPROGRESS && errno != EINTR) {
        close_keep_errno(fd);
        return ERR_CONNECT;
    }
    *fd_out = fd;
    return 0;
}

int
net_connect_result(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        return ERR_CONNECT;
    }
    if (error != 0) {
        errno = error;
        return ERR_CONNECT;
    }
    struct sockaddr_storage peer;
    len = sizeof(peer);
    if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0) {
        return errno == ENOTCONN ? ERR_AGAIN : ERR_CONNECT;
    }
    return 0;
}

static void
set_int(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

void
net_tune(int fd, unsigned user_timeout_ms)
{
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, NET_KEEPALIVE_IDLE_S);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, NET_KEEPALIVE_STEP_S);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, NET_KEEPALIVE_COUNT);
    if (user_timeout_ms != 0) {
        set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)user_timeout_ms);
    }
}

void
net_set_unsent_max(int fd, unsigned bytes)
{
    set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)bytes);
}

void
net_abort_on_close(int fd)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}
