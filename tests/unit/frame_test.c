/* proto/wire/frame.h: limits, CRC, classification, building. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/endian.h"
#include "proto/base/err.h"
#include "proto/wire/frame.h"

/* ---- The limit of each type. */

static void limits_by_type(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        uint32_t max = type == FRAME_CHUNK ? 56 + (1u << 22) : 65535;
        const uint32_t lengths[] = { 0, 1, max - 1, max, max + 1,
                                     1u << 31, UINT32_MAX };
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            uint8_t head[FRAME_HEADER_LEN] = { 0 };
            struct frame f;
            size_t need;
            endian_store_u32(head, lengths[i]);
            head[4] = (uint8_t)type;
            int err = frame_scan(head, sizeof head, &f, &need);
            if (lengths[i] > max) {
                assert_int_equal(err, ERR_TOO_LARGE);
                continue;
            }
            size_t covered = lengths[i];
            if (type == FRAME_CHUNK && covered > 56) {
                covered = 56;
            }
            assert_int_equal(f.length, lengths[i]);
            assert_int_equal(f.covered, covered);
            assert_int_equal(need, 16 + covered);
            /* The CRC field of 0 is wrong for every type here. */
            assert_int_equal(err, covered == 0 ? ERR_CRC : ERR_AGAIN);
        }
    }
}

/* ---- Building and scanning. */

static size_t build(uint8_t *out, size_t cap, uint8_t type, uint8_t flags,
                    uint32_t id, size_t payload_len)
{
    struct writer w;
    writer_init(&w, out, cap);
    size_t start = frame_begin(&w);
    for (size_t i = 0; i < payload_len; i++) {
        writer_u8(&w, (uint8_t)(i % 251));
    }
    assert_int_equal(frame_finish(&w, start, type, flags, id), BELAY_OK);
    return writer_len(&w);
}

static void every_prefix(void **state)
{
    (void)state;
    const size_t payloads[] = { 0, 1, 7, 200 };
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        uint8_t raw[256];
        size_t len = build(raw, sizeof raw, FRAME_OPEN, 0x5A, 0xDEADBEEF,
                           payloads[i]);
        assert_int_equal(len, FRAME_HEADER_LEN + payloads[i]);
        for (size_t avail = 0; avail <= len; avail++) {
            /* An exact copy, so that a sanitizer sees any read beyond it. */
            uint8_t *copy = malloc(avail > 0 ? avail : 1);
            memcpy(copy, raw, avail);
            struct frame f;
            size_t need;
            int err = frame_scan(copy, avail, &f, &need);
            assert_int_equal(err, avail < len ? ERR_AGAIN : BELAY_OK);
            assert_int_equal(need, avail < FRAME_HEADER_LEN ? FRAME_HEADER_LEN
                                                            : len);
            if (err == BELAY_OK) {
                assert_int_equal(f.length, payloads[i]);
                assert_int_equal(f.covered, payloads[i]);
                assert_int_equal(f.request_id, 0xDEADBEEF);
                assert_int_equal(f.type, FRAME_OPEN);
                assert_int_equal(f.flags, 0x5A);
            }
            free(copy);
        }
    }
}

static void every_flipped_bit(void **state)
{
    (void)state;
    uint8_t raw[64];
    size_t len = build(raw, sizeof raw, FRAME_DONE, FRAME_FLAG_END, 7, 24);
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct frame f;
        size_t need;
        raw[bit / 8] = (uint8_t)(raw[bit / 8] ^ 1u << bit % 8);
        int err = frame_scan(raw, len, &f, &need);
        /* A longer length asks for more bytes, or is too much at once. */
        bool length_grew = bit < 32 && f.length > 24;
        if (!length_grew) {
            assert_int_equal(err, ERR_CRC);
        } else {
            assert_int_equal(err, f.length > 65535 ? ERR_TOO_LARGE
                                                   : ERR_AGAIN);
        }
        raw[bit / 8] = (uint8_t)(raw[bit / 8] ^ 1u << bit % 8);
    }
}

static void chunk_data_is_not_covered(void **state)
{
    (void)state;
    uint8_t fields[LAYOUT_CHUNK_LEN] = { 1, 2, 3 };
    uint8_t raw[FRAME_CHUNK_HEAD_LEN];
    struct frame in = {
        .length = LAYOUT_CHUNK_LEN + 4096,
        .covered = LAYOUT_CHUNK_LEN,
        .request_id = 9,
        .type = FRAME_CHUNK,
    };
    frame_header_encode(raw, &in, fields);
    memcpy(raw + FRAME_HEADER_LEN, fields, sizeof fields);

    struct frame f;
    size_t need;
    /* All that is needed is here, although no byte of data is. */
    assert_int_equal(frame_scan(raw, sizeof raw, &f, &need), BELAY_OK);
    assert_int_equal(need, sizeof raw);
    assert_int_equal(f.length, in.length);
    assert_int_equal(f.covered, in.covered);
    assert_int_equal(f.request_id, in.request_id);
    assert_int_equal(f.type, in.type);
    assert_int_equal(f.flags, in.flags);
    for (size_t bit = 0; bit < LAYOUT_CHUNK_LEN * 8; bit++) {
        uint8_t *at = raw + FRAME_HEADER_LEN + bit / 8;
        *at = (uint8_t)(*at ^ 1u << bit % 8);
        assert_int_equal(frame_scan(raw, sizeof raw, &f, &need), ERR_CRC);
        *at = (uint8_t)(*at ^ 1u << bit % 8);
    }
}

