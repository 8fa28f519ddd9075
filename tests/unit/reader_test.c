/* proto/base/reader.h: every read against a slow byte-by-byte oracle. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/base/reader.h"

static const uint8_t bytes[] = { 0x01, 0x82, 0x03, 0xF4, 0x05, 0x06, 0x07,
                                 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE,
                                 0xFF, 0x00 };

/* The value of width bytes, most significant first. */
static uint64_t slow(const uint8_t *p, size_t width)
{
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++) {
        v = v * 256 + p[i];
    }
    return v;
}

static uint64_t take(struct reader *r, size_t width)
{
    switch (width) {
    case 1:
        return reader_u8(r);
    case 2:
        return reader_u16(r);
    case 4:
        return reader_u32(r);
    default:
        return reader_u64(r);
    }
}

static void integers(void **state)
{
    (void)state;
    const size_t widths[] = { 1, 2, 4, 8 };
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        for (size_t len = 0; len <= sizeof bytes; len++) {
            struct reader r;
            size_t at = 0;
            reader_init(&r, bytes, len);
            while (at + widths[i] <= len) {
                assert_int_equal(take(&r, widths[i]),
                                 slow(bytes + at, widths[i]));
                at += widths[i];
                assert_int_equal(reader_left(&r), len - at);
                assert_true(reader_ok(&r));
            }
            /* One more read asks for bytes that are not there. */
            assert_int_equal(take(&r, widths[i]), 0);
            assert_int_equal(reader_err(&r), ERR_TRUNCATED);
            assert_int_equal(reader_left(&r), 0);
        }
    }
}

static void signed_integers(void **state)
{
    (void)state;
    const struct {
        uint8_t raw[8];
        int64_t value;
    } rows[] = {
        { { 0, 0, 0, 0, 0, 0, 0, 0 }, 0 },
        { { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF }, -1 },
        { { 0x80, 0, 0, 0, 0, 0, 0, 0 }, INT64_MIN },
        { { 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF }, INT64_MAX },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reader r;
        reader_init(&r, rows[i].raw, 8);
        assert_true(reader_i64(&r) == rows[i].value);
        assert_int_equal(reader_end(&r), BELAY_OK);
    }
}

static void the_first_error_sticks(void **state)
{
    (void)state;
    struct reader r;
    reader_init(&r, bytes, 3);
    assert_int_equal(reader_u32(&r), 0);
    /* These three bytes would suffice, but the error came first. */
    assert_int_equal(reader_u8(&r), 0);
    assert_null(reader_bytes(&r, 1));
    assert_null(reader_bytes(&r, 0));
    assert_int_equal(reader_view(&r, 0).len, 0);
    assert_int_equal(reader_rest(&r).len, 0);
    reader_fail(&r, ERR_MALFORMED);
    assert_int_equal(reader_err(&r), ERR_TRUNCATED);
    assert_int_equal(reader_end(&r), ERR_TRUNCATED);
}

static void views_are_borrowed(void **state)
{
    (void)state;
    struct reader r;
    reader_init(&r, bytes, sizeof bytes);
    reader_skip(&r, 2);
    struct bytes_view v = reader_view(&r, 5);
    assert_ptr_equal(v.ptr, bytes + 2);
    assert_int_equal(v.len, 5);
    struct bytes_view rest = reader_rest(&r);
    assert_ptr_equal(rest.ptr, bytes + 7);
    assert_int_equal(rest.len, sizeof bytes - 7);
    assert_int_equal(reader_end(&r), BELAY_OK);
}

static void copies(void **state)
{
    (void)state;
    uint8_t out[4];
    struct reader r;
    reader_init(&r, bytes, 6);
    reader_copy(&r, out, 4);
    assert_memory_equal(out, bytes, 4);
    /* A copy that fails leaves nothing of before. */
    reader_copy(&r, out, 4);
    assert_memory_equal(out, "\0\0\0\0", 4);
    assert_int_equal(reader_err(&r), ERR_TRUNCATED);
}

static void trailing_bytes(void **state)
{
    (void)state;
    for (size_t len = 0; len < 4; len++) {
        struct reader r;
        reader_init(&r, bytes, len);
        reader_skip(&r, len > 0 ? len - 1 : 0);
        int expected = len > 0 ? ERR_TRAILING : BELAY_OK;
        assert_int_equal(reader_end(&r), expected);
        assert_int_equal(reader_err(&r), expected);
    }
}

static void huge_lengths(void **state)
{
    (void)state;
    const size_t lens[] = { sizeof bytes + 1, SIZE_MAX, SIZE_MAX - 1,
                            SIZE_MAX / 2 + 1 };
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct reader r;
        reader_init(&r, bytes, sizeof bytes);
        assert_null(reader_bytes(&r, lens[i]));
        assert_int_equal(reader_err(&r), ERR_TRUNCATED);
    }
}

static void nothing_at_all(void **state)
{
    (void)state;
    struct reader r;
    reader_init(&r, NULL, 0);
    reader_skip(&r, 0);
    reader_copy(&r, NULL, 0);
    assert_int_equal(reader_rest(&r).len, 0);
    assert_int_equal(reader_end(&r), BELAY_OK);
    assert_int_equal(reader_u8(&r), 0);
    assert_int_equal(reader_err(&r), ERR_TRUNCATED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),
        cmocka_unit_test(signed_integers),
        cmocka_unit_test(the_first_error_sticks),
        cmocka_unit_test(views_are_borrowed),
        cmocka_unit_test(copies),
        cmocka_unit_test(trailing_bytes),
        cmocka_unit_test(huge_lengths),
        cmocka_unit_test(nothing_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
