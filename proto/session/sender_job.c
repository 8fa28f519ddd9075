#include <stdlib.h>
#include <string.h>

#include "proto/data/cid.h"
#include "proto/base/limits.h"
#include "proto/session/sender_internal.h"

/* Jobs that opens leave free, so that a flood of them does not hold up the
 * chunks, checks and pages of what is open already. */
#define JOBS_KEPT_FROM_OPENS 6

/* ---- Orders, which need no answer. */

static void
slot_clear(struct slot *slot)
{
    slot->handle->busy--;
    memset(slot, 0, sizeof(*slot));
}

static bool
order_drop(struct sender *s, struct sender_job *job)
{
    for (size_t i = 0; i < SENDER_CHUNKS_AHEAD; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->state == SLOT_DROPPING) {
            job->type = SENDER_JOB_DROP;
            job->file = slot->handle->info.file;
            job->piece = slot->piece;
            slot_clear(slot);
            return true;
        }
    }
    return false;
}

static bool
order_close(struct sender *s, struct sender_job *job)
{
    struct handle *h;
    struct handle *next;

    for (h = TAILQ_FIRST(&s->dead); h != NULL; h = next) {
        next = TAILQ_NEXT(h, all);
        if (h->busy == 0 && h->info.file != NULL) {
            job->type = SENDER_JOB_CLOSE;
            job->file = h->info.file;
            h->info.file = NULL;
            handle_reap(s, h);
            return true;
        }
        handle_reap(s, h);
    }
    return false;
}

static bool
order_abandon(struct sender *s, struct sender_job *job)
{
    for (uint32_t i = 0; i < SENDER_JOBS_MAX; i++) {
        if (s->jobs[i].used && s->jobs[i].abandon) {
            s->jobs[i].abandon = false;
            job->type = SENDER_JOB_ABANDON;
            job->id = i;
            return true;
        }
    }
    return false;
}

/* ---- Jobs. */

static struct job *
job_take(struct sender *s, struct sender_job *job, enum sender_job_type type,
         struct request *r)
{
    uint32_t i = 0;

    while (s->jobs[i].used) {
        i++;
    }
    BELAY_ASSERT(i < SENDER_JOBS_MAX);
    struct job *j = &s->jobs[i];
    j->used = true;
    j->type = type;
    j->request = r;
    r->jobs++;
    j->handle = r->handle;
    s->jobs_used++;
    job->type = type;
    job->id = i;
    if (j->handle != NULL) {
        j->handle->busy++;
        job->file = j->handle->info.file;
    }
    return j;
}

static struct request *
open_request(const struct sender *s, const struct handle *h)
{
    struct request *r;

    TAILQ_FOREACH(r, &s->all, all) {
        if (r->handle == h && r->type == FRAME_OPEN) {
            break;
        }
    }
    return r;
}

static bool
job_open(struct sender *s, struct sender_job *job)
{
    struct handle *h = TAILQ_FIRST(&s->opens);
    if (h == NULL ||
        s->jobs_used + JOBS_KEPT_FROM_OPENS >= SENDER_JOBS_MAX) {
        return false;
    }
    TAILQ_REMOVE(&s->opens, h, opens);
    h->state = HANDLE_OPENING;
    struct request *r = open_request(s, h);
    BELAY_ASSERT(r != NULL);
    job_take(s, job, SENDER_JOB_OPEN, r);
    job->open = (struct sender_job_open){
        .path = (const char *)r->tail,
        .chunk_log2 = r->open.want_chunk_log2,
        .max_chunk_log2 = s->config.max_chunk_log2 < s->peer_chunk_log2
                              ? s->config.max_chunk_log2
                              : s->peer_chunk_log2,
        .no_handle = h->id == 0,
    };
    return true;
}

static bool
job_check(struct sender *s, struct sender_job *job)
{
    struct request *r = TAILQ_FIRST(&s->checks);
    if (r == NULL) {
        return false;
    }
    request_dequeue(r);
    job_take(s, job, SENDER_JOB_CHECK, r);
    return true;
}

static struct slot *
slot_free(struct sender *s)
{
    for (size_t i = 0; i < SENDER_CHUNKS_AHEAD; i++) {
        if (s->slots[i].state == SLOT_FREE) {
            return &s->slots[i];
        }
    }
    return NULL;
}

