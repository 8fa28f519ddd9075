/* Receiver: one frame of the server, from bytes to an event. */
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/session/receiver_internal.h"

/* The request that an answer belongs to; NULL makes it a protocol error. */
static struct request *answered(struct receiver *r, uint32_t id, uint8_t a,
                                uint8_t b)
{
    struct request *q = receiver_find(r, id);

    if (q == NULL || (q->type != a && q->type != b)) {
        return NULL;
    }
    return q;
}

static int no_request(struct receiver *r, const struct frame *f)
{
    return receiver_error(r, ERR_REQUEST_ID,
                          "%s for request %u, which did not ask for it",
                          frame_name(f->type), f->request_id);
}

static int bad_message(struct receiver *r, const struct frame *f, int err)
{
    return receiver_error(r, err, "bad %s from the server: %s",
                          frame_name(f->type), err_sentence(err));
}

static void set_event(struct receiver_event *event,
                      enum receiver_event_type type, const struct request *q,
                      const struct frame *f)
{
    event->type = q->failed ? RECEIVER_NONE : type;
    event->request = q->id;
    event->handle = q->handle;
    event->end = frame_is_end(f);
}

/* ---- greeting. */

static int on_hello(struct receiver *r, const struct frame *f,
                    const uint8_t *payload, struct receiver_event *event)
{
    struct msg_hello hello;
    int err = msg_hello_decode(payload, f->length, FRAME_FROM_SERVER, &hello);

    if (err != 0) {
        return bad_message(r, f, err);
    }
    if (r->phase != RECEIVER_GREETING) {
        return receiver_error(r, ERR_STATE, "a second HELLO");
    }
    r->limits.max_chunk_log2 = hello.max_chunk_log2;
    r->limits.max_requests = hello.max_requests;
    r->limits.max_handles = hello.max_handles;
    r->limits.max_ranges = hello.max_ranges;
    r->limits.auth_required =
        hello.auth_methods.len > 0 &&
        !(r->sent_token && msg_hello_auth_method(&hello, AUTH_BEARER)) &&
        !(r->sent_external && msg_hello_auth_method(&hello, AUTH_EXTERNAL));
    r->phase = RECEIVER_ACTIVE;
    memset(event, 0, sizeof *event);
    event->type = RECEIVER_HELLO;
    return 0;
}

/* ---- answers. */

static int on_info(struct receiver *r, const struct frame *f,
                   const uint8_t *payload, struct receiver_event *event)
{
    struct request *q = answered(r, f->request_id, FRAME_OPEN, FRAME_OPEN);
    int err;

    if (q == NULL) {
        return no_request(r, f);
    }
    err = msg_info_decode(payload, f->length, &event->info);
    if (err == 0 && event->info.size > INT64_MAX) {
        err = ERR_RANGE; /* rule O14; offsets below cannot overflow */
    }
    if (err != 0) {
        return bad_message(r, f, err);
    }
    if (event->info.handle != q->handle) {
        return receiver_error(r, ERR_STATE, "INFO for another handle");
    }
    set_event(event, RECEIVER_INFO, q, f);
    if (event->info.file_type == FILE_REGULAR && q->handle != 0) {
        receiver_bind(r, q->handle, &event->info);
    }
    receiver_finish(r, q);
    return 0;
}

static int on_chunk(struct receiver *r, const struct frame *f,
                    const uint8_t *payload, struct receiver_event *event)
{
    struct request *q = answered(r, f->request_id, FRAME_GET, FRAME_GET);
    struct bound_handle *h = q == NULL ? NULL : receiver_bound(r, q->handle);
    struct msg_chunk *m = &event->chunk;
    uint64_t expected;
    int err;

    if (q == NULL || h == NULL) {
        return no_request(r, f);
    }
    err = msg_chunk_decode(f, payload, m);
    if (err == 0) {
        err = msg_chunk_check(m);
    }
    if (err != 0) {
        return bad_message(r, f, err);
    }
    if (m->codec == CODEC_ZLIB && !r->compression) {
        return receiver_error(r, ERR_CODEC, "a codec that was not offered");
    }
    if (m->handle != q->handle || !receiver_expected(q, h, &expected) ||
        m->offset != expected ||
        m->raw_len != cid_chunk_len(h->size, h->chunk_log2,
                                    m->offset >> h->chunk_log2)) {
        return receiver_error(r, ERR_STATE,
                              "a chunk that was not asked for");
    }
    q->pos = m->offset + m->raw_len; /* at most the size: no overflow */
    while (q->range_at < q->range_count &&
           q->range[q->range_at].length != GET_TO_END &&
           q->range[q->range_at].offset + q->range[q->range_at].length <=
               q->pos) {
        q->range_at++;
    }
    q->chunks++;
    q->raw_bytes += m->raw_len;
    r->chunk_left = m->stored_len;
    r->predict_id = q->id;
    set_event(event, RECEIVER_CHUNK, q, f);
    event->type = RECEIVER_CHUNK; /* its data has to be read in any case */
    return 0;
}

