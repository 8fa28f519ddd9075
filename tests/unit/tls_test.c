/* TLS between two ends of this process, through a pipe that splits bytes as
 * the test likes: who is believed, what arrives, what an end means. Peers that
 * speak something else are in scenarios tls_get.py and tls_server.py. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/io/tls.h"

struct identity {
    char key[TLS_PEM_MAX];
    char cert[TLS_PEM_MAX];
    uint8_t pin[HASH_LEN];
};

static struct identity one, two;

static struct bytes_view
text(const char *s)
{
    return (struct bytes_view){ (const uint8_t *)s, strlen(s) };
}

static void
make(struct identity *id, const char *name)
{
    assert_int_equal(tls_make_identity(name, id->key, id->cert), 0);
    assert_int_equal(tls_cert_pin(text(id->cert), id->pin), 0);
}

static struct tls_ctx *
server_ctx(const struct identity *id)
{
    const struct tls_server_config config = {
        .cert = text(id->cert),
        .key = text(id->key),
    };
    struct tls_ctx *ctx = NULL;
    char why[TLS_TEXT_MAX];
    if (tls_server_ctx(&config, &ctx, why) != 0) {
        fail_msg("%s", why);
    }
    return ctx;
}

/* ---- Two ends, and a pipe between them. */

struct link {
    int fd[4]; /* client, pipe; pipe, server */
    struct tls *client;
    struct tls *server;
};

static void
open_pair(int *a, int *b)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds),
                     0);
    *a = fds[0];
    *b = fds[1];
}

static void
link_open(struct link *l, struct tls_ctx *server,
          const struct tls_expect *expect, const char *ca_file)
{
    const struct tls_client_config config = { .ca_file = ca_file };
    struct tls_ctx *client = NULL;
    char why[TLS_TEXT_MAX];

    memset(l, 0, sizeof(*l));
    open_pair(&l->fd[0], &l->fd[1]);
    open_pair(&l->fd[2], &l->fd[3]);
    if (tls_client_ctx(&config, &client, why) != 0) {
        fail_msg("%s", why);
    }
    assert_int_equal(tls_new(client, l->fd[0], expect, &l->client), 0);
    assert_int_equal(tls_new(server, l->fd[3], NULL, &l->server), 0);
    tls_ctx_free(client); /* the connection keeps what it needs */
}

static void
link_close(struct link *l)
{
    tls_free(l->client);
    tls_free(l->server);
    for (int i = 0; i < 4; i++) {
        if (l->fd[i] >= 0) {
            close(l->fd[i]);
        }
    }
}

/* Moves at most `step` bytes each way; true when something moved. */
static bool
carry(struct link *l, size_t step)
{
    static uint8_t buf[65536];
    bool moved = false;
    for (int way = 0; way < 2; way++) {
        int from = way == 0 ? l->fd[1] : l->fd[2];
        int to = way == 0 ? l->fd[2] : l->fd[1];
        ssize_t n = read(from, buf, step);
        if (n > 0) {
            assert_int_equal(write(to, buf, (size_t)n), n);
            moved = true;
        }
    }
    return moved;
}

/* Both ends' results in *client and *server once neither can go on. */
static void
shake(struct link *l, size_t step, int *client, int *server)
{
    *client = ERR_AGAIN;
    *server = ERR_AGAIN;
    for (;;) {
        if (*client == ERR_AGAIN) {
            *client = tls_handshake(l->client);
            if (*client == ERR_AGAIN) {
                assert_int_equal(tls_wants(l->client), TLS_WANT_READ);
            }
        }
        if (*server == ERR_AGAIN) {
            *server = tls_handshake(l->server);
        }
        if (!carry(l, step)) {
            return;
        }
    }
}

static void
shake_well(struct link *l, size_t step)
{
    int client, server;
    shake(l, step, &client, &server);
    assert_int_equal(client, 0);
    assert_int_equal(server, 0);
}

static struct tls_expect
expect_pins(const uint8_t (*pins)[HASH_LEN], size_t count)
{
    return (struct tls_expect){
        .host = "server.example", .pins = pins, .pin_count = count
    };
}

/* ---- Pins and identities. */

