#include "server/parent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/limits.h"
#include "proto/io/clock.h"
#include "server/exporter.h"
#include "server/limits.h"
#include "server/permits.h"
#include "server/service.h"
#include "server/vault.h"

/* Workers that fail at their start, one after the other, before the parent
 * gives up: a fault that repeats will not heal by trying again. */
#define FAILURES_MAX 8u

struct child {
    pid_t pid;           /* 0: not running */
    uint64_t started;
    uint64_t restart_at; /* when it may be started, while not running */
};

struct parent {
    struct server *server;
    unsigned workers;
    struct child child[SERVER_WORKERS_MAX];
    struct child exporter;
    unsigned exporter_failures; /* in a row */
    struct metrics_slot *count;
    sigset_t blocked;
    unsigned failures; /* in a row */
    uint64_t cache_damaged; /* when that was found last; 0: never */
    bool stopping;
    bool failed;
    uint64_t kill_at;
};

static void
log_num_event(struct parent *p, enum log_level level, const char *event,
              unsigned worker, const char *key, uint64_t value)
{
    struct log_line line;

    log_begin(&line, &p->server->log, level, event);
    log_num(&line, "worker", worker);
    log_num(&line, key, value);
    log_end(&line);
}

/* ---- Children. */

/* In the child. Without its parent a worker would listen on for ever. The
 * signals stay blocked until it has handlers for them. */
static void
become_child(pid_t parent_pid)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent_pid) {
        _exit(1);
    }
}

static void
start_child(struct parent *p, unsigned index)
{
    struct child *child = &p->child[index];
    pid_t parent_pid = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        become_child(parent_pid);
        _exit(worker_run(p->server, index));
    }
    child->started = clock_mono_ms();
    if (pid < 0) {
        child->restart_at = child->started + SERVER_RESTART_PAUSE_MS;
        p->failures++;
        return;
    }
    child->pid = pid;
    census_worker_started(p->server->census, index);
    metrics_add(p->count, METRICS_WORKERS_NOW, 1);
    metrics_add(p->count, METRICS_WORKER_STARTS, 1);
    log_num_event(p, LOG_LEVEL_INFO, "worker-start", index, "pid",
                  (uint64_t)pid);
}

/* A crash may come from a damaged cache, which the next worker would crash
 * over as well. */
static bool
cache_was_damaged(struct parent *p)
{
    bool moved = false;
    int err = p->server->cache_dir == NULL
                  ? 0
                  : digestcache_repair(p->server->cache_dir, &moved);

    if (err != 0 || moved) {
        struct log_line line;
        log_begin(&line, &p->server->log, LOG_LEVEL_WARN, "cache-damaged");
        log_word(&line, "result", moved ? "moved-aside" : "kept");
        log_end(&line);
    }
    return err != 0 || moved;
}

static bool
is_crash(int signum)
{
    static const int signums[] = {
        SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS,
    };

    for (size_t i = 0; i < sizeof(signums) / sizeof(signums[0]); i++) {
        if (signums[i] == signum) {
            return true;
        }
    }
    return false;
}

/* A crash that a client can cause is a weapon: whoever the worker dealt with
 * has to wait. */
static void
punish_crash(struct parent *p, unsigned index)
{
    struct origin origin;
    char text[ORIGIN_TEXT_MAX];
    struct log_line line;

    if (!census_blame(p->server->census, index, &origin)) {
        return;
    }
    uint64_t ms = conduct_penalize(p->server->conduct, &origin,
                                   PENALTY_CRASH_MS, clock_mono_ms());
    origin_text(&origin, text);
    log_begin(&line, &p->server->log, LOG_LEVEL_WARN, "barred");
    log_word(&line, "origin", text);
    log_word(&line, "reason", "crash");
    log_num(&line, "ms", ms);
    log_end(&line);
}

static void
log_child_end(struct parent *p, unsigned index, int status)
{
    if (WIFSIGNALED(status)) {
        log_num_event(p, LOG_LEVEL_ERROR, "worker-crash", index, "signal",
                      (uint64_t)WTERMSIG(status));
    } else {
        log_num_event(p, WEXITSTATUS(status) == 0 ? LOG_LEVEL_INFO
                                                  : LOG_LEVEL_ERROR,
                      "worker-exit", index, "status",
                      (uint64_t)WEXITSTATUS(status));
    }
}

