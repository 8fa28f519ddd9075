#include <string.h>

#include "proto/data/cid.h"
#include "proto/session/sender_internal.h"
#include "proto/wire/preface.h"

/* What became of one attempt to write a frame. */
enum emit {
    EMIT_NONE, /* nothing to say */
    EMIT_SOME, /* a frame was written */
    EMIT_FULL, /* it does not fit behind the others */
};

static enum emit
written(struct sender *s, int err)
{
    if (err == ERR_SPACE) {
        return EMIT_FULL;
    }
    BELAY_ASSERT(err == 0);
    s->last_frame = s->now;
    s->last_sent = s->now;
    return EMIT_SOME;
}

static struct bytes_view
view(const void *ptr, size_t len)
{
    return (struct bytes_view){ .ptr = ptr, .len = len };
}

/* Sometimes a meaningless TLV, for the messages that everybody parses. */
static struct tlv
maybe_grease(struct sender *s)
{
    static const uint8_t filler[4] = { 0xde, 0xad, 0xbe, 0xef };

    if (!s->config.grease || sender_grease_pick(s, 4) != 0) {
        return (struct tlv){ .type = 0 };
    }
    /* One after the other: equal seeds give equal bytes with any compiler. */
    uint32_t type = sender_grease_pick(s, GREASE_TLV_COUNT);
    uint32_t len = sender_grease_pick(s, 4) + 1;
    return tlv_grease(type, view(filler, len));
}

/* ---- Greeting and last words. */

static void
put_preface(struct sender *s, struct writer *w)
{
    struct preface p = {
        .version = PROTO_VERSION,
        .role = ROLE_SERVER,
        .rejected = s->reject_version,
    };
    uint8_t bytes[PREFACE_LEN];

    preface_encode(&p, bytes);
    writer_bytes(w, bytes, sizeof(bytes));
}

/* Raw always; a meaningless id somewhere, which a client must pass over. */
static size_t
list_codecs(struct sender *s, uint8_t codecs[4])
{
    size_t n = 0;

    codecs[n++] = CODEC_RAW;
    if (s->config.compression) {
        codecs[n++] = CODEC_ZLIB;
    }
    codecs[n++] = CODEC_ZERO;
    if (s->config.grease) {
        size_t at = sender_grease_pick(s, (uint32_t)n + 1);
        memmove(codecs + at + 1, codecs + at, n - at);
        codecs[at] =
            (uint8_t)(GREASE_CODEC_FIRST + GREASE_CODEC_STEP *
                                         sender_grease_pick(
                                             s, GREASE_CODEC_COUNT));
        n++;
    }
    return n;
}

static int
put_hello(struct sender *s, struct writer *w)
{
    const struct sender_config *c = &s->config;
    uint8_t codecs[4];
    uint8_t methods[2];
    uint8_t feature[2];
    struct msg_hello m = {
        .has = HELLO_HAS_MAX_CHUNK_LOG2 |
               (c->max_requests != 0 ? HELLO_HAS_MAX_REQUESTS : 0) |
               (c->max_handles != 0 ? HELLO_HAS_MAX_HANDLES : 0) |
               (c->max_ranges != 0 ? HELLO_HAS_MAX_RANGES : 0) |
               (c->idle_timeout_s != 0 ? HELLO_HAS_IDLE_TIMEOUT : 0) |
               (c->ping_interval_s != 0 ? HELLO_HAS_PING_INTERVAL : 0),
        .max_chunk_log2 = c->max_chunk_log2,
        .max_requests = c->max_requests,
        .max_handles = c->max_handles,
        .max_ranges = c->max_ranges,
        .idle_timeout_s = c->idle_timeout_s,
        .ping_interval_s = c->ping_interval_s,
        .agent = view(c->agent, strlen(c->agent)),
    };
    m.codecs = view(codecs, list_codecs(s, codecs));
    m.auth_methods = view(methods, sender_auth_methods(s, methods));
    if (c->grease) {
        uint32_t id = GREASE_FEATURE_FIRST +
                      GREASE_FEATURE_STEP *
                          sender_grease_pick(s, GREASE_FEATURE_COUNT);
        feature[0] = (uint8_t)(id >> 8);
        feature[1] = (uint8_t)id;
        m.features = view(feature, sizeof(feature));
        m.grease = tlv_grease(sender_grease_pick(s, GREASE_TLV_COUNT),
                              view("grease", 6));
    }
    return msg_hello_encode(&m, FRAME_FROM_SERVER, w);
}

