/* belayd: serves the regular files of one directory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/err.h"
#include "proto/base/limits.h"
#include "proto/data/hash.h"
#include "proto/data/zpack.h"
#include "proto/io/clock.h"
#include "proto/io/loop.h"
#include "proto/io/rand.h"
#include "server/cachedir.h"
#include "server/limits.h"
#include "server/parent.h"
#include "server/permits.h"
#include "server/privileges.h"
#include "server/sandbox.h"
#include "server/service.h"
#include "server/settings.h"
#include "server/tools.h"
#include "server/vault.h"
#include "server/worker.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* How long an address may be in use before that is an error: 2 s. */
#define LISTEN_TRIES 40
#define LISTEN_PAUSE_MS 50

static int
complain(int status, const char *what, const char *arg, const char *why)
{
    fprintf(stderr, "belayd: %s%s%s%s%s\n", what, arg != NULL ? " " : "",
            arg != NULL ? arg : "", why != NULL ? ": " : "",
            why != NULL ? why : "");
    return status;
}

/* A path that the system refused. Whose rights count is the first question
 * where root has been given up. */
static int
complain_of(const struct settings *settings, const char *what,
            const char *path)
{
    int error = errno;
    char why[192];

    if (error != EACCES || settings->user == NULL) {
        return complain(EXIT_FAILED, what, path, strerror(error));
    }
    (void)snprintf(why, sizeof(why), "%s for user %s", strerror(error),
                   settings->user);
    return complain(EXIT_FAILED, what, path, why);
}

static const char *
reason_of(int err)
{
    return err == ERR_IO ? strerror(errno) : err_sentence(err);
}

/* ---- Listening. */

static int
print_port(const char *what, int fd)
{
    struct net_addr addr;
    char text[NET_TEXT_MAX];

    if (net_local(fd, &addr) != 0) {
        return complain(EXIT_FAILED, "cannot listen", NULL, strerror(errno));
    }
    net_addr_text(&addr, text);
    printf("%s %s\n", what, text);
    return 0;
}

/* The workers of a parent that was killed end a moment later than it, and
 * hold its address until then. */
static int
listen_soon(const struct net_addr *addr, int *fd)
{
    int err = net_listen(addr, false, fd);

    for (int i = 0; i < LISTEN_TRIES && err != 0 && errno == EADDRINUSE; i++) {
        const struct timespec pause = { .tv_nsec = LISTEN_PAUSE_MS * 1000000 };
        (void)nanosleep(&pause, NULL);
        err = net_listen(addr, false, fd);
    }
    return err;
}

/* shown is what was said for text, usage what the option takes. */
static int
listen_at(const char *text, const char *shown, const char *usage, int *fd)
{
    struct net_addr addr;

    int err = net_addr_parse(text, &addr);
    if (err == ERR_NOMEM) {
        return complain(EXIT_FAILED, "cannot listen on", shown,
                        err_sentence(err));
    }
    if (err != 0) {
        return complain(EXIT_USAGE, usage, shown, NULL);
    }
    if (listen_soon(&addr, fd) != 0) {
        return complain(EXIT_FAILED, "cannot listen on", shown,
                        strerror(errno));
    }
    return 0;
}

static int
listen_on(struct server *server, const char *text)
{
    int fd = -1;
    int status = listen_at(text, text, "--listen takes ADDR:PORT or "
                           "[ADDR]:PORT, not", &fd);

    if (status == 0) {
        server->listen_fd[server->listen_count++] = fd;
    }
    return status;
}

/* ":PORT" is for this machine alone. */
static int
listen_metrics(struct server *server, const char *text)
{
    char whole[NET_TEXT_MAX];

    int n = snprintf(whole, sizeof(whole), "%s%s",
                     text[0] == ':' ? "127.0.0.1" : "", text);
    if (n < 0 || (size_t)n >= sizeof(whole)) {
        whole[0] = '\0'; /* no address is so long */
    }
    return listen_at(whole, text, "--metrics takes ADDR:PORT, [ADDR]:PORT or "
                     ":PORT, not", &server->metrics_fd);
}

