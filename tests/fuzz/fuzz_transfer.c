/* A whole download from servers that say anything: the real transfer machine,
 * with the simulator's runner and disk, against a script.
 *
 * Input: a script of operations. The server answers what was asked as an
 * honest one would, but the script may change any byte of an answer (its CRC
 * is put right again), change the file, send frames of its own, cut
 * connections, kill the client and spoil its disk.
 *
 * Promised: no assertion of the runner fails; what is held is what was
 * verified; and a download that was pinned ends with exactly that content or
 * does not end (P1). */

#include "tests/sim/client.h"
#include "tests/unit/peer_fixture.h"
#include "tests/fuzz/fuzz.h"

#include "proto/data/merkle.h"

enum op {
    OP_TIME,    /* how long */
    OP_JOIN,    /* which connection, how it greets */
    OP_LOSE,    /* which connection */
    OP_ANSWER,  /* which connection, one frame, and what is changed in it */
    OP_SERVE,   /* which connection: everything, honestly */
    OP_FRAME,   /* which connection, type, flags, id, length (2), payload */
    OP_ERROR,   /* which connection, code (2): instead of an answer */
    OP_VERSION, /* of the file from now on */
    OP_RESTART, /* kill and start again, some chunks spoiled */
    OP_COUNT,
};

#define CONNS 4u
#define OPS_MAX 160u
#define VERSIONS 3u
#define DISK_CAP ((uint64_t)1 << 20)
#define SIZE_MAX_BYTES 60000u
#define NEWS_MAX 24u

struct content {
    uint8_t *data;
    uint64_t size;
    uint8_t log2;
    bool strong;
    bool names_cid;
    char token[8];
};

struct line {
    bool dialled;
    bool up;
    struct net net;
    struct peer peer;
    const struct content *opened; /* what its handles are */
    uint8_t log2;
    uint64_t next;       /* GET in progress: chunk */
    uint64_t chunks;
    uint64_t bytes;
};

struct game {
    struct script s;
    struct client c;
    struct disk disk;
    struct rng rng;
    struct hasher *hasher;
    struct content content[VERSIONS];
    const struct content *now;
    struct line line[TRANSFER_CONNS_MAX];
    uint64_t clock;
};

/* ---- contents. */

static void content_fill(struct game *g, struct content *v, unsigned i)
{
    v->size = script_u16(&g->s) % SIZE_MAX_BYTES;
    v->log2 = (uint8_t)(12u + script_u8(&g->s) % 3u);
    uint8_t bits = script_u8(&g->s);
    v->strong = bits & 1u;
    v->names_cid = bits & 2u;
    memcpy(v->token, "v-", 2);
    v->token[2] = (char)('0' + i);
    v->data = calloc(1, v->size + 8);
    FUZZ_CHECK(v->data != NULL);
    for (uint64_t at = 0; at < v->size; at += 8) {
        /* Most of two versions is the same, as in life. */
        uint64_t word = (at + 1) * UINT64_C(0x9E3779B97F4A7C15);
        uint64_t mine = at / 5000 % 4 == i ? i : 0;
        word += mine;
        memcpy(v->data + at, &word, 8);
    }
    memset(v->data + v->size, 0, 8);
}

static void content_digest(struct game *g, const struct content *v,
                           uint8_t log2, uint64_t i, uint8_t out[HASH_LEN])
{
    FUZZ_CHECK(hash_sha256(g->hasher, v->data + (i << log2),
                           cid_chunk_len(v->size, log2, i), out) == 0);
}

static void content_cid(struct game *g, const struct content *v, uint8_t log2,
                        uint8_t cid[HASH_LEN])
{
    struct merkle_builder b;
    uint8_t root[HASH_LEN];
    merkle_builder_init(&b, v->size, log2);
    for (uint64_t i = 0; i < cid_chunk_count(v->size, log2); i++) {
        uint8_t digest[HASH_LEN];
        content_digest(g, v, log2, i, digest);
        FUZZ_CHECK(merkle_builder_add(&b, g->hasher, digest, 1) == 0);
    }
    FUZZ_CHECK(merkle_builder_root(&b, g->hasher, root) == 0);
    FUZZ_CHECK(cid_from_root(g->hasher, v->size, log2, root, cid) == 0);
}

/* ---- lines. */

static void line_close(struct game *g, unsigned i)
{
    struct line *l = &g->line[i];
    if (l->up) {
        net_clear(&l->net);
    }
    l->up = false;
    l->dialled = false;
}

static void on_dial(void *arg, unsigned conn)
{
    struct game *g = arg;
    FUZZ_CHECK(!g->line[conn].up && !g->line[conn].dialled);
    g->line[conn].dialled = true;
}

static void on_closed(void *arg, unsigned conn)
{
    line_close(arg, conn);
}

