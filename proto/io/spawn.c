#include "proto/io/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a child may take to end when asked, and when killed. */
#define PATIENCE_MS 200

extern char **environ;

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* Duplicates of descriptors in the child, which lose their close-on-exec. */
static int
add_actions(posix_spawn_file_actions_t *actions, int in_out, int err_out)
{
    int rc = posix_spawn_file_actions_adddup2(actions, in_out, STDIN_FILENO);
    if (rc == 0) {
        rc = posix_spawn_file_actions_adddup2(actions, in_out, STDOUT_FILENO);
    }
    if (rc == 0) {
        rc = posix_spawn_file_actions_adddup2(actions, err_out,
                                              STDERR_FILENO);
    }
    if (rc == 0) {
        rc = posix_spawn_file_actions_addclosefrom_np(actions,
                                                      STDERR_FILENO + 1);
    }
    return rc;
}

static int
set_signals(posix_spawnattr_t *attr)
{
    sigset_t usual;
    sigset_t none;

    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    sigaddset(&usual, SIGXFSZ);
    int rc = posix_spawnattr_setsigdefault(attr, &usual);
    if (rc == 0) {
        rc = posix_spawnattr_setsigmask(attr, &none);
    }
    return rc != 0 ? rc
                   : posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF |
                                                        POSIX_SPAWN_SETSIGMASK);
}

static int
launch(char *const argv[], int in_out, int err_out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;

    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return rc;
    }
    rc = posix_spawnattr_init(&attr);
    if (rc == 0) {
        rc = add_actions(&actions, in_out, err_out);
        if (rc == 0) {
            rc = set_signals(&attr);
        }
        if (rc == 0) {
            rc = posix_spawnp(pid, argv[0], &actions, &attr, argv, environ);
        }
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* The ends that dup2() is to copy must not be where it copies to: a caller
 * may have closed its standard descriptors. */
static int
make_ends(int pair[2], int pipe_ends[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return ERR_IO;
    }
    if (pipe2(pipe_ends, O_CLOEXEC) != 0) {
        return ERR_IO;
    }
    for (int i = 0; i < 2; i++) {
        int *ends[2] = { &pair[i], &pipe_ends[i] };
        for (int k = 0; k < 2; k++) {
            if (*ends[k] > STDERR_FILENO) {
                continue;
            }
            int higher = fcntl(*ends[k], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
            if (higher < 0) {
                return ERR_IO;
            }
            close(*ends[k]);
            *ends[k] = higher;
        }
    }
    return 0;
}

static bool
make_non_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

int
spawn_start(char *const argv[], struct spawn *out)
{
    int pair[2] = { -1, -1 };
    int pipe_ends[2] = { -1, -1 };
    pid_t pid = 0;
    int rc = 0;
    int err = make_ends(pair, pipe_ends);

    memset(out, 0, sizeof(*out));
    out->pidfd = -1;
    if (err != 0 || !make_non_blocking(pair[0]) ||
        !make_non_blocking(pipe_ends[0])) {
        rc = errno;
    } else {
        rc = launch(argv, pair[1], pipe_ends[1], &pid);
    }
    close_fd(&pair[1]);
    close_fd(&pipe_ends[1]);
    out->fd = pair[0];
    out->err_fd = pipe_ends[0];
    if (rc == 0) {
        out->pid = pid;
        out->pidfd = pidfd_open(pid, 0);
        rc = out->pidfd < 0 ? errno : 0;
    }
    if (rc != 0) {
        spawn_finish(out);
        errno = rc;
        return rc == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    }
    return 0;
}

static bool
reap(struct spawn *child, int flags)
{
    if (child->pid == 0) {
        return true;
    }
    pid_t got;
    do {
        got = waitpid(child->pid, &child->status, flags);
    } while (got < 0 && errno == EINTR);
    if (got == 0) {
        return false;
    }
    if (got < 0) {
        child->status = 0; /* the program waits for all children by itself */
    }
    child->pid = 0;
    return true;
}

bool
spawn_ended(struct spawn *child)
{
    return reap(child, WNOHANG);
}

static bool
ends_soon(struct spawn *child)
{
    struct pollfd watch = { .fd = child->pidfd, .events = POLLIN };

    if (child->pidfd >= 0) {
        poll(&watch, 1, PATIENCE_MS);
    }
    return reap(child, WNOHANG);
}

void
spawn_finish(struct spawn *child)
{
    if (child->pid == 0 && child->pidfd == 0) {
        return; /* zeroed */
    }
    close_fd(&child->fd);
    close_fd(&child->err_fd);
    if (!spawn_ended(child)) {
        kill(child->pid, SIGTERM);
        if (!ends_soon(child)) {
            kill(child->pid, SIGKILL);
            if (!ends_soon(child)) {
                child->pid = 0; /* stuck in the kernel: init takes it later */
            }
        }
    }
    close_fd(&child->pidfd);
}