/* The handle whose GET gets the next chunk: smallest urgency first, in turn
 * among equals (L3). */
static struct handle *
pick_handle(struct sender *s)
{
    for (size_t u = 0; u < SENDER_URGENCIES; u++) {
        struct handle *h = TAILQ_FIRST(&s->run[u]);
        if (h != NULL) {
            TAILQ_REMOVE(&s->run[u], h, run);
            TAILQ_INSERT_TAIL(&s->run[u], h, run);
            return h;
        }
    }
    return NULL;
}

static bool
job_chunk(struct sender *s, struct sender_job *job)
{
    struct slot *slot = slot_free(s);
    struct handle *h = slot == NULL ? NULL : pick_handle(s);
    if (h == NULL) {
        return false;
    }
    struct request *r = handle_next_get(h);
    slot->state = SLOT_PREPARING;
    slot->request = r;
    slot->handle = h;
    slot->index = r->get.next;
    slot->seq = s->next_seq++;
    slot->raw_len =
        cid_chunk_len(h->info.size, h->info.chunk_log2, slot->index);
    h->busy++;
    job_take(s, job, SENDER_JOB_CHUNK, r)->slot = slot;
    job->chunk = (struct sender_job_chunk){
        .index = slot->index,
        .raw_len = slot->raw_len,
        .zero = s->peer_zero,
        .zlib = s->config.compression && s->peer_zlib &&
                (r->get.flags & GET_NO_COMPRESSION) == 0,
    };
    r->get.pieces++;
    r->get.next++;
    request_get_advance(r);
    handle_schedule(s, h);
    return true;
}

/* The page of the DIGEST whose turn it is; it keeps the page until its
 * end. */
static bool
page_own(struct sender *s, struct page *page, struct request_list_head *list)
{
    struct request *r;

    while (page->owner == NULL && (r = TAILQ_FIRST(list)) != NULL) {
        page->buf = malloc(SENDER_PAGE_BYTES);
        if (page->buf == NULL) {
            request_error(s, r, WIRE_BUSY);
            if (r->handle != NULL) {
                handle_advance(s, r->handle);
            }
            continue;
        }
        request_dequeue(r);
        page->owner = r;
    }
    return page->owner != NULL;
}

static bool
job_digest(struct sender *s, struct sender_job *job)
{
    struct page *page = &s->digest_page;
    if (page->state != PAGE_FREE || !page_own(s, page, &s->digests)) {
        return false;
    }
    struct request *r = page->owner;
    const struct request_digest *d = &r->digest;
    uint64_t block = d->next >> d->block_log2;
    bool proof = (d->flags & DIGEST_WITH_PROOF) != 0;
    uint64_t end = d->end;
    if (proof && ((block + 1) << d->block_log2) < end) {
        end = (block + 1) << d->block_log2;
    }
    uint64_t count = end - d->next;
    bool whole = count <= SENDER_PAGE_DIGESTS;
    page->state = PAGE_RUNNING;
    page->first = d->next;
    page->count = (uint32_t)(whole ? count : SENDER_PAGE_DIGESTS);
    page->proof_len = 0;
    job_take(s, job, SENDER_JOB_DIGEST, r);
    job->digest = (struct sender_job_digest){
        .first = page->first,
        .count = page->count,
        .span_first = d->next,
        .span_count = d->end - d->next,
        .no_wait = (d->flags & DIGEST_NO_WAIT) != 0,
        .with_proof = proof && whole,
        .whole_tree = proof,
        .block_log2 = d->block_log2,
        .block = block,
        .out = page->buf,
    };
    return true;
}

static bool
job_list(struct sender *s, struct sender_job *job)
{
    struct page *page = &s->list_page;
    if (page->state != PAGE_FREE || !page_own(s, page, &s->lists)) {
        return false;
    }
    struct request *r = page->owner;
    page->state = PAGE_RUNNING;
    job_take(s, job, SENDER_JOB_LIST, r);
    job->list = (struct sender_job_list){
        .path = (const char *)r->tail,
        .cursor = r->list.cursor,
        .cursor_len = r->list.cursor_len,
        .max_entries = r->list.max_entries,
        .with_cid = (r->list.flags & LIST_WITH_CID) != 0,
        .request = r->id,
        .out = page->buf,
    };
    return true;
}

