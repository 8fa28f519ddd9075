/* Many small files from a server that may say anything: the real bulk machine
 * against a script, with a runner made of memory.
 *
 * Input: a script of operations (enum op). The server answers what was asked
 * as an honest one would, but the script may change any byte of an answer (its
 * CRC is put right again), answer in another order, refuse, change files, send
 * frames of its own and cut connections.
 *
 * Promised: each file ends exactly once; what is to be stored is there to the
 * last chunk; a pinned file is stored with exactly its content or not at all,
 * any other with that of one version, unless a server lied; the sums of bytes
 * and files hold at every step. However it was treated, a client that meets
 * honest servers from then on comes to its end, and if no server ever lied or
 * refused, with every file. */

#include <stdio.h>

#include "proto/data/cid.h"
#include "proto/data/merkle.h"
#include "proto/data/zpack.h"
#include "proto/session/bulk_internal.h"
#include "tests/fuzz/partner.h"

enum op {
    OP_ADD,     /* which file, how */
    OP_JOIN,    /* which connection, how it greets */
    OP_ANSWER,  /* which connection, which request; what is changed (3) */
    OP_SERVE,   /* which connection: everything, honestly */
    OP_LOSE,    /* which connection */
    OP_TIME,    /* how long */
    OP_ERROR,   /* which connection, which request; code (2), wait */
    OP_FRAME,   /* which connection; partner_script() */
    OP_GOAWAY,  /* which connection; last id */
    OP_CHANGE,  /* which file has another version from now on; 0x80: what a
                   client expects is overlooked, too */
    OP_RUNNER,  /* what the runner does with what it owes */
    OP_COUNT,
};

#define CONNS 3u
#define FILES 24u
#define ITEMS 12u
#define LOG2 12u
#define CHUNK ((size_t)1 << LOG2)
#define SMALL_MAX 30000u
#define OPS_MAX 200u
#define REST_ROUNDS 3000u

struct remote {
    char path[8];
    uint32_t size;
    unsigned version; /* of its content now */
    bool strong;
    bool names_cid;
};

/* An open handle of the server. */
struct served {
    uint32_t handle; /* 0: none */
    unsigned file;
    unsigned version;
};

struct link {
    bool dialled;
    bool up;
    struct partner peer;
    struct served served[BULK_WINDOW];
    struct bulk_chunk chunk; /* whose data is coming */
    uint32_t got;
};

/* What the runner knows of an item. */
struct load {
    bool used;
    unsigned file;
    bool pinned;
    bool judged; /* BULK_PROBED was answered with "leave it" */
    enum bulk_action_type owed;
    uint32_t attempt;
    uint32_t chunks; /* that came whole */
    uint8_t *data;
    uint8_t *packed; /* a chunk that is on its way */
    bool *whole;
    uint8_t (*digest)[HASH_LEN];
};

struct game {
    struct script s;
    struct bulk *b;
    struct bulk_config config;
    struct hasher *hasher;
    struct zpack *zpack;
    uint64_t now;
    struct remote remote[FILES];
    struct link link[CONNS];
    struct load load[ITEMS];
    unsigned items; /* not over */
    bool slow;      /* the runner answers when the script says so */
    bool hostile;   /* a server lied, refused or changed a file */
    bool lied;      /* ... lied: then anything may have been stored */
    bool blind;     /* expectations in OPEN are overlooked */
    bool ended;     /* the input has */
    bool done;
    bool failed;
};

/* ---- contents. */

FUZZ_QUIET static uint8_t truth(const struct remote *r, unsigned version,
                                uint32_t at)
{
    /* Whole chunks of zeros, and versions that share most of their bytes. */
    unsigned part = at >> LOG2;
    uint8_t mine = part % 3 == 1 ? (uint8_t)(version * 17) : 0;
    return r->size % 7 == 0 && part % 2 == 0
               ? mine
               : (uint8_t)(at % 251 + (uint8_t)r->path[1] + mine);
}

FUZZ_QUIET static uint32_t fill(const struct remote *r, unsigned version,
                                uint64_t index, uint8_t data[CHUNK])
{
    uint32_t len = cid_chunk_len(r->size, LOG2, index);
    for (uint32_t i = 0; i < len; i++) {
        data[i] = truth(r, version, (uint32_t)(index << LOG2) + i);
    }
    return len;
}

