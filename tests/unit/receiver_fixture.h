/* A receiver with a server written by hand at its other end. */

#ifndef TESTS_UNIT_RECEIVER_FIXTURE_H
#define TESTS_UNIT_RECEIVER_FIXTURE_H

#include "tests/unit/peer_fixture.h"

#include "proto/base/err.h"
#include "proto/session/receiver.h"

#define NOW 1000u
#define CHUNK 4096u
#define SIZE (5u * CHUNK - 100)

struct bench {
    struct receiver *r;
    struct peer peer;
    struct hasher *hasher;
    uint64_t now;
    /* The events of the last feed. */
    struct receiver_event event[16];
    size_t events;
    uint8_t file[SIZE];
};

static const struct receiver_config config = {
    .max_chunk_log2 = LIMIT_CHUNK_LOG2_MAX,
    .compression = true,
    .agent = "test/1",
    .grease_seed = 5,
};

static inline void bench_open(struct bench *b)
{
    memset(b, 0, sizeof *b);
    b->r = receiver_new();
    b->hasher = hasher_new();
    assert_non_null(b->r);
    assert_non_null(b->hasher);
    peer_init(&b->peer);
    b->now = NOW;
    for (uint32_t i = 0; i < SIZE; i++) {
        b->file[i] = (uint8_t)(i % 251);
    }
    receiver_start(b->r, &config, b->now);
}

static inline void bench_close(struct bench *b)
{
    receiver_free(b->r);
    hasher_free(b->hasher);
    peer_free(&b->peer);
}

/* Feed bytes in pieces of `step`, chunk data included. */
static inline int feed_steps(struct bench *b, const uint8_t *data, size_t len,
                             size_t step)
{
    b->events = 0;
    while (len > 0) {
        size_t n = len < step ? len : step;
        size_t used = n;
        struct receiver_event event = {.type = RECEIVER_NONE};
        size_t left = receiver_chunk_left(b->r);

        if (left > 0) {
            used = n < left ? n : left;
            receiver_chunk_data(b->r, b->now, used);
        } else {
            int err = receiver_feed(b->r, b->now, data, n, &used, &event);

            if (err != 0) {
                return err;
            }
        }
        if (event.type != RECEIVER_NONE) {
            assert_true(b->events < 16);
            b->event[b->events++] = event;
        }
        data += used;
        len -= used;
    }
    return 0;
}

/* Feed what the peer has built, and forget it. */
static inline int feed(struct bench *b)
{
    size_t len = writer_len(&b->peer.w);
    int err = feed_steps(b, b->peer.buf, len, len);

    peer_clear(&b->peer);
    return err;
}

static inline void take(struct bench *b)
{
    const uint8_t *data;
    size_t len = receiver_out(b->r, &data);

    peer_take(&b->peer, data, len);
    receiver_sent(b->r, len, b->now);
}

static inline void greet(struct bench *b)
{
    peer_greeting(&b->peer);
    assert_int_equal(feed(b), 0);
    assert_int_equal(b->events, 1);
    assert_int_equal(b->event[0].type, RECEIVER_HELLO);
    take(b);
}

/* ---- requests and answers in short. */

static inline uint32_t ask_open(struct bench *b, uint32_t handle)
{
    struct msg_open m = {.handle = handle, .path = peer_text("demo")};
    uint32_t id = 0;

    assert_int_equal(receiver_open(b->r, &m, b->now, &id), 0);
    return id;
}

static inline uint32_t ask_get(struct bench *b, uint32_t handle,
                               const struct msg_range *ranges, uint16_t count)
{
    uint8_t packed[MSG_RANGES_BYTES(RECEIVER_RANGES_MAX)];
    struct msg_get m = {.handle = handle, .urgency = LIMIT_URGENCY_DEFAULT};
    uint32_t id = 0;

    msg_ranges_pack(&m, ranges, count, packed);
    assert_int_equal(receiver_get(b->r, &m, b->now, &id), 0);
    return id;
}

static inline uint32_t ask_digest(struct bench *b, uint32_t handle)
{
    struct msg_digest m = {.handle = handle,
                           .block_log2 = LIMIT_BLOCK_LOG2,
                           .block_count = 1};
    uint32_t id = 0;

    assert_int_equal(receiver_digest(b->r, &m, b->now, &id), 0);
    return id;
}

static inline void info(struct bench *b, uint32_t id, uint32_t handle)
{
    struct peer_file f = {.size = SIZE, .chunk_log2 = 12, .version = "v1"};

    peer_info(&b->peer, id, handle, &f);
}

static inline void chunk(struct bench *b, uint32_t id, uint32_t handle,
                         uint32_t index)
{
    uint64_t at = (uint64_t)index * CHUNK;
    struct msg_chunk m =
        peer_chunk_head(b->hasher, handle, at, b->file + at,
                        cid_chunk_len(SIZE, 12, index));

    peer_chunk_as(&b->peer, id, &m, b->file + at);
}

/* Greeting, handle 1 open by request 1, and GET 2 of [from, to) chunks. */
static inline void open_and_get(struct bench *b, uint64_t from, uint64_t to)
{
    struct msg_range range = {.offset = from * CHUNK,
                              .length = (to - from) * CHUNK};

    greet(b);
    assert_int_equal(ask_open(b, 1), 1);
    assert_int_equal(ask_get(b, 1, &range, 1), 2);
    take(b);
    info(b, 1, 1);
    assert_int_equal(feed(b), 0);
    assert_int_equal(b->events, 1);
    assert_int_equal(b->event[0].type, RECEIVER_INFO);
    assert_int_equal(b->event[0].request, 1);
    assert_int_equal(b->event[0].handle, 1);
    assert_int_equal(b->event[0].info.size, SIZE);
}

#endif
