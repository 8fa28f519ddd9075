/* A connection's bytes: which transport it turns out to be, and TLS. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/io/tls.h"
#include "proto/wire/preface.h"
#include "server/conn_internal.h"
#include "server/limits.h"

void
conn_describe(const struct conn *conn, struct gate_who *who)
{
    gate_describe(sender_identity(conn->sender), conn->tls, who);
}

/* ---- The beginning. */

void
conn_wire_begin(struct conn *c)
{
    bool tls = gate_tls(c->gate) != NULL && c->io.in_fd == c->io.out_fd &&
               !c->io.secure;

    c->wire = tls ? CONN_UNDECIDED : CONN_OPEN;
}

/* Rules W1 and W1a: the first byte tells, or what came with it. All stays
 * where it is. */
static void
decide(struct conn *c)
{
    const struct settings *settings = c->worker->server->settings;
    uint8_t first[PREFACE_LEN];
    ssize_t n = recv(c->io.in_fd, first, sizeof(first), MSG_PEEK);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        conn_end(c, n == 0 ? "eof" : "reset");
    } else if (first[0] == TLS_FIRST_BYTE) {
        int err = tls_new(gate_tls(c->gate), c->io.in_fd, NULL, &c->tls);
        if (err != 0) {
            conn_end(c, "memory");
        } else {
            c->wire = CONN_SHAKING;
        }
    } else if (preface_possible(first, (size_t)n)) {
        c->wire = CONN_OPEN;
        if (!settings->plain) {
            sender_refuse(c->sender, WIRE_INSECURE, "not-tls");
        }
    } else {
        conn_end(c, "not-tls");
    }
}

static void
log_tls(struct conn *c, enum log_level level, const char *event,
        const char *problem)
{
    struct worker *w = c->worker;
    struct log_line line;

    log_begin(&line, w->log, level, event);
    log_num(&line, "worker", w->index);
    log_num(&line, "conn", c->id);
    log_word(&line, "peer", c->peer);
    if (problem != NULL) {
        log_text(&line, "problem", problem);
    } else {
        const char *name = tls_client_name(c->tls);
        log_text(&line, "cipher", tls_cipher(c->tls));
        log_word(&line, "encrypts",
                 tls_sends_files(c->tls) ? "kernel" : "process");
        if (name[0] != '\0') {
            log_text(&line, "client", name);
        }
    }
    log_end(&line);
}

/* Who does the encryption is told for the first connection, because it is
 * the same for the others. */
static void
on_shaken(struct conn *c)
{
    struct worker *w = c->worker;
    uint8_t key[HASH_LEN];

    c->wire = CONN_OPEN;
    metrics_add(w->count, METRICS_HANDSHAKES, 1);
    c->io.secure = true;
    sender_set_transport(c->sender, true, tls_peer_pin(c->tls, key));
    if (!w->tls_told || w->server->settings->verbose) {
        w->tls_told = true;
        log_tls(c, LOG_LEVEL_INFO, "tls", NULL);
    }
}

/* The alert that says why is with the kernel; the peer gets time to read
 * it. */
static void
on_refused(struct conn *c)
{
    log_tls(c, LOG_LEVEL_WARN, "tls-failed", tls_problem(c->tls));
    conn_linger(c, "tls-failed");
}

static void
shake(struct conn *c)
{
    int err = tls_handshake(c->tls);

    switch (err) {
    case 0:
        on_shaken(c);
        break;
    case ERR_AGAIN:
        c->blocked = tls_wants(c->tls) == TLS_WANT_WRITE;
        break;
    case ERR_TLS:
        on_refused(c);
        break;
    default:
        conn_end(c, err == ERR_EOF ? "eof" : "reset");
        break;
    }
}

void
conn_wire_step(struct conn *c)
{
    if (c->wire == CONN_UNDECIDED) {
        decide(c);
    }
    if (c->wire == CONN_SHAKING && !c->dead && !c->lingering) {
        shake(c);
    }
}

/* ---- Bytes. */

/* What err means in the terms of read() and write(). */
static ssize_t
as_errno(struct conn *c, int err)
{
    switch (err) {
    case ERR_AGAIN:
        errno = EAGAIN;
        return -1;
    case ERR_EOF:
        return 0;
    case ERR_TLS:
        log_tls(c, LOG_LEVEL_WARN, "tls-failed", tls_problem(c->tls));
        break;
    default:
        break;
    }
    errno = ECONNRESET;
    return -1;
}

