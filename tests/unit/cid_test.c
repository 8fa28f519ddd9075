/* Tests of proto/data/cid: chunk geometry, ids and their text form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/data/cid.h"
#include "proto/data/merkle.h"

#define DIGITS \
    "4d2048f12c4f9995aede115dba196e05736fb8ff2d83cbce5d46ab90078e6a57"

static void test_chunk_log2_range(void **state)
{
    (void)state;
    for (unsigned int c = 0; c < 300; c++) {
        assert_int_equal(cid_chunk_log2_ok(c), c >= 12 && c <= 22);
    }
}

static void test_recommended_chunk_log2(void **state)
{
    (void)state;
    const uint64_t gib = UINT64_C(1) << 30;
    const struct {
        uint64_t size;
        uint8_t chunk_log2;
    } rows[] = {
        {0, 18}, {1, 18}, {8 * gib, 18}, {8 * gib + 1, 19},
        {16 * gib, 19}, {16 * gib + 1, 20}, {32 * gib, 20},
        {32 * gib + 1, 21}, {64 * gib, 21}, {64 * gib + 1, 22},
        {1024 * gib, 22}, {UINT64_MAX, 22},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(cid_recommended_chunk_log2(rows[i].size),
                         rows[i].chunk_log2);
    }
}

/* The chunks lie side by side, in order, and make up the file. */
static void check_cut(uint64_t size, uint8_t c, uint64_t chunks)
{
    uint64_t at = 0;
    assert_int_equal(cid_chunk_count(size, c), chunks);
    for (uint64_t i = 0; i < chunks; i++) {
        uint32_t len = cid_chunk_len(size, c, i);
        assert_int_equal(cid_chunk_offset(c, i), at);
        assert_true(len >= 1 && len <= UINT32_C(1) << c);
        assert_true(len == UINT32_C(1) << c || i + 1 == chunks);
        at += len;
    }
    assert_int_equal(at, size);
}

static void test_awkward_sizes(void **state)
{
    (void)state;
    for (uint8_t c = 12; c <= 22; c++) {
        const uint64_t full = UINT64_C(1) << c;
        const struct {
            uint64_t size;
            uint64_t chunks;
        } rows[] = {
            {0, 0}, {1, 1}, {full - 1, 1}, {full, 1}, {full + 1, 2},
            {2 * full - 1, 2}, {2 * full, 2}, {2 * full + 1, 3},
            {3 * full, 3}, {5 * full, 5}, {7 * full, 7}, {11 * full, 11},
            {13 * full, 13},
        };
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            check_cut(rows[i].size, c, rows[i].chunks);
        }
    }
}

static void test_largest_file(void **state)
{
    (void)state;
    for (uint8_t c = 12; c <= 22; c++) {
        uint64_t chunks = cid_chunk_count(UINT64_MAX, c);
        assert_true(chunks == UINT64_C(1) << (64 - c));
        assert_int_equal(cid_chunk_len(UINT64_MAX, c, chunks - 1),
                         (UINT32_C(1) << c) - 1);
        assert_int_equal(cid_chunk_offset(c, chunks - 1),
                         UINT64_MAX - ((UINT64_C(1) << c) - 1));
    }
}

static void test_cid_of_empty_file(void **state)
{
    (void)state;
    struct hasher *hasher = hasher_new();
    assert_non_null(hasher);
    uint8_t hash[HASH_LEN];
    char text[CID_TEXT_LEN + 1];
    assert_int_equal(merkle_root(hasher, 0, 12, NULL, 0, hash), 0);
    assert_int_equal(cid_from_root(hasher, 0, 12, hash, hash), 0);
    cid_encode(12, hash, text);
    assert_string_equal(text, "bl1-12-" DIGITS);
    /* Size and c are part of the id. */
    uint8_t other[HASH_LEN];
    assert_int_equal(merkle_root(hasher, 0, 13, NULL, 0, other), 0);
    assert_int_equal(cid_from_root(hasher, 0, 13, other, other), 0);
    assert_memory_not_equal(other, hash, HASH_LEN);
    hasher_free(hasher);
}

static void test_parse_inverts_encode(void **state)
{
    (void)state;
    for (uint8_t c = 12; c <= 22; c++) {
        uint8_t cid[HASH_LEN];
        uint8_t got[HASH_LEN];
        uint8_t got_c = 0;
        char text[CID_TEXT_LEN + 1];
        for (size_t i = 0; i < HASH_LEN; i++) {
            cid[i] = (uint8_t)(c * 37 + i * 11);
        }
        cid_encode(c, cid, text);
        assert_int_equal(strlen(text), CID_TEXT_LEN);
        assert_int_equal(cid_parse(text, CID_TEXT_LEN, &got_c, got), 0);
        assert_int_equal(got_c, c);
        assert_memory_equal(got, cid, HASH_LEN);
    }
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "bl1-18-",
        "bl1-11-" DIGITS,
        "bl1-23-" DIGITS,
        "bl1-00-" DIGITS,
        "bl1-1a-" DIGITS,
        "bl1-1 -" DIGITS,
        "bl1--8-" DIGITS,
        "bl1-+8-" DIGITS,
        "bl1-8-" DIGITS,
        "bl1-018-" DIGITS,
        "bl2-18-" DIGITS,
        "BL1-18-" DIGITS,
        " bl1-18-" DIGITS,
        "bl1-18-" DIGITS " ",
        "bl1-18-" DIGITS "0",
        "bl1_18_" DIGITS,
        "bl1-18:" DIGITS,
        /* One digit less, one that is no digit, one in upper case. */
        "bl1-18-"
        "4d2048f12c4f9995aede115dba196e05736fb8ff2d83cbce5d46ab90078e6a5",
        "bl1-18-"
        "4d2048f12c4f9995aede115dba196e05736fb8ff2d83cbce5d46ab90078e6a5g",
        "bl1-18-"
        "4D2048f12c4f9995aede115dba196e05736fb8ff2d83cbce5d46ab90078e6a57",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t c = 99;
        uint8_t cid[HASH_LEN];
        uint8_t before[HASH_LEN];
        memset(cid, 0xaa, sizeof cid);
        memset(before, 0xaa, sizeof before);
        assert_int_equal(cid_parse(rows[i], strlen(rows[i]), &c, cid),
                         ERR_SYNTAX);
        assert_int_equal(c, 99);
        assert_memory_equal(cid, before, HASH_LEN);
    }
}

static void test_hex(void **state)
{
    (void)state;
    static const uint8_t bytes[4] = {0x00, 0x9f, 0xa0, 0xff};
    char text[9];
    uint8_t got[4];
    cid_hex_encode(bytes, 4, text);
    assert_string_equal(text, "009fa0ff");
    assert_int_equal(cid_hex_decode("009fa0ff", 4, got), 0);
    assert_memory_equal(got, bytes, 4);
    assert_int_equal(cid_hex_decode("009FA0Ff", 4, got), 0);
    assert_memory_equal(got, bytes, 4);
    static const char *const bad[] = {"0", "0g", "g0", "-1", "0x", "  ", "/0",
                                      ":0", "@0", "`0", "G0", "\3770"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(cid_hex_decode(bad[i], 1, got), ERR_SYNTAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunk_log2_range),
        cmocka_unit_test(test_recommended_chunk_log2),
        cmocka_unit_test(test_awkward_sizes),
        cmocka_unit_test(test_largest_file),
        cmocka_unit_test(test_cid_of_empty_file),
        cmocka_unit_test(test_parse_inverts_encode),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
