/* The loop: every object calls back when it should, and not after it was
 * freed, also from inside callbacks. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/io/clock.h"
#include "proto/io/loop.h"
#include "proto/io/net.h"

/* What happened, in order: one letter for each callback. */
struct trace {
    struct loop *loop;
    char text[64];
    size_t len;
    int fds[2];
    struct loop_poll *poll;
    struct loop_timer *timer;
    struct loop_work *work;
    struct loop_async *async;
    struct loop_defer *defer;
    struct loop_defer *other;
    unsigned rounds;
};

static void
note(struct trace *t, char c)
{
    assert_true(t->len < sizeof(t->text) - 1);
    t->text[t->len++] = c;
}

static void
setup(struct trace *t)
{
    memset(t, 0, sizeof(*t));
    assert_int_equal(loop_new(&t->loop), 0);
    assert_int_equal(pipe(t->fds), 0);
}

static void
clear(struct trace *t)
{
    loop_free(t->loop);
    close(t->fds[0]);
    close(t->fds[1]);
}

/* ---- Descriptors. */

static void
on_read_once(void *arg, unsigned events)
{
    struct trace *t = arg;
    assert_int_equal(events, LOOP_READ);
    note(t, 'r');
    loop_poll_free(t->poll); /* inside its own callback */
}

static void
test_poll(void **state)
{
    struct trace t;
    (void)state;
    setup(&t);
    assert_int_equal(
        loop_poll_new(t.loop, t.fds[0], on_read_once, &t, &t.poll), 0);
    loop_run(t.loop); /* no events asked for: nothing to wait for */
    assert_string_equal(t.text, "");
    loop_poll_set(t.poll, LOOP_READ);
    loop_poll_set(t.poll, LOOP_READ);
    assert_int_equal(write(t.fds[1], "xy", 2), 2);
    loop_run(t.loop);
    assert_string_equal(t.text, "r");
    clear(&t);
}

static void
on_writable(void *arg, unsigned events)
{
    struct trace *t = arg;
    assert_int_equal(events, LOOP_WRITE);
    note(t, 'w');
    if (t->len == 3) {
        loop_poll_set(t->poll, 0);
    }
}

static void
test_poll_is_level_triggered(void **state)
{
    struct trace t;
    (void)state;
    setup(&t);
    assert_int_equal(
        loop_poll_new(t.loop, t.fds[1], on_writable, &t, &t.poll), 0);
    loop_poll_set(t.poll, LOOP_WRITE);
    loop_run(t.loop);
    assert_string_equal(t.text, "www");
    loop_poll_free(t.poll);
    clear(&t);
}

/* What came before a reset is read first, and then the reset is told. */
static void
on_reset(void *arg, unsigned events)
{
    struct trace *t = arg;
    char byte = 0;
    assert_int_equal(events & LOOP_READ, LOOP_READ);
    ssize_t n = read(t->fds[0], &byte, 1);
    note(t, n == 1 ? byte : 'e');
    if (n != 1) {
        assert_int_equal(errno, ECONNRESET);
        loop_poll_free(t->poll);
    }
}

static void
test_poll_goes_on_after_a_reset(void **state)
{
    struct trace t;
    struct net_addr addr;
    int listen_fd = -1;
    int client = -1;
    (void)state;
    setup(&t);
    assert_int_equal(net_addr_parse("127.0.0.1:0", &addr), 0);
    assert_int_equal(net_listen(&addr, false, &listen_fd), 0);
    assert_int_equal(net_local(listen_fd, &addr), 0);
    assert_int_equal(net_connect(&addr, &client), 0);
    struct pollfd ready = { .fd = listen_fd, .events = POLLIN };
    assert_int_equal(poll(&ready, 1, 20000), 1);
    close(t.fds[0]);
    assert_int_equal(net_accept(listen_fd, &addr, &t.fds[0]), 0);
    ready.fd = client;
    ready.events = POLLOUT;
    assert_int_equal(poll(&ready, 1, 20000), 1);
    assert_int_equal(send(client, "ab", 2, 0), 2);
    net_abort_on_close(client);
    close(client);
    close(listen_fd);
    assert_int_equal(loop_poll_new(t.loop, t.fds[0], on_reset, &t, &t.poll),
                     0);
    loop_poll_set(t.poll, LOOP_READ);
    loop_run(t.loop);
    assert_string_equal(t.text, "abe");
    clear(&t);
}

static void
test_poll_refuses_files(void **state)
{
    struct trace t;
    FILE *file = tmpfile();
    (void)state;
    setup(&t);
    assert_non_null(file);
    assert_int_equal(
        loop_poll_new(t.loop, fileno(file), on_writable, &t, &t.poll), ERR_IO);
    fclose(file);
    clear(&t);
}

/* ---- Timers. */

static void
on_timer(void *arg)
{
    struct trace *t = arg;
    note(t, 't');
    loop_timer_free(t->timer);
}

static void
test_timer(void **state)
{
    struct trace t;
    (void)state;
    setup(&t);
    assert_int_equal(loop_timer_new(t.loop, on_timer, &t, &t.timer), 0);
    loop_timer_stop(t.timer);
    loop_timer_start(t.timer, 1);
    loop_timer_stop(t.timer);
    loop_run(t.loop);
    assert_string_equal(t.text, "");
    uint64_t began = clock_mono_ms();
    loop_update_now(t.loop);
    loop_timer_start(t.timer, 100000);
    loop_timer_start(t.timer, 30); /* replaces */
    loop_run(t.loop);
    assert_string_equal(t.text, "t");
    assert_in_range(clock_mono_ms() - began, 29, 5000);
    /* The same clock, give or take its coarse step. */
    uint64_t now = loop_now_ms(t.loop);
    assert_in_range(clock_mono_ms() + 10, now, now + 5000);
    clear(&t);
}

