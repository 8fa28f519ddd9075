#include <string.h>

#include "proto/base/limits.h"
#include "proto/data/cid.h"
#include "proto/data/relpath.h"
#include "proto/session/sender_internal.h"

/* An error that only the request feels; any other ends the connection. */
static bool
is_request_error(int err)
{
    uint8_t class = err_wire_class(err_wire(err));
    return class == WIRE_CLASS_PERMANENT || class == WIRE_CLASS_TRANSIENT;
}

static void
fail_with(struct sender *s, int err)
{
    uint16_t code = err_wire(err);
    sender_fail(s, code != 0 ? code : WIRE_PROTOCOL_ERROR, err_name(err));
}

/* Answers a request that is not taken. Being beyond MAX_REQUESTS goes before
 * any other reason. */
static void
refuse(struct sender *s, const struct frame *f, uint16_t code)
{
    struct request *r = request_new(s, f, 0);
    if (r == NULL) {
        sender_fail(s, WIRE_BUSY, "memory");
        return;
    }
    r->counted = s->requests < s->max_requests;
    if (r->counted) {
        s->requests++;
    } else {
        s->refusals++;
        code = WIRE_TOO_MANY_REQUESTS;
    }
    request_error(s, r, code);
}

/* A request that is taken, with room for tail_len bytes; NULL when it was
 * refused. */
static struct request *
take(struct sender *s, const struct frame *f, size_t tail_len)
{
    if (s->requests >= s->max_requests) {
        refuse(s, f, WIRE_TOO_MANY_REQUESTS);
        return NULL;
    }
    struct request *r = request_new(s, f, tail_len);
    if (r == NULL) {
        refuse(s, f, WIRE_BUSY);
        return NULL;
    }
    r->counted = true;
    s->requests++;
    return r;
}

/* Joins the queue of its handle. */
static void
join(struct sender *s, struct request *r, struct handle *h)
{
    request_bind(r, h);
    TAILQ_INSERT_TAIL(&h->lane, r, lane);
    r->in_lane = true;
    handle_advance(s, h);
}

static bool
path_ok(struct bytes_view path)
{
    const char *text = (const char *)path.ptr;
    if (relpath_check(text, path.len) != 0) {
        return false;
    }
    unsigned depth = 1;
    for (size_t i = 0; i < path.len; i++) {
        depth += text[i] == '/';
    }
    return depth <= LIMIT_PATH_DEPTH;
}

static void
copy_path(struct request *r, struct bytes_view path)
{
    if (path.len > 0) {
        memcpy(r->tail, path.ptr, path.len);
    }
    r->tail[path.len] = '\0';
}

/* What OPEN itself tells about its fate, as a wire code; 0 to go on. */
static uint16_t
judge_open(const struct sender *s, const struct msg_open *m)
{
    uint8_t max = s->config.max_chunk_log2 < s->peer_chunk_log2
                      ? s->config.max_chunk_log2
                      : s->peer_chunk_log2;

    if (m->want_chunk_log2 > max) {
        return WIRE_UNSUPPORTED;
    }
    if (!path_ok(m->path)) {
        return WIRE_BAD_PATH;
    }
    if (m->handle == 0) {
        return 0;
    }
    if (handle_find(s, m->handle) != NULL) {
        return WIRE_BAD_HANDLE;
    }
    return s->handles >= s->max_handles ? WIRE_TOO_MANY_HANDLES : 0;
}

static int
admit_open(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    struct msg_open m;
    int err = msg_open_decode(payload, f->length, &m);
    if (err != 0) {
        return err;
    }
    uint16_t code = judge_open(s, &m);
    if (code != 0) {
        refuse(s, f, code);
        return 0;
    }
    struct request *r = take(s, f, m.path.len + 1);
    if (r == NULL) {
        return 0;
    }
    struct handle *h = handle_new(s, m.handle);
    if (h == NULL) {
        request_error(s, r, WIRE_BUSY);
        return 0;
    }
    request_bind(r, h);
    r->open.flags = m.flags;
    r->open.want_chunk_log2 = m.want_chunk_log2;
    r->open.expect_version_len = (uint8_t)m.expect_version.len;
    if (m.expect_version.len > 0) {
        memcpy(r->open.expect_version, m.expect_version.ptr,
               m.expect_version.len);
    }
    r->open.has_expect_cid = m.expect_cid.len == HASH_LEN;
    if (r->open.has_expect_cid) {
        memcpy(r->open.expect_cid, m.expect_cid.ptr, HASH_LEN);
    }
    copy_path(r, m.path);
    return 0;
}