static bool
has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static int
listen_all(struct server *server, const struct settings *settings)
{
    char by_default[2][32];
    int status = 0;
    int err = service_sockets(server->listen_fd, SERVER_LISTEN_MAX,
                              &server->listen_count);

    if (err != 0) {
        return complain(EXIT_FAILED, "the sockets of the service manager",
                        NULL, err == ERR_LIMIT ? "too many" :
                        "one is not a listening TCP socket");
    }
    if (server->listen_count > 0 && settings->listen_count > 0) {
        return complain(EXIT_USAGE, "--listen and sockets of the service "
                        "manager exclude each other", NULL, NULL);
    }
    if (server->listen_count == 0 && settings->listen_count == 0) {
        snprintf(by_default[0], sizeof(by_default[0]), "0.0.0.0:%u",
                 PROTO_PORT);
        snprintf(by_default[1], sizeof(by_default[1]), "[::]:%u", PROTO_PORT);
        status = listen_on(server, by_default[0]);
        if (status == 0 && has_ipv6()) {
            status = listen_on(server, by_default[1]);
        }
    }
    for (size_t i = 0; i < settings->listen_count && status == 0; i++) {
        status = listen_on(server, settings->listen[i]);
    }
    return status;
}

static int
print_all(const struct server *server)
{
    int status = 0;

    for (size_t i = 0; i < server->listen_count && status == 0; i++) {
        status = print_port("listening on", server->listen_fd[i]);
    }
    if (status == 0 && server->metrics_fd >= 0) {
        status = print_port("metrics on", server->metrics_fd);
    }
    if (fflush(stdout) != 0) {
        clearerr(stdout); /* nobody reads it; serving goes on */
    }
    return status;
}

/* ---- Preparing. */

