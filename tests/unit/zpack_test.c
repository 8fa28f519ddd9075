/* Tests of proto/data/zpack: both libraries against each other, and every way
 * in which a stored chunk can be wrong.  The vectors of
 * spec/vectors/chunk.json are run by vectors_data_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "proto/base/registry.h"
#include "proto/data/zpack.h"

#define RAW_MAX ((size_t)1 << 20)
/* Bytes behind a buffer that must stay as they are. */
#define GUARD 64

/* What the build found, and zlib. */
static struct zpack *packs[2];
static uint8_t *raw;
static uint8_t *stored;
static uint8_t *back;
static uint32_t seed;

static uint8_t next_random(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint8_t)(seed >> 20);
}

static int setup(void **state)
{
    (void)state;
    packs[0] = zpack_new();
    packs[1] = zpack_new_zlib();
    raw = malloc(RAW_MAX);
    stored = malloc(RAW_MAX + GUARD);
    back = malloc(RAW_MAX + GUARD);
    bool ok = packs[0] != NULL && packs[1] != NULL && raw != NULL &&
              stored != NULL && back != NULL;
    return ok ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    zpack_free(packs[0]);
    zpack_free(packs[1]);
    zpack_free(NULL);
    free(raw);
    free(stored);
    free(back);
    return 0;
}

/* Words in random order: shrinks, but not to nothing. */
static void fill_text(size_t len)
{
    static const char *const words[] = {"belay ", "resume ", "chunk ",
                                        "digest ", "tree ", "link\n", "0 "};
    size_t at = 0;
    while (at < len) {
        const char *word = words[next_random() % 7];
        for (size_t i = 0; word[i] != '\0' && at < len; i++) {
            raw[at++] = (uint8_t)word[i];
        }
    }
}

static void fill_random(size_t len)
{
    for (size_t i = 0; i < len; i++) {
        raw[i] = next_random();
    }
}

static void expect_inflates(const uint8_t *in, size_t in_len, size_t raw_len)
{
    for (size_t p = 0; p < 2; p++) {
        memset(back, 0xee, raw_len + GUARD);
        assert_int_equal(zpack_inflate(packs[p], in, in_len, back, raw_len),
                         0);
        assert_memory_equal(back, raw, raw_len);
        for (size_t i = 0; i < GUARD; i++) {
            assert_int_equal(back[raw_len + i], 0xee);
        }
    }
}

/* Refused by both, without a byte beyond `raw_len`. */
static void expect_refused(const uint8_t *in, size_t in_len, size_t raw_len)
{
    for (size_t p = 0; p < 2; p++) {
        memset(back + raw_len, 0xee, GUARD);
        assert_int_equal(zpack_inflate(packs[p], in, in_len, back, raw_len),
                         ERR_CODEC);
        for (size_t i = 0; i < GUARD; i++) {
            assert_int_equal(back[raw_len + i], 0xee);
        }
    }
}

static size_t pack(size_t p, int level, size_t len)
{
    struct zpack_out out = {.bytes = stored, .cap = RAW_MAX};
    assert_int_equal(zpack_deflate(packs[p], level, raw, len, &out), 0);
    assert_true(out.len < len);
    return out.len;
}

static void test_round_trips(void **state)
{
    (void)state;
    static const size_t lens[] = {200, 4095, 4096, 65537, RAW_MAX};
    seed = 1;
    for (size_t l = 0; l < sizeof lens / sizeof lens[0]; l++) {
        for (int level = ZPACK_LEVEL_MIN; level <= ZPACK_LEVEL_MAX; level++) {
            for (size_t p = 0; p < 2; p++) {
                if (lens[l] == 40) {
                    memset(raw, level, 40);
                } else {
                    fill_text(lens[l]);
                }
                size_t len = pack(p, level, lens[l]);
                expect_inflates(stored, len, lens[l]);
            }
        }
    }
}

static void test_no_gain(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 7, 8, 9, 100, 4096, 65536};
    seed = 2;
    for (size_t l = 0; l < sizeof lens / sizeof lens[0]; l++) {
        for (size_t p = 0; p < 2; p++) {
            for (int level = 1; level <= 9; level += 4) {
                struct zpack_out out = {stored, RAW_MAX, 12345};
                fill_random(lens[l]);
                /* Not a byte beyond the length of the input is touched. */
                memset(stored + lens[l], 0xee, GUARD);
                assert_int_equal(zpack_deflate(packs[p], level, raw, lens[l],
                                               &out), ERR_SPACE);
                assert_int_equal(out.len, 12345);
                for (size_t i = 0; i < GUARD; i++) {
                    assert_int_equal(stored[lens[l] + i], 0xee);
                }
            }
        }
    }
}