static void
test_pin_text(void **state)
{
    uint8_t pin[HASH_LEN], again[HASH_LEN];
    char line[TLS_PIN_TEXT_LEN + 2];
    (void)state;
    for (size_t i = 0; i < HASH_LEN; i++) {
        pin[i] = (uint8_t)(i * 37 + 5);
    }
    tls_pin_format(pin, line);
    assert_int_equal(strlen(line), TLS_PIN_TEXT_LEN);
    assert_int_equal(tls_pin_parse(line, strlen(line), again), 0);
    assert_memory_equal(pin, again, HASH_LEN);
    for (size_t i = 7; i < TLS_PIN_TEXT_LEN; i++) {
        if (line[i] >= 'a') {
            line[i] = (char)(line[i] - 32);
        }
    }
    assert_int_equal(tls_pin_parse(line, strlen(line), again), 0);
    assert_memory_equal(pin, again, HASH_LEN);
    for (size_t i = 0; i < TLS_PIN_TEXT_LEN; i++) {
        char was = line[i];
        line[i] = i < 7 ? 'x' : 'g';
        assert_int_equal(tls_pin_parse(line, TLS_PIN_TEXT_LEN, again),
                         ERR_SYNTAX);
        line[i] = was;
        assert_int_equal(tls_pin_parse(line, i, again), ERR_SYNTAX);
    }
    line[TLS_PIN_TEXT_LEN] = '0';
    assert_int_equal(tls_pin_parse(line, TLS_PIN_TEXT_LEN + 1, again),
                     ERR_SYNTAX);
}

static void
test_identity(void **state)
{
    char key[TLS_PEM_MAX], cert[TLS_PEM_MAX];
    char name[66];
    uint8_t pin[HASH_LEN];
    (void)state;
    memset(name, 'a', 65);
    name[65] = '\0';
    assert_int_equal(tls_make_identity(name, key, cert), ERR_RANGE);
    assert_int_equal(tls_make_identity("", key, cert), ERR_RANGE);
    assert_int_equal(tls_make_identity(name + 1, key, cert), 0);
    assert_int_equal(tls_make_identity("no host name!", key, cert), 0);
    assert_memory_not_equal(one.pin, two.pin, HASH_LEN);
    assert_int_equal(tls_cert_pin(text("nothing"), pin), ERR_SYNTAX);
    assert_int_equal(tls_cert_pin(text(one.key), pin), ERR_SYNTAX);
}

static void
test_server_texts(void **state)
{
    static char both[2 * TLS_PEM_MAX];
    (void)state;
    snprintf(both, sizeof(both), "%s%s", one.cert, two.cert);
    const struct {
        const char *cert, *key, *ca;
        int err;
    } cases[] = {
        { one.cert, one.key, "", 0 },
        { both, one.key, "", 0 },
        { one.cert, one.key, both, 0 },
        { one.cert, two.key, "", ERR_TLS },
        { "", one.key, "", ERR_TLS },
        { one.cert, "", "", ERR_TLS },
        { one.key, one.key, "", ERR_TLS },
        { one.cert, one.key, "nonsense", ERR_TLS },
        { one.cert, one.key, "-----BEGIN CERTIFICATE-----\nAAAA\n", ERR_TLS },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct tls_server_config config = {
            .cert = text(cases[i].cert),
            .key = text(cases[i].key),
            .client_ca = text(cases[i].ca),
        };
        struct tls_ctx *ctx = NULL;
        char why[TLS_TEXT_MAX] = "";
        int err = tls_server_ctx(&config, &ctx, why);
        if (err != cases[i].err || (ctx != NULL) != (err == 0) ||
            (err != 0 && why[0] == '\0')) {
            fail_msg("case %zu: %d %s", i, err, why);
        }
        tls_ctx_free(ctx);
    }
    tls_ctx_free(NULL);
    tls_free(NULL);
}

/* ---- Who is believed. */

static void
test_pins(void **state)
{
    struct tls_ctx *ctx = server_ctx(&one);
    uint8_t pins[3][HASH_LEN];
    struct link l;
    int client, server;
    (void)state;
    memcpy(pins[0], two.pin, HASH_LEN);
    memcpy(pins[1], one.pin, HASH_LEN);
    memset(pins[2], 0, HASH_LEN);
    for (size_t count = 1; count <= 3; count++) {
        uint8_t shown[HASH_LEN];
        struct tls_expect expect =
            expect_pins((const uint8_t (*)[HASH_LEN])pins, count);
        link_open(&l, ctx, &expect, NULL);
        shake(&l, 1000, &client, &server);
        if (count == 1) {
            assert_int_equal(client, ERR_TLS);
            assert_int_equal(tls_fault(l.client), TLS_FAULT_WRONG_KEY);
            assert_int_equal(server, ERR_TLS);
        } else {
            assert_int_equal(client, 0);
            assert_int_equal(server, 0);
            assert_int_equal(tls_fault(l.client), TLS_FAULT_NONE);
            assert_int_equal(strncmp(tls_cipher(l.client), "TLS_", 4), 0);
        }
        assert_true(tls_peer_pin(l.client, shown));
        assert_memory_equal(shown, one.pin, HASH_LEN);
        assert_false(tls_peer_pin(l.server, shown));
        assert_string_equal(tls_client_name(l.server), "");
        link_close(&l);
    }
    tls_ctx_free(ctx);
}

