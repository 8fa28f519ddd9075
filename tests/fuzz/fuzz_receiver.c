/* The client's half of a connection against a server that says anything.
 *
 * Input: a script of operations. The same script is played twice, the second
 * time with the server's bytes cut into pieces of three: the events and the
 * bytes sent must not differ (what a machine does must not depend on how the
 * stream was cut). */

#include "proto/session/receiver.h"
#include "tests/unit/peer_fixture.h"
#include "tests/fuzz/fuzz.h"

enum op {
    OP_FRAME,  /* type, flags, id (1), length (2), payload */
    OP_RAW,    /* length (2), bytes */
    OP_ASK,    /* what, and its arguments */
    OP_ANSWER, /* an honest answer, with one byte changed */
    OP_TIME,   /* in 100 ms */
    OP_PAUSE,
    OP_GREET,
    OP_COUNT,
};

#define OPS_MAX 300u

struct play {
    struct receiver *r;
    struct script s;
    struct writer w; /* the server's bytes of this step */
    uint64_t now;
    uint64_t trace;
    size_t cut; /* 0: as it comes */
    size_t data_left;
    bool dead;
    bool wide;
    uint32_t last_id; /* newest request */
    uint32_t handle;
};

static void trace(struct play *p, uint64_t a)
{
    p->trace = (p->trace ^ a) * UINT64_C(0x100000001B3);
}

static void take_out(struct play *p)
{
    const uint8_t *data;
    size_t len = receiver_out(p->r, &data);
    FUZZ_CHECK(len <= RECEIVER_OUT_MAX);
    for (size_t i = 0; i < len; i++) {
        trace(p, data[i]);
    }
    receiver_sent(p->r, len, p->now);
}

static void feed_some(struct play *p, const uint8_t *data, size_t len)
{
    while (len > 0 && !p->dead) {
        struct receiver_event event;
        size_t used = 0;
        size_t left = receiver_chunk_left(p->r);
        if (left > 0) {
            used = left < len ? left : len;
            receiver_chunk_data(p->r, p->now, used);
        } else {
            memset(&event, 0, sizeof event);
            int err = receiver_feed(p->r, p->now, data, len, &used, &event);
            if (err != 0) {
                trace(p, (uint64_t)-err);
                FUZZ_CHECK(receiver_error_text(p->r)[0] != '\0');
                p->dead = true;
                return;
            }
            FUZZ_CHECK(used > 0 && used <= len);
            FUZZ_CHECK(event.type != RECEIVER_NONE || used == len);
            if (event.type != RECEIVER_NONE) {
                trace(p, (uint64_t)event.type << 40 | event.request << 1 |
                             event.end);
            }
        }
        data += used;
        len -= used;
    }
}

static void feed(struct play *p, const uint8_t *data, size_t len)
{
    while (len > 0 && !p->dead) {
        size_t step = p->cut != 0 && p->cut < len ? p->cut : len;
        feed_some(p, data, step);
        data += step;
        len -= step;
    }
    take_out(p);
}

static void op_frame(struct play *p)
{
    uint8_t type = script_u8(&p->s);
    uint8_t flags = script_u8(&p->s);
    uint32_t id = script_u8(&p->s);
    size_t len = script_u16(&p->s) % 6000u;
    uint8_t *payload = script_copy(&p->s, &len);
    size_t start = frame_begin(&p->w);
    writer_bytes(&p->w, payload, len);
    if (frame_finish(&p->w, start, type, flags, id) != BELAY_OK) {
        writer_rewind(&p->w, start);
    }
    free(payload);
}

static void ask_get(struct play *p, uint32_t *id)
{
    uint8_t packed[MSG_RANGES_BYTES(2)];
    struct msg_range ranges[2];
    struct msg_get get = { .handle = 1u + script_u8(&p->s) % 3u };
    ranges[0].offset = script_u16(&p->s);
    ranges[0].length = 1u + script_u16(&p->s);
    ranges[1].offset = ranges[0].offset + ranges[0].length;
    ranges[1].length = script_u8(&p->s) & 1u ? GET_TO_END : 9;
    msg_ranges_pack(&get, ranges, p->wide ? 1 : 2, packed);
    trace(p, (uint64_t)-receiver_get(p->r, &get, p->now, id));
}

static void op_ask(struct play *p)
{
    uint8_t what = script_u8(&p->s);
    uint32_t id = 0;
    int err = 0;
    struct msg_open open = { .handle = ++p->handle,
                             .path = { (const uint8_t *)"demo", 4 } };
    struct msg_digest digest = { .handle = 1u + what / 6u % 3u };
    struct msg_list list = { .path = { (const uint8_t *)"d", 1 } };
    if (!receiver_can_request(p->r)) {
        return;
    }
    switch (what % 6) {
    case 0:
    case 1:
        err = receiver_open(p->r, &open, p->now, &id);
        break;
    case 2:
        ask_get(p, &id);
        break;
    case 3:
        err = receiver_digest(p->r, &digest, p->now, &id);
        break;
    case 4:
        err = what & 0x80u
                  ? receiver_list(p->r, &list, p->now, &id)
                  : receiver_close_handle(p->r, p->handle, p->now, &id);
        break;
    default:
        err = receiver_cancel(p->r, p->last_id);
        break;
    }
    trace(p, (uint64_t)-err);
    p->last_id = id != 0 ? id : p->last_id;
    take_out(p);
}

/* One frame of an honest server for request `id`; its data is not real, as
 * the receiver does not look at it. */
