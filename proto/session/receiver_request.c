/* Receiver: requests, from the call to the queued frame. */
#include <string.h>

#include "proto/base/err.h"
#include "proto/data/cid.h"
#include "proto/session/receiver_internal.h"

struct request *receiver_find(struct receiver *r, uint32_t id)
{
    struct request *q = &r->request[id & (r->request_cap - 1)];

    return id != 0 && q->id == id ? q : NULL;
}

struct bound_handle *receiver_bound(struct receiver *r, uint32_t handle)
{
    struct bound_handle *h = &r->handle[handle & (r->handle_cap - 1)];

    return handle != 0 && h->handle == handle ? h : NULL;
}

void receiver_bind(struct receiver *r, uint32_t handle,
                   const struct msg_info *info)
{
    struct bound_handle *h = &r->handle[handle & (r->handle_cap - 1)];

    if (h->handle <= handle) {
        h->handle = handle;
        h->size = info->size;
        h->chunk_log2 = info->chunk_log2;
    }
}

void receiver_finish(struct receiver *r, struct request *q)
{
    BELAY_ASSERT(q->id != 0 && r->outstanding > 0);
    q->id = 0;
    r->outstanding--;
}

bool receiver_can_request(const struct receiver *r)
{
    return r->phase != RECEIVER_DEAD && !r->draining &&
           r->outstanding < r->request_cap &&
           r->outstanding < r->limits.max_requests &&
           r->next_id < REQUEST_ID_NEVER - r->request_cap &&
           r->out_len - r->out_at < RECEIVER_OUT_MAX / 2;
}

unsigned receiver_outstanding(const struct receiver *r)
{
    return r->outstanding;
}

const struct receiver_limits *receiver_limits(const struct receiver *r)
{
    return &r->limits;
}

const char *receiver_auth_text(const struct receiver *r)
{
    return r->kept_token ? "the server asks for credentials, and a token is "
                           "never sent over plain TCP; use belay://"
                         : "the server asks for credentials: a token, or a "
                           "certificate";
}

bool receiver_ready(const struct receiver *r)
{
    return r->phase == RECEIVER_ACTIVE && !r->draining;
}

/* The place of the next request; NULL when no more may be sent now.  Ids whose
 * place is still taken by a slow answer are left out: they only have to
 * ascend (F6). */
static struct request *reserve(struct receiver *r, uint8_t type,
                               uint32_t handle)
{
    struct request *q;

    if (!receiver_can_request(r)) {
        return NULL;
    }
    while ((q = &r->request[r->next_id & (r->request_cap - 1)])->id != 0) {
        r->next_id++; /* ends: fewer than request_cap are outstanding */
    }
    q->type = type;
    q->handle = handle;
    q->failed = false;
    q->cancelled = false;
    q->range_count = 0;
    q->range_at = 0;
    q->pos = 0;
    q->chunks = 0;
    q->raw_bytes = 0;
    return q;
}

/* The frame was encoded with id next_id: it counts from now on. */
static int commit(struct receiver *r, struct request *q, struct writer *w,
                  int err, uint32_t *request)
{
    if (err != 0) {
        return ERR_LIMIT;
    }
    receiver_queued(r, w);
    q->id = r->next_id++;
    r->outstanding++;
    *request = q->id;
    return 0;
}

/* With the first question silence begins to count. */
static void asked(struct receiver *r, uint64_t now)
{
    if (r->outstanding == 0) {
        r->heard = now;
        r->pinged = false;
    }
}

/* ---- AUTH. */

static void queue_auth(struct receiver *r, const struct msg_auth *auth,
                       uint64_t now)
{
    struct request *q = reserve(r, FRAME_AUTH, 0);
    struct writer w;
    uint32_t request;

    BELAY_ASSERT(q != NULL); /* nothing was asked before */
    asked(r, now);
    q->auth_method = auth->method;
    receiver_writer(r, &w);
    int err = commit(r, q, &w, msg_auth_encode(auth, r->next_id, &w),
                     &request);
    BELAY_ASSERT(err == 0);
}

/* The token last: of two successes the last one counts (A4). */
void receiver_queue_auth(struct receiver *r, const struct receiver_auth *auth,
                         uint64_t now)
{
    struct msg_auth m = {.method = AUTH_EXTERNAL};

    if (auth->external && auth->secure) {
        r->sent_external = true;
        queue_auth(r, &m, now);
    }
    r->kept_token = auth->token != NULL && !auth->secure;
    if (auth->token != NULL && auth->secure) {
        r->sent_token = true;
        m.method = AUTH_BEARER;
        m.token = (struct bytes_view){auth->token, auth->token_len};
        queue_auth(r, &m, now);
    }
}

