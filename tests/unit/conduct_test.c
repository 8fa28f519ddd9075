/* Penalties and requests: each number at one less, at itself and one more;
 * how much is remembered, and by whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/limits.h"
#include "server/conduct.h"

#define NOW UINT64_C(1000000)

static struct origin
origin4(unsigned n)
{
    struct origin o = { .family = 4 };
    o.bytes[0] = 10;
    o.bytes[1] = (uint8_t)(n >> 16);
    o.bytes[2] = (uint8_t)(n >> 8);
    o.bytes[3] = (uint8_t)n;
    return o;
}

static struct conduct *
new_conduct(uint32_t origins)
{
    struct conduct *c = NULL;
    assert_int_equal(conduct_new(origins, &c), 0);
    return c;
}

static void
test_acts_from(void **state)
{
    static const struct {
        uint64_t ms[4]; /* one after the other */
        uint64_t barred; /* after the last */
    } cases[] = {
        { { PENALTY_BAD_AUTH_MS }, 0 },
        { { PENALTY_BAD_AUTH_MS, PENALTY_BAD_AUTH_MS }, 0 },
        { { PENALTY_BAD_AUTH_MS, PENALTY_BAD_AUTH_MS, PENALTY_BAD_AUTH_MS },
          15000 },
        { { PENALTY_STALLED_MS }, 0 },
        { { PENALTY_STALLED_MS, PENALTY_STALLED_MS }, 20000 },
        { { PENALTY_CRASH_MS }, 90000 },
        { { PENALTY_ACT_MS - 1 }, 0 },
        { { PENALTY_ACT_MS }, PENALTY_ACT_MS },
        { { PENALTY_ACT_MS + 1 }, PENALTY_ACT_MS + 1 },
        { { PENALTY_MAX_MS - 1 }, PENALTY_MAX_MS - 1 },
        { { PENALTY_MAX_MS }, PENALTY_MAX_MS },
        { { PENALTY_MAX_MS, 1 }, PENALTY_MAX_MS },
        { { PENALTY_MAX_MS - 1, 1 }, PENALTY_MAX_MS },
        { { UINT64_C(1) << 40 }, PENALTY_MAX_MS },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct conduct *c = new_conduct(CONDUCT_WAYS);
        struct origin o = origin4(1);
        struct origin other = origin4(2);
        uint64_t barred = 0;
        for (size_t k = 0; k < 4 && cases[i].ms[k] != 0; k++) {
            barred = conduct_penalize(c, &o, cases[i].ms[k], NOW);
        }
        assert_int_equal(barred, cases[i].barred);
        assert_int_equal(conduct_barred(c, &o, NOW), cases[i].barred);
        assert_int_equal(conduct_barred(c, &other, NOW), 0);
        if (barred > 0) {
            assert_int_equal(conduct_barred(c, &o, NOW + barred - 1), 1);
        }
        assert_int_equal(conduct_barred(c, &o, NOW + barred), 0);
        conduct_free(c);
    }
    conduct_free(NULL);
}

/* What is served does not count again; what is not, does. */
static void
test_time_heals(void **state)
{
    struct conduct *c = new_conduct(CONDUCT_WAYS);
    struct origin o = origin4(1);
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(conduct_penalize(c, &o, PENALTY_BAD_AUTH_MS,
                                          NOW + i * PENALTY_BAD_AUTH_MS), 0);
    }
    uint64_t t = NOW + 1000000;
    assert_int_equal(conduct_penalize(c, &o, 10000, t), 0);
    assert_int_equal(conduct_penalize(c, &o, 10000, t + 5001), 0);
    assert_int_equal(conduct_penalize(c, &o, 1, t + 5001), 15000);
    /* Barred until all is served, though less than 15 s is left. */
    assert_int_equal(conduct_barred(c, &o, t + 20000), 1);
    assert_int_equal(conduct_penalize(c, &o, 10, t + 20000), 11);
    assert_int_equal(conduct_barred(c, &o, t + 20011), 0);
    assert_int_equal(conduct_penalize(c, &o, 10000, t + 20011), 0);
    conduct_free(c);
}