/* ---- Work. */

static void
work(void *arg)
{
    struct trace *t = arg;
    t->rounds++;
}

static void
work_done(void *arg)
{
    struct trace *t = arg;
    note(t, 'd');
    assert_false(loop_work_pending(t->work));
    if (t->rounds < 3) {
        loop_work_submit(t->work);
    }
}

static void
test_work(void **state)
{
    struct trace t;
    (void)state;
    setup(&t);
    assert_int_equal(loop_work_new(t.loop, work, work_done, &t, &t.work), 0);
    loop_work_submit(t.work);
    assert_true(loop_work_pending(t.work));
    loop_run(t.loop);
    assert_string_equal(t.text, "ddd");
    assert_int_equal(t.rounds, 3);
    loop_work_free(t.work);
    loop_work_free(NULL);
    clear(&t);
}

/* ---- Asyncs and signals. */

static void
send_work(void *arg)
{
    struct trace *t = arg;
    loop_async_send(t->async);
    loop_async_send(t->async);
}

/* The async keeps the loop running, and its call may have come before. */
static void
stop(void *arg)
{
    struct trace *t = arg;
    loop_stop(t->loop);
}

static void
on_async(void *arg)
{
    struct trace *t = arg;
    if (t->len == 0) {
        note(t, 'a');
    }
    loop_stop(t->loop);
}

static void
test_async(void **state)
{
    struct trace t;
    (void)state;
    setup(&t);
    assert_int_equal(loop_async_new(t.loop, on_async, &t, &t.async), 0);
    assert_int_equal(loop_work_new(t.loop, send_work, stop, &t, &t.work),
                     0);
    loop_work_submit(t.work);
    loop_run(t.loop);
    while (loop_work_pending(t.work)) {
        loop_run(t.loop);
    }
    assert_string_equal(t.text, "a");
    loop_async_free(t.async);
    loop_work_free(t.work);
    clear(&t);
}

static void
on_signal(void *arg, int signum)
{
    struct trace *t = arg;
    assert_int_equal(signum, SIGUSR1);
    note(t, 's');
    loop_timer_free(t->timer);
    t->timer = NULL;
}

static void
test_signal(void **state)
{
    struct trace t;
    struct loop_signal *sig = NULL;
    (void)state;
    setup(&t);
    assert_int_equal(loop_signal_new(t.loop, SIGUSR1, on_signal, &t, &sig), 0);
    loop_run(t.loop); /* a signal alone keeps nothing running */
    assert_int_equal(loop_timer_new(t.loop, on_timer, &t, &t.timer), 0);
    loop_timer_start(t.timer, 10000);
    raise(SIGUSR1);
    loop_run(t.loop);
    assert_string_equal(t.text, "s");
    loop_signal_free(sig);
    clear(&t);
}

/* ---- Defers. */

static void
on_other(void *arg)
{
    note(arg, 'o');
}

static void
on_defer(void *arg)
{
    struct trace *t = arg;
    note(t, 'f');
    if (++t->rounds < 3) {
        loop_defer_arm(t->defer); /* the next turn */
        loop_defer_arm(t->defer);
    } else {
        loop_defer_free(t->defer);
        loop_defer_free(t->other); /* armed, and must not call */
    }
}

static void
test_defer(void **state)
{
    struct trace t;
    (void)state;
    setup(&t);
    assert_int_equal(loop_defer_new(t.loop, on_defer, &t, &t.defer), 0);
    assert_int_equal(loop_defer_new(t.loop, on_other, &t, &t.other), 0);
    loop_defer_arm(t.defer);
    loop_defer_arm(t.other);
    loop_defer_arm(t.defer);
    loop_run(t.loop);
    assert_string_equal(t.text, "foff");
    clear(&t);

    setup(&t);
    t.rounds = 2;
    assert_int_equal(loop_defer_new(t.loop, on_defer, &t, &t.defer), 0);
    assert_int_equal(loop_defer_new(t.loop, on_other, &t, &t.other), 0);
    loop_defer_arm(t.defer);
    loop_defer_arm(t.other);
    loop_run(t.loop);
    assert_string_equal(t.text, "f");
    clear(&t);
}

static void
on_order_timer(void *arg)
{
    struct trace *t = arg;
    loop_defer_arm(t->other);
    note(t, 't');
    loop_timer_free(t->timer);
}

static void
test_defer_comes_at_the_end_of_the_turn(void **state)
{
    struct trace t;
    (void)state;
    setup(&t);
    assert_int_equal(loop_timer_new(t.loop, on_order_timer, &t, &t.timer), 0);
    assert_int_equal(loop_defer_new(t.loop, on_other, &t, &t.other), 0);
    loop_timer_start(t.timer, 1);
    loop_run(t.loop);
    assert_string_equal(t.text, "to");
    loop_defer_free(t.other);
    clear(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_poll),
        cmocka_unit_test(test_poll_is_level_triggered),
        cmocka_unit_test(test_poll_goes_on_after_a_reset),
        cmocka_unit_test(test_poll_refuses_files),
        cmocka_unit_test(test_timer),
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_async),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_defer),
        cmocka_unit_test(test_defer_comes_at_the_end_of_the_turn),
    };
    loop_set_workers(2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
