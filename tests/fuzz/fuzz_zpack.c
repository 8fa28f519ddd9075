/* The inflate step: a chunk of a hostile server.
 *
 * Input: a byte of the kind and three of the raw length; the rest is a stored
 * chunk (kind even) or what is deflated first and then spoiled by the next
 * two bytes (kind odd). What zlib takes, both take, with the same bytes. */

#include "proto/base/registry.h"
#include "proto/data/zpack.h"
#include "tests/fuzz/fuzz.h"

#define RAW_MAX (256u * 1024u)

static struct zpack *fast;
static struct zpack *reference;

static void inflate_both(const uint8_t *in, size_t in_len, size_t raw_len)
{
    uint8_t *a = malloc(raw_len + 1);
    uint8_t *b = malloc(raw_len + 1);
    FUZZ_CHECK(a != NULL && b != NULL);
    a[raw_len] = b[raw_len] = 0xee;
    int one = zpack_inflate(fast, in, in_len, a, raw_len);
    int two = zpack_inflate(reference, in, in_len, b, raw_len);
    FUZZ_CHECK(one == 0 || one == ERR_CODEC);
    /* Some releases of libdeflate take streams with surplus code lengths,
     * which zlib refuses. That is safe: the digest judges the bytes. */
    FUZZ_CHECK(two != 0 || one == 0);
    FUZZ_CHECK(two != 0 || memcmp(a, b, raw_len) == 0);
    FUZZ_CHECK(a[raw_len] == 0xee && b[raw_len] == 0xee);
    FUZZ_CHECK(one != 0 || zpack_stored_len_ok(CODEC_ZLIB, in_len, raw_len));
    free(a);
    free(b);
}

static void deflate_first(struct script *s)
{
    uint16_t at = script_u16(s);
    uint8_t flip = script_u8(s);
    int level = 1 + script_u8(s) % 9;
    size_t len;
    uint8_t *raw = script_rest(s, &len);
    uint8_t *packed = malloc(len + 1);
    FUZZ_CHECK(packed != NULL);
    struct zpack_out out = { .bytes = packed, .cap = len };
    (void)zpack_probe(fast, raw, len);
    bool zero = zpack_is_zero(raw, len);
    if (zpack_deflate(fast, level, raw, len, &out) == 0) {
        uint8_t *back = malloc(len + 1);
        FUZZ_CHECK(back != NULL && out.len < len);
        FUZZ_CHECK(zpack_inflate(fast, packed, out.len, back, len) == 0);
        FUZZ_CHECK(memcmp(raw, back, len) == 0);
        FUZZ_CHECK(zpack_is_zero(back, len) == zero);
        free(back);
        packed[at % out.len] ^= flip;
        inflate_both(packed, out.len, len);
    }
    free(packed);
    free(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { data, size };
    if (fast == NULL) {
        fast = zpack_new();
        reference = zpack_new_zlib();
        FUZZ_CHECK(fast != NULL && reference != NULL);
    }
    uint8_t kind = script_u8(&s);
    size_t raw_len = script_u8(&s);
    raw_len = (raw_len << 16 | script_u16(&s)) % (RAW_MAX + 1);
    if (kind % 2 == 1) {
        deflate_first(&s);
        return 0;
    }
    size_t len;
    uint8_t *in = script_rest(&s, &len);
    for (unsigned codec = 0; codec < 256; codec++) {
        bool ok = zpack_stored_len_ok((uint8_t)codec, len, raw_len);
        FUZZ_CHECK(!ok || codec <= CODEC_ZERO);
        FUZZ_CHECK(!ok || len <= raw_len);
    }
    inflate_both(in, len, raw_len);
    free(in);
    return 0;
}
