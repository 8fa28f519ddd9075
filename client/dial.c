#include "client/dial.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/socks.h"
#include "proto/base/limits.h"

#define ADDRS_MAX 16u
/* Data that nobody acknowledges for so long means a dead path. */
#define USER_TIMEOUT_MS 60000u

struct attempt {
    struct dial *dial;
    int fd; /* -1: free */
    const struct net_addr *addr;
    struct loop_poll *poll;
    struct socks *socks; /* talks to the proxy; NULL: not yet, or none */
};

struct dial {
    struct dialer *dialer;
    dial_fn *fn;
    void *arg;
    struct loop_timer *stagger;
    struct loop_timer *timeout;
    struct loop_defer *over;
    /* The addresses in the order in which this dial tries them: a copy,
     * since those of the dialer change while dials are under way. */
    unsigned count;
    struct net_addr addr[ADDRS_MAX];
    unsigned next; /* next address to try */
    unsigned live;
    int result; /* fd, or -1 */
    bool waiting; /* for the look-up */
    char text[200];
    struct attempt attempt[ADDRS_MAX];
    struct dial *sibling;
};

struct dialer {
    struct loop *loop;
    char *host; /* whose addresses are dialled: the server's or the proxy's */
    char service[8];
    struct proxy *proxy; /* NULL: none */
    char *server;        /* behind the proxy */
    uint16_t server_port;
    enum dial_family family;
    bool fresh; /* addresses are usable */
    bool doomed;
    unsigned count;
    unsigned best;
    struct net_addr addr[ADDRS_MAX];
    struct loop_work *work;
    struct dial *dials;
    int lookup_error; /* of getaddrinfo() */
    unsigned found;
    struct net_addr found_addr[ADDRS_MAX]; /* the worker's */
};

/* ---- looking up. */

static void take_family(const struct addrinfo *list, int family,
                        struct net_addr *out, unsigned *count)
{
    *count = 0;
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        if (a->ai_family == family && *count < ADDRS_MAX &&
            net_addr_set(a->ai_addr, a->ai_addrlen, &out[*count]) == 0) {
            (*count)++;
        }
    }
}

/* Families alternate, the resolver's preferred one first. */
static void interleave(struct dialer *d, const struct addrinfo *list)
{
    struct net_addr first[ADDRS_MAX];
    struct net_addr second[ADDRS_MAX];
    unsigned n1, n2;
    int lead = list->ai_family;

    take_family(list, lead, first, &n1);
    take_family(list, lead == AF_INET6 ? AF_INET : AF_INET6, second, &n2);
    d->found = 0;
    for (unsigned k = 0; k < ADDRS_MAX; k++) {
        if (k < n1 && d->found < ADDRS_MAX) {
            d->found_addr[d->found++] = first[k];
        }
        if (k < n2 && d->found < ADDRS_MAX) {
            d->found_addr[d->found++] = second[k];
        }
    }
}

static void look_up(struct dialer *d, int flags)
{
    struct addrinfo hints = {0};
    struct addrinfo *list = NULL;

    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV | flags;
    hints.ai_family = d->family == DIAL_IPV4   ? AF_INET
                      : d->family == DIAL_IPV6 ? AF_INET6
                                               : AF_UNSPEC;
    if ((flags & AI_NUMERICHOST) != 0) {
        hints.ai_flags &= ~AI_ADDRCONFIG;
    }
    d->found = 0;
    d->lookup_error = getaddrinfo(d->host, d->service, &hints, &list);
    if (d->lookup_error == 0 && list != NULL) {
        interleave(d, list);
        freeaddrinfo(list);
    }
}

static void lookup_work(void *arg)
{
    look_up(arg, 0);
}

/* The address that answered last is tried first, if it is still there. */
static void prefer(struct dialer *d, const struct net_addr *best)
{
    for (unsigned k = 0; k < d->count; k++) {
        if (d->addr[k].len == best->len &&
            memcmp(&d->addr[k].storage, &best->storage, best->len) == 0) {
            d->best = k;
        }
    }
}

