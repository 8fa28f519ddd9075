/* Receiver: greeting, time, requests, and every answer that does not fit. */
#include "tests/unit/receiver_fixture.h"

/* ---- greeting. */

static void test_greeting(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    assert_false(receiver_ready(b.r));
    assert_int_equal(receiver_limits(b.r)->max_requests,
                     LIMIT_REQUESTS_DEFAULT);
    take(&b);
    assert_true(b.peer.preface_seen);
    assert_int_equal(b.peer.grease, 1);
    assert_int_equal(b.peer.hello.max_chunk_log2, LIMIT_CHUNK_LOG2_MAX);
    assert_true(msg_hello_codec(&b.peer.hello, CODEC_ZERO));
    assert_true(msg_hello_codec(&b.peer.hello, CODEC_ZLIB));
    assert_int_equal(b.peer.hello.agent.len, 6);
    peer_preface(&b.peer);
    peer_hello(&b.peer, 40, 13);
    assert_int_equal(feed(&b), 0);
    assert_true(receiver_ready(b.r));
    assert_int_equal(receiver_limits(b.r)->max_requests, 40);
    assert_int_equal(receiver_limits(b.r)->max_chunk_log2, 13);
    assert_false(receiver_limits(b.r)->auth_required);
    /* A new connection forgets all of it. */
    receiver_start(b.r, &config, b.now);
    assert_false(receiver_ready(b.r));
    assert_int_equal(receiver_limits(b.r)->max_requests,
                     LIMIT_REQUESTS_DEFAULT);
    bench_close(&b);
}

static void test_strangers(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        int err;
        const char *says;
    } rows[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28, ERR_MAGIC,
         "HTTP/1.1 400 Bad Request"},
        {"SSH-2.0-x\033[2J", 13, ERR_MAGIC, "SSH-2.0-x"},
        {"\x89""BLY\r\n\x1a\r", 8, ERR_MAGIC, "not a Belay server"},
        {"\x89PNG\r\n\x1a\n", 8, ERR_MAGIC, "not a Belay server"},
        {"\x15\x03\x03\x00\x02\x02\x46", 7, ERR_MAGIC, "speaks TLS"},
        {"\x15\x02\x03\x00\x02\x02\x46", 7, ERR_MAGIC, "not a Belay"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t step = 1; step <= 64; step += 63) {
            struct bench b;

            bench_open(&b);
            assert_int_equal(feed_steps(&b, (const uint8_t *)rows[i].bytes,
                                        rows[i].len, step),
                             rows[i].err);
            if (step > 1) {
                assert_non_null(
                    strstr(receiver_error_text(b.r), rows[i].says));
            }
            assert_null(strchr(receiver_error_text(b.r), '\033'));
            assert_int_equal(receiver_deadline(b.r), UINT64_MAX);
            bench_close(&b);
        }
    }
}

static void test_prefaces(void **state)
{
    static const struct {
        struct preface p;
        unsigned flip; /* a bit of byte 12, the CRC */
        int err;
    } rows[] = {
        {{.version = PROTO_VERSION, .role = ROLE_SERVER}, 0, 0},
        {{.version = PROTO_VERSION, .role = ROLE_SERVER}, 1, ERR_CRC},
        {{.version = PROTO_VERSION, .role = ROLE_CLIENT}, 0, ERR_ROLE},
        {{.version = PROTO_VERSION + 1, .role = ROLE_SERVER}, 0, ERR_VERSION},
        {{.version = PROTO_VERSION + 1, .role = ROLE_SERVER,
          .rejected = true}, 0, ERR_VERSION},
        {{.version = PROTO_VERSION, .role = ROLE_SERVER, .rejected = true},
         0, ERR_VERSION},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench b;
        uint8_t bytes[PREFACE_LEN];

        bench_open(&b);
        preface_encode(&rows[i].p, bytes);
        bytes[12] ^= (uint8_t)rows[i].flip;
        assert_int_equal(feed_steps(&b, bytes, sizeof bytes, 1), rows[i].err);
        bench_close(&b);
    }
}

