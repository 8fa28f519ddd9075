/* TLVs of every message, read, and what was understood written again.
 *
 * Input: a byte that picks the message and the error for an unknown critical
 * one, then the TLVs. */

#include "proto/wire/tlv.h"
#include "tests/fuzz/fuzz.h"

#define WHERE_COUNT 12u

/* Without its critical bit a type says where in the order it stands. */
#define ORDER(type) ((type) & 0x7fffu)

static size_t read_all(const uint8_t *data, size_t len, uint32_t where,
                       int unknown, struct writer *out, int *err)
{
    struct tlv_reader r;
    struct tlv_writer w;
    struct tlv tlv;
    struct tlv none = { 0, { NULL, 0 } };
    size_t count = 0;
    int32_t last = -1;
    tlv_reader_init(&r, (struct bytes_view){ data, len }, where, unknown);
    tlv_writer_init(&w, out, &none);
    while (tlv_next(&r, &tlv)) {
        FUZZ_CHECK(tlv.value.len > 0 && tlv.value.len <= len);
        FUZZ_CHECK(tlv.value.ptr >= data &&
                   tlv.value.ptr + tlv.value.len <= data + len);
        FUZZ_CHECK((int32_t)ORDER(tlv.type) > last);
        FUZZ_CHECK(!tlv_is_grease(tlv.type));
        last = (int32_t)ORDER(tlv.type);
        tlv_put(&w, tlv.type, tlv.value);
        count++;
    }
    tlv_writer_end(&w);
    *err = tlv_reader_err(&r);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t first[FUZZ_INPUT_MAX];
    static uint8_t second[FUZZ_INPUT_MAX];
    struct script s = { data, size };
    uint8_t pick = script_u8(&s);
    uint32_t where = pick % WHERE_COUNT == WHERE_COUNT - 1
                         ? 0
                         : 1u << (pick % WHERE_COUNT);
    int unknown = pick & 0x80u ? ERR_UNSUPPORTED : ERR_MALFORMED;
    size_t len = s.left < FUZZ_INPUT_MAX ? s.left : FUZZ_INPUT_MAX;
    uint8_t *bytes = script_copy(&s, &len);
    struct writer a;
    struct writer b;
    int err;
    writer_init(&a, first, sizeof first);
    size_t count = read_all(bytes, len, where, unknown, &a, &err);
    FUZZ_CHECK(err == BELAY_OK || err == ERR_MALFORMED ||
               err == ERR_TRUNCATED || err == unknown);
    FUZZ_CHECK(writer_ok(&a) && writer_len(&a) <= len);
    int skip = tlv_skip_all((struct bytes_view){ bytes, len }, unknown);
    FUZZ_CHECK(where != 0 || skip == err);
    /* What was understood says the same when it stands alone. */
    int again;
    writer_init(&b, second, sizeof second);
    FUZZ_CHECK(read_all(first, writer_len(&a), where, unknown, &b, &again) ==
               count);
    FUZZ_CHECK(again == BELAY_OK);
    FUZZ_CHECK(writer_len(&a) == writer_len(&b) &&
               memcmp(first, second, writer_len(&a)) == 0);
    free(bytes);
    return 0;
}