/* As many origins as are remembered, and one more. */
static void
test_room(void **state)
{
    struct conduct *c = new_conduct(CONDUCT_WAYS);
    (void)state;
    for (unsigned i = 0; i < CONDUCT_WAYS; i++) {
        struct origin o = origin4(i);
        struct origin six = o;
        six.family = 6;
        assert_int_equal(conduct_penalize(c, &o, 20000 + i, NOW), 20000 + i);
        assert_int_equal(conduct_penalize(c, &six, 30000, NOW), 30000);
    }
    for (unsigned i = 0; i < CONDUCT_WAYS; i++) {
        struct origin o = origin4(i);
        assert_int_equal(conduct_barred(c, &o, NOW), 20000 + i);
    }
    struct origin more = origin4(CONDUCT_WAYS);
    assert_int_equal(conduct_penalize(c, &more, 40000, NOW), 40000);
    struct origin first = origin4(0);
    assert_int_equal(conduct_barred(c, &first, NOW), 0); /* was nearest */
    for (unsigned i = 1; i <= CONDUCT_WAYS; i++) {
        struct origin o = origin4(i);
        assert_true(conduct_barred(c, &o, NOW) > 20000);
    }
    conduct_free(c);
}

/* A flood of origins costs no more than was set aside, and the last ones are
 * remembered. */
static void
test_flood(void **state)
{
    struct conduct *c = new_conduct(1024);
    unsigned barred = 0;
    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        struct origin o = origin4(i);
        assert_int_equal(conduct_penalize(c, &o, 20000, NOW + i), 20000);
        assert_int_equal(conduct_barred(c, &o, NOW + i), 20000);
    }
    for (unsigned i = 0; i < 100000; i++) {
        struct origin o = origin4(i);
        barred += conduct_barred(c, &o, NOW + 100000 - 1) > 0;
    }
    assert_in_range(barred, 1000, 1024);
    conduct_free(c);
}

static void
test_requests(void **state)
{
    const uint64_t burst = SMALL_REQUESTS_BURST;
    const uint64_t each = 1000 / SMALL_REQUESTS_PER_S;
    struct origin o = origin4(1);
    struct origin other = origin4(2);
    (void)state;
    static const int around[] = { -1, 0, 1 };
    for (size_t i = 0; i < 3; i++) {
        struct conduct *c = new_conduct(CONDUCT_WAYS);
        uint64_t n = burst + (uint64_t)(int64_t)around[i];
        uint64_t wait = conduct_spend(c, &o, n, NOW);
        assert_int_equal(wait, n > burst ? each : 0);
        assert_int_equal(conduct_spend(c, &o, 0, NOW), wait);
        assert_int_equal(conduct_spend(c, &other, 0, NOW), 0);
        conduct_free(c);
    }
    /* Afterwards one for each 5 ms, for as long as it goes on. */
    struct conduct *c = new_conduct(CONDUCT_WAYS);
    assert_int_equal(conduct_spend(c, &o, burst, NOW), 0);
    for (unsigned i = 1; i <= 1000; i++) {
        assert_int_equal(conduct_spend(c, &o, 1, NOW + i * each), 0);
    }
    assert_int_equal(conduct_spend(c, &o, 400, NOW + 1000 * each),
                     400 * each);
    assert_int_equal(conduct_spend(c, &o, 0, NOW + 1400 * each), 0);
    /* After a rest, again no more than the burst. */
    uint64_t t = NOW + 100000000;
    assert_int_equal(conduct_spend(c, &o, burst + 2, t), 2 * each);
    /* Requests bar nobody, and penalties make nobody wait. */
    assert_int_equal(conduct_barred(c, &o, t), 0);
    assert_int_equal(conduct_penalize(c, &other, PENALTY_CRASH_MS, t),
                     PENALTY_CRASH_MS);
    assert_int_equal(conduct_spend(c, &other, 1, t), 0);
    conduct_free(c);
}

/* One process's judgement holds in the others. */
static void
test_shared(void **state)
{
    struct conduct *c = new_conduct(1024);
    struct origin o = origin4(1);
    int status = 0;
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(conduct_penalize(c, &o, 20000, NOW) == 20000 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(conduct_barred(c, &o, NOW), 20000);
    conduct_free(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acts_from),
        cmocka_unit_test(test_time_heals),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
