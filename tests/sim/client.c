#include "tests/sim/client.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/data/cid.h"

/* A step at one moment that does not come to rest is a busy loop. */
#define ACTIONS_MAX 20000u

static void *need(void *p)
{
    BELAY_ASSERT(p != NULL);
    return p;
}

static void trace(struct client *c, uint64_t a, uint64_t b)
{
    c->trace = (c->trace ^ a) * UINT64_C(0x100000001B3);
    c->trace = (c->trace ^ b ^ c->now) * UINT64_C(0x100000001B3);
}

static void say(const struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const struct client *c, const char *format, ...)
{
    va_list args;

    if (!c->verbose) {
        return;
    }
    va_start(args, format);
    printf("%8" PRIu64 "  ", c->now);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

/* ---- life. */

void client_start(struct client *c, uint64_t now)
{
    struct disk *d = c->disk;

    c->now = now;
    c->state = CLIENT_RUNS;
    c->begun = false;
    c->rebased = false;
    c->out_next = 0;
    c->hasher = need(hasher_new());
    c->zpack = need(zpack_new());
    c->config.seed = rng_next(&c->rng);
    c->transfer = need(transfer_new(&c->config, now));
    say(c, "client starts%s", d->recorded ? " from a record" : "");
    if (d->recorded && !c->config.in_order) {
        int err = transfer_resume(c->transfer, &d->identity);

        BELAY_ASSERT(err == 0);
        for (uint64_t i = 0; i < d->marks; i++) {
            if (d->mark[i].there) {
                transfer_hint(c->transfer, i, d->mark[i].digest);
            }
        }
        c->begun = true;
        c->rebased = true; /* as if: marks are written again when hashed */
    }
}

static void piece_free(struct cpiece *p)
{
    if (p != NULL) {
        free(p->data);
        free(p);
    }
}

static void link_close(struct client *c, unsigned conn)
{
    struct clink *l = &c->link[conn];

    piece_free(l->piece);
    memset(l, 0, sizeof *l);
}

void client_kill(struct client *c)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        link_close(c, i);
    }
    while (c->pieces != NULL) {
        struct cpiece *p = c->pieces;

        c->pieces = p->next;
        piece_free(p);
    }
    while (c->locals != NULL) {
        struct local *l = c->locals;

        c->locals = l->next;
        free(l);
    }
    c->local_count = 0;
    transfer_free(c->transfer);
    c->transfer = NULL;
    hasher_free(c->hasher);
    c->hasher = NULL;
    zpack_free(c->zpack);
    c->zpack = NULL;
}

/* ---- connections. */

void client_connected(struct client *c, unsigned conn, struct net *net)
{
    struct clink *l = &c->link[conn];

    BELAY_ASSERT(!l->open);
    memset(l, 0, sizeof *l);
    l->open = true;
    l->net = net;
    transfer_connected(c->transfer, conn, c->now);
}

void client_dial_failed(struct client *c, unsigned conn, const char *text)
{
    transfer_dial_failed(c->transfer, conn, text, c->now);
}

void client_lost(struct client *c, unsigned conn, const char *text)
{
    struct clink *l = &c->link[conn];

    say(c, "conn %u: %s", conn, text);
    BELAY_ASSERT(l->open);
    if (c->state == CLIENT_RUNS) {
        transfer_lost(c->transfer, conn, text, c->now);
    }
    link_close(c, conn);
}

/* ---- chunks. */

static void piece_complete(struct client *c, struct clink *l)
{
    struct cpiece *p = l->piece;

    l->piece = NULL;
    p->due = c->now + rng_below(&c->rng, c->work_ms + 1);
    p->next = c->pieces;
    c->pieces = p;
}

static void take_data(struct client *c, unsigned conn, const uint8_t *data,
                      size_t len)
{
    struct clink *l = &c->link[conn];

    if (l->piece != NULL) {
        if (len > 0) {
            memcpy(l->piece->data + l->piece->got, data, len);
        }
        l->piece->got += (uint32_t)len;
    } else {
        l->discard -= (uint32_t)len;
    }
    transfer_chunk_data(c->transfer, conn, len, c->now);
    if (l->piece != NULL && l->piece->got == l->piece->chunk.stored_len) {
        piece_complete(c, l);
    }
}

