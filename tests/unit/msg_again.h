/* Encode any decoded message again: for the tests of canonical form. */

#ifndef TESTS_UNIT_MSG_AGAIN_H
#define TESTS_UNIT_MSG_AGAIN_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/wire/msg.h"

static inline int msg_again_digests(const struct msg_digests *m, bool end,
                                    uint32_t id, struct writer *w)
{
    struct msg_digests_builder b;
    struct tlv none = { 0, { NULL, 0 } };
    msg_digests_begin(&b, w, m->first_chunk, m->block_log2);
    for (size_t i = 0; i < m->count; i++) {
        int err = msg_digests_add(&b, msg_digest_at(m->digests, i));
        if (err != BELAY_OK) {
            return err;
        }
    }
    return msg_digests_finish(&b, m->proof, end, id, &none);
}

static inline int msg_again_entries(const struct msg_entries *m, bool end,
                                    uint32_t id, struct writer *w)
{
    struct msg_entries_builder b;
    struct tlv none = { 0, { NULL, 0 } };
    struct reader at;
    struct msg_entry one;
    msg_entries_begin(&b, w);
    reader_init(&at, m->entries.ptr, m->entries.len);
    while (msg_entries_next(&at, &one)) {
        int err = msg_entries_add(&b, &one);
        if (err != BELAY_OK) {
            return err;
        }
    }
    return msg_entries_finish(&b, m->cursor, end, id, &none);
}

/* f: header of the frame that *m came in; sender: who sent it. Returns what
 * the encoder returns. */
static inline int msg_again(const struct msg *m, const struct frame *f,
                            uint8_t sender, struct writer *w)
{
    uint32_t id = f->request_id;
    switch (m->type) {
    case FRAME_HELLO:
        return msg_hello_encode(&m->hello, sender, w);
    case FRAME_PING:
    case FRAME_PONG:
        return msg_ping_encode(&m->ping, m->type, w);
    case FRAME_GOAWAY:
        return msg_goaway_encode(&m->goaway, w);
    case FRAME_OPEN:
        return msg_open_encode(&m->open, id, w);
    case FRAME_LIST:
        return msg_list_encode(&m->list, id, w);
    case FRAME_GET:
        return msg_get_encode(&m->get, id, w);
    case FRAME_DIGEST:
        return msg_digest_encode(&m->digest, id, w);
    case FRAME_CLOSE:
        return msg_close_encode(&m->close, id, w);
    case FRAME_CANCEL:
        return msg_cancel_encode(&m->cancel, id, w);
    case FRAME_AUTH:
        return msg_auth_encode(&m->auth, id, w);
    case FRAME_INFO:
        return msg_info_encode(&m->info, id, w);
    case FRAME_ENTRIES:
        return msg_again_entries(&m->entries, frame_is_end(f), id, w);
    case FRAME_CHUNK:
        return msg_chunk_encode(&m->chunk, id, w);
    case FRAME_DIGESTS:
        return msg_again_digests(&m->digests, frame_is_end(f), id, w);
    case FRAME_DONE:
        return msg_done_encode(&m->done, id, w);
    case FRAME_ERROR:
        return msg_error_encode(&m->error, id, w);
    case FRAME_PROGRESS:
        return msg_progress_encode(&m->progress, id, w);
    case FRAME_NOTICE:
        return msg_notice_encode(&m->notice, w);
    default:
        BELAY_UNREACHABLE();
    }
}

#endif