static void true_cid(struct game *g, const struct remote *r, unsigned version,
                     uint8_t cid[HASH_LEN])
{
    struct merkle_builder b;
    uint8_t root[HASH_LEN];
    uint8_t data[CHUNK];
    uint8_t digest[HASH_LEN];
    merkle_builder_init(&b, r->size, LOG2);
    for (uint64_t k = 0; k < cid_chunk_count(r->size, LOG2); k++) {
        uint32_t len = fill(r, version, k, data);
        FUZZ_CHECK(hash_sha256(g->hasher, data, len, digest) == 0);
        FUZZ_CHECK(merkle_builder_add(&b, g->hasher, digest, 1) == 0);
    }
    FUZZ_CHECK(merkle_builder_root(&b, g->hasher, root) == 0);
    FUZZ_CHECK(cid_from_root(g->hasher, r->size, LOG2, root, cid) == 0);
}

/* ---- what has to hold inside. */

FUZZ_QUIET static void check_courier(const struct courier *k)
{
    unsigned wanting = 0;
    unsigned idle = 0;
    for (unsigned n = 0; n < BULK_WINDOW; n++) {
        wanting += k->slot[n].want != WANT_NOTHING;
        idle += k->slot[n].handle == 0;
        FUZZ_CHECK(k->slot[n].handle != 0 || k->slot[n].item == NO_ITEM);
    }
    FUZZ_CHECK(k->wanting == wanting && k->free_count == idle);
}

FUZZ_QUIET static void check_inside(const struct game *g)
{
    uint64_t flight = 0;
    uint32_t used = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        const struct item *item = &g->b->item[i];
        flight += item->flight;
        used += item->state != ITEM_FREE;
        FUZZ_CHECK(item->flight == 0 || item->state == ITEM_ASKED);
    }
    FUZZ_CHECK(g->b->flight == flight && g->b->used == used);
    FUZZ_CHECK(g->b->free.count == ITEMS - used && g->items == used);
}

/* ---- the runner: bytes. */

static void load_clear(struct load *l)
{
    free(l->data);
    free(l->packed);
    free(l->whole);
    free(l->digest);
    l->data = l->packed = NULL;
    l->whole = NULL;
    l->digest = NULL;
    l->chunks = 0;
    l->attempt = 0;
}

static void take_head(struct game *g, const struct bulk_chunk *m)
{
    FUZZ_CHECK(m->item < ITEMS && m->attempt != 0);
    const struct transfer_identity *id = bulk_identity(g->b, m->item);
    struct load *l = &g->load[m->item];
    FUZZ_CHECK(l->used && l->owed == BULK_IDLE);
    FUZZ_CHECK(m->raw_len >= 1 && m->raw_len <= (uint32_t)1 << id->chunk_log2);
    FUZZ_CHECK(m->offset < id->size && m->raw_len <= id->size - m->offset);
    FUZZ_CHECK((m->offset & (((uint64_t)1 << id->chunk_log2) - 1)) == 0);
    FUZZ_CHECK(id->size <= SMALL_MAX || id->size <= BULK_GUESS_BYTES);
    FUZZ_CHECK(zpack_stored_len_ok(m->codec, m->stored_len, m->raw_len));
    if (l->attempt != m->attempt) {
        uint64_t count = cid_chunk_count(id->size, id->chunk_log2);
        load_clear(l);
        l->attempt = m->attempt;
        l->data = malloc(id->size);
        l->packed = malloc((size_t)1 << id->chunk_log2);
        l->whole = calloc(count, sizeof l->whole[0]);
        l->digest = calloc(count, HASH_LEN);
        FUZZ_CHECK(l->data != NULL && l->packed != NULL && l->whole != NULL &&
                   l->digest != NULL);
    }
    memcpy(l->digest[m->offset >> id->chunk_log2], m->digest, HASH_LEN);
}

