/* proto/wire/msg.h: the rules of single fields, at their limits. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/endian.h"
#include "proto/base/err.h"
#include "proto/wire/msg.h"

#define C FRAME_FROM_CLIENT
#define S FRAME_FROM_SERVER

static struct bytes_view view(const void *ptr, size_t len)
{
    return (struct bytes_view){ ptr, len };
}

/* ---- HELLO */

static void hello_defaults(void **state)
{
    (void)state;
    struct msg_hello m;
    assert_int_equal(msg_hello_decode(NULL, 0, C, &m), BELAY_OK);
    assert_int_equal(m.has, 0);
    assert_int_equal(m.max_chunk_log2, 20);
    assert_int_equal(m.max_requests, 16);
    assert_int_equal(m.max_handles, 16);
    assert_int_equal(m.max_ranges, 64);
    assert_int_equal(m.idle_timeout_s, 120);
    assert_int_equal(m.ping_interval_s, 10);
    assert_int_equal(m.agent.len, 0);
    assert_true(msg_hello_codec(&m, CODEC_RAW));
    assert_false(msg_hello_codec(&m, CODEC_ZLIB));
    assert_false(msg_hello_auth_method(&m, AUTH_BEARER));
}

static void hello_lists(void **state)
{
    (void)state;
    const struct msg_hello m = {
        .codecs = view("\x2a\x01", 2),
        .auth_methods = view("\x02", 1),
    };
    assert_true(msg_hello_codec(&m, CODEC_RAW));
    assert_true(msg_hello_codec(&m, CODEC_ZLIB));
    assert_false(msg_hello_codec(&m, CODEC_ZERO));
    assert_true(msg_hello_auth_method(&m, AUTH_EXTERNAL));
    assert_false(msg_hello_auth_method(&m, AUTH_BEARER));

    struct bytes_view list = view("\x00\x01\xff\xfe", 4);
    assert_int_equal(msg_u16_count(list), 2);
    assert_int_equal(msg_u16_at(list, 0), 1);
    assert_int_equal(msg_u16_at(list, 1), 0xFFFE);
}

