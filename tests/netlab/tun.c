#include "tests/netlab/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel's own queue in front of the device: larger than any window, so
 * that only the emulator's queue ever drops. */
#define TUN_QUEUE_PACKETS 20000

static struct ifreq
tun_request(const char *name)
{
    struct ifreq request = { 0 };
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    return request;
}

static int
tun_up(int socket_fd, const char *name)
{
    struct ifreq request = tun_request(name);
    if (ioctl(socket_fd, SIOCGIFFLAGS, &request) != 0) {
        return -errno;
    }
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    return ioctl(socket_fd, SIOCSIFFLAGS, &request) == 0 ? 0 : -errno;
}

static int
tun_configure(unsigned mtu)
{
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0) {
        return -errno;
    }
    struct ifreq request = tun_request(TUN_NAME);
    request.ifr_mtu = (int)mtu;
    int err = 0;
    if (ioctl(socket_fd, SIOCSIFMTU, &request) != 0) {
        err = -errno;
        goto out_close;
    }
    request = tun_request(TUN_NAME);
    request.ifr_qlen = TUN_QUEUE_PACKETS;
    if (ioctl(socket_fd, SIOCSIFTXQLEN, &request) != 0) {
        err = -errno;
        goto out_close;
    }
    err = tun_up(socket_fd, TUN_NAME);
    if (err == 0) {
        err = tun_up(socket_fd, "lo");
    }

out_close:
    close(socket_fd);
    return err;
}

static int
tun_attach(int fd)
{
    struct ifreq request = tun_request(TUN_NAME);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    return ioctl(fd, TUNSETIFF, &request) == 0 ? 0 : -errno;
}

/* A kernel without IPv6 has no such file, and needs none. */
static void
tun_disable_ipv6(void)
{
    int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6",
        O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "1", 1);
        close(fd);
    }
}

int
tun_open(struct tun *tun, const struct tun_options *options,
    const char **step)
{
    *tun = (struct tun){ -1, -1 };
    *step = "new network namespace";
    if (unshare(CLONE_NEWNET) != 0) {
        return -errno;
    }
    int err = 0;
    tun->netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (tun->netns_fd < 0) {
        err = -errno;
        goto out_close;
    }
    if (!options->ipv6) {
        tun_disable_ipv6();
    }
    *step = "/dev/net/tun";
    tun->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun->fd < 0) {
        err = -errno;
        goto out_close;
    }
    *step = "new TUN device";
    err = tun_attach(tun->fd);
    if (err != 0) {
        goto out_close;
    }
    *step = "set up the TUN device";
    err = tun_configure(options->mtu);
    if (err == 0) {
        return 0;
    }

out_close:
    tun_close(tun);
    return err;
}

void
tun_close(struct tun *tun)
{
    if (tun->fd >= 0) {
        close(tun->fd);
    }
    if (tun->netns_fd >= 0) {
        close(tun->netns_fd);
    }
    *tun = (struct tun){ -1, -1 };
}