static void
on_child_end(struct parent *p, unsigned index, int status)
{
    struct child *child = &p->child[index];
    uint64_t now = clock_mono_ms();
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    bool soon = now - child->started < SERVER_CRASH_SOON_MS;
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;

    child->pid = 0;
    log_child_end(p, index, status);
    if (!p->stopping && !good && !killed && cache_was_damaged(p)) {
        p->cache_damaged = now;
    }
    /* A damaged cache may end every worker that has it, whoever asks. */
    if (WIFSIGNALED(status) && is_crash(WTERMSIG(status)) &&
        child->started > p->cache_damaged) {
        punish_crash(p, index);
    }
    permits_worker_died(p->server->permits, index);
    census_worker_died(p->server->census, index);
    metrics_worker_died(p->server->metrics, index);
    metrics_sub(p->count, METRICS_WORKERS_NOW, 1);
    metrics_add(p->count, METRICS_WORKER_CRASHES, !good);
    if (p->stopping) {
        return;
    }
    p->failures = soon && !good && !killed ? p->failures + 1 : 0;
    child->restart_at = soon ? now + SERVER_RESTART_PAUSE_MS : now;
}

/* ---- The process that tells numbers: serving goes on without. */

static void
start_exporter(struct parent *p)
{
    struct child *child = &p->exporter;
    pid_t parent_pid = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        become_child(parent_pid);
        _exit(exporter_run(p->server));
    }
    child->started = clock_mono_ms();
    if (pid < 0) {
        child->restart_at = child->started + SERVER_RESTART_PAUSE_MS;
        return;
    }
    child->pid = pid;
}

static void
on_exporter_end(struct parent *p, int status)
{
    struct child *child = &p->exporter;
    uint64_t now = clock_mono_ms();
    struct log_line line;

    child->pid = 0;
    if (p->stopping) {
        return;
    }
    log_begin(&line, &p->server->log, LOG_LEVEL_ERROR, "exporter-exit");
    if (WIFSIGNALED(status)) {
        log_num(&line, "signal", (uint64_t)WTERMSIG(status));
    } else {
        log_num(&line, "status", (uint64_t)WEXITSTATUS(status));
    }
    log_end(&line);
    if (now - child->started >= SERVER_CRASH_SOON_MS) {
        p->exporter_failures = 0;
    }
    child->restart_at =
        now + (SERVER_RESTART_PAUSE_MS << p->exporter_failures);
    p->exporter_failures +=
        p->exporter_failures < SERVER_EXPORTER_DOUBLINGS;
}

static void
reap(struct parent *p)
{
    int status = 0;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == p->exporter.pid) {
            on_exporter_end(p, status);
        }
        for (unsigned i = 0; i < p->workers; i++) {
            if (p->child[i].pid == pid) {
                on_child_end(p, i, status);
            }
        }
    }
}

static void
tell_all(const struct parent *p, int signum)
{
    for (unsigned i = 0; i < p->workers; i++) {
        if (p->child[i].pid != 0) {
            kill(p->child[i].pid, signum);
        }
    }
}

/* Numbers are to be had until they do not change any more. */
static void
tell_exporter(const struct parent *p, int signum)
{
    if (p->exporter.pid != 0) {
        kill(p->exporter.pid, signum);
    }
}

static unsigned
running(const struct parent *p)
{
    unsigned count = 0;
    for (unsigned i = 0; i < p->workers; i++) {
        count += p->child[i].pid != 0;
    }
    return count;
}

/* ---- What to do now, and when next. */

static void
stop(struct parent *p)
{
    if (!p->stopping) {
        p->stopping = true;
        server_stop_listening(p->server);
        p->kill_at = clock_mono_ms() + SERVER_STOP_MS;
    }
    tell_all(p, SIGTERM);
}

static bool
wants_exporter(const struct parent *p)
{
    return p->server->metrics_fd >= 0 && p->exporter.pid == 0;
}

