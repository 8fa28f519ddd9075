/* What a confined process tries, for the tests of both sandboxes: each gives 0
 * when it worked, else errno. */
#ifndef TESTS_UNIT_ATTEMPTS_H
#define TESTS_UNIT_ATTEMPTS_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int
result_of(int rc)
{
    return rc < 0 ? errno : 0;
}

/* Valid until the fourth call after this one. */
static const char *
in_dir(const char *dir, const char *name)
{
    static char path[4][200];
    static unsigned turn;
    char *out = path[turn++ % 4];

    snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
    return out;
}

static int
try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

static int
try_exec(void)
{
    char *const argv[] = { (char *)(uintptr_t)"true", NULL };
    execv("/bin/true", argv);
    return errno;
}

static int
try_fork(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    return pid < 0 ? errno : 0;
}

#endif
