#include "server/exporter.h"

#include <microhttpd.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/io/clock.h"
#include "proto/io/loop.h"
#include "server/limits.h"
#include "server/metrics.h"
#include "server/permits.h"
#include "server/sandbox.h"
#include "server/vault.h"

/* A connection, as long as it is open. */
struct guest {
    bool used;
    int fd;         /* borrowed from the library */
    uint64_t until; /* then it has to go, whatever it does */
};

struct exporter {
    const struct metrics *metrics;
    uint64_t began_ms;
    struct loop *loop;
    struct loop_poll *poll; /* of all that the library waits for */
    struct loop_timer *timer;
    struct loop_signal *term;
    struct MHD_Daemon *http;
    struct guest guest[SERVER_SCRAPERS_MAX];
    bool left; /* a guest has gone */
    struct sandbox sandbox;
    char text[METRICS_TEXT_MAX];
};

/* ---- Answers. */

static enum MHD_Result
answer(struct MHD_Connection *connection, unsigned status, const char *text,
       size_t len)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        len, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result done = MHD_NO;

    if (response == NULL) {
        return MHD_NO;
    }
    if (MHD_add_response_header(
            response, "Content-Type",
            status == MHD_HTTP_OK ? "text/plain; version=0.0.4; charset=utf-8"
                                  : "text/plain; charset=utf-8") == MHD_YES &&
        MHD_add_response_header(response, "Connection", "close") == MHD_YES &&
        (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
         MHD_add_response_header(response, "Allow", "GET, HEAD") ==
             MHD_YES)) {
        done = MHD_queue_response(connection, status, response);
    }
    MHD_destroy_response(response);
    return done;
}

static enum MHD_Result
refuse(struct MHD_Connection *connection, unsigned status, const char *text)
{
    return answer(connection, status, text, strlen(text));
}

/* Called when the head of a request is there; a body is not waited for. */
static enum MHD_Result
on_request(void *arg, struct MHD_Connection *connection, const char *url,
           const char *method, const char *version, const char *body,
           size_t *body_len, void **context)
{
    struct exporter *e = arg;
    size_t len = 0;

    (void)version;
    (void)body;
    (void)body_len;
    (void)context;
    if (strcmp(url, "/metrics") != 0) {
        return refuse(connection, MHD_HTTP_NOT_FOUND,
                      "Only /metrics is here.\n");
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                      "Only GET and HEAD are possible.\n");
    }
    int err = metrics_render(e->metrics, clock_mono_ms() - e->began_ms,
                             e->text, sizeof(e->text), &len);
    return err == 0 ? answer(connection, MHD_HTTP_OK, e->text, len) : MHD_NO;
}

/* ---- Guests. */

static void
on_connection(void *arg, struct MHD_Connection *connection, void **context,
              enum MHD_ConnectionNotificationCode code)
{
    struct exporter *e = arg;
    struct guest *guest = *context;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        e->left = true;
        if (guest != NULL) {
            guest->used = false;
        }
        return;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    for (size_t i = 0; i < SERVER_SCRAPERS_MAX && info != NULL; i++) {
        if (!e->guest[i].used) {
            e->guest[i] = (struct guest){
                .used = true,
                .fd = info->connect_fd,
                .until = loop_now_ms(e->loop) + SERVER_SCRAPE_MS,
            };
            *context = &e->guest[i];
            return;
        }
    }
}

/* The library's own timeout begins anew with each byte that trickles in. */
static void
show_out(struct exporter *e)
{
    for (size_t i = 0; i < SERVER_SCRAPERS_MAX; i++) {
        struct guest *guest = &e->guest[i];
        if (guest->used && guest->until <= loop_now_ms(e->loop)) {
            shutdown(guest->fd, SHUT_RDWR);
        }
    }
}

/* ---- Events. */

static void
set_timer(struct exporter *e)
{
    uint64_t now = loop_now_ms(e->loop);
    uint64_t at = UINT64_MAX;
    MHD_UNSIGNED_LONG_LONG ms = 0;

    for (size_t i = 0; i < SERVER_SCRAPERS_MAX; i++) {
        const struct guest *guest = &e->guest[i];
        if (guest->used && guest->until < at) {
            /* One that was shown out already is about to go. */
            at = guest->until > now ? guest->until : now + SERVER_SCRAPE_MS;
        }
    }
    if (MHD_get_timeout(e->http, &ms) == MHD_YES && now + ms < at) {
        at = now + ms;
    }
    if (at == UINT64_MAX) {
        loop_timer_stop(e->timer);
    } else {
        loop_timer_start(e->timer, at - now);
    }
}

