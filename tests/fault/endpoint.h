/* A TCP address: text to sockaddr and back, and sockets bound to it. */
#ifndef TESTS_FAULT_ENDPOINT_H
#define TESTS_FAULT_ENDPOINT_H

#include <stddef.h>
#include <sys/socket.h>

struct endpoint {
    struct sockaddr_storage addr;
    socklen_t len;
};

#define ENDPOINT_TEXT_MAX 80

/* Resolve "HOST:PORT" or "[HOST]:PORT" to the first address found. Returns
 * NULL, or a sentence (static storage) that says what is wrong. */
const char *endpoint_resolve(struct endpoint *endpoint, const char *text);

/* A non-blocking listening socket. Returns it or a negative errno. */
int endpoint_listen(const struct endpoint *endpoint);

/* A non-blocking socket whose connect has been started. Returns it or a
 * negative errno; a refused connection may also show later. */
int endpoint_connect(const struct endpoint *endpoint);

/* Write the address that fd is bound to as "ADDR:PORT". Returns 0 or a
 * negative errno. */
int endpoint_bound(int fd, char text[ENDPOINT_TEXT_MAX]);

/* Close fd so that the peer sees a reset, whatever is still unsent. */
void endpoint_reset(int fd);

#endif