/* The data of a chunk is there. */
static void take_chunk(struct game *g, const struct bulk_chunk *m)
{
    const struct transfer_identity *id = bulk_identity(g->b, m->item);
    struct load *l = &g->load[m->item];
    uint64_t index = m->offset >> id->chunk_log2;
    if (m->codec == CODEC_ZERO) {
        memset(l->data + m->offset, 0, m->raw_len);
    } else if (m->codec == CODEC_RAW) {
        memcpy(l->data + m->offset, l->packed, m->raw_len);
    } else if (zpack_inflate(g->zpack, l->packed, m->stored_len,
                             l->data + m->offset, m->raw_len) != 0) {
        memset(l->digest[index], 0, HASH_LEN); /* no bytes have this one */
    }
    FUZZ_CHECK(!l->whole[index]);
    l->whole[index] = true;
    l->chunks++;
}

static void take_bytes(struct game *g, unsigned c, const uint8_t *data,
                       size_t len)
{
    struct link *k = &g->link[c];
    while (len > 0 && bulk_conn_open(g->b, c)) {
        size_t used = receiver_chunk_left(bulk_receiver(g->b, c));
        if (used > 0) {
            used = used < len ? used : len;
            if (k->chunk.wanted) {
                memcpy(g->load[k->chunk.item].packed + k->got, data, used);
            }
            k->got += (uint32_t)used;
            bulk_chunk_data(g->b, c, used, g->now);
        } else {
            bulk_feed(g->b, c, data, len, &used, &k->chunk, g->now);
            FUZZ_CHECK(used > 0 && used <= len);
            k->chunk.wanted = k->chunk.wanted && k->chunk.present;
            k->got = 0;
            if (k->chunk.wanted) {
                take_head(g, &k->chunk);
            }
        }
        if (k->chunk.present && k->got == k->chunk.stored_len &&
            bulk_conn_open(g->b, c)) {
            if (k->chunk.wanted) {
                take_chunk(g, &k->chunk);
            }
            k->chunk.present = k->chunk.wanted = false;
        }
        data += used;
        len -= used;
    }
}

/* ---- the runner: files. */

FUZZ_QUIET static void check_content(struct game *g, const struct load *l,
                                     const struct transfer_identity *id)
{
    const struct remote *r = &g->remote[l->file];
    bool same = false;
    if (g->lied && !l->pinned) {
        return;
    }
    FUZZ_CHECK(id->size == r->size);
    for (unsigned v = 0; v <= (l->pinned ? 0 : r->version) && !same; v++) {
        same = true;
        for (uint32_t at = 0; at < r->size && same; at++) {
            same = l->data[at] == truth(r, v, at);
        }
    }
    FUZZ_CHECK(same);
}

static void store(struct game *g, uint32_t i)
{
    static uint8_t none[1][HASH_LEN];
    const struct transfer_identity *id = bulk_identity(g->b, i);
    struct load *l = &g->load[i];
    uint64_t count = cid_chunk_count(id->size, id->chunk_log2);
    enum bulk_stored result = BULK_STORED;
    FUZZ_CHECK(l->chunks == count);
    for (uint64_t k = 0; k < count; k++) {
        uint8_t digest[HASH_LEN];
        FUZZ_CHECK(l->whole[k]);
        FUZZ_CHECK(hash_sha256(g->hasher, l->data + (k << id->chunk_log2),
                               cid_chunk_len(id->size, id->chunk_log2, k),
                               digest) == 0);
        if (memcmp(digest, l->digest[k], HASH_LEN) != 0) {
            FUZZ_CHECK(g->hostile);
            result = BULK_BAD_CHUNK;
        }
    }
    if (result == BULK_STORED &&
        bulk_check(g->hasher, id, (count > 0 ? l->digest : none)[0]) != 0) {
        FUZZ_CHECK(g->hostile);
        result = BULK_BAD_CID;
    }
    if (result == BULK_STORED) {
        check_content(g, l, id);
    }
    load_clear(l);
    bulk_stored(g->b, i, result, g->now);
}

static void settle(struct game *g, uint32_t i, bool fetch)
{
    struct load *l = &g->load[i];
    enum bulk_action_type owed = l->owed;
    l->owed = BULK_IDLE;
    if (owed == BULK_STORE) {
        store(g, i);
    } else if (owed == BULK_PROBED) {
        l->judged = l->judged || !fetch;
        bulk_judge(g->b, i, fetch, g->now);
    }
}

