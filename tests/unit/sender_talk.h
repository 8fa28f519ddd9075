/* Talking to a sender as a client: saying requests, and expecting answers one
 * by one. Shared by the tests of the sender. */

#ifndef TESTS_UNIT_SENDER_TALK_H
#define TESTS_UNIT_SENDER_TALK_H

#include "tests/unit/sender_fixture.h"

static const struct sender_config usual = {
    .max_chunk_log2 = 22,
    .max_requests = 20,
    .max_handles = 16,
    .max_ranges = 64,
    .idle_timeout_s = 120,
    .ping_interval_s = 10,
    .compression = true,
    .agent = "test",
};

/* ---- Saying things as a client. */

static uint8_t said[70000];
static struct writer say;

static inline void
say_begin(void)
{
    writer_init(&say, said, sizeof(said));
}

static inline void
say_end(struct fixture *f)
{
    assert_int_equal(writer_err(&say), 0);
    fixture_feed(f, said, writer_len(&say));
    say_begin();
}

static inline void
say_greeting(struct fixture *f, bool zero)
{
    static const uint8_t codecs[] = { CODEC_RAW, CODEC_ZLIB, CODEC_ZERO };
    struct preface p = { .version = PROTO_VERSION, .role = ROLE_CLIENT };
    struct msg_hello hello = {
        .has = HELLO_HAS_MAX_CHUNK_LOG2,
        .max_chunk_log2 = 20,
        .codecs = { codecs, zero ? 3 : 1 },
    };
    uint8_t bytes[PREFACE_LEN];
    preface_encode(&p, bytes);
    say_begin();
    writer_bytes(&say, bytes, sizeof(bytes));
    assert_int_equal(msg_hello_encode(&hello, FRAME_FROM_CLIENT, &say), 0);
    say_end(f);
    fixture_skip_greeting(f);
    assert_true(sender_ready(f->s));
}

static inline void
say_open(uint32_t id, uint32_t handle, const char *path)
{
    struct msg_open m = {
        .handle = handle,
        .flags = handle == 0 ? OPEN_NO_HANDLE : 0,
        .want_chunk_log2 = 12,
        .path = { (const uint8_t *)path, strlen(path) },
    };
    assert_int_equal(msg_open_encode(&m, id, &say), 0);
}

struct get {
    uint32_t handle;
    uint8_t urgency;
    uint8_t flags;
    uint64_t offset;
    uint64_t length;
};

static inline void
say_get(uint32_t id, const struct get *get)
{
    uint8_t packed[MSG_RANGES_BYTES(1)];
    struct msg_range range = { get->offset, get->length };
    struct msg_get m = {
        .handle = get->handle,
        .urgency = get->urgency,
        .flags = get->flags,
    };
    msg_ranges_pack(&m, &range, 1, packed);
    assert_int_equal(msg_get_encode(&m, id, &say), 0);
}

static inline void
say_get_all(uint32_t id, uint32_t handle)
{
    say_get(id, &(struct get){ handle, 3, 0, 0, GET_TO_END });
}

static inline void
say_cancel(uint32_t id)
{
    struct msg_cancel m = { .grease = { .type = 0 } };
    assert_int_equal(msg_cancel_encode(&m, id, &say), 0);
}

static inline void
say_close(uint32_t id, uint32_t handle)
{
    struct msg_close m = { .handle = handle };
    assert_int_equal(msg_close_encode(&m, id, &say), 0);
}

static inline void
say_ping(void)
{
    struct msg_ping m = { .opaque = { 1, 2, 3, 4, 5, 6, 7, 8 } };
    assert_int_equal(msg_ping_encode(&m, FRAME_PING, &say), 0);
}

static inline void
say_digest(uint32_t id, uint8_t block_log2, uint64_t first, uint32_t count,
           uint8_t flags)
{
    struct msg_digest m = {
        .handle = 1,
        .block_log2 = block_log2,
        .flags = flags,
        .first_block = first,
        .block_count = count,
    };
    assert_int_equal(msg_digest_encode(&m, id, &say), 0);
}

/* ---- Looking at the answers. */

struct seen {
    uint8_t type;
    uint32_t id;
    uint16_t code;     /* ERROR, GOAWAY */
    uint64_t offset;   /* CHUNK, ERROR */
    uint32_t last_id;  /* GOAWAY */
};

static inline bool
next(struct fixture *f, struct seen *out)
{
    struct frame frame;
    const uint8_t *payload = NULL;
    memset(out, 0, sizeof(*out));
    if (!fixture_frame(f, &frame, &payload)) {
        return false;
    }
    out->type = frame.type;
    out->id = frame.request_id;
    if (frame.type == FRAME_ERROR) {
        struct msg_error m;
        assert_int_equal(msg_error_decode(payload, frame.length, &m), 0);
        out->code = m.code;
        out->offset = m.offset;
    } else if (frame.type == FRAME_GOAWAY) {
        struct msg_goaway m;
        assert_int_equal(msg_goaway_decode(payload, frame.length, &m), 0);
        out->code = m.code;
        out->last_id = m.last_id;
    } else if (frame.type == FRAME_CHUNK) {
        struct msg_chunk m;
        assert_int_equal(msg_chunk_decode(&frame, payload, &m), 0);
        out->offset = m.offset;
    }
    return true;
}

static inline void
expect(struct fixture *f, uint8_t type, uint32_t id)
{
    struct seen seen;
    assert_true(next(f, &seen));
    assert_int_equal(seen.type, type);
    assert_int_equal(seen.id, id);
}

static inline void
expect_chunk(struct fixture *f, uint32_t id, uint64_t offset)
{
    struct seen seen;
    assert_true(next(f, &seen));
    assert_int_equal(seen.type, FRAME_CHUNK);
    assert_int_equal(seen.id, id);
    assert_int_equal(seen.offset, offset);
}

static inline void
expect_error(struct fixture *f, uint32_t id, uint16_t code)
{
    struct seen seen;
    assert_true(next(f, &seen));
    assert_int_equal(seen.type, FRAME_ERROR);
    assert_int_equal(seen.id, id);
    assert_int_equal(seen.code, code);
}

static inline void
expect_nothing(struct fixture *f)
{
    assert_int_equal(f->out_read, f->out_len);
}

static inline void
expect_last_words(struct fixture *f, uint16_t code)
{
    struct seen seen;
    expect_error(f, 0, code);
    assert_true(next(f, &seen));
    assert_int_equal(seen.type, FRAME_GOAWAY);
    assert_int_equal(seen.code, code);
    expect_nothing(f);
    assert_true(sender_finished(f->s));
}

/* A sender with an open handle 1 on the file of five chunks; request 1. */
static inline void
begin(struct fixture *f, const struct sender_config *config)
{
    fixture_init(f, config);
    say_greeting(f, true);
    say_open(1, 1, "iso/demo.bin");
    say_end(f);
    expect(f, FRAME_INFO, 1);
}

#endif
