#include "server/errand.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Seconds of work after which a child is taken for one that will not end. */
#define CHILD_SECONDS 2u

static void
run_child(errand_fn *fn, void *arg, int fd)
{
    const struct rlimit limit = {
        .rlim_cur = CHILD_SECONDS,
        .rlim_max = CHILD_SECONDS,
    };
    const struct rlimit none = { .rlim_cur = 0, .rlim_max = 0 };

    setrlimit(RLIMIT_CPU, &limit);
    setrlimit(RLIMIT_CORE, &none);
    _exit(fn(arg, fd));
}

/* Until the end, or until buf is full. */
static int
read_all(int fd, void *buf, size_t cap, size_t *len)
{
    *len = 0;
    while (*len < cap) {
        ssize_t n = read(fd, (char *)buf + *len, cap - *len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return ERR_IO;
        }
        if (n == 0) {
            break;
        }
        *len += (size_t)n;
    }
    return 0;
}

static int
wait_for(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return ERR_IO;
        }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == ERRAND_NONE) {
        return ERR_NOT_FOUND;
    }
    return status == 0 ? 0 : ERR_NOMEM;
}

int
errand_run(errand_fn *fn, void *arg, void *buf, size_t cap, size_t *len)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return ERR_IO;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]); /* else nobody's leaving could be noticed */
        run_child(fn, arg, ends[1]);
    }
    int error = errno;
    close(ends[1]);
    int err = ERR_IO;
    if (pid > 0) {
        err = read_all(ends[0], buf, cap, len);
        error = errno;
        close(ends[0]); /* a child that has more to say ends */
        int ended = wait_for(pid);
        err = err != 0 ? err : ended;
    } else {
        close(ends[0]);
    }
    errno = error;
    return err;
}
