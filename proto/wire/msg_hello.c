#include "proto/wire/msg_internal.h"

static void hello_defaults(struct msg_hello *m)
{
    *m = (struct msg_hello){
        .max_chunk_log2 = LIMIT_CHUNK_LOG2_DEFAULT,
        .max_requests = LIMIT_REQUESTS_DEFAULT,
        .max_handles = LIMIT_HANDLES_DEFAULT,
        .max_ranges = LIMIT_RANGES_DEFAULT,
        .idle_timeout_s = LIMIT_IDLE_DEFAULT_S,
        .ping_interval_s = LIMIT_PING_INTERVAL_DEFAULT_S,
    };
}

static void hello_take(struct msg_hello *m, const struct tlv *t)
{
    switch (t->type) {
    case TLV_MAX_CHUNK_LOG2:
        m->has |= HELLO_HAS_MAX_CHUNK_LOG2;
        m->max_chunk_log2 = tlv_u8(t);
        break;
    case TLV_MAX_REQUESTS:
        m->has |= HELLO_HAS_MAX_REQUESTS;
        m->max_requests = tlv_u16(t);
        break;
    case TLV_MAX_HANDLES:
        m->has |= HELLO_HAS_MAX_HANDLES;
        m->max_handles = tlv_u16(t);
        break;
    case TLV_MAX_RANGES:
        m->has |= HELLO_HAS_MAX_RANGES;
        m->max_ranges = tlv_u16(t);
        break;
    case TLV_CODECS:
        m->codecs = t->value;
        break;
    case TLV_IDLE_TIMEOUT:
        m->has |= HELLO_HAS_IDLE_TIMEOUT;
        m->idle_timeout_s = tlv_u16(t);
        break;
    case TLV_PING_INTERVAL:
        m->has |= HELLO_HAS_PING_INTERVAL;
        m->ping_interval_s = tlv_u16(t);
        break;
    case TLV_AGENT:
        m->agent = t->value;
        break;
    case TLV_AUTH_METHODS:
        m->auth_methods = t->value;
        break;
    case TLV_FEATURES:
        m->features = t->value;
        break;
    default:
        BELAY_UNREACHABLE();
    }
}

/* The ranges of section 7's table. */
static bool hello_in_range(const struct msg_hello *m)
{
    return m->max_chunk_log2 >= LIMIT_CHUNK_LOG2_MIN &&
           m->max_chunk_log2 <= LIMIT_CHUNK_LOG2_MAX &&
           m->max_requests >= LIMIT_REQUESTS_MIN &&
           m->max_handles >= LIMIT_HANDLES_MIN &&
           m->max_ranges >= LIMIT_RANGES_MIN &&
           m->idle_timeout_s >= LIMIT_IDLE_MIN_S;
}

static uint32_t hello_place(uint8_t sender)
{
    BELAY_ASSERT(sender == FRAME_FROM_CLIENT || sender == FRAME_FROM_SERVER);
    return sender == FRAME_FROM_CLIENT ? TLV_IN_HELLO_CLIENT
                                       : TLV_IN_HELLO_SERVER;
}

int msg_hello_decode(const uint8_t *payload, size_t len, uint8_t sender,
                     struct msg_hello *out)
{
    struct tlv_reader t;
    struct tlv one;
    hello_defaults(out);
    tlv_reader_init(&t, (struct bytes_view){ payload, len },
                    hello_place(sender), ERR_MALFORMED);
    while (tlv_next(&t, &one)) {
        hello_take(out, &one);
        if (!hello_in_range(out)) {
            return ERR_MALFORMED;
        }
    }
    return tlv_reader_err(&t);
}

/* The limits that stand before CODECS. */
static void hello_put_limits(const struct msg_hello *m, struct tlv_writer *t)
{
    if (m->has & HELLO_HAS_MAX_CHUNK_LOG2) {
        tlv_put_u8(t, TLV_MAX_CHUNK_LOG2, m->max_chunk_log2);
    }
    if (m->has & HELLO_HAS_MAX_REQUESTS) {
        tlv_put_u16(t, TLV_MAX_REQUESTS, m->max_requests);
    }
    if (m->has & HELLO_HAS_MAX_HANDLES) {
        tlv_put_u16(t, TLV_MAX_HANDLES, m->max_handles);
    }
    if (m->has & HELLO_HAS_MAX_RANGES) {
        tlv_put_u16(t, TLV_MAX_RANGES, m->max_ranges);
    }
}

int msg_hello_encode(const struct msg_hello *m, uint8_t sender,
                     struct writer *w)
{
    const uint32_t server_only = HELLO_HAS_MAX_REQUESTS |
        HELLO_HAS_MAX_HANDLES | HELLO_HAS_MAX_RANGES |
        HELLO_HAS_PING_INTERVAL;
    if (hello_place(sender) == TLV_IN_HELLO_CLIENT) {
        BELAY_ASSERT((m->has & server_only) == 0);
        BELAY_ASSERT(m->auth_methods.len == 0);
    }

    size_t start = frame_begin(w);
    struct tlv_writer t;
    tlv_writer_init(&t, w, &m->grease);
    hello_put_limits(m, &t);
    tlv_put_present(&t, TLV_CODECS, m->codecs);
    if (m->has & HELLO_HAS_IDLE_TIMEOUT) {
        tlv_put_u16(&t, TLV_IDLE_TIMEOUT, m->idle_timeout_s);
    }
    if (m->has & HELLO_HAS_PING_INTERVAL) {
        tlv_put_u16(&t, TLV_PING_INTERVAL, m->ping_interval_s);
    }
    tlv_put_present(&t, TLV_AGENT, m->agent);
    tlv_put_present(&t, TLV_AUTH_METHODS, m->auth_methods);
    tlv_put_present(&t, TLV_FEATURES, m->features);
    tlv_writer_end(&t);
    return frame_finish(w, start, FRAME_HELLO, 0, 0);
}

static bool hello_lists(struct bytes_view ids, uint8_t id)
{
    struct reader r;
    reader_init(&r, ids.ptr, ids.len);
    while (reader_left(&r) > 0) {
        if (reader_u8(&r) == id) {
            return true;
        }
    }
    return false;
}

bool msg_hello_codec(const struct msg_hello *m, uint8_t codec)
{
    return codec == CODEC_RAW || hello_lists(m->codecs, codec);
}

bool msg_hello_auth_method(const struct msg_hello *m, uint8_t method)
{
    return hello_lists(m->auth_methods, method);
}