/* Rule H1a, and what may come twice. */
static void test_first_frame(void **state)
{
    static const struct {
        uint8_t type;
        uint8_t flags;
        uint32_t id;
        size_t len;
        int err;
        enum receiver_event_type event;
    } rows[] = {
        {FRAME_PING, 0, 0, 8, ERR_STATE, 0},
        {FRAME_NOTICE, 0, 0, 3, ERR_STATE, 0},
        {GREASE_FRAME_FIRST, 0, 0, 3, ERR_STATE, 0},
        {FRAME_DONE, FRAME_FLAG_END, 1, 16, ERR_STATE, 0},
        {FRAME_ERROR, FRAME_FLAG_END, 1, 4, ERR_STATE, 0},
        {FRAME_ERROR, FRAME_FLAG_END, 0, 4, 0, RECEIVER_ERROR},
        {FRAME_GOAWAY, 0, 0, 8, 0, RECEIVER_GOAWAY},
        {0x7E, 0, 1, 0, ERR_UNSUPPORTED, 0},
        {FRAME_OPEN, 0, 1, 0, ERR_DIRECTION, 0},
        {0x00, 0, 0, 0, ERR_DIRECTION, 0},
    };
    static const uint8_t zeros[16];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench b;

        bench_open(&b);
        (void)ask_open(&b, 1);
        peer_preface(&b.peer);
        peer_frame(&b.peer, rows[i].type, rows[i].flags, rows[i].id, zeros,
                   rows[i].len);
        assert_int_equal(feed(&b), rows[i].err);
        if (rows[i].err == 0) {
            assert_int_equal(b.event[0].type, rows[i].event);
            assert_int_equal(b.event[0].request, 0);
        }
        bench_close(&b);
    }
}

static void test_second_hello(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    peer_hello(&b.peer, 64, 20);
    assert_int_equal(feed(&b), ERR_STATE);
    /* Dead is dead. */
    peer_hello(&b.peer, 64, 20);
    assert_int_equal(feed(&b), ERR_STATE);
    assert_false(receiver_can_request(b.r));
    bench_close(&b);
}

/* ---- whole answers, in pieces of any size. */

static void build_conversation(struct bench *b)
{
    uint8_t digest[1][HASH_LEN] = {{7}};
    struct msg_progress progress = {.done = 1, .total = 2};
    struct msg_notice notice = {.text = peer_text("hello")};

    peer_greeting(&b->peer);
    info(b, 1, 1);
    peer_frame(&b->peer, GREASE_FRAME_FIRST, 0, 2, "xyz", 3);
    chunk(b, 2, 1, 1);
    assert_int_equal(msg_notice_encode(&notice, &b->peer.w), 0);
    chunk(b, 2, 1, 4);
    peer_done(&b->peer, 2, 2, SIZE - 3 * CHUNK, "v1", NULL);
    assert_int_equal(msg_progress_encode(&progress, 3, &b->peer.w), 0);
    peer_digests(&b->peer, 3, 0, 1, LIMIT_BLOCK_LOG2, digest, true);
    peer_error(&b->peer, 4, WIRE_BUSY);
    peer_goaway(&b->peer, GOAWAY_ANNOUNCE, WIRE_SHUTTING_DOWN);
}

static void test_pieces(void **state)
{
    static const enum receiver_event_type expected[] = {
        RECEIVER_HELLO, RECEIVER_INFO,     RECEIVER_CHUNK,
        RECEIVER_NOTICE, RECEIVER_CHUNK,   RECEIVER_DONE,
        RECEIVER_PROGRESS, RECEIVER_DIGESTS, RECEIVER_ERROR,
        RECEIVER_GOAWAY};
    static const size_t steps[] = {1, 2, 3, 7, 16, 17, 71, 72, 73, 4096,
                                   100000};
    static const struct msg_range ranges[] = {{CHUNK, CHUNK},
                                              {4 * CHUNK, GET_TO_END}};

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct bench b;

        bench_open(&b);
        (void)ask_open(&b, 1);
        (void)ask_get(&b, 1, ranges, 2);
        (void)ask_digest(&b, 1);
        (void)ask_open(&b, 2);
        assert_int_equal(receiver_outstanding(b.r), 4);
        build_conversation(&b);
        assert_int_equal(feed_steps(&b, b.peer.buf, writer_len(&b.peer.w),
                                    steps[i]),
                         0);
        assert_int_equal(b.events, sizeof expected / sizeof expected[0]);
        for (size_t k = 0; k < b.events; k++) {
            assert_int_equal(b.event[k].type, expected[k]);
        }
        assert_int_equal(b.event[4].chunk.offset, 4 * CHUNK);
        assert_int_equal(b.event[4].chunk.raw_len, CHUNK - 100);
        assert_true(b.event[7].end);
        assert_int_equal(b.event[8].error.code, WIRE_BUSY);
        assert_int_equal(receiver_outstanding(b.r), 0);
        assert_false(receiver_can_request(b.r)); /* GOAWAY */
        bench_close(&b);
    }
}