/* What the client sent since the last look. */
static void listen(struct game *g, struct line *l)
{
    uint8_t buf[4096];
    static uint8_t all[RECEIVER_OUT_MAX];
    size_t len = 0;
    size_t n;
    while ((n = net_take(&l->net, &l->net.up, &g->rng, UINT64_MAX, buf,
                         sizeof buf)) > 0) {
        FUZZ_CHECK(len + n <= sizeof all);
        memcpy(all + len, buf, n);
        len += n;
    }
    if (l->peer.answered > 0) {
        l->peer.count -= l->peer.answered;
        memmove(l->peer.request, l->peer.request + l->peer.answered,
                l->peer.count * sizeof l->peer.request[0]);
        l->peer.answered = 0;
    }
    if (l->peer.count + NEWS_MAX <= PEER_REQUESTS || len == 0) {
        peer_take(&l->peer, all, len);
    } else {
        l->peer.count = 0; /* a server that forgets */
        peer_take(&l->peer, all, len);
    }
}

static void run(struct game *g)
{
    for (unsigned i = 0; i < 3; i++) {
        client_run(&g->c, g->clock);
    }
}

/* Bytes of the server travel without delay. */
static void deliver(struct game *g, unsigned i)
{
    struct line *l = &g->line[i];
    if (l->up) {
        net_send(&l->net, &l->net.down, &g->rng, g->clock,
                 writer_data(&l->peer.w), writer_len(&l->peer.w));
    }
    peer_clear(&l->peer);
    g->clock += 2;
    run(g);
}

static void join(struct game *g, unsigned i, uint8_t how)
{
    struct line *l = &g->line[i];
    if (!l->dialled) {
        return;
    }
    l->dialled = false;
    if (how == 1) {
        client_dial_failed(&g->c, i, "refused");
        return;
    }
    uint8_t *buf = l->peer.buf;
    memset(&l->peer, 0, sizeof l->peer);
    l->peer.buf = buf;
    peer_clear(&l->peer);
    l->opened = NULL;
    l->next = l->chunks = l->bytes = 0;
    net_init(&l->net);
    l->net.latency_ms = 0;
    l->net.bytes_per_ms = UINT32_MAX;
    l->up = true;
    client_connected(&g->c, i, &l->net);
    run(g);
    if (l->up && how != 2) {
        peer_preface(&l->peer);
        peer_hello(&l->peer, how == 3 ? 16 : 64, how == 4 ? 12 : 22);
    }
    deliver(g, i);
}

/* ---- honest answers. */

static void answer_open(struct game *g, struct line *l,
                        const struct peer_request *q)
{
    const struct content *v = g->now;
    uint8_t cid[HASH_LEN];
    uint8_t log2 = q->open.want_chunk_log2 != 0 ? q->open.want_chunk_log2
                                                : v->log2;
    content_cid(g, v, log2, cid);
    bool same =
        q->open.expect_cid.len > 0 && v->names_cid
            ? memcmp(q->open.expect_cid.ptr, cid, HASH_LEN) == 0
            : q->open.expect_version.len == 0 ||
                  (q->open.expect_version.len == strlen(v->token) &&
                   memcmp(q->open.expect_version.ptr, v->token,
                          strlen(v->token)) == 0);
    if (!same) {
        peer_error(&l->peer, q->id, WIRE_CHANGED);
        l->opened = NULL;
        return;
    }
    struct peer_file f = { .size = v->size, .chunk_log2 = log2,
                           .weak = !v->strong, .version = v->token,
                           .cid = v->names_cid ? cid : NULL };
    peer_info(&l->peer, q->id, q->handle, &f);
    l->opened = v;
    l->log2 = log2;
}

static bool asked(const struct peer_request *q, uint64_t at, uint64_t end)
{
    for (size_t k = 0; k < q->get.count; k++) {
        struct msg_range r = msg_get_range(&q->get, k);
        if (r.offset < end &&
            (r.length == GET_TO_END || r.offset + r.length > at)) {
            return true;
        }
    }
    return false;
}

/* One chunk, or DONE; true when the request is answered. */
static bool answer_get(struct game *g, struct line *l,
                       const struct peer_request *q)
{
    const struct content *v = l->opened;
    uint8_t cid[HASH_LEN];
    uint64_t count = cid_chunk_count(v->size, l->log2);
    for (; l->next < count; l->next++) {
        uint64_t at = l->next << l->log2;
        uint32_t len = cid_chunk_len(v->size, l->log2, l->next);
        if (asked(q, at, at + len)) {
            struct msg_chunk m = peer_chunk_head(g->hasher, q->handle, at,
                                                 v->data + at, len);
            peer_chunk_as(&l->peer, q->id, &m, v->data + at);
            l->next++;
            l->chunks++;
            l->bytes += len;
            return false;
        }
    }
    content_cid(g, v, l->log2, cid);
    peer_done(&l->peer, q->id, l->chunks, l->bytes, v->token,
              v->names_cid ? cid : NULL);
    l->next = l->chunks = l->bytes = 0;
    return true;
}