static void over(struct game *g, const struct bulk_action *a)
{
    struct load *l = &g->load[a->item];
    FUZZ_CHECK(a->item < ITEMS && l->used && l->owed == BULK_IDLE);
    FUZZ_CHECK(a->text != NULL && *a->text != '\0');
    FUZZ_CHECK(l->judged == (a->outcome == BULK_SKIPPED));
    FUZZ_CHECK(g->hostile || a->outcome != BULK_BAD);
    load_clear(l);
    l->used = false;
    g->items--;
}

static void link_down(struct game *g, unsigned c)
{
    struct link *k = &g->link[c];
    k->dialled = k->up = false;
    k->chunk.present = k->chunk.wanted = false;
    memset(k->served, 0, sizeof k->served);
    partner_start(&k->peer);
}

static void act(struct game *g, const struct bulk_action *a)
{
    FUZZ_CHECK(!g->done && !g->failed);
    switch (a->type) {
    case BULK_DIAL:
        FUZZ_CHECK(a->conn < CONNS && !g->link[a->conn].dialled &&
                   !g->link[a->conn].up);
        g->link[a->conn].dialled = true;
        break;
    case BULK_DROP:
        FUZZ_CHECK(a->conn < CONNS && g->link[a->conn].up);
        link_down(g, a->conn);
        break;
    case BULK_PROBED:
    case BULK_STORE:
        FUZZ_CHECK(g->load[a->item].owed == BULK_IDLE);
        g->load[a->item].owed = a->type;
        break;
    case BULK_ITEM:
        over(g, a);
        break;
    case BULK_FAIL:
        FUZZ_CHECK(g->hostile && *a->text != '\0');
        g->failed = true;
        break;
    case BULK_END:
        FUZZ_CHECK(g->ended && g->items == 0);
        g->done = true;
        break;
    case BULK_NOTE:
    case BULK_IDLE:
        break;
    }
}

static void run(struct game *g)
{
    struct bulk_action a;
    unsigned count = 0;
    bool more = true;
    while (more && !g->failed && !g->done) {
        more = false;
        while (!g->failed && !g->done &&
               bulk_next(g->b, g->now, &a) != BULK_IDLE) {
            act(g, &a);
            check_inside(g);
            FUZZ_CHECK(++count < 100000);
        }
        for (uint32_t i = 0; i < ITEMS && !g->slow; i++) {
            more = more || g->load[i].owed != BULK_IDLE;
            settle(g, i, g->load[i].file % 4 != 3);
        }
    }
    for (unsigned c = 0; c < CONNS; c++) {
        if (g->b->courier[c] != NULL) {
            check_courier(g->b->courier[c]);
        }
    }
}

/* ---- the server. */

/* What the client has sent. */
static void listen(struct game *g, unsigned c)
{
    struct link *k = &g->link[c];
    const uint8_t *data;
    if (k->up && bulk_conn_open(g->b, c)) {
        size_t len = receiver_out(bulk_receiver(g->b, c), &data);
        partner_take(&k->peer, data, len);
        receiver_sent(bulk_receiver(g->b, c), len, g->now);
    }
}

static void deliver(struct game *g, unsigned c)
{
    struct link *k = &g->link[c];
    if (k->up) {
        take_bytes(g, c, writer_data(&k->peer.w), writer_len(&k->peer.w));
    }
    partner_clear(&k->peer);
    g->now++;
    run(g);
}

static struct served *served(struct link *k, uint32_t handle)
{
    struct served *v = &k->served[handle % BULK_WINDOW];
    return handle != 0 && v->handle == handle ? v : NULL;
}

static void answer_open(struct game *g, struct link *k,
                        const struct partner_request *q)
{
    const struct msg_open *open = &q->msg.open;
    struct msg_info m = { .handle = open->handle, .file_type = FILE_REGULAR,
                          .chunk_log2 = LOG2, .mode = 0644 };
    unsigned n = open->path.len == 3 ? (unsigned)(open->path.ptr[1] - 'a')
                                     : FILES;
    const struct remote *r = &g->remote[n % FILES];
    char version[8];
    uint8_t cid[HASH_LEN];
    FUZZ_CHECK(n < FILES && memcmp(open->path.ptr, r->path, 3) == 0);
    true_cid(g, r, r->version, cid);
    if (open->expect_cid.len > 0 && !g->blind &&
        memcmp(open->expect_cid.ptr, cid, HASH_LEN) != 0) {
        partner_error(&k->peer, q->id, WIRE_CHANGED, 0);
        return;
    }
    (void)snprintf(version, sizeof version, "v%u", r->version);
    m.size = r->size;
    m.version = partner_text(version);
    m.info_flags = (uint16_t)((r->strong ? INFO_VERSION_STRONG : 0u) |
                              (r->names_cid ? 0u : INFO_CID_PENDING));
    if (r->names_cid) {
        m.cid = (struct bytes_view){ cid, HASH_LEN };
    }
    FUZZ_CHECK(msg_info_encode(&m, q->id, &k->peer.w) == BELAY_OK);
    k->served[open->handle % BULK_WINDOW] =
        (struct served){ open->handle, n, r->version };
}