static void
restart_due(struct parent *p)
{
    uint64_t now = clock_mono_ms();

    if (p->failures >= FAILURES_MAX) {
        p->failed = true;
        stop(p);
        return;
    }
    for (unsigned i = 0; i < p->workers; i++) {
        if (p->child[i].pid == 0 && p->child[i].restart_at <= now) {
            start_child(p, i);
        }
    }
    if (wants_exporter(p) && p->exporter.restart_at <= now) {
        start_exporter(p);
    }
}

static uint64_t
next_wake(const struct parent *p)
{
    uint64_t at = p->stopping ? p->kill_at : UINT64_MAX;

    for (unsigned i = 0; i < p->workers && !p->stopping; i++) {
        if (p->child[i].pid == 0 && p->child[i].restart_at < at) {
            at = p->child[i].restart_at;
        }
    }
    if (wants_exporter(p) && !p->stopping && p->exporter.restart_at < at) {
        at = p->exporter.restart_at;
    }
    return at;
}

/* Returns the signal that came, or 0 when it is time for something. */
static int
wait_signal(const struct parent *p)
{
    uint64_t at = next_wake(p);
    if (at == UINT64_MAX) {
        return sigwaitinfo(&p->blocked, NULL);
    }
    uint64_t now = clock_mono_ms();
    uint64_t ms = at > now ? at - now : 0;
    struct timespec ts = {
        .tv_sec = (time_t)(ms / 1000),
        .tv_nsec = (long)(ms % 1000) * 1000000,
    };
    int signum = sigtimedwait(&p->blocked, NULL, &ts);
    return signum < 0 ? 0 : signum;
}

/* Each part of it keeps what it had when the new one is no good. */
static void
reload(struct parent *p)
{
    struct server *server = p->server;
    char why[GATE_WHY_MAX];
    struct log_line line;

    (void)!log_reopen(&server->log);
    if (server->vault != NULL &&
        vault_load(server->vault, server->settings, why) != 0) {
        log_begin(&line, &server->log, LOG_LEVEL_ERROR, "reload-failed");
        log_text(&line, "problem", why);
        log_text(&line, "kept", "certificate, tokens and rules as before");
        log_end(&line);
    }
    tell_all(p, SIGHUP);
}

static void
on_signal(struct parent *p, int signum)
{
    switch (signum) {
    case SIGTERM:
    case SIGINT:
        service_tell("STOPPING=1");
        stop(p);
        break;
    case SIGHUP:
        reload(p);
        break;
    default:
        break; /* SIGCHLD: reaping follows anyway */
    }
}

static void
block_signals(struct parent *p)
{
    static const int signums[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD };

    sigemptyset(&p->blocked);
    for (size_t i = 0; i < sizeof(signums) / sizeof(signums[0]); i++) {
        sigaddset(&p->blocked, signums[i]);
    }
    sigprocmask(SIG_BLOCK, &p->blocked, NULL);
}

int
parent_run(struct server *server, unsigned workers, parent_ready_fn *ready)
{
    struct parent p = {
        .server = server,
        .workers = workers,
        .count = metrics_of_parent(server->metrics),
    };

    block_signals(&p);
    int status = ready(server);
    if (status != 0) {
        return status;
    }
    restart_due(&p);
    while (!p.stopping || running(&p) > 0 || p.exporter.pid != 0) {
        on_signal(&p, wait_signal(&p));
        reap(&p);
        if (!p.stopping) {
            restart_due(&p);
        } else if (clock_mono_ms() >= p.kill_at) {
            tell_all(&p, SIGKILL);
            tell_exporter(&p, SIGKILL);
            p.kill_at = clock_mono_ms() + SERVER_RESTART_PAUSE_MS;
        }
        if (p.stopping && running(&p) == 0) {
            tell_exporter(&p, SIGTERM);
        }
    }
    return p.failed ? 1 : 0;
}

int
parent_run_stdio(struct server *server)
{
    struct parent p = { .server = server };
    pid_t parent_pid = getpid();
    int status = 0;

    block_signals(&p);
    pid_t pid = fork();
    if (pid == 0) {
        become_child(parent_pid);
        _exit(worker_run_stdio(server));
    }
    if (pid < 0) {
        return 1;
    }
    /* The client sees the end when the child closes its own. */
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        int signum = sigwaitinfo(&p.blocked, NULL);
        if (signum > 0 && signum != SIGCHLD) {
            kill(pid, signum);
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
