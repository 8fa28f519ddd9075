#include "server/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/io/rand.h"
#include "proto/io/tls.h"
#include "server/conn_internal.h"
#include "server/limits.h"

#define AGENT "belayd/" BELAY_VERSION

static bool
is_socket(const struct conn *c)
{
    return c->io.in_fd == c->io.out_fd;
}

/* ---- The log. */

static void
log_opened(struct conn *c)
{
    struct log_line line;

    log_begin(&line, c->worker->log, LOG_LEVEL_INFO, "open");
    log_num(&line, "worker", c->worker->index);
    log_num(&line, "conn", c->id);
    log_word(&line, "peer", c->peer);
    log_end(&line);
}

static void
log_closed(struct conn *c)
{
    const struct sender_stats *stats = sender_stats(c->sender);
    size_t agent_len = 0;
    const uint8_t *agent = sender_agent(c->sender, &agent_len);
    struct gate_who who;
    char name[GATE_NAME_MAX];
    struct log_line line;

    log_begin(&line, c->worker->log, LOG_LEVEL_INFO, "close");
    log_num(&line, "worker", c->worker->index);
    log_num(&line, "conn", c->id);
    log_word(&line, "peer", c->peer);
    log_word(&line, "reason", c->reason);
    log_num(&line, "ms", loop_now_ms(c->worker->loop) - c->born);
    log_num(&line, "in", stats->bytes_in);
    log_num(&line, "out", stats->bytes_out);
    log_num(&line, "requests", stats->requests);
    log_num(&line, "errors", stats->errors);
    log_num(&line, "chunks", stats->chunks);
    log_num(&line, "raw", stats->raw_bytes);
    conn_describe(c, &who);
    gate_name(c->gate, &who, name);
    log_text(&line, "who", name);
    log_bytes(&line, "agent", agent, agent_len);
    log_end(&line);
}

/* ---- The end. */

static void
close_io(struct conn *c)
{
    loop_poll_free(c->in);
    loop_poll_free(c->out);
    c->in = NULL;
    c->out = NULL;
    tls_free(c->tls);
    c->tls = NULL;
    close(c->io.in_fd);
    if (!is_socket(c)) {
        close(c->io.out_fd);
    }
}

void
conn_end(struct conn *conn, const char *reason)
{
    if (conn->dead) {
        return;
    }
    conn->dead = true;
    conn->reason = reason;
    log_closed(conn);
    conn_tally_end(conn);
    close_io(conn);
    loop_timer_stop(conn->timer);
    serve_abandon_all(conn);
    conn_guest_end(conn);
    loop_defer_arm(conn->again);
}

static void
conn_free(struct conn *c)
{
    struct worker *w = c->worker;

    serve_clear(c);
    sender_free(c->sender);
    gate_release(c->gate);
    loop_timer_free(c->timer);
    loop_defer_free(c->again);
    free(c->left);
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        w->conns = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    w->conn_count--;
    free(c);
    worker_conn_ended(w);
}

void
conn_task_begin(struct conn *conn)
{
    conn->tasks++;
}

bool
conn_task_end(struct conn *conn)
{
    BELAY_ASSERT(conn->tasks > 0);
    conn->tasks--;
    if (!conn->dead) {
        return true;
    }
    loop_defer_arm(conn->again);
    return false;
}

void
conn_kill(struct conn *conn, const char *reason)
{
    conn_end(conn, reason);
}

struct conn *
conn_next(const struct conn *conn)
{
    return conn->next;
}

/* ---- Writing. */

static uint64_t
now_of(const struct conn *c)
{
    return loop_now_ms(c->worker->loop);
}

static void
chunk_done(struct conn *c)
{
    struct conn_piece *piece = c->sending;

    c->sending = NULL;
    piece->used = false;
    if (piece->compressible) {
        packing_sent(&c->packing, now_of(c), piece->piece.raw_len,
                     piece->unsent);
    }
    prepare_release(c->worker->prepare, &piece->piece);
    sender_chunk_sent(c->sender, now_of(c));
}

/* Frames, and the data of a chunk where it is in memory. */
static ssize_t
send_memory(struct conn *c, const uint8_t *frames, size_t len)
{
    struct iovec iov[2] = {
        { .iov_base = (void *)(uintptr_t)frames, .iov_len = len },
    };
    size_t n = 1;
    int flags = MSG_NOSIGNAL;

    if (c->sending != NULL) {
        const struct piece *p = &c->sending->piece;
        if (p->data != NULL) {
            iov[1].iov_base = (void *)(uintptr_t)(p->data + c->sending_off);
            iov[1].iov_len = p->stored_len - c->sending_off;
            n = 2;
        } else if (p->stored_len > 0) {
            flags |= MSG_MORE; /* the file's bytes follow at once */
        }
    }
    if (!is_socket(c)) {
        return writev(c->io.out_fd, iov, (int)n);
    }
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
    return sendmsg(c->io.out_fd, &msg, flags);
}

