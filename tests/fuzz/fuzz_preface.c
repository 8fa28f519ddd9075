/* The preface: any 16 bytes, from either side. */

#include "proto/wire/crc.h"
#include "proto/wire/preface.h"
#include "tests/fuzz/fuzz.h"

/* Input: a byte of options (1: peer is a server, 2: put the CRC right), then
 * the preface. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { data, size };
    uint8_t options = script_u8(&s);
    size_t len;
    uint8_t *bytes = script_rest(&s, &len);
    bool possible = true;
    for (size_t i = 0; i <= len; i++) {
        bool now = preface_possible(bytes, i);
        FUZZ_CHECK(possible || !now);
        possible = now;
    }
    if (len >= PREFACE_LEN) {
        struct preface p;
        uint8_t role = options & 1u ? ROLE_SERVER : ROLE_CLIENT;
        if (options & 2u) {
            uint32_t crc = crc_update(CRC_START, bytes, 12);
            for (unsigned i = 0; i < 4; i++) {
                bytes[12 + i] = (uint8_t)(crc >> (24 - 8 * i));
            }
        }
        int err = preface_decode(bytes, role, &p);
        FUZZ_CHECK(err != BELAY_OK || possible);
        if (err == BELAY_OK) {
            uint8_t again[PREFACE_LEN];
            struct preface twice;
            preface_encode(&p, again);
            FUZZ_CHECK(preface_decode(again, role, &twice) == BELAY_OK);
            FUZZ_CHECK(twice.version == p.version && twice.role == p.role &&
                       twice.rejected == p.rejected);
        }
    }
    free(bytes);
    return 0;
}
