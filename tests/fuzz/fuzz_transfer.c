/* A whole download from servers that say anything: the real transfer machine,
 * with the simulator's runner and disk, against a script.
 *
 * Input: a script of operations. The server answers what was asked as an
 * honest one would, but the script may change any byte of an answer (its CRC
 * is put right again), change the file, send frames of its own, cut
 * connections, kill the client and spoil its disk. There may be mirrors, which
 * may have other content, a local file that is alike, a file to be repaired
 * where it is, or a stream to be written in order; the client may choose how
 * many connections it has, only ask what there is, or only compare.
 *
 * Promised: no assertion of the runner fails; what is held is what was
 * verified; a download that was pinned ends with exactly that content or does
 * not end (P1); compared chunks are held if, and only if, they are right.
 * However it was treated, a client that meets honest servers from then on comes
 * to its end, and if no server ever lied, refused or changed the file, with
 * the file. */

#include "tests/sim/client.h"
#include "tests/fuzz/partner.h"

#include "proto/data/cid.h"
#include "proto/data/merkle.h"

enum op {
    OP_TIME,    /* how long */
    OP_JOIN,    /* which connection, how it greets */
    OP_LOSE,    /* which connection */
    OP_ANSWER,  /* which connection, one frame, and what is changed in it */
    OP_SERVE,   /* which connection: everything, honestly */
    OP_FRAME,   /* which connection, type, flags, id, length (2), payload */
    OP_ERROR,   /* which connection, code (2): instead of an answer */
    OP_VERSION, /* of the file from now on; 0x80: what a client expects is
                   overlooked, too */
    OP_RESTART, /* kill and start again, some chunks spoiled */
    OP_SHIFT,   /* which four connections the script speaks of from now on */
    OP_COUNT,
};

#define CONNS 4u
#define OPS_MAX 160u
#define VERSIONS 3u
#define DISK_CAP ((uint64_t)1 << 20)
#define SIZE_MAX_BYTES 60000u
#define SOURCES 3u
#define REST_ROUNDS 3000u

/* content.way of the first one; others: fetch it. */
#define WAY_GROW 1u /* with as many connections as help */
#define WAY_COMPARE 2u
#define WAY_PROBE 3u

struct content {
    uint8_t *data;
    uint64_t size;
    uint8_t log2;
    bool strong;
    bool names_cid;
    uint8_t more; /* bits of the script that are about something else, */
    uint8_t way;  /* and what the client is after */
    char token[8];
};

struct line {
    bool dialled;
    bool up;
    struct net net;
    struct partner peer;
    const struct content *opened; /* what its handles are */
    uint8_t log2;
    uint64_t chunks; /* GET in progress: sent */
    uint64_t bytes;
};

struct game {
    struct script s;
    struct client c;
    struct disk disk;
    struct rng rng;
    struct hasher *hasher;
    struct content content[VERSIONS];
    const struct content *now[SOURCES];
    uint8_t *donor;
    bool hostile; /* a server lied, refused or changed the file */
    bool blind;   /* expectations in OPEN are overlooked */
    unsigned shift;
    struct line line[TRANSFER_CONNS_MAX];
    uint64_t clock;
};

/* ---- contents. */

