/* client/socks.h: whole conversations, cut at every byte; refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/socks.h"

struct talk {
    const char *host;
    uint16_t port;
    bool login;
    /* What is sent and received in turn, each ended by an empty one. */
    struct {
        const char *sent;
        size_t sent_len;
        const char *got;
        size_t got_len;
    } step[4];
    int result;
};

#define S(text) text, sizeof text - 1

static const struct talk talks[] = {
    {"example.org", 22077, false,
     {{S("\5\1\0"), S("\5\0")},
      {S("\5\1\0\3\13example.org\x56\x3d"), S("\5\0\0\1\0\0\0\0\0\0")}},
     0},
    {"10.1.2.3", 80, false,
     {{S("\5\1\0"), S("\5\0")},
      {S("\5\1\0\1\12\1\2\3\0\x50"),
       S("\5\0\0\4aaaabbbbccccdddd\1\2")}},
     0},
    {"::1", 1, true,
     {{S("\5\2\0\2"), S("\5\2")},
      {S("\1\2me\4pass"), S("\1\0")},
      {S("\5\1\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1"),
       S("\5\0\0\3\4name\0\0")}},
     0},
    /* A login is offered, but not wanted. */
    {"h", 1, true,
     {{S("\5\2\0\2"), S("\5\0")},
      {S("\5\1\0\3\1h\0\1"), S("\5\0\0\3\0\0\0")}},
     0},
    {"h", 1, false, {{S("\5\1\0"), S("\5\xff")}}, ERR_AUTH},
    {"h", 1, true, {{S("\5\2\0\2"), S("\5\xff")}}, ERR_AUTH},
    {"h", 1, false, {{S("\5\1\0"), S("\5\2")}}, ERR_MALFORMED},
    {"h", 1, false, {{S("\5\1\0"), S("\4\0")}}, ERR_MALFORMED},
    {"h", 1, false, {{S("\5\1\0"), S("HT")}}, ERR_MALFORMED},
    {"h", 1, true,
     {{S("\5\2\0\2"), S("\5\2")}, {S("\1\2me\4pass"), S("\1\1")}},
     ERR_AUTH},
    {"h", 1, false,
     {{S("\5\1\0"), S("\5\0")},
      {S("\5\1\0\3\1h\0\1"), S("\5\5\0\1")}},
     ERR_CONNECT},
    {"h", 1, false,
     {{S("\5\1\0"), S("\5\0")},
      {S("\5\1\0\3\1h\0\1"), S("\5\x63\0\1")}},
     ERR_CONNECT},
    {"h", 1, false,
     {{S("\5\1\0"), S("\5\0")},
      {S("\5\1\0\3\1h\0\1"), S("\5\0\0\2")}},
     ERR_MALFORMED},
    {"h", 1, false,
     {{S("\5\1\0"), S("\5\0")},
      {S("\5\1\0\3\1h\0\1"), S("\1\0\0\1")}},
     ERR_MALFORMED},
};

static void expect_output(struct socks *s, const char *bytes, size_t len,
                          size_t piece)
{
    size_t at = 0;
    while (at < len) {
        size_t have;
        const uint8_t *out = socks_output(s, &have);
        assert_int_equal(have, len - at);
        assert_memory_equal(out, bytes + at, have);
        size_t n = have < piece ? have : piece;
        socks_sent(s, n);
        at += n;
    }
    size_t have;
    (void)socks_output(s, &have);
    assert_int_equal(have, 0);
}

/* Never asks for more than the handshake holds. */
static int give(struct socks *s, const char *bytes, size_t len, size_t piece)
{
    int err = ERR_AGAIN;
    size_t at = 0;
    while (at < len && err == ERR_AGAIN) {
        size_t n = socks_wanted(s);
        assert_true(n > 0 && n <= len - at);
        n = n < piece ? n : piece;
        err = socks_input(s, (const uint8_t *)bytes + at, n);
        at += n;
    }
    assert_int_equal(at, len);
    return err;
}

static void run(const struct talk *talk, size_t piece)
{
    struct proxy proxy = {.host = "proxy", .port = 1080};
    struct socks *s = malloc(sizeof *s);
    int err = ERR_AGAIN;
    assert_non_null(s);
    if (talk->login) {
        memcpy(proxy.user, "me", 3);
        memcpy(proxy.password, "pass", 5);
    }
    assert_int_equal(socks_init(s, &proxy, talk->host, talk->port), 0);
    for (size_t k = 0; k < 4 && talk->step[k].sent != NULL; k++) {
        assert_int_equal(err, ERR_AGAIN);
        expect_output(s, talk->step[k].sent, talk->step[k].sent_len, piece);
        err = give(s, talk->step[k].got, talk->step[k].got_len, piece);
    }
    assert_int_equal(err, talk->result);
    assert_int_equal(strlen(socks_reason(s)) > 0, talk->result != 0);
    if (err == 0) {
        assert_int_equal(socks_wanted(s), 0);
    }
    free(s);
}

static void conversations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof talks / sizeof talks[0]; i++) {
        for (size_t piece = 1; piece <= 30; piece++) {
            run(&talks[i], piece);
        }
    }
}

static void long_names(void **state)
{
    struct proxy proxy = {.host = "proxy"};
    struct socks s;
    char host[257];
    size_t len;
    (void)state;
    memset(host, 'h', sizeof host);
    host[256] = '\0';
    assert_int_equal(socks_init(&s, &proxy, host, 1), ERR_RANGE);
    host[255] = '\0';
    memset(proxy.user, 'u', 255);
    memset(proxy.password, 'p', 255);
    assert_int_equal(socks_init(&s, &proxy, host, 1), 0);
    expect_output(&s, S("\5\2\0\2"), 9);
    assert_int_equal(give(&s, S("\5\2"), 9), ERR_AGAIN);
    (void)socks_output(&s, &len);
    assert_int_equal(len, 3 + 255 + 255);
    socks_sent(&s, len);
    assert_int_equal(give(&s, S("\1\0"), 9), ERR_AGAIN);
    (void)socks_output(&s, &len);
    assert_int_equal(len, 4 + 1 + 255 + 2);
    socks_sent(&s, len);
    /* The longest reply. */
    char reply[4 + 1 + 255 + 2] = "\5\0\0\3\xff";
    assert_int_equal(give(&s, reply, sizeof reply, 9), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations),
        cmocka_unit_test(long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
