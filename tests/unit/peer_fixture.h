/* The server's end of one connection, written by hand: builds what a server
 * may send, or may not, and takes apart what the client sent.  Shared by the
 * tests of receiver and transfer. */

#ifndef TESTS_UNIT_PEER_FIXTURE_H
#define TESTS_UNIT_PEER_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/data/cid.h"
#include "proto/data/hash.h"
#include "proto/wire/msg.h"
#include "proto/wire/preface.h"

#define PEER_BYTES ((size_t)2 << 20)
#define PEER_REQUESTS 64

/* What the client asked, in the order of arrival. */
struct peer_request {
    uint8_t type;
    uint32_t id;
    struct msg_open open; /* that of the type is valid; views point into */
    struct msg_get get;   /* ... `bytes` */
    struct msg_digest digest;
    struct msg_list list;
    uint32_t handle;
    uint8_t bytes[2048];
};

struct peer {
    uint8_t *buf; /* to be fed */
    struct writer w;
    bool preface_seen;
    struct peer_request request[PEER_REQUESTS];
    size_t count;   /* requests that came */
    size_t answered; /* ... and were looked at by peer_next() */
    unsigned pings;
    unsigned pongs;
    unsigned grease;
    unsigned goaways;
    uint8_t pong[PING_LEN];
    struct msg_hello hello;
    uint8_t hello_bytes[512];
};

static inline void peer_init(struct peer *p)
{
    memset(p, 0, sizeof *p);
    p->buf = malloc(PEER_BYTES);
    assert_non_null(p->buf);
    writer_init(&p->w, p->buf, PEER_BYTES);
}

static inline void peer_free(struct peer *p)
{
    free(p->buf);
}

/* Forget what was built. */
static inline void peer_clear(struct peer *p)
{
    writer_init(&p->w, p->buf, PEER_BYTES);
}

/* ---- what the server sends. */

static inline void peer_preface(struct peer *p)
{
    struct preface preface = {.version = PROTO_VERSION, .role = ROLE_SERVER};
    uint8_t bytes[PREFACE_LEN];

    preface_encode(&preface, bytes);
    writer_bytes(&p->w, bytes, sizeof bytes);
}

static inline void peer_hello(struct peer *p, uint16_t max_requests,
                              uint8_t max_chunk_log2)
{
    static const uint8_t codecs[] = {CODEC_RAW, CODEC_ZLIB, CODEC_ZERO};
    struct msg_hello m = {
        .has = HELLO_HAS_MAX_CHUNK_LOG2 | HELLO_HAS_MAX_REQUESTS,
        .max_chunk_log2 = max_chunk_log2,
        .max_requests = max_requests,
        .codecs = {codecs, sizeof codecs},
        .agent = {(const uint8_t *)"peer", 4}};

    assert_int_equal(msg_hello_encode(&m, FRAME_FROM_SERVER, &p->w), 0);
}

static inline void peer_greeting(struct peer *p)
{
    peer_preface(p);
    peer_hello(p, 64, LIMIT_CHUNK_LOG2_RECOMMENDED);
}

/* Any frame at all, with a right CRC. */
static inline void peer_frame(struct peer *p, uint8_t type, uint8_t flags,
                              uint32_t id, const void *payload, size_t len)
{
    size_t start = frame_begin(&p->w);

    writer_bytes(&p->w, payload, len);
    assert_int_equal(frame_finish(&p->w, start, type, flags, id), 0);
}

struct peer_file {
    uint64_t size;
    uint8_t chunk_log2;
    bool weak;
    const char *version;
    const uint8_t *cid; /* NULL: not named */
};

static inline struct bytes_view peer_text(const char *text)
{
    return (struct bytes_view){(const uint8_t *)text, strlen(text)};
}

static inline void peer_info(struct peer *p, uint32_t id, uint32_t handle,
                             const struct peer_file *f)
{
    struct msg_info m = {
        .handle = handle,
        .file_type = FILE_REGULAR,
        .chunk_log2 = f->chunk_log2,
        .info_flags = (uint16_t)((f->weak ? 0u : INFO_VERSION_STRONG) |
                                 (f->cid == NULL ? INFO_CID_PENDING : 0u)),
        .size = f->size,
        .mode = 0644,
        .version = peer_text(f->version)};

    if (f->cid != NULL) {
        m.cid = (struct bytes_view){f->cid, HASH_LEN};
    }
    assert_int_equal(msg_info_encode(&m, id, &p->w), 0);
}

/* A raw chunk of `data` (len bytes); its digest is right unless `digest` says
 * otherwise. */
static inline void peer_chunk_as(struct peer *p, uint32_t id,
                                 const struct msg_chunk *head,
                                 const uint8_t *data)
{
    assert_int_equal(msg_chunk_encode(head, id, &p->w), 0);
    writer_bytes(&p->w, data, head->stored_len);
    assert_true(writer_ok(&p->w));
}

static inline struct msg_chunk peer_chunk_head(struct hasher *hasher,
                                               uint32_t handle,
                                               uint64_t offset,
                                               const uint8_t *data,
                                               uint32_t len)
{
    struct msg_chunk m = {.offset = offset,
                          .raw_len = len,
                          .stored_len = len,
                          .handle = handle,
                          .codec = CODEC_RAW};

    assert_int_equal(hash_sha256(hasher, data, len, m.digest), 0);
    return m;
}

