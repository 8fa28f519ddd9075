#include "tests/fault/conn.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS INT64_C(1000000)

/* A cut at an exact byte waits this long for the receiver's kernel to take
 * what was sent before, because a reset discards what is still queued. */
#define DRAIN_MAX_NS (1000 * NS_PER_MS)
#define DRAIN_POLL_NS (1 * NS_PER_MS)

/* After a fault's clean end the receiver may take this long to close. */
#define LINGER_MAX_NS (10000 * NS_PER_MS)

/* Bytes that may lie unsent in a socket. What lies there is lost at a reset,
 * so it must be little; the window in flight is not limited by it. */
#define UNSENT_MAX (256 << 10)

/* The side that receives what the rules watch, and the one that sends it. */
static struct conn_side *
conn_receiver(struct conn *conn)
{
    bool up = conn->home->shared.options->rules_up;
    return &conn->side[up ? CONN_SERVER : CONN_CLIENT];
}

static struct conn_side *
conn_sender(struct conn *conn)
{
    bool up = conn->home->shared.options->rules_up;
    return &conn->side[up ? CONN_CLIENT : CONN_SERVER];
}

static void
conn_link(struct conn *conn)
{
    struct conn_home *home = conn->home;
    conn->next = home->live;
    if (home->live != NULL) {
        home->live->prev = conn;
    }
    home->live = conn;
    home->stats.active++;
}

/* The sockets are closed: leave the live list and wait for conn_reap. */
static void
conn_bury(struct conn *conn)
{
    struct conn_home *home = conn->home;
    assert(conn->state != CONN_DEAD);
    conn->state = CONN_DEAD;
    timers_set(&home->timers, &conn->timer, TIMER_NEVER);
    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        home->live = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    conn->next = home->dead;
    home->dead = conn;
    home->stats.active--;
}

static void
conn_side_close(struct conn_side *side, bool reset)
{
    if (side->fd < 0) {
        return;
    }
    /* Closing also removes the descriptor from the epoll set. */
    if (reset) {
        endpoint_reset(side->fd);
    } else {
        close(side->fd);
    }
    side->fd = -1;
    side->registered = false;
}

static void
conn_finish(struct conn *conn, bool reset)
{
    for (int s = 0; s < 2; s++) {
        conn->home->stats.bytes_dropped += conn->pipe[s].ring.used;
        conn_side_close(&conn->side[s], reset);
    }
    conn_bury(conn);
}

void
conn_reset(struct conn *conn)
{
    conn->home->stats.resets++;
    conn_finish(conn, true);
}

void
conn_close(struct conn *conn)
{
    conn_finish(conn, false);
}

/* A peer has reset, or its kernel has given up: tell the other end so. */
static void
conn_peer_reset(struct conn *conn)
{
    if (conn->state == CONN_CONNECTING) {
        conn->home->stats.connect_failed++;
    } else if (conn->state == CONN_RELAY) {
        conn->home->stats.peer_resets++;
    }
    conn_finish(conn, true);
}

void
conn_reap(struct conn_home *home)
{
    while (home->dead != NULL) {
        struct conn *conn = home->dead;
        home->dead = conn->next;
        pipe_clear(&conn->pipe[0]);
        pipe_clear(&conn->pipe[1]);
        free(conn);
    }
}

static void
conn_watch(struct conn_side *side, uint32_t interest)
{
    if (side->fd < 0) {
        return;
    }
    bool wanted = !(side->hung_up && interest == 0);
    if (side->registered == wanted && side->interest == interest) {
        return;
    }
    struct epoll_event event = { .events = interest, .data.ptr = side };
    int op = EPOLL_CTL_MOD;
    if (!wanted) {
        op = EPOLL_CTL_DEL;
    } else if (!side->registered) {
        op = EPOLL_CTL_ADD;
    }
    if (epoll_ctl(side->conn->home->epoll_fd, op, side->fd, &event) == 0) {
        side->registered = wanted;
        side->interest = interest;
    }
}

