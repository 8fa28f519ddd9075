/* Every message: decode, encode, decode, encode; the two encodings agree.
 *
 * Input: a byte of options (1: from the server), the MAX_RANGES announced
 * (two bytes), type, flags, request id (four bytes), then the payload. */

#include "proto/data/text.h"
#include "proto/wire/msg.h"
#include "tests/unit/msg_again.h"
#include "tests/fuzz/fuzz.h"

struct one {
    uint8_t sender;
    uint16_t max_ranges;
    struct frame frame;
};

/* What decoding leaves to others to check; encoding asserts it. */
static bool may_encode(const struct msg *m)
{
    switch (m->type) {
    case FRAME_CHUNK:
        return msg_chunk_check(&m->chunk) == BELAY_OK;
    case FRAME_OPEN:
        return m->open.path.len <= LIMIT_PATH;
    case FRAME_LIST:
        return m->list.path.len <= LIMIT_PATH;
    default:
        return true;
    }
}

/* Look at everything that a user of the message would look at. */
static void look(const struct msg *m)
{
    char text[TEXT_ESCAPE_SIZE(LIMIT_MESSAGE)];
    uint64_t end = 0;
    switch (m->type) {
    case FRAME_GET:
        for (size_t i = 0; i < m->get.count; i++) {
            struct msg_range r = msg_get_range(&m->get, i);
            FUZZ_CHECK(r.offset >= end && r.length > 0);
            FUZZ_CHECK(r.length != GET_TO_END || i + 1u == m->get.count);
            end = r.offset + r.length;
        }
        break;
    case FRAME_DIGESTS:
        FUZZ_CHECK(m->digests.count >= 1);
        (void)msg_digest_at(m->digests.digests, m->digests.count - 1)[31];
        break;
    case FRAME_ERROR:
        text_escape(text, sizeof text, m->error.message.ptr,
                    m->error.message.len);
        for (size_t i = 0; i < msg_u16_count(m->error.versions); i++) {
            (void)msg_u16_at(m->error.versions, i);
        }
        (void)err_wire_sentence(m->error.code);
        (void)err_wire_class(m->error.code);
        break;
    case FRAME_HELLO:
        for (unsigned i = 0; i < 256; i++) {
            (void)msg_hello_codec(&m->hello, (uint8_t)i);
            (void)msg_hello_auth_method(&m->hello, (uint8_t)i);
        }
        FUZZ_CHECK(msg_hello_codec(&m->hello, CODEC_RAW));
        break;
    default:
        break;
    }
}

/* Decode the payload and encode it to out; false when it is refused. */
static bool round_trip(const struct one *o, const struct frame *f,
                       const uint8_t *payload, struct writer *out)
{
    struct msg m;
    if (msg_decode(f, payload, o->sender, o->max_ranges, &m) != BELAY_OK) {
        return false;
    }
    look(&m);
    if (!may_encode(&m)) {
        return false;
    }
    /* A frame that was accepted is never too long to be written. */
    FUZZ_CHECK(msg_again(&m, f, o->sender, out) == BELAY_OK);
    return true;
}

static void try_payload(const struct one *o, const uint8_t *payload)
{
    static uint8_t first[FRAME_HEADER_LEN + LIMIT_CONTROL_PAYLOAD];
    static uint8_t second[FRAME_HEADER_LEN + LIMIT_CONTROL_PAYLOAD];
    struct writer a;
    struct writer b;
    writer_init(&a, first, sizeof first);
    writer_init(&b, second, sizeof second);
    if (!round_trip(o, &o->frame, payload, &a)) {
        return;
    }
    struct frame f;
    size_t need = 0;
    FUZZ_CHECK(frame_scan(first, writer_len(&a), &f, &need) == BELAY_OK);
    FUZZ_CHECK(f.type == o->frame.type);
    FUZZ_CHECK(f.request_id == o->frame.request_id);
    FUZZ_CHECK(f.length <= o->frame.length);
    /* Outside of answers END means nothing. */
    FUZZ_CHECK(f.type < 0x40 || f.type >= 0x80 ||
               frame_is_end(&f) == frame_is_end(&o->frame));
    FUZZ_CHECK(round_trip(o, &f, first + FRAME_HEADER_LEN, &b));
    FUZZ_CHECK(writer_len(&a) == writer_len(&b));
    FUZZ_CHECK(memcmp(first, second, writer_len(&a)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = { data, size };
    struct one o = { .frame = { .length = 0 } };
    enum frame_verdict verdict;
    size_t len;
    o.sender = script_u8(&s) & 1u ? FRAME_FROM_SERVER : FRAME_FROM_CLIENT;
    o.max_ranges = script_u16(&s);
    if (o.max_ranges < LIMIT_RANGES_MIN) {
        o.max_ranges = LIMIT_RANGES_MIN;
    }
    o.frame.type = script_u8(&s);
    o.frame.flags = script_u8(&s);
    o.frame.request_id = script_u32(&s);
    uint8_t *payload = script_rest(&s, &len);
    if (len > LIMIT_CONTROL_PAYLOAD) {
        len = LIMIT_CONTROL_PAYLOAD;
    }
    o.frame.length = o.frame.covered = (uint32_t)len;
    if (o.frame.type == FRAME_CHUNK && len > LAYOUT_CHUNK_LEN) {
        o.frame.covered = LAYOUT_CHUNK_LEN;
    }
    if (frame_classify(&o.frame, o.sender, &verdict) == BELAY_OK &&
        verdict == FRAME_ACCEPT) {
        try_payload(&o, payload);
    }
    free(payload);
    return 0;
}