static void adopt_found(struct dialer *d)
{
    struct net_addr best = d->addr[d->best];
    unsigned old = d->count;

    if (d->found == 0) {
        return;
    }
    memcpy(d->addr, d->found_addr, d->found * sizeof d->addr[0]);
    d->count = d->found;
    d->best = 0;
    if (old > 0) {
        prefer(d, &best);
    }
    d->fresh = true;
}

/* ---- one dial. */

static void try_next(struct dial *dial);

static void end_attempt(struct attempt *a, bool keep_fd)
{
    loop_poll_free(a->poll);
    a->poll = NULL;
    free(a->socks);
    a->socks = NULL;
    if (a->fd >= 0 && !keep_fd) {
        close(a->fd);
    }
    a->fd = -1;
}

static void conclude(struct dial *dial, int fd)
{
    dial->result = fd;
    loop_timer_stop(dial->stagger);
    loop_timer_stop(dial->timeout);
    for (unsigned k = 0; k < ADDRS_MAX; k++) {
        if (dial->attempt[k].fd >= 0) {
            end_attempt(&dial->attempt[k], false);
        }
    }
    if (fd < 0) {
        dial->dialer->fresh = false; /* look again next time */
    }
    loop_defer_arm(dial->over);
}

static void dial_dispose(struct dial *dial)
{
    struct dial **at = &dial->dialer->dials;

    while (*at != dial) {
        at = &(*at)->sibling;
    }
    *at = dial->sibling;
    loop_timer_free(dial->stagger);
    loop_timer_free(dial->timeout);
    loop_defer_free(dial->over);
    free(dial);
}

static void on_over(void *arg)
{
    struct dial *dial = arg;
    dial_fn *fn = dial->fn;
    void *fn_arg = dial->arg;
    int fd = dial->result;
    char text[sizeof dial->text];

    memcpy(text, dial->text, sizeof text);
    dial_dispose(dial);
    fn(fn_arg, fd, text);
}

static const char *whose(const struct dialer *d)
{
    return d->proxy != NULL ? "the proxy " : "";
}

static void fail_text(struct dial *dial, const char *address,
                      const char *reason)
{
    (void)snprintf(dial->text, sizeof dial->text, "cannot connect to %s%s: %s",
                   whose(dial->dialer), address, reason);
}

static void attempt_failed(struct attempt *a, int sys_errno)
{
    struct dial *dial = a->dial;
    char address[NET_TEXT_MAX];

    net_addr_text(a->addr, address);
    fail_text(dial, address, strerror(sys_errno));
    end_attempt(a, false);
    dial->live--;
    try_next(dial);
}

static void attempt_won(struct attempt *a)
{
    struct dial *dial = a->dial;
    int fd = a->fd;

    prefer(dial->dialer, a->addr);
    net_addr_text(a->addr, dial->text);
    net_tune(fd, USER_TIMEOUT_MS);
    end_attempt(a, true);
    conclude(dial, fd);
}

/* ---- the proxy. */

/* What the proxy says of the server would not differ on its other
 * addresses. */
static void proxy_failed(struct attempt *a, const char *reason)
{
    struct dial *dial = a->dial;
    const struct dialer *d = dial->dialer;

    (void)snprintf(dial->text, sizeof dial->text, "cannot connect to %.80s "
                   "by the proxy %.60s: %s", d->server, d->proxy->host,
                   reason);
    conclude(dial, -1);
}

