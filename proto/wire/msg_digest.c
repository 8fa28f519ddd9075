#include "proto/wire/layout.h"
#include "proto/wire/msg_internal.h"

/* ---- DIGEST */

int msg_digest_decode(const uint8_t *payload, size_t len,
                      struct msg_digest *out)
{
    const uint8_t known = DIGEST_WITH_PROOF | DIGEST_NO_WAIT;
    struct reader r;
    struct layout_digest v;
    reader_init(&r, payload, len);
    layout_digest_get(&r, &v);
    *out = (struct msg_digest){
        .handle = v.handle,
        .block_log2 = v.block_log2,
        .flags = v.flags & known,
        .first_block = v.first_block,
        .block_count = v.block_count,
    };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    if (out->block_log2 > LIMIT_BLOCK_LOG2) {
        return ERR_BAD_REQUEST;
    }
    return tlv_skip_all(reader_rest(&r), ERR_UNSUPPORTED);
}

int msg_digest_encode(const struct msg_digest *m, uint32_t request_id,
                      struct writer *w)
{
    BELAY_ASSERT(m->block_log2 <= LIMIT_BLOCK_LOG2);
    struct layout_digest v = {
        .handle = m->handle,
        .block_log2 = m->block_log2,
        .flags = m->flags,
        .first_block = m->first_block,
        .block_count = m->block_count,
    };
    size_t start = frame_begin(w);
    layout_digest_put(w, &v);
    msg_put_grease(w, &m->grease);
    return frame_finish(w, start, FRAME_DIGEST, 0, request_id);
}

/* ---- DIGESTS */

int msg_digests_decode(const uint8_t *payload, size_t len,
                       struct msg_digests *out)
{
    struct reader r;
    struct layout_digests v;
    reader_init(&r, payload, len);
    layout_digests_get(&r, &v);
    /* The bound of count comes first: its product must not overflow. */
    if (reader_ok(&r) &&
        (v.count < 1 || v.count > LIMIT_DIGESTS_PER_FRAME ||
         v.block_log2 > LIMIT_BLOCK_LOG2)) {
        return ERR_MALFORMED;
    }
    *out = (struct msg_digests){
        .first_chunk = v.first_chunk,
        .count = v.count,
        .proof_len = v.proof_len,
        .block_log2 = v.block_log2,
        .digests = reader_view(&r, v.count * (size_t)DIGEST_LEN),
        .proof = reader_view(&r, v.proof_len * (size_t)DIGEST_LEN),
    };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    return tlv_skip_all(reader_rest(&r), ERR_MALFORMED);
}

const uint8_t *msg_digest_at(struct bytes_view digests, size_t index)
{
    struct reader r;
    reader_init(&r, digests.ptr, digests.len);
    reader_skip(&r, index * DIGEST_LEN);
    const uint8_t *digest = reader_bytes(&r, DIGEST_LEN);
    BELAY_ASSERT(digest != NULL);
    return digest;
}

/* Digests that a frame can hold beside a path of any length and grease. */
#define DIGESTS_ROOM \
    ((LIMIT_CONTROL_PAYLOAD - LAYOUT_DIGESTS_LEN - LAYOUT_TLV_LEN - \
      TLV_GREASE_MAX) / DIGEST_LEN - LIMIT_PROOF)

BELAY_STATIC_ASSERT(DIGESTS_ROOM <= LIMIT_DIGESTS_PER_FRAME,
                    "the room in the frame is the tighter bound");

void msg_digests_begin(struct msg_digests_builder *b, struct writer *w,
                       uint64_t first_chunk, uint8_t block_log2)
{
    BELAY_ASSERT(block_log2 <= LIMIT_BLOCK_LOG2);
    *b = (struct msg_digests_builder){
        .w = w,
        .start = frame_begin(w),
        .first_chunk = first_chunk,
        .block_log2 = block_log2,
    };
    writer_zeros(w, LAYOUT_DIGESTS_LEN);
}

int msg_digests_add(struct msg_digests_builder *b,
                    const uint8_t digest[DIGEST_LEN])
{
    if (b->count >= DIGESTS_ROOM) {
        return ERR_LIMIT;
    }
    if (writer_left(b->w) < DIGEST_LEN) {
        return ERR_SPACE;
    }
    writer_bytes(b->w, digest, DIGEST_LEN);
    b->count++;
    return BELAY_OK;
}

int msg_digests_finish(struct msg_digests_builder *b, struct bytes_view proof,
                       bool end, uint32_t request_id,
                       const struct tlv *grease)
{
    BELAY_ASSERT(b->count > 0);
    BELAY_ASSERT(proof.len % DIGEST_LEN == 0);
    BELAY_ASSERT(proof.len / DIGEST_LEN <= LIMIT_PROOF);
    struct layout_digests v = {
        .first_chunk = b->first_chunk,
        .count = b->count,
        .proof_len = (uint8_t)(proof.len / DIGEST_LEN),
        .block_log2 = b->block_log2,
    };
    uint8_t fixed[LAYOUT_DIGESTS_LEN];
    struct writer head;
    writer_init(&head, fixed, sizeof fixed);
    layout_digests_put(&head, &v);
    writer_fill(b->w, b->start + FRAME_HEADER_LEN, fixed, sizeof fixed);

    writer_bytes(b->w, proof.ptr, proof.len);
    msg_put_grease(b->w, grease);
    return frame_finish(b->w, b->start, FRAME_DIGESTS,
                        end ? FRAME_FLAG_END : 0, request_id);
}

/* ---- PROGRESS */

int msg_progress_decode(const uint8_t *payload, size_t len,
                        struct msg_progress *out)
{
    struct reader r;
    struct layout_progress v;
    reader_init(&r, payload, len);
    layout_progress_get(&r, &v);
    *out = (struct msg_progress){
        .done = v.done,
        .total = v.total,
    };
    if (!reader_ok(&r)) {
        return reader_err(&r);
    }
    return tlv_skip_all(reader_rest(&r), ERR_MALFORMED);
}

int msg_progress_encode(const struct msg_progress *m, uint32_t request_id,
                        struct writer *w)
{
    struct layout_progress v = {
        .done = m->done,
        .total = m->total,
    };
    size_t start = frame_begin(w);
    layout_progress_put(w, &v);
    msg_put_grease(w, &m->grease);
    return frame_finish(w, start, FRAME_PROGRESS, 0, request_id);
}