/* A request for a handle that takes requests; NULL: the answer is out. */
static struct request *
take_for(struct sender *s, const struct frame *f, uint32_t handle,
         size_t tail, struct handle **h)
{
    *h = handle_find(s, handle);
    if (*h == NULL || (*h)->sealed) {
        refuse(s, f, WIRE_BAD_HANDLE);
        return NULL;
    }
    return take(s, f, tail);
}

static int
admit_get(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    struct msg_get m;
    int err = msg_get_decode(payload, f->length, s->max_ranges, &m);
    if (err != 0) {
        return err;
    }
    struct handle *h;
    struct request *r = take_for(s, f, m.handle,
                                 m.count * sizeof(struct msg_range), &h);
    if (r == NULL) {
        return 0;
    }
    r->get.urgency = m.urgency;
    r->get.flags = m.flags;
    r->get.range_count = m.count;
    for (size_t i = 0; i < m.count; i++) {
        struct msg_range range = msg_get_range(&m, i);
        memcpy(r->tail + i * sizeof(range), &range, sizeof(range));
    }
    if ((m.flags & GET_CLOSE_AFTER) != 0) {
        h->sealed = true;
    }
    join(s, r, h);
    return 0;
}

static int
admit_digest(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    struct msg_digest m;
    int err = msg_digest_decode(payload, f->length, &m);
    if (err != 0) {
        return err;
    }
    struct handle *h;
    struct request *r = take_for(s, f, m.handle, 0, &h);
    if (r == NULL) {
        return 0;
    }
    r->digest.block_log2 = m.block_log2;
    r->digest.flags = m.flags;
    r->digest.first_block = m.first_block;
    r->digest.block_count = m.block_count;
    join(s, r, h);
    return 0;
}

static int
admit_close(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    struct msg_close m;
    int err = msg_close_decode(payload, f->length, &m);
    if (err != 0) {
        return err;
    }
    struct handle *h;
    struct request *r = take_for(s, f, m.handle, 0, &h);
    if (r == NULL) {
        return 0;
    }
    h->sealed = true;
    join(s, r, h);
    return 0;
}

static int
admit_list(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    struct msg_list m;
    int err = msg_list_decode(payload, f->length, &m);
    if (err != 0) {
        return err;
    }
    if (!path_ok(m.path) || (m.has_max_entries && m.max_entries == 0)) {
        refuse(s, f, path_ok(m.path) ? WIRE_BAD_REQUEST : WIRE_BAD_PATH);
        return 0;
    }
    struct request *r = take(s, f, m.path.len + 1);
    if (r == NULL) {
        return 0;
    }
    r->list.flags = m.flags;
    r->list.max_entries = m.has_max_entries ? m.max_entries : UINT32_MAX;
    r->list.cursor_len = (uint8_t)m.cursor.len;
    if (m.cursor.len > 0) {
        memcpy(r->list.cursor, m.cursor.ptr, m.cursor.len);
    }
    copy_path(r, m.path);
    r->active = true;
    request_enqueue(r, &s->lists);
    return 0;
}

/* Judged at once, before what follows it (A2). */
static int
admit_auth(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    struct msg_auth m;
    int err = msg_auth_decode(payload, f->length, &m);
    if (err != 0) {
        return err;
    }
    if (s->requests >= s->max_requests) {
        refuse(s, f, WIRE_TOO_MANY_REQUESTS);
        return 0;
    }
    uint16_t code = sender_judge_auth(s, &m);
    if (code != 0) {
        refuse(s, f, code);
        sender_auth_limit(s);
        return 0;
    }
    struct request *r = take(s, f, 0);
    if (r != NULL) {
        request_answer(s, r, ANSWER_DONE);
    }
    return 0;
}

/* Rule F6, and what a client may ask after it said that it is done. False:
 * the frame goes no further. */