static void
test_unknown(void **state)
{
    struct tls_ctx *ctx = server_ctx(&one);
    struct link l;
    int client, server;
    (void)state;
    for (int accept = 0; accept < 2; accept++) {
        struct tls_expect expect = {
            .host = "server.example", .accept_unknown = accept == 1
        };
        link_open(&l, ctx, &expect, NULL);
        shake(&l, 1000, &client, &server);
        assert_int_equal(client, accept == 1 ? 0 : ERR_TLS);
        assert_int_equal(tls_fault(l.client),
                         accept == 1 ? TLS_FAULT_NONE : TLS_FAULT_UNKNOWN_CA);
        assert_int_equal(tls_is_unknown(l.client), accept);
        if (accept == 0) {
            assert_non_null(strstr(tls_problem(l.client), "server.example"));
        }
        link_close(&l);
    }
    tls_ctx_free(ctx);
}

static void
test_authority_and_name(void **state)
{
    static const struct {
        const char *host;
        enum tls_fault fault;
    } cases[] = {
        { "server.example", TLS_FAULT_NONE },
        { "SERVER.example", TLS_FAULT_NONE },
        { "other.example", TLS_FAULT_UNTRUSTED },
        { "a.server.example", TLS_FAULT_UNTRUSTED },
        { "127.0.0.1", TLS_FAULT_UNTRUSTED },
    };
    char path[] = "/tmp/belay-tls-test-XXXXXX";
    struct tls_ctx *ctx = server_ctx(&one);
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, one.cert, strlen(one.cert)),
                     (ssize_t)strlen(one.cert));
    close(fd);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        /* accept_unknown does not help a name that is wrong. */
        struct tls_expect expect = { .host = cases[i].host,
                                     .accept_unknown = true };
        struct link l;
        int client, server;
        link_open(&l, ctx, &expect, path);
        shake(&l, 1000, &client, &server);
        assert_int_equal(client, cases[i].fault == TLS_FAULT_NONE ? 0
                                                                  : ERR_TLS);
        assert_int_equal(tls_fault(l.client), cases[i].fault);
        assert_false(tls_is_unknown(l.client));
        link_close(&l);
    }
    unlink(path);
    struct tls_ctx *client = NULL;
    char why[TLS_TEXT_MAX];
    assert_int_equal(
        tls_client_ctx(&(struct tls_client_config){ .ca_file = path },
                       &client, why), ERR_TLS);
    assert_non_null(strstr(why, path));
    tls_ctx_free(ctx);
}

/* ---- Bytes. */

#define DATA 100000u

static void
test_bytes(void **state)
{
    static const size_t steps[] = { 1, 7, 1400, 16384, 65536 };
    static uint8_t sent[DATA], got[DATA];
    struct tls_ctx *ctx = server_ctx(&one);
    (void)state;
    for (size_t i = 0; i < DATA; i++) {
        sent[i] = (uint8_t)(i % 251);
    }
    for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
        struct tls_expect expect =
            expect_pins((const uint8_t (*)[HASH_LEN])&one.pin, 1);
        size_t out = 0, in = 0;
        struct link l;
        link_open(&l, ctx, &expect, NULL);
        shake_well(&l, steps[s]);
        memset(got, 0, DATA);
        while (in < DATA) {
            size_t n = 0;
            int err = out == DATA ? ERR_AGAIN
                                  : tls_write(l.server, sent + out,
                                              DATA - out, &n);
            assert_true(err == 0 || err == ERR_AGAIN);
            out += err == 0 ? n : 0;
            bool moved = carry(&l, steps[s]);
            while ((err = tls_read(l.client, got + in, DATA - in, &n)) == 0) {
                assert_true(n > 0);
                in += n;
            }
            assert_int_equal(err, in == DATA ? err : ERR_AGAIN);
            assert_true(moved || in == DATA || out < DATA ||
                        tls_has_input(l.client));
        }
        assert_memory_equal(sent, got, DATA);
        link_close(&l);
    }
    tls_ctx_free(ctx);
}

