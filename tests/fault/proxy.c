#include "tests/fault/proxy.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/fault/conn.h"

#define NS_PER_S INT64_C(1000000000)
#define EVENTS_MAX 64
#define ACCEPT_TURN 64

/* After "too many open files" the listener rests this long. */
#define ACCEPT_REST_NS (NS_PER_S / 10)

struct proxy {
    const struct options *options;
    struct conn_home home;
    struct endpoint server[OPTIONS_CONNECT_MAX];
    struct rng rng;
    int listen_fd;
    int signal_fd;
    int timer_fd;
    bool listening;          /* the listener is in the epoll set */
    struct timer reset_timer;
    struct timer accept_timer;
    uint64_t proxied;        /* connections that got rules, as an index */
    bool stopped;
};

static int64_t
proxy_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static void
proxy_complain(const char *what, int err)
{
    fprintf(stderr, "belay-fault: %s: %s\n", what, strerror(-err));
}

static int
proxy_watch(struct proxy *proxy, int fd, const void *tag)
{
    /* Sides of connections are tagged by their address; the proxy's own
     * descriptors by the address of the field that holds them. */
    struct epoll_event event = { .events = EPOLLIN };
    event.data.ptr = (void *)(uintptr_t)tag;
    return epoll_ctl(proxy->home.epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0
        ? 0 : -errno;
}

static void
proxy_plan_reset(struct proxy *proxy)
{
    uint64_t every = proxy->options->rst_every;
    struct pipe_shared *shared = &proxy->home.shared;
    shared->reset_at = OPTIONS_OFF;
    if (every > 0 && proxy->home.faults_left > 0) {
        shared->reset_at = shared->passed + rng_jitter(&proxy->rng, every,
            proxy->options->jitter_percent);
    }
}

static void
proxy_arm_reset(struct proxy *proxy, int64_t now_ns)
{
    int64_t every_ns = proxy->options->rst_every_ns;
    if (every_ns > 0 && proxy->home.faults_left > 0) {
        int64_t wait_ns = (int64_t)rng_jitter(&proxy->rng,
            (uint64_t)every_ns, proxy->options->jitter_percent);
        timers_set(&proxy->home.timers, &proxy->reset_timer,
            now_ns + wait_ns);
    }
}

/* Reset every connection that still relays: one fault, if there was one. */
static void
proxy_reset_all(struct proxy *proxy)
{
    if (proxy->home.faults_left == 0) {
        return;
    }
    bool any = false;
    struct conn *next;
    for (struct conn *conn = proxy->home.live; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->state == CONN_CONNECTING || conn->state == CONN_RELAY ||
            conn->state == CONN_DRAIN) {
            conn_reset(conn);
            any = true;
        }
    }
    if (any) {
        proxy->home.faults_left--;
        proxy->home.stats.faults++;
    }
}

static void
proxy_admit(struct proxy *proxy, int fd, int64_t now_ns)
{
    struct conn_home *home = &proxy->home;
    uint64_t number = home->stats.connections++;
    if (number < proxy->options->refuse_first) {
        home->stats.refused++;
        endpoint_reset(fd);
        return;
    }
    number -= proxy->options->refuse_first;
    if (number < proxy->options->blackhole_first) {
        home->stats.blackholed++;
        (void)conn_open_void(home, fd, now_ns);
        return;
    }
    uint64_t index = proxy->proxied++;
    if (index == 0) {
        proxy_arm_reset(proxy, now_ns);
    }
    const struct endpoint *server =
        &proxy->server[index % proxy->options->connect_count];
    int err = conn_open(home, fd, server, index, now_ns);
    if (err != 0) {
        proxy_complain("cannot reach the server", err);
    }
}

static void
proxy_rest_listener(struct proxy *proxy, int64_t now_ns)
{
    epoll_ctl(proxy->home.epoll_fd, EPOLL_CTL_DEL, proxy->listen_fd, NULL);
    proxy->listening = false;
    timers_set(&proxy->home.timers, &proxy->accept_timer,
        now_ns + ACCEPT_REST_NS);
}