static bool
check_id(struct sender *s, const struct frame *f)
{
    if (f->request_id <= s->last_id) {
        sender_fail(s, WIRE_PROTOCOL_ERROR, "request-id");
        return false;
    }
    if (s->peer_done) {
        sender_fail(s, WIRE_BAD_STATE, "request-after-goaway");
        return false;
    }
    if (s->drain >= DRAIN_NAME && f->request_id > s->drain_last_id) {
        return false;
    }
    s->last_id = f->request_id;
    s->stats.requests++;
    if (++s->recent_requests == LIMIT_CANCEL_WINDOW) {
        s->recent_requests = 0;
        s->recent_cancels = 0;
    }
    uint64_t most = s->config.requests_total_max != 0
                        ? s->config.requests_total_max
                        : MAX_CONNECTION_REQUESTS;
    if (s->stats.requests == most) {
        sender_goaway(s, s->now);
    }
    return true;
}

void
sender_admit(struct sender *s, const struct frame *f, const uint8_t *payload)
{
    int err = 0;

    if (!check_id(s, f)) {
        return;
    }
    if (f->type != FRAME_AUTH && sender_needs_auth(s)) {
        refuse(s, f, WIRE_AUTH_REQUIRED);
        return;
    }
    switch (f->type) {
    case FRAME_OPEN:
        err = admit_open(s, f, payload);
        break;
    case FRAME_GET:
        err = admit_get(s, f, payload);
        break;
    case FRAME_DIGEST:
        err = admit_digest(s, f, payload);
        break;
    case FRAME_CLOSE:
        err = admit_close(s, f, payload);
        break;
    case FRAME_LIST:
        err = admit_list(s, f, payload);
        break;
    case FRAME_AUTH:
        err = admit_auth(s, f, payload);
        break;
    default:
        BELAY_UNREACHABLE();
    }
    if (err != 0 && is_request_error(err)) {
        refuse(s, f, err_wire(err));
    } else if (err != 0) {
        fail_with(s, err);
    }
}

void
sender_admit_unknown(struct sender *s, const struct frame *f)
{
    if (check_id(s, f)) {
        refuse(s, f, sender_needs_auth(s) ? WIRE_AUTH_REQUIRED
                                          : WIRE_UNSUPPORTED);
    }
}

void
sender_admit_ping(struct sender *s, const struct msg_ping *ping)
{
    uint64_t gained = (s->now - s->ping_refill) / s->ping_half_ms;
    s->ping_refill += gained * s->ping_half_ms;
    s->ping_tokens = gained > SENDER_PING_BURST - s->ping_tokens
                         ? SENDER_PING_BURST
                         : s->ping_tokens + (unsigned)gained;
    if (s->ping_tokens == 0 || s->pongs >= SENDER_PONGS_MAX) {
        sender_fail(s, WIRE_TOO_MANY_PINGS, "pings");
        return;
    }
    s->ping_tokens--;
    struct frame f = { .type = FRAME_PING };
    struct request *r = request_new(s, &f, 0);
    if (r == NULL) {
        sender_fail(s, WIRE_BUSY, "memory");
        return;
    }
    s->pongs++;
    r->ping = *ping;
    /* The ready list keeps its order, and refusals of earlier frames are in
     * it: the answer is the fence that rule C1 asks for. */
    request_answer(s, r, ANSWER_PONG);
}

static struct request *
find_request(const struct sender *s, uint32_t id)
{
    struct request *r;

    TAILQ_FOREACH(r, &s->all, all) {
        if (r->id == id && r->type != FRAME_PING) {
            return r;
        }
    }
    return NULL;
}

void
sender_cancel(struct sender *s, uint32_t id)
{
    struct request *r = find_request(s, id);

    /* A CLOSE took effect when it came, so it ends with DONE. */
    if (r == NULL || r->answer != ANSWER_NONE || r->type == FRAME_CLOSE) {
        return;
    }
    s->stats.cancelled++;
    s->recent_cancels++;
    if (s->recent_cancels > LIMIT_CANCEL_WINDOW / 2) {
        sender_fail(s, WIRE_TOO_MANY_REQUESTS, "cancel-flood");
        return;
    }
    struct handle *h = r->handle;
    request_error(s, r, WIRE_CANCELLED);
    if (h == NULL) {
        return;
    }
    if (r->type == FRAME_OPEN) {
        handle_kill(s, h, WIRE_BAD_HANDLE);
    } else {
        handle_advance(s, h);
    }
}
