#include "client/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TAKERS 12u

static size_t take(struct rate *rate, struct rate_taker *taker, uint64_t now)
{
    size_t allowed = rate_allowance(rate, taker, now);

    rate_spend(rate, taker, allowed);
    return allowed;
}

/* The limit holds over any time, however often it is asked for. */
static void limit_holds(void **state)
{
    struct rate_taker one = {0};
    struct rate rate;
    uint64_t taken = 0;

    (void)state;
    assert_int_equal(rate_allowance(NULL, &one, 5), SIZE_MAX);
    rate_spend(NULL, &one, 5);
    rate_init(&rate, 0, 0);
    assert_int_equal(rate_allowance(&rate, &one, 5), SIZE_MAX);
    rate_init(&rate, 1000, 0);
    assert_int_equal(rate_allowance(&rate, &one, 0), 0);
    for (uint64_t now = 1; now <= 10000; now += 1 + now % 7) {
        size_t allowed = take(&rate, &one, now);

        assert_true(allowed <= 101);
        taken += allowed;
        assert_true(taken <= now + 1);
        assert_true(taken + 8 >= now);
    }
    /* A pause does not save up. */
    assert_int_equal(rate_allowance(&rate, &one, 99999), 101);
    rate_spend(&rate, &one, 500);
    assert_int_equal(rate_allowance(&rate, &one, 99999), 0);
}

/* Each takes as often as it may, always in the same order, which would give
 * the first one everything. */
static void everybody_gets_a_share(void **state)
{
    struct rate_taker takers[TAKERS] = {0};
    uint64_t got[TAKERS] = {0};
    uint64_t sum = 0;
    struct rate rate;

    (void)state;
    rate_init(&rate, 1000000, 0);
    for (uint64_t now = 0; now <= 10000; now += 20) {
        for (unsigned k = 0; k < TAKERS; k++) {
            size_t n;

            while ((n = take(&rate, &takers[k], now)) > 0) {
                got[k] += n;
                sum += n;
            }
        }
    }
    assert_true(sum > 9900000 && sum <= 10000000);
    for (unsigned k = 0; k < TAKERS; k++) {
        assert_in_range(got[k], sum / TAKERS * 9 / 10,
                        sum / TAKERS * 11 / 10);
    }
}

/* One that wants little, or leaves, keeps nothing from the others. */
static void nobody_waits_for_the_idle(void **state)
{
    struct rate_taker takers[3] = {0};
    uint64_t got = 0;
    struct rate rate;

    (void)state;
    rate_init(&rate, 1000000, 0);
    for (unsigned k = 0; k < 3; k++) {
        assert_int_equal(take(&rate, &takers[k], 0), 0);
    }
    assert_int_equal(rate.waiting, 3);
    rate_leave(&rate, &takers[2]);
    rate_leave(&rate, &takers[2]);
    assert_int_equal(rate.waiting, 2);
    for (uint64_t now = 20; now <= 10000; now += 20) {
        size_t n;

        /* It may, and finds nothing to read. */
        assert_true(rate_allowance(&rate, &takers[1], now) > 0);
        while ((n = take(&rate, &takers[0], now)) > 0) {
            got += n;
        }
    }
    assert_true(got > 9900000);
    rate_leave(&rate, &takers[0]);
    rate_leave(&rate, &takers[1]);
    assert_int_equal(rate.waiting, 0);
}

/* A share is never smaller than what is worth a call, nor larger than what
 * there is. */
static void small_shares(void **state)
{
    struct rate_taker takers[TAKERS] = {0};
    struct rate rate;

    (void)state;
    rate_init(&rate, 10000, 0);
    for (unsigned k = 0; k < TAKERS; k++) {
        assert_int_equal(take(&rate, &takers[k], 0), 0);
    }
    assert_int_equal(take(&rate, &takers[0], 70), 512);
    assert_int_equal(take(&rate, &takers[0], 70), 0);
    assert_int_equal(take(&rate, &takers[1], 70), 188);
    assert_int_equal(take(&rate, &takers[2], 70), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limit_holds),
        cmocka_unit_test(everybody_gets_a_share),
        cmocka_unit_test(nobody_waits_for_the_idle),
        cmocka_unit_test(small_shares),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
