/* One proxied connection: two sockets, two pipes, and what faults do to it.
 *
 * A connection belongs to a conn_home (the proxy), which owns the epoll set,
 * the timers and the counters. Closing is deferred: a dead connection moves
 * to home->dead and is freed by conn_reap once no event of the current batch
 * can name it. Not thread-safe. */
#ifndef TESTS_FAULT_CONN_H
#define TESTS_FAULT_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/fault/endpoint.h"
#include "tests/fault/pipe.h"
#include "tests/fault/stats.h"
#include "tests/fault/timers.h"

struct conn;

/* What a connection needs from the proxy. */
struct conn_home {
    int epoll_fd;
    struct pipe_shared shared;
    struct timers timers;
    struct stats stats;
    struct conn *live;   /* doubly linked */
    struct conn *dead;   /* singly linked by next */
    uint64_t faults_left;
    bool reset_all_due;  /* the proxy resets all when the event is done */
};

enum conn_side_name { CONN_CLIENT, CONN_SERVER };

struct conn_side {
    struct conn *conn;
    int fd;              /* -1 when closed */
    uint32_t interest;   /* what epoll watches now */
    bool registered;
    bool blocked;        /* the last write found no room */
    bool hung_up;        /* both halves are over; nothing more to hear */
};

enum conn_state {
    CONN_CONNECTING,
    CONN_RELAY,
    CONN_DRAIN,  /* the receiver takes what it was sent, then both reset */
    CONN_LINGER, /* the end was sent; wait for the peer to close */
    CONN_VOID,   /* read and drop from both, answer nothing */
    CONN_DEAD,
};

struct conn {
    struct conn_home *home;
    struct conn *next;
    struct conn *prev;
    enum conn_state state;
    struct conn_side side[2];
    struct pipe pipe[2];  /* pipe[s] carries what side s sends */
    struct timer timer;
    int64_t deadline_ns;  /* of CONN_DRAIN and CONN_LINGER */
};

/* Take over client_fd and start to connect to server. index counts the
 * proxied connections from 0. On failure the client is reset and a negative
 * errno is returned. */
int conn_open(struct conn_home *home, int client_fd,
    const struct endpoint *server, uint64_t index, int64_t now_ns);

/* Take over client_fd and never answer on it. Returns 0 or a negative errno
 * with the client reset. */
int conn_open_void(struct conn_home *home, int client_fd, int64_t now_ns);

/* epoll has reported events on side. */
void conn_event(struct conn_side *side, uint32_t events, int64_t now_ns);

/* The connection's timer has been taken out of the heap. */
void conn_timeout(struct conn *conn, int64_t now_ns);

/* Reset both ends now. Counts as the work of a rule. */
void conn_reset(struct conn *conn);

/* Close everything that is left, without resets of our own making. */
void conn_close(struct conn *conn);

/* Free the dead. */
void conn_reap(struct conn_home *home);

#endif
