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

#include "proto/base/limits.h"
#include "server/census.h"

static struct census_guest
guest_of(const struct net_addr *addr)
{
    return (struct census_guest){ .origin = origin_of(addr) };
}

static struct census_guest
v4(unsigned n)
{
    struct net_addr addr;
    char text[NET_TEXT_MAX];
    snprintf(text, sizeof(text), "10.0.%u.%u:%u", n / 250, n % 250, n);
    assert_int_equal(net_addr_parse(text, &addr), 0);
    return guest_of(&addr);
}

static struct census_guest
v6(const char *host)
{
    struct net_addr addr;
    char text[NET_TEXT_MAX];
    snprintf(text, sizeof(text), "[%s]:1", host);
    assert_int_equal(net_addr_parse(text, &addr), 0);
    return guest_of(&addr);
}

#define MANY 100000u

/* Limits of all connections only. */
static struct census *
new_census(unsigned total, unsigned per_origin)
{
    const struct census_limits limits = {
        .total = total,
        .per_origin = per_origin,
        .strangers_drop = MANY,
        .strangers = MANY + 1,
        .strangers_per_origin = MANY,
        .hashing_per_origin = 2,
    };
    struct census *c = NULL;

    assert_int_equal(census_new(&limits, &c), 0);
    return c;
}

static void
test_limits(void **state)
{
    struct census *c = new_census(5, 3);
    struct census_guest a = v4(1);
    struct census_guest b = v4(2);
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(census_enter(c, 0, &a, 0), CENSUS_ENTERED);
    }
    assert_int_equal(census_enter(c, 1, &a, 0), CENSUS_ORIGIN_FULL);
    assert_int_equal(census_enter(c, 1, &b, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 1, &b, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 1, &b, 0), CENSUS_FULL);
    assert_int_equal(census_total(c), 5);
    census_leave(c, 0, &a, CENSUS_STRANGER);
    assert_int_equal(census_enter(c, 1, &b, 0), CENSUS_ENTERED);
    census_free(c);
    census_free(NULL);
}

static void
test_sources(void **state)
{
    struct census *c = new_census(10, 1);
    struct census_guest one = v6("2001:db8:1:2::1");
    struct census_guest same = v6("2001:db8:1:2:ffff::9");
    struct census_guest other = v6("2001:db8:1:3::1");
    struct census_guest four = v4(1);
    (void)state;
    assert_int_equal(census_enter(c, 0, &one, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &same, 0), CENSUS_ORIGIN_FULL);
    assert_int_equal(census_enter(c, 0, &other, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &four, 0), CENSUS_ENTERED);
    census_free(c);
}

/* A socket for both families shows IPv4 addresses as IPv6 ones. */
static void
test_mapped_sources(void **state)
{
    struct census *c = new_census(10, 1);
    struct census_guest mapped = v6("::ffff:192.0.2.1");
    struct census_guest other = v6("::ffff:192.0.2.2");
    struct net_addr addr;
    (void)state;
    assert_int_equal(net_addr_parse("192.0.2.1:1", &addr), 0);
    struct census_guest plain = guest_of(&addr);
    assert_int_equal(census_enter(c, 0, &mapped, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &plain, 0), CENSUS_ORIGIN_FULL);
    assert_int_equal(census_enter(c, 0, &other, 0), CENSUS_ENTERED);
    census_leave(c, 0, &plain, CENSUS_STRANGER);
    assert_int_equal(census_enter(c, 0, &plain, 0), CENSUS_ENTERED);
    census_free(c);
}

static void
test_dead_worker(void **state)
{
    struct census *c = new_census(100, 4);
    struct census_guest a = v4(1);
    (void)state;
    census_worker_started(c, 0);
    census_worker_started(c, 1);
    assert_int_equal(census_enter(c, 0, &a, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &a, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 1, &a, 0), CENSUS_ENTERED);
    assert_true(census_has_idler(c, 0));
    assert_false(census_has_idler(c, 1));
    for (unsigned i = 2; i < 50; i++) {
        struct census_guest more = v4(i);
        assert_int_equal(census_enter(c, 0, &more, 0), CENSUS_ENTERED);
    }
    census_worker_died(c, 0);
    assert_int_equal(census_total(c), 1);
    assert_false(census_has_idler(c, 1)); /* the dead one does not count */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(census_enter(c, 1, &a, 0), CENSUS_ENTERED);
    }
    assert_int_equal(census_enter(c, 1, &a, 0), CENSUS_ORIGIN_FULL);
    census_free(c);
}

#define SOURCES 60
#define WORKERS 3

