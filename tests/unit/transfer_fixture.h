/* A transfer with a runner made of memory and servers written by hand.
 *
 * Chunks are verified and stored at once, local work is done at once (unless
 * the test holds it back), time is a number that the test moves.  What a
 * server says is built by the test; serve() plays a whole honest one. */

#ifndef TESTS_UNIT_TRANSFER_FIXTURE_H
#define TESTS_UNIT_TRANSFER_FIXTURE_H

#include "tests/unit/peer_fixture.h"

#include "proto/base/err.h"
#include "proto/data/merkle.h"
#include "proto/session/transfer.h"

#define BENCH_CONNS 16
#define BENCH_DISK ((size_t)64 << 20)
#define BENCH_HELD 64
#define MASK_BITS 64u /* chunks that masks can name */
#define KIB UINT64_C(1024)

/* One version of the file, as a server has it. */
struct version {
    const char *token;
    bool weak;
    bool names_cid;
    uint8_t chunk_log2;
    uint64_t size;
    uint64_t count;
    uint8_t *data;
    uint8_t (*digest)[HASH_LEN];
    uint8_t cid[HASH_LEN];
};

struct bench {
    struct transfer *t;
    struct transfer_config config;
    struct hasher *hasher;
    uint64_t now;
    uint8_t *disk;
    /* Donors that are not the file itself. */
    const uint8_t *donor[TRANSFER_DONORS_MAX];
    bool donor_lies; /* its bytes are others when they are copied */
    bool compared;
    struct peer peer[BENCH_CONNS];
    bool up[BENCH_CONNS];
    bool dial[BENCH_CONNS];
    /* What the transfer said. */
    unsigned dials, drops, begins, rebases, identities, hashes, copies;
    unsigned notes[32];
    uint64_t note_count[32]; /* .count of the last note of a kind */
    bool finished;
    bool failed;
    enum transfer_reason reason;
    /* Held back by the test. */
    bool hold_copies;
    struct transfer_action held_copy;
    bool hold_hashes;
    struct transfer_action held[BENCH_HELD];
    unsigned held_count;
    bool hold_chunks;
    struct transfer_chunk held_chunk[BENCH_HELD];
    unsigned held_chunks;
    bool chunk_fails; /* the data is said not to fit its digest */
    /* The chunk that is coming. */
    struct transfer_chunk chunk[BENCH_CONNS];
    uint64_t got[BENCH_CONNS];
    unsigned stored;
};

/* ---- versions. */

static inline void version_seal(struct version *v)
{
    struct hasher *hasher = hasher_new();
    uint8_t root[HASH_LEN];

    v->count = cid_chunk_count(v->size, v->chunk_log2);
    free(v->digest);
    v->digest = calloc(v->count + 1, HASH_LEN);
    assert_non_null(v->digest);
    for (uint64_t i = 0; i < v->count; i++) {
        assert_int_equal(
            hash_sha256(hasher, v->data + (i << v->chunk_log2),
                        cid_chunk_len(v->size, v->chunk_log2, i),
                        v->digest[i]),
            0);
    }
    assert_int_equal(merkle_root(hasher, v->size, v->chunk_log2,
                                 v->digest[0], v->count, root),
                     0);
    assert_int_equal(
        cid_from_root(hasher, v->size, v->chunk_log2, root, v->cid), 0);
    hasher_free(hasher);
}

/* Every chunk is different: word i of the file is a function of i. */
static inline struct version version_new(const char *token, uint64_t size,
                                         uint8_t chunk_log2)
{
    struct version v = {.token = token,
                        .names_cid = true,
                        .size = size,
                        .chunk_log2 = chunk_log2};

    v.data = malloc(size + 8);
    assert_non_null(v.data);
    for (uint64_t i = 0; i < size; i += 8) {
        uint64_t word = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);

        memcpy(v.data + i, &word, 8);
    }
    version_seal(&v);
    return v;
}

static inline void version_free(struct version *v)
{
    free(v->data);
    free(v->digest);
}

/* ---- life. */

static inline void bench_init(struct bench *b)
{
    memset(b, 0, sizeof *b);
    b->now = 100000;
    b->hasher = hasher_new();
    b->disk = calloc(1, BENCH_DISK);
    assert_non_null(b->hasher);
    assert_non_null(b->disk);
    b->config = (struct transfer_config){
        .path = (const uint8_t *)"demo",
        .path_len = 4,
        .max_chunk_log2 = LIMIT_CHUNK_LOG2_MAX,
        .conns = 1,
        .agent = "test",
        .seed = 9};
    for (unsigned i = 0; i < BENCH_CONNS; i++) {
        peer_init(&b->peer[i]);
    }
}

