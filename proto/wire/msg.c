#include "proto/wire/msg.h"

#include "proto/base/err.h"

size_t msg_u16_count(struct bytes_view list)
{
    return list.len / 2;
}

uint16_t msg_u16_at(struct bytes_view list, size_t index)
{
    BELAY_ASSERT(index < msg_u16_count(list));
    struct reader r;
    reader_init(&r, list.ptr, list.len);
    reader_skip(&r, index * 2);
    return reader_u16(&r);
}

static int msg_decode_request(const struct frame *f, const uint8_t *payload,
                              uint16_t max_ranges, struct msg *out)
{
    switch (f->type) {
    case FRAME_OPEN:
        return msg_open_decode(payload, f->length, &out->open);
    case FRAME_LIST:
        return msg_list_decode(payload, f->length, &out->list);
    case FRAME_GET:
        return msg_get_decode(payload, f->length, max_ranges, &out->get);
    case FRAME_DIGEST:
        return msg_digest_decode(payload, f->length, &out->digest);
    case FRAME_CLOSE:
        return msg_close_decode(payload, f->length, &out->close);
    case FRAME_CANCEL:
        return msg_cancel_decode(payload, f->length, &out->cancel);
    case FRAME_AUTH:
        return msg_auth_decode(payload, f->length, &out->auth);
    default:
        BELAY_UNREACHABLE();
    }
}

static int msg_decode_answer(const struct frame *f, const uint8_t *payload,
                             struct msg *out)
{
    switch (f->type) {
    case FRAME_INFO:
        return msg_info_decode(payload, f->length, &out->info);
    case FRAME_ENTRIES:
        return msg_entries_decode(payload, f->length, &out->entries);
    case FRAME_CHUNK:
        return msg_chunk_decode(f, payload, &out->chunk);
    case FRAME_DIGESTS:
        return msg_digests_decode(payload, f->length, &out->digests);
    case FRAME_DONE:
        return msg_done_decode(payload, f->length, &out->done);
    case FRAME_ERROR:
        return msg_error_decode(payload, f->length, &out->error);
    case FRAME_PROGRESS:
        return msg_progress_decode(payload, f->length, &out->progress);
    case FRAME_NOTICE:
        return msg_notice_decode(payload, f->length, &out->notice);
    default:
        BELAY_UNREACHABLE();
    }
}

int msg_decode(const struct frame *f, const uint8_t *payload, uint8_t sender,
               uint16_t max_ranges, struct msg *out)
{
    out->type = f->type;
    switch (f->type) {
    case FRAME_HELLO:
        return msg_hello_decode(payload, f->length, sender, &out->hello);
    case FRAME_PING:
    case FRAME_PONG:
        return msg_ping_decode(payload, f->length, &out->ping);
    case FRAME_GOAWAY:
        return msg_goaway_decode(payload, f->length, &out->goaway);
    default:
        break;
    }
    if (f->type < FRAME_INFO) {
        return msg_decode_request(f, payload, max_ranges, out);
    }
    return msg_decode_answer(f, payload, out);
}