static void test_cap_is_exact(void **state)
{
    (void)state;
    seed = 3;
    fill_text(5000);
    for (size_t p = 0; p < 2; p++) {
        size_t len = pack(p, 6, 5000);
        /* libdeflate may want a little more room than it fills. */
        struct zpack_out out = {stored, len + 16, 0};
        assert_int_equal(zpack_deflate(packs[p], 6, raw, 5000, &out), 0);
        assert_int_equal(out.len, len);
        for (size_t cap = 0; cap < len; cap++) {
            out = (struct zpack_out){stored, cap, 7};
            memset(stored + cap, 0xee, GUARD);
            assert_int_equal(zpack_deflate(packs[p], 6, raw, 5000, &out),
                             ERR_SPACE);
            assert_int_equal(out.len, 7);
            assert_int_equal(stored[cap], 0xee);
        }
    }
}

static void test_lengths_must_fit(void **state)
{
    (void)state;
    seed = 4;
    fill_text(4096);
    for (size_t p = 0; p < 2; p++) {
        size_t len = pack(p, 6, 4096);
        expect_inflates(stored, len, 4096);
        /* Announced too short or too long. */
        expect_refused(stored, len, 4095);
        expect_refused(stored, len, 4097);
        expect_refused(stored, len, len + 1);
        expect_refused(stored, len, RAW_MAX);
        /* Not below the raw length, or beyond any chunk. */
        expect_refused(stored, len, len);
        expect_refused(stored, len, 0);
        assert_int_equal(zpack_inflate(packs[p], stored, len, back,
                                       ((size_t)4 << 20) + 1), ERR_CODEC);
        /* Bytes behind the end, or missing there. */
        memset(stored + len, 0, GUARD);
        expect_refused(stored, len + 1, 4096);
        for (size_t cut = 0; cut < len; cut++) {
            expect_refused(stored, cut, 4096);
        }
    }
}

static void test_flipped_bits(void **state)
{
    (void)state;
    seed = 5;
    fill_text(600);
    size_t len = pack(1, 6, 600);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        stored[bit / 8] ^= (uint8_t)(1u << bit % 8);
        for (size_t p = 0; p < 2; p++) {
            int err = zpack_inflate(packs[p], stored, len, back, 600);
            if (err == 0) {
                /* Only a bit that fills up the last byte before the check
                 * sum may change without an effect. */
                assert_int_equal(bit / 8, len - 5);
                assert_memory_equal(back, raw, 600);
            } else {
                assert_int_equal(err, ERR_CODEC);
            }
        }
        stored[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    expect_inflates(stored, len, 600);
}

/* Streams that zlib can write but that are no chunks. */
static size_t make_stream(int window_bits, const char *dictionary, size_t len)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, window_bits, 8,
                                  Z_DEFAULT_STRATEGY), Z_OK);
    if (dictionary != NULL) {
        assert_int_equal(deflateSetDictionary(&z, (const Bytef *)dictionary,
                                              (uInt)strlen(dictionary)),
                         Z_OK);
    }
    z.next_in = raw;
    z.avail_in = (uInt)len;
    z.next_out = stored;
    z.avail_out = (uInt)RAW_MAX;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t made = RAW_MAX - z.avail_out;
    assert_int_equal(deflateEnd(&z), Z_OK);
    return made;
}

static void test_foreign_streams(void **state)
{
    (void)state;
    seed = 6;
    fill_text(4096);
    for (int bits = 9; bits <= 15; bits++) {
        expect_inflates(stored, make_stream(bits, NULL, 4096), 4096);
    }
    expect_refused(stored, make_stream(-15, NULL, 4096), 4096);
    expect_refused(stored, make_stream(15 + 16, NULL, 4096), 4096);
    expect_refused(stored, make_stream(15, "belay resume", 4096), 4096);
    /* A window of 64 KiB with a correct header check. */
    size_t len = make_stream(15, NULL, 4096);
    stored[0] = 0x88;
    stored[1] = 0x1c;
    expect_refused(stored, len, 4096);
    memset(stored, 0, 64);
    expect_refused(stored, 64, 4096);
}

/* An empty last block behind the last byte: the end of the stream has to be
 * read although the output is already full. */
