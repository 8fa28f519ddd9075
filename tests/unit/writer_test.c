/* proto/base/writer.h: what is written, and what a full buffer does. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/base/writer.h"

static const uint8_t all[] = {
    0x11,                                           /* u8 */
    0x12, 0x34,                                     /* u16 */
    0x89, 0xAB, 0xCD, 0xEF,                         /* u32 */
    0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, /* u64 */
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, /* i64 -2 */
    'a',  'b',  'c',                                /* bytes */
    0x00, 0x00,                                     /* zeros */
};

/* Number of bytes after each step of write_all. */
static const size_t steps[] = { 1, 3, 7, 15, 23, 26, 28 };

static void write_all(struct writer *w)
{
    writer_u8(w, 0x11);
    writer_u16(w, 0x1234);
    writer_u32(w, 0x89ABCDEF);
    writer_u64(w, UINT64_C(0x0123456789ABCDEF));
    writer_i64(w, -2);
    writer_bytes(w, (const uint8_t *)"abc", 3);
    writer_zeros(w, 2);
}

static void every_capacity(void **state)
{
    (void)state;
    for (size_t cap = 0; cap <= sizeof all + 1; cap++) {
        uint8_t buf[sizeof all + 2];
        memset(buf, 0x5A, sizeof buf);
        struct writer w;
        writer_init(&w, buf, cap);
        write_all(&w);
        /* The steps that fit whole are there, and nothing else. */
        size_t whole = 0;
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            whole = steps[i] <= cap ? steps[i] : whole;
        }
        assert_int_equal(writer_len(&w), whole);
        assert_memory_equal(buf, all, whole);
        for (size_t i = whole; i < sizeof buf; i++) {
            assert_int_equal(buf[i], 0x5A);
        }
        bool fits = cap >= sizeof all;
        assert_int_equal(writer_ok(&w), fits);
        assert_int_equal(writer_err(&w), fits ? BELAY_OK : ERR_SPACE);
        assert_int_equal(writer_left(&w), fits ? cap - sizeof all : 0);
    }
}

static void back_fill(void **state)
{
    (void)state;
    uint8_t buf[8];
    struct writer w;
    writer_init(&w, buf, sizeof buf);
    writer_zeros(&w, 8);
    writer_fill_u16(&w, 0, 0x0102);
    writer_fill_u32(&w, 2, 0x03040506);
    writer_fill(&w, 6, (const uint8_t *)"xy", 2);
    assert_memory_equal(buf, "\x01\x02\x03\x04\x05\x06xy", 8);
    assert_int_equal(writer_len(&w), 8);
}

static void back_fill_after_an_error(void **state)
{
    (void)state;
    uint8_t buf[2] = { 7, 7 };
    struct writer w;
    writer_init(&w, buf, sizeof buf);
    writer_u32(&w, 0);
    writer_fill_u16(&w, 0, 0xFFFF);
    assert_memory_equal(buf, "\x07\x07", 2);
}

static void rewind_takes_back(void **state)
{
    (void)state;
    uint8_t buf[4];
    struct writer w;
    writer_init(&w, buf, sizeof buf);
    writer_u16(&w, 0x0102);
    writer_u32(&w, 0);
    assert_int_equal(writer_err(&w), ERR_SPACE);
    writer_rewind(&w, 1);
    assert_int_equal(writer_err(&w), BELAY_OK);
    writer_u8(&w, 9);
    assert_int_equal(writer_len(&w), 2);
    assert_memory_equal(writer_data(&w), "\x01\x09", 2);
}

static void the_first_error_sticks(void **state)
{
    (void)state;
    uint8_t buf[4];
    struct writer w;
    writer_init(&w, buf, sizeof buf);
    writer_fail(&w, ERR_RANGE);
    writer_fail(&w, ERR_LIMIT);
    writer_u8(&w, 1);
    writer_u64(&w, 1);
    assert_int_equal(writer_err(&w), ERR_RANGE);
    assert_int_equal(writer_len(&w), 0);
}

static void huge_lengths(void **state)
{
    (void)state;
    uint8_t buf[4];
    struct writer w;
    writer_init(&w, buf, sizeof buf);
    writer_u8(&w, 1);
    writer_zeros(&w, SIZE_MAX);
    assert_int_equal(writer_err(&w), ERR_SPACE);
    assert_int_equal(writer_len(&w), 1);
}

static void nothing_at_all(void **state)
{
    (void)state;
    struct writer w;
    writer_init(&w, NULL, 0);
    writer_bytes(&w, NULL, 0);
    writer_zeros(&w, 0);
    writer_fill(&w, 0, NULL, 0);
    assert_int_equal(writer_err(&w), BELAY_OK);
    writer_u8(&w, 1);
    assert_int_equal(writer_err(&w), ERR_SPACE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_capacity),
        cmocka_unit_test(back_fill),
        cmocka_unit_test(back_fill_after_an_error),
        cmocka_unit_test(rewind_takes_back),
        cmocka_unit_test(the_first_error_sticks),
        cmocka_unit_test(huge_lengths),
        cmocka_unit_test(nothing_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
