/* proto/wire/tlv.h: order, duplicates, criticality, lengths, grease. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "proto/wire/tlv.h"

struct build {
    uint8_t raw[1024];
    struct writer w;
};

static void put(struct build *b, uint16_t type, uint16_t length,
                size_t value_len)
{
    writer_u16(&b->w, type);
    writer_u16(&b->w, length);
    for (size_t i = 0; i < value_len; i++) {
        writer_u8(&b->w, (uint8_t)(i + 1));
    }
}

static struct bytes_view built(const struct build *b)
{
    assert_true(writer_ok(&b->w));
    return (struct bytes_view){ b->raw, writer_len(&b->w) };
}

/* How many TLVs came out, and how it ended. */
static int run(struct bytes_view bytes, uint32_t where, size_t *count)
{
    /* An exact copy, so that a sanitizer sees any read beyond it. */
    uint8_t *copy = malloc(bytes.len > 0 ? bytes.len : 1);
    memcpy(copy, bytes.ptr, bytes.len);
    struct tlv_reader t;
    struct tlv one;
    *count = 0;
    tlv_reader_init(&t, (struct bytes_view){ copy, bytes.len }, where,
                    ERR_UNSUPPORTED);
    while (tlv_next(&t, &one)) {
        (*count)++;
    }
    assert_false(tlv_next(&t, &one));
    free(copy);
    return tlv_reader_err(&t);
}

struct row {
    const char *what;
    struct {
        uint16_t type;
        uint16_t len;
    } tlvs[4]; /* type 0 ends */
    uint32_t where;
    int err;
    size_t count;
};

static const struct row rows[] = {
    { "nothing", { { 0, 0 } }, TLV_IN_OPEN, BELAY_OK, 0 },
    { "both of OPEN", { { 0x8021, 32 }, { 0x8022, 32 } }, TLV_IN_OPEN,
      BELAY_OK, 2 },
    { "descending", { { 0x8022, 32 }, { 0x8021, 1 } }, TLV_IN_OPEN,
      ERR_MALFORMED, 0 },
    { "twice", { { 0x8021, 1 }, { 0x8021, 1 } }, TLV_IN_OPEN, ERR_MALFORMED,
      0 },
    { "twice, once not critical", { { 0x0021, 1 }, { 0x8021, 1 } },
      TLV_IN_OPEN, ERR_MALFORMED, 0 },
    { "order looks below the critical bit", { { 0x8021, 1 }, { 0x0030, 1 } },
      TLV_IN_OPEN, BELAY_OK, 1 },
    { "unknown", { { 0x7F01, 9 } }, TLV_IN_OPEN, BELAY_OK, 0 },
    { "unknown and empty", { { 0x0001, 0 }, { 0x7FFF, 0 } }, TLV_IN_OPEN,
      BELAY_OK, 0 },
    { "unknown critical", { { 0x8021, 1 }, { 0x8023, 1 } }, TLV_IN_OPEN,
      ERR_UNSUPPORTED, 1 },
    { "unknown critical, but out of order", { { 0x8023, 1 }, { 0x8021, 1 } },
      TLV_IN_OPEN, ERR_MALFORMED, 0 },
    { "critical form of a known type", { { 0x8030, 4 } }, TLV_IN_INFO,
      ERR_UNSUPPORTED, 0 },
    { "that of another message", { { 0x0030, 4 } }, TLV_IN_OPEN, BELAY_OK,
      0 },
    { "critical of another message", { { 0x8060, 4 } }, TLV_IN_OPEN,
      ERR_UNSUPPORTED, 0 },
    { "a server's in a client's HELLO", { { 0x0002, 2 } },
      TLV_IN_HELLO_CLIENT, BELAY_OK, 0 },
    { "a server's in a server's HELLO", { { 0x0002, 2 } },
      TLV_IN_HELLO_SERVER, BELAY_OK, 1 },
    { "odd u16 list", { { 0x000A, 3 } }, TLV_IN_HELLO_SERVER, ERR_MALFORMED,
      0 },
    { "even u16 list", { { 0x000A, 4 } }, TLV_IN_HELLO_SERVER, BELAY_OK, 1 },
    { "the first fault decides", { { 0x8021, 33 }, { 0x8023, 1 } },
      TLV_IN_OPEN, ERR_MALFORMED, 0 },
    { "the first fault decides", { { 0x8020, 1 }, { 0x8021, 33 } },
      TLV_IN_OPEN, ERR_UNSUPPORTED, 0 },
};

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct build b;
        size_t count;
        writer_init(&b.w, b.raw, sizeof b.raw);
        for (size_t j = 0; j < 4 && rows[i].tlvs[j].type != 0; j++) {
            put(&b, rows[i].tlvs[j].type, rows[i].tlvs[j].len,
                rows[i].tlvs[j].len);
        }
        int err = run(built(&b), rows[i].where, &count);
        if (err != rows[i].err || count != rows[i].count) {
            fail_msg("%s: %s, %zu", rows[i].what, err_name(err), count);
        }
    }
}

