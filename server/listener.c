#include "server/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/limits.h"
#include "proto/io/rand.h"
#include "proto/wire/msg.h"
#include "proto/wire/preface.h"
#include "server/burst.h"
#include "server/conn.h"
#include "server/gate.h"
#include "server/limits.h"
#include "server/worker.h"

/* What a refused client reads: preface, ERROR, GOAWAY. */
#define REFUSAL_BYTES 128

struct port {
    struct listener *listener;
    struct loop_poll *poll;
    int fd;
};

struct listener {
    struct worker *worker;
    struct port port[SERVER_LISTEN_MAX];
    size_t count;
    struct loop_timer *resume;
    bool yielded;    /* the wait for an idler worker is over */
    int spare_fd;    /* given up to take and close one connection */
    uint64_t complained;
    struct burst refusals;
};

static void
set_polls(struct listener *l, unsigned events)
{
    for (size_t i = 0; i < l->count; i++) {
        loop_poll_set(l->port[i].poll, events);
    }
}

static void
pause_for(struct listener *l, uint64_t ms)
{
    set_polls(l, 0);
    loop_timer_start(l->resume, ms);
}

static void
on_resume(void *arg)
{
    struct listener *l = arg;
    l->yielded = true;
    set_polls(l, LOOP_READ);
}

/* May it be understood? A client that speaks TLS would take plain words for
 * an attack; that the connection ends is all it can be told. */
static bool
speaks_plain(const struct worker *w, int fd)
{
    uint8_t first = 0;

    if (gate_tls(w->gate) == NULL) {
        return true;
    }
    return w->server->settings->plain &&
           recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1 &&
           preface_possible(&first, 1);
}

static void
say_busy(int fd, uint32_t retry_ms)
{
    struct preface preface = { .version = PROTO_VERSION, .role = ROLE_SERVER };
    struct msg_error error = {
        .code = WIRE_BUSY,
        .has_retry_after = true,
        .retry_after_ms = retry_ms,
    };
    struct msg_goaway goaway = { .code = WIRE_BUSY };
    uint8_t buf[REFUSAL_BYTES];
    uint8_t head[PREFACE_LEN];
    struct writer w;

    preface_encode(&preface, head);
    writer_init(&w, buf, sizeof(buf));
    writer_bytes(&w, head, sizeof(head));
    if (msg_error_encode(&error, 0, &w) == 0 &&
        msg_goaway_encode(&goaway, &w) == 0) {
        ssize_t n = send(fd, buf, writer_len(&w), MSG_NOSIGNAL);
        (void)n;
    }
    shutdown(fd, SHUT_WR);
}

/* Says BUSY as well as one write can, and closes. What has come is read first:
 * closing would answer it by a reset, which overtakes the words. */
static void
refuse(const struct worker *w, int fd, uint64_t retry_ms)
{
    if (speaks_plain(w, fd)) {
        uint64_t ms = retry_ms < SERVER_REFUSAL_RETRY_MAX_MS
                          ? retry_ms
                          : SERVER_REFUSAL_RETRY_MAX_MS;
        say_busy(fd, (uint32_t)ms);
        ssize_t n = recv(fd, w->input, SERVER_READ_BYTES, MSG_DONTWAIT);
        (void)n;
    }
    close(fd);
}

/* ---- The log. */

static void
log_refused(struct listener *l, const struct net_addr *peer,
            const char *reason)
{
    char text[NET_TEXT_MAX];
    struct log_line line;

    if (!burst_allows(&l->refusals, l->worker->log, l->worker->index,
                      loop_now_ms(l->worker->loop))) {
        return;
    }
    net_addr_text(peer, text);
    log_begin(&line, l->worker->log, LOG_LEVEL_WARN, "refuse");
    log_word(&line, "peer", text);
    log_word(&line, "reason", reason);
    log_end(&line);
}

/* Any descriptor will do; the sandbox lets nothing be opened by path. */
static int
take_spare(const struct worker *worker)
{
    return fcntl(worker->root->fd, F_DUPFD_CLOEXEC, 0);
}

/* Out of descriptors: the spare one lets the client know at once instead of
 * leaving it to its timeout. */
static void
on_exhausted(struct listener *l, int listen_fd)
{
    struct net_addr peer;
    int fd = -1;
    uint64_t now = loop_now_ms(l->worker->loop);

    if (l->spare_fd >= 0) {
        close(l->spare_fd);
        if (net_accept(listen_fd, &peer, &fd) == 0) {
            refuse(l->worker, fd, SERVER_REFUSAL_RETRY_MS);
        }
        l->spare_fd = take_spare(l->worker);
    }
    metrics_add(l->worker->count, METRICS_LIMIT_DESCRIPTORS, 1);
    if (l->complained == 0 || now - l->complained >= SERVER_COMPLAINT_MS) {
        struct log_line line;
        l->complained = now;
        log_begin(&line, l->worker->log, LOG_LEVEL_ERROR, "exhausted");
        log_text(&line, "what", "descriptors or memory for connections");
        log_end(&line);
    }
    pause_for(l, ACCEPT_PAUSE_MS);
}