static struct conn *
conn_new(struct conn_home *home, int client_fd, int64_t now_ns)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        return NULL;
    }
    if (timers_reserve(&home->timers, home->stats.active + 3) != 0) {
        free(conn);
        return NULL;
    }
    conn->home = home;
    conn->deadline_ns = now_ns;
    conn->timer.owner = conn;
    for (int s = 0; s < 2; s++) {
        conn->side[s].conn = conn;
        conn->side[s].fd = -1;
    }
    conn->side[CONN_CLIENT].fd = client_fd;
    return conn;
}

static void
conn_tune(int fd)
{
    int on = 1;
    int unsent = UNSENT_MAX;
    /* Both are wishes: without them the proxy works, only less sharply. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent,
        sizeof(unsent));
}

int
conn_open(struct conn_home *home, int client_fd,
    const struct endpoint *server, uint64_t index, int64_t now_ns)
{
    bool rules_up = home->shared.options->rules_up;
    int err = -ENOMEM;
    struct conn *conn = conn_new(home, client_fd, now_ns);
    if (conn == NULL) {
        goto out_reset;
    }
    err = pipe_init(&conn->pipe[CONN_CLIENT], &home->shared, rules_up, index,
        now_ns);
    if (err == 0) {
        err = pipe_init(&conn->pipe[CONN_SERVER], &home->shared, !rules_up,
            index, now_ns);
    }
    if (err != 0) {
        goto out_free;
    }
    int server_fd = endpoint_connect(server);
    if (server_fd < 0) {
        err = server_fd;
        home->stats.connect_failed++;
        goto out_free;
    }
    conn_tune(client_fd);
    conn_tune(server_fd);
    conn->side[CONN_SERVER].fd = server_fd;
    conn->state = CONN_CONNECTING;
    conn_watch(&conn->side[CONN_SERVER], EPOLLOUT);
    conn_watch(&conn->side[CONN_CLIENT], 0);
    if (!conn->side[CONN_SERVER].registered ||
        !conn->side[CONN_CLIENT].registered) {
        err = -errno;
        close(server_fd);
        goto out_free;
    }
    conn_link(conn);
    return 0;

out_free:
    pipe_clear(&conn->pipe[0]);
    pipe_clear(&conn->pipe[1]);
    free(conn);
out_reset:
    endpoint_reset(client_fd);
    return err;
}

int
conn_open_void(struct conn_home *home, int client_fd, int64_t now_ns)
{
    struct conn *conn = conn_new(home, client_fd, now_ns);
    if (conn == NULL) {
        endpoint_reset(client_fd);
        return -ENOMEM;
    }
    conn->state = CONN_VOID;
    conn_watch(&conn->side[CONN_CLIENT], EPOLLIN);
    if (!conn->side[CONN_CLIENT].registered) {
        int err = -errno;
        free(conn);
        endpoint_reset(client_fd);
        return err;
    }
    conn_link(conn);
    return 0;
}

/* Read and drop what side sends. Returns false once it has nothing left to
 * say: at its end of stream or when its socket broke. */
static bool
conn_swallow(struct conn_side *side)
{
    uint8_t waste[16384];
    for (int i = 0; i < 16; i++) {
        ssize_t len = recv(side->fd, waste, sizeof(waste), MSG_DONTWAIT);
        if (len > 0) {
            side->conn->home->stats.bytes_dropped += (uint64_t)len;
            continue;
        }
        if (len < 0 && errno == EINTR) {
            continue;
        }
        return len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
    return true;
}

static void
conn_start_drain(struct conn *conn, int64_t now_ns)
{
    conn->state = CONN_DRAIN;
    conn->deadline_ns = now_ns + DRAIN_MAX_NS;
    conn_watch(&conn->side[CONN_CLIENT], 0);
    conn_watch(&conn->side[CONN_SERVER], 0);
    conn_timeout(conn, now_ns);
}

static void
conn_start_linger(struct conn *conn, int64_t now_ns)
{
    conn->home->stats.fins++;
    conn_side_close(conn_sender(conn), false);
    struct conn_side *receiver = conn_receiver(conn);
    if (shutdown(receiver->fd, SHUT_WR) != 0) {
        conn_close(conn);
        return;
    }
    conn->state = CONN_LINGER;
    conn->deadline_ns = now_ns + LINGER_MAX_NS;
    timers_set(&conn->home->timers, &conn->timer, conn->deadline_ns);
    conn_watch(receiver, EPOLLIN);
}

static void
conn_start_void(struct conn *conn)
{
    conn->home->stats.half_opens++;
    conn->home->stats.bytes_dropped += pipe_discard(&conn->pipe[0]);
    conn->home->stats.bytes_dropped += pipe_discard(&conn->pipe[1]);
    conn->state = CONN_VOID;
    timers_set(&conn->home->timers, &conn->timer, TIMER_NEVER);
    conn_watch(&conn->side[CONN_CLIENT], EPOLLIN);
    conn_watch(&conn->side[CONN_SERVER], EPOLLIN);
}

static void
conn_start_stall(struct conn *conn, struct pipe *pipe, int64_t now_ns)
{
    int64_t for_ns = conn->home->shared.options->stall_for_ns;
    conn->home->stats.stalls++;
    pipe->stall_until_ns = for_ns > 0 ? now_ns + for_ns : TIMER_NEVER;
}

/* A step of the plan is due. Returns true if the relay goes on. */
static bool
conn_strike(struct conn *conn, struct pipe *pipe, int64_t now_ns)
{
    struct conn_home *home = conn->home;
    enum fault_action action = pipe_take_step(pipe);
    if (action == FAULT_NONE || home->faults_left == 0) {
        return true;
    }
    home->faults_left--;
    home->stats.faults++;
    switch (action) {
    case FAULT_RST:
        conn_start_drain(conn, now_ns);
        return false;
    case FAULT_FIN:
        conn_start_linger(conn, now_ns);
        return false;
    case FAULT_HALF_OPEN:
        conn_start_void(conn);
        return false;
    case FAULT_STALL:
        conn_start_stall(conn, pipe, now_ns);
        return true;
    case FAULT_TRUNCATE:
        home->stats.truncations++;
        home->stats.bytes_dropped += pipe_discard(pipe);
        return true;
    default:
        return true;
    }
}

/* Forward what one direction holds. Returns true if the relay goes on. */
static bool
conn_forward(struct conn *conn, int from, int64_t now_ns, int64_t *wake_ns)
{
    struct pipe *pipe = &conn->pipe[from];
    struct conn_side *to = &conn->side[1 - from];
    struct stats *stats = &conn->home->stats;
    uint64_t *bytes =
        from == CONN_CLIENT ? &stats->bytes_up : &stats->bytes_down;
    to->blocked = false;
    for (;;) {
        enum pipe_result result = pipe_drain(pipe, to->fd, now_ns, wake_ns,
            &stats->flips, bytes);
        if (result == PIPE_FAULT) {
            if (!conn_strike(conn, pipe, now_ns)) {
                return false;
            }
            continue;
        }
        if (result == PIPE_RESET_ALL) {
            conn->home->reset_all_due = true;
        } else if (result == PIPE_BROKEN) {
            conn_peer_reset(conn);
            return false;
        } else if (result == PIPE_BLOCKED || result == PIPE_BUSY) {
            to->blocked = true;
        }
        break;
    }
    if (pipe_end_due(pipe, now_ns, wake_ns)) {
        shutdown(to->fd, SHUT_WR);
        pipe->ended = true;
    }
    return true;
}

/* A stall without end is over when nobody is left to see it. */
static bool
conn_abandoned(const struct conn *conn)
{
    for (int s = 0; s < 2; s++) {
        if (conn->pipe[s].stall_until_ns == TIMER_NEVER &&
            conn->pipe[1 - s].source_ended) {
            return true;
        }
    }
    return false;
}

static void
conn_pump(struct conn *conn, int64_t now_ns)
{
    int64_t wake_ns = TIMER_NEVER;
    if (!conn_forward(conn, CONN_CLIENT, now_ns, &wake_ns) ||
        !conn_forward(conn, CONN_SERVER, now_ns, &wake_ns)) {
        return;
    }
    if ((conn->pipe[0].ended && conn->pipe[1].ended) ||
        conn_abandoned(conn)) {
        conn_close(conn);
        return;
    }
    timers_set(&conn->home->timers, &conn->timer, wake_ns);
    for (int s = 0; s < 2; s++) {
        uint32_t interest = 0;
        if (pipe_wants_input(&conn->pipe[s])) {
            interest |= EPOLLIN;
        }
        if (conn->side[s].blocked) {
            interest |= EPOLLOUT;
        }
        conn_watch(&conn->side[s], interest);
    }
}

/* What is pending on the socket, as a positive errno; 0 = nothing. */
static int
conn_socket_error(const struct conn_side *side)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(side->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        return errno;
    }
    return error;
}

static void
conn_relay_event(struct conn_side *side, uint32_t events, int64_t now_ns)
{
    struct conn *conn = side->conn;
    struct pipe *pipe = &conn->pipe[side - conn->side];
    if ((events & EPOLLERR) != 0 && conn_socket_error(side) != 0) {
        conn_peer_reset(conn);
        return;
    }
    if ((events & EPOLLHUP) != 0) {
        side->hung_up = true;
    }
    if ((events & (EPOLLIN | EPOLLHUP)) != 0 &&
        pipe_fill(pipe, side->fd, now_ns,
            &conn->home->stats.bytes_dropped) != 0) {
        conn_peer_reset(conn);
        return;
    }
    conn_pump(conn, now_ns);
}

/* Only one end is left to be heard, or both say nothing that counts. */
static void
conn_quiet_event(struct conn_side *side)
{
    struct conn *conn = side->conn;
    if (conn_swallow(side)) {
        return;
    }
    conn_side_close(side, false);
    if (conn->side[CONN_CLIENT].fd < 0 && conn->side[CONN_SERVER].fd < 0) {
        conn_close(conn);
    }
}

void
conn_event(struct conn_side *side, uint32_t events, int64_t now_ns)
{
    struct conn *conn = side->conn;
    if (side->fd < 0) {
        return;
    }
    switch (conn->state) {
    case CONN_CONNECTING:
        if (conn_socket_error(side) != 0 ||
            (side == &conn->side[CONN_CLIENT] &&
                (events & (EPOLLERR | EPOLLHUP)) != 0)) {
            conn_peer_reset(conn);
        } else if (side == &conn->side[CONN_SERVER]) {
            conn->state = CONN_RELAY;
            conn_pump(conn, now_ns);
        }
        break;
    case CONN_RELAY:
        conn_relay_event(side, events, now_ns);
        break;
    case CONN_DRAIN:
        /* Only an error or a hang-up is reported here. The sender's does
         * not matter any more; the receiver's ends the waiting. */
        if (side == conn_receiver(conn)) {
            conn_reset(conn);
        } else {
            side->hung_up = true;
            conn_watch(side, 0);
        }
        break;
    case CONN_LINGER:
    case CONN_VOID:
        conn_quiet_event(side);
        break;
    case CONN_DEAD:
        break;
    }
}

void
conn_timeout(struct conn *conn, int64_t now_ns)
{
    int unsent = 0;
    switch (conn->state) {
    case CONN_RELAY:
        conn_pump(conn, now_ns);
        break;
    case CONN_DRAIN:
        if (now_ns >= conn->deadline_ns ||
            ioctl(conn_receiver(conn)->fd, SIOCOUTQ, &unsent) != 0 ||
            unsent == 0) {
            conn_reset(conn);
        } else {
            timers_set(&conn->home->timers, &conn->timer,
                now_ns + DRAIN_POLL_NS);
        }
        break;
    case CONN_LINGER:
        conn_close(conn);
        break;
    default:
        break;
    }
}