static void
proxy_accept(struct proxy *proxy, int64_t now_ns)
{
    for (int i = 0; i < ACCEPT_TURN; i++) {
        int fd = accept4(proxy->listen_fd, NULL, NULL,
            SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            proxy_admit(proxy, fd, now_ns);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
            errno == ENOMEM) {
            proxy_rest_listener(proxy, now_ns);
            return;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        }
        /* Everything else concerns only the connection that failed. */
    }
}

static void
proxy_signal(struct proxy *proxy, int64_t now_ns)
{
    struct signalfd_siginfo info;
    while (read(proxy->signal_fd, &info, sizeof(info)) ==
        (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGUSR1) {
            proxy->stopped = true;
            continue;
        }
        int err = stats_publish(&proxy->home.stats, now_ns,
            proxy->options->stats_path);
        if (err != 0) {
            proxy_complain("cannot write the counters", err);
        }
    }
}

static void
proxy_run_timers(struct proxy *proxy, int64_t now_ns)
{
    struct timer *timer;
    while ((timer = timers_take_due(&proxy->home.timers, now_ns)) != NULL) {
        if (timer->owner != NULL) {
            conn_timeout(timer->owner, now_ns);
        } else if (timer == &proxy->reset_timer) {
            proxy_reset_all(proxy);
            proxy_arm_reset(proxy, now_ns);
        } else {
            proxy->listening = proxy_watch(proxy, proxy->listen_fd,
                &proxy->listen_fd) == 0;
            if (!proxy->listening) {
                timers_set(&proxy->home.timers, &proxy->accept_timer,
                    now_ns + ACCEPT_REST_NS);
            }
        }
    }
}

static void
proxy_dispatch(struct proxy *proxy, const struct epoll_event *event,
    int64_t now_ns)
{
    void *tag = event->data.ptr;
    if (tag == &proxy->listen_fd) {
        proxy_accept(proxy, now_ns);
    } else if (tag == &proxy->signal_fd) {
        proxy_signal(proxy, now_ns);
    } else if (tag == &proxy->timer_fd) {
        uint64_t expired;
        (void)!read(proxy->timer_fd, &expired, sizeof(expired));
    } else {
        conn_event(tag, event->events, now_ns);
    }
}

static void
proxy_arm_timerfd(struct proxy *proxy)
{
    int64_t at_ns = timers_next(&proxy->home.timers);
    struct itimerspec when = { 0 };
    if (at_ns != TIMER_NEVER) {
        when.it_value.tv_sec = at_ns / NS_PER_S;
        when.it_value.tv_nsec = at_ns % NS_PER_S;
    }
    timerfd_settime(proxy->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Everything that an event or a timer may have left to do. */
static void
proxy_settle(struct proxy *proxy, int64_t now_ns)
{
    proxy_run_timers(proxy, now_ns);
    if (proxy->home.reset_all_due) {
        proxy->home.reset_all_due = false;
        proxy_reset_all(proxy);
        proxy_plan_reset(proxy);
    }
    conn_reap(&proxy->home);
}

static int
proxy_loop(struct proxy *proxy)
{
    struct epoll_event events[EVENTS_MAX];
    while (!proxy->stopped) {
        proxy_arm_timerfd(proxy);
        int count = epoll_wait(proxy->home.epoll_fd, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) {
            return -errno;
        }
        int64_t now_ns = proxy_now_ns();
        for (int i = 0; i < count; i++) {
            proxy_dispatch(proxy, &events[i], now_ns);
            /* A reset of all must strike before another byte passes. */
            if (proxy->home.reset_all_due) {
                proxy->home.reset_all_due = false;
                proxy_reset_all(proxy);
                proxy_plan_reset(proxy);
            }
        }
        proxy_settle(proxy, now_ns);
    }
    return 0;
}

static int
proxy_open_signals(struct proxy *proxy)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return -errno;
    }
    signal(SIGPIPE, SIG_IGN);
    proxy->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return proxy->signal_fd >= 0 ? 0 : -errno;
}