static inline void bench_free(struct bench *b)
{
    transfer_free(b->t);
    hasher_free(b->hasher);
    free(b->disk);
    for (unsigned i = 0; i < BENCH_CONNS; i++) {
        peer_free(&b->peer[i]);
    }
}

/* ---- local work. */

/* Whose bytes does this action mean? */
static inline const uint8_t *bench_bytes(const struct bench *b,
                                         const struct transfer_action *a)
{
    return a->donor == TRANSFER_NO_DONOR || b->config.donors[a->donor].self
               ? b->disk
               : b->donor[a->donor];
}

static inline void bench_hash(struct bench *b, const struct transfer_action *a)
{
    uint64_t size = a->donor == TRANSFER_NO_DONOR
                        ? transfer_identity(b->t)->size
                        : b->config.donors[a->donor].size;

    for (uint64_t i = a->first; i < a->first + a->count; i++) {
        uint8_t digest[HASH_LEN];

        assert_int_equal(hash_sha256(b->hasher,
                                     bench_bytes(b, a) + (i << a->chunk_log2),
                                     cid_chunk_len(size, a->chunk_log2, i),
                                     digest),
                         0);
        transfer_hashed(b->t, i, digest, b->now);
    }
}

static inline void bench_copy(struct bench *b, const struct transfer_action *a)
{
    uint32_t len = cid_chunk_len(transfer_identity(b->t)->size,
                                 a->chunk_log2, a->first);
    const uint8_t *from = bench_bytes(b, a) + a->from_offset;
    uint8_t digest[HASH_LEN];
    bool ok;

    assert_int_equal(hash_sha256(b->hasher, from, len, digest), 0);
    ok = memcmp(digest, a->digest, HASH_LEN) == 0 && !b->donor_lies;
    if (ok) {
        memmove(b->disk + (a->first << a->chunk_log2), from, len);
    }
    transfer_copied(b->t, ok, b->now);
}

/* Do the local work that was held back. */
static inline void release_hashes(struct bench *b)
{
    b->hold_hashes = false;
    for (unsigned k = 0; k < b->held_count; k++) {
        bench_hash(b, &b->held[k]);
    }
    b->held_count = 0;
}

static inline void bench_act(struct bench *b, const struct transfer_action *a)
{
    switch (a->type) {
    case TRANSFER_DIAL:
        assert_false(b->up[a->conn]);
        assert_false(b->dial[a->conn]);
        b->dial[a->conn] = true;
        b->dials++;
        break;
    case TRANSFER_DROP:
        b->up[a->conn] = false;
        b->dial[a->conn] = false;
        b->chunk[a->conn].present = false;
        b->drops++;
        break;
    case TRANSFER_BEGIN:
        b->begins++;
        break;
    case TRANSFER_REBASE:
        b->rebases++;
        break;
    case TRANSFER_IDENTITY:
        b->identities++;
        break;
    case TRANSFER_HASH:
        assert_false(b->config.in_order); /* its output is gone */
        b->hashes++;
        if (b->hold_hashes) {
            assert_true(b->held_count < BENCH_HELD);
            b->held[b->held_count++] = *a;
        } else {
            bench_hash(b, a);
        }
        break;
    case TRANSFER_COPY:
        b->copies++;
        if (b->hold_copies) {
            b->held_copy = *a;
        } else {
            bench_copy(b, a);
        }
        break;
    case TRANSFER_COMPARED:
        assert_false(b->compared || b->failed || b->finished);
        b->compared = true;
        break;
    case TRANSFER_FINISH:
        assert_false(b->finished);
        b->finished = true;
        break;
    case TRANSFER_FAIL:
        assert_false(b->failed || b->finished);
        b->failed = true;
        b->reason = a->reason;
        break;
    case TRANSFER_NOTE:
        b->notes[a->note]++;
        b->note_count[a->note] = a->count;
        break;
    case TRANSFER_IDLE:
        break;
    }
}

static inline void bench_take(struct bench *b)
{
    for (unsigned i = 0; i < BENCH_CONNS; i++) {
        struct receiver *r = transfer_receiver(b->t, i);
        const uint8_t *data;
        size_t len;

        if (!b->up[i]) {
            continue;
        }
        len = receiver_out(r, &data);
        peer_take(&b->peer[i], data, len);
        receiver_sent(r, len, b->now);
    }
}