/* Who left made room: the library looks for others in its next run only. */
static void
go_on(struct exporter *e)
{
    do {
        e->left = false;
        (void)MHD_run(e->http);
    } while (e->left);
    set_timer(e);
}

static void
on_poll(void *arg, unsigned events)
{
    (void)events;
    go_on(arg);
}

static void
on_timer(void *arg)
{
    show_out(arg);
    go_on(arg);
}

static void
on_term(void *arg, int signum)
{
    struct exporter *e = arg;

    (void)signum;
    loop_stop(e->loop);
}

/* ---- Life. */

/* What the parent has and a stranger's request is no business of. */
static void
let_go(struct server *server)
{
    server_stop_listening(server);
    vault_free(server->vault);
    server->vault = NULL;
    census_free(server->census);
    server->census = NULL;
    conduct_free(server->conduct);
    server->conduct = NULL;
    permits_free(server->permits);
    server->permits = NULL;
    rootfs_clear(&server->root);
}

static int
confine_exporter(struct exporter *e, const struct server *server)
{
    static const struct sandbox_places nowhere = { .root_fd = -1 };
    const struct rlimit files = {
        .rlim_cur = SERVER_SCRAPER_FILES,
        .rlim_max = SERVER_SCRAPER_FILES,
    };

    setrlimit(RLIMIT_NOFILE, &files);
    return sandbox_confine(&e->sandbox, server->settings->sandbox, &nowhere);
}

static int
start_http(struct exporter *e, int fd)
{
    e->http = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, on_request, e,
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, SERVER_SCRAPERS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, SERVER_SCRAPE_MS / 1000,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_SCRAPE_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, e,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    return e->http != NULL ? 0 : ERR_IO;
}

static int
start_events(struct exporter *e)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(e->http, MHD_DAEMON_INFO_EPOLL_FD);
    int err = info == NULL ? ERR_IO
                           : loop_poll_new(e->loop, info->epoll_fd, on_poll, e,
                                           &e->poll);
    if (err == 0) {
        err = loop_timer_new(e->loop, on_timer, e, &e->timer);
    }
    if (err == 0) {
        err = loop_signal_new(e->loop, SIGTERM, on_term, e, &e->term);
    }
    /* The others are the parent's business: they stay blocked. */
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_UNBLOCK, &term, NULL);
    return err;
}

static int
start(struct exporter *e, struct server *server)
{
    const struct sigaction ignore = { .sa_handler = SIG_IGN };

    sigaction(SIGPIPE, &ignore, NULL);
    let_go(server);
    int err = metrics_seal(server->metrics);
    if (err == 0) {
        err = confine_exporter(e, server);
    }
    if (err == 0) {
        err = loop_new(&e->loop);
    }
    if (err == 0) {
        err = start_http(e, server->metrics_fd);
    }
    if (err == 0) {
        err = start_events(e);
    }
    if (err == 0) {
        err = sandbox_filter(&e->sandbox, &server->filter);
    }
    return err;
}

static void
clear(struct exporter *e)
{
    loop_poll_free(e->poll);
    loop_timer_free(e->timer);
    loop_signal_free(e->term);
    if (e->http != NULL) {
        MHD_stop_daemon(e->http);
    }
    if (e->loop != NULL) {
        loop_free(e->loop);
    }
}

int
exporter_run(struct server *server)
{
    static struct exporter e;
    struct log_line line;

    e.metrics = server->metrics;
    e.began_ms = server->began_ms;
    int err = start(&e, server);
    if (err == 0) {
        sandbox_log(&e.sandbox, &server->log, "exporter",
                    (uint64_t)getpid());
        loop_poll_set(e.poll, LOOP_READ);
        go_on(&e);
        loop_run(e.loop);
    } else {
        log_begin(&line, &server->log, LOG_LEVEL_ERROR, "metrics-failed");
        log_word(&line, "code", err_name(err));
        log_end(&line);
    }
    clear(&e);
    return err == 0 ? 0 : 1;
}