/* Every assigned TLV at min-1, min, max, max+1. */
static void length_limits(void **state)
{
    (void)state;
    const struct {
        uint16_t type;
        uint32_t where;
        size_t min, max, unit;
    } all[] = {
#define TLV_ENTRY(name, where, min, max, unit) \
    { TLV_##name, where, min, max, unit },
        REGISTRY_TLVS(TLV_ENTRY)
#undef TLV_ENTRY
    };
    static struct {
        uint8_t raw[8192];
        struct writer w;
    } b;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_true(all[i].min > 0);
        const size_t lens[] = { all[i].min - 1, all[i].min, all[i].max,
                                all[i].max + 1 };
        for (size_t j = 0; j < 4; j++) {
            size_t count;
            bool fits = lens[j] >= all[i].min && lens[j] <= all[i].max &&
                        lens[j] % all[i].unit == 0;
            writer_init(&b.w, b.raw, sizeof b.raw);
            writer_u16(&b.w, all[i].type);
            writer_u16(&b.w, (uint16_t)lens[j]);
            writer_zeros(&b.w, lens[j]);
            assert_int_equal(run((struct bytes_view){ b.raw,
                                                      writer_len(&b.w) },
                                 all[i].where, &count),
                             fits ? BELAY_OK : ERR_MALFORMED);
            assert_int_equal(count, fits ? 1 : 0);
        }
    }
}

static void every_truncation(void **state)
{
    (void)state;
    struct build b;
    size_t count;
    writer_init(&b.w, b.raw, sizeof b.raw);
    put(&b, 0x000B, 3, 3);
    put(&b, 0x8021, 8, 8);
    put(&b, 0x0030, 2, 2);
    struct bytes_view whole = built(&b);
    for (size_t len = 0; len <= whole.len; len++) {
        bool border = len == 0 || len == 7 || len == 19 || len == whole.len;
        assert_int_equal(run((struct bytes_view){ whole.ptr, len },
                             TLV_IN_OPEN, &count),
                         border ? BELAY_OK : ERR_TRUNCATED);
        assert_int_equal(count, border && len >= 19 ? 1 : 0);
    }
    /* A length that lies about what follows. */
    writer_init(&b.w, b.raw, sizeof b.raw);
    put(&b, 0x8021, 0xFFFF, 8);
    assert_int_equal(run(built(&b), TLV_IN_OPEN, &count), ERR_TRUNCATED);
}