/* The data of a chunk from the page cache. Rule G5: compared before each
 * read; when the file changed under a header that is out already, only the
 * end of the connection tells the truth. */
static ssize_t
send_file(struct conn *c)
{
    const struct piece *p = &c->sending->piece;
    off_t at = (off_t)(p->offset + c->sending_off);

    bool unlinked = false;
    if (source_check(p->source, &unlinked) != 0) {
        conn_end(c, "changed-during");
        return -1;
    }
    ssize_t n = sendfile(c->io.out_fd, p->source->fd, &at,
                         p->stored_len - c->sending_off);
    if (n == 0) {
        conn_end(c, "file-shrank");
        return -1;
    }
    return n;
}

/* Sends frames and then the open chunk. True when all of it went; false when
 * the transport is full or the connection ended. *len tells how many bytes of
 * frames are left, *budget how much more may be sent in this turn. */
static bool
flush(struct conn *c, const uint8_t *frames, size_t *len, uint64_t *budget)
{
    for (;;) {
        if (*len == 0 && c->sending != NULL &&
            c->sending_off == c->sending->piece.stored_len) {
            chunk_done(c);
        }
        if (*len == 0 && c->sending == NULL) {
            return true;
        }
        bool memory = *len > 0 || c->sending->piece.data != NULL;
        ssize_t n = c->tls != NULL ? conn_tls_send(c, frames, *len)
                    : memory       ? send_memory(c, frames, *len)
                                   : send_file(c);
        if (n < 0 && errno == EINTR && !c->dead) {
            continue;
        }
        if (n < 0) {
            c->blocked = !c->dead && (errno == EAGAIN || errno == EWOULDBLOCK);
            if (!c->dead && !c->blocked) {
                conn_end(c, errno == EIO ? "io-error" : "reset");
            }
            return false;
        }
        sender_wrote(c->sender, now_of(c), (uint64_t)n);
        *budget -= (uint64_t)n < *budget ? (uint64_t)n : *budget;
        size_t of_frames = (size_t)n < *len ? (size_t)n : *len;
        frames += of_frames;
        *len -= of_frames;
        c->sending_off += (uint32_t)((size_t)n - of_frames);
    }
}

/* Goes on with what an earlier turn left. */
static bool
flush_left(struct conn *c, uint64_t *budget)
{
    size_t len = c->left_len - c->left_off;
    bool done = flush(c, c->left == NULL ? NULL : c->left + c->left_off, &len,
                      budget);

    c->left_off = c->left_len - len;
    if (len == 0) {
        free(c->left);
        c->left = NULL;
        c->left_off = 0;
        c->left_len = 0;
    }
    return done;
}

/* Keeps what the transport did not take of the frames in the scratch
 * buffer. */
static void
keep_left(struct conn *c, const uint8_t *frames, size_t len)
{
    if (len == 0 || c->dead) {
        return;
    }
    c->left = malloc(len);
    if (c->left == NULL) {
        conn_end(c, "memory");
        return;
    }
    memcpy(c->left, frames, len);
    c->left_off = 0;
    c->left_len = len;
}

static struct conn_piece *
piece_of(const struct sender_out *out)
{
    return out->piece;
}

static void
run_jobs(struct conn *c)
{
    struct sender_job job;

    while (!c->dead && sender_next_job(c->sender, now_of(c), &job)) {
        serve_job(c, &job);
    }
}

/* Collects frames in the scratch buffer up to a chunk with data, and sends
 * them. False when nothing more can be done in this turn. */
static bool
emit(struct conn *c, uint64_t *budget)
{
    uint8_t *scratch = c->worker->scratch;
    struct sender_out out = { .len = 0 };
    size_t len = 0;

    do {
        run_jobs(c);
        sender_emit(c->sender, now_of(c), scratch + len,
                    WORKER_SCRATCH_BYTES - len, &out);
        len += out.len;
        if (out.has_chunk && out.stored_len == 0) {
            /* It has no data, so its head can wait here with the others. */
            c->sending = piece_of(&out);
            chunk_done(c);
        }
    } while (out.len > 0 && (!out.has_chunk || out.stored_len == 0) &&
             WORKER_SCRATCH_BYTES - len >= SENDER_EMIT_BYTES);
    if (out.has_chunk && out.stored_len > 0) {
        c->sending = piece_of(&out);
        c->sending_off = 0;
    }
    if (len == 0) {
        return false;
    }
    size_t left = len;
    bool done = flush(c, scratch, &left, budget);
    keep_left(c, scratch + (len - left), left);
    return done;
}

