/* The census: limits at and one beyond, sources told apart, a dead worker's
 * share taken back, and the table against a plain list. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "server/census.h"

static struct net_addr
v4(unsigned n)
{
    struct net_addr addr;
    char text[NET_TEXT_MAX];
    snprintf(text, sizeof(text), "10.0.%u.%u:%u", n / 250, n % 250, n);
    assert_int_equal(net_addr_parse(text, &addr), 0);
    return addr;
}

static struct net_addr
v6(const char *host)
{
    struct net_addr addr;
    char text[NET_TEXT_MAX];
    snprintf(text, sizeof(text), "[%s]:1", host);
    assert_int_equal(net_addr_parse(text, &addr), 0);
    return addr;
}

static void
test_limits(void **state)
{
    struct census *c = NULL;
    struct net_addr a = v4(1);
    struct net_addr b = v4(2);
    (void)state;
    assert_int_equal(census_new(5, 3, &c), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(census_enter(c, 0, &a), CENSUS_ENTERED);
    }
    assert_int_equal(census_enter(c, 1, &a), CENSUS_SOURCE_FULL);
    assert_int_equal(census_enter(c, 1, &b), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 1, &b), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 1, &b), CENSUS_FULL);
    assert_int_equal(census_total(c), 5);
    census_leave(c, 0, &a);
    assert_int_equal(census_enter(c, 1, &b), CENSUS_ENTERED);
    census_free(c);
    census_free(NULL);
}

static void
test_sources(void **state)
{
    struct census *c = NULL;
    struct net_addr one = v6("2001:db8:1:2::1");
    struct net_addr same = v6("2001:db8:1:2:ffff::9");
    struct net_addr other = v6("2001:db8:1:3::1");
    struct net_addr four = v4(1);
    (void)state;
    assert_int_equal(census_new(10, 1, &c), 0);
    assert_int_equal(census_enter(c, 0, &one), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &same), CENSUS_SOURCE_FULL);
    assert_int_equal(census_enter(c, 0, &other), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &four), CENSUS_ENTERED);
    census_free(c);
}

/* A socket for both families shows IPv4 addresses as IPv6 ones. */
static void
test_mapped_sources(void **state)
{
    struct census *c = NULL;
    struct net_addr mapped = v6("::ffff:192.0.2.1");
    struct net_addr other = v6("::ffff:192.0.2.2");
    struct net_addr plain;
    (void)state;
    assert_int_equal(net_addr_parse("192.0.2.1:1", &plain), 0);
    assert_int_equal(census_new(10, 1, &c), 0);
    assert_int_equal(census_enter(c, 0, &mapped), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &plain), CENSUS_SOURCE_FULL);
    assert_int_equal(census_enter(c, 0, &other), CENSUS_ENTERED);
    census_leave(c, 0, &plain);
    assert_int_equal(census_enter(c, 0, &plain), CENSUS_ENTERED);
    census_free(c);
}

static void
test_dead_worker(void **state)
{
    struct census *c = NULL;
    struct net_addr a = v4(1);
    (void)state;
    assert_int_equal(census_new(100, 4, &c), 0);
    census_worker_started(c, 0);
    census_worker_started(c, 1);
    assert_int_equal(census_enter(c, 0, &a), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &a), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 1, &a), CENSUS_ENTERED);
    assert_true(census_has_idler(c, 0));
    assert_false(census_has_idler(c, 1));
    for (unsigned i = 2; i < 50; i++) {
        struct net_addr more = v4(i);
        assert_int_equal(census_enter(c, 0, &more), CENSUS_ENTERED);
    }
    census_worker_died(c, 0);
    assert_int_equal(census_total(c), 1);
    assert_false(census_has_idler(c, 1)); /* the dead one does not count */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(census_enter(c, 1, &a), CENSUS_ENTERED);
    }
    assert_int_equal(census_enter(c, 1, &a), CENSUS_SOURCE_FULL);
    census_free(c);
}

#define SOURCES 60
#define WORKERS 3

static void
test_against_a_list(void **state)
{
    static unsigned count[SOURCES][WORKERS];
    struct census *c = NULL;
    unsigned total = 0;
    uint64_t random = 7;
    (void)state;
    assert_int_equal(census_new(200, 5, &c), 0);
    for (unsigned step = 0; step < 20000; step++) {
        random = random * UINT64_C(6364136223846793005) + 1;
        unsigned source = (unsigned)(random >> 33) % SOURCES;
        unsigned worker = (unsigned)(random >> 45) % WORKERS;
        struct net_addr addr = v4(source);
        unsigned of_source =
            count[source][0] + count[source][1] + count[source][2];
        if ((random >> 50) % 2 == 0) {
            enum census_verdict want =
                total >= 200     ? CENSUS_FULL
                : of_source >= 5 ? CENSUS_SOURCE_FULL
                                 : CENSUS_ENTERED;
            assert_int_equal(census_enter(c, worker, &addr), want);
            if (want == CENSUS_ENTERED) {
                count[source][worker]++;
                total++;
            }
        } else if (count[source][worker] > 0) {
            census_leave(c, worker, &addr);
            count[source][worker]--;
            total--;
        }
        if (step % 5000 == 4999) {
            census_worker_died(c, worker);
            for (unsigned i = 0; i < SOURCES; i++) {
                total -= count[i][worker];
                count[i][worker] = 0;
            }
        }
        assert_int_equal(census_total(c), total);
    }
    census_free(c);
}

/* A process that is killed while it counts does not hold up the others. */
static void
test_killed_counter(void **state)
{
    struct census *c = NULL;
    struct net_addr a = v4(1);
    (void)state;
    assert_int_equal(census_new(1000, 1000, &c), 0);
    for (int round = 0; round < 20; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (;;) {
                census_enter(c, 0, &a);
                census_leave(c, 0, &a);
            }
        }
        usleep(1000);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        census_worker_died(c, 0);
        assert_in_range(census_total(c), 0, 1);
        assert_int_equal(census_enter(c, 1, &a), CENSUS_ENTERED);
        census_leave(c, 1, &a);
    }
    census_free(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_mapped_sources),
        cmocka_unit_test(test_dead_worker),
        cmocka_unit_test(test_against_a_list),
        cmocka_unit_test(test_killed_counter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