static void send_chunk(struct game *g, struct link *k,
                       const struct partner_request *q,
                       const struct served *v)
{
    uint8_t data[CHUNK];
    const struct remote *r = &g->remote[v->file];
    /* In the midst of a change some of it is old and some is new. */
    uint32_t len = fill(r, r->version, q->step, data);
    struct zpack_out out = { .bytes = data, .len = len };
    uint8_t packed[CHUNK];
    struct msg_chunk m = { .offset = q->step << LOG2,
                           .raw_len = len,
                           .handle = q->msg.get.handle };
    FUZZ_CHECK(hash_sha256(g->hasher, data, len, m.digest) == 0);
    if (zpack_is_zero(data, len)) {
        m.codec = CODEC_ZERO;
        out.len = 0;
    } else if (v->file % 2 == 0 && g->config.line.compression) {
        out = (struct zpack_out){ .bytes = packed, .cap = sizeof packed };
        if (zpack_deflate(g->zpack, 1, data, len, &out) == 0) {
            m.codec = CODEC_ZLIB;
        } else {
            out = (struct zpack_out){ .bytes = data, .len = len };
        }
    }
    m.stored_len = (uint32_t)out.len;
    FUZZ_CHECK(msg_chunk_encode(&m, q->id, &k->peer.w) == BELAY_OK);
    writer_bytes(&k->peer.w, out.bytes, out.len);
}

/* A chunk or DONE; true when the request is answered. */
static bool answer_get(struct game *g, struct link *k,
                       struct partner_request *q)
{
    struct served *v = served(k, q->msg.get.handle);
    struct msg_range range = msg_get_range(&q->msg.get, 0);
    if (v == NULL) {
        partner_error(&k->peer, q->id, WIRE_BAD_HANDLE, 0);
        return true;
    }
    const struct remote *r = &g->remote[v->file];
    uint64_t end = range.length < r->size ? range.length : r->size;
    uint64_t count = cid_chunk_count(r->size, LOG2);
    FUZZ_CHECK(range.offset == 0);
    if (q->step < count && q->step << LOG2 < end) {
        send_chunk(g, k, q, v);
        q->step++;
        return false;
    }
    char version[8];
    uint8_t cid[HASH_LEN];
    uint64_t sent = q->step << LOG2;
    struct msg_done m = { .chunks = q->step,
                          .raw_bytes = sent < r->size ? sent : r->size };
    true_cid(g, r, r->version, cid);
    (void)snprintf(version, sizeof version, "v%u", r->version);
    m.version = partner_text(version);
    if (r->names_cid) {
        m.cid = (struct bytes_view){ cid, HASH_LEN };
    }
    partner_done(&k->peer, q->id, &m);
    if (q->msg.get.flags & GET_CLOSE_AFTER) {
        v->handle = 0;
    }
    return true;
}

/* The next frame of the answer to a request; it is gone when that was all. */
static void answer(struct game *g, struct link *k, size_t which)
{
    struct partner_request *q = &k->peer.request[which];
    const struct msg_done done = { .chunks = 0 };
    bool over_now = true;
    if (q->cancelled) {
        partner_error(&k->peer, q->id, WIRE_CANCELLED, 0);
    } else if (q->type == FRAME_OPEN) {
        answer_open(g, k, q);
    } else if (q->type == FRAME_GET) {
        over_now = answer_get(g, k, q);
    } else {
        struct served *v = q->type == FRAME_CLOSE
                               ? served(k, q->msg.close.handle)
                               : NULL;
        if (v != NULL) {
            v->handle = 0;
        }
        partner_done(&k->peer, q->id, &done);
    }
    if (over_now) {
        partner_remove(&k->peer, which);
    }
}