/* ---- Waiting. */

void
conn_linger(struct conn *conn, const char *reason)
{
    if (!is_socket(conn) || conn->eof) {
        conn_end(conn, reason);
        return;
    }
    conn->lingering = true;
    conn->linger_reason = reason;
    if (conn->tls != NULL) {
        tls_say_bye(conn->tls);
    }
    shutdown(conn->io.out_fd, SHUT_WR);
    conn->timer_at = now_of(conn) + SERVER_LINGER_MS;
    loop_timer_start(conn->timer, SERVER_LINGER_MS);
}

static void
set_polls(struct conn *c)
{
    bool wanted = c->lingering ||
                  (c->wire != CONN_QUEUED && !conn_guest_waits(c) &&
                   sender_wants_read(c->sender));
    unsigned in = !c->eof && wanted ? LOOP_READ : 0;
    unsigned out = c->blocked && !c->lingering ? LOOP_WRITE : 0;

    if (c->out != NULL) {
        loop_poll_set(c->in, in);
        loop_poll_set(c->out, out);
    } else {
        loop_poll_set(c->in, in | out);
    }
}

/* An early alarm is harmless, so a timer is only ever moved forward. */
static void
set_timer(struct conn *c)
{
    uint64_t at = c->wire == CONN_OPEN ? sender_deadline(c->sender)
                                       : c->born + TIMER_HANDSHAKE_MS;
    uint64_t now = now_of(c);

    if (c->wire == CONN_QUEUED && now + SERVER_QUEUE_MS < at) {
        at = now + SERVER_QUEUE_MS;
    }
    if (conn_guest_waits(c) && c->quiet_until < at) {
        at = c->quiet_until;
    }
    if (c->lingering || at >= c->timer_at) {
        return;
    }
    c->timer_at = at;
    loop_timer_start(c->timer, at > now ? at - now : 0);
}

void
conn_pump(struct conn *conn)
{
    uint64_t budget = conn->share;

    if (conn->dead || conn->pumping || conn->lingering) {
        return;
    }
    if (conn->wire == CONN_QUEUED && conn_guest_turn(conn)) {
        conn_wire_begin(conn);
    }
    if (conn->wire != CONN_OPEN) {
        set_polls(conn);
        set_timer(conn);
        return;
    }
    conn->pumping = true;
    run_jobs(conn);
    bool more = !conn->dead && !conn->blocked;
    if (more && (conn->left != NULL || conn->sending != NULL)) {
        more = flush_left(conn, &budget);
    }
    while (more && !conn->dead && budget > 0) {
        more = emit(conn, &budget);
    }
    run_jobs(conn);
    conn->pumping = false;
    if (conn->dead) {
        return;
    }
    conn_tally(conn);
    conn_guest_judge(conn);
    if (conn->eof && conn->digest_task != NULL) {
        /* B1-C10: nothing is hashed for somebody who has gone. */
        conn_end(conn, "eof");
        return;
    }
    if (more && budget == 0) {
        loop_defer_arm(conn->again); /* others first, then go on */
    }
    if (sender_finished(conn->sender) && conn->left == NULL &&
        conn->sending == NULL) {
        conn_linger(conn, sender_reason(conn->sender));
    }
    if (!conn->dead) {
        set_polls(conn);
        set_timer(conn);
    }
}

/* ---- Events. */

static void
on_again(void *arg)
{
    struct conn *c = arg;
    struct worker *w = c->worker;

    if (c->dead && c->tasks == 0) {
        conn_free(c);
        return;
    }
    conn_guest_serve(w, c);
    conn_pump(c);
    conn_guest_serve(w, NULL);
}

static void
on_readable(struct conn *c)
{
    uint8_t *input = c->worker->input;
    ssize_t n = conn_wire_read(c, input, SERVER_READ_BYTES);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n < 0) {
        conn_end(c, "reset");
    } else if (n == 0) {
        c->eof = true;
        if (c->lingering) {
            conn_end(c, c->linger_reason);
        } else {
            sender_eof(c->sender, now_of(c));
        }
    } else if (!c->lingering && sender_wants_read(c->sender)) {
        sender_recv(c->sender, now_of(c), input, (size_t)n);
    }
}

