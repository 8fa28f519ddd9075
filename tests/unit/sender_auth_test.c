/* The sender and who asks: AUTH before everything else, refusals and their
 * limit, exposed tokens, the deadline (B1-A1 to B1-A4, B1-S2b, B1-T3). */

#include "tests/unit/sender_talk.h"

#define TOKENS 3u

struct door {
    struct auth_table table;
    uint8_t digests[TOKENS][HASH_LEN];
    struct sender_config config;
};

static void
door_open(struct door *d, struct hasher *hasher)
{
    static const char *const tokens[TOKENS] = { "one", "two", "three" };

    memset(d, 0, sizeof(*d));
    for (size_t i = 0; i < TOKENS; i++) {
        assert_int_equal(hash_sha256(hasher, tokens[i], strlen(tokens[i]),
                                     d->digests[i]), 0);
    }
    d->table = (struct auth_table){
        .bearer = true,
        .tokens = (const uint8_t (*)[HASH_LEN])d->digests,
        .count = TOKENS,
        .hasher = hasher,
    };
    d->config = usual;
    d->config.secure = true;
    d->config.auth = &d->table;
}

static void
say_auth(uint32_t id, uint8_t method, const char *token)
{
    struct msg_auth m = { .method = method };
    if (token != NULL) {
        m.token = (struct bytes_view){ (const uint8_t *)token,
                                       strlen(token) };
    }
    assert_int_equal(msg_auth_encode(&m, id, &say), 0);
}

static void
test_find(void **state)
{
    struct hasher *hasher = hasher_new();
    struct door d;
    (void)state;
    door_open(&d, hasher);
    static const struct {
        const char *token;
        uint32_t found;
    } cases[] = {
        { "one", 0 }, { "two", 1 }, { "three", 2 }, { "", AUTH_NOBODY },
        { "onE", AUTH_NOBODY }, { "one ", AUTH_NOBODY },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes_view token = { (const uint8_t *)cases[i].token,
                                    strlen(cases[i].token) };
        assert_int_equal(auth_find_token(&d.table, token), cases[i].found);
    }
    d.table.count = 0;
    assert_int_equal(auth_find_token(&d.table, (struct bytes_view){
                                         (const uint8_t *)"one", 3 }),
                     AUTH_NOBODY);
    /* A digest is no token for itself. */
    d.table.count = TOKENS;
    assert_int_equal(auth_find_token(&d.table, (struct bytes_view){
                                         d.digests[0], HASH_LEN }),
                     AUTH_NOBODY);
    /* Every byte of it counts. */
    for (size_t at = 0; at < HASH_LEN; at++) {
        d.digests[0][at] ^= 0x10;
        assert_int_equal(auth_find_token(&d.table, (struct bytes_view){
                                             (const uint8_t *)"one", 3 }),
                         AUTH_NOBODY);
        d.digests[0][at] ^= 0x10;
    }
    hasher_free(hasher);
}

static void
test_before_and_after(void **state)
{
    struct hasher *hasher = hasher_new();
    struct fixture f;
    struct door d;
    (void)state;
    door_open(&d, hasher);
    fixture_init(&f, &d.config);
    say_greeting(&f, true);
    say_open(1, 1, "iso/demo.bin");
    say_get_all(2, 1);
    say_close(3, 1);
    say_ping();
    say_end(&f);
    expect_error(&f, 1, WIRE_AUTH_REQUIRED);
    expect_error(&f, 2, WIRE_AUTH_REQUIRED);
    expect_error(&f, 3, WIRE_AUTH_REQUIRED);
    expect(&f, FRAME_PONG, 0);
    assert_int_equal(f.opens, 0);
    assert_int_equal(sender_identity(f.s)->method, 0);
    /* A2: in one write, judged in order. */
    say_auth(4, AUTH_BEARER, "two");
    say_open(5, 2, "iso/demo.bin");
    say_end(&f);
    expect(&f, FRAME_DONE, 4);
    expect(&f, FRAME_INFO, 5);
    assert_int_equal(sender_identity(f.s)->method, AUTH_BEARER);
    assert_int_equal(sender_identity(f.s)->token, 1);
    /* A4: a refusal does not undo it, a second success counts. */
    say_auth(6, AUTH_BEARER, "wrong");
    say_auth(7, AUTH_BEARER, "three");
    say_end(&f);
    expect_error(&f, 6, WIRE_AUTH_FAILED);
    expect(&f, FRAME_DONE, 7);
    assert_int_equal(sender_identity(f.s)->token, 2);
    assert_int_equal(sender_stats(f.s)->auth_refused, 1);
    fixture_clear(&f);
    hasher_free(hasher);
}