static bool serve(struct game *g, unsigned c)
{
    struct link *k = &g->link[c];
    bool moved = false;
    for (unsigned n = 0; n < 400 && k->up; n++) {
        listen(g, c);
        if (k->peer.count == 0 && writer_len(&k->peer.w) == 0) {
            break;
        }
        partner_greet(&k->peer, 60, 40, 22);
        if (k->peer.count > 0) {
            answer(g, k, 0);
        }
        deliver(g, c);
        moved = true;
    }
    return moved;
}

/* ---- operations. */

static void add(struct game *g)
{
    uint8_t which = script_u8(&g->s) % FILES;
    uint8_t how = script_u8(&g->s);
    const struct remote *r = &g->remote[which];
    struct bulk_file file = { .path = (const uint8_t *)r->path, .path_len = 3,
                              .size_known = how & 1u,
                              .size = how & 2u ? how * 300u : r->size,
                              .probe = how & 4u,
                              .pinned = how & 8u,
                              .pin_log2 = LOG2 };
    uint32_t item = ITEMS;
    if (g->ended || !bulk_room(g->b)) {
        return;
    }
    if (file.pinned) {
        true_cid(g, r, 0, file.pin_cid);
    }
    FUZZ_CHECK(bulk_add(g->b, &file, &item) == 0);
    FUZZ_CHECK(item < ITEMS && !g->load[item].used);
    g->load[item] = (struct load){ .used = true, .file = which,
                                   .pinned = file.pinned };
    g->items++;
}

static void join(struct game *g, unsigned c, unsigned how)
{
    struct link *k = &g->link[c];
    if (!k->dialled) {
        return;
    }
    link_down(g, c);
    if (how == 1) {
        bulk_dial_failed(g->b, c, "refused", g->now);
    } else {
        k->up = true;
        bulk_connected(g->b, c, g->now);
        run(g);
    }
    if (k->up && how != 2) {
        partner_greet(&k->peer, how == 3 ? LIMIT_REQUESTS_MIN : 60,
                      how == 4 ? LIMIT_HANDLES_MIN : 40, 22);
    }
    deliver(g, c);
}

static void lose(struct game *g, unsigned c)
{
    if (g->link[c].up) {
        link_down(g, c);
        bulk_lost(g->b, c, "cut", g->now);
    }
}

static void one_answer(struct game *g, unsigned c, uint8_t which)
{
    struct link *k = &g->link[c];
    listen(g, c);
    if (k->up && k->peer.count > 0) {
        partner_greet(&k->peer, 60, 40, 22);
        size_t start = writer_len(&k->peer.w);
        answer(g, k, which % k->peer.count);
        g->lied = partner_spoil(&k->peer, &g->s, start) || g->lied;
        g->hostile = g->hostile || g->lied;
        deliver(g, c);
    }
}

static void refuse(struct game *g, unsigned c, uint8_t which)
{
    struct link *k = &g->link[c];
    uint16_t code = script_u16(&g->s);
    uint8_t wait = script_u8(&g->s);
    listen(g, c);
    if (k->up && k->peer.count > 0) {
        size_t i = which % k->peer.count;
        g->hostile = true;
        partner_error(&k->peer, k->peer.request[i].id, code, wait * 40u);
        partner_remove(&k->peer, i);
        deliver(g, c);
    }
}

static void go_away(struct game *g, unsigned c)
{
    struct link *k = &g->link[c];
    struct msg_goaway m = { .last_id = script_u8(&g->s) };
    if (k->up) {
        g->hostile = true;
        FUZZ_CHECK(msg_goaway_encode(&m, &k->peer.w) == BELAY_OK);
        deliver(g, c);
    }
}

static void act_as_runner(struct game *g, uint8_t arg)
{
    if (arg >= 0xf0 && !g->ended) {
        g->ended = true;
        bulk_end_of_input(g->b);
    } else if (arg >= 0xe0) {
        bulk_hurry(g->b, g->now);
    } else {
        settle(g, arg % ITEMS, arg & 0x10u);
    }
}