static inline void peer_done(struct peer *p, uint32_t id, uint64_t chunks,
                             uint64_t raw_bytes, const char *version,
                             const uint8_t *cid)
{
    struct msg_done m = {.chunks = chunks, .raw_bytes = raw_bytes};

    if (version != NULL) {
        m.version = peer_text(version);
    }
    if (cid != NULL) {
        m.cid = (struct bytes_view){cid, HASH_LEN};
    }
    assert_int_equal(msg_done_encode(&m, id, &p->w), 0);
}

static inline void peer_error(struct peer *p, uint32_t id, uint16_t code)
{
    struct msg_error m = {.code = code};

    assert_int_equal(msg_error_encode(&m, id, &p->w), 0);
}

static inline void peer_error_wait(struct peer *p, uint32_t id,
                                   uint16_t code, uint32_t wait_ms)
{
    struct msg_error m = {.code = code,
                          .has_retry_after = true,
                          .retry_after_ms = wait_ms};

    assert_int_equal(msg_error_encode(&m, id, &p->w), 0);
}

static inline void peer_pong(struct peer *p)
{
    struct msg_ping m = {{0}}; /* what is in it, nobody looks at (C5) */

    assert_int_equal(msg_ping_encode(&m, FRAME_PONG, &p->w), 0);
}

static inline void peer_goaway(struct peer *p, uint32_t last_id,
                               uint16_t code)
{
    struct msg_goaway m = {.last_id = last_id, .code = code};

    assert_int_equal(msg_goaway_encode(&m, &p->w), 0);
}

static inline void peer_digests(struct peer *p, uint32_t id, uint64_t first,
                                uint32_t count, uint8_t block_log2,
                                uint8_t (*digest)[HASH_LEN], bool end)
{
    struct msg_digests_builder b;
    struct tlv none = {0};

    msg_digests_begin(&b, &p->w, first, block_log2);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(msg_digests_add(&b, digest[first + i]), 0);
    }
    assert_int_equal(msg_digests_finish(&b, (struct bytes_view){0}, end, id,
                                        &none),
                     0);
}

/* ---- what the client sent. */

static inline void peer_take_request(struct peer *p, const struct frame *f,
                                     const uint8_t *payload)
{
    struct peer_request *q;
    struct msg m;

    assert_true(p->count < PEER_REQUESTS);
    q = &p->request[p->count++];
    q->type = f->type;
    q->id = f->request_id;
    assert_true(f->length <= sizeof q->bytes);
    memcpy(q->bytes, payload, f->length);
    assert_int_equal(msg_decode(f, q->bytes, FRAME_FROM_CLIENT,
                                LIMIT_RANGES_MIN, &m),
                     0);
    switch (f->type) {
    case FRAME_OPEN:
        q->open = m.open;
        q->handle = m.open.handle;
        break;
    case FRAME_GET:
        q->get = m.get;
        q->handle = m.get.handle;
        break;
    case FRAME_DIGEST:
        q->digest = m.digest;
        q->handle = m.digest.handle;
        break;
    case FRAME_LIST:
        q->list = m.list;
        q->handle = 0;
        break;
    case FRAME_CLOSE:
        q->handle = m.close.handle;
        break;
    default:
        q->handle = 0;
    }
}

static inline void peer_take_frame(struct peer *p, const struct frame *f,
                                   const uint8_t *payload)
{
    enum frame_verdict verdict;
    struct msg_ping ping;

    assert_int_equal(frame_classify(f, FRAME_FROM_CLIENT, &verdict), 0);
    if (verdict == FRAME_SKIP) {
        p->grease++;
        return;
    }
    switch (f->type) {
    case FRAME_HELLO:
        assert_true(f->length <= sizeof p->hello_bytes);
        memcpy(p->hello_bytes, payload, f->length);
        assert_int_equal(msg_hello_decode(p->hello_bytes, f->length,
                                          FRAME_FROM_CLIENT, &p->hello),
                         0);
        break;
    case FRAME_PING:
        p->pings++;
        break;
    case FRAME_PONG:
        p->pongs++;
        assert_int_equal(msg_ping_decode(payload, f->length, &ping), 0);
        memcpy(p->pong, ping.opaque, PING_LEN);
        break;
    case FRAME_GOAWAY:
        p->goaways++;
        break;
    default:
        peer_take_request(p, f, payload);
    }
}

/* Take everything that the client wants to send; it must be well formed. */
static inline void peer_take(struct peer *p, const uint8_t *data, size_t len)
{
    if (!p->preface_seen && len > 0) {
        struct preface preface;

        assert_true(len >= PREFACE_LEN);
        assert_int_equal(preface_decode(data, ROLE_CLIENT, &preface), 0);
        p->preface_seen = true;
        data += PREFACE_LEN;
        len -= PREFACE_LEN;
    }
    while (len > 0) {
        struct frame f;
        size_t need;

        assert_int_equal(frame_scan(data, len, &f, &need), 0);
        peer_take_frame(p, &f, data + FRAME_HEADER_LEN);
        data += need;
        len -= need;
    }
}

#endif
