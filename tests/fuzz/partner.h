/* The server's end of one connection in a whole conversation: takes apart what
 * the client sent, keeps what it asked for until it is answered, and has a
 * place for the answers.
 *
 * That the client's frames are well formed is checked on the way: whatever a
 * server says, a client that answers it with nonsense is wrong. */

#ifndef TESTS_FUZZ_PARTNER_H
#define TESTS_FUZZ_PARTNER_H

#include "proto/wire/msg.h"
#include "proto/wire/preface.h"
#include "tests/fuzz/fuzz.h"

#define PARTNER_BYTES ((size_t)256 << 10)
#define PARTNER_REQUESTS 96u

struct partner_request {
    uint8_t type;
    uint32_t id;
    bool cancelled;
    uint64_t step;  /* the target's: how far its answer has come */
    uint8_t *bytes; /* what the views of msg point into */
    struct msg msg;
};

struct partner {
    uint8_t *buf;
    struct writer w; /* what the server says next */
    bool preface_seen;
    bool greeted;
    struct partner_request request[PARTNER_REQUESTS];
    size_t count;
    bool forgetful; /* a request was left out: there were too many */
};

static inline void partner_remove(struct partner *p, size_t i)
{
    FUZZ_CHECK(i < p->count);
    free(p->request[i].bytes);
    p->count--;
    memmove(&p->request[i], &p->request[i + 1],
            (p->count - i) * sizeof p->request[0]);
}

static inline void partner_clear(struct partner *p)
{
    writer_init(&p->w, p->buf, PARTNER_BYTES);
}

/* For a new connection. */
static inline void partner_start(struct partner *p)
{
    while (p->count > 0) {
        partner_remove(p, p->count - 1);
    }
    if (p->buf == NULL) {
        p->buf = malloc(PARTNER_BYTES);
        FUZZ_CHECK(p->buf != NULL);
    }
    p->preface_seen = false;
    p->greeted = false;
    p->forgetful = false;
    partner_clear(p);
}

static inline void partner_free(struct partner *p)
{
    while (p->count > 0) {
        partner_remove(p, p->count - 1);
    }
    free(p->buf);
    p->buf = NULL;
}

/* ---- what the client sent. */

static inline void partner_cancel(struct partner *p, uint32_t id)
{
    for (size_t i = 0; i < p->count; i++) {
        p->request[i].cancelled |= p->request[i].id == id;
    }
}

static inline void partner_keep(struct partner *p, const struct frame *f,
                                   const uint8_t *payload)
{
    struct partner_request *q;

    if (p->count == PARTNER_REQUESTS) {
        partner_remove(p, 0); /* astray by what was said to it */
        p->forgetful = true;
    }
    q = &p->request[p->count++];
    memset(q, 0, sizeof *q);
    q->type = f->type;
    q->id = f->request_id;
    q->bytes = malloc(f->length + 1u);
    FUZZ_CHECK(q->bytes != NULL);
    memcpy(q->bytes, payload, f->length);
    FUZZ_CHECK(msg_decode(f, q->bytes, FRAME_FROM_CLIENT, LIMIT_RANGES_MIN,
                          &q->msg) == BELAY_OK);
}

static inline void partner_frame(struct partner *p, const struct frame *f,
                                 const uint8_t *payload)
{
    enum frame_verdict verdict;
    struct msg m;

    FUZZ_CHECK(frame_classify(f, FRAME_FROM_CLIENT, &verdict) == BELAY_OK);
    if (verdict == FRAME_SKIP) {
        return;
    }
    switch (f->type) {
    case FRAME_OPEN:
    case FRAME_GET:
    case FRAME_DIGEST:
    case FRAME_LIST:
    case FRAME_CLOSE:
        partner_keep(p, f, payload);
        return;
    default:
        FUZZ_CHECK(msg_decode(f, payload, FRAME_FROM_CLIENT, LIMIT_RANGES_MIN,
                              &m) == BELAY_OK);
    }
    if (f->type == FRAME_CANCEL) {
        partner_cancel(p, f->request_id);
    } else if (f->type == FRAME_PING && writer_left(&p->w) >= 64) {
        FUZZ_CHECK(msg_ping_encode(&m.ping, FRAME_PONG, &p->w) == BELAY_OK);
    }
}