static void step(struct game *g)
{
    static const uint16_t waits[] = { 1, 300, 2000, 11000, 31000, 60000 };
    uint8_t op = script_u8(&g->s) % OP_COUNT;
    uint8_t arg = op == OP_ADD ? 0 : script_u8(&g->s);
    unsigned c = arg % CONNS;
    switch (op) {
    case OP_ADD:
        add(g);
        break;
    case OP_JOIN:
        join(g, c, arg / CONNS % 8u);
        break;
    case OP_ANSWER:
        one_answer(g, c, arg / CONNS);
        break;
    case OP_SERVE:
        (void)serve(g, c);
        break;
    case OP_LOSE:
        lose(g, c);
        break;
    case OP_TIME:
        g->now += waits[arg % 6u];
        bulk_tick(g->b, g->now);
        break;
    case OP_ERROR:
        refuse(g, c, arg / CONNS);
        break;
    case OP_FRAME:
        if (g->link[c].up) {
            g->hostile = g->lied = true;
            partner_script(&g->link[c].peer, &g->s, 2000);
            deliver(g, c);
        }
        break;
    case OP_GOAWAY:
        go_away(g, c);
        break;
    case OP_CHANGE:
        g->hostile = true;
        g->blind = arg & 0x80u;
        g->lied = g->lied || g->blind;
        g->remote[arg % FILES].version++;
        break;
    default:
        act_as_runner(g, arg);
        break;
    }
    run(g);
}

/* Honest servers from now on, and all the time it takes. */
static void come_to_rest(struct game *g)
{
    g->slow = false;
    g->blind = false;
    if (!g->ended) {
        g->ended = true;
        bulk_end_of_input(g->b);
    }
    for (unsigned c = 0; c < CONNS; c++) {
        lose(g, c);
    }
    run(g);
    for (unsigned n = 0; n < REST_ROUNDS && !g->done && !g->failed; n++) {
        bool moved = false;
        for (unsigned c = 0; c < CONNS; c++) {
            moved = moved || g->link[c].dialled;
            join(g, c, 0);
            moved = serve(g, c) || moved;
        }
        if (!moved) {
            uint64_t at = bulk_deadline(g->b);
            FUZZ_CHECK(at != UINT64_MAX || g->done || g->failed);
            g->now = at > g->now + 20000 ? at : g->now + 20000;
            bulk_tick(g->b, g->now);
        }
        run(g);
    }
    FUZZ_CHECK(g->done || g->failed);
    FUZZ_CHECK(g->failed || g->b->flight == 0);
}

static void game_init(struct game *g)
{
    uint8_t bits = script_u8(&g->s);
    uint8_t salt = script_u8(&g->s);
    g->hasher = hasher_new();
    g->zpack = zpack_new();
    FUZZ_CHECK(g->hasher != NULL && g->zpack != NULL);
    for (unsigned i = 0; i < FILES; i++) {
        struct remote *r = &g->remote[i];
        memcpy(r->path, "fa.", 3);
        r->path[1] = (char)('a' + i);
        r->size = i == 0 ? 0 : (salt * 401u + i * i * 700u) % 33000u;
        r->strong = i % 5 != 4;
        r->names_cid = i % 3 != 2;
    }
    for (unsigned c = 0; c < CONNS; c++) {
        partner_start(&g->link[c].peer);
    }
    g->now = 1000;
    g->slow = bits & 4u;
    g->config = (struct bulk_config){
        .line = { .agent = "fuzz", .max_chunk_log2 = 14, .wait_first = true,
                  .compression = bits & 8u, .seed = bits },
        .conns = 1u + bits % CONNS,
        .items_max = ITEMS,
        .small_max = SMALL_MAX,
    };
    g->b = bulk_new(&g->config, g->now);
    FUZZ_CHECK(g->b != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct game g;
    memset(&g, 0, sizeof g);
    g.s = (struct script){ data, size };
    game_init(&g);
    run(&g);
    for (unsigned i = 0;
         i < OPS_MAX && g.s.left > 0 && !g.done && !g.failed; i++) {
        step(&g);
    }
    if (!g.done && !g.failed) {
        come_to_rest(&g);
    }
    bulk_free(g.b);
    for (unsigned c = 0; c < CONNS; c++) {
        partner_free(&g.link[c].peer);
    }
    for (unsigned i = 0; i < ITEMS; i++) {
        load_clear(&g.load[i]);
    }
    zpack_free(g.zpack);
    hasher_free(g.hasher);
    return 0;
}
