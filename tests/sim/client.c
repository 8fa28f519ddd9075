#include "tests/sim/client.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/session/transfer_record.h"

/* A step at one moment that does not come to rest is a busy loop. */
#define ACTIONS_MAX 20000u
#define HINTS_AT_ONCE 64u
/* As in client/fetch_store.c, but for small files. */
#define SYNC_BYTES ((uint64_t)256 << 10)
#define SYNC_MS 10000u

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

/* It asks what there is, or compares: nothing is written. */
static bool only_looks(const struct client *c)
{
    return c->config.probe || c->config.compare_only;
}

/* ---- the record. */

/* A call of the store ended so; false: the run is over. */
static bool stored(struct client *c, int rc, const struct store_error *why)
{
    if (rc == 0) {
        return true;
    }
    /* These would be faults of the program. */
    BELAY_ASSERT(rc != ERR_STATE && rc != ERR_RANGE && rc != ERR_LOCKED &&
                 rc != ERR_NOMEM);
    say(c, "cannot %s: %s", why->operation, err_sentence(rc));
    c->state = CLIENT_FAILED;
    c->store_error = rc;
    return false;
}

static void resume(struct client *c)
{
    const struct journal_identity *j = store_identity(c->store);
    struct transfer_identity id;
    struct store_hint hints[HINTS_AT_ONCE];
    struct store_error why;
    enum store_reread reread;
    uint64_t next = 0;

    if (!stored(c, store_resume_prepare(c->store, &reread, &why), &why)) {
        return;
    }
    transfer_recorded(j, &id);
    if (transfer_resume(c->transfer, &id) != 0) {
        return; /* begin afresh instead */
    }
    c->begun = true;
    while (next < journal_chunks(j)) {
        size_t count = HINTS_AT_ONCE;

        if (!stored(c, store_hints(c->store, &next, hints, &count, &why),
                    &why)) {
            return;
        }
        for (size_t k = 0; k < count; k++) {
            transfer_hint(c->transfer, hints[k].index, hints[k].digest);
        }
    }
}

static void open_store(struct client *c)
{
    struct store_opts opts = {.dir_path = ".",
                              .name = DISK_TARGET,
                              .policy = STORE_REPLACE,
                              .sys = &disk_sys};
    struct store_report report;
    struct store_error why;
    unsigned warnings;
    int rc = c->in_place
                 ? store_open_in_place(&opts, &c->store, &report, &why)
                 : store_open(&opts, &c->store, &report, &why);

    if (!stored(c, rc, &why)) {
        return;
    }
    say(c, "found %d", (int)report.found);
    if (report.found == STORE_FOUND_DONE) {
        if (stored(c, store_settle(c->store, &warnings, &why), &why)) {
            c->state = CLIENT_DONE;
            c->settled = true;
        }
    } else if (report.found == STORE_FOUND_PARTIAL) {
        resume(c);
    }
}

static void remark(struct client *c, uint64_t first, uint64_t count)
{
    struct store_error why;

    for (uint64_t i = first; i < first + count; i++) {
        if (transfer_have(c->transfer, i) &&
            !stored(c,
                    store_mark(c->store, i, 1,
                               (const uint8_t (*)[HASH_LEN])transfer_digest(
                                   c->transfer, i),
                               &why),
                    &why)) {
            return;
        }
    }
}

static void sync_now_and_then(struct client *c)
{
    struct store_error why;

    if (c->store == NULL || !c->begun || c->unsynced == 0 ||
        (c->unsynced < SYNC_BYTES && c->now < c->synced_at + SYNC_MS)) {
        return;
    }
    c->unsynced = 0;
    c->synced_at = c->now;
    (void)stored(c, store_sync(c->store, &why), &why);
}

/* ---- life. */