static void
test_methods(void **state)
{
    static const struct {
        bool bearer, external;   /* listed */
        bool secure, certified;  /* the transport */
        uint8_t method;
        const char *token;
        uint16_t code;           /* 0: DONE */
        bool refusal;
    } cases[] = {
        { true, false, true, false, AUTH_BEARER, "one", 0, false },
        { true, false, true, false, AUTH_BEARER, "no", WIRE_AUTH_FAILED,
          true },
        { true, false, false, false, AUTH_BEARER, "one", WIRE_INSECURE,
          true },
        { true, false, false, false, AUTH_BEARER, "no", WIRE_INSECURE,
          true },
        { false, true, false, false, AUTH_BEARER, "one", WIRE_INSECURE,
          true },
        { false, true, true, false, AUTH_BEARER, "one", WIRE_UNSUPPORTED,
          false },
        { false, true, true, true, AUTH_EXTERNAL, NULL, 0, false },
        { false, true, true, false, AUTH_EXTERNAL, NULL, WIRE_AUTH_FAILED,
          true },
        { true, false, true, true, AUTH_EXTERNAL, NULL, WIRE_UNSUPPORTED,
          false },
        { true, true, true, true, 77, NULL, WIRE_UNSUPPORTED, false },
        { false, false, true, true, AUTH_EXTERNAL, NULL, WIRE_UNSUPPORTED,
          false },
    };
    struct hasher *hasher = hasher_new();
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct door d;
        door_open(&d, hasher);
        d.table.bearer = cases[i].bearer;
        d.table.external = cases[i].external;
        fixture_init(&f, &d.config);
        sender_set_transport(f.s, cases[i].secure, cases[i].certified);
        say_greeting(&f, true);
        say_auth(1, cases[i].method, cases[i].token);
        say_end(&f);
        if (cases[i].code == 0) {
            expect(&f, FRAME_DONE, 1);
        } else {
            expect_error(&f, 1, cases[i].code);
        }
        assert_int_equal(sender_identity(f.s)->method,
                         cases[i].code == 0 ? cases[i].method : 0);
        assert_int_equal(sender_stats(f.s)->auth_refused, cases[i].refusal);
        fixture_clear(&f);
    }
    hasher_free(hasher);
}

static void
test_too_many_refusals(void **state)
{
    struct hasher *hasher = hasher_new();
    struct fixture f;
    struct door d;
    (void)state;
    door_open(&d, hasher);
    fixture_init(&f, &d.config);
    say_greeting(&f, true);
    for (uint32_t id = 1; id < LIMIT_AUTH_ATTEMPTS; id++) {
        say_auth(id, AUTH_BEARER, "guess");
        say_end(&f);
        expect_error(&f, id, WIRE_AUTH_FAILED);
    }
    assert_false(sender_finished(f.s));
    say_auth(LIMIT_AUTH_ATTEMPTS, AUTH_BEARER, "guess");
    say_auth(LIMIT_AUTH_ATTEMPTS + 1, AUTH_BEARER, "one");
    say_end(&f);
    expect_last_words(&f, WIRE_AUTH_FAILED);
    assert_string_equal(sender_reason(f.s), "auth-refused");
    fixture_clear(&f);
    hasher_free(hasher);
}

static void
test_deadline(void **state)
{
    struct hasher *hasher = hasher_new();
    struct fixture f;
    struct door d;
    (void)state;
    door_open(&d, hasher);
    fixture_init(&f, &d.config);
    uint64_t born = f.now;
    say_greeting(&f, true);
    assert_int_equal(sender_deadline(f.s), born + TIMER_AUTH_MS);
    f.now = born + TIMER_AUTH_MS - 1;
    sender_tick(f.s, f.now);
    say_ping(); /* absolute: nothing moves it */
    say_end(&f);
    expect(&f, FRAME_PONG, 0);
    assert_int_equal(sender_deadline(f.s), born + TIMER_AUTH_MS);
    f.now++;
    sender_tick(f.s, f.now);
    fixture_pump(&f);
    expect_last_words(&f, WIRE_HANDSHAKE_TIMEOUT);
    fixture_clear(&f);
    /* Who has come in may stay. */
    fixture_init(&f, &d.config);
    say_greeting(&f, true);
    say_auth(1, AUTH_BEARER, "one");
    say_end(&f);
    expect(&f, FRAME_DONE, 1);
    f.now += TIMER_AUTH_MS;
    sender_tick(f.s, f.now);
    assert_false(sender_finished(f.s));
    fixture_clear(&f);
    hasher_free(hasher);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_before_and_after),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_too_many_refusals),
        cmocka_unit_test(test_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
