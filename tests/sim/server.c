#include "tests/sim/server.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/endian.h"
#include "proto/data/cid.h"

/* Bytes between the sender and the network: what a socket would hold. */
#define SOCKET_BYTES 60000u

static void *need(void *p)
{
    BELAY_ASSERT(p != NULL);
    return p;
}

void sconn_open(struct sconn *c, struct server *server, struct net *net,
                uint64_t now)
{
    memset(c, 0, sizeof *c);
    c->server = server;
    c->net = net;
    c->config.max_chunk_log2 = server->max_chunk_log2;
    c->config.max_requests = 64;
    c->config.idle_timeout_s = server->idle_timeout_s;
    c->config.requests_total_max = server->requests_total;
    c->config.compression = true;
    c->config.grease = !server->worked;
    c->config.grease_seed = rng_next(&server->rng);
    c->config.agent = "belayd/1";
    c->sender = need(sender_new(&c->config, now));
}

void sconn_free(struct sconn *c)
{
    sender_free(c->sender);
    while (c->work != NULL) {
        struct work *w = c->work;

        c->work = w->next;
        free(w);
    }
    while (c->pieces != NULL) {
        struct piece *p = c->pieces;

        c->pieces = p->next;
        free(p->data);
        free(p);
    }
    while (c->files != NULL) {
        struct file *f = c->files;

        c->files = f->next;
        free(f);
    }
    memset(c, 0, sizeof *c);
}

/* ---- resources. */