ssize_t
conn_wire_read(struct conn *c, uint8_t *buf, size_t len)
{
    size_t got = 0;

    if (c->tls == NULL || c->lingering) {
        return read(c->io.in_fd, buf, len);
    }
    int err = tls_read(c->tls, buf, len, &got);
    if (err == ERR_AGAIN && tls_wants(c->tls) == TLS_WANT_WRITE) {
        c->blocked = true; /* an answer of TLS itself waits */
    }
    return err == 0 ? (ssize_t)got : as_errno(c, err);
}

static ssize_t
write_tls(struct conn *c, const void *buf, size_t len)
{
    size_t sent = 0;
    int err = tls_write(c->tls, buf, len, &sent);

    if (err == ERR_EOF) {
        err = ERR_RESET; /* 0 would be the end of a file */
    }
    return err == 0 ? (ssize_t)sent : as_errno(c, err);
}

/* Rule G5 before each reading, as for sendfile. The pages are in memory:
 * whoever made the piece ready has seen to it. */
static ssize_t
stage_file(struct conn *c, uint8_t *to, size_t cap)
{
    const struct piece *p = &c->sending->piece;
    size_t left = p->stored_len - c->sending_off;
    size_t len = left < cap ? left : cap;
    bool unlinked = false;

    if (source_check(p->source, &unlinked) != 0) {
        conn_end(c, "changed-during");
        return -1;
    }
    int err = prepare_read(p->source->fd, to, len,
                           p->offset + c->sending_off);
    if (err != 0) {
        conn_end(c, err == ERR_CHANGED ? "file-shrank" : "io-error");
        return -1;
    }
    return (ssize_t)len;
}

/* Frames and the beginning of the data go into one buffer, so that a short
 * head makes no record of its own. What follows an ERR_AGAIN begins with the
 * same bytes: nothing is taken off before it was sent, and source_check()
 * sees to the file. */
static ssize_t
write_staged(struct conn *c, const uint8_t *frames, size_t len)
{
    uint8_t *stage = c->worker->stage;
    size_t n = len < WORKER_STAGE_BYTES ? len : WORKER_STAGE_BYTES;

    if (n > 0) {
        memcpy(stage, frames, n);
    }
    if (c->sending != NULL && n < WORKER_STAGE_BYTES) {
        const struct piece *p = &c->sending->piece;
        size_t room = WORKER_STAGE_BYTES - n;
        if (p->data != NULL) {
            size_t left = p->stored_len - c->sending_off;
            size_t more = left < room ? left : room;
            memcpy(stage + n, p->data + c->sending_off, more);
            n += more;
        } else if (p->stored_len > 0) {
            ssize_t more = stage_file(c, stage + n, room);
            if (more < 0) {
                return -1;
            }
            n += (size_t)more;
        }
    }
    return write_tls(c, stage, n);
}

/* By the kernel, which encrypts: no copy at all. */
static ssize_t
send_file(struct conn *c)
{
    const struct piece *p = &c->sending->piece;
    bool unlinked = false;
    size_t sent = 0;

    if (source_check(p->source, &unlinked) != 0) {
        conn_end(c, "changed-during");
        return -1;
    }
    int err = tls_sendfile(c->tls, p->source->fd, p->offset + c->sending_off,
                           p->stored_len - c->sending_off, &sent);
    if (err == 0 && sent == 0) {
        conn_end(c, "file-shrank");
        return -1;
    }
    return err == 0 ? (ssize_t)sent
                    : as_errno(c, err == ERR_EOF ? ERR_RESET : err);
}

ssize_t
conn_tls_send(struct conn *c, const uint8_t *frames, size_t len)
{
    const struct piece *p = c->sending != NULL ? &c->sending->piece : NULL;

    BELAY_ASSERT(p != NULL || len > 0);
    if (p != NULL && tls_sends_files(c->tls) && p->data == NULL) {
        return len > 0 ? write_tls(c, frames, len) : send_file(c);
    }
    if (len == 0 && p->data != NULL) {
        return write_tls(c, p->data + c->sending_off,
                         p->stored_len - c->sending_off);
    }
    return write_staged(c, frames, len);
}
