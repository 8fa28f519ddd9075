/* Retry: waits that spread and stay in their bounds; the server's words. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/session/retry.h"

static void test_backoff(void **state)
{
    static const struct {
        unsigned k;
        uint64_t top;
    } table[] = {
        {0, TIMER_BACKOFF_BASE_MS},
        {1, 2 * TIMER_BACKOFF_BASE_MS},
        {3, 8 * TIMER_BACKOFF_BASE_MS},
        {15, TIMER_BACKOFF_CAP_MS},
        {16, TIMER_BACKOFF_CAP_MS},
        {64, TIMER_BACKOFF_CAP_MS},
        {UINT32_MAX, TIMER_BACKOFF_CAP_MS},
    };
    uint64_t seed = 1;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint64_t top = table[i].top < TIMER_BACKOFF_CAP_MS
                           ? table[i].top
                           : TIMER_BACKOFF_CAP_MS;
        uint64_t least = UINT64_MAX, most = 0;

        for (unsigned n = 0; n < 2000; n++) {
            uint64_t ms = retry_backoff_ms(&seed, table[i].k);

            least = ms < least ? ms : least;
            most = ms > most ? ms : most;
        }
        /* Full jitter: from nothing to everything. */
        assert_true(most <= top);
        assert_true(most > top - top / 20);
        assert_true(least < top / 20);
    }
}

/* The sequence depends on the seed alone, and is never stuck at 0. */
static void test_random(void **state)
{
    uint64_t a = 1, b = 1, c = 2;
    bool differs = false;

    (void)state;
    for (unsigned n = 0; n < 1000; n++) {
        uint64_t x = retry_random(&a);

        assert_int_equal(x, retry_random(&b));
        differs |= x != retry_random(&c);
        assert_int_not_equal(a, 0);
    }
    assert_true(differs);
}

static void test_retry_after(void **state)
{
    static const struct {
        bool said;
        uint32_t ms;
        uint64_t wait;
    } table[] = {
        {false, 0, TIMER_RETRY_AFTER_MS},
        {false, 5, TIMER_RETRY_AFTER_MS},
        {true, 0, 0},
        {true, 5, 5},
        {true, RETRY_AFTER_MAX_MS, RETRY_AFTER_MAX_MS},
        {true, RETRY_AFTER_MAX_MS + 1, RETRY_AFTER_MAX_MS},
        {true, UINT32_MAX, RETRY_AFTER_MAX_MS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct msg_error error = {.code = WIRE_BUSY,
                                  .has_retry_after = table[i].said,
                                  .retry_after_ms = table[i].ms};

        assert_int_equal(retry_after_ms(&error), table[i].wait);
    }
}

static void test_sentence(void **state)
{
    static const char evil[] = "no\x1b[2J \"such\" thing\n";
    struct msg_error error = {.code = WIRE_NOT_FOUND};
    uint8_t big[600];
    char out[400];

    (void)state;
    assert_string_equal(retry_sentence(&error, out, sizeof out),
                        err_wire_sentence(WIRE_NOT_FOUND));
    error.message = (struct bytes_view){(const uint8_t *)evil,
                                        sizeof evil - 1};
    assert_ptr_equal(retry_sentence(&error, out, sizeof out), out);
    assert_memory_equal(out, err_wire_sentence(WIRE_NOT_FOUND),
                        strlen(err_wire_sentence(WIRE_NOT_FOUND)));
    assert_int_equal(out[strlen(out) - 1], '"');
    for (const char *c = out; *c != '\0'; c++) {
        assert_in_range((unsigned char)*c, 0x20, 0x7e);
    }
    /* Whatever the room, it is kept to, and the end is a string's end. */
    memset(big, 0xff, sizeof big);
    error.message = (struct bytes_view){big, sizeof big};
    for (size_t cap = 16; cap <= sizeof out; cap++) {
        memset(out, 0x7f, sizeof out);
        (void)retry_sentence(&error, out, cap);
        assert_true(strnlen(out, cap) < cap);
        if (cap < sizeof out) {
            assert_int_equal(out[cap], 0x7f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