static void begin_chunk(struct client *c, const struct transfer_chunk *chunk)
{
    struct clink *l = &c->link[chunk->conn];

    if (chunk->wanted) {
        struct cpiece *p = need(calloc(1, sizeof *p));

        p->chunk = *chunk;
        p->data = need(malloc((size_t)chunk->stored_len + 1));
        l->piece = p;
        if (chunk->stored_len > 0 && rng_percent(&c->rng, c->hold_percent)) {
            l->held = true;
            l->held_until = c->now + rng_below(&c->rng, 60000);
            receiver_pause(transfer_receiver(c->transfer, chunk->conn), true,
                           c->now);
        }
    } else {
        l->discard = chunk->stored_len;
    }
    if (chunk->stored_len == 0) {
        take_data(c, chunk->conn, NULL, 0);
    }
}

static size_t data_left(const struct clink *l)
{
    return l->piece != NULL ? l->piece->chunk.stored_len - l->piece->got
                            : l->discard;
}

static void receive(struct client *c, unsigned conn)
{
    struct clink *l = &c->link[conn];
    uint8_t buf[4096];
    size_t len;
    size_t most;

    while (l->open && !l->held && c->state == CLIENT_RUNS) {
        /* While the head of a chunk may make us stop reading, nothing that
         * follows may be in our hands. */
        most = data_left(l) > 0 ? data_left(l) : 16 + 56;
        len = net_take(l->net, &l->net->down, &c->rng, c->now, buf,
                       most < sizeof buf ? most : sizeof buf);
        if (len == 0) {
            break;
        }
        for (size_t at = 0; at < len && l->open;) {
            struct transfer_chunk chunk;
            size_t left = data_left(l);
            size_t used;

            if (left > 0) {
                used = left < len - at ? left : len - at;
                take_data(c, conn, buf + at, used);
                at += used;
                continue;
            }
            transfer_feed(c->transfer, conn, buf + at, len - at, &used,
                          &chunk, c->now);
            BELAY_ASSERT(used > 0 && used <= len - at);
            at += used;
            if (!transfer_conn_open(c->transfer, conn)) {
                return; /* TRANSFER_DROP is coming */
            }
            if (chunk.present) {
                begin_chunk(c, &chunk);
            }
        }
    }
}

/* Decode and check the bytes as the pipeline does. */
static bool verify(struct client *c, const struct cpiece *p, uint8_t *raw,
                   uint8_t digest[HASH_LEN])
{
    uint32_t len = p->chunk.raw_len;

    if (p->chunk.codec == CODEC_RAW) {
        memcpy(raw, p->data, len);
    } else if (p->chunk.codec == CODEC_ZERO) {
        memset(raw, 0, len);
    } else if (zpack_inflate(c->zpack, p->data, p->chunk.stored_len, raw,
                             len) != 0) {
        return false;
    }
    return hash_sha256(c->hasher, raw, len, digest) == 0 &&
           memcmp(digest, p->chunk.digest, HASH_LEN) == 0;
}

static void piece_finish(struct client *c, struct cpiece *p)
{
    uint8_t *raw = need(calloc(1, (size_t)p->chunk.raw_len + 1));
    uint8_t digest[HASH_LEN];
    bool ok = verify(c, p, raw, digest);

    if (ok) {
        disk_write(c->disk, p->chunk.offset, raw, p->chunk.raw_len);
        if (!c->config.in_order) {
            disk_mark(c->disk, p->chunk.index, digest);
        }
    }
    free(raw);
    trace(c, p->chunk.index, ok);
    if (ok && c->config.in_order) {
        p->waits = true;
        return;
    }
    transfer_chunk_done(c->transfer, p->chunk.conn, p->chunk.index,
                        p->chunk.digest, ok, c->now);
}

static void finish_pieces(struct client *c)
{
    for (struct cpiece **at = &c->pieces; *at != NULL;) {
        struct cpiece *p = *at;

        if (p->waits || p->due > c->now) {
            at = &p->next;
            continue;
        }
        piece_finish(c, p);
        if (!p->waits) {
            *at = p->next;
            piece_free(p);
        }
    }
}

/* Ordered output: release what has its turn. */
static bool release(struct client *c)
{
    for (struct cpiece **at = &c->pieces; *at != NULL; at = &(*at)->next) {
        struct cpiece *p = *at;

        if (p->waits && p->chunk.index == c->out_next) {
            *at = p->next;
            c->out_next++;
            transfer_chunk_done(c->transfer, p->chunk.conn, p->chunk.index,
                                p->chunk.digest, true, c->now);
            piece_free(p);
            return true;
        }
    }
    return false;
}

