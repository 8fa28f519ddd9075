#include "tests/fault/endpoint.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *
endpoint_resolve(struct endpoint *endpoint, const char *text)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0') {
        return "an address is ADDR:PORT";
    }
    const char *host = text;
    size_t host_len = (size_t)(colon - text);
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    }
    char name[256];
    if (host_len == 0 || host_len >= sizeof(name)) {
        return "an address is ADDR:PORT";
    }
    memcpy(name, host, host_len);
    name[host_len] = '\0';
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV,
    };
    struct addrinfo *found = NULL;
    int err = getaddrinfo(name, colon + 1, &hints, &found);
    if (err != 0) {
        return gai_strerror(err);
    }
    memcpy(&endpoint->addr, found->ai_addr, found->ai_addrlen);
    endpoint->len = found->ai_addrlen;
    freeaddrinfo(found);
    return NULL;
}

static int
endpoint_socket(const struct endpoint *endpoint)
{
    int fd = socket(endpoint->addr.ss_family,
        SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

int
endpoint_listen(const struct endpoint *endpoint)
{
    int fd = endpoint_socket(endpoint);
    if (fd < 0) {
        return fd;
    }
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (const struct sockaddr *)&endpoint->addr, endpoint->len) !=
            0 ||
        listen(fd, SOMAXCONN) != 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

int
endpoint_connect(const struct endpoint *endpoint)
{
    int fd = endpoint_socket(endpoint);
    if (fd < 0) {
        return fd;
    }
    if (connect(fd, (const struct sockaddr *)&endpoint->addr,
            endpoint->len) != 0 && errno != EINPROGRESS) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

int
endpoint_bound(int fd, char text[ENDPOINT_TEXT_MAX])
{
    struct endpoint here = { .len = sizeof(here.addr) };
    if (getsockname(fd, (struct sockaddr *)&here.addr, &here.len) != 0) {
        return -errno;
    }
    char host[ENDPOINT_TEXT_MAX - 16];
    char port[8];
    if (getnameinfo((const struct sockaddr *)&here.addr, here.len, host,
            sizeof(host), port, sizeof(port),
            NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return -EINVAL;
    }
    bool v6 = here.addr.ss_family == AF_INET6;
    snprintf(text, ENDPOINT_TEXT_MAX, "%s%s%s:%s", v6 ? "[" : "", host,
        v6 ? "]" : "", port);
    return 0;
}

void
endpoint_reset(int fd)
{
    /* Closing with a linger time of zero sends RST instead of FIN. */
    struct linger now = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}