static int on_digests(struct receiver *r, const struct frame *f,
                      const uint8_t *payload, struct receiver_event *event)
{
    struct request *q = answered(r, f->request_id, FRAME_DIGEST,
                                 FRAME_DIGEST);
    int err;

    if (q == NULL) {
        return no_request(r, f);
    }
    err = msg_digests_decode(payload, f->length, &event->digests);
    if (err != 0) {
        return bad_message(r, f, err);
    }
    set_event(event, RECEIVER_DIGESTS, q, f);
    if (event->end) {
        receiver_finish(r, q);
    }
    return 0;
}

static int on_entries(struct receiver *r, const struct frame *f,
                      const uint8_t *payload, struct receiver_event *event)
{
    struct request *q = answered(r, f->request_id, FRAME_LIST, FRAME_LIST);
    int err;

    if (q == NULL) {
        return no_request(r, f);
    }
    err = msg_entries_decode(payload, f->length, &event->entries);
    if (err != 0) {
        return bad_message(r, f, err);
    }
    set_event(event, RECEIVER_ENTRIES, q, f);
    if (event->end) {
        receiver_finish(r, q);
    }
    return 0;
}

/* DONE of a GET means that every chunk came (C2, G3): a server that leaves
 * some out would be asked for them for ever. */
static bool get_is_whole(struct receiver *r, const struct request *q,
                         const struct msg_done *done)
{
    const struct bound_handle *h = receiver_bound(r, q->handle);
    uint64_t next;

    if (q->cancelled || q->failed) {
        return true;
    }
    return h != NULL && !receiver_expected(q, h, &next) &&
           done->chunks == q->chunks && done->raw_bytes == q->raw_bytes;
}

static int on_done(struct receiver *r, const struct frame *f,
                   const uint8_t *payload, struct receiver_event *event)
{
    struct request *q = receiver_find(r, f->request_id);
    int err;

    if (q == NULL || q->type == FRAME_OPEN || q->type == FRAME_LIST) {
        return no_request(r, f);
    }
    err = msg_done_decode(payload, f->length, &event->done);
    if (err != 0) {
        return bad_message(r, f, err);
    }
    if (q->type == FRAME_GET && !get_is_whole(r, q, &event->done)) {
        return receiver_error(r, ERR_STATE,
                              "DONE before every chunk was sent");
    }
    set_event(event, RECEIVER_DONE, q, f);
    if (q->type == FRAME_AUTH) {
        event->type = RECEIVER_NONE; /* nobody but us has asked */
    }
    receiver_finish(r, q);
    return 0;
}

/* A5: a server that does not take the method may need none.  One that takes
 * it and refuses us will do so again. */
static int auth_failed(struct receiver *r, struct request *q,
                       const struct msg_error *error)
{
    bool token = q->auth_method == AUTH_BEARER;

    receiver_finish(r, q);
    if (error->code == WIRE_UNSUPPORTED || (!token && r->sent_token)) {
        return 0;
    }
    if (err_wire_class(error->code) == WIRE_CLASS_ACCESS) {
        return receiver_error(r, ERR_AUTH, "the server refused the %s",
                              token ? "token" : "certificate");
    }
    return receiver_error(r, ERR_REMOTE, "the server could not check the %s",
                          token ? "token" : "certificate");
}

static int on_error(struct receiver *r, const struct frame *f,
                    const uint8_t *payload, struct receiver_event *event)
{
    struct request *q = receiver_find(r, f->request_id);
    int err;

    if (q == NULL && f->request_id != 0) {
        return no_request(r, f);
    }
    err = msg_error_decode(payload, f->length, &event->error);
    if (err != 0) {
        return bad_message(r, f, err);
    }
    if (q == NULL) {
        event->type = RECEIVER_ERROR;
        event->request = 0;
        event->handle = 0;
        event->end = true;
        return 0;
    }
    if (q->type == FRAME_AUTH) {
        return auth_failed(r, q, &event->error);
    }
    set_event(event, RECEIVER_ERROR, q, f);
    receiver_finish(r, q);
    return 0;
}

static int on_progress(struct receiver *r, const struct frame *f,
                       const uint8_t *payload, struct receiver_event *event)
{
    struct request *q = receiver_find(r, f->request_id);

    if (q == NULL) {
        return 0; /* advisory: late ones are of no interest */
    }
    if (msg_progress_decode(payload, f->length, &event->progress) != 0) {
        return bad_message(r, f, ERR_MALFORMED);
    }
    set_event(event, RECEIVER_PROGRESS, q, f);
    return 0;
}

/* ---- the connection. */

static int on_ping(struct receiver *r, const struct frame *f,
                   const uint8_t *payload)
{
    struct msg_ping ping;
    struct writer w;
    int err = msg_ping_decode(payload, f->length, &ping);

    if (err != 0) {
        return bad_message(r, f, err);
    }
    receiver_writer(r, &w);
    if (msg_ping_encode(&ping, FRAME_PONG, &w) != 0) {
        return receiver_error(r, ERR_LIMIT, "too many pings");
    }
    receiver_queued(r, &w);
    return 0;
}

