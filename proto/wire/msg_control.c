#include "proto/wire/layout.h"
#include "proto/wire/msg_internal.h"

/* ---- PING, PONG */

BELAY_STATIC_ASSERT(PING_LEN == LAYOUT_PING_LEN &&
                        PING_LEN == LAYOUT_PONG_LEN,
                    "registry and layout agree");

int msg_ping_decode(const uint8_t *payload, size_t len, struct msg_ping *out)
{
    struct reader r;
    struct layout_ping v;
    reader_init(&r, payload, len);
    layout_ping_get(&r, &v);
    memcpy(out->opaque, v.opaque, sizeof out->opaque);
    return reader_end(&r);
}

int msg_ping_encode(const struct msg_ping *m, uint8_t type, struct writer *w)
{
    BELAY_ASSERT(type == FRAME_PING || type == FRAME_PONG);
    size_t start = frame_begin(w);
    writer_bytes(w, m->opaque, sizeof m->opaque);
    return frame_finish(w, start, type, 0, 0);
}

/* ---- GOAWAY */

static int goaway_take_tlvs(struct bytes_view bytes, struct msg_goaway *out)
{
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, bytes, TLV_IN_GOAWAY, ERR_MALFORMED);
    while (tlv_next(&t, &one)) {
        if (one.type == TLV_MESSAGE) {
            out->message = one.value;
        } else {
            out->has_retry_after = true;
            out->retry_after_ms = tlv_u32(&one);
        }
    }
    return tlv_reader_err(&t);
}

int msg_goaway_decode(const uint8_t *payload, size_t len,
                      struct msg_goaway *out)
{
    struct reader r;
    struct layout_goaway v;
    reader_init(&r, payload, len);
    layout_goaway_get(&r, &v);
    *out = (struct msg_goaway){
        .last_id = v.last_id,
        .code = v.code,
    };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    return goaway_take_tlvs(reader_rest(&r), out);
}

int msg_goaway_encode(const struct msg_goaway *m, struct writer *w)
{
    BELAY_ASSERT(m->message.len <= LIMIT_MESSAGE);
    struct layout_goaway v = {
        .last_id = m->last_id,
        .code = m->code,
    };
    size_t start = frame_begin(w);
    layout_goaway_put(w, &v);
    struct tlv_writer t;
    tlv_writer_init(&t, w, &m->grease);
    tlv_put_present(&t, TLV_MESSAGE, m->message);
    if (m->has_retry_after) {
        tlv_put_u32(&t, TLV_RETRY_AFTER_MS, m->retry_after_ms);
    }
    tlv_writer_end(&t);
    return frame_finish(w, start, FRAME_GOAWAY, 0, 0);
}

/* ---- CLOSE, CANCEL */

int msg_close_decode(const uint8_t *payload, size_t len,
                     struct msg_close *out)
{
    struct reader r;
    struct layout_close v;
    reader_init(&r, payload, len);
    layout_close_get(&r, &v);
    *out = (struct msg_close){ .handle = v.handle };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    return tlv_skip_all(reader_rest(&r), ERR_UNSUPPORTED);
}

int msg_close_encode(const struct msg_close *m, uint32_t request_id,
                     struct writer *w)
{
    struct layout_close v = { .handle = m->handle };
    size_t start = frame_begin(w);
    layout_close_put(w, &v);
    msg_put_grease(w, &m->grease);
    return frame_finish(w, start, FRAME_CLOSE, 0, request_id);
}

int msg_cancel_decode(const uint8_t *payload, size_t len,
                      struct msg_cancel *out)
{
    *out = (struct msg_cancel){ .grease = MSG_NO_GREASE };
    /* CANCEL has no answer of its own that could say UNSUPPORTED. */
    return tlv_skip_all((struct bytes_view){ payload, len }, ERR_MALFORMED);
}

int msg_cancel_encode(const struct msg_cancel *m, uint32_t request_id,
                      struct writer *w)
{
    size_t start = frame_begin(w);
    msg_put_grease(w, &m->grease);
    return frame_finish(w, start, FRAME_CANCEL, 0, request_id);
}

/* ---- AUTH */

/* A bearer without a token has nothing to show. */
static bool auth_token_fits(const struct msg_auth *m)
{
    return m->method != AUTH_BEARER || m->token.len > 0;
}

int msg_auth_decode(const uint8_t *payload, size_t len, struct msg_auth *out)
{
    struct reader r;
    struct layout_auth v;
    reader_init(&r, payload, len);
    layout_auth_get(&r, &v);
    *out = (struct msg_auth){ .method = v.method };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    struct tlv_reader t;
    struct tlv one;
    tlv_reader_init(&t, reader_rest(&r), TLV_IN_AUTH, ERR_UNSUPPORTED);
    while (tlv_next(&t, &one)) {
        out->token = one.value;
    }
    int err = tlv_reader_err(&t);
    if (err != BELAY_OK) {
        return err;
    }
    return auth_token_fits(out) ? BELAY_OK : ERR_BAD_REQUEST;
}

int msg_auth_encode(const struct msg_auth *m, uint32_t request_id,
                    struct writer *w)
{
    BELAY_ASSERT(auth_token_fits(m) && m->token.len <= LIMIT_TOKEN);
    struct layout_auth v = { .method = m->method };
    size_t start = frame_begin(w);
    layout_auth_put(w, &v);
    struct tlv_writer t;
    tlv_writer_init(&t, w, &m->grease);
    tlv_put_present(&t, TLV_TOKEN, m->token);
    tlv_writer_end(&t);
    return frame_finish(w, start, FRAME_AUTH, 0, request_id);
}

/* ---- NOTICE */

int msg_notice_decode(const uint8_t *payload, size_t len,
                      struct msg_notice *out)
{
    if (len > LIMIT_NOTICE) {
        return ERR_MALFORMED;
    }
    *out = (struct msg_notice){ .text = { payload, len } };
    return BELAY_OK;
}

int msg_notice_encode(const struct msg_notice *m, struct writer *w)
{
    BELAY_ASSERT(m->text.len <= LIMIT_NOTICE);
    size_t start = frame_begin(w);
    writer_bytes(w, m->text.ptr, m->text.len);
    return frame_finish(w, start, FRAME_NOTICE, 0, 0);
}