static int
proxy_open_loop(struct proxy *proxy)
{
    int err = proxy_open_signals(proxy);
    if (err != 0) {
        return err;
    }
    proxy->home.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    proxy->timer_fd =
        timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (proxy->home.epoll_fd < 0 || proxy->timer_fd < 0) {
        return -errno;
    }
    err = timers_reserve(&proxy->home.timers, 2);
    if (err == 0) {
        err = proxy_watch(proxy, proxy->signal_fd, &proxy->signal_fd);
    }
    if (err == 0) {
        err = proxy_watch(proxy, proxy->timer_fd, &proxy->timer_fd);
    }
    if (err == 0) {
        err = proxy_watch(proxy, proxy->listen_fd, &proxy->listen_fd);
    }
    proxy->listening = err == 0;
    return err;
}

/* Resolve the addresses and listen. Returns false after telling why not. */
static bool
proxy_open_addresses(struct proxy *proxy)
{
    const struct options *options = proxy->options;
    for (size_t i = 0; i < options->connect_count; i++) {
        const char *wrong =
            endpoint_resolve(&proxy->server[i], options->connect[i]);
        if (wrong != NULL) {
            fprintf(stderr, "belay-fault: --connect %s: %s\n",
                options->connect[i], wrong);
            return false;
        }
    }
    struct endpoint here;
    const char *wrong = endpoint_resolve(&here, options->listen);
    if (wrong != NULL) {
        fprintf(stderr, "belay-fault: --listen %s: %s\n", options->listen,
            wrong);
        return false;
    }
    proxy->listen_fd = endpoint_listen(&here);
    if (proxy->listen_fd < 0) {
        proxy_complain(options->listen, proxy->listen_fd);
        return false;
    }
    return true;
}

static void
proxy_raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void
proxy_close(struct proxy *proxy)
{
    while (proxy->home.live != NULL) {
        conn_close(proxy->home.live);
    }
    conn_reap(&proxy->home);
    timers_clear(&proxy->home.timers);
    const int fds[] = { proxy->listen_fd, proxy->signal_fd, proxy->timer_fd,
        proxy->home.epoll_fd };
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

static void
proxy_init(struct proxy *proxy, const struct options *options)
{
    int64_t now_ns = proxy_now_ns();
    *proxy = (struct proxy){
        .options = options,
        .listen_fd = -1,
        .signal_fd = -1,
        .timer_fd = -1,
    };
    proxy->home.epoll_fd = -1;
    proxy->home.faults_left = options->fault_max;
    proxy->home.stats.seed = options->seed;
    proxy->home.stats.started_ns = now_ns;
    proxy->home.shared.options = options;
    bucket_init(&proxy->home.shared.rate_total, options->rate_total, now_ns);
    rng_init(&proxy->rng, options->seed, 0);
    proxy_plan_reset(proxy);
}

int
proxy_run(const struct options *options)
{
    struct proxy proxy;
    proxy_init(&proxy, options);
    proxy_raise_limits();
    int status = 1;
    if (!proxy_open_addresses(&proxy)) {
        goto out_close;
    }
    char text[ENDPOINT_TEXT_MAX];
    int err = proxy_open_loop(&proxy);
    if (err == 0) {
        err = endpoint_bound(proxy.listen_fd, text);
    }
    if (err != 0) {
        proxy_complain("cannot start", err);
        goto out_close;
    }
    printf("listening on %s\n", text);
    fflush(stdout);
    err = proxy_loop(&proxy);
    if (err != 0) {
        proxy_complain("event loop", err);
    }
    int stats_err = stats_publish(&proxy.home.stats, proxy_now_ns(),
        options->stats_path);
    if (stats_err != 0) {
        proxy_complain("cannot write the counters", stats_err);
    }
    status = err == 0 && stats_err == 0 ? 0 : 1;

out_close:
    proxy_close(&proxy);
    return status;
}
