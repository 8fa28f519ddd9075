#include "proto/data/cid.h"

#include <string.h>

#include "proto/base/check.h"
#include "proto/base/endian.h"
#include "proto/base/registry.h"

#define PREFIX_LEN (sizeof CID_TEXT_PREFIX - 1)

BELAY_STATIC_ASSERT(CID_TEXT_LEN == PREFIX_LEN + 3 + 2 * HASH_LEN,
                    "prefix, two digits, hyphen, hex");

bool cid_chunk_log2_ok(unsigned int chunk_log2)
{
    return chunk_log2 >= LIMIT_CHUNK_LOG2_MIN &&
           chunk_log2 <= LIMIT_CHUNK_LOG2_MAX;
}

bool cid_geometry_ok(uint64_t size, unsigned int chunk_log2)
{
    return cid_chunk_log2_ok(chunk_log2) && size <= INT64_MAX &&
           cid_chunk_count(size, (uint8_t)chunk_log2) <=
               UINT64_C(1) << LIMIT_BLOCK_LOG2;
}

uint8_t cid_recommended_chunk_log2(uint64_t size)
{
    uint8_t chunk_log2 = LIMIT_CHUNK_LOG2_AUTO_MIN;
    while (chunk_log2 < LIMIT_CHUNK_LOG2_MAX &&
           size > UINT64_C(1)
                      << (chunk_log2 + LIMIT_CHUNK_LOG2_AUTO_SPREAD)) {
        chunk_log2++;
    }
    return chunk_log2;
}

uint64_t cid_chunk_count(uint64_t size, uint8_t chunk_log2)
{
    BELAY_ASSERT(cid_chunk_log2_ok(chunk_log2));
    /* Rounding up by adding first would overflow near 2^64. */
    uint64_t rest = size & ((UINT64_C(1) << chunk_log2) - 1);
    return (size >> chunk_log2) + (rest > 0 ? 1 : 0);
}

uint32_t cid_chunk_len(uint64_t size, uint8_t chunk_log2, uint64_t index)
{
    BELAY_ASSERT(index < cid_chunk_count(size, chunk_log2));
    uint64_t rest = size - (index << chunk_log2);
    uint32_t full = UINT32_C(1) << chunk_log2;
    return rest < full ? (uint32_t)rest : full;
}

uint64_t cid_chunk_offset(uint8_t chunk_log2, uint64_t index)
{
    BELAY_ASSERT(cid_chunk_log2_ok(chunk_log2));
    BELAY_ASSERT(index <= UINT64_MAX >> chunk_log2);
    return index << chunk_log2;
}

int cid_from_root(struct hasher *hasher, uint64_t size, uint8_t chunk_log2,
                  const uint8_t root[HASH_LEN], uint8_t cid[HASH_LEN])
{
    BELAY_ASSERT(cid_chunk_log2_ok(chunk_log2));
    uint8_t input[3 + 8 + HASH_LEN];
    input[0] = IDENTITY_VERSION;
    input[1] = chunk_log2;
    input[2] = 0;
    endian_store_u64(input + 3, size);
    memcpy(input + 11, root, HASH_LEN);
    return hash_prefixed(hasher, TREE_CID, input, sizeof input, cid);
}

void cid_hex_encode(const uint8_t *bytes, size_t len, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * len] = '\0';
}

/* Value of a hex digit, or 16 for any other character. */
static unsigned int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return (unsigned int)(c - '0');
    }
    if (c >= 'a' && c <= 'f') {
        return (unsigned int)(c - 'a') + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return (unsigned int)(c - 'A') + 10;
    }
    return 16;
}

int cid_hex_decode(const char *text, size_t len, uint8_t *bytes)
{
    for (size_t i = 0; i < len; i++) {
        unsigned int high = hex_value(text[2 * i]);
        /* The text may end in the middle of a pair. */
        unsigned int low = high < 16 ? hex_value(text[2 * i + 1]) : 16;
        if (low > 15) {
            return ERR_SYNTAX;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

void cid_encode(uint8_t chunk_log2, const uint8_t cid[HASH_LEN],
                char text[CID_TEXT_LEN + 1])
{
    BELAY_ASSERT(cid_chunk_log2_ok(chunk_log2));
    memcpy(text, CID_TEXT_PREFIX, PREFIX_LEN);
    text[PREFIX_LEN] = (char)('0' + chunk_log2 / 10);
    text[PREFIX_LEN + 1] = (char)('0' + chunk_log2 % 10);
    text[PREFIX_LEN + 2] = '-';
    cid_hex_encode(cid, HASH_LEN, text + PREFIX_LEN + 3);
}

int cid_parse(const char *text, size_t len, uint8_t *chunk_log2,
              uint8_t cid[HASH_LEN])
{
    if (len != CID_TEXT_LEN ||
        memcmp(text, CID_TEXT_PREFIX, PREFIX_LEN) != 0 ||
        text[PREFIX_LEN + 2] != '-') {
        return ERR_SYNTAX;
    }
    unsigned int tens = hex_value(text[PREFIX_LEN]);
    unsigned int ones = hex_value(text[PREFIX_LEN + 1]);
    if (tens > 9 || ones > 9 || !cid_chunk_log2_ok(10 * tens + ones)) {
        return ERR_SYNTAX;
    }
    /* Two spellings of one id would compare as different. */
    for (size_t i = PREFIX_LEN + 3; i < len; i++) {
        if (text[i] >= 'A' && text[i] <= 'F') {
            return ERR_SYNTAX;
        }
    }
    uint8_t value[HASH_LEN];
    if (cid_hex_decode(text + PREFIX_LEN + 3, HASH_LEN, value) != 0) {
        return ERR_SYNTAX;
    }
    memcpy(cid, value, HASH_LEN);
    *chunk_log2 = (uint8_t)(10 * tens + ones);
    return 0;
}