/* Rules F1 to F5 on the bytes of one frame. */
static void test_broken_frames(void **state)
{
    struct bench b;
    uint8_t header[16] = {0};
    int err;

    (void)state;
    for (unsigned bit = 0; bit < 8 * 24; bit++) {
        bench_open(&b);
        greet(&b);
        peer_frame(&b.peer, FRAME_PING, 0, 0, "12345678", 8);
        b.peer.buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        err = feed(&b);
        /* A longer frame waits for the rest, until silence tells. */
        assert_true(err == ERR_CRC || err == ERR_TOO_LARGE ||
                    (err == 0 && bit / 8 < 4));
        take(&b);
        assert_int_equal(b.peer.pongs, 0);
        bench_close(&b);
    }
    bench_open(&b);
    greet(&b);
    header[1] = 1; /* 65536 */
    header[4] = FRAME_INFO;
    assert_int_equal(feed_steps(&b, header, 16, 1), ERR_TOO_LARGE);
    bench_close(&b);
}

/* ---- who answers what. */

static void test_wrong_answers(void **state)
{
    static const uint8_t zeros[LAYOUT_CHUNK_LEN];
    static const struct {
        uint8_t type;
        uint32_t id;
        size_t len;
    } rows[] = {
        {FRAME_INFO, 9, 32},     {FRAME_INFO, 2, 32},
        {FRAME_CHUNK, 9, 56},    {FRAME_CHUNK, 1, 56},
        {FRAME_CHUNK, 3, 56},    {FRAME_DIGESTS, 2, 48},
        {FRAME_DIGESTS, 9, 48},  {FRAME_ENTRIES, 2, 4},
        {FRAME_DONE, 9, 16},     {FRAME_DONE, 1, 16},
        {FRAME_ERROR, 9, 4},     {0x7E, 9, 4},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct msg_range range = {0, GET_TO_END};
        struct bench b;
        bool end = rows[i].type != FRAME_CHUNK;

        bench_open(&b);
        greet(&b);
        (void)ask_open(&b, 1);           /* 1 */
        (void)ask_get(&b, 1, &range, 1); /* 2 */
        (void)ask_digest(&b, 1);         /* 3 */
        take(&b);
        peer_frame(&b.peer, rows[i].type, end ? FRAME_FLAG_END : 0,
                   rows[i].id, zeros, rows[i].len);
        assert_int_equal(feed(&b), ERR_REQUEST_ID);
        bench_close(&b);
    }
}

static void test_late_progress(void **state)
{
    struct msg_progress progress = {.done = 1, .total = 2};
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    assert_int_equal(msg_progress_encode(&progress, 9, &b.peer.w), 0);
    assert_int_equal(feed(&b), 0);
    assert_int_equal(b.events, 0);
    bench_close(&b);
}

/* Rule F5: an answer of an unknown type fails its request, which is then
 * cancelled; its END ends it. */
static void test_unknown_answer(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    open_and_get(&b, 0, 5);
    peer_frame(&b.peer, 0x7E, 0, 2, "?", 1);
    peer_frame(&b.peer, 0x7E, 0, 2, "?", 1);
    assert_int_equal(feed(&b), 0);
    assert_int_equal(b.events, 1);
    assert_int_equal(b.event[0].type, RECEIVER_ERROR);
    assert_int_equal(b.event[0].error.code, WIRE_UNSUPPORTED);
    assert_int_equal(receiver_outstanding(b.r), 1);
    take(&b);
    assert_int_equal(b.peer.request[2].type, FRAME_CANCEL);
    assert_int_equal(b.peer.request[2].id, 2);
    assert_int_equal(b.peer.count, 3); /* once */
    chunk(&b, 2, 1, 0); /* queued before: still of use */
    peer_error(&b.peer, 2, WIRE_CANCELLED);
    assert_int_equal(feed(&b), 0);
    assert_int_equal(b.events, 1);
    assert_int_equal(b.event[0].type, RECEIVER_CHUNK);
    assert_int_equal(receiver_outstanding(b.r), 0);
    bench_close(&b);
}

static void test_unknown_answer_with_end(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    open_and_get(&b, 0, 5);
    peer_frame(&b.peer, 0x7E, FRAME_FLAG_END, 2, "?", 1);
    assert_int_equal(feed(&b), 0);
    assert_int_equal(b.event[0].type, RECEIVER_ERROR);
    assert_int_equal(receiver_outstanding(b.r), 0);
    take(&b);
    assert_int_equal(b.peer.count, 2); /* nothing to cancel */
    bench_close(&b);
}

/* ---- chunks. */

struct chunk_case {
    const char *what;
    uint64_t offset;
    uint32_t raw_len;
    uint32_t stored_len;
    uint32_t handle;
    uint8_t codec;
    int err;
};