bool
sender_next_job(struct sender *s, uint64_t now, struct sender_job *job)
{
    s->now = now;
    sender_input_resume(s);
    sender_settle(s);
    memset(job, 0, sizeof(*job));
    if (s->phase != PHASE_ACTIVE) {
        return false;
    }
    if (order_drop(s, job) || order_close(s, job) || order_abandon(s, job)) {
        return true;
    }
    return s->jobs_used < SENDER_JOBS_MAX &&
           (job_check(s, job) || job_chunk(s, job) || job_digest(s, job) ||
            job_list(s, job) || job_open(s, job));
}

/* ---- Results. */

static void
fail_request(struct sender *s, struct request *r,
             const struct sender_result *result)
{
    r->has_offset = result->has_offset;
    r->offset = result->offset;
    r->retry_after_ms = result->retry_after_ms;
    request_error(s, r, result->code);
}

/* Rules of section 10.1, judged by the one fstat of the job (I2). */
static bool
is_expected(const struct request_open *o, const struct sender_result *result)
{
    if (result->cid_known && o->has_expect_cid) {
        return memcmp(result->cid, o->expect_cid, HASH_LEN) == 0;
    }
    if (o->expect_version_len > 0) {
        return o->expect_version_len == result->open.version_len &&
               memcmp(o->expect_version, result->open.version,
                      o->expect_version_len) == 0;
    }
    return true;
}

static void
learn_cid(struct handle *h, const struct sender_result *result)
{
    if (result->cid_known) {
        h->cid_known = true;
        memcpy(h->cid, result->cid, HASH_LEN);
    }
}

static void
done_open(struct sender *s, const struct job *j,
          const struct sender_result *result)
{
    struct handle *h = j->handle;
    struct request *r = j->request;

    if (result->code == 0) {
        h->info = result->open;
        learn_cid(h, result);
    }
    if (h->state == HANDLE_DEAD) {
        return; /* cancelled meanwhile; the file is closed with the handle */
    }
    if (result->code != 0) {
        fail_request(s, r, result);
        handle_kill(s, h, WIRE_BAD_HANDLE);
        return;
    }
    if (!is_expected(&r->open, result)) {
        request_error(s, r, WIRE_CHANGED);
        handle_kill(s, h, WIRE_BAD_HANDLE);
        return;
    }
    request_answer(s, r, ANSWER_INFO);
    if (h->id == 0) {
        handle_kill(s, h, WIRE_BAD_HANDLE);
        return;
    }
    h->chunks = cid_chunk_count(h->info.size, h->info.chunk_log2);
    h->state = HANDLE_OPEN;
    handle_advance(s, h);
}

/* A GET all of whose scheduled chunks are gone from the slots. */
static void
get_settle(struct sender *s, struct request *r)
{
    if (r->get.pieces > 0 || r->answer != ANSWER_NONE) {
        return;
    }
    if (r->get.failed) {
        request_error(s, r, r->code);
        handle_advance(s, r->handle);
    } else if (r->get.all_scheduled) {
        request_enqueue(r, &s->checks);
    }
}

/* Chunks before the bad one are still sent, those behind it are not. */
static void
get_fail(struct sender *s, struct request *r, uint64_t index,
         const struct sender_result *result)
{
    r->get.failed = true;
    r->code = result->code;
    r->has_offset = result->has_offset;
    r->offset = result->offset;
    for (size_t i = 0; i < SENDER_CHUNKS_AHEAD; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->request == r && slot->index > index &&
            slot->state != SLOT_SENDING) {
            slot->request = NULL;
            r->get.pieces--;
            if (slot->state == SLOT_READY) {
                slot->state = SLOT_DROPPING;
            }
        }
    }
    handle_schedule(s, r->handle);
    get_settle(s, r);
}

static void
done_chunk(struct sender *s, const struct job *j,
           const struct sender_result *result)
{
    struct slot *slot = j->slot;
    struct handle *h = j->handle;
    struct request *r = slot->request;
    uint64_t index = slot->index;

    if (result->code != 0) {
        slot_clear(slot);
        if (r == NULL) {
            return;
        }
        r->get.pieces--;
        if (result->code == WIRE_CHANGED_DURING) {
            fail_request(s, r, result);
            handle_kill(s, h, WIRE_CHANGED_DURING);
        } else {
            get_fail(s, r, index, result);
        }
        return;
    }
    BELAY_ASSERT(result->codec < SENDER_CODECS);
    slot->piece = result->piece;
    slot->codec = result->codec;
    slot->stored_len = result->stored_len;
    memcpy(slot->digest, result->digest, HASH_LEN);
    slot->state = r == NULL ? SLOT_DROPPING : SLOT_READY;
}