static void a_full_buffer(void **state)
{
    (void)state;
    for (size_t cap = 0; cap < 40; cap++) {
        uint8_t raw[64];
        struct writer w;
        writer_init(&w, raw, cap);
        size_t first = frame_begin(&w);
        writer_zeros(&w, 4);
        int err = frame_finish(&w, first, FRAME_CANCEL, 0, 1);
        assert_int_equal(err, cap >= 20 ? BELAY_OK : ERR_SPACE);
        size_t kept = err == BELAY_OK ? 20 : 0;
        assert_int_equal(writer_len(&w), kept);
        /* A second frame that does not fit leaves the first one alone. */
        size_t second = frame_begin(&w);
        writer_zeros(&w, 4);
        assert_int_equal(frame_finish(&w, second, FRAME_CANCEL, 0, 2),
                         ERR_SPACE);
        assert_int_equal(writer_len(&w), kept);
        assert_int_equal(writer_err(&w), BELAY_OK);
    }
}

static void a_payload_over_the_limit(void **state)
{
    (void)state;
    static uint8_t raw[70000];
    const size_t lens[] = { 65534, 65535, 65536 };
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct writer w;
        writer_init(&w, raw, sizeof raw);
        size_t start = frame_begin(&w);
        writer_zeros(&w, lens[i]);
        assert_int_equal(frame_finish(&w, start, FRAME_ENTRIES, 0, 1),
                         lens[i] > 65535 ? ERR_TOO_LARGE : BELAY_OK);
        assert_int_equal(writer_len(&w),
                         lens[i] > 65535 ? 0 : FRAME_HEADER_LEN + lens[i]);
    }
}

/* ---- Classification: every type, both senders, against the text. */

enum expectation { ACCEPT, SKIP, UNSUPPORTED, DIRECTION };

/* Section 6's table and rule F5, written down once more. */
static enum expectation expected(unsigned type, bool client)
{
    switch (type) {
    case 0x01:
    case 0x03:
    case 0x04:
    case 0x05:
        return ACCEPT;
    case 0x10:
    case 0x11:
    case 0x12:
    case 0x13:
    case 0x14:
    case 0x15:
    case 0x16:
        return client ? ACCEPT : DIRECTION;
    case 0x40:
    case 0x41:
    case 0x42:
    case 0x43:
    case 0x44:
    case 0x45:
    case 0x80:
    case 0x81:
        return client ? DIRECTION : ACCEPT;
    default:
        break;
    }
    if (type >= 0x80) {
        return SKIP;
    }
    if (type >= 0x40) {
        return client ? DIRECTION : UNSUPPORTED;
    }
    if (type >= 0x10) {
        return client ? UNSUPPORTED : DIRECTION;
    }
    return DIRECTION;
}

static bool is_connection_frame(unsigned type)
{
    return type < 0x10 || type == 0x81;
}

static void every_type(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        for (unsigned client = 0; client < 2; client++) {
            bool end = type == 0x40 || type == 0x44 || type == 0x45;
            struct frame f = {
                .request_id = is_connection_frame(type) ? 0 : 5,
                .type = (uint8_t)type,
                .flags = end ? FRAME_FLAG_END : 0,
            };
            enum frame_verdict verdict = FRAME_SKIP;
            int err = frame_classify(&f, client ? FRAME_FROM_CLIENT
                                                : FRAME_FROM_SERVER,
                                     &verdict);
            switch (expected(type, client)) {
            case ACCEPT:
                assert_int_equal(err, BELAY_OK);
                assert_int_equal(verdict, FRAME_ACCEPT);
                assert_non_null(frame_name((uint8_t)type));
                break;
            case SKIP:
                assert_int_equal(err, BELAY_OK);
                assert_int_equal(verdict, FRAME_SKIP);
                assert_null(frame_name((uint8_t)type));
                break;
            case UNSUPPORTED:
                assert_int_equal(err, ERR_UNSUPPORTED);
                break;
            case DIRECTION:
                assert_int_equal(err, ERR_DIRECTION);
                break;
            }
        }
    }
}