/* Do what the transfer says until it is at rest. */
static inline void pump(struct bench *b)
{
    struct transfer_action a;
    unsigned count = 0;

    while (!b->failed &&
           transfer_next(b->t, b->now, &a) != TRANSFER_IDLE) {
        bench_act(b, &a);
        assert_true(++count < 10000);
    }
    bench_take(b);
}

/* Time passes; timers run when they want to. */
static inline void pass(struct bench *b, uint64_t ms)
{
    uint64_t end = b->now + ms;
    unsigned count = 0;

    while (!b->failed && transfer_deadline(b->t) <= end) {
        uint64_t at = transfer_deadline(b->t);

        b->now = at > b->now ? at : b->now;
        transfer_tick(b->t, b->now);
        pump(b);
        assert_true(++count < 100000);
    }
    b->now = end;
    if (!b->failed) {
        pump(b);
    }
}

static inline void bench_start(struct bench *b)
{
    b->t = transfer_new(&b->config, b->now);
    assert_non_null(b->t);
}

/* Time passes until connection i is to be dialled. */
static inline void await_dial(struct bench *b, unsigned i)
{
    for (unsigned n = 0; !b->dial[i] && n < 1000; n++) {
        pass(b, 100);
    }
    assert_true(b->dial[i]);
}

/* The dial succeeds; the server has not said anything yet. */
static inline void join(struct bench *b, unsigned i)
{
    uint8_t *buf = b->peer[i].buf;

    await_dial(b, i);
    b->dial[i] = false;
    b->up[i] = true;
    memset(&b->peer[i], 0, sizeof b->peer[i]);
    b->peer[i].buf = buf;
    peer_clear(&b->peer[i]);
    b->chunk[i].present = false;
    transfer_connected(b->t, i, b->now);
    pump(b);
}

/* ---- bytes. */

static inline void bench_store(struct bench *b, const struct transfer_chunk *c)
{
    if (b->hold_chunks) {
        assert_true(b->held_chunks < BENCH_HELD);
        b->held_chunk[b->held_chunks++] = *c;
        return;
    }
    b->stored++;
    transfer_chunk_done(b->t, c->conn, c->index, c->digest, !b->chunk_fails,
                        b->now);
}

static inline void bench_data(struct bench *b, unsigned i,
                              const uint8_t *data, size_t len)
{
    struct transfer_chunk *c = &b->chunk[i];

    if (c->wanted && !b->chunk_fails && len > 0) {
        assert_true(c->offset + c->raw_len <= BENCH_DISK);
        memcpy(b->disk + c->offset + b->got[i], data, len);
    }
    b->got[i] += len;
    transfer_chunk_data(b->t, i, len, b->now);
    if (b->got[i] == c->stored_len) {
        c->present = false;
        if (c->wanted) {
            bench_store(b, c);
        }
    }
}

static inline void feed_bytes(struct bench *b, unsigned i,
                              const uint8_t *data, size_t len)
{
    while (len > 0 && b->up[i] && !b->failed) {
        size_t used;

        if (b->chunk[i].present) {
            uint64_t left = b->chunk[i].stored_len - b->got[i];

            used = left < len ? (size_t)left : len;
            bench_data(b, i, data, used);
        } else {
            transfer_feed(b->t, i, data, len, &used, &b->chunk[i], b->now);
            assert_true(used > 0);
            b->got[i] = 0;
            if (b->chunk[i].present && b->chunk[i].stored_len == 0) {
                bench_data(b, i, NULL, 0);
            }
        }
        data += used;
        len -= used;
        pump(b);
    }
}

/* Feed what the server of connection i has built. */
static inline void feed(struct bench *b, unsigned i)
{
    struct peer *p = &b->peer[i];
    size_t len = writer_len(&p->w);
    uint8_t *copy = malloc(len + 1);

    assert_non_null(copy);
    memcpy(copy, p->buf, len);
    peer_clear(p);
    feed_bytes(b, i, copy, len);
    free(copy);
    pump(b);
}

static inline void greet(struct bench *b, unsigned i)
{
    peer_greeting(&b->peer[i]);
    feed(b, i);
}

/* The connection is lost. */
static inline void cut(struct bench *b, unsigned i)
{
    assert_true(b->up[i]);
    b->up[i] = false;
    b->chunk[i].present = false;
    transfer_lost(b->t, i, "cut", b->now);
    pump(b);
}

/* ---- what was asked, and honest answers. */