static void
set_rlimits(void)
{
    struct rlimit files;
    struct rlimit stack;
    const struct rlimit none = { .rlim_cur = 0, .rlim_max = 0 };

    /* Keys and file contents do not belong into core dumps. */
    setrlimit(RLIMIT_CORE, &none);
    /* All stacks of ended threads are kept for the next ones: glibc does so
     * for 40 MiB, and libuv has no answer to a lack of memory. */
    if (getrlimit(RLIMIT_STACK, &stack) == 0 &&
        stack.rlim_cur > SERVER_STACK_BYTES) {
        stack.rlim_cur = SERVER_STACK_BYTES;
        setrlimit(RLIMIT_STACK, &stack);
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static unsigned
worker_count(const struct settings *settings)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (settings->workers != 0) {
        return settings->workers;
    }
    if (cores < 1) {
        return 1;
    }
    return cores < (long)SERVER_WORKERS_MAX ? (unsigned)cores
                                            : SERVER_WORKERS_MAX;
}

static void
log_cache(struct server *server, const char *event, const char *path)
{
    struct log_line line;

    log_begin(&line, &server->log, LOG_LEVEL_WARN, event);
    log_text(&line, "path", path);
    log_end(&line);
}

/* Without a cache the server still serves; that it must not serve its own
 * cache is the only condition. */
static int
open_cache(struct server *server, const struct settings *settings,
           struct cachedir *cache)
{
    bool substitute = false;
    bool moved = false;
    int err = cachedir_open(settings->cache, cache, &substitute);

    if (err != 0 && settings->cache != NULL) {
        return complain_of(settings, "cannot use cache directory",
                           settings->cache);
    }
    if (err != 0) {
        log_cache(server, "no-cache", strerror(errno));
        return 0;
    }
    if (substitute) {
        log_cache(server, "temporary-cache", cache->path);
    }
    err = rootfs_hide(&server->root, cache->fd);
    if (err == ERR_USAGE) {
        return complain(EXIT_USAGE, "the cache directory must not be the "
                        "served directory:", cache->path, NULL);
    }
    if (err != 0) {
        return complain(EXIT_FAILED, "cannot hide cache directory",
                        cache->path, strerror(errno));
    }
    if (digestcache_repair(cache->path, &moved) != 0) {
        log_cache(server, "no-cache", strerror(errno));
        return 0;
    }
    if (moved) {
        log_cache(server, "cache-damaged", cache->path);
    }
    server->cache_dir = cache->path;
    return 0;
}

/* ---- Serving. */

static int
open_vault(struct server *server, const struct settings *settings)
{
    char why[GATE_WHY_MAX];

    if (vault_new(&server->vault) != 0) {
        return complain(EXIT_FAILED, "cannot start", NULL, strerror(errno));
    }
    if (vault_load(server->vault, settings, why) != 0) {
        return complain(EXIT_FAILED, "cannot serve", NULL, why);
    }
    return 0;
}

static int
tell_ready(const struct server *server)
{
    int status = print_all(server);
    if (status == 0) {
        service_tell("READY=1");
    }
    return status;
}

/* What the workers count together. */
static int
open_counters(struct server *server, const struct settings *settings)
{
    const struct census_limits limits =
        census_limits_for(settings->connections, settings->per_source);
    int err = census_new(&limits, &server->census);

    if (err == 0) {
        err = conduct_new(MAX_PENALTY_SOURCES, &server->conduct);
    }
    if (err == 0) {
        err = permits_new(permits_for_cores(sysconf(_SC_NPROCESSORS_ONLN)),
                          &server->permits);
    }
    return err == 0 ? 0
                    : complain(EXIT_FAILED, "cannot start", NULL,
                               err_sentence(err));
}

static int
serve(struct server *server, const struct settings *settings)
{
    int status = open_counters(server, settings);
    if (status == 0) {
        status = open_vault(server, settings);
    }
    if (status == 0) {
        status = parent_run(server, worker_count(settings), tell_ready);
    }
    vault_free(server->vault);
    census_free(server->census);
    conduct_free(server->conduct);
    permits_free(server->permits);
    return status;
}

/* What a loop can wait for; a file has no other end. */
static bool
is_stream(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 &&
           (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || isatty(fd));
}

static int
serve_stdio(struct server *server)
{
    if (!is_stream(STDIN_FILENO) || !is_stream(STDOUT_FILENO)) {
        return complain(EXIT_FAILED, "--stdio needs pipes or a socket on "
                        "standard input and output", NULL, NULL);
    }
    return parent_run_stdio(server);
}

static int
start(struct server *server, const struct settings *settings)
{
    struct cachedir cache = { .fd = -1 };
    int status = 0;

    if (metrics_new(&server->metrics) != 0) {
        return complain(EXIT_FAILED, "cannot start", NULL, strerror(errno));
    }
    int err = sandbox_prepare(settings->sandbox, &server->filter);
    if (err != 0) {
        metrics_free(server->metrics);
        return complain(EXIT_FAILED, "cannot confine the workers", NULL,
                        reason_of(err));
    }
    rand_bytes(server->tree_id, sizeof(server->tree_id));
    status = open_cache(server, settings, &cache);
    if (status == 0) {
        status = settings->mode == SETTINGS_STDIO ? serve_stdio(server)
                                                  : serve(server, settings);
    }
    if (server->cache_dir != NULL) {
        digestcache_mark_clean(server->cache_dir);
    }
    cachedir_close(&cache);
    filter_clear(&server->filter);
    metrics_free(server->metrics);
    return status;
}

/* ---- Rights. */

/* Whoever serves strangers as root must have said so. A user who comes
 * through ssh has logged in as what it is. */
static int
find_user(const struct settings *settings, struct privileges_user *user)
{
    if (settings->user == NULL) {
        if (geteuid() == 0 && settings->mode == SETTINGS_SERVE) {
            return complain(EXIT_USAGE, "root must say with --user NAME "
                            "which user belayd is to become (--user root "
                            "stays root)", NULL, NULL);
        }
        user->uid = geteuid();
        return 0;
    }
    int err = privileges_find(settings->user, user);
    if (err == ERR_NOT_FOUND) {
        return complain(EXIT_USAGE, "no such user:", settings->user, NULL);
    }
    return err == 0 ? 0
                    : complain(EXIT_FAILED, "cannot look up user",
                               settings->user, reason_of(err));
}

/* What is opened by path from here on must be within the user's reach: what
 * could not be opened again later had better fail now. */
static int
drop_root(const struct settings *settings,
          const struct privileges_user *user)
{
    if (user->uid == geteuid()) {
        return 0;
    }
    if (geteuid() == 0) {
        cachedir_prepare(user->uid, user->gid);
    }
    if (privileges_drop(user) != 0) {
        return complain(EXIT_FAILED, "cannot become user", settings->user,
                        strerror(errno));
    }
    return 0;
}

static int
check_sandbox(const struct settings *settings)
{
    const char *missing = NULL;

    if (sandbox_check(settings->sandbox, &missing) != 0) {
        return complain(EXIT_FAILED, "cannot confine the workers as "
                        "--sandbox asks for", NULL, missing);
    }
    return 0;
}

/* ---- Life. */

/* With ports open and root given up. */
static int
run_logged(struct server *server, const struct settings *settings)
{
    /* What --stdio logs shows up at the client. */
    bool is_quiet = settings->mode == SETTINGS_STDIO &&
                    settings->log_file == NULL && !settings->verbose;

    if (log_open(&server->log, settings->log_file,
                 is_quiet ? LOG_LEVEL_WARN : LOG_LEVEL_INFO) != 0) {
        return complain_of(settings, "cannot open log file",
                           settings->log_file);
    }
    int status = start(server, settings);
    log_close(&server->log);
    return status;
}

static int
run(const struct settings *settings)
{
    struct server server = {
        .settings = settings,
        .began_ms = clock_mono_ms(),
        .metrics_fd = -1,
    };
    struct privileges_user user = { .uid = 0 };

    set_rlimits();
    int status = find_user(settings, &user);
    if (status == 0) {
        status = check_sandbox(settings);
    }
    if (status != 0) {
        return status;
    }
    if (rootfs_init(&server.root, settings->root) != 0) {
        return complain(EXIT_FAILED, "cannot serve", settings->root,
                        strerror(errno));
    }
    if (settings->mode == SETTINGS_SERVE) {
        status = listen_all(&server, settings);
    }
    if (status == 0 && settings->metrics != NULL) {
        status = listen_metrics(&server, settings->metrics);
    }
    if (status == 0) {
        status = drop_root(settings, &user);
    }
    /* Whoever serves has to get in; what is in there is asked for later. */
    if (status == 0 && faccessat(server.root.fd, ".", X_OK,
                                 AT_EACCESS) != 0) {
        status = complain_of(settings, "cannot serve", settings->root);
    }
    if (status == 0) {
        status = run_logged(&server, settings);
    }
    server_stop_listening(&server);
    server_stop_telling(&server);
    rootfs_clear(&server.root);
    return status;
}

int
main(int argc, char *argv[])
{
    struct settings settings;
    char message[256];

    if (argc > 1 && tools_know(argv[1])) {
        return tools_run(argc - 1, argv + 1);
    }
    if (settings_parse(argc, argv, &settings, message, sizeof(message)) != 0) {
        return complain(EXIT_USAGE, message, NULL,
                        "try 'belayd --help'");
    }
    switch (settings.mode) {
    case SETTINGS_HELP:
        return fputs(settings_help, stdout) < 0 ? EXIT_FAILED : 0;
    case SETTINGS_VERSION:
        return printf("belayd " BELAY_VERSION ", protocol version %u\n"
                      "OpenSSL %s, zlib %s, libuv %s\n", PROTO_VERSION,
                      hash_library(), zpack_library(), loop_library()) < 0
                   ? EXIT_FAILED
                   : 0;
    case SETTINGS_SERVE:
    case SETTINGS_STDIO:
        return run(&settings);
    }
    return EXIT_FAILED;
}