static void values(void **state)
{
    (void)state;
    const uint8_t raw[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    struct tlv t = { TLV_MAX_CHUNK_LOG2, { raw, 1 } };
    assert_int_equal(tlv_u8(&t), 1);
    t.value.len = 2;
    assert_int_equal(tlv_u16(&t), 0x0102);
    t.value.len = 4;
    assert_int_equal(tlv_u32(&t), 0x01020304);
    t.value.len = 8;
    assert_true(tlv_u64(&t) == UINT64_C(0x0102030405060708));
}

static void skip_all(void **state)
{
    (void)state;
    struct build b;
    writer_init(&b.w, b.raw, sizeof b.raw);
    put(&b, 0x0001, 1, 1);
    assert_int_equal(tlv_skip_all(built(&b), ERR_MALFORMED), BELAY_OK);
    put(&b, 0x8002, 1, 1);
    assert_int_equal(tlv_skip_all(built(&b), ERR_MALFORMED), ERR_MALFORMED);
    assert_int_equal(tlv_skip_all(built(&b), ERR_UNSUPPORTED),
                     ERR_UNSUPPORTED);
    assert_int_equal(tlv_skip_all((struct bytes_view){ NULL, 0 },
                                  ERR_UNSUPPORTED),
                     BELAY_OK);
}

/* ---- Writing. */

static void writing_every_kind(void **state)
{
    (void)state;
    struct build b;
    struct tlv_writer t;
    const struct tlv none = { 0, { NULL, 0 } };
    writer_init(&b.w, b.raw, sizeof b.raw);
    tlv_writer_init(&t, &b.w, &none);
    tlv_put_u8(&t, 1, 0x14);
    tlv_put_u16(&t, 2, 0x0040);
    tlv_put_present(&t, 3, (struct bytes_view){ NULL, 0 });
    tlv_put_u32(&t, 0x8004, 0x01020304);
    tlv_put_u64(&t, 5, UINT64_C(0x0102030405060708));
    tlv_put_present(&t, 6, (struct bytes_view){ (const uint8_t *)"x", 1 });
    tlv_put(&t, 7, (struct bytes_view){ NULL, 0 });
    tlv_writer_end(&t);
    const uint8_t expected[] = {
        0, 1, 0, 1, 0x14, 0, 2, 0, 2, 0, 0x40, 0x80, 4, 0, 4, 1, 2, 3, 4,
        0, 5, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 6, 0, 1, 'x', 0, 7, 0, 0,
    };
    assert_int_equal(writer_len(&b.w), sizeof expected);
    assert_memory_equal(b.raw, expected, sizeof expected);
}

static void grease_finds_its_place(void **state)
{
    (void)state;
    /* The types around it: two below, two above 0x1A1A. */
    const uint16_t types[] = { 0x0001, 0x9A19, 0x9A1B, 0x7FFF };
    for (size_t used = 0; used < 16; used++) {
        struct build b;
        struct tlv_writer t;
        const struct tlv grease =
            tlv_grease(1, (struct bytes_view){ (const uint8_t *)"g", 1 });
        assert_int_equal(grease.type, 0x1A1A);
        writer_init(&b.w, b.raw, sizeof b.raw);
        tlv_writer_init(&t, &b.w, &grease);
        for (size_t i = 0; i < 4; i++) {
            if (used & (size_t)1 << i) {
                tlv_put_u8(&t, types[i], 0);
            }
        }
        tlv_writer_end(&t);
        /* Exactly once, and in order: nothing is malformed. */
        size_t seen = 0;
        uint32_t last = 0;
        struct reader r;
        reader_init(&r, b.raw, writer_len(&b.w));
        while (reader_left(&r) > 0) {
            uint16_t type = reader_u16(&r);
            uint16_t len = reader_u16(&r);
            reader_skip(&r, len);
            assert_true((type & 0x7FFFu) > last);
            last = type & 0x7FFFu;
            seen += type == 0x1A1A;
        }
        assert_int_equal(reader_end(&r), BELAY_OK);
        assert_int_equal(seen, 1);
    }
}

static void grease_types(void **state)
{
    (void)state;
    size_t found = 0;
    for (uint32_t type = 0; type <= 0xFFFF; type++) {
        uint32_t high = type >> 8;
        bool expected = high == (type & 0xFF) && (high & 0x0F) == 0x0A &&
                        high < 0x80;
        assert_int_equal(tlv_is_grease((uint16_t)type), expected);
        found += expected;
    }
    assert_int_equal(found, 8);
    for (uint32_t index = 0; index < 24; index++) {
        struct tlv g = tlv_grease(index, (struct bytes_view){ NULL, 0 });
        assert_int_equal(g.type, 0x0A0A + 0x1010 * (index % 8));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(length_limits),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(values),
        cmocka_unit_test(skip_all),
        cmocka_unit_test(writing_every_kind),
        cmocka_unit_test(grease_finds_its_place),
        cmocka_unit_test(grease_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