struct id_row {
    uint8_t type;
    uint8_t sender;
    uint8_t flags;
    uint32_t id;
    int err;
};

static void ids_and_end(void **state)
{
    (void)state;
    const uint8_t c = FRAME_FROM_CLIENT;
    const uint8_t s = FRAME_FROM_SERVER;
    const uint8_t e = FRAME_FLAG_END;
    const struct id_row rows[] = {
        { FRAME_HELLO, c, 0, 0, BELAY_OK },
        { FRAME_HELLO, s, 0, 1, ERR_REQUEST_ID },
        { FRAME_HELLO, s, e, 0, BELAY_OK }, /* END means nothing here */
        { FRAME_NOTICE, s, 0, 1, ERR_REQUEST_ID },
        { FRAME_OPEN, c, 0, 0, ERR_REQUEST_ID },
        { FRAME_OPEN, c, 0, 1, BELAY_OK },
        { FRAME_OPEN, c, 0, 0xFFFFFFFE, BELAY_OK },
        { FRAME_OPEN, c, 0, REQUEST_ID_NEVER, ERR_REQUEST_ID },
        { FRAME_CANCEL, c, 0, 0, BELAY_OK }, /* ignored later: no target */
        { FRAME_CANCEL, c, 0, REQUEST_ID_NEVER, BELAY_OK },
        { FRAME_INFO, s, e, 0, ERR_REQUEST_ID },
        { FRAME_INFO, s, 0, 1, ERR_MALFORMED },
        { FRAME_INFO, s, (uint8_t)~e, 1, ERR_MALFORMED },
        { FRAME_INFO, s, 0xFF, 1, BELAY_OK }, /* reserved bits */
        { FRAME_DONE, s, 0, 1, ERR_MALFORMED },
        { FRAME_DONE, s, e, 1, BELAY_OK },
        { FRAME_CHUNK, s, 0, 1, BELAY_OK },
        { FRAME_CHUNK, s, e, 1, ERR_MALFORMED },
        { FRAME_CHUNK, s, (uint8_t)~e, 1, BELAY_OK },
        { FRAME_PROGRESS, s, 0, 1, BELAY_OK },
        { FRAME_PROGRESS, s, e, 1, ERR_MALFORMED },
        { FRAME_DIGESTS, s, 0, 1, BELAY_OK },
        { FRAME_DIGESTS, s, e, 1, BELAY_OK },
        { FRAME_ENTRIES, s, e, 1, BELAY_OK },
        { FRAME_ERROR, s, e, 0, BELAY_OK },
        { FRAME_ERROR, s, e, 1, BELAY_OK },
        { FRAME_ERROR, s, 0, 1, ERR_MALFORMED },
        { FRAME_ERROR, c, e, 0, BELAY_OK },
        { FRAME_ERROR, c, e, 1, ERR_DIRECTION },
        { 0x8A, c, e, REQUEST_ID_NEVER, BELAY_OK },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct frame f = {
            .request_id = rows[i].id,
            .type = rows[i].type,
            .flags = rows[i].flags,
        };
        enum frame_verdict verdict;
        int err = frame_classify(&f, rows[i].sender, &verdict);
        if (err != rows[i].err) {
            fail_msg("row %zu: %s", i, err_name(err));
        }
    }
}

/* ---- Grease. */

static void grease_is_skipped(void **state)
{
    (void)state;
    static const uint8_t junk[LIMIT_GREASE];
    for (uint32_t index = 0; index < 20; index++) {
        uint8_t raw[FRAME_HEADER_LEN + LIMIT_GREASE];
        struct writer w;
        struct frame f;
        enum frame_verdict verdict;
        size_t need;
        size_t len = index % 2 ? sizeof junk : index;
        writer_init(&w, raw, sizeof raw);
        assert_int_equal(frame_encode_grease(&w, index, index,
                                             (struct bytes_view){ junk, len }),
                         BELAY_OK);
        assert_int_equal(frame_scan(raw, writer_len(&w), &f, &need),
                         BELAY_OK);
        assert_int_equal(f.type & 0x8F, 0x8A);
        assert_int_equal(f.type, 0x8A + 0x10 * (index % 8));
        assert_int_equal(f.length, len);
        for (uint8_t sender = 1; sender <= 2; sender++) {
            assert_int_equal(frame_classify(&f, sender, &verdict), BELAY_OK);
            assert_int_equal(verdict, FRAME_SKIP);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_by_type),
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_flipped_bit),
        cmocka_unit_test(chunk_data_is_not_covered),
        cmocka_unit_test(a_full_buffer),
        cmocka_unit_test(a_payload_over_the_limit),
        cmocka_unit_test(every_type),
        cmocka_unit_test(ids_and_end),
        cmocka_unit_test(grease_is_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
