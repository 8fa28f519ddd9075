/* The receiver when no more may be said: it is full, draining, dead, or out of
 * numbers.  Nothing that is refused leaves a trace. */
#include "tests/unit/receiver_fixture.h"

#include "proto/session/receiver_internal.h"

/* ---- every kind of request. */

static int try_open(struct receiver *r, uint32_t *id)
{
    struct msg_open m = {.handle = 9, .path = peer_text("demo")};

    return receiver_open(r, &m, NOW, id);
}

static int try_get(struct receiver *r, uint32_t *id)
{
    struct msg_range range = {.offset = 0, .length = CHUNK};
    struct msg_get m = {.handle = 9, .urgency = LIMIT_URGENCY_DEFAULT};
    uint8_t packed[MSG_RANGES_BYTES(1)];

    msg_ranges_pack(&m, &range, 1, packed);
    return receiver_get(r, &m, NOW, id);
}

static int try_digest(struct receiver *r, uint32_t *id)
{
    struct msg_digest m = {.handle = 9,
                           .block_log2 = LIMIT_BLOCK_LOG2,
                           .block_count = 1};

    return receiver_digest(r, &m, NOW, id);
}

static int try_list(struct receiver *r, uint32_t *id)
{
    struct msg_list m = {.path = peer_text("demo")};

    return receiver_list(r, &m, NOW, id);
}

static int try_close(struct receiver *r, uint32_t *id)
{
    return receiver_close_handle(r, 9, NOW, id);
}

static int (*const requests[])(struct receiver *r, uint32_t *id) = {
    try_open, try_get, try_digest, try_list, try_close};

static void assert_refuses(struct bench *b)
{
    const uint8_t *out;
    size_t len = receiver_out(b->r, &out);
    unsigned outstanding = receiver_outstanding(b->r);

    assert_false(receiver_can_request(b->r));
    for (size_t k = 0; k < sizeof requests / sizeof requests[0]; k++) {
        uint32_t id = 12345;

        assert_int_equal(requests[k](b->r, &id), ERR_LIMIT);
        assert_int_equal(id, 12345);
    }
    assert_int_equal(receiver_out(b->r, &out), len);
    assert_int_equal(receiver_outstanding(b->r), outstanding);
}

static void assert_accepts(struct bench *b)
{
    uint32_t last = 0;

    assert_true(receiver_can_request(b->r));
    for (size_t k = 0; k < sizeof requests / sizeof requests[0]; k++) {
        uint32_t id = 0;

        assert_int_equal(requests[k](b->r, &id), 0);
        assert_true(id > last);
        last = id;
    }
}

/* ---- how it comes to that. */

/* Not so often that it is a flood (S18). */
static int ping(struct bench *b)
{
    b->now += 2 * TIMER_IDLE_FRAMES_MS / LIMIT_IDLE_FRAMES;
    peer_frame(&b->peer, FRAME_PING, 0, 0, "12345678", PING_LEN);
    return feed(b);
}

static void we_leave(struct bench *b)
{
    receiver_goaway(b->r);
    take(b);
    assert_int_equal(b->peer.goaways, 1);
    receiver_goaway(b->r); /* once is enough */
    take(b);
    assert_int_equal(b->peer.goaways, 1);
}

static void they_leave(struct bench *b)
{
    peer_goaway(&b->peer, 0, 0);
    assert_int_equal(feed(b), 0);
    assert_false(receiver_ready(b->r));
}

static void dead(struct bench *b)
{
    const uint8_t *out;

    peer_frame(&b->peer, FRAME_HELLO, 0, 0, "", 0);
    assert_true(feed(b) < 0);
    receiver_goaway(b->r); /* nobody would read it */
    assert_int_equal(receiver_out(b->r, &out), 0);
}

static void many_requests(struct bench *b)
{
    for (uint32_t k = 0; k < RECEIVER_REQUESTS_MAX; k++) {
        assert_true(receiver_can_request(b->r));
        assert_int_equal(ask_open(b, 100 + k), k + 1);
    }
}

static void no_numbers(struct bench *b)
{
    b->r->next_id = REQUEST_ID_NEVER - RECEIVER_REQUESTS_MAX;
}