static void answer_digest(struct game *g, struct line *l,
                          const struct peer_request *q)
{
    const struct content *v = l->opened;
    static uint8_t digest[LIMIT_DIGESTS_PER_FRAME][HASH_LEN];
    uint64_t all = cid_chunk_count(v->size, l->log2);
    uint64_t first = q->digest.first_block << q->digest.block_log2;
    uint64_t count = first < all ? all - first : 0;
    if (q->digest.block_count != 0 && q->digest.block_log2 == 0 &&
        q->digest.block_count < count) {
        count = q->digest.block_count;
    }
    if (count == 0) {
        peer_done(&l->peer, q->id, 0, 0, NULL, NULL);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        content_digest(g, v, l->log2, first + i, digest[first + i]);
    }
    peer_digests(&l->peer, q->id, first, (uint32_t)count,
                 q->digest.block_log2, digest, true);
}

/* The next frame of an honest server; false when nothing is asked. */
static bool answer(struct game *g, struct line *l)
{
    struct peer *p = &l->peer;
    while (p->answered < p->count) {
        const struct peer_request *q = &p->request[p->answered];
        bool needs_file = q->type == FRAME_GET || q->type == FRAME_DIGEST;
        if (q->type == FRAME_CANCEL) {
            p->answered++;
            continue;
        }
        if (needs_file && l->opened == NULL) {
            peer_error(p, q->id, WIRE_BAD_HANDLE);
        } else if (q->type == FRAME_OPEN) {
            answer_open(g, l, q);
        } else if (q->type == FRAME_DIGEST) {
            answer_digest(g, l, q);
        } else if (q->type == FRAME_GET) {
            p->answered += answer_get(g, l, q);
            return true;
        } else {
            peer_done(p, q->id, 0, 0, NULL, NULL);
        }
        p->answered++;
        return true;
    }
    return false;
}

/* ---- operations. */

/* Change a byte of the frame that was built; the CRC is right again. */
static void spoil(struct game *g, struct writer *w)
{
    uint16_t at = script_u16(&g->s);
    uint8_t flip = script_u8(&g->s);
    size_t len = writer_len(w);
    struct frame f;
    size_t need = 0;
    if (flip == 0 || len < FRAME_HEADER_LEN) {
        return;
    }
    w->buf[at % len] ^= flip;
    if (frame_scan(w->buf, len, &f, &need) == ERR_CRC) {
        uint8_t head[FRAME_HEADER_LEN];
        frame_header_encode(head, &f, w->buf + FRAME_HEADER_LEN);
        memcpy(w->buf, head, sizeof head);
    }
}

static void op_serve(struct game *g, unsigned i)
{
    struct line *l = &g->line[i];
    for (unsigned k = 0; k < 64 && l->up; k++) {
        listen(g, l);
        if (!answer(g, l)) {
            return;
        }
        deliver(g, i);
    }
}

static void op_frame(struct game *g, unsigned i)
{
    struct line *l = &g->line[i];
    uint8_t type = script_u8(&g->s);
    uint8_t flags = script_u8(&g->s);
    uint32_t id = script_u8(&g->s);
    size_t len = script_u16(&g->s) % 2000u;
    uint8_t *payload = script_copy(&g->s, &len);
    size_t start = frame_begin(&l->peer.w);
    writer_bytes(&l->peer.w, payload, len);
    if (frame_finish(&l->peer.w, start, type, flags, id) != BELAY_OK) {
        writer_rewind(&l->peer.w, start);
    }
    free(payload);
    deliver(g, i);
}

static void op_error(struct game *g, unsigned i)
{
    struct line *l = &g->line[i];
    uint16_t code = script_u16(&g->s);
    listen(g, l);
    if (l->peer.answered < l->peer.count) {
        const struct peer_request *q = &l->peer.request[l->peer.answered];
        peer_error_wait(&l->peer, q->id, code, 100);
        l->peer.answered++;
        l->next = l->chunks = l->bytes = 0;
    }
    deliver(g, i);
}

static void op_restart(struct game *g, uint8_t percent)
{
    client_kill(&g->c);
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        line_close(g, i);
    }
    if (percent % 3u == 0) {
        disk_power_cut(&g->disk, false);
    }
    (void)disk_spoil(&g->disk, DISK_TARGET ".part", percent % 100u);
    client_start(&g->c, g->clock);
    run(g);
}

