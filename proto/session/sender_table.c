#include <stdlib.h>
#include <string.h>

#include "proto/data/cid.h"
#include "proto/session/sender_internal.h"

struct request *
request_new(struct sender *s, const struct frame *f, size_t tail_len)
{
    /* Without a tail its number bounds it: answers of refusal must always
     * be possible. */
    size_t memory = sizeof(struct request) + tail_len;
    if (tail_len > 0 && s->memory_used + memory > SENDER_MEMORY_MAX) {
        return NULL;
    }
    struct request *r = calloc(1, memory);
    if (r == NULL) {
        return NULL;
    }
    r->id = f->request_id;
    r->type = f->type;
    r->memory = memory;
    s->memory_used += memory;
    TAILQ_INSERT_TAIL(&s->all, r, all);
    return r;
}

void
request_free(struct sender *s, struct request *r)
{
    for (size_t i = 0; i < SENDER_CHUNKS_AHEAD; i++) {
        if (s->slots[i].request == r) {
            s->slots[i].request = NULL;
        }
    }
    if (r->handle != NULL) {
        r->handle->refs--;
    }
    if (r->counted) {
        s->requests--;
    } else if (r->type == FRAME_PING) {
        s->pongs--;
    } else {
        s->refusals--;
    }
    TAILQ_REMOVE(&s->all, r, all);
    r->gone = true;
    r->handle = NULL;
    if (r->jobs > 0) {
        TAILQ_INSERT_TAIL(&s->gone, r, all);
        return;
    }
    s->memory_used -= r->memory;
    free(r);
}

void
request_return(struct sender *s, struct request *r)
{
    r->jobs--;
    if (r->gone && r->jobs == 0) {
        TAILQ_REMOVE(&s->gone, r, all);
        s->memory_used -= r->memory;
        free(r);
    }
}

/* Chunks of a request that ended are not sent, except for one that is on the
 * wire already. */
static void
drop_slots(struct sender *s, struct request *r)
{
    for (size_t i = 0; i < SENDER_CHUNKS_AHEAD; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->request != r || slot->state == SLOT_SENDING) {
            continue;
        }
        slot->request = NULL;
        r->get.pieces--;
        if (slot->state == SLOT_READY) {
            slot->state = SLOT_DROPPING;
        }
    }
}

void
page_release(struct page *page)
{
    free(page->buf);
    memset(page, 0, sizeof(*page));
}

/* A job may still be writing into the page of a request that ended. */
static void
leave_page(struct sender *s, struct page *page, struct request *r)
{
    if (page->owner != r) {
        return;
    }
    page->owner = NULL;
    if (page->state != PAGE_RUNNING) {
        page_release(page);
        return;
    }
    page->state = PAGE_ORPHAN;
    for (size_t i = 0; i < SENDER_JOBS_MAX; i++) {
        if (s->jobs[i].used && s->jobs[i].request == r) {
            s->jobs[i].abandon = true;
        }
    }
}

void
request_enqueue(struct request *r, struct request_list_head *list)
{
    BELAY_ASSERT(r->in == NULL);
    TAILQ_INSERT_TAIL(list, r, queue);
    r->in = list;
}

void
request_dequeue(struct request *r)
{
    if (r->in != NULL) {
        TAILQ_REMOVE(r->in, r, queue);
        r->in = NULL;
    }
}

void
request_bind(struct request *r, struct handle *h)
{
    r->handle = h;
    h->refs++;
}

/* Takes r out of everything that would do more work for it. */
static void
request_detach(struct sender *s, struct request *r)
{
    request_dequeue(r);
    if (r->type == FRAME_GET) {
        drop_slots(s, r);
    }
    leave_page(s, &s->digest_page, r);
    leave_page(s, &s->list_page, r);
    if (r->in_lane) {
        TAILQ_REMOVE(&r->handle->lane, r, lane);
        r->in_lane = false;
        handle_schedule(s, r->handle);
    }
}

void
request_answer(struct sender *s, struct request *r, enum answer answer)
{
    BELAY_ASSERT(r->answer == ANSWER_NONE);
    request_detach(s, r);
    r->answer = answer;
    request_enqueue(r, &s->ready);
}

void
request_error(struct sender *s, struct request *r, uint16_t code)
{
    r->code = code;
    s->stats.errors++;
    s->stats.errors_of_class[err_wire_class(code)]++;
    s->stats.too_many_requests += code == WIRE_TOO_MANY_REQUESTS;
    s->stats.too_many_handles += code == WIRE_TOO_MANY_HANDLES;
    request_answer(s, r, ANSWER_ERROR);
}

void
request_finish(struct sender *s, struct request *r)
{
    struct handle *h = r->handle;

    request_detach(s, r);
    request_free(s, r);
    if (h != NULL) {
        handle_advance(s, h);
    }
}

/* ---- The chunks of a GET. */

static const struct msg_range *
get_ranges(const struct request *r)
{
    return (const struct msg_range *)(const void *)r->tail;
}

/* Rule G3: every chunk that intersects a range, once, ascending; rule G2:
 * nothing beyond the end. */