/* All that the client has to send: whole frames. */
static inline void partner_take(struct partner *p, const uint8_t *data,
                                size_t len)
{
    if (!p->preface_seen && len > 0) {
        struct preface preface;

        FUZZ_CHECK(len >= PREFACE_LEN);
        FUZZ_CHECK(preface_decode(data, ROLE_CLIENT, &preface) == BELAY_OK);
        p->preface_seen = true;
        data += PREFACE_LEN;
        len -= PREFACE_LEN;
    }
    while (len > 0) {
        struct frame f;
        size_t need;

        FUZZ_CHECK(frame_scan(data, len, &f, &need) == BELAY_OK);
        partner_frame(p, &f, data + FRAME_HEADER_LEN);
        data += need;
        len -= need;
    }
}

/* ---- what the server says. */

static inline struct bytes_view partner_text(const char *text)
{
    return (struct bytes_view){ (const uint8_t *)text, strlen(text) };
}

/* Once in a connection, before anything else. */
static inline void partner_greet(struct partner *p, uint16_t max_requests,
                                 uint16_t max_handles,
                                 uint8_t max_chunk_log2)
{
    static const uint8_t codecs[] = { CODEC_RAW, CODEC_ZLIB, CODEC_ZERO };
    struct preface preface = { .version = PROTO_VERSION,
                               .role = ROLE_SERVER };
    struct msg_hello m = {
        .has = HELLO_HAS_MAX_REQUESTS | HELLO_HAS_MAX_HANDLES |
               HELLO_HAS_MAX_CHUNK_LOG2,
        .max_chunk_log2 = max_chunk_log2,
        .max_requests = max_requests,
        .max_handles = max_handles,
        .codecs = { codecs, sizeof codecs },
        .agent = partner_text("partner"),
    };
    uint8_t bytes[PREFACE_LEN];

    if (p->greeted) {
        return;
    }
    p->greeted = true;
    preface_encode(&preface, bytes);
    writer_bytes(&p->w, bytes, sizeof bytes);
    FUZZ_CHECK(msg_hello_encode(&m, FRAME_FROM_SERVER, &p->w) == BELAY_OK);
}

static inline void partner_error(struct partner *p, uint32_t id,
                                 uint16_t code, uint32_t wait_ms)
{
    struct msg_error m = { .code = code,
                           .has_retry_after = wait_ms > 0,
                           .retry_after_ms = wait_ms };

    FUZZ_CHECK(msg_error_encode(&m, id, &p->w) == BELAY_OK);
}

static inline void partner_done(struct partner *p, uint32_t id,
                                const struct msg_done *m)
{
    FUZZ_CHECK(msg_done_encode(m, id, &p->w) == BELAY_OK);
}

/* Any frame, as the script has it: type, flags, id, length (2), payload. */
static inline void partner_script(struct partner *p, struct script *s,
                                  size_t max)
{
    uint8_t type = script_u8(s);
    uint8_t flags = script_u8(s);
    uint32_t id = script_u8(s);
    size_t len = script_u16(s) % max;
    uint8_t *payload = script_copy(s, &len);
    size_t start = frame_begin(&p->w);

    writer_bytes(&p->w, payload, len);
    if (frame_finish(&p->w, start, type, flags, id) != BELAY_OK) {
        writer_rewind(&p->w, start);
    }
    free(payload);
}

/* Changes a byte of what was built last, from `start` on; if a frame begins
 * there, its CRC is right again.  False: nothing was changed. */
static inline bool partner_spoil(struct partner *p, struct script *s,
                                 size_t start)
{
    uint16_t at = script_u16(s);
    uint8_t flip = script_u8(s);
    size_t len = writer_len(&p->w) - start;
    uint8_t *bytes = p->w.buf + start;
    struct frame f;
    size_t need = 0;

    if (flip == 0 || len < FRAME_HEADER_LEN) {
        return false;
    }
    bytes[at % len] ^= flip;
    if (frame_scan(bytes, len, &f, &need) == ERR_CRC) {
        uint8_t head[FRAME_HEADER_LEN];

        frame_header_encode(head, &f, bytes + FRAME_HEADER_LEN);
        memcpy(bytes, head, sizeof head);
    }
    return true;
}

#endif