void
slot_sent(struct sender *s, struct slot *slot)
{
    struct request *r = slot->request;

    r->get.chunks++;
    r->get.raw_bytes += slot->raw_len;
    r->get.pieces--;
    s->stats.chunks++;
    s->stats.chunks_of_codec[slot->codec]++;
    s->stats.raw_bytes += slot->raw_len;
    slot_clear(slot);
    get_settle(s, r);
}

static void
done_check(struct sender *s, const struct job *j,
           const struct sender_result *result)
{
    struct request *r = j->request;

    learn_cid(j->handle, result);
    if (r->gone || r->answer != ANSWER_NONE) {
        return;
    }
    if (result->code == 0) {
        s->stats.small += r->get.raw_bytes < SMALL_REQUEST_BYTES &&
                          r->get.raw_bytes < j->handle->info.size;
        request_answer(s, r, ANSWER_DONE);
        handle_advance(s, j->handle);
        return;
    }
    fail_request(s, r, result);
    if (result->code == WIRE_CHANGED_DURING) {
        handle_kill(s, j->handle, WIRE_CHANGED_DURING);
    } else {
        handle_advance(s, j->handle);
    }
}

static void
done_digest(struct sender *s, const struct job *j,
            const struct sender_result *result)
{
    struct page *page = &s->digest_page;
    struct request *r = page->owner;

    if (page->state == PAGE_ORPHAN) {
        page_release(page);
        return;
    }
    if (result->code == 0) {
        page->state = PAGE_READY;
        page->proof_len = result->proof_len;
        return;
    }
    page->state = PAGE_FREE;
    fail_request(s, r, result);
    if (result->code == WIRE_CHANGED_DURING) {
        handle_kill(s, j->handle, WIRE_CHANGED_DURING);
    } else {
        handle_advance(s, j->handle);
    }
}

static void
done_list(struct sender *s, const struct sender_result *result)
{
    struct page *page = &s->list_page;

    if (page->state == PAGE_ORPHAN) {
        page_release(page);
        return;
    }
    if (result->code == 0) {
        page->state = PAGE_READY;
        page->len = result->out_len;
        return;
    }
    page->state = PAGE_FREE;
    fail_request(s, page->owner, result);
}

void
sender_job_done(struct sender *s, uint64_t now, uint32_t id,
                const struct sender_result *result)
{
    BELAY_ASSERT(id < SENDER_JOBS_MAX && s->jobs[id].used);
    struct job j = s->jobs[id];

    s->now = now;
    memset(&s->jobs[id], 0, sizeof(j));
    s->jobs_used--;
    if (j.handle != NULL) {
        j.handle->busy--;
    }
    switch (j.type) {
    case SENDER_JOB_OPEN:
        done_open(s, &j, result);
        break;
    case SENDER_JOB_CHUNK:
        done_chunk(s, &j, result);
        break;
    case SENDER_JOB_CHECK:
        done_check(s, &j, result);
        break;
    case SENDER_JOB_DIGEST:
        done_digest(s, &j, result);
        break;
    case SENDER_JOB_LIST:
        done_list(s, result);
        break;
    default:
        BELAY_UNREACHABLE();
    }
    request_return(s, j.request);
    sender_settle(s);
}

struct request *
sender_progress_request(const struct sender *s)
{
    if (s->phase != PHASE_ACTIVE || sender_is_blocked(s) || s->chunk_open) {
        return NULL;
    }
    for (size_t i = 0; i < SENDER_JOBS_MAX; i++) {
        struct request *r = s->jobs[i].request;
        if (s->jobs[i].used && !r->gone && r->answer == ANSWER_NONE) {
            return r;
        }
    }
    return NULL;
}

void
sender_job_progress(struct sender *s, uint32_t id, uint64_t done,
                    uint64_t total)
{
    BELAY_ASSERT(id < SENDER_JOBS_MAX && s->jobs[id].used);
    struct request *r = s->jobs[id].request;
    r->progress_done = done;
    r->progress_total = total;
}