static void
test_against_a_list(void **state)
{
    static unsigned count[SOURCES][WORKERS];
    struct census *c = new_census(200, 5);
    unsigned total = 0;
    uint64_t random = 7;
    (void)state;
    for (unsigned step = 0; step < 20000; step++) {
        random = random * UINT64_C(6364136223846793005) + 1;
        unsigned source = (unsigned)(random >> 33) % SOURCES;
        unsigned worker = (unsigned)(random >> 45) % WORKERS;
        struct census_guest addr = v4(source);
        unsigned of_source =
            count[source][0] + count[source][1] + count[source][2];
        if ((random >> 50) % 2 == 0) {
            enum census_verdict want =
                total >= 200     ? CENSUS_FULL
                : of_source >= 5 ? CENSUS_ORIGIN_FULL
                                 : CENSUS_ENTERED;
            assert_int_equal(census_enter(c, worker, &addr, 0), want);
            if (want == CENSUS_ENTERED) {
                count[source][worker]++;
                total++;
            }
        } else if (count[source][worker] > 0) {
            census_leave(c, worker, &addr, CENSUS_STRANGER);
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
    struct census *c = new_census(1000, 1000);
    struct census_guest a = v4(1);
    (void)state;
    for (int round = 0; round < 200; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (;;) {
                census_enter(c, 0, &a, 0);
                census_leave(c, 0, &a, CENSUS_STRANGER);
            }
        }
        usleep((unsigned)round * 7);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        census_worker_died(c, 0);
        assert_in_range(census_total(c), 0, 1);
        assert_int_equal(census_enter(c, 1, &a, 0), CENSUS_ENTERED);
        census_leave(c, 1, &a, CENSUS_STRANGER);
    }
    census_free(c);
}

/* Each limit of strangers at one less, at itself, and beyond. */
static void
test_strangers(void **state)
{
    const struct census_limits limits = {
        .total = 1000,
        .per_origin = 1000,
        .strangers_drop = 4,
        .strangers = 8,
        .strangers_per_origin = 3,
        .hashing_per_origin = 2,
    };
    struct census *c = NULL;
    struct census_guest a = v4(1);
    (void)state;
    assert_int_equal(census_new(&limits, &c), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(census_enter(c, 0, &a, 0), CENSUS_ENTERED);
    }
    assert_int_equal(census_enter(c, 1, &a, 99), CENSUS_WAITS);
    assert_int_equal(census_strangers(c), 3);
    assert_int_equal(census_total(c), 4);
    assert_false(census_advance(c, 1, &a));
    census_meet(c, 0, &a);
    assert_int_equal(census_strangers(c), 2);
    assert_true(census_advance(c, 1, &a));
    assert_int_equal(census_strangers(c), 3);
    assert_int_equal(census_enter(c, 1, &a, 0), CENSUS_WAITS);
    census_leave(c, 1, &a, CENSUS_QUEUED);
    census_leave(c, 1, &a, CENSUS_STRANGER);
    census_leave(c, 0, &a, CENSUS_KNOWN);
    assert_int_equal(census_strangers(c), 2);
    assert_int_equal(census_total(c), 2);

    /* From 4 on a chance of 30 %, at 6 of 65 %, at 8 of 100 %. */
    static const struct {
        unsigned strangers;
        unsigned chance; /* the last one that is turned away, and one more */
    } steps[] = { { 4, 29 }, { 5, 46 }, { 6, 64 }, { 7, 81 } };
    struct census_guest b = v4(2);
    assert_int_equal(census_enter(c, 0, &b, 0), CENSUS_ENTERED);
    struct census_guest d = v4(3);
    assert_int_equal(census_enter(c, 0, &d, 0), CENSUS_ENTERED);
    for (unsigned i = 0; i < 4; i++) {
        struct census_guest e = v4(10 + i);
        assert_int_equal(census_strangers(c), steps[i].strangers);
        assert_int_equal(census_enter(c, 0, &e, steps[i].chance),
                         CENSUS_STRANGERS);
        assert_int_equal(census_enter(c, 0, &e, steps[i].chance + 1),
                         CENSUS_ENTERED);
    }
    struct census_guest last = v4(20);
    assert_int_equal(census_strangers(c), 8);
    assert_int_equal(census_enter(c, 0, &last, 99), CENSUS_STRANGERS);
    census_worker_died(c, 0);
    assert_int_equal(census_strangers(c), 0);
    census_free(c);
}

static void
test_exempt(void **state)
{
    const struct census_limits limits = {
        .total = 6,
        .per_origin = 1,
        .strangers_drop = 4,
        .strangers = 5,
        .strangers_per_origin = 1,
        .hashing_per_origin = 1,
    };
    struct census *c = NULL;
    struct census_guest a = v4(1);
    (void)state;
    a.exempt = true;
    assert_int_equal(census_new(&limits, &c), 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(census_enter(c, 0, &a, 99), CENSUS_ENTERED);
        assert_true(census_hash_begin(c, 0, &a));
    }
    assert_int_equal(census_enter(c, 0, &a, 99), CENSUS_STRANGERS);
    census_meet(c, 0, &a);
    assert_int_equal(census_enter(c, 0, &a, 99), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &a, 99), CENSUS_FULL);
    census_free(c);
}

