/* Addresses as text, and sockets over loopback. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/io/net.h"

static void
test_parse(void **state)
{
    static const char *const good[] = {
        "127.0.0.1:0", "0.0.0.0:7245", "255.255.255.255:65535", "[::]:7245",
        "[::1]:1", "[2001:db8::1]:443",
    };
    static const char *const bad[] = {
        "", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1",
        "127.0.0.1:65536", "127.0.0.1:000000", "localhost:1", "::1:7245",
        "[::1]", "[::1]7245", "[::1]:", "[127.0.0.1]:1", "1.2.3.4:5:6",
        "[::1", "256.1.1.1:1", "[::g]:1", " 127.0.0.1:1", "127.0.0.1: 1",
        "[]:1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct net_addr addr;
        char text[NET_TEXT_MAX];
        assert_int_equal(net_addr_parse(good[i], &addr), 0);
        net_addr_text(&addr, text);
        assert_string_equal(text, good[i]);
        assert_int_equal(net_addr_port(&addr),
                         atoi(strrchr(good[i], ':') + 1));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct net_addr addr;
        if (net_addr_parse(bad[i], &addr) != ERR_SYNTAX) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void
wait_for(int fd, short events)
{
    struct pollfd p = { .fd = fd, .events = events };
    assert_int_equal(poll(&p, 1, 5000), 1);
}

static void
test_connect_and_accept(void **state)
{
    struct net_addr addr;
    struct net_addr bound;
    struct net_addr peer;
    int listener = -1;
    int client = -1;
    int server = -1;
    (void)state;
    assert_int_equal(net_addr_parse("127.0.0.1:0", &addr), 0);
    assert_int_equal(net_listen(&addr, false, &listener), 0);
    assert_int_equal(net_local(listener, &bound), 0);
    assert_int_not_equal(net_addr_port(&bound), 0);
    assert_int_equal(net_accept(listener, &peer, &server), ERR_AGAIN);
    /* The address is taken. */
    int second = -1;
    assert_int_equal(net_listen(&bound, false, &second), ERR_IO);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(net_connect(&bound, &client), 0);
    wait_for(client, POLLOUT);
    assert_int_equal(net_connect_result(client), 0);
    wait_for(listener, POLLIN);
    assert_int_equal(net_accept(listener, &peer, &server), 0);
    struct net_addr mine;
    char one[NET_TEXT_MAX];
    char two[NET_TEXT_MAX];
    assert_int_equal(net_local(client, &mine), 0);
    net_addr_text(&mine, one);
    net_addr_text(&peer, two);
    assert_string_equal(one, two);
    for (int i = 0; i < 2; i++) {
        int fd = i == 0 ? client : server;
        assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        net_tune(fd, 10000);
        net_set_unsent_max(fd, 65536);
    }
    /* A reset instead of an end. */
    net_abort_on_close(client);
    close(client);
    wait_for(server, POLLIN);
    char byte;
    assert_int_equal(read(server, &byte, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    close(server);
    close(listener);
    /* Nobody listens any more. */
    int err = net_connect(&bound, &client);
    if (err == 0) {
        wait_for(client, POLLOUT);
        err = net_connect_result(client);
        close(client);
    }
    assert_int_equal(err, ERR_CONNECT);
}

static void
test_shared(void **state)
{
    struct net_addr addr;
    struct net_addr bound;
    int one = -1;
    int two = -1;
    (void)state;
    assert_int_equal(net_addr_parse("127.0.0.1:0", &addr), 0);
    assert_int_equal(net_listen(&addr, true, &one), 0);
    assert_int_equal(net_local(one, &bound), 0);
    assert_int_equal(net_listen(&bound, true, &two), 0);
    close(one);
    close(two);
}

static void
test_not_internet(void **state)
{
    struct net_addr addr;
    char text[NET_TEXT_MAX];
    int fds[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(net_local(fds[0], &addr), 0);
    net_addr_text(&addr, text);
    assert_string_equal(text, "unix");
    assert_int_equal(net_addr_port(&addr), 0);
    net_tune(fds[0], 1000); /* harmless */
    close(fds[0]);
    close(fds[1]);
    struct sockaddr long_one = { .sa_family = AF_INET };
    assert_int_equal(net_addr_set(&long_one, 5000, &addr), ERR_RANGE);
    memset(&addr, 0, sizeof(addr));
    net_addr_text(&addr, text);
    assert_string_equal(text, "unknown");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_connect_and_accept),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_not_internet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