void client_start(struct client *c, uint64_t now)
{
    const struct pages *target;

    disk_use(c->disk);
    target = disk_look(c->disk, DISK_TARGET);
    c->now = now;
    c->state = CLIENT_RUNS;
    c->reason = TRANSFER_OK;
    c->store_error = 0;
    c->settled = false;
    c->contact = false;
    c->begun = false;
    c->rebased = false;
    c->out_next = 0;
    c->unsynced = 0;
    c->synced_at = now;
    pages_clear(&c->out);
    if (c->in_place) {
        c->config.donors[0].size = target->len;
    }
    c->config.seed = rng_next(&c->rng);
    c->transfer = need(transfer_new(&c->config, now));
    say(c, "client starts");
    if (!c->config.in_order && !only_looks(c)) {
        open_store(c);
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
    c->disk->dead = true;
    client_end(c);
    disk_kill(c->disk);
}

void client_end(struct client *c)
{
    (void)store_close(c->store, NULL);
    c->store = NULL;
    pages_clear(&c->out);
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

    while (l->open && !l->held && c->state == CLIENT_RUNS &&
           transfer_conn_open(c->transfer, conn)) {
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
            c->contact |= receiver_ready(transfer_receiver(c->transfer,
                                                           conn));
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

/* As the pipeline: zeros may become a hole. */
static int put_chunk(struct client *c, const struct cpiece *p, uint8_t *raw,
                     struct store_error *why)
{
    struct iovec iov = {raw, p->chunk.raw_len};

    return p->chunk.codec == CODEC_ZERO
               ? store_zero(c->store, p->chunk.offset, p->chunk.raw_len, why)
               : store_pwrite(c->store, p->chunk.offset, &iov, 1, why);
}

static bool keep(struct client *c, const struct cpiece *p, uint8_t *raw,
                 const uint8_t digest[HASH_LEN])
{
    struct store_error why;

    if (c->config.in_order) {
        pages_write(&c->out, p->chunk.offset, raw, p->chunk.raw_len);
        return true;
    }
    c->unsynced += p->chunk.raw_len;
    return stored(c, put_chunk(c, p, raw, &why), &why) &&
           stored(c,
                  store_mark(c->store, p->chunk.index, 1,
                             (const uint8_t (*)[HASH_LEN])digest, &why),
                  &why);
}

static void piece_finish(struct client *c, struct cpiece *p)
{
    uint8_t *raw = need(malloc((size_t)p->chunk.raw_len + 1));
    uint8_t digest[HASH_LEN];
    bool ok = verify(c, p, raw, digest);
    bool kept = !ok || keep(c, p, raw, digest);

    free(raw);
    trace(c, p->chunk.index, ok);
    if (!kept) {
        return;
    }
    if (ok && c->config.in_order) {
        p->waits = true;
        return;
    }
    transfer_chunk_done(c->transfer, p->chunk.conn, p->chunk.index,
                        p->chunk.digest, ok, c->now);
}

static void finish_pieces(struct client *c)
{
    for (struct cpiece **at = &c->pieces;
         *at != NULL && c->state == CLIENT_RUNS;) {
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

static bool local_read(struct client *c, unsigned donor, uint64_t at,
                       uint8_t *out, uint32_t len)
{
    struct store_error why;

    if (donor != TRANSFER_NO_DONOR && c->donor[donor] != NULL) {
        memcpy(out, c->donor[donor] + at, len);
        return true;
    }
    /* Ordered output is gone: nobody can hash it again. */
    BELAY_ASSERT(!c->config.in_order);
    return store_pread(c->store, at, out, len, &why) == 0;
}

static void hash_chunks(struct client *c, const struct transfer_action *a)
{
    bool own = a->donor == TRANSFER_NO_DONOR;
    uint64_t size = own ? transfer_identity(c->transfer)->size
                        : c->config.donors[a->donor].size;
    bool grid = own && a->chunk_log2 ==
                           transfer_identity(c->transfer)->chunk_log2;
    uint8_t *data = need(malloc(((size_t)1 << a->chunk_log2) + 1));

    for (uint64_t i = a->first; i < a->first + a->count; i++) {
        uint32_t len = cid_chunk_len(size, a->chunk_log2, i);
        uint8_t digest[HASH_LEN];
        bool ok = local_read(c, a->donor, i << a->chunk_log2, data, len) &&
                  hash_sha256(c->hasher, data, len, digest) == 0;

        transfer_hashed(c->transfer, i, ok ? digest : NULL, c->now);
    }
    free(data);
    if (grid && c->rebased && c->store != NULL) {
        remark(c, a->first, a->count);
    }
}

static void copy_chunk(struct client *c, const struct local *l)
{
    const struct transfer_action *a = &l->action;
    uint32_t len = cid_chunk_len(transfer_identity(c->transfer)->size,
                                 a->chunk_log2, a->first);
    uint8_t *copy = need(malloc((size_t)len + 1));
    uint8_t digest[HASH_LEN];
    struct iovec iov = {copy, len};
    struct store_error why = {0};
    bool ok = local_read(c, a->donor, a->from_offset, copy, len) &&
              hash_sha256(c->hasher, copy, len, digest) == 0 &&
              memcmp(digest, l->digest, HASH_LEN) == 0 &&
              store_pwrite(c->store, a->first << a->chunk_log2, &iov, 1,
                           &why) == 0 &&
              store_mark(c->store, a->first, 1,
                         (const uint8_t (*)[HASH_LEN])digest, &why) == 0;

    free(copy);
    c->unsynced += len;
    if (why.code == ERR_NO_SPACE) {
        (void)stored(c, why.code, &why);
    }
    transfer_copied(c->transfer, ok, c->now);
}

static void finish_locals(struct client *c)
{
    for (struct local **at = &c->locals;
         *at != NULL && c->state == CLIENT_RUNS;) {
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
    struct journal_identity j;
    struct store_error why;

    /* Nothing of the old version may be written behind this. */
    if (rebase) {
        BELAY_ASSERT(c->pieces == NULL && c->locals == NULL);
    }
    c->out_next = 0;
    pages_clear(&c->out);
    if (c->config.in_order || only_looks(c)) {
        c->begun = true;
        c->state = c->config.probe ? CLIENT_DONE : c->state;
        return;
    }
    transfer_record(transfer_identity(c->transfer), &j);
    if (!journal_identity_valid(&j)) {
        c->state = CLIENT_FAILED;
        c->reason = TRANSFER_REFUSED;
        return;
    }
    if (!stored(c,
                rebase ? store_rebase(c->store, &j, &why)
                       : store_begin(c->store, &j, &why),
                &why)) {
        return;
    }
    c->begun = true;
    c->rebased |= rebase;
    if (rebase) {
        remark(c, 0, transfer_chunks(c->transfer));
    }
}

static void on_identity(struct client *c)
{
    struct journal_identity j;
    struct store_error why;

    BELAY_ASSERT(c->begun);
    if (c->store != NULL) {
        transfer_record(transfer_identity(c->transfer), &j);
        (void)stored(c, store_update_identity(c->store, &j, &why), &why);
    }
}

static void on_finish(struct client *c)
{
    const struct transfer_identity *id = transfer_identity(c->transfer);
    struct store_attrs attrs = {.mode = id->mode,
                                .mtime_known = true,
                                .mtime_s = id->mtime_s,
                                .mtime_ns = id->mtime_ns};
    struct store_error why;
    unsigned warnings;

    BELAY_ASSERT(c->pieces == NULL && c->locals == NULL && !only_looks(c));
    if (c->store == NULL ||
        stored(c, store_finish(c->store, &attrs, &warnings, &why), &why)) {
        c->state = CLIENT_DONE;
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
        on_identity(c);
        break;
    case TRANSFER_HASH:
    case TRANSFER_COPY:
        BELAY_ASSERT(c->begun);
        local_add(c, a);
        break;
    case TRANSFER_FINISH:
        on_finish(c);
        break;
    case TRANSFER_FAIL:
        c->state = CLIENT_FAILED;
        c->reason = a->reason;
        break;
    case TRANSFER_COMPARED:
        BELAY_ASSERT(c->config.compare_only && c->begun);
        c->state = CLIENT_DONE;
        break;
    case TRANSFER_NOTE:
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
    sync_now_and_then(c);
    finish_pieces(c);
    while (c->state == CLIENT_RUNS && release(c)) {
    }
    finish_locals(c);
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        resume_held(c, i);
        if (c->link[i].open && c->link[i].impostor) {
            transfer_distrust(c->transfer, i, "another key", now);
        } else {
            receive(c, i);
        }
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
