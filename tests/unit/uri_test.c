/* Tests of proto/data/uri: every rule of spec/belay-uri.md, and the way
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/data/relpath.h"
#include "proto/data/uri.h"

#define HEX64 \
    "cc333f2bf3887f5abe401a776d37f9a8cd2c70c5a5dcc2e48198b553ac64f844"
#define PIN "bl1-18-" HEX64

struct good_row {
    const char *text;
    enum uri_scheme scheme;
    const char *user;
    const char *host;
    uint16_t port;
    const char *path;
    const char *socket;
    const char *format;  /* NULL: the text itself. */
};

static const struct good_row good_rows[] = {
    {"belay://h/iso/demo.bin", URI_TLS, "", "h", 7245, "iso/demo.bin", "",
     NULL},
    {"belay://h", URI_TLS, "", "h", 7245, "", "", "belay://h/"},
    {"belay://h/", URI_TLS, "", "h", 7245, "", "", NULL},
    {"BeLaY+TCP://Example.ORG:7245/X", URI_TCP, "", "example.org", 7245, "X",
     "", "belay+tcp://example.org/X"},
    {"belay://h:1/x", URI_TLS, "", "h", 1, "x", "", NULL},
    {"belay://h:65535/x", URI_TLS, "", "h", 65535, "x", "", NULL},
    {"belay://h:/x", URI_TLS, "", "h", 7245, "x", "", "belay://h/x"},
    {"belay://h:00080/x", URI_TLS, "", "h", 80, "x", "", "belay://h:80/x"},
    {"belay://10.0.0.1/x", URI_TLS, "", "10.0.0.1", 7245, "x", "", NULL},
    {"belay://[2001:db8::1]:7000/x", URI_TLS, "", "2001:db8::1", 7000, "x",
     "", NULL},
    {"belay://[::]/x", URI_TLS, "", "::", 7245, "x", "", NULL},
    {"belay://[::FFFF:1.2.3.4]/", URI_TLS, "", "::ffff:1.2.3.4", 7245, "", "",
     "belay://[::ffff:1.2.3.4]/"},
    {"belay://[1:2:3:4:5:6:7:8]", URI_TLS, "", "1:2:3:4:5:6:7:8", 7245, "",
     "", "belay://[1:2:3:4:5:6:7:8]/"},
    {"belay://[1:2:3:4:5:6:7::]/", URI_TLS, "", "1:2:3:4:5:6:7::", 7245, "",
     "", NULL},
    {"belay://h/a%20b", URI_TLS, "", "h", 7245, "a b", "", NULL},
    {"belay://h/%2e%2e%2e/%C3%bc%ff", URI_TLS, "", "h", 7245,
     ".../\xc3\xbc\xff", "", "belay://h/.../%C3%BC%FF"},
    {"belay://h/gr\xc3\xbcn", URI_TLS, "", "h", 7245, "gr\xc3\xbcn", "",
     "belay://h/gr%C3%BCn"},
    {"belay://h/a%23b%3Fc%25d", URI_TLS, "", "h", 7245, "a#b?c%d", "", NULL},
    {"belay://h/a&b=c;d,(e)!$'*+@:~", URI_TLS, "", "h", 7245,
     "a&b=c;d,(e)!$'*+@:~", "", "belay://h/a%26b=c;d,(e)!$'*+@:~"},
    {"belay+ssh://host/x", URI_SSH, "", "host", 0, "x", "", NULL},
    {"belay+ssh://me@host:22/x", URI_SSH, "me", "host", 22, "x", "", NULL},
    {"belay+ssh://a_b.C-d@[::1]/x", URI_SSH, "a_b.C-d", "::1", 0, "x", "",
     NULL},
    {"belay+unix:///x?socket=/run/b.sock", URI_UNIX, "", "", 0, "x",
     "/run/b.sock", NULL},
    {"belay+unix://?socket=/run/b.sock", URI_UNIX, "", "", 0, "",
     "/run/b.sock", "belay+unix:///?socket=/run/b.sock"},
    {"belay+unix:///a/b?socket=/r%20n/%26", URI_UNIX, "", "", 0, "a/b",
     "/r n/&", NULL},
    {"host:path", URI_SSH, "", "host", 0, "path", "",
     "belay+ssh://host/path"},
    {"me@Host:a b/%20#c?d", URI_SSH, "me", "host", 0, "a b/%20#c?d", "",
     "belay+ssh://me@host/a%20b/%2520%23c%3Fd"},
    {"host:", URI_SSH, "", "host", 0, "", "", "belay+ssh://host/"},
    {"me@host:/a b", URI_SSH, "me", "host", 0, "a b", "", NULL},
    {"[::1]:/", URI_SSH, "", "::1", 0, "", "", NULL},
    {"me@[::1]:x:y", URI_SSH, "me", "::1", 0, "x:y", "",
     "belay+ssh://me@[::1]/x:y"},
    {"host:a@b", URI_SSH, "", "host", 0, "a@b", "", "belay+ssh://host/a@b"},
};

