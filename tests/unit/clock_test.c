/* Clocks and randomness: they move, they agree with the file system, they do
 * not repeat. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/io/clock.h"
#include "proto/io/rand.h"

static void
test_monotonic(void **state)
{
    uint64_t ms = clock_mono_ms();
    uint64_t ns = clock_mono_ns();
    (void)state;
    assert_in_range(ns / 1000000, ms, ms + 1000);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_mono_ns();
        assert_true(now >= ns);
        ns = now;
    }
    usleep(5000);
    assert_true(clock_mono_ns() >= ns + 4000000);
}

/* A file that is written now has no time stamp beyond this clock, and none
 * long before it: the racy window is measured with it. */
static void
test_file_clock(void **state)
{
    FILE *file = tmpfile();
    (void)state;
    assert_non_null(file);
    for (int i = 0; i < 50; i++) {
        struct stat st;
        int64_t before = clock_file_ns();
        assert_int_equal(pwrite(fileno(file), "x", 1, i), 1);
        int64_t after = clock_wall_ns();
        assert_int_equal(fstat(fileno(file), &st), 0);
        int64_t stamp =
            st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
        assert_true(stamp >= before);
        assert_true(stamp <= after);
        usleep(700);
    }
    fclose(file);
}

static void
test_random(void **state)
{
    uint8_t a[600] = { 0 };
    uint8_t b[600] = { 0 };
    unsigned zeros = 0;
    (void)state;
    rand_bytes(a, sizeof(a));
    rand_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    for (size_t i = 0; i < sizeof(a); i++) {
        zeros += a[i] == 0;
    }
    assert_in_range(zeros, 0, 20);
    rand_bytes(a, 0);
    assert_true(rand_u64() != rand_u64());
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monotonic),
        cmocka_unit_test(test_file_clock),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
