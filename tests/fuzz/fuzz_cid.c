/* The text form of content ids, and the cut of a file into chunks.
 *
 * Input: size (eight bytes), chunk_log2, chunk index (eight bytes), then the
 * text. */

#include "proto/data/cid.h"
#include "tests/fuzz/fuzz.h"

static void check_cut(uint64_t size, unsigned int log2, uint64_t index)
{
    if (!cid_geometry_ok(size, log2)) {
        return;
    }
    uint8_t c = (uint8_t)log2;
    uint64_t count = cid_chunk_count(size, c);
    FUZZ_CHECK((count == 0) == (size == 0));
    if (count == 0) {
        return;
    }
    index %= count;
    uint64_t at = cid_chunk_offset(c, index);
    uint32_t len = cid_chunk_len(size, c, index);
    FUZZ_CHECK(len >= 1 && len <= 1u << c && at < size && len <= size - at);
    FUZZ_CHECK(index + 1 == count ? at + len == size : len == 1u << c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { data, size };
    uint64_t file_size = script_u64(&s);
    uint8_t log2 = script_u8(&s);
    uint64_t index = script_u64(&s);
    check_cut(file_size, log2, index);
    check_cut(file_size, 12u + log2 % 11u, index);
    FUZZ_CHECK(cid_chunk_log2_ok(cid_recommended_chunk_log2(file_size)));

    size_t len;
    char *text = (char *)script_rest(&s, &len);
    uint8_t c = 0;
    uint8_t cid[HASH_LEN];
    if (cid_parse(text, len, &c, cid) == 0) {
        char again[CID_TEXT_LEN + 1];
        FUZZ_CHECK(cid_chunk_log2_ok(c) && len == CID_TEXT_LEN);
        cid_encode(c, cid, again);
        FUZZ_CHECK(memcmp(again, text, len) == 0);
    }
    free(text);
    return 0;
}
