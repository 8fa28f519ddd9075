#include "server/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/base/limits.h"
#include "server/conn.h"
#include "server/gate.h"
#include "server/limits.h"
#include "server/listener.h"
#include "server/listing.h"
#include "server/vault.h"

/* Once a second: digests to the cache, shares anew, idle memory back. */
static void
on_flush(void *arg)
{
    struct worker *w = arg;

    sources_sync_all(w->sources);
    for (struct conn *c = w->conns; c != NULL; c = conn_next(c)) {
        conn_share(c);
    }
    if (w->conn_count == 0) {
        bufpool_trim(w->buffers);
    }
    loop_timer_start(w->flush, SERVER_CACHE_FLUSH_MS);
}

/* Nothing is left that could call back. */
static bool
is_quiet(const struct worker *w)
{
    return w->conns == NULL && sources_idle(w->sources);
}

static void
stop_when_quiet(struct worker *w)
{
    if (w->draining && w->conns == NULL) {
        loop_timer_stop(w->flush);
        loop_timer_stop(w->stop);
        loop_stop(w->loop);
    }
}

void
worker_conn_ended(struct worker *worker)
{
    if (worker->stdio) {
        worker->draining = true;
    }
    stop_when_quiet(worker);
}

void
server_stop_listening(struct server *server)
{
    for (size_t i = 0; i < server->listen_count; i++) {
        close(server->listen_fd[i]);
    }
    server->listen_count = 0;
}

void
server_stop_telling(struct server *server)
{
    if (server->metrics_fd >= 0) {
        close(server->metrics_fd);
        server->metrics_fd = -1;
    }
}

/* ---- Signals. */

static void
kill_all(struct worker *w, const char *reason)
{
    struct conn *next;

    for (struct conn *c = w->conns; c != NULL; c = next) {
        next = conn_next(c);
        conn_kill(c, reason);
    }
}

static void
on_stop_timeout(void *arg)
{
    kill_all(arg, "drain-timeout");
}

static void
drain(struct worker *w)
{
    struct conn *next;

    w->draining = true;
    listener_free(w->listener);
    w->listener = NULL;
    server_stop_listening(w->server);
    for (struct conn *c = w->conns; c != NULL; c = next) {
        next = conn_next(c);
        conn_drain(c);
    }
    loop_timer_start(w->stop, TIMER_GOAWAY_GAP_MS + TIMER_DRAIN_MS);
    stop_when_quiet(w);
}

static void
log_reload(struct worker *w, const char *why)
{
    struct log_line line;

    log_begin(&line, w->log, why != NULL ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO,
              why != NULL ? "reload-failed" : "reload");
    log_num(&line, "worker", w->index);
    if (why != NULL) {
        log_text(&line, "problem", why);
    }
    log_end(&line);
}

/* New connections begin under what the operator says now. Who came in by
 * tokens, authorities or rules that are no more has to come again: a client
 * goes on where it was, if it still may. */
static void
reload_gate(struct worker *w)
{
    char why[GATE_WHY_MAX];
    struct gate *gate = NULL;
    bool admission = false;

    if (w->server->vault == NULL || !vault_changed(w->server->vault)) {
        return;
    }
    if (vault_gate(w->server->vault, &gate, &admission, why) != 0) {
        log_reload(w, why);
        return;
    }
    gate_release(w->gate);
    w->gate = gate;
    log_reload(w, NULL);
    if (admission) {
        kill_all(w, "reload");
    }
}

static void
on_signal(void *arg, int signum)
{
    struct worker *w = arg;

    if (signum == SIGHUP) {
        reload_gate(w);
        if (log_reopen(w->log) != 0) {
            struct log_line line;
            log_begin(&line, w->log, LOG_LEVEL_ERROR, "reopen");
            log_errno(&line, errno);
            log_end(&line);
        }
    } else if (w->draining) {
        kill_all(w, "stop");
    } else {
        drain(w);
    }
}

/* ---- Life. */

static int
init_cache(struct worker *w)
{
    const struct server *server = w->server;
    if (server->cache_dir == NULL) {
        return 0;
    }
    int err = digestcache_open(server->cache_dir, SERVER_CACHE_MAX_BYTES,
                               &w->cache);
    if (err != 0) {
        /* Serving goes on without: only hashing is done again. */
        struct log_line line;
        log_begin(&line, w->log, LOG_LEVEL_WARN, "no-cache");
        log_word(&line, "code", err_name(err));
        if (err == ERR_IO) {
            log_errno(&line, errno);
        }
        log_end(&line);
        w->cache = NULL;
    }
    return 0;
}

static int
init_parts(struct worker *w)
{
    w->buffers = bufpool_new(SERVER_BUFFER_BYTES, SERVER_BUFFER_KEPT_BYTES);
    w->scratch = malloc(WORKER_SCRATCH_BYTES);
    w->stage = malloc(WORKER_STAGE_BYTES);
    w->input = malloc(SERVER_READ_BYTES);
    if (w->buffers == NULL || w->scratch == NULL || w->stage == NULL ||
        w->input == NULL) {
        return ERR_NOMEM;
    }
    w->prepare = prepare_new(w->loop, w->buffers);
    const uint8_t *tree_id = w->cache != NULL
                                 ? digestcache_tree_id(w->cache)
                                 : w->server->tree_id;
    w->sources = sources_new(w->loop, w->cache, tree_id);
    w->listing = listing_new(w->root, w->cache);
    if (w->prepare == NULL || w->sources == NULL || w->listing == NULL) {
        return ERR_NOMEM;
    }
    return w->server->permits == NULL
               ? 0
               : prepare_meter(w->prepare, w->server->permits, w->index);
}