/* Why a connection may not come in. */
struct refusal {
    const char *word; /* NULL: it may */
    enum metrics_id metric;
};

static const struct refusal refusals[] = {
    [CENSUS_ENTERED] = { .word = NULL },
    [CENSUS_WAITS] = { .word = NULL },
    [CENSUS_FULL] = { "connections", METRICS_LIMIT_CONNECTIONS },
    [CENSUS_ORIGIN_FULL] = { "connections-of-address",
                             METRICS_LIMIT_PER_ADDRESS },
    [CENSUS_STRANGERS] = { "strangers", METRICS_LIMIT_STRANGERS },
};

static const struct refusal is_barred = { "barred", METRICS_LIMIT_BARRED };

/* *retry_ms tells a refused one when to come again. */
static const struct refusal *
judge(struct listener *l, struct conn_io *io, uint64_t *retry_ms)
{
    const struct census_guest *guest = &io->guest;
    struct worker *w = l->worker;
    uint64_t barred = guest->exempt
                          ? 0
                          : conduct_barred(w->server->conduct, &guest->origin,
                                           loop_now_ms(w->loop));

    *retry_ms = SERVER_REFUSAL_RETRY_MS + barred;
    if (barred > 0) {
        return &is_barred;
    }
    enum census_verdict verdict = census_enter(
        w->server->census, w->index, guest, (unsigned)(rand_u64() % 100));
    io->standing =
        verdict == CENSUS_WAITS ? CENSUS_QUEUED : CENSUS_STRANGER;
    metrics_add(w->count, METRICS_LIMIT_STRANGERS_PER_ADDRESS,
                verdict == CENSUS_WAITS);
    return &refusals[verdict];
}

static void
on_connection(struct listener *l, int fd, const struct net_addr *peer)
{
    struct worker *w = l->worker;
    struct conn_io io = {
        .in_fd = fd,
        .out_fd = fd,
        .counted = true,
        .guest = {
            .origin = origin_of(peer),
            .exempt = settings_exempt(w->server->settings, peer),
        },
        .peer = *peer,
    };
    uint64_t retry_ms = 0;

    const struct refusal *refusal = judge(l, &io, &retry_ms);
    if (refusal->word != NULL) {
        metrics_add(w->count, refusal->metric, 1);
        log_refused(l, peer, refusal->word);
        refuse(w, fd, retry_ms);
    } else if (conn_new(w, &io) != 0) {
        metrics_add(w->count, METRICS_LIMIT_MEMORY, 1);
        log_refused(l, peer, "memory");
        census_leave(w->server->census, w->index, &io.guest, io.standing);
    }
}

static void
on_acceptable(void *arg, unsigned events)
{
    const struct port *port = arg;
    struct listener *l = port->listener;
    struct worker *w = l->worker;

    (void)events;

    if (!l->yielded && census_has_idler(w->server->census, w->index)) {
        pause_for(l, SERVER_YIELD_MS);
        return;
    }
    l->yielded = false;
    for (unsigned i = 0; i < SERVER_ACCEPTS_PER_TURN; i++) {
        struct net_addr peer;
        int fd = -1;
        int err = net_accept(port->fd, &peer, &fd);
        if (err == ERR_LIMIT) {
            on_exhausted(l, port->fd);
            return;
        }
        if (err != 0) {
            return;
        }
        on_connection(l, fd, &peer);
    }
}

int
listener_new(struct worker *worker, struct listener **out)
{
    const struct server *server = worker->server;
    struct listener *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        return ERR_NOMEM;
    }
    l->worker = worker;
    l->refusals.more = "refuse-more";
    l->spare_fd = take_spare(worker);
    int err = loop_timer_new(worker->loop, on_resume, l, &l->resume);
    for (size_t i = 0; i < server->listen_count && err == 0; i++) {
        struct port *port = &l->port[l->count];
        port->listener = l;
        port->fd = server->listen_fd[i];
        err = loop_poll_new(worker->loop, port->fd, on_acceptable, port,
                            &port->poll);
        l->count += err == 0;
    }
    if (err != 0) {
        listener_free(l);
        return err;
    }
    set_polls(l, LOOP_READ);
    *out = l;
    return 0;
}

void
listener_free(struct listener *listener)
{
    if (listener == NULL) {
        return;
    }
    for (size_t i = 0; i < listener->count; i++) {
        loop_poll_free(listener->port[i].poll);
    }
    loop_timer_free(listener->resume);
    if (listener->spare_fd >= 0) {
        close(listener->spare_fd);
    }
    free(listener);
}
