/* proto/wire/layout.h: the bytes of every layout, written down by hand. The
 * values are chosen so that byte number i of a layout is i + 1; reserved
 * bytes are zero, and their value is ignored on receipt. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/wire/layout.h"

#define MAX_LEN 64

/* Check one layout: what put writes, and that get reads it back whatever the
 * reserved bytes from `from` to `to` hold. */
#define CHECK(name, len, from, to, ...) \
    do { \
        const struct layout_##name in = { __VA_ARGS__ }; \
        struct layout_##name out; \
        uint8_t raw[MAX_LEN]; \
        struct writer w; \
        struct reader r; \
        writer_init(&w, raw, sizeof raw); \
        layout_##name##_put(&w, &in); \
        check_bytes(#name, &w, len, from, to); \
        memset(raw + (from), 0xFF, (to) - (from)); \
        memset(&out, 0, sizeof out); \
        reader_init(&r, raw, len); \
        layout_##name##_get(&r, &out); \
        assert_int_equal(reader_end(&r), BELAY_OK); \
        writer_init(&w, raw, sizeof raw); \
        layout_##name##_put(&w, &out); \
        check_bytes(#name, &w, len, from, to); \
        check_short_##name(raw); \
    } while (0)

static void check_bytes(const char *name, const struct writer *w, size_t len,
                        size_t from, size_t to)
{
    if (writer_len(w) != len) {
        fail_msg("%s: %zu bytes", name, writer_len(w));
    }
    for (size_t i = 0; i < len; i++) {
        size_t expected = i >= from && i < to ? 0 : i + 1;
        if (writer_data(w)[i] != expected) {
            fail_msg("%s: byte %zu is %u", name, i, writer_data(w)[i]);
        }
    }
}

/* Any shorter input is an error. */
#define SHORT(name, len) \
    static void check_short_##name(const uint8_t *raw) \
    { \
        for (size_t i = 0; i < len; i++) { \
            struct layout_##name v; \
            struct reader r; \
            reader_init(&r, raw, i); \
            layout_##name##_get(&r, &v); \
            assert_int_equal(reader_err(&r), ERR_TRUNCATED); \
        } \
    } \
    BELAY_STATIC_ASSERT(len > 0, "a layout has bytes")

SHORT(preface, LAYOUT_PREFACE_LEN);
SHORT(header, LAYOUT_HEADER_LEN);
SHORT(tlv, LAYOUT_TLV_LEN);
SHORT(open, LAYOUT_OPEN_LEN);
SHORT(get, LAYOUT_GET_LEN);
SHORT(range, LAYOUT_RANGE_LEN);
SHORT(info, LAYOUT_INFO_LEN);
SHORT(chunk, LAYOUT_CHUNK_LEN);
SHORT(done, LAYOUT_DONE_LEN);
SHORT(digest, LAYOUT_DIGEST_LEN);
SHORT(digests, LAYOUT_DIGESTS_LEN);
SHORT(progress, LAYOUT_PROGRESS_LEN);
SHORT(list, LAYOUT_LIST_LEN);
SHORT(entries, LAYOUT_ENTRIES_LEN);
SHORT(entry, LAYOUT_ENTRY_LEN);
SHORT(close, LAYOUT_CLOSE_LEN);
SHORT(auth, LAYOUT_AUTH_LEN);
SHORT(ping, LAYOUT_PING_LEN);
SHORT(pong, LAYOUT_PONG_LEN);
SHORT(goaway, LAYOUT_GOAWAY_LEN);
SHORT(error, LAYOUT_ERROR_LEN);

static void connection_layouts(void **state)
{
    (void)state;
    CHECK(preface, 16, 0, 0, { 1, 2, 3, 4, 5, 6, 7, 8 }, 0x090A, 0x0B, 0x0C,
          0x0D0E0F10);
    CHECK(header, 16, 6, 8, 0x01020304, 0x05, 0x06, 0x090A0B0C, 0x0D0E0F10);
    CHECK(tlv, 4, 0, 0, 0x0102, 0x0304);
    CHECK(ping, 8, 0, 0, { 1, 2, 3, 4, 5, 6, 7, 8 });
    CHECK(pong, 8, 0, 0, { 1, 2, 3, 4, 5, 6, 7, 8 });
    CHECK(goaway, 8, 6, 8, 0x01020304, 0x0506);
    CHECK(error, 4, 2, 4, 0x0102);
    CHECK(auth, 4, 1, 4, 0x01);
}

static void request_layouts(void **state)
{
    (void)state;
    CHECK(open, 8, 0, 0, 0x01020304, 0x05, 0x06, 0x0708);
    CHECK(get, 8, 0, 0, 0x01020304, 0x05, 0x06, 0x0708);
    CHECK(range, 16, 0, 0, 0x0102030405060708, 0x090A0B0C0D0E0F10);
    CHECK(list, 4, 1, 2, 0x01, 0x0304);
    CHECK(close, 4, 0, 0, 0x01020304);
}

/* DIGEST has two reserved fields; the second one is checked here. */
static void digest_layout(void **state)
{
    (void)state;
    const struct layout_digest in = { 0x01020304, 0x05, 0x06,
                                      0x090A0B0C0D0E0F10, 0x11121314 };
    struct layout_digest out;
    uint8_t raw[24];
    const uint8_t expected[24] = { 1,  2,  3,  4,  5,  6,  0,  0,
                                   9,  10, 11, 12, 13, 14, 15, 16,
                                   17, 18, 19, 20, 0,  0,  0,  0 };
    struct writer w;
    struct reader r;
    writer_init(&w, raw, sizeof raw);
    layout_digest_put(&w, &in);
    assert_int_equal(writer_len(&w), sizeof expected);
    assert_memory_equal(raw, expected, sizeof expected);
    memset(raw + 6, 0xFF, 2);
    memset(raw + 20, 0xFF, 4);
    reader_init(&r, raw, sizeof raw);
    layout_digest_get(&r, &out);
    assert_int_equal(reader_end(&r), BELAY_OK);
    writer_init(&w, raw, sizeof raw);
    layout_digest_put(&w, &out);
    assert_memory_equal(raw, expected, sizeof expected);
    check_short_digest(raw);
}

static void answer_layouts(void **state)
{
    (void)state;
    CHECK(info, 32, 0, 0, 0x01020304, 0x05, 0x06, 0x0708, 0x090A0B0C0D0E0F10,
          0x1112131415161718, 0x191A1B1C, 0x1D1E1F20);
    CHECK(chunk, 56, 21, 24, 0x0102030405060708, 0x090A0B0C, 0x0D0E0F10,
          0x11121314, 0x15,
          { 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,
            36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46,
            47, 48, 49, 50, 51, 52, 53, 54, 55, 56 });
    CHECK(done, 16, 0, 0, 0x0102030405060708, 0x090A0B0C0D0E0F10);
    CHECK(digests, 16, 14, 16, 0x0102030405060708, 0x090A0B0C, 0x0D, 0x0E);
    CHECK(progress, 16, 0, 0, 0x0102030405060708, 0x090A0B0C0D0E0F10);
    CHECK(entries, 4, 2, 4, 0x0102);
    CHECK(entry, 30, 3, 4, 0x0102, 0x03, 0x05060708090A0B0C,
          0x0D0E0F1011121314, 0x15161718, 0x191A1B1C, 0x1D1E);
}

static void negative_times(void **state)
{
    (void)state;
    const struct layout_info in = { .mtime_s = -2 };
    struct layout_info out;
    uint8_t raw[32];
    struct writer w;
    struct reader r;
    writer_init(&w, raw, sizeof raw);
    layout_info_put(&w, &in);
    assert_memory_equal(raw + 16, "\xff\xff\xff\xff\xff\xff\xff\xfe", 8);
    reader_init(&r, raw, sizeof raw);
    layout_info_get(&r, &out);
    assert_true(out.mtime_s == -2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connection_layouts),
        cmocka_unit_test(request_layouts),
        cmocka_unit_test(digest_layout),
        cmocka_unit_test(answer_layouts),
        cmocka_unit_test(negative_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