static int on_goaway(struct receiver *r, const struct frame *f,
                     const uint8_t *payload, struct receiver_event *event)
{
    int err = msg_goaway_decode(payload, f->length, &event->goaway);

    if (err != 0) {
        return bad_message(r, f, err);
    }
    r->draining = true;
    event->type = RECEIVER_GOAWAY;
    event->request = 0;
    event->handle = 0;
    event->end = false;
    return 0;
}

static int on_notice(struct receiver *r, const struct frame *f,
                     const uint8_t *payload, struct receiver_event *event)
{
    int err = msg_notice_decode(payload, f->length, &event->notice);

    if (err != 0) {
        return bad_message(r, f, err);
    }
    event->type = RECEIVER_NOTICE;
    return 0;
}

/* An answer of a type that we do not know and must not ignore: the request
 * cannot succeed here (F5). */
static int on_unknown(struct receiver *r, const struct frame *f,
                      struct receiver_event *event)
{
    struct request *q = receiver_find(r, f->request_id);

    if (q == NULL) {
        return receiver_error(r, ERR_REQUEST_ID,
                              "an unknown answer to nothing");
    }
    if (!q->failed) {
        memset(&event->error, 0, sizeof event->error);
        event->error.code = WIRE_UNSUPPORTED;
        set_event(event, RECEIVER_ERROR, q, f);
        q->failed = true;
    }
    if (frame_is_end(f)) {
        receiver_finish(r, q);
        return 0;
    }
    return receiver_cancel(r, f->request_id) == 0
               ? 0
               : receiver_error(r, ERR_LIMIT, "no room to cancel a request");
}

/* Frames that answer nothing are free of charge for an honest peer only: it
 * sends few, but a PROGRESS now and then for hours (S18). */
static int count_idle(struct receiver *r, bool idle)
{
    if (!idle || r->heard - r->idle_since > TIMER_IDLE_FRAMES_MS) {
        r->idle_frames = 0;
        r->idle_since = r->heard;
    }
    r->idle_frames += idle;
    if (r->idle_frames > LIMIT_IDLE_FRAMES) {
        return receiver_error(r, ERR_LIMIT,
                              "the server sends frames without content");
    }
    return 0;
}

static int dispatch(struct receiver *r, const struct frame *f,
                    const uint8_t *payload, struct receiver_event *event)
{
    switch (f->type) {
    case FRAME_HELLO:
        return on_hello(r, f, payload, event);
    case FRAME_INFO:
        return on_info(r, f, payload, event);
    case FRAME_CHUNK:
        return on_chunk(r, f, payload, event);
    case FRAME_DIGESTS:
        return on_digests(r, f, payload, event);
    case FRAME_ENTRIES:
        return on_entries(r, f, payload, event);
    case FRAME_DONE:
        return on_done(r, f, payload, event);
    case FRAME_ERROR:
        return on_error(r, f, payload, event);
    case FRAME_PROGRESS:
        return on_progress(r, f, payload, event);
    case FRAME_PING:
        return on_ping(r, f, payload);
    case FRAME_GOAWAY:
        return on_goaway(r, f, payload, event);
    case FRAME_NOTICE:
        return on_notice(r, f, payload, event);
    case FRAME_PONG:
        r->pong_due = false;
        return 0; /* any byte counts as life */
    default:
        return receiver_error(r, ERR_DIRECTION, "an unexpected frame");
    }
}

/* Rule H1a: what may come before HELLO. */
static bool may_begin(const struct frame *f, enum frame_verdict verdict)
{
    return verdict == FRAME_ACCEPT &&
           (f->type == FRAME_HELLO || f->type == FRAME_GOAWAY ||
            (f->type == FRAME_ERROR && f->request_id == 0));
}

/* Does the frame answer nothing that somebody still waits for? */
static bool is_idle(struct receiver *r, const struct frame *f)
{
    const struct request *q = receiver_find(r, f->request_id);

    switch (f->type) {
    case FRAME_HELLO:
    case FRAME_ERROR:
    case FRAME_INFO:
    case FRAME_DONE:
    case FRAME_CHUNK:
        return false;
    case FRAME_DIGESTS:
    case FRAME_ENTRIES:
        return q == NULL || q->failed;
    default:
        return true;
    }
}

int receiver_frame(struct receiver *r, const struct frame *f,
                   const uint8_t *payload, struct receiver_event *event)
{
    enum frame_verdict verdict = FRAME_SKIP;
    int err = frame_classify(f, FRAME_FROM_SERVER, &verdict);
    bool unknown = err == ERR_UNSUPPORTED && r->phase == RECEIVER_ACTIVE;

    if (err != 0 && !unknown) {
        return receiver_error(r, err, "%s", err_sentence(err));
    }
    if (r->phase == RECEIVER_GREETING && !may_begin(f, verdict)) {
        return receiver_error(r, ERR_STATE,
                              "the server does not begin with HELLO");
    }
    err = count_idle(r, is_idle(r, f));
    if (err == 0 && unknown) {
        return on_unknown(r, f, event);
    }
    if (err != 0 || verdict == FRAME_SKIP) {
        return err;
    }
    return dispatch(r, f, payload, event);
}
