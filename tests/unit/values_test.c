#include "client/cli/values.h"

#include "client/cli/filter.h"
#include "client/cli/targets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void bytes(void **state)
{
    static const struct {
        const char *text;
        uint64_t value; /* 0: refused */
    } table[] = {
        {"1", 1},         {"500k", 512000},     {"2M", 2 << 20},
        {"1.5MiB", 3 << 19}, {"1G", 1 << 30},   {"2TB", (uint64_t)2 << 40},
        {"0", 0},         {"", 0},              {"-1", 0},
        {"1x", 0},        {"k", 0},             {"nan", 0},
        {"1e30", 0},      {"1kk", 0},           {"0.1", 0},
    };

    (void)state;
    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        uint64_t value = 0;

        assert_int_equal(value_bytes(table[k].text, &value),
                         table[k].value != 0);
        assert_int_equal(value_bytes(table[k].text, &value) ? value : 0,
                         table[k].value);
    }
}

static void seconds_and_clock(void **state)
{
    uint64_t ms;

    (void)state;
    assert_true(value_seconds("1.5", &ms) && ms == 1500);
    assert_true(value_seconds("0.0001", &ms) && ms == 1);
    assert_false(value_seconds("0", &ms) || value_seconds("-1", &ms) ||
                 value_seconds("1s", &ms) || value_seconds("1e10", &ms) ||
                 value_seconds("", &ms) || value_seconds("nan", &ms));
    assert_true(value_clock("00:00", &ms) && ms > 0 && ms <= 86400000);
    assert_true(value_clock("23:59", &ms) && ms > 0 && ms <= 86400000);
    assert_false(value_clock("24:00", &ms) || value_clock("1:60", &ms) ||
                 value_clock("12", &ms) || value_clock("", &ms) ||
                 value_clock("-1:00", &ms) || value_clock("1:00x", &ms));
}

static void numbers(void **state)
{
    unsigned n;
    uint32_t chunk;

    (void)state;
    assert_true(value_number("16", 1, 16, &n) && n == 16);
    assert_false(value_number("17", 1, 16, &n) ||
                 value_number("0", 1, 16, &n) ||
                 value_number("-1", 0, 16, &n) ||
                 value_number("1x", 1, 16, &n) ||
                 value_number("99999999999999999999", 1, 16, &n));
    assert_true(value_tries("inf", &n) && n == 0);
    assert_true(value_tries("0", &n) && n == 0);
    assert_true(value_tries("5", &n) && n == 5);
    assert_true(value_chunk("4k", &chunk) && chunk == 4096);
    assert_true(value_chunk("4M", &chunk) && chunk == 4194304);
    assert_false(value_chunk("2k", &chunk) || value_chunk("8M", &chunk) ||
                 value_chunk("5k", &chunk));
}

static void digests(void **state)
{
    char text[80] = "sha256:";
    const char *hex;

    (void)state;
    memset(text + 7, 'a', 64);
    text[71] = '\0';
    assert_true(value_sha256(text + 7));
    assert_true(value_checksum(text, &hex) && hex == text + 7);
    text[6] = '=';
    assert_true(value_checksum(text, &hex));
    text[70] = 'g';
    assert_false(value_sha256(text + 7) || value_checksum(text, &hex));
    text[70] = '\0';
    assert_false(value_sha256(text + 7));
    assert_false(value_checksum("md5:00", &hex));
}

static void filters(void **state)
{
    struct filter filter = {0};

    (void)state;
    assert_true(filter_takes(&filter, "a/b"));
    assert_true(filter_add(&filter, true, "*.iso"));
    assert_true(filter_add(&filter, true, "/top/*"));
    assert_true(filter_add(&filter, false, "x*"));
    assert_true(filter_takes(&filter, "a/b/c.iso"));
    assert_true(filter_takes(&filter, "top/any"));
    assert_false(filter_takes(&filter, "top/sub/any"));
    assert_false(filter_takes(&filter, "other"));
    assert_false(filter_takes(&filter, "a/x.iso"));
    while (filter_add(&filter, false, "y")) {
        assert_true(filter.excludes <= FILTER_MAX);
    }
    assert_int_equal(filter.excludes, FILTER_MAX);
}

static void same_targets(void **state)
{
    static const struct {
        const char *dir;
        const char *name;
        size_t first; /* with the same target */
    } table[] = {
        {NULL, "a", 0},      {".", "a", 0},       {"./.", "./a", 0},
        {"d", "a", 3},       {"d/", "/a", 4},     {NULL, "d//a", 3},
        {"/", "a", 4},       {NULL, "d/../a", 7}, {NULL, "d/./a", 3},
        {NULL, ".a", 9},     {"d.", "a", 10},
    };
    struct targets targets = {0};
    char name[16];

    (void)state;
    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        size_t tag = k;
        enum targets_result result =
            targets_add(&targets, table[k].dir, table[k].name, &tag);

        assert_int_equal(tag, table[k].first);
        assert_int_equal(result, tag == k ? TARGETS_NEW : TARGETS_AGAIN);
    }
    /* It grows, and still finds all. */
    for (unsigned round = 0; round < 2; round++) {
        for (size_t k = 0; k < 3000; k++) {
            size_t tag = k;

            (void)snprintf(name, sizeof name, "f%zu", k);
            assert_int_equal(targets_add(&targets, "many", name, &tag),
                             round == 0 ? TARGETS_NEW : TARGETS_AGAIN);
            assert_int_equal(tag, k);
        }
    }
    targets_clear(&targets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes),   cmocka_unit_test(seconds_and_clock),
        cmocka_unit_test(numbers), cmocka_unit_test(digests),
        cmocka_unit_test(filters), cmocka_unit_test(same_targets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