void
request_get_advance(struct request *r)
{
    struct request_get *get = &r->get;
    const struct handle *h = r->handle;
    uint8_t c = h->info.chunk_log2;

    for (; get->range < get->range_count; get->range++) {
        const struct msg_range *range = &get_ranges(r)[get->range];
        if (range->offset >= h->info.size) {
            break;
        }
        uint64_t first = range->offset >> c;
        uint64_t left = h->info.size - range->offset;
        uint64_t last =
            range->length >= left
                ? h->chunks - 1
                : (range->offset + range->length - 1) >> c;
        if (get->next < first) {
            get->next = first;
        }
        if (get->next <= last) {
            return;
        }
    }
    get->all_scheduled = true;
}

static void
activate_get(struct sender *s, struct request *r)
{
    r->active = true;
    request_get_advance(r);
    if (r->get.all_scheduled) {
        request_enqueue(r, &s->checks);
    }
}

/* ---- The chunks of a DIGEST. */

static void
activate_digest(struct sender *s, struct request *r)
{
    struct request_digest *d = &r->digest;
    uint64_t n = r->handle->chunks;
    uint8_t b = d->block_log2;

    r->active = true;
    uint64_t blocks = (n >> b) + ((n & ((UINT64_C(1) << b) - 1)) != 0);
    if (d->first_block >= blocks) {
        request_answer(s, r, ANSWER_DONE);
        return;
    }
    uint64_t left = blocks - d->first_block;
    uint64_t count = d->block_count == 0 || d->block_count > left
                         ? left
                         : d->block_count;
    d->next = d->first_block << b;
    d->end = count == left ? n : (d->first_block + count) << b;
    request_enqueue(r, &s->digests);
}

/* ---- Handles. */

struct handle *
handle_new(struct sender *s, uint32_t id)
{
    if (s->memory_used + sizeof(struct handle) > SENDER_MEMORY_MAX) {
        return NULL;
    }
    struct handle *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        return NULL;
    }
    s->memory_used += sizeof(*h);
    s->handles += id != 0;
    h->id = id;
    TAILQ_INIT(&h->lane);
    h->state = HANDLE_QUEUED;
    TAILQ_INSERT_TAIL(&s->handles_all, h, all);
    TAILQ_INSERT_TAIL(&s->opens, h, opens);
    return h;
}

struct handle *
handle_find(const struct sender *s, uint32_t id)
{
    struct handle *h;

    TAILQ_FOREACH(h, &s->handles_all, all) {
        if (h->id == id) {
            return h;
        }
    }
    return NULL;
}

struct request *
handle_next_get(const struct handle *h)
{
    struct request *best = NULL;
    struct request *r;

    TAILQ_FOREACH(r, &h->lane, lane) {
        if (r->type == FRAME_GET && r->active && !r->get.all_scheduled &&
            !r->get.failed &&
            (best == NULL || r->get.urgency < best->get.urgency)) {
            best = r;
        }
    }
    return best;
}

void
handle_schedule(struct sender *s, struct handle *h)
{
    const struct request *turn =
        h->state == HANDLE_OPEN ? handle_next_get(h) : NULL;

    if (h->running && (turn == NULL || turn->get.urgency != h->run_level)) {
        TAILQ_REMOVE(&s->run[h->run_level], h, run);
        h->running = false;
    }
    if (turn != NULL && !h->running) {
        h->run_level = turn->get.urgency;
        h->running = true;
        TAILQ_INSERT_TAIL(&s->run[h->run_level], h, run);
    }
}

/* Starts all requests of an open handle up to a CLOSE, which takes effect
 * when those before it have ended (L2). */
static void
start_lane(struct sender *s, struct handle *h)
{
    struct request *next;

    for (struct request *r = TAILQ_FIRST(&h->lane); r != NULL; r = next) {
        next = TAILQ_NEXT(r, lane);
        if (r->type == FRAME_CLOSE) {
            if (r == TAILQ_FIRST(&h->lane)) {
                request_answer(s, r, ANSWER_DONE);
            }
            return;
        }
        if (r->active) {
            continue;
        }
        if (r->type == FRAME_GET) {
            activate_get(s, r);
        } else {
            activate_digest(s, r);
        }
    }
}

void
handle_advance(struct sender *s, struct handle *h)
{
    if (h->state != HANDLE_OPEN) {
        return;
    }
    start_lane(s, h);
    handle_schedule(s, h);
    if (h->sealed && TAILQ_EMPTY(&h->lane)) {
        handle_kill(s, h, WIRE_BAD_HANDLE);
    }
}

void
handle_kill(struct sender *s, struct handle *h, uint16_t code)
{
    if (h->state == HANDLE_DEAD) {
        return;
    }
    enum handle_state was = h->state;
    h->state = HANDLE_DEAD;
    h->sealed = true;
    if (was == HANDLE_QUEUED) {
        TAILQ_REMOVE(&s->opens, h, opens);
    }
    struct request *r;
    while ((r = TAILQ_FIRST(&h->lane)) != NULL) {
        request_error(s, r, code);
    }
    handle_schedule(s, h);
    TAILQ_REMOVE(&s->handles_all, h, all);
    TAILQ_INSERT_TAIL(&s->dead, h, all);
    s->handles -= h->id != 0;
}

void
handle_reap(struct sender *s, struct handle *h)
{
    if (h->busy != 0 || h->refs != 0 || h->info.file != NULL) {
        return;
    }
    TAILQ_REMOVE(&s->dead, h, all);
    s->memory_used -= sizeof(*h);
    free(h);
}
