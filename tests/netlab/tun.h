/* Network namespaces without a name, each with a TUN device in it. */
#ifndef TESTS_NETLAB_TUN_H
#define TESTS_NETLAB_TUN_H

#include <stdbool.h>

struct tun {
    int netns_fd;   /* the namespace; it ends with the last holder of it */
    int fd;         /* the device, non-blocking, one IP packet per read */
};

struct tun_options {
    unsigned mtu;
    bool ipv6;      /* false: the namespace knows no IPv6 */
};

#define TUN_NAME "lab0"

/* Make a new network namespace and in it the device TUN_NAME, both it and lo
 * up. The calling thread is moved into the new namespace. Returns 0 or a
 * negative errno; *step then says what failed (static storage) and nothing
 * is left open. */
int tun_open(struct tun *tun, const struct tun_options *options,
    const char **step);

/* Close both descriptors. Harmless when they are -1. */
void tun_close(struct tun *tun);

#endif