/* GET 2 asked for chunks 1 and 2 of handle 1, and chunk 1 has come. */
static void test_chunk_rules(void **state)
{
    static const struct chunk_case rows[] = {
        {"the next one", 2 * CHUNK, CHUNK, CHUNK, 1, CODEC_RAW, 0},
        {"as zeros", 2 * CHUNK, CHUNK, 0, 1, CODEC_ZERO, 0},
        {"deflated", 2 * CHUNK, CHUNK, 100, 1, CODEC_ZLIB, 0},
        {"twice", CHUNK, CHUNK, CHUNK, 1, CODEC_RAW, ERR_STATE},
        {"before the range", 0, CHUNK, CHUNK, 1, CODEC_RAW, ERR_STATE},
        {"behind the range", 3 * CHUNK, CHUNK, CHUNK, 1, CODEC_RAW,
         ERR_STATE},
        {"behind the end", 5 * CHUNK, CHUNK, CHUNK, 1, CODEC_RAW, ERR_STATE},
        {"far out", UINT64_MAX - CHUNK + 1, CHUNK, CHUNK, 1, CODEC_RAW,
         ERR_STATE},
        {"off the grid", 2 * CHUNK + 1, CHUNK, CHUNK, 1, CODEC_RAW,
         ERR_STATE},
        {"too short", 2 * CHUNK, CHUNK - 1, CHUNK - 1, 1, CODEC_RAW,
         ERR_STATE},
        {"too long", 2 * CHUNK, CHUNK + 1, CHUNK + 1, 1, CODEC_RAW,
         ERR_STATE},
        {"other handle", 2 * CHUNK, CHUNK, CHUNK, 2, CODEC_RAW, ERR_STATE},
        {"unknown codec", 2 * CHUNK, CHUNK, CHUNK, 1, 9, ERR_CODEC},
        {"raw with another length", 2 * CHUNK, CHUNK, CHUNK - 1, 1,
         CODEC_RAW, ERR_CODEC},
        {"zeros with data", 2 * CHUNK, CHUNK, 1, 1, CODEC_ZERO, ERR_CODEC},
        {"deflated to more", 2 * CHUNK, CHUNK, CHUNK, 1, CODEC_ZLIB,
         ERR_CODEC},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct chunk_case *row = &rows[i];
        struct layout_chunk fields = {.offset = row->offset,
                                      .raw_len = row->raw_len,
                                      .stored_len = row->stored_len,
                                      .handle = row->handle,
                                      .codec = row->codec};
        uint8_t payload[LAYOUT_CHUNK_LEN + CHUNK + 1] = {0};
        struct writer w;
        struct bench b;

        bench_open(&b);
        open_and_get(&b, 1, 3);
        chunk(&b, 2, 1, 1);
        assert_int_equal(feed(&b), 0);
        writer_init(&w, payload, sizeof payload);
        layout_chunk_put(&w, &fields);
        peer_frame(&b.peer, FRAME_CHUNK, 0, 2, payload,
                   LAYOUT_CHUNK_LEN + row->stored_len);
        if (feed(&b) != row->err) {
            fail_msg("%s: %s", row->what, receiver_error_text(b.r));
        }
        bench_close(&b);
    }
}

static void test_codec_not_offered(void **state)
{
    struct receiver_config plain = config;
    struct msg_chunk m = {.raw_len = CHUNK,
                          .stored_len = 100,
                          .handle = 1,
                          .codec = CODEC_ZLIB};
    static const uint8_t data[100];
    struct bench b;

    (void)state;
    bench_open(&b);
    plain.compression = false;
    receiver_start(b.r, &plain, b.now);
    open_and_get(&b, 0, 5);
    assert_false(msg_hello_codec(&b.peer.hello, CODEC_ZLIB));
    peer_chunk_as(&b.peer, 2, &m, data);
    assert_int_equal(feed(&b), ERR_CODEC);
    bench_close(&b);
}

static void test_chunk_before_info(void **state)
{
    struct msg_range range = {0, GET_TO_END};
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    (void)ask_open(&b, 1);
    (void)ask_get(&b, 1, &range, 1);
    chunk(&b, 2, 1, 0);
    assert_int_equal(feed(&b), ERR_REQUEST_ID);
    bench_close(&b);
}

static void test_info_for_another_handle(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    (void)ask_open(&b, 1);
    info(&b, 1, 2);
    assert_int_equal(feed(&b), ERR_STATE);
    bench_close(&b);
}