static void hello_numbers(void **state)
{
    (void)state;
    const struct {
        uint16_t type;
        uint8_t len;
        uint16_t value;
        bool fits;
    } rows[] = {
        { TLV_MAX_CHUNK_LOG2, 1, 11, false },
        { TLV_MAX_CHUNK_LOG2, 1, 12, true },
        { TLV_MAX_CHUNK_LOG2, 1, 22, true },
        { TLV_MAX_CHUNK_LOG2, 1, 23, false },
        { TLV_MAX_REQUESTS, 2, 15, false },
        { TLV_MAX_REQUESTS, 2, 16, true },
        { TLV_MAX_REQUESTS, 2, 0xFFFF, true },
        { TLV_MAX_HANDLES, 2, 15, false },
        { TLV_MAX_HANDLES, 2, 16, true },
        { TLV_MAX_RANGES, 2, 63, false },
        { TLV_MAX_RANGES, 2, 64, true },
        { TLV_IDLE_TIMEOUT, 2, 9, false },
        { TLV_IDLE_TIMEOUT, 2, 10, true },
        { TLV_PING_INTERVAL, 2, 0, true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t raw[8];
        struct writer w;
        struct msg_hello m;
        writer_init(&w, raw, sizeof raw);
        writer_u16(&w, rows[i].type);
        writer_u16(&w, rows[i].len);
        if (rows[i].len == 1) {
            writer_u8(&w, (uint8_t)rows[i].value);
        } else {
            writer_u16(&w, rows[i].value);
        }
        assert_int_equal(msg_hello_decode(raw, writer_len(&w), S, &m),
                         rows[i].fits ? BELAY_OK : ERR_MALFORMED);
        /* What only a server may say is unknown from a client. */
        bool both = rows[i].type == TLV_MAX_CHUNK_LOG2 ||
                    rows[i].type == TLV_IDLE_TIMEOUT;
        assert_int_equal(msg_hello_decode(raw, writer_len(&w), C, &m),
                         rows[i].fits || !both ? BELAY_OK : ERR_MALFORMED);
        assert_int_equal(m.has != 0, both);
    }
}

/* ---- GET */

struct get_row {
    uint16_t count;
    struct msg_range ranges[3];
    bool fits;
};

static void get_ranges(void **state)
{
    (void)state;
    const uint64_t max = UINT64_MAX;
    const struct get_row rows[] = {
        { 0, { { 0, 0 } }, false },
        { 1, { { 0, 0 } }, false },
        { 1, { { 0, 1 } }, true },
        { 1, { { 0, GET_TO_END } }, true },
        { 1, { { max, GET_TO_END } }, true },
        { 1, { { max, 1 } }, false },
        { 1, { { max - 1, 1 } }, true },
        { 1, { { 1, max - 1 } }, true },
        { 1, { { 2, max - 1 } }, false },
        { 2, { { 0, 5 }, { 5, 1 } }, true },
        { 2, { { 0, 5 }, { 4, 1 } }, false },
        { 2, { { 5, 1 }, { 0, 5 } }, false },
        { 2, { { 0, 5 }, { 0, 5 } }, false },
        { 2, { { 0, 5 }, { 5, 0 } }, false },
        { 2, { { 0, 5 }, { 5, GET_TO_END } }, true },
        { 2, { { 0, GET_TO_END }, { 5, 1 } }, false },
        { 2, { { 0, GET_TO_END }, { 0, GET_TO_END } }, false },
        { 3, { { 0, 1 }, { 9, 1 }, { 8, 1 } }, false },
        { 3, { { 0, 1 }, { 8, 1 }, { 9, 1 } }, true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t raw[128];
        uint8_t packed[MSG_RANGES_BYTES(3)];
        struct msg_get pack = { 0 };
        struct msg_get m;
        struct writer w;
        msg_ranges_pack(&pack, rows[i].ranges, rows[i].count, packed);
        writer_init(&w, raw, sizeof raw);
        writer_u32(&w, 1);
        writer_u16(&w, 0);
        writer_u16(&w, rows[i].count);
        writer_bytes(&w, packed, pack.ranges.len);
        int err = msg_get_decode(raw, writer_len(&w), 64, &m);
        if (err != (rows[i].fits ? BELAY_OK : ERR_BAD_REQUEST)) {
            fail_msg("row %zu: %s", i, err_name(err));
        }
        for (size_t j = 0; j < rows[i].count && rows[i].fits; j++) {
            struct msg_range range = msg_get_range(&m, j);
            assert_true(range.offset == rows[i].ranges[j].offset);
            assert_true(range.length == rows[i].ranges[j].length);
        }
    }
}

static void get_limits(void **state)
{
    (void)state;
    static uint8_t raw[LAYOUT_GET_LEN + MSG_RANGES_BYTES(66)];
    for (uint16_t count = 63; count <= 66; count++) {
        for (uint16_t max = 63; max <= 66; max++) {
            struct writer w;
            struct msg_get m;
            writer_init(&w, raw, sizeof raw);
            writer_u32(&w, 1);
            writer_u16(&w, 0);
            writer_u16(&w, count);
            for (uint64_t i = 0; i < count; i++) {
                writer_u64(&w, i);
                writer_u64(&w, 1);
            }
            assert_int_equal(msg_get_decode(raw, writer_len(&w), max, &m),
                             count <= max ? BELAY_OK : ERR_BAD_REQUEST);
        }
    }
    for (uint8_t urgency = 6; urgency <= 9; urgency++) {
        struct msg_get m;
        endian_store_u16(raw + LAYOUT_GET_COUNT_OFF, 1);
        raw[LAYOUT_GET_URGENCY_OFF] = urgency;
        assert_int_equal(msg_get_decode(raw, LAYOUT_GET_LEN + 16, 64, &m),
                         urgency <= 7 ? BELAY_OK : ERR_BAD_REQUEST);
    }
}

/* ---- CHUNK */

static void chunk_lengths(void **state)
{
    (void)state;
    const struct {
        uint8_t codec;
        uint32_t raw_len;
        uint32_t stored_len;
        int err;
    } rows[] = {
        { CODEC_RAW, 4096, 4096, BELAY_OK },
        { CODEC_RAW, 1, 1, BELAY_OK },
        { CODEC_RAW, 4096, 4095, ERR_CODEC },
        { CODEC_RAW, 4095, 4096, ERR_CODEC },
        { CODEC_RAW, 1u << 22, 1u << 22, BELAY_OK },
        { CODEC_RAW, (1u << 22) + 1, (1u << 22) + 1, ERR_CODEC },
        { CODEC_ZLIB, 4096, 7, ERR_CODEC },
        { CODEC_ZLIB, 4096, 8, BELAY_OK },
        { CODEC_ZLIB, 4096, 4095, BELAY_OK },
        { CODEC_ZLIB, 4096, 4096, ERR_CODEC },
        { CODEC_ZLIB, 8, 8, ERR_CODEC },
        { CODEC_ZERO, 4096, 0, BELAY_OK },
        { CODEC_ZERO, 4096, 1, ERR_CODEC },
        { CODEC_ZERO, UINT32_MAX, 0, ERR_CODEC },
        { CODEC_ZSTD_RESERVED, 4096, 8, ERR_CODEC },
        { 0x2A, 4096, 4096, ERR_CODEC },
        { 0xFF, 4096, 4096, ERR_CODEC },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct msg_chunk m = {
            .raw_len = rows[i].raw_len,
            .stored_len = rows[i].stored_len,
            .codec = rows[i].codec,
        };
        assert_int_equal(msg_chunk_check(&m), rows[i].err);
    }
}

static void chunk_there_and_back(void **state)
{
    (void)state;
    struct msg_chunk in = {
        .offset = UINT64_C(0x0102030405060000),
        .raw_len = 4096,
        .stored_len = 1000,
        .handle = 0xFFFFFFFF,
        .codec = CODEC_ZLIB,
    };
    for (size_t i = 0; i < sizeof in.digest; i++) {
        in.digest[i] = (uint8_t)(i + 1);
    }
    uint8_t raw[FRAME_CHUNK_HEAD_LEN];
    struct writer w;
    struct frame f;
    struct msg m;
    size_t need;
    writer_init(&w, raw, sizeof raw);
    assert_int_equal(msg_chunk_encode(&in, 3, &w), BELAY_OK);
    assert_int_equal(writer_len(&w), sizeof raw);
    assert_int_equal(frame_scan(raw, sizeof raw, &f, &need), BELAY_OK);
    assert_int_equal(f.length, LAYOUT_CHUNK_LEN + 1000);
    assert_int_equal(f.request_id, 3);
    assert_int_equal(msg_decode(&f, raw + FRAME_HEADER_LEN, S, 64, &m),
                     BELAY_OK);
    assert_true(m.chunk.offset == in.offset);
    assert_int_equal(m.chunk.raw_len, in.raw_len);
    assert_int_equal(m.chunk.stored_len, in.stored_len);
    assert_int_equal(m.chunk.handle, in.handle);
    assert_int_equal(m.chunk.codec, in.codec);
    assert_memory_equal(m.chunk.digest, in.digest, sizeof in.digest);

    /* The length of the frame is the length of fields and data. */
    f.length++;
    assert_int_equal(msg_decode(&f, raw + FRAME_HEADER_LEN, S, 64, &m),
                     ERR_MALFORMED);
    for (uint32_t len = 0; len < LAYOUT_CHUNK_LEN; len++) {
        f.length = len;
        f.covered = len;
        assert_int_equal(msg_decode(&f, raw + FRAME_HEADER_LEN, S, 64, &m),
                         ERR_TRUNCATED);
    }
    for (size_t cap = 0; cap < sizeof raw; cap++) {
        writer_init(&w, raw, cap);
        assert_int_equal(msg_chunk_encode(&in, 3, &w), ERR_SPACE);
        assert_int_equal(writer_len(&w), 0);
    }
}

/* ---- DIGESTS */

static void digests_counts(void **state)
{
    (void)state;
    static uint8_t raw[LAYOUT_DIGESTS_LEN + 2001 * DIGEST_LEN];
    const struct {
        uint32_t count;
        uint8_t block_log2;
        int err;
    } rows[] = {
        { 0, 0, ERR_MALFORMED },         { 1, 32, BELAY_OK },
        { 1, 33, ERR_MALFORMED },        { 1999, 0, BELAY_OK },
        { 2000, 0, BELAY_OK },           { 2001, 0, ERR_MALFORMED },
        { UINT32_MAX, 0, ERR_MALFORMED },
        { 0x08000001, 0, ERR_MALFORMED }, /* times 32 wraps in 32 bits */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct msg_digests m;
        size_t held = rows[i].count <= 2001 ? rows[i].count : 1;
        endian_store_u32(raw + LAYOUT_DIGESTS_COUNT_OFF, rows[i].count);
        raw[LAYOUT_DIGESTS_BLOCK_LOG2_OFF] = rows[i].block_log2;
        size_t len = LAYOUT_DIGESTS_LEN + held * DIGEST_LEN;
        assert_int_equal(msg_digests_decode(raw, len, &m), rows[i].err);
        if (rows[i].err == BELAY_OK) {
            assert_int_equal(msg_digests_decode(raw, len - 1, &m),
                             ERR_TRUNCATED);
        }
    }
}

/* ---- NOTICE */

static void notice_lengths(void **state)
{
    (void)state;
    static const uint8_t text[LIMIT_NOTICE + 1];
    struct msg_notice m;
    for (size_t len = LIMIT_NOTICE - 1; len <= LIMIT_NOTICE + 1; len++) {
        int err = msg_notice_decode(text, len, &m);
        assert_int_equal(err, len <= LIMIT_NOTICE ? BELAY_OK : ERR_MALFORMED);
        if (err == BELAY_OK) {
            assert_ptr_equal(m.text.ptr, text);
            assert_int_equal(m.text.len, len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_defaults),
        cmocka_unit_test(hello_lists),
        cmocka_unit_test(hello_numbers),
        cmocka_unit_test(get_ranges),
        cmocka_unit_test(get_limits),
        cmocka_unit_test(chunk_lengths),
        cmocka_unit_test(chunk_there_and_back),
        cmocka_unit_test(digests_counts),
        cmocka_unit_test(notice_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