static void
do_poll(struct conn *c, unsigned events)
{
    if ((events & LOOP_WRITE) != 0) {
        c->blocked = false;
    }
    if (c->wire != CONN_OPEN && !c->lingering) {
        conn_wire_step(c);
    }
    if (!c->dead && (c->wire == CONN_OPEN || c->lingering) &&
        (events & LOOP_READ) != 0) {
        on_readable(c);
    }
    if (!c->dead) {
        conn_pump(c);
    }
    if (!c->dead && c->lingering) {
        set_polls(c);
    }
}

static void
on_poll(void *arg, unsigned events)
{
    struct conn *c = arg;
    struct worker *w = c->worker;

    conn_guest_serve(w, c);
    do_poll(c, events);
    conn_guest_serve(w, NULL);
}

static void
on_timer(void *arg)
{
    struct conn *c = arg;

    c->timer_at = UINT64_MAX;
    if (c->lingering) {
        conn_end(c, c->linger_reason);
        return;
    }
    sender_tick(c->sender, now_of(c));
    if (sender_finished(c->sender)) {
        /* A transport that takes nothing will not take last words either. */
        conn_end(c, sender_reason(c->sender));
        return;
    }
    conn_pump(c);
}

void
conn_drain(struct conn *conn)
{
    if (!conn->dead && !conn->lingering) {
        sender_goaway(conn->sender, now_of(conn));
        conn_pump(conn);
    }
}

/* ---- The beginning. */

static int
make_sender(struct conn *c)
{
    const struct sender_config config = {
        .max_chunk_log2 = LIMIT_CHUNK_LOG2_RECOMMENDED,
        .max_requests = LIMIT_REQUESTS_RECOMMENDED,
        .max_handles = LIMIT_HANDLES_RECOMMENDED,
        .max_ranges = LIMIT_RANGES_MIN,
        .idle_timeout_s = LIMIT_IDLE_DEFAULT_S,
        .ping_interval_s = LIMIT_PING_INTERVAL_DEFAULT_S,
        .compression = c->worker->server->settings->compression,
        .secure = c->io.secure,
        .grease = true,
        .grease_seed = rand_u64(),
        .agent = AGENT,
        .auth = gate_auth(c->gate),
    };
    c->sender = sender_new(&config, now_of(c));
    return c->sender == NULL ? ERR_NOMEM : 0;
}

static int
make_events(struct conn *c)
{
    struct loop *loop = c->worker->loop;
    int err = loop_timer_new(loop, on_timer, c, &c->timer);
    if (err == 0) {
        err = loop_defer_new(loop, on_again, c, &c->again);
    }
    if (err == 0) {
        err = loop_poll_new(loop, c->io.in_fd, on_poll, c, &c->in);
    }
    if (err == 0 && !is_socket(c)) {
        err = loop_poll_new(loop, c->io.out_fd, on_poll, c, &c->out);
    }
    return err;
}

static void
link_conn(struct conn *c)
{
    struct worker *w = c->worker;

    c->next = w->conns;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    w->conns = c;
    w->conn_count++;
}

int
conn_new(struct worker *worker, const struct conn_io *io)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        close(io->in_fd);
        if (io->out_fd != io->in_fd) {
            close(io->out_fd);
        }
        return ERR_NOMEM;
    }
    c->worker = worker;
    c->io = *io;
    c->id = ++worker->next_conn;
    c->born = now_of(c);
    c->timer_at = UINT64_MAX;
    c->gate = worker->gate;
    gate_hold(c->gate);
    conn_guest_begin(c);
    if (io->peer.len != 0) {
        net_addr_text(&io->peer, c->peer);
    } else {
        memcpy(c->peer, "stdio", sizeof("stdio"));
    }
    int err = make_sender(c);
    if (err == 0) {
        err = make_events(c);
    }
    if (err != 0) {
        close_io(c);
        loop_timer_free(c->timer);
        loop_defer_free(c->again);
        sender_free(c->sender);
        gate_release(c->gate);
        free(c);
        return err;
    }
    if (is_socket(c)) {
        net_tune(c->io.in_fd, SERVER_TCP_TIMEOUT_MS);
    }
    link_conn(c);
    log_opened(c);
    conn_tally_begin(c);
    conn_pump(c);
    return 0;
}