static void step(struct game *g)
{
    static const uint16_t waits[] = { 1, 300, 2000, 11000, 31000 };
    uint8_t op = script_u8(&g->s) % OP_COUNT;
    uint8_t arg = script_u8(&g->s);
    unsigned i = arg % CONNS;
    switch (op) {
    case OP_TIME:
        g->clock += waits[arg % 5u];
        break;
    case OP_JOIN:
        join(g, i, arg / CONNS % 8u);
        break;
    case OP_LOSE:
        if (g->line[i].up) {
            client_lost(&g->c, i, "cut");
            line_close(g, i);
        }
        break;
    case OP_ANSWER:
        if (g->line[i].up) {
            listen(g, &g->line[i]);
            (void)answer(g, &g->line[i]);
            spoil(g, &g->line[i].peer.w);
            deliver(g, i);
        }
        break;
    case OP_SERVE:
        op_serve(g, i);
        break;
    case OP_FRAME:
        op_frame(g, i);
        break;
    case OP_ERROR:
        if (g->line[i].up) {
            op_error(g, i);
        }
        break;
    case OP_VERSION:
        g->now = &g->content[arg % VERSIONS];
        break;
    default:
        op_restart(g, arg);
        break;
    }
    g->clock++;
    run(g);
}

/* ---- the end. */

/* Every chunk on the disk is the one that was verified; a pinned download is
 * the pinned content. */
static void check_finished(struct game *g)
{
    const struct transfer_identity *id = transfer_identity(g->c.transfer);
    const struct transfer_ledger *ledger = transfer_ledger(g->c.transfer);
    const struct pages *target = disk_look(&g->disk, DISK_TARGET);
    uint8_t *data;
    FUZZ_CHECK(target != NULL);
    data = malloc(target->len + 1);
    FUZZ_CHECK(data != NULL);
    pages_read(target, 0, data, target->len);
    if (g->c.config.pinned) {
        FUZZ_CHECK(target->len == g->content[0].size);
        FUZZ_CHECK(memcmp(data, g->content[0].data, target->len) == 0);
    }
    FUZZ_CHECK(g->c.settled ||
               (ledger->have == id->size && target->len == id->size));
    for (uint64_t i = 0; i < transfer_chunks(g->c.transfer) &&
                         !g->c.settled;
         i++) {
        uint8_t digest[HASH_LEN];
        FUZZ_CHECK(hash_sha256(g->hasher, data + (i << id->chunk_log2),
                               cid_chunk_len(id->size, id->chunk_log2, i),
                               digest) == 0);
        FUZZ_CHECK(memcmp(digest, transfer_digest(g->c.transfer, i),
                          HASH_LEN) == 0);
    }
    free(data);
}

static void game_init(struct game *g)
{
    struct transfer_config *c = &g->c.config;
    uint8_t bits = script_u8(&g->s);
    g->hasher = hasher_new();
    FUZZ_CHECK(g->hasher != NULL);
    for (unsigned i = 0; i < VERSIONS; i++) {
        content_fill(g, &g->content[i], i);
    }
    for (unsigned i = 0; i < CONNS; i++) {
        peer_init(&g->line[i].peer);
    }
    g->now = &g->content[0];
    g->clock = 1000;
    g->rng.state = bits;
    disk_init(&g->disk, bits);
    c->path = (const uint8_t *)"demo";
    c->path_len = 4;
    c->max_chunk_log2 = 16;
    c->max_size = DISK_CAP;
    c->conns = 1u + bits % CONNS;
    c->compression = bits & 4u;
    c->wait_first = bits & 8u;
    c->stop_on_change = bits & 16u;
    c->agent = "fuzz";
    c->pinned = bits & 32u;
    c->pin_log2 = g->content[0].log2;
    if (c->pinned) {
        content_cid(g, &g->content[0], c->pin_log2, c->pin_cid);
    }
    c->want_chunk_log2 = bits & 64u && !c->pinned ? 12 : 0;
    g->c.disk = &g->disk;
    g->c.hasher = g->hasher;
    g->c.zpack = zpack_new();
    FUZZ_CHECK(g->c.zpack != NULL);
    g->c.dial = on_dial;
    g->c.closed = on_closed;
    g->c.arg = g;
    g->c.work_ms = bits & 128u ? 5 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct game g;
    memset(&g, 0, sizeof g);
    g.s = (struct script){ data, size };
    game_init(&g);
    client_start(&g.c, g.clock);
    run(&g);
    for (unsigned i = 0; i < OPS_MAX && g.s.left > 0 &&
                         g.c.state == CLIENT_RUNS;
         i++) {
        step(&g);
    }
    if (g.c.state == CLIENT_DONE) {
        check_finished(&g);
    }
    client_end(&g.c);
    zpack_free(g.c.zpack);
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        line_close(&g, i);
        peer_free(&g.line[i].peer);
    }
    for (unsigned i = 0; i < VERSIONS; i++) {
        free(g.content[i].data);
    }
    disk_free(&g.disk);
    hasher_free(g.hasher);
    return 0;
}