static enum emit
emit_grease(struct sender *s, struct writer *w)
{
    static const uint8_t filler[16] = "nothing to see";

    s->grease_frame_due = false;
    uint32_t type = sender_grease_pick(s, GREASE_FRAME_COUNT);
    uint32_t len = sender_grease_pick(s, 16);
    return written(s, frame_encode_grease(w, type, 0, view(filler, len)));
}

/* Room for preface and HELLO is there: they come first. */
static enum emit
emit_greeting(struct sender *s, struct writer *w)
{
    put_preface(s, w);
    s->greeting_sent = true;
    if (s->phase == PHASE_CLOSING) {
        return EMIT_SOME;
    }
    return written(s, put_hello(s, w));
}

static enum emit
emit_goaway(struct sender *s, struct writer *w, uint32_t last_id,
            uint16_t code)
{
    struct msg_goaway m = { .last_id = last_id, .code = code };
    return written(s, msg_goaway_encode(&m, w));
}

static enum emit
emit_last_words(struct sender *s, struct writer *w)
{
    static const uint8_t versions[2] = { 0, PROTO_VERSION };

    if (s->close_error != 0) {
        struct msg_error m = { .code = s->close_error };
        if (s->close_error == WIRE_VERSION_REJECTED) {
            m.versions = view(versions, sizeof(versions));
        }
        enum emit did = written(s, msg_error_encode(&m, 0, w));
        if (did == EMIT_SOME) {
            s->close_error = 0;
        }
        return did;
    }
    if (s->close_goaway) {
        enum emit did =
            emit_goaway(s, w, s->goaway_last_id, s->goaway_code);
        s->close_goaway = did != EMIT_SOME;
        return did;
    }
    s->phase = PHASE_FINISHED;
    return EMIT_NONE;
}

/* ---- Answers. */

static int
put_info(struct sender *s, const struct request *r, struct writer *w)
{
    const struct handle *h = r->handle;
    const struct sender_file *f = &h->info;
    bool regular = f->file_type == FILE_REGULAR;
    struct msg_info m = {
        .handle = h->id,
        .file_type = f->file_type,
        .chunk_log2 = f->chunk_log2,
        .info_flags =
            (uint16_t)((f->strong ? INFO_VERSION_STRONG : 0u) |
                       (regular && !h->cid_known ? INFO_CID_PENDING : 0u)),
        .size = f->size,
        .mtime_s = f->mtime_s,
        .mtime_ns = f->mtime_ns,
        .mode = f->mode,
        .version = view(f->version, f->version_len),
        .cid = view(h->cid, h->cid_known ? HASH_LEN : 0),
        .grease = maybe_grease(s),
    };
    return msg_info_encode(&m, r->id, w);
}

static int
put_done(struct sender *s, const struct request *r, struct writer *w)
{
    struct msg_done m = { .grease = maybe_grease(s) };

    if (r->type == FRAME_GET) {
        const struct handle *h = r->handle;
        m.chunks = r->get.chunks;
        m.raw_bytes = r->get.raw_bytes;
        m.version = view(h->info.version, h->info.version_len);
        m.cid = view(h->cid, h->cid_known ? HASH_LEN : 0);
    }
    return msg_done_encode(&m, r->id, w);
}

static int
put_error(struct sender *s, const struct request *r, struct writer *w)
{
    struct msg_error m = {
        .code = r->code,
        .has_offset = r->has_offset,
        .offset = r->offset,
        .has_retry_after = r->retry_after_ms != 0,
        .retry_after_ms = r->retry_after_ms,
        .grease = maybe_grease(s),
    };
    if (r->type == FRAME_OPEN && r->code == WIRE_CHANGED) {
        const struct handle *h = r->handle;
        m.version = view(h->info.version, h->info.version_len);
        m.cid = view(h->cid, h->cid_known ? HASH_LEN : 0);
        m.has_size = true;
        m.size = h->info.size;
    }
    return msg_error_encode(&m, r->id, w);
}