static void
test_limits_for(void **state)
{
    static const struct {
        unsigned total;
        unsigned per_origin;
        struct census_limits want;
    } cases[] = {
        { 1024, 32, { 1024, 32, 64, 256, 8, 2 } },
        { 1, 1, { 1, 1, 64, 256, 1, 2 } },
        { 1024, 7, { 1024, 7, 64, 256, 7, 2 } },
        { 1025, 36, { 1025, 36, 64, 256, 9, 2 } },
        { 65536, 65536, { 65536, 65536, 4096, 16384, 16384, 2 } },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct census_limits got =
            census_limits_for(cases[i].total, cases[i].per_origin);
        assert_memory_equal(&got, &cases[i].want, sizeof(got));
    }
}

static void
test_hashing(void **state)
{
    struct census *c = new_census(10, 10);
    struct census_guest a = v4(1);
    struct census_guest b = v4(2);
    (void)state;
    assert_int_equal(census_enter(c, 0, &a, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 1, &a, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &b, 0), CENSUS_ENTERED);
    assert_true(census_hash_begin(c, 0, &a));
    assert_true(census_hash_begin(c, 1, &a));
    assert_false(census_hash_begin(c, 0, &a));
    assert_true(census_hash_begin(c, 0, &b));
    census_hash_end(c, 0, &a);
    assert_true(census_hash_begin(c, 0, &a));
    census_worker_died(c, 1);
    assert_true(census_hash_begin(c, 0, &a));
    assert_false(census_hash_begin(c, 0, &a));
    census_leave(c, 0, &a, CENSUS_STRANGER);
    census_hash_end(c, 0, &a); /* too late, and harmless */
    assert_int_equal(census_enter(c, 0, &a, 0), CENSUS_ENTERED);
    assert_true(census_hash_begin(c, 0, &a));
    census_free(c);
}

static void
test_sharers(void **state)
{
    struct census *c = new_census(10, 10);
    struct census_guest a = v4(1);
    struct census_guest b = v4(2);
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(census_enter(c, i % 2, &a, 0), CENSUS_ENTERED);
    }
    assert_int_equal(census_sharers(c, &a), 1); /* with nobody */
    assert_int_equal(census_enter(c, 0, &b, 0), CENSUS_ENTERED);
    assert_int_equal(census_sharers(c, &a), 4);
    assert_int_equal(census_sharers(c, &b), 1);
    a.exempt = true;
    assert_int_equal(census_sharers(c, &a), 1);
    census_leave(c, 0, &b, CENSUS_STRANGER);
    a.exempt = false;
    assert_int_equal(census_sharers(c, &a), 1);
    census_free(c);
}

/* Whom the worker dealt with; or, when with nobody, its only guest. */
static void
test_blame(void **state)
{
    struct census *c = new_census(10, 10);
    struct census_guest a = v4(1);
    struct census_guest b = v4(2);
    struct origin who;
    (void)state;
    assert_false(census_blame(c, 0, &who));
    assert_int_equal(census_enter(c, 0, &a, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 0, &a, 0), CENSUS_ENTERED);
    assert_int_equal(census_enter(c, 1, &b, 0), CENSUS_ENTERED);
    assert_true(census_blame(c, 0, &who));
    assert_true(origin_equal(&who, &a.origin));
    assert_int_equal(census_enter(c, 0, &b, 0), CENSUS_ENTERED);
    assert_false(census_blame(c, 0, &who));
    census_serve(c, 0, &b);
    assert_true(census_blame(c, 0, &who));
    assert_true(origin_equal(&who, &b.origin));
    census_serve(c, 0, NULL);
    assert_false(census_blame(c, 0, &who));
    b.exempt = true;
    census_serve(c, 0, &b);
    assert_false(census_blame(c, 0, &who));
    census_worker_died(c, 0);
    assert_false(census_blame(c, 0, &who));
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
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_exempt),
        cmocka_unit_test(test_limits_for),
        cmocka_unit_test(test_hashing),
        cmocka_unit_test(test_sharers),
        cmocka_unit_test(test_blame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