/* ---- local work. */

static const uint8_t *bytes_of(const struct client *c,
                               const struct transfer_action *a)
{
    return a->donor == TRANSFER_NO_DONOR || c->donor[a->donor] == NULL
               ? c->disk->data
               : c->donor[a->donor];
}

static void hash_chunks(struct client *c, const struct transfer_action *a)
{
    bool own = a->donor == TRANSFER_NO_DONOR;
    uint64_t size = own ? transfer_identity(c->transfer)->size
                        : c->config.donors[a->donor].size;
    bool grid = own && a->chunk_log2 ==
                           transfer_identity(c->transfer)->chunk_log2;
    const uint8_t *data = bytes_of(c, a);

    for (uint64_t i = a->first; i < a->first + a->count; i++) {
        uint8_t digest[HASH_LEN];
        int err = hash_sha256(c->hasher,
                              data + (i << a->chunk_log2),
                              cid_chunk_len(size, a->chunk_log2, i), digest);

        BELAY_ASSERT(err == 0);
        transfer_hashed(c->transfer, i, digest, c->now);
        if (grid && c->rebased && transfer_have(c->transfer, i)) {
            disk_mark(c->disk, i, transfer_digest(c->transfer, i));
        }
    }
}

static void copy_chunk(struct client *c, const struct local *l)
{
    const struct transfer_action *a = &l->action;
    uint32_t len = cid_chunk_len(transfer_identity(c->transfer)->size,
                                 a->chunk_log2, a->first);
    uint8_t *copy = need(malloc((size_t)len + 1));
    uint8_t digest[HASH_LEN];
    const uint8_t *data = bytes_of(c, a);
    bool ok = data != c->disk->data || a->from_offset + len <= c->disk->cap;

    if (ok) {
        memcpy(copy, data + a->from_offset, len);
        ok = hash_sha256(c->hasher, copy, len, digest) == 0 &&
             memcmp(digest, l->digest, HASH_LEN) == 0;
    }
    if (ok) {
        disk_write(c->disk, a->first << a->chunk_log2, copy, len);
        disk_mark(c->disk, a->first, digest);
    }
    free(copy);
    transfer_copied(c->transfer, ok, c->now);
}

static void finish_locals(struct client *c)
{
    for (struct local **at = &c->locals; *at != NULL;) {
        struct local *l = *at;

        if (l->due > c->now) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        c->local_count--;
        if (l->action.type == TRANSFER_COPY) {
            copy_chunk(c, l);
        } else {
            hash_chunks(c, &l->action);
        }
        free(l);
    }
}

static void local_add(struct client *c, const struct transfer_action *a)
{
    struct local *l = need(calloc(1, sizeof *l));

    BELAY_ASSERT(c->local_count < TRANSFER_HASHES_MAX + 1);
    l->action = *a;
    if (a->type == TRANSFER_COPY) {
        memcpy(l->digest, a->digest, HASH_LEN);
    }
    l->due = c->now + rng_below(&c->rng, c->work_ms + 1);
    l->next = c->locals;
    c->locals = l;
    c->local_count++;
}

/* ---- what the transfer says. */

static void on_record(struct client *c, bool rebase)
{
    /* Nothing of the old version may be written behind this. */
    if (rebase) {
        BELAY_ASSERT(c->pieces == NULL && c->locals == NULL);
    }
    c->out_next = 0;
    disk_record(c->disk, transfer_identity(c->transfer));
    c->begun = true;
    c->rebased |= rebase;
    for (uint64_t i = 0; rebase && i < transfer_chunks(c->transfer); i++) {
        if (transfer_have(c->transfer, i)) {
            disk_mark(c->disk, i, transfer_digest(c->transfer, i));
        }
    }
}