static void piece_drop(struct sconn *c, struct piece *piece)
{
    struct piece **at = &c->pieces;

    while (*at != piece) {
        BELAY_ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = piece->next;
    free(piece->data);
    free(piece);
}

static void file_close(struct sconn *c, struct file *file)
{
    struct file **at = &c->files;

    while (*at != file) {
        BELAY_ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = file->next;
    free(file);
}

static bool file_changed(const struct sconn *c, const struct file *f,
                         uint64_t now)
{
    struct source_stat st = source_fstat(c->server->source, f->inode, now);

    return !source_same(&st, &f->of);
}

/* ---- jobs. */

static void read_chunk(const struct file *file, uint64_t index, uint32_t len,
                       struct piece *piece)
{
    const struct content *content = file->inode->content;
    uint64_t at = index << file->chunk_log2;

    piece->data = need(malloc(len + 1));
    piece->len = len;
    /* If it is shorter now the rest reads as zeros. */
    pages_read(&content->data, at, piece->data, len);
}

/* The digest of a chunk of an unchanged strong version, remembered. */
static const uint8_t *hash_one(struct sconn *c, const struct file *file,
                               uint64_t i)
{
    struct server *server = c->server;
    struct memo *m =
        source_memo(server->source, &file->of, file->chunk_log2);

    if (!m->has[i]) {
        struct piece p = {0};
        uint8_t digest[HASH_LEN];
        int err;

        read_chunk(file, i,
                   cid_chunk_len(file->of.size, file->chunk_log2, i), &p);
        err = hash_sha256(server->hasher, p.data, p.len, digest);
        BELAY_ASSERT(err == 0);
        server->bytes_hashed += p.len;
        free(p.data);
        memo_learn(server->source, m, i, digest);
    }
    return m->digest[i];
}

static void tell_cid(struct sconn *c, const struct file *file, uint64_t now,
                     struct sender_result *r)
{
    struct server *server = c->server;
    struct memo *m =
        source_memo(server->source, &file->of, file->chunk_log2);

    if (m->count == 0) {
        memo_learn(server->source, m, 0, NULL);
    }
    if (server->eager &&
        source_fstat(server->source, file->inode, now).strong) {
        for (uint64_t i = 0; i < m->count; i++) {
            (void)hash_one(c, file, i);
        }
    }
    if (m->cid_known && now >= server->cid_after) {
        r->cid_known = true;
        memcpy(r->cid, m->cid, HASH_LEN);
    }
}

static void do_open(struct sconn *c, const struct sender_job_open *job,
                    uint64_t now, struct sender_result *r)
{
    struct server *server = c->server;
    struct source *source = server->source;
    struct sender_file *f = &r->open;
    struct file *file;

    if (rng_percent(&server->rng, server->faults.busy)) {
        r->code = WIRE_BUSY;
        r->retry_after_ms = (uint32_t)rng_below(&server->rng, 900);
        return;
    }
    if (source->path == NULL) {
        r->code = WIRE_NOT_FOUND;
        return;
    }
    file = need(calloc(1, sizeof *file));
    file->inode = source->path;
    file->of = source_fstat(source, file->inode, now);
    file->chunk_log2 = job->chunk_log2 != 0 ? job->chunk_log2
                                            : server->chunk_log2;
    file->next = c->files;
    c->files = file;
    f->file = file;
    f->file_type = FILE_REGULAR;
    f->chunk_log2 = file->chunk_log2;
    f->strong = file->of.strong;
    f->size = file->of.size;
    f->version_len = 16;
    endian_store_u64(f->version, file->of.inode);
    endian_store_u64(f->version + 8,
                     file->of.tick << 32 | (uint32_t)file->of.size);
    if (server->worked) {
        f->version_len = WORKED_VERSION_LEN;
        memcpy(f->version, WORKED_VERSION, WORKED_VERSION_LEN);
    }
    f->mtime_s = (int64_t)(file->inode->changed_at / 1000);
    f->mode = 0644;
    tell_cid(c, file, now, r);
}

static void encode(struct sconn *c, const struct sender_job_chunk *job,
                   struct piece *piece, struct sender_result *r)
{
    struct server *server = c->server;
    struct zpack_out out = {.cap = piece->len};

    r->codec = CODEC_RAW;
    r->stored_len = piece->len;
    if (job->zero && zpack_is_zero(piece->data, piece->len)) {
        r->codec = CODEC_ZERO;
        r->stored_len = 0;
        return;
    }
    if (!job->zlib) {
        return;
    }
    /* A probe first, as belayd does, would take as long with chunks as small
     * as these. */
    out.bytes = need(malloc(piece->len + 1));
    if (zpack_deflate(server->zpack, 1, piece->data, piece->len, &out) == 0) {
        memcpy(piece->data, out.bytes, out.len);
        r->codec = CODEC_ZLIB;
        r->stored_len = (uint32_t)out.len;
    }
    free(out.bytes);
}

static void do_chunk(struct sconn *c, const struct work *w, uint64_t now,
                     struct sender_result *r)
{
    struct server *server = c->server;
    struct file *file = w->job.file;
    const struct sender_job_chunk *job = &w->job.chunk;
    struct piece *piece;
    struct memo *m;
    int err;

    if (w->changed) {
        r->code = WIRE_CHANGED_DURING;
        return;
    }
    if (rng_percent(&server->rng, server->faults.io_error)) {
        r->code = WIRE_IO_ERROR;
        r->has_offset = true;
        r->offset = job->index << file->chunk_log2;
        return;
    }
    if (rng_percent(&server->rng, server->faults.race)) {
        source_sly_change(server->source, file->inode, now);
    }
    piece = need(calloc(1, sizeof *piece));
    piece->next = c->pieces;
    c->pieces = piece;
    read_chunk(file, job->index, job->raw_len, piece);
    err = hash_sha256(server->hasher, piece->data, piece->len, r->digest);
    BELAY_ASSERT(err == 0);
    server->bytes_hashed += piece->len;
    m = source_memo(server->source, &file->of, file->chunk_log2);
    if (m->has[job->index]) {
        if (memcmp(m->digest[job->index], r->digest, HASH_LEN) != 0) {
            piece_drop(c, piece); /* rule G5b */
            r->code = WIRE_CHANGED_DURING;
            return;
        }
    } else if (source_fstat(server->source, file->inode, now).strong &&
               !file_changed(c, file, now)) {
        memo_learn(server->source, m, job->index, r->digest);
    }
    if (server->manner != SERVER_HONEST && piece->len > 0) {
        piece->data[rng_below(&server->rng, piece->len)] ^= 0x20;
    }
    if (server->manner == SERVER_FORGES) {
        err = hash_sha256(server->hasher, piece->data, piece->len,
                          r->digest);
        BELAY_ASSERT(err == 0);
    }
    r->piece = piece;
    encode(c, job, piece, r);
}

static void do_check(struct sconn *c, const struct work *w, uint64_t now,
                     struct sender_result *r)
{
    struct file *file = w->job.file;

    if (file_changed(c, file, now)) {
        r->code = WIRE_CHANGED_DURING;
        return;
    }
    tell_cid(c, file, now, r);
}

/* The digests of a version that may still change, which are not remembered. */
static void hash_hastily(struct sconn *c, const struct file *file,
                         const struct sender_job_digest *job)
{
    for (uint64_t i = job->first; i < job->first + job->count; i++) {
        struct piece p = {0};
        int err;

        read_chunk(file, i,
                   cid_chunk_len(file->of.size, file->chunk_log2, i), &p);
        err = hash_sha256(c->server->hasher, p.data, p.len,
                          job->out + (i - job->first) * HASH_LEN);
        BELAY_ASSERT(err == 0);
        c->server->bytes_hashed += p.len;
        free(p.data);
    }
}

/* All digests of the span are hashed at this moment, in the racy window not
 * before it is over (rule D12), unless this is a server that does not wait:
 * false to come again. */
static bool do_digest(struct sconn *c, struct work *w, uint64_t now,
                      struct sender_result *r)
{
    struct server *server = c->server;
    struct file *file = w->job.file;
    const struct sender_job_digest *job = &w->job.digest;

    if (file_changed(c, file, now)) {
        r->code = WIRE_CHANGED_DURING;
        return true;
    }
    if (rng_percent(&server->rng, server->faults.pending)) {
        r->code = WIRE_DIGEST_PENDING;
        return true;
    }
    if (!source_fstat(server->source, file->inode, now).strong) {
        if (server->hasty) {
            hash_hastily(c, file, job);
            return true;
        }
        w->due = file->inode->changed_at + server->source->racy_ms;
        return false;
    }
    for (uint64_t i = job->first; i < job->first + job->count; i++) {
        memcpy(job->out + (i - job->first) * HASH_LEN, hash_one(c, file, i),
               HASH_LEN);
    }
    return true;
}

/* False: it is not done yet. */
static bool finish(struct sconn *c, struct work *w, uint64_t now)
{
    struct sender_result r = {0};
    bool stop = rng_percent(&c->server->rng, c->server->faults.goaway);

    switch (w->job.type) {
    case SENDER_JOB_OPEN:
        do_open(c, &w->job.open, now, &r);
        break;
    case SENDER_JOB_CHUNK:
        do_chunk(c, w, now, &r);
        break;
    case SENDER_JOB_CHECK:
        do_check(c, w, now, &r);
        break;
    case SENDER_JOB_DIGEST:
        if (!do_digest(c, w, now, &r)) {
            return false;
        }
        break;
    default:
        BELAY_UNREACHABLE();
    }
    sender_job_done(c->sender, now, w->job.id, &r);
    if (stop) {
        sender_goaway(c->sender, now);
    }
    return true;
}

static void start(struct sconn *c, const struct sender_job *job, uint64_t now)
{
    struct server *server = c->server;
    struct work *w;

    switch (job->type) {
    case SENDER_JOB_CLOSE:
        file_close(c, job->file);
        return;
    case SENDER_JOB_DROP:
        piece_drop(c, job->piece);
        return;
    case SENDER_JOB_ABANDON:
        return; /* it ends by itself */
    default:
        break;
    }
    w = need(calloc(1, sizeof *w));
    w->job = *job;
    w->due = now + (rng_percent(&server->rng, 50)
                        ? 0
                        : rng_below(&server->rng, server->job_ms + 1));
    w->changed = job->type == SENDER_JOB_CHUNK &&
                 file_changed(c, job->file, now);
    w->next = c->work;
    c->work = w;
    server->jobs++;
}

static bool finish_due(struct sconn *c, uint64_t now)
{
    for (struct work **at = &c->work; *at != NULL; at = &(*at)->next) {
        struct work *w = *at;

        if (w->due <= now && finish(c, w, now)) {
            /* The list may have grown at its head, not before `at`. */
            at = &c->work;
            while (*at != w) {
                at = &(*at)->next;
            }
            *at = w->next;
            free(w);
            return true;
        }
    }
    return false;
}

/* ---- bytes. */

static void receive(struct sconn *c, uint64_t now)
{
    uint8_t buf[4096];
    size_t n;

    while (sender_wants_read(c->sender) &&
           (n = net_take(c->net, &c->net->up, &c->server->rng, now, buf,
                         sizeof buf)) > 0) {
        sender_recv(c->sender, now, buf, n);
    }
}

static bool emit(struct sconn *c, uint64_t now)
{
    static uint8_t buf[SENDER_EMIT_BYTES];
    struct net *net = c->net;
    struct sender_out out;

    if (net->down.in_flight >= SOCKET_BYTES) {
        return false;
    }
    sender_emit(c->sender, now, buf, sizeof buf, &out);
    net_send(net, &net->down, &c->server->rng, now, buf, out.len);
    sender_wrote(c->sender, now, out.len);
    if (out.has_chunk) {
        struct piece *piece = out.piece;

        net_send(net, &net->down, &c->server->rng, now, piece->data,
                 out.stored_len);
        sender_wrote(c->sender, now, out.stored_len);
        piece_drop(c, piece);
        sender_chunk_sent(c->sender, now);
    }
    return out.len > 0;
}

void sconn_run(struct sconn *c, uint64_t now)
{
    struct sender_job job;
    bool more = true;

    if (c->sender == NULL || c->closed) {
        return;
    }
    sender_tick(c->sender, now);
    receive(c, now);
    while (more) {
        more = false;
        while (sender_next_job(c->sender, now, &job)) {
            start(c, &job, now);
            more = true;
        }
        more |= finish_due(c, now);
        more |= emit(c, now);
    }
    if (sender_finished(c->sender)) {
        c->closed = true;
        c->net->down.ended = true;
    }
}

uint64_t sconn_deadline(const struct sconn *c)
{
    uint64_t at;

    if (c->sender == NULL || c->closed) {
        return NET_NEVER;
    }
    /* What it wants to say has to wait for a full socket. */
    at = c->net->down.in_flight < SOCKET_BYTES ? sender_deadline(c->sender)
                                               : NET_NEVER;
    for (const struct work *w = c->work; w != NULL; w = w->next) {
        if (w->due < at) {
            at = w->due;
        }
    }
    if (sender_wants_read(c->sender) && net_due(c->net, &c->net->up) < at) {
        at = net_due(c->net, &c->net->up);
    }
    return at;
}