static void much_unsent(struct bench *b)
{
    while (receiver_can_request(b->r)) {
        assert_int_equal(ping(b), 0);
    }
}

static void test_refuses(void **state)
{
    static void (*const how[])(struct bench *b) = {
        we_leave, they_leave, dead, many_requests, no_numbers, much_unsent};

    (void)state;
    for (size_t k = 0; k < sizeof how / sizeof how[0]; k++) {
        struct bench b;

        bench_open(&b);
        greet(&b);
        how[k](&b);
        assert_refuses(&b);
        bench_close(&b);
    }
}

/* What was sent makes room again. */
static void test_room_again(void **state)
{
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    much_unsent(&b);
    assert_refuses(&b);
    take(&b);
    assert_true(b.peer.pongs > 1000);
    assert_accepts(&b);
    bench_close(&b);
}

/* ---- no room at all. */

/* A peer that does not read, and asks for answers; `left` bytes of room. */
static size_t fill(struct bench *b)
{
    const uint8_t *out;
    size_t before = receiver_out(b->r, &out);

    for (;;) {
        size_t len = receiver_out(b->r, &out);

        if (len > before && RECEIVER_OUT_MAX - len < len - before) {
            return RECEIVER_OUT_MAX - len;
        }
        before = len;
        assert_int_equal(ping(b), 0);
    }
}

static void cancel_fails(struct bench *b)
{
    const uint8_t *out;
    size_t len = receiver_out(b->r, &out);

    /* Some may fit where another PONG does not. */
    for (uint32_t id = 1; id <= 3; id++) {
        if (receiver_cancel(b->r, id) != 0) {
            assert_int_equal(receiver_out(b->r, &out), len);
            assert_int_equal(receiver_cancel(b->r, id), ERR_LIMIT);
            return;
        }
        len = receiver_out(b->r, &out);
    }
    fail();
}

static void test_full(void **state)
{
    struct bench b;
    const uint8_t *out;
    size_t len;

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        bench_open(&b);
        greet(&b);
        for (uint32_t id = 1; id <= 4; id++) {
            assert_int_equal(ask_open(&b, id), id);
        }
        (void)fill(&b);
        switch (k) {
        case 0: /* one more */
            assert_int_equal(ping(&b), ERR_LIMIT);
            assert_string_equal(receiver_error_text(b.r), "too many pings");
            break;
        case 1: /* our own */
            b.now += TIMER_SILENCE_MS;
            assert_int_equal(receiver_tick(b.r, b.now), ERR_TIMEOUT);
            assert_string_equal(receiver_error_text(b.r),
                                "the server does not read what we send");
            break;
        case 2:
            cancel_fails(&b);
            /* An answer that we do not understand would be cancelled. */
            peer_frame(&b.peer, 0x7F, 0, 4, "", 0);
            assert_int_equal(feed(&b), ERR_LIMIT);
            break;
        default:
            cancel_fails(&b);
            len = receiver_out(b.r, &out);
            receiver_goaway(b.r); /* silently */
            assert_int_equal(receiver_out(b.r, &out), len);
            assert_refuses(&b);
        }
        bench_close(&b);
    }
}

/* ---- handles. */

/* Two handles share a place: what is known of the newer one stays. */
static void test_older_handle(void **state)
{
    struct msg_range range = {.offset = 0, .length = CHUNK};
    struct bench b;

    (void)state;
    bench_open(&b);
    greet(&b);
    assert_int_equal(ask_open(&b, 1), 1);
    assert_int_equal(ask_open(&b, 1 + RECEIVER_HANDLES_MAX), 2);
    assert_int_equal(ask_get(&b, 1 + RECEIVER_HANDLES_MAX, &range, 1), 3);
    info(&b, 2, 1 + RECEIVER_HANDLES_MAX);
    info(&b, 1, 1);
    chunk(&b, 3, 1 + RECEIVER_HANDLES_MAX, 0);
    assert_int_equal(feed(&b), 0);
    assert_int_equal(b.events, 3);
    assert_int_equal(b.event[2].type, RECEIVER_CHUNK);
    assert_int_equal(b.event[2].chunk.raw_len, CHUNK);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_room_again),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_older_handle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
