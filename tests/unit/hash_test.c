/* Tests of proto/data/hash and of the two lanes behind it.  libcrypto is the
 * oracle: the reference hasher never uses the lanes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/registry.h"
#include "proto/data/hash.h"
#include "proto/data/sha2lane.h"

#define MANY_MAX 16
#define DATA_LEN (1024 * 1024 + 512)

static struct hasher *fast;
static struct hasher *reference;
static uint8_t *data;
static uint32_t seed;

/* A fixed sequence: a failing test fails again. */
static uint32_t next_random(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static int setup(void **state)
{
    (void)state;
    seed = 1;
    fast = hasher_new();
    reference = hasher_new_reference();
    data = malloc(DATA_LEN);
    if (fast == NULL || reference == NULL || data == NULL) {
        return -1;
    }
    for (size_t i = 0; i < DATA_LEN; i++) {
        data[i] = (uint8_t)next_random();
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hasher_free(fast);
    hasher_free(reference);
    hasher_free(NULL);
    free(data);
    return 0;
}

static void expect_hex(const uint8_t digest[HASH_LEN], const char *hex)
{
    for (size_t i = 0; i < HASH_LEN; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        assert_int_equal(digest[i], strtoul(pair, NULL, 16));
    }
}

/* Hashes the items with both hashers and compares every digest. */
static void check_many(const size_t *lens, const size_t *offs, size_t count)
{
    struct hash_item items[MANY_MAX] = {{NULL, 0, NULL}};
    uint8_t got[MANY_MAX][HASH_LEN];
    uint8_t want[HASH_LEN];
    memset(got, 0xee, sizeof got);
    for (size_t i = 0; i < count; i++) {
        items[i] = (struct hash_item){data + offs[i], lens[i], got[i]};
    }
    assert_int_equal(hash_sha256_many(fast, items, count), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(hash_sha256(reference, data + offs[i], lens[i], want),
                         0);
        assert_memory_equal(got[i], want, HASH_LEN);
    }
}

static void test_published_values(void **state)
{
    (void)state;
    static const char million_a[] =
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    static const struct {
        const char *text;
        const char *hex;
    } rows[] = {
        {"",
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc",
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    uint8_t one[HASH_LEN];
    uint8_t two[2][HASH_LEN];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len = strlen(rows[i].text);
        assert_int_equal(hash_sha256(fast, rows[i].text, len, one), 0);
        expect_hex(one, rows[i].hex);
        struct hash_item items[2] = {{rows[i].text, len, two[0]},
                                     {rows[i].text, len, two[1]}};
        assert_int_equal(hash_sha256_many(fast, items, 2), 0);
        expect_hex(two[0], rows[i].hex);
        expect_hex(two[1], rows[i].hex);
    }
    uint8_t *a = malloc(1000000);
    assert_non_null(a);
    memset(a, 'a', 1000000);
    struct hash_item items[2] = {{a, 1000000, two[0]}, {a, 1000000, two[1]}};
    assert_int_equal(hash_sha256_many(fast, items, 2), 0);
    expect_hex(two[0], million_a);
    expect_hex(two[1], million_a);
    free(a);
}

static void test_lanes_all_short_lengths(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 300; len++) {
        /* Unaligned and different bytes in the two lanes. */
        size_t lens[3] = {len, len, len};
        size_t offs[3] = {0, 401, 803};
        check_many(lens, offs, 2);
        check_many(lens, offs, 3);
    }
}

static void test_lanes_pairs_of_short_lengths(void **state)
{
    (void)state;
    for (size_t a = 0; a <= 200; a++) {
        for (size_t b = 0; b <= 200; b++) {
            size_t lens[2] = {a, b};
            size_t offs[2] = {3, 500};
            check_many(lens, offs, 2);
        }
    }
}

static void test_lanes_random(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        size_t lens[MANY_MAX];
        size_t offs[MANY_MAX];
        size_t count = 1 + next_random() % MANY_MAX;
        for (size_t i = 0; i < count; i++) {
            /* Half of them short, so that lanes end at different times. */
            size_t max = next_random() % 2 == 0 ? 1000 : 1024 * 1024;
            lens[i] = next_random() % (max + 1);
            offs[i] = next_random() % 512;
        }
        check_many(lens, offs, count);
    }
}

static void test_many_of_nothing(void **state)
{
    (void)state;
    assert_int_equal(hash_sha256_many(fast, NULL, 0), 0);
    uint8_t got[2][HASH_LEN];
    struct hash_item items[2] = {{NULL, 0, got[0]}, {NULL, 0, got[1]}};
    assert_int_equal(hash_sha256_many(fast, items, 2), 0);
    uint8_t want[HASH_LEN];
    assert_int_equal(hash_sha256(fast, NULL, 0, want), 0);
    assert_memory_equal(got[0], want, HASH_LEN);
    assert_memory_equal(got[1], want, HASH_LEN);
}

static void test_incremental(void **state)
{
    (void)state;
    uint8_t want[HASH_LEN];
    uint8_t got[HASH_LEN];
    assert_int_equal(hash_sha256(reference, data, 5000, want), 0);
    for (size_t step = 1; step <= 5000; step = step * 3 + 1) {
        /* What an abandoned hash was fed must not show. */
        assert_int_equal(hasher_begin(fast), 0);
        assert_int_equal(hasher_update(fast, "stale", 5), 0);
        assert_int_equal(hasher_begin(fast), 0);
        for (size_t at = 0; at < 5000; at += step) {
            size_t len = 5000 - at < step ? 5000 - at : step;
            assert_int_equal(hasher_update(fast, data + at, len), 0);
        }
        assert_int_equal(hasher_final(fast, got), 0);
        assert_memory_equal(got, want, HASH_LEN);
    }
}

static void test_prefixes_separate(void **state)
{
    (void)state;
    static const uint8_t prefixes[] = {TREE_LEAF, TREE_NODE, TREE_CID};
    for (size_t i = 0; i < sizeof prefixes; i++) {
        uint8_t input[65];
        uint8_t want[HASH_LEN];
        uint8_t got[HASH_LEN];
        input[0] = prefixes[i];
        memcpy(input + 1, data, 64);
        assert_int_equal(hash_sha256(reference, input, 65, want), 0);
        assert_int_equal(hash_prefixed(fast, prefixes[i], data, 64, got), 0);
        assert_memory_equal(got, want, HASH_LEN);
    }
    assert_int_equal(TREE_LEAF, 0);
    assert_int_equal(TREE_NODE, 1);
    assert_int_equal(TREE_CID, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_values),
        cmocka_unit_test(test_lanes_all_short_lengths),
        cmocka_unit_test(test_lanes_pairs_of_short_lengths),
        cmocka_unit_test(test_lanes_random),
        cmocka_unit_test(test_many_of_nothing),
        cmocka_unit_test(test_incremental),
        cmocka_unit_test(test_prefixes_separate),
    };
    if (!sha2lane_available()) {
        print_message("no SHA instructions here: the lanes are not tested\n");
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