/* After a call on its socket: may it go on another time? */
static bool may_wait(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* Sends what the handshake has, then reads what it wants; either as far as
 * the socket goes, the rest another time. */
static void on_proxy(void *arg, unsigned events)
{
    struct attempt *a = arg;
    uint8_t data[300];
    size_t len;
    const uint8_t *out = socks_output(a->socks, &len);

    (void)events;
    if (len > 0) {
        ssize_t n = send(a->fd, out, len, MSG_NOSIGNAL);

        if (n < 0 && !may_wait()) {
            proxy_failed(a, strerror(errno));
            return;
        }
        socks_sent(a->socks, n > 0 ? (size_t)n : 0);
        loop_poll_set(a->poll,
                      n >= 0 && (size_t)n == len ? LOOP_READ : LOOP_WRITE);
        return;
    }
    ssize_t n = recv(a->fd, data, socks_wanted(a->socks), 0);

    if (n <= 0) {
        if (n == 0 || !may_wait()) {
            proxy_failed(a, n == 0 ? "it closes the connection"
                                   : strerror(errno));
        }
        return;
    }
    switch (socks_input(a->socks, data, (size_t)n)) {
    case 0:
        attempt_won(a);
        break;
    case ERR_AGAIN:
        (void)socks_output(a->socks, &len);
        loop_poll_set(a->poll, len > 0 ? LOOP_WRITE : LOOP_READ);
        break;
    default:
        proxy_failed(a, socks_reason(a->socks));
        break;
    }
}

static void begin_proxy(struct attempt *a)
{
    const struct dialer *d = a->dial->dialer;

    a->socks = calloc(1, sizeof *a->socks);
    loop_poll_free(a->poll);
    a->poll = NULL;
    if (a->socks == NULL ||
        socks_init(a->socks, d->proxy, d->server, d->server_port) != 0 ||
        loop_poll_new(d->loop, a->fd, on_proxy, a, &a->poll) != 0) {
        attempt_failed(a, ENOMEM);
        return;
    }
    loop_timer_stop(a->dial->stagger); /* the proxy answers: it is enough */
    loop_poll_set(a->poll, LOOP_WRITE);
}

static void on_writable(void *arg, unsigned events)
{
    struct attempt *a = arg;
    int err = net_connect_result(a->fd);

    (void)events;
    if (err == ERR_AGAIN) {
        return;
    }
    if (err != 0) {
        attempt_failed(a, errno);
    } else if (a->dial->dialer->proxy != NULL) {
        begin_proxy(a);
    } else {
        attempt_won(a);
    }
}

static void try_addr(struct dial *dial, unsigned index)
{
    struct attempt *a = &dial->attempt[index];

    a->dial = dial;
    a->addr = &dial->addr[index];
    dial->live++;
    if (net_connect(a->addr, &a->fd) != 0) {
        int sys_errno = errno;

        a->fd = -1;
        attempt_failed(a, sys_errno);
        return;
    }
    if (loop_poll_new(dial->dialer->loop, a->fd, on_writable, a,
                      &a->poll) != 0) {
        attempt_failed(a, ENOMEM);
        return;
    }
    loop_poll_set(a->poll, LOOP_WRITE);
}

/* Start the next address; when none is left and none is live, it is over. */
static void try_next(struct dial *dial)
{
    if (dial->next < dial->count) {
        unsigned index = dial->next;

        dial->next++;
        if (dial->next < dial->count) {
            loop_timer_start(dial->stagger, DIAL_STAGGER_MS);
        }
        try_addr(dial, index);
    } else if (dial->live == 0 && dial->result == -2) {
        conclude(dial, -1);
    }
}

static void try_first(struct dial *dial)
{
    const struct dialer *d = dial->dialer;

    dial->count = d->count;
    for (unsigned k = 0; k < d->count; k++) {
        dial->addr[k] = d->addr[(d->best + k) % d->count];
    }
    try_next(dial);
}

static void on_stagger(void *arg)
{
    try_next(arg);
}

static void on_timeout(void *arg)
{
    struct dial *dial = arg;

    if (dial->text[0] == '\0') {
        fail_text(dial, dial->dialer->host,
                  dial->waiting ? "no answer from the name service"
                                : "no answer");
    }
    conclude(dial, -1);
}

/* Its work is over. */
static void dispose(struct dialer *d)
{
    loop_work_free(d->work);
    free(d->host);
    free(d->server);
    free(d->proxy);
    free(d);
}

static void lookup_done(void *arg)
{
    struct dialer *d = arg;
    struct dial *next;

    if (d->doomed) {
        dispose(d);
        return;
    }
    adopt_found(d);
    for (struct dial *dial = d->dials; dial != NULL; dial = next) {
        next = dial->sibling;
        if (!dial->waiting) {
            continue;
        }
        dial->waiting = false;
        if (d->found == 0 && d->count == 0) {
            (void)snprintf(dial->text, sizeof dial->text,
                           "cannot look up %s%s: %s", whose(d), d->host,
                           gai_strerror(d->lookup_error));
            conclude(dial, -1);
        } else {
            try_first(dial);
        }
    }
}

/* ---- life. */

int dialer_new(struct loop *loop, const char *host, uint16_t port,
               enum dial_family family, struct dialer **out)
{
    struct dialer *d = calloc(1, sizeof *d);

    if (d == NULL) {
        return ERR_NOMEM;
    }
    d->loop = loop;
    d->family = family;
    d->host = strdup(host);
    (void)snprintf(d->service, sizeof d->service, "%u", port);
    if (d->host == NULL ||
        loop_work_new(loop, lookup_work, lookup_done, d, &d->work) != 0) {
        free(d->host);
        free(d);
        return ERR_NOMEM;
    }
    *out = d;
    return 0;
}

int dialer_set_proxy(struct dialer *d, const struct proxy *proxy)
{
    if (proxy == NULL) {
        return 0;
    }
    if (strlen(d->host) > 255) {
        return ERR_RANGE;
    }
    char *host = strdup(proxy->host);
    struct proxy *copy = malloc(sizeof *copy);

    if (host == NULL || copy == NULL) {
        free(host);
        free(copy);
        return ERR_NOMEM;
    }
    *copy = *proxy;
    d->proxy = copy;
    d->server = d->host;
    d->server_port = (uint16_t)strtoul(d->service, NULL, 10);
    d->host = host;
    (void)snprintf(d->service, sizeof d->service, "%u", proxy->port);
    return 0;
}

void dialer_free(struct dialer *d)
{
    if (d == NULL) {
        return;
    }
    BELAY_ASSERT(d->dials == NULL);
    if (loop_work_pending(d->work)) {
        d->doomed = true; /* lookup_done() frees it */
        return;
    }
    dispose(d);
}

bool dialer_lingers(const struct dialer *d)
{
    return d != NULL && loop_work_pending(d->work);
}

/* Addresses now if they are known or the host is a number; else look up. */
static void dial_begin(struct dial *dial)
{
    struct dialer *d = dial->dialer;

    if (!d->fresh && !loop_work_pending(d->work)) {
        look_up(d, AI_NUMERICHOST);
        adopt_found(d);
    }
    if (d->fresh) {
        try_first(dial);
        return;
    }
    dial->waiting = true;
    if (!loop_work_pending(d->work)) {
        loop_work_submit(d->work);
    }
}

int dial_start(struct dialer *dialer, uint64_t timeout_ms, dial_fn *fn,
               void *arg, struct dial **out)
{
    struct dial *dial = calloc(1, sizeof *dial);

    if (dial == NULL) {
        return ERR_NOMEM;
    }
    dial->dialer = dialer;
    dial->fn = fn;
    dial->arg = arg;
    dial->result = -2;
    for (unsigned k = 0; k < ADDRS_MAX; k++) {
        dial->attempt[k].fd = -1;
    }
    dial->sibling = dialer->dials;
    dialer->dials = dial;
    if (loop_timer_new(dialer->loop, on_stagger, dial, &dial->stagger) != 0 ||
        loop_timer_new(dialer->loop, on_timeout, dial, &dial->timeout) != 0 ||
        loop_defer_new(dialer->loop, on_over, dial, &dial->over) != 0) {
        dial_dispose(dial);
        return ERR_NOMEM;
    }
    loop_timer_start(dial->timeout, timeout_ms);
    *out = dial;
    dial_begin(dial);
    return 0;
}

void dial_cancel(struct dial *dial)
{
    if (dial == NULL) {
        return;
    }
    for (unsigned k = 0; k < ADDRS_MAX; k++) {
        if (dial->attempt[k].fd >= 0) {
            end_attempt(&dial->attempt[k], false);
        }
    }
    if (dial->result >= 0) {
        close(dial->result); /* connected, but nobody was told yet */
    }
    dial_dispose(dial);
}