static void act(struct client *c, const struct transfer_action *a)
{
    static const char *const names[] = {
        "idle", "dial", "drop", "begin", "rebase", "identity", "hash", "copy",
        "compared", "finish", "fail", "note"};

    say(c, "%s conn %u first %" PRIu64 " count %" PRIu64 "%s%s",
        names[a->type], a->conn, a->first, a->count,
        a->type == TRANSFER_NOTE || a->type == TRANSFER_FAIL ? ": " : "",
        a->type == TRANSFER_NOTE && a->note != TRANSFER_NOTE_LOST
            ? (const char *[]){"changed", "reused", "shrunk", "bad chunk",
                               "lost", "wait", "back", "hints bad",
                               "recheck", "server", "donor", "no list",
                               "aside", "slow"}[a->note]
        : a->type == TRANSFER_NOTE || a->type == TRANSFER_FAIL
            ? transfer_detail(c->transfer)
            : "");
    trace(c, a->type, a->first << 32 | a->count << 8 | a->conn);
    switch (a->type) {
    case TRANSFER_DIAL:
        c->dial(c->arg, a->conn);
        break;
    case TRANSFER_DROP:
        if (c->link[a->conn].open) {
            link_close(c, a->conn);
        }
        c->closed(c->arg, a->conn);
        break;
    case TRANSFER_BEGIN:
        on_record(c, false);
        break;
    case TRANSFER_REBASE:
        on_record(c, true);
        break;
    case TRANSFER_IDENTITY:
        BELAY_ASSERT(c->begun);
        /* A record of another grid is not written over: REBASE is for that. */
        BELAY_ASSERT(c->disk->identity.size ==
                         transfer_identity(c->transfer)->size &&
                     c->disk->identity.chunk_log2 ==
                         transfer_identity(c->transfer)->chunk_log2);
        c->disk->identity = *transfer_identity(c->transfer);
        break;
    case TRANSFER_HASH:
    case TRANSFER_COPY:
        BELAY_ASSERT(c->begun);
        local_add(c, a);
        break;
    case TRANSFER_FINISH:
        BELAY_ASSERT(c->pieces == NULL && c->locals == NULL);
        c->state = CLIENT_DONE;
        break;
    case TRANSFER_FAIL:
        c->state = CLIENT_FAILED;
        c->reason = a->reason;
        break;
    case TRANSFER_NOTE:
    case TRANSFER_COMPARED:
    case TRANSFER_IDLE:
        break;
    }
}

static void pump(struct client *c)
{
    struct transfer_action action;
    unsigned count = 0;

    while (c->state == CLIENT_RUNS &&
           transfer_next(c->transfer, c->now, &action) != TRANSFER_IDLE) {
        act(c, &action);
        c->steps++;
        BELAY_ASSERT(++count < ACTIONS_MAX);
    }
}

static void send_all(struct client *c)
{
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        struct clink *l = &c->link[i];
        struct receiver *r;
        const uint8_t *data;
        size_t len;

        if (!l->open) {
            continue;
        }
        r = transfer_receiver(c->transfer, i);
        len = receiver_out(r, &data);
        if (len > 0) {
            net_send(l->net, &l->net->up, &c->rng, c->now, data, len);
            receiver_sent(r, len, c->now);
        }
    }
}

static void resume_held(struct client *c, unsigned i)
{
    struct clink *l = &c->link[i];

    if (l->open && l->held && l->held_until <= c->now) {
        l->held = false;
        receiver_pause(transfer_receiver(c->transfer, i), false, c->now);
    }
}

void client_run(struct client *c, uint64_t now)
{
    c->now = now;
    if (c->state != CLIENT_RUNS) {
        return;
    }
    finish_pieces(c);
    while (c->state == CLIENT_RUNS && release(c)) {
    }
    finish_locals(c);
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        resume_held(c, i);
        receive(c, i);
        pump(c);
        if (c->state != CLIENT_RUNS) {
            return;
        }
    }
    if (now >= transfer_deadline(c->transfer)) {
        transfer_tick(c->transfer, now);
        c->steps++;
    }
    pump(c);
    if (c->state == CLIENT_RUNS) {
        send_all(c);
    }
}

uint64_t client_deadline(const struct client *c)
{
    uint64_t at;

    if (c->state != CLIENT_RUNS) {
        return NET_NEVER;
    }
    at = transfer_deadline(c->transfer);
    for (const struct cpiece *p = c->pieces; p != NULL; p = p->next) {
        if (!p->waits && p->due < at) {
            at = p->due;
        }
    }
    for (const struct local *l = c->locals; l != NULL; l = l->next) {
        if (l->due < at) {
            at = l->due;
        }
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        const struct clink *l = &c->link[i];

        if (!l->open) {
            continue;
        }
        if (l->held && l->held_until < at) {
            at = l->held_until;
        }
        if (!l->held && net_due(l->net, &l->net->down) < at) {
            at = net_due(l->net, &l->net->down);
        }
    }
    return at;
}