FUZZ_QUIET static void content_fill(struct game *g, struct content *v,
                                    unsigned i)
{
    v->size = script_u16(&g->s) % SIZE_MAX_BYTES;
    uint8_t grid = script_u8(&g->s);
    v->log2 = (uint8_t)(12u + grid % 3u);
    v->way = (uint8_t)(grid / 3u % 8u);
    uint8_t bits = script_u8(&g->s);
    v->strong = bits & 1u;
    v->names_cid = bits & 2u;
    v->more = bits >> 2;
    memcpy(v->token, "v-", 2);
    v->token[2] = (char)('0' + i);
    v->data = calloc(1, v->size + 8);
    FUZZ_CHECK(v->data != NULL);
    for (uint64_t at = 0; at < v->size; at += 8) {
        /* Most of two versions is the same, as in life. */
        uint64_t word = (at + 1) * UINT64_C(0x9E3779B97F4A7C15);
        uint64_t mine = at / 5000 % 4 == i ? i : 0;
        word += mine;
        word = at / 4096 % 5 == 4 ? 0 : word; /* some chunks are zeros, */
        word = at / 4096 % 5 == 3 ? mine : word; /* ... some shrink */
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
    FUZZ_CHECK(conn < (g->c.config.conns > 0 ? CONNS : TRANSFER_CONNS_MAX));
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
    static uint8_t all[RECEIVER_OUT_MAX];
    size_t len = 0;
    size_t n;
    while ((n = net_take(&l->net, &l->net.up, &g->rng, UINT64_MAX, all + len,
                         sizeof all - len)) > 0) {
        len += n;
    }
    partner_take(&l->peer, all, len);
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
    partner_clear(&l->peer);
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
    partner_start(&l->peer);
    l->opened = NULL;
    l->chunks = l->bytes = 0;
    net_init(&l->net);
    l->net.latency_ms = 0;
    l->net.bytes_per_ms = UINT32_MAX;
    l->up = true;
    client_connected(&g->c, i, &l->net);
    run(g);
    if (l->up && how != 2) {
        partner_greet(&l->peer, how == 3 ? LIMIT_REQUESTS_MIN : 64,
                      LIMIT_HANDLES_MIN, how == 4 ? 12 : 22);
    }
    deliver(g, i);
}

/* ---- honest answers. */

static void answer_open(struct game *g, struct line *l,
                        const struct partner_request *q)
{
    unsigned conn = (unsigned)(l - g->line);
    const struct content *v =
        g->now[transfer_conn_source(g->c.transfer, conn) % SOURCES];
    uint8_t cid[HASH_LEN];
    const struct msg_open *open = &q->msg.open;
    uint8_t log2 = open->want_chunk_log2 != 0 ? open->want_chunk_log2
                                              : v->log2;
    content_cid(g, v, log2, cid);
    bool same =
        open->expect_cid.len > 0 && v->names_cid
            ? memcmp(open->expect_cid.ptr, cid, HASH_LEN) == 0
            : open->expect_version.len == 0 ||
                  (open->expect_version.len == strlen(v->token) &&
                   memcmp(open->expect_version.ptr, v->token,
                          strlen(v->token)) == 0);
    if (!same && !g->blind) {
        partner_error(&l->peer, q->id, WIRE_CHANGED, 0);
        l->opened = NULL;
        return;
    }
    struct msg_info m = {
        .handle = open->handle,
        .file_type = FILE_REGULAR,
        .chunk_log2 = log2,
        .info_flags = (uint16_t)((v->strong ? INFO_VERSION_STRONG : 0u) |
                                 (v->names_cid ? 0u : INFO_CID_PENDING)),
        .size = v->size,
        .mode = 0644,
        .version = partner_text(v->token),
    };
    if (v->names_cid) {
        m.cid = (struct bytes_view){ cid, HASH_LEN };
    }
    FUZZ_CHECK(msg_info_encode(&m, q->id, &l->peer.w) == BELAY_OK);
    l->opened = v;
    l->log2 = log2;
}

static bool asked(const struct partner_request *q, uint64_t at, uint64_t end)
{
    for (size_t k = 0; k < q->msg.get.count; k++) {
        struct msg_range r = msg_get_range(&q->msg.get, k);
        if (r.offset < end &&
            (r.length == GET_TO_END || r.offset + r.length > at)) {
            return true;
        }
    }
    return false;
}

/* By the codec that fits it best. */
static void send_chunk(struct game *g, struct line *l,
                       const struct partner_request *q, uint64_t at,
                       uint32_t len)
{
    static uint8_t packed[SIZE_MAX_BYTES];
    const uint8_t *data = l->opened->data + at;
    struct zpack_out out = { .bytes = packed, .cap = sizeof packed };
    struct msg_chunk m = { .offset = at, .raw_len = len, .stored_len = len,
                           .handle = q->msg.get.handle };
    FUZZ_CHECK(hash_sha256(g->hasher, data, len, m.digest) == 0);
    if (zpack_is_zero(data, len)) {
        m.codec = CODEC_ZERO;
        m.stored_len = 0;
    } else if (g->c.config.compression &&
               zpack_deflate(g->c.zpack, 1, data, len, &out) == 0) {
        m.codec = CODEC_ZLIB;
        m.stored_len = (uint32_t)out.len;
        data = packed;
    }
    FUZZ_CHECK(msg_chunk_encode(&m, q->id, &l->peer.w) == BELAY_OK);
    writer_bytes(&l->peer.w, data, m.stored_len);
}

/* One chunk, or DONE; true when the request is answered. */
static bool answer_get(struct game *g, struct line *l,
                       struct partner_request *q)
{
    const struct content *v = l->opened;
    uint8_t cid[HASH_LEN];
    struct msg_done m = { .version = partner_text(v->token) };
    uint64_t count = cid_chunk_count(v->size, l->log2);
    for (; q->step < count; q->step++) {
        uint64_t at = q->step << l->log2;
        uint32_t len = cid_chunk_len(v->size, l->log2, q->step);
        if (asked(q, at, at + len)) {
            send_chunk(g, l, q, at, len);
            q->step++;
            l->chunks++;
            l->bytes += len;
            return false;
        }
    }
    content_cid(g, v, l->log2, cid);
    if (v->names_cid) {
        m.cid = (struct bytes_view){ cid, HASH_LEN };
    }
    m.chunks = l->chunks;
    m.raw_bytes = l->bytes;
    partner_done(&l->peer, q->id, &m);
    l->chunks = l->bytes = 0;
    return true;
}

static void answer_digest(struct game *g, struct line *l,
                          const struct partner_request *q)
{
    const struct content *v = l->opened;
    const struct tlv none = { .type = 0 };
    struct msg_digests_builder b;
    uint8_t digest[HASH_LEN];
    uint64_t all = cid_chunk_count(v->size, l->log2);
    uint64_t first = q->msg.digest.first_block << q->msg.digest.block_log2;
    uint64_t count = first < all ? all - first : 0;
    if (q->msg.digest.block_count != 0 && q->msg.digest.block_log2 == 0 &&
        q->msg.digest.block_count < count) {
        count = q->msg.digest.block_count;
    }
    if (count == 0) {
        const struct msg_done done = { .chunks = 0 };
        partner_done(&l->peer, q->id, &done);
        return;
    }
    msg_digests_begin(&b, &l->peer.w, first, q->msg.digest.block_log2);
    for (uint64_t i = 0; i < count; i++) {
        content_digest(g, v, l->log2, first + i, digest);
        FUZZ_CHECK(msg_digests_add(&b, digest) == BELAY_OK);
    }
    FUZZ_CHECK(msg_digests_finish(&b, (struct bytes_view){ NULL, 0 }, true,
                                  q->id, &none) == BELAY_OK);
}

/* The next frame of an honest server; false when nothing is asked. */
static bool answer(struct game *g, struct line *l)
{
    struct partner *p = &l->peer;
    struct partner_request *q = &p->request[0];
    const struct msg_done done = { .chunks = 0 };
    bool over = true;
    if (p->count == 0) {
        return false;
    }
    partner_greet(p, 64, LIMIT_HANDLES_MIN, 22);
    if (q->cancelled) {
        partner_error(p, q->id, WIRE_CANCELLED, 0);
        l->chunks = l->bytes = 0;
    } else if (q->type == FRAME_OPEN) {
        answer_open(g, l, q);
    } else if (q->type == FRAME_CLOSE) {
        partner_done(p, q->id, &done);
    } else if (l->opened == NULL) {
        partner_error(p, q->id, WIRE_BAD_HANDLE, 0);
    } else if (q->type == FRAME_DIGEST) {
        answer_digest(g, l, q);
    } else {
        over = answer_get(g, l, q);
    }
    if (over) {
        partner_remove(p, 0);
    }
    return true;
}

/* ---- operations. */

static void op_answer(struct game *g, unsigned i)
{
    struct partner *p = &g->line[i].peer;
    listen(g, &g->line[i]);
    size_t start = writer_len(&p->w);
    (void)answer(g, &g->line[i]);
    g->hostile = partner_spoil(p, &g->s, start) || g->hostile;
    deliver(g, i);
}

static bool op_serve(struct game *g, unsigned i)
{
    struct line *l = &g->line[i];
    bool moved = false;
    for (unsigned k = 0; k < 64 && l->up; k++) {
        listen(g, l);
        if (!answer(g, l)) {
            break;
        }
        deliver(g, i);
        moved = true;
    }
    return moved;
}

static void op_error(struct game *g, unsigned i)
{
    struct line *l = &g->line[i];
    uint16_t code = script_u16(&g->s);
    listen(g, l);
    if (l->peer.count > 0) {
        g->hostile = true;
        partner_error(&l->peer, l->peer.request[0].id, code, 100);
        partner_remove(&l->peer, 0);
        l->chunks = l->bytes = 0;
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
    (void)disk_spoil(&g->disk,
                     g->c.in_place ? DISK_TARGET : DISK_TARGET ".part",
                     percent % 100u);
    client_start(&g->c, g->clock);
    run(g);
}

static void op_lose(struct game *g, unsigned i, bool distrust)
{
    if (!g->line[i].up) {
        return;
    }
    if (distrust) {
        g->hostile = true;
        transfer_distrust(g->c.transfer, i, "who is this", g->clock);
        run(g);
        if (!g->line[i].up) {
            return;
        }
    }
    client_lost(&g->c, i, "cut");
    line_close(g, i);
}

static void op_version(struct game *g, uint8_t arg)
{
    unsigned which = arg / VERSIONS % (SOURCES + 1u);
    g->hostile = true;
    g->blind = arg & 0x80u;
    for (unsigned s = 0; s < SOURCES; s++) {
        if (which == 0 || which == s + 1u) {
            g->now[s] = &g->content[arg % VERSIONS];
        }
    }
}

static void step(struct game *g)
{
    static const uint16_t waits[] = { 1, 300, 2000, 11000, 31000 };
    uint8_t op = script_u8(&g->s) % OP_COUNT;
    uint8_t arg = script_u8(&g->s);
    unsigned i = g->shift + arg % CONNS;
    switch (op) {
    case OP_TIME:
        g->clock += waits[arg % 5u];
        if (arg >= 0xf0) {
            transfer_hurry(g->c.transfer, g->clock);
        }
        break;
    case OP_JOIN:
        join(g, i, arg / CONNS % 8u);
        break;
    case OP_LOSE:
        op_lose(g, i, arg >= 0xf0);
        break;
    case OP_ANSWER:
        if (g->line[i].up) {
            op_answer(g, i);
        }
        break;
    case OP_SERVE:
        (void)op_serve(g, i);
        break;
    case OP_FRAME:
        if (g->line[i].up) {
            g->hostile = true;
            partner_script(&g->line[i].peer, &g->s, 2000);
            deliver(g, i);
        }
        break;
    case OP_ERROR:
        if (g->line[i].up) {
            op_error(g, i);
        }
        break;
    case OP_VERSION:
        op_version(g, arg);
        break;
    case OP_SHIFT:
        g->shift = arg * CONNS % TRANSFER_CONNS_MAX;
        break;
    default:
        op_restart(g, arg);
        break;
    }
    g->clock++;
    run(g);
}

/* ---- the end. */

/* Honest servers, all with one content, from now on, and all the time it
 * takes. */
static void come_to_rest(struct game *g)
{
    g->blind = false;
    for (unsigned s = 0; s < SOURCES; s++) {
        g->hostile = g->hostile || g->now[s] != &g->content[0];
        g->now[s] = &g->content[0];
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        op_lose(g, i, false);
    }
    run(g);
    for (unsigned n = 0; n < REST_ROUNDS && g->c.state == CLIENT_RUNS; n++) {
        bool moved = false;
        for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
            moved = moved || g->line[i].dialled;
            join(g, i, 0);
            moved = op_serve(g, i) || moved;
        }
        if (!moved && g->c.state == CLIENT_RUNS) {
            uint64_t at = client_deadline(&g->c);
            FUZZ_CHECK(at != NET_NEVER);
            g->clock = at > g->clock + 2000 ? at : g->clock + 2000;
        }
        run(g);
    }
    FUZZ_CHECK(g->c.state != CLIENT_RUNS);
    FUZZ_CHECK(g->c.state == CLIENT_DONE || g->hostile);
}

/* Every chunk of the result is the one that was verified; a pinned download
 * is the pinned content. */
static void check_finished(struct game *g)
{
    const struct transfer_identity *id = transfer_identity(g->c.transfer);
    const struct transfer_ledger *ledger = transfer_ledger(g->c.transfer);
    const struct pages *target = g->c.config.in_order
                                     ? &g->c.out
                                     : disk_look(&g->disk, DISK_TARGET);
    uint8_t *data;
    FUZZ_CHECK(target != NULL);
    data = malloc(target->len + 1);
    FUZZ_CHECK(data != NULL);
    pages_read(target, 0, data, target->len);
    if (g->c.config.pinned || !g->hostile) {
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

/* What was only looked at: who asked knows the size; what was compared is held
 * where it is right. */
static void check_looked(struct game *g)
{
    const struct transfer_config *c = &g->c.config;
    const struct transfer_identity *id = transfer_identity(g->c.transfer);
    const struct content *v = &g->content[0];
    bool sure = !g->hostile || (c->pinned && c->compare_only);

    FUZZ_CHECK(!sure || id->size == v->size);
    FUZZ_CHECK(transfer_deadline(g->c.transfer) == UINT64_MAX);
    for (uint64_t i = 0; c->compare_only && i < transfer_chunks(g->c.transfer);
         i++) {
        uint64_t at = i << id->chunk_log2;
        uint32_t len = cid_chunk_len(id->size, id->chunk_log2, i);
        /* Where the file goes on too far the last chunk is not right. */
        bool there = at < c->donors[0].size &&
                     cid_chunk_len(c->donors[0].size, id->chunk_log2, i) ==
                         len;
        bool held = transfer_have(g->c.transfer, i);
        uint8_t digest[HASH_LEN];

        FUZZ_CHECK(!held || there);
        FUZZ_CHECK(!sure || held == (there && memcmp(g->donor + at,
                                                     v->data + at, len) == 0));
        if (held) {
            FUZZ_CHECK(hash_sha256(g->hasher, g->donor + at, len, digest) ==
                       0);
            FUZZ_CHECK(memcmp(digest, transfer_digest(g->c.transfer, i),
                              HASH_LEN) == 0);
        }
    }
}

/* ---- the beginning. */

/* A local file: another version, or damaged, or shifted. */
static void donor_init(struct game *g, uint8_t how)
{
    struct transfer_config *c = &g->c.config;
    const struct content *v = &g->content[how & 1u];
    uint64_t shift = how & 2u ? (uint64_t)1 << v->log2 : 0;
    if (shift > v->size) {
        shift = 0;
    }
    g->donor = malloc(v->size + 1);
    FUZZ_CHECK(g->donor != NULL);
    memcpy(g->donor, v->data + shift, v->size - shift);
    if (v->size - shift > 9000) {
        g->donor[9000] ^= 1;
    }
    c->donor_count = 1;
    c->donors[0].size = v->size - shift;
    if (g->content[0].way == WAY_COMPARE) {
        c->compare_only = true;
        c->donors[0].self = true;
        g->c.donor[0] = g->donor;
    } else if (how & 4u) {
        c->donors[0].self = true;
        g->c.in_place = true;
        disk_put(&g->disk, DISK_TARGET, g->donor, v->size - shift);
    } else {
        g->c.donor[0] = g->donor;
    }
}

static void config_init(struct game *g, uint8_t bits)
{
    struct transfer_config *c = &g->c.config;
    c->path = (const uint8_t *)"demo";
    c->path_len = 4;
    c->max_chunk_log2 = 16;
    c->max_size = DISK_CAP;
    c->conns = g->content[0].way == WAY_GROW ? 0 : 1u + bits % CONNS;
    c->probe = g->content[0].way == WAY_PROBE;
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
    c->mirror_count = g->content[0].more % SOURCES;
    for (unsigned k = 0; k < c->mirror_count; k++) {
        c->mirror[k].path = c->path;
        c->mirror[k].path_len = c->path_len;
    }
    c->window_chunks_bytes = 32768;
    c->tries_max = g->content[2].more & 0x10u ? 3 : 0;
    g->hostile = c->tries_max > 0; /* cuts alone may be too many */
    c->in_order = g->content[0].more & 0x10u;
}

static void game_init(struct game *g)
{
    uint8_t bits = script_u8(&g->s);
    g->hasher = hasher_new();
    FUZZ_CHECK(g->hasher != NULL);
    for (unsigned i = 0; i < VERSIONS; i++) {
        content_fill(g, &g->content[i], i);
    }
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        partner_start(&g->line[i].peer);
    }
    g->clock = 1000;
    g->rng.state = bits;
    disk_init(&g->disk, bits);
    config_init(g, bits);
    for (unsigned s = 0; s < SOURCES; s++) {
        unsigned own = g->content[1].more >> 2 * s & 3u;
        g->now[s] = &g->content[s == 0 ? 0 : own % VERSIONS];
        g->hostile = g->hostile || g->now[s] != &g->content[0];
    }
    if (g->content[2].more & 0x20u && !g->c.config.in_order &&
        !g->c.config.probe) {
        donor_init(g, g->content[2].more);
    }
    g->c.disk = &g->disk;
    g->c.hasher = g->hasher;
    g->c.zpack = zpack_new();
    FUZZ_CHECK(g->c.zpack != NULL);
    g->c.dial = on_dial;
    g->c.closed = on_closed;
    g->c.arg = g;
    g->c.work_ms = bits & 128u ? 5 : 0;
    g->c.hold_percent = g->content[0].more & 0x20u ? 20 : 0;
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
    if (g.c.state == CLIENT_RUNS) {
        come_to_rest(&g);
    }
    if (g.c.state == CLIENT_DONE &&
        (g.c.config.probe || g.c.config.compare_only)) {
        check_looked(&g);
    } else if (g.c.state == CLIENT_DONE) {
        check_finished(&g);
    }
    client_end(&g.c);
    zpack_free(g.c.zpack);
    for (unsigned i = 0; i < TRANSFER_CONNS_MAX; i++) {
        line_close(&g, i);
        partner_free(&g.line[i].peer);
    }
    for (unsigned i = 0; i < VERSIONS; i++) {
        free(g.content[i].data);
    }
    free(g.donor);
    disk_free(&g.disk);
    hasher_free(g.hasher);
    return 0;
}
