/* A wire over TLS that is held while libssl has more than was read: nothing
 * arrives after that, and yet all of it is told. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/trust.h"
#include "client/wire.h"
#include "proto/io/clock.h"
#include "proto/io/tls.h"

/* One record of TLS, and more than the limit lets pass at once. */
#define SENT 16000u
#define RATE 40000u
/* Only a wire that has stalled needs so long. */
#define PATIENCE_S 60u

struct bench {
    struct loop *loop;
    struct loop_timer *later;
    struct wire_shared shared;
    struct wire wire;
    struct receiver *receiver;
    struct rate rate;
    struct tls_ctx *server;
    int listener;
    size_t got;
    unsigned holds;
};

static struct bytes_view
text(const char *s)
{
    return (struct bytes_view){ (const uint8_t *)s, strlen(s) };
}

/* ---- The server: a thread that blocks. */

static void *
serve(void *arg)
{
    static uint8_t data[SENT];
    const struct bench *b = arg;
    int fd = accept(b->listener, NULL, NULL);
    struct tls *tls = NULL;
    size_t at = 0, n = 0;

    if (fd < 0 || tls_new(b->server, fd, NULL, &tls) != 0 ||
        tls_handshake(tls) != 0) {
        abort();
    }
    while (at < SENT) {
        if (tls_write(tls, data + at, SENT - at, &n) != 0) {
            abort();
        }
        at += n;
    }
    while (tls_read(tls, data, sizeof(data), &n) == 0) {
    }
    tls_free(tls);
    close(fd);
    return NULL;
}

/* ---- The owner of the wire. */

static void
on_connected(void *arg, unsigned number, bool ok, const char *why)
{
    (void)arg;
    (void)number;
    if (!ok) {
        fail_msg("%s", why);
    }
}

static void
on_input(void *arg, unsigned number, const uint8_t *data, size_t len)
{
    struct bench *b = arg;
    (void)number;
    (void)data;
    b->got += len;
    if (b->got == SENT) {
        wire_close(&b->wire);
        loop_stop(b->loop);
        return;
    }
    wire_hold(&b->wire, true);
    b->holds++;
    loop_timer_start(b->later, 1);
}

static void
on_later(void *arg)
{
    struct bench *b = arg;
    wire_hold(&b->wire, false);
}

static void
on_lost(void *arg, unsigned number, const char *why)
{
    (void)arg;
    (void)number;
    fail_msg("lost: %s", why);
}

static void
on_distrust(void *arg, const char *why)
{
    (void)arg;
    fail_msg("distrust: %s", why);
}

static void
on_turn(void *arg)
{
    (void)arg;
}

static struct receiver *
receiver_of(void *arg, unsigned number)
{
    struct bench *b = arg;
    (void)number;
    return b->receiver;
}

static const struct wire_events events = {
    .connected = on_connected,
    .input = on_input,
    .lost = on_lost,
    .distrust = on_distrust,
    .turn = on_turn,
    .receiver = receiver_of,
};

static const struct receiver_config config = {
    .max_chunk_log2 = LIMIT_CHUNK_LOG2_MAX,
    .agent = "test/1",
};

static uint16_t
open_listener(struct bench *b)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t len = sizeof(at);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    b->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(b->listener >= 0);
    assert_int_equal(bind(b->listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(b->listener, 1), 0);
    assert_int_equal(
        getsockname(b->listener, (struct sockaddr *)&at, &len), 0);
    return ntohs(at.sin_port);
}

static void
open_bench(struct bench *b)
{
    static char key[TLS_PEM_MAX], cert[TLS_PEM_MAX];
    struct tls_server_config server;
    struct trust_options options = { .has_pin = true };
    char why[TLS_TEXT_MAX];
    uint16_t port = open_listener(b);

    assert_int_equal(tls_make_identity("host", key, cert), 0);
    server = (struct tls_server_config){ .cert = text(cert),
                                         .key = text(key) };
    assert_int_equal(tls_server_ctx(&server, &b->server, why), 0);
    assert_int_equal(tls_cert_pin(text(cert), options.pin), 0);
    assert_int_equal(loop_new(&b->loop), 0);
    assert_int_equal(loop_timer_new(b->loop, on_later, b, &b->later), 0);
    b->receiver = receiver_new();
    assert_non_null(b->receiver);
    receiver_start(b->receiver, &config, loop_now_ms(b->loop));
    rate_init(&b->rate, RATE, clock_mono_ms());
    b->shared = (struct wire_shared){
        .loop = b->loop,
        .rate = &b->rate,
        .connect_timeout_ms = PATIENCE_S * 1000u,
        .events = &events,
        .arg = b,
        .buffer = malloc(WIRE_BUFFER),
    };
    assert_non_null(b->shared.buffer);
    assert_int_equal(dialer_new(b->loop, "127.0.0.1", port, DIAL_IPV4,
                                &b->shared.dialer), 0);
    assert_int_equal(trust_new(&options, "127.0.0.1", port, &b->shared.trust,
                               why), 0);
    assert_int_equal(wire_init(&b->wire, &b->shared, 0), 0);
}

static void
close_bench(struct bench *b)
{
    wire_clear(&b->wire);
    dialer_free(b->shared.dialer);
    trust_free(b->shared.trust);
    free(b->shared.buffer);
    receiver_free(b->receiver);
    loop_timer_free(b->later);
    loop_free(b->loop);
    tls_ctx_free(b->server);
    close(b->listener);
}

static void
test_hold_within_a_record(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    pthread_t thread;
    (void)state;
    assert_non_null(b);
    open_bench(b);
    assert_int_equal(pthread_create(&thread, NULL, serve, b), 0);
    alarm(PATIENCE_S);
    wire_dial(&b->wire);
    loop_run(b->loop);
    alarm(0);
    assert_int_equal(b->got, SENT);
    assert_true(b->holds > 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close_bench(b);
    free(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hold_within_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
