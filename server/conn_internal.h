/* The inside of a connection; for conn.c and serve*.c only. */
#ifndef SERVER_CONN_INTERNAL_H
#define SERVER_CONN_INTERNAL_H

#include "proto/session/sender.h"
#include "server/conn.h"
#include "server/gate.h"
#include "server/packing.h"
#include "server/prepare.h"
#include "server/worker.h"

struct conn;

/* A file that the sender holds: one for each open handle. */
struct opened {
    struct opened *next;
    struct opened *prev;
    struct conn *conn;
    struct source *source; /* a reference */
};

/* A chunk of this connection, ready or in work. */
struct conn_piece {
    struct piece piece;
    struct conn *conn;
    uint32_t job;
    bool used;
    bool working;    /* prepare will call back */
    bool compressible; /* the client would take it compressed */
    uint64_t unsent; /* bytes that waited in the kernel when it was ready */
};

/* What the transport is, or may become. */
enum conn_wire {
    CONN_QUEUED,    /* not looked at until there are fewer strangers */
    CONN_UNDECIDED, /* the first byte will tell */
    CONN_SHAKING,   /* TLS, before the end of the handshake */
    CONN_OPEN,      /* bytes are the client's: plain, or through .tls */
};

struct tls;

struct conn {
    struct conn *next; /* in the worker's list */
    struct conn *prev;
    struct worker *worker;
    uint64_t id;
    struct conn_io io;
    char peer[NET_TEXT_MAX];
    struct gate *gate; /* a reference */
    struct tls *tls;   /* NULL: plain */
    enum conn_wire wire;
    struct loop_poll *in;
    struct loop_poll *out; /* NULL: `in` serves both directions */
    struct loop_timer *timer;
    struct loop_defer *again; /* pump once more at the end of the turn */
    struct sender *sender;
    struct sender_stats told; /* what the worker's numbers have of it */

    /* Output that the transport has not taken yet. */
    uint8_t *left;      /* frames; NULL: none */
    size_t left_off;
    size_t left_len;
    struct conn_piece *sending; /* then the data of this chunk */
    uint32_t sending_off;
    bool blocked;       /* the transport is full */
    struct packing packing;

    struct opened *opened;
    struct conn_piece pieces[SENDER_CHUNKS_AHEAD];
    struct digest_task *digest_task; /* waits for a hash job */
    unsigned tasks;     /* threads and waits that will call back */
    bool pumping;
    bool eof;           /* the peer will send no more */
    bool lingering;     /* all is said: waiting for the peer's end */
    const char *linger_reason;
    enum census_standing standing;
    uint64_t auth_judged; /* refusals of AUTH that were answered for, */
    uint64_t charged;     /* and requests that brought nothing */
    uint64_t quiet_until; /* nothing is read before, because of them */
    uint64_t share;       /* bytes to write in one turn */
    uint64_t timer_at;  /* when the timer fires; UINT64_MAX: not */
    uint64_t born;
    bool dead;          /* descriptors are closed */
    const char *reason; /* of the end, when it was ours */
};

/* ---- conn.c */

/* Something changed: run jobs, write, set timers. May end the connection, and
 * free it when no task is left. Never call it from inside itself. */
void conn_pump(struct conn *conn);

/* The connection cannot go on. */
void conn_end(struct conn *conn, const char *reason);

/* Nothing more will be said: ends when the peer has read it, or soon. */
void conn_linger(struct conn *conn, const char *reason);

/* A task begins, or has called back: after the last one of a dead connection
 * it is gone, and false is returned. */
void conn_task_begin(struct conn *conn);
bool conn_task_end(struct conn *conn);

/* ---- conn_guest.c */

/* The connection begins, does anything, ends. */
void conn_guest_begin(struct conn *conn);
void conn_guest_judge(struct conn *conn);
void conn_guest_end(struct conn *conn);

/* A queued connection: has its turn come? Then its wire begins. */
bool conn_guest_turn(struct conn *conn);

/* Its origin has to wait: nothing is read before quiet_until. */
bool conn_guest_waits(const struct conn *conn);

/* The worker deals with this connection's bytes; NULL: with nobody's. */
void conn_guest_serve(struct worker *worker, const struct conn *conn);

/* ---- conn_tls.c */

/* Before the first event: which kind of transport may this be? */
void conn_wire_begin(struct conn *conn);

/* Goes on with finding out, and with the handshake; may end the
 * connection. */
void conn_wire_step(struct conn *conn);

/* As read(). */
ssize_t conn_wire_read(struct conn *conn, uint8_t *buf, size_t len);

/* Sends frames and then data of the open chunk through TLS, as much as goes at
 * once. As write(); the connection may be dead after -1. */
ssize_t conn_tls_send(struct conn *conn, const uint8_t *frames, size_t len);

/* What the client has proved so far. */
void conn_describe(const struct conn *conn, struct gate_who *who);

/* ---- conn_tally.c */

/* The numbers of the worker: this connection is open, did something, has
 * ended (conn.reason). */
void conn_tally_begin(struct conn *conn);
void conn_tally(struct conn *conn);
void conn_tally_end(struct conn *conn);

/* ---- serve.c */

/* A name that no tree has. */
#define SERVE_NOWHERE ".belayd-there-is-no-such-file"

/* Runs one job of the sender, at once or later. */
void serve_job(struct conn *conn, const struct sender_job *job);

/* Gives back what the sender's files and pieces hold. No task may be left. */
void serve_clear(struct conn *conn);

/* A file or directory is not given out; for `error` of errno. Logs it with
 * --verbose, and in any case one that belayd itself may not read: its client
 * is told that it is not there. */
void serve_log_refused(struct conn *conn, const char *path, int err,
                       int error);

/* Answers a job, with a wire code and nothing else. */
void serve_code(struct conn *conn, uint32_t id, uint16_t code);

/* ---- serve_digest.c, serve_list.c */
void serve_digest(struct conn *conn, const struct sender_job *job);
void serve_abandon(struct conn *conn, uint32_t id);

/* The connection is dead: nobody waits for digests any more. */
void serve_abandon_all(struct conn *conn);
void serve_list(struct conn *conn, const struct sender_job *job);

#endif
