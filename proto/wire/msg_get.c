#include "proto/wire/layout.h"
#include "proto/wire/msg_internal.h"

/* ---- GET */

struct msg_range msg_get_range(const struct msg_get *m, size_t index)
{
    BELAY_ASSERT(index < m->count);
    struct reader r;
    struct layout_range v;
    reader_init(&r, m->ranges.ptr, m->ranges.len);
    reader_skip(&r, index * LAYOUT_RANGE_LEN);
    layout_range_get(&r, &v);
    return (struct msg_range){ v.offset, v.length };
}

/* Rule G1 without the bound of count. */
static bool get_ranges_fit(const struct msg_get *m)
{
    uint64_t end = 0;
    for (size_t i = 0; i < m->count; i++) {
        struct msg_range range = msg_get_range(m, i);
        if (range.length == 0 || range.offset < end) {
            return false;
        }
        if (range.length == GET_TO_END) {
            return i + 1 == m->count;
        }
        if (range.offset > UINT64_MAX - range.length) {
            return false;
        }
        end = range.offset + range.length;
    }
    return m->count > 0;
}

int msg_get_decode(const uint8_t *payload, size_t len, uint16_t max_ranges,
                   struct msg_get *out)
{
    const uint8_t known = GET_NO_COMPRESSION | GET_CLOSE_AFTER;
    struct reader r;
    struct layout_get v;
    reader_init(&r, payload, len);
    layout_get_get(&r, &v);
    *out = (struct msg_get){
        .handle = v.handle,
        .urgency = v.urgency,
        .flags = v.flags & known,
        .count = v.count,
        .ranges = reader_view(&r, MSG_RANGES_BYTES(v.count)),
    };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    if (out->urgency > LIMIT_URGENCY || out->count > max_ranges ||
        !get_ranges_fit(out)) {
        return ERR_BAD_REQUEST;
    }
    return tlv_skip_all(reader_rest(&r), ERR_UNSUPPORTED);
}

void msg_ranges_pack(struct msg_get *m, const struct msg_range *ranges,
                     uint16_t count, uint8_t *buf)
{
    struct writer w;
    writer_init(&w, buf, MSG_RANGES_BYTES(count));
    for (size_t i = 0; i < count; i++) {
        struct layout_range v = { ranges[i].offset, ranges[i].length };
        layout_range_put(&w, &v);
    }
    BELAY_ASSERT(writer_ok(&w));
    m->count = count;
    m->ranges = (struct bytes_view){ buf, writer_len(&w) };
}

int msg_get_encode(const struct msg_get *m, uint32_t request_id,
                   struct writer *w)
{
    BELAY_ASSERT(m->urgency <= LIMIT_URGENCY);
    BELAY_ASSERT(m->ranges.len == MSG_RANGES_BYTES(m->count));
    BELAY_ASSERT(get_ranges_fit(m));
    struct layout_get v = {
        .handle = m->handle,
        .urgency = m->urgency,
        .flags = m->flags,
        .count = m->count,
    };
    size_t start = frame_begin(w);
    layout_get_put(w, &v);
    writer_bytes(w, m->ranges.ptr, m->ranges.len);
    msg_put_grease(w, &m->grease);
    return frame_finish(w, start, FRAME_GET, 0, request_id);
}

/* ---- CHUNK */

BELAY_STATIC_ASSERT(sizeof((struct msg_chunk *)0)->digest ==
                        sizeof((struct layout_chunk *)0)->digest,
                    "registry and layout agree");

int msg_chunk_decode(const struct frame *f, const uint8_t *payload,
                     struct msg_chunk *out)
{
    struct reader r;
    struct layout_chunk v;
    reader_init(&r, payload, f->covered);
    layout_chunk_get(&r, &v);
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    if (v.stored_len != f->length - LAYOUT_CHUNK_LEN) {
        return ERR_MALFORMED;
    }
    *out = (struct msg_chunk){
        .offset = v.offset,
        .raw_len = v.raw_len,
        .stored_len = v.stored_len,
        .handle = v.handle,
        .codec = v.codec,
    };
    memcpy(out->digest, v.digest, sizeof out->digest);
    return BELAY_OK;
}

int msg_chunk_check(const struct msg_chunk *m)
{
    bool fits = false;
    if (m->raw_len > 1u << LIMIT_CHUNK_LOG2_MAX) {
        return ERR_CODEC;
    }
    switch (m->codec) {
    case CODEC_RAW:
        fits = m->stored_len == m->raw_len;
        break;
    case CODEC_ZLIB:
        fits = m->stored_len >= LIMIT_ZLIB_STORED_MIN &&
               m->stored_len < m->raw_len;
        break;
    case CODEC_ZERO:
        fits = m->stored_len == 0;
        break;
    default:
        break;
    }
    return fits ? BELAY_OK : ERR_CODEC;
}

int msg_chunk_encode(const struct msg_chunk *m, uint32_t request_id,
                     struct writer *w)
{
    BELAY_ASSERT(msg_chunk_check(m) == BELAY_OK);
    struct layout_chunk v = {
        .offset = m->offset,
        .raw_len = m->raw_len,
        .stored_len = m->stored_len,
        .handle = m->handle,
        .codec = m->codec,
    };
    memcpy(v.digest, m->digest, sizeof v.digest);

    size_t start = frame_begin(w);
    layout_chunk_put(w, &v);
    if (!writer_ok(w)) {
        int err = writer_err(w);
        writer_rewind(w, start);
        return err;
    }
    struct frame f = {
        .length = LAYOUT_CHUNK_LEN + m->stored_len,
        .covered = LAYOUT_CHUNK_LEN,
        .request_id = request_id,
        .type = FRAME_CHUNK,
    };
    uint8_t head[FRAME_HEADER_LEN];
    frame_header_encode(head, &f, writer_data(w) + start + sizeof head);
    writer_fill(w, start, head, sizeof head);
    return BELAY_OK;
}

/* ---- DONE */

static int done_take_tlvs(struct bytes_view bytes, struct msg_done *out)
{
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, bytes, TLV_IN_DONE, ERR_MALFORMED);
    while (tlv_next(&t, &one)) {
        if (one.type == TLV_VERSION) {
            out->version = one.value;
        } else if (one.type == TLV_CID) {
            out->cid = one.value;
        } else {
            out->whole_sha256 = one.value;
        }
    }
    return tlv_reader_err(&t);
}

int msg_done_decode(const uint8_t *payload, size_t len, struct msg_done *out)
{
    struct reader r;
    struct layout_done v;
    reader_init(&r, payload, len);
    layout_done_get(&r, &v);
    *out = (struct msg_done){
        .chunks = v.chunks,
        .raw_bytes = v.raw_bytes,
    };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    return done_take_tlvs(reader_rest(&r), out);
}

int msg_done_encode(const struct msg_done *m, uint32_t request_id,
                    struct writer *w)
{
    struct layout_done v = {
        .chunks = m->chunks,
        .raw_bytes = m->raw_bytes,
    };
    size_t start = frame_begin(w);
    layout_done_put(w, &v);
    struct tlv_writer t;
    tlv_writer_init(&t, w, &m->grease);
    tlv_put_present(&t, TLV_VERSION, m->version);
    tlv_put_present(&t, TLV_CID, m->cid);
    tlv_put_present(&t, TLV_WHOLE_SHA256, m->whole_sha256);
    tlv_writer_end(&t);
    return frame_finish(w, start, FRAME_DONE, FRAME_FLAG_END, request_id);
}
