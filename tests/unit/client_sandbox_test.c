/* What a process can still do after belay_sandbox(), tried from inside: a
 * child enters the sandbox and reports what it could do nevertheless. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/belay-sandbox.h"
#include "client/belay.h"
#include "client/callfilter.h"
#include "client/knownhosts.h"
#include "proto/io/confine.h"
#include "proto/io/net.h"
#include "tests/unit/attempts.h"

struct scene {
    char base[64];
    char in[80];      /* may be written */
    char also[80];
    char outside[80];
    char file[96];    /* outside */
    int listen_fd;    /* TCP */
    int abstract_fd;
    struct sockaddr_un abstract;
    socklen_t abstract_len;
};

static struct scene scene;

/* ---- What is tried: 0 when it worked, else errno. */

static int
try_spawn(void)
{
    char *const argv[] = { (char *)(uintptr_t)"true", NULL };
    pid_t pid = 0;
    int rc = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, NULL);
    if (rc == 0) {
        waitpid(pid, NULL, 0);
    }
    return rc;
}

static int
try_socket(int family, int type)
{
    int fd = socket(family, type | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

static int
try_connect(void)
{
    struct net_addr addr;
    int fd = -1;

    if (net_local(scene.listen_fd, &addr) != 0) {
        return EINVAL;
    }
    if (net_connect(&addr, &fd) != 0) {
        return errno;
    }
    close(fd);
    return 0;
}

static int
try_abstract(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = connect(fd, (const struct sockaddr *)&scene.abstract,
                     scene.abstract_len);
    int error = rc < 0 ? errno : 0;
    close(fd);
    return error;
}

static int
try_chmod(const char *path, mode_t mode)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 ? errno : result_of(fchmod(fd, mode));
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

static int
try_lookup(void)
{
    struct addrinfo *list = NULL;
    int rc = getaddrinfo("localhost", "1", NULL, &list);
    if (rc == 0) {
        freeaddrinfo(list);
    }
    return rc == 0 ? 0 : EHOSTUNREACH;
}

static void *
say_hello(void *arg)
{
    *(int *)arg = 1;
    return NULL;
}

static int
try_thread(void)
{
    pthread_t thread;
    int said = 0;
    int rc = pthread_create(&thread, NULL, say_hello, &said);
    if (rc == 0) {
        rc = pthread_join(thread, NULL);
    }
    return rc != 0 ? rc : said == 1 ? 0 : EIO;
}

struct attempt {
    const char *what;
    int result;
};

static int
count_wrong(const struct attempt *tries, size_t count, bool allowed)
{
    int wrong = 0;

    for (size_t i = 0; i < count; i++) {
        int result = tries[i].result;
        bool denied = result == EACCES || result == EPERM || result == EXDEV;

        if (allowed ? result != 0 : !denied) {
            fprintf(stderr, "%s: %s: %s\n", allowed ? "cannot" : "could",
                    tries[i].what, strerror(result));
            wrong++;
        }
    }
    return wrong;
}

#define COUNT_WRONG(tries, allowed) \
    count_wrong(tries, sizeof(tries) / sizeof((tries)[0]), allowed)

static int
count_open_doors(void)
{
    const char *file = scene.file;
    const struct attempt tries[] = {
        { "write a file outside", try_open(file, O_WRONLY) },
        { "make a file outside",
          try_open(in_dir(scene.outside, "new"), O_WRONLY | O_CREAT) },
        { "make a file that is nameless", try_open(scene.outside,
                                                   O_TMPFILE | O_RDWR) },
        { "append to /etc/passwd",
          try_open("/etc/passwd", O_WRONLY | O_APPEND) },
        { "write the memory of a process",
          try_open("/proc/self/mem", O_WRONLY) },
        { "make a directory outside",
          result_of(mkdir(in_dir(scene.outside, "dir"), 0700)) },
        { "remove a file outside", result_of(unlink(file)) },
        { "rename a file outside",
          result_of(rename(file, in_dir(scene.outside, "other"))) },
        { "take a file in", result_of(rename(file,
                                             in_dir(scene.in, "taken"))) },
        { "put a file out", result_of(rename(in_dir(scene.in, "f"),
                                             in_dir(scene.outside, "put"))) },
        { "link a file out", result_of(link(in_dir(scene.in, "f"),
                                            in_dir(scene.outside, "l"))) },
        { "make a symbolic link outside",
          result_of(symlink("x", in_dir(scene.outside, "s"))) },
        { "run a program", try_exec() },
    };
    return COUNT_WRONG(tries, false);
}

static int
count_open_calls(void)
{
    const struct attempt tries[] = {
        { "start a program", try_spawn() },
        { "start a process", try_fork() },
        { "trace", result_of((int)ptrace(PTRACE_TRACEME, 0, NULL, NULL)) },
        { "mount", result_of(mount("none", scene.in, "tmpfs", 0, NULL)) },
        { "make a namespace", result_of(unshare(CLONE_NEWUSER)) },
        { "change the root", result_of(chroot(scene.in)) },
        { "change a mode", result_of(chmod(scene.file, 0777)) },
        { "change an owner", result_of(chown(scene.file, 0, 0)) },
        { "set an attribute",
          result_of(setxattr(scene.file, "user.x", "y", 1, 0)) },
        { "cut a file", result_of(truncate(scene.file, 0)) },
        { "set the user id bit", try_chmod(in_dir(scene.in, "f"), 04755) },
        { "become root", result_of(setuid(0)) },
        { "signal the parent", result_of(kill(getppid(), SIGCONT)) },
        { "serve", result_of(listen(scene.listen_fd, 1)) },
        { "make a raw network socket", try_socket(AF_PACKET, SOCK_RAW) },
        { "type at the terminal",
          result_of(ioctl(STDIN_FILENO, TIOCSTI, "x")) },
    };
    return COUNT_WRONG(tries, false);
}

/* What downloads need still works. */
static int
count_closed_doors(void)
{
    const struct attempt tries[] = {
        { "write inside",
          try_open(in_dir(scene.in, "new"), O_WRONLY | O_CREAT | O_TRUNC) },
        { "write in the other place",
          try_open(in_dir(scene.also, "new"), O_WRONLY | O_CREAT) },
        { "make a directory inside",
          result_of(mkdir(in_dir(scene.in, "d"), 0700)) },
        { "rename to another directory",
          result_of(rename(in_dir(scene.in, "f"),
                           in_dir(scene.in, "d/f"))) },
        { "remove inside", result_of(unlink(in_dir(scene.in, "d/f"))) },
        { "set a mode by descriptor",
          try_chmod(in_dir(scene.in, "new"), 0644) },
        { "read outside", try_open(scene.file, O_RDONLY) },
        { "look a name up", try_lookup() },
        { "connect", try_connect() },
        { "have a socket of this machine", try_socket(AF_UNIX,
                                                      SOCK_STREAM) },
        { "start a thread", try_thread() },
        { "ask whether a process lives", result_of(kill(getpid(), 0)) },
    };
    return COUNT_WRONG(tries, true);
}

/* ---- Cases. */

static int
set_up(void **state)
{
    struct net_addr addr;

    (void)state;
    strcpy(scene.base, "/tmp/belay-jail-XXXXXX");
    assert_non_null(mkdtemp(scene.base));
    snprintf(scene.in, sizeof(scene.in), "%s/in", scene.base);
    snprintf(scene.also, sizeof(scene.also), "%s/also", scene.base);
    snprintf(scene.outside, sizeof(scene.outside), "%s/out", scene.base);
    snprintf(scene.file, sizeof(scene.file), "%s/f", scene.outside);
    assert_int_equal(mkdir(scene.in, 0700), 0);
    assert_int_equal(mkdir(scene.also, 0700), 0);
    assert_int_equal(mkdir(scene.outside, 0700), 0);
    assert_int_equal(try_open(scene.file, O_WRONLY | O_CREAT), 0);
    scene.abstract.sun_family = AF_UNIX;
    int len = snprintf(scene.abstract.sun_path + 1, 60, "%s", scene.base);
    scene.abstract_len =
        (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 +
        (socklen_t)len;
    scene.abstract_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(scene.abstract_fd,
                          (const struct sockaddr *)&scene.abstract,
                          scene.abstract_len), 0);
    assert_int_equal(listen(scene.abstract_fd, 1), 0);
    assert_int_equal(net_addr_parse("127.0.0.1:0", &addr), 0);
    return net_listen(&addr, false, &scene.listen_fd);
}

static int
tear_down(void **state)
{
    char command[100];

    (void)state;
    close(scene.listen_fd);
    close(scene.abstract_fd);
    snprintf(command, sizeof(command), "rm -rf '%s'", scene.base);
    return system(command);
}

/* Runs in a child; returns its exit status. */
static int
in_child(int (*body)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int faults = body();
        fflush(NULL);
        _exit(faults);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int
enter(struct belay_sandbox_options *options,
      struct belay_sandbox_state *state)
{
    const char *const places[] = { scene.in, scene.also,
                                   in_dir(scene.base, "missing") };
    struct belay_error error = { BELAY_DONE, "" };

    if (options->directories == NULL) {
        options->directories = places;
        options->directory_count = 3;
    }
    options->struct_size = sizeof(*options);
    state->struct_size = sizeof(*state);
    if (belay_sandbox(options, state, &error) != BELAY_DONE) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    return 0;
}

static int
body_of_all(void)
{
    struct belay_sandbox_options options = { .struct_size = 0 };
    struct belay_sandbox_state state;

    /* Whoever is looked up later is looked up by plugins read then. */
    int faults = try_open(in_dir(scene.in, "f"), O_WRONLY | O_CREAT);
    faults += enter(&options, &state);
    faults += !state.files || state.landlock != confine_version() ||
              state.calls != callfilter_built();
    faults += strstr(state.text, "2 directories only") == NULL;
    faults += count_open_doors();
    if (callfilter_built()) {
        faults += count_open_calls();
    }
    if (state.signals && try_abstract() != EPERM) {
        fprintf(stderr, "could reach an abstract socket\n");
        faults++;
    }
    return faults + count_closed_doors();
}

static void
only_downloads_are_left(void **state)
{
    (void)state;
    if (confine_version() < 2) {
        skip();
    }
    assert_int_equal(in_child(body_of_all), 0);
}

/* Made, with the right to take it back. */
static int
body_of_made(void)
{
    char path[100];
    const char *const places[] = { path };
    struct belay_sandbox_options options = { .directories = places,
                                             .directory_count = 1,
                                             .make_directories = true };
    struct belay_sandbox_state state;

    snprintf(path, sizeof(path), "%s/new/below//it/", scene.outside);
    int faults = enter(&options, &state);
    faults += strstr(state.text, "new/below") == NULL;
    const struct attempt allowed[] = {
        { "write there", try_open(in_dir(path, "x"), O_WRONLY | O_CREAT) },
        { "remove it", result_of(unlink(in_dir(path, "x"))) },
        { "remove the directory", result_of(rmdir(path)) },
        { "remove the one above",
          result_of(rmdir(in_dir(scene.outside, "new/below"))) },
    };
    const struct attempt denied[] = {
        { "write above", try_open(in_dir(scene.outside, "new/x"),
                                  O_WRONLY | O_CREAT) },
        { "write outside", try_open(scene.file, O_WRONLY) },
        { "remove a file outside", result_of(unlink(scene.file)) },
    };
    faults += COUNT_WRONG(denied, false);
    return faults + COUNT_WRONG(allowed, true);
}

static void
directories_are_made(void **state)
{
    (void)state;
    if (confine_version() < 2) {
        skip();
    }
    assert_int_equal(in_child(body_of_made), 0);
}

/* Neither the directory nor the current one is within reach: the search for
 * one that is comes to an end, whatever the sandbox says then. */
static int
body_of_out_of_reach(void)
{
    const char *const places[] = { "a/b", NULL };
    struct belay_sandbox_options options = {
        .directories = places,
        .directory_count = 1,
        .make_directories = true,
    };
    struct belay_sandbox_state state;

    alarm(60);
    if (chdir(scene.in) != 0 || chmod(scene.in, 0) != 0 ||
        (geteuid() == 0 && setuid(65534) != 0)) {
        return 1;
    }
    (void)enter(&options, &state);
    return 0;
}

static void
out_of_reach(void **state)
{
    (void)state;
    if (confine_version() < 2) {
        skip();
    }
    int faults = in_child(body_of_out_of_reach);
    assert_int_equal(chmod(scene.in, 0700), 0);
    assert_int_equal(faults, 0);
}

static int
body_of_nothing(void)
{
    const char *const none[] = { NULL };
    struct belay_sandbox_options options = { .directories = none };
    struct belay_sandbox_state state;
    int faults = enter(&options, &state);

    faults += strstr(state.text, "writes no files") == NULL;
    const struct attempt tries[] = {
        { "write", try_open(in_dir(scene.in, "g"), O_WRONLY | O_CREAT) },
        { "write in memory", try_open("/dev/shm/belay-x",
                                      O_WRONLY | O_CREAT) },
    };
    return faults + COUNT_WRONG(tries, false);
}

static void
nothing_named_is_nothing_allowed(void **state)
{
    (void)state;
    if (confine_version() < 2) {
        skip();
    }
    assert_int_equal(in_child(body_of_nothing), 0);
}

/* Again: what both allow. */
static int
body_of_twice(void)
{
    const char *const first[] = { scene.in, scene.also };
    const char *const second[] = { scene.in };
    struct belay_sandbox_options options = { .directories = first,
                                             .directory_count = 2 };
    struct belay_sandbox_state state;
    int faults = enter(&options, &state);

    options.directories = second;
    options.directory_count = 1;
    faults += enter(&options, &state);
    faults += try_open(in_dir(scene.in, "h"), O_WRONLY | O_CREAT) != 0;
    return faults +
           (try_open(in_dir(scene.also, "h"), O_WRONLY | O_CREAT) != EACCES);
}

static void
twice_is_narrower(void **state)
{
    (void)state;
    if (confine_version() < 2) {
        skip();
    }
    assert_int_equal(in_child(body_of_twice), 0);
}

static pthread_barrier_t barrier;

static void *
wait_there(void *arg)
{
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return arg;
}

static int
body_of_threads(void)
{
    const struct belay_sandbox_options options = {
        .struct_size = sizeof(options),
    };
    struct belay_error error;
    pthread_t thread;

    pthread_barrier_init(&barrier, NULL, 2);
    if (pthread_create(&thread, NULL, wait_there, NULL) != 0) {
        return 1;
    }
    pthread_barrier_wait(&barrier);
    int faults = belay_sandbox(&options, NULL, &error) != BELAY_USAGE;
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    /* ... and nothing was done. */
    return faults + (try_open(in_dir(scene.in, "i"),
                              O_WRONLY | O_CREAT) != 0) +
           (try_fork() != 0);
}

static void
other_threads_are_refused(void **state)
{
    (void)state;
    if (!callfilter_built()) {
        skip(); /* a sanitizer has threads of its own */
    }
    assert_int_equal(in_child(body_of_threads), 0);
}

/* A host is recorded in a directory that cannot be written any more, and only
 * one that has no key. */
static int
body_of_hosts(void)
{
    char path[100];
    const struct belay_security security = {
        .struct_size = sizeof(security),
        .known_hosts = path,
    };
    struct belay_sandbox_options options = { .security = &security };
    struct belay_sandbox_state state;
    const uint8_t pin[HASH_LEN] = { 1 };
    const uint8_t other[HASH_LEN] = { 2 };
    uint8_t found[KNOWNHOSTS_KEYS_MAX][HASH_LEN];
    char why[TLS_TEXT_MAX] = "";
    size_t count = 0;

    snprintf(path, sizeof(path), "%s/hosts/known", scene.outside);
    int faults = enter(&options, &state);
    faults += knownhosts_add_first(path, "example.org", 7, pin, why) != 0;
    faults += knownhosts_add_first(path, "example.org", 7, other, why) !=
              ERR_EXISTS;
    faults += strstr(why, "another key") == NULL;
    faults += knownhosts_add(path, "a b", 7, pin, why) != ERR_DENIED;
    faults += knownhosts_find(path, "example.org", 7, found, &count, why) != 0;
    faults += count != 1 || memcmp(found[0], pin, HASH_LEN) != 0;
    return faults +
           (try_open(in_dir(scene.outside, "hosts/config"),
                     O_WRONLY | O_CREAT) != EACCES);
}

static void
hosts_are_recorded_from_inside(void **state)
{
    (void)state;
    if (confine_version() < 2) {
        skip();
    }
    assert_int_equal(in_child(body_of_hosts), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_downloads_are_left),
        cmocka_unit_test(directories_are_made),
        cmocka_unit_test(out_of_reach),
        cmocka_unit_test(nothing_named_is_nothing_allowed),
        cmocka_unit_test(twice_is_narrower),
        cmocka_unit_test(other_threads_are_refused),
        cmocka_unit_test(hosts_are_recorded_from_inside),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