int receiver_open(struct receiver *r, const struct msg_open *open,
                  uint64_t now, uint32_t *request)
{
    struct request *q = reserve(r, FRAME_OPEN, open->handle);
    struct msg_open m = *open;
    struct writer w;

    if (q == NULL) {
        return ERR_LIMIT;
    }
    asked(r, now);
    m.grease = receiver_grease(r);
    receiver_writer(r, &w);
    return commit(r, q, &w, msg_open_encode(&m, r->next_id, &w), request);
}

int receiver_get(struct receiver *r, const struct msg_get *get, uint64_t now,
                 uint32_t *request)
{
    struct request *q = reserve(r, FRAME_GET, get->handle);
    struct writer w;

    BELAY_ASSERT(get->count >= 1 && get->count <= r->range_max);
    if (q == NULL) {
        return ERR_LIMIT;
    }
    asked(r, now);
    for (uint32_t k = 0; k < get->count; k++) {
        q->range[k] = msg_get_range(get, k);
    }
    q->range_count = get->count;
    receiver_writer(r, &w);
    return commit(r, q, &w, msg_get_encode(get, r->next_id, &w), request);
}

int receiver_digest(struct receiver *r, const struct msg_digest *digest,
                    uint64_t now, uint32_t *request)
{
    struct request *q = reserve(r, FRAME_DIGEST, digest->handle);
    struct writer w;

    if (q == NULL) {
        return ERR_LIMIT;
    }
    asked(r, now);
    receiver_writer(r, &w);
    return commit(r, q, &w, msg_digest_encode(digest, r->next_id, &w),
                  request);
}

int receiver_list(struct receiver *r, const struct msg_list *list,
                  uint64_t now, uint32_t *request)
{
    struct request *q = reserve(r, FRAME_LIST, 0);
    struct writer w;

    if (q == NULL) {
        return ERR_LIMIT;
    }
    asked(r, now);
    receiver_writer(r, &w);
    return commit(r, q, &w, msg_list_encode(list, r->next_id, &w), request);
}

int receiver_close_handle(struct receiver *r, uint32_t handle, uint64_t now,
                          uint32_t *request)
{
    struct request *q = reserve(r, FRAME_CLOSE, handle);
    struct msg_close m = {.handle = handle};
    struct writer w;

    if (q == NULL) {
        return ERR_LIMIT;
    }
    asked(r, now);
    receiver_writer(r, &w);
    return commit(r, q, &w, msg_close_encode(&m, r->next_id, &w), request);
}

int receiver_cancel(struct receiver *r, uint32_t request)
{
    struct request *q = receiver_find(r, request);
    struct msg_cancel m = {0};
    struct writer w;

    if (q == NULL || q->cancelled) {
        return 0;
    }
    receiver_writer(r, &w);
    if (msg_cancel_encode(&m, request, &w) != 0) {
        return ERR_LIMIT;
    }
    receiver_queued(r, &w);
    q->cancelled = true;
    return 0;
}

void receiver_goaway(struct receiver *r)
{
    struct msg_goaway m = {0};
    struct writer w;

    if (r->draining || r->phase == RECEIVER_DEAD) {
        return;
    }
    receiver_writer(r, &w);
    if (msg_goaway_encode(&m, &w) == 0) {
        receiver_queued(r, &w);
    }
    r->draining = true;
}

/* ---- what an answer must bring next. */

bool receiver_expected(const struct request *q, const struct bound_handle *h,
                       uint64_t *offset)
{
    uint64_t mask = ((uint64_t)1 << h->chunk_log2) - 1;

    for (uint32_t k = q->range_at; k < q->range_count; k++) {
        uint64_t end = q->range[k].length == GET_TO_END
                           ? h->size
                           : q->range[k].offset + q->range[k].length;
        uint64_t start = q->range[k].offset > q->pos ? q->range[k].offset
                                                     : q->pos;

        if (start < end && start < h->size) {
            *offset = start & ~mask;
            return true;
        }
    }
    return false;
}

bool receiver_predict(const struct receiver *r, uint32_t *handle,
                      uint64_t *offset, uint32_t *raw_len)
{
    /* Lookups do not change anything; the casts only drop const. */
    struct receiver *mutable = (struct receiver *)(uintptr_t)r;
    const struct request *q = receiver_find(mutable, r->predict_id);
    const struct bound_handle *h =
        q == NULL ? NULL : receiver_bound(mutable, q->handle);

    if (h == NULL || !receiver_expected(q, h, offset)) {
        return false;
    }
    *handle = q->handle;
    *raw_len = cid_chunk_len(h->size, h->chunk_log2,
                             *offset >> h->chunk_log2);
    return true;
}

size_t receiver_head_left(const struct receiver *r)
{
    if (r->phase != RECEIVER_ACTIVE ||
        (r->in_len > LAYOUT_HEADER_TYPE_OFF &&
         r->in[LAYOUT_HEADER_TYPE_OFF] != FRAME_CHUNK)) {
        return 0;
    }
    return FRAME_CHUNK_HEAD_LEN - r->in_len;
}