/* Parsing what is written gives the same value, whole. */
static void check_round_trip(const struct uri *uri, const char *want)
{
    char text[URI_TEXT_SIZE];
    struct uri again;
    struct uri_error error = {0, NULL};
    assert_int_equal(uri_format(uri, text, sizeof text), 0);
    if (want != NULL) {
        assert_string_equal(text, want);
    }
    assert_int_equal(uri_parse(text, &again, &error), 0);
    assert_null(error.reason);
    assert_memory_equal(&again, uri, sizeof again);
    /* One byte less is an error, not a shorter address. */
    assert_int_equal(uri_format(uri, text, strlen(text)), ERR_SPACE);
}

static void test_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good_rows / sizeof good_rows[0]; i++) {
        const struct good_row *row = &good_rows[i];
        struct uri uri;
        struct uri_error error = {0, NULL};
        int err = uri_parse(row->text, &uri, &error);
        if (err != 0) {
            print_message("%s: %s\n", row->text, error.reason);
        }
        assert_int_equal(err, 0);
        assert_true(uri_is_remote(row->text));
        assert_int_equal(uri.scheme, row->scheme);
        assert_string_equal(uri.user, row->user);
        assert_string_equal(uri.host, row->host);
        assert_int_equal(uri.host_is_ipv6, strchr(row->host, ':') != NULL);
        assert_int_equal(uri.port, row->port);
        assert_string_equal(uri.path, row->path);
        assert_int_equal(uri.path_len, strlen(row->path));
        assert_string_equal(uri.socket, row->socket);
        assert_false(uri.pinned);
        check_round_trip(&uri,
                         row->format != NULL ? row->format : row->text);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t pos;
    } rows[] = {
        {"", 0},
        {"file.iso", 0},
        {"./a:b", 0},
        {"/a:b", 0},
        {":x", 0},
        {"://h/x", 0},
        {"http://h/x", 0},
        {"belays://h/x", 0},
        {"bela://h/x", 0},
        {"belay+ssh2://h/x", 0},
        /* U1-2: ports. */
        {"belay://h:0/x", 10},
        {"belay://h:65536/x", 10},
        {"belay://h:4294967297/x", 10},
        {"belay://h:99999999999999999999/x", 10},
        {"belay://h:80a/x", 12},
        {"belay://h:-1/x", 10},
        {"belay://h:1:2/x", 11},
        {"belay://[::1]80/x", 13},
        /* U1-4: escapes and N1. */
        {"belay://h/%", 10},
        {"belay://h/%2", 10},
        {"belay://h/a%2g", 11},
        {"belay://h/%zz", 10},
        {"belay://h/%2#", 10},
        {"belay://h/a%00", 11},
        {"belay://h/a%2Fb", 11},
        {"belay://h/a%2fb", 11},
        {"belay://h//", 10},
        {"belay://h//etc", 10},
        {"belay://h/a//b", 10},
        {"belay://h/a/", 10},
        {"belay://h/.", 10},
        {"belay://h/../x", 10},
        {"belay://h/a/%2e%2e/x", 10},
        {"belay://h/a/.%2E", 10},
        {"belay://h/a b", 11},
        {"belay://h/a\nb", 11},
        {"belay://h/a\x7f", 11},
        {"belay://h/a\\b", 11},
        {"belay://h/\"a\"", 10},
        {"belay://h/<a>", 10},
        {"belay://h/a|b", 11},
        {"belay://h/[a]", 10},
        /* U1-5, U1-6: queries. */
        {"belay://h/x?y=1", 11},
        {"belay://h?y=1", 9},
        {"belay+tcp://h/x?", 15},
        {"belay+ssh://h/x?socket=/s", 15},
        {"belay+unix:///x", 15},
        {"belay+unix:///x?", 15},
        {"belay+unix:///x?socket", 15},
        {"belay+unix:///x?socket=", 15},
        {"belay+unix:///x?Socket=/s", 15},
        {"belay+unix:///x?y=1&socket=/s", 15},
        {"belay+unix:///x?socket=/s&y=1", 25},
        {"belay+unix:///x?socket=run", 23},
        {"belay+unix:///x?socket=/%00", 24},
        {"belay+unix://h/x?socket=/s", 13},
        /* U1-7, U1-8: users and hosts. */
        {"belay://u@h/x", 8},
        {"belay+tcp://u@h/x", 12},
        {"belay+ssh://u:p@h/x", 13},
        {"belay://u:p@h/x", 9},
        {"belay+ssh://@h/x", 12},
        {"belay+ssh://-oProxyCommand=x/y", 12},
        {"belay+ssh://-l@h/y", 12},
        {"belay+ssh://a@-h/y", 14},
        {"belay+ssh://a b@h/y", 13},
        {"belay+ssh://a;b@h/y", 13},
        {"belay+ssh://h$x/y", 13},
        {"belay+ssh://h%20x/y", 13},
        {"belay+ssh://a@b@c/y", 15},
        {"belay://-h/x", 8},
        {"belay:///x", 8},
        {"belay://:80/x", 8},
        {"belay://h\xc3\xbc/x", 9},
        {"belay://h h/x", 9},
        {"-oProxyCommand=x:y", 0},
        {"a@-b:y", 2},
        {"@h:x", 0},
        {"a b:x", 1},
        {"h:../x", 2},
        {"me@h://etc/passwd", 6},
        {"h:/../x", 3},
        {"h:a/", 2},
        /* IPv6 addresses. */
        {"belay://[]/x", 9},
        {"belay://[::1/x", 9},
        {"belay://[:1]/x", 9},
        {"belay://[1:]/x", 9},
        {"belay://[:::]/x", 9},
        {"belay://[1::2::3]/x", 9},
        {"belay://[1:2:3:4:5:6:7]/x", 9},
        {"belay://[1:2:3:4:5:6:7:8:9]/x", 9},
        {"belay://[1:2:3:4:5:6:7:8::]/x", 9},
        {"belay://[12345::]/x", 9},
        {"belay://[g::]/x", 9},
        {"belay://[::1.2.3]/x", 9},
        {"belay://[::1.2.3.256]/x", 9},
        {"belay://[::1.2.3.04]/x", 9},
        {"belay://[1.2.3.4]/x", 9},
        {"belay://[fe80::1%25eth0]/x", 9},
        {"belay://::1/x", 8},
        {"[::1:x", 0},
        /* U1-9: pins. */
        {"belay://h/x#", 12},
        {"belay://h/x#top", 12},
        {"belay://h/x#BL1-18-" HEX64, 12},
        {"belay://h/x#" PIN "0", 12},
        {"belay://h/x##" PIN, 12},
        {"belay://h/x#" PIN "#", 12},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct uri uri;
        struct uri_error error = {999, NULL};
        int err = uri_parse(rows[i].text, &uri, &error);
        if (err != ERR_URI || error.pos != rows[i].pos) {
            print_message("%s: %d at %zu\n", rows[i].text, err, error.pos);
        }
        assert_int_equal(err, ERR_URI);
        assert_int_equal(error.pos, rows[i].pos);
        assert_non_null(error.reason);
    }
}

