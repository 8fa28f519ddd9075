/* The receiver and who we are: what goes out behind HELLO, what comes of the
 * answers (B1-A2, B1-A4, B1-A5, B1-S2a). */

#include "tests/unit/receiver_fixture.h"

static const uint8_t token[] = "secret";

struct offer {
    bool token, external, secure;
};

static void begin(struct bench *b, const struct offer *offer)
{
    struct receiver_auth auth = {.external = offer->external,
                                 .secure = offer->secure};
    struct receiver_config with = config;

    if (offer->token) {
        auth.token = token;
        auth.token_len = sizeof token - 1;
    }
    bench_open(b);
    with.auth = &auth;
    receiver_start(b->r, &with, b->now);
    take(b);
}

/* A greeting that lists these methods. */
static int greeted(struct bench *b, const uint8_t *methods, size_t count)
{
    struct msg_hello m = {.has = HELLO_HAS_MAX_CHUNK_LOG2 |
                                 HELLO_HAS_MAX_REQUESTS,
                          .max_chunk_log2 = 22,
                          .max_requests = 64,
                          .auth_methods = {methods, count}};

    peer_preface(&b->peer);
    assert_int_equal(msg_hello_encode(&m, FRAME_FROM_SERVER, &b->peer.w), 0);
    return feed(b);
}

static void test_what_is_sent(void **state)
{
    static const struct {
        struct offer offer;
        unsigned count;
        uint8_t method[2];
    } cases[] = {
        {{false, false, true}, 0, {0}},
        {{true, false, true}, 1, {AUTH_BEARER}},
        {{false, true, true}, 1, {AUTH_EXTERNAL}},
        {{true, true, true}, 2, {AUTH_EXTERNAL, AUTH_BEARER}},
        {{true, true, false}, 0, {0}}, /* B1-S2a */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench b;

        begin(&b, &cases[i].offer);
        assert_int_equal(b.peer.count, cases[i].count);
        for (unsigned k = 0; k < cases[i].count; k++) {
            struct peer_request *q = &b.peer.request[k];
            bool bearer = cases[i].method[k] == AUTH_BEARER;

            assert_int_equal(q->type, FRAME_AUTH);
            assert_int_equal(q->id, k + 1);
            assert_int_equal(q->bytes[LAYOUT_AUTH_METHOD_OFF],
                             cases[i].method[k]);
            assert_int_equal(memmem(q->bytes, 64, token,
                                    sizeof token - 1) != NULL, bearer);
        }
        bench_close(&b);
    }
}

static void test_is_more_required(void **state)
{
    static const uint8_t bearer[] = {AUTH_BEARER};
    static const uint8_t external[] = {AUTH_EXTERNAL};
    static const uint8_t both[] = {AUTH_BEARER, AUTH_EXTERNAL};
    static const struct {
        struct offer offer;
        const uint8_t *methods;
        size_t count;
        bool required;
    } cases[] = {
        {{false, false, true}, NULL, 0, false},
        {{false, false, true}, bearer, 1, true},
        {{true, false, true}, bearer, 1, false},
        {{true, false, true}, external, 1, true},
        {{false, true, true}, external, 1, false},
        {{false, true, true}, bearer, 1, true},
        {{true, false, true}, both, 2, false},
        {{true, false, false}, bearer, 1, true},
        {{true, true, true}, NULL, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench b;

        begin(&b, &cases[i].offer);
        assert_int_equal(greeted(&b, cases[i].methods, cases[i].count), 0);
        assert_int_equal(receiver_limits(b.r)->auth_required,
                         cases[i].required);
        bench_close(&b);
    }
}

static void test_answers(void **state)
{
    static const uint8_t both[] = {AUTH_BEARER, AUTH_EXTERNAL};
    static const struct {
        struct offer offer;
        uint16_t code[2]; /* of each AUTH; 0: DONE */
        int err;
        const char *text;
    } cases[] = {
        {{true, false, true}, {0}, 0, NULL},
        {{true, false, true}, {WIRE_UNSUPPORTED}, 0, NULL}, /* A5 */
        {{true, false, true}, {WIRE_AUTH_FAILED}, ERR_AUTH, "token"},
        {{true, false, true}, {WIRE_AUTH_EXPIRED}, ERR_AUTH, "token"},
        {{true, false, true}, {WIRE_INSECURE}, ERR_AUTH, "token"},
        {{true, false, true}, {WIRE_BUSY}, ERR_REMOTE, "token"},
        {{false, true, true}, {WIRE_AUTH_FAILED}, ERR_AUTH, "certificate"},
        {{true, true, true}, {WIRE_AUTH_FAILED, 0}, 0, NULL},
        {{true, true, true}, {0, WIRE_AUTH_FAILED}, ERR_AUTH, "token"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench b;
        uint32_t opened;
        int err;

        begin(&b, &cases[i].offer);
        opened = ask_open(&b, 1);
        assert_int_equal(greeted(&b, both, 2), 0);
        take(&b);
        for (unsigned k = 0; k + 1 < b.peer.count; k++) {
            if (cases[i].code[k] == 0) {
                peer_done(&b.peer, k + 1, 0, 0, NULL, NULL);
            } else {
                peer_error(&b.peer, k + 1, cases[i].code[k]);
            }
        }
        err = feed(&b);
        assert_int_equal(err, cases[i].err);
        assert_int_equal(b.events, 0); /* nobody but the receiver asked */
        if (err != 0) {
            assert_non_null(strstr(receiver_error_text(b.r),
                                   cases[i].text));
        } else {
            info(&b, opened, 1);
            assert_int_equal(feed(&b), 0);
            assert_int_equal(b.event[0].type, RECEIVER_INFO);
            assert_int_equal(receiver_outstanding(b.r), 0);
        }
        bench_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_sent),
        cmocka_unit_test(test_is_more_required),
        cmocka_unit_test(test_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
