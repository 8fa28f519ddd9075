#include "proto/wire/layout.h"
#include "proto/wire/msg_internal.h"

static void error_take(struct msg_error *m, const struct tlv *t)
{
    switch (t->type) {
    case TLV_VERSIONS:
        m->versions = t->value;
        break;
    case TLV_VERSION:
        m->version = t->value;
        break;
    case TLV_CID:
        m->cid = t->value;
        break;
    case TLV_MESSAGE:
        m->message = t->value;
        break;
    case TLV_RETRY_AFTER_MS:
        m->has_retry_after = true;
        m->retry_after_ms = tlv_u32(t);
        break;
    case TLV_OFFSET:
        m->has_offset = true;
        m->offset = tlv_u64(t);
        break;
    case TLV_SIZE:
        m->has_size = true;
        m->size = tlv_u64(t);
        break;
    default:
        BELAY_UNREACHABLE();
    }
}

int msg_error_decode(const uint8_t *payload, size_t len,
                     struct msg_error *out)
{
    struct reader r;
    struct layout_error v;
    reader_init(&r, payload, len);
    layout_error_get(&r, &v);
    *out = (struct msg_error){ .code = v.code };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, reader_rest(&r), TLV_IN_ERROR, ERR_MALFORMED);
    while (tlv_next(&t, &one)) {
        error_take(out, &one);
    }
    return tlv_reader_err(&t);
}

int msg_error_encode(const struct msg_error *m, uint32_t request_id,
                     struct writer *w)
{
    BELAY_ASSERT(m->message.len <= LIMIT_MESSAGE);
    struct layout_error v = { .code = m->code };
    size_t start = frame_begin(w);
    layout_error_put(w, &v);
    struct tlv_writer t;
    tlv_writer_init(&t, w, &m->grease);
    tlv_put_present(&t, TLV_VERSIONS, m->versions);
    tlv_put_present(&t, TLV_VERSION, m->version);
    tlv_put_present(&t, TLV_CID, m->cid);
    tlv_put_present(&t, TLV_MESSAGE, m->message);
    if (m->has_retry_after) {
        tlv_put_u32(&t, TLV_RETRY_AFTER_MS, m->retry_after_ms);
    }
    if (m->has_offset) {
        tlv_put_u64(&t, TLV_OFFSET, m->offset);
    }
    if (m->has_size) {
        tlv_put_u64(&t, TLV_SIZE, m->size);
    }
    tlv_writer_end(&t);
    return frame_finish(w, start, FRAME_ERROR, FRAME_FLAG_END, request_id);
}
