/* Trust on first use, when somebody else was first. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/knownhosts.h"
#include "client/trust.h"

static char dir[] = "/tmp/belay-trust-XXXXXX";
static char path[100];
static uint8_t server_pin[HASH_LEN];

static struct bytes_view
text(const char *s)
{
    return (struct bytes_view){ (const uint8_t *)s, strlen(s) };
}

static struct tls_ctx *
server_ctx(void)
{
    static char key[TLS_PEM_MAX], cert[TLS_PEM_MAX];
    struct tls_server_config config;
    struct tls_ctx *ctx = NULL;
    char why[TLS_TEXT_MAX];
    assert_int_equal(tls_make_identity("host", key, cert), 0);
    assert_int_equal(tls_cert_pin(text(cert), server_pin), 0);
    config = (struct tls_server_config){ .cert = text(cert),
                                         .key = text(key) };
    assert_int_equal(tls_server_ctx(&config, &ctx, why), 0);
    return ctx;
}

/* A connection to a server with a key of its own, which is server_pin. */
struct visit {
    struct tls_ctx *ctx;
    struct tls *client;
    struct tls *server;
    int fds[2];
};

static void
visit_begin(struct visit *v, struct trust *trust)
{
    int left = ERR_AGAIN, right = ERR_AGAIN;
    v->ctx = server_ctx();
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, v->fds), 0);
    assert_int_equal(trust_connect(trust, v->fds[0], &v->client), 0);
    assert_int_equal(tls_new(v->ctx, v->fds[1], NULL, &v->server), 0);
    while (left == ERR_AGAIN || right == ERR_AGAIN) {
        left = left == ERR_AGAIN ? tls_handshake(v->client) : left;
        right = right == ERR_AGAIN ? tls_handshake(v->server) : right;
    }
    assert_int_equal(left, 0);
    assert_int_equal(right, 0);
}

static void
visit_end(struct visit *v)
{
    tls_free(v->client);
    tls_free(v->server);
    tls_ctx_free(v->ctx);
    close(v->fds[0]);
    close(v->fds[1]);
}

/* A trust that has found nobody in known_hosts, and what it says of a server
 * when `other` (NULL: nothing) was recorded meanwhile. */
static int
settle_after(const uint8_t *other, struct trust **trust)
{
    const struct trust_options options = { .known_hosts = path,
                                           .accept_new = true };
    struct visit v;
    char why[TLS_TEXT_MAX];
    unlink(path);
    assert_int_equal(trust_new(&options, "host", 1, trust, why), 0);
    visit_begin(&v, *trust);
    if (other != NULL) {
        assert_int_equal(knownhosts_add(path, "host", 1, other, why), 0);
    }
    int err = trust_settle(*trust, v.client);
    visit_end(&v);
    return err;
}

/* That one key, and no other, is known. */
static void
check_known(const uint8_t pin[HASH_LEN])
{
    uint8_t pins[KNOWNHOSTS_KEYS_MAX][HASH_LEN];
    char why[TLS_TEXT_MAX];
    size_t count = 0;
    assert_int_equal(knownhosts_find(path, "host", 1, pins, &count, why), 0);
    assert_int_equal(count, 1);
    assert_memory_equal(pins[0], pin, HASH_LEN);
}

static void
test_first(void **state)
{
    char pin[TLS_PIN_TEXT_LEN + 1];
    char text[TLS_TEXT_MAX];
    struct trust *trust;
    (void)state;
    assert_int_equal(settle_after(NULL, &trust), 0);
    assert_true(trust_recorded(trust, text, sizeof(text)));
    tls_pin_format(server_pin, pin);
    assert_non_null(strstr(text, pin));
    assert_false(trust_recorded(trust, text, sizeof(text)));
    check_known(server_pin);
    trust_free(trust);
}

static void
test_known_meanwhile(void **state)
{
    const uint8_t other[HASH_LEN] = { 1 };
    char text[TLS_TEXT_MAX];
    struct trust *trust;
    (void)state;
    assert_int_equal(settle_after(other, &trust), ERR_TLS);
    assert_int_equal(trust_verdict(trust), TRUST_UNTRUSTED);
    assert_non_null(strstr(trust_problem(trust), "HAS CHANGED"));
    assert_false(trust_recorded(trust, text, sizeof(text)));
    check_known(other);
    trust_free(trust);
}

/* Whoever was first has told it. */
static void
test_same_meanwhile(void **state)
{
    char text[TLS_TEXT_MAX];
    struct trust *trust;
    (void)state;
    assert_int_equal(settle_after(server_pin, &trust), 0);
    assert_false(trust_recorded(trust, text, sizeof(text)));
    check_known(server_pin);
    trust_free(trust);
}

/* Two connections begin, nobody is known, and they are shown two keys: the
 * first that is settled counts. */
static void
test_two_keys(void **state)
{
    const struct trust_options options = { .known_hosts = path,
                                           .accept_new = true };
    uint8_t first[HASH_LEN];
    struct trust *trust;
    struct visit v[2];
    char why[TLS_TEXT_MAX];
    (void)state;
    unlink(path);
    assert_int_equal(trust_new(&options, "host", 1, &trust, why), 0);
    visit_begin(&v[0], trust);
    memcpy(first, server_pin, HASH_LEN);
    visit_begin(&v[1], trust);
    assert_int_equal(trust_settle(trust, v[0].client), 0);
    assert_int_equal(trust_settle(trust, v[1].client), ERR_TLS);
    assert_int_equal(trust_settle(trust, v[0].client), 0);
    check_known(first);
    visit_end(&v[0]);
    visit_end(&v[1]);
    trust_free(trust);
}

static int
set_up(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/known", dir);
    return 0;
}

static int
tear_down(void **state)
{
    char lock[120];
    (void)state;
    snprintf(lock, sizeof(lock), "%s.lock", path);
    unlink(path);
    unlink(lock);
    return rmdir(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first),
        cmocka_unit_test(test_known_meanwhile),
        cmocka_unit_test(test_same_meanwhile),
        cmocka_unit_test(test_two_keys),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