/* The next request on connection i that nobody looked at; NULL if none. */
static inline struct peer_request *peek(struct bench *b, unsigned i)
{
    struct peer *p = &b->peer[i];

    return p->answered < p->count ? &p->request[p->answered] : NULL;
}

static inline struct peer_request *expect(struct bench *b, unsigned i,
                                          uint8_t type)
{
    struct peer_request *q = peek(b, i);

    if (q == NULL) {
        fail_msg("conn %u: no request, where %s should be", i,
                 frame_name(type));
        return NULL;
    }
    if (q->type != type) {
        fail_msg("conn %u: %s where %s should be", i, frame_name(q->type),
                 frame_name(type));
    }
    b->peer[i].answered++;
    return q;
}

/* Time passes until the client sends a PING on connection i. */
static inline void await_ping(struct bench *b, unsigned i)
{
    for (unsigned n = 0; b->peer[i].pings == 0 && n < 1000; n++) {
        pass(b, 100);
    }
    assert_true(b->peer[i].pings > 0);
}

/* The server answers the PING that it must have got. */
static inline void say_pong(struct bench *b, unsigned i)
{
    assert_true(b->peer[i].pings > 0);
    b->peer[i].pings--;
    peer_pong(&b->peer[i]);
    feed(b, i);
}

static inline void expect_none(struct bench *b, unsigned i)
{
    assert_null(peek(b, i));
}

static inline void say_info(struct bench *b, unsigned i,
                            const struct peer_request *q,
                            const struct version *v)
{
    struct peer_file f = {.size = v->size,
                          .chunk_log2 = v->chunk_log2,
                          .weak = v->weak,
                          .version = v->token,
                          .cid = v->names_cid ? v->cid : NULL};

    peer_info(&b->peer[i], q->id, q->handle, &f);
}

/* Connection i comes up, and its server tells of this version. */
static inline void join_file(struct bench *b, unsigned i,
                             const struct version *v)
{
    join(b, i);
    greet(b, i);
    say_info(b, i, expect(b, i, FRAME_OPEN), v);
    feed(b, i);
}

static inline void say_chunk(struct bench *b, unsigned i,
                             const struct peer_request *q,
                             const struct version *v, uint64_t index)
{
    uint64_t at = index << v->chunk_log2;
    struct msg_chunk m =
        peer_chunk_head(b->hasher, q->handle, at, v->data + at,
                        cid_chunk_len(v->size, v->chunk_log2, index));

    peer_chunk_as(&b->peer[i], q->id, &m, v->data + at);
}

/* Which chunks does this GET ask for?  Bit i of the answer is chunk i. */
static inline uint64_t asked_chunks(const struct peer_request *q,
                                    const struct version *v)
{
    uint64_t mask = 0;

    for (uint64_t i = 0; i < v->count && i < MASK_BITS; i++) {
        uint64_t at = i << v->chunk_log2;
        uint64_t end = at + cid_chunk_len(v->size, v->chunk_log2, i);

        for (size_t k = 0; k < q->get.count; k++) {
            struct msg_range r = msg_get_range(&q->get, k);

            if (r.offset < end &&
                (r.length == GET_TO_END || r.offset + r.length > at)) {
                mask |= UINT64_C(1) << i;
            }
        }
    }
    return mask;
}

/* Chunks of the GET whose bits are set, and DONE. */
static inline void say_get(struct bench *b, unsigned i,
                           const struct peer_request *q,
                           const struct version *v)
{
    uint64_t mask = asked_chunks(q, v);
    uint64_t chunks = 0;
    uint64_t bytes = 0;

    assert_true(v->count <= MASK_BITS);
    for (uint64_t k = 0; k < v->count; k++) {
        if ((mask >> k & 1) != 0) {
            say_chunk(b, i, q, v, k);
            chunks++;
            bytes += cid_chunk_len(v->size, v->chunk_log2, k);
        }
    }
    peer_done(&b->peer[i], q->id, chunks, bytes, v->token,
              v->names_cid ? v->cid : NULL);
}

static inline void say_list(struct bench *b, unsigned i,
                            const struct peer_request *q,
                            const struct version *v)
{
    uint64_t first = q->digest.first_block << q->digest.block_log2;
    uint64_t count = v->count - first;

    if (q->digest.block_log2 == 0 && q->digest.block_count != 0 &&
        q->digest.block_count < count) {
        count = q->digest.block_count;
    }
    if (count == 0) {
        peer_done(&b->peer[i], q->id, 0, 0, NULL, NULL);
        return;
    }
    peer_digests(&b->peer[i], q->id, first, (uint32_t)count,
                 q->digest.block_log2, v->digest, true);
}