static void test_empty_last_block(void **state)
{
    (void)state;
    seed = 8;
    fill_text(4096);
    z_stream z = {0};
    assert_int_equal(deflateInit(&z, 6), Z_OK);
    z.next_in = raw;
    z.avail_in = 4096;
    z.next_out = stored;
    z.avail_out = (uInt)RAW_MAX;
    assert_int_equal(deflate(&z, Z_FULL_FLUSH), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t len = RAW_MAX - z.avail_out;
    assert_int_equal(deflateEnd(&z), Z_OK);
    expect_inflates(stored, len, 4096);
    expect_refused(stored, len, 4095);
}

static void test_bomb_is_bounded(void **state)
{
    (void)state;
    memset(raw, 0, RAW_MAX);
    size_t len = pack(1, 9, RAW_MAX);
    assert_true(len < 2000);
    expect_inflates(stored, len, RAW_MAX);
    expect_refused(stored, len, 4096);
}

static void test_errors_leave_no_trace(void **state)
{
    (void)state;
    seed = 9;
    fill_text(4096);
    size_t len = pack(0, 6, 4096);
    for (int i = 0; i < 3; i++) {
        expect_refused(stored, len - 1, 4096);
        expect_inflates(stored, len, 4096);
        expect_refused(stored, len, 4095);
        expect_inflates(stored, len, 4096);
    }
}

static void test_stored_lengths(void **state)
{
    (void)state;
    static const struct {
        uint8_t codec;
        uint64_t stored_len;
        uint64_t raw_len;
        bool ok;
    } rows[] = {
        {CODEC_RAW, 1, 1, true},       {CODEC_RAW, 0, 1, false},
        {CODEC_RAW, 4095, 4096, false}, {CODEC_RAW, 4097, 4096, false},
        {CODEC_ZLIB, 8, 9, true},      {CODEC_ZLIB, 7, 9, false},
        {CODEC_ZLIB, 8, 8, false},     {CODEC_ZLIB, 4096, 4096, false},
        {CODEC_ZLIB, 4095, 4096, true}, {CODEC_ZLIB, 0, 4096, false},
        {CODEC_ZERO, 0, 4096, true},   {CODEC_ZERO, 1, 4096, false},
        {CODEC_ZSTD_RESERVED, 10, 4096, false},
        {64, 10, 4096, false},         {255, 4096, 4096, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(zpack_stored_len_ok(rows[i].codec,
                                             rows[i].stored_len,
                                             rows[i].raw_len), rows[i].ok);
    }
}

static void test_is_zero(void **state)
{
    (void)state;
    memset(raw, 0, 4096);
    for (size_t len = 0; len <= 300; len++) {
        assert_true(zpack_is_zero(raw, len));
        for (size_t at = 0; at < len; at++) {
            raw[at] = 0x80;
            assert_false(zpack_is_zero(raw, len));
            raw[at] = 0;
        }
        raw[len] = 1;
        assert_true(zpack_is_zero(raw, len));
        raw[len] = 0;
    }
    raw[4095] = 1;
    assert_false(zpack_is_zero(raw, 4096));
    memset(raw, 1, 4096);
    assert_false(zpack_is_zero(raw, 4096));
}

static void test_probe(void **state)
{
    (void)state;
    seed = 10;
    for (size_t p = 0; p < 2; p++) {
        fill_text(65536);
        assert_true(zpack_probe(packs[p], raw, 65536));
        assert_true(zpack_probe(packs[p], raw, 1000));
        assert_false(zpack_probe(packs[p], raw, 0));
        assert_false(zpack_probe(packs[p], raw, 8));
        fill_random(65536);
        assert_false(zpack_probe(packs[p], raw, 65536));
        /* Only the first 16 KiB count. */
        memset(raw + 16384, 0, 65536 - 16384);
        assert_false(zpack_probe(packs[p], raw, 65536));
        assert_true(zpack_probe(packs[p], raw, 16384) ==
                    zpack_probe(packs[p], raw, 65536));
        /* 3 percent of zeros are too little, 10 percent are enough. */
        fill_random(16384);
        memset(raw, 0, 16384 * 3 / 100);
        assert_false(zpack_probe(packs[p], raw, 16384));
        memset(raw, 0, 16384 / 10);
        assert_true(zpack_probe(packs[p], raw, 16384));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_no_gain),
        cmocka_unit_test(test_cap_is_exact),
        cmocka_unit_test(test_lengths_must_fit),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_foreign_streams),
        cmocka_unit_test(test_empty_last_block),
        cmocka_unit_test(test_bomb_is_bounded),
        cmocka_unit_test(test_errors_leave_no_trace),
        cmocka_unit_test(test_stored_lengths),
        cmocka_unit_test(test_is_zero),
        cmocka_unit_test(test_probe),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
