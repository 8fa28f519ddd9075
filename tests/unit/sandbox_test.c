/* What a worker can still do, tried from inside one: a child enters the
 * sandbox as a worker does and reports what it could do nevertheless. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/io/confine.h"
#include "proto/io/net.h"
#include "proto/io/rootfs.h"
#include "server/filter.h"
#include "server/sandbox.h"
#include "tests/unit/attempts.h"

#define EXIT_SKIP 77

struct scene {
    char base[64];
    char root[80];
    char cache[80];
    char logs[80];
    char outside[80];
    struct rootfs fs;
    int listen_fd;
};

static struct scene scene;

/* ---- What is tried: 0 when it worked, else errno. */

static int
try_connect(void)
{
    struct net_addr addr;
    int fd = -1;

    if (net_local(scene.listen_fd, &addr) != 0) {
        return EINVAL;
    }
    return net_connect(&addr, &fd) == 0 ? 0 : errno;
}

static int
try_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return EINVAL;
    }
    return mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0 ? 0 : errno;
}

/* Forbidden by the files' layer alone. */
static int
count_open_doors(void)
{
    const struct {
        const char *what;
        int result;
    } tries[] = {
        { "read a file outside",
          try_open(in_dir(scene.outside, "f"), O_RDONLY) },
        { "list a directory outside",
          try_open(in_dir(scene.outside, "."), O_RDONLY | O_DIRECTORY) },
#ifndef BELAY_SANITIZED /* whose leak checker needs it */
        { "read /proc", try_open("/proc/self/maps", O_RDONLY) },
#endif
        { "read /etc/passwd", try_open("/etc/passwd", O_RDONLY) },
        { "write a file of the root",
          try_open(in_dir(scene.root, "f"), O_WRONLY) },
        { "make a file in the root",
          try_open(in_dir(scene.root, "new"), O_WRONLY | O_CREAT) },
        { "read a log", try_open(in_dir(scene.logs, "log"), O_RDONLY) },
        { "execute", try_exec() },
    };
    int count = 0;

    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        if (tries[i].result != EACCES && tries[i].result != EPERM) {
            fprintf(stderr, "could %s: %s\n", tries[i].what,
                    strerror(tries[i].result));
            count++;
        }
    }
    return count;
}

/* Forbidden by the filter. */
static int
count_open_calls(void)
{
    const struct {
        const char *what;
        int result;
    } tries[] = {
        { "make a socket",
          result_of(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) },
        { "make a Unix socket",
          result_of(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) },
        { "connect", try_connect() },
        { "trace", result_of((int)ptrace(PTRACE_TRACEME, 0, NULL, NULL)) },
        { "fork", try_fork() },
        { "make code", try_code() },
        { "signal the parent", result_of(kill(getppid(), 0)) },
        { "change root", result_of(chroot(scene.root)) },
        { "change mode", result_of(chmod(scene.root, 0777)) },
        { "link", result_of(symlink("/etc", scene.root)) },
        { "become root", result_of(setuid(0)) },
    };
    int count = 0;

    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        if (tries[i].result != EPERM) {
            fprintf(stderr, "could %s: %s\n", tries[i].what,
                    strerror(tries[i].result));
            count++;
        }
    }
    return count;
}

/* What a worker needs still works. */
static int
count_closed_doors(void)
{
    struct stat st;
    int fd = -1;
    int count = 0;

    if (rootfs_open(&scene.fs, "f", false, &st, &fd) != 0) {
        fprintf(stderr, "cannot serve: %s\n", strerror(errno));
        count++;
    }
    const int results[] = {
        try_open(in_dir(scene.cache, "new"), O_RDWR | O_CREAT),
        try_open(in_dir(scene.logs, "new"), O_WRONLY | O_CREAT | O_APPEND),
        result_of(fcntl(scene.listen_fd, F_GETFL)),
    };
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        if (results[i] != 0) {
            fprintf(stderr, "need %zu fails: %s\n", i, strerror(results[i]));
            count++;
        }
    }
    return count;
}

static int
enter(struct sandbox *sandbox, enum sandbox_mode mode)
{
    char log_file[100];

    snprintf(log_file, sizeof(log_file), "%s/log", scene.logs);
    const struct sandbox_places places = {
        .root_fd = scene.fs.fd,
        .cache_dir = scene.cache,
        .log_file = log_file,
    };
    struct filter filter;
    int err = sandbox_prepare(mode, &filter);

    if (err == 0) {
        err = sandbox_confine(sandbox, mode, &places);
    }
    if (err == 0) {
        err = sandbox_filter(sandbox, &filter);
    }
    filter_clear(&filter);
    return err;
}

/* ---- Cases. */

static void
make_file(const char *dir, const char *name)
{
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(try_open(in_dir(dir, name), O_WRONLY | O_CREAT), 0);
}