static enum emit
emit_answer(struct sender *s, struct request *r, struct writer *w)
{
    int err = 0;

    switch (r->answer) {
    case ANSWER_INFO:
        err = put_info(s, r, w);
        break;
    case ANSWER_DONE:
        err = put_done(s, r, w);
        break;
    case ANSWER_ERROR:
        err = put_error(s, r, w);
        break;
    case ANSWER_PONG:
        err = msg_ping_encode(&r->ping, FRAME_PONG, w);
        break;
    case ANSWER_NONE:
        BELAY_UNREACHABLE();
    }
    enum emit did = written(s, err);
    if (did == EMIT_SOME) {
        s->grease_frame_late = false;
        request_dequeue(r);
        request_free(s, r);
        sender_settle(s);
    }
    return did;
}

/* ---- Pages. */

/* One frame of the page of digests; with proofs the page ends where a block
 * does at the latest. */
static enum emit
emit_digests(struct sender *s, struct writer *w)
{
    struct page *page = &s->digest_page;
    struct request *r = page->owner;
    struct request_digest *d = &r->digest;
    uint64_t end = page->first + page->count;
    uint64_t next = d->next;
    struct msg_digests_builder b;

    msg_digests_begin(&b, w, d->next, d->block_log2);
    while (next < end &&
           msg_digests_add(&b, page->buf + (next - page->first) * HASH_LEN) ==
               0) {
        next++;
    }
    if (next == d->next) {
        writer_rewind(w, b.start);
        return EMIT_FULL;
    }
    struct bytes_view proof = { .len = 0 };
    if (next == end) {
        proof = view(page->buf + page->count * (size_t)HASH_LEN,
                     page->proof_len * (size_t)HASH_LEN);
    }
    struct tlv grease = maybe_grease(s);
    int err = msg_digests_finish(&b, proof, next == d->end, r->id, &grease);
    if (err == ERR_SPACE) {
        return EMIT_FULL;
    }
    d->next = next;
    if (next == d->end) {
        request_finish(s, r);
        sender_settle(s);
    } else if (next == end) {
        page->state = PAGE_FREE; /* the owner keeps it for its next page */
    }
    return written(s, err);
}

static enum emit
emit_list(struct sender *s, struct writer *w)
{
    struct page *page = &s->list_page;

    if (writer_left(w) < page->len) {
        return EMIT_FULL;
    }
    writer_bytes(w, page->buf, page->len);
    request_finish(s, page->owner);
    sender_settle(s);
    return written(s, 0);
}

/* Bytes that a GET has to read in all; as if it went to the end of the file,
 * since the number is for display only. */
static uint64_t
get_total(const struct request *r)
{
    const struct handle *h = r->handle;
    uint64_t left = r->get.all_scheduled ? 0 : h->info.size;
    uint64_t at = r->get.next << h->info.chunk_log2;

    return r->get.raw_bytes + (left > at ? left - at : 0);
}

static bool
progress_due(const struct sender *s)
{
    return s->now >= s->last_sent + TIMER_PROGRESS_MS &&
           sender_progress_request(s) != NULL;
}

static enum emit
emit_progress(struct sender *s, struct writer *w)
{
    const struct request *r = sender_progress_request(s);
    struct msg_progress m = {
        .done = r->progress_done,
        .total = r->progress_total,
    };

    if (r->type == FRAME_GET) {
        m.done = r->get.raw_bytes;
        m.total = get_total(r);
    }
    return written(s, msg_progress_encode(&m, r->id, w));
}

/* ---- Chunks. */

/* The chunk whose turn it is: the oldest that is ready, unless an older one
 * of the same GET is still being prepared (rule G3: ascending). */
static struct slot *
slot_to_send(const struct sender *s)
{
    const struct slot *best = NULL;

    for (size_t i = 0; i < SENDER_CHUNKS_AHEAD; i++) {
        const struct slot *slot = &s->slots[i];
        bool waits = slot->state != SLOT_READY;
        for (size_t k = 0; k < SENDER_CHUNKS_AHEAD && !waits; k++) {
            const struct slot *other = &s->slots[k];
            waits = other->state == SLOT_PREPARING &&
                    other->request == slot->request &&
                    other->seq < slot->seq;
        }
        if (!waits && (best == NULL || slot->seq < best->seq)) {
            best = slot;
        }
    }
    return (struct slot *)best;
}