static int
init_events(struct worker *w)
{
    static const int signums[] = { SIGTERM, SIGINT, SIGHUP };
    int err = loop_timer_new(w->loop, on_flush, w, &w->flush);
    if (err == 0) {
        err = loop_timer_new(w->loop, on_stop_timeout, w, &w->stop);
    }
    for (size_t i = 0; i < sizeof(signums) / sizeof(signums[0]) && err == 0;
         i++) {
        err = loop_signal_new(w->loop, signums[i], on_signal, w,
                              &w->signals[i]);
    }
    /* The parent blocked them for us: what came meanwhile comes now. */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return err;
}

/* ---- The sandbox. */

static void
no_work(void *arg)
{
    (void)arg;
}

/* Threads cannot be started any more once the filter is in force. */
static int
start_threads(struct worker *w)
{
    struct loop_work *work = NULL;
    int err = loop_work_new(w->loop, no_work, no_work, NULL, &work);

    if (err == 0) {
        loop_work_submit(work);
        loop_run(w->loop);
        loop_work_free(work);
    }
    return err;
}

static int
confine_worker(struct worker *w)
{
    const struct server *server = w->server;
    struct sandbox_places places = {
        .root_fd = w->root->fd,
        .cache_dir = server->cache_dir,
        .log_file = server->settings->log_file,
    };
    return sandbox_confine(&w->sandbox, server->settings->sandbox, &places);
}

static int
init_gate(struct worker *w)
{
    static const struct gate_text open = { .given = { false } };
    char why[GATE_WHY_MAX];
    int err = w->server->vault == NULL
                  ? gate_new(&open, &w->gate, why)
                  : vault_gate(w->server->vault, &w->gate, NULL, why);

    if (err != 0) {
        log_reload(w, why);
    }
    return err;
}

static int
init_all(struct worker *w)
{
    int err = init_gate(w);

    if (err == 0) {
        err = init_cache(w);
    }
    if (err == 0) {
        err = init_parts(w);
    }
    if (err == 0) {
        err = confine_worker(w);
    }
    if (err == 0) {
        err = start_threads(w);
    }
    if (err == 0) {
        err = init_events(w);
    }
    if (err == 0) {
        err = sandbox_filter(&w->sandbox, &w->server->filter);
    }
    return err;
}

static int
worker_init(struct worker *w, struct server *server, unsigned index)
{
    memset(w, 0, sizeof(*w));
    w->server = server;
    w->log = &server->log;
    w->root = &server->root;
    w->index = index;
    w->unreadable.more = "unreadable-more";
    w->count = metrics_of_worker(server->metrics, index);
    server_stop_telling(server);
    loop_set_workers(SERVER_THREADS);
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigaction(SIGPIPE, &ignore, NULL);
    int err = loop_new(&w->loop);
    if (err == 0) {
        err = init_all(w);
    }
    if (err == 0) {
        sandbox_log(&w->sandbox, w->log, "worker", index);
    }
    return err;
}

static void
worker_clear(struct worker *w)
{
    if (w->loop == NULL) {
        return;
    }
    listener_free(w->listener);
    loop_timer_free(w->flush);
    loop_timer_free(w->stop);
    for (size_t i = 0; i < sizeof(w->signals) / sizeof(w->signals[0]); i++) {
        loop_signal_free(w->signals[i]);
    }
    prepare_free(w->prepare);
    sources_free(w->sources);
    listing_free(w->listing);
    bufpool_free(w->buffers);
    digestcache_close(w->cache);
    loop_free(w->loop);
    free(w->scratch);
    free(w->stage);
    gate_release(w->gate);
    free(w->input);
}

static void
log_failed(struct worker *w, int err)
{
    struct log_line line;

    log_begin(&line, w->log, LOG_LEVEL_ERROR, "worker-failed");
    log_word(&line, "code", err_name(err));
    log_end(&line);
}

/* Runs the loop; what is still being stored afterwards is waited for. */
static void
run(struct worker *w)
{
    loop_timer_start(w->flush, SERVER_CACHE_FLUSH_MS);
    loop_run(w->loop);
    while (!is_quiet(w)) {
        loop_run(w->loop);
    }
}

int
worker_run(struct server *server, unsigned index)
{
    struct worker w;
    int err = worker_init(&w, server, index);

    if (err == 0) {
        err = listener_new(&w, &w.listener);
    }
    if (err == 0) {
        run(&w);
    } else {
        log_failed(&w, err);
    }
    worker_clear(&w);
    return err == 0 ? 0 : 1;
}

int
worker_run_stdio(struct server *server)
{
    struct worker w;
    const struct conn_io io = {
        .in_fd = STDIN_FILENO,
        .out_fd = STDOUT_FILENO,
        .secure = true,
        .standing = CENSUS_STRANGER,
    };
    int err = worker_init(&w, server, 0);

    if (err == 0) {
        w.stdio = true;
        err = conn_new(&w, &io);
    }
    if (err == 0) {
        run(&w);
    } else {
        log_failed(&w, err);
    }
    worker_clear(&w);
    return err == 0 ? 0 : 1;
}