static int
set_up(void **state)
{
    struct net_addr addr;

    (void)state;
    strcpy(scene.base, "/tmp/belay-sandbox-XXXXXX");
    assert_non_null(mkdtemp(scene.base));
    snprintf(scene.root, sizeof(scene.root), "%s/root", scene.base);
    snprintf(scene.cache, sizeof(scene.cache), "%s/cache", scene.base);
    snprintf(scene.logs, sizeof(scene.logs), "%s/logs", scene.base);
    snprintf(scene.outside, sizeof(scene.outside), "%s/out", scene.base);
    make_file(scene.root, "f");
    make_file(scene.cache, "f");
    make_file(scene.logs, "log");
    make_file(scene.outside, "f");
    assert_int_equal(rootfs_init(&scene.fs, scene.root), 0);
    assert_int_equal(net_addr_parse("127.0.0.1:0", &addr), 0);
    return net_listen(&addr, false, &scene.listen_fd);
}

static int
tear_down(void **state)
{
    char command[100];

    (void)state;
    close(scene.listen_fd);
    rootfs_clear(&scene.fs);
    snprintf(command, sizeof(command), "rm -rf '%s'", scene.base);
    return system(command);
}

/* Runs in a child; what it returns is its exit status, or minus the signal
 * that ended it. */
static int
in_child(int (*body)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(body());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int
worker_body(void)
{
    struct sandbox sandbox;

    if (enter(&sandbox, SANDBOX_REQUIRE) != 0) {
        return EXIT_SKIP;
    }
    int faults = count_open_doors() + count_closed_doors();
    if (filter_built()) {
        faults += count_open_calls();
    } else if (sandbox.version >= 4 && try_connect() != EACCES) {
        faults++;
    }
    return faults;
}

static void
nothing_but_serving_is_left(void **state)
{
    (void)state;
    if (confine_version() == 0 || !filter_possible()) {
        skip();
    }
    assert_int_equal(in_child(worker_body), 0);
}

static void *
thread_body(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)result_of(
        socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static pthread_barrier_t started;

static void *
waiting_body(void *arg)
{
    pthread_barrier_wait(&started);
    pthread_barrier_wait(&started);
    return thread_body(arg);
}

/* The filter binds threads that run already. */
static int
threads_body(void)
{
    struct sandbox sandbox;
    pthread_t thread;
    void *result = NULL;

    pthread_barrier_init(&started, NULL, 2);
    if (pthread_create(&thread, NULL, waiting_body, NULL) != 0) {
        return 1;
    }
    pthread_barrier_wait(&started);
    int err = enter(&sandbox, SANDBOX_REQUIRE);
    pthread_barrier_wait(&started);
    pthread_join(thread, &result);
    return err == 0 && (intptr_t)result == EPERM ? 0 : 1;
}

static void
threads_are_filtered(void **state)
{
    (void)state;
    if (!filter_built() || confine_version() == 0 || !filter_possible()) {
        skip();
    }
    assert_int_equal(in_child(threads_body), 0);
}

static int
strict_body(void)
{
    struct sandbox sandbox;

    if (enter(&sandbox, SANDBOX_STRICT) != 0) {
        return EXIT_SKIP;
    }
    return result_of(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static void
a_forbidden_call_ends_a_strict_worker(void **state)
{
    (void)state;
    if (!filter_built() || confine_version() == 0 || !filter_possible()) {
        skip();
    }
    assert_int_equal(in_child(strict_body), -SIGSYS);
}

static int
off_body(void)
{
    struct sandbox sandbox;

    if (enter(&sandbox, SANDBOX_OFF) != 0) {
        return 1;
    }
    return sandbox.kinds != 0 || sandbox.filtered ||
           try_open(in_dir(scene.outside, "f"), O_RDONLY) != 0 ||
           try_fork() != 0;
}

static void
off_is_off(void **state)
{
    (void)state;
    assert_int_equal(in_child(off_body), 0);
}

static int
lost_place_body(void)
{
    struct sandbox sandbox;
    const struct sandbox_places places = {
        .root_fd = scene.fs.fd,
        .cache_dir = "/nonexistent/cache",
    };

    if (sandbox_confine(&sandbox, SANDBOX_REQUIRE, &places) != ERR_IO) {
        return 1;
    }
    return sandbox_confine(&sandbox, SANDBOX_TRY, &places) != 0 ||
           sandbox.kinds != 0;
}

static void
a_lost_place_is_told(void **state)
{
    (void)state;
    assert_int_equal(in_child(lost_place_body), 0);
}

static void
demands_are_checked(void **state)
{
    const char *missing = NULL;
    bool able = confine_version() > 0 && filter_possible();

    (void)state;
    assert_int_equal(sandbox_check(SANDBOX_TRY, &missing), 0);
    assert_int_equal(sandbox_check(SANDBOX_OFF, &missing), 0);
    assert_int_equal(sandbox_check(SANDBOX_REQUIRE, &missing),
                     able ? 0 : ERR_UNSUPPORTED);
    assert_int_equal(missing == NULL, able);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_but_serving_is_left),
        cmocka_unit_test(threads_are_filtered),
        cmocka_unit_test(a_forbidden_call_ends_a_strict_worker),
        cmocka_unit_test(off_is_off),
        cmocka_unit_test(a_lost_place_is_told),
        cmocka_unit_test(demands_are_checked),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