/* DONE means that everything came (C2, G3, G9). */
static void test_done(void **state)
{
    static const struct {
        unsigned chunks; /* that come, of three */
        uint64_t told;
        uint64_t bytes;
        int err;
    } rows[] = {
        {3, 3, 3 * CHUNK, 0},
        {2, 2, 2 * CHUNK, ERR_STATE},
        {0, 0, 0, ERR_STATE},
        {2, 3, 3 * CHUNK, ERR_STATE},
        {3, 2, 3 * CHUNK, ERR_STATE},
        {3, 3, 3 * CHUNK - 1, ERR_STATE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench b;

        bench_open(&b);
        open_and_get(&b, 0, 3);
        for (unsigned k = 0; k < rows[i].chunks; k++) {
            chunk(&b, 2, 1, k);
        }
        peer_done(&b.peer, 2, rows[i].told, rows[i].bytes, "v1", NULL);
        assert_int_equal(feed(&b), rows[i].err);
        bench_close(&b);
    }
}

static void test_done_of_a_cancelled_get(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    open_and_get(&b, 0, 3);
    assert_int_equal(receiver_cancel(b.r, 2), 0);
    assert_int_equal(receiver_cancel(b.r, 2), 0);  /* once is enough */
    assert_int_equal(receiver_cancel(b.r, 77), 0); /* gone: nothing to do */
    chunk(&b, 2, 1, 0);
    peer_done(&b.peer, 2, 1, CHUNK, "v1", NULL);
    assert_int_equal(feed(&b), 0);
    assert_int_equal(receiver_outstanding(b.r), 0);
    take(&b);
    assert_int_equal(b.peer.count, 3);
    bench_close(&b);
}

/* Parts beyond the end do not exist (G2), and a GET may select nothing. */
static void test_ranges_beyond_the_end(void **state)
{
    struct msg_range ranges[] = {{SIZE - 1, 50}, {10 * CHUNK, 5}};
    struct msg_range beyond = {SIZE, GET_TO_END};
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    (void)ask_open(&b, 1);
    (void)ask_get(&b, 1, ranges, 2);
    (void)ask_get(&b, 1, &beyond, 1);
    info(&b, 1, 1);
    chunk(&b, 2, 1, 4);
    peer_done(&b.peer, 2, 1, CHUNK - 100, "v1", NULL);
    peer_done(&b.peer, 3, 0, 0, "v1", NULL);
    assert_int_equal(feed(&b), 0);
    assert_int_equal(receiver_outstanding(b.r), 0);
    bench_close(&b);
}

static void test_predict(void **state)
{
    static const struct msg_range ranges[] = {{0, CHUNK},
                                              {3 * CHUNK, GET_TO_END}};
    uint32_t handle;
    uint32_t len;
    uint64_t offset;
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    (void)ask_open(&b, 1);
    (void)ask_get(&b, 1, ranges, 2);
    assert_false(receiver_predict(b.r, &handle, &offset, &len));
    info(&b, 1, 1);
    chunk(&b, 2, 1, 0);
    assert_int_equal(feed(&b), 0);
    assert_true(receiver_predict(b.r, &handle, &offset, &len));
    assert_int_equal(handle, 1);
    assert_int_equal(offset, 3 * CHUNK);
    assert_int_equal(len, CHUNK);
    chunk(&b, 2, 1, 3);
    assert_int_equal(feed(&b), 0);
    assert_true(receiver_predict(b.r, &handle, &offset, &len));
    assert_int_equal(len, CHUNK - 100);
    chunk(&b, 2, 1, 4);
    assert_int_equal(feed(&b), 0);
    assert_false(receiver_predict(b.r, &handle, &offset, &len));
    bench_close(&b);
}

/* ---- requests. */

static void test_request_limits(void **state)
{
    struct msg_open m = {.path = peer_text("demo")};
    uint32_t id;
    struct bench b;

    (void)state;
    bench_open(&b);
    for (uint32_t i = 1; i <= LIMIT_REQUESTS_DEFAULT; i++) {
        assert_int_equal(ask_open(&b, i), i);
    }
    m.handle = 99;
    assert_false(receiver_can_request(b.r));
    assert_int_equal(receiver_open(b.r, &m, b.now, &id), ERR_LIMIT);
    greet(&b); /* it allows 64 */
    for (uint32_t i = LIMIT_REQUESTS_DEFAULT + 1; i <= 64; i++) {
        assert_int_equal(ask_open(&b, i), i);
    }
    assert_int_equal(receiver_open(b.r, &m, b.now, &id), ERR_LIMIT);
    peer_error(&b.peer, 7, WIRE_BUSY);
    assert_int_equal(feed(&b), 0);
    assert_int_equal(ask_open(&b, 65), 64 + 7); /* ids only rise, and the
                                                   place of 7 is free */
    assert_int_equal(receiver_outstanding(b.r), 64);
    bench_close(&b);
}

/* B1-L5b: what a server does not read waits within bounds. */
static void test_unread_writes(void **state)
{
    char path[LIMIT_PATH];
    struct msg_open m = {.path = {(const uint8_t *)path, sizeof path}};
    const uint8_t *out;
    uint32_t id;
    struct bench b;

    (void)state;
    memset(path, 'p', sizeof path);
    for (size_t i = LIMIT_COMPONENT; i < sizeof path;
         i += LIMIT_COMPONENT + 1) {
        path[i] = '/';
    }
    path[sizeof path - 1] = 'p';
    bench_open(&b);
    greet(&b);
    while (receiver_can_request(b.r)) {
        m.handle++;
        assert_int_equal(receiver_open(b.r, &m, b.now, &id), 0);
        assert_true(m.handle < 64);
    }
    assert_true(m.handle > 4);
    assert_true(receiver_out(b.r, &out) < LIMIT_UNREAD_WRITES);
    m.handle++;
    assert_int_equal(receiver_open(b.r, &m, b.now, &id), ERR_LIMIT);
    receiver_sent(b.r, receiver_out(b.r, &out), b.now);
    assert_int_equal(receiver_open(b.r, &m, b.now, &id), 0);
    bench_close(&b);
}

static void test_goaway(void **state)
{
    struct msg_open m = {.handle = 9, .path = peer_text("demo")};
    uint32_t id;
    struct bench b;

    (void)state;
    bench_open(&b);
    open_and_get(&b, 0, 1);
    peer_goaway(&b.peer, GOAWAY_ANNOUNCE, WIRE_SHUTTING_DOWN);
    peer_goaway(&b.peer, 2, WIRE_SHUTTING_DOWN);
    chunk(&b, 2, 1, 0);
    peer_done(&b.peer, 2, 1, CHUNK, "v1", NULL);
    assert_int_equal(feed(&b), 0);
    assert_int_equal(b.events, 4);
    assert_int_equal(b.event[1].goaway.last_id, 2);
    assert_int_equal(receiver_open(b.r, &m, b.now, &id), ERR_LIMIT);
    assert_false(receiver_ready(b.r));
    bench_close(&b);
    /* Ours: nothing may follow it either. */
    bench_open(&b);
    greet(&b);
    receiver_goaway(b.r);
    receiver_goaway(b.r);
    take(&b);
    assert_int_equal(b.peer.goaways, 1);
    assert_int_equal(receiver_open(b.r, &m, b.now, &id), ERR_LIMIT);
    bench_close(&b);
}

/* The newest handles are known, however many were opened. */
static void test_many_handles(void **state)
{
    struct msg_range range = {0, CHUNK};
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    for (uint32_t i = 1; i <= 100; i++) {
        uint32_t open = ask_open(&b, i);
        uint32_t get = ask_get(&b, i, &range, 1);

        info(&b, open, i);
        chunk(&b, get, i, 0);
        peer_done(&b.peer, get, 1, CHUNK, "v1", NULL);
        assert_int_equal(feed(&b), 0);
        take(&b);
        b.peer.count = 0;
    }
    bench_close(&b);
}

/* ---- time. */

static void test_greeting_timer(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    assert_int_equal(receiver_deadline(b.r), NOW + TIMER_GREETING_MS);
    peer_preface(&b.peer); /* bytes do not lengthen it */
    b.now += TIMER_GREETING_MS - 1;
    assert_int_equal(feed(&b), 0);
    assert_int_equal(receiver_tick(b.r, b.now), 0);
    b.now++;
    assert_int_equal(receiver_tick(b.r, b.now), ERR_TIMEOUT);
    bench_close(&b);
}

static void test_silence(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    assert_int_equal(receiver_deadline(b.r), UINT64_MAX);
    b.now += 500000; /* nothing was asked: silence is fine */
    assert_int_equal(receiver_tick(b.r, b.now), 0);
    (void)ask_open(&b, 1);
    assert_int_equal(receiver_deadline(b.r), b.now + TIMER_SILENCE_MS);
    take(&b);
    b.now += TIMER_SILENCE_MS - 1;
    assert_int_equal(receiver_tick(b.r, b.now), 0);
    take(&b);
    assert_int_equal(b.peer.pings, 0);
    b.now++;
    assert_int_equal(receiver_tick(b.r, b.now), 0);
    take(&b);
    assert_int_equal(b.peer.pings, 1);
    assert_int_equal(receiver_deadline(b.r), b.now + TIMER_PING_WAIT_MS);
    /* Any byte is life. */
    b.now += TIMER_PING_WAIT_MS - 1;
    assert_int_equal(feed_steps(&b, (const uint8_t *)"", 1, 1), 0);
    assert_int_equal(receiver_deadline(b.r), b.now + TIMER_SILENCE_MS);
    /* Rule C3: the first PING still asks, a second one would be too much. */
    b.now += TIMER_SILENCE_MS;
    assert_int_equal(receiver_tick(b.r, b.now), 0);
    take(&b);
    assert_int_equal(b.peer.pings, 1);
    b.now += TIMER_PING_WAIT_MS;
    assert_int_equal(receiver_tick(b.r, b.now), ERR_TIMEOUT);
    bench_close(&b);
}

/* A PING without need: one at a time, and it is no question that has to be
 * answered in time. */
static void test_probe(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    assert_int_equal(receiver_probe(b.r, b.now), ERR_LIMIT); /* no HELLO */
    greet(&b);
    assert_int_equal(receiver_probe(b.r, b.now), 0);
    take(&b);
    assert_int_equal(b.peer.pings, 1);
    assert_int_equal(receiver_probe(b.r, b.now), ERR_LIMIT);
    assert_int_equal(receiver_deadline(b.r), UINT64_MAX);
    b.now += 500000;
    assert_int_equal(receiver_tick(b.r, b.now), 0);
    peer_pong(&b.peer);
    assert_int_equal(feed(&b), 0);
    assert_int_equal(receiver_probe(b.r, b.now), 0);
    take(&b);
    assert_int_equal(b.peer.pings, 2);
    /* Now something is asked, and the server is silent: that PING still asks,
     * but its time counts from now on. */
    (void)ask_open(&b, 1);
    take(&b);
    b.now += TIMER_SILENCE_MS;
    assert_int_equal(receiver_tick(b.r, b.now), 0);
    take(&b);
    assert_int_equal(b.peer.pings, 2);
    assert_int_equal(receiver_deadline(b.r), b.now + TIMER_PING_WAIT_MS);
    peer_pong(&b.peer);
    assert_int_equal(feed(&b), 0);
    b.now += TIMER_SILENCE_MS;
    assert_int_equal(receiver_tick(b.r, b.now), 0);
    take(&b);
    assert_int_equal(b.peer.pings, 3);
    bench_close(&b);
}

/* Who bears little silence waits as little for the answer to the ping. */
static void test_short_silence(void **state)
{
    struct receiver_config impatient = config;
    struct bench b;

    (void)state;
    impatient.silence_ms = 2000;
    bench_open(&b);
    receiver_start(b.r, &impatient, b.now);
    greet(&b);
    (void)ask_open(&b, 1);
    take(&b);
    b.now += impatient.silence_ms;
    assert_int_equal(receiver_tick(b.r, b.now), 0);
    assert_int_equal(receiver_deadline(b.r), b.now + impatient.silence_ms);
    b.now += impatient.silence_ms;
    assert_int_equal(receiver_tick(b.r, b.now), ERR_TIMEOUT);
    bench_close(&b);
}

/* H14: single bytes keep a connection alive, but not for ever. */
static void test_trickle(void **state)
{
    struct bench b;
    int err = 0;
    unsigned bytes = 0;

    (void)state;
    bench_open(&b);
    open_and_get(&b, 0, 3);
    chunk(&b, 2, 1, 0);
    for (; bytes < 20 && err == 0; bytes++) {
        b.now += 10000;
        err = receiver_tick(b.r, b.now);
        if (err == 0) {
            assert_int_equal(feed_steps(&b, b.peer.buf + bytes, 1, 1), 0);
            take(&b);
        }
    }
    assert_int_equal(err, ERR_TIMEOUT);
    assert_int_equal(bytes, 7);
    assert_non_null(strstr(receiver_error_text(b.r), "only 6 bytes"));
    assert_int_equal(b.peer.pings, 0);
    bench_close(&b);

    /* In the data of a chunk; a slow link is not a trickle. */
    bench_open(&b);
    open_and_get(&b, 0, 3);
    chunk(&b, 2, 1, 0);
    assert_int_equal(feed_steps(&b, b.peer.buf, FRAME_CHUNK_HEAD_LEN, 72), 0);
    for (unsigned k = 0; k < 4; k++) {
        b.now += 14000;
        assert_int_equal(receiver_tick(b.r, b.now), 0);
        receiver_chunk_data(b.r, b.now, 1000);
    }
    for (bytes = 0; bytes < 20 && receiver_tick(b.r, b.now) == 0; bytes++) {
        receiver_chunk_data(b.r, b.now, 1);
        b.now += 10000;
    }
    assert_in_range(bytes, 1, 2);
    bench_close(&b);
}

static void test_pause(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    open_and_get(&b, 0, 3);
    receiver_pause(b.r, true, b.now);
    assert_true(receiver_paused(b.r));
    assert_int_equal(receiver_deadline(b.r), UINT64_MAX);
    b.now += 10 * TIMER_SILENCE_MS;
    assert_int_equal(receiver_tick(b.r, b.now), 0);
    receiver_pause(b.r, false, b.now);
    assert_int_equal(receiver_deadline(b.r), b.now + TIMER_SILENCE_MS);
    /* The data of a chunk counts as well. */
    chunk(&b, 2, 1, 0);
    assert_int_equal(feed_steps(&b, b.peer.buf, FRAME_CHUNK_HEAD_LEN, 72), 0);
    b.now += TIMER_SILENCE_MS - 1;
    receiver_chunk_data(b.r, b.now, 10);
    assert_int_equal(receiver_deadline(b.r), b.now + TIMER_SILENCE_MS);
    assert_int_equal(receiver_chunk_left(b.r), CHUNK - 10);
    bench_close(&b);
}

static void test_ping(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    peer_frame(&b.peer, FRAME_PING, 0, 0, "abcdefgh", 8);
    peer_frame(&b.peer, FRAME_PONG, 0, 0, "nobodyas", 8);
    assert_int_equal(feed(&b), 0);
    take(&b);
    assert_int_equal(b.peer.pongs, 1);
    assert_memory_equal(b.peer.pong, "abcdefgh", 8);
    peer_frame(&b.peer, FRAME_PING, 0, 0, "abcdefg", 7);
    assert_int_equal(feed(&b), ERR_TRUNCATED);
    bench_close(&b);
}

/* B1-S18: frames without content have a budget, in a row and in a minute. */
static void test_idle_frames(void **state)
{
    static const uint8_t types[] = {FRAME_NOTICE, GREASE_FRAME_FIRST,
                                    FRAME_PONG, 0xF0};

    (void)state;
    for (size_t i = 0; i < sizeof types; i++) {
        struct bench b;

        bench_open(&b);
        open_and_get(&b, 0, 5);
        for (unsigned k = 0; k < LIMIT_IDLE_FRAMES; k++) {
            peer_frame(&b.peer, types[i], 0, 0, "12345678", 8);
            assert_int_equal(feed(&b), 0);
        }
        chunk(&b, 2, 1, 0); /* an answer: the count begins again */
        assert_int_equal(feed(&b), 0);
        for (unsigned k = 0; k < LIMIT_IDLE_FRAMES; k++) {
            peer_frame(&b.peer, types[i], 0, 0, "12345678", 8);
            assert_int_equal(feed(&b), 0);
        }
        peer_frame(&b.peer, types[i], 0, 0, "12345678", 8);
        assert_int_equal(feed(&b), ERR_LIMIT);
        bench_close(&b);
    }
}

/* A server that hashes for a day says so every ten seconds. */
static void test_long_progress(void **state)
{
    struct msg_progress progress = {.done = 1, .total = 2};
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    (void)ask_open(&b, 1);
    for (unsigned k = 0; k < 8640; k++) {
        b.now += TIMER_PROGRESS_MS;
        assert_int_equal(receiver_tick(b.r, b.now), 0);
        assert_int_equal(msg_progress_encode(&progress, 1, &b.peer.w), 0);
        assert_int_equal(feed(&b), 0);
        assert_int_equal(b.event[0].type, RECEIVER_PROGRESS);
    }
    bench_close(&b);
}

/* Unknown answers to a request that failed long ago bring nothing either. */
static void test_unknown_flood(void **state)
{
    struct bench b;
    unsigned k = 0;

    (void)state;
    bench_open(&b);
    open_and_get(&b, 0, 5);
    do {
        peer_frame(&b.peer, 0x7E, 0, 2, "?", 1);
        k++;
    } while (feed(&b) == 0 && k < 5000);
    assert_true(k < 1100);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_prefaces),
        cmocka_unit_test(test_first_frame),
        cmocka_unit_test(test_second_hello),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_broken_frames),
        cmocka_unit_test(test_wrong_answers),
        cmocka_unit_test(test_late_progress),
        cmocka_unit_test(test_unknown_answer),
        cmocka_unit_test(test_unknown_answer_with_end),
        cmocka_unit_test(test_chunk_rules),
        cmocka_unit_test(test_codec_not_offered),
        cmocka_unit_test(test_chunk_before_info),
        cmocka_unit_test(test_info_for_another_handle),
        cmocka_unit_test(test_done),
        cmocka_unit_test(test_done_of_a_cancelled_get),
        cmocka_unit_test(test_ranges_beyond_the_end),
        cmocka_unit_test(test_predict),
        cmocka_unit_test(test_request_limits),
        cmocka_unit_test(test_unread_writes),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_many_handles),
        cmocka_unit_test(test_greeting_timer),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_short_silence),
        cmocka_unit_test(test_trickle),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_idle_frames),
        cmocka_unit_test(test_long_progress),
        cmocka_unit_test(test_unknown_flood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
