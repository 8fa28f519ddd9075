#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/io/spawn.h"

static void
start(const char *script, struct spawn *child)
{
    char *const argv[] = {
        (char *)(uintptr_t)"sh",
        (char *)(uintptr_t)"-c",
        (char *)(uintptr_t)script,
        NULL,
    };
    assert_int_equal(spawn_start(argv, child), 0);
}

static void
wait_for(int fd, short events)
{
    struct pollfd watch = { .fd = fd, .events = events };
    assert_int_equal(poll(&watch, 1, 10000), 1);
}

static void
wait_end(struct spawn *child)
{
    wait_for(child->pidfd, POLLIN);
    assert_true(spawn_ended(child));
    assert_true(spawn_ended(child));
}

/* Reads until the other side closes. */
static void
read_all(int fd, char *text, size_t cap)
{
    size_t len = 0;
    ssize_t n = -1;

    while (n != 0 && len + 1 < cap) {
        wait_for(fd, POLLIN);
        n = read(fd, text + len, cap - 1 - len);
        assert_true(n >= 0);
        len += (size_t)n;
    }
    text[len] = '\0';
}

static void
talks_on_all_three(void **state)
{
    struct spawn child;
    char text[100];

    (void)state;
    start("read a; echo \"got $a\"; echo oops >&2; exit 7", &child);
    errno = 0;
    assert_int_equal(read(child.fd, text, sizeof(text)), -1);
    assert_int_equal(errno, EAGAIN);
    assert_false(spawn_ended(&child));
    assert_int_equal(write(child.fd, "it\n", 3), 3);
    read_all(child.fd, text, sizeof(text));
    assert_string_equal(text, "got it\n");
    read_all(child.err_fd, text, sizeof(text));
    assert_string_equal(text, "oops\n");
    wait_end(&child);
    assert_true(WIFEXITED(child.status));
    assert_int_equal(WEXITSTATUS(child.status), 7);
    spawn_finish(&child);
    spawn_finish(&child);
}

/* It begins with the three descriptors and usual signals only. */
static void
starts_clean(void **state)
{
    struct spawn child;
    char text[200];
    sigset_t blocked;
    sigset_t before;
    int extra = dup(STDIN_FILENO); /* without close-on-exec */

    (void)state;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signal(SIGPIPE, SIG_IGN);
    /* No pipes: the shell would hold their ends for a moment; and while it
     * waits for a program it blocks signals of its own. */
    start("ls /proc/$$/fd; grep SigBlk /proc/self/status; kill -PIPE $$",
          &child);
    read_all(child.fd, text, sizeof(text));
    assert_string_equal(text, "0\n1\n2\nSigBlk:\t0000000000000000\n");
    wait_end(&child);
    assert_true(WIFSIGNALED(child.status));
    assert_int_equal(WTERMSIG(child.status), SIGPIPE);
    spawn_finish(&child);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(extra);
}

static void
a_missing_program_is_told(void **state)
{
    struct spawn child;
    char *const argv[] = { (char *)(uintptr_t)"/nonexistent/program", NULL };

    (void)state;
    assert_int_equal(spawn_start(argv, &child), ERR_NOT_FOUND);
    assert_int_equal(errno, ENOENT);
    assert_true(child.fd < 0 && child.err_fd < 0 && child.pidfd < 0);
    spawn_finish(&child);
    char *const directory[] = { (char *)(uintptr_t)"/", NULL };
    assert_int_equal(spawn_start(directory, &child), ERR_IO);
}

/* Asked first, then made to. */
static void
is_ended(void **state)
{
    static const char *const scripts[] = {
        "exec sleep 100",
        "trap '' TERM; echo; while :; do sleep 0.1; done",
    };
    static const int signals[] = { SIGTERM, SIGKILL };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct spawn child;

        start(scripts[i], &child);
        if (i == 1) {
            wait_for(child.fd, POLLIN);
        }
        spawn_finish(&child);
        assert_int_equal(child.pid, 0);
        assert_true(WIFSIGNALED(child.status));
        assert_int_equal(WTERMSIG(child.status), signals[i]);
        /* No zombie is left. */
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
    }
}

static void
zeroed_is_fine(void **state)
{
    struct spawn child;

    (void)state;
    memset(&child, 0, sizeof(child));
    spawn_finish(&child);
    assert_int_equal(fcntl(STDIN_FILENO, F_GETFD) >= 0 || errno == EBADF, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(talks_on_all_three),
        cmocka_unit_test(starts_clean),
        cmocka_unit_test(a_missing_program_is_told),
        cmocka_unit_test(is_ended),
        cmocka_unit_test(zeroed_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
