#include "server/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The first descriptor that is passed, by the rule of the interface. */
#define FIRST_FD 3

/* A number of the environment; -1: none. */
static long
number_of(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;

    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return -1;
    }
    errno = 0;
    long value = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' ? value : -1;
}

static bool
option_is(int fd, int option, int wanted)
{
    int value = 0;
    socklen_t len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 &&
           value == wanted;
}

/* AF_INET or AF_INET6, a stream, listening. */
static bool
is_usable(int fd)
{
    int domain = 0;
    socklen_t len = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
           (domain == AF_INET || domain == AF_INET6) &&
           option_is(fd, SO_TYPE, SOCK_STREAM) &&
           option_is(fd, SO_ACCEPTCONN, 1);
}

static bool
prepare(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
           fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

int
service_sockets(int *fds, size_t max, size_t *count)
{
    long pid = number_of("LISTEN_PID");
    long passed = number_of("LISTEN_FDS");

    *count = 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (pid != getpid() || passed <= 0) {
        return 0; /* none, or meant for another process */
    }
    if ((unsigned long)passed > max) {
        return ERR_LIMIT;
    }
    for (int i = 0; i < (int)passed; i++) {
        if (!is_usable(FIRST_FD + i) || !prepare(FIRST_FD + i)) {
            return ERR_USAGE;
        }
        fds[i] = FIRST_FD + i;
    }
    *count = (size_t)passed;
    return 0;
}

void
service_tell(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    size_t len = path == NULL ? 0 : strlen(path);

    if (len < 2 || len >= sizeof(addr.sun_path) ||
        (path[0] != '/' && path[0] != '@')) {
        return;
    }
    memcpy(addr.sun_path, path, len);
    if (path[0] == '@') {
        addr.sun_path[0] = '\0'; /* the abstract namespace */
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return;
    }
    ssize_t n =
        sendto(fd, state, strlen(state), MSG_NOSIGNAL,
               (const struct sockaddr *)&addr,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    (void)n;
    close(fd);
}