static void answer(struct play *p, struct peer *peer, uint32_t id)
{
    static uint8_t data[4096];
    static const uint8_t cid[HASH_LEN] = { 1 };
    static uint8_t digests[4][HASH_LEN] = { { 1 }, { 2 }, { 3 } };
    struct peer_file file = { .size = 10000, .chunk_log2 = 12,
                              .version = "v1", .cid = cid };
    struct msg_chunk head = { .handle = 1u + script_u8(&p->s) % 3u,
                              .codec = script_u8(&p->s) % 4u };
    uint8_t index = script_u8(&p->s) % 3u;
    head.offset = 4096u * index;
    head.raw_len = index == 2 ? 10000 - 8192 : 4096;
    head.stored_len = head.codec == CODEC_RAW ? head.raw_len
                      : head.codec == CODEC_ZLIB ? 8u + index
                                                 : 0;
    switch (script_u8(&p->s) % 6u) {
    case 0:
        peer_info(peer, id, head.handle, &file);
        break;
    case 1:
        if (msg_chunk_check(&head) == BELAY_OK) {
            peer_chunk_as(peer, id, &head, data);
        }
        break;
    case 2:
        peer_done(peer, id, index, head.raw_len, "v1", cid);
        break;
    case 3:
        peer_error(peer, id, (uint16_t)(index << 8 | head.codec));
        break;
    case 4:
        peer_digests(peer, id, index, 1u + index % 2u, 0, digests, index < 2);
        break;
    default:
        peer_goaway(peer, id, 0);
        break;
    }
}

/* With a byte changed and, if asked, the CRC right all the same. */
static void op_answer(struct play *p)
{
    static struct peer peer;
    peer.w = p->w;
    uint32_t id = p->last_id - script_u8(&p->s) % 4u;
    answer(p, &peer, id == 0 ? 1 : id);
    p->w = peer.w;
    uint16_t at = script_u16(&p->s);
    uint8_t flip = script_u8(&p->s);
    size_t len = writer_len(&p->w);
    uint8_t *bytes = p->w.buf;
    struct frame f;
    size_t need = 0;
    if (flip == 0 || len <= FRAME_HEADER_LEN) {
        return;
    }
    bytes[at % len] ^= flip;
    if (frame_scan(bytes, len, &f, &need) == ERR_CRC) {
        uint8_t head[FRAME_HEADER_LEN];
        frame_header_encode(head, &f, bytes + FRAME_HEADER_LEN);
        memcpy(bytes, head, sizeof head);
    }
}

static void step(struct play *p)
{
    static uint8_t wire[16384];
    writer_init(&p->w, wire, sizeof wire);
    switch (script_u8(&p->s) % OP_COUNT) {
    case OP_FRAME:
        op_frame(p);
        break;
    case OP_RAW: {
        size_t len = script_u16(&p->s) % 6000u;
        uint8_t *bytes = script_copy(&p->s, &len);
        writer_bytes(&p->w, bytes, len);
        free(bytes);
        break;
    }
    case OP_ASK:
        op_ask(p);
        break;
    case OP_ANSWER:
        op_answer(p);
        break;
    case OP_TIME: {
        p->now += 100u * script_u8(&p->s);
        int err = receiver_tick(p->r, p->now);
        trace(p, (uint64_t)-err);
        p->dead = err != 0;
        take_out(p);
        break;
    }
    case OP_PAUSE:
        receiver_pause(p->r, script_u8(&p->s) & 1u, p->now);
        break;
    default: {
        static struct peer peer;
        peer.w = p->w;
        peer_greeting(&peer);
        p->w = peer.w;
        break;
    }
    }
    feed(p, writer_data(&p->w), writer_len(&p->w));
}

static uint64_t play(const uint8_t *data, size_t size, size_t cut)
{
    struct play p = { .s = { data, size }, .cut = cut, .now = 1000 };
    uint8_t options = script_u8(&p.s);
    struct receiver_config config = { .max_chunk_log2 = 22,
                                      .compression = options & 1u,
                                      .agent = "fuzz",
                                      .grease_seed = options };
    const struct receiver_auth auth = { .token = (const uint8_t *)"token",
                                        .token_len = 5,
                                        .external = options & 8u,
                                        .secure = options & 16u };
    p.wide = options & 2u;
    config.auth = options & 4u ? &auth : NULL;
    p.r = p.wide ? receiver_new_wide() : receiver_new();
    FUZZ_CHECK(p.r != NULL);
    receiver_start(p.r, &config, p.now);
    for (unsigned i = 0; i < OPS_MAX && p.s.left > 0 && !p.dead; i++) {
        uint32_t handle;
        uint64_t offset;
        uint32_t len;
        step(&p);
        FUZZ_CHECK(receiver_outstanding(p.r) <= RECEIVER_WIDE_REQUESTS);
        FUZZ_CHECK(p.wide ||
                   receiver_outstanding(p.r) <= RECEIVER_REQUESTS_MAX);
        (void)receiver_head_left(p.r);
        if (!p.dead && receiver_predict(p.r, &handle, &offset, &len)) {
            FUZZ_CHECK(len > 0 && len <= 1u << LIMIT_CHUNK_LOG2_MAX);
        }
        trace(&p, receiver_deadline(p.r));
    }
    receiver_free(p.r);
    return p.trace;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t whole = play(data, size, 0);
    FUZZ_CHECK(play(data, size, 3) == whole);
    return 0;
}