static void test_pins(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "belay://h/x#" PIN,
        "belay+tcp://h:1/x#" PIN,
        "belay+ssh://u@h/#" PIN,
        "belay+unix:///x?socket=/s#" PIN,
    };
    uint8_t cid[HASH_LEN];
    assert_int_equal(cid_hex_decode(HEX64, HASH_LEN, cid), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct uri uri;
        struct uri_error error = {0, NULL};
        assert_int_equal(uri_parse(rows[i], &uri, &error), 0);
        assert_true(uri.pinned);
        assert_int_equal(uri.chunk_log2, 18);
        assert_memory_equal(uri.cid, cid, HASH_LEN);
        check_round_trip(&uri, rows[i]);
    }
}

/* U1-12: in the form of scp only what begins as a pin is one, and then it must
 * be right. */
static void test_pins_of_scp(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *path;
        const char *format;
    } rows[] = {
        {"h:x#" PIN, "x", "belay+ssh://h/x#" PIN},
        {"u@h:/x#" PIN, "x", "u@h:/x#" PIN},
        {"h:a#b#" PIN, "a#b", "belay+ssh://h/a%23b#" PIN},
        {"h:#" PIN, "", "belay+ssh://h/#" PIN},
    };
    static const char *const bad[] = {"h:x#bl1-", "h:x#bl1-18-12",
                                      "h:/x#" PIN "0", "h:x#" PIN "/y"};
    struct uri uri;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct uri_error error = {0, NULL};
        assert_int_equal(uri_parse(rows[i].text, &uri, &error), 0);
        assert_true(uri.pinned);
        assert_int_equal(uri.chunk_log2, 18);
        assert_string_equal(uri.path, rows[i].path);
        check_round_trip(&uri, rows[i].format);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct uri_error error = {0, NULL};
        assert_int_equal(uri_parse(bad[i], &uri, &error), ERR_URI);
        assert_int_equal(error.pos, strchr(bad[i], '#') + 1 - bad[i]);
    }
    assert_int_equal(uri_parse("h:x#bl2-y", &uri, &(struct uri_error){0, NULL}),
                     0);
    assert_false(uri.pinned);
}