static inline bool expectations_hold(const struct peer_request *q,
                                     const struct version *v)
{
    const struct msg_open *m = &q->open;

    if (m->expect_cid.len > 0 && v->names_cid) {
        return memcmp(m->expect_cid.ptr, v->cid, HASH_LEN) == 0;
    }
    return m->expect_version.len == 0 ||
           (m->expect_version.len == strlen(v->token) &&
            memcmp(m->expect_version.ptr, v->token, strlen(v->token)) == 0);
}

/* Answer everything that connection i asks, until it asks nothing more. */
static inline void serve(struct bench *b, unsigned i, const struct version *v)
{
    const struct peer_request *q;
    bool refused = false;

    while (b->up[i] && !b->failed && !b->finished &&
           (q = peek(b, i)) != NULL) {
        b->peer[i].answered++;
        switch (q->type) {
        case FRAME_OPEN:
            refused = !expectations_hold(q, v);
            if (refused) {
                peer_error(&b->peer[i], q->id, WIRE_CHANGED);
            } else {
                say_info(b, i, q, v);
            }
            break;
        case FRAME_GET:
            if (refused) {
                peer_error(&b->peer[i], q->id, WIRE_BAD_HANDLE);
            } else {
                say_get(b, i, q, v);
            }
            break;
        case FRAME_DIGEST:
            say_list(b, i, q, v);
            break;
        case FRAME_CLOSE:
            peer_done(&b->peer[i], q->id, 0, 0, NULL, NULL);
            break;
        default:
            break;
        }
        feed(b, i);
    }
}

/* The download is complete, and is this version. */
static inline void assert_finished(struct bench *b, const struct version *v)
{
    const struct transfer_ledger *l = transfer_ledger(b->t);
    const struct transfer_identity *id = transfer_identity(b->t);

    if (b->failed) {
        fail_msg("failed: %s: %s", transfer_reason_name(b->reason),
                 transfer_detail(b->t));
    }
    assert_true(b->finished);
    assert_int_equal(id->size, v->size);
    assert_memory_equal(b->disk, v->data, v->size);
    assert_true(id->cid_known);
    if (id->chunk_log2 == v->chunk_log2) {
        assert_memory_equal(id->cid, v->cid, HASH_LEN);
    }
    assert_int_equal(l->size, v->size);
    assert_int_equal(l->have, v->size);
    assert_int_equal(l->fresh + l->kept + l->reused, v->size);
}

static inline void assert_failed(struct bench *b,
                                 enum transfer_reason reason)
{
    assert_true(b->failed);
    if (b->reason != reason) {
        fail_msg("failed for %s, not %s: %s", transfer_reason_name(b->reason),
                 transfer_reason_name(reason), transfer_detail(b->t));
    }
}

/* The partial file of an earlier run: chunks of `v` whose bits are set, all
 * recorded, all on disk. */
static inline void resume(struct bench *b, const struct version *v,
                          uint64_t mask)
{
    struct transfer_identity id = {.size = v->size,
                                   .chunk_log2 = v->chunk_log2,
                                   .version_len = (uint8_t)strlen(v->token),
                                   .strong = !v->weak,
                                   .cid_known = v->names_cid};

    memcpy(id.version, v->token, id.version_len);
    memcpy(id.cid, v->cid, HASH_LEN);
    assert_int_equal(transfer_resume(b->t, &id), 0);
    for (uint64_t i = 0; i < v->count && i < MASK_BITS; i++) {
        if ((mask >> i & 1) != 0) {
            uint64_t at = i << v->chunk_log2;

            memcpy(b->disk + at, v->data + at,
                   cid_chunk_len(v->size, v->chunk_log2, i));
            transfer_hint(b->t, i, v->digest[i]);
        }
    }
}

/* Two connections; the first has claimed the two chunks that are missing and
 * is silent.  Chunks have 4 KiB. */
static inline void two_conns_of(struct bench *b, const struct version *v)
{
    b->config.conns = 2;
    b->hold_hashes = true;
    bench_start(b);
    resume(b, v, 0);
    memcpy(b->disk, v->data, v->size);
    for (uint64_t i = 2; i < v->count; i++) {
        transfer_hint(b->t, i, v->digest[i]);
    }
    join_file(b, 0, v);
    join_file(b, 1, v);
    release_hashes(b);
    pump(b);
}

static inline void two_conns(struct bench *b, const struct version *v)
{
    bench_init(b);
    two_conns_of(b, v);
}

#endif