static enum emit
emit_chunk(struct sender *s, struct slot *slot, struct writer *w,
           struct sender_out *out)
{
    struct msg_chunk m = {
        .offset = cid_chunk_offset(slot->handle->info.chunk_log2, slot->index),
        .raw_len = slot->raw_len,
        .stored_len = slot->stored_len,
        .handle = slot->handle->id,
        .codec = slot->codec,
    };
    memcpy(m.digest, slot->digest, HASH_LEN);
    enum emit did = written(s, msg_chunk_encode(&m, slot->request->id, w));
    if (did != EMIT_SOME) {
        return did;
    }
    slot->state = SLOT_SENDING;
    s->chunk_open = true;
    s->emitted += slot->stored_len;
    out->has_chunk = true;
    out->file = slot->handle->info.file;
    out->piece = slot->piece;
    out->offset = m.offset;
    out->raw_len = slot->raw_len;
    out->stored_len = slot->stored_len;
    return did;
}

void
sender_chunk_sent(struct sender *s, uint64_t now)
{
    s->now = now;
    BELAY_ASSERT(s->chunk_open);
    s->chunk_open = false;
    for (size_t i = 0; i < SENDER_CHUNKS_AHEAD; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->state == SLOT_SENDING) {
            slot_sent(s, slot);
            return;
        }
    }
    BELAY_UNREACHABLE();
}

/* ---- Order of urgency: control before chunks (L3). */

static bool
greeting_due(const struct sender *s)
{
    return !s->greeting_sent &&
           (s->phase != PHASE_PREFACE ||
            s->now >= s->born + TIMER_PREFACE_WAIT_MS);
}

static enum emit
emit_drain(struct sender *s, struct writer *w)
{
    bool first = s->drain == DRAIN_ANNOUNCE;
    enum emit did =
        emit_goaway(s, w, first ? GOAWAY_ANNOUNCE : s->drain_last_id,
                    WIRE_SHUTTING_DOWN);
    if (did == EMIT_SOME) {
        s->drain = first ? DRAIN_GAP : DRAIN_FINISH;
        s->drain_at = s->now + (first ? TIMER_GOAWAY_GAP_MS : TIMER_DRAIN_MS);
        sender_settle(s);
    }
    return did;
}

static enum emit
emit_next(struct sender *s, struct writer *w, struct sender_out *out)
{
    if (s->phase == PHASE_FINISHED) {
        return EMIT_NONE;
    }
    if (greeting_due(s)) {
        return emit_greeting(s, w);
    }
    if (s->phase == PHASE_CLOSING) {
        return emit_last_words(s, w);
    }
    if (s->grease_frame_due && s->greeting_sent && !s->grease_frame_late) {
        return emit_grease(s, w);
    }
    struct request *r = TAILQ_FIRST(&s->ready);
    if (r != NULL) {
        return emit_answer(s, r, w);
    }
    if (s->drain == DRAIN_ANNOUNCE || s->drain == DRAIN_NAME) {
        return emit_drain(s, w);
    }
    if (progress_due(s)) {
        return emit_progress(s, w);
    }
    if (s->digest_page.state == PAGE_READY) {
        return emit_digests(s, w);
    }
    if (s->list_page.state == PAGE_READY) {
        return emit_list(s, w);
    }
    struct slot *slot = slot_to_send(s);
    return slot == NULL ? EMIT_NONE : emit_chunk(s, slot, w, out);
}

void
sender_emit(struct sender *s, uint64_t now, uint8_t *buf, size_t cap,
            struct sender_out *out)
{
    struct writer w;
    bool was_blocked = sender_is_blocked(s);

    BELAY_ASSERT(cap >= SENDER_EMIT_BYTES && !s->chunk_open);
    s->now = now;
    *out = (struct sender_out){ .len = 0 };
    writer_init(&w, buf, cap);
    while (!out->has_chunk && emit_next(s, &w, out) == EMIT_SOME) {
    }
    out->len = writer_len(&w);
    s->emitted += out->len;
    if (!was_blocked && sender_is_blocked(s)) {
        s->write_moved = now;
        s->slow_since = now;
        s->slow_bytes = s->stats.bytes_out;
    }
}

void
sender_wrote(struct sender *s, uint64_t now, uint64_t len)
{
    s->now = now;
    if (len > 0) {
        s->write_moved = now;
        s->stats.bytes_out += len;
        BELAY_ASSERT(s->stats.bytes_out <= s->emitted);
    }
}