/* `len` times `c` between two texts. */
static const char *long_text(const char *before, char c, size_t len,
                             const char *after)
{
    static char text[16000];
    size_t at = strlen(before);
    memcpy(text, before, at);
    memset(text + at, c, len);
    memcpy(text + at + len, after, strlen(after) + 1);
    return text;
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        size_t max;
        const char *after;
    } rows[] = {
        {"belay://", URI_HOST_MAX, "/x"},
        {"belay+ssh://", URI_USER_MAX, "@h/x"},
        {"belay://h/", LIMIT_COMPONENT, ""},
        {"h:", LIMIT_COMPONENT, ""},
        {"belay+unix:///x?socket=/", URI_SOCKET_MAX - 1, ""},
    };
    struct uri uri;
    struct uri_error error;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *text =
            long_text(rows[i].before, 'a', rows[i].max, rows[i].after);
        assert_int_equal(uri_parse(text, &uri, &error), 0);
        check_round_trip(&uri, NULL);
        text =
            long_text(rows[i].before, 'a', rows[i].max + 1, rows[i].after);
        assert_int_equal(uri_parse(text, &uri, &error), ERR_URI);
    }
    /* A path of LIMIT_PATH bytes, each of which has to be escaped. */
    char text[3 * (LIMIT_PATH + 1) + 32];
    for (size_t len = LIMIT_PATH; len <= LIMIT_PATH + 1; len++) {
        size_t at = (size_t)sprintf(text, "belay://h/");
        for (size_t i = 0; i < len; i++) {
            at += (size_t)sprintf(text + at, "%s",
                                  i % 200 == 199 ? "/" : "%01");
        }
        assert_int_equal(uri_parse(text, &uri, &error),
                         len <= LIMIT_PATH ? 0 : ERR_URI);
        if (len <= LIMIT_PATH) {
            assert_int_equal(uri.path_len, LIMIT_PATH);
            check_round_trip(&uri, NULL);
        }
    }
    assert_int_equal(uri_parse(long_text("h:", 'a', LIMIT_PATH + 1, ""), &uri,
                               &error), ERR_URI);
}

static void test_is_remote(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool remote;
    } rows[] = {
        {"belay://h/x", true}, {"http://h/x", true}, {"host:path", true},
        {"u@host:path", true}, {"[::1]:x", true},    {"u@[::1]:x", true},
        {"h:a/b:c", true},     {"file", false},      {"", false},
        {"./a:b", false},      {"/a:b", false},      {"a/b:c", false},
        {"a/b://c", false},    {"[::1]", false},     {":x", false},
        {"a@b", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(uri_is_remote(rows[i].text), rows[i].remote);
    }
}

static void test_basename(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *name;
    } rows[] = {
        {"belay://h/iso/demo.bin", "demo.bin"},
        {"belay://h/demo.bin#" PIN, "demo.bin"},
        {"belay://h/a/b%20c", "b c"},
        {"belay+unix:///x?socket=/run/s", "x"},
        {"h:dir/x", "x"},
        {"belay://h/", NULL},
        {"belay://h", NULL},
        {"h:", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct uri uri;
        struct uri_error error;
        assert_int_equal(uri_parse(rows[i].text, &uri, &error), 0);
        if (rows[i].name == NULL) {
            assert_null(uri_basename(&uri));
        } else {
            assert_string_equal(uri_basename(&uri), rows[i].name);
        }
    }
}

/* Changes a few characters of good addresses: whatever still parses must be
 * safe to use and survive the way there and back. */
static void test_mutations(void **state)
{
    (void)state;
    static const char alphabet[] = "belayh:/@[]%20?#.-+ \n\xc3=&x1\\";
    uint32_t seed = 11;
    size_t accepted = 0;
    for (int round = 0; round < 200000; round++) {
        const size_t rows = sizeof good_rows / sizeof good_rows[0];
        char text[128];
        size_t len = strlen(good_rows[(size_t)round % rows].text);
        memcpy(text, good_rows[(size_t)round % rows].text, len + 1);
        for (int i = 0; i < 2; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[(seed >> 8) % len] = alphabet[(seed >> 18) % 28];
        }
        struct uri uri;
        struct uri_error error = {0, NULL};
        if (uri_parse(text, &uri, &error) != 0) {
            assert_non_null(error.reason);
            assert_true(error.pos <= len);
            continue;
        }
        accepted++;
        assert_true(uri_is_remote(text));
        assert_int_equal(relpath_check(uri.path, uri.path_len), 0);
        assert_int_equal(strlen(uri.path), uri.path_len);
        assert_true(uri.host[0] != '-' && uri.user[0] != '-');
        assert_int_equal(strcspn(uri.host, " \n\\/?#@%&="),
                         strlen(uri.host));
        check_round_trip(&uri, NULL);
    }
    assert_true(accepted > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_pins_of_scp),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_is_remote),
        cmocka_unit_test(test_basename),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