static void
test_ends(void **state)
{
    struct tls_ctx *ctx = server_ctx(&one);
    struct tls_expect expect =
        expect_pins((const uint8_t (*)[HASH_LEN])&one.pin, 1);
    uint8_t buf[10];
    size_t n = 0;
    struct link l;
    (void)state;
    for (int notify = 0; notify < 2; notify++) {
        link_open(&l, ctx, &expect, NULL);
        shake_well(&l, 10000);
        assert_int_equal(tls_read(l.client, buf, sizeof(buf), &n), ERR_AGAIN);
        if (notify == 1) {
            tls_say_bye(l.server);
            while (carry(&l, 10000)) {
            }
        }
        close(l.fd[1]);
        l.fd[1] = -1;
        assert_int_equal(tls_read(l.client, buf, sizeof(buf), &n), ERR_EOF);
        assert_true(tls_problem(l.client)[0] != '\0');
        link_close(&l);
    }
    /* An end within the handshake. */
    link_open(&l, ctx, &expect, NULL);
    assert_int_equal(tls_handshake(l.client), ERR_AGAIN);
    assert_true(carry(&l, 10000));
    close(l.fd[1]);
    l.fd[1] = -1;
    assert_int_equal(tls_handshake(l.client), ERR_EOF);
    assert_int_equal(tls_fault(l.client), TLS_FAULT_NONE);
    link_close(&l);
    tls_ctx_free(ctx);
}

static void
test_damage(void **state)
{
    struct tls_ctx *ctx = server_ctx(&one);
    struct tls_expect expect =
        expect_pins((const uint8_t (*)[HASH_LEN])&one.pin, 1);
    uint8_t record[200];
    size_t n = 0;
    struct link l;
    (void)state;
    link_open(&l, ctx, &expect, NULL);
    shake_well(&l, 10000);
    assert_int_equal(tls_write(l.server, "hello", 5, &n), 0);
    ssize_t len = read(l.fd[2], record, sizeof(record));
    assert_true(len > 10);
    record[len / 2] ^= 1;
    assert_int_equal(write(l.fd[1], record, (size_t)len), len);
    assert_int_equal(tls_read(l.client, record, sizeof(record), &n),
                     ERR_TLS);
    assert_int_equal(tls_fault(l.client), TLS_FAULT_DAMAGED);
    link_close(&l);
    /* Something that is no TLS. */
    link_open(&l, ctx, &expect, NULL);
    assert_int_equal(tls_handshake(l.client), ERR_AGAIN);
    assert_int_equal(write(l.fd[1], "220 mail ESMTP\r\n", 16), 16);
    assert_int_equal(tls_handshake(l.client), ERR_TLS);
    assert_int_equal(tls_fault(l.client), TLS_FAULT_PROTOCOL);
    assert_non_null(strstr(tls_problem(l.client), "does not speak TLS"));
    link_close(&l);
    tls_ctx_free(ctx);
}

/* A full pipe: the same bytes again, and nothing is lost or doubled. */
static void
test_blocked(void **state)
{
    static uint8_t sent[2000000], got[2000000];
    struct tls_ctx *ctx = server_ctx(&one);
    struct tls_expect expect =
        expect_pins((const uint8_t (*)[HASH_LEN])&one.pin, 1);
    size_t out = 0, in = 0, blocked = 0;
    struct link l;
    (void)state;
    for (size_t i = 0; i < sizeof(sent); i++) {
        sent[i] = (uint8_t)(i * i >> 7);
    }
    link_open(&l, ctx, &expect, NULL);
    shake_well(&l, 10000);
    while (in < sizeof(sent)) {
        size_t n = 0;
        int err = 0;
        while (out < sizeof(sent) &&
               (err = tls_write(l.server, sent + out, sizeof(sent) - out,
                                &n)) == 0) {
            out += n;
        }
        if (err == ERR_AGAIN) {
            assert_int_equal(tls_wants(l.server), TLS_WANT_WRITE);
            blocked++;
        }
        (void)carry(&l, 30000);
        while (tls_read(l.client, got + in, sizeof(got) - in, &n) == 0) {
            in += n;
            if (in == sizeof(got)) {
                break;
            }
        }
    }
    assert_true(blocked > 0);
    assert_memory_equal(sent, got, sizeof(sent));
    link_close(&l);
    tls_ctx_free(ctx);
}

static int
set_up(void **state)
{
    (void)state;
    make(&one, "server.example");
    make(&two, "server.example");
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pin_text),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_server_texts),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_authority_and_name),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_blocked),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
