/* Frames: a stream of any bytes, taken apart as a session does.
 *
 * Input: a byte of options, then the stream. With OPTION_CRC the checksums
 * are put right first, since no mutation would find them. */

#include "proto/wire/crc.h"
#include "proto/wire/frame.h"
#include "tests/fuzz/fuzz.h"

#define OPTION_SERVER 0x01u
#define OPTION_CRC 0x02u

/* Make the CRC of the frame at the front right, if it is all there. */
static void put_crc(uint8_t *data, size_t len)
{
    struct frame f;
    size_t need = 0;
    if (frame_scan(data, len, &f, &need) == ERR_CRC) {
        uint32_t crc = crc_update(CRC_START, data, LAYOUT_HEADER_CRC_OFF);
        crc = crc_update(crc, data + FRAME_HEADER_LEN, f.covered);
        for (unsigned i = 0; i < 4; i++) {
            data[LAYOUT_HEADER_CRC_OFF + i] = (uint8_t)(crc >> (24 - 8 * i));
        }
    }
}

/* Growing input leads to the same verdict, and asks for no byte too many. */
static void scan_growing(const uint8_t *data, size_t len, int whole)
{
    size_t avail = 0;
    size_t need = 0;
    int err = ERR_AGAIN;
    struct frame f;
    while (err == ERR_AGAIN && avail <= len) {
        err = frame_scan(data, avail, &f, &need);
        if (err == ERR_AGAIN) {
            FUZZ_CHECK(need > avail);
            avail = need;
        }
    }
    FUZZ_CHECK(err == whole);
}

/* The header is a function of what was read, but for reserved bytes. */
static void encode_again(const uint8_t *data, const struct frame *f)
{
    uint8_t head[FRAME_HEADER_LEN];
    bool reserved = data[LAYOUT_HEADER_FLAGS_OFF + 1] != 0 ||
                    data[LAYOUT_HEADER_FLAGS_OFF + 2] != 0;
    if (!reserved) {
        frame_header_encode(head, f, data + FRAME_HEADER_LEN);
        FUZZ_CHECK(memcmp(head, data, sizeof head) == 0);
    }
}

/* What was read whole, built again, is the same; one byte of room less, and
 * nothing is left behind. */
static void build_again(const uint8_t *data, const struct frame *f)
{
    size_t len = FRAME_HEADER_LEN + f->length;
    uint8_t *again = malloc(len);
    struct writer w;
    size_t start;
    FUZZ_CHECK(again != NULL);
    for (size_t room = len; room + 1 >= len; room--) {
        writer_init(&w, again, room);
        start = frame_begin(&w);
        writer_bytes(&w, data + FRAME_HEADER_LEN, f->length);
        int err = frame_finish(&w, start, f->type, f->flags, f->request_id);
        FUZZ_CHECK(err == (room == len ? BELAY_OK : ERR_SPACE));
        FUZZ_CHECK(writer_ok(&w) && writer_len(&w) == (err == 0 ? len : 0));
        if (err == 0 && data[LAYOUT_HEADER_FLAGS_OFF + 1] == 0 &&
            data[LAYOUT_HEADER_FLAGS_OFF + 2] == 0) {
            FUZZ_CHECK(memcmp(again, data, len) == 0);
        }
    }
    free(again);
}

/* Grease is skipped, whoever sends it. */
static void grease(uint8_t index, const uint8_t *payload, size_t len)
{
    uint8_t bytes[FRAME_HEADER_LEN + LIMIT_GREASE];
    struct bytes_view view = { payload,
                               len < LIMIT_GREASE ? len : LIMIT_GREASE };
    enum frame_verdict verdict = FRAME_ACCEPT;
    struct writer w;
    struct frame f;
    size_t need = 0;
    writer_init(&w, bytes, sizeof bytes);
    FUZZ_CHECK(frame_encode_grease(&w, index, index, view) == BELAY_OK);
    FUZZ_CHECK(frame_scan(bytes, writer_len(&w), &f, &need) == BELAY_OK);
    for (unsigned sender = 0; sender < 2; sender++) {
        FUZZ_CHECK(frame_classify(&f, sender != 0 ? FRAME_FROM_SERVER
                                                  : FRAME_FROM_CLIENT,
                                  &verdict) == BELAY_OK);
        FUZZ_CHECK(verdict == FRAME_SKIP);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { data, size };
    uint8_t options = script_u8(&s);
    uint8_t sender =
        options & OPTION_SERVER ? FRAME_FROM_SERVER : FRAME_FROM_CLIENT;
    size_t len;
    uint8_t *stream = script_rest(&s, &len);
    size_t at = 0;
    for (;;) {
        struct frame f;
        size_t need = 0;
        enum frame_verdict verdict = FRAME_SKIP;
        if (options & OPTION_CRC) {
            put_crc(stream + at, len - at);
        }
        int err = frame_scan(stream + at, len - at, &f, &need);
        scan_growing(stream + at, len - at, err);
        if (err != BELAY_OK) {
            break;
        }
        FUZZ_CHECK(need == FRAME_HEADER_LEN + f.covered);
        FUZZ_CHECK(f.covered <= f.length && need <= len - at);
        encode_again(stream + at, &f);
        err = frame_classify(&f, sender, &verdict);
        FUZZ_CHECK(err != BELAY_OK || verdict == FRAME_SKIP ||
                   frame_name(f.type) != NULL);
        if ((err != BELAY_OK && err != ERR_UNSUPPORTED) ||
            len - at - FRAME_HEADER_LEN < f.length) {
            break;
        }
        if (f.type != FRAME_CHUNK) {
            build_again(stream + at, &f);
        }
        at += FRAME_HEADER_LEN + f.length;
    }
    grease(options, stream, len);
    free(stream);
    return 0;
}
